"""Pictures for style transfer without a network: two photographs from scikit-learn, and a painting drawn by code."""

import numpy as np
from PIL import Image, ImageDraw

CREDITS = {  # as given in scikit-learn's sklearn/datasets/images/README.txt
    "china": "china.jpg by danielbuechele, CC BY 2.0, https://www.flickr.com/photos/danielbuechele/6061409035/",
    # The file attributes both to danielbuechele; its address for the second is in the stream of vultilion.
    "flower": "flower.jpg by danielbuechele / vultilion, CC BY 2.0, https://www.flickr.com/photos/vultilion/6056698931/",
}
NIGHT = ((8, 16, 60), (16, 42, 116), (32, 84, 168), (86, 146, 200), (176, 206, 208), (236, 224, 160))  # dark to bright
GLOW = ((60, 99, 170), (150, 170, 130), (218, 166, 50), (248, 206, 62), (255, 242, 180))  # a star, from the rim inwards
EARTH = ((8, 18, 44), (18, 48, 78), (30, 84, 88), (104, 116, 58), (204, 152, 52))
TREE = ((4, 8, 14), (10, 24, 22), (24, 46, 30), (78, 66, 30))
FINE = 2  # painted FINE times larger, then averaged down: smooth edges
LAYERS = ((3500, 0.02, 0.014), (9000, 0.015, 0.008), (14000, 0.011, 0.0045))  # strokes, length of a step, thickness
# Thick paint in a light from above, a dark lower edge, the paint, a bright ridge: shift, thickness, brightness
RELIEF = np.array([(0.35, 0.9, 0.6), (0, 0.8, 1), (-0.3, 0.25, 1.25)])


def photographs() -> dict[str, np.ndarray]:
    """The photographs 'china' and 'flower': uint8 (427, 640, 3) each. Credits: CREDITS."""
    from sklearn.datasets import load_sample_image  # slow to import, and only needed here

    return {name: np.array(load_sample_image(f"{name}.jpg")) for name in CREDITS}


def _ramp(colours: tuple, level: np.ndarray) -> np.ndarray:
    """Colours (..., 3) for levels (...), from 0, the first colour, to 1, the last one."""
    return np.stack([np.interp(level, np.linspace(0, 1, len(colours)), part) for part in np.transpose(colours)], -1)


def _clouds(rng: np.random.Generator, height: int, width: int, cells: int) -> np.ndarray:
    """Smooth noise (height, width), about -1 to 1, with `cells` hills along each side."""
    coarse = Image.fromarray(rng.normal(0, 0.6, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))


def _plan(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """What the brush follows: colours (height, width, 3), and directions (height, width) as complex numbers x + iy."""
    (y, x), aspect = np.mgrid[0:height, 0:width] / height, width / height  # the unit is the picture's height
    level = 0.2 + 0.35 * y + 0.2 * _clouds(rng, height, width, 6)
    flow = np.exp(0.8j * _clouds(rng, height, width, 4))
    for share in (0.2, 0.5, 0.84):  # vortices: spiral arms in the colour, a turning flow
        away = x - aspect * (share + rng.uniform(-0.06, 0.06)) + 1j * (y - rng.uniform(0.22, 0.5))
        size, turn = rng.uniform(0.09, 0.16), rng.choice((-1, 1))
        near = np.exp(-((np.abs(away) / size) ** 2) / 2)
        level += near * (0.2 + 0.4 * np.sin(2 * np.angle(away) + turn * 5 * np.log(np.abs(away) / size + 0.15)))
        flow += 6 * near * turn * away * (1j - 0.3 * turn) / (np.abs(away) + 1e-3)
    colours = _ramp(NIGHT, level)
    for share in np.linspace(0.06, 0.94, 9):  # stars: a bright disc in rings of halo
        away = x - aspect * (share + rng.uniform(-0.04, 0.04)) + 1j * (y - rng.uniform(0.06, 0.5))
        near = np.exp(-np.abs(away) / rng.uniform(0.02, 0.045))
        cover = np.clip(3 * near - 0.2, 0, 1)
        colours += cover[..., None] * (_ramp(GLOW, 1.3 * near**0.7 + 0.15 * np.sin(np.abs(away) * 200)) - colours)
        flow += 12 * near * 1j * away / (np.abs(away) + 1e-3)
    for base, light in ((0.7, 0.35), (0.78, 0.6), (0.88, 0.45)):  # ridges, from far to near
        ridge = base + 0.05 * np.sin(x * rng.uniform(3, 6) + rng.uniform(0, 6)) + 0.015 * np.sin(x * 13 + 9 * base)
        furrows = np.sin((y - ridge) * 150 + 4 * _clouds(rng, height, width, 5))
        below = y > ridge
        colours[below] = _ramp(EARTH, light + 0.3 * furrows - 1.5 * (y - ridge))[below]
        flow[below] = (1 + 1j * np.gradient(ridge, axis=1) * height)[below]
    for share, top, wide in ((0.68, 0.55, 0.022), (0.79, 0.16, 0.05), (0.9, 0.4, 0.035)):  # flame-shaped trees
        rest = np.clip((y - top) / (1 - top), 0, 1)
        sway = x - aspect * share - 0.012 * np.sin(y * 22 + share * 30)
        inside = np.abs(sway) < wide * np.sin(np.pi * rest**0.7 * 0.85) * (1 + 0.2 * np.sin(y * 60 + np.sign(sway)))
        colours[inside] = _ramp(TREE, 0.4 + 0.5 * np.sin(sway * 260 + y * 20))[inside]
        flow[inside] = (0.3 * np.cos(y * 22 + share * 30) - 1j)[inside]
    return colours, flow / (np.abs(flow) + 1e-6)


def swirls(height: int, width: int, seed: int) -> np.ndarray:
    """A swirling night made of thousands of brush strokes that follow a flow field: uint8 (height, width, 3)."""
    rng = np.random.default_rng(seed)
    colours, flow = _plan(rng, height, width)
    image = Image.fromarray(np.clip(0.7 * colours, 0, 255).astype(np.uint8)).resize((FINE * width, FINE * height))
    pen = ImageDraw.Draw(image)
    for count, step, thick in LAYERS:
        path = [rng.uniform(0, width, count) + 1j * rng.uniform(0, height, count)]
        for _ in range(4):
            rows, columns = np.clip([path[-1].imag, path[-1].real], 0, [[height - 1], [width - 1]]).astype(int)
            path.append(path[-1] + step * height * flow[rows, columns])
        paint = colours[path[0].imag.astype(int), path[0].real.astype(int)] * rng.uniform(0.7, 1.3, (count, 1))
        inks = np.clip((paint + rng.normal(0, 9, (count, 3)))[:, None] * RELIEF[:, 2:], 0, 255).astype(int)
        lines = FINE * (np.stack(path, 1)[:, None] + 1j * thick * height * RELIEF[:, :1])
        corners = np.stack([lines.real, lines.imag], -1).reshape(count, len(RELIEF), -1)
        widths = [max(1, round(FINE * thick * height * part)) for part in RELIEF[:, 1]]
        for stroke, tones in zip(corners.tolist(), inks.tolist(), strict=True):
            for line, ink, wide in zip(stroke, tones, widths, strict=True):
                pen.line(line, tuple(ink), wide)
    return np.array(image.reduce(FINE))
