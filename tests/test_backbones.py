"""Pretrained networks: where the weights come from, and one clear line where they cannot be read."""

import json
import types

from lessonkit import backbones
from lessonkit.config import Config, StudyError

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import load_lesson


class FakeRun:
    """What a backbone needs of a run."""

    def __init__(self, **settings):
        self.config = Config(**settings)
        self.online = False  # no network, already asked
        self.lines, self.weights = [], []

    def say(self, line):
        self.lines.append(line)

    def record_weights(self, name, origin):
        self.weights.append((name, origin))


@pytest.fixture(scope="module")
def lesson_06(tmp_path_factory):
    """What a run of lesson 06 leaves, made from random weights."""
    lesson = load_lesson("06_CIFAR10_convnet")
    folder = tmp_path_factory.mktemp("06")
    keras.utils.set_random_seed(5)
    model = lesson.build_model(lesson.Config())
    np.savez(folder / "weights.npz", **lesson.half_precision(model))
    (folder / "model.json").write_text(model.to_json())
    card = {"preset": "default", "data": [{"name": "drawn objects", "source": "embedded"}]}
    card["metrics"] = {"test_accuracy": {"value": 0.123}}
    (folder / "run.json").write_text(json.dumps(card))
    return types.SimpleNamespace(folder=folder, model=model)


@pytest.fixture
def copied(lesson_06, tmp_path):
    for file in lesson_06.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def pictures(size=32, count=3):
    return np.random.default_rng(0).integers(0, 256, (count, size, size, 3), np.uint8)


def test_convnet_of_lesson_06_gives_the_same_answers(lesson_06):
    run = FakeRun()
    backbone = backbones.cifar10_convnet(run, lesson_06.folder)
    wanted = lesson_06.model.predict(pictures(), verbose=0)
    got = backbone.model.predict(backbone.preprocess(pictures()), verbose=0)
    np.testing.assert_allclose(got, wanted, atol=5e-3)
    again = backbones.cifar10_convnet(run, lesson_06.folder).model.predict(pictures(), verbose=0)
    assert (got == again).all()
    assert run.weights[0][0] == "your convnet of lesson 06"
    assert "drawn objects, embedded" in run.weights[0][1] and "12.3%" in run.weights[0][1]
    assert not backbone.model.trainable_weights


def test_convnet_takes_any_size_and_its_layers_can_be_read(lesson_06):
    backbone = backbones.cifar10_convnet(FakeRun(), lesson_06.folder)
    assert backbone.layers == ("relu1", "relu2", "relu3", "relu4", "relu5")
    outputs = backbone.feature_extractor(["relu2", "relu5"])(backbone.preprocess(pictures(48)))
    assert {name: output.shape for name, output in outputs.items()} == {
        "relu2": (3, 12, 12, 64),
        "relu5": (3, 6, 6, 128),
    }
    alone = backbone.feature_extractor(["relu2"])(backbone.preprocess(pictures(48)))
    np.testing.assert_array_equal(alone["relu2"], outputs["relu2"])


def test_smooth_downsamples_by_means(lesson_06):
    backbone = backbones.cifar10_convnet(FakeRun(), lesson_06.folder)
    smooth = backbone.smooth()
    kinds = {type(layer).__name__ for layer in smooth.model.layers}
    assert "AveragePooling2D" in kinds and "MaxPooling2D" not in kinds and not smooth.model.trainable_weights
    assert smooth.layers == backbone.layers
    for before, after in zip(backbone.model.get_weights(), smooth.model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    maximum, mean = (
        np.asarray(each.feature_extractor(["pool1"])(pictures(48))["pool1"]) for each in (backbone, smooth)
    )
    assert maximum.shape == mean.shape and (maximum >= mean).all() and np.abs(maximum - mean).max() > 0


@pytest.mark.parametrize("strides", [2, (2, 1)])
def test_smooth_averages_what_strides_would_skip(strides):
    """A strided convolution is one without strides, of which positions are skipped: here they are averaged."""
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.Conv2D(4, 3, strides, name="conv")(inputs))
    smooth = backbones.Backbone("one", model, lambda images: images, ("conv",)).smooth().model
    image = np.random.default_rng(0).normal(size=(1, 18, 20, 3)).astype("float32")
    kernel, bias = model.get_weights()
    full = keras.ops.conv(image, kernel, 1, "same") + bias
    expected = keras.ops.average_pool(full, strides, strides)
    np.testing.assert_allclose(smooth(image), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["squeezenet", "inception_v3"])
def test_every_pixel_counts_alike_after_smoothing(name):
    """With strides and maxima some rows of pixels have much larger gradients than their neighbours, always the same."""
    keras.utils.set_random_seed(2)
    network = backbones.NETWORKS[name]
    backbone = backbones.Backbone(name, network.build(weights=None, include_top=False), network.preprocess, ())
    layer = {"squeezenet": "fire2_concat", "inception_v3": "mixed0"}[name]
    image = tf.constant(np.random.default_rng(0).normal(128, 40, (1, 128, 128, 3)), tf.float32)
    uneven = []
    for each in (backbone, backbone.smooth()):
        extractor = each.feature_extractor([layer])
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = tf.reduce_sum(extractor(each.preprocess(image), training=False)[layer] ** 2)
        rows = np.square(tape.gradient(loss, image)[0, 32:96]).mean(axis=(1, 2)).reshape(16, 4).mean(axis=0)
        uneven.append(rows.max() / rows.min())
    assert uneven[1] < 1.35 < 1.6 < uneven[0], uneven


@pytest.mark.parametrize("file", ["weights.npz", "model.json", "run.json"])
@pytest.mark.parametrize("harm", ["missing", "cut", "garbage"])
def test_harmed_files_give_one_line(copied, file, harm):
    path = copied / file
    if harm == "missing":
        path.unlink()
    elif harm == "cut":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    else:
        path.write_bytes(b"no such thing\n" * 5)
    run = FakeRun()
    with pytest.raises(StudyError, match=r"cannot be read .*06_CIFAR10_convnet\.py") as problem:
        backbones.cifar10_convnet(run, copied)
    assert "\n" not in str(problem.value) and not run.weights


@pytest.mark.parametrize("harm", ["shape", "name", "nan"])
def test_weights_that_do_not_fit_give_one_line(copied, harm):
    with np.load(copied / "weights.npz") as file:
        arrays = dict(file)
    if harm == "shape":
        arrays["conv1/kernel"] = arrays["conv1/kernel"][..., :-1]
    elif harm == "name":
        arrays["conv9/kernel"] = arrays.pop("conv1/kernel")
    else:
        arrays["conv1/kernel"][0, 0, 0, 0] = np.nan
    np.savez(copied / "weights.npz", **arrays)
    with pytest.raises(StudyError, match="cannot be read") as problem:
        backbones.cifar10_convnet(FakeRun(), copied)
    assert "\n" not in str(problem.value)


# The convnet that is kept


def test_a_run_of_lesson_06_changes_the_kept_convnet_only_when_asked(lesson_06, tmp_path, monkeypatch):
    """Lesson 06 publishes to output/; what lessons 16 and 17 use without ImageNet does not depend on it."""
    monkeypatch.setattr(backbones, "LESSON_06", lesson_06.folder)  # a reader's run on drawn objects
    run = FakeRun()
    kept = backbones.load(run, "cifar10_convnet")
    assert run.weights[0][0] == "convnet of lesson 06" and "CIFAR-10, real" in run.weights[0][1]
    own = backbones.load(run, "cifar10_convnet", lesson_06.folder)
    assert run.weights[1][0] == "your convnet of lesson 06" and "drawn objects, embedded" in run.weights[1][1]
    assert np.abs(kept.model.get_weights()[0] - own.model.get_weights()[0]).max() > 0


def test_the_kept_convnet_is_from_the_default_preset_on_real_data():
    card = json.loads((backbones.KEPT / "run.json").read_text())
    assert card["preset"] == "default" and {entry["source"] for entry in card["data"]} == {"real"}
    assert sum((backbones.KEPT / name).stat().st_size for name in backbones.FILES) < 1_000_000


def test_only_a_default_run_on_real_data_is_kept(copied, tmp_path):
    place = tmp_path / "kept"
    card = json.loads((copied / "run.json").read_text())
    for change in ({}, {"preset": "smoke", "data": [{"name": "CIFAR-10", "source": "real"}]}, {"data": []}):
        (copied / "run.json").write_text(json.dumps(card | change))
        with pytest.raises(StudyError, match="only the default preset on real data"):
            backbones.keep(copied, place)
    assert not place.exists()
    (copied / "run.json").write_text(json.dumps(card | {"data": [{"name": "CIFAR-10", "source": "real"}]}))
    assert "12.3%" in backbones.keep(copied, place)
    for name in backbones.FILES:
        assert (place / name).read_bytes() == (copied / name).read_bytes()
    with pytest.raises(StudyError, match="no run of lesson 06"):
        backbones.keep(tmp_path / "nowhere", place)


# ImageNet's weights


@pytest.fixture
def no_lesson_06(monkeypatch, lesson_06):
    """The stand-in of every test: never the kept weights."""
    monkeypatch.setattr(backbones, "KEPT", lesson_06.folder)


@pytest.mark.parametrize("name", list(backbones.NETWORKS))
def test_without_network_the_convnet_steps_in_and_says_so(name, no_lesson_06):
    run = FakeRun()
    assert backbones.load(run, name).name == "cifar10_convnet"
    assert any("using the convnet of lesson 06" in line for line in run.lines)
    assert [entry[0] for entry in run.weights] == ["convnet of lesson 06"]


def test_real_never_falls_back(no_lesson_06):
    with pytest.raises(StudyError, match=r"place vgg19_weights_tf_dim_ordering_tf_kernels_notop\.h5 in the folder"):
        backbones.load(FakeRun(data="real"), "vgg19")


def test_unknown_file_and_unreadable_file_give_one_line(tmp_path):
    with pytest.raises(StudyError, match="no such file"):
        backbones.load(FakeRun(), "vgg19", tmp_path / "none.h5")
    (tmp_path / "weights").mkdir()
    broken = tmp_path / "weights" / "vgg19_mine.h5"
    broken.write_bytes(b"no HDF5")
    with pytest.raises(StudyError, match=r"vgg19_mine\.h5: cannot be read") as problem:
        backbones.load(FakeRun(data_dir=tmp_path), "vgg19")
    assert "\n" not in str(problem.value)


@pytest.fixture
def small_network(monkeypatch):
    """A network of a few weights in VGG19's place: the real files weigh 80 MB."""

    def build(weights, include_top):
        assert not include_top
        inputs = keras.Input((None, None, 3))
        model = keras.Model(inputs, keras.layers.Conv2D(4, 3, name="block1_conv1")(inputs))
        if weights:
            model.load_weights(weights)
        return model

    network = backbones.Pretrained(
        build, keras.applications.vgg19.preprocess_input, ("block1_conv1",), hash="0" * 32, megabytes=1
    )
    monkeypatch.setitem(backbones.NETWORKS, "vgg19", network)
    return build


def test_hidden_files_are_no_weights(small_network, tmp_path, no_lesson_06):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "._vgg19_mine.weights.h5").write_bytes(b"what macOS leaves beside a file")
    assert backbones.load(FakeRun(data_dir=tmp_path), "vgg19").name == "cifar10_convnet"
    small_network(None, False).save_weights(tmp_path / "weights" / "vgg19_mine.weights.h5")
    assert backbones.load(FakeRun(data_dir=tmp_path), "vgg19").name == "vgg19"


def test_weights_from_the_data_folder_or_a_path(small_network, tmp_path):
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "vgg19_mine.weights.h5"
    keras.utils.set_random_seed(8)
    made = small_network(None, False)
    made.save_weights(path)
    for arguments, origin in (
        ((FakeRun(data_dir=tmp_path), "vgg19"), "weights/vgg19_mine.weights.h5 in the data folder"),
        ((FakeRun(), "vgg19", path), "vgg19_mine.weights.h5"),
    ):
        backbone = backbones.load(*arguments)
        assert backbone.name == "vgg19"
        assert arguments[0].weights == [("vgg19 (ImageNet)", origin)]
        assert (backbone.model.get_weights()[0] == made.get_weights()[0]).all()


def test_embedded_looks_at_no_data_folder(small_network, tmp_path, no_lesson_06):
    (tmp_path / "weights").mkdir()
    small_network(None, False).save_weights(tmp_path / "weights" / "vgg19.weights.h5")
    assert backbones.load(FakeRun(data_dir=tmp_path, data="embedded"), "vgg19").name == "cifar10_convnet"


def test_the_cache_is_held_against_its_hash(small_network, tmp_path, monkeypatch, no_lesson_06):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    path = tmp_path / backbones.NETWORKS["vgg19"].download("vgg19").file
    path.parent.mkdir()
    path.write_bytes(b"not it")
    run = FakeRun()
    assert backbones.load(run, "vgg19").name == "cifar10_convnet"
    assert "wrong hash" in run.lines[0] and path.read_bytes() == b"not it"


def test_preprocessing_of_vgg19_leaves_its_argument_alone(small_network, tmp_path):
    """BGR with the mean colour of ImageNet subtracted; Keras' own function overwrites a float array in place."""
    small_network(None, False).save_weights(tmp_path / "some.weights.h5")
    backbone = backbones.load(FakeRun(), "vgg19", tmp_path / "some.weights.h5")
    image = np.full((1, 2, 2, 3), (10, 20, 30), np.float32)
    after = np.asarray(backbone.preprocess(image))
    np.testing.assert_allclose(after[0, 0, 0], [30 - 103.939, 20 - 116.779, 10 - 123.68], rtol=1e-5)
    assert (image[0, 0, 0] == (10, 20, 30)).all()


def test_downloads_are_those_of_keras():
    """Name and md5 as `keras.applications` has them."""
    import inspect

    for name, function in {"inception_v3": keras.applications.InceptionV3, "vgg19": keras.applications.VGG19}.items():
        module = inspect.getmodule(function)
        download = backbones.NETWORKS[name].download(name)
        assert download.url == module.WEIGHTS_PATH_NO_TOP
        assert download.hash in inspect.getsource(function)
