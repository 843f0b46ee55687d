"""Figures of generated images: progress over training, nearest training images, distance to real images."""

import itertools
from collections.abc import Mapping, Sequence

from lessonkit import metrics
from lessonkit.figures import COLORS, image_grid, show_image, subplots, tile, two_digits

import numpy as np
from matplotlib.figure import Figure


def quality(scores, things: str, untrained: float | None = None) -> str:
    """The Fréchet distance for a title, with that of test images and, if given, that before the training."""
    before = "" if untrained is None else f", before training: {untrained:.0f}"
    return f"FID {two_digits(scores.fid)} (test {things}: {two_digits(scores.fid_floor)}{before})"


def progress(frames: Sequence[np.ndarray], steps: Sequence[int], height: int, title: str = "") -> Figure:
    """The first row of pictures, so many pixels high, of up to six frames: the same latents, later and later.

    Args:
        frames: uint8 sheets (height, width[, 3]) made by `figures.tile`.
        steps: training steps taken when each frame was drawn.
    """
    last = len(frames) - 1
    chosen = sorted({0, *(last // 2**halvings for halvings in range(5))})
    row_height = 7.2 * height / frames[0].shape[1] + 0.1
    title = title or "The same latents at later and later steps of the training"
    figure, axes = subplots(len(chosen), width=8, height=row_height * len(chosen) + 0.4, title=title, squeeze=False)
    for cell, frame in zip(axes[:, 0], chosen, strict=True):
        show_image(cell, frames[frame][:height])
        cell.set_ylabel(f"step {steps[frame]:,}", rotation=0, ha="right", va="center")
    return figure


def nearest(images: np.ndarray, train: np.ndarray, scores, thing: str) -> Figure:
    """Ten generated images above the nearest training images: does the generator memorise?

    Args:
        images, train: (n, height, width[, channels]), both uint8 or both scaled to [0, 1].
        scores: judges.Scores, for the mean distances in the title.
        thing: what one image shows, such as "digit".
    """
    indices, distances = metrics.nearest(images[:10], train)
    captions = [[""] * len(indices), [f"{value:.3f}" for value in distances]]
    title = (
        f"Mean distance to the nearest training {thing} (RMS of pixels): generated "
        f"{scores.nearest_generated:.3f}, test {scores.nearest_test:.3f}"
    )
    return image_grid([images[:10], train[indices]], title, ["generated", "nearest of training"], captions)


def distance(cell, steps: Sequence[int], values: Sequence[float], floor: float, things: str) -> None:
    """Draw KID over training steps into axes, on a logarithmic scale; `floor` is that of test images.

    Unbiased estimates may fall below zero, where a logarithmic scale has no place: such points are left out.
    """
    cell.plot(steps, np.where(np.asarray(values) > 0, values, np.nan), marker=".", color=COLORS[2], label="generated")
    if floor > 0:
        cell.axhline(floor, color="black", linestyle=":", linewidth=1, label=f"test {things}")
    cell.set(ylabel=f"KID to training {things}", yscale="log", xlabel="step")
    cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)


def evaluations(table: Mapping[str, Mapping[int, float]], count: int, floor: float, things: str) -> Figure:
    """FID against evaluations of the network, a line per sampler: {"ddim": {5: 3.1, 10: 2.2}}.

    Args:
        count: images per point; floor: the FID of as many test images.
    """
    best = {name: min(values.values()) for name, values in table.items()}
    title = f"What more evaluations are worth: FID of {count:,} {things}, {two_digits(min(best.values()))} at best"
    figure, cell = subplots(width=7.5, height=3.5, title=title)
    for (name, values), style in zip(table.items(), itertools.cycle(("o-", "s--", "^:")), strict=False):
        cell.plot(list(values), list(values.values()), style, label=f"{name}: {two_digits(best[name])} at best")
    cell.axhline(floor, color="black", linestyle=":", linewidth=1, label=f"as many test {things}: {two_digits(floor)}")
    ticks = sorted({number for values in table.values() for number in values})
    cell.set(
        xlabel=f"evaluations of the network per {things.removesuffix('s')}", ylabel="FID", xscale="log", yscale="log"
    )
    cell.set_xticks(ticks, ticks)
    cell.minorticks_off()
    cell.legend(fontsize=9)
    return figure


def losses(history, times: Sequence[float], by_time: Sequence[float], xlabel: str, title: str, things: str) -> Figure:
    """The loss by training step, and beside it the loss on test images by time or level of noise."""
    figure, (left, right) = subplots(1, 2, width=8.5, height=3.3, title=title)
    left.plot(history.epochs, history["loss"])
    left.set(xlabel="step", ylabel="loss (squared error per pixel)", yscale="log")
    right.plot(times, by_time, marker=".", color=COLORS[1])
    right.set(xlabel=xlabel, ylabel=f"loss on test {things}", ylim=(0, None))
    return figure


def guidance(table: Mapping[float, object], images: Mapping[float, np.ndarray], count: int, things: str) -> Figure:
    """FID, precision, recall and label accuracy against the guidance's weight, over a row of images for every weight.

    Args:
        table: judges.Scores by weight; images: (n, height, width) in [0, 1] by weight; count: images per score.
    """
    best = min(table, key=lambda weight: table[weight].fid)
    fid = two_digits(table[best].fid)
    title = f"Guidance, clearer but less diverse: FID of {count:,} {things}, {fid} at w = {best:g}"
    figure, axes = subplots(2, 1, width=8, height=5.2, title=title, height_ratios=(1.3, 1))
    cell, second = axes[0], axes[0].twinx()
    weights = list(table)
    for name, style in (("precision", "o-"), ("recall", "s--"), ("label_accuracy", "^:")):
        cell.plot(weights, [getattr(table[w], name) for w in weights], style, label=name.replace("_", " "))
    second.plot(weights, [table[w].fid for w in weights], "d-.", color="black", label="FID (right axis)")
    cell.set(xlabel="w", ylabel="share", ylim=(0, 1.02))
    second.set(ylabel="FID", yscale="log")
    second.grid(False)
    lines = [*cell.get_lines(), *second.get_lines()]
    cell.legend(lines, [line.get_label() for line in lines], ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    sheet = tile(np.concatenate([images[w] for w in weights]), columns=20, gap=1)
    show_image(axes[1], sheet)
    axes[1].set_yticks((np.arange(len(weights)) + 0.5) * sheet.shape[0] / len(weights), [f"w = {w:g}" for w in weights])
    return figure
