"""08 · Autoencoders: compress a digit to 32 numbers and reconstruct it.

An autoencoder is two networks with a bottleneck between them. The encoder turns a picture x of 784 numbers into a code
z of 32; the decoder turns the code into a picture again; both are trained together to minimise the mean squared error

    MSE = mean over pixels of (x - decoder(encoder(x)))^2

There are no labels: the picture is its own target. If the code were as wide as the picture, the network could copy and
nothing would be learned; the bottleneck forces it to find what digits have in common.

You will see: reconstructions, codes, the error against the code size beside that of PCA, and pictures decoded from
random codes. Most of these are no digits: nothing in the loss says how codes should be distributed. Lesson 10 (VAE)
adds a term that does: it regularises the posterior q(z | x), the distribution of a picture's code, towards a prior.

Run:    python src/08_MNIST_autoencoder.py       about a minute on two CPU cores
Makes:  output/08_MNIST_autoencoder.png and output/08_MNIST_autoencoder/
Source: Hinton & Salakhutdinov, Reducing the Dimensionality of Data with Neural Networks, Science 313 (2006);
        Bourlard & Kamp, Auto-association by multilayer perceptrons and SVD, Biological Cybernetics 59 (1988)
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

from lessonkit import config, datasets, figures, metrics, training
from lessonkit import run as lesson

import keras
import numpy as np

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """The tutorials' network; with a higher, decaying rate 25 epochs reach what 50 reach at a constant one."""

    epochs: config.Count = 25  # of the dense autoencoder
    conv_epochs: config.Count = 6  # of the convolutional one; each takes several times as long
    size_epochs: config.Count = 8  # of each autoencoder in the comparison of code sizes
    batch_size: config.Count = 256  # the steps are small: larger batches waste less time between them
    learning_rate: config.Rate = 2e-3  # at 6e-3 relu units die (lesson 03); the error is 1.5 times as large
    conv_learning_rate: config.Rate = 4e-3  # the convolutional code has no relu, so no unit of it can die
    decay: bool = True  # let the rate decay to zero along a cosine
    code_size: config.Count = 32  # numbers per digit
    code_sizes: tuple[config.Count, ...] = (2, 8, 32, 64)  # for the comparison
    device: config.Device = "cpu"  # small networks: faster on the CPU than on a GPU


PRESETS = {
    "full": {"epochs": 50, "conv_epochs": 50, "size_epochs": 50, "learning_rate": 1e-3, "decay": False},
    "smoke": {"steps": 4, "batch_size": 32, "limit": 300, "data": "embedded", "code_sizes": (2, 8)},
}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 in [0, 1]."""
    return images.astype("float32") / 255


def batches(images: np.ndarray, batch_size: int, seed: int) -> training.Batches:
    """Shuffled batches of (picture, the same picture). With few pictures, an epoch shows each up to 5 times."""
    parts = min(1, max(0.2, len(images) / 40_000))
    return training.Batches(images, batch_size, seed, transform=lambda picture: (picture, picture), parts=parts)


# %% Model
# The dense autoencoder has one layer each way. Its code has a relu, as in the tutorials. The convolutional one has the
# same code size, without a relu. It has twice the parameters, and an assumption that a dense network lacks: pixels that
# are near each other belong together.


class Autoencoder(NamedTuple):
    """The two halves, and the whole that is trained: picture -> encoder -> decoder -> picture."""

    encoder: keras.Model
    decoder: keras.Model
    whole: keras.Model


def join(encoder: keras.Model, decoder: keras.Model) -> Autoencoder:
    """Put the decoder on the encoder; all three share their weights."""
    picture = keras.Input((28, 28), name="picture")
    return Autoencoder(encoder, decoder, keras.Model(picture, decoder(encoder(picture)), name="autoencoder"))


def build_dense(code_size: int) -> Autoencoder:
    """One layer each way: 784 -> code -> 784."""
    encoder = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),  # (batch, 784)
            keras.layers.Dense(code_size, activation="relu"),  # (batch, code)
        ],
        name="encoder",
    )
    decoder = keras.Sequential(
        [
            keras.Input((code_size,)),
            keras.layers.Dense(784, activation="sigmoid"),  # (batch, 784): pixels lie in [0, 1], and so does a sigmoid
            keras.layers.Reshape((28, 28)),  # (batch, 28, 28)
        ],
        name="decoder",
    )
    return join(encoder, decoder)


def build_conv(code_size: int) -> Autoencoder:
    """Convolutions of stride 2 down to 7x7, transposed ones back to 28x28; a code of the same size."""
    encoder = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Reshape((28, 28, 1)),
            keras.layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),  # (batch, 14, 14, 16)
            keras.layers.Conv2D(32, 3, strides=2, padding="same", activation="relu"),  # (batch, 7, 7, 32)
            keras.layers.Flatten(),  # (batch, 1568)
            keras.layers.Dense(code_size),  # (batch, code): no relu, a code may be negative
        ],
        name="conv_encoder",
    )
    decoder = keras.Sequential(
        [
            keras.Input((code_size,)),
            keras.layers.Dense(7 * 7 * 32, activation="relu"),  # (batch, 1568)
            keras.layers.Reshape((7, 7, 32)),
            keras.layers.Conv2DTranspose(16, 3, strides=2, padding="same", activation="relu"),  # (batch, 14, 14, 16)
            keras.layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid"),  # (batch, 28, 28, 1)
            keras.layers.Reshape((28, 28)),
        ],
        name="conv_decoder",
    )
    return join(encoder, decoder)


# %% Train
# The test digits are evaluated after every epoch to draw the curves. Nothing is chosen by them: the last epoch is the
# result, whatever it is.


def train(
    run: lesson.Run,
    autoencoder: Autoencoder,
    name: str,
    epochs: int,
    peak: float,
    images: np.ndarray,
    test_images: np.ndarray,
) -> lesson.History:
    """Minimise the mean squared error between a picture and its reconstruction."""
    examples = batches(images, run.config.batch_size, run.config.seed)
    rate = training.warm_up_cosine(peak, epochs * examples.steps_per_epoch) if run.config.decay else peak
    autoencoder.whole.compile(keras.optimizers.Adam(rate), loss="mse")
    return run.fit(autoencoder.whole, examples, epochs=epochs, name=name, validation=(test_images, test_images))


def compare_code_sizes(run: lesson.Run, images: np.ndarray, test_images: np.ndarray) -> dict[int, float]:
    """Test error of a dense autoencoder for each code size."""
    settings, errors = run.config, {}
    for size in settings.code_sizes:
        small = build_dense(size)
        history = train(run, small, f"dense_{size}", settings.size_epochs, settings.learning_rate, images, test_images)
        errors[size] = history["val_loss"][-1]
    return errors


# %% Baselines
# An error needs something to compare it with. The mean image is the best reconstruction that ignores its input. PCA is
# the best that any LINEAR encoder and decoder can do with codes of that size (Bourlard & Kamp 1988); it is fitted to
# the training digits, too, but in closed form.


def pca_errors(images: np.ndarray, test_images: np.ndarray, sizes: Sequence[int]) -> dict[int, float]:
    """Test error of the best linear codes: the test pictures projected on the first components of the training ones.

    The components are the eigenvectors of the covariance (784, 784) with the largest eigenvalues.
    """
    mean = images.reshape(len(images), -1).mean(axis=0)
    centered, rest = images.reshape(len(images), -1) - mean, test_images.reshape(len(test_images), -1) - mean
    _, vectors = np.linalg.eigh(centered.T @ centered)  # ascending eigenvalues
    errors = {}
    for size in sizes:
        components = vectors[:, -size:]
        errors[size] = metrics.mean_squared_error(rest, rest @ components @ components.T)
    return errors


# %% Figures


def reconstruct(autoencoder: Autoencoder, images: np.ndarray) -> np.ndarray:
    """Pictures (n, 28, 28) -> their reconstructions."""
    return autoencoder.whole.predict(images, batch_size=500, verbose=0)


def encode(autoencoder: Autoencoder, images: np.ndarray) -> np.ndarray:
    """Codes (n, code_size)."""
    return autoencoder.encoder.predict(images, batch_size=500, verbose=0)


def draw_reconstructions(images: np.ndarray, autoencoders: dict[str, Autoencoder]) -> figures.Figure:
    """Test digits above their reconstructions by each autoencoder, with the PSNR of each."""
    rows, captions = [images], [[""] * len(images)]
    for autoencoder in autoencoders.values():
        rows.append(reconstruct(autoencoder, images))
        captions.append([f"{metrics.psnr(*pair):.1f} dB" for pair in zip(images, rows[-1], strict=True)])
    title = f"Test digits and their reconstructions from codes of {autoencoder.decoder.input_shape[1]} numbers"
    return figures.image_grid(rows, title, ["original", *autoencoders], captions)


def draw_codes(images: np.ndarray, autoencoder: Autoencoder) -> figures.Figure:
    """Digits, their codes, and what single numbers of the code contribute.

    The decoder's last layer is linear before its sigmoid, so each number of the code adds a picture of weights, scaled
    by the number. The three that contribute most to a digit are shown.
    """
    codes = encode(autoencoder, images)  # (n, code)
    weights = autoencoder.decoder.layers[0].get_weights()[0].reshape(-1, 28, 28)  # (code, 28, 28)
    parts = codes[:, :, None, None] * weights  # (n, code, 28, 28), logits
    title = "Codes of test digits, and their three largest contributions (red: brighter, blue: darker)"
    size = {"width": 9.5, "height": 1.25 * len(images) + 0.5}
    figure, axes = figures.subplots(len(images), 5, **size, title=title, width_ratios=(1, 3, 1, 1, 1), squeeze=False)
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    for row, image, code, part in zip(axes, images, codes, parts, strict=True):
        top = np.argsort(-np.square(part).sum(axis=(1, 2)))[:3]
        figures.show_image(row[0], image)
        colors = np.where(np.isin(np.arange(len(code)), top), figures.COLORS[1], figures.COLORS[0])
        row[1].bar(np.arange(len(code)), code, width=0.8, color=colors)
        row[1].set_ylabel("activation", fontsize=8)
        row[1].set_ylim(0, 1.05 * codes.max() + 1e-6)
        row[1].set_title(f"{np.sum(code > 0)} of {len(code)} numbers above 0", fontsize=8, pad=2)
        limit = np.abs(part[top]).max() + 1e-6
        for cell in row[2:]:
            cell.set_axis_off()
        for cell, number in zip(row[2:], top, strict=False):
            cell.imshow(part[number], cmap="RdBu_r", vmin=-limit, vmax=limit)
            cell.set_title(f"number {number}: {code[number]:.1f}", fontsize=8, pad=2)
    axes[-1, 1].set_xlabel("number of the code")
    return figure


def draw_code_sizes(
    errors: dict[int, float], linear: dict[int, float], mean_image: float, epochs: int
) -> figures.Figure:
    """Error against code size, beside the best linear code and the mean image."""
    title = "Reconstruction error on test digits against the size of the code"
    figure, cell = figures.subplots(width=7.5, height=3.6, title=title)
    cell.axhline(mean_image, color="black", linestyle=":", label=f"mean image: {mean_image:.4f}")
    cell.plot(linear.keys(), linear.values(), "s--", label="PCA, the best linear code")
    cell.plot(errors.keys(), errors.values(), "o-", label=f"dense autoencoder, {epochs} epochs each")
    for values, others in ((linear, errors), (errors, linear)):
        for size, error in values.items():
            above = error > others[size]  # the lines fall: right above them and left below them there is room
            place = {"xytext": (6, 6) if above else (-6, -12), "ha": "left" if above else "right"}
            cell.annotate(f"{error:.4f}", (size, error), **place, textcoords="offset points", fontsize=8)
    cell.set_xscale("log", base=2)
    cell.set_xticks(list(errors), [str(size) for size in errors])
    cell.set_xlabel("size of the code (numbers per digit)")
    cell.set_ylabel("test MSE")
    cell.set_ylim(0)
    cell.margins(x=0.1)
    cell.legend()
    return figure


def draw_random_codes(images: np.ndarray, autoencoders: dict[str, Autoencoder], seed: int) -> figures.Figure:
    """Pictures from random codes: each number drawn independently from its values for the test digits."""
    random, rows = np.random.default_rng(seed), []
    for autoencoder in autoencoders.values():
        codes = random.permuted(encode(autoencoder, images), axis=0)[:12]
        rows.append(autoencoder.decoder.predict(codes, verbose=0))
    title = "Decoded from random codes: an autoencoder is not yet a generative model"
    return figures.image_grid(rows, title, list(autoencoders), size=0.72)


def draw_curves(dense: lesson.History, conv: lesson.History) -> figures.Figure:
    """Error by epoch of both, on one scale."""
    title = "Error by epoch; nothing is chosen by the test curve"
    figure, axes = figures.subplots(1, 2, width=8, height=3.1, title=title, sharey=True)
    for cell, (name, history) in zip(axes, {"dense": dense, "convolutional": conv}.items(), strict=True):
        cell.plot(history.epochs, history["loss"], label="training", marker=".")
        cell.plot(history.epochs, history["val_loss"], "--", label="test", marker=".")
        cell.set_title(f"{name}: {history['val_loss'][-1]:.4f} at the end")
        cell.set_xlabel("epoch")
        cell.set_yscale("log")
        cell.legend()
    axes[0].set_ylabel("MSE")
    return figure


# %% Measure
# The same error in decibels, PSNR = 10 log10(1 / MSE), is the usual unit for images: 20 dB is a root mean square error
# of 0.1, and 3 dB more is half the MSE.


def decibels(mse: tuple[float, float]) -> tuple[float, float]:
    """The range of the PSNR that belongs to a range of the MSE, rounded outward to tenths of a decibel."""
    low, high = (-10 * math.log10(bound) for bound in reversed(mse))
    return math.floor(10 * low) / 10, math.ceil(10 * high) / 10


def measure(
    run: lesson.Run, images: np.ndarray, test_images: np.ndarray, autoencoders: dict[str, Autoencoder]
) -> float:
    """Test error of both networks, in MSE and decibels, and of the mean image, which is returned."""
    expected = {"dense": ((0.009, 0.0105), (0.005, 0.04)), "conv": ((0.004, 0.0075), (0.003, 0.03))}
    for name, autoencoder in autoencoders.items():
        reconstructed = reconstruct(autoencoder, test_images)
        bounds = expected[name]
        run.metric(f"test_mse_{name}", metrics.mean_squared_error(test_images, reconstructed), "", *bounds)
        run.metric(f"test_psnr_{name}", metrics.psnr(test_images, reconstructed), "dB", *map(decibels, bounds))
    mean_image = metrics.mean_squared_error(test_images, images.mean(axis=0))
    run.metric("mse_mean_image", mean_image, "", expected=(0.06, 0.075), embedded=(0.05, 0.12))
    return mean_image


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Two autoencoders, their errors and figures, then other code sizes."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings, digits = run.config, datasets.mnist(run)
        images, test_images = scaled(digits.train.images), scaled(digits.test.images)
        dense, conv = build_dense(settings.code_size), build_conv(settings.code_size)
        both = {"dense": dense, "conv": conv}
        for part in (dense.encoder, dense.decoder, conv.encoder, conv.decoder):
            run.diagram(part, part.name)

        dense_history = train(run, dense, "dense", settings.epochs, settings.learning_rate, images, test_images)
        conv_history = train(run, conv, "conv", settings.conv_epochs, settings.conv_learning_rate, images, test_images)
        mean_image = measure(run, images, test_images, both)
        errors = compare_code_sizes(run, images, test_images)
        linear = pca_errors(images, test_images, settings.code_sizes)

        run.figure("reconstructions", draw_reconstructions(test_images[:10], both), headline=True)
        run.figure("codes", draw_codes(test_images[:4], dense))
        run.figure("code_sizes", draw_code_sizes(errors, linear, mean_image, settings.size_epochs))
        run.figure("random_codes", draw_random_codes(test_images, both, settings.seed))
        run.figure("curves", draw_curves(dense_history, conv_history))


if __name__ == "__main__":
    main()

# What to try next
# 1. --learning-rate 1e-2: how much does the error grow? Count the numbers of the code that are 0 for every digit.
# 2. --code-size 2: draw the test digits in the plane of the two numbers, one colour per class. Compare with lesson 10.
# 3. Train on the digits 0 to 8 only, and reconstruct nines. Which digits do the reconstructions resemble, and why?
