"""Where the bytes come from: the data folder, Keras' cache and download, or the embedded stand-in; in this order."""

import dataclasses
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lessonkit.config import StudyError

import numpy as np
import pooch
import requests
import tqdm

if TYPE_CHECKING:
    from lessonkit.run import Run

MOST_BYTES = 2**31  # that a file in the data folder may unpack to; the largest here, CIFAR-10, has 184 MB
PATIENCE = 4.0  # seconds that the question "is there a network?" may take, once in a run
STALL = 20.0  # seconds without a byte after which a download has failed


@dataclasses.dataclass(frozen=True)
class Form:
    """A form in which a data set may lie in the data folder."""

    files: tuple[str, ...]  # patterns, one for each of the files that belong together
    read: Callable[[list[Path]], Any]  # gets their paths in this order
    folders: tuple[str, ...] = (".",)  # patterns of the places in the data folder where they may lie
    fits: Callable[[list[Path]], bool] = lambda paths: True  # what else must hold of the paths

    def find(self, folder: Path) -> list[Path] | None:
        """The paths in the first place that holds all of them."""
        for pattern in self.folders:
            for place in [folder] if pattern == "." else visible(folder, pattern):
                matches = [visible(place, file) for file in self.files]
                if all(matches) and self.fits(paths := [found[0] for found in matches]):
                    return paths
        return None


@dataclasses.dataclass(frozen=True)
class Download:
    """A file that Keras would keep in its cache."""

    url: str
    file: str  # below the cache, for instance "datasets/mnist.npz"
    hash: str | None  # sha256 or md5
    megabytes: int
    automatic: bool = True  # False: only with --data real, or by `make data`

    @property
    def algorithm(self) -> str:
        """The kind of hash, by its length."""
        return "md5" if len(self.hash) == 32 else "sha256"


@dataclasses.dataclass(frozen=True)
class StandIn:
    """Data that need no network, under a name of their own."""

    name: str
    things: str
    origin: str
    draw: Callable[[int | None], Any]  # gets --limit; it may draw more


@dataclasses.dataclass(frozen=True)
class Source:
    """How to get one data set.

    The readers turn paths into the data set, and raise StudyError (or what NumPy and tarfile raise) for a file that is
    not what it should be.
    """

    name: str  # of the real data set
    things: str  # what it consists of: a plural for titles
    forms: tuple[Form, ...]  # what to look for in the data folder, in this order
    downloads: tuple[Download, ...]
    read_downloads: Callable[[list[Path]], Any]
    stand_in: StandIn
    by_hand: str  # what to place in the data folder, in words

    @property
    def how_to_place(self) -> str:
        """What to do when the data cannot be fetched."""
        return f"place {self.by_hand} in a folder and name it with --data-dir"


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What came out of a source, and what it may be called."""

    content: Any
    name: str
    things: str
    kind: Literal["real", "embedded"]
    origin: str

    def record(self, run: "Run", **counts: int) -> None:
        """Tell the run which data it uses."""
        run.record_data(self.name, self.kind, self.origin, counts)


def load(run: "Run", source: Source) -> Loaded:
    """Get a data set in the order of `--data`.

    Raises:
        StudyError: for a file that cannot be read, or with `--data real` where there is none.
    """
    if run.config.data == "embedded":
        return embedded(run, source)
    folder, passed_over = run.config.data_dir, ""
    if folder is not None:
        for form in source.forms:
            if paths := form.find(folder):
                origin = f"{paths[0].relative_to(folder).as_posix()} in the data folder"
                return Loaded(read(form.read, paths), source.name, source.things, "real", origin)
        passed_over = f"{folder} holds {listing(folder)}, but no {source.by_hand}"
    if passed_over and run.config.data == "auto":
        run.say(f"{source.name}: {passed_over}")
    try:
        paths = [fetch(run, download) for download in source.downloads]
    except LookupError as problem:
        if run.config.data == "real":
            reasons = f"{passed_over}; {problem}" if passed_over else problem
            raise StudyError(f"{source.name}: {reasons}; {source.how_to_place}") from None
        run.say(f"{source.name}: {problem}; using {source.stand_in.name} instead")
        return embedded(run, source)
    origin = f"{source.downloads[0].file} in Keras' cache"
    return Loaded(read(source.read_downloads, paths), source.name, source.things, "real", origin)


def embedded(run: "Run", source: Source) -> Loaded:
    """The stand-in."""
    stand_in = source.stand_in
    return Loaded(stand_in.draw(run.config.limit), stand_in.name, stand_in.things, "embedded", stand_in.origin)


def visible(folder: Path, pattern: str = "*") -> list[Path]:
    """The files of a folder, then its folders, each by name; without hidden ones (`.DS_Store`, `._picture.jpg`)."""
    found = (path for path in folder.glob(pattern) if not path.name.startswith("."))
    return sorted(found, key=lambda path: (path.is_dir(), path.name))


def listing(folder: Path, most: int = 5) -> str:
    """The first names in a folder, in words."""
    names = [path.name for path in visible(folder)]
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return (", ".join(names[:most]) or "nothing") + more


def read(reader: Callable, where: Path | list[Path]) -> Any:
    """Call a reader; whatever it finds wrong with a file becomes one line that names the file."""
    try:
        return reader(where)
    except StudyError:
        raise
    except Exception as problem:  # zipfile, tarfile, gzip, pickle and NumPy each have their own
        path = where if isinstance(where, Path) else where[0]
        said = " ".join(str(problem).split()) or type(problem).__name__
        raise StudyError(f"{path}: cannot be read ({said}); replace or remove it") from None


# Keras' cache and downloads


def keras_home() -> Path:
    """Keras' cache folder."""
    return Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()


def fetch(run: "Run", download: Download) -> Path:
    """The path of a file in Keras' cache, downloaded if it is not there.

    A file with the wrong hash is left alone: it may be the reader's only copy.

    Raises:
        LookupError: saying why the file cannot be had.
    """
    target = keras_home() / download.file
    if target.exists():
        if download.hash and pooch.file_hash(target, download.algorithm) != download.hash:
            raise LookupError(f"{target} is not the expected file (wrong hash; left as it is, move it away)")
        return target
    if not download.automatic and run.config.data != "real":
        raise LookupError(f"{download.megabytes:,} MB are downloaded only with --data real")
    if not is_online(run, download.url):
        raise LookupError("not here, and no network")
    run.say(f"downloading {download.megabytes:,} MB from {download.url}")
    pooch.get_logger().setLevel("ERROR")  # it announces every download once more
    # A bar is drawn in a terminal only (disable=None), not into a log file.
    downloader = pooch.HTTPDownloader(
        progressbar=tqdm.tqdm(total=download.megabytes * 10**6, unit="B", unit_scale=True, disable=None),
        chunk_size=2**16,
        timeout=(PATIENCE, STALL),
    )
    try:
        # Pooch writes beside the target, and moves the file into place only if its hash is right.
        pooch.retrieve(
            download.url,
            known_hash=download.hash and f"{download.algorithm}:{download.hash}",
            fname=target.name,
            path=target.parent,
            downloader=downloader,
        )
        target.chmod(0o644)  # a temporary file may be read by its owner alone, a cache by all
    except Exception as problem:  # of requests, of the disk, or a wrong hash: ValueError
        wrong_hash = isinstance(problem, ValueError) and "hash of downloaded file" in str(problem)
        reason = "wrong hash" if wrong_hash else problem
        raise LookupError(f"the download failed ({' '.join(str(reason).split())})") from None
    finally:
        downloader.progressbar.close()
    return target


def is_online(run: "Run", url: str) -> bool:
    """Whether a server answers; asked once in a run, in a thread because a name look-up has no timeout."""
    if run.online is None:
        answers = []

        def ask():
            try:
                requests.head(url, timeout=PATIENCE).close()
                answers.append(True)  # whatever it answers
            except Exception:
                answers.append(False)

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        run.online = any(answers)
    return run.online


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
    """A training and a test split, the names of the classes, and what the data are called.

    `name` is the data set's own ("MNIST"), or that of its stand-in ("scikit-learn digits"); `things` is a plural for
    titles ("digits", "drawn garments").
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    name: str
    things: str


def labelled_images(run: "Run", source: Source, class_names: tuple[str, ...]) -> LabelledImages:
    """Load a data set whose readers give {"x_train": ..., "y_train": ..., "x_test": ..., "y_test": ...}."""
    with run.part("data"):
        loaded = load(run, source)
        train, test = (
            Split(loaded.content[f"x_{part}"], np.ravel(loaded.content[f"y_{part}"]).astype(np.int32))
            for part in ("train", "test")
        )
        train, test = train.first(run.config.limit), test.first(run.config.limit)
    loaded.record(run, train=len(train), test=len(test))
    return LabelledImages(train, test, class_names, name=loaded.name, things=loaded.things)
