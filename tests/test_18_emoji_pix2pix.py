"""Lesson 18: what the losses are, what the discriminator sees, batch mates, dropout, measures; smoke run and resume."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import check_resuming, interrupting, load_lesson, read_card
from PIL import Image, ImageDraw

lesson = load_lesson("18_emoji_pix2pix")
SMALL = dataclasses.replace(lesson.Config(), size=32, channels=(8, 8), patch_channels=(8,), batch_size=4, steps=6)
SMALL = dataclasses.replace(SMALL, adversarial_steps=6, adversarial_rate=2e-3, discriminator_rate=2e-3)


def game(settings=SMALL) -> lesson.Pix2Pix:
    """Both networks, begun from a generator that nothing has trained."""
    return lesson.Pix2Pix(settings, 1, start=lesson.build_generator(settings, 1))


def pairs(count=4, seed=0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    sizes = ((count, SMALL.size, SMALL.size, 1), (count, SMALL.size, SMALL.size, 3))
    return tuple(random.integers(0, 256, size).astype(np.uint8) for size in sizes)


def batch(count=4) -> tuple:
    return tuple(lesson.scaled(images) for images in pairs(count))


def test_losses_of_a_guess_and_of_certainty():
    guess, sure = np.zeros((2, 4, 4, 1), "float32"), np.full((2, 4, 4, 1), 9, "float32")
    assert float(lesson.discriminator_loss(guess, guess)) == pytest.approx(np.log(2))
    assert float(lesson.generator_loss(guess)) == pytest.approx(np.log(2))
    assert float(lesson.discriminator_loss(sure, -sure)) < 1e-3 < 8 < float(lesson.discriminator_loss(-sure, sure))
    assert float(lesson.generator_loss(sure)) < 1e-3 < 8 < float(lesson.generator_loss(-sure))


def test_the_best_constant_for_l1_is_the_median():
    """Why L1 gives the colour of nothing: of red, red, and three kinds of others it takes each channel's middle."""
    colours = np.array([[230, 30, 30], [40, 120, 220], [90, 180, 60], [250, 220, 40], [120, 70, 40]])
    candidates = np.arange(256)
    best = [candidates[np.argmin(np.abs(candidates[:, None] - channel).sum(axis=1))] for channel in colours.T]
    assert best == [120, 120, 40] and best not in colours.tolist()


def test_blocks_and_pixels_are_inverse():
    images = np.arange(2 * 6 * 6 * 3, dtype="float32").reshape(2, 6, 6, 3)
    blocks = lesson.to_blocks(images)
    assert blocks.shape == (2, 3, 3, 12) and np.array_equal(lesson.to_pixels(blocks), images)
    assert np.array_equal(blocks[0, 1, 2], images[0, 2:4, 4:6].ravel())


def test_both_pictures_of_a_pair_are_mirrored_alike():
    inputs = np.repeat(np.arange(8, dtype=np.uint8)[None, None, :, None] * 30, 64, axis=0)
    inputs = np.repeat(inputs, 8, axis=1)
    mirrored = 0
    images, targets = lesson.augmented(
        tf.constant(inputs), tf.constant(np.repeat(inputs, 3, axis=-1)), tf.constant([1, 2])
    )
    for image, target in zip(np.asarray(images), np.asarray(targets), strict=True):
        assert np.array_equal(np.repeat(image, 3, axis=-1), target)
        mirrored += image[0, 0, 0] > image[0, -1, 0]
    assert 15 < mirrored < 49


def test_the_discriminator_sees_the_input():
    model = game()
    (inputs, pictures), (others, _) = pairs(), pairs(seed=1)
    one, other = model.verdicts(inputs, pictures), model.verdicts(others, pictures)
    assert one.shape == (4, 16, 16) and np.abs(one - other).max() > 1e-3
    assert model.verdicts(inputs, pictures / np.float32(255)) == pytest.approx(one, abs=1e-5)


def test_a_logit_sees_its_patch_and_no_more():
    settings = dataclasses.replace(SMALL, size=64, patch_channels=(8, 8))
    pixels = lesson.patch_size(settings)
    assert pixels == 26 and lesson.patch_size(SMALL) == 12
    network = lesson.build_discriminator(settings, 1)
    plain = keras.models.clone_model(network, clone_function=without_norm)
    inputs, pictures = (tf.Variable(tf.zeros((1, 64, 64, channels))) for channels in (1, 3))
    with tf.GradientTape() as tape:
        logit = plain([inputs, pictures])[0, 8, 8, 0]
    reached = np.abs(tape.gradient(logit, pictures).numpy()).sum(axis=(0, 3))
    rows, columns = np.flatnonzero(reached.any(axis=1)), np.flatnonzero(reached.any(axis=0))
    assert rows[-1] - rows[0] + 1 == columns[-1] - columns[0] + 1 == pixels


def without_norm(layer):
    if type(layer).__name__ == "GroupNorm":
        return keras.layers.Identity()
    return type(layer).from_config(layer.get_config())


@pytest.fixture
def model():
    return game()


def test_a_picture_does_not_depend_on_its_batch_mates(model):
    (inputs, _), (others, _) = pairs(), pairs(seed=1)
    alone = model.colour(inputs[:1])
    assert model.colour(np.concatenate([inputs[:1], others]))[:1] == pytest.approx(alone, abs=1e-5)
    assert model.verdicts(*pairs())[:1] == pytest.approx(model.verdicts(*(part[:1] for part in pairs())), abs=1e-5)


def test_the_bottleneck_is_not_erased():
    """Normalised one value at a time, as by instance normalisation at 1 x 1, all drawings have the same code: zero."""
    generator = lesson.build_generator(lesson.Config(), 1)
    code = next(layer for layer in generator.layers if isinstance(layer, keras.layers.Conv2DTranspose)).input
    assert code.shape[1:3] == (4, 4)
    drawings = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 1))
    codes = np.asarray(keras.Model(generator.input, code)(drawings))
    assert np.abs(codes[0] - codes[1]).mean() > 0.05


def test_dropout_only_when_it_is_asked_for(model):
    inputs, _ = pairs()
    assert np.array_equal(model.colour(inputs), model.colour(inputs))
    assert lesson.dropout_spread(model, inputs) > 1e-4


def test_each_step_moves_both_networks_in_their_own_directions(eager):
    model = game()
    with_game = [model.train_step(*batch()) for _ in range(3)]
    assert set(with_game[0]) == {"l1", "generator_loss", "discriminator_loss"}
    assert float(with_game[-1]["l1"]) < float(with_game[0]["l1"])
    assert float(with_game[-1]["discriminator_loss"]) < float(with_game[0]["discriminator_loss"])


def test_the_generators_loss_does_not_move_the_discriminator(eager):
    """The discriminator's update is that of its own loss alone, whatever lambda says to the generator."""
    weights = []
    for pixel_weight in (100, 0):
        model = game(dataclasses.replace(SMALL, pixel_weight=pixel_weight))
        before = [np.array(weight) for weight in model.discriminator.weights]
        model.train_step(*batch())
        weights.append([np.array(weight) for weight in model.discriminator.weights])
        assert any(not np.array_equal(old, new) for old, new in zip(before, weights[-1], strict=True))
    assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(*weights, strict=True))


def test_both_losses_go_on_from_the_weights_of_l1_alone(eager):
    alone = lesson.Pix2Pix(SMALL, 1)
    assert set(alone.train_step(*batch())) == {"l1"} and len(alone.optimizers) == 1
    both = lesson.Pix2Pix(SMALL, 1, start=alone.generator)
    for network in (both.generator, both.averaged):
        assert all(np.array_equal(*pair) for pair in zip(alone.generator.weights, network.weights, strict=True))
    assert lesson.build_generator(lesson.Config(), 1).count_params() == 341_276


def test_an_average_of_the_weights_colours(eager):
    model, (inputs, _) = game(dataclasses.replace(SMALL, average=0.9)), pairs()
    before = model.generator.get_weights()
    expected = [np.array(variable) for variable in model.generator.trainable_variables]
    for _ in range(2):
        model.train_step(*batch())
        now = [np.array(variable) for variable in model.generator.trainable_variables]
        expected = [0.9 * old + 0.1 * new for old, new in zip(expected, now, strict=True)]
    for average, wanted in zip(model.averaged.trainable_variables, expected, strict=True):
        assert np.array(average) == pytest.approx(wanted, abs=1e-6)
    shown = model.colour(inputs)
    model.generator.set_weights(before)
    assert np.array_equal(model.colour(inputs), shown)


def test_the_logged_l1_is_that_of_the_measure(eager):
    model = lesson.Pix2Pix(dataclasses.replace(SMALL, dropout=0), 1)
    inputs, targets = pairs()
    wanted = lesson.l1(model.colour(inputs), targets).mean()
    assert float(model.train_step(*batch())["l1"]) == pytest.approx(wanted, rel=1e-4)


def test_l1_and_colourfulness():
    white, grey = np.ones((2, 8, 8, 3)), np.full((2, 8, 8, 3), 0.3)
    assert lesson.l1(white, np.zeros((2, 8, 8, 3), np.uint8)) == pytest.approx([1, 1])
    assert lesson.colourfulness(white) == pytest.approx([0, 0]) and lesson.colourfulness(grey) == pytest.approx([0, 0])
    red = np.zeros((1, 8, 8, 3))
    red[..., 0] = 1  # rg = 255, yb = 127.5 everywhere: no spread, 0.3 of the length of the mean
    assert lesson.colourfulness(red) == pytest.approx([0.3 * np.hypot(255, 127.5)])
    half = np.ones((1, 8, 8, 3))
    half[:, :4] = (1, 0, 0)  # half red, half white: deviations are half of 255 and of 127.5
    assert lesson.colourfulness(half) == pytest.approx([(0.5 + 0.3 * 0.5) * np.hypot(255, 127.5)])


def play(folder, *flags, interrupt_at=None) -> tuple:
    """The adversarial training alone, without the figures: variables and history."""
    flags = ["--adversarial-steps" if flag == "--steps" else flag for flag in flags]
    argv = ["--preset", "smoke", "--output-dir", str(folder), *flags]
    with lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv) as run:
        data = lesson.load(run)
        model = game(run.config)
        if interrupt_at:
            model.train_step = interrupting_pairs(model.train_step, interrupt_at)
        history = lesson.train(run, model, data, "adversarial")
        return [np.array(variable) for variable in model.variables], history


def interrupting_pairs(function, at):
    stop = interrupting(lambda arguments: function(*arguments), at)
    return lambda *arguments: stop(arguments)


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)


@pytest.mark.slow
def test_an_own_drawing_needs_no_new_training(tmp_path, capsys):
    flags = ("--preset", "smoke", "--output-dir", str(tmp_path))
    lesson.main(flags)
    image = Image.new("L", (100, 80), 255)
    ImageDraw.Draw(image).ellipse((20, 20, 70, 60), outline=0, width=4)
    image.save(tmp_path / "own.png")
    capsys.readouterr()
    lesson.main([*flags, "--resume", "--drawing", str(tmp_path / "own.png")])
    assert "adversarial: resumed at step 4 of 4" in capsys.readouterr().out
    card = read_card(tmp_path, "18_emoji_pix2pix")
    assert "18_emoji_pix2pix/drawing.png" in card["files"] and card["data"][0]["name"] == "OpenMoji, CC BY-SA 4.0"
    assert {"test_l1", "test_ssim", "copy_l1", "patch_fid", "patch_fid_adversarial"} <= set(card["metrics"])


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--drawing", "nowhere.png"), "no such picture"),
        (("--limit", "3"), "too few"),
        (("--size", "65"), "--size"),
        (("--dataset", "facades", "--data", "real"), "place facades.tar.gz"),
    ],
)
def test_bad_input(tmp_path, capsys, flags, complaint):
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path / "out"), *flags])
    assert stop.value.code == 2
    complaint_lines = capsys.readouterr().err.splitlines()
    assert len(complaint_lines) == 1 and complaint in complaint_lines[0] and not any(tmp_path.glob("out/*"))
