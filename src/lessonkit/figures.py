"""Figures in one style: image grids, curves, confusion matrices, model diagrams."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's palette: tells apart for colour-blind readers, too.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
matplotlib.rcParams.update(
    {
        "axes.prop_cycle": matplotlib.cycler(color=COLORS),
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "figure.dpi": 110,
        "figure.titlesize": 12,
        "font.size": 10,
        "grid.alpha": 0.3,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "legend.frameon": False,
    }
)


def subplots(rows: int = 1, columns: int = 1, width: float = 8.0, height: float = 3.5, title: str = "", **options):
    """`plt.subplots` with the house's layout; width and height in inches, of the whole figure."""
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)
    if title:
        figure.suptitle(title)
    return figure, axes


def save(figure: Figure, path: Path, small_print: str) -> None:
    """Write a figure as PNG with a line of small print below it, and free it."""
    figure.text(0.995, -0.01, small_print, ha="right", va="top", fontsize=7, color="#666666")
    figure.savefig(path, bbox_inches="tight", pad_inches=0.08)
    plt.close(figure)


def show_image(axes, image: np.ndarray) -> None:
    """Draw an image (height, width[, 1 or 3]), uint8 or scaled to [0, 1], without axes."""
    image = np.squeeze(np.asarray(image))
    if image.dtype == np.uint8:
        image = image / 255
    axes.imshow(np.clip(image, 0, 1), vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def image_grid(
    rows: Sequence[np.ndarray],
    title: str,
    row_labels: Sequence[str] | None = None,
    captions: Sequence[Sequence[str]] | None = None,
    size: float = 0.8,
) -> Figure:
    """A grid of images: one array (columns, height, width[, channels]) per row; `size` in inches a picture."""
    columns = max(len(row) for row in rows)
    caption_height = 0.22 if captions else 0
    label_width = 0.085 * max(map(len, row_labels)) + 0.1 if row_labels else 0
    figure, axes = subplots(
        len(rows),
        columns,
        width=columns * size + label_width,
        height=len(rows) * (size + caption_height) + 0.4,
        title=title,
        squeeze=False,
    )
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    for row_index, row in enumerate(rows):
        for column in range(columns):
            cell = axes[row_index, column]
            if column >= len(row):
                cell.set_axis_off()
                continue
            show_image(cell, row[column])
            if captions:
                cell.set_title(captions[row_index][column], fontsize=7.5, pad=2)
        if row_labels:
            axes[row_index, 0].set_ylabel(row_labels[row_index], rotation=0, ha="right", va="center", fontsize=9)
    return figure


def tile(images: np.ndarray, columns: int, gap: int = 2) -> np.ndarray:
    """Images (n, height, width[, channels]), uint8 or in [0, 1], as one uint8 picture: a frame of a GIF."""
    images = np.asarray(images)
    if images.dtype != np.uint8:
        images = np.round(np.clip(images, 0, 1) * 255).astype(np.uint8)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    count, height, width, *channels = images.shape
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, *channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def curves(epochs: Sequence[int], panels: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Figure:
    """One panel per entry: {"loss (nats)": {"train": [...], "validation": [...]}}, over epochs."""
    figure, axes = subplots(1, len(panels), width=8.5, height=3.4, title=title, squeeze=False)
    for cell, (unit, lines) in zip(axes[0], panels.items(), strict=True):
        for index, (name, values) in enumerate(lines.items()):
            label = f"{name}: {values[-1]:.3g} at the end"
            cell.plot(
                epochs, values, label=label, linestyle=("-", "--", ":", "-.")[index % 4], marker=".", markersize=4
            )
        cell.set_xlabel("epoch")
        cell.set_ylabel(unit)
        cell.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(6, integer=True))
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)  # above: it hides no line
    return figure


def animate(figure: Figure, draw: Callable, states: Iterable) -> list[np.ndarray]:
    """Frames of a GIF, uint8 (height, width, 3): `draw(state)` changes what the figure shows. Frees the figure."""
    frames = []
    for state in states:
        draw(state)
        figure.canvas.draw()
        figure.set_layout_engine("none")  # what the first frame settled: without it the axes would tremble
        frames.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    plt.close(figure)
    return frames


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Per cent of each true class (row) that was predicted as each class (column); labels and predictions (n,)."""
    count = len(class_names)
    matrix = np.bincount(np.ravel(labels).astype(int) * count + np.ravel(predictions), minlength=count**2)
    matrix = matrix.reshape(count, count) / np.maximum(matrix.reshape(count, count).sum(axis=1, keepdims=True), 1)
    accuracy = np.mean(np.ravel(labels) == np.ravel(predictions))
    figure, axes = subplots(width=6.6, height=5.6, title=f"{title}: {accuracy:.1%} right")
    axes.imshow(matrix, cmap="Blues", vmin=0, vmax=1)
    axes.grid(False)
    axes.set_xticks(range(count), class_names, rotation=45, ha="right")
    axes.set_yticks(range(count), class_names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    for row, column in np.ndindex(count, count):
        if matrix[row, column] >= 0.005:
            color = "white" if matrix[row, column] > 0.5 else "black"
            axes.text(
                column, row, f"{100 * matrix[row, column]:.0f}", ha="center", va="center", color=color, fontsize=8
            )
    figure.text(0.02, 0.01, "numbers: % of the true class", fontsize=8, color="#666666")
    return figure


def diagram(model: keras.Model, path: Path) -> Path:
    """Draw a model with shapes to `path`; where Graphviz is missing write its source beside it and return that path."""
    options = {"show_shapes": True, "show_layer_names": True, "show_layer_activations": True}
    try:
        keras.utils.plot_model(model, str(path), dpi=80, **options)
    except (ImportError, OSError, AttributeError):
        path = path.with_suffix(".dot")
        path.write_text(keras.utils.model_to_dot(model, **options).to_string(), encoding="utf-8")
    return path
