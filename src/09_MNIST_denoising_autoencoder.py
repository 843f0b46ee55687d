"""09 · Denoising autoencoders: get a digit back from under the noise.

Add Gaussian noise to a picture, show the network the noisy one, and ask for the clean one:

    y = x + s n,   n ~ N(0, 1) for every pixel,   loss = mean over pixels of (x - f(y))^2

With s = 0.55 the noise is stronger than the digit (5.2 dB: PSNR = -20 log10 s, since nothing is clipped). Copying no
longer helps, however wide the code is: to remove noise one must know what digits look like. What minimises the loss is
the mean of all clean pictures that could have led to y,

    f*(y) = E[x | y] = y + s^2 grad log p(y)        (Tweedie's formula)

so a denoiser knows in which direction pictures become more likely: the idea behind score matching and diffusion models.

Every batch gets new noise, so the network never sees the same picture twice; the test noise is fixed. Three networks
are compared: the dense one of lesson 08, with its code of 32; a convolutional one that is not so narrow; and, as
yardstick, the best LINEAR denoiser (a Wiener filter in the basis of PCA), which needs no training, and beats the dense
network: 32 numbers are too narrow a way.

What you will see: noisy, denoised and clean digits, and the PSNR at other noise levels than the trained one. At very
little noise the dense network makes the picture WORSE: all goes through its code, also what needed no repair.

Run:    python src/09_MNIST_denoising_autoencoder.py       about 90 seconds on two CPU cores
Makes:  output/09_MNIST_denoising_autoencoder.png and output/09_MNIST_denoising_autoencoder/
Source: Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008;
        Vincent, A Connection Between Score Matching and Denoising Autoencoders, Neural Computation 23 (2011)
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, metrics, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The tutorials' noise and dense network."""

    noise: Annotated[float, config.Range(0, 10)] = 0.55  # s: standard deviation of the noise; pixels lie in [0, 1]
    epochs: config.Count = 25  # of the dense network
    conv_epochs: config.Count = 5  # of the convolutional one, each of which costs many of the dense one's
    batch_size: config.Count = 256  # as in lesson 08
    learning_rate: config.Rate = 2e-3  # of the dense network; higher, and units of its code die
    conv_learning_rate: config.Rate = 4e-3  # of the convolutional network, whose code is too wide to die
    decay: bool = True  # let the rate fall to nought along a cosine
    code_size: config.Count = 32  # of the dense network, as in lesson 08
    channels: config.Count = 24  # of the convolutional one at half resolution; twice as many at a quarter


PRESETS = {
    "full": {"epochs": 50, "conv_epochs": 50, "learning_rate": 1e-3, "conv_learning_rate": 1e-3, "decay": False},
    "smoke": {"steps": 4, "batch_size": 32, "limit": 300, "data": "embedded", "channels": 4},
}
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 0.85, 1.0)

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 in [0, 1]."""
    return images.astype("float32") / 255


def batches(images: np.ndarray, noise: float, batch_size: int, seed: int) -> training.Batches:
    """Shuffled batches of (noisy picture, clean picture); the noise of a batch depends on (seed, step) alone."""

    def corrupt(clean, batch_seed):
        return clean + noise * tf.random.stateless_normal(tf.shape(clean), batch_seed), clean

    parts = min(1, max(0.2, len(images) / 40_000))  # where there are few pictures, an epoch shows them up to 5 times
    return training.Batches(images, batch_size, seed, transform=corrupt, random=True, parts=parts)


def with_noise(images: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Test pictures with noise that is always the same."""
    random = np.random.default_rng(seed)
    return images + noise * random.standard_normal(images.shape, dtype=np.float32)


# %% Model


def build_dense(code_size: int) -> keras.Model:
    """Lesson 08's network, new weights: 784 -> 32 -> 784."""
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),  # (batch, 784)
            keras.layers.Dense(code_size, activation="relu"),  # (batch, 32)
            keras.layers.Dense(784, activation="sigmoid"),  # (batch, 784)
            keras.layers.Reshape((28, 28)),
        ],
        name="dense",
    )


def build_conv(channels: int) -> keras.Model:
    """Down to 7x7 and back. The code of 7 x 7 x 48 numbers is wider than the picture: the noise keeps it honest.

    The output is linear. With a sigmoid this network first learns to answer with black, which is right for four pixels
    of five; there the sigmoid is flat, hardly a gradient comes back, and it stays for hundreds of steps.
    """
    half = {"kernel_size": 3, "strides": 2, "padding": "same", "activation": "relu"}
    return keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Reshape((28, 28, 1)),
            keras.layers.Conv2D(channels, **half),  # (batch, 14, 14, 24)
            keras.layers.Conv2D(2 * channels, **half),  # (batch, 7, 7, 48)
            keras.layers.Conv2D(2 * channels, 3, padding="same", activation="relu"),  # (batch, 7, 7, 48)
            keras.layers.Conv2DTranspose(channels, **half),  # (batch, 14, 14, 24)
            keras.layers.Conv2DTranspose(channels // 2, **half),  # (batch, 28, 28, 12)
            keras.layers.Conv2D(1, 3, padding="same"),  # (batch, 28, 28, 1), no sigmoid: see above
            keras.layers.Reshape((28, 28)),
        ],
        name="conv",
    )


class LinearDenoiser:
    """The best linear denoiser for pictures with the mean and covariance of the training ones (Wiener).

    Along each principal component, whose variance is v, the noisy coordinate is shrunk by v / (v + s^2).
    """

    def __init__(self, images: np.ndarray, noise: float):
        flat = images.reshape(len(images), -1)
        self.mean = flat.mean(axis=0)
        variances, vectors = np.linalg.eigh(np.cov(flat - self.mean, rowvar=False))
        shrink = np.maximum(variances, 0) / (np.maximum(variances, 0) + noise**2 + 1e-12)
        self.matrix = ((vectors * shrink) @ vectors.T).astype("float32")

    def predict(self, noisy: np.ndarray) -> np.ndarray:
        """Noisy pictures (n, 28, 28) -> denoised ones."""
        flat = noisy.reshape(len(noisy), -1) - self.mean
        return (flat @ self.matrix + self.mean).reshape(noisy.shape)


# %% Train


def train(
    run: lesson.Run, model: keras.Model, epochs: int, peak: float, images: np.ndarray, test: tuple
) -> lesson.History:
    """Lower the mean squared error between the clean picture and what is made of the noisy one."""
    examples = batches(images, run.config.noise, run.config.batch_size, run.config.seed)
    rate = keras.optimizers.schedules.CosineDecay(peak, epochs * examples.steps_per_epoch)
    model.compile(keras.optimizers.Adam(rate if run.config.decay else peak), loss="mse")
    return run.fit(model, examples, epochs=epochs, name=model.name, validation=test)


def denoise(denoiser, noisy: np.ndarray) -> np.ndarray:
    """Run a denoiser over pictures (n, 28, 28); the answers are clipped to [0, 1], where pixels lie."""
    if isinstance(denoiser, keras.Model):
        return np.clip(denoiser.predict(noisy, batch_size=500, verbose=0), 0, 1)
    return np.clip(denoiser.predict(noisy), 0, 1)


# %% Look


def draw_denoised(clean: np.ndarray, noisy: np.ndarray, denoisers: dict, noise: float) -> figures.Figure:
    """Ten test digits: noisy, denoised by each, clean; with the PSNR of each picture."""
    rows = [noisy, *(denoise(denoiser, noisy) for denoiser in denoisers.values()), clean]
    captions = [[f"{metrics.psnr(*pair):.1f} dB" for pair in zip(clean, row, strict=True)] for row in rows[:-1]]
    title = f"Test digits under noise of standard deviation {noise:g}, and without"
    labels = ["noisy", *denoisers, "clean"]
    return figures.image_grid(rows, title, labels, [*captions, [""] * len(clean)])


def draw_levels(clean: np.ndarray, denoisers: dict, trained_at: float, seed: int) -> figures.Figure:
    """PSNR against the noise level, of the noisy pictures and of what each denoiser makes of them."""
    lines = {name: [] for name in ("noisy", *denoisers)}
    for level in LEVELS:
        noisy = with_noise(clean, level, seed)
        lines["noisy"].append(metrics.psnr(clean, noisy))
        for name, denoiser in denoisers.items():
            lines[name].append(metrics.psnr(clean, denoise(denoiser, noisy)))
    figure, cell = figures.subplots(
        width=8, height=3.7, title="Denoisers at noise levels that they were not trained for"
    )
    cell.axvline(trained_at, color="black", linestyle=":", label=f"trained at {trained_at:g}")
    for (name, values), style in zip(lines.items(), ("k-", "o--", "s--", "^-"), strict=True):
        cell.plot(LEVELS, values, style, label=name, markersize=5)
    cell.set_xlabel("standard deviation of the noise (pixels lie in [0, 1])")
    cell.set_ylabel("PSNR (dB)")
    cell.legend()
    return figure


def draw_curves(histories: dict[str, lesson.History]) -> figures.Figure:
    """Error by epoch of both networks, on one scale."""
    figure, axes = figures.subplots(1, 2, width=8, height=3.1, title="Error by epoch", sharey=True)
    for cell, (name, history) in zip(axes, histories.items(), strict=True):
        cell.plot(history.epochs, history["loss"], label="training, new noise in every batch", marker=".")
        cell.plot(history.epochs, history["val_loss"], "--", label="test, fixed noise", marker=".")
        cell.set_title(f"{name}: {history['val_loss'][-1]:.4f} at the end")
        cell.set_xlabel("epoch")
        cell.set_yscale("log")
        cell.legend()
    axes[0].set_ylabel("MSE")
    return figure


# %% Measure


def measure(run: lesson.Run, images: np.ndarray, clean: np.ndarray, noisy: np.ndarray, denoisers: dict) -> None:
    """Test error of every denoiser, of the noisy pictures, and of the mean image."""
    expected = {
        "dense": ((0.019, 0.0209), (0.01, 0.06)),
        "conv": ((0.009, 0.0145), (0.008, 0.05)),
        "linear": ((0.019, 0.0202), (0.012, 0.03)),
    }
    for name, bounds in expected.items():
        error = metrics.mean_squared_error(clean, denoise(denoisers[name], noisy))
        run.metric(f"test_mse_{name}", error, "", *bounds)
        decibels = [tuple(round(-10 * np.log10(bound), 1) for bound in reversed(pair)) for pair in bounds]
        run.metric(f"test_psnr_{name}", -10 * np.log10(error), "dB", *decibels)
    run.metric("psnr_noisy", metrics.psnr(clean, noisy), "dB", expected=(5.1, 5.3), embedded=(5.1, 5.3))
    mean_image = metrics.mean_squared_error(clean, images.mean(axis=0))
    run.metric("mse_mean_image", mean_image, "", expected=(0.06, 0.075), embedded=(0.05, 0.12))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Two networks and a matrix against the same noise."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings, digits = run.config, datasets.mnist(run)
        images, clean = scaled(digits.train.images), scaled(digits.test.images)
        noisy = with_noise(clean, settings.noise, settings.seed)

        dense, conv = build_dense(settings.code_size), build_conv(settings.channels)
        run.diagram(dense, "dense")
        run.diagram(conv, "conv")
        histories = {
            "dense": train(run, dense, settings.epochs, settings.learning_rate, images, (noisy, clean)),
            "conv": train(run, conv, settings.conv_epochs, settings.conv_learning_rate, images, (noisy, clean)),
        }
        denoisers = {"linear": LinearDenoiser(images, settings.noise), "dense": dense, "conv": conv}
        measure(run, images, clean, noisy, denoisers)

        run.figure("denoised", draw_denoised(clean[:10], noisy[:10], denoisers, settings.noise), headline=True)
        run.figure("levels", draw_levels(clean[:2000], denoisers, settings.noise, settings.seed + 1))
        run.figure("curves", draw_curves(histories))


if __name__ == "__main__":
    main()

# What to try next
# 1. --noise 1.2: what do the denoisers make of a 4 that might as well be a 9? They answer with the mean of both.
# 2. Apply the convolutional denoiser to its own output, again and again. Do digits become clearer, or does it invent?
# 3. Draw the noise level anew for every picture, between 0 and 1. How much is lost at 0.55, how much gained elsewhere?
