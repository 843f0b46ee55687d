"""A short run of every lesson that is found in src/: it trains, draws every figure, and leaves a whole card."""

import math
import re

from lessonkit import run as lesson

import numpy as np
import pytest
from conftest import LESSONS, REAL_NAMES, load_lesson, read_card
from matplotlib.text import Text

PARTS = ["lesson", "preset", "config", "seed", "data", "weights", "metrics", "seconds", "device", "versions", "files"]


@pytest.mark.parametrize("name", [path.stem for path in LESSONS])
def test_smoke(name, tmp_path, device, monkeypatch):
    written, save = [], lesson.Run.figure

    def figure(run: lesson.Run, name: str, drawn, headline: bool = False) -> None:
        written.extend([*(text.get_text() for text in drawn.findobj(Text)), run.small_print()])
        save(run, name, drawn, headline)

    monkeypatch.setattr(lesson.Run, "figure", figure)
    load_lesson(name).main(["--preset", "smoke", "--device", device, "--output-dir", str(tmp_path)])
    assert written and not [text for text in written if re.search(REAL_NAMES, text)], "stand-ins have their own names"
    card = read_card(tmp_path, name)
    assert list(card) == PARTS
    assert card["lesson"] == name and card["preset"] == "smoke" and card["config"]["seed"] == 42
    assert card["metrics"]
    for metric, entry in card["metrics"].items():
        assert set(entry) - {"spread"} == {"value", "unit", "expected"}
        assert entry["value"] is not None and math.isfinite(entry["value"]), f"{metric} is not finite"
    assert f"{name}.png" in card["files"]
    for file in card["files"]:
        assert (tmp_path / file).stat().st_size > 0
    assert not list(tmp_path.glob(".partial*")), "nothing half-written stays behind"
    assert card["seconds"]["total"] < 120
    if name in {family.lesson for family in load_lesson("28_FashionMNIST_families").KEPT}:
        assert {"seconds_per_1000_samples", "parameters"} <= set(card["metrics"]), "lesson 28 compares them"
        with np.load(tmp_path / name / "checkpoints" / "generated.npz") as kept:
            assert kept["images"].shape[1:] == (28, 28) and kept["images"].dtype == np.uint8
