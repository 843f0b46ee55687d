"""Latents: the same draws at every call, and paths that stay where the generator was trained."""

from lessonkit import latents

import numpy as np
import pytest


def test_fixed_draws():
    assert np.array_equal(latents.normal(5, 3, seed=1), latents.normal(5, 3, seed=1))
    assert not np.array_equal(latents.normal(5, 3, seed=1), latents.normal(5, 3, seed=1, stream=1))
    assert not np.array_equal(latents.normal(5, 3, seed=1), latents.normal(5, 3, seed=2))
    many = latents.uniform(4_000, 2, seed=0)
    assert many.dtype == np.float32 and np.abs(many).max() <= 1 and np.abs(many.mean()) < 0.05
    assert latents.normal(4_000, 2, seed=0).std() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("path", [latents.straight, latents.great_circle])
def test_a_path_is_closed_and_passes_its_corners(path):
    corners = latents.normal(6, 50, seed=3).reshape(2, 3, 50)
    walk = path(corners, 4)
    assert walk.shape == (2, 12, 50) and walk.dtype == np.float32
    assert walk[:, ::4] == pytest.approx(corners, abs=1e-5)
    step = np.linalg.norm(np.roll(walk, -1, axis=1) - walk, axis=-1)
    assert step.max() < 1.5 * step.min(), "steps of about one length, the last one back to the first corner too"


def test_a_straight_line_leaves_the_sphere_and_a_great_circle_does_not():
    corners = latents.normal(40, 100, seed=0).reshape(20, 2, 100)
    middle = {
        path: np.linalg.norm(path(corners, 2)[:, 1], axis=-1) for path in (latents.straight, latents.great_circle)
    }
    lengths = np.linalg.norm(corners, axis=-1)
    assert np.mean(middle[latents.straight]) == pytest.approx(np.sqrt(50), rel=0.05)
    assert np.all(middle[latents.great_circle] > 0.95 * lengths.min(axis=1))
    # A quarter circle by hand: from (1, 0) to (0, 1) in two steps
    quarter = latents.great_circle(np.array([[[1.0, 0.0], [0.0, 1.0]]]), 2)[0]
    assert quarter[1] == pytest.approx([np.sqrt(0.5)] * 2)


def test_equal_corners_are_no_division_by_zero():
    corners = np.ones((1, 2, 4))
    assert latents.great_circle(corners, 3) == pytest.approx(np.ones((1, 6, 4)))
