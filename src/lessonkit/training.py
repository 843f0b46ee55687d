"""What surrounds a training loop: batches that can be resumed, a schedule, checkpoints, a guard against NaN."""

import io
import json
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lessonkit.config import StudyError, TrainingError

import keras
import numpy as np
import tensorflow as tf
from rich.progress import track


class Batches:
    """Shuffled batches of examples; which examples batch number t holds depends on (seed, t) alone.

    So a run that is resumed at step t sees the very batches that the unbroken run would have seen. Every epoch is a
    new permutation; the few examples that do not fill a last batch wait for the next epoch.

    Args:
        arrays: one array, or a tuple of arrays with the same number of examples (images, labels).
        batch_size: examples in a batch (fewer where there are fewer examples).
        seed: of the permutations.
        transform: (*arrays) or, with `random=True`, (*arrays, seed of shape (2,)) -> what the model is trained on;
            runs in tf.data, on the CPU. The seed is for TensorFlow's stateless random operations.
        parts: so many epochs make one pass over the examples; below 1, an epoch is several passes (few examples).
    """

    def __init__(
        self,
        arrays,
        batch_size: int,
        seed: int,
        transform: Callable | None = None,
        random: bool = False,
        parts: float = 1,
    ):
        self.arrays = arrays if isinstance(arrays, tuple) else (arrays,)
        self.examples = len(self.arrays[0])
        self.batch_size = min(batch_size, self.examples)
        self.steps_per_pass = self.examples // self.batch_size
        self.steps_per_epoch = max(int(self.steps_per_pass / parts), 1)
        self.seed, self.transform, self.random = seed, transform, random

    def dataset(self, first_step: int = 0) -> tf.data.Dataset:
        """An endless dataset that begins with batch number `first_step`."""
        with tf.device("CPU:0"):
            arrays = [tf.constant(array) for array in self.arrays]

        def batch(step):
            done, start = step // self.steps_per_pass, step % self.steps_per_pass * self.batch_size
            positions = tf.range(start, start + self.batch_size, dtype=tf.int64)
            chosen = tf.random.experimental.index_shuffle(
                positions, seed=tf.cast(tf.stack([self.seed, done]), tf.int32), max_index=np.int64(self.examples - 1)
            )
            parts = [tf.ensure_shape(tf.gather(array, chosen), (self.batch_size, *array.shape[1:])) for array in arrays]
            if self.random:
                parts.append(tf.cast(tf.stack([self.seed, step]), tf.int32))
            if self.transform is not None:
                return self.transform(*parts)
            return tuple(parts) if len(parts) > 1 else parts[0]

        steps = tf.data.Dataset.range(first_step, np.iinfo(np.int64).max)
        return steps.map(batch, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(tf.data.AUTOTUNE)


class Unpaired:
    """Batches of two sources at once, (batch of the first, batch of the second), which belong together in no way.

    Each source is shuffled by itself, so the two may have different numbers of examples: an epoch is one pass over
    the longer one, and the shorter begins again meanwhile. Like Batches, it can begin at any step.
    """

    def __init__(self, first: Batches, second: Batches):
        self.first, self.second = first, second
        self.examples = max(first.examples, second.examples)
        self.steps_per_epoch = max(first.steps_per_epoch, second.steps_per_epoch)

    def dataset(self, first_step: int = 0) -> tf.data.Dataset:
        """An endless dataset of pairs of batches that begins with pair number `first_step`."""
        return tf.data.Dataset.zip((self.first.dataset(first_step), self.second.dataset(first_step)))


def progress(steps: Iterable, total: int, what: str) -> Iterable:
    """The same steps, `total` in all; with a bar in a terminal, where there are several, and silent elsewhere."""
    silent = total < 2 or not sys.stdout.isatty()
    return track(steps, what, total=total, disable=silent, transient=True)


def parts(count: int, things: str, size: int = 500) -> Iterable[slice]:
    """Slices of at most `size` that cover `count` examples, with a progress bar."""
    slices = [slice(first, first + size) for first in range(0, count, size)]
    return progress(slices, len(slices), f"{count:,} {things}")


def warm_up_cosine(peak: float, steps: int, warm_up: int = 0, start: float = 0.0):
    """A learning rate that rises in a straight line from `start` to `peak`, then decays to zero along a cosine.

    Args:
        steps: of the whole training; the rate is zero after the last.
        warm_up: steps of the rise; 0 begins at the peak.

    Source: Loshchilov & Hutter 2017, arXiv:1608.03983, eq. 5 (one period); Smith & Topin 2017, arXiv:1708.07120.
    """
    schedules = keras.optimizers.schedules
    if warm_up == 0:
        return schedules.CosineDecay(peak, max(1, steps))
    return schedules.CosineDecay(start, max(1, steps - warm_up), warmup_target=peak, warmup_steps=warm_up)


class Checkpoint:
    """One file that holds a training whole: variables, step, history, sample frames.

    It is written beside its place and moved into it, so that a kill at any moment leaves the last whole one.
    """

    def __init__(self, path: Path, settings: dict):
        self.path, self.settings = path, settings

    def save(self, variables: list, progress: dict, frames: list[np.ndarray] | None = None) -> None:
        """Write variables (keras or tf ones), `progress` (what JSON can hold) and frames (uint8 arrays)."""
        header = json.dumps({"settings": self.settings, "progress": progress})
        arrays = {f"variable_{index}": np.asarray(variable) for index, variable in enumerate(variables)}
        if frames:
            arrays["frames"] = np.stack(frames)
        content = io.BytesIO()
        np.savez(content, header=np.array(header), **arrays)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(f".{os.getpid()}.partial")
        partial.write_bytes(content.getbuffer())
        partial.replace(self.path)

    def restore(self, variables: list) -> tuple[dict, list[np.ndarray]] | None:
        """Give the variables their saved values; return (progress, frames), or None where there is no checkpoint.

        Raises:
            StudyError: when the checkpoint is not whole, or was made with other settings.
        """
        if not self.path.exists():
            return None
        try:
            with np.load(self.path) as saved:
                header = json.loads(str(saved["header"]))
                values = [saved[f"variable_{index}"] for index in range(len(saved.files) - 1 - ("frames" in saved))]
                frames = list(saved["frames"]) if "frames" in saved else []
        except Exception as problem:
            raise StudyError(f"{self.path}: not a whole checkpoint ({problem}); remove it and run again") from None
        wrong = [name for name, value in self.settings.items() if header["settings"].get(name) != value]
        if wrong or [value.shape for value in values] != [tuple(variable.shape) for variable in variables]:
            raise StudyError(
                f"{self.path}: made with other settings ({', '.join(wrong) or 'another model'}); "
                "resume with the flags of the broken run, or run without --resume"
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        return header["progress"], frames


def state(model: keras.Model) -> tuple[list, list[keras.Optimizer]]:
    """All that a training changes: weights, random state, optimizers' variables; and the optimizers themselves."""
    optimizers = [value for value in vars(model).values() if isinstance(value, keras.Optimizer)]
    for optimizer in optimizers:
        if not optimizer.built:
            optimizer.build(model.trainable_variables)
    return model.variables + [variable for optimizer in optimizers for variable in optimizer.variables], optimizers


def schedules(optimizers: list[keras.Optimizer]) -> list[dict]:
    """What the learning rates depend on, for a checkpoint: a run with another schedule is another training."""
    rates = [optimizer.get_config()["learning_rate"] for optimizer in optimizers]
    return [rate["config"] for rate in rates if isinstance(rate, dict)]


def check_finite(logs: dict, number: int, unit: str = "epoch") -> None:
    """Raise TrainingError when a logged value is NaN or infinite; epochs and steps are counted from 0."""
    for name, value in logs.items():
        if not math.isfinite(value):
            raise TrainingError(f"{name} turned {value} in {unit} {number + 1}; try a smaller --learning-rate")


class Interrupts:
    """Holds Ctrl-C back (`with Interrupts() as interrupts`) until the training asks: between steps, when all is whole.

    In the middle of an evaluation a checkpoint would hold random states that the unbroken run never has between steps.
    A second Ctrl-C does not wait.
    """

    def __enter__(self):
        self.asked = False
        self.usual = signal.getsignal(signal.SIGINT)
        if callable(self.usual):  # not where Ctrl-C is ignored, as in a shell's background
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, problem_type, problem, traceback):
        if callable(self.usual):
            signal.signal(signal.SIGINT, self.usual)
        if self.asked and problem_type is None:
            raise KeyboardInterrupt

    def _note(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Samples:
    """Frames of the GIF and measurements: before the first step, after every `every` steps, and after the last.

    Args:
        sample: () -> uint8 array, a frame; measure: () -> {name: value}. Either may be None.
    """

    def __init__(self, every: int, sample: Callable | None = None, measure: Callable | None = None):
        self.every, self.sample, self.measure = every, sample, measure
        self.frames: list[np.ndarray] = []
        self.marks: list[dict] = []  # {"step": ..., name: value} for every frame

    def take(self, step: int) -> None:
        """Draw and measure now."""
        self.marks.append({"step": step, **(self.measure() if self.measure else {})})
        if self.sample:
            self.frames.append(self.sample())

    def due(self, step: int, last: int) -> bool:
        """Whether a frame belongs to this step."""
        return step % self.every == 0 or step == last

    def restore(self, marks: list[dict], frames: list[np.ndarray], last: int) -> None:
        """Go on from a checkpoint, without the frame that was only drawn because --steps had ended a training there."""
        kept = [place for place, mark in enumerate(marks) if self.due(mark["step"], last)]
        self.marks = [marks[place] for place in kept]
        self.frames = [frames[place] for place in kept] if frames else []


class Watch(keras.callbacks.Callback):
    """Checks every batch for NaN and Ctrl-C, then calls `each_step`; after every epoch keeps history and checkpoint.

    last: number of the epoch after which this call of `fit` ends, from 1; Keras shows the planned number beside it.
    """

    def __init__(self, save: Callable, interrupts: Interrupts, history: list[dict], each_step: Callable):
        super().__init__()
        self.save, self.interrupts, self.history, self.each_step = save, interrupts, history, each_step
        self.epoch, self.last = 0, None

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if self.interrupts.asked:
            self.save()
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        check_finite(logs, self.epoch)
        self.each_step()

    def on_epoch_end(self, epoch, logs=None):
        check_finite(logs, epoch)
        if self.history and self.history[-1]["epoch"] == epoch + 1:
            self.history.pop()  # the first part of an epoch that --steps had cut; now there are more
        self.history.append({"epoch": epoch + 1, **{name: float(value) for name, value in logs.items()}})
        self.save()
        if epoch + 1 == self.last:
            self.model.stop_training = True


class Loop:
    """The bookkeeping of a hand-written training loop; `run.loop` makes it and says how it is used.

    Args:
        save: called after every `samples.every` steps, after the last, and before an interrupt ends the training.
        counter: an optimizer that takes one step in every step of the loop.
        log_every: so many steps make one entry of the history, the mean of what they logged; divides samples.every.
    """

    def __init__(
        self,
        steps: int,
        counter: keras.Optimizer,
        save: Callable,
        interrupts: Interrupts,
        samples: Samples,
        log_every: int,
    ):
        self.steps, self.counter, self.save, self.interrupts = steps, counter, save, interrupts
        self.samples, self.log_every = samples, log_every
        self.history, self.pending, self.bar = [], [], None

    @property
    def step(self) -> int:
        """Steps taken so far."""
        return int(self.counter.iterations.numpy())

    def batches(self, examples: Batches | Unpaired) -> Iterator:
        """The batches of the steps that are left."""
        if not self.samples.marks:
            self.samples.take(self.step)
        for batch in examples.dataset(self.step).take(self.steps - self.step):
            if self.interrupts.asked:
                self.save()
                raise KeyboardInterrupt
            yield batch

    def restore(self, history: list[dict], pending: list[dict], marks: list[dict], frames: list[np.ndarray]) -> None:
        """Go on from a checkpoint. What was only recorded because --steps had ended the training there is dropped."""
        self.history, self.pending = history, pending
        if self.step < self.steps:
            self.history = [entry for entry in history if entry["epoch"] % self.log_every == 0]
        self.samples.restore(marks, frames, self.steps)

    def log(self, logs: dict) -> None:
        """To be called at the end of every step, with its losses and the like (scalars)."""
        step, logs = self.step, {name: float(value) for name, value in logs.items()}
        check_finite(logs, step - 1, "step")
        self._show(step, logs)
        self.pending.append(logs)
        due = self.samples.due(step, self.steps)
        if due or step % self.log_every == 0:
            means = {name: sum(entry[name] for entry in self.pending) / len(self.pending) for name in logs}
            self.history.append({"epoch": step, **means})
        if step % self.log_every == 0:
            self.pending = []
        if due:
            self.samples.take(step)
            self.save()

    def _show(self, step: int, logs: dict) -> None:
        """A progress bar in a terminal, else ten lines in all."""
        if sys.stdout.isatty():
            if self.bar is None:
                self.before = step - 1
                self.bar = keras.utils.Progbar(self.steps - self.before, stateful_metrics=list(logs), unit_name="step")
            self.bar.update(step - self.before, list(logs.items()))
        elif step % max(1, self.steps // 10) == 0:
            print(
                f"step {step:,} of {self.steps:,}", *(f"{name} {value:.3f}" for name, value in logs.items()), flush=True
            )
