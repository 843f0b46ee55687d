"""26 · Flow matching: the straight way from noise to garments, and guidance by class.

A GAN (lesson 13) makes a picture in one step, and must be trained against an opponent. Here the way from noise to a
picture is a flow: every point x moves with a velocity v(x, t) from time t = 0, where all points are Gaussian noise, to
t = 1, where they are pictures. The network learns v, by plain regression. Draw a noise x_0, a picture x_1 and a time t,
and go straight from one to the other:

    x_t = (1 - t) x_0 + t x_1          dx_t / dt = x_1 - x_0          loss = E |v(x_t, t) - (x_1 - x_0)|²

Many such lines cross at a point x, and the network cannot know which of them it is on. The best it can answer is their
mean, v(x, t) = E[x_1 - x_0 | x_t = x]. That is enough: the points that follow this mean velocity have, at every time,
the same distribution as the points on the lines (Lipman et al., theorem 2). So a picture is made by solving the
ordinary differential equation dx/dt = v(x, t) from noise. Nothing in it is random, and it can be solved backwards.

The network is told the class c of the garment, but in a tenth of the examples it is not, so it learns v(x, t, c) and
v(x, t) at once. Classifier-free guidance exaggerates the difference of the two:

    v_w(x, t, c) = v(x, t) + w (v(x, t, c) - v(x, t))

w = 0 is the unconditional model, w = 1 the conditional one; w > 1 gives clearer examples of a class, and fewer kinds.

What you will see: a plane of noise bent into two moons, with its velocities; garments by class; what one more
evaluation of the network is worth, by two solvers; the trade of diversity for fidelity; pictures taken back to their
own noise.

Run:    python src/26_FashionMNIST_flow_matching.py    about four minutes on two CPU cores
Makes:  output/26_FashionMNIST_flow_matching.png and output/26_FashionMNIST_flow_matching/
Source: Lipman et al., Flow Matching for Generative Modeling, arXiv:2210.02747;
        Liu, Gong & Liu, Flow Straight and Fast (rectified flow), arXiv:2209.03003;
        Esser et al., Scaling Rectified Flow Transformers (logit-normal times), arXiv:2403.03206;
        Ho & Salimans, Classifier-Free Diffusion Guidance, arXiv:2207.12598
"""

import dataclasses
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Annotated, ClassVar, Literal

from lessonkit import config, datasets, figures, judges, latents, metrics, training
from lessonkit import run as lesson
from lessonkit.figures import generated, plane
from lessonkit.layers import GroupNorm

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from sklearn.datasets import make_moons

CLASSES = 10

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small U-Net, for a CPU. `full` has the width and the steps that a GPU has time for."""

    steps: config.Count = 4_500
    batch_size: config.Count = 64  # twice as many steps of half the size learn more in the same time
    learning_rate: config.Rate = 2e-3  # at the start; it decays to zero along a cosine
    channels: tuple[config.Count, ...] = (16, 32, 48)  # of the U-Net at 14 x 14, 7 x 7, 4 x 4
    blocks: config.Count = 1  # residual blocks per level, on the way down and again on the way up
    logit_normal: bool = True  # times t = 1 / (1 + exp(-n)), n ~ N(0, 1): most in the middle; else uniform
    unlabelled: config.Fraction = 0.1  # share of the examples whose class is left out
    average: Annotated[float, config.Range(0, 0.9999)] = 0.999  # decay of the average of the weights, which samples
    sample_every: config.Count = 500  # steps from one picture of the same noise, and one checkpoint, to the next
    toy_steps: config.Count = 1_500  # of the training in the plane
    distribute: config.Alone = "none"  # a loop of its own
    # Below: what concerns the sampling alone. With --resume a finished training goes straight to it.
    sampler: Literal["euler", "heun"] = "heun"
    sampling_steps: config.Count = 8  # of the solver; Heun evaluates the network twice per step
    guidance: Annotated[float, config.Range(0, 20)] = 1.0  # w; 0 and 1 need one evaluation, any other needs two
    samples: Annotated[int, config.Range(20, 60_000)] = 10_000  # garments generated for the scores
    compared: Annotated[int, config.Range(20, 60_000)] = 2_000  # garments per point of the curves

    sampling_only: ClassVar = ("sampler", "sampling_steps", "guidance", "samples", "compared")


LARGE = {"steps": 100_000, "batch_size": 128, "learning_rate": 1e-3, "channels": (64, 128, 192), "blocks": 2}
LARGE |= {"average": 0.9999, "sampling_steps": 25, "sample_every": 2_000, "compared": 10_000}
TINY = {"steps": 4, "batch_size": 16, "channels": (8, 8), "limit": 200, "data": "embedded"}
TINY |= {"samples": 60, "compared": 20, "sampling_steps": 2, "sample_every": 2, "toy_steps": 4}
PRESETS = {"full": LARGE, "smoke": TINY}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in [-1, 1], centred as the noise is."""
    return images[..., None].astype("float32") / 127.5 - 1


def fixed_noise(count: int, seed: int, stream: int = 0) -> np.ndarray:
    """Gaussian noise (count, 28, 28, 1), the same at every call: pictures of two moments can be compared."""
    return latents.normal(count, 28 * 28, seed, stream).reshape(-1, 28, 28, 1)


def one_hot(labels: np.ndarray) -> np.ndarray:
    """Class numbers (n,) -> float32 (n, 10). A row of zeros, which no class has, says: class not given."""
    return np.eye(CLASSES, dtype="float32")[labels]


def balanced(count: int, seed: int) -> np.ndarray:
    """Class numbers (count,), as many of each, in random order: parts of the whole have all classes."""
    return np.random.default_rng(seed).permutation(np.arange(count) % CLASSES)


# %% Model

# A U-Net: down to small, wide feature maps that see the whole garment, and up again; skip connections carry the details
# across. First every block of 2 x 2 pixels becomes four channels: a quarter of the places, hence a quarter of the work.
# The time enters every residual block as a scale and a shift of its channels. It is first written as sines and cosines
# of many frequencies (an embedding), because a network cannot do much with one number. The class is added to it.
#
# The last convolution of every block, and the output, begin at zero: the untrained network answers a grey picture. A
# tanh holds the answer between black and white, and lets it be exactly black where nothing is.


def residual_block(hidden, condition, channels: int):
    """(batch, height, width, .) -> (batch, height, width, channels), told of time and class by `condition`."""
    skip = hidden if hidden.shape[-1] == channels else layers.Conv2D(channels, 1)(hidden)
    hidden = layers.Conv2D(channels, 3, padding="same")(ops.silu(GroupNorm()(hidden)))
    scale, shift = ops.split(layers.Dense(2 * channels)(condition)[:, None, None], 2, axis=-1)
    hidden = ops.silu(GroupNorm()(hidden) * (1 + scale) + shift)
    return skip + layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros")(hidden)


def build_network(settings: Config) -> keras.Model:
    """Points (batch, 28, 28, 1), times (batch, 1) in [0, 1], classes (batch, 10) -> pictures (batch, 28, 28, 1)."""
    points, times, classes = keras.Input((28, 28, 1)), keras.Input((1,)), keras.Input((CLASSES,))
    angles = times * np.geomspace(1, 100, 16).astype("float32")  # (batch, 16)
    embedding = layers.Dense(64, activation="silu")(ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1))
    condition = layers.Dense(64, activation="silu")(embedding + layers.Dense(64, use_bias=False)(classes))
    blocks = ops.transpose(ops.reshape(points, (-1, 14, 2, 14, 2)), (0, 1, 3, 2, 4))
    hidden = layers.Conv2D(settings.channels[0], 3, padding="same")(ops.reshape(blocks, (-1, 14, 14, 4)))
    skips = []
    for level, channels in enumerate(settings.channels):  # (batch, 14, 14, .), (batch, 7, 7, .), (batch, 4, 4, .)
        hidden = layers.AveragePooling2D(2, padding="same")(hidden) if level else hidden
        for _ in range(settings.blocks):
            hidden = residual_block(hidden, condition, channels)
            skips.append(hidden)
    for channels in reversed(settings.channels):
        size = skips[-1].shape[1]
        hidden = hidden if hidden.shape[1] == size else layers.UpSampling2D()(hidden)[:, :size, :size]
        for _ in range(settings.blocks):
            hidden = residual_block(ops.concatenate([hidden, skips.pop()], axis=-1), condition, channels)
    hidden = ops.silu(GroupNorm()(hidden))
    hidden = layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros", activation="tanh")(hidden)
    pixels = ops.transpose(ops.reshape(hidden, (-1, 14, 14, 2, 2)), (0, 1, 3, 2, 4))
    return keras.Model([points, times, classes], ops.reshape(pixels, (-1, 28, 28, 1)), name="picture")


# %% Train

# The network could be asked for the velocity itself. It would then have to reproduce the noise in x_t, value by value,
# through its narrow layers, and to find very small amounts of it near t = 1. Instead it answers the picture that it
# expects, E[x_1 | x_t], and the velocity follows:
#
#     x_1 - x_0 = (x_1 - x_t) / (1 - t)          v(x, t, c) = (network(x, t, c) - x) / (1 - t)
#
# The loss stays that of the velocity (compare Li & He, arXiv:2511.13720). Near t = 1 the division is limited.

LEAST_LEFT = 0.05  # what 1 - t is at least, where something is divided by it


class FlowMatching:
    """The network, the average of its weights, one training step, and the velocities that the solvers follow."""

    def __init__(self, settings: Config, build: Callable[[Config], keras.Model] = build_network):
        self.settings = settings
        self.network, self.averaged = build(settings), build(settings)
        self.averaged.set_weights(self.network.get_weights())
        self.optimizer = keras.optimizers.Adam(training.warm_up_cosine(settings.learning_rate, settings.steps))
        self.optimizer.build(self.network.trainable_variables)
        self.seed_generator = keras.random.SeedGenerator(settings.seed)

    @property
    def variables(self) -> list:
        """All that a step changes: what a checkpoint must hold."""
        parts = [self.network, self.averaged, self.optimizer]
        return [variable for part in parts for variable in part.variables] + [self.seed_generator.state]

    def times(self, count: int):
        """Times (count, 1) in (0, 1) for training."""
        if self.settings.logit_normal:
            return ops.sigmoid(keras.random.normal((count, 1), seed=self.seed_generator))
        return keras.random.uniform((count, 1), seed=self.seed_generator)

    @tf.function
    def train_step(self, examples) -> dict:
        """One step on pictures (batch, 28, 28, 1) and classes (batch, 10): the loss, per pixel."""
        images, classes = examples
        noise = keras.random.normal(images.shape, seed=self.seed_generator)
        times = self.times(len(images))
        given = keras.random.uniform((len(images), 1), seed=self.seed_generator) >= self.settings.unlabelled
        points, targets = between(noise, images, times)
        with tf.GradientTape() as tape:
            pictures = self.network([points, times, classes * ops.cast(given, "float32")], training=True)
            loss = ops.mean(ops.square(towards(pictures, points, times) - targets))
        variables = self.network.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        done = ops.cast(self.optimizer.iterations, "float32")  # steps, this one included
        decay = ops.minimum(self.settings.average, (1 + done) / (10 + done))  # the first weights are forgotten soon
        for average, current in zip(self.averaged.weights, self.network.weights, strict=True):
            average.assign(current + decay * (average - current))
        return {"loss": loss}

    @tf.function(reduce_retracing=True)
    def conditional(self, points, times, classes):
        """v(x, t, c) of points (batch, 28, 28, 1), times (batch, 1), classes (batch, 10), by the averaged network."""
        return towards(self.averaged([points, times, classes], training=False), points, times)

    def velocity(self, classes, guidance: float) -> Callable:
        """v_w(x, t, c) of Ho & Salimans' equation 6, written from the unconditional side: (points, time) -> array."""

        def guided(points, time):
            times = ops.full((len(points), 1), time)
            if guidance == 1:
                return self.conditional(points, times, classes)
            without = self.conditional(points, times, ops.zeros_like(classes))
            if guidance == 0:
                return without
            return without + guidance * (self.conditional(points, times, classes) - without)

        return guided

    def flow(self, points: np.ndarray, classes: np.ndarray, begin: float = 0, end: float = 1, **changes) -> np.ndarray:
        """Move points (n, 28, 28, 1) from time `begin` to `end`, with the settings' sampler or those in `changes`."""
        settings = dataclasses.replace(self.settings, **changes)
        solver, times = SOLVERS[settings.sampler], np.linspace(begin, end, settings.sampling_steps + 1)
        moved = [
            solver(
                self.velocity(ops.convert_to_tensor(classes[part]), settings.guidance),
                ops.convert_to_tensor(points[part]),
                times,
            )
            for part in training.parts(len(points), "garments")
        ]
        return np.concatenate(moved)

    def generate(self, noise: np.ndarray, labels: np.ndarray, **changes) -> np.ndarray:
        """Pictures (n, 28, 28) in [0, 1] of the classes `labels` (n,), from noise (n, 28, 28, 1)."""
        return np.clip((self.flow(noise, one_hot(labels), **changes)[..., 0] + 1) / 2, 0, 1)


def towards(pictures, points, times):
    """The velocity with which points would be at the pictures at t = 1; times (batch, 1)."""
    times = ops.reshape(times, (-1, *[1] * (len(points.shape) - 1)))
    return (pictures - points) / ops.maximum(1 - times, LEAST_LEFT)


def between(noise, images, times):
    """Points on the straight lines from noise (time 0) to images (time 1), and their velocities; times (batch, 1)."""
    times = ops.reshape(times, (-1, *[1] * (len(images.shape) - 1)))
    return (1 - times) * noise + times * images, images - noise


# Solvers of dx/dt = v(x, t): from the first to the last of the times, one step from each to the next. Euler's method
# follows the velocity at the beginning of a step. Heun's looks where that leads to, and follows the mean of the two
# velocities: two evaluations per step, and an error that falls with the square of the step. Only its last step, to
# t = 1, is Euler's: there the velocity is a quotient of two vanishing quantities.


def euler(velocity: Callable, points, times: Sequence[float]):
    """Points (n, ...) at the last of the times, by Euler's method."""
    for time, after in zip(times[:-1], times[1:], strict=True):
        points = points + (after - time) * velocity(points, time)
    return points


def heun(velocity: Callable, points, times: Sequence[float]):
    """Points (n, ...) at the last of the times, by Heun's method: 2 n - 1 evaluations for n steps to t = 1."""
    for time, after in zip(times[:-1], times[1:], strict=True):
        slope = velocity(points, time)
        if after < 1:
            slope = (slope + velocity(points + (after - time) * slope, after)) / 2
        points = points + (after - time) * slope
    return points


SOLVERS = {"euler": euler, "heun": heun}


def evaluations_of(sampler: str, steps: int) -> int:
    """Evaluations of v on the way from noise to pictures, in so many steps."""
    return 2 * steps - 1 if sampler == "heun" else steps


def train(run: lesson.Run, flow: FlowMatching, data: datasets.LabelledImages) -> lesson.History:
    """The training loop; every so many steps the garments of the same noise again, a column per class."""
    settings = run.config
    arrays = scaled(data.train.images), one_hot(data.train.labels)
    noise, labels = fixed_noise(100, settings.seed), np.tile(np.arange(CLASSES), 10)
    with run.loop(
        settings.steps,
        flow.variables,
        [flow.optimizer],
        name="flow",
        sample=lambda: figures.tile(flow.generate(noise, labels), columns=CLASSES),
        sample_every=settings.sample_every,
    ) as loop:
        for examples in loop.batches(training.Batches(arrays, settings.batch_size, settings.seed)):
            loop.log(flow.train_step(examples))
    return run.history("flow", loop.history, loop.samples)


# The same in the plane, where the velocities can be drawn: two moons, each a class.


def build_plane_network(settings: Config) -> keras.Model:
    """Points (batch, 2), times (batch, 1), classes (batch, 10) -> points (batch, 2) that belong to t = 1."""
    points, times, classes = keras.Input((2,)), keras.Input((1,)), keras.Input((CLASSES,))
    hidden = ops.concatenate([points, times, classes], axis=-1)
    for _ in range(3):
        hidden = layers.Dense(64, activation="silu")(hidden)
    return keras.Model([points, times, classes], layers.Dense(2)(hidden), name="plane")


def train_plane(run: lesson.Run) -> FlowMatching:
    """Learn the velocities from a Gaussian to two moons."""
    settings = dataclasses.replace(run.config, steps=run.config.toy_steps)
    points, labels = make_moons(4_000, noise=0.06, random_state=settings.seed)
    arrays = ((points - points.mean(0)) * 1.3).astype("float32"), one_hot(labels)
    moons = FlowMatching(settings, build_plane_network)
    with run.loop(settings.steps, moons.variables, [moons.optimizer], name="plane", sample_every=500) as loop:
        for examples in loop.batches(training.Batches(arrays, 256, settings.seed)):
            loop.log(moons.train_step(examples))
    return moons


# %% Look


def plane_frames(moons: FlowMatching, count: int, classes: np.ndarray) -> np.ndarray:
    """Points (61, count, 2) at the times 0, 1/60 ... 1, from Gaussian noise."""
    frames, velocity = [latents.normal(count, 2, moons.settings.seed)], moons.velocity(classes, 1)
    for place in range(60):
        frames.append(np.asarray(euler(velocity, frames[-1], [place / 60, (place + 1) / 60])))
    return np.stack(frames)


def draw_samples(images: np.ndarray, labels: np.ndarray, names, scores: judges.Scores, settings: Config):
    """The headline: the first twelve garments of every class, none chosen."""
    evaluations = evaluations_of(settings.sampler, settings.sampling_steps) * (1 if settings.guidance in (0, 1) else 2)
    quality = generated.quality(scores, "garments")
    title = f"Garments by class, none chosen, in {evaluations} evaluations of the network each: {quality}"
    return figures.image_grid([images[labels == label][:12] for label in range(CLASSES)], title, names, size=0.62)


def draw_way(flow: FlowMatching, names, columns: int = 9) -> tuple[figures.Figure, list[np.ndarray]]:
    """x_t of five classes on the way, under each where its velocity points to: x_t + (1 - t) v. And a GIF."""
    times = np.linspace(0, 1, columns)
    classes = one_hot(np.tile(np.arange(CLASSES), 10))
    points, velocity = fixed_noise(100, flow.settings.seed), flow.velocity(classes, flow.settings.guidance)
    frames, ends = [points], []
    for time, after in zip(times[:-1], times[1:], strict=True):
        ends.append(points + (1 - time) * velocity(points, time))
        for middle in np.linspace(time, after, 5)[:-1]:
            points = np.asarray(heun(velocity, points, [middle, middle + (after - time) / 4]))
            frames.append(points)
    pictures = [(np.asarray(points)[..., 0] + 1) / 2 for points in frames]
    ends = [(np.asarray(points)[..., 0] + 1) / 2 for points in [*ends, points]]
    rows, row_labels = [], []
    for label in (0, 1, 5, 7, 8):
        rows += [[picture[label] for picture in pictures[::4]], [end[label] for end in ends]]
        row_labels += [names[label], "where it points"]
    title = "From noise (t = 0) to garments (t = 1) in eighths, and where each moment already points to"
    figure = figures.image_grid(rows, title, row_labels, size=0.66)
    return figure, [figures.tile(picture, columns=CLASSES) for picture in pictures]


# %% Measure

# (low, high) of the default preset on real garments, and on drawn ones.
EXPECTED = {"fid": [(0.5, 2.5), (1, 5)], "precision": [(0.76, 0.92), (0.65, 0.88)], "kid_floor": [(-0.001, 0.008)]}
EXPECTED |= {"recall": [(0.65, 0.86), (0.5, 0.75)], "classes_covered": [(10, 10), (10, 10)]}
EXPECTED |= {"label_accuracy": [(0.72, 0.92), (0.85, 1)], "judge_accuracy": [(0.86, 0.91), (0.97, 1)]}
EXPECTED |= {"fid_floor": [(0.04, 0.08), (0.18, 0.36)], "nearest_test": [(0.12, 0.135), (0.09, 0.106)]}
EXPECTED |= {"inversion_psnr": [(35, 60), (35, 60)]}


def loss_by_time(flow: FlowMatching, data, times: np.ndarray) -> np.ndarray:
    """The loss of the averaged network on up to 500 test garments at every one of the times (n,)."""
    images, classes = scaled(data.test.images[:500]), one_hot(data.test.labels[:500])
    noise, losses = fixed_noise(len(images), flow.settings.seed, stream=4), []
    for time in times:
        points, targets = between(noise, images, np.full((len(images), 1), time, "float32"))
        losses.append(np.mean((flow.velocity(classes, 1)(points, time) - targets) ** 2))
    return np.array(losses)


def compare(run: lesson.Run, flow: FlowMatching, judge: judges.Judge, data, labels: np.ndarray) -> tuple:
    """Garments of the same noise by both solvers in 1 to 31 evaluations, and with guidance from 0 to 5.

    Returns the FID by solver and number of evaluations; scores, and the first 20 garments, by guidance.
    """
    noise, unit = fixed_noise(len(labels), flow.settings.seed, stream=3), f"({len(labels):,} garments, {judge.name})"
    train, fids, scores, garments = judge.features(data.train.images[: len(labels)]), {}, {}, {}
    for sampler, numbers in (("euler", (1, 3, 7, 15, 31)), ("heun", (1, 2, 4, 8, 16))):
        fids[sampler] = {}
        for steps in numbers:
            images = flow.generate(noise, labels, sampler=sampler, sampling_steps=steps, guidance=1)
            evaluations = evaluations_of(sampler, steps)
            fids[sampler][evaluations] = judges.fid(train, judge.features(images))
            run.metric(f"fid_{sampler}_{evaluations}", fids[sampler][evaluations], unit)
    for weight in (0, 1, 2, 3, 5):
        images = flow.generate(noise, labels, guidance=weight)
        scores[weight] = judges.scores(judge, images, data, labels)
        garments[weight] = np.concatenate([images[labels == label][:2] for label in range(CLASSES)])
        for name in ("fid", "precision", "recall", "label_accuracy"):
            run.metric(f"{name}_w{weight}", getattr(scores[weight], name), unit)
    return fids, scores, garments


def invert(flow: FlowMatching, data) -> tuple[np.ndarray, np.ndarray]:
    """Noises (n, 28, 28, 1) of up to 100 test garments, by the flow backwards, and the garments made of them again."""
    images, labels = data.test.images[:100], data.test.labels[:100]
    exactly = {"sampler": "heun", "sampling_steps": 4 * flow.settings.sampling_steps, "guidance": 1}
    noises = flow.flow(scaled(images), one_hot(labels), begin=1, end=0, **exactly)
    return noises, flow.generate(noises, labels, **exactly)


def measure(run: lesson.Run, flow: FlowMatching, data, judge: judges.Judge) -> tuple:
    """Generate garments with the settings' sampler and measure them: garments, their classes, the judge's scores."""
    settings = run.config
    labels, begin = balanced(settings.samples, settings.seed), perf_counter()
    images = flow.generate(fixed_noise(settings.samples, settings.seed, stream=2), labels)
    seconds = perf_counter() - begin
    scores = judges.scores(judge, images, data, labels)
    scores.report(run, EXPECTED, "garments")
    run.metric("judge_accuracy", judge.accuracy, "", *EXPECTED.get("judge_accuracy", ()))
    run.metric("seconds_per_1000_samples", 1_000 * seconds / settings.samples, "s")
    run.metric("parameters", flow.network.count_params(), "")
    run.keep_generated(images)
    return images, labels, scores


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """The plane; data, judge, network, training; scores, solvers, guidance, inversion, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        moons = train_plane(run)
        frames = plane_frames(moons, 1_000, one_hot(np.arange(1_000) % 2))
        title = "Two moons out of noise: points, and the velocities that move them"
        run.figure("plane", plane.draw(frames, moons.velocity(np.zeros((196, CLASSES), "float32"), 0), title))
        run.gif("plane", plane.frames_of(frames))
        data = datasets.fashion_mnist(run)
        run.require(10, training_pictures=len(data.train), test_pictures=len(data.test))
        judge = judges.judge(run, data)
        flow = FlowMatching(settings)
        block = keras.Input((14, 14, settings.channels[0])), keras.Input((64,))
        run.diagram(keras.Model(block, residual_block(*block, settings.channels[0])), "residual_block")
        history = train(run, flow, data)
        images, labels, scores = measure(run, flow, data, judge)
        run.figure("samples", draw_samples(images, labels, data.class_names, scores, settings), headline=True)
        run.figure("progress", generated.progress(history.frames, history.frame_steps, height=28))
        run.gif("training", history.frames)
        figure, way = draw_way(flow, data.class_names)
        run.figure("way", figure)
        run.gif("way", way)
        times = np.linspace(0.05, 0.95, 10)
        by_time = loss_by_time(flow, data, times)
        title = f"The loss cannot fall to zero: {by_time.mean():.2f} per pixel on test garments at uniform times"
        run.figure("losses", generated.losses(history, times, by_time, "time: 0 noise, 1 garment", title, "garments"))
        compared = balanced(min(settings.compared, len(data.train), len(data.test)), settings.seed)
        fids, by_guidance, examples = compare(run, flow, judge, data, compared)
        floor = judges.scores(judge, data.test.images[: len(compared)], data).fid
        run.figure("evaluations", generated.evaluations(fids, len(compared), floor, "garments"))
        run.figure("guidance", generated.guidance(by_guidance, examples, len(compared), "garments"))
        noises, back = invert(flow, data)
        psnr = metrics.psnr(data.test.images[: len(back)] / 255, back)
        run.metric("inversion_psnr", psnr, "dB", *EXPECTED.get("inversion_psnr", ()))
        rows = [data.test.images[:10], (noises[:10, ..., 0] + 3) / 6, back[:10]]
        title = f"Backwards to a garment's own noise, and forwards again: PSNR {psnr:.1f} dB"
        run.figure("inversion", figures.image_grid(rows, title, ["test", "its noise, -3 to 3", "and back"]))
        run.figure("nearest", generated.nearest(images, data.train.images, scores, "garment"))


if __name__ == "__main__":
    main()

# What to try next
# 1. --resume --guidance 3: the trained network goes straight to sampling. What has changed in the ten rows?
# 2. --no-logit-normal: times drawn uniformly. Which part of the loss by time falls, which rises, and what does FID say?
# 3. --resume --sampler euler --sampling-steps 1: one straight step. Why is the result the mean garment of each class?
