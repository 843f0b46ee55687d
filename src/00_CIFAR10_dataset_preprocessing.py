"""00 · CIFAR-10: look at the data, and prepare them for a network.

CIFAR-10 has 60,000 colour pictures of ten classes: 32 x 32 pixels with three channels, each value an integer from 0 to
255. Before a network is trained on them, four things are done, and each can be done wrong:

    scale      x / 255, so that all inputs lie in [0, 1]
    normalise  (x - mean) / standard deviation, for each channel
    one-hot    class 3 of 10 becomes (0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    keep       the pictures stay uint8 in memory (a quarter of float32) and are converted batch by batch

What you will see: eight pictures of each class, the distribution of the three channels, the mean picture of each class,
and normalised pictures, which have negative values and are, strictly speaking, no pictures any more.

Run:    python src/00_CIFAR10_dataset_preprocessing.py       about ten seconds
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
    """Nothing is trained here."""

    per_class: config.Count = 8  # pictures shown of each class
    device: config.Device = "cpu"  # the work is done by NumPy
    distribute: config.Alone = "none"


PRESETS = {"smoke": {"limit": 200, "data": "embedded"}}

# %% Data

# Scaling. The initial weights of a layer are chosen for inputs of size about 1. With inputs of size 200 the first
# outputs would be in the hundreds, softmax would saturate, and the first gradients would be useless.


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 0..1, the same shape."""
    return images.astype("float32") / 255


# Normalising. The mean and the standard deviation are computed from the TRAINING pictures only: everything that is
# fitted to the data, even a mean, is a part of the model, and test pictures are those that the model has not seen.


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
    """uint8 images -> float32 with mean 0 and standard deviation 1 per channel, if the statistics are their own."""
    return ((scaled(images) - mean) / deviation).astype("float32")


# One-hot labels. They are the probabilities that a perfect classifier would give, so that a loss can compare the
# probabilities of a network with them: this is what the cross-entropy of lesson 01 does.


def one_hot(labels: np.ndarray, classes: int = 10) -> np.ndarray:
    """Class numbers (n,) -> float32 (n, classes), a single 1 in each row."""
    return keras.utils.to_categorical(labels, classes)


def class_means(split: datasets.Split) -> dict[int, np.ndarray]:
    """The mean picture (height, width, 3) in [0, 1] of each class that has pictures, by class number."""
    return {int(label): split.images[split.labels == label].mean(axis=0) / 255 for label in np.unique(split.labels)}


# %% Look


def draw_classes(data: datasets.LabelledImages, per_class: int) -> figures.Figure:
    """The first pictures of each class, one class per row."""
    split, names = data.train, data.class_names
    rows = [split.images[split.labels == label][:per_class] for label in range(len(names))]
    return figures.image_grid(rows, f"{data.name}: ten classes, 32 x 32 pixels", row_labels=names, size=0.85)


def draw_channels(images: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> figures.Figure:
    """How often each value occurs in each channel, with the mean and one standard deviation to each side."""
    title = "Pixel values of the training pictures (grey: one standard deviation to each side of the mean)"
    figure, axes = figures.subplots(1, 3, width=9, height=2.9, title=title, sharey=True)
    shares = [np.bincount(images[..., channel].ravel(), minlength=256) / images[..., 0].size for channel in range(3)]
    for channel, (cell, name) in enumerate(zip(axes, ("red", "green", "blue"), strict=True)):
        color = figures.COLORS[(1, 2, 0)[channel]]
        cell.fill_between(np.arange(256) / 255, 100 * shares[channel], color=color, alpha=0.5, step="mid")
        cell.axvline(mean[channel], color="black", linestyle="--")
        cell.axvspan(mean[channel] - deviation[channel], mean[channel] + deviation[channel], color="black", alpha=0.08)
        cell.set_title(f"{name}: mean {mean[channel]:.3f}, deviation {deviation[channel]:.3f}", fontsize=10)
        cell.set_xlabel("value after scaling")
    # Values that are far more frequent than the others (the white of an overexposed sky) are cut off at the top.
    axes[0].set_ylim(0, 1.5 * np.percentile(100 * np.stack(shares), 98))
    axes[0].set_ylabel("% of the pixels")
    return figure


def draw_class_means(data: datasets.LabelledImages) -> figures.Figure:
    """The mean picture of each class, and by how much it differs from the mean of all training pictures."""
    means = class_means(data.train)
    of_all = data.train.images.mean(axis=0) / 255
    counts = np.bincount(data.train.labels)
    rows = [list(means.values()), [0.5 + 3 * (mean - of_all) for mean in means.values()]]
    captions = [[f"{data.class_names[label]}: {counts[label]:,}" for label in means], [""] * len(means)]
    labels = ["mean of the class", "minus mean of all,\ntimes 3, on grey"]
    title = "Mean training picture of each class, with its number of pictures"
    return figures.image_grid(rows, title, labels, captions, size=1.02)


def draw_normalised(images: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> figures.Figure:
    """Pictures before and after normalising; the second row shows -2.5..2.5 as black..white."""
    after = normalised(images, mean, deviation)
    rows = [scaled(images), (after + 2.5) / 5]
    captions = [[f"{row.min():.2f} to {row.max():.2f}" for row in group] for group in (scaled(images), after)]
    labels = ["scaled to [0, 1]", "normalised"]
    return figures.image_grid(rows, "The same pictures before and after normalising", labels, captions, size=1.1)


# %% Measure

# Mean and standard deviation of the channels. Those of the photographs are published in many places; half of the
# training pictures have the same within 0.001. The drawn objects of the embedded data have their own.
USUAL = {"red": (0.491, 0.247), "green": (0.482, 0.244), "blue": (0.447, 0.262)}
USUAL_OF_DRAWN = {"red": (0.555, 0.215), "green": (0.587, 0.209), "blue": (0.566, 0.259)}


def around(value: float) -> tuple[float, float]:
    """The range in which a statistic of a channel is expected."""
    return round(value - 0.02, 3), round(value + 0.02, 3)


def measure(run: lesson.Run, data: datasets.LabelledImages, mean: np.ndarray, deviation: np.ndarray) -> None:
    """The statistics beside their usual values, and how far the test pictures are from them."""
    for channel, name in enumerate(USUAL):
        for value, what, place in ((mean, "mean", 0), (deviation, "deviation", 1)):
            real, drawn = around(USUAL[name][place]), around(USUAL_OF_DRAWN[name][place])
            run.metric(f"{what}_{name}", value[channel], "", expected=real, embedded=drawn)
    shift = np.abs(normalised(data.test.images, mean, deviation).mean(axis=(0, 1, 2))).max()
    run.metric("largest_test_mean", shift, "deviations", expected=(0, 0.05), embedded=(0, 0.05))
    share = np.bincount(data.train.labels, minlength=10).min() / len(data.train)
    run.metric("smallest_class_share", share, "fraction", expected=(0.095, 0.1), embedded=(0.095, 0.1))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, statistics, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.cifar10(run)
        run.say(f"the first label, {data.train.labels[0]}, as one-hot: {one_hot(data.train.labels[:1])[0]}")
        mean, deviation = channel_statistics(data.train.images)
        measure(run, data, mean, deviation)
        run.figure("classes", draw_classes(data, run.config.per_class), headline=True)
        run.figure("channels", draw_channels(data.train.images, mean, deviation))
        run.figure("class_means", draw_class_means(data))
        run.figure("normalised", draw_normalised(data.train.images[:6], mean, deviation))


if __name__ == "__main__":
    main()

# What to try next
# 1. Compute the statistics from the test pictures instead. The difference is small here; when would it not be?
# 2. --data embedded: the drawn objects. Which classes can be told apart by their mean colour alone?
# 3. Normalise each picture by its own mean and standard deviation. What is kept, and what is lost?
