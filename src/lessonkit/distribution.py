"""Training on several devices or machines by `tf.distribute` (`--distribute`), in the lessons that train with `fit`.

Every replica computes a part of each batch, and the gradients are averaged over all replicas. So the weights stay the
same everywhere, and a step is that of one device with the whole batch, except for what each replica draws or computes
for its own part: dropout, the noise of a VAE, the statistics of batch normalisation.
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
                "--distribute multi-worker needs TF_CONFIG to list two workers or more (see docs/reference.md)"
            )
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def cluster() -> dict:
    """The content of TF_CONFIG; empty if it is not set, or is not JSON."""
    try:
        return json.loads(os.environ.get("TF_CONFIG", "{}"))
    except ValueError:
        return {}


def is_chief(kind: str) -> bool:
    """Whether this process is the one that publishes: worker 0, or the only one."""
    return kind != "multi-worker" or cluster().get("task", {}).get("index", 0) == 0


def mean_over_replicas(value: tf.Tensor) -> tf.Tensor:
    """The mean of a scalar over the replicas of a training step; the value itself where there is one device.

    A loss that is a mean over something that differs between replicas (the tokens of their texts) divides by this.
    """
    context = tf.distribute.get_replica_context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.MEAN, value)


def prepare(model: keras.Model, replicas: int) -> None:
    """Correct two errors of Keras 3.6 in a compiled model that trains on several replicas.

    It sums the gradients, although the loss of each replica is already a mean over its own part of the batch: the steps
    would be too long by a factor of the number of replicas. (Later versions divide the loss.) And it averages what
    several workers log over an axis that a scalar does not have.
    """
    if not hasattr(keras.src.losses.loss, "scale_loss_for_distribution"):
        sum_over_replicas = model.optimizer._all_reduce_sum_gradients

        def shared(gradient):
            if isinstance(gradient, tf.IndexedSlices):  # an embedding's: only the rows that were looked up
                return tf.IndexedSlices(gradient.values / replicas, gradient.indices, gradient.dense_shape)
            return None if gradient is None else gradient / replicas

        def average(pairs):
            return [(shared(gradient), variable) for gradient, variable in sum_over_replicas(pairs)]

        model.optimizer._all_reduce_sum_gradients = average

    def with_an_axis(step):
        return lambda data: {name: tf.reshape(value, (1,)) for name, value in step(data).items()}

    if isinstance(tf.distribute.get_strategy(), tf.distribute.MultiWorkerMirroredStrategy):
        model.train_step, model.test_step = with_an_axis(model.train_step), with_an_axis(model.test_step)
