"""`make doctor`: what is installed, what is missing, and whether the GPU computes the same as the CPU.

On Apple's GPU some versions silently drop the relu after a matrix product, so a GPU is compared with the CPU before it
is used: in a separate process, because TensorFlow cannot hide a GPU once it has used it.
"""

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

from lessonkit.config import REPOSITORY, StudyError

import keras
import numpy as np
import tensorflow as tf
from packaging.requirements import Requirement
from packaging.version import Version
from rich.console import Console
from rich.table import Table

TOLERANCE = 1e-3  # the largest difference that rounding in float32 can explain


def choose_device(wanted: str) -> str:
    """Choose the device before TensorFlow initialises one; returns its name for the run card.

    Args:
        wanted: "auto", "cpu" or "gpu".

    Raises:
        StudyError: for "gpu" where TensorFlow sees none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if wanted == "gpu" and not gpus:
        raise StudyError("--device gpu: TensorFlow sees no GPU here; run `make doctor`, or use --device cpu")
    if wanted != "cpu" and gpus:
        if trust_gpu():
            return f"GPU: {tf.config.experimental.get_device_details(gpus[0]).get('device_name', 'Metal')}"
        print("warning: the GPU does not compute what the CPU computes; continuing on the CPU", file=sys.stderr)
    if gpus:
        tf.config.set_visible_devices([], "GPU")
    return f"CPU: {platform.machine()}, {os.cpu_count()} cores"


def trust_gpu() -> bool:
    """Whether the GPU agrees with the CPU; on a Mac tried again without the fusion that causes the fault."""
    if platform.system() == "Darwin" and Version(keras.__version__) >= Version("3.7"):
        os.environ["TURN_OFF_REMAPPER"] = "1"
    if ask_gpu():
        return True
    if platform.system() == "Darwin" and os.environ.get("TURN_OFF_REMAPPER") != "1":
        os.environ["TURN_OFF_REMAPPER"] = "1"
        return ask_gpu()
    return False


def ask_gpu() -> bool:
    """Whether the GPU agrees with the CPU, by `compare_devices` in a separate process."""
    answer = subprocess.run(
        [sys.executable, "-m", "lessonkit.doctor", "--compare"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "src")},
        capture_output=True,
        text=True,
    )
    try:
        differences = json.loads(answer.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        return False
    return all(difference <= TOLERANCE for difference in differences.values())


def compare_devices(device: str = "/GPU:0", reference: str = "/CPU:0") -> dict[str, float]:
    """Largest differences between devices: relu after a matrix product, and one gradient step of a small convnet."""
    inputs = np.random.default_rng(0).normal(size=(8, 16, 16, 3)).astype("float32")
    matrix, bias = inputs[0, :, :, 0], inputs[0, 0, :, 1]
    with tf.device(device):
        fused = tf.function(lambda x: tf.nn.relu(tf.nn.bias_add(tf.matmul(x, matrix), bias)))(matrix)
    relu = np.abs(fused.numpy() - np.maximum(matrix @ matrix + bias, 0)).max()

    def weights_after_step(name: str) -> list[np.ndarray]:
        keras.utils.set_random_seed(0)
        with tf.device(name):
            model = keras.Sequential(
                [
                    keras.Input((16, 16, 3)),
                    keras.layers.Conv2D(8, 3, strides=2, activation="relu"),
                    keras.layers.BatchNormalization(),
                    keras.layers.Flatten(),
                    keras.layers.Dense(16, activation="relu"),
                    keras.layers.Dense(4),
                ]
            )
            model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
            model.train_on_batch(inputs, np.arange(8) % 4)
        return [np.asarray(weight) for weight in model.get_weights()]

    pairs = zip(weights_after_step(device), weights_after_step(reference), strict=True)
    return {"relu": float(relu), "gradient_step": max(float(np.abs(a - b).max()) for a, b in pairs)}


def pins() -> list[tuple[str, str, str, bool]]:
    """(package, required, installed, fits) for every line of requirements.txt that applies to this machine."""
    rows = []
    for line in (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        required = Requirement(line)
        if required.marker is not None and not required.marker.evaluate():
            continue
        try:
            found = importlib.metadata.version(required.name)
        except importlib.metadata.PackageNotFoundError:
            found = "missing"
        fits = found != "missing" and required.specifier.contains(found, prereleases=True)
        rows.append((required.name, str(required.specifier) or "any", found, fits))
    return rows


def peak_memory() -> float | None:
    """The peak memory of this process so far, in MiB; None where the system does not report it (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, Linux in KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def findings() -> list[tuple[str, str, bool]]:
    """(what, finding, whether it is in order) for everything except the packages."""
    keras_home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    cached = sorted(path.name for folder in ("datasets", "models") for path in (keras_home / folder).glob("*.*"))
    data_dir = os.environ.get("STUDY_DATA_DIR")
    own = sorted(path.name for path in Path(data_dir).glob("*")) if data_dir else []
    rosetta = platform.system() == "Darwin" and platform.machine() == "x86_64" and "Apple" in platform.processor()
    gpus = tf.config.list_physical_devices("GPU")
    rows = [
        ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", not rosetta),
        ("CPU", f"{os.cpu_count()} cores", True),
        ("GPU", gpus[0].name if gpus else "none: everything runs on the CPU", True),
        ("Graphviz", shutil.which("dot") or "no `dot`: diagrams become .dot files (brew or apt: graphviz)", True),
        ("Keras cache", f"{keras_home}: {', '.join(cached) or 'empty'}", True),
        ("Data folder", f"{data_dir}: {', '.join(own)}" if data_dir else "STUDY_DATA_DIR is not set", True),
    ]
    device = "/GPU:0" if gpus else "/CPU:0"
    for name, difference in compare_devices(device).items():
        rows.append((f"{device[1:4]} against CPU: {name}", f"differs by {difference:.1e}", difference <= TOLERANCE))
    return rows


def main(argv: list[str]) -> int:
    """Print the report; returns 1 if something is wrong. With `--compare`, print only the differences, as JSON."""
    if argv == ["--compare"]:
        print(json.dumps(compare_devices()))
        return 0
    packages, others = pins(), findings()
    table = Table("", "found", "required", "")
    for name, finding, in_order in others:
        table.add_row(name, finding, "", "ok" if in_order else "WRONG")
    for name, required, found, fits in packages:
        table.add_row(name, found, required, "ok" if fits else "WRONG")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0 if all(row[-1] for row in [*packages, *others]) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
