"""What turns the notes, as they stand for GitHub, into pages of the site.

The READMEs become the first page, a lesson's page ends with its source, pictures come from output/,
links into the repository lead to pages of the site, and formulas become MathML, which browsers draw without a script.
"""

import html
import re
import shutil
import textwrap
from pathlib import Path

import live
from latex2mathml.converter import convert
from mkdocs.plugins import event_priority

ROOT = Path(__file__).resolve().parents[2]
README = {"index.md": "README.md", "index.ko.md": "README.ko.md"}
WORDS = {
    "en": {"source": "Source", "run": "To run it after `make setup`, or as it stands below:"},
    "ko": {"source": "소스 코드", "run": "`make setup` 뒤에 이렇게 실행한다. 코드는 아래에 그대로 실었다."},
}
UNPUBLISHED = shutil.ignore_patterns("checkpoints", "*.json", "metrics.csv", ".partial*")
BRACKET = r"<mo[^>]*>(?:&#x00028;|&#x0005B;)"
FUNCTION = rf"(<mi>(?:log|exp|sin|cos|tanh|det)</mi>)(?!{BRACKET})"


def on_pre_build(config):
    """Bring together what the site shows: the notes, the READMEs as first pages, and every published picture."""
    pages = Path(config.docs_dir)
    shutil.rmtree(pages)
    shutil.copytree(ROOT / "docs", pages, ignore=shutil.ignore_patterns("site"))
    shutil.copytree(ROOT / "output", pages / "output", ignore=UNPUBLISHED)
    for page, readme in README.items():
        shutil.copyfile(ROOT / readme, pages / page)
    for part in ("extra.css", "iframe-worker.js"):
        shutil.copyfile(ROOT / "docs" / "site" / part, pages / part)


def on_page_markdown(markdown, page, config, files):
    """Links and formulas in the form that MkDocs knows; a lesson's source below its notes."""
    path = page.file.src_uri
    language = "ko" if path.endswith(".ko.md") else "en"
    lesson = Path(path).name.removesuffix(".md").removesuffix(".ko")
    if (ROOT / "src" / f"{lesson}.py").is_file():
        markdown += source(lesson, WORDS[language])
    markdown = re.sub(r"^\[(?:한국어|English)\]\([^)]*\)\n", "", markdown, flags=re.M)  # each page has a switch
    markdown = re.sub(r"\[([^\]]*)\]\((?:\.\./)?tests/[^)]*\)", r"\1", markdown)  # the site does not show the tests
    markdown = re.sub(r"(\]\()(?:\.\./)?(?:docs/)?([^):]*\))", link, markdown)
    return re.sub(r"\$`(.+?)`\$", r"$\1$", markdown)


def link(match: re.Match) -> str:
    """A link of the repository as one of the site: pages without their language, lessons' sources on their pages."""
    begin, target = match.groups()
    target = re.sub(r"\.ko\.md\b", ".md", target)
    target = re.sub(r"^README\.md\b", "index.md", target)
    target = re.sub(r"^src/(\d\d_\w+)\.py\)", r"\1.md#source)", target)
    return begin + target


def source(lesson: str, words: dict[str, str]) -> str:
    """The command and the code of a lesson, as it stands."""
    code = (ROOT / "src" / f"{lesson}.py").read_text(encoding="utf-8").rstrip()
    return f"""

## {words["source"]} {{ #source data-search-exclude }}

{words["run"]}

```sh
.venv/bin/python src/{lesson}.py
```

??? example "src/{lesson}.py"

{textwrap.indent(f"````python{chr(10)}{code}{chr(10)}````", "    ")}
"""


def on_page_content(content, page, config, files):
    """Formulas, which the Markdown extension leaves as TeX, become MathML; marks of live examples become examples."""
    language = "ko" if page.url.startswith("ko/") else "en"
    content = re.sub(
        r"<!-- live: (\w+) -->", lambda match: live.example(match[1], language, "../" * page.url.count("/")), content
    )
    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', formula, content, flags=re.S)


def formula(match: re.Match) -> str:
    r"""\(...\) within a line or \[...\] on lines of its own."""
    tex = html.unescape(match[2]).strip()
    display = "inline" if tex.startswith("\\(") else "block"
    tex = re.sub(r"\\[bB]igg?[lrm]?(?![a-z])", "", tex[2:-2])  # MathML's brackets grow by themselves
    mathml = re.sub(FUNCTION, r"\1<mspace width='0.17em'/>", convert(tex.strip(), display=display))
    return mathml.replace("<math ", '<math tabindex="0" ') if display == "block" else mathml  # scrolls by keyboard, too


def on_post_page(output, page, config):
    """Without the list of languages, for which the theme would ask a server, and with a role that needs no name."""
    output = re.sub(r'<link rel="alternate"[^>]*>', "", output)
    return output.replace('data-md-component="search" role="dialog"', 'data-md-component="search" role="search"')


@event_priority(-200)
def on_post_build(config):
    """The search of a page opened from a folder reads this script: write it when both languages are in the index."""
    folder = Path(config.site_dir) / "search"
    index = (folder / "search_index.json").read_text(encoding="utf-8")
    (folder / "search_index.js").write_text(f"var __index = {index}", encoding="utf-8")
