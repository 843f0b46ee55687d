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


def test_a_dead_relu_stays_where_it_is_and_a_leaky_one_comes_back():
    inputs, targets = lesson.unit_examples(256, seed=0)
    traces, units = {}, {}
    for name, activation in {"relu": keras.layers.ReLU(), "leaky": keras.layers.LeakyReLU(negative_slope=0.2)}.items():
        units[name] = lesson.build_unit(activation, bias=-10.0)
        traces[name] = lesson.train(units[name], inputs, targets, keras.optimizers.SGD(0.1), steps=200)
    assert np.all(traces["relu"].gradient == 0)
    assert units["relu"].get_weights()[0].item() == 1 and units["relu"].get_weights()[1].item() == -10
    assert np.all(traces["relu"].loss == traces["relu"].loss[0])
    assert traces["leaky"].gradient[0] > 1
    assert traces["leaky"].loss[-1, 0] < 0.1 < 10 < traces["leaky"].loss[0, 0]


def test_a_trace_is_taken_before_the_step():
    inputs, targets = lesson.unit_examples(64, seed=0)
    trace = lesson.train(lesson.build_unit(keras.layers.ReLU(), 0.0), inputs, targets, keras.optimizers.SGD(0.1), 2)
    assert trace.bias[0] == 0 and trace.bias[1] != 0
    assert trace.loss[0, 0] == pytest.approx(np.mean((np.maximum(inputs, 0) - targets) ** 2), rel=1e-5)


def test_networks_side_by_side_share_nothing():
    inputs, targets = lesson.wave_examples(64, networks=3, seed=0)
    losses = []
    for disturbance in (0.0, 5.0):
        keras.utils.set_random_seed(1)
        model = lesson.build_networks(keras.layers.ReLU(), networks=3, units=8)
        kernel = model.get_layer("sum").kernel
        kernel.assign(kernel + np.array([disturbance, 0, 0])[:, None, None])
        losses.append(lesson.train(model, inputs, targets, keras.optimizers.Adam(0.01), steps=10).loss)
    assert np.all(losses[0][:, 0] != losses[1][:, 0])
    np.testing.assert_allclose(losses[0][:, 1:], losses[1][:, 1:], rtol=1e-6)


def test_dead_share_counts_units_below_zero_for_every_example():
    inputs, _ = lesson.wave_examples(64, networks=2, seed=0)
    model = lesson.build_networks(keras.layers.ReLU(), networks=2, units=4)
    weights = model.get_weights()
    weights[0][:] = 1
    weights[1][:] = [
        [-9, -9, -9, 0],
        [0, 0, 0, 0],
    ]  # x + b with x in [-1, 1]: with b = 0 half of the inputs get through
    model.set_weights(weights)
    np.testing.assert_array_equal(lesson.dead_share(model, inputs), [0.75, 0])


def test_large_steps_kill_relu_units():
    settings = lesson.Config(steps=100, rates=(0.01, 1.0), networks=4, examples=64)
    dead, losses = lesson.train_layers(SimpleNamespace(config=settings))["relu"]
    assert np.median(dead[0]) < 0.2 and np.median(dead[1]) > 0.7
    assert np.median(losses[0]) < 0.1 < np.median(losses[1])


def test_same_seed_same_experiment():
    settings = lesson.Config(steps=5, rates=(0.1,), networks=2, examples=64)
    first, second = (lesson.train_layers(SimpleNamespace(config=settings)) for _ in range(2))
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])


def test_sigmoid_loses_the_gradient_on_the_way_and_relu_does_not():
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
