"""`make notebooks`: every lesson as a notebook in build/notebooks, its `# %%` cells under headings.

In front stands a cell with the flags, and behind the last one a cell that shows the pictures of the run.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from lessonkit.config import REPOSITORY

import jupytext
import nbformat

FOLDER = REPOSITORY / "build" / "notebooks"
FLAGS = """\
import sys

FLAGS = {flags}  # what you would write behind the script's name, such as ["--epochs", "3"]
__file__ = {script!r}
sys.path.insert(0, {source!r})
sys.argv = [__file__, *FLAGS]"""
PICTURES = """\
import json

from IPython.display import Image, display

folder = config.parse(Config, PRESETS, FLAGS, "", "").output_dir
card = json.loads((folder / {name!r} / "run.json").read_text(encoding="utf-8"))
for file in card["files"]:
    if file.endswith((".png", ".gif")):
        display(Image(folder / file))"""


def notebook(script: Path, flags: Sequence[str] = ()) -> nbformat.NotebookNode:
    """The notebook of a lesson: its docstring as text, then flags, code by section, and the pictures."""
    new = nbformat.v4
    first, *sections = jupytext.read(script).cells
    title, text, imports = re.fullmatch(r'"""(.*?)\n(.*?)"""(.*)', first.source, re.DOTALL).groups()
    setting = FLAGS.format(flags=f"[{', '.join(map(repr, flags))}]", script=str(script), source=str(script.parent))
    cells = [new.new_markdown_cell(f"# {title}\n\n```text\n{text.strip()}\n```")]
    cells += [new.new_code_cell(setting), new.new_code_cell(imports.strip())]
    for section in sections:
        cells.append(new.new_markdown_cell(f"## {section.metadata['title']}"))
        cells.append(new.new_code_cell(section.source.strip()))
    cells += [new.new_markdown_cell("## Pictures"), new.new_code_cell(PICTURES.format(name=script.stem))]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return new.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def main() -> None:
    """Write the notebooks of all lessons."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for script in sorted((REPOSITORY / "src").glob("[0-9][0-9]_*.py")):
        nbformat.write(notebook(script), FOLDER / f"{script.stem}.ipynb")
    print(f"wrote {len(list(FOLDER.glob('*.ipynb')))} notebooks to {FOLDER.relative_to(REPOSITORY)}")


if __name__ == "__main__":
    main()
