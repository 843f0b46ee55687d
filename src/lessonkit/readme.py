"""`make readme`: writes the measured tables and numbers of both READMEs and of the notes from the run cards.

<!-- card:08_MNIST_autoencoder -->            the table of one lesson, up to <!-- /card -->
<!-- overview -->                             the table of all lessons, up to <!-- /overview -->
<!--v 08_MNIST_autoencoder test_mse_dense .4f-->0.0097<!--/v-->     one number, with a Python format

Instead of a metric the last mark can name the run's `seconds`, the `data` that were used, or the number of `train` and
`test` examples.
"""

import json
import re
import shutil
import sys
from pathlib import Path

from lessonkit.config import PUBLISHED, REPOSITORY, StudyError

NOT_FINITE = "not finite"  # for null, which a card holds in place of infinity or NaN
WORDS = {
    "en": {
        "header": "| metric | value | expected |",
        "expected": "{} to {}",
        "run": "{data} · preset {preset} · seed {seed} · {seconds} s on {device}",
        "overview": "| | lesson | measured | time |",
        "time": "{:.0f} s",
        "real": "real",
        "embedded": "embedded",
        "synthetic": "synthetic",
    },
    "ko": {
        "header": "| 지표 | 값 | 예상 범위 |",
        "expected": "{} ~ {}",
        "run": "{data} · 프리셋 {preset} · 시드 {seed} · {device}에서 {seconds}초",
        "overview": "| | 레슨 | 측정값 | 시간 |",
        "time": "{:.0f}초",
        "real": "실제",
        "embedded": "내장",
        "synthetic": "합성",
    },
}


def read_cards(output_dir: Path = PUBLISHED) -> dict[str, dict]:
    """The published run cards by lesson."""
    return {
        path.parent.name: json.loads(path.read_text(encoding="utf-8")) for path in sorted(output_dir.glob("*/run.json"))
    }


def number(value: float) -> str:
    """Four significant digits; whole numbers in full."""
    if value == int(value) and abs(value) < 1e9:
        return f"{int(value):,}"
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def measured(metric: dict) -> str:
    """The value of a metric with its spread, to two significant digits, and its unit."""
    if metric["value"] is None:
        return NOT_FINITE
    spread = metric.get("spread")
    uncertainty = "" if spread is None else f" ± {number(float(f'{spread:.2g}'))}"
    return f"{number(metric['value'])}{uncertainty} {metric['unit']}".rstrip()


def row(name: str, metric: dict, words: dict[str, str]) -> str:
    """A metric as three cells of a table: its name, what was measured, and its expected range."""
    ends = list(dict.fromkeys(map(number, metric["expected"] or ())))  # one number where both ends are the same
    expected = words["expected"].format(*ends) if len(ends) == 2 else "".join(ends)
    return f"`{name}` | {measured(metric)} | {expected}"


def data_of(card: dict, words: dict[str, str]) -> str:
    """Which data a run used, and which weights."""
    parts = [
        f"{entry['name']} ({words[entry['source']]}, {' + '.join(f'{n:,}' for n in entry['counts'].values())})"
        for entry in card["data"]
    ]
    return ", ".join(parts + [entry["name"] for entry in card["weights"]])


def table(card: dict, words: dict[str, str]) -> str:
    """All metrics of one lesson, and the data, settings and device of its run."""
    rows = [f"| {row(name, metric, words)} |" for name, metric in card["metrics"].items()]
    run = words["run"].format(
        data=data_of(card, words),
        preset=card["preset"],
        seed=card["seed"],
        device=card["device"],
        seconds=number(round(card["seconds"]["total"])),
    )
    return "\n".join(["", words["header"], "|---|---|---|", *rows, "", run, ""])


def overview(cards: dict[str, dict], words: dict[str, str], suffix: str) -> str:
    """One line per lesson: its headline picture, the title of its notes, its first metric, its seconds."""
    rows = []
    for name, card in cards.items():
        notes = f"docs/{name}{suffix}"
        title = (REPOSITORY / notes).read_text(encoding="utf-8").split("\n", 1)[0].removeprefix("# ")
        metric, entry = next(iter(card["metrics"].items()))
        cells = [
            f"[![{name[:2]}](output/{name}.png)]({notes})",
            f"[{title}]({notes})",
            f"`{metric}` {measured(entry)}",
            words["time"].format(card["seconds"]["total"]),
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(["", words["overview"], "|---|---|---|---|", *rows, ""])


def render(text: str, cards: dict[str, dict], korean: bool = False) -> str:
    """Fill in every marked place of a page from the cards.

    Raises:
        StudyError: for a lesson without a card, or a metric that its card does not have.
    """
    words = WORDS["ko" if korean else "en"]

    def card_of(name: str) -> dict:
        if name not in cards:
            raise StudyError(f"no run card of {name}; run the lesson first")
        return cards[name]

    def value(match: re.Match) -> str:
        name, metric, form = match.group(2, 3, 4)
        card = card_of(name)
        values = {key: entry["value"] for key, entry in card["metrics"].items()} | {"seconds": card["seconds"]["total"]}
        for data in card.get("data", [])[:1]:
            values |= {"data": data["name"]} | data["counts"]
        if metric not in values:
            raise StudyError(f"the run card of {name} has no metric {metric}")
        text = NOT_FINITE if values[metric] is None else format(values[metric], form)
        return f"{match.group(1)}{text}<!--/v-->"

    text = re.sub(
        r"(<!-- card:(\w+) -->).*?(<!-- /card -->)",
        lambda match: f"{match.group(1)}\n{table(card_of(match.group(2)), words)}\n{match.group(3)}",
        text,
        flags=re.DOTALL,
    )
    text = re.sub(
        r"(<!-- overview -->).*?(<!-- /overview -->)",
        lambda match: f"{match.group(1)}\n{overview(cards, words, '.ko.md' if korean else '.md')}\n{match.group(2)}",
        text,
        flags=re.DOTALL,
    )
    return re.sub(r"(<!--v (\w+) (\w+) ([^\s]*?)-->).*?<!--/v-->", value, text, flags=re.DOTALL)


def pages() -> list[Path]:
    """Both READMEs and all notes."""
    return sorted([*REPOSITORY.glob("README*.md"), *(REPOSITORY / "docs").glob("*.md")])


def copy_drawn_figures() -> None:
    """Copy lesson 03's figures, which show functions and not a run, to docs/images, where other pages can link them."""
    images = REPOSITORY / "docs" / "images"
    images.mkdir(exist_ok=True)
    name = "03_activation_functions"
    for old in images.glob("03_*.png"):
        old.unlink()
    for figure in [PUBLISHED / f"{name}.png", *sorted((PUBLISHED / name).glob("*.png"))]:
        shutil.copyfile(figure, images / f"{name.split('_')[0]}_{figure.stem.removeprefix('03_')}.png")


def main() -> int:
    """Rewrite every page in which a number changed; 2 if a page refers to a run or a metric that does not exist."""
    cards, status = read_cards(), 0
    copy_drawn_figures()
    for path in pages():
        old = path.read_text(encoding="utf-8")
        try:
            new = render(old, cards, korean=path.name.endswith(".ko.md"))
        except StudyError as problem:
            print(f"readme: {path.relative_to(REPOSITORY)}: {problem}", file=sys.stderr)
            status = problem.status
            continue
        if new != old:
            path.write_text(new, encoding="utf-8")
            print(f"rewrote {path.relative_to(REPOSITORY)}")
    return status


if __name__ == "__main__":
    raise SystemExit(main())
