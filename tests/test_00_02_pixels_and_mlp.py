"""Lessons 00 to 02: statistics of pixels, and one network written in two ways."""

from types import SimpleNamespace

from lessonkit.datasets import LabelledImages, Split
from lessonkit.run import Run

import keras
import numpy as np
import pytest
from conftest import load_lesson, read_card

MLPS = ("01_keras_MLP_sequential_model", "02_keras_MLP_functional_api")


@pytest.fixture(scope="module")
def preprocessing():
    return load_lesson("00_CIFAR10_dataset_preprocessing")


@pytest.fixture(scope="module")
def sequential():
    return load_lesson("01_keras_MLP_sequential_model")


@pytest.fixture(scope="module")
def functional():
    return load_lesson("02_keras_MLP_functional_api")


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (50, 32, 32, 3)).astype(np.uint8)


def test_statistics_are_those_of_all_pixels(preprocessing, images):
    mean, deviation = preprocessing.channel_statistics(images)
    np.testing.assert_allclose(mean, (images / 255).mean(axis=(0, 1, 2)), rtol=1e-12)
    np.testing.assert_allclose(deviation, (images / 255).std(axis=(0, 1, 2)), rtol=1e-9)


def test_normalising_gives_mean_0_and_deviation_1_where_it_was_fitted(preprocessing, images):
    after = preprocessing.normalised(images, *preprocessing.channel_statistics(images))
    assert after.dtype == np.float32
    np.testing.assert_allclose(after.mean(axis=(0, 1, 2), dtype=np.float64), 0, atol=1e-6)
    np.testing.assert_allclose(after.std(axis=(0, 1, 2), dtype=np.float64), 1, atol=1e-6)


def test_the_statistics_never_see_the_test_pictures(preprocessing, tmp_path, monkeypatch):
    seen = []
    whole = preprocessing.channel_statistics
    monkeypatch.setattr(preprocessing, "channel_statistics", lambda images: seen.append(images.shape) or whole(images))
    preprocessing.main(["--preset", "smoke", "--limit", "70", "--output-dir", str(tmp_path)])
    assert seen == [(70, 32, 32, 3)]


def test_scaling_and_one_hot(preprocessing):
    assert preprocessing.scaled(np.array([0, 51, 255], np.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    assert preprocessing.one_hot(np.array([3]), 5).tolist() == [[0, 0, 0, 1, 0]]


def test_a_class_mean_is_that_of_its_own_pictures(preprocessing, images):
    labels = np.arange(50) % 4 + 3
    means = preprocessing.class_means(Split(images, labels))
    assert list(means) == [3, 4, 5, 6], "only classes that have pictures"
    np.testing.assert_allclose(means[4], (images[1::4] / 255).mean(axis=0), rtol=1e-6)


def test_the_usual_statistics_are_those_of_the_whole_of_cifar10(preprocessing):
    """Published for all 50,000 training pictures; both they and those of a half must lie in the ranges."""
    published = {"red": (0.4914, 0.2470), "green": (0.4822, 0.2435), "blue": (0.4465, 0.2616)}
    for name, values in published.items():
        for value, usual in zip(values, preprocessing.USUAL[name], strict=True):
            low, high = preprocessing.around(usual)
            assert low + 0.015 < value < high - 0.015


def test_both_networks_have_646260_parameters(sequential, functional):
    for lesson in (sequential, functional):
        assert lesson.build_model(lesson.Config()).count_params() == 646_260


def test_both_give_the_same_for_the_same_weights(sequential, functional, images):
    one, other = sequential.build_model(sequential.Config()), functional.build_model(functional.Config())
    inputs = sequential.scaled(images)
    assert not np.allclose(one.predict(inputs, verbose=0), other.predict(inputs, verbose=0))
    other.set_weights(one.get_weights())
    np.testing.assert_allclose(one.predict(inputs, verbose=0), other.predict(inputs, verbose=0), rtol=1e-5)


def test_an_untrained_classifier_is_near_chance(sequential, images):
    """Its loss is near ln 10, and its probabilities add up to 1."""
    keras.utils.set_random_seed(0)
    probabilities = sequential.build_model(sequential.Config()).predict(sequential.scaled(images), verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    labels = np.arange(50) % 10
    assert -np.mean(np.log(probabilities[np.arange(50), labels])) == pytest.approx(np.log(10), abs=0.35)


def test_the_forward_pass_ends_in_what_the_model_predicts(sequential, images):
    model = sequential.build_model(sequential.Config())
    outputs = sequential.layer_outputs(model, images[0])
    assert [len(values) for values in outputs] == [3072, 200, 150, 10]
    np.testing.assert_allclose(outputs[0], images[0].ravel() / 255, rtol=1e-6)
    np.testing.assert_allclose(outputs[-1], model.predict(sequential.scaled(images[:1]), verbose=0)[0], rtol=1e-5)


@pytest.mark.parametrize("count, held_out", [(2, 1), (3, 1), (20, 2), (25, 2)])
def test_held_out_pictures_are_not_trained_on(sequential, functional, images, count, held_out):
    split = Split(images[:count], np.arange(count))
    for lesson in (sequential, functional):
        training_part, validation_part = lesson.hold_out(split, 0.1)
        assert len(validation_part) == held_out
        assert [*training_part.labels, *validation_part.labels] == list(range(count))
        np.testing.assert_array_equal(validation_part.images, images[count - held_out : count])
    assert [len(part) for part in sequential.hold_out(split, 0.5)] == [count - round(count / 2), round(count / 2)]


@pytest.mark.parametrize("name", MLPS)
def test_no_training_sees_the_test_pictures(name, tmp_path, monkeypatch):
    """Training pictures are dark here, test pictures bright: nothing bright may reach `fit`, nor as validation part."""
    lesson, fit, seen = load_lesson(name), Run.fit, []

    def spying_fit(run, model, batches, **options):
        seen.append(float(batches.arrays[0].max()) / 255)
        seen.extend(float(keras.ops.max(options[part][0])) for part in options if part == "validation")
        return fit(run, model, batches, **options)

    def dark_and_bright(run):
        dark = np.random.default_rng(0).integers(0, 100, (60, 32, 32, 3)).astype(np.uint8)
        train, test = Split(dark, np.arange(60) % 10), Split(dark + 150, np.arange(60) % 10)
        return LabelledImages(train, test, tuple("abcdefghij"), name="noise", things="noise")

    monkeypatch.setattr(Run, "fit", spying_fit)
    monkeypatch.setattr(lesson.datasets, "cifar10", dark_and_bright)
    lesson.main(["--preset", "smoke", "--steps", "1", "--output-dir", str(tmp_path)])
    assert len(seen) >= 2 and max(seen) < 0.4


@pytest.mark.parametrize("name", MLPS)
def test_one_picture_is_refused_before_training(name, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        load_lesson(name).main(["--preset", "smoke", "--limit", "1", "--output-dir", str(tmp_path)])
    assert stop.value.code == 2 and "at least 2" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("name", MLPS)
@pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning:matplotlib")
def test_few_pictures_are_enough(name, tmp_path):
    """Fewer than ten, so that figures have fewer columns and classes are missing; no NaN, no warning of a figure."""
    load_lesson(name).main(["--preset", "smoke", "--limit", "3", "--output-dir", str(tmp_path)])
    metrics = read_card(tmp_path, name)["metrics"]
    assert all(entry["value"] is not None for entry in metrics.values())


def test_ranges_follow_the_number_of_training_pictures(sequential, functional):
    """Measured on the whole of CIFAR-10: accuracy 0.502, loss 1.404 and 1.411; on a half of it 0.483 and 1.473."""
    assert sequential.EXPECTED == functional.EXPECTED and sequential.EMBEDDED == functional.EMBEDDED
    for lesson in (sequential, functional):
        whole, half = lesson.expected(50_000), lesson.expected(25_000)
        assert whole["accuracy"][0] + 0.03 < 0.502 < whole["accuracy"][1] - 0.03
        assert whole["loss"][0] + 0.05 < 1.404 < 1.411 < whole["loss"][1] - 0.05
        assert half["accuracy"][0] + 0.02 < 0.483 < half["accuracy"][1] - 0.02
        assert half["loss"][0] + 0.05 < 1.473 < half["loss"][1] - 0.05
        assert half["accuracy"] < whole["accuracy"] and half["loss"] > whole["loss"]
        assert lesson.expected(10_000) == {}, "nobody measured it"


def test_a_model_of_a_hidden_layer_shares_the_weights(functional, images):
    model = functional.build_model(functional.Config())
    hidden = functional.build_hidden_model(model, "second_hidden")
    before = hidden.predict(functional.scaled(images), verbose=0)
    assert before.shape == (50, 150) and before.min() >= 0
    dense = model.get_layer("second_hidden")
    dense.set_weights([np.zeros_like(weights) for weights in dense.get_weights()])
    assert not hidden.predict(functional.scaled(images), verbose=0).any()


def test_the_second_head_trains_nothing_but_itself(functional, images):
    """Training the head on a frozen body must leave the body as it is."""
    model = functional.build_model(functional.Config())
    before = [weights.copy() for weights in model.get_weights()]

    def fit(model, batches, epochs, name):
        model.fit(batches.dataset(), steps_per_epoch=2, epochs=1, verbose=0)

    two_outputs = functional.build_two_output_model(model)
    head_before = two_outputs.get_layer("living").get_weights()[0].copy()
    run = SimpleNamespace(config=functional.Config(seed=1), fit=fit)
    functional.train_second_head(run, two_outputs, Split(images, np.arange(50) % 10))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not np.array_equal(head_before, two_outputs.get_layer("living").get_weights()[0])


def test_animals_are_the_living_things(functional):
    class_names = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
    living = functional.is_living(np.arange(10))[:, 0] == 1
    assert set(np.array(class_names)[living]) == {"bird", "cat", "deer", "dog", "frog", "horse"}


@pytest.mark.filterwarnings("error")
def test_hidden_units_are_drawn_without_missing_classes_and_inactive_units_last(functional):
    activations = np.zeros((4, 5), "float32")
    activations[:2, 3], activations[2:, 1] = 1, 2  # units 3 and 1, for classes 2 and 7; units 0, 2 and 4 never
    figure = functional.draw_hidden(activations, np.array([2, 2, 7, 7]), tuple("abcdefghij"))
    assert "3 of 5 units are never active" in figure.get_suptitle()
    image = figure.axes[0].images[0].get_array()
    np.testing.assert_array_equal(image, [[1, 0, 0, 0, 0], [0, 1, 0, 0, 0]])
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["c", "h"]
