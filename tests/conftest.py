"""What the tests share: lessons as modules, a device, and a place for what they write."""

import functools
import importlib.util
import json
import re
import signal
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import lessonkit  # noqa: F401  first: it quiets TensorFlow's log
from lessonkit import judges
from lessonkit.datasets.embedded import digits, garments, objects

import matplotlib
import numpy as np
import pytest
import tensorflow as tf

REPOSITORY = Path(__file__).resolve().parents[1]
# Names of data sets as words of a text, not as parts of a file's name.
REAL_NAMES = r"(?<![\w/])(?:CelebA|(?:Fashion-)?MNIST|CIFAR-10|IMDB)(?![\w/])"
LESSONS = sorted((REPOSITORY / "src").glob("[0-9][0-9]_*.py"))


def load_lesson(name: str) -> ModuleType:
    """Import a lesson by its file name (numbered files are no identifiers, so `import` cannot); nothing runs by it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REPOSITORY / "src" / f"{name}.py")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def without_start_up_log(stderr: str) -> str:
    """What a lesson said on standard error; newer TensorFlows begin with lines of their own that nothing silences."""
    return re.sub(r"^(WARNING: All log messages before|[IW]\d{4} ).*\n", "", stderr, flags=re.MULTILINE)


def read_card(output_dir: Path, name: str) -> dict:
    """The run card that a run left."""
    return json.loads((output_dir / name / "run.json").read_text(encoding="utf-8"))


class Grey:
    """A judge that needs no training, for pictures of 28 x 28: its features are coarse pixels."""

    def features(self, images) -> np.ndarray:
        images = np.asarray(images, "float32").reshape(len(images), 4, 7, 4, 7)
        return images.mean(axis=(2, 4)).reshape(len(images), -1)


def interrupting(function: Callable, at: int) -> Callable:
    """The same function, but Ctrl-C comes with its call number `at`."""
    calls = []

    def call(*arguments):
        calls.append(None)
        if len(calls) == at:
            signal.raise_signal(signal.SIGINT)
        return function(*arguments)

    return call


def check_resuming(play: Callable, folder: Path, capsys, epochs: list[int], pause: bool = True) -> tuple:
    """Six steps that Ctrl-C breaks off in the third end as six unbroken ones: bit by bit in all variables and frames.

    Args:
        play: (output folder, *flags, interrupt_at) -> (variables as arrays, history).
        epochs: for which the history must have an entry.
        pause: let --steps end the training after the fifth step, too; not where the learning rate depends on --steps.

    Returns (history, history of the resumed run).
    """
    unbroken, history = play(folder / "a", "--steps", "6")
    with pytest.raises(SystemExit) as stop:
        play(folder / "b", "--steps", "6", interrupt_at=3)
    assert stop.value.code == 130
    assert "--resume" in capsys.readouterr().err
    if pause:
        play(folder / "b", "--steps", "5", "--resume")
    resumed, resumed_history = play(folder / "b", "--steps", "6", "--resume")
    assert all(np.array_equal(one, other) for one, other in zip(unbroken, resumed, strict=True))
    assert len(history.frames) == 4 and np.array_equal(history.frames, resumed_history.frames)
    assert history.epochs == resumed_history.epochs == epochs
    return history, resumed_history


def pytest_addoption(parser):
    parser.addoption("--device", choices=("cpu", "gpu"), default="cpu", help="where the smoke runs train")
    parser.addoption("--slow", action="store_true", help="run the slow tests, too")
    parser.addoption("--kills", type=int, default=0, help="kill a smoke run of every lesson so many times (slow)")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="slow: make test-slow, or pytest --slow"))


@pytest.fixture
def device(request) -> str:
    return request.config.getoption("--device")


@pytest.fixture
def eager():
    """Run every tf.function operation by operation, so that a test can look inside."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_works():
    """A process started in a shell's background ignores Ctrl-C, and so do its children: undo that for the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True, scope="session")
def no_product_that_avx512_gets_wrong():
    """TensorFlow 2.16 and 2.21 (oneDNN), on processors with AVX-512, multiplies (n, 1, m, k) by (k, j) wrongly or dies.

    No lesson may ask for such a product, and the tests find it on every processor.
    """
    matmul = tf.matmul

    def checked(first, second, *arguments, **options):
        a, b = tuple(np.shape(first)), tuple(np.shape(second))
        if len(a) == 4 and a[0] != 1 and a[1] == 1 and a[2] != 1 and b[:-2] in ((), (1, 1)):
            raise AssertionError(f"a product of {a} and {b}: leave out the axis of length 1")
        return matmul(first, second, *arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf, "matmul", checked)
        yield


@pytest.fixture(autouse=True, scope="session")
def stand_ins_are_drawn_once():
    """The same pictures in every test: each process draws them once, in some seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "draw", functools.cache(objects.draw))
        patch.setattr(garments, "draw", functools.lru_cache(4)(garments.draw))
        patch.setattr(digits, "splits", functools.cache(digits.splits))
        yield


@pytest.fixture(autouse=True, scope="session")
def figures_are_small():
    """A third of the pixels each way: drawing and storing them is a large part of a smoke run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(matplotlib.rcParams, "savefig.dpi", 40)
        yield


@pytest.fixture(autouse=True, scope="session")
def judges_are_trained_once():
    """The same settings and the same pictures give the same judge: several lessons ask for it."""
    fit, kept = judges.fit, {}

    def fit_once(model, images, targets, seed=judges.SEED):
        settings = judges.STEPS, judges.EPOCHS, judges.BATCH_SIZE, judges.RATE, seed
        key = (*settings, images.shape, zlib.crc32(images.tobytes()), zlib.crc32(targets.tobytes()))
        if key in kept:
            model.set_weights(kept[key])
        else:
            fit(model, images, targets, seed)
            kept[key] = model.get_weights()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judges, "fit", fit_once)
        yield


@pytest.fixture(autouse=True)
def no_outside(monkeypatch, tmp_path_factory):
    """No test sees the reader's data folder or Keras cache, and none is told of a network."""
    monkeypatch.delenv("STUDY_DATA_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.getbasetemp() / "keras"))
