"""A run that is broken off, by a kill or by Ctrl-C, and resumed ends with the same weights as one that never was.

Each run is a process of its own, as the reader's are; the model is lesson 10's, whose draws, test loss and learning
rate all depend on states that a careless resume would lose.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from conftest import LESSONS, REPOSITORY

LESSON = "10_MNIST_VAE"
EPOCHS, STEPS_PER_EPOCH = 6, 50
FLAGS = ["--preset", "smoke", "--epochs", EPOCHS, "--steps", 10**6, "--limit", 200, "--batch-size", 4, "--grid", 2]


def start(output_dir: Path, *flags: str, name: str = LESSON, settings: Sequence = FLAGS) -> subprocess.Popen:
    """Start a lesson as a reader would."""
    command = [sys.executable, f"src/{name}.py", *map(str, settings), "--output-dir", str(output_dir), *flags]
    return subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen, status: int = 0) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == status, err
    return out, err


def checkpoint(output_dir: Path) -> Path:
    return output_dir / LESSON / "checkpoints" / "model.npz"


def read(output_dir: Path) -> tuple[dict[str, np.ndarray], list[dict]]:
    """The arrays of a checkpoint (weights, random and optimizer state, sample frames) and the history."""
    with np.load(checkpoint(output_dir)) as file:
        arrays = {name: file[name] for name in file.files if name != "header"}
        return arrays, json.loads(str(file["header"]))["progress"]["history"]


def break_off(output_dir: Path, how: signal.Signals) -> subprocess.Popen:
    """Start a run and send it a signal at a random moment after its first checkpoint."""
    process = start(output_dir)
    deadline = time.monotonic() + 120
    while not checkpoint(output_dir).exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "no checkpoint after two minutes"
        time.sleep(0.02)
    time.sleep(random.uniform(0, 0.6))
    process.send_signal(how)
    return process


def assert_same(arrays: dict[str, np.ndarray], others: dict[str, np.ndarray]) -> None:
    assert arrays.keys() == others.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, others[name], err_msg=name)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What a run leaves that nobody disturbs."""
    output_dir = tmp_path_factory.mktemp("unbroken")
    finish(start(output_dir))
    arrays, history = read(output_dir)
    assert [entry["epoch"] for entry in history] == list(range(1, EPOCHS + 1))
    return arrays, history


@pytest.mark.slow
def test_killed_and_resumed(unbroken, tmp_path):
    process = break_off(tmp_path, signal.SIGKILL)
    finish(process, -signal.SIGKILL)
    _, history = read(tmp_path)
    assert 1 <= len(history) < EPOCHS, "killed too late to prove anything"
    assert not (tmp_path / f"{LESSON}.png").exists(), "a run that was killed publishes nothing"

    out, _ = finish(start(tmp_path, "--resume"))
    assert f"resumed at step {len(history) * STEPS_PER_EPOCH} of {EPOCHS * STEPS_PER_EPOCH}" in out
    arrays, history = read(tmp_path)
    assert_same(arrays, unbroken[0])
    assert history == unbroken[1]
    assert not list(tmp_path.rglob("*.partial*")) and not list(tmp_path.glob(".partial*")), "nothing is left behind"


@pytest.mark.slow
def test_interrupted_and_resumed(unbroken, tmp_path):
    process = break_off(tmp_path, signal.SIGINT)
    _, err = finish(process, 130)
    line = err.strip().splitlines()[-1]
    assert line.startswith(f"{LESSON}: interrupted; go on with: python src/{LESSON}.py --preset smoke")
    assert line.endswith("--resume") and "Traceback" not in err
    assert not (tmp_path / f"{LESSON}.png").exists()
    _, history = read(tmp_path)
    assert 1 <= len(history) < EPOCHS, "interrupted too late to prove anything"

    out, _ = finish(start(tmp_path, "--resume"))
    arrays, resumed = read(tmp_path)
    assert_same(arrays, unbroken[0])
    # Only the training averages of the epoch that was cut in two differ: they are those of its second part.
    cut = len(history)
    for entry, whole in zip(resumed, unbroken[1], strict=True):
        names = [name for name in whole if entry["epoch"] != cut + 1 or name.startswith("val_")]
        assert [entry[name] for name in names] == [whole[name] for name in names]


@pytest.mark.parametrize("name", [path.stem for path in LESSONS])
def test_kills_at_random_moments(name, tmp_path, pytestconfig):
    """Killed again and again, wherever it happens to be, and resumed, a smoke run ends as if nothing had happened."""
    kills = pytestconfig.getoption("--kills")
    if not kills:
        pytest.skip("slow: pytest tests/test_resume.py --kills 3, or make kills")
    settings = ["--preset", "smoke", "--device", "cpu"]
    lines = finish(start(tmp_path / "unbroken", name=name, settings=settings))[0].count("\n")
    for attempt in range(kills):
        process = start(tmp_path / "broken", *["--resume"] * (attempt > 0), name=name, settings=settings)
        for _ in range(random.randrange(1, lines)):  # up to the line before the last
            process.stdout.readline()
        time.sleep(random.uniform(0, 0.5))
        process.kill()
        process.communicate(timeout=60)
    finish(start(tmp_path / "broken", "--resume", name=name, settings=settings))
    whole, mended = (read_all(tmp_path / folder / name) for folder in ("unbroken", "broken"))
    assert_same(whole, mended)
    files = [
        sorted(str(path.relative_to(tmp_path / folder)) for path in (tmp_path / folder).rglob("*"))
        for folder in ("unbroken", "broken")
    ]
    assert files[0] == files[1], "the same files, and nothing half-written"


def read_all(folder: Path) -> dict[str, np.ndarray]:
    """The arrays of all checkpoints of a run, but for the settings: they say whether it was resumed."""
    arrays, settings = {}, ("header", "origin")
    for path in (folder / "checkpoints").glob("*.npz"):
        with np.load(path) as file:
            arrays |= {f"{path.stem}/{name}": file[name] for name in file.files if name not in settings}
    return arrays
