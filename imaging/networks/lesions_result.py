"""What a lesion segmentation hands back: probability, mask, labels, a table with intervals, and how it was made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.ndimage import binary_dilation, distance_transform_edt, find_objects, label, maximum_filter

from dose.learning.ranges import Choice, not_negative
from imaging.geometry import Volume
from imaging.noise_model import NoiseModel, noise_of_width
from imaging.tumour_burden import (
    NORMAL_95,
    Interval,
    Lesion,
    LesionBurden,
    default_of,
    lesion_burden,
    lesion_masks,
)

NOISE_SHARE = 0.1
"""Sd of a voxel over the image's 99th percentile within lesions, where no noise model is given: a working value."""

NOISE_fwhm_mm = 6.0
TOUCHING = np.ones((3, 3, 3))
"""Voxels hang together by faces, edges and corners."""

APART_mm = 10.0
"""Hottest places of one island that lie farther apart along an axis are lesions of their own: 5 voxels of 5 mm about
each; on 16 held-out scans 5 mm found as many lesions, 15 mm one less."""

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

    Where `share` is above 0, each island is cut to the pieces about its hottest places (`APART_mm`) at this part of
    their own maximum and above. Islands that are then smaller than `minimum_volume_mL` are no lesions. Lesions whose
    pieces touch are one row.

    Intervals: those of `lesion_burden`, with the spread of volume and uptake between planes in quadrature.
    """
    mean, sd = planes.mean(axis=0), planes.std(axis=0)
    kept = _islands(mean, threshold, least_peak)
    kept = _cut(image, mean >= least_peak, kept, share) if share > 0 else kept
    kept = _large(kept, minimum_volume_mL / image.voxel_mL)
    masks = lesion_masks(image.with_array(kept)) if kept.any() else []
    labels = np.zeros(kept.shape, np.float32)
    for number, mask in enumerate(masks, start=1):
        labels[mask.array > 0.5] = number
    burden = None
    if masks:
        burden = lesion_burden(image, masks, noise or _noise(image, kept), activity=activity)
        burden = _wider(burden, *_spreads(image, planes, masks, threshold, share > 0))
    rows = burden.lesions if burden else ()
    return LesionSegmentation(
        *(image.with_array(a) for a in (mean, sd, kept, labels)), lesions=rows, burden=burden, choice=choice
    )


def _islands(mean: np.ndarray, threshold: float, least_peak: float) -> np.ndarray:
    islands, number = label(mean >= threshold, structure=TOUCHING)  # type: ignore[misc]
    tops = np.zeros(number + 1)
    np.maximum.at(tops, islands.ravel(), mean.ravel())
    kept = tops >= least_peak
    kept[0] = False
    return kept[islands]


def _large(kept: np.ndarray, least_voxels: float) -> np.ndarray:
    """The islands of so many voxels or more."""
    islands = label(kept, structure=TOUCHING)[0]  # type: ignore[index]
    large = np.bincount(islands.ravel()) >= least_voxels * (1 - 1e-9)
    large[0] = False
    return large[islands]


def _cut(image: Volume, sure: np.ndarray, kept: np.ndarray, share: float) -> np.ndarray:
    """Of each island the pieces about its hottest places among the sure voxels, at `share` of each and above.

    Each voxel belongs to the hottest place that is nearest.
    """
    islands = label(kept, structure=TOUCHING)[0]  # type: ignore[index]
    window = 2 * np.maximum(np.rint(APART_mm / image.spacing_mm[::-1]).astype(int), 1) + 1
    out = np.zeros_like(kept)
    for number, box in enumerate(find_objects(islands), start=1):
        own = islands[box] == number
        inside = np.where(own, image.array[box], -np.inf)
        tops = _tops(inside, own & sure[box], tuple(window))
        nearest = tuple(distance_transform_edt(~tops, return_distances=False, return_indices=True))
        basins, peak = label(tops, structure=TOUCHING)[0][nearest], inside[nearest]  # type: ignore[index]
        above = own & ((inside >= share * peak) | (peak <= 0))
        for k in range(1, int(basins.max()) + 1):
            out[box] |= _with(tops, above & (basins == k))
    return out


def _tops(inside: np.ndarray, sure: np.ndarray, window: tuple[int, ...]) -> np.ndarray:
    """The sure voxels that are the hottest of their window; the hottest voxel of all where there is none."""
    tops = (maximum_filter(inside, window) == inside) & sure
    return tops if tops.any() else inside == inside.max()


def _with(tops: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The pieces of a mask that hold one of the tops."""
    pieces = label(mask, structure=TOUCHING)[0]  # type: ignore[index]
    return np.isin(pieces, np.setdiff1d(np.unique(pieces[tops & mask]), [0]))


def least_mL(minimum_volume_mL: float | None) -> float:
    """The least volume of a lesion: 0.5 mL where none is given.

    Raises:
        InputError: no number, or one below zero.
    """
    if minimum_volume_mL is None:
        return default_of("any", "minimum_volume")
    not_negative(minimum_volume_mL=minimum_volume_mL)
    return float(minimum_volume_mL)


def outside_organs(planes: np.ndarray, organs: Mapping[str, Volume] | None) -> np.ndarray:
    """Probabilities with 0 in organs whose masks are given, but for the liver, where lesions lie."""
    for name, mask in (organs or {}).items():
        if name != "liver":
            planes = planes * (mask.array <= 0.5)
    return planes


def _noise(image: Volume, kept: np.ndarray) -> NoiseModel:
    level = NOISE_SHARE * max(float(np.quantile(image.array[kept], 0.99)), 0.0)
    return noise_of_width(level, NOISE_fwhm_mm, image.spacing_mm)


def _spreads(image: Volume, planes, masks, threshold: float, is_cut: bool) -> tuple[np.ndarray, np.ndarray]:
    """Sd over planes of each lesion's volume and uptake, [lesion].

    Of a lesion that is cut at a share of its maximum only voxels as hot as its coldest count: what planes say of colder
    ones is cut away.
    """
    found = []
    for mask in masks:
        box = _box(mask.array > 0.5)
        inside = mask.array[box] > 0.5
        near = binary_dilation(inside, iterations=REACH_VOXELS)
        if is_cut:
            near &= image.array[box] >= image.array[box][inside].min()
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
