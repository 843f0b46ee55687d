"""Lesson 14: a training step, its labels, the gradient penalty, saving, resuming, lattices, coverage."""

import dataclasses
import json

from lessonkit import latents
from lessonkit.figures import games

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import check_resuming, interrupting, load_lesson
from keras import layers, ops

lesson = load_lesson("14_CelebA_DCGAN")
SMALL = lesson.Config(batch_size=4)
FULL = dataclasses.replace(lesson.Config(), **lesson.PRESETS["full"])


def new_gan(settings=SMALL):
    keras.utils.set_random_seed(settings.seed)
    return lesson.build_gan(settings)


@pytest.fixture
def gan():
    return new_gan()


def pictures(count=4, seed=0):
    """Pictures like faces in kind: a coloured box somewhere on grey."""
    random, images = np.random.default_rng(seed), np.full((count, 64, 64, 3), 0.4, "float32")
    for image, (top, left) in zip(images, random.integers(8, 24, size=(count, 2)), strict=True):
        image[top : top + 30, left : left + 24] = random.uniform(size=3)
    return ops.convert_to_tensor(images)


def values(model):
    return [np.array(variable) for variable in model.weights]


def changed(model, before):
    return [not np.array_equal(variable, old) for variable, old in zip(model.weights, before, strict=True)]


def numbers(logs):
    return {name: float(value) for name, value in logs.items()}


# The networks


def test_full_preset_is_the_tutorials():
    assert (FULL.epochs, FULL.epoch_steps, FULL.batch_size, FULL.learning_rate, FULL.latent_dim) == (
        100,
        None,
        32,
        1e-4,
        128,
    )
    assert FULL.average == 0 and FULL.gradient_penalty == 0 and not FULL.decay
    generator, discriminator = lesson.build_generator(FULL), lesson.build_discriminator(FULL)
    assert generator.count_params() == 1_056_768 + 262_272 + 524_544 + 2_097_664 + 38_403
    assert discriminator.count_params() == 3_136 + 131_200 + 262_272 + 8_193
    assert [layer.rate for layer in discriminator.layers if isinstance(layer, layers.Dropout)] == [0.2]
    leaky = [layer for model in (generator, discriminator) for layer in model.layers if "LeakyReLU" in str(type(layer))]
    assert [layer.negative_slope for layer in leaky] == pytest.approx([0.2] * 6)


@pytest.mark.parametrize("settings", [SMALL, FULL], ids=["default", "full"])
def test_shapes_ranges_and_strides(settings):
    generator, discriminator = lesson.build_generator(settings), lesson.build_discriminator(settings)
    images = generator(latents.normal(2, settings.latent_dim, 0))
    assert images.shape == (2, 64, 64, 3) and np.min(images) >= 0 and np.max(images) <= 1
    assert discriminator(images).shape == (2, 1)
    transposed = [layer for layer in generator.layers if isinstance(layer, layers.Conv2DTranspose)]
    smooth = [layer for layer in generator.layers if isinstance(layer, lesson.SmoothUpsampling)]
    assert len(transposed) + len(smooth) == len(settings.generator_channels) - 1
    for layer in transposed:
        assert all(kernel % stride == 0 for kernel, stride in zip(layer.kernel_size, layer.strides, strict=True))


def test_default_networks_are_much_lighter():
    """Multiplications of one step for one real face: three passes for an update, a third of it for a forward pass."""

    def work(model):
        total = 0
        for layer in model.layers:
            if isinstance(layer, layers.Conv2DTranspose):
                total += np.prod(layer.kernel.shape) * np.prod(layer.input.shape[1:3])
            elif isinstance(layer, lesson.SmoothUpsampling):
                total += np.prod(layer.kernel.shape) * 16 / 9 * np.prod(layer.input.shape[1:3])
            elif isinstance(layer, layers.Conv2D):
                total += np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
            elif isinstance(layer, layers.Dense):
                total += np.prod(layer.kernel.shape)
        return total

    one, other = (
        4 * work(lesson.build_generator(settings)) + 8 * work(lesson.build_discriminator(settings))
        for settings in (FULL, SMALL)
    )
    assert one / other > 60


def test_smooth_upsampling_is_copying_then_convolving():
    """In one transposed convolution with a kernel of 4 x 4, borders included."""
    layer, images = lesson.SmoothUpsampling(5), np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype("float32")
    result = np.array(layer(images))
    copied, convolution = images.repeat(2, axis=1).repeat(2, axis=2), layers.Conv2D(5, 3, padding="same")
    convolution.build(copied.shape)
    convolution.set_weights([np.array(layer.kernel)[::-1, ::-1].transpose(0, 1, 3, 2), np.array(layer.bias) + 1])
    assert result.shape == (2, 12, 12, 5)
    np.testing.assert_allclose(result + 1, convolution(copied), atol=1e-5)


def test_flat_areas_stay_flat_whatever_the_weights():
    """The product counts by hand: output 2 i + k takes a product from every input i and kernel cell k."""
    for side in (2, 3, 4, 5):
        inner = [sum((place - cell) % 2 == 0 for cell in range(side)) for place in (100, 101)]
        counts = lesson.flat_area(np.ones((side, side)), layers_in_a_row=1)
        assert sorted(np.unique(counts)) == sorted({a * b for a in inner for b in inner})
    weights = np.random.default_rng(0).random((4, 4))
    assert lesson.flat_area(weights).shape == (32, 32)
    assert np.ptp(lesson.flat_area(weights)) > 0.1 * lesson.flat_area(weights).mean(), "equal counts do not suffice"
    smooth = np.array(lesson.spread(weights[:3, :3, None, None]))[:, :, 0, 0]
    assert np.ptp(lesson.flat_area(smooth)) < 1e-4 * lesson.flat_area(smooth).mean()


def test_lattice_measures_period_two_alone():
    smooth = np.tile(np.linspace(50, 200, 64)[:, None, None], (3, 1, 64, 3))
    stripes = 10 * (-1.0) ** np.arange(64)[:, None, None]
    assert lesson.lattice(smooth.round().astype(np.uint8)) < 0.1
    energy = lesson.lattice((128 + np.tile(stripes, (3, 1, 64, 3))).astype(np.uint8))
    assert energy == pytest.approx((64 * 10 / 255) ** 2 / 2, rel=0.01), "along one of the two axes"


# A step


def test_a_discriminator_that_cannot_tell_pays_ln_2(gan):
    losses = numbers(gan.train_step(pictures()))
    assert losses["discriminator_loss"] == pytest.approx(np.log(2), abs=0.1)
    assert losses["generator_loss"] == pytest.approx(np.log(2), abs=0.2)


def test_each_network_is_updated_by_its_own_loss_only(gan, monkeypatch):
    """`update` is called once for each network, although the tape has recorded both."""
    updates, update = [], lesson.DCGAN.update

    def watched(self, network, *rest):
        models = (self.generator, self.discriminator, self.averaged)
        before = [values(model) for model in models]
        update(self, network, *rest)
        updates.append((network.name, [any(changed(*pair)) for pair in zip(models, before, strict=True)]))

    monkeypatch.setattr(lesson.DCGAN, "update", watched)
    discriminator = values(gan.discriminator)
    gan.train_step(pictures())
    assert updates == [("discriminator", [False, True, False]), ("generator", [True, False, False])]
    assert all(changed(gan.discriminator, discriminator))


@pytest.mark.parametrize("alone", ["generator", "discriminator"])
def test_a_network_alone_gets_better(alone, monkeypatch):
    """Signs: where the other network stays as it is, a network's own loss on the same input falls."""
    gan, update, losses = new_gan(dataclasses.replace(SMALL, label_noise=0.0)), lesson.DCGAN.update, []
    monkeypatch.setattr(lesson.DCGAN, "update", lambda self, one, *rest: one.name == alone and update(self, one, *rest))
    monkeypatch.setattr(lesson.DCGAN, "draw_latents", lambda self, count: latents.normal(count, 128, 0))
    for _ in range(4):
        losses.append(numbers(gan.train_step(pictures()))[f"{alone}_loss"])
        gan.reset_metrics()
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_fit_trains_both(gan):
    """Through Keras: a compiled step, traced once and called more often."""
    generator, discriminator = values(gan.generator), values(gan.discriminator)
    examples = lesson.training.Batches(np.uint8(255 * np.array(pictures(12))), 4, 0, transform=lesson.scaled)
    history = gan.fit(examples.dataset(), steps_per_epoch=3, epochs=2, verbose=0).history
    assert all(changed(gan.discriminator, discriminator)) and all(changed(gan.generator, generator))
    assert int(gan.generator_optimizer.iterations) == int(gan.optimizer.iterations) == 6
    assert set(history) == {"generator_loss", "discriminator_loss", "accuracy_real", "accuracy_fake"}
    assert np.isfinite(list(history.values())).all()


def test_dropout_and_batch_normalisation_work_in_training():
    """Dropout draws random numbers, and batch normalisation moves its averages, only where training=True arrives."""
    gan = new_gan(dataclasses.replace(SMALL, dropout=0.2, gradient_penalty=0.0))
    dropouts = [layer for layer in gan.discriminator.layers if isinstance(layer, layers.Dropout)]
    moving = [variable for variable in gan.generator.weights if "moving_mean" in variable.path]
    assert len(dropouts) == 1 and len(moving) == 4
    before = [np.array(variable) for variable in moving]
    gan.train_step(pictures())
    assert int(dropouts[0].seed_generator.state[1]) == 2, "once for each loss"
    assert not any(np.array_equal(variable, old) for variable, old in zip(moving, before, strict=True))
    after = values(gan)
    gan.generate(latents.normal(4, 128, 0))
    assert not any(changed(gan, after)), "generating changes nothing"


def test_normalisation_of_both_passes_is_over_the_batch(gan):
    """While it is trained, its batch is normalised by itself: the generator is called with training=True twice."""
    calls = []
    generate = gan.generator.call
    gan.generator.call = lambda inputs, training=None, mask=None: calls.append(training) or generate(inputs, training)
    gan.train_step(pictures())
    assert calls == [True, True]


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.5])
def test_labels_stay_within_0_and_1(noise, monkeypatch):
    gan, seen, loss = new_gan(dataclasses.replace(SMALL, label_noise=noise)), [], lesson.cross_entropy
    monkeypatch.setattr(lesson, "cross_entropy", lambda labels, logits: seen.append(labels) or loss(labels, logits))
    for _ in range(2):
        gan.train_step(pictures())
    real, fake = np.array(seen[::2])[:, :4, 0], np.array(seen[::2])[:, 4:, 0]
    assert real.max() <= 1 and real.min() >= 1 - noise
    if noise:
        assert len(np.unique(real)) == real.size and real.mean() == pytest.approx(1 - noise / 2, abs=noise / 4)
    assert np.all(fake == 0), "one-sided: labels of generated faces are not smoothed"
    assert np.all(np.array(seen[1::2]) == 1), "the generator is to reach 1"


def test_why_labels_must_not_leave_the_range():
    worst = [float(lesson.cross_entropy(np.array([[label]]), np.array([[1e4]]))) for label in (1.0, 1.05)]
    assert worst[0] >= 0 and worst[1] < -400


def test_threshold_is_where_the_loss_of_equal_pictures_is_least():
    """Half of the labels 0.9 on average, half 0: the constant logit with the least loss is the undecided one."""
    gan, logits = new_gan(dataclasses.replace(SMALL, label_noise=0.2)), np.linspace(-3, 3, 601)
    losses = np.mean(np.logaddexp(0, logits) - np.array([0.9, 0.0])[:, None] * logits, axis=0)
    assert gan.threshold == pytest.approx(logits[np.argmin(losses)], abs=0.01)
    assert games.tied_losses(gan.undecided)["discriminator_loss"] == pytest.approx(losses.min(), abs=1e-4)


def test_gradient_penalty_of_a_discriminator_whose_gradient_is_known(gan):
    """A logit a * sum of the pixels has the gradient a everywhere, squared length 12,288 a^2."""
    images = pictures()
    gan.discriminator = keras.Sequential([keras.Input((64, 64, 3)), layers.Flatten(), layers.Dense(1, "linear")])
    gan.discriminator.set_weights([np.full((12_288, 1), 0.01, "float32"), np.zeros(1, "float32")])
    assert float(gan.penalty(images)) == pytest.approx(12_288 * 0.01**2 / 2, rel=1e-4)


def test_gradient_penalty_is_part_of_every_sixteenth_step(monkeypatch):
    """Compiled, as in `fit`; the discriminator's weights get its gradient, through the gradient at the images."""
    gan, calls = new_gan(dataclasses.replace(SMALL, gradient_penalty=1.0)), tf.Variable(0)
    penalty = lesson.DCGAN.penalty

    def counted(self, images):
        calls.assign_add(1)
        return penalty(self, images)

    monkeypatch.setattr(lesson.DCGAN, "penalty", counted)
    step, images, seen = tf.function(gan.train_step), pictures(), []
    for _ in range(18):
        step(images)
        seen.append(int(calls))
    assert seen == [1] * 16 + [2] * 2
    with tf.GradientTape() as tape:
        value = penalty(gan, images)
    kernels = [variable for variable in gan.discriminator.trainable_variables if "kernel" in variable.path]
    assert all(np.any(gradient) for gradient in tape.gradient(value, kernels))


def test_averaged_generator():
    gan = new_gan(dataclasses.replace(SMALL, average=0.75, gradient_penalty=0.0))
    assert not any(changed(gan.generator, values(gan.averaged))), "both begin as one"
    for step in (0, 1, 39):  # the weight of the past grows: 1/10, 2/11, ... until it is 0.75
        before = values(gan.averaged)
        gan.optimizer.iterations.assign(step)
        gan.train_step(pictures())
        weight = min(0.75, (step + 1) / (step + 10))
        for new, old, trained in zip(gan.averaged.weights, before, gan.generator.weights, strict=True):
            assert new.path.split("/")[-1] == trained.path.split("/")[-1]
            assert np.array(new) == pytest.approx(weight * old + (1 - weight) * np.array(trained), abs=1e-5)
    gan = new_gan(dataclasses.replace(SMALL, average=0.0))
    gan.train_step(pictures())
    assert not any(changed(gan.averaged, values(gan.generator)))


def test_rate_decays_to_zero_at_the_last_step():
    gan = lesson.build_gan(SMALL, steps=100)
    for optimizer in (gan.optimizer, gan.generator_optimizer):
        rates = []
        for step in (0, 50, 100):
            optimizer.iterations.assign(step)
            rates.append(float(optimizer.learning_rate))
        assert rates == pytest.approx([SMALL.learning_rate, SMALL.learning_rate / 2, 0], abs=1e-9)
    constant = lesson.build_gan(dataclasses.replace(SMALL, decay=False), steps=100).optimizer
    constant.iterations.assign(100)
    assert float(constant.learning_rate) == pytest.approx(SMALL.learning_rate)


# Pictures


@pytest.mark.slow
def test_same_seed_same_faces():
    drawn = []
    for seed in (1, 1, 2):
        gan = new_gan(dataclasses.replace(SMALL, seed=seed))
        for step in range(2):
            assert np.isfinite(list(numbers(gan.train_step(pictures(seed=step))).values())).all()
        drawn.append(gan.generate(latents.normal(4, 128, 0)))
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_pictures_are_not_stretched(gan):
    fixed = latents.normal(6, 128, 0)
    drawn = gan.generate(fixed)
    assert drawn / 255 == pytest.approx(np.array(gan(fixed)), abs=0.003)
    assert np.ptp(drawn) < 128, "the grey of an untrained generator stays grey"


def test_saved_and_loaded_gan_generates_the_same(gan, tmp_path):
    gan.train_step(pictures())
    gan.save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras", compile=False)
    fixed = latents.normal(4, 128, 0)
    assert np.array_equal(loaded.generate(fixed), gan.generate(fixed))
    assert json.dumps(loaded.get_config()) == json.dumps(gan.get_config())  # JSON knows no tuples
    assert all(np.array_equal(one, other) for one, other in zip(values(loaded), values(gan), strict=True))


def test_walk_passes_its_stations(gan):
    faces = lesson.walk(gan, SMALL, walkers=2, stations=3, steps=4)
    assert faces.shape == (2, 12, 64, 64, 3)
    corners = gan.generate(latents.normal(6, 128, SMALL.seed, stream=3)).reshape(2, 3, 64, 64, 3)
    assert np.array_equal(faces[:, ::4], corners)


def test_coverage_counts_attributes_of_which_both_kinds_come():
    real = np.array([0.4, 0.4, 0.4, 0.4, 0.99])
    ours = np.array([0.4, 0.03, 0.96, 0.05, 0.9995])
    assert lesson.attributes_covered(np.stack([ours, real])) == 2  # the first and the fourth
    assert lesson.attributes_covered(np.stack([real, real])) == 5


# Whole runs


def play(folder, *flags, interrupt_at=None):
    """Train in the frame of a real run; returns all variables, the history and the frames."""
    argv = ["--preset", "smoke", "--device", "cpu", "--limit", "80", "--batch-size", "8", "--epoch-steps", "2"]
    argv += ["--epochs", "3", "--output-dir", str(folder), *flags]
    with lesson.lesson.run("14_CelebA_DCGAN.py", lesson.Config, lesson.PRESETS, argv) as run:
        examples = lesson.batches(run.config, lesson.load_faces(run).train.images)
        gan = lesson.build_gan(run.config, run.config.epochs * examples.steps_per_epoch)
        if interrupt_at is not None:
            interrupt(gan, interrupt_at)
        history = lesson.train(run, gan, examples)
        everything = gan.variables + gan.optimizer.variables + gan.generator_optimizer.variables
        return [np.array(variable) for variable in everything], history


def interrupt(gan, at):
    """Ctrl-C while a batch is under way."""
    make = gan.make_train_function

    def made(force=False):
        make(force)
        gan.train_function = interrupting(gan.train_function, at)

    gan.make_train_function = made


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[1, 2, 3])


@pytest.mark.parametrize("limit", [1, 3, 7, 12, 64])
def test_too_few_faces_are_refused_before_the_training(limit, tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--limit", str(limit), "--device", "cpu", "--output-dir", str(tmp_path)])
    assert stop.value.code == 2
    assert f"this lesson needs at least {lesson.LEAST}" in capsys.readouterr().err
