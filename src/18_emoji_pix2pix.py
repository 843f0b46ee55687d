"""18 · Pix2Pix: a line drawing becomes a coloured picture, and why an average is not enough.

Pairs are given: the outlines of an emoji, x, and the coloured emoji, y. A generator G shall colour drawings that it has
not seen. The obvious loss compares pixel by pixel:

    L1(G) = E |y - G(x)|

Where the outlines tell the colour (a face is yellow), that works. Where they do not (a car, a balloon), the loss is
least at the median of all colours that the pixel could have, which is often the colour of nothing: pale, grey, brown.
Pix2Pix adds a second network, a discriminator D, that learns to tell true pairs (x, y) from generated ones (x, G(x)):

    D maximises    E log D(x, y) + E log(1 - D(x, G(x)))
    G minimises  - E log D(x, G(x)) + lambda E |y - G(x)|,        lambda = 100

A muddy area is now easy to detect, and G should decide on one of the colours. In some minutes of training the colours
become stronger by it, but neither truer nor cleaner: the scores and the figures show both. Two things matter. D sees
the input too: a good picture that does not fit the drawing is as wrong as a bad one. And D judges patches (a PatchGAN):
it has a logit for every neighbourhood of some pixels, and L1 takes care of what is larger than that.

A generator is trained by L1 alone. A copy of it is then trained on by both losses.

What you will see: held-out drawings coloured by both, beside the truth; what the discriminator calls fake, as a map;
signs, whose colours nobody could know; in which groups of drawings a colour can be known; a GIF of the training.

Run:    python src/18_emoji_pix2pix.py                       about a minute on two CPU cores
        python src/18_emoji_pix2pix.py --resume --drawing my_drawing.png       colours a drawing of your own
Makes:  output/18_emoji_pix2pix.png and output/18_emoji_pix2pix/
Source: Isola, Zhu, Zhou & Efros, Image-to-Image Translation with Conditional Adversarial Networks, arXiv:1611.07004
Data:   OpenMoji (openmoji.org), CC BY-SA 4.0; the coloured pictures made from it are under the same licence
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from lessonkit import backbones, config, datasets, figures, judges, training
from lessonkit import run as lesson
from lessonkit.layers import GroupNorm

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A narrow U-Net at 64 x 64, for a CPU. `full` has the paper's width, at 256 x 256, for a GPU."""

    dataset: Literal["emoji", "facades"] = "emoji"  # facades: the tutorials' data, photographs from label maps
    size: Literal[64, 128, 256] = 64  # pixels of a picture's side
    steps: config.Count = 2_200  # by L1 alone
    adversarial_steps: config.Count = 600  # by both losses, from the weights that L1 alone has found
    batch_size: config.Count = 8  # small batches: more steps in the same time (the paper has 1)
    learning_rate: config.Rate = 2e-3  # at the start; it decays to zero along a cosine
    adversarial_rate: config.Rate = 1e-3  # of the generator with both losses, likewise
    discriminator_rate: config.Rate = 3e-4  # constant; faster, it soon tells everything apart
    average: Annotated[float, config.Range(0, 0.9999)] = 0.995  # decay of the average of the second generator's weights
    channels: tuple[config.Count, ...] = (24, 48, 64, 64)  # of the generator at 1/2, 1/4, 1/8, 1/16 of the size
    patch_channels: tuple[config.Count, ...] = (24, 48)  # of the discriminator, at 1/2 and 1/4 of the size
    pixel_weight: float = 40  # lambda (the paper has 100, and 20 to 100 times as many steps)
    dropout: config.Fraction = 0.5  # in the innermost block of the decoder
    sample_every: config.Count = 100  # steps from one frame of the GIF, and one checkpoint, to the next
    drawing: Path | None = None  # a line drawing of your own to be coloured (any format that Pillow opens)
    distribute: config.Alone = "none"  # a loop of its own

    sampling_only: ClassVar = ("drawing",)


LARGE = {"size": 256, "steps": 40_000, "adversarial_steps": 40_000, "batch_size": 4, "sample_every": 2_000}
LARGE |= {"learning_rate": 2e-4, "adversarial_rate": 2e-4, "discriminator_rate": 2e-4, "average": 0.999}
LARGE |= {"channels": (64, 128, 256, 512, 512, 512), "patch_channels": (64, 128, 256)}
TINY = {"steps": 4, "adversarial_steps": 4, "batch_size": 4, "channels": (8, 8), "patch_channels": (8,), "limit": 8}
TINY |= {"sample_every": 2, "data": "embedded"}
PRESETS = {"full": LARGE, "smoke": TINY}

# %% Data


def load(run: lesson.Run) -> datasets.Pairs:
    """Drawings and coloured pictures, uint8."""
    return {"emoji": datasets.emoji_pairs, "facades": datasets.facades}[run.config.dataset](run, run.config.size)


def scaled(images):
    """uint8 -> float32 in [-1, 1], the range of the generator's tanh."""
    return ops.cast(images, "float32") / 127.5 - 1


def augmented(inputs, targets, seed):
    """A batch of pairs as floats in [-1, 1], each pair mirrored or not: both pictures of it alike."""
    mirrored = tf.random.stateless_uniform((inputs.shape[0], 1, 1, 1), seed) < 0.5
    return tuple(scaled(tf.where(mirrored, images[:, :, ::-1], images)) for images in (inputs, targets))


# %% Model

# The generator is a U-Net: an encoder that halves the picture until it sees all of it, and a decoder that goes back up.
# Skip connections hand the encoder's maps to the decoder at every size, so the outlines need not pass the bottleneck.
# Blocks of 2 x 2 pixels are one place with four times the channels, at both ends: a quarter of the work.
#
# The paper normalises by batches of one picture. With batch normalisation a picture's colours depend on the others in
# its batch; instance normalisation of a 1 x 1 bottleneck subtracts each value from itself, and nothing is left. Groups
# of channels, normalised picture by picture at 4 x 4 and above, have neither fault.
#
# Dropout in the decoder was meant as the noise z of a conditional GAN; as usual it is switched off at test time;
# left on, as the paper has it, it changes the colours by no more than `dropout_spread`.


def to_blocks(images):
    """(batch, 2 n, 2 n, c) -> (batch, n, n, 4 c): every block of 2 x 2 pixels becomes one place."""
    half, channels = images.shape[1] // 2, images.shape[3]
    blocks = ops.transpose(ops.reshape(images, (-1, half, 2, half, 2, channels)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(blocks, (-1, half, half, 4 * channels))


def to_pixels(blocks):
    """The inverse: (batch, n, n, 4 c) -> (batch, 2 n, 2 n, c)."""
    size, channels = blocks.shape[1], blocks.shape[3] // 4
    pixels = ops.transpose(ops.reshape(blocks, (-1, size, size, 2, 2, channels)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(pixels, (-1, 2 * size, 2 * size, channels))


def build_generator(settings: Config, input_channels: int) -> keras.Model:
    """Drawings (batch, size, size, 1 or 3) -> pictures (batch, size, size, 3), both in [-1, 1]."""
    images = keras.Input((settings.size, settings.size, input_channels))
    hidden = blocks = to_blocks(images)  # (batch, size / 2, size / 2, 4 or 12)
    skips = [blocks]
    for level, channels in enumerate(settings.channels):  # size / 2, size / 4, ...
        kernel, strides = (4, 2) if level else (3, 1)
        hidden = layers.Conv2D(channels, kernel, strides, padding="same")(hidden)
        hidden = ops.leaky_relu(GroupNorm()(hidden) if level else hidden, 0.2)
        skips.append(hidden)
    skips.pop()  # the innermost is where the decoder begins
    for level, channels in enumerate(settings.channels[-2::-1]):
        hidden = layers.Conv2DTranspose(channels, 4, strides=2, padding="same")(hidden)
        hidden = GroupNorm()(hidden)
        if level == 0:
            hidden = layers.Dropout(settings.dropout)(hidden)
        hidden = ops.relu(ops.concatenate([hidden, skips.pop()], axis=-1))  # half of it straight from the encoder
    hidden = ops.concatenate([hidden, skips.pop()], axis=-1)  # and the drawing itself
    pictures = to_pixels(layers.Conv2D(12, 3, padding="same", activation="tanh")(hidden))
    return keras.Model(images, pictures, name="generator")


# The discriminator is fully convolutional: each of its logits depends on one patch of the pair. It has no global view
# and few weights, and the mean over all patches is its verdict.


def build_discriminator(settings: Config, input_channels: int) -> keras.Model:
    """Drawings and pictures -> a logit for each patch (batch, size / 4, size / 4, 1): above zero for true."""
    images = keras.Input((settings.size, settings.size, input_channels))
    pictures = keras.Input((settings.size, settings.size, 3))
    hidden = ops.concatenate([images, pictures], axis=-1)
    for level, channels in enumerate(settings.patch_channels):
        hidden = layers.Conv2D(channels, 4, strides=2, padding="same")(hidden)
        hidden = ops.leaky_relu(GroupNorm()(hidden) if level else hidden, 0.2)
    hidden = layers.Conv2D(settings.patch_channels[-1], 3, padding="same")(hidden)
    hidden = ops.leaky_relu(GroupNorm()(hidden), 0.2)
    return keras.Model([images, pictures], layers.Conv2D(1, 3, padding="same")(hidden), name="discriminator")


def patch_size(settings: Config) -> int:
    """Pixels of the side of the patch that one logit of the discriminator sees (normalisation aside)."""
    seen = 5  # two convolutions of 3 x 3
    for _ in settings.patch_channels:
        seen = 2 * seen + 2  # a 4 x 4 kernel with stride 2
    return seen


# %% Train


def discriminator_loss(real_logits, fake_logits):
    """Cross-entropy in nats of true and generated pairs, halved as in the paper: ln 2 = 0.69 for a guess."""
    return (ops.mean(ops.softplus(-real_logits)) + ops.mean(ops.softplus(fake_logits))) / 2


def generator_loss(fake_logits):
    """The non-saturating loss - log D(x, G(x)), in nats."""
    return ops.mean(ops.softplus(-fake_logits))


# The weights of the second generator keep moving, and with them the colours of what the outlines leave open. A running
# average of its weights colours what is shown and measured.


class Pix2Pix:
    """A generator, a discriminator unless L1 alone is to train it, and one training step."""

    def __init__(self, settings: Config, input_channels: int, start: keras.Model | None = None):
        """start: a generator trained by L1 alone, from whose weights both losses go on; None: L1 alone is to train."""
        keras.utils.set_random_seed(settings.seed)
        self.settings, self.adversarial = settings, start is not None
        self.generator = self.averaged = build_generator(settings, input_channels)
        self.steps = settings.adversarial_steps if self.adversarial else settings.steps
        rate = settings.adversarial_rate if self.adversarial else settings.learning_rate
        rates = {self.generator: training.warm_up_cosine(rate, self.steps)}
        if self.adversarial:
            self.generator.set_weights(start.get_weights())
            self.averaged = keras.models.clone_model(self.generator)
            self.averaged.set_weights(start.get_weights())
            self.discriminator = build_discriminator(settings, input_channels)
            rates[self.discriminator] = settings.discriminator_rate
        self.optimizers = [keras.optimizers.Adam(rate, beta_1=0.5) for rate in rates.values()]
        for network, optimizer in zip(rates, self.optimizers, strict=True):
            optimizer.build(network.trainable_variables)

    @property
    def variables(self) -> list:
        """All that a step changes: what a checkpoint must hold."""
        parts = [self.generator, *self.optimizers]
        parts += [self.averaged, self.discriminator] if self.adversarial else []
        return [variable for part in parts for variable in part.variables]

    @tf.function
    def train_step(self, inputs, targets) -> dict:
        """One step of the generator, and one of the discriminator, on pairs in [-1, 1]: the losses."""
        with tf.GradientTape() as tape, tf.GradientTape() as other_tape:
            pictures = self.generator(inputs, training=True)
            l1 = ops.mean(ops.abs(targets - pictures))
            loss, logs = self.settings.pixel_weight * l1, {"l1": l1 / 2}  # logged on the scale from 0 to 1
            if self.adversarial:
                real, fake = self.discriminator([inputs, targets]), self.discriminator([inputs, pictures])
                adversarial, judged = generator_loss(fake), discriminator_loss(real, fake)
                loss += adversarial
                logs |= {"generator_loss": adversarial, "discriminator_loss": judged}
        # One pass of the discriminator serves both losses; each gradient is taken for the weights of one network alone.
        networks = [(tape, loss, self.generator)]
        if self.adversarial:
            networks.append((other_tape, judged, self.discriminator))
        gradients = [one.gradient(value, network.trainable_variables) for one, value, network in networks]
        for optimizer, gradient, (_, _, network) in zip(self.optimizers, gradients, networks, strict=True):
            optimizer.apply_gradients(zip(gradient, network.trainable_variables, strict=True))
        if self.adversarial:
            variables = zip(self.averaged.trainable_variables, self.generator.trainable_variables, strict=True)
            for average, current in variables:
                average.assign(current + self.settings.average * (average - current))
        return logs

    def colour(self, inputs: np.ndarray) -> np.ndarray:
        """Drawings uint8 (n, size, size, 1 or 3) -> pictures (n, size, size, 3) in [0, 1], without dropout."""
        return coloured(self.averaged, inputs)

    def verdicts(self, inputs: np.ndarray, pictures: np.ndarray) -> np.ndarray:
        """The discriminator's probability, patch by patch, that pairs are true: (n, size / 4, size / 4).

        inputs uint8; pictures uint8 or in [0, 1].
        """
        pictures = scaled(pictures if pictures.dtype == np.uint8 else 255 * pictures)
        return np.asarray(ops.sigmoid(self.discriminator([scaled(inputs), pictures])))[..., 0]


def coloured(generator: keras.Model, inputs: np.ndarray, dropout: bool = False) -> np.ndarray:
    """Pictures (n, size, size, 3) in [0, 1] by a generator."""
    parts = [generator(scaled(inputs[part]), training=dropout) for part in training.parts(len(inputs), "drawings", 64)]
    return (np.concatenate(parts) + 1) / 2


def train(run: lesson.Run, model: Pix2Pix, data: datasets.Pairs, name: str) -> lesson.History:
    """The training loop; every so many steps the same held-out drawings again."""
    settings, shown = run.config, data.test.inputs[:16]
    with run.loop(
        model.steps,
        model.variables,
        model.optimizers,
        name=name,
        sample=lambda: figures.tile(model.colour(shown), columns=8),
        sample_every=settings.sample_every,
    ) as loop:
        pairs = (data.train.inputs, data.train.targets)
        for batch in loop.batches(training.Batches(pairs, settings.batch_size, settings.seed, augmented, random=True)):
            loop.log(model.train_step(*batch))
    return run.history(name, loop.history, loop.samples)


# %% Look

NAMES = ("drawing", "L1 alone", "L1 + adversarial", "truth")


def draw_columns(part: datasets.PairSplit, results: dict, title: str, first: int = 0, columns: int = 14):
    """Drawings, both results and the truth below each other."""
    chosen = slice(first, first + columns)
    rows = [part.inputs[chosen], *(pictures[chosen] for pictures in results.values()), part.targets[chosen]]
    return figures.image_grid(rows, title, NAMES, size=0.72)


def draw_verdicts(model: Pix2Pix, data: datasets.Pairs, results: dict, columns: int = 9) -> figures.Figure:
    """Where the discriminator calls three kinds of pairs true or fake: pictures above their maps."""
    inputs = data.test.inputs[:columns]
    kinds = {name: pictures[:columns] for name, pictures in results.items()} | {"truth": data.test.targets[:columns]}
    maps = {name: model.verdicts(inputs, pictures) for name, pictures in kinds.items()}
    figure, axes = figures.subplots(6, columns, width=8.6, height=5.6, squeeze=False)
    figure.get_layout_engine().set(w_pad=0.01, h_pad=0.01, wspace=0.02, hspace=0.02)
    pixels = patch_size(model.settings)
    figure.suptitle(f"The discriminator's probability of a true pair, one for each patch of {pixels} x {pixels} pixels")
    for row, (name, pictures) in enumerate(kinds.items()):
        for column, (picture, verdict) in enumerate(zip(pictures, maps[name], strict=True)):
            figures.show_image(axes[2 * row, column], picture)
            cell = axes[2 * row + 1, column]
            shown = cell.imshow(verdict, cmap="cividis", vmin=0, vmax=1)
            cell.set(xticks=[], yticks=[])
        for cell, label in zip(axes[2 * row :, 0], (name, f"mean {maps[name].mean():.2f}"), strict=False):
            cell.set_ylabel(label, rotation=0, ha="right", va="center", fontsize=9)
    figure.colorbar(shown, ax=axes, label="0: generated, 1: true", shrink=0.6, pad=0.01)
    return figure


def draw_groups(part: datasets.PairSplit, errors: dict[str, np.ndarray], signs: dict[str, float]) -> figures.Figure:
    """L1 of each group of held-out drawings as a share of the uncoloured drawing's: where a colour can be known."""
    groups = sorted(set(part.groups), key=lambda group: part.groups.count(group))
    table = {}
    for group in groups:
        there = np.array([its == group for its in part.groups])
        label = f"{group} ({there.sum()})"
        table[label] = [errors[name][there].mean() / errors["copy"][there].mean() for name in NAMES[1:3]]
    if signs:
        table["signs, not trained on"] = [signs[name] / signs["copy"] for name in NAMES[1:3]]
    title = "Where the outlines tell the colour: error as a share of the uncoloured drawing's"
    figure, axes = figures.subplots(width=8, height=3.8, title=title)
    for offset, name in enumerate(NAMES[1:3]):
        axes.barh(np.arange(len(table)) + 0.4 * offset, [row[offset] for row in table.values()], 0.38, label=name)
    axes.set_yticks(np.arange(len(table)) + 0.2, table)
    axes.axvline(1, color="black", linestyle=":", linewidth=1.2)
    axes.set(xlabel="L1 / L1 of the drawing itself (1: no better than no colour)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8)  # above: it hides no bar
    return figure


def draw_curves(alone: lesson.History, both: lesson.History) -> figures.Figure:
    """L1 over both trainings, and the two players' losses over the second."""
    title = "L1 of training batches, and the two players of the second training"
    figure, (left, right) = figures.subplots(1, 2, width=8.5, height=3.4, title=title)
    left.plot(alone.epochs, alone["l1"], label=NAMES[1])
    left.plot(alone.epochs[-1] + np.array(both.epochs), both["l1"], label=NAMES[2])
    left.set(xlabel="step", ylabel="L1")
    for name in ("generator", "discriminator"):
        right.plot(both.epochs, both[f"{name}_loss"], label=name)
    right.axhline(np.log(2), color="black", linestyle=":", linewidth=1.2, label="ln 2: a guess")
    right.set(xlabel="step of the second training", ylabel="loss (nats)")
    for cell in (left, right):
        cell.legend(fontsize=8)
    return figure


# %% Measure

# (low, high) of the default preset.
EXPECTED = {"test_l1": (0.05, 0.0603), "test_l1_adversarial": (0.054, 0.075), "copy_l1": (0.08, 0.081)}
EXPECTED |= {"colourfulness_truth": (53, 54), "parameters": (341_276, 341_276)}
EXPECTED |= {"patch_fid": (0.13, 0.2), "patch_fid_adversarial": (0.11, 0.17)}
LEAST = 8  # pairs


def l1(pictures: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Mean absolute difference (n,) of pictures (n, size, size, channels) in [0, 1] to uint8 ones."""
    return np.abs(pictures - truth / np.float32(255)).mean(axis=(1, 2, 3))


def colourfulness(pictures: np.ndarray) -> np.ndarray:
    """How colourful pictures (n, height, width, 3) in [0, 1] are: 0 for grey, about 60 for a bright emoji, (n,).

    Source: Hasler & Süsstrunk 2003, Measuring colourfulness in natural images, eq. for M3 (on sRGB values 0..255).
    """
    red, green, blue = np.moveaxis(255 * np.asarray(pictures, np.float64), -1, 0)
    opponents = np.stack([red - green, (red + green) / 2 - blue])
    spread, mean = opponents.std(axis=(2, 3)), opponents.mean(axis=(2, 3))
    return np.sqrt(np.square(spread).sum(axis=0)) + 0.3 * np.sqrt(np.square(mean).sum(axis=0))


def patch_features(backbone: backbones.Backbone, pictures: np.ndarray) -> np.ndarray:
    """Features of patches of pictures (n, size, size, 3) in [0, 1]: one vector for every place of a convnet's map."""
    layer = backbone.layers[len(backbone.layers) // 2]
    extractor = backbone.feature_extractor([layer])
    parts = [
        np.asarray(extractor(backbone.preprocess(255 * pictures[part]))[layer])
        for part in training.parts(len(pictures), "pictures", 64)
    ]
    return np.concatenate(parts).reshape(-1, parts[0].shape[-1])


def measure(run: lesson.Run, models: dict[str, Pix2Pix], data: datasets.Pairs) -> tuple[dict, dict]:
    """Colour the held-out drawings by both generators and compare them with the truth: pictures and L1, by name."""

    def metric(name, value, unit=""):
        run.metric(name, value, unit, EXPECTED.get(name))

    truth = data.test.targets / np.float32(255)
    results = {name: model.colour(data.test.inputs) for name, model in models.items()}
    drawings = np.broadcast_to(data.test.inputs / np.float32(255), truth.shape)
    errors = {name: l1(pictures, data.test.targets) for name, pictures in (results | {"copy": drawings}).items()}
    backbone = backbones.load(run, "cifar10_convnet")
    real = patch_features(backbone, truth)
    wanted = colourfulness(truth)
    for name, suffix in zip(NAMES[1:3], ("", "_adversarial"), strict=True):
        pictures = results[name]
        metric(f"test_l1{suffix}", errors[name].mean())
        metric(f"test_ssim{suffix}", np.mean(tf.image.ssim(truth, tf.constant(pictures, tf.float32), 1.0)))
        metric(f"patch_fid{suffix}", judges.fid(real, patch_features(backbone, pictures)), "(patches, convnet of 06)")
        metric(f"colourfulness{suffix}", colourfulness(pictures).mean())
        metric(f"colourfulness_error{suffix}", np.abs(colourfulness(pictures) - wanted).mean())
    metric("copy_l1", errors["copy"].mean())
    metric("colourfulness_truth", wanted.mean())
    return results, errors


def measure_signs(run: lesson.Run, models: dict[str, Pix2Pix], signs: datasets.PairSplit) -> tuple[dict, dict]:
    """The same of signs, which nothing was trained on: pictures, and mean L1 by name."""
    pictures = {name: model.colour(signs.inputs) for name, model in models.items()}
    values = {name: float(l1(its, signs.targets).mean()) for name, its in pictures.items()}
    drawings = np.broadcast_to(signs.inputs / np.float32(255), signs.targets.shape)
    values["copy"] = float(l1(drawings, signs.targets).mean())
    run.metric("signs_l1", values[NAMES[1]], "", EXPECTED.get("signs_l1"))
    run.metric("signs_copy_l1", values["copy"], "", EXPECTED.get("signs_copy_l1"))
    truth = signs.targets / np.float32(255)
    for suffix, its in (("_truth", truth), ("", pictures[NAMES[1]]), ("_adversarial", pictures[NAMES[2]])):
        name = f"signs_colourfulness{suffix}"
        run.metric(name, colourfulness(its).mean(), "", EXPECTED.get(name))
    return pictures, values


def dropout_spread(model: Pix2Pix, inputs: np.ndarray) -> float:
    """Mean absolute difference of two colourings of the same drawings with dropout left on."""
    one, other = (coloured(model.averaged, inputs, dropout=True) for _ in range(2))
    return float(np.abs(one - other).mean())


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data; two trainings; scores; columns, verdicts, signs, groups, curves; the reader's own drawing."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        own = None if settings.drawing is None else datasets.own_drawing(settings.drawing, settings.size)
        data = load(run)
        run.require(LEAST, training_pairs=len(data.train), test_pairs=len(data.test))
        channels = data.train.inputs.shape[-1]
        alone = Pix2Pix(settings, channels)
        histories = [train(run, alone, data, "l1")]
        adversarial = Pix2Pix(settings, channels, start=alone.generator)
        histories.append(train(run, adversarial, data, "adversarial"))
        models = dict(zip(NAMES[1:3], (alone, adversarial), strict=True))
        run.diagram(adversarial.generator, "generator")
        run.diagram(adversarial.discriminator, "discriminator")
        results, errors = measure(run, models, data)
        run.metric("dropout_spread", dropout_spread(adversarial, data.test.inputs), "", EXPECTED.get("dropout_spread"))
        run.metric("parameters", adversarial.generator.count_params(), "", EXPECTED["parameters"])
        title = f"Held-out {data.things}, none chosen, coloured by L1 alone and with a discriminator"
        run.figure("columns", draw_columns(data.test, results, title), headline=True)
        if len(data.test) > 14:
            run.figure("more", draw_columns(data.test, results, f"The next held-out {data.things}", first=14))
        run.figure("patches", draw_verdicts(adversarial, data, results))
        run.gif("training", histories[0].frames + histories[1].frames[1:])
        signs, sign_values = measure_signs(run, models, data.signs) if len(data.signs) else ({}, {})
        if signs:
            run.figure("signs", draw_columns(data.signs, signs, "Signs: nothing in the outlines tells the colour"))
        run.figure("groups", draw_groups(data.test, errors, sign_values))
        run.figure("curves", draw_curves(*histories))
        if own is not None:
            draw_own(run, models, own)


def draw_own(run: lesson.Run, models: dict[str, Pix2Pix], own: np.ndarray) -> None:
    """The reader's drawing and both of its colourings."""
    own = np.repeat(own, models[NAMES[1]].generator.input_shape[-1] // own.shape[-1], axis=-1)[None]
    pictures = [own[0], *(model.colour(own)[0] for model in models.values())]
    run.figure("drawing", figures.image_grid([[picture] for picture in pictures], "Your drawing", NAMES[:3], size=2))


if __name__ == "__main__":
    main()

# What to try next
# 1. --pixel-weight 10: the discriminator has four times more influence. Which errors become more frequent, and what do
#    test_l1 and patch_fid say?
# 2. --resume --drawing PATH: colour a drawing of your own. What must it look like for the colours to be sensible?
# 3. --patch-channels 24 48 48: a third stride makes the patches twice as large. Do larger areas become more uniform?
