"""A reader's picture, in every form that Pillow opens; and the pictures that are taken where none is named."""

import contextlib
import io
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace

from lessonkit import figures
from lessonkit.config import Config, StudyError
from lessonkit.datasets import pictures

import numpy as np
import pytest
from conftest import REPOSITORY, without_start_up_log
from hypothesis import given, settings
from hypothesis import strategies as any_of
from PIL import Image

LARGE = pictures.Frame(most_pixels=10**6)
ORIENTATION = 0x0112
FINE = {"png": {}, "gif": {}, "tiff": {}, "jpg": {"quality": 95, "subsampling": 0}}


def corners(width=40, height=24) -> np.ndarray:
    """A picture with four different corners: red, green, blue and grey, on nearly white."""
    picture = np.full((height, width, 3), 240, np.uint8)
    colours = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (90, 90, 90))
    for (rows, columns), colour in zip(((0, 0), (0, 1), (1, 0), (1, 1)), colours, strict=True):
        picture[(slice(0, 8), slice(-8, None))[rows], (slice(0, 8), slice(-8, None))[columns]] = colour
    return picture


def stored(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def make_run(**settings):
    """As much of a run as a picture needs; keeps what is recorded."""
    records = []
    run = SimpleNamespace(config=Config(**settings), records=records)
    run.record_data = lambda *entry: records.append(entry)
    run.part = lambda name: contextlib.nullcontext()
    return run


# Modes


@pytest.mark.parametrize(
    ("mode", "ending", "tolerance"),
    [
        ("RGB", "png", 0),
        ("RGBA", "png", 0),
        ("P", "png", 0),
        ("P", "gif", 0),
        ("CMYK", "tiff", 2),
        ("YCbCr", "jpg", 12),
    ],
)
def test_colours_are_kept(tmp_path, mode, ending, tolerance):
    image = Image.fromarray(corners())
    image = image.quantize(8) if mode == "P" else image.convert(mode)
    picture = pictures.read(stored(tmp_path / f"picture.{ending}", image, **FINE[ending]), LARGE)
    assert picture.shape == (24, 40, 3) and picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - corners()).max() <= tolerance


@pytest.mark.parametrize(("mode", "ending"), [("L", "png"), ("LA", "png"), ("1", "png"), ("L", "jpg")])
def test_grey_becomes_three_equal_channels(tmp_path, mode, ending):
    black_and_white = np.zeros((16, 32), np.uint8)
    black_and_white[:, 16:] = 255
    image = Image.fromarray(black_and_white).convert(mode)
    picture = pictures.read(stored(tmp_path / f"picture.{ending}", image), LARGE)
    np.testing.assert_array_equal(picture, np.repeat(black_and_white[..., None], 3, axis=2))


@pytest.mark.parametrize(
    ("values", "ending"),
    [
        (np.linspace(0, 65535, 256, dtype=np.uint16), "png"),
        (np.linspace(0, 65535, 256).astype(np.int32), "tiff"),
        (np.linspace(0, 1, 256, dtype=np.float32), "tiff"),
        (np.linspace(0, 255, 256, dtype=np.float32), "tiff"),
        (np.linspace(0, 3e6, 256, dtype=np.float32), "tiff"),
    ],
)
def test_more_than_eight_bits_are_scaled_not_cut(tmp_path, values, ending):
    """Cut off at 255, nearly all of a 16-bit picture would be white."""
    image = Image.fromarray(np.tile(values, (20, 1)))
    picture = pictures.read(stored(tmp_path / f"deep.{ending}", image), LARGE)
    np.testing.assert_allclose(picture[10, :, 0], np.arange(256), atol=1)


def test_what_is_not_a_number_is_black(tmp_path):
    image = Image.fromarray(np.array([[0, 0.5], [1, np.nan]], np.float32))
    picture = pictures.read(stored(tmp_path / "nan.tiff", image), LARGE)
    assert picture[1, 1, 0] == 0 and picture[1, 0, 0] == 255


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
def test_what_is_transparent_becomes_white(tmp_path, mode):
    pixels = np.zeros((20, 20, 4), np.uint8)
    pixels[10:, :, 3] = 255  # the upper half is black, but nobody sees it
    image = Image.fromarray(pixels)
    if mode == "P":
        image = Image.fromarray(np.repeat(np.uint8([0, 1]), 200).reshape(20, 20)).convert("P")
        image.putpalette([9, 9, 9, 0, 0, 0])
        image.info["transparency"] = 0
    else:
        image = image.convert(mode)
    picture = pictures.read(stored(tmp_path / "holes.png", image), LARGE)
    assert (picture[:10] == 255).all() and (picture[10:] == 0).all()


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "green", "blue")]
    path = stored(tmp_path / "moving.gif", frames[0], save_all=True, append_images=frames[1:])
    assert (pictures.read(path, LARGE) == (255, 0, 0)).all()


# Turned pictures


@pytest.mark.parametrize("ending", ["jpg", "png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_turned_photograph_stands_upright(tmp_path, ending, orientation):
    """A camera held sideways writes the picture lying, and says so in the EXIF data."""
    turn = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[orientation]
    lying = Image.fromarray(corners()).transpose(turn)
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture = pictures.read(stored(tmp_path / f"turned.{ending}", lying, exif=exif, quality=95), LARGE)
    assert picture.shape == (24, 40, 3)
    assert np.abs(picture[2:6, 2:6].astype(int) - (255, 0, 0)).mean() < 30
    assert np.abs(picture[-6:-2, 2:6].astype(int) - (0, 0, 255)).mean() < 30


def test_the_height_asked_for_is_that_of_the_upright_picture(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for image in (Image.new("RGB", (800, 400)), Image.new("I;16", (800, 400))):
        path = stored(tmp_path / "turned.png", image, exif=exif)
        assert pictures.read(path, pictures.Frame(10**6, height=100)).shape == (100, 50, 3)


# Sizes


def test_scaling_keeps_the_proportions():
    assert pictures.Frame(10**6).fit(640, 427) == (640, 427)
    assert pictures.Frame(10_000).fit(400, 100) == (200, 50)
    assert pictures.Frame(10**6, height=300).fit(640, 427) == (450, 300)
    assert pictures.Frame(10**6, height=300).fit(64, 43) == (447, 300)
    assert pictures.Frame(90_000, height=300).fit(900, 300) == (520, 173)  # the limit on pixels comes first
    assert pictures.Frame(10**6).fit(1, 10**9) == (1, 31622777)


def test_a_picture_one_pixel_wide(tmp_path):
    path = stored(tmp_path / "line.png", Image.new("RGB", (1, 500), "red"))
    assert pictures.read(path, LARGE).shape == (500, 1, 3)
    with pytest.raises(StudyError, match="line.png: too narrow: scaled to 1 x 500 pixels, .* 48 each way"):
        pictures.read(path, pictures.Frame(10**6, least=48))


MODES = {  # every mode, in a format that keeps it
    "1": "png", "L": "png", "LA": "png", "P": "png", "RGB": "jpg", "RGBA": "png", "CMYK": "jpg", "I;16": "png",
    "I": "tiff", "F": "tiff", "YCbCr": "jpg",
}  # fmt: skip
SIDES = any_of.one_of(any_of.integers(1, 700), any_of.integers(1, 60), any_of.sampled_from([1000, 1999, 3001]))


@given(
    mode=any_of.sampled_from(sorted(MODES)),
    size=any_of.tuples(SIDES, SIDES),
    orientation=any_of.sampled_from([1, 3, 6, 8]),
    most_pixels=any_of.sampled_from([2_000, 9_999, 100_000]),
    height=any_of.sampled_from([None, 75, 240]),
    least=any_of.sampled_from([1, 48, 75]),
)
@settings(max_examples=150, deadline=None, derandomize=True, database=None)
def test_every_size_and_mode_gives_a_picture_or_one_line(
    tmp_path_factory, mode, size, orientation, most_pixels, height, least
):
    """Portrait or panorama, odd or even, upright or turned: the size is the one that was promised, or it is refused."""
    path = tmp_path_factory.getbasetemp() / f"any.{MODES[mode]}"
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    Image.new(mode, size).save(path, exif=exif)
    upright = size if orientation < 5 else size[::-1]
    frame = pictures.Frame(most_pixels, height, least)
    try:
        picture = pictures.read(path, frame)
    except StudyError as problem:
        assert min(frame.fit(*upright)) < least
        assert str(problem).startswith(f"{path}: too narrow") and "\n" not in str(problem)
    else:
        assert picture.dtype == np.uint8 and picture.shape == (*frame.fit(*upright)[::-1], 3)
        assert min(picture.shape[:2]) >= least
        assert picture[..., 0].size <= most_pixels + sum(picture.shape) or min(picture.shape[:2]) == 1
        assert height is None or picture.shape[0] <= height


@pytest.mark.parametrize(("mode", "ending"), [("RGB", "jpg"), ("I;16", "png"), ("P", "png"), ("RGBA", "png")])
def test_a_large_picture_is_reduced(tmp_path, mode, ending):
    """Reduced first and then scaled, it is the same picture."""
    image = Image.fromarray(corners()).resize((2000, 1200), Image.Resampling.NEAREST)
    if mode == "P":
        image = image.quantize(8)
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    else:
        image = image.convert(mode)
    picture = pictures.read(stored(tmp_path / f"large.{ending}", image), pictures.Frame(960))
    expected = corners() if mode != "I;16" else np.asarray(Image.fromarray(corners()).convert("L"))[..., None]
    assert picture.shape == (24, 40, 3)
    assert np.abs(picture.astype(int) - expected)[3:6, 3:6].max() < 12
    assert np.abs(picture.astype(int) - expected).mean() < 6


@pytest.mark.slow
def test_a_hundred_megapixels_need_less_than_a_gibibyte(tmp_path):
    path = tmp_path / "huge.png"
    Image.new("RGBA", (12_000, 8_400)).save(path, compress_level=1)
    script = f"""
        from pathlib import Path
        from lessonkit import doctor
        from lessonkit.datasets import pictures
        before = doctor.peak_memory()
        shape = pictures.read(Path({str(path)!r}), pictures.Frame(200_000)).shape
        print(shape, round(doctor.peak_memory() - before))
    """
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": str(REPOSITORY / "src"), "PATH": ""},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("(374, 535, 3)") and int(done.stdout.split()[-1]) < 1000
    told = without_start_up_log(done.stderr)
    assert not told, "Pillow's warning of large pictures is no news to somebody who asked for one"


def test_what_pillow_refuses_as_too_large(tmp_path, monkeypatch):
    path = stored(tmp_path / "bomb.png", Image.new("L", (300, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 300 // 2 - 1)
    with pytest.raises(StudyError, match="bomb.png: more than .* megapixels"):
        pictures.read(path, LARGE)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300 * 300 - 1)  # between one and two times the limit it only warns
    assert pictures.read(path, LARGE).shape == (300, 300, 3)


# What is no picture


def truncated(path: Path) -> bytes:
    content = io.BytesIO()
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8)).save(
        content, path.suffix[1:].replace("jpg", "jpeg")
    )
    return content.getvalue()[: len(content.getvalue()) // 2]


@pytest.mark.parametrize("ending", ["jpg", "png", "gif", "tiff", "webp", "bmp"])
def test_half_a_picture(tmp_path, ending):
    path = tmp_path / f"half.{ending}"
    path.write_bytes(truncated(path))
    with pytest.raises(StudyError) as refused:
        pictures.read(path, LARGE)
    assert str(refused.value).startswith(f"{path}: ") and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"\xff\xd8\xff\xe0", b"text\n" * 99]
)
def test_no_picture(tmp_path, content):
    path = tmp_path / "something.jpg"
    path.write_bytes(content)
    with pytest.raises(StudyError, match="something.jpg: "):
        pictures.read(path, LARGE)


def test_no_file(tmp_path):
    with pytest.raises(StudyError, match="none.jpg: no such picture"):
        pictures.read(tmp_path / "none.jpg", LARGE)
    with pytest.raises(StudyError, match=re.escape(f"{tmp_path}: a folder; name one of the pictures in it")):
        pictures.read(tmp_path, LARGE)


@pytest.mark.parametrize("address", ["https://example.com/a/b.jpg", "http://example.com/b.png"])
def test_a_web_address(address):
    with pytest.raises(StudyError, match=f"{address}: a web address; download the picture"):
        pictures.read(Path(address), LARGE)


@pytest.mark.parametrize("brand", [b"heic", b"mif1", b"hevc"])
@pytest.mark.parametrize("name", ["IMG_0001.HEIC", "renamed.jpg"])
def test_a_telephones_picture(tmp_path, name, brand):
    path = tmp_path / name
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + b"\0\0\0\0mif1heic" + bytes(500))
    with pytest.raises(StudyError, match=f"{name}: not a picture .*HEIC: save it as JPEG .*sips") as problem:
        pictures.read(path, LARGE)
    assert "\n" not in str(problem.value)


def test_a_tilde_in_quotes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    stored(tmp_path / "mine.png", Image.new("RGB", (50, 40), "red"))
    assert pictures.read(Path("~/mine.png"), LARGE).shape == (40, 50, 3)
    with pytest.raises(StudyError, match="none.png: no such picture"):
        pictures.read(Path("~/none.png"), LARGE)
    with pytest.raises(StudyError, match="~nobody_of_this_name/mine.png: "):
        pictures.read(Path("~nobody_of_this_name/mine.png"), LARGE)


# Which picture is taken


def test_photographs_name_their_photographers():
    run = make_run()
    for name in ("china", "flower"):
        picture = pictures.photograph(run, None, name, pictures.Frame(10_000))
        assert picture.name == f"{name}.jpg" and 9_000 < picture.pixels[..., 0].size <= 10_100
        credit, source, origin, counts = run.records.pop()
        assert "by danielbuechele" in credit and credit.endswith("CC BY 2.0") and "flickr.com" in origin
        assert source == "real" and counts == {"pixels": picture.pixels[..., 0].size}


def test_a_readers_picture_comes_first(tmp_path):
    path = stored(tmp_path / "mine.png", Image.new("RGB", (50, 40), "red"))
    run = make_run(data="embedded")
    assert (pictures.photograph(run, path, "china", LARGE).pixels == (255, 0, 0)).all()
    names = [picture.name for picture in pictures.paintings(run, path, LARGE)]
    assert names == ["mine.png", "swirls"]
    assert [entry[:2] for entry in run.records] == [("mine.png", "real"), ("mine.png", "real"), ("swirls", "embedded")]


def test_paintings_of_the_data_folder(tmp_path):
    (tmp_path / "photos").mkdir()
    hidden = ("._a.jpg", "._starry_night.jpg", ".DS_Store")  # what a Mac leaves on foreign disks
    for name in ("a.jpg", "b.JPG", "starry_night.jpg", "z.png", "notes.txt", *hidden):
        if name.endswith("txt") or name in hidden:
            (tmp_path / "photos" / name).write_text("no picture")
        else:
            stored(tmp_path / "photos" / name, Image.new("RGB", (50, 40)))
    frame = pictures.Frame(10_000, height=40)
    names = [picture.name for picture in pictures.paintings(make_run(data_dir=tmp_path), None, frame)]
    assert names == ["starry_night.jpg", "a.jpg", "b.JPG", "swirls"]
    names = [picture.name for picture in pictures.paintings(make_run(data_dir=tmp_path, data="embedded"), None, frame)]
    assert names == ["swirls"]


def test_real_paintings_or_none(tmp_path):
    with pytest.raises(StudyError, match="--style"):
        pictures.paintings(make_run(data="real", data_dir=tmp_path), None, LARGE)
    swirls = pictures.paintings(make_run(data_dir=tmp_path), None, pictures.Frame(10_000, height=50))
    assert [picture.name for picture in swirls] == ["swirls"] and swirls[0].pixels.shape == (50, 80, 3)


def test_a_gif_of_more_than_a_megabyte_gets_fewer_shades(tmp_path):
    random = np.random.default_rng(0)
    grey = np.repeat(np.linspace(0, 255, 256).round().astype(np.uint8)[None], 40, axis=0)
    figures.save_gif([grey, grey[::-1] // 2], tmp_path / "small.gif", 1)
    with Image.open(tmp_path / "small.gif") as image:
        assert np.array_equal(np.array(image.convert("L")), grey)
    noise = [random.normal(128, 30, (300, 400)).clip(0, 255).astype(np.uint8) for _ in range(12)]
    figures.save_gif(noise, tmp_path / "large.gif", 1)
    assert (tmp_path / "large.gif").stat().st_size < 1_000_000
    for shades in (32, 16):
        assert np.abs(figures.fewer_shades(grey, shades).astype(int) - grey).max() <= 255 / (shades - 1) / 2 + 1
        assert {0, 255} <= set(figures.fewer_shades(grey, shades).ravel())
