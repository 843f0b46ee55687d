"""Lesson 25: the forward process, both samplers and inpainting against closed forms, and what a step trains."""

import dataclasses
from functools import partial
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import check_resuming, interrupting, load_lesson, read_card
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import layers, ops

lesson = load_lesson("25_FashionMNIST_diffusion")
SMALL = dataclasses.replace(lesson.Config(), channels=(8,), blocks=1, batch_size=8, steps=6)
COSINE = lesson.alpha_bars(1_000, "cosine")


def examples(count=8, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (count, 28, 28, 1)).astype("float32")


def build_dense(config) -> keras.Model:
    """A network for points (batch, 2)."""
    points, times = keras.Input((2,)), keras.Input((1,))
    hidden = ops.concatenate([points, times], axis=-1)
    for _ in range(2):
        hidden = layers.Dense(32, activation="silu")(hidden)
    return keras.Model([points, times], layers.Dense(2, kernel_initializer="zeros")(hidden))


def seeds():
    return keras.random.SeedGenerator(1)


def optimal(mean: float, deviation: float, alpha_bar=COSINE):
    """E[x_0 | x_t] for x_0 ~ N(mean, deviation²), which is jointly Gaussian with x_t."""

    def denoise(points, time):
        level = float(alpha_bar[time])
        gain = level**0.5 * deviation**2 / (level * deviation**2 + 1 - level)
        return mean + gain * (points - level**0.5 * mean)

    return denoise


def ends(denoise, times, step, points):
    """The points at the end of the backward process."""
    *_, (_, last, _) = lesson.reverse(denoise, COSINE, times, ops.convert_to_tensor(points), step, seeds())
    return np.asarray(last)


STEPS = {
    "ddpm": lesson.ddpm,
    "ddim": lesson.ddim,
    "ddim, half": partial(lesson.ddim, eta=0.5),
    "ddim, 1": partial(lesson.ddim, eta=1.0),
}

# The schedule and the forward process


def test_the_schedule_ends_in_noise():
    assert COSINE[0] == 1 and len(COSINE) == 1_001
    assert COSINE[-1] ** 0.5 < 1e-3
    assert lesson.alpha_bars(1_000, "linear")[-1] ** 0.5 < 0.01
    assert lesson.alpha_bars(250, "linear")[-1] ** 0.5 == pytest.approx(0.28, abs=0.005)  # as the comment says
    half = np.cos((0.5 + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    assert COSINE[500] == pytest.approx(half, rel=1e-6)


@settings(max_examples=30, deadline=None)
@given(times=st.integers(2, 2_000), schedule=st.sampled_from(["cosine", "linear"]))
def test_every_step_of_a_schedule_adds_noise(times, schedule):
    levels = lesson.alpha_bars(times, schedule)
    assert levels.shape == (times + 1,) and levels[0] == 1
    assert np.all(np.diff(levels) < 0) and levels[-1] > 0


def test_many_small_steps_are_one_large_one():
    """q(x_t | x_0) in closed form against the chain, x_0 = 0.6: mean, deviation, and the variance exactly."""
    random, levels = np.random.default_rng(0), lesson.alpha_bars(100, "cosine")
    points, mean, variance = np.full(40_000, 0.6), 0.6, 0.0
    for before, after in zip(levels[:60], levels[1:61], strict=True):
        points = lesson.forward(points, random.standard_normal(40_000), before, after)
        mean = lesson.forward(mean, 0.0, before, after)
        variance = lesson.forward(0.0, 1.0, before, after) ** 2 + lesson.forward(variance**0.5, 0.0, before, after) ** 2
    assert lesson.forward(0.6, 0.0, 1.0, levels[60]) == pytest.approx(mean, rel=1e-9)
    assert lesson.forward(0.0, 1.0, 1.0, levels[60]) ** 2 == pytest.approx(variance, rel=1e-9)
    assert points.mean() == pytest.approx(levels[60] ** 0.5 * 0.6, abs=0.015)
    assert points.std() == pytest.approx((1 - levels[60]) ** 0.5, abs=0.015)


@settings(max_examples=50, deadline=None)
@given(last=st.integers(2, 3_000), steps=st.integers(1, 4_000))
def test_spaced_times_lead_from_noise_to_the_picture(last, steps):
    times = lesson.spaced(last, steps)
    assert times[0] == last and times[-1] == 0 and len(times) == min(steps, last) + 1
    gaps = -np.diff(times)
    assert gaps.min() >= 1 and gaps.max() - gaps.min() <= 1


# One step back


@pytest.mark.parametrize(("time", "earlier"), [(1_000, 999), (700, 400), (500, 499), (60, 20), (2, 1)])
def test_the_posterior_is_bayes_rule(time, earlier):
    """q(x_s | x_t, x_0) is q(x_s | x_0) q(x_t | x_s), normalised: on a grid, in one dimension."""
    now, then, clean, point = COSINE[time], COSINE[earlier], 0.4, 0.7

    def log_density(x, mean, variance):
        return -((x - mean) ** 2) / (2 * variance)

    mean, deviation = lesson.ddpm(point, clean, now, then)
    grid = np.linspace(mean - 12 * deviation, mean + 12 * deviation, 20_001)
    density = log_density(grid, then**0.5 * clean, 1 - then)
    density += log_density(point, (now / then) ** 0.5 * grid, 1 - now / then)
    density = np.exp(density - density.max())
    density /= density.sum()
    assert mean == pytest.approx((density * grid).sum(), abs=1e-6)
    assert deviation == pytest.approx(((density * (grid - mean) ** 2).sum()) ** 0.5, rel=1e-4)


@settings(max_examples=50, deadline=None)
@given(
    time=st.integers(1, 1_000),
    steps=st.integers(1, 1_000),
    point=st.floats(-3, 3),
    clean=st.floats(-1, 1),
)
def test_ddim_with_eta_1_is_the_posterior(time, steps, point, clean):
    now, then = COSINE[time], COSINE[max(0, time - steps)]
    mean, deviation = lesson.ddim(point, clean, now, then, eta=1.0)
    expected_mean, expected = lesson.ddpm(point, clean, now, then)
    assert mean == pytest.approx(expected_mean, abs=1e-5)
    assert deviation == pytest.approx(expected, rel=1e-6, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(time=st.integers(2, 1_000), eta=st.floats(0, 1), clean=st.floats(-1, 1), point=st.floats(-3, 3))
def test_noise_and_picture_belong_together_after_clipping(time, eta, clean, point):
    """x_t is signal and noise of the estimate that was clipped; the mean of x_s keeps the direction of that noise."""
    now, then = COSINE[time], COSINE[time - 1]
    noise = (point - now**0.5 * clean) / (1 - now) ** 0.5
    mean, deviation = lesson.ddim(point, clean, now, then, eta)
    assert (mean - then**0.5 * clean) ** 2 + noise**2 * deviation**2 == pytest.approx(noise**2 * (1 - then), abs=1e-6)


@pytest.mark.parametrize("name", STEPS)
def test_the_last_step_adds_no_noise(name):
    mean, deviation = STEPS[name](0.3, 0.4, COSINE[50], 1.0)
    assert deviation == 0 and mean == pytest.approx(0.4)
    assert ends(lambda points, time: 0 * points + 0.25, [1_000, 500, 0], STEPS[name], np.ones((5, 3))) == pytest.approx(
        np.full((5, 3), 0.25), abs=1e-6
    )


# Whole ways back


@pytest.mark.parametrize("name", STEPS)
def test_gaussian_data_come_out_with_their_mean_and_deviation(name):
    points = np.random.default_rng(1).standard_normal((8_000, 1))
    moved = ends(optimal(0.7, 0.2), lesson.spaced(1_000, 250), STEPS[name], points)
    assert moved.mean() == pytest.approx(0.7, abs=0.01)
    assert moved.std() == pytest.approx(0.2, rel=0.04)


def test_ddim_draws_nothing_and_ddpm_does():
    points = np.random.default_rng(1).standard_normal((50, 1))
    times = lesson.spaced(1_000, 200)
    moved = {name: ends(optimal(0.0, 0.5), times, STEPS[name], points)[:, 0] for name in ("ddim", "ddpm")}
    assert np.corrcoef(points[:, 0], moved["ddim"])[0, 1] > 0.9999  # the flow of a Gaussian is a straight line
    assert abs(np.corrcoef(points[:, 0], moved["ddpm"])[0, 1]) < 0.5


@pytest.mark.parametrize("prediction", ["x", "v", "epsilon"])
def test_an_oracle_gives_the_picture_back(eager, prediction):
    """From the true picture, v or noise the estimate is x_0 at every time: at t = 1, and at T, where x_t is noise."""
    diffusion, images = lesson.Diffusion(dataclasses.replace(SMALL, prediction=prediction)), examples()
    noise = lesson.fixed_noise(8, 3)
    for time in (1, 500, 1_000):
        level = float(COSINE[time])
        signal, sigma = level**0.5, (1 - level) ** 0.5
        true = {"x": images, "v": signal * noise - sigma * images, "epsilon": noise}[prediction]
        diffusion.averaged = lambda inputs, training, true=true: true
        points = lesson.forward(images, noise, 1.0, level)
        assert np.asarray(diffusion.denoise(points, time)) == pytest.approx(images, abs=0.01)
        moved = ends(diffusion.denoise, [time, 0], lesson.ddim, points)
        assert moved == pytest.approx(images, abs=0.01)


# Training


def test_the_errors_by_time_of_an_untrained_network():
    """It answers grey, 0: the error is the mean square of the pictures, whatever the noise."""
    images = np.random.default_rng(0).integers(0, 256, (100, 28, 28)).astype("uint8")
    diffusion, data = lesson.Diffusion(SMALL), SimpleNamespace(test=SimpleNamespace(images=images))
    expected = np.full(3, np.mean(lesson.scaled(images) ** 2))
    assert lesson.errors_by_time(diffusion, data, [1, 600, 1_000]) == pytest.approx(expected, rel=1e-4)
    diffusion = lesson.Diffusion(dataclasses.replace(SMALL, prediction="v"))  # x_0 = sqrt(alpha_bar) x_t, clipped
    assert lesson.errors_by_time(diffusion, data, [1, 1_000]) == pytest.approx([0, expected[0]], abs=1e-3)


@pytest.mark.parametrize("prediction", ["x", "v", "epsilon"])
def test_the_loss_is_the_error_of_v_or_of_the_noise(prediction):
    """Of points (n, 2) that are N(0, 0.5²), untrained: the network answers 0, and the mean over all times is known."""
    images = np.random.default_rng(0).normal(0, 0.5, (40_000, 2)).astype("float32")
    diffusion = lesson.Diffusion(dataclasses.replace(SMALL, prediction=prediction), build_dense)
    level = COSINE[1:]
    limit = np.minimum(1, (1 - level) / lesson.LEAST_NOISE)
    error = {  # squared, of v or of the noise
        "x": 0.25 / (1 - level),  # x_0 taken as 0
        "v": level + 0.25 * (1 - level),  # v taken as 0
        "epsilon": np.ones(1_000),  # the noise taken as 0
    }[prediction]
    loss = float(diffusion.train_step(tf.constant(images))["loss"])
    assert loss == pytest.approx((limit * error).mean(), rel=0.04)


class Watched:
    """A network that notes its inputs."""

    def __init__(self, network, seen):
        self.network, self.seen = network, seen
        self.trainable_variables, self.weights = network.trainable_variables, network.weights

    def __call__(self, inputs, training):
        self.seen.append([np.asarray(part) for part in inputs])
        return self.network(inputs, training=training)


def test_every_example_has_a_time_of_its_own_from_1_to_t(eager, monkeypatch):
    diffusion, seen = lesson.Diffusion(dataclasses.replace(SMALL, times=4)), []
    monkeypatch.setattr(diffusion, "network", Watched(diffusion.network, seen))
    diffusion.train_step(tf.constant(0 * examples(200)))
    ((points, shares),) = seen
    found, counts = np.unique(shares, return_counts=True)
    assert found == pytest.approx([0.25, 0.5, 0.75, 1.0]) and counts.min() > 30
    levels = lesson.alpha_bars(4, "cosine")
    for time, share in enumerate(found, start=1):  # pictures of zeros: what the network sees is the noise of its time
        assert points[shares[:, 0] == share].std() == pytest.approx((1 - levels[time]) ** 0.5, rel=0.02)


@pytest.mark.parametrize("prediction", ["x", "v", "epsilon"])
def test_the_network_learns_the_closed_form_of_gaussian_data(prediction):
    """The optimum of the regression is the conditional mean."""
    keras.utils.set_random_seed(3)
    config = dataclasses.replace(SMALL, steps=800, learning_rate=1e-2, prediction=prediction)
    diffusion, random = lesson.Diffusion(config, build_dense), np.random.default_rng(0)
    for _ in range(config.steps):
        diffusion.train_step(tf.constant(random.normal(0.4, 0.2, (256, 2)).astype("float32")))
    points = np.array([[-0.4, 0.3], [0.0, 0.5], [0.6, 0.9]], "float32")
    for time in (250, 500, 750):
        estimate = np.asarray(diffusion.denoise(points, time))
        assert estimate == pytest.approx(optimal(0.4, 0.2)(points, time), abs=0.12)


def test_the_average_starts_warm():
    images = examples().reshape(-1, 2)
    diffusion = lesson.Diffusion(SMALL, build_dense)
    expected = [np.array(weight) for weight in diffusion.averaged.weights]
    for done in (1, 2, 3):
        diffusion.train_step(tf.constant(images))
        decay = (1 + done) / (10 + done)
        expected = [
            decay * old + (1 - decay) * np.array(new)
            for old, new in zip(expected, diffusion.network.weights, strict=True)
        ]
    for average, wanted in zip(diffusion.averaged.weights, expected, strict=True):
        assert np.array(average) == pytest.approx(wanted, abs=1e-6)


@pytest.fixture
def diffusion():
    diffusion = lesson.Diffusion(dataclasses.replace(SMALL, sampling_steps=3))
    random = np.random.default_rng(0)
    for variable in diffusion.averaged.weights:  # the untrained answer is zero
        variable.assign(random.normal(0, 0.5, variable.shape))
    return diffusion


def test_the_average_is_what_samples(diffusion):
    noise = lesson.fixed_noise(3, 1)
    before = diffusion.generate(noise)
    diffusion.network.set_weights([0 * weight for weight in diffusion.network.get_weights()])
    assert np.array_equal(diffusion.generate(noise), before)
    diffusion.averaged.set_weights([0 * weight for weight in diffusion.averaged.get_weights()])
    assert not np.allclose(diffusion.generate(noise), before, atol=0.1)


def test_estimates_are_pictures(diffusion):
    """A tanh holds the picture between black and white; estimates from v or the noise are clipped."""
    noise = lesson.fixed_noise(3, 1)
    assert np.abs(diffusion.averaged([noise, np.ones((3, 1), "float32")])).max() <= 1
    for prediction in ("v", "epsilon"):
        other = lesson.Diffusion(dataclasses.replace(SMALL, prediction=prediction))
        assert (
            np.abs(
                other.estimate(other.averaged, ops.convert_to_tensor(noise), ops.full((3, 1), 400, dtype="int32"))
            ).max()
            > 1
        )
        assert np.abs(other.denoise(noise, 400)).max() == 1
        other.averaged.set_weights(diffusion.averaged.get_weights())
        assert np.abs(other.averaged([noise, np.ones((3, 1), "float32")])).max() > 1, "noise has no bounds"


def test_samplers_of_the_settings(diffusion):
    noise = lesson.fixed_noise(3, 1)
    ddim = diffusion.generate(noise)
    assert ddim.shape == (3, 28, 28) and ddim.min() >= 0 and ddim.max() <= 1
    assert np.array_equal(diffusion.generate(noise, stream=7), ddim), "eta = 0 draws nothing"
    ddpm = diffusion.generate(noise, sampler="ddpm")
    assert np.array_equal(diffusion.generate(noise, sampler="ddpm"), ddpm), "the same draws at every call"
    assert not np.allclose(diffusion.generate(noise, stream=7, sampler="ddpm"), ddpm, atol=0.01)
    assert np.allclose(diffusion.generate(noise, eta=1.0), ddpm, atol=0.01), "eta = 1 is DDPM"


def test_same_seed_same_training():
    losses, images = [], examples().reshape(-1, 2)
    for _ in range(2):
        keras.utils.set_random_seed(5)
        diffusion = lesson.Diffusion(SMALL, build_dense)
        losses.append([float(diffusion.train_step(tf.constant(images))["loss"]) for _ in range(3)])
    assert losses[0] == losses[1]


# Inpainting


def test_a_hole_is_filled_from_the_conditional_distribution():
    """Two numbers of correlation 0.8, the first given as 1: the second is N(0.8, 0.6²), if it can follow the first."""
    covariance, seen = np.array([[1, 0.8], [0.8, 1]]), []

    def denoise(points, time):
        level = float(COSINE[time])
        if time < 1_000:  # at T the process begins
            seen.append((points[:, 0].numpy().mean() - level**0.5, points[:, 0].numpy().std() - (1 - level) ** 0.5))
        return points @ (level**0.5 * np.linalg.solve(level * covariance + (1 - level) * np.eye(2), covariance))

    images, visible = ops.convert_to_tensor(np.tile([1.0, 9.0], (4_000, 1))), np.array([True, False])
    times = lesson.spaced(1_000, 25)
    filled = np.asarray(lesson.inpaint(denoise, COSINE, times, images, visible, 10, seeds()))
    assert np.all(filled[:, 0] == 1)
    assert np.abs(seen).max() < 0.08, "what is given has, at every time, the noise of that time"
    assert filled[:, 1].mean() == pytest.approx(0.8, abs=0.06)
    assert filled[:, 1].std() == pytest.approx(0.6, abs=0.13)  # few steps make it too narrow
    once = np.asarray(lesson.inpaint(denoise, COSINE, times, images, visible, 1, seeds()))
    assert 0.4 < once[:, 1].mean() < 0.6, "what the repetitions are for: without them, half-way to the mean of all"


@settings(max_examples=20, deadline=None)
@given(height=st.integers(4, 40), width=st.integers(4, 40), repeats=st.integers(1, 3))
def test_visible_pixels_stay_and_the_others_are_filled(height, width, repeats):
    visible = lesson.box(height, width)
    assert visible.shape == (height, width, 1) and (~visible).sum() == (height // 2) * (width // 2)
    images = np.random.default_rng(0).uniform(-1, 1, (2, height, width, 1)).astype("float32")
    filled = np.asarray(
        lesson.inpaint(lambda points, time: 0 * points + 3, COSINE, [1_000, 300, 0], images, visible, repeats, seeds())
    )
    assert filled.shape == images.shape
    assert np.array_equal(filled[:, visible], images[:, visible])
    assert filled[:, ~visible] == pytest.approx(3, abs=1e-5)


def test_a_garment_dissolves_as_one_process():
    """From one time to the next noise is added, not drawn anew: neighbours are alike, and the last is noise."""
    diffusion = lesson.Diffusion(SMALL)
    images = np.full((30, 28, 28), 255, "uint8")
    ways = lesson.dissolved(diffusion, images, [0, 1, 800, 810, 1_000])
    assert len(ways) == 5 and np.all(ways[0] == 1)
    assert np.corrcoef(ways[2].ravel(), ways[3].ravel())[0, 1] > 0.9
    assert ways[-1].mean() == pytest.approx(0.5, abs=0.02)


FLAGS = ("--preset", "smoke", "--samples", "20")


def run_lesson(folder, *flags) -> dict:
    lesson.main([*FLAGS, "--output-dir", str(folder), *flags])
    return read_card(folder, "25_FashionMNIST_diffusion")


def play(folder, *flags, interrupt_at=None) -> tuple:
    """A training of its own, without the figures: variables and history."""
    argv = ["--preset", "smoke", "--channels", "8", "--output-dir", str(folder), *flags]
    with lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv) as run:
        data = lesson.datasets.fashion_mnist(run)
        diffusion = lesson.Diffusion(run.config)
        if interrupt_at:
            diffusion.train_step = interrupting(diffusion.train_step, interrupt_at)
        history = lesson.train(run, diffusion, data)
        return [np.array(variable) for variable in diffusion.variables], history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)


@pytest.mark.slow
def test_sampling_flags_need_no_new_training(tmp_path, capsys):
    first = run_lesson(tmp_path)
    capsys.readouterr()
    flags = ["--sampler", "ddpm", "--sampling-steps", "4", "--curve", "3", "--resamplings", "1"]
    again = run_lesson(tmp_path, "--resume", *flags)
    assert "resumed at step 4 of 4" in capsys.readouterr().out
    assert again["metrics"]["fid"]["value"] != first["metrics"]["fid"]["value"]
    assert "fid_ddpm_3" in again["metrics"] and "fid_ddpm_4" not in again["metrics"]
    kept = np.load(tmp_path / "25_FashionMNIST_diffusion" / "checkpoints" / "generated.npz")["images"]
    assert kept.shape == (20, 28, 28) and kept.dtype == np.uint8


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags", [("--limit", "10"), ("--times", "2"), ("--ancestral-steps", "70"), ("--prediction", "epsilon")]
)
def test_few_garments_and_few_times(tmp_path, flags):
    assert run_lesson(tmp_path, *flags)["metrics"]["parameters"]["value"] > 0
