"""Lesson 12: the two turns, what is frozen in which, the labels, and a training that is broken off and resumed."""

import dataclasses

from lessonkit import judges

import keras
import numpy as np
import pytest
from conftest import Grey, check_resuming, interrupting, load_lesson
from keras import layers, ops

lesson = load_lesson("12_MNIST_GAN")
SMALL = lesson.Config(batch_size=8)


def new_game(settings=SMALL):
    keras.utils.set_random_seed(settings.seed)
    return lesson.Game(settings)


def pictures(count=8, seed=0):
    """Pictures like real ones in kind: a bright box somewhere on black."""
    random, images = np.random.default_rng(seed), np.zeros((count, 28, 28, 1), "float32")
    for image, (top, left) in zip(images, random.integers(4, 16, size=(count, 2)), strict=True):
        image[top : top + 8, left : left + 5] = 1
    return ops.convert_to_tensor(images)


@pytest.fixture
def game():
    return new_game()


def values(model):
    return [np.array(variable) for variable in model.weights]


def changed(model, before):
    return [not np.array_equal(variable, old) for variable, old in zip(model.weights, before, strict=True)]


def test_full_preset_is_the_tutorials():
    settings = dataclasses.replace(lesson.Config(), **lesson.PRESETS["full"])
    assert (settings.steps, settings.batch_size, settings.learning_rate, settings.latent_dim) == (2000, 128, 4e-4, 32)
    assert lesson.build_generator(settings).count_params() == 103_488 + 12_544 + 51_232 + 128 + 12_816 + 64 + 401
    assert lesson.build_discriminator(settings).count_params() == 1_664 + 204_928 + 819_456 + 4_097
    assert [
        layer.rate for layer in lesson.build_discriminator(settings).layers if isinstance(layer, layers.Dropout)
    ] == [0.4] * 3


@pytest.mark.parametrize("light", [True, False])
def test_shapes(light):
    settings = dataclasses.replace(SMALL, light=light)
    images = lesson.build_generator(settings)(lesson.fixed_latents(2, settings))
    assert images.shape == (2, 28, 28, 1) and np.min(images) >= 0 and np.max(images) <= 1
    assert lesson.build_discriminator(settings)(images).shape == (2, 1)


def test_a_discriminator_that_cannot_tell_pays_ln_2(game):
    losses = game.discriminator_turn(pictures()) | game.generator_turn(8)
    assert float(losses["discriminator_loss"]) == pytest.approx(np.log(2), abs=0.08)
    assert float(losses["generator_loss"]) == pytest.approx(np.log(2), abs=0.2)


def test_each_turn_moves_one_player_only(game):
    generator, discriminator = values(game.generator), values(game.discriminator)
    game.generator_turn(8)
    assert not any(changed(game.discriminator, discriminator)), "the discriminator is frozen in the generator's turn"
    assert any(changed(game.generator, generator))
    weights = values(game.generator)
    game.discriminator_turn(pictures())
    assert all(changed(game.discriminator, discriminator)), "it is not frozen in its own, whoever played before"
    kept = [variable.trainable for variable in game.generator.weights]
    assert not any(np.array(changed(game.generator, weights)) & kept)


def test_the_compiled_round_trains_both(game):
    for _ in range(2):  # the first call traces, the second only runs
        generator, discriminator = values(game.generator), values(game.discriminator)
        game.round(pictures())
        assert all(changed(game.discriminator, discriminator)) and all(changed(game.generator, generator))
    assert int(game.generator_optimizer.iterations) == int(game.discriminator_optimizer.iterations) == 2


def test_dropout_and_batch_normalisation_work_in_training():
    """Dropout draws random numbers, and batch normalisation moves its averages, only where training=True arrives."""
    game = new_game(dataclasses.replace(SMALL, generator_dropout=0.4))

    def draws(model):
        return [int(layer.seed_generator.state[1]) for layer in model.layers if isinstance(layer, layers.Dropout)]

    assert len(draws(game.generator)) == 1 and len(draws(game.discriminator)) == 3
    moving = [v for v in game.generator.weights if "moving" in v.path]
    for turn, count in ((lambda: game.discriminator_turn(pictures()), 1), (lambda: game.generator_turn(8), 2)):
        before = [np.array(v) for v in moving]
        turn()
        assert draws(game.generator) == [count] and draws(game.discriminator) == [count] * 3
        assert not any(np.array_equal(v, old) for v, old in zip(moving, before, strict=True))
    game.draw(lesson.fixed_latents(4, SMALL))
    assert draws(game.shown) == [0], "and none where pictures are drawn"


def test_labels_stay_within_0_and_1(game, monkeypatch):
    seen, loss = [], lesson.cross_entropy
    monkeypatch.setattr(lesson, "cross_entropy", lambda targets, logits: seen.append(targets) or loss(targets, logits))
    game.discriminator_turn(pictures())
    game.generator_turn(8)
    for targets in seen:
        assert np.min(targets) >= 0 and np.max(targets) <= 1
    assert np.ravel(seen[0]) == pytest.approx([0.9] * 8 + [0] * 8)  # one-sided: only the real ones are smoothed
    assert np.ravel(seen[1]) == pytest.approx([1] * 8)


def test_threshold_is_where_the_loss_of_equal_pictures_is_least(game):
    """Half of all targets 0.9, half 0: the constant logit with the least cross-entropy is the undecided one."""
    logits = np.linspace(-3, 3, 601)
    targets = np.array([0.9, 0.0])[:, None]
    losses = np.mean(np.logaddexp(0, logits) - targets * logits, axis=0)
    assert game.threshold == pytest.approx(logits[np.argmin(losses)], abs=0.01)
    assert judges.tied_losses(game.undecided)["discriminator_loss"] == pytest.approx(losses.min(), abs=1e-4)


def test_same_seed_same_digits():
    drawn = []
    for seed in (1, 1, 2):
        game = new_game(dataclasses.replace(SMALL, seed=seed))
        losses = [game.round(pictures(seed=step)) for step in range(3)]
        assert all(np.isfinite(float(value)) for entry in losses for value in entry.values())
        drawn.append(game.draw(lesson.fixed_latents(4, SMALL)))
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_fixed_latents_and_unstretched_pictures(game):
    latents = lesson.fixed_latents(6, SMALL)
    assert np.array_equal(latents, lesson.fixed_latents(6, SMALL))
    assert not np.array_equal(latents, lesson.fixed_latents(6, SMALL, seed=1))
    assert latents.min() >= -1 and latents.max() <= 1
    drawn = game.draw(latents)
    assert drawn == pytest.approx(np.array(game.shown(latents))[..., 0], abs=1e-6)
    assert np.ptp(drawn) < 0.5, "the grey of an untrained generator stays grey"


def test_shown_generator_is_the_average():
    game = new_game(dataclasses.replace(SMALL, average=0.75))
    shown = values(game.shown)
    game.round(pictures())
    for new, old, playing in zip(game.shown.weights, shown, game.generator.weights, strict=True):
        assert np.array(new) == pytest.approx(0.75 * old + 0.25 * np.array(playing), abs=1e-6)


def test_walk_passes_its_stations(game):
    digits = lesson.walk(game, walkers=2, stations=3, steps=4)
    assert digits.shape == (2, 12, 28, 28)
    corners = game.draw(lesson.fixed_latents(6, SMALL, seed=3)).reshape(2, 3, 28, 28)
    assert digits[:, ::4] == pytest.approx(corners, abs=1e-6)


def play(folder, *flags, interrupt_at=None):
    """Train in the frame of a real run; returns all variables, the history and the frames."""
    argv = ["--preset", "smoke", "--device", "cpu", "--limit", "40", "--output-dir", str(folder), *flags]
    with lesson.lesson.run("12_MNIST_GAN.py", lesson.Config, lesson.PRESETS, argv) as run:
        data = lesson.datasets.mnist(run)
        game = lesson.Game(run.config)
        if interrupt_at is not None:
            game.round = interrupting(game.round, interrupt_at)
        history = lesson.train(run, game, data, Grey())
        return [np.array(variable) for variable in game.variables], history


def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    history, resumed = check_resuming(play, tmp_path, capsys, epochs=[0, 2, 4, 6], pause=False)
    for name, line in history.values.items():
        assert line == pytest.approx(resumed[name], nan_ok=True), name
