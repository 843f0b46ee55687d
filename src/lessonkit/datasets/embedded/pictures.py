"""Pictures for style transfer without a network: two photographs that come with scikit-learn, one painting made by code."""

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

CREDITS = {  # as given in scikit-learn's sklearn/datasets/images/README.txt
    "china": "china.jpg by danielbuechele, CC BY 2.0, https://www.flickr.com/photos/danielbuechele/6061409035/",
    "flower": "flower.jpg by danielbuechele, CC BY 2.0, https://www.flickr.com/photos/vultilion/6056698931/",
}
NIGHT = ((8, 18, 58), (18, 44, 110), (34, 84, 158), (84, 138, 190), (170, 200, 205), (226, 218, 160))  # dark to bright
GLOW = ((60, 100, 150), (150, 160, 120), (214, 170, 62), (246, 206, 74), (255, 240, 178))  # a star, from outside to inside
EARTH = ((10, 20, 34), (18, 40, 54), (30, 62, 66), (66, 84, 56), (150, 118, 44))


def photographs() -> dict[str, np.ndarray]:
    """The photographs 'china' and 'flower': uint8 (427, 640, 3) each. Credits: CREDITS."""
    from sklearn.datasets import load_sample_image  # slow to import, and only needed here

    return {name: np.array(load_sample_image(f"{name}.jpg")) for name in CREDITS}


def _ramp(colours: tuple, level: np.ndarray) -> np.ndarray:
    """Colours (..., 3) at levels (...) from 0, the first one, to 1, the last one."""
    stops = np.linspace(0, 1, len(colours))
    return np.stack([np.interp(level, stops, channel) for channel in np.transpose(colours)], -1)


def _clouds(rng: np.random.Generator, shape: tuple[int, int], cells: int) -> np.ndarray:
    """Smooth noise of the given shape (height, width), about -1 to 1, with `cells` hills along each side."""
    coarse = Image.fromarray(rng.normal(0, 0.6, (cells, cells)).astype(np.float32))
    return np.asarray(coarse.resize(shape[::-1], Image.Resampling.BICUBIC))


def swirls(height: int, width: int, seed: int) -> np.ndarray:
    """A swirling night made of thousands of brush strokes that follow a flow field: uint8 (height, width, 3)."""
    rng, shape = np.random.default_rng(seed), (height, width)
    y, x = np.mgrid[0:height, 0:width] / height  # the unit is the height of the picture
    aspect = width / height
    level, flow = 0.3 + 0.25 * y + 0.25 * _clouds(rng, shape, 6), np.exp(1j * 0.7 * _clouds(rng, shape, 4))
    # Vortices: spiral arms in the colour, a turning flow
    for share in (0.2, 0.52, 0.85):
        centre_x, centre_y = aspect * (share + rng.uniform(-0.06, 0.06)), rng.uniform(0.2, 0.5)
        away, size = (x - centre_x) + 1j * (y - centre_y), rng.uniform(0.1, 0.2)
        near = np.exp(-((np.abs(away) / size) ** 2) / 2)
        arms = np.sin(2 * np.angle(away) - 5 * np.log(np.abs(away) / size + 0.2))
        level, flow = level + near * (0.25 + 0.35 * arms), flow + 6 * near * 1j * away / (np.abs(away) + 1e-3) * rng.choice((-1, 1))
    canvas = _ramp(NIGHT, level)
    # Stars
    for share in (np.arange(9) + 0.5) / 9:
        away = (x - aspect * (share + rng.uniform(-0.04, 0.04))) + 1j * (y - rng.uniform(0.05, 0.5))
        near = np.exp(-np.abs(away) / rng.uniform(0.02, 0.045))
        rings = np.clip(1.25 * near ** 0.6 + 0.12 * np.sin(np.abs(away) * 160), 0, 1)
        cover = np.clip(3 * near - 0.15, 0, 1)[..., None]
        canvas = canvas * (1 - cover) + cover * _ramp(GLOW, rings)
        flow = flow + 12 * near * 1j * away / (np.abs(away) + 1e-3)
    return canvas
