"""The measures of images and of samples, against closed forms."""

from lessonkit import metrics

import numpy as np
import pytest


@pytest.fixture
def random():
    return np.random.default_rng(0)


def standardised(values: np.ndarray) -> np.ndarray:
    """The same points, moved and turned so that their mean is exactly 0 and their covariance exactly the identity."""
    values = values - values.mean(axis=0)
    return values @ np.linalg.inv(np.linalg.cholesky(np.cov(values, rowvar=False))).T


def test_psnr_of_a_known_error():
    black = np.zeros((2, 8, 8))
    assert metrics.psnr(black, black + 0.1) == pytest.approx(20)  # MSE 0.01
    assert metrics.psnr(black, black) == float("inf")
    assert metrics.mean_squared_error(black, black + 0.1) == pytest.approx(0.01)


def test_frechet_distance_of_two_known_gaussians(random):
    x = standardised(random.normal(size=(500, 4)))
    y = standardised(random.normal(size=(500, 4)))
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    assert metrics.frechet_distance(x, y + [3, 0, 4, 0]) == pytest.approx(25)  # covariances agree: |shift|^2
    # For commuting covariances the trace is the sum of (standard deviation - standard deviation')^2.
    assert metrics.frechet_distance(x * [1, 2, 3, 4], y * [2, 2, 1, 4.5]) == pytest.approx(1 + 0 + 4 + 0.25)


def test_frechet_distance_of_covariances_that_do_not_commute(random):
    """In two dimensions trace (C C')^(1/2) = sqrt(trace(C C') + 2 sqrt(det C det C')), from Cayley and Hamilton."""
    first, second = np.array([[2.0, 0.6], [0.6, 1.0]]), np.array([[1.0, -0.9], [-0.9, 3.0]])
    x, y = (
        standardised(random.normal(size=(300, 2))) @ np.linalg.cholesky(covariance).T for covariance in (first, second)
    )
    root = np.sqrt(np.trace(first @ second) + 2 * np.sqrt(np.linalg.det(first) * np.linalg.det(second)))
    assert metrics.frechet_distance(x, y) == pytest.approx(np.trace(first) + np.trace(second) - 2 * root)
    assert metrics.frechet_distance(y, x) == pytest.approx(metrics.frechet_distance(x, y))


def test_frechet_distance_with_dead_and_few_features(random):
    """A feature that never changes, or fewer images than features, make the covariance singular: still a number."""
    x, y = random.normal(size=(20, 32)), random.normal(size=(20, 32))
    x[:, 0] = y[:, 0] = 0
    assert np.isfinite(metrics.frechet_distance(x, y)) and metrics.frechet_distance(x, y) > 0
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-6)


def test_kernel_distance_is_unbiased(random):
    """Over many pairs of halves of one distribution the mean vanishes; the biased form would be positive always."""
    values = [metrics.kernel_distance(*random.normal(size=(2, 50, 8)))[0] for _ in range(200)]
    assert min(values) < 0 < max(values)
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_kernel_distance_by_hand():
    """Three points against three, in one dimension, block of three: the kernel written out."""
    x, y = [0.0, 1.0, 2.0], [1.0, 1.0, -1.0]

    def kernel(a, b):
        return (a * b + 1) ** 3

    within = sum(kernel(p[i], p[j]) for p in (x, y) for i in range(3) for j in range(3) if i != j) / 6
    between = sum(kernel(a, b) for a in x for b in y) / 9
    got = metrics.kernel_distance(np.array(x)[:, None], np.array(y)[:, None], block=3)
    assert got == pytest.approx((within - 2 * between, 0, 1))


def test_kernel_distance_by_blocks(random):
    x, y = random.normal(size=(400, 8)), random.normal(0.5, size=(400, 8))
    mean, spread, count = metrics.kernel_distance(x, y, block=100)
    blocks = [metrics.kernel_distance(x[start::4], y[start::4], block=100)[0] for start in range(4)]
    assert (mean, spread) == pytest.approx((np.mean(blocks), np.std(blocks)))
    assert mean > 5 * spread and count == 4


def test_precision_and_recall(random):
    real = random.normal(size=(400, 2))
    assert metrics.precision_recall(real, real) == (1, 1)
    assert metrics.precision_recall(real, real + 100) == (0, 0)
    precision, recall = metrics.precision_recall(real, 0.05 * random.normal(size=(400, 2)))  # good, but all alike
    assert precision > 0.95 and recall < 0.1
    precision, recall = metrics.precision_recall(real, 20 * random.normal(size=(400, 2)))  # everywhere, mostly wrong
    assert precision < 0.1


def test_classes_covered():
    predicted = np.repeat([0, 1, 2, 5], [600, 399, 1, 0])
    assert metrics.class_shares(predicted, 10)[:3] == pytest.approx([0.6, 0.399, 0.001])
    assert metrics.classes_covered(predicted, 10) == 2  # one image in a thousand is luck, not coverage
    assert metrics.classes_covered(np.arange(2000) % 10, 10) == 10


def test_nearest(random, monkeypatch):
    others = random.integers(0, 256, size=(25_000, 4, 4), dtype=np.uint8)  # more than one block
    images = others[[7, 24_002]].copy()
    images[1, 0, 0] ^= 255
    changed = abs(int(images[1, 0, 0]) - int(others[24_002, 0, 0])) / 255
    for x, y in ((images, others), (images / np.float32(255), others), (images, others / np.float32(255))):
        indices, distances = metrics.nearest(x, y)
        assert indices[0] == 7 and distances[0] == pytest.approx(0, abs=1e-3)
        assert distances[1] <= np.sqrt(changed**2 / 16) + 1e-3
        y = y / 255 if y.dtype == np.uint8 else y
        x = x / 255 if x.dtype == np.uint8 else x
        by_hand = np.sqrt(np.mean((x[1] - y) ** 2, axis=(1, 2)))
        assert indices[1] == np.argmin(by_hand) and distances[1] == pytest.approx(by_hand.min(), abs=1e-3)
