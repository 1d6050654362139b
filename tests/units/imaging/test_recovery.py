"""Partial volume: the sphere formula against a blurred sphere, the transfer matrix as an inverse, the error terms."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.recovery import (
    blurred,
    contour_sd,
    corrected_means,
    measurement,
    sphere_recovery,
    transfer_matrix,
    volume_sd,
)


def sphere(radius_mm: float, size: int = 41, voxel_mm: float = 2.0) -> np.ndarray:
    axis = (np.arange(size) - size // 2) * voxel_mm
    return (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2 <= radius_mm**2).astype(np.float32)


@pytest.mark.parametrize(("radius", "fwhm"), [(10, 6), (13.4, 14), (18, 14)])
def test_sphere_formula_agrees_with_a_blurred_sphere(radius, fwhm):
    mask = sphere(radius)
    volume_mL = mask.sum() * 0.008
    seen = float((blurred(mask, (2, 2, 2), fwhm) * mask).sum() / mask.sum())
    # 2% for the staircase surface of a sphere in 2 mm voxels
    assert sphere_recovery(volume_mL, fwhm) == pytest.approx(seen, rel=0.02)


def test_recovery_rises_with_volume_to_one():
    values = [sphere_recovery(v, 14) for v in (1, 10, 100, 1e3, 1e5)]
    assert values == sorted(values)
    assert 0.95 < values[-1] < 1


def test_transfer_matrix_gives_back_the_true_means():
    small, large = sphere(10), sphere(30) - sphere(10)
    rest = 1 - small - large
    truth = np.array([9.0, 2.0, 0.1])
    image = blurred(truth[0] * small + truth[1] * large + truth[2] * rest, (2, 2, 2), 12)
    measured = np.array([float((image * m).sum() / m.sum()) for m in (small, large, rest)])
    matrix = transfer_matrix([small, large, rest], (2, 2, 2), 12)
    assert measured[0] < 6
    assert corrected_means(matrix, measured) == pytest.approx(truth, rel=1e-3)


def test_a_region_given_twice_cannot_be_solved():
    with pytest.raises(ImageError, match="overlapping"):
        corrected_means(transfer_matrix([sphere(10), sphere(10)], (2, 2, 2), 12), np.ones(2))


def test_volume_and_contour_terms_by_hand():
    # Gear 2018: d = 20 mm, a = 3, FWHM = 3: u(d)^2 = 1.5 + 9/(4 ln 2)
    by_hand = 3 * math.sqrt(1.5 + 9 / (4 * math.log(2))) / 20
    assert volume_sd(4 / 3 * math.pi, 3, 3) == pytest.approx(by_hand, rel=1e-12)
    big = contour_sd(1e6, 3, measurement("SPECT")) / volume_sd(1e6, 3, 3)
    assert big == pytest.approx(0.5, abs=0.03)  # counts go half with the volume for a large sphere: phi, R -> 1


def test_an_unknown_modality_is_refused():
    with pytest.raises(InputError):
        measurement("MRI")
