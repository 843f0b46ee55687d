"""Latents: fixed draws, which make images of two moments comparable, and paths between latents."""

import numpy as np


def normal(count: int, dimensions: int, seed: int, stream: int = 0) -> np.ndarray:
    """Latents float32 (count, dimensions) from a standard Gaussian; the same for the same (seed, stream)."""
    return np.random.default_rng([seed, stream]).standard_normal((count, dimensions)).astype("float32")


def uniform(count: int, dimensions: int, seed: int, stream: int = 0) -> np.ndarray:
    """Latents float32 (count, dimensions), uniform in -1..1; the same for the same (seed, stream)."""
    return np.random.default_rng([seed, stream]).uniform(-1, 1, (count, dimensions)).astype("float32")


def straight(corners: np.ndarray, steps: int) -> np.ndarray:
    """Closed paths of straight lines from corner to corner, and back to the first.

    Args:
        corners: (paths, corners, dimensions).
        steps: from one corner to the next; the corner itself is the first.

    Returns (paths, corners * steps, dimensions), float32.
    """
    return _closed(corners, steps, lambda share, angle: (1 - share, share))


def great_circle(corners: np.ndarray, steps: int) -> np.ndarray:
    """Like `straight`, on great circles: spherical linear interpolation (slerp).

    Nearly all of a Gaussian in d dimensions lies close to the sphere of radius sqrt(d), and a straight line between
    two draws leaves it: half-way its length is sqrt(d / 2). A great circle stays at the lengths of its ends.
    Source: Shoemake 1985, Animating rotation with quaternion curves.
    """

    def weights(share, angle):
        sine = np.sin(angle)
        with np.errstate(invalid="ignore", divide="ignore"):
            bent = np.sin((1 - share) * angle) / sine, np.sin(share * angle) / sine
        return tuple(np.where(sine < 1e-6, flat, curved) for flat, curved in zip((1 - share, share), bent, strict=True))

    return _closed(corners, steps, weights)


def _closed(corners: np.ndarray, steps: int, weights) -> np.ndarray:
    """Weighted sums of each corner (paths, corners, 1, dimensions) and the one that follows it."""
    here = np.asarray(corners, np.float64)[:, :, None]
    there = np.roll(here, -1, axis=1)
    lengths = np.linalg.norm(here, axis=-1, keepdims=True) * np.linalg.norm(there, axis=-1, keepdims=True)
    cosine = np.sum(here * there, axis=-1, keepdims=True) / np.maximum(lengths, 1e-12)
    share = np.arange(steps)[:, None] / steps  # (steps, 1)
    first, second = weights(share, np.arccos(np.clip(cosine, -1, 1)))
    paths = first * here + second * there  # (paths, corners, steps, dimensions)
    return paths.reshape(len(paths), -1, paths.shape[-1]).astype("float32")
