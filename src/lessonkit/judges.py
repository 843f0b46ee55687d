"""Judges of generated images: small classifiers of the project's own, where Inception's weights cannot be had.

A judge is trained on the training data of the lesson that it serves. It sees no generated image during its training,
so it can classify generated images (class coverage), and Fréchet and kernel distances are taken between the features
of its last hidden layer. Numbers of one judge compare runs on one data set; another network's cannot be compared.
"""

import dataclasses
import typing
import zlib
from collections.abc import Mapping

from lessonkit import metrics, training
from lessonkit.config import StudyError
from lessonkit.datasets.source import LabelledImages

import keras
import numpy as np
import tensorflow as tf

if typing.TYPE_CHECKING:
    from lessonkit.run import Run

SEED = 7  # of the judge, whatever the run's: all runs on the same data have the same judge (lesson 28 has two more)
FEATURES = 64
STEPS, EPOCHS, BATCH_SIZE, RATE = 600, 30, 128, 3e-3  # whichever of the first two is reached sooner
SHIFT = 4  # pixels; pictures with attributes are shifted and mirrored at random, so that the judge does not memorise
COMPARED = 2_000  # images of each kind for precision and recall, whose cost grows with the square
RESAMPLES = 10  # of the generated images, for the spread of the Fréchet distance


@dataclasses.dataclass(frozen=True)
class Judge:
    """A trained classifier with two outputs: features and logits.

    accuracy: share of the test images that it classifies correctly (with attributes: mean over the attributes).
    """

    name: str
    model: keras.Model  # images scaled to [0, 1] -> [features, logits]
    accuracy: float

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, height, width[, channels]), uint8 or in [0, 1] -> features (n, 64) and logits (n, classes)."""
        parts = [
            self.model.predict_on_batch(scaled(images[start : start + 500])) for start in range(0, len(images), 500)
        ]
        return tuple(np.concatenate(outputs) for outputs in zip(*parts, strict=True))

    def features(self, images: np.ndarray) -> np.ndarray:
        """Images -> features (n, 64), of mean 0 and variance 1 over the training images."""
        return self.predict(images)[0]

    def logits(self, images: np.ndarray) -> np.ndarray:
        """Images -> logits (n, classes or attributes)."""
        return self.predict(images)[1]

    def classes(self, images: np.ndarray) -> np.ndarray:
        """Images -> class numbers (n,)."""
        return np.argmax(self.logits(images), axis=1)


def judge(run: "Run", data: LabelledImages, seed: int = SEED) -> Judge:
    """The judge of a data set: trained now, in some ten seconds, or taken from the last run's checkpoints.

    Args:
        data: images uint8 (n, height, width[, channels]); labels are class numbers (n,), or booleans (n, attributes)
            of which several may be true of one image. The judge is named after the data that were really used.
        seed: of another judge than the usual one: how much does a score depend on its judge?
    """
    name = f"judge of {data.name}" + (f" (seed {seed})" if seed != SEED else "")
    images, targets = data.train.images, data.train.labels
    seen = zlib.crc32(np.ascontiguousarray(targets), zlib.crc32(np.ascontiguousarray(images)))
    settings = {"data": seen, "seed": seed, "steps": STEPS, "epochs": EPOCHS, "batch": BATCH_SIZE, "rate": RATE}
    file = "judge.npz" if seed == SEED else f"judge_{seed}.npz"
    saved = training.Checkpoint(run.checkpoints / file, settings | {"shift": SHIFT})
    model = build(images.shape[1:], targets, seed)
    with run.part("judge"):
        try:
            trained = saved.restore(model.variables) is not None
        except StudyError:  # of other data, or not whole
            trained = False
        if not trained:
            run.say(f"training the {name} on {len(images):,} images")
            fit(model, images, targets, seed)
            saved.save(model.variables, {})
        logits = Judge(name, model, 0).logits(data.test.images)
        guesses = logits > 0 if targets.ndim == 2 else np.argmax(logits, axis=1)
        accuracy = float(np.mean(guesses == data.test.labels))
    run.record_weights(name, f"a convnet of {model.count_params():,} weights, {accuracy:.1%} correct on test images")
    return Judge(name, model, accuracy)


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 or [0, 1] -> float32 (n, height, width, channels) in [0, 1]."""
    images = images / np.float32(255) if images.dtype == np.uint8 else images.astype("float32")
    return images[..., None] if images.ndim == 3 else images


def build(shape: tuple[int, ...], targets: np.ndarray, seed: int = SEED) -> keras.Model:
    """Images -> [features, logits]; the convolutions halve the picture until at most 7 x 7 places are left."""
    layers = keras.layers
    seeds = keras.random.SeedGenerator(seed)

    def initializer():
        return keras.initializers.HeNormal(seed=seeds)

    images = keras.Input((*shape, 1) if len(shape) == 2 else shape)
    hidden, width = images, 16
    while hidden.shape[1] > 8:
        hidden = layers.Conv2D(width, 3, strides=2, padding="same", kernel_initializer=initializer())(hidden)
        hidden = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(hidden))
        width *= 2
    hidden = layers.Flatten()(hidden)
    hidden = layers.Dense(FEATURES, activation="leaky_relu", kernel_initializer=initializer())(hidden)
    # Mean 0 and variance 1 over the training images: every feature has the same weight in a distance.
    features = layers.BatchNormalization(center=False, scale=False, momentum=0.95, name="features")(hidden)
    outputs = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    logits = layers.Dense(outputs, kernel_initializer=initializer(), name="logits")(features)
    return keras.Model(images, [features, logits], name="judge")


def augmented(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Shift uint8 images (n, height, width, channels) by up to SHIFT pixels, the same for a batch, and mirror half."""
    seeds = tf.random.split(seed, 2)
    padded = tf.pad(images, [[0, 0], [SHIFT, SHIFT], [SHIFT, SHIFT], [0, 0]], mode="REFLECT")
    top, left = tf.unstack(tf.random.stateless_uniform((2,), seeds[0], 0, 2 * SHIFT + 1, tf.int32))
    moved = padded[:, top : top + images.shape[1], left : left + images.shape[2]]
    mirrored = tf.random.stateless_uniform((images.shape[0], 1, 1, 1), seeds[1]) < 0.5
    return tf.ensure_shape(tf.where(mirrored, moved[:, :, ::-1], moved), images.shape)


def fit(model: keras.Model, images: np.ndarray, targets: np.ndarray, seed: int = SEED) -> None:
    """Train with Adam, whose rate decays to zero along a cosine; images become floats batch by batch."""
    several = targets.ndim == 2
    loss = keras.losses.BinaryCrossentropy if several else keras.losses.SparseCategoricalCrossentropy
    classifier = keras.Model(model.input, model.outputs[1])

    def transform(batch, labels, batch_seed):
        batch = augmented(batch, batch_seed) if several else batch
        return tf.cast(batch, tf.float32) / 255, labels

    pixels = images[..., None] if images.ndim == 3 else images
    arrays = pixels, targets.astype("float32" if several else "int32")
    examples = training.Batches(arrays, BATCH_SIZE, seed, transform, random=True)
    steps = min(STEPS, EPOCHS * examples.steps_per_epoch)
    classifier.compile(keras.optimizers.Adam(training.warm_up_cosine(RATE, steps)), loss(from_logits=True))
    classifier.fit(examples.dataset(), steps_per_epoch=steps, verbose=0)


# Scores


@dataclasses.dataclass(frozen=True)
class Scores:
    """How far generated images are from the training images, by one judge; beside each what test images would get.

    The floors are the distances of as many test images from the same training images. A generator that memorises the
    training images gets 0, so a floor is no lower bound; it is what the same distribution gives in a new sample.

    count: images of each kind in the distances (precision and recall: at most 2,000).
    spreads: standard deviation by name: of the Fréchet distance over bootstrap resamples of the generated images, of
        the kernel distance over its blocks, divided by the root of their number, of shares as binomial.
    """

    judge: Judge
    count: int
    fid: float
    fid_floor: float
    kid: float
    kid_floor: float
    precision: float
    recall: float
    nearest_generated: float
    nearest_test: float
    spreads: Mapping[str, float]
    classes_covered: int | None = None  # None: the judge knows attributes, of which several may be true
    label_accuracy: float | None = None  # share of images that show the class they were asked for; None: not asked

    def report(self, run: "Run", expected: Mapping[str, tuple], things: str = "images") -> None:
        """Hand every score to `run.metric`, with its unit, spread and range.

        Args:
            expected: by name, the range on real data and, if there is one, the range on the stand-in.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name in ("judge", "count", "spreads") or value is None:
                continue
            compared = min(self.count, COMPARED) if field.name in ("precision", "recall") else self.count
            unit = "" if field.name.startswith("nearest") else f"({compared:,} {things}, {self.judge.name})"
            run.metric(field.name, value, unit, *expected.get(field.name, ()), spread=self.spreads.get(field.name))


def fid(features: np.ndarray, others: np.ndarray) -> float:
    """Fréchet distance of two sets of features (n, 64)."""
    return metrics.frechet_distance(features, others)


def kid(features: np.ndarray, others: np.ndarray) -> tuple[float, float]:
    """Kernel distance of two sets of features (n, 64), and its standard error over blocks.

    The kernel cubes products of features, which nothing bounds: a few long ones would decide everything. So each is
    scaled to the length 8 = sqrt(64) first, and the kernel becomes (cosine + 1)^3.
    """
    mean, deviation, blocks = metrics.kernel_distance(unit_length(features), unit_length(others))
    return mean, deviation / np.sqrt(blocks)


def unit_length(features: np.ndarray) -> np.ndarray:
    """Features (n, d) scaled to the length sqrt(d), so that the mean of their squares is 1."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    return features * (np.sqrt(features.shape[1]) / np.maximum(lengths, 1e-12))


def scores(judge: Judge, generated: np.ndarray, data: LabelledImages, labels: np.ndarray | None = None) -> Scores:
    """Measure generated images (n, height, width[, channels]), uint8 or in [0, 1].

    Args:
        data: the first of its training and test images are taken, as many as there are of the fewest kind.
        labels: class numbers (n,) that the generator was asked for.
    """
    count = min(len(generated), len(data.train), len(data.test))
    features, logits = judge.predict(generated)
    train, test = (judge.features(part.images[:count]) for part in (data.train, data.test))
    measured = features[:count]
    kid_value, kid_error = kid(train, measured)
    precision, recall = metrics.precision_recall(train[:COMPARED], measured[:COMPARED])
    random = np.random.default_rng(SEED)
    resampled = [fid(train, measured[random.integers(0, count, count)]) for _ in range(RESAMPLES)]
    compared = min(count, COMPARED)
    spreads = {"fid": float(np.std(resampled)), "kid": kid_error}
    spreads |= {
        name: float(np.sqrt(share * (1 - share) / compared))
        for name, share in (("precision", precision), ("recall", recall))
    }
    classes = None if data.train.labels.ndim == 2 else logits.shape[1]
    predicted = np.argmax(logits, axis=1)
    accuracy = None if labels is None else float(np.mean(predicted == labels))
    if accuracy is not None:
        spreads["label_accuracy"] = float(np.sqrt(accuracy * (1 - accuracy) / len(generated)))
    return Scores(
        judge=judge,
        count=count,
        fid=fid(train, measured),
        fid_floor=fid(train, test),
        kid=kid_value,
        kid_floor=kid(train, test)[0],
        precision=precision,
        recall=recall,
        nearest_generated=float(np.mean(metrics.nearest(generated[:500], data.train.images)[1])),
        nearest_test=float(np.mean(metrics.nearest(data.test.images[:500], data.train.images)[1])),
        spreads=spreads,
        classes_covered=None if classes is None else metrics.classes_covered(predicted, classes),
        label_accuracy=accuracy,
    )
