"""15 · A transformer that writes film reviews, one word after the other.

A language model gives every text a probability. By the chain rule it need only ever guess the next token (a word or a
punctuation mark) from those before it:

    p(x1, ..., xn) = p(x1) p(x2 | x1) ... p(xn | x1, ..., x(n-1))        loss = - 1/n log p(x1, ..., xn)

The loss is in nats per token; exp(loss), the perplexity, says among how many equally likely tokens the model still
hesitates. A unigram model knows only how frequent each token is, a bigram model also the token just before. What the
transformer adds is attention: each position asks (query) all positions up to itself (keys) and takes a weighted mean
of what they offer (values):

    attention(Q, K, V) = softmax(Q K' / sqrt(d) + mask) V        mask: 0 for the past and the present, -infinity beyond

Without the mask position t could look at token t + 1, the one it is to guess: the loss would be wonderful, and the
texts rubbish. With it, ONE pass over n tokens trains n predictions at once.

To write, draw a token, append it, go on. A temperature below 1 makes the choice safer, one above 1 bolder; top-k and
top-p cut the tail of unlikely words. What a position offers as key and value never changes afterwards, so both are
kept: a new token costs one position of work instead of a whole window.

Run:    python src/15_IMDB_text_transformer.py                     about 4 minutes on two CPU cores
        python src/15_IMDB_text_transformer.py --generate-only --prompt "The worst film" --temperature 0.9
Makes:  output/15_IMDB_text_transformer.png and output/15_IMDB_text_transformer/
Source: Vaswani et al., Attention Is All You Need, arXiv:1706.03762; Maas et al., Learning Word Vectors for Sentiment
        Analysis, 2011 (the reviews); Holtzman et al., The Curious Case of Neural Text Degeneration, arXiv:1904.09751
"""

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Annotated, Literal

from lessonkit import config, datasets, figures, metrics, text, training
from lessonkit import run as lesson
from lessonkit.datasets.embedded import reviews

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small model that reads its text one and a half times; `--preset full` has a larger one read it 200 times."""

    epochs: config.Count = 6  # the held-out loss is measured after each
    epochs_per_pass: config.Count = 4  # an epoch is a quarter of a pass over the training reviews
    batch_size: config.Count = 16  # reviews in a step; where time is short, many small steps beat few large ones
    learning_rate: config.Rate = 3e-3  # high, because the steps are few all the same
    optimizer: Literal["adam", "rmsprop"] = "adam"  # rmsprop: the tutorials' choice
    decay: bool = True  # let the rate fall to nought along a cosine
    vocabulary: Annotated[int, config.Range(100, 10**6)] = 4_000  # most frequent tokens; the others are one "unknown"
    length: Annotated[int, config.Range(8, 10**4)] = 100  # the window: positions that the model can see
    width: config.Count = 128  # numbers per position
    heads: config.Count = 2  # attentions side by side, each on its share of the width
    feed_forward: config.Count = 512  # hidden units of each block's two-layer network
    blocks: config.Count = 1
    dropout: config.Fraction = 0.0  # text that is seen so seldom is hardly learnt by heart
    held_out: config.Count = 1_000  # test reviews on which everything is measured
    prompt: str = "This is"  # how the texts begin
    temperature: Annotated[float, config.Range(0, 100)] = 0.7  # below 1: safer, above: bolder, 0: always the likeliest
    top_k: Annotated[int, config.Range(0, 10**9)] = 0  # draw only from the k likeliest tokens; 0: from all
    top_p: Annotated[float, config.Range(1e-6, 1)] = 1.0  # draw only from the likeliest tokens that sum to p
    tokens: config.Count = 100  # longest continuation; the window ends a text, too
    generate_only: bool = False  # print texts from the model that the last run trained; write nothing
    device: config.Device = "cpu"  # strings and small matrices: a GPU would mostly wait
    sampler = property(lambda self: (self.temperature, self.top_k, self.top_p))  # as in SAMPLERS below


TUTORIALS = {"epochs": 200, "epochs_per_pass": 1, "batch_size": 256, "learning_rate": 1e-3, "optimizer": "rmsprop"}
PRESETS = {
    "full": TUTORIALS | {"decay": False, "vocabulary": 15_000, "width": 256, "feed_forward": 2_048, "device": "auto"},
    "smoke": {"steps": 4, "batch_size": 8, "limit": 200, "held_out": 50, "data": "embedded"},
}
PAD, UNKNOWN = 0, 1  # the first two ids of TextVectorization
START, END = "[start]", "[end]"  # tokens before and after every review
SAMPLERS = {"greedy": (0.0, 0, 1.0)}  # temperature, top-k (0: all), top-p
SAMPLERS |= {f"temperature {temperature:g}": (temperature, 0, 1.0) for temperature in (0.2, 0.5, 0.7, 1.0, 1.5)}
SAMPLERS |= {"top-k 20": (1.0, 20, 1.0), "top-p 0.9": (1.0, 0, 0.9)}

# %% Data

CLEANING = (  # (pattern, replacement), one after the other
    (r"<br */?>", " "),  # HTML line breaks
    (r"\s-+\s|--+", " – "),  # dashes become a sign of their own, as hyphens join words
    (r"[^\pL\d'.,!?;:()\"/–-]", " "),  # what is neither letter nor digit nor one of these marks
    (r"(^|[^\pL])'+|'+($|[^\pL])", r"\1 \2"),  # quotation marks; an apostrophe has letters on both sides
    (r"[.,!?;:()\"/–-]", r" \0 "),  # every mark is a token
)


def standardise(texts: tf.Tensor) -> tf.Tensor:
    """Raw reviews (n,) -> lower-case tokens between spaces, with a first and a last token to mark begin and end."""
    texts = tf.strings.lower(texts, encoding="utf-8")
    for pattern, replacement in CLEANING:
        texts = tf.strings.regex_replace(texts, pattern, replacement)
    return tf.strings.join([START, texts, END], separator=" ")


def tokenise(texts, settings: Config) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Training and held-out reviews as int32 (n, length + 1), cut or filled up with PAD; the training's vocabulary."""
    with tf.device("CPU:0"):  # strings live on the CPU
        options = {"standardize": standardise, "output_sequence_length": settings.length + 1}
        vectorise = keras.layers.TextVectorization(settings.vocabulary, **options)
        parts = texts.train, texts.test[: settings.held_out]
        parts = [tf.data.Dataset.from_tensor_slices(part).batch(500) for part in parts]
        vectorise.adapt(parts[0])
        encoded = [part.map(vectorise, tf.data.AUTOTUNE).as_numpy_iterator() for part in parts]
        train, test = (np.concatenate(list(part)).astype("int32") for part in encoded)
    used = np.count_nonzero(train.any(axis=0))  # where all reviews are short, no column needs to be PAD alone
    return train[:, :used], test[:, :used], [str(word) for word in vectorise.get_vocabulary()]


def inputs_and_targets(ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """All tokens but the last, and for each of them the token that follows: n predictions in one pass."""
    return ids[:, :-1], ids[:, 1:]


# %% Model


def causal_mask(length: int):
    """(length, length): may position (row) look at position (column)? Yes, up to itself."""
    return ops.arange(length)[:, None] >= ops.arange(length)


@keras.saving.register_keras_serializable("lesson_15")
class Embeddings(keras.layers.Layer):
    """A vector for what the token is, plus a vector for where it stands: attention alone would see a bag of words."""

    def __init__(self, vocabulary: list[str], length: int, width: int, **options):
        super().__init__(**options)
        self.settings = {"vocabulary": vocabulary, "length": length, "width": width}
        self.words = keras.layers.Embedding(len(vocabulary), width)
        self.positions = keras.layers.Embedding(length, width)

    def build(self, shape):
        self.words.build(shape)
        self.positions.build(shape)

    def call(self, tokens, first=0):
        """Tokens (batch, n), the first of them at position `first` -> (batch, n, width)."""
        if (tokens.shape[1] or 0) > self.settings["length"]:
            raise ValueError(f"{tokens.shape[1]} tokens do not fit into a window of {self.settings['length']}")
        return self.words(tokens) + self.positions(first + ops.arange(ops.shape(tokens)[1]))

    def get_config(self):
        return super().get_config() | self.settings


@keras.saving.register_keras_serializable("lesson_15")
class Block(keras.layers.Layer):
    """A decoder block: positions look back (attention), then each thinks for itself (a small network).

    Both add to what was there. The attention is written out, because Keras' own keeps no cache.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float, **options):
        super().__init__(**options)
        self.settings = {"width": width, "heads": heads, "feed_forward": feed_forward, "dropout": dropout}
        self.head_shape = (heads, width // heads)
        self.before_attention = keras.layers.LayerNormalization(epsilon=1e-5)
        self.project = keras.layers.Dense(3 * width)  # queries, keys and values in one product
        self.merge = keras.layers.Dense(width)
        self.before_network = keras.layers.LayerNormalization(epsilon=1e-5)
        self.hidden = keras.layers.Dense(feed_forward, activation="relu")
        self.out = keras.layers.Dense(width)
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, shape):
        for layer in (self.before_attention, self.project, self.merge, self.before_network, self.hidden):
            layer.build(shape)
        self.out.build((*shape[:-1], self.settings["feed_forward"]))

    def split(self, x):
        """(batch, n, width) -> queries, keys and values, each (batch, heads, n, width / heads)."""
        parts = ops.reshape(self.project(self.before_attention(x)), (-1, ops.shape(x)[1], 3, *self.head_shape))
        return ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), 3)

    def attend(self, queries, keys, values, visible):
        """What each query gathers (batch, n, width), and its weights (batch, heads, n, keys)."""
        scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) / self.head_shape[1] ** 0.5
        weights = ops.softmax(ops.where(visible, scores, -1e9))
        gathered = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))  # (batch, n, heads, width / heads)
        return self.merge(ops.reshape(gathered, (-1, ops.shape(gathered)[1], self.settings["width"]))), weights

    def think(self, x, training=None):
        """(batch, n, width) -> the same shape; no position sees another here."""
        return x + self.dropout(self.out(self.hidden(self.before_network(x))), training=training)

    def call(self, x, training=None):
        gathered, _ = self.attend(*self.split(x), causal_mask(ops.shape(x)[1]))
        return self.think(x + self.dropout(gathered, training=training), training)

    def step(self, x, cache, position):
        """The same for one position x (batch, 1, width), whose key and value join those of the past in the cache."""
        places = ops.arange(cache.shape[-2])
        query, key, value = self.split(x)
        cache = ops.where((places == position)[:, None], ops.stack([key, value]), cache)
        gathered, _ = self.attend(query, cache[0], cache[1], places <= position)
        return self.think(x + gathered), cache

    def get_config(self):
        return super().get_config() | self.settings


def build_model(settings: Config, vocabulary: list[str], train_ids: np.ndarray) -> keras.Model:
    """Tokens (batch, n) -> logits (batch, n, vocabulary) of the token that follows each.

    The last bias starts at the log frequencies: the model begins as a unigram model instead of learning to be one.
    """
    if settings.width % settings.heads:
        raise config.StudyError(f"--width {settings.width} cannot be shared among --heads {settings.heads}: change one")
    tokens = keras.Input((None,), dtype="int32", name="tokens")
    x = Embeddings(vocabulary, train_ids.shape[1] - 1, settings.width, name="embeddings")(tokens)  # (batch, n, width)
    sizes = (settings.width, settings.heads, settings.feed_forward, settings.dropout)
    for number in range(settings.blocks):
        x = Block(*sizes, name=f"block_{number + 1}")(x)
    x = keras.layers.LayerNormalization(epsilon=1e-5, name="normalise")(x)
    logits = keras.layers.Dense(len(vocabulary), name="logits")  # (batch, n, vocabulary)
    model = keras.Model(tokens, logits(x), name="language_model")
    counts = 1 + np.bincount(train_ids[:, 1:].ravel(), minlength=len(vocabulary)) * (np.arange(len(vocabulary)) != PAD)
    logits.bias.assign(np.log(counts / counts.sum()))
    return model


def masked_loss(targets, logits):
    """Mean nats per token; PAD stands for nothing that was written, so it does not count."""
    targets = ops.cast(targets, "int32")
    nats = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)  # (batch, n)
    real = ops.cast(targets != PAD, nats.dtype)
    return ops.sum(nats * real) / ops.sum(real)


# %% Train


def train(
    run: lesson.Run, model: keras.Model, train_ids: np.ndarray, held_out: np.ndarray
) -> tuple[lesson.History, np.ndarray]:
    """Train, with the held-out loss after every epoch; also returns how many tokens had been seen by then."""
    settings = run.config
    parts = {"transform": inputs_and_targets, "parts": settings.epochs_per_pass}
    batches = training.Batches(train_ids, settings.batch_size, settings.seed, **parts)
    steps = min(settings.epochs * batches.steps_per_epoch, settings.steps or 10**9)
    rate = settings.learning_rate
    if settings.decay:
        rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=rate, warmup_steps=steps // 20)
    optimizer = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[settings.optimizer]
    model.compile(optimizer(rate), masked_loss)
    validation = tf.data.Dataset.from_tensor_slices(held_out).batch(50).map(inputs_and_targets)
    history = run.fit(model, batches, validation=validation)
    tokens_per_step = batches.batch_size * np.count_nonzero(train_ids[:, 1:]) / len(train_ids)
    return history, tokens_per_step * np.minimum(np.multiply(history.epochs, batches.steps_per_epoch), steps)


# %% Write: from logits to tokens


def greedy(logits):
    """(..., vocabulary) -> the likeliest token (...): what temperature tends to at 0."""
    return ops.argmax(logits, axis=-1)


def with_temperature(logits, temperature):
    """Logits (..., vocabulary) of p(token)^(1/T), up to a constant; T (...)."""
    return logits / ops.maximum(temperature, 1e-6)[..., None]


def keep_top_k(logits, k):
    """-infinity for all but the k (...) likeliest tokens and those that tie with the last of them; k of 0 keeps all."""
    place = ops.maximum(ops.where(k > 0, logits.shape[-1] - k, 0), 0)
    kth = ops.take_along_axis(ops.sort(logits, axis=-1), place[..., None], axis=-1)
    return ops.where(logits < kth, -np.inf, logits)


def keep_top_p(logits, p):
    """-infinity for all but the smallest set of likeliest tokens whose probabilities reach p (...)."""
    ordered = ops.flip(ops.sort(logits, axis=-1), axis=-1)  # the likeliest first
    probabilities = ops.softmax(ordered)
    before = ops.cumsum(probabilities, axis=-1) - probabilities  # the mass of all likelier ones
    least = ops.min(ops.where(before < p[..., None], ordered, np.inf), axis=-1, keepdims=True)
    return ops.where(logits < least, -np.inf, logits)


def filtered(logits, temperature, k=None, p=None):
    """Logits of the distribution to draw from: temperature first, then the cuts, if there are any."""
    logits = with_temperature(logits, temperature)
    logits = logits if k is None else keep_top_k(logits, k)
    return logits if p is None else keep_top_p(logits, p)


class Writer:
    """Continues texts, one position at a time, with the keys and values of the past kept in a cache.

    `endless` bars [end], so that every text fills its window.
    """

    def __init__(self, model: keras.Model, endless: bool = False):
        self.embeddings, *self.blocks, self.normalise, self.logits = model.layers[1:]
        self.vocabulary, self.length = (self.embeddings.settings[name] for name in ("vocabulary", "length"))
        self.start, self.end = self.vocabulary.index(START), self.vocabulary.index(END)
        self.barred = np.zeros(len(self.vocabulary), "float32")  # added to the logits: what is never written
        self.barred[[PAD, UNKNOWN, self.start] + ([self.end] if endless else [])] = -np.inf

    def empty_cache(self, batch: int) -> tuple:
        """Zeros (keys and values, batch, heads, window, width / heads) for each block."""
        shapes = ((2, batch, block.head_shape[0], self.length, block.head_shape[1]) for block in self.blocks)
        return tuple(ops.zeros(shape) for shape in shapes)

    def step(self, tokens, position, caches: tuple):
        """Tokens (batch,) at one position -> logits (batch, vocabulary) of the next, and the caches."""
        x, after = self.embeddings(tokens[:, None], position), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block.step(x, cache, position)
            after.append(cache)
        return self.logits(self.normalise(x))[:, 0], tuple(after)

    @tf.function
    def write(self, prompts, tokens: int, seed, temperature, k=None, p=None):
        """Prompts int32 (batch, n) from [start] on -> int32 (batch, n + tokens), PAD after [end].

        Every text may have a sampler of its own: temperature, k and p are (batch,). n + tokens may be one more than
        the window, as the last token is drawn, but never read. The same seed gives the same texts.
        """
        batch, given = prompts.shape
        texts = ops.pad(prompts, ((0, 0), (0, tokens)))
        caches, running = self.empty_cache(batch), tf.ones(batch, "bool")
        for position in tf.range(given + tokens - 1):
            logits, caches = self.step(tf.gather(texts, position, axis=1), position, caches)
            if position + 1 >= given:  # before that, the prompt itself says what comes next
                choice = filtered(logits + self.barred, temperature, k, p)
                uniform = tf.random.stateless_uniform(choice.shape, tf.stack([seed, position]), minval=1e-20)
                drawn = ops.argmax(choice - tf.math.log(-tf.math.log(uniform)), axis=-1)  # Gumbel: a draw from softmax
                token = tf.where(temperature > 0, drawn, greedy(choice))
                token = tf.where(running, token, PAD)
                texts = tf.where(tf.range(given + tokens) == position + 1, token[:, None], texts)
                running &= token != self.end
                if not tf.reduce_any(running):
                    break
        return texts


def write_texts(writer: Writer, prompt: np.ndarray, samplers: Sequence[tuple], each: int, tokens: int, seed: int):
    """So many texts by each sampler (temperature, k, p), all in one call: ids int32 (samplers, each, n)."""
    temperature, k, p = (np.repeat(values, each) for values in zip(*samplers, strict=True))
    cuts = {"k": k.astype("int32")} if k.any() else {}  # an idle cut would still sort the vocabulary at every token
    cuts |= {"p": p.astype("float32")} if p.min() < 1 else {}
    prompts = np.repeat(prompt, len(samplers) * each, axis=0)
    tokens = min(tokens, writer.length + 1 - prompt.shape[1])
    texts = writer.write(prompts, tokens, np.int32(seed), temperature.astype("float32"), **cuts)
    return texts.numpy().reshape(len(samplers), each, -1)


def prompt_tokens(settings: Config) -> list[str]:
    """[start] and the tokens of the prompt; StudyError if it has none."""
    return text.checked(standardise(tf.constant([settings.prompt]))[0].numpy().decode().split()[:-1])


def write_again(run: lesson.Run) -> None:
    """Print three texts of the model that the last run trained; what that run published stays as it is."""
    run.publishes = False
    writer = Writer(run.load_model("model"))
    prompt = text.prompt_ids(prompt_tokens(run.config), writer.vocabulary, writer.length, run.say)
    for ids in write_texts(writer, prompt, [run.config.sampler], 3, run.config.tokens, run.config.seed)[0]:
        run.say("\n" + textwrap.fill(text.readable(ids, writer.vocabulary), 100))


# %% Look


def draw_samples(history, seen, nats: float, marks: dict[str, float], texts: dict[str, str]) -> figures.Figure:
    """The loss with the marks to beat, above a text for each temperature."""
    title = f"Held-out perplexity {np.exp(nats):.1f}, and what the model writes at each temperature"
    figure, (curve, table) = figures.subplots(2, width=8.2, height=9.6, title=title, height_ratios=(1, 2.2))
    curve.plot(seen / 1e6, history["loss"], marker=".", label="training (mean since the last point)")
    curve.plot(seen / 1e6, history["val_loss"], marker=".", linestyle="--", label="held-out reviews")
    curve.plot([], [], "k:", label="what to compare with, and its perplexity")
    figures.levels(curve, {f"{np.exp(value):.1f} {name}": value for name, value in marks.items()})
    curve.set(xlabel="tokens seen (millions)", ylabel="nats per token")
    curve.legend(loc="upper right", bbox_to_anchor=(1, 0.93))
    figures.text_table(table, texts, columns=84, lines=5)
    return figure


def draw_attention(model: keras.Model, held_out: np.ndarray, vocabulary: Sequence[str]) -> figures.Figure:
    """Where the head of the last block that looks back most does so, in the first held-out sentence of 16 tokens."""
    fitting = (held_out[:, 15] == vocabulary.index(".")) & (held_out[:, :16] > UNKNOWN).all(axis=1)
    ids, block = held_out[np.argmax(fitting), :16], model.layers[-3]
    parts = block.split(keras.Model(model.input, block.input)(ids[None]))  # queries, keys, values
    weights = ops.convert_to_numpy(block.attend(*parts, causal_mask(len(ids)))[1][0])
    head = int(np.argmin(np.trace(weights, axis1=1, axis2=2)))
    weights[weights == 0] = np.nan  # nothing at all: what the mask hides
    title = f"Where head {head + 1} of {len(weights)} looks: back, never ahead"
    words = [vocabulary[token] for token in ids]
    return figures.heat_map(weights[head], title, "looks at", "reading up to", "weight (a row sums to 1)", words)


def draw_positions(model: keras.Model) -> figures.Figure:
    """Cosine similarity of the learned vectors of all pairs of positions."""
    vectors = keras.utils.normalize(ops.convert_to_numpy(model.layers[1].positions.embeddings))
    title, label = "Position embeddings: neighbours become alike", "position in the text"
    return figures.heat_map(vectors @ vectors.T, title, label, label, "cosine similarity", low=-1)


# %% Measure


def token_nats(model: keras.Model, ids: np.ndarray) -> np.ndarray:
    """-log p (k,) of every token but the first of each text; ids (n, length)."""
    parts = []
    for batch in np.array_split(ids, max(len(ids) // 50, 1)):
        nats = ops.sparse_categorical_crossentropy(batch[:, 1:], model(batch[:, :-1]), from_logits=True)
        parts.append(ops.convert_to_numpy(nats)[batch[:, 1:] != PAD])
    return np.concatenate(parts)


def measure(
    run: lesson.Run, model: keras.Model, train_ids: np.ndarray, held_out: np.ndarray
) -> tuple[float, dict[str, float]]:
    """Nats per held-out token, and those of models that see no, one or two tokens of the past."""
    nats = token_nats(model, held_out).mean()
    run.metric("test_nats_per_token", nats, "nats", expected=(4.2, 4.35), embedded=(1.35, 1.4))
    run.metric("test_perplexity", np.exp(nats), "", expected=(67, 77), embedded=(3.86, 4.05))
    marks, expected = {}, {"unigram": (304, 310), "bigram": (99, 103), "trigram": (79, 83)}
    for order, name in enumerate(expected, start=1):
        marks[name] = metrics.n_gram_nats(train_ids, held_out, order, model.output.shape[-1]).mean()
        run.metric(f"{name}_perplexity", np.exp(marks[name]), "", expected=expected[name])
    ratio = np.exp(nats - marks["bigram"])
    run.metric("perplexity_over_bigram", ratio, "", expected=(0.65, 0.78), embedded=(0.33, 0.36))
    if run.source == "embedded":
        marks["true entropy"] = reviews.entropy_per_token()
        run.metric("entropy_per_token", marks["true entropy"], "nats", embedded=(1.349, 1.35))
        run.metric("excess_over_entropy", nats / marks["true entropy"] - 1, "fraction", embedded=(0.005, 0.05))
    run.metric("unknown_share", np.mean(held_out[held_out != PAD] == UNKNOWN), "fraction", expected=(0.09, 0.1))
    run.metric("parameters", model.count_params(), "", expected=(1_239_328, 1_239_328))
    return nats, marks


def describe(model: keras.Model, texts: np.ndarray, given: int, sampler=(1.0, 0, 1.0), barred=0.0) -> list[float]:
    """Of texts (n, length) after their first tokens: entropy of the draw (nats), share of 3-grams that stood in the
    same text before (%), and negative log-likelihood under the model, whatever the sampler (nats per token)."""
    targets, logits = texts[:, given:], model(texts[:, :-1])[:, given - 1 :]
    sampler = [ops.broadcast_to(value, targets.shape) for value in sampler]
    log_p = ops.log_softmax(filtered(logits + barred, *sampler))
    entropy = -ops.convert_to_numpy(ops.sum(ops.exp(log_p) * ops.maximum(log_p, -1e3), axis=-1))
    nats = ops.convert_to_numpy(ops.sparse_categorical_crossentropy(targets, logits, from_logits=True))
    repeated = np.mean([text.repeated(ids[ids != PAD]) for ids in texts])
    return [entropy[targets != PAD].mean(), 100 * repeated, nats[targets != PAD].mean()]


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures, texts, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        prompt = prompt_tokens(run.config)  # a prompt that cannot work should not cost a training
        if run.config.generate_only:
            return write_again(run)
        texts = datasets.imdb(run)
        with run.part("tokens"):
            train_ids, held_out, vocabulary = tokenise(texts, run.config)
        prompt = text.prompt_ids(prompt, vocabulary, train_ids.shape[1] - 1, run.say)
        model = build_model(run.config, vocabulary, train_ids)
        run.diagram(model, "model")
        history, seen = train(run, model, train_ids, held_out)
        run.save_model(model, "model")
        with run.part("measures"):
            nats, marks = measure(run, model, train_ids, held_out)
        run.metric("tokens_seen", seen[-1], "tokens", expected=(3.6e6, 3.7e6), embedded=(1.25e6, 1.35e6))
        with run.part("writing"):
            fast = Writer(model, endless=True)  # one text that fills the window
            start, draw = np.array([[fast.start]], "int32"), [SAMPLERS["temperature 1"]]
            seconds = text.seconds_per_call(lambda seed: write_texts(fast, start, draw, 1, fast.length, seed))
            run.metric("tokens_per_second", fast.length / seconds, "tokens/s")
            writer, samplers = Writer(model), SAMPLERS | {"as the flags say": run.config.sampler}
            written = write_texts(writer, prompt, samplers.values(), 12, run.config.tokens, run.config.seed)
            written = dict(zip(samplers, written, strict=True))
            given, each = prompt.shape[1], SAMPLERS.items()
            rows = {name: describe(model, written[name], given, sampler, writer.barred) for name, sampler in each}
            author = "people" if run.source == "real" else "the grammar"
            rows[author] = describe(model, held_out[:200], given)
        samples = {name: [text.readable(ids, vocabulary) for ids in group] for name, group in written.items()}
        run.text("samples.txt", text.sections(samples, most=4))
        by_temperature = {name: samples[name][0] for name in SAMPLERS if not name.startswith("top")}
        run.figure("samples", draw_samples(history, seen, nats, marks, by_temperature), headline=True)
        labels = ("entropy of the draw (nats)", "repeated 3-grams (%)", "−log-likelihood (nats per token)")
        title = f"The likeliest texts are not the most natural (dashed: {author})"
        run.figure("samplers", figures.bar_panels(rows, labels, title))
        run.figure("attention", draw_attention(model, held_out, vocabulary))
        run.figure("positions", draw_positions(model))


if __name__ == "__main__":
    main()

# What to try next
# 1. --generate-only --temperature 1.5 --top-p 0.9: a bold draw with its tail cut off. Better than either alone?
# 2. --blocks 2 --epochs 12: twice the depth, twice the reading. How far does the perplexity fall, and at what cost?
# 3. Let causal_mask return ones everywhere. The loss becomes wonderful. Then read what the model writes.
