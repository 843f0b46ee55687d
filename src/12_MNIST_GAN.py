"""12 · The first GAN: two networks trained against each other, by hand, on MNIST.

A VAE (lesson 10) is trained by comparing pixels, and its pictures are blurred where it is uncertain. A generative
adversarial network (GAN) never compares one picture with another. It trains two networks against each other instead.
The generator G turns 32 random numbers z into a picture; the discriminator D estimates the probability that a picture
comes from the data. D is trained to be right, G is trained to make D wrong:

    min over G  max over D   E_data[log D(x)]  +  E_z[log(1 - D(G(z)))]

For a fixed G the best D is D(x) = p_data(x) / (p_data(x) + p_G(x)), and with it the objective is twice the
Jensen-Shannon divergence of p_data and p_G, minus 2 ln 2: least if the generator's pictures are distributed as the data
are. Then D = 1/2 everywhere, real and generated pictures cannot be told apart, and the cross-entropy of D is ln 2 =
0.693.

Neither loss decreases as the training goes on, because each network's opponent improves. So how good is a generator? A
third network judges it, a small classifier of digits: how far its features of generated digits are from those of real
ones (FID and KID), whether all ten digits are generated (a generator that makes only a few kinds suffers from mode
collapse), and whether they are copies of training digits.

What you will see: digits that form out of noise, always from the same z; losses and accuracies of both networks; the
distance to real digits decreasing while the losses do not; nearest training digits; paths from one digit to another.

Run:    python src/12_MNIST_GAN.py                 about two minutes on two CPU cores
Makes:  output/12_MNIST_GAN.png and output/12_MNIST_GAN/
Source: Goodfellow et al., Generative Adversarial Nets, arXiv:1406.2661;
        Radford, Metz & Chintala, Unsupervised Representation Learning with DCGANs, arXiv:1511.06434
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, judges, latents, metrics, training
from lessonkit import run as lesson
from lessonkit.figures import games, generated
from lessonkit.layers import predict_by_batch

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Small networks, for a CPU. `full` has the tutorials' networks and settings."""

    steps: config.Count = 3_400  # each is one step of the discriminator and one of the generator
    batch_size: config.Count = 64  # real digits in a step, and as many generated ones
    learning_rate: config.Rate = 1e-3  # of both networks, at the start
    decay: bool = True  # the rate decays to zero along a cosine, so that the strokes settle; else it is constant
    momentum: config.Fraction = 0.5  # Adam's beta_1: with 0.9 it averages gradients of an opponent that has changed
    latent_dim: config.Count = 32  # random numbers that a digit is made from, uniform in -1..1
    generator_channels: tuple[config.Count, ...] = (128, 64)  # at 7 x 7 and 14 x 14 (`full`: and at 28 x 28)
    generator_kernel: config.Count = 4
    repeat_pixels: bool = False  # double the size by repeating pixels before a convolution of stride 1
    discriminator_channels: tuple[config.Count, ...] = (32, 64, 128)  # at 14 x 14, 7 x 7 and 4 x 4
    discriminator_kernel: config.Count = 4
    normalise_both: bool = True  # batch normalisation in the discriminator, too
    dropout: Annotated[float, config.Range(0, 0.95)] = 0.1  # in the discriminator, so that it does not memorise
    generator_dropout: Annotated[float, config.Range(0, 0.95)] = 0.0
    real_label: Annotated[float, config.Range(0.5, 1)] = 0.9  # the discriminator's target for real digits
    average: Annotated[float, config.Range(0, 0.9999)] = 0.999  # decay of the average of the generator's weights
    samples: Annotated[int, config.Range(20, 60_000)] = 10_000  # digits generated for the scores
    sample_every: config.Count = 200  # steps from one picture of the same latents to the next
    distribute: config.Alone = "none"  # a loop of its own


PRESETS = {
    "full": {
        "steps": 2_000,
        "batch_size": 128,
        "learning_rate": 4e-4,
        "decay": False,
        "momentum": 0.9,
        "generator_channels": (64, 32, 16),
        "generator_kernel": 5,
        "repeat_pixels": True,
        "discriminator_channels": (64, 128, 256),
        "discriminator_kernel": 5,
        "normalise_both": False,
        "dropout": 0.4,
        "generator_dropout": 0.4,
        "real_label": 1.0,
        "average": 0.0,
    },
    "smoke": {"steps": 4, "batch_size": 16, "limit": 200, "data": "embedded", "samples": 100, "sample_every": 2},
}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in [0, 1], which is also the range of the generator's sigmoid."""
    return images[..., None].astype("float32") / 255


def fixed_latents(count: int, settings: Config, stream: int = 0) -> np.ndarray:
    """Latents (count, latent_dim) that are the same at every call: only so can pictures of two moments be compared."""
    return latents.uniform(count, settings.latent_dim, settings.seed, stream)


# %% Model

# Batch normalisation keeps the outputs of every layer at one scale, however deep the network is. The generator has it
# after every hidden layer; the discriminator, too, but not at its input, which shows how bright a picture is. A
# picture's verdict then depends on the other pictures of its batch, so real and generated ones must never share a
# batch: their common statistics would give the answer away. LeakyReLU passes gradients on where ReLU would stop them. A
# transposed convolution of stride 2 doubles the size; its kernel of 4 is a multiple of the stride, so every pixel is a
# sum of as many terms and no checkerboard appears. `full` doubles the size by repeating pixels. What the discriminator
# cannot distinguish, the generator need not learn: each of the discriminator's last features sees 22 x 22 pixels,
# nearly a whole digit.


def build_generator(settings: Config) -> keras.Model:
    """Latents (batch, latent_dim) -> pictures (batch, 28, 28, 1) in [0, 1]."""

    def normalised(hidden):
        return layers.LeakyReLU(negative_slope=0.2)(layers.BatchNormalization(momentum=0.9)(hidden))

    def transposed(channels, strides, **options):
        return layers.Conv2DTranspose(channels, settings.generator_kernel, strides, padding="same", **options)

    first, *others = settings.generator_channels
    inputs = keras.Input((settings.latent_dim,))
    hidden = normalised(layers.Dense(7 * 7 * first)(inputs))  # (batch, 49 * first)
    hidden = layers.Dropout(settings.generator_dropout)(hidden)
    hidden = layers.Reshape((7, 7, first))(hidden)
    for channels in others:  # (batch, 14, 14, .), and in `full` (batch, 28, 28, .)
        if settings.repeat_pixels:
            hidden = layers.UpSampling2D()(hidden)
        hidden = normalised(transposed(channels, strides=1 if settings.repeat_pixels else 2)(hidden))
    images = transposed(1, strides=28 // hidden.shape[1], activation="sigmoid")(hidden)  # (batch, 28, 28, 1)
    return keras.Model(inputs, images, name="generator")


def build_discriminator(settings: Config) -> keras.Model:
    """Pictures (batch, 28, 28, 1) -> one logit each (batch, 1): the higher, the more probably real."""
    images = keras.Input((28, 28, 1))
    hidden = images
    for channels in settings.discriminator_channels:  # (batch, 14, 14, .), (batch, 7, 7, .), (batch, 4, 4, .)
        hidden = layers.Conv2D(channels, settings.discriminator_kernel, strides=2, padding="same")(hidden)
        if settings.normalise_both and hidden.shape[1] < 14:
            hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        hidden = layers.Dropout(settings.dropout)(layers.LeakyReLU(negative_slope=0.2)(hidden))
    logits = layers.Dense(1)(layers.Flatten()(hidden))
    return keras.Model(images, logits, name="discriminator")


# %% Train

# In every step D is trained first, on a batch of real pictures (target 1, or a little less) and one of generated ones
# (target 0):
#
#     loss_D = - mean log D(x)  -  mean log(1 - D(G(z)))        (each half counts one half)
#
# Then G is trained through the D that has just been updated:
#
#     loss_G = - mean log D(G(z))
#
# The objective has log(1 - D(G(z))) there. Both have the same aim, but at the beginning D recognises every generated
# picture, and the gradient of log(1 - D) vanishes: the loss saturates. The gradient of - log D does not vanish; hence
# its name, the non-saturating loss.
#
# The weights of two networks that react to each other do not converge, they keep moving around a good point. A running
# average of the generator's weights lies nearer to that point, and it generates all the pictures that are shown.

cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)  # targets, logits -> mean, in nats


class GAN:
    """The two networks, their optimizers, and one training step of both as a compiled function."""

    def __init__(self, settings: Config):
        self.settings = settings
        self.generator, self.discriminator = build_generator(settings), build_discriminator(settings)
        self.averaged = keras.models.clone_model(self.generator)  # its weights: a running average of the generator's
        self.averaged.set_weights(self.generator.get_weights())
        rate = settings.learning_rate
        if settings.decay:
            rate = training.warm_up_cosine(rate, settings.steps)
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

    @property
    def undecided(self) -> float:
        """The best answer of a discriminator that cannot tell real from generated pictures: half of `real_label`."""
        return self.settings.real_label / 2

    @property
    def threshold(self) -> float:
        """The logit of that probability: pictures above it are classified as real."""
        return float(np.log(self.undecided / (1 - self.undecided)))

    def discriminator_step(self, real, fake) -> dict:
        """One step of the discriminator on real and generated pictures (batch, 28, 28, 1), as many of each."""
        shape, variables = (real.shape[0], 1), self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            logits_real, logits_fake = self.discriminator(real, training=True), self.discriminator(fake, training=True)
            loss_real = cross_entropy(ops.full(shape, self.settings.real_label), logits_real)
            loss = (loss_real + cross_entropy(ops.zeros(shape), logits_fake)) / 2
        self.discriminator_optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {
            "discriminator_loss": loss,
            "accuracy_real": ops.mean(ops.cast(logits_real > self.threshold, "float32")),
            "accuracy_fake": ops.mean(ops.cast(logits_fake < self.threshold, "float32")),
        }

    @tf.function
    def train_step(self, real) -> dict:
        """One step of each network: the losses, and the discriminator's accuracies before its step."""
        count, variables = real.shape[0], self.generator.trainable_variables
        random = keras.random.uniform((count, self.settings.latent_dim), -1, 1, seed=self.seed_generator)
        with tf.GradientTape() as tape:
            fake = self.generator(random, training=True)
            with tape.stop_recording():  # the generator's gradient does not flow through the discriminator's step
                logs = self.discriminator_step(real, fake)
            logits = self.discriminator(fake, training=True)
            loss = cross_entropy(ops.ones((count, 1)), logits)
        # Only the generator's variables are named here: the gradient flows through the discriminator's weights, which
        # stay as they are.
        self.generator_optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        for average, current in zip(self.averaged.weights, self.generator.weights, strict=True):
            average.assign(current + self.average_decay * (average - current))
        return logs | {"generator_loss": loss}

    @property
    def average_decay(self):
        """That of the running average: smaller in the first steps, whose weights should be forgotten soon."""
        done = ops.cast(self.generator_optimizer.iterations, "float32")  # steps, this one included
        return ops.minimum(self.settings.average, done / (10 + done))

    def generate(self, latents: np.ndarray) -> np.ndarray:
        """Pictures (n, 28, 28) in [0, 1] by the averaged generator; their contrast is left as it is."""
        return self.averaged.predict(latents, batch_size=500, verbose=0)[..., 0]


def train(run: lesson.Run, gan: GAN, data: datasets.LabelledImages, judge: judges.Judge) -> lesson.History:
    """The training loop; every so many steps the same latents again, and their distance to real digits."""
    settings = run.config
    examples = training.Batches(scaled(data.train.images), settings.batch_size, settings.seed)
    sheet, many = fixed_latents(100, settings), fixed_latents(min(2_000, settings.samples), settings, stream=1)
    real = judge.features(data.train.images[: len(many)])
    with run.loop(
        settings.steps,
        gan.variables,
        [gan.generator_optimizer, gan.discriminator_optimizer],
        name="gan",
        sample=lambda: figures.tile(gan.generate(sheet), columns=10),
        measure=lambda: {"kid": judges.kid(real, judge.features(gan.generate(many)))[0]},
        sample_every=settings.sample_every,
    ) as loop:
        for images in loop.batches(examples):
            loop.log(gan.train_step(images))
    return run.history("gan", loop.history, loop.samples)


# %% Look


def draw_samples(images: np.ndarray, scores: judges.Scores, untrained: float) -> figures.Figure:
    """The headline: digits (n, 28, 28) from random latents, none chosen, none left out."""
    title = f"Generated digits, none chosen: {generated.quality(scores, 'digits', untrained)}"
    figure, cell = figures.subplots(width=8, height=4.9, title=title)
    figures.show_image(cell, figures.tile(images, columns=16, gap=0))
    return figure


def draw_classes(labels: np.ndarray, predicted: np.ndarray, covered: int) -> figures.Figure:
    """Shares of the ten digits among generated and among test digits: mode collapse would leave some out."""
    title = f"{covered} of 10 digits are generated: classes assigned by the judge to {len(predicted):,} pictures"
    figure, cell = figures.subplots(width=7, height=3, title=title)
    for offset, classes, name in ((-0.2, predicted, "generated"), (0.2, labels, "test digits")):
        cell.bar(np.arange(10) + offset, 100 * metrics.class_shares(classes, 10), width=0.4, label=name)
    cell.set(xlabel="digit", ylabel="share (%)", xticks=range(10))
    cell.legend(ncols=2, loc="upper left", bbox_to_anchor=(0, 1.18))
    return figure


def walk(gan: GAN, paths: int, corners: int, steps: int) -> np.ndarray:
    """Digits (paths, corners * steps, 28, 28) on straight lines between random latents, and back to the first."""
    ends = fixed_latents(paths * corners, gan.settings, stream=3).reshape(paths, corners, -1)
    lines = latents.straight(ends, steps)  # (paths, corners * steps, latent_dim); the cube has no holes
    return gan.generate(lines.reshape(-1, lines.shape[-1])).reshape(paths, corners * steps, 28, 28)


# %% Measure

# (low, high) of the default preset on real digits, and on those of scikit-learn. Floors and `nearest_test` depend on
# the data and the judge only.
EXPECTED = {
    "fid": [(0.4, 3), (0.5, 3)],
    "fid_floor": [(0.1, 0.25), (1.5, 2.1)],
    "fid_untrained": [(120, 300), (180, 450)],
    "kid_floor": [(0.01, 0.05), (0.1, 0.16)],
    "nearest_test": [(0.14, 0.16), (0.155, 0.175)],
    "classes_covered": [(10, 10), (10, 10)],
}
LEAST = 10  # examples: with fewer, hardly a score means anything


def measure(run: lesson.Run, gan: GAN, data, judge: judges.Judge, digits: np.ndarray, untrained: np.ndarray):
    """Measure generated digits (n, 28, 28), beside as many by the untrained generator, and the discriminator.

    Returns the judge's scores, the predicted classes (n,), and the Fréchet distance before training.
    """
    scores = judges.scores(judge, digits, data)
    scores.report(run, EXPECTED, "digits")
    train = judge.features(data.train.images[: scores.count])
    fid_untrained = judges.fid(train, judge.features(untrained[: scores.count]))
    unit = f"({scores.count:,} digits, {judge.name})"
    run.metric("fid_untrained", fid_untrained, unit, *EXPECTED.get("fid_untrained", ()))
    for name, images in (("accuracy_real", scaled(data.test.images)), ("accuracy_fake", digits[..., None])):
        logits = predict_by_batch(gan.discriminator, images, run.config.batch_size)  # real or generated, never both
        above = logits > gan.threshold
        run.metric(name, np.mean(above == (name == "accuracy_real")), "", *EXPECTED.get(name, ()))
    return scores, judge.classes(digits), fid_untrained


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, the two networks, the training, scores, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.mnist(run)
        run.require(LEAST, training_pictures=len(data.train), test_pictures=len(data.test))
        judge = judges.judge(run, data)
        gan = GAN(run.config)
        run.diagram(gan.generator, "generator")
        run.diagram(gan.discriminator, "discriminator")
        measured = fixed_latents(run.config.samples, run.config, stream=2)
        untrained = gan.generate(measured)
        history = train(run, gan, data, judge)
        digits = gan.generate(measured)
        scores, predicted, fid_untrained = measure(run, gan, data, judge, digits, untrained)
        run.figure("samples", draw_samples(digits[:144], scores, fid_untrained), headline=True)
        run.figure("progress", generated.progress(history.frames, history.frame_steps, height=28))
        run.gif("training", history.frames)
        tied = games.tied_losses(gan.undecided)
        run.figure("curves", games.curves(history, tied, scores.kid_floor, "digits"))
        run.figure("nearest", generated.nearest(digits, data.train.images, scores, "digit"))
        run.figure("classes", draw_classes(data.test.labels, predicted, scores.classes_covered))
        paths = walk(gan, paths=32, corners=3, steps=12)
        run.figure("walk", figures.image_grid(paths[:5, :25:2], "Straight lines between three latents"))
        run.gif("walk", [figures.tile(frame, columns=8) for frame in paths.swapaxes(0, 1)])


if __name__ == "__main__":
    main()

# What to try next
# 1. --dropout 0: watch the accuracies and the KID. Who wins, and does it help the digits?
# 2. --average 0 shows the current generator instead of the average. Compare the GIFs: what does averaging remove?
# 3. --latent-dim 2: draw a map as in lesson 10. Do all parts of the square give digits, and are all ten there?
