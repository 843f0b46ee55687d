"""01 · A multilayer perceptron on CIFAR-10, with Keras' Sequential API.

The simplest network for pictures: the 32 x 32 x 3 numbers of a picture are flattened into one vector, and three dense
layers turn them into ten probabilities. A dense layer with n inputs and m units computes

    y = f(W x + b)          n * m weights in W, m biases in b

Training lowers the categorical cross-entropy, the mean over the examples of

    loss = - log p(true class)

which is ln 10 = 2.303 if every class gets the probability 1/10. The network has no information about which pixels are
neighbours: if the pixels of all pictures are permuted in the same way, it learns equally well. This is why it
classifies only about half of the photographs correctly, and why the convolutional network of lesson 06 does far better.

What you will see: pictures, hidden activations and probabilities in the forward pass, the model diagram, loss and
accuracy by epoch on training and validation pictures, predictions beside the truth, and the confusion matrix.

Run:    python src/01_keras_MLP_sequential_model.py       about half a minute on two CPU cores
Makes:  output/01_keras_MLP_sequential_model.png and output/01_keras_MLP_sequential_model/
Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (the data);
        Kingma & Ba, Adam: A Method for Stochastic Optimization, arXiv:1412.6980 (the optimizer)
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, training
from lessonkit import run as lesson

import keras
import numpy as np

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The settings of the tutorials that this lesson started from, except `decay` and `validation_split`."""

    epochs: config.Count = 10  # afterwards mainly the training accuracy rises: overfitting
    batch_size: config.Count = 32  # small batches: many steps, and noisy ones, which counteracts overfitting a little
    learning_rate: config.Rate = 5e-4  # half of Adam's default 1e-3, because the gradients of small batches are noisy
    decay: bool = True  # let the rate decay to zero along a cosine, so that the accuracy settles in the last epochs
    validation_split: Annotated[float, config.Range(0.01, 0.5)] = 0.1  # share of the training pictures held out
    first_units: config.Count = 200  # units of the first hidden layer, which has nearly all parameters
    second_units: config.Count = 150  # units of the second hidden layer
    device: config.Device = "cpu"  # an MLP of this size is faster on the CPU than on a GPU


PRESETS = {
    "full": {"decay": False},
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded"},
}

# %% Data

# Three parts of the data, for three purposes. The weights are fitted to the training part. The validation part is
# evaluated after every epoch: it shows when overfitting begins, and every choice (how many epochs? which rate?) is made
# by it. The test part is used once, at the end. If choices were made by the test pictures, the test accuracy would be
# too good: of many variants one would pick the one that happens to suit these pictures.


def hold_out(split: datasets.Split, share: float) -> tuple[datasets.Split, datasets.Split]:
    """The training and the validation part of the training pictures, at least one picture each.

    The last pictures are held out. This is right because the pictures of CIFAR-10 are stored in random order.
    """
    kept = len(split) - min(max(1, round(share * len(split))), len(split) - 1)
    return split.first(kept), datasets.Split(split.images[kept:], split.labels[kept:])


def scaled(images):
    """uint8 0..255 -> float32 0..1, the range that the initial weights are made for."""
    return keras.ops.cast(images, "float32") / 255


def prepared(images, labels):
    """uint8 images and class numbers (n,) -> images in [0, 1] and one-hot labels (n, 10), batch by batch."""
    return scaled(images), keras.ops.one_hot(labels, 10)


# %% Model

# The parameters: 3072 * 200 + 200, 200 * 150 + 150 and 150 * 10 + 10, which is 646,260 together, 95 % of them in the
# first layer. This is the layer to make smaller when training is slow. The relu between the layers is necessary:
# without a nonlinearity the three layers would be equivalent to a single matrix. The softmax of the last layer turns
# ten numbers (logits) into probabilities.


def build_model(settings: Config) -> keras.Model:
    """Flatten, two hidden layers, ten probabilities. `Sequential`: the input of each layer is the layer before it."""
    return keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            keras.layers.Flatten(),  # (batch, 3072)
            keras.layers.Dense(settings.first_units, activation="relu"),  # (batch, 200)
            keras.layers.Dense(settings.second_units, activation="relu"),  # (batch, 150)
            keras.layers.Dense(10, activation="softmax"),  # (batch, 10)
        ],
        name="mlp",
    )


def compile_model(model: keras.Model, settings: Config, steps: int) -> None:
    """The three choices of every training: how to take a step, what to minimise, what to report."""
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(
        optimizer=keras.optimizers.Adam(rate if settings.decay else settings.learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )


def layer_outputs(model: keras.Sequential, image: np.ndarray) -> list[np.ndarray]:
    """The forward pass of one picture: the output of every layer. Calling a Sequential model does just this."""
    outputs, x = [], scaled(image[None])
    for layer in model.layers:
        x = layer(x)
        outputs.append(np.asarray(x)[0])
    return outputs


# %% Train


def train(run: lesson.Run, model: keras.Model, pictures: datasets.Split) -> lesson.History:
    """Train on the training part of the pictures, and evaluate the validation part after every epoch."""
    settings = run.config
    training_part, validation_part = hold_out(pictures, settings.validation_split)
    run.say(f"pictures: {len(training_part):,} for training, {len(validation_part):,} for validation")
    arrays = (training_part.images, training_part.labels)
    examples = training.Batches(arrays, settings.batch_size, settings.seed, transform=prepared)
    compile_model(model, settings, steps=settings.epochs * examples.steps_per_epoch)
    return run.fit(model, examples, validation=prepared(validation_part.images, validation_part.labels))


# %% Look


def summary(model: keras.Model) -> str:
    """`model.summary()` as text: a row per layer. `None` is the batch, whose size is left open."""
    lines = []
    model.summary(print_fn=lines.append, line_length=78)
    return "\n".join(lines) + "\n"


def draw_forward_pass(model: keras.Model, test: datasets.Split, predictions: np.ndarray, names: Sequence[str]):
    """One test picture that is classified correctly and one that is not: pixels, activations, probabilities."""
    correct = predictions == test.labels
    chosen = [np.flatnonzero(correct == kind)[0] for kind in (True, False) if np.any(correct == kind)]
    title = "The forward pass: from 3,072 numbers to ten probabilities"
    figure, axes = figures.subplots(
        len(chosen), 7, 10.5, 2.1 * len(chosen) + 0.5, title, width_ratios=[6, 3, 6, 3, 5, 3, 6], squeeze=False
    )
    _, *dense = model.layers
    for cells, index in zip(axes, chosen, strict=True):
        _, *hidden, probabilities = layer_outputs(model, test.images[index])
        figures.show_image(cells[0], test.images[index])
        cells[0].set_title(f"true class: {names[test.labels[index]]}", fontsize=10)
        for place, (values, word) in enumerate(zip(hidden, ("first", "second"), strict=True)):
            draw_activations(cells[2 + 2 * place], values, f"{word} hidden layer:\n{len(values)} activations")
        for arrow, layer in zip(cells[1::2], dense, strict=True):
            draw_arrow(arrow, f"{layer.count_params():,}\nparameters")
        color = figures.COLORS[2 if correct[index] else 1]
        draw_probabilities(cells[6], probabilities, names, color)
        answer = f"prediction: {names[predictions[index]]} ({'right' if correct[index] else 'wrong'})"
        cells[6].set_title(answer, fontsize=10, color=color)
    return figure


def draw_activations(cell, values: np.ndarray, title: str) -> None:
    """Activations (n,) as a grid of ten rows; dark is 0, the brightest is the largest."""
    grid = np.full((10, -(-len(values) // 10)), np.nan)
    grid.flat[: len(values)] = values
    cell.imshow(grid, cmap="viridis", vmin=0, vmax=max(values.max(), 1e-6))
    cell.set_title(title, fontsize=10)
    cell.set_axis_off()


def draw_arrow(cell, text: str) -> None:
    """An arrow to the right with a text above it."""
    cell.annotate("", (1, 0.5), (0, 0.5), "axes fraction", arrowprops={"arrowstyle": "->", "linewidth": 2})
    cell.text(0.5, 0.58, text, ha="center", va="bottom", fontsize=8, transform=cell.transAxes)
    cell.set_axis_off()


def draw_probabilities(cell, probabilities: np.ndarray, names: Sequence[str], color: str) -> None:
    """The probability of each class as a horizontal bar."""
    cell.barh(names, probabilities, color=color)
    cell.invert_yaxis()
    cell.set_xlim(0, 1)
    cell.tick_params(labelsize=7)


def draw_predictions(test: datasets.Split, probabilities: np.ndarray, names: Sequence[str]) -> figures.Figure:
    """The first test pictures, at most ten, above the probabilities that the model gives to the classes."""
    count = min(10, len(test))
    title = "Test pictures and predicted probabilities"
    figure, axes = figures.subplots(2, count, 1.02 * count + 1.4, 3.1, title, squeeze=False)
    for column, (picture, chart) in enumerate(axes.T):
        label, truth = int(np.argmax(probabilities[column])), int(test.labels[column])
        color = figures.COLORS[2 if label == truth else 1]
        figures.show_image(picture, test.images[column])
        mark = "right" if label == truth else "wrong"
        picture.set_title(f"true: {names[truth]}\n{names[label]}: {mark}", fontsize=7.5, color=color)
        draw_probabilities(chart, probabilities[column], names, color)
        if column:
            chart.set_yticklabels([])
    axes[1, 0].set_xlabel("probability", fontsize=8)
    return figure


# Overfitting. Where the training loss still falls and the validation loss does not, the network memorises properties
# of single training pictures, which do not help with other pictures. Early stopping takes the weights of the epoch with
# the lowest validation loss (in Keras: the callback `EarlyStopping`). Here the decaying rate has a similar effect: the
# last steps are too small to memorise much.


def draw_curves(history: lesson.History, name: str) -> figures.Figure:
    """Loss and accuracy on the training and the validation part; the title names the epoch of the lowest loss."""
    panels = {
        "cross-entropy (nats)": {"training": history["loss"], "validation": history["val_loss"]},
        "accuracy": {"training": history["accuracy"], "validation": history["val_accuracy"]},
    }
    best = history.epochs[int(np.argmin(history["val_loss"]))]
    title = f"An MLP on {name}: the validation loss is lowest in epoch {best} of {history.epochs[-1]}"
    return figures.curves(history.epochs, panels, title)


# %% Measure

# How good the network gets depends on the number of training pictures: the ranges below belong to CIFAR-10 with at
# least so many of them. They lie around what runs on a half (0.472 and 1.51) and on the whole (0.50 and 1.41, with no
# validation part) gave.
EXPECTED = {
    40_000: {"accuracy": (0.46, 0.54), "loss": (1.32, 1.54)},
    20_000: {"accuracy": (0.44, 0.51), "loss": (1.4, 1.6)},
}
EMBEDDED = {"accuracy": (0.5, 0.9), "loss": (0.3, 1.5)}  # 5,000 drawn objects


def expected(training_pictures: int) -> dict[str, tuple[float, float]]:
    """The ranges for real data; none for fewer pictures than were ever measured."""
    return next((ranges for least, ranges in EXPECTED.items() if training_pictures >= least), {})


def measure(run: lesson.Run, model: keras.Model, data: datasets.LabelledImages) -> np.ndarray:
    """Accuracy and loss on the test pictures; returns the probabilities (n, 10)."""
    probabilities = model.predict(scaled(data.test.images), batch_size=500, verbose=0)
    of_truth = probabilities[np.arange(len(data.test)), data.test.labels]
    accuracy, loss = np.mean(probabilities.argmax(axis=1) == data.test.labels), -np.mean(np.log(of_truth + 1e-7))
    ranges = expected(len(data.train))
    run.metric("test_accuracy", accuracy, "fraction", ranges.get("accuracy"), EMBEDDED["accuracy"])
    run.metric("test_loss", loss, "nats", ranges.get("loss"), EMBEDDED["loss"])
    run.metric("parameters", model.count_params(), "", expected=(646_260, 646_260), embedded=(646_260, 646_260))
    return probabilities


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, metrics, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.cifar10(run)
        run.require(2, training_pictures=len(data.train))
        model = build_model(run.config)
        run.text("summary.txt", summary(model))
        run.diagram(model, "model")
        history = train(run, model, data.train)
        probabilities = measure(run, model, data)
        labels, names = probabilities.argmax(axis=1), data.class_names
        run.figure("forward_pass", draw_forward_pass(model, data.test, labels, names), headline=True)
        run.figure("curves", draw_curves(history, data.name))
        run.figure("predictions", draw_predictions(data.test, probabilities, names))
        title = "Confusion matrix on the test pictures"
        run.figure("confusion", figures.confusion_matrix(data.test.labels, labels, names, title))


if __name__ == "__main__":
    main()

# What to try next
# 1. --first-units 50: a quarter of the parameters. How much accuracy does it cost, how many seconds does it save?
# 2. --epochs 30 --no-decay: overfitting. Where would early stopping end the training?
# 3. Permute the pixels of all pictures in the same way before training. The accuracy does not change. Why?
