"""Lesson 22: every log-determinant against the Jacobian by autodiff, every inverse, bits of known densities."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import check_resuming, interrupting, load_lesson, read_card

lesson = load_lesson("22_FashionMNIST_normalizing_flow")
SMALL = dataclasses.replace(lesson.Config(), couplings=(1, 1, 1), widths=(4, 4, 8), batch_size=8, steps=6)


@pytest.fixture
def random():
    keras.utils.set_random_seed(2)
    return np.random.default_rng(0)


def disturbed(bijection, inputs, random, scale=0.3):
    """The same map, built, and disturbed: the untrained couplings are the identity."""
    bijection(inputs)
    for variable in bijection.trainable_variables:
        variable.assign(variable + random.normal(0, scale, variable.shape))
    return bijection


def greys(random, *shape) -> np.ndarray:
    """uint8 pictures with many black pixels, as garments have."""
    return (random.integers(0, 256, shape) * (random.uniform(size=shape) < 0.5)).astype(np.uint8)


def flat(size) -> lesson.Rearrange:
    """(batch, 1, 1, size) <-> (batch, size)."""
    return lesson.Rearrange(lambda x: tf.reshape(x, (-1, size)), lambda z: tf.reshape(z, (-1, 1, 1, size)))


def mix(random, *shape) -> lesson.Mix:
    """A matrix over the last axis."""
    return lesson.Mix(random.normal(1, 2, (40, *shape)), seed=1)


def small_chain(random) -> lesson.Chain:
    """All kinds of maps, for pictures (4, 4, 1)."""
    maps = [lesson.Gaussianise(greys(random, 50, 4, 4)), lesson.squeeze(), mix(random, 2, 2, 4)]
    maps += [lesson.Coupling(lesson.build_convolutions(2, 4, 6), 2.0), lesson.squeeze()]
    maps += [lesson.Coupling(lesson.build_convolutions(1, 16, 6), 2.0, flipped=True), flat(16)]
    return lesson.Chain([*maps, lesson.Chain([mix(random, 8), lesson.Coupling(lesson.build_dense(8, 6), 2.0)], 8)])


MAPS = {
    "gaussianise": lambda random: (lesson.Gaussianise(greys(random, 50, 4, 4)), (4, 4, 1)),
    "squeeze": lambda random: (lesson.squeeze(), (4, 4, 2)),
    "mix": lambda random: (mix(random, 3), (3,)),
    "mix of places": lambda random: (mix(random, 2, 3, 4), (2, 3, 4)),
    "convolutions": lambda random: (lesson.Coupling(lesson.build_convolutions(3, 4, 5), 2.0), (3, 3, 4)),
    "flipped": lambda random: (lesson.Coupling(lesson.build_dense(6, 5), 2.0, flipped=True), (6,)),
    "two couplings": lambda random: (lesson.plane_chain(2), (2,)),
    "finished half": lambda random: (lesson.Chain([lesson.Coupling(lesson.build_dense(4, 5), 2.0)], finished=4), (8,)),
    "chain": lambda random: (small_chain(random), (4, 4, 1)),
}


def made(name, random) -> tuple:
    """A map with random weights, and three inputs in (0, 1), which is where pixels are."""
    bijection, shape = MAPS[name](random)
    inputs = random.uniform(0.01, 0.99, (3, *shape)).astype("float32")
    return disturbed(bijection, inputs, random), tf.constant(inputs)


@pytest.mark.parametrize("name", MAPS)
def test_log_determinant_is_that_of_the_jacobian(name, random):
    """Sign, sum over all places, and nothing overwritten on the way through the chain."""
    bijection, inputs = made(name, random)
    size = int(np.prod(inputs.shape[1:]))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(inputs)
        outputs, log_det = bijection(inputs)
    assert log_det.shape == (3,)
    jacobians = np.reshape(tape.batch_jacobian(outputs, inputs, experimental_use_pfor=False), (3, size, size))
    exact = np.linalg.slogdet(jacobians.astype(np.float64))[1]
    assert np.asarray(log_det) == pytest.approx(exact, abs=1e-4)
    if name not in ("gaussianise", "squeeze"):
        assert np.all(np.abs(exact) > 0.01), "a map that stretches nothing tests nothing"


@pytest.mark.parametrize("name", MAPS)
def test_there_and_back(name, random):
    bijection, inputs = made(name, random)
    outputs, _ = bijection(inputs)
    assert np.asarray(bijection.inverse(outputs)) == pytest.approx(np.asarray(inputs), abs=1e-5)
    assert outputs.shape != inputs.shape or not np.allclose(outputs, inputs, atol=1e-3)


def test_the_mix_begins_by_making_channels_white(random):
    first = (random.normal(size=(3_000, 2, 2, 4)) @ random.normal(size=(4, 4)) + 3).astype("float32")
    outputs = np.reshape(lesson.Mix(first, seed=0)(first)[0], (-1, 4))
    assert outputs.mean(axis=0) == pytest.approx(np.zeros(4), abs=0.01)
    assert np.cov(outputs, rowvar=False) == pytest.approx(np.eye(4), abs=0.05)


def test_flattened_channel_by_channel(random):
    inputs = random.normal(size=(2, 7, 7, 16)).astype("float32")
    flattened, log_det = lesson.flatten()(inputs)
    assert np.array_equal(flattened[:, :392], np.reshape(inputs[..., :8].transpose(0, 3, 1, 2), (2, 392)))
    assert np.array_equal(lesson.flatten().inverse(flattened), inputs) and np.all(log_det == 0)


def test_what_is_finished_stays(random):
    chain = lesson.Chain([lesson.Coupling(lesson.build_dense(4, 5), 2.0)], finished=4)
    inputs = random.normal(size=(3, 8)).astype("float32")
    outputs = np.asarray(disturbed(chain, inputs, random)(inputs)[0])
    assert np.array_equal(outputs[:, :6], inputs[:, :6]) and np.all(outputs[:, 6:] != inputs[:, 6:])


def test_half_of_a_coupling_stays(random):
    for flipped in (False, True):
        coupling = lesson.Coupling(lesson.build_dense(6, 5), 2.0, flipped=flipped)
        inputs = random.normal(size=(4, 6)).astype("float32")
        outputs = np.asarray(disturbed(coupling, inputs, random)(inputs)[0])
        stays, changes = (slice(3, 6), slice(0, 3)) if flipped else (slice(0, 3), slice(3, 6))
        assert np.array_equal(outputs[:, stays], inputs[:, stays])
        assert np.all(outputs[:, changes] != inputs[:, changes])


def test_scales_are_bounded(random):
    coupling = lesson.Coupling(lesson.build_dense(2, 8), bound=0.5)
    inputs = random.normal(size=(50, 2)).astype("float32")
    _, log_det = disturbed(coupling, inputs, random, scale=5)(inputs)
    assert 0.4 < np.max(np.abs(log_det)) <= 0.5


# Dequantisation


def test_noise_stays_within_its_level(random):
    images = np.arange(256, dtype=np.uint8).reshape(1, 16, 16).repeat(200, axis=0)
    pictures = lesson.with_noise(images)
    assert pictures.shape == (200, 16, 16, 1) and pictures.min() >= 0 and pictures.max() < 1
    assert np.array_equal(lesson.quantised(pictures), images)
    inside = pictures[..., 0] * 256 - images
    assert inside.mean() == pytest.approx(0.5, abs=0.01) and inside.std() == pytest.approx(12**-0.5, abs=0.01)
    assert np.array_equal(lesson.with_noise(images), pictures), "the same at every call"


def test_every_training_step_draws_new_noise(random, eager, monkeypatch):
    """Without dequantisation the density of whole numbers has no bound: the loss would fall for ever."""
    seen, images = [], greys(random, 4, 28, 28)
    flow = lesson.Flow(SMALL, lesson.Chain([whole()]), (28, 28, 1))
    log_density = flow.log_density
    monkeypatch.setattr(flow, "log_density", lambda inputs: seen.append(np.array(inputs)) or log_density(inputs))
    monkeypatch.setattr(flow.optimizer, "apply_gradients", lambda pairs: None)
    for _ in range(2):
        flow.train_step(tf.constant(images))
    assert all(np.array_equal(lesson.quantised(pictures), images) for pictures in seen)
    inside = np.array([pictures[..., 0] * 256 - images for pictures in seen])
    assert inside.std() == pytest.approx(12**-0.5, abs=0.02) and np.abs(inside[0] - inside[1]).mean() > 0.2


# Bits


def whole() -> lesson.Rearrange:
    """(batch, 28, 28, 1) <-> (batch, 784)."""
    return lesson.Rearrange(lambda x: tf.reshape(x, (-1, 784)), lambda z: tf.reshape(z, (-1, 28, 28, 1)))


class Uniform(lesson.Flow):
    """A flow to uniform latents in [0, 1): their log-density is zero."""

    def log_density(self, inputs):
        return self.chain(inputs)[1]


def test_the_identity_with_uniform_data_needs_exactly_8_bits(random):
    images = random.integers(0, 256, (5, 28, 28)).astype(np.uint8)
    flow = Uniform(SMALL, lesson.Chain([whole()]), (28, 28, 1))
    assert flow.bits_per_pixel(images) == pytest.approx(np.full(5, 8.0), abs=1e-6)


def test_gaussianised_pixels_need_the_bits_of_the_histogram(random):
    """Under a Gaussian: -log2 of the share of each grey level, whatever the noise."""
    images = greys(random, 40, 28, 28)
    counts = 1 + np.bincount(images.ravel(), minlength=256)
    wanted = -np.log2(counts / counts.sum())[images[:5]].mean(axis=(1, 2))
    flow = lesson.Flow(SMALL, lesson.Chain([lesson.Gaussianise(images), whole()]), (28, 28, 1))
    assert flow.bits_per_pixel(images[:5]) == pytest.approx(wanted, abs=1e-4)


def test_the_density_in_the_plane_integrates_to_1(random):
    flow = lesson.Flow(SMALL, lesson.plane_chain(4), (2,), levels=1)
    disturbed(flow.chain, np.zeros((1, 2), "float32"), random, scale=0.12)
    density = np.exp(np.asarray(flow.log_density(2 * lesson.flows.square())))
    assert density.sum() * 4 * lesson.flows.AREA == pytest.approx(1, abs=0.01)
    assert np.std(density) > 0.01


def test_bits_of_a_gaussian_whose_density_is_known(random):
    """The identity on points: bits are -log2 of the standard Gaussian, per dimension, and no level is counted."""
    flow = lesson.Flow(SMALL, lesson.plane_chain(2), (2,), levels=1)
    points = random.normal(size=(100, 2)).astype("float32")
    wanted = (np.sum(points**2, axis=1) / 2 + np.log(2 * np.pi)) / np.log(2) / 2
    assert np.asarray(flow.bits(points)) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.slow
def test_training_reaches_the_entropy_of_a_known_density(random):
    """A Gaussian with correlation 0.9: no model needs fewer bits than its entropy, this one few more."""
    settings = dataclasses.replace(SMALL, steps=600, learning_rate=5e-3)
    flow = lesson.Flow(settings, lesson.plane_chain(4), (2,), levels=1)
    root = np.linalg.cholesky([[1, 0.9], [0.9, 1]]).T
    for _ in range(settings.steps):
        flow.train_step(tf.constant((random.normal(size=(256, 2)) @ root).astype("float32")))
    entropy = (np.log(2 * np.pi * np.e) + np.log(1 - 0.9**2) / 2) / np.log(2) / 2
    points = (random.normal(size=(20_000, 2)) @ root).astype("float32")
    assert np.mean(flow.bits(points)) == pytest.approx(entropy, abs=0.03)


# Flow


def test_samples_are_those_latents_that_lead_back_to_them(random):
    flow = lesson.Flow(SMALL, lesson.picture_chain(SMALL, greys(random, 20, 28, 28)), (28, 28, 1))
    for variable in flow.chain.trainable_variables:
        variable.assign(variable + random.normal(0, 0.02, variable.shape))
    latent = random.normal(size=(2, 784)).astype("float32")
    pictures = flow.inverse(latent)
    assert np.asarray(flow.chain(pictures)[0]) == pytest.approx(latent, abs=2e-3)
    images = flow.generate(latent)
    assert images.dtype == np.uint8 and np.array_equal(images, lesson.quantised(pictures))


def test_the_plane_is_bent_from_the_latents_to_the_samples(random):
    flow = lesson.Flow(SMALL, lesson.plane_chain(3), (2,), levels=1)
    points = random.normal(size=(20, 2)).astype("float32")
    disturbed(flow.chain, points, random)
    frames = lesson.bend(flow, points, steps=4)
    assert frames.shape == (13, 20, 2) and np.array_equal(frames[0], points)
    assert frames[-1] == pytest.approx(np.asarray(flow.inverse(points)), abs=1e-5)
    moved = np.abs(np.diff(frames, axis=0)).max(axis=(1, 2))
    assert np.all(moved > 0) and moved.max() < np.abs(frames[-1] - points).max() + 1


def test_same_seed_same_training(eager):
    losses = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        images = greys(np.random.default_rng(1), 8, 28, 28)
        maps = [lesson.Gaussianise(images), whole(), lesson.Coupling(lesson.build_dense(784, 4), 2.0)]
        flow = lesson.Flow(SMALL, lesson.Chain(maps), (28, 28, 1))
        losses.append([float(flow.train_step(tf.constant(images))["bits"]) for _ in range(2)])
    assert losses[0] == losses[1]


def play(folder, *flags, interrupt_at=None) -> tuple:
    """A training of its own, without the figures: variables and history."""
    argv = ["--preset", "smoke", "--output-dir", str(folder), *flags]
    frame = lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv)
    with frame as run, pytest.MonkeyPatch.context() as patch:
        data = lesson.datasets.fashion_mnist(run)
        if interrupt_at:
            patch.setattr(lesson.Flow, "train_step", interrupting(lesson.Flow.train_step, interrupt_at))
        flow, history = lesson.train_pictures(run, data)
        return [np.array(variable) for variable in flow.variables], history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)


@pytest.mark.slow
def test_sampling_flags_need_no_new_training(tmp_path, capsys):
    name = "22_FashionMNIST_normalizing_flow"
    argv = ["--preset", "smoke", "--output-dir", str(tmp_path)]
    lesson.main(argv)
    first = read_card(tmp_path, name)["metrics"]
    capsys.readouterr()
    lesson.main([*argv, "--resume", "--temperature", "0.5", "--samples", "30"])
    again = read_card(tmp_path, name)["metrics"]
    assert "flow: resumed at step 4 of 4" in capsys.readouterr().out
    assert again["fid"]["value"] != first["fid"]["value"]
    assert again["test_bits_per_pixel"] == first["test_bits_per_pixel"]
    kept = np.load(tmp_path / name / "checkpoints" / "generated.npz")["images"]
    assert kept.shape == (30, 28, 28) and kept.dtype == np.uint8
