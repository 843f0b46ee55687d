"""09 · Denoising autoencoders: predict a digit from a noisy picture of it.

Add Gaussian noise to a picture, give the network the noisy one, and ask for the clean one:

    y = x + s n,   n ~ N(0, 1) for every pixel,   loss = mean over pixels of (x - f(y))^2

With s = 0.55 the noise has more power than the digit. Copying no longer helps, however wide the code is: to remove
noise the network must learn what digits look like. What minimises the loss is the mean of all clean pictures that could
have led to y,

    f*(y) = E[x | y] = y + s^2 grad log p(y)        (Tweedie's formula)

so a denoiser knows in which direction pictures become more probable: the idea behind score matching and diffusion
models.

You will see: noisy, denoised and clean digits for three denoisers (the dense network of lesson 08 with its code of 32,
a convolutional one, and the best linear one), and their PSNR at other noise levels than the one they were trained for.

Run:    python src/09_MNIST_denoising_autoencoder.py       about 90 seconds on two CPU cores
Makes:  output/09_MNIST_denoising_autoencoder.png and output/09_MNIST_denoising_autoencoder/
Source: Vincent et al., Extracting and Composing Robust Features with Denoising Autoencoders, ICML 2008;
        Vincent, A Connection Between Score Matching and Denoising Autoencoders, Neural Computation 23 (2011)
"""

import dataclasses
import math
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
    conv_epochs: config.Count = 5  # of the convolutional one; each takes many times as long
    batch_size: config.Count = 256  # as in lesson 08
    learning_rate: config.Rate = 2e-3  # of the dense network; higher, and units of its code die
    conv_learning_rate: config.Rate = 4e-3  # of the convolutional network, whose code is too wide to die
    decay: bool = True  # let the rate decay to zero along a cosine
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
    """Shuffled batches of (noisy picture, clean picture); the noise of a batch depends on (seed, step) alone.

    Every batch gets new noise, so the network never gets the same input twice and cannot memorise the noise.
    """

    def corrupt(clean, batch_seed):
        return clean + noise * tf.random.stateless_normal(tf.shape(clean), batch_seed), clean

    parts = min(1, max(0.2, len(images) / 40_000))  # with few pictures, an epoch shows each up to 5 times
    return training.Batches(images, batch_size, seed, transform=corrupt, random=True, parts=parts)


def with_noise(images: np.ndarray, noise: float, seed: int) -> np.ndarray:
    """Test pictures with noise that is always the same."""
    random = np.random.default_rng(seed)
    return images + noise * random.standard_normal(images.shape, dtype=np.float32)


# %% Model
# Three denoisers. The dense network must pass everything through 32 numbers. The convolutional one has a code that is
# wider than the picture: the noise, not the width, keeps it from copying. The linear one is the baseline: the best
# matrix, in closed form.


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
    """Down to 7x7 and back; the code has 7 x 7 x 48 numbers.

    The output is linear. With a sigmoid this network first learns to predict black, which is right for four pixels of
    five; then the sigmoid is saturated, its gradient nearly vanishes, and the loss stays for hundreds of steps.
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
    """The best linear denoiser for pictures with the mean and covariance of the training ones (a Wiener filter).

    Along each principal component, whose variance is v, the noisy coordinate is multiplied by v / (v + s^2). If the
    pictures had a Gaussian distribution, this would be E[x | y], the best denoiser of all.
    """

    def __init__(self, images: np.ndarray, noise: float):
        flat = images.reshape(len(images), -1)
        self.mean = flat.mean(axis=0)
        centered = (flat - self.mean).astype(np.float64)
        variances, vectors = np.linalg.eigh(centered.T @ centered / len(flat))
        shrink = np.maximum(variances, 0) / (np.maximum(variances, 0) + noise**2 + 1e-12)
        self.matrix = ((vectors * shrink) @ vectors.T).astype("float32")

    def predict(self, noisy: np.ndarray) -> np.ndarray:
        """Noisy pictures (n, 28, 28) -> denoised ones."""
        flat = noisy.reshape(len(noisy), -1) - self.mean
        return (flat @ self.matrix + self.mean).reshape(noisy.shape)


# %% Train
# The test digits, with noise that is always the same, are evaluated after every epoch to draw the curves. Nothing is
# chosen by them: the last epoch is the result, whatever it is.


def train(
    run: lesson.Run,
    model: keras.Model,
    epochs: int,
    peak: float,
    images: np.ndarray,
    test: tuple[np.ndarray, np.ndarray],
) -> lesson.History:
    """Minimise the mean squared error between the clean picture and the prediction from the noisy one."""
    examples = batches(images, run.config.noise, run.config.batch_size, run.config.seed)
    rate = training.warm_up_cosine(peak, epochs * examples.steps_per_epoch) if run.config.decay else peak
    model.compile(keras.optimizers.Adam(rate), loss="mse")
    return run.fit(model, examples, epochs=epochs, name=model.name, validation=test)


def denoise(denoiser, noisy: np.ndarray) -> np.ndarray:
    """Predictions for noisy pictures (n, 28, 28), clipped to [0, 1], where pixels lie."""
    if isinstance(denoiser, keras.Model):
        return np.clip(denoiser.predict(noisy, batch_size=500, verbose=0), 0, 1)
    return np.clip(denoiser.predict(noisy), 0, 1)


# %% Figures


def draw_denoised(clean: np.ndarray, noisy: np.ndarray, denoisers: dict, noise: float) -> figures.Figure:
    """Ten test digits: noisy, denoised by each, clean; with the PSNR of each picture."""
    rows = [noisy, *(denoise(denoiser, noisy) for denoiser in denoisers.values()), clean]
    captions = [[decibels_text(metrics.psnr(*pair)) for pair in zip(clean, row, strict=True)] for row in rows[:-1]]
    title = f"Test digits with noise of standard deviation {noise:g}, denoised, and clean"
    labels = ["noisy", *denoisers, "clean"]
    return figures.image_grid(rows, title, labels, [*captions, [""] * len(clean)])


def decibels_text(psnr: float) -> str:
    """A PSNR as a caption; it is infinite where two pictures are equal."""
    return f"{psnr:.1f} dB" if math.isfinite(psnr) else "no error"


def draw_levels(clean: np.ndarray, denoisers: dict, trained_at: float, seed: int) -> figures.Figure:
    """PSNR against the noise level, of the noisy pictures and of each denoiser's predictions."""
    lines = {name: [] for name in ("noisy", *denoisers)}
    for level in LEVELS:
        noisy = with_noise(clean, level, seed)
        lines["noisy"].append(metrics.psnr(clean, noisy))
        for name, denoiser in denoisers.items():
            lines[name].append(metrics.psnr(clean, denoise(denoiser, noisy)))
    title = "PSNR of the denoisers at noise levels that they were not trained for"
    figure, cell = figures.subplots(width=8, height=3.7, title=title)
    cell.axvline(trained_at, color="black", linestyle=":", label=f"trained at {trained_at:g}")
    for (name, values), style in zip(lines.items(), ("k-", "o--", "s--", "^-"), strict=True):
        cell.plot(LEVELS, values, style, label=name, markersize=5)
    cell.set_xlabel("standard deviation of the noise (pixels lie in [0, 1])")
    cell.set_ylabel("PSNR (dB)")
    cell.legend()
    return figure


def draw_curves(histories: dict[str, lesson.History]) -> figures.Figure:
    """Error by epoch of both networks, on one scale."""
    figure, axes = figures.subplots(
        1, 2, width=8, height=3.1, title="Error by epoch; nothing is chosen by the test curve", sharey=True
    )
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
# PSNR compares the noise with the largest pixel value: -20 log10 s for the noisy picture, since nothing is clipped. The
# signal-to-noise ratio (SNR) compares it with the variance of the pixels, which is much smaller.


def decibels(mse: tuple[float, float]) -> tuple[float, float]:
    """The range of the PSNR that belongs to a range of the MSE, rounded outward to tenths of a decibel."""
    low, high = (-10 * math.log10(bound) for bound in reversed(mse))
    return math.floor(10 * low) / 10, math.ceil(10 * high) / 10


def signal_to_noise(clean: np.ndarray, noise: float) -> float:
    """The variance of all pixels over that of the noise, in decibels."""
    return 20 * math.log10(clean.std() / noise) if noise > 0 else math.inf


def measure(run: lesson.Run, images: np.ndarray, clean: np.ndarray, noisy: np.ndarray, denoisers: dict) -> None:
    """Test error of every denoiser, of the noisy pictures, and of the mean image."""
    expected = {
        "dense": ((0.019, 0.0209), (0.01, 0.06)),
        "conv": ((0.009, 0.0145), (0.008, 0.05)),
        "linear": ((0.019, 0.0202), (0.012, 0.03)),
    }
    for name, bounds in expected.items():
        denoised = denoise(denoisers[name], noisy)
        run.metric(f"test_mse_{name}", metrics.mean_squared_error(clean, denoised), "", *bounds)
        run.metric(f"test_psnr_{name}", metrics.psnr(clean, denoised), "dB", *map(decibels, bounds))
    run.metric("psnr_noisy", metrics.psnr(clean, noisy), "dB", expected=(5.1, 5.3), embedded=(5.1, 5.3))
    snr = signal_to_noise(clean, run.config.noise)
    run.metric("snr_noisy", snr, "dB", expected=(-5.2, -4.8), embedded=(-6, -3))
    mean_image = metrics.mean_squared_error(clean, images.mean(axis=0))
    run.metric("mse_mean_image", mean_image, "", expected=(0.06, 0.075), embedded=(0.05, 0.12))


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Two networks and a matrix remove the same noise."""
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
# 1. --noise 1.2: what do the denoisers predict for a 4 that could also be a 9? The mean of both minimises the error.
# 2. Apply the convolutional denoiser to its own output, again and again. Do digits become clearer, or does it add
#    strokes that were never there?
# 3. Draw the noise level anew for every picture, between 0 and 1. How much is lost at 0.55, how much gained elsewhere?
