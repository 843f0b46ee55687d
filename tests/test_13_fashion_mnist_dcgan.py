"""Lesson 13: one step of two networks, what changes which, labels, and a training that is resumed."""

import dataclasses

from lessonkit.config import TrainingError

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Grey, check_resuming, interrupting, load_lesson
from keras import layers, ops

lesson = load_lesson("13_FashionMNIST_DCGAN")
SMALL = lesson.Config(batch_size=8, generator_channels=(8, 4, 4), discriminator_channels=(4, 8))
FULL = dataclasses.replace(lesson.Config(), **lesson.PRESETS["full"])


def new_gan(**changes):
    settings = dataclasses.replace(SMALL, **changes)
    keras.utils.set_random_seed(settings.seed)
    return lesson.DCGAN(settings)


def pictures(count=8, seed=0):
    """Pictures like real ones in kind, in [-1, 1]: a bright box somewhere on black."""
    random, images = np.random.default_rng(seed), np.full((count, 28, 28, 1), -1, "float32")
    for image, (top, left) in zip(images, random.integers(4, 16, size=(count, 2)), strict=True):
        image[top : top + 8, left : left + 5] = 1
    return ops.convert_to_tensor(images)


@pytest.fixture
def gan():
    return new_gan()


def values(variables):
    return [np.array(variable) for variable in variables]


def changed(variables, before):
    return [not np.array_equal(variable, old) for variable, old in zip(variables, before, strict=True)]


def test_full_preset_is_the_tutorials():
    given = (FULL.epochs, FULL.steps, FULL.batch_size, FULL.learning_rate, FULL.latent_dim, FULL.dropout, FULL.average)
    assert given == (100, None, 256, 1e-4, 100, 0.3, 0)
    assert FULL.sample_every == 5 * (60_000 // 256), "a checkpoint every five epochs"
    generator, discriminator = lesson.build_generator(FULL), lesson.build_discriminator(FULL)
    dense, convolutions = 100 * 12_544, (25 * 256 * 128, 25 * 128 * 128, 25 * 128)
    normalisations = 4 * (12_544 + 128 + 128)
    assert generator.count_params() == dense + sum(convolutions) + normalisations == 2_537_600
    assert discriminator.count_params() == 1_664 + 204_928 + 6_273 == 212_865
    assert not any(getattr(layer, "use_bias", False) for layer in generator.layers)
    strides = [layer.strides for layer in generator.layers if isinstance(layer, layers.Conv2DTranspose)]
    assert strides == [(1, 1), (2, 2), (2, 2)]
    assert all(layer.kernel_size == (5, 5) for layer in generator.layers if hasattr(layer, "kernel_size"))
    gan = lesson.DCGAN(SMALL)
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        assert isinstance(optimizer, keras.optimizers.Adam)


@pytest.mark.parametrize("settings", [lesson.Config(), FULL], ids=["default", "full"])
def test_shapes_and_ranges(settings):
    images = lesson.build_generator(settings)(lesson.fixed_latents(2, settings))
    assert images.shape == (2, 28, 28, 1) and np.min(images) >= -1 and np.max(images) <= 1
    assert lesson.build_discriminator(settings)(images).shape == (2, 1)
    real = lesson.scaled(np.array([[[0, 255], [51, 204]]], np.uint8))
    np.testing.assert_allclose(real[..., 0], [[[-1, 1], [-0.6, 0.6]]], rtol=1e-6)


@pytest.mark.parametrize(
    "settings", [dataclasses.replace(lesson.Config(), normalise_both=False), FULL], ids=["default", "full"]
)
def test_an_untrained_discriminator_cannot_tell(settings):
    """Each term of the loss is near ln 2, the cross-entropy of a coin, and the whole near 2 ln 2.

    Without batch normalisation in D, which would spread even the logits of an untrained network.
    """
    keras.utils.set_random_seed(1)
    gan = lesson.DCGAN(settings)
    losses = gan.train_step(pictures(16))
    assert float(losses["discriminator_loss"]) == pytest.approx(2 * np.log(2), abs=0.2)
    assert float(losses["generator_loss"]) == pytest.approx(np.log(2), abs=0.1)


def test_the_step_trains_both_networks(gan):
    for _ in range(2):  # the first call traces, the second only runs
        generator, discriminator = values(gan.generator.weights), values(gan.discriminator.weights)
        gan.train_step(pictures())
        assert all(changed(gan.generator.weights, generator)), "moving averages, too"
        assert all(changed(gan.discriminator.weights, discriminator))
    assert int(gan.generator_optimizer.iterations) == int(gan.discriminator_optimizer.iterations) == 2


@pytest.mark.parametrize("frozen", ["generator", "discriminator"])
def test_each_optimizer_changes_its_own_network_only(frozen):
    """With a rate of zero for one optimizer its network stays; the other optimizer does not reach it."""
    gan = new_gan(decay=False)
    getattr(gan, f"{frozen}_optimizer").learning_rate = 0.0
    still = getattr(gan, frozen).trainable_variables
    moved = {"generator": gan.discriminator, "discriminator": gan.generator}[frozen].trainable_variables
    before, before_moved = values(still), values(moved)
    gan.train_step(pictures())
    assert not any(changed(still, before)) and all(changed(moved, before_moved))


def test_gradients_are_those_of_the_two_losses(eager, monkeypatch):
    """The same step with each loss computed by itself gives the same gradients; without dropout, which is random."""
    gan, seen = new_gan(dropout=0.0), {}
    for name in ("generator", "discriminator"):
        optimizer = getattr(gan, f"{name}_optimizer")
        monkeypatch.setattr(optimizer, "apply_gradients", lambda pairs, name=name: seen.update({name: list(pairs)}))
    real = pictures()
    latents = keras.random.normal((8, gan.settings.latent_dim), seed=keras.random.SeedGenerator(gan.settings.seed))
    gan.train_step(real)
    with tf.GradientTape() as tape:
        logits = gan.discriminator(gan.generator(latents, training=True), training=True)
        loss = ops.mean(ops.softplus(-logits))  # - log D(G(z))
    expected = {"generator": tape.gradient(loss, gan.generator.trainable_variables)}
    generated = gan.generator(latents, training=True)
    with tf.GradientTape() as tape:
        loss = ops.mean(ops.softplus(-gan.discriminator(real, training=True)))  # - log D(x)
        loss += ops.mean(ops.softplus(gan.discriminator(generated, training=True)))  # - log(1 - D(G(z)))
    expected["discriminator"] = tape.gradient(loss, gan.discriminator.trainable_variables)
    for name, gradients in expected.items():
        assert [variable for _, variable in seen[name]] == getattr(gan, name).trainable_variables
        for (given, _), wanted in zip(seen[name], gradients, strict=True):
            assert np.array(given) == pytest.approx(np.array(wanted), rel=1e-3, abs=1e-6)


def test_verdicts_are_those_of_a_step_without_dropout():
    """Batches of one kind with their own statistics; without batch normalisation it is plain inference mode."""
    images = pictures(16)
    for changes, training in (({"dropout": 0.5}, True), ({"dropout": 0.5, "normalise_both": False}, False)):
        gan = new_gan(**changes)
        twin = lesson.build_discriminator(dataclasses.replace(gan.settings, dropout=0.0))
        twin.set_weights(gan.discriminator.get_weights())
        logits = np.concatenate([twin(images[at : at + 8], training=training) for at in (0, 8)])
        assert gan.verdicts(images) == pytest.approx(np.ravel(ops.sigmoid(logits)), abs=1e-6)


def test_dropout_and_batch_normalisation_work_in_the_step():
    """Dropout draws random numbers, and batch normalisation moves its averages, only where training=True arrives."""
    gan = new_gan(dropout=0.2)

    def draws():
        return [int(layer.seed_generator.state[1]) for layer in gan.discriminator.layers if hasattr(layer, "rate")]

    weights = gan.generator.weights + gan.discriminator.weights
    moving = [variable for variable in weights if "moving" in variable.path]
    assert draws() == [0, 0] and len(moving) == 2 * (3 + 1)
    before = values(moving)
    gan.train_step(pictures())
    assert draws() == [2, 2], "once for real and once for generated pictures"
    assert all(changed(moving, before))
    before = values(gan.averaged.weights)
    gan.generate(lesson.fixed_latents(4, SMALL))
    assert not any(changed(gan.averaged.weights, before)), "and none where pictures are shown"


def test_accuracies_count_what_was_right(gan):
    """A discriminator whose bias says "real" to everything is right about all real and no generated pictures."""
    for bias, expected in ((50.0, (1, 0)), (-50.0, (0, 1))):
        gan.discriminator.layers[-1].bias.assign([bias])
        logs = gan.train_step(pictures())
        assert (float(logs["accuracy_real"]), float(logs["accuracy_fake"])) == expected
        gan.discriminator.layers[-1].bias.assign([bias])
        assert np.all((gan.verdicts(pictures()) > 0.5) == (bias > 0))


@pytest.mark.slow
def test_same_seed_same_garments():
    images = []
    for seed in (1, 1, 2):
        gan = new_gan(seed=seed)
        logs = [gan.train_step(pictures(seed=step)) for step in range(3)]
        assert all(np.isfinite(float(value)) for entry in logs for value in entry.values())
        images.append(gan.generate(lesson.fixed_latents(4, SMALL)))
    assert np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])


def test_fixed_latents_and_unstretched_pictures(gan):
    latents = lesson.fixed_latents(500, SMALL)
    assert np.array_equal(latents, lesson.fixed_latents(500, SMALL))
    assert not np.array_equal(latents, lesson.fixed_latents(500, SMALL, stream=1))
    assert latents.mean() == pytest.approx(0, abs=0.02) and latents.std() == pytest.approx(1, abs=0.02)
    images = gan.generate(latents[:6])
    assert images == pytest.approx((np.array(gan.averaged(latents[:6]))[..., 0] + 1) / 2, abs=1e-6)
    assert images.min() >= 0 and images.max() <= 1 and np.ptp(images) < 0.5, "an untrained generator's grey stays grey"


def test_average_of_the_weights_starts_warm():
    """After step n it keeps min(average, n / (10 + n)) of what it was."""
    gan = new_gan(average=0.15)
    for kept in (1 / 11, 0.15):  # 2 / 12 would be more
        before = values(gan.averaged.weights)
        gan.train_step(pictures())
        for new, old, current in zip(gan.averaged.weights, before, gan.generator.weights, strict=True):
            assert np.array(new) == pytest.approx(kept * old + (1 - kept) * np.array(current), abs=1e-6)


def test_learning_rate_decays_to_zero_over_the_planned_steps():
    settings = dataclasses.replace(SMALL, steps=9, epochs=3, batch_size=16)
    assert lesson.planned_steps(settings, 40) == 6, "an epoch of 40 garments has two batches of 16"
    assert lesson.planned_steps(dataclasses.replace(settings, steps=5), 40) == 5
    assert lesson.planned_steps(dataclasses.replace(settings, steps=None), 10) == 3, "a batch of ten"
    gan = lesson.DCGAN(settings, 6)
    for optimizer in (gan.generator_optimizer, gan.discriminator_optimizer):
        optimizer.iterations.assign(6)
        assert float(optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


class Certain:
    """A judge with ten classes that is most certain of class c for the picture with the largest pixel number c."""

    def logits(self, images):
        return np.reshape(images, (len(images), -1))[:, :10] * 50


def test_walk_is_on_great_circles_between_latents_of_which_the_judge_is_certain(gan, monkeypatch):
    seen, generate = [], gan.generate
    monkeypatch.setattr(gan, "generate", lambda latents: seen.append(latents) or generate(latents))
    lesson.walk(gan, Certain(), paths=2, corners=3, steps=8)
    candidates, path = seen[0], seen[1].reshape(2, 24, -1)
    logits = Certain().logits(generate(candidates))
    best = np.argmax(logits - np.log(np.sum(np.exp(logits), axis=1, keepdims=True)), axis=0)
    assert path[:, ::8].reshape(6, -1) == pytest.approx(candidates[best[:6]], abs=1e-5), "one of each class"
    lengths = np.linalg.norm(path, axis=-1)
    assert lengths.min() > 0.9 * lengths[:, ::8].min() and lengths.max() < 1.05 * lengths[:, ::8].max()
    middle = np.linalg.norm((path[:, 0] + path[:, 8]) / 2, axis=-1)
    assert np.all(middle < 0.85 * lengths[:, 4]), "where a straight line would leave the shell"


def play(folder, *flags, interrupt_at=None, change=None):
    """Train in the frame of a real run; returns all variables and the history."""
    argv = ["--preset", "smoke", "--device", "cpu", "--limit", "40", "--output-dir", str(folder), *flags]
    argv += ["--generator-channels", "8", "4", "4", "--discriminator-channels", "4", "8"]
    with lesson.lesson.run("13_FashionMNIST_DCGAN.py", lesson.Config, lesson.PRESETS, argv) as run:
        data = lesson.datasets.fashion_mnist(run)
        gan = lesson.DCGAN(run.config, lesson.planned_steps(run.config, len(data.train)))
        if interrupt_at is not None:
            gan.train_step = interrupting(gan.train_step, interrupt_at)
        if change is not None:
            change(gan)
        history = lesson.train(run, gan, data, Grey())
        return values(gan.variables), history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    history, resumed = check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)
    for name, line in history.values.items():
        assert line == pytest.approx(resumed[name], nan_ok=True), name
    assert history.measured == resumed.measured and history.frame_steps == resumed.frame_steps == [0, 2, 4, 6]


@pytest.mark.slow
def test_epochs_and_steps_both_end_the_training(tmp_path):
    for flags, last in ((("--epochs", "1", "--steps", "9"), 2), (("--epochs", "5", "--steps", "3"), 3)):
        _, history = play(tmp_path / str(last), *flags)  # an epoch of 40 garments has two batches of 16
        assert history.epochs[-1] == last


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, capsys):
    def poison(gan):
        gan.discriminator.layers[-1].bias.assign([np.nan])

    with pytest.raises(SystemExit) as stop:
        play(tmp_path, change=poison)
    assert stop.value.code == TrainingError.status
    assert "turned nan in step 1" in capsys.readouterr().err


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


@pytest.mark.parametrize("limit", [pytest.param(limit, marks=pytest.mark.slow) for limit in (10, 12)])
def test_the_least_number_of_examples_works(limit, tmp_path):
    lesson.main(["--preset", "smoke", "--limit", str(limit), "--output-dir", str(tmp_path)])
    assert (tmp_path / "13_FashionMNIST_DCGAN.png").exists()
