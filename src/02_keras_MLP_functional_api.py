"""02 · The same multilayer perceptron with Keras' functional API, and what that API is for.

Lesson 01 put layers into a list. Here each layer is called on the output of another one, like a function, and the model
is defined by its inputs and outputs:

    inputs = Input((32, 32, 3));  x = Flatten()(inputs);  ...;  Model(inputs, outputs)

For a plain stack of layers both are equivalent: 646,260 parameters, and the same outputs for the same weights (a test
compares them). A graph of layers can do what a list cannot:

    several inputs        a picture and a number, joined somewhere inside
    several outputs       here: the class, and "does it show a living thing?": two answers from one body
    intermediate outputs  any tensor of the graph can be the output of a second model, which shares the weights

What you will see: pictures with two answers each and the hidden activations that both are computed from; the diagrams
of the plain and of the two-output model; curves; and how the hidden units respond to each class.

Run:    python src/02_keras_MLP_functional_api.py       about half a minute on two CPU cores
Makes:  output/02_keras_MLP_functional_api.png and output/02_keras_MLP_functional_api/
Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (the data);
        Alain & Bengio, Understanding intermediate layers using linear classifier probes, arXiv:1610.01644
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
    """The settings of lesson 01, so that the two can be compared."""

    epochs: config.Count = 10  # as in lesson 01
    batch_size: config.Count = 32  # as in lesson 01
    learning_rate: config.Rate = 5e-4  # as in lesson 01
    decay: bool = True  # let the rate decay to zero along a cosine, as in lesson 01
    validation_split: Annotated[float, config.Range(0.01, 0.5)] = 0.1  # share of the training pictures held out
    first_units: config.Count = 200  # units of the first hidden layer
    second_units: config.Count = 150  # units of the second hidden layer, whose activations the second output uses
    device: config.Device = "cpu"  # an MLP of this size is faster on the CPU than on a GPU


PRESETS = {
    "full": {"decay": False},
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded"},
}
LIVING = (2, 3, 4, 5, 6, 7)  # bird, cat, deer, dog, frog, horse

# %% Data


def hold_out(split: datasets.Split, share: float) -> tuple[datasets.Split, datasets.Split]:
    """The training and the validation part of the training pictures, as in lesson 01."""
    kept = len(split) - min(max(1, round(share * len(split))), len(split) - 1)
    return split.first(kept), datasets.Split(split.images[kept:], split.labels[kept:])


def scaled(images):
    """uint8 0..255 -> float32 0..1."""
    return keras.ops.cast(images, "float32") / 255


def prepared(images, labels):
    """uint8 images and class numbers (n,) -> images in [0, 1] and one-hot labels (n, 10)."""
    return scaled(images), keras.ops.one_hot(labels, 10)


def is_living(labels: np.ndarray) -> np.ndarray:
    """Class numbers (n,) -> float32 (n, 1): 1 for an animal, 0 for a machine."""
    return np.isin(labels, LIVING).astype("float32")[:, None]


# %% Model

# Calling a layer on a symbolic tensor adds a node to a graph; `Model(inputs, outputs)` is the part of the graph between
# these tensors. The layers have names, so that their tensors can be found again.


def build_model(settings: Config) -> keras.Model:
    """The network of lesson 01, written as calls."""
    inputs = keras.Input((32, 32, 3), name="picture")
    x = keras.layers.Flatten()(inputs)  # (batch, 3072)
    x = keras.layers.Dense(settings.first_units, activation="relu", name="first_hidden")(x)  # (batch, 200)
    x = keras.layers.Dense(settings.second_units, activation="relu", name="second_hidden")(x)  # (batch, 150)
    outputs = keras.layers.Dense(10, activation="softmax", name="class")(x)  # (batch, 10)
    return keras.Model(inputs, outputs, name="mlp")


# Intermediate outputs. The second model below has no weights of its own, so that it always shows the present state of
# the first. In this way lesson 10 takes the encoder out of an autoencoder, and lessons 16 and 17 use the hidden layers
# of a trained network.


def build_hidden_model(model: keras.Model, layer_name: str) -> keras.Model:
    """A second model from the same input to a hidden layer; it shares the weights."""
    return keras.Model(model.input, model.get_layer(layer_name).output, name=f"up_to_{layer_name}")


# Several outputs. Two output layers ("heads") use the same hidden activations (the "body").


def build_two_output_model(model: keras.Model) -> keras.Model:
    """The same body with a second head: the probability that the picture shows a living thing."""
    living = keras.layers.Dense(1, activation="sigmoid", name="living")(model.get_layer("second_hidden").output)
    return keras.Model(model.input, [model.output, living], name="two_answers")


# %% Train


def train(run: lesson.Run, model: keras.Model, training_part: datasets.Split, validation_part: datasets.Split):
    """The same training as in lesson 01; returns its history."""
    settings, arrays = run.config, (training_part.images, training_part.labels)
    examples = training.Batches(arrays, settings.batch_size, settings.seed, transform=prepared)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, settings.epochs * examples.steps_per_epoch)
    model.compile(
        optimizer=keras.optimizers.Adam(rate if settings.decay else settings.learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return run.fit(model, examples, validation=prepared(validation_part.images, validation_part.labels))


# The second head is trained alone, on the frozen body: a logistic regression on the 150 activations. Such a LINEAR
# PROBE measures what a hidden layer already represents, although the body was never trained for this question. The
# layers are frozen before `compile`: a compiled model keeps the list of variables that it trains.


def train_second_head(run: lesson.Run, two_outputs: keras.Model, training_part: datasets.Split) -> None:
    """Train the output layer `living` and nothing else."""
    for layer in two_outputs.layers:
        layer.trainable = layer.name == "living"
    probe = keras.Model(two_outputs.input, two_outputs.get_layer("living").output, name="probe")
    probe.compile(keras.optimizers.Adam(1e-2), loss="binary_crossentropy", metrics=["accuracy"])
    arrays = (training_part.images, is_living(training_part.labels))
    examples = training.Batches(arrays, 250, run.config.seed, transform=lambda images, y: (scaled(images), y))
    run.fit(probe, examples, epochs=2, name="living")


# %% Look


def draw_answers(two_outputs: keras.Model, test: datasets.Split, answers: Sequence[np.ndarray], names: Sequence[str]):
    """Pictures, the hidden activations that both heads use, and the two answers.

    Chosen are the first animal and the first machine for which both answers are right, and the first picture with a
    wrong class for which the second answer is right, as far as there are such pictures.
    """
    predicted, living = answers[0].argmax(axis=1), answers[1][:, 0] > 0.5
    truth = is_living(test.labels)[:, 0] == 1
    right, living_right = predicted == test.labels, living == truth
    kinds = (right & living_right & truth, right & living_right & ~truth, ~right & living_right)
    chosen = [int(np.flatnonzero(kind)[0]) for kind in kinds if np.any(kind)] or [0]
    title = "Two answers for each picture, from one body with two heads"
    figure, axes = figures.subplots(
        len(chosen), 6, 10, 1.75 * len(chosen) + 0.6, title, width_ratios=[5, 3, 5, 3, 6, 6], squeeze=False
    )
    activations = build_hidden_model(two_outputs, "second_hidden").predict(scaled(test.images[chosen]), verbose=0)
    for cells, index, hidden in zip(axes, chosen, activations, strict=True):
        figures.show_image(cells[0], test.images[index])
        cells[0].set_ylabel(f"true class:\n{names[test.labels[index]]}", rotation=0, ha="right", va="center")
        draw_arrow(cells[1], "body")
        draw_activations(cells[2], hidden)
        draw_arrow(cells[3], "two heads")
        draw_answer(cells[4], names, answers[0][index], names[predicted[index]], right[index])
        share = float(answers[1][index, 0])
        kind = ("machine", "living")[int(living[index])]
        draw_answer(cells[5], ("living", "machine"), (share, 1 - share), kind, living_right[index])
    axes[0, 2].set_title(f"{len(activations[0])} hidden activations\n(dark: 0)", fontsize=10)
    for cell in axes[-1, 4:]:
        cell.set_xlabel("probability", fontsize=8)
    return figure


def draw_activations(cell, values: np.ndarray) -> None:
    """Activations (n,) as a grid of ten rows; dark is 0, the brightest is the largest."""
    grid = np.full((10, -(-len(values) // 10)), np.nan)
    grid.flat[: len(values)] = values
    cell.imshow(grid, cmap="viridis", vmin=0, vmax=max(values.max(), 1e-6))
    cell.set_axis_off()


def draw_arrow(cell, text: str) -> None:
    """An arrow to the right with a text above it."""
    cell.annotate("", (1, 0.5), (0, 0.5), "axes fraction", arrowprops={"arrowstyle": "->", "linewidth": 2})
    cell.text(0.5, 0.58, text, ha="center", va="bottom", fontsize=8, transform=cell.transAxes)
    cell.set_axis_off()


def draw_answer(cell, names: Sequence[str], probabilities: Sequence[float], answer: str, right: bool) -> None:
    """Probabilities as horizontal bars, and the most probable answer as title."""
    color = figures.COLORS[2 if right else 1]
    cell.barh(names, probabilities, color=color)
    cell.invert_yaxis()
    cell.set_xlim(0, 1)
    cell.tick_params(labelsize=7)
    cell.set_title(f"{answer}: {'right' if right else 'wrong'}", fontsize=10, color=color)


def draw_hidden(activations: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> figures.Figure:
    """Mean activation of each hidden unit (column) for the test pictures of each class (row).

    Each unit is divided by its largest class mean; units are sorted by the class with that mean, inactive ones last.
    """
    present = np.unique(labels)
    means = np.stack([activations[labels == label].mean(axis=0) for label in present])
    largest = means.max(axis=0)
    order = np.lexsort((means.mean(axis=0), np.where(largest > 0, means.argmax(axis=0), len(present))))
    inactive = f"{np.sum(largest == 0)} of {len(largest)} units are never active"
    title = f"Mean activations of the second hidden layer by class: {inactive}"
    figure, cell = figures.subplots(width=9.5, height=3.4, title=title)
    share = means[:, order] / np.maximum(largest[order], 1e-12)
    image = cell.imshow(share, aspect="auto", cmap="viridis", vmin=0, vmax=1)
    cell.grid(False)
    cell.set_yticks(range(len(present)), [names[label] for label in present])
    cell.set_xlabel("hidden unit, sorted by the class with the largest mean")
    figure.colorbar(image, label="mean activation\n(1: largest class mean)", fraction=0.03)
    return figure


def draw_one_picture(image: np.ndarray, hidden: Sequence[np.ndarray]) -> figures.Figure:
    """One picture and the activations of both hidden layers as bars: relu makes many of them exactly 0."""
    title = "The hidden activations of one picture"
    figure, axes = figures.subplots(1, 3, width=9.5, height=2.6, title=title, width_ratios=(1, 2, 2))
    figures.show_image(axes[0], image)
    for cell, values, word in zip(axes[1:], hidden, ("first", "second"), strict=True):
        cell.bar(np.arange(len(values)), values, width=1)
        cell.set_title(f"{word} hidden layer: {np.mean(values == 0):.0%} of {len(values)} units are 0", fontsize=10)
        cell.set_xlabel("unit")
    axes[1].set_ylabel("activation")
    return figure


def draw_curves(history: lesson.History, name: str) -> figures.Figure:
    """Loss and accuracy on the training and the validation part."""
    panels = {
        "cross-entropy (nats)": {"training": history["loss"], "validation": history["val_loss"]},
        "accuracy": {"training": history["accuracy"], "validation": history["val_accuracy"]},
    }
    return figures.curves(history.epochs, panels, f"The MLP of lesson 01, by the functional API, on {name}")


# %% Measure

# As in lesson 01, the ranges depend on the number of training pictures of CIFAR-10.
EXPECTED = {
    40_000: {"accuracy": (0.46, 0.54), "loss": (1.32, 1.54)},
    20_000: {"accuracy": (0.44, 0.51), "loss": (1.4, 1.6)},
}
EMBEDDED = {"accuracy": (0.5, 0.9), "loss": (0.3, 1.5)}  # 5,000 drawn objects


def expected(training_pictures: int) -> dict[str, tuple[float, float]]:
    """The ranges for real data; none for fewer pictures than were ever measured."""
    return next((ranges for least, ranges in EXPECTED.items() if training_pictures >= least), {})


def measure(run: lesson.Run, data: datasets.LabelledImages, answers: Sequence[np.ndarray]) -> None:
    """Accuracy and loss of the class, and the accuracy of the second answer, on the test pictures."""
    probabilities, living = answers
    of_truth = probabilities[np.arange(len(data.test)), data.test.labels]
    accuracy, loss = np.mean(probabilities.argmax(axis=1) == data.test.labels), -np.mean(np.log(of_truth + 1e-7))
    ranges = expected(len(data.train))
    run.metric("test_accuracy", accuracy, "fraction", ranges.get("accuracy"), EMBEDDED["accuracy"])
    run.metric("test_loss", loss, "nats", ranges.get("loss"), EMBEDDED["loss"])
    alive = np.mean((living > 0.5) == is_living(data.test.labels))
    run.metric("alive_accuracy", alive, "fraction", expected=(0.8, 0.91) if ranges else None, embedded=(0.7, 1))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training; then what only a graph of layers can do; metrics."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.cifar10(run)
        run.require(2, training_pictures=len(data.train))
        training_part, validation_part = hold_out(data.train, run.config.validation_split)
        run.say(f"pictures: {len(training_part):,} for training, {len(validation_part):,} for validation")
        model = build_model(run.config)
        run.diagram(model, "model")
        history = train(run, model, training_part, validation_part)
        run.figure("curves", draw_curves(history, data.name))

        hidden_models = [build_hidden_model(model, name) for name in ("first_hidden", "second_hidden")]
        test_images = scaled(data.test.images)
        one_picture = [hidden.predict(test_images[:1], verbose=0)[0] for hidden in hidden_models]
        run.figure("one_picture", draw_one_picture(data.test.images[0], one_picture))
        activations = hidden_models[1].predict(test_images, batch_size=500, verbose=0)
        run.figure("hidden", draw_hidden(activations, data.test.labels, data.class_names))

        two_outputs = build_two_output_model(model)
        run.diagram(two_outputs, "two_answers")
        train_second_head(run, two_outputs, training_part)
        answers = two_outputs.predict(test_images, batch_size=500, verbose=0)
        measure(run, data, answers)
        parameters = model.count_params()
        run.metric("parameters", parameters, "", expected=(646_260, 646_260), embedded=(646_260, 646_260))
        run.figure("answers", draw_answers(two_outputs, data.test, answers, data.class_names), headline=True)


if __name__ == "__main__":
    main()

# What to try next
# 1. Use the first hidden layer instead of the second for the figure `hidden`. Are its units as specialised?
# 2. Add a third head, "does it have wheels?" (automobile, truck), and train all three at once: compile with a list
#    of losses. Does the class accuracy get better?
# 3. Give the model a second input, the mean colour of the picture (3 numbers), joined by keras.layers.Concatenate
#    before the second hidden layer. Why can that not help much?
