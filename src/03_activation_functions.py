"""03 · Activation functions: what they compute, what they let through, and how a relu unit dies.

Without a bend between them, two dense layers are one: W2 (W1 x) is (W2 W1) x, again a weighted sum. The activation
function puts the bend in. Four of them carry most networks, and in training their gradients matter more than they do:

    relu         max(0, x)                      gradient 0 below zero, 1 above (TensorFlow takes 0 at zero itself)
    leaky relu   x above zero, a x below        gradient a below zero, 1 above; a is the negative slope
    sigmoid      1 / (1 + exp(-x))              gradient s (1 - s): at most 1/4, and nearly nothing beyond +-5
    softmax      exp(x_i) / sum_j exp(x_j)      vector to vector: d p_i / d x_j = p_i ([i = j] - p_j)

Training multiplies the gradient of the loss by the gradients on the way back. So this lesson takes three measurements:

    a unit     relu pushed far below zero by its bias gets no gradient at all and stays there: it is dead. Leaky relu
               climbs back. Elu has a gradient too, but so small a one that it hardly moves: "not zero" is not enough.
    a layer    nobody sets a bias of -10. Large steps do it: the share of dead units against the learning rate.
    a stack    gradient by depth in twenty layers: sigmoid loses it on the way, relu with He's weights does not.

In Keras an activation is an argument, `Dense(3, activation="relu")`, or a layer of its own, `Dense(3)` then `ReLU()`.
The numbers are the same. The layer is for functions with settings and for reading what goes in. One trap is measured
below: the string "leaky_relu" and the layer `LeakyReLU()` do not have the same default slope.

Run:    python src/03_activation_functions.py       about ten seconds
Makes:  output/03_activation_functions.png and output/03_activation_functions/
Source: Glorot, Bordes & Bengio, Deep Sparse Rectifier Neural Networks, 2011 (relu);
        Maas, Hannun & Ng, Rectifier Nonlinearities Improve Neural Network Acoustic Models, 2013 (leaky relu)
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated

from lessonkit import config, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Small enough that every experiment can be repeated while the reader waits."""

    steps: config.Count = 200  # training steps of each experiment; the leaky unit needs two thirds of them
    distribute: config.Alone = "none"  # networks of a few units
    learning_rate: config.Rate = 0.1  # of the single unit, plain gradient descent
    negative_slope: config.Fraction = 0.2  # of leaky relu; with 0 it is relu, with 1 no bend is left
    bias: Annotated[
        float, config.Range(-1e6, 1e6)
    ] = -10.0  # where the single unit starts: far below anything that its inputs can outweigh
    temperatures: tuple[config.Rate, config.Rate, config.Rate] = (0.5, 1.0, 2.0)  # cold, plain, hot softmax
    rates: tuple[config.Rate, ...] = (0.01, 0.03, 0.1, 0.3, 1.0)  # Adam's learning rates for the layer
    networks: config.Count = 10  # networks trained at each rate: one alone would be an anecdote
    units: config.Count = 64  # hidden units of each network
    depth: config.Count = 20  # layers of the stack
    examples: config.Count = 256  # of each experiment
    device: config.Device = "cpu"  # these networks are far too small for a GPU


LOGITS = {"cat": 3.0, "dog": 2.0, "deer": 1.0, "ship": -0.5, "truck": -1.5}  # what a classifier might say of a cat
STACKS = {  # activation and the first weights that suit it
    "sigmoid": ("sigmoid", "glorot_normal"),
    "relu": ("relu", "he_normal"),
    "leaky relu": ("leaky_relu", "he_normal"),
}
PRESETS = {"smoke": {"steps": 5, "networks": 2, "rates": (0.01, 1.0), "limit": 200}}

# %% Data


def unit_examples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x ~ N(0, 1) and y = max(0, 2 x + 1), both float32 (count, 1): one relu unit can fit this exactly."""
    inputs = np.random.default_rng(seed).normal(size=(count, 1)).astype("float32")
    return inputs, np.maximum(0, 2 * inputs + 1)


def wave_examples(count: int, networks: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x ~ U(-1, 1) and y = sin(3 pi x / 2), both float32 (count, networks, 1): the same examples for every network."""
    inputs = np.random.default_rng(seed).uniform(-1, 1, size=(count, 1, 1)).astype("float32")
    inputs = np.repeat(inputs, networks, axis=1)
    return inputs, np.sin(1.5 * np.pi * inputs)


# %% Functions


def softmax(logits, temperature: float = 1.0):
    """Logits (n, classes) -> probabilities. A low temperature stretches the logits first, a high one flattens them."""
    return keras.ops.softmax(logits / temperature, axis=-1)


def softmax_of_three(x):
    """x (n, 1) -> (n, 3): the probabilities of the logits (x, 1, 0), so that a vector's function fits into a plot."""
    return softmax(keras.ops.concatenate([x, keras.ops.ones_like(x), keras.ops.zeros_like(x)], axis=1))


def build_functions(negative_slope: float) -> dict[str, Callable]:
    """The four functions by name, each from (n, 1) to (n, outputs)."""
    return {
        "relu": keras.activations.relu,
        "leaky relu": lambda x: keras.activations.leaky_relu(x, negative_slope=negative_slope),
        "sigmoid": keras.activations.sigmoid,
        "softmax of (x, 1, 0)": softmax_of_three,
    }


def value_and_gradient(function: Callable, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Values (n, outputs) at the points (n,), and the derivative of every output, both from one pass.

    TensorFlow writes down what it computes on a `GradientTape` and differentiates it backwards; lesson 04 takes that
    apart.
    """
    x = tf.constant(points[:, None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = function(x)
    return values.numpy(), tape.batch_jacobian(values, x)[..., 0].numpy()


# %% Model


def build_unit(activation: keras.layers.Layer, bias: float) -> keras.Model:
    """One unit y = f(w x + b), started at w = 1 and the given bias."""
    start = keras.initializers.Constant(bias)
    return keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(1, kernel_initializer="ones", bias_initializer=start, name="sum"),  # (batch, 1)
            activation,  # (batch, 1)
        ]
    )


def build_networks(activation: keras.layers.Layer, networks: int, units: int) -> keras.Model:
    """Many small networks side by side, 1 -> units -> 1 each. They share nothing: every n has weights of its own."""
    first = keras.initializers.RandomNormal(stddev=2**0.5)  # He: variance 2 / inputs, and there is one input
    second = keras.initializers.RandomNormal(stddev=units**-0.5)
    return keras.Sequential(
        [
            keras.Input((networks, 1)),
            keras.layers.EinsumDense(  # (batch, networks, units)
                "bni,nio->bno", (networks, units), bias_axes="no", kernel_initializer=first, name="sum"
            ),
            activation,  # (batch, networks, units)
            keras.layers.EinsumDense("bni,nio->bno", (networks, 1), bias_axes="no", kernel_initializer=second),
        ]
    )


# %% Train


@dataclasses.dataclass(frozen=True)
class Trace:
    """What one training left: an entry per step, taken before the step's update."""

    loss: np.ndarray  # (steps, networks)
    gradient: np.ndarray  # (steps,) length of the gradient of all weights
    bias: np.ndarray  # (steps,) the first bias


def train(model: keras.Model, inputs, targets, optimizer: keras.Optimizer, steps: int) -> Trace:
    """Full-batch steps on the squared error, with a look at the gradient at each; `fit` would hide it."""
    variables = model.trainable_variables
    optimizer.build(variables)
    inputs, targets = tf.constant(inputs), tf.constant(targets)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            losses = tf.reduce_mean(tf.square(model(inputs, training=True) - targets), axis=0)  # one per network
            total = tf.reduce_sum(losses)  # a sum, so that no network feels the others
        gradients = tape.gradient(total, variables)
        bias = tf.reshape(model.get_layer("sum").bias, [-1])[0]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return tf.reshape(losses, [-1]), tf.linalg.global_norm(gradients), bias

    entries = []
    for number in range(steps):
        losses, gradient, bias = (part.numpy() for part in step())
        training.check_finite({"loss": losses.sum()}, number)
        entries.append((losses, gradient, bias))
    return Trace(*(np.array(column) for column in zip(*entries, strict=True)))


def train_units(run: lesson.Run) -> dict[str, Trace]:
    """The same task, the same steps, four units: a healthy one, and three that start far below zero."""
    settings = run.config
    inputs, targets = (a[: settings.limit] for a in unit_examples(settings.examples, settings.seed))
    leaky = keras.layers.LeakyReLU(negative_slope=settings.negative_slope)
    units = {
        "healthy relu": build_unit(keras.layers.ReLU(), bias=0.0),
        "relu": build_unit(keras.layers.ReLU(), settings.bias),
        "leaky relu": build_unit(leaky, settings.bias),
        "elu": build_unit(keras.layers.ELU(), settings.bias),
    }
    return {
        name: train(unit, inputs, targets, keras.optimizers.SGD(settings.learning_rate), settings.steps)
        for name, unit in units.items()
    }


def dead_share(model: keras.Model, inputs: np.ndarray) -> np.ndarray:
    """For each network the share of units that lie below zero for EVERY example; relu gives them no gradient."""
    sums = model.get_layer("sum")(inputs).numpy()  # (examples, networks, units): why the activation is a layer here
    return np.mean(sums.max(axis=0) <= 0, axis=-1)


def train_layers(run: lesson.Run) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """By activation: the share of dead units and the final loss, both (rates, networks)."""
    settings = run.config
    inputs, targets = (a[: settings.limit] for a in wave_examples(settings.examples, settings.networks, settings.seed))
    leaky = keras.layers.LeakyReLU(negative_slope=settings.negative_slope)
    results = {}
    for name, activation in {"relu": keras.layers.ReLU(), "leaky relu": leaky}.items():
        dead, losses = [], []
        for rate in settings.rates:
            keras.utils.set_random_seed(settings.seed)  # the same first weights for every rate and both functions
            model = build_networks(activation, settings.networks, settings.units)
            trace = train(model, inputs, targets, keras.optimizers.Adam(rate), settings.steps)
            dead.append(dead_share(model, inputs))
            losses.append(trace.loss[-1])
        results[name] = np.array(dead), np.array(losses)
    return results


# %% Look


def draw_functions(functions: dict[str, Callable]) -> figures.Figure:
    """Above what each function gives, below its gradient, with a grey ground where next to nothing gets through."""
    formulas = ("$\\max(0, x)$", "$x$ above 0, $a x$ below", "$1 / (1 + e^{-x})$", "$e^{x_i} / \\Sigma_j e^{x_j}$")
    points = np.linspace(-6, 6, 1201)
    title = "Four activation functions and their gradients (grey: gradient below 0.05)"
    figure, axes = figures.subplots(2, 4, width=11, height=4.8, title=title, sharex=True)
    for column, (name, function) in enumerate(functions.items()):
        values, gradients = value_and_gradient(function, points)
        above, below = axes[:, column]
        for line in range(values.shape[1]):
            style = {"color": figures.COLORS[line], "linestyle": ("-", "--", ":")[line], "linewidth": 2}
            above.plot(points, values[:, line], label=f"$p_{line + 1}$", **style)
            below.plot(points, gradients[:, line], **style)
        quiet = np.abs(gradients).max(axis=1) < 0.05
        below.fill_between(points, 0, 1, where=quiet, transform=below.get_xaxis_transform(), color="black", alpha=0.1)
        above.set_title(f"{name}\n{formulas[column]}")
        below.set_title(f"gradient: {gradients.min():.2g} to {gradients.max():.2g}", fontsize=10)
        above.set_ylim((-1.4, 6.2) if column < 2 else (-0.05, 1.05))
        below.set_ylim(((-0.1, 1.1), (-0.1, 1.1), (-0.02, 0.3), (-0.3, 0.3))[column])
        below.set_xlabel("x")
    axes[1, 0].set_xticks([-5, 0, 5])
    axes[0, 3].legend(fontsize=9, loc="center left")
    axes[0, 0].set_ylabel("value")
    axes[1, 0].set_ylabel("gradient")
    return figure


def draw_temperatures(logits: dict[str, float], temperatures: Sequence[float]) -> figures.Figure:
    """The same logits, and what softmax makes of them at three temperatures."""
    names, values = list(logits), np.array(list(logits.values()))
    figure, axes = figures.subplots(1, 4, width=11, height=3, title="Softmax: from logits to probabilities")
    axes[0].bar_label(axes[0].bar(names, values, color="#888888"), fmt="%.1f", fontsize=8, padding=2)
    axes[0].axhline(0, color="black", linewidth=0.8)
    axes[0].set_title("logits: any numbers", fontsize=10)
    axes[0].margins(y=0.15)
    for cell, temperature, color in zip(axes[1:], temperatures, figures.COLORS[:3], strict=True):
        probabilities = softmax(values[None], temperature).numpy()[0]
        cell.bar_label(cell.bar(names, probabilities, color=color), fmt=rounded, fontsize=8, padding=2)
        cell.set_ylim(0, 1)
        cell.set_title(f"T = {temperature:g}: entropy {entropy(probabilities):.2f} nats", fontsize=10)
    axes[0].set_ylabel("logit")
    axes[1].set_ylabel("probability")
    for cell in axes:
        cell.tick_params(axis="x", labelsize=8, rotation=45)
        cell.set_axisbelow(True)
    return figure


def rounded(probability: float) -> str:
    """Two digits, and never "0.00": softmax gives no zeros."""
    return f"{probability:.2f}" if probability >= 0.01 else "< 0.01"


def draw_units(traces: dict[str, Trace]) -> figures.Figure:
    """Loss, gradient and bias of the single units, step by step."""
    figure, axes = figures.subplots(1, 3, width=11, height=3.5, title="One unit pushed below zero: who comes back?")
    parts = {"squared error": "loss", "length of the gradient": "gradient", "bias": "bias"}
    for cell, (label, part) in zip(axes, parts.items(), strict=True):
        for index, (name, trace) in enumerate(traces.items()):
            style = {"color": figures.COLORS[index], "linestyle": ("-", "--", "-.", ":")[index], "linewidth": 2}
            cell.plot(np.ravel(getattr(trace, part)), label=f"{name}, bias {trace.bias[0]:g} at first", **style)
        cell.set_xlabel("step")
        cell.set_title(label)
    axes[0].legend(fontsize=8)
    axes[1].set_yscale("symlog", linthresh=1e-6)  # linear below, so that a gradient of exactly 0 has its place
    axes[1].set_ylim(-3e-7, 10)
    axes[1].set_yticks([0, 1e-6, 1e-4, 1e-2, 1], ["exactly 0", "$10^{-6}$", "$10^{-4}$", "0.01", "1"])
    return figure


def draw_layers(results: dict[str, tuple[np.ndarray, np.ndarray]], rates: Sequence[float]) -> figures.Figure:
    """Dead units and final loss against the learning rate: a small dot a network, a line through the medians."""
    figure, axes = figures.subplots(1, 2, width=9, height=3.8, title="How units die: steps that are too large")
    for index, (name, (dead, losses)) in enumerate(results.items()):
        color, marker, shift = figures.COLORS[index], "os"[index], (0.94, 1.06)[index]  # shift: side by side
        for cell, values in zip(axes, (100 * dead, losses), strict=True):
            cell.plot(shift * np.array(rates), values, marker, color=color, alpha=0.25, markersize=4)
            style = {"color": color, "marker": marker, "linestyle": ("-", "--")[index]}
            cell.plot(shift * np.array(rates), np.median(values, axis=1), label=f"{name}, median network", **style)
    axes[0].set_title("units below zero for every example", fontsize=10)
    axes[0].set_ylabel("% of the units")
    axes[1].set_title("squared error after training", fontsize=10)
    axes[1].set_yscale("log")
    for cell in axes:
        cell.set_xscale("log")
        cell.set_xlabel("Adam's learning rate")
        cell.legend(fontsize=9)
    return figure


def draw_stacks(stacks: dict[str, np.ndarray]) -> figures.Figure:
    """The gradient of each layer's weights in fresh networks."""
    figure, cell = figures.subplots(width=8, height=3.6, title="How much gradient reaches the first layers?")
    for index, (name, lengths) in enumerate(stacks.items()):
        style = {"color": figures.COLORS[index], "marker": "os^"[index], "linestyle": ("-", "--", ":")[index]}
        share = lengths[0] / lengths[-1]
        cell.plot(np.arange(1, len(lengths) + 1), lengths, label=f"{name}: first / last layer {share:.1g}", **style)
    cell.set_yscale("log")
    cell.xaxis.get_major_locator().set_params(integer=True)
    cell.set_xlabel("layer, counted from the input (the gradient comes from the right)")
    cell.set_ylabel("length of the gradient")
    cell.legend()
    return figure


# %% Measure


def entropy(probabilities: np.ndarray) -> float:
    """- sum p log p in nats: 0 for a sure answer, log(classes) for none at all."""
    return float(-np.sum(probabilities * np.log(np.maximum(probabilities, 1e-30))))


def gradient_by_depth(activation: str, initializer: str, depth: int, width: int = 64) -> np.ndarray:
    """Length of the gradient of each layer's weights, (depth,), in a fresh network on random inputs and targets."""
    inputs = keras.random.normal((256, width), seed=1)
    targets = keras.random.normal((256, 1), seed=2)
    hidden = [keras.layers.Dense(width, activation, kernel_initializer=initializer) for _ in range(depth)]
    model = keras.Sequential([keras.Input((width,)), *hidden, keras.layers.Dense(1)])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(inputs) - targets))
    gradients = tape.gradient(loss, [layer.kernel for layer in hidden])
    return np.array([np.linalg.norm(gradient) for gradient in gradients])


def compare_forms(run: lesson.Run) -> None:
    """Argument against layer, and the default slopes of the two leaky relus in Keras, read off at x = -1."""
    dense = keras.layers.Dense(3, activation="relu")
    inputs = keras.random.normal((100, 4), seed=run.config.seed)
    as_argument = dense(inputs)
    plain = keras.layers.Dense(3)
    plain.build(inputs.shape)
    plain.set_weights(dense.get_weights())
    as_layer = keras.layers.ReLU()(plain(inputs))
    difference = np.max(np.abs(as_argument - as_layer))
    run.metric("argument_against_layer", difference, "", expected=(0, 0))
    minus_one = -keras.ops.ones((1,))
    run.metric("slope_of_string", -keras.activations.get("leaky_relu")(minus_one)[0], "", expected=(0.199, 0.201))
    run.metric("slope_of_layer", -keras.layers.LeakyReLU()(minus_one)[0], "", expected=(0.299, 0.301))


def measure(run: lesson.Run, units: dict[str, Trace], layers: dict[str, tuple], stacks: dict[str, np.ndarray]) -> None:
    """The figures of the three experiments."""
    dead, _ = layers["relu"]
    run.metric("dead_at_largest_rate", np.median(dead[-1]), "fraction", expected=(0.85, 1))
    run.metric("dead_at_smallest_rate", np.median(dead[0]), "fraction", expected=(0, 0.1))
    for name, bounds in {"relu": (0, 0), "leaky relu": (1, 2), "elu": (2e-4, 5e-3)}.items():
        run.metric(f"first_gradient_{label(name)}", units[name].gradient[0], "", expected=bounds)
    for name, bounds in {"healthy relu": (0, 1e-3), "relu": (2.5, 5.5), "leaky relu": (0.01, 0.06)}.items():
        run.metric(f"unit_loss_{label(name)}", units[name].loss[-1, 0], "", expected=bounds)
    back = np.flatnonzero(units["leaky relu"].loss[:, 0] < 0.1)
    if len(back):
        run.metric("leaky_relu_back_after", back[0], "steps", expected=(100, 180))
    for name, bounds in {"relu": (0.2, 0.6), "leaky relu": (1e-3, 0.3)}.items():
        run.metric(f"loss_at_largest_rate_{label(name)}", np.median(layers[name][1][-1]), "", expected=bounds)
    for name, bounds in {"sigmoid": (1e-15, 1e-10), "relu": (0.01, 1), "leaky relu": (0.03, 2)}.items():
        lengths = stacks[name]
        run.metric(f"first_to_last_gradient_{label(name)}", lengths[0] / lengths[-1], "", expected=bounds)


def label(name: str) -> str:
    """A name as part of a metric's name."""
    return name.replace(" ", "_")


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """The functions; then a unit, a layer, a stack; then the forms that Keras offers."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        if not settings.rates:
            raise config.StudyError("--rates needs at least one learning rate")
        run.figure("functions", draw_functions(build_functions(settings.negative_slope)), headline=True)
        run.figure("temperatures", draw_temperatures(LOGITS, settings.temperatures))
        count = min(settings.examples, settings.limit or settings.examples)
        run.record_data("inputs drawn at random", "synthetic", "this lesson", {"examples": count})
        with run.part("training"):
            units = train_units(run)
            layers = train_layers(run)
            stacks = {name: gradient_by_depth(*pair, settings.depth) for name, pair in STACKS.items()}
        measure(run, units, layers, stacks)
        compare_forms(run)
        run.figure("units", draw_units(units))
        run.figure("layers", draw_layers(layers, settings.rates))
        run.figure("stacks", draw_stacks(stacks))


if __name__ == "__main__":
    main()

# What to try next
# 1. --negative-slope 0.01, the slope of the paper. The leaky unit is not back after 200 steps; after how many is it?
# 2. --bias -2 and --bias -3. One of the relu units recovers, the other is dead. What decides?
# 3. --learning-rate 5. Now the healthy unit dies as well. At which step? The bias tells.
