"""Figures of normalizing flows: a plane that is bent, and bits per pixel over the training."""

from collections.abc import Mapping

from lessonkit.figures import COLORS, animate, image_grid, levels, subplots

import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

LIMITS = {"xlim": (-2.8, 2.8), "ylim": (-2.4, 2.4), "aspect": "equal", "xticks": [], "yticks": []}
LINES, POINTS = 50, 121  # of the grid
SIDE = np.linspace(-4, 4, 401, dtype="float32")  # of the square on which a density is drawn
AREA = float(SIDE[1] - SIDE[0]) ** 2  # of one of its points
NAMES = {
    "independent": "independent pixels",
    "gaussian": "Gaussian, discretised",
    "gaussian_density": "Gaussian, dequantised",
    "png": "PNG",
    "webp": "WebP, lossless",
}


def grid() -> np.ndarray:
    """Points float32 (LINES * POINTS, 2) of the horizontal and vertical lines of a grid."""
    ticks, fine = np.linspace(-2.4, 2.4, LINES // 2), np.linspace(-2.4, 2.4, POINTS)
    vertical = np.stack(np.meshgrid(ticks, fine, indexing="ij"), axis=-1).reshape(-1, 2)
    return np.concatenate([vertical, vertical[:, ::-1]]).astype("float32")


def square() -> np.ndarray:
    """Points float32 (401 * 401, 2) of a square from -4 to 4."""
    return np.stack(np.meshgrid(SIDE, SIDE), axis=-1).reshape(-1, 2)


def show(cell, lines: np.ndarray, points: np.ndarray) -> None:
    """Draw the lines of the grid, and the points, wherever they are now."""
    cell.add_collection(LineCollection(lines.reshape(LINES, POINTS, 2), colors="#bbbbbb", linewidths=0.4))
    cell.scatter(*points.T, s=2, color=COLORS[0], zorder=3)
    cell.set(**LIMITS)
    cell.grid(False)


def plane(lines: np.ndarray, points: np.ndarray, density: np.ndarray, data: np.ndarray) -> Figure:
    """The grid and the points at three times; the density; the data.

    Args:
        lines: the grid (frames, LINES * POINTS, 2) from the latents to the data; points: (frames, count, 2).
        density: (401 * 401,) at the points of `square`.
        data: (n, 2).
    """
    figure, axes = subplots(1, 5, width=10, height=2.3, title="The flow bends a plane of noise into two moons")
    titles = ("latents and their grid", "half of the couplings", "all: samples", "the density", "the data")
    last = len(lines) - 1
    for cell, title in zip(axes, titles, strict=True):
        cell.set_title(title, fontsize=9)
        cell.set(**LIMITS)
        cell.grid(False)
    for cell, frame in zip(axes, (0, last // 2, last), strict=False):
        show(cell, lines[frame], points[frame])
    shown = {"origin": "lower", "extent": (-4, 4, -4, 4), "cmap": "Blues", "vmax": np.quantile(density, 0.99)}
    axes[3].imshow(density.reshape(len(SIDE), -1), **shown)
    axes[3].set(**LIMITS)
    axes[4].scatter(*data.T, s=2, color=COLORS[1])
    return figure


def plane_frames(lines: np.ndarray, points: np.ndarray) -> list[np.ndarray]:
    """Frames of a GIF, uint8, of every second of the frames, with every second point."""
    figure, cell = subplots(width=3.0, height=2.8)

    def draw(frame):
        cell.clear()
        show(cell, lines[frame], points[frame, ::2])
        cell.set_title(f"{100 * frame / (len(lines) - 1):.0f} % of the way to the data")

    return animate(figure, draw, range(0, len(lines), 2))


def bits(history, baselines: Mapping[str, float], final: float, uncompressed: float = 8) -> Figure:
    """Bits per pixel by step of the training, and as horizontal lines what the baselines need.

    Args:
        history: of a training that logs "bits" and measures "test_bits"; baselines: of `lessonkit.bits`, by name.
        uncompressed: bits of a pixel without any model.
    """
    title = f"Bits per pixel of test pictures: {final:.2f} at the end (uncompressed: {uncompressed:.3g})"
    figure, cell = subplots(width=8, height=4, title=title)
    cell.plot(history.epochs, history["bits"], color="#bbbbbb", linewidth=1, label="training batches")
    cell.plot(history.frame_steps, history.measured["test_bits"], marker=".", label="test pictures")
    values = [*baselines.values(), *history.measured["test_bits"]]
    cell.set(xlabel="step", ylabel="bits per pixel", ylim=(min(values) - 0.2, min(max(values), uncompressed) + 0.2))
    shown = {key: name for key, name in NAMES.items() if baselines[key] <= uncompressed}
    levels(cell, {f"{name}: {baselines[key]:.2f}": baselines[key] for key, name in shown.items()})
    cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=9)
    return figure


def rows(named: Mapping[str, np.ndarray], title: str) -> Figure:
    """A row of pictures (columns, height, width[, channels]) per name."""
    return image_grid(list(named.values()), title, list(named), size=0.62)
