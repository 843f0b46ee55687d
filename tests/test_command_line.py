"""The command line: presets, flags that beat them, and one clear line for whatever is wrong."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

from lessonkit import config, run
from lessonkit.config import StudyError

import pytest
import tensorflow as tf
from conftest import LESSONS, REPOSITORY, load_lesson, read_card, without_start_up_log

MLP = "01_keras_MLP_sequential_model"
FLAGS = ["preset", "epochs", "steps", "batch_size", "learning_rate", "seed", "limit", "device", "data", "data_dir"]
FLAGS += ["output_dir", "resume", "distribute"]


def run_script(*arguments, name=MLP, **options):
    command = [sys.executable, str(REPOSITORY / "src" / f"{name}.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def parse(lesson, *arguments):
    return config.parse(lesson.Config, lesson.PRESETS, list(arguments), "program", "about")


@pytest.mark.parametrize("name", [path.stem for path in LESSONS])
def test_every_lesson_has_the_same_flags_first(name):
    lesson = load_lesson(name)
    assert [field.name for field in dataclasses.fields(lesson.Config)][: len(FLAGS)] == FLAGS
    with pytest.raises(dataclasses.FrozenInstanceError):
        lesson.Config().seed = 1
    assert set(lesson.PRESETS) <= {"default", "full", "smoke"} and "smoke" in lesson.PRESETS
    assert parse(lesson, "--preset", "smoke").output_dir != config.PUBLISHED


def test_an_explicit_flag_beats_the_preset():
    lesson = load_lesson(MLP)
    assert parse(lesson).epochs == 10
    assert parse(lesson, "--preset", "smoke").epochs == 1
    assert parse(lesson, "--epochs", "7", "--preset", "smoke").epochs == 7
    assert parse(lesson, "--preset=full").decay is False


def test_the_data_folder_may_stand_in_a_variable(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_DATA_DIR", str(tmp_path))
    assert parse(load_lesson(MLP)).data_dir == tmp_path
    assert parse(load_lesson(MLP), "--data-dir", "/").data_dir != tmp_path


def test_a_gpu_that_is_not_there(tmp_path, capsys, monkeypatch):
    from lessonkit import doctor

    monkeypatch.setattr(doctor.tf.config, "list_physical_devices", lambda kind: [])
    with pytest.raises(SystemExit) as stop:
        load_lesson(MLP).main(["--device", "gpu", "--preset", "smoke", "--output-dir", str(tmp_path / "output")])
    assert stop.value.code == 2 and "sees no GPU" in capsys.readouterr().err
    assert not (tmp_path / "output").exists()


def test_a_script_as_a_process(tmp_path):
    """What the README promises of the terminal: help on standard output, errors on standard error."""
    told = run_script("--help")
    assert told.returncode == 0 and "--first-units" in told.stdout and "units of the first hidden layer" in told.stdout
    wrong = run_script("--output-dir", "/proc/x", "--data", "embedded")
    line = without_start_up_log(wrong.stderr)
    assert wrong.returncode == 2 and line.count("\n") == 1 and "/proc/x" in line


@pytest.mark.slow
def test_the_readers_configuration_changes_nothing(tmp_path):
    """A keras.json for another backend and other formats, and a terminal that knows only ASCII."""
    (tmp_path / "keras.json").write_text(
        '{"floatx": "float64", "epsilon": 0.1, "backend": "jax", "image_data_format": "channels_first"}'
    )
    environment = {**os.environ, "KERAS_HOME": str(tmp_path), "KERAS_BACKEND": "torch", "PYTHONIOENCODING": "ascii"}
    told = run_script("--preset", "smoke", "--device", "cpu", "--output-dir", tmp_path / "theirs", env=environment)
    assert told.returncode == 0, told.stderr
    assert "preset smoke ? seed 42" in told.stdout
    load_lesson(MLP).main(["--preset", "smoke", "--device", "cpu", "--output-dir", str(tmp_path / "ours")])
    theirs, ours = (read_card(tmp_path / folder, MLP)["metrics"] for folder in ("theirs", "ours"))
    assert theirs == ours


@pytest.mark.slow
def test_a_closed_pipe_does_not_end_the_training(tmp_path):
    """`python src/01_keras_MLP_sequential_model.py | head -1`"""
    command = [
        sys.executable,
        str(REPOSITORY / "src" / f"{MLP}.py"),
        "--preset",
        "smoke",
        "--output-dir",
        str(tmp_path),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout.readline().startswith(MLP)
    process.stdout.close()
    assert without_start_up_log(process.stderr.read()) == "" and process.wait(timeout=120) == 0
    assert read_card(tmp_path, MLP)["metrics"]


@pytest.mark.parametrize(
    "fault",
    [
        OSError(2, "No such file or directory", "/somewhere/else"),
        OSError("something without a number"),
        ConnectionResetError(104, "Connection reset by peer"),
        BrokenPipeError(32, "Broken pipe"),
        tf.errors.ResourceExhaustedError(None, None, "too many open files"),
    ],
    ids=repr,
)
def test_faults_of_the_code_keep_their_traceback(fault, tmp_path):
    with pytest.raises(type(fault)) as caught, empty_run(tmp_path / "output"):
        raise fault
    assert caught.value is fault and not (tmp_path / "output").exists()


def empty_run(folder, *flags):
    """A run of a lesson that does nothing."""
    return run.run("99_nothing.py", config.Config, {}, ["--output-dir", str(folder), *flags])


def test_out_of_memory_is_said_in_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop, empty_run(tmp_path):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor with shape[9,9]")
    assert stop.value.code == 2 and "--batch-size" in capsys.readouterr().err


def test_too_few_examples_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop, empty_run(tmp_path) as nothing:
        nothing.require(3, training_pictures=3, test_pictures=2)
    line = capsys.readouterr().err
    assert stop.value.code == 2 and "2 test pictures" in line and "at least 3" in line


def test_a_metric_that_is_not_finite_is_null(tmp_path):
    with empty_run(tmp_path) as nothing:
        nothing.metric("psnr", float("inf"), "dB", (10, 20))
        nothing.metric("loss", float("nan"))
        nothing.metric("fid", 1.5, expected=(1, 2), spread=0.25)
    text = (tmp_path / "99_nothing" / "run.json").read_text()
    assert "Infinity" not in text and "NaN" not in text
    metrics = json.loads(text)["metrics"]
    assert metrics["psnr"]["value"] is None and metrics["loss"]["value"] is None
    assert metrics["fid"] == {"value": 1.5, "unit": "", "expected": [1, 2], "spread": 0.25}


def test_in_a_notebook_main_reads_no_flags(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/site-packages/ipykernel_launcher.py", "-f", "/tmp/kernel-1.json"])
    monkeypatch.setattr(config, "PUBLISHED", tmp_path)
    with run.run("99_nothing.py", config.Config, {"default": {"output_dir": tmp_path}}) as nothing:
        assert nothing.config.preset == "default"
    monkeypatch.setattr(sys, "argv", ["src/99_nothing.py", "--seed", "5"])
    with run.run("99_nothing.py", config.Config, {"default": {"output_dir": tmp_path}}) as nothing:
        assert nothing.config.seed == 5


def test_a_quoted_tilde_is_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse(load_lesson(MLP), "--output-dir", "~/pictures").output_dir == tmp_path / "pictures"
    monkeypatch.setenv("STUDY_DATA_DIR", "~")
    assert parse(load_lesson(MLP)).data_dir == tmp_path
    with pytest.raises(StudyError, match="in full"):
        parse(load_lesson(MLP), "--output-dir", "~no_such_user/x")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_metrics(tmp_path):
    cards = []
    for folder, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        load_lesson(MLP).main(["--preset", "smoke", "--seed", seed, "--output-dir", str(tmp_path / folder)])
        cards.append(read_card(tmp_path / folder, MLP)["metrics"])
    assert cards[0] == cards[1] != cards[2]


def test_ranges_of_tuples_and_options():
    @dataclasses.dataclass(frozen=True)
    class Config(config.Config):
        sizes: tuple[config.Count, ...] = (1, 2)
        share: config.Fraction | None = None

    config.check(Config(sizes=(3,), share=0.5))
    for wrong in (Config(sizes=(3, 0)), Config(share=1.5)):
        with pytest.raises(StudyError):
            config.check(wrong)


def kill_while_it_publishes(tmp_path, name, signal_number):
    """Start a run that stops for a while between two files of `publish`, and send it a signal there."""
    code = f"""
import os, sys, time
sys.path[:0] = [{str(REPOSITORY / "src")!r}, {str(REPOSITORY / "tests")!r}]
from conftest import load_lesson
from lessonkit import run
real, moved = os.replace, []
def slow(source, target):
    if "checkpoints" not in str(target) and len(moved) == 1:
        print("between two files", flush=True)
        time.sleep(60)
    moved.append(target)
    real(source, target)
run.os.replace = slow
load_lesson({name!r}).main(["--preset", "smoke", "--seed", "7", "--output-dir", {str(tmp_path)!r}])
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if "between two files" in line:
            break
    time.sleep(0.2)
    process.send_signal(signal_number)
    process.communicate(timeout=30)
    return process.returncode


@pytest.mark.slow
def test_a_kill_while_writing_leaves_whole_files(tmp_path):
    name = "00_CIFAR10_dataset_preprocessing"
    lesson = load_lesson(name)
    lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path)])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert kill_while_it_publishes(tmp_path, name, signal.SIGKILL) == -signal.SIGKILL
    for path, content in before.items():
        assert path.exists() and path.stat().st_size > 0.5 * len(content)
        if path.suffix == ".png":
            assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), f"{path} is not whole"
    assert json.loads((tmp_path / name / "run.json").read_text())["seed"] == 42, "the card comes last"
    leftovers = list(tmp_path.glob(".partial-*"))
    assert leftovers, "the kill left the hidden folder"
    lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path)])
    assert not list(tmp_path.glob(".partial-*")), "the next run clears it"


def test_a_failing_run_leaves_the_published_files(tmp_path, monkeypatch, capsys):
    name = "00_CIFAR10_dataset_preprocessing"
    lesson = load_lesson(name)
    lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path)])
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    def full_disk(*arguments):
        raise OSError(28, "No space left on device", "somewhere")

    monkeypatch.setattr(lesson, "draw_normalised", full_disk)
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--seed", "7", "--output-dir", str(tmp_path)])
    assert stop.value.code == 2 and "No space left" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_files_that_a_run_no_longer_writes_are_removed(tmp_path):
    name = "00_CIFAR10_dataset_preprocessing"
    lesson = load_lesson(name)
    lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path)])
    card_path = tmp_path / name / "run.json"
    card = json.loads(card_path.read_text())
    (tmp_path / name / "old.png").write_text("a figure of yesterday")
    (tmp_path / "kept.txt").write_text("the reader's own")
    card["files"] += [f"{name}/old.png", "kept.txt", f"{name}/../kept.txt"]
    card_path.write_text(json.dumps(card))
    lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path)])
    assert not (tmp_path / name / "old.png").exists() and (tmp_path / "kept.txt").exists()


def test_a_loss_that_turns_nan_stops_the_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        diverge(tmp_path)
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert "loss turned" in error and "--learning-rate" in error and error.count("\n") == 1


def diverge(tmp_path):
    """A regression whose rate is far too high: the loss overflows within an epoch."""
    from lessonkit import run as lesson
    from lessonkit import training

    import keras
    import numpy as np

    @dataclasses.dataclass(frozen=True)
    class Config(config.Config):
        epochs: config.Count = 50

    with lesson.run("99_diverge.py", Config, {}, ["--output-dir", str(tmp_path)]) as run:
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.SGD(1e4), "mse")
        numbers = np.linspace(1, 9, 64, dtype="float32")[:, None]
        run.fit(model, training.Batches((numbers, numbers), 8, 0))
