"""The maps that a voxel-wise fit gives, the flags of each voxel, and what is wrong with the study as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from calibration.voxel_rules import limit

NAMES = ("invalid", "empty", "background", "given", "trapezoid", "mono", "uptake", "bi")
"""What the numbers of a model map mean."""

FLAGS = {
    "invalid": "a scan has no finite value here: no integral",
    "negative": "a scan is below zero; it was used as it is",
    "background": "all scans together hardly stand out of the noise: the common clearance of such voxels was used",
    "at_physical": "the clearance is at physical decay: biological clearance was not seen",
    "at_bound": "the faster rate is at a bound and was taken as known",
    "late_rise": "the last scan is above the one before: the tail is not measured",
    "not_ranked": "chosen because simpler curves miss the points, not by AICc: too few scans",
    "misfit": "no curve meets the points within the stated noise: the least bad one, its sd widened",
    "failed": "no fit ended: trapezoids with a physical tail were used instead",
    "given_rate": "the clearance was given, not measured",
    "unidentified": "the curve's sd exceeds its integral: trapezoids with a physical tail were used instead",
}
"""Name and meaning of each bit of a flag map, from the lowest."""

BIT = {name: 1 << k for k, name in enumerate(FLAGS)}


class RegionSum(NamedTuple):
    """Integral over voxels in MBq h; `sd_MBq_h` of noise, and `correlated_sd_MBq_h` shared by all voxels and scans."""

    tia_MBq_h: float
    sd_MBq_h: float
    correlated_sd_MBq_h: float


@dataclass(frozen=True)
class VoxelTIA:
    """Maps of one shape: integral, its sd from noise, model (`NAMES`), flags (`BIT`), terminal half-life, tail part.

    `correlated_relative_sd` (calibration, recovery) is common to all voxels and not in `sd_MBq_h_mL`. `warnings` says
    what is wrong with the study as a whole; `method` how the integrals were made; `noise_factor` by how much residuals
    exceed the stated noise (None where nothing could be compared).
    """

    tia_MBq_h_mL: np.ndarray
    sd_MBq_h_mL: np.ndarray
    model: np.ndarray
    flags: np.ndarray
    teff_h: np.ndarray
    after_last: np.ndarray
    correlated_relative_sd: float
    noise_factor: float | None
    method: str
    warnings: tuple[str, ...]

    def where(self, flag: str) -> np.ndarray:
        """Mask of the voxels that carry a flag of `FLAGS`."""
        return (self.flags & BIT[flag]) != 0

    def counts(self) -> dict[str, int]:
        """Number of voxels under each model and each flag that occurs."""
        models = {name: int((self.model == k).sum()) for k, name in enumerate(NAMES)}
        flags = {f"flag {name}": int(self.where(name).sum()) for name in FLAGS}
        return {name: count for name, count in (models | flags).items() if count}

    def total(self, mask, voxel_mL: float, voxels_per_resolution: float = 1.0) -> RegionSum:
        """Sum over the voxels of `mask` that have an integral.

        `voxels_per_resolution` is how many neighbours share their noise (of the order of the resolution volume over the
        voxel's); with 1, voxels count as independent, which understates the sd in reconstructed images.
        """
        use = np.asarray(mask, dtype=bool) & np.isfinite(self.tia_MBq_h_mL)
        tia = float(self.tia_MBq_h_mL[use].sum()) * voxel_mL
        sd = float(np.sqrt((self.sd_MBq_h_mL[use] ** 2).sum() * voxels_per_resolution)) * voxel_mL
        return RegionSum(tia, sd, abs(tia) * self.correlated_relative_sd)


def total_warnings(time_h, total, physical_per_h: float) -> list[str]:
    """What the summed activity [scan] shows: after administration, decay-corrected, it can fall but hardly rise."""
    found, corrected = [], np.asarray(total) * np.exp(physical_per_h * np.asarray(time_h))
    for k in range(len(corrected) - 1):
        late = time_h[k] >= limit("uptake_complete_h")
        allowed = limit("late_total_rise" if late else "early_total_rise")
        if corrected[k + 1] > corrected[k] * (1 + allowed):
            ratio = corrected[k + 1] / corrected[k] if corrected[k] > 0 else np.inf
            span = f"from {time_h[k]:g} h to {time_h[k + 1]:g} h"
            why = "later than uptake can explain" if late else "more than uptake into the field of view explains"
            do = "check that the scans are calibrated to each other, cover the same field and are not decay-corrected"
            found.append(f"decay-corrected total activity rises {ratio:.3g} times {span}, {why}: {do}")
    return found


def map_warnings(tia, flags, noise_factor: float | None) -> list[str]:
    """What the maps show as a whole."""
    found = []
    finite = np.where(np.isfinite(tia), np.maximum(tia, 0.0), 0.0)
    share = finite[(flags & BIT["at_physical"]) != 0].sum() / max(finite.sum(), 1e-300)
    if share > limit("physical_share"):
        found.append(f"{share:.0%} of the integral lies in voxels that fall no faster than physical decay")
    if noise_factor is not None and not 1 / limit("noise_factor") < noise_factor < limit("noise_factor"):
        why = "check the noise, and whether the curves are too simple"
        found.append(f"residuals are {noise_factor:.2g} times what the stated noise gives: {why}")
    for name in ("invalid", "late_rise", "misfit", "failed", "unidentified"):
        count = int(((flags & BIT[name]) != 0).sum())
        if count:
            found.append(f"{count} voxels: {FLAGS[name]}")
    return found
