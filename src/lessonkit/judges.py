"""Judges of generated images: small classifiers of the project's own, for want of Inception's weights.

A judge is trained on the training data of the lesson that it serves. It sees no generated image while it learns, so it
can say of one what it shows (coverage), and its last hidden layer is where Fréchet and kernel distances are taken.
Numbers of one judge compare runs on one data set; they say nothing beside those of another network.
"""

import dataclasses
import zlib
from collections.abc import Mapping, Sequence

from lessonkit import figures, metrics, training
from lessonkit.config import StudyError
from lessonkit.datasets.source import Split

import keras
import numpy as np
from scipy.special import entr

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


# What lessons 12 to 14 draw alike


def draw_progress(frames: Sequence[np.ndarray], rounds: Sequence[int], height: int) -> figures.Figure:
    """The first row of pictures, so many pixels high, of some frames: the same latents, later and later in the game.

    Args:
        rounds: how many had been played when each frame was drawn.
    """
    last = len(frames) - 1
    chosen = sorted({0, *(last // 2**halvings for halvings in range(5))})
    row_height = 7.2 * height / frames[0].shape[1] + 0.1
    figure, axes = figures.subplots(
        len(chosen),
        1,
        width=8,
        height=row_height * len(chosen) + 0.4,
        title="The same latents, ever later",
        squeeze=False,
    )
    for cell, frame in zip(axes[:, 0], chosen, strict=True):
        figures.show_image(cell, frames[frame][:height])
        cell.set_ylabel(f"{rounds[frame]:,} rounds", rotation=0, ha="right", va="center")
    return figure


def tied_losses(undecided: float) -> dict[str, float]:
    """Both losses if nobody can tell: the discriminator says `undecided` to all, half of the mean label of the real.

    Its loss is then the mean over as many real as generated pictures, in nats, and the generator's - log undecided.
    """
    return {"generator_loss": -np.log(undecided), "discriminator_loss": float(np.sum(entr([undecided, 1 - undecided])))}


def draw_curves(
    rounds: Sequence[int],
    history: Mapping[str, Sequence[float]],
    tied: Mapping[str, float],
    kernel_distances: Mapping[int, float],
    floor: float,
    things: str,
) -> figures.Figure:
    """What the players say of themselves (losses, accuracies), and what the judge says of the pictures (KID).

    Args:
        history: generator_loss, discriminator_loss, accuracy_real and accuracy_fake, a value for each of `rounds`.
        tied: by name, the value of the two losses if nobody could tell.
        kernel_distances: by round, NaN where none was measured; floor: that of test pictures. The scale is logarithmic
            and has no place for values below 0, to which these unbiased estimates may fall.
        things: what the pictures show, such as "digits".
    """
    figure, (losses, accuracies, distances) = figures.subplots(
        1,
        3,
        width=9,
        height=3.6,
        title="The losses do not tell how good the pictures are; the distance to real ones does",
    )
    chance = dict.fromkeys(("accuracy_real", "accuracy_fake"), 0.5)
    for cell, marks in ((losses, tied), (accuracies, chance)):
        for index, (name, level) in enumerate(marks.items()):
            color, label = figures.COLORS[index], name.removesuffix("_loss").replace("accuracy_", "about ")
            label = label.replace("fake", "generated")
            cell.plot(rounds, history[name], ("-", "--")[index], color=color, label=label, linewidth=1.2)
            cell.axhline(level, color=color if cell is losses else "black", linestyle=":", linewidth=1.5)
        cell.plot([], [], "k:", label="if nobody could tell")
    losses.set(ylabel="loss (nats)", ylim=(0, None))
    accuracies.set(ylabel="discriminator's accuracy", ylim=(0, 1.02))
    measured = [(when, value) for when, value in kernel_distances.items() if np.isfinite(value)]
    distances.plot(*zip(*measured, strict=True), marker=".", color=figures.COLORS[2], label="generated")
    if floor > 0:
        distances.axhline(floor, color="black", linestyle=":", linewidth=1, label=f"test {things}")
    distances.set(ylabel=f"KID to training {things}", yscale="log")
    for cell in (losses, accuracies, distances):
        cell.set_xlabel("round")
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)
    return figure


def draw_nearest(made: np.ndarray, known: np.ndarray, scores: Mapping[str, float], thing: str) -> figures.Figure:
    """Ten generated pictures above the training pictures nearest to them: has the generator learned by heart?"""
    indices, distances = metrics.nearest(made[:10], known)
    captions = [[""] * 10, [f"{value:.3f}" for value in distances]]
    title = (
        f"Not copies: {scores['nearest_generated']:.3f} from the nearest training {thing} on average, "
        f"a new real one {scores['nearest_test']:.3f} (RMS of pixels)"
    )
    return figures.image_grid([made[:10], known[indices]], title, ["generated", "nearest of training"], captions)
