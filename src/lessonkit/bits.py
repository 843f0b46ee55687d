"""Bits per pixel of simple models and of file formats on the same pixels: what a model with a likelihood must beat.

All pictures here are grey levels, uint8 (n, height, width) with values 0 .. levels - 1. The models are fitted to the
training pictures and measured on the test pictures; the formats see the test pictures alone, 500 of them per file, so
that a header hardly counts and what repeats from picture to picture can be used.
"""

import functools
import gzip as deflate
import io
import typing
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image
from scipy import linalg, special

if typing.TYPE_CHECKING:
    from lessonkit.run import Run

PER_FILE = 500  # pictures; 500 x 28 rows are below the 16,383 that WebP allows
UNIFORM = 0.01  # share of a uniform distribution in the discretised Gaussian: no level costs infinitely many bits
LEAST_VARIANCE = 0.01  # squared levels, added to that of every pixel in the discretised Gaussian


def quantised(images: np.ndarray, levels: int) -> np.ndarray:
    """uint8 images with values 0 .. 255 -> grey levels 0 .. levels - 1, uint8, all levels equally wide."""
    return (images.astype(np.uint16) * levels // 256).astype(np.uint8)


def baselines(train: np.ndarray, test: np.ndarray, levels: int) -> dict[str, float]:
    """Mean bits per pixel of the test pictures by every function below; both sets (n, height, width), levels.

    Keys: "independent", "gaussian" (discretised), "gaussian_density" (a bound, of dequantised pixels), "gzip", "png",
    "webp". About 20 seconds for 60,000 + 10,000 pictures of 28 x 28 on two CPU cores.

    Raises:
        ValueError: for pictures that are not uint8, or with values that are no levels.
    """
    models = {
        "independent": float(np.mean(independent(train, test, levels))),
        "gaussian": float(np.mean(gaussian(train, test, levels))),
        "gaussian_density": float(np.mean(gaussian_density(train, test, levels))),
    }
    return models | {"gzip": gzip(test), "png": png(test, levels), "webp": webp(test, levels)}


def report(run: "Run", train: np.ndarray, test: np.ndarray, levels: int, expected: Mapping[str, tuple]) -> dict:
    """`baselines`, handed to `run.metric` as bits_independent and so on; `expected`: ranges by these names."""
    with run.part("baselines"):
        found = baselines(train, test, levels)
    for name, value in found.items():
        run.metric(f"bits_{name}", value, f"bits per pixel ({len(test):,} pictures)", *expected.get(f"bits_{name}", ()))
    return found


# Models. Each function gives the bits per pixel (n,) of every test picture.


def independent(train: np.ndarray, test: np.ndarray, levels: int) -> np.ndarray:
    """A histogram per pixel, each count half a picture larger than it is (Krichevsky and Trofimov's estimate)."""
    train, test = _rows(train, levels), _rows(test, levels)
    counts = np.stack([np.bincount(column, minlength=levels) for column in train.T])  # (pixels, levels)
    bits = np.log2(len(train) + levels / 2) - np.log2(counts + 0.5)
    return np.mean(bits[np.arange(test.shape[1]), test], axis=1)


def gaussian(train: np.ndarray, test: np.ndarray, levels: int) -> np.ndarray:
    """The full-covariance Gaussian, discretised pixel by pixel: exact bits of a distribution over pictures of levels.

    Given the pixels before it, a pixel of a Gaussian is Gaussian. Level k has the probability of the interval from
    k - 1/2 to k + 1/2, the lowest and the highest that of the whole tail; and 1 % of a uniform distribution.
    """
    train, test = _rows(train, levels), _rows(test, levels)
    mean, covariance = _moments(train)
    root = linalg.cholesky(covariance + LEAST_VARIANCE * np.eye(len(mean)), lower=True)
    deviations = np.diag(root)
    standard = linalg.solve_triangular(root, (test - mean).T, lower=True).T  # (test - conditional mean) / deviation
    above = np.where(test == levels - 1, np.inf, standard + 0.5 / deviations)
    below = np.where(test == 0, -np.inf, standard - 0.5 / deviations)
    above, below = np.where(standard > 0, (-below, -above), (above, below))  # the left tail is the exact one
    inside = special.ndtr(above) - special.ndtr(below)
    return np.mean(-np.log2((1 - UNIFORM) * inside + UNIFORM / levels), axis=1)


def gaussian_density(train: np.ndarray, test: np.ndarray, levels: int) -> np.ndarray:
    """The full-covariance Gaussian of dequantised pixels y = x + u, u uniform in [0, 1): -log2 p(y), mean over u.

    The mean is taken in closed form: u adds 1/12 to the variance of every pixel, in the fit and in the test. It is an
    upper bound of the bits of the discrete P(x) = mean over u of p(x + u). Source: Theis et al. 2016, arXiv:1511.01844.
    """
    train, test = _rows(train, levels), _rows(test, levels)
    mean, covariance = _moments(train)
    root = linalg.cholesky(covariance + np.eye(len(mean)) / 12, lower=True)
    standard = linalg.solve_triangular(root, (test - mean).T, lower=True)
    inverse = linalg.solve_triangular(root, np.eye(len(mean)), lower=True)
    squares = np.sum(standard**2, axis=0) + np.sum(inverse**2) / 12
    nats = squares / 2 + np.sum(np.log(np.diag(root))) + len(mean) * np.log(2 * np.pi) / 2
    return nats / np.log(2) / len(mean)


# File formats. Each function gives the mean bits per pixel of all pictures.


def gzip(images: np.ndarray) -> float:
    """The bytes of the pictures, one after the other, by gzip at its best."""
    return 8 * len(deflate.compress(np.ascontiguousarray(images).tobytes(), 9)) / images.size


def png(images: np.ndarray, levels: int) -> float:
    """PNG: as bytes, or, with 16 levels or fewer, with several pixels in a byte where that is shorter."""
    sizes = [_coded(images, format="PNG", optimize=True)]
    if levels <= 16:
        depth = next(bits for bits in (1, 2, 4) if levels <= 2**bits)
        sizes.append(_coded(images, palette=True, format="PNG", optimize=True, bits=depth))
    return min(sizes)


def webp(images: np.ndarray, levels: int) -> float:
    """WebP without loss, with settings within 2 % of the smallest files, which take ten times as long to find."""
    effort = {"quality": 100, "method": 5} if levels <= 16 else {"quality": 90, "method": 6}
    return _coded(images, format="WEBP", lossless=True, **effort)


def _coded(images: np.ndarray, palette: bool = False, **options) -> float:
    """Bits per pixel of the pictures one above the other, PER_FILE of them in a file."""
    strips = [images[first : first + PER_FILE] for first in range(0, len(images), PER_FILE)]
    with ThreadPoolExecutor() as pool:  # Pillow's encoders run beside each other
        sizes = pool.map(functools.partial(_file_size, palette=palette, **options), strips)
        return 8 * sum(sizes) / images.size


def _file_size(images: np.ndarray, palette: bool, **options) -> int:
    """Bytes of one file with the pictures (n, height, width)."""
    rows = np.ascontiguousarray(images).reshape(-1, images.shape[2])
    strip = Image.frombytes("P" if palette else "L", rows.shape[::-1], rows.tobytes())
    if palette:
        strip.putpalette(bytes(16 * 3))
    content = io.BytesIO()
    strip.save(content, **options)
    return len(content.getvalue())


def _rows(images: np.ndarray, levels: int) -> np.ndarray:
    """Pictures as rows (n, pixels) of levels."""
    if images.dtype != np.uint8 or not 2 <= levels <= 256 or images.max() >= levels:
        raise ValueError(f"pictures of {levels} levels must be uint8 with values 0 .. {levels - 1}")
    return images.reshape(len(images), -1)


def _moments(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (pixels,) and covariance (pixels, pixels), float64, of rows of levels, a few thousand at a time."""
    pixels = rows.shape[1]
    total, products = np.zeros(pixels), np.zeros((pixels, pixels))
    for first in range(0, len(rows), 5_000):
        part = rows[first : first + 5_000].astype(np.float64)
        total += part.sum(axis=0)
        products += part.T @ part
    mean = total / len(rows)
    return mean, products / len(rows) - np.outer(mean, mean)
