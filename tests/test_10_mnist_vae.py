"""Lesson 10: the bound and its two terms, the draw of z, whose decoder is trained, what Keras does with the model."""

import types

from lessonkit import training

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import load_lesson, read_card
from keras import ops
from scipy.stats import multivariate_normal, norm

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


def test_kl_agrees_with_monte_carlo():
    random = np.random.default_rng(0)
    z_mean, z_log_var = np.array([[0.5, -1.5, 0.0]], "float32"), np.array([[-1.0, 0.4, -2.0]], "float32")
    deviation = np.exp(z_log_var / 2)
    z = random.normal(z_mean, deviation, size=(400_000, 3))
    sampled = np.sum(norm.logpdf(z, z_mean, deviation) - norm.logpdf(z), axis=1)
    error = 5 * sampled.std() / len(sampled) ** 0.5
    assert abs(float(lesson.kl_divergence(z_mean, z_log_var)[0]) - sampled.mean()) < error < 0.02


def test_kl_is_zero_for_the_prior_and_doubles_with_twice_the_dimensions():
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


def test_an_untrained_network_is_uncertain_of_every_pixel(vae, images):
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


def reporting() -> tuple[dict, types.SimpleNamespace]:
    """Metrics by name, and a run that reports into them."""
    reported = {}
    run = types.SimpleNamespace(config=lesson.Config())
    run.metric = lambda name, value, *_, **__: reported.update({name: value})
    return reported, run


def test_the_reported_loss_is_the_last_point_of_the_curve(vae, images):
    reported, run = reporting()
    terms = lesson.bound(vae, images, run.config.seed)
    loss = lesson.measure(run, vae, images)
    assert reported["test_loss"] == loss == pytest.approx(sum(terms.values()))
    assert terms == {name: reported[name] for name in terms}


def test_the_bound_is_that_of_evaluate_and_touches_no_random_state(vae, images):
    vae.encoder.get_layer("z_mean").bias.assign([1.5, -2.0])
    vae.encoder.get_layer("z_log_var").bias.assign([-30.0, -30.0])  # nearly no noise: all draws of z are alike
    before = np.array(vae.sampling.seed_generator.state)
    images = np.tile(images, (22, 1, 1, 1))[:1_001]  # more than one batch, of different sizes
    terms = lesson.bound(vae, images, seed=1)
    np.testing.assert_array_equal(vae.sampling.seed_generator.state, before)
    scores = vae.evaluate(images, verbose=0, return_dict=True)
    assert terms["test_reconstruction"] == pytest.approx(scores["reconstruction"], rel=1e-5)
    assert terms["test_kl"] == pytest.approx(scores["kl"], rel=1e-5)


def test_references_enclose_what_a_model_can_score():
    random = np.random.default_rng(0)
    reported, run = reporting()
    pictures = np.where(random.random((50, 28, 28, 1)) < 0.5, 1, 0.2)  # half of the pixels 1, half 0.2
    lesson.measure_references(run, pictures, pictures)
    entropy = -(0.2 * np.log(0.2) + 0.8 * np.log(0.8))  # of a grey pixel; a white one has none
    assert reported["pixel_entropy"] == pytest.approx(784 * 0.5 * entropy, rel=0.02)
    mean_entropy = -(0.6 * np.log(0.6) + 0.4 * np.log(0.4))
    assert reported["mean_image_loss"] == pytest.approx(784 * mean_entropy, rel=0.02)


# The bound, where log p(x) is known: z standard Gaussian in two dimensions, x = W z + b + Gaussian noise in five. Then
# p(x) is a Gaussian with covariance W W' + noise^2, and with orthogonal columns of W the posterior p(z | x) is a
# Gaussian with a diagonal covariance, as the encoder's are.

NOISE = 0.5
WEIGHTS = np.linalg.qr(np.random.default_rng(3).normal(size=(5, 2)))[0] * (1.5, 0.7)
BIAS = np.linspace(-1, 1, 5)


def linear_gaussian(count: int) -> np.ndarray:
    """Draws x (count, 5), float32."""
    random = np.random.default_rng(4)
    noise = NOISE * random.normal(size=(count, 5))
    return (random.normal(size=(count, 2)) @ WEIGHTS.T + BIAS + noise).astype("float32")


def exact_nats(x: np.ndarray) -> np.ndarray:
    """-log p(x) of each."""
    return -multivariate_normal(BIAS, WEIGHTS @ WEIGHTS.T + NOISE**2 * np.eye(5)).logpdf(x)


def gaussian_reconstruction_loss(x, mean):
    """-log p(x | z) of each: the lesson's loss of pixels in the place of which it stands here."""
    return ops.sum(ops.square(x - mean) / (2 * NOISE**2) + np.log(NOISE) + np.log(2 * np.pi) / 2, axis=1)


def posterior(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and log-variance of p(z | x), float32 (n, 2)."""
    precision = 1 + np.square(WEIGHTS).sum(axis=0) / NOISE**2
    mean = (x - BIAS) @ WEIGHTS / NOISE**2 / precision
    return mean.astype("float32"), np.broadcast_to(-np.log(precision), mean.shape).astype("float32")


@pytest.mark.parametrize(("shift", "factor"), [(0.0, 1.0), (0.3, 1.0), (0.0, 3.0), (-0.2, 0.4)])
def test_the_bound_exceeds_the_exact_loss_by_the_divergence_from_the_posterior(shift, factor):
    x = np.repeat(linear_gaussian(4), 100_000, axis=0)
    z_mean, z_log_var = posterior(x)
    z_mean, z_log_var = z_mean + np.float32(shift), z_log_var + np.float32(np.log(factor))
    z = ops.convert_to_numpy(lesson.Sampling(seed=1)([z_mean, z_log_var]))
    reconstruction = ops.convert_to_numpy(gaussian_reconstruction_loss(x, z @ WEIGHTS.T + BIAS))
    loss = np.float64(reconstruction) + ops.convert_to_numpy(lesson.kl_divergence(z_mean, z_log_var))
    variance = np.exp(posterior(x[:1])[1])
    gap = 0.5 * np.sum(factor - 1 - np.log(factor) + shift**2 / variance)  # KL(q(z | x) || p(z | x)), in closed form
    error = 5 * loss.std() / len(loss) ** 0.5
    assert abs(loss.mean() - exact_nats(x).mean() - gap) < error < 0.03
    assert gap > 0.05 or (shift, factor) == (0, 1)


def test_training_lowers_the_bound_to_the_exact_loss_and_no_further(monkeypatch):
    monkeypatch.setattr(lesson, "reconstruction_loss", gaussian_reconstruction_loss)
    keras.utils.set_random_seed(0)
    inputs, codes = keras.Input((5,)), keras.Input((2,))
    gaussians = [keras.layers.Dense(2, name=name)(inputs) for name in ("z_mean", "z_log_var")]
    decoder = keras.Model(codes, keras.layers.Dense(5)(codes))
    decoder.layers[-1].set_weights([WEIGHTS.T, BIAS])
    decoder.trainable = False
    vae = lesson.VAE(keras.Model(inputs, gaussians), decoder, seed=5)
    vae.compile(keras.optimizers.Adam(training.warm_up_cosine(0.05, 400)))
    x = linear_gaussian(50_000)

    def excess() -> float:
        return vae.evaluate(x, batch_size=5_000, verbose=0, return_dict=True)["loss"] - exact_nats(x).mean()

    assert excess() > 1
    vae.fit(x, batch_size=500, epochs=4, verbose=0)
    assert -0.02 < excess() < 0.03  # the draws of z leave an error of about 0.005


# The draw of z


def test_draws_have_the_mean_and_the_variance_asked_for():
    z_mean, z_log_var = np.full((100_000, 2), (0.5, -2), "float32"), np.full((100_000, 2), (-1, 0.7), "float32")
    z = ops.convert_to_numpy(lesson.Sampling(seed=3)([z_mean, z_log_var]))
    np.testing.assert_allclose(z.mean(axis=0), [0.5, -2], atol=0.03)
    np.testing.assert_allclose(z.var(axis=0), np.exp([-1, 0.7]), rtol=0.03)
    assert abs(np.corrcoef(z.T)[0, 1]) < 0.02


def test_two_draws_differ_and_the_same_seed_gives_the_same_draws():
    prior = [np.zeros((5, 2), "float32")] * 2
    sampling, again, other = lesson.Sampling(seed=3), lesson.Sampling(seed=3), lesson.Sampling(seed=4)
    first, second = np.array(sampling(prior)), np.array(sampling(prior))
    assert not np.any(first == second)
    np.testing.assert_array_equal(first, again(prior))
    np.testing.assert_array_equal(second, again(prior))
    assert not np.any(first == np.array(other(prior)))


def test_gradient_flows_through_the_draw():
    """dz / dz_mean = 1, and dz / dz_log_var = (z - z_mean) / 2."""
    z_mean, z_log_var = tf.constant([[0.3, -1.0]]), tf.constant([[-0.5, 0.8]])
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([z_mean, z_log_var])
        z = lesson.Sampling(seed=3)([z_mean, z_log_var])
    np.testing.assert_allclose(tape.gradient(z, z_mean), [[1, 1]])
    np.testing.assert_allclose(tape.gradient(z, z_log_var), (z - z_mean) / 2, rtol=1e-5)


# Whose weights are trained


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


@pytest.mark.slow
def test_loss_falls(vae, images):
    history = vae.fit(images, batch_size=12, epochs=12, verbose=0).history
    assert history["loss"][-1] < 0.6 * history["loss"][0]
    assert set(history) == {"loss", "reconstruction", "kl"}


def test_one_cycle_rises_then_decays_to_zero():
    vae, settings = lesson.build_vae(lesson.Config()), lesson.Config(learning_rate=0.01)
    lesson.compile_vae(vae, settings, steps=100)
    schedule = vae.optimizer._learning_rate
    rates = [float(schedule(step)) for step in range(101)]
    assert np.argmax(rates) == 20 and max(rates) == pytest.approx(0.01)
    assert rates[0] == pytest.approx(0.01 / 25) and rates[100] == pytest.approx(0, abs=1e-9)


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


@pytest.mark.slow
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


@pytest.mark.slow
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


class ConstantDecoder:
    """In place of the decoder: gives every pixel of code (a, b) the logit a + 10 b, and counts its calls."""

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
    decoder = ConstantDecoder()
    figure = lesson.draw_latent_grid(decoder, side=30, latent_dim=2, things="digits", loss=150.0)
    assert decoder.calls == 1
    sheet = figure.axes[0].images[0].get_array()
    assert sheet.shape == (840, 840)
    middles = 255 - sheet[14::28, 14::28].astype(int)  # the map is drawn with dark ink
    assert (np.diff(middles[15]) >= 0).all() and middles[15, -1] > middles[15, 0], "the first dimension runs rightwards"
    assert (np.diff(middles[:, 15]) <= 0).all() and middles[0, 15] > middles[-1, 15], "the second one upwards"
    lesson.figures.plt.close(figure)


def test_more_dimensions_than_two_leave_the_others_at_their_mean():
    codes = lesson.latent_grid(5, 4)
    assert codes.shape == (25, 4) and not codes[:, 2:].any() and len(np.unique(codes[:, :2], axis=0)) == 25


def test_walk_is_straight_and_one_call():
    decoder, random = ConstantDecoder(), np.random.default_rng(0)
    codes, labels = random.normal(size=(20, 2)).astype("float32"), np.repeat(np.arange(10), 2)
    frames = lesson.draw_walk(decoder, codes, labels, first=0, last=7)
    assert decoder.calls == 1
    assert len({frame.shape for frame in frames}) == 1 and frames[0].dtype == np.uint8
    np.testing.assert_array_equal(frames[0], frames[-1])
    assert not np.array_equal(frames[0], frames[len(frames) // 2])


def test_typical_digit_is_of_its_class_and_near_its_middle():
    codes = np.array([[0, 0], [5, 5], [6, 6], [7, 7], [40, 40]], "float32")
    np.testing.assert_array_equal(lesson.typical(codes, np.array([0, 1, 1, 1, 1]), 1), [6, 6])


def test_a_class_that_is_missing_from_the_test_digits_is_replaced_by_the_next():
    labels = np.array([1, 4, 4, 9])
    assert [lesson.nearest_class(labels, digit) for digit in (0, 4, 7)] == [1, 4, 9]


# Few examples


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, *(pytest.param(limit, marks=pytest.mark.slow) for limit in (3, 12))])
def test_few_examples_are_enough(limit, tmp_path):
    lesson.main(["--preset", "smoke", "--limit", str(limit), "--output-dir", str(tmp_path)])
    assert all(np.isfinite(entry["value"]) for entry in read_card(tmp_path, "10_MNIST_VAE")["metrics"].values())


@pytest.mark.slow
def test_the_curves_have_a_point_for_every_frame(tmp_path):
    flags = ["--preset", "smoke", "--epochs", "5", "--steps", "1000", "--output-dir", str(tmp_path)]
    lesson.main(flags)
    rows = (tmp_path / "10_MNIST_VAE" / "metrics.csv").read_text().splitlines()
    assert sum(row.startswith('"model, by step"') and ",test_kl," in row for row in rows) > 15
