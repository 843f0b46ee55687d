"""Lesson 08: a bottleneck between two networks, and the baselines."""

from lessonkit import figures

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
def test_everything_passes_through_the_code(lesson, images, build, parameters):
    autoencoder = getattr(lesson, build)(32)
    assert autoencoder.whole.count_params() == parameters
    codes = lesson.encode(autoencoder, images[:5])
    assert codes.shape == (5, 32)
    decoded = autoencoder.decoder.predict(codes, verbose=0)
    np.testing.assert_allclose(decoded, lesson.reconstruct(autoencoder, images[:5]), atol=1e-6)
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


@pytest.mark.slow
def test_a_few_steps_beat_the_mean_image_on_one_batch(lesson, images):
    import keras

    keras.utils.set_random_seed(0)
    whole = lesson.build_conv(32).whole
    whole.compile(keras.optimizers.Adam(4e-3), "mse")
    few = images[:32]
    for _ in range(200):
        error = whole.train_on_batch(few, few)
    assert float(np.squeeze(error)) < np.mean((few - few.mean(axis=0)) ** 2)


@pytest.mark.parametrize("mse", [(0.009, 0.0105), (0.004, 0.0075), (0.005, 0.04), (0.003, 0.03)])
def test_the_range_in_decibels_holds_whatever_the_range_of_the_mse_holds(lesson, mse):
    low, high = lesson.decibels(mse)
    psnr = -10 * np.log10(np.linspace(*mse, 1000))
    assert low <= psnr.min() < low + 0.1 and high - 0.1 < psnr.max() <= high


def test_an_error_at_the_edge_is_in_both_ranges(lesson):
    low, _ = lesson.decibels((0.009, 0.0105))
    assert low <= -10 * np.log10(0.01049)


def test_contributions_of_a_code_add_up_to_the_reconstruction(lesson, images):
    """What the figure of the codes shows: number times weights, summed, plus the bias, through the sigmoid."""
    autoencoder = lesson.build_dense(4)
    codes = lesson.encode(autoencoder, images[:3])
    weights, bias = autoencoder.decoder.layers[0].get_weights()
    logits = sum(codes[:, [number]] * weights[number] for number in range(4)) + bias
    expected = 1 / (1 + np.exp(-logits.reshape(-1, 28, 28)))
    np.testing.assert_allclose(lesson.reconstruct(autoencoder, images[:3]), expected, atol=1e-5)
    figure = lesson.draw_codes(images[:3], autoencoder)
    part = codes[0, :, None] * weights  # (4, 784)
    top = np.argmax(np.square(part).sum(axis=1))
    shown = np.asarray(figure.axes[2].images[0].get_array()).ravel()
    np.testing.assert_allclose(shown, part[top], atol=1e-6)
    figures.plt.close(figure)


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["1", "3"])
def test_few_digits_are_enough(lesson, tmp_path, limit):
    lesson.main(["--preset", "smoke", "--limit", limit, "--output-dir", str(tmp_path)])
