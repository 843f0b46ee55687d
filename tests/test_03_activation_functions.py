"""Lesson 03: gradients against their formulas, what a dead unit is, and that the experiments measure what they say."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from conftest import load_lesson

lesson = load_lesson("03_activation_functions")


def test_gradients_are_those_of_the_docstring():
    points = np.array([-3, -0.5, 0, 0.5, 3])
    functions = lesson.build_functions(negative_slope=0.2)
    gradients = {name: lesson.value_and_gradient(function, points)[1] for name, function in functions.items()}
    np.testing.assert_array_equal(gradients["relu"][:, 0], [0, 0, 0, 1, 1])
    np.testing.assert_allclose(gradients["leaky relu"][:, 0], [0.2, 0.2, 0.2, 1, 1])
    sigmoid = 1 / (1 + np.exp(-points))
    np.testing.assert_allclose(gradients["sigmoid"][:, 0], sigmoid * (1 - sigmoid), rtol=1e-5)
    exponentials = np.exp(np.stack([points, np.ones(5), np.zeros(5)], axis=1))
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    jacobian = p[:, :1] * (np.array([1, 0, 0]) - p)
    np.testing.assert_allclose(gradients["softmax of (x, 1, 0)"], jacobian, atol=1e-6)
    np.testing.assert_allclose(gradients["softmax of (x, 1, 0)"].sum(axis=1), 0, atol=1e-6)


def test_softmax_is_colder_or_hotter_and_never_overflows():
    logits = np.array([[1000.0, 999.0, 0.0]], "float32")
    entropies = [lesson.entropy(lesson.softmax(logits, temperature).numpy()) for temperature in (0.01, 0.5, 1, 2, 1e6)]
    assert entropies == sorted(entropies) and len(set(entropies)) == 5
    assert entropies[0] < 1e-6 and entropies[-1] == pytest.approx(np.log(3), abs=1e-3)


def test_a_dead_relu_stays_where_it_is_and_a_leaky_one_recovers():
    inputs, targets = lesson.unit_examples(256, seed=0)
    traces, units = {}, {}
    for name, activation in {"relu": keras.layers.ReLU(), "leaky": keras.layers.LeakyReLU(negative_slope=0.2)}.items():
        units[name] = lesson.build_unit(activation, bias=-10.0)
        traces[name] = lesson.train(units[name], inputs, targets, rate=0.1, steps=200)
    assert np.all(traces["relu"].gradient == 0)
    assert units["relu"].get_weights()[0].item() == 1 and units["relu"].get_weights()[1].item() == -10
    assert np.all(traces["relu"].loss == traces["relu"].loss[0])
    assert traces["leaky"].gradient[0] > 1
    assert traces["leaky"].loss[-1] < 0.1 < 10 < traces["leaky"].loss[0]


def test_large_steps_kill_a_unit_that_started_well():
    plain, large_steps, dead, leaky = lesson.train_units(lesson.Config(steps=30)).values()
    assert plain.loss[0] == large_steps.loss[0] and plain.bias[0] == large_steps.bias[0] == 0, "the same start"
    assert large_steps.gradient[0] > 1 and np.all(large_steps.gradient[2:] == 0)
    assert large_steps.loss[-1] == pytest.approx(dead.loss[-1]), "both always give 0"
    assert plain.loss[-1] < 0.01 and plain.gradient.min() > 0
    assert leaky.bias[0] == dead.bias[0] == -10


def test_limit_is_the_number_of_examples():
    """Also one example, and a limit above the number of examples."""
    for limit, count in {1: 1, 7: 7, 999: 256}.items():
        inputs, targets = lesson.unit_examples(count, seed=42)
        trace = next(iter(lesson.train_units(lesson.Config(steps=1, limit=limit)).values()))
        assert trace.loss[0] == pytest.approx(np.mean((np.maximum(inputs, 0) - targets) ** 2), rel=1e-5)


def test_a_trace_is_taken_before_the_step():
    inputs, targets = lesson.unit_examples(64, seed=0)
    trace = lesson.train(lesson.build_unit(keras.layers.ReLU(), 0.0), inputs, targets, rate=0.1, steps=2)
    assert trace.bias[0] == 0 and trace.bias[1] != 0
    assert trace.loss[0] == pytest.approx(np.mean((np.maximum(inputs, 0) - targets) ** 2), rel=1e-5)
    inside = inputs > 0
    slopes = 2 * (np.maximum(inputs, 0) - targets) * inside
    gradient = np.hypot(np.mean(slopes * inputs), np.mean(slopes))
    assert trace.gradient[0] == pytest.approx(gradient, rel=1e-5)
    assert trace.bias[1] == pytest.approx(-0.1 * np.mean(slopes), rel=1e-5)


def test_same_seed_same_experiment():
    first, second = (lesson.train_units(lesson.Config(steps=5)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name].loss, second[name].loss)


def test_gradients_vanish_with_sigmoid_and_not_with_relu():
    keras.utils.set_random_seed(0)
    lengths = {name: lesson.gradient_by_depth(*pair, depth=20) for name, pair in lesson.STACKS.items()}
    assert lengths["sigmoid"][0] < 1e-8 * lengths["sigmoid"][-1]
    assert all(lengths[name][0] > 1e-3 * lengths[name][-1] for name in ("relu", "leaky relu"))


def test_both_forms_agree_and_the_default_slopes_do_not():
    measured = {}

    def metric(name, value, *_, **__):
        measured[name] = float(value)

    lesson.compare_forms(SimpleNamespace(config=lesson.Config(), metric=metric))
    assert measured["argument_against_layer"] == 0
    assert measured["slope_of_string"] == pytest.approx(0.2) and measured["slope_of_layer"] == pytest.approx(0.3)
