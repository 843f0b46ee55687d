"""07 · The first generative model: independent pixels, estimated by counting.

A discriminative model, like all the networks before this lesson, learns p(y | x): which class, given the picture. A
generative model learns p(x), or p(x, y) = p(y) p(x | y): how probable each picture is. That is more than a classifier
needs. From it follow new pictures (sample from p), a score for any picture (evaluate p), and a classifier (Bayes'
rule).

Here p is the simplest possible one, and counting replaces training. A pixel is binarised to black or white (0 or 1, at
half brightness), and each is an independent Bernoulli variable, whose probability is counted among the N_y training
digits of the class:

    p(x | y) = prod_d  theta_yd^x_d (1 - theta_yd)^(1 - x_d)       theta_yd = (white_yd + a) / (N_y + 2 a)
    p(x)     = sum_y p(y) p(x | y)                                 p(y) = (N_y + a) / (N + 10 a)

You will see: mean images, samples and real digits per class; how probable the models find real digits, and how probable
their own samples; the weights of a counted and of a trained classifier; how well both are calibrated; the confusion
matrix.

Run:    python src/07_MNIST_pixel_model.py       about ten seconds on two CPU cores
Makes:  output/07_MNIST_pixel_model.png and output/07_MNIST_pixel_model/
Source: Ng & Jordan, On Discriminative vs. Generative Classifiers, NIPS 2001; Foster, Generative Deep Learning, 2nd
        edition, 2023, chapter 1; LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document
        recognition, 1998 (the data)
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

from lessonkit import config, datasets, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
from scipy.special import logsumexp

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Counting has almost no settings; the epochs and the rate are those of the linear classifier beside it."""

    binarise: Literal["threshold", "stochastic"] = "threshold"  # white: above 127, or with probability value / 255
    smoothing: Annotated[float, config.Range(1e-6, 1e6)] = 1.0  # a: added to the counts of white and of black
    epochs: config.Count = 8  # of the linear classifier; after that it hardly improves
    batch_size: config.Count = 128
    learning_rate: config.Rate = 1e-3
    device: config.Device = "cpu"  # counting runs in NumPy, and one layer is faster on the CPU


PRESETS = {
    "full": {},  # nothing to scale up: all digits are counted in any case
    "smoke": {"steps": 3, "batch_size": 16, "limit": 200, "data": "embedded"},
}

# %% Data


def binarised(images: np.ndarray, how: str, seeds: keras.random.SeedGenerator) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 784) of 0 and 1.

    "threshold" keeps the shapes. "stochastic" draws every grey pixel once, white with probability value / 255; most
    published likelihoods of "binarised MNIST" are measured on such data.
    """
    flat = images.reshape(len(images), -1)
    if how == "threshold":
        return (flat > 127).astype("float32")
    coins = keras.ops.convert_to_numpy(keras.random.uniform(flat.shape, seed=seeds))
    return (coins * 255 < flat).astype("float32")


# %% Model
# The a in the formulas above (Laplace's smoothing) keeps a pixel that was never white in training from having
# probability 0: one such pixel in a test digit would have an infinite cost. With a single class for all digits the same
# formula is the class-blind model. Both are distributions over the 2^784 binary pictures: their probabilities sum to 1.


@dataclasses.dataclass(frozen=True)
class BernoulliPixels:
    """p(x, y) = p(y) prod_d theta_yd^x_d (1 - theta_yd)^(1 - x_d), for binary pictures x (784,) and classes y.

    Args:
        prior: p(y), (classes,).
        theta: p(x_d = 1 | y), (classes, 784), strictly between 0 and 1.
    """

    prior: np.ndarray
    theta: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """The log odds of white, (classes, 784): what a white pixel adds to log p(x, y)."""
        return np.log(self.theta) - np.log1p(-self.theta)

    @property
    def biases(self) -> np.ndarray:
        """log p(x, y) of the all-black picture, (classes,)."""
        return np.log(self.prior) + np.log1p(-self.theta).sum(axis=1)

    def log_joint(self, pictures: np.ndarray) -> np.ndarray:
        """log p(x, y) in nats: (n, 784) -> (n, classes). Sums of logarithms, as the product underflows."""
        return pictures @ self.weights.T + self.biases

    def log_likelihood(self, pictures: np.ndarray) -> np.ndarray:
        """log p(x) = log sum_y p(x, y) in nats, (n,)."""
        return logsumexp(self.log_joint(pictures), axis=1)

    def log_posterior(self, pictures: np.ndarray) -> np.ndarray:
        """log p(y | x) = log p(x, y) - log p(x), (n, classes): Bayes' rule."""
        joint = self.log_joint(pictures)
        return joint - logsumexp(joint, axis=1, keepdims=True)

    def sample(self, labels: np.ndarray, seeds: keras.random.SeedGenerator) -> np.ndarray:
        """A picture from p(x | y) for each label: every pixel is drawn independently of its neighbours."""
        coins = keras.ops.convert_to_numpy(keras.random.uniform((len(labels), self.theta.shape[1]), seed=seeds))
        return (coins < self.theta[labels]).astype("float32")


def count(pictures: np.ndarray, labels: np.ndarray, classes: int, smoothing: float) -> BernoulliPixels:
    """The whole training: how many digits of each class, and how often each of their pixels is white."""
    examples = np.bincount(labels, minlength=classes)  # (classes,)
    white = np.stack([pictures[labels == label].sum(axis=0, dtype=np.float64) for label in range(classes)])
    theta = (white + smoothing) / (examples[:, None] + 2 * smoothing)
    return BernoulliPixels((examples + smoothing) / (examples.sum() + classes * smoothing), theta)


def build_linear(classes: int = 10) -> keras.Model:
    """The discriminative counterpart: one layer, whose weights are trained instead of counted."""
    return keras.Sequential([keras.Input((784,)), keras.layers.Dense(classes, name="logits")], name="linear")


# %% Train
# By Bayes' rule the generative model is also a classifier,
#
#     log p(y | x) = log p(x, y) - log p(x) = w_y . x + b_y - log p(x)       w_yd = log(theta_yd / (1 - theta_yd))
#
# which is linear in x: the same function that a single softmax layer computes. So that layer is trained, too, on
# p(y | x) alone, to compare what the two ways of finding the same 7,850 numbers lead to.


def train_linear(run: lesson.Run, pictures: np.ndarray, labels: np.ndarray) -> keras.Model:
    """Maximise log p(y | x) directly; p(x) plays no part."""
    model = build_linear()
    model.compile(
        optimizer=keras.optimizers.Adam(run.config.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    run.fit(model, training.Batches((pictures, labels), run.config.batch_size, run.config.seed), name="linear")
    return model


# %% Figures


def draw_samples(
    blind: BernoulliPixels,
    by_class: BernoulliPixels,
    pictures: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    seeds: keras.random.SeedGenerator,
    nats: float,
    rows: int = 3,
) -> figures.Figure:
    """Per class (a column): the mean image, samples and real digits; the last column is the class-blind model."""
    count_classes = len(class_names)
    sampled = [
        np.concatenate([by_class.sample(np.arange(count_classes), seeds), blind.sample(np.zeros(1, int), seeds)])
        for _ in range(rows)
    ]
    real = np.zeros((rows, count_classes + 1, pictures.shape[1]))
    for column in range(count_classes + 1):
        found = pictures[labels == column] if column < count_classes else pictures
        real[: len(found), column] = found[:rows]  # a class with too few digits leaves black squares
    groups = [np.concatenate([by_class.theta, blind.theta]), *sampled, *real]
    names = ["mean image", *["sample"] * rows, *["real"] * rows]
    bits = nats / (784 * np.log(2))
    title = f"Independent Bernoulli pixels: {nats:.1f} nats per digit, {bits:.3f} bits per pixel (test)"
    figure = figures.image_grid([group.reshape(-1, 28, 28) for group in groups], title, names, size=0.8)
    for cell, name in zip(figure.axes, [*class_names, "any digit"], strict=False):
        cell.set_title(name)
    return figure


def draw_likelihoods(scores: dict[str, tuple[np.ndarray, np.ndarray]]) -> figures.Figure:
    """Histograms of - log p(x), for each model over real test digits and over the model's own samples."""
    title = "Negative log-likelihood of real digits, and of the model's own samples"
    figure, axes = figures.subplots(1, len(scores), width=9, height=3.4, title=title, sharex=True, squeeze=False)
    everything = np.concatenate([values for pair in scores.values() for values in pair])
    bins = np.linspace(everything.min(), np.percentile(everything, 99.9), 71)
    for cell, (name, (real, sampled)) in zip(axes[0], scores.items(), strict=True):
        for values, label, color in ((real, "test digits", 0), (sampled, "its own samples", 1)):
            text = f"{label}: {values.mean():.1f} ± {values.std():.1f}"
            share = np.full(len(values), 100 / len(values))
            cell.hist(values, bins, weights=share, color=figures.COLORS[color], alpha=0.6, label=text)
        cell.axvline(real.mean(), color="black", linestyle="--", linewidth=1)
        cell.set_title(f"{name}: {real.mean() / (784 * np.log(2)):.3f} bits per pixel on test")
        cell.set_xlabel("- log p(x) (nats per picture)")
        cell.set_ylim(0, 1.4 * cell.get_ylim()[1])  # room for the legend
        cell.legend(fontsize=8, title="mean ± deviation", title_fontsize=8, loc="upper right")
    axes[0, 0].set_ylabel("% of the pictures")
    return figure


def draw_weights(
    rows: dict[str, np.ndarray], posteriors: dict[str, np.ndarray], labels: np.ndarray, class_names: Sequence[str]
) -> figures.Figure:
    """Weights (classes, 784) of linear classifiers, a row each, less their mean over the classes.

    Softmax does not change when the same value is added to all classes, so only the difference to the mean matters.
    """
    title = "Weights of one linear classifier, counted and trained: red is evidence for the class, blue against it"
    figure, axes = figures.subplots(len(rows), len(class_names), width=10.5, height=2.9, title=title, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    for cell, name in zip(axes[0], class_names, strict=True):
        cell.set_title(name)
    for row, (name, weights) in zip(axes, rows.items(), strict=True):
        accuracy = np.mean(posteriors[name].argmax(axis=1) == labels)
        centred = weights - weights.mean(axis=0)
        limit = np.percentile(np.abs(centred), 99)
        row[0].set_ylabel(f"{name}:\n{accuracy:.1%} correct", rotation=0, ha="right", va="center", fontsize=9)
        for column, cell in enumerate(row):
            shown = cell.imshow(centred[column].reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
            cell.set(xticks=[], yticks=[])
            cell.grid(False)
            cell.spines[:].set_visible(False)
        figure.colorbar(shown, ax=list(row), label="nats per pixel", shrink=0.85, aspect=10, pad=0.01)
    return figure


def draw_confidence(posteriors: dict[str, np.ndarray], labels: np.ndarray) -> figures.Figure:
    """Left: accuracy against predicted probability (calibration). Right: how often each probability is predicted."""
    figure, axes = figures.subplots(1, 2, width=9, height=3.4, title="Calibration of p(y | x) on test digits")
    edges = np.linspace(0.1, 1, 10)
    for index, (name, posterior) in enumerate(posteriors.items()):
        confidence, hit = np.exp(posterior.max(axis=1)), posterior.argmax(axis=1) == labels
        place = np.clip(np.digitize(confidence, edges) - 1, 0, len(edges) - 2)
        counts = np.bincount(place, minlength=len(edges) - 1)
        used = counts >= 20  # of fewer digits an accuracy is too uncertain
        predicted = np.bincount(place, confidence, len(edges) - 1)[used] / counts[used]
        accuracy = np.bincount(place, hit, len(edges) - 1)[used] / counts[used]
        axes[0].plot(predicted, accuracy, "-o", markersize=4, label=f"{name}: {hit.mean():.1%} correct", linewidth=1.5)
        middle = (edges[:-1] + edges[1:]) / 2 + (index - 0.5) * 0.04
        axes[1].bar(middle, 100 * counts / len(labels), 0.04, label=f"{name}: {confidence.mean():.1%} on average")
    axes[0].plot([0.1, 1], [0.1, 1], color="black", linestyle=":", linewidth=1, label="perfectly calibrated")
    axes[0].set_ylabel("accuracy")
    axes[1].set_ylabel("% of the digits")
    for cell in axes:
        cell.set_xlabel("probability of the predicted class")
        cell.legend(fontsize=8, loc="upper left")
    return figure


# %% Measure
# The mean of - log p(x) over test digits, in nats or, divided by 784 ln 2, in bits per pixel, is the length of the best
# code for a digit under the model. Fair coins need 784 ln 2 = 543.4 nats, 1 bit per pixel.


def neighbour_correlation(pictures: np.ndarray, expected: np.ndarray) -> float:
    """Correlation of horizontal neighbours in pictures (n, 784), less their class means `expected` (n, 784)."""
    rest = (pictures - expected).reshape(-1, 28, 28)
    left, right = rest[:, :, :-1], rest[:, :, 1:]
    return float((left * right).sum() / np.sqrt(np.square(left).sum() * np.square(right).sum()))


def measure_likelihoods(
    run: lesson.Run, models: dict[str, BernoulliPixels], test: np.ndarray, samples: dict[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean - log p(x) of the test digits; returns it, per model, for each test digit and each sample, in nats."""
    ranges = {"class-blind": ((205, 207), (168, 175)), "ten classes": ((168, 170), (144, 151))}
    per_nat = 1 / (784 * np.log(2))
    scores = {}
    for name, model in models.items():
        scores[name] = (-model.log_likelihood(test), -model.log_likelihood(samples[name]))
        nats, suffix = scores[name][0].mean(), "_class_blind" if name == "class-blind" else ""
        run.metric(f"test_nats{suffix}", nats, "nats", *ranges[name])
        bits = (tuple(round(bound * per_nat, 3) for bound in bounds) for bounds in ranges[name])
        run.metric(f"test_bits_per_pixel{suffix}", nats * per_nat, "bits", *bits)
    return scores


def measure_neighbours(run: lesson.Run, test: np.ndarray, samples: np.ndarray, expected: np.ndarray) -> None:
    """Are neighbouring pixels correlated? In real digits, and in samples of the same classes."""
    real, sampled = neighbour_correlation(test, expected), neighbour_correlation(samples, expected)
    run.metric("neighbour_correlation_real", real, "", expected=(0.54, 0.59), embedded=(0.58, 0.65))
    run.metric("neighbour_correlation_sampled", sampled, "", expected=(-0.01, 0.01), embedded=(-0.02, 0.02))


def measure_classifiers(run: lesson.Run, posteriors: dict[str, np.ndarray], labels: np.ndarray) -> None:
    """Accuracy, and - log p(true class | x), which also depends on how confident the classifier was."""
    ranges = {
        "naive_bayes_accuracy": ((0.835, 0.85), (0.65, 0.72)),
        "naive_bayes_label_nats": ((3, 3.4), (6.5, 8.5)),
        "linear_accuracy": ((0.91, 0.93), (0.72, 0.8)),
        "linear_label_nats": ((0.26, 0.31), (0.7, 0.95)),
    }
    for name, posterior in zip(("naive_bayes", "linear"), posteriors.values(), strict=True):
        hit = posterior.argmax(axis=1) == labels
        run.metric(f"{name}_accuracy", hit.mean(), "fraction", *ranges[f"{name}_accuracy"])
        cost = -posterior[np.arange(len(labels)), labels]
        run.metric(f"{name}_label_nats", cost.mean(), "nats", *ranges[f"{name}_label_nats"])


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Count, sample, score, classify; and the discriminative counterpart."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.mnist(run)
        seeds = keras.random.SeedGenerator(run.config.seed)
        pictures, test = (binarised(part.images, run.config.binarise, seeds) for part in (data.train, data.test))
        labels, truth, names = data.train.labels, data.test.labels, data.class_names

        with run.part("counting"):
            blind = count(pictures, np.zeros_like(labels), 1, run.config.smoothing)
            by_class = count(pictures, labels, len(names), run.config.smoothing)
        models = {"class-blind": blind, "ten classes": by_class}
        samples = {  # as many of each class as among the test digits
            "class-blind": blind.sample(np.zeros_like(truth), seeds),
            "ten classes": by_class.sample(truth, seeds),
        }
        scores = measure_likelihoods(run, models, test, samples)
        measure_neighbours(run, test, samples["ten classes"], by_class.theta[truth])
        nats = scores["ten classes"][0].mean()
        run.figure("samples", draw_samples(blind, by_class, test, truth, names, seeds, nats), headline=True)
        run.figure("likelihoods", draw_likelihoods(scores))

        linear = train_linear(run, pictures, labels)
        logits = linear.predict(test, batch_size=500, verbose=0).astype("float64")
        posteriors = {
            "counted": by_class.log_posterior(test),
            "trained": logits - logsumexp(logits, axis=1, keepdims=True),
        }
        measure_classifiers(run, posteriors, truth)
        weights = {"counted": by_class.weights, "trained": linear.get_layer("logits").get_weights()[0].T}
        run.figure("weights", draw_weights(weights, posteriors, truth, names))
        run.figure("confidence", draw_confidence(posteriors, truth))
        guesses = posteriors["counted"].argmax(axis=1)
        run.figure(
            "confusion",
            figures.confusion_matrix(truth, guesses, names, "Confusion matrix of naive Bayes (test digits)"),
        )


if __name__ == "__main__":
    main()

# What to try next
# 1. --binarise stochastic: the protocol of the literature. Then compare with the deep models' 80 to 90 nats.
# 2. --limit 1000 --epochs 60: counting is said to need few examples. Which classifier is better with a thousand digits?
# 3. --smoothing 1e-6, then 1000: what does each cost in nats, and what in accuracy? Which of the two measures is the
#    more sensitive one?
