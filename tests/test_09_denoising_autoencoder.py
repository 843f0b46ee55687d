"""Lesson 09: noise of the right size, fixed for the test, new for every batch; and the best denoisers."""

import json

from lessonkit import metrics

import keras
import numpy as np
import pytest
import tensorflow as tf
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


# Tweedie's formula: the denoiser with the least squared error is E[x | y] = y + s^2 grad log p(y).


def trained_denoiser(lesson, clean, noise, layers, peak):
    """A small network, trained as in the lesson: on its batches, with its loss."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input(clean.shape[1:]), *layers])
    examples = lesson.batches(clean, noise, 500, seed=0)
    rate = keras.optimizers.schedules.CosineDecay(peak, 600)
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    model.fit(examples.dataset(), steps_per_epoch=600, verbose=0)
    return model


def test_a_denoiser_of_gaussian_data_learns_tweedies_formula(lesson):
    """For x ~ N(mu, s^2) and noise sigma: y + sigma^2 grad log p(y) = mu + s^2 / (s^2 + sigma^2) (y - mu)."""
    mean, spread, noise = np.array([2.0, -1.0, 0.0], "float32"), np.array([0.5, 1.0, 2.0], "float32"), 0.8
    clean = (mean + spread * np.random.default_rng(0).standard_normal((20_000, 3))).astype("float32")
    model = trained_denoiser(lesson, clean, noise, [keras.layers.Dense(3)], peak=0.1)
    y = tf.constant(mean + np.random.default_rng(1).standard_normal((50, 3)).astype("float32"))
    with tf.GradientTape() as tape:
        tape.watch(y)
        log_density = tf.reduce_sum(-tf.square(y - mean) / (2 * (spread**2 + noise**2)), axis=1)
    tweedie = (y + noise**2 * tape.gradient(log_density, y)).numpy()
    np.testing.assert_allclose(tweedie, mean + spread**2 / (spread**2 + noise**2) * (y - mean), atol=1e-5)
    np.testing.assert_allclose(model.predict(y, verbose=0), tweedie, atol=0.08)


def test_a_denoiser_of_two_points_learns_the_conditional_mean(lesson):
    """For x = 1 or -1 with equal probability, E[x | y] = tanh(y / s^2): a mean of both, which no linear map gives."""
    noise = 0.8
    clean = np.sign(np.random.default_rng(0).standard_normal((20_000, 1))).astype("float32")
    layers = [keras.layers.Dense(32, activation="relu"), keras.layers.Dense(1)]
    model = trained_denoiser(lesson, clean, noise, layers, peak=0.03)
    y = np.linspace(-1.8, 1.8, 40, dtype="float32")[:, None]
    np.testing.assert_allclose(model.predict(y, verbose=0), np.tanh(y / noise**2), atol=0.1)


# Ranges, and runs at the edge


@pytest.mark.parametrize("mse", [(0.019, 0.0209), (0.009, 0.0145), (0.019, 0.0202), (0.01, 0.06)])
def test_the_range_in_decibels_holds_whatever_the_range_of_the_mse_holds(lesson, mse):
    low, high = lesson.decibels(mse)
    psnr = -10 * np.log10(np.linspace(*mse, 1000))
    assert low <= psnr.min() < low + 0.1 and high - 0.1 < psnr.max() <= high


def test_signal_to_noise_is_not_psnr(lesson):
    """Pixels 0 and 0.5 in equal numbers have a variance of 1/16: as much as noise of 0.25."""
    clean = np.tile([0, 0.5], 50)
    assert lesson.signal_to_noise(clean, 0.25) == pytest.approx(0)
    assert lesson.signal_to_noise(clean, 2.5) == pytest.approx(-20)
    assert lesson.signal_to_noise(clean, 0) == np.inf


@pytest.mark.slow
def test_a_run_without_noise_leaves_a_card_that_is_json(lesson, tmp_path):
    lesson.main(["--preset", "smoke", "--limit", "50", "--noise", "0", "--output-dir", str(tmp_path)])

    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    text = (tmp_path / "09_MNIST_denoising_autoencoder" / "run.json").read_text(encoding="utf-8")
    metrics = json.loads(text, parse_constant=refuse)["metrics"]
    assert metrics["psnr_noisy"]["value"] is None and metrics["snr_noisy"]["value"] is None
    assert metrics["test_psnr_dense"]["value"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["1", "3"])
def test_few_digits_are_enough(lesson, tmp_path, limit):
    lesson.main(["--preset", "smoke", "--limit", limit, "--output-dir", str(tmp_path)])
