"""Lesson 21: nothing later is seen, all that is earlier is; probabilities sum to 1; cached equals plain generation."""

import dataclasses
import itertools

from lessonkit import bits

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import check_resuming, interrupting, load_lesson, read_card

lesson = load_lesson("21_FashionMNIST_autoregressive")
SMALL = dataclasses.replace(lesson.Config(), width=6, gated_layers=2, first_kernel=(2, 3), levels=4, steps=6)


def made(size=5, **changes) -> lesson.PixelCNN:
    """A small network with random weights, far from zero."""
    keras.utils.set_random_seed(3)
    model = lesson.PixelCNN(dataclasses.replace(SMALL, **changes), size)
    model(np.zeros((1, size, size), np.uint8))
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(0, 0.5, variable.shape))
    return model


@pytest.fixture
def random():
    return np.random.default_rng(1)


def jacobian(model, function, encoded) -> np.ndarray:
    """Greatest |d outputs at place i / d inputs at place j| over channels and pictures: (places, places)."""
    encoded = tf.constant(encoded)
    with tf.GradientTape() as tape:
        tape.watch(encoded)
        outputs = function(encoded)
    full = tape.jacobian(outputs, encoded).numpy()  # (n, r, c, k, n, r, c, channels)
    count, places = len(encoded), model.size**2
    each = [full[index, :, :, :, index].reshape(places, -1, places, encoded.shape[-1]) for index in range(count)]
    return np.abs(each).max(axis=(0, 2, 4))


# Masks


def test_logits_depend_on_all_pixels_before_and_on_none_after(random, size=4):
    """The Jacobian is strictly triangular, and has no zero below the diagonal: no leak, and no blind spot."""
    model = made(size, gated_layers=2)
    found = jacobian(model, model.predict_all, random.normal(size=(3, size, size, 2)).astype("float32"))
    before = np.tri(size * size, k=-1, dtype=bool)
    assert np.all(found[~before] == 0), "a pixel is seen that comes later, or the pixel itself"
    assert np.all(found[before] > 1e-7), "a pixel that comes before is never seen"


def test_the_default_network_sees_what_is_far_on_the_right_above(random):
    """The wedge that plain masks miss: rows above, columns at the right."""
    model = made(12, first_kernel=(8, 15), gated_layers=5, width=4)
    found = lesson.influence(model, random.integers(0, 4, (8, 12, 12)), (8, 2))
    assert np.all(found[:8] > 0) and np.all(found[8, :2] > 0)
    assert np.all(found[8, 2:] == 0) and np.all(found[9:] == 0)


@pytest.mark.parametrize("mask", "AB")
@pytest.mark.parametrize("vertical", [True, False])
def test_masks(random, mask, vertical):
    """A: not the pixel itself (vertical: not its row); B: it, too; nothing else in this row at the right, or below."""
    layer = lesson.MaskedConv(3, (2, 3) if vertical else (1, 2), mask, vertical)
    model, inputs = made(4), random.normal(size=(1, 4, 4, 2)).astype("float32")
    assert layer(inputs).shape == (1, 4, 4, 3)
    found = jacobian(model, layer, inputs) > 0
    shift = 1 if mask == "A" else 0
    for row, column in itertools.product(range(4), repeat=2):
        if vertical:
            rows, columns = range(row - 1 - shift, row + 1 - shift), range(column - 1, column + 2)
        else:
            rows, columns = [row], range(column - 1 - shift, column + 1 - shift)
        wanted = {(r, c) for r in rows for c in columns if 0 <= r < 4 and 0 <= c < 4}
        seen = {divmod(int(place), 4) for place in np.flatnonzero(found[4 * row + column])}
        assert seen == wanted


def test_plain_masks_have_a_blind_spot():
    seen = lesson.seen_by_plain_masks(9, 8, (6, 4))
    assert np.all(seen[6] == [True] * 4 + [False] * 5) and not np.any(seen[7:])
    assert np.array_equal(seen[5], [True] * 6 + [False] * 3), "one column more per row above, at the right"
    assert np.array_equal(seen[4], [True] * 7 + [False] * 2)


def test_the_gate_is_a_tanh_times_a_sigmoid(random):
    inputs = random.normal(size=(2, 3, 8)).astype("float32")
    wanted = np.tanh(inputs[..., :4]) / (1 + np.exp(-inputs[..., 4:]))
    assert np.asarray(lesson.gate(inputs)) == pytest.approx(wanted, abs=1e-6)


# Probabilities and bits


def test_the_probabilities_of_all_512_binary_pictures_sum_to_1():
    pictures = np.array(list(itertools.product((0, 1), repeat=9)), np.uint8).reshape(512, 3, 3)
    each = 2.0 ** -lesson.pixel_bits(made(3, levels=2), pictures).sum(axis=(1, 2), dtype=np.float64)
    assert each.sum() == pytest.approx(1, abs=1e-5)
    assert each.max() > 4 * each.min(), "uniform probabilities test nothing"


def test_an_untrained_softmax_of_zeros_needs_the_logarithm_of_the_levels(random):
    model, pictures = made(4, levels=8), random.integers(0, 8, (5, 4, 4)).astype(np.uint8)
    for variable in model.logits.variables:
        variable.assign(np.zeros(variable.shape))
    assert lesson.bits_per_pixel(model, pictures) == pytest.approx(np.full(5, 3.0), abs=1e-6)


def test_bits_are_those_of_the_softmax_at_the_levels(random):
    """The target of a pixel is its own level, not a neighbour's."""
    model, pictures = made(4), random.integers(0, 4, (3, 4, 4)).astype(np.uint8)
    logits = np.asarray(model(pictures), np.float64)
    probability = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    wanted = -np.log2(np.take_along_axis(probability, pictures[..., None].astype(int), axis=-1))[..., 0]
    assert lesson.pixel_bits(model, pictures) == pytest.approx(wanted, abs=1e-4)


def test_levels_are_shown_by_the_mean_of_their_pixels():
    images = np.array([[[0, 10, 200, 220]]], np.uint8)
    shown = lesson.greys(images, 4)
    assert shown.tolist() == [5, 96, 160, 210]  # the two levels in the middle do not occur
    assert np.array_equal(bits.quantised(shown, 4), np.arange(4)), "a shown level is in that level again"


# Generation


def test_cached_generation_equals_the_plain_one(random):
    model, noise = made(6, gated_layers=3), random.random((7, 6, 6), dtype="float32")
    plain = lesson.generate_plainly(model, noise)
    levels, logits = lesson.generate_batch(model, noise)
    assert np.array_equal(levels, plain) and len(np.unique(levels)) == 4
    assert np.asarray(logits) == pytest.approx(np.asarray(lesson.forward(model, levels)), abs=1e-5)
    assert np.array_equal(lesson.generate(model, noise), plain)


def test_completions_keep_what_is_given_and_follow_it(random):
    """The rows that are given get into the caches: the logits are those of the whole picture."""
    model, noise = made(6, gated_layers=3), random.random((5, 6, 6), dtype="float32")
    given = random.integers(0, 4, (5, 6, 6)).astype(np.uint8)
    levels, logits = lesson.generate_batch(model, noise, given, given_rows=4)
    assert np.array_equal(levels[:, :4], given[:, :4]) and logits.shape == (5, 2, 6, 4)
    assert np.asarray(logits) == pytest.approx(np.asarray(lesson.forward(model, levels))[:, 4:], abs=1e-5)
    free, _ = lesson.generate_batch(model, noise)
    assert not np.array_equal(levels[:, 4:], free[:, 4:])


def test_levels_are_drawn_with_their_probabilities(random):
    logits = np.log(np.array([0.1, 0.2, 0.3, 0.4], "float32"))
    noise = random.random(20_000, dtype="float32")
    drawn = np.asarray(lesson.draw(np.tile(logits, (20_000, 1)), noise))
    assert np.bincount(drawn) / 20_000 == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=0.015)
    cold = np.asarray(lesson.draw(np.tile(logits, (20_000, 1)), noise, temperature=0.01))
    assert np.all(cold == 3)
    edges = np.asarray(lesson.draw(np.tile(logits, (2, 1)), np.array([0, 1 - 2**-24], "float32")))
    assert edges.tolist() == [0, 3]


def test_samples_have_the_distribution_of_the_model(random):
    """Pictures of 2 x 2 binary pixels: how often each occurs, against its exact probability."""
    model = made(2, levels=2, gated_layers=1)
    pictures = np.array(list(itertools.product((0, 1), repeat=4)), np.uint8).reshape(16, 2, 2)
    exact = 2.0 ** -lesson.pixel_bits(model, pictures).sum(axis=(1, 2))
    drawn = lesson.generate(model, random.random((8_000, 2, 2), dtype="float32")).reshape(-1, 4) @ [8, 4, 2, 1]
    assert np.bincount(drawn, minlength=16) / 8_000 == pytest.approx(exact, abs=0.02)


# Training


def test_same_seed_same_training(eager, random):
    levels, losses = random.integers(0, 4, (4, 28, 28)).astype(np.uint8), []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        trainer = lesson.Trainer(SMALL)
        losses.append([float(trainer.train_step(tf.constant(levels))["bits"]) for _ in range(2)])
    assert losses[0] == losses[1] and losses[0][0] != losses[0][1]


def play(folder, *flags, interrupt_at=None) -> tuple:
    """A training of its own, without the figures: variables and history."""
    argv = ["--preset", "smoke", "--output-dir", str(folder), *flags]
    frame = lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv)
    with frame as run, pytest.MonkeyPatch.context() as patch:
        levels = bits.quantised(lesson.datasets.fashion_mnist(run).train.images, run.config.levels)
        trainers, start = [], lesson.Trainer.__init__
        patch.setattr(lesson.Trainer, "__init__", lambda self, given: trainers.append(self) or start(self, given))
        if interrupt_at:
            patch.setattr(lesson.Trainer, "train_step", interrupting(lesson.Trainer.train_step, interrupt_at))
        _, history = lesson.train(run, levels, levels[:20], np.arange(0, 256, 32).astype(np.uint8))
        return [np.array(variable) for variable in trainers[0].variables], history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)


@pytest.mark.slow
def test_sampling_flags_need_no_new_training(tmp_path, capsys):
    name = "21_FashionMNIST_autoregressive"
    argv = ["--preset", "smoke", "--output-dir", str(tmp_path)]
    lesson.main(argv)
    first = read_card(tmp_path, name)["metrics"]
    capsys.readouterr()
    lesson.main([*argv, "--resume", "--temperature", "0.5", "--samples", "30", "--given-rows", "4"])
    again = read_card(tmp_path, name)["metrics"]
    assert "model: resumed at step 4 of 4" in capsys.readouterr().out
    assert again["fid"]["value"] != first["fid"]["value"]
    assert again["test_bits_per_pixel"] == first["test_bits_per_pixel"]
    kept = np.load(tmp_path / name / "checkpoints" / "generated.npz")["images"]
    assert kept.shape == (30, 28, 28) and kept.dtype == np.uint8
