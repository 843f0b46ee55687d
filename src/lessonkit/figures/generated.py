"""Figures of generated images: progress over training, nearest training images, distance to real images."""

from collections.abc import Sequence

from lessonkit import metrics
from lessonkit.figures import COLORS, image_grid, show_image, subplots

import numpy as np
from matplotlib.figure import Figure


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
