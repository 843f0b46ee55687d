"""Plumbing of the text lesson: raw text to tokens, prompts, tokens to readable text, and how much a text repeats."""

import re
import textwrap
import time
from collections.abc import Callable, Mapping, Sequence

from lessonkit.config import StudyError

import keras
import numpy as np
import tensorflow as tf

PAD, UNKNOWN = 0, 1  # the first two ids of TextVectorization
START, END = "[start]", "[end]"  # tokens before and after every text
NO_WORDS = ("", START, END)
CLEANING = (  # (pattern, replacement), one after the other
    (r"<br */?>", " "),  # HTML line breaks
    (r"\s-+\s|--+", " – "),  # dashes become a mark of their own, because hyphens join words
    (r"[^\pL\d'.,!?;:()\"/–-]", " "),  # everything but letters, digits and these marks
    (r"(^|[^\pL])'+|'+($|[^\pL])", r"\1 \2"),  # quotation marks; an apostrophe has letters on both sides
    (r"[.,!?;:()\"/–-]", r" \0 "),  # every mark is a token
)


def standardise(texts: tf.Tensor) -> tf.Tensor:
    """Raw texts (n,) -> lower-case tokens between spaces, START first and END last."""
    texts = tf.strings.lower(texts, encoding="utf-8")
    for pattern, replacement in CLEANING:
        texts = tf.strings.regex_replace(texts, pattern, replacement)
    return tf.strings.join([START, texts, END], separator=" ")


def tokenise(
    train: Sequence[str], test: Sequence[str], vocabulary: int, length: int
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Texts as ids, and their vocabulary.

    Args:
        vocabulary: how many of the most frequent tokens of `train` get an id; the others are UNKNOWN.
        length: tokens of a text after START; longer ones are cut, shorter ones end with PAD.

    Returns int32 (texts, length + 1) for both parts, or fewer columns where all texts of `train` are short.

    Raises:
        StudyError: where all texts of a part are empty.
    """
    with tf.device("CPU:0"):  # TensorFlow has strings on the CPU alone
        options = {"standardize": standardise, "output_sequence_length": length + 1}
        vectorise = keras.layers.TextVectorization(vocabulary, **options)
        parts = [tf.data.Dataset.from_tensor_slices(list(part)).batch(500) for part in (train, test)]
        vectorise.adapt(parts[0])
        encoded = [part.map(vectorise, tf.data.AUTOTUNE).as_numpy_iterator() for part in parts]
        ids = [np.concatenate(list(part)).astype("int32") for part in encoded]
    longest = [np.count_nonzero(part.any(axis=0)) for part in ids]  # in tokens, with START and END
    for name, tokens in zip(("training", "test"), longest, strict=True):
        if tokens <= 2:
            raise StudyError(f"all {name} texts are empty: put words into them, or use more of them")
    return *(part[:, : longest[0]] for part in ids), [str(word) for word in vectorise.get_vocabulary()]


def example_sentence(ids: np.ndarray, vocabulary: Sequence[str], tokens: int = 16) -> np.ndarray:
    """The first text (n,) whose beginning is a sentence of so many known tokens, or what comes nearest to that."""
    beginnings = ids[:, :tokens]
    full_stop = np.array(vocabulary)[beginnings[:, -1]] == "."
    chosen = beginnings[np.argmax((beginnings > UNKNOWN).sum(axis=1) + 0.5 * full_stop)]
    return chosen[chosen != PAD]


def prompt_tokens(prompt: str) -> list[str]:
    """START and the tokens of a prompt.

    Raises:
        StudyError: when it holds no word.
    """
    tokens = standardise(tf.constant([prompt]))[0].numpy().decode().split()[:-1]
    if len(tokens) == 1:
        raise StudyError("--prompt holds no word: give at least one, such as --prompt 'This is'")
    return tokens


def prompt_ids(tokens: Sequence[str], vocabulary: Sequence[str], window: int, say: Callable[[str], None]) -> np.ndarray:
    """A prompt's tokens, START first, as ids int32 (1, n); `say` names unknown words.

    Raises:
        StudyError: when none of the words is in the vocabulary, or when there are too many for the window.
    """
    words = tokens[1:]
    if len(tokens) > window:
        raise StudyError(
            f"--prompt has {len(words)} tokens, but the window has room for {window - 1}: "
            "shorten it, or train on longer texts"
        )
    unknown = [word for word in words if word not in vocabulary]
    if unknown and not any(word.strip('.,!?;:()"/–-') for word in words if word not in unknown):
        raise StudyError(f"--prompt: none of its words is in the vocabulary ({', '.join(unknown)}); use common ones")
    if unknown:
        say(f"note: these words of the prompt are unknown to the model: {', '.join(unknown)}")
    return np.array([[UNKNOWN if token in unknown else vocabulary.index(token) for token in tokens]], "int32")


def readable(ids: Sequence[int], vocabulary: Sequence[str]) -> str:
    """Ids of lower-case tokens as normal text: no space before a comma, a capital at the beginning of a sentence."""
    text = " ".join(word for word in (vocabulary[number] for number in ids) if word not in NO_WORDS)
    text = re.sub(r'" (.*?) "', r'"\1"', text)  # quotation marks come in pairs
    text = re.sub(r" ([-/]) ", r"\1", text)
    text = re.sub(r" ([.,!?;:)])", r"\1", text).replace("( ", "(")
    text = re.sub(r"\bi\b", "I", text)
    return re.sub(r"(^\W*|[.!?] \W*)([a-z])", lambda begin: begin[1] + begin[2].upper(), text)


def paragraph(ids: Sequence[int], vocabulary: Sequence[str]) -> str:
    """The same in lines of at most 100 characters."""
    return textwrap.fill(readable(ids, vocabulary), 100)


def repeated(ids: Sequence[int], n: int = 3) -> float:
    """Share of the n-grams of a text that occurred earlier in it, 0 to 1."""
    grams = np.lib.stride_tricks.sliding_window_view(ids, min(n, len(ids)))
    return 1 - len(np.unique(grams, axis=0)) / len(grams)


def sections(texts: Mapping[str, Sequence[str]], most: int) -> str:
    """Named groups of texts as one plain text file: at most so many of each group, without repetitions."""
    groups = {name: list(dict.fromkeys(group))[:most] for name, group in texts.items()}
    return "\n".join(f"== {name} ==\n\n" + "\n\n".join(group) + "\n" for name, group in groups.items())


def seconds_per_call(function: Callable[[int], object], calls: int = 6) -> float:
    """Median seconds of function(1), function(2), ...; function(0) is not counted, because a first call compiles."""
    times = []
    for number in range(calls + 1):
        begin = time.perf_counter()
        function(number)
        times.append(time.perf_counter() - begin)
    return float(np.median(times[1:]))
