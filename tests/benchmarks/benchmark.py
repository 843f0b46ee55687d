"""What the comparisons share: loading a lesson, fair timing, and the number of operations of a layer."""

import statistics
import sys
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

import lessonkit  # noqa: E402, F401  after the path is set, and first: it quiets TensorFlow's log

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from conftest import load_lesson  # noqa: E402, F401  the comparisons import it from here
from keras import layers  # noqa: E402


def seconds_in_turn(functions: Mapping[Hashable, Callable], rounds: int) -> dict[Hashable, float]:
    """The median seconds of each function, called in turn, so that other load on the machine affects all equally.

    A call must return only when its result is computed, as it does on a CPU. The first call of each function, which
    compiles it, is not counted.
    """
    for function in functions.values():
        function()
    times: dict[Hashable, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            begin = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in times.items()}


def operations(layer: keras.Layer) -> int:
    """Multiplications and additions of the forward pass of one example; each of the two gradients needs as many."""
    if isinstance(layer, layers.Dense):
        return 2 * int(np.prod(layer.kernel.shape))
    places = layer.input.shape if isinstance(layer, layers.Conv2DTranspose) else layer.output.shape
    return 2 * places[1] * places[2] * int(np.prod(layer.kernel.shape))


def alone(layer: keras.Layer, batch_size: int) -> dict[str, Callable]:
    """A layer's operations alone, as compiled functions without arguments: forward, to_kernel and to_input."""

    def normal(shape):
        return tf.random.normal((batch_size, *shape[1:]))

    x, y, kernel = normal(layer.input.shape), normal(layer.output.shape), tf.random.normal(layer.kernel.shape)
    if isinstance(layer, layers.Dense):
        forward = tf.function(lambda: x @ kernel)
        to_kernel = tf.function(lambda: tf.matmul(x, y, transpose_a=True))
        to_input = tf.function(lambda: tf.matmul(y, kernel, transpose_b=True))
        return {"forward": forward, "to_kernel": to_kernel, "to_input": to_input}
    transposed = isinstance(layer, layers.Conv2DTranspose)
    large, small = (y, x) if transposed else (x, y)
    stride = layer.strides[0]
    options = {"strides": [1, stride, stride, 1], "padding": "SAME"}

    @tf.function
    def shrink():
        return tf.nn.conv2d(large, kernel, **options)

    @tf.function
    def grow():
        return tf.nn.conv2d_transpose(small, kernel, large.shape, **options)

    @tf.function
    def to_kernel():
        return tf.raw_ops.Conv2DBackpropFilter(
            input=large, filter_sizes=kernel.shape, out_backprop=small, use_cudnn_on_gpu=True, **options
        )

    forward, to_input = (grow, shrink) if transposed else (shrink, grow)
    return {"forward": forward, "to_kernel": to_kernel, "to_input": to_input}
