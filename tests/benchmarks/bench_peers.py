"""Training steps of lessons 01, 10, 13 (`full`) and 25 beside the same networks in PyTorch, in images per second.

PyTorch has an environment of its own (`make bench PEERS=1` makes it in `.venv-peers`) and so a process of its own,
which waits while TensorFlow computes, and the other way round: both are measured in turn, and other load on the machine
affects both equally. The networks have the same layers and the same number of weights (checked). PyTorch runs in
channels-last memory format with fused Adam, as it is and compiled by `torch.compile`; the faster of the two counts.

Run:    make bench PEERS=1
"""

import dataclasses
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmark import load_lesson

import keras
import numpy as np
import tensorflow as tf

PYTHON = Path(__file__).resolve().parents[2] / ".venv-peers" / "bin" / "python"
STEPS = Path(__file__).resolve().parent / "peers" / "torch_steps.py"
ROUNDS = 5
TENS = "01 with steps_per_execution=10"  # Keras returns to Python after every tenth step only
MEASURED = {"01": 200, TENS: 200, "10": 20, "13": 1, "25": 4}  # steps per measurement: some tenths of a second


class Peer:
    """The process that runs the PyTorch steps."""

    def __init__(self):
        command = [str(PYTHON), str(STEPS), str(os.cpu_count())]
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
        self.prepared = {}
        self.process = subprocess.Popen(command, env=os.environ | {"OMP_WAIT_POLICY": "passive"}, **options)

    def ask(self, name: str, steps: int) -> list[float]:
        """Run steps of a network; its weights and batch size as well, when it is asked for the first time."""
        print(name, steps, file=self.process.stdin, flush=True)
        return [float(value) for value in self.process.stdout.readline().split()]

    def prepare(self, name: str) -> tuple[int, int]:
        """Build and warm up a network: its number of weights and its batch size. OSError if it does not run."""
        if name not in self.prepared:
            answer = self.ask(name, 3)
            if not answer or not self.process.stdout.readline():
                raise OSError(f"PyTorch does not run {name}")
            self.prepared[name] = int(answer[0]), int(answer[1])
        return self.prepared[name]


def ours() -> dict[str, tuple[int, int, Callable[[int], None]]]:
    """By lesson: the number of trained weights, the batch size, and what runs so many training steps."""
    random, made = np.random.default_rng(0), {}

    def counted(*networks) -> int:
        return sum(int(np.prod(weight.shape)) for network in networks for weight in network.trainable_weights)

    def fitted(model, batch):
        batches = tf.data.Dataset.from_tensors(batch).repeat()
        return lambda steps: model.fit(batches, steps_per_epoch=steps, verbose=0)

    def looped(model, batch):  # the model itself: its compiled step does not keep it alive
        def run(steps):
            for _ in range(steps):
                logs = model.train_step(batch)
            return [float(value) for value in logs.values()]

        return run

    lesson = load_lesson("01_keras_MLP_sequential_model")
    settings = lesson.Config()
    for name, steps_per_execution in (("01", 1), (TENS, 10)):
        model, size = lesson.build_model(settings), settings.batch_size
        lesson.compile_model(model, settings, steps=10_000)
        model.steps_per_execution = steps_per_execution
        one_hot = np.eye(10, dtype="float32")[random.integers(0, 10, size)]
        made[name] = counted(model), size, fitted(model, (random.random((size, 32, 32, 3), "float32"), one_hot))

    lesson = load_lesson("10_MNIST_VAE")
    settings = lesson.Config()
    model, size = lesson.build_vae(settings), settings.batch_size
    lesson.compile_vae(model, settings, steps=10_000)
    made["10"] = counted(model), size, fitted(model, random.random((size, 28, 28, 1), "float32"))

    lesson = load_lesson("13_FashionMNIST_DCGAN")
    settings = dataclasses.replace(lesson.Config(), **lesson.PRESETS["full"])
    gan, size = lesson.DCGAN(settings), settings.batch_size
    real = tf.random.uniform((size, 28, 28, 1), -1, 1)
    made["13"] = counted(gan.generator, gan.discriminator), size, looped(gan, real)

    lesson = load_lesson("25_FashionMNIST_diffusion")
    settings = lesson.Config()
    diffusion, size = lesson.Diffusion(settings), settings.batch_size
    images = tf.random.uniform((size, 28, 28, 1), -1, 1)
    made["25"] = counted(diffusion.network), size, looped(diffusion, images)
    return made


def measure(lesson: str, weights: int, size: int, run: Callable[[int], None], peer: Peer) -> str:
    """Medians over the rounds, as a line of the page."""
    title, lesson = lesson, lesson[:2]
    steps, names = MEASURED[title], [lesson]
    if (there := peer.prepare(lesson)) != (weights, size):
        raise SystemExit(f"lesson {lesson}: {weights} weights, batch {size}; PyTorch has {there[0]}, batch {there[1]}")
    try:
        peer.prepare(f"{lesson}-compiled")
        names.append(f"{lesson}-compiled")
    except OSError:  # no C++ compiler: the process has ended
        peer.__init__()
        peer.prepare(lesson)
    run(steps)
    times = {name: [] for name in ["ours", *names]}
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        run(steps)
        times["ours"].append(time.perf_counter() - begin)
        for name in names:
            times[name] += peer.ask(name, steps)
    rates = {name: steps * size / statistics.median(values) for name, values in times.items()}
    theirs = ", ".join(f"{rates[name]:,.0f} {'compiled' if '-' in name else 'as it is'}" for name in names)
    best = max(rates[name] for name in names)
    return (
        f"{title}, {weights:,} weights, batch {size}: {rates['ours']:,.0f} images per second; PyTorch {theirs}: "
        f"{rates['ours'] / best:.2f} times as fast"
    )


def main() -> None:
    """Each network in turn; one line of explanation where PyTorch is not installed."""
    if not PYTHON.exists():
        print("not measured: `make bench PEERS=1` installs PyTorch into an environment of its own and measures it")
        return
    keras.utils.set_random_seed(0)
    version = subprocess.run([PYTHON, "-c", "import torch; print(torch.__version__)"], capture_output=True, text=True)
    peer = Peer()
    print(f"PyTorch {version.stdout.strip()}, channels-last, fused Adam")
    for lesson, entry in ours().items():
        print(measure(lesson, *entry, peer), flush=True)


if __name__ == "__main__":
    sys.exit(main())
