"""Figures in one style: image grids, curves, confusion matrices, model diagrams."""

import io
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import keras
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib import font_manager, ticker
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from sklearn.metrics import ConfusionMatrixDisplay

# Okabe and Ito's palette: colour-blind readers can tell these colours apart, too.
COLORS = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442"]
# Fonts with the letters of Korean, Chinese and Japanese on macOS, Linux and Windows: names of files may have them.
FONTS = ["Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "AppleGothic", "Malgun Gothic"]
FONTS += ["Arial Unicode MS", "Noto Sans CJK JP", "WenQuanYi Micro Hei"]
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
PALETTE_ERROR = 2.0  # levels of 255, root mean square: up to here a palette of 256 colours cannot be seen
matplotlib.rcParams.update(
    {
        "axes.prop_cycle": matplotlib.cycler(color=COLORS),
        "axes.grid": True,
        "axes.spines.right": False,
        "axes.spines.top": False,
        "axes.titlesize": 11,
        "figure.dpi": 110,
        "figure.titlesize": 12,
        "font.family": ["DejaVu Sans", *sorted(set(FONTS) & set(font_manager.get_font_names()), key=FONTS.index)],
        "font.size": 10,
        "grid.alpha": 0.3,
        "image.cmap": "gray",
        "image.interpolation": "nearest",
        "legend.frameon": False,
        "text.parse_math": False,  # a file may be called 50$_off_$20.png
    }
)


def subplots(rows: int = 1, columns: int = 1, width: float = 8.0, height: float = 3.5, title: str = "", **options):
    """`plt.subplots` with a constrained layout; width and height in inches, of the whole figure."""
    figure, axes = plt.subplots(rows, columns, figsize=(width, height), layout="constrained", **options)
    if title:
        figure.suptitle(title)
    return figure, axes


def drawable(text: str) -> str:
    """The text with a "?" for every character that none of the installed fonts has, and a space for a tab."""
    fonts = [font_manager.get_font(font_manager.findfont(name)) for name in matplotlib.rcParams["font.family"]]
    return "".join(
        letter if letter == "\n" or any(font.get_char_index(ord(letter)) for font in fonts) else "?"
        for letter in text.replace("\t", " ")
    )


class Powers(ticker.LogFormatterSciNotation):
    """Powers of ten in Unicode, 2×10⁻⁴, where Matplotlib would write a formula."""

    def __call__(self, x, pos=None):
        formula = super().__call__(x, pos).removeprefix("$\\mathdefault{").removesuffix("}$").replace("\\times", "×")
        return re.sub(r"\^\{(\S+)\}", lambda power: power[1].replace("−", "-").translate(SUPERSCRIPTS), formula)


def two_digits(value: float) -> str:
    """A positive number with at least two significant digits, and no exponent: 0.058, 2.0, 54, 123."""
    return f"{value:.0f}" if value >= 99.5 else f"{value:#.2g}".rstrip(".")


def make_drawable(figure: Figure) -> None:
    """Replace, in every text of a figure, what cannot be drawn: names of files and prompts come from outside."""
    for text in figure.findobj(Text):
        text.set_text(drawable(text.get_text()))
    for axis in figure.findobj(Axis):
        if isinstance(axis.get_major_formatter(), ticker.LogFormatter):
            axis.set_major_formatter(Powers())
        if isinstance(axis.get_minor_formatter(), ticker.LogFormatter):
            axis.set_minor_formatter(Powers(labelOnlyBase=False))


def save(figure: Figure, path: Path, small_print: str) -> None:
    """Write a figure as PNG with small print below it, one line where it fits, and free it."""
    small_print = small_print.replace(" ", "\u00a0").replace("·\u00a0", "· ")  # it may break behind a dot only
    small_print = textwrap.fill(small_print, int(figure.get_figwidth() / 0.051))  # inches per character
    figure.text(0.995, -0.01, small_print, ha="right", va="top", fontsize=7, color="#666666")
    make_drawable(figure)
    content = io.BytesIO()
    figure.savefig(content, bbox_inches="tight", pad_inches=0.08)
    plt.close(figure)
    with_palette(Image.open(content).convert("RGB")).save(path, "PNG", optimize=True)


def with_palette(image: Image.Image) -> Image.Image:
    """An RGB image with a palette of at most 256 colours, a third of the bytes; unchanged where that would show."""
    reduced = image.quantize(256, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    error = np.asarray(reduced.convert("RGB"), np.float32) - np.asarray(image, np.float32)
    return reduced if np.sqrt(np.mean(error**2)) <= PALETTE_ERROR else image


def save_gif(frames: Sequence[np.ndarray], path: Path, seconds: float) -> None:
    """Write uint8 frames (height, width[, 3]) as an endless GIF; the last frame stays for a moment.

    A file of more than a megabyte is written again with fewer shades.

    Raises:
        ValueError: for frames of different sizes, which no GIF can hold.
    """
    if len({frame.shape for frame in frames}) != 1:
        raise ValueError(f"frames of different sizes: {sorted({frame.shape for frame in frames})}")
    each = max(40, round(1000 * seconds / len(frames)))  # milliseconds; browsers slow down anything under 20
    durations = [each] * (len(frames) - 1) + [1500]
    for shades in (256, 32, 16):
        images = [Image.fromarray(fewer_shades(frame, shades)) for frame in frames]
        images[0].save(path, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0, optimize=True)
        if path.stat().st_size <= 1_000_000:
            break


def fewer_shades(frame: np.ndarray, shades: int) -> np.ndarray:
    """A uint8 array with at most so many different values, black and white among them."""
    step = 255 / (shades - 1)
    return np.round(np.round(frame / step) * step).astype(np.uint8)


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


def as_bytes(picture: np.ndarray, width: int | None = None) -> np.ndarray:
    """A picture (height, width, 3) with values around 0..255 as uint8; scaled to a width, as a frame of a GIF."""
    image = Image.fromarray(np.round(np.clip(picture, 0, 255)).astype(np.uint8))
    if width is not None:
        image = image.resize((width, max(1, round(width * image.height / image.width))), Image.Resampling.LANCZOS)
    return np.asarray(image)


def picture_grid(pictures: Sequence[np.ndarray], captions: Sequence[str], title: str, columns: int) -> Figure:
    """Large pictures (height, width, 3), values around 0..255, each in its own proportions, `columns` in a row."""
    rows = -(-len(pictures) // columns)
    height, width = np.mean([picture.shape[:2] for picture in pictures], axis=0)
    row_height = 10 / columns * height / width + 0.2
    figure, axes = subplots(rows, columns, width=10, height=rows * row_height + 0.2, title=title, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01)
    for cell in axes.flat[len(pictures) :]:
        cell.set_axis_off()
    for cell, picture, caption in zip(axes.flat, pictures, captions, strict=False):
        show_image(cell, as_bytes(picture))
        cell.set_title(caption, fontsize=9, pad=3)
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
            last = f"{values[-1]:,.0f}" if abs(values[-1]) >= 1000 else f"{values[-1]:.3g}"
            label = f"{name}: {last} at the end"
            cell.plot(
                epochs, values, label=label, linestyle=("-", "--", ":", "-.")[index % 4], marker=".", markersize=4
            )
        cell.set_xlabel("epoch")
        cell.set_ylabel(unit)
        cell.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True))
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)  # above: it hides no line
    return figure


def animate(figure: Figure, draw: Callable, states: Iterable) -> list[np.ndarray]:
    """Frames of a GIF, uint8 (height, width, 3): `draw(state)` changes what the figure shows. Frees the figure."""
    frames = []
    for state in states:
        draw(state)
        make_drawable(figure)
        figure.canvas.draw()
        figure.set_layout_engine("none")  # what the first frame settled: without it the axes would tremble
        frames.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
    plt.close(figure)
    return frames


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Per cent of each true class (row) that was predicted as each class (column); labels and predictions (n,)."""
    labels, predictions = np.ravel(labels), np.ravel(predictions)
    figure, axes = subplots(width=6.6, height=5.6, title=f"{title}: {np.mean(labels == predictions):.1%} correct")
    display = ConfusionMatrixDisplay.from_predictions(
        labels,
        predictions,
        labels=range(len(class_names)),
        display_labels=class_names,
        normalize="true",
        cmap="Blues",
        colorbar=False,
        xticks_rotation=45,
        im_kw={"vmin": 0, "vmax": 1},
        ax=axes,
    )
    axes.grid(False)
    axes.set(xlabel="predicted class", ylabel="true class")
    for (row, column), cell in np.ndenumerate(display.text_):
        share = display.confusion_matrix[row, column]
        cell.set(text=f"{100 * share:.0f}" if share >= 0.005 else "", fontsize=8)
    figure.text(0.02, 0.01, "numbers: % of the true class", fontsize=8, color="#666666")
    return figure


def heat_map(
    matrix: np.ndarray,
    title: str,
    columns: str,
    rows: str,
    values: str,
    words: Sequence[str] | None = None,
    low: float = 0,
) -> Figure:
    """A square matrix of values from `low` (0 or -1) to 1, NaN in grey; `words` name its rows and columns."""
    figure, axes = subplots(width=6.8, height=5.8, title=title)
    image = axes.imshow(matrix, cmap="Blues" if low == 0 else "RdBu_r", vmin=low, vmax=1)
    axes.grid(False)
    axes.set_facecolor("#dddddd")  # seen where a value is NaN
    if words is not None:
        axes.set_xticks(range(len(words)), words, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(words)), words)
    axes.set_xlabel(columns)
    axes.set_ylabel(rows)
    figure.colorbar(image, label=values, shrink=0.85)
    return figure


def bar_panels(rows: Mapping[str, Sequence[float]], labels: Sequence[str], title: str) -> Figure:
    """A panel of bars per label, a bar per row; the last row is what the others are compared with."""
    figure, axes = subplots(1, len(labels), width=9, height=0.3 * len(rows) + 1.1, title=title)
    colors = [COLORS[0]] * (len(rows) - 1) + [COLORS[1]]
    for column, (cell, label) in enumerate(zip(axes, labels, strict=True)):
        values = [row[column] for row in rows.values()]
        cell.axvline(values[-1], color=colors[-1], linestyle="--", linewidth=1)
        white = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
        bars = cell.barh(list(rows), values, color=colors)
        cell.bar_label(bars, fmt="%.3g", padding=3, fontsize=8, bbox=white)
        cell.set_xlabel(label)
        cell.margins(x=0.22)
        cell.invert_yaxis()
        cell.label_outer()
    return figure


def levels(axes, marks: Mapping[str, float]) -> None:
    """Dotted horizontal lines with their names at the right, which step aside where they would overlap."""
    low, high = axes.get_ylim()
    low, high = min(low, *marks.values()), max(high, *marks.values())
    gap, place = 0.075 * (high - low), -np.inf
    for index, (name, value) in enumerate(sorted(marks.items(), key=lambda mark: mark[1])):
        color = COLORS[2 + index % (len(COLORS) - 2)]
        place = max(value, place + gap)
        axes.axhline(value, color=color, linestyle=":")
        axes.text(1.01, place, name, transform=axes.get_yaxis_transform(), va="center", fontsize=9, color=color)


def text_table(axes, texts: Mapping[str, str], columns: int, lines: int) -> None:
    """Fill axes with a row per text: its name in bold, then the text, broken into lines of so many columns."""
    top = 0.0
    for name, text in texts.items():
        wrapped = textwrap.wrap(text, columns, max_lines=lines, placeholder=" ...")
        axes.axhline(top - 0.6, color="#cccccc", linewidth=0.8)
        axes.text(0, top, name.replace(" ", "\n", 1), va="top", fontsize=8.5, weight="bold")
        axes.text(0.15, top, "\n".join(wrapped), va="top", fontsize=9)
        top += max(len(wrapped), 2) + 0.9
    axes.set(xlim=(0, 1), ylim=(top - 0.6, -0.6))
    axes.set_axis_off()


def diagram(model: keras.Model, path: Path) -> Path:
    """Draw a model with shapes to `path`; where Graphviz is missing write its source beside it and return that path."""
    options = {"show_shapes": True, "show_layer_names": True, "show_layer_activations": True}
    try:
        keras.utils.plot_model(model, str(path), dpi=80, **options)
    except (ImportError, OSError, AttributeError):
        path = path.with_suffix(".dot")
        path.write_text(keras.utils.model_to_dot(model, **options).to_string(), encoding="utf-8")
    return path
