"""Lesson 04: the tape against finite differences, training against the closed form, the line against its formula."""

from lessonkit.config import TrainingError

import numpy as np
import pytest
from conftest import load_lesson

lesson = load_lesson("04_tensorflow_linear_classifier")


@pytest.fixture(scope="module")
def examples():
    return lesson.clouds(500, (0, 0))


def test_a_step_follows_the_gradient_that_differences_give(examples):
    rate, width = 0.1, 1e-4
    _, path = lesson.train(lesson.LinearClassifier(seed=1), *examples, rate=rate, steps=1)
    differences = [
        (lesson.loss_at(path[0] + move, *examples) - lesson.loss_at(path[0] - move, *examples)) / (2 * width)
        for move in width * np.eye(3)
    ]
    np.testing.assert_allclose((path[0] - path[1]) / rate, differences, rtol=1e-4, atol=1e-4)


def test_losses_belong_to_the_parameters_beside_them(examples):
    losses, path = lesson.train(lesson.LinearClassifier(seed=1), *examples, rate=0.1, steps=5)
    assert len(losses) == len(path) == 6
    np.testing.assert_allclose(losses, lesson.loss_at(path, *examples), rtol=1e-4)


def test_training_reaches_the_closed_solution(examples):
    losses, path = lesson.train(lesson.LinearClassifier(seed=1), *examples, rate=0.1, steps=400)
    best = lesson.best_parameters(*examples)
    np.testing.assert_allclose(path[-1], best, atol=2e-3)
    assert losses[-1] == pytest.approx(lesson.loss_at(best, *examples), rel=1e-3)
    assert lesson.loss_at(best, *examples) < np.min(lesson.loss_at(best + 0.01 * np.eye(3), *examples))


def test_the_largest_stable_rate_is_the_border(examples):
    limit = 2 / np.linalg.eigvalsh(lesson.curvature(examples[0])).max()
    calm, _ = lesson.train(lesson.LinearClassifier(seed=1), *examples, rate=0.95 * limit, steps=100)
    wild, _ = lesson.train(lesson.LinearClassifier(seed=1), *examples, rate=1.05 * limit, steps=100)
    assert calm[-1] < 0.1 < calm[0] < wild[-1]


def test_a_rate_far_too_large_ends_with_advice(examples):
    with pytest.raises(TrainingError, match="smaller --learning-rate"):
        lesson.train(lesson.LinearClassifier(seed=1), *examples, rate=3.0, steps=100)


def test_the_prediction_on_the_line_is_one_half():
    parameters, x1 = np.array([0.3, -0.2, 0.7]), np.linspace(-5, 5, 11)
    points = np.stack([x1, lesson.line_height(parameters, x1)], axis=1)
    np.testing.assert_allclose(points @ parameters[:2] + parameters[2], 0.5)


def test_accuracy_counts_the_points_on_their_side():
    points, targets = np.array([[3, 0], [0, 3], [0, 3.0]]), np.array([[1], [0], [1.0]])
    assert lesson.accuracy(np.array([1, -1, 0.5]), points, targets) == pytest.approx(2 / 3)


def test_the_ideal_accuracy_is_that_of_the_diagonal():
    points, targets = lesson.clouds(200_000, (5, 5))
    measured = lesson.accuracy(np.array([1, -1, 0.5]), points, targets)  # the border x2 = x1
    assert measured == pytest.approx(lesson.ideal_accuracy(), abs=3e-4)


def test_clouds_lie_where_the_text_says():
    points, targets = lesson.clouds(20_000, (3, 0))
    for label, mean in enumerate([(0, 3), (3, 0)]):
        chosen = points[targets[:, 0] == label]
        assert len(chosen) == 20_000
        np.testing.assert_allclose(chosen.mean(axis=0), mean, atol=0.03)
        np.testing.assert_allclose(np.cov(chosen.T), [[1, 0.5], [0.5, 1]], atol=0.04)
    assert len(set(targets[:100, 0])) == 2, "shuffled, so that --limit keeps both classes"


def test_same_seed_same_path(examples):
    paths = [lesson.train(lesson.LinearClassifier(seed), *examples, rate=0.1, steps=3)[1] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(paths[0], paths[1])
    assert np.all(paths[0][1:] != paths[2][1:])


def test_the_tape_watches_variables_and_constants_only_after_watch():
    def cube(x):
        return x**3

    assert lesson.derivative(cube, 2.0) == 12
    assert lesson.derivative_at_constant(cube, 2.0, watch=False) is None
    assert lesson.derivative_at_constant(cube, 2.0, watch=True) == 12


def test_a_falling_body_gains_9_8_metres_a_second_each_second():
    position, speed, acceleration = lesson.fall(np.array([0.0, 0.5, 2.0]))
    np.testing.assert_allclose(position, [0, 1.225, 19.6], rtol=1e-6)
    np.testing.assert_allclose(speed, [0, 4.9, 19.6], rtol=1e-6)
    np.testing.assert_allclose(acceleration, 9.8, rtol=1e-6)


def test_notes_on_tensors_show_values_at_their_moment():
    notes = lesson.tensor_notes()
    assert "TypeError" in notes and "does not support item assignment" in notes
    moments = [notes.index(text) for text in ("variable = tf", "[[0. 0.]", "[[1. 1.]", "[[5. 1.]")]
    assert moments == sorted(moments)


def test_finite_differences_are_worse_than_the_tape(examples):
    errors = lesson.gradient_errors(*examples, np.logspace(-12, 0, 13))
    for dtype, bound in {"float32": 1e-5, "float64": 1e-13}.items():
        differences, tape = errors[f"finite difference, {dtype}"], errors[f"tape, {dtype}"][0]
        assert tape < bound and tape < differences.min() / 10
        assert differences.min() < min(differences[0], differences[-1]) / 100, "wrong on both sides"


def test_a_frame_for_every_step(examples):
    losses, path = lesson.train(lesson.LinearClassifier(seed=1), *examples, rate=0.1, steps=2)
    frames = lesson.draw_frames(*examples, losses, path)
    assert len(frames) == 3 and all(frame.dtype == np.uint8 and frame.shape == frames[0].shape for frame in frames)
    assert np.any(frames[0] != frames[2])
