"""11 · A variational autoencoder on faces, and arithmetic with concepts.

Lesson 10 put all digits on a map of two dimensions. Faces vary in more ways, so here the VAE has a latent vector z of
128 numbers, and the loss is the same bound, in nats, summed over pixels, channels and latent dimensions:

    - log p(x)  <=  E_q[- log p(x | z)]  +  KL(q(z | x) || p(z))
                    reconstruction          KL divergence

A colour is a number between 0 and 1, not ink or paper, so p(x | z) is another one than lesson 10's: each of the
64 * 64 * 3 values is Gaussian around the decoder's output, all with the same standard deviation s,

    - log p(x | z)  =  sum over values of  (x - decoded)^2 / (2 s^2) + log s + log(2 pi) / 2

The VAE is trained without labels. Nevertheless the latent vectors of faces with glasses lie, on average, to one side of
those without, and nearly the same step leads from one side to the other for every face. So the difference of two means,

    v  =  mean z_mean of the faces with an attribute  -  mean z_mean of the faces without it

is a concept vector, from "without" to "with": decode z + t v for growing t, and a face gains glasses and keeps the
rest. The lesson measures for which attributes that is true.

What you will see: faces that gain and lose attributes; what linear probes find in them; a morph; samples.

Run:    python src/11_CelebA_VAE_concept_vectors.py      about three minutes on two CPU cores
Makes:  output/11_CelebA_VAE_concept_vectors.png and output/11_CelebA_VAE_concept_vectors/
Source: Larsen et al., Autoencoding beyond pixels using a learned similarity metric, arXiv:1512.09300 (the arithmetic);
        Rybkin, Daniilidis & Levine, Simple and Effective VAE Training with Calibrated Decoders, arXiv:2006.13202 (s);
        White, Sampling Generative Networks, arXiv:1609.04468;
        Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015 (CelebA)
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, training
from lessonkit import run as lesson
from lessonkit.config import StudyError

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score

# %% Parameters

ATTRIBUTES = ("Eyeglasses", "Blond_Hair", "Mustache", "Smiling", "Wearing_Hat", "Bangs", "Mouth_Slightly_Open")
Scale = Annotated[float, config.Range(1e-3, 10)]


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A network light enough for a CPU: few channels where the pictures are large, many where they are small."""

    epochs: config.Count = 18  # of `epoch_steps` training steps each; the test loss still decreases, but slowly
    epoch_steps: config.Count | None = (
        250  # the same cost for 8,000 faces and for 20,000; None: one pass over the faces
    )
    batch_size: config.Count = 32  # small: in so short a training the number of steps matters most
    learning_rate: config.Rate = 3e-3  # the peak: high values work because the rate starts low and decays to zero
    latent_dim: Annotated[int, config.Range(2, 1024)] = 128  # numbers that describe a face
    width: Annotated[int, config.Range(4, 512)] = 16  # channels of the first convolution; the others are multiples
    pixel_scale: Scale | None = None  # standard deviation s of a pixel's value; None: learned
    faces: config.Count = 20_000  # the most CelebA faces to read for training
    attributes: tuple[str, ...] = ATTRIBUTES  # concepts to measure, by CelebA's names; the headline shows four


PRESETS = {
    "full": {
        **{"epochs": 40, "epoch_steps": None, "batch_size": 128, "learning_rate": 1e-3},
        **{"width": 64, "latent_dim": 200, "faces": 60_000},
    },
    "smoke": {"epochs": 1, "steps": 4, "batch_size": 16, "limit": 200, "data": "embedded", "latent_dim": 8},
}

# %% Data


def scaled(images):
    """uint8 0..255 -> float32 0..1; batch by batch in tf.data: all faces at once would take four times the memory."""
    return tf.cast(images, tf.float32) / 255


def in_words(attribute: str) -> str:
    """CelebA's name of an attribute as words: Blond_Hair -> blond hair."""
    return attribute.replace("_", " ").lower()


def check_attributes(data: datasets.Faces, names: Sequence[str]) -> None:
    """Raise StudyError before the training for an attribute that no face or every face of a part has."""
    parts = (data.train, data.test)
    usable = [
        name for name in data.attribute_names if all(len(np.unique(part.attributes[name])) == 2 for part in parts)
    ]
    for name in names:
        if name not in usable:
            raise StudyError(
                f"--attributes {name}: needs training and test faces ({len(data.train)} and {len(data.test)}) with "
                f"it and without it; attributes that have both: {', '.join(usable) or 'none, use more faces'}"
            )


# %% Model
# The kernel of every transposed convolution is a multiple of its stride, so that each pixel is a sum of as many
# products as its neighbours (lesson 14). silu is a smooth relu; it learned faster here.


def build_encoder(latent_dim: int, width: int) -> keras.Model:
    """A face -> mean and log-variance of the Gaussian of its latent vectors. Each convolution halves the side."""
    images = hidden = keras.Input((64, 64, 3))
    for channels in (width, 2 * width, 4 * width, 8 * width):  # (batch, 32, 32, 16) ... (batch, 4, 4, 128)
        hidden = layers.Conv2D(channels, 3, strides=2, padding="same", activation="silu")(hidden)
    hidden = layers.Flatten()(hidden)  # (batch, 2048)
    z_mean = layers.Dense(latent_dim, name="z_mean")(hidden)  # (batch, latent_dim)
    z_log_var = layers.Dense(latent_dim, name="z_log_var")(hidden)  # (batch, latent_dim)
    return keras.Model(images, [z_mean, z_log_var], name="encoder")


def build_decoder(latent_dim: int, width: int) -> keras.Model:
    """A latent vector -> the mean of every pixel value, in [0, 1]."""
    latents = keras.Input((latent_dim,))
    hidden = layers.Dense(4 * 4 * 8 * width, activation="silu")(latents)  # (batch, 2048)
    hidden = layers.Reshape((4, 4, 8 * width))(hidden)  # (batch, 4, 4, 128)
    for channels in (4 * width, 2 * width, width):  # (batch, 8, 8, 64), (batch, 16, 16, 32), (batch, 32, 32, 16)
        hidden = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", activation="silu")(hidden)
    means = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid")(hidden)  # (batch, 64, 64, 3)
    return keras.Model(latents, means, name="decoder")


@keras.saving.register_keras_serializable(package="lesson_11")
class Sampling(layers.Layer):
    """(z_mean, z_log_var), both (batch, latent_dim) -> one draw z of that shape: the reparameterisation trick."""

    def __init__(self, seed: int | None = None, **options):
        super().__init__(**options)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)  # its counter is one of the variables of a checkpoint

    def call(self, distribution):
        z_mean, z_log_var = distribution
        epsilon = keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
        return z_mean + ops.exp(z_log_var / 2) * epsilon

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


# The standard deviation s is learned along with the network. A small s penalises errors heavily, a large s costs
# 12,288 log s; the best s is the root of the mean squared error. So nobody has to choose the weight of a squared error
# against the KL. A density may be far above 1, which makes this loss a large NEGATIVE number; lower is still better.


def reconstruction_loss(images, means, log_scale):
    """-log p(x | z) of independent Gaussian values, in nats per image (batch,): summed over pixels and channels."""
    standardised = (images - means) * ops.exp(-log_scale)
    return ops.sum(ops.square(standardised) / 2 + log_scale + np.log(2 * np.pi) / 2, axis=(1, 2, 3))


def kl_divergence(z_mean, z_log_var):
    """KL(q(z | x) || standard Gaussian), in nats per image (batch,): summed over the latent dimensions."""
    return ops.sum(ops.square(z_mean) + ops.exp(z_log_var) - z_log_var - 1, axis=1) / 2


@keras.saving.register_keras_serializable(package="lesson_11")
class VAE(keras.Model):
    """Encoder, a draw, decoder, and the standard deviation of the pixels (learned unless it is given)."""

    def __init__(
        self, encoder: keras.Model, decoder: keras.Model, pixel_scale: float | None = None, seed: int = 0, **options
    ):
        super().__init__(**options)
        self.encoder, self.decoder, self.sampling = encoder, decoder, Sampling(seed)
        self.pixel_scale, self.seed = pixel_scale, seed
        # The logarithm is learned, because it may be any number; s starts near the standard deviation of the pixels.
        begin = keras.initializers.Constant(np.log(pixel_scale or 0.2))
        self.log_scale = self.add_weight(shape=(), initializer=begin, trainable=pixel_scale is None, name="log_scale")
        self.reconstruction = keras.metrics.Mean(name="reconstruction")  # nats per image, reset by Keras every epoch
        self.kl = keras.metrics.Mean(name="kl")
        self.scale = keras.metrics.Mean(name="pixel_scale")

    def call(self, images):
        """Faces (batch, 64, 64, 3) -> the Gaussian of their latent vectors, and the means decoded from one draw."""
        z_mean, z_log_var = self.encoder(images)
        return {"z_mean": z_mean, "z_log_var": z_log_var, "means": self.decoder(self.sampling([z_mean, z_log_var]))}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The bound, averaged over the batch. Keras calls it with faces x and what `call` returned, y_pred."""
        reconstruction = reconstruction_loss(x, y_pred["means"], self.log_scale)
        kl = kl_divergence(y_pred["z_mean"], y_pred["z_log_var"])
        self.reconstruction.update_state(reconstruction)
        self.kl.update_state(kl)
        self.scale.update_state(ops.exp(self.log_scale))
        return ops.mean(reconstruction + kl)

    def get_config(self):
        """How to build this model again; Keras stores it beside the weights."""
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        parts = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {**super().get_config(), **parts, "pixel_scale": self.pixel_scale, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        parts = {name: keras.saving.deserialize_keras_object(config.pop(name)) for name in ("encoder", "decoder")}
        return cls(**parts, **config)


def build_vae(settings: Config) -> VAE:
    """An untrained VAE with these settings."""
    parts = [build(settings.latent_dim, settings.width) for build in (build_encoder, build_decoder)]
    return VAE(*parts, settings.pixel_scale, settings.seed)


# %% Train
# Adam; the rate rises during a fifth of the steps, then decays to zero. The test faces are looked at after every epoch,
# for the curves alone: nothing is chosen by them.


def train(run: lesson.Run, vae: VAE, data: datasets.Faces) -> lesson.History:
    """Train; `sample` draws the same test faces and their reconstructions before training and after each epoch."""
    settings, images = run.config, data.train.images
    examples = training.Batches(images, settings.batch_size, settings.seed, transform=scaled)
    examples.steps_per_epoch = settings.epoch_steps or examples.steps_per_pass
    steps = settings.epochs * examples.steps_per_epoch
    rate = settings.learning_rate
    vae.compile(keras.optimizers.Adam(training.warm_up_cosine(rate, steps, max(1, steps // 5), start=rate / 25)))
    faces = data.test.images[:8]

    def sample() -> np.ndarray:
        return figures.tile(np.concatenate([faces / 255, decode(vae, encode(vae, faces))]), columns=len(faces))

    return run.fit(vae, examples, validation=(scaled(data.test.images),), sample=sample)


# %% Concepts
# Why a difference of means: let the latent vector of a face be u + v if it has the attribute and u if not. Where the
# attribute is independent of all else, u has the same mean on both sides and cancels.


def encode(vae: VAE, images: np.ndarray) -> np.ndarray:
    """z_mean (n, latent_dim) of faces (n, 64, 64, 3), uint8 or in [0, 1]."""
    scale = 255 if images.dtype == np.uint8 else 1
    parts = (images[start : start + 500].astype("float32") / scale for start in range(0, len(images), 500))
    return np.concatenate([vae.encoder.predict_on_batch(part)[0] for part in parts])


def decode(vae: VAE, latents: np.ndarray) -> np.ndarray:
    """Latent vectors (n, latent_dim) -> pixel means (n, 64, 64, 3) in [0, 1]."""
    parts = (latents[start : start + 500].astype("float32") for start in range(0, len(latents), 500))
    return np.concatenate([vae.decoder.predict_on_batch(part) for part in parts])


def draws(count: int, latents: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Latent vectors (count, latent_dim) from p(z), and from the Gaussian with mean and covariance of given ones."""
    standard = ops.convert_to_numpy(keras.random.normal((count, latents.shape[1]), seed=seed))
    covariance = np.cov(latents, rowvar=False) + 1e-6 * np.eye(latents.shape[1])
    return {"p(z)": standard, "fitted": latents.mean(axis=0) + standard @ np.linalg.cholesky(covariance).T}


def concept_vector(latents: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Mean of the latent vectors of the faces that have the attribute minus mean of the others: (latent_dim,)."""
    return latents[has].mean(axis=0) - latents[~has].mean(axis=0)


@dataclasses.dataclass(frozen=True)
class Concept:
    """What was learned about one attribute from the training faces."""

    name: str
    vector: np.ndarray  # (latent_dim,), from "without" to "with"
    probe: LogisticRegression  # latent vector -> whether the face has the attribute


def learn_concepts(latents: np.ndarray, attributes: Mapping[str, np.ndarray], names: Sequence[str]) -> list[Concept]:
    """Concept vectors and probes from the latent vectors (n, latent_dim) of the training faces; the VAE stays as it is.

    Balanced: faces with and without the attribute have the same total weight, however rare it is.
    """
    probe = LogisticRegression(max_iter=2000, class_weight="balanced")
    return [
        Concept(name, concept_vector(latents, attributes[name]), clone(probe).fit(latents, attributes[name]))
        for name in names
    ]


def through_the_picture(vae: VAE, latents: np.ndarray) -> np.ndarray:
    """Decode latent vectors and encode the pictures: only what is VISIBLE remains."""
    return encode(vae, decode(vae, latents))


# %% Measure
# 1. A linear probe (logistic regression from z to the attribute) shows how well a plane separates held-out faces with
#    and without the attribute. Its accuracy is balanced, the mean of the accuracies on both kinds: 0.5 is chance, also
#    for an attribute that one face in twenty-five has.
# 2. v is added, the face is decoded and encoded again, and the probe classifies that: does the PICTURE now have the
#    attribute? The control adds the difference of two random faces, scaled to the length of v.
# 3. The probes of all other attributes show what else has changed.

# (low, high) on real faces and on drawn ones; None where no run on real faces with these probes is known.
EXPECTED = {
    **{"test_loss": ((-18_500, -11_500), (-21_500, -18_500)), "test_kl": (None, (300, 450))},
    **{"pixel_scale": ((0.055, 0.09), (0.035, 0.055)), "others_kept": (None, (0.85, 1))},
    **{"probe_accuracy_eyeglasses": (None, (0.9, 1)), "probe_accuracy_blond_hair": (None, (0.97, 1))},
    **{"probe_accuracy_mustache": (None, (0.93, 1)), "probe_accuracy_smiling": (None, (0.5, 0.7))},
    **{"probe_accuracy_wearing_hat": (None, (0.97, 1)), "probe_accuracy_bangs": (None, (0.82, 0.95))},
    "probe_accuracy_mouth_slightly_open": (None, (0.8, 0.95)),
}


def report(run: lesson.Run, values: Mapping[str, tuple[float, str]]) -> None:
    """Hand metrics (value, unit) by name to the run, with the ranges that they should lie in."""
    for name, (value, unit) in values.items():
        run.metric(name, value, unit, *EXPECTED.get(name, ()))


def measure_bound(run: lesson.Run, vae: VAE, images: np.ndarray, latents: np.ndarray) -> None:
    """The bound on held-out faces, one draw of z per image; and how many latent dimensions are used."""
    scores = vae.evaluate(scaled(images), batch_size=500, verbose=0, return_dict=True)
    reconstruction, kl, scale = scores["reconstruction"], scores["kl"], np.exp(vae.log_scale)
    active = np.sum(latents.var(axis=0) > 0.01)  # Burda et al. 2016
    nats = {"test_loss": reconstruction + kl, "test_reconstruction": reconstruction, "test_kl": kl}
    values = {name: (value, "nats") for name, value in nats.items()}
    values |= {"pixel_scale": (scale, "of full scale"), "active_units": (active, f"of {latents.shape[1]}")}
    report(run, values)


def measure_concepts(
    run: lesson.Run, vae: VAE, split: datasets.FaceSplit, latents: np.ndarray, concepts: Sequence[Concept]
) -> dict[str, dict[str, float]]:
    """By attribute: accuracy of the probe, and the share of pictures that it classifies as "with", by arithmetic."""
    visible, table, unchanged = through_the_picture(vae, latents), {}, []
    partners = latents[np.random.default_rng(run.config.seed).permutation(len(latents))]
    for concept in concepts:
        has = split.attributes[concept.name]
        start, length = latents[~has], np.linalg.norm(concept.vector)
        difference = partners[~has] - start
        difference *= length / np.maximum(np.linalg.norm(difference, axis=1, keepdims=True), 1e-6)
        moved = through_the_picture(vae, start + concept.vector)
        others = [other.probe for other in concepts if other is not concept]
        unchanged += [np.mean(probe.predict(moved) == probe.predict(visible[~has])) for probe in others]
        table[concept.name] = {
            "accuracy": balanced_accuracy_score(has, concept.probe.predict(latents)),
            "before": concept.probe.predict(visible[~has]).mean(),
            "after_random": concept.probe.predict(through_the_picture(vae, start + difference)).mean(),
            "after": concept.probe.predict(moved).mean(),
        }
    values = {f"probe_accuracy_{name.lower()}": (row["accuracy"], "balanced") for name, row in table.items()}
    values |= {f"with_after_{name.lower()}": (row["after"], "fraction") for name, row in table.items()}
    means = {key: np.mean([row[key] for row in table.values()]) for key in ("before", "after_random")}
    values |= {f"with_{key}": (mean, "fraction") for key, mean in means.items()}
    if unchanged:  # one attribute has no others
        values["others_kept"] = (np.mean(unchanged), "fraction")
    report(run, values)
    return table


# %% Look


def draw_concepts(
    vae: VAE, split: datasets.FaceSplit, latents: np.ndarray, concepts: Sequence[Concept], table: Mapping, things: str
) -> figures.Figure:
    """For each concept the first faces without it, which gain it in steps, and the first faces with it, which lose it.

    Faces that wear a hat are passed over where there are others: a hat hides the hair.
    """
    order = np.argsort(split.attributes.get("Wearing_Hat", np.zeros(len(latents), bool)), kind="stable")
    both = [split.attributes[concept.name][order] for concept in concepts]
    each = min(2, *(np.sum(has == kind) for has in both for kind in (False, True)))
    title = f"Concept vectors of {things}, added (left) and subtracted (right)"
    figure, axes = figures.subplots(1, 2, width=9, height=0.5 + 0.83 * each * len(concepts), title=title)
    for cell, sign in zip(axes, (1, -1), strict=True):
        rows = []
        for concept, has in zip(concepts, both, strict=True):
            chosen = order[has == (sign < 0)][:each]
            moved = [decode(vae, latents[chosen] + sign * t * concept.vector) for t in (0, 0.5, 1, 1.5)]
            rows.append(np.stack([split.images[chosen] / 255, *moved], axis=1))
        figures.show_image(cell, figures.tile(np.concatenate(rows).reshape(-1, 64, 64, 3), columns=5))
        names = ["face", "decoded", *(f"{'+' if sign > 0 else '-'} {t:g} v" for t in (0.5, 1, 1.5))]
        cell.set_xticks(66 * np.arange(5) + 32, names, fontsize=8)
        cell.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    text = "{}\n(probe positive:\n{before:.0%} → {after:.0%})"
    labels = [text.format(in_words(concept.name), **table[concept.name]) for concept in concepts]
    axes[0].set_yticks(66 * each * (np.arange(len(concepts)) + 0.5), labels, fontsize=8)
    return figure


def draw_morph(vae: VAE, images: np.ndarray, ends: np.ndarray) -> figures.Figure:
    """From one face to another, through latent vectors and through pixels; images (2, ...) and ends (2, latent_dim)."""
    shares = np.linspace(0, 1, 9)
    path, fade = (np.stack([(1 - t) * first + t * last for t in shares]) for first, last in (ends, images / 255))
    title = "Half-way between two latent vectors there is one face, half-way between two pictures there are two"
    return figures.image_grid([decode(vae, path), fade], title, ["latents mixed", "pixels mixed"], size=0.85)


def morph_frames(vae: VAE, ends: np.ndarray, steps: int = 12) -> list[np.ndarray]:
    """Frames of several morphs side by side, there and back; ends (pairs, 2, latent_dim)."""
    shares = (1 - np.cos(np.linspace(0, np.pi, steps))) / 2  # slow at the ends
    frames = []
    for share in shares:
        faces = decode(vae, (1 - share) * ends[:, 0] + share * ends[:, 1])
        frames.append(figures.tile(faces.repeat(2, axis=1).repeat(2, axis=2), columns=len(ends), gap=4))
    return frames + frames[-2:0:-1]


def draw_samples(vae: VAE, latents: np.ndarray, seed: int, things: str) -> figures.Figure:
    """Decoded random latent vectors: from p(z), and from a Gaussian fitted to those of the training faces."""
    rows = [decode(vae, codes).reshape(2, 10, 64, 64, 3) for codes in draws(20, latents, seed).values()]
    title = f"Decoded draws from p(z), and from a Gaussian fitted to the latent vectors of the {things}"
    return figures.image_grid(np.concatenate(rows), title, ["p(z)", "", "fitted", ""])


def draw_curves(history: lesson.History) -> figures.Figure:
    """The bound, its KL, and the standard deviation of the pixel values."""
    panels = {
        "loss (nats per image)": {"training": history["loss"], "test": history["val_loss"]},
        "KL divergence (nats)": {"training": history["kl"], "test": history["val_kl"]},
        "pixel scale s": {"training": history["pixel_scale"]},
    }
    return figures.curves(history.epochs, panels, "The bound, its KL term, and the learned standard deviation s")


def draw_arithmetic(table: Mapping[str, Mapping[str, float]], things: str) -> figures.Figure:
    """Left: can the attribute be read from a latent vector? Right: does the picture gain it by arithmetic?"""
    title, height = f"Concepts in numbers, on test faces ({things})", 0.5 * len(table) + 1.6
    figure, (left, right) = figures.subplots(1, 2, width=9, height=height, sharey=True, title=title)
    places, rows = np.arange(len(table)), list(table.values())
    left.barh(places, [row["accuracy"] for row in rows], height=0.55, color=figures.COLORS[0], label="linear probe")
    left.axvline(0.5, color="black", linestyle=":", label="chance")
    left.set_xlabel("balanced accuracy from z")
    left.set_yticks(places, [in_words(name) for name in table])
    left.invert_yaxis()
    bars = {"before": "as decoded", "after_random": "+ a random difference", "after": "+ the concept vector"}
    for shift, color, (key, label) in zip((-0.26, 0, 0.26), (6, 4, 2), bars.items(), strict=True):
        values = [row[key] for row in rows]
        right.barh(places + shift, values, height=0.24, color=figures.COLORS[color], label=label)
    right.set_xlabel('faces without the attribute: share classified as "with"')
    for cell in (left, right):
        cell.set_xlim(0, 1)
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8, columnspacing=1)
    return figure


def draw_cosines(concepts: Sequence[Concept]) -> figures.Figure:
    """Cosine of the angle between any two concept vectors: 0 for concepts that are independent of each other."""
    units = np.stack([concept.vector / np.linalg.norm(concept.vector) for concept in concepts])
    names, title = [in_words(concept.name) for concept in concepts], "Cosine similarity of the concept vectors"
    return figures.heat_map(units @ units.T, title, "", "", "cosine", names, low=-1)


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.celeba(run, run.config.faces)
        run.require(2, training_faces=len(data.train), test_faces=len(data.test))
        check_attributes(data, run.config.attributes)
        vae = build_vae(run.config)
        run.diagram(vae.encoder, "encoder")
        run.diagram(vae.decoder, "decoder")
        history = train(run, vae, data)
        images, latents = data.test.images, encode(vae, data.test.images)
        measure_bound(run, vae, images, latents)
        train_latents = encode(vae, data.train.images)
        concepts = learn_concepts(train_latents, data.train.attributes, run.config.attributes)
        table = measure_concepts(run, vae, data.test, latents, concepts)
        shown = draw_concepts(vae, data.test, latents, concepts[:4], table, data.name)
        run.figure("concepts", shown, headline=True)
        run.figure("arithmetic", draw_arithmetic(table, data.name))
        run.figure("cosines", draw_cosines(concepts))
        run.figure("morph", draw_morph(vae, images[-2:], latents[-2:]))
        pairs = min(4, len(latents) // 2)
        run.gif("morph", morph_frames(vae, latents[: 2 * pairs].reshape(pairs, 2, -1)))
        run.gif("training", history.frames)
        rows, title = [images[:10], decode(vae, latents[:10])], f"Test faces ({data.name}) and their reconstructions"
        run.figure("reconstructions", figures.image_grid(rows, title, ["original", "from z_mean"], size=0.85))
        run.figure("samples", draw_samples(vae, train_latents, run.config.seed, data.name))
        run.figure("curves", draw_curves(history))


if __name__ == "__main__":
    main()

# What to try next
# 1. --pixel-scale 0.5, many times the learned one: errors cost little. What happens to the KL, to small things such as
#    the mustache, and to the samples? Then --pixel-scale 0.02.
# 2. --latent-dim 32: which attributes can the probes still read? Look at the faces: what is no longer encoded?
# 3. Add two concept vectors at once, then half of each. Where does the arithmetic fail, and can you see why?
