"""Lesson 27: codes and transposition, the split, causality, the cache, sampling, rules, n-grams, and music files."""

import dataclasses
import json
import signal

from lessonkit import music, n_grams, training
from lessonkit.config import StudyError
from lessonkit.datasets import chorales
from lessonkit.datasets.chorales import Chorale

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import load_lesson
from keras import ops

NAME = "27_Bach_music_transformer"
lesson = load_lesson(NAME)
HOLD, TOKENS = lesson.HOLD, lesson.TOKENS
PLAIN = np.int32(0), np.float32(1.0), np.float32(1.0)  # seed, temperature, nucleus
SMALL = dataclasses.replace(lesson.Config(), width=16, heads=2, blocks=2, window=8, dropout=0.0)


def tokens_of(codes):
    return np.where(codes >= TOKENS, HOLD, codes)


def a_piece(name="piece", seed=0, eighths=24, bar=16) -> Chorale:
    """Notes of one to four eighths in four voices that do not cross."""
    random = np.random.default_rng(seed)
    pitches, attacks = np.zeros((2 * eighths, 4), np.uint8), np.zeros((2 * eighths, 4), bool)
    for voice, middle in enumerate((72, 64, 57, 48)):
        begin = 0
        while begin < eighths:
            length = int(random.integers(1, 5))
            pitches[2 * begin : 2 * (begin + length), voice] = middle + random.integers(-3, 4)
            attacks[2 * begin, voice] = True
            begin += length
    return Chorale(name, pitches, attacks, (np.arange(2 * eighths) % bar).astype(np.uint8), bar)


def chords(*pitches) -> np.ndarray:
    """Codes of chords that all begin anew; 0 is a rest."""
    pitches = np.array(pitches)
    return np.where(pitches > 0, pitches - lesson.LOWEST + lesson.FIRST_PITCH, lesson.REST)


def small_model(settings=SMALL) -> keras.Model:
    """An untrained model with larger weights than usual, so that every input matters."""
    keras.utils.set_random_seed(1)
    model = lesson.build_model(settings)
    for seed, weight in enumerate(model.trainable_variables):
        if len(weight.shape) == 2:
            weight.assign(keras.random.normal(weight.shape, seed=seed) / weight.shape[0] ** 0.25)
    return model


def inputs(count=2, eighths=8) -> tuple[np.ndarray, np.ndarray]:
    rows = lesson.excerpts([a_piece(seed=seed, eighths=eighths) for seed in range(count)], eighths, eighths)
    return rows[..., :4], rows[..., 4:]


# Data


def test_codes_say_pitch_and_hold_and_transposition_moves_pitches_alone():
    piece = a_piece()
    piece.pitches[:8, 2] = 0
    codes = lesson.codes_of(piece)
    assert np.array_equal(lesson.pitches_of(codes), piece.pitches[::2])
    assert np.array_equal(tokens_of(codes) == HOLD, ~piece.attacks[::2])
    for shift in lesson.KEYS:
        moved = lesson.codes_of(piece, shift)
        assert np.array_equal(
            lesson.pitches_of(moved)[codes % TOKENS > 1], (lesson.pitches_of(codes) + shift)[codes % TOKENS > 1]
        )
        assert np.array_equal(tokens_of(moved) == HOLD, tokens_of(codes) == HOLD)
    assert len(lesson.KEYS) == 12 and (lesson.codes_of(piece)[:4, 2] % TOKENS == lesson.REST).all()


def test_a_note_that_begins_between_two_eighths_begins_at_the_next():
    piece = a_piece(eighths=8)
    piece.pitches[:, 0], piece.attacks[:, 0] = 70, False
    piece.attacks[[0, 5], 0] = True
    assert np.flatnonzero(lesson.codes_of(piece)[:, 0] < TOKENS).tolist() == [0, 3]


def test_every_test_token_is_in_one_window_and_training_pieces_are_in_twelve_keys():
    piece = a_piece(eighths=20)
    rows = lesson.excerpts([piece], 8, 8)
    assert (
        np.array_equal(rows[..., :4].reshape(-1, 4)[:20], lesson.codes_of(piece)) and not rows.reshape(-1, 6)[20:].any()
    )
    assert len(lesson.excerpts([piece], 8, 8, lesson.KEYS)) == 12 * len(rows)
    assert rows[0, :, 5].tolist() == [19, 18, 17, 16, 15, 14, 13, 12], "eighths left"


def test_settings_of_one_tune_are_in_one_part():
    pieces = [a_piece(f"piece {seed}", seed) for seed in range(20)]
    for place in range(0, 20, 2):  # the next piece has the tune of this one, in another key
        voices = pieces[place + 1].pitches.copy()
        voices[:, 0], starts = pieces[place].pitches[:, 0] + 2, pieces[place + 1].attacks.copy()
        starts[:, 0] = pieces[place].attacks[:, 0]
        pieces[place + 1] = dataclasses.replace(pieces[place + 1], pitches=voices, attacks=starts)
    train, test = chorales.split(pieces)
    assert len(train) + len(test) == 20 and test
    assert not {chorales.tune(piece) for piece in train} & {chorales.tune(piece) for piece in test}


def test_pieces_with_instrumental_interludes_are_left_out():
    piece = a_piece(eighths=20)
    assert not chorales.has_interludes(piece)
    piece.pitches[10:19, :3] = 0
    assert not chorales.has_interludes(piece), "one voice sings"
    piece.pitches[10:19] = 0
    assert chorales.has_interludes(piece)


def test_the_cache_of_the_scores_gives_back_what_was_kept(tmp_path):
    pieces = [a_piece("one", 1), a_piece("two", 2, eighths=9, bar=12)]
    chorales.save(tmp_path / "new" / "chorales.npz", pieces)
    for one, other in zip(pieces, chorales.load(tmp_path / "new" / "chorales.npz"), strict=True):
        assert all(np.array_equal(getattr(one, field), getattr(other, field)) for field in vars(one))


# The model


def largest_leak() -> float:
    """The largest change of logits that come before the note that was changed, in time or from above."""
    model, (codes, times) = small_model(), inputs(1)
    places = [(step, voice) for step in (1, 4, 7) for voice in range(4)]
    changed = np.repeat(codes, len(places) + 1, axis=0)  # the last one is as it was
    for other, place in zip(changed, places, strict=False):
        other[place] = 2 + (other[place] + 7) % 50
    logits = ops.convert_to_numpy(model((changed, np.repeat(times, len(changed), axis=0))))
    leak = 0.0
    for (step, voice), change in zip(places, np.abs(logits[:-1] - logits[-1]).max(axis=-1), strict=True):
        assert change[step, voice + 1 :].min(initial=1) > 1e-4, "the voices below must see the change"
        assert change[step + 1 :].min(initial=1) > 1e-4, "all later steps must see the change"
        leak = max(leak, change[:step].max(), change[step, : voice + 1].max())
    return leak


def test_no_note_is_told_of_itself_or_of_what_comes_later():
    assert largest_leak() < 5e-5  # rows of one batch are not summed in the same order


def test_attention_reaches_as_far_back_as_the_window():
    model, (codes, times) = small_model(dataclasses.replace(SMALL, blocks=1)), inputs(1, 20)
    other = codes.copy()
    other[:, 0] = 5  # step 1 reads it, and is attended to until step 1 + 7
    change = np.abs(ops.convert_to_numpy(model((other, times)) - model((codes, times)))).max(axis=(0, 2, 3))
    assert np.flatnonzero(change[1:] > 1e-5).tolist() == list(range(8))


def test_loss_counts_every_token_but_padding_once():
    codes, _ = inputs(2)
    codes[1, 5:] = 0
    logits = np.random.default_rng(0).normal(size=(2, 8, 4, TOKENS)).astype("float32")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    tokens = tokens_of(codes)
    wanted = -np.mean([log_p[(*place, tokens[tuple(place)])] for place in np.argwhere(codes > 0)])
    assert float(lesson.loss(codes, logits)) == pytest.approx(wanted, rel=1e-5)


def test_distances_and_moves_are_equal_in_all_keys_and_unknown_beside_rests():
    low, high = chords(48, 0, 60), chords(67, 60, 55)
    assert ops.convert_to_numpy(lesson.distance(high, low, 36)).tolist() == [37 + 19, 0, 37 - 5]
    assert ops.convert_to_numpy(lesson.interval_class(high, low)).tolist() == [8, 0, 8], (
        "a twelfth is a fifth; 60 to 55"
    )
    after = np.array([low[0] + 2, low[1] + TOKENS, low[2] - 20])
    assert ops.convert_to_numpy(lesson.move(after, low)).tolist() == [16, lesson.HELD, 1]
    piece = lesson.codes_of(a_piece())
    for shift in (-5, 6):
        moved = lesson.codes_of(a_piece(), shift)
        for above, voice in ((0, 1), (1, 3)):
            pair = piece[:, above], piece[:, voice]
            assert np.array_equal(lesson.distance(*pair, 36), lesson.distance(moved[:, above], moved[:, voice], 36))
        assert np.array_equal(lesson.move(piece[1:], piece[:-1]), lesson.move(moved[1:], moved[:-1]))


def test_one_row_of_a_table_forbids_parallel_fifths_and_nothing_else():
    """Soprano and bass are a fifth apart, and the soprano goes up a tone: of all bass notes one is concerned."""
    voices = small_model().get_layer("voices")
    before, now = chords((79, 72, 64, 48))[None], chords((81, 72, 64, 48))[None]
    x, up_a_tone = np.zeros((1, 1, 16), "float32"), 16
    plain = ops.convert_to_numpy(voices.voice(x, before[:, None][0], now[:, None][0], 3))[0, 0]
    change = np.zeros(voices.parallel.shape, "float32")
    change[lesson.PAIRS.index((0, 3)), 8, up_a_tone, up_a_tone] = -1
    voices.parallel.assign(voices.parallel + change)
    less = plain - ops.convert_to_numpy(voices.voice(x, before[:, None][0], now[:, None][0], 3))[0, 0]
    parallel = lesson.codes_of(Chorale("", np.full((2, 4), 50, "uint8"), np.ones((2, 4), bool), None, 16))[0, 0]
    assert np.flatnonzero(np.abs(less) > 1e-3).tolist() == [parallel] and less[parallel] == pytest.approx(lesson.GAIN)


# Generation


@pytest.fixture(scope="module")
def composer():
    """One graph for pieces of any number and length, which costs seconds; the window has 8 steps."""
    composer, scalars = (
        lesson.Composer(small_model()),
        [tf.TensorSpec((), kind) for kind in ("int32", *["float32"] * 2)],
    )
    notes = [tf.TensorSpec((None, None, size), "int32") for size in (2, 4, 4)]
    composer.generate.get_concrete_function(*notes, *scalars)
    return composer


@pytest.mark.slow
def test_the_cache_gives_the_logits_of_the_whole_piece_also_behind_the_end_of_the_window(composer):
    model = small_model()
    for eighths in (7, 20):
        codes, times = inputs(2, eighths)
        nats = composer.generate(times, codes, codes, *PLAIN)[1].numpy()
        logits = np.array(model((codes, times)))
        logits[:, 0, :, HOLD] = -1e9  # the first step holds nothing
        whole = ops.convert_to_numpy(lesson.nats_of(codes, logits)[0]).mean(axis=(1, 2))
        assert nats == pytest.approx(whole, rel=1e-4)


def test_pieces_depend_on_the_seed_and_hold_only_what_sounds(composer):
    one, again, other = (lesson.compose(composer, 4, 2, np.int32(seed), *PLAIN[1:]) for seed in (7, 7, 8))
    assert np.array_equal(one, again) and not np.array_equal(one, other)
    assert len({piece.tobytes() for piece in one}) == 4, "pieces of one batch have draws of their own"
    held = one >= TOKENS
    assert np.array_equal(one[:, 1:][held[:, 1:]] % TOKENS, one[:, :-1][held[:, 1:]] % TOKENS)


def test_nothing_is_held_before_the_first_note(composer):
    """Not even by a model whose logits of HOLD are far above all others."""
    biases = [layer.bias for layer in composer.voices.logits]
    kept = [np.array(bias) for bias in biases]
    for bias in biases:
        bias.assign(1e3 * (np.arange(TOKENS + lesson.MOVES) == HOLD))
    codes = lesson.compose(composer, 4, 2, *PLAIN)
    for bias, value in zip(biases, kept, strict=True):
        bias.assign(value)
    assert (codes[:, 0] < TOKENS).all() and (codes[:, 1:] >= TOKENS).all()


def test_a_given_melody_stays_and_the_nats_are_those_of_the_model(composer):
    codes, times = inputs(4, 16)
    given = np.where(np.arange(4) == 0, codes, -1).astype("int32")
    pieces, nats = composer.generate(times, given, given, np.int32(3), *PLAIN[1:])
    pieces = pieces.numpy()
    assert np.array_equal(pieces[..., 0], codes[..., 0]) and (pieces[..., 1:] > 0).all()
    plain, _ = lesson.nats_of(pieces, small_model()((pieces, times)))
    plain = ops.convert_to_numpy(plain)[:, 1:].sum(axis=(1, 2))  # at the first step HOLD is forbidden
    first = nats.numpy() * 64 - plain
    assert (first > 0).all() and (first < 40).all()
    piece = a_piece(eighths=16)
    assert np.array_equal(lesson.harmonise(composer, piece, 4, *PLAIN)[:, 0], lesson.codes_of(piece)[:, 0])


def test_a_chord_is_drawn_after_every_chord_of_the_past(composer):
    codes, times = inputs(4, 16)
    codes[3, 9:] = 0
    pairs = lesson.continue_by_a_chord(composer, np.concatenate([codes, times], axis=-1), *PLAIN)
    assert len(pairs) == 3 * 15 + 8
    assert np.array_equal(np.stack(pairs)[:, 0], np.concatenate([*codes[:3, :-1], codes[3, :8]]))
    held = np.stack(pairs)[:, 1] >= TOKENS
    assert held.any() and np.array_equal(np.stack(pairs)[:, 1][held] % TOKENS, np.stack(pairs)[:, 0][held] % TOKENS)


def test_the_nucleus_is_the_smallest_set_with_so_much_probability():
    p = np.array([[0.1, 0.5, 0.3, 0.06, 0.04], [0.2] * 5], "float32")
    kept = {
        share: (lesson.without_tail(np.log(p), np.float32(share)).numpy() > -1e8).tolist() for share in (0.4, 0.85, 1)
    }
    assert kept[0.4][0] == [False, True, False, False, False]
    assert kept[0.85] == [[True, True, True, False, False], [True] * 5], "equal ones are kept or left together"
    assert all(kept[1][0])


def test_draws_follow_the_probabilities(composer):
    count = 3_000
    times = np.repeat(lesson.clock(np.arange(1), 8)[None], count, axis=0)
    given = np.full((count, 1, 4), -1, "int32")
    drawn = composer.generate(times, given, given, np.int32(0), np.float32(2.0), np.float32(1.0))[0].numpy()[:, 0, 0]
    logits = ops.convert_to_numpy(small_model()((np.zeros((1, 1, 4), "int32"), times[:1])))[0, 0, 0] / 2
    logits[HOLD] = -np.inf
    wanted = np.exp(logits) / np.exp(logits).sum()
    assert np.bincount(drawn, minlength=TOKENS) / count == pytest.approx(wanted, abs=0.035)


# Rules and n-grams


@pytest.mark.parametrize(
    ("first", "second", "fifths", "octaves"),
    [
        ((72, 67, 60, 48), (74, 67, 60, 50), 0, 100),  # soprano and bass: octaves
        ((79, 72, 64, 60), (81, 74, 64, 60), 100, 0),  # soprano and alto
        ((79, 64, 60, 0), (81, 64, 62, 0), 100, 0),  # a twelfth counts, a voice that rests does not
        ((79, 72, 64, 60), (79, 72, 64, 60), 0, 0),  # nothing moves
        ((79, 72, 64, 60), (81, 72, 64, 60), 0, 0),  # one voice moves
        ((67, 60, 55, 48), (72, 60, 55, 41), 0, 0),  # contrary motion
    ],
)
def test_parallels_are_counted(first, second, fifths, octaves):
    found = music.broken_rules([np.array([first, second])])
    assert (found["parallel fifths"], found["parallel octaves"]) == (fifths, octaves)


def test_crossings_are_counted():
    found = music.broken_rules([np.array([(60, 62, 50, 40), (60, 59, 50, 40)], "uint8")])
    assert found["voice crossings"] == pytest.approx(100 / 6)
    assert music.broken_rules([np.array([(60, 60, 0, 40)])])["voice crossings"] == 0


def test_n_grams_count_every_code_once_and_know_what_repeats():
    codes = np.tile(chords((72, 67, 60, 48), (74, 67, 59, 43)), (6, 4, 1))
    codes[:, 6:] = 0
    found = n_grams.nats(codes, codes, 2 * TOKENS, [1, 2, 5])
    assert {len(nats) for nats in found.values()} == {6 * 6 * 4}
    assert found["5-gram, all voices"].mean() < 0.2 < found["1-gram, all voices"].mean()
    assert found["2-gram, each voice"].mean() < 0.5


def test_an_n_gram_composes_what_it_has_read():
    codes = lesson.excerpts([a_piece(seed=seed) for seed in range(3)], 24, 24)[..., :4]
    pieces = n_grams.compose(codes, 2, 12, TOKENS, seed=0)
    held = pieces >= TOKENS
    assert pieces.shape == (2, 12, 4) and set(np.unique(pieces % TOKENS)) <= set(np.unique(codes % TOKENS))
    assert np.array_equal(pieces[:, 1:][held[:, 1:]] % TOKENS, pieces[:, :-1][held[:, 1:]] % TOKENS)


# Files


@pytest.mark.parametrize(("kind", "suffix"), [("musicxml", "musicxml"), ("midi", "mid")])
@pytest.mark.parametrize(("bar", "first"), [(8, 0), (6, 0), (8, 6)])
def test_music_is_read_back_as_it_was_written(kind, suffix, bar, first, tmp_path):
    piece = a_piece(eighths=24 - first)
    pitches, attacks = lesson.notes_of(lesson.codes_of(piece))
    music.score(pitches, attacks, bar, first).write(kind, tmp_path / f"piece.{suffix}")
    melody = chorales.read_melody(tmp_path / f"piece.{suffix}")
    assert melody.bar == 2 * bar
    assert np.array_equal(melody.pitches[: len(piece), 0], piece.pitches[:, 0])
    assert np.array_equal(np.flatnonzero(melody.attacks[: len(piece), 0]), np.flatnonzero(piece.attacks[:, 0]))
    if kind == "musicxml":
        assert melody.places[0] == 2 * first


def test_sound_has_the_pitch_of_the_note():
    pitches, attacks = np.zeros((8, 4), int), np.zeros((8, 4), bool)
    pitches[:, 0], attacks[0] = 69, True
    sound = music.synthesise(pitches, attacks)
    spectrum = np.abs(np.fft.rfft(sound))
    assert np.argmax(spectrum) * music.RATE / len(sound) == pytest.approx(440, abs=1)
    assert np.abs(sound).max() <= 1
    sixteen_bars = round((128 * 30 / music.TEMPO + 1) * music.RATE)
    assert 2 * sixteen_bars + 44 <= music.MOST_BYTES


# Bad input, a whole run, resume


def test_melodies_that_cannot_be_harmonised(tmp_path, capsys):
    missing = tmp_path / "missing.mid"
    with pytest.raises(StudyError, match="no such file"):
        chorales.read_melody(missing)
    for name, content in (("text.mid", b"no music"), ("text.musicxml", b"<not"), ("empty.mid", b"")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(StudyError, match="MusicXML or MIDI"):
            chorales.read_melody(tmp_path / name)
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path / "out"), "--melody", str(missing)])
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
    assert not (tmp_path / "out" / NAME / "run.json").exists()


def test_a_width_that_is_not_divisible_by_the_heads():
    with pytest.raises(StudyError, match="--heads 3"):
        lesson.build_model(dataclasses.replace(SMALL, heads=3))


@pytest.fixture
def few_chorales(monkeypatch):
    """Pieces made here instead of music21's, which takes some seconds."""

    def made(run):
        run.record_data("made pieces", "real", "the test", {"train": 6, "test": 2})
        pieces = [a_piece(f"piece {seed}", seed) for seed in range(8)]
        return pieces[:6], pieces[6:]

    monkeypatch.setattr(chorales, "chorales", made)


@pytest.mark.slow
def test_two_runs_are_equal_and_sampling_flags_need_no_training(few_chorales, tmp_path, capsys):
    cards = []
    for folder, flags in (("a", []), ("b", []), ("a", ["--resume", "--temperature", "2"])):
        lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path / folder), *flags])
        cards.append(json.loads((tmp_path / folder / NAME / "run.json").read_text())["metrics"])
    assert cards[0] == cards[1] != cards[2]
    assert cards[0]["test_nats_per_token"] == cards[2]["test_nats_per_token"]
    assert "resumed at step 4 of 4" in capsys.readouterr().out


@pytest.mark.slow
def test_a_resumed_run_equals_an_unbroken_one(few_chorales, tmp_path, monkeypatch):
    """Ctrl-C in the second of four steps; with dropout, which has a random state."""
    flags = ["--preset", "smoke", "--steps", "4", "--dropout", "0.3"]

    def trained(folder, *more):
        argv = [*flags, *more, "--output-dir", str(folder)]
        with lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv) as run:
            run.publishes = False
            rows, held_out = (lesson.excerpts(part, run.config.window, 8) for part in chorales.chorales(run))
            model = lesson.build_model(run.config)
            lesson.train(run, model, rows, held_out)
            return [np.array(variable) for variable in model.variables]

    whole, calls = trained(tmp_path / "a"), []
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stop:
        patch.setattr(
            training,
            "check_finite",
            lambda *_: calls.append(0) or (len(calls) == 2 and signal.raise_signal(signal.SIGINT)),
        )
        trained(tmp_path / "b")
    assert stop.value.code == 130
    for one, other in zip(whole, trained(tmp_path / "b", "--resume"), strict=True):
        assert np.array_equal(one, other)
