"""Measures of images, as the literature defines them."""

import numpy as np
from scipy import ndimage


def mean_squared_error(images: np.ndarray, others: np.ndarray) -> float:
    """Mean over all pixels of the squared difference; both of one shape, scaled to [0, 1]."""
    return float(np.mean(np.square(np.asarray(images, np.float64) - np.asarray(others, np.float64))))


def psnr(images: np.ndarray, others: np.ndarray) -> float:
    """Peak signal-to-noise ratio in decibels of images scaled to [0, 1]: 10 log10(1 / MSE)."""
    error = mean_squared_error(images, others)
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def ssim(images: np.ndarray, others: np.ndarray) -> float:
    """Mean structural similarity of images (n, height, width[, channels]) scaled to [0, 1]; 1 for equal images.

    Gaussian window of sigma 1.5, K1 = 0.01, K2 = 0.03 (Wang et al. 2004, Image Quality Assessment, eq. 13).
    """

    def smooth(values):
        sigma = (0, 1.5, 1.5) + (0,) * (values.ndim - 3)
        return ndimage.gaussian_filter(values, sigma, truncate=3.5)

    x, y = np.asarray(images, np.float64), np.asarray(others, np.float64)
    mean_x, mean_y = smooth(x), smooth(y)
    variance_x, variance_y = smooth(x * x) - mean_x**2, smooth(y * y) - mean_y**2
    covariance = smooth(x * y) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
    structure = (2 * covariance + 0.03**2) / (variance_x + variance_y + 0.03**2)
    return float(np.mean(luminance * structure))
