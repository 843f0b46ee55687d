"""`make all`: the order, the time left, the closing table, and a lesson that fails; and how values are written."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from lessonkit import course, readme

import pytest
from conftest import REPOSITORY

LESSON = """import json, pathlib, sys
folder = pathlib.Path("output/{name}")
print("running {name}")
if pathlib.Path("broken/{name}").exists():
    sys.exit("{name}: something is wrong")
folder.mkdir(parents=True, exist_ok=True)
metrics = dict(loss=dict(value={value}, unit="nats", expected=[1, 2]))
card = dict(metrics=metrics, seconds=dict(total=30.0))
(folder / "run.json").write_text(json.dumps(card))
"""
VALUES = {"00_first": 1.5, "01_second": 1.25, "02_third": 7.0}


@pytest.fixture
def small_repository(tmp_path):
    """The Makefile and lessonkit, with three lessons of a few lines."""
    shutil.copytree(REPOSITORY / "src" / "lessonkit", tmp_path / "src" / "lessonkit")
    for name, value in VALUES.items():
        (tmp_path / "src" / f"{name}.py").write_text(LESSON.format(name=name, value=value))
    for name in ("Makefile", "requirements.txt"):
        shutil.copyfile(REPOSITORY / name, tmp_path / name)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    python = tmp_path / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    os.utime(tmp_path / "requirements.txt", (0, 0))
    (tmp_path / ".venv" / "installed").touch()
    (tmp_path / "broken").mkdir()
    return tmp_path


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    command = ["make", "all", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60)


def test_all_lessons_then_a_table_then_nothing_left_to_do(small_repository):
    done = make(small_repository)
    assert done.returncode == 0, done.stderr
    assert [done.stdout.index(f"running {name}") for name in VALUES] == sorted(
        done.stdout.index(f"running {name}") for name in VALUES
    )
    assert "lesson 2 of 3: 01_second" in done.stdout
    rows = [line for line in done.stdout.splitlines() if "│" in line]
    assert "in 1 to 2" in rows[0] and "OUT OF 1 to 2" in rows[2] and "90" in rows[3]
    again = make(small_repository)
    assert again.returncode == 0 and "running" not in again.stdout and "in 1 to 2" in again.stdout
    other = make(small_repository, "DATA=embedded")
    assert other.stdout.count("running") == 3, "other settings make every lesson run again"


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_a_lesson_that_fails_is_named_and_the_others_still_run(small_repository, jobs):
    (small_repository / "broken" / "01_second").touch()
    done = make(small_repository, jobs)
    assert done.returncode == 2, "make's own status for a command that failed"
    assert all(f"running {name}" in done.stdout for name in VALUES)
    assert "make all: 01_second failed" in done.stderr and "make 01" in done.stderr
    assert "00_first failed" not in done.stderr and "02_third failed" not in done.stderr
    (small_repository / "broken" / "01_second").unlink()
    mended = make(small_repository, jobs)
    assert mended.returncode == 0 and mended.stdout.count("running") == 1


@pytest.mark.parametrize("jobs", ["-j1", "-j2"])
def test_lesson_28_runs_after_what_it_reads_and_without_what_failed(small_repository, jobs):
    for name in ("20_reads", "28_FashionMNIST_families"):
        (small_repository / "src" / f"{name}.py").write_text(LESSON.format(name=name, value=1.5))
    (small_repository / "broken" / "20_reads").touch()
    done = make(small_repository, jobs)
    assert done.returncode == 2 and "make all: 20_reads failed" in done.stderr
    assert done.stdout.count("running 28_FashionMNIST_families") == 1 and "28_FashionMNIST_families" not in done.stderr
    (small_repository / "broken" / "20_reads").unlink()
    mended = make(small_repository, jobs)
    assert mended.returncode == 0
    assert mended.stdout.index("running 20_reads") < mended.stdout.index("running 28_FashionMNIST_families")


def test_time_left_follows_the_pace_of_this_machine():
    seconds = {"a": 20.0, "b": 60.0, "c": 100.0}  # a and b were renewed by this run, c is of an earlier one
    begun = {"a": 10.0, "b": 30.0, "c": 100.0}
    assert course.time_left(seconds, begun, ["c"]) == pytest.approx(200)
    assert course.time_left({"c": 100.0}, {}, ["c"]) == pytest.approx(100)
    assert course.time_left({"a": 1.0}, {}, ["a", "never ran"]) is None


def test_the_table_tells_measures_that_are_out_of_range(monkeypatch, tmp_path):
    monkeypatch.setattr(course, "STAMPS", tmp_path / "stamps")
    monkeypatch.setattr(course, "lessons", lambda: ["00_first"])
    (tmp_path / "stamps").mkdir()
    (tmp_path / "stamps" / "00_first").touch()
    metrics = {"one": {"value": 1, "unit": "", "expected": None}, "two": {"value": 3, "unit": "", "expected": [4, 5]}}
    (tmp_path / "00_first").mkdir()
    (tmp_path / "00_first" / "run.json").write_text(json.dumps({"metrics": metrics, "seconds": {"total": 1.0}}))
    table, failed = course.table(tmp_path)
    assert failed == []
    assert [list(column.cells)[0] for column in table.columns][-2:] == ["no range for these settings", "two"]


@pytest.mark.parametrize(
    "metric, cells",
    [
        ({"value": 1.4953, "unit": "(10,000 digits)", "expected": [0.5, 3]}, "1.495 (10,000 digits) | 0.5 to 3"),
        ({"value": 1.4953, "unit": "", "expected": None, "spread": 0.0234}, "1.495 ± 0.023 | "),
        ({"value": -20038.4, "unit": "nats", "expected": None, "spread": 152.0}, "-20,038 ± 150 nats | "),
        ({"value": 646260, "unit": "", "expected": [646260, 646260]}, "646,260 | 646,260"),
        ({"value": None, "unit": "dB", "expected": [5.1, 5.3]}, "not finite | 5.1 to 5.3"),
    ],
)
def test_a_metric_is_written_with_its_spread_and_its_range(metric, cells):
    assert readme.row("name", metric, readme.WORDS["en"]) == f"`name` | {cells}"


def test_a_value_that_is_not_finite_is_out_of_its_range_and_can_be_written():
    assert course.verdict({"value": None, "expected": [1, 2]}) == "OUT OF 1 to 2"
    cards = {"08_x": {"metrics": {"psnr": {"value": None}}, "seconds": {"total": 1.0}}}
    assert readme.render("<!--v 08_x psnr .1f-->7<!--/v-->", cards) == "<!--v 08_x psnr .1f-->not finite<!--/v-->"


def test_a_page_can_name_the_data_and_the_number_of_examples():
    data = [{"name": "drawn faces", "counts": {"train": 8000, "test": 1000}}]
    cards = {"11_x": {"metrics": {}, "seconds": {"total": 1.0}, "data": data}}
    page = readme.render("<!--v 11_x train ,-->7<!--/v--> <!--v 11_x data s-->?<!--/v-->", cards)
    assert page == "<!--v 11_x train ,-->8,000<!--/v--> <!--v 11_x data s-->drawn faces<!--/v-->"
