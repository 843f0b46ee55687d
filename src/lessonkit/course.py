"""Progress of `make all`: the number of the lesson, the time left, and at the end a table of all results.

    python -m lessonkit.course begin LESSON     prints the number of LESSON and about how long the rest will take
    python -m lessonkit.course table            prints the closing table; exit status 1 if a lesson failed

make keeps a stamp in build/stamps for every lesson that succeeded; a lesson without one has not run yet, or failed.
make turns the exit status 1 of the table into its own status for a failed command, 2.
"""

import csv
import sys
from pathlib import Path

from lessonkit.config import PUBLISHED, REPOSITORY
from lessonkit.readme import measured, number, read_cards

from rich.console import Console
from rich.table import Table

STAMPS = REPOSITORY / "build" / "stamps"
BEGUN = REPOSITORY / "build" / "begun.csv"  # lesson, the seconds in the card of its previous run


def lessons() -> list[str]:
    """The names of all lessons, in order."""
    return sorted(path.stem for path in (REPOSITORY / "src").glob("[0-9][0-9]_*.py"))


def time_left(seconds: dict[str, float], begun: dict[str, float], to_come: list[str]) -> float | None:
    """Seconds that the remaining lessons will take: those of their previous runs, scaled to the speed seen so far.

    Args:
        seconds: from each lesson's present card; the cards of the finished lessons in `begun` were written by this run.
        begun: what the cards said before this run.
        to_come: lessons without a stamp.

    Returns None if one of the remaining lessons has no card.
    """
    finished = [name for name in begun if name in seconds and name not in to_come]
    before = sum(begun[name] for name in finished)
    pace = sum(seconds[name] for name in finished) / before if before else 1.0
    if any(name not in seconds for name in to_come):
        return None
    return pace * sum(begun.get(name, seconds[name]) for name in to_come)


def begin(lesson: str, output_dir: Path = PUBLISHED) -> str:
    """The line that is printed before a lesson starts."""
    names = lessons()
    seconds = {name: card["seconds"]["total"] for name, card in read_cards(output_dir).items()}
    begun = {}
    if BEGUN.exists():
        with BEGUN.open(encoding="utf-8", newline="") as file:
            begun = {name: float(value) for name, value in csv.reader(file)}
    to_come = [name for name in names if not (STAMPS / name).exists()]
    left = time_left(seconds, begun, to_come)
    if lesson in seconds:
        with BEGUN.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerow([lesson, seconds[lesson]])
    when = "" if left is None else f", about {max(1, round(left / 60))} min left in total"
    return f"\nlesson {names.index(lesson) + 1} of {len(names)}: {lesson}{when}"


def verdict(metric: dict) -> str:
    """Is a measured value within its expected range?"""
    if metric["expected"] is None:
        return "no range for these settings"
    low, high = metric["expected"]
    within = metric["value"] is not None and low <= metric["value"] <= high
    return f"{'in' if within else 'OUT OF'} {number(low)} to {number(high)}"


def table(output_dir: Path = PUBLISHED) -> tuple[Table, list[str]]:
    """The closing table, and the names of the lessons that failed."""
    cards, failed = read_cards(output_dir), []
    rows = Table("lesson", "seconds", "metric", "value", "expected", "others out of range")
    for name in lessons():
        if not (STAMPS / name).exists() or name not in cards:
            failed.append(name)
            rows.add_row(name, "", "failed", "", "", "")
            continue
        metrics = cards[name]["metrics"]
        (first, metric), *others = metrics.items()
        out = [other for other, its in others if verdict(its).startswith("OUT")]
        seconds = f"{cards[name]['seconds']['total']:.0f}"
        rows.add_row(name, seconds, first, measured(metric), verdict(metric), ", ".join(out))
    total = sum(cards[name]["seconds"]["total"] for name in lessons() if name not in failed)
    rows.add_section()
    rows.add_row("all", f"{total:.0f}", "", "", "", "")
    return rows, failed


def main(arguments: list[str]) -> int:
    """See the module's docstring."""
    if arguments[0] == "begin":
        print(begin(arguments[1]), flush=True)
        return 0
    rows, failed = table()
    Console(width=None if sys.stdout.isatty() else 150).print(rows)
    for name in failed:
        print(
            f"make all: {name} failed; see its message above, and run it again: make {name.split('_')[0]}",
            file=sys.stderr,
        )
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
