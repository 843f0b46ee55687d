"""Lesson 23: the sign of the loss, what gradients pass, the variance of Langevin dynamics, the buffer's bookkeeping."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import check_resuming, interrupting, load_lesson, read_card
from keras import ops

lesson = load_lesson("23_MNIST_energy_model")
SMALL = dataclasses.replace(lesson.Config(), widths=(3, 4, 5), batch_size=8, steps=6, buffer=40, chain_steps=3)


@pytest.fixture
def random():
    keras.utils.set_random_seed(2)
    return np.random.default_rng(0)


def made(**changes) -> lesson.EnergyModel:
    return lesson.EnergyModel(dataclasses.replace(SMALL, **changes))


def pictures(random, count: int = 8) -> tf.Tensor:
    return tf.constant(random.uniform(-1, 1, (count, 14, 14, 1)).astype("float32"))


def changed_rows(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.any(before != after, axis=(1, 2, 3)))


# The training step


def step_and_samples(model, real) -> np.ndarray:
    """One training step; the samples that it used, as they lie in the buffer afterwards."""
    before = np.array(model.buffer)
    model.train_step(real)
    after = np.array(model.buffer)
    return after[changed_rows(before, after)]


def test_a_step_lowers_the_energy_of_real_pictures_and_raises_that_of_samples(random, eager):
    model = made(penalty=0.0, data_noise=0.0, learning_rate=1e-2, steps=100)
    model.optimizer = keras.optimizers.SGD(1e-2)
    real = -0.9 * tf.ones((8, 14, 14, 1))
    before = {name: np.array(weight) for name, weight in enumerate(model.energy.weights)}
    samples = step_and_samples(model, real)
    after = [np.array(model.energy(given)).mean() for given in (real, samples)]
    for number, weight in enumerate(model.energy.weights):
        weight.assign(before[number])
    earlier = [np.array(model.energy(given)).mean() for given in (real, samples)]
    assert len(samples) == 8
    assert after[0] < earlier[0] - 1e-4 and after[1] > earlier[1] + 1e-4


def gradient_of_step(model, real, monkeypatch) -> tuple[list[np.ndarray], np.ndarray]:
    """The gradient that a training step hands to its optimizer, and the samples of that step; no weight moves."""
    caught, before = [], np.array(model.buffer)
    monkeypatch.setattr(model.optimizer, "apply_gradients", lambda pairs: caught.extend(g for g, _ in pairs))
    model.train_step(real)
    after = np.array(model.buffer)
    return [np.array(gradient) for gradient in caught], after[changed_rows(before, after)]


def test_the_gradient_takes_the_samples_as_given(random, eager, monkeypatch):
    """Against finite differences of the loss with the samples fixed: nothing flows back through the chain."""
    model = made(data_noise=0.0, step_size=3.0, slope_limit=1.0, noise=0.0)
    for variable in model.energy.trainable_variables:
        variable.assign(variable + random.normal(0, 0.1, variable.shape))
    real = pictures(random)
    gradients, samples = gradient_of_step(model, real, monkeypatch)
    assert len(samples) == 8 and len(gradients) == len(model.energy.trainable_variables)
    lengths = np.sqrt(sum(np.sum(gradient**2) for gradient in gradients))
    ends = []
    for move in (2e-3, -4e-3):  # there, and as far on the other side
        for variable, gradient in zip(model.energy.trainable_variables, gradients, strict=True):
            variable.assign(variable + move * gradient / lengths)
        ends.append(float(model.loss(real, tf.constant(samples))["loss"]))
    assert (ends[0] - ends[1]) / 4e-3 == pytest.approx(lengths, rel=0.01)


def test_the_penalty_is_that_of_squares(random):
    model = made(penalty=0.5)
    real, samples = pictures(random), pictures(random)
    one, other = np.array(model.energy(real)), np.array(model.energy(samples))
    logs = model.loss(real, samples)
    assert float(logs["difference"]) == pytest.approx(one.mean() - other.mean(), abs=1e-6)
    assert float(logs["loss"] - logs["difference"]) == pytest.approx(
        (np.mean(one**2) + np.mean(other**2)) / 2, rel=1e-4
    )


def test_the_energy_of_a_picture_does_not_depend_on_its_batch(random):
    model, both = made(), pictures(random, 6)
    assert np.array(model.energy(both))[2:3] == pytest.approx(np.array(model.energy(both[2:3])), abs=1e-6)


# Langevin dynamics


def ends_of(walk, steps: int = 150, count: int = 20_000) -> np.ndarray:
    """Where walks on x^2 / 2 end."""
    start, seed = tf.zeros((count, 1)), keras.random.SeedGenerator(1)
    return tf.function(lesson.langevin)(lambda x: x**2 / 2, start, tf.constant(steps), walk, seed).numpy()


def test_a_proper_walk_has_the_variance_of_its_density():
    """Steps of size h with noise sqrt(2 h) on x^2 / 2 end with the variance 1 / (1 - h / 2)."""
    walk = lesson.Walk(0.05, np.sqrt(2 * 0.05))
    assert walk.temperature == pytest.approx(1)
    ends = ends_of(walk)
    assert ends.mean() == pytest.approx(0, abs=0.03)
    assert ends.var() == pytest.approx(1 / (1 - 0.05 / 2), rel=0.03)


def test_noise_decides_the_temperature():
    walk = lesson.Walk(0.05, 0.1)
    assert ends_of(walk).var() == pytest.approx(walk.temperature / (1 - 0.05 / 2), rel=0.03)
    assert lesson.Walk(10.0, 0.005).temperature == pytest.approx(1.25e-6)


def test_a_walk_goes_down_and_is_clipped(random):
    still = lesson.Walk(0.5, 0.0)
    moved = lesson.langevin(lambda x: x**2 / 2, tf.constant([[2.0], [-1.0]]), 1, still, keras.random.SeedGenerator(1))
    assert np.array(moved) == pytest.approx(np.array([[1.0], [-0.5]]))
    clipped = dataclasses.replace(still, slope_limit=0.2, box=1.5)
    moved = lesson.langevin(lambda x: x**2 / 2, tf.constant([[2.0], [-1.0]]), 1, clipped, keras.random.SeedGenerator(1))
    assert np.array(moved) == pytest.approx(np.array([[1.5], [-0.9]]))


def test_what_is_not_free_stays(random):
    model, start = made(), np.array(pictures(random, 3))
    free = np.zeros_like(start)
    free[:, 7:] = 1
    filled = model.generate(start, 4, free)
    assert np.array_equal(filled[:, :7], start[:, :7]) and np.all(np.any(filled[:, 7:] != start[:, 7:], axis=(1, 2, 3)))
    assert np.abs(filled).max() <= 1


def test_a_walk_is_the_same_at_every_call(random):
    model, start = made(), np.array(pictures(random, 3))
    frames = model.trajectory(start, [0, 2, 5])
    assert np.array_equal(frames[0], start) and np.array_equal(frames, model.trajectory(start, [0, 2, 5]))
    assert frames[2] == pytest.approx(model.generate(start, 5), abs=1e-6)


# The buffer


def test_as_many_chains_as_asked_for_begin_again_as_noise(random, eager):
    model = made(buffer=4_000, reborn=0.05)
    model.settings = dataclasses.replace(model.settings, chain_steps=0)  # the samples are then what they began with
    model.buffer.assign(np.full(model.buffer.shape, 0.5, "float32"))
    samples = np.array(model.sample_buffer(2_000))
    reborn = np.any(samples != 0.5, axis=(1, 2, 3))
    assert reborn.mean() == pytest.approx(0.05, abs=0.02)
    fresh = samples[reborn]
    assert fresh.mean() == pytest.approx(0, abs=0.02) and fresh.std() == pytest.approx(3**-0.5, abs=0.02)
    assert len(np.unique(fresh.mean(axis=(1, 2, 3)))) == len(fresh), "each with noise of its own"


def test_samples_are_put_back_where_they_came_from(random, eager):
    model = made(reborn=0.0, step_size=0.01, noise=0.001)  # chains that hardly move
    before = np.array(model.buffer)
    samples = np.array(model.sample_buffer(8))
    after = np.array(model.buffer)
    rows = changed_rows(before, after)
    assert len(rows) == 8, "eight different places, and nothing else is touched"
    assert np.abs(after - before).max() < 0.05, "each at the place where its chain began"
    assert np.array_equal(np.sort(after[rows].mean(axis=(1, 2, 3))), np.sort(samples.mean(axis=(1, 2, 3))))
    again = changed_rows(after, np.array((model.sample_buffer(8), model.buffer)[1]))
    assert set(again) != set(rows), "other places in the next step"


# The rivals


def test_the_likelihood_of_the_flow_is_the_change_of_variables(random):
    """Untrained, its couplings are the identity: what is left is the density of the logits of dequantised pixels."""
    flow, images = lesson.Flow(1), random.integers(0, 256, (40, 14, 14)).astype(np.uint8)
    nats = np.array(flow(lesson.scaled(images)))
    inside = 0.01 + 0.98 * (images.reshape(40, -1) + random.uniform(size=(40, 196))) / 256
    logits = np.log(inside / (1 - inside))
    wanted = logits**2 / 2 + np.log(2 * np.pi) / 2 + np.log(inside * (1 - inside) * 256 / 0.98)
    assert nats.mean() == pytest.approx(wanted.sum(axis=1).mean(), rel=0.005)


def test_log_determinant_of_the_couplings(random):
    flow, image = lesson.Flow(1), pictures(random, 1)
    flow(image)
    for variable in flow.trainable_variables:
        variable.assign(variable + random.normal(0, 0.05, variable.shape))
    x = tf.Variable(np.tile(random.normal(size=(1, 196)).astype("float32"), (196, 1)))
    with tf.GradientTape() as tape:
        z, log_det = flow.couple(x)
        total = tf.reduce_sum(tf.linalg.diag_part(z))  # of copy i only output i
    jacobian = np.array(tape.gradient(total, x)).astype(np.float64)
    assert abs(float(log_det[0])) > 0.1
    assert float(log_det[0]) == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=1e-3)


# Data and the whole


def test_pictures_are_means_of_blocks(random):
    images = random.integers(0, 256, (3, 28, 28)).astype(np.uint8)
    split = lesson.datasets.source.Split(images, np.arange(3))
    data = lesson.datasets.LabelledImages(split, split, tuple("012"), "digits", "digits")
    half = lesson.halved(data)
    assert half.train.images.shape == (3, 14, 14) and half.train.images.dtype == np.uint8
    assert half.test.images[1, 3, 5] == np.round(images[1, 6:8, 10:12].mean())
    assert np.array_equal(lesson.as_images(lesson.scaled(half.train.images)), half.train.images)


def test_auroc_is_the_share_of_pairs():
    assert lesson.auroc(np.array([0.0, 1.0]), np.array([2.0, 3.0, 4.0])) == 1
    assert lesson.auroc(np.array([0.0, 2.0]), np.array([1.0, 3.0])) == 0.75
    assert lesson.auroc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 0


def test_strange_pictures_are_what_they_are_called(random):
    digits = np.array(pictures(random, 5))
    kinds = lesson.strange_kinds(digits, digits, seed=1)
    assert np.array_equal(kinds["mirrored"][2, 3, 13], digits[2, 3, 0])
    assert np.array_equal(kinds["upside down"][2, 0], digits[2, 13])
    assert np.array_equal(kinds["two halves"][2, :, 7:], digits[2, :, 7:])
    assert np.array_equal(kinds["two halves"][2, :, :7], digits[1, :, :7])
    assert np.all(kinds["black"] == -1)


def test_same_seed_same_training(random, eager):
    losses = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        model = made()
        losses.append([float(model.train_step(0.5 * ops.ones((8, 14, 14, 1)))["loss"]) for _ in range(2)])
    assert losses[0] == losses[1]


def play(folder, *flags, interrupt_at=None) -> tuple:
    """A training of its own, without the figures: variables and history."""
    argv = ["--preset", "smoke", "--output-dir", str(folder), *flags]
    frame = lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv)
    with frame as run, pytest.MonkeyPatch.context() as patch:
        digits = lesson.scaled(lesson.halved(lesson.datasets.mnist(run)).train.images)
        model = lesson.EnergyModel(run.config)
        if interrupt_at:
            patch.setattr(model, "train_step", interrupting(model.train_step, interrupt_at))
        history = lesson.train(run, model, digits, digits, -digits)
        return [np.array(variable) for variable in model.variables], history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)


@pytest.mark.slow
def test_sampling_flags_need_no_new_training(tmp_path, capsys):
    name = "23_MNIST_energy_model"
    argv = ["--preset", "smoke", "--output-dir", str(tmp_path)]
    lesson.main(argv)
    first = read_card(tmp_path, name)["metrics"]
    capsys.readouterr()
    lesson.main([*argv, "--resume", "--walk", "20", "--samples", "30"])
    again = read_card(tmp_path, name)["metrics"]
    assert "energy: resumed at step 4 of 4" in capsys.readouterr().out
    assert again["fid"]["value"] != first["fid"]["value"]
    assert again["auroc_garments"] == first["auroc_garments"]
