"""The uncertainty budget of a region's activity in one scan: counts, calibration, recovery, contour, registration.

The chain is A = Q C / R(V) (Gear et al., Eur J Nucl Med Mol Imaging 2018;45:2456), with the place of the contour as
one source more. Counts and registration are the scan's own; calibration, recovery and contour are shared by the scans
of a camera or a region, and repeating a scan does not make them smaller. Parts are relative sds, taken as independent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from imaging.geometry import Volume
from imaging.recovery import Measurement, contour_sd, sphere_recovery, volume_sd

PARTS = ("counts", "calibration", "recovery", "contour", "registration")
OWN = ("counts", "registration")
"""Parts that no other scan shares."""


@dataclass(frozen=True)
class ScanBudget:
    """Relative standard deviations of one activity, and that of the contoured volume (`volume`, part of the mass).

    Raises:
        InputError: a part that is negative or not finite.
    """

    counts: float
    calibration: float
    recovery: float
    contour: float
    registration: float
    volume: float

    def __post_init__(self):
        for name in (*PARTS, "volume"):
            if not 0 <= getattr(self, name) < math.inf:
                found = f"{getattr(self, name):g}"
                raise InputError(describe(f"scan budget, {name}", found, "a finite relative sd", "correct the source"))

    @property
    def own(self) -> float:
        """What this scan alone adds."""
        return math.hypot(*(getattr(self, name) for name in OWN))

    @property
    def total(self) -> float:
        return math.hypot(*(getattr(self, name) for name in PARTS))

    def rows(self) -> list[dict]:
        """A row a part: its relative sd, its share of the variance, whether scans share it."""
        whole = self.total**2 or 1.0
        return [
            {
                "part": name,
                "relative_sd": getattr(self, name),
                "share_of_variance": getattr(self, name) ** 2 / whole,
                "is_shared": name not in OWN,
            }
            for name in PARTS
        ]


def counts_cv(volume_mL: float, how: Measurement) -> float:
    """Relative sd of a region's mean from the noise of 1 mL, which falls with the root of the volume."""
    return how.noise_cv_1mL / math.sqrt(volume_mL)


def recovery_cv(volume_mL: float, how: Measurement, *, is_recovered: bool) -> float:
    """Relative sd from partial volume, for a sphere of this volume in a cold field.

    Where it was corrected, the change by one sd of the FWHM; otherwise the whole loss, taken as the half-width of an
    even distribution.
    """
    recovery = sphere_recovery(volume_mL, how.fwhm_mm)
    if is_recovered:
        return abs(1 - sphere_recovery(volume_mL, how.fwhm_mm * (1 + how.fwhm_cv)) / recovery)
    return (1 - recovery) / math.sqrt(3)


def contour_parts(volume_mL: float, grid: Volume, how: Measurement) -> tuple[float, float]:
    """Relative sd of the counts in the contour, and of its volume (Gear 2018, equations for a sphere)."""
    voxel_mm = 10 * grid.voxel_mL ** (1 / 3)
    return contour_sd(volume_mL, voxel_mm, how), volume_sd(volume_mL, voxel_mm, how.delineation_fwhm_mm)


def registration_cv(image: Volume, mask: Volume, shift_sd_mm: float) -> float:
    """Relative sd of a region's total when the mask may lie `shift_sd_mm` (one sd along each axis) beside its place.

    The image is moved by one sd both ways along x, y and z; the mean square change of the total, summed over the axes,
    is the variance to second order in the shift.
    """
    if not shift_sd_mm > 0:
        return 0.0
    total = float(np.vdot(mask.array, image.array))
    if not total > 0:
        return 0.0
    variance = 0.0
    for axis in range(3):
        moved = [_shifted_total(image, mask, axis, way * shift_sd_mm) for way in (-1, 1)]
        variance += float(np.mean([(value / total - 1) ** 2 for value in moved]))
    return math.sqrt(variance)


def _shifted_total(image: Volume, mask: Volume, axis_xyz: int, shift_mm: float) -> float:
    """Total under the mask with the image moved along one index axis, by linear interpolation."""
    steps = shift_mm / image.spacing_mm[axis_xyz]
    whole, axis = math.floor(steps), 2 - axis_xyz
    part = steps - whole
    low, high = (_rolled_total(image.array, mask.array, axis, whole + k) for k in (0, 1))
    return (1 - part) * low + part * high


def _rolled_total(values: np.ndarray, weights: np.ndarray, axis: int, steps: int) -> float:
    """Total of values moved by whole voxels; what comes in from outside the field is empty."""
    count = values.shape[axis]
    if abs(steps) >= count:
        return 0.0
    take, put = slice(max(0, -steps), count - max(0, steps)), slice(max(0, steps), count - max(0, -steps))
    index = [slice(None)] * values.ndim
    source, target = list(index), list(index)
    source[axis], target[axis] = take, put
    return float(np.vdot(weights[tuple(target)], values[tuple(source)]))
