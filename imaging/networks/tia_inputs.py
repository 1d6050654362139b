"""What the networks of time-integrated activity see of a scan, in SUV and HU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from imaging.geometry import Volume
from imaging.networks.denoise import features as image_features
from imaging.networks.tia_scans import TRACERS, LU_HALF_LIFE_h, class_of, means, recovered_mean
from imaging.networks.tia_tables import height_of, predicted_log_tia

SOFT_SUV, SOFT_HU = 0.3, 500.0
USUAL_TIME_h = 72.0
USUAL_FWHM_mm = 10.0
TYPICAL_SUV, TYPICAL_SOFT_SUV = 5.0, 0.5
NAMED = ("kidney", "liver", "spleen", "gland", "tumour")
"""Classes of regions that the networks are told of."""

MARGIN = 0.05
"""By which a feature's range reaches beyond that of the training cases, relative: none of them is below zero."""


def spect_channels(
    suv,
    hu,
    regions: Mapping[str, np.ndarray],
    log_rule,
    tracer: str,
    time_h: float,
    half_life_h: float,
    *,
    fwhm_mm: float,
    spacing_mm,
) -> np.ndarray:
    """[channel, z, y, x]: activity corrected for decay, CT, logarithm of the rule's factor over 2 t/ln 2, region
    channels, then time, half-life, tracer and blur.

    Args:
        suv: with decay as it is.
        regions: those of `told`.
        log_rule: logarithm of the classical factor, h.
        spacing_mm: along z, y, x.
    """
    labels, names = label_map(regions, np.zeros(suv.shape, bool))
    heights = np.zeros(len(names))
    for k in range(2, len(names)):
        if (inside := labels == k).any():
            seen = recovered_mean(suv, inside, fwhm_mm, spacing_mm)
            heights[k] = height_of(tracer, class_of(names[k]), time_h, half_life_h, seen)
    grown = suv * np.exp(np.log(2) * time_h / half_life_h)
    flat = np.log(time_h / USUAL_TIME_h), 4 * np.log(half_life_h / LU_HALF_LIFE_h), _sign(tracer), _blur(fwhm_mm)
    own = [_suv(grown), _hu(hu), log_rule - np.log(2 * time_h / np.log(2))]
    return _channels(own, region_channels(labels, names, heights), flat)


def pet_channels(suv, hu, labels, names: Sequence[str], log_means, tracer: str, fwhm_mm: float) -> np.ndarray:
    """[channel, z, y, x]: uptake, CT, logarithm of the kinetic model's mean, region channels, then tracer, blur and
    the soft tissue's uptake.

    Args:
        labels: of `label_map`, with `names` and `log_means` [label] of `prior_fill`.
    """
    seen, soft = means(suv, labels, len(names)), soft_suv(suv, labels)
    heights = np.log(np.maximum(seen, 0.02) / TYPICAL_SUV)
    flat = _sign(tracer), _blur(fwhm_mm), np.log(max(soft, 0.02) / TYPICAL_SOFT_SUV)
    own = [_suv(suv), _hu(hu), log_means[labels] / 4.0]
    return _channels(own, region_channels(labels, names, heights), flat)


def region_channels(labels, names: Sequence[str], heights) -> list[np.ndarray]:
    """Each region's height and log of its voxels in its place, 0 elsewhere; then by class of NAMED the mean height of
    its regions, everywhere the same.

    Args:
        labels: of `label_map`: 0 and 1 are not regions.
        heights: [label], logarithms about 0.
    """
    high = np.where(np.arange(len(names)) > 1, np.clip(heights, -3, 3), 0.0)
    size = np.log(np.maximum(np.bincount(labels.ravel(), minlength=len(names)), 1.0)) / 4.0
    size[:2] = 0.0
    groups = [[high[k] for k in range(2, len(names)) if class_of(names[k]) == group] for group in NAMED]
    flat = [np.full(labels.shape, np.mean(group) if group else 0.0) for group in groups]
    return [high[labels], size[labels], *flat]


def told(regions: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The regions whose classes the networks know."""
    return {name: mask for name, mask in regions.items() if class_of(name) in NAMED}


def without_class(regions: Mapping[str, np.ndarray], instead: str) -> tuple[str, ...]:
    """Which regions have no class of NAMED, and what they get instead; nothing where all have one."""
    names = ", ".join(name for name in regions if class_of(name) not in NAMED)
    return (f"no class of its own: {names}; {instead}",) if names else ()


def _channels(own, regional, flat) -> np.ndarray:
    same = [np.full(own[0].shape, value) for value in flat]
    return np.stack([*own, *regional, *same]).astype(np.float32)


def prior_fill(suv, labels, names: Sequence[str], tracer: str, volumes_mL) -> np.ndarray:
    """Log of the mean SUV h that the kinetic model's cohort predicts for each label, [label]; small outside."""
    seen, soft = means(suv, labels, len(names)), soft_suv(suv, labels)
    found = np.full(len(names), np.log(1e-3), np.float32)
    for k, name in enumerate(names):
        if k and volumes_mL[k] > 0:
            found[k] = predicted_log_tia(tracer, class_of(name), seen[k], volumes_mL[k], soft)[0]
    return found


def soft_suv(suv, labels) -> float:
    """Median over the body, which is soft tissue in the main."""
    inside = suv[labels > 0]
    return float(np.median(inside)) if inside.size else 0.0


def named_regions(labels, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Masks of the labels whose classes users segment; the others are left to the rest of the body."""
    held = set(np.unique(labels).tolist())
    return {n: labels == k for k, n in enumerate(names) if k in held and class_of(n) in NAMED}


def label_map(regions: Mapping[str, np.ndarray], body: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Labels of masks of NAMED over the rest of the body, to which others go; where they overlap, the later one holds.

    Args:
        regions: boolean masks with voxels, as `tia_checks.masks_on` gives them.
        body: boolean, of their shape.
    """
    labels, names = body.astype(np.int32), ["outside", "remainder"]
    for name, mask in regions.items():
        if class_of(name) not in NAMED:
            continue
        labels[np.asarray(mask, bool)] = len(names)
        names.append(name)
    return labels, names


def body_mask(hu: np.ndarray) -> np.ndarray:
    """Where the CT shows more than air: lungs included."""
    return hu > -950.0


def seen_features(volume: Volume, suv, hu, fwhm_mm: float) -> dict[str, float]:
    """What of a scan decides whether a network may be used on it."""
    general = image_features(volume)
    inside = suv[body_mask(hu)]
    return {
        "voxel_mm": general["voxel_mm"],
        "longest over shortest voxel side": general["longest over shortest voxel side"],
        "noise": general["noise"],
        "fwhm_mm": float(fwhm_mm),
        "highest SUV": float(np.quantile(inside, 0.999)) if inside.size else 0.0,
    }


def limits_of(seen: Sequence[Mapping[str, float]], voxel_mm: float, ranges: Mapping) -> dict[str, tuple[float, float]]:
    """Range of each feature over training scans, a little wider; voxels a tenth, and what was drawn by its ranges."""
    found = {}
    for name in seen[0]:
        low, high = min(f[name] for f in seen), max(f[name] for f in seen)
        found[name] = ((1 - MARGIN) * low, (1 + MARGIN) * high)
    found |= {"voxel_mm": (0.9 * voxel_mm, 1.1 * voxel_mm), "longest over shortest voxel side": (1.0, 1.1)}
    return found | {name: (0.999 * low, 1.001 * high) for name, (low, high) in ranges.items()}


def _suv(suv) -> np.ndarray:
    return np.arcsinh(np.asarray(suv, np.float32) / SOFT_SUV) / 3.0


def _hu(hu) -> np.ndarray:
    return np.clip(np.asarray(hu, np.float32), -1000, SOFT_HU) / SOFT_HU


def _blur(fwhm_mm: float) -> float:
    return fwhm_mm / USUAL_FWHM_mm - 1.0


def _sign(tracer: str) -> float:
    return 1.0 if tracer == TRACERS[0] else -1.0
