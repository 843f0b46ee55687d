"""Lesson 20: the gradient penalty in closed form, what a score depends on, and what each step changes."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import Grey, check_resuming, interrupting, load_lesson
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops

lesson = load_lesson("20_FashionMNIST_WGAN_GP")
TINY = {"generator_channels": (8, 8, 4), "critic_channels": (4, 8), "latent_dim": 8, "embedding": 4, "steps": 6}
SMALL = dataclasses.replace(lesson.Config(), batch_size=4, **TINY)


def new_gan(**changes):
    keras.utils.set_random_seed(3)
    return lesson.WGAN(dataclasses.replace(SMALL, **changes))


@pytest.fixture(scope="module")
def untouched():
    """Two networks that no test trains."""
    return new_gan()


def examples(count=12, seed=0):
    """Pictures (count, 28, 28, 1) in [-1, 1] and class numbers (count,)."""
    images = np.random.default_rng(seed).uniform(-1, 1, (count, 28, 28, 1)).astype("float32")
    return tf.constant(images), tf.constant(np.arange(count, dtype="int32") % 10)


def values(variables):
    return [np.array(variable) for variable in variables]


def changed(variables, before):
    return [not np.array_equal(variable, old) for variable, old in zip(variables, before, strict=True)]


def arrays(gradients, variables):
    """Gradients as arrays, zeros for the variables on which nothing depends."""
    return [
        np.zeros(variable.shape) if part is None else np.array(tf.convert_to_tensor(part))
        for part, variable in zip(gradients, variables, strict=True)
    ]


class Linear:
    """f(x) = w.x + b."""

    def __init__(self, weights, bias=0.3):
        self.weights, self.bias = tf.Variable(np.float32(weights)), bias

    def __call__(self, inputs):
        images, _ = inputs
        return ops.sum(images * self.weights, axis=(1, 2, 3))[:, None] + self.bias


@settings(max_examples=20, deadline=None)
@given(slope=st.floats(0.01, 30), count=st.integers(1, 7), seed=st.integers(0, 1000))
def test_penalty_of_a_linear_critic(slope, count, seed):
    """The gradient is w everywhere: the penalty is exactly (|w| - 1)²."""
    weights = np.random.default_rng(seed).standard_normal((28, 28, 1))
    critic = Linear(slope * weights / np.linalg.norm(weights))
    penalty = lesson.gradient_penalty(critic, *examples(count, seed))
    assert float(penalty) == pytest.approx((slope - 1) ** 2, rel=1e-4, abs=1e-6)


def test_penalty_of_a_constant_critic_is_1_and_its_gradient_is_finite(untouched):
    critic = Linear(np.zeros((28, 28, 1)))
    with tf.GradientTape() as tape:
        penalty = lesson.gradient_penalty(critic, *examples())
    assert float(penalty) == pytest.approx(1, abs=1e-5)
    assert np.all(np.isfinite(tape.gradient(penalty, critic.weights)))
    unconnected = lesson.gradient_penalty(lambda inputs: tf.ones((12, 1)), *examples())
    assert float(unconnected) == pytest.approx(1, abs=1e-5), "no path from the pictures to the score at all"
    flat = lesson.build_critic(SMALL)
    flat.set_weights([0 * weight for weight in flat.get_weights()])
    with tf.GradientTape() as tape:
        penalty = lesson.gradient_penalty(flat, *examples())
    gradients = arrays(tape.gradient(penalty, flat.trainable_variables), flat.trainable_variables)
    assert float(penalty) == pytest.approx(1, abs=1e-5)
    assert all(np.all(np.isfinite(part)) for part in gradients)


def test_one_norm_per_picture_over_all_of_its_pixels():
    """A critic whose slope depends on the class: a norm over the batch or over one axis would mix or split them."""

    def critic(inputs):
        images, classes = inputs
        return ops.sum(images, axis=(1, 2, 3))[:, None] * (ops.cast(classes, "float32")[:, None] + 1) / 28

    found = lesson.slopes(critic, *examples(5))
    assert np.asarray(found) == pytest.approx([1, 2, 3, 4, 5], rel=1e-5)
    assert float(lesson.gradient_penalty(critic, *examples(5))) == pytest.approx(np.mean([0, 1, 4, 9, 16]), rel=1e-5)


def test_a_score_depends_on_its_own_picture_only(untouched):
    """d f(x_i) / d x_j = 0: with batch normalisation in the critic it would not be."""
    images, classes = examples(6)
    with tf.GradientTape() as tape:
        tape.watch(images)
        score = untouched.critic([images, classes], training=True)[2]
    gradient = np.asarray(tape.gradient(score, images))
    assert np.all(gradient[[0, 1, 3, 4, 5]] == 0) and np.linalg.norm(gradient[2]) > 0.01


def test_gradient_of_the_penalty_against_finite_differences(untouched):
    """Backpropagation through backpropagation, along a random direction of all weights."""
    critic = lesson.build_critic(SMALL)
    images, classes = examples(4)
    with tf.GradientTape() as tape:
        penalty = lesson.gradient_penalty(critic, images, classes)
    gradients = arrays(tape.gradient(penalty, critic.trainable_variables), critic.trainable_variables)
    weights, size = critic.get_weights(), 1e-3
    length = np.sqrt(sum(np.sum(part**2) for part in gradients))
    ends = []
    for sign in (1, -1):
        critic.set_weights([part + sign * size * step / length for part, step in zip(weights, gradients, strict=True)])
        ends.append(float(lesson.gradient_penalty(critic, images, classes)))
    assert (ends[0] - ends[1]) / (2 * size) == pytest.approx(length, rel=0.03)


def test_points_between_lie_on_the_lines():
    one, other = np.zeros((3, 28, 28, 1), "float32"), np.ones((3, 28, 28, 1), "float32")
    points = lesson.between(one, other, np.array([0, 0.25, 1], "float32").reshape(3, 1, 1, 1))
    assert [float(np.ptp(picture)) for picture in points] == [0, 0, 0], "one weight for a whole picture"
    assert np.asarray(points)[:, 0, 0, 0] == pytest.approx([0, 0.25, 1])


def test_the_step_draws_one_uniform_weight_per_picture(eager, monkeypatch):
    gan, seen, plain = new_gan(), [], lesson.between
    monkeypatch.setattr(lesson, "between", lambda *given: seen.append(given) or plain(*given))
    images, classes = examples(300)
    gan.critic_step(images, classes)
    ((real, fake, weights),) = seen
    weights = np.asarray(weights)
    assert weights.shape == (300, 1, 1, 1) and real is images and fake.shape == images.shape
    assert weights.min() >= 0 and weights.max() <= 1
    assert np.quantile(weights, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.09)


def test_the_step_penalises_slopes(eager):
    """A critic ten times too steep becomes flatter, although its loss alone would make it steeper."""
    gan = new_gan(penalty=100.0)
    head = next(layer for layer in gan.critic.layers if isinstance(layer, keras.layers.Dense))
    head.kernel.assign(30 * head.kernel)
    images, classes = examples(8)
    before = float(lesson.gradient_penalty(gan.critic, images, classes))
    for _ in range(3):
        gan.critic_step(images, classes)
    assert before > 10 and float(lesson.gradient_penalty(gan.critic, images, classes)) < 0.99 * before


def test_losses_and_the_distances_they_stand_for():
    real, fake = np.array([[3.0], [1.0]], "float32"), np.array([[-1.0], [0.0]], "float32")
    assert float(lesson.critic_loss("wasserstein", real, fake)) == pytest.approx(-2.5)
    assert float(lesson.generator_loss("wasserstein", fake)) == pytest.approx(0.5)
    assert lesson.distance("wasserstein", real, fake) == pytest.approx(2.5)
    tied, sure = np.zeros((2, 1), "float32"), np.full((2, 1), 40, "float32")
    assert float(lesson.generator_loss("non-saturating", tied)) == pytest.approx(np.log(2), abs=1e-5)
    assert lesson.distance("non-saturating", tied, tied) == pytest.approx(0, abs=1e-5)
    assert lesson.distance("non-saturating", sure, -sure) == pytest.approx(2 * np.log(2), abs=1e-5)


def test_the_estimate_of_two_points_is_too_large_by_a_known_factor():
    """For points at the distance d the best slope is not 1: s d - 10 (s - 1)² is largest at s = 1 + d / 20."""
    images, classes = examples(2)
    direction, distance, slopes = np.full((28, 28, 1), 1 / 28), 4.0, np.linspace(0.8, 1.6, 81)
    real, fake = images, images - distance * direction

    def loss(slope):
        critic = Linear(slope * direction)
        scores = critic([real, classes]), critic([fake, classes])
        return lesson.critic_loss("wasserstein", *scores) + 10 * lesson.gradient_penalty(critic, real, classes)

    assert slopes[np.argmin([loss(slope) for slope in slopes])] == pytest.approx(1 + distance / 20)


def test_each_step_changes_its_own_network_and_in_the_right_direction(eager):
    gan = new_gan(penalty=0.0, learning_rate=1e-4)
    (images, classes), random = examples(12), tf.constant(lesson.fixed_latents(12, SMALL))

    def fake(classes):  # of the same latents every time
        return gan.generator([random, classes], training=True)

    def means():
        return [float(ops.mean(gan.critic([pictures, classes]))) for pictures in (images, fake(classes))]

    gan.fake = fake
    generator, critic, (real, made) = values(gan.generator.trainable_variables), values(gan.critic.weights), means()
    for _ in range(3):
        gan.critic_step(images, classes)
    after = means()
    assert not any(changed(gan.generator.trainable_variables, generator)) and any(changed(gan.critic.weights, critic))
    assert after[0] - after[1] > real - made, "the critic widens the difference of the means"
    critic = values(gan.critic.weights)
    for _ in range(3):
        gan.generator_step(classes)
    assert not any(changed(gan.critic.weights, critic))
    assert all(changed(gan.generator.trainable_variables, generator))
    assert means()[1] > after[1], "the generator raises the scores of its pictures"


def test_steps_of_the_critic_per_step_of_the_generator(eager):
    gan, seen = new_gan(critic_steps=4, penalty=0.0), []
    step = gan.critic_step
    gan.critic_step = lambda images, classes: seen.append(np.asarray(classes)) or step(images, classes)
    gan.train_step(examples(14))
    assert int(gan.critic_optimizer.iterations) == 4 and int(gan.generator_optimizer.iterations) == 1
    assert np.array_equal(np.concatenate(seen), np.arange(12) % 10), "parts of equal size, no picture twice"


def test_both_networks_are_told_the_class(untouched):
    images, _ = examples(10)
    random = np.repeat(lesson.fixed_latents(1, SMALL), 10, axis=0)
    classes = np.arange(10, dtype="int32")
    scores = untouched.scores(np.repeat(np.asarray(images)[:1], 10, axis=0), classes)
    assert len(np.unique(scores)) == 10
    pictures = untouched.generate(random, classes)
    assert all(not np.array_equal(pictures[0], picture) for picture in pictures[1:])


def test_every_part_of_the_labels_has_all_classes():
    labels = lesson.balanced(2_000, seed=42)
    assert labels.dtype == np.int32 and np.all(np.bincount(labels) == 200)
    for part in (labels[:200], labels[::10], labels[1::2]):
        assert np.min(np.bincount(part, minlength=10)) >= 0.04 * len(part)


def test_the_average_starts_warm_and_is_what_generates(eager):
    gan = new_gan(average=0.15)
    _, classes = examples(4)
    for kept in (1 / 11, 0.15):  # 2 / 12 would be more
        before = values(gan.averaged.weights)
        gan.generator_step(classes)
        for new, old, current in zip(gan.averaged.weights, before, gan.generator.weights, strict=True):
            assert np.array(new) == pytest.approx(kept * old + (1 - kept) * np.array(current), abs=1e-6)
    random, labels = lesson.fixed_latents(4, SMALL), np.asarray(classes)
    shown = gan.generate(random, labels)
    gan.generator.set_weights([0 * weight for weight in gan.generator.get_weights()])
    assert np.array_equal(gan.generate(random, labels), shown)
    assert not np.allclose(gan.generate(random, labels, averaged=False), shown)


def test_both_rates_decay_to_zero_over_their_own_steps():
    gan = new_gan()
    gan.generator_optimizer.iterations.assign(SMALL.steps)
    gan.critic_optimizer.iterations.assign((SMALL.steps + SMALL.warm_up) * SMALL.critic_steps)
    for optimizer in (gan.generator_optimizer, gan.critic_optimizer):
        assert float(optimizer.learning_rate) == pytest.approx(0, abs=1e-9)
    gan.critic_optimizer.iterations.assign(SMALL.steps)
    assert float(gan.critic_optimizer.learning_rate) > 1e-4


def test_rank_correlation_of_histories():
    def history(losses, distances):
        steps = [2, 4, 6, 8, 10, 12]
        measured = {"kid_current": [9, *distances]}
        return lesson.lesson.History(steps, {"critic_loss": losses}, [], [0, 4, 8, 12], measured)

    falling = history([-9, -7, -2, -4, -1, -1], [7, 0.2, 0.1])
    assert lesson.mean_estimates(falling, "wasserstein") == pytest.approx([8, 3, 1])
    assert lesson.mean_estimates(falling, "non-saturating") == pytest.approx(2 * np.log(2) + np.array([8, 3, 1]))
    assert lesson.agreement(falling, "wasserstein") == pytest.approx(1)
    assert lesson.agreement(history([-9, -7, -2, -4, -1, -1], [0.1, 0.2, 7]), "wasserstein") == pytest.approx(-1)


def play(folder, *flags, interrupt_at=None):
    """Train in the frame of a real run; returns all variables and the history."""
    argv = ["--preset", "smoke", "--device", "cpu", "--limit", "40", "--output-dir", str(folder), *flags]
    with lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv) as run:
        gan = lesson.WGAN(run.config)
        if interrupt_at is not None:
            gan.train_step = interrupting(gan.train_step, interrupt_at)
        history = lesson.train(run, gan, lesson.datasets.fashion_mnist(run), Grey())
        return values(gan.variables), history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    history, resumed = check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)
    assert history.measured == resumed.measured and history.frame_steps == resumed.frame_steps == [0, 2, 4, 6]


@pytest.mark.slow
def test_same_seed_same_training(eager):
    logs = []
    for _ in range(2):
        gan = new_gan()
        logs.append([float(gan.train_step(examples())["critic_loss"]) for _ in range(2)])
    assert logs[0] == logs[1]


@pytest.mark.parametrize("limit", [1, 9])
def test_too_few_examples_are_refused_before_the_training(limit, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--limit", str(limit), "--output-dir", str(tmp_path)])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and "at least 10" in captured.err and "step 1" not in captured.out


@pytest.mark.slow
def test_the_least_number_of_examples_works(tmp_path):
    lesson.main(["--preset", "smoke", "--limit", "10", "--critic-steps", "10", "--output-dir", str(tmp_path)])
    assert (tmp_path / "20_FashionMNIST_WGAN_GP.png").exists()
