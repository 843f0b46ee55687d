"""Lesson 19: the losses, which domain the identity loss is for, the pool, who moves whom, ranks, resume, bad input."""

import copy
import dataclasses
import types

from lessonkit import datasets
from lessonkit.datasets import emoji

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import check_resuming, interrupting, load_lesson, read_card
from PIL import Image

lesson = load_lesson("19_emoji_CycleGAN")
SMALL = dataclasses.replace(lesson.Config(), size=16, channels=(8, 8), blocks=1, patch_channels=(8,), batch_size=2)
SMALL = dataclasses.replace(SMALL, steps=6, pool=3)


@pytest.fixture(scope="module")
def built():
    """One game, and the values that it begins with: it takes seconds to build."""
    model = lesson.CycleGAN(SMALL, 10)
    return model.variables, values(model.variables), model


@pytest.fixture
def model(built):
    """The game at its beginning; a test may replace its parts."""
    tf.config.run_functions_eagerly(True)
    restart(*built[:2])
    yield copy.copy(built[2])
    tf.config.run_functions_eagerly(False)


def restart(variables, beginning):
    for variable, value in zip(variables, beginning, strict=True):
        variable.assign(value)


def real_batch(count=2, seed=0):
    """Pictures of A, all darker than zero, and of B, all lighter."""
    random = np.random.default_rng(seed)
    a = random.uniform(-1, -0.1, (count, SMALL.size, SMALL.size, 3)).astype("float32")
    return tf.constant(a), tf.constant(random.uniform(0.1, 1, a.shape).astype("float32"))


def values(variables) -> list[np.ndarray]:
    return [np.array(variable) for variable in variables]


def changed(before, variables) -> list[bool]:
    return [not np.array_equal(old, new) for old, new in zip(before, values(variables), strict=True)]


# Losses


def test_least_squares():
    scores = tf.constant([[1.0, 0.0], [0.5, 2.0]])
    assert float(lesson.mean_square(scores, 1)) == pytest.approx((0 + 1 + 0.25 + 1) / 4)
    assert float(lesson.mean_square(scores, 0)) == pytest.approx((1 + 0 + 0.25 + 4) / 4)


def test_the_discriminators_loss_of_a_guess(model):
    a, b = real_batch()
    for network in ("discriminator_a", "discriminator_b"):
        setattr(model, network, lambda images: tf.fill((len(images), 4, 4, 1), 0.5))
    assert float(model.discriminator_loss(a, b, a, b)) == pytest.approx(0.5)  # 1/4 for each of both
    model.discriminator_a = lambda images: tf.cast(images < 0, "float32")  # right about A
    model.discriminator_b = lambda images: tf.cast(images > 0, "float32")  # and about B
    assert float(model.discriminator_loss(a, b, b, a)) == 0
    assert float(model.discriminator_loss(b, a, a, b)) == pytest.approx(2)  # wrong everywhere


def test_identity_is_asked_for_in_the_domain_that_a_generator_makes(model):
    """Zero if G_AB leaves B alone, whatever it does to A; and the same of G_BA."""
    a, b = real_batch()
    model.generator_ab = lambda images: tf.where(images > 0, images, 0.3 * images + 0.5)
    model.generator_ba = lambda images: tf.where(images < 0, images, -0.2 * images)
    fake_a, fake_b, losses = model.generator_losses(a, b)
    assert float(losses["identity"]) == 0
    assert np.allclose(fake_b, 0.3 * a + 0.5) and np.allclose(fake_a, -0.2 * b)
    model.generator_ab = lambda images: tf.where(images < 0, images, 0.5 * images)  # leaves A alone, and not B
    _, _, losses = model.generator_losses(a, b)
    assert float(losses["identity"]) == pytest.approx(np.abs(0.5 * b).mean(), rel=1e-5)


def test_the_cycle_is_there_and_back(model):
    """Zero if each generator is the inverse of the other, whatever the translations look like."""
    a, b = real_batch()
    model.generator_ab, model.generator_ba = (lambda images: 0.5 * images + 0.4), (lambda images: 2 * images - 0.8)
    _, _, losses = model.generator_losses(a, b)
    assert float(losses["cycle"]) == pytest.approx(0, abs=1e-6) and float(losses["identity"]) > 0.1
    model.generator_ba = lambda images: 2 * images - 0.7
    _, _, losses = model.generator_losses(a, b)
    assert float(losses["cycle"]) == pytest.approx(0.1 + 0.05, rel=1e-4)  # A: 0.1; B: half of it
    model.cycle_weight = 0
    assert set(model.generator_losses(a, b)[2]) == {"adversarial", "identity"}


def test_each_translation_is_judged_in_its_own_domain(model):
    a, b = real_batch()
    model.generator_ab, model.generator_ba = (lambda images: images * 0 + 1), (lambda images: images * 0 - 1)
    model.discriminator_b = lambda images: tf.reduce_mean(images, (1, 2, 3)) * 0.5
    model.discriminator_a = lambda images: tf.reduce_mean(images, (1, 2, 3)) * 0.25
    _, _, losses = model.generator_losses(a, b)
    assert float(losses["adversarial"]) == pytest.approx(0.5**2 + 1.25**2)


# Who moves whom


@pytest.mark.parametrize("frozen", [0, 1])
def test_the_generators_step_does_not_move_the_discriminators(model, frozen):
    """Nor the other way round: where one side's step is left out, nothing but the other moves, and all of it."""
    model.optimizers = list(model.optimizers)
    model.optimizers[frozen] = types.SimpleNamespace(apply_gradients=list)
    sides = (model.generators, model.discriminators)
    before = [values(side) for side in sides]
    model.train_step(*real_batch())
    assert not any(changed(before[frozen], sides[frozen]))
    assert all(changed(before[1 - frozen], sides[1 - frozen]))


def test_the_discriminators_learn_from_their_own_loss_alone(model, built):
    """Their first step is the same whatever the weights of the generators' losses say."""
    after = []
    for weight in (0, 100):
        restart(*built[:2])
        model.settings, model.cycle_weight = dataclasses.replace(SMALL, identity_weight=weight), weight
        model.train_step(*real_batch())
        after.append(values(model.discriminators))
    assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(*after, strict=True))


def test_training_lowers_the_losses(model):
    a, b = real_batch()
    losses = [{name: float(value) for name, value in model.train_step(a, b).items()} for _ in range(2)]
    assert set(losses[0]) == {"adversarial", "identity", "cycle", "discriminator"}
    for name in ("identity", "cycle", "discriminator"):
        assert losses[-1][name] < losses[0][name]


# The pool


def flat(value):
    return np.full((1, 4, 4, 3), value, "float32")


def test_the_pool_shows_the_first_as_they_come_then_exchanges_half():
    pool, seen, fresh = lesson.Pool(50, 4, seed=3), [], []
    exchange = tf.function(pool.exchange)
    for number in range(450):
        shown = exchange(flat(number))
        assert shown.shape == (1, 4, 4, 3)
        seen.append(int(shown[0, 0, 0, 0]))
        fresh.append(seen[-1] == number)
    assert all(fresh[:50]) and 0.4 < np.mean(fresh[50:]) < 0.6
    times = np.bincount(seen, minlength=450)  # the first are shown as they come, and once more when they leave
    assert times[:50].max() == 2 and times[50:].max() == 1, "a picture left the pool and is in it still"
    kept = set(pool.pictures.numpy()[:, 0, 0, 0].astype(int))
    assert len(kept) == 50 and kept | set(seen) == set(range(450)), "a picture was lost"
    ages = np.arange(50, 450)[~np.array(fresh[50:])] - np.array(seen[50:])[~np.array(fresh[50:])]
    assert 60 < ages.mean() < 140  # each place of 50 is exchanged every 100 pictures on average


def test_a_batch_goes_through_the_pool_picture_by_picture():
    pools = [lesson.Pool(3, 4, seed=1) for _ in range(2)]
    pictures = np.concatenate([flat(number) for number in range(8)])
    together = pools[0].exchange(pictures)
    alone = np.concatenate([pools[1].exchange(pictures[place : place + 1]) for place in range(8)])
    assert np.array_equal(together, alone) and int(pools[0].count) == 8


def test_the_discriminators_see_the_pool(model):
    """Once it is full, past translations are among what they are trained on."""
    model.optimizers = [types.SimpleNamespace(apply_gradients=list)] * 2  # nothing moves: faster
    given = []
    original = model.discriminator_loss
    model.discriminator_loss = lambda a, b, past_a, past_b: given.append(past_b) or original(a, b, past_a, past_b)
    fakes = []
    losses = model.generator_losses

    def keep(a, b):
        fake_a, fake_b, values = losses(a, b)
        fakes.append(fake_b)
        return fake_a, fake_b, values

    model.generator_losses = keep
    for seed in range(5):
        model.train_step(*real_batch(seed=seed))
    pairs = zip(np.concatenate(given), np.concatenate(fakes), strict=True)
    new = np.array([np.array_equal(*pair) for pair in pairs])
    assert new[:3].all() and 0 < (~new).sum() < 7


# Data


def test_domains_of_unequal_lengths_are_all_seen():
    domains = make_domains(7, 4)
    both = lesson.batches(domains, dataclasses.replace(SMALL, batch_size=2))
    seen = [set(), set()]
    for pair in both.dataset().take(12):
        for place, images in enumerate(pair):
            assert images.shape == (2, 32, 32, 3)
            seen[place] |= set(np.round((np.asarray(images)[:, 0, 0, 0] + 1) * 127.5).astype(int))
    assert seen == [set(range(7)), set(range(100, 104))] and both.steps_per_epoch == 3


def make_domains(first, second):
    sides = [np.arange(first), np.arange(100, 100 + second)]
    parts = [np.broadcast_to(side.astype(np.uint8)[:, None, None, None], (len(side), 32, 32, 3)) for side in sides]
    made = [emoji.Domain(part, part, ("x",) * len(part), name) for part, name in zip(parts, "AB", strict=True)]
    return datasets.Domains(*made, matched=None, name="grey", things="squares")


def test_pictures_are_mirrored_or_left():
    images = np.repeat(np.arange(8, dtype=np.uint8)[None, None, :, None] * 30, 64, axis=0).repeat(3, axis=-1)
    result = np.asarray(lesson.augmented(tf.constant(images), tf.constant([1, 2])))
    mirrored = [np.array_equal(image, lesson.scaled(images[0, :, ::-1])) for image in result]
    left = [np.array_equal(image, lesson.scaled(images[0])) for image in result]
    assert 15 < sum(mirrored) < 49 and sum(mirrored) + sum(left) == 64


def test_no_counterpart_of_a_held_out_emoji_was_trained_on():
    """Not even another variant of the same drawing, in either style."""
    parts, drawings = emoji.split(emoji.emoji()), emoji.emoji()
    test = {drawings[code].drawing for code in parts["test"]}
    assert not test & {drawings[code].drawing for code in parts["train"]}
    domains = emoji.draw_domains(12, 32)
    pictures = [
        {image.tobytes() for image in (*domain.train, *domain.test)} for domain in (domains.first, domains.second)
    ]
    assert not pictures[0] & pictures[1]


# Networks


def test_a_picture_does_not_depend_on_its_batch_mates(model):
    a, others = real_batch(3)
    mixed = tf.concat([a[:1], others], 0)
    for network in (model.generator_ab, model.discriminator_b):
        assert np.asarray(network(mixed, training=True))[:1] == pytest.approx(np.asarray(network(a[:1])), abs=1e-5)


def test_instance_norm_is_by_picture_and_channel():
    images = np.random.default_rng(0).normal(3, 2, (2, 5, 5, 4)).astype("float32")
    norm = lesson.InstanceNorm()
    result = np.asarray(norm(images))
    wanted = (images - images.mean((1, 2), keepdims=True)) / np.sqrt(images.var((1, 2), keepdims=True) + 1e-5)
    assert result == pytest.approx(wanted, abs=1e-4)
    norm.gamma.assign([1, 2, 3, 4]), norm.beta.assign([4, 3, 2, 1])
    assert np.asarray(norm(images)) == pytest.approx(wanted * [1, 2, 3, 4] + [4, 3, 2, 1], abs=1e-3)


def test_instance_norm_refuses_maps_of_one_place():
    """There it gives beta, whatever comes in."""
    with pytest.raises(ValueError, match="1 x 1"):
        lesson.InstanceNorm()(np.ones((2, 1, 1, 4), "float32"))
    norm = lesson.InstanceNorm()
    norm.build((None, 8, 8, 4))
    assert not np.asarray(norm.call(np.random.default_rng(0).normal(size=(2, 1, 1, 4)).astype("float32"))).any()


def test_networks_of_the_default_preset():
    settings = lesson.Config()
    generator = lesson.build_generator(settings, "generator")
    pictures = np.random.default_rng(0).uniform(-1, 1, (1, 64, 64, 3)).astype("float32")
    result = np.asarray(generator(pictures))
    assert result.shape == pictures.shape and np.abs(result).max() <= 1
    assert lesson.build_discriminator(settings, "discriminator")(pictures).shape == (1, 16, 16, 1)
    smallest = min(layer.output.shape[1] for layer in generator.layers if isinstance(layer, keras.layers.Conv2D))
    assert smallest == 16


# Measures


def test_ranks_of_counterparts():
    others = np.stack([np.full((64, 64, 3), value) for value in (0.0, 0.25, 0.5, 1.0)])
    matched = np.array([2, 3, 0])
    pictures = np.stack([np.full((64, 64, 3), value) for value in (0.45, 0.2, 0.0)])
    # 0.45 is nearest to 0.5; 0.2 to 0.25, 0, 0.5, and 1.0 is last; 0 is its own
    assert list(lesson.counterpart_ranks(pictures, others, matched)) == [1, 4, 1]
    same = np.ones((4, 64, 64, 3))
    assert list(lesson.counterpart_ranks(pictures, same, matched)) == [4, 4, 4], "all alike: nothing was found"


def test_ways_belong_to_their_counterparts():
    domains = emoji.draw_domains(10, 32)
    ways = lesson.there_and_back(lambda pictures: pictures / 2, lambda pictures: pictures / 4, domains)
    a, fake_b, back_a, truth_b = ways["ab"]
    b, fake_a, back_b, truth_a = ways["ba"]
    assert np.allclose(fake_b, a / 2) and np.allclose(back_a, a / 8) and np.allclose(fake_a, b / 4)
    assert np.allclose(back_b, b / 8) and len(truth_a) == len(truth_b) == 10
    for place, match in enumerate(domains.matched):
        assert np.array_equal(truth_b[place], b[match]) and np.array_equal(truth_a[match], a[place])


def test_rounding_and_blur():
    pictures = np.array([[[[0.1, 0.5, 0.9]]]], "float32").repeat(64, 1).repeat(64, 2)
    assert lesson.rounded(pictures)[0, 0, 0] == pytest.approx([26 / 255, 128 / 255, 230 / 255])
    assert lesson.blurred(pictures) == pytest.approx(pictures, abs=1e-6)
    checks = pictures.copy()
    checks[:, ::2, ::2] += 0.05  # a code of single pixels
    assert lesson.blurred(checks).std(axis=(1, 2)).max() < 0.4 * checks.std(axis=(1, 2)).max()


# Runs


def play(folder, *flags, interrupt_at=None) -> tuple:
    """One training, without figures: variables and history."""
    argv = ["--preset", "smoke", "--output-dir", str(folder), *flags]
    with lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv) as run:
        domains = lesson.load(run)
        model = lesson.CycleGAN(dataclasses.replace(run.config, pool=3), 10)
        if interrupt_at:
            stop = interrupting(lambda arguments: step(*arguments), interrupt_at)
            step, model.train_step = model.train_step, lambda *arguments: stop(arguments)
        history = lesson.train(run, model, domains, "cycle")
        return [np.array(variable) for variable in model.variables], history


@pytest.mark.slow
def test_resumed_run_equals_unbroken_one(tmp_path, capsys):
    check_resuming(play, tmp_path, capsys, epochs=[2, 4, 6], pause=False)


def test_all_that_a_step_changes_is_in_the_checkpoint(model):
    assert len(model.variables) == len({id(variable) for variable in model.variables})
    before = values(model.variables)
    first = model.train_step(*real_batch())
    restart(model.variables, before)
    again = model.train_step(*real_batch())
    assert all(float(first[name]) == float(again[name]) for name in first)
    names = {id(variable) for variable in model.variables}
    assert all(id(pool.count) in names and id(pool.pictures) in names for pool in (model.pool_a, model.pool_b))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["RGB", "LA", "P"])
def test_an_own_picture_needs_no_new_training(tmp_path, capsys, mode):
    flags = ("--preset", "smoke", "--output-dir", str(tmp_path))
    lesson.main(flags)
    Image.new("RGB", (100, 80), (200, 40, 40)).convert(mode).save(tmp_path / "own.png")
    capsys.readouterr()
    lesson.main([*flags, "--resume", "--picture", str(tmp_path / "own.png")])
    assert "cycle: resumed at step 4 of 4" in capsys.readouterr().out
    card = read_card(tmp_path, "19_emoji_CycleGAN")
    assert "19_emoji_CycleGAN/picture.png" in card["files"]
    assert [entry["name"] for entry in card["data"]] == ["OpenMoji, CC BY-SA 4.0", "Twemoji, CC BY 4.0"]
    directions = {f"{name}_{way}" for name in ("domain_share", "match_rank", "copy_rank") for way in ("ab", "ba")}
    assert directions | {"cycle_l1", "cycle_l1_rounded", "cycle_l1_blurred", "cycle_l1_without"} <= set(card["metrics"])


def broken_png(path):
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"broken" * 9)


def text(path):
    path.write_text("no picture")


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (None, "no such picture"),
        (text, "not a picture"),
        (broken_png, "picture"),
        (lambda path: path.mkdir(), "a folder"),
    ],
)
def test_bad_pictures(tmp_path, capsys, make, complaint):
    path = tmp_path / "own.png"
    if make:
        make(path)
    check_refused(tmp_path, capsys, ("--picture", str(path)), complaint)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (("--limit", "3"), "too few"),
        (("--size", "65"), "--size"),
        (("--pool", "0"), "--pool"),
        (("--dataset", "horse2zebra", "--data", "real"), "place horse2zebra.zip"),
    ],
)
def test_bad_input(tmp_path, capsys, flags, complaint):
    check_refused(tmp_path, capsys, flags, complaint)


def check_refused(folder, capsys, flags, complaint):
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--output-dir", str(folder / "out"), *flags])
    assert stop.value.code == 2
    complaint_lines = capsys.readouterr().err.splitlines()
    assert len(complaint_lines) == 1 and complaint in complaint_lines[0] and not any(folder.glob("out/*"))
