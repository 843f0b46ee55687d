"""Lesson 16: the photograph that must come back, octaves, tiles, shifts, and what is excited."""

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
from PIL import Image

lesson = load_lesson("16_InceptionV3_deepdream")
SETTINGS = lesson.Config(steps=3, shift=0)
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


def dream(excitement, photograph, settings=SETTINGS, sizes=SIZES, watch=None):
    watch = watch or lesson.Watch(settings.steps * len(sizes))
    return lesson.dream(excitement, photograph, sizes, settings, watch)


def rms(values):
    return np.sqrt(np.mean(np.square(values, dtype=np.float64)))


# The photograph and the dream


def test_no_steps_give_the_photograph_back(backbone, photograph):
    settings = dataclasses.replace(SETTINGS, steps=0, shift=32)
    excitement = lesson.build_excitement(backbone, {"fire4_concat": 1.0})
    for picture in dream(excitement, photograph, settings):
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
    excitement = lesson.build_excitement(backbone, {"fire4_concat": 1.0})
    pictures = dream(excitement, photograph)
    distances = [np.abs(picture - photograph).mean() for picture in pictures]
    assert len(pictures) == 3 and 0 < distances[0] < distances[1] < distances[2]
    assert all(picture.shape == photograph.shape for picture in pictures)


# Excitement and its gradient


def test_excitement_is_the_weighted_mean_square_without_the_border(backbone, photograph):
    layers = {"conv1": 2.0, "fire3_concat": 0.5}
    value, _ = lesson.build_excitement(backbone, layers)(photograph[None].astype("float32"))
    shown = backbone.reading(list(layers))(backbone.preprocess(photograph[None]))
    expected = sum(
        weight * np.mean(np.square(np.asarray(shown[layer], np.float64)[:, 2:-2, 2:-2]))
        for layer, weight in layers.items()
    )
    assert float(value) == pytest.approx(expected, rel=1e-4)


def test_gradient_is_the_slope(backbone, photograph):
    excitement = lesson.build_excitement(backbone, {"fire4_concat": 1.0})
    picture = photograph[None, :128, :128].astype("float32")
    _, gradient = excitement(picture)
    direction = gradient / tf.norm(gradient)
    up, down = (float(excitement(picture + step * direction)[0]) for step in (2, -2))
    assert (up - down) / 4 == pytest.approx(float(tf.norm(gradient)), rel=0.02)


def test_the_climb_goes_up(backbone, photograph):
    settings, seen = dataclasses.replace(SETTINGS, steps=8), lesson.Watch(8)
    dream(lesson.build_excitement(backbone, {"fire4_concat": 1.0}), photograph, settings, SIZES[2:], seen)
    assert (np.diff(seen.octaves[0]) > 0).all() and seen.octaves[0][-1] > 1.5 * seen.octaves[0][0]


def test_only_the_graph_up_to_the_deepest_layer_is_built(backbone):
    reading = backbone.reading(["fire2_concat", "fire4_concat"])
    names = {layer.name for layer in reading.layers}
    assert "fire4_concat" in names and not any(name.startswith(("fire5", "fire9")) for name in names)


def test_excitement_above_the_limit_ends_the_octave(backbone, photograph):
    settings = dataclasses.replace(SETTINGS, most_excitement=0.0)
    seen = lesson.Watch(9)
    pictures = dream(lesson.build_excitement(backbone, {"fire4_concat": 1.0}), photograph, settings, watch=seen)
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
    settings = lesson.config.preset_config(lesson.Config, lesson.PRESETS, "full")
    assert (settings.steps, settings.learning_rate, settings.normalise) == (30, 20, "l2")
    assert (settings.octave_ratio, settings.most_excitement, settings.shift) == (1.4, 15, 0)
    taste = lesson.TASTES["inception_v3"]
    assert taste.octaves == 3 and taste.layers == {"mixed4": 1.0, "mixed5": 1.5, "mixed6": 2.0, "mixed7": 2.5}


def test_a_step_of_full_has_the_tutorials_length(photograph):
    """20 in pixels of -1..1 is 2,550 in pixels of 0..255."""
    settings = dataclasses.replace(SETTINGS, steps=1, learning_rate=20.0, normalise="l2")
    picture = photograph.astype("float32")
    flat = types.SimpleNamespace(numpy=lambda: np.ones_like(picture))
    got = lesson.ascend(lambda _: (1.0, [flat]), picture, np.random.default_rng(0), lambda *_: None, settings)
    assert np.linalg.norm((got - picture).astype(np.float64)) / 127.5 == pytest.approx(20, rel=1e-3)


# Tiles and shifts


class Brightness:
    """An excitement without borders: half the mean square of the pixels; its gradient: the pixels by their number."""

    def __init__(self):
        self.shapes = []

    def __call__(self, pixels):
        self.shapes.append(pixels.shape[1:3])
        return float(np.mean(pixels**2)) / 2, tf.constant(pixels / pixels.size)


@pytest.mark.parametrize("tile", [1000, 260, 128, 100])
def test_tiles_cover_the_picture_once(photograph, tile):
    picture, brightness = photograph.astype("float32"), Brightness()
    value, gradient = lesson.in_tiles(brightness, picture, tile)
    np.testing.assert_allclose(gradient, picture / picture.size, rtol=1e-5)
    assert value == pytest.approx(np.mean(picture**2) / 2, rel=1e-4)
    assert len(brightness.shapes) == math.ceil(230 / tile) * math.ceil(260 / tile)
    assert max(max(shape) for shape in brightness.shapes) <= tile


def test_shifts_are_taken_back(photograph):
    """Where all places are alike, shifting changes nothing; a gradient rolled back the wrong way would."""
    picture = photograph.astype("float32")
    settings = dataclasses.replace(SETTINGS, steps=4, tile=128)
    still, shifted = (
        lesson.ascend(
            Brightness(), picture, np.random.default_rng(3), lambda *_: None, dataclasses.replace(settings, shift=shift)
        )
        for shift in (0, 50)
    )
    np.testing.assert_allclose(still, shifted, atol=1e-2)


def test_shifts_move_the_seams(backbone, photograph):
    """Along the seams of a fixed tiling hardly anything is dreamt, for the border of a tile does not count."""
    settings = dataclasses.replace(SETTINGS, steps=12, tile=128, normalise="l2", learning_rate=20.0)
    excitement = lesson.build_excitement(backbone, {"fire4_concat": 1.0})
    shares = []
    for shift in (0, 128):
        dreamt = dream(excitement, photograph, dataclasses.replace(settings, shift=shift), SIZES[2:])[-1] - photograph
        columns = np.abs(dreamt).mean(axis=(0, 2))
        shares.append(columns[85:88].mean() / np.median(columns))  # three tiles meet at columns 86 and 173
    assert shares[0] < 0.3 and 0.75 < shares[1] < 1.3


def test_same_seed_same_dream(backbone, photograph):
    excitement = lesson.build_excitement(backbone, {"fire2_concat": 1.0})
    settings = [dataclasses.replace(SETTINGS, shift=40, seed=seed) for seed in (1, 1, 2)]
    first, again, other = (dream(excitement, photograph, each, SIZES[2:])[-1] for each in settings)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


# What is measured


def test_sight_is_the_size_of_what_a_place_sees():
    """A mean over k x k pixels sees a square with side k; a disc with the same spread has a diameter of 1.155 k."""
    inputs = keras.Input((None, None, 3))
    means = [keras.layers.AveragePooling2D(side, name=f"mean{side}")(inputs) for side in (8, 24)]
    blind = backbones.Backbone("means", keras.Model(inputs, means), lambda images: images, ("mean8", "mean24"))
    picture = np.full((120, 168, 3), 100, np.float32)
    for side in (8, 24):
        assert lesson.sight(blind, f"mean{side}", picture) == pytest.approx(1.155 * side, rel=0.02)


def test_deeper_layers_see_more():
    """With the convnet that lesson 06 trained."""
    trained = backbones.cifar10_convnet(types.SimpleNamespace(record_weights=lambda *_: None))
    picture = np.random.default_rng(0).normal(128, 12, (96, 112, 3)).astype("float32")
    sights = [lesson.sight(trained, layer, picture) for layer in lesson.TASTES["cifar10_convnet"].depths]
    assert sights == sorted(sights) and sights[-1] > 3 * sights[0]


# Flags


def test_layers_and_weights(backbone):
    assert lesson.parse_layers(("fire2_concat=0.5", "conv1"), backbone) == {"fire2_concat": 0.5, "conv1": 1.0}
    assert lesson.parse_layers((), backbone) == lesson.TASTES["squeezenet"].layers
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
        assert {*lesson.TASTES[name].layers, *lesson.TASTES[name].depths} <= set(network.layers)


def smoke(tmp_path, *flags):
    lesson.main(["--preset", "smoke", "--device", "cpu", "--output-dir", str(tmp_path / "out"), *map(str, flags)])
    return read_card(tmp_path / "out", lesson.__name__)


def test_a_readers_picture(tmp_path):
    path = tmp_path / "mine.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (200, 160, 4), np.uint8)).save(path)
    card = smoke(tmp_path, "--content", path, "--octaves", "1", "--layers", "relu2=1", "--steps", "1")
    assert card["data"][0]["name"] == "mine.png" and card["data"][0]["counts"] == {"pixels": 160 * 200}
    assert card["weights"][0]["name"] == "convnet of lesson 06"
