"""Whatever is wrong: one line on standard error that says what to do, exit status 2, nothing overwritten.

Each row of the tables is a run of a lesson, as a reader would start it, with something wrong in its flags, its data,
its pictures or its folders.
"""

import dataclasses
import gzip
import io
import os
import shutil
import socket
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

from lessonkit import config
from lessonkit.datasets import source

import numpy as np
import pytest
import requests
from conftest import LESSONS, load_lesson
from PIL import Image

LESSON = {path.stem[:2]: path.stem for path in LESSONS}
PUBLISHED_BEFORE = "what an earlier run published"


def run_lesson(number: str, arguments: list[str], output_dir: Path, capsys) -> str:
    """Run a lesson that must fail; its line on standard error."""
    name = LESSON[number]
    old = [output_dir / f"{name}.png", output_dir / name / "run.json"]
    for path in old if output_dir.parent.is_dir() and os.access(output_dir.parent, os.W_OK) else ():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PUBLISHED_BEFORE)
    with pytest.raises(SystemExit) as stop:
        load_lesson(name).main([*arguments, "--output-dir", str(output_dir)])
    line = capsys.readouterr().err
    assert stop.value.code == 2, line
    assert line.startswith(f"{name}: ") and line.count("\n") == 1 and "Traceback" not in line and len(line) < 600
    assert all(path.read_text() == PUBLISHED_BEFORE for path in old if path.exists())
    assert not list(output_dir.glob(".partial-*")) if output_dir.is_dir() else True
    return line


# Flags

FLAGS = [
    ("01", ["--epochs", "-1"], "--epochs must be at least 1"),
    ("01", ["--epochs", "0"], "--epochs must be at least 1"),
    ("01", ["--epochs", "many"], "--epochs"),
    ("01", ["--epochs", "2.5"], "--epochs"),
    ("01", ["--epochs"], "--epochs"),
    ("01", ["--steps", "0"], "--steps must be"),
    ("01", ["--learning-rate", "nan"], "--learning-rate must be"),
    ("01", ["--learning-rate", "inf"], "--learning-rate must be"),
    ("01", ["--learning-rate", "-0.1"], "--learning-rate must be"),
    ("01", ["--batch-size", "0"], "--batch-size must be"),
    ("01", ["--limit", "0"], "--limit must be"),
    ("01", ["--seed", "-3"], "--seed must be"),
    ("01", ["--seed", "99999999999"], "--seed must be"),
    ("01", ["--device", "tpu"], "--device"),
    ("01", ["--preset", "huge"], "--preset"),
    ("01", ["--data", "imaginary"], "--data"),
    ("01", ["--data-dir", "/nowhere"], "/nowhere: no such folder"),
    ("01", ["--data-dir", "/nowhere", "--data", "real"], "/nowhere: no such folder"),
    ("01", ["--no-such-flag"], "--no-such-flag"),
    ("01", ["stray"], "stray"),
    ("01", ["--first-units", "0"], "--first-units must be"),
    ("06", ["--epochs", "-1"], "--epochs must be"),
    ("08", ["--code-size", "0"], "--code-size must be"),
    ("09", ["--noise", "-1"], "--noise must be"),
    ("10", ["--latent-dim", "1"], "--latent-dim must be between 2"),
    ("10", ["--beta", "-1"], "--beta must be"),
    ("10", ["--grid", "1"], "--grid must be"),
    ("11", ["--latent-dim", "0"], "--latent-dim must be"),
    ("14", ["--preset", "smoke", "--limit", "20", "--attributes", "Wings"], "no such attribute; there are Smiling"),
    ("16", ["--preset", "smoke", "--layers", "mixed99=1"], "--layers mixed99=1: cifar10_convnet has relu1, relu2"),
    ("16", ["--preset", "smoke", "--octaves", "9"], "the smallest of 9 octaves"),
    ("16", ["--octave-ratio", "1"], "--octave-ratio must be between 1.05 and 4"),
    ("17", ["--height", "20"], "--height must be between 48 and"),
    ("17", ["--data", "embedded", "--backbone", "vgg19", "--weights", "/nowhere"], "/nowhere: no such file of weights"),
    ("17", ["--data", "embedded", "--backbone", "squeezenet", "--weights", __file__], "cannot be read"),
    ("21", ["--levels", "1"], "--levels must be between 2 and"),
    ("21", ["--given-rows", "28"], "--given-rows must be between 0 and 27"),
    ("21", ["--temperature", "0"], "--temperature must be between 0.01 and"),
    ("22", ["--couplings", "1", "2"], "--couplings"),
    ("22", ["--couplings", "1", "2", "0"], "--couplings must be"),
    ("22", ["--temperature", "3"], "--temperature must be between 0 and 2"),
    ("23", ["--reborn", "1.5"], "--reborn must be"),
    ("23", ["--widths", "1", "2"], "--widths"),
    ("23", ["--walk", "3"], "--walk must be between 12 and"),
    ("23", ["--penalty", "-1"], "--penalty must be between 0 and 10"),
    ("25", ["--sampler", "heun"], "--sampler"),
    ("25", ["--times", "1"], "--times must be between 2 and"),
    ("26", ["--guidance", "-1"], "--guidance must be between 0 and 20"),
    ("26", ["--sampling-steps", "0"], "--sampling-steps must be at least 1"),
]


@pytest.mark.parametrize(("number", "arguments", "words"), FLAGS, ids=[f"{n} {' '.join(a)}" for n, a, _ in FLAGS])
def test_flags(number, arguments, words, tmp_path, capsys):
    assert words in run_lesson(number, arguments, tmp_path / "output", capsys)


def test_a_smoke_run_never_writes_over_the_published_pictures(capsys):
    with pytest.raises(SystemExit) as stop:
        load_lesson(LESSON["01"]).main(["--preset", "smoke", "--output-dir", str(config.PUBLISHED)])
    assert stop.value.code == 2 and "--output-dir" in capsys.readouterr().err


# Data files


def npz(path: Path, shape=(28, 28), train=5, dtype=np.uint8, **changes) -> None:
    arrays = {"x_train": np.zeros((train, *shape), dtype), "x_test": np.zeros((3, *shape), dtype)}
    arrays |= {"y_train": np.arange(train) % 10, "y_test": np.arange(3)} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def cut(path: Path, bytes_left: int) -> None:
    path.write_bytes(path.read_bytes()[:bytes_left])


def npz_cut(path: Path) -> None:
    npz(path)
    cut(path, 600)


def npz_bomb(path: Path) -> None:
    """A few kilobytes that would unpack to more than the test allows."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x_train.npy", "w", force_zip64=True) as member:
            for _ in range(24):
                member.write(bytes(2**20))
        archive.writestr("y_train.npy", b"")


def folder_without_permission(path: Path) -> None:
    npz(path)
    path.chmod(0)


def tar(path: Path, members: dict[str, bytes], mode: str = "w:gz") -> None:
    with tarfile.open(path, mode) as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


FOLDERS = ("train/pos", "train/neg", "test/pos", "test/neg")


def tar_cut(path: Path) -> None:
    tar(path, {f"aclImdb/{folder}/0_7.txt": os.urandom(9000) for folder in FOLDERS})
    cut(path, 20_000)


FILES: list[tuple[str, str, Callable, str]] = [
    ("05", "mnist.npz", npz_cut, "cannot be read"),
    ("05", "mnist.npz", lambda path: path.write_bytes(b""), "cannot be read"),
    ("05", "mnist.npz", lambda path: path.write_text("<html>404</html>"), "cannot be read"),
    ("05", "mnist.npz", lambda path: path.mkdir(), "cannot be read"),
    ("05", "mnist.npz", lambda path: npz(path, (27, 27)), "x_train should be uint8 (n, 28, 28)"),
    ("05", "mnist.npz", lambda path: npz(path, dtype=np.float32), "not float32"),
    ("05", "mnist.npz", lambda path: npz(path, x_test=None), "has no array x_test"),
    ("05", "mnist.npz", lambda path: npz(path, y_test=None, y_train=None), "has no array y_test or y_train"),
    ("05", "mnist.npz", lambda path: npz(path, y_train=np.arange(4)), "y_train should be 5 whole numbers"),
    ("05", "mnist.npz", lambda path: npz(path, y_train=np.arange(5) + 6), "whole numbers from 0 to 9"),
    ("05", "mnist.npz", lambda path: npz(path, y_train=np.arange(5) - 1), "whole numbers from 0 to 9"),
    ("05", "mnist.npz", lambda path: npz(path, y_train=np.ones(5) / 3), "whole numbers"),
    ("05", "mnist.npz", lambda path: npz(path, train=0), "x_train should be"),
    ("05", "mnist.npz", lambda path: np.savez(path, x_train=np.array([{}], dtype=object)), "mnist.npz"),
    ("05", "mnist.npz", npz_bomb, "would unpack to"),
    ("01", "cifar10.npz", lambda path: npz(path, (32, 32)), "x_train should be uint8 (n, 32, 32, 3)"),
    ("01", "cifar10.npz", npz_cut, "cannot be read"),
    ("13", "fashion_mnist.npz", lambda path: npz(path, (28, 29)), "x_train should be uint8 (n, 28, 28)"),
    ("13", "fashion_mnist.npz", npz_cut, "cannot be read"),
    ("15", "aclImdb_v1.tar.gz", tar_cut, "cannot be read"),
    ("15", "aclImdb_v1.tar.gz", lambda path: path.write_bytes(gzip.compress(b"no archive")), "cannot be read"),
    ("15", "aclImdb_v1.tar.gz", lambda path: path.write_text("<html>"), "cannot be read"),
    ("15", "aclImdb_v1.tar.gz", lambda path: tar(path, {"readme": b"nothing"}), "holds no reviews"),
    ("15", "aclImdb_v1.tar.gz", lambda path: tar(path, {"../../train/pos/1_7.txt": b"out"}), "holds no reviews"),
    ("15", "aclImdb", lambda path: (path / "train").mkdir(parents=True), "holds no reviews"),
    ("11", "img_align_celeba", lambda path: (path / "000001.jpg").mkdir(parents=True), "has no list_attr_celeba.txt"),
    ("11", "img_align_celeba.zip", lambda path: path.write_bytes(b"PK\x03\x04"), "has no list_attr_celeba.txt"),
    (
        "05",
        "mnist.pkl.gz",
        lambda path: path.write_bytes(gzip.compress(b"cbuiltins\nprint\n(S'x'\ntR.")),
        "no array needs",
    ),
    ("01", "cifar-10-python.tar.gz", lambda path: path.write_text("<html>"), "cannot be read"),
    ("01", "cifar-10-batches-py", lambda path: path.mkdir(), "should hold data_batch_1"),
]


@pytest.mark.parametrize(
    ("number", "name", "spoil", "words"), FILES, ids=[f"{number} {name} {words}" for number, name, _, words in FILES]
)
def test_data_files(number, name, spoil, words, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(source, "MOST_BYTES", 20 * 2**20)
    (tmp_path / "data").mkdir()
    spoil(tmp_path / "data" / name)
    line = run_lesson(number, ["--data-dir", str(tmp_path / "data")], tmp_path / "output", capsys)
    assert words in line and str(tmp_path / "data") in line


def test_an_archive_cannot_write_outside_its_place(tmp_path, capsys):
    """Reviews are read from the archive's stream; a name such as ../../evil leads nowhere."""
    folder = tmp_path / "data"
    folder.mkdir()
    names = ["../../evil.txt", "/tmp/evil_review.txt", "aclImdb/train/pos/../../../evil.txt"]
    tar(folder / "aclImdb_v1.tar.gz", {name: b"evil" for name in names})
    run_lesson("15", ["--data-dir", str(folder)], tmp_path / "output", capsys)
    assert not list(tmp_path.rglob("evil*")) and not Path("/tmp/evil_review.txt").exists()


# Pictures


def png_cut(path: Path) -> None:
    Image.effect_noise((200, 200), 50).save(path, "PNG")
    cut(path, 5000)


def png_bomb(path: Path) -> None:
    """20,000 x 20,000 pixels that are all white: 48 kilobytes, 1.2 gigabytes unpacked."""
    Image.new("1", (20_000, 20_000), 1).save(path, "PNG")


PICTURES = [
    (lambda path: None, "no such picture"),
    (lambda path: path.write_text("no picture"), "not a picture"),
    (lambda path: path.write_bytes(b""), "not a picture"),
    (lambda path: path.write_text("<svg/>"), "not a picture"),
    (lambda path: path.mkdir(), "a folder; name one of the pictures in it"),
    (lambda path: path.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)), "HEIC: save it as JPEG"),
    (png_cut, "cannot be read"),
    (png_bomb, "megapixels"),
    (lambda path: Image.new("RGB", (1, 3000)).save(path, "PNG"), "too narrow"),
]


@pytest.mark.parametrize(("number", "flag"), [("16", "--content"), ("17", "--content"), ("17", "--style")])
@pytest.mark.parametrize(("spoil", "words"), PICTURES, ids=[f"{n} {words}" for n, (_, words) in enumerate(PICTURES)])
def test_pictures(number, flag, spoil, words, tmp_path, capsys):
    spoil(tmp_path / "mine.png")
    arguments = ["--data", "embedded", flag, str(tmp_path / "mine.png")]
    assert words in run_lesson(number, arguments, tmp_path / "output", capsys)


# Folders, disks, networks


def test_an_output_folder_that_is_a_file(tmp_path, capsys):
    (tmp_path / "file").write_text("not a folder")
    assert "--output-dir" in run_lesson("01", ["--preset", "smoke"], tmp_path / "file" / "output", capsys)


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of so many kilobytes; root only."""
    mounted = []

    def mount(options: str) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)]).returncode:
            pytest.skip("only root may mount a small disk")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small_disk, capsys):
    line = run_lesson("03", ["--preset", "smoke"], small_disk("size=20k") / "output", capsys)
    assert "No space left" in line


def test_a_read_only_disk(small_disk, capsys):
    assert "Read-only" in run_lesson("03", ["--preset", "smoke"], small_disk("ro") / "output", capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(tmp_path, capsys):
    (tmp_path / "locked").mkdir(mode=0o500)
    assert "Permission denied" in run_lesson("03", ["--preset", "smoke"], tmp_path / "locked" / "output", capsys)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_data_without_permission(tmp_path, capsys):
    folder_without_permission(tmp_path / "mnist.npz")
    assert "Permission denied" in run_lesson("05", ["--data-dir", str(tmp_path)], tmp_path / "output", capsys)


@pytest.mark.parametrize("number", ["01", "05", "11", "13", "15"])
def test_real_data_that_cannot_be_had(number, tmp_path, capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(requests, "head", refuse)
    line = run_lesson(number, ["--data", "real"], tmp_path / "output", capsys)
    assert "no network" in line and "place" in line and "--data-dir" in line


def test_a_black_holed_network(tmp_path, capsys, monkeypatch):
    """A server that takes the connection and never says a word: no real data, but no endless wait either."""
    monkeypatch.setattr(source, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as hole:
        address = f"http://127.0.0.1:{hole.getsockname()[1]}"
        ask = requests.head
        monkeypatch.setattr(requests, "head", lambda url, **options: ask(address, **options))
        begin = time.perf_counter()
        line = run_lesson("05", ["--data", "real"], tmp_path / "output", capsys)
        assert "no network" in line and time.perf_counter() - begin < 10


def test_a_wrong_hash_in_the_cache(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    npz(tmp_path / "datasets" / "mnist.npz")
    before = (tmp_path / "datasets" / "mnist.npz").read_bytes()
    line = run_lesson("05", ["--data", "real"], tmp_path / "output", capsys)
    assert "wrong hash" in line and (tmp_path / "datasets" / "mnist.npz").read_bytes() == before


# Checkpoints

CHECKPOINT_FLAGS = ["--preset", "smoke", "--steps", "1"]


@dataclasses.dataclass(frozen=True)
class Spoilt:
    """A checkpoint after something happened to it."""

    how: Callable
    words: str


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a short run of lesson 05 leaves."""
    folder = tmp_path_factory.mktemp("trained")
    load_lesson(LESSON["05"]).main([*CHECKPOINT_FLAGS, "--output-dir", str(folder)])
    return folder


@pytest.mark.parametrize(
    "spoilt",
    [
        Spoilt(lambda path: cut(path, 1000), "not a whole checkpoint"),
        Spoilt(lambda path: path.write_bytes(b""), "not a whole checkpoint"),
        Spoilt(lambda path: np.savez(path, header='{"settings": {}}'), "made with other settings"),
        Spoilt(lambda path: np.savez(path, numbers=np.zeros(3)), "not a whole checkpoint"),
    ],
    ids=["cut", "empty", "other settings", "another file"],
)
def test_checkpoints(spoilt, trained, tmp_path, capsys):
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    for path in (tmp_path / LESSON["05"] / "checkpoints").glob("*.npz"):
        spoilt.how(path)
    with pytest.raises(SystemExit) as stop:
        load_lesson(LESSON["05"]).main([*CHECKPOINT_FLAGS, "--output-dir", str(tmp_path), "--resume"])
    line = capsys.readouterr().err
    assert stop.value.code == 2 and spoilt.words in line and line.count("\n") == 1
