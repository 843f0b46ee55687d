"""Figures of many families at once: names beside their dots, and a table of all scores."""

from collections.abc import Mapping, Sequence

from lessonkit.figures import subplots, two_digits

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

HEADER = ("", "lesson", "FID", "precision", "recall", "training", "1,000 samples", "parameters", "bits per pixel")
PLACES = (0, 0.17, 0.235, 0.365, 0.495, 0.62, 0.7, 0.82, 0.915)  # left ends of the columns, as shares of the width
# Where a name may stand: to the right and up, in distances from the middle of its dot; which of its sides is there.
WAYS = [(1, 0, "left"), (-1, 0, "right"), (0, 1.3, "center"), (0, -1.3, "center")]
WAYS += [(right, up * far, side) for far in (1, 2, 3) for right, side in ((1, "left"), (-1, "right")) for up in (1, -1)]


def area(seconds: float) -> float:
    """Area of a dot in square points: it grows with the root, as the seconds differ by a factor of a thousand."""
    return max(140 * seconds**0.5, 12)


def named(row) -> str:
    """The name of a row's family, and its FID to two significant digits."""
    return f"{row.family.name}  {two_digits(row.mean('fid'))}"


def label(figure: Figure, cell, points: Mapping[str, tuple[float, float, str]]) -> None:
    """Write names beside dots, each where it covers least of other names, dots and error bars.

    Args:
        points: by name (x, y, color).
    """
    figure.canvas.draw()  # settles where everything is
    renderer, per_point = figure.canvas.get_renderer(), figure.dpi / 72
    frame, taken, reach = cell.get_window_extent(renderer), [], {}
    for dots in cell.collections:
        if isinstance(dots, LineCollection):
            taken += [Bbox(cell.transData.transform(segment)).padded(1) for segment in dots.get_segments()]
            continue
        for place, size in zip(dots.get_offsets(), np.resize(dots.get_sizes(), len(dots.get_offsets())), strict=True):
            radius = (size / np.pi) ** 0.5  # in points
            reach[tuple(place)] = max(radius, reach.get(tuple(place), 0))
            middle = cell.transData.transform(place)
            taken.append(Bbox([middle - radius * per_point, middle + radius * per_point]))
    for name, (x, y, color) in points.items():
        found = []
        for rank, (right, up, side) in enumerate(WAYS):
            away = reach.get((x, y), 0) + 4
            thread = {"arrowstyle": "-", "color": color, "linewidth": 0.6} if abs(up) > 1.5 else None
            text = cell.annotate(name, (x, y), (right * away, up * away), textcoords="offset points", ha=side)
            text.set(va="center", fontsize=9, color=color, in_layout=False)
            box = text.get_window_extent(renderer)
            outside = box.width * box.height - _common(box, frame)
            found.append((sum(_common(box, other) for other in taken) + 3 * outside + 2 * rank, rank, box, thread))
            text.remove()
        _, rank, box, thread = min(found, key=lambda one: one[:2])
        right, up, side = WAYS[rank]
        offset = {"textcoords": "offset points", "ha": side, "va": "center", "arrowprops": thread}
        cell.annotate(name, (x, y), (right * away, up * away), fontsize=9, color=color, **offset).set_in_layout(False)
        taken.append(box)


def _common(box: Bbox, other: Bbox) -> float:
    """Area that two boxes have in common."""
    both = Bbox.intersection(box, other)
    return 0.0 if both is None else both.width * both.height


def table(rows: Sequence, colors: Mapping[str, str]) -> Figure:
    """A line per family: scores with their spread over the judges, and costs; or how to make what is missing.

    Args:
        rows: as lesson 28 has them. colors: by kind of family.
    """
    title = "All families: mean of the judges ± spread (* trained with the classes)"
    figure, cell = subplots(width=10, height=0.27 * len(rows) + 0.75, title=title)
    cell.set(xlim=(0, 1), ylim=(len(rows) - 0.4, -1.5))
    cell.set_axis_off()
    for place, word in zip(PLACES, HEADER, strict=True):
        cell.text(place, -1, word, fontsize=9, weight="bold", va="center")
    for line, row in enumerate(rows):
        cell.axhline(line - 0.5, color="#dddddd", linewidth=0.7)
        name = row.family.name + ("*" if row.family.labels else "")
        cell.text(0, line, name, fontsize=9, va="center", weight="bold", color=colors[row.family.kind])
        if row.note:
            cell.text(PLACES[1], line, row.note, fontsize=9, va="center", style="italic")
            continue
        words = (row.family.lesson[:2] or "28", *(_score(row, name) for name in ("fid", "precision", "recall")))
        words += (_seconds(row.seconds), _seconds(row.per_1000), _count(row.parameters), row.bits.split(" ")[0])
        for place, word in zip(PLACES[1:], words, strict=True):
            cell.text(place, line, word, fontsize=9, va="center")
    return figure


def _score(row, name: str) -> str:
    value, spread = row.mean(name), row.spread(name)
    digits = 3 if value < 1 else 2 if value < 10 else 1
    return f"{value:.{digits}f}" + ("" if spread is None else f" ± {spread:.{digits}f}")


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2g} s" if value < 10 else f"{value:.0f} s"


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"
