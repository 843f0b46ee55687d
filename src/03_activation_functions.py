"""03 · Activation functions: what they compute, their gradients, dead units, and vanishing gradients.

Without a nonlinearity between them, two dense layers are equivalent to one: W2 (W1 x) is (W2 W1) x, again a weighted
sum. The activation function is this nonlinearity. Four functions are used in most networks, and for training their
gradients are more important than their values:

    relu         max(0, x)                      gradient 0 below zero, 1 above (TensorFlow takes 0 at zero itself)
    leaky relu   x above zero, a x below        gradient a below zero, 1 above; a is the negative slope
    sigmoid      1 / (1 + exp(-x))              gradient s (1 - s): at most 1/4, and almost zero beyond +-5
    softmax      exp(x_i) / sum_j exp(x_j)      vector to vector: d p_i / d x_j = p_i ([i = j] - p_j)

Backpropagation multiplies the gradient of the loss by these gradients, layer by layer. Two things can go wrong, and the
lesson shows both:

    a dead unit           a relu unit that is negative for every example gets no gradient, and never changes again;
                          leaky relu recovers
    vanishing gradients   in a stack of twenty sigmoid layers almost no gradient reaches the first layer; with relu,
                          and initial weights of the right variance, it does

What you will see: the four functions above their gradients, softmax at three temperatures, the training of four units,
and the gradient of each layer in three deep networks.

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
    """Small enough that every experiment takes seconds."""

    steps: config.Count = 200  # training steps of each unit; the leaky unit needs two thirds of them
    distribute: config.Alone = "none"  # networks of a few units
    learning_rate: config.Rate = 0.1  # of the single units, plain gradient descent
    large_rate: config.Rate = 2.0  # of one of the units: large enough that its second step goes far too far
    negative_slope: config.Fraction = 0.2  # of leaky relu; with 0 it is relu, with 1 it is linear
    bias: Annotated[
        float, config.Range(-1e6, 1e6)
    ] = -10.0  # initial bias of two units: their sum is negative for all inputs
    temperatures: tuple[config.Rate, config.Rate, config.Rate] = (0.5, 1.0, 2.0)  # of softmax: low, usual, high
    depth: config.Count = 20  # layers of the deep networks
    examples: config.Count = 256  # of the single units
    device: config.Device = "cpu"  # these networks are far too small for a GPU


LOGITS = {"cat": 3.0, "dog": 2.0, "deer": 1.0, "ship": -0.5, "truck": -1.5}  # what a classifier might give for a cat
STACKS = {  # activation and the initial weights that suit it
    "sigmoid": ("sigmoid", "glorot_normal"),
    "relu": ("relu", "he_normal"),
    "leaky relu": ("leaky_relu", "he_normal"),
}
PRESETS = {"smoke": {"steps": 5, "limit": 200}}

# %% Data


def unit_examples(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """x ~ N(0, 1) and y = max(0, 2 x + 1), both float32 (count, 1): one relu unit can fit this exactly."""
    inputs = np.random.default_rng(seed).normal(size=(count, 1)).astype("float32")
    return inputs, np.maximum(0, 2 * inputs + 1)


# %% Functions

# Temperature. Dividing the logits by T before softmax makes the answer more certain (T < 1) or more uniform (T > 1),
# and keeps the order of the classes. Lesson 15 samples words in this way.


def softmax(logits, temperature: float = 1.0):
    """Logits (n, classes) -> probabilities (n, classes)."""
    return keras.ops.softmax(logits / temperature, axis=-1)


def softmax_of_three(x):
    """x (n, 1) -> (n, 3): the probabilities of the logits (x, 1, 0), so that softmax can be drawn as curves."""
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
    """Values (n, outputs) at the points (n,), and the derivative of every output, by a gradient tape (lesson 04)."""
    x = tf.constant(points[:, None], tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = function(x)
    return values.numpy(), tape.batch_jacobian(values, x)[..., 0].numpy()


# %% Argument or layer

# In Keras an activation is an argument, Dense(3, activation="relu"), or a layer of its own, Dense(3) then ReLU(). Both
# compute the same. The layer is needed for functions with settings, and where the values before it are to be read. Note
# that the string "leaky_relu" and the layer LeakyReLU() do not have the same default slope.


def compare_forms(run: lesson.Run) -> None:
    """Measure the difference between argument and layer, and the default slopes of both leaky relus, at x = -1."""
    dense = keras.layers.Dense(3, activation="relu")
    inputs = keras.random.normal((100, 4), seed=run.config.seed)
    as_argument = dense(inputs)
    plain = keras.layers.Dense(3)
    plain.build(inputs.shape)
    plain.set_weights(dense.get_weights())
    as_layer = keras.layers.ReLU()(plain(inputs))
    run.metric("argument_against_layer", np.max(np.abs(as_argument - as_layer)), "", expected=(0, 0))
    minus_one = -keras.ops.ones((1,))
    run.metric("slope_of_string", -keras.activations.get("leaky_relu")(minus_one)[0], "", expected=(0.199, 0.201))
    run.metric("slope_of_layer", -keras.layers.LeakyReLU()(minus_one)[0], "", expected=(0.299, 0.301))


# %% A unit that dies

# For one unit y = f(z) with z = w x + b the gradient of the squared error contains the factor f'(z). With relu this is
# 0 where z < 0. If z < 0 for EVERY example, the gradient is exactly 0, the step changes nothing, and neither does the
# next: the unit is dead. Here one unit starts dead, with a bias of -10. Another starts well and dies by a step that is
# too large, which is what happens in practice. Leaky relu keeps the factor a below zero, and can recover.


def build_unit(activation: keras.layers.Layer, bias: float) -> keras.Model:
    """One unit y = f(w x + b), which starts at w = 1 and the given bias."""
    initial_bias = keras.initializers.Constant(bias)
    dense = keras.layers.Dense(1, kernel_initializer="ones", bias_initializer=initial_bias, name="sum")
    return keras.Sequential([keras.Input((1,)), dense, activation])  # (batch, 1) each


@dataclasses.dataclass(frozen=True)
class Trace:
    """What is recorded in a training: an entry per step, taken before the update of the step."""

    loss: np.ndarray  # (steps,)
    gradient: np.ndarray  # (steps,) norm of the gradient of both weights
    bias: np.ndarray  # (steps,)


def train(model: keras.Model, inputs: np.ndarray, targets: np.ndarray, rate: float, steps: int) -> Trace:
    """Full-batch gradient descent on the squared error, by a loop of its own that records the gradient."""
    variables, optimizer = model.trainable_variables, keras.optimizers.SGD(rate)
    optimizer.build(variables)
    inputs, targets = tf.constant(inputs), tf.constant(targets)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(inputs, training=True) - targets))
        gradients = tape.gradient(loss, variables)
        bias = tf.identity(model.get_layer("sum").bias)[0]
        optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss, tf.linalg.global_norm(gradients), bias

    entries = []
    for number in range(steps):
        entries.append([float(value) for value in step()])
        training.check_finite({"loss": entries[-1][0]}, number, "step")
    return Trace(*np.array(entries).T)


def train_units(settings: Config) -> dict[str, Trace]:
    """Four units on the same task."""
    count = min(settings.examples, settings.limit or settings.examples)
    inputs, targets = unit_examples(count, settings.seed)
    leaky = keras.layers.LeakyReLU(negative_slope=settings.negative_slope)
    units = {  # layer, initial bias, learning rate
        "relu": (keras.layers.ReLU(), 0.0, settings.learning_rate),
        "relu, large steps": (keras.layers.ReLU(), 0.0, settings.large_rate),
        "dead relu": (keras.layers.ReLU(), settings.bias, settings.learning_rate),
        "leaky relu": (leaky, settings.bias, settings.learning_rate),
    }
    return {
        f"{name}: bias {bias:g}, rate {rate:g}": train(build_unit(layer, bias), inputs, targets, rate, settings.steps)
        for name, (layer, bias, rate) in units.items()
    }


# %% Vanishing gradients

# Backpropagation multiplies the gradient by f'(z) and by the weights, once per layer. The sigmoid's f' is at most 1/4,
# so that after 19 layers at most about 4^-19 of the gradient is left: it vanishes, and the first layers do not learn.
# With relu f' is 1 for the active half of the units; He's initial weights (variance 2/n) make up for the other half.


def gradient_by_depth(activation: str, initializer: str, depth: int, width: int = 64) -> np.ndarray:
    """Norm of the gradient of each layer's weights, (depth,), in an untrained network on random inputs and targets."""
    inputs = keras.random.normal((256, width), seed=1)
    targets = keras.random.normal((256, 1), seed=2)
    hidden = [keras.layers.Dense(width, activation, kernel_initializer=initializer) for _ in range(depth)]
    model = keras.Sequential([keras.Input((width,)), *hidden, keras.layers.Dense(1)])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(inputs) - targets))
    gradients = tape.gradient(loss, [layer.kernel for layer in hidden])
    return np.array([np.linalg.norm(gradient) for gradient in gradients])


# %% Look


def draw_functions(functions: dict[str, Callable]) -> figures.Figure:
    """The functions above their gradients; grey where all gradients are small."""
    formulas = ("$\\max(0, x)$", "$x$ above 0, $a x$ below", "$1 / (1 + e^{-x})$", "$e^{x_i} / \\Sigma_j e^{x_j}$")
    points = np.linspace(-6, 6, 1201)
    title = "Four activation functions and their gradients (grey: gradient below 0.05)"
    figure, axes = figures.subplots(2, 4, width=11, height=4.8, title=title, sharex=True)
    for column, (name, function) in enumerate(functions.items()):
        values, gradients = value_and_gradient(function, points)
        above, below = axes[:, column]
        for line in range(values.shape[1]):
            style = {"color": figures.COLORS[line], "linestyle": ("-", "--", ":")[line], "linewidth": 2}
            above.plot(points, values[:, line], label=f"p{'₁₂₃'[line]}", **style)
            below.plot(points, gradients[:, line], **style)
        small = np.abs(gradients).max(axis=1) < 0.05
        below.fill_between(points, 0, 1, where=small, transform=below.get_xaxis_transform(), color="black", alpha=0.1)
        above.set_title(f"{name}\n{formulas[column]}", parse_math=True)
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
    """The same logits, and their softmax at three temperatures."""
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
    """Loss, gradient and bias of the single units by step."""
    title = "Four units learn max(0, 2x + 1): do they get a gradient?"
    figure, axes = figures.subplots(1, 3, width=11, height=3.5, title=title)
    parts = {"squared error": "loss", "norm of the gradient": "gradient", "bias": "bias"}
    for cell, (label, part) in zip(axes, parts.items(), strict=True):
        for index, (name, trace) in enumerate(traces.items()):
            style = {"color": figures.COLORS[index], "linestyle": ("-", ":", "--", "-.")[index], "linewidth": 2}
            cell.plot(getattr(trace, part), label=name, **style)
        cell.set_xlabel("step")
        cell.set_title(label)
    axes[0].legend(fontsize=8, loc="upper right")
    axes[1].set_yscale("symlog", linthresh=1e-6)  # linear near 0, so that a gradient of exactly 0 is on the axis
    axes[1].set_ylim(-3e-7, 100)
    axes[1].set_yticks([0, 1e-6, 1e-4, 1e-2, 1], ["exactly 0", "10⁻⁶", "10⁻⁴", "0.01", "1"])
    return figure


def draw_stacks(stacks: dict[str, np.ndarray]) -> figures.Figure:
    """The gradient of each layer's weights in untrained networks."""
    figure, cell = figures.subplots(width=8, height=3.6, title="Vanishing gradients: the gradient of each layer")
    for index, (name, norms) in enumerate(stacks.items()):
        style = {"color": figures.COLORS[index], "marker": "os^"[index], "linestyle": ("-", "--", ":")[index]}
        share = norms[0] / norms[-1]
        cell.plot(np.arange(1, len(norms) + 1), norms, label=f"{name}: first / last layer {share:.1g}", **style)
    cell.set_yscale("log")
    cell.xaxis.get_major_locator().set_params(integer=True)
    cell.set_xlabel("layer, counted from the input (backpropagation goes from right to left)")
    cell.set_ylabel("norm of the gradient")
    cell.legend()
    return figure


# %% Measure


def entropy(probabilities: np.ndarray) -> float:
    """- sum p log p in nats: 0 if one class is certain, log(classes) for a uniform distribution."""
    return float(-np.sum(probabilities * np.log(np.maximum(probabilities, 1e-30))))


def measure(run: lesson.Run, units: dict[str, Trace], stacks: dict[str, np.ndarray]) -> None:
    """The single units, and the share of the gradient that reaches the first layer."""
    plain, large_steps, dead, leaky = units.values()
    run.metric("first_gradient_dead_relu", dead.gradient[0], "", expected=(0, 0))
    run.metric("first_gradient_leaky_relu", leaky.gradient[0], "", expected=(1, 2))
    run.metric("unit_loss_relu", plain.loss[-1], "", expected=(0, 1e-3))
    run.metric("unit_loss_dead_relu", dead.loss[-1], "", expected=(2.5, 5.5))
    run.metric("unit_loss_leaky_relu", leaky.loss[-1], "", expected=(0.01, 0.06))
    recovered, died = np.flatnonzero(leaky.loss < 0.1), np.flatnonzero(large_steps.gradient == 0)
    if len(recovered):
        run.metric("leaky_relu_back_after", recovered[0], "steps", expected=(100, 180))
    if len(died):
        run.metric("dead_after_large_steps", died[0], "steps", expected=(2, 2))
    for name, bounds in {"sigmoid": (1e-15, 1e-10), "relu": (0.01, 1), "leaky relu": (0.03, 2)}.items():
        share = stacks[name][0] / stacks[name][-1]
        run.metric(f"first_to_last_gradient_{name.replace(' ', '_')}", share, "", expected=bounds)


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """The functions, softmax and its temperature, the two forms in Keras, dead units, vanishing gradients."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        run.figure("functions", draw_functions(build_functions(settings.negative_slope)), headline=True)
        run.figure("temperatures", draw_temperatures(LOGITS, settings.temperatures))
        count = min(settings.examples, settings.limit or settings.examples)
        run.record_data("inputs drawn at random", "synthetic", "this lesson", {"examples": count})
        with run.part("training"):
            units = train_units(settings)
        with run.part("gradients by depth"):
            stacks = {name: gradient_by_depth(*pair, settings.depth) for name, pair in STACKS.items()}
        measure(run, units, stacks)
        compare_forms(run)
        run.figure("units", draw_units(units))
        run.figure("stacks", draw_stacks(stacks))


if __name__ == "__main__":
    main()

# What to try next
# 1. --negative-slope 0.01, the slope of the paper. The leaky unit does not recover in 200 steps; how many does it need?
# 2. --bias -2 and --bias -3. In one case the relu unit recovers, in the other it is dead. Why?
# 3. --large-rate 1 and --large-rate 1.2. The steps are too large, but the unit does not die. What happens instead?
