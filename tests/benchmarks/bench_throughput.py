"""The share of the machine's peak throughput that the training steps of the lessons reach, with their default settings.

The peak is the faster of a matrix product (1,024 x 1,024) and a 3 x 3 convolution of 64 to 64 channels, measured
alternately with the steps. The operations of a step are counted layer by layer, a multiplication and an addition as
two: the forward pass, and twice as many for the backward pass (kernel and input gradients; none for the pictures).
Activations, normalisation, dropout and Adam move memory and are not counted.

Small layers cannot reach the peak, whatever calls them. So each step is also compared with its own layers: every
product and convolution alone, with both gradients, as TensorFlow computes them for these shapes. Where the step reaches
nearly the rate of its layers alone, neither the input pipeline nor Python costs time. (It may reach more: starting a
function costs a tenth of a millisecond, and within a step small operations run in parallel.)

Run:    python tests/benchmarks/bench_throughput.py
"""

from collections.abc import Callable

from benchmark import alone, load_lesson, operations, seconds_in_turn

import keras
import numpy as np
import tensorflow as tf

ROUNDS, STEPS = 5, 20


def layers_of(model: keras.Model) -> list[keras.Layer]:
    """The layers with a kernel, in order from the input."""
    parts = [model.encoder, model.decoder] if hasattr(model, "encoder") else [model]
    return [layer for part in parts for layer in part.layers if hasattr(layer, "kernel")]


def step_operations(model: keras.Model, batch_size: int) -> int:
    """The number of operations of a training step on a batch."""
    each = [operations(layer) for layer in layers_of(model)]
    return batch_size * (3 * sum(each) - each[0])


def networks() -> dict[str, tuple[keras.Model, np.ndarray, np.ndarray | None]]:
    """A compiled model, a batch of inputs and of targets for each lesson that trains by `fit`."""
    random, compiled = np.random.default_rng(0), {}

    def pictures(count: int, *shape: int) -> np.ndarray:
        return random.random((count, *shape), "float32")

    lesson = load_lesson("01_keras_MLP_sequential_model")
    settings = lesson.Config()
    model = lesson.build_model(settings)
    lesson.compile_model(model, settings, steps=1000)
    one_hot = np.eye(10, dtype="float32")[random.integers(0, 10, settings.batch_size)]
    compiled["01 MLP"] = model, pictures(settings.batch_size, 32, 32, 3), one_hot

    lesson = load_lesson("06_CIFAR10_convnet")
    settings = lesson.Config()
    model = lesson.build_model(settings)
    model.compile(keras.optimizers.AdamW(1e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    compiled["06 convnet"] = (
        model,
        pictures(settings.batch_size, 32, 32, 3),
        random.integers(0, 10, settings.batch_size),
    )

    lesson = load_lesson("09_MNIST_denoising_autoencoder")
    settings = lesson.Config()
    model = lesson.build_conv(settings.channels)
    model.compile("adam", "mse")
    batch = pictures(settings.batch_size, 28, 28, 1)
    compiled["09 convolutional denoiser"] = model, batch, batch

    lesson = load_lesson("10_MNIST_VAE")
    settings = lesson.Config()
    model = lesson.build_vae(settings)
    lesson.compile_vae(model, settings, steps=1000)
    compiled["10 VAE"] = model, pictures(settings.batch_size, 28, 28, 1), None

    lesson = load_lesson("11_CelebA_VAE_concept_vectors")
    settings = lesson.Config()
    model = lesson.build_vae(settings)
    model.compile(keras.optimizers.Adam(1e-3))
    compiled["11 VAE of faces"] = model, pictures(settings.batch_size, 64, 64, 3), None
    return compiled


def peaks() -> dict[str, tuple[Callable, int]]:
    """Two computations that reach the machine's peak throughput, each with its number of operations."""
    square = tf.random.normal((1024, 1024))
    images, kernel = tf.random.normal((32, 32, 32, 64)), tf.random.normal((3, 3, 64, 64))
    product = tf.function(lambda: square @ square)
    convolution = tf.function(lambda: tf.nn.conv2d(images, kernel, 1, "SAME"))
    return {
        "matrix product": (product, 2 * 1024**3),
        "convolution": (convolution, 2 * images.shape[0] * 32 * 32 * int(np.prod(kernel.shape))),
    }


def parts_of(model: keras.Model, batch_size: int) -> list[Callable]:
    """A training step's computations: per layer forward, kernel gradient and (except for the first) input gradient."""
    passes = [list(alone(layer, batch_size).values()) for layer in layers_of(model)]
    return passes[0][:2] + [function for group in passes[1:] for function in group]


def measure() -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Medians over the rounds, in GFLOP/s: of the peaks; and of the lessons' training steps and their layers alone."""
    peak = peaks()
    tasks = {name: function for name, (function, _) in peak.items()}
    work, pieces = {}, {}
    for name, (model, inputs, targets) in networks().items():
        tensors = tf.constant(inputs) if targets is None else (tf.constant(inputs), tf.constant(targets))
        batches = tf.data.Dataset.from_tensors(tensors).repeat()

        def train(model=model, batches=batches):
            model.fit(batches, steps_per_epoch=STEPS, verbose=0)

        work[name], tasks[name] = step_operations(model, len(inputs)), train
        pieces[name] = {(name, place): function for place, function in enumerate(parts_of(model, len(inputs)))}
        tasks |= pieces[name]
    seconds = seconds_in_turn(tasks, ROUNDS)
    steps = {}
    for name, count in work.items():
        layers_alone = sum(seconds[piece] for piece in pieces[name])
        steps[name] = count * STEPS / seconds[name] / 1e9, count / layers_alone / 1e9
    return {name: count / seconds[name] / 1e9 for name, (_, count) in peak.items()}, steps


if __name__ == "__main__":
    best, lessons = measure()
    print("peak: " + ", ".join(f"{name} {speed:.0f} GFLOP/s" for name, speed in best.items()))
    for name, (speed, alone_speed) in lessons.items():
        share = f"{speed:.0f} GFLOP/s, {speed / max(best.values()):.0%} of the peak"
        print(f"training step of {name}: {share}, {speed / alone_speed:.0%} of the rate of its layers alone")
