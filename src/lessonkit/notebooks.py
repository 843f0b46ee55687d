"""`make notebooks`: every lesson as a notebook in build/notebooks, its `# %%` cells under headings.

The lesson's notes page (docs/NN_*.md), whose formulas are LaTeX, takes the place of the script's docstring: the
explanation comes before the code, the pitfalls and experiments come after the pictures of the run.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from lessonkit.config import REPOSITORY

import jupytext
import nbformat

FOLDER = REPOSITORY / "build" / "notebooks"
UP = "../../"  # from FOLDER to the repository
FLAGS = """\
import sys

FLAGS = {flags}  # what you would write after the script's name, such as ["--epochs", "3"]
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
AFTER_THE_CODE = re.compile(r"^(?=## (?:What surprised us|Traps))", re.MULTILINE)


def notes(page: Path) -> tuple[str, str]:
    """The text of a notes page as a notebook shows it: (before the code, after it).

    The title and the links to the script and to the other language are left out, GitHub's own marks for formulas
    become those of Jupyter, and links are relative to FOLDER.
    """
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"\A# .*\n|^(\[한국어\]|Script: ).*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^```math\n(.*?)\n```$", r"$$\n\1\n$$", text, flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"\$`(.*?)`\$", r"$\1$", text)
    text = text.replace("](../", f"]({UP}")
    text = re.sub(r"\]\((?=[\w./-]+\.md)(?!\.\.)", f"]({UP}docs/", text)
    before, *after = AFTER_THE_CODE.split(text, maxsplit=1)
    return before.strip(), "".join(after).strip()


def notebook(script: Path, flags: Sequence[str] = ()) -> nbformat.NotebookNode:
    """The notebook of a lesson: notes, flags, code by section, the pictures, and the rest of the notes."""
    new = nbformat.v4
    first, *sections = jupytext.read(script).cells
    title, imports = re.fullmatch(r'"""(.*?)\n.*?"""(.*)', first.source, re.DOTALL).groups()
    setting = FLAGS.format(flags=f"[{', '.join(map(repr, flags))}]", script=str(script), source=str(script.parent))
    before, after = notes(REPOSITORY / "docs" / f"{script.stem}.md")
    cells = [new.new_markdown_cell(f"# {title}\n\n{before}")]
    cells += [new.new_code_cell(setting), new.new_code_cell(imports.strip())]
    for section in sections:
        cells.append(new.new_markdown_cell(f"## {section.metadata['title']}"))
        cells.append(new.new_code_cell(section.source.strip()))
    cells += [new.new_markdown_cell("## Pictures"), new.new_code_cell(PICTURES.format(name=script.stem))]
    cells.append(new.new_markdown_cell(after))
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
