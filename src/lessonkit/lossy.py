"""Pictures through lossy image files: what JPEG and WebP keep of them, and at how many bits."""

import io
from collections.abc import Mapping, Sequence

from lessonkit import metrics

import numpy as np
from PIL import Image

OPTIONS = {"JPEG": {"optimize": True}, "WebP": {}}  # JPEG: Huffman tables made for the picture


def through_file(images: np.ndarray, form: str, quality: int) -> tuple[float, float, np.ndarray]:
    """Test garments through JPEG or WebP: bits per garment, PSNR, and the pictures (n, 28, 28) that come back.

    The header of a JPEG file alone is longer than 49 codes. So all garments go into one square mosaic, without gaps,
    and share one header and one set of Huffman tables. With gaps that align the garments with JPEG's blocks of 8 x 8
    (cells of 32 x 32) it does worse.
    """
    side = int(len(images) ** 0.5)
    mosaic = images[: side**2].reshape(side, side, 28, 28).transpose(0, 2, 1, 3).reshape(28 * side, 28 * side)
    file = io.BytesIO()
    Image.fromarray(mosaic).save(file, form, quality=quality, **OPTIONS[form])
    back = np.asarray(Image.open(file).convert("L")).reshape(side, 28, side, 28).transpose(0, 2, 1, 3)
    back = back.reshape(-1, 28, 28)
    return 8 * file.getbuffer().nbytes / side**2, metrics.psnr(back / 255, images[: side**2] / 255), back


def compare(images: np.ndarray, qualities: Mapping[str, Sequence[int]], points: Mapping[str, tuple]) -> tuple:
    """PSNR of JPEG and WebP at the bits of each point, on the straight line between two of their qualities.

    With fewer bits than a format's lowest quality takes, it is the PSNR of that quality.

    Args:
        qualities: those to try, by format, from low to high.
        points: bits per garment and PSNR of another method, by name; the first is called "fixed length".

    Returns bits and PSNR (qualities, 2) by format; bits, PSNR and pictures by format, at the bits of the first point or
    just above; and values by name: psnr_jpeg, and psnr_over_jpeg for the other method's advantage, in dB (the second
    point's: psnr_jpeg_coded, psnr_over_jpeg_coded).
    """
    curves, sheets, values = {}, {}, {}
    for form, levels in qualities.items():
        tried = [through_file(images, form, quality) for quality in levels]
        curves[form] = np.array([row[:2] for row in tried])
        sheets[form] = next((row for row in tried if row[0] >= points["fixed length"][0]), tried[-1])
        for (bits, psnr), end in zip(points.values(), ("", "_coded"), strict=True):
            theirs = float(np.interp(bits, *curves[form].T))
            values |= {f"psnr_{form.lower()}{end}": theirs, f"psnr_over_{form.lower()}{end}": psnr - theirs}
    return curves, sheets, values
