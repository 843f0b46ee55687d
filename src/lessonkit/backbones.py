"""Pretrained convnets: ImageNet's weights where they can be had, else the small convnet that lesson 06 trained.

The convnet of lesson 06 is kept in `pretrained/`: a later run of lesson 06 does not change what lessons 16 and 17 show.
`python -m lessonkit.backbones` (in src/) keeps the network of output/06_CIFAR10_convnet/ there instead.
"""

import dataclasses
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from lessonkit.config import PUBLISHED, StudyError
from lessonkit.datasets import source

import keras
import numpy as np

KEPT = Path(__file__).parent / "pretrained" / "cifar10_convnet"
LESSON_06 = PUBLISHED / "06_CIFAR10_convnet"
FILES = ("model.json", "weights.npz", "run.json")  # of a run of lesson 06


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A trained convnet for pictures of any height and width; its weights are frozen.

    preprocess turns RGB images with values 0..255 (n, height, width, 3), NumPy or tensor, into what the model expects,
    and lets gradients through. layers: the names of the layers worth reading, from shallow to deep.
    """

    name: str
    model: keras.Model
    preprocess: Callable
    layers: tuple[str, ...]

    def feature_extractor(self, layers: Sequence[str]) -> keras.Model:
        """Preprocessed images -> the outputs of these layers by name; nothing above the deepest is computed."""
        return keras.Model(self.model.input, {layer: self.model.get_layer(layer).output for layer in layers})

    def smooth(self) -> "Backbone":
        """The same network and weights, downsampled by means over 2 x 2 positions wherever it is downsampled.

        Such a mean takes the place of each maximum, and a convolution with strides becomes one without, followed by a
        mean. The gradient then reaches all pixels alike; through maxima and strides it favours some of them, always
        the same ones, which leaves a lattice in a picture that is optimised.
        """
        convolutions = [layer for layer in self.model.layers if isinstance(layer, keras.layers.Conv2D)]
        strided = {layer.name: layer.strides for layer in convolutions if max(layer.strides) > 1}

        def clone(layer):
            if isinstance(layer, keras.layers.MaxPooling2D):
                return keras.layers.AveragePooling2D(layer.strides, name=layer.name)
            changes = (
                {"strides": 1, "padding": "same"} if layer.name in strided else {}
            )  # "same": branches keep one size
            return type(layer).from_config(layer.get_config() | changes)

        def call(layer, *arguments, **options):
            output = layer(*arguments, **options)
            if layer.name in strided:
                return keras.layers.AveragePooling2D(strided[layer.name], name=f"{layer.name}_mean")(output)
            return output

        copy = keras.models.clone_model(self.model, clone_function=clone, call_function=call)
        copy.set_weights(self.model.get_weights())
        return dataclasses.replace(self, model=frozen(copy))


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """How to build a network, and where its ImageNet weights without the classifier lie."""

    build: Callable  # weights=path, include_top=False -> keras.Model
    preprocess: Callable
    layers: tuple[str, ...]
    hash: str  # md5 of the published file
    megabytes: int
    folder: str = "https://storage.googleapis.com/tensorflow/keras-applications/{name}"

    def download(self, name: str) -> source.Download:
        file = f"{name}_weights_tf_dim_ordering_tf_kernels_notop.h5"
        url = f"{self.folder.format(name=name)}/{file}"
        return source.Download(url, f"models/{file}", self.hash, self.megabytes)


def squeezenet(weights: str | None = None, include_top: bool = False) -> keras.Model:
    """SqueezeNet 1.1 without its classifier (Iandola et al., arXiv:1602.07360), as published by keras-squeezenet.

    723,000 weights and a first stride of 2 make it ten times quicker than VGG19. A "fire" module squeezes its input
    into few channels by 1 x 1 filters, then expands them by 1 x 1 and 3 x 3 filters side by side.
    """

    def convolution(x, filters, size, name):
        padding, strides = ("valid", 2) if name == "conv1" else ("same", 1)
        return keras.layers.Conv2D(filters, size, strides, padding, activation="relu", name=name)(x)

    x = inputs = keras.Input((None, None, 3))
    x = convolution(x, 64, 3, "conv1")
    for fire in range(2, 10):
        if fire in (2, 4, 6):
            x = keras.layers.MaxPooling2D(3, 2, name=f"pool{fire - 1}")(x)
        narrow = 16 * (fire // 2)
        x = convolution(x, narrow, 1, f"fire{fire}_squeeze1x1")
        sides = [convolution(x, 4 * narrow, size, f"fire{fire}_expand{size}x{size}") for size in (1, 3)]
        x = keras.layers.Concatenate(name=f"fire{fire}_concat")(sides)
    model = keras.Model(inputs, x, name="squeezenet")
    if weights is not None:
        model.load_weights(weights)
    return model


def inception_v3(weights: str | None = None, include_top: bool = False) -> keras.Model:
    """Keras' Inception v3, whose first five activations, before the first "mixed" block, are called stem1 to stem5."""
    model = keras.applications.InceptionV3(weights=weights, include_top=include_top)
    activations = [layer for layer in model.layers if isinstance(layer, keras.layers.Activation)]
    for number, layer in enumerate(activations[:STEM], 1):
        layer.name = f"stem{number}"  # Keras numbers them on from model to model
    return model


STEM = 5
NETWORKS = {
    "inception_v3": Pretrained(
        inception_v3,
        keras.applications.inception_v3.preprocess_input,  # -1..1
        (*(f"stem{number}" for number in range(1, STEM + 1)), *(f"mixed{number}" for number in range(11))),
        "bcbd6486424b2319ff4ef7d526e38f63",
        megabytes=84,
    ),
    "vgg19": Pretrained(
        keras.applications.VGG19,
        keras.applications.vgg19.preprocess_input,  # BGR, the mean colour subtracted
        tuple(
            f"block{block}_conv{conv}" for block, last in enumerate((2, 2, 4, 4, 4), 1) for conv in range(1, last + 1)
        ),
        "253f8cb515780f3b799900260a226db6",
        megabytes=77,
    ),
    "squeezenet": Pretrained(
        squeezenet,
        keras.applications.vgg19.preprocess_input,  # the same: both learned in Caffe
        ("conv1", *(f"fire{fire}_concat" for fire in range(2, 10))),
        "80b66c92d79d4310e07fb60a297bf0d1",
        megabytes=3,
        folder="https://github.com/rcmalli/keras-squeezenet/releases/download/v1.0",
    ),
}


def load(run, name: str, weights: Path | None = None) -> Backbone:
    """A network of NETWORKS with ImageNet's weights, else (and with `--data embedded`) the kept convnet of lesson 06.

    The weights are taken from the file `weights`, the data folder (`weights/<name>*.h5`), Keras' cache, or a download.
    For the name "cifar10_convnet", `weights` is the folder of a run of lesson 06; None: the kept one.

    Raises:
        StudyError: for a file that does not fit the network, or with `--data real` where there is none.
    """
    if name not in NETWORKS:
        return cifar10_convnet(run, weights)
    network = NETWORKS[name]
    try:
        path, origin = find(run, name, network, weights)
    except LookupError as problem:
        if run.config.data == "real":
            hint = f"place {network.download(name).file.split('/')[1]} in the folder weights/ of your --data-dir"
            raise StudyError(f"{name}: {problem}; {hint}") from None
        run.say(f"{name}: {problem}; using the convnet of lesson 06")
        return cifar10_convnet(run)
    model = source.read(lambda path: network.build(weights=str(path), include_top=False), path)
    run.record_weights(f"{name} (ImageNet)", origin)

    def preprocess(images):  # first a tensor: Keras' functions overwrite a NumPy array that they are given
        return network.preprocess(keras.ops.cast(images, "float32"))

    return Backbone(name, frozen(model), preprocess, network.layers)


def find(run, name: str, network: Pretrained, weights: Path | None) -> tuple[Path, str]:
    """Path and origin of a file of weights; only the one in Keras' cache is checked against its hash."""
    if weights is not None:
        if not weights.is_file():
            raise StudyError(f"{weights}: no such file of weights")
        return weights, weights.name
    if run.config.data == "embedded":
        raise LookupError("not asked for")
    folder = run.config.data_dir and run.config.data_dir / "weights"
    for path in sorted(folder.glob(f"{name}*.h5")) if folder else ():  # begins with the name: no hidden file does
        return path, f"weights/{path.name} in the data folder"
    download = network.download(name)
    return source.fetch(run, download), f"{download.file} in Keras' cache"


def frozen(model: keras.Model) -> keras.Model:
    """The model with weights that no training changes (and batch normalisation that uses its running averages)."""
    model.trainable = False
    return model


def cifar10_convnet(run, folder: Path | None = None) -> Backbone:
    """The convnet of lesson 06, rebuilt from what a run of it left: model.json, weights.npz and the run card.

    folder: of that run; None: the network that is kept with the lessons.

    Raises:
        StudyError: when these files are missing or broken.
    """
    own, folder = folder is not None, folder or KEPT
    try:
        card = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        data = " and ".join(f"{entry['name']}, {entry['source']}" for entry in card["data"])
        accuracy = card["metrics"]["test_accuracy"]["value"]
        small = keras.models.model_from_json((folder / "model.json").read_text(encoding="utf-8"))
        pixels = keras.tree.map_structure(lambda _: keras.Input((None, None, 3)), small.input)  # filters fit any size
        model = keras.models.clone_model(small, input_tensors=pixels)
        with np.load(folder / "weights.npz", allow_pickle=False) as file:
            for weight in model.weights:
                weight.assign(file[weight.path].astype("float32"))
                if not np.isfinite(weight).all():
                    raise ValueError(f"{weight.path} is not finite")
    except Exception as problem:  # json, Keras, zipfile and NumPy each have their own
        reason = " ".join(str(problem).split())[:200] or type(problem).__name__
        hint = "make them anew: python src/06_CIFAR10_convnet.py" if own else "take them from the repository again"
        raise StudyError(f"{folder}: the weights of lesson 06 cannot be read ({reason}); {hint}") from None
    name = "your convnet of lesson 06" if own else "convnet of lesson 06"
    run.record_weights(name, f"weights.npz of its run on {data}; test accuracy {accuracy:.1%}")
    layers = tuple(layer.name for layer in model.layers if layer.name.startswith("relu"))
    return Backbone("cifar10_convnet", frozen(model), lambda images: keras.ops.cast(images, "float32"), layers)


def keep(folder: Path = LESSON_06, place: Path = KEPT) -> str:
    """Copy the network of a run of lesson 06 to where lessons 16 and 17 take it from; returns what was kept.

    Raises:
        StudyError: unless it was the default preset on real data.
    """
    try:
        card = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        sources = [entry["source"] for entry in card["data"]]
        preset, accuracy = card["preset"], card["metrics"]["test_accuracy"]["value"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise StudyError(f"{folder}: no run of lesson 06 ({problem!r})") from None
    if preset != "default" or set(sources) != {"real"}:
        raise StudyError(f"{folder}: only the default preset on real data is kept, not {preset} on {sources}")
    place.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copyfile(folder / name, place / name)
    return f"{place}: the network of {folder}, test accuracy {accuracy:.1%}"


if __name__ == "__main__":
    try:
        print(keep())
    except StudyError as problem:
        sys.exit(str(problem))
