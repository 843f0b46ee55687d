"""The notebooks: made from the scripts and the notes, and run as a reader runs them."""

import json
import re

from lessonkit import notebooks

import nbclient
import nbformat
import pytest
from conftest import LESSONS, REPOSITORY, read_card


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
    assert headings[0] == "## Parameters" and headings[-3:-1] == ["## main", "## Pictures"]


@pytest.mark.parametrize("script", LESSONS, ids=[path.stem for path in LESSONS])
def test_a_notebook_shows_the_whole_notes_with_latex_and_working_links(script):
    page = (REPOSITORY / "docs" / f"{script.stem}.md").read_text(encoding="utf-8")
    text = "\n".join(cell.source for cell in notebooks.notebook(script).cells if cell.cell_type == "markdown")
    assert "$`" not in text and "`$" not in text and "```math" not in text
    assert len(re.findall(r"^\$\$$", text, re.MULTILINE)) == 2 * page.count("```math")
    for heading in re.findall(r"^## .*$", page, re.MULTILINE):
        assert heading in text
    for link in re.findall(r"\]\((?!http)([^)#]+)", text):
        assert (notebooks.FOLDER / link).resolve().exists(), link
    assert text.index("## main") < text.index("## Traps")


@pytest.mark.slow
@pytest.mark.parametrize("number", ["04", *(pytest.param(number, marks=pytest.mark.slow) for number in ("03", "05"))])
def test_a_notebook_runs_and_shows_its_pictures(number, tmp_path):
    script = next(path for path in LESSONS if path.stem.startswith(number))
    flags = ["--preset", "smoke", "--device", "cpu", "--output-dir", str(tmp_path / "output")]
    book = notebooks.notebook(script, flags)
    client = nbclient.NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    client.execute()
    card = read_card(tmp_path / "output", script.stem)
    shown = [output for output in book.cells[-2].outputs if output.output_type == "display_data"]
    assert len(shown) == sum(file.endswith((".png", ".gif")) for file in card["files"]) > 0
    assert card["preset"] == "smoke" and json.dumps(book)
