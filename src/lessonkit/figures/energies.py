"""Figures of energy models: walks from noise, energies over the training, strange pictures, where walks end."""

from collections.abc import Mapping

from lessonkit.figures import COLORS, show_image, subplots, tile

import numpy as np
from matplotlib.figure import Figure


def rows(named: Mapping[str, np.ndarray], title: str, width: float = 8.5) -> Figure:
    """A row of pictures uint8 (columns, height, width) per name, all on one sheet."""
    columns, side = next(iter(named.values())).shape[:2]
    sheet = tile(np.concatenate([row[:columns] for row in named.values()]), columns=columns, gap=1)
    beside = 0.09 * max(map(len, named)) + 0.2  # inches for the names
    height = (width - beside) * sheet.shape[0] / sheet.shape[1] + 0.4
    figure, cell = subplots(width=width, height=height, title=title)
    show_image(cell, sheet)
    cell.set_yticks((np.arange(len(named)) + 0.5) * (side + 1) - 1, list(named))
    cell.tick_params(length=0)
    return figure


def enlarged(pictures: np.ndarray, columns: int = 10, times: int = 3) -> np.ndarray:
    """A frame of a GIF: pictures uint8 (n, height, width), so many times as large."""
    return tile(np.kron(pictures, np.ones((1, times, times), np.uint8)), columns=columns)


def curves(history) -> Figure:
    """Energies of real pictures and of samples, their difference, and the AUROC, by step.

    Args:
        history: of a training that logs "real", "samples" and "difference" and measures "auroc_garments".
    """
    figure, axes = subplots(1, 3, width=9, height=3.2, title="Energies over the training")
    axes[0].plot(history.epochs, history["real"], label="real digits")
    axes[0].plot(history.epochs, history["samples"], "--", label="samples")
    axes[0].set(xlabel="step", ylabel="energy")
    axes[0].legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8)
    axes[1].plot(history.epochs, history["difference"], color=COLORS[3])
    axes[1].axhline(0, color="black", linewidth=0.8)
    axes[1].set(xlabel="step", ylabel="energy of real digits - of samples")
    axes[1].set_yscale("symlog", linthresh=1e-3)
    axes[2].plot(history.frame_steps, history.measured["auroc_garments"], marker=".", color=COLORS[2])
    axes[2].set(xlabel="step", ylabel="AUROC, digits against garments", ylim=(0, 1.02))
    return figure


def strange(kinds: Mapping[str, np.ndarray], found: Mapping[str, Mapping[str, float]]) -> Figure:
    """Eight pictures of each kind beside the AUROC of each model.

    Args:
        kinds: pictures uint8 (n, height, width) by kind; found: by kind, the AUROC by model.
    """
    title = "Which pictures are no digits? AUROC: 1 always right, 0.5 as good as a guess, 0 always wrong"
    shape = {"width": 9, "height": 0.95 * len(kinds) + 0.7, "width_ratios": (1.6, 1)}
    figure, axes = subplots(len(kinds), 2, title=title, squeeze=False, **shape)
    for row, (kind, pictures) in enumerate(kinds.items()):
        strip, bars = axes[row]
        show_image(strip, tile(pictures[:8], columns=8, gap=1))
        strip.set_ylabel(kind, rotation=0, ha="right", va="center")
        values = list(found[kind].values())
        bars.bar_label(bars.barh(list(found[kind]), values, color=COLORS), fmt="%.2f", padding=3, fontsize=8)
        bars.axvline(0.5, color="black", linestyle=":", linewidth=1)
        bars.set(xlim=(0, 1.15), xticks=(0, 0.5, 1))
        bars.invert_yaxis()
        bars.tick_params(labelsize=8, labelbottom=row == len(kinds) - 1)
    return figure


def spread(ends: Mapping[str, np.ndarray]) -> Figure:
    """Histograms of where walks on the energy x^2 / 2 end, (n,) by name, beside the Gaussian of that energy."""
    figure, axes = subplots(1, len(ends), width=9, height=3.3, title="Where walks on the energy x² / 2 end")
    line = np.linspace(-4, 4, 200)
    for cell, (name, end) in zip(axes, ends.items(), strict=True):
        cell.hist(end, bins=np.linspace(-4, 4, 81), density=True, label=f"walks, variance {end.var():.2g}")
        cell.plot(line, np.exp(-(line**2) / 2) / np.sqrt(2 * np.pi), color="black", label="Gaussian, variance 1")
        cell.set(xlabel=name, yticks=[])
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)
    return figure
