"""IMDB: 25,000 + 25,000 film reviews as raw text, half of them good, half bad (Maas et al. 2011)."""

import dataclasses
import re
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from lessonkit.config import StudyError
from lessonkit.datasets import source
from lessonkit.datasets.embedded import reviews

if TYPE_CHECKING:
    from lessonkit.run import Run

NAME, THINGS = "IMDB reviews", "film reviews"
STAND_IN_NAME, STAND_IN_THINGS = "grammar reviews", "reviews from a grammar"
DRAWN = {"train": 20_000, "test": 2_000}
# Four folders and nothing else: beside them lie 50,000 reviews without a label (unsup) and lists that are no reviews.
REVIEW = re.compile(r"(?:.*/)?(train|test)/(pos|neg)/(\d+)_\d+\.txt")


@dataclasses.dataclass(frozen=True)
class Texts:
    """Raw reviews in a fixed mixed order, so that the first N of them are a fair sample; and what they are called."""

    train: list[str]
    test: list[str]  # of other films than those in `train`: what was memorised does not help
    name: str
    things: str


def read(path: Path) -> Texts:
    """Read the authors' archive, or the folder that was unpacked from it."""
    found = read_folder(path) if path.is_dir() else read_archive(path)
    found = sorted(found, key=lambda review: (zlib.crc32("/".join(review[:3]).encode()), review))
    texts = {part: [text for its_part, *_, text in found if its_part == part] for part in ("train", "test")}
    for part, its_texts in texts.items():
        if not its_texts:
            raise StudyError(f"{path}: holds no reviews in aclImdb/{part}/pos and aclImdb/{part}/neg")
    return Texts(**texts, name=NAME, things=THINGS)


def read_archive(path: Path) -> Iterable[tuple]:
    """(part, class, number, text) of each review, straight from the archive: nothing in it can name a place on disk."""
    with tarfile.open(path, "r|*") as archive:  # as a stream: the archive is unpacked once, from front to back
        for member in archive:
            if member.isfile() and (name := REVIEW.fullmatch(member.name)):
                yield *name.groups(), archive.extractfile(member).read().decode("utf-8", "replace")


def read_folder(folder: Path) -> Iterable[tuple]:
    """The same from the unpacked folder."""
    inner = folder / folder.name  # some programs unpack to aclImdb/aclImdb
    folder = inner if inner.is_dir() else folder
    for part in ("train", "test"):
        for path in folder.glob(f"{part}/*/*.txt"):
            if name := REVIEW.fullmatch(path.relative_to(folder).as_posix()):
                yield *name.groups(), path.read_text("utf-8", "replace")


def draw_reviews(limit: int | None = None) -> Texts:
    """The stand-in: reviews from the grammar, no more than asked for; fewer of them are the beginning of more."""
    texts = {part: reviews.draw(min(limit or count, count), seed) for seed, (part, count) in enumerate(DRAWN.items())}
    return Texts(**texts, name=STAND_IN_NAME, things=STAND_IN_THINGS)


SOURCE = source.Source(
    name=NAME,
    things=THINGS,
    forms=(
        source.Form(("aclImdb_v1.tar.gz",), lambda paths: read(paths[0])),
        source.Form(("aclImdb",), lambda paths: read(paths[0]), fits=lambda paths: any(source.visible(paths[0]))),
    ),
    downloads=(
        source.Download(
            url="https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz",
            file="datasets/aclImdb_v1.tar.gz",
            hash="7c2ac02c03563afcf9b574c7e56c153a",
            megabytes=84,
        ),
    ),
    read_downloads=lambda paths: read(paths[0]),
    stand_in=source.StandIn(
        name=STAND_IN_NAME,
        things=STAND_IN_THINGS,
        origin="a small grammar whose entropy is known",
        draw=draw_reviews,
    ),
    by_hand="aclImdb_v1.tar.gz",
)


def imdb(run: "Run") -> Texts:
    """Film reviews as raw text, at most `--limit` of each part."""
    limit = run.config.limit
    with run.part("data"):
        loaded = source.load(run, SOURCE)
        texts = loaded.content
        texts = dataclasses.replace(texts, train=texts.train[:limit], test=texts.test[:limit])
    loaded.record(run, train=len(texts.train), test=len(texts.test))
    return texts
