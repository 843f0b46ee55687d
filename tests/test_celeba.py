"""CelebA: real pictures beside their attribute file, in a folder or an archive, whole or not; and the stand-in."""

import contextlib
import shutil
import time
from types import SimpleNamespace

from lessonkit.config import Config, StudyError
from lessonkit.datasets import celeba
from lessonkit.datasets.celeba import ALL_FACES, FIRST_TEST_FACE, SOURCE, draw_faces, source, split_faces, square

import numpy as np
import pytest
from PIL import Image

COUNT, NAMES = 20, ("Smiling", "Eyeglasses", "Blond_Hair")


def attributes_of(number: int) -> list[bool]:
    return [bool(number >> bit & 1) for bit in range(len(NAMES))]


def write_attributes(path, count=COUNT, announced=None):
    lines = [str(announced or count), " ".join(NAMES) + " "]
    for number in range(count):
        values = "  ".join(" 1" if value else "-1" for value in attributes_of(number))
        lines.append(f"{number + 1:06d}.jpg {values}")
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    """Twenty faces of CelebA's size; the brightness of each tells its number."""
    pictures = tmp_path / "img_align_celeba"
    pictures.mkdir()
    for number in range(COUNT):
        Image.new("RGB", (178, 218), (10 * number,) * 3).save(pictures / f"{number + 1:06d}.jpg")
    write_attributes(tmp_path / "list_attr_celeba.txt")
    return tmp_path


class Run(SimpleNamespace):
    """As much of a run as `celeba` needs."""

    def __init__(self, **flags):
        super().__init__(config=Config(**flags), online=False, recorded=[], said=[])
        self.say = self.said.append
        self.part = lambda name: contextlib.nullcontext()

    def record_data(self, *entry):
        self.recorded.append(entry)


def check_whole(faces, train=18, test=2):
    assert len(faces.train) == train and len(faces.test) == test
    assert faces.attribute_names == NAMES
    assert faces.train.images.dtype == np.uint8 and faces.train.images.shape == (train, 64, 64, 3)
    for split, first in ((faces.train, 0), (faces.test, 18)):
        for index, image in enumerate(split.images):
            assert abs(image.astype(int) - 10 * (first + index)).max() <= 3, "a face in the wrong place"
            assert [split.attributes[name][index] for name in NAMES] == attributes_of(first + index)
        assert all(values.dtype == bool for values in split.attributes.values())


KINDS = [
    "folder",
    "nested folder",
    "archive",
    "archive beside an empty folder",
    "one level down",
    "as the authors have it",
]


@pytest.mark.parametrize("kind", KINDS)
def test_reads_real_faces(folder, kind):
    pictures, attributes = folder / "img_align_celeba", folder / "list_attr_celeba.txt"
    (pictures / ".DS_Store").write_bytes(b"hidden")
    (pictures / "._000001.jpg").write_bytes(b"hidden")
    if kind == "nested folder":
        pictures.rename(folder / "inner")
        pictures.mkdir()
        (folder / "inner").rename(pictures / "img_align_celeba")
    elif kind == "one level down":
        (folder / "celeba").mkdir()
        pictures.rename(folder / "celeba" / pictures.name)
        attributes.rename(folder / "celeba" / attributes.name)
    elif kind != "folder":
        shutil.make_archive(str(pictures), "zip", folder, "img_align_celeba")
        shutil.rmtree(pictures)
        if kind == "archive beside an empty folder":
            pictures.mkdir()
            (pictures / ".DS_Store").write_bytes(b"hidden")
        elif kind == "as the authors have it":
            for inner, file in (("Img", pictures.with_suffix(".zip")), ("Anno", attributes)):
                (folder / "CelebA" / inner).mkdir(parents=True)
                file.rename(folder / "CelebA" / inner / file.name)
    run = Run(data_dir=folder)
    check_whole(celeba(run))
    assert run.recorded[0][:2] == ("CelebA", "real") and run.recorded[0][3] == {"train": 18, "test": 2}
    assert not run.said, "nothing is missing"


@pytest.mark.parametrize("name", ["list_attr_celeba.csv", "list_attr_celeba.txt"])
def test_kaggles_attribute_file(folder, name):
    """A table with titles instead of a count; some people rename it."""
    (folder / "list_attr_celeba.txt").unlink()
    lines = ["image_id," + ",".join(NAMES)]
    for number in range(COUNT):
        values = ",".join("1" if value else "-1" for value in attributes_of(number))
        lines.append(f"{number + 1:06d}.jpg,{values}")
    (folder / name).write_text("\n".join(lines) + "\n")
    check_whole(celeba(Run(data_dir=folder)))


def test_pictures_of_another_kind_under_the_same_numbers(folder):
    for path in (folder / "img_align_celeba").glob("*.jpg"):
        Image.open(path).save(path.with_suffix(".png"))
        path.unlink()
    check_whole(celeba(Run(data_dir=folder)))


def test_reads_only_what_is_asked_for(folder):
    for number in range(5, 18):
        (folder / "img_align_celeba" / f"{number + 1:06d}.jpg").write_bytes(b"broken")  # would fail if it were read
    check_whole(celeba(Run(data_dir=folder, limit=5)), train=5)
    check_whole(celeba(Run(data_dir=folder), most=4), train=4, test=1)


@pytest.mark.parametrize("archive", [False, True])
def test_a_part_of_the_pictures_is_used_as_it_is(folder, archive):
    pictures = folder / "img_align_celeba"
    for number in (3, 4, 17, 19):
        (pictures / f"{number + 1:06d}.jpg").unlink()
    if archive:
        shutil.make_archive(str(pictures), "zip", folder, "img_align_celeba")
        shutil.rmtree(pictures)
    run = Run(data_dir=folder)
    faces = celeba(run)
    there = [number for number in range(COUNT) if number not in (3, 4, 17, 19)]
    for part, numbers in ((faces.train, there[:-1]), (faces.test, there[-1:])):
        assert len(part) == len(numbers)
        for index, number in enumerate(numbers):
            assert abs(part.images[index].astype(int) - 10 * number).max() <= 3
            assert [part.attributes[name][index] for name in NAMES] == attributes_of(number)
    assert any("16 of the 20 pictures that list_attr_celeba.txt lists are here" in line for line in run.said)
    assert run.recorded[0][3] == {"train": 15, "test": 1}


def test_authors_split_keeps_people_apart():
    train, test = split_faces(list(range(ALL_FACES)), ALL_FACES)
    assert (train[0], train[-1], test[0], test[-1]) == (0, 162_769, 182_637, 202_598)
    assert FIRST_TEST_FACE + len(test) == ALL_FACES
    some = list(range(0, ALL_FACES, 20))  # of a fair sample both parts are here
    train, test = split_faces(some, ALL_FACES)
    assert len(train) == 8_139 and len(test) == 998 and max(train) < 162_770 and min(test) >= FIRST_TEST_FACE


def test_the_first_ten_thousand_pictures_hold_no_test_face():
    said = []
    for there in (list(range(10_000)), [*range(10_000), 190_000]):
        train, test = split_faces(there, ALL_FACES, said.append)
        assert len(test) == 1_000 and train + test == there and "shares persons" in said.pop()
    assert split_faces(list(range(2)), 2) == ([0], [1])


@pytest.mark.parametrize("factor", [1, 2, 0.5])
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_an_aligned_picture_is_cropped_to_the_face(tmp_path, ending, factor):
    """128 of 178 x 218 pixels, the centre 6 below the middle: red inside, blue outside."""
    picture = np.full((218, 178, 3), (0, 0, 255), np.uint8)
    picture[51:179, 25:153] = (255, 0, 0)
    rows, columns = np.mgrid[:218, :178]
    disc = (rows - 114.5) ** 2 + (columns - 88.5) ** 2 < 50**2
    picture[disc] = (0, 255, 0)
    size = (round(178 * factor), round(218 * factor))
    Image.fromarray(picture).resize(size).save(
        path := tmp_path / f"face.{ending}", **({"quality": 98} if ending == "jpg" else {})
    )
    image = square(path.read_bytes()).astype(int)
    assert image.shape == (64, 64, 3)
    assert image[2:-2, 2:-2, 2].max() < 60, "the background was taken in"
    green = np.nonzero((image[..., 1] > 128) & (image[..., 0] < 128))
    for axis in green:
        assert abs(np.ptp(axis) + 1 - 50) <= 2, "not 64 pixels for 128"
        assert abs(axis.mean() - 31.5) <= 1, "not in the middle"


def test_other_pictures_keep_their_centred_square(tmp_path):
    picture = np.zeros((218, 258, 3), np.uint8)
    picture[:, 20:238] = 200  # the centred square; left and right of it black
    rows, columns = np.mgrid[:218, :218]
    disc = (rows - 108.5) ** 2 + (columns - 108.5) ** 2 < 70**2
    picture[:, 20:238][disc] = (255, 0, 0)
    Image.fromarray(picture).save(tmp_path / "face.png")
    image = square((tmp_path / "face.png").read_bytes()).astype(int)
    assert image.shape == (64, 64, 3) and image[2:-2, 2:-2].max(axis=2).min() > 150, "black bars were taken in"
    red = (image[..., 0] > 220) & (image[..., 1] < 60)
    assert abs(np.ptp(np.nonzero(red)[0]) - np.ptp(np.nonzero(red)[1])) <= 1, "the disc is an ellipse"


def test_grey_and_transparent_pictures(tmp_path):
    for mode in ("L", "RGBA", "P", "CMYK"):
        Image.new(mode, (178, 218), 0).save(path := tmp_path / f"face.{'jpg' if mode in ('L', 'CMYK') else 'png'}")
        assert square(path.read_bytes()).shape == (64, 64, 3)


def spoil(folder, how):
    attributes, picture = folder / "list_attr_celeba.txt", folder / "img_align_celeba" / "000003.jpg"
    text = attributes.read_text(encoding="utf-8")
    if how == "no attributes":
        attributes.unlink()
    elif how == "truncated attributes":
        attributes.write_text(text[: len(text) // 2], encoding="utf-8")
    elif how == "too few rows":
        write_attributes(attributes, announced=COUNT + 1)
    elif how == "short row":
        attributes.write_text(text.replace("000002.jpg  1", "000002.jpg "), encoding="utf-8")
    elif how == "odd value":
        attributes.write_text(text.replace("000002.jpg  1", "000002.jpg  2"), encoding="utf-8")
    elif how == "not attributes":
        attributes.write_text("<html>Too many requests</html>", encoding="utf-8")
    elif how == "binary attributes":
        attributes.write_bytes(bytes(range(256)))
    elif how == "other names":
        attributes.write_text(text.replace("0000", "face"), encoding="utf-8")
    elif how == "broken picture":
        picture.write_bytes(picture.read_bytes()[:400])
    elif how == "no picture at all":
        picture.write_bytes(b"<html>Too many requests</html>")
    elif how == "broken archive":
        shutil.rmtree(folder / "img_align_celeba")
        (folder / "img_align_celeba.zip").write_bytes(b"PK\x03\x04 and then nothing")


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("no attributes", "has no list_attr_celeba.txt or list_attr_celeba.csv; place"),
        ("truncated attributes", "announces 20 faces but lists"),
        ("too few rows", "announces 21 faces but lists 20"),
        ("short row", "every face needs 3 values"),
        ("odd value", "values 1 or -1"),
        ("not attributes", "should be the number of faces"),
        ("binary attributes", "list_attr_celeba.txt"),
        ("other names", "img_align_celeba: holds 0 of the pictures in list_attr_celeba.txt"),
        ("broken picture", "000003.jpg: not a whole picture"),
        ("no picture at all", "000003.jpg: not a whole picture"),
        ("broken archive", "img_align_celeba.zip: cannot be read"),
    ],
)
@pytest.mark.parametrize("data", ["auto", "real"])
def test_what_is_wrong_is_said_in_one_line(folder, how, says, data):
    spoil(folder, how)
    with pytest.raises(StudyError) as caught:
        celeba(Run(data_dir=folder, data=data))
    assert says in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_never_downloaded_by_auto(monkeypatch):
    monkeypatch.setattr(source, "is_online", lambda run, url: pytest.fail("asked for a network"))
    run = Run(limit=3)
    faces = celeba(run)
    assert run.recorded[0][:2] == ("drawn faces", "embedded") and len(faces.train) == 3
    assert "1,443 MB are downloaded only with --data real" in run.said[0]


def test_real_without_network_says_what_to_place():
    with pytest.raises(StudyError, match=r"place img_align_celeba.zip and list_attr_celeba.txt .* --data-dir"):
        celeba(Run(data="real"))


def test_hashes_are_the_authors():
    assert [len(download.hash) for download in SOURCE.downloads] == [32, 32]
    assert not any(download.automatic for download in SOURCE.downloads)


def test_the_stand_in_is_prompt_and_its_first_faces_never_change():
    begin = time.process_time()
    few = draw_faces({"train": 20, "test": 20})
    assert time.process_time() - begin < 5, "--limit must reduce what is drawn"
    more = draw_faces({"train": 30, "test": 25})
    for part in ("train", "test"):
        assert np.array_equal(few[part].images, more[part].images[:20])
        assert all(
            np.array_equal(values, more[part].attributes[name][:20]) for name, values in few[part].attributes.items()
        )
    assert not np.array_equal(few["train"].images[0], few["test"].images[0])
