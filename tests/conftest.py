"""What the tests share: lessons as modules, a device, and a place for what they write."""

import importlib.util
import json
import signal
import sys
from pathlib import Path
from types import ModuleType

import lessonkit  # noqa: F401  first: it quiets TensorFlow's log

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LESSONS = sorted((REPOSITORY / "src").glob("[0-9][0-9]_*.py"))


def load_lesson(name: str) -> ModuleType:
    """Import a lesson by its file name (numbered files are no identifiers, so `import` cannot); nothing runs by it."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, REPOSITORY / "src" / f"{name}.py")
        sys.modules[name] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules[name]


def read_card(output_dir: Path, name: str) -> dict:
    """The run card that a run left."""
    return json.loads((output_dir / name / "run.json").read_text(encoding="utf-8"))


def pytest_addoption(parser):
    parser.addoption("--device", choices=("cpu", "gpu"), default="cpu", help="where the smoke runs train")
    parser.addoption("--kills", type=int, default=0, help="kill a smoke run of every lesson so many times (slow)")


@pytest.fixture
def device(request) -> str:
    return request.config.getoption("--device")


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_works():
    """A process started in a shell's background ignores Ctrl-C, and so do its children: undo that for the tests."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def no_outside(monkeypatch, tmp_path_factory):
    """No test sees the reader's data folder or Keras cache, and none is told of a network."""
    monkeypatch.delenv("STUDY_DATA_DIR", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path_factory.getbasetemp() / "keras"))
