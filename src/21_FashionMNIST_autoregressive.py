"""21 · Autoregressive pixels: a gated PixelCNN that predicts every pixel from those before it.

Any distribution over pictures can be written as a product, pixel by pixel in reading order:

    P(x) = P(x_1) P(x_2 | x_1) ... P(x_784 | x_1, ..., x_783)

No approximation is involved. A network that gives each factor gives the exact probability of a whole picture, and the
negative logarithm of that, to base 2, is the size of the file that a perfect coder would make of it. Here a pixel is
one of eight grey levels, so every factor is a softmax over eight levels, trained by cross-entropy.

In training all pixels are known. One pass of a convolutional network can predict all of them at once, provided that
the prediction of a pixel depends on no pixel from itself on. This is what masks are for: kernel weights that are zero.
Mask A, for the first layer, leaves out the pixel itself, mask B of the later layers keeps it. Masked square kernels
alone have a blind spot: a wedge at the upper right is never seen. So there are two stacks of layers. The vertical one
sees all rows above, on both sides; the horizontal one sees the pixels at the left in its own row, and what the
vertical one passes to it. Each layer multiplies a tanh by a sigmoid, a gate:

    y = tanh(W_1 * x) sigmoid(W_2 * x)

Generation cannot be parallel: 784 pixels, one after the other. A whole pass per pixel computes nearly everything again
each time. With the activations of the last rows and pixels kept (cached), each pixel costs one pass at one place.

What you will see: bits per pixel beside PNG's, WebP's and a Gaussian's on the same levels; half garments completed six
ways; what a pixel sees, and the blind spot of the plain masks; garments that appear pixel by pixel.

Run:    python src/21_FashionMNIST_autoregressive.py    about two minutes on two CPU cores
Makes:  output/21_FashionMNIST_autoregressive.png and output/21_FashionMNIST_autoregressive/
Source: van den Oord, Kalchbrenner & Kavukcuoglu, Pixel recurrent neural networks, arXiv:1601.06759;
        van den Oord et al., Conditional image generation with PixelCNN decoders, arXiv:1606.05328;
        Ramachandran et al., Fast generation for convolutional autoregressive models, arXiv:1704.06001
"""

import dataclasses
from collections.abc import Sequence
from time import perf_counter
from typing import Annotated, ClassVar

from lessonkit import bits, config, datasets, figures, judges, training
from lessonkit import run as lesson
from lessonkit.figures import flows, generated, pixels

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small gated PixelCNN, for a CPU. `full` is wider and deeper, and has the steps that a GPU has time for."""

    steps: config.Count = 1_400
    batch_size: config.Count = 16
    learning_rate: config.Rate = 1e-2  # at its peak; it rises for a twentieth of the steps and decays to zero
    levels: Annotated[int, config.Range(2, 256)] = 8  # grey levels of a pixel
    width: config.Count = 32  # channels of both stacks
    gated_layers: config.Count = 4  # after the first
    first_kernel: tuple[config.Count, config.Count] = (8, 15)  # rows above, and columns, that the first layer sees
    sample_every: config.Count = 280  # steps from one picture of the same noise, and one checkpoint, to the next
    distribute: config.Alone = "none"  # a loop of its own
    # Below: what concerns the sampling alone. With --resume a finished training goes straight to it.
    temperature: Annotated[float, config.Range(0.01, 10)] = 1.0  # the logits are divided by it
    samples: Annotated[int, config.Range(20, 60_000)] = 10_000  # garments generated for the scores
    given_rows: Annotated[int, config.Range(0, 27)] = 14  # of a garment that is completed

    sampling_only: ClassVar = ("temperature", "samples", "given_rows")


LARGE = dict(steps=100_000, batch_size=64, learning_rate=1e-3, width=128, gated_layers=12, sample_every=2_000)
TINY = {"steps": 4, "batch_size": 8, "width": 4, "gated_layers": 1, "limit": 100, "data": "embedded"}
TINY |= {"samples": 40, "sample_every": 2}
PRESETS = {"full": LARGE, "smoke": TINY}

# %% Data


def greys(images: np.ndarray, levels: int) -> np.ndarray:
    """The grey value (levels,), uint8, in which to show a level: the mean of the pixels of uint8 images that have it.

    A level that no pixel has is shown by its middle.
    """
    found, values = bits.quantised(images, levels).ravel(), images.ravel()
    count = np.bincount(found, minlength=levels)
    middle = (np.arange(levels) + 0.5) * 256 / levels
    mean = np.bincount(found, weights=values, minlength=levels) / np.maximum(count, 1)
    return np.round(np.where(count > 0, mean, middle)).astype(np.uint8)


def uniform_noise(count: int, seed: int, stream: int = 0) -> np.ndarray:
    """A number in [0, 1) per pixel, float32 (count, 28, 28): all the randomness of a sample."""
    return np.random.default_rng([seed, 21, stream]).random((count, 28, 28), dtype="float32")


# %% Model


class MaskedConv(layers.Layer):
    """A convolution that sees earlier pixels only: (batch, rows, columns, channels) -> (..., filters).

    A mask sets the kernel weights of later pixels to zero. They lie on one side, so here the kernel is only as large
    as the rest of it, and is shifted: what is not there costs no time.

    Args:
        kernel: (rows, columns). Vertical: the last rows, columns on both sides; horizontal: (1, columns at the left).
        mask: "A" leaves out the pixel itself (vertical: its row), "B" keeps it.
    """

    def __init__(self, filters: int, kernel: tuple[int, int], mask: str, vertical: bool):
        super().__init__()
        rows, columns = kernel
        self.filters, self.kernel_size, self.vertical = filters, kernel, vertical
        before = {"A": 1, "B": 0}[mask]
        if vertical:
            self.padding = [(0, 0), (rows - 1 + before, 0), (columns // 2, columns // 2), (0, 0)]
        else:
            self.padding = [(0, 0), (0, 0), (columns - 1 + before, 0), (0, 0)]

    def build(self, shape):
        self.kernel = self.add_weight(shape=(*self.kernel_size, shape[-1], self.filters), initializer="he_normal")
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros")

    def call(self, inputs):
        """All places at once."""
        outputs = ops.conv(ops.pad(inputs, self.padding), self.kernel) + self.bias
        return outputs[:, : inputs.shape[1], : inputs.shape[2]]

    def next(self, window):
        """One place. Vertical: its rows (batch, rows, columns, channels) -> a row (batch, 1, columns, filters).

        Horizontal: its pixels (batch, columns, channels) -> (batch, filters).
        """
        if self.vertical:
            return ops.conv(ops.pad(window, [(0, 0), (0, 0), *self.padding[2:]]), self.kernel) + self.bias
        flat = ops.reshape(window, (-1, window.shape[1] * window.shape[2]))
        return ops.matmul(flat, ops.reshape(self.kernel, (-1, self.filters))) + self.bias


def gate(inputs):
    """(..., 2 width) -> (..., width)."""
    content, opening = ops.split(inputs, 2, axis=-1)
    return ops.tanh(content) * ops.sigmoid(opening)


class GatedLayer(layers.Layer):
    """One layer of both stacks; only the horizontal one has a residual connection (not in the first layer).

    The vertical stack passes to the horizontal one, never the other way: it must not see the row it is in.
    """

    def __init__(self, width: int, vertical_kernel: tuple[int, int], left: int, mask: str):
        super().__init__()
        self.first = mask == "A"
        self.vertical = MaskedConv(2 * width, vertical_kernel, mask, vertical=True)
        self.horizontal = MaskedConv(2 * width, (1, left), mask, vertical=False)
        self.across = layers.Dense(2 * width, use_bias=False)
        self.out = layers.Dense(width)

    def call(self, above, left, place=0.0):
        """Vertical and horizontal activations (batch, rows, columns, channels) -> both, of the next layer."""
        above = gate(self.vertical(above) + place)
        return above, self.finish(left, self.horizontal(left) + self.across(above))

    def finish(self, left, hidden):
        """The horizontal stack after its convolution: gate, 1 x 1, residual."""
        outputs = self.out(gate(hidden))
        return outputs if self.first else left + outputs


class PixelCNN(keras.Model):
    """Levels (batch, size, size), whole numbers -> logits (batch, size, size, levels) of every pixel.

    Args:
        size: rows and columns of a picture.
    """

    def __init__(self, settings: Config, size: int = 28):
        super().__init__()
        self.size, self.levels, self.width = size, settings.levels, settings.width
        first = GatedLayer(settings.width, settings.first_kernel, settings.first_kernel[0], mask="A")
        later = [GatedLayer(settings.width, (2, 3), 2, mask="B") for _ in range(settings.gated_layers)]
        self.gated = [first, *later]
        # A convolution does not know where it is; a number per row and one per column tell it.
        shape, start = (size, 2 * settings.width), keras.initializers.RandomNormal(stddev=0.02)
        self.row_place, self.column_place = (self.add_weight(shape=shape, initializer=start) for _ in range(2))
        self.hidden = layers.Dense(2 * settings.width, activation="relu")
        self.logits = layers.Dense(settings.levels)

    def head(self, left):
        """Horizontal activations (..., width) -> logits (..., levels)."""
        return self.logits(self.hidden(ops.relu(left)))

    def encode(self, levels):
        """Levels (...) -> (..., 2): the level scaled to -1 ... 1, and a one. Padding is zero in both: outside."""
        values = ops.cast(levels, "float32") * (2 / (self.levels - 1)) - 1
        return ops.stack([values, ops.ones_like(values)], axis=-1)

    def call(self, levels):
        return self.predict_all(self.encode(levels))

    def predict_all(self, encoded):
        """Encoded pixels (batch, size, size, 2) -> logits (batch, size, size, levels)."""
        above = left = encoded
        place = self.row_place[:, None] + self.column_place  # (size, size, 2 width)
        for layer in self.gated:
            above, left = layer(above, left, place=place)
            place = 0.0
        return self.head(left)

    # The same network, one row and one pixel at a time, with what is needed of the rows and pixels before.

    @tf.function(reduce_retracing=True)
    def next_row(self, above, kept, row):
        """The vertical stack at one row.

        Args:
            above: the encoded rows before it (batch, rows of the first kernel, size, 2).
            kept: per later layer what it got at the row before (batch, 1, size, width).

        Returns (per layer what it passes to the horizontal stack (batch, size, 2 width), the new `kept`).
        """
        place = self.row_place[row] + self.column_place
        hidden = gate(self.gated[0].vertical.next(above) + place)  # (batch, 1, size, width)
        passed, now = [self.gated[0].across(hidden[:, 0])], []
        for layer, before in zip(self.gated[1:], kept, strict=True):
            now.append(hidden)
            hidden = gate(layer.vertical.next(ops.concatenate([before, hidden], axis=1)))
            passed.append(layer.across(hidden[:, 0]))
        return passed, now

    def next_pixel(self, left, kept, passed):
        """The horizontal stack at one pixel.

        Args:
            left: the encoded pixels before it in its row (batch, columns of the first kernel, 2).
            kept: per later layer what it got at the pixel before (batch, 1, width).
            passed: what the vertical stack passes to each layer at this pixel (batch, 2 width).

        Returns (logits (batch, levels), the new `kept`).
        """
        first = self.gated[0]
        hidden, now = first.finish(None, first.horizontal.next(left) + passed[0]), []
        for layer, before, hint in zip(self.gated[1:], kept, passed[1:], strict=True):
            now.append(hidden[:, None])
            window = ops.concatenate([before, now[-1]], axis=1)
            hidden = layer.finish(hidden, layer.horizontal.next(window) + hint)
        return self.head(hidden), now

    @tf.function(reduce_retracing=True)
    def draw_row(self, passed, noise, temperature):
        """All pixels of a row, one after the other; `passed` is from `next_row`, noise (batch, size).

        Returns (levels (batch, size), logits (batch, size, levels)).
        """
        count = tf.shape(noise)[0]
        left = tf.zeros((count, self.gated[0].horizontal.kernel_size[1], 2))
        kept = [tf.zeros((count, 1, self.width)) for _ in self.gated[1:]]
        levels, logits = tf.TensorArray("int32", self.size), tf.TensorArray("float32", self.size)
        for column in tf.range(self.size):
            each, kept = self.next_pixel(left, kept, [hint[:, column] for hint in passed])
            level = draw(each, noise[:, column], temperature)
            left = tf.concat([left[:, 1:], self.encode(level)[:, None]], axis=1)
            levels, logits = levels.write(column, level), logits.write(column, each)
        return tf.transpose(levels.stack()), tf.transpose(logits.stack(), (1, 0, 2))


def draw(logits, noise, temperature: float = 1.0):
    """Levels (...) from logits (..., levels) and noise (...): how many cumulative probabilities lie below the noise."""
    probabilities = ops.softmax(logits / temperature)
    count = logits.shape[-1]
    cumulative = ops.matmul(probabilities, np.triu(np.ones((count, count), "float32")))[..., :-1]
    return ops.sum(ops.cast(cumulative <= noise[..., None], "int32"), axis=-1)


def generate_plainly(model: PixelCNN, noise: np.ndarray, stop: int | None = None) -> np.ndarray:
    """Levels (n, size, size): a whole pass per pixel. `stop`: only so many pixels."""
    levels = np.zeros(noise.shape, np.int32)
    for pixel in range(noise[0].size if stop is None else stop):
        row, column = divmod(pixel, model.size)
        logits = forward(model, levels)[:, row, column]
        levels[:, row, column] = draw(logits, noise[:, row, column])
    return levels


def generate_batch(model: PixelCNN, noise: np.ndarray, given=None, given_rows=0, temperature=1.0):
    """Levels with cached activations; the same as `generate_plainly`, up to rounding.

    Args:
        noise: (n, size, size), uniform in [0, 1).
        given: levels (n, size, size), of which the first `given_rows` rows are kept.

    Returns (levels int32 (n, size, size), logits (n, rows that are drawn, size, levels)).
    """
    rows, size = model.gated[0].vertical.kernel_size[0], model.size
    above, levels, logits = [tf.zeros((len(noise), 1, size, 2))] * rows, [], []
    kept = [tf.zeros((len(noise), 1, size, model.width)) for _ in model.gated[1:]]
    for row in range(size):
        passed, kept = model.next_row(tf.concat(above, axis=1), kept, tf.constant(row))
        if row < given_rows:
            levels.append(tf.constant(given[:, row], tf.int32))
        else:
            drawn = model.draw_row(passed, tf.constant(noise[:, row]), tf.constant(temperature, tf.float32))
            levels.append(drawn[0])
            logits.append(drawn[1])
        above = [*above[1:], model.encode(levels[-1])[:, None]]
    return tf.stack(levels, axis=1).numpy(), tf.stack(logits, axis=1)


@tf.function(reduce_retracing=True)
def forward(model: PixelCNN, levels):
    """Logits of all pixels, in one pass."""
    return model(levels)


def generate(model: PixelCNN, noise: np.ndarray, given=None, given_rows=0, temperature=1.0) -> np.ndarray:
    """`generate_batch` for any number of pictures: levels (n, size, size), uint8."""
    found = []
    for part in training.parts(len(noise), "garments", size=1_000):
        halves = None if given is None else given[part]
        found.append(generate_batch(model, noise[part], halves, given_rows, temperature)[0])
    return np.concatenate(found).astype(np.uint8)


@tf.function(reduce_retracing=True)
def nats(model: PixelCNN, levels):
    """-log P (n, size, size) of every pixel, given those before it."""
    return keras.losses.sparse_categorical_crossentropy(ops.cast(levels, "int32"), model(levels), from_logits=True)


def pixel_bits(model: PixelCNN, levels: np.ndarray) -> np.ndarray:
    """Exact bits (n, size, size) of every pixel of pictures of levels. Their sum is -log2 P(x)."""
    slices = training.parts(len(levels), "garments", size=250)
    return np.concatenate([nats(model, levels[part]) for part in slices]) / np.float32(np.log(2))


def bits_per_pixel(model: PixelCNN, levels: np.ndarray) -> np.ndarray:
    """Exact bits per pixel (n,) of pictures of levels (n, size, size)."""
    return pixel_bits(model, levels).mean(axis=(1, 2))


# %% Train


class Trainer:
    """A model, its optimizer, and one training step on levels (batch, 28, 28)."""

    def __init__(self, settings: Config):
        self.settings, self.model = settings, PixelCNN(settings)
        self.model(np.zeros((1, 28, 28), np.uint8))  # makes the weights
        rate = training.warm_up_cosine(settings.learning_rate, settings.steps, warm_up=settings.steps // 20)
        self.optimizer = keras.optimizers.Adam(rate, global_clipnorm=1.0)
        self.optimizer.build(self.model.trainable_variables)
        self.variables = [*self.model.trainable_variables, *self.optimizer.variables]

    @tf.function
    def train_step(self, levels) -> dict:
        """One step down the mean bits per pixel."""
        variables = self.model.trainable_variables
        with tf.GradientTape() as tape:
            loss = ops.mean(nats(self.model, levels)) / np.float32(np.log(2))
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return {"bits": loss}


def train(run: lesson.Run, levels: np.ndarray, test: np.ndarray, shown: np.ndarray):
    """Learn the levels of garments; every so many steps garments of the same noise, and bits of test garments."""
    settings, trainer = run.config, Trainer(run.config)
    noise, test = uniform_noise(60, settings.seed), test[:300]

    def sample() -> np.ndarray:
        return figures.tile(shown[generate(trainer.model, noise, temperature=settings.temperature)], columns=12)

    watched = {"sample": sample, "sample_every": settings.sample_every}
    watched["measure"] = lambda: {"test_bits": float(np.mean(bits_per_pixel(trainer.model, test)))}
    with run.loop(settings.steps, trainer.variables, [trainer.optimizer], **watched) as loop:
        for batch in loop.batches(training.Batches(levels, settings.batch_size, settings.seed)):
            loop.log(trainer.train_step(batch))
    return trainer.model, run.history("model", loop.history, loop.samples)


# %% Look


def seen_by_plain_masks(size: int, layer_count: int, pixel: tuple[int, int]) -> np.ndarray:
    """Which pixels (size, size), bool, a stack of masked 3 x 3 convolutions can see: mask A, then mask B.

    The kernel of mask A has the three pixels above and the one at the left; mask B has the pixel itself, too.
    """
    before = [(-1, -1), (-1, 0), (-1, 1), (0, -1)]
    places = {pixel}
    for offsets in [before] + [[*before, (0, 0)]] * (layer_count - 1):
        places = {(row + down, column + right) for row, column in places for down, right in offsets}
    return np.array([[(row, column) in places for column in range(size)] for row in range(size)])


def influence(model: PixelCNN, levels: np.ndarray, pixel: tuple[int, int]) -> np.ndarray:
    """How strongly the logits of one pixel depend on every pixel (size, size): |gradient|, mean over pictures."""
    encoded = tf.Variable(model.encode(levels))
    with tf.GradientTape() as tape:
        logits = ops.sum(model.predict_all(encoded)[:, pixel[0], pixel[1]] ** 2)
    return np.abs(tape.gradient(logits, encoded)[..., 0]).mean(axis=0)


def draw_influence(model: PixelCNN, levels: np.ndarray, pixel: tuple[int, int] = (15, 14)) -> figures.Figure:
    """The pixels that plain masked convolutions see, and the gradient of this model's prediction."""
    plain = seen_by_plain_masks(28, 16, pixel)
    return pixels.influence(plain, influence(model, levels, pixel), pixel)


# %% Measure

# (low, high) of the default preset on real garments; where there are two, on drawn ones, too.
EXPECTED = {"cached_error": [(0, 1e-5)] * 2, "completion_difference": [(0.03, 0.25), (0.07, 0.22)]}
EXPECTED |= {"test_bits_per_pixel": [(0.66, 0.84), (0.53, 0.65)], "below_gaussian": [(0.28, 0.45), (0.28, 0.42)]}
EXPECTED |= {"completion_accuracy": [(0.6, 0.95), (0.7, 1)], "precision": [(0.45, 0.9), (0.03, 0.2)]}
EXPECTED |= {"recall": [(0.4, 0.85), (0.6, 0.9)], "classes_covered": [(9, 10)] * 2, "bits_gaussian": [(1.1, 1.3)]}
EXPECTED |= {"speed_up": [(20, 2_000)] * 2, "bits_webp": [(1.2, 1.35)], "fid": [(0.8, 9), (5, 15)]}
LEAST = 10  # examples: with fewer, hardly a score means anything
DRAWS = 6  # completions of a half


def measure_bits(run: lesson.Run, model: PixelCNN, train_levels: np.ndarray, test_levels: np.ndarray) -> dict:
    """Exact bits per pixel of test and training garments; of the same test garments by the baselines, by name."""
    for name, levels in (("test", test_levels), ("train", train_levels[:2_000])):
        each, name = bits_per_pixel(model, levels), f"{name}_bits_per_pixel"
        unit = f"(exact, {len(each):,} garments in {model.levels} levels)"
        run.metric(name, each.mean(), unit, *EXPECTED.get(name, ()), spread=each.std() / np.sqrt(len(each)))
    found = bits.report(run, train_levels, test_levels, model.levels, EXPECTED)
    share = 1 - run.metrics["test_bits_per_pixel"]["value"] / found["gaussian"]
    run.metric("below_gaussian", share, "of its bits", *EXPECTED["below_gaussian"])
    return found


def measure_cache(run: lesson.Run, model: PixelCNN, timed: int = 8) -> None:
    """Cached generation beside the plain one: the greatest difference of a probability, and the speed."""
    noise = uniform_noise(min(100, run.config.samples), run.config.seed, stream=1)
    levels, cached = generate_batch(model, noise)
    error = np.abs(ops.softmax(cached) - ops.softmax(forward(model, levels))).max()
    run.metric("cached_error", error, f"of a probability, {levels.size:,} pixels", *EXPECTED["cached_error"])
    generate_plainly(model, noise, stop=1)  # what TensorFlow compiles at the first call is not to be timed
    times = [perf_counter()]
    generate_batch(model, noise)
    times.append(perf_counter())
    generate_plainly(model, noise, stop=timed)
    times.append(perf_counter())
    cached_time, plain_time = 1_000 * np.diff(times) / (levels[0].size, timed)
    unit = f"(a pixel of {len(noise)} garments: {plain_time:.0f} ms plainly, {cached_time:.1f} ms cached)"
    run.metric("speed_up", plain_time / cached_time, unit, *EXPECTED["speed_up"])


def measure_samples(run: lesson.Run, model: PixelCNN, data, test_levels, shown, judge) -> tuple:
    """Generate garments, keep them, and measure them by the judge."""
    noise = uniform_noise(run.config.samples, run.config.seed, stream=2)
    begin = perf_counter()
    images = shown[generate(model, noise, temperature=run.config.temperature)]
    run.metric("seconds_per_1000_samples", 1_000 * (perf_counter() - begin) / len(images), "s")
    scores = judges.scores(judge, images, data)
    scores.report(run, EXPECTED, "garments")
    both = data.train.images[: scores.count], shown[test_levels[: scores.count]]
    run.metric("fid_quantised", judges.fid(*map(judge.features, both)), f"(test garments in {model.levels} levels)")
    run.metric("parameters", model.count_params(), "")
    run.keep_generated(images / 255)
    return images, scores


def complete(run: lesson.Run, model: PixelCNN, levels: np.ndarray) -> np.ndarray:
    """Six completions of every garment's upper rows: levels (6, n, 28, 28)."""
    settings, given = run.config, np.tile(levels, (DRAWS, 1, 1))
    noise = uniform_noise(len(given), settings.seed, stream=3)
    return generate(model, noise, given, settings.given_rows, settings.temperature).reshape(DRAWS, *levels.shape)


def measure_completions(run: lesson.Run, drawn: np.ndarray, truth: np.ndarray, labels, judge) -> None:
    """Do completions fit, by the judge, and do they differ? Images uint8, (6, n, 28, 28) and (n, 28, 28)."""
    rows, unit = run.config.given_rows, f"({len(truth):,} garments)"
    mixed = np.concatenate([truth[:, :rows], np.roll(truth, 1, axis=0)[:, rows:]], axis=1)
    agreement = np.mean([judge.classes(images) == labels for images in drawn])
    run.metric("completion_accuracy", agreement, f"in their own class {unit}", *EXPECTED["completion_accuracy"])
    run.metric("mixed_accuracy", np.mean(judge.classes(mixed) == labels), f"with another's lower part {unit}")
    pairs = (drawn[0], drawn[1]), (truth, mixed)
    found, usual = (np.abs(one - two.astype(float))[:, rows:].mean() / 255 for one, two in pairs)
    unit = f"of pixels in 0 to 1 (of two garments: {usual:.3f})"
    run.metric("completion_difference", found, unit, *EXPECTED["completion_difference"])


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge, training; bits, samples, cache, completions; figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        data = datasets.fashion_mnist(run)
        run.require(LEAST, training_pictures=len(data.train), test_pictures=len(data.test))
        judge = judges.judge(run, data)
        levels, test = (bits.quantised(part.images, run.config.levels) for part in (data.train, data.test))
        shown = greys(data.train.images, run.config.levels)
        model, history = train(run, levels, test, shown)
        found = measure_bits(run, model, levels, test)
        images, scores = measure_samples(run, model, data, test, shown, judge)
        measure_cache(run, model)
        some = slice(0, min(200, len(test)))
        drawn = complete(run, model, test[some])
        measure_completions(run, shown[drawn], shown[test[some]], data.test.labels[some], judge)
        needed = run.metrics["test_bits_per_pixel"]["value"]
        few = slice(0, min(12, len(test)))
        title = f"Upper parts of test garments, completed {DRAWS} ways, pixel by pixel: none chosen"
        halves = (shown[test[few]], shown[drawn[:, few]], run.config.given_rows)
        run.figure("completions", pixels.completions(*halves, title), headline=True)
        run.gif("drawing", pixels.drawing(*halves, step=14))
        title = f"Samples, none chosen: {needed:.2f} bits per pixel on test garments, FID {scores.fid:.1f}"
        run.figure("samples", figures.image_grid(np.array_split(images[:96], 6), title, size=0.55))
        run.figure("bits", flows.bits(history, found, needed, uncompressed=np.log2(run.config.levels)))
        run.figure("influence", draw_influence(model, test[:100]))
        run.figure("surprise", pixels.surprise(shown[test[few]], pixel_bits(model, test[few])))
        title = "The same random numbers at later and later steps of the training"
        run.figure("training", generated.progress(history.frames, history.frame_steps, 28, title))
        run.figure("nearest", generated.nearest(images, data.train.images, scores, "garment"))


if __name__ == "__main__":
    main()

# What to try next
# 1. --resume --temperature 0.8: rarer levels become rarer still. What do the samples gain, and what do they lose?
# 2. --resume --given-rows 4: nearly nothing is given. How soon do the completions part?
# 3. --levels 2: black and white. How many bits are left, and how many of them are on the outline?
