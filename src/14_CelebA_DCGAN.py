"""14 · Faces by a DCGAN: a GAN as a keras.Model with its own train_step.

The two networks of lesson 12, now on colour pictures of 64 x 64. Both are convolutional (Radford, Metz & Chintala's
"DCGAN"): the discriminator halves the side of the picture again and again by convolutions of stride 2, the generator
doubles it by transposed ones, and there is no pooling; dense layers stand at the ends only.

Lessons 12 and 13 write their training loops by hand. This one overrides one method of keras.Model,

    train_step(images) -> {name: value}        what happens with ONE batch

and Keras does the rest: fit, the progress bar, metrics averaged over an epoch, callbacks, checkpoints. A train_step
of one's own is worth it where a step is unusual but the loop is not. A GAN's step has two losses and two optimizers,
and each loss changes the weights of one network only. With logits l, so that D = sigmoid(l), and labels y,

    loss_D = mean of cross_entropy(y, l)     over real faces, y a little below 1, and generated faces, y = 0
    loss_G = mean of cross_entropy(1, l)     over newly generated faces

In every 16th step a gradient penalty is added to loss_D, R1 = gamma / 2 * mean |gradient of l|^2 at real faces.

As in lesson 12 a third network judges the result. It recognises attributes: do they vary as in the training faces?

What you will see: generated faces, from the first step to the last; curves; attributes; nearest faces; walks; and why
transposed convolutions draw lattices.

Run:    python src/14_CelebA_DCGAN.py             about four minutes on two CPU cores
Makes:  output/14_CelebA_DCGAN.png and output/14_CelebA_DCGAN/
Source: Radford, Metz & Chintala, Unsupervised Representation Learning with DCGANs, arXiv:1511.06434;
        Odena, Dumoulin & Olah, Deconvolution and Checkerboard Artifacts, distill.pub/2016/deconv-checkerboard;
        Salimans et al., Improved Techniques for Training GANs, arXiv:1606.03498 (smoothed labels);
        Mescheder, Geiger & Nowozin, Which Training Methods for GANs do actually Converge?, arXiv:1801.04406 (R1)
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

from lessonkit import config, datasets, figures, judges, latents, training
from lessonkit import run as lesson
from lessonkit.config import StudyError
from lessonkit.datasets import LabelledImages, Split
from lessonkit.figures import games, generated

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# %% Parameters

ATTRIBUTES = ("Eyeglasses", "Blond_Hair", "Mustache", "Wearing_Hat", "Bangs", "Mouth_Slightly_Open", "Smiling")


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Two networks light enough for a CPU. `full` has those of the tutorials: work for a GPU."""

    epochs: config.Count = 20  # of `epoch_steps` training steps each; after each one a point of the curves and a frame
    epoch_steps: config.Count | None = 250  # the same cost, however many faces there are; None: one pass over the faces
    distribute: config.Alone = "none"  # two optimizers in one step
    batch_size: config.Count = 16  # small: in a few minutes the number of steps matters most
    learning_rate: config.Rate = 5e-4  # of both networks
    decay: bool = True  # the learning rate decays to zero along a cosine; False: it stays
    momentum: config.Fraction = 0.5  # Adam's beta_1; 0.9 averages over steps in which the opponent was another one
    latent_dim: config.Count = 128  # random numbers that a face is generated from, each from a standard Gaussian
    generator_channels: tuple[config.Count, ...] = (128, 64, 32, 16, 16)  # the side is doubled after each but the last
    discriminator_channels: tuple[config.Count, ...] = (16, 32, 64, 128)  # the side is halved before each
    upsampling: Literal["smooth", "transposed"] = (
        "smooth"  # smooth: flat areas stay flat; transposed: a free 4x4 kernel
    )
    batch_normalisation: bool = True  # in the generator: far fewer steps to the first face
    dropout: Annotated[float, config.Range(0, 0.95)] = 0.0  # before the discriminator's last layer
    label_noise: Annotated[float, config.Range(0, 0.5)] = 0.1  # real faces' labels are uniform in 1 - label_noise .. 1
    gradient_penalty: Annotated[float, config.Range(0, 100)] = 0.3  # gamma of R1; 0: none
    average: Annotated[float, config.Range(0, 0.9999)] = 0.999  # how slowly the averaged generator follows the trained
    faces: config.Count = 20_000  # the most CelebA faces to read for training
    samples: Annotated[int, config.Range(64, 60_000)] = 2_000  # faces generated for the measures
    attributes: tuple[str, ...] = ATTRIBUTES  # what the judge learns to recognise, by CelebA's names


PRESETS = {
    "full": {
        **{"epochs": 100, "epoch_steps": None, "batch_size": 32, "learning_rate": 1e-4, "decay": False},
        **{"momentum": 0.9, "generator_channels": (128, 128, 256, 512), "discriminator_channels": (64, 128, 128)},
        **{"upsampling": "transposed", "batch_normalisation": False, "dropout": 0.2, "label_noise": 0.05},
        **{"gradient_penalty": 0.0, "average": 0.0, "faces": 60_000},
    },
    "smoke": {"epochs": 2, "epoch_steps": 2, "batch_size": 16, "limit": 200, "data": "embedded", "samples": 64},
}

# %% Data


def load_faces(run: lesson.Run) -> LabelledImages:
    """Training and test faces: images uint8 (n, 64, 64, 3), labels boolean (n, attributes) for the judge only."""
    names = run.config.attributes
    data = datasets.celeba(run, run.config.faces, drawn={"train": 8_000, "test": 2_000})
    for name in names:
        if name not in data.attribute_names:
            raise StudyError(f"--attributes {name}: no such attribute; there are {', '.join(data.attribute_names)}")
    run.require(LEAST, training_faces=len(data.train), test_faces=len(data.test))
    train, test = (
        Split(part.images, np.stack([part.attributes[name] for name in names], axis=1))
        for part in (data.train, data.test)
    )
    return LabelledImages(train, test, names, data.name, data.things)


def scaled(images):
    """uint8 0..255 -> float32 0..1, the range of the generator's sigmoid; batch by batch in tf.data."""
    return tf.cast(images, tf.float32) / 255


# %% Model
# A transposed convolution of stride 2 computes even and odd pixels from different cells of its kernel: on a flat area
# they get different sums, and a lattice of period 2 appears, at every layer, until the weights have learned otherwise.
# If every pixel of the input is first copied to 2 x 2 pixels and a 3 x 3 convolution follows, all pixels of a flat area
# get the same sum, whatever the weights. Both steps together are one transposed convolution again: its 4 x 4 kernel is
# the 3 x 3 kernel, added up at the four places of a 2 x 2 square. That needs 4 products per pixel instead of 9.


def spread(kernel):
    """The sum of a kernel (3, 3, channels, inputs) at the four places of a 2 x 2 square: (4, 4, channels, inputs)."""
    wide = ops.pad(kernel, ((1, 1), (1, 1), (0, 0), (0, 0)))  # (5, 5, channels, inputs)
    return wide[1:, 1:] + wide[1:, :-1] + wide[:-1, 1:] + wide[:-1, :-1]


@keras.saving.register_keras_serializable(package="lesson_14")
class SmoothUpsampling(layers.Layer):
    """(batch, side, side, inputs) -> (batch, 2 side, 2 side, channels): copies to 2 x 2, then a 3 x 3 convolution."""

    def __init__(self, channels: int, **options):
        super().__init__(**options)
        self.channels = channels

    def build(self, shape):
        self.kernel = self.add_weight(
            shape=(3, 3, self.channels, shape[-1]), initializer="glorot_uniform", name="kernel"
        )
        self.bias = self.add_weight(shape=(self.channels,), initializer="zeros", name="bias")

    def call(self, images):
        return ops.conv_transpose(images, spread(self.kernel), strides=2, padding="same") + self.bias

    def get_config(self):
        return {**super().get_config(), "channels": self.channels}


def upsampling(channels: int, kind: str) -> layers.Layer:
    """A layer that doubles the side. A transposed kernel must be a multiple of the stride, here 4 (see `flat_area`)."""
    if kind == "smooth":
        return SmoothUpsampling(channels)
    return layers.Conv2DTranspose(channels, 4, strides=2, padding="same")


def build_generator(settings: Config) -> keras.Model:
    """Latents (batch, latent_dim) -> faces (batch, 64, 64, 3) in [0, 1]."""
    first, *others = settings.generator_channels
    side = 64 // 2 ** len(others)
    inputs = keras.Input((settings.latent_dim,))
    hidden = layers.Dense(side * side * first)(inputs)  # (batch, 2048); full: (batch, 8192)
    hidden = layers.Reshape((side, side, first))(hidden)  # (batch, 4, 4, 128); full: (batch, 8, 8, 128)
    for channels in others:  # (batch, 8, 8, 64) ... (batch, 64, 64, 16); full: ... (batch, 64, 64, 512)
        hidden = upsampling(channels, settings.upsampling)(hidden)
        if settings.batch_normalisation:
            hidden = layers.BatchNormalization(momentum=0.9)(hidden)
        hidden = layers.LeakyReLU(negative_slope=0.2)(hidden)
    images = layers.Conv2D(3, 5, padding="same", activation="sigmoid")(hidden)  # (batch, 64, 64, 3)
    return keras.Model(inputs, images, name="generator")


def build_discriminator(settings: Config) -> keras.Model:
    """Faces (batch, 64, 64, 3) -> one logit each, high for real."""
    images = hidden = keras.Input((64, 64, 3))
    for channels in settings.discriminator_channels:  # (batch, 32, 32, 16) ... (batch, 4, 4, 128)
        hidden = layers.Conv2D(channels, 4, strides=2, padding="same")(hidden)
        hidden = layers.LeakyReLU(negative_slope=0.2)(hidden)  # passes a gradient on where relu has none
    hidden = layers.Dropout(settings.dropout)(layers.Flatten()(hidden))  # (batch, 2048); full: (batch, 8192)
    return keras.Model(images, layers.Dense(1)(hidden), name="discriminator")  # (batch, 1)


# Every call of a network in train_step says training=True: nobody else does, and without it dropout is inactive and
# batch normalisation never updates its averages. The noise on the labels of real faces goes INWARDS, from 1 down: with
# a label above 1 the cross-entropy has no lower bound.

cross_entropy = keras.losses.BinaryCrossentropy(from_logits=True)
LAZY = 16  # the gradient penalty is applied in every 16th step, with 16 times the weight (Karras et al. 2020)


@keras.saving.register_keras_serializable(package="lesson_14")
class DCGAN(keras.Model):
    """Two keras.Models, generator and discriminator, and a step of their training; called, it generates faces."""

    def __init__(
        self, generator, discriminator, label_noise=0.0, gradient_penalty=0.0, average=0.0, seed=None, **options
    ):
        super().__init__(**options)
        self.generator, self.discriminator = generator, discriminator
        self.label_noise, self.gradient_penalty, self.average, self.seed = label_noise, gradient_penalty, average, seed
        # The two networks circle around an equilibrium. The mean of the generator's weights over the last 1 / (1 -
        # average) steps is closer to it than those of any single step: the mean generates the pictures.
        self.averaged = keras.models.clone_model(generator)
        self.averaged.set_weights(generator.get_weights())
        self.averaged.trainable = False
        self.seed_generator = keras.random.SeedGenerator(seed)
        names = ("generator_loss", "discriminator_loss", "accuracy_real", "accuracy_fake")
        self.trackers = {name: keras.metrics.Mean(name=name) for name in names}  # Keras resets them every epoch
        self.built = True  # both networks are

    def call(self, latents):
        """Latents (batch, latent_dim) -> faces (batch, 64, 64, 3) in [0, 1]."""
        return self.averaged(latents)

    def compile(self, generator_optimizer: keras.Optimizer, discriminator_optimizer: keras.Optimizer) -> None:
        """Each network has an optimizer of its own; the one that Keras calls `optimizer` is the discriminator's."""
        super().compile(optimizer=discriminator_optimizer)
        self.generator_optimizer = generator_optimizer
        generator_optimizer.build(self.generator.trainable_variables)
        discriminator_optimizer.build(self.discriminator.trainable_variables)

    @property
    def undecided(self) -> float:
        """The best answer to everything if the faces are indistinguishable: half of the mean label of the real ones."""
        return (1 - self.label_noise / 2) / 2

    @property
    def threshold(self) -> float:
        """The logit of that probability: what lies above is classified as real."""
        return float(np.log(self.undecided / (1 - self.undecided)))

    def draw_latents(self, count: int):
        """New random latents (count, latent_dim)."""
        return keras.random.normal((count, self.generator.input_shape[1]), seed=self.seed_generator)

    def penalty(self, images):
        """R1: half of the mean squared length of the logit's gradient at real faces (batch, 64, 64, 3)."""
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = self.discriminator(images, training=True)
        return ops.mean(ops.sum(ops.square(tape.gradient(logits, images)), axis=(1, 2, 3))) / 2

    def train_step(self, images) -> dict:
        """One step on real faces (batch, 64, 64, 3): first of the discriminator, then of the generator."""
        count, step = images.shape[0], self.optimizer.iterations
        # The discriminator. Its labels stay in [0, 1]; smoothing those of the generated faces, too, would reward the
        # generator for staying as it is.
        noise = self.label_noise * keras.random.uniform((count, 1), seed=self.seed_generator)
        labels = ops.concatenate([1 - noise, ops.zeros((count, 1))])
        faces = ops.concatenate([images, self.generator(self.draw_latents(count), training=True)])
        with tf.GradientTape() as tape:
            logits = self.discriminator(faces, training=True)
            discriminator_loss = total = cross_entropy(labels, logits)
            if self.gradient_penalty:
                weight = LAZY * self.gradient_penalty
                total += ops.cond(step % LAZY == 0, lambda: weight * self.penalty(images), lambda: ops.zeros(()))
        self.update(self.discriminator, self.optimizer, tape, total)
        # The generator, on new latents. The gradient passes through the discriminator, whose weights stay.
        with tf.GradientTape() as tape:
            fake_logits = self.discriminator(self.generator(self.draw_latents(count), training=True), training=True)
            generator_loss = cross_entropy(ops.ones((count, 1)), fake_logits)
        self.update(self.generator, self.generator_optimizer, tape, generator_loss)
        # The average follows faster at the beginning, so that it forgets the untrained weights.
        steps = ops.cast(step, "float32")
        average = ops.minimum(self.average, steps / (9 + steps))
        for averaged, trained in zip(self.averaged.weights, self.generator.weights, strict=True):
            averaged.assign(trained + average * (averaged - trained))
        self.trackers["generator_loss"].update_state(generator_loss)
        self.trackers["discriminator_loss"].update_state(discriminator_loss)
        self.trackers["accuracy_real"].update_state(ops.cast(logits[:count] > self.threshold, "float32"))
        self.trackers["accuracy_fake"].update_state(ops.cast(logits[count:] < self.threshold, "float32"))
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def update(self, network: keras.Model, optimizer: keras.Optimizer, tape: tf.GradientTape, loss) -> None:
        """One step of one network, although the tape has recorded both."""
        variables = network.trainable_variables
        optimizer.apply(tape.gradient(loss, variables), variables)

    def generate(self, latents: np.ndarray) -> np.ndarray:
        """Faces (n, 64, 64, 3) as uint8, as they are: none is stretched to full contrast."""
        parts = (latents[start : start + 250] for start in range(0, len(latents), 250))
        faces = np.concatenate([self.averaged.predict_on_batch(part) for part in parts])
        return np.round(255 * faces).astype(np.uint8)

    def get_config(self):
        """How to build this model again; Keras stores it beside the weights."""
        parts = {"generator": self.generator, "discriminator": self.discriminator}
        parts = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        names = ("label_noise", "gradient_penalty", "average", "seed")
        return {**super().get_config(), **parts, **{name: getattr(self, name) for name in names}}

    @classmethod
    def from_config(cls, config):
        parts = [keras.saving.deserialize_keras_object(config.pop(name)) for name in ("generator", "discriminator")]
        return cls(*parts, **config)


def build_gan(settings: Config, steps: int = 1) -> DCGAN:
    """An untrained, compiled GAN with these settings, for a training of so many steps."""
    networks = build_generator(settings), build_discriminator(settings)
    gan = DCGAN(*networks, settings.label_noise, settings.gradient_penalty, settings.average, settings.seed)
    rate = settings.learning_rate
    rates = [training.warm_up_cosine(rate, steps) if settings.decay else rate for _ in networks]
    gan.compile(*(keras.optimizers.Adam(rate, beta_1=settings.momentum) for rate in rates))
    return gan


# %% Train

SHEET = 16  # faces of a frame, in rows of 8
MEASURED = 256  # faces per point of the KID curve


def batches(settings: Config, images: np.ndarray) -> training.Batches:
    """Shuffled batches; an epoch has `epoch_steps` of them."""
    examples = training.Batches(images, settings.batch_size, settings.seed, transform=scaled)
    examples.steps_per_epoch = settings.epoch_steps or examples.steps_per_pass
    return examples


def train(run: lesson.Run, gan: DCGAN, examples: training.Batches, judge: judges.Judge | None = None) -> lesson.History:
    """Train; before the first step and after every epoch, generate faces from the SAME latents and measure them."""
    settings = run.config
    fixed = latents.normal(MEASURED, settings.latent_dim, settings.seed)
    real = None if judge is None else judge.features(examples.arrays[0][:MEASURED])

    def sample() -> np.ndarray:
        return figures.tile(gan.generate(fixed[:SHEET]), columns=8)

    def measure() -> dict[str, float]:
        return {"kid": judges.kid(real, judge.features(gan.generate(fixed)))[0]}

    return run.fit(gan, examples, name="gan", sample=sample, measure=measure if judge else None)


# %% Measure

LEAST = 65  # a Fréchet distance needs more faces than the judge has features
# By name: (low, high) on real faces, wide because their number varies, and on drawn ones, from two runs.
EXPECTED = {"fid": ((4, 40), (6, 26)), "kid": ((0.03, 0.8), (0.15, 1.1)), "fid_floor": (None, (0.2, 0.6))}
EXPECTED |= {"classes_covered": (None, (6, 7)), "lattice": (None, (0, 1)), "accuracy_real": (None, (0.75, 1))}


def attributes_covered(shares: np.ndarray) -> int:
    """Attributes of which both kinds are generated; shares (2, attributes) of generated and of real faces with them.

    Faces with it must be at least a tenth as frequent as among the real ones, and so must faces without it.
    """
    ours, real = shares
    return int(np.sum((ours >= real / 10) & (1 - ours >= (1 - real) / 10)))


def lattice(images: np.ndarray) -> float:
    """Energy of the pattern of period 2 in images uint8 (n, height, width, channels): mean over rows and columns."""
    values = images / np.float32(255)
    signs = 1 - 2 * (np.arange(images.shape[1]) % 2).astype("float32")  # 1, -1, 1, -1, ...
    return float(np.mean([np.mean(np.square(np.tensordot(values, signs, (axis, 0)))) for axis in (1, 2)]))


def measure(run: lesson.Run, gan: DCGAN, data: LabelledImages, judge: judges.Judge, untrained: np.ndarray):
    """Measure generator and discriminator; returns generated faces, Scores, and shares of the attributes."""
    test = data.test.images
    faces = gan.generate(latents.normal(len(untrained), run.config.latent_dim, run.config.seed, stream=2))
    scores = judges.scores(judge, faces, data)
    scores.report(run, EXPECTED, "faces")
    shares = np.stack([np.mean(judge.logits(images) > 0, axis=0) for images in (faces, test)])
    logits = [gan.discriminator.predict(scaled(images), batch_size=250, verbose=0) for images in (test, faces)]
    first = [judge.features(images[: scores.count]) for images in (data.train.images, untrained)]
    by_judge = f"faces, {judge.name})"
    values = {
        "fid_untrained": (judges.fid(*first), f"({scores.count:,} {by_judge}"),
        "classes_covered": (attributes_covered(shares), f"of {len(shares[0])} attributes ({len(faces):,} {by_judge}"),
        "attribute_gap": (np.mean(np.abs(shares[0] - shares[1])), ""),
        "lattice": (lattice(faces) / lattice(test), "(test faces: 1)"),
        "accuracy_real": (np.mean(logits[0] > gan.threshold), ""),  # without dropout
        "accuracy_fake": (np.mean(logits[1] < gan.threshold), ""),
    }
    for name, (value, unit) in values.items():
        run.metric(name, value, unit, *EXPECTED.get(name, ()))
    return faces, scores, shares, values["fid_untrained"][0]


# %% Look


def draw_samples(faces: np.ndarray, real: np.ndarray, scores: judges.Scores, untrained: float, data: LabelledImages):
    """The headline: faces (n, 64, 64, 3) from random latents, none selected; a row of the data below."""
    ends = f"test faces: {scores.fid_floor:.1f}, before training: {untrained:.0f}"
    title = f"{data.name[0].upper() + data.name[1:]}, generated: FID {scores.fid:.1f} ({ends})"
    parts = [figures.tile(images, columns=10) for images in (faces, real)]
    strip = np.full((16, parts[0].shape[1], 3), 255, np.uint8)
    sheet = np.concatenate([parts[0], strip, parts[1]])
    figure, cell = figures.subplots(width=9, height=9 * len(sheet) / sheet.shape[1] + 0.2, title=title)
    figures.show_image(cell, sheet)
    cell.set_yticks([len(parts[0]) / 2, len(sheet) - 32], ["generated", data.name], rotation=90, va="center")
    cell.tick_params(length=0)
    return figure


def flat_area(kernel: np.ndarray, layers_in_a_row: int = 3) -> np.ndarray:
    """A flat area after transposed convolutions of stride 2 with a kernel (side, side): its inner (32, 32) pixels."""
    values, kernel = ops.ones((1, 24, 24, 1)), ops.convert_to_tensor(kernel[:, :, None, None].astype("float32"))
    for _ in range(layers_in_a_row):
        values = ops.conv_transpose(values, kernel, strides=2, padding="same")
    middle = values.shape[1] // 2
    return np.array(values)[0, middle - 16 : middle + 16, middle - 16 : middle + 16, 0]


def draw_checkerboard(seed: int) -> figures.Figure:
    """A flat area through three layers: kernels of 3 x 3, 4 x 4 and `spread`; with equal and with random weights."""
    rows = []
    for weights in (np.ones, np.random.default_rng(seed).random):
        smooth = np.array(spread(weights((3, 3, 1, 1))))[:, :, 0, 0]
        areas = [flat_area(kernel) for kernel in (weights((3, 3)), weights((4, 4)), smooth)]
        rows.append(np.stack([area / area.mean() / 2.5 for area in areas]))
    captions = [["kernel 3 x 3", "kernel 4 x 4", "smooth"]] * 2
    title = "A flat grey area after three upsampling layers of stride 2"
    return figures.image_grid(rows, title, ["equal weights", "random weights"], captions, size=2.2)


def draw_attributes(names: Sequence[str], shares: np.ndarray, data: LabelledImages) -> figures.Figure:
    """Share of faces that the judge classifies as having an attribute; shares (2, attributes): generated, test."""
    title = f"Attributes of generated faces and of test faces ({data.name}), by the judge"
    figure, cell = figures.subplots(width=8, height=0.42 * len(names) + 1.2, title=title)
    places = np.arange(len(names))
    for offset, values, name in zip((-0.19, 0.19), shares, ("generated faces", "test faces"), strict=True):
        bars = cell.barh(places + offset, 100 * values, height=0.36, label=name)
        cell.bar_label(bars, fmt="%.0f", padding=2, fontsize=8)
    cell.set(xlabel="% of the faces classified as having it", xlim=(0, 100))
    cell.set_yticks(places, [name.replace("_", " ").lower() for name in names])
    cell.invert_yaxis()
    cell.legend(loc="lower right", fontsize=9)
    return figure


def walk(gan: DCGAN, settings: Config, walkers: int, stations: int, steps: int) -> np.ndarray:
    """Faces (walkers, stations * steps, 64, 64, 3) on closed paths of great circles between random latents."""
    corners = latents.normal(walkers * stations, settings.latent_dim, settings.seed, stream=3)
    paths = latents.great_circle(corners.reshape(walkers, stations, -1), steps)
    faces = gan.generate(paths.reshape(-1, settings.latent_dim))
    return faces.reshape(walkers, stations * steps, *faces.shape[1:])


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, the two networks, training, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        data = load_faces(run)
        judge = judges.judge(run, data)
        examples = batches(settings, data.train.images)
        gan = build_gan(settings, settings.epochs * examples.steps_per_epoch)
        run.diagram(gan.generator, "generator")
        run.diagram(gan.discriminator, "discriminator")
        untrained = gan.generate(latents.normal(settings.samples, settings.latent_dim, settings.seed, stream=2))
        history = train(run, gan, examples, judge)
        faces, scores, shares, fid_untrained = measure(run, gan, data, judge, untrained)
        shown = draw_samples(faces[:40], data.test.images[:10], scores, fid_untrained, data)
        run.figure("samples", shown, headline=True)
        run.figure("progress", generated.progress(history.frames, history.frame_steps, height=64))
        run.gif("training", history.frames[::2])
        by_step = dataclasses.replace(history, epochs=history.frame_steps[1:])  # one frame per epoch
        run.figure("curves", games.curves(by_step, games.tied_losses(gan.undecided), scores.kid_floor, "faces"))
        run.figure("checkerboard", draw_checkerboard(settings.seed))
        run.figure("nearest", generated.nearest(faces, data.train.images, scores, "face"))
        run.figure("attributes", draw_attributes(settings.attributes, shares, data))
        walks = walk(gan, settings, walkers=6, stations=3, steps=8)
        title = "From one latent to another on a great circle"
        run.figure("walk", figures.image_grid(walks[:3, :9], title, size=0.9))
        run.gif("walk", [figures.tile(frame, columns=6) for frame in walks.swapaxes(0, 1)])


if __name__ == "__main__":
    main()

# What to try next
# 1. --upsampling transposed: the kernels of 4 x 4 are free again. Where does the lattice appear, and when does it fade?
# 2. --gradient-penalty 0: what happens to the discriminator's accuracies, and to the faces?
# 3. --average 0 generates with the trained weights themselves. Compare the GIFs: what does the average remove?
# 4. Take all training=True out of train_step. Which losses change, and what do the generated faces look like now?
