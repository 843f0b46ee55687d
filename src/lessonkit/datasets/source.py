"""Where the bytes come from: the data folder, Keras' cache and download, or the embedded stand-in; in this order."""

import dataclasses
import hashlib
import os
import socket
import threading
import urllib.request
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lessonkit.config import StudyError

import keras
import numpy as np

MOST_BYTES = 2**31  # that an .npz file may unpack to; the largest here, CIFAR-10, has 184 MB
PATIENCE = 4.0  # seconds that the question "is there a network?" may take, once in a run


@dataclasses.dataclass(frozen=True)
class Download:
    """A file that Keras would keep in its cache."""

    url: str
    file: str  # below the cache, for instance "datasets/mnist.npz"
    hash: str | None  # sha256 or md5
    megabytes: int
    automatic: bool = True  # False: only with --data real, or by `make data`


@dataclasses.dataclass(frozen=True)
class Source:
    """How to get one data set.

    read_folder and read_downloads turn paths into the data set, and raise StudyError (or what NumPy and tarfile raise)
    for a file that is not what it should be; embedded draws the stand-in.
    """

    name: str
    files: tuple[str, ...]  # what to look for in the data folder; the first one found is used
    read_folder: Callable[[Path], Any]
    downloads: tuple[Download, ...]
    read_downloads: Callable[[list[Path]], Any]
    embedded: Callable[[], Any]
    stand_in: str  # what the embedded data are, for the small print
    by_hand: str = ""  # what to place in the data folder, where it is more than the first of `files`

    @property
    def how_to_place(self) -> str:
        """What to do when the data cannot be fetched."""
        return f"place {self.by_hand or self.files[0]} in a folder and name it with --data-dir"


def load(run, source: Source) -> tuple[Any, str, str]:
    """Get a data set in the order of `--data`; returns (data, "real" or "embedded", where it came from).

    Raises:
        StudyError: for a file that cannot be read, or with `--data real` where there is none.
    """
    if run.config.data == "embedded":
        return source.embedded(), "embedded", source.stand_in
    folder = run.config.data_dir
    for file in source.files if folder else ():
        if (folder / file).exists():
            return read(source.read_folder, folder / file), "real", f"{file} in the data folder"
    try:
        paths = [fetch(run, download) for download in source.downloads]
    except LookupError as problem:
        if run.config.data == "real":
            raise StudyError(f"{source.name}: {problem}; {source.how_to_place}") from None
        run.say(f"{source.name}: {problem}; using the embedded stand-in")
        return source.embedded(), "embedded", source.stand_in
    return read(source.read_downloads, paths), "real", f"{source.downloads[0].file} in Keras' cache"


def read(reader: Callable, where: Path | list[Path]) -> Any:
    """Call a reader; whatever it finds wrong with a file becomes one line that names the file."""
    try:
        return reader(where)
    except StudyError:
        raise
    except Exception as problem:  # zipfile, tarfile, gzip, pickle and NumPy each have their own
        path = where if isinstance(where, Path) else where[0]
        raise StudyError(
            f"{path}: cannot be read ({problem or type(problem).__name__}); replace or remove it"
        ) from None


def keras_home() -> Path:
    """Keras' cache folder."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()


def fetch(run, download: Download) -> Path:
    """The path of a file in Keras' cache, downloaded if it is not there.

    A file with the wrong hash is left alone: it may be all that somebody has.

    Raises:
        LookupError: saying why the file cannot be had.
    """
    target = keras_home() / download.file
    if target.exists():
        if download.hash and digest(target, download.hash) != download.hash:
            raise LookupError(f"{target} is not the file it should be (wrong hash; left as it is, move it away)")
        return target
    if not download.automatic and run.config.data != "real":
        raise LookupError(f"{download.megabytes} MB are downloaded only with --data real")
    if not is_online(run, download.url):
        raise LookupError("not here, and no network")
    run.say(f"downloading {download.megabytes} MB from {download.url}")
    socket.setdefaulttimeout(20)  # Keras' download has no timeout of its own
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        folder = target.parent.relative_to(keras_home())
        got = keras.utils.get_file(
            partial.name, download.url, file_hash=download.hash, cache_dir=keras_home(), cache_subdir=str(folder)
        )
        Path(got).replace(target)
    except Exception as problem:  # Keras raises plain Exception when a download fails
        partial.unlink(missing_ok=True)
        raise LookupError(f"the download failed ({problem})") from None
    finally:
        socket.setdefaulttimeout(None)
    return target


def is_online(run, url: str) -> bool:
    """Whether a server answers; asked once in a run, in a thread because looking a name up knows no timeout."""
    if run.online is None:
        answers = []

        def ask():
            try:
                urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=PATIENCE).close()
                answers.append(True)
            except Exception:
                answers.append(False)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        run.online = any(answers)
    return run.online


def digest(path: Path, like: str) -> str:
    """The hash of a file in hexadecimal: md5 or sha256, by the length of the one it is compared with."""
    hashing = hashlib.new("md5" if len(like) == 32 else "sha256")
    with path.open("rb") as file:
        while part := file.read(2**20):  # an archive may be larger than the memory
            hashing.update(part)
    return hashing.hexdigest()


# Images with labels


@dataclasses.dataclass(frozen=True)
class Split:
    """images uint8 (n, height, width[, 3]) and labels int (n,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int | None) -> "Split":
        """The first examples; all for None."""
        return Split(self.images[:count], self.labels[:count])


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """A data set of images: a training and a test split, and the names of the classes."""

    train: Split
    test: Split
    class_names: tuple[str, ...]


def labelled_images(run, source: Source, class_names: tuple[str, ...]) -> LabelledImages:
    """Load a data set whose readers give {"x_train": ..., "y_train": ..., "x_test": ..., "y_test": ...}."""
    with run.part("data"):
        arrays, kind, origin = load(run, source)
        limit = run.config.limit
        train = Split(arrays["x_train"], np.ravel(arrays["y_train"]).astype(np.int32)).first(limit)
        test = Split(arrays["x_test"], np.ravel(arrays["y_test"]).astype(np.int32)).first(limit)
    run.record_data(source.name, kind, origin, {"train": len(train), "test": len(test)})
    return LabelledImages(train, test, class_names)


def read_npz(path: Path, shape: tuple[int, ...], classes: int) -> dict[str, np.ndarray]:
    """Read x_train, y_train, x_test, y_test; images must be uint8 (n, *shape), labels whole numbers below `classes`."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MOST_BYTES:  # a few kilobytes can unpack to all the memory there is
        raise StudyError(f"{path}: would unpack to {size / 2**30:.1f} GiB; it is not the file it should be")
    with np.load(path, allow_pickle=False) as file:
        missing = {"x_train", "y_train", "x_test", "y_test"} - set(file.files)
        if missing:
            raise StudyError(f"{path}: has no array {' or '.join(sorted(missing))}")
        arrays = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    for part in ("train", "test"):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        if images.dtype != np.uint8 or images.shape[1:] != shape or len(images) == 0:
            wanted = f"uint8 (n, {', '.join(map(str, shape))})"
            raise StudyError(f"{path}: x_{part} should be {wanted}, not {images.dtype} {images.shape}")
        whole = labels.size == len(images) and np.issubdtype(labels.dtype, np.integer)
        if not whole or labels.min() < 0 or labels.max() >= classes:
            raise StudyError(f"{path}: y_{part} should be {len(images)} whole numbers from 0 to {classes - 1}")
    return arrays


def stand_in(draw: Callable[[int, int], tuple[np.ndarray, np.ndarray]], train: int, test: int) -> dict[str, np.ndarray]:
    """Draw a stand-in's two splits: images that differ, from one seed that never changes."""
    images, labels = draw(train + test, seed=0)
    return {"x_train": images[:train], "y_train": labels[:train], "x_test": images[train:], "y_test": labels[train:]}
