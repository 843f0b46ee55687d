"""Lesson 07: the pixel models are distributions; counting, sampling and Bayes' rule are correct."""

import itertools

from lessonkit.datasets.embedded import digits

import keras
import numpy as np
import pytest
from conftest import load_lesson

lesson = load_lesson("07_MNIST_pixel_model")
EVERY_PICTURE = np.array(list(itertools.product([0, 1], repeat=9)), "float32")  # all 512 of 3 x 3 pixels


@pytest.fixture
def data():
    """Random pictures (300, 9) of three classes that differ."""
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, 300)
    theta = random.uniform(0.05, 0.95, (3, 9))
    return (random.random((300, 9)) < theta[labels]).astype("float32"), labels


@pytest.fixture(scope="module")
def real():
    arrays = digits.splits(train=2_000, test=500)
    return {
        part: (
            lesson.binarised(arrays[f"x_{part}"], "threshold", keras.random.SeedGenerator(0)),
            arrays[f"y_{part}"].astype("int32"),
        )
        for part in ("train", "test")
    }


# Counting


def test_count_by_hand():
    pictures = np.array([[1, 0], [1, 0], [0, 0], [1, 1]], "float32")
    model = lesson.count(pictures, np.array([0, 0, 0, 1]), classes=2, smoothing=1.0)
    np.testing.assert_allclose(model.theta, [[3 / 5, 1 / 5], [2 / 3, 2 / 3]])
    np.testing.assert_allclose(model.prior, [4 / 6, 2 / 6])


def test_a_class_without_examples_is_still_a_distribution(data):
    model = lesson.count(*data, classes=4, smoothing=1.0)
    np.testing.assert_allclose(model.theta[3], 0.5)
    assert np.exp(model.log_likelihood(EVERY_PICTURE)).sum() == pytest.approx(1)


def test_smoothing_keeps_unseen_pixels_possible():
    model = lesson.count(np.zeros((50, 9), "float32"), np.zeros(50, int), classes=1, smoothing=1.0)
    white = model.log_likelihood(np.ones((1, 9), "float32"))
    assert white == pytest.approx(9 * np.log(1 / 52))


# The likelihood


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("smoothing", [1e-6, 1.0, 50.0])
def test_the_probabilities_of_all_pictures_sum_to_one(data, classes, smoothing):
    pictures, labels = data
    model = lesson.count(pictures, labels % classes, classes, smoothing)
    assert np.exp(model.log_likelihood(EVERY_PICTURE)).sum() == pytest.approx(1)
    np.testing.assert_allclose(np.exp(model.log_joint(EVERY_PICTURE)).sum(axis=0), model.prior)


def test_likelihood_is_the_product_over_pixels(data):
    model = lesson.count(*data, classes=3, smoothing=1.0)
    for picture, logarithm in zip(EVERY_PICTURE[::37], model.log_likelihood(EVERY_PICTURE[::37]), strict=True):
        pixels = np.where(picture == 1, model.theta, 1 - model.theta)  # (3, 9)
        assert np.exp(logarithm) == pytest.approx(model.prior @ pixels.prod(axis=1))


def test_fair_coins_cost_one_bit_per_pixel():
    model = lesson.BernoulliPixels(np.ones(1), np.full((1, 784), 0.5))
    picture = np.random.default_rng(0).integers(0, 2, (1, 784))
    assert -model.log_likelihood(picture)[0] == pytest.approx(784 * np.log(2))
    assert 784 * np.log(2) == pytest.approx(543.4, abs=0.05)


def test_mean_score_of_the_training_pictures_is_the_models_entropy(data):
    """Cross-entropy of data under independent coins that were counted on them = entropy of the coins."""
    pictures, _ = data
    model = lesson.count(pictures, np.zeros(len(pictures), int), classes=1, smoothing=1e-6)
    theta = model.theta[0]
    entropy = -(theta * np.log(theta) + (1 - theta) * np.log(1 - theta)).sum()
    assert -model.log_likelihood(pictures).mean() == pytest.approx(entropy, rel=1e-6)


def test_classes_help_on_held_out_digits(real):
    pictures, labels = real["train"]
    blind = lesson.count(pictures, np.zeros_like(labels), 1, 1.0)
    by_class = lesson.count(pictures, labels, 10, 1.0)
    scores = [-model.log_likelihood(real["test"][0]).mean() for model in (blind, by_class)]
    assert np.isfinite(scores).all() and scores[1] + 20 < scores[0] < 784 * np.log(2)


# Bayes' rule


def test_posterior_by_hand(data):
    model = lesson.count(*data, classes=3, smoothing=1.0)
    joint = np.exp(model.log_joint(EVERY_PICTURE))
    by_hand = joint / joint.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(model.log_posterior(EVERY_PICTURE)), by_hand, rtol=1e-9)


def test_posterior_is_the_softmax_of_a_linear_function(real):
    model = lesson.count(*real["train"], classes=10, smoothing=1.0)
    linear = lesson.build_linear()
    linear.get_layer("logits").set_weights([model.weights.T, model.biases])
    pictures, labels = real["test"]
    probabilities = keras.ops.softmax(linear.predict(pictures, verbose=0))
    np.testing.assert_allclose(probabilities, np.exp(model.log_posterior(pictures)), atol=2e-3)
    assert linear.count_params() == 7_850
    assert np.mean(model.log_posterior(pictures).argmax(axis=1) == labels) > 0.6


def test_posterior_survives_where_the_product_is_zero():
    """784 pixels of probability 0.01 have the product 1e-1568, which is 0 in float64."""
    theta = np.full((2, 784), 0.01)
    theta[1, 0] = 0.03
    model = lesson.BernoulliPixels(np.array([0.5, 0.5]), theta)
    assert np.prod(theta[0]) == 0
    np.testing.assert_allclose(np.exp(model.log_posterior(np.ones((1, 784)))), [[0.25, 0.75]])


# Sampling


def test_samples_follow_theta_and_ignore_their_neighbours():
    theta = np.random.default_rng(2).uniform(0.1, 0.9, (2, 784))
    model = lesson.BernoulliPixels(np.array([0.5, 0.5]), theta)
    labels = np.repeat([0, 1], 2_000)
    samples = model.sample(labels, keras.random.SeedGenerator(0))
    assert samples.shape == (4_000, 784) and set(np.unique(samples)) == {0, 1}
    for label in (0, 1):
        assert np.abs(samples[labels == label].mean(axis=0) - theta[label]).max() < 5 * 0.5 / np.sqrt(2_000)
    assert abs(lesson.neighbour_correlation(samples, theta[labels])) < 0.005


def test_same_seed_same_samples_and_two_draws_differ(real):
    model = lesson.count(*real["train"], classes=10, smoothing=1.0)
    seeds, same = keras.random.SeedGenerator(7), keras.random.SeedGenerator(7)
    first = model.sample(np.arange(10), seeds)
    np.testing.assert_array_equal(first, model.sample(np.arange(10), same))
    assert (first != model.sample(np.arange(10), seeds)).any()


def test_neighbour_correlation_of_stripes_and_checkerboards():
    stripes = np.repeat(np.random.default_rng(0).integers(0, 2, (50, 28, 1)), 28, axis=2).reshape(50, 784)
    assert lesson.neighbour_correlation(stripes, np.full((50, 784), 0.5)) == pytest.approx(1)
    checkerboard = np.tile(np.indices((28, 28)).sum(axis=0) % 2, (5, 1, 1)).reshape(5, 784)
    assert lesson.neighbour_correlation(checkerboard, np.full((5, 784), 0.5)) == pytest.approx(-1)


def test_real_digits_have_neighbours(real):
    model = lesson.count(*real["train"], classes=10, smoothing=1.0)
    pictures, labels = real["test"]
    assert lesson.neighbour_correlation(pictures, model.theta[labels]) > 0.4


# Black and white


def test_threshold_is_at_half_brightness():
    images = np.array([0, 127, 128, 255], np.uint8).reshape(1, 2, 2)
    np.testing.assert_array_equal(lesson.binarised(images, "threshold", keras.random.SeedGenerator(0)), [[0, 0, 1, 1]])


def test_stochastic_keeps_the_mean_brightness():
    images = np.tile(np.array([[0, 64], [192, 255]], np.uint8), (4_000, 1, 1))
    white = lesson.binarised(images, "stochastic", keras.random.SeedGenerator(0)).mean(axis=0)
    assert white[0] == 0 and white[3] == 1
    np.testing.assert_allclose(white[1:3], [64 / 255, 192 / 255], atol=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["1", pytest.param("3", marks=pytest.mark.slow)])
def test_few_digits_are_enough(tmp_path, limit):
    lesson.main(["--preset", "smoke", "--limit", limit, "--output-dir", str(tmp_path)])
