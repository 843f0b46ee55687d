"""Lesson 16: the photograph that must come back, the loss, steps, tiles, shifts, and pictures of any shape."""

import dataclasses
import math
import types

from lessonkit import backbones
from lessonkit.config import StudyError

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import load_lesson, read_card
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from PIL import Image

lesson = load_lesson("16_InceptionV3_deepdream")
SETTINGS = lesson.Config(steps=3, shift=0)
FULL = lesson.config.preset_config(lesson.Config, lesson.PRESETS, "full")
SIZES = [(117, 133), (164, 186), (230, 260)]  # three octaves of the picture below


@pytest.fixture(scope="module")
def backbone():
    """SqueezeNet with random weights: the mathematics is the same."""
    keras.utils.set_random_seed(1)
    network = backbones.NETWORKS["squeezenet"]
    return backbones.Backbone("squeezenet", backbones.squeezenet(), network.preprocess, network.layers)


@pytest.fixture(scope="module")
def photograph() -> np.ndarray:
    """A picture uint8 (230, 260, 3) with fine detail, which a smaller octave loses."""
    return np.random.default_rng(0).integers(0, 256, (230, 260, 3), np.uint8)


def dream(loss, photograph, settings=SETTINGS, sizes=SIZES, log=None):
    log = log or lesson.Log(settings.steps * len(sizes))
    return lesson.dream(loss, photograph, sizes, settings, log)


def rms(values):
    return np.sqrt(np.mean(np.square(values, dtype=np.float64)))


# The photograph and the dream


def test_no_steps_give_the_photograph_back(backbone, photograph):
    settings = dataclasses.replace(SETTINGS, steps=0, shift=32)
    loss = lesson.build_loss(backbone, {"fire4_concat": 1.0})
    for picture in dream(loss, photograph, settings):
        np.testing.assert_array_equal(picture, photograph)


def test_the_lost_detail_is_that_of_the_photograph(photograph, monkeypatch):
    """The tutorials' order, written down once more: dream on the enlarged picture, then add what enlarging had lost.

    An ascent that adds the same pattern to whatever it is given must end in the same picture. Detail taken from the
    dream instead of the photograph, or subtracted the other way round, would not.
    """
    patterns = iter(np.random.default_rng(1).normal(0, 20, (6, 400, 400, 3)).astype("float32"))

    shown = []

    def ascend(_, picture, *__):
        shown.append(picture)
        return picture + next(patterns)[: picture.shape[0], : picture.shape[1]]

    monkeypatch.setattr(lesson, "ascend", ascend)
    small, middle, got = dream(None, photograph)
    for picture, dreamt, size in zip(shown, (photograph, small, middle), SIZES, strict=True):
        up = lesson.resized(dreamt - photograph.astype("float32"), size)
        assert np.abs(picture - lesson.resized(photograph, size) - up).mean() < 4, "sharp photograph, enlarged dream"

    patterns = iter(np.random.default_rng(1).normal(0, 20, (6, 400, 400, 3)).astype("float32"))
    original = photograph.astype("float32")
    shrunk = picture = lesson.resized(original, SIZES[0])
    for size in SIZES:
        picture = ascend(None, lesson.resized(picture, size))
        same_size = lesson.resized(original, size)
        picture = picture + same_size - lesson.resized(shrunk, size)
        shrunk = same_size
    np.testing.assert_allclose(got, picture, atol=0.01)


def test_octaves_grow_by_their_ratio():
    assert lesson.octave_sizes(400, 600, 3, 1.4) == [(204, 306), (286, 429), (400, 600)]
    assert lesson.octave_sizes(400, 600, 1, 1.4) == [(400, 600)]
    assert lesson.octave_sizes(230, 260, 3, 1.4) == SIZES
    with pytest.raises(StudyError, match="the smallest of 6 octaves has 112 x 74 pixels"):
        lesson.octave_sizes(400, 600, 6, 1.4, 75)


def test_a_dream_changes_every_octave_a_little_more(backbone, photograph):
    loss = lesson.build_loss(backbone, {"fire4_concat": 1.0})
    pictures = dream(loss, photograph)
    distances = [np.abs(picture - photograph).mean() for picture in pictures]
    assert len(pictures) == 3 and 0 < distances[0] < distances[1] < distances[2]
    assert all(picture.shape == photograph.shape for picture in pictures)


# The loss and its gradient


def test_loss_is_the_weighted_mean_square_without_the_border(backbone, photograph):
    layers = {"conv1": 2.0, "fire3_concat": 0.5}
    value, _ = lesson.build_loss(backbone, layers)(photograph[None].astype("float32"))
    shown = backbone.feature_extractor(list(layers))(backbone.preprocess(photograph[None]))
    expected = sum(
        weight * np.mean(np.square(np.asarray(shown[layer], np.float64)[:, 2:-2, 2:-2]))
        for layer, weight in layers.items()
    )
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_gradient_is_the_slope(backbone, photograph):
    loss = lesson.build_loss(backbone, {"fire4_concat": 1.0})
    picture = photograph[None, :128, :128].astype("float32")
    _, gradient = loss(picture)
    direction = gradient / tf.norm(gradient)
    up, down = (float(loss(picture + step * direction)[0]) for step in (2, -2))
    assert (up - down) / 4 == pytest.approx(float(tf.norm(gradient)), rel=0.02)


def test_the_climb_goes_up(backbone, photograph):
    settings, seen = dataclasses.replace(SETTINGS, steps=8), lesson.Log(8)
    dream(lesson.build_loss(backbone, {"fire4_concat": 1.0}), photograph, settings, SIZES[2:], seen)
    assert (np.diff(seen.octaves[0]) > 0).all() and seen.octaves[0][-1] > 1.5 * seen.octaves[0][0]


def test_only_the_graph_up_to_the_deepest_layer_is_built(backbone):
    extractor = backbone.feature_extractor(["fire2_concat", "fire4_concat"])
    names = {layer.name for layer in extractor.layers}
    assert "fire4_concat" in names and not any(name.startswith(("fire5", "fire9")) for name in names)


def test_loss_above_the_limit_ends_the_octave(backbone, photograph):
    settings = dataclasses.replace(SETTINGS, max_loss=0.0)
    seen = lesson.Log(9)
    pictures = dream(lesson.build_loss(backbone, {"fire4_concat": 1.0}), photograph, settings, log=seen)
    assert [len(values) for values in seen.octaves] == [1, 1, 1]
    assert np.abs(pictures[-1] - photograph).max() > 0, "the limit is looked at after the step"


# Normalised steps


def test_bands_move_pixels_alike_whatever_the_size_and_l2_does_not():
    gradient = np.random.default_rng(0).normal(0, 1e-5, (32, 48, 3)).astype("float32")
    large = np.tile(gradient, (2, 2, 1))
    for kind, small_step, large_step in (
        ("bands", 1, 1),
        ("l2", 1 / math.sqrt(gradient.size), 1 / math.sqrt(large.size)),
    ):
        assert rms(lesson.normalised(gradient, kind)) == pytest.approx(small_step, rel=1e-3)
        assert rms(lesson.normalised(large, kind)) == pytest.approx(large_step, rel=1e-3)
        assert np.isfinite(lesson.normalised(np.zeros((40, 40, 3), "float32"), kind)).all()


def test_bands_are_equally_strong():
    """A strong fine wave and a weak coarse one: after it, both move the pixels about as much."""
    rows, columns = np.mgrid[:128, :160]
    fine, coarse = np.cos(np.pi * rows), np.cos(2 * np.pi * columns / 40)
    gradient = np.repeat((fine + 0.01 * coarse)[..., None], 3, axis=2).astype("float32")
    step = lesson.equalised(gradient)[16:-16, 16:-16, 0]
    strengths = [np.mean(step * wave[16:-16, 16:-16]) for wave in (fine, coarse)]
    assert 0.3 < strengths[1] / strengths[0] < 3


def test_full_preset_has_the_tutorials_settings():
    assert (FULL.steps, FULL.learning_rate, FULL.normalise) == (30, 20, "l2")
    assert (FULL.octave_ratio, FULL.max_loss, FULL.shift, FULL.saturation, FULL.bounded) == (1.4, 15, 0, 1, False)
    suited = lesson.LAYERS["inception_v3"]
    assert suited.octaves == 3 and suited.weights == {"mixed4": 1.0, "mixed5": 1.5, "mixed6": 2.0, "mixed7": 2.5}


def test_a_step_of_full_has_the_tutorials_length(photograph):
    """20 in pixels of -1..1 is 2,550 in pixels of 0..255."""
    settings = dataclasses.replace(FULL, steps=1)
    picture = photograph.astype("float32")
    flat = types.SimpleNamespace(numpy=lambda: np.ones_like(picture))
    got = lesson.ascend(lambda _: (1.0, [flat]), picture, np.random.default_rng(0), lambda *_: None, settings, 1)
    assert np.linalg.norm((got - picture).astype(np.float64)) / 127.5 == pytest.approx(20, rel=1e-3)


def test_bounded_steps_stay_within_black_and_white_and_keep_their_length_at_grey():
    picture = np.float32([[[0, 3, 60], [127.5, 200, 255]]])
    for step in (-300, -1, 1, 300):
        got = lesson.moved(picture, np.full_like(picture, step), bounded=True)
        assert (got > 0).all() and (got < 255).all()
        assert (np.sign(got - np.clip(picture, 2, 253)) == np.sign(step)).all()
        np.testing.assert_array_equal(lesson.moved(picture, np.full_like(picture, step), False), picture + step)
    middle = lesson.moved(np.full((1, 1, 3), 127.5), np.full((1, 1, 3), 2.0), bounded=True)
    np.testing.assert_allclose(middle, 129.5, atol=1e-3)
    sky = lesson.moved(np.full((1, 1, 3), 240.0), np.full((1, 1, 3), 2.0), bounded=True)
    np.testing.assert_allclose(sky, 240 + 2 * 4 * (240 / 255) * (15 / 255), atol=0.02)  # the slope of the sigmoid


def test_saturation_keeps_the_brightness_of_a_step_and_scales_its_colours():
    gradient = np.random.default_rng(0).normal(size=(40, 44, 3)).astype("float32")
    whole, half, grey = (lesson.normalised(gradient, "l2", share) for share in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(grey, np.repeat(grey[..., :1], 3, axis=2), atol=1e-6)

    def ratio(step):
        brightness = step.mean(axis=-1, keepdims=True)
        return (step - brightness) / np.sqrt(np.mean(brightness**2))

    np.testing.assert_allclose(ratio(half), 0.5 * ratio(whole), atol=1e-4)


def test_a_pale_sky_is_not_burnt_out():
    """Many steps the same way: the default keeps every value off pure black and white, plain steps clip a third."""
    sky = np.full((128, 160, 3), (225, 235, 245), np.uint8)
    pattern = tf.constant(np.random.default_rng(0).normal(size=(1, 128, 160, 3)), tf.float32)
    settings = dataclasses.replace(SETTINGS, steps=10, learning_rate=0.1)
    shares = [
        lesson.clipped_share(
            dream(lambda _: (1.0, pattern), sky, dataclasses.replace(settings, bounded=bounded), [(128, 160)])[0]
        )
        for bounded in (True, False)
    ]
    assert shares[0] == 0 and shares[1] > 0.3, shares


# Tiles and shifts


class Brightness:
    """A loss without borders: half the mean square of the pixels; its gradient: the pixels by their number."""

    def __init__(self):
        self.shapes = []

    def __call__(self, pixels):
        self.shapes.append(pixels.shape[1:3])
        return float(np.mean(pixels**2)) / 2, tf.constant(pixels / pixels.size)


@pytest.mark.parametrize("tile", [1000, 260, 128, 100])
def test_tiles_cover_the_picture_once(photograph, tile):
    picture, brightness = photograph.astype("float32"), Brightness()
    value, gradient = lesson.in_tiles(brightness, picture, tile, 1)
    np.testing.assert_allclose(gradient, picture / picture.size, rtol=1e-5)
    assert value == pytest.approx(np.mean(picture**2) / 2, rel=1e-4)
    assert len(brightness.shapes) == math.ceil(230 / tile) * math.ceil(260 / tile)
    assert max(max(shape) for shape in brightness.shapes) <= tile


@given(side=st.integers(48, 3000), tile=st.integers(1, 700), smallest=st.integers(1, 250))
def test_no_tile_is_smaller_than_the_network_needs(side, tile, smallest):
    pieces = np.diff(lesson.cuts(side, tile, smallest))
    assert pieces.sum() == side and pieces.min() >= min(side, smallest)
    assert pieces.max() <= max(tile, 2 * smallest) or len(pieces) == 1 and side < 2 * smallest


@pytest.mark.slow
def test_the_suggested_tiles_leave_something_inside_the_border():
    """`--shift 0 --tile 128` on the first octave, 204 x 306: tiles of 102 pixels leave nothing inside the border."""
    keras.utils.set_random_seed(1)
    network = backbones.NETWORKS["inception_v3"]
    inception = backbones.Backbone(
        "inception_v3", backbones.frozen(network.build()), network.preprocess, network.layers
    )
    layers = lesson.LAYERS["inception_v3"].weights
    smallest, loss = lesson.smallest_side(inception, layers), lesson.build_loss(inception, layers)
    picture = np.random.default_rng(0).normal(128, 30, (204, 306, 3)).astype("float32")
    value, gradient = lesson.in_tiles(loss, picture, 128, smallest)
    assert np.isfinite(value) and np.isfinite(gradient).all() and 102 < smallest <= 153
    assert not np.isfinite(lesson.in_tiles(loss, picture, 128, 1)[0])


@pytest.mark.parametrize("layer", ["conv1", "fire4_concat", "fire9_concat"])
def test_smallest_side_is_the_smallest(backbone, layer):
    smallest, loss = lesson.smallest_side(backbone, [layer]), lesson.build_loss(backbone, {layer: 1.0})
    noise = np.random.default_rng(0).normal(128, 40, (1, smallest, smallest, 3)).astype("float32")
    assert np.isfinite(loss(noise)[0]) and not np.isfinite(loss(noise[:, :-1, :-1])[0])


def test_shifts_are_taken_back(photograph):
    """Where all places are alike, shifting changes nothing; a gradient rolled back the wrong way would."""
    picture = photograph.astype("float32")
    settings = dataclasses.replace(SETTINGS, steps=4, tile=128)
    still, shifted = (
        lesson.ascend(
            Brightness(),
            picture,
            np.random.default_rng(3),
            lambda *_: None,
            dataclasses.replace(settings, shift=shift),
            1,
        )
        for shift in (0, 50)
    )
    np.testing.assert_allclose(still, shifted, atol=1e-2)


def test_shifts_move_the_seams(backbone, photograph):
    """Along the seams of a fixed tiling hardly anything is dreamt, for the border of a tile does not count."""
    settings = dataclasses.replace(SETTINGS, steps=12, tile=128, normalise="l2", learning_rate=20.0)
    loss = lesson.build_loss(backbone, {"fire4_concat": 1.0})
    shares = []
    for shift in (0, 128):
        dreamt = dream(loss, photograph, dataclasses.replace(settings, shift=shift), SIZES[2:])[-1] - photograph
        columns = np.abs(dreamt).mean(axis=(0, 2))
        shares.append(columns[85:88].mean() / np.median(columns))  # three tiles meet at columns 86 and 173
    assert shares[0] < 0.3 and 0.75 < shares[1] < 1.3


def test_same_seed_same_dream(backbone, photograph):
    loss = lesson.build_loss(backbone, {"fire2_concat": 1.0})
    settings = [dataclasses.replace(SETTINGS, shift=40, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (dream(loss, photograph, each, SIZES[2:])[-1] for each in settings)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


# What is measured


def test_receptive_field_is_the_size_of_what_a_position_depends_on():
    """A mean over k x k pixels depends on a square with side k; a disc of the same spread has 1.155 k as diameter."""
    inputs = keras.Input((None, None, 3))
    means = [keras.layers.AveragePooling2D(side, name=f"mean{side}")(inputs) for side in (8, 24)]
    means = backbones.Backbone("means", keras.Model(inputs, means), lambda images: images, ("mean8", "mean24"))
    picture = np.full((120, 168, 3), 100, np.float32)
    for side in (8, 24):
        assert lesson.receptive_field(means, f"mean{side}", picture) == pytest.approx(1.155 * side, rel=0.02)


def test_deeper_layers_have_larger_receptive_fields():
    """With the convnet that lesson 06 trained."""
    trained = backbones.cifar10_convnet(types.SimpleNamespace(record_weights=lambda *_: None))
    picture = np.random.default_rng(0).normal(128, 12, (96, 112, 3)).astype("float32")
    fields = [lesson.receptive_field(trained, layer, picture) for layer in lesson.LAYERS["cifar10_convnet"].depths]
    assert fields == sorted(fields) and fields[-1] > 3 * fields[0]


# Flags


def test_layers_and_weights(backbone):
    assert lesson.parse_layers(("fire2_concat=0.5", "conv1"), backbone) == {"fire2_concat": 0.5, "conv1": 1.0}
    assert lesson.parse_layers((), backbone) == lesson.LAYERS["squeezenet"].weights
    for words, message in (
        (("mixed4=1",), "squeezenet has conv1, fire2"),
        (("conv1=much",), "conv1=1.5"),
        (("conv1=nan",), "conv1=1.5"),
        (("=1",), "squeezenet has"),
    ):
        with pytest.raises(StudyError, match=message):
            lesson.parse_layers(words, backbone)


def test_every_backbone_has_the_layers_that_the_lesson_names():
    for name, network in backbones.NETWORKS.items():
        assert {*lesson.LAYERS[name].weights, *lesson.LAYERS[name].depths} <= set(network.layers)


def smoke(tmp_path, *flags):
    lesson.main(["--preset", "smoke", "--device", "cpu", "--output-dir", str(tmp_path / "out"), *map(str, flags)])
    return read_card(tmp_path / "out", lesson.__name__)


def test_a_readers_picture(tmp_path):
    path = tmp_path / "mine.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 160, 4), np.uint8)).save(path)
    card = smoke(tmp_path, "--content", path, "--octaves", "1", "--layers", "relu2=1", "--steps", "1")
    assert card["data"][0]["name"] == "mine.png" and card["data"][0]["counts"] == {"pixels": 160 * 200}
    assert card["weights"][0]["name"] == "convnet of lesson 06"


# Pictures of any shape


@pytest.fixture(scope="module")
def tiny():
    """A network of two layers, and its loss: small enough for many pictures."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((None, None, 3))
    hidden = keras.layers.Conv2D(4, 3, 2, activation="relu", name="one")(inputs)
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, 2, activation="relu", name="two")(hidden))
    network = backbones.Backbone("tiny", model, lambda images: images, ("one", "two"))
    return lesson.build_loss(network, {"two": 1.0}), lesson.smallest_side(network, ["one", "two"])


@hypothesis_settings(max_examples=25, deadline=None)
@given(
    height=st.integers(64, 300), width=st.integers(64, 300), octaves=st.integers(1, 4), tile=st.sampled_from([30, 128])
)
@example(height=64, width=300, octaves=1, tile=30)
@example(height=301, width=226, octaves=3, tile=128)
def test_pictures_of_any_shape(tiny, height, width, octaves, tile):
    loss, smallest = tiny
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    settings = dataclasses.replace(SETTINGS, steps=2, shift=20, tile=tile)
    sizes = lesson.octave_sizes(height, width, octaves, 1.4)
    log = lesson.Log(2 * octaves, frames=2 * octaves)
    dreams = lesson.dream(loss, picture, sizes, settings, log, smallest)
    assert [dreamt.shape for dreamt in dreams] == [picture.shape] * octaves and np.isfinite(dreams).all()
    first = lesson.figures.as_bytes(picture, width=lesson.FRAME_WIDTH)
    assert len(log.frames) == 2 * octaves and {frame.shape for frame in log.frames} == {first.shape}


def test_what_cannot_be_written_fails_before_the_dream(tmp_path, monkeypatch):
    def refuse(*_):
        raise ValueError("frames of different sizes")

    monkeypatch.setattr(lesson.figures, "save_gif", refuse)
    monkeypatch.setattr(lesson, "dream", lambda *_: pytest.fail("it dreamt first"))
    with pytest.raises(ValueError, match="frames"):
        smoke(tmp_path)


@pytest.mark.parametrize("name", ["50$_off_$20.png", pytest.param("사진.png", marks=pytest.mark.slow)])
def test_names_that_matplotlib_might_misread(tmp_path, name):
    Image.new("RGB", (90, 64), (200, 30, 30)).save(tmp_path / name)
    card = smoke(tmp_path, "--content", tmp_path / name, "--octaves", "1", "--steps", "1", "--side-steps", "1")
    assert card["data"][0]["name"] == name and 0 <= card["metrics"]["clipped_share"]["value"] <= 1


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--steps", "0"], ["--shift", "0", "--tile", "128"], ["--photograph", "china"]])
def test_flags_that_the_lesson_suggests(tmp_path, flags):
    metrics = smoke(tmp_path, "--octaves", "1", "--steps", "1", "--side-steps", "1", *flags)["metrics"]
    assert all(entry["value"] is not None for entry in metrics.values())
