"""Lesson 14: what a round of the game does, its labels, who moves, saving, resuming, checkerboards, coverage."""

import dataclasses

from lessonkit import figures, judges

import keras
import numpy as np
import pytest
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
    assert (FULL.epochs, FULL.parts, FULL.batch_size, FULL.learning_rate, FULL.latent_dim) == (100, 1, 32, 1e-4, 128)
    assert FULL.average == 0, "the tutorials draw with the playing generator"
    generator, discriminator = lesson.build_generator(FULL), lesson.build_discriminator(FULL)
    assert generator.count_params() == 1_056_768 + 262_272 + 524_544 + 2_097_664 + 38_403
    assert discriminator.count_params() == 3_136 + 131_200 + 262_272 + 8_193
    assert [layer.rate for layer in discriminator.layers if isinstance(layer, layers.Dropout)] == [0.2]
    leaky = [layer for model in (generator, discriminator) for layer in model.layers if "LeakyReLU" in str(type(layer))]
    assert [layer.negative_slope for layer in leaky] == pytest.approx([0.2] * 6)


@pytest.mark.parametrize("settings", [SMALL, FULL], ids=["light", "full"])
def test_shapes_ranges_and_strides(settings):
    generator, discriminator = lesson.build_generator(settings), lesson.build_discriminator(settings)
    images = generator(lesson.fixed_latents(2, settings))
    assert images.shape == (2, 64, 64, 3) and np.min(images) >= 0 and np.max(images) <= 1
    assert discriminator(images).shape == (2, 1)
    transposed = [layer for layer in generator.layers if isinstance(layer, layers.Conv2DTranspose)]
    assert len(transposed) >= 3
    for layer in transposed:
        assert all(kernel % stride == 0 for kernel, stride in zip(layer.kernel_size, layer.strides, strict=True))


def test_light_networks_are_a_hundred_times_lighter():
    """Multiplications of one round for one real face: three passes for a step, a third of it for a mere forward one."""

    def work(model):
        total = 0
        for layer in model.layers:
            if isinstance(layer, layers.Conv2DTranspose):
                total += np.prod(layer.kernel.shape) * np.prod(layer.input.shape[1:3])
            elif isinstance(layer, layers.Conv2D):
                total += np.prod(layer.kernel.shape) * np.prod(layer.output.shape[1:3])
            elif isinstance(layer, layers.Dense):
                total += np.prod(layer.kernel.shape)
        return total

    one, other = (
        4 * work(lesson.build_generator(settings)) + 8 * work(lesson.build_discriminator(settings))
        for settings in (FULL, SMALL)
    )
    assert one / other > 100


def test_counting_products_of_a_transposed_convolution():
    """Against a count by hand along one axis: output 2 i + k takes a product from every input i and kernel cell k."""
    for kernel in (2, 3, 4, 5):
        inner = [sum((place - cell) % 2 == 0 for cell in range(kernel)) for place in (100, 101)]
        counts = lesson.contributions(kernel, layers_in_a_row=1)
        assert sorted(np.unique(counts)) == sorted({a * b for a in inner for b in inner})
    assert np.ptp(lesson.contributions(4)) == 0 and np.ptp(lesson.contributions(3)) > 0
    assert lesson.contributions(5).shape == (32, 32)


# A round


def test_a_discriminator_that_cannot_tell_pays_ln_2(gan):
    losses = numbers(gan.train_step(pictures()))
    assert losses["discriminator_loss"] == pytest.approx(np.log(2), abs=0.1)
    assert losses["generator_loss"] == pytest.approx(np.log(2), abs=0.2)


def test_each_player_moves_in_its_own_turn_only(gan, monkeypatch):
    """`move` is called once for each player, and the tape has seen the other's weights, too."""
    moves, move = [], lesson.DCGAN.move

    def watched(self, player, *rest):
        models = (self.generator, self.discriminator, self.shown)
        before = [values(model) for model in models]
        move(self, player, *rest)
        moves.append((player.name, [any(changed(*pair)) for pair in zip(models, before, strict=True)]))

    monkeypatch.setattr(lesson.DCGAN, "move", watched)
    discriminator = values(gan.discriminator)
    gan.train_step(pictures())
    assert moves == [("discriminator", [False, True, False]), ("generator", [True, False, False])]
    assert all(changed(gan.discriminator, discriminator))


@pytest.mark.parametrize("alone", ["generator", "discriminator"])
def test_a_player_alone_gets_better(alone, monkeypatch):
    """Signs: where the opponent stands still, a player's own loss on the same input falls."""
    gan, move, losses = new_gan(dataclasses.replace(SMALL, dropout=0.0, label_noise=0.0)), lesson.DCGAN.move, []
    monkeypatch.setattr(lesson.DCGAN, "move", lambda self, one, *rest: one.name == alone and move(self, one, *rest))
    monkeypatch.setattr(lesson.DCGAN, "latents", lambda self, count: lesson.fixed_latents(count, SMALL))
    for _ in range(4):
        losses.append(numbers(gan.train_step(pictures()))[f"{alone}_loss"])
        gan.reset_metrics()
    assert losses[-1] < losses[0]


def test_fit_trains_both(gan):
    """Through Keras: a compiled step, traced once and called more often."""
    generator, discriminator = values(gan.generator), values(gan.discriminator)
    examples = lesson.training.Batches(np.uint8(255 * np.array(pictures(12))), 4, 0, transform=lesson.scaled)
    history = gan.fit(examples.dataset(), steps_per_epoch=3, epochs=2, verbose=0).history
    assert all(changed(gan.discriminator, discriminator)) and all(changed(gan.generator, generator))
    assert int(gan.generator_optimizer.iterations) == int(gan.optimizer.iterations) == 6
    assert set(history) == {"generator_loss", "discriminator_loss", "accuracy_real", "accuracy_fake"}
    assert np.isfinite(list(history.values())).all()


def test_dropout_and_batch_normalisation_work_in_training(gan):
    """Dropout draws random numbers, and batch normalisation moves its averages, only where training=True arrives."""
    dropouts = [layer for layer in gan.discriminator.layers if isinstance(layer, layers.Dropout)]
    moving = [variable for variable in gan.generator.weights if "moving_mean" in variable.path]
    assert len(dropouts) == 1 and len(moving) == 4
    before = [np.array(variable) for variable in moving]
    gan.train_step(pictures())
    assert int(dropouts[0].seed_generator.state[1]) == 2, "once in each player's turn"
    assert not any(np.array_equal(variable, old) for variable, old in zip(moving, before, strict=True))
    after = values(gan)
    gan.draw(lesson.fixed_latents(4, SMALL))
    assert not any(changed(gan, after)), "drawing changes nothing"


def test_normalisation_of_both_passes_is_over_the_batch(gan):
    """What the players see while they play is normalised over its own batch: the generator gets training=True twice."""
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


def test_threshold_is_where_the_loss_of_equal_pictures_is_least(gan):
    """Half of the labels 0.9 on average, half 0: the constant logit with the least loss is the undecided one."""
    logits = np.linspace(-3, 3, 601)
    losses = np.mean(np.logaddexp(0, logits) - np.array([0.9, 0.0])[:, None] * logits, axis=0)
    assert gan.threshold == pytest.approx(logits[np.argmin(losses)], abs=0.01)
    assert judges.tied_losses(gan.undecided)["discriminator_loss"] == pytest.approx(losses.min(), abs=1e-4)


def test_shown_generator_is_the_average():
    gan = new_gan(dataclasses.replace(SMALL, average=0.75))
    shown = values(gan.shown)
    assert not any(changed(gan.generator, shown)), "both begin as one"
    gan.train_step(pictures())
    for new, old, playing in zip(gan.shown.weights, shown, gan.generator.weights, strict=True):
        assert new.path.split("/")[-1] == playing.path.split("/")[-1]
        assert np.array(new) == pytest.approx(0.75 * old + 0.25 * np.array(playing), abs=1e-6)
    gan = new_gan(dataclasses.replace(SMALL, average=0.0))
    gan.train_step(pictures())
    assert not any(changed(gan.shown, values(gan.generator)))


# Pictures


def test_same_seed_same_faces():
    drawn = []
    for seed in (1, 1, 2):
        gan = new_gan(dataclasses.replace(SMALL, seed=seed))
        for step in range(2):
            assert np.isfinite(list(numbers(gan.train_step(pictures(seed=step))).values())).all()
        drawn.append(gan.draw(lesson.fixed_latents(4, SMALL)))
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


def test_fixed_latents_and_unstretched_pictures(gan):
    latents = lesson.fixed_latents(6, SMALL)
    assert np.array_equal(latents, lesson.fixed_latents(6, SMALL))
    assert not np.array_equal(latents, lesson.fixed_latents(6, SMALL, seed=1))
    drawn = gan.draw(latents)
    assert drawn / 255 == pytest.approx(np.array(gan(latents)), abs=0.003)
    assert np.ptp(drawn) < 128, "the grey of an untrained generator stays grey"


def test_saved_and_loaded_gan_draws_the_same(gan, tmp_path):
    gan.train_step(pictures())
    gan.save(tmp_path / "gan.keras")
    loaded = keras.saving.load_model(tmp_path / "gan.keras", compile=False)
    latents = lesson.fixed_latents(4, SMALL)
    assert np.array_equal(loaded.draw(latents), gan.draw(latents))
    assert (loaded.label_noise, loaded.average) == (gan.label_noise, gan.average)
    assert all(np.array_equal(one, other) for one, other in zip(values(loaded), values(gan), strict=True))


def test_faces_of_a_frame():
    faces = np.random.default_rng(0).integers(0, 256, size=(64, 64, 64, 3), dtype=np.uint8)
    assert np.array_equal(lesson.faces_of(figures.tile(faces, columns=lesson.SHEET)), faces)


def test_walk_passes_its_stations_and_keeps_the_length(gan, monkeypatch):
    faces = lesson.walk(gan, SMALL, walkers=2, stations=3, steps=4)
    assert faces.shape == (2, 12, 64, 64, 3)
    corners = gan.draw(lesson.fixed_latents(6, SMALL, seed=3)).reshape(2, 3, 64, 64, 3)
    assert np.array_equal(faces[:, ::4], corners)
    monkeypatch.setattr(gan, "draw", lambda latents: latents)
    lengths = np.linalg.norm(lesson.walk(gan, SMALL, walkers=50, stations=3, steps=4), axis=-1)
    assert lengths.mean(axis=(0)) == pytest.approx(np.full(12, np.sqrt(128)), rel=0.05)


def test_coverage_counts_attributes_of_which_both_kinds_come():
    real = np.array([0.4, 0.4, 0.4, 0.4, 0.99])
    made = np.array([0.4, 0.03, 0.96, 0.05, 0.9995])
    assert lesson.attributes_covered(np.stack([made, real])) == 2  # the first and the fourth
    assert lesson.attributes_covered(np.stack([real, real])) == 5


# Whole runs


def play(folder, *flags, interrupt_at=None):
    """Train in the frame of a real run; returns all variables, the history and the frames."""
    argv = ["--preset", "smoke", "--device", "cpu", "--limit", "40", "--batch-size", "8", "--parts", "2"]
    argv += ["--epochs", "3", "--output-dir", str(folder), *flags]
    with lesson.lesson.run("14_CelebA_DCGAN.py", lesson.Config, lesson.PRESETS, argv) as run:
        known, _ = lesson.load_faces(run)
        gan = lesson.build_gan(run.config)
        if interrupt_at is not None:
            interrupt(gan, interrupt_at)
        history = lesson.train(run, gan, known.images)
        everything = gan.variables + gan.optimizer.variables + gan.generator_optimizer.variables
        return [np.array(variable) for variable in everything], history


def interrupt(gan, at):
    """Ctrl-C while a batch is under way."""
    make = gan.make_train_function

    def made(force=False):
        make(force)
        gan.train_function = interrupting(gan.train_function, at)

    gan.make_train_function = made


def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[1, 2, 3])
