"""CIFAR-10: 50,000 + 10,000 colour pictures of ten classes, 32x32 (Krizhevsky 2009)."""

import pickle
import tarfile
from pathlib import Path

from lessonkit.datasets import source
from lessonkit.datasets.embedded import objects

import numpy as np


def read_archive(paths: list[Path]) -> dict[str, np.ndarray]:
    """Read the authors' archive of pickled batches (trusted, because its hash was checked)."""
    images, labels = {"train": [], "test": []}, {"train": [], "test": []}
    with tarfile.open(paths[0]) as archive:
        for member in sorted(archive.getmembers(), key=lambda member: member.name):
            name = Path(member.name).name
            if name.startswith(("data_batch_", "test_batch")):
                part = "test" if name.startswith("test") else "train"
                batch = pickle.load(archive.extractfile(member), encoding="bytes")
                images[part].append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
                labels[part].append(np.array(batch[b"labels"]))
    return {
        "x_train": np.concatenate(images["train"]),
        "y_train": np.concatenate(labels["train"]),
        "x_test": np.concatenate(images["test"]),
        "y_test": np.concatenate(labels["test"]),
    }


SOURCE = source.Source(
    name="CIFAR-10",
    files=("cifar10.npz",),
    read_folder=lambda path: source.read_npz(path, (32, 32, 3), 10),
    downloads=(
        source.Download(
            url="https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
            file="datasets/cifar-10-batches-py-target_archive",
            hash="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            megabytes=163,
        ),
    ),
    read_downloads=read_archive,
    embedded=lambda: source.stand_in(objects.draw, train=5_000, test=1_000),
    stand_in="6,000 drawn objects of the same ten classes",
)


def cifar10(run) -> source.LabelledImages:
    """Objects: images uint8 (n, 32, 32, 3); labels 0 to 9."""
    return source.labelled_images(run, SOURCE, objects.CLASS_NAMES)
