"""12 · The first GAN: two networks that learn from each other, by hand, on MNIST.

A VAE (lesson 10) learns by comparing pixels, and what it is unsure of comes out blurred. A generative adversarial
network (GAN) never compares a picture with another one. Two networks play against each other instead. The generator G
turns 32 random numbers z into a picture; the discriminator D looks at a picture and says how probable it is that it
came from the data. D is trained to be right, G is trained to make D wrong:

    min over G  max over D   E_data[log D(x)]  +  E_z[log(1 - D(G(z)))]

For a fixed G the best D is D(x) = p_data(x) / (p_data(x) + p_G(x)), and with it the game's value is, but for a
constant, the Jensen-Shannon divergence of p_data and p_G: zero only if the generator's pictures are distributed as the
data are. Then D = 1/2 everywhere: nobody can tell, and the cross-entropy of D is ln 2 = 0.693.

The game is played in turns. In its turn D sees a batch of real pictures (to be called 1) and one of generated ones (to
be called 0), and takes a step on

    loss_D = - mean log D(x)  -  mean log(1 - D(G(z)))        (each half counts one half)

In its turn G takes a step on loss_G = - mean log D(G(z)), through D, which is frozen meanwhile: its weights pass the
gradient on, but stay as they are. That - log D in place of log(1 - D) has the same aim, and a gradient where the latter
has none: at the beginning, when D sees through everything (Goodfellow's "non-saturating" loss).

Neither loss falls as training goes on, for each player gets a better opponent. So how good is a generator? This lesson
lets a third network judge, a small classifier of digits: how far its features of generated digits are from those of
real ones (FID and KID), whether all ten digits come, and whether they are copies from the training set.

What you will see: digits growing out of noise, always from the same z; the losses and accuracies of the game; the
distance to real digits falling while the losses do not; nearest training digits; walks from one digit to another.

Run:    python src/12_MNIST_GAN.py                 about three minutes on two CPU cores
Makes:  output/12_MNIST_GAN.png and output/12_MNIST_GAN/
Source: Goodfellow et al., Generative Adversarial Nets, arXiv:1406.2661;
        Radford, Metz & Chintala, Unsupervised Representation Learning with DCGANs, arXiv:1511.06434
"""

import dataclasses
import math
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
    """A light pair of networks, for a CPU. `full` has the tutorials': four times the work a picture."""

    steps: config.Count = 3_400  # rounds of the game: one step of each player
    batch_size: config.Count = 64  # real digits a round; many rounds on few digits beat few rounds on many
    learning_rate: config.Rate = 1e-3  # the same for both players
    decay: bool = True  # the rate falls to nought along a cosine, so that the strokes settle; else it is constant
    momentum: config.Fraction = 0.5  # Adam's beta_1: 0.9 remembers an opponent who plays differently by now
    latent_dim: config.Count = 32  # random numbers that a digit is made from, uniform in -1..1
    light: bool = True  # strided transposed convolutions, smaller kernels, and half the discriminator's channels
    dropout: Annotated[float, config.Range(0, 0.95)] = 0.2  # in the discriminator, so that it cannot learn by heart
    generator_dropout: Annotated[float, config.Range(0, 0.95)] = 0.0  # noise that its pictures would have to hide
    real_label: Annotated[float, config.Range(0.5, 1)] = 0.9  # what the discriminator is to say of real digits
    average: Annotated[float, config.Range(0, 0.9999)] = 0.995  # how slowly the shown generator follows the playing one
    samples: Annotated[int, config.Range(20, 60_000)] = 10_000  # digits made for the measures
    sample_every: config.Count = 200  # steps from one picture of the same latents to the next
    distribute: config.Alone = "none"  # a loop of its own


PRESETS = {
    "full": {
        "steps": 2_000,
        "batch_size": 128,
        "learning_rate": 4e-4,
        "decay": False,
        "momentum": 0.9,
        "light": False,
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


def fixed_latents(count: int, settings: Config, seed: int = 0) -> np.ndarray:
    """Latents (count, latent_dim) that are the same at every call: only so can pictures of two moments be compared."""
    random = np.random.default_rng([settings.seed, seed])
    return random.uniform(-1, 1, size=(count, settings.latent_dim)).astype("float32")


# %% Model


def build_generator(settings: Config) -> keras.Model:
    """Latents (batch, latent_dim) -> pictures (batch, 28, 28, 1) in [0, 1]; 7 x 7 places that are doubled twice."""

    def normalised(hidden):  # normalised over the batch, the outputs keep their size however deep the network is
        return layers.LeakyReLU(negative_slope=0.2)(layers.BatchNormalization(momentum=0.9)(hidden))

    latents = keras.Input((settings.latent_dim,))
    channels = 128 if settings.light else 64
    hidden = normalised(layers.Dense(7 * 7 * channels)(latents))  # (batch, 6272 or 3136)
    hidden = layers.Dropout(settings.generator_dropout)(hidden)
    hidden = layers.Reshape((7, 7, channels))(hidden)  # (batch, 7, 7, 128 or 64)
    if settings.light:  # stride 2 divides the kernel's 4: every pixel gets as many contributions, no checkerboard
        hidden = normalised(layers.Conv2DTranspose(64, 4, strides=2, padding="same")(hidden))  # (batch, 14, 14, 64)
        images = layers.Conv2DTranspose(1, 4, strides=2, padding="same", activation="sigmoid")(hidden)
    else:
        for channels in (32, 16):
            hidden = layers.UpSampling2D()(hidden)  # every pixel becomes four: (batch, 14, 14, 64), (batch, 28, 28, 32)
            hidden = normalised(layers.Conv2DTranspose(channels, 5, padding="same")(hidden))
        images = layers.Conv2D(1, 5, padding="same", activation="sigmoid")(hidden)
    return keras.Model(latents, images, name="generator")  # (batch, 28, 28, 1)


def build_discriminator(settings: Config) -> keras.Model:
    """Pictures (batch, 28, 28, 1) -> one logit each, the higher the more real. Batch normalisation would mix them."""
    images = keras.Input((28, 28, 1))
    hidden = images
    size, widths = (4, (32, 64, 128)) if settings.light else (5, (64, 128, 256))
    for channels in widths:  # (batch, 14, 14, .), (batch, 7, 7, .), and (batch, 4, 4, .) that see nearly all
        hidden = layers.Conv2D(channels, size, strides=2, padding="same")(hidden)
        hidden = layers.Dropout(settings.dropout)(hidden)  # only scales, so it may as well come before the leaky relu
        hidden = layers.LeakyReLU(negative_slope=0.2)(hidden)  # lets gradients through where relu would stop them
    logits = layers.Dense(1)(layers.Flatten()(hidden))  # (batch, 1)
    return keras.Model(images, logits, name="discriminator")


# %% Train

cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)


class Game:
    """The two players, what they learn with, and one round of the game as a compiled function."""

    def __init__(self, settings: Config):
        self.settings = settings
        self.generator, self.discriminator = build_generator(settings), build_discriminator(settings)
        self.combined = keras.Sequential([self.generator, self.discriminator], name="combined")  # latents -> logits
        self.shown = keras.models.clone_model(self.generator)  # the generator's weights, averaged over the last rounds
        self.shown.set_weights(self.generator.get_weights())
        rate = settings.learning_rate
        if settings.decay:
            rate = keras.optimizers.schedules.CosineDecay(rate, settings.steps)
        self.generator_optimizer = keras.optimizers.Adam(rate, beta_1=settings.momentum)
        self.discriminator_optimizer = keras.optimizers.Adam(rate, beta_1=settings.momentum)
        self.generator_optimizer.build(self.generator.trainable_variables)
        self.discriminator_optimizer.build(self.discriminator.trainable_variables)
        self.seed_generator = keras.random.SeedGenerator(settings.seed)

    @property
    def variables(self) -> list:
        """All that a round changes: what a checkpoint must hold."""
        parts = [self.generator, self.discriminator, self.shown, self.generator_optimizer, self.discriminator_optimizer]
        return [variable for part in parts for variable in part.variables] + [self.seed_generator.state]

    @property
    def undecided(self) -> float:
        """The probability that a discriminator says to everything if it cannot tell: half of `real_label`."""
        return self.settings.real_label / 2

    @property
    def threshold(self) -> float:
        """The logit of that probability: what lies above is taken for real."""
        return float(np.log(self.undecided / (1 - self.undecided)))

    def latents(self, count: int):
        """New random latents (count, latent_dim), uniform in -1..1."""
        return keras.random.uniform((count, self.settings.latent_dim), -1, 1, seed=self.seed_generator)

    def discriminator_turn(self, real) -> dict:
        """One step of the discriminator on real pictures (batch, 28, 28, 1) and as many generated ones."""
        count = real.shape[0]
        generated = self.generator(self.latents(count), training=True)
        images = ops.concatenate([real, generated])
        targets = ops.concatenate([ops.full((count, 1), self.settings.real_label), ops.zeros((count, 1))])
        self.discriminator.trainable = True
        variables = self.discriminator.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.discriminator(images, training=True)
            loss = cross_entropy(targets, logits)
        self.discriminator_optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {
            "discriminator_loss": loss,
            "accuracy_real": ops.mean(ops.cast(logits[:count] > self.threshold, "float32")),
            "accuracy_fake": ops.mean(ops.cast(logits[count:] < self.threshold, "float32")),
        }

    def generator_turn(self, count: int) -> dict:
        """One step of the generator, on new latents, through the frozen discriminator."""
        self.discriminator.trainable = False  # now the combined model has no trainable variables but the generator's
        variables = self.combined.trainable_variables
        with tf.GradientTape() as tape:
            logits = self.combined(self.latents(count), training=True)  # frozen, but in training: dropout stays active
            loss = cross_entropy(ops.ones((count, 1)), logits)
        self.generator_optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"generator_loss": loss}

    @tf.function
    def round(self, real) -> dict:
        """One turn of each player, compiled once: the losses, and the discriminator's accuracies in its turn."""
        logs = self.discriminator_turn(real) | self.generator_turn(real.shape[0])
        for shown, playing in zip(self.shown.weights, self.generator.weights, strict=True):
            shown.assign(playing + self.settings.average * (shown - playing))
        return logs

    def draw(self, latents: np.ndarray) -> np.ndarray:
        """Pictures (n, 28, 28) in [0, 1] by the shown generator; as they are, none stretched to full contrast."""
        return self.shown.predict(latents, batch_size=500, verbose=0)[..., 0]


def train(run, game: Game, data, judge: judges.Judge) -> lesson.History:
    """Play; every so many rounds draw the same latents again, and let the judge measure how far the digits are."""
    settings = run.config
    examples = training.Batches(scaled(data.train.images), settings.batch_size, settings.seed)
    sheet, crowd = fixed_latents(100, settings), fixed_latents(min(2_000, settings.samples), settings, seed=1)
    real = judge.look(data.train.images[: len(crowd)])[0]
    with run.loop(
        settings.steps,
        game.variables,
        game.generator_optimizer,
        name="game",
        sample=lambda: figures.tile(game.draw(sheet), columns=10),
        measure=lambda: {"kid": metrics.kernel_distance(real, judge.look(game.draw(crowd))[0])[0]},
        log_every=math.gcd(10, settings.sample_every),  # rounds that share a point of the curves
        sample_every=settings.sample_every,
    ) as loop:
        for images in loop.batches(examples):
            loop.log(game.round(images))
    return run.history("game", loop.history, loop.frames)


# %% Look


def draw_samples(images: np.ndarray, scores: dict[str, float]) -> figures.Figure:
    """The headline: digits (n, 28, 28) from random latents, none chosen, none left out."""
    title = (
        f"Digits that nobody wrote: FID {scores['fid']:.1f} "
        f"(new real digits: {scores['fid_floor']:.1f}, before training: {scores['fid_untrained']:.0f})"
    )
    figure, cell = figures.subplots(width=8, height=4.9, title=title)
    figures.show_image(cell, figures.tile(images, columns=16, gap=0))
    return figure


def draw_classes(labels: np.ndarray, predicted: np.ndarray, covered: int) -> figures.Figure:
    """Shares of the ten digits among generated and among real ones: a collapsed generator makes few kinds."""
    title = f"{covered} of 10 digits come: what the judge sees in {len(predicted):,} generated pictures"
    figure, cell = figures.subplots(width=7, height=3, title=title)
    for offset, classes, name in ((-0.2, predicted, "generated"), (0.2, labels, "test digits")):
        cell.bar(np.arange(10) + offset, 100 * metrics.class_shares(classes, 10), width=0.4, label=name)
    cell.set(xlabel="digit", ylabel="share (%)", xticks=range(10))
    cell.legend(ncols=2, loc="upper left", bbox_to_anchor=(0, 1.18))
    return figure


def walk(game: Game, walkers: int, stations: int, steps: int) -> np.ndarray:
    """Digits (walkers, stations * steps, 28, 28) on straight ways between random latents, and back to the first."""
    corners = fixed_latents(walkers * stations, game.settings, seed=3).reshape(walkers, stations, -1)
    share = np.arange(steps, dtype="float32")[:, None] / steps
    following = np.roll(corners, -1, axis=1)
    path = corners[:, :, None] * (1 - share) + following[:, :, None] * share  # (walkers, stations, steps, latent_dim)
    return game.draw(path.reshape(walkers * stations * steps, -1)).reshape(walkers, stations * steps, 28, 28)


# %% Measure

# (low, high) of the default preset on real digits and on the embedded ones; over several seeds.
EXPECTED = {
    "fid": [(0.5, 3)],
    "fid_floor": [(0.1, 0.25)],
    "fid_untrained": [(120, 300)],
    "kid": [(0.01, 0.08)],
    "classes_covered": [(10, 10)],
}


def measure(run, game: Game, data, judge: judges.Judge, untrained: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict]:
    """Measure the generator and its opponent; returns the generated digits, their classes, and the scores by name."""
    made = game.draw(fixed_latents(len(untrained), run.config, seed=2))
    scores = judges.scores(judge, made, untrained, data.train.images, data.test.images)
    predicted = np.argmax(judge.look(made)[1], axis=1)
    scores["classes_covered"] = metrics.classes_covered(predicted[:2_000], 10)
    for name, images in (("accuracy_real", scaled(data.test.images)), ("accuracy_fake", made[..., None])):
        says_real = game.discriminator.predict(images, batch_size=500, verbose=0) > game.threshold
        scores[name] = np.mean(says_real == (name == "accuracy_real"))
    for name, value in scores.items():
        count = min(2_000, len(made)) if name in ("classes_covered", "precision", "recall") else len(made)
        unit = f"({count:,} digits, {judge.name})" if not name.startswith(("nearest", "accuracy")) else ""
        run.metric(name, value, unit, *EXPECTED.get(name, ()))
    return made, predicted, scores


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, the two networks, the game, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.mnist(run)
        judge = judges.judge(run, "MNIST", data.train, data.test)
        game = Game(run.config)
        run.diagram(game.generator, "generator")
        run.diagram(game.discriminator, "discriminator")
        untrained = game.draw(fixed_latents(min(run.config.samples, len(data.test)), run.config, seed=2))
        history = train(run, game, data, judge)
        made, predicted, scores = measure(run, game, data, judge, untrained)
        run.figure("samples", draw_samples(made[:144], scores), headline=True)
        every, last = run.config.sample_every, history.epochs[-1]
        rounds = [min(frame * every, last) for frame in range(len(history.frames))]
        run.figure("progress", judges.draw_progress(history.frames, rounds, height=28))
        run.gif("training", history.frames)
        kid = dict(zip(history.epochs, history["kid"], strict=True))
        tied, floor = judges.tied_losses(game.undecided), scores["kid_floor"]
        run.figure("curves", judges.draw_curves(history.epochs, history, tied, kid, floor, "digits"))
        run.figure("nearest", judges.draw_nearest(made, data.train.images, scores, "digit"))
        run.figure("classes", draw_classes(data.test.labels, predicted, scores["classes_covered"]))
        walks = walk(game, walkers=32, stations=3, steps=12)
        run.figure("walk", figures.image_grid(walks[:5, :25:2], "From one latent to another, and on to a third"))
        run.gif("walk", [figures.tile(frame, columns=8) for frame in walks.swapaxes(0, 1)])


if __name__ == "__main__":
    main()

# What to try next
# 1. --dropout 0: watch the accuracies and the KID. Who wins, and does it help the digits?
# 2. --average 0 shows the playing generator itself. Compare the GIFs: what does the average take away, what not?
# 3. --latent-dim 2: draw a map as in lesson 10. Does the game fill the square, are there all ten digits on it?
