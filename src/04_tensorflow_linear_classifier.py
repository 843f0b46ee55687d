"""04 · TensorFlow from the ground up: tensors, variables, the gradient tape, and a linear classifier made of them.

Keras is built on three things. A *tensor* is an array that never changes. A *variable* holds what training changes. A
*gradient tape* records what is computed from variables, and applies the chain rule to the record from the end to the
beginning. This gives the derivative of the result with respect to every variable, exact up to rounding, at a few times
the cost of computing the result, whatever the number of variables.

These three are enough to train. The model here is as small as possible, a weighted sum of two coordinates,

    prediction = w1 x1 + w2 x2 + b        targets 0 and 1, loss = mean of (target - prediction)^2

and a training step of gradient descent moves every variable a little against its gradient:

    w <- w - rate * d loss / d w          b <- b - rate * d loss / d b

A point is assigned to class 1 where the prediction is above 1/2. The decision boundary is a straight line:

    w1 x1 + w2 x2 + b = 1/2      that is      x2 = -w1/w2 x1 + (1/2 - b)/w2

What you will see: this line as it turns between two clouds of points (also as a GIF); the loss, and the lowest loss of
any line; the path of the parameters in the valley of the loss (why a rate of 0.1 works and 0.15 diverges); and the
errors of the tape's gradient and of finite differences.

Run:    python src/04_tensorflow_linear_classifier.py       under ten seconds
Makes:  output/04_tensorflow_linear_classifier.png and output/04_tensorflow_linear_classifier/
Source: Chollet, Deep Learning with Python, 2nd edition, 2021, chapter 3 (the task);
        Baydin et al., Automatic Differentiation in Machine Learning: a Survey, arXiv:1502.05767 (the tape)
"""

import dataclasses
import math
from collections.abc import Callable, Sequence

from lessonkit import config, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Every step uses all points at once, so there is no batch size, and an epoch is one step."""

    steps: config.Count = 40  # afterwards the loss falls by a few per cent only
    distribute: config.Alone = "none"  # a loop of its own, and one batch
    learning_rate: config.Rate = 0.1  # two thirds of the largest rate that does not diverge: see `largest_stable_rate`
    points: config.Count = 1000  # in each cloud, for training
    test_points: config.Count = 20_000  # in each cloud; many, because only about two in a thousand are misclassified
    device: config.Device = "cpu"  # three parameters


PRESETS = {"smoke": {"steps": 5, "limit": 200}}

# %% Tensors and variables

# Every operation makes a new tensor, and none can be changed afterwards. This allows TensorFlow to record a computation
# and to reorder it. Variables are the exception: `assign`, `assign_add` and `assign_sub` change them in place.


def tensor_notes() -> str:
    """What tensors and variables can do and what they cannot: expressions with their values, computed in this run."""
    notes = []

    def note(code: str, value) -> None:
        notes.append(f">>> {code}\n{value}\n")

    constant = tf.constant([[1.0, 2.0], [3.0, 4.0]])
    note("constant = tf.constant([[1.0, 2.0], [3.0, 4.0]])", constant.numpy())
    try:
        constant[0, 0] = 0.0
    except TypeError as problem:
        note("constant[0, 0] = 0.0", f"TypeError: {problem}")
    note("constant * constant        # element by element", (constant * constant).numpy())
    note("constant @ constant        # matrix product", (constant @ constant).numpy())
    variable = tf.Variable(constant)
    note("variable = tf.Variable(constant)", variable.numpy())
    note("variable.assign(tf.zeros((2, 2)))", variable.assign(tf.zeros((2, 2))).numpy())
    note("variable.assign_add(tf.ones((2, 2)))", variable.assign_add(tf.ones((2, 2))).numpy())
    note("variable[0, 0].assign(5.0)", variable[0, 0].assign(5.0).numpy())
    return "\n".join(notes)


# %% The gradient tape

# Variables are watched by a tape automatically, constants only after `tape.watch`; without it their gradient is None.
# A gradient is a computation, too: a second, outer tape can record it and gives the second derivative.


def derivative(function: Callable, at: float) -> float:
    """The first derivative of a function of one number, at a variable."""
    x = tf.Variable(at)
    with tf.GradientTape() as tape:
        y = function(x)
    return float(tape.gradient(y, x))


def derivative_at_constant(function: Callable, at: float, watch: bool) -> float | None:
    """The same at a constant; None where the tape does not watch it."""
    x = tf.constant(at)
    with tf.GradientTape() as tape:
        if watch:
            tape.watch(x)
        y = function(x)
    gradient = tape.gradient(y, x)
    return None if gradient is None else float(gradient)


def fall(seconds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Position (m), speed (m/s) and acceleration (m/s^2) of a falling body, by a tape within a tape."""
    time = tf.Variable(seconds, dtype=tf.float32)
    with tf.GradientTape() as outer:
        with tf.GradientTape() as inner:
            position = 4.9 * time**2
        speed = inner.gradient(position, time)
    acceleration = outer.gradient(speed, time)
    return position.numpy(), speed.numpy(), acceleration.numpy()


# %% Data


def clouds(count: int, seed: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Two Gaussian clouds of `count` points each: points (2 count, 2), targets (2 count, 1) of 0 and 1; float32.

    Class 0 has the mean (0, 3), class 1 the mean (3, 0); both have the covariance [[1, 0.5], [0.5, 1]], so that the
    clouds are longest in the direction of the boundary between them.
    """
    random = np.random.default_rng(seed)
    covariance = [[1, 0.5], [0.5, 1]]
    points = np.concatenate([random.multivariate_normal(mean, covariance, count) for mean in ([0, 3], [3, 0])])
    targets = np.repeat([[0.0], [1.0]], count, axis=0)
    order = random.permutation(2 * count)
    return points[order].astype("float32"), targets[order].astype("float32")


# %% Model

# The squared error is not the usual loss of a classifier (that is the cross-entropy): it also penalises points that are
# far away on the correct side. It is used here because it is quadratic, so that all results can be computed in closed
# form and compared.


class LinearClassifier:
    """prediction = points @ weights + bias, made of two variables."""

    def __init__(self, seed: int):
        self.weights = tf.Variable(keras.random.uniform((2, 1), -1, 1, seed=seed))
        self.bias = tf.Variable(tf.zeros(1))

    def __call__(self, points):
        return points @ self.weights + self.bias  # (n, 2) @ (2, 1) + (1,) -> (n, 1)

    def parameters(self) -> np.ndarray:
        """w1, w2 and b as they are now, (3,)."""
        return np.concatenate([self.weights.numpy()[:, 0], self.bias.numpy()])


def square_loss(targets, predictions):
    """Mean over the points of the squared difference."""
    return tf.reduce_mean(tf.square(targets - predictions))


def line_height(parameters: np.ndarray, x1: np.ndarray) -> np.ndarray:
    """x2 on the line where the prediction is 1/2."""
    w1, w2, bias = parameters
    return -w1 / w2 * x1 + (0.5 - bias) / w2


def accuracy(parameters: np.ndarray, points: np.ndarray, targets: np.ndarray) -> float:
    """Share of the points that are classified correctly."""
    above = points @ parameters[:2] + parameters[2] > 0.5
    return float(np.mean(above == (targets[:, 0] > 0.5)))


# %% Train


def train(classifier: LinearClassifier, points, targets, rate: float, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Gradient descent on all points at once: losses (steps + 1,) and parameters (steps + 1, 3), the start included."""
    points, targets = tf.constant(points), tf.constant(targets)

    @tf.function  # traced once into a graph; without this line the numbers are the same and the steps are slower
    def step():
        with tf.GradientTape() as tape:
            loss = square_loss(targets, classifier(points))
        for variable, gradient in zip(
            (classifier.weights, classifier.bias),
            tape.gradient(loss, (classifier.weights, classifier.bias)),
            strict=True,
        ):
            variable.assign_sub(rate * gradient)
        return loss

    losses, path = [], [classifier.parameters()]
    for number in range(steps):
        losses.append(float(step()))
        training.check_finite({"loss": losses[-1]}, number)
        path.append(classifier.parameters())
    losses.append(float(square_loss(targets, classifier(points))))
    return np.array(losses), np.array(path)


# %% The same in closed form

# The loss is quadratic, and its second derivatives H are the same everywhere. A step of gradient descent multiplies the
# distance to the optimum by 1 - rate * lambda along each eigenvector of H with eigenvalue lambda. So descent converges
# for rates below 2 / (largest eigenvalue), and the smallest eigenvalue decides how slowly.


def with_ones(points: np.ndarray) -> np.ndarray:
    """Points (n, 2) -> float64 (n, 3) with a column of ones, so that the bias is one more weight."""
    return np.column_stack([points, np.ones(len(points))]).astype(np.float64)


def best_parameters(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """w1, w2, b with the smallest squared loss, by least squares."""
    return np.linalg.lstsq(with_ones(points), targets[:, 0].astype(np.float64), rcond=None)[0]


def loss_at(parameters: np.ndarray, points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The squared loss for parameters (..., 3), in float64."""
    return np.mean((parameters @ with_ones(points).T - targets[:, 0]) ** 2, axis=-1)


def curvature(points: np.ndarray) -> np.ndarray:
    """The second derivatives of the loss, (3, 3): 2/n X^T X."""
    features = with_ones(points)
    return 2 * features.T @ features / len(points)


def ideal_accuracy() -> float:
    """Accuracy of the best possible classifier on these clouds: Phi(d / 2), d^2 = (m1 - m0)^T C^-1 (m1 - m0)."""
    difference = np.array([3.0, -3.0])
    distance = math.sqrt(difference @ np.linalg.solve([[1, 0.5], [0.5, 1]], difference))
    return 0.5 * (1 + math.erf(distance / 2 / math.sqrt(2)))


def gradient_errors(points: np.ndarray, targets: np.ndarray, widths: np.ndarray) -> dict[str, np.ndarray]:
    """Relative errors of the gradient at one point, by name: finite differences (one per width) and the tape (one).

    They are compared with the formula 2/n X^T (X w - t), each in float32 and in float64.
    """
    parameters, features = np.array([0.5, -0.3, 0.1]), with_ones(points)
    exact = 2 * features.T @ (features @ parameters - targets[:, 0]) / len(points)

    def error(gradient) -> float:
        return float(np.linalg.norm(gradient - exact) / np.linalg.norm(exact))

    errors = {}
    for dtype in (np.float32, np.float64):
        x, t, w = features.astype(dtype), targets.astype(dtype), parameters.astype(dtype)

        def loss(w, x=x, t=t):
            return square_loss(t, x @ w[:, None])

        def difference(width, loss=loss, w=w, dtype=dtype):
            return [(loss((w + step).astype(dtype)) - loss(w)).numpy() / width for step in width * np.eye(3)]

        variable = tf.Variable(w)
        with tf.GradientTape() as tape:
            value = loss(variable)
        errors[f"finite difference, {dtype.__name__}"] = np.array([error(difference(width)) for width in widths])
        errors[f"tape, {dtype.__name__}"] = np.array([error(tape.gradient(value, variable))])
    return errors


# %% Look

WINDOW = (-4, 7)  # of both coordinates in the pictures


def draw_points(cell, points: np.ndarray, targets: np.ndarray) -> None:
    """Both clouds, with names and axes."""
    for label, (marker, place) in enumerate({"o": (-3.7, 5.2), "^": (4.9, 2.6)}.items()):
        chosen = points[targets[:, 0] == label]
        cell.plot(*chosen.T, marker, color=figures.COLORS[label], alpha=0.35, markersize=3)
        cell.text(*place, f"class {label}", color=figures.COLORS[label], weight="bold")
    cell.set(xlim=WINDOW, ylim=WINDOW, xlabel="x1", ylabel="x2", aspect="equal")


def draw_descent(points, targets, losses: np.ndarray, path: np.ndarray, best_loss: float) -> figures.Figure:
    """The clouds with the line of every step, and the loss beside them."""
    figure, (clouds_cell, loss_cell) = figures.subplots(
        1, 2, width=9.5, height=4.4, title=f"The decision line after each of {len(losses) - 1} steps"
    )
    draw_points(clouds_cell, points, targets)
    ends = np.array(WINDOW)
    for number, parameters in enumerate(path):
        age = number / (len(path) - 1)
        clouds_cell.plot(ends, line_height(parameters, ends), color="black", alpha=0.08 + 0.3 * age, linewidth=0.8)
    clouds_cell.plot(ends, line_height(path[0], ends), ":", color="black", label="line at the start")
    clouds_cell.plot(ends, line_height(path[-1], ends), color="black", linewidth=2.5, label="line at the end")
    clouds_cell.legend(fontsize=8, loc="lower right", frameon=True)
    loss_cell.plot(losses, marker=".", label=f"gradient descent: {losses[-1]:.4f} at the end")
    loss_cell.axhline(best_loss, color=figures.COLORS[1], linestyle="--", label=f"best line: {best_loss:.4f}")
    loss_cell.set_yscale("log")
    loss_cell.set_xlabel("step")
    loss_cell.set_ylabel("mean squared error")
    loss_cell.legend()
    return figure


def draw_frames(points, targets, losses: np.ndarray, path: np.ndarray) -> list[np.ndarray]:
    """The line after every step, as frames of a GIF; the half-planes have the colour of the predicted class."""
    figure, cell = figures.subplots(width=4.6, height=4.6)
    draw_points(cell, points, targets)
    (line,) = cell.plot([], [], color="black", linewidth=2.5)
    sides = [cell.fill([0], [0], color=figures.COLORS[label], alpha=0.12)[0] for label in (0, 1)]
    ends = np.array(WINDOW, float)

    def draw(number: int) -> None:
        parameters = path[number]
        heights = line_height(parameters, ends)
        line.set_data(ends, heights)
        lower = 1 if parameters[1] < 0 else 0  # w2 < 0: predictions grow downwards
        for label, side in enumerate(sides):
            border = -1e3 if label == lower else 1e3
            side.set_xy([*zip(ends, heights, strict=True), (ends[1], border), (ends[0], border)])
        share = accuracy(parameters, points, targets)
        cell.set_title(f"step {number}: loss {losses[number]:.3f}, {share:.1%} correct")

    return figures.animate(figure, draw, range(len(path)))


def draw_valley(points, targets, path: np.ndarray, best: np.ndarray) -> figures.Figure:
    """The loss over (w1 + w2) / 2 and b, and the path of the parameters.

    The third direction, (w1 - w2) / 2, is fixed at its best value, which gradient descent finds in two or three steps.
    """
    shared, half, bias = (path[:, 0] + path[:, 1]) / 2, (best[0] - best[1]) / 2, path[:, 2]
    reach = max(0.6, 1.1 * np.abs(shared).max())
    low, high = min(-0.2, 1.1 * bias.min()), max(0.8, 1.1 * bias.max())
    across, up = np.meshgrid(np.linspace(-reach, reach, 121), np.linspace(low, high, 121))
    losses = loss_at(np.stack([across + half, across - half, up], axis=-1), points, targets)
    figure, cell = figures.subplots(width=8, height=4, title="The valley of the loss, and the path of gradient descent")
    levels = losses.min() + np.geomspace(0.001, np.ptp(losses), 13)
    cell.contourf(across, up, losses, levels=[0, *levels], norm="log", cmap="Blues_r", extend="max")
    cell.contour(across, up, losses, levels=levels, colors="white", linewidths=0.7)
    cell.plot(shared, bias, ".-", color=figures.COLORS[1], label="one dot per step")
    cell.plot((best[0] + best[1]) / 2, best[2], "*", color=figures.COLORS[7], markersize=14, label="lowest loss")
    cell.set(xlabel="(w1 + w2) / 2", ylabel="b")
    cell.grid(False)
    cell.legend(loc="lower left")
    return figure


def draw_fall() -> figures.Figure:
    """Position, speed and acceleration of a falling body, each the derivative of the one before."""
    seconds = np.linspace(0, 2, 21)
    names = ("position (m)", "speed (m/s)", "acceleration (m/s²)")
    formulas = (4.9 * seconds**2, 9.8 * seconds, np.full(21, 9.8))
    figure, axes = figures.subplots(1, 3, width=9, height=3, title="A tape within a tape: 4.9 t² differentiated twice")
    for index, (cell, values) in enumerate(zip(axes, fall(seconds), strict=True)):
        cell.plot(seconds, formulas[index], color="#888888", label="formula")
        cell.plot(
            seconds, values, ".", color=figures.COLORS[index], markersize=7, label="tape" if index else "computed"
        )
        cell.set_title(names[index])
        cell.set_xlabel("time (s)")
        cell.set_ylim(0, 21)
        cell.legend(fontsize=8, loc="upper left")
    return figure


def draw_errors(widths: np.ndarray, errors: dict[str, np.ndarray]) -> figures.Figure:
    """Wide finite differences are wrong by the curvature of the loss, narrow ones by rounding."""
    title = "Finite differences depend on their width; the tape is exact up to rounding"
    figure, cell = figures.subplots(width=8, height=4, title=title)
    for index, (name, values) in enumerate(errors.items()):
        style = {"color": figures.COLORS[index // 2], "label": f"{name}: {values.min():.0e}"}
        if len(values) == 1:
            cell.axhline(values[0], linestyle="--", **style)
        else:
            cell.plot(
                widths, values, marker="os"[index // 2], markersize=4, **style | {"label": f"{style['label']} at best"}
            )
    cell.set(
        xscale="log", yscale="log", xlabel="width h of the finite difference", ylabel="relative error of the gradient"
    )
    cell.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 0.1))
    return figure


# %% Measure


def measure(run: lesson.Run, final: np.ndarray, losses: np.ndarray, best: np.ndarray, train_set, test_set) -> None:
    """The classifier on test points, beside the best line and the best possible classifier."""
    run.metric("accuracy", accuracy(final, *test_set), "fraction", expected=(0.995, 0.9993))
    run.metric("accuracy_ideal", ideal_accuracy(), "fraction", expected=(0.9986, 0.9987))
    run.metric("final_loss", losses[-1], "", expected=(0.024, 0.04))
    run.metric("best_loss", loss_at(best, *train_set), "", expected=(0.022, 0.028))
    run.metric("line_slope", -final[0] / final[1], "", expected=(1, 1.8))
    curvatures = np.linalg.eigvalsh(curvature(train_set[0]))
    run.metric("largest_stable_rate", 2 / curvatures.max(), "", expected=(0.14, 0.155))
    run.metric("slowest_factor", 1 - run.config.learning_rate * curvatures.min(), "", expected=(0.95, 0.965))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Tensors, the tape, the clouds, the training, and the closed form beside it."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        run.text("tensors.txt", tensor_notes())
        run.say(f"d x^3 / dx at 2: {derivative(lambda x: x**3, 2.0):g}")
        for watch in (False, True):
            run.say(f"at a constant, watch={watch}: {derivative_at_constant(lambda x: x**3, 2.0, watch)}")
        run.figure("fall", draw_fall())

        counts = (settings.points, settings.test_points)
        train_set, test_set = (
            tuple(array[: settings.limit] for array in clouds(count, (settings.seed, part)))
            for part, count in enumerate(counts)
        )
        counts = {"training": len(train_set[0]), "test": len(test_set[0])}
        run.record_data("two Gaussian clouds", "synthetic", "this lesson", counts)
        classifier = LinearClassifier(settings.seed)
        with run.part("training"):
            losses, path = train(classifier, *train_set, settings.learning_rate, settings.steps)
        entries = [{"epoch": step, "loss": loss} for step, loss in enumerate(losses)]
        run.history("line", entries)
        best = best_parameters(*train_set)
        measure(run, path[-1], losses, best, train_set, test_set)
        run.figure("descent", draw_descent(*train_set, losses, path, loss_at(best, *train_set)), headline=True)
        run.gif("line", draw_frames(*train_set, losses, path))
        run.figure("valley", draw_valley(*train_set, path, best))
        widths = np.logspace(-12, 0, 25)
        errors = gradient_errors(*train_set, widths)
        run.metric("tape_error", errors["tape, float32"][0], "", expected=(0, 1e-5))
        run.metric("finite_difference_error", errors["finite difference, float32"].min(), "", expected=(1e-5, 1e-2))
        run.figure("errors", draw_errors(widths, errors))


if __name__ == "__main__":
    main()

# What to try next
# 1. --learning-rate 0.15: just above `largest_stable_rate`. How does it fail, and how fast?
# 2. --steps 400: the line continues to turn, until its slope is near 1. Does the accuracy increase, too?
# 3. Use the logistic loss, the mean of log(1 + exp(-s * prediction)) with s = -1 and 1 for the classes; its decision
#    boundary is where the prediction is 0. Which points have a large gradient at the end?
