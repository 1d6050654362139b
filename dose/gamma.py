"""Two dose maps side by side: the gamma index and a summary of differences.

gamma(r) = min over r' of sqrt(|r - r'|^2 / dta^2 + (D(r') - D(r))^2 / dd^2), D(r) the reference, D(r') the dose under
test, linear between its voxels (Low et al., Med Phys 1998;25:656). r' is searched on a grid of `dta / steps`, in shells
outward, and a voxel leaves the search as soon as the next shell is farther than its gamma. Pass: gamma of at most 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from dose.errors import InputError, describe
from dose.trapezoids import check_choice

NORMALISATIONS = ("global", "local")

STEPS = 10
"""Search points per distance to agreement: gamma then errs by at most a few hundredths, upward."""

FURTHEST = 2.0
"""Largest gamma that is told apart; anything beyond counts as this."""


@dataclass(frozen=True, eq=False)
class Gamma:
    """Gamma of every voxel of the reference, [z, y, x]; NaN where the reference lies below the threshold."""

    gamma: np.ndarray
    dose_percent: float
    distance_mm: float
    normalisation: str

    @property
    def pass_percent(self) -> float:
        """Share of the judged voxels with gamma of at most 1."""
        judged = self.gamma[np.isfinite(self.gamma)]
        return float((judged <= 1).mean() * 100) if judged.size else math.nan


def gamma_index(
    reference_Gy,
    tested_Gy,
    spacing_mm: Sequence[float],
    *,
    dose_percent: float = 2.0,
    distance_mm: float = 2.0,
    normalisation: str = "global",
    threshold_percent: float = 10.0,
    inside=None,
    steps: int = STEPS,
) -> Gamma:
    """Gamma index of two maps on one grid.

    Args:
        reference_Gy, tested_Gy: doses [z, y, x].
        spacing_mm: edges of a voxel [z, y, x].
        dose_percent: dose difference, of the reference's greatest dose ("global") or of its dose there ("local").
        distance_mm: distance to agreement.
        threshold_percent: of the greatest reference dose; voxels below are not judged.
        inside: judge only these voxels.
        steps: search points per distance to agreement.

    Raises:
        InputError: shapes that differ, values that are not finite, criteria not above 0, an unknown normalisation.
    """
    reference, tested = checked_pair(reference_Gy, tested_Gy)
    check_choice("normalisation", normalisation, NORMALISATIONS)
    spacing = np.asarray(spacing_mm, dtype=float)
    if not (dose_percent > 0 and distance_mm > 0 and spacing.shape == (3,) and np.all(spacing > 0) and steps >= 1):
        found = f"{dose_percent} %, {distance_mm} mm, voxels of {spacing.tolist()} mm, {steps} steps"
        raise InputError(describe("gamma", found, "criteria and three edges above 0", "correct them"))
    judged = reference >= threshold_percent / 100 * reference.max()
    if inside is not None:
        judged &= np.asarray(inside, dtype=bool)
    where = np.flatnonzero(judged)
    allowed = dose_percent / 100 * (reference.ravel()[where] if normalisation == "local" else reference.max())
    found = _searched(reference, tested, spacing, where, np.broadcast_to(allowed, where.shape), distance_mm, steps)
    gamma = np.full(reference.shape, np.nan)
    gamma.ravel()[where] = found
    return Gamma(gamma, dose_percent, distance_mm, normalisation)


def _searched(reference, tested, spacing, where, allowed, distance_mm: float, steps: int) -> np.ndarray:
    """Gamma of the voxels `where`, shell by shell."""
    centres = np.stack(np.unravel_index(where, reference.shape)).astype(float)
    wanted, best = reference.ravel()[where], np.full(len(where), FURTHEST**2)
    radii, shells = _shells(distance_mm / steps, distance_mm * FURTHEST)
    active = np.arange(len(where))
    for radius, shell in zip(radii, shells):
        active = active[best[active] > (radius / distance_mm) ** 2]
        if not len(active):
            break
        for offset in shell / spacing:
            dose = map_coordinates(tested, centres[:, active] + offset[:, None], order=1, mode="constant", cval=np.nan)
            value = ((dose - wanted[active]) / allowed[active]) ** 2 + (radius / distance_mm) ** 2
            best[active] = np.fmin(best[active], value)
    return np.sqrt(best)


def _shells(step_mm: float, furthest_mm: float) -> tuple[list[float], list[np.ndarray]]:
    """Points of a cubic grid by their distance from the centre: distances, and points [point, axis] in mm of each."""
    n = int(furthest_mm / step_mm + 1e-9)
    axis = np.arange(-n, n + 1)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    squared = (grid**2).sum(1)
    order = np.argsort(squared, kind="stable")
    order = order[squared[order] <= n * n]
    values, first = np.unique(squared[order], return_index=True)
    return [math.sqrt(v) * step_mm for v in values], np.split(grid[order] * step_mm, first[1:])


@dataclass(frozen=True)
class DoseDifference:
    """Differences of a tested map from a reference, in percent of the reference's dose in each judged voxel.

    `mean_percent` is of the mean doses; the others are over voxels.
    """

    voxels: int
    mean_percent: float
    median_percent: float
    rms_percent: float
    p95_percent: float
    worst_percent: float


def dose_difference(reference_Gy, tested_Gy, inside=None, threshold_percent: float = 10.0) -> DoseDifference:
    """How far a map is from a reference where that has at least `threshold_percent` of its greatest dose.

    `p95_percent` is the 95th percentile of absolute differences, `worst_percent` the greatest, with its sign.

    Raises:
        InputError: shapes that differ, values that are not finite, or no voxel to judge.
    """
    reference, tested = checked_pair(reference_Gy, tested_Gy)
    judged = reference >= max(threshold_percent / 100 * reference.max(), np.finfo(float).tiny)
    if inside is not None:
        judged &= np.asarray(inside, dtype=bool)
    if not judged.any():
        raise InputError(
            describe("reference_Gy", "no voxel to judge", "dose above the threshold", "lower the threshold")
        )
    percent = (tested[judged] / reference[judged] - 1) * 100
    return DoseDifference(
        voxels=int(judged.sum()),
        mean_percent=float(tested[judged].mean() / reference[judged].mean() - 1) * 100,
        median_percent=float(np.median(percent)),
        rms_percent=float(np.sqrt(np.mean(percent**2))),
        p95_percent=float(np.quantile(np.abs(percent), 0.95)),
        worst_percent=float(percent[np.argmax(np.abs(percent))]),
    )


def checked_pair(reference_Gy, tested_Gy) -> tuple[np.ndarray, np.ndarray]:
    """Two finite maps [z, y, x] of one shape, the reference not empty of dose.

    Raises:
        InputError: otherwise.
    """
    reference, tested = (np.asarray(values, dtype=float) for values in (reference_Gy, tested_Gy))
    if reference.shape != tested.shape or reference.ndim != 3 or not reference.size:
        found = f"{reference.shape} and {tested.shape}"
        raise InputError(describe("tested_Gy", f"shapes {found}", "one shape [z, y, x]", "bring both to one grid"))
    if not (np.isfinite(reference).all() and np.isfinite(tested).all() and reference.max() > 0):
        raise InputError(
            describe("reference_Gy, tested_Gy", "NaN, infinity or no dose", "finite doses", "see the maps")
        )
    return reference, tested
