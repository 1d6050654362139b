"""Regions of a dose map: mean dose with its interval and budget, integral, volume, D95 and D50, and what the tail is.

Parts of the budget are relative sds, taken as independent. The contour's error puts counts and volume wrong together
(Gear et al., Eur J Nucl Med Mol Imaging 2018;45:2456), so that a mean dose has only their difference. Partial volume is
not corrected voxel by voxel: what a sphere of this volume may lose is the part "recovery".
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.voxel_result import VoxelTIA
from dose.histograms import dvh
from imaging.recovery import Measurement
from imaging.scan_budget import contour_parts, recovery_cv, registration_cv
from twin.dose_maps_noise import Noise, mean_dose
from twin.dose_maps_scans import AlignedScans

PARTS = ("noise", "clearance", "calibration", "recovery", "contour", "registration", "engine")
Z90 = 1.6449
"""Half-width of a normal 90 % interval in sds."""

RISING_SHARE = 0.1
"""Share of a region's integral in voxels that still rise, or tell no clearance, that is put in words."""

SEEN_SHARE = 0.99


@dataclass(frozen=True)
class RegionDose:
    """One row of the table. `budget` holds the relative sd of each of `PARTS` for the mean dose.

    `tail_share` is the part of the integral after the last scan; `rising_share` and `physical_share` the parts in
    voxels whose last scan exceeds the one before, and whose tail is physical decay for want of a measured clearance;
    `seen_share` of the volume was seen by all scans. `teff_h` is the half-life of the voxels' tails, averaged by their
    integral.
    """

    region: str
    volume_mL: float
    mass_g: float
    tia_MBq_h: float
    tia_relative_sd: float
    dose_Gy: float
    budget: dict[str, float]
    D95_Gy: float
    D50_Gy: float
    max_Gy: float
    teff_h: float
    tail_share: float
    rising_share: float
    physical_share: float
    seen_share: float

    @property
    def relative_sd(self) -> float:
        return math.hypot(*self.budget.values())

    @property
    def dose_sd_Gy(self) -> float:
        return self.relative_sd * self.dose_Gy

    @property
    def interval_Gy(self) -> tuple[float, float]:
        """90 % interval, lognormal: doses are above zero."""
        return interval90(self.dose_Gy, self.relative_sd)

    @property
    def warnings(self) -> tuple[str, ...]:
        found = []
        rule = "its tail is physical decay, which overstates the dose if it clears sooner"
        if self.rising_share > RISING_SHARE:
            found.append(
                f"{self.region}: {self.rising_share:.0%} of its integral lies in voxels that still rise at the last "
                f"scan; no clearance was measured, {rule}; {self.tail_share:.0%} of the integral is after the last scan"
            )
        elif self.physical_share > RISING_SHARE:
            found.append(
                f"{self.region}: {self.physical_share:.0%} of its integral lies in voxels whose scans tell no "
                f"clearance; {rule}; {self.tail_share:.0%} of the integral is after the last scan"
            )
        if self.seen_share < SEEN_SHARE:
            found.append(
                f"{self.region}: {1 - self.seen_share:.0%} of it was not seen by all scans and has no integral"
            )
        return tuple(found)

    def row(self) -> dict:
        low, high = self.interval_Gy
        return {
            "region": self.region, "dose_Gy": self.dose_Gy, "dose_sd_Gy": self.dose_sd_Gy, "dose_Gy_lower90": low,
            "dose_Gy_upper90": high, "D95_Gy": self.D95_Gy, "D50_Gy": self.D50_Gy, "max_Gy": self.max_Gy,
            "tia_MBq_h": self.tia_MBq_h, "tia_sd_MBq_h": self.tia_relative_sd * self.tia_MBq_h,
            "volume_mL": self.volume_mL, "mass_g": self.mass_g, "teff_h": self.teff_h, "tail_share": self.tail_share,
            "rising_share": self.rising_share, "physical_share": self.physical_share, "seen_share": self.seen_share,
            **{f"{part}_relative_sd": sd for part, sd in self.budget.items()},
        }  # fmt: skip


def interval90(value: float, relative_sd: float) -> tuple[float, float]:
    """Lognormal interval about `value` with this relative sd."""
    width = Z90 * math.sqrt(math.log1p(relative_sd**2))
    return value * math.exp(-width), value * math.exp(width)


def region_doses(
    scans: AlignedScans,
    tia: VoxelTIA,
    density_g_cm3: np.ndarray,
    dose_Gy: np.ndarray,
    noise: Noise,
    masks: Mapping[str, np.ndarray],
    how: Measurement,
    tail_sd: np.ndarray,
    engine_sd: np.ndarray | None = None,
) -> tuple[RegionDose, ...]:
    """A row a region that has a dose; `masks` are shares of voxels on the grid of the maps.

    `tail_sd` [z, y, x] is what is not known of each voxel's clearance, relative to its integral; `engine_sd` that of
    the dose engine, relative to each voxel's dose, shared by all voxels of a region; None where it states none.
    """
    about = scans, tia, density_g_cm3, dose_Gy, noise, how, tail_sd, engine_sd
    rows = [_row(name, mask, *about) for name, mask in masks.items()]
    return tuple(sorted((row for row in rows if row.dose_Gy > 0), key=lambda row: row.region))


def _row(name, mask, scans, tia, density, dose_Gy, noise, how, tail_sd, engine_sd) -> RegionDose:
    voxel_mL = scans.grid.voxel_mL
    weight = mask * np.nan_to_num(tia.tia_MBq_h_mL)
    integral, dose = float(weight.sum()), mean_dose(dose_Gy, mask, density)
    part = lambda values: float((weight * np.nan_to_num(values)).sum()) / integral if integral > 0 else 0.0
    histogram = dvh(np.maximum(dose_Gy, 0.0), mask, voxel_mL)
    drawn = scans.drawn.masks[name]
    volume_mL = float(drawn.array.sum(dtype=float)) * drawn.voxel_mL
    engine = 0.0 if engine_sd is None or dose <= 0 else mean_dose(engine_sd * dose_Gy, mask, density) / dose
    budget = _budget(name, drawn, volume_mL, scans, noise, how, dose, part(tail_sd), engine)
    counts, _ = contour_parts(volume_mL, drawn, how)
    relative = math.hypot(
        noise.tia_sd_MBq_h[name] / max(integral * voxel_mL, 1e-30), counts,
        *(budget[k] for k in ("clearance", "calibration", "recovery", "registration")),
    )  # fmt: skip
    return RegionDose(
        region=name,
        volume_mL=volume_mL,
        mass_g=float((mask * density).sum()) * voxel_mL,
        tia_MBq_h=integral * voxel_mL,
        tia_relative_sd=relative,
        dose_Gy=dose,
        budget=budget,
        D95_Gy=histogram.dose_at(95),
        D50_Gy=histogram.dose_at(50),
        max_Gy=histogram.max_Gy,
        teff_h=part(tia.teff_h),
        tail_share=part(tia.after_last),
        rising_share=part(_rising(scans)),
        physical_share=part(physical_tail(tia)),
        seen_share=float((mask * np.isfinite(tia.tia_MBq_h_mL)).sum() / mask.sum()),
    )


def physical_tail(tia: VoxelTIA) -> np.ndarray:
    """Voxels whose tail falls by physical decay because no clearance was measured."""
    return np.any([tia.where(flag) for flag in ("at_physical", "late_rise", "failed", "unidentified")], axis=0)


def _rising(scans: AlignedScans) -> np.ndarray:
    """Voxels whose last scan shows more than the one before."""
    if len(scans.time_h) < 2:
        return np.zeros(scans.activity_MBq_mL.shape[1:], dtype=bool)
    return scans.activity_MBq_mL[-1] > scans.activity_MBq_mL[-2]


def _budget(name, drawn, volume_mL, scans, noise, how, dose, clearance, engine) -> dict[str, float]:
    counts, volume = contour_parts(volume_mL, drawn, how)
    image = drawn.with_array(scans.reference.volume.array)
    place = scans.drawn.shift_sd_mm, *scans.shift_sd_mm
    found = (
        noise.mean_sd_Gy[name] / dose if dose > 0 else 0.0,
        clearance,
        how.calibration_cv,
        recovery_cv(volume_mL, how, is_recovered=False),
        abs(volume - counts),
        registration_cv(image, drawn, max(place)),
        engine,
    )
    return dict(zip(PARTS, found, strict=True))
