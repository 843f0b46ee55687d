"""15 · A transformer that generates film reviews, token by token.

A language model gives every text a probability. By the chain rule it only has to predict the next token (a word or a
punctuation mark) from the tokens before it:

    p(x1, ..., xn) = p(x1) p(x2 | x1) ... p(xn | x1, ..., x(n-1))        loss = - 1/n log p(x1, ..., xn)

The loss is in nats per token. exp(loss) is the perplexity: a model that cannot choose between k equally likely tokens
has perplexity k. A unigram model uses only the frequencies of the tokens, a bigram model also the token just before. A
transformer uses all tokens before, through attention.

To generate a text, draw a token from the predicted probabilities, append it, and repeat. How to draw is a choice of its
own: a temperature below 1 moves probability to the likely tokens, one above 1 to the unlikely ones; top-k and top-p
(nucleus sampling) remove the unlikely tokens altogether.

Run:    python src/15_IMDB_text_transformer.py                     about three minutes on two CPU cores
        python src/15_IMDB_text_transformer.py --generate-only --prompt "The worst film" --temperature 0.9
Makes:  output/15_IMDB_text_transformer.png and output/15_IMDB_text_transformer/
Source: Vaswani et al., Attention Is All You Need, arXiv:1706.03762; Maas et al., Learning Word Vectors for Sentiment
        Analysis, 2011 (the reviews); Holtzman et al., The Curious Case of Neural Text Degeneration, arXiv:1904.09751
"""

import dataclasses
from collections.abc import Sequence
from typing import Annotated, Literal

from lessonkit import config, datasets, distribution, figures, metrics, text, training
from lessonkit import run as lesson
from lessonkit.datasets.embedded import reviews
from lessonkit.figures import texts as text_figures
from lessonkit.text import END, PAD, START, UNKNOWN

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small model, trained for one and a half passes over the reviews; `--preset full`: a larger one for 200."""

    epochs: config.Count = 6  # the loss on test reviews is measured after each
    epochs_per_pass: config.Count = 4  # an epoch is a quarter of a pass over the training reviews
    batch_size: config.Count = 16  # reviews per step; in a short training, many small steps beat few large ones
    learning_rate: config.Rate = 3e-3  # the peak; high, because there are only few steps
    optimizer: Literal["adam", "rmsprop"] = "adam"  # rmsprop: the tutorials' choice
    decay: bool = True  # warm the rate up over the first twentieth of the steps, then decay it to zero along a cosine
    vocabulary: Annotated[int, config.Range(100, 10**6)] = 4_000  # most frequent tokens; the others are one "unknown"
    length: Annotated[int, config.Range(8, 10**4)] = 100  # the context window, in tokens
    width: config.Count = 128  # numbers per position
    heads: config.Count = 2  # attention heads, each with an equal part of the width
    feed_forward: config.Count = 512  # hidden units of each block's two-layer network
    blocks: config.Count = 1
    dropout: config.Fraction = 0.0  # a text that is read one and a half times is hardly memorised
    held_out: config.Count = 1_000  # test reviews, on which everything is measured
    prompt: str = "This is"  # the beginning of every generated text
    temperature: Annotated[float, config.Range(0, 100)] = (
        0.7  # below 1: more likely tokens, above: less likely, 0: greedy
    )
    top_k: Annotated[int, config.Range(0, 10**9)] = 0  # draw only from the k most likely tokens; 0: from all
    top_p: Annotated[float, config.Range(1e-6, 1)] = 1.0  # draw only from the most likely tokens that sum to p
    tokens: config.Count = 100  # longest continuation; a text also ends at the end of the window
    generate_only: bool = False  # print texts of the model that the last run trained; write nothing
    device: config.Device = "cpu"  # strings and small matrices: no work for a GPU
    sampler = property(lambda self: (self.temperature, self.top_k, self.top_p))  # as in SAMPLERS below


TUTORIALS = {"epochs": 200, "epochs_per_pass": 1, "batch_size": 256, "learning_rate": 1e-3, "optimizer": "rmsprop"}
PRESETS = {
    "full": TUTORIALS | {"decay": False, "vocabulary": 15_000, "width": 256, "feed_forward": 2_048, "device": "auto"},
    "smoke": {"steps": 4, "batch_size": 8, "limit": 200, "held_out": 50, "data": "embedded"},
}
SAMPLERS = {"greedy": (0.0, 0, 1.0)}  # temperature, top-k (0: all), top-p
SAMPLERS |= {f"temperature {temperature:g}": (temperature, 0, 1.0) for temperature in (0.2, 0.5, 0.7, 1.0, 1.5)}
SAMPLERS |= {"top-k 20": (1.0, 20, 1.0), "top-p 0.9": (1.0, 0, 0.9)}

# %% Data

# `text.tokenise` removes HTML and makes tokens of words and of punctuation marks: without full stops a model could not
# end a sentence. It puts [start] before and [end] after every review, keeps the most frequent tokens of the TRAINING
# reviews as the vocabulary, and fills short reviews up with padding.


def inputs_and_targets(ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """All tokens but the last, and for each the token that follows it: n predictions in one forward pass."""
    return ids[:, :-1], ids[:, 1:]


# %% Model

# Attention: each position compares its query with the keys of all positions up to itself, and takes the mean of their
# values with the weights that result,
#
#     attention(Q, K, V) = softmax(Q K' / sqrt(d) + mask) V        mask: 0 up to the position itself, then -infinity
#
# Without the mask position t could read token t + 1, the very token that it has to predict: the loss would be excellent
# and the generated texts useless. With it, one forward pass over n tokens trains n predictions.


def causal_mask(length: int):
    """(length, length): may position (row) attend to position (column)? Yes, up to itself."""
    return ops.arange(length)[:, None] >= ops.arange(length)


@keras.saving.register_keras_serializable("lesson_15")
class Embeddings(keras.layers.Layer):
    """A vector for the token plus a vector for its position: attention alone ignores the order of the tokens."""

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
    """A decoder block: attention over earlier positions, then a two-layer network at each position.

    Both add to their input (residual connections). The attention is written out because Keras' own has no cache.
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
        """The output at each query (batch, n, width), and the attention weights (batch, heads, n, keys)."""
        scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) / self.head_shape[1] ** 0.5
        weights = ops.softmax(ops.where(visible, scores, -1e9))
        mean = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))  # (batch, n, heads, width / heads)
        return self.merge(ops.reshape(mean, (-1, ops.shape(mean)[1], self.settings["width"]))), weights

    def feed_forward(self, x, training=None):
        """(batch, n, width) -> the same shape; each position by itself."""
        return x + self.dropout(self.out(self.hidden(self.before_network(x))), training=training)

    def call(self, x, training=None):
        attended, _ = self.attend(*self.split(x), causal_mask(ops.shape(x)[1]))
        return self.feed_forward(x + self.dropout(attended, training=training), training)

    def step(self, x, cache, position):
        """The same for one position x (batch, 1, width); its key and value are added to those in the cache."""
        places = ops.arange(cache.shape[-2])
        query, key, value = self.split(x)
        cache = ops.where((places == position)[:, None], ops.stack([key, value]), cache)
        attended, _ = self.attend(query, cache[0], cache[1], places <= position)
        return self.feed_forward(x + attended), cache

    def get_config(self):
        return super().get_config() | self.settings


def build_model(settings: Config, vocabulary: list[str], train_ids: np.ndarray) -> keras.Model:
    """Tokens (batch, n) -> logits (batch, n, vocabulary) of the token that follows each.

    The last bias starts at the log frequencies: the model starts as a unigram model and need not learn to be one.
    """
    if settings.width % settings.heads:
        raise config.StudyError(f"--width {settings.width} is not divisible by --heads {settings.heads}: change one")
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
    """Mean nats per token of the batch; padding does not count.

    On several devices (--distribute) each has a part of the batch, and the gradients are averaged over the devices. So
    each divides by the MEAN number of tokens per device: every token of the whole batch then has the same weight.
    """
    targets = ops.cast(targets, "int32")
    nats = ops.sparse_categorical_crossentropy(targets, logits, from_logits=True)  # (batch, n)
    real = ops.cast(targets != PAD, nats.dtype)
    return ops.sum(nats * real) / distribution.mean_over_replicas(ops.sum(real))


# %% Train


def train(
    run: lesson.Run, model: keras.Model, train_ids: np.ndarray, held_out: np.ndarray
) -> tuple[lesson.History, np.ndarray]:
    """Train, with the loss on test reviews after every epoch; also returns the tokens read by the end of each epoch."""
    settings = run.config
    parts = {"transform": inputs_and_targets, "parts": settings.epochs_per_pass}
    batches = training.Batches(train_ids, settings.batch_size, settings.seed, **parts)
    steps = min(settings.epochs * batches.steps_per_epoch, settings.steps or 10**9)
    optimizer = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}[settings.optimizer]
    rate = settings.learning_rate
    if settings.decay:
        rate = training.warm_up_cosine(rate, steps, warm_up=steps // 20)
    model.compile(optimizer(rate), masked_loss)
    validation = tf.data.Dataset.from_tensor_slices(held_out).batch(50).map(inputs_and_targets)
    history = run.fit(model, batches, validation=validation)
    tokens_per_step = batches.batch_size * np.count_nonzero(train_ids[:, 1:]) / len(train_ids)
    return history, tokens_per_step * np.minimum(np.multiply(history.epochs, batches.steps_per_epoch), steps)


# %% Generate: from logits to text

# Each function changes the logits, so that a draw from their softmax follows the sampler. Working with logits avoids
# log(0), and a draw needs no normalisation: the largest of (logit + Gumbel noise) is a draw from the softmax.


def greedy(logits):
    """(..., vocabulary) -> the most likely token (...): the limit of temperature at 0."""
    return ops.argmax(logits, axis=-1)


def with_temperature(logits, temperature):
    """Logits (..., vocabulary) of p(token)^(1/T), up to a constant; T (...)."""
    return logits / ops.maximum(temperature, 1e-6)[..., None]


def keep_top_k(logits, k):
    """-infinity for all but the k (...) most likely tokens and those that tie with the last; k of 0 keeps all."""
    place = ops.maximum(ops.where(k > 0, logits.shape[-1] - k, 0), 0)
    kth = ops.take_along_axis(ops.sort(logits, axis=-1), place[..., None], axis=-1)
    return ops.where(logits < kth, -np.inf, logits)


def keep_top_p(logits, p):
    """Nucleus sampling: -infinity for all but the fewest, most likely tokens whose probabilities reach p (...)."""
    ordered = ops.flip(ops.sort(logits, axis=-1), axis=-1)  # the most likely first
    probabilities = ops.softmax(ordered)
    before = ops.cumsum(probabilities, axis=-1) - probabilities  # the sum over all more likely ones
    least = ops.min(ops.where(before < p[..., None], ordered, np.inf), axis=-1, keepdims=True)
    return ops.where(logits < least, -np.inf, logits)


def filtered(logits, temperature, k=None, p=None):
    """Logits of the distribution to draw from: temperature first, then top-k and top-p where they are given."""
    logits = with_temperature(logits, temperature)
    logits = logits if k is None else keep_top_k(logits, k)
    return logits if p is None else keep_top_p(logits, p)


# The key and the value of a position depend on the tokens up to it alone, so they stay what they are while the text
# grows. They are kept in a cache, and a new token costs the computation of one position instead of a whole window.


class TextGenerator:
    """Continues texts one position at a time, with a cache of keys and values.

    `endless` suppresses [end], so that every text fills its window.
    """

    def __init__(self, model: keras.Model, endless: bool = False):
        self.embeddings, *self.blocks, self.normalise, self.logits = model.layers[1:]
        self.vocabulary, self.length = (self.embeddings.settings[name] for name in ("vocabulary", "length"))
        self.start, self.end = self.vocabulary.index(START), self.vocabulary.index(END)
        self.suppressed = np.zeros(len(self.vocabulary), "float32")  # added to the logits: these are never generated
        self.suppressed[[PAD, UNKNOWN, self.start] + ([self.end] if endless else [])] = -np.inf

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
    def generate(self, prompts, tokens: int, seed, temperature, k=None, p=None):
        """Prompts int32 (batch, n) from [start] on -> int32 (batch, n + tokens), PAD after [end].

        Every text may have a sampler of its own: temperature, k and p are (batch,). n + tokens may exceed the window by
        one, because the last token is drawn but never read. The same seed gives the same texts.
        """
        batch, given = prompts.shape
        texts = ops.pad(prompts, ((0, 0), (0, tokens)))
        caches, running = self.empty_cache(batch), tf.ones(batch, "bool")
        for position in tf.range(given + tokens - 1):
            logits, caches = self.step(tf.gather(texts, position, axis=1), position, caches)
            if position + 1 >= given:  # before that, the next token is the prompt's
                choice = filtered(logits + self.suppressed, temperature, k, p)
                uniform = tf.random.stateless_uniform(choice.shape, tf.stack([seed, position]), minval=1e-20)
                drawn = ops.argmax(choice - tf.math.log(-tf.math.log(uniform)), axis=-1)  # Gumbel: a draw from softmax
                token = tf.where(temperature > 0, drawn, greedy(choice))
                token = tf.where(running, token, PAD)
                texts = tf.where(tf.range(given + tokens) == position + 1, token[:, None], texts)
                running &= token != self.end
                if not tf.reduce_any(running):
                    break
        return texts


def generate_texts(
    generator: TextGenerator, prompt: np.ndarray, samplers: Sequence[tuple], each: int, tokens: int, seed
):
    """So many texts by each sampler (temperature, k, p), all in one call: ids int32 (samplers, each, n)."""
    temperature, k, p = (np.repeat(values, each) for values in zip(*samplers, strict=True))
    cuts = {"k": k.astype("int32")} if k.any() else {}  # an unused cut would still sort the vocabulary at every token
    cuts |= {"p": p.astype("float32")} if p.min() < 1 else {}
    prompts = np.repeat(prompt, len(samplers) * each, axis=0)
    tokens = min(tokens, generator.length + 1 - prompt.shape[1])
    texts = generator.generate(prompts, tokens, np.int32(seed), temperature.astype("float32"), **cuts)
    return texts.numpy().reshape(len(samplers), each, -1)


def generate_only(run: lesson.Run) -> None:
    """Print three texts of the model that the last run trained; what that run published stays as it is."""
    run.publishes = False
    generator = TextGenerator(run.load_model("model"))
    prompt = text.prompt_ids(text.prompt_tokens(run.config.prompt), generator.vocabulary, generator.length, run.say)
    for ids in generate_texts(generator, prompt, [run.config.sampler], 3, run.config.tokens, run.config.seed)[0]:
        run.say("\n" + text.paragraph(ids, generator.vocabulary))


# %% Look


def draw_attention(model: keras.Model, held_out: np.ndarray, vocabulary: Sequence[str]) -> figures.Figure:
    """Attention weights of the last block on one sentence: the head with the least weight on the position itself."""
    ids, block = text.example_sentence(held_out[:, :-1], vocabulary), model.layers[-3]
    parts = block.split(keras.Model(model.input, block.input)(ids[None]))  # queries, keys, values
    weights = ops.convert_to_numpy(block.attend(*parts, causal_mask(len(ids)))[1][0])
    head = int(np.argmin(np.trace(weights, axis1=1, axis2=2)))
    weights[weights == 0] = np.nan  # grey: what the mask hides
    title = f"Attention weights of head {head + 1} of {len(weights)} (grey: hidden by the causal mask)"
    words = [vocabulary[token] for token in ids]
    return figures.heat_map(weights[head], title, "key (attended to)", "query", "weight (each row sums to 1)", words)


def draw_positions(model: keras.Model) -> figures.Figure:
    """Cosine similarity of the learned vectors of all pairs of positions."""
    vectors = keras.utils.normalize(ops.convert_to_numpy(model.layers[1].positions.embeddings))
    title, label = "Similarity of the learned position embeddings", "position in the text"
    return figures.heat_map(vectors @ vectors.T, title, label, label, "cosine similarity", low=-1)


# %% Measure


def token_nats(model: keras.Model, ids: np.ndarray) -> np.ndarray:
    """-log p (k,) of every token but the first of each text; ids (n, length)."""
    parts = []
    for batch in np.array_split(ids, max(len(ids) // 50, 1)):
        nats = ops.sparse_categorical_crossentropy(batch[:, 1:], model(batch[:, :-1]), from_logits=True)
        parts.append(ops.convert_to_numpy(nats)[batch[:, 1:] != PAD])
    return np.concatenate(parts)


def measure(run: lesson.Run, model: keras.Model, train_ids: np.ndarray, held_out: np.ndarray) -> dict[str, float]:
    """Nats per token on test reviews: of the model, and of baselines that use no, one or two tokens before it."""
    nats = token_nats(model, held_out).mean()
    run.metric("test_nats_per_token", nats, "nats", expected=(4.2, 4.35), embedded=(1.35, 1.4))
    run.metric("test_perplexity", np.exp(nats), "", expected=(67, 77), embedded=(3.86, 4.05))
    levels, expected = {"transformer": nats}, {"unigram": (304, 310), "bigram": (99, 103), "trigram": (79, 83)}
    for order, name in enumerate(expected, start=1):
        levels[name] = metrics.n_gram_nats(train_ids, held_out, order, model.output.shape[-1]).mean()
        run.metric(f"{name}_perplexity", np.exp(levels[name]), "", expected=expected[name])
    ratio = np.exp(nats - levels["bigram"])
    run.metric("perplexity_over_bigram", ratio, "", expected=(0.65, 0.78), embedded=(0.33, 0.36))
    if run.source == "embedded":
        levels["true entropy"] = reviews.entropy_per_token()
        run.metric("entropy_per_token", levels["true entropy"], "nats", embedded=(1.349, 1.35))
        run.metric("excess_over_entropy", nats / levels["true entropy"] - 1, "fraction", embedded=(0.005, 0.05))
    run.metric("unknown_share", np.mean(held_out[held_out != PAD] == UNKNOWN), "fraction", expected=(0.09, 0.1))
    run.metric("parameters", model.count_params(), "", expected=(1_239_328, 1_239_328))
    return levels


def measure_speed(run: lesson.Run, model: keras.Model) -> None:
    """Tokens per second of one text that fills the window."""
    generator = TextGenerator(model, endless=True)
    start, sampler = np.array([[generator.start]], "int32"), [SAMPLERS["temperature 1"]]
    seconds = text.seconds_per_call(lambda seed: generate_texts(generator, start, sampler, 1, generator.length, seed))
    run.metric("tokens_per_second", generator.length / seconds, "tokens/s")


def describe(model: keras.Model, texts: np.ndarray, given: int, sampler=(1.0, 0, 1.0), suppressed=0.0) -> list[float]:
    """Three statistics of texts (n, length) after their first tokens.

    Entropy of the sampler's distribution (nats), 3-grams that occurred earlier in the same text (%), and negative
    log-likelihood under the model itself, without the sampler (nats per token).
    """
    targets, logits = texts[:, given:], model(texts[:, :-1])[:, given - 1 :]
    sampler = [ops.broadcast_to(value, targets.shape) for value in sampler]
    log_p = ops.log_softmax(filtered(logits + suppressed, *sampler))
    entropy = -ops.convert_to_numpy(ops.sum(ops.exp(log_p) * ops.maximum(log_p, -1e3), axis=-1))
    nats = ops.convert_to_numpy(ops.sparse_categorical_crossentropy(targets, logits, from_logits=True))
    repeated = np.mean([text.repeated(ids[ids != PAD]) for ids in texts])
    return [entropy[targets != PAD].mean(), 100 * repeated, nats[targets != PAD].mean()]


def compare_samplers(
    run: lesson.Run, model: keras.Model, prompt: np.ndarray, held_out: np.ndarray
) -> tuple[dict[str, list[str]], figures.Figure]:
    """Twelve texts by each sampler, readable; and a figure of their statistics beside those of test reviews."""
    generator, samplers, given = (
        TextGenerator(model),
        SAMPLERS | {"as the flags say": run.config.sampler},
        prompt.shape[1],
    )
    ids = generate_texts(generator, prompt, samplers.values(), 12, run.config.tokens, run.config.seed)
    ids = dict(zip(samplers, ids, strict=True))
    rows = {name: describe(model, ids[name], given, SAMPLERS[name], generator.suppressed) for name in SAMPLERS}
    rows["test reviews"] = describe(model, held_out[:200], given)
    labels = ("entropy of the draw (nats)", "repeated 3-grams (%)", "−log-likelihood (nats per token)")
    texts = {name: [text.readable(each, generator.vocabulary) for each in group] for name, group in ids.items()}
    return texts, figures.bar_panels(rows, labels, "Texts of each sampler beside test reviews (dashed)")


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures, texts, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        prompt = text.prompt_tokens(run.config.prompt)  # a prompt that cannot work is refused before the training
        if run.config.generate_only:
            return generate_only(run)
        data = datasets.imdb(run)
        with run.part("tokens"):
            sizes = run.config.vocabulary, run.config.length
            train_ids, held_out, vocabulary = text.tokenise(data.train, data.test[: run.config.held_out], *sizes)
        prompt = text.prompt_ids(prompt, vocabulary, train_ids.shape[1] - 1, run.say)
        model = build_model(run.config, vocabulary, train_ids)
        run.diagram(model, "model")
        history, tokens_read = train(run, model, train_ids, held_out)
        run.save_model(model, "model")
        with run.part("measures"):
            levels = measure(run, model, train_ids, held_out)
        run.metric("tokens_seen", tokens_read[-1], "tokens", expected=(3.6e6, 3.7e6), embedded=(1.25e6, 1.35e6))
        with run.part("generation"):
            measure_speed(run, model)
            texts, statistics = compare_samplers(run, model, prompt, held_out)
        run.text("samples.txt", text.sections(texts, most=4))
        by_temperature = {name: texts[name][0] for name in SAMPLERS if not name.startswith("top")}
        samples = text_figures.loss_and_texts(history, tokens_read, levels, by_temperature)
        run.figure("samples", samples, headline=True)
        run.figure("samplers", statistics)
        run.figure("attention", draw_attention(model, held_out, vocabulary))
        run.figure("positions", draw_positions(model))


if __name__ == "__main__":
    main()

# What to try next
# 1. --generate-only --temperature 1.5 --top-p 0.9: a high temperature, but no unlikely tokens. Better than one alone?
# 2. --blocks 2 --epochs 12: twice the depth, twice the training. How far does the perplexity fall, and at what cost?
# 3. Let causal_mask return ones everywhere. The loss becomes excellent. Then read the generated texts.
