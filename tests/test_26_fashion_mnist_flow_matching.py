"""Lesson 26: velocities of known distributions in closed form, both solvers, guidance, and what a step trains."""

import dataclasses

from lessonkit.layers import GroupNorm

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import check_resuming, interrupting, load_lesson, read_card
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

lesson = load_lesson("26_FashionMNIST_flow_matching")
SMALL = dataclasses.replace(lesson.Config(), channels=(8, 8), blocks=1, batch_size=8, steps=6)


def examples(count=8, seed=0) -> tuple:
    random = np.random.default_rng(seed)
    images = random.uniform(-1, 1, (count, 28, 28, 1)).astype("float32")
    return images, lesson.one_hot(np.arange(count) % 10)


def gaussian_velocity(mean: float, deviation: float):
    """E[x_1 - x_0 | x_t = x] for x_0 ~ N(0, 1) and x_1 ~ N(mean, deviation²): both are jointly Gaussian with x_t."""

    def velocity(points, time):
        variance = (1 - time) ** 2 + (time * deviation) ** 2
        covariance = time * deviation**2 - (1 - time)  # of x_1 - x_0 with x_t
        return mean + covariance / variance * (points - time * mean)

    return velocity


def test_every_part_of_the_labels_has_all_classes():
    """KID is a mean over parts of the images: with labels in turn, a part with a stride of ten would be one class."""
    labels = lesson.balanced(2_000, seed=42)
    assert np.all(np.bincount(labels, minlength=10) == 200)
    for part in (labels[:200], labels[::10], labels[1::2]):
        assert np.min(np.bincount(part, minlength=10)) >= 0.04 * len(part)


def test_lines_begin_at_the_noise_and_end_at_the_picture():
    noise, images = np.zeros((2, 28, 28, 1), "float32"), np.ones((2, 28, 28, 1), "float32")
    points, velocities = lesson.between(noise, images, np.array([[0.0], [1.0]], "float32"))
    assert np.all(points[0] == 0) and np.all(points[1] == 1)  # t = 0 is noise, t = 1 is the picture
    assert np.all(velocities == 1)  # towards the picture


@settings(max_examples=30, deadline=None)
@given(
    time=st.floats(0, 0.875),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
)
def test_the_velocity_is_the_derivative_of_the_line(time, shape, seed):
    random = np.random.default_rng(seed)
    noise, images = random.standard_normal((2, 3, *shape))
    one, velocity = lesson.between(noise, images, np.full((3, 1), time))
    other, _ = lesson.between(noise, images, np.full((3, 1), time + 0.125))
    assert np.asarray(other - one) / 0.125 == pytest.approx(np.asarray(velocity), abs=1e-6)


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_gaussian_data_come_out_with_their_mean_and_deviation(solver):
    points = np.random.default_rng(1).standard_normal((20_000, 1))
    moved = lesson.SOLVERS[solver](gaussian_velocity(0.7, 0.2), points, np.linspace(0, 1, 201))
    scale = points.std()
    assert moved.mean() == pytest.approx(0.7 + 0.2 * points.mean(), abs=0.01)
    assert moved.std() == pytest.approx(0.2 * scale, rel=0.05)


def test_the_network_learns_the_closed_form_of_gaussian_data():
    """The regression's optimum is the conditional mean: trained on N(0.7, 0.2²), v is the line of the closed form."""
    keras.utils.set_random_seed(3)
    config, random = dataclasses.replace(lesson.Config(), steps=1_500, learning_rate=5e-3), np.random.default_rng(0)
    flow = lesson.FlowMatching(config, lesson.build_plane_network)
    for _ in range(config.steps):
        images = random.normal(0.7, 0.2, (256, 2)).astype("float32")
        flow.train_step((tf.constant(images), tf.zeros((256, 10))))
    points = np.array([[-0.4, 0.3], [0.0, 0.5], [0.6, 0.9]], "float32")
    for time in (0.25, 0.5, 0.75):
        velocity, wanted = flow.velocity(np.zeros((3, 10), "float32"), 1)(points, time), gaussian_velocity(0.7, 0.2)
        assert (1 - time) * np.asarray(velocity) == pytest.approx((1 - time) * wanted(points, time), abs=0.1)


def test_one_step_of_euler_lands_on_the_only_picture():
    """With one picture a, v(x, t) = (a - x) / (1 - t): from t = 0 a single step of length 1 ends at a."""
    picture = np.full((1, 3), 0.4)
    points = np.random.default_rng(0).standard_normal((5, 3))
    moved = lesson.euler(lambda points, time: (picture - points) / (1 - time), points, [0.0, 1.0])
    assert moved == pytest.approx(np.repeat(picture, 5, axis=0))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_order_of_the_solvers(solver, order):
    """dx/dt = x: half the step makes 2^order times less error."""

    def error(steps):
        return abs(lesson.SOLVERS[solver](lambda points, time: points, 1.0, np.linspace(0, 1, steps + 1)) - np.e)

    assert np.log2(error(32) / error(64)) == pytest.approx(order, abs=0.1)


def test_solvers_see_the_time_of_each_evaluation():
    seen = []
    for solver in (lesson.euler, lesson.heun):
        solver(lambda points, time: seen.append(time) or points, 1.0, [0.0, 0.5, 1.0])
    assert seen == [0.0, 0.5, 0.0, 0.5, 0.5], "Heun's last step to t = 1 is Euler's"
    assert [lesson.evaluations_of(name, 2) for name in ("euler", "heun")] == [2, 3]


@pytest.fixture
def flow():
    keras.utils.set_random_seed(2)
    flow = lesson.FlowMatching(SMALL)
    random = np.random.default_rng(0)
    for variable in flow.averaged.weights:  # the untrained output is zero
        variable.assign(random.normal(0, 0.3, variable.shape))
    return flow


def test_guidance_0_is_unconditional_1_is_conditional_and_2_goes_on(flow):
    points, classes = examples()
    none, given = (
        np.asarray(flow.conditional(points, np.full((8, 1), 0.3, "float32"), c)) for c in (0 * classes, classes)
    )
    assert not np.allclose(none, given, atol=1e-3)
    for weight in (0, 0.5, 1, 2):
        guided = np.asarray(flow.velocity(classes, weight)(points, 0.3))
        assert guided == pytest.approx(none + weight * (given - none), abs=1e-4)


def test_forwards_and_backwards(flow):
    points, classes = examples()
    flow.averaged.set_weights([0.3 * weight for weight in flow.averaged.get_weights()])
    exactly = {"sampler": "heun", "sampling_steps": 32}
    there = flow.flow(points, classes, begin=0.9, end=0, **exactly)
    assert flow.flow(there, classes, begin=0, end=0.9, **exactly) == pytest.approx(points, abs=0.02)
    assert not np.allclose(there, points, atol=0.1)


def test_the_untrained_network_answers_grey_and_its_loss_is_known(eager, monkeypatch):
    keras.utils.set_random_seed(2)
    flow = lesson.FlowMatching(dataclasses.replace(SMALL, logit_normal=False))
    images, classes = examples(64)
    assert np.all(np.asarray(flow.network([images, np.full((64, 1), 0.5, "float32"), classes])) == 0)
    monkeypatch.setattr(flow, "times", lambda count: tf.fill((count, 1), 0.5))
    loss = float(flow.train_step((tf.constant(images), tf.constant(classes)))["loss"])
    # v is (0 - x_t) / (1 - t) = -x_0 - x_1 where x_1 - x_0 is wanted: an error of 2 x_1
    assert loss == pytest.approx(4 * np.mean(images**2), rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(time=st.floats(0, 0.95), shape=st.lists(st.integers(1, 4), min_size=1, max_size=3), seed=st.integers(0, 1000))
def test_towards_the_picture_is_the_velocity_of_the_line(time, shape, seed):
    noise, images = np.random.default_rng(seed).standard_normal((2, 3, *shape)).astype("float32")
    times = np.full((3, 1), time, "float32")
    points, velocities = lesson.between(noise, images, times)
    assert np.asarray(lesson.towards(images, points, times)) == pytest.approx(np.asarray(velocities), abs=1e-3)


def test_groups_are_normalised_as_keras_does():
    inputs = np.random.default_rng(0).normal(2, 3, (3, 5, 4, 8)).astype("float32")
    ours, theirs = GroupNorm(4), keras.layers.GroupNormalization(4, epsilon=1e-5)
    assert np.asarray(ours(inputs)) == pytest.approx(np.asarray(theirs(inputs)), abs=1e-4)


def test_the_share_of_examples_without_a_class(eager, monkeypatch):
    keras.utils.set_random_seed(2)
    flow, seen = lesson.FlowMatching(dataclasses.replace(SMALL, unlabelled=0.25)), []
    network = flow.network
    monkeypatch.setattr(flow, "network", Watched(network, seen))
    images, classes = examples(400)
    flow.train_step((tf.constant(images), tf.constant(classes)))
    ((_, times, given),) = seen
    without = np.all(np.asarray(given) == 0, axis=1)
    assert np.mean(without) == pytest.approx(0.25, abs=0.07)
    assert np.array_equal(np.asarray(given)[~without], classes[~without])
    assert np.min(times) > 0 and np.max(times) < 1
    assert np.std(np.log(times / (1 - times))) == pytest.approx(1, abs=0.15)  # logit-normal


class Watched:
    """A network that notes its inputs."""

    def __init__(self, network, seen):
        self.network, self.seen = network, seen
        self.trainable_variables, self.weights = network.trainable_variables, network.weights

    def __call__(self, inputs, training):
        self.seen.append(inputs)
        return self.network(inputs, training=training)


def test_the_average_starts_warm(eager):
    keras.utils.set_random_seed(2)
    flow = lesson.FlowMatching(SMALL)
    images, classes = examples()
    expected = [np.array(weight) for weight in flow.averaged.weights]
    for done in (1, 2, 3):
        flow.train_step((tf.constant(images), tf.constant(classes)))
        decay = (1 + done) / (10 + done)
        expected = [
            decay * old + (1 - decay) * np.array(new) for old, new in zip(expected, flow.network.weights, strict=True)
        ]
    for average, wanted in zip(flow.averaged.weights, expected, strict=True):
        assert np.array(average) == pytest.approx(wanted, abs=1e-6)


def test_the_average_is_what_samples(flow):
    noise, labels = lesson.fixed_noise(3, 1), np.array([0, 1, 2])
    before = flow.generate(noise, labels)
    assert np.std(before) > 0.1, "not the grey of the untrained network"
    flow.network.set_weights([0 * weight for weight in flow.network.get_weights()])
    assert np.array_equal(flow.generate(noise, labels), before)
    flow.averaged.set_weights([0 * weight for weight in flow.averaged.get_weights()])
    assert flow.generate(noise, labels) == pytest.approx(np.full((3, 28, 28), 0.5), abs=1e-6)  # answers grey, always


def test_same_seed_same_training(eager):
    losses = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        flow = lesson.FlowMatching(SMALL)
        images, classes = (tf.constant(part) for part in examples())
        losses.append([float(flow.train_step((images, classes))["loss"]) for _ in range(3)])
    assert losses[0] == losses[1]


def test_the_class_reaches_the_output_only_through_the_condition(flow):
    """The last row of `one_hot` is a class like the others; zeros are none of them."""
    assert np.array_equal(lesson.one_hot(np.array([9])), [[0] * 9 + [1]])
    assert ops.shape(flow.network.inputs[2]) == (None, 10)


FLAGS = ("--preset", "smoke", "--samples", "20", "--toy-steps", "2")


def run_lesson(folder, *flags) -> dict:
    lesson.main([*FLAGS, "--output-dir", str(folder), *flags])
    return read_card(folder, "26_FashionMNIST_flow_matching")


def play(folder, *flags, interrupt_at=None) -> tuple:
    """A training of its own, without the figures: variables and history."""
    argv = ["--preset", "smoke", "--output-dir", str(folder), *flags]
    with lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv) as run:
        data = lesson.datasets.fashion_mnist(run)
        flow = lesson.FlowMatching(run.config)
        if interrupt_at:
            flow.train_step = interrupting(flow.train_step, interrupt_at)
        history = lesson.train(run, flow, data)
        return [np.array(variable) for variable in flow.variables], history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)


@pytest.mark.slow
def test_sampling_flags_need_no_new_training(tmp_path, capsys):
    first = run_lesson(tmp_path)
    capsys.readouterr()
    again = run_lesson(tmp_path, "--resume", "--guidance", "3", "--sampler", "euler", "--sampling-steps", "3")
    assert "resumed at step 4 of 4" in capsys.readouterr().out
    assert again["metrics"]["fid"]["value"] != first["metrics"]["fid"]["value"]
    kept = np.load(tmp_path / "26_FashionMNIST_flow_matching" / "checkpoints" / "generated.npz")["images"]
    assert kept.shape == (20, 28, 28) and kept.dtype == np.uint8
