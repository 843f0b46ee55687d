"""02 · The same multilayer perceptron with Keras' functional API, and what that API is for.

Lesson 01 stacked layers in a list. Here each layer is called on the output of another, like a function, and the model
is named by its ends:

    inputs = Input((32, 32, 3));  x = Flatten()(inputs);  ...;  Model(inputs, outputs)

For a plain stack both say the same: the same 646,260 parameters, and for the same weights the same outputs (a test
proves it). A graph of calls can do what a list cannot:

    several inputs     a picture and a number, joined somewhere inside
    several outputs    here: the class, and on the side "is it alive?", two answers from one body
    reading inside     any tensor of the graph may become the output of a second model, which shares the weights:
                       that is how we look at hidden activations here, how lesson 10 cuts an encoder out of an
                       autoencoder, and how lessons 16 and 17 look into a trained network

What you will see: the diagram of the two-headed graph beside the plain one, curves, and what the 150 units of the last
hidden layer do for pictures of each class.

Run:    python src/02_keras_MLP_functional_api.py       about a minute on two CPU cores
Makes:  output/02_keras_MLP_functional_api.png and output/02_keras_MLP_functional_api/
Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (the data)
"""

import dataclasses
from collections.abc import Sequence

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
    decay: bool = True  # let the rate fall to nought along a cosine, as in lesson 01
    first_units: config.Count = 200  # units of the first hidden layer
    second_units: config.Count = 150  # units of the second hidden layer: the one that we read
    device: config.Device = "cpu"  # an MLP of this size is faster on the CPU than on a GPU


PRESETS = {
    "full": {"decay": False},
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded"},
}
ALIVE = (2, 3, 4, 5, 6, 7)  # bird, cat, deer, dog, frog, horse

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 0..1."""
    return images.astype("float32") / 255


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Class numbers (n,) -> float32 (n, 10)."""
    return keras.utils.to_categorical(labels, 10)


# %% Model


def build_model(settings: Config) -> keras.Model:
    """Lesson 01's network, written as calls."""
    inputs = keras.Input((32, 32, 3), name="picture")
    x = keras.layers.Flatten()(inputs)  # (batch, 3072)
    x = keras.layers.Dense(settings.first_units, activation="relu", name="first_hidden")(x)  # (batch, 200)
    x = keras.layers.Dense(settings.second_units, activation="relu", name="second_hidden")(x)  # (batch, 150)
    outputs = keras.layers.Dense(10, activation="softmax", name="class")(x)  # (batch, 10)
    return keras.Model(inputs, outputs, name="mlp")


def build_reader(model: keras.Model, layer_name: str) -> keras.Model:
    """A second model from the same input to a hidden layer. It has no weights of its own: it shares the model's."""
    return keras.Model(model.input, model.get_layer(layer_name).output, name=f"reader_of_{layer_name}")


def build_two_headed(model: keras.Model) -> keras.Model:
    """The same body with a second answer: the probability that the thing shown is alive. No list can say this."""
    alive = keras.layers.Dense(1, activation="sigmoid", name="alive")(model.get_layer("second_hidden").output)
    return keras.Model(model.input, [model.output, alive], name="two_answers")


# %% Train


def train(run: lesson.Run, model: keras.Model, data: datasets.LabelledImages) -> lesson.History:
    """Exactly as in lesson 01."""
    examples = training.Batches(
        (scaled(data.train.images), one_hot(data.train.labels)), run.config.batch_size, run.config.seed
    )
    rate = keras.optimizers.schedules.CosineDecay(
        run.config.learning_rate, run.config.epochs * examples.steps_per_epoch
    )
    model.compile(
        optimizer=keras.optimizers.Adam(rate if run.config.decay else run.config.learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return run.fit(model, examples, validation=(scaled(data.test.images), one_hot(data.test.labels)))


def train_second_head(run: lesson.Run, two_headed: keras.Model, data: datasets.LabelledImages) -> float:
    """Train the new output alone, on the body as it is; returns its accuracy on the test pictures.

    The body is frozen (`trainable = False`): its 150 activations become the inputs of a logistic regression.
    """
    for layer in two_headed.layers:
        layer.trainable = layer.name == "alive"
    alive_model = keras.Model(two_headed.input, two_headed.get_layer("alive").output, name="alive_only")
    alive_model.compile(keras.optimizers.Adam(1e-2), loss="binary_crossentropy", metrics=["accuracy"])
    targets = [np.isin(split.labels, ALIVE).astype("float32")[:, None] for split in (data.train, data.test)]
    examples = training.Batches((scaled(data.train.images), targets[0]), 250, run.config.seed)
    history = run.fit(alive_model, examples, epochs=2, name="alive", validation=(scaled(data.test.images), targets[1]))
    return history["val_accuracy"][-1]


# %% Look


def draw_hidden(activations: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> figures.Figure:
    """Mean activation of every hidden unit (column) for pictures of every class (row).

    Each unit is divided by its largest class mean; units are sorted by the class that they answer to most.
    """
    means = np.stack([activations[labels == label].mean(axis=0) for label in range(len(class_names))])
    alive = means.max(axis=0) > 0
    means = means[:, alive] / means[:, alive].max(axis=0)
    order = np.lexsort((means.mean(axis=0), np.argmax(means, axis=0)))
    silent = int(np.sum(~alive))
    title = f"What the {len(alive)} units of the second hidden layer answer to ({silent} never answer)"
    figure, cell = figures.subplots(width=9.5, height=3.4, title=title)
    picture = cell.imshow(means[:, order], aspect="auto", cmap="viridis", vmin=0, vmax=1)
    cell.grid(False)
    cell.set_yticks(range(len(class_names)), class_names)
    cell.set_xlabel("hidden unit, sorted by the class it answers to most")
    figure.colorbar(picture, label="mean activation\n(1: its largest)", fraction=0.03)
    return figure


def draw_one_picture(image: np.ndarray, hidden: Sequence[np.ndarray], names: Sequence[str]) -> figures.Figure:
    """One picture and the activations of both hidden layers as bars: many units are exactly 0, that is relu."""
    figure, axes = figures.subplots(
        1, 3, width=9.5, height=2.6, title="One picture, read layer by layer", width_ratios=(1, 2, 2)
    )
    figures.show_image(axes[0], image)
    for cell, values, name in zip(axes[1:], hidden, names, strict=True):
        cell.bar(np.arange(len(values)), values, width=1)
        cell.set_title(f"{name}: {np.mean(values == 0):.0%} of {len(values)} units are 0")
        cell.set_xlabel("unit")
    axes[1].set_ylabel("activation")
    return figure


def draw_curves(history: lesson.History) -> figures.Figure:
    """Loss and accuracy, training against test."""
    panels = {
        "cross-entropy (nats)": {"training": history["loss"], "test": history["val_loss"]},
        "accuracy": {"training": history["accuracy"], "test": history["val_accuracy"]},
    }
    return figures.curves(history.epochs, panels, "The MLP of the functional API learns as that of lesson 01 does")


# %% Measure


def measure(run: lesson.Run, model: keras.Model, data: datasets.LabelledImages) -> None:
    """Loss and accuracy on the test pictures."""
    loss, accuracy = model.evaluate(scaled(data.test.images), one_hot(data.test.labels), batch_size=500, verbose=0)
    run.metric("test_accuracy", accuracy, "fraction", expected=(0.44, 0.52), embedded=(0.5, 0.9))
    run.metric("test_loss", loss, "nats", expected=(1.4, 1.65), embedded=(0.3, 1.5))
    run.metric("parameters", model.count_params(), "", expected=(646_260, 646_260), embedded=(646_260, 646_260))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures; then what only a graph can do."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.cifar10(run)
        model = build_model(run.config)
        run.diagram(model, "model")
        history = train(run, model, data)
        measure(run, model, data)
        run.figure("curves", draw_curves(history))

        readers = [build_reader(model, name) for name in ("first_hidden", "second_hidden")]
        one_picture = [reader.predict(scaled(data.test.images[:1]), verbose=0)[0] for reader in readers]
        activations = readers[1].predict(scaled(data.test.images), batch_size=500, verbose=0)
        run.figure("hidden", draw_hidden(activations, data.test.labels, data.class_names))
        run.figure("one_picture", draw_one_picture(data.test.images[0], one_picture, ("first", "second")))

        two_headed = build_two_headed(model)
        run.diagram(two_headed, "two_answers", headline=True)
        accuracy = train_second_head(run, two_headed, data)
        run.metric("alive_accuracy", accuracy, "fraction", expected=(0.78, 0.9), embedded=(0.7, 1))


if __name__ == "__main__":
    main()

# What to try next
# 1. Read the first hidden layer instead of the second. Are its units as specialised?
# 2. Add a third output, "does it have wheels?" (automobile, truck), and train all three at once: compile with a list
#    of losses. Does the class accuracy gain from the company?
# 3. Give the model a second input, the mean colour of the picture (3 numbers), joined by keras.layers.Concatenate
#    before the second hidden layer. Why can that not help much?
