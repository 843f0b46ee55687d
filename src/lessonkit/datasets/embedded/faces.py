"""Embedded stand-in for CelebA: illustrated faces with attributes that can be redrawn one by one.

Outlines are computed for a batch of faces at once; the loop over single faces only hands polygons to Pillow.
"""

import numpy as np
from PIL import Image, ImageDraw

ATTRIBUTES = ("Smiling", "Eyeglasses", "Blond_Hair", "Wearing_Hat", "Mustache", "Bangs", "Mouth_Slightly_Open")
FREQUENCIES = (0.5, 0.4, 0.35, 0.35, 0.3, 0.4, 0.4)
SIZE, FINE, BATCH = 64, 3, 250  # picture size, supersampling, faces per batch
RING, SPAN = np.linspace(0, 2 * np.pi, 29), np.linspace(-1, 1, 13)  # parameters of closed outlines and of bands
ARCH = 1 - SPAN**2
WHITE = np.array([[250, 248, 245]])

# Identity: every parameter is uniform in its range. Lengths are in face units (origin between the eyes, y down, 1 is
# half a picture); parameters from 0 to 1 are mostly places in a palette.
RANGES = {
    "shift_x": (-0.06, 0.06), "shift_y": (-0.05, 0.04), "scale": (0.90, 1.02), "tilt": (-0.11, 0.11),
    "turn": (-0.26, 0.26), "light_x": (-1, 1), "light_y": (-0.9, 0.1), "warmth": (-0.04, 0.04), "skin": (0, 1),
    "cheek": (0.51, 0.57), "chin": (0.73, 0.81), "jaw": (0.78, 0.98), "eye_x": (0.245, 0.275), "eye_width": (0.11, 0.13),
    "eye_height": (0.068, 0.09), "slant": (-0.02, 0.03), "iris": (0, 1), "gaze": (-0.025, 0.025), "lash": (0.015, 0.04),
    "brow_y": (0.17, 0.21), "brow_arch": (0.02, 0.06), "brow_size": (0.016, 0.034), "nose_y": (0.26, 0.31),
    "nose_width": (0.07, 0.10), "mouth_y": (0.48, 0.52), "mouth_width": (0.90, 1.12), "lip": (0.022, 0.042),
    "lip_red": (0.05, 0.4), "hair": (0, 1), "volume": (0.62, 0.72), "crown": (0.80, 0.92), "length": (-0.7, 1.3),
    "curl": (-0.7, 1), "part": (-0.3, 0.3), "forehead": (0.46, 0.56), "neckline": (1.0, 1.18), "cloth": (0, 1),
    "back": (0, 1), "back_second": (0, 1), "back_angle": (0, 6.28), "hat": (0, 1), "brim": (-0.25, 0.28),
    "frame": (0, 1), "frame_size": (0.175, 0.205), "frame_width": (0.034, 0.05), "frame_square": (0.55, 1.0),
}  # fmt: skip
PALETTES = {
    "skin": ((255, 226, 208), (248, 208, 180), (236, 186, 150), (212, 154, 114), (174, 118, 84), (134, 88, 64), (100, 67, 51)),
    "hair": ((36, 31, 35), (50, 38, 36), (68, 48, 40), (88, 60, 46), (112, 72, 50), (150, 80, 50)),
    "blond": ((206, 160, 92), (228, 188, 114), (244, 216, 150)),
    "iris": ((66, 44, 34), (84, 56, 38), (104, 78, 50), (84, 104, 80), (78, 110, 140)),
    "frame": ((34, 34, 42), (112, 54, 48), (58, 72, 108), (150, 112, 66), (44, 44, 50)),
    "fabric": ((196, 104, 92), (226, 172, 122), (222, 206, 172), (148, 178, 150), (92, 148, 154), (66, 88, 128),
               (142, 132, 178), (206, 150, 166), (104, 104, 116)),
}  # fmt: skip


def oval(x, y, width, up, down=None, taper=0.0, square=1.0) -> tuple[np.ndarray, np.ndarray]:
    """Outline (n, points) with its own height up and down; taper narrows the lower half, square below 1 fills corners."""
    cos, sin = np.cos(RING), np.sin(RING)
    tall = np.where(sin < 0, up, up if down is None else down)
    narrow = 1 - taper * np.maximum(sin, 0) ** 2
    return x + width * narrow * np.sign(cos) * np.abs(cos) ** square, y + tall * np.sign(sin) * np.abs(sin) ** square


def band(x, top, bottom, bottom_x=None) -> tuple[np.ndarray, np.ndarray]:
    """Outline (n, points) of the area between two curves."""
    x, top, bottom, back = np.broadcast_arrays(np.atleast_2d(x), top, bottom, x if bottom_x is None else bottom_x)
    return np.concatenate([x, back[:, ::-1]], axis=1), np.concatenate([top, bottom[:, ::-1]], axis=1)


class Faces:
    """A batch of n faces: parameters and attributes (n, 1), colours (n, 3), and the polygons drawn so far."""

    def __init__(self, identity: np.ndarray, attributes: np.ndarray):
        for (name, (low, high)), column in zip(RANGES.items(), identity.T, strict=True):
            setattr(self, name, low + (high - low) * column[:, None])
        for name, column in zip(ATTRIBUTES, attributes.T, strict=True):
            setattr(self, name.lower(), column[:, None])
        self.skin_colour, dark = self.colour("skin", self.skin), self.colour("hair", self.hair)
        self.light, self.shadow = self.skin_colour * 1.05 + 4, self.skin_colour * (0.84, 0.74, 0.72)
        self.lips = self.skin_colour * (0.88, 0.66, 0.66) * (1 - self.lip_red) + self.lip_red * np.array([200, 64, 78])
        self.hair_colour, self.brow_colour = np.where(self.blond_hair, self.colour("blond", self.hair), dark), dark * 0.9
        self.polygons = []

    def colour(self, palette: str, place: np.ndarray) -> np.ndarray:
        """Colours (n, 3) at places (n, 1) from 0 to 1 along a palette."""
        steps = np.linspace(0, 1, len(PALETTES[palette]))
        return np.stack([np.interp(place[:, 0], steps, channel) for channel in zip(*PALETTES[palette], strict=True)], 1)

    def fill(self, outline, colour, opacity=1.0, visible=True, depth=0.5) -> None:
        """Add one polygon to each face; depth says how far a turn of the head moves it."""
        x, y = np.broadcast_arrays(*outline)
        x = x + self.turn * depth * np.maximum(1 - (x / 0.62) ** 2, 0)  # points near the axis stand out most
        cos, sin = self.scale * np.cos(self.tilt) / 2, self.scale * np.sin(self.tilt) / 2
        x, y = 0.5 + self.shift_x / 2 + cos * x - sin * y, 0.47 + self.shift_y / 2 + sin * x + cos * y
        points = np.round(SIZE * FINE * np.stack([x, y], axis=2)).astype(int).reshape(len(x), -1).tolist()
        ink = np.insert(np.broadcast_to(np.clip(colour, 0, 255), (len(x), 3)), 3, 255 * opacity, axis=1).astype(int)
        visible = np.broadcast_to(visible, self.skin.shape)[:, 0].tolist()
        self.polygons.append((opacity < 1, visible, points, list(map(tuple, ink.tolist()))))

    def shade(self, outline, centre, edge, core, steps, **options) -> None:
        """Add a soft gradient from edge to core colour: copies of an outline that shrink towards a centre."""
        for share in np.arange(steps) / steps:
            shrunk = [middle + (axis - middle) * (1 - 0.85 * share) for axis, middle in zip(outline, centre, strict=True)]
            self.fill(shrunk, edge + (core - edge) * share**0.5, **options)


def body(face: Faces) -> None:
    """Hair behind the head, clothes, neck and ears."""
    x, y = oval(0, 0, face.volume, face.crown, np.maximum(face.length, 0.2), -0.12 * (face.length > 0.4), 0.8)
    ripple = 1 + 0.04 * np.maximum(face.curl, 0) * np.sin(9 * RING)
    face.fill((x * ripple, y * ripple), face.hair_colour * 0.78, depth=0)
    cloth = face.colour("fabric", face.cloth)
    face.shade(oval(0, 1.7, 1.15, 0.66, square=0.8), (0.4 * face.light_x, 1.4), cloth * 0.8, cloth, 4, depth=0)
    face.fill(oval(0, 1.0, 0.31, 0.05, face.neckline - 0.96), cloth * 0.65, depth=0)
    face.fill(oval(0, 0.7, 0.24, 0.2, face.neckline - 0.7, -0.3, 0.6), face.skin_colour * (0.92, 0.87, 0.86), depth=0)
    for grow in (0, 0.04, 0.08):
        face.fill(oval(0.1 * face.turn, 0.74, 0.235, 0.10 + grow), face.shadow * 0.85, 0.35, depth=0)
    for ear in (-face.cheek - 0.01, face.cheek + 0.01):
        face.fill(oval(ear - 0.12 * face.turn, 0.08, 0.075, 0.13), face.skin_colour * 0.93, depth=0)
        face.fill(oval(ear - 0.12 * face.turn, 0.09, 0.04, 0.085), face.shadow, 0.6, depth=0)


def head(face: Faces) -> None:
    """Face with soft light, cheeks and nose."""
    centre = 0.22 * face.light_x + 0.3 * face.turn, 0.05 + 0.2 * face.light_y
    face.shade(oval(0, 0, face.cheek, 0.72, face.chin, 0.12, face.jaw), centre, face.shadow, face.light, 9, depth=0.15)
    for side in (-1, 1):
        for grow in (0.5, 0.75, 1):
            face.fill(oval(side * 0.31, 0.29, 0.15 * grow, 0.11 * grow), face.skin_colour * (1, 0.7, 0.68), 0.13)
        face.fill(oval(side * face.eye_x, -0.03, 0.17, 0.13), face.shadow, 0.22)
    bridge = -np.sign(face.light_x) * face.nose_width * (0.45 + 0.3 * SPAN)
    face.fill(band(bridge, 0.02, face.nose_y), face.shadow, 0.3, depth=0.6)
    face.fill(oval(0, face.nose_y, face.nose_width, 0.045), face.shadow * 0.93, 0.75, depth=0.65)
    face.fill(oval(0, face.nose_y - 0.025, face.nose_width * 0.85, 0.04), face.skin_colour, depth=0.68)
    face.fill(oval(0.02 * face.light_x, face.nose_y - 0.04, 0.03, 0.03), face.light * 0.4 + 153, 0.5, depth=0.72)


def eyes(face: Faces) -> None:
    """Eyes with lids and brows."""
    iris = face.colour("iris", face.iris)
    for side in (-1, 1):
        middle, tilted = side * face.eye_x, -side * face.slant * SPAN
        x, top = middle + face.eye_width * SPAN, tilted - face.eye_height * ARCH**0.7
        face.fill(band(x, top, tilted + 0.75 * face.eye_height * ARCH), WHITE * 0.97)
        for radius, colour in ((0.074, iris), (0.038, iris * 0.25)):
            ball_x, ball_y = oval(middle + face.gaze, 0, radius, radius)
            face.fill((ball_x, np.clip(ball_y, -0.95 * face.eye_height, 0.72 * face.eye_height)), colour)
        face.fill(oval(middle + face.gaze + 0.03 * face.light_x, -0.025, 0.02, 0.02), WHITE)
        face.fill(band(x, top - face.lash * (0.5 + 0.5 * ARCH), top + 0.012), face.brow_colour * 0.6)
        brow = side * 0.012 * SPAN - face.brow_y - face.brow_arch * ARCH
        thick = face.brow_size * (1 - 0.45 * side * SPAN) * np.sqrt(ARCH + 0.1)
        face.fill(band(x + side * 0.01 + 0.035 * SPAN, brow - thick, brow + thick), face.brow_colour, 0.85)


def mouth(face: Faces) -> None:
    """Lips, teeth and mustache: smiling lifts the corners, opening parts the lips."""
    smile, opened = face.smiling, face.mouth_slightly_open
    lift, x = np.where(smile, 0.09, 0.01), face.mouth_width * np.where(smile, 0.235, 0.165) * SPAN
    line = face.mouth_y - lift * (SPAN**2 - 0.4)
    upper, lower = line - 0.02 * opened * ARCH, line + np.where(smile, 0.09, 0.07) * opened * ARCH
    bow = face.lip * ARCH**0.6 * (1 - 0.35 * np.exp(-(SPAN**2) / 0.02))
    face.fill(oval(0, face.mouth_y + 0.12 + 0.4 * lift, 0.08, 0.028), face.shadow, 0.4)
    face.fill(band(x, upper - bow, lower + 1.35 * face.lip * ARCH**0.7), face.lips)
    face.fill(band(x, lower + 0.3 * face.lip * ARCH, lower + 0.8 * face.lip * ARCH), face.lips + 30, 0.5)
    face.fill(band(0.9 * x, upper - 0.006, lower + 0.006), face.lips * (0.42, 0.25, 0.28))
    face.fill(band(0.8 * x, upper, np.minimum(upper + 0.05 * ARCH, lower)), WHITE, visible=opened)
    under = face.mouth_y - 0.03 - 0.3 * lift + 0.06 * SPAN**2
    top = under - 0.05 * (1 - np.abs(SPAN) ** 1.5) * (1 - 0.4 * np.exp(-(SPAN**2) / 0.01))
    face.fill(band(0.24 * SPAN, top - 0.012, under), face.brow_colour, visible=face.mustache, depth=0.55)


def hair(face: Faces) -> None:
    """Hair before the head: cap with a parting, side locks of long hair, bangs."""
    sin, cos = np.sin(1.75 * SPAN), np.cos(1.75 * SPAN)
    ripple = 1 + 0.03 * np.maximum(face.curl, 0) * np.sin(24 * SPAN)
    x, y = 0.53 * sin, np.minimum(1.1 * (0.53 * sin - face.part) ** 2 + 0.25 * SPAN**6 - face.forehead, -0.02)
    wide, high = face.volume * sin * ripple - x, -0.2 - (face.crown - 0.2) * cos * ripple - y
    face.fill(band(x + wide, y + high, y, x), face.hair_colour, depth=0.1)
    sheen = face.hair_colour * 0.75 + 64
    for low, up in ((0.25, 0.85), (0.4, 0.7)):
        face.fill(band(0.8 * (x + up * wide), y + up * high, y + low * high, 0.8 * (x + low * wide)), sheen, 0.22, depth=0.1)
    for side in (-1, 1):
        lock = oval(side * (face.volume - 0.09), 0, 0.13, 0.5, np.clip(face.length, 0.3, 1) * 0.9, -0.2, 0.8)
        face.fill(lock, face.hair_colour * 0.92, visible=face.length > 0.4, depth=0.1)
    x, fringe = 0.52 * SPAN, -0.24 + 0.016 * np.cos(9 * SPAN) + 0.12 * SPAN**2 + 0.15 * face.part * SPAN
    face.fill(band(x, -0.4, fringe + 0.03), face.shadow * 0.8, 0.4, face.bangs, 0.3)
    face.fill(band(x, 0.3 * SPAN**2 - 0.68, fringe), face.hair_colour * 1.05, 1, face.bangs, 0.25)
    face.fill(band(0.75 * x, 0.1 * SPAN**2 - 0.5, 0.1 * SPAN**2 - 0.42), sheen, 0.35, face.bangs, 0.25)


def hat(face: Faces) -> None:
    """Knitted cap or, with a wide brim, a hat."""
    wool, width, brim = face.colour("fabric", face.hat), face.volume + 0.03, np.maximum(face.brim, 0.02)
    options = {"visible": face.wearing_hat, "depth": 0.1}
    dome = oval(0, -0.44, width, face.crown - 0.32, 0.04, square=0.85)
    face.fill(band(0.5 * SPAN, -0.45, 0.1 * SPAN**2 - 0.36), face.shadow * 0.7, 0.35, **options)
    face.shade(dome, (0.3 * face.light_x, -0.75), wool * 0.82, wool * 1.06, 6, **options)
    x, line = (width + brim) * SPAN, (0.13 - 0.25 * brim) * SPAN**2 - 0.5
    face.fill(band(x, line - 0.1, line + 0.09), wool * 0.68, **options)
    face.fill(band(x, line - 0.1, line + 0.06), wool * 0.9, **options)


def glasses(face: Faces) -> None:
    """Lenses with a reflection, rims, temples and bridge."""
    frame, size, options = face.colour("frame", face.frame), face.frame_size, {"visible": face.eyeglasses, "depth": 0.56}
    for middle in (-face.eye_x, face.eye_x):
        x, y = oval(middle, 0.02, size, 0.86 * size, square=face.frame_square)
        temple = np.sign(middle) * np.linspace(face.eye_x[:, 0] + size[:, 0], 0.57, 3, axis=1)
        face.fill(band(temple, -0.05, -0.015), frame, **options)
        face.fill((x, y), np.array([[225, 240, 250]]), 0.16, **options)
        glint = middle + size * (0.35 * SPAN - 0.3)
        face.fill(band(glint, 0.02 - 0.55 * size, 0.02 - size * (0.25 + 0.2 * SPAN)), WHITE, 0.4, **options)
        thin = 1 - face.frame_width / size
        face.fill(band(x, y, 0.02 + (y - 0.02) * thin, middle + (x - middle) * thin), frame, **options)
    arch = 0.02 * SPAN**2
    face.fill(band((face.eye_x - size + 0.02) * SPAN, arch - 0.03, arch + 0.005), frame, **options)


def paint(face: Faces) -> np.ndarray:
    """Images (n, 64, 64, 3) as uint8 of a batch of faces."""
    for part in (body, head, eyes, mouth, hair, hat, glasses):
        part(face)
    ends = (0.8 * face.colour("fabric", place)[:, None] + 45 for place in (face.back, face.back_second))
    first, second = ends
    share = 0.5 + 0.5 * np.cos(face.back_angle + np.array([0, 0.5, 1.5, 1]) * np.pi)[:, :, None]
    corners = (share * first + (1 - share) * second).astype(np.uint8).reshape(-1, 2, 2, 3)
    images = np.empty((len(corners), SIZE, SIZE, 3), np.float32)
    for index, corner in enumerate(corners):
        image = Image.fromarray(corner).resize((SIZE, SIZE), Image.Resampling.BILINEAR)
        image = image.resize((SIZE * FINE, SIZE * FINE), Image.Resampling.NEAREST)
        pens = ImageDraw.Draw(image), ImageDraw.Draw(image, "RGBA")  # the second one mixes colours
        for mixes, visible, points, ink in face.polygons:
            if visible[index]:
                pens[mixes].polygon(points[index], fill=ink[index])
        images[index] = image.reduce(FINE)
    axis = np.linspace(-0.13, 0.13, SIZE)
    light = 1 + face.light_x[..., None] * axis + face.light_y[..., None] * axis[:, None]
    tint = 1 + face.warmth * (1, 0, -1)
    images *= (light[..., None] * tint[:, None, None]).astype(np.float32)
    return np.clip(images, 0, 255).astype(np.uint8)


def draw(count: int, seed: int, attributes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Faces: uint8 images (count, 64, 64, 3) and boolean attributes (count, len(ATTRIBUTES)).

    Given attributes replace the random ones; face i of a seed keeps its identity whatever its attributes are.
    """
    # Random numbers fill the rows in order, so a smaller count is a prefix of a larger one.
    identity = np.random.default_rng((seed, 0)).random((count, len(RANGES)))
    if attributes is None:
        attributes = np.random.default_rng((seed, 1)).random((count, len(ATTRIBUTES))) < FREQUENCIES
    attributes = np.broadcast_to(np.asarray(attributes, bool), (count, len(ATTRIBUTES)))
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for start in range(0, count, BATCH):
        rows = slice(start, start + BATCH)
        images[rows] = paint(Faces(identity[rows], attributes[rows]))
    return images, attributes
