"""CelebA: 202,599 photographs of faces with forty attributes each (Liu, Luo, Wang and Tang 2015)."""

import concurrent.futures
import dataclasses
import io
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lessonkit.config import StudyError
from lessonkit.datasets import source
from lessonkit.datasets.embedded import faces

import keras
import numpy as np
from PIL import Image, ImageOps

if TYPE_CHECKING:
    from lessonkit.run import Run

SIZE = 64
ATTRIBUTE_FILES = ("list_attr_celeba.txt", "list_attr_celeba.csv")  # the authors', and Kaggle's
ALL_FACES, TRAINING_FACES, FIRST_TEST_FACE = 202_599, 162_770, 182_637  # the authors' split: nobody is in two parts
# Aligned pictures have 178 x 218 pixels, the eyes in the same place. This square leaves out most of the background.
WIDTH, HEIGHT, CROP, LOWER = 178, 218, 128, 6  # its side, and how far below the middle its centre is
DRAWN = {"train": 8_000, "test": 1_000}  # faces of the embedded stand-in
FOLDERS = (".", "Img", "[Cc]eleb[Aa]*", "[Cc]eleb[Aa]*/Img")  # where the pictures may lie in the data folder


@dataclasses.dataclass(frozen=True)
class FaceSplit:
    """images uint8 (n, 64, 64, 3) and, for every attribute's name, a boolean array (n,)."""

    images: np.ndarray
    attributes: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)


@dataclasses.dataclass(frozen=True)
class Faces:
    """The training and the test faces, the names of their attributes, and what they are called."""

    train: FaceSplit
    test: FaceSplit
    attribute_names: tuple[str, ...]
    name: str
    things: str


def celeba(run: "Run", most: int = 20_000, drawn: Mapping[str, int] = DRAWN) -> Faces:
    """Faces with attributes; at most `most` of them (or --limit) for training, and a tenth of that for testing.

    All 162,770 training faces would fill 2 GB, so only the first are read. The stand-in has at most `drawn`.
    """
    limit = run.config.limit or ALL_FACES
    counts = {"train": min(most, limit), "test": min(max(most // 10, 1), limit)}
    with run.part("data"):
        loaded = source.load(run, celeba_source(counts, drawn, run.say))
    parts = loaded.content
    loaded.record(run, **{part: len(split) for part, split in parts.items()})
    return Faces(**parts, attribute_names=tuple(parts["train"].attributes), name=loaded.name, things=loaded.things)


def celeba_source(
    counts: Mapping[str, int], drawn: Mapping[str, int] = DRAWN, say: Callable[[str], None] = print
) -> source.Source:
    """The source of so many training and test faces."""

    def read(paths: list[Path]) -> dict[str, FaceSplit]:
        return read_faces(paths[0], find_attribute_file(paths[0]), counts, say)

    drive = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
    return source.Source(
        name="CelebA",
        things="photographs of faces",
        forms=(
            source.Form(("img_align_celeba",), read, FOLDERS, fits=lambda paths: holds_pictures(paths[0])),
            source.Form(("img_align_celeba.zip",), read, FOLDERS),
        ),
        downloads=(
            source.Download(
                url=drive + "0B7EVK8r0v71pZjFTYXZWM3FlRnM",
                file="datasets/img_align_celeba.zip",
                hash="00d2c5bc6d35e252742224ab0c1e8fcb",
                megabytes=1443,
                automatic=False,
            ),
            source.Download(
                url=drive + "0B7EVK8r0v71pblRyaVFSWGxPY0U",
                file="datasets/list_attr_celeba.txt",
                hash="75e246fa4810816ffd6ee81facbd244c",
                megabytes=27,
                automatic=False,
            ),
        ),
        read_downloads=lambda paths: read_faces(*paths, counts, say),
        stand_in=source.StandIn(
            name="drawn faces",
            things="drawn faces",
            origin="pictures drawn by code from attributes",
            draw=lambda limit: draw_faces(counts, drawn),
        ),
        by_hand="img_align_celeba.zip and list_attr_celeba.txt (from mmlab.ie.cuhk.edu.hk/projects/CelebA.html)",
    )


SOURCE = celeba_source({"train": 20_000, "test": 2_000})


def draw_faces(counts: Mapping[str, int], drawn: Mapping[str, int] = DRAWN) -> dict[str, FaceSplit]:
    """The stand-in. Each split has its own seed, so that the first faces are the same however many are drawn."""
    splits = {}
    for seed, (part, count) in enumerate(counts.items()):
        images, attributes = faces.draw(min(count, drawn[part]), seed)
        splits[part] = FaceSplit(images, dict(zip(faces.ATTRIBUTES, attributes.T, strict=True)))
    return splits


def read_faces(
    pictures: Path, attribute_file: Path, counts: Mapping[str, int], say: Callable[[str], None] = print
) -> dict[str, FaceSplit]:
    """Read the first faces of each part, of the pictures that are there.

    Args:
        pictures: a folder of pictures or a zip archive of them, named as in the attribute file.
        attribute_file: the authors' `list_attr_celeba.txt`, or Kaggle's .csv.
        counts: the most faces to read, for "train" and "test".
        say: is told if only a part of the pictures is there.

    Raises:
        StudyError: for a broken picture, no picture at all, or an attribute file that is not whole.
    """
    attribute_names, rows = read_attribute_file(attribute_file)
    members, open_picture = picture_opener(pictures)
    by_stem = {Path(member).stem: member for member in members}  # some copies are PNG files under the same numbers
    there = [index for index, name in enumerate(rows) if Path(name).stem in by_stem]
    if len(there) < 2:
        raise StudyError(
            f"{pictures}: holds {len(there)} of the pictures in {attribute_file.name}; the two do not belong together"
        )
    if len(there) < len(rows):
        say(f"{pictures}: {len(there):,} of the {len(rows):,} pictures that {attribute_file.name} lists are here")
    names, splits = list(rows), {}
    for part, indices in zip(("train", "test"), split_faces(there, len(rows), say), strict=True):
        chosen = [names[index] for index in indices[: counts[part]]]
        attributes = attribute_table([rows[name] for name in chosen], len(attribute_names), attribute_file)
        images = read_pictures(pictures, [by_stem[Path(name).stem] for name in chosen], open_picture, part)
        splits[part] = FaceSplit(images, dict(zip(attribute_names, attributes.T, strict=True)))
    return splits


def split_faces(there: list[int], listed: int, say: Callable[[str], None] = print) -> tuple[list[int], list[int]]:
    """Numbers of the training and of the test faces: the authors' split where both parts are here, else the last tenth.

    Args:
        there: the faces whose pictures are here, by their place in the attribute file.
        listed: how many faces the attribute file has.
        say: is told if the same person may be in both parts.
    """
    if listed == ALL_FACES:
        train = [index for index in there if index < TRAINING_FACES]
        test = [index for index in there if index >= FIRST_TEST_FACE]
        if len(train) >= len(test) >= len(train) / 20:
            return train, test
        say("CelebA's own test faces are not here: the last tenth is for testing, and shares persons with the rest")
    edge = len(there) - max(len(there) // 10, 1)
    return there[:edge], there[edge:]


# The attributes


def find_attribute_file(pictures: Path) -> Path:
    """The attribute file beside the pictures, or in `Anno`, where the authors have it."""
    place = pictures.parent
    for folder in (place, place / "Anno", *([place.parent / "Anno"] if place.name == "Img" else [])):
        for name in ATTRIBUTE_FILES:
            if (folder / name).is_file():
                return folder / name
    raise StudyError(f"{place}: has no {' or '.join(ATTRIBUTE_FILES)}; place CelebA's beside {pictures.name}")


def read_attribute_file(path: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the attributes; and for the name of every picture a line of "1" or "-1" for every attribute."""
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if lines and "," in lines[0]:  # Kaggle's copy: a table with titles, and no count
        lines = [line.replace(",", " ") for line in lines]
        names, faces_listed = lines[0].split()[1:], lines[1:]
    elif lines and lines[0].strip().isdigit():
        names, faces_listed = lines[1].split() if len(lines) > 1 else [], lines[2:]
        if int(lines[0]) != len(faces_listed):
            raise StudyError(f"{path}: announces {int(lines[0])} faces but lists {len(faces_listed)}; fetch it again")
    else:
        names = faces_listed = []
    if not names or len(faces_listed) < 2:
        raise StudyError(
            f"{path}: should be the number of faces, the names of the attributes, and two faces or more, each in a line"
        )
    pieces = (line.strip().partition(" ") for line in faces_listed)
    return names, {name: values for name, _, values in pieces}


def attribute_table(lines: Sequence[str], names: int, path: Path) -> np.ndarray:
    """Lines of "1" and "-1" as booleans (n, names)."""
    rows = [line.split() for line in lines]
    for row in rows:
        if len(row) != names or set(row) - {"1", "-1"}:
            raise StudyError(f"{path}: every face needs {names} values 1 or -1, not {' '.join(row)[:40]!r}")
    return np.array(rows) == "1"


# The pictures


def picture_folder(folder: Path) -> Path:
    """Where the pictures are: some archives unpack to img_align_celeba/img_align_celeba."""
    inner = folder / folder.name
    return inner if inner.is_dir() else folder


def holds_pictures(folder: Path) -> bool:
    """Whether a path is a folder that is not empty; hidden files do not count."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in picture_folder(folder).iterdir())


def picture_opener(pictures: Path) -> tuple[list[str], Callable[[str], bytes]]:
    """Names of all pictures, and a function that gives the bytes of one."""
    if pictures.is_dir():
        folder = picture_folder(pictures)
        return [path.name for path in folder.iterdir()], lambda name: (folder / name).read_bytes()
    archive = zipfile.ZipFile(pictures)
    return archive.namelist(), archive.read


def read_pictures(pictures: Path, names: Sequence[str], open_picture: Callable[[str], bytes], part: str) -> np.ndarray:
    """Pictures as uint8 (n, 64, 64, 3), read by several threads (Pillow decodes outside Python's lock)."""
    images = np.empty((len(names), SIZE, SIZE, 3), np.uint8)
    bar = keras.utils.Progbar(len(names), verbose=1 if sys.stdout.isatty() else 2, unit_name=f"{part}ing face")

    def read(index: int) -> None:
        try:
            images[index] = square(open_picture(names[index]))
        except Exception as problem:  # Pillow and zipfile have many
            raise StudyError(
                f"{pictures}/{names[index]}: not a whole picture ({problem or type(problem).__name__}); replace it"
            ) from None

    with concurrent.futures.ThreadPoolExecutor() as threads:
        for done, _ in enumerate(threads.map(read, range(len(names))), start=1):
            if done % 500 == 0 or done == len(names):
                bar.update(done)
    return images


def square(content: bytes) -> np.ndarray:
    """The face in an aligned picture, or the largest centred square of any other: uint8 (64, 64, 3)."""
    with Image.open(io.BytesIO(content)) as image:
        aligned = abs(image.height / image.width - HEIGHT / WIDTH) < 0.02
        width = SIZE * WIDTH / CROP if aligned else SIZE  # of which 64 are left, at the least
        image.draft("RGB", (int(width), int(width)))  # a JPEG can be decoded at half its size: faster
        image = image.convert("RGB")
        if not aligned:
            return np.asarray(ImageOps.fit(image, (SIZE, SIZE)))
        scale = image.width / WIDTH
        side = round(CROP * scale)
        left, top = round((image.width - side) / 2), round((image.height - side) / 2 + LOWER * scale)
        return np.asarray(image.crop((left, top, left + side, top + side)).resize((SIZE, SIZE)))
