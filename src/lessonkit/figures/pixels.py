"""Figures of autoregressive pixels: completed halves, what a pixel depends on, and the bits of every pixel."""

from lessonkit.figures import image_grid, subplots, tile

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

UNDRAWN = np.array([0, 70, 120], np.uint8)  # the colour of a pixel that is not there yet


def until(images: np.ndarray, pixels: int) -> np.ndarray:
    """uint8 images (n, height, width) -> (n, height, width, 3) with only the first so many pixels, in reading order."""
    there = np.arange(images[0].size).reshape(images.shape[1:]) < pixels
    return np.where(there[..., None], images[..., None], UNDRAWN)


def completions(truth: np.ndarray, drawn: np.ndarray, rows: int, title: str) -> Figure:
    """What was given, the completions, and the truth, one below the other.

    Args:
        truth: uint8 (n, height, width), the first `rows` rows of which are given.
        drawn: (completions, n, height, width).
    """
    given = until(truth, rows * truth.shape[2])
    whole = [until(images, truth[0].size) for images in (*drawn, truth)]
    labels = ["given", *(f"completion {number}" for number in range(1, len(drawn) + 1)), "the real one"]
    return image_grid([given, *whole], title, labels, size=0.72)


def drawing(truth: np.ndarray, drawn: np.ndarray, rows: int, step: int) -> list[np.ndarray]:
    """Frames of a GIF, uint8: the completions of `completions`, appearing `step` pixels per frame."""
    sheet = np.concatenate([truth[None], drawn]).reshape(-1, *truth.shape[1:])
    first, last = rows * truth.shape[2], truth[0].size
    frames = []
    for pixels in range(first, last + step, step):
        shown = until(sheet, min(pixels, last))
        shown[: len(truth)] = until(truth, first)
        frames.append(np.kron(tile(shown, columns=len(truth)), np.ones((2, 2, 1), np.uint8)))
    return frames


def influence(plain: np.ndarray, gradient: np.ndarray, pixel: tuple[int, int]) -> Figure:
    """What plain masked convolutions see (height, width), bool, and the gradient of a model, on a logarithmic scale."""
    figure, (left, right) = subplots(1, 2, width=8, height=3.6, title="What the prediction of one pixel depends on")
    left.imshow(np.where(plain, 0.6, 1.0), cmap="gray", vmin=0, vmax=1)
    left.set_title("16 plain masked 3 x 3 convolutions:\nblind to a wedge at the right", fontsize=9)
    shown = np.where(gradient > 0, gradient / gradient.max(), np.nan)
    image = right.imshow(shown, cmap="viridis", norm=LogNorm(1e-4, 1))
    right.set_title("the gated PixelCNN, trained:\nboth sides of the rows above", fontsize=9)
    figure.colorbar(image, ax=right, shrink=0.9, label="|gradient|, relative")
    for cell in (left, right):
        cell.plot(pixel[1], pixel[0], "s", color="#D55E00", markersize=5)
        cell.set(xticks=[], yticks=[])
        cell.spines[:].set_visible(True)
        cell.grid(False)
    return figure


def surprise(images: np.ndarray, bits: np.ndarray) -> Figure:
    """Pictures (n, height, width), uint8, above the bits of their pixels (n, height, width), and the sum of these."""
    labels = ["test garment", "bits of its pixels"]
    captions = [[""] * len(images), [f"{value:,.0f} bits" for value in bits.sum(axis=(1, 2))]]
    title = "Where the bits are: black is a pixel that could be predicted, white one of 4 bits or more"
    return image_grid([images, np.clip(bits / 4, 0, 1)], title, labels, captions, size=0.72)
