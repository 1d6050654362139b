"""Partial volume: what a region loses to its neighbours, and how uncertain its activity is.

Correction is the geometric transfer matrix: the mean measured in each region is a known linear mix of the true means,
R[i, j] = mean over region i of region j blurred by the scanner's point spread, so the true means solve R a = m
(Rousset 1998). It is exact for regions of even uptake and a known Gaussian point spread, and no better than that.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.special import erf

from dose.errors import ImageError, InputError, describe
from dose.provenance import load_table

FWHM_PER_SIGMA = math.sqrt(8 * math.log(2))
"""Full width at half maximum of a Gaussian in units of its sigma."""

LARGEST_CONDITION = 1e4
"""A transfer matrix worse than this cannot be told apart from a singular one at our noise: regions overlap."""


@dataclass(frozen=True)
class Measurement:
    """How a modality measures: reconstructed FWHM, and relative standard deviations (see `data/measurement.csv`)."""

    fwhm_mm: float
    fwhm_cv: float
    calibration_cv: float
    noise_cv_1mL: float
    delineation_fwhm_mm: float


def measurement(modality: str) -> Measurement:
    """The table's row set for "PET" or "SPECT".

    Raises:
        InputError: another modality.
    """
    table = load_table("imaging", "measurement.csv")
    rows = {r["quantity"]: float(r["value"]) for r in table if r["modality"] == modality}
    if not rows:
        raise InputError(describe("modality", f'"{modality}"', "PET or SPECT", "choose one of the two"))
    named = {"fwhm": "fwhm_mm", "delineation_fwhm": "delineation_fwhm_mm"}
    return Measurement(**{named.get(name, name): value for name, value in rows.items()})


def blurred(array: np.ndarray, spacing_mm, fwhm_mm: float) -> np.ndarray:
    """`array` [z, y, x] after a Gaussian point spread; nothing comes in from outside the field."""
    sigma = fwhm_mm / FWHM_PER_SIGMA / np.asarray(spacing_mm)[::-1]
    return gaussian_filter(array.astype(np.float32), sigma, mode="constant", truncate=4.0)


def transfer_matrix(masks, spacing_mm, fwhm_mm: float) -> np.ndarray:
    """`mixing_matrix` of an even Gaussian point spread."""
    return mixing_matrix(masks, lambda mask: blurred(mask, spacing_mm, fwhm_mm))


def mixing_matrix(masks, blur: Callable) -> np.ndarray:
    """R [region, region]: mean in region i of unit uptake in region j, from weights `masks` [region, z, y, x]."""
    matrix = np.empty((len(masks), len(masks)))
    sums = [float(mask.sum(dtype=float)) for mask in masks]
    for j, source in enumerate(masks):
        spread = blur(source)
        matrix[:, j] = [float(np.vdot(mask, spread)) / total for mask, total in zip(masks, sums, strict=True)]
    return matrix


def corrected_means(matrix: np.ndarray, means: np.ndarray) -> np.ndarray:
    """True means from measured ones, shape [region].

    Raises:
        ImageError: regions that cannot be told apart (overlapping or equal).
    """
    condition = float(np.linalg.cond(matrix))
    if not condition < LARGEST_CONDITION:
        found, expected = f"regions with a condition number of {condition:.1e}", f"below {LARGEST_CONDITION:g}"
        do = "remove overlapping or repeated segments, or pass recovery='none'"
        raise ImageError(describe("transfer matrix", found, expected, do))
    return np.linalg.solve(matrix, means)


def sphere_recovery(volume_mL: float, fwhm_mm: float) -> float:
    """Mean recovery of an evenly filled sphere in a cold field under a Gaussian point spread.

    The share of the activity that stays inside: integral of the sphere's autocorrelation 1 - 3d/4r + d^3/16r^3 over
    the displacement d, whose length has a Maxwell distribution of the point spread's sigma.
    """
    radius, sigma = 10 * (3 * volume_mL / (4 * math.pi)) ** (1 / 3), fwhm_mm / FWHM_PER_SIGMA
    d = np.linspace(0, min(2 * radius, 8 * sigma), 401)
    maxwell = math.sqrt(2 / math.pi) * d**2 / sigma**3 * np.exp(-(d**2) / (2 * sigma**2))
    return float(np.trapezoid(maxwell * (1 - 0.75 * d / radius + (d / radius) ** 3 / 16), d))


def volume_sd(volume_mL: float, voxel_mm: float, delineation_fwhm_mm: float) -> float:
    """Relative sd of a contoured volume: (u(V)/V)^2 = 9 (u(d)/d)^2, u(d)^2 = a^2/6 + FWHM^2/(4 ln 2) (Gear 2018)."""
    diameter = 20 * (3 * volume_mL / (4 * math.pi)) ** (1 / 3)
    return 3 * math.sqrt(voxel_mm**2 / 6 + delineation_fwhm_mm**2 / (4 * math.log(2))) / diameter


def contour_sd(volume_mL: float, voxel_mm: float, how: Measurement) -> float:
    """Relative sd of the counts in a contour, phi / (2 R) times that of the volume (Gear 2018, for a sphere).

    phi/2 is the density at the surface of a sphere blurred by a Gaussian (derived in docs/uncertainty.md).
    """
    radius = 10 * (3 * volume_mL / (4 * math.pi)) ** (1 / 3)
    u = 2 * radius * math.sqrt(math.log(2)) / how.fwhm_mm
    phi = erf(2 * u) - (1 - math.exp(-4 * u**2)) / (u * math.sqrt(math.pi))
    spread = volume_sd(volume_mL, voxel_mm, how.delineation_fwhm_mm)
    return float(phi / (2 * sphere_recovery(volume_mL, how.fwhm_mm)) * spread)
