"""The frame of hand-written training loops: means, samples, checkpoints, resume, and the guard against NaN."""

import dataclasses
import json
import signal
from typing import ClassVar

from lessonkit import config, training
from lessonkit import run as lesson

import keras
import numpy as np
import pytest
from conftest import read_card


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A walk of one variable."""

    steps: config.Count = 7
    rate: float = 0.1
    cosine: bool = False  # the rate depends on --steps
    guidance: float = 1.0  # of the sampling

    sampling_only: ClassVar = ("guidance",)


def walk(folder, *flags, interrupt_at=None, poison_at=None):
    """Steps of gradient descent on the mean of ever new batches; returns (weight, history, frames)."""
    with lesson.run("99_walk.py", Config, {}, ["--data", "embedded", "--output-dir", str(folder), *flags]) as run:
        weight, optimizer = (
            keras.Variable(0.0),
            keras.optimizers.SGD(
                training.warm_up_cosine(run.config.rate, run.config.steps) if run.config.cosine else run.config.rate
            ),
        )
        optimizer.build([weight])
        examples = training.Batches(np.arange(20, dtype="float32"), 3, seed=1)
        with run.loop(
            run.config.steps,
            [weight, *optimizer.variables],
            [optimizer],
            sample=lambda: np.full((1, 1), float(weight), np.uint8),
            measure=lambda: {"weight": float(weight)},
            log_every=2,
            sample_every=4,
        ) as loop:
            for batch in loop.batches(examples):
                optimizer.apply([keras.ops.mean(batch)], [weight])
                if loop.step == interrupt_at:
                    signal.raise_signal(signal.SIGINT)
                loop.log({"mean": keras.ops.mean(batch) if loop.step != poison_at else float("nan")})
        history = run.history("walk", loop.history, loop.samples)
        return float(weight), history, loop


def test_means_samples_and_measures(tmp_path):
    weight, history, loop = walk(tmp_path)
    assert history.epochs == [2, 4, 6, 7]
    examples = training.Batches(np.arange(20, dtype="float32"), 3, seed=1)
    means = [float(np.mean(batch)) for batch in examples.dataset().take(7)]
    expected = [np.mean(means[:2]), np.mean(means[2:4]), np.mean(means[4:6]), means[6]]
    assert history["mean"] == pytest.approx(expected, nan_ok=True)
    walked = np.concatenate([[0], -0.1 * np.cumsum(means)])
    assert history.frame_steps == [0, 4, 7] and len(history.frames) == 3
    assert history.measured["weight"] == pytest.approx([0, walked[4], walked[7]]) and weight == pytest.approx(walked[7])


@pytest.mark.parametrize("at", [1, 2, 4, 5])
def test_interrupted_and_resumed(tmp_path, at):
    unbroken, history, _ = walk(tmp_path / "a")
    with pytest.raises(SystemExit) as stop:
        walk(tmp_path / "b", interrupt_at=at)
    assert stop.value.code == 130
    resumed, resumed_history, loop = walk(tmp_path / "b", "--resume")
    assert resumed == unbroken and loop.step == 7
    assert resumed_history.epochs == history.epochs
    assert resumed_history["mean"] == pytest.approx(history["mean"], nan_ok=True)
    assert resumed_history.measured == history.measured and resumed_history.frame_steps == history.frame_steps
    assert np.array_equal(resumed_history.frames, history.frames)


@pytest.mark.parametrize("first", [1, 4, 5])
def test_cut_by_steps_and_resumed(tmp_path, first):
    unbroken, history, _ = walk(tmp_path / "a")
    walk(tmp_path / "b", "--steps", str(first))
    resumed, resumed_history, _ = walk(tmp_path / "b", "--resume")
    assert resumed == unbroken and resumed_history.epochs == history.epochs
    assert resumed_history["mean"] == pytest.approx(history["mean"], nan_ok=True)
    assert np.array_equal(resumed_history.frames, history.frames)
    assert resumed_history.frame_steps == history.frame_steps == [0, 4, 7]


def test_finished_run_resumed_has_nothing_to_do(tmp_path):
    weight, history, _ = walk(tmp_path)
    again, same, _ = walk(tmp_path, "--resume")
    assert again == weight and same.epochs == history.epochs


def test_nan_ends_the_training(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        walk(tmp_path, poison_at=3)
    assert stop.value.code == 1 and "mean turned nan in step 3" in capsys.readouterr().err


def test_other_settings_are_refused(tmp_path, capsys):
    walk(tmp_path)
    with pytest.raises(SystemExit) as stop:
        walk(tmp_path, "--resume", "--rate", "0.2")
    assert stop.value.code == 2 and "rate" in capsys.readouterr().err


def test_another_schedule_is_refused(tmp_path, capsys):
    """With a rate that depends on --steps, more steps are another training, not the rest of this one."""
    walk(tmp_path, "--cosine", "--steps", "5")
    with pytest.raises(SystemExit) as stop:
        walk(tmp_path, "--cosine", "--steps", "7", "--resume")
    assert stop.value.code == 2 and "learning_rate_schedules" in capsys.readouterr().err


def test_ten_lines_where_no_terminal_is(tmp_path, capsys):
    walk(tmp_path, "--steps", "50")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert len(lines) == 10 and lines[0].startswith("step 5 of 50 mean ")


def test_what_only_the_sampling_depends_on_may_change_with_resume(tmp_path, capsys):
    weight, _, _ = walk(tmp_path)
    again, _, loop = walk(tmp_path, "--resume", "--guidance", "3")
    assert again == weight and "resumed at step 7 of 7" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        walk(tmp_path, "--resume", "--rate", "0.2")
    assert "rate" in capsys.readouterr().err


def test_generated_images_are_kept_as_bytes_beside_the_checkpoints(tmp_path):
    with lesson.run("99_walk.py", Config, {}, ["--data", "embedded", "--output-dir", str(tmp_path)]) as run:
        run.keep_generated(np.array([[[-0.1, 0.0, 0.5, 1.0, 1.2]]]))
        kept = np.load(run.checkpoints / "generated.npz")["images"]
    assert kept.dtype == np.uint8 and kept.ravel().tolist() == [0, 0, 128, 255, 255]


def test_the_card_counts_the_seconds_before_a_resume(tmp_path):
    walk(tmp_path)
    path = tmp_path / "99_walk" / "checkpoints" / "model.npz"
    with np.load(path) as saved:
        arrays = dict(saved)
    header = json.loads(str(arrays["header"]))
    assert 0 < header["progress"]["seconds"] < 60
    header["progress"]["seconds"] = 100.0
    np.savez(path, **arrays | {"header": np.array(json.dumps(header))})
    walk(tmp_path, "--resume")
    seconds = read_card(tmp_path, "99_walk")["seconds"]
    assert 100 <= seconds["training"] <= seconds["total"] < 160
