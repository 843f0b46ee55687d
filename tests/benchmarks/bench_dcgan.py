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
import sys

from benchmark import alone, load_lesson, operations, seconds_in_turn

import keras
import tensorflow as tf

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
        "{name}: {ours:.0f} {unit} ({images:.0f} images/s) against {theirs:.0f} of its convolutions alone: "
        "ratio {ratio:.2f}; the fastest of them reaches {best:.0f}".format(**result)
    )
    sys.exit(0 if result["ratio"] >= LEAST_RATIO else f"expected a ratio of at least {LEAST_RATIO}")
