"""06 · A small convolutional network on CIFAR-10, and what its channels look for.

The MLP of lesson 01 has a weight for every pixel, and must learn a cat in the left corner and a cat in the right corner
separately. A convolution has one small filter for all places:

    y[i, j, c] = sum over a, b, k of  W[a, b, k, c] * x[i + a, j + b, k]

so a shifted picture gives a shifted answer (equivariance), and a 3 x 3 layer from 64 to 96 channels has 3*3*64*96 =
55,296 weights whatever the size of the picture. Pooling then halves the picture, so that the next 3 x 3 filter sees
twice as far. Five such layers with a few hundred thousand weights beat the MLP, which has more, by some thirty points.

Three things make it learn in a few minutes. Batch normalisation brings every channel to mean 0 and deviation 1 within
the batch, then lets it choose its own scale and shift:

    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

which allows a learning rate several times larger (and at test time uses running averages instead of the batch). Light
augmentation, a random shift by up to four pixels and a random mirror image, never shows the same picture twice. And the
learning rate rises for a quarter of the training and then falls to nought along a cosine ("one cycle").

What you will see: the 32 filters of the first layer; pictures made from noise that excite single channels most, beside
the test pictures that do; curves; the confusion matrix. The trained weights are kept, rounded to float16, for the later
lessons that need a trained network where ImageNet's cannot be had.

Run:    python src/06_CIFAR10_convnet.py       about four minutes on two CPU cores
Makes:  output/06_CIFAR10_convnet.png and output/06_CIFAR10_convnet/ (with weights.npz and model.json)
Source: Simonyan & Zisserman, Very Deep Convolutional Networks, arXiv:1409.1556 (the kind of network);
        Ioffe & Szegedy, Batch Normalization, arXiv:1502.03167; Smith & Topin, Super-Convergence, arXiv:1708.07120;
        Olah, Mordvintsev & Schubert, Feature Visualization, distill.pub/2017/feature-visualization
"""

import dataclasses
from collections.abc import Sequence

from lessonkit import config, datasets, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A network for two CPU cores: the pictures shrink early, so that little has to be moved through memory."""

    epochs: config.Count = 14  # about four minutes; each doubling still adds a point or two
    batch_size: config.Count = 128  # what fits the processor's cache; batch normalisation dislikes very small ones
    learning_rate: config.Rate = 6e-3  # the peak; without batch normalisation a tenth of it would be the limit
    weight_decay: config.Fraction = 0.05  # AdamW: every weight shrinks by learning rate * 0.05 in each step
    warm_up: config.Fraction = 0.25  # share of the training in which the learning rate rises
    channels: tuple[config.Count, ...] = (32, 64, 96, 96, 128)  # of the five convolutions
    pooled: tuple[config.Count, ...] = (1, 2, 4)  # the convolutions that a pooling follows: 32 -> 16 -> 8 -> 4 pixels
    pool_first: bool = True  # pool before normalising: the same cut, with a quarter of the numbers to move
    dropout: config.Fraction = 0.2  # share of the features that the last layer does without in a training step
    shift: config.Count = 4  # largest shift of the augmentation, in pixels
    canvas: config.Count = 64  # side of the pictures that excite a channel
    ascent_steps: config.Count = 160  # of gradient ascent on these pictures


PRESETS = {
    "full": {"epochs": 60},
    "smoke": {"epochs": 1, "steps": 3, "batch_size": 16, "limit": 200, "data": "embedded", "ascent_steps": 3},
}

# %% Data


def augment(images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, shift: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Shift each picture by up to `shift` pixels in both directions and mirror every other one.

    Which pixel goes where is decided on the numbers of rows and columns, so the pictures are only copied, as uint8; a
    mirrored picture is one whose columns are read backwards. `seed` alone decides the draw.
    """
    count, size = images.shape[0], images.shape[1]
    padded = tf.pad(images, [[0, 0], [shift, shift], [shift, shift], [0, 0]], mode="REFLECT")
    seeds = tf.random.split(seed, 3)
    first_row = tf.random.stateless_uniform((count, 1), seeds[0], 0, 2 * shift + 1, tf.int32)
    first_column = tf.random.stateless_uniform((count, 1), seeds[1], 0, 2 * shift + 1, tf.int32)
    mirrored = tf.random.stateless_uniform((count, 1), seeds[2]) < 0.5
    rows = first_row + tf.range(size)  # (count, size)
    columns = first_column + tf.where(mirrored, tf.range(size)[::-1], tf.range(size))
    cropped = tf.gather(tf.gather(padded, rows, axis=1, batch_dims=1), columns, axis=2, batch_dims=1)
    return tf.ensure_shape(cropped, images.shape), labels


def batches(split, settings: Config) -> training.Batches:
    """Shuffled batches of (augmented images uint8, class numbers), another draw in every step."""

    def transform(images, labels, seed):
        return augment(images, labels, seed, settings.shift)

    return training.Batches((split.images, split.labels), settings.batch_size, settings.seed, transform, random=True)


# %% Model


def build_model(settings: Config, size: int = 32) -> keras.Model:
    """Pixels 0..255 (batch, size, size, 3) -> ten logits. The same weights fit every size: they are filters.

    A convolution needs no bias where batch normalisation follows, which would subtract it again.
    """
    inputs = keras.Input((size, size, 3), name="pixels")
    x = keras.layers.Rescaling(1 / 127.5, offset=-1, name="scale")(inputs)  # -1..1; (32, 32, 3)
    for number, channels in enumerate(settings.channels, start=1):
        kernel = 5 if number == 1 else 3
        x = keras.layers.Conv2D(channels, kernel, padding="same", use_bias=False, name=f"conv{number}")(x)
        if number in settings.pooled and settings.pool_first:
            x = keras.layers.MaxPooling2D(name=f"pool{number}")(x)  # (16, 16, 32), (8, 8, 64), (4, 4, 96)
        x = keras.layers.BatchNormalization(momentum=0.9, name=f"norm{number}")(x)
        x = keras.layers.ReLU(name=f"relu{number}")(x)
        if number in settings.pooled and not settings.pool_first:
            x = keras.layers.MaxPooling2D(name=f"pool{number}")(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)  # (128,): how much of each channel, not where
    x = keras.layers.Dropout(settings.dropout, seed=settings.seed, name="dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name="cifar10_convnet")


def half_precision(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights by name, rounded to float16: half the bytes, three significant digits."""
    return {weight.path: weight.numpy().astype(np.float16) for weight in model.weights}


# %% Train


def one_cycle(settings: Config, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate rises in a straight line to its peak, then falls to nought along a cosine."""
    warm_up = round(settings.warm_up * steps)
    return keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 20, steps - warm_up, warmup_target=settings.learning_rate, warmup_steps=warm_up
    )


def train(run, model: keras.Model, data) -> lesson.History:
    """AdamW on the cross-entropy; the test pictures are only looked at, as they are."""
    examples = batches(data.train, run.config)
    schedule = one_cycle(run.config, steps=run.config.epochs * examples.steps_per_epoch)
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=run.config.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return run.fit(model, examples, validation=(data.test.images, data.test.labels))


# %% Look: pictures that excite a channel


def waves_to_pictures(waves: tf.Tensor, size: int) -> tf.Tensor:
    """Amplitudes of waves (n, 3, size, size // 2 + 1, 2), real and imaginary -> pixels 0..255 (n, size, size, 3).

    Slow waves are made louder in proportion to their length, as they are in photographs; without that, gradient ascent
    ends in fine, bright noise. The sigmoid keeps every pixel a colour.
    """
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])
    loudness = 1 / np.maximum(frequency, 1 / size)
    spectrum = tf.complex(waves[..., 0], waves[..., 1]) * tf.constant(loudness, tf.complex64)
    pictures = tf.transpose(tf.signal.irfft2d(spectrum, (size, size)), (0, 2, 3, 1))
    return 255 * tf.sigmoid(pictures)


def excite(model: keras.Model, layer: str, channels: Sequence[int], settings: Config) -> np.ndarray:
    """Pictures uint8 (len(channels), size, size, 3), each of which excites one channel of a layer most.

    Gradient ascent on the input: the weights stay, the picture changes so that the channel's mean over all places
    grows. In every step all pictures are rolled by the same random number of pixels, so that no detail lives from a lucky place.
    """
    size = model.input_shape[1]
    seen = keras.Model(model.inputs, model.get_layer(layer).output)
    random = keras.random.SeedGenerator(settings.seed)
    waves = tf.Variable(keras.random.normal((len(channels), 3, size, size // 2 + 1, 2), stddev=0.01, seed=random))
    optimizer = keras.optimizers.Adam(0.05)
    wanted = tf.one_hot(channels, seen.output_shape[-1])[:, None, None, :]

    @tf.function
    def step():
        shift = tf.cast(keras.random.uniform((2,), 0, size, seed=random), tf.int32)
        with tf.GradientTape() as tape:
            pictures = tf.roll(waves_to_pictures(waves, size), shift, (1, 2))
            excitement = tf.reduce_sum(tf.reduce_mean(seen(pictures, training=False) * wanted, (1, 2)))
            loss = -excitement
        optimizer.apply_gradients([(tape.gradient(loss, waves), waves)])

    for _ in range(settings.ascent_steps):
        step()
    return np.round(waves_to_pictures(waves, size)).astype(np.uint8)
