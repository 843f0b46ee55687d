"""Figures of translated pictures: bands of inputs, translations and truths; maps of patches; colours; two trainings."""

from collections.abc import Callable, Mapping, Sequence

from lessonkit import metrics
from lessonkit.figures import COLORS, image_grid, show_image, subplots

import numpy as np
from matplotlib.figure import Figure


def bands(rows: Mapping[str, np.ndarray], title: str, columns: int = 12, names: Sequence[str] | None = None) -> Figure:
    """Pictures (n, height, width, 1 or 3) by name, below each other, so many columns in as many bands as it takes.

    names: of the pictures in a row, written above them.
    """
    cells, labels, captions = [], [], []
    count = min(map(len, rows.values()))
    for start in range(0, count, columns):
        end = min(start + columns, count)
        for row, (name, images) in enumerate(rows.items()):
            cells.append(images[start:end])
            labels.append(name)
            captions.append([""] * (end - start) if row or names is None else names[start:end])
    width = min(columns, count)
    return image_grid(cells, title, labels, captions if names else None, size=max(0.72, min(1.3, 8 / width)))


def choices(train, translate: Callable, title: str, count: int = 3, most: int = 7) -> Figure:
    """Inputs that several training pairs share, the targets of these, and the translations.

    Args:
        train: datasets.PairSplit.
        translate: inputs (n, height, width, channels) -> translations by name.
        count, most: so many inputs, those of the most pairs first, and so many of their targets.
    """
    shared, rows, captions = {}, [], []
    for place, image in enumerate(train.inputs):
        shared.setdefault((image < 128).tobytes(), []).append(place)
    for places in sorted(shared.values(), key=len, reverse=True)[:count]:
        image, known = train.inputs[places[:1]], train.targets[places[:most]]
        blank = np.full((most - len(known), *known.shape[1:]), 255, np.uint8)
        answers = translate(image)
        rows.append(np.concatenate([np.broadcast_to(image, (1, *known.shape[1:])), known, blank, *answers.values()]))
        captions.append(["input", *["trained on"] * len(known), *[""] * len(blank), *answers])
    return image_grid(rows, title, captions=captions, size=0.95)


def by_group(translations: Mapping[str, np.ndarray], pairs, scored: Sequence[str], title: str) -> Figure:
    """Horizontal bars: the error of translations, by name, as a share of the untranslated input's, for each group.

    Args:
        translations: uint8 (n, height, width, 3), of all pairs.
        pairs: datasets.PairSplit.
        scored: the groups that the metrics are about; they come first.
    """
    groups = sorted(set(pairs.groups), key=lambda group: (group not in scored, group))
    inputs = np.broadcast_to(pairs.inputs, pairs.targets.shape)
    figure, cell = subplots(width=8, height=0.42 * len(groups) + 1.2, title=title)
    for index, (name, images) in enumerate(translations.items()):
        shares = []
        for places in (np.flatnonzero(np.array(pairs.groups) == group) for group in groups):
            error, copied = (
                metrics.mean_absolute_error(its[places], pairs.targets[places]) for its in (images, inputs)
            )
            shares.append(error / copied)
        bars = cell.barh(np.arange(len(groups)) - 0.2 + 0.4 * index, shares, 0.38, label=name)
        cell.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    cell.axvline(1, color="black", linestyle=":", linewidth=1.5)
    labels = [f"{group} ({pairs.groups.count(group)}{'' if group in scored else ', not scored'})" for group in groups]
    cell.set_yticks(range(len(groups)), labels)
    cell.set_xlabel("L1, as a share of the L1 of the input as it is (dotted: no better)")
    cell.grid(axis="y", visible=False)
    cell.invert_yaxis()
    cell.legend(fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def chroma(images: Mapping[str, np.ndarray], truth: str) -> Figure:
    """How strong the colours are, over the pixels that have one in the pictures called `truth`: (n, h, w, 3) uint8."""
    title = ", ".join(f"{name} {metrics.colourfulness(its):.0f}" for name, its in images.items())
    title = f"Mean colourfulness: {title}"
    figure, cell = subplots(width=8, height=3.6, title=title)
    edges = np.linspace(0, 1, 41)
    inside = metrics.chroma(images[truth]) > 0.15
    for index, (name, its) in enumerate(images.items()):
        share = 100 * np.histogram(metrics.chroma(its)[inside], edges)[0] / max(inside.sum(), 1)
        color = COLORS[6] if name == truth else COLORS[index]
        cell.stairs(share, edges, label=name, color=color, linestyle=("-", "--", ":")[index % 3], linewidth=1.8)
    cell.set(xlabel="chroma: the largest of red, green and blue minus the smallest", ylabel="share of the pixels (%)")
    cell.set_xlim(0, 1)
    cell.legend(fontsize=9, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def patches(maps: Mapping[str, np.ndarray], images: Mapping[str, np.ndarray], count: int = 10) -> Figure:
    """Pictures (n, height, width, 3) by name, and below each the probability that its patches are real, as a map."""
    title = "Patches that the discriminator calls real: "
    title += ", ".join(f"{name} {np.mean(probabilities > 0.5):.0%}" for name, probabilities in maps.items())
    count = min(count, *map(len, images.values()))
    figure, axes = subplots(2 * len(images), count, width=9.4, height=5.2, title=title, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    for row, name in enumerate(images):
        for column in range(count):
            above, below = axes[2 * row : 2 * row + 2, column]
            show_image(above, images[name][column])
            show_image(below, maps[name][column])
            shade = below.imshow(maps[name][column], cmap="RdBu", vmin=0, vmax=1)
        for cell, label in ((axes[2 * row, 0], name), (axes[2 * row + 1, 0], "its patches")):
            cell.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    figure.colorbar(shade, ax=axes, label="probability of being real (blue)", shrink=0.7, pad=0.01)
    return figure


def curves(histories: Mapping[str, object], game: str, measured: str, level: float, unit: str) -> Figure:
    """A measured error of several trainings over their steps; the losses and the accuracies of two players.

    Args:
        histories: by name, run.History with `measured` for each of its frames; the first of three is what the other
            two have in common.
        game: the one of them that has the losses and accuracies of generator and discriminator.
        level: of the error without any translation.
        unit: of the error.
    """
    title = "The two players' losses do not tell how good the pictures are; the error on held-out pairs does"
    figure, (errors, losses, accuracies) = subplots(1, 3, width=9.4, height=3.8, title=title)
    colors = (COLORS if len(histories) < 3 else [COLORS[6], *COLORS])[: len(histories)]
    for color, (name, history) in zip(colors, histories.items(), strict=True):
        errors.plot(history.frame_steps, history.measured[measured], color=color, label=name, marker=".")
    errors.axhline(level, color="black", linestyle=":", linewidth=1.5, label="input as it is")
    errors.set(ylabel=unit, ylim=(0.6 * level, 1.3 * level))
    history = histories[game]
    for cell, names, tied in (
        (losses, ("generator_loss", "discriminator_loss"), np.log(2)),
        (accuracies, ("accuracy_real", "accuracy_fake"), 0.5),
    ):
        for index, name in enumerate(names):
            label = name.removesuffix("_loss").replace("accuracy_", "on ").replace("fake", "generated")
            cell.plot(history.epochs, history[name], ("-", "--")[index], color=COLORS[index + 2], label=label)
        cell.axhline(tied, color="black", linestyle=":", linewidth=1.5, label="if they were indistinguishable")
    losses.set(ylabel="loss (nats per patch)", ylim=(0, None))
    accuracies.set(ylabel="patches classified correctly", ylim=(0, 1.02))
    for cell in (errors, losses, accuracies):
        cell.set_xlabel("step")
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)
    return figure


def joined(histories: Sequence) -> tuple[list[np.ndarray], list[int]]:
    """The frames of trainings that continue each other, and their steps: each begins with the last frame before it."""
    frames, steps = [], []
    for history in histories:
        new = len(frames) > 0
        frames, steps = frames + history.frames[new:], steps + history.frame_steps[new:]
    return frames, steps
