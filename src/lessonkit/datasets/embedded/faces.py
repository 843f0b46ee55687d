"""Embedded stand-in for CelebA: illustrated faces with attributes that can be redrawn one by one.

Outlines are computed for a batch of faces at once; the loop over single faces only hands polygons to Pillow.
"""

import numpy as np
from PIL import Image, ImageDraw

ATTRIBUTES = ("Smiling", "Eyeglasses", "Blond_Hair", "Wearing_Hat", "Mustache", "Bangs", "Mouth_Slightly_Open")
FREQUENCIES = (0.5, 0.4, 0.35, 0.35, 0.35, 0.4, 0.4)
SIZE, FINE, BATCH = 64, 3, 250  # picture size, supersampling, faces per batch
RING, SPAN = np.linspace(0, 2 * np.pi, 23), np.linspace(-1, 1, 11)  # parameters of closed outlines and of bands
ARCH, WHITE = 1 - SPAN**2, np.array([[250, 248, 245]])
# Identity: every parameter is uniform in its range. Lengths are in face units (origin between the eyes, y down, 1 is
# half a picture); parameters from 0 to 1 are places in a palette.
RANGES = {
    "shift_x": (-0.06, 0.06), "shift_y": (-0.05, 0.04), "scale": (0.90, 1.02), "tilt": (-0.11, 0.11), "skin": (0, 1),
    "turn": (-0.26, 0.26), "light_x": (-1, 1), "light_y": (-0.9, 0.1), "warmth": (-0.04, 0.04), "chin": (0.73, 0.81),
    "cheek": (0.51, 0.57), "jaw": (0.78, 0.98), "eye_x": (0.245, 0.275), "eye_width": (0.11, 0.13), "iris": (0, 1),
    "eye_height": (0.068, 0.09), "slant": (-0.02, 0.03), "gaze": (-0.025, 0.025), "lash": (0.015, 0.04),
    "brow_y": (0.17, 0.21), "brow_arch": (0.02, 0.06), "brow_size": (0.016, 0.034), "nose_y": (0.26, 0.31),
    "nose_width": (0.07, 0.10), "mouth_y": (0.48, 0.52), "mouth_width": (0.90, 1.12), "lip": (0.022, 0.042),
    "lip_red": (0.05, 0.4), "hair": (0, 1), "volume": (0.62, 0.72), "crown": (0.80, 0.92), "length": (-0.7, 1.3),
    "curl": (-0.7, 1), "part": (-0.3, 0.3), "forehead": (0.46, 0.56), "neckline": (1.0, 1.18), "cloth": (0, 1),
    "back": (0, 1), "back_step": (-0.3, 0.3), "back_angle": (0, 6.28), "hat": (0, 1), "brim": (-0.25, 0.28),
    "frame": (0, 1), "frame_size": (0.175, 0.205), "frame_width": (0.036, 0.052), "frame_square": (0.55, 1.0),
}  # fmt: skip
PALETTES = {
    "skin": "ffe2d0 f8d0b4 eabb98 d09c7a aa7656 845a42 644434", "hair": "241f23 322624 443028 583c2e 704832 925236",
    "blond": "bc9460 d8b27a ead09e", "iris": "422c22 543826 684e32 546850 4e6e8c",
    "frame": "1c1c24 7a3038 2c4878 c8964c", "fabric": "c4685c e2ac7a deceac 94b296 5c949a 425880 8e84b2 ce96a6 686874",
}


def oval(x, y, width, up, down=None, taper=0.0, square=1.0) -> tuple[np.ndarray, np.ndarray]:
    """Outline (n, points) with heights up and down; taper narrows the lower half, square below 1 fills the corners."""
    cos, sin = np.cos(RING), np.sin(RING)
    across, along = (np.sign(wave) * np.abs(wave) ** square for wave in (cos, sin))
    height = np.where(sin < 0, up, up if down is None else down)
    return x + width * across * (1 - taper * (sin > 0) * sin**2), y + height * along


def band(x, top, bottom, bottom_x=None) -> tuple[np.ndarray, np.ndarray]:
    """Outline (n, points) of the area between two curves."""
    x, top, bottom, back = np.broadcast_arrays(np.atleast_2d(x), top, bottom, x if bottom_x is None else bottom_x)
    return np.concatenate([x, back[:, ::-1]], axis=1), np.concatenate([top, bottom[:, ::-1]], axis=1)


class Faces:
    """A batch of n faces: parameters and attributes (n, 1), colours (n, 3), and each face's polygons so far."""

    def __init__(self, identity: np.ndarray, attributes: np.ndarray):
        for (name, (low, high)), column in zip(RANGES.items(), identity.T, strict=True):
            setattr(self, name, low + (high - low) * column[:, None])
        vars(self).update(zip(map(str.lower, ATTRIBUTES), attributes.T[:, :, None], strict=True))
        self.flesh, dark = self.colour("skin"), self.colour("hair")
        self.bright, self.shadow = self.flesh * 1.05 + 4, self.flesh * (0.84, 0.75, 0.73)
        self.brow = np.minimum(dark * 0.9, self.flesh * 0.55)  # stays visible on dark skin
        self.strands = np.where(self.blond_hair, self.colour("blond", self.hair), dark)
        self.polygons = [[] for _ in identity]

    def colour(self, palette: str, place: np.ndarray | None = None) -> np.ndarray:
        """Colours (n, 3) at places (n, 1) from 0 to 1 along a palette."""
        codes = np.array([list(bytes.fromhex(code)) for code in PALETTES[palette].split()])
        place, steps = getattr(self, palette) if place is None else place, np.linspace(0, 1, len(codes))
        return np.stack([np.interp(place[:, 0], steps, channel) for channel in codes.T], axis=1)

    def fill(self, outline, colour, opacity=1.0, visible=True, depth=0.5) -> None:
        """Add one polygon to each face; depth says how far a turn of the head moves it."""
        x, y = outline
        x = x + self.turn * depth * np.maximum(1 - (x / 0.62) ** 2, 0)  # points near the axis stand out most
        cos, sin = self.scale * np.cos(self.tilt), self.scale * np.sin(self.tilt)
        points = np.stack([1 + self.shift_x + cos * x - sin * y, 0.94 + self.shift_y + sin * x + cos * y], axis=2)
        points = (SIZE * FINE / 2 * points + 0.5).astype(int).reshape(len(points), -1)
        ink = np.insert(np.broadcast_to(colour, self.flesh.shape), 3, 255 * opacity, axis=1).clip(0, 255).astype(int)
        seen = np.flatnonzero(np.broadcast_to(visible, self.skin.shape))
        for index, corners, paint in zip(seen, points[seen].tolist(), map(tuple, ink[seen].tolist()), strict=True):
            self.polygons[index].append((opacity < 1, corners, paint))

    def shade(self, outline, centre, edge, core, **options) -> None:
        """Add a soft gradient from edge to core colour: copies of an outline that shrink towards a centre."""
        for share in np.linspace(0, 1, 6):
            shrunk = (to + (axis - to) * (1 - 0.75 * share) for axis, to in zip(outline, centre, strict=True))
            self.fill(shrunk, edge + (core - edge) * share**0.7, **options)


def body(face: Faces) -> None:
    """Hair behind the head, clothes, neck and ears."""
    x, y = oval(0, 0, face.volume, 0.96 * face.crown, np.maximum(face.length, 0.2), -0.1 * (face.length > 0.4), 0.8)
    ripple, cloth = 1 + 0.04 * np.maximum(face.curl, 0) * np.sin(9 * RING), face.colour("fabric", face.cloth)
    face.fill((x * ripple, y * ripple), face.strands * 0.78, depth=0)
    face.shade(oval(0, 1.7, 1.15, 0.7, square=0.8), (0.4 * face.light_x, 1.4), cloth * 0.8, cloth, depth=0)
    face.fill(oval(0, 1.03, 0.31, 0.03, face.neckline - 0.99), cloth * 0.65, depth=0)
    face.fill(oval(0, 0.7, 0.24, 0.2, face.neckline - 0.7, -0.3, 0.6), face.flesh * (0.92, 0.87, 0.86), depth=0)
    face.fill(oval(0.1 * face.turn, 0.74, 0.235, 0.15), face.shadow * 0.85, 0.6, depth=0)
    for side in (-1, 1):
        face.fill(oval(side * (face.cheek + 0.01) - 0.12 * face.turn, 0.08, 0.075, 0.13), face.flesh * 0.9, depth=0)


def head(face: Faces) -> None:
    """Face with soft light, cheeks and nose."""
    centre = 0.22 * face.light_x + 0.3 * face.turn, 0.05 + 0.2 * face.light_y
    face.shade(oval(0, 0, face.cheek, 0.72, face.chin, 0.12, face.jaw), centre, face.shadow, face.bright, depth=0.15)
    for side in (-1, 1):
        for size in (0.08, 0.15):
            face.fill(oval(side * 0.31, 0.29, size, 0.75 * size), face.flesh * (1, 0.7, 0.68), 0.18)
        face.fill(oval(side * face.eye_x, -0.03, 0.17, 0.13), face.shadow, 0.22)
    dark_side = -np.sign(face.light_x) * face.nose_width
    face.fill(band(dark_side * (0.45 + 0.3 * SPAN), 0.02, face.nose_y), face.shadow, 0.3, depth=0.6)
    face.fill(oval(0, face.nose_y, face.nose_width, 0.045), face.shadow * 0.93, 0.75, depth=0.65)
    face.fill(oval(0, face.nose_y - 0.025, face.nose_width * 0.85, 0.04), face.bright, depth=0.68)


def eyes(face: Faces) -> None:
    """Eyes with lids and brows."""
    for side in (-1, 1):
        middle, tilted, height = side * face.eye_x, -side * face.slant * SPAN, face.eye_height
        x, top = middle + face.eye_width * SPAN, tilted - height * ARCH**0.7
        face.fill(band(x, top, tilted + 0.75 * height * ARCH), WHITE * 0.97)
        for radius, dark in ((0.074, 1), (0.038, 0.25)):
            ball_x, ball_y = oval(middle + face.gaze, 0, radius, radius)
            face.fill((ball_x, np.clip(ball_y, -0.95 * height, 0.72 * height)), face.colour("iris") * dark)
        face.fill(oval(middle + face.gaze + 0.03 * face.light_x, -0.025, 0.02, 0.02), WHITE)
        face.fill(band(x, top - face.lash * (0.5 + 0.5 * ARCH), top + 0.012), face.brow * 0.6)
        line = side * 0.012 * SPAN - face.brow_y - face.brow_arch * ARCH
        thick = face.brow_size * (1 - 0.45 * side * SPAN) * np.sqrt(ARCH + 0.1)
        face.fill(band(x + side * 0.01 + 0.035 * SPAN, line - thick, line + thick), face.brow, 0.85)


def mouth(face: Faces) -> None:
    """Lips, teeth and mustache: smiling lifts the corners, opening parts the lips."""
    lips = face.flesh * (0.88, 0.66, 0.66) * (1 - face.lip_red) + face.lip_red * np.array([200, 64, 78])
    lift, width = np.where(face.smiling, 0.09, 0.035), face.mouth_width * np.where(face.smiling, 0.235, 0.165)
    x, line = width * SPAN, face.mouth_y - lift * (SPAN**2 - 0.4)
    gap, bow = 0.4 * width * face.mouth_slightly_open * ARCH, face.lip * ARCH**0.6 * (1 - 0.35 * np.exp(-50 * SPAN**2))
    upper, lower = line - 0.2 * gap, line + gap
    face.fill(band(x, upper - bow, lower + 1.35 * face.lip * ARCH**0.7), lips)
    face.fill(band(0.9 * x, upper - 0.006, lower + 0.006), lips * (0.42, 0.25, 0.28))
    face.fill(band(0.8 * x, upper, line + 0.35 * gap), WHITE, 1, face.mouth_slightly_open)
    under = face.mouth_y - 0.035 - 0.2 * lift + 0.03 * SPAN**2
    top = under - 0.012 - 0.06 * (1 - np.abs(SPAN) ** 1.5) * (1 - 0.4 * np.exp(-100 * SPAN**2))
    face.fill(band(0.23 * SPAN, top, under), face.brow, 1, face.mustache, 0.55)


def hair(face: Faces) -> None:
    """Hair before the head: cap with a parting, bangs, side locks of long hair."""
    sin, cos, sheen = np.sin(1.75 * SPAN), np.cos(1.75 * SPAN), face.strands * 0.75 + 64
    ripple = 1 + 0.03 * np.maximum(face.curl, 0) * np.sin(24 * SPAN)
    x, y = 0.53 * sin, np.minimum(1.1 * (0.53 * sin - face.part) ** 2 + 0.25 * SPAN**6 - face.forehead, -0.02)
    wide, high = face.volume * sin * ripple - x, -0.2 - (face.crown - 0.2) * cos * ripple - y
    face.fill(band(x + wide, y + high, y, x), face.strands, depth=0.1)
    shine = band(0.8 * (x + 0.8 * wide), y + 0.8 * high, y + 0.35 * high, 0.8 * (x + 0.35 * wide))
    face.fill(shine, sheen, 0.35, depth=0.1)
    x, fringe = 0.55 * SPAN, -0.24 + 0.016 * np.cos(9 * SPAN) + 0.15 * SPAN**2 + 0.15 * face.part * SPAN
    face.fill(band(x, fringe - 0.1, fringe + 0.03), face.shadow * 0.8, 0.4, face.bangs, 0.3)
    face.fill(band(x, 0.32 * SPAN**2 - 0.68, fringe), face.strands * 1.04, 1, face.bangs, 0.25)
    for side in (-1, 1):
        lock = oval(side * (face.volume - 0.09), -0.05, 0.12, 0.5, np.clip(face.length, 0.3, 1) * 0.85, -0.25, 0.85)
        face.fill(lock, face.strands * 0.95, 1, face.length > 0.5, 0.1)


def hat(face: Faces) -> None:
    """Knitted cap or, with a wide brim, a hat."""
    wool, width, brim = face.colour("fabric", face.hat), face.volume + 0.03, np.maximum(face.brim, 0.02)
    options, thick = {"visible": face.wearing_hat, "depth": 0.1}, np.sqrt(np.minimum(1, 4 * ARCH + 0.1))
    face.fill(band(0.5 * SPAN, -0.45, 0.1 * SPAN**2 - 0.36), face.shadow * 0.2, 0.25, **options)
    dome = oval(0, -0.44, width, face.crown - 0.32, 0.04, square=0.85)
    face.shade(dome, (0.3 * face.light_x, -0.75), wool * 0.84, wool * 1.06, **options)
    x, line = (width + brim) * SPAN, (0.13 - 0.25 * brim) * SPAN**2 - 0.5
    face.fill(band(x, line - 0.1 * thick, line + 0.09 * thick), wool * 0.68, **options)
    face.fill(band(x, line - 0.1 * thick, line + 0.055 * thick), wool * 0.92, **options)


def glasses(face: Faces) -> None:
    """Pale lenses, rims, temples and bridge."""
    frame, size, options = face.colour("frame"), face.frame_size, {"visible": face.eyeglasses, "depth": 0.56}
    for side in (-1, 1):
        middle, thin = side * face.eye_x, 1 - face.frame_width / size
        temple = side * (face.eye_x + size + (0.57 - face.eye_x - size) * SPAN[5:])
        face.fill(band(temple, -0.05, -0.015), frame, **options)
        x, y = oval(middle, 0.02, size, 0.86 * size, square=face.frame_square)
        face.fill((x, y), WHITE, 0.13, **options)
        face.fill(band(x, y, 0.02 + (y - 0.02) * thin, middle + (x - middle) * thin), frame, **options)
    face.fill(band((face.eye_x - size + 0.02) * SPAN, -0.02 - 0.015 * ARCH, 0.02 - 0.015 * ARCH), frame, **options)


def backdrop(face: Faces) -> np.ndarray:
    """Corner colours (n, 2, 2, 3) as uint8 of a soft background."""
    first, second = (face.colour("fabric", np.abs(face.back + step))[:, None] for step in (0, face.back_step))
    share = 0.5 + 0.5 * np.cos(face.back_angle + np.array([0, 0.5, 1.5, 1]) * np.pi)[:, :, None]
    return (0.8 * (share * first + (1 - share) * second) + 45).astype(np.uint8).reshape(-1, 2, 2, 3)


def light(face: Faces) -> np.ndarray:
    """Brightness (n, 64, 64, 3) as float32 of warm or cold light that falls in from one side."""
    axis = np.linspace(-0.13, 0.13, SIZE)
    slope = 1 + face.light_x[..., None] * axis + face.light_y[..., None] * axis[:, None]
    return slope[..., None].astype(np.float32) * (1 + face.warmth * (1, 0, -1)).astype(np.float32)[:, None, None]


def paint(face: Faces) -> np.ndarray:
    """Images (n, 64, 64, 3) as uint8 of a batch of faces."""
    for part in (body, head, eyes, mouth, hair, hat, glasses):
        part(face)
    images, canvas = light(face), (SIZE * FINE, SIZE * FINE)
    for index, corners in enumerate(backdrop(face)):
        image = Image.fromarray(corners).resize((SIZE, SIZE), Image.BILINEAR).resize(canvas, Image.NEAREST)
        pens = ImageDraw.Draw(image), ImageDraw.Draw(image, "RGBA")  # the second one mixes colours
        for mixes, points, ink in face.polygons[index]:
            pens[mixes].polygon(points, fill=ink)
        images[index] *= image.reduce(FINE)
    return np.minimum(images, 255).astype(np.uint8)


def draw(count: int, seed: int, attributes: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Faces: uint8 images (count, 64, 64, 3) and boolean attributes (count, len(ATTRIBUTES)).

    Given attributes replace the random ones; face i of a seed keeps its identity whatever its attributes are.
    """
    # Random numbers fill the rows in order, so a smaller count is a prefix of a larger one.
    identity = np.random.default_rng((seed, 0)).random((count, len(RANGES)))
    if attributes is None:
        attributes = np.random.default_rng((seed, 1)).random((count, len(ATTRIBUTES))) < FREQUENCIES
    attributes = np.array(np.broadcast_to(attributes, (count, len(ATTRIBUTES))), dtype=bool)
    images = np.empty((count, SIZE, SIZE, 3), np.uint8)
    for rows in (slice(start, start + BATCH) for start in range(0, count, BATCH)):
        images[rows] = paint(Faces(identity[rows], attributes[rows]))
    return images, attributes
