"""90Y dose maps from images: predicted from 99mTc-MAA SPECT, found by 90Y PET or bremsstrahlung SPECT, side by side.

An image whose counts are only relative is scaled so that the perfused volume holds the administered activity less the
lungs' (the patient's own calibration of Chiesa et al. 2021); a quantitative one is taken as it is and compared with
it. Spheres stay, so each voxel's integral is its activity over the decay constant. Dose by local deposition, or by an
engine of your own. Intervals come from factors of whole regions (ratio or recovery, contour, shunt, activity), under
which all numbers of a histogram scale; noise of single voxels is not in them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from dose.estimates import Estimate, estimate, generator
from dose.histograms import DVH, dvh
from dose.sirt.basics import checked, remaining, sirt_value
from dose.sirt.image import Engine, Map, checked_image, dose, liver_region, perfused, scaled, spilled, total
from dose.sirt.liver import SirtSpread, default_spread
from dose.sirt.partition import DRAWS, PERFUSED, WHOLE, drawn_shares


@dataclass(frozen=True)
class VoxelRegion:
    """Numbers of a region's histogram, each with its interval: mean and D95 in Gy, V at the level in percent."""

    region: str
    volume_mL: float
    mean_Gy: Estimate
    d95_Gy: Estimate
    v_level_percent: Estimate


@dataclass(frozen=True, eq=False)
class VoxelDoses:
    """A dose map [z, y, x] of an activity, the histogram of each region, and their numbers with intervals."""

    dose_Gy: Map
    activity_GBq: float
    level_Gy: float
    regions: tuple[VoxelRegion, ...]
    histograms: dict[str, DVH]
    warnings: tuple[str, ...]

    def table(self):
        """pandas: a row for each region."""
        import pandas as pd

        level = f"V{self.level_Gy:g}_percent"
        rows = [
            {"region": one.region, "volume_mL": one.volume_mL}
            | one.mean_Gy.row("mean_Gy") | one.d95_Gy.row("D95_Gy") | one.v_level_percent.row(level)
            for one in self.regions
        ]  # fmt: skip
        return pd.DataFrame(rows)

    def activity_GBq_for(self, name: str, dose_Gy: float, percent: float | None = None) -> float:
        """The activity that gives a region a mean dose, or that dose to `percent` of it (95: D95), by this map."""
        found = self.histograms[_known(name, tuple(self.histograms))]
        reached = found.mean_Gy if percent is None else found.dose_at(percent)
        return self.activity_GBq * checked("dose_Gy", dose_Gy, 0.0, 5000.0, "give Gy", open_low=True) / float(reached)


def _known(name: str, names: tuple[str, ...]) -> str:
    wanted = liver_region(name)
    if wanted not in names:
        raise InputError(describe("region", name, "one of " + ", ".join(names), "correct the name"))
    return wanted


def predict_voxels(
    counts: Map, regions: dict[str, np.ndarray], *, voxel_mL: float, activity_GBq: float, lung_shunt: float,
    shunt_by: str = "spect", density_g_mL: Map | float | None = None, engine: Engine | None = None,
    level_Gy: float = 205.0, spread: SirtSpread | None = None, draws: int = DRAWS, seed: int = 0,
) -> VoxelDoses:  # fmt: skip
    """Dose map that MAA SPECT predicts for an administered activity.

    Args:
        counts: SPECT counts [z, y, x], attenuation and scatter corrected.
        regions: masks of tumours ("tumour_1") and of "normal_liver_perfused", without overlap: together what the
            injection perfuses. A mask "normal_liver_whole" may be added to be reported.
        density_g_mL: from CT, or one number; left out, that of liver.
        engine: left out, local deposition.

    Raises:
        InputError: grids or masks that do not fit, counts below 0, or numbers outside their range.
    """
    spread = spread or default_spread(shunt_by)
    image, masks = checked_image(counts, regions, voxel_mL)
    inside = perfused(masks)
    notes = spilled(image, inside)
    for name, mask in masks.items():
        if name.startswith("tumour_"):
            image = np.where(mask, image * spread.tn_factor, image)
    activity_MBq = scaled(image, inside, activity_GBq, lung_shunt)
    factors = _factors(masks, activity_MBq, spread, spread.tn, lung_shunt, draws, seed, "predicted")
    gray = dose(activity_MBq, inside, voxel_mL, density_g_mL, engine)
    return _collected(gray, masks, voxel_mL, activity_GBq, level_Gy, factors, notes)


def delivered_voxels(
    image: Map, regions: dict[str, np.ndarray], *, voxel_mL: float, activity_GBq: float, lung_shunt: float,
    shunt_by: str = "spect", hours_after: float | None = None, density_g_mL: Map | float | None = None,
    engine: Engine | None = None, level_Gy: float = 205.0, spread: SirtSpread | None = None, draws: int = DRAWS,
    seed: int = 0,
) -> VoxelDoses:  # fmt: skip
    """Dose map found by 90Y PET or bremsstrahlung SPECT after the treatment.

    With `hours_after` (administration to scan) the image is quantitative, in Bq/mL present at the scan; without it the
    counts are relative and scaled to the administered activity. Otherwise as `predict_voxels`; `spread.tn` is not
    used, since recovery takes its place.

    Raises:
        InputError: as `predict_voxels`, or an image that cannot be Bq/mL of this activity.
    """
    spread = spread or default_spread(shunt_by)
    values, masks = checked_image(image, regions, voxel_mL)
    inside = perfused(masks)
    notes, sd = spilled(values, inside), None
    if hours_after is None:
        activity_MBq = scaled(values, inside, activity_GBq, lung_shunt)
    else:
        activity_MBq = np.where(inside, values, 0.0) * voxel_mL * 1e-6 / remaining(hours_after)
        notes += total(activity_MBq, activity_GBq, lung_shunt)
        sd = sirt_value("image_log_sd", scenario="post")
    recovery = sirt_value("recovery_log_sd", scenario="post")
    factors = _factors(masks, activity_MBq, spread, recovery, lung_shunt, draws, seed, "delivered", sd)
    gray = dose(activity_MBq, inside, voxel_mL, density_g_mL, engine)
    return _collected(gray, masks, voxel_mL, activity_GBq, level_Gy, factors, notes)


def _factors(
    masks, activity_MBq, spread, tumour_sd, lung_shunt, draws, seed, purpose, image_sd=None
) -> dict[str, np.ndarray]:
    """Factor of each region's dose, [draw]: activity is kept where the image is relative, free where quantitative."""
    rng = generator(draws, seed, purpose)
    parts = {name: mask for name, mask in masks.items() if name != WHOLE}
    own = {
        name: np.exp(tumour_sd * rng.standard_normal(draws)) if name != PERFUSED else np.ones(draws) for name in parts
    }
    held = {name: float(np.sum(activity_MBq[mask])) for name, mask in parts.items()}
    if image_sd is None:
        shunt = drawn_shares(lung_shunt, spread.lung_odds, draws, rng)
        total = np.exp(spread.activity * rng.standard_normal(draws)) * (1 - shunt) / (1 - lung_shunt)
        total = total * sum(held.values()) / sum(held[name] * own[name] for name in parts)
    else:
        total = np.exp(image_sd * rng.standard_normal(draws))
    contour = {
        name: np.exp((spread.normal_mass if name == PERFUSED else spread.tumour_mass) * rng.standard_normal(draws))
        for name in parts
    }
    factors = {name: total * own[name] * contour[name] for name in parts}
    return factors | ({WHOLE: factors[PERFUSED]} if WHOLE in masks else {})


def _collected(gray, masks, voxel_mL, activity_GBq, level_Gy, factors, notes) -> VoxelDoses:
    checked("level_Gy", level_Gy, 0.0, 5000.0, "give Gy", open_low=True)
    histograms = {name: dvh(gray, mask, voxel_mL) for name, mask in masks.items()}
    found = tuple(_numbers(name, one, level_Gy, factors[name]) for name, one in histograms.items())
    notes = (*notes, "intervals: errors of whole regions, without the noise of single voxels")
    return VoxelDoses(gray, activity_GBq, level_Gy, found, histograms, notes)


def _percent_above(found: DVH, level_Gy):
    """V at one level or at many, of voxels of one size in falling order of dose."""
    falling = found.dose_Gy[0]
    return 100 * np.searchsorted(-falling, -np.asarray(level_Gy), side="right") / len(falling)


def _numbers(name: str, found: DVH, level_Gy: float, factor: np.ndarray) -> VoxelRegion:
    mean, d95 = float(found.mean_Gy), float(found.dose_at(95))
    above = estimate(_percent_above(found, level_Gy), _percent_above(found, level_Gy / factor))
    return VoxelRegion(name, found.volume_mL, estimate(mean, mean * factor), estimate(d95, d95 * factor), above)
