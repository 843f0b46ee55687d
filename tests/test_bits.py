"""Bits per pixel of the baselines, against distributions whose entropy is known."""

import io
import itertools

from lessonkit import bits

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def random():
    return np.random.default_rng(0)


def uniform(random, count, levels, size=4) -> np.ndarray:
    return random.integers(0, levels, (count, size, size)).astype(np.uint8)


def all_pictures(levels: int, shape: tuple[int, int]) -> np.ndarray:
    """Every picture of a small size there is."""
    pixels = shape[0] * shape[1]
    return np.array(list(itertools.product(range(levels), repeat=pixels)), np.uint8).reshape(-1, *shape)


def test_levels_are_equally_wide():
    every = np.arange(256, dtype=np.uint8)
    for levels in (2, 4, 16, 256):
        assert np.array_equal(np.bincount(bits.quantised(every, levels)), [256 // levels] * levels)
    assert np.array_equal(bits.quantised(every, 256), every)
    assert bits.quantised(every, 5).max() == 4


@pytest.mark.parametrize("levels", [2, 4, 16, 256])
def test_uniform_pixels_cost_their_logarithm(random, levels):
    train, test = uniform(random, 20_000, levels), uniform(random, 2_000, levels)
    assert bits.independent(train, test, levels).mean() == pytest.approx(np.log2(levels), abs=0.02)
    test = uniform(random, 60, levels, size=28)
    for size in (bits.png(test, levels), bits.webp(test, levels), bits.gzip(test)):
        assert np.log2(levels) - 0.01 < size < 1.2 * np.log2(levels) + 0.5


def test_independent_pixels_cost_the_entropy_of_each(random):
    shares = np.array([[0.5, 0.25, 0.125, 0.125], [0.97, 0.01, 0.01, 0.01]])
    draws = np.stack([random.choice(4, 40_000, p=share) for share in shares], axis=1).astype(np.uint8)
    entropy = -np.sum(shares * np.log2(shares), axis=1).mean()
    values = bits.independent(draws[:30_000, None], draws[30_000:, None], 4)
    assert values.shape == (10_000,) and values.mean() == pytest.approx(entropy, abs=0.02)


def test_a_level_that_was_never_seen_costs_finitely_many_bits(random):
    train = np.zeros((50, 3, 3), np.uint8)
    test = np.full((2, 3, 3), 255, np.uint8)
    for function in (bits.independent, bits.gaussian, bits.gaussian_density):
        assert np.all(np.isfinite(function(train, test, 256)))
        assert np.all(function(train, test, 256) > function(train, train[:2], 256))


@pytest.mark.parametrize("function", [bits.independent, bits.gaussian])
def test_probabilities_of_all_pictures_sum_to_one(random, function):
    """A distribution over the 3^4 pictures of 2 x 2 pixels with 3 levels: its bits are exact, no bound."""
    train = np.minimum(random.poisson(1, (200, 2, 2)), 2).astype(np.uint8)
    train[:, 1] = train[:, 0]  # correlated
    everything = all_pictures(3, (2, 2))
    assert np.sum(2.0 ** (-4 * function(train, everything, 3))) == pytest.approx(1, abs=1e-9)


def test_the_discretised_gaussian_uses_correlations(random):
    """Two equal columns: the second costs nearly nothing; independent histograms pay for both."""
    one = random.integers(0, 16, (20_000, 6, 1)).astype(np.uint8)
    pictures = np.concatenate([one, one], axis=2)
    train, test = pictures[:15_000], pictures[15_000:]
    assert bits.independent(train, test, 16).mean() == pytest.approx(4, abs=0.02)
    assert bits.gaussian(train, test, 16).mean() < 2.3


def test_the_density_is_the_mean_over_the_dequantising_noise(random):
    """The closed form against noise that is really drawn, with the density of SciPy."""
    from scipy.stats import multivariate_normal

    train = random.integers(0, 30, (400, 2, 3)).astype(np.uint8)
    train[:, 1] = train[:, 0] // 2 + train[:, 1] // 3
    test = train[:3]
    rows = train.reshape(400, 6).astype(float)
    density = multivariate_normal(rows.mean(0) + 0.5, np.cov(rows, rowvar=False, bias=True) + np.eye(6) / 12)
    noisy = test.reshape(3, 1, 6) + random.uniform(size=(3, 20_000, 6))
    drawn = -np.log2(np.e) * density.logpdf(noisy).mean(axis=1) / 6
    assert bits.gaussian_density(train, test, 256) == pytest.approx(drawn, abs=0.01)


def test_dequantised_bits_bound_the_discrete_ones(random):
    """Of one pixel with two levels: -log2 of the mean of p(x + u) is at most the mean of -log2 p(x + u)."""
    train = (random.uniform(size=(5_000, 1, 1)) < 0.3).astype(np.uint8)
    everything = all_pictures(2, (1, 1))
    assert np.sum(2.0 ** -bits.gaussian_density(train, everything, 2)) < 1


def test_a_wide_gaussian_costs_the_same_either_way(random):
    """Where the deviation is many levels and no edge is near, both are the differential entropy."""
    pictures = np.clip(np.round(random.normal(128, 20, (30_000, 2, 2))), 0, 255).astype(np.uint8)
    entropy = np.log2(20 * np.sqrt(2 * np.pi * np.e))
    for function in (bits.gaussian, bits.gaussian_density):
        values = function(pictures[:20_000], pictures[20_000:], 256)
        assert values.shape == (10_000,) and values.mean() == pytest.approx(entropy, abs=0.03)


@pytest.mark.parametrize("levels", [4, 256])
def test_the_files_hold_the_pixels_without_loss(random, levels, monkeypatch):
    """What is counted is the size of files from which the same levels can be read again."""
    files, save = [], Image.Image.save

    def keeping(image, content, **options):
        save(image, content, **options)
        files.append(Image.open(io.BytesIO(content.getvalue())))

    monkeypatch.setattr(Image.Image, "save", keeping)
    pictures = uniform(random, 7, levels, size=9)
    bits.png(pictures, levels)
    bits.webp(pictures, levels)
    assert len(files) == (3 if levels == 4 else 2)
    for file in files:
        read = np.asarray(file if file.mode in "LP" else file.convert("L"))
        assert np.array_equal(read.reshape(7, 9, 9), pictures)


def test_constant_pictures_cost_nearly_nothing():
    black = np.zeros((1_000, 28, 28), np.uint8)
    found = bits.baselines(black, black, 256)
    assert set(found) == {"independent", "gaussian", "gaussian_density", "gzip", "png", "webp"}
    density = found.pop("gaussian_density")
    assert density == pytest.approx(np.log2(2 * np.pi * np.e / 12) / 2, abs=1e-6)  # a Gaussian is not uniform
    assert max(found.values()) < 0.2


def test_what_is_no_level_is_refused():
    pictures = np.full((3, 4, 4), 7, np.uint8)
    for function in (bits.independent, bits.gaussian, bits.gaussian_density):
        with pytest.raises(ValueError, match="values 0 .. 3"):
            function(pictures, pictures, 4)
        with pytest.raises(ValueError, match="uint8"):
            function(pictures / 255, pictures / 255, 256)
