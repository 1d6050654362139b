"""Gaussians over projections, and successive views for a network: what the denoising of short scans is made of."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from imaging.networks.sparse_views_model import local_mean
from imaging.reconstruct.response import FWHM_PER_SIGMA

SIDE = 4
"""Views before and after that the network sees beside those that it denoises."""

CENTRE = 4
"""Successive views that are denoised together."""

BASE_WEIGHTS = (0.25, 0.5, 0.25)
"""Of the view before, the view and the view after in the linear estimate that the network corrects."""

BASE_pixels = 3
"""Side of the square that the linear estimate averages."""


def smoothed_views(counts: np.ndarray, fwhm_mm: float, pixel_mm: float) -> Float[np.ndarray, "view v u"]:
    """Each view [view, v, u] through a Gaussian of this width, mirrored at the edges: totals are kept."""
    sigma = fwhm_mm / FWHM_PER_SIGMA / pixel_mm
    return gaussian_filter(np.asarray(counts, dtype=np.float32), (0, sigma, sigma), mode="reflect")


def smoothed_variance(counts: np.ndarray, fwhm_mm: float, pixel_mm: float) -> Float[np.ndarray, "view v u"]:
    """Variance of `smoothed_views` of Poisson counts: through the squares of the Gaussian's weights."""
    sigma = fwhm_mm / FWHM_PER_SIGMA / pixel_mm
    weights = gaussian_filter(np.eye(1, 201, 100).ravel(), sigma) if sigma > 0 else np.eye(1, 201, 100).ravel()
    share = float((weights**2).sum()) ** 2
    return share * smoothed_views(counts, fwhm_mm / np.sqrt(2), pixel_mm)


def stacks(ring: np.ndarray) -> Float[np.ndarray, "stack seen v u"]:
    """For each `CENTRE` successive views round the circle, those with `SIDE` on both sides; views are a multiple."""
    first = np.arange(0, len(ring), CENTRE)[:, None]
    where = (first + np.arange(-SIDE, CENTRE + SIDE)) % len(ring)
    return np.ascontiguousarray(ring[where], dtype=np.float32)


def smooth_base(views: torch.Tensor) -> torch.Tensor:
    """The linear estimate of the views in the middle, [batch, CENTRE, v, u] of [batch, seen, v, u]."""
    shifted = [views[:, SIDE + k : SIDE + k + CENTRE] for k in (-1, 0, 1)]
    return local_mean(sum(w * v for w, v in zip(BASE_WEIGHTS, shifted)), BASE_pixels)
