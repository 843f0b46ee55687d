"""Lesson 17: the Gram matrix, the parts of the loss, how it falls, what is computed once, and pictures of any shape."""

import dataclasses
import types

from lessonkit import backbones

import keras
import numpy as np
import pytest
import scipy.linalg
import tensorflow as tf
from conftest import load_lesson, read_card
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

lesson = load_lesson("17_VGG19_style_transfer")
SETTINGS = lesson.Config(seed=3)


@pytest.fixture(scope="module")
def backbone():
    """SqueezeNet with random weights: the mathematics is the same."""
    keras.utils.set_random_seed(1)
    network = backbones.NETWORKS["squeezenet"]
    return backbones.Backbone("squeezenet", backbones.squeezenet(), network.preprocess, network.layers)


@pytest.fixture(scope="module")
def loss(backbone):
    return lesson.TransferLoss(backbone)


@pytest.fixture(scope="module")
def pictures():
    """A photograph and a painting of (64, 80), smooth noise."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (2, 8, 10, 3), np.uint8)
    content, style = (np.asarray(Image.fromarray(each).resize((80, 64), Image.Resampling.BICUBIC)) for each in small)
    return types.SimpleNamespace(content=content, style=style)


def features(seed=0, shape=(1, 5, 7, 4)):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


# The Gram matrix


def test_gram_is_what_numpy_says():
    values = features()
    expected = np.zeros((4, 4))
    for row in range(5):
        for column in range(7):
            expected += np.outer(values[0, row, column], values[0, row, column].astype(float)) / 35
    np.testing.assert_allclose(lesson.gram(values), expected, rtol=1e-4, atol=1e-5)


def test_gram_is_symmetric_and_never_negative():
    matrix = np.asarray(lesson.gram(features(1)), np.float64)
    np.testing.assert_array_equal(matrix, matrix.T)
    assert np.linalg.eigvalsh(matrix).min() > -1e-6


def test_gram_does_not_know_where_things_are():
    values = features(2)
    shuffled = np.random.default_rng(0).permutation(values.reshape(35, 4)).reshape(1, 7, 5, 4)
    np.testing.assert_allclose(lesson.gram(values), lesson.gram(shuffled), rtol=1e-4, atol=1e-5)


def test_gram_does_not_know_how_large_the_picture_is():
    values = features(3)
    np.testing.assert_allclose(lesson.gram(values), lesson.gram(np.tile(values, (1, 2, 3, 1))), rtol=1e-4, atol=1e-5)


# The loss


@pytest.mark.parametrize("distance", ["relative", "tutorial"])
def test_no_loss_for_the_same_picture(loss, pictures, distance):
    settings = dataclasses.replace(SETTINGS, distance=distance)
    targets = loss.targets(pictures.content, pictures.content, settings)
    content, style, _ = loss.parts(lesson.as_batch(pictures.content), targets).numpy()
    other = loss.parts(lesson.as_batch(pictures.style), targets).numpy()
    assert abs(content) < 1e-9 * other[0] and abs(style) < 1e-9 * other[1]


def test_a_black_picture_has_content_one_and_style_one(backbone, pictures):
    """`relative`: the distance to nothing is the size of the thing itself. A net without biases makes black nothing."""
    blind = dataclasses.replace(backbone, preprocess=lambda images: tf.cast(images, tf.float32))
    loss = lesson.TransferLoss(blind)
    parts = loss.parts(tf.zeros((1, 64, 80, 3)), loss.targets(pictures.content, pictures.style, SETTINGS)).numpy()
    np.testing.assert_allclose(parts[:2], [SETTINGS.content_weight, SETTINGS.style_weight], rtol=1e-4)
    assert parts[2] == pytest.approx(0, abs=1e-9)


def test_weights_weigh(loss, pictures):
    once = loss.targets(pictures.content, pictures.style, SETTINGS)
    changes = {f"{name}_weight": 3 * getattr(SETTINGS, f"{name}_weight") for name in ("content", "style", "variation")}
    thrice = loss.targets(pictures.content, pictures.style, dataclasses.replace(SETTINGS, **changes))
    start = lesson.as_batch(lesson.noise(pictures.content.shape, seed=1))
    np.testing.assert_allclose(loss.parts(start, thrice), 3 * loss.parts(start, once), rtol=1e-4)


def test_full_is_the_tutorials_loss(backbone, pictures, monkeypatch):
    """Written down once more as the tutorials have it: sums, 4 * 3^2 * size^2, the mean over layers."""
    settings = lesson.config.preset_config(lesson.Config, lesson.PRESETS, "full")
    layers = dataclasses.replace(lesson.LAYERS["squeezenet"], smooth=False, margin=0)
    monkeypatch.setitem(lesson.LAYERS, "squeezenet", layers)
    loss = lesson.TransferLoss(backbone)
    targets = loss.targets(pictures.content, pictures.style, settings)
    start = lesson.noise(pictures.content.shape, seed=1)
    extractor = backbone.feature_extractor((layers.content, *layers.style))

    def read(picture):
        features = extractor(backbone.preprocess(lesson.as_batch(picture)))
        return [np.asarray(features[layer][0], np.float64) for layer in (layers.content, *layers.style)]

    def sums(values):
        flat = values.reshape(-1, values.shape[-1])
        return flat.T @ flat

    mine, photograph, painting = read(start), read(pictures.content), read(pictures.style)
    size = 64 * 80
    style = sum(
        np.sum((sums(a) - sums(b)) ** 2) / (4 * 3**2 * size**2) for a, b in zip(mine[1:], painting[1:], strict=True)
    )
    x = start[None].astype(np.float64)
    down = np.square(x[:, :-1, :-1] - x[:, 1:, :-1])
    right = np.square(x[:, :-1, :-1] - x[:, :-1, 1:])
    expected = [
        2.5e-8 * np.sum((mine[0] - photograph[0]) ** 2),
        1e-6 / len(layers.style) * style,
        1e-6 * np.sum((down + right) ** 1.25),
    ]
    np.testing.assert_allclose(loss.parts(lesson.as_batch(start), targets), expected, rtol=1e-3)


def test_full_preset_has_the_tutorials_settings():
    settings = lesson.config.preset_config(lesson.Config, lesson.PRESETS, "full")
    assert (settings.backbone, settings.height, settings.steps, settings.optimizer) == ("vgg19", 400, 4000, "sgd")
    rate = lesson.build_sgd(400 * 600, settings)._learning_rate
    rates = [float(rate(step)) for step in (0, 99, 100, 1000)]
    assert rates == pytest.approx([100, 100, 96, 100 * 0.96**10])
    assert settings.init == "content" and not lesson.LAYERS["vgg19"].smooth
    assert lesson.LAYERS["vgg19"].content == "block5_conv2" and len(lesson.LAYERS["vgg19"].style) == 5


def test_gradient_is_the_slope(loss, pictures):
    targets = loss.targets(pictures.content, pictures.style, SETTINGS)
    start = lesson.as_batch(lesson.noise(pictures.content.shape, seed=1))
    _, gradient = loss.evaluate(start, targets)
    direction = gradient / tf.norm(gradient)
    there, back = (float(tf.reduce_sum(loss.parts(start + step * direction, targets))) for step in (2, -2))
    assert (there - back) / 4 == pytest.approx(float(tf.norm(gradient)), rel=0.02)


def test_total_variation_of_a_flat_picture_and_of_an_edge():
    flat = np.full((1, 6, 6, 3), 99, "float32")
    edge = flat.copy()
    edge[:, :, 3:] += 16
    assert float(lesson.total_variation(flat)) < 1e-6
    assert float(lesson.total_variation(edge)) == pytest.approx(5 * 3 * 16**2.5, rel=1e-5)


# What an evaluation computes


def test_one_picture_goes_through_the_network_and_only_as_deep_as_needed(backbone, loss, pictures):
    """The tutorials' form sends photograph, painting and result through the whole network in every step."""
    targets = loss.targets(pictures.content, pictures.style, SETTINGS)
    graph = loss.evaluate.get_concrete_function(lesson.as_batch(pictures.content), targets).graph
    forward = [operation for operation in graph.get_operations() if operation.type == "Conv2D"]
    everything = [layer for layer in backbone.model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(forward) == 1 + 3 * 7 < len(everything)  # conv1, and three convolutions in each of fire2 to fire8
    assert all(operation.outputs[0].shape[0] == 1 for operation in forward)


def test_other_weights_and_paintings_need_no_new_graph(loss, pictures):
    start = lesson.as_batch(pictures.content)
    loss.evaluate(start, loss.targets(pictures.content, pictures.style, SETTINGS))
    graphs = loss.evaluate.experimental_get_tracing_count()
    other = dataclasses.replace(SETTINGS, style_weight=7.0, variation_weight=0.1)
    loss.evaluate(start, loss.targets(pictures.content, pictures.style[:50], other))
    assert loss.evaluate.experimental_get_tracing_count() == graphs


# Where the pixels begin


def test_recoloured_has_the_colours_of_the_painting(pictures):
    random = np.random.default_rng(0)
    content = np.clip(random.normal(120, 20, (40, 50, 3)), 0, 255).astype(np.uint8)
    style = np.clip(random.normal(0, 1, (30, 30, 3)) @ random.normal(0, 12, (3, 3)) + (90, 120, 150), 0, 255)
    got = lesson.recoloured(content, style.astype(np.uint8)).reshape(-1, 3)
    wanted = style.astype(np.uint8).reshape(-1, 3)
    np.testing.assert_allclose(got.mean(axis=0), wanted.mean(axis=0), atol=0.5)
    np.testing.assert_allclose(np.cov(got.T), np.cov(wanted.T), atol=15)


def test_recoloured_moves_colours_less_than_whitening_them_first():
    """Whiten the photograph, then give it the painting's covariance: the same statistics, but by a longer way."""
    random = np.random.default_rng(1)
    content, style = (
        np.clip(random.normal(0, 1, (40, 40, 3)) @ random.normal(0, 12, (3, 3)) + 128, 0, 255).astype(np.uint8)
        for _ in range(2)
    )
    here, there = (each.reshape(-1, 3).astype(float) for each in (content, style))
    whiten, colour = (scipy.linalg.sqrtm(np.cov(each.T)) for each in (here, there))
    other = (here - here.mean(axis=0)) @ np.linalg.inv(whiten) @ colour + there.mean(axis=0)
    way = np.mean((lesson.recoloured(content, style).reshape(-1, 3) - here) ** 2)
    assert way < 0.9 * np.mean((other - here) ** 2)


def test_recoloured_moves_no_colour_without_need(pictures):
    np.testing.assert_allclose(lesson.recoloured(pictures.content, pictures.content), pictures.content, atol=0.01)
    grey = np.full((20, 30, 3), 77, np.uint8)
    assert np.isfinite(lesson.recoloured(grey, pictures.style)).all()
    np.testing.assert_allclose(lesson.recoloured(pictures.content, grey).mean(), 77, atol=1)


# The optimizers


@pytest.mark.parametrize("optimizer", ["lbfgs", "sgd"])
def test_loss_falls(loss, pictures, optimizer):
    settings = dataclasses.replace(SETTINGS, optimizer=optimizer, steps=12)
    targets = loss.targets(pictures.content, pictures.style, SETTINGS)
    picture, trace = lesson.minimise(loss, targets, pictures.content, settings)
    assert trace.end.sum() < 0.8 * trace.losses[0]
    assert picture.shape == pictures.content.shape and picture.min() >= 0 and picture.max() <= 255
    assert 12 <= len(trace.parts) <= 14 and len(trace.seconds) == len(trace.parts)


def test_coarse_first_is_symmetric_and_amplifies_coarse_waves():
    """The gradient is pulled back by the same map, which is right only for a symmetric one."""
    amplified = lesson.coarse_first(24, 31)
    one, other = features(0, (1, 24, 31, 3)), features(1, (1, 24, 31, 3))
    assert np.sum(amplified(one) * other) == pytest.approx(np.sum(one * amplified(other)), rel=1e-3)
    columns = np.arange(32)
    for length in (4, 8, 16):
        wave = np.tile(np.cos(2 * np.pi * columns / length)[None, None, :, None], (1, 24, 1, 3))
        np.testing.assert_allclose(lesson.coarse_first(24, 32)(wave), wave * length**0.5, atol=1e-3)


@pytest.mark.parametrize("changes", [{"content_weight": 0.0}, {"content_weight": 1e-12, "init": "noise"}])
def test_the_style_alone_leaves_the_photograph_out(loss, pictures, changes):
    """At no size: a change that is enlarged and added to the photograph would bring its details back."""
    settings = dataclasses.replace(SETTINGS, steps=5, octaves=2, **changes)
    start = lesson.noise(pictures.content.shape, seed=1)
    first, second = (
        lesson.paint(loss, content, pictures.style, settings, start)[0]
        for content in (pictures.content, pictures.style)
    )
    np.testing.assert_array_equal(first, second)


def test_nan_stops_with_one_line(loss, pictures):
    targets = loss.targets(pictures.content, pictures.style, SETTINGS)
    settings = dataclasses.replace(SETTINGS, optimizer="sgd", learning_rate=1e9, steps=30)
    with pytest.raises(lesson.config.StudyError, match="loss turned .*--learning-rate"):
        lesson.minimise(loss, targets, pictures.content, settings)


def test_noise_comes_from_the_seed():
    first, again, other = (lesson.noise((9, 8, 3), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.any(first == other) and first.min() > 0 and first.max() < 255


def test_same_seed_same_picture(loss, pictures):
    settings = [dataclasses.replace(SETTINGS, init="noise", steps=3, octaves=1, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (lesson.paint(loss, pictures.content, pictures.style, each)[0] for each in settings)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 1


# The whole run


def smoke(tmp_path, *flags):
    lesson.main(["--preset", "smoke", "--device", "cpu", "--output-dir", str(tmp_path / "out"), *map(str, flags)])
    return read_card(tmp_path / "out", lesson.__name__)


@pytest.mark.slow
def test_a_readers_pictures_and_sgd(tmp_path):
    Image.new("RGBA", (90, 300), (200, 30, 30, 128)).save(tmp_path / "tall.png")
    Image.fromarray(np.tile(np.uint8([0, 255]), (50, 60))).save(tmp_path / "stripes.png")
    flags = ["--content", tmp_path / "tall.png", "--style", tmp_path / "stripes.png", "--optimizer", "sgd"]
    card = smoke(tmp_path, *flags, "--height", "200", "--side-steps", "1")
    assert [entry["name"] for entry in card["data"]] == ["tall.png", "stripes.png", "swirls"]
    assert card["data"][0]["counts"] == {"pixels": 60 * 200} and card["config"]["optimizer"] == "sgd"


# Pictures of any shape


@pytest.fixture(scope="module")
def tiny():
    """A network of two layers: small enough to be compiled for many sizes of picture."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(4, 3, 2, activation="relu", name="one")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, 2, activation="relu", name="two")(hidden))
    lesson.LAYERS["tiny"] = lesson.Layers("two", ("one", "two"), smooth=True, margin=16)
    yield lesson.TransferLoss(backbones.Backbone("tiny", model, lambda images: images, ("one", "two")))
    del lesson.LAYERS["tiny"]


def noise_picture(height, width):
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@hypothesis_settings(max_examples=8, deadline=None)
@given(
    content=st.tuples(st.integers(48, 300), st.integers(48, 300)),
    style=st.tuples(st.integers(48, 200), st.integers(48, 200)),
    octaves=st.integers(1, 4),
)
@example(content=(400, 533), style=(48, 48), octaves=3)  # 4:3, the commonest shape: a frame was one row too high
@example(content=(48, 300), style=(200, 48), octaves=4)
def test_pictures_of_any_shape(tiny, content, style, octaves):
    settings = dataclasses.replace(SETTINGS, steps=2, octaves=octaves)
    picture, _, traces = lesson.paint(tiny, noise_picture(*content), noise_picture(*style), settings, frames=2)
    assert picture.shape == (*content, 3) and np.isfinite(picture).all() and len(traces) == octaves
    frames = lesson.gif_frames(traces, picture)
    assert len(frames) == 2 * octaves + 1 and len({frame.shape for frame in frames}) == 1


def test_what_cannot_be_written_fails_before_the_painting(tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("frames of different sizes")

    monkeypatch.setattr(lesson.figures, "save_gif", refuse)
    monkeypatch.setattr(lesson, "paint", lambda *_, **__: pytest.fail("it painted first"))
    with pytest.raises(ValueError, match="frames"):
        smoke(tmp_path)


@pytest.mark.parametrize("name", ["50$_off_$20.png", pytest.param("그림.png", marks=pytest.mark.slow)])
def test_a_readers_photograph_of_4_to_3_with_a_name_that_matplotlib_might_misread(tmp_path, name):
    Image.fromarray(noise_picture(100, 133)).save(tmp_path / name)
    flags = ["--content", tmp_path / name, "--style", tmp_path / name, "--octaves", "2", "--steps", "2"]
    card = smoke(tmp_path, *flags, "--height", "100", "--side-steps", "1")
    assert card["data"][0]["name"] == name and card["data"][0]["counts"] == {"pixels": 100 * 133}


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--init", "noise", "--style-weight", "1000"], ["--optimizer", "sgd"]])
def test_flags_that_the_lesson_suggests(tmp_path, flags):
    metrics = smoke(tmp_path, "--side-steps", "1", *flags)["metrics"]
    assert all(entry["value"] is not None for entry in metrics.values())


def test_the_margin_makes_the_edge_count_as_much_as_the_middle(backbone, pictures):
    """Convolutions without padding use a pixel at the edge less often; a mirror image around it makes up for that."""
    ratios = []
    for margin in (0, 16):
        layers = dataclasses.replace(lesson.LAYERS["squeezenet"], margin=margin)
        loss = lesson.TransferLoss(backbone)
        loss.layers = layers
        picture = tf.constant(np.random.default_rng(0).normal(128, 40, (1, 96, 128, 3)), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(picture)
            value = tf.add_n([tf.reduce_sum(features**2) for features in loss.features(picture)[1]])
        size = tf.abs(tape.gradient(value, picture))[0]
        ratios.append(float(tf.reduce_mean(size[0]) / tf.reduce_mean(size[40:56])))
    assert ratios[0] < 0.7 < 0.8 < ratios[1] < 2.5, ratios
