"""Lesson 24: the gradient past the codes, the moving codebook, a prior of frozen codes that cannot see ahead."""

import dataclasses

from lessonkit import lossy
from lessonkit.datasets.source import LabelledImages, Split

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import interrupting, load_lesson, read_card
from keras import ops

lesson = load_lesson("24_FashionMNIST_VQVAE")
SMALL = dataclasses.replace(
    lesson.Config(), channels=8, codes=16, code_dim=4, heads=2, head_width=8, blocks=2, batch_size=8, steps=3
)


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    return np.random.default_rng(0).uniform(0, 1, (8, 28, 28, 1)).astype("float32")


@pytest.fixture
def vqvae(pictures):
    keras.utils.set_random_seed(2)
    model = lesson.VQVAE(SMALL, variance=0.1)
    model.codebook.vectors.assign(0.3 * np.random.default_rng(1).standard_normal((16, 4)))
    return model


@pytest.fixture(scope="module")
def prior():
    keras.utils.set_random_seed(3)
    random = np.random.default_rng(0)
    model = lesson.Prior(SMALL, random.standard_normal((16, 4)).astype("float32"))
    for variable in model.trainable_variables:
        variable.assign(random.normal(0, 0.4, variable.shape))
    return model


def gradients(vqvae, pictures) -> tuple:
    """Of the loss, to: z, q, codebook, the first weights of encoder and decoder; and what `call` returned."""
    with tf.GradientTape() as tape:
        tape.watch(vqvae.codebook.vectors.value)
        out = vqvae(pictures, training=True)
        loss = vqvae.compute_loss(pictures, None, out, training=False)
    weights = vqvae.encoder.trainable_variables[0], vqvae.decoder.trainable_variables[0]
    return out, *tape.gradient(loss, [out["z"], out["q"], vqvae.codebook.vectors.value, *weights])


def test_the_gradient_is_copied_from_the_codes_to_the_encoder(vqvae, pictures):
    """Straight through: at z it is what it would be at q, and the codebook gets none."""
    vqvae.beta, vqvae.variance = 0.0, 1.0  # the reconstruction alone
    out, at_z, at_q, codebook, encoder, decoder = gradients(vqvae, pictures)
    quantised = tf.constant(np.asarray(out["q"]))
    with tf.GradientTape() as tape:
        tape.watch(quantised)
        loss = ops.mean(ops.square(vqvae.decoder(quantised) - pictures))
    wanted = np.asarray(tape.gradient(loss, quantised))
    assert np.abs(wanted).max() > 1e-5 and not np.allclose(out["z"], quantised, atol=0.05)
    assert np.asarray(at_z) == pytest.approx(wanted, rel=1e-3, abs=1e-8)
    assert not np.any(at_q or 0) and not np.any(codebook or 0)
    assert np.abs(encoder).max() > 0 and np.abs(decoder).max() > 0


def test_the_commitment_reaches_the_encoder_alone(vqvae, pictures):
    vqvae.beta, vqvae.variance = 1.0, np.inf  # the commitment alone
    out, at_z, at_q, codebook, encoder, decoder = gradients(vqvae, pictures)
    wanted = 2 * np.asarray(out["z"] - out["q"]) / np.size(out["z"])
    assert np.asarray(at_z) == pytest.approx(wanted, rel=1e-4, abs=1e-9)
    assert np.abs(encoder).max() > 0 and not np.any(decoder)
    assert not np.any(at_q or 0) and not np.any(codebook or 0)


def test_the_decoder_gets_the_codes_not_the_vectors(vqvae, pictures):
    out = vqvae(pictures)
    assert np.array_equal(out["q"], vqvae.codebook(out["codes"]))
    assert np.asarray(out["pictures"]) == pytest.approx(np.asarray(vqvae.decoder(out["q"])), abs=1e-5)


def test_only_a_training_step_moves_the_codebook(vqvae, pictures):
    before, out = np.array(vqvae.codebook.vectors), vqvae(pictures)
    vqvae.compute_loss(pictures, None, out, training=False)
    assert np.array_equal(vqvae.codebook.vectors, before)
    vqvae.compute_loss(pictures, None, out, training=True)
    assert not np.array_equal(vqvae.codebook.vectors, before)


def test_the_nearest_vector_is_the_nearest(vqvae):
    vectors = np.random.default_rng(4).standard_normal((3, 7, 7, 4)).astype("float32")
    book = np.asarray(vqvae.codebook.vectors)
    wanted = np.argmin(np.sum((vectors[..., None, :] - book) ** 2, axis=-1), axis=-1)
    assert np.array_equal(vqvae.codebook.nearest(vectors), wanted)
    assert np.array_equal(vqvae.codebook(wanted), book[wanted])


def test_a_vector_follows_the_mean_of_its_own():
    """Decay 0.97 of count and sum, by hand over two batches; a code that is used enough is not replaced."""
    book = lesson.Codebook(dataclasses.replace(SMALL, codes=2, least_use=0.01, decay=0.97))
    book.use.assign([10.0, 10.0])
    book.total.assign(10 * np.array([[0.0] * 4, [1.0] * 4], "float32"))
    use, total, random = np.full(2, 10.0), np.array([[0.0] * 4, [10.0] * 4]), np.random.default_rng(0)
    for _ in range(2):
        vectors, codes = random.standard_normal((12, 4)).astype("float32"), np.array([0] * 9 + [1] * 3)
        assert float(book.follow(vectors, codes)) == 0
        use = 0.97 * use + 0.03 * np.array([9, 3])
        total = 0.97 * total + 0.03 * np.stack([vectors[:9].sum(0), vectors[9:].sum(0)])
    assert np.asarray(book.vectors) == pytest.approx(total / use[:, None], abs=1e-6)


def test_dead_codes_are_replaced_by_vectors_of_the_batch():
    """All vectors belong to code 0; the other 15 die and are then among the vectors. Without it they stay for ever."""
    vectors = np.random.default_rng(0).normal(5, 1, (64, 4)).astype("float32")
    for least_use, replaced in ((0.2, 15), (0.0, 0)):
        book = lesson.Codebook(dataclasses.replace(SMALL, least_use=least_use))
        book.use.assign([4.0] + [0.5] * 15)
        book.total.assign(np.zeros((16, 4)))
        assert float(book.follow(vectors, np.zeros(64, "int32"))) == replaced
        among = [np.any(np.all(np.isclose(vectors, vector, atol=1e-5), axis=1)) for vector in np.asarray(book.vectors)]
        assert np.count_nonzero(among) == replaced


def test_perplexity_is_of_the_whole_test_set(vqvae):
    """Each batch may use few codes and the whole many, and the reverse is what a collapse looks like."""
    codes = np.repeat(np.arange(16), 49).reshape(16, 49)
    assert lesson.perplexity_of(codes, 16) == pytest.approx(16)
    assert np.mean([lesson.perplexity_of(each, 16) for each in codes]) == pytest.approx(1)
    assert lesson.perplexity_of(np.zeros((5, 49), int), 16) == pytest.approx(1)
    images = np.random.default_rng(0).integers(0, 256, (1_003, 28, 28), dtype=np.uint8)
    codes = vqvae.encode(images)
    assert codes.shape == (1_003, 49) and codes.dtype == np.int32
    assert np.array_equal(codes[-3:], vqvae.encode(images[-3:])), "all images, in order"
    wanted = np.asarray(vqvae(lesson.scaled(images[-3:]))["pictures"])[..., 0]
    assert vqvae.decode(codes[-3:]) == pytest.approx(wanted, abs=1e-5)


def test_channels_become_squares():
    hidden = np.random.default_rng(0).standard_normal((2, 7, 7, 12)).astype("float32")
    assert np.array_equal(lesson.doubled(ops.convert_to_tensor(hidden)), tf.nn.depth_to_space(hidden, 2))


def test_the_class_is_the_first_token_and_the_last_code_is_never_read():
    codes = np.arange(98).reshape(2, 49) % 16
    tokens = lesson.inputs_of(codes, np.array([0, 9]), 16)
    assert tokens.shape == (2, 49) and list(tokens[:, 0]) == [16, 25]
    assert np.array_equal(tokens[:, 1:], codes[:, :-1])


def random_tokens(count=3) -> np.ndarray:
    random = np.random.default_rng(5)
    return lesson.inputs_of(random.integers(0, 16, (count, 49)), random.integers(0, 10, count), 16)


@pytest.mark.parametrize("place", [0, 1, 20, 48])
def test_the_prior_cannot_see_ahead(prior, place):
    """A token changes the logits of its own place and of later ones, and of no earlier one."""
    tokens = random_tokens()
    changed = tokens.copy()
    changed[:, place] = (changed[:, place] + 1) % 16
    one, other = np.asarray(prior(tokens)), np.asarray(prior(changed))
    assert other[:, :place] == pytest.approx(one[:, :place], abs=1e-5)
    assert np.all(np.abs(other - one)[:, place:].max(axis=(0, 2)) > 1e-4)


def test_cached_and_uncached_logits_are_equal(prior):
    tokens = random_tokens()
    wanted, caches = np.asarray(prior(tokens)), prior.empty_cache(len(tokens))
    assert wanted.std() > 0.1
    for place in range(49):
        logits, caches = prior.step(tokens[:, place], tf.constant(place), caches)
        assert np.asarray(logits) == pytest.approx(wanted[:, place], abs=1e-5)


def test_generation_reads_what_it_drew(prior):
    """At temperature near zero every code is the likeliest one after those before it; and one seed is one draw."""
    labels = np.array([0, 4, 9])
    codes = prior.generate(labels, 1e-4, seed=1)
    likeliest = np.argmax(prior(lesson.inputs_of(codes, labels, 16)), axis=-1)
    assert np.mean(codes == likeliest) > 0.98  # Gumbel noise may decide a tie
    again = [prior.generate(labels, 1.0, seed) for seed in (1, 1, 2)]
    assert np.array_equal(again[0], again[1]) and not np.array_equal(again[0], again[2])


def test_codes_are_drawn_as_often_as_the_softmax_says(prior):
    labels = np.full(600, 3)
    drawn = np.bincount(prior.generate(labels, 2.0, seed=0)[:, 0], minlength=16) / 600
    first = np.asarray(prior(lesson.inputs_of(np.zeros((1, 49), int), labels[:1], 16)))[0, 0]
    assert drawn == pytest.approx(np.asarray(ops.softmax(first / 2.0)), abs=0.08)


def test_the_untrained_prior_knows_nothing():
    keras.utils.set_random_seed(0)
    prior, tokens = lesson.Prior(SMALL, np.zeros((16, 4), "float32")), random_tokens(20)
    nats = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(tokens[:, 1:], prior(tokens)[:, :-1])
    assert float(nats) == pytest.approx(np.log(16), abs=0.5)


def test_independent_places_cost_their_own_entropy():
    codes = np.stack([np.zeros(400, int), np.arange(400) % 2], axis=1)
    codes = np.concatenate([codes, np.tile(codes[:, :1], 47)], axis=1)
    assert lesson.independent_nats(codes, codes, 2) == pytest.approx(np.log(2) / 49, abs=0.01)


def garments(count: int, seed: int) -> Split:
    random = np.random.default_rng(seed)
    return Split(random.integers(0, 256, (count, 28, 28), dtype=np.uint8), np.arange(count, dtype=np.int32) % 10)


def test_more_quality_is_more_bits_and_pictures_come_back_in_order():
    images = np.repeat(np.repeat(garments(30, 0).images[:, ::7, ::7], 7, axis=1), 7, axis=2)
    for form, best in (("JPEG", 95), ("WebP", 100)):
        small, large = (lossy.through_file(images, form, quality) for quality in (5, best))
        assert small[0] < large[0] and small[1] < large[1] and large[1] > 28
        assert large[2].shape == (25, 28, 28), "the largest square"
        assert np.abs(large[2].astype(int) - images[:25]).mean() < 10


def play(folder, *flags, autoencoder=None, prior=None):
    """Both trainings without the rest; each may be broken off by Ctrl-C in the step of the given number."""
    argv = ["--preset", "smoke", "--output-dir", str(folder), "--steps", "6", *flags]
    with (
        pytest.MonkeyPatch.context() as patch,
        lesson.lesson.run(lesson.__file__, lesson.Config, lesson.PRESETS, argv) as run,
    ):
        data = LabelledImages(garments(40, 1), garments(20, 2), tuple("0123456789"), "noise", "noise")
        fit = run.fit

        def interrupted(model, *arguments, name, **options):
            at = {"autoencoder": autoencoder, "prior": prior}[name]
            if at:
                patch.setattr(model, "train_step", interrupting(model.train_step, at))
                model.run_eagerly = True
            return fit(model, *arguments, name=name, **options)

        patch.setattr(run, "fit", interrupted)
        vqvae, _ = lesson.train_autoencoder(run, data)
        before = [np.array(variable) for variable in vqvae.variables]
        model, history, _ = lesson.train_prior(run, vqvae, data)
        after = [np.array(variable) for variable in vqvae.variables]
        return before, after, [np.array(variable) for variable in model.variables], history


@pytest.mark.filterwarnings("ignore:Even though the")  # eager functions, but not in tf.data
def test_the_prior_is_trained_on_the_codes_of_the_frozen_encoder(eager, tmp_path, monkeypatch):
    monkeypatch.setattr(lesson.Prior, "generate", lambda self, labels, *_: np.zeros((len(labels), 49), "int32"))
    seen, batches = [], lesson.batches
    monkeypatch.setattr(lesson, "batches", lambda arrays, settings: seen.append(arrays) or batches(arrays, settings))
    kept, encode = [], lesson.VQVAE.encode

    def noted(self, images):
        kept.append([np.array(variable) for variable in self.variables])
        return encode(self, images)

    monkeypatch.setattr(lesson.VQVAE, "encode", noted)
    before, after, _, _ = play(tmp_path, "--steps", "2")
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True)), "it still moves"
    assert all(np.array_equal(one, other) for one, other in zip(kept[0], after, strict=True)), "encoded too early"
    tokens, codes = seen[1]
    assert codes.shape == (40, 49) and np.array_equal(tokens, lesson.inputs_of(codes, np.arange(40) % 10, 16))


@pytest.mark.slow
def test_a_prior_of_another_encoder_does_not_go_on(tmp_path, monkeypatch, capsys):
    """Its checkpoint holds the codebook that its codes belong to. Here the encoder is lost, and not trained again."""
    play(tmp_path)
    capsys.readouterr()
    (tmp_path / "24_FashionMNIST_VQVAE" / "checkpoints" / "autoencoder.npz").unlink()
    monkeypatch.setattr(lesson.VQVAE, "fit", lambda self, *arguments, **options: self.optimizer.iterations.assign(6))
    with pytest.raises(SystemExit) as stop:
        play(tmp_path, "--resume")
    assert stop.value.code == 2 and "belongs to another encoder" in capsys.readouterr().err


@pytest.mark.slow
def test_resumed_trainings_equal_unbroken_ones(tmp_path, capsys):
    _, vqvae, prior, history = play(tmp_path / "a")
    for number, broken in enumerate(({"autoencoder": 3}, {"prior": 3})):
        folder = tmp_path / f"b{number}"
        with pytest.raises(SystemExit) as stop:
            play(folder, **broken)
        assert stop.value.code == 130 and "--resume" in capsys.readouterr().err
        _, resumed_vqvae, resumed, resumed_history = play(folder, "--resume")
        for ones, others in ((vqvae, resumed_vqvae), (prior, resumed)):
            assert all(np.allclose(one, other, atol=1e-6) for one, other in zip(ones, others, strict=True))
        assert np.array_equal(history.frames[-1], resumed_history.frames[-1])


@pytest.mark.slow
def test_sampling_flags_need_no_new_training(tmp_path, capsys):
    flags = ["--preset", "smoke", "--output-dir", str(tmp_path)]
    lesson.main(flags)
    capsys.readouterr()
    lesson.main([*flags, "--resume", "--temperature", "0.5", "--samples", "40"])
    assert "prior: resumed at step 4 of 4" in capsys.readouterr().out
    assert read_card(tmp_path, "24_FashionMNIST_VQVAE")["config"]["temperature"] == 0.5
    kept = np.load(tmp_path / "24_FashionMNIST_VQVAE" / "checkpoints" / "generated.npz")["images"]
    assert kept.shape == (40, 28, 28) and kept.dtype == np.uint8
