"""Pictures for lessons 16 and 17: the reader's own, scikit-learn's photographs, a painting, or the drawn swirls."""

import dataclasses
import math
import re
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from lessonkit.config import StudyError
from lessonkit.datasets import source
from lessonkit.datasets.embedded import pictures as embedded

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

if TYPE_CHECKING:
    from lessonkit.run import Run

PAINTING = "starry_night.jpg"  # taken first where the data folder's photos/ holds several paintings
ENDINGS = (".jpg", ".jpeg", ".png", ".webp")
WHITES = (1, 255, 65535)  # greyscale of more than 8 bits says nowhere what white is: the least of these that fits
REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr", "I", "F")  # modes in which neighbours may be averaged
ORIENTATION, SIDEWAYS = 0x0112, (5, 6, 7, 8)  # EXIF's tag, and its values for pictures that lie on their side
ADDRESS = re.compile(r"(https?|ftp):/+(.*)", re.IGNORECASE)  # a path has lost one of the two slashes
HEIC = re.compile(rb"....ftyp(heic|heix|heim|heis|hevc|hevx|mif1|msf1)", re.DOTALL)  # how a telephone's pictures begin


@dataclasses.dataclass(frozen=True)
class Frame:
    """The size that a picture is brought to, in its own proportions."""

    most_pixels: int
    height: int | None = None  # None: the picture's own height, if that is not too much
    least: int = 1  # pixels that the shorter side must keep

    def fit(self, width: int, height: int) -> tuple[int, int]:
        """Width and height of the scaled picture."""
        scale = self.height / height if self.height else 1.0
        scale = min(scale, math.sqrt(self.most_pixels / (width * height)))
        return max(1, round(scale * width)), max(1, round(scale * height))


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture uint8 (height, width, 3) and what it is called."""

    name: str
    pixels: np.ndarray


def photograph(run: "Run", path: Path | None, name: str, frame: Frame) -> Picture:
    """The reader's picture, else the photograph 'china' or 'flower' of scikit-learn."""
    if path is not None:
        return _record(run, Picture(path.name, read(path, frame)), "real", "the reader")
    image = Image.fromarray(embedded.photographs()[name])
    picture = Picture(f"{name}.jpg", _scaled(image, image.size, frame, name))
    credit, address = embedded.CREDITS[name].rsplit(", ", 1)  # the photographer stands below every figure
    return _record(run, picture, "real", f"scikit-learn, {address}", credit)


def paintings(run: "Run", path: Path | None, frame: Frame, most: int = 3) -> list[Picture]:
    """The reader's picture, if there is one; else those in the data folder's photos/; and at last the drawn swirls."""
    found = []
    if path is not None:
        found.append(_record(run, Picture(path.name, read(path, frame)), "real", "the reader"))
    elif run.config.data != "embedded" and run.config.data_dir is not None:
        files = [file for file in source.visible(run.config.data_dir / "photos") if file.suffix.lower() in ENDINGS]
        for file in sorted(files, key=lambda file: (file.name != PAINTING, file.name))[:most]:
            painting = Picture(file.name, read(file, frame))
            found.append(_record(run, painting, "real", f"photos/{file.name} in the data folder"))
    if not found and run.config.data == "real":
        raise StudyError("no painting: name one by --style, or place it in the folder photos/ of your --data-dir")
    width, height = frame.fit(1280, 800)
    swirls = Picture("swirls", embedded.swirls(height, width, seed=0))
    return [*found, _record(run, swirls, "embedded", "drawn by code")]


def _record(run: "Run", picture: Picture, kind: str, origin: str, name: str | None = None) -> Picture:
    height, width = picture.pixels.shape[:2]
    run.record_data(name or picture.name, kind, origin, {"pixels": height * width})
    return picture


def read(path: Path, frame: Frame) -> np.ndarray:
    """Any picture that Pillow opens, upright and scaled, as RGB: uint8 (height, width, 3).

    An animation gives its first frame; what is transparent becomes white. Large pictures are reduced by a whole factor
    before anything else, so that 100 megapixels take well under 2 GiB.

    Raises:
        StudyError: for a file that is missing, broken, no picture, too large, or too narrow once it is scaled.
    """
    if address := ADDRESS.match(str(path)):
        raise StudyError("{}://{}: a web address; download the picture and give its path".format(*address.groups()))
    try:
        path = path.expanduser()  # the shell leaves a "~" in quotes alone
        if path.is_dir():
            raise StudyError(f"{path}: a folder; name one of the pictures in it")
        with warnings.catch_warnings():
            # Pillow warns from 89 megapixels on; from 179 on it raises
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                wanted = max(math.prod(frame.fit(*image.size)), math.prod(frame.fit(*image.size[::-1])))
                full = image.size
                drafted = image.draft("RGB", _at_least(full, wanted))  # a JPEG is decoded at a half, quarter or eighth
                image.load()
                full = full if drafted else image.size  # Pillow turns a TIFF while it loads it
                image = image if image.mode in REDUCIBLE else _eight_bits(image)
                factor = math.isqrt(image.width * image.height // (4 * wanted))
                image = image.reduce(factor) if factor > 1 else image
                full = full[::-1] if image.getexif().get(ORIENTATION, 1) in SIDEWAYS else full
                return _scaled(_rgb(_eight_bits(ImageOps.exif_transpose(image))), full, frame, str(path))
    except StudyError:
        raise
    except FileNotFoundError:
        raise StudyError(f"{path}: no such picture") from None
    except UnidentifiedImageError:
        raise StudyError(f"{path}: not a picture of a kind that Pillow opens{_hint(path)}") from None
    except Image.DecompressionBombError:
        raise StudyError(f"{path}: more than 178 megapixels; make it smaller first") from None
    except Exception as problem:  # a broken file makes Pillow raise OSError, SyntaxError, ValueError, struct.error ...
        raise StudyError(f"{path}: cannot be read ({problem or type(problem).__name__}); replace it") from None


def _hint(path: Path) -> str:
    """What to do with a telephone's photograph."""
    with path.open("rb") as file:
        heic = HEIC.match(file.read(12))
    if not heic:
        return ""
    return f"; it is HEIC: save it as JPEG (on a Mac: sips -s format jpeg {path.name} --out {path.stem}.jpg)"


def _at_least(size: tuple[int, int], pixels: int) -> tuple[int, int]:
    """A size in the same proportions with four times so many pixels, whichever way the picture is turned."""
    scale = math.sqrt(4 * pixels / (size[0] * size[1]))
    return math.ceil(scale * size[0]), math.ceil(scale * size[1])


def _eight_bits(image: Image.Image) -> Image.Image:
    """A picture whose values are 8 bits: palettes looked up, 16 and 32 bits scaled to 8."""
    if image.mode in ("P", "PA"):
        return image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if image.mode.startswith("I;16"):
        grey = np.asarray(image) >> 8
    elif image.mode in ("I", "F"):
        values = np.nan_to_num(np.asarray(image, np.float32))
        white = next((white for white in WHITES if values.max() <= white), values.max())
        grey = np.clip(values * (255 / white), 0, 255)
    else:
        return image.convert("L") if image.mode == "1" else image
    eight = Image.fromarray(grey.astype(np.uint8))
    eight.info = image.info  # where the orientation may stand
    return eight


def _rgb(image: Image.Image) -> Image.Image:
    """RGB; what is transparent becomes white."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _scaled(image: Image.Image, full: tuple[int, int], frame: Frame, name: str) -> np.ndarray:
    """Pixels of a picture whose full size was `full`: reducing rounds, which changes the shape of a narrow picture."""
    width, height = frame.fit(*full)
    if min(width, height) < frame.least:
        raise StudyError(
            f"{name}: too narrow: scaled to {width} x {height} pixels, where the network needs {frame.least} each way"
        )
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
