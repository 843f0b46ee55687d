"""01 · A multilayer perceptron on CIFAR-10, with Keras' Sequential API.

The plainest network there is: a picture of 32 x 32 x 3 numbers is unrolled into one long vector, and three layers of
weighted sums turn it into ten probabilities. It knows nothing about pictures: shuffle the pixels of all images in the
same way, and it learns just as well. That is why it stops near 45 % here while a convolutional network (lesson 06)
goes far beyond, and why it is a good first model: everything about training can be seen on it.

A dense layer with n inputs and m units computes

    y = f(W x + b)          n * m weights in W, m in b

so the three layers here have 3072*200 + 200, 200*150 + 150 and 150*10 + 10 parameters: 646,260 in all, 95 % of them in
the first layer. That is the layer to shrink when training is slow. The last layer's softmax turns ten numbers (logits)
into probabilities, and training lowers the categorical cross-entropy, the mean over examples of

    loss = - log p(true class)

which is ln 10 = 2.303 for a network that knows nothing. What you will see: the model's diagram, loss and accuracy by
epoch on training and held-out pictures, ten predictions beside the truth, and which classes are taken for which.

Run:    python src/01_keras_MLP_sequential_model.py       about a minute on two CPU cores
Makes:  output/01_keras_MLP_sequential_model.png and output/01_keras_MLP_sequential_model/
Source: Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009 (the data);
        Kingma & Ba, Adam: A Method for Stochastic Optimization, arXiv:1412.6980 (the optimizer)
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
    """The settings of the tutorials that this lesson grew from, but for `decay`; they suit a CPU."""

    epochs: config.Count = 10  # the test accuracy hardly rises afterwards, the training accuracy does: overfitting
    batch_size: config.Count = 32  # small batches make many, noisy steps: good for a network that overfits
    learning_rate: config.Rate = 5e-4  # half of Adam's usual 1e-3: calmer with small batches
    decay: bool = True  # let the rate fall to nought along a cosine: the last epochs settle instead of jumping about
    first_units: config.Count = 200  # units of the first hidden layer: nearly all parameters are here
    second_units: config.Count = 150  # units of the second hidden layer
    device: config.Device = "cpu"  # an MLP of this size is faster on the CPU than on a GPU


PRESETS = {
    "full": {"decay": False},
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded"},
}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 0..1. Networks learn best from numbers of about that size."""
    return images.astype("float32") / 255


def batches(split, batch_size: int, seed: int) -> training.Batches:
    """Shuffled batches of (images scaled to [0, 1], one-hot labels)."""
    return training.Batches((scaled(split.images), one_hot(split.labels)), batch_size, seed)


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Class numbers (n,) -> float32 (n, 10) with a single 1 in each row: the target probabilities."""
    return keras.utils.to_categorical(labels, 10)


# %% Model


def build_model(settings: Config) -> keras.Model:
    """Flatten, two hidden layers, ten probabilities. `Sequential`: each layer has one input, the layer before it."""
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
    """The three choices of every training: how to step, what to lower, what to report."""
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    model.compile(
        optimizer=keras.optimizers.Adam(rate if settings.decay else settings.learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )


# %% Train


def train(run: lesson.Run, model: keras.Model, data: datasets.LabelledImages) -> lesson.History:
    """Train on batches of the training pictures; look at the test pictures after every epoch, to see overfitting."""
    examples = batches(data.train, run.config.batch_size, run.config.seed)
    compile_model(model, run.config, steps=run.config.epochs * examples.steps_per_epoch)
    return run.fit(model, examples, validation=(scaled(data.test.images), one_hot(data.test.labels)))


# %% Look


def summary(model: keras.Model) -> str:
    """`model.summary()` as text: a row per layer. `None` is the batch, whose size is left open."""
    lines = []
    model.summary(print_fn=lines.append, line_length=78)
    return "\n".join(lines) + "\n"


def draw_predictions(images: np.ndarray, labels: np.ndarray, probabilities: np.ndarray, class_names) -> figures.Figure:
    """The first ten test pictures above the probability that the model gives to each class; truth and guess named."""
    figure, axes = figures.subplots(
        2, 10, width=11, height=3.1, title="Ten test pictures and what the MLP says of them"
    )
    for column, (picture, chart) in enumerate(axes.T):
        guess, truth = int(np.argmax(probabilities[column])), int(labels[column])
        figures.show_image(picture, images[column])
        color = figures.COLORS[2] if guess == truth else figures.COLORS[1]
        mark = "right" if guess == truth else "wrong"
        picture.set_title(f"true: {class_names[truth]}\n{class_names[guess]}: {mark}", fontsize=7.5, color=color)
        chart.barh(class_names, probabilities[column], color=color)
        chart.invert_yaxis()
        chart.set_xlim(0, 1)
        chart.tick_params(labelsize=7)
        if column:
            chart.set_yticklabels([])
    axes[1, 0].set_xlabel("probability", fontsize=8)
    return figure


def draw_curves(history: lesson.History) -> figures.Figure:
    """Loss and accuracy, training against test: where they part, the network begins to learn by heart."""
    panels = {
        "cross-entropy (nats)": {"training": history["loss"], "test": history["val_loss"]},
        "accuracy": {"training": history["accuracy"], "test": history["val_accuracy"]},
    }
    return figures.curves(history.epochs, panels, "An MLP on CIFAR-10: training and test part company")


# %% Measure


def measure(run: lesson.Run, model: keras.Model, data: datasets.LabelledImages) -> np.ndarray:
    """Loss and accuracy on the test pictures; returns the probabilities (n, 10)."""
    probabilities = model.predict(scaled(data.test.images), batch_size=500, verbose=0)
    chosen = probabilities[np.arange(len(data.test)), data.test.labels]
    accuracy = np.mean(np.argmax(probabilities, axis=1) == data.test.labels)
    run.metric("test_accuracy", accuracy, "fraction", expected=(0.44, 0.52), embedded=(0.5, 0.9))
    run.metric(
        "test_loss", -np.mean(np.log(np.maximum(chosen, 1e-7))), "nats", expected=(1.4, 1.65), embedded=(0.3, 1.5)
    )
    run.metric("parameters", model.count_params(), "", expected=(646_260, 646_260), embedded=(646_260, 646_260))
    return probabilities


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.cifar10(run)
        model = build_model(run.config)
        run.text("summary.txt", summary(model))
        run.diagram(model, "model", headline=True)
        history = train(run, model, data)
        probabilities = measure(run, model, data)
        predictions = np.argmax(probabilities, axis=1)
        run.figure("curves", draw_curves(history))
        run.figure("predictions", draw_predictions(data.test.images, data.test.labels, probabilities, data.class_names))
        title = "What the MLP takes for what (test pictures)"
        run.figure("confusion", figures.confusion_matrix(data.test.labels, predictions, data.class_names, title))


if __name__ == "__main__":
    main()

# What to try next
# 1. --first-units 50: a quarter of the parameters. How much accuracy does it cost, how many seconds does it save?
# 2. --epochs 30: watch the two loss curves part. Which epoch would you have stopped at?
# 3. Shuffle the pixels with one fixed permutation before training. The accuracy does not change. Why?
