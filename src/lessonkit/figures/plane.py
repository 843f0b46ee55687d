"""Points that move through a plane, and the velocities that move them."""

from collections.abc import Callable

from lessonkit.figures import COLORS, animate, subplots

import numpy as np
from matplotlib.figure import Figure

LIMITS = {"xlim": (-2.8, 2.8), "ylim": (-2.8, 2.8), "aspect": "equal", "xticks": [], "yticks": []}


def draw(frames: np.ndarray, velocity: Callable, title: str) -> Figure:
    """Points at four times between 0 and 1, and arrows.

    Args:
        frames: points (times, count, 2), the first at time 0 and the last at time 1.
        velocity: (points (n, 2), time) -> (n, 2).
    """
    figure, axes = subplots(1, 4, width=9, height=2.7, title=title)
    ticks = np.linspace(-2.6, 2.6, 14, dtype="float32")
    grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    last = len(frames) - 1
    for cell, place in zip(axes, (0, last // 3, 2 * last // 3, last), strict=True):
        cell.scatter(*frames[place].T, s=2, color=COLORS[0], alpha=0.5)
        if place < last:  # afterwards nothing moves
            arrows = np.asarray(velocity(grid, place / last))
            cell.quiver(*grid.T, *arrows.T, color=COLORS[1], angles="xy", scale=35, width=0.006)
        cell.set(title=f"t = {place / last:.2f}", **LIMITS)
    return figure


def frames_of(frames: np.ndarray) -> list[np.ndarray]:
    """Frames of a GIF, uint8, of every second of the frames (times, count, 2)."""
    figure, cell = subplots(width=3.2, height=3.4)
    dots = cell.scatter(*frames[0].T, s=3, color=COLORS[0])
    cell.set(**LIMITS)

    def show(place):
        dots.set_offsets(frames[place])
        cell.set_title(f"t = {place / (len(frames) - 1):.2f}")

    return animate(figure, show, range(0, len(frames), 2))
