"""14 · Faces by a DCGAN: a GAN as a keras.Model with its own train_step.

The two players of lesson 12, now on colour pictures of 64 x 64. Both are convolutional (Radford, Metz & Chintala's
"DCGAN"): the discriminator halves the picture again and again by convolutions of stride 2, the generator doubles it by
transposed ones, and there is no pooling and no dense layer but at the ends.

Lessons 12 and 13 write their training loops by hand. This one overrides one method of keras.Model,

    train_step(images) -> {name: value}        what happens with ONE batch

and everything around it stays Keras': fit, the bar, metrics that are averaged over an epoch, callbacks, checkpoints.
A train_step of one's own pays when a step is unusual but the loop is not. A GAN's step is: two losses, two optimizers,
and each moves the weights of one player only. With logits l, so that D = sigmoid(l), and labels y,

    loss_D = mean of cross_entropy(y, l)     over real faces, y a little below 1, and generated faces, y = 0
    loss_G = mean of cross_entropy(1, l)     over new generated faces

Two details decide whether this works. Every call says training=True: in a train_step of one's own nobody else does, and
without it dropout does nothing and batch normalisation never learns what is normal. And the noise on the real labels
goes INWARDS, from 1 down to 0.8. Were a label above 1, the cross-entropy would have no lower bound.

The kernel of every transposed convolution is a multiple of its stride, so that every pixel is the sum of as many
products as its neighbours. One figure shows what happens otherwise.

As in lesson 12 a third network judges, one that reads attributes: do the faces vary as the real ones do?

What you will see: faces of nobody, from the first round to the last; curves; attributes; nearest faces; walks.

Run:    python src/14_CelebA_DCGAN.py             about two and a half minutes on two CPU cores
Makes:  output/14_CelebA_DCGAN.png and output/14_CelebA_DCGAN/
Source: Radford, Metz & Chintala, Unsupervised Representation Learning with DCGANs, arXiv:1511.06434;
        Odena, Dumoulin & Olah, Deconvolution and Checkerboard Artifacts, distill.pub/2016/deconv-checkerboard;
        Salimans et al., Improved Techniques for Training GANs, arXiv:1606.03498 (smoothed labels)
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, judges, metrics, training
from lessonkit import run as lesson
from lessonkit.config import StudyError
from lessonkit.datasets.source import Split

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# %% Parameters

ATTRIBUTES = ("Eyeglasses", "Blond_Hair", "Mustache", "Wearing_Hat", "Bangs", "Mouth_Slightly_Open", "Smiling")


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A pair of networks light enough for a CPU. `full` has the tutorials': a GPU's work."""

    epochs: config.Count = 32  # parts of a pass over the faces; after each the curves get a point, the GIF a frame
    parts: config.Count = 4  # so many epochs make one pass
    steps: config.Count | None = 4_000  # rounds at most, however many faces there are
    distribute: config.Alone = "none"  # two optimizers in one step
    batch_size: config.Count = 16  # small: in minutes it is the number of rounds that counts
    learning_rate: config.Rate = 5e-4  # the same for both players
    momentum: config.Fraction = 0.5  # Adam's beta_1: 0.9 remembers an opponent who plays differently by now
    latent_dim: config.Count = 128  # random numbers that a face is made from, each from a standard Gaussian
    light: bool = True  # few channels where the pictures are large, and batch normalisation in the generator
    dropout: Annotated[float, config.Range(0, 0.95)] = 0.2  # before the discriminator's last layer
    label_noise: Annotated[float, config.Range(0, 0.5)] = 0.2  # real faces' labels are uniform in 1 - label_noise .. 1
    average: Annotated[float, config.Range(0, 0.9999)] = 0.99  # how slowly the shown generator follows the playing one
    faces: config.Count = 20_000  # the most CelebA faces to read for training
    samples: Annotated[int, config.Range(64, 60_000)] = 2_000  # faces made for the measures
    attributes: tuple[str, ...] = ATTRIBUTES  # what the judge learns to see, by CelebA's names


PRESETS = {
    "full": {
        **{"epochs": 100, "parts": 1, "steps": None, "batch_size": 32, "learning_rate": 1e-4, "momentum": 0.9},
        **{"light": False, "label_noise": 0.05, "average": 0.0, "faces": 60_000},
    },
    "smoke": {"epochs": 2, "steps": 4, "batch_size": 16, "limit": 200, "data": "embedded", "samples": 64},
}

# %% Data


def load_faces(run: lesson.Run) -> tuple[Split, Split]:
    """Training and test faces: images uint8 (n, 64, 64, 3), labels boolean (n, attributes) for the judge only."""
    data = datasets.celeba(run, run.config.faces, drawn={"train": 8_000, "test": 2_000})
    for name in run.config.attributes:
        if name not in data.attribute_names:
            raise StudyError(f"--attributes {name}: no such attribute; there are {', '.join(data.attribute_names)}")
    return tuple(
        Split(part.images, np.stack([part.attributes[name] for name in run.config.attributes], axis=1))
        for part in (data.train, data.test)
    )


def scaled(images):
    """uint8 0..255 -> float32 0..1, the range of the generator's sigmoid; batch by batch in tf.data."""
    return tf.cast(images, tf.float32) / 255


def fixed_latents(count: int, settings: Config, seed: int = 0) -> np.ndarray:
    """Latents (count, latent_dim) that are the same at every call: only so can pictures of two moments be compared."""
    random = np.random.default_rng([settings.seed, seed])
    return random.standard_normal((count, settings.latent_dim)).astype("float32")


# %% Model


def build_generator(settings: Config) -> keras.Model:
    """Latents (batch, latent_dim) -> faces (batch, 64, 64, 3) in [0, 1]."""

    def activated(hidden):
        if settings.light:  # normalised over the batch: far fewer steps to the first face
            hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        return layers.LeakyReLU(negative_slope=0.2)(hidden)

    side, first, widths = (4, 128, (64, 32, 16)) if settings.light else (8, 128, (128, 256, 512))
    latents = keras.Input((settings.latent_dim,))
    hidden = layers.Dense(side * side * first)(latents)  # light: (batch, 2048), full: (batch, 8192)
    hidden = layers.Reshape((side, side, first))(hidden)
    if settings.light:
        hidden = activated(hidden)  # (batch, 4, 4, 128)
    for channels in widths:  # light: (batch, 8, 8, 64) ... (batch, 32, 32, 16); full: ... (batch, 64, 64, 512)
        hidden = activated(layers.Conv2DTranspose(channels, 4, strides=2, padding="same")(hidden))
    if settings.light:
        images = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid")(hidden)
    else:
        images = layers.Conv2D(3, 5, padding="same", activation="sigmoid")(hidden)
    return keras.Model(latents, images, name="generator")  # (batch, 64, 64, 3)


def build_discriminator(settings: Config) -> keras.Model:
    """Faces (batch, 64, 64, 3) -> one logit each, the higher the more real."""
    images = hidden = keras.Input((64, 64, 3))
    for channels in (16, 32, 64, 128) if settings.light else (64, 128, 128):
        hidden = layers.Conv2D(channels, 4, strides=2, padding="same")(hidden)  # (batch, 32, 32, .), (batch, 16, 16, .)
        hidden = layers.LeakyReLU(negative_slope=0.2)(hidden)  # lets gradients through where relu would stop them
    hidden = layers.Dropout(settings.dropout)(layers.Flatten()(hidden))  # light: (batch, 2048), full: (batch, 8192)
    return keras.Model(images, layers.Dense(1)(hidden), name="discriminator")  # (batch, 1)


cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)


@keras.saving.register_keras_serializable(package="lesson_14")
class DCGAN(keras.Model):
    """Two players and their game, one round of it a train_step; called, it draws faces from latents."""

    def __init__(
        self,
        generator: keras.Model,
        discriminator: keras.Model,
        label_noise: float = 0.0,
        average: float = 0.0,
        seed: int | None = None,
        **options,
    ):
        super().__init__(**options)
        self.generator, self.discriminator = generator, discriminator
        self.label_noise, self.average, self.seed = label_noise, average, seed
        # Players circle around the best play. The mean of the generator's weights over the last rounds, 1 / (1 -
        # average) of them, lies nearer to it than any one round's: that mean draws the pictures.
        self.shown = keras.models.clone_model(generator)
        self.shown.set_weights(generator.get_weights())
        self.shown.trainable = False
        self.seed_generator = keras.random.SeedGenerator(seed)
        names = ("generator_loss", "discriminator_loss", "accuracy_real", "accuracy_fake")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}  # Keras resets them every epoch
        self.built = True  # both players are

    def call(self, latents):
        """Latents (batch, latent_dim) -> faces (batch, 64, 64, 3) in [0, 1]."""
        return self.shown(latents)

    def compile(self, generator_optimizer: keras.Optimizer, discriminator_optimizer: keras.Optimizer) -> None:
        """Each player has an optimizer of its own; the one that Keras calls `optimizer` is the discriminator's."""
        super().compile(optimizer=discriminator_optimizer)
        self.generator_optimizer = generator_optimizer
        generator_optimizer.build(self.generator.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    @property
    def undecided(self) -> float:
        """What a discriminator says to everything if it cannot tell: half of the mean label of the real faces."""
        return (1 - self.label_noise / 2) / 2

    @property
    def threshold(self) -> float:
        """The logit of that probability: what lies above is taken for real."""
        return float(np.log(self.undecided / (1 - self.undecided)))

    def latents(self, count: int):
        """New random latents (count, latent_dim)."""
        return keras.random.normal((count, self.generator.input_shape[1]), seed=self.seed_generator)

    def train_step(self, images) -> dict:
        """One round on real faces (batch, 64, 64, 3): a step of the discriminator, then one of the generator."""
        count = images.shape[0]
        # The discriminator's turn. Its labels stay in [0, 1]; smoothing those of the generated faces, too, would
        # reward the generator for staying as it is.
        noise = self.label_noise * keras.random.uniform((count, 1), seed=self.seed_generator)
        labels = ops.concatenate([1 - noise, ops.zeros((count, 1))])
        faces = ops.concatenate([images, self.generator(self.latents(count), training=True)])
        with tf.GradientTape() as tape:
            logits = self.discriminator(faces, training=True)
            discriminator_loss = cross_entropy(labels, logits)
        self.move(self.discriminator, self.optimizer, tape, discriminator_loss)
        # The generator's turn, on new latents. The gradient flows through the discriminator, which does not move.
        with tf.GradientTape() as tape:
            generated = self.generator(self.latents(count), training=True)
            generator_loss = cross_entropy(ops.ones((count, 1)), self.discriminator(generated, training=True))
        self.move(self.generator, self.generator_optimizer, tape, generator_loss)
        for shown, playing in zip(self.shown.weights, self.generator.weights, strict=True):
            shown.assign(playing + self.average * (shown - playing))
        self.trackers["generator_loss"].update_state(generator_loss)
        self.trackers["discriminator_loss"].update_state(discriminator_loss)
        self.trackers["accuracy_real"].update_state(ops.cast(logits[:count] > self.threshold, "float32"))
        self.trackers["accuracy_fake"].update_state(ops.cast(logits[count:] < self.threshold, "float32"))
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def move(self, player: keras.Model, optimizer: keras.Optimizer, tape: tf.GradientTape, loss) -> None:
        """One step of one player, whatever else the tape has seen."""
        variables = player.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    def draw(self, latents: np.ndarray) -> np.ndarray:
        """Faces (n, 64, 64, 3) as uint8, as they are: none is stretched to full contrast."""
        faces = self.shown.predict(latents, batch_size=250, verbose=0)
        return np.round(255 * faces).astype(np.uint8)

    def get_config(self):
        """How to build this model again; Keras stores it beside the weights."""
        parts = {"generator": self.generator, "discriminator": self.discriminator}
        parts = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        settings = {"label_noise": self.label_noise, "average": self.average, "seed": self.seed}
        return {**super().get_config(), **parts, **settings}

    @classmethod
    def from_config(cls, config):
        names = ("generator", "discriminator")
        parts = {name: keras.saving.deserialize_keras_object(config.pop(name)) for name in names}
        return cls(**parts, **config)


def build_gan(settings: Config) -> DCGAN:
    """An untrained, compiled GAN with these settings."""
    players = build_generator(settings), build_discriminator(settings)
    gan = DCGAN(*players, settings.label_noise, settings.average, settings.seed)
    gan.compile(*(keras.optimizers.Adam(settings.learning_rate, beta_1=settings.momentum) for _ in players))
    return gan


# %% Train

SHEET = 8  # faces in a row, and rows, of a frame


def train(run: lesson.Run, gan: DCGAN, images: np.ndarray) -> lesson.History:
    """Play. `sample` is called before the first step and after every epoch, with the same 64 latents."""
    settings = run.config
    examples = training.Batches(images, settings.batch_size, settings.seed, transform=scaled, parts=settings.parts)
    latents = fixed_latents(SHEET**2, settings)
    return run.fit(gan, examples, name="gan", sample=lambda model: figures.tile(model.draw(latents), columns=SHEET))


def faces_of(frame: np.ndarray) -> np.ndarray:
    """The faces (64, 64, 64, 3) of a frame: what `figures.tile` has put together."""
    padded = np.pad(frame, ((0, 2), (0, 2), (0, 0)))
    cells = padded.reshape(SHEET, 66, SHEET, 66, 3)[:, :64, :, :64]
    return cells.swapaxes(1, 2).reshape(-1, 64, 64, 3)


# %% Look


def draw_samples(faces: np.ndarray, real: np.ndarray, scores: dict[str, float]) -> figures.Figure:
    """The headline: faces (n, 64, 64, 3) from random latents, none chosen, none left out; a row of real ones below."""
    title = (
        f"Faces of nobody: FID {scores['fid']:.1f} "
        f"(real faces not trained on: {scores['fid_floor']:.1f}, before training: {scores['fid_untrained']:.0f})"
    )
    parts = [figures.tile(images, columns=10) for images in (faces, real)]
    strip = np.full((16, parts[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([parts[0], strip, parts[1]])
    figure, cell = figures.subplots(width=9, height=9 * len(sheet) / sheet.shape[1] + 0.2, title=title)
    figures.show_image(cell, sheet)
    cell.set_yticks([len(parts[0]) / 2, len(sheet) - 32], ["generated", "real"], rotation=90, va="center")
    cell.tick_params(length=0)
    return figure


def contributions(kernel: int, strides: int = 2, layers_in_a_row: int = 3) -> np.ndarray:
    """How many products a pixel sums up after some transposed convolutions (all ones): the inner (32, 32) pixels."""
    counts = ops.ones((1, 24, 24, 1))
    for _ in range(layers_in_a_row):
        counts = ops.conv_transpose(counts, ops.ones((kernel, kernel, 1, 1)), strides=strides, padding="same")
    middle = counts.shape[1] // 2
    return np.array(counts)[0, middle - 16 : middle + 16, middle - 16 : middle + 16, 0]


def draw_checkerboard() -> figures.Figure:
    """Products a pixel, for three kernels of stride 2: the pattern that a network is born with."""
    figure, axes = figures.subplots(
        1, 3, width=9, height=3.7, title="A uniform grey through three transposed convolutions of stride 2"
    )
    for cell, kernel in zip(axes, (3, 4, 5), strict=True):
        counts = contributions(kernel)
        picture = cell.imshow(counts / counts.mean(), cmap="gray", vmin=0, vmax=2.5)
        cell.set(xticks=[], yticks=[])
        cell.grid(False)
        fits = "a multiple of 2" if kernel % 2 == 0 else "no multiple of 2"
        low, high = counts.min(), counts.max()
        products = f"{low:.0f} products everywhere" if low == high else f"{low:.0f} to {high:.0f} products a pixel"
        cell.set_title(f"kernel {kernel}, {fits}:\n{products}", fontsize=10)
    figure.colorbar(picture, ax=axes, shrink=0.8, label="brightness / mean")
    return figure


def draw_attributes(names: Sequence[str], shares: np.ndarray, scores: dict[str, float]) -> figures.Figure:
    """Share of the faces in which the judge sees an attribute; shares (2, attributes): generated and real ones."""
    title = (
        f"{scores['classes_covered']} of {len(names)} attributes covered: faces with and without come; "
        f"shares are {100 * scores['attribute_gap']:.0f} points off on average"
    )
    figure, cell = figures.subplots(width=8, height=0.42 * len(names) + 1.2, title=title)
    places = np.arange(len(names))
    for offset, values, name in zip((-0.19, 0.19), shares, ("generated faces", "test faces"), strict=True):
        bars = cell.barh(places + offset, 100 * values, height=0.36, label=name)
        cell.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
    cell.set(xlabel="judge sees it in so many % of the faces", xlim=(0, 100))
    cell.set_yticks(places, [name.replace("_", " ").lower() for name in names])
    cell.invert_yaxis()
    cell.legend(loc="lower right", fontsize=9)
    return figure


def walk(gan: DCGAN, settings: Config, walkers: int, stations: int, steps: int) -> np.ndarray:
    """Faces (walkers, stations * steps, 64, 64, 3) on the ways between random latents, and back to the first.

    Long Gaussian latents all have about one length, which cosine and sine as weights keep and a straight way does not.
    """
    corners = fixed_latents(walkers * stations, settings, seed=3).reshape(walkers, stations, 1, -1)
    angle = np.pi / 2 * np.arange(steps, dtype="float32")[:, None] / steps
    path = corners * np.cos(angle) + np.roll(corners, -1, axis=1) * np.sin(angle)  # (walkers, stations, steps, latents)
    faces = gan.draw(path.reshape(walkers * stations * steps, -1))
    return faces.reshape(walkers, stations * steps, *faces.shape[1:])


# %% Measure

# (low, high) of the default preset on real faces (never run there) and on drawn ones; over several seeds.
EXPECTED = {
    "fid": (None, (4, 20)),
    "fid_floor": (None, (0.2, 0.6)),
    "fid_untrained": (None, (60, 120)),
    "kid": (None, (0.1, 0.8)),
    "classes_covered": (None, (6, 7)),
    "attribute_gap": (None, (0.03, 0.2)),
    "accuracy_real": (None, (0.75, 1)),
    "accuracy_fake": (None, (0.85, 1)),
}


def attributes_covered(shares: np.ndarray) -> int:
    """Attributes of which both kinds come; shares (2, attributes) of generated and of real faces that have them.

    Faces with it must be at least a tenth as frequent as among the real ones, and so must faces without it.
    """
    generated, real = shares
    return int(np.sum((generated >= real / 10) & (1 - generated >= (1 - real) / 10)))


def measure(run: lesson.Run, gan: DCGAN, train: Split, test: Split, judge: judges.Judge, untrained: np.ndarray):
    """Measure generator and discriminator; returns the generated faces, shares of attributes, and scores by name."""
    made = gan.draw(fixed_latents(len(untrained), run.config, seed=2))
    scores = judges.scores(
        judge, made / np.float32(255), untrained / np.float32(255), train.images[:20_000], test.images
    )
    shares = np.stack([np.mean(judge.look(images)[1] > 0, axis=0) for images in (made, test.images)])
    scores["classes_covered"] = attributes_covered(shares)
    scores["attribute_gap"] = np.mean(np.abs(shares[0] - shares[1]))
    for name, images in (("accuracy_real", test.images), ("accuracy_fake", made)):
        logits = gan.discriminator.predict(images / np.float32(255), batch_size=250, verbose=0)
        scores[name] = np.mean((logits > gan.threshold) == (name == "accuracy_real"))
    compared = min(len(made), len(test))
    for name, value in scores.items():
        unit = f"({compared:,} faces, {judge.name})" if name.startswith(("fid", "kid")) else ""
        if name == "classes_covered":
            unit = f"of {len(shares[0])} attributes ({len(made):,} faces, {judge.name})"
        run.metric(name, value, unit, *EXPECTED.get(name, ()))
    return made, shares, scores


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, the two networks, the game, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        known, new = load_faces(run)
        judge = judges.judge(run, "CelebA", known.first(20_000), new)
        gan = build_gan(run.config)
        run.diagram(gan.generator, "generator")
        run.diagram(gan.discriminator, "discriminator")
        untrained = gan.draw(fixed_latents(run.config.samples, run.config, seed=2))
        history = train(run, gan, known.images)
        made, shares, scores = measure(run, gan, known, new, judge, untrained)
        run.figure("samples", draw_samples(made[:40], new.images[:10], scores), headline=True)
        rounds = np.linspace(0, int(gan.optimizer.iterations), len(history.frames)).round().astype(int)
        run.figure("progress", judges.draw_progress(history.frames, rounds, height=64))
        run.gif("training", [figures.tile(faces_of(frame)[:16], columns=8) for frame in history.frames[::2]])
        real = judge.look(known.images[: len(made)])[0]
        distances = [metrics.kernel_distance(real, judge.look(faces_of(frame))[0])[0] for frame in history.frames]
        kid = dict(zip(rounds, distances, strict=True))
        tied, floor = judges.tied_losses(gan.undecided), scores["kid_floor"]
        run.figure("curves", judges.draw_curves(rounds[1:], history, tied, kid, floor, "faces"))
        run.figure("checkerboard", draw_checkerboard())
        run.figure("nearest", judges.draw_nearest(made, known.images, scores, "face"))
        run.figure("attributes", draw_attributes(run.config.attributes, shares, scores))
        walks = walk(gan, run.config, walkers=12, stations=3, steps=8)
        run.figure("walk", figures.image_grid(walks[:3, :9], "From one latent to another", size=0.9))
        run.gif("walk", [figures.tile(frame, columns=6) for frame in walks.swapaxes(0, 1)])


if __name__ == "__main__":
    main()

# What to try next
# 1. --average 0 shows the playing generator itself. Compare the GIFs: what does the average take away, what not?
# 2. --label-noise 0, then 0.5. What happens to the discriminator's loss and to its accuracies, and do the faces suffer?
# 3. Take all training=True out of train_step. Which losses change, and what do the drawn faces look like now?
