"""A Keras network as the engine of the live examples reads it: nodes in the order of computation, and their weights."""

import base64
from collections.abc import Sequence

from lessonkit.layers import GroupNorm

import keras
import numpy as np

MOST = 46  # levels of a weight are whole numbers from -MOST to MOST: as many as there are characters
CHARACTERS = np.array([chr(code) for code in range(32, 127) if chr(code) not in '"\\'])
UNARY = {"Silu": "silu", "Sin": "sin", "Cos": "cos"}


class Graph:
    """Nodes {op, ..., from, weights} with the numbers of the nodes and of the arrays that each reads."""

    def __init__(self):
        self.nodes, self.arrays = [], []

    def add(self, op: str, before: Sequence[int] = (), weights: Sequence = (), **settings) -> int:
        """A node after others; its number."""
        numbers = range(len(self.arrays), len(self.arrays) + len(weights))
        self.nodes.append({"op": op} | settings | {"from": [*before], "weights": [*numbers]})
        self.arrays += [np.asarray(weight) for weight in weights]
        return len(self.nodes) - 1

    def add_layer(self, layer, before: Sequence[int]) -> int:
        """The node of a layer."""
        weights = [np.asarray(weight) for weight in layer.weights]
        if isinstance(layer, keras.layers.Dense):
            return self.add("dense", before, weights, **activation(layer))
        if isinstance(layer, keras.layers.Conv2DTranspose | keras.layers.Conv2D):
            assert layer.padding == "same" or layer.kernel_size == (1, 1)
            assert len({*layer.kernel_size}) == len({*layer.strides}) == 1
            kind = "transposed" if isinstance(layer, keras.layers.Conv2DTranspose) else "convolution"
            sizes = {"size": layer.kernel_size[0], "stride": layer.strides[0], "filters": layer.filters}
            return self.add(kind, before, weights, **sizes, **activation(layer))
        if isinstance(layer, keras.layers.BatchNormalization):
            gamma, beta, mean, variance = weights
            factor = gamma / np.sqrt(variance + layer.epsilon)
            return self.add("affine", before, [factor, beta - mean * factor])
        if isinstance(layer, GroupNorm):
            return self.add("group_norm", before, weights, groups=layer.groups)
        if isinstance(layer, keras.layers.LayerNormalization):
            assert layer.epsilon == 1e-5
            return self.add("layer_norm", before, weights)
        if isinstance(layer, keras.layers.Reshape):
            return self.add("reshape", before, shape=[*layer.target_shape])
        if isinstance(layer, keras.layers.LeakyReLU):
            return self.add("activation", before, activation="leaky_relu", slope=float(layer.negative_slope))
        if isinstance(layer, keras.layers.AveragePooling2D):
            assert layer.pool_size == layer.strides == (2, 2) and layer.padding == "same"
            return self.add("average_pool", before)
        if isinstance(layer, keras.layers.UpSampling2D):
            assert layer.interpolation == "nearest"
            return self.add("upsampling", before, factor=layer.size[0])
        raise TypeError(f"the engine has no {type(layer).__name__}")

    def add_operation(self, operation, node, before: Sequence[int]) -> list[int]:
        """The nodes of a function of keras.ops within a functional model: one per output."""
        kind, arguments = type(operation).__name__, node.arguments.args
        shape = [*node.output_tensors[0].shape[1:]]
        if kind in ("Add", "Multiply"):
            constants = [value for value in arguments if not isinstance(value, keras.KerasTensor)]
            values = [np.ravel(value).astype("float32") for value in constants]
            before = [*before, *(self.add("constant", weights=[value], shape=[len(value)]) for value in values)]
            return [self.add(kind.lower(), before)]
        if kind == "Concatenate":
            return [self.add("concatenate", before)]
        if kind in UNARY:
            return [self.add("activation", before, activation=UNARY[kind])]
        if kind == "Transpose":
            return [self.add("transpose", before, axes=[axis - 1 for axis in operation.axes[1:]])]
        if kind == "Split":  # along the channels of one place
            begins = range(0, shape[-1] * len(node.output_tensors), shape[-1])
            return [self.add("crop", before, shape=shape, begin=begin) for begin in begins]
        if kind in ("Reshape", "GetItem"):  # an index adds axes, or leaves out the last rows and columns
            if np.prod(shape) == np.prod(node.input_tensors[0].shape[1:]):
                return [self.add("reshape", before, shape=shape)]
            return [self.add("crop", before, shape=shape, begin=0)]
        raise TypeError(f"the engine has no {kind}")

    def add_model(self, model: keras.Model) -> None:
        """All operations of a functional model, in the order in which Keras computes them."""
        places = {}
        for operation in model.operations:
            node = operation._inbound_nodes[0]
            before = [places[origin(tensor)] for tensor in node.input_tensors]
            if isinstance(operation, keras.layers.InputLayer):
                number = [tensor._keras_history.operation for tensor in model.inputs].index(operation)
                results = [self.add("input", shape=[*operation.batch_shape[1:]], number=number)]
            elif isinstance(operation, keras.layers.Layer):
                results = [self.add_layer(operation, before)]
            else:
                results = self.add_operation(operation, node, before)
            places |= {origin(tensor): place for tensor, place in zip(node.output_tensors, results, strict=True)}

    def stored(self, levels: bool = False) -> dict:
        """What the engine reads. Weights with two dimensions or more: float16, or levels."""
        kernels = [array for array in self.arrays if array.ndim > 1]
        stored = {"nodes": self.nodes, "shapes": [array.shape for array in self.arrays]}
        stored["vectors"] = encoded([array for array in self.arrays if array.ndim == 1], "<f4")
        if not levels:
            return stored | {"kernels": encoded(kernels, "<f2")}
        parts = [in_levels(kernel) for kernel in kernels]
        text = "".join("".join(CHARACTERS[numbers.ravel() + MOST]) for numbers, _ in parts)
        return stored | {"levels": text, "scales": encoded([scales for _, scales in parts], "<f4")}


def origin(tensor) -> tuple[int, int]:
    """Which output of which operation a tensor of a functional model is."""
    return id(tensor._keras_history.operation), tensor._keras_history.tensor_index


def activation(layer) -> dict:
    """The activation of a layer by its name."""
    function = layer.activation
    return {} if function is keras.activations.linear else {"activation": function.__name__}


def in_levels(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whole numbers from -MOST to MOST of an array's shape, and the scale of every column (one per last index)."""
    scales = np.abs(array).reshape(-1, array.shape[-1]).max(axis=0) / MOST
    scales = np.maximum(scales, 1e-12).astype("float32")
    return np.round(array / scales).astype(int), scales


def round_weights(model: keras.Model, levels: bool = False) -> None:
    """Set the weights with two dimensions or more to what will be stored of them."""
    for weight in model.weights:
        if len(weight.shape) > 1:
            array = np.asarray(weight)
            numbers, scales = in_levels(array) if levels else (array.astype("float16"), np.float32(1))
            weight.assign(numbers.astype("float32") * scales)


def encoded(arrays: list[np.ndarray], kind: str) -> str:
    """All values, one array after another, in base64."""
    return base64.b64encode(np.concatenate([array.ravel() for array in arrays]).astype(kind).tobytes()).decode()
