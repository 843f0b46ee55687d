"""Figures of discrete codes: compression beside JPEG and WebP, use of a codebook, sampling temperatures."""

from lessonkit.figures import generated, image_grid, levels, show_image, subplots, tile, two_digits

import numpy as np
from scipy.special import entr


def compression(test: np.ndarray, ours: np.ndarray, bits: float, psnr: float, sheets: dict):
    """Test garments, what 49 codes keep of them, and what JPEG and WebP keep at no fewer bits per garment."""
    rows, row_labels = [test[:12], ours[:12]], ["test garments", f"VQ-VAE\n{bits:.0f} bits, {psnr:.1f} dB"]
    for name, (size, quality, back) in sheets.items():
        rows.append(back[:12])
        row_labels.append(f"{name}\n{size:.0f} bits, {quality:.1f} dB")
    title = "As few bits as 49 codes have: what is left, and the PSNR over all test pictures"
    return image_grid(rows, title, row_labels, size=0.68)


def rates(points: dict[str, tuple[float, float]], rivals: dict[str, np.ndarray]):
    """PSNR against bits per garment: lines of JPEG and WebP, whose quality can be set, and the points of the VQ-VAE."""
    figure, cell = subplots(width=7.5, height=3.8, title="PSNR on test garments by bits per garment")
    for (name, curve), style in zip(rivals.items(), ("o-", "s--"), strict=True):
        cell.plot(*curve.T, style, label=f"{name}, all garments in one file")
    for (name, point), marker in zip(points.items(), ("*", "P"), strict=True):
        cell.plot(*point, marker, markersize=13, label=f"VQ-VAE, {name}: {point[0]:.0f} bits, {point[1]:.1f} dB")
    cell.set(xlabel="bits per garment", ylabel="PSNR (dB)", xlim=(0, 900), ylim=(16, 30))
    cell.legend(loc="lower right", fontsize=9)
    return figure


def codebook(codes: np.ndarray, images: np.ndarray, count: int, columns: int = 32):
    """How often each code is used on the test set, and the mean surroundings (12 x 12 pixels) of the most used ones."""
    use = np.bincount(codes.ravel(), minlength=count)
    order, sheet = np.argsort(-use, kind="stable"), []
    padded = np.pad(images, ((0, 0), (4, 4), (4, 4))) / 255
    windows = np.lib.stride_tricks.sliding_window_view(padded, (12, 12), axis=(1, 2))[:, ::4, ::4]  # (n, 7, 7, 12, 12)
    windows = windows.reshape(-1, 12, 12)
    for code in order[: min(3 * columns, np.count_nonzero(use))]:
        sheet.append(windows[np.flatnonzero(codes.ravel() == code)[:500]].mean(axis=0))
    perplexity = np.exp(np.sum(entr(use / use.sum())))
    title = f"{np.count_nonzero(use)} of {count} codes are used on test pictures; perplexity {perplexity:.0f}"
    figure, axes = subplots(2, 1, width=8, height=4, title=title, height_ratios=(1.5, 1))
    axes[0].bar(np.arange(count), 100 * use[order] / use.sum(), width=1.0)
    axes[0].axhline(100 / count, color="black", linestyle=":", linewidth=1, label="equal use")
    axes[0].set(xlabel="code, the most used first", ylabel="% of all places", xlim=(-0.5, count - 0.5))
    axes[0].legend(fontsize=9)
    show_image(axes[1], tile(np.stack(sheet), columns=min(columns, len(sheet)), gap=1))
    axes[1].set_xlabel(f"mean 12 x 12 pixels around the {len(sheet)} most used codes, from left to right", fontsize=9)
    return figure


def curves(autoencoder: object, prior: object, marks: dict[str, float]):
    """Reconstruction by epoch of the first training, nats per code by epoch of the second."""
    figure, (left, right) = subplots(1, 2, width=9, height=3.4, title="First the autoencoder, then the prior")
    for cell, history, name in ((left, autoencoder, "reconstruction"), (right, prior, "loss")):
        for key, style in ((name, "-"), (f"val_{name}", "--")):
            values = np.array(history[key])
            values = -10 * np.log10(values) if cell is left else values
            cell.plot(history.epochs, values, style, marker=".", label="test" if key.startswith("val") else "training")
        cell.set_xlabel("epoch of 15,000 garments")
        cell.legend(fontsize=9)
    left.set_ylabel("PSNR (dB)")
    right.set_ylabel("nats per code")
    levels(right, marks)
    return figure


def temperatures(table: dict[float, object], images: dict[float, np.ndarray], labels: np.ndarray):
    """FID, precision, recall and label accuracy by temperature, over 20 garments of each."""
    best = min(table, key=lambda temperature: table[temperature].fid)
    fid = two_digits(table[best].fid)
    title = f"Temperature, diverse but less clear: FID of {len(labels):,} garments, {fid} at {best:g}"
    figure, axes = subplots(2, 1, width=8, height=5, title=title, height_ratios=(1.3, 1))
    cell, second = axes[0], axes[0].twinx()
    for name, style in (("precision", "o-"), ("recall", "s--"), ("label_accuracy", "^:")):
        cell.plot(list(table), [getattr(row, name) for row in table.values()], style, label=name.replace("_", " "))
    second.plot(list(table), [row.fid for row in table.values()], "d-.", color="black", label="FID (right axis)")
    second.set(ylabel="FID", ylim=(0, None))
    second.grid(False)
    cell.set(xlabel="temperature", ylabel="share", ylim=(0, 1.02))
    lines = [*cell.get_lines(), *second.get_lines()]
    cell.legend(lines, [each.get_label() for each in lines], ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
    chosen = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(10)])
    sheet = tile(np.concatenate([each[chosen] for each in images.values()]), columns=len(chosen), gap=1)
    show_image(axes[1], sheet)
    places = (np.arange(len(table)) + 0.5) * sheet.shape[0] / len(table)
    axes[1].set_yticks(places, [f"{temperature:g}" for temperature in table])
    return figure


def samples(images: np.ndarray, labels: np.ndarray, names, scores, count: int):
    """The first twelve garments of every class, none chosen; `count` is the size of the codebook."""
    quality = generated.quality(scores, "garments")
    title = f"Garments by class, none chosen, each generated as 49 codes out of {count}: {quality}"
    return image_grid([images[labels == label][:12] for label in range(10)], title, names, size=0.62)


def generation(images: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Frames (50) in which garments are filled code by code, a column per class; without a code a place is black."""
    chosen = np.stack([np.flatnonzero(labels == label)[:5] for label in range(10)], axis=1)  # (5, 10)
    frames = []
    for rates in range(50):
        hidden = np.kron((np.arange(49) >= rates).reshape(7, 7), np.ones((4, 4), bool))
        frames.append(tile(np.where(hidden, 0, images[chosen.ravel()]), columns=10))
    return frames
