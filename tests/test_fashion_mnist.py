"""Fashion-MNIST: the authors' idx files, the cache, the data folder, the drawn stand-in."""

import dataclasses
import gzip
import hashlib
import http.server
import sys
import threading
from types import SimpleNamespace

from lessonkit import datasets
from lessonkit.config import Config, StudyError
from lessonkit.datasets import source
from lessonkit.datasets.embedded import garments
from lessonkit.datasets.fashion_mnist import FILES, SOURCE, draw_garments
from lessonkit.datasets.formats import read_idx, read_idx_files

import numpy as np
import pytest


def make_run(**settings):
    """As much of a run as a data set needs."""
    said, records = [], []
    return SimpleNamespace(
        config=Config(**settings),
        online=None,
        said=said,
        records=records,
        say=said.append,
        record_data=lambda *entry: records.append(entry),
        part=lambda name: __import__("contextlib").nullcontext(),
    )


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(header + array.tobytes()))


def write_files(folder, train=5, test=3):
    """The four files, small; returns their arrays in the order of FILES."""
    random = np.random.default_rng(0)
    arrays = []
    for images, labels in zip(list(FILES)[::2], list(FILES)[1::2], strict=True):
        count = train if images.startswith("train") else test
        arrays += [random.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8)]
        write_idx(folder / images, arrays[-2])
        write_idx(folder / labels, arrays[-1])
    return arrays


def accept(monkeypatch, folder, url=None):
    """Let the source expect these small files."""
    downloads = []
    for download in SOURCE.downloads:
        content = (folder / download.file.split("/")[-1]).read_bytes()
        changes = {"hash": hashlib.md5(content).hexdigest()}
        if url:
            changes["url"] = f"{url}/{download.file.split('/')[-1]}"
        downloads.append(dataclasses.replace(download, **changes))
    module = sys.modules["lessonkit.datasets.fashion_mnist"]
    monkeypatch.setattr(module, "SOURCE", dataclasses.replace(SOURCE, downloads=tuple(downloads)))


def check(data, arrays):
    for part, images, labels in ((data.train, *arrays[:2]), (data.test, *arrays[2:])):
        np.testing.assert_array_equal(part.images, images)
        np.testing.assert_array_equal(part.labels, labels)
    assert data.class_names[0] == "T-shirt/top" and data.class_names[9] == "Ankle boot"


def test_the_files_in_keras_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    folder = tmp_path / "datasets" / "fashion-mnist"
    arrays = write_files(folder)
    accept(monkeypatch, folder)
    run = make_run(data="real")
    check(datasets.fashion_mnist(run), arrays)
    assert run.records[0][1] == "real" and run.records[0][3] == {"train": 5, "test": 3}


def test_keras_itself_reads_the_same_from_that_cache(monkeypatch, tmp_path):
    import keras

    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    arrays = write_files(tmp_path / "datasets" / "fashion-mnist")
    module = sys.modules["keras.src.datasets.fashion_mnist"]
    get_file = lambda name, origin, cache_subdir: str(tmp_path / cache_subdir / name)  # noqa: E731
    monkeypatch.setattr(module, "get_file", get_file)
    (x_train, y_train), (x_test, y_test) = keras.datasets.fashion_mnist.load_data()
    for one, other in zip((x_train, y_train, x_test, y_test), arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_download_fills_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    served = tmp_path / "served"
    arrays = write_files(served)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(served))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        accept(monkeypatch, served, f"http://127.0.0.1:{service.server_port}")
        check(datasets.fashion_mnist(make_run(data="real")), arrays)
        service.shutdown()
    cached = [path for path in (tmp_path / "keras").rglob("*") if path.is_file() and path.suffix == ".gz"]
    assert {path.name for path in cached} == set(FILES)
    assert {path.parent for path in cached} == {tmp_path / "keras" / "datasets" / "fashion-mnist"}


def test_files_of_another_hash_are_not_used(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    write_files(tmp_path / "datasets" / "fashion-mnist")
    with pytest.raises(StudyError, match="wrong hash.*place fashion_mnist.npz"):
        datasets.fashion_mnist(make_run(data="real"))


def test_the_npz_in_the_data_folder(tmp_path):
    arrays = write_files(tmp_path / "idx")
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(tmp_path / "fashion_mnist.npz", **dict(zip(names, arrays, strict=True)))
    check(datasets.fashion_mnist(make_run(data_dir=tmp_path)), arrays)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (gzip.compress(b""), "not an idx file"),
        (gzip.compress(b"hello world"), "not an idx file"),
        (gzip.compress(bytes([0, 0, 13, 1, 0, 0, 0, 0])), "not an idx file of bytes"),  # floats
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 9, 1, 2])), r"2 values, not those of shape \(9,\)"),
        (gzip.compress(bytes([0, 0, 8, 3, 0, 0])), "cannot be read|values"),
        (gzip.compress(bytes(1000))[:20], "cannot be read"),
        (b"plain text", "not an idx file"),
    ],
    ids=["empty", "text", "floats", "too few values", "half a header", "half a gzip file", "no gzip file"],
)
def test_broken_idx_files_are_named(content, words, tmp_path):
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(content)
    with pytest.raises(StudyError, match=words) as problem:
        source.read(read_idx, path)
    assert str(path) in str(problem.value) and "\n" not in str(problem.value)


def test_labels_of_other_pictures_are_refused(tmp_path):
    write_files(tmp_path)
    write_idx(tmp_path / "t10k-labels-idx1-ubyte.gz", np.arange(4, dtype=np.uint8))
    with pytest.raises(StudyError, match="t10k-labels.*do not belong"):
        read_idx_files([tmp_path / name for name in FILES])


def test_the_drawn_garments(tmp_path):
    run = make_run(data="embedded", limit=40, data_dir=tmp_path)
    data = datasets.fashion_mnist(run)
    assert run.records == [("drawn garments", "embedded", SOURCE.stand_in.origin, {"train": 40, "test": 40})]
    assert data.train.images.shape == (40, 28, 28) and data.train.images.dtype == np.uint8
    assert np.all(np.bincount(data.train.labels, minlength=10) == 4)
    assert 45 < data.train.images.mean() < 95, "about as bright as Fashion-MNIST's, whose mean is 73"
    both = np.concatenate([data.train.images, data.test.images]).reshape(80, -1)
    assert len(np.unique(both, axis=0)) == 80, "no garment stands on both sides"
    np.testing.assert_array_equal(draw_garments(10)["x_test"], data.test.images[:10])
    assert data.class_names == garments.CLASS_NAMES
