"""Digits for MNIST: scikit-learn's 1,797 real handwritten digits, scaled to 28x28 and varied by small affine maps."""

import numpy as np
from scipy import ndimage
from sklearn.datasets import load_digits

HELD_OUT = 300  # the last originals make the test set, so that no writing stands on both sides


def splits(train: int = 8_000, test: int = 2_000) -> dict[str, np.ndarray]:
    """x_train uint8 (train, 28, 28), y_train (train,), and the same for test; always the same."""
    originals, labels = load_digits(return_X_y=True)
    originals = originals.reshape(-1, 8, 8) / 16.0
    edge = len(originals) - HELD_OUT
    return {
        "x_train": vary(originals[:edge], train, seed=0),
        "y_train": np.resize(labels[:edge], train),
        "x_test": vary(originals[edge:], test, seed=1),
        "y_test": np.resize(labels[edge:], test),
    }


def vary(originals: np.ndarray, count: int, seed: int) -> np.ndarray:
    """`count` pictures uint8 (count, 28, 28) from originals (n, 8, 8) in [0, 1], turned, sheared and moved a little.

    MNIST puts a digit of 20 pixels into a frame of 28; so does this.
    """
    random = np.random.default_rng(seed)
    pictures = np.empty((count, 28, 28), np.uint8)
    for index in range(count):
        angle, shear = random.normal(0, 0.12), random.normal(0, 0.15)
        scale = np.array([8 / 20, 8 / 20]) / random.uniform(0.85, 1.15, size=2)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.diag(scale) @ turn @ np.array([[1, 0], [shear, 1]])
        center = np.array([13.5, 13.5]) + random.uniform(-1.5, 1.5, size=2)
        picture = ndimage.affine_transform(
            originals[index % len(originals)], matrix, offset=3.5 - matrix @ center, output_shape=(28, 28), order=3
        )
        # Enlarging blurs: a steeper ramp gives the pen back its edge.
        pictures[index] = np.round(255 * np.clip((picture - 0.25) * 2.2, 0, 1))
    return pictures
