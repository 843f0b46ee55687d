"""How much of the machine's convolution throughput a training step of lesson 13 reaches, with the networks of `full`.

The step is the lesson's own, on a batch of 256: both networks forward and backward, batch normalisation, dropout, two
Adams. Its arithmetic is counted layer by layer (two operations a multiplication and addition; taps on padding count,
as is usual): the generator once forward and once back, the discriminator forward on real and on generated pictures,
back from its own loss on both, and once more back to the generator, from the generator's loss.

What the machine reaches is measured in the same run, in turn with the step: every convolution of the step alone, as a
plain `conv2d` of the layer's shape, its gradient for the input and its gradient for the kernel, each as often as the
step needs it. (The plain convolution from the larger to the smaller picture, its input gradient and its kernel gradient
are what a transposed convolution consists of: in another order they are its input gradient, its forward pass, and its
kernel gradient.) So a ratio of 1 means that everything else is free. The fastest of these convolutions is printed, too.

Run:    python tests/benchmarks/bench_dcgan.py
"""

import dataclasses
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2] / "src")]

import lessonkit  # noqa: E402, F401  first: it quiets TensorFlow's log

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from conftest import load_lesson  # noqa: E402
from keras import layers  # noqa: E402

ROUNDS = 5
LEAST_RATIO = 0.7


@dataclasses.dataclass(frozen=True)
class Work:
    """One layer's arithmetic in a step: how often forward, back to its kernel and back to its input."""

    layer: keras.Layer
    forward: int
    to_kernel: int
    to_input: int

    @property
    def times(self) -> int:
        return self.forward + self.to_kernel + self.to_input


def operations(layer: keras.Layer, batch_size: int) -> int:
    """Multiplications and additions of a layer's forward pass; each of its gradients takes as many."""
    if isinstance(layer, layers.Dense):
        return 2 * batch_size * layer.kernel.shape[0] * layer.units
    places = layer.input.shape if isinstance(layer, layers.Conv2DTranspose) else layer.output.shape
    return 2 * batch_size * places[1] * places[2] * int(np.prod(layer.kernel.shape))


def step_work(generator: keras.Model, discriminator: keras.Model) -> list[Work]:
    """Every layer that multiplies, with the passes of one training step; inputs from outside need no gradient."""
    work = []
    for model, passes in ((generator, (1, 1, 1)), (discriminator, (2, 2, 3))):
        found = [layer for layer in model.layers if hasattr(layer, "kernel")]
        work += [Work(layer, *passes) for layer in found]
        first = work[-len(found)]
        unneeded = 1 if model is generator else 2  # for latents; for real and generated pictures, by D's own loss
        work[-len(found)] = dataclasses.replace(first, to_input=first.to_input - unneeded)
    return work


def alone(layer: keras.Layer, batch_size: int) -> dict[str, Callable]:
    """A layer's three operations by themselves, each a compiled function of nothing that computes all of it."""

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


def seconds(function: Callable) -> float:
    """How long one call takes: on a CPU it returns when the result is there."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def measure() -> dict:
    """Medians over the rounds: name, ours and theirs (GFLOP/s of the step, of its convolutions alone), ratio, best."""
    lesson = load_lesson("13_FashionMNIST_DCGAN")
    settings = dataclasses.replace(lesson.Config(), **lesson.PRESETS["full"])
    keras.utils.set_random_seed(0)
    gan = lesson.DCGAN(settings)
    real = tf.random.uniform((settings.batch_size, 28, 28, 1), -1, 1)
    work = step_work(gan.generator, gan.discriminator)
    parts = [(part, operations(part.layer, settings.batch_size)) for part in work]
    total = sum(part.times * count for part, count in parts)
    functions = [alone(part.layer, settings.batch_size) for part in work]
    for function in (lambda: gan.train_step(real), *(one for group in functions for one in group.values())):
        seconds(function)  # traces, which is not the point
    ours, theirs, best = [], [], 0.0
    for _ in range(ROUNDS):
        ours.append(seconds(lambda: gan.train_step(real)))
        whole = 0.0
        for (part, count), group in zip(parts, functions, strict=True):
            for name, function in group.items():
                if passes := getattr(part, name):
                    each = seconds(function)
                    whole += passes * each
                    best = max(best, count / each)
        theirs.append(whole)
    mine, other = (total / statistics.median(times) / 1e9 for times in (ours, theirs))
    return {
        "name": f"DCGAN training step, batch {settings.batch_size}, {total / 1e9:.1f} GFLOP",
        "ours": mine,
        "theirs": other,
        "ratio": mine / other,
        "unit": "GFLOP/s",
        "best": best / 1e9,
        "images": settings.batch_size / statistics.median(ours),
    }


if __name__ == "__main__":
    result = measure()
    print(
        "{name}: {ours:.0f} {unit} ({images:.0f} images/s) against {theirs:.0f} of its convolutions alone: "
        "ratio {ratio:.2f}; the fastest of them reaches {best:.0f}".format(**result)
    )
    sys.exit(0 if result["ratio"] >= LEAST_RATIO else f"expected a ratio of at least {LEAST_RATIO}")
