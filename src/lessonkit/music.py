"""Music in four voices: files (MIDI and MusicXML by music21, sound by additive synthesis) and rules of voice leading.

A piece is pitches int (steps, 4), MIDI numbers with 0 for rests, and attacks bool (steps, 4), where notes begin; a step
is an eighth.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lessonkit.datasets.chorales import VOICES

import numpy as np
from scipy.io import wavfile

if TYPE_CHECKING:
    from lessonkit.run import Run

TEMPO = 100  # quarter notes per minute
RATE = 6_000  # samples per second: 16 bars of 4/4 have less than 500 kB
MOST_BYTES = 500_000


def notes(pitches: np.ndarray, attacks: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """(first step, step after the last, pitch or 0) of the notes and rests of one voice (steps,)."""
    starts = np.flatnonzero(np.append(attacks, True))
    starts[:1] = 0
    for begin, end in zip(starts, starts[1:], strict=False):
        yield int(begin), int(end), int(pitches[begin])


def broken_rules(pieces: Sequence[np.ndarray]) -> dict[str, float]:
    """Crossings per 100 pairs of neighbouring voices, parallel fifths and octaves per 100 changes of the chord.

    Two voices move in parallel fifths when both go in the same direction and are a fifth, plus octaves, apart before
    and after.
    """
    crossed = neighbours = changes = fifths = octaves = 0
    for pitches in pieces:
        pitches = pitches.astype(int)
        both = (pitches[:, :-1] > 0) & (pitches[:, 1:] > 0)
        crossed += np.sum(both & (pitches[:, :-1] < pitches[:, 1:]))
        neighbours += both.sum()
        moves = np.diff(pitches, axis=0) * (pitches[1:] > 0) * (pitches[:-1] > 0)
        changes += np.any(moves != 0, axis=1).sum()
        for upper in range(4):
            for lower in range(upper + 1, 4):
                together = moves[:, upper] * moves[:, lower] > 0
                interval = (pitches[:, upper] - pitches[:, lower]) % 12
                fifths += np.sum(together & (interval[1:] == 7) & (interval[:-1] == 7))
                octaves += np.sum(together & (interval[1:] == 0) & (interval[:-1] == 0))
    shares = {"voice crossings": crossed / max(neighbours, 1), "parallel fifths": fifths / max(changes, 1)}
    return {name: 100 * share for name, share in (shares | {"parallel octaves": octaves / max(changes, 1)}).items()}


def score(pitches: np.ndarray, attacks: np.ndarray, bar: int = 8, first: int = 0):
    """A music21 score; `bar` in steps, `first` is the place in its bar of the first step."""
    from music21 import meter, note, stream, tempo

    whole = stream.Score()
    for voice, name in enumerate(VOICES):
        part = stream.Part(id=name)
        part.partName = name
        part.insert(0, tempo.MetronomeMark(number=TEMPO))
        metre = meter.TimeSignature(f"{bar // 4}/2" if bar == 12 else f"{bar // 2}/4")
        measure = stream.Measure(number=1)
        measure.insert(0, metre)
        place = first  # of the next note in its bar
        measure.paddingLeft = first / 2
        for begin, end, pitch in notes(pitches[:, voice], attacks[:, voice]):
            left, tied = end - begin, False
            while left:  # a note across a bar line is written as two that are tied
                length = min(left, bar - place)
                each = note.Note(pitch) if pitch else note.Rest()
                each.quarterLength = length / 2
                more = left > length
                if pitch and (tied or more):
                    each.tie = TIES[tied, more]()
                measure.append(each)
                left, tied, place = left - length, True, (place + length) % bar
                if place == 0:
                    part.append(measure)
                    measure = stream.Measure(number=measure.number + 1)
        if len(measure.notesAndRests):
            part.append(measure)
        whole.insert(0, part)
    return whole


def _tie(kind: str):
    def make():
        from music21 import tie

        return tie.Tie(kind)

    return make


TIES = {(False, True): _tie("start"), (True, True): _tie("continue"), (True, False): _tie("stop")}


def synthesise(pitches: np.ndarray, attacks: np.ndarray) -> np.ndarray:
    """Sound float (samples,) in [-1, 1]: each note is a sum of harmonics that decay, the higher the faster."""
    step = 30 / TEMPO  # seconds per eighth
    sound = np.zeros(round((len(pitches) * step + 1) * RATE))
    for voice in range(pitches.shape[1]):
        for begin, end, pitch in notes(pitches[:, voice], attacks[:, voice]):
            if not pitch:
                continue
            seconds = np.arange(round(((end - begin) * step + 0.15) * RATE)) / RATE
            frequency = 440 * 2 ** ((pitch - 69) / 12)
            tone = np.zeros(len(seconds))
            for k in range(1, 9):
                if k * frequency < 0.45 * RATE:  # above half the rate it would be heard as another pitch
                    tone += np.sin(2 * np.pi * k * frequency * seconds) / k**1.5 * np.exp(-0.4 * k * seconds)
            tone *= np.clip(seconds / 0.02, 0, 1) * np.clip((seconds[-1] - seconds) / 0.15, 0, 1)  # no clicks
            at = round(begin * step * RATE)
            sound[at : at + len(tone)] += tone
    return 0.9 * sound / max(np.abs(sound).max(), 1e-9)


def write(run: "Run", name: str, pitches: np.ndarray, attacks: np.ndarray, bar: int = 8, first: int = 0) -> None:
    """Write MIDI, MusicXML and, where it has at most 500 kB, a WAV file into the run's folder."""
    folder: Path = run.staging / run.name
    written = score(pitches, attacks, bar, first)
    written.write("musicxml", folder / f"{name}.musicxml")
    written.write("midi", folder / f"{name}.mid")
    sound = synthesise(pitches, attacks)
    if 2 * len(sound) + 44 <= MOST_BYTES:
        wavfile.write(folder / f"{name}.wav", RATE, np.round(sound * 32767).astype(np.int16))
    else:
        run.say(f"{name}.wav would have more than {MOST_BYTES // 1000} kB: not written")
