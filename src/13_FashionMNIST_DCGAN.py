"""13 · DCGAN on Fashion-MNIST: the training loop by hand, and what keeps two networks in balance.

Lesson 12 introduces the game: a generator G makes pictures, a discriminator D distinguishes them from real ones, and
each is trained against the other. Such a training can fail in three ways. One network wins, and the other's gradient
vanishes; the generator makes only the few pictures that pass (mode collapse); or both move in circles. In 2015 Radford,
Metz and Chintala found convolutional networks that can be trained for long without any of that. Their recipe is the
deep convolutional GAN (DCGAN):

    no pooling: strided convolutions in D, strided transposed convolutions in G, so both learn their own resampling
    batch normalisation, but neither after G's output nor before D's input
    leaky ReLU in D; tanh at G's output, so the data are scaled to [-1, 1]
    Adam with a small learning rate and beta_1 = 0.5

Both losses are computed in one forward pass, and both networks take their step at the same time. With logits l(x) of
the discriminator, so that D(x) = 1 / (1 + exp(-l(x))), and z drawn from a Gaussian in 100 dimensions:

    loss_D = - mean log D(x)  -  mean log(1 - D(G(z)))        gradient with respect to D's weights only
    loss_G = - mean log D(G(z))                               gradient with respect to G's weights only

What you will see: garments that form out of noise, always from the same latents; what losses and accuracies show, and
what they hide; every class that the generator makes; the nearest training pictures; paths through latent space.

Run:    python src/13_FashionMNIST_DCGAN.py        about three minutes on two CPU cores
Makes:  output/13_FashionMNIST_DCGAN.png and output/13_FashionMNIST_DCGAN/
Source: Radford, Metz & Chintala, Unsupervised Representation Learning with DCGANs, arXiv:1511.06434;
        Lucic et al., Are GANs Created Equal?, arXiv:1711.10337 (tuned GANs on this data set, measured)
"""

import dataclasses
import sys
from collections.abc import Sequence
from time import perf_counter
from typing import Annotated

from lessonkit import config, datasets, figures, judges, latents, metrics, training
from lessonkit import run as lesson
from lessonkit.figures import games, generated
from lessonkit.layers import predict_by_batch

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from scipy.special import expit

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Small networks and a high rate, for a CPU. `full` has the tutorials' settings: hours without a GPU."""

    steps: config.Count | None = 6_000  # of both networks at once
    distribute: config.Alone = "none"  # a loop of its own
    batch_size: config.Count = 64  # real garments in a step, and as many generated ones
    learning_rate: config.Rate = 1e-3  # of both networks, at the start
    decay: bool = True  # the rate decays to zero along a cosine; else it is constant
    momentum: config.Fraction = 0.5  # Adam's beta_1: with 0.9 it averages gradients of an opponent that has changed
    latent_dim: config.Count = 100  # numbers that a garment is made from, each normal with mean 0 and variance 1
    generator_channels: tuple[config.Count, config.Count, config.Count] = (64, 64, 32)  # at 7 x 7 twice, at 14 x 14
    discriminator_channels: tuple[config.Count, ...] = (32, 64, 128)  # at 14 x 14, 7 x 7, 4 x 4
    kernel_size: Annotated[int, config.Range(2, 7)] = 4  # a multiple of the stride: every pixel gets as many terms
    slope: config.Fraction = 0.2  # of the leaky ReLU below 0
    normalise_both: bool = True  # batch normalisation in both networks, as in the paper; tutorials: in G only
    dropout: Annotated[float, config.Range(0, 0.95)] = 0.1  # in the discriminator
    average: Annotated[float, config.Range(0, 0.9999)] = 0.999  # decay of the average of the generator's weights
    samples: Annotated[int, config.Range(20, 60_000)] = 10_000  # garments generated for the scores
    sample_every: config.Count = 300  # steps from one picture of the same latents, and one checkpoint, to the next


PRESETS = {
    "full": {
        "steps": None,
        "epochs": 100,
        "batch_size": 256,
        "learning_rate": 1e-4,
        "decay": False,
        "momentum": 0.9,
        "generator_channels": (256, 128, 128),
        "discriminator_channels": (64, 128),
        "normalise_both": False,
        "kernel_size": 5,
        "slope": 0.3,
        "dropout": 0.3,
        "average": 0.0,
        "sample_every": 1_170,  # five epochs of 234 steps
    },
    "smoke": {"steps": 4, "batch_size": 16, "limit": 200, "data": "embedded", "samples": 100, "sample_every": 2},
}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in [-1, 1], which is also the range of the generator's tanh."""
    return images[..., None].astype("float32") / 127.5 - 1


def fixed_latents(count: int, settings: Config, stream: int = 0) -> np.ndarray:
    """Latents (count, latent_dim) that are the same at every call: only so can pictures of two moments be compared."""
    return latents.normal(count, settings.latent_dim, settings.seed, stream)


# %% Model

# The generator's layers have no bias: batch normalisation would subtract it again. Its running averages follow within
# some ten steps (momentum 0.9), because they are used for every picture that is shown.


def build_generator(settings: Config) -> keras.Model:
    """Latents (batch, latent_dim) -> pictures (batch, 28, 28, 1) in [-1, 1]."""

    def normalised(hidden):
        return layers.LeakyReLU(negative_slope=settings.slope)(layers.BatchNormalization(momentum=0.9)(hidden))

    def transposed(channels, strides, **options):
        return layers.Conv2DTranspose(
            channels, settings.kernel_size, strides, padding="same", use_bias=False, **options
        )

    first, second, third = settings.generator_channels
    inputs = keras.Input((settings.latent_dim,))
    hidden = normalised(layers.Dense(7 * 7 * first, use_bias=False)(inputs))
    hidden = layers.Reshape((7, 7, first))(hidden)  # (batch, 7, 7, first)
    hidden = normalised(transposed(second, strides=1)(hidden))  # (batch, 7, 7, second)
    hidden = normalised(transposed(third, strides=2)(hidden))  # (batch, 14, 14, third)
    images = transposed(1, strides=2, activation="tanh")(hidden)  # (batch, 28, 28, 1)
    return keras.Model(inputs, images, name="generator")


# In the discriminator, batch normalisation gives real and generated batches the same scale, each by its own statistics.
# Its price: D(x) depends on the other pictures of the batch. The first layer has none, so that brightness is not lost.


def build_discriminator(settings: Config) -> keras.Model:
    """Pictures (batch, 28, 28, 1) in [-1, 1] -> one logit each, (batch, 1): the higher, the more probably real."""
    images = keras.Input((28, 28, 1))
    hidden = images
    for layer, channels in enumerate(settings.discriminator_channels):  # (batch, 14, 14, .), then 7 x 7, then 4 x 4
        normalise = settings.normalise_both and layer > 0
        convolution = layers.Conv2D(channels, settings.kernel_size, 2, padding="same", use_bias=not normalise)
        hidden = convolution(hidden)
        if normalise:
            hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        hidden = layers.Dropout(settings.dropout)(layers.LeakyReLU(negative_slope=settings.slope)(hidden))
    logits = layers.Dense(1)(layers.Flatten()(hidden))  # (batch, 1)
    return keras.Model(images, logits, name="discriminator")


# %% Train

# Two gradient tapes record one forward pass, one for each loss. This is what a loop by hand is for: `fit` knows one
# loss and one optimizer. `tf.function` compiles the step into a graph, which leaves out what no result depends on, such
# as the gradient of loss_D with respect to G's weights.
#
# The weights of both networks keep moving; a running average of the generator's lies nearer to the centre of that
# movement. It makes all the pictures that are shown.

cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)  # targets, logits -> mean, in nats


class DCGAN:
    """Two networks, two optimizers, and one compiled step for all of them."""

    def __init__(self, settings: Config, steps: int | None = None):
        """steps: of the whole training, over which the learning rate decays; `settings.steps` if not given."""
        self.settings = settings
        self.generator, self.discriminator = build_generator(settings), build_discriminator(settings)
        self.averaged = keras.models.clone_model(self.generator)  # its weights: a running average of the generator's
        self.averaged.set_weights(self.generator.get_weights())
        rate = settings.learning_rate
        if settings.decay:
            rate = training.warm_up_cosine(rate, steps or settings.steps)
        self.generator_optimizer = keras.optimizers.Adam(rate, beta_1=settings.momentum)
        self.discriminator_optimizer = keras.optimizers.Adam(rate, beta_1=settings.momentum)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.seed_generator = keras.random.SeedGenerator(settings.seed)

    @property
    def variables(self) -> list:
        """All that a step changes: what a checkpoint must hold."""
        parts = [self.generator, self.discriminator, self.averaged]
        parts += [self.generator_optimizer, self.discriminator_optimizer]
        return [variable for part in parts for variable in part.variables] + [self.seed_generator.state]

    @tf.function
    def train_step(self, real) -> dict:
        """One step of both networks on real pictures (batch, 28, 28, 1); losses and accuracies before that step."""
        count = real.shape[0]
        random = keras.random.normal((count, self.settings.latent_dim), seed=self.seed_generator)
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            fake = self.generator(random, training=True)  # batch normalisation uses the statistics of this batch
            real_logits = self.discriminator(real, training=True)
            fake_logits = self.discriminator(fake, training=True)
            real_loss = cross_entropy(ops.ones((count, 1)), real_logits)
            fake_loss = cross_entropy(ops.zeros((count, 1)), fake_logits)
            discriminator_loss = real_loss + fake_loss
            generator_loss = cross_entropy(ops.ones((count, 1)), fake_logits)
        for tape, loss, model, optimizer in (
            (generator_tape, generator_loss, self.generator, self.generator_optimizer),
            (discriminator_tape, discriminator_loss, self.discriminator, self.discriminator_optimizer),
        ):
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        for average, current in zip(self.averaged.weights, self.generator.weights, strict=True):
            average.assign(current + self.average_decay * (average - current))
        return {
            "generator_loss": generator_loss,
            "discriminator_loss": discriminator_loss,
            "accuracy_real": ops.mean(ops.cast(real_logits > 0, "float32")),
            "accuracy_fake": ops.mean(ops.cast(fake_logits < 0, "float32")),
        }

    @property
    def average_decay(self):
        """That of the running average: smaller in the first steps, whose weights should be forgotten soon."""
        done = ops.cast(self.generator_optimizer.iterations, "float32")  # steps, this one included
        return ops.minimum(self.settings.average, done / (10 + done))

    def generate(self, latents: np.ndarray) -> np.ndarray:
        """Pictures (n, 28, 28) in [0, 1] by the averaged generator; their contrast is left as it is."""
        return (self.averaged.predict(latents, batch_size=500, verbose=0)[..., 0] + 1) / 2

    def verdicts(self, images: np.ndarray) -> np.ndarray:
        """D(x) (n,) of pictures (n, 28, 28, 1) in [-1, 1], all real or all generated: the probability of being real.

        Without dropout, but with the statistics of each batch, as in a step.
        """
        return expit(predict_by_batch(self.discriminator, images, self.settings.batch_size)[:, 0])


def planned_steps(settings: Config, examples: int) -> int:
    """Steps of the whole training: those of --epochs or of --steps, whichever are fewer."""
    per_epoch = examples // min(settings.batch_size, examples)
    return min((settings.epochs or sys.maxsize) * per_epoch, settings.steps or sys.maxsize)


def train(run: lesson.Run, gan: DCGAN, data: datasets.LabelledImages, judge: judges.Judge) -> lesson.History:
    """The loop: batch, step, log; every so many steps the same latents again, and their distance to real garments."""
    settings = run.config
    examples = training.Batches(scaled(data.train.images), settings.batch_size, settings.seed)
    sheet, many = fixed_latents(100, settings), fixed_latents(min(2_000, settings.samples), settings, stream=1)
    real = judge.features(data.train.images[: len(many)])
    with run.loop(
        planned_steps(settings, len(data.train)),
        gan.variables,
        [gan.generator_optimizer, gan.discriminator_optimizer],
        name="dcgan",
        sample=lambda: figures.tile(gan.generate(sheet), columns=10),
        measure=lambda: {"kid": judges.kid(real, judge.features(gan.generate(many)))[0]},
        sample_every=settings.sample_every,
    ) as loop:
        for images in loop.batches(examples):
            loop.log(gan.train_step(images))
    return run.history("dcgan", loop.history, loop.samples)


# %% Look


def draw_samples(images: np.ndarray, scores: judges.Scores, untrained: float) -> figures.Figure:
    """The headline: garments (n, 28, 28) from random latents, none chosen, none left out."""
    title = f"Generated garments, none chosen: {generated.quality(scores, 'garments', untrained)}"
    figure, cell = figures.subplots(width=8, height=4.9, title=title)
    figures.show_image(cell, figures.tile(images, columns=16, gap=1))
    return figure


def draw_verdicts(real: np.ndarray, fake: np.ndarray) -> figures.Figure:
    """How the discriminator's D(x) spreads over real (n,) and generated (n,) garments; the accuracies are areas."""
    right, caught = np.mean(real > 0.5), np.mean(fake < 0.5)
    title = f"The discriminator classifies {right:.0%} of the real and {caught:.0%} of the generated garments correctly"
    figure, cell = figures.subplots(width=8, height=3.4, title=title)
    edges = np.linspace(0, 1, 51)
    for values, label, color in (
        (real, "test garments: correct where D > 1/2", figures.COLORS[0]),
        (fake, "generated garments: correct where D < 1/2", figures.COLORS[1]),
    ):
        share = 100 * np.histogram(values, edges)[0] / len(values)
        cell.stairs(share, edges, fill=True, alpha=0.35, color=color, label=label)
        cell.stairs(share, edges, color=color)
    cell.axvline(0.5, color="black", linestyle=":", linewidth=1)
    cell.set(xlabel="D(x), the discriminator's probability of being real", ylabel="share of garments (%)", xlim=(0, 1))
    cell.legend(fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def draw_classes(images: np.ndarray, predicted: np.ndarray, data, covered: int) -> figures.Figure:
    """The first ten garments that the judge assigns to each class, and how many: mode collapse leaves rows empty."""
    shares, real = (metrics.class_shares(labels, 10) for labels in (predicted, data.test.labels))
    rows = [images[predicted == label][:10] for label in range(10)]
    rows = [row if len(row) else np.ones((1, 28, 28)) for row in rows]
    labels = [
        f"{name}: {share:.1%} (test {like:.0%})"
        for name, share, like in zip(data.class_names, shares, real, strict=True)
    ]
    title = f"{covered} of 10 classes are generated: the first ten of each, and its share of {len(images):,} garments"
    return figures.image_grid(rows, title, labels, size=0.6)


def walk(gan: DCGAN, judge: judges.Judge, paths: int, corners: int, steps: int) -> np.ndarray:
    """Garments (paths, corners * steps, 28, 28) on great circles between chosen latents, and back to the first.

    In 100 dimensions nearly all of a Gaussian lies in a thin shell of radius 10. The middle of a straight line between
    two latents has a length of about 7, for which the generator was not trained. Spherical interpolation (slerp) stays
    in the shell. The corners are the latents, out of 2,000, of which the judge is most certain in each class.
    """
    candidates = fixed_latents(2_000, gan.settings, stream=3)
    logits = judge.logits(gan.generate(candidates))
    certainty = logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)  # log of the classes' probabilities
    best = np.argsort(-certainty, axis=0).reshape(-1)  # the best of every class, then the second best, and so on
    ends = candidates[best[: paths * corners]].reshape(paths, corners, -1)
    lines = latents.great_circle(ends, steps)  # (paths, corners * steps, latent_dim)
    return gan.generate(lines.reshape(-1, lines.shape[-1])).reshape(paths, corners * steps, 28, 28)


# %% Measure

# (low, high) of the default preset on real garments, and on drawn ones. Floors and `nearest_test` depend on the data
# and the judge only.
EXPECTED = {
    "fid": [(0.6, 3), (0.7, 4)],
    "kid": [(0.003, 0.05), (0.006, 0.06)],
    "precision": [(0.55, 0.8), (0.28, 0.55)],
    "recall": [(0.65, 0.9), (0.55, 0.85)],
    "fid_floor": [(0.04, 0.08), (0.18, 0.36)],
    "fid_untrained": [(60, 200), (50, 200)],
    "kid_floor": [(-0.001, 0.008), (-0.02, 0.01)],
    "nearest_test": [(0.12, 0.135), (0.09, 0.106)],
    "classes_covered": [(10, 10), (10, 10)],
}
LEAST = 10  # examples: with fewer, hardly a score means anything


def measure(run: lesson.Run, gan: DCGAN, data, judge: judges.Judge, images: np.ndarray, untrained: np.ndarray):
    """Measure generated garments (n, 28, 28), beside as many by the untrained generator, and the discriminator.

    Returns the judge's scores, D(x) of test garments and of generated ones, and the Fréchet distance before training.
    """
    scores = judges.scores(judge, images, data)
    scores.report(run, EXPECTED, "garments")
    train = judge.features(data.train.images[: scores.count])
    fid_untrained = judges.fid(train, judge.features(untrained[: scores.count]))
    unit = f"({scores.count:,} garments, {judge.name})"
    run.metric("fid_untrained", fid_untrained, unit, *EXPECTED.get("fid_untrained", ()))
    real, fake = gan.verdicts(scaled(data.test.images)), gan.verdicts(images[..., None] * 2 - 1)
    run.metric("accuracy_real", np.mean(real > 0.5), "", *EXPECTED.get("accuracy_real", ()))
    run.metric("accuracy_fake", np.mean(fake < 0.5), "", *EXPECTED.get("accuracy_fake", ()))
    return scores, real, fake, fid_untrained


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, the two networks, the loop, scores, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.fashion_mnist(run)
        run.require(LEAST, training_pictures=len(data.train), test_pictures=len(data.test))
        judge = judges.judge(run, data)
        gan = DCGAN(run.config, planned_steps(run.config, len(data.train)))
        run.diagram(gan.generator, "generator")
        run.diagram(gan.discriminator, "discriminator")
        measured = fixed_latents(run.config.samples, run.config, stream=2)
        untrained = gan.generate(measured)
        history = train(run, gan, data, judge)
        begin = perf_counter()
        garments = gan.generate(measured)
        seconds = perf_counter() - begin
        scores, real, fake, fid_untrained = measure(run, gan, data, judge, garments, untrained)
        run.metric("seconds_per_1000_samples", 1_000 * seconds / len(garments), "s")
        run.metric("parameters", gan.generator.count_params(), "")
        run.keep_generated(garments)
        run.figure("samples", draw_samples(garments[:144], scores, fid_untrained), headline=True)
        run.figure("progress", generated.progress(history.frames, history.frame_steps, height=28))
        run.gif("training", history.frames)
        tied = {"generator_loss": np.log(2), "discriminator_loss": 2 * np.log(2)}  # the second is a sum of two
        run.figure("curves", games.curves(history, tied, scores.kid_floor, "garments"))
        run.figure("verdicts", draw_verdicts(real, fake))
        run.figure("classes", draw_classes(garments, judge.classes(garments), data, scores.classes_covered))
        run.figure("nearest", generated.nearest(garments, data.train.images, scores, "garment"))
        paths = walk(gan, judge, paths=32, corners=3, steps=12)
        run.figure(
            "walk", figures.image_grid(paths[:5, :25:2], "Spherical interpolation (slerp) between chosen latents")
        )
        run.gif("walk", [figures.tile(frame, columns=8) for frame in paths.swapaxes(0, 1)])


if __name__ == "__main__":
    main()

# What to try next
# 1. --no-normalise-both: the tutorials' discriminator. How many steps does it need for the same KID?
# 2. --momentum 0.9 --learning-rate 2e-3: in which of the three ways does the training fail?
# 3. Leave out `training=True` in `train_step`. The losses look fine; what do the garments look like, and why?
