"""File formats in which images with labels are found: NumPy's archives, idx files, pickles, tables of numbers.

Every reader gives {"x_train": uint8 (n, height, width[, 3]), "y_train": (n,), "x_test": ..., "y_test": ...}.
"""

import gzip
import math
import pickle
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from lessonkit.config import StudyError
from lessonkit.datasets import source

import numpy as np

# MNIST and Fashion-MNIST come as four files of these names; many copies have a dot for the first dash, or no .gz.
IDX_FILES = (
    "train-images?idx3-ubyte*",
    "train-labels?idx1-ubyte*",
    "t10k-images?idx3-ubyte*",
    "t10k-labels?idx1-ubyte*",
)
ARRAYS = ("x_train", "y_train", "x_test", "y_test")
# All that a pickle of arrays needs. Anything else in a pickle could run a program.
HARMLESS = {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("_codecs", "encode"),
}


def checked(path: Path, arrays: dict[str, np.ndarray], shape: tuple[int, ...], classes: int) -> dict[str, np.ndarray]:
    """The same arrays; images must be uint8 (n, *shape), labels whole numbers below `classes`."""
    if missing := set(ARRAYS) - set(arrays):
        raise StudyError(f"{path}: has no array {' or '.join(sorted(missing))}")
    for part in ("train", "test"):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) == 0:
            wanted = f"uint8 (n, {', '.join(map(str, shape))})"
            raise StudyError(f"{path}: x_{part} should be {wanted}, not {images.dtype} {images.shape}")
        whole = labels.size == len(images) and np.issubdtype(labels.dtype, np.integer)
        if not whole or labels.min() < 0 or labels.max() >= classes:
            raise StudyError(f"{path}: y_{part} should be {len(images)} whole numbers from 0 to {classes - 1}")
    return arrays


def check_size(path: Path, size: int) -> None:
    """Refuse what would fill the memory: a few kilobytes can unpack to all there is."""
    if size > source.MOST_BYTES:
        raise StudyError(f"{path}: would unpack to {size / 2**30:.1f} GiB or more; it is not the file it should be")


def read_npz(path: Path, shape: tuple[int, ...], classes: int) -> dict[str, np.ndarray]:
    """NumPy's archive of the four arrays."""
    with zipfile.ZipFile(path) as archive:
        check_size(path, sum(member.file_size for member in archive.infolist()))
    with np.load(path, allow_pickle=False) as file:
        return checked(path, {name: file[name] for name in ARRAYS if name in file.files}, shape, classes)


def unpacked(path: Path) -> bytes:
    """The bytes of a file, which may be compressed by gzip, whatever it is called."""
    with path.open("rb") as file:
        compressed = file.read(2) == b"\x1f\x8b"
    with (gzip.open if compressed else open)(path, "rb") as file:
        content = file.read(source.MOST_BYTES + 1)
    check_size(path, len(content))
    return content


def read_idx(path: Path) -> np.ndarray:
    """Bytes in Yann LeCun's idx format: two zeros, 8 for "bytes", the number of axes, their lengths, the values."""
    content = unpacked(path)
    if len(content) < 4 or content[:3] != bytes([0, 0, 8]):
        raise StudyError(f"{path}: not an idx file of bytes; replace or remove it")
    start = 4 + 4 * content[3]
    shape = np.frombuffer(content[4:start], ">u4").tolist()
    if len(content) - start != math.prod(shape):
        raise StudyError(f"{path}: {len(content) - start:,} values, not those of shape {tuple(shape)}; replace it")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def read_idx_files(paths: list[Path]) -> dict[str, np.ndarray]:
    """The four files, in the order of IDX_FILES."""
    arrays = {name: source.read(read_idx, path) for name, path in zip(ARRAYS, paths, strict=True)}
    for part, path in (("train", paths[1]), ("test", paths[3])):
        if arrays[f"x_{part}"].shape != (*arrays[f"y_{part}"].shape, 28, 28):
            raise StudyError(f"{path}: its labels do not belong to the pictures beside it; fetch both again")
    return checked(paths[0], arrays, (28, 28), 10)


def begins_with(paths: list[Path], labels: tuple[int, ...]) -> bool:
    """Whether idx files begin with these labels: MNIST and Fashion-MNIST have files of the same names."""
    try:
        return tuple(read_idx(paths[1])[: len(labels)].tolist()) == labels
    except Exception:  # broken files may be of either; who reads them says what is wrong
        return True


def idx_forms(first_labels: tuple[int, ...], *folders: str) -> tuple[source.Form, source.Form]:
    """Idx files in a folder whose name tells what they are, or in the data folder itself."""
    return (
        source.Form(IDX_FILES, read_idx_files, folders),
        source.Form(IDX_FILES, read_idx_files, fits=lambda paths: begins_with(paths, first_labels)),
    )


def read_table(path: Path) -> np.ndarray:
    """Rows of whole numbers from 0 to 255; titles above them are passed over."""
    with path.open(encoding="utf-8", errors="replace") as file:
        has_titles = not file.readline()[:1].isdigit()
    return np.loadtxt(path, np.uint8, delimiter=",", skiprows=int(has_titles), ndmin=2)


def read_tables(paths: list[Path]) -> dict[str, np.ndarray]:
    """Two tables of numbers with commas, one for training and one for testing: the label, then 784 pixels, in a row."""
    arrays = {}
    for part, path in zip(("train", "test"), paths, strict=True):
        table = source.read(read_table, path)
        if table.shape[1] != 785:
            raise StudyError(f"{path}: {table.shape[1]} numbers in a row, not a label and 784 pixels")
        arrays[f"x_{part}"], arrays[f"y_{part}"] = table[:, 1:].reshape(-1, 28, 28), table[:, 0]
    return checked(paths[0], arrays, (28, 28), 10)


class ArraysOnly(pickle.Unpickler):
    """Reads pickles of plain values and NumPy arrays, and nothing that could run a program."""

    def find_class(self, module: str, name: str):
        """The few functions that arrays need."""
        if (module, name) not in HARMLESS:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}, which no array needs")
        return super().find_class(module, name)


def read_pickled_mnist(paths: list[Path]) -> dict[str, np.ndarray]:
    """`mnist.pkl.gz` of deeplearning.net: 50,000 + 10,000 + 10,000 digits for training, validation and testing.

    Pixels are fractions of 256; copies that divide by 255 are around, too. Training and validation digits are MNIST's
    training digits.
    """
    with gzip.open(paths[0]) as file:
        parts = ArraysOnly(file, encoding="latin1").load()
    images = [np.asarray(pixels).reshape(-1, 28, 28) for pixels, _ in parts]
    labels = [np.asarray(numbers) for _, numbers in parts]
    white = 256 if max(part.max() for part in images) < 1 else 255
    images = [np.rint(part * white).astype(np.uint8) for part in images]
    arrays = {"x_train": np.concatenate(images[:-1]), "y_train": np.concatenate(labels[:-1])}
    return checked(paths[0], arrays | {"x_test": images[-1], "y_test": labels[-1]}, (28, 28), 10)


def batches_in(path: Path) -> Iterable[tuple[str, BinaryIO]]:
    """Names and contents of CIFAR-10's pickled batches, in a folder or an archive."""
    if path.is_dir():
        for batch in source.visible(path, "*_batch*"):
            with batch.open("rb") as file:
                yield batch.name, file
        return
    with tarfile.open(path) as archive:
        members = sorted((member for member in archive if member.isfile()), key=lambda member: member.name)
        check_size(path, sum(member.size for member in members))
        for member in members:
            yield Path(member.name).name, archive.extractfile(member)


def read_pickled_cifar10(paths: list[Path]) -> dict[str, np.ndarray]:
    """The authors' batches: pictures channel by channel; `cifar-10-batches-py` or `cifar-10-python.tar.gz`."""
    images, labels = {"train": [], "test": []}, {"train": [], "test": []}
    for name, file in batches_in(paths[0]):
        if name.startswith(("data_batch_", "test_batch")):
            part = "test" if name.startswith("test") else "train"
            batch = ArraysOnly(file, encoding="bytes").load()
            images[part].append(batch[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
            labels[part].append(np.array(batch[b"labels"]))
    if not images["train"] or not images["test"]:
        raise StudyError(f"{paths[0]}: should hold data_batch_1 to data_batch_5 and test_batch; fetch it again")
    arrays = {}
    for part in images:
        arrays |= {f"x_{part}": np.concatenate(images[part]), f"y_{part}": np.concatenate(labels[part])}
    return checked(paths[0], arrays, (32, 32, 3), 10)
