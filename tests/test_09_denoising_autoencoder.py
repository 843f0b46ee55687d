"""Lesson 09: noise that is right, fixed for the test, new for every batch; and the best linear denoiser."""

from lessonkit import metrics

import numpy as np
import pytest
from conftest import load_lesson


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("09_MNIST_denoising_autoencoder")


@pytest.fixture(scope="module")
def images():
    from lessonkit.datasets.embedded import digits

    return digits.splits(600, 10)["x_train"].astype("float32") / 255


def test_the_test_noise_is_fixed_gaussian_and_not_clipped(lesson, images):
    noisy = lesson.with_noise(images, 0.55, seed=3)
    noise = noisy - images
    assert noise.mean() == pytest.approx(0, abs=0.005) and noise.std() == pytest.approx(0.55, rel=0.01)
    assert noisy.min() < -0.5 and noisy.max() > 1.5
    np.testing.assert_array_equal(noisy, lesson.with_noise(images, 0.55, seed=3))
    assert metrics.psnr(images, noisy) == pytest.approx(-20 * np.log10(0.55), abs=0.1)


def test_the_training_noise_is_new_in_every_batch_and_the_target_clean(lesson, images):
    batches = lesson.batches(images[:32], 0.55, 32, seed=1)
    (noisy, clean), (later, later_clean) = (tuple(map(np.asarray, pair)) for pair in batches.dataset().take(2))
    assert (noisy - clean).std() == pytest.approx(0.55, rel=0.03)
    assert clean.min() >= 0 and clean.max() <= 1
    order, later_order = (np.lexsort(batch.reshape(32, -1).T) for batch in (clean, later_clean))
    np.testing.assert_array_equal(clean[order], later_clean[later_order])
    assert not np.allclose((noisy - clean)[order], (later - later_clean)[later_order])
    again = tuple(map(np.asarray, next(iter(batches.dataset(1)))))
    np.testing.assert_array_equal(again[0], later)


def test_the_linear_denoiser_is_the_posterior_mean_of_a_gaussian(lesson):
    """For x ~ N(mu, C) and y = x + s n: E[x | y] = mu + C (C + s^2 I)^-1 (y - mu)."""
    random = np.random.default_rng(0)
    basis = random.standard_normal((9, 9))
    x = (random.standard_normal((5000, 9)) @ basis + 3).astype("float32")
    denoiser = lesson.LinearDenoiser(x.reshape(-1, 3, 3), noise=0.8)
    covariance, mean = np.cov(x, rowvar=False), x.mean(axis=0)
    y = x[:20] + 0.8 * random.standard_normal((20, 9)).astype("float32")
    expected = mean + (y - mean) @ np.linalg.inv(covariance + 0.64 * np.eye(9)) @ covariance
    np.testing.assert_allclose(denoiser.predict(y.reshape(-1, 3, 3)).reshape(20, 9), expected, rtol=1e-3, atol=1e-3)


def test_without_noise_the_linear_denoiser_changes_nothing(lesson, images):
    np.testing.assert_allclose(lesson.LinearDenoiser(images, 0.0).predict(images[:5]), images[:5], atol=1e-3)


def test_the_networks_are_new_and_keep_the_range(lesson, images):
    dense, conv = lesson.build_dense(32), lesson.build_conv(24)
    assert dense.count_params() == 50_992
    for model in (dense, conv):
        rebuilt = lesson.denoise(model, lesson.with_noise(images[:4], 2.0, 0))
        assert rebuilt.shape == (4, 28, 28) and rebuilt.min() >= 0 and rebuilt.max() <= 1
