"""Where the bytes come from: folder, cache, download, stand-in, and everything that can be wrong with a file."""

import gzip
import hashlib
import http.server
import io
import pickle
import sys
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from lessonkit import datasets
from lessonkit.config import Config, StudyError
from lessonkit.datasets import source
from lessonkit.datasets.embedded import digits, objects

import numpy as np
import pytest


def make_run(**settings):
    """As much of a run as a data set needs; keeps what is said and recorded."""
    said, records = [], []
    run = SimpleNamespace(config=Config(**settings), online=None, said=said, records=records)
    run.say = said.append
    run.record_data = lambda *entry: records.append(entry)
    run.part = lambda name: __import__("contextlib").nullcontext()
    return run


def npz(path: Path, shape=(28, 28), train=5, test=3, dtype=np.uint8, **changes) -> Path:
    random = np.random.default_rng(0)
    arrays = {
        "x_train": random.integers(0, 256, (train, *shape)).astype(dtype),
        "y_train": np.arange(train) % 10,
        "x_test": random.integers(0, 256, (test, *shape)).astype(dtype),
        "y_test": np.arange(test) % 10,
    }
    arrays.update(changes)
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


@pytest.fixture
def server(tmp_path):
    """A small server on loopback: files in `folder`, requests counted in `asked`."""
    folder = tmp_path / "served"
    folder.mkdir()
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def log_message(self, *arguments):
            asked.append(self.command)

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        yield SimpleNamespace(folder=folder, asked=asked, url=f"http://127.0.0.1:{service.server_port}")
        service.shutdown()


def point_mnist_at(monkeypatch, url: str, hash_: str):

    module = sys.modules["lessonkit.datasets.mnist"]
    download = source.Download(f"{url}/mnist.npz", "datasets/mnist.npz", hash_, 11)
    changed = source.dataclasses.replace(module.SOURCE, downloads=(download,))
    monkeypatch.setattr(module, "SOURCE", changed)


# The three places


def test_a_file_in_the_data_folder_comes_first(tmp_path):
    npz(tmp_path / "mnist.npz")
    run = make_run(data_dir=tmp_path)
    data = datasets.mnist(run)
    assert data.train.images.shape == (5, 28, 28) and data.train.labels.shape == (5,)
    assert run.records == [("MNIST", "real", "mnist.npz in the data folder", {"train": 5, "test": 3})]
    assert run.online is None, "no question about the network"


def test_labels_of_shape_n_1_and_the_limit(tmp_path):
    npz(tmp_path / "cifar10.npz", (32, 32, 3), y_train=(np.arange(5) % 10)[:, None])
    data = datasets.cifar10(make_run(data_dir=tmp_path, limit=2))
    assert data.train.labels.shape == (2,) and len(data.test) == 2


def test_embedded_never_looks_at_a_file(tmp_path, monkeypatch):
    (tmp_path / "mnist.npz").write_text("broken")
    monkeypatch.setattr(source, "is_online", lambda *_: pytest.fail("asked for a network"))
    run = make_run(data_dir=tmp_path, data="embedded", limit=20)
    assert len(datasets.mnist(run).train) == 20
    assert run.records[0][1] == "embedded"


def test_a_download_goes_to_the_cache_and_is_used_from_there(server, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    content = npz(server.folder / "mnist.npz").read_bytes()
    point_mnist_at(monkeypatch, server.url, hashlib.sha256(content).hexdigest())
    run = make_run(data="real")
    assert len(datasets.mnist(run).train) == 5
    assert run.records[0][1:3] == ("real", "datasets/mnist.npz in Keras' cache")
    assert any("downloading 11 MB" in line for line in run.said)
    assert sorted(path.name for path in (tmp_path / "keras" / "datasets").iterdir()) == ["mnist.npz"]
    server.asked.clear()
    datasets.mnist(make_run())
    assert not server.asked, "the cache needs no network"


def test_a_wrong_hash_in_the_cache_is_reported_and_left_alone(monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "datasets").mkdir()
    cached = npz(tmp_path / "datasets" / "mnist.npz")
    before = cached.read_bytes()
    run = make_run(limit=10)
    datasets.mnist(run)
    assert run.records[0][1] == "embedded" and any("wrong hash" in line for line in run.said)
    with pytest.raises(StudyError, match="wrong hash.*place mnist.npz"):
        datasets.mnist(make_run(data="real"))
    assert cached.read_bytes() == before


def test_a_wrong_hash_of_a_download_leaves_no_file(server, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    npz(server.folder / "mnist.npz")
    point_mnist_at(monkeypatch, server.url, "0" * 64)
    with pytest.raises(StudyError, match="download failed"):
        datasets.mnist(make_run(data="real"))
    assert not list((tmp_path / "keras" / "datasets").iterdir())


def test_no_network_costs_one_question_in_a_run(monkeypatch):
    questions = []

    def refuse(request, timeout):
        questions.append(request)
        raise OSError("no network")

    monkeypatch.setattr(source.urllib.request, "urlopen", refuse)
    run = make_run(limit=10)
    datasets.mnist(run)
    datasets.cifar10(run)
    assert len(questions) == 1 and [entry[1] for entry in run.records] == ["embedded", "embedded"]
    with pytest.raises(StudyError, match="no network; place mnist.npz in a folder and name it with --data-dir"):
        datasets.mnist(make_run(data="real"))


def test_a_black_hole_costs_a_few_seconds(monkeypatch):
    monkeypatch.setattr(source, "PATIENCE", 0.3)
    monkeypatch.setattr(source.urllib.request, "urlopen", lambda *_, **__: time.sleep(30))
    begin = time.perf_counter()
    assert source.is_online(make_run(), "https://example.org/file") is False
    assert time.perf_counter() - begin < 3


# Files that are not what they should be


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-200]), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_text("hello"), "cannot be read"),
        (lambda path: npz(path, (27, 27)), r"x_train should be uint8 \(n, 28, 28\), not uint8 \(5, 27, 27\)"),
        (lambda path: npz(path, dtype=np.float32), "not float32"),
        (lambda path: npz(path, y_test=None), "has no array y_test"),
        (lambda path: npz(path, y_train=np.arange(4)), "y_train should be 5 whole numbers"),
        (lambda path: npz(path, y_train=np.arange(5) + 6), "whole numbers from 0 to 9"),
        (lambda path: npz(path, y_train=np.arange(5) - 1), "whole numbers from 0 to 9"),
        (lambda path: npz(path, y_train=np.array(list("01234"))), "whole numbers"),
        (lambda path: npz(path, train=0), "x_train should be"),
        (lambda path: np.savez(path, x_train=np.array([object()], dtype=object)), "has no array|cannot be read"),
    ],
)
def test_a_spoilt_file_is_named_and_not_replaced_by_the_stand_in(spoil, words, tmp_path):
    path = npz(tmp_path / "mnist.npz")
    spoil(path)
    with pytest.raises(StudyError, match=words) as problem:
        datasets.mnist(make_run(data_dir=tmp_path))
    assert str(path) in str(problem.value) and "\n" not in str(problem.value)


def test_the_archive_of_cifar10(tmp_path):
    """The authors' format: pickled batches whose pictures lie channel by channel."""
    from lessonkit.datasets.cifar10 import read_archive

    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    path = tmp_path / "archive"
    with tarfile.open(path, "w:gz") as archive:
        for index, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
            part = images[2 * index : 2 * index + 2].transpose(0, 3, 1, 2).reshape(2, -1)
            content = pickle.dumps({b"data": part, b"labels": [index, 9]})
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    arrays = read_archive([path])
    np.testing.assert_array_equal(arrays["x_train"], images[:10])
    np.testing.assert_array_equal(arrays["x_test"], images[10:])
    assert list(arrays["y_test"]) == [5, 9] and list(arrays["y_train"][:4]) == [0, 9, 1, 9]
    path.write_bytes(gzip.compress(b"no archive"))
    with pytest.raises(StudyError, match="cannot be read"):
        source.read(read_archive, [path])


# The stand-ins


def test_the_embedded_digits():
    arrays = digits.splits(300, 100)
    assert arrays["x_train"].shape == (300, 28, 28) and arrays["x_train"].dtype == np.uint8
    np.testing.assert_array_equal(arrays["x_test"], digits.splits(300, 100)["x_test"])
    assert set(arrays["y_test"]) == set(range(10))
    assert 20 < arrays["x_train"].mean() < 50, "as bright as MNIST's, whose mean is 33"
    whole = digits.splits(1_600, 10)["x_train"]
    assert not np.array_equal(whole[0], whole[1_497]), "each copy of an original is varied anew"


def test_the_embedded_objects():
    images, labels = objects.draw(60, seed=3)
    assert images.shape == (60, 32, 32, 3) and images.dtype == np.uint8
    assert np.all(np.bincount(labels, minlength=10) == 6)
    np.testing.assert_array_equal(images[:20], objects.draw(20, seed=3)[0])
    assert not np.array_equal(images[:20], objects.draw(20, seed=4)[0])
    assert len(np.unique(images.reshape(60, -1), axis=0)) == 60
