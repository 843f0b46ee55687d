"""Plumbing of the text lesson: prompts, tokens set as text again, and how much a text repeats itself."""

import re
import time
from collections.abc import Callable, Mapping, Sequence

from lessonkit.config import StudyError

import numpy as np

UNKNOWN = "[UNK]"  # TextVectorization's name for every token that it has no number for
NO_WORDS = ("", "[start]", "[end]")


def checked(tokens: list[str]) -> list[str]:
    """A prompt's tokens, of which the first marks the start; StudyError if there is no word after it."""
    if len(tokens) == 1:
        raise StudyError("--prompt holds no word: give at least one, such as --prompt 'This is'")
    return tokens


def prompt_ids(tokens: Sequence[str], vocabulary: Sequence[str], window: int, say: Callable[[str], None]) -> np.ndarray:
    """A prompt's tokens, of which the first marks the start, as numbers int32 (1, n); `say` names unknown words.

    Raises:
        StudyError: when the model knows none of the words, or when they leave no room in its window.
    """
    words = tokens[1:]
    if len(tokens) > window:
        raise StudyError(f"--prompt has {len(words)} tokens, but the window has room for {window - 1}: shorten it")
    strange = [word for word in words if word not in vocabulary]
    if strange and not any(word.strip('.,!?;:()"/–-') for word in words if word not in strange):
        raise StudyError(f"--prompt: the model knows none of its words ({', '.join(strange)}); use common ones")
    if strange:
        say(f"note: these words of the prompt are unknown to the model: {', '.join(strange)}")
    return np.array([[vocabulary.index(UNKNOWN if token in strange else token) for token in tokens]], "int32")


def readable(ids: Sequence[int], vocabulary: Sequence[str]) -> str:
    """Numbers of lower-case tokens as people set them: no space before a comma, capitals where a sentence begins."""
    text = " ".join(word for word in (vocabulary[number] for number in ids) if word not in NO_WORDS)
    text = re.sub(r'" (.*?) "', r'"\1"', text)  # quotation marks come in pairs
    text = re.sub(r" ([-/]) ", r"\1", text)
    text = re.sub(r" ([.,!?;:)])", r"\1", text).replace("( ", "(")
    text = re.sub(r"\bi\b", "I", text)
    return re.sub(r"(^\W*|[.!?] \W*)([a-z])", lambda begin: begin[1] + begin[2].upper(), text)


def repeated(ids: Sequence[int], n: int = 3) -> float:
    """Share of the n-grams of a text that stood in it before, 0 to 1."""
    grams = np.lib.stride_tricks.sliding_window_view(ids, min(n, len(ids)))
    return 1 - len(np.unique(grams, axis=0)) / len(grams)


def sections(texts: Mapping[str, Sequence[str]], most: int) -> str:
    """Named groups of texts as one plain text file: at most so many of each group, and none twice."""
    groups = {name: list(dict.fromkeys(group))[:most] for name, group in texts.items()}
    return "\n".join(f"== {name} ==\n\n" + "\n\n".join(group) + "\n" for name, group in groups.items())


def seconds_per_call(function: Callable[[int], object], calls: int = 6) -> float:
    """Median seconds of function(1), function(2), ...; function(0) goes before, as a first call compiles."""
    times = []
    for number in range(calls + 1):
        begin = time.perf_counter()
        function(number)
        times.append(time.perf_counter() - begin)
    return float(np.median(times[1:]))
