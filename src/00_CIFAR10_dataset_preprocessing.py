"""00 · CIFAR-10: look at the data, and bring them into the form that a network wants.

Every lesson begins with numbers from outside. CIFAR-10 has 60,000 colour pictures of ten classes, 32 x 32 pixels with
three channels, each a whole number from 0 to 255. Before a network sees them, four things happen, and each can be done
wrong:

    scale      x / 255, so that all inputs lie in [0, 1]: the first weights then need not be tiny
    normalise  (x - mean) / deviation, channel by channel; mean and deviation come from the TRAINING pictures alone:
               whatever is fitted to the test pictures, even a mean, makes the test a little less of a test
    one-hot    class 3 of 10 becomes (0, 0, 0, 1, 0, ...): the probabilities that a perfect classifier would give
    keep       the pictures stay uint8 in memory (a quarter of float32) and are scaled batch by batch

What you will see: eight pictures of each class, the distribution of the three channels, how many pictures each class
has, and a normalised picture, which is no longer a picture: it has negative numbers.

Run:    python src/00_CIFAR10_dataset_preprocessing.py       ten seconds
Makes:  output/00_CIFAR10_dataset_preprocessing.png and output/00_CIFAR10_dataset_preprocessing/
Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009
"""

import dataclasses
from collections.abc import Sequence

from lessonkit import config, datasets, figures
from lessonkit import run as lesson

import keras
import numpy as np

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """There is nothing to train here."""

    per_class: config.Count = 8  # pictures shown of each class
    device: config.Device = "cpu"  # only NumPy works here
    distribute: config.Alone = "none"


PRESETS = {"smoke": {"limit": 200, "data": "embedded"}}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 0..1, the same shape."""
    return images.astype("float32") / 255


def channel_statistics(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel, both float64 (3,), of uint8 images (n, height, width, 3).

    The standard deviation is taken over all pixels of all images at once. It is computed from counts of the 256 values:
    exact, and without a float copy of the whole data set.
    """
    values = np.arange(256) / 255
    counts = np.stack([np.bincount(images[..., channel].ravel(), minlength=256) for channel in range(3)])
    frequencies = counts / counts.sum(axis=1, keepdims=True)
    mean = frequencies @ values
    return mean, np.sqrt(frequencies @ values**2 - mean**2)


def normalised(images: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
    """uint8 images -> float32 of mean 0 and deviation 1 per channel, for the images that the statistics come from."""
    return ((scaled(images) - mean) / deviation).astype("float32")


def one_hot(labels: np.ndarray, classes: int = 10) -> np.ndarray:
    """Class numbers (n,) -> float32 (n, classes), a single 1 in each row."""
    return keras.utils.to_categorical(labels, classes)


# %% Look


def draw_classes(split, class_names: Sequence[str], per_class: int) -> figures.Figure:
    """The first pictures of each class, a class a row."""
    rows = [split.images[split.labels == label][:per_class] for label in range(len(class_names))]
    return figures.image_grid(rows, "CIFAR-10: ten classes, 32 x 32 pixels", row_labels=class_names, size=0.85)


def draw_channels(images: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> figures.Figure:
    """How often each value occurs in each channel, with its mean and one deviation to each side."""
    figure, axes = figures.subplots(
        1, 3, width=9, height=2.9, title="Pixel values of the training pictures", sharey=True
    )
    for channel, (cell, name) in enumerate(zip(axes, ("red", "green", "blue"), strict=True)):
        color = figures.COLORS[(1, 2, 0)[channel]]
        share = np.bincount(images[..., channel].ravel(), minlength=256) / images[..., channel].size
        cell.fill_between(np.arange(256) / 255, 100 * share, color=color, alpha=0.5, step="mid")
        cell.axvline(mean[channel], color="black", linestyle="--")
        cell.axvspan(mean[channel] - deviation[channel], mean[channel] + deviation[channel], color="black", alpha=0.08)
        cell.set_title(f"{name}: mean {mean[channel]:.3f}, deviation {deviation[channel]:.3f}")
        cell.set_xlabel("value after scaling")
        cell.set_ylim(0, 1.5)  # the spike at 1 (overexposed sky) would hide the rest
    axes[0].set_ylabel("% of the pixels")
    return figure


def draw_balance(train_labels: np.ndarray, test_labels: np.ndarray, class_names: Sequence[str]) -> figures.Figure:
    """Pictures per class: were they uneven, accuracy would flatter a network that always says the largest class."""
    figure, cell = figures.subplots(
        width=8, height=3.2, title="Every class has the same share: chance is 10 % accuracy"
    )
    places = np.arange(len(class_names))
    for shift, (name, labels) in zip((-0.2, 0.2), {"training": train_labels, "test": test_labels}.items(), strict=True):
        counts = np.bincount(labels, minlength=len(class_names))
        cell.bar_label(cell.bar(places + shift, counts, width=0.4, label=name), fontsize=7)
    cell.set_xticks(places, class_names, rotation=30, ha="right")
    cell.set_ylabel("pictures")
    cell.margins(y=0.15)
    cell.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def draw_normalised(images: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> figures.Figure:
    """Six pictures as they are and normalised; the second row shows -2.5..2.5 as black..white."""
    after = normalised(images, mean, deviation)
    rows = [scaled(images), (after + 2.5) / 5]
    captions = [[f"{row.min():.2f} to {row.max():.2f}" for row in group] for group in (scaled(images), after)]
    labels = ["scaled to [0, 1]", "normalised"]
    return figures.image_grid(rows, "The same pictures before and after", labels, captions, size=1.1)


# %% Measure


def measure(run: lesson.Run, data: datasets.LabelledImages, mean: np.ndarray, deviation: np.ndarray) -> None:
    """What the tables of the trade give for these statistics, and how far the test pictures are from them."""
    expected = {"red": (0.49, 0.25), "green": (0.48, 0.24), "blue": (0.45, 0.26)}
    for channel, (name, (usual_mean, usual_deviation)) in enumerate(expected.items()):
        run.metric(f"mean_{name}", mean[channel], "", expected=(usual_mean - 0.02, usual_mean + 0.02))
        run.metric(
            f"deviation_{name}", deviation[channel], "", expected=(usual_deviation - 0.02, usual_deviation + 0.02)
        )
    shift = np.abs(normalised(data.test.images, mean, deviation).mean(axis=(0, 1, 2))).max()
    run.metric("largest_test_mean", shift, "deviations", expected=(0, 0.05), embedded=(0, 0.05))
    counts = np.bincount(data.train.labels, minlength=10)
    run.metric(
        "smallest_class_share", counts.min() / counts.sum(), "fraction", expected=(0.1, 0.1), embedded=(0.1, 0.1)
    )


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, statistics, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.cifar10(run)
        run.say(f"the first label, {data.train.labels[0]}, as one-hot: {one_hot(data.train.labels[:1])[0]}")
        mean, deviation = channel_statistics(data.train.images)
        measure(run, data, mean, deviation)
        run.figure("classes", draw_classes(data.train, data.class_names, run.config.per_class), headline=True)
        run.figure("channels", draw_channels(data.train.images, mean, deviation))
        run.figure("balance", draw_balance(data.train.labels, data.test.labels, data.class_names))
        run.figure("normalised", draw_normalised(data.train.images[:6], mean, deviation))


if __name__ == "__main__":
    main()

# What to try next
# 1. Fit the statistics on the test pictures instead. How much do they differ? Too little to matter here, but imagine
#    400 test pictures from another camera.
# 2. --data embedded: the drawn stand-in. Which class is easiest to tell by its mean colour alone?
# 3. Normalise each picture by its own mean and deviation. What does that keep, and what does it throw away?
