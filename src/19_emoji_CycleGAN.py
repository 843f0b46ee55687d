"""19 · CycleGAN: from one style of drawing to another and back, learned without a single pair.

OpenMoji draws emoji with black outlines, Twemoji without, in other colours and other shapes. Lesson 18 had pairs that
fit to the pixel. Here the training gets two heaps of pictures, A and B, and never learns what belongs together. Two
generators translate, G_AB from A to B and G_BA back, and two discriminators judge whether a picture belongs to their
heap. Three losses teach the generators:

    adversarial   (D_B(G_AB(a)) - 1)^2                   the translation looks like a picture of B (least squares)
    cycle         7 |G_BA(G_AB(a)) - a|                 it still holds what is needed to get a back
    identity      5 |G_AB(b) - b|                        what is in B already stays as it is

and each of them once more with A and B exchanged. The discriminators minimise

    ((D_B(b) - 1)^2 + D_B(past translation)^2) / 2

where the past translations come from a pool of 50: half of what the discriminator gets is older than this step.

The adversarial loss alone is content with any picture of B, whatever a shows. The cycle loss demands that nothing is
lost. It does not demand that the meaning stays: a code that no eye sees in the translation would do as well. The
file names say which emoji show the same, so this lesson can measure, on held-out emoji, what the paper could not:
is the true counterpart the nearest of all emoji of the other heap? The same is trained once more without the cycle
loss.

What you will see: both ways there and back, beside the true counterparts; the translations without the cycle loss; how
often the true counterpart is found; whether the back-translation survives rounding and a slight blur; a GIF of the
training.

Run:    python src/19_emoji_CycleGAN.py                      about two minutes on two CPU cores
        python src/19_emoji_CycleGAN.py --resume --picture my_picture.png      translates a picture of your own
Makes:  output/19_emoji_CycleGAN.png and output/19_emoji_CycleGAN/
Source: Zhu, Park, Isola & Efros, Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial Networks,
        arXiv:1703.10593; Chu, Zhmoginov & Sandler, CycleGAN, a Master of Steganography, arXiv:1712.02950
Data:   OpenMoji (openmoji.org), CC BY-SA 4.0; Twemoji, Copyright 2020 Twitter, Inc and other contributors, CC BY 4.0
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar, Literal

from lessonkit import config, datasets, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from scipy import ndimage

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Narrow networks at 64 x 64, for a CPU. `full` has the paper's width and 256 x 256, for a GPU."""

    dataset: Literal["emoji", "horse2zebra"] = "emoji"  # horse2zebra: the paper's photographs
    size: Literal[32, 64, 128, 256] = 64  # pixels of a picture's side
    steps: config.Count = 1_600  # with the cycle loss, and as many without it
    batch_size: config.Count = 2  # pictures of each domain (the paper has 1)
    learning_rate: config.Rate = 1e-3  # of the generators at the start; all rates decay to zero along a cosine
    discriminator_rate: config.Rate = 4e-4  # at the start
    channels: tuple[config.Count, ...] = (24, 48)  # of the generators at 1/2 and 1/4 of the size
    blocks: config.Count = 3  # residual blocks of a generator, at 1/4 of the size
    patch_channels: tuple[config.Count, ...] = (24, 48)  # of the discriminators, at 1/2 and 1/4 of the size
    cycle_weight: float = 7  # of the cycle loss (the paper has 10, and a hundred times as many steps)
    identity_weight: float = 5  # of the identity loss, as in the paper
    pool: config.Count = 50  # past translations that each discriminator is shown again
    sample_every: config.Count = 80  # steps from one frame of the GIF, and one checkpoint, to the next
    picture: Path | None = None  # a picture of your own to be translated (any format that Pillow opens)
    distribute: config.Alone = "none"  # a loop of its own

    sampling_only: ClassVar = ("picture",)


LARGE = {"size": 256, "steps": 200_000, "batch_size": 1, "learning_rate": 2e-4, "discriminator_rate": 2e-4}
LARGE |= {"channels": (64, 128, 256), "blocks": 9, "patch_channels": (64, 128, 256)}
LARGE |= {"cycle_weight": 10, "sample_every": 5_000}
TINY = {"steps": 4, "batch_size": 2, "channels": (8,), "blocks": 1, "patch_channels": (8,), "limit": 8}
TINY |= {"size": 32, "sample_every": 2, "data": "embedded"}
PRESETS = {"full": LARGE, "smoke": TINY}

# %% Data


def load(run: lesson.Run) -> datasets.Domains:
    """Two domains of pictures, uint8; which of them belong together is known of held-out emoji alone."""
    source = datasets.emoji_domains if run.config.dataset == "emoji" else datasets.horse2zebra
    return source(run, run.config.size)


def scaled(images):
    """uint8 -> float32 in [-1, 1], the range of the generators' tanh."""
    return ops.cast(images, "float32") / 127.5 - 1


def augmented(images, seed):
    """A batch of pictures as floats in [-1, 1], each mirrored or not."""
    mirrored = tf.random.stateless_uniform((images.shape[0], 1, 1, 1), seed) < 0.5
    return scaled(tf.where(mirrored, images[:, :, ::-1], images))


def batches(domains: datasets.Domains, settings: Config) -> training.Unpaired:
    """Batches of both domains. Each has an order of its own, and begins anew when it is through."""

    def one(domain, seed):
        return training.Batches(domain.train, settings.batch_size, seed, augmented, random=True)

    return training.Unpaired(one(domains.first, settings.seed), one(domains.second, settings.seed + 1))


# %% Model

# A generator goes down to a quarter of the size, changes the maps there in residual blocks (each adds a correction to
# what it was given), and goes up again. The last two layers get the input itself beside these maps, so that what stays
# need not pass the middle: the paper's generators have no such path, and much more time.
#
# Instance normalisation gives every channel of every picture mean 0 and variance 1 by itself: contrast and tint of the
# input, which belong to its style, are taken out. At 1 x 1 it would subtract each value from itself. The discriminators
# have none: to them contrast and tint are part of what they judge.


class InstanceNorm(layers.Layer):
    """Each channel of each picture, normalised over its places to mean 0 and variance 1, then scaled and shifted.

    Source: Ulyanov, Vedaldi & Lempitsky 2016, arXiv:1607.08022, eq. 4.
    """

    def build(self, shape):
        if shape[1] == shape[2] == 1:
            raise ValueError("instance normalisation at 1 x 1 erases its input")
        self.gamma = self.add_weight(shape=(shape[-1],), initializer="ones", name="gamma")
        self.beta = self.add_weight(shape=(shape[-1],), initializer="zeros", name="beta")

    def call(self, inputs):
        """Maps (batch, height, width, channels), normalised."""
        mean, square = ops.mean(inputs, (1, 2), keepdims=True), ops.mean(ops.square(inputs), (1, 2), keepdims=True)
        scale = self.gamma * ops.rsqrt(ops.maximum(square - ops.square(mean), 0) + 1e-5)
        return inputs * scale + (self.beta - mean * scale)


def residual(hidden):
    """A correction by two convolutions, added: (batch, n, n, channels) -> the same shape."""
    change = layers.Conv2D(hidden.shape[-1], 3, padding="same", use_bias=False)(hidden)
    change = layers.Conv2D(hidden.shape[-1], 3, padding="same", use_bias=False)(ops.relu(InstanceNorm()(change)))
    return hidden + InstanceNorm()(change)


def build_generator(settings: Config, name: str) -> keras.Model:
    """Pictures (batch, size, size, 3) in [-1, 1] -> pictures of the same shape and range."""
    hidden = images = keras.Input((settings.size, settings.size, 3))
    for channels in settings.channels:  # size / 2, size / 4, ...
        hidden = layers.Conv2D(channels, 4, strides=2, padding="same", use_bias=False)(hidden)
        hidden = ops.relu(InstanceNorm()(hidden))
    for _ in range(settings.blocks):
        hidden = residual(hidden)
    for channels in settings.channels[-2::-1]:
        hidden = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", use_bias=False)(hidden)
        hidden = ops.relu(InstanceNorm()(hidden))
    hidden = ops.concatenate([layers.UpSampling2D()(hidden), images], axis=-1)
    hidden = ops.relu(layers.Conv2D(settings.channels[0] // 2, 3, padding="same")(hidden))
    return keras.Model(images, ops.tanh(layers.Conv2D(3, 3, padding="same")(hidden)), name=name)


def build_discriminator(settings: Config, name: str) -> keras.Model:
    """Pictures in [-1, 1] -> a score for each patch, 1 for real and 0 for translated: (batch, n, n, 1)."""
    images = keras.Input((settings.size, settings.size, 3))
    hidden = images
    for channels in settings.patch_channels:
        hidden = ops.leaky_relu(layers.Conv2D(channels, 4, strides=2, padding="same")(hidden), 0.2)
    hidden = ops.leaky_relu(layers.Conv2D(settings.patch_channels[-1], 3, padding="same")(hidden), 0.2)
    return keras.Model(images, layers.Conv2D(1, 3, padding="same")(hidden), name=name)


# %% Train


class Pool:
    """Past translations. While there is room, each new one is kept and shown; then every second one is exchanged.

    pictures: (places, size, size, 3) in [-1, 1]; count: how many pictures have come by so far.
    """

    def __init__(self, places: int, size: int, seed: int):
        self.places, self.seed = places, seed
        self.pictures = tf.Variable(tf.zeros((places, size, size, 3)), trainable=False)
        self.count = tf.Variable(0, dtype=tf.int64, trainable=False)

    def exchange(self, pictures):
        """A batch of new pictures -> a batch of the same size, new ones and past ones, for the discriminator.

        Source: Shrivastava et al. 2017, arXiv:1612.07828, section 2.3, as in the CycleGAN paper's code.
        """
        shown = []
        for picture in tf.unstack(pictures):
            seed, full = tf.stack([self.seed, self.count.value()]), self.count >= self.places
            place = tf.random.stateless_uniform((), seed, 0, self.places, tf.int64)
            place = tf.where(full, place, tf.minimum(self.count, self.places - 1))
            swapped = full & (tf.random.stateless_uniform((), seed + 1_000_000_000) < 0.5)
            past = tf.gather(self.pictures, place)
            shown.append(tf.where(swapped, past, picture))
            self.pictures.scatter_nd_update([[place]], [tf.where(full & ~swapped, past, picture)])
            self.count.assign_add(1)
        return tf.stack(shown)


def mean_square(scores, target: float):
    """The least-squares loss of a discriminator's scores (Mao et al. 2016, arXiv:1611.04076)."""
    return ops.mean(ops.square(scores - target))


def mean_distance(images, others):
    """L1: the mean absolute difference."""
    return ops.mean(ops.abs(images - others))


class CycleGAN:
    """Two generators, two discriminators, two pools, and one training step."""

    def __init__(self, settings: Config, cycle_weight: float):
        keras.utils.set_random_seed(settings.seed)
        self.settings, self.cycle_weight = settings, cycle_weight
        self.generator_ab, self.generator_ba = (build_generator(settings, f"generator_{way}") for way in ("ab", "ba"))
        self.discriminator_a, self.discriminator_b = (build_discriminator(settings, f"discriminator_{d}") for d in "ab")
        self.pool_a, self.pool_b = (Pool(settings.pool, settings.size, settings.seed + place) for place in range(2))
        self.generators = self.generator_ab.trainable_variables + self.generator_ba.trainable_variables
        self.discriminators = self.discriminator_a.trainable_variables + self.discriminator_b.trainable_variables
        rates = (settings.learning_rate, settings.discriminator_rate)
        rates = [training.warm_up_cosine(rate, settings.steps) for rate in rates]
        self.optimizers = [keras.optimizers.Adam(rate, beta_1=0.5) for rate in rates]
        for optimizer, variables in zip(self.optimizers, (self.generators, self.discriminators), strict=True):
            optimizer.build(variables)

    @property
    def variables(self) -> list:
        """All that a step changes: what a checkpoint must hold."""
        pools = [variable for pool in (self.pool_a, self.pool_b) for variable in (pool.pictures, pool.count)]
        optimizers = [variable for optimizer in self.optimizers for variable in optimizer.variables]
        return self.generators + self.discriminators + optimizers + pools

    def generator_losses(self, real_a, real_b):
        """Batches in [-1, 1] -> both translations, and the three losses, each the sum over both directions."""
        # Translation and identity in one pass: no picture of a batch depends on another.
        fake_b, same_b = ops.split(self.generator_ab(ops.concatenate([real_a, real_b])), 2)
        fake_a, same_a = ops.split(self.generator_ba(ops.concatenate([real_b, real_a])), 2)
        scores = self.discriminator_a(fake_a), self.discriminator_b(fake_b)
        losses = {"adversarial": mean_square(scores[0], 1) + mean_square(scores[1], 1)}
        losses["identity"] = mean_distance(same_a, real_a) + mean_distance(same_b, real_b)
        if self.cycle_weight:
            back_a, back_b = self.generator_ba(fake_b), self.generator_ab(fake_a)
            losses["cycle"] = mean_distance(back_a, real_a) + mean_distance(back_b, real_b)
        return fake_a, fake_b, losses

    def discriminator_loss(self, real_a, real_b, past_a, past_b):
        """Half the squared distances to 1 of real pictures and to 0 of translated ones, the sum of both."""
        loss = 0
        for network, real, past in ((self.discriminator_a, real_a, past_a), (self.discriminator_b, real_b, past_b)):
            of_real, of_past = ops.split(network(ops.concatenate([real, past])), 2)
            loss += (mean_square(of_real, 1) + mean_square(of_past, 0)) / 2
        return loss

    @tf.function
    def train_step(self, real_a, real_b) -> dict:
        """One step of the generators, then one of the discriminators: the losses."""
        weights = {"adversarial": 1, "identity": self.settings.identity_weight, "cycle": self.cycle_weight}
        with tf.GradientTape() as tape:
            fake_a, fake_b, losses = self.generator_losses(real_a, real_b)
            loss = sum(weights[name] * value for name, value in losses.items())
        self.optimizers[0].apply_gradients(zip(tape.gradient(loss, self.generators), self.generators, strict=True))
        past_a, past_b = self.pool_a.exchange(fake_a), self.pool_b.exchange(fake_b)
        with tf.GradientTape() as tape:
            loss = self.discriminator_loss(real_a, real_b, past_a, past_b)
        gradients = tape.gradient(loss, self.discriminators)
        self.optimizers[1].apply_gradients(zip(gradients, self.discriminators, strict=True))
        return losses | {"discriminator": loss}

    def to_b(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures of A (n, size, size, 3) in [0, 1] -> their translations, likewise."""
        return translated(self.generator_ab, pictures)

    def to_a(self, pictures: np.ndarray) -> np.ndarray:
        """Pictures of B -> their translations, likewise."""
        return translated(self.generator_ba, pictures)


def translated(generator: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """Pictures (n, size, size, 3) in [0, 1] by a generator."""
    parts = [generator(2 * pictures[part] - 1) for part in training.parts(len(pictures), "pictures", 64)]
    return (np.concatenate(parts) + 1) / 2


def train(run: lesson.Run, model: CycleGAN, domains: datasets.Domains, name: str) -> lesson.History:
    """The training loop; every so many steps the same held-out pictures again, each above its translation."""
    shown = [domain.test[:9] / np.float32(255) for domain in (domains.first, domains.second)]

    def sample():
        rows = [shown[0], model.to_b(shown[0]), shown[1], model.to_a(shown[1])]
        return figures.tile(np.concatenate(rows), columns=len(shown[0]))

    keys = {"name": name, "sample": sample, "sample_every": run.config.sample_every}
    with run.loop(run.config.steps, model.variables, model.optimizers, **keys) as loop:
        for real_a, real_b in loop.batches(batches(domains, run.config)):
            loop.log(model.train_step(real_a, real_b))
    return run.history(name, loop.history, loop.samples)


# %% Look


def draw_columns(domains: datasets.Domains, ways: dict[str, tuple], rows: int = 6) -> figures.Figure:
    """Both ways there and back in three columns each, and the true counterpart where it is known; none chosen."""
    pictures, labels, names = [], [], (domains.first.name, domains.second.name)
    for way, there, back in zip(ways.values(), names, names[::-1], strict=True):
        counterparts = [] if way[3] is None else [way[3]]
        pictures += [*way[:3], *counterparts, np.ones_like(way[0])]
        labels += [there, f"→ {back}", f"→ {there}", *[f"{back}'s own"] * len(counterparts), ""]
    table = [[column[row] for column in pictures[:-1]] for row in range(rows)]
    captions = [labels[:-1], *[[""] * (len(labels) - 1)] * (rows - 1)]
    title = f"Held-out {domains.things}, there and back, learned without a single pair"
    return figures.image_grid(table, title, captions=captions, size=1)


def draw_without(domains: datasets.Domains, ways: dict, ways_without: dict, columns: int = 7) -> figures.Figure:
    """The last held-out pictures, their translations with and without the cycle loss, and what comes back."""
    rows, labels, names = [], [], (domains.first.name, domains.second.name)
    for way, other, name, back in zip(ways.values(), ways_without.values(), names, names[::-1], strict=True):
        rows += [pictures[-columns:] for pictures in (way[0], way[1], other[1], way[2], other[2])]
        labels += [name, f"→ {back}", "without cycle loss", "and back", "without cycle loss"]
    return figures.image_grid(rows, "With the cycle loss and without it", labels, size=0.72)


def draw_ranks(domains: datasets.Domains, ranks: dict[str, dict[str, np.ndarray]]) -> figures.Figure:
    """For each direction: how often the true counterpart is among the nearest k pictures of the other domain."""
    figure, axes = figures.subplots(1, 2, width=8.5, height=3.5, title="Share with the counterpart among the k nearest")
    names = (domains.first.name, domains.second.name)
    for cell, way, name, other in zip(axes, ("ab", "ba"), names, names[::-1], strict=True):
        nearest = np.arange(1, len(domains.first.test) + 1)
        for style, (label, its) in zip(("-", "--", ":"), ranks.items(), strict=True):
            share = [np.mean(its[way] <= k) for k in nearest]
            cell.plot(nearest, share, style, label=f"{label}: median rank {np.median(its[way]):g}")
        cell.set(xscale="log", ylim=(0, 1), xlabel=f"k ({other})", title=f"{name} → {other}")
        cell.legend(fontsize=8, loc="lower right")
    return figure


def draw_codes(model: CycleGAN, domains: datasets.Domains, columns: int = 5) -> figures.Figure:
    """What comes back from a translation, and from the same after rounding to 8 bits and after a slight blur."""
    pictures = domains.first.test[:columns] / np.float32(255)
    rows, labels = [pictures], [domains.first.name]
    for name, change in CHANGES.items():
        sent = change(model.to_b(pictures))
        rows += [sent, model.to_a(sent)]
        labels += [f"translation{name.replace('_', ', ')}", f"back: L1 {np.abs(rows[-1] - pictures).mean():.3f}"]
    return figures.image_grid(rows, "Does the back-translation survive a slight change?", labels, size=0.72)


def draw_curves(histories: dict[str, lesson.History]) -> figures.Figure:
    """The losses of both trainings, the sums of both directions."""
    figure, axes = figures.subplots(1, 4, width=10, height=3.2, title="Losses of both trainings")
    for cell, name in zip(axes, ("adversarial", "discriminator", "identity", "cycle"), strict=True):
        for style, (label, history) in zip(("-", "--"), histories.items(), strict=True):
            cell.plot(history.epochs, history.values.get(name, np.nan * np.array(history.epochs)), style, label=label)
        cell.set(xlabel="step", title=name)
    axes[0].legend(fontsize=8)
    return figure


# %% Measure

# (low, high) of the default preset.
EXPECTED = {"probe_accuracy": (0.97, 1), "copy_rank_ab": (5, 5), "copy_rank_ba": (6, 6), "cycle_l1": (0.015, 0.05)}
EXPECTED |= {"domain_share_ab": (0.85, 1), "domain_share_ba": (0.85, 1)}
EXPECTED |= {"match_rank_ab": (1, 9), "match_rank_ba": (1, 5)}
LEAST = 8  # pictures of each part
NAMES = ("with the cycle loss", "without it", "not translated")
BLUR, SIGHT = 0.6, 1.5  # pixels, at 64 x 64: of the blur that shall remove a hidden code; of the one before ranks


def rounded(pictures: np.ndarray) -> np.ndarray:
    """Values in [0, 1], rounded to 8 bits."""
    return np.round(pictures * 255) / np.float32(255)


def blurred(pictures: np.ndarray, sigma: float = BLUR) -> np.ndarray:
    """Pictures (n, size, size, 3) blurred by a Gaussian with a standard deviation of so many pixels at 64 x 64."""
    sigma *= pictures.shape[1] / 64
    return ndimage.gaussian_filter(pictures, (0, sigma, sigma, 0), mode="nearest")


CHANGES = {"": np.array, "_rounded": rounded, "_blurred": blurred}


def counterpart_ranks(pictures: np.ndarray, others: np.ndarray, matched: np.ndarray) -> np.ndarray:
    """The place (n,) of each picture's counterpart among `others`, sorted by distance: 1 is the nearest.

    pictures (n, size, size, 3), others (m, size, size, 3), in [0, 1]; others[matched[i]] belongs to pictures[i].
    The distance is the mean absolute difference after a slight blur; of equally distant ones the counterpart is last.
    """
    flat = [blurred(images, SIGHT).reshape(len(images), -1) for images in (pictures, others)]
    distances = np.stack([np.abs(flat[1] - picture).mean(axis=1) for picture in flat[0]])
    return (distances <= distances[np.arange(len(pictures)), matched][:, None]).sum(axis=1)


def train_probe(run: lesson.Run, domains: datasets.Domains) -> tuple[keras.Model, float]:
    """A small convnet that tells B (above zero) from A, and the share of real held-out pictures that it gets right."""
    keras.utils.set_random_seed(run.config.seed)
    size, steps = run.config.size, 4 if run.config.preset == "smoke" else 600
    stack = [keras.Input((size, size, 3)), layers.Rescaling(2, -1), layers.GaussianNoise(0.05)]
    for channels in (16, 32, 32):
        stack.append(layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu"))
    probe = keras.Sequential([*stack, layers.GlobalMaxPooling2D(), layers.Dense(1)], name="probe")
    rate = training.warm_up_cosine(3e-3, steps)
    probe.compile(keras.optimizers.Adam(rate), keras.losses.BinaryCrossentropy(from_logits=True))

    def as_examples(*real):
        return (tf.concat(real, 0) + 1) / 2, tf.repeat([0.0, 1.0], len(real[0]))

    settings = dataclasses.replace(run.config, batch_size=16)
    with run.part("probe"):
        probe.fit(batches(domains, settings).dataset().map(as_examples).take(steps), verbose=0)
    shares = [np.mean(says_b(probe, domain.test / np.float32(255))) for domain in (domains.first, domains.second)]
    return probe, (1 - shares[0] + shares[1]) / 2


def says_b(probe: keras.Model, pictures: np.ndarray) -> np.ndarray:
    """Whether the probe calls pictures (n, size, size, 3) in [0, 1] those of B: booleans (n,)."""
    return probe.predict(pictures, verbose=0)[:, 0] > 0


def there_and_back(to_b: Callable, to_a: Callable, domains: datasets.Domains) -> dict[str, tuple]:
    """Held-out pictures, their translations, what comes back, and the true counterparts (or None), for both ways."""
    real_a, real_b = (domain.test / np.float32(255) for domain in (domains.first, domains.second))
    fake_b, fake_a, matched = to_b(real_a), to_a(real_b), domains.matched
    truth = (None, None) if matched is None else (real_b[matched], real_a[np.argsort(matched)])
    return {"ab": (real_a, fake_b, to_a(fake_b), truth[0]), "ba": (real_b, fake_a, to_b(fake_a), truth[1])}


def measure_ranks(run: lesson.Run, ways: dict[str, tuple], matched: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """The ranks of the true counterparts of all translations, for both ways; their medians as `name`."""
    (real_a, fake_b, *_), (real_b, fake_a, *_) = ways.values()
    back = np.argsort(matched)  # the inverse of the permutation
    ranks = {"ab": counterpart_ranks(fake_b, real_b, matched), "ba": counterpart_ranks(fake_a, real_a, back)}
    for way, its in ranks.items():
        metric(run, name.format(way), np.median(its), f"of {len(its)}")
    return ranks


def measure(run: lesson.Run, model: CycleGAN, ways: dict[str, tuple], probe: keras.Model, suffix: str = "") -> None:
    """Do the translations look like the other domain, and does the back-translation survive a change of them?"""
    (real_a, fake_b, *_), (real_b, fake_a, *_) = ways.values()
    metric(run, f"domain_share_ab{suffix}", np.mean(says_b(probe, fake_b)))
    metric(run, f"domain_share_ba{suffix}", np.mean(~says_b(probe, fake_a)))
    for name, change in CHANGES.items():
        errors = model.to_a(change(fake_b)) - real_a, model.to_b(change(fake_a)) - real_b
        metric(run, f"cycle_l1{name}{suffix}", np.mean([np.abs(error).mean() for error in errors]))


def metric(run: lesson.Run, name: str, value: float, unit: str = "") -> None:
    """Keep a value beside what is expected of it."""
    run.metric(name, value, unit, EXPECTED.get(name))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data and probe; two trainings; scores; there and back, ranks, hidden codes, curves; the reader's own picture."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        own = None if settings.picture is None else datasets.own_picture(settings.picture, settings.size)
        domains = load(run)
        parts = [part for domain in (domains.first, domains.second) for part in (domain.train, domain.test)]
        run.require(LEAST, pictures_in_a_part=min(map(len, parts)))
        probe, accuracy = train_probe(run, domains)
        model, without = CycleGAN(settings, settings.cycle_weight), CycleGAN(settings, 0)
        histories = [train(run, model, domains, "cycle"), train(run, without, domains, "without")]
        run.diagram(model.generator_ab, "generator")
        run.diagram(model.discriminator_b, "discriminator")
        ways = {NAMES[2]: there_and_back(np.array, np.array, domains)}
        for label, its, suffix in zip(NAMES, (model, without), ("", "_without"), strict=False):
            ways[label] = there_and_back(its.to_b, its.to_a, domains)
            measure(run, its, ways[label], probe, suffix)
        metric(run, "probe_accuracy", accuracy)
        change = [np.abs(blurred(way[0]) - way[0]).mean() for way in ways[NAMES[2]].values()]
        metric(run, "blur_l1", np.mean(change))
        run.figure("columns", draw_columns(domains, ways[NAMES[0]]), headline=True)
        run.figure("without", draw_without(domains, ways[NAMES[0]], ways[NAMES[1]]))
        if domains.matched is not None:
            names = dict(zip(NAMES, ("match_rank_{}", "match_rank_{}_without", "copy_rank_{}"), strict=True))
            ranks = {label: measure_ranks(run, ways[label], domains.matched, name) for label, name in names.items()}
            run.figure("ranks", draw_ranks(domains, ranks))
        run.figure("codes", draw_codes(model, domains))
        run.figure("curves", draw_curves(dict(zip(NAMES, histories, strict=False))))
        run.gif("training", histories[0].frames[::2])
        if own is not None:
            own, columns = own[None] / np.float32(255), ("yours", f"→ {domains.second.name}", f"→ {domains.first.name}")
            pictures = [own, model.to_b(own), model.to_a(own)]
            run.figure("picture", figures.image_grid(pictures, "Your picture", columns, size=2))


if __name__ == "__main__":
    main()

# What to try next
# 1. --identity-weight 0: nothing holds the colours any more. What becomes of the yellow of faces, and of match_rank?
# 2. --cycle-weight 1: where, between 7 and 0, does the back-translation break, and do the translations get better?
# 3. --resume --picture PATH: translate a picture of your own. What does a photograph become, that belongs to neither?
