"""Bach's four-part chorales, which come inside the package music21: real data that need no network.

Reading some 400 scores takes about 40 seconds of computation, so all processors do it once, and what they found is
kept beside the other caches, in Keras' folder. With `--limit`, only so many scores are read.
"""

import dataclasses
import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from lessonkit.config import StudyError
from lessonkit.datasets import source

import numpy as np

if TYPE_CHECKING:
    from lessonkit.run import Run

NAME = "Bach chorales"
VOICES = ("Soprano", "Alto", "Tenor", "Bass")
FORMAT = 3  # of the cache; another number makes every cache be read anew


@dataclasses.dataclass(frozen=True)
class Chorale:
    """One piece on a grid of sixteenth notes.

    pitches: uint8 (steps, 4), MIDI numbers of soprano, alto, tenor and bass; 0 where a voice rests.
    attacks: bool (steps, 4), True where a note or a rest begins.
    places: uint8 (steps,), sixteenths since the last bar line (a first bar that is incomplete does not begin at 0).
    bar: sixteenths in a bar.
    """

    name: str
    pitches: np.ndarray
    attacks: np.ndarray
    places: np.ndarray
    bar: int

    def __len__(self) -> int:
        return len(self.pitches)


def grid(part, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Pitches and attacks (steps,) of a music21 part; of a chord the highest note, off the grid the nearest place."""
    pitches, attacks = np.zeros(steps, np.uint8), np.zeros(steps, bool)
    for note in part.flatten().notes:
        begin, end = round(float(note.offset) * 4), round(float(note.offset + note.quarterLength) * 4)
        if end > begin:
            pitches[begin:end] = max(pitch.midi for pitch in note.pitches)
            attacks[begin] = note.tie is None or note.tie.type == "start"
    changes = np.flatnonzero(np.diff(pitches, prepend=0) != 0)
    attacks[changes] = True  # rests, and tied notes whose beginning is missing
    attacks[0] = True
    return pitches, attacks


def read_score(path: str):
    """One score as the fields of a Chorale, or None where it does not have four voices by these names and one metre."""
    from music21 import converter

    score = converter.parseFile(path, storePickle=False)
    parts = {part.partName: part for part in score.parts}
    metres = {metre.ratioString for metre in score.recurse().getElementsByClass("TimeSignature")}
    if not set(VOICES) <= set(parts) or len(metres) != 1:
        return None
    steps = round(float(score.highestTime) * 4)
    rows = [grid(parts[name], steps) for name in VOICES]
    bar = round(float(next(score.recurse().getElementsByClass("TimeSignature")).barDuration.quarterLength) * 4)
    places = np.zeros(steps, np.uint8)
    for measure in parts["Soprano"].getElementsByClass("Measure"):
        begin = round(float(measure.offset) * 4)
        places[begin:] = (np.arange(steps - begin) + round(float(measure.paddingLeft) * 4)) % bar
    pitches, attacks = (np.stack(both, axis=1) for both in zip(*rows, strict=True))
    return os.path.basename(path).removesuffix(".mxl"), pitches, attacks, places, bar


def scores() -> list[str]:
    """Paths of the scores inside music21, in a fixed mixed order.

    Raises:
        StudyError: without music21.
    """
    try:
        from music21 import corpus
    except ImportError:
        raise StudyError("the chorales come inside the package music21: pip install -r requirements.txt") from None
    paths = sorted(str(path) for path in corpus.getComposer("bach") if path.suffix == ".mxl")
    return [paths[place] for place in np.random.default_rng(0).permutation(len(paths))]


def read_scores(paths: list[str]) -> list:
    """`read_score` of each. Half of the time would go to Python's search for unreachable objects: it waits."""
    gc.freeze()  # what is there already need not be searched at all
    gc.disable()
    try:
        return [read_score(path) for path in paths]
    finally:
        gc.enable()
        gc.unfreeze()


def read_all(paths: list[str]) -> list[Chorale]:
    """Read scores on all processors; what has not four voices in one metre is left out."""
    import cloudpickle
    from joblib import Parallel, delayed

    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers need not import TensorFlow
    groups = [paths[first : first + 16] for first in range(0, len(paths), 16)]
    found = Parallel(n_jobs=1 if len(groups) < 2 else -1)(delayed(read_scores)(group) for group in groups)
    return [Chorale(*fields) for group in found for fields in group if fields is not None]


def save(path: Path, pieces: list[Chorale]) -> None:
    """Write a small file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial.npz")
    stacked = {field: np.concatenate([getattr(piece, field) for piece in pieces]) for field in ARRAYS}
    heads = {"names": [piece.name for piece in pieces], "bars": [piece.bar for piece in pieces]}
    np.savez_compressed(partial, **stacked, **heads, lengths=[len(piece) for piece in pieces])
    partial.replace(path)


def load(path: Path) -> list[Chorale]:
    """The inverse of `save`."""
    with np.load(path) as file:
        ends = np.cumsum(file["lengths"])[:-1]
        parts = [np.split(file[field], ends) for field in ARRAYS]
        fields = zip(file["names"].tolist(), *parts, file["bars"].tolist(), strict=True)
        return [Chorale(*values) for values in fields]


ARRAYS = ("pitches", "attacks", "places")


def has_interludes(piece: Chorale, most: float = 0.2) -> bool:
    """Whether all voices are silent, because instruments play, for more than this share of the piece."""
    return np.mean((piece.pitches == 0).all(axis=1)) > most


def tune(piece: Chorale) -> bytes:
    """The first eleven intervals of the soprano: equal for two settings of one tune, in whatever key and rhythm."""
    melody = piece.pitches[piece.attacks[:, 0] & (piece.pitches[:, 0] > 0), 0].astype(int)
    return np.diff(melody[:12]).astype(np.int8).tobytes()


def split(pieces: list[Chorale], share: float = 0.12) -> tuple[list[Chorale], list[Chorale]]:
    """Training and test pieces; all settings of one tune are in the same part, and no piece is in both."""
    tunes: dict[bytes, list[Chorale]] = {}
    for piece in pieces:
        tunes.setdefault(tune(piece), []).append(piece)
    test, wanted = [], max(share * len(pieces), 1)
    for settings in tunes.values():
        if len(test) >= wanted:
            break
        test += settings
    kept = {piece.name for piece in test}
    return [piece for piece in pieces if piece.name not in kept], test


def chorales(run: "Run") -> tuple[list[Chorale], list[Chorale]]:
    """Training and test chorales; with `--limit N`, of the first N scores."""
    from importlib import metadata

    with run.part("data"):
        paths = scores()
        version = metadata.version("music21")
        cache = source.keras_home() / "datasets" / f"chorales-{version}-{FORMAT}.npz"
        limit = run.config.limit
        try:
            pieces = load(cache)
        except Exception:  # not there, or not whole
            run.say(
                f"reading {len(paths[:limit])} scores" + ("" if limit else ", only this once: half a minute or less")
            )
            pieces = read_all(paths[:limit])
            if limit is None:
                try:
                    save(cache, pieces)
                except OSError as problem:
                    run.say(f"{cache} cannot be written ({problem.strerror}): the next run reads the scores again")
        names = {os.path.basename(path).removesuffix(".mxl") for path in paths[:limit]}
        train, test = split([piece for piece in pieces if piece.name in names and not has_interludes(piece)])
    if not train or not test:
        raise StudyError("no chorales are left for training or for the test; use a larger --limit")
    run.record_data(NAME, "real", f"music21 {version}", {"train": len(train), "test": len(test)})
    return train, test


def read_melody(path: Path) -> Chorale:
    """The highest part of a MusicXML or MIDI file as the soprano of a piece whose other voices rest.

    It is moved by octaves into the soprano's range.

    Raises:
        StudyError: for a file that music21 cannot read, or a melody that is not as the chorales are.
    """
    from music21 import converter, stream

    if not path.is_file():
        raise StudyError(f"{path}: no such file; --melody wants a MusicXML or MIDI file")
    try:
        score = converter.parse(path, forceSource=True)
        parts = list(score.parts) if isinstance(score, stream.Score) else [score]
        part = max(parts, key=lambda part: np.mean([p.midi for n in part.flatten().notes for p in n.pitches] or [0]))
        steps = -(-round(float(part.highestTime) * 4) // 2) * 2  # whole eighths
        metre = next(iter(part.recurse().getElementsByClass("TimeSignature")), None)
        bar = round(float(metre.barDuration.quarterLength) * 4) if metre else 16
        pickup = next((round(float(m.paddingLeft) * 4) for m in part.getElementsByClass("Measure")), 0)
        pitches, attacks = grid(part, steps) if steps else (np.zeros(0, np.uint8), np.zeros(0, bool))
    except StudyError:
        raise
    except Exception as problem:  # of music21, of its parsers
        said = " ".join(str(problem).split())[:200] or type(problem).__name__
        raise StudyError(f"{path}: music21 cannot read it ({said}); --melody wants a MusicXML or MIDI file") from None
    if not pitches.any():
        raise StudyError(f"{path}: holds no notes; --melody wants a MusicXML or MIDI file with a melody")
    if bar not in (12, 16, 24):
        raise StudyError(f"{path}: its metre is {metre.ratioString}; the model knows 4/4, 3/4 and 3/2 alone")
    if steps > MOST_STEPS:
        raise StudyError(f"{path}: {steps // 2} eighths are too long; the most is {MOST_STEPS // 2}")
    sounding = pitches[pitches > 0].astype(int)
    octaves = 12 * round((69 - np.median(sounding)) / 12)
    if sounding.min() + octaves < 50 or sounding.max() + octaves > 87:
        raise StudyError(f"{path}: the melody has a wider range than a soprano sings; use a part of it")
    rest = np.zeros((steps, 3), np.uint8)
    pitches = np.where(pitches > 0, pitches.astype(int) + octaves, 0).astype(np.uint8)
    held = np.arange(steps)[:, None].repeat(3, axis=1) == 0
    places = ((np.arange(steps) + pickup) % bar).astype(np.uint8)
    return Chorale(path.stem, np.column_stack([pitches, rest]), np.column_stack([attacks, held]), places, bar)


MOST_STEPS = 2048  # sixteenths of a melody: 128 bars of 4/4
