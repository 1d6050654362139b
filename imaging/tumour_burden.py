"""Lesions found by classical thresholds, and what they add up to: volume (TMTV), uptake (TLU), activity (TLA).

Thresholds: a share of the maximum (41 %, Boellaard 2015), a fixed SUV, or one from the liver (1.5 mean + 2 sd, after
PERCIST, Wahl 2009). Islands are joined over faces, edges and corners (26 neighbours); those below a least volume are
dropped. Each is simple, known and wrong in its own way: a share of the maximum grows with the noise, a fixed value
loses faint lesions. They serve beside a reader, and as the yardstick of anything learned.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.ndimage import label

from dose.errors import ImageError, InputError, describe
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.noise_model import NoiseModel
from imaging.recovery import volume_sd
from imaging.region_means import check_mask, region_statistics

NORMAL_95 = 1.959963984540054
"""Half-width of a central 95 % interval of a normal distribution in sd."""


def threshold_mask(
    image: Volume, threshold: float, *, within: Volume | None = None, minimum_volume_mL: float | None = None
) -> Volume:
    """Voxels at or above `threshold` (and within a region), in islands of at least `minimum_volume_mL` (0.5 mL)."""
    least = default_of("any", "minimum_volume") if minimum_volume_mL is None else minimum_volume_mL
    above = image.array >= threshold
    if within is not None:
        check_mask(image, within)
        above &= within.array > 0.5
    islands = _islands(above)
    counts = np.bincount(islands.ravel())
    kept = counts * image.voxel_mL >= least * (1 - 1e-9)
    kept[0] = False
    return image.with_array(kept[islands])


def relative_mask(image: Volume, seed: Volume, share: float | None = None, *, minimum_volume_mL=0.0) -> Volume:
    """The island about the hottest voxel of `seed`, at or above `share` (0.41) of it, within the seed."""
    check_mask(image, seed)
    part = default_of("relative", "share_of_maximum") if share is None else share
    if not 0 < part < 1:
        raise InputError(describe("share of the maximum", f"{part:g}", "between 0 and 1", "give a share, as 0.41"))
    inside = np.where(seed.array > 0.5, image.array, -np.inf)
    top = np.unravel_index(int(np.argmax(inside)), inside.shape)
    if not inside[top] > 0:
        raise ImageError(describe("seed", "no voxel above zero", "a lesion with uptake", "draw it about the lesion"))
    island = threshold_mask(image, part * float(inside[top]), within=seed, minimum_volume_mL=minimum_volume_mL)
    islands = _islands(island.array > 0)
    return image.with_array((islands == islands[top]) & (islands > 0))


def liver_threshold(image: Volume, liver: Volume) -> float:
    """1.5 times the mean of the liver region plus 2 sd of its voxels (after PERCIST, which asks for SUL)."""
    check_mask(image, liver)
    seen = image.array[liver.array > 0.5].astype(float)
    return default_of("liver", "mean_factor") * float(seen.mean()) + default_of("liver", "sd_factor") * float(
        seen.std()
    )


def lesion_masks(mask: Volume) -> list[Volume]:
    """One mask for each island (26 neighbours), largest first."""
    islands = _islands(mask.array > 0.5)
    sizes = np.bincount(islands.ravel())[1:]
    return [mask.with_array(islands == k + 1) for k in np.argsort(-sizes, kind="stable")]


class Interval(NamedTuple):
    """A value with the ends of its 95 % interval; the lower end of what cannot be negative is not below zero."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Lesion:
    """One lesion: volume, SUV (or the image's unit) and activity. `centre_lps_mm` weighs voxels alike."""

    centre_lps_mm: tuple[float, float, float]
    volume_mL: Interval
    mean: Interval
    maximum: float
    peak: float
    uptake: Interval
    activity_MBq: Interval | None


@dataclass(frozen=True)
class LesionBurden:
    """All lesions and their sums.

    `volume_mL` is TMTV; `uptake` (SUV mL, sum of volume x mean) is what goes by TL-SUV, TLU, TLG for FDG, TLF for
    fluoride and TL-PSMA; `activity_MBq` is TLA, at the time of the activity image; `administered_share` is the part of
    the administered activity, corrected for decay, that the lesions hold.
    """

    lesions: tuple[Lesion, ...]
    volume_mL: Interval
    uptake: Interval
    activity_MBq: Interval | None
    administered_share: float | None


def lesion_burden(
    image: Volume,
    masks: list[Volume],
    noise: NoiseModel,
    *,
    activity: Volume | None = None,
    scale_relative_sd: float = 0.0,
    delineation_fwhm_mm: float | None = None,
    administered_MBq: float | None = None,
) -> LesionBurden:
    """Table and sums of lesions `masks` in `image` (SUV) and `activity` (Bq/mL on the same grid).

    Intervals: volumes by Gear 2018 from voxel size and `delineation_fwhm_mm` (the image's voxel where not given), which
    the sums take as common to all lesions, as a threshold's bias is; means by noise; `scale_relative_sd` (calibration)
    common to all. `administered_MBq` is what is left of the administered activity at the time of the activity image.

    Raises:
        ImageError: no masks, one that is empty, or grids that differ.
    """
    if not masks:
        raise ImageError(describe("lesions", "none", "one or more masks", "check the threshold"))
    voxel_mm = image.voxel_mL ** (1 / 3) * 10
    sharpness = voxel_mm if delineation_fwhm_mm is None else delineation_fwhm_mm
    rows = [_row(image, mask, noise, activity, scale_relative_sd, voxel_mm, sharpness) for mask in masks]
    lesions, sds = [r[0] for r in rows], np.array([r[1] for r in rows])
    volume, uptake = sum(x.volume_mL.value for x in lesions), sum(x.uptake.value for x in lesions)
    by_volume, by_noise = float(sds[:, 0].sum()), float(np.linalg.norm(sds[:, 1]))
    edges = float(sds[:, 2].sum())
    uptake_sd = math.hypot(by_noise, edges, scale_relative_sd * uptake)
    total = None
    if activity is not None:
        held = sum(x.activity_MBq.value for x in lesions if x.activity_MBq)
        total = _interval(held, uptake_sd / uptake * held if uptake else 0.0)
    share = total.value / administered_MBq if total and administered_MBq else None
    return LesionBurden(tuple(lesions), _interval(volume, by_volume), _interval(uptake, uptake_sd), total, share)


def _row(image, mask, noise, activity, scale_sd, voxel_mm, sharpness):
    """A lesion, and its sds of volume, of uptake from noise, and of uptake from its edge.

    Moving the edge adds or takes voxels at the rim, which hold about half of the mean (Gear 2018, phi/2R near 1/2).
    """
    found = region_statistics(image, mask, noise)
    relative = volume_sd(found.volume_mL, voxel_mm, sharpness)
    by_noise, by_edge = found.total_sd, 0.5 * relative * found.total
    uptake_sd = math.hypot(by_noise, by_edge, scale_sd * found.total)
    held = None
    if activity is not None:
        check_mask(activity, mask)
        amount = float(np.vdot(mask.array.astype(float), activity.array.astype(float))) * mask.voxel_mL / 1e6
        held = _interval(amount, uptake_sd / found.total * amount if found.total else 0.0)
    index = np.argwhere(mask.array > 0.5 * mask.array.max()).mean(axis=0)[::-1]
    lesion = Lesion(
        centre_lps_mm=tuple(float(v) for v in mask.to_lps_mm(index)),  # type: ignore[arg-type]
        volume_mL=_interval(found.volume_mL, relative * found.volume_mL),
        mean=_interval(found.mean, math.hypot(found.sd_of_mean, scale_sd * found.mean)),
        maximum=found.maximum,
        peak=found.peak,
        uptake=_interval(found.total, uptake_sd),
        activity_MBq=held,
    )
    return lesion, (relative * found.volume_mL, by_noise, by_edge)


def _interval(value: float, sd: float) -> Interval:
    return Interval(value, max(0.0, value - NORMAL_95 * abs(sd)), value + NORMAL_95 * abs(sd))


def _islands(above: np.ndarray) -> np.ndarray:
    return label(above, structure=np.ones((3, 3, 3)))[0]  # type: ignore[index]


def default_of(threshold: str, quantity: str) -> float:
    """A value of `data/lesion_thresholds.csv`."""
    rows = load_table("imaging", "lesion_thresholds.csv")
    return next(float(r["value"]) for r in rows if (r["threshold"], r["quantity"]) == (threshold, quantity))
