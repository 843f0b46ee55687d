"""Lesson 05: the layer and the metric are what they claim to be, and the test digits stay out of the training."""

import types

from lessonkit import training
from lessonkit.config import StudyError
from lessonkit.datasets.embedded import digits

import keras
import numpy as np
import pytest
from conftest import load_lesson

lesson = load_lesson("05_MNIST_layers_and_training")


@pytest.fixture(scope="module")
def examples():
    arrays = digits.splits(train=1_000, test=200)
    return lesson.scaled(arrays["x_train"]), arrays["y_train"].astype("int32")


@pytest.fixture
def model():
    keras.utils.set_random_seed(42)
    model = lesson.build_model(units=64)
    lesson.compile_model(model, keras.optimizers.RMSprop(1e-3))
    return model


# The layer


@pytest.mark.parametrize("activation", [None, "relu", "tanh"])
def test_simple_dense_equals_dense(activation):
    inputs = np.random.default_rng(0).normal(size=(20, 7)).astype("float32")
    layer = lesson.SimpleDense(5, activation=activation)
    assert layer(inputs).shape == (20, 5)
    layer.bias.assign([1, -1, 0.5, 0, 2])
    assert lesson.difference_to_dense(layer, inputs) < 1e-6


def test_simple_dense_by_hand():
    layer = lesson.SimpleDense(2, activation="relu")
    layer.build((None, 3))
    layer.set_weights([np.array([[1, -1], [2, 0], [0, 3]], "float32"), np.array([0.5, -1], "float32")])
    np.testing.assert_allclose(layer(np.array([[1.0, 2.0, 3.0], [-9.0, 0.0, 0.0]])), [[5.5, 7.0], [0.0, 8.0]])


def test_weights_are_created_at_the_first_input():
    layer = lesson.SimpleDense(4)
    assert not layer.built and not layer.weights
    layer(np.zeros((1, 6), "float32"))
    assert [tuple(weight.shape) for weight in layer.trainable_weights] == [(6, 4), (4,)]


def test_parameters(model):
    assert model.count_params() == 784 * 64 + 64 + 64 * 64 + 64 + 64 * 10 + 10 == 55_050


# The metric


def worst_by_hand(labels, predictions):
    return min(np.mean(predictions[labels == label] == label) for label in np.unique(labels))


@pytest.mark.parametrize("batch", [3, 64, 500])
def test_worst_class_accuracy_does_not_depend_on_the_batches(batch):
    random = np.random.default_rng(1)
    labels, scores = random.integers(0, 10, 500), random.normal(size=(500, 10)).astype("float32")
    scores[np.arange(500), labels] += 2
    metric = lesson.WorstClassAccuracy()
    for start in range(0, 500, batch):
        metric.update_state(labels[start : start + batch], scores[start : start + batch])
    wanted = worst_by_hand(labels, scores.argmax(1))
    assert float(metric.result()) == pytest.approx(wanted)
    assert wanted < np.mean(scores.argmax(1) == labels)


def test_worst_class_accuracy_classes_weights_and_reset():
    metric = lesson.WorstClassAccuracy(classes=3)
    scores = np.array([[9, 0, 0], [9, 0, 0], [0, 9, 0]], "float32")  # predictions 0, 0, 1
    metric.update_state([0, 1, 1], scores)
    assert float(metric.result()) == 0.5  # of class 1; class 2 has no examples
    metric.reset_state()
    metric.update_state([0, 1, 1], scores, sample_weight=[1.0, 3.0, 1.0])
    assert float(metric.result()) == 0.25
    metric.reset_state()
    metric.update_state([0, 1], scores[[0, 2]])
    assert float(metric.result()) == 1


# The split


def test_hold_out_takes_the_last_part():
    (images, labels), (held_images, held_labels) = lesson.hold_out(np.arange(10), np.arange(10) * 2, 0.2)
    np.testing.assert_array_equal(images, range(8))
    np.testing.assert_array_equal(held_images, [8, 9])
    np.testing.assert_array_equal(np.concatenate([labels, held_labels]), np.arange(10) * 2)


@pytest.mark.parametrize(("count", "share"), [(10, 0), (10, 1), (1, 0.2)])
def test_hold_out_of_nothing_is_refused(count, share):
    with pytest.raises(StudyError, match="--validation-split"):
        lesson.hold_out(np.zeros((count, 28, 28)), np.zeros(count), share)


def test_training_never_sees_the_test_digits(monkeypatch, tmp_path):
    seen = {}

    def record(self, model, examples, *, validation, **options):
        seen["train"], seen["validation"] = examples.arrays[0], validation[0]
        raise StudyError("seen enough")

    monkeypatch.setattr(lesson.lesson.Run, "fit", record)
    with pytest.raises(SystemExit):
        lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path)])
    arrays = digits.splits()
    train = lesson.scaled(arrays["x_train"][:200])
    np.testing.assert_array_equal(seen["train"], train[:160])
    np.testing.assert_array_equal(seen["validation"], train[160:])
    test = {image.tobytes() for image in lesson.scaled(arrays["x_test"])}
    assert not any(image.tobytes() in test for part in seen.values() for image in part)


# Training


def test_an_untrained_network_is_near_chance(model, examples):
    loss = model.evaluate(*examples, verbose=0, return_dict=True)["loss"]
    assert np.log(10) - 0.1 < loss < np.log(10) + 0.3
    assert model.predict(examples[0], verbose=0).min() < 0, "logits, not probabilities"


def test_loss_takes_logits_and_does_not_saturate(model):
    logits = np.array([[300.0, 0, 0], [1.0, 2.0, 3.0]], "float32")
    by_hand = np.mean([300.0, np.log(np.exp([1.0, 2.0, 3.0]).sum()) - 2.0])
    assert float(model.loss(np.array([1, 1]), logits)) == pytest.approx(by_hand, rel=1e-5)


def test_probabilities_taken_for_logits_have_a_floor(model):
    """What the notes say of softmax taken twice: even perfect answers cost ln(1 + 9 / e)."""
    perfect = np.eye(10, dtype="float32")
    assert float(model.loss(np.arange(10), perfect)) == pytest.approx(np.log(1 + 9 / np.e), rel=1e-5)


def test_evaluate_agrees_with_predict(model, examples):
    images, labels = examples
    results = model.evaluate(images, labels, batch_size=300, verbose=0, return_dict=True)
    predictions = model.predict(images, verbose=0).argmax(1)
    assert results["accuracy"] == pytest.approx(np.mean(predictions == labels))
    assert results["worst_class_accuracy"] == pytest.approx(worst_by_hand(labels, predictions))


def trained(examples, steps):
    keras.utils.set_random_seed(42)
    model = lesson.build_model(units=64)
    lesson.compile_model(model, lesson.build_optimizers(1e-3)["RMSprop"])
    before = model.get_weights()
    model.fit(training.Batches(examples, 64, seed=42).dataset(), steps_per_epoch=steps, verbose=0)
    return model, before


def test_it_learns_again_and_again_the_same(examples):
    model, before = trained(examples, steps=90)
    assert model.evaluate(*examples, verbose=0, return_dict=True)["accuracy"] > 0.8
    again, before_again = trained(examples, steps=90)
    for one, other in zip(before + model.get_weights(), before_again + again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_weights_of_black_pixels_keep_their_random_start(examples):
    model, before = trained(examples, steps=10)
    black = examples[0].reshape(len(examples[0]), -1).max(axis=0) == 0
    change = np.abs(model.get_weights()[0] - before[0]).max(axis=1)
    assert black.any() and change[black].max() == 0 and change[~black].max() > 0


# Overfitting and early stopping


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([3, 2, 1, 2, 3, 4, 0], 3, (3, 6)),  # ends before the better last epoch
        ([3, 2, 1, 2, 3, 0.5, 4], 4, (6, 7)),  # the waiting begins anew with each improvement
        ([1, 1, 1], 2, (1, 3)),  # equal is no improvement
        ([3, 2, 1], 2, (3, 3)),
        ([5], 2, (1, 1)),
    ],
)
def test_early_stopping_is_that_of_keras(losses, patience, expected):
    assert lesson.early_stopping(losses, patience) == expected
    callback = keras.callbacks.EarlyStopping("val_loss", patience=patience)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    callback.set_model(model)
    callback.on_train_begin()
    model.stop_training = False
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        if model.stop_training:
            break
    assert (callback.best_epoch + 1, epoch + 1) == expected


@pytest.mark.slow
def test_the_network_overfits_few_digits(model, examples):
    """From the same start, on the first digits only: training loss towards 0, validation loss up again."""
    images, labels = examples
    start = model.get_weights()

    def fit(model, batches, *, validation, epochs, name):
        assert all(np.array_equal(one, other) for one, other in zip(start, model.get_weights(), strict=True))
        assert batches.examples == 60 and np.array_equal(batches.arrays[0], images[:60])
        options = {"steps_per_epoch": batches.steps_per_epoch, "epochs": epochs, "verbose": 0}
        return model.fit(batches.dataset(), validation_data=validation, **options)

    settings = lesson.Config(few=60, few_epochs=120, batch_size=20)
    run = types.SimpleNamespace(config=settings, fit=fit, say=lambda line: None)
    history = lesson.overfit(run, start, (images[:500], labels[:500]), (images[500:], labels[500:])).history
    best, _ = lesson.early_stopping(history["val_loss"])
    assert history["loss"][-1] < 0.05
    assert 1 < best < 100 and history["val_loss"][-1] > 1.2 * history["val_loss"][best - 1]


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["2", "3"])
def test_few_digits_are_enough(tmp_path, limit):
    lesson.main(["--preset", "smoke", "--limit", limit, "--output-dir", str(tmp_path)])


def test_save_and_load_give_the_same_outputs(examples, tmp_path):
    model, _ = trained(examples, steps=3)
    model.save(tmp_path / "digits.keras")
    loaded = keras.saving.load_model(tmp_path / "digits.keras")
    images = examples[0][:50]
    np.testing.assert_array_equal(model.predict(images, verbose=0), loaded.predict(images, verbose=0))
    assert loaded.get_layer("hidden_1").get_config()["activation"] == "relu"


def test_the_highest_loss_comes_first():
    logits = np.array([[9, 0, 0], [2, 1, 0], [0, 5, 0]], "float32")  # 0 with certainty, 0 with 67 %, 1
    places, predictions, sure = lesson.most_wrong(logits, np.array([1, 1, 1]), count=2)
    assert list(places) == [0, 1] and list(predictions) == [0, 0]
    assert sure == pytest.approx([1 / (1 + 2 * np.exp(-9)), 1 / (1 + np.exp(-1) + np.exp(-2))], rel=1e-5)
