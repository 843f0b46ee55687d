"""24 · VQ-VAE: garments as 49 numbers out of 256, and a transformer that generates the numbers.

The codes of a VAE (lesson 10) are real numbers with a Gaussian prior. Here a picture becomes a grid of 7 x 7 whole
numbers, as a text is a row of tokens. The encoder gives a vector z at each of the 49 places, and the codebook, a table
of K vectors e_1 ... e_K, replaces it by the nearest one:

    code = argmin_k |z - e_k|²          q = e_code          picture = decoder(q)

49 codes out of K = 256 are 49 x 8 = 392 bits: a lossy compression that is measured here against JPEG and WebP at the
same number of bits. But argmin has no useful derivative: it is zero almost everywhere. The straight-through estimator
copies the gradient past it, from q to z, as if q were z. So the loss has two terms, and the codebook is in neither:

    loss = |picture - decoder(z + sg(q - z))|² / variance  +  beta |z - sg(q)|²          sg: no gradient through it

The second is the commitment: it keeps z near its code, and reaches the encoder alone. The codebook follows the encoder
as in k-means: each e_k is a moving average of the z that were assigned to it. A vector that is hardly ever the nearest
would never move again, so it is replaced by some z of the batch. Otherwise most of the codebook can be left unused.

Then the encoder is frozen, all training garments become codes, and a causal transformer learns their distribution,

    p(codes | class) = p(code_1 | class) p(code_2 | class, code_1) ... p(code_49 | class, code_1 ... code_48)

with the class as the first token. It is the language model of lesson 15 in small. A sample is drawn code by code and
decoded in one pass.

What you will see: garments by class; test garments through 392 bits, beside JPEG and WebP; what the codes stand for and
how often each is used; a garment generated code by code; diversity and fidelity by temperature.

Run:    python src/24_FashionMNIST_VQVAE.py    about two minutes on two CPU cores
Makes:  output/24_FashionMNIST_VQVAE.png and output/24_FashionMNIST_VQVAE/
Source: van den Oord, Vinyals & Kavukcuoglu, Neural Discrete Representation Learning, arXiv:1711.00937;
        Razavi, van den Oord & Vinyals, Generating Diverse High-Fidelity Images with VQ-VAE-2, arXiv:1906.00446
        (moving averages, priors per class); Bengio, Léonard & Courville, arXiv:1308.3432 (straight through);
        Dhariwal et al., Jukebox, arXiv:2005.00341 (dead codes replaced)
"""

import dataclasses
from collections.abc import Sequence
from time import perf_counter
from typing import Annotated, ClassVar

from lessonkit import config, datasets, figures, judges, lossy, metrics, training
from lessonkit import run as lesson
from lessonkit.figures import codes as code_figures
from lessonkit.figures import generated

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

CLASSES, SIDE, PLACES = 10, 7, 49  # classes; codes in a row, and in a picture

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """Two small networks, for a CPU. `full` has the sizes and the steps that a GPU has time for."""

    epochs: config.Count = 10  # of the autoencoder; an epoch is 15,000 garments, a quarter of all that there are
    prior_epochs: config.Count = 3  # of the transformer, likewise
    batch_size: config.Count = 32
    learning_rate: config.Rate = 4e-3  # at the start, of the autoencoder; decays to zero along a cosine
    channels: config.Count = 48  # of the encoder and the decoder at 7 x 7
    codes: Annotated[int, config.Range(2, 65_536)] = 256  # vectors in the codebook: 8 bits per code
    code_dim: config.Count = 16  # numbers in each of them
    commitment: Annotated[float, config.Range(0, 100)] = 0.25  # beta
    decay: config.Fraction = 0.985  # of the codebook's moving averages: over the last 70 batches or so
    least_use: config.Fraction = 0.1  # a vector used less often than this, as a share of the mean use, is replaced
    prior_learning_rate: config.Rate = 3e-3  # at its peak
    heads: config.Count = 4  # attention heads of the transformer
    head_width: config.Count = 24  # numbers per token in each of them
    blocks: config.Count = 2
    distribute: config.Alone = "none"  # the codebook follows the batch of one device
    # Below: what concerns the sampling alone. With --resume a finished training goes straight to it.
    temperature: Annotated[float, config.Range(0.01, 100)] = 0.85  # below 1: likelier codes, above: less likely ones
    samples: Annotated[int, config.Range(20, 60_000)] = 10_000  # garments generated for the scores
    compared: Annotated[int, config.Range(20, 60_000)] = 1_000  # garments per temperature in the comparison

    width = property(lambda self: self.heads * self.head_width)  # numbers per token in all
    sampling_only: ClassVar = ("temperature", "samples", "compared")


LARGE = {"epochs": 400, "prior_epochs": 400, "batch_size": 128, "learning_rate": 1e-3, "channels": 128, "codes": 512}
LARGE |= {"prior_learning_rate": 1e-3, "heads": 8, "head_width": 32, "blocks": 6}
TINY = {"steps": 4, "batch_size": 16, "channels": 8, "codes": 16, "heads": 2, "head_width": 8, "blocks": 1}
TINY |= {"limit": 200, "data": "embedded", "samples": 20, "compared": 20}
PRESETS = {"full": LARGE, "smoke": TINY}

# %% Data


def scaled(images: np.ndarray) -> np.ndarray:
    """uint8 (n, 28, 28) -> float32 (n, 28, 28, 1) in [0, 1]."""
    return images[..., None] / np.float32(255)


def balanced(count: int, seed: int) -> np.ndarray:
    """Class numbers (count,), as many of each, in random order: parts of the whole have all classes."""
    return np.random.default_rng(seed).permutation(np.arange(count) % CLASSES)


# %% Model: the autoencoder

# Nearly all the work is done on 7 x 7 places: the encoder's first convolution looks at windows of 8 x 8 pixels in steps
# of 4, and the decoder doubles the side twice, each time by moving channels into the plane.


def residual_block(hidden):
    """(batch, height, width, channels) -> the same shape, with a view of the neighbours."""
    channels = hidden.shape[-1]
    inner = layers.Conv2D(channels, 3, padding="same")(ops.relu(hidden))
    return hidden + layers.Conv2D(channels, 1)(ops.relu(inner))


def doubled(hidden):
    """(batch, side, side, 4 c) -> (batch, 2 side, 2 side, c): four channels become a square of 2 x 2."""
    side, channels = hidden.shape[1], hidden.shape[-1] // 4
    squares = ops.transpose(ops.reshape(hidden, (-1, side, side, 2, 2, channels)), (0, 1, 3, 2, 4, 5))
    return ops.reshape(squares, (-1, 2 * side, 2 * side, channels))


def build_encoder(settings: Config) -> keras.Model:
    """Pictures (batch, 28, 28, 1) in [0, 1] -> vectors z (batch, 7, 7, code_dim)."""
    pictures = keras.Input((28, 28, 1))
    hidden = layers.Conv2D(settings.channels, 8, strides=4, padding="same")(pictures)  # (batch, 7, 7, channels)
    hidden = residual_block(residual_block(hidden))
    return keras.Model(pictures, layers.Conv2D(settings.code_dim, 1)(ops.relu(hidden)), name="encoder")


def build_decoder(settings: Config) -> keras.Model:
    """Vectors of codes (batch, 7, 7, code_dim) -> pictures (batch, 28, 28, 1) in [0, 1]."""
    vectors = keras.Input((SIDE, SIDE, settings.code_dim))
    hidden = layers.Conv2D(settings.channels, 3, padding="same")(vectors)
    hidden = residual_block(residual_block(hidden))
    hidden = layers.Conv2D(32, 3, padding="same")(ops.relu(hidden))
    hidden = layers.Conv2D(4, 3, padding="same")(ops.relu(doubled(hidden)))  # (batch, 14, 14, 4)
    return keras.Model(vectors, ops.sigmoid(doubled(hidden)), name="decoder")


LOGGED = ("reconstruction", "commitment", "replaced")  # squared error per pixel and per number of z; dead codes


class Codebook(layers.Layer):
    """K vectors; each is a moving average of the encoder's vectors that it was the nearest to.

    `use` (K,) and `total` (K, dim) are the averages, per batch, of how many these are and of their sum, and the vector
    is their quotient (van den Oord et al., appendix A.1). Nothing here is trained by a gradient.
    """

    def __init__(self, settings: Config, **options):
        super().__init__(**options)
        self.decay, self.least_use = settings.decay, settings.least_use
        shape, fixed = (settings.codes, settings.code_dim), {"trainable": False}
        self.vectors = self.add_weight(shape=shape, initializer="random_normal", name="vectors", **fixed)
        self.use = self.add_weight(shape=shape[:1], initializer="zeros", name="use", **fixed)  # at first all are dead
        self.total = self.add_weight(shape=shape, initializer="zeros", name="total", **fixed)
        self.seed_generator = keras.random.SeedGenerator(settings.seed)

    def nearest(self, vectors):
        """Codes int32 (...) of vectors (..., dim): |z - e|² without |z|², which is the same for all e."""
        products = ops.matmul(vectors, ops.transpose(self.vectors))
        return ops.argmin(ops.sum(ops.square(self.vectors), axis=-1) - 2 * products, axis=-1)

    def call(self, codes):
        """Vectors (..., dim) of codes (...)."""
        return ops.take(self.vectors, codes, axis=0)

    def follow(self, vectors, codes):
        """Move towards vectors (n, dim) and their codes (n,), and replace what is dead. Returns how many were."""
        chosen = ops.one_hot(codes, self.use.shape[0])  # (n, K)
        use = self.decay * self.use + (1 - self.decay) * ops.sum(chosen, axis=0)
        total = self.decay * self.total + (1 - self.decay) * ops.matmul(ops.transpose(chosen), vectors)
        mean = vectors.shape[0] / self.use.shape[0]
        dead = use < self.least_use * mean
        drawn = keras.random.uniform(self.use.shape, 0, vectors.shape[0], seed=self.seed_generator)
        others = ops.take(vectors, ops.cast(drawn, "int32"), axis=0)  # of this batch, for the dead
        self.use.assign(ops.where(dead, mean, use))
        self.total.assign(ops.where(dead[:, None], mean * others, total))
        self.vectors.assign(self.total / self.use[:, None])
        return ops.sum(ops.cast(dead, "float32"))


class VQVAE(keras.Model):
    """Encoder, codebook, decoder. With `call` and `compute_loss`, Keras' fit and evaluate do the rest."""

    def __init__(self, settings: Config, variance: float, **options):
        """variance: of the training pixels, so that the first term of the loss is a share of it."""
        super().__init__(**options)
        self.encoder, self.codebook, self.decoder = build_encoder(settings), Codebook(settings), build_decoder(settings)
        self.beta, self.variance = settings.commitment, variance
        self.reconstruction, self.commitment, self.replaced = map(keras.metrics.Mean, LOGGED)

    def call(self, pictures):
        """Pictures (batch, 28, 28, 1) -> z and q (batch, 7, 7, dim), codes (batch, 7, 7), and what is left of them."""
        z = self.encoder(pictures)
        codes = self.codebook.nearest(z)
        q = self.codebook(codes)
        straight = z + ops.stop_gradient(q - z)  # q in value; the gradient that arrives here is passed on to z
        return {"z": z, "q": q, "codes": codes, "pictures": self.decoder(straight)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """The loss of the docstring. Keras calls it with the pictures x and the output y_pred of `call`."""
        reconstruction = ops.mean(ops.square(y_pred["pictures"] - x))
        commitment = ops.mean(ops.square(y_pred["z"] - ops.stop_gradient(y_pred["q"])))
        self.reconstruction.update_state(reconstruction)
        self.commitment.update_state(commitment)
        if training:
            flat = ops.reshape(y_pred["z"], (-1, y_pred["z"].shape[-1])), ops.reshape(y_pred["codes"], (-1,))
            self.replaced.update_state(self.codebook.follow(*flat))
        return reconstruction / self.variance + self.beta * commitment

    def encode(self, images: np.ndarray) -> np.ndarray:
        """uint8 (n, 28, 28) -> codes int32 (n, 49), row by row."""
        parts = training.parts(len(images), "garments to codes", 1_000)
        codes = [self.codebook.nearest(self.encoder(scaled(images[part]))) for part in parts]
        return np.concatenate(codes).reshape(-1, PLACES).astype("int32")

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Codes (n, 49) -> pictures (n, 28, 28) in [0, 1]."""
        parts = [codes[first : first + 1_000].reshape(-1, SIDE, SIDE) for first in range(0, len(codes), 1_000)]
        return np.concatenate([self.decoder(self.codebook(part)) for part in parts])[..., 0]


# %% Model: the prior

# A transformer over the tokens [class], code_1 ... code_48, which predicts code_1 ... code_49: each position attends to
# itself and to what came before it (lesson 15 explains it). A token's vector is learned, plus a linear map of what the
# codebook holds for the code, so that codes that look alike are alike from the first step on.


class Block(layers.Layer):
    """Attention to this and earlier positions, then a two-layer network at each position; both add to their input."""

    def __init__(self, settings: Config, **options):
        super().__init__(**options)
        self.width, self.head_shape = settings.width, (settings.heads, settings.head_width)
        self.before_attention, self.before_network = (layers.LayerNormalization(epsilon=1e-5) for _ in range(2))
        self.project = layers.Dense(3 * self.width)  # queries, keys and values in one product
        self.merge = layers.Dense(self.width)
        self.hidden = layers.Dense(4 * self.width, activation="relu")
        self.out = layers.Dense(self.width)

    def split(self, x):
        """(batch, n, width) -> queries, keys and values, each (batch, heads, n, width / heads)."""
        parts = ops.reshape(self.project(self.before_attention(x)), (-1, x.shape[1], 3, *self.head_shape))
        return ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), 3)

    def attend(self, x, queries, keys, values, visible):
        """The block's output (batch, n, width) at n queries; visible (n, keys) or (keys,): what may be attended to."""
        scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) / self.head_shape[1] ** 0.5
        mean = ops.matmul(ops.softmax(ops.where(visible, scores, -1e9)), values)
        x = x + self.merge(ops.reshape(ops.transpose(mean, (0, 2, 1, 3)), (-1, x.shape[1], self.width)))
        return x + self.out(self.hidden(self.before_network(x)))

    def call(self, x):
        places = ops.arange(x.shape[1])
        return self.attend(x, *self.split(x), places[:, None] >= places)

    def step(self, x, cache, position):
        """The same for one position x (batch, 1, width); its key and value are added to those in the cache."""
        places = ops.arange(PLACES)
        query, key, value = self.split(x)
        cache = ops.where((places == position)[:, None], ops.stack([key, value]), cache)
        return self.attend(x, query, cache[0], cache[1], places <= position), cache


DRAW = [tf.TensorSpec(*spec) for spec in (((None,), "int32"), ((), "float32"), ((), "int32"))]  # labels, T, seed


class Prior(keras.Model):
    """p(codes | class). Tokens are the codes 0 ... K - 1, and K + c for class c."""

    def __init__(self, settings: Config, vectors: np.ndarray, **options):
        """vectors: of the frozen codebook, (K, dim)."""
        super().__init__(**options)
        self.codes, self.head_shape = settings.codes, (settings.heads, settings.head_width)
        table = np.concatenate([vectors, np.zeros((CLASSES, settings.code_dim), "float32")])
        options = {"trainable": False, "initializer": lambda shape, dtype=None: ops.convert_to_tensor(table)}
        self.table = self.add_weight(shape=table.shape, name="codebook", **options)
        self.from_vectors = layers.Dense(settings.width, use_bias=False)
        self.tokens = layers.Embedding(len(table), settings.width)
        self.places = layers.Embedding(PLACES, settings.width)
        self.stack = [Block(settings) for _ in range(settings.blocks)]
        self.normalise, self.logits = layers.LayerNormalization(epsilon=1e-5), layers.Dense(settings.codes)
        self(np.zeros((1, PLACES), "int32"))  # builds the layers

    def embed(self, tokens, places):
        """Tokens (batch, n) at places (n,) -> (batch, n, width)."""
        return self.tokens(tokens) + self.from_vectors(ops.take(self.table, tokens, axis=0)) + self.places(places)

    def call(self, tokens):
        """Tokens (batch, n) -> logits (batch, n, K) of the code that follows each."""
        x = self.embed(tokens, ops.arange(tokens.shape[1]))
        for block in self.stack:
            x = block(x)
        return self.logits(self.normalise(x))

    def empty_cache(self, batch: int) -> tuple:
        """Zeros (keys and values, batch, heads, places, width / heads) for each block."""
        heads, size = self.head_shape
        return tuple(ops.zeros((2, batch, heads, PLACES, size)) for _ in self.stack)

    def step(self, tokens, position, caches: tuple):
        """Tokens (batch,) at one position -> logits (batch, K) of the next code, and the caches."""
        x, after = self.embed(tokens[:, None], position[None]), []
        for block, cache in zip(self.stack, caches, strict=True):
            x, cache = block.step(x, cache, position)
            after.append(cache)
        return self.logits(self.normalise(x))[:, 0], tuple(after)

    @tf.function(input_signature=DRAW)
    def draw(self, labels, temperature, seed):
        """Codes int32 (batch, 49) of the classes `labels` (batch,), one after the other."""
        batch, tokens = ops.shape(labels)[0], self.codes + labels
        codes, caches = ops.zeros((batch, PLACES), "int32"), self.empty_cache(batch)
        for position in tf.range(PLACES):
            logits, caches = self.step(tokens, position, caches)
            uniform = tf.random.stateless_uniform(ops.shape(logits), tf.stack([seed, position]), minval=1e-20)
            noise = -ops.log(-ops.log(uniform))  # Gumbel: the largest sum is a draw from the softmax
            tokens = ops.cast(ops.argmax(logits / temperature + noise, axis=-1), "int32")
            codes = ops.where(ops.arange(PLACES) == position, tokens[:, None], codes)
        return codes

    def generate(self, labels: np.ndarray, temperature: float, seed: int) -> np.ndarray:
        """Codes int32 (n, 49) of the classes `labels` (n,); the same for the same seed."""
        starts = training.parts(len(labels), "garments", 200)  # a cache that fits into the processor's own
        parts = [(labels[part].astype("int32"), np.int32(seed + part.start)) for part in starts]
        return np.concatenate([self.draw(ops.convert_to_tensor(a), np.float32(temperature), s) for a, s in parts])


def inputs_of(codes: np.ndarray, labels: np.ndarray, count: int) -> np.ndarray:
    """What the prior reads, int32 (n, 49): the class, as token `count` + class, then all codes but the last."""
    return np.concatenate([count + labels[:, None], codes[:, :-1]], axis=1).astype("int32")


# %% Train

EPOCH = 15_000  # garments; where there are fewer, an epoch is several passes


def batches(arrays: tuple, settings: Config) -> training.Batches:
    """Batches of a tuple of arrays, in epochs of 15,000 examples."""
    return training.Batches(arrays, settings.batch_size, settings.seed, parts=len(arrays[0]) / EPOCH)


def train_autoencoder(run: lesson.Run, data: datasets.LabelledImages) -> tuple[VQVAE, lesson.History]:
    """The first training: pictures alone, no classes."""
    settings, pictures, test = run.config, scaled(data.train.images), scaled(data.test.images[:1_000])
    vqvae = VQVAE(settings, float(np.var(pictures)))
    vqvae(pictures[:1])
    examples = batches((pictures,), settings)
    steps = settings.epochs * examples.steps_per_epoch
    vqvae.compile(keras.optimizers.Adam(training.warm_up_cosine(settings.learning_rate, steps)))
    return vqvae, run.fit(vqvae, examples, name="autoencoder", validation=(test, test))


def train_prior(run: lesson.Run, vqvae: VQVAE, data: datasets.LabelledImages) -> tuple:
    """The second training: codes of the encoder as it is now. From here on it must not change any more.

    Returns the prior, its history, and the codes of the training garments (n, 49).
    """
    settings, arrays = run.config, []
    vqvae.trainable = False
    for part in (data.train, data.test.first(2_000)):
        codes = vqvae.encode(part.images)
        arrays.append((inputs_of(codes, part.labels, settings.codes), codes))
    vectors = vqvae.codebook.vectors.numpy()
    prior = Prior(settings, vectors)
    examples = batches(arrays[0], settings)
    steps = settings.prior_epochs * examples.steps_per_epoch
    rate = training.warm_up_cosine(settings.prior_learning_rate, steps, warm_up=steps // 20)
    prior.compile(keras.optimizers.Adam(rate), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fixed = np.tile(np.arange(CLASSES), 10), 1.0, settings.seed  # classes, temperature and seed of the frames
    sample = {
        "sample_every": 0.5,
        "sample": lambda: figures.tile(vqvae.decode(prior.generate(*fixed)), columns=CLASSES),
    }
    history = run.fit(prior, examples, epochs=settings.prior_epochs, name="prior", validation=arrays[1], **sample)
    if not np.array_equal(prior.table[: settings.codes], vectors):  # restored from a checkpoint of another encoder
        raise config.StudyError("the checkpoint of the prior belongs to another encoder: run without --resume")
    return prior, history, arrays[0][1]


# %% Look


def draw_temperatures(run: lesson.Run, vqvae: VQVAE, prior: Prior, data, judge: judges.Judge) -> figures.Figure:
    """Scores of fewer garments, at temperatures from 0.6 to 1.2."""
    labels = balanced(min(run.config.compared, len(data.train), len(data.test)), run.config.seed)
    images = {value: vqvae.decode(prior.generate(labels, value, run.config.seed)) for value in (0.6, 0.8, 1.0, 1.2)}
    scores = {value: judges.scores(judge, each, data, labels) for value, each in images.items()}
    for name in ("fid", "precision", "recall", "label_accuracy"):
        values = {f"{name}_t{round(100 * value)}": getattr(each, name) for value, each in scores.items()}
        report(run, values, f"({len(labels):,} garments, {judge.name})")
    return code_figures.temperatures(scores, images, labels)


# %% Measure

# (low, high) of the default preset on real garments; where there are two, on drawn ones, too.
EXPECTED = {"psnr": [(22.5, 23.4), (24.7, 25.9)], "label_accuracy": [(0.76, 0.88), (0.86, 0.97)]}
EXPECTED |= {"psnr_over_jpeg": [(2.3, 3.3), (3, 4.2)], "codebook_perplexity": [(170, 256)] * 2}
EXPECTED |= {"precision": [(0.6, 0.92), (0.65, 0.9)], "psnr_over_jpeg_coded": [(3.5, 5.5)], "fid": [(1, 3), (2.5, 6)]}
EXPECTED |= {"fid_reconstructions": [(0.35, 0.9)], "recall": [(0.45, 0.86), (0.3, 0.6)], "classes_covered": [(10, 10)]}
EXPECTED |= {"test_nats_per_code": [(3, 3.7)], "judge_accuracy": [(0.86, 0.91)]}
RIVALS = {"JPEG": (1, 3, 5, 6, 7, 8, 10, 15, 20), "WebP": (0, 1, 2, 3, 5, 10)}  # the qualities that are tried


def perplexity_of(codes: np.ndarray, count: int) -> float:
    """exp(entropy) of how often each code is used: `count` if all are used equally, 1 if only one is."""
    share = np.bincount(codes.ravel(), minlength=count) / codes.size
    return float(np.exp(-np.sum(share[share > 0] * np.log(share[share > 0]))))


def independent_nats(train: np.ndarray, test: np.ndarray, count: int) -> float:
    """Nats per code of test codes (n, 49) if every place had its own frequencies, and no place knew another."""
    use = np.stack([np.bincount(column, minlength=count) for column in train.T]) + 1  # (49, count)
    return float(-np.mean(np.log(use / use.sum(axis=1, keepdims=True))[np.arange(PLACES), test]))


def report(run: lesson.Run, values: dict[str, float], unit: str) -> None:
    """Hand values of one unit to the run card, with their ranges."""
    for name, value in values.items():
        run.metric(name, value, unit, *EXPECTED.get(name, ()))


def measure_codes(run: lesson.Run, vqvae: VQVAE, prior: Prior, data, judge: judges.Judge, train_codes) -> tuple:
    """What the codes keep of all test garments, what they cost, and what JPEG and WebP keep for that.

    Returns codes (n, 49), pictures (n, 28, 28), bits and PSNR by kind of code, and nats per code of simpler models.
    """
    count, test, compared = run.config.codes, data.test, min(len(data.train), len(data.test))
    codes = vqvae.encode(test.images)
    pictures = vqvae.decode(codes)
    features = [judge.features(images[:compared]) for images in (data.train.images, pictures)]
    psnr = metrics.psnr(test.images / 255, pictures)
    report(run, {"psnr": psnr}, "dB")
    report(run, {"fid_reconstructions": judges.fid(*features)}, f"({compared:,} test garments, {judge.name})")
    use = {"codebook_perplexity": perplexity_of(codes, count), "codes_used": len(np.unique(codes))}
    report(run, use, f"of {count}")
    nats = prior.evaluate(inputs_of(codes, test.labels, count), codes, batch_size=500, verbose=0)
    independent = independent_nats(train_codes, codes, count)
    report(run, {"test_nats_per_code": nats, "independent_nats_per_code": independent}, "nats")
    bits = PLACES * np.log2(count), PLACES * nats / np.log(2) + np.log2(CLASSES)
    report(run, {"bits_per_garment": bits[0], "coded_bits_per_garment": bits[1]}, "bits")
    points = {"fixed length": (bits[0], psnr), "coded by the prior": (bits[1], psnr)}
    return codes, pictures, points, {"equally likely codes": np.log(count), "a table per place": independent}


def measure_samples(run: lesson.Run, vqvae: VQVAE, prior: Prior, data, judge: judges.Judge) -> tuple:
    """Generate garments and measure them: garments, their classes, the judge's scores."""
    settings = run.config
    labels, begin = balanced(settings.samples, settings.seed), perf_counter()
    images = vqvae.decode(prior.generate(labels, settings.temperature, settings.seed))
    seconds = perf_counter() - begin
    scores = judges.scores(judge, images, data, labels)
    scores.report(run, EXPECTED, "garments")
    report(run, {"judge_accuracy": judge.accuracy, "parameters": vqvae.count_params() + prior.count_params()}, "")
    report(run, {"seconds_per_1000_samples": 1_000 * seconds / settings.samples}, "s")
    run.keep_generated(images)
    return images, labels, scores


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, judge; the autoencoder, then the prior; codes and compression, samples and temperatures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        data = datasets.fashion_mnist(run)
        run.require(20, training_pictures=len(data.train), test_pictures=len(data.test))
        judge = judges.judge(run, data)
        vqvae, first = train_autoencoder(run, data)
        run.diagram(vqvae.encoder, "encoder")
        run.diagram(vqvae.decoder, "decoder")
        prior, second, train_codes = train_prior(run, vqvae, data)
        codes, pictures, points, marks = measure_codes(run, vqvae, prior, data, judge, train_codes)
        curves, sheets, rivals = lossy.compare(data.test.images, RIVALS, points)
        report(run, rivals, "dB")
        images, labels, scores = measure_samples(run, vqvae, prior, data, judge)
        sheet = code_figures.samples(images, labels, data.class_names, scores, settings.codes)
        run.figure("samples", sheet, headline=True)
        run.figure("compression", code_figures.compression(data.test.images, pictures, *points["fixed length"], sheets))
        run.figure("rates", code_figures.rates(points, curves))
        run.figure("codebook", code_figures.codebook(codes, data.test.images, settings.codes))
        run.figure("curves", code_figures.curves(first, second, marks))
        run.figure("progress", generated.progress(second.frames, second.frame_steps, height=28))
        run.gif("generation", code_figures.generation(images, labels))
        run.figure("temperatures", draw_temperatures(run, vqvae, prior, data, judge))
        run.figure("nearest", generated.nearest(images, data.train.images, scores, "garment"))


if __name__ == "__main__":
    main()

# What to try next
# 1. --codes 32: fewer bits per code. How much PSNR do the three missing bits cost, and what does FID say?
# 2. --least-use 0: no vector of the codebook is ever replaced. How many codes are used, and what is the perplexity?
# 3. --resume --temperature 0.6: the trained prior goes straight to sampling. What has changed in the ten rows?
