"""The notebooks: made from the scripts, and run as a reader runs them."""

import json

from lessonkit import notebooks

import nbclient
import nbformat
import pytest
from conftest import LESSONS, read_card


@pytest.mark.parametrize("script", LESSONS, ids=[path.stem for path in LESSONS])
def test_a_notebook_holds_the_whole_lesson(script, tmp_path):
    book = notebooks.notebook(script)
    nbformat.validate(book)
    code = "\n".join(cell.source for cell in book.cells if cell.cell_type == "code")
    compile(code, script.name, "exec")
    text = script.read_text(encoding="utf-8")
    for line in text.split('"""', 2)[2].splitlines():
        assert line.startswith("# %%") or line in code
    assert book.cells[0].source.startswith(f"# {text[3:].splitlines()[0]}")
    headings = [cell.source for cell in book.cells if cell.source.startswith("## ")]
    assert headings[0] == "## Parameters" and headings[-2:] == ["## main", "## Pictures"]


@pytest.mark.parametrize("number", ["03", "04", "05"])
def test_a_notebook_runs_and_shows_its_pictures(number, tmp_path):
    script = next(path for path in LESSONS if path.stem.startswith(number))
    flags = ["--preset", "smoke", "--device", "cpu", "--output-dir", str(tmp_path / "output")]
    book = notebooks.notebook(script, flags)
    client = nbclient.NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    card = read_card(tmp_path / "output", script.stem)
    shown = [output for output in book.cells[-1].outputs if output.output_type == "display_data"]
    assert len(shown) == sum(file.endswith((".png", ".gif")) for file in card["files"]) > 0
    assert card["preset"] == "smoke" and json.dumps(book)
