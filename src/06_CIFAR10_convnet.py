"""06 · A small convolutional network on CIFAR-10, and what its channels look for.

The MLP of lesson 01 has a weight for every pixel, and must learn a cat in the left corner and a cat in the right corner
separately. A convolution has one small filter for all places:

    y[i, j, c] = sum over a, b, k of  W[a, b, k, c] * x[i + a, j + b, k]

so a shifted picture gives a shifted answer (equivariance), and a 3 x 3 layer from 64 to 96 channels has 3*3*64*96 =
55,296 weights whatever the size of the picture. Pooling then halves the picture, so that the next 3 x 3 filter sees
twice as far. Five such layers, with less than half of the MLP's weights, get more than thirty points more right.

Three things make it learn in a few minutes. Batch normalisation brings every channel to mean 0 and deviation 1 within
the batch, then lets it choose its own scale and shift:

    y = gamma * (x - mean) / sqrt(variance + epsilon) + beta

which allows a learning rate several times larger (and at test time uses running averages instead of the batch). Light
augmentation, a random shift by up to four pixels and a random mirror image, never shows the same picture twice. And the
learning rate rises for a quarter of the training and then falls to nought along a cosine ("one cycle").

What you will see: the 32 filters of the first layer; pictures made from noise that excite single channels or a whole
class most, beside the test pictures that do; curves; the confusion matrix. The trained weights are kept, rounded to
float16, for the later lessons that need a trained network where ImageNet's cannot be had.

Run:    python src/06_CIFAR10_convnet.py       about four minutes on two CPU cores
Makes:  output/06_CIFAR10_convnet.png and output/06_CIFAR10_convnet/ (with weights.npz and model.json)
Source: Simonyan & Zisserman, Very Deep Convolutional Networks, arXiv:1409.1556 (the kind of network);
        Ioffe & Szegedy, Batch Normalization, arXiv:1502.03167; Smith & Topin, Super-Convergence, arXiv:1708.07120;
        Olah, Mordvintsev & Schubert, Feature Visualization, distill.pub/2017/feature-visualization
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated

from lessonkit import config, datasets, figures, training
from lessonkit import run as lesson

import keras
import numpy as np
import tensorflow as tf

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A network for two CPU cores: the pictures shrink early, so that little has to be moved through memory."""

    epochs: config.Count = 12  # about four minutes; more of them still add a little
    batch_size: config.Count = 128  # enough for steady batch statistics, and still many steps an epoch
    learning_rate: config.Rate = 6e-3  # the peak; as high as this only with batch normalisation
    weight_decay: config.Fraction = 0.05  # AdamW: every weight shrinks by learning rate * 0.05 in each step
    warm_up: config.Fraction = 0.25  # share of the training in which the learning rate rises
    channels: tuple[config.Count, ...] = (32, 64, 96, 96, 128)  # of the five convolutions
    pooled: tuple[config.Count, ...] = (1, 2, 4)  # the convolutions that a pooling follows: 32 -> 16 -> 8 -> 4 pixels
    pool_first: bool = True  # pool before normalising: the same cut, with a quarter of the numbers to move
    dropout: config.Fraction = 0.2  # share of the features that the last layer does without in a training step
    shift: Annotated[int, config.Range(0, 16)] = 4  # largest shift of the augmentation, in pixels
    canvas: Annotated[int, config.Range(16, 256)] = 48  # side of the pictures that excite a channel
    ascent_steps: config.Count = 100  # of gradient ascent on these pictures


PRESETS = {
    "full": {"epochs": 60},
    "smoke": {
        "epochs": 1,
        "steps": 3,
        "batch_size": 16,
        "limit": 200,
        "data": "embedded",
        "canvas": 32,
        "ascent_steps": 3,
    },
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
    if 2 ** len(settings.pooled) > min(size, 32):
        raise config.StudyError(
            f"--pooled {len(settings.pooled)} times leaves nothing of {min(size, 32)} pixels; use fewer"
        )
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
        settings.learning_rate / 20, max(1, steps - warm_up), warmup_target=settings.learning_rate, warmup_steps=warm_up
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


def colour_mix(images: np.ndarray) -> np.ndarray:
    """How the colours of photographs go together, (3, 3): the square root of their covariance, of largest entry 1.

    Red, green and blue rise and fall together; waves mixed in this way are mostly grey, as photographs are.
    """
    values, vectors = np.linalg.eigh(np.cov(images[:1000].reshape(-1, 3).T / 255.0))
    mix = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return (mix / np.abs(mix).max()).astype("float32")


def waves_to_pictures(waves: tf.Tensor, size: int, mix: np.ndarray) -> tf.Tensor:
    """Amplitudes of waves (n, 3, size, size // 2 + 1, 2), real and imaginary -> pixels 0..255 (n, size, size, 3).

    Slow waves are louder than fast ones, as they are in photographs; without that, gradient ascent ends in fine, bright
    noise. The sigmoid keeps every pixel a colour.
    """
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])  # in cycles per pixel
    loudness = np.maximum(frequency, 1 / size) ** -1.5
    spectrum = tf.complex(waves[..., 0], waves[..., 1]) * tf.constant(loudness, tf.complex64)
    pictures = tf.transpose(tf.signal.irfft2d(spectrum, (size, size)), (0, 2, 3, 1))
    return 255 * tf.sigmoid(pictures @ mix)


def excite(model: keras.Model, layer: str, channels: Sequence[int], mix: np.ndarray, settings: Config) -> np.ndarray:
    """Pictures uint8 (len(channels), size, size, 3), each of which excites one channel of a layer most.

    Gradient ascent on the input: the weights stay, the picture changes so that the channel's mean over all places
    grows. In each step all pictures are rolled by a random number of pixels, so that no detail lives off a lucky place.
    """
    size = model.input_shape[1]
    seen = keras.Model(model.input, model.get_layer(layer).output)
    random = keras.random.SeedGenerator(settings.seed)
    waves = tf.Variable(keras.random.normal((len(channels), 3, size, size // 2 + 1, 2), stddev=0.01, seed=random))
    optimizer = keras.optimizers.Adam(0.05)
    wanted = tf.one_hot(channels, seen.output_shape[-1])

    @tf.function
    def step():
        shift = tf.cast(keras.random.uniform((2,), 0, size, seed=random), tf.int32)
        with tf.GradientTape() as tape:
            answers = seen(tf.roll(waves_to_pictures(waves, size, mix), shift, (1, 2)), training=False)
            means = tf.reduce_mean(answers, range(1, len(answers.shape) - 1))  # (n, channels)
            loss = -tf.reduce_sum(means * wanted)
        optimizer.apply_gradients([(tape.gradient(loss, waves), waves)])

    for _ in range(settings.ascent_steps):
        step()
    return np.round(waves_to_pictures(waves, size, mix)).astype(np.uint8)


def draw_out(model: keras.Model, of_classes: np.ndarray, mix: np.ndarray, settings: Config) -> dict[str, np.ndarray]:
    """Ten pictures for each layer from the second on, by row label; in the last two rows one for each class.

    What is driven up is the channel before its ReLU: below zero a ReLU passes no gradient, and there noise begins.
    """
    canvas = build_model(settings, settings.canvas)
    canvas.set_weights(model.get_weights())
    last = len(settings.channels)
    rows = {}
    for number in range(2, last + 1):
        spread = np.linspace(0, settings.channels[number - 1] - 1, len(of_classes)).astype(int)
        chosen = of_classes if number == last else spread
        rows[f"layer {number}"] = excite(canvas, f"norm{number}", chosen, mix, settings)
    rows["the class"] = excite(canvas, "logits", range(len(of_classes)), mix, settings)
    return rows


def responses(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """How strongly each picture excites each channel of the last layer, on average: (pictures, channels)."""
    features = keras.Model(model.input, model.get_layer("features").output)
    return features.predict(images, batch_size=250, verbose=0)


def channels_of_classes(found: np.ndarray, labels: np.ndarray, classes: int = 10) -> np.ndarray:
    """For each class the channel that tells it best from the others: difference of means in standard deviations."""
    member = np.eye(classes)[labels]  # (pictures, classes)
    inside = member.T @ found / np.maximum(member.sum(axis=0), 1)[:, None]
    outside = (1 - member).T @ found / np.maximum((1 - member).sum(axis=0), 1)[:, None]
    return np.argmax((inside - outside) / (found.std(axis=0) + 1e-6), axis=1)


# %% Look: the figures


def draw_channels(rows: dict[str, np.ndarray], class_names, accuracy: float) -> figures.Figure:
    """A row for each layer from the second on, and one for the classes: pictures made from noise."""
    title = (
        f"What a small convnet looks for ({accuracy:.1%} of the test pictures right): made from noise, layer by layer"
    )
    figure = figures.image_grid(list(rows.values()), title, list(rows), size=0.85)
    name_columns(figure.axes[-2 * len(class_names) : -len(class_names)], class_names)
    name_columns(figure.axes[-len(class_names) :], class_names)
    return figure


def name_columns(cells: Sequence, names: Sequence[str]) -> None:
    """Write a name above each picture of a row."""
    for cell, name in zip(cells, names, strict=True):
        cell.set_title(name, fontsize=8, pad=2)


def draw_filters(kernel: np.ndarray) -> figures.Figure:
    """The filters (height, width, 3, n) of the first layer as pictures, grey for 0; from colourless to colourful."""
    filters = np.moveaxis(kernel, -1, 0)
    colour = np.std(filters, axis=3).mean(axis=(1, 2)) / np.std(filters, axis=(1, 2, 3))
    largest = np.abs(filters).max(axis=(1, 2, 3), keepdims=True)
    pictures = (0.5 + 0.5 * filters / largest)[np.argsort(colour)]
    rows = np.array_split(pictures, max(1, len(pictures) // 8))
    return figures.image_grid(rows, f"The {len(filters)} filters of the first layer, 5 x 5 pixels: edges and colours")


def draw_curves(history: lesson.History) -> figures.Figure:
    """Loss and accuracy, training (augmented pictures, dropout on) against test (pictures as they are)."""
    panels = {
        "cross-entropy (nats)": {"training, augmented": history["loss"], "test": history["val_loss"]},
        "accuracy": {"training, augmented": history["accuracy"], "test": history["val_accuracy"]},
    }
    return figures.curves(history.epochs, panels, "A convnet on CIFAR-10: the falling learning rate brings it home")


def favourites(found: np.ndarray) -> np.ndarray:
    """Numbers of the five pictures that excite each channel most, (5, channels), of responses (pictures, channels)."""
    return np.argsort(-found, axis=0)[:5]


def of_their_class(order: np.ndarray, labels: np.ndarray) -> float:
    """The share of the favourites of the classes' channels that are pictures of that class."""
    return np.mean(labels[order] == np.arange(order.shape[1]))


def draw_favourites(excited: np.ndarray, order: np.ndarray, split, class_names) -> figures.Figure:
    """A column per channel of the last layer: the picture made for it, above the five pictures that excite it most."""
    right = of_their_class(order, split.labels)
    labels = ["made for it", *(f"test, no. {place}" for place in range(1, 6))]
    title = (
        f"One channel of the last layer for each class: {right:.0%} of its favourite test pictures are of that class"
    )
    figure = figures.image_grid([excited, *(split.images[row] for row in order)], title, labels, size=0.9)
    name_columns(figure.axes[: len(class_names)], class_names)
    return figure


# %% Measure


def measure(run, model: keras.Model, data) -> np.ndarray:
    """Loss and accuracy on the test pictures; returns the predicted classes (n,)."""
    logits = model.predict(data.test.images, batch_size=500, verbose=0)
    losses = keras.losses.sparse_categorical_crossentropy(data.test.labels, logits, from_logits=True)
    predictions = np.argmax(logits, axis=1)
    accuracy = np.mean(predictions == data.test.labels)
    run.metric("test_accuracy", accuracy, "fraction", expected=(0.8, 0.845), embedded=(0.97, 1))
    run.metric("test_loss", np.mean(losses), "nats", expected=(0.47, 0.6), embedded=(0, 0.1))
    run.metric("parameters", model.count_params(), "", expected=(272_618, 272_618), embedded=(272_618, 272_618))
    return predictions


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training; the weights that are kept, measured as they are kept; then what the channels look for."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.cifar10(run)
        model = build_model(run.config)
        run.diagram(model, "model")
        history = train(run, model, data)
        weights = half_precision(model)
        model.set_weights(list(weights.values()))
        run.arrays("weights.npz", weights)
        run.text("model.json", build_model(run.config).to_json(indent=1))
        predictions = measure(run, model, data)

        with run.part("exciting pictures"):
            seen = data.train.first(
                5_000
            )  # the channels are chosen on training pictures, and looked at on test pictures
            chosen = channels_of_classes(responses(model, seen.images), seen.labels)
            order = favourites(responses(model, data.test.images)[:, chosen])
            rows = draw_out(model, chosen, colour_mix(seen.images), run.config)
        share = of_their_class(order, data.test.labels)
        run.metric("favourites_of_their_class", share, "fraction", expected=(0.8, 1), embedded=(0.8, 1))
        accuracy = run.metrics["test_accuracy"]["value"]
        run.figure("channels", draw_channels(rows, data.class_names, accuracy), headline=True)
        last_row = rows[f"layer {len(run.config.channels)}"]
        run.figure("favourites", draw_favourites(last_row, order, data.test, data.class_names))
        run.figure("filters", draw_filters(model.get_layer("conv1").kernel.numpy()))
        run.figure("curves", draw_curves(history))
        title = "What the convnet takes for what (test pictures)"
        run.figure("confusion", figures.confusion_matrix(data.test.labels, predictions, data.class_names, title))


if __name__ == "__main__":
    main()

# What to try next
# 1. --no-pool-first: normalise before pooling. How many seconds more, and is it any better for that?
# 2. --shift 0, or without the mirror image: how far do the two curves part now?
# 3. --learning-rate 5e-2, eight times the peak. Then take batch normalisation out, and look for the largest rate that
#    still works.
