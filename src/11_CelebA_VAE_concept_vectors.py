"""11 · A variational autoencoder on faces, and arithmetic with concepts.

Lesson 10 put all digits on a map of two dimensions. Faces vary in more ways, so here the VAE has a code z of 128
numbers, and the loss is the same bound, in nats, summed over pixels, channels and latent dimensions:

    - log p(x)  <=  E_q[- log p(x | z)]  +  KL(q(z | x) || p(z))
                    reconstruction          KL divergence

Colours are not ink or paper, so p(x | z) is another one: each of the 64 * 64 * 3 values in [0, 1] is Gaussian around
what the decoder says, all with the same standard deviation s,

    - log p(x | z)  =  sum over values of  (x - decoded)^2 / (2 s^2) + log s + log(2 pi) / 2

The last two terms matter, for s is learned along with the network: a small s makes errors dear, a large s costs
12,288 log s, and the best s is the root of the mean squared error. So nobody has to choose how much a squared error
weighs against the KL. A density may be far above 1, so this loss is a large NEGATIVE number; lower is still better.

Nobody tells the VAE of smiles or glasses. Yet the code of a face with glasses lies, on average, to one side of the code
without, and to nearly the same side for every face. So the mean of many differences, the concept vector

    v  =  mean z_mean of the faces with the attribute  -  mean z_mean of the faces without it

points from "without" to "with": decode z + t v for growing t, and a face puts on glasses and stays the same person.

Three numbers tell whether that is true, or only looks so in chosen pictures. A linear probe (logistic regression from z
to the attribute) says how well held-out faces with and without can be told apart by a plane. After adding v the face is
decoded and encoded again, and the probe says whether the PICTURE now has the attribute; adding the difference of
two random faces, made as long as v, is the control. And the probes of all other attributes say what else has changed.

Run:    python src/11_CelebA_VAE_concept_vectors.py      about three minutes on two CPU cores
Makes:  output/11_CelebA_VAE_concept_vectors.png and output/11_CelebA_VAE_concept_vectors/
Source: Larsen et al., Autoencoding beyond pixels using a learned similarity metric, arXiv:1512.09300 (the arithmetic);
        Rybkin, Daniilidis & Levine, Simple and Effective VAE Training with Calibrated Decoders, arXiv:2006.13202 (s);
        White, Sampling Generative Networks, arXiv:1609.04468;
        Liu et al., Deep Learning Face Attributes in the Wild, ICCV 2015 (the data)
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, training
from lessonkit import run as lesson
from lessonkit.config import StudyError

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops
from sklearn.linear_model import LogisticRegression

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A network light enough for a CPU: few channels where the pictures are large, many where they are small."""

    epochs: config.Count = 18  # the test loss still falls, by ever less
    batch_size: config.Count = 32  # small: with so few epochs it is the number of steps that counts
    learning_rate: config.Rate = 3e-3  # high: possible because the rate begins and ends near nought
    latent_dim: Annotated[int, config.Range(2, 1024)] = 128  # room for all that varies in a face
    width: Annotated[int, config.Range(4, 512)] = 16  # channels of the first convolution; the others follow from it
    pixel_scale: Annotated[float, config.Range(1e-3, 10)] | None = (
        None  # standard deviation s of a value; None: learned
    )
    faces: config.Count = 20_000  # the most CelebA faces to read for training
    attributes: tuple[str, ...] = (  # concepts to look for, by CelebA's names; the first three are in the headline
        "Eyeglasses",
        "Blond_Hair",
        "Mustache",
        "Wearing_Hat",
        "Bangs",
        "Mouth_Slightly_Open",
        "Smiling",
    )


PRESETS = {
    "full": {"epochs": 40, "batch_size": 128, "learning_rate": 1e-3, "width": 64, "latent_dim": 200, "faces": 60_000},
    "smoke": {"epochs": 1, "steps": 4, "batch_size": 16, "limit": 200, "data": "embedded", "latent_dim": 8},
}

# %% Data


def scaled(images):
    """uint8 0..255 -> float32 0..1; batch by batch in tf.data: all faces at once would take four times the memory."""
    return tf.cast(images, tf.float32) / 255


def check_attributes(data: datasets.Faces, names: Sequence[str]) -> None:
    """Raise StudyError for an attribute that the faces have not, or that all or none of them have."""
    for name in names:
        if name not in data.attribute_names:
            raise StudyError(f"--attributes {name}: no such attribute; there are {', '.join(data.attribute_names)}")
        for split in (data.train, data.test):
            if len(np.unique(split.attributes[name])) < 2:
                raise StudyError(f"--attributes {name}: needs faces with and without it; use more faces or another one")


# %% Model


def build_encoder(latent_dim: int, width: int) -> keras.Model:
    """A face -> mean and log-variance of the Gaussian of its codes. Each convolution halves the side."""
    images = hidden = keras.Input((64, 64, 3))  # silu is a smooth relu: it learned faster here
    for channels in (width, 2 * width, 4 * width, 8 * width):  # (batch, 32, 32, 16) ... (batch, 4, 4, 128)
        hidden = layers.Conv2D(channels, 3, strides=2, padding="same", activation="silu")(hidden)
    hidden = layers.Flatten()(hidden)  # (batch, 2048)
    z_mean = layers.Dense(latent_dim, name="z_mean")(hidden)  # (batch, latent_dim)
    z_log_var = layers.Dense(latent_dim, name="z_log_var")(hidden)  # (batch, latent_dim)
    return keras.Model(images, [z_mean, z_log_var], name="encoder")


def build_decoder(latent_dim: int, width: int) -> keras.Model:
    """A code -> the mean of every pixel value, in [0, 1]. Kernel 4 is a multiple of stride 2: no checkerboard."""
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


def reconstruction_loss(images, means, log_scale):
    """-log p(x | z) of independent Gaussian values, in nats an image (batch,): summed over pixels and channels."""
    standardised = (images - means) * ops.exp(-log_scale)
    return ops.sum(ops.square(standardised) / 2 + log_scale + np.log(2 * np.pi) / 2, axis=(1, 2, 3))


def kl_divergence(z_mean, z_log_var):
    """KL(q(z | x) || standard Gaussian), in nats an image (batch,): summed over the latent dimensions."""
    return ops.sum(ops.square(z_mean) + ops.exp(z_log_var) - z_log_var - 1, axis=1) / 2


@keras.saving.register_keras_serializable(package="lesson_11")
class VAE(keras.Model):
    """Encoder, a draw, decoder, and the standard deviation of the pixels (learned unless it is given)."""

    def __init__(
        self,
        encoder: keras.Model,
        decoder: keras.Model,
        pixel_scale: float | None = None,
        seed: int | None = None,
        **options,
    ):
        super().__init__(**options)
        self.encoder, self.decoder, self.sampling = encoder, decoder, Sampling(seed)
        self.pixel_scale, self.seed = pixel_scale, seed
        # A logarithm may be any number, a standard deviation not. It begins at about that of the pixels.
        begin = keras.initializers.Constant(np.log(pixel_scale or 0.2))
        self.log_scale = self.add_weight(shape=(), initializer=begin, trainable=pixel_scale is None, name="log_scale")
        self.reconstruction = keras.metrics.Mean(name="reconstruction")  # nats an image, reset by Keras every epoch
        self.kl = keras.metrics.Mean(name="kl")
        self.scale = keras.metrics.Mean(name="pixel_scale")

    def call(self, images):
        """Faces (batch, 64, 64, 3) -> the distribution of their codes, and the means decoded from one draw of it."""
        z_mean, z_log_var = self.encoder(images)
        return {"z_mean": z_mean, "z_log_var": z_log_var, "means": self.decoder(self.sampling([z_mean, z_log_var]))}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The bound, averaged over the batch. Keras calls it with faces x and `call`'s answer y_pred."""
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


def train(run: lesson.Run, vae: VAE, data: datasets.Faces) -> lesson.History:
    """Adam, its rate rising over a fifth of the steps, then falling; each epoch the same faces, there and back."""
    examples = training.Batches(data.train.images, run.config.batch_size, run.config.seed, transform=scaled)
    steps = run.config.epochs * examples.steps_per_epoch
    rate, warm_up = run.config.learning_rate, max(1, steps // 5)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 25, max(1, steps - warm_up), warmup_target=rate, warmup_steps=warm_up
    )
    vae.compile(optimizer=keras.optimizers.Adam(schedule))
    faces = data.test.images[:16].astype("float32") / 255

    def sample() -> np.ndarray:
        rows = np.stack([faces.reshape(2, 8, 64, 64, 3), decode(vae, encode(vae, faces)).reshape(2, 8, 64, 64, 3)], 1)
        return figures.tile(rows.reshape(-1, 64, 64, 3), columns=8)

    return run.fit(vae, examples, validation=(scaled(data.test.images),), sample=sample)


# %% Concepts


def encode(vae: VAE, images: np.ndarray) -> np.ndarray:
    """z_mean (n, latent_dim) of faces (n, 64, 64, 3), uint8 or in [0, 1]."""
    scale = 255 if images.dtype == np.uint8 else 1
    parts = (images[start : start + 500].astype("float32") / scale for start in range(0, len(images), 500))
    return np.concatenate([vae.encoder.predict_on_batch(part)[0] for part in parts])


def decode(vae: VAE, latents: np.ndarray) -> np.ndarray:
    """Codes (n, latent_dim) -> pixel means (n, 64, 64, 3) in [0, 1]."""
    parts = (latents[start : start + 500].astype("float32") for start in range(0, len(latents), 500))
    return np.concatenate([vae.decoder.predict_on_batch(part) for part in parts])


def draws(count: int, latents: np.ndarray, seed: int) -> dict[str, np.ndarray]:
    """Codes (count, latent_dim) from p(z), and from the Gaussian with mean and covariance of given codes."""
    standard = ops.convert_to_numpy(keras.random.normal((count, latents.shape[1]), seed=seed))
    covariance = np.cov(latents, rowvar=False) + 1e-6 * np.eye(latents.shape[1])
    return {"p(z)": standard, "fitted": latents.mean(axis=0) + standard @ np.linalg.cholesky(covariance).T}


def concept_vector(latents: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Mean code of the faces that have the attribute minus mean code of those that have not: (latent_dim,)."""
    return latents[has].mean(axis=0) - latents[~has].mean(axis=0)


@dataclasses.dataclass(frozen=True)
class Concept:
    """What the training faces teach of one attribute."""

    name: str
    vector: np.ndarray  # (latent_dim,), from "without" to "with"
    probe: LogisticRegression  # code -> whether the face has the attribute


def learn_concepts(latents: np.ndarray, attributes: dict[str, np.ndarray], names: Sequence[str]) -> list[Concept]:
    """Concept vectors and probes from the codes (n, latent_dim) of the training faces; the VAE stays as it is."""
    return [
        Concept(
            name,
            concept_vector(latents, attributes[name]),
            LogisticRegression(max_iter=2000).fit(latents, attributes[name]),
        )
        for name in names
    ]


def through_the_picture(vae: VAE, latents: np.ndarray) -> np.ndarray:
    """Decode codes and encode the pictures: only what can be SEEN of a code comes back."""
    return encode(vae, decode(vae, latents))


# %% Look


def draw_concepts(vae: VAE, split, latents: np.ndarray, concepts: Sequence[Concept], title: str) -> figures.Figure:
    """Three faces without the attributes gain each of them in steps; three faces with them lose each."""
    strengths, each, gap = (0.5, 1.0, 1.5), 3, 10
    order = np.argsort(sum(split.attributes[concept.name].astype(int) for concept in concepts), kind="stable")
    figure, axes = figures.subplots(2, 1, width=9.6, height=6.1, title=title)
    for cell, chosen, sign, verb in ((axes[0], order[:each], 1, "gain"), (axes[1], order[-each:], -1, "lose")):
        start = latents[chosen]
        blocks, names = [[split.images[chosen] / 255, decode(vae, start)]], [["face", "decoded"]]
        for concept in concepts:
            can = (split.attributes[concept.name][chosen] != (sign > 0))[
                :, None, None, None
            ]  # else the cell stays white
            blocks.append([np.where(can, decode(vae, start + sign * t * concept.vector), 1) for t in strengths])
            names.append([f"{'+' if sign > 0 else '-'} {t:g} v" for t in strengths])
            names[-1][1] = f"{verb} {concept.name}\n{names[-1][1]}"
        left, sheets, ticks = 0, [], []
        for block in blocks:
            sheets += [figures.tile(np.stack(block, axis=1).reshape(-1, 64, 64, 3), columns=len(block))]
            ticks += [left + 66 * column + 32 for column in range(len(block))]
            left += sheets[-1].shape[1] + gap
            sheets += [np.full((len(sheets[-1]), gap, 3), 255, np.uint8)]
        figures.show_image(cell, np.concatenate(sheets[:-1], axis=1))
        cell.set_xticks(ticks, sum(names, []), fontsize=8)
        cell.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0)
    return figure


def draw_morph(vae: VAE, images: np.ndarray, ends: np.ndarray) -> figures.Figure:
    """From one face to another, through codes and through pixels; images (2, ...) and ends (2, latent_dim)."""
    shares = np.linspace(0, 1, 9)
    path = np.stack([(1 - share) * ends[0] + share * ends[1] for share in shares])
    first, last = images / 255
    fade = np.stack([(1 - share) * first + share * last for share in shares])
    rows, labels = [decode(vae, path), fade], ["codes mixed", "pixels mixed"]
    return figures.image_grid(
        rows, "Half-way between two codes is a face, between two pictures a ghost", labels, size=0.9
    )


def morph_frames(vae: VAE, ends: np.ndarray, steps: int = 24) -> list[np.ndarray]:
    """Frames of several morphs side by side, there and back; ends (pairs, 2, latent_dim)."""
    shares = (1 - np.cos(np.linspace(0, np.pi, steps))) / 2  # slow at the ends
    frames = []
    for share in shares:
        faces = decode(vae, (1 - share) * ends[:, 0] + share * ends[:, 1])
        frames.append(figures.tile(faces.repeat(2, axis=1).repeat(2, axis=2), columns=len(ends), gap=4))
    return frames + frames[-2::-1]


def draw_reconstructions(vae: VAE, images: np.ndarray, latents: np.ndarray) -> figures.Figure:
    """Ten test faces above what the decoder makes of the middle of their codes."""
    return figures.image_grid(
        [images, decode(vae, latents)], "Test faces through the code and back", ["original", "from z_mean"], size=0.9
    )


def draw_samples(vae: VAE, latents: np.ndarray, seed: int) -> figures.Figure:
    """Faces of nobody: codes drawn from p(z), and from a Gaussian fitted to the codes of the training faces."""
    rows, labels = [], []
    for label, codes in draws(22, latents, seed).items():
        rows += list(decode(vae, codes).reshape(2, 11, 64, 64, 3))
        labels += [label, ""]
    title = "Random codes, decoded: from p(z), and from a Gaussian fitted to the codes of the training faces"
    return figures.image_grid(rows, title, labels)


def draw_curves(history: lesson.History) -> figures.Figure:
    """The bound, its KL, and the standard deviation of the pixel values."""
    panels = {
        "loss (nats an image)": {"training": history["loss"], "test": history["val_loss"]},
        "KL divergence (nats)": {"training": history["kl"], "test": history["val_kl"]},
        "pixel scale s": {"training": history["pixel_scale"]},
    }
    return figures.curves(history.epochs, panels, "The bound, its KL, and the error that the decoder expects")


def draw_arithmetic(table: dict[str, dict[str, float]]) -> figures.Figure:
    """Left: can the attribute be read from a code? Right: does the picture gain it by arithmetic?"""
    figure, (left, right) = figures.subplots(
        1, 2, width=9, height=0.5 * len(table) + 1.6, sharey=True, title="Concepts in numbers, on held-out faces"
    )
    places = np.arange(len(table))
    rows = list(table.values())
    left.barh(places, [row["accuracy"] for row in rows], height=0.55, color=figures.COLORS[0], label="probe")
    left.scatter(
        [row["majority"] for row in rows], places, marker="|", s=250, color="black", label="always the commoner answer"
    )
    left.set_xlabel("share of faces judged rightly from z")
    left.set_yticks(places, list(table))
    left.invert_yaxis()
    names = {"before": "decoded as it is", "control": "+ a random difference", "after": "+ the concept vector"}
    for index, (key, label) in enumerate(names.items()):
        color = figures.COLORS[(6, 4, 2)[index]]
        right.barh(places + 0.26 * (index - 1), [row[key] for row in rows], height=0.24, color=color, label=label)
    right.set_xlabel('faces without the attribute: share judged "with"')
    for cell in (left, right):
        cell.set_xlim(0, 1)
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), ncols=3, fontsize=8, columnspacing=1)
    return figure


def draw_cosines(concepts: Sequence[Concept]) -> figures.Figure:
    """Cosine of the angle between any two concept vectors: 0 for concepts that have nothing to do with each other."""
    units = np.stack([concept.vector / np.linalg.norm(concept.vector) for concept in concepts])
    cosines, names = units @ units.T, [concept.name for concept in concepts]
    figure, cell = figures.subplots(width=6.4, height=5.4, title="Cosine similarity of the concept vectors")
    picture = cell.imshow(cosines, cmap="RdBu_r", vmin=-1, vmax=1)
    cell.grid(False)
    cell.set_xticks(range(len(names)), names, rotation=40, ha="right")
    cell.set_yticks(range(len(names)), names)
    for row, column in np.ndindex(cosines.shape):
        value = cosines[row, column]
        cell.text(column, row, f"{value:.2f}", ha="center", va="center", color="white" if abs(value) > 0.6 else "black")
    figure.colorbar(picture, ax=cell, shrink=0.8)
    return figure


# %% Measure


def measure_bound(run: lesson.Run, vae: VAE, images: np.ndarray, latents: np.ndarray) -> None:
    """The bound on held-out faces, one draw of z an image; and how many latent dimensions carry anything."""
    scores = vae.evaluate(scaled(images), batch_size=500, verbose=0, return_dict=True)
    run.metric("test_loss", scores["reconstruction"] + scores["kl"], "nats", embedded=(-21_500, -18_500))
    run.metric("test_reconstruction", scores["reconstruction"], "nats")
    run.metric("test_kl", scores["kl"], "nats", embedded=(300, 450))
    run.metric("pixel_scale", np.exp(vae.log_scale), "of full scale")
    run.metric("active_units", np.sum(latents.var(axis=0) > 0.01), f"of {latents.shape[1]}")  # Burda et al. 2016


# What the probes reach on the drawn faces. A drawn smile moves 1.6 % of the pixels, by little: the code leaves it out.
DRAWN_PROBES = {
    "Eyeglasses": (0.9, 1),
    "Blond_Hair": (0.97, 1),
    "Mustache": (0.93, 1),
    "Wearing_Hat": (0.97, 1),
    "Bangs": (0.82, 0.95),
    "Mouth_Slightly_Open": (0.8, 0.95),
    "Smiling": (0.5, 0.7),
}


def measure_concepts(run: lesson.Run, vae: VAE, split, latents: np.ndarray, concepts: Sequence[Concept]) -> dict:
    """Probe accuracy, and what the probes say of pictures after the arithmetic; a row of numbers each."""
    seen, table, kept = through_the_picture(vae, latents), {}, []
    partners = latents[np.random.default_rng(run.config.seed).permutation(len(latents))]
    for concept in concepts:
        has = split.attributes[concept.name]
        start, length = latents[~has], np.linalg.norm(concept.vector)
        difference = partners[~has] - start
        difference *= length / np.maximum(np.linalg.norm(difference, axis=1, keepdims=True), 1e-6)
        moved = through_the_picture(vae, start + concept.vector)
        others = [other.probe for other in concepts if other is not concept]
        kept += [np.mean(probe.predict(moved) == probe.predict(seen[~has])) for probe in others]
        table[concept.name] = row = {
            "accuracy": concept.probe.score(latents, has),
            "majority": max(has.mean(), 1 - has.mean()),
            "before": concept.probe.predict(seen[~has]).mean(),
            "control": concept.probe.predict(through_the_picture(vae, start + difference)).mean(),
            "after": concept.probe.predict(moved).mean(),
        }
        low, high = DRAWN_PROBES.get(concept.name, (0.5, 1))
        run.metric(f"probe_accuracy_{concept.name.lower()}", row["accuracy"], "fraction", embedded=(low, high))
        run.metric(f"with_after_{concept.name.lower()}", row["after"], "fraction")
    run.metric("with_before", np.mean([row["before"] for row in table.values()]), "fraction")
    run.metric("with_after_random", np.mean([row["control"] for row in table.values()]), "fraction")
    run.metric("others_kept", np.mean(kept), "fraction")
    return table


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.celeba(run, run.config.faces)
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
        after = ", ".join(f"{name} {row['after']:.0%}" for name, row in list(table.items())[:3])
        title = f"Faces gain and lose concepts; the probe sees the new one in {after} of held-out faces"
        run.figure("concepts", draw_concepts(vae, data.test, latents, concepts[:3], title), headline=True)
        run.figure("arithmetic", draw_arithmetic(table))
        run.figure("cosines", draw_cosines(concepts))
        run.figure("morph", draw_morph(vae, images[2:4], latents[2:4]))
        run.gif("morph", morph_frames(vae, latents[:8].reshape(4, 2, -1)))
        run.gif("training", history.frames)
        run.figure("reconstructions", draw_reconstructions(vae, images[:10], latents[:10]))
        run.figure("samples", draw_samples(vae, train_latents, run.config.seed))
        run.figure("curves", draw_curves(history))


if __name__ == "__main__":
    main()

# What to try next
# 1. --pixel-scale 0.5, ten times the learned one: errors become cheap. What happens to the KL, to small things such as
#    the mustache, and to the samples? Then --pixel-scale 0.02.
# 2. --latent-dim 32: which attributes can the probe still read? Look at the faces: what has the code given up?
# 3. Add two concept vectors at once, then half of each. Where does the arithmetic break, and can you see why?
