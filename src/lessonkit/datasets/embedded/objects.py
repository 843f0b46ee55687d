"""Ten kinds of small coloured drawings, the stand-in for CIFAR-10 when no download is possible."""

import cmath

import numpy as np
from PIL import Image, ImageDraw

CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE, FINE = 32, 3  # drawn FINE times larger, then averaged: this is what makes the edges smooth
CIRCLE = [cmath.rect(1, 2 * cmath.pi * step / 16) for step in range(16)]

SCENES = {  # colours of the sky, of the horizon and of the ground
    "sky": ((70, 130, 205), (175, 210, 235), (195, 217, 232)), "sea": ((150, 190, 225), (215, 225, 230), (50, 95, 140)),
    "grass": ((140, 190, 230), (205, 220, 215), (110, 150, 70)), "forest": ((45, 75, 50), (70, 95, 60), (110, 105, 65)),
    "sand": ((130, 185, 225), (190, 215, 225), (210, 190, 140)), "dusk": ((90, 95, 150), (235, 170, 130), (95, 85, 95)),
    "road": ((175, 195, 210), (200, 195, 185), (99, 99, 99)), "room": ((205, 190, 165), (220, 205, 185), (135, 98, 70)),
}
PAINTS = ((200, 45, 40), (40, 85, 175), (235, 235, 235), (230, 185, 50), (55, 125, 85), (150, 155, 160), (45, 50, 60))
FURS = ((150, 95, 55), (190, 135, 80), (105, 70, 50), (215, 180, 135), (125, 115, 110), (225, 220, 210), (60, 50, 50))
SKINS = ((80, 150, 50), (125, 165, 60), (60, 115, 65), (150, 135, 60), (180, 185, 60), (120, 90, 60))
FIXED = {"black": (25, 22, 25), "white": (245, 245, 240), "glass": (150, 195, 215), "gold": (240, 185, 50),
         "grey": (150, 150, 155), "pink": (225, 120, 125)}


class Pen:
    """Draws parts given in percent of the object's half width (x right, y down) in one random pose."""

    def __init__(self, image, rng, colours, origin, turn, mirror):
        self.canvas, self.rng, self.colours = ImageDraw.Draw(image), rng, colours
        self.origin, self.turn, self.mirror = origin, turn, mirror

    def _pixels(self, values) -> list[tuple[float, float]]:
        points = map(complex, [self.mirror * x for x in values[::2]], values[1::2])
        return [(place.real, place.imag) for place in [self.origin + self.turn * point for point in points]]

    def fill(self, **parts: tuple) -> None:
        """Paint colour=shape in the given order: four numbers are an ellipse (x, y, half width, half height),
        more are the corners x, y, x, y, … of a polygon.
        """
        for colour, shape in parts.items():
            if len(shape) == 4:
                x, y, width, height = shape
                shape = [value for point in CIRCLE for value in (x + width * point.real, y + height * point.imag)]
            self.canvas.polygon(self._pixels(shape), self.colours[colour])

    def fill_both(self, **parts: tuple) -> None:
        """The parts and their mirror images: eyes, ears, wheels."""
        for _ in range(2):
            self.fill(**parts)
            self.mirror = -self.mirror


def airplane(pen: Pen) -> None:
    span = pen.rng.uniform(45, 85)
    pen.fill(dark=(25, -5, -20, -span, -40, -span, -15, -5), accent=(-55, -8, -85, -50, -100, -50, -92, -2))
    pen.fill(body=(0, 0, 98, 15), black=(-60, -5, 70, -5, 74, -10, 88, -8, 90, 0, -60, 0))
    pen.fill(light=(25, 3, -30, span, -50, span, -20, 3), dark=(-70, 0, -100, 22, -108, 22, -92, 0))


def automobile(pen: Pen) -> None:
    roof, back = pen.rng.uniform(-52, -35), pen.rng.uniform(-88, -40)
    pen.fill(body=(back - 12, -5, back + 15, roof, 20, roof, 52, -2), gold=(95, 12, 9, 8))
    pen.fill(glass=(back + 5, -5, back + 20, roof + 9, 17, roof + 9, 40, -5), body=(-8, -5, -8, roof, 1, roof, 1, -5))
    pen.fill(body=(-100, 30, -98, 0, -80, -7, 92, 2, 100, 30), dark=(-100, 36, -100, 22, 100, 22, 100, 36))
    pen.fill_both(black=(58, 36, 23, 23), grey=(58, 36, 11, 11))


def bird(pen: Pen) -> None:
    wing = pen.rng.uniform(-110, 40)
    if wing > -30:
        pen.fill(gold=(-13, 20, -13, 82, 8, 82, 8, 76, -6, 76, -6, 38, 12, 38, 12, 82, 33, 82, 33, 76, 19, 76, 19, 20))
    pen.fill(dark=(30, 0, -10, wing, -35, wing - 5, -20, 10), gold=(70, -38, 105, -20, 70, -12))
    pen.fill(dark=(-30, -8, -100, 10, -95, 35, -30, 20), body=(0, 8, 55, 33), light=(15, 22, 33, 18))
    pen.fill(body=(52, -25, 27, 26), black=(60, -30, 8, 8))
    pen.fill(accent=(25, 0, -10, wing * 0.7, -60, wing, -75, wing, -45, 15, -10, 22))


def sitting(pen: Pen) -> None:
    """What cats and dogs share, so that only ears and muzzle tell them apart."""
    if pen.rng.random() < 0.6:
        pen.fill(dark=(-30, 98, -80, 90, -95, 45, -75, 10, -66, 18, -78, 45, -68, 73, -30, 82))
        pen.fill(body=(0, 50, 42, 55), light=(0, 55, 20, 35))
        pen.fill_both(dark=(25, 100, 18, 8))
    else:  # a portrait: nearer, and without the body below
        pen.origin, pen.turn = pen.origin + 45j * pen.turn, 1.4 * pen.turn


def cat(pen: Pen) -> None:
    sitting(pen)
    pen.fill_both(body=(58, -40, 55, -110, 8, -70), pink=(50, -65, 48, -94, 25, -72))
    pen.fill(body=(0, -35, 62, 48), dark=(-10, -82, 10, -82, 0, -55), light=(0, -12, 27, 19))
    pen.fill_both(gold=(27, -40, 15, 14), black=(27, -40, 6, 14), white=(20, -12, 80, -27, 36, -12, 80, 3))
    pen.fill(pink=(-10, -24, 10, -24, 0, -12))


def dog(pen: Pen) -> None:
    sitting(pen)
    pen.fill(body=(0, -40, 52, 52), light=(0, -8, 34, 30), pink=(0, 20, 11, 20), black=(0, -20, 16, 11))
    pen.fill_both(dark=(22, -92, 62, -80, 80, -10, 55, 0, 45, -50), black=(22, -45, 8, 9))


def legs(pen: Pen, half: float, length: float) -> None:
    for x, colour in ((-50, "dark"), (22, "dark"), (-38, "body"), (36, "body")):
        foot = x + pen.rng.uniform(-15, 15)
        pen.fill(**{colour: (x - half, 0, x + half, 0, foot + half, length, foot - half, length)})


def deer(pen: Pen) -> None:
    legs(pen, 3.5, 98)
    pen.fill(accent=(44, -50, 27, -78, 30, -112, 20, -84, -2, -102, 17, -70, 36, -50))
    pen.fill(accent=(48, -50, 63, -78, 58, -112, 70, -84, 92, -102, 73, -70, 56, -50))
    pen.fill(white=(-60, -5, 13, 14), body=(-7, 2, 54, 22), light=(-10, -8, 40, 6))
    pen.fill(body=(15, -5, 45, 10, 62, -42, 42, -50), dark=(42, -50, 20, -58, 35, -42))
    pen.fill(body=(38, -55, 60, -60, 88, -38, 84, -28, 50, -32), black=(60, -46, 6, 6))


def horse(pen: Pen) -> None:
    legs(pen, 6, 90)
    pen.fill(accent=(-52, -14, -72, -8, -86, 10, -90, 58, -74, 50, -68, 12, -50, 2), body=(-7, 2, 58, 28))
    pen.fill(accent=(2, -15, 20, -60, 50, -92, 55, -70, 25, -10), body=(15, -10, 48, 12, 72, -50, 50, -75))
    pen.fill(body=(46, -75, 62, -95, 68, -75, 100, -42, 82, -25, 55, -42), black=(68, -60, 5, 5), dark=(88, -36, 9, 9))


def frog(pen: Pen) -> None:
    pen.fill_both(body=(70, 35, 32, 30), dark=(62, 66, 32, 9))
    pen.fill(dark=(0, 20, 60, 48), light=(0, 42, 42, 25), body=(0, -12, 68, 36), black=(-50, -5, 0, 6, 50, -5, 0, 18))
    pen.fill_both(body=(40, -45, 26, 26), white=(40, -48, 18, 18), black=(40, -48, 10, 12))


def ship(pen: Pen) -> None:
    if pen.rng.random() < 0.4:
        pen.fill(dark=(2, 20, 2, -95, 9, -95, 9, 9), white=(11, 15, 11, -90, 80, 15), accent=(-1, 15, -1, -75, -60, 15))
    else:
        pen.fill(dark=(5, 20, 5, -95, 10, -95, 10, 20), accent=(-42, -20, -42, -70, -12, -70, -12, -20))
        pen.fill(white=(-65, 20, -65, -32, 40, -32, 55, 20), black=(-50, -13, -50, -21, 35, -21, 35, -13))
    pen.fill(body=(-95, 15, 105, 10, 75, 55, -80, 55), dark=(-86, 40, 84, 40, 75, 55, -80, 55))
    pen.fill(white=(-110, 54, 110, 54, 110, 60, -110, 60))


def truck(pen: Pen) -> None:
    top, cab = pen.rng.uniform(-75, -45), pen.rng.uniform(26, 48)
    pen.fill(dark=(-95, 34, -95, 20, 95, 20, 95, 34), body=(-100, 22, -100, top, cab - 6, top, cab - 6, 22))
    pen.fill(accent=(cab, 30, cab, -40, 78, -40, 98, 0, 100, 30), glass=(cab + 16, -2, cab + 16, -30, 74, -30, 88, -2))
    for x in (-75, -32, 65):
        pen.fill(black=(x, 36, 20, 20), grey=(x, 36, 9, 9))


RECIPES = (  # drawing, colours of the body, colours of the accent, scenes: no scene belongs to one class alone
    (airplane, PAINTS, PAINTS, ("sky", "sky", "dusk", "sea", "road")),
    (automobile, PAINTS, PAINTS, ("road", "road", "grass", "sand", "room", "dusk")),
    (bird, PAINTS, PAINTS, ("sky", "grass", "forest", "sea", "dusk")),
    (cat, FURS, FURS, ("room", "room", "grass", "forest", "road", "sky")),
    (deer, FURS[:4], FURS[3:], ("forest", "grass", "dusk", "sand", "sky")),
    (dog, FURS, PAINTS, ("room", "grass", "road", "sand", "forest", "sea")),
    (frog, SKINS, SKINS, ("grass", "forest", "sea", "sand", "room")),
    (horse, FURS, FURS, ("grass", "grass", "sand", "forest", "dusk", "road")),
    (ship, PAINTS, PAINTS, ("sea", "sea", "sky", "dusk", "sand")),
    (truck, PAINTS, PAINTS, ("road", "road", "sand", "grass", "dusk", "sky")),
)


def _background(rng: np.random.Generator, scene: str) -> Image.Image:
    """A sky over a ground with soft spots, enlarged from 16 x 8 colours to SIZE * FINE pixels a side."""
    sky, horizon, ground = np.array(SCENES[scene]) + rng.integers(-20, 21, (3, 1)) + rng.integers(-12, 13, 3)
    rows, level = np.arange(16).reshape(16, 1, 1), rng.integers(5, 12)
    colours = np.where(rows < level, sky + (horizon - sky) * rows / level, ground + 3 * (rows - level))
    spotted = (colours + rng.integers(-22, 23, (16, 8, 1))).clip(0, 255).astype(np.uint8)
    return Image.fromarray(spotted).resize((SIZE * FINE, SIZE * FINE), Image.Resampling.BILINEAR)


def _picture(rng: np.random.Generator, label: int) -> np.ndarray:
    """One uint8 image (32, 32, 3) of the class `label`."""
    drawing, bodies, accents, scenes = RECIPES[label]
    image = _background(rng, scenes[rng.integers(len(scenes))])
    body, accent = (some[rng.integers(len(some))] + rng.integers(-12, 13, 3) for some in (bodies, accents))
    tones = {"body": body, "dark": body * 0.62, "light": body * 0.6 + 95, "accent": accent}
    colours = FIXED | {name: tuple(tone.clip(0, 255).astype(int).tolist()) for name, tone in tones.items()}
    half, (scale, angle, right, down, side) = SIZE * FINE / 2, rng.random(5)
    origin = half * complex(0.75 + 0.5 * right, 0.8 + 0.4 * down)
    turn = cmath.rect(half * (0.6 + 0.3 * scale) / 100, 0.5 * (angle - 0.5))
    drawing(Pen(image, rng, colours, origin, turn, 1 if side < 0.5 else -1))
    pixels = np.asarray(image.reduce(FINE)) + rng.integers(-10, 11, (SIZE, SIZE, 3))
    return pixels.clip(0, 255).astype(np.uint8)


def draw(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` pictures: uint8 images (count, 32, 32, 3) and uint8 labels (count,), indices into CLASS_NAMES.

    Every ten successive pictures show each class once. A picture depends on `seed` and its own index only,
    so fewer pictures are the beginning of more.
    """
    # The last number of each seed keeps the order of the labels independent of what is drawn.
    tens = [np.random.default_rng([seed, start, 1]).permutation(10) for start in range(0, count, 10)]
    labels = np.array(tens, dtype=np.uint8).reshape(-1)[:count]
    images = np.empty((count, SIZE, SIZE, 3), dtype=np.uint8)
    for index, label in enumerate(labels):
        images[index] = _picture(np.random.default_rng([seed, index, 2]), label)
    return images, labels
