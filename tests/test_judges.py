"""The judges of generated images: what they learn, what they keep, and the scores they give."""

import contextlib

from lessonkit import judges
from lessonkit.datasets import LabelledImages, Split
from lessonkit.datasets.embedded import digits

import keras
import numpy as np
import pytest
import tensorflow as tf


class FakeRun:
    """As much of a run as a judge needs."""

    def __init__(self, folder):
        self.checkpoints, self.said, self.weights = folder / "checkpoints", [], []

    def say(self, line):
        self.said.append(line)

    def record_weights(self, name, origin):
        self.weights.append((name, origin))

    def part(self, name):
        return contextlib.nullcontext()


def labelled(train: Split, test: Split, name: str = "scikit-learn digits") -> LabelledImages:
    return LabelledImages(train, test, class_names=(), name=name, things="digits")


@pytest.fixture(scope="module")
def drawn():
    arrays = digits.splits(1_000, 300)
    return labelled(Split(arrays["x_train"], arrays["y_train"]), Split(arrays["x_test"], arrays["y_test"]))


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    run = FakeRun(tmp_path_factory.mktemp("judge"))
    keras.utils.set_random_seed(1)
    return run, judges.judge(run, drawn)


def test_learns_and_says_so(trained, drawn):
    run, judge = trained
    assert judge.accuracy > 0.75
    assert judge.accuracy == pytest.approx(np.mean(judge.classes(drawn.test.images) == drawn.test.labels))
    assert judge.name == "judge of scikit-learn digits" == run.weights[0][0]
    assert f"{judge.accuracy:.1%}" in run.weights[0][1]


def test_features_are_standardised(trained, drawn):
    features, logits = trained[1].predict(drawn.train.images)
    assert features.shape == (1_000, judges.FEATURES) and logits.shape == (1_000, 10)
    assert np.abs(features.mean(axis=0)).max() < 0.3 and np.abs(features.std(axis=0) - 1).max() < 0.3
    scaled = trained[1].features(drawn.train.images[:5] / np.float32(255))
    assert scaled == pytest.approx(features[:5], abs=1e-4)


def test_kept_and_found_again(trained, drawn, monkeypatch):
    run, judge = trained
    keras.utils.set_random_seed(2)  # another run, another seed
    with monkeypatch.context() as patch:
        patch.setattr(judges, "fit", lambda *arguments: pytest.fail("trained again"))
        again = judges.judge(run, drawn)
    assert np.array_equal(again.features(drawn.test.images), judge.features(drawn.test.images))


@pytest.mark.parametrize("setting", ["SEED", "STEPS", "EPOCHS", "BATCH_SIZE", "RATE", "SHIFT"])
def test_other_settings_need_another_judge(setting, trained, drawn, monkeypatch):
    trainings = []
    monkeypatch.setattr(judges, "fit", lambda *arguments: trainings.append(1))
    monkeypatch.setattr(judges, setting, getattr(judges, setting) + 1)
    before = (trained[0].checkpoints / "judge.npz").read_bytes()
    judges.judge(trained[0], drawn)
    (trained[0].checkpoints / "judge.npz").write_bytes(before)
    assert trainings == [1]


def test_other_data_need_another_judge(drawn, tmp_path, monkeypatch):
    trainings = []
    monkeypatch.setattr(judges, "fit", lambda model, images, targets, seed: trainings.append(len(images)))
    run = FakeRun(tmp_path)
    for count in (100, 100, 101):
        judges.judge(run, labelled(drawn.train.first(count), drawn.test))
    assert trainings == [100, 101]
    (run.checkpoints / "judge.npz").write_bytes(b"broken")
    judges.judge(run, labelled(drawn.train.first(100), drawn.test))
    assert trainings == [100, 101, 100]


@pytest.mark.slow
def test_judge_of_attributes(tmp_path):
    """Colour pictures with two attributes that may both be true: a red upper half, a green lower half."""
    random = np.random.default_rng(0)
    labels = random.uniform(size=(600, 2)) < 0.5
    images = random.integers(0, 60, size=(600, 64, 64, 3), dtype=np.uint8)
    images[labels[:, 0], :32, :, 0] += 120
    images[labels[:, 1], 32:, :, 1] += 120
    run = FakeRun(tmp_path)
    judge = judges.judge(run, labelled(Split(images[:400], labels[:400]), Split(images[400:], labels[400:])))
    assert judge.logits(images[:3]).shape == (3, 2)
    assert judge.accuracy > 0.9


def test_augmented_pictures_are_shifted_and_mirrored():
    images = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 3), dtype=np.uint8)
    moved = np.stack([judges.augmented(tf.constant(images), tf.constant([1, step])) for step in range(20)])
    assert moved.shape == (20, *images.shape) and moved.dtype == np.uint8
    size = judges.SHIFT
    inner = slice(size, -size)
    found = set()
    for step in range(20):
        matches = 0
        for row in range(-size, size + 1):
            for column in range(-size, size + 1):
                there = np.roll(images, (row, column), axis=(1, 2))
                plain = np.all(moved[step][:, inner, inner] == there[:, inner, inner], axis=(1, 2, 3))
                mirrored = np.all(moved[step][:, :, ::-1][:, inner, inner] == there[:, inner, inner], axis=(1, 2, 3))
                if plain.any() or mirrored.any():
                    found.add((row, column))
                    assert 0.3 < mirrored.mean() < 0.7
                    matches += np.sum(plain | mirrored)
        assert matches == 200
    assert len(found) > 10


def test_scores_rank_pictures(trained, drawn):
    """New real digits score near the floor, blurred ones worse, grey ones worst."""
    judge = trained[1]
    arrays = digits.splits(1_000, 600)
    others = arrays["x_test"][300:600]  # real digits that are neither the training nor the test digits of `drawn`
    real = others / np.float32(255)
    blurred = (real + np.roll(real, 1, axis=1) + np.roll(real, 2, axis=1) + np.roll(real, 1, axis=2)) / 4
    good, middling, bad = (judges.scores(judge, images, drawn) for images in (others, blurred, np.full_like(real, 0.5)))
    assert good.fid < 2.5 * good.fid_floor < middling.fid < bad.fid
    assert good.kid < middling.kid < bad.kid and abs(good.kid - good.kid_floor) < 0.2 * middling.kid
    assert good.precision > 0.6 and bad.precision < 0.1 and good.recall > 0.6 and bad.recall < 0.1
    assert good.count == 300 and good.classes_covered == 10 and bad.classes_covered <= 2
    assert good.label_accuracy is None and 0 < good.spreads["fid"] < good.fid
    assert (good.fid_floor, good.kid_floor) == (bad.fid_floor, bad.kid_floor), "floors are those of test digits"
    ones = judges.scores(judge, others[arrays["y_test"][300:600] == 1], drawn)
    assert ones.precision > 0.6 > ones.recall + 0.1, "one class alone looks real, and covers little"
    copies = judges.scores(judge, drawn.train.images[:100], drawn)
    assert copies.nearest_generated < 1e-3 < copies.nearest_test, "copies are found"
    assert copies.fid == pytest.approx(0, abs=1e-3), "and a generator that memorises scores below the floor"


def test_label_accuracy(trained, drawn):
    predicted = trained[1].classes(drawn.test.images)
    asked = np.where(np.arange(300) < 240, predicted, (predicted + 1) % 10)
    scores = judges.scores(trained[1], drawn.test.images, drawn, labels=asked)
    assert scores.label_accuracy == pytest.approx(0.8) and scores.spreads["label_accuracy"] == pytest.approx(
        0.023, abs=1e-3
    )


def test_report_hands_over_everything(trained, drawn):
    told = {}

    class Card:
        def metric(self, name, value, unit, expected=None, embedded=None, spread=None):
            told[name] = value, unit, expected, embedded, spread

    scores = judges.scores(trained[1], drawn.test.images, drawn, labels=drawn.test.labels)
    scores.report(Card(), {"fid": ((0, 1), (0, 2))}, "digits")
    names = ["fid", "fid_floor", "kid", "kid_floor", "precision", "recall", "nearest_generated", "nearest_test"]
    assert list(told) == [*names, "classes_covered", "label_accuracy"]
    assert told["fid"][1:4] == ("(300 digits, judge of scikit-learn digits)", (0, 1), (0, 2)) and told["fid"][4] > 0
    assert told["nearest_test"][1] == ""


def test_kid_does_not_depend_on_the_length_of_features():
    random = np.random.default_rng(0)
    x, y = random.normal(size=(2, 300, 64))
    assert np.linalg.norm(judges.unit_length(x), axis=1) == pytest.approx(8), "so that the kernel is (cosine + 1)^3"
    assert judges.kid(x * random.uniform(0.1, 30, (300, 1)), y)[0] == pytest.approx(judges.kid(x, y)[0])
    assert judges.kid(x, y + 0.5)[0] > 10 * abs(judges.kid(x, y)[0])
