"""27 · Four-part chorales: a transformer of music.

A chorale is a text in four voices. On a grid of eighth notes, each voice holds its note or begins another, so a piece
of n eighths is n x 4 tokens, and the chain rule splits its probability into one prediction per token, as in lesson 15:

    p(piece) = product over steps t and voices v of p(x[t, v] | all of x before step t, x[t, u] for the voices u < v)

The voices of one step are ordered soprano, alto, tenor, bass. A given melody can then be harmonised by the same model:
its tokens are put in the soprano's place, the other three are drawn, and each of them knows the note above it.

The network has two parts. A causal transformer reads one vector per STEP, made of the four notes of the step before; a
small network per voice then reads the transformer's output and the voices above. That is four predictions for one
position of the transformer: a quarter of the cost of a transformer over single tokens. Tables for each pair of voices
say what a voice may do beside another that moves: rules of voice leading are learned there. Attention knows how long
ago a step was, never its number, so a piece may be longer than those it was trained on.

Two things are given and not predicted: where in the bar each step is, and how many eighths are left. They are known
before a piece is written, as a poet knows the number of lines; without the second no piece would end with a cadence.

What you will see: a chorale of 16 bars as a piano roll, MIDI, MusicXML and sound; nats per token beside n-grams; how
often the rules of voice leading are broken; the harmony that the model finds for a melody, beside Bach's.

Run:    python src/27_Bach_music_transformer.py    about two minutes on two CPU cores
Makes:  output/27_Bach_music_transformer.png and output/27_Bach_music_transformer/
Source: Vaswani et al., Attention Is All You Need, arXiv:1706.03762; Shaw et al., Self-Attention with Relative Position
        Representations, arXiv:1803.02155 (here one bias per distance: Raffel et al., arXiv:1910.10683, section 2.1);
        Huang et al., Music Transformer, arXiv:1809.04281; Hadjeres et al., DeepBach, arXiv:1612.01010; the scores:
        Cuthbert & Ariza, music21, ISMIR 2010
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar

from lessonkit import config, music, n_grams, training
from lessonkit import run as lesson
from lessonkit.datasets import chorales
from lessonkit.datasets.chorales import VOICES, Chorale
from lessonkit.figures import rolls

import keras
import numpy as np
import tensorflow as tf
from keras import ops

# %% Parameters


@dataclasses.dataclass(frozen=True)
class Config(config.Config):
    """A small model for two CPU cores; `--preset full`: a wider and deeper one."""

    epochs: config.Count = 12  # the loss on test chorales is measured after each
    epochs_per_pass: config.Count = 4  # an epoch is a quarter of a pass over all pieces in all twelve keys
    batch_size: config.Count = 8  # excerpts of 16 bars per step
    learning_rate: config.Rate = 2e-3  # the peak
    window: Annotated[int, config.Range(8, 4096)] = 128  # eighths that attention reaches back: 16 bars of 4/4
    width: config.Count = 128
    heads: config.Count = 4
    blocks: config.Count = 2
    dropout: config.Fraction = 0.1  # 350 chorales are few
    device: config.Device = "cpu"  # small matrices: no work for a GPU
    # Below: what concerns the sampling alone. With --resume a finished training goes straight to it.
    temperature: Annotated[float, config.Range(0.01, 10)] = 1.0
    nucleus: Annotated[float, config.Range(0.01, 1)] = 0.8  # the unlikely tokens, 20 % together, are not drawn
    bars: Annotated[int, config.Range(1, 64)] = 16  # of the chorale that is written
    pieces: Annotated[int, config.Range(2, 1000)] = 200  # generated for the statistics
    candidates: config.Count = 64  # harmonies of the melody; the most likely of them is written
    melody: Path | None = None  # MusicXML or MIDI file to harmonise; else the melody of a test chorale

    sampling_only: ClassVar = ("temperature", "nucleus", "bars", "pieces", "candidates", "melody")


LARGE = {"epochs": 40, "batch_size": 32, "learning_rate": 1e-3, "width": 256, "heads": 8, "blocks": 4, "dropout": 0.3}
TINY = {"steps": 4, "limit": 12, "window": 16, "width": 16, "blocks": 1, "pieces": 2, "candidates": 3, "bars": 2}
PRESETS = {"full": LARGE | {"device": "auto"}, "smoke": TINY | {"epochs_per_pass": 20}}

# %% Data

# A sixteenth of a chorale's notes lasts a sixteenth or less; on a grid of sixteenths three of four tokens would say
# "hold", and a model that says nothing else would look excellent. On a grid of eighths about half do, and 1.3 % of the
# notes, those that begin between two eighths, move to the next eighth or, where they have ended by then, are left out.

# Tokens: hold, rest, and from FIRST_PITCH on the MIDI numbers from 31 (LOWEST), the lowest after transposition, to 87
HOLD, REST, FIRST_PITCH, LOWEST, TOKENS = 0, 1, 2, 31, 59
KEYS = range(-5, 7)  # semitones; training pieces only
METRES = {8: 0, 6: 8, 12: 14}  # eighths in a bar: first number of its places among all places
PLACES, LEFT = 26, 33  # places in a bar; eighths left, at most 32

# A code says more than a token: which pitch a held note has. Both say the same once all before is known.
#     token    HOLD                      or the token p of a rest or a pitch that begins
#     code     TOKENS + p (p is held)    or p;    0: no step at all (padding, or before the beginning)


def codes_of(piece: Chorale, shift: int = 0) -> np.ndarray:
    """Codes int32 (eighths, 4) of a piece, transposed by `shift` semitones."""
    pitches, attacks = piece.pitches[::2].astype("int32"), piece.attacks[::2].copy()
    attacks[1:] |= piece.attacks[1 : 2 * len(attacks) - 1 : 2][: len(attacks) - 1]  # began a sixteenth too early
    sounding = np.where(pitches > 0, pitches + shift - LOWEST + FIRST_PITCH, REST)
    return sounding + TOKENS * ~attacks


def pitches_of(codes: np.ndarray) -> np.ndarray:
    """MIDI numbers, 0 for rests."""
    return np.where(codes % TOKENS >= FIRST_PITCH, codes % TOKENS - FIRST_PITCH + LOWEST, 0)


def clock(places: np.ndarray, bar: int) -> np.ndarray:
    """What is given with each of n steps, int32 (n, 2): its place in a bar, and how many steps are left."""
    left = np.minimum(np.arange(len(places))[::-1], LEFT - 1)
    return np.stack([METRES[bar] + places, left], axis=1).astype("int32")


def excerpts(pieces: list[Chorale], window: int, stride: int, keys: Sequence[int] = (0,)) -> np.ndarray:
    """Codes and clocks of windows, int32 (n, window, 6); zeros after the end of a piece."""
    rows = []
    for piece in pieces:
        times = clock(piece.places[::2] // 2, piece.bar // 2)
        for shift in keys:
            steps = np.concatenate([codes_of(piece, shift), times], axis=1)
            for begin in range(0, max(len(steps) - window + stride, 1), stride):
                part = steps[begin : begin + window]
                rows.append(np.pad(part, ((0, window - len(part)), (0, 0))))
    return np.stack(rows).astype("int32")


def inputs_and_targets(rows: tf.Tensor) -> tuple:
    """The model's inputs, and codes as targets: the model shifts its inputs itself."""
    return (rows[..., :4], rows[..., 4:]), rows[..., :4]


# %% Model


# The rules of voice leading are about distances: between two voices, and between a note and the next of its voice. In
# all twelve keys these are the same, so the network is given distances in semitones beside the pitches themselves.
REACH, FAR = 13, 36  # the largest move of a voice, the largest distance of two voices; what is larger counts as these
PAIRS = [(upper, lower) for lower in range(4) for upper in range(lower)]  # of voices
GAIN = 8.0  # of the tables of moves: a rule is a large number, and Adam changes each entry by little in a step
MOVES, HELD = 2 * REACH + 3, 2 * REACH + 2  # 0: unknown, because of a rest; 1 to 27: -13 to 13 semitones; 28: held


def distance(upper, lower, most: int):
    """Semitones from `lower` up to `upper` (codes), as indices 1 to 2 most + 1; 0 where one of them does not sound."""
    upper, lower = upper % TOKENS, lower % TOKENS
    sounding = (upper >= FIRST_PITCH) & (lower >= FIRST_PITCH)
    return ops.where(sounding, ops.clip(upper - lower, -most, most) + most + 1, 0)


def interval_class(upper, lower):
    """The distance without its octaves, as indices 1 to 12 (8: a fifth); 0 where one of the two does not sound."""
    return ops.where(distance(upper, lower, 1) > 0, (upper % TOKENS - lower % TOKENS) % 12 + 1, 0)


def move(codes, before):
    """What a voice does after the codes `before`, as indices below MOVES."""
    return ops.where(codes >= TOKENS, HELD, distance(codes, before, REACH))


def codes_before(codes):
    """Of each step the codes of the step before: a step is told of that, never of itself."""
    return ops.pad(codes, ((0, 0), (1, 0), (0, 0)))[:, :-1]


def facts(codes, times):
    """What the transformer is told of a step, rows (batch, n, 16) of one table of embeddings.

    Of the step before, whose codes (batch, n, 4) these are: pitches, pitches without their octaves, and distances of
    the voices; of the step itself, whose clock (batch, n, 2) is `times`: the place in the bar, the steps that are left.
    """
    far = [distance(codes[..., upper], codes[..., lower], FAR) for upper, lower in PAIRS]
    rows = ops.concatenate([codes, codes % TOKENS % 12, ops.stack(far, axis=-1), times], axis=-1)
    return rows + np.cumsum([0, *FACTS[:-1]]).astype("int32")


@keras.saving.register_keras_serializable("lesson_27")
class Facts(keras.layers.Layer):
    """The same as a layer of the model, from the codes of the steps themselves and their clocks."""

    def call(self, inputs):
        return facts(codes_before(inputs[0]), inputs[1])


FACTS = [2 * TOKENS] * 4 + [12] * 4 + [2 * FAR + 2] * 6 + [PLACES, LEFT]  # rows for each of the sixteen


@keras.saving.register_keras_serializable("lesson_27")
class Block(keras.layers.Layer):
    """A decoder block as in lesson 15, whose attention scores have a learned bias for each distance in time.

    A step attends to itself and the window - 1 steps before it.
    """

    def __init__(self, width: int, heads: int, window: int, dropout: float, **options):
        super().__init__(**options)
        self.settings = {"width": width, "heads": heads, "window": window, "dropout": dropout}
        self.head_shape, self.window = (heads, width // heads), window
        self.before_attention = keras.layers.LayerNormalization(epsilon=1e-5)
        self.project = keras.layers.Dense(3 * width)
        self.merge = keras.layers.Dense(width)
        self.before_network = keras.layers.LayerNormalization(epsilon=1e-5)
        self.hidden = keras.layers.Dense(4 * width, activation="relu")
        self.out = keras.layers.Dense(width)
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, shape):
        for layer in (self.before_attention, self.project, self.merge, self.before_network, self.hidden):
            layer.build(shape)
        self.out.build((*shape[:-1], 4 * shape[-1]))
        self.bias = self.add_weight(shape=(self.head_shape[0], self.window), initializer="zeros", name="bias")

    def split(self, x):
        """(batch, n, width) -> queries, keys and values, each (batch, heads, n, width / heads)."""
        parts = ops.reshape(self.project(self.before_attention(x)), (-1, ops.shape(x)[1], 3, *self.head_shape))
        return ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), 3)

    def attend(self, queries, keys, values, age, visible):
        """Output (batch, queries, width); `age` (queries, keys) is the distance in time, where it is visible."""
        scores = ops.matmul(queries, ops.swapaxes(keys, -1, -2)) / self.head_shape[1] ** 0.5
        scores = scores + ops.take(self.bias, ops.clip(age, 0, self.window - 1), axis=1)
        weights = ops.softmax(ops.where(visible, scores, -1e9))
        mean = ops.transpose(ops.matmul(weights, values), (0, 2, 1, 3))
        return self.merge(ops.reshape(mean, (-1, ops.shape(mean)[1], self.settings["width"])))

    def feed_forward(self, x, training=None):
        return x + self.dropout(self.out(self.hidden(self.before_network(x))), training=training)

    def call(self, x, training=None):
        steps = ops.arange(ops.shape(x)[1])
        age = steps[:, None] - steps  # negative: the future
        attended = self.attend(*self.split(x), age, (age >= 0) & (age < self.window))
        return self.feed_forward(x + self.dropout(attended, training=training), training)

    def step(self, x, cache, position):
        """The same for one step x (batch, 1, width). The cache is a ring: the oldest key and value are overwritten."""
        query, key, value = self.split(x)
        slots = ops.arange(self.window)
        cache = ops.where((slots == position % self.window)[:, None], ops.stack([key, value]), cache)
        age = (position - slots) % self.window
        attended = self.attend(query, cache[0], cache[1], age[None], (age <= position)[None])
        return self.feed_forward(x + attended), cache

    def get_config(self):
        return super().get_config() | self.settings


@keras.saving.register_keras_serializable("lesson_27")
class Voices(keras.layers.Layer):
    """From the vector of a step to the logits of its four tokens, each given the step before and the voices above it.

    A logit is the sum of one of the pitch, one of the move to it, and for each voice above two from tables of moves:
    one row for what that voice does now and how far apart the two were before, one row for how far it is from here.
    """

    def build(self, shapes):
        width = shapes[0][-1]
        self.normalise = keras.layers.LayerNormalization(epsilon=1e-5)
        self.hidden = [keras.layers.Dense(2 * width) for _ in VOICES]
        self.logits = [keras.layers.Dense(TOKENS + MOVES) for _ in VOICES]
        for layer in (self.normalise, *self.hidden):
            layer.build(shapes[0])
        for layer in self.logits:
            layer.build((None, 2 * width))
        self.above = self.add_weight((len(PAIRS), 2 * TOKENS, 2 * width), "uniform", name="above")
        # The last of these tables is shared by all pairs of voices.
        self.parallel = self.add_weight((len(PAIRS) + 1, 12 + 1, MOVES, MOVES), "zeros", name="parallel")
        self.apart = self.add_weight((len(PAIRS), 2 * FAR + 2, MOVES), "zeros", name="apart")

    def voice(self, x, before, codes, voice: int):
        """Logits (batch, n, TOKENS) of one voice.

        x: (batch, n, width); before: codes (batch, n, 4) of the step before; codes: of this step, those above `voice`.
        """
        hidden, pairs, own = self.hidden[voice](self.normalise(x)), 0.0, before[..., voice]
        for pair in (pair for pair in PAIRS if pair[1] == voice):
            number, now, then = PAIRS.index(pair), codes[..., pair[0]], before[..., pair[0]]
            hidden = hidden + ops.take(self.above[number], now, axis=0)
            table = ops.reshape(self.parallel[number] + self.parallel[-1], (-1, MOVES))
            pairs = pairs + ops.take(table, interval_class(then, own) * MOVES + move(now, then), axis=0)
            pairs = pairs + ops.take(self.apart[number], distance(now, own, FAR), axis=0)
        logits = self.logits[voice](ops.relu(hidden))
        moves = logits[..., TOKENS:] + GAIN * pairs
        candidates = ops.where(ops.arange(TOKENS) == HOLD, TOKENS, ops.arange(TOKENS))
        return logits[..., :TOKENS] + ops.take_along_axis(moves, move(candidates, own[..., None]), axis=-1)

    def call(self, inputs):
        x, codes = inputs
        return ops.stack([self.voice(x, codes_before(codes), codes, voice) for voice in range(4)], axis=2)


def build_model(settings: Config) -> keras.Model:
    """Codes (batch, n, 4) and clocks (batch, n, 2) -> logits (batch, n, 4, TOKENS) of the same steps' tokens."""
    if settings.width % settings.heads:
        raise config.StudyError(f"--width {settings.width} is not divisible by --heads {settings.heads}: change one")
    codes = keras.Input((None, 4), dtype="int32", name="codes")
    times = keras.Input((None, 2), dtype="int32", name="clock")
    rows = Facts(name="facts")([codes, times])
    x = ops.sum(keras.layers.Embedding(sum(FACTS), settings.width, name="embeddings")(rows), axis=-2)
    for number in range(settings.blocks):
        x = Block(settings.width, settings.heads, settings.window, settings.dropout, name=f"block_{number + 1}")(x)
    return keras.Model((codes, times), Voices(name="voices")([x, codes]), name="chorale_model")


def nats_of(codes, logits):
    """-log p (batch, n, 4) of each token, 0 for padding; and which count (batch, n, 4), float."""
    codes = ops.cast(codes, "int32")
    nats = ops.sparse_categorical_crossentropy(ops.where(codes >= TOKENS, HOLD, codes), logits, from_logits=True)
    real = ops.cast(codes != 0, nats.dtype)
    return nats * real, real


def loss(codes, logits):
    """Mean nats per token; padding does not count."""
    nats, real = nats_of(codes, logits)
    return ops.sum(nats) / ops.sum(real)


# %% Train


def train(run: lesson.Run, model: keras.Model, rows: np.ndarray, held_out: np.ndarray) -> lesson.History:
    """Train, with the loss on test chorales after every epoch."""
    settings, transform = run.config, inputs_and_targets
    batches = training.Batches(rows, settings.batch_size, settings.seed, transform, parts=settings.epochs_per_pass)
    steps = min(settings.epochs * batches.steps_per_epoch, settings.steps or 10**9)
    model.compile(keras.optimizers.Adam(training.warm_up_cosine(settings.learning_rate, steps, steps // 20)), loss)
    # One batch: a mean over batches with different numbers of tokens would not be the mean over tokens.
    validation = tf.data.Dataset.from_tensors(held_out).map(inputs_and_targets)
    return run.fit(model, batches, validation=validation)


# %% Generate


def without_tail(scores, nucleus):
    """Scores (batch, k), -1e9 for all but the most likely, which together have a probability of at least `nucleus`."""
    ordered = tf.sort(scores, direction="DESCENDING")
    likelier = tf.cumsum(tf.nn.softmax(ordered), axis=-1, exclusive=True)  # the probability of all that are likelier
    lowest = tf.reduce_min(tf.where(likelier < nucleus, ordered, np.inf), axis=-1, keepdims=True)
    return tf.where(scores < lowest, -1e9, scores)


class Composer:
    """Draws pieces step by step, with a cache of keys and values: a step costs one position, not a whole window."""

    def __init__(self, model: keras.Model):
        self.embeddings = model.get_layer("embeddings")
        self.blocks = [layer for layer in model.layers if isinstance(layer, Block)]
        self.voices = model.get_layer("voices")

    def empty_cache(self, batch) -> tuple:
        """Zeros (keys and values, batch, heads, window, width / heads) for each block."""
        return tuple(tf.zeros((2, batch, each.head_shape[0], each.window, each.head_shape[1])) for each in self.blocks)

    def step(self, before, times, position, caches: tuple):
        """Codes (batch, 4) of the step before, clock (batch, 2) -> the vector (batch, 1, width) of the step, caches."""
        x, after = tf.reduce_sum(self.embeddings(facts(before[:, None], times[:, None])), axis=-2), []
        for block, cache in zip(self.blocks, caches, strict=True):
            x, cache = block.step(x, cache, position)
            after.append(cache)
        return x, tuple(after)

    @tf.function(reduce_retracing=True)
    def generate(self, times, given, past, seed, temperature, nucleus):
        """Draw codes int32 (batch, n, 4), and the nats per token of each piece (batch,).

        Args:
            times: int32 (batch, n, 2), the clock.
            given: int32 (batch, n, 4), codes that are not drawn; -1 where they are.
            past: the same, what later steps are told instead of what was drawn; -1 where they are told that.
            seed, temperature, nucleus: int32 and float32; the same seed gives the same pieces.
        """
        batch, steps, _ = tf.unstack(tf.shape(times))
        pieces, caches = tf.TensorArray(tf.int32, steps), self.empty_cache(batch)
        before, nats = tf.zeros((batch, 4), tf.int32), tf.zeros(batch)
        for position in tf.range(steps):
            x, caches = self.step(before, times[:, position], position, caches)
            codes = tf.zeros((batch, 1, 4), tf.int32)
            for voice in range(4):
                logits = self.voices.voice(x, before[:, None], codes, voice)[:, 0]
                held = before[:, voice] % TOKENS  # 0 before the first step, where there is nothing to hold
                logits = tf.where((held == 0)[:, None] & (tf.range(TOKENS) == HOLD), -1e9, logits)
                uniform = tf.random.stateless_uniform(tf.shape(logits), tf.stack([seed, 4 * position + voice]), 1e-20)
                scores = without_tail(logits / temperature, nucleus)
                token = tf.argmax(scores - tf.math.log(-tf.math.log(uniform)), -1, tf.int32)  # Gumbel
                code = tf.where(token == HOLD, TOKENS + held, token)
                code = tf.where(given[:, position, voice] >= 0, given[:, position, voice], code)
                codes += code[:, None, None] * tf.one_hot(voice, 4, dtype=tf.int32)
                token = tf.where(code >= TOKENS, HOLD, code)
                nats += tf.nn.sparse_softmax_cross_entropy_with_logits(token, logits)
            pieces = pieces.write(position, codes[:, 0])
            before = tf.where(past[:, position] >= 0, past[:, position], codes[:, 0])
        return tf.transpose(pieces.stack(), (1, 0, 2)), nats / tf.cast(4 * steps, tf.float32)


def compose(composer: Composer, count: int, bars: int, *sampler) -> np.ndarray:
    """So many pieces of so many bars of 4/4: codes (count, 8 bars, 4)."""
    times = np.repeat(clock(np.arange(8 * bars) % 8, 8)[None], count, axis=0)
    given = np.full((count, 8 * bars, 4), -1, "int32")
    return composer.generate(times, given, given, *sampler)[0].numpy()


def continue_by_a_chord(composer: Composer, rows: np.ndarray, *sampler) -> list[np.ndarray]:
    """After every chord of the windows (n, window, 6) a chord that is drawn: codes (2, 4) of both."""
    codes, times = rows[..., :4], rows[..., 4:]
    drawn, _ = composer.generate(times, np.full_like(codes, -1), codes, *sampler)
    both = np.stack([codes[:, :-1], drawn.numpy()[:, 1:]], axis=2)
    return list(both[codes[:, 1:, 0] > 0])  # without padding


def harmonise(composer: Composer, piece: Chorale, count: int, *sampler) -> np.ndarray:
    """Three voices below the soprano of a piece: of `count` harmonies the most likely one, codes (n, 4)."""
    codes, times = np.where(np.arange(4) == 0, codes_of(piece), -1), clock(piece.places[::2] // 2, piece.bar // 2)
    repeated = [np.repeat(array[None].astype("int32"), count, axis=0) for array in (times, codes)]
    pieces, nats = composer.generate(*repeated, repeated[1], *sampler)
    return pieces.numpy()[np.argmin(nats)]


# %% Look


def notes_of(codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pitches and attacks (n, 4), as `lessonkit.music` and the figures want them."""
    return pitches_of(codes), codes < TOKENS


# %% Measure

EXPECTED = {"test_nats_per_token": (0.68, 0.9), "ngram_nats_per_token": (1.0, 1.1), "below_ngram": (0.1, 0.4)}
EXPECTED |= {"test_nats_per_note": (1.1, 1.5), "ngram_nats_per_note": (1.4, 1.6), "held_share": (0.44, 0.5)}
EXPECTED |= {"voice_crossings": (0.2, 1.57), "parallel_fifths": (0.05, 0.44), "parallel_octaves": (0.02, 0.45)}
EXPECTED |= {"bach_voice_crossings": (0.75, 0.82), "bach_parallel_fifths": (0.2, 0.24)}
EXPECTED |= {"bach_parallel_octaves": (0.06, 0.09), "parameters": (1_021_983, 1_021_983)}


def report(run: lesson.Run, unit: str, **values: float) -> None:
    """Metrics of one unit, each with its range."""
    for name, value in values.items():
        run.metric(name, value, unit, expected=EXPECTED.get(name))


def token_nats(model: keras.Model, rows: np.ndarray) -> np.ndarray:
    """-log p (k,) of every token of the windows, in their order, without padding."""
    parts = [nats_of(part[..., :4], model((part[..., :4], part[..., 4:]))) for part in np.array_split(rows, len(rows))]
    return np.concatenate([ops.convert_to_numpy(nats)[ops.convert_to_numpy(real) > 0] for nats, real in parts])


def measure(run: lesson.Run, model: keras.Model, rows: np.ndarray, held_out: np.ndarray) -> dict[str, np.ndarray]:
    """Nats per token, and on the notes that begin alone, beside the n-grams'. Returns two of those."""
    # Codes and tokens have the same probability, because each follows from the other and from what came before. But an
    # n-gram of tokens forgets the pitch that is held, so one of codes is the stronger baseline.
    found = n_grams.nats(rows[..., :4], held_out[..., :4], 2 * TOKENS, range(1, 9))
    nats = token_nats(model, held_out)
    best = min(found, key=lambda name: found[name].mean())
    begins = held_out[..., :4][held_out[..., :4] > 0] < TOKENS
    report(run, "nats", test_nats_per_token=nats.mean(), ngram_nats_per_token=found[best].mean())
    report(run, "nats", test_nats_per_note=nats[begins].mean(), ngram_nats_per_note=found[best][begins].mean())
    report(run, "fraction", below_ngram=1 - nats.mean() / found[best].mean(), held_share=1 - begins.mean())
    report(run, "", parameters=model.count_params())
    run.say("n-grams: " + ", ".join(f"{name} {values.mean():.3f}" for name, values in found.items()))
    return {name: found[name] for name in dict.fromkeys([best, "2-gram, each voice"])}


def measure_rules(run: lesson.Run, pieces: dict[str, Sequence[np.ndarray]]) -> dict[str, dict[str, float]]:
    """How often the rules are broken, by whom."""
    rates = {name: music.broken_rules([pitches_of(codes) for codes in group]) for name, group in pieces.items()}
    for prefix, name in {"": "transformer", "forced_": "chord by chord", "bach_": "Bach"}.items():
        report(run, "%", **{prefix + rule.replace(" ", "_"): rate for rule, rate in rates[name].items()})
    return rates


# %% main


def main(argv: Sequence[str] | None = None) -> None:
    """Data, model, training, measures, music, figures."""
    with lesson.run(__file__, Config, PRESETS, argv) as run:
        settings = run.config
        melody = chorales.read_melody(settings.melody) if settings.melody else None  # refused before the training
        pieces, test_pieces = chorales.chorales(run)
        rows = excerpts(pieces, settings.window, settings.window // 2, KEYS)
        held_out = excerpts(test_pieces, settings.window, settings.window)  # no overlap: every token counts once
        model = build_model(settings)
        run.diagram(model)
        history = train(run, model, rows, held_out)
        run.save_model(model, "model")
        with run.part("measures"):
            # For counts no overlap either: what was counted twice would look as if it were frequent.
            baselines = measure(run, model, excerpts(pieces, settings.window, settings.window, KEYS), held_out)
        with run.part("generation"):
            composer = Composer(model)
            sampler = np.int32(settings.seed), np.float32(settings.temperature), np.float32(settings.nucleus)
            generated = compose(composer, settings.pieces, settings.bars, *sampler)
            read = [codes_of(piece) for piece in pieces]
            by_n_gram = n_grams.compose(read, settings.pieces, 8 * settings.bars, TOKENS, settings.seed)
            sung = melody or next((piece for piece in test_pieces if piece.bar == 16), test_pieces[0])
            harmony = harmonise(composer, sung, settings.candidates, *sampler)
            chords = continue_by_a_chord(composer, held_out, *sampler)
        groups = {f"{n_grams.ORDER}-gram": by_n_gram, "transformer": generated, "chord by chord": chords}
        rates = measure_rules(run, groups | {"Bach": [codes_of(piece) for piece in pieces + test_pieces]})
        with run.part("music"):
            music.write(run, "chorale", *notes_of(generated[0]))
            music.write(run, "harmonised", *notes_of(harmony), sung.bar // 2, sung.places[0] // 2)
        run.figure("chorale", rolls.piece(*notes_of(generated[0])), headline=True)
        bach = None if melody else notes_of(codes_of(sung))
        run.figure("harmonised", rolls.harmonised(bach, notes_of(harmony), sung))
        run.figure("losses", rolls.losses(history, baselines))
        run.figure("rules", rolls.rules(rates))
        run.figure("biases", rolls.biases([ops.convert_to_numpy(block.bias) for block in composer.blocks]))


if __name__ == "__main__":
    main()

# What to try next
# 1. --resume --nucleus 1, then 0.5: which rules are broken more often? Which of the two pieces is dull?
# 2. --resume --bars 32: twice the window. Does the piece still have a plan?
# 3. Let KEYS be range(0, 1): the same number of steps without transposition. What does the loss on test chorales do?
