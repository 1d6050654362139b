"""The classical filters that the denoising networks are compared with, and how they are chosen.

A Gaussian of one FWHM for all images, the one of least RMSE on the training cases; and, as a tougher comparison that no
user could make, the best FWHM of each single image by its own truth ("oracle").
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dose.learning.cases import Case
from imaging.networks.denoise import Filter, as_volume, filtered

WIDTHS_mm = tuple(float(w) for w in (0, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 27, 33))
"""FWHM that are tried."""


def chosen_filter(cases: Sequence[Case]) -> Filter:
    """The filter of least mean RMSE over cases with `first` and `noise_free`."""
    errors = np.mean([[body_rmse(_mean(case, w), case) for w in WIDTHS_mm] for case in cases], axis=0)
    width = WIDTHS_mm[int(np.argmin(errors))]
    return Filter(width, float(np.median([_left_over(case, width) for case in cases])))


def oracle_fwhm_mm(case: Case) -> float:
    """The width of least RMSE for one image."""
    return WIDTHS_mm[int(np.argmin([body_rmse(_mean(case, w), case) for w in WIDTHS_mm]))]


def body_rmse(image: np.ndarray, case: Case, mask: np.ndarray | None = None) -> float:
    """RMSE against the noise-free image in the body, or in a mask, relative to the mean of it there."""
    where = case["labels"] > 0 if mask is None else mask
    true = case["noise_free"][where]
    return float(np.sqrt(np.mean((image[where] - true) ** 2)) / true.mean())


def _mean(case: Case, fwhm_mm: float) -> np.ndarray:
    return filtered(as_volume(case, "first"), Filter(fwhm_mm, 1.0))[0]


def _left_over(case: Case, fwhm_mm: float) -> float:
    """Rms error in the body over the rms of what the filter took away there."""
    mean, taken = filtered(as_volume(case, "first"), Filter(fwhm_mm, 1.0))
    body = case["labels"] > 0
    return float(np.sqrt(np.mean((mean - case["noise_free"])[body] ** 2) / np.mean(taken[body] ** 2)))
