"""Figures of diffusion: noise levels, pictures on their way into noise and out of it, holes that were filled."""

from collections.abc import Mapping, Sequence

from lessonkit.figures import image_grid, subplots

import numpy as np
from matplotlib.figure import Figure


def levels(history, schedules: Mapping[str, np.ndarray], times: Sequence[int], errors, level, title: str) -> Figure:
    """The signal in x_t by schedule; the loss by training step; the error on test images by time, in three units.

    Args:
        schedules: alpha_bar (T + 1,) by name.
        errors: mean squared error of the picture (n,) at the times (n,), where alpha_bar is `level` (n,).
    """
    figure, (left, middle, right) = subplots(1, 3, width=11, height=3.4, title=title)
    for (name, alpha_bar), style in zip(schedules.items(), ("-", "--"), strict=True):
        left.plot(np.sqrt(alpha_bar), style, label=name)
    left.set(xlabel="time t: 0 picture, T noise", ylabel="signal in x_t: sqrt(alpha_bar)")
    middle.plot(history.epochs, history["loss"])
    middle.set(xlabel="step", ylabel="loss (per pixel)", yscale="log")
    weights = {"v": 1 / (1 - level), "noise": level / (1 - level), "picture": np.ones(len(level))}
    for (name, weight), style in zip(weights.items(), ("o-", "s--", "^:"), strict=True):
        right.plot(times, weight * errors, style, markersize=4, label=f"of {name}")
    right.set(xlabel="time t", ylabel="squared error on test images", yscale="log", ylim=(1e-4, 2))
    for cell in (left, right):
        cell.legend(fontsize=8)
    return figure


def there_and_back(there: Sequence[tuple], back: Sequence[tuple], title: str, columns: int = 9) -> Figure:
    """Two pictures on their way into noise; three out of it, under each the estimate of the result at that moment.

    Args:
        there: (time, pictures (n, height, width)) from picture to noise.
        back: (time, pictures, estimates of the result) from noise to picture.
    """
    into, out = (
        [way[place] for place in np.linspace(0, len(way) - 1, min(columns, len(way))).round().astype(int)]
        for way in (there, back)
    )
    rows, labels, captions = [], [], []
    for row in range(2):
        rows.append([pictures[row] for _, pictures in into])
        labels.append("forward")
        captions.append([f"t = {time}" if row == 0 else "" for time, _ in into])
    for row in range(3):
        rows += [[state[part][row] for state in out] for part in (1, 2)]
        labels += ["backward", "its estimate"]
        captions += [[f"t = {time}" if row == 0 else "" for time, _, _ in out], [""] * len(out)]
    return image_grid(rows, title, labels, captions, size=0.66)


def fillings(images: np.ndarray, visible: np.ndarray, filled: np.ndarray, nearest: np.ndarray, title: str) -> Figure:
    """Images, what was visible of them, three fillings of the hole, the mean of all, and the best guess of a copier.

    Args:
        images, nearest: (n, height, width) in [0, 1]; visible: bool (height, width); filled: (draws, n, height, width).
    """
    rows = [images, np.where(visible, images, 0.5), *filled[:3], filled.mean(0), nearest]
    labels = ["test", "given", *(f"filled, {draw}" for draw in range(1, len(filled[:3]) + 1)), "mean", "nearest"]
    return image_grid([row[:10] for row in rows], title, labels, size=0.7)
