"""Fashion-MNIST: 60,000 + 10,000 garments of ten classes, 28x28 (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

import dataclasses
import gzip
import math
from pathlib import Path

from lessonkit.config import StudyError
from lessonkit.datasets import source
from lessonkit.datasets.embedded import garments

import numpy as np

# The authors' four files, with their md5 sums; Keras keeps them under these names.
FILES = {
    "train-images-idx3-ubyte.gz": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26),
    "train-labels-idx1-ubyte.gz": ("25c81989df183df01b3e8a0aad5dffbe", 1),
    "t10k-images-idx3-ubyte.gz": ("bef4ecab320f06d8554ea6380940ec79", 5),
    "t10k-labels-idx1-ubyte.gz": ("bb300cfdad3c16e7a12a480ee83cd310", 1),
}
DRAWN = {"train": 6_000, "test": 2_000}  # stand-ins, a millisecond each


def read_idx(path: Path) -> np.ndarray:
    """Bytes in Yann LeCun's idx format: two zeros, 8 for "bytes", the number of axes, their lengths, the values."""
    with gzip.open(path) as file:
        content = file.read()
    if len(content) < 4 or content[:3] != bytes([0, 0, 8]):
        raise StudyError(f"{path}: not an idx file of bytes; replace or remove it")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4").tolist()
    if len(content) - start != math.prod(shape):
        raise StudyError(f"{path}: {len(content) - start:,} values, not those of shape {tuple(shape)}; replace it")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_files(paths: list[Path]) -> dict[str, np.ndarray]:
    """The four files, in the order of FILES, as arrays by name."""
    arrays = dict(zip(("x_train", "y_train", "x_test", "y_test"), map(read_idx, paths), strict=True))
    for part, path in (("train", paths[1]), ("test", paths[3])):
        if arrays[f"x_{part}"].shape != (*arrays[f"y_{part}"].shape, 28, 28):
            raise StudyError(f"{path}: its labels do not belong to the pictures beside it; fetch both again")
    return arrays


def draw_garments(limit: int | None) -> dict[str, np.ndarray]:
    """The stand-in, no more of it than asked for. Each split has its own seed: a smaller limit gives its beginning."""
    arrays = {}
    for seed, (part, count) in enumerate(DRAWN.items()):
        arrays[f"x_{part}"], arrays[f"y_{part}"] = garments.draw(min(count, limit or count), seed)
    return arrays


SOURCE = source.Source(
    name="Fashion-MNIST",
    files=("fashion_mnist.npz",),
    read_folder=lambda path: source.read_npz(path, (28, 28), 10),
    downloads=tuple(
        source.Download(
            url=f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{file}",
            file=f"datasets/fashion-mnist/{file}",
            hash=md5,
            megabytes=megabytes,
        )
        for file, (md5, megabytes) in FILES.items()
    ),
    read_downloads=read_files,
    embedded=lambda: draw_garments(None),
    stand_in="8,000 drawn garments of the same ten classes",
)


def fashion_mnist(run) -> source.LabelledImages:
    """Garments: images uint8 (n, 28, 28), grey on black; labels 0 to 9."""
    limited = dataclasses.replace(SOURCE, embedded=lambda: draw_garments(run.config.limit))
    return source.labelled_images(run, limited, garments.CLASS_NAMES)
