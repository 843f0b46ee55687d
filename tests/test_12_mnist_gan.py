"""Lesson 12: both halves of a step, what each of them changes, labels, theory, and a training that is resumed."""

import dataclasses

from lessonkit.figures import games

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Grey, check_resuming, interrupting, load_lesson
from keras import layers, ops
from scipy.spatial import distance
from scipy.special import expit

lesson = load_lesson("12_MNIST_GAN")
SMALL = lesson.Config(batch_size=8, generator_channels=(16, 8), discriminator_channels=(8, 16))
FULL = dataclasses.replace(lesson.Config(), **lesson.PRESETS["full"])


def new_gan(settings=SMALL, **changes):
    settings = dataclasses.replace(settings, **changes)
    keras.utils.set_random_seed(settings.seed)
    return lesson.GAN(settings)


def pictures(count=8, seed=0):
    """Pictures like real ones in kind: a bright box somewhere on black."""
    random, images = np.random.default_rng(seed), np.zeros((count, 28, 28, 1), "float32")
    for image, (top, left) in zip(images, random.integers(4, 16, size=(count, 2)), strict=True):
        image[top : top + 8, left : left + 5] = 1
    return ops.convert_to_tensor(images)


@pytest.fixture
def gan():
    return new_gan()


def values(model):
    return [np.array(variable) for variable in model.weights]


def weights(model):
    return [np.array(variable) for variable in model.trainable_variables]


def changed(model, before):
    return [not np.array_equal(variable, old) for variable, old in zip(model.weights, before, strict=True)]


def test_full_preset_is_the_tutorials():
    assert (FULL.steps, FULL.batch_size, FULL.learning_rate, FULL.latent_dim) == (2000, 128, 4e-4, 32)
    generator, discriminator = lesson.build_generator(FULL), lesson.build_discriminator(FULL)
    assert generator.count_params() == 103_488 + 12_544 + 51_232 + 128 + 12_816 + 64 + 401
    assert discriminator.count_params() == 1_664 + 204_928 + 819_456 + 4_097
    assert [layer.rate for layer in discriminator.layers if isinstance(layer, layers.Dropout)] == [0.4] * 3
    assert [layer.rate for layer in generator.layers if isinstance(layer, layers.Dropout)] == [0.4]


@pytest.mark.parametrize("settings", [lesson.Config(), FULL], ids=["default", "full"])
def test_shapes(settings):
    images = lesson.build_generator(settings)(lesson.fixed_latents(2, settings))
    assert images.shape == (2, 28, 28, 1) and np.min(images) >= 0 and np.max(images) <= 1
    assert lesson.build_discriminator(settings)(images).shape == (2, 1)


def test_loss_of_a_discriminator_that_cannot_tell_is_ln_2(gan):
    gan.discriminator.layers[-1].kernel.assign(np.zeros(gan.discriminator.layers[-1].kernel.shape))  # all logits are 0
    losses = gan.train_step(pictures())
    assert float(losses["discriminator_loss"]) == pytest.approx(np.log(2), abs=1e-5)
    assert float(losses["generator_loss"]) == pytest.approx(np.log(2), abs=0.2)


def test_optimal_discriminator_gives_the_jensen_shannon_divergence():
    """D trained on two known distributions over five pictures, with the lesson's loss: D* = p / (p + q), and its value.

    A table of five logits is the most general D. Each batch holds every picture in proportion to p and to q.
    """
    p, q = np.array([8, 4, 2, 1, 1]), np.array([1, 1, 2, 4, 8])
    real, fake = np.repeat(np.arange(5), p), np.repeat(np.arange(5), q)
    table = keras.Variable(np.zeros(5, "float32"))
    optimizer = keras.optimizers.Adam(0.1)
    targets = ops.concatenate([ops.ones((16, 1)), ops.zeros((16, 1))])
    chosen = np.concatenate([real, fake])
    for _ in range(300):
        with tf.GradientTape() as tape:
            loss = lesson.cross_entropy(targets, ops.take(table, chosen)[:, None])
        optimizer.apply_gradients([(tape.gradient(loss, [table.value])[0], table)])
    p, q = p / 16, q / 16
    assert expit(np.array(table)) == pytest.approx(p / (p + q), abs=0.005)
    value = -2 * float(loss)  # V(D, G): the cross-entropy is a mean over both halves, with a minus sign
    divergence = distance.jensenshannon(p, q) ** 2  # SciPy gives the square root
    assert value == pytest.approx(2 * divergence - 2 * np.log(2), abs=1e-3)


def test_each_half_of_a_step_changes_one_network_only(gan, eager, monkeypatch):
    generator, discriminator, half = values(gan.generator), values(gan.discriminator), []
    kept = [variable.trainable for variable in gan.generator.weights]
    step = gan.discriminator_step

    def watched(real, fake):
        logs = step(real, fake)
        moved = np.array(changed(gan.generator, generator))
        half.append((all(changed(gan.discriminator, discriminator)), any(moved & kept), weights(gan.discriminator)))
        return logs

    monkeypatch.setattr(gan, "discriminator_step", watched)
    gan.train_step(pictures())
    [(discriminator_moved, generator_moved, updated)] = half
    assert discriminator_moved and not generator_moved, "first the discriminator"
    assert all(changed(gan.generator, generator)), "then the generator"
    after = weights(gan.discriminator)  # all but the averages of batch normalisation
    assert all(np.array_equal(one, other) for one, other in zip(after, updated, strict=True)), (
        "through a discriminator that stays as it is"
    )


def test_generator_gradient_is_that_of_its_loss_through_the_updated_discriminator(eager, monkeypatch):
    gan, seen = new_gan(dropout=0.0), []
    twin = lesson.build_discriminator(gan.settings)
    monkeypatch.setattr(gan.generator_optimizer, "apply_gradients", lambda pairs: seen.extend(pairs))
    random = keras.random.uniform(
        (8, gan.settings.latent_dim), -1, 1, seed=keras.random.SeedGenerator(gan.settings.seed)
    )
    gan.train_step(pictures())
    twin.set_weights(gan.discriminator.get_weights())  # after its step
    with tf.GradientTape() as tape:
        logits = twin(gan.generator(random, training=True), training=True)
        loss = ops.mean(ops.softplus(-logits))  # - log D(G(z))
    expected = tape.gradient(loss, gan.generator.trainable_variables)
    assert [variable for _, variable in seen] == gan.generator.trainable_variables
    for (given, _), wanted in zip(seen, expected, strict=True):
        assert np.array(given) == pytest.approx(np.array(wanted), rel=1e-3, abs=1e-6)


def test_the_compiled_step_trains_both(gan):
    for _ in range(2):  # the first call traces, the second only runs
        generator, discriminator = values(gan.generator), values(gan.discriminator)
        gan.train_step(pictures())
        assert all(changed(gan.discriminator, discriminator)) and all(changed(gan.generator, generator))
    assert int(gan.generator_optimizer.iterations) == int(gan.discriminator_optimizer.iterations) == 2


def test_dropout_and_batch_normalisation_work_in_training():
    """Dropout draws random numbers, and batch normalisation moves its averages, only where training=True arrives."""
    gan = new_gan(dropout=0.2, generator_dropout=0.4)

    def draws(model):
        return [int(layer.seed_generator.state[1]) for layer in model.layers if isinstance(layer, layers.Dropout)]

    assert draws(gan.generator) == [0] and draws(gan.discriminator) == [0, 0]
    moving = [v for v in gan.generator.weights if "moving" in v.path]
    before = [np.array(v) for v in moving]
    gan.train_step(pictures())
    assert draws(gan.generator) == [1], "the pictures are generated once"
    assert draws(gan.discriminator) == [3, 3], "twice in its own step and once in the generator's"
    assert not any(np.array_equal(v, old) for v, old in zip(moving, before, strict=True))
    gan.generate(lesson.fixed_latents(4, SMALL))
    assert draws(gan.averaged) == [0], "and none where pictures are shown"


def test_labels_stay_within_0_and_1(eager, monkeypatch):
    gan, seen, loss = new_gan(real_label=0.9), [], lesson.cross_entropy
    monkeypatch.setattr(lesson, "cross_entropy", lambda targets, logits: seen.append(targets) or loss(targets, logits))
    gan.train_step(pictures())
    assert [np.ravel(targets)[0] for targets in seen] == pytest.approx([0.9, 0, 1])  # only the real ones are smoothed
    assert all(np.ptp(targets) == 0 and len(targets) == 8 for targets in seen)


def test_real_and_generated_pictures_never_share_a_batch(eager, monkeypatch):
    """With batch normalisation the verdicts on real pictures would change with the generated ones in their batch."""
    loss, verdicts = lesson.cross_entropy, []
    for fake in (np.zeros((8, 28, 28, 1), "float32"), np.ones((8, 28, 28, 1), "float32")):
        keras.utils.set_random_seed(1)
        gan, seen = new_gan(dropout=0.0), []
        monkeypatch.setattr(
            lesson, "cross_entropy", lambda targets, logits, seen=seen: seen.append(logits) or loss(targets, logits)
        )
        gan.discriminator_step(pictures(), fake)
        verdicts.append(np.ravel(seen[0])[:8])
    assert np.array_equal(*verdicts)
    assert np.std(verdicts[0]) > 0


@pytest.mark.parametrize("label", [0.9, 1.0])
def test_threshold_is_where_the_loss_of_equal_pictures_is_least(label):
    """Targets are half `real_label`, half 0: the constant logit with the least cross-entropy is the undecided one."""
    gan, logits = new_gan(real_label=label), np.linspace(-3, 3, 601)
    targets = np.array([label, 0.0])[:, None]
    losses = np.mean(np.logaddexp(0, logits) - targets * logits, axis=0)
    assert gan.threshold == pytest.approx(logits[np.argmin(losses)], abs=0.01)
    assert games.tied_losses(gan.undecided)["discriminator_loss"] == pytest.approx(losses.min(), abs=1e-4)


@pytest.mark.slow
def test_same_seed_same_digits():
    images = []
    for seed in (1, 1, 2):
        gan = new_gan(seed=seed)
        losses = [gan.train_step(pictures(seed=step)) for step in range(3)]
        assert all(np.isfinite(float(value)) for entry in losses for value in entry.values())
        images.append(gan.generate(lesson.fixed_latents(4, SMALL)))
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_fixed_latents_and_unstretched_pictures(gan):
    latents = lesson.fixed_latents(6, SMALL)
    assert np.array_equal(latents, lesson.fixed_latents(6, SMALL))
    assert not np.array_equal(latents, lesson.fixed_latents(6, SMALL, stream=1))
    assert latents.min() >= -1 and latents.max() <= 1
    images = gan.generate(latents)
    assert images == pytest.approx(np.array(gan.averaged(latents))[..., 0], abs=1e-6)
    assert np.ptp(images) < 0.5, "the grey of an untrained generator stays grey"


def test_average_of_the_weights_starts_warm():
    """After step n it keeps min(average, n / (10 + n)) of what it was."""
    gan = new_gan(average=0.15)
    for kept in (1 / 11, 0.15):  # 2 / 12 would be more
        before = values(gan.averaged)
        gan.train_step(pictures())
        for new, old, current in zip(gan.averaged.weights, before, gan.generator.weights, strict=True):
            assert np.array(new) == pytest.approx(kept * old + (1 - kept) * np.array(current), abs=1e-6)


def test_learning_rate_decays_to_zero_at_the_last_step():
    gan = new_gan(steps=50)
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        optimizer.iterations.assign(50)
        assert float(optimizer.learning_rate) == pytest.approx(0, abs=1e-9)
    assert float(new_gan(steps=50, decay=False).generator_optimizer.learning_rate) == pytest.approx(SMALL.learning_rate)


def test_walk_passes_its_corners(gan):
    digits = lesson.walk(gan, paths=2, corners=3, steps=4)
    assert digits.shape == (2, 12, 28, 28)
    corners = gan.generate(lesson.fixed_latents(6, SMALL, stream=3)).reshape(2, 3, 28, 28)
    assert digits[:, ::4] == pytest.approx(corners, abs=1e-6)


def play(folder, *flags, interrupt_at=None):
    """Train in the frame of a real run; returns all variables and the history."""
    argv = ["--preset", "smoke", "--device", "cpu", "--limit", "40", "--output-dir", str(folder), *flags]
    argv += ["--generator-channels", "16", "8", "--discriminator-channels", "8", "16"]
    with lesson.lesson.run("12_MNIST_GAN.py", lesson.Config, lesson.PRESETS, argv) as run:
        data = lesson.datasets.mnist(run)
        gan = lesson.GAN(run.config)
        if interrupt_at is not None:
            gan.train_step = interrupting(gan.train_step, interrupt_at)
        history = lesson.train(run, gan, data, Grey())
        return [np.array(variable) for variable in gan.variables], history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    history, resumed = check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)
    for name, line in history.values.items():
        assert line == pytest.approx(resumed[name], nan_ok=True), name
    assert history.measured == resumed.measured and history.frame_steps == resumed.frame_steps == [0, 2, 4, 6]


@pytest.mark.slow
def test_resuming_with_another_number_of_steps_is_refused(tmp_path, capsys):
    """The rate decays over the planned steps, so another number of them is another training."""
    with pytest.raises(SystemExit):
        play(tmp_path, "--steps", "6", interrupt_at=3)
    with pytest.raises(SystemExit) as stop:
        play(tmp_path, "--steps", "8", "--resume")
    assert stop.value.code == 2 and "made with other settings" in capsys.readouterr().err


@pytest.mark.parametrize("limit", [1, 3, 7, 9])
def test_too_few_examples_are_refused_before_the_training(limit, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--limit", str(limit), "--output-dir", str(tmp_path)])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and "at least 10" in captured.err and "step 1" not in captured.out


@pytest.mark.slow
@pytest.mark.parametrize("limit", [10, pytest.param(12, marks=pytest.mark.slow)])
def test_the_least_number_of_examples_works(limit, tmp_path):
    lesson.main(["--preset", "smoke", "--limit", str(limit), "--output-dir", str(tmp_path)])
    assert (tmp_path / "12_MNIST_GAN.png").exists()
