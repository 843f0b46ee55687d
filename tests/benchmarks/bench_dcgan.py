"""The share of the machine's convolution throughput that a training step of lesson 13 (`full`) reaches.

The step is the lesson's own, on a batch of 256: both networks forward and backward, batch normalisation, dropout, two
Adam optimizers. Its operations are counted layer by layer (a multiplication and an addition count as two; products with
the padding are included, as is usual): the generator forward and backward once, the discriminator forward on real and
on generated pictures, backward from its own loss on both, and once more backward from the generator's loss.

The throughput of the machine is measured in the same run, alternately with the step: every convolution of the step
alone, as a plain `conv2d` of the layer's shape, with its input gradient and its kernel gradient, each as often as the
step needs it. (A transposed convolution consists of the same three operations: its forward pass is the input gradient
of a plain convolution from the larger to the smaller picture, and its input gradient is the forward pass of that one.)
A ratio of 1 means that everything else costs no time. The throughput of the fastest convolution is printed, too.

Run:    python tests/benchmarks/bench_dcgan.py
"""

import dataclasses
import sys

from benchmark import alone, load_lesson, operations, seconds_in_turn

import keras
import tensorflow as tf

ROUNDS = 5
LEAST_RATIO = 0.7


@dataclasses.dataclass(frozen=True)
class Work:
    """How often a training step needs a layer's forward pass, its kernel gradient and its input gradient."""

    layer: keras.Layer
    forward: int
    to_kernel: int
    to_input: int

    @property
    def times(self) -> int:
        return self.forward + self.to_kernel + self.to_input


def step_work(generator: keras.Model, discriminator: keras.Model) -> list[Work]:
    """Every layer with a kernel, with the passes of one training step; no gradient is needed for external inputs."""
    work = []
    for model, passes in ((generator, (1, 1, 1)), (discriminator, (2, 2, 3))):
        with_kernel = [layer for layer in model.layers if hasattr(layer, "kernel")]
        work += [Work(layer, *passes) for layer in with_kernel]
        first = work[-len(with_kernel)]
        unneeded = 1 if model is generator else 2  # for latents; for real and generated pictures, by D's own loss
        work[-len(with_kernel)] = dataclasses.replace(first, to_input=first.to_input - unneeded)
    return work


def measure() -> dict:
    """Medians over the rounds: name, ours and theirs (GFLOP/s of the step, of its convolutions alone), ratio, best."""
    lesson = load_lesson("13_FashionMNIST_DCGAN")
    settings = dataclasses.replace(lesson.Config(), **lesson.PRESETS["full"])
    keras.utils.set_random_seed(0)
    gan = lesson.DCGAN(settings)
    real = tf.random.uniform((settings.batch_size, 28, 28, 1), -1, 1)
    work = step_work(gan.generator, gan.discriminator)
    counts = [settings.batch_size * operations(part.layer) for part in work]
    total = sum(part.times * count for part, count in zip(work, counts, strict=True))
    functions = {"step": lambda: gan.train_step(real)}
    for place, part in enumerate(work):
        passes = alone(part.layer, settings.batch_size)
        functions |= {(place, name): function for name, function in passes.items() if getattr(part, name)}
    seconds = seconds_in_turn(functions, ROUNDS)
    step = seconds.pop("step")
    convolutions = sum(getattr(work[place], name) * each for (place, name), each in seconds.items())
    mine, other = (total / whole / 1e9 for whole in (step, convolutions))
    return {
        "name": f"DCGAN training step, batch {settings.batch_size}, {total / 1e9:.1f} GFLOP",
        "ours": mine,
        "theirs": other,
        "ratio": mine / other,
        "unit": "GFLOP/s",
        "best": max(counts[place] / each for (place, _), each in seconds.items()) / 1e9,
        "images": settings.batch_size / step,
    }


if __name__ == "__main__":
    result = measure()
    print(
        "{name}: {ours:.0f} {unit} ({images:.0f} images/s) against {theirs:.0f} for its convolutions alone: "
        "ratio {ratio:.2f}; the fastest convolution reaches {best:.0f}".format(**result)
    )
    sys.exit(0 if result["ratio"] >= LEAST_RATIO else f"expected a ratio of at least {LEAST_RATIO}")
