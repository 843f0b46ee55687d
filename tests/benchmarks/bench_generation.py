"""Tokens per second of lesson 15's generator against the form in which tutorials generate text.

The tutorials send the whole window through the model, layer by layer in Python (eagerly), for every token, and use
the logits of one position. Lesson 15 keeps keys and values in a cache and loops inside one compiled function. Both
generate the same 100 tokens greedily with the same weights, alternately, in one process, so that other load on the
machine affects both equally. It is checked that the tokens and the logits are the same.

Run:    python tests/benchmarks/bench_generation.py
"""

import sys

from benchmark import load_lesson, seconds_in_turn

import keras
import numpy as np
import tensorflow as tf

TOKENS, ROUNDS = 100, 5
LEAST_RATIO = 20.0
MOST_DIFFERENCE = 1e-4


def tutorial_form(model: keras.Model, start: int, suppressed: np.ndarray, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Greedy tokens (TOKENS,) and the logits (TOKENS, vocabulary) that chose them."""
    window, logits = np.zeros((1, length), "int32"), []
    window[0, 0] = start
    tokens = []
    for position in range(TOKENS):
        logits.append(model(window).numpy()[0, position])
        tokens.append(int(np.argmax(logits[-1] + suppressed)))
        if position + 1 < length:
            window[0, position + 1] = tokens[-1]
    return np.array(tokens), np.array(logits)


def cached_logits(generator, tokens: np.ndarray) -> np.ndarray:
    """The logits (TOKENS, vocabulary) that the generator's cache gives for [start] and then `tokens`."""
    caches, logits = generator.empty_cache(1), []
    for position, token in enumerate([generator.start, *tokens[:-1]]):
        row, caches = generator.step(tf.constant([token]), tf.constant(position), caches)
        logits.append(row.numpy()[0])
    return np.array(logits)


def measure() -> dict:
    """Median tokens per second of both forms: name, ours, theirs, ratio (ours / theirs), unit; and the difference."""
    lesson = load_lesson("15_IMDB_text_transformer")
    keras.utils.set_random_seed(0)
    settings = lesson.Config()
    vocabulary = ["", "[UNK]", lesson.START, lesson.END, *map(str, range(settings.vocabulary - 4))]
    ids = np.random.default_rng(0).zipf(1.3, (2_000, settings.length + 1)) % settings.vocabulary
    model = lesson.build_model(settings, vocabulary, ids)
    generator = lesson.TextGenerator(model, endless=True)
    prompt = np.array([[generator.start]], "int32")

    forms = {
        "ours": lambda: lesson.generate_texts(generator, prompt, [(0.0, 0, 1.0)], 1, TOKENS, seed=0)[0, 0, 1:],
        "theirs": lambda: tutorial_form(model, generator.start, generator.suppressed, settings.length)[0],
    }
    generated = {name: form() for name, form in forms.items()}
    seconds = seconds_in_turn(forms, ROUNDS)
    logits = tutorial_form(model, generator.start, generator.suppressed, settings.length)[1]
    ours, theirs = (TOKENS / seconds[name] for name in ("ours", "theirs"))
    return {
        "name": f"generating {TOKENS} tokens, against the whole window through the model eagerly for each",
        "ours": ours,
        "theirs": theirs,
        "ratio": ours / theirs,
        "unit": "tokens per second",
        "same_tokens": bool(np.array_equal(generated["ours"], generated["theirs"])),
        "largest_difference": float(np.abs(cached_logits(generator, generated["theirs"]) - logits).max()),
    }


if __name__ == "__main__":
    result = measure()
    print("{name}: {ours:.0f} against {theirs:.1f} {unit}, {ratio:.0f} times as fast".format(**result))
    print("same tokens: {same_tokens}; logits differ by at most {largest_difference:.1e}".format(**result))
    if not result["same_tokens"] or result["largest_difference"] > MOST_DIFFERENCE:
        sys.exit(f"the logits should agree to {MOST_DIFFERENCE}")
    sys.exit(0 if result["ratio"] >= LEAST_RATIO else f"expected at least {LEAST_RATIO} times")
