"""Piano rolls of pieces in four voices, as `lessonkit.music` describes them; rates beside a reference."""

from collections.abc import Mapping, Sequence

from lessonkit import music
from lessonkit.datasets.chorales import VOICES, Chorale
from lessonkit.figures import COLORS, bar_panels, levels, subplots

import numpy as np
from matplotlib.figure import Figure


def draw_roll(axes, pitches: np.ndarray, attacks: np.ndarray, bar: int = 8, first: int = 0, number: int = 1) -> None:
    """A bar per note and a colour per voice; the first whole bar has this number."""
    for voice in reversed(range(len(VOICES))):
        spans = [span for span in music.notes(pitches[:, voice], attacks[:, voice]) if span[2]]
        begins, ends, heights = np.reshape(spans, (-1, 3)).T
        options = {"height": 0.9, "color": COLORS[voice], "edgecolor": "white", "linewidth": 0.7, "zorder": 2}
        axes.barh(heights, ends - begins, left=begins + 0.0, label=VOICES[voice], **options)
    lines = np.arange(-first % bar, len(pitches), bar)
    axes.set_xticks(lines, [str(number + place) for place in range(len(lines))])
    axes.set_yticks([36, 48, 60, 72, 84], ["C2", "C3", "C4", "C5", "C6"])
    sounding = pitches[pitches > 0]
    limits = (sounding.min() - 2, sounding.max() + 2) if len(sounding) else (36, 84)
    axes.set(xlim=(0, len(pitches)), ylim=limits, xlabel="bar", ylabel="pitch")


def legend(figure: Figure, axes) -> None:
    """The four voices by colour, below the figure."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=4)


def piece(pitches: np.ndarray, attacks: np.ndarray, row: int = 64) -> Figure:
    """One piece in 4/4, in rows of so many steps."""
    begins = range(0, len(pitches), row)
    title = f"A chorale of {len(pitches) // 8} bars from the transformer, given nothing but metre and length"
    figure, axes = subplots(len(begins), width=9, height=2.7 * len(begins) + 0.5, title=title, squeeze=False)
    for cell, begin in zip(axes[:, 0], begins, strict=True):
        draw_roll(cell, pitches[begin : begin + row], attacks[begin : begin + row], number=begin // 8 + 1)
        cell.set_xlim(0, min(row, len(pitches)))
    legend(figure, axes[0, 0])
    return figure


def harmonised(bach: tuple | None, harmony: tuple, melody: Chorale) -> Figure:
    """Two harmonies (pitches, attacks) of a melody below each other; Bach's only where the melody is his."""
    pieces = {"Bach's harmony (a test chorale)": bach} if bach else {}
    pieces |= {"The transformer's harmony of the melody": harmony}
    size = {"width": 9, "height": 2.7 * len(pieces) + 0.5}
    figure, axes = subplots(len(pieces), **size, title=f"Melody: {melody.name}", squeeze=False)
    for cell, (name, arrays) in zip(axes[:, 0], pieces.items(), strict=True):
        draw_roll(cell, *arrays, melody.bar // 2, melody.places[0] // 2)
        cell.set_title(name)
    legend(figure, axes[0, 0])
    return figure


def biases(blocks: Sequence[np.ndarray], reach: int = 41) -> Figure:
    """Attention biases (heads, window) of each block over the distance in eighths."""
    title = "Learned attention bias by distance (a bar of 4/4 has 8 eighths)"
    figure, axes = subplots(len(blocks), width=8, height=2.4 * len(blocks) + 0.4, title=title, squeeze=False)
    for number, (cell, block) in enumerate(zip(axes[:, 0], blocks, strict=True)):
        for head, bias in enumerate(block[:, :reach]):
            cell.plot(bias, marker=".", label=f"head {head + 1}")
        cell.set(ylabel=f"block {number + 1}: bias", xticks=range(0, min(reach, block.shape[1]), 8))
        cell.legend(fontsize=7, ncols=4)
    axes[-1, 0].set_xlabel("eighths back (0: the note before the one that is predicted)")
    return figure


def losses(history, baselines: Mapping[str, np.ndarray]) -> Figure:
    """The loss after each epoch beside the levels of baselines, each given by the nats of all test tokens."""
    figure, axes = subplots(width=8.5, height=4.2, title="Nats per token (about half of the tokens say: hold)")
    axes.plot(history.epochs, history["loss"], marker=".", label="training chorales, with dropout")
    axes.plot(history.epochs, history["val_loss"], marker=".", linestyle="--", label="test chorales")
    axes.set(xlabel="epoch", ylabel="nats per token")
    levels(axes, {f"{nats.mean():.3f} {name}": nats.mean() for name, nats in baselines.items()})
    axes.legend()
    return figure


def rules(rates: Mapping[str, Mapping[str, float]]) -> Figure:
    """Rates of `lessonkit.music.broken_rules` by whom; Bach's are the last."""
    labels = ("voice crossings (% of pairs)", "parallel fifths (% of changes)", "parallel octaves (% of changes)")
    title = "Broken rules of voice leading (dashed: Bach's own rate)"
    return bar_panels({name: list(row.values()) for name, row in rates.items()}, labels, title)
