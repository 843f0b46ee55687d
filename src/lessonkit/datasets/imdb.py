"""IMDB: 25,000 + 25,000 film reviews as raw text, half of them good, half bad (Maas et al. 2011)."""

import dataclasses
import re
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from lessonkit.config import StudyError
from lessonkit.datasets import source
from lessonkit.datasets.embedded import reviews

# Four folders and nothing else: beside them lie 50,000 reviews without a label (unsup) and lists that are no reviews.
REVIEW = re.compile(r"(?:.*/)?(train|test)/(pos|neg)/(\d+)_\d+\.txt")


@dataclasses.dataclass(frozen=True)
class Texts:
    """Raw reviews in a fixed mixed order, so that the first N of them are a fair sample."""

    train: list[str]
    test: list[str]  # of other films than those in `train`: nobody can know them by heart


def read(path: Path) -> Texts:
    """Read the authors' archive, or the folder that was unpacked from it."""
    found = read_folder(path) if path.is_dir() else read_archive(path)
    found = sorted(found, key=lambda review: (zlib.crc32("/".join(review[:3]).encode()), review))
    texts = {part: [text for its_part, *_, text in found if its_part == part] for part in ("train", "test")}
    for part, its_texts in texts.items():
        if not its_texts:
            raise StudyError(f"{path}: holds no reviews in aclImdb/{part}/pos and aclImdb/{part}/neg")
    return Texts(**texts)


def read_archive(path: Path) -> Iterable[tuple]:
    """(part, class, number, text) of each review, straight from the archive: nothing in it can name a place on disk."""
    with tarfile.open(path, "r|*") as archive:  # as a stream: the archive is unpacked once, from front to back
        for member in archive:
            if member.isfile() and (name := REVIEW.fullmatch(member.name)):
                yield *name.groups(), archive.extractfile(member).read().decode("utf-8", "replace")


def read_folder(folder: Path) -> Iterable[tuple]:
    """The same from the unpacked folder."""
    for part in ("train", "test"):
        for path in folder.glob(f"{part}/*/*.txt"):
            if name := REVIEW.fullmatch(path.relative_to(folder).as_posix()):
                yield *name.groups(), path.read_text("utf-8", "replace")


def stand_in(limit: int | None = None) -> Texts:
    """Reviews from the grammar; fewer of them are the beginning of more."""
    train, test = (min(limit or count, count) for count in (20_000, 2_000))
    return Texts(train=reviews.draw(train, seed=0), test=reviews.draw(test, seed=1))


SOURCE = source.Source(
    name="IMDB reviews",
    files=("aclImdb_v1.tar.gz", "aclImdb"),
    read_folder=read,
    downloads=(
        source.Download(
            url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            file="datasets/aclImdb_v1.tar.gz",
            hash="7c2ac02c03563afcf9b574c7e56c153a",
            megabytes=84,
        ),
    ),
    read_downloads=lambda paths: read(paths[0]),
    embedded=stand_in,
    stand_in="reviews from a small grammar whose entropy is known",
)


def imdb(run) -> Texts:
    """Film reviews as raw text, at most `--limit` of each part."""
    limit = run.config.limit
    with run.part("data"):
        # The grammar writes only as many reviews as are asked for: a smoke test need not wait for all of them.
        texts, kind, origin = source.load(run, dataclasses.replace(SOURCE, embedded=lambda: stand_in(limit)))
        texts = Texts(texts.train[:limit], texts.test[:limit])
    run.record_data(SOURCE.name, kind, origin, {"train": len(texts.train), "test": len(texts.test)})
    return texts
