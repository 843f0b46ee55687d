"""10 · A variational autoencoder on MNIST: all handwritten digits on one map.

The autoencoder of lesson 08 gives every digit a code, but most codes belong to no digit: decode random numbers, and you
get noise. A variational autoencoder (VAE) starts from the other end, with a model of how an image x is generated: draw
a few numbers z, the latent code, from a standard Gaussian p(z); then draw the pixels from p(x | z), which a network,
the decoder, computes. Training raises the likelihood of the training images under this model,

    p(x) = integral of p(x | z) p(z) dz

This integral has no closed form, and almost every z contributes nothing to a given x. So a second network, the encoder,
proposes the z that matter: a Gaussian q(z | x) with mean z_mean and variance exp(z_log_var). It gives an upper bound,

    - log p(x)  <=  E_q[- log p(x | z)]  +  KL(q(z | x) || p(z))  =  loss
                    reconstruction          KL divergence

The first term asks for codes that identify the image; the second keeps the codes of each image close to p(z), so that
a code drawn from p(z) usually decodes to a digit.

The figures show the plane of codes decoded as a map of digits, and this map during training; where the test digits lie
on it; a straight line across it from one digit to another; reconstructions; and digits generated from random codes.

Run:    python src/10_MNIST_VAE.py                 about two minutes on two CPU cores
Makes:  output/10_MNIST_VAE.png and output/10_MNIST_VAE/
Source: Kingma & Welling, Auto-Encoding Variational Bayes, arXiv:1312.6114;
        Rezende, Mohamed & Wierstra, Stochastic Backpropagation, arXiv:1401.4082
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, latents, training
from lessonkit import run as lesson

import keras
import numpy as np
from keras import layers, ops
from scipy.special import xlogy
from scipy.stats import norm
from sklearn.neighbors import KNeighborsClassifier

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The tutorials' network, trained for fewer epochs."""

    pictures: config.Count = 420_000  # training images in all: 7 epochs of MNIST, up to 30 of a smaller data set
    epochs: config.Count | None = None  # instead of --pictures; the loss still falls after 30, but slowly
    batch_size: config.Count = 64  # half the tutorials': twice the steps in about the same time, on a CPU
    learning_rate: config.Rate = 3e-3  # the peak; so high a rate works because it starts small and decays to zero
    one_cycle: bool = True  # rise to the peak in the first fifth, then decay along a cosine; else a constant rate
    latent_dim: Annotated[int, config.Range(2, 256)] = 2  # two, so that the whole latent space can be drawn
    beta: Annotated[float, config.Range(0, 1000)] = 1.0  # weight of the KL; 1 makes the loss the bound itself
    grid: Annotated[int, config.Range(2, 60)] = 20  # digits along each side of the map


PRESETS = {
    # The tutorials' 30 epochs. Their exact settings: --batch-size 128 --learning-rate 1e-3 --no-one-cycle. With one
    # cycle, 30 epochs of batch 128 ended at 149.1 nats on test digits and 30 of batch 64 at 145.7: twice the steps.
    "full": {"epochs": 30, "learning_rate": 2e-3, "grid": 30},
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded"},
}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in [0, 1]: each pixel value is read as a probability of ink."""
    return images[..., None].astype("float32") / 255


# %% Model

# The encoder halves the image twice and describes a Gaussian; the decoder is its mirror image. The encoder outputs the
# LOGARITHM of the variance, because a network's output may be negative and a variance may not.


def build_encoder(latent_dim: int) -> keras.Model:
    """An image -> mean and log-variance of the Gaussian of its codes."""
    images = keras.Input((28, 28, 1))
    hidden = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(images)  # (batch, 14, 14, 32)
    hidden = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(hidden)  # (batch, 7, 7, 64)
    hidden = layers.Flatten()(hidden)  # (batch, 3136)
    hidden = layers.Dense(16, activation="relu")(hidden)  # (batch, 16)
    z_mean = layers.Dense(latent_dim, name="z_mean")(hidden)  # (batch, latent_dim)
    z_log_var = layers.Dense(latent_dim, name="z_log_var")(hidden)  # (batch, latent_dim)
    return keras.Model(images, [z_mean, z_log_var], name="encoder")


def build_decoder(latent_dim: int) -> keras.Model:
    """A code -> the logit of the probability of ink, for each pixel."""
    codes = keras.Input((latent_dim,))
    hidden = layers.Dense(7 * 7 * 64, activation="relu")(codes)  # (batch, 3136)
    hidden = layers.Reshape((7, 7, 64))(hidden)  # (batch, 7, 7, 64)
    hidden = layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu")(hidden)  # (batch, 14, 14, 64)
    hidden = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(hidden)  # (batch, 28, 28, 32)
    logits = layers.Conv2D(1, 3, padding="same", name="logits")(hidden)  # (batch, 28, 28, 1)
    return keras.Model(codes, logits, name="decoder")


# The reparameterisation trick. "Draw z from q" has no derivative with respect to z_mean and z_log_var. But the draw can
# be written as z = z_mean + sigma * epsilon: the randomness then comes from outside, its distribution depends on no
# weight, and the gradient reaches the encoder through z_mean and sigma.


def draw(z_mean, z_log_var, seed):
    """One draw z from each Gaussian, all (batch, latent_dim); seed: an integer or a SeedGenerator."""
    epsilon = keras.random.normal(ops.shape(z_mean), seed=seed)
    return z_mean + ops.exp(z_log_var / 2) * epsilon  # exp(log variance / 2) is the standard deviation


@keras.saving.register_keras_serializable(package="study")
class Sampling(layers.Layer):
    """(z_mean, z_log_var) -> a new draw z at every call."""

    def __init__(self, seed: int | None = None, **options):
        super().__init__(**options)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)  # its counter is saved with the weights: exact resume

    def call(self, distribution):
        return draw(*distribution, seed=self.seed_generator)

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


# Both terms of the loss are in nats, and SUMMED over the 784 pixels or over the latent dimensions: the log-probability
# of independent parts is a sum. Averaging one of them would change its weight against the other. For Gaussians
#
#     KL  =  1/2  sum over dimensions of  (z_mean^2 + exp(z_log_var) - z_log_var - 1)


def reconstruction_loss(images, logits):
    """-log p(x | z) of independent pixels, nats per image (batch,): cross-entropy, summed over the pixels."""
    return ops.sum(keras.losses.binary_crossentropy(images, logits, from_logits=True), axis=(1, 2))


def kl_divergence(z_mean, z_log_var):
    """KL(q(z | x) || standard Gaussian), nats per image (batch,): summed over the latent dimensions."""
    return ops.sum(ops.square(z_mean) + ops.exp(z_log_var) - z_log_var - 1, axis=1) / 2


@keras.saving.register_keras_serializable(package="study")
class VAE(keras.Model):
    """Encoder, a draw, decoder. With `call` and `compute_loss`, Keras' fit, evaluate, predict and save do the rest."""

    def __init__(
        self, encoder: keras.Model, decoder: keras.Model, beta: float = 1.0, seed: int | None = None, **options
    ):
        super().__init__(**options)
        self.encoder, self.decoder, self.sampling = encoder, decoder, Sampling(seed)
        self.beta, self.seed = beta, seed
        self.reconstruction = keras.metrics.Mean(name="reconstruction")  # nats per image; Keras resets it every epoch
        self.kl = keras.metrics.Mean(name="kl")

    def call(self, images):
        """Images (batch, 28, 28, 1) -> the Gaussians of their codes, and the logits decoded from one draw of each."""
        z_mean, z_log_var = self.encoder(images)
        logits = self.decoder(self.sampling([z_mean, z_log_var]))
        return {"z_mean": z_mean, "z_log_var": z_log_var, "logits": logits}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The bound, averaged over the batch. Keras calls it with the images x and the output y_pred of `call`."""
        reconstruction = reconstruction_loss(x, y_pred["logits"])
        kl = kl_divergence(y_pred["z_mean"], y_pred["z_log_var"])
        self.reconstruction.update_state(reconstruction)
        self.kl.update_state(kl)
        return ops.mean(reconstruction + self.beta * kl)

    def get_config(self):
        """How to build this model again; Keras stores it beside the weights."""
        parts = {"encoder": self.encoder, "decoder": self.decoder}
        parts = {name: keras.saving.serialize_keras_object(part) for name, part in parts.items()}
        return {**super().get_config(), **parts, "beta": self.beta, "seed": self.seed}

    @classmethod
    def from_config(cls, config):
        parts = {name: keras.saving.deserialize_keras_object(config.pop(name)) for name in ("encoder", "decoder")}
        return cls(**parts, **config)


def build_vae(settings: Config) -> VAE:
    """An untrained VAE with these settings."""
    return VAE(build_encoder(settings.latent_dim), build_decoder(settings.latent_dim), settings.beta, settings.seed)


# %% Train


def compile_vae(vae: VAE, settings: Config, steps: int) -> None:
    """Adam; with `one_cycle` the rate rises over the first fifth of the steps and decays to zero over the rest."""
    rate = settings.learning_rate
    if settings.one_cycle:
        rate = training.warm_up_cosine(rate, steps, max(1, steps // 5), start=rate / 25)
    vae.compile(optimizer=keras.optimizers.Adam(rate))


def bound(vae: VAE, images: np.ndarray, seed: int) -> dict[str, float]:
    """Both terms of the loss on images (n, 28, 28, 1), nats per image, with one draw of z each.

    The draws depend on the seed alone, so that values from different moments of the training can be compared.
    """
    terms = []
    for number, batch in enumerate(np.array_split(images, -(-len(images) // 500))):
        z_mean, z_log_var = vae.encoder(batch)
        logits = vae.decoder(draw(z_mean, z_log_var, seed + number))
        terms.append([reconstruction_loss(batch, logits), kl_divergence(z_mean, z_log_var)])  # (2, batch)
    reconstruction, kl = np.concatenate(terms, axis=1).mean(axis=1)
    return {"test_reconstruction": float(reconstruction), "test_kl": float(kl)}


def planned_epochs(settings: Config, examples: int) -> int:
    """The epochs that make --pictures, at most 30; or --epochs."""
    return settings.epochs or min(30, max(1, settings.pictures // examples))


def train(run: lesson.Run, vae: VAE, batches: training.Batches, test: np.ndarray) -> lesson.History:
    """Train; 20 times in between, measure the bound on every fifth test digit and decode the same codes.

    All of them, twenty times, would take a quarter of the lesson's time. The test digits choose nothing here: the
    network after the last step is the one that is reported.
    """
    epochs = planned_epochs(run.config, batches.examples)
    compile_vae(vae, run.config, steps=epochs * batches.steps_per_epoch)
    return run.fit(
        vae,
        batches,
        epochs=epochs,
        sample=lambda: decoded_grid(vae.decoder, 20, run.config.latent_dim, greys=16),
        measure=lambda: bound(vae, test[::5], run.config.seed),
        sample_every=epochs / 20,
    )


# %% Look


def encode(vae: VAE, images: np.ndarray) -> np.ndarray:
    """z_mean (n, latent_dim) of images (n, 28, 28, 1)."""
    return vae.encoder.predict(images, batch_size=500, verbose=0)[0]


def decode(decoder: Callable, codes: np.ndarray) -> np.ndarray:
    """Codes (n, latent_dim) -> probabilities of ink (n, 28, 28), in ONE call of the decoder."""
    return ops.convert_to_numpy(ops.sigmoid(decoder(ops.convert_to_tensor(codes, "float32"))))[..., 0]


# The map shows codes at the quantiles of the Gaussian, not at equal distances: each picture then stands for the same
# share of p(z), and the area that a digit covers is the share of it among generated digits.


def quantiles(side: int) -> np.ndarray:
    """`side` numbers that divide a standard Gaussian into parts of equal probability, each the median of its part."""
    return norm.ppf((np.arange(side) + 0.5) / side)


def latent_grid(side: int, latent_dim: int) -> np.ndarray:
    """Codes (side * side, latent_dim) over the plane of the first two dimensions, row by row from the top left."""
    values = quantiles(side)
    codes = np.zeros((side * side, latent_dim), "float32")
    codes[:, 0], codes[:, 1] = np.tile(values, side), np.repeat(values[::-1], side)
    return codes


def decoded_grid(decoder: Callable, side: int, latent_dim: int, greys: int) -> np.ndarray:
    """The decoded grid of codes as one picture, uint8, dark ink on white; fewer greys make much smaller files."""
    sheet = 255 - figures.tile(decode(decoder, latent_grid(side, latent_dim)), columns=side, gap=0)
    step = 255 / (greys - 1)
    return np.round(np.round(sheet / step) * step).astype(np.uint8)


def draw_latent_grid(decoder: Callable, side: int, latent_dim: int, things: str, loss: float) -> figures.Figure:
    """The map: the decoder's picture at every point of a grid, each with the same share of the probability p(z)."""
    title = f"The latent plane, decoded at {side} x {side} points ({loss:.1f} nats per image on test {things})"
    figure, cell = figures.subplots(width=8, height=8.2, title=title)
    cell.imshow(decoded_grid(decoder, side, latent_dim, greys=32), vmin=0, vmax=255)
    cell.grid(False)
    marks = np.unique(np.linspace(0, side - 1, 7).round().astype(int))
    cell.set_xticks(marks * 28 + 14, [f"{value:.2f}" for value in quantiles(side)[marks]])
    cell.set_yticks(marks * 28 + 14, [f"{value:.2f}" for value in quantiles(side)[::-1][marks]])
    cell.set_xlabel("first latent dimension, at the quantiles of a standard Gaussian")
    cell.set_ylabel("second latent dimension")
    return figure


# Paul Tol's "muted" scheme and black: ten colours that colour-blind readers tell apart; the digits are written, too.
DIGIT_COLORS = np.array(
    ["#000000", "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499"]
)


def scatter_digits(cell, codes: np.ndarray, labels: np.ndarray, size: float, font_size: float) -> None:
    """Codes (n, latent_dim) as dots coloured by class, the digit itself at the median of each class."""
    cell.scatter(*codes[:, :2].T, s=size, c=DIGIT_COLORS[labels], linewidths=0)
    for digit in np.unique(labels):
        middle = np.median(codes[labels == digit, :2], axis=0)
        edge = {"edgecolor": DIGIT_COLORS[digit], "linewidth": font_size / 5}
        box = {"boxstyle": "circle,pad=0.2", "facecolor": "white", **edge}
        cell.annotate(str(digit), middle, ha="center", va="center", fontsize=font_size, bbox=box)
    cell.set_xlabel("first latent dimension")
    cell.set_ylabel("second latent dimension")
    cell.set_aspect("equal")


def draw_latent_space(codes: np.ndarray, labels: np.ndarray, things: str, accuracy: float) -> figures.Figure:
    """Where the test digits lie: the training used no labels, yet the classes separate."""
    title = f"z_mean of {len(labels):,} test {things}: nearest neighbours give the right class for {accuracy:.0%}"
    figure, cell = figures.subplots(width=8, height=7.4, title=title)
    scatter_digits(cell, codes, labels, size=5, font_size=11)
    for radius, share in ((1, "39 %"), (2, "86 %")):
        turn = np.linspace(0, 2 * np.pi, 200)
        cell.plot(radius * np.cos(turn), radius * np.sin(turn), color="black", linewidth=0.8, linestyle="--")
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        cell.annotate(f"{share} of p(z)", (0, -radius), ha="center", va="center", fontsize=8, bbox=box)
    return figure


def typical(codes: np.ndarray, labels: np.ndarray, digit: int) -> np.ndarray:
    """The code (latent_dim,) of the image of this class that lies nearest to the median of its class."""
    candidates = codes[labels == digit]
    return candidates[np.argmin(np.linalg.norm(candidates - np.median(candidates, axis=0), axis=1))]


def nearest_class(labels: np.ndarray, digit: int) -> int:
    """The digit, or the next one to it among the labels: few examples may lack a class."""
    return int(min(np.unique(labels), key=lambda other: abs(int(other) - digit)))


def draw_walk(decoder: Callable, codes: np.ndarray, labels: np.ndarray, first: int, last: int) -> list[np.ndarray]:
    """Frames of a straight walk from a typical code of one class to that of another and back: the plane, the digit."""
    first, last = (nearest_class(labels, digit) for digit in (first, last))
    ends = np.stack([typical(codes, labels, digit) for digit in (first, last)])
    shares = np.linspace(0, 1, 24)[:, None]
    path = (1 - shares) * ends[0] + shares * ends[1]
    title = f"A straight line in the latent plane, from a {first} to a {last}"
    figure, (plane, picture) = figures.subplots(1, 2, width=7, height=3.7, title=title)
    scatter_digits(plane, codes[:1000], labels[:1000], size=3, font_size=8)
    plane.plot(*path[:, :2].T, color="black", linewidth=1.5, zorder=5)
    (dot,) = plane.plot([], [], "o", markersize=10, color="white", markeredgecolor="black", markeredgewidth=2, zorder=6)
    images = decode(decoder, path)
    figures.show_image(picture, images[0])
    picture.set_title("decoded at the white dot", fontsize=9)

    def draw_step(step: int) -> None:
        dot.set_data(path[step, :1], path[step, 1:2])
        picture.images[0].set_data(images[step])

    return figures.animate(figure, draw_step, [*range(24), *range(22, -1, -1)])


def draw_reconstructions(vae: VAE, images: np.ndarray, things: str) -> figures.Figure:
    """Test digits, decoded from the mean of their codes and from two draws."""
    z_mean, z_log_var = vae.encoder(images)
    codes = [z_mean, vae.sampling([z_mean, z_log_var]), vae.sampling([z_mean, z_log_var])]
    rows = [images, *(decode(vae.decoder, code) for code in codes)]
    labels = ["original", "from z_mean", "from a draw of z", "another draw"]
    title = f"Test {things}, encoded as {z_mean.shape[1]} numbers and decoded again"
    return figures.image_grid(rows, title, labels)


def draw_samples(decoder: Callable, latent_dim: int, seed: int) -> figures.Figure:
    """New digits: codes drawn from p(z)."""
    images = decode(decoder, latents.normal(72, latent_dim, seed))
    return figures.image_grid(images.reshape(6, 12, 28, 28), "Generated: 72 codes drawn from p(z), decoded")


def draw_curves(history: lesson.History, steps_per_epoch: int) -> figures.Figure:
    """The loss and its two terms. A training value is the mean over an epoch, so it stands in the epoch's middle."""
    test = {"reconstruction": history.measured["test_reconstruction"], "KL": history.measured["test_kl"]}
    trained = {"reconstruction": history["reconstruction"], "KL": history["kl"]}
    for values in (test, trained):
        values["reconstruction + KL"] = np.add(values["reconstruction"], values["KL"])
    steps = np.array(history.frame_steps) / steps_per_epoch
    epochs = np.array(history.epochs)
    middles = (epochs - 1 + np.minimum(epochs, steps[-1])) / 2  # --steps may cut the last epoch
    figure, axes = figures.subplots(1, 2, width=8.5, height=3.6, title="The loss and its two terms")
    for cell, names in zip(axes, (["reconstruction + KL", "reconstruction"], ["KL"]), strict=True):
        for color, name in zip(figures.COLORS, names, strict=False):
            # The untrained network is left out: its 543 nats would flatten the rest.
            cell.plot(steps[1:], test[name][1:], ".-", color=color, label=f"{name}, test")
            cell.plot(middles, trained[name], "o:", color=color, markerfacecolor="white", label=f"{name}, training")
        cell.set(xlabel="epoch", ylabel="nats per image")
        cell.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8, ncols=len(names))
    return figure


# %% Measure


def measure(run: lesson.Run, vae: VAE, test: np.ndarray) -> float:
    """The bound on the test digits, one draw of z per image; returns it in nats."""
    terms = bound(vae, test, run.config.seed)
    loss = terms["test_reconstruction"] + terms["test_kl"]
    run.metric("test_loss", loss, "nats", expected=(146, 155), embedded=(139, 148))
    run.metric("test_reconstruction", terms["test_reconstruction"], "nats", expected=(140, 149), embedded=(133, 143))
    run.metric("test_kl", terms["test_kl"], "nats", expected=(5.4, 6.8), embedded=(4.3, 5.8))
    return loss


def cross_entropy(images: np.ndarray, ink: np.ndarray) -> float:
    """Mean nats per image of images in [0, 1] under probabilities of ink, both (n, 28, 28, 1) or broadcast."""
    return -np.mean(np.sum(xlogy(images, ink) + xlogy(1 - images, 1 - ink), axis=(1, 2, 3)))


def measure_references(run: lesson.Run, train: np.ndarray, test: np.ndarray) -> None:
    """Both ends of the scale: the reconstruction loss of a decoder that ignores the code, and that of a perfect one."""
    mean_image = (train.sum(axis=0, keepdims=True) + 1) / (len(train) + 2)  # never 0 or 1
    run.metric("mean_image_loss", cross_entropy(test, mean_image), "nats", expected=(205, 207), embedded=(173, 174))
    run.metric("pixel_entropy", cross_entropy(test, test), "nats", expected=(45, 46), embedded=(35, 36))


def measure_neighbours(run: lesson.Run, vae: VAE, data: datasets.LabelledImages, codes: np.ndarray) -> float:
    """Share of the test digits whose class a majority of the five nearest training codes gives; codes: of the test."""
    neighbours = KNeighborsClassifier(min(5, len(data.train)))
    neighbours.fit(encode(vae, scaled(data.train.images)), data.train.labels)
    accuracy = neighbours.score(codes, data.test.labels)
    run.metric("neighbour_accuracy", accuracy, "fraction", expected=(0.55, 0.8), embedded=(0.3, 0.6))
    return accuracy


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.mnist(run)
        train_images, test_images = scaled(data.train.images), scaled(data.test.images)
        labels, things, latent_dim = data.test.labels, data.things, run.config.latent_dim
        vae = build_vae(run.config)
        run.diagram(vae.encoder, "encoder")
        run.diagram(vae.decoder, "decoder")
        batches = training.Batches(train_images, run.config.batch_size, run.config.seed)
        history = train(run, vae, batches, test_images)
        loss = measure(run, vae, test_images)
        measure_references(run, train_images, test_images)
        codes = encode(vae, test_images)
        accuracy = measure_neighbours(run, vae, data, codes)
        grid = draw_latent_grid(vae.decoder, run.config.grid, latent_dim, things, loss)
        run.figure("latent_grid", grid, headline=True)
        run.gif("training", history.frames)
        run.figure("latent_space", draw_latent_space(codes, labels, things, accuracy))
        run.gif("walk", draw_walk(vae.decoder, codes, labels, first=0, last=7))
        run.figure("reconstructions", draw_reconstructions(vae, test_images[:10], things))
        run.figure("samples", draw_samples(vae.decoder, latent_dim, run.config.seed))
        run.figure("curves", draw_curves(history, batches.steps_per_epoch))


if __name__ == "__main__":
    main()

# What to try next
# 1. --latent-dim 10: the loss falls by more than a third, as ten numbers hold more than two. What happens to the map?
# 2. --beta 4, then --beta 0.1: which reconstructs better, and which generates better digits? Why not both?
# 3. --beta 50: posterior collapse. The KL falls to zero, and every code decodes to the same picture. Which one?
# 4. Average the KL over the dimensions in `kl_divergence` instead of summing it. Which beta does that amount to?
