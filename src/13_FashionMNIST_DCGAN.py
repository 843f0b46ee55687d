"""13 · DCGAN on Fashion-MNIST: the training loop by hand, and what keeps two networks in balance.

Lesson 12 has the game: a generator G makes pictures, a discriminator D tells them from real ones, each learns from the
other. Such a game can end badly in three ways. One player wins and the other gets no gradient any more; the generator
finds a few pictures that pass, and makes no others; or both go round in circles. Radford, Metz and Chintala found in
2015 which convolutional networks play for long without any of that. Their recipe is the "deep convolutional GAN":

    no pooling: strided convolutions in D, strided transposed convolutions in G, which learn how to halve and to double
    batch normalisation, but neither behind G's output nor before D's input
    leaky relu in D; tanh at G's end, so the data are scaled to [-1, 1]
    Adam with a small rate and beta_1 = 0.5

Both losses come from one pass through the networks, and each player takes its step at the same time. With logits l(x)
of the discriminator, so that D(x) = 1 / (1 + exp(-l(x))), and z drawn from a Gaussian in 100 dimensions:

    loss_D = - mean log D(x)  -  mean log(1 - D(G(z)))        gradient for D's weights only
    loss_G = - mean log D(G(z))                               gradient for G's weights only

Two gradient tapes watch that pass, one for each loss. This is where a loop by hand earns its place: `fit` knows one
loss and one optimizer. `tf.function` turns the step into a graph, and the graph leaves out what nobody asked for, such
as the gradient of loss_D for G's weights.

What you will see: garments growing out of noise, always from the same latents; what losses and accuracies say, and what
they hide; each class that the generator has found; the nearest training pictures; a walk through latent space.

Run:    python src/13_FashionMNIST_DCGAN.py        about three minutes on two CPU cores
Makes:  output/13_FashionMNIST_DCGAN.png and output/13_FashionMNIST_DCGAN/
Source: Radford, Metz & Chintala, Unsupervised Representation Learning with DCGANs, arXiv:1511.06434;
        Lucic et al., Are GANs Created Equal?, arXiv:1711.10337 (tuned GANs on this data set, measured)
"""

import dataclasses
import math
import sys
from collections.abc import Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, judges, metrics, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A light pair of networks and brisk steps, for a CPU. `full` has the tutorials' settings: hours without a GPU."""

    steps: config.Count | None = 6_000  # steps of both players
    distribute: config.Alone = "none"  # a loop of its own
    batch_size: config.Count = 64  # real garments a step, and as many generated ones
    learning_rate: config.Rate = 5e-4  # of both players; where there is time, less is steadier
    momentum: config.Fraction = 0.5  # Adam's beta_1: 0.9 remembers an opponent who plays differently by now
    latent_dim: config.Count = 100  # numbers that a garment is made from, each normal with mean 0 and variance 1
    generator_channels: Annotated[int, config.Range(2)] = 64  # at 7 x 7 places; half as many after the first layer
    discriminator_channels: config.Count = 32  # at 14 x 14 places; twice as many at 7 x 7
    normalise_both: bool = True  # batch normalisation in both players, as in the paper; tutorials: not in the second
    kernel_size: Annotated[int, config.Range(2, 7)] = 4  # a multiple of the stride: no pixel gets more than another
    slope: config.Fraction = 0.2  # of the leaky relu below 0
    dropout: Annotated[float, config.Range(0, 0.95)] = 0.1  # in the discriminator
    average: Annotated[float, config.Range(0, 0.9999)] = 0.99  # how slowly the shown generator follows the playing one
    samples: Annotated[int, config.Range(20, 60_000)] = 10_000  # garments made for the measures
    sample_every: config.Count = 300  # steps from one picture of the same latents, and one checkpoint, to the next


PRESETS = {
    "full": {
        "steps": None,
        "epochs": 100,
        "batch_size": 256,
        "learning_rate": 1e-4,
        "momentum": 0.9,
        "generator_channels": 256,
        "discriminator_channels": 64,
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


def fixed_latents(count: int, settings: Config, seed: int = 0) -> np.ndarray:
    """Latents (count, latent_dim) that are the same at every call: only so can pictures of two moments be compared."""
    random = np.random.default_rng([settings.seed, seed])
    return random.standard_normal((count, settings.latent_dim)).astype("float32")


# %% Model


def build_generator(settings: Config) -> keras.Model:
    """Latents (batch, latent_dim) -> pictures (batch, 28, 28, 1) in [-1, 1].

    No layer has a bias: batch normalisation would subtract it again, and the last layer's grey is the garments' own.
    """

    def normalised(hidden):  # over the batch; the averages for use after training follow within some ten steps
        return layers.LeakyReLU(negative_slope=settings.slope)(layers.BatchNormalization(momentum=0.9)(hidden))

    def transposed(channels, strides, **options):
        return layers.Conv2DTranspose(
            channels, settings.kernel_size, strides, padding="same", use_bias=False, **options
        )

    channels = settings.generator_channels
    latents = keras.Input((settings.latent_dim,))
    hidden = normalised(layers.Dense(7 * 7 * channels, use_bias=False)(latents))
    hidden = layers.Reshape((7, 7, channels))(hidden)  # (batch, 7, 7, channels)
    hidden = normalised(transposed(channels // 2, strides=1)(hidden))  # (batch, 7, 7, channels / 2)
    hidden = normalised(transposed(channels // 2, strides=2)(hidden))  # (batch, 14, 14, channels / 2)
    images = transposed(1, strides=2, activation="tanh")(hidden)  # (batch, 28, 28, 1)
    return keras.Model(latents, images, name="generator")


def build_discriminator(settings: Config) -> keras.Model:
    """Pictures (batch, 28, 28, 1) in [-1, 1] -> one logit each, (batch, 1): the higher, the more real."""

    def halved(hidden, channels, **options):
        return layers.Conv2D(channels, settings.kernel_size, strides=2, padding="same", **options)(hidden)

    def active(hidden):  # leaky: lets gradients through where relu would stop them
        return layers.Dropout(settings.dropout)(layers.LeakyReLU(negative_slope=settings.slope)(hidden))

    channels = settings.discriminator_channels
    images = keras.Input((28, 28, 1))
    hidden = active(halved(images, channels))  # (batch, 14, 14, channels)
    hidden = halved(hidden, 2 * channels, use_bias=not settings.normalise_both)  # (batch, 7, 7, 2 * channels)
    if settings.normalise_both:
        hidden = layers.BatchNormalization(momentum=0.9)(hidden)
    logits = layers.Dense(1)(layers.Flatten()(active(hidden)))  # (batch, 1)
    return keras.Model(images, logits, name="discriminator")


# %% Train

cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)  # targets, logits -> mean, in nats


class DCGAN:
    """Two networks, two optimizers, and one compiled step for all of them."""

    def __init__(self, settings: Config):
        self.settings = settings
        self.generator, self.discriminator = build_generator(settings), build_discriminator(settings)
        self.shown = keras.models.clone_model(self.generator)  # its weights are a running mean of the generator's
        self.shown.set_weights(self.generator.get_weights())
        self.generator_optimizer = keras.optimizers.Adam(settings.learning_rate, beta_1=settings.momentum)
        self.discriminator_optimizer = keras.optimizers.Adam(settings.learning_rate, beta_1=settings.momentum)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.seed_generator = keras.random.SeedGenerator(settings.seed)

    @property
    def variables(self) -> list:
        """All that a step changes: what a checkpoint must hold."""
        parts = [self.generator, self.discriminator, self.shown, self.generator_optimizer, self.discriminator_optimizer]
        return [variable for part in parts for variable in part.variables] + [self.seed_generator.state]

    @tf.function
    def train_step(self, real) -> dict:
        """One step of both players on real pictures (batch, 28, 28, 1); losses and accuracies before that step."""
        count = real.shape[0]
        latents = keras.random.normal((count, self.settings.latent_dim), seed=self.seed_generator)
        with tf.GradientTape() as generator_tape, tf.GradientTape() as discriminator_tape:
            generated = self.generator(latents, training=True)  # training: batch normalisation uses this batch,
            real_logits = self.discriminator(real, training=True)  # and dropout drops
            fake_logits = self.discriminator(generated, training=True)
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
        for shown, playing in zip(self.shown.weights, self.generator.weights, strict=True):
            shown.assign(playing + self.settings.average * (shown - playing))
        return {
            "generator_loss": generator_loss,
            "discriminator_loss": discriminator_loss,
            "accuracy_real": ops.mean(ops.cast(real_logits > 0, "float32")),
            "accuracy_fake": ops.mean(ops.cast(fake_logits < 0, "float32")),
        }

    def draw(self, latents: np.ndarray) -> np.ndarray:
        """Pictures (n, 28, 28) in [0, 1] by the shown generator; as they are, none stretched to full contrast."""
        return (self.shown.predict(latents, batch_size=500, verbose=0)[..., 0] + 1) / 2

    def verdicts(self, images: np.ndarray) -> np.ndarray:
        """D(x) (n,) of pictures (n, 28, 28, 1) in [-1, 1], how probably real they are; said as in a step.

        In batches of one kind, that is, put in scale by their own statistics, and with dropout. The averages that batch
        normalisation keeps for later are those of real and generated pictures together, and fit neither.
        """
        size = self.settings.batch_size
        batches = (images[start : start + size] for start in range(0, len(images), size))
        logits = np.concatenate([self.discriminator(batch, training=True) for batch in batches])[:, 0]
        return 1 / (1 + np.exp(-logits))


def train(run: lesson.Run, gan: DCGAN, data: datasets.LabelledImages, judge: judges.Judge) -> lesson.History:
    """The loop: batch, step, note; now and then the same latents again, and their distance to real garments."""
    settings = run.config
    examples = training.Batches(scaled(data.train.images), settings.batch_size, settings.seed)
    steps = min((settings.epochs or sys.maxsize) * examples.steps_per_epoch, settings.steps or sys.maxsize)
    sheet, crowd = fixed_latents(100, settings), fixed_latents(min(1_000, settings.samples), settings, seed=1)
    real = judge.look(data.train.images[: len(crowd)])[0]
    with run.loop(
        steps,
        gan.variables,
        gan.generator_optimizer,
        name="dcgan",
        sample=lambda: figures.tile(gan.draw(sheet), columns=10),
        measure=lambda: {"kid": metrics.kernel_distance(real, judge.look(gan.draw(crowd))[0])[0]},
        log_every=math.gcd(10, settings.sample_every),  # steps that share a point of the curves
        sample_every=settings.sample_every,
    ) as loop:
        for images in loop.batches(examples):
            loop.log(gan.train_step(images))
    return run.history("dcgan", loop.history, loop.frames)


# %% Look


def draw_samples(images: np.ndarray, scores: dict[str, float]) -> figures.Figure:
    """The headline: garments (n, 28, 28) from random latents, none chosen, none left out."""
    title = (
        f"Garments that nobody made: FID {scores['fid']:.1f} "
        f"(new real garments: {scores['fid_floor']:.2g}, before training: {scores['fid_untrained']:.0f})"
    )
    figure, cell = figures.subplots(width=8, height=4.9, title=title)
    figures.show_image(cell, figures.tile(images, columns=16, gap=1))
    return figure


def draw_verdicts(real: np.ndarray, fake: np.ndarray) -> figures.Figure:
    """How the discriminator's D(x) spreads over real (n,) and generated (n,) garments; the accuracies are areas."""
    right, caught = np.mean(real > 0.5), np.mean(fake < 0.5)
    figure, cell = figures.subplots(
        width=8,
        height=3.4,
        title=f"The discriminator is right about {right:.0%} of real and {caught:.0%} of generated garments",
    )
    edges = np.linspace(0, 1, 51)
    for values, label, color in (
        (real, "test garments: right where D > 1/2", figures.COLORS[0]),
        (fake, "generated garments: right where D < 1/2", figures.COLORS[1]),
    ):
        share = 100 * np.histogram(values, edges)[0] / len(values)
        cell.stairs(share, edges, fill=True, alpha=0.35, color=color, label=label)
        cell.stairs(share, edges, color=color)
    cell.axvline(0.5, color="black", linestyle=":", linewidth=1)
    cell.set(xlabel="D(x), the discriminator's probability of being real", ylabel="share of garments (%)", xlim=(0, 1))
    cell.legend(fontsize=9, ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1))
    return figure


def draw_classes(
    made: np.ndarray, predicted: np.ndarray, data: datasets.LabelledImages, covered: int
) -> figures.Figure:
    """The first ten garments of each class that the judge sees, and how many: a collapsed generator makes few kinds."""
    shares, real = (metrics.class_shares(labels, 10) for labels in (predicted, data.test.labels))
    rows = [made[predicted == label][:10] for label in range(10)]
    rows = [row if len(row) else np.ones((1, 28, 28)) for row in rows]
    labels = [
        f"{name}: {share:.1%} (real {like:.0%})"
        for name, share, like in zip(data.class_names, shares, real, strict=True)
    ]
    title = f"{covered} of 10 classes come: the first ten of each, and its share in {len(made):,} generated garments"
    return figures.image_grid(rows, title, labels, size=0.6)


def walk(gan: DCGAN, walkers: int, stations: int, steps: int) -> np.ndarray:
    """Garments (walkers, stations * steps, 28, 28) on great circles from latent to latent, and back to the first.

    In 100 dimensions nearly all of a Gaussian lies in a thin shell of radius 10. Half-way on a straight line between
    two latents the radius is 7: the generator was never asked for anything there. A great circle stays in the shell.
    """
    corners = fixed_latents(walkers * stations, gan.settings, seed=3).reshape(walkers, stations, 1, -1)
    following = np.roll(corners, -1, axis=1)
    lengths, next_lengths = (np.linalg.norm(latents, axis=-1, keepdims=True) for latents in (corners, following))
    cosine = np.sum(corners * following, axis=-1, keepdims=True) / (lengths * next_lengths)
    angle = np.arccos(np.clip(cosine, -1, 1))  # (walkers, stations, 1, 1)
    share = np.arange(steps, dtype="float32")[:, None] / steps  # (steps, 1)
    here, there = (np.sin(part * angle) / np.sin(angle) for part in (1 - share, share))
    path = here * corners + there * following  # (walkers, stations, steps, latent_dim)
    return gan.draw(path.reshape(walkers * stations * steps, -1)).reshape(walkers, stations * steps, 28, 28)


# %% Measure

# (low, high) of the default preset on real garments and on the embedded ones; over several seeds.
EXPECTED = {
    "fid": ((2, 7), (3, 9)),
    "fid_floor": ((0.04, 0.08), (0.15, 0.4)),
    "fid_untrained": ((90, 150), (70, 130)),
    "kid": ((0.03, 0.15), (0.04, 0.2)),
    "kid_floor": ((-0.001, 0.004), (-0.015, 0.005)),
    "precision": ((0.4, 0.75), (0.1, 0.4)),
    "recall": ((0.5, 0.8), (0.45, 0.8)),
    "nearest_generated": ((0.15, 0.2), (0.13, 0.17)),
    "nearest_test": ((0.12, 0.135), (0.09, 0.105)),
    "classes_covered": ((10, 10), (10, 10)),
    "accuracy_real": ((0.5, 0.95), (0.4, 0.95)),
    "accuracy_fake": ((0.5, 0.95), (0.5, 1)),
}


def measure(
    run: lesson.Run, gan: DCGAN, data: datasets.LabelledImages, judge: judges.Judge, untrained: np.ndarray
) -> tuple[np.ndarray, np.ndarray, dict]:
    """Measure the generator; returns the generated garments, their classes, and the scores by name."""
    made = gan.draw(fixed_latents(len(untrained), run.config, seed=2))
    scores = judges.scores(judge, made, untrained, data.train.images, data.test.images)
    predicted = np.argmax(judge.look(made)[1], axis=1)
    scores["classes_covered"] = metrics.classes_covered(predicted, 10)
    return made, predicted, scores


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, the two networks, the loop, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.fashion_mnist(run)
        judge = judges.judge(run, data)
        gan = DCGAN(run.config)
        run.diagram(gan.generator, "generator")
        run.diagram(gan.discriminator, "discriminator")
        untrained = gan.draw(fixed_latents(min(run.config.samples, len(data.test)), run.config, seed=2))
        history = train(run, gan, data, judge)
        made, predicted, scores = measure(run, gan, data, judge, untrained)
        real, fake = gan.verdicts(scaled(data.test.images)), gan.verdicts(made[..., None] * 2 - 1)
        scores |= {"accuracy_real": np.mean(real > 0.5), "accuracy_fake": np.mean(fake < 0.5)}
        for name, value in scores.items():
            unit = f"({len(made):,} garments, {judge.name})" if name.startswith(("fid", "kid", "classes")) else ""
            run.metric(name, value, unit, *EXPECTED.get(name, ()))
        run.figure("samples", draw_samples(made[:144], scores), headline=True)
        every, last = run.config.sample_every, history.epochs[-1]
        rounds = [min(frame * every, last) for frame in range(len(history.frames))]
        run.figure("progress", judges.draw_progress(history.frames, rounds, height=28))
        run.gif("training", history.frames)
        kid = dict(zip(history.epochs, history["kid"], strict=True))
        tied = {"generator_loss": np.log(2), "discriminator_loss": 2 * np.log(2)}  # the second is a sum of two
        run.figure("curves", judges.draw_curves(history.epochs, history, tied, kid, scores["kid_floor"], "garments"))
        run.figure("verdicts", draw_verdicts(real, fake))
        run.figure("classes", draw_classes(made, predicted, data, scores["classes_covered"]))
        run.figure("nearest", judges.draw_nearest(made, data.train.images, scores, "garment"))
        walks = walk(gan, walkers=32, stations=3, steps=12)
        run.figure("walk", figures.image_grid(walks[:5, :13], "From one latent to another, on great circles"))
        run.gif("walk", [figures.tile(frame, columns=8) for frame in walks.swapaxes(0, 1)])


if __name__ == "__main__":
    main()

# What to try next
# 1. --dropout 0: does the discriminator win? Watch its accuracies, and then the KID.
# 2. --momentum 0.9 --learning-rate 2e-3: which of the three bad ends do you get?
# 3. Leave out `training=True` in `train_step`. The losses look fine; what do the garments look like, and why?
