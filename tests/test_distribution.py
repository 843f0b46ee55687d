"""`--distribute`: two devices in one process, and two processes that find each other by TF_CONFIG."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, load_lesson, read_card

LESSON = "10_MNIST_VAE"
TRAINED = ["--preset", "smoke", "--device", "cpu", "--epochs", "4", "--steps", "40"]
MOST_NATS = 350  # after 40 steps; an untrained VAE has 543, the mean image 177
TWO_DEVICES = f"""
import sys
sys.path[:0] = [{str(REPOSITORY / "src")!r}, {str(REPOSITORY / "tests")!r}]
import lessonkit
import tensorflow as tf
two = [tf.config.LogicalDeviceConfiguration()] * 2
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
"""
LIKE_ONE_DEVICE = """
import sys
import keras, numpy as np, tensorflow as tf
from keras import ops
from conftest import load_lesson
from lessonkit import distribution

random = np.random.default_rng(0)

def linear_regression():
    x = random.normal(size=(64, 5)).astype("float32")
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, kernel_initializer="ones")])
    return model, "mse", (x, x @ np.arange(5, dtype="float32")[:, None])

def text_transformer():
    lesson = load_lesson("15_IMDB_text_transformer")
    ids = random.integers(4, 20, (16, 9)).astype("int32")
    ids[:8, 3:] = 0  # the first device has short texts, the second long ones
    settings = lesson.Config(width=8, heads=2, feed_forward=16)
    vocabulary = ["", "[UNK]", "[start]", "[end]", *map(str, range(16))]
    return lesson.build_model(settings, vocabulary, ids), lesson.masked_loss, lesson.inputs_and_targets(ids)

def vae_without_noise():
    lesson = load_lesson("10_MNIST_VAE")
    lesson.draw = lambda z_mean, z_log_var, seed: z_mean
    model = lesson.build_vae(lesson.Config())
    images = random.random((16, 28, 28, 1)).astype("float32")
    images[8:] = 0
    return model, None, (images,)

weights = {}
for kind in ("none", "mirrored"):
    strategy = distribution.strategy(kind, "CPU")
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    with strategy.scope():
        model, loss, batch = globals()[sys.argv[1]]()
        before = model.get_weights()
        model.compile(keras.optimizers.SGD(float(sys.argv[2]), momentum=0.5), loss)
        if kind == "mirrored":
            assert strategy.num_replicas_in_sync == 2
            distribution.prepare(model, 2)
        data = tf.data.Dataset.from_tensors(batch).repeat()
        model.fit(data, steps_per_epoch=12, verbose=0)
        weights[kind] = model.get_weights()
moved = sum(np.abs(one - start).sum() for one, start in zip(weights["none"], before))
apart = sum(np.abs(one - two).sum() for one, two in zip(weights["none"], weights["mirrored"]))
print(moved, apart)
assert moved > 1 and apart < 1e-3 * moved, (moved, apart)
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", TWO_DEVICES + code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.mark.parametrize(
    ("model", "rate"),
    [
        ("linear_regression", 0.05),
        pytest.param("text_transformer", 0.1, marks=pytest.mark.slow),
        pytest.param("vae_without_noise", 1e-4, marks=pytest.mark.slow),
    ],
)
def test_two_devices_take_the_steps_of_one(model, rate):
    done = run(LIKE_ONE_DEVICE, model, str(rate))
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.slow
def test_a_lesson_on_two_devices(tmp_path):
    flags = [*TRAINED, "--distribute", "mirrored", "--output-dir", str(tmp_path)]
    done = run(f"from conftest import load_lesson\nload_lesson({LESSON!r}).main(sys.argv[1:])", *flags)
    assert done.returncode == 0, done.stderr[-2000:]
    card = read_card(tmp_path, LESSON)
    assert card["config"]["distribute"] == "mirrored" and MOST_NATS > card["metrics"]["test_loss"]["value"] > 100


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@pytest.mark.slow
def test_two_workers_train_one_model_and_the_first_publishes(tmp_path):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    flags = [*TRAINED, "--distribute", "multi-worker"]
    processes = []
    for index in range(2):
        setting = json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}})
        command = [sys.executable, f"src/{LESSON}.py", *flags, "--output-dir", str(tmp_path / str(index))]
        environment = {**os.environ, "TF_CONFIG": setting}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        processes.append(subprocess.Popen(command, cwd=REPOSITORY, env=environment, **pipes))
    for process in processes:
        _, error = process.communicate(timeout=200)
        assert process.returncode == 0, error[-2000:]
    card = read_card(tmp_path / "0", LESSON)
    assert card["config"]["distribute"] == "multi-worker" and card["metrics"]["test_loss"]["value"] < MOST_NATS
    assert not (tmp_path / "1" / LESSON / "run.json").exists()
    first, second = (weights(tmp_path / str(index)) for index in range(2))
    assert first.keys() == second.keys() and len(first) > 10
    for name, array in first.items():
        np.testing.assert_array_equal(array, second[name], err_msg=name)


def weights(output_dir: Path) -> dict[str, np.ndarray]:
    with np.load(output_dir / LESSON / "checkpoints" / "model.npz") as file:
        return {name: file[name] for name in file.files if name not in ("header", "frames")}


@pytest.mark.parametrize(
    ("name", "kind", "setting", "words"),
    [
        (LESSON, "multi-worker", "", "TF_CONFIG"),
        (LESSON, "multi-worker", "no json", "TF_CONFIG"),
        (LESSON, "multi-worker", '{"cluster": {"worker": ["127.0.0.1:1"]}}', "two workers or more"),
        ("04_tensorflow_linear_classifier", "mirrored", "", "--distribute"),
    ],
)
def test_what_cannot_be_distributed(name, kind, setting, words, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TF_CONFIG", setting) if setting else monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(SystemExit) as stop:
        load_lesson(name).main(["--preset", "smoke", "--distribute", kind, "--output-dir", str(tmp_path / "output")])
    line = capsys.readouterr().err
    assert stop.value.code == 2 and words in line and line.count("\n") == 1
