"""05 · What Keras is made of: layers, losses, optimizers, metrics, and the fit that ties them together.

Lesson 04 wrote everything by hand: variables, gradient, step. Keras wraps the same things into a few kinds of parts,
and each kind can be written anew when the one you need is not on the shelf:

    layer       holds weights and turns a tensor into a tensor      here: SimpleDense, equal to keras.layers.Dense
    loss        one number to lower, with a gradient everywhere     here: cross-entropy of logits
    optimizer   turns gradients into steps                          here: RMSprop, beside Adam and SGD
    metric      a number for people, gathered over many batches     here: accuracy, and a WorstClassAccuracy of our own

`compile` ties them to a model, `fit` trains, `evaluate` measures, `predict` answers. The task is the "hello world" of
the field, MNIST through 784 - 64 - 64 - 10. A layer computes y = f(x W + b). The last one has no f: it gives ten
logits z, and the loss takes the softmax into itself,

    p(y | x) = exp(z_y) / sum_k exp(z_k)        loss = - log p(y | x) = log sum_k exp(z_k) - z_y

because the right-hand side never takes the logarithm of a number that was rounded to 0. One fifth of the training
digits is held out: choices (how many epochs, which optimizer) are made on it, and the test digits are looked at once.

What you will see: the digits that the network is most wrong about, the curves drawn where they belong, four optimizers
from the same start, what is taken for what, and what training changed in the first layer.

Run:    python src/05_MNIST_layers_and_training.py       about 20 seconds on two CPU cores
Makes:  output/05_MNIST_layers_and_training.png and output/05_MNIST_layers_and_training/
Source: Chollet, Deep Learning with Python, 2nd edition, 2021, chapters 3 and 7 (the settings);
        LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, 1998 (the data)
"""

import dataclasses
from collections.abc import Sequence

from lessonkit import config, datasets, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
from keras import ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The settings of the tutorials that this lesson grew from."""

    epochs: config.Count = 2  # enough for 95 %; the curves say whether more would pay
    batch_size: config.Count = 64  # 750 steps an epoch
    learning_rate: config.Rate = 1e-3  # of RMSprop and Adam: Keras' default, and a good first try
    validation_split: config.Fraction = 0.2  # share of the training digits that is held out to make choices on
    units: config.Count = 64  # in each hidden layer
    device: config.Device = "cpu"  # a network of this size is faster on the CPU than on a GPU


PRESETS = {
    "full": {},  # the default is what the tutorials do
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded"},
}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 0..1."""
    return images.astype("float32") / 255


def hold_out(images: np.ndarray, labels: np.ndarray, share: float) -> tuple[tuple, tuple]:
    """((images, labels) to train on, (images, labels) held out): the last `share` of the examples is held out.

    This is what `model.fit(..., validation_split=share)` does inside, spelled out. It cuts before anything is shuffled:
    if the examples are sorted by class, shuffle them first, or the last classes are never trained.
    """
    edge = int(len(images) * (1 - share))
    if not 0 < edge < len(images):
        raise config.StudyError(
            f"--validation-split {share:g} of {len(images)} digits leaves one side empty; give more, or another share"
        )
    return (images[:edge], labels[:edge]), (images[edge:], labels[edge:])


# %% Model: a layer of our own


@keras.saving.register_keras_serializable(package="study")  # so that a saved model finds the class again
class SimpleDense(keras.layers.Layer):
    """f(x W + b), as `keras.layers.Dense` computes it.

    Args:
        units: columns of W; the layer turns (..., features) into (..., units).
        activation: f, by name or as a function; None for none.
    """

    def __init__(self, units: int, activation=None, **options):
        super().__init__(**options)
        self.units = units
        self.activation = keras.activations.get(activation)

    def build(self, input_shape):
        """Make the weights. Keras calls this once, at the first input: only then is the number of features known."""
        self.kernel = self.add_weight((input_shape[-1], self.units), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight((self.units,), initializer="zeros", name="bias")

    def call(self, inputs):
        """(..., features) -> (..., units)."""
        return self.activation(ops.matmul(inputs, self.kernel) + self.bias)

    def get_config(self):
        """What __init__ needs to make the layer again, in types that JSON can hold."""
        return super().get_config() | {
            "units": self.units,
            "activation": keras.activations.serialize(self.activation),
        }


def build_model(units: int) -> keras.Model:
    """784 - units - units - 10 from our own layers; the outputs are logits."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),  # (batch, 784)
            SimpleDense(units, activation="relu", name="hidden_1"),  # (batch, 64)
            SimpleDense(units, activation="relu", name="hidden_2"),  # (batch, 64)
            SimpleDense(10, name="logits"),  # (batch, 10)
        ],
        name="digits",
    )


def difference_to_dense(layer: SimpleDense, inputs: np.ndarray) -> float:
    """The largest difference between the outputs of `layer` and of Keras' Dense with the same weights."""
    dense = keras.layers.Dense(layer.units, activation=layer.activation)
    dense.build(inputs.shape)
    dense.set_weights(layer.get_weights())
    return float(ops.max(ops.abs(layer(inputs) - dense(inputs))))


# %% Model: a metric of our own


@keras.saving.register_keras_serializable(package="study")
class WorstClassAccuracy(keras.metrics.Metric):
    """The accuracy on the class that fares worst, for integer labels (n,) and scores (n, classes).

    Batches come one by one, so a metric keeps counts and divides at the end. The mean of the batches' own worst classes
    would be something else: much lower, because in a batch of 64 some class stands only a few times.
    """

    def __init__(self, classes: int = 10, name: str = "worst_class_accuracy", **options):
        super().__init__(name=name, **options)
        self.classes = classes
        self.right = self.add_variable((classes,), "zeros", name="right")
        self.seen = self.add_variable((classes,), "zeros", name="seen")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count one batch; reset_state, inherited, sets the counts to 0 before the next epoch."""
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))  # (batch,)
        truth = ops.one_hot(labels, self.classes)  # (batch, classes)
        if sample_weight is not None:
            truth = truth * ops.reshape(sample_weight, (-1, 1))
        hit = ops.cast(ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), labels), "float32")  # (batch,)
        self.seen.assign_add(ops.sum(truth, axis=0))
        self.right.assign_add(ops.sum(truth * hit[:, None], axis=0))

    def result(self):
        """Between 0 and 1; classes that were not seen do not count."""
        return ops.min(ops.where(self.seen > 0, self.right / ops.maximum(self.seen, 1e-7), 1.0))

    def get_config(self):
        """As for a layer."""
        return super().get_config() | {"classes": self.classes}


# %% Train


def build_optimizers(learning_rate: float) -> dict[str, keras.Optimizer]:
    """The usual choices; the first is the lesson's. SGD wants a larger rate than those that rescale the gradient."""
    return {
        "RMSprop": keras.optimizers.RMSprop(learning_rate),  # each weight's step divided by its gradient's usual size
        "Adam": keras.optimizers.Adam(learning_rate),  # the same, and a running mean of the gradient
        "SGD with momentum": keras.optimizers.SGD(0.01, momentum=0.9),  # steps add up, as of a rolling ball
        "plain SGD": keras.optimizers.SGD(0.01),  # rate times gradient, as in lesson 04
    }


def compile_model(model: keras.Model, optimizer: keras.Optimizer) -> None:
    """Tie optimizer, loss and metrics to the model. "Sparse" means: labels are numbers 0..9, not one-hot rows."""
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy(name="accuracy"), WorstClassAccuracy()],
    )


def train(run: lesson.Run, start: list[np.ndarray], training_part: tuple, validation_part: tuple) -> tuple[dict, dict]:
    """One training per optimizer, all from the same weights `start` and with the same batches.

    Returns {optimizer: model} and {optimizer: {"loss": [...], "val_loss": [...], ...}}, one value an epoch; the val_
    lists have one more, the untrained network's, in front.
    """
    examples = training.Batches(training_part, run.config.batch_size, run.config.seed)
    models, curves = {}, {}
    for name, optimizer in build_optimizers(run.config.learning_rate).items():
        model = models[name] = build_model(run.config.units)
        model.set_weights(start)
        compile_model(model, optimizer)
        before = model.evaluate(*validation_part, batch_size=500, verbose=0, return_dict=True)
        run.say(f"{name}:")
        history = run.fit(model, examples, validation=validation_part, name=file_name(name))
        curves[name] = dict(history.values)
        for key, value in before.items():
            curves[name][f"val_{key}"] = [value, *history[f"val_{key}"]]
    return models, curves


def file_name(optimizer_name: str) -> str:
    """ "plain SGD" -> "plain_sgd", for checkpoints and metrics."""
    return optimizer_name.lower().replace(" ", "_")


# %% Look


def most_wrong(logits: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(places, predictions, their probabilities) of the `count` digits whose truth was given the least probability."""
    probabilities = ops.convert_to_numpy(ops.softmax(logits))
    places = np.argsort(probabilities[np.arange(len(labels)), labels])[:count]
    return places, probabilities[places].argmax(axis=1), probabilities[places].max(axis=1)


def draw_wrong(images: np.ndarray, labels: np.ndarray, logits: np.ndarray, columns: int = 8) -> figures.Figure:
    """The digits with the highest loss, three rows of them."""
    places, predictions, sure = most_wrong(logits, labels, 3 * columns)
    texts = [
        f"{truth} taken for {guess}: {share:.1%}"
        for truth, guess, share in zip(labels[places], predictions, sure, strict=True)
    ]
    starts = range(0, len(places), columns)
    rows = [images[places[start : start + columns]] for start in starts]
    captions = [texts[start : start + columns] for start in starts]
    accuracy = np.mean(logits.argmax(axis=1) == labels)
    title = f"{accuracy:.1%} of the test digits right. The {len(places)} that the network is most wrong about:"
    return figures.image_grid(rows, title, captions=captions, size=1.15)


def draw_curves(curves: dict[str, list[float]]) -> figures.Figure:
    """Training values are means over an epoch: a bar from its start to its end. Validation values belong to its end."""
    title = "RMSprop: what fit reports, drawn at the time that it speaks of"
    figure, axes = figures.subplots(1, 2, width=9, height=3.7, title=title)
    wrong = {name: 100 * (1 - np.array(values)) for name, values in curves.items() if "accuracy" in name}
    lines = [
        (axes[0], "", curves["loss"], curves["val_loss"], 0),
        (axes[1], "all classes, ", wrong["accuracy"], wrong["val_accuracy"], 0),
        (axes[1], "worst class, ", wrong["worst_class_accuracy"], wrong["val_worst_class_accuracy"], 2),
    ]
    for cell, label, mean, after, color in lines:
        style = {"color": figures.COLORS[color], "linestyle": "none", "marker": "o", "capsize": 3, "markersize": 4}
        middle = np.arange(len(mean)) + 0.5
        cell.errorbar(middle, mean, xerr=0.5, label=f"{label}training: mean of the epoch", **style)
        validation_label = f"{label}validation: {after[-1]:.3g} at the end"
        cell.plot(
            range(len(after)), after, "--s", color=figures.COLORS[color + 1], markersize=4, label=validation_label
        )
    axes[0].axhline(np.log(10), color="black", linewidth=0.8, linestyle=":", label="ln 10: ten guesses, all alike")
    axes[0].set_ylabel("cross-entropy (nats)")
    axes[1].set_ylabel("% wrong")
    for cell, ticks in zip(axes, ([0.05, 0.1, 0.2, 0.5, 1, 2], [1, 2, 5, 10, 20, 50, 100]), strict=True):
        values = np.concatenate([line.get_ydata() for line in cell.lines])
        cell.set_yscale("log")
        cell.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
        cell.set_yticks([], minor=True)
        cell.set_ylim(0.8 * max(values.min(), ticks[0]), 4 * values.max())  # room for the legend
        cell.set_xlabel("epochs done")
        cell.set_xticks(range(len(curves["val_loss"])))
        cell.legend(fontsize=8, loc="upper right")
    return figure


def draw_optimizers(curves: dict[str, dict]) -> figures.Figure:
    """Validation error after each epoch, one group of bars an optimizer."""
    title = "Same network, same start, same batches: validation error by optimizer"
    figure, cell = figures.subplots(width=8, height=3.3, title=title)
    epochs = len(curves["RMSprop"]["loss"])
    shown = sorted({1, (epochs + 1) // 2, epochs})  # three bars at most
    height = 0.8 / len(shown)
    for index, epoch in enumerate(shown):
        errors = [100 * (1 - line["val_accuracy"][epoch]) for line in curves.values()]
        places = np.arange(len(curves)) + (index - (len(shown) - 1) / 2) * height
        bars = cell.barh(places, errors, height, label=f"after epoch {epoch}", color=figures.COLORS[(5, 0, 6)[index]])
        cell.bar_label(bars, fmt="%.1f %%", padding=3, fontsize=8)
    cell.set_yticks(range(len(curves)), list(curves))
    cell.invert_yaxis()
    cell.margins(x=0.1)
    cell.set_xlabel("% of the held-out digits that are wrong")
    figure.legend(loc="outside right center")
    return figure


def draw_first_layer(before: np.ndarray, after: np.ndarray, columns: int = 12) -> figures.Figure:
    """First-layer weights (784, units) before and after training, for the units that changed most."""
    change = after - before
    units = np.argsort(-np.square(change).sum(axis=0))[:columns]
    labels = ("random start", "+ training", "= trained")
    figure, axes = figures.subplots(3, len(units), width=10, height=3.0, squeeze=False)
    figure.suptitle("The first layer's weights, one picture a unit: red pixels switch it on, blue ones off")
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    limit = np.percentile(np.abs(after[:, units]), 99)
    for row, (label, weights) in enumerate(zip(labels, (before, change, after), strict=True)):
        axes[row, 0].set_ylabel(label, rotation=0, ha="right", va="center")
        for cell, unit in zip(axes[row], units, strict=True):
            shown = cell.imshow(weights[:, unit].reshape(28, 28), cmap="RdBu_r", vmin=-limit, vmax=limit)
            cell.set(xticks=[], yticks=[])
            cell.grid(False)
            cell.spines[:].set_visible(False)
    figure.colorbar(shown, ax=axes, label="weight", shrink=0.9, aspect=15, pad=0.01)
    return figure


# %% Measure


def measure(run: lesson.Run, models: dict[str, keras.Model], curves: dict[str, dict], test: tuple) -> np.ndarray:
    """Loss and metrics on the test digits, looked at once; returns the logits (n, 10)."""
    model = models["RMSprop"]
    results = model.evaluate(*test, batch_size=500, verbose=0, return_dict=True)
    run.metric("test_accuracy", results["accuracy"], "fraction", expected=(0.95, 0.967), embedded=(0.74, 0.86))
    run.metric("test_loss", results["loss"], "nats", expected=(0.12, 0.165), embedded=(0.5, 0.9))
    worst = results["worst_class_accuracy"]
    run.metric("test_worst_class_accuracy", worst, "fraction", expected=(0.87, 0.95), embedded=(0.4, 0.8))
    for name, line in curves.items():
        run.metric(f"validation_accuracy_{file_name(name)}", line["val_accuracy"][-1], "fraction")
    untrained = curves["RMSprop"]["val_loss"][0]
    run.metric("untrained_loss", untrained, "nats", expected=(2.2, 2.6), embedded=(2.2, 2.6))
    difference = difference_to_dense(model.get_layer("hidden_1"), test[0].reshape(-1, 784)[:1000])
    run.metric("difference_to_dense", difference, "", expected=(0, 1e-5), embedded=(0, 1e-5))
    run.metric("parameters", model.count_params(), "", expected=(55_050, 55_050), embedded=(55_050, 55_050))
    return model.predict(test[0], batch_size=500, verbose=0)


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, training, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.mnist(run)
        training_part, validation_part = hold_out(
            scaled(data.train.images), data.train.labels, run.config.validation_split
        )
        run.say(f"{len(training_part[0]):,} digits to train on, {len(validation_part[0]):,} held out")
        start = build_model(run.config.units).get_weights()
        models, curves = train(run, start, training_part, validation_part)
        logits = measure(run, models, curves, (scaled(data.test.images), data.test.labels))
        run.figure("wrong", draw_wrong(data.test.images, data.test.labels, logits), headline=True)
        run.figure("curves", draw_curves(curves["RMSprop"]))
        run.figure("optimizers", draw_optimizers(curves))
        title = "What is taken for what (test digits)"
        run.figure("confusion", figures.confusion_matrix(data.test.labels, logits.argmax(1), data.class_names, title))
        run.figure("first_layer", draw_first_layer(start[0], models["RMSprop"].get_weights()[0]))
        run.diagram(models["RMSprop"])


if __name__ == "__main__":
    main()

# What to try next
# 1. --epochs 10: where do training and validation part? Which epoch would the validation loss choose?
# 2. Give SimpleDense a second weight, a scale per unit, in `build` and `call`. Does the difference to Dense stay 0?
# 3. --learning-rate 0.1: RMSprop and Adam fail while SGD, at the same 0.1, would be at its best. Why is one number
#    large for the one and small for the other?
