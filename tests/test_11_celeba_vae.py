"""Lesson 11: the bound in nats, gradients, saving, and the arithmetic with concepts on codes whose truth is known."""

from types import SimpleNamespace

from lessonkit import training
from lessonkit.config import StudyError
from lessonkit.datasets import Faces, FaceSplit

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import load_lesson
from scipy import stats

lesson = load_lesson("11_CelebA_VAE_concept_vectors")
NAMES = ("Smiling", "Eyeglasses", "Blond_Hair", "Wearing_Hat")


@pytest.fixture
def vae():
    keras.utils.set_random_seed(0)
    return lesson.build_vae(lesson.Config(latent_dim=6, width=4))


@pytest.fixture(scope="module")
def faces():
    return np.random.default_rng(0).random((8, 64, 64, 3), dtype=np.float32)


# The bound


def test_reconstruction_is_the_gaussian_log_density_summed_over_pixels_and_channels(faces):
    means = np.random.default_rng(1).random(faces.shape, dtype=np.float32)
    got = keras.ops.convert_to_numpy(lesson.reconstruction_loss(faces, means, np.float32(np.log(0.3))))
    want = -stats.norm.logpdf(faces.astype(float), means, 0.3).sum(axis=(1, 2, 3))
    assert got.shape == (8,)
    np.testing.assert_allclose(got, want, rtol=1e-4)


def test_an_untrained_vae_starts_where_grey_pictures_are(vae, faces):
    vae.compile(optimizer="adam")
    scores = vae.evaluate(faces, verbose=0, return_dict=True)
    grey = -stats.norm.logpdf(faces.astype(float), 0.5, 0.2).sum(axis=(1, 2, 3)).mean()
    assert scores["reconstruction"] == pytest.approx(grey, rel=0.01)
    assert 0 <= scores["kl"] < 5
    assert scores["loss"] == pytest.approx(scores["reconstruction"] + scores["kl"], rel=1e-5)
    assert scores["pixel_scale"] == pytest.approx(0.2, rel=1e-5)


def test_the_best_scale_is_the_root_of_the_mean_squared_error(faces):
    means = np.full_like(faces, 0.4)
    scales = np.exp(np.linspace(-3, 1, 801)).astype("float32")
    losses = [float(np.mean(lesson.reconstruction_loss(faces, means, np.log(scale)))) for scale in scales]
    assert scales[np.argmin(losses)] == pytest.approx(np.sqrt(np.mean((faces - 0.4) ** 2)), rel=0.01)


def test_kl_agrees_with_monte_carlo_and_doubles_with_twice_the_dimensions():
    rng = np.random.default_rng(0)
    z_mean, z_log_var = rng.normal(size=(1, 5)), rng.normal(size=(1, 5))
    closed = float(lesson.kl_divergence(z_mean, z_log_var)[0])
    deviation = np.exp(z_log_var / 2)
    z = z_mean + deviation * rng.normal(size=(400_000, 5))
    ratio = stats.norm.logpdf(z, z_mean, deviation) - stats.norm.logpdf(z)
    assert closed == pytest.approx(ratio.sum(axis=1).mean(), rel=0.01)
    twice = float(lesson.kl_divergence(np.tile(z_mean, 2), np.tile(z_log_var, 2))[0])
    assert twice == pytest.approx(2 * closed, rel=1e-6)
    assert float(lesson.kl_divergence(np.zeros((1, 5)), np.zeros((1, 5)))[0]) == 0


def test_draws_have_the_mean_and_the_spread_they_should():
    sampling = lesson.Sampling(seed=1)
    z = keras.ops.convert_to_numpy(sampling([tf.fill((20_000, 2), 3.0), tf.fill((20_000, 2), float(2 * np.log(0.5)))]))
    assert z.mean() == pytest.approx(3, abs=0.02) and z.std() == pytest.approx(0.5, rel=0.02)
    again = keras.ops.convert_to_numpy(sampling([tf.zeros((5, 2)), tf.zeros((5, 2))]))
    assert not np.allclose(again, sampling([tf.zeros((5, 2)), tf.zeros((5, 2))])), "every call is a new draw"


# The model


def test_parameters():
    vae = lesson.build_vae(lesson.Config())
    convolutions = (3 * 9 + 1 / 1) * 16 + (16 * 9 + 1) * 32 + (32 * 9 + 1) * 64 + (64 * 9 + 1) * 128
    assert vae.encoder.count_params() == convolutions + 2 * (2048 + 1) * 128
    transposed = (128 * 16 + 1) * 64 + (64 * 16 + 1) * 32 + (32 * 16 + 1) * 16 + (16 * 16 + 1) * 3
    assert vae.decoder.count_params() == (128 + 1) * 2048 + transposed
    for layer in vae.decoder.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            assert layer.kernel_size[0] % layer.strides[0] == 0, "checkerboards"


def test_gradients_reach_encoder_decoder_and_scale(vae, faces):
    with tf.GradientTape() as tape:
        loss = vae.compute_loss(x=faces, y_pred=vae(faces))
    gradients = tape.gradient(loss, vae.trainable_variables)
    names = [variable.path for variable in vae.trainable_variables]
    assert len(names) == len(vae.encoder.trainable_variables) + len(vae.decoder.trainable_variables) + 1
    for name, gradient in zip(names, gradients, strict=True):
        assert gradient is not None and float(tf.reduce_max(tf.abs(gradient))) > 0, name


def test_training_lowers_the_bound_and_touches_no_other_model(vae, faces):
    other = lesson.build_vae(lesson.Config(latent_dim=6, width=4))
    before = [np.array(value) for value in other.weights]
    vae.compile(optimizer=keras.optimizers.Adam(1e-2))
    history = vae.fit(faces, epochs=8, batch_size=8, verbose=0, validation_data=(faces,)).history
    assert history["loss"][-1] < history["loss"][0] - 100
    assert history["val_pixel_scale"][-1] != pytest.approx(0.2, rel=1e-3), "the scale is learned"
    assert all(np.array_equal(*pair) for pair in zip(before, other.weights, strict=True))


@pytest.mark.slow
def test_a_given_scale_stays(faces):
    vae = lesson.build_vae(lesson.Config(latent_dim=6, width=4, pixel_scale=0.5))
    vae.compile(optimizer=keras.optimizers.Adam(1e-2))
    vae.fit(faces, epochs=2, batch_size=8, verbose=0)
    assert float(keras.ops.exp(vae.log_scale)) == pytest.approx(0.5)


def test_save_and_load_give_the_same_answers(vae, faces, tmp_path):
    vae.compile(optimizer=keras.optimizers.Adam(1e-2))
    vae.fit(faces, epochs=2, batch_size=8, verbose=0)
    vae.save(tmp_path / "vae.keras")
    loaded = keras.models.load_model(tmp_path / "vae.keras")
    assert type(loaded) is lesson.VAE
    assert np.array_equal(vae.log_scale, loaded.log_scale)
    codes = lesson.encode(vae, faces)
    assert np.array_equal(codes, lesson.encode(loaded, faces))
    assert np.array_equal(lesson.decode(vae, codes), lesson.decode(loaded, codes))
    assert np.array_equal(vae(faces)["z_log_var"], loaded(faces)["z_log_var"])


def test_the_draws_are_part_of_what_a_checkpoint_keeps(vae, faces):
    vae.compile(optimizer="adam")
    variables, _ = training.state(vae)
    (counter,) = [variable for variable in variables if "seed_generator" in variable.path]
    before = np.array(counter)
    first = np.array(vae(faces)["means"])
    counter.assign(before)
    assert np.array_equal(first, vae(faces)["means"])


def test_bytes_and_fractions_have_the_same_code(vae, faces):
    pictures = np.round(faces * 255).astype(np.uint8)
    np.testing.assert_allclose(lesson.encode(vae, pictures), lesson.encode(vae, pictures / 255), atol=1e-6)
    pictures = np.concatenate([pictures] * 70)  # more than one part of 500
    assert np.allclose(lesson.encode(vae, pictures)[552:], lesson.encode(vae, pictures[552:]), atol=1e-5)


# Concepts


def toy_codes(count, seed):
    """Codes in which every attribute is one direction of known length, amid noise; and the attributes."""
    rng = np.random.default_rng(seed)
    directions = np.linalg.qr(np.random.default_rng(7).normal(size=(16, 16)))[0][: len(NAMES)] * 4
    has = rng.random((count, len(NAMES))) < 0.4
    codes = rng.normal(size=(count, 16)) + has @ directions
    return codes.astype("float32"), dict(zip(NAMES, has.T, strict=True)), directions


def test_concept_vector_recovers_direction_and_length():
    codes, attributes, directions = toy_codes(5_000, 0)
    for name, truth in zip(NAMES, directions, strict=True):
        found = lesson.concept_vector(codes, attributes[name])
        cosine = found @ truth / np.linalg.norm(found) / np.linalg.norm(truth)
        assert cosine > 0.99, "it must point from without to with"
        assert np.linalg.norm(found) == pytest.approx(4, rel=0.05)


def test_arithmetic_is_judged_on_held_out_faces_against_a_control(monkeypatch):
    monkeypatch.setattr(lesson, "through_the_picture", lambda vae, latents: latents)  # a VAE that loses nothing
    codes, attributes, _ = toy_codes(3_000, 0)
    concepts = lesson.learn_concepts(codes, attributes, NAMES)
    held_out, held_out_attributes, _ = toy_codes(1_000, 1)
    metrics = {}
    run = SimpleNamespace(
        config=lesson.Config(), metric=lambda name, value, *more: metrics.__setitem__(name, float(value))
    )
    split = FaceSplit(np.zeros((1_000, 1)), held_out_attributes)
    table = lesson.measure_concepts(run, None, split, held_out, concepts)
    for name in NAMES:
        row = table[name]
        assert row["accuracy"] == metrics[f"probe_accuracy_{name.lower()}"] > 0.95
        assert row["before"] < 0.1 and row["after"] > 0.9 and row["before"] < row["after_random"] < 0.6
    assert metrics["others_kept"] > 0.95


def test_an_arithmetic_that_does_nothing_is_found_out(monkeypatch):
    start = toy_codes(1_000, 1)[0]
    monkeypatch.setattr(lesson, "through_the_picture", lambda vae, latents: start[: len(latents)])  # ignores the code
    codes, attributes, _ = toy_codes(3_000, 0)
    split = FaceSplit(np.zeros((1_000, 1)), toy_codes(1_000, 1)[1])
    run = SimpleNamespace(config=lesson.Config(), metric=lambda *entry: None)
    table = lesson.measure_concepts(run, None, split, start, lesson.learn_concepts(codes, attributes, NAMES))
    assert all(row["after"] == row["after_random"] for row in table.values())


def test_attributes_are_checked():
    has = {"Smiling": np.array([True, False, True]), "Eyeglasses": np.array([True, True, True])}
    split = FaceSplit(np.zeros((3, 64, 64, 3), np.uint8), has)
    data = Faces(split, split, tuple(has), name="drawn faces", things="drawn faces")
    lesson.check_attributes(data, ["Smiling"])
    with pytest.raises(StudyError, match="--attributes Beard: needs .* attributes that have both: Smiling"):
        lesson.check_attributes(data, ["Beard"])
    with pytest.raises(
        StudyError, match=r"faces \(3 and 3\) with it and without it; attributes that have both: Smiling$"
    ):
        lesson.check_attributes(data, ["Eyeglasses"])


def test_morph_begins_and_ends_at_the_two_faces(vae):
    ends = np.random.default_rng(0).normal(size=(2, 2, 6)).astype("float32")
    frames = lesson.morph_frames(vae, ends, steps=5)
    assert len(frames) == 8 and frames[0].shape == (128, 2 * 128 + 4, 3) and frames[0].dtype == np.uint8
    assert np.array_equal(frames[1], frames[-1]) and not np.array_equal(frames[0], frames[4]), "an endless loop"
    last = lesson.decode(vae, ends[:, 1]).repeat(2, axis=1).repeat(2, axis=2)
    assert np.array_equal(frames[4], lesson.figures.tile(last, columns=2, gap=4))


def test_probes_of_a_rare_attribute_are_balanced(monkeypatch):
    """One face in fifty has it, and z does not encode it: "no" for all is 98 % correct, balanced accuracy one half."""
    monkeypatch.setattr(lesson, "through_the_picture", lambda vae, latents: latents)
    random, metrics = np.random.default_rng(3), {}
    codes, has = random.normal(size=(6_000, 4)), np.arange(6_000) % 50 == 0
    concepts = lesson.learn_concepts(codes, {"Mustache": has}, ["Mustache"])
    run = SimpleNamespace(
        config=lesson.Config(), metric=lambda name, value, *more: metrics.__setitem__(name, float(value))
    )
    split = FaceSplit(np.zeros((6_000, 1)), {"Mustache": has})
    lesson.measure_concepts(run, None, split, random.normal(size=(6_000, 4)), concepts)
    assert metrics["probe_accuracy_mustache"] == pytest.approx(0.5, abs=0.12)
    shifted = codes + 1.5 * has[:, None]  # now it is encoded: the means are 3 standard deviations apart
    concepts = lesson.learn_concepts(shifted, {"Mustache": has}, ["Mustache"])
    lesson.measure_concepts(run, None, split, shifted, concepts)
    assert metrics["probe_accuracy_mustache"] > 0.9


def test_headline_shows_the_first_faces_that_qualify_and_hats_last(vae, monkeypatch):
    has = {"Smiling": np.array([0, 0, 1, 1, 0, 1], bool), "Wearing_Hat": np.array([1, 0, 1, 0, 0, 0], bool)}
    images = np.arange(6, dtype=np.uint8)[:, None, None, None] + np.zeros((6, 64, 64, 3), np.uint8)
    shown, row = [], {"before": 0.1, "after": 0.9}
    show = lesson.figures.show_image
    monkeypatch.setattr(lesson.figures, "show_image", lambda cell, sheet: shown.append(sheet) or show(cell, sheet))
    concept = lesson.Concept("Smiling", np.ones(6, "float32"), None)
    lesson.draw_concepts(vae, FaceSplit(images, has), np.zeros((6, 6), "float32"), [concept], {"Smiling": row}, "boxes")
    without, with_it = ([sheet[0, 0, 0], sheet[66, 0, 0]] for sheet in shown)
    assert without == [1, 4] and with_it == [3, 5], "0 and 2 wear a hat"


@pytest.mark.parametrize("limit", [1, *(pytest.param(limit, marks=pytest.mark.slow) for limit in (3, 7, 12))])
def test_few_faces_end_with_figures_or_with_one_line(limit, tmp_path, capsys):
    argv = [
        "--preset",
        "smoke",
        "--limit",
        str(limit),
        "--device",
        "cpu",
        "--output-dir",
        str(tmp_path),
        "--steps",
        "1",
    ]
    try:
        lesson.main([*argv, "--attributes", "Smiling"])
    except SystemExit as stop:
        assert stop.code == 2 and "Traceback" not in capsys.readouterr().err
    else:
        assert (tmp_path / "11_CelebA_VAE_concept_vectors.png").exists()
