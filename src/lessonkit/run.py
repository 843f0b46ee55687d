"""One run of one lesson: flags, seed, device, training, figures, metrics, run card; published whole or not at all."""

import contextlib
import csv
import dataclasses
import errno
import json
import math
import os
import platform
import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from lessonkit import config as command_line
from lessonkit import distribution, doctor, figures, training
from lessonkit.config import Config, Presets, StudyError

import keras
import matplotlib
import numpy as np
import tensorflow as tf

# Faults of a disk or of a folder, which the reader can mend; any other OSError is a fault of the code.
DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EFBIG, errno.EIO}
FOLDER = {errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR, errno.ENAMETOOLONG}


@dataclasses.dataclass(frozen=True)
class History:
    """What a training left: a list per logged value, with an entry for each of `epochs`; frames and measurements.

    epochs: epoch numbers, or steps in a hand-written loop. frames: uint8 arrays, and frame_steps, the training steps
    after which they were drawn. measured: by name, a value for each of frame_steps.
    """

    epochs: list[int]
    values: dict[str, list[float]]
    frames: list[np.ndarray]
    frame_steps: list[int]
    measured: dict[str, list[float]]

    def __getitem__(self, name: str) -> list[float]:
        return self.values[name]


class Run:
    """One run of one lesson. Everything it writes waits in a hidden folder until `publish` moves it into place."""

    def __init__(self, name: str, config: Config, defaults: Config, command: str):
        self.name, self.config, self.command = name, config, command
        self.as_published = not command_line.changed(config, defaults) and config.preset == "default"
        self.started = time.perf_counter()
        self.seconds: dict[str, float] = {}
        self.data: list[dict] = []
        self.weights: list[dict] = []
        self.metrics: dict[str, dict] = {}
        self.rows: list[tuple] = []  # of metrics.csv: part, epoch, metric, value
        self.online: bool | None = None  # decided once, at the first download
        self.folder = config.output_dir / name
        self.checkpoints = self.folder / "checkpoints"
        self.staging = config.output_dir / f".partial-{name}-{os.getpid()}"
        self.device = doctor.choose_device(config.device)
        self.strategy = distribution.strategy(config.distribute, self.device)
        # False: what was published stays as it is (a second worker, a run that only prints something)
        self.publishes = distribution.is_chief(config.distribute)
        tf.get_logger().setLevel("ERROR")  # it warns of every new model that it has traced
        reset_keras()
        keras.utils.set_random_seed(config.seed)
        tf.config.experimental.enable_op_determinism()
        (self.staging / name).mkdir(parents=True)
        self.say(f"{name} · preset {config.preset} · seed {config.seed} · {self.device}")
        for field in command_line.TRAINING_FLAGS:
            unused = getattr(defaults, field) is None and field not in vars(type(config))  # the lesson leaves it alone
            if unused and getattr(config, field) and field != "steps":
                self.say(f"note: this lesson has no use for {command_line.flag(field)}")

    def say(self, line: str) -> None:
        """A line for the reader, on standard output."""
        print(line, flush=True)

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the seconds of a part of the run; parts of the same name add up."""
        begin = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begin

    # Where things come from

    def record_data(self, name: str, source: str, origin: str, counts: dict[str, int]) -> None:
        """Say which data are used, and keep it for the card and the figures' small print."""
        self.data.append({"name": name, "source": source, "origin": origin, "counts": counts})
        self.say(f"data: {name}, {source}, {' + '.join(f'{n:,} {part}' for part, n in counts.items())}, from {origin}")

    def record_weights(self, name: str, origin: str) -> None:
        """Say which pretrained weights are used, and keep it for the card and the figures' small print."""
        self.weights.append({"name": name, "origin": origin})
        self.say(f"weights: {name}, from {origin}")

    @property
    def source(self) -> str:
        """'embedded' as soon as one of the data sets is a stand-in, else 'real'."""
        return "embedded" if any(entry["source"] == "embedded" for entry in self.data) else "real"

    def require(self, least: int, **counts: int) -> None:
        """Refuse a run with too few examples before its training: require(20, training_pictures=len(data.train)).

        Raises:
            StudyError: with the least number that works.
        """
        for what, count in counts.items():
            if count < least:
                raise StudyError(
                    f"{count} {what.replace('_', ' ')} are too few: this lesson needs at least {least}; "
                    "use a larger --limit, or more data"
                )

    # Training

    def checkpoint(self, name: str, **settings) -> training.Checkpoint:
        """The checkpoint of one model of this run, tied to the settings that decide what is trained."""
        settings |= command_line.as_json(self.config)
        settings["data used"] = [[entry["name"], entry["source"], entry["counts"]] for entry in self.data]
        for free in (*command_line.PLACE_FLAGS, *self.config.sampling_only, "epochs", "steps"):
            settings.pop(free, None)
        return training.Checkpoint(self.checkpoints / f"{name}.npz", json.loads(json.dumps(settings)))

    def fit(
        self,
        model: keras.Model,
        train: training.Batches | training.Unpaired,
        *,
        epochs: int | None = None,
        name: str = "model",
        validation: tuple | None = None,
        sample: Callable[[], np.ndarray] | None = None,
        measure: Callable[[], dict[str, float]] | None = None,
        sample_every: float = 1,
    ) -> History:
        """`model.fit` with resume, a NaN guard, a checkpoint every epoch, samples as frames of a GIF, measurements.

        Args:
            model: built and compiled.
            epochs: those of the config if not given; `--steps` cuts both short.
            name: of the model among those that this lesson trains.
            validation: arrays (inputs, targets) that are evaluated after every epoch.
            sample: () -> uint8 array, taken before training, every `sample_every` epochs, and at the end.
            measure: () -> {name: value}, called together with `sample`.
            sample_every: may be a fraction: 0.25 is four times per epoch.
        """
        epochs = epochs or self.config.epochs
        total = min(epochs * train.steps_per_epoch, self.config.steps or sys.maxsize)
        variables, optimizers = training.state(model)
        counter = optimizers[0]
        if self.strategy.num_replicas_in_sync > 1:
            distribution.prepare(model, self.strategy.num_replicas_in_sync)
        checkpoint = self.checkpoint(
            name, epochs_planned=epochs, learning_rate_schedules=training.schedules(optimizers)
        )
        begin, earlier = time.perf_counter(), 0.0  # of this training; seconds that it took before a resume
        history, samples = [], training.Samples(math.ceil(sample_every * train.steps_per_epoch), sample, measure)

        def step() -> int:
            return int(counter.iterations.numpy())

        if self.config.resume and (restored := checkpoint.restore(variables)):
            history = restored[0]["history"]
            samples.restore(restored[0]["marks"], restored[1], total)
            earlier = self.count_earlier(restored[0].get("seconds", 0.0))
            self.say(f"{name}: resumed at step {step()} of {total}")

        def save():
            seconds = earlier + time.perf_counter() - begin
            checkpoint.save(variables, {"history": history, "marks": samples.marks, "seconds": seconds}, samples.frames)

        def each_step():
            if samples.due(step(), total):
                samples.take(step())

        with self.part("training"), training.Interrupts() as interrupts:
            if not samples.marks:
                samples.take(step())
            watch = training.Watch(save, interrupts, history, each_step)
            while (done := step()) < total:
                epoch, into_epoch = divmod(done, train.steps_per_epoch)
                if into_epoch == 0 and total - done >= train.steps_per_epoch:  # whole epochs, in one go
                    watch.last, steps = total // train.steps_per_epoch, train.steps_per_epoch
                else:  # the rest of an epoch that was interrupted, or the first part of one that --steps cuts
                    watch.last, steps = epoch + 1, min(total, (epoch + 1) * train.steps_per_epoch) - done
                model.fit(
                    train.dataset(done),
                    initial_epoch=epoch,
                    epochs=math.ceil(total / train.steps_per_epoch),
                    steps_per_epoch=steps,
                    validation_data=validation,
                    validation_batch_size=500,
                    callbacks=[watch],
                    verbose=1 if sys.stdout.isatty() else 2,
                )
        return self.history(name, history, samples)

    @contextlib.contextmanager
    def loop(
        self,
        steps: int,
        variables: list,
        optimizers: Sequence[keras.Optimizer],
        *,
        name: str = "model",
        sample: Callable[[], np.ndarray] | None = None,
        measure: Callable[[], dict[str, float]] | None = None,
        sample_every: int = 100,
        log_every: int = 10,
    ) -> Iterator[training.Loop]:
        """The frame of a hand-written training loop: resume, progress, a NaN guard, samples and checkpoints.

            with run.loop(steps, variables, [optimizer], sample=draw, sample_every=100) as loop:
                for images in loop.batches(examples):
                    loop.log(train_step(images))
            history = run.history("model", loop.history, loop.samples)

        Args:
            variables: all that the training changes: weights, random states, the optimizers' variables.
            optimizers: the `iterations` of the first count the steps.
            sample: () -> uint8 array, taken before training, after every `sample_every` steps, and after the last.
            measure: () -> {name: value}, called together with `sample`.
            log_every: so many steps make one entry of the history, the mean of what they logged.
        """
        checkpoint = self.checkpoint(name, learning_rate_schedules=training.schedules(optimizers))
        samples = training.Samples(sample_every, sample, measure)
        begin, earlier = time.perf_counter(), 0.0  # of this training; seconds that it took before a resume

        def save():
            progress = {"history": loop.history, "pending": loop.pending, "marks": samples.marks}
            progress["seconds"] = earlier + time.perf_counter() - begin
            checkpoint.save(variables, progress, samples.frames)

        with self.part("training"), training.Interrupts() as interrupts:
            every = math.gcd(log_every, sample_every)
            loop = training.Loop(steps, optimizers[0], save, interrupts, samples, every)
            if self.config.resume and (restored := checkpoint.restore(variables)):
                earlier = self.count_earlier(restored[0].pop("seconds", 0.0))
                loop.restore(**restored[0], frames=restored[1])
                self.say(f"{name}: resumed at step {loop.step} of {steps}")
            yield loop

    def count_earlier(self, seconds: float) -> float:
        """Count seconds that a training took before it was resumed, so that the card says what it took in all."""
        self.seconds["training"] = self.seconds.get("training", 0.0) + seconds
        self.started -= seconds
        return seconds

    def history(self, name: str, entries: list[dict], samples: training.Samples | None = None) -> History:
        """Keep a training's logs for metrics.csv, and hand them out by name."""
        samples = samples or training.Samples(1)
        names = [key for key in entries[-1] if key != "epoch"] if entries else []
        for entry in entries:
            self.rows += [(name, entry["epoch"], key, entry[key]) for key in names if key in entry]
        values = {key: [entry.get(key, float("nan")) for entry in entries] for key in names}
        measured = {key: [mark[key] for mark in samples.marks] for key in (samples.marks or [{}])[-1] if key != "step"}
        steps = [mark["step"] for mark in samples.marks]
        for key, its_values in measured.items():
            self.rows += [(f"{name}, by step", step, key, value) for step, value in zip(steps, its_values, strict=True)]
        return History([entry["epoch"] for entry in entries], values, samples.frames, steps, measured)

    def save_model(self, model: keras.Model, name: str) -> None:
        """Keep a trained model among the checkpoints, whole, for `load_model` in a later run."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoints / f"{name}.{os.getpid()}.partial.keras"
        model.save(partial)
        partial.replace(self.checkpoints / f"{name}.keras")

    def keep_generated(self, images: np.ndarray) -> None:
        """Keep generated images (n, height, width) in [0, 1] as uint8 beside the checkpoints, for lesson 28.

        `origin` in that file holds the settings and the data of this run, as they are in its card.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        partial = self.checkpoints / f"generated.{os.getpid()}.partial.npz"
        origin = json.dumps({"config": command_line.as_json(self.config), "data": self.data})
        np.savez_compressed(
            partial, images=np.round(np.clip(images, 0, 1) * 255).astype(np.uint8), origin=np.array(origin)
        )
        partial.replace(self.checkpoints / "generated.npz")

    def load_model(self, name: str) -> keras.Model:
        """The model that an earlier run kept; StudyError where there is none."""
        path = self.checkpoints / f"{name}.keras"
        if not path.exists():
            raise StudyError(f"{path}: no run has trained this model yet; run the lesson first")
        return keras.saving.load_model(path, compile=False)

    # Results

    def metric(self, name: str, value: float, unit: str = "", expected=None, embedded=None, spread=None) -> None:
        """Keep a measured value. One that is not finite is kept as null: JSON has no infinity.

        Args:
            expected: (low, high) that the default preset gives on real data.
            embedded: the same on the embedded stand-ins.
            spread: standard deviation of the value, where it is known.
        """
        value = float(value)
        bounds = (embedded if self.source == "embedded" else expected) if self.as_published else None
        entry = {"value": value if math.isfinite(value) else None, "unit": unit}
        self.metrics[name] = entry | {"expected": list(bounds) if bounds else None}
        verdict = ""
        if spread is not None:
            self.metrics[name]["spread"] = float(spread)
            verdict = f"  ± {spread:.2g}"
        if bounds:
            inside = bounds[0] <= value <= bounds[1]
            verdict += f"  ({'' if inside else 'NOT '}as expected: {bounds[0]:g} to {bounds[1]:g})"
        self.say(f"{name}: {value:.4g} {unit}{verdict}")

    def figure(self, name: str, figure: matplotlib.figure.Figure, headline: bool = False) -> None:
        """Write a figure as PNG with its small print; the headline goes where the README shows it."""
        with self.part("figures"):
            figures.save(figure, self._place(f"{name}.png", headline), self.small_print())

    def diagram(self, model: keras.Model, name: str = "model", headline: bool = False) -> None:
        """Write a model's diagram (a `.dot` file where Graphviz is missing)."""
        with self.part("figures"):
            path = figures.diagram(model, self._place(f"{name}.png"))
            if path.suffix == ".dot":
                self.say(f"warning: Graphviz' program `dot` is missing: wrote {path.name} instead of a picture")
            elif headline:
                shutil.copyfile(path, self._place("", headline=True))

    def gif(self, name: str, frames: Sequence[np.ndarray], seconds: float = 6.0) -> None:
        """Write uint8 frames (height, width[, 3]) as an endless GIF of so many seconds; the last frame stays longer."""
        with self.part("figures"):
            figures.save_gif(frames, self._place(f"{name}.gif"), seconds)

    def text(self, name: str, content: str) -> None:
        """Write a text file such as a model summary."""
        self._place(name).write_text(content, encoding="utf-8")

    def arrays(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write arrays by name as an .npz file, for instance weights that later lessons use."""
        np.savez(self._place(name), **arrays)

    def small_print(self) -> str:
        """What a picture was made from: data, weights, preset, seed."""
        parts = [f"{entry['name']} ({entry['source']})" for entry in self.data]
        parts += [entry["name"] for entry in self.weights]
        return " · ".join([*parts, f"preset {self.config.preset}", f"seed {self.config.seed}"])

    def _place(self, file_name: str, headline: bool = False) -> Path:
        return self.staging / (f"{self.name}.png" if headline else f"{self.name}/{file_name}")

    # The end of a run

    def publish(self) -> None:
        """Move what was written into place, file by file and the run card last; remove what only the last run wrote."""
        self.rows += [("result", "", name, metric["value"]) for name, metric in self.metrics.items()]
        with self._place("metrics.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([("part", "epoch or step", "metric", "value"), *self.rows])
        files = sorted(str(path.relative_to(self.staging)) for path in self.staging.rglob("*") if path.is_file())
        card = self._place("run.json")
        card.write_text(json.dumps(self.card(files), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        for stale in self._files_of_last_run() - set(files) - {file.replace(".dot", ".png") for file in files}:
            (self.config.output_dir / stale).unlink(missing_ok=True)
        self.folder.mkdir(exist_ok=True)
        for file in [*files, f"{self.name}/run.json"]:
            os.replace(self.staging / file, self.config.output_dir / file)
        self.say(f"wrote {len(files) + 1} files to {self.folder} in {self.seconds['total']:.0f} s")

    def card(self, files: list[str]) -> dict:
        """The run card: everything needed to judge this run and to repeat it."""
        self.seconds["total"] = time.perf_counter() - self.started
        return {
            "lesson": self.name,
            "preset": self.config.preset,
            "config": command_line.as_json(self.config),
            "seed": self.config.seed,
            "data": self.data,
            "weights": self.weights,
            "metrics": self.metrics,
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "device": self.device,
            "versions": {
                "python": platform.python_version(),
                "tensorflow": tf.__version__,
                "keras": keras.__version__,
                "numpy": np.__version__,
                "system": f"{platform.system()} {platform.machine()}",
            },
            "files": files,
        }

    def _files_of_last_run(self) -> set[str]:
        try:
            files = json.loads((self.folder / "run.json").read_text(encoding="utf-8"))["files"]
        except (OSError, ValueError, KeyError):
            return set()
        ours = (f"{self.name}/", f"{self.name}.png")
        return {file for file in files if file.startswith(ours) and ".." not in file}

    def discard(self) -> None:
        """Remove what was not published."""
        shutil.rmtree(self.staging, ignore_errors=True)
        for folder in (self.folder, self.config.output_dir):
            with contextlib.suppress(OSError):
                folder.rmdir()  # only if this run made it and left it empty


def reset_keras() -> None:
    """Give Keras the settings that the lessons were written for, whatever the reader's keras.json says.

    Raises:
        StudyError: where Keras was imported with another backend before (in a notebook).
    """
    if keras.backend.backend() != "tensorflow":
        raise StudyError(f"Keras runs on {keras.backend.backend()} here; restart Python with KERAS_BACKEND=tensorflow")
    keras.config.set_image_data_format("channels_last")
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")
    keras.config.set_epsilon(1e-7)
    keras.backend.clear_session()


class Unbroken:
    """Standard output that outlives its reader: `python src/10_MNIST_VAE.py | head -1` trains on, in silence."""

    def __init__(self, stream):
        self.stream = stream

    def __getattr__(self, name):
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        with self._reader_may_leave():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._reader_may_leave():
            self.stream.flush()

    @contextlib.contextmanager
    def _reader_may_leave(self):
        try:
            yield
        except BrokenPipeError:  # the file descriptor now leads to nowhere, also for Python's own flush at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.stream.fileno())


@contextlib.contextmanager
def run(file: str, config_class: type[Config], presets: Presets, argv: Sequence[str] | None = None) -> Iterator[Run]:
    """The frame of a lesson's `main`: reads the flags, hands out the Run, publishes it at the end.

    Without `argv`, the flags are those of the command line if the lesson is the program, and none in a notebook.

    What the reader can mend ends with one line on standard error and exit status 2 (a training that diverged: 1;
    Ctrl-C: 130); nothing that was published before is touched then. What he cannot mend keeps its traceback.
    """
    name = Path(file).stem
    about = (sys.modules[config_class.__module__].__doc__ or "").split("\n")[0]
    is_program = Path(sys.argv[0]).stem == name
    arguments = list((sys.argv[1:] if is_program else []) if argv is None else argv)
    this = config = None
    with contextlib.redirect_stdout(Unbroken(sys.stdout)):
        try:
            config = command_line.parse(config_class, presets, arguments, f"python src/{name}.py", about)
            remove_leftovers(config.output_dir, name)
            command = shlex.join(["python", f"src/{name}.py", *(word for word in arguments if word != "--resume")])
            this = Run(name, config, command_line.preset_config(config_class, presets, config.preset), command)
            with this.strategy.scope():
                yield this
            if this.publishes:
                this.publish()
        except StudyError as problem:
            _end(f"{name}: {problem}", problem.status)
        except KeyboardInterrupt:
            saved = this is not None and any(this.checkpoints.glob("*.npz"))
            _end(f"{name}: interrupted" + (f"; go on with: {this.command} --resume" if saved else ""), 130)
        except tf.errors.ResourceExhaustedError as problem:
            if "OOM" not in str(problem):
                raise
            _end(f"{name}: out of memory; try a smaller --batch-size", 2)
        except OSError as problem:
            ours = config is not None and problem.errno in FOLDER and _is_below(problem.filename, config.output_dir)
            if problem.errno not in DISK and not ours:
                raise
            where = f"{problem.filename}: " if problem.filename else ""
            _end(f"{name}: {where}{problem.strerror}; free the place, or choose another --output-dir", 2)
        finally:
            if this is not None:
                this.discard()


def _is_below(path, folder: Path) -> bool:
    """Whether a path that an OSError names is the folder, or lies in it or above it."""
    path = Path(os.fsdecode(path or "")).absolute()
    folder = folder.absolute()
    return path.is_relative_to(folder) or folder.is_relative_to(path)


def remove_leftovers(output_dir: Path, name: str) -> None:
    """Remove what runs of this lesson that were killed left half-written: hidden folders, pieces of checkpoints."""
    pieces = (output_dir / name / "checkpoints").glob("*.partial*")
    for left in (*output_dir.glob(f".partial-{name}-*"), *pieces) if output_dir.is_dir() else ():
        process = re.search(r"(\d+)(\.partial.*)?$", left.name)
        try:
            os.kill(int(process[1]) if process else 0, 0)
        except ProcessLookupError:
            shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)
        except PermissionError:
            pass  # somebody else's run, still going


def _end(line: str, status: int) -> None:
    print(" ".join(line.split()), file=sys.stderr, flush=True)
    raise SystemExit(status)
