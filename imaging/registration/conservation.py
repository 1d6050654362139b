"""What a deformation does to volume and activity, in the field of view and by region, and what a misfit would do.

An activity image that is warped keeps either its concentration or its activity (see `resampling`); the report gives the
totals of both beside the original, so that nobody takes a change of volume for kinetics.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.geometry import Volume
from imaging.registration.pairwise import Registration
from imaging.registration.quality import Flag, folding_flag
from imaging.registration.resampling import CONSERVED, resample
from imaging.registration.transform import SpatialTransform

BQ_PER_MBq = 1e6


@dataclass(frozen=True)
class ActivityTotals:
    """Activity in MBq of the original and of the image warped either way."""

    original_MBq: float
    concentration_MBq: float
    activity_MBq: float


@dataclass(frozen=True)
class ConservationReport:
    """The Jacobian's range and folded share on the grid, totals of the field and by region, the folding flag."""

    jacobian_min: float
    jacobian_max: float
    jacobian_mean: float
    folded_share: float
    field: ActivityTotals
    regions: dict[str, ActivityTotals]
    flag: Flag


def conservation_report(
    activity: Volume,
    registration: Registration | SpatialTransform,
    grid: Volume,
    *,
    masks: dict[str, Volume] | None = None,
) -> ConservationReport:
    """`activity` (Bq/mL, moving space) warped onto `grid` both ways; `masks` are in moving space and warped along."""
    transform = registration.transform if isinstance(registration, Registration) else registration
    jacobian = transform.jacobian(grid)
    warped = {kind: resample(activity, transform, grid, conserve=kind) for kind in CONSERVED}
    regions = {name: _of_region(activity, mask, warped, transform, grid) for name, mask in (masks or {}).items()}
    total = ActivityTotals(_MBq(activity), *(_MBq(warped[kind]) for kind in CONSERVED))
    flag = folding_flag(jacobian)
    extremes = (float(jacobian.min()), float(jacobian.max()), float(jacobian.mean()))
    return ConservationReport(*extremes, flag.value, total, regions, flag)


def _of_region(activity, mask, warped, transform, grid) -> ActivityTotals:
    before = mask.resampled_onto(activity)
    after = resample(mask, transform, grid)
    return ActivityTotals(_MBq(activity, before), *(_MBq(warped[kind], after) for kind in CONSERVED))


def _MBq(activity: Volume, mask: Volume | None = None) -> float:
    values = activity.array if mask is None else activity.array * mask.array
    return float(values.sum(dtype=float)) * activity.voxel_mL / BQ_PER_MBq


def misfit_sd_MBq(activity: Volume, mask: Volume, position_sd_mm: float) -> float:
    """Standard deviation of a region's activity where its mask is off by `position_sd_mm` along each axis at random.

    The mask is moved by that much to and fro along each axis; mean squares of the axes add up.
    For the registration's line of an uncertainty budget.
    """
    grid = mask.resampled_onto(activity)
    rest = _MBq(activity, grid)
    variance = 0.0
    for axis in np.eye(3):
        moved = [SpatialTransform.rigid(translation_mm=s * position_sd_mm * axis) for s in (-1, 1)]
        changes = [_MBq(activity, resample(grid, move, activity)) - rest for move in moved]
        variance += float(np.mean(np.square(changes)))
    return float(np.sqrt(variance))
