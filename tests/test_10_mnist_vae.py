"""Lesson 10: the bound and its two terms, the draw of z, whose decoder learns, and what Keras can do with the model."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import load_lesson
from keras import ops
from scipy.stats import norm

lesson = load_lesson("10_MNIST_VAE")


@pytest.fixture
def images() -> np.ndarray:
    """48 pictures (48, 28, 28, 1) in [0, 1]: blots of ink, whose place and size differ."""
    random = np.random.default_rng(0)
    row, column = np.mgrid[:28, :28]
    middle, width = random.uniform(8, 20, (48, 2, 1, 1)), random.uniform(2, 5, (48, 1, 1))
    distance = (row - middle[:, 0]) ** 2 + (column - middle[:, 1]) ** 2
    return np.exp(-distance / (2 * width**2)).astype("float32")[..., None]


@pytest.fixture
def vae() -> "lesson.VAE":
    keras.utils.set_random_seed(1)
    vae = lesson.build_vae(lesson.Config())
    lesson.compile_vae(vae, lesson.Config(), steps=50)
    return vae


def values(model) -> list[np.ndarray]:
    return [np.array(variable) for variable in model.trainable_variables]


# The network of the tutorials


def test_parameter_counts(vae):
    assert vae.encoder.count_params() == 69_076
    assert vae.decoder.count_params() == 65_089


def test_full_preset_has_the_tutorials_network_and_epochs():
    settings = lesson.config.preset_config(lesson.Config, lesson.PRESETS, "full")
    assert (settings.epochs, settings.latent_dim, settings.beta) == (30, 2, 1)


# The two terms of the loss


def test_kl_is_what_monte_carlo_says():
    random = np.random.default_rng(0)
    z_mean, z_log_var = np.array([[0.5, -1.5, 0.0]], "float32"), np.array([[-1.0, 0.4, -2.0]], "float32")
    deviation = np.exp(z_log_var / 2)
    z = random.normal(z_mean, deviation, size=(400_000, 3))
    sampled = np.sum(norm.logpdf(z, z_mean, deviation) - norm.logpdf(z), axis=1)
    error = 5 * sampled.std() / len(sampled) ** 0.5
    assert abs(float(lesson.kl_divergence(z_mean, z_log_var)[0]) - sampled.mean()) < error < 0.02


def test_kl_is_nought_for_the_prior_and_doubles_with_twice_the_dimensions():
    random = np.random.default_rng(0)
    z_mean, z_log_var = random.normal(size=(2, 7, 3)).astype("float32")
    once = ops.convert_to_numpy(lesson.kl_divergence(z_mean, z_log_var))
    twice = lesson.kl_divergence(np.tile(z_mean, 2), np.tile(z_log_var, 2))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)
    assert once.shape == (7,) and (once > 0).all()
    np.testing.assert_array_equal(lesson.kl_divergence(np.zeros((2, 3)), np.zeros((2, 3))), [0, 0])


def test_reconstruction_is_the_log_likelihood_of_all_pixels(images):
    random = np.random.default_rng(0)
    logits = random.normal(size=images.shape).astype("float32")
    ink = 1 / (1 + np.exp(-logits.astype("float64")))
    expected = -np.sum(images * np.log(ink) + (1 - images) * np.log(1 - ink), axis=(1, 2, 3))
    np.testing.assert_allclose(lesson.reconstruction_loss(images, logits), expected, rtol=1e-5)


def test_untrained_network_knows_nothing(vae, images):
    scores = vae.evaluate(images, verbose=0, return_dict=True)
    assert scores["reconstruction"] == pytest.approx(784 * np.log(2), abs=4)  # 543.4: every pixel a toss of a coin
    assert 0 <= scores["kl"] < 1


@pytest.mark.parametrize("beta", [1.0, 4.0])
def test_reported_parts_are_the_parts_of_the_loss(images, beta):
    """48 pictures in batches of 20: the short last batch must not weigh more than its pictures."""
    vae = lesson.build_vae(lesson.Config(beta=beta))
    vae.compile("adam")
    vae.encoder.get_layer("z_mean").bias.assign([1.5, -2.0])
    scores = vae.evaluate(images, batch_size=20, verbose=0, return_dict=True)
    z_mean, z_log_var = (ops.convert_to_numpy(part) for part in vae.encoder(images))
    kl = 0.5 * np.sum(z_mean**2 + np.exp(z_log_var) - z_log_var - 1, axis=1).mean()
    assert scores["kl"] == pytest.approx(kl, rel=1e-5) and kl > 2
    assert scores["loss"] == pytest.approx(scores["reconstruction"] + beta * kl, rel=1e-5)


def test_measure_looks_at_held_out_digits_alone(vae, images):
    reported = {}
    run = types.SimpleNamespace(metric=lambda name, value, *_, **__: reported.update({name: value}))
    test = types.SimpleNamespace(images=np.uint8(255 * images[..., 0]))
    loss = lesson.measure(run, vae, types.SimpleNamespace(test=test))
    assert reported["test_loss"] == loss == reported["test_reconstruction"] + reported["test_kl"]


def test_references_enclose_what_a_model_can_score():
    random, reported = np.random.default_rng(0), {}
    run = types.SimpleNamespace(metric=lambda name, value, *_, **__: reported.update({name: value}))
    pictures = np.where(random.random((50, 28, 28)) < 0.5, 255, 51).astype("uint8")  # half of the pixels 1, half 0.2
    data = types.SimpleNamespace(train=lesson.datasets.source.Split(pictures, np.zeros(50)), test=None)
    data.test = data.train
    lesson.measure_references(run, data)
    entropy = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))  # of a grey pixel; a white one has none
    assert reported["pixel_entropy"] == pytest.approx(784 * 0.5 * entropy, rel=0.02)
    mean_entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert reported["mean_image_loss"] == pytest.approx(784 * mean_entropy, rel=0.02)


# The draw of z


def test_draws_have_the_mean_and_the_variance_asked_for():
    z_mean, z_log_var = np.full((100_000, 2), (0.5, -2), "float32"), np.full((100_000, 2), (-1, 0.7), "float32")
    z = ops.convert_to_numpy(lesson.Sampling(seed=3)([z_mean, z_log_var]))
    np.testing.assert_allclose(z.mean(axis=0), [0.5, -2], atol=0.03)
    np.testing.assert_allclose(z.var(axis=0), np.exp([-1, 0.7]), rtol=0.03)
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.02


def test_two_draws_differ_and_the_same_seed_gives_the_same_draws():
    nothing = [np.zeros((5, 2), "float32")] * 2
    sampling, again, other = lesson.Sampling(seed=3), lesson.Sampling(seed=3), lesson.Sampling(seed=4)
    first, second = np.array(sampling(nothing)), np.array(sampling(nothing))
    assert not np.any(first == second)
    np.testing.assert_array_equal(first, again(nothing))
    np.testing.assert_array_equal(second, again(nothing))
    assert not np.any(first == np.array(other(nothing)))


def test_gradient_flows_through_the_draw():
    """dz / dz_mean = 1, and dz / dz_log_var = (z - z_mean) / 2."""
    z_mean, z_log_var = tf.constant([[0.3, -1.0]]), tf.constant([[-0.5, 0.8]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z_mean, z_log_var])
        z = lesson.Sampling(seed=3)([z_mean, z_log_var])
    np.testing.assert_allclose(tape.gradient(z, z_mean), [[1, 1]])
    np.testing.assert_allclose(tape.gradient(z, z_log_var), (z - z_mean) / 2, rtol=1e-5)


# Whose weights learn


def test_training_moves_the_models_own_encoder_and_decoder(vae, images, monkeypatch):
    """The trap: a training step that calls some `decoder` found outside the model trains that one, or nothing."""
    other = lesson.build_decoder(2)
    for name in ("decoder", "vae_decoder"):
        monkeypatch.setattr(lesson, name, other, raising=False)
    before = [values(part) for part in (vae.encoder, vae.decoder, other)]
    vae.fit(images, batch_size=16, epochs=2, verbose=0)
    for part, old in zip((vae.encoder, vae.decoder), before, strict=False):
        for variable, was in zip(part.trainable_variables, old, strict=True):
            assert not np.array_equal(variable, was), variable.path
    for now, was in zip(values(other), before[2], strict=True):
        np.testing.assert_array_equal(now, was)


def test_loss_falls(vae, images):
    history = vae.fit(images, batch_size=12, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert set(history) == {"loss", "reconstruction", "kl"}


def test_one_cycle_rises_then_falls_to_nought():
    vae, settings = lesson.build_vae(lesson.Config()), lesson.Config(learning_rate=0.01)
    lesson.compile_vae(vae, settings, steps=100)
    schedule = vae.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(101)]
    assert np.argmax(rates) == 20 and max(rates) == pytest.approx(0.01)
    assert rates[0] < 0.001 and rates[100] < 1e-6


# What Keras can do with the model


def test_fit_with_validation_evaluate_and_predict(vae, images):
    history = vae.fit(images, batch_size=16, validation_data=(images,), verbose=0).history
    assert set(history) == {f"{side}{name}" for side in ("", "val_") for name in ("loss", "reconstruction", "kl")}
    answers = vae.predict(images, verbose=0)
    assert answers["logits"].shape == images.shape
    assert answers["z_mean"].shape == answers["z_log_var"].shape == (48, 2)


def test_it_trains_in_graph_mode(vae, images):
    """`run_eagerly`, which tutorials set for a VAE, is needless."""
    eager, compute_loss = [], vae.compute_loss

    def watched(*args, **kwargs):
        eager.append(tf.executing_eagerly())
        return compute_loss(*args, **kwargs)

    vae.compute_loss = watched
    vae.fit(images, batch_size=16, verbose=0)
    assert not any(eager) and 0 < len(eager) < 3, "traced, not run once more for each of three batches"


def test_save_and_load_give_the_same_model(vae, images, tmp_path):
    vae.beta = 2.0
    vae.fit(images, batch_size=16, verbose=0)
    vae.save(tmp_path / "vae.keras")
    first, second = (keras.saving.load_model(tmp_path / "vae.keras") for _ in range(2))
    assert isinstance(first, lesson.VAE) and (first.beta, first.seed) == (2.0, vae.seed)
    for mine, loaded in zip(vae.encoder(images), first.encoder(images), strict=True):
        np.testing.assert_array_equal(mine, loaded)
    codes = lesson.encode(vae, images)
    np.testing.assert_array_equal(lesson.decode(vae.decoder, codes), lesson.decode(first.decoder, codes))
    drawn, drawn_again = first.predict(images, verbose=0), second.predict(images, verbose=0)
    np.testing.assert_array_equal(drawn["logits"], drawn_again["logits"])
    first.fit(images, batch_size=16, verbose=0)  # the optimizer came along


def test_same_seed_same_training(images):
    def trained():
        keras.utils.set_random_seed(7)
        vae = lesson.build_vae(lesson.Config(seed=7))
        lesson.compile_vae(vae, lesson.Config(), steps=4)
        vae.fit(images, batch_size=24, epochs=2, verbose=0)
        return values(vae)

    for one, two in zip(trained(), trained(), strict=True):
        np.testing.assert_array_equal(one, two)


# The map


class Painter:
    """A stand-in for the decoder: paints the picture of code (a, b) with the logit a + 10 b, and counts its calls."""

    def __init__(self):
        self.calls = 0

    def __call__(self, latents):
        self.calls += 1
        latents = ops.convert_to_numpy(latents)
        return ops.ones((1, 28, 28, 1)) * (latents[:, 0] + 10 * latents[:, 1])[:, None, None, None]


def test_quantiles_cut_the_gaussian_into_equal_shares():
    middles = lesson.quantiles(30)
    np.testing.assert_allclose(norm.cdf(middles), (np.arange(30) + 0.5) / 30)
    assert middles.max() > 2 and np.isfinite(lesson.quantiles(60)).all()


def test_latent_grid_is_one_call_of_the_decoder_and_the_right_way_up():
    painter = Painter()
    figure = lesson.draw_latent_grid(painter, side=30, latent_dim=2, loss=150.0)
    assert painter.calls == 1
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (840, 840)
    middles = sheet[14::28, 14::28].astype(int)
    assert (np.diff(middles[15]) >= 0).all() and middles[15, -1] > middles[15, 0], "the first dimension runs rightwards"
    assert (np.diff(middles[:, 15]) <= 0).all() and middles[0, 15] > middles[-1, 15], "the second one upwards"
    lesson.figures.plt.close(figure)


def test_more_dimensions_than_two_leave_the_others_at_their_mean():
    latents = lesson.latent_grid(5, 4)
    assert latents.shape == (25, 4) and not latents[:, 2:].any() and len(np.unique(latents[:, :2], axis=0)) == 25


def test_walk_is_straight_and_one_call():
    painter, random = Painter(), np.random.default_rng(0)
    latents, labels = random.normal(size=(20, 2)).astype("float32"), np.repeat(np.arange(10), 2)
    frames = lesson.draw_walk(painter, latents[:2], latents, labels)
    assert painter.calls == 1
    assert len({frame.shape for frame in frames}) == 1 and frames[0].dtype == np.uint8
    np.testing.assert_array_equal(frames[0], frames[-1])
    assert not np.array_equal(frames[0], frames[len(frames) // 2])


def test_typical_digit_is_of_its_class_and_near_its_middle():
    latents = np.array([[0, 0], [5, 5], [6, 6], [7, 7], [40, 40]], "float32")
    np.testing.assert_array_equal(lesson.typical(latents, np.array([0, 1, 1, 1, 1]), 1), [6, 6])
