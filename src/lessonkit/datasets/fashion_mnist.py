"""Fashion-MNIST: 60,000 + 10,000 garments of ten classes, 28x28 (Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747)."""

from typing import TYPE_CHECKING

from lessonkit.datasets import formats, source
from lessonkit.datasets.embedded import garments

import numpy as np

if TYPE_CHECKING:
    from lessonkit.run import Run

# The authors' four files, with their md5 sums and megabytes; Keras keeps them under these names.
FILES = {
    "train-images-idx3-ubyte.gz": ("8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26),
    "train-labels-idx1-ubyte.gz": ("25c81989df183df01b3e8a0aad5dffbe", 1),
    "t10k-images-idx3-ubyte.gz": ("bef4ecab320f06d8554ea6380940ec79", 5),
    "t10k-labels-idx1-ubyte.gz": ("bb300cfdad3c16e7a12a480ee83cd310", 1),
}
FIRST_LABELS = (9, 0, 0, 3, 0)  # of the training garments
FOLDERS = ("FashionMNIST/raw", "FashionMNIST", "fashion-mnist", "fashion_mnist", "fashion")
DRAWN = {"train": 6_000, "test": 2_000}  # stand-ins, a millisecond each


def draw_garments(limit: int | None) -> dict[str, np.ndarray]:
    """The stand-in, no more of it than asked for. Each split has its own seed: a smaller limit gives its beginning."""
    arrays = {}
    for seed, (part, count) in enumerate(DRAWN.items()):
        arrays[f"x_{part}"], arrays[f"y_{part}"] = garments.draw(min(count, limit or count), seed)
    return arrays


SOURCE = source.Source(
    name="Fashion-MNIST",
    things="garments",
    forms=(
        source.Form(("fashion_mnist.npz",), lambda paths: formats.read_npz(paths[0], (28, 28), 10)),
        *formats.idx_forms(FIRST_LABELS, *FOLDERS),
        source.Form(("fashion-mnist_train.csv", "fashion-mnist_test.csv"), formats.read_tables, (".", *FOLDERS)),
    ),
    downloads=tuple(
        source.Download(
            url=f"https://storage.googleapis.com/tensorflow/tf-keras-datasets/{file}",
            file=f"datasets/fashion-mnist/{file}",
            hash=md5,
            megabytes=megabytes,
        )
        for file, (md5, megabytes) in FILES.items()
    ),
    read_downloads=formats.read_idx_files,
    stand_in=source.StandIn(
        name="drawn garments",
        things="drawn garments",
        origin="pictures drawn by code, of the same ten classes",
        draw=draw_garments,
    ),
    by_hand="fashion_mnist.npz",
)


def fashion_mnist(run: "Run") -> source.LabelledImages:
    """Garments: images uint8 (n, 28, 28), grey on black; labels 0 to 9."""
    return source.labelled_images(run, SOURCE, garments.CLASS_NAMES)
