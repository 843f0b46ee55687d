"""06 · A small convolutional network on CIFAR-10, and which patterns its channels respond to.

The MLP of lesson 01 has a weight for every pixel, and must learn a cat in the left corner and a cat in the right corner
separately. A convolution has one small filter for all positions:

    y[i, j, c] = sum over a, b, k of  W[a, b, k, c] * x[i + a, j + b, k]

so a shifted picture gives a shifted output (equivariance), and a 3 x 3 layer from 64 to 96 channels has 3*3*64*96 =
55,296 weights whatever the size of the picture. Pooling then halves the picture, so that the next 3 x 3 filter covers
twice the distance. Five such layers have less than half of the MLP's weights.

Three things make it learn in a few minutes: batch normalisation, light augmentation, and a learning rate that rises
and then decays to zero. Each is explained where it is used.

You will see: the 32 filters of the first layer; pictures optimised from noise that maximise single channels or a whole
class, beside the test pictures with the largest activations; curves; the confusion matrix. The trained weights are
kept, rounded to float16: later lessons use the network as a feature extractor where ImageNet's cannot be had.

Run:    python src/06_CIFAR10_convnet.py       about 3 minutes on two CPU cores (25,000 pictures), 6 with all 50,000
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

    epochs: config.Count = 12  # more of them still add a little
    batch_size: config.Count = 128  # enough for steady batch statistics, and still many steps per epoch
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
# Light augmentation: a random shift by up to four pixels and a random mirror image do not change the class, and the
# network never gets exactly the same picture twice. This delays overfitting: without it, even a small network begins
# to memorise 25,000 pictures.


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
# Batch normalisation gives every channel mean 0 and standard deviation 1 within the batch, then a learned scale and
# shift:
#
#     y = gamma * (x - mean) / sqrt(variance + epsilon) + beta
#
# It allows a learning rate several times larger. Outside training it uses running averages instead of the batch. A
# convolution in front of it needs no bias: the normalisation would subtract it again.


def build_model(settings: Config, size: int = 32) -> keras.Model:
    """Pixels 0..255 (batch, size, size, 3) -> ten logits. The same weights fit every size: they are filters."""
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
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)  # (128,): the mean of each channel
    x = keras.layers.Dropout(settings.dropout, seed=settings.seed, name="dropout")(x)
    return keras.Model(inputs, keras.layers.Dense(10, name="logits")(x), name="cifar10_convnet")


def half_precision(model: keras.Model) -> dict[str, np.ndarray]:
    """The weights by name, rounded to float16: half the bytes, three significant digits."""
    return {weight.path: weight.numpy().astype(np.float16) for weight in model.weights}


# %% Train
# One cycle: the learning rate rises in a straight line for a quarter of the training, then decays to zero along a
# cosine. Large steps explore, small ones settle. The last epoch is the result, whatever it is: the test pictures are
# evaluated after every epoch to draw the curve, but nothing is chosen by it (lesson 05 holds out validation data,
# because it does choose).


def train(run: lesson.Run, model: keras.Model, data: datasets.LabelledImages) -> lesson.History:
    """AdamW on the cross-entropy."""
    settings, examples = run.config, batches(data.train, run.config)
    steps = settings.epochs * examples.steps_per_epoch
    peak = settings.learning_rate
    schedule = training.warm_up_cosine(peak, steps, round(settings.warm_up * steps), start=peak / 20)
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return run.fit(model, examples, validation=(data.test.images, data.test.labels))


# %% Pictures that maximise a channel
# From the second layer on, weights cannot be read as pictures. Instead the input is optimised: the weights stay fixed,
# and gradient ascent changes a picture so that one channel's mean activation grows. Optimising pixels would end in
# bright, fine-grained noise, so the picture is described by the amplitudes of its Fourier waves, in which low
# frequencies and natural colours take larger steps.


def colour_mix(images: np.ndarray) -> np.ndarray:
    """How the colours of pictures are correlated, (3, 3): the square root of their covariance, of largest entry 1.

    Red, green and blue rise and fall together; waves mixed in this way are mostly grey, as photographs are.
    """
    values, vectors = np.linalg.eigh(np.cov(images[:1000].reshape(-1, 3).T / 255.0))
    mix = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    return (mix / np.abs(mix).max()).astype("float32")


def waves_to_pictures(waves: tf.Tensor, size: int, mix: np.ndarray) -> tf.Tensor:
    """Amplitudes of waves (n, 3, size, size // 2 + 1, 2), real and imaginary -> pixels 0..255 (n, size, size, 3).

    Low frequencies are scaled up, because photographs have larger amplitudes there. The sigmoid keeps every pixel a
    colour.
    """
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :])  # in cycles per pixel
    scale = np.maximum(frequency, 1 / size) ** -1.5
    spectrum = tf.complex(waves[..., 0], waves[..., 1]) * tf.constant(scale, tf.complex64)
    pictures = tf.transpose(tf.signal.irfft2d(spectrum, (size, size)), (0, 2, 3, 1))
    return 255 * tf.sigmoid(pictures @ mix)


def maximise(model: keras.Model, layer: str, channels: Sequence[int], mix: np.ndarray, settings: Config) -> np.ndarray:
    """Pictures uint8 (len(channels), size, size, 3), each of which maximises the mean of one channel of a layer.

    In each step all pictures are rolled by a random number of pixels: a detail that activates the channel only at one
    position of the pooling grid does not last.
    """
    size = model.input_shape[1]
    part = keras.Model(model.input, model.get_layer(layer).output)
    random = keras.random.SeedGenerator(settings.seed)
    waves = tf.Variable(keras.random.normal((len(channels), 3, size, size // 2 + 1, 2), stddev=0.01, seed=random))
    optimizer = keras.optimizers.Adam(0.05)
    target = tf.one_hot(channels, part.output_shape[-1])

    @tf.function
    def step():
        shift = tf.cast(keras.random.uniform((2,), 0, size, seed=random), tf.int32)
        with tf.GradientTape() as tape:
            outputs = part(tf.roll(waves_to_pictures(waves, size, mix), shift, (1, 2)), training=False)
            means = tf.reduce_mean(outputs, range(1, len(outputs.shape) - 1))  # (n, channels)
            loss = -tf.reduce_sum(means * target)
        optimizer.apply_gradients([(tape.gradient(loss, waves), waves)])

    for _ in range(settings.ascent_steps):
        step()
    return np.round(waves_to_pictures(waves, size, mix)).astype(np.uint8)


def maximise_layers(model: keras.Model, of_classes: np.ndarray, mix: np.ndarray, settings: Config) -> list[np.ndarray]:
    """Ten pictures for each layer from the second on, then one for each class; in the last layer the given channels.

    A channel is taken before its ReLU: where it is negative, a ReLU passes no gradient, and the ascent could not start.
    """
    canvas = build_model(settings, settings.canvas)
    canvas.set_weights(model.get_weights())
    last = len(settings.channels)
    rows = []
    for number in range(2, last + 1):
        spread = np.linspace(0, settings.channels[number - 1] - 1, len(of_classes)).astype(int)
        rows.append(maximise(canvas, f"norm{number}", of_classes if number == last else spread, mix, settings))
    return [*rows, maximise(canvas, "logits", range(len(of_classes)), mix, settings)]


# %% Which channel belongs to which class?
# A picture made by optimisation can mislead: people find in it what they look for. So each class's channel is chosen on
# training pictures, and then shown beside the test pictures with the largest activations.


def mean_activations(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """The mean activation of each channel of the last layer: (pictures, channels)."""
    features = keras.Model(model.input, model.get_layer("features").output)
    return features.predict(images, batch_size=250, verbose=0)


def top_images(activations: np.ndarray, count: int) -> np.ndarray:
    """Indices of the pictures with the largest activation of each channel, (count, channels), largest first."""
    return np.argsort(-activations, axis=0, kind="stable")[:count]


def channels_of_classes(activations: np.ndarray, labels: np.ndarray, classes: int = 10) -> np.ndarray:
    """For each class the channel with the purest top pictures: the largest share of the 50 is of that class.

    Of fewer than 1,000 pictures only a twentieth is used, half of what an equal share would hold of each class.
    """
    top = labels[top_images(activations, max(1, min(50, len(labels) // 20)))]  # (count, channels)
    return np.argmax([np.mean(top == label, axis=0) for label in range(classes)], axis=1)


def of_their_class(top: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Which top pictures (count, classes) of the classes' channels show that class."""
    return labels[top] == np.arange(top.shape[1])


# %% Figures


def draw_channels(
    rows: Sequence[np.ndarray], hits: np.ndarray, data: datasets.LabelledImages, accuracy: float
) -> figures.Figure:
    """A row per layer from the second on, and one of the classes; hits (count, classes): see `of_their_class`."""
    title = f"Pictures optimised from noise to maximise one channel or one class ({accuracy:.1%} test accuracy)"
    labels = [f"layer {number}" for number in range(2, len(rows) + 1)] + ["class logit"]
    figure = figures.image_grid(rows, title, labels, size=0.9)
    counts = [f"{name} {np.sum(hit)}/{len(hits)}" for name, hit in zip(data.class_names, hits.T, strict=True)]
    columns = len(data.class_names)
    name_columns(figure.axes[-2 * columns : -columns], counts)
    name_columns(figure.axes[-columns:], data.class_names)
    figure.supxlabel(
        f"{labels[-2]}: the channel chosen for a class, and how many of its top {len(hits)} test pictures are of it",
        fontsize=8,
    )
    return figure


def name_columns(cells: Sequence, names: Sequence[str]) -> None:
    """Write a name above each picture of a row."""
    for cell, name in zip(cells, names, strict=True):
        cell.set_title(name, fontsize=8, pad=2)


def draw_filters(kernel: np.ndarray) -> figures.Figure:
    """The filters (height, width, 3, n) of the first layer: their brightness part in grey, and what is left in colour.

    Each part is scaled by its own largest weight, 0 is grey, and it is interpolated: 5 x 5 squares hide the edges.
    """
    filters = np.moveaxis(kernel, -1, 0)  # (n, height, width, 3)
    brightness = filters.mean(axis=3, keepdims=True)
    parts = {"brightness": np.repeat(brightness, 3, axis=3), "colour": filters - brightness}
    energy = {name: np.square(part).sum(axis=(1, 2, 3)) for name, part in parts.items()}
    shares = {name: part / sum(energy.values()) for name, part in energy.items()}
    rows, labels, captions = [], [], []
    for name, part in parts.items():
        largest = np.abs(part).max(axis=(1, 2, 3), keepdims=True)
        pictures = 0.5 + 0.5 * part / np.maximum(largest, 1e-4)  # without colour: grey, not enlarged rounding errors
        chosen = np.argsort(-shares[name])[:16]
        for numbers in np.array_split(chosen, max(1, len(chosen) // 8)):
            rows.append(pictures[numbers])
            labels.append(name)
            captions.append([f"{shares[name][number]:.0%}" for number in numbers])
    title = f"Filters of the first layer, {kernel.shape[0]} x {kernel.shape[1]} pixels: most brightness, most colour"
    figure = figures.image_grid(rows, title, labels, captions)
    for cell in figure.axes:
        for picture in cell.images:
            picture.set_interpolation("bicubic")
    return figure


def draw_curves(history: lesson.History, data: datasets.LabelledImages) -> figures.Figure:
    """Loss and accuracy, training (augmented pictures, dropout on) against test (pictures as they are)."""
    panels = {
        "cross-entropy (nats)": {"training, augmented": history["loss"], "test": history["val_loss"]},
        "accuracy": {"training, augmented": history["accuracy"], "test": history["val_accuracy"]},
    }
    title = f"Convnet on {data.name}; nothing is chosen by the test curve"
    return figures.curves(history.epochs, panels, title)


def draw_top_images(optimised: np.ndarray, top: np.ndarray, data: datasets.LabelledImages) -> figures.Figure:
    """A column per class: the picture optimised for its channel, above the channel's top test pictures."""
    hits = of_their_class(top, data.test.labels)
    labels = ["optimised", *(f"test, no. {place}" for place in range(1, len(top) + 1))]
    title = f"One channel of the last layer per class: {hits.mean():.0%} of its top {len(top)} test pictures are of it"
    figure = figures.image_grid([optimised, *(data.test.images[row] for row in top)], title, labels, size=0.9)
    name_columns(figure.axes[: len(data.class_names)], data.class_names)
    return figure


# %% Measure


def expected_ranges(pictures: int) -> dict[str, tuple[float, float]]:
    """What to expect of so many real training pictures: all 50,000 of the data set, or half of them."""
    if pictures > 37_500:
        return {"test_accuracy": (0.845, 0.872), "test_loss": (0.37, 0.45), "top_images_of_their_class": (0.8, 1)}
    return {"test_accuracy": (0.8, 0.845), "test_loss": (0.47, 0.6), "top_images_of_their_class": (0.8, 1)}


def measure(run: lesson.Run, model: keras.Model, data: datasets.LabelledImages) -> np.ndarray:
    """Loss and accuracy on the test pictures; returns the predicted classes (n,)."""
    logits = model.predict(data.test.images, batch_size=500, verbose=0)
    losses = keras.losses.sparse_categorical_crossentropy(data.test.labels, logits, from_logits=True)
    predictions = np.argmax(logits, axis=1)
    accuracy = np.mean(predictions == data.test.labels)
    ranges = expected_ranges(len(data.train))
    run.metric("test_accuracy", accuracy, "fraction", ranges["test_accuracy"], embedded=(0.97, 1))
    run.metric("test_loss", np.mean(losses), "nats", ranges["test_loss"], embedded=(0, 0.1))
    run.metric("parameters", model.count_params(), "", expected=(272_618, 272_618), embedded=(272_618, 272_618))
    return predictions


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training; the weights, measured as they are kept; then what the channels respond to."""
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

        with run.part("maximising channels"):
            some = data.train.first(10_000)  # channels are chosen on training pictures, and shown with test pictures
            channels = channels_of_classes(mean_activations(model, some.images), some.labels)
            top = top_images(mean_activations(model, data.test.images)[:, channels], count=5)
            rows = maximise_layers(model, channels, colour_mix(some.images), run.config)
        hits = of_their_class(top, data.test.labels)
        expected = expected_ranges(len(data.train))["top_images_of_their_class"]
        run.metric("top_images_of_their_class", hits.mean(), "fraction", expected, embedded=(0.8, 1))
        accuracy = run.metrics["test_accuracy"]["value"]
        run.figure("channels", draw_channels(rows, hits, data, accuracy), headline=True)
        run.figure("top_images", draw_top_images(rows[-2], top, data))
        run.figure("filters", draw_filters(model.get_layer("conv1").kernel.numpy()))
        run.figure("curves", draw_curves(history, data))
        title = f"Confusion matrix of the convnet (test {data.things})"
        run.figure("confusion", figures.confusion_matrix(data.test.labels, predictions, data.class_names, title))


if __name__ == "__main__":
    main()

# What to try next
# 1. --no-pool-first: normalise before pooling. How many seconds more does it take, and is the accuracy any better?
# 2. --shift 0, or without the mirror image: how far do the training and the test curve diverge then?
# 3. --learning-rate 5e-2, eight times the peak. Then remove batch normalisation, and find the largest rate that works.
