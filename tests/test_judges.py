"""The judges of generated images: what they learn, what they keep, and the scores they give."""

import contextlib

from lessonkit import judges
from lessonkit.datasets.embedded import digits
from lessonkit.datasets.source import Split

import keras
import numpy as np
import pytest


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


@pytest.fixture(scope="module")
def drawn():
    arrays = digits.splits(1_000, 300)
    return Split(arrays["x_train"], arrays["y_train"]), Split(arrays["x_test"], arrays["y_test"])


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    run = FakeRun(tmp_path_factory.mktemp("judge"))
    keras.utils.set_random_seed(1)
    return run, judges.judge(run, "digits", *drawn)


def test_learns_and_says_so(trained):
    run, judge = trained
    assert judge.accuracy > 0.75
    assert judge.name == "judge of digits" == run.weights[0][0]
    assert f"{judge.accuracy:.1%}" in run.weights[0][1]


def test_features_are_standardised(trained, drawn):
    features, logits = trained[1].look(drawn[0].images)
    assert features.shape == (1_000, judges.FEATURES) and logits.shape == (1_000, 10)
    assert np.abs(features.mean(axis=0)).max() < 0.3 and np.abs(features.std(axis=0) - 1).max() < 0.3
    scaled, _ = trained[1].look(drawn[0].images[:5] / np.float32(255))
    assert scaled == pytest.approx(features[:5], abs=1e-4)


def test_kept_and_found_again(trained, drawn, monkeypatch):
    run, judge = trained
    keras.utils.set_random_seed(2)  # another run, another seed
    with monkeypatch.context() as patch:
        patch.setattr(judges, "fit", lambda *arguments: pytest.fail("trained again"))
        again = judges.judge(run, "digits", *drawn)
    assert np.array_equal(again.look(drawn[1].images)[0], judge.look(drawn[1].images)[0])


def test_other_data_need_another_judge(drawn, tmp_path, monkeypatch):
    trainings = []
    monkeypatch.setattr(judges, "fit", lambda model, images, targets: trainings.append(len(images)))
    run = FakeRun(tmp_path)
    for count in (100, 100, 101):
        judges.judge(run, "digits", drawn[0].first(count), drawn[1])
    assert trainings == [100, 101]
    (run.checkpoints / "judge.npz").write_bytes(b"broken")
    judges.judge(run, "digits", drawn[0].first(100), drawn[1])
    assert trainings == [100, 101, 100]


def test_judge_of_attributes(tmp_path):
    """Colour pictures with two attributes that may both be true: a red left half, a green right half."""
    random = np.random.default_rng(0)
    labels = random.uniform(size=(600, 2)) < 0.5
    images = random.integers(0, 60, size=(600, 64, 64, 3), dtype=np.uint8)
    images[labels[:, 0], :, :32, 0] += 120
    images[labels[:, 1], :, 32:, 1] += 120
    run = FakeRun(tmp_path)
    judge = judges.judge(run, "squares", Split(images[:400], labels[:400]), Split(images[400:], labels[400:]))
    assert judge.look(images[:3])[1].shape == (3, 2)
    assert judge.accuracy > 0.9


def test_scores_rank_pictures(trained, drawn):
    """Real digits score at the floor, blank ones like an untrained generator, blurred ones between."""
    train, test = drawn
    real = test.images / np.float32(255)
    blank = np.full_like(real, 0.5)
    blurred = (real + np.roll(real, 1, axis=1) + np.roll(real, 2, axis=1) + np.roll(real, 1, axis=2)) / 4
    good, middling = (judges.scores(trained[1], made, blank, train.images, test.images) for made in (real, blurred))
    assert good["fid"] == pytest.approx(good["fid_floor"]) and good["kid"] == pytest.approx(good["kid_floor"])
    assert good["fid_floor"] < middling["fid"] < middling["fid_untrained"]
    assert good["kid_floor"] < middling["kid"]
    assert good["nearest_generated"] == pytest.approx(good["nearest_test"])
    assert judges.scores(trained[1], train.images[:100] / np.float32(255), blank, train.images, test.images)[
        "nearest_generated"
    ] == pytest.approx(0, abs=1e-3), "a generator that copies is found out"
