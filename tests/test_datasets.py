"""Where the bytes come from: folder, cache, download, stand-in, and everything that can be wrong with a file."""

import gzip
import hashlib
import http.server
import io
import pickle
import socket
import sys
import tarfile
import threading
import time
from pathlib import Path
from types import SimpleNamespace

from lessonkit import datasets
from lessonkit.config import Config, StudyError
from lessonkit.datasets import __main__ as fetching
from lessonkit.datasets import formats, source
from lessonkit.datasets.embedded import digits, objects

import numpy as np
import pytest
import requests


def make_run(**settings):
    """As much of a run as a data set needs; keeps what is said and recorded."""
    said, records = [], []
    run = SimpleNamespace(config=Config(**settings), online=None, said=said, records=records)
    run.say = said.append
    run.record_data = lambda *entry: records.append(entry)
    run.part = lambda name: __import__("contextlib").nullcontext()
    return run


def npz(path: Path, shape=(28, 28), train=5, test=3, dtype=np.uint8, **changes) -> Path:
    arrays = small(shape, train, test, dtype) | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def small(shape=(28, 28), train=5, test=3, dtype=np.uint8) -> dict[str, np.ndarray]:
    """A data set of a few pictures of noise."""
    random = np.random.default_rng(0)
    return {
        "x_train": random.integers(0, 256, (train, *shape)).astype(dtype),
        "y_train": np.arange(train) % 10,
        "x_test": random.integers(0, 256, (test, *shape)).astype(dtype),
        "y_test": np.arange(test) % 10,
    }


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
    assert data.name == "MNIST" and data.things == "digits"
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
    assert run.records[0][:2] == ("scikit-learn digits", "embedded")


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
    with pytest.raises(StudyError, match=r"download failed \(wrong hash\)"):
        datasets.mnist(make_run(data="real"))
    assert not list((tmp_path / "keras" / "datasets").iterdir())


@pytest.mark.parametrize("status", [200, 404])
def test_a_truncated_download_never_becomes_the_file(monkeypatch, tmp_path, status):
    """The server breaks off in the middle, or has no such file."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half" * 100)

        do_HEAD = do_GET  # noqa: N815  the name that http.server calls

        def log_message(self, *arguments):
            pass

    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as service:
        threading.Thread(target=service.serve_forever, daemon=True).start()
        point_mnist_at(monkeypatch, f"http://127.0.0.1:{service.server_port}", "0" * 64)
        with pytest.raises(StudyError, match="download failed") as problem:
            datasets.mnist(make_run(data="real"))
        service.shutdown()
    assert "\n" not in str(problem.value)
    assert not list((tmp_path / "keras" / "datasets").iterdir())


def test_a_download_that_stalls_ends_and_leaves_other_connections_alone(server, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr(source, "STALL", 0.3)
    monkeypatch.setattr(source, "is_online", lambda *_: True)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        point_mnist_at(monkeypatch, f"http://127.0.0.1:{silent.getsockname()[1]}", "0" * 64)
        begin = time.perf_counter()
        with pytest.raises(StudyError, match="download failed.*timed out"):
            datasets.mnist(make_run(data="real"))
        assert time.perf_counter() - begin < 5
    assert socket.getdefaulttimeout() is None


def test_no_network_costs_one_question_in_a_run(monkeypatch):
    questions = []

    def refuse(address, timeout):
        questions.append(address)
        raise OSError("no network")

    monkeypatch.setattr(requests, "head", refuse)
    run = make_run(limit=10)
    datasets.mnist(run)
    datasets.cifar10(run)
    assert len(questions) == 1
    assert [entry[:2] for entry in run.records] == [("scikit-learn digits", "embedded"), ("drawn objects", "embedded")]
    with pytest.raises(StudyError, match="no network; place mnist.npz in a folder and name it with --data-dir"):
        datasets.mnist(make_run(data="real"))


def test_a_black_hole_costs_a_few_seconds(monkeypatch):
    monkeypatch.setattr(source, "PATIENCE", 0.3)
    monkeypatch.setattr(requests, "head", lambda *_, **__: time.sleep(30))
    begin = time.perf_counter()
    assert source.is_online(make_run(), "https://example.org/file") is False
    assert time.perf_counter() - begin < 3


def test_any_answer_means_a_network(server):
    assert source.is_online(make_run(), f"{server.url}/no_such_file") is True


def test_make_data_says_the_sizes_first_and_goes_on_after_a_failure(server, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    content = npz(server.folder / "good.npz").read_bytes()
    hash_ = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(
        fetching,
        "SOURCES",
        [
            source.dataclasses.replace(
                datasets_source("mnist"),
                name=name,
                downloads=(source.Download(f"{server.url}/{name}.npz", f"datasets/{name}.npz", hash_, 1234),),
            )
            for name in ("bad", "good")
        ],
    )
    assert fetching.main() == 2
    told, complaint = capsys.readouterr()
    first, second, third = told.splitlines()[:3]
    assert str(tmp_path / "keras") in first and "bad" in second and "1,234 MB" in second and "good" in third
    assert (tmp_path / "keras" / "datasets" / "good.npz").read_bytes() == content
    assert "bad: the download failed (404" in complaint and complaint.splitlines()[-1].startswith("not fetched: bad;")
    (server.folder / "bad.npz").write_bytes(content)
    assert fetching.main() == 0
    assert "good               there" in capsys.readouterr().out


# Every name is true


EMBEDDED_NAMES = {
    datasets.mnist: ("MNIST", "scikit-learn digits"),
    datasets.fashion_mnist: ("Fashion-MNIST", "drawn garments"),
    datasets.cifar10: ("CIFAR-10", "drawn objects"),
    datasets.celeba: ("CelebA", "drawn faces"),
    datasets.imdb: ("IMDB reviews", "grammar reviews"),
}


@pytest.mark.parametrize("load", EMBEDDED_NAMES, ids=lambda load: load.__name__)
def test_a_stand_in_never_bears_the_name_of_the_real_data(load):
    real, stand_in = EMBEDDED_NAMES[load]
    run = make_run(data="embedded", limit=12)
    data = load(run)
    [(name, kind, origin, _)] = run.records
    assert data.name == name == stand_in and kind == "embedded"
    for text in (data.name, data.things, origin):
        assert not any(word in text for word in ("MNIST", "CIFAR", "CelebA", "IMDB", "photograph", "real")), text
    assert datasets_source(load.__name__).name == real


# Other forms of the same data, as they lie in people's folders


def datasets_source(name: str) -> source.Source:
    return sys.modules[f"lessonkit.datasets.{name}"].SOURCE


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


def idx_files(folder: Path, arrays: dict[str, np.ndarray], compressed: bool, dash: str = "-") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    files = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
    for name, file in zip(("x_train", "y_train", "x_test", "y_test"), files, strict=True):
        content = idx(arrays[name])
        path = folder / (file.replace("-idx", f"{dash}idx") + (".gz" if compressed else ""))
        path.write_bytes(gzip.compress(content) if compressed else content)


def check_arrays(data: datasets.LabelledImages, arrays: dict[str, np.ndarray]) -> None:
    for part in ("train", "test"):
        split = getattr(data, part)
        assert split.images.dtype == np.uint8 and split.labels.dtype == np.int32
        np.testing.assert_array_equal(split.images, arrays[f"x_{part}"])
        np.testing.assert_array_equal(split.labels, arrays[f"y_{part}"])


IDX_PLACES = [
    (datasets.mnist, "MNIST/raw", False, "-"),  # as torchvision leaves them
    (datasets.mnist, "MNIST/raw", True, "-"),
    (datasets.mnist, "mnist", False, "."),  # as Kaggle has them
    (datasets.mnist, ".", True, "-"),
    (datasets.fashion_mnist, "FashionMNIST/raw", False, "-"),
    (datasets.fashion_mnist, "fashion-mnist", True, "-"),  # as Keras leaves them
    (datasets.fashion_mnist, ".", True, "-"),
    (datasets.fashion_mnist, ".", False, "."),
]


@pytest.mark.parametrize(("load", "place", "compressed", "dash"), IDX_PLACES)
def test_idx_files(load, place, compressed, dash, tmp_path):
    labels = {datasets.mnist: [5, 0, 4, 1, 9], datasets.fashion_mnist: [9, 0, 0, 3, 0]}[load]
    arrays = small() | {"y_train": np.array(labels)}
    idx_files(tmp_path / place, arrays, compressed, dash)
    run = make_run(data="real", data_dir=tmp_path)
    check_arrays(load(run), arrays)
    name, kind, origin, counts = run.records[0]
    assert kind == "real" and "idx3-ubyte" in origin and counts == {"train": 5, "test": 3}


def test_digits_and_garments_have_files_of_the_same_names(tmp_path):
    """In the data folder itself only the first labels tell which is which."""
    garments = small() | {"y_train": np.array([9, 0, 0, 3, 0])}
    idx_files(tmp_path, garments, compressed=True)
    run = make_run(data_dir=tmp_path, limit=10)
    run.online = False
    assert datasets.mnist(run).name == "scikit-learn digits"
    check_arrays(datasets.fashion_mnist(run), garments)


def test_raw_and_compressed_idx_files_side_by_side_and_hidden_ones(tmp_path):
    arrays = small()
    idx_files(tmp_path / "MNIST/raw", arrays, compressed=True)
    idx_files(tmp_path / "MNIST/raw", arrays, compressed=False)
    (tmp_path / "MNIST/raw/._train-images-idx3-ubyte").write_bytes(b"hidden")
    check_arrays(datasets.mnist(make_run(data_dir=tmp_path)), arrays)


def test_broken_idx_files_end_with_their_own_name(tmp_path):
    idx_files(tmp_path / "MNIST/raw", small(), compressed=True)
    path = tmp_path / "MNIST/raw/t10k-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(StudyError, match="t10k-images-idx3-ubyte.gz: cannot be read"):
        datasets.mnist(make_run(data_dir=tmp_path))


@pytest.mark.parametrize("titles", [True, False])
@pytest.mark.parametrize(("load", "stem"), [(datasets.mnist, "mnist"), (datasets.fashion_mnist, "fashion-mnist")])
def test_tables_of_pixels(load, stem, titles, tmp_path):
    arrays = small()
    for part in ("train", "test"):
        rows = np.column_stack([arrays[f"y_{part}"], arrays[f"x_{part}"].reshape(-1, 784)])
        header = "label," + ",".join(f"pixel{number}" for number in range(1, 785)) if titles else ""
        np.savetxt(tmp_path / f"{stem}_{part}.csv", rows, "%d", ",", header=header, comments="")
    check_arrays(load(make_run(data="real", data_dir=tmp_path)), arrays)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("1,2,3\n", "3 numbers in a row"),
        ("label,pixel1\n", "cannot be read|numbers in a row"),
        ("1" + ",300" * 784 + "\n", "cannot be read"),
        ("<html>\n404\n", "cannot be read"),
        ("", "cannot be read|numbers in a row"),
    ],
)
@pytest.mark.filterwarnings("error")  # NumPy warns of an empty table
def test_tables_that_are_none(content, words, tmp_path):
    for part in ("train", "test"):
        (tmp_path / f"mnist_{part}.csv").write_text(content)
    with pytest.raises(StudyError, match=f"mnist_train.csv: .*({words})"):
        datasets.mnist(make_run(data_dir=tmp_path))


@pytest.mark.parametrize("white", [256, 255])
def test_pickled_digits(white, tmp_path):
    """deeplearning.net's file keeps validation digits apart, and pixels as fractions of 256."""
    arrays = small(train=6)
    arrays["x_train"][0, 0, 0] = 255
    pixels = {part: (arrays[f"x_{part}"].reshape(-1, 784) / white).astype(np.float32) for part in ("train", "test")}
    train, test = (pixels["train"], arrays["y_train"]), (pixels["test"], arrays["y_test"])
    parts = (tuple(part[:4] for part in train), tuple(part[4:] for part in train), test)
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(parts, protocol=2)))
    check_arrays(datasets.mnist(make_run(data="real", data_dir=tmp_path)), arrays)


def cifar_batches(images: np.ndarray) -> dict[str, bytes]:
    """Twelve pictures as the authors' six pickles."""
    content = {}
    for index, name in enumerate([*(f"data_batch_{n}" for n in range(1, 6)), "test_batch"]):
        part = images[2 * index : 2 * index + 2].transpose(0, 3, 1, 2).reshape(2, -1)
        content[name] = pickle.dumps({b"data": part, b"labels": [index, 9]}, protocol=2)
    return content


def cifar_archive(path: Path, batches: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in batches.items():
            member = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    "form", ["cifar-10-batches-py", "cifar-10-python.tar.gz", "cifar-10-batches-py-target_archive"]
)
def test_pickled_batches_of_cifar10(form, tmp_path):
    """The authors' format: pickled batches whose pictures lie channel by channel."""
    images = np.random.default_rng(0).integers(0, 256, (12, 32, 32, 3)).astype(np.uint8)
    batches = cifar_batches(images)
    if form.endswith("py"):
        (tmp_path / form).mkdir()
        for name, content in (batches | {"batches.meta": b"names", "._data_batch_1": b"hidden"}).items():
            (tmp_path / form / name).write_bytes(content)
    else:
        cifar_archive(tmp_path / form, batches | {"batches.meta": b"names"})
    run = make_run(data="real", data_dir=tmp_path)
    data = datasets.cifar10(run)
    np.testing.assert_array_equal(data.train.images, images[:10])
    np.testing.assert_array_equal(data.test.images, images[10:])
    assert list(data.test.labels) == [5, 9] and list(data.train.labels[:4]) == [0, 9, 1, 9]
    assert run.records[0][2] == f"{form} in the data folder"


class Evil:
    """A pickle of it would run a program."""

    def __reduce__(self):
        return print, ("the pickle ran a program",)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_runs_no_program(protocol, tmp_path, capsys):
    (tmp_path / "cifar-10-batches-py").mkdir()
    path = tmp_path / "cifar-10-batches-py" / "data_batch_1"
    path.write_bytes(pickle.dumps({b"data": Evil()}, protocol=protocol))
    with pytest.raises(StudyError, match="cannot be read.*print, which no array needs"):
        datasets.cifar10(make_run(data_dir=tmp_path))
    (tmp_path / "mnist.pkl.gz").write_bytes(gzip.compress(pickle.dumps(Evil(), protocol=protocol)))
    with pytest.raises(StudyError, match="cannot be read.*print, which no array needs"):
        datasets.mnist(make_run(data_dir=tmp_path))
    assert "ran a program" not in capsys.readouterr().out


@pytest.mark.parametrize("protocol", range(6))
def test_the_unpickler_reads_arrays_of_every_protocol(protocol):
    array = np.arange(12, dtype=np.uint8).reshape(3, 4)
    content = {b"data": array, b"turned": array.T, b"labels": [1, 2], b"name": "text"}
    got = formats.ArraysOnly(io.BytesIO(pickle.dumps(content, protocol=protocol)), encoding="bytes").load()
    np.testing.assert_array_equal(got[b"data"], array)
    np.testing.assert_array_equal(got[b"turned"], array.T)
    assert got[b"labels"] == [1, 2]


def test_batches_that_are_not_whole(tmp_path):
    batches = cifar_batches(np.zeros((12, 32, 32, 3), np.uint8))
    path = cifar_archive(tmp_path / "cifar-10-python.tar.gz", {"test_batch": batches["test_batch"]})
    with pytest.raises(StudyError, match="should hold data_batch_1"):
        datasets.cifar10(make_run(data_dir=tmp_path))
    path.write_bytes(gzip.compress(b"no archive"))
    with pytest.raises(StudyError, match="tar.gz: cannot be read"):
        datasets.cifar10(make_run(data_dir=tmp_path))


def test_what_would_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MOST_BYTES", 10_000)
    idx_files(tmp_path / "MNIST/raw", small(train=50), compressed=True)
    with pytest.raises(StudyError, match="would unpack to"):
        datasets.mnist(make_run(data_dir=tmp_path))
    cifar_archive(tmp_path / "cifar-10-python.tar.gz", {"data_batch_1": bytes(20_000)})
    with pytest.raises(StudyError, match="would unpack to"):
        datasets.cifar10(make_run(data_dir=tmp_path))


# A folder that holds nothing usable


def test_what_lies_in_the_folder_is_said(tmp_path):
    for name in ("mnist.tfrecord", "train.csv", ".DS_Store"):
        (tmp_path / name).write_text("something")
    (tmp_path / "pictures").mkdir()
    run = make_run(data_dir=tmp_path, limit=10)
    run.online = False
    assert datasets.mnist(run).name == "scikit-learn digits"
    assert run.said == [
        f"MNIST: {tmp_path} holds mnist.tfrecord, train.csv, pictures, but no mnist.npz",
        "MNIST: not here, and no network; using scikit-learn digits instead",
    ]
    with pytest.raises(
        StudyError, match="holds mnist.tfrecord, train.csv, pictures, but no mnist.npz; .* place mnist.npz"
    ):
        run = make_run(data_dir=tmp_path, data="real")
        run.online = False
        datasets.mnist(run)


def test_what_lies_in_the_folder_is_said_before_the_download(server, monkeypatch, tmp_path):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    content = npz(server.folder / "mnist.npz").read_bytes()
    point_mnist_at(monkeypatch, server.url, hashlib.sha256(content).hexdigest())
    (tmp_path / "data").mkdir()
    for number in range(8):
        (tmp_path / "data" / f"{number}.txt").write_text("something")
    run = make_run(data_dir=tmp_path / "data")
    datasets.mnist(run)
    assert "holds 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 3 more, but no mnist.npz" in run.said[0]
    assert source.listing(tmp_path / "keras" / "no such folder") == "nothing"


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
