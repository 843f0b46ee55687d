"""Lesson 15: the causal mask, the loss, the learning rate, samplers, the cache, prompts, and the reviews' archive."""

import dataclasses
import io
import re
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

from lessonkit import datasets, metrics, text, training
from lessonkit.config import Config, StudyError
from lessonkit.datasets.embedded import reviews

import keras
import numpy as np
import pytest
import tensorflow as tf
from conftest import load_lesson, read_card
from keras import ops

NAME = "15_IMDB_text_transformer"
lesson = load_lesson(NAME)
imdb = sys.modules["lessonkit.datasets.imdb"]
WORDS = ["", "[UNK]", "[start]", "[end]", *(f"w{number}" for number in range(45))]
FIRST_WORD = 4
SMALL = lesson.Config(width=16, heads=2, feed_forward=32)
DEEP = dataclasses.replace(SMALL, blocks=2)


def random_ids(count: int, length: int = 12, seed: int = 0) -> np.ndarray:
    """[start] and then tokens drawn uniformly from the 45 words: they cannot be predicted."""
    ids = np.random.default_rng(seed).integers(FIRST_WORD, len(WORDS), (count, length + 1)).astype("int32")
    ids[:, 0] = WORDS.index("[start]")
    return ids


def small_model(settings: lesson.Config = SMALL, spread: float = 1.0) -> keras.Model:
    """An untrained model with larger weights than usual, so that every input matters."""
    keras.utils.set_random_seed(1)
    model = lesson.build_model(settings, WORDS, random_ids(20))
    for seed, weight in enumerate(weight for weight in model.trainable_variables if len(weight.shape) == 2):
        weight.assign(keras.random.normal(weight.shape, seed=seed) * spread / weight.shape[0] ** 0.25)
    return model


# The causal mask


def largest_leak(model: keras.Model) -> float:
    """The largest change of a logit before the token that was changed."""
    ids = random_ids(4, length=11)
    before, leak = ops.convert_to_numpy(model(ids)), 0.0
    for position in range(1, ids.shape[1]):
        other = ids.copy()
        other[:, position] = FIRST_WORD + (other[:, position] - FIRST_WORD + 7) % 45
        change = np.abs(ops.convert_to_numpy(model(other)) - before)
        assert change[:, position:].max() > 1e-2, "the change must reach the later positions"
        leak = max(leak, change[:, :position].max())
    return leak


def without_mask(monkeypatch):
    monkeypatch.setattr(lesson, "causal_mask", lambda length: ops.ones((length, length), "bool"))


def test_a_later_token_changes_no_earlier_logits():
    assert largest_leak(small_model(DEEP)) == 0


def test_the_leak_test_catches_a_block_without_a_mask(monkeypatch):
    without_mask(monkeypatch)
    assert largest_leak(small_model(DEEP)) > 1e-2


def loss_on_random_tokens() -> float:
    """Held-out nats per token after a training on tokens that cannot be predicted: uniformly one of nine words."""
    keras.utils.set_random_seed(0)

    def few_words(count: int, seed: int) -> np.ndarray:
        ids = random_ids(count, 6, seed)
        ids[:, 1:] = FIRST_WORD + ids[:, 1:] % 9
        return ids

    model = lesson.build_model(dataclasses.replace(SMALL, width=32), WORDS[: FIRST_WORD + 9], few_words(20, seed=0))
    optimizer = keras.optimizers.Adam(1e-2)
    optimizer.build(model.trainable_variables)

    @tf.function
    def train_step(ids):
        with tf.GradientTape() as tape:
            inputs, targets = lesson.inputs_and_targets(ids)
            loss = lesson.masked_loss(targets, model(inputs, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables))

    for ids in tf.reshape(few_words(6_400, seed=1), (100, 64, 7)):
        train_step(ids)
    return lesson.token_nats(model, few_words(500, seed=2)).mean()


def test_random_tokens_cannot_be_predicted():
    assert np.log(9) - 0.01 <= loss_on_random_tokens() <= np.log(9) + 0.1  # 3,000 tokens: they vary by that much


def test_random_tokens_are_predicted_by_a_model_without_a_mask(monkeypatch):
    without_mask(monkeypatch)
    assert loss_on_random_tokens() < np.log(9) - 1


# The loss


def test_loss_is_the_mean_over_all_tokens_but_padding():
    logits = np.random.default_rng(0).normal(size=(2, 4, 6)).astype("float32")
    targets = np.array([[3, 2, 5, 1], [4, 3, 0, 0]])
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    wanted = -np.mean([log_p[row, place, targets[row, place]] for row, place in np.argwhere(targets != 0)])
    assert float(lesson.masked_loss(targets, logits)) == pytest.approx(wanted, rel=1e-5)
    logits[1, 2:] = 1e3 * np.arange(6)
    assert float(lesson.masked_loss(targets, logits)) == pytest.approx(wanted, rel=1e-5)


def test_padding_moves_no_weight_by_itself():
    model, ids, gradients = small_model(), random_ids(2), []
    ids[:, 6:] = 0
    for batch in (ids, ids[:, :6]):  # with and without columns of padding
        with tf.GradientTape() as tape:
            loss = lesson.masked_loss(batch[:, 1:], model(batch[:, :-1]))
        gradients.append(tape.gradient(loss, model.trainable_variables))
    for one, other in zip(*gradients, strict=True):
        assert np.allclose(tf.convert_to_tensor(one), tf.convert_to_tensor(other), atol=1e-6)


@pytest.mark.parametrize("skewed", [False, True])
def test_an_untrained_model_is_a_unigram_model(skewed):
    vocabulary = ["", "[UNK]", *(f"w{number}" for number in range(3_998))]
    generator = np.random.default_rng(0)
    share = np.arange(1, 3_999, dtype=float) ** -(1.0 if skewed else 0.0)
    ids = (2 + generator.choice(3_998, (2_000, 101), p=share / share.sum())).astype("int32")
    keras.utils.set_random_seed(0)
    model = lesson.build_model(lesson.Config(), vocabulary, ids)
    start = lesson.token_nats(model, ids[:50]).mean()
    assert start == pytest.approx(metrics.n_gram_nats(ids, ids[:50], 1, 4_000).mean(), abs=0.06)
    if not skewed:
        assert start == pytest.approx(np.log(4_000), abs=0.1)


@pytest.mark.parametrize(("preset", "parameters"), [("default", 1_239_328), ("full", 9_036_184)])
def test_parameter_counts(preset, parameters):
    settings = dataclasses.replace(lesson.Config(), **lesson.PRESETS.get(preset, {}))
    vocabulary = ["", "[UNK]", *map(str, range(settings.vocabulary - 2))]
    assert lesson.build_model(settings, vocabulary, np.ones((1, 101), int)).count_params() == parameters


def test_a_width_that_is_not_divisible_by_the_heads():
    with pytest.raises(StudyError, match="--heads 3"):
        small_model(dataclasses.replace(SMALL, heads=3))


# The learning rate


def test_the_rate_is_zero_after_the_last_step():
    model, ids, rates = small_model(), random_ids(64), []

    def fit(model, batches, validation):
        schedule = model.optimizer._learning_rate
        rates.extend(float(schedule(step)) for step in range(201))
        return SimpleNamespace(epochs=[1])

    settings = dataclasses.replace(SMALL, steps=200, epochs=1_000, learning_rate=0.01)
    lesson.train(SimpleNamespace(config=settings, fit=fit), model, ids, ids[:4])
    assert rates[0] == 0 and np.argmax(rates) == 10 and max(rates) == pytest.approx(0.01)
    assert (np.diff(rates[10:]) < 0).all() and rates[200] == pytest.approx(0, abs=1e-9)


# The baselines


@pytest.mark.parametrize("order", [1, 2, 3])
def test_n_gram_probabilities_sum_to_one(order):
    ids = np.random.default_rng(0).integers(1, 6, (30, 9))
    keys, counts = np.unique(metrics._n_grams(ids, order, 7), return_counts=True)
    for past in [*np.unique(keys // 7), 7 ** (order - 1) - 1]:  # the last one was never seen
        asked = past * 7 + np.arange(7)
        assert metrics._kneser_ney(keys, counts, asked, order, 7).sum() == pytest.approx(1)


def test_the_bigram_model_reaches_the_entropy_of_a_markov_chain():
    generator = np.random.default_rng(0)
    chain = generator.dirichlet(np.full(8, 0.3), size=8)
    ids = np.zeros((3_000, 21), int)
    for place in range(1, 21):
        steps = (generator.random(3_000)[:, None] > chain[ids[:, place - 1]].cumsum(axis=1)).sum(axis=1)
        ids[:, place] = np.minimum(steps, 7)
    ids += 1
    true = -np.log(chain[ids[2_000:, :-1] - 1, ids[2_000:, 1:] - 1])
    unigram, bigram, trigram = (metrics.n_gram_nats(ids[:2_000], ids[2_000:], order, 9).mean() for order in (1, 2, 3))
    assert bigram == pytest.approx(true.mean(), rel=0.01)
    assert bigram <= trigram < unigram


def test_padding_and_the_first_token_are_no_n_grams():
    ids = np.array([[2, 5, 6, 0], [2, 7, 0, 0]])
    assert metrics._n_grams(ids, 1, 10).tolist() == [5, 6, 7]
    assert metrics._n_grams(ids, 2, 10).tolist() == [25, 56, 27]
    assert metrics._n_grams(ids, 3, 10).tolist() == [25, 256, 27]


# Samplers

LOGITS = np.log(np.array([[0.05, 0.5, 0.25, 0.15, 0.05], [0.2, 0.2, 0.2, 0.2, 0.2]], "float32"))


def kept(logits) -> list[list[int]]:
    return [np.flatnonzero(np.isfinite(row)).tolist() for row in ops.convert_to_numpy(logits)]


def test_top_k_keeps_k():
    assert kept(lesson.keep_top_k(LOGITS, np.array([1, 5]))) == [[1], [0, 1, 2, 3, 4]]
    assert kept(lesson.keep_top_k(LOGITS, np.array([3, 9]))) == [[1, 2, 3], [0, 1, 2, 3, 4]]
    assert kept(lesson.filtered(LOGITS, np.ones(2, "float32"), k=np.array([0, 1])))[0] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("p", "wanted"), [(1e-6, [1]), (0.5, [1]), (0.51, [1, 2]), (0.8, [1, 2, 3])])
def test_top_p_keeps_the_smallest_set_that_reaches_p(p, wanted):
    assert kept(lesson.keep_top_p(LOGITS, np.full(2, p, "float32")))[0] == wanted


def test_top_p_of_one_keeps_all():
    assert kept(lesson.keep_top_p(LOGITS, np.ones(2, "float32"))) == [[0, 1, 2, 3, 4]] * 2


def test_cuts_keep_the_ratios_and_temperature_sharpens():
    cut = ops.convert_to_numpy(ops.softmax(lesson.keep_top_k(LOGITS, np.array([2, 2]))))[0]
    assert cut == pytest.approx([0, 2 / 3, 1 / 3, 0, 0], abs=1e-6)
    half = ops.convert_to_numpy(ops.softmax(lesson.with_temperature(LOGITS, np.full(2, 0.5, "float32"))))[0]
    squares = np.exp(LOGITS[0]) ** 2
    assert half == pytest.approx(squares / squares.sum(), rel=1e-4)


def test_temperature_to_zero_is_argmax():
    for temperature in (0.0, 1e-4):
        cold = ops.softmax(lesson.with_temperature(LOGITS[:1], np.full(1, temperature, "float32")))
        assert ops.convert_to_numpy(cold)[0] == pytest.approx([0, 1, 0, 0, 0])
    assert int(lesson.greedy(LOGITS)[0]) == 1


# Generation


def naive(model: keras.Model, prompt: list[int], tokens: int, suppressed: np.ndarray) -> list[int]:
    """The tutorials' form: all of the text through the model for every token, and the most likely one taken."""
    ids = list(prompt)
    for _ in range(tokens):
        ids.append(int(np.argmax(ops.convert_to_numpy(model(np.array([ids])))[0, -1] + suppressed)))
        if ids[-1] == WORDS.index("[end]"):
            break
    return ids


def test_cached_logits_equal_uncached_ones():
    model, ids = small_model(DEEP), random_ids(3)[:, :12]
    generator = lesson.TextGenerator(model)
    whole, caches = ops.convert_to_numpy(model(ids)), generator.empty_cache(3)
    for position in range(12):
        logits, caches = generator.step(ids[:, position], tf.constant(position), caches)
        assert np.abs(ops.convert_to_numpy(logits) - whole[:, position]).max() < 1e-4


@pytest.mark.parametrize("words", [0, 4])
def test_a_prompt_of_any_length_is_continued_after_its_last_token(words):
    model = small_model(DEEP)
    generator = lesson.TextGenerator(model)
    prompt = random_ids(1)[:, : 1 + words]
    greedily = lesson.generate_texts(generator, prompt, [(0.0, 0, 1.0)], 1, 6, seed=0)[0, 0]
    wanted = naive(model, prompt[0].tolist(), 6, generator.suppressed)
    assert greedily[: len(wanted)].tolist() == wanted
    assert not greedily[len(wanted) :].any()


def test_a_low_temperature_generates_what_greedy_generates():
    generator, prompt = lesson.TextGenerator(small_model(), endless=True), random_ids(1)[:, :2]
    greedy, cold, warm = lesson.generate_texts(
        generator, prompt, [(0.0, 0, 1.0), (1e-4, 0, 1.0), (2.0, 0, 1.0)], 1, 8, seed=0
    )
    assert greedy.tolist() == cold.tolist() != warm.tolist()


def test_draws_follow_the_probabilities():
    model = small_model()
    generator, prompt = lesson.TextGenerator(model), random_ids(1)[:, :2]
    drawn = lesson.generate_texts(generator, prompt, [(1.0, 0, 1.0)], 4_000, 1, seed=0)[0, :, -1]
    wanted = ops.convert_to_numpy(ops.softmax(model(prompt)[0, -1] + generator.suppressed))
    assert np.bincount(drawn, minlength=len(WORDS)) / 4_000 == pytest.approx(wanted, abs=0.03)


def test_same_seed_same_texts():
    generator, prompt = lesson.TextGenerator(small_model()), random_ids(1)[:, :2]
    first, again, other = (lesson.generate_texts(generator, prompt, [(1.0, 5, 0.9)], 3, 8, seed) for seed in (7, 7, 8))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    assert len({tuple(ids) for ids in first[0]}) > 1, "texts of one batch have draws of their own"


def test_a_text_stops_at_its_end_and_never_holds_what_is_no_word():
    model = small_model()
    model.layers[-1].bias.assign(np.where(np.arange(len(WORDS)) < FIRST_WORD, 6.0, 0.0))
    generator, prompt = lesson.TextGenerator(model), random_ids(1)[:, :3]
    texts = lesson.generate_texts(generator, prompt, [(1.0, 0, 1.0)], 50, 9, seed=0)[0, :, 3:]
    for ids in texts:
        length = np.count_nonzero(ids)
        assert length == 9 or ids[length - 1] == WORDS.index("[end]")
        assert not ids[length:].any() and (ids[: length - 1] >= FIRST_WORD).all()
    endless = lesson.generate_texts(lesson.TextGenerator(model, endless=True), prompt, [(1.0, 0, 1.0)], 50, 9, seed=0)[
        0, :, 3:
    ]
    assert (endless >= FIRST_WORD).all()


def test_the_window_ends_a_text():
    generator, prompt = lesson.TextGenerator(small_model(), endless=True), random_ids(1)[:, :3]
    assert generator.length == 12
    texts = lesson.generate_texts(generator, prompt, [(1.0, 0, 1.0)], 2, 500, seed=0)
    assert texts.shape == (1, 2, 13) and (texts[..., 3:] >= FIRST_WORD).all()
    with pytest.raises(ValueError, match="13 tokens do not fit into a window of 12"):
        small_model()(random_ids(1))


def test_save_load_same_texts(tmp_path):
    model = small_model()
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert np.array_equal(model(random_ids(2)[:, :9]), loaded(random_ids(2)[:, :9]))
    assert lesson.TextGenerator(loaded).vocabulary == WORDS


def test_statistics_of_greedy_and_of_random_texts():
    model = small_model(spread=0.1)
    generator, prompt = lesson.TextGenerator(model, endless=True), random_ids(1)[:, :2]
    samplers = [(0.0, 0, 1.0), (1.0, 0, 1.0), (1.0, 5, 1.0)]
    texts = lesson.generate_texts(generator, prompt, samplers, 4, 11, seed=0)
    greedy, free, cut = (lesson.describe(model, ids, 2, sampler) for ids, sampler in zip(texts, samplers, strict=True))
    assert greedy[0] == pytest.approx(0, abs=1e-3)
    assert np.log(30) < free[0] <= np.log(49) and np.log(4) < cut[0] <= np.log(5) + 1e-4
    assert greedy[2] <= free[2], "the most likely tokens are at least as likely as drawn ones"
    real = np.concatenate([prompt.repeat(4, axis=0), texts[1][:, 2:]], axis=1)
    alone = lesson.token_nats(model, real).reshape(4, -1)[:, 1:].mean()
    assert free[2] == pytest.approx(alone, rel=1e-4)


# Text to tokens and back


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [
        ("A film.<br /><br />It's GOOD!", "a film . it's good !"),
        ("'Quoted' don't, the actors' work", "quoted don't , the actors work"),
        ("well-made -- really - 8/10 (yes)", "well - made – really – 8 / 10 ( yes )"),
        ('"No," she said; caf\u00e9 \u2603 #1', '" no , " she said ; caf\u00e9 1'),
        ("[end] [start] <end>", "end start end"),
    ],
)
def test_punctuation_is_kept_and_html_is_not(raw, tokens):
    found = text.standardise(tf.constant([raw]))[0].numpy().decode().split()
    assert found == ["[start]", *tokens.split(), "[end]"]


def test_reviews_of_the_grammar_become_the_tokens_of_the_grammar():
    texts = reviews.draw(300, seed=3)
    for found, raw in zip(text.standardise(tf.constant(texts)).numpy(), texts, strict=True):
        assert found.decode().split()[1:-1] == re.findall(reviews.TOKEN_PATTERN, raw.lower())


def set_again(tokens: list[str]) -> str:
    vocabulary = ["", *dict.fromkeys(tokens)]
    return text.readable([vocabulary.index(token) for token in tokens], vocabulary)


def test_tokens_become_readable_text():
    for raw in reviews.draw(200, seed=4):
        assert set_again(text.standardise(tf.constant([raw]))[0].numpy().decode().split()).lower() == raw.lower()
    tokens = ['"', "it's", "well", "-", "made", "!", '"', "i", "said", "(", "to", "8", "/", "10", "people", ")", "."]
    assert set_again(tokens) == '"It\'s well-made!" I said (to 8/10 people).'


def test_tokenise_cuts_pads_and_learns_from_the_training_texts_alone():
    train, held_out, vocabulary = text.tokenise(
        ["one two two three.", "two"] * 60, ["two unseen.", "one " * 30], 4_000, 8
    )
    assert vocabulary[:2] == ["", "[UNK]"] and "unseen" not in vocabulary
    assert train.shape == (120, 7) and held_out.shape == (2, 7) and train.dtype == np.int32
    assert [vocabulary[token] for token in train[0]] == ["[start]", "one", "two", "two", "three", ".", "[end]"]
    assert [vocabulary[token] for token in held_out[0]] == ["[start]", "two", "[UNK]", ".", "[end]", "", ""]
    assert [vocabulary[token] for token in held_out[1]] == ["[start]", *["one"] * 6], "a text that is cut has no end"
    inputs, targets = lesson.inputs_and_targets(train)
    assert np.array_equal(inputs[:, 1:], targets[:, :-1])


# The reviews


def archive(path: Path, members: dict[str, bytes | None]) -> Path:
    """A .tar.gz of files; None makes a symbolic link that leads out of the archive."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            if content is None:
                member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
            member.size = len(content or b"")
            tar.addfile(member, io.BytesIO(content or b""))
    return path


MEMBERS = {
    f"aclImdb/{part}/{kind}/{number}_7.txt": f"{part} {kind} {number} caf\u00e9".encode()
    for part in ("train", "test")
    for kind in ("pos", "neg")
    for number in range(5)
}
JUNK = {
    "aclImdb/train/unsup/0_0.txt": b"no label",
    "aclImdb/train/urls_pos.txt": b"http://",
    "aclImdb/imdbEr.txt": b"0.5",
    "aclImdb/train/pos/notes.txt": b"stray",
    "aclImdb/train/neg/77_1.txt": None,
}
OUTSIDE = {"../../evil.txt": b"out", "/tmp/evil.txt": b"out"}


def test_only_the_four_folders_are_read_and_nothing_is_unpacked(tmp_path):
    path = archive(tmp_path / "aclImdb_v1.tar.gz", MEMBERS | JUNK | OUTSIDE)
    texts = imdb.read(path)
    assert sorted(texts.train) == sorted(f"train {kind} {n} caf\u00e9" for kind in ("pos", "neg") for n in range(5))
    assert len(texts.test) == 10 and all(review.startswith("test ") for review in texts.test)
    assert [entry.name for entry in tmp_path.iterdir()] == ["aclImdb_v1.tar.gz"]


def test_the_folder_gives_what_the_archive_gives(tmp_path):
    path = archive(tmp_path / "aclImdb_v1.tar.gz", dict(reversed(MEMBERS.items())))
    for name, content in (MEMBERS | JUNK).items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content or b"")
    (tmp_path / "aclImdb/train/neg/77_1.txt").unlink()
    assert imdb.read(tmp_path / "aclImdb") == imdb.read(path)


def make_run(**settings):
    said: list[str] = []
    part = __import__("contextlib").nullcontext
    run = SimpleNamespace(config=Config(**settings), online=False, said=said, say=said.append)
    run.part, run.record_data = lambda name: part(), lambda *entry: said.append(entry)
    return run


def test_the_data_folder_comes_first_and_the_limit_counts_for_both_parts(tmp_path):
    archive(tmp_path / "aclImdb_v1.tar.gz", MEMBERS)
    run = make_run(data_dir=tmp_path, limit=3)
    texts = datasets.imdb(run)
    assert len(texts.train) == len(texts.test) == 3
    assert run.said[-1][1:3] == ("real", "aclImdb_v1.tar.gz in the data folder")
    assert texts.train == datasets.imdb(make_run(data_dir=tmp_path)).train[:3]


def test_without_a_network_the_reviews_come_from_the_grammar():
    run = make_run(limit=4)
    assert datasets.imdb(run).train == reviews.draw(4, seed=0)
    assert run.said[-1][1] == "embedded"
    with pytest.raises(StudyError, match="aclImdb_v1.tar.gz"):
        datasets.imdb(make_run(data="real"))


@pytest.mark.parametrize("damage", ["truncated", "no archive", "no reviews", "only training reviews"])
def test_broken_archives_end_with_one_line(tmp_path, damage):
    path = archive(tmp_path / "aclImdb_v1.tar.gz", MEMBERS | {"aclImdb/big": np.random.default_rng(0).bytes(50_000)})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:20_000])
    elif damage == "no archive":
        path.write_bytes(b"<html>404</html>" * 100)
    elif damage == "no reviews":
        archive(path, JUNK)
    else:
        archive(path, {name: content for name, content in MEMBERS.items() if "train" in name})
    with pytest.raises(StudyError, match=re.escape(str(path))):
        datasets.imdb(make_run(data_dir=tmp_path))


# Few reviews, and short ones


@pytest.mark.slow
@pytest.mark.parametrize("words", [3, pytest.param(40, marks=pytest.mark.slow)])
def test_one_review_per_folder_is_enough(tmp_path, words):
    review = ("this is a film . " * words)[: 5 * words].encode()
    members = {f"aclImdb/{part}/{kind}/0_7.txt": review for part in ("train", "test") for kind in ("pos", "neg")}
    archive(tmp_path / "aclImdb_v1.tar.gz", members)
    flags = ["--preset", "smoke", "--data", "real", "--data-dir", str(tmp_path), "--prompt", "this"]
    lesson.main([*flags, "--output-dir", str(tmp_path / "output")])
    metrics_of_run = read_card(tmp_path / "output", NAME)["metrics"]
    assert all(np.isfinite(entry["value"]) for entry in metrics_of_run.values())


@pytest.mark.parametrize("part", ["training", "test"])
def test_empty_reviews_are_refused_before_the_training(part):
    texts = {"training": ["a film"], "test": ["a film"], part: ["", "<br />", " # "]}
    with pytest.raises(StudyError, match=f"all {part} texts are empty"):
        text.tokenise(texts["training"], texts["test"], 100, 8)


def test_the_example_is_a_sentence_where_there_is_one():
    vocabulary = ["", "[UNK]", "[start]", "[end]", ".", "a"]
    sentence = [2, 5, 5, 4]
    for others in ([2, 5, 3, 0], [2, 1, 5, 4], [2, 5, 5, 5]):  # too short, an unknown word, no full stop
        ids = np.array([others, sentence, sentence])
        assert text.example_sentence(ids, vocabulary, 4).tolist() == sentence
    assert text.example_sentence(np.array([[2, 5, 3, 0]]), vocabulary, 16).tolist() == [2, 5, 3]


# The command line


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """The output folder of a smoke run."""
    folder = tmp_path_factory.mktemp("trained")
    lesson.main(["--preset", "smoke", "--output-dir", str(folder)])
    return folder


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_generate_only_prints_and_leaves_everything_as_it_was(trained, capsys):
    before = files_of(trained)
    flags = ["--preset", "smoke", "--output-dir", str(trained), "--generate-only", "--prompt", "This is a"]
    lesson.main(flags)
    first = capsys.readouterr().out
    lesson.main(flags)
    assert capsys.readouterr().out == first and first.count("\nThis is a") == 3
    lesson.main([*flags, "--prompt", "This zyzzyva is", "--temperature", "0"])
    note, *greedy = capsys.readouterr().out.split("\n\n")
    assert greedy[0].strip() == greedy[1].strip() == greedy[2].strip()
    assert "unknown to the model: zyzzyva" in note, "one unknown word is named, and the rest is used"
    assert files_of(trained) == before


def test_the_card_and_samples_of_a_run(trained):
    card = read_card(trained, NAME)
    assert card["metrics"]["entropy_per_token"]["value"] == pytest.approx(reviews.entropy_per_token())
    assert {"test_nats_per_token", "test_perplexity", "unigram_perplexity", "bigram_perplexity"} <= set(card["metrics"])
    samples = (trained / NAME / "samples.txt").read_text(encoding="utf-8")
    assert all(f"== {name} ==" in samples for name in lesson.SAMPLERS) and "[UNK]" not in samples
    assert samples.count("\n\nThis is") <= 4 * len(lesson.SAMPLERS) + 1  # greedy generates the same text each time


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["--prompt", ""], "--prompt holds no word"),
        (["--prompt", " <br /> #"], "--prompt holds no word"),
        (["--prompt", "this " * 80], "--prompt has 80 tokens, but the window has room for"),
        (["--prompt", "zyzzyva qwrt"], "none of its words is in the vocabulary (zyzzyva, qwrt)"),
        (["--prompt", "zyzzyva."], "none of its words is in the vocabulary (zyzzyva)"),  # a mark is no word
        (["--temperature", "-0.1"], "--temperature must be between 0"),
        (["--temperature", "nan"], "--temperature must be between 0"),
        (["--top-p", "0"], "--top-p must be between"),
        (["--top-p", "1.1"], "--top-p must be between"),
        (["--top-k", "-1"], "--top-k must be between"),
        (["--tokens", "0"], "--tokens must be"),
    ],
)
def test_bad_input_ends_with_one_line(trained, capsys, flags, complaint):
    before = files_of(trained)
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--output-dir", str(trained), "--generate-only", *flags])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and complaint in error and error.count("\n") == 1
    assert files_of(trained) == before


def test_a_prompt_that_cannot_work_is_refused_before_the_training(tmp_path, capsys):
    for prompt in ("", "zyzzyva"):
        with pytest.raises(SystemExit) as stop:
            lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path), "--prompt", prompt])
        out, error = capsys.readouterr()
        assert stop.value.code == 2 and "--prompt" in error and "Epoch" not in out and "loss" not in out


def test_generate_only_without_a_trained_model(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        lesson.main(["--preset", "smoke", "--output-dir", str(tmp_path), "--generate-only"])
    assert stop.value.code == 2 and "run the lesson first" in capsys.readouterr().err
    assert not list(tmp_path.parent.glob(f"{tmp_path.name}/*"))


# Resume


def test_a_run_that_was_broken_off_ends_with_the_same_weights(tmp_path, monkeypatch, capsys):
    ids = random_ids(64)

    def run(folder: str, *flags: str, steps: int = 7) -> list[np.ndarray]:
        length = ["--epochs", "2", "--steps", str(steps), "--epochs-per-pass", "2"]
        flags = ["--preset", "smoke", "--output-dir", str(tmp_path / folder), "--dropout", "0.3", *length, *flags]
        with lesson.lesson.run(f"{NAME}.py", lesson.Config, lesson.PRESETS, flags) as this:
            this.publishes = False
            settings = dataclasses.replace(this.config, width=16, feed_forward=32)
            model = lesson.build_model(settings, WORDS, ids)
            history, tokens = lesson.train(this, model, ids, ids[:10])
            assert tokens[-1] == 7 * 8 * 12 and len(history["val_loss"]) == len(tokens)
            return [np.array(variable) for variable in model.variables]

    whole = run("whole")
    watch = training.Watch.on_train_batch_end

    def interrupt(self, batch, logs=None):
        watch(self, batch, logs)
        if int(self.model.optimizer.iterations) == 6:  # in the middle of the second epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(training.Watch, "on_train_batch_end", interrupt)
    with pytest.raises(SystemExit) as stop:
        run("broken")
    assert stop.value.code == 130
    monkeypatch.setattr(training.Watch, "on_train_batch_end", watch)
    with pytest.raises(SystemExit) as stop:  # the learning rate depends on --steps
        run("broken", "--resume", steps=6)
    assert stop.value.code == 2 and "learning_rate_schedules" in capsys.readouterr().err
    resumed = run("broken", "--resume")
    assert all(np.array_equal(one, other) for one, other in zip(whole, resumed, strict=True))


def test_parts_of_a_pass_are_epochs_over_the_same_batches():
    ids = random_ids(40)
    whole, parts = (training.Batches(ids, 4, seed=3, parts=parts) for parts in (1, 3))
    assert (whole.steps_per_epoch, parts.steps_per_epoch) == (10, 3)
    for one, other in zip(whole.dataset().take(25), parts.dataset().take(25), strict=True):
        assert np.array_equal(one, other)
    seen = np.concatenate([batch.numpy() for batch in parts.dataset().take(10)])
    assert sorted(map(tuple, seen)) == sorted(map(tuple, ids)), "a pass shows every text once"
