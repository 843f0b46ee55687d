"""Lesson 06: the size and the mathematics of the convnet, its augmentation, its kept weights."""

import dataclasses
import types

from lessonkit import datasets, figures, training
from lessonkit.config import PUBLISHED, StudyError
from lessonkit.datasets.embedded import objects

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import load_lesson

lesson = load_lesson("06_CIFAR10_convnet")
SETTINGS = lesson.Config()
MIX = np.eye(3, dtype="float32")  # colours that have nothing to do with each other


@pytest.fixture(scope="module")
def pictures():
    return objects.draw(256, seed=1)


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(3)
    return lesson.build_model(SETTINGS)


# The network


def test_parameter_count(model):
    convolutions = 5 * 5 * 3 * 32 + 3 * 3 * (32 * 64 + 64 * 96 + 96 * 96 + 96 * 128)
    normalisation = 4 * (32 + 64 + 96 + 96 + 128)  # gamma, beta, running mean and variance
    assert model.count_params() == convolutions + normalisation + 128 * 10 + 10 <= 500_000


def test_an_untrained_network_is_near_chance(model, pictures):
    logits = model.predict(pictures[0], verbose=0)
    loss = keras.losses.sparse_categorical_crossentropy(pictures[1], logits, from_logits=True)
    assert np.mean(loss) == pytest.approx(np.log(10), abs=0.5)


def test_a_convolution_moves_with_its_picture(pictures):
    """Equivariance, away from the border: moved by the poolings' 8 pixels, a picture moves the answer by one."""
    layers = lesson.build_model(SETTINGS, size=96)
    seen = keras.Model(layers.input, layers.get_layer("relu4").output)
    picture = np.full((1, 96, 96, 3), 127, np.uint8)
    picture[:, 32:64, 32:64] = pictures[0][:1]
    moved = np.roll(picture, 8, axis=1)
    here, there = seen.predict(picture, verbose=0), seen.predict(moved, verbose=0)
    assert here[:, 2:-3].std() > 0
    np.testing.assert_allclose(here[:, 2:-3], there[:, 3:-2], atol=1e-4)


def test_pooling_first_or_last_costs_the_same_weights():
    last = dataclasses.replace(SETTINGS, pool_first=False)
    assert lesson.build_model(last).count_params() == lesson.build_model(SETTINGS).count_params()


def test_too_many_poolings_give_one_line():
    with pytest.raises(StudyError, match="use fewer"):
        lesson.build_model(dataclasses.replace(SETTINGS, pooled=(1, 2, 3, 4, 5, 6)))


def test_training_uses_the_batch_and_dropout(pictures):
    """In training batch normalisation brings every channel to mean 0, deviation 1, and moves its running averages."""
    net = lesson.build_model(SETTINGS)
    seen = keras.Model(net.input, net.get_layer("norm3").output)
    moving = net.get_layer("norm3").moving_mean
    before = moving.numpy().copy()
    output = seen(pictures[0][:64], training=True).numpy()
    np.testing.assert_allclose(output.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(output.std(axis=(0, 1, 2)), 1, atol=0.1)
    assert np.abs(moving.numpy() - before).max() > 1e-4
    assert np.abs(net(pictures[0][:8], training=True) - net(pictures[0][:8], training=True)).max() > 1e-3


def test_one_cycle_rises_and_decays_to_zero():
    """Over the 1,000 steps of ten epochs; the rate is zero at the last of them."""
    settings = dataclasses.replace(SETTINGS, batch_size=10, epochs=10)
    split = types.SimpleNamespace(images=np.zeros((1000, 32, 32, 3), np.uint8), labels=np.zeros(1000, np.int32))
    run = types.SimpleNamespace(config=settings, fit=lambda model, examples, validation: model)
    net = lesson.train(run, lesson.build_model(settings), types.SimpleNamespace(train=split, test=split))
    schedule = net.optimizer._learning_rate
    rates = [float(schedule(step)) for step in (0, 125, 250, 625, 1000)]
    assert rates[0] == pytest.approx(SETTINGS.learning_rate / 20)
    assert max(rates) == rates[2] == pytest.approx(SETTINGS.learning_rate)
    assert rates[0] < rates[1] < rates[2] > rates[3] > rates[4] == pytest.approx(0, abs=1e-9)


def test_it_learns(pictures):
    """A few steps on drawn objects bring the loss well below ln 10."""
    settings = dataclasses.replace(SETTINGS, batch_size=32, channels=(8, 16, 16, 16, 32))
    keras.utils.set_random_seed(0)
    net = lesson.build_model(settings)
    images, labels = pictures
    examples = training.Batches((images, labels.astype("int32")), 32, 0)
    net.compile(
        keras.optimizers.AdamW(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True), metrics=["accuracy"]
    )
    history = net.fit(examples.dataset(), steps_per_epoch=30, epochs=2, verbose=0).history
    assert history["loss"][-1] < 1.5 and history["accuracy"][-1] > 0.5


# Augmentation


def drawn(images, seed, step, shift=4):
    labels = tf.zeros(len(images), tf.int32)
    return lesson.augment(tf.constant(images), labels, tf.constant([seed, step]), shift)[0].numpy()


def test_augmentation_shifts_and_mirrors_and_nothing_else():
    """Pictures whose pixels tell their own place: after the draw, rows and columns run on, forwards or backwards."""
    rows, columns = np.meshgrid(np.arange(32), np.arange(32), indexing="ij")
    picture = np.stack([rows, columns, np.full((32, 32), 200)], axis=-1).astype(np.uint8)
    out = drawn(np.repeat(picture[None], 400, axis=0), 1, 1).astype(int)
    assert out.shape == (400, 32, 32, 3) and (out[..., 2] == 200).all()
    inner = out[:, 8:-8, 8:-8]
    assert (np.diff(inner[..., 0], axis=1) == 1).all(), "no picture is turned upside down"
    steps = np.diff(inner[..., 1], axis=2)
    mirrored = steps[:, 0, 0] == -1
    assert (steps == np.where(mirrored, -1, 1)[:, None, None]).all()
    assert 0.4 < mirrored.mean() < 0.6
    down = inner[:, 0, 0, 0] - 8
    across = inner[:, 0, 0, 1] - np.where(mirrored, 31 - 8, 8)
    assert set(down) == set(range(-4, 5)) and set(across) == set(range(-4, 5))
    assert abs(np.corrcoef(down, across)[0, 1]) < 0.2, "the two shifts are drawn independently"


def test_augmentation_keeps_the_range(pictures):
    out = drawn(pictures[0], 0, 0)
    assert out.dtype == np.uint8
    for image, changed in zip(pictures[0], out, strict=True):
        assert set(np.unique(changed)) <= set(np.unique(image)), "pixels are copied, none is made up"


def test_augmentation_draws_anew_in_each_step_and_again_for_the_same(pictures):
    images = pictures[0][:64]
    assert (drawn(images, 42, 7) == drawn(images, 42, 7)).all()
    assert (drawn(images, 42, 7) != drawn(images, 42, 8)).any()
    assert (drawn(images, 42, 7) != drawn(images, 43, 7)).any()


def test_batches_resume_with_the_same_draws(pictures):
    split = types.SimpleNamespace(images=pictures[0], labels=pictures[1].astype("int32"))
    settings = dataclasses.replace(SETTINGS, batch_size=32)
    whole = [images.numpy() for images, _ in lesson.batches(split, settings).dataset().take(12)]
    resumed = [images.numpy() for images, _ in lesson.batches(split, settings).dataset(9).take(3)]
    assert all((one == other).all() for one, other in zip(whole[9:], resumed, strict=True))
    steps = lesson.batches(split, settings).steps_per_epoch
    assert not (np.sort(whole[0].ravel()) == np.sort(whole[steps].ravel())).all()


# The kept weights


def test_weights_keep_their_accuracy_in_half_precision(pictures, tmp_path):
    """Round, write, read, and compare the answers; every running variance must survive float16."""
    keras.utils.set_random_seed(1)
    images, labels = pictures
    net = lesson.build_model(SETTINGS)
    for _ in range(3):
        net(images[:64], training=True)  # gives the running averages values that are not 0 and 1
    kept = lesson.half_precision(net)
    assert all(values.dtype == np.float16 and np.isfinite(values).all() for values in kept.values())
    np.savez(tmp_path / "weights.npz", **kept)
    assert (tmp_path / "weights.npz").stat().st_size < 1_500_000
    before = net.predict(images, verbose=0)
    other = lesson.build_model(SETTINGS)
    with np.load(tmp_path / "weights.npz") as file:
        other.set_weights([file[weight.path] for weight in other.weights])
    after = other.predict(images, verbose=0)
    np.testing.assert_allclose(after, before, atol=5e-3 * np.abs(before).max())
    assert np.mean(after.argmax(axis=1) == before.argmax(axis=1)) > 0.97


def test_published_weights_are_small_and_whole():
    folder = PUBLISHED / "06_CIFAR10_convnet"
    if not (folder / "weights.npz").exists():
        pytest.skip("not published yet")
    assert (folder / "weights.npz").stat().st_size < 1_500_000
    with np.load(folder / "weights.npz", allow_pickle=False) as file:
        expected = {weight.path: tuple(weight.shape) for weight in lesson.build_model(SETTINGS).weights}
        assert {name: file[name].shape for name in file.files} == expected
        assert all(np.isfinite(file[name]).all() for name in file.files)


# Pictures that maximise a channel


def test_ascent_raises_its_own_channel(model):
    settings = dataclasses.replace(SETTINGS, canvas=32, ascent_steps=25)
    start = lesson.maximise(model, "norm2", [5, 40], MIX, dataclasses.replace(settings, ascent_steps=1))
    end = lesson.maximise(model, "norm2", [5, 40], MIX, settings)
    assert end.shape == (2, 32, 32, 3) and end.dtype == np.uint8
    part = keras.Model(model.input, model.get_layer("norm2").output)
    before, after = (part.predict(images, verbose=0).mean(axis=(1, 2)) for images in (start, end))
    assert after[0, 5] > before[0, 5] + 0.03 and after[1, 40] > before[1, 40] + 0.03
    assert after[0, 5] > after[1, 5] + 0.03 and after[1, 40] > after[0, 40] + 0.03, "each picture raises its own"
    assert (end == lesson.maximise(model, "norm2", [5, 40], MIX, settings)).all(), "the same seed, the same pictures"


def test_waves_are_the_inverse_fourier_transform():
    """No wave is middle grey; one of a single cycle is a cosine, scaled by its length to the power 1.5."""
    waves = np.zeros((1, 3, 16, 9, 2), np.float32)
    assert np.allclose(lesson.waves_to_pictures(waves, 16, MIX), 127.5)
    waves[0, 0, 0, 1, 0] = 1
    red = lesson.waves_to_pictures(waves, 16, MIX).numpy()[0, :, :, 0]
    logit = np.log(red / (255 - red))
    wanted = 16**1.5 * 2 * np.cos(2 * np.pi * np.arange(16) / 16) / 16**2
    np.testing.assert_allclose(logit, np.tile(wanted, (16, 1)), atol=1e-4)


def test_colour_mix_is_the_root_of_the_covariance():
    rng = np.random.default_rng(2)
    colours = rng.normal(128, 10, (40, 8, 8, 1)) + rng.normal(0, [3, 6, 9], (40, 8, 8, 3))
    mix = lesson.colour_mix(colours)
    ratio = mix @ mix / np.cov(colours.reshape(-1, 3).T)
    np.testing.assert_allclose(ratio, ratio[0, 0], rtol=1e-3)
    np.testing.assert_allclose(mix, mix.T, atol=1e-6)
    assert mix.max() == 1


def test_a_class_gets_the_channel_with_the_purest_top_pictures():
    """Not the one with the largest mean difference; and a class without pictures does no harm."""
    rng = np.random.default_rng(0)
    labels = np.arange(1000) % 10
    activations = rng.normal(0, 0.1, (1000, 40))
    activations[np.arange(1000), 3 * labels] += 1  # channel 3c for class c
    activations[:, 1] += 50  # large for all classes
    activations[:, 2] += 3 * (labels == 4)  # a larger mean for class 4, but
    activations[np.isin(labels, (5, 6)) & (rng.random(1000) < 0.9), 2] += 4  # its top pictures show classes 5 and 6
    assert lesson.channels_of_classes(activations, labels).tolist() == list(range(0, 30, 3))
    some = labels != 9
    assert lesson.channels_of_classes(activations[some], labels[some]).tolist()[:9] == list(range(0, 27, 3))
    assert lesson.channels_of_classes(activations[:1], labels[:1]).shape == (10,)


def test_top_images_have_the_largest_activations(model, pictures):
    images, labels = pictures
    activations = lesson.mean_activations(model, images)
    assert activations.shape == (256, 128) and (activations >= 0).all()
    top = lesson.top_images(activations[:, :10], 5)
    assert (top[0] == np.argmax(activations[:, :10], axis=0)).all() and top.shape == (5, 10)
    assert lesson.of_their_class(np.tile(np.arange(10), (5, 1)), np.arange(10)).all()
    figure = lesson.draw_top_images(images[:10], top, as_data(images, labels))
    np.testing.assert_allclose(figure.axes[10 + 3].images[0].get_array(), images[top[0, 3]] / 255)
    figures.plt.close(figure)


def as_data(images, labels):
    split = datasets.Split(images, labels)
    return datasets.LabelledImages(split, split, objects.CLASS_NAMES, name="drawn objects", things="drawn objects")


def test_the_headline_says_how_many_top_pictures_show_the_class(pictures):
    hits = np.ones((5, 10), bool)
    hits[1:4, 0] = False
    figure = lesson.draw_channels([pictures[0][:10]] * 5, hits, as_data(*pictures), accuracy=0.5)
    assert figure.axes[-20].get_title() == f"{objects.CLASS_NAMES[0]} 2/5"
    assert figure.axes[-19].get_title() == f"{objects.CLASS_NAMES[1]} 5/5"
    figures.plt.close(figure)


@pytest.mark.parametrize("count", [1, 5, 32])
def test_filters_are_split_into_brightness_and_colour(count):
    kernel = np.random.default_rng(0).normal(size=(5, 5, 3, count)).astype("float32")
    kernel[..., 0] = kernel[:, :, :1, 0]  # the first has no colour
    figure = lesson.draw_filters(kernel)
    first = figure.axes[0]
    picture = np.asarray(first.images[0].get_array())
    assert first.get_title() == "100%" and np.ptp(picture, axis=2).max() < 1e-6
    expected = 0.5 + 0.5 * kernel[..., 0, 0] / np.abs(kernel[..., 0, 0]).max()
    np.testing.assert_allclose(picture[..., 0], expected, atol=1e-6)
    pictures = np.array([cell.images[0].get_array() for cell in figure.axes if cell.images])
    brightness, colour = np.split(pictures, 2)
    assert len(brightness) == min(count, 16)
    np.testing.assert_allclose(np.ptp(brightness, axis=3), 0, atol=1e-6)
    np.testing.assert_allclose(colour.mean(axis=3), 0.5, atol=1e-3)
    figures.plt.close(figure)


# What to expect


def test_ranges_know_how_many_pictures_were_trained_on():
    """Found on half and on all of CIFAR-10 with the same settings: accuracy, and loss."""
    for pictures, accuracy, loss in ((25_000, 0.8256, 0.516), (50_000, 0.858, 0.409)):
        ranges = lesson.expected_ranges(pictures)
        assert ranges["test_accuracy"][0] < accuracy < ranges["test_accuracy"][1]
        assert ranges["test_loss"][0] < loss < ranges["test_loss"][1]


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["1", "3"])
def test_few_pictures_are_enough(tmp_path, limit):
    lesson.main(["--preset", "smoke", "--limit", limit, "--output-dir", str(tmp_path)])
