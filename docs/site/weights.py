"""`make site-weights`: the networks of the live examples, from the checkpoints that the lessons' own runs left.

Each becomes docs/live/NN.js: the graph, the weights, and which run made them. For `make test-site`, ten inputs are kept
with the outputs that Keras computes from the weights as they are stored.
"""

import base64
import importlib.util
import json
import sys

from lessonkit import training
from lessonkit.config import PUBLISHED, REPOSITORY

import keras
import numpy as np

LIVE = REPOSITORY / "docs" / "live"
GOLDEN = REPOSITORY / "tests" / "site" / "golden"
LARGEST = 1_500_000  # bytes per file


def load_lesson(name: str):
    """A lesson as a module."""
    spec = importlib.util.spec_from_file_location(name, REPOSITORY / "src" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def restored(lesson: str, checkpoint: str, variables: list) -> None:
    """Give the variables the values at the end of the lesson's last run."""
    path = PUBLISHED / lesson / "checkpoints" / f"{checkpoint}.npz"
    if training.Checkpoint(path, {}).restore(variables) is None:
        raise SystemExit(f"site-weights: no {path.relative_to(REPOSITORY)}; run the lesson first")


def activation(layer) -> dict:
    """The activation of a layer by its name, with the slope of a leaky relu."""
    function = layer.activation
    return {} if function is keras.activations.linear else {"activation": function.__name__}


def node_of(layer) -> tuple[dict, list[np.ndarray]]:
    """A layer as the engine knows it: its operation with what that needs, and its weights."""
    weights = [np.asarray(weight) for weight in layer.weights]
    if isinstance(layer, keras.layers.InputLayer):
        return {"op": "input", "shape": list(layer.batch_shape[1:])}, []
    if isinstance(layer, keras.layers.Dense):
        return {"op": "dense"} | activation(layer), weights
    if isinstance(layer, keras.layers.Conv2DTranspose | keras.layers.Conv2D):
        assert layer.padding == "same" and len({*layer.kernel_size}) == len({*layer.strides}) == 1
        kind = "transposed" if isinstance(layer, keras.layers.Conv2DTranspose) else "convolution"
        sizes = {"size": layer.kernel_size[0], "stride": layer.strides[0], "filters": layer.filters}
        return {"op": kind} | sizes | activation(layer), weights
    if isinstance(layer, keras.layers.BatchNormalization):
        gamma, beta, mean, variance = weights
        factor = gamma / np.sqrt(variance + layer.epsilon)
        return {"op": "affine"}, [factor, beta - mean * factor]
    if isinstance(layer, keras.layers.Reshape):
        return {"op": "reshape", "shape": list(layer.target_shape)}, []
    if isinstance(layer, keras.layers.LeakyReLU):
        return {"op": "activation", "activation": "leaky_relu", "slope": float(layer.negative_slope)}, []
    raise TypeError(f"the engine has no {type(layer).__name__}")


def exported(model: keras.Model) -> dict:
    """A functional model with one input and one output. Its kernels are set to what float16 can hold of them."""
    for layer in model.layers:
        layer.set_weights([half(weight) if weight.ndim > 1 else weight for weight in layer.get_weights()])
    nodes, arrays, places = [], [], {}
    for layer in model.operations:
        node, weights = node_of(layer)
        before = layer._inbound_nodes[0].input_tensors
        node["from"] = [places[tensor._keras_history.operation] for tensor in before]
        node["weights"] = list(range(len(arrays), len(arrays) + len(weights)))
        places[layer] = len(nodes)
        nodes.append(node)
        arrays += weights
    return {
        "nodes": nodes,
        "shapes": [array.shape for array in arrays],
        "kernels": encoded([array for array in arrays if array.ndim > 1], "<f2"),
        "vectors": encoded([array for array in arrays if array.ndim == 1], "<f4"),
    }


def half(array: np.ndarray) -> np.ndarray:
    """Rounded to float16."""
    return array.astype("float16").astype("float32")


def encoded(arrays: list[np.ndarray], kind: str) -> str:
    """All values, one array after another, in base64."""
    return base64.b64encode(np.concatenate([array.ravel() for array in arrays]).astype(kind).tobytes()).decode()


def rounded(array: np.ndarray) -> list:
    """Rows of five significant digits."""
    return [[float(f"{value:.5g}") for value in row.ravel()] for row in np.asarray(array)]


def write(lesson: str, name: str, model: keras.Model, inputs: np.ndarray) -> None:
    """One classic script, which a page that is opened from a folder can load; what Keras answers to inputs (n, ...)."""
    card = json.loads((PUBLISHED / lesson / "run.json").read_text(encoding="utf-8"))
    made = {"lesson": lesson, "data": card["data"][0]["name"], "seed": card["seed"], "preset": card["preset"]}
    text = f"live.models[{json.dumps(name)}] = {json.dumps(exported(model) | {'made': made}, separators=(',', ':'))};\n"
    assert len(text) <= LARGEST, f"{name}: {len(text):,} bytes"
    LIVE.mkdir(exist_ok=True)
    (LIVE / f"{name}.js").write_text(text, encoding="utf-8")
    golden = {"inputs": rounded(inputs), "outputs": rounded(model.predict(inputs, verbose=0))}
    GOLDEN.mkdir(exist_ok=True)
    (GOLDEN / f"{name}.json").write_text(json.dumps(golden) + "\n", encoding="utf-8")
    print(f"wrote docs/live/{name}.js, {len(text):,} bytes")


def plane() -> None:
    """The decoder of the VAE with two latent dimensions."""
    lesson = load_lesson("10_MNIST_VAE")
    vae = lesson.build_vae(lesson.Config())
    lesson.compile_vae(vae, lesson.Config(), steps=1)
    restored("10_MNIST_VAE", "model", training.state(vae)[0])
    inputs = np.random.default_rng(0).normal(size=(10, 2)).astype("float32")
    write("10_MNIST_VAE", "10", vae.decoder, inputs)


def walk() -> None:
    """The averaged generator of the DCGAN."""
    lesson = load_lesson("13_FashionMNIST_DCGAN")
    gan = lesson.DCGAN(lesson.Config())
    restored("13_FashionMNIST_DCGAN", "dcgan", gan.variables)
    inputs = np.random.default_rng(0).normal(size=(10, lesson.Config().latent_dim)).astype("float32")
    write("13_FashionMNIST_DCGAN", "13", gan.averaged, inputs)


if __name__ == "__main__":
    for example in (plane, walk):
        example()
