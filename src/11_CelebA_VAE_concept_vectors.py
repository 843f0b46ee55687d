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
        White, Sampling Generative Networks, arXiv:1609.04468; Liu et al., Deep Learning Face Attributes in the Wild, 2015
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

    epochs: config.Count = 28  # the test loss still falls, by ever less
    batch_size: config.Count = 64  # small: with so few epochs it is the number of steps that counts
    learning_rate: config.Rate = 3e-3  # high: possible because the rate begins and ends near nought
    latent_dim: Annotated[int, config.Range(2, 1024)] = 128  # room for all that varies; what is not needed stays unused
    width: Annotated[int, config.Range(4, 512)] = 16  # channels of the first convolution; the others follow from it
    pixel_scale: Annotated[float, config.Range(1e-3, 10)] | None = None  # standard deviation s of a value; None: learned
    faces: config.Count = 20_000  # the most CelebA faces to read for training
    attributes: tuple[str, ...] = (
        "Smiling",
        "Eyeglasses",
        "Blond_Hair",
        "Wearing_Hat",
        "Mustache",
        "Bangs",
        "Mouth_Slightly_Open",
    )  # CelebA's names; the first three are in the headline picture


PRESETS = {
    "full": {"epochs": 40, "batch_size": 128, "learning_rate": 1e-3, "width": 64, "latent_dim": 200, "faces": 60_000},
    "smoke": {"epochs": 1, "steps": 4, "batch_size": 16, "limit": 200, "data": "embedded", "latent_dim": 8},
}

# %% Data


def scaled(images):
    """uint8 0..255 -> float32 0..1; in tf.data batch by batch, for all faces at once would take four times the memory."""
    return tf.cast(images, tf.float32) / 255


def check_attributes(data, names: Sequence[str]) -> None:
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
    images = hidden = keras.Input((64, 64, 3))
    for channels in (width, 2 * width, 4 * width, 8 * width):  # (batch, 32, 32, 16) ... (batch, 4, 4, 128)
        hidden = layers.Conv2D(channels, 3, strides=2, padding="same", activation="relu")(hidden)
    hidden = layers.Flatten()(hidden)  # (batch, 2048)
    z_mean = layers.Dense(latent_dim, name="z_mean")(hidden)  # (batch, latent_dim)
    z_log_var = layers.Dense(latent_dim, name="z_log_var")(hidden)  # (batch, latent_dim)
    return keras.Model(images, [z_mean, z_log_var], name="encoder")


def build_decoder(latent_dim: int, width: int) -> keras.Model:
    """A code -> the mean of every pixel value, in [0, 1]. Kernel 4 is a multiple of stride 2: no checkerboard."""
    latents = keras.Input((latent_dim,))
    hidden = layers.Dense(4 * 4 * 8 * width, activation="relu")(latents)  # (batch, 2048)
    hidden = layers.Reshape((4, 4, 8 * width))(hidden)  # (batch, 4, 4, 128)
    for channels in (4 * width, 2 * width, width):  # (batch, 8, 8, 64), (batch, 16, 16, 32), (batch, 32, 32, 16)
        hidden = layers.Conv2DTranspose(channels, 4, strides=2, padding="same", activation="relu")(hidden)
    means = layers.Conv2DTranspose(3, 4, strides=2, padding="same", activation="sigmoid")(hidden)  # (batch, 64, 64, 3)
    return keras.Model(latents, means, name="decoder")


@keras.saving.register_keras_serializable(package="lesson_11")
class Sampling(layers.Layer):
    """(z_mean, z_log_var), both (batch, latent_dim) -> one draw z of that shape: the reparameterisation trick."""

    def __init__(self, seed: int | None = None, **options):
        super().__init__(**options)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)  # its counter is saved with the weights: exact resume

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

    def call(self, images):
        """Faces (batch, 64, 64, 3) -> the distribution of their codes, and the pixel means decoded from one draw of it."""
        z_mean, z_log_var = self.encoder(images)
        return {"z_mean": z_mean, "z_log_var": z_log_var, "means": self.decoder(self.sampling([z_mean, z_log_var]))}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The bound, averaged over the batch. Keras calls it with faces x and `call`'s answer y_pred."""
        reconstruction = reconstruction_loss(x, y_pred["means"], self.log_scale)
        kl = kl_divergence(y_pred["z_mean"], y_pred["z_log_var"])
        self.reconstruction.update_state(reconstruction)
        self.kl.update_state(kl)
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


def train(run, vae: VAE, data) -> lesson.History:
    """Adam, its rate rising over a fifth of the steps and falling after; the same codes decoded after every epoch."""
    examples = training.Batches(data.train.images, run.config.batch_size, run.config.seed, transform=scaled)
    steps = run.config.epochs * examples.steps_per_epoch
    rate, warm_up = run.config.learning_rate, max(1, steps // 5)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 25, max(1, steps - warm_up), warmup_target=rate, warmup_steps=warm_up
    )
    vae.compile(optimizer=keras.optimizers.Adam(schedule))
    fixed = prior_draws(21, run.config.latent_dim, run.config.seed)

    def sample(model: VAE) -> np.ndarray:
        return figures.tile(decode(model, fixed), columns=7)

    return run.fit(vae, examples, validation=(scaled(data.test.images),), sample=sample)


# %% Concepts


def encode(vae: VAE, images: np.ndarray) -> np.ndarray:
    """z_mean (n, latent_dim) of faces (n, 64, 64, 3), uint8 or in [0, 1]."""
    scale = 255 if images.dtype == np.uint8 else 1
    batches = (images[start : start + 500] for start in range(0, len(images), 500))
    return np.concatenate([vae.encoder.predict_on_batch(batch.astype("float32") / scale)[0] for batch in batches])


def decode(vae: VAE, latents: np.ndarray) -> np.ndarray:
    """Codes (n, latent_dim) -> pixel means (n, 64, 64, 3) in [0, 1]."""
    return vae.decoder.predict(latents.astype("float32"), batch_size=500, verbose=0)


def prior_draws(count: int, latent_dim: int, seed: int) -> np.ndarray:
    """Codes (count, latent_dim) from p(z)."""
    return ops.convert_to_numpy(keras.random.normal((count, latent_dim), seed=seed))


def concept_vector(latents: np.ndarray, has: np.ndarray) -> np.ndarray:
    """Mean code of the faces that have the attribute minus mean code of those that have not: (latent_dim,)."""
    return latents[has].mean(axis=0) - latents[~has].mean(axis=0)
