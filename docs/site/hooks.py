"""What turns the notes, as they stand for GitHub, into pages of the site.

The READMEs become the first page, a lesson's page ends with its source, pictures come from output/,
links into the repository lead to pages of the site, and formulas become MathML, which browsers draw without a script.
"""

import html
import re
import shutil
import textwrap
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.plugins import event_priority

ROOT = Path(__file__).resolve().parents[2]
README = {"index.md": "README.md", "index.ko.md": "README.ko.md"}
WORDS = {
    "en": {"source": "Source", "run": "To run it after `make setup`, or as it stands below:"},
    "ko": {"source": "소스 코드", "run": "`make setup` 뒤에 이렇게 실행한다. 코드는 아래에 그대로 실었다."},
}
LIVE = {
    "plane": {
        "en": (
            "Touch, drag, or use the arrow keys: your browser decodes the point on the plane of latent codes. "
            "The circles are one, two and three standard deviations of the prior.",
            "plane of latent codes",
            "the decoded digit",
        ),
        "ko": (
            "누르거나 끌거나 화살표 키를 쓴다. 브라우저가 잠재 평면의 점을 바로 디코딩한다. "
            "원은 사전 분포의 표준 편차 1, 2, 3배다.",
            "잠재 평면",
            "디코딩한 숫자",
        ),
        "form": """<canvas width="280" height="280" tabindex="0" role="application" aria-label="{1}"></canvas>
<canvas width="280" height="280" role="img" aria-label="{2}"></canvas>
<output></output>""",
        "scripts": ("10",),
    },
    "walk": {
        "en": (
            "The slider moves along a great circle between two random latents. The generator runs in your browser.",
            "position on the path",
            "the generated garment",
            "other latents",
        ),
        "ko": (
            "슬라이더는 무작위 잠재 벡터 두 개를 잇는 대원을 따라 움직인다. 생성기는 이 브라우저에서 실행된다.",
            "경로 위의 위치",
            "생성된 옷",
            "다른 잠재 벡터",
        ),
        "form": """<canvas width="280" height="280" role="img" aria-label="{2}"></canvas>
<label>{1} <input type="range" min="0" max="100" value="0"></label>
<button class="md-button">{3}</button>""",
        "scripts": ("13",),
    },
}
UNPUBLISHED = shutil.ignore_patterns("checkpoints", "*.json", "*.csv", ".partial*")
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
        r"<!-- live: (\w+) -->", lambda match: live(match[1], language, "../" * page.url.count("/")), content
    )
    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', formula, content, flags=re.S)


def live(name: str, language: str, root: str) -> str:
    """The canvases and controls of a live example, and the scripts that it needs."""
    example = LIVE[name]
    if not all((ROOT / "docs" / "live" / f"{weights}.js").is_file() for weights in example["scripts"]):
        return ""  # until `make site-weights`
    files = ["engine", *example["scripts"], "examples"]
    scripts = "".join(f'<script src="{root}live/{file}.js"></script>' for file in files)
    form = example["form"].format(*example[language])
    return f'<div class="live" data-live="{name}">{form}<p>{example[language][0]}</p></div>{scripts}'


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
