"""Lessons 00 to 02: statistics of pixels, and one network written in two ways."""

import keras
import numpy as np
import pytest
from conftest import load_lesson


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


def test_both_networks_have_646260_parameters(sequential, functional):
    for lesson in (sequential, functional):
        assert lesson.build_model(lesson.Config()).count_params() == 646_260


def test_both_give_the_same_for_the_same_weights(sequential, functional, images):
    one, other = sequential.build_model(sequential.Config()), functional.build_model(functional.Config())
    inputs = sequential.scaled(images)
    assert not np.allclose(one.predict(inputs, verbose=0), other.predict(inputs, verbose=0))
    other.set_weights(one.get_weights())
    np.testing.assert_allclose(one.predict(inputs, verbose=0), other.predict(inputs, verbose=0), rtol=1e-5)


def test_an_untrained_classifier_knows_about_nothing(sequential, images):
    """Its loss is near ln 10, and its probabilities add up to 1."""
    keras.utils.set_random_seed(0)
    probabilities = sequential.build_model(sequential.Config()).predict(sequential.scaled(images), verbose=0)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)
    labels = np.arange(50) % 10
    assert -np.mean(np.log(probabilities[np.arange(50), labels])) == pytest.approx(np.log(10), abs=0.35)


def test_a_reader_shares_the_weights(functional, images):
    model = functional.build_model(functional.Config())
    reader = functional.build_reader(model, "second_hidden")
    before = reader.predict(functional.scaled(images), verbose=0)
    assert before.shape == (50, 150) and before.min() >= 0
    dense = model.get_layer("second_hidden")
    dense.set_weights([np.zeros_like(weights) for weights in dense.get_weights()])
    assert not reader.predict(functional.scaled(images), verbose=0).any()


def test_the_second_head_trains_nothing_but_itself(functional, tmp_path):
    """Training the head on a frozen body must leave the body as it is."""
    model = functional.build_model(functional.Config())
    before = [weights.copy() for weights in model.get_weights()]

    class Run:
        config = functional.Config(seed=1, limit=40)

        def fit(self, model, batches, epochs, name, validation):
            model.fit(batches.dataset(), steps_per_epoch=2, epochs=1, verbose=0)
            return {"val_accuracy": [0.5]}

    from lessonkit.datasets.source import Split

    random = np.random.default_rng(0)
    split = Split(random.integers(0, 256, (40, 32, 32, 3)).astype(np.uint8), np.arange(40) % 10)
    two_headed = functional.build_two_headed(model)
    head_before = two_headed.get_layer("alive").get_weights()[0].copy()
    functional.train_second_head(Run(), two_headed, type("Data", (), {"train": split, "test": split}))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert not np.array_equal(head_before, two_headed.get_layer("alive").get_weights()[0])
