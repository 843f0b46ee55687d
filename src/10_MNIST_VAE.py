"""10 · A variational autoencoder on MNIST: all handwritten digits on one map.

The autoencoder of lesson 08 gives every digit a code, but most codes are no digit: decode random numbers, and rubbish
comes out. A variational autoencoder (VAE) is built the other way round. It begins with the story of how a picture x
comes about: draw a few numbers z from a standard Gaussian p(z), then draw the pixels from p(x | z), which a network,
the decoder, computes. Training makes the pictures that we have likely under this story. Their likelihood

    p(x) = integral of p(x | z) p(z) dz

cannot be computed, for nearly every z has nothing to do with a given x. So a second network, the encoder, proposes the
z that matter: a Gaussian q(z | x) with mean z_mean and variance exp(z_log_var). With its help comes a bound,

    - log p(x)  <=  E_q[- log p(x | z)]  +  KL(q(z | x) || p(z))  =  loss
                    reconstruction          KL divergence

The first term wants codes from which the picture can be told; the second wants codes that look like draws from p(z),
so that the codes of all digits together fill the Gaussian and leave no holes. Both are in nats, SUMMED over the 784
pixels and over the latent dimensions: a log-probability of independent parts is a sum. For Gaussians the second term is

    KL  =  1/2  sum over dimensions of  (z_mean^2 + exp(z_log_var) - z_log_var - 1)

Drawing z from q has no derivative, but z = z_mean + exp(z_log_var / 2) * epsilon with epsilon from a standard Gaussian
does: the chance comes from outside, and the gradient flows through z_mean and z_log_var into the encoder.

What you will see: the plane of codes decoded as a map of digits, and the map unfolding while the network learns; where
the test digits lie on it; a walk across it from one digit to another; reconstructions; digits drawn from nothing.

Run:    python src/10_MNIST_VAE.py                 about two minutes on two CPU cores
Makes:  output/10_MNIST_VAE.png and output/10_MNIST_VAE/
Source: Kingma & Welling, Auto-Encoding Variational Bayes, arXiv:1312.6114;
        Rezende, Mohamed & Wierstra, Stochastic Backpropagation, arXiv:1401.4082
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, training
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
    """The tutorials' network, trained for few epochs."""

    pictures: config.Count = 240_000  # trained on in all: 4 epochs of MNIST, up to 30 of fewer digits
    epochs: config.Count | None = None  # instead of --pictures; the loss falls for 30 and more, but slowly
    batch_size: config.Count = 64  # half the tutorials': twice the steps in about the same time, on a CPU
    learning_rate: config.Rate = 3e-3  # high: possible because the rate begins and ends near nought
    one_cycle: bool = True  # up to the rate in the first fifth, then down along a cosine; else constant
    latent_dim: Annotated[int, config.Range(2, 256)] = 2  # two, so that all of it can be drawn
    beta: Annotated[float, config.Range(0, 1000)] = 1.0  # weight of the KL; 1 makes the loss the bound itself
    grid: Annotated[int, config.Range(2, 60)] = 30  # digits along each side of the map


PRESETS = {
    # The tutorials' 30 epochs; theirs exactly: --batch-size 128 --learning-rate 1e-3 --no-one-cycle. With a cycle, 30
    # epochs of batch 128 ended at 149.1 nats on test digits, those of batch 64 at 145.7: twice the steps.
    "full": {"epochs": 30, "learning_rate": 2e-3},
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded"},
}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in [0, 1]: each pixel is taken for the probability of ink."""
    return images[..., None].astype("float32") / 255


# %% Model


def build_encoder(latent_dim: int) -> keras.Model:
    """A picture -> mean and log-variance of the Gaussian of its codes (a logarithm may be any number)."""
    images = keras.Input((28, 28, 1))
    hidden = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu")(images)  # (batch, 14, 14, 32)
    hidden = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu")(hidden)  # (batch, 7, 7, 64)
    hidden = layers.Flatten()(hidden)  # (batch, 3136)
    hidden = layers.Dense(16, activation="relu")(hidden)  # (batch, 16)
    z_mean = layers.Dense(latent_dim, name="z_mean")(hidden)  # (batch, latent_dim)
    z_log_var = layers.Dense(latent_dim, name="z_log_var")(hidden)  # (batch, latent_dim)
    return keras.Model(images, [z_mean, z_log_var], name="encoder")


def build_decoder(latent_dim: int) -> keras.Model:
    """A code -> the logit of the probability of ink, for each pixel. The encoder's steps in reverse."""
    latents = keras.Input((latent_dim,))
    hidden = layers.Dense(7 * 7 * 64, activation="relu")(latents)  # (batch, 3136)
    hidden = layers.Reshape((7, 7, 64))(hidden)  # (batch, 7, 7, 64)
    hidden = layers.Conv2DTranspose(64, 3, strides=2, padding="same", activation="relu")(hidden)  # (batch, 14, 14, 64)
    hidden = layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu")(hidden)  # (batch, 28, 28, 32)
    logits = layers.Conv2D(1, 3, padding="same", name="logits")(hidden)  # (batch, 28, 28, 1)
    return keras.Model(latents, logits, name="decoder")


@keras.saving.register_keras_serializable(package="study")
class Sampling(layers.Layer):
    """(z_mean, z_log_var), both (batch, latent_dim) -> one draw z of that shape: the reparameterisation trick."""

    def __init__(self, seed: int | None = None, **options):
        super().__init__(**options)
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)  # its counter is saved with the weights: exact resume

    def call(self, distribution):
        z_mean, z_log_var = distribution
        epsilon = keras.random.normal(ops.shape(z_mean), seed=self.seed_generator)
        return z_mean + ops.exp(z_log_var / 2) * epsilon  # exp(log variance / 2) is the standard deviation

    def get_config(self):
        return {**super().get_config(), "seed": self.seed}


def reconstruction_loss(images, logits):
    """-log p(x | z) of independent pixels, in nats an image (batch,): cross-entropy, summed over the pixels."""
    return ops.sum(keras.losses.binary_crossentropy(images, logits, from_logits=True), axis=(1, 2))


def kl_divergence(z_mean, z_log_var):
    """KL(q(z | x) || standard Gaussian), in nats an image (batch,): summed over the latent dimensions."""
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
        self.reconstruction = keras.metrics.Mean(name="reconstruction")  # nats an image, reset by Keras every epoch
        self.kl = keras.metrics.Mean(name="kl")

    def call(self, images):
        """Pictures (batch, 28, 28, 1) -> the Gaussians of their codes, and the logits decoded from one draw of each."""
        z_mean, z_log_var = self.encoder(images)
        logits = self.decoder(self.sampling([z_mean, z_log_var]))
        return {"z_mean": z_mean, "z_log_var": z_log_var, "logits": logits}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The bound, averaged over the batch. Keras calls it with pictures x and `call`'s answer y_pred."""
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
    """Adam; with `one_cycle` the rate rises over the first fifth of the steps and falls to nought over the rest."""
    rate, warm_up = settings.learning_rate, max(1, steps // 5)
    if settings.one_cycle:
        rate = keras.optimizers.schedules.CosineDecay(
            rate / 25, max(1, steps - warm_up), warmup_target=rate, warmup_steps=warm_up
        )
    vae.compile(optimizer=keras.optimizers.Adam(rate))


def train(run, vae: VAE, data) -> lesson.History:
    """Train on the training digits; after every epoch measure the test digits; decode the same codes some 20 times."""
    examples = training.Batches(scaled(data.train.images), run.config.batch_size, run.config.seed)
    epochs = run.config.epochs or min(30, max(1, run.config.pictures // examples.examples))
    compile_vae(vae, run.config, steps=epochs * examples.steps_per_epoch)

    def sample(model: VAE) -> np.ndarray:
        return sheet_of_digits(model.decoder, 20, run.config.latent_dim, greys=16)

    test = scaled(data.test.images)
    return run.fit(vae, examples, epochs=epochs, validation=(test,), sample=sample, sample_every=epochs / 20)


# %% Look


def encode(vae: VAE, images: np.ndarray) -> np.ndarray:
    """z_mean (n, latent_dim) of pictures (n, 28, 28, 1)."""
    return vae.encoder.predict(images, batch_size=500, verbose=0)[0]


def decode(decoder: Callable, latents: np.ndarray) -> np.ndarray:
    """Codes (n, latent_dim) -> probabilities of ink (n, 28, 28), all in ONE call of the decoder."""
    return ops.convert_to_numpy(ops.sigmoid(decoder(ops.convert_to_tensor(latents, "float32"))))[..., 0]


def quantiles(side: int) -> np.ndarray:
    """`side` numbers that cut a standard Gaussian into parts of equal probability; each is the middle of its part."""
    return norm.ppf((np.arange(side) + 0.5) / side)


def latent_grid(side: int, latent_dim: int) -> np.ndarray:
    """Codes (side * side, latent_dim) over the plane of the first two dimensions, row by row from the top left."""
    values = quantiles(side)
    latents = np.zeros((side * side, latent_dim), "float32")
    latents[:, 0], latents[:, 1] = np.tile(values, side), np.repeat(values[::-1], side)
    return latents


def sheet_of_digits(decoder: Callable, side: int, latent_dim: int, greys: int) -> np.ndarray:
    """The decoded pictures of a grid of codes as one sheet, uint8; fewer greys make much smaller files."""
    sheet = figures.tile(decode(decoder, latent_grid(side, latent_dim)), columns=side, gap=0)
    step = 255 / (greys - 1)
    return np.round(np.round(sheet / step) * step).astype(np.uint8)


def draw_latent_grid(decoder: Callable, side: int, latent_dim: int, loss: float) -> figures.Figure:
    """The map: the decoder's picture of every point of a grid, each with the same share of the probability p(z)."""
    sheet = sheet_of_digits(decoder, side, latent_dim, greys=32)
    title = f"{side} x {side} codes, decoded: the map of digits ({loss:.1f} nats an image on test digits)"
    figure, cell = figures.subplots(width=8, height=8.2, title=title)
    cell.imshow(sheet, vmin=0, vmax=255)
    cell.grid(False)
    marks = np.unique(np.linspace(0, side - 1, 7).round().astype(int))
    cell.set_xticks(marks * 28 + 14, [f"{value:.2f}" for value in quantiles(side)[marks]])
    cell.set_yticks(marks * 28 + 14, [f"{value:.2f}" for value in quantiles(side)[::-1][marks]])
    cell.set_xlabel("first latent dimension, at the quantiles of a standard Gaussian")
    cell.set_ylabel("second latent dimension")
    return figure


# Paul Tol's "muted" scheme and black: ten colours for colour-blind readers; the digits are written beside them, too.
DIGIT_COLORS = np.array(
    ["#000000", "#332288", "#88CCEE", "#44AA99", "#117733", "#999933", "#DDCC77", "#CC6677", "#882255", "#AA4499"]
)


def scatter_digits(cell, latents: np.ndarray, labels: np.ndarray, size: float, font_size: float) -> None:
    """Codes (n, latent_dim) as dots coloured by class, the digit itself at the median of each class."""
    cell.scatter(*latents[:, :2].T, s=size, c=DIGIT_COLORS[labels], linewidths=0)
    for digit in np.unique(labels):
        middle = np.median(latents[labels == digit, :2], axis=0)
        box = {
            "boxstyle": "circle,pad=0.2",
            "facecolor": "white",
            "edgecolor": DIGIT_COLORS[digit],
            "linewidth": font_size / 5,
        }
        cell.annotate(str(digit), middle, ha="center", va="center", fontsize=font_size, bbox=box)
    cell.set_xlabel("first latent dimension")
    cell.set_ylabel("second latent dimension")
    cell.set_aspect("equal")


def draw_latent_space(latents: np.ndarray, labels: np.ndarray, accuracy: float) -> figures.Figure:
    """Where the test digits lie: nobody told the network of classes, yet they part."""
    title = f"{len(labels):,} test digits in the latent plane: five neighbours name {accuracy:.0%} of them rightly"
    figure, cell = figures.subplots(width=8, height=7.4, title=title)
    scatter_digits(cell, latents, labels, size=5, font_size=11)
    for radius, share in ((1, "39 %"), (2, "86 %")):
        turn = np.linspace(0, 2 * np.pi, 200)
        cell.plot(radius * np.cos(turn), radius * np.sin(turn), color="black", linewidth=0.8, linestyle="--")
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}
        cell.annotate(f"{share} of p(z)", (0, -radius), ha="center", va="center", fontsize=8, bbox=box)
    return figure


def draw_walk(decoder: Callable, ends: np.ndarray, latents: np.ndarray, labels: np.ndarray) -> list[np.ndarray]:
    """Frames of a straight walk between two codes, ends (2, latent_dim), and back: the plane and the picture there."""
    shares = np.linspace(0, 1, 24)[:, None]
    path = (1 - shares) * ends[0] + shares * ends[1]
    figure, (plane, picture) = figures.subplots(1, 2, width=7, height=3.7, title="A straight walk on the map")
    scatter_digits(plane, latents, labels, size=3, font_size=8)
    plane.plot(*path[:, :2].T, color="black", linewidth=1.5, zorder=5)
    (dot,) = plane.plot([], [], "o", markersize=10, color="white", markeredgecolor="black", markeredgewidth=2, zorder=6)
    images = decode(decoder, path)
    figures.show_image(picture, images[0])
    picture.set_title("the digit at the white dot", fontsize=9)
    figure.canvas.draw()
    figure.set_layout_engine("none")  # from here on everything stays in its place
    frames = []
    for latent, image in zip(path, images, strict=True):
        dot.set_data(latent[:1], latent[1:2])
        picture.images[0].set_data(image)
        figure.canvas.draw()
        frames.append(np.array(figure.canvas.buffer_rgba())[..., :3])
    figures.plt.close(figure)
    return frames + frames[-2::-1]


def draw_reconstructions(vae: VAE, images: np.ndarray) -> figures.Figure:
    """Ten test digits, what the decoder makes of the middle of their codes, and of two draws."""
    z_mean, z_log_var = vae.encoder(images)
    codes = [z_mean, vae.sampling([z_mean, z_log_var]), vae.sampling([z_mean, z_log_var])]
    rows = [images, *(decode(vae.decoder, code) for code in codes)]
    labels = ["original", "from z_mean", "from a draw of z", "another draw"]
    return figures.image_grid(rows, "Test digits through two numbers and back", labels)


def draw_samples(decoder: Callable, latent_dim: int, seed: int) -> figures.Figure:
    """Digits from nothing: codes drawn from p(z)."""
    latents = ops.convert_to_numpy(keras.random.normal((72, latent_dim), seed=seed))
    return figures.image_grid(decode(decoder, latents).reshape(6, 12, 28, 28), "Codes drawn from p(z), decoded")


def draw_curves(history: lesson.History) -> figures.Figure:
    """The loss and its two parts, training against test."""
    parts = {
        f"{name}, {where}": history[f"{prefix}{name}"]
        for name in ("loss", "reconstruction")
        for where, prefix in (("training", ""), ("test", "val_"))
    }
    divergence = {"training": history["kl"], "test": history["val_kl"]}
    panels = {"nats an image": parts, "KL (nats an image)": divergence}
    return figures.curves(history.epochs, panels, "The bound and its two parts")


# %% Measure


def measure(run, vae: VAE, data) -> float:
    """The bound on held-out digits, one draw of z an image; returns it in nats."""
    scores = vae.evaluate(scaled(data.test.images), batch_size=500, verbose=0, return_dict=True)
    loss = scores["reconstruction"] + scores["kl"]
    run.metric("test_loss", loss, "nats", expected=(150, 158), embedded=(141, 148))
    run.metric("test_reconstruction", scores["reconstruction"], "nats", expected=(144, 152), embedded=(136, 143))
    run.metric("test_kl", scores["kl"], "nats", expected=(5.3, 6.6), embedded=(4.3, 5.5))
    return loss


def cross_entropy(images: np.ndarray, ink: np.ndarray) -> float:
    """What probabilities of ink cost on images in [0, 1], both (n, 28, 28, 1) or broadcast; nats an image, the mean."""
    return -np.mean(np.sum(xlogy(images, ink) + xlogy(1 - images, 1 - ink), axis=(1, 2, 3)))


def measure_references(run, data) -> None:
    """The two ends of the scale: what a decoder pays that knows no code, and what a perfect copy pays."""
    test = scaled(data.test.images)
    mean_image = (scaled(data.train.images).sum(axis=0, keepdims=True) + 1) / (len(data.train) + 2)  # never 0 or 1
    run.metric("mean_image_loss", cross_entropy(test, mean_image), "nats", expected=(205, 207), embedded=(173, 174))
    run.metric("pixel_entropy", cross_entropy(test, test), "nats", expected=(45, 46), embedded=(35, 36))


def measure_neighbours(run, latents: np.ndarray, labels: np.ndarray, data, vae: VAE) -> float:
    """Share of the test digits whose class the five nearest training codes name: how well the map parts the classes."""
    neighbours = KNeighborsClassifier(5).fit(encode(vae, scaled(data.train.images)), data.train.labels)
    accuracy = neighbours.score(latents, labels)
    run.metric("neighbour_accuracy", accuracy, "fraction", expected=(0.55, 0.8), embedded=(0.3, 0.6))
    return accuracy


def typical(latents: np.ndarray, labels: np.ndarray, digit: int) -> np.ndarray:
    """The code (latent_dim,) of the picture of this class that lies nearest to the middle of its class."""
    candidates = latents[labels == digit]
    return candidates[np.argmin(np.linalg.norm(candidates - np.median(candidates, axis=0), axis=1))]


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.mnist(run)
        images, labels = scaled(data.test.images), data.test.labels
        vae = build_vae(run.config)
        run.diagram(vae.encoder, "encoder")
        run.diagram(vae.decoder, "decoder")
        history = train(run, vae, data)
        loss = measure(run, vae, data)
        measure_references(run, data)
        latents = encode(vae, images)
        accuracy = measure_neighbours(run, latents, labels, data, vae)
        grid = draw_latent_grid(vae.decoder, run.config.grid, run.config.latent_dim, loss)
        run.figure("latent_grid", grid, headline=True)
        run.gif("training", history.frames)
        run.figure("latent_space", draw_latent_space(latents, labels, accuracy))
        ends = np.stack([typical(latents, labels, digit) for digit in (0, 7)])
        run.gif("walk", draw_walk(vae.decoder, ends, latents[:1000], labels[:1000]))
        run.figure("reconstructions", draw_reconstructions(vae, images[:10]))
        run.figure("samples", draw_samples(vae.decoder, run.config.latent_dim, run.config.seed))
        run.figure("curves", draw_curves(history))


if __name__ == "__main__":
    main()

# What to try next
# 1. --latent-dim 10: the loss falls by more than a third, for ten numbers say more than two. What happens to the map?
# 2. --beta 4, then --beta 0.1: which reconstructs better, and which draws better digits from nothing? Why not both?
# 3. Average the KL over the dimensions in `kl_divergence` instead of summing it. Which beta is that in secret?
