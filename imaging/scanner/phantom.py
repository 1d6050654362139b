"""The calibration phantom: an even cylinder of activity in water, as CT and as activity on one grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from imaging.geometry import Volume
from imaging.phantoms import AIR_HU

PARTS = 6
"""Parts of a voxel's side by which its share of the cylinder is found."""


class Filled(NamedTuple):
    """An object to be scanned: activity in Bq/mL, CT in HU, and the whole activity in MBq."""

    activity_Bq_per_mL: Volume
    ct: Volume
    activity_MBq: float


def calibration_cylinder(
    activity_MBq: float, *, radius_mm: float = 100.0, length_mm: float = 200.0, voxel_mm: float = 4.0
) -> Filled:
    """Water and activity in an upright cylinder about the origin; the voxels hold exactly the activity given."""
    half = int(np.ceil((max(radius_mm, length_mm / 2) + 5 * voxel_mm) / voxel_mm))
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = -(half - 0.5) * voxel_mm
    fine = (np.arange(2 * half * PARTS) + 0.5) / PARTS * voxel_mm - half * voxel_mm
    disc = (np.hypot(fine[:, None], fine) < radius_mm).reshape(2 * half, PARTS, 2 * half, PARTS).mean(axis=(1, 3))
    along = (np.abs(fine) < length_mm / 2).reshape(2 * half, PARTS).mean(axis=1)
    inside = along[:, None, None] * disc
    concentration = activity_MBq * 1e6 / (inside.sum() * voxel_mm**3 / 1000)
    return Filled(Volume(inside * concentration, affine), Volume(AIR_HU * (1 - inside), affine), activity_MBq)
