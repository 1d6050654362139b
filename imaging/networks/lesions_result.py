"""What a lesion segmentation hands back: probability, mask, labels, a table with intervals, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import binary_dilation, find_objects, label

from dose.learning.ranges import Choice
from imaging.geometry import Volume
from imaging.noise_model import NoiseModel, noise_of_width
from imaging.tumour_burden import NORMAL_95, Interval, Lesion, LesionBurden, lesion_burden, lesion_masks

NOISE_SHARE = 0.1
"""Sd of a voxel over the image's 99th percentile within lesions, where no noise model is given: a working value."""

NOISE_fwhm_mm = 6.0
REACH_VOXELS = 2
"""Planes may place an edge this far from where their mean does."""


@dataclass(frozen=True)
class LesionSegmentation:
    """Lesions of one scan.

    Attributes:
        probability: of lesion, on the image's grid; of a threshold 0 or 1, of fuzzy C-means the membership.
        sd: spread of the probability over the three planes; 0 for classical methods.
        mask: 1 in lesions.
        labels: 1, 2, ... from the largest lesion on.
        lesions: rows in the order of labels.
        burden: sums (TMTV, TLU or TLF, TLA) with 95 % intervals; None without lesions.
        choice: method and reasons.
    """

    probability: Volume
    sd: Volume
    mask: Volume
    labels: Volume
    lesions: tuple[Lesion, ...]
    burden: LesionBurden | None
    choice: Choice

    def table(self) -> list[dict]:
        """One dictionary a lesion: label, place, volume and uptake with intervals, SUVmax, SUVpeak, activity."""
        return [
            {"label": k, "centre_lps_mm": one.centre_lps_mm, "volume_mL": one.volume_mL, "suv_max": one.maximum}
            | {"suv_peak": one.peak, "suv_mean": one.mean, "uptake": one.uptake, "activity_MBq": one.activity_MBq}
            for k, one in enumerate(self.lesions, start=1)
        ]


def lesion_segmentation(
    image: Volume,
    planes: Float[np.ndarray, "plane z y x"],
    choice: Choice,
    *,
    threshold: float,
    least_peak: float,
    minimum_volume_mL: float,
    share: float = 0.0,
    noise: NoiseModel | None = None,
    activity: Volume | None = None,
) -> LesionSegmentation:
    """Lesions where the mean probability over planes is at or above `threshold` and somewhere above `least_peak`.

    Where `share` is above 0, each island is then cut to the piece about its maximum at this part of it and above.

    Intervals: those of `lesion_burden`, with the spread of volume and uptake between planes in quadrature.
    """
    mean, sd = planes.mean(axis=0), planes.std(axis=0)
    kept = _islands(mean, threshold, least_peak, minimum_volume_mL / image.voxel_mL)
    kept = _cut(image.array, kept, share) if share > 0 else kept
    masks = lesion_masks(image.with_array(kept)) if kept.any() else []
    labels = np.zeros(kept.shape, np.float32)
    for number, mask in enumerate(masks, start=1):
        labels[mask.array > 0.5] = number
    burden = None
    if masks:
        burden = lesion_burden(image, masks, noise or _noise(image, kept), activity=activity)
        burden = _wider(burden, *_spreads(image, planes, masks, threshold))
    rows = burden.lesions if burden else ()
    return LesionSegmentation(
        *(image.with_array(a) for a in (mean, sd, kept, labels)), lesions=rows, burden=burden, choice=choice
    )


def _islands(mean: np.ndarray, threshold: float, least_peak: float, least_voxels: float) -> np.ndarray:
    islands, number = label(mean >= threshold, structure=np.ones((3, 3, 3)))  # type: ignore[misc]
    tops = np.zeros(number + 1)
    np.maximum.at(tops, islands.ravel(), mean.ravel())
    kept = (np.bincount(islands.ravel(), minlength=number + 1) >= least_voxels * (1 - 1e-9)) & (tops >= least_peak)
    kept[0] = False
    return kept[islands]


def _cut(values: np.ndarray, kept: np.ndarray, share: float) -> np.ndarray:
    """Of each island the piece about its hottest voxel, at `share` of it and above."""
    islands = label(kept, structure=np.ones((3, 3, 3)))[0]  # type: ignore[index]
    out = np.zeros_like(kept)
    for number, box in enumerate(find_objects(islands), start=1):
        own = islands[box] == number
        inside = np.where(own, values[box], -np.inf)
        top = np.unravel_index(int(np.argmax(inside)), inside.shape)
        pieces = label(inside >= share * inside[top], structure=np.ones((3, 3, 3)))[0]  # type: ignore[index]
        out[box] |= own if inside[top] <= 0 else pieces == pieces[top]
    return out


def outside_organs(planes: np.ndarray, organs: Mapping[str, Volume] | None) -> np.ndarray:
    """Probabilities with 0 in organs whose masks are given, but for the liver, where lesions lie."""
    for name, mask in (organs or {}).items():
        if name != "liver":
            planes = planes * (mask.array <= 0.5)
    return planes


def _noise(image: Volume, kept: np.ndarray) -> NoiseModel:
    level = NOISE_SHARE * max(float(np.quantile(image.array[kept], 0.99)), 0.0)
    return noise_of_width(level, NOISE_fwhm_mm, image.spacing_mm)


def _spreads(image: Volume, planes, masks, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """Sd over planes of each lesion's volume and uptake, [lesion]."""
    found = []
    for mask in masks:
        box = _box(mask.array > 0.5)
        near = binary_dilation(mask.array[box] > 0.5, iterations=REACH_VOXELS)
        own = (planes[(slice(None), *box)] >= threshold) & near
        volumes = own.sum(axis=(1, 2, 3)) * image.voxel_mL
        uptakes = (own * image.array[box]).sum(axis=(1, 2, 3)) * image.voxel_mL
        found.append([volumes.std(ddof=1) if len(planes) > 1 else 0.0, uptakes.std(ddof=1) if len(planes) > 1 else 0.0])
    spreads = np.array(found)
    return spreads[:, 0], spreads[:, 1]


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    index = np.argwhere(mask)
    lows, highs = index.min(axis=0) - REACH_VOXELS, index.max(axis=0) + REACH_VOXELS + 1
    return tuple(slice(max(0, int(a)), int(b)) for a, b in zip(lows, highs))


def _wider(burden: LesionBurden, volumes: np.ndarray, uptakes: np.ndarray) -> LesionBurden:
    rows = tuple(_row(row, v, u) for row, v, u in zip(burden.lesions, volumes, uptakes))
    total = _grown(burden.uptake, float(uptakes.sum()))
    relative = float(uptakes.sum()) / burden.uptake.value if burden.uptake.value else 0.0
    held = burden.activity_MBq and _grown(burden.activity_MBq, relative * burden.activity_MBq.value)
    return LesionBurden(rows, _grown(burden.volume_mL, float(volumes.sum())), total, held, burden.administered_share)


def _row(row: Lesion, volume_sd: float, uptake_sd: float) -> Lesion:
    relative = uptake_sd / row.uptake.value if row.uptake.value else 0.0
    held = row.activity_MBq and _grown(row.activity_MBq, relative * row.activity_MBq.value)
    uptake = _grown(row.uptake, uptake_sd)
    volume = _grown(row.volume_mL, volume_sd)
    return Lesion(row.centre_lps_mm, volume, row.mean, row.maximum, row.peak, uptake, held)


def _grown(interval: Interval, sd: float) -> Interval:
    """The interval with one more sd in quadrature."""
    own = (interval.high - interval.value) / NORMAL_95
    half = NORMAL_95 * math.hypot(own, sd)
    return Interval(interval.value, max(0.0, interval.value - half), interval.value + half)
