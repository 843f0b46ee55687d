"""25 · Diffusion: garments out of noise by a thousand small denoising steps, or by forty large ones.

To destroy a picture is easy: add a little Gaussian noise, a thousand times. Each step keeps a share of the signal,
and alpha_bar(t), the product of these shares, decreases from 1 to nearly 0. All t steps at once are one Gaussian:

    x_t = sqrt(alpha_bar(t)) x_0 + sqrt(1 - alpha_bar(t)) e          e ~ N(0, I)

If x_0 were known, the backward step from t to an earlier time s would be known, too: by Bayes' rule q(x_s | x_t, x_0)
is a Gaussian. The network estimates x_0 from x_t, its estimate is put in the place of x_0, x_s is drawn, and so on
until no noise is left. This is ancestral sampling (denoising diffusion probabilistic models, DDPM). The network is
trained by plain regression on pictures with noise of all levels. Its answer can be read in three ways, because x_t is
given: as the picture, as the noise, or as v, a mixture of the two that is a sensible target at all levels of noise:

    v = sqrt(alpha_bar) e - sqrt(1 - alpha_bar) x_0          loss = E |v_network(x_t, t) - v|²
    x_0 = sqrt(alpha_bar) x_t - sqrt(1 - alpha_bar) v        e = sqrt(1 - alpha_bar) x_t + sqrt(alpha_bar) v

The loss only ever sees x_t and x_0, never the way between them. So other ways with the same x_t will do: the implicit
models (DDIM) draw nothing, but reuse the noise that they find in x_t, and take much longer steps.

What you will see: a garment dissolved in noise and garments that form out of it; what more steps are worth to both
samplers; what the network loses at which noise level; garments with a hole, filled in several ways.

Run:    python src/25_FashionMNIST_diffusion.py        about four minutes on two CPU cores
Makes:  output/25_FashionMNIST_diffusion.png and output/25_FashionMNIST_diffusion/
Source: Ho, Jain & Abbeel, Denoising Diffusion Probabilistic Models, arXiv:2006.11239;
        Song, Meng & Ermon, Denoising Diffusion Implicit Models, arXiv:2010.02502;
        Nichol & Dhariwal, Improved DDPM (cosine schedule, fewer steps), arXiv:2102.09672;
        Salimans & Ho, Progressive Distillation (v-prediction), arXiv:2202.00512;
        Lugmayr et al., RePaint (inpainting), arXiv:2201.09865
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise
from time import perf_counter
from typing import Annotated, ClassVar, Literal

from lessonkit import config, datasets, figures, judges, latents, metrics, training
from lessonkit import run as lesson
from lessonkit.figures import denoising, generated
from lessonkit.layers import GroupNorm

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small U-Net, for a CPU. `full` has the width and the steps that a GPU has time for."""

    steps: config.Count = 5_500
    batch_size: config.Count = 64  # twice as many steps of half the size learn more in the same time
    learning_rate: config.Rate = 2e-3  # at the start; it decays to zero along a cosine
    channels: tuple[config.Count, ...] = (16, 32, 48)  # of the U-Net at 14 x 14, 7 x 7, 4 x 4
    blocks: config.Count = 1  # residual blocks per level, on the way down and again on the way up
    times: Annotated[int, config.Range(2, 10_000)] = 1_000  # T, the steps from a picture to noise
    schedule: Literal["cosine", "linear"] = "cosine"  # of alpha_bar; linear: the betas of Ho et al.
    prediction: Literal["x", "v", "epsilon"] = "x"  # what the network answers: the picture, v, or the noise (DDPM)
    average: Annotated[float, config.Range(0, 0.9999)] = 0.999  # decay of the average of the weights, which samples
    sample_every: config.Count = 550  # steps from one picture of the same noise, and one checkpoint, to the next
    distribute: config.Alone = "none"  # a loop of its own
    # Below: what concerns the sampling alone. With --resume a finished training goes straight to it.
    sampler: Literal["ddpm", "ddim"] = "ddim"
    eta: config.Fraction = 0.0  # of DDIM: 0 draws nothing on the way, 1 draws as much as DDPM
    sampling_steps: config.Count = 40  # evaluations of the network per garment
    ancestral_steps: config.Count = 1_000  # of sixty garments by DDPM, without shortcuts
    resamplings: config.Count = 5  # inpainting: so often is every step taken
    curve: tuple[config.Count, ...] = (5, 10, 20, 50)  # numbers of steps that both samplers are measured at
    samples: Annotated[int, config.Range(20, 60_000)] = 10_000  # garments generated for the scores
    compared: Annotated[int, config.Range(20, 60_000)] = 2_000  # garments per point of the curve

    sampling_only: ClassVar = ("sampler", "eta", "sampling_steps", "ancestral_steps", "resamplings", "curve")
    sampling_only += ("samples", "compared")


LARGE = {"steps": 100_000, "batch_size": 128, "learning_rate": 1e-3, "channels": (64, 128, 192), "blocks": 2}
LARGE |= {"average": 0.9999, "sampling_steps": 50, "sample_every": 2_000, "curve": (5, 10, 20, 50, 200)}
LARGE |= {"compared": 10_000}
TINY = {"steps": 4, "batch_size": 16, "channels": (8, 8), "limit": 200, "data": "embedded", "samples": 60}
TINY |= {"compared": 20, "sampling_steps": 3, "ancestral_steps": 6, "resamplings": 2, "curve": (2, 4)}
TINY |= {"sample_every": 2}
PRESETS = {"full": LARGE, "smoke": TINY}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in [-1, 1], centred as the noise is."""
    return images[..., None].astype("float32") / 127.5 - 1


def unscaled(points: np.ndarray) -> np.ndarray:
    """(n, 28, 28, 1) -> (n, 28, 28), from [-1, 1] to [0, 1]; what lies outside is cut off."""
    return np.clip((np.asarray(points)[..., 0] + 1) / 2, 0, 1)


def fixed_noise(count: int, seed: int, stream: int = 0) -> np.ndarray:
    """Gaussian noise (count, 28, 28, 1), the same at every call: pictures of two moments can be compared."""
    return latents.normal(count, 28 * 28, seed, stream).reshape(-1, 28, 28, 1)


# %% Forward

# The schedule. With the betas of Ho et al., alpha_bar decreases fast and the last quarter of the steps sees hardly
# more than noise; with fewer steps than 1,000 they leave a signal in x_T (250: 0.28 of it), which is missing when the
# sampling begins at pure noise. The cosine of Nichol & Dhariwal uses all levels evenly and ends at zero.


def alpha_bars(times: int, schedule: str) -> np.ndarray:
    """alpha_bar(t), float64 (times + 1,), for t = 0 (a picture: 1) to t = times (noise: nearly 0)."""
    if schedule == "linear":
        betas = np.linspace(1e-4, 0.02, times)
    else:
        levels = np.cos((np.arange(times + 1) / times + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - levels[1:] / levels[:-1], 0.999)
    return np.cumprod(np.concatenate([[1.0], 1 - betas]))


def forward(points, noise, before, after):
    """x_t from x_s, s < t: alpha_bar is `before` at s and `after` at t. From a picture, `before` is 1."""
    return (after / before) ** 0.5 * points + (1 - after / before) ** 0.5 * noise


# %% Model

# A U-Net: down to small, wide feature maps that see the whole garment, and up again; skip connections carry the details
# across. First every block of 2 x 2 pixels becomes four channels: a quarter of the places, hence a quarter of the work.
# The time enters every residual block as a scale and a shift of its channels. It is first written as sines and cosines
# of many frequencies (an embedding), because a network cannot do much with one number.
#
# The last convolution of every block, and the output, begin at zero: the untrained network answers 0, a grey picture. A
# tanh holds an answer that is a picture between black and white, and lets it be exactly black where nothing is.


def residual_block(hidden, condition, channels: int):
    """(batch, height, width, .) -> (batch, height, width, channels), told of the time by `condition`."""
    skip = hidden if hidden.shape[-1] == channels else layers.Conv2D(channels, 1)(hidden)
    hidden = layers.Conv2D(channels, 3, padding="same")(ops.silu(GroupNorm()(hidden)))
    scale, shift = ops.split(layers.Dense(2 * channels)(condition)[:, None, None], 2, axis=-1)
    hidden = ops.silu(GroupNorm()(hidden) * (1 + scale) + shift)
    return skip + layers.Conv2D(channels, 3, padding="same", kernel_initializer="zeros")(hidden)


def build_network(settings: Config) -> keras.Model:
    """Points (batch, 28, 28, 1), times (batch, 1) as a share of T -> answers (batch, 28, 28, 1)."""
    points, times = keras.Input((28, 28, 1)), keras.Input((1,))
    angles = times * np.geomspace(1, 100, 16).astype("float32")  # (batch, 16)
    embedding = layers.Dense(64, activation="silu")(ops.concatenate([ops.sin(angles), ops.cos(angles)], axis=-1))
    condition = layers.Dense(64, activation="silu")(embedding)
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
    hidden, activation = ops.silu(GroupNorm()(hidden)), "tanh" if settings.prediction == "x" else None
    hidden = layers.Conv2D(4, 3, padding="same", kernel_initializer="zeros", activation=activation)(hidden)
    pixels = ops.transpose(ops.reshape(hidden, (-1, 14, 14, 2, 2)), (0, 1, 3, 2, 4))
    return keras.Model([points, times], ops.reshape(pixels, (-1, 28, 28, 1)), name="denoiser")


# %% Train

# The estimate of x_0 follows from each of the three answers, with a = sqrt(alpha_bar), s = sqrt(1 - alpha_bar):
#
#     x_0 = answer          x_0 = a x_t - s answer (v)          x_0 = (x_t - s answer) / a (epsilon)
#
# and so do their errors: e_x = -s e_v = -(s / a) e_epsilon. So the loss of v is the squared error of the picture times
# 1 / s², and the loss of the noise is that times a²: it hardly counts what is wrong where there is much noise, though
# there the shape of a garment is decided. A network that answers v or the noise has to reproduce the noise in x_t,
# value by value, through its narrow layers; one that answers the picture need not (compare Li & He, arXiv:2511.13720).
# Here it answers the picture, and the loss is that of v, its weight limited where there is next to no noise.

LEAST_NOISE = 0.01  # what 1 - alpha_bar is at least, where something is divided by it


class Diffusion:
    """The network, the average of its weights, one training step, and the denoiser that the samplers use.

    Args:
        build: makes the network, (points, times / T) -> answers.
    """

    def __init__(self, settings: Config, build: Callable[[Config], keras.Model] = build_network):
        self.settings = settings
        self.alpha_bar = alpha_bars(settings.times, settings.schedule)
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

    def levels(self, times, dimensions: int = 4):
        """alpha_bar, float32 (batch, 1, 1, 1), of times (batch, 1)."""
        return ops.reshape(ops.take(self.alpha_bar.astype("float32"), times), (-1, *[1] * (dimensions - 1)))

    @tf.function
    def train_step(self, images) -> dict:
        """One step on pictures (batch, 28, 28, 1), each with noise of a time of its own: the loss, per pixel."""
        noise = keras.random.normal(images.shape, seed=self.seed_generator)
        times = keras.random.randint((len(images), 1), 1, self.settings.times + 1, seed=self.seed_generator)
        level = self.levels(times, len(images.shape))
        points = forward(images, noise, 1.0, level)
        with tf.GradientTape() as tape:
            estimates = self.estimate(self.network, points, times)
            loss = ops.mean(self.weight(level) * ops.square(estimates - images))
        variables = self.network.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        done = ops.cast(self.optimizer.iterations, "float32")  # steps, this one included
        decay = ops.minimum(self.settings.average, (1 + done) / (10 + done))  # the first weights are forgotten soon
        for average, current in zip(self.averaged.weights, self.network.weights, strict=True):
            average.assign(current + decay * (average - current))
        return {"loss": loss}

    def weight(self, level):
        """Of the picture's squared error in the loss, by alpha_bar: it becomes the error of v, or of the noise."""
        return (level if self.settings.prediction == "epsilon" else 1.0) / ops.maximum(1 - level, LEAST_NOISE)

    def estimate(self, network: keras.Model, points, times):
        """The network's estimate of x_0, not clipped, from points (batch, ...) at times (batch, 1)."""
        level = self.levels(times, len(points.shape))
        answer = network([points, ops.cast(times, "float32") / self.settings.times], training=network is self.network)
        if self.settings.prediction == "x":
            return answer
        if self.settings.prediction == "v":
            return level**0.5 * points - (1 - level) ** 0.5 * answer
        return (points - (1 - level) ** 0.5 * answer) / level**0.5

    @tf.function(reduce_retracing=True)
    def clean(self, points, times):
        """The averaged network's estimate of x_0, clipped to [-1, 1], from points (batch, ...) at times (batch, 1)."""
        return ops.clip(self.estimate(self.averaged, points, times), -1, 1)

    def denoise(self, points, time: int):
        """The same for samplers, which have all points at one time."""
        return self.clean(points, ops.full((len(points), 1), time, dtype="int32"))

    def generate(self, noise: np.ndarray, stream: int = 0, **changes) -> np.ndarray:
        """Pictures (n, 28, 28) in [0, 1] from noise (n, 28, 28, 1), with the settings' sampler or `changes` of it."""
        settings, images = dataclasses.replace(self.settings, **changes), []
        times = spaced(settings.times, settings.sampling_steps)
        step = ddpm if settings.sampler == "ddpm" else partial(ddim, eta=settings.eta)
        for part in training.parts(len(noise), "garments"):
            seeds = keras.random.SeedGenerator(settings.seed + 100_000 * stream + part.start)
            begin = ops.convert_to_tensor(noise[part])
            for _, points, _ in reverse(self.denoise, self.alpha_bar, times, begin, step, seeds):
                end = points
            images.append(unscaled(end))
        return np.concatenate(images)


def train(run: lesson.Run, diffusion: Diffusion, data: datasets.LabelledImages) -> lesson.History:
    """The training loop; every so many steps the garments of the same noise again."""
    settings = run.config
    noise = fixed_noise(100, settings.seed)
    with run.loop(
        settings.steps,
        diffusion.variables,
        [diffusion.optimizer],
        name="diffusion",
        sample=lambda: figures.tile(diffusion.generate(noise), columns=10),
        sample_every=settings.sample_every,
    ) as loop:
        for images in loop.batches(training.Batches(scaled(data.train.images), settings.batch_size, settings.seed)):
            loop.log(diffusion.train_step(images))
    return run.history("diffusion", loop.history, loop.samples)


# %% Backward

# One step from x_t to x_s. Both samplers give a mean and a deviation, and differ in how much of the noise in x_t they
# keep and how much they draw anew. With eta = 1 DDIM draws as much as DDPM, and is the same. Neither asks the network
# for the noise: it is what lies between x_t and the (clipped) estimate of x_0, so that the two always belong together.
# At s = 0 alpha_bar is 1, and the deviation is 0: the last step adds no noise.


def ddpm(points, clean, now: float, then: float) -> tuple:
    """Mean and deviation of q(x_s | x_t, x_0), s < t: alpha_bar is `now` at t, `then` at s (Ho et al., eq. 7)."""
    beta = 1 - now / then  # of the step from s to t, however long
    mean = (then**0.5 * beta * clean + (now / then) ** 0.5 * (1 - then) * points) / (1 - now)
    return mean, ((1 - then) / (1 - now) * beta) ** 0.5


def ddim(points, clean, now: float, then: float, eta: float = 0.0) -> tuple:
    """Mean and deviation of x_s for DDIM (Song et al., eq. 12 and 16); the noise in x_t is used again."""
    noise = (points - now**0.5 * clean) / (1 - now) ** 0.5
    deviation = eta * ((1 - then) / (1 - now) * (1 - now / then)) ** 0.5
    return then**0.5 * clean + (1 - then - deviation**2) ** 0.5 * noise, deviation


def spaced(last: int, steps: int) -> list[int]:
    """Times from `last` down to 0 in so many steps, as evenly as whole numbers allow; at most `last` steps."""
    return sorted({round(last * step / steps) for step in range(steps + 1)}, reverse=True)


def drawn(mean, deviation: float, seeds: keras.random.SeedGenerator):
    """A draw from the Gaussian; nothing is drawn where the deviation is 0."""
    return mean + deviation * keras.random.normal(mean.shape, dtype=mean.dtype, seed=seeds) if deviation else mean


def reverse(denoise: Callable, alpha_bar, times: Sequence[int], points, step: Callable, seeds) -> Iterator[tuple]:
    """The backward process from points at the first of the times: yields (s, x_s, the estimate of x_0 used) at each.

    Args:
        denoise: (points, time) -> estimate of x_0.
        alpha_bar: (T + 1,).
    """
    for time, earlier in pairwise(times):
        clean = denoise(points, time)
        points = drawn(*step(points, clean, float(alpha_bar[time]), float(alpha_bar[earlier])), seeds)
        yield earlier, points, clean


# Inpainting needs no new training. At every step the visible pixels are replaced by the given ones with noise of that
# level, and only the hole is the model's. But the two have been drawn apart, and the next step cannot bring them quite
# together. RePaint goes forward again by the same step and repeats it, so that the hole can follow what surrounds it.


def inpaint(denoise: Callable, alpha_bar, times: Sequence[int], images, visible, repeats: int, seeds):
    """Fill pictures (n, ...) where `visible`, of the shape of one, is False; the other values stay as they are."""
    points = keras.random.normal(images.shape, dtype=images.dtype, seed=seeds)
    for time, earlier in pairwise(times):
        now, then = float(alpha_bar[time]), float(alpha_bar[earlier])
        for again in reversed(range(repeats)):
            hole = drawn(*ddpm(points, denoise(points, time), now, then), seeds)
            given = forward(images, keras.random.normal(images.shape, dtype=images.dtype, seed=seeds), 1.0, then)
            points = ops.where(visible, given, hole)
            if again:
                points = forward(points, keras.random.normal(images.shape, dtype=images.dtype, seed=seeds), then, now)
    return points


# %% Look


def sheet(images: np.ndarray, title: str) -> figures.Figure:
    """Garments (n, 28, 28) in rows of 20."""
    columns = min(20, len(images))
    return figures.image_grid(images[: len(images) // columns * columns].reshape(-1, columns, 28, 28), title, size=0.5)


def ancestral(diffusion: Diffusion) -> list[tuple]:
    """(time, x_t, the estimate of x_0 that led there) of 60 garments by DDPM, at the start and some 32 later times."""
    settings = diffusion.settings
    times, seeds = spaced(settings.times, settings.ancestral_steps), keras.random.SeedGenerator(settings.seed)
    begin, every = ops.convert_to_tensor(fixed_noise(60, settings.seed)), max(1, (len(times) - 1) // 32)
    kept = [(settings.times, begin, diffusion.denoise(begin, settings.times))]
    steps = reverse(diffusion.denoise, diffusion.alpha_bar, times, begin, ddpm, seeds)
    for place, state in enumerate(training.progress(steps, len(times) - 1, "60 garments by DDPM")):
        if (len(times) - 2 - place) % every == 0:  # the last one is among them
            kept.append(state)
    return [(time, unscaled(points), unscaled(clean)) for time, points, clean in kept]


def dissolved(diffusion: Diffusion, images: np.ndarray, times: Sequence[int]) -> list[np.ndarray]:
    """x_t (n, 28, 28) in [0, 1] of uint8 pictures (n, 28, 28) at increasing times, step by step as one process."""
    points, levels, ways = scaled(images), diffusion.alpha_bar[list(times)], []
    noises = fixed_noise(len(images) * len(times), diffusion.settings.seed, stream=5).reshape(-1, *points.shape)
    for noise, before, after in zip(noises, [1.0, *levels[:-1]], levels, strict=True):
        points = forward(points, noise, before, after)
        ways.append(unscaled(points))
    return ways


def draw_way(diffusion: Diffusion, kept: list[tuple], data) -> tuple[figures.Figure, list[np.ndarray]]:
    """Forward: x_t of test garments. Backward: x_t of others, under each the estimate of x_0. And a GIF of both."""
    times = spaced(diffusion.settings.times, 16)[::-1]
    there = list(zip(times, dissolved(diffusion, data.test.images[:30], times), strict=True))
    title = f"Into noise and out of it: at T, {diffusion.alpha_bar[-1] ** 0.5:.1g} of a garment's signal is left"
    ways = [pictures for _, pictures in there] + [pictures[: len(there[0][1])] for _, pictures, _ in kept]
    return denoising.there_and_back(there, kept, title), [figures.tile(pictures, columns=10) for pictures in ways]


# %% Measure

# (low, high) of the default preset on real garments, and on drawn ones.
EXPECTED = {"fid": [(1.5, 5), (2.5, 8)], "precision": [(0.74, 0.9), (0.5, 0.8)]}
EXPECTED |= {"recall": [(0.54, 0.8), (0.45, 0.75)], "classes_covered": [(10, 10), (10, 10)]}


def errors_by_time(diffusion: Diffusion, data, times: Sequence[int]) -> np.ndarray:
    """Mean squared error of the picture on up to 1,000 test garments at every one of the times (n,)."""
    images, losses = scaled(data.test.images[:1_000]), []
    noise = fixed_noise(len(images), diffusion.settings.seed, stream=4)
    for time in times:
        points = forward(images, noise, 1.0, float(diffusion.alpha_bar[time]))
        parts = [diffusion.denoise(points[part], time) for part in training.parts(len(points), "garments")]
        losses.append(np.mean((np.concatenate(parts) - images) ** 2))
    return np.array(losses)


def by_steps(run: lesson.Run, diffusion: Diffusion, judge: judges.Judge, data) -> figures.Figure:
    """FID by sampler and number of steps, all from the same noise; a metric for each, and the figure."""
    count = min(run.config.compared, len(data.train), len(data.test))
    train, noise, table = judge.features(data.train.images[:count]), fixed_noise(count, run.config.seed, stream=3), {}
    for name in ("ddim", "ddpm"):
        table[name.upper()] = by_count = {}
        for steps in sorted(run.config.curve):
            images = diffusion.generate(noise, stream=3, sampler=name, sampling_steps=steps, eta=0.0)
            by_count[steps], metric = judges.fid(train, judge.features(images)), f"fid_{name}_{steps}"
            run.metric(metric, by_count[steps], f"({count:,} garments, {judge.name})", *EXPECTED.get(metric, ()))
    return generated.evaluations(table, count, judges.fid(train, judge.features(data.test.images[:count])), "garments")


def box(height: int, width: int) -> np.ndarray:
    """False (height, width, 1) in a box of half the height and half the width in the middle, True around it."""
    visible = np.ones((height, width, 1), bool)
    visible[height // 4 : height // 4 + height // 2, width // 4 : width // 4 + width // 2] = False
    return visible


def measure_inpainting(run: lesson.Run, diffusion: Diffusion, data, draws: int = 4) -> figures.Figure:
    """Fill a hole in up to 64 test garments, `draws` times each; its PSNR beside those of guesses without the model."""
    settings, images, visible = run.config, data.test.images[:64] / 255, box(28, 28)
    times, seeds = spaced(settings.times, settings.sampling_steps), keras.random.SeedGenerator(settings.seed)
    several = np.tile(scaled(data.test.images[:64]), (draws, 1, 1, 1))
    filled = inpaint(diffusion.denoise, diffusion.alpha_bar, times, several, visible, settings.resamplings, seeds)
    filled, shown, train = unscaled(filled).reshape(draws, *images.shape), visible[..., 0], data.train.images
    nearest = train[metrics.nearest((images * shown).astype("float32"), train * shown)[0]] / 255
    guesses = {"one": filled[0], "mean": filled.mean(0), "nearest_garment": nearest}
    guesses["mean_garment"] = np.broadcast_to(train.mean(0) / 255, images.shape)
    psnr = {f"inpainting_psnr_{name}": metrics.psnr(images[:, ~shown], guesses[name][:, ~shown]) for name in guesses}
    for name, value in psnr.items():
        run.metric(name, value, f"dB in the hole ({len(images)} garments)", *EXPECTED.get(name, ()))
    title = "PSNR in the hole: one filling {0:.1f} dB, mean of {4} {1:.1f} dB, nearest garment {2:.1f} dB"
    return denoising.fillings(images, shown, filled, nearest, title.format(*psnr.values(), draws))


def measure(run: lesson.Run, diffusion: Diffusion, data, judge: judges.Judge) -> tuple:
    """Generate garments with the settings' sampler and measure them: garments and the judge's scores."""
    noise, begin = fixed_noise(run.config.samples, run.config.seed, stream=2), perf_counter()
    images = diffusion.generate(noise, stream=2)
    seconds = perf_counter() - begin
    scores = judges.scores(judge, images, data)
    scores.report(run, EXPECTED, "garments")
    run.metric("seconds_per_1000_samples", 1_000 * seconds / len(images), "s")
    run.metric("parameters", diffusion.network.count_params(), "")
    run.keep_generated(images)
    return images, scores


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, network, training; scores, the way there and back, samplers, noise levels, inpainting, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        data = datasets.fashion_mnist(run)
        run.require(10, training_pictures=len(data.train), test_pictures=len(data.test))
        judge = judges.judge(run, data)
        diffusion = Diffusion(settings)
        inputs = keras.Input((14, 14, 16)), keras.Input((64,))  # one block: the diagram of all is too large for `dot`
        run.diagram(keras.Model(inputs, residual_block(*inputs, 16)), "residual_block")
        history = train(run, diffusion, data)
        images, scores = measure(run, diffusion, data, judge)
        steps = f"{settings.sampler.upper()} in {settings.sampling_steps} steps"
        title = f"Garments by {steps}, none chosen: {generated.quality(scores, 'garments')}"
        run.figure("samples", sheet(images[:160], title), headline=True)
        run.figure("progress", generated.progress(history.frames, history.frame_steps, height=28))
        run.gif("training", history.frames)
        kept = ancestral(diffusion)
        title = f"Garments by ancestral sampling (DDPM), {settings.ancestral_steps:,} steps, none chosen"
        run.figure("ancestral", sheet(kept[-1][1], title))
        figure, frames = draw_way(diffusion, kept, data)
        run.figure("way", figure)
        run.gif("way", frames)
        times = sorted({max(1, round(settings.times * share)) for share in np.linspace(0, 1, 21)})
        errors, level = errors_by_time(diffusion, data, times), diffusion.alpha_bar[times]
        loss = np.mean(np.asarray(diffusion.weight(level)) * errors)
        run.metric("test_loss", loss, f"(mean over {len(times)} times)", *EXPECTED.get("test_loss", ()))
        schedules = {schedule: alpha_bars(settings.times, schedule) for schedule in ("cosine", "linear")}
        title = f"What the network gets wrong: loss {loss:.2g} on test garments, mean over the times"
        run.figure("curves", denoising.levels(history, schedules, times, errors, level, title))
        run.figure("steps", by_steps(run, diffusion, judge, data))
        run.figure("inpainting", measure_inpainting(run, diffusion, data))
        run.figure("nearest", generated.nearest(images, data.train.images, scores, "garment"))


if __name__ == "__main__":
    main()

# What to try next
# 1. --resume --sampler ddpm: the trained network goes straight to sampling. What differs?
# 2. --prediction epsilon: the network and the loss with which DDPM was published. Which noise levels does it neglect?
# 3. --resume --sampling-steps 1: one step from pure noise. Why are all the garments the same, and which one is it?
