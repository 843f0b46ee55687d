"""The grammar of the offline film reviews: its entropy is exact only if no text has two derivations."""

import random
import re
from collections import Counter
from functools import cache
from itertools import pairwise
from math import inf, log

from lessonkit.datasets.embedded import reviews

import pytest

END = "<end of review>"


def tokenize(text):
    return re.findall(reviews.TOKEN_PATTERN, text.lower())


def sentences(text):
    return re.split(r"(?<=[.!?]) ", text)


def words_of(rule):
    return {word.lower() for _, pieces in reviews.RULES[rule] for word in pieces}


@pytest.fixture(scope="module")
def sample():
    return reviews.draw(3_000, seed=7)


def test_draws_are_deterministic_and_prefixes_of_longer_draws(sample):
    assert reviews.draw(50, seed=7) == sample[:50]
    assert reviews.draw(50, seed=8) != sample[:50]
    assert reviews.draw(0, seed=7) == []
    assert len(set(sample)) > 0.99 * len(sample)


def test_tokens_give_back_the_lower_case_text(sample):
    for text in sample:
        assert re.sub(r" ([.,!?;:])", r"\1", " ".join(tokenize(text))) == text.lower()


def test_reviews_look_like_reviews(sample):
    assert 200 <= len({token for text in sample for token in tokenize(text)}) <= 400
    assert sum(20 <= len(tokenize(text)) <= 90 for text in sample) > 0.85 * len(sample)
    for text in sample:
        assert 1 <= len(sentences(text)) <= 6
        for sentence in sentences(text):
            assert sentence[0].isupper() and sentence[-1] in ".!?"
            assert len(tokenize(sentence)) <= 25
        # Wrong articles, doubled words and pieces of the grammar left unwritten.
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]|\b(\w+) \1\b|[<>=|\d]", text.lower())


def test_probabilities_of_every_rule_sum_to_one():
    seen, waiting = set(), [reviews.START]
    while waiting:
        symbol = waiting.pop()
        if isinstance(symbol, str) or symbol in seen:
            continue
        seen.add(symbol)
        assert sum(probability for probability, _ in reviews.productions(symbol)) == pytest.approx(1)
        waiting.extend(child for _, symbols in reviews.productions(symbol) for child in symbols)
    # A rule that nothing refers to would be a slip in the table; features are drawn from theirs, not expanded.
    drawn = {source.split(".")[0] for source in re.findall(r":=([\w.]+)", reviews.GRAMMAR)}
    assert {name for name in reviews.RULES if name.split(".")[0] not in drawn} == {name for name, _ in seen}


def derive(generator):
    """(nats, tokens) of one random derivation, end of review included."""
    nats, tokens, stack = 0.0, 1, [reviews.START]
    while stack:
        symbol = stack.pop()
        if isinstance(symbol, str):
            tokens += 1
        else:
            choices = reviews.productions(symbol)
            probability, symbols = generator.choices(choices, [probability for probability, _ in choices])[0]
            nats -= log(probability)
            stack.extend(symbols)
    return nats, tokens


def test_entropy_agrees_with_monte_carlo(sample):
    generator = random.Random(3)
    nats, tokens = zip(*(derive(generator) for _ in range(4_000)), strict=True)
    assert sum(nats) / sum(tokens) == pytest.approx(reviews.entropy_per_token(), rel=0.005)
    assert 1.3 < reviews.entropy_per_token() < 2.2
    # The same from the texts alone, for the sampler that readers use and by way of the parser.
    nats = -sum(reviews.log_probability(text) for text in sample[:400])
    assert nats / sum(len(tokenize(text)) + 1 for text in sample[:400]) == pytest.approx(
        reviews.entropy_per_token(), rel=0.015
    )


def test_texts_outside_the_grammar_have_probability_zero(sample):
    text = next(text for text in sample if text.startswith("An "))
    assert reviews.log_probability(text.upper()) == reviews.log_probability(text) > -inf
    for wrong in ("", text + " Nine", "A" + text[2:], text.replace(".", ""), text + " " + text):
        assert reviews.log_probability(wrong) == -inf


def count_derivations(text):
    """Number of derivations of a text, by a parser written apart from `log_probability`."""
    tokens = ["a" if token == "an" else token for token in tokenize(text)]

    @cache
    def count(symbols, start):
        """Counter {position after the symbols: derivations}."""
        if not symbols:
            return Counter([start])
        head, rest = symbols[0], symbols[1:]
        if isinstance(head, str):
            return count(rest, start + 1) if tokens[start : start + 1] == [head.lower()] else Counter()
        total = Counter()
        for beginning in [(head,)] if rest else [right for _, right in reviews.productions(head)]:
            for middle, derivations in count(beginning, start).items():
                for end, more in count(rest, middle).items():
                    total[end] += derivations * more
        return total

    return count((reviews.START,), 0)[len(tokens)]


def test_sampled_texts_have_one_derivation(sample):
    assert {count_derivations(text) for text in sample[:200]} == {1}


def ambiguous_prefixes():
    """Tokens after which one and the same remainder is reached by two derivations, over all texts of the grammar.

    A leftmost derivation is known by its remainder, the symbols still to be written. The texts are read token by token,
    with all remainders that each prefix leaves open; two equal remainders can be finished alike, to one and the same
    text with two derivations. Conversely, two derivations of a text both end with the empty remainder. Prefixes that
    leave the same remainders open are read on only once: so all texts of the grammar are covered, not a sample.
    """

    @cache
    def steps(remainder):
        if not remainder or isinstance(remainder[0], str):
            return ((remainder[0].lower(), remainder[1:]),) if remainder else ()
        writings = (right + remainder[1:] for _, right in reviews.productions(remainder[0]))
        return tuple(step for writing in writings for step in steps(writing))

    seen, waiting, ambiguous = set(), [frozenset([(reviews.START,)])], []
    while waiting:
        after = {}
        for remainder in waiting.pop():
            for token, tail in steps(remainder):
                after.setdefault(token, []).append(tail)
        for token, tails in after.items():
            if len(set(tails)) < len(tails):
                ambiguous.append(token)
            if (key := frozenset(tails)) not in seen:
                seen.add(key)
                waiting.append(key)
    return ambiguous


@pytest.fixture
def fewer_names(monkeypatch):
    """Names that can stand for each other cut to two (friends: one) per list; all the texts then take seconds."""
    for name, alternatives in list(reviews.RULES.items()):
        if (kept := {"roles": 2, "stars": 2, "friends": 1}.get(name.split(".")[0])) is not None:
            monkeypatch.setitem(reviews.RULES, name, alternatives[:kept])
    reviews.productions.cache_clear()
    yield monkeypatch
    reviews.productions.cache_clear()


def test_no_text_of_the_grammar_has_two_derivations(fewer_names):
    assert ambiguous_prefixes() == []


def test_ambiguity_would_be_found(fewer_names):
    # "the vain bandit" can then be written in two ways: with a temper, and by the new alternative.
    fewer_names.setitem(reviews.RULES, "person", [*reviews.RULES["person"], (1, ["the", "vain", "<foe.genre>"])])
    reviews.productions.cache_clear()
    assert "vain" in ambiguous_prefixes()


def told(words_of_value, tokens):
    """The values of a hidden draw of which at least one word occurs among the tokens."""
    return [value for value, words in words_of_value.items() if words.intersection(tokens)]


def test_hidden_draws_can_be_read_off_the_opening_and_hold_to_the_end(sample):
    genres = words_of("genres")
    opening_words = [
        {mood: words_of(f"quality.{mood}") for mood in ("good", "bad")},
        {genre: words_of(f"kind.{genre}") - {"film", "story"} for genre in genres},
        {genre: words_of(f"roles.{genre}") for genre in genres},
    ]
    all_moods = {
        mood: set.union(*(words_of(f"{rule}.{mood}") for rule in ("quality", "tone", "felt", "score")))
        for mood in ("good", "bad")
    }
    assert not all_moods["good"] & all_moods["bad"]
    stars = {"her": words_of("stars.she"), "his": words_of("stars.he")}
    counts = Counter()
    for text in sample:
        tokens = tokenize(text)
        place = next(place for place, token in enumerate(tokens) if token in stars)
        (mood,), (genre,), (genre_of_role,) = (told(words, tokens[:place]) for words in opening_words)
        assert genre == genre_of_role
        assert told(all_moods, tokens) == [mood]
        assert told(opening_words[1], tokens) == [genre]
        assert told(stars, tokens) in ([], [tokens[place]])
        counts[mood] += 1
    assert counts["good"] == pytest.approx(len(sample) / 2, rel=0.1)


def test_unigrams_and_bigrams_stay_far_above_the_true_entropy():
    # Entropies of the counted frequencies themselves: on new reviews these models could only do worse.
    unigrams, bigrams = Counter(), Counter()
    for text in reviews.draw(5_000, seed=1):
        tokens = [END, *tokenize(text), END]
        unigrams.update(tokens[1:])
        bigrams.update(pairwise(tokens))
    total = sum(unigrams.values())
    unigram = -sum(n * log(n / total) for n in unigrams.values()) / total
    bigram = -sum(n * log(n / unigrams[first]) for (first, _), n in bigrams.items()) / total
    assert unigram > 2.5 * reviews.entropy_per_token()
    assert unigram > bigram > 1.3 * reviews.entropy_per_token()
