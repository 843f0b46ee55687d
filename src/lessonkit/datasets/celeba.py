"""CelebA: 202,599 photographs of faces with forty attributes each (Liu, Luo, Wang and Tang 2015)."""

import concurrent.futures
import dataclasses
import io
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from lessonkit.config import StudyError
from lessonkit.datasets import source
from lessonkit.datasets.embedded import faces

import keras
import numpy as np
from PIL import Image, ImageOps

SIZE = 64
ATTRIBUTE_FILE = "list_attr_celeba.txt"
ALL_FACES, TRAINING_FACES, FIRST_TEST_FACE = 202_599, 162_770, 182_637  # the authors' split: nobody is in two parts
DRAWN = {"train": 8_000, "test": 1_000}  # faces of the embedded stand-in


@dataclasses.dataclass(frozen=True)
class FaceSplit:
    """images uint8 (n, 64, 64, 3) and, for every attribute's name, a boolean array (n,)."""

    images: np.ndarray
    attributes: dict[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.images)


@dataclasses.dataclass(frozen=True)
class Faces:
    """The training and the test faces, and the names of their attributes."""

    train: FaceSplit
    test: FaceSplit
    attribute_names: tuple[str, ...]


def celeba(run, most: int = 20_000, drawn: Mapping[str, int] = DRAWN) -> Faces:
    """Faces with attributes; at most `most` of them (or --limit) for training, and a tenth of that for testing.

    All 162,770 training faces would fill 2 GB, so only the first are read. The stand-in has at most `drawn`.
    """
    limit = run.config.limit or ALL_FACES
    counts = {"train": min(most, limit), "test": min(max(most // 10, 1), limit)}
    with run.part("data"):
        parts, kind, origin = source.load(run, celeba_source(counts, drawn))
    run.record_data("CelebA", kind, origin, {part: len(split) for part, split in parts.items()})
    return Faces(**parts, attribute_names=tuple(parts["train"].attributes))


def celeba_source(counts: dict[str, int], drawn: Mapping[str, int] = DRAWN) -> source.Source:
    """The source of so many training and test faces."""
    drive = "https://drive.usercontent.google.com/download?export=download&confirm=t&id="
    return source.Source(
        name="CelebA",
        files=("img_align_celeba", "img_align_celeba.zip"),
        read_folder=lambda path: read_faces(path, path.parent / ATTRIBUTE_FILE, counts),
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
                file=f"datasets/{ATTRIBUTE_FILE}",
                hash="75e246fa4810816ffd6ee81facbd244c",
                megabytes=27,
                automatic=False,
            ),
        ),
        read_downloads=lambda paths: read_faces(*paths, counts),
        embedded=lambda: draw_faces(counts, drawn),
        stand_in="faces drawn from known attributes",
        by_hand=f"img_align_celeba.zip and {ATTRIBUTE_FILE} (from mmlab.ie.cuhk.edu.hk/projects/CelebA.html)",
    )


SOURCE = celeba_source({"train": 20_000, "test": 2_000})


def draw_faces(counts: dict[str, int], drawn: Mapping[str, int] = DRAWN) -> dict[str, FaceSplit]:
    """The stand-in. Each split has its own seed, so that the first faces are the same however many are drawn."""
    splits = {}
    for seed, (part, count) in enumerate(counts.items()):
        images, attributes = faces.draw(min(count, drawn[part]), seed)
        splits[part] = FaceSplit(images, dict(zip(faces.ATTRIBUTES, attributes.T, strict=True)))
    return splits


def read_faces(pictures: Path, attribute_file: Path, counts: dict[str, int]) -> dict[str, FaceSplit]:
    """Read the first faces of each part.

    Args:
        pictures: a folder of pictures or a zip archive of them, named as in the attribute file.
        attribute_file: the authors' `list_attr_celeba.txt`.
        counts: the most faces to read, for "train" and "test".

    Raises:
        StudyError: for a missing or broken picture, or an attribute file that is missing or not whole.
    """
    attribute_names, rows = read_attribute_file(attribute_file)
    official = len(rows) == ALL_FACES
    first_test = FIRST_TEST_FACE if official else len(rows) - max(len(rows) // 10, 1)
    chosen = {
        "train": rows[: min(counts["train"], TRAINING_FACES if official else first_test)],
        "test": rows[first_test : first_test + counts["test"]],
    }
    open_picture, splits = picture_opener(pictures), {}
    for part, part_rows in chosen.items():
        attributes = attribute_table([row[1:] for row in part_rows], len(attribute_names), attribute_file)
        images = read_pictures(pictures, [row[0] for row in part_rows], open_picture, part)
        splits[part] = FaceSplit(images, dict(zip(attribute_names, attributes.T, strict=True)))
    return splits


def read_attribute_file(path: Path) -> tuple[list[str], list[list[str]]]:
    """Names of the attributes; and a row for every face: its file's name, then "1" or "-1" for every attribute."""
    if not path.is_file():
        raise StudyError(f"{path}: missing; place CelebA's {ATTRIBUTE_FILE} beside the pictures")
    lines = [line for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    if len(lines) < 4 or not lines[0].strip().isdigit():
        raise StudyError(
            f"{path}: should be the number of faces, the names of the attributes, and two faces or more, each in a line"
        )
    if int(lines[0]) != len(lines) - 2:
        raise StudyError(f"{path}: announces {int(lines[0])} faces but lists {len(lines) - 2}; fetch it again")
    return lines[1].split(), [line.split() for line in lines[2:]]


def attribute_table(rows: list[list[str]], names: int, path: Path) -> np.ndarray:
    """Rows of "1" and "-1" as booleans (n, names)."""
    for row in rows:
        if len(row) != names or set(row) - {"1", "-1"}:
            raise StudyError(f"{path}: every face needs {names} values 1 or -1, not {' '.join(row)[:40]!r}")
    return np.array(rows) == "1"


def picture_opener(pictures: Path) -> Callable[[str], bytes]:
    """A function that gives the bytes of a picture by its name; it raises LookupError where there is none."""
    if pictures.is_dir():
        inner = pictures / pictures.name  # some archives unpack to img_align_celeba/img_align_celeba
        folder = inner if inner.is_dir() else pictures

        def from_folder(name: str) -> bytes:
            try:
                return (folder / name).read_bytes()
            except FileNotFoundError:
                raise LookupError(name) from None

        return from_folder
    archive = zipfile.ZipFile(pictures)
    members = {Path(member).name: member for member in archive.namelist()}
    return lambda name: archive.read(members[name])


def read_pictures(pictures: Path, names: Sequence[str], open_picture: Callable[[str], bytes], part: str) -> np.ndarray:
    """Pictures as uint8 (n, 64, 64, 3), read by several threads (Pillow decodes outside Python's lock)."""
    images = np.empty((len(names), SIZE, SIZE, 3), np.uint8)
    bar = keras.utils.Progbar(len(names), verbose=1 if sys.stdout.isatty() else 2, unit_name=f"{part}ing face")

    def read(index: int) -> None:
        try:
            images[index] = square(open_picture(names[index]))
        except LookupError:
            raise StudyError(
                f"{pictures}: has no {names[index]}, which {ATTRIBUTE_FILE} lists; the two do not belong together"
            ) from None
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
    """The largest centred square of a picture, as uint8 (64, 64, 3)."""
    with Image.open(io.BytesIO(content)) as image:
        image.draft("RGB", (SIZE, SIZE))  # a JPEG can be decoded at half its size: faster
        return np.asarray(ImageOps.fit(image.convert("RGB"), (SIZE, SIZE)))
