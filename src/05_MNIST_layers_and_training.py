"""05 · What Keras is made of: layers, losses, optimizers, metrics, and the fit that ties them together.

Lesson 04 wrote everything by hand: variables, gradient, step. Keras wraps the same things into a few kinds of parts,
and each kind can be written anew where the built-in ones do not suffice:

    layer       holds weights and turns a tensor into a tensor        here: SimpleDense, equal to keras.layers.Dense
    loss        one number to minimise, differentiable                here: cross-entropy of logits
    optimizer   turns gradients into steps                            here: RMSprop, beside Adam and SGD
    metric      a number for people, accumulated over many batches    here: accuracy, and our own WorstClassAccuracy

`compile` ties them to a model, `fit` trains, `evaluate` measures, `predict` returns outputs. The task is the "hello
world" of the field, MNIST through 784 - 64 - 64 - 10.

One fifth of the training digits is held out for validation: choices (how many epochs, which optimizer) are made on it,
and the test digits are evaluated once. A second, small training shows what validation data are for: with few digits the
network overfits, and early stopping chooses the epoch before it does.

You will see: the test digits with the highest loss, curves drawn where they belong, four optimizers from the same
start, overfitting and early stopping, the confusion matrix, and what training changed in the first layer.

Run:    python src/05_MNIST_layers_and_training.py       about 15 seconds on two CPU cores
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

    epochs: config.Count = 2  # enough for 95 %; the curves show whether more would help
    batch_size: config.Count = 64  # 750 steps per epoch
    learning_rate: config.Rate = 1e-3  # of RMSprop and Adam: Keras' default, and a good first try
    validation_split: config.Fraction = 0.2  # share of the training digits that is held out to make choices on
    units: config.Count = 64  # in each hidden layer
    few: config.Count = 1_000  # training digits of the overfitting experiment
    few_epochs: config.Count = 40  # of the same; validation is best long before
    device: config.Device = "cpu"  # a network of this size is faster on the CPU than on a GPU


PRESETS = {
    "full": {},  # the default is what the tutorials do
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded", "few_epochs": 2},
}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 0..255 -> float32 0..1."""
    return images.astype("float32") / 255


def hold_out(images: np.ndarray, labels: np.ndarray, share: float) -> tuple[tuple, tuple]:
    """((images, labels) to train on, (images, labels) held out): the last `share` of the examples is held out.

    This is what `model.fit(..., validation_split=share)` does inside. It splits before anything is shuffled: if the
    examples are sorted by class, shuffle them first, or the last classes are never trained.
    """
    edge = int(len(images) * (1 - share))
    if not 0 < edge < len(images):
        raise config.StudyError(
            f"--validation-split {share:g} of {len(images)} digits leaves one side empty; give more, or another share"
        )
    return (images[:edge], labels[:edge]), (images[edge:], labels[edge:])


# %% Model: our own layer
# A layer creates its weights in `build`, when the first input tells how many features there are, and computes
# f(x W + b) in `call`. The last layer has no f: it returns ten logits z, and the loss takes the softmax into itself,
#
#     p(y | x) = exp(z_y) / sum_k exp(z_k)        loss = - log p(y | x) = log sum_k exp(z_k) - z_y
#
# because the right-hand side never takes the logarithm of a number that was rounded to 0.


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
        """Create the weights. Keras calls this once, at the first input: only then is the number of features known."""
        self.kernel = self.add_weight((input_shape[-1], self.units), initializer="glorot_uniform", name="kernel")
        self.bias = self.add_weight((self.units,), initializer="zeros", name="bias")

    def call(self, inputs):
        """(..., features) -> (..., units)."""
        return self.activation(ops.matmul(inputs, self.kernel) + self.bias)

    def get_config(self):
        """What __init__ needs to rebuild the layer, in types that JSON can hold."""
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


# %% Model: our own metric
# Batches arrive one by one, so a metric keeps counts and divides at the end. The mean of the batches' own worst classes
# would be something else: much lower, because a batch of 64 has only a few digits of some class.


@keras.saving.register_keras_serializable(package="study")
class WorstClassAccuracy(keras.metrics.Metric):
    """The lowest accuracy of any class, for integer labels (n,) and scores (n, classes)."""

    def __init__(self, classes: int = 10, name: str = "worst_class_accuracy", **options):
        super().__init__(name=name, **options)
        self.classes = classes
        self.right = self.add_variable((classes,), "zeros", name="right")
        self.total = self.add_variable((classes,), "zeros", name="total")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Count one batch; reset_state, inherited, sets the counts to 0 before the next epoch."""
        labels = ops.reshape(ops.cast(y_true, "int32"), (-1,))  # (batch,)
        truth = ops.one_hot(labels, self.classes)  # (batch, classes)
        if sample_weight is not None:
            truth = truth * ops.reshape(sample_weight, (-1, 1))
        hit = ops.cast(ops.equal(ops.cast(ops.argmax(y_pred, axis=-1), "int32"), labels), "float32")  # (batch,)
        self.total.assign_add(ops.sum(truth, axis=0))
        self.right.assign_add(ops.sum(truth * hit[:, None], axis=0))

    def result(self):
        """Between 0 and 1; classes without examples do not count."""
        return ops.min(ops.where(self.total > 0, self.right / ops.maximum(self.total, 1e-7), 1.0))

    def get_config(self):
        """As for a layer."""
        return super().get_config() | {"classes": self.classes}


# %% Train
# The four optimizers start from the same weights and get the same batches; only the update rule differs.


def build_optimizers(learning_rate: float) -> dict[str, keras.Optimizer]:
    """The usual choices; the first is the lesson's. SGD needs a larger rate than those that rescale the gradient."""
    return {
        "RMSprop": keras.optimizers.RMSprop(learning_rate),  # each weight's step divided by its gradient's usual size
        "Adam": keras.optimizers.Adam(learning_rate),  # the same, and a running mean of the gradient
        "SGD with momentum": keras.optimizers.SGD(
            0.01, momentum=0.9
        ),  # steps accumulate, like the speed of a rolling ball
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

    Returns {optimizer: model} and {optimizer: {"loss": [...], "val_loss": [...], ...}}, one value per epoch; the val_
    lists begin with one more, that of the untrained network.
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


# %% Overfitting and early stopping
# Overfitting: the training loss keeps falling while the validation loss rises again, because the network memorises its
# training digits instead of learning what also holds for others. It needs more weights than data: here 55,050 weights
# and 1,000 digits. Early stopping keeps the weights of the epoch with the least validation loss; in Keras it is
# `keras.callbacks.EarlyStopping(patience=..., restore_best_weights=True)`. The training goes on here to show what early
# stopping avoids.


def overfit(run: lesson.Run, start: list[np.ndarray], training_part: tuple, validation_part: tuple) -> lesson.History:
    """Train the same network on the first few training digits only, for many epochs."""
    images, labels = (array[: run.config.few] for array in training_part)
    model = build_model(run.config.units)
    model.set_weights(start)
    compile_model(model, keras.optimizers.RMSprop(run.config.learning_rate))
    run.say(f"the same network on {len(images):,} digits:")
    examples = training.Batches((images, labels), run.config.batch_size, run.config.seed)
    return run.fit(model, examples, validation=validation_part, epochs=run.config.few_epochs, name="few_digits")


def early_stopping(losses: Sequence[float], patience: int = 5) -> tuple[int, int]:
    """(the epoch with the least validation loss so far, the epoch after which training stops), counted from 1.

    Training stops when the loss has not improved for `patience` epochs, or at the end.
    """
    best = 0
    for epoch, loss in enumerate(losses):
        if loss < losses[best]:
            best = epoch
        if epoch - best == patience:
            return best + 1, epoch + 1
    return best + 1, len(losses)


def file_name(optimizer_name: str) -> str:
    """ "plain SGD" -> "plain_sgd", for checkpoints and metrics."""
    return optimizer_name.lower().replace(" ", "_")


# %% Figures


def most_wrong(logits: np.ndarray, labels: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(indices, predictions, their probabilities) of the `count` digits whose true class got the least probability."""
    probabilities = ops.convert_to_numpy(ops.softmax(logits))
    indices = np.argsort(probabilities[np.arange(len(labels)), labels])[:count]
    return indices, probabilities[indices].argmax(axis=1), probabilities[indices].max(axis=1)


def draw_wrong(images: np.ndarray, labels: np.ndarray, logits: np.ndarray, columns: int = 8) -> figures.Figure:
    """The digits with the highest loss, three rows of them."""
    indices, predictions, confidence = most_wrong(logits, labels, 3 * columns)
    texts = [
        f"{truth}, predicted {guess}: {share:.1%}"
        for truth, guess, share in zip(labels[indices], predictions, confidence, strict=True)
    ]
    starts = range(0, len(indices), columns)
    rows = [images[indices[start : start + columns]] for start in starts]
    captions = [texts[start : start + columns] for start in starts]
    accuracy = np.mean(logits.argmax(axis=1) == labels)
    title = f"{accuracy:.1%} of the test digits are classified correctly. The {len(indices)} with the highest loss:"
    return figures.image_grid(rows, title, captions=captions, size=1.15)


def draw_curves(curves: dict[str, list[float]]) -> figures.Figure:
    """Training values are means over an epoch: a bar from its start to its end. Validation values belong to its end."""
    title = "RMSprop: what fit reports, drawn at the time to which it belongs"
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
    axes[0].axhline(
        np.log(10), color="black", linewidth=0.8, linestyle=":", label="ln 10: all classes equally probable"
    )
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
    """Validation error after each epoch, one group of bars per optimizer."""
    title = "Validation error by optimizer: same network, same start, same batches"
    figure, cell = figures.subplots(width=8, height=3.3, title=title)
    epochs = len(curves["RMSprop"]["loss"])
    shown = sorted({1, (epochs + 1) // 2, epochs})  # at most three bars
    height = 0.8 / len(shown)
    for index, epoch in enumerate(shown):
        errors = [100 * (1 - line["val_accuracy"][epoch]) for line in curves.values()]
        places = np.arange(len(curves)) + (index - (len(shown) - 1) / 2) * height
        bars = cell.barh(places, errors, height, label=f"after epoch {epoch}", color=figures.COLORS[(5, 0, 6)[index]])
        cell.bar_label(bars, fmt="%.1f %%", padding=3, fontsize=8)
    cell.set_yticks(range(len(curves)), list(curves))
    cell.invert_yaxis()
    cell.margins(x=0.1)
    cell.set_xlabel("% of the validation digits classified wrongly")
    figure.legend(loc="outside right center")
    return figure


def draw_overfitting(history: lesson.History, digits: int) -> figures.Figure:
    """Losses of the training on few digits, with the epoch that early stopping keeps, and where it ends."""
    best, end = early_stopping(history["val_loss"])
    title = f"The same network on {digits:,} training digits: early stopping keeps epoch {best}"
    figure, cell = figures.subplots(width=8, height=3.5, title=title)
    cell.plot(history.epochs, history["loss"], marker=".", label="training: mean of the epoch")
    cell.plot(history.epochs, history["val_loss"], "--", marker=".", label="validation: end of the epoch")
    kept = f"epoch {best}, kept: {history['val_loss'][best - 1]:.3f}"
    cell.axvline(best, color="black", linestyle=":", label=kept)
    cell.axvline(end, color=figures.COLORS[3], linestyle=":", label=f"epoch {end}: early stopping ends the training")
    cell.set(xlabel="epoch", ylabel="cross-entropy (nats)", ylim=(0, None))
    cell.legend(fontsize=8)
    return figure


def draw_first_layer(before: np.ndarray, after: np.ndarray, columns: int = 12) -> figures.Figure:
    """First-layer weights (784, units) before and after training, for the units that changed most."""
    change = after - before
    units = np.argsort(-np.square(change).sum(axis=0))[:columns]
    labels = ("random start", "+ training", "= trained")
    figure, axes = figures.subplots(3, len(units), width=10, height=3.0, squeeze=False)
    figure.suptitle("Weights of the first layer, one picture per unit: red pixels raise its output, blue ones lower it")
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
    """Loss and metrics on the test digits, evaluated once; returns the logits (n, 10)."""
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


def measure_overfitting(run: lesson.Run, losses: list[float]) -> None:
    """What early stopping would save: validation loss at the epoch that it keeps, and at the last one."""
    best, _ = early_stopping(losses)
    run.metric("few_digits_best_epoch", best, "", expected=(9, 22), embedded=(12, 40))
    run.metric("few_digits_best_validation_loss", losses[best - 1], "nats", expected=(0.34, 0.44), embedded=(0.4, 0.7))
    run.metric("few_digits_last_validation_loss", losses[-1], "nats", expected=(0.47, 0.68), embedded=(0.5, 0.9))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, training, metrics, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.mnist(run)
        training_part, validation_part = hold_out(
            scaled(data.train.images), data.train.labels, run.config.validation_split
        )
        run.say(f"{len(training_part[0]):,} digits for training, {len(validation_part[0]):,} for validation")
        start = build_model(run.config.units).get_weights()
        models, curves = train(run, start, training_part, validation_part)
        few = overfit(run, start, training_part, validation_part)
        logits = measure(run, models, curves, (scaled(data.test.images), data.test.labels))
        measure_overfitting(run, few["val_loss"])
        run.figure("wrong", draw_wrong(data.test.images, data.test.labels, logits), headline=True)
        run.figure("curves", draw_curves(curves["RMSprop"]))
        run.figure("optimizers", draw_optimizers(curves))
        run.figure("overfitting", draw_overfitting(few, min(run.config.few, len(training_part[0]))))
        title = "Confusion matrix (test digits)"
        run.figure("confusion", figures.confusion_matrix(data.test.labels, logits.argmax(1), data.class_names, title))
        run.figure("first_layer", draw_first_layer(start[0], models["RMSprop"].get_weights()[0]))
        run.diagram(models["RMSprop"])


if __name__ == "__main__":
    main()

# What to try next
# 1. --epochs 10: where do training and validation loss diverge? Which epoch would early stopping keep?
# 2. --few 100, then 10000: how does the best epoch move, and how much does early stopping save?
# 3. Give SimpleDense a second weight, a scale per unit, in `build` and `call`. Does the difference to Dense stay 0?
# 4. --learning-rate 0.1: RMSprop and Adam fail, although 0.1 is a good rate for SGD. Why is the same number large for
#    the one kind and moderate for the other?
