"""Lesson 28: the table follows the files, what is missing or foreign is named, the models are what they say."""

import csv

from lessonkit import judges
from lessonkit.figures import families as charts
from lessonkit.metrics import precision_recall

import keras
import matplotlib.pyplot as plt
import numpy as np
import pytest
from conftest import Grey, load_lesson, read_card

lesson = load_lesson("28_FashionMNIST_families")
NAME = "28_FashionMNIST_families"
DCGAN, WGAN, AUTOREGRESSIVE = lesson.KEPT[:3]


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture(autouse=True)
def keras_stays(monkeypatch):
    """These tests begin some forty runs; clearing Keras' state before each would be most of their time."""
    monkeypatch.setattr(lesson.lesson, "reset_keras", lambda: None)


class Coarse(Grey):
    """A judge without a training, whose features the seed turns and stretches."""

    def __init__(self, seed=judges.SEED):
        random = np.random.default_rng(seed)
        self.matrix = random.normal(size=(16, 16)) * np.exp(random.normal(size=16))

    def features(self, images):
        return super().features(np.asarray(images) / 255) @ self.matrix

    def predict(self, images):
        features = self.features(images)
        return features, features[:, :10]


@pytest.fixture
def coarse(monkeypatch):
    """Judges at no cost."""
    monkeypatch.setattr(judges, "judge", lambda run, data, seed=judges.SEED: Coarse(seed))


def framed(folder, name, *flags):
    """A run of a lesson of this name, with lesson 28's flags."""
    argv = ["--preset", "smoke", "--output-dir", str(folder), *flags]
    return lesson.lesson.run(f"{name}.py", lesson.Config, lesson.PRESETS, argv)


def ran(folder, family, images, *flags, training=12.3, metrics=(), crash=False):
    """Let a lesson's run keep these garments; with `crash` it breaks off before it publishes its card."""
    try:
        with framed(folder, family.lesson, *flags) as run:
            lesson.datasets.fashion_mnist(run)
            run.seconds["training"] = training
            for name, value in metrics:
                run.metric(name, value, "upper bound")
            run.keep_generated(images)
            if crash:
                raise RuntimeError
    except RuntimeError:
        pass


def found(folder, family, count=20, *flags):
    """The row that lesson 28 makes of what lies in the folder."""
    with framed(folder, NAME, *flags) as run:
        lesson.datasets.fashion_mnist(run)
        run.publishes = False
        return lesson.read(run, family, count)


def pictures(random, count=30):
    """Random pictures in [0, 1]."""
    return random.uniform(size=(count, 28, 28))


# What is read


def test_reads_garments_and_card(tmp_path, random):
    images = pictures(random)
    values = [("seconds_per_1000_samples", 2.5), ("parameters", 1_000), ("test_bits_per_pixel", 3.216)]
    ran(tmp_path, WGAN, images, "--steps", "3", metrics=values)
    row = found(tmp_path, WGAN)
    assert np.array_equal(row.images, np.round(images[:20] * 255)) and row.images.dtype == np.uint8
    assert (row.note, row.seconds, row.per_1000, row.parameters, row.steps) == ("", 12.3, 2.5, 1_000, 3)
    assert row.bits == "3.22 upper bound"


def test_a_lesson_that_was_not_run_gives_its_line(tmp_path, random):
    assert found(tmp_path, AUTOREGRESSIVE).note == "not run: make 21"
    ran(tmp_path, DCGAN, pictures(random))
    (tmp_path / DCGAN.lesson / "checkpoints" / "generated.npz").unlink()
    row = found(tmp_path, DCGAN)
    assert row.note == "not run: make 13", "a clone of the repository has the card alone"
    assert row.images is None


def test_garments_of_another_preset_are_left_out_and_named(tmp_path, random):
    ran(tmp_path, WGAN, pictures(random))
    row = found(tmp_path, WGAN, 20, "--preset", "full", "--data", "embedded", "--limit", "200")
    assert row.note == "left out: preset smoke, not full: make 20" and row.images is None


def test_garments_of_other_data_are_left_out_and_named(tmp_path, random):
    ran(tmp_path, WGAN, pictures(random), "--limit", "100")
    assert found(tmp_path, WGAN).note == "left out: made from drawn garments (embedded, 100 + 100): make 20"
    path = tmp_path / WGAN.lesson / "run.json"
    path.write_text(path.read_text().replace('"embedded"', '"real"').replace("drawn garments", "Fashion-MNIST"))
    assert "made from Fashion-MNIST (real, 100 + 100)" in found(tmp_path, WGAN).note


def test_garments_and_card_of_two_runs_are_not_mixed(tmp_path, random):
    """A run that breaks off after it has kept its garments leaves them beside the card of an earlier run."""
    ran(tmp_path, WGAN, pictures(random))
    assert found(tmp_path, WGAN).note == ""
    ran(tmp_path, WGAN, pictures(random), "--steps", "2", crash=True)
    assert found(tmp_path, WGAN).note == "left out: garments and run card are of two different runs: make 20"


def test_too_few_garments_are_left_out(tmp_path, random):
    ran(tmp_path, WGAN, pictures(random, 15))
    assert found(tmp_path, WGAN).note == "left out: uint8 (15, 28, 28) instead of 20 garments of 28 x 28: make 20"


@pytest.mark.parametrize("file", ["run.json", "checkpoints/generated.npz"])
@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04 half"])
def test_files_that_are_not_whole_are_named(tmp_path, random, file, content):
    ran(tmp_path, WGAN, pictures(random))
    (tmp_path / WGAN.lesson / file).write_bytes(content)
    note = found(tmp_path, WGAN).note
    assert note.startswith("not readable (") and note.endswith("): make 20")


# Scores


def measured(folder, *families, judges_=3):
    """Rows of these families and of real garments, measured by three judges."""
    with framed(folder, NAME, "--judges", str(judges_)) as run:
        data = lesson.datasets.fashion_mnist(run)
        run.publishes = False
        rows = [lesson.read(run, family, 20) for family in families]
        rows.append(lesson.Row(lesson.REAL, data.test.images[:20]))
        lesson.measure(run, rows, data, 20)
        lesson.report(run, rows, 20)
        return rows, run.metrics


def test_the_table_is_recomputed_from_the_files(tmp_path, random, coarse):
    ran(tmp_path, WGAN, pictures(random))
    ran(tmp_path, DCGAN, pictures(random) ** 2)
    first = {
        line["family"]: line for line in csv.DictReader(lesson.as_csv(measured(tmp_path, WGAN, DCGAN)[0]).split("\n"))
    }
    ran(tmp_path, WGAN, pictures(random) ** 4)
    again = {
        line["family"]: line for line in csv.DictReader(lesson.as_csv(measured(tmp_path, WGAN, DCGAN)[0]).split("\n"))
    }
    assert (
        first["WGAN-GP"]["fid"] != again["WGAN-GP"]["fid"]
        and first["WGAN-GP"]["nearest"] != again["WGAN-GP"]["nearest"]
    )
    assert first["DCGAN"] == again["DCGAN"] and first["test garments"] == again["test garments"]


def test_every_score_is_that_of_each_judge(tmp_path, random, coarse):
    ran(tmp_path, WGAN, pictures(random))
    rows, metrics = measured(tmp_path, WGAN)
    with framed(tmp_path, NAME) as run:
        run.publishes = False
        train = lesson.datasets.fashion_mnist(run).train.images[:20]
    panel = [Coarse(judges.SEED + number) for number in range(3)]
    wanted = [judges.fid(judge.features(train), judge.features(rows[0].images)) for judge in panel]
    assert rows[0].scores["fid"] == pytest.approx(wanted)
    shares = [precision_recall(judge.features(train), judge.features(rows[0].images)) for judge in panel]
    assert np.stack([rows[0].scores[name] for name in ("precision", "recall")], axis=1) == pytest.approx(
        np.array(shares)
    )
    assert len(set(np.ravel(shares))) > 1
    assert metrics["fid_wgan_gp"]["value"] == pytest.approx(np.mean(wanted))
    assert metrics["fid_wgan_gp"]["spread"] == pytest.approx(np.std(wanted, ddof=1)) and np.std(wanted) > 0
    assert measured(tmp_path, WGAN, judges_=1)[1]["fid_wgan_gp"].get("spread") is None, "one judge shows no spread"


def test_copies_of_training_garments_show_in_the_nearest_distance(tmp_path, coarse):
    with framed(tmp_path, NAME) as run:
        run.publishes = False
        train = lesson.datasets.fashion_mnist(run).train.images
    ran(tmp_path, WGAN, train[:30] / 255)
    copies, real = measured(tmp_path, WGAN)[0]
    assert copies.mean("fid") < 1e-6 < real.mean("fid"), "FID does not punish copies"
    assert copies.nearest < 1e-3 < real.nearest


def test_pairs_that_all_judges_order_alike():
    scores = [np.array(values) for values in ([1, 1, 1], [2, 2, 2], [1.5, 2.5, 1.5])]
    assert lesson.agreement(scores) == (2, 3)
    assert lesson.agreement(scores[:1]) == (0, 0)
    assert lesson.agreement([np.ones(3), np.ones(3)]) == (0, 1), "a tie is no order"


def test_another_seed_is_another_judge(tmp_path, monkeypatch):
    trained_with = []
    monkeypatch.setattr(judges, "fit", lambda model, images, targets, seed: trained_with.append(seed))
    with framed(tmp_path, NAME) as run:
        run.publishes = False
        data = lesson.datasets.fashion_mnist(run)
        panel = [judges.judge(run, data, seed) for seed in (judges.SEED, 8)]
        assert not np.allclose(*(judge.model.get_weights()[0] for judge in panel), atol=0.1)
        assert [judge.name for judge in panel] == ["judge of drawn garments", "judge of drawn garments (seed 8)"]
        assert {path.name for path in run.checkpoints.iterdir()} == {"judge.npz", "judge_8.npz"}
    assert trained_with == [judges.SEED, 8]


# Models made here


def waves(random, count=400):
    """uint8 pictures (count, 8, 8) with correlated pixels."""
    across, phase = np.linspace(0, 3, 8), random.uniform(0, 6, (count, 1, 1))
    noise = random.uniform(-20, 20, (count, 8, 8))
    return np.round(127.5 + 100 * np.sin(across[:, None] + across + phase) + noise).astype(np.uint8)


def test_the_gaussian_has_the_mean_and_the_covariance_of_the_data(random):
    images = waves(random)
    pixels = images.reshape(len(images), -1) / 255
    gaussian = lesson.PCAGaussian(images, 64)
    covariance = gaussian.directions * gaussian.deviations**2 @ gaussian.directions.T
    assert gaussian.mean == pytest.approx(pixels.mean(axis=0), abs=1e-6)
    assert covariance == pytest.approx(np.cov(pixels, rowvar=False, bias=True), abs=1e-5)
    samples = gaussian.sample(random.standard_normal((20_000, 64))).reshape(20_000, 64)
    assert samples.mean(axis=0) == pytest.approx(gaussian.mean, abs=0.01)
    assert np.cov(samples, rowvar=False) == pytest.approx(covariance, abs=0.005)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() > 0.05, "pixels without correlation test nothing"


def test_few_components_are_those_of_largest_variance(random):
    images = waves(random)
    whole, few = lesson.PCAGaussian(images, 64), lesson.PCAGaussian(images, 3)
    assert few.deviations == pytest.approx(np.sort(whole.deviations)[-3:])
    along = (images.reshape(len(images), -1) / 255 - few.mean) @ few.directions
    assert along.std(axis=0) == pytest.approx(few.deviations, rel=1e-3), "each direction with its own deviation"
    assert few.sample(np.eye(3)).shape == (3, 8, 8)


def test_independent_pixels_keep_histograms_and_no_correlation(random):
    images = waves(random)
    samples = lesson.independent_pixels(images, 20_000, seed=1)
    assert samples.shape == (20_000, 8, 8) and samples.dtype == np.uint8
    assert samples.mean(axis=0) == pytest.approx(images.mean(axis=0), abs=3)
    assert samples.std(axis=0) == pytest.approx(images.std(axis=0), abs=3)
    assert set(samples[:, 3, 5]) <= set(images[:, 3, 5])
    neighbours = [np.corrcoef(pictures[:, 3, 5], pictures[:, 3, 6])[0, 1] for pictures in (images, samples)]
    assert neighbours[0] > 0.5 and abs(neighbours[1]) < 0.05
    assert not np.array_equal(samples, lesson.independent_pixels(images, 20_000, seed=2))


def test_the_vae_has_the_networks_of_lesson_10():
    other = load_lesson("10_MNIST_VAE")
    for mine, its in (
        (lesson.build_encoder(2), other.build_encoder(2)),
        (lesson.build_decoder(2), other.build_decoder(2)),
    ):
        assert [weight.shape for weight in mine.weights] == [weight.shape for weight in its.weights]


def test_the_loss_is_the_bound_of_lesson_10(random):
    keras.utils.set_random_seed(1)
    other, vae = load_lesson("10_MNIST_VAE"), lesson.VAE(4, seed=1)
    images = random.uniform(size=(5, 28, 28, 1)).astype("float32")
    output = [np.asarray(part) for part in vae(images)]
    wanted = other.reconstruction_loss(images, output[2]) + other.kl_divergence(*output[:2])
    loss = float(vae.compute_loss(images, y_pred=output))
    assert loss == pytest.approx(float(np.mean(wanted)), rel=1e-5)
    assert loss == pytest.approx(784 * np.log(2), rel=0.02), "untrained"
    doubled = float(vae.compute_loss(images, y_pred=[np.tile(part, 2) for part in output[:2]] + output[2:]))
    kl = float(np.mean(other.kl_divergence(*output[:2])))
    assert doubled - loss == pytest.approx(kl, rel=1e-2, abs=1e-3), "summed over the dimensions, not averaged"
    generated = vae.generate(random.normal(size=(3, 4)).astype("float32"))
    assert generated.shape == (3, 28, 28) and 0 < generated.min() < generated.max() < 1


# Figures and the whole


def test_names_do_not_cover_each_other(random):
    figure, cell = plt.subplots(figsize=(8, 5), layout="constrained")
    points = {f"family number {number}": (*random.uniform(0.4, 0.6, 2), "#000000") for number in range(10)}
    cell.scatter([x for x, _, _ in points.values()], [y for _, y, _ in points.values()])
    cell.set(xlim=(0, 1), ylim=(0, 1))
    charts.label(figure, cell, points)
    boxes = [text.get_window_extent() for text in cell.texts]
    covered = [charts._common(one, other) for index, one in enumerate(boxes) for other in boxes[:index]]
    plt.close(figure)
    assert len(boxes) == 10 and max(covered) < 0.1 * boxes[0].width * boxes[0].height


def test_samples_are_taken_at_equal_distances(monkeypatch):
    """Whatever the order of the classes in a file: its first garments could all be T-shirts."""
    seen, tile = [], lesson.figures.tile
    monkeypatch.setattr(
        lesson.figures, "tile", lambda images, *rest, **options: seen.append(images) or tile(images, *rest)
    )
    row = lesson.Row(WGAN, np.arange(100)[:, None, None] * np.ones((1, 28, 28)), scores={"fid": np.ones(3)})
    plt.close(lesson.draw_samples([row, lesson.Row(DCGAN, note="not run")], columns=10))
    assert list(seen[0][:, 0, 0]) == list(range(0, 100, 10))


def test_the_whole_run_with_two_families(tmp_path, random, coarse, capsys, monkeypatch):
    """But for the training of the VAE, which test_smoke.py runs."""
    images = np.round(255 * pictures(random, 20)).astype(np.uint8)
    monkeypatch.setattr(lesson, "make_vae", lambda *_: lesson.Row(lesson.VAE_FAMILY, images, "", 3.0, 0.5, 10, 3))
    ran(tmp_path, WGAN, pictures(random), metrics=[("seconds_per_1000_samples", 2.5), ("parameters", 1_000)])
    ran(tmp_path, DCGAN, pictures(random) ** 2, "--limit", "100")
    capsys.readouterr()
    lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path), "--judges", "3"])
    said, card = capsys.readouterr().out, read_card(tmp_path, NAME)
    assert "autoregressive: not run: make 21" in said and "DCGAN: left out: made from" in said
    with (tmp_path / NAME / "families.csv").open(encoding="utf-8", newline="") as file:
        lines = {line["family"]: line for line in csv.DictReader(file)}
    assert list(lines) == [
        "independent pixels",
        "PCA Gaussian",
        "VAE",
        *(family.name for family in lesson.KEPT),
        "test garments",
    ]
    assert float(lines["WGAN-GP"]["fid"]) == card["metrics"]["fid_wgan_gp"]["value"]
    assert lines["DCGAN"]["fid"] == "" and lines["DCGAN"]["note"].endswith("make 13")
    assert card["metrics"]["families_compared"]["value"] == 4 and "fid_dcgan" not in card["metrics"]
    assert card["metrics"]["pairs_ordered_alike"]["unit"].startswith("of 6 pairs")
    pictures_of_it = {f"{NAME}.png", *(f"{NAME}/{name}.png" for name in ("quality", "coverage", "table"))}
    assert pictures_of_it <= set(card["files"])


def test_a_wrong_flag_ends_with_one_line(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path), "--components", "785"])
    assert stop.value.code == 2 and capsys.readouterr().err.count("\n") == 1
