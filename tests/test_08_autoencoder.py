"""Lesson 08: a narrow place, two networks, and the yardsticks."""

import numpy as np
import pytest
from conftest import load_lesson


@pytest.fixture(scope="module")
def lesson():
    return load_lesson("08_MNIST_autoencoder")


@pytest.fixture(scope="module")
def images():
    from lessonkit.datasets.embedded import digits

    return digits.splits(400, 10)["x_train"].astype("float32") / 255


@pytest.mark.parametrize(("build", "parameters"), [("build_dense", 50_992), ("build_conv", 111_521)])
def test_all_goes_through_the_code(lesson, images, build, parameters):
    autoencoder = getattr(lesson, build)(32)
    assert autoencoder.whole.count_params() == parameters
    codes = lesson.encode(autoencoder, images[:5])
    assert codes.shape == (5, 32)
    decoded = autoencoder.decoder.predict(codes, verbose=0)
    np.testing.assert_allclose(decoded, lesson.rebuild(autoencoder, images[:5]), atol=1e-6)
    assert decoded.shape == (5, 28, 28) and decoded.min() >= 0 and decoded.max() <= 1


def test_the_picture_is_its_own_target(lesson, images):
    inputs, targets = next(iter(lesson.batches(images, 16, seed=0).dataset()))
    np.testing.assert_array_equal(inputs, targets)


def test_pca_is_the_best_linear_code(lesson, images):
    """Against scikit-learn, and: as many components as pixels lose nothing."""
    from sklearn.decomposition import PCA

    train, test = images[:300], images[300:]
    flat = test.reshape(100, -1)
    reference = PCA(8, svd_solver="full").fit(train.reshape(300, -1))
    expected = np.mean((flat - reference.inverse_transform(reference.transform(flat))) ** 2)
    errors = lesson.pca_errors(train, test, (8, 784))
    assert errors[8] == pytest.approx(expected, rel=1e-3)
    assert errors[784] == pytest.approx(0, abs=1e-9)


def test_a_few_steps_beat_the_mean_image_on_one_batch(lesson, images):
    import keras

    keras.utils.set_random_seed(0)
    whole = lesson.build_conv(32).whole
    whole.compile(keras.optimizers.Adam(4e-3), "mse")
    few = images[:32]
    for _ in range(200):
        error = whole.train_on_batch(few, few)
    assert float(np.squeeze(error)) < np.mean((few - few.mean(axis=0)) ** 2)
