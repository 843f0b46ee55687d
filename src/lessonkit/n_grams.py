"""n-gram models of music in four voices: the baselines of lesson 27, measured and as composers."""

from collections import defaultdict
from collections.abc import Sequence

from lessonkit import metrics

import numpy as np

ORDER = 6  # of the composer: the five notes before are the whole step before, and one voice more


def as_texts(codes: np.ndarray, size: int) -> np.ndarray:
    """Codes (n, steps, 4) below `size` as texts, voice after voice, behind a start token: int (n, 1 + 4 steps)."""
    return np.pad(codes.reshape(len(codes), -1), ((0, 0), (1, 0)), constant_values=size)


def as_voices(codes: np.ndarray, size: int) -> np.ndarray:
    """Each voice as a text of its own, in an alphabet of its own: int (4 n, 1 + steps), soprano first."""
    own = codes + size * np.arange(4) * (codes > 0)
    own = np.concatenate([np.full_like(own[:, :1], 4 * size), own], axis=1)
    return own.transpose(2, 0, 1).reshape(-1, own.shape[1])


def nats(train: np.ndarray, held_out: np.ndarray, size: int, orders: Sequence[int]) -> dict[str, np.ndarray]:
    """Nats of every held-out code under Kneser-Ney models, by name, in the order of `held_out`.

    train, held_out: codes (n, steps, 4) below `size`, 0 for padding at the end.
    """
    found = {}
    for order in orders:
        texts = as_texts(train, size), as_texts(held_out, size)
        found[f"{order}-gram, all voices"] = metrics.n_gram_nats(*texts, order, size + 1)
        if 2 <= order <= 5:
            texts = as_voices(train, size), as_voices(held_out, size)
            by_voice = held_out.transpose(2, 0, 1)
            placed = np.zeros(by_voice.shape)
            placed[by_voice > 0] = metrics.n_gram_nats(*texts, order, 4 * size + 1)
            found[f"{order}-gram, each voice"] = placed.transpose(1, 2, 0)[held_out > 0]
    return found


def compose(read: Sequence[np.ndarray], count: int, steps: int, held: int, seed: int) -> np.ndarray:
    """Pieces (count, steps, 4): each code follows a random occurrence of the longest context found in the training.

    Args:
        read: codes (n, 4) of each training piece.
        held: codes from here on hold a note, `code - held`.
    """
    random, followers = np.random.default_rng(seed), defaultdict(list)
    for codes in read:
        text = [2 * held, *codes.flatten().tolist()]
        for end in range(1, len(text)):
            for length in range(min(ORDER, end + 1)):
                followers[tuple(text[end - length : end])].append(text[end])
    pieces = []
    for _ in range(count):
        text = [2 * held]
        while len(text) <= 4 * steps:
            contexts = (tuple(text[len(text) - length :]) for length in range(min(ORDER - 1, len(text)), -1, -1))
            found = followers[next(context for context in contexts if context in followers)]
            code = found[random.integers(len(found))]
            if code >= held and len(text) > 4:  # a note that is held is the one that this voice has
                code = held + text[-4] % held
            text.append(code)
        pieces.append(np.reshape(text[1:], (steps, 4)))
    return np.stack(pieces)
