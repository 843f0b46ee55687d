"""Measures of images, as the literature defines them."""

import numpy as np
from scipy import linalg
from scipy.spatial import distance
from sklearn.metrics import pairwise_distances_argmin_min


def mean_squared_error(images: np.ndarray, others: np.ndarray) -> float:
    """Mean over all pixels of the squared difference; both of one shape, scaled to [0, 1]."""
    return float(np.mean(np.square(np.asarray(images, np.float64) - np.asarray(others, np.float64))))


def psnr(images: np.ndarray, others: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of images scaled to [0, 1]: 10 log10(1 / MSE)."""
    error = mean_squared_error(images, others)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


# Measures of generated images. They compare two clouds of features, which a named network computes: a
# number stands only beside that network's name, the data, and the number of images.


def frechet_distance(features: np.ndarray, others: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features (n, d); FID if a named network made them.

    |mean - mean'|^2 + trace(C + C' - 2 (C C')^(1/2)); Heusel et al. 2017, arXiv:1706.08500. It needs more images than
    features, and few images make it too large: compare only numbers with the same n. The trace of the root is taken
    from the eigenvalues of the symmetric C^(1/2) C' C^(1/2), which are those of C C' and never complex.
    """
    x, y = np.asarray(features, np.float64), np.asarray(others, np.float64)
    covariance_x, covariance_y = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    values, vectors = linalg.eigh(covariance_x)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    common = linalg.eigvalsh(root @ covariance_y @ root)
    shift = np.sum(np.square(x.mean(axis=0) - y.mean(axis=0)))
    trace = np.trace(covariance_x) + np.trace(covariance_y) - 2 * np.sum(np.sqrt(np.maximum(common, 0)))
    return float(max(shift + trace, 0.0))


def kernel_distance(features: np.ndarray, others: np.ndarray, block: int = 1000) -> tuple[float, float, int]:
    """Kernel distance of two sets of features (n, d): mean and standard deviation over blocks, and how many blocks.

    KID where a named network made the features.

    The unbiased squared maximum mean discrepancy under the kernel (x.y / d + 1)^3; Binkowski et al. 2018,
    arXiv:1801.01401. Unlike the Fréchet distance its mean does not depend on n, and it may be negative.
    """
    count = max(1, min(len(features), len(others)) // block)
    size = min(block, len(features), len(others))
    distances = []
    for start in range(count):  # every count-th image: blocks of one kind even where images are sorted by class
        x = np.asarray(features[start::count][:size], np.float64)
        y = np.asarray(others[start::count][:size], np.float64)
        within_x, within_y, between = (np.power(a @ b.T / a.shape[1] + 1, 3) for a, b in ((x, x), (y, y), (x, y)))
        pairs = size * (size - 1)  # an image's distance to itself is left out: that makes it unbiased
        same = (within_x.sum() - np.trace(within_x) + within_y.sum() - np.trace(within_y)) / pairs
        distances.append(same - 2 * between.mean())
    return float(np.mean(distances)), float(np.std(distances)), count


def precision_recall(real: np.ndarray, generated: np.ndarray, neighbours: int = 3) -> tuple[float, float]:
    """Share of generated features that lie among the real ones, and of real ones among the generated: (n, d) each.

    "Among" means within the distance from some point to its third-nearest neighbour of its own kind; Kynkäänniemi
    et al. 2019, arXiv:1904.06991. Low precision: bad images; low recall: missing kinds of image.
    """

    def share_inside(points, cloud):
        radius = np.partition(distance.cdist(cloud, cloud), neighbours, axis=1)[:, neighbours]  # the 0th is itself
        return float(np.mean(np.any(distance.cdist(points, cloud) <= radius, axis=1)))

    return share_inside(generated, real), share_inside(real, generated)


def class_shares(predicted: np.ndarray, classes: int) -> np.ndarray:
    """Share (classes,) of the images that a classifier puts into each class; predicted (n,) are class numbers."""
    return np.bincount(predicted, minlength=classes) / len(predicted)


def classes_covered(predicted: np.ndarray, classes: int, least: float = 0.1) -> int:
    """Number of classes that hold at least `least` of an equal share of the images (1 % of all, with ten classes)."""
    return int(np.sum(class_shares(predicted, classes) >= least / classes))


def nearest(images: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each image its nearest neighbour among others: index (n,), and root mean squared difference of pixels (n,).

    Each set is uint8 or scaled to [0, 1], all of one shape; the difference is given in [0, 1] either way.
    """

    def flat(pictures):
        return pictures.reshape(len(pictures), -1) / np.float32(255 if pictures.dtype == np.uint8 else 1)

    x = flat(images)
    indices, distances = [], []
    for start in range(0, len(others), 10_000):  # all of them as floats could fill the memory
        index, distance_here = pairwise_distances_argmin_min(x, flat(others[start : start + 10_000]))
        indices.append(start + index)
        distances.append(distance_here)
    best = np.argmin(distances, axis=0)
    pick = best, np.arange(len(x))
    return np.array(indices)[pick], np.array(distances)[pick] / np.sqrt(x.shape[1])


def n_gram_nats(train: np.ndarray, held_out: np.ndarray, order: int, vocabulary_size: int) -> np.ndarray:
    """Nats (k,) of each of the k held-out tokens under an interpolated Kneser-Ney model of the training tokens.

    Args:
        train, held_out: token ids (texts, length), 0 for padding at the end; the first token of a text is given.
        order: 1 guesses from the frequencies alone, 2 from the token before, 3 from the two before, ...
        vocabulary_size: ids are below it.

    Source: Chen and Goodman 1999, An empirical study of smoothing techniques for language modeling, section 2.7.
    """
    keys, counts = np.unique(_n_grams(train, order, vocabulary_size), return_counts=True)
    return -np.log(_kneser_ney(keys, counts, _n_grams(held_out, order, vocabulary_size), order, vocabulary_size))


def _n_grams(ids: np.ndarray, order: int, size: int) -> np.ndarray:
    """Each token but the first of a text, with the order - 1 tokens before it, as one number in base `size`."""
    padded = np.pad(ids.astype(np.int64), ((0, 0), (order - 1, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, order, axis=1)[:, 1:]
    return windows[windows[..., -1] != 0] @ (size ** np.arange(order - 1, -1, -1))


def _kneser_ney(keys: np.ndarray, counts: np.ndarray, asked: np.ndarray, order: int, size: int) -> np.ndarray:
    """Probability of the last token of each n-gram in `asked`, given those before it."""

    def look_up(keys, values, asked):
        places = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return np.where(keys[places] == asked, values[places], 0)

    if order == 1:
        return (look_up(keys, counts, asked) + 1) / (counts.sum() + size)
    once, twice = np.sum(counts == 1), np.sum(counts == 2)
    discount = np.clip(once / max(once + 2 * twice, 1), 0.1, 0.9)
    # A shorter n-gram counts once for each token that it was seen after: "Francisco" is frequent, but only after "San".
    shorter = np.unique(keys % size ** (order - 1), return_counts=True)
    lower = _kneser_ney(*shorter, asked % size ** (order - 1), order - 1, size)
    pasts, first, followers = np.unique(keys // size, return_index=True, return_counts=True)
    total = look_up(pasts, np.add.reduceat(counts, first), asked // size)
    left_over = np.where(total > 0, discount * look_up(pasts, followers, asked // size) / np.maximum(total, 1), 1)
    return np.maximum(look_up(keys, counts, asked) - discount, 0) / np.maximum(total, 1) + left_over * lower
