"""Training on several devices or machines by `tf.distribute` (`--distribute`), in the lessons that train with `fit`.

Every replica takes its share of each batch; the gradients are averaged over all, so that the weights stay the same
everywhere and are those of one device with the whole batch (but for rounding, dropout and batch normalisation).
"""

import json
import os

from lessonkit.config import StudyError

import keras
import tensorflow as tf


def strategy(kind: str, device: str) -> tf.distribute.Strategy:
    """The strategy of `--distribute`: "none", "mirrored" (all devices here) or "multi-worker" (TF_CONFIG's machines).

    Raises:
        StudyError: for "multi-worker" without a TF_CONFIG that names the machines.
    """
    if kind == "mirrored":
        gpus = [] if device.startswith("CPU") else tf.config.list_logical_devices("GPU")
        return tf.distribute.MirroredStrategy([each.name for each in gpus or tf.config.list_logical_devices("CPU")])
    if kind == "multi-worker":
        if len(cluster().get("cluster", {}).get("worker", [])) < 2:
            raise StudyError(
                "--distribute multi-worker needs TF_CONFIG with the addresses of two workers or more (see the README)"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def cluster() -> dict:
    """What TF_CONFIG says; nothing if it is not there, or no JSON."""
    try:
        return json.loads(os.environ.get("TF_CONFIG", "{}"))
    except ValueError:
        return {}


def is_chief(kind: str) -> bool:
    """Whether this process is the one that publishes: worker 0, or the only one."""
    return kind != "multi-worker" or cluster().get("task", {}).get("index", 0) == 0


def prepare(model: keras.Model, replicas: int) -> None:
    """Mend what Keras 3.6 does wrong when a compiled model trains on several replicas.

    It adds the gradients up, although the loss of each replica is already a mean over its own part of the batch: the
    steps would be longer by the number of replicas. (Later versions divide the loss.) And it takes the mean of what
    several workers log over an axis that a scalar does not have.
    """
    if not hasattr(keras.src.losses.loss, "scale_loss_for_distribution"):
        add_up = model.optimizer._all_reduce_sum_gradients

        def average(pairs):
            pairs = add_up(pairs)
            return [(None if gradient is None else gradient / replicas, variable) for gradient, variable in pairs]

        model.optimizer._all_reduce_sum_gradients = average

    def with_an_axis(step):
        return lambda data: {name: tf.reshape(value, (1,)) for name, value in step(data).items()}

    if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        model.train_step, model.test_step = with_an_axis(model.train_step), with_an_axis(model.test_step)
