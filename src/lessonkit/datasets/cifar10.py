"""CIFAR-10: 50,000 + 10,000 colour pictures of ten classes, 32x32 (Krizhevsky 2009)."""

from typing import TYPE_CHECKING

from lessonkit.datasets import formats, source
from lessonkit.datasets.embedded import objects

import numpy as np

if TYPE_CHECKING:
    from lessonkit.run import Run

DRAWN = {"train": 5_000, "test": 1_000}


def draw_objects(limit: int | None = None) -> dict[str, np.ndarray]:
    """The stand-in: pictures that all differ, from one seed that never changes, whatever the limit."""
    images, labels = objects.draw(sum(DRAWN.values()), seed=0)
    edge = DRAWN["train"]
    return {"x_train": images[:edge], "y_train": labels[:edge], "x_test": images[edge:], "y_test": labels[edge:]}


SOURCE = source.Source(
    name="CIFAR-10",
    things="photographs",
    forms=(
        source.Form(("cifar10.npz",), lambda paths: formats.read_npz(paths[0], (32, 32, 3), 10)),
        source.Form(("cifar-10-batches-py",), formats.read_pickled_cifar10, fits=lambda paths: paths[0].is_dir()),
        source.Form(("cifar-10-python.tar.gz",), formats.read_pickled_cifar10),
        source.Form(("cifar-10-batches-py-target_archive",), formats.read_pickled_cifar10),  # Keras' name for it
    ),
    downloads=(
        source.Download(
            url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            file="datasets/cifar-10-batches-py-target_archive",
            hash="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            megabytes=163,
        ),
    ),
    read_downloads=formats.read_pickled_cifar10,
    stand_in=source.StandIn(
        name="drawn objects",
        things="drawn objects",
        origin="pictures drawn by code, of the same ten classes",
        draw=draw_objects,
    ),
    by_hand="cifar10.npz",
)


def cifar10(run: "Run") -> source.LabelledImages:
    """Objects: images uint8 (n, 32, 32, 3); labels 0 to 9."""
    return source.labelled_images(run, SOURCE, objects.CLASS_NAMES)
