"""Judges of generated images: small classifiers of the project's own, for want of Inception's weights.

A judge is trained on the training data of the lesson that it serves. It sees no generated image while it learns, so it
can say of one what it shows (coverage), and its last hidden layer is where Fréchet and kernel distances are taken.
Numbers of one judge compare runs on one data set; they say nothing beside those of another network.
"""

import dataclasses
import zlib

from lessonkit import metrics, training
from lessonkit.config import StudyError
from lessonkit.datasets.source import Split

import keras
import numpy as np

SEED = 7  # of the judge, whatever the run's: all runs on the same data are judged alike
FEATURES = 64
STEPS, EPOCHS, BATCH_SIZE, RATE = 600, 30, 128, 3e-3  # whichever of the first two comes sooner


@dataclasses.dataclass(frozen=True)
class Judge:
    """A trained classifier, read at two places.

    accuracy: share of the test images that it names rightly (with attributes: mean over the attributes).
    """

    name: str
    model: keras.Model  # images scaled to [0, 1] -> [features, logits]
    accuracy: float

    def look(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images (n, height, width[, channels]), uint8 or in [0, 1] -> features (n, 64) and logits (n, classes)."""
        return tuple(self.model.predict(scaled(images), batch_size=500, verbose=0))


def judge(run, data_name: str, train: Split, test: Split) -> Judge:
    """The judge of a data set: trained now, in some ten seconds, or taken from the last run's checkpoints.

    Args:
        data_name: such as "MNIST".
        train, test: images uint8 (n, height, width[, channels]); labels are class numbers (n,), or booleans
            (n, attributes) of which several may be true of one image.
    """
    name = f"judge of {data_name}"
    images, targets = train.images, train.labels
    seen = zlib.crc32(np.ascontiguousarray(targets), zlib.crc32(np.ascontiguousarray(images)))
    saved = training.Checkpoint(run.checkpoints / "judge.npz", {"data": seen, "steps": STEPS, "rate": RATE})
    model = build(images.shape[1:], targets)
    with run.part("judge"):
        try:
            known = saved.restore(model.variables) is not None
        except StudyError:  # of other data, or not whole
            known = False
        if not known:
            run.say(f"training the {name} on {len(images):,} images")
            fit(model, images, targets)
            saved.save(model.variables, {})
        logits = Judge(name, model, 0).look(test.images)[1]
        guesses = logits > 0 if targets.ndim == 2 else np.argmax(logits, axis=1)
        accuracy = float(np.mean(guesses == test.labels))
    run.record_weights(name, f"the same data: a convnet of {model.count_params():,} weights, {accuracy:.1%} right")
    return Judge(name, model, accuracy)


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 or [0, 1] -> float32 (n, height, width, channels) in [0, 1]."""
    images = images / np.float32(255) if images.dtype == np.uint8 else images.astype("float32")
    return images[..., None] if images.ndim == 3 else images


def build(shape: tuple[int, ...], targets: np.ndarray) -> keras.Model:
    """Images -> [features, logits]; the convolutions halve the picture until at most 7 x 7 places are left."""
    layers = keras.layers
    seeds = keras.random.SeedGenerator(SEED)

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
    # Mean 0 and variance 1 over the training images: every feature has the same say in a distance.
    features = layers.BatchNormalization(center=False, scale=False, momentum=0.95, name="features")(hidden)
    outputs = targets.shape[1] if targets.ndim == 2 else int(targets.max()) + 1
    logits = layers.Dense(outputs, kernel_initializer=initializer(), name="logits")(features)
    return keras.Model(images, [features, logits], name="judge")


def fit(model: keras.Model, images: np.ndarray, targets: np.ndarray) -> None:
    """Train with Adam, whose rate falls to nought."""
    several = targets.ndim == 2
    loss = keras.losses.BinaryCrossentropy if several else keras.losses.SparseCategoricalCrossentropy
    classifier = keras.Model(model.input, model.outputs[1])
    examples = training.Batches((scaled(images), targets.astype("float32" if several else "int32")), BATCH_SIZE, SEED)
    steps = min(STEPS, EPOCHS * examples.steps_per_epoch)
    rate = keras.optimizers.schedules.CosineDecay(RATE, steps)
    classifier.compile(keras.optimizers.Adam(rate), loss(from_logits=True))
    classifier.fit(examples.dataset(), steps_per_epoch=steps, verbose=0)


def scores(judge: Judge, made: np.ndarray, untrained: np.ndarray, train: np.ndarray, test: np.ndarray) -> dict:
    """How far generated images are from the training images, by name; beside each what real images would get.

    Args:
        made, untrained: as many images by the generator, after and before its training, scaled to [0, 1].
        train, test: real images, uint8; the first of each are taken, as many as there are generated ones.
    """
    count = min(len(made), len(train), len(test))
    generated, before, known, new = (judge.look(images[:count])[0] for images in (made, untrained, train, test))
    precision, recall = metrics.precision_recall(known[:2000], generated[:2000])
    return {
        "fid": metrics.frechet_distance(known, generated),
        "fid_floor": metrics.frechet_distance(known, new),
        "fid_untrained": metrics.frechet_distance(known, before),
        "kid": metrics.kernel_distance(known, generated)[0],
        "kid_floor": metrics.kernel_distance(known, new)[0],
        "precision": precision,
        "recall": recall,
        "nearest_generated": float(np.mean(metrics.nearest(made[:500], train / np.float32(255))[1])),
        "nearest_test": float(np.mean(metrics.nearest(test[:500], train)[1])),
    }
