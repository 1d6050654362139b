"""Numbers of one region of an image: mean with its sd under correlated noise, maximum, peak, percentiles, total."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.signal import fftconvolve

from dose.errors import ImageError, describe
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.noise_model import NoiseModel, mean_covariance

POINTS_PER_RADIUS = 24
"""The edge of the peak's sphere is weighted by a grid at least this fine: its volume is right to 0.5 %."""


@dataclass(frozen=True)
class RegionStatistics:
    """In the image's unit, but `total` in that unit times mL.

    `sd_of_mean` and `total_sd` come from voxel noise alone; `effective_voxels` is how many independent voxels would
    give that sd. `peak` is the highest mean of a sphere of 1 mL about any voxel of the region.
    """

    mean: float
    sd_of_mean: float
    effective_voxels: float
    voxels: float
    volume_mL: float
    maximum: float
    peak: float
    percentiles: dict[float, float]
    total: float
    total_sd: float


def region_statistics(
    image: Volume, mask: Volume, noise: NoiseModel, *, percentiles: tuple[float, ...] = (5, 50, 95)
) -> RegionStatistics:
    """Statistics of the region with weights `mask` (0 to 1) on the image's grid.

    Maximum, peak and percentiles look at voxels of weight 0.5 and more (of any weight where none is so).

    Raises:
        ImageError: an empty mask, one of another grid, or a noise correlation that gives no variance.
    """
    check_mask(image, mask)
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask.array))
    weight, values = mask.array[box].astype(float), image.array[box].astype(float)
    sd = np.broadcast_to(noise.sd, mask.array.shape)[box]
    total_weight = float(weight.sum())
    mean = float((weight * values).sum()) / total_weight
    variance = float(mean_covariance([weight], NoiseModel(sd, noise.correlation))[0, 0])
    if variance < 0:
        do = "take shape='gaussian' or a larger background"
        raise ImageError(describe("noise correlation", "one without variance", "that of an image", do))
    single = float((weight * sd**2).sum()) / total_weight
    inside = weight >= min(0.5, float(weight.max()))
    seen = values[inside]
    volume = total_weight * mask.voxel_mL
    return RegionStatistics(
        mean=mean,
        sd_of_mean=float(np.sqrt(variance)),
        effective_voxels=single / variance if variance > 0 else float("inf"),
        voxels=total_weight,
        volume_mL=volume,
        maximum=float(seen.max()),
        peak=peak(image, mask),
        percentiles=dict(zip(percentiles, np.percentile(seen, percentiles).tolist(), strict=True)),
        total=mean * volume,
        total_sd=float(np.sqrt(variance)) * volume,
    )


def check_mask(image: Volume, mask: Volume) -> None:
    """ImageError where the mask is on another grid or empty."""
    if not mask.is_on_grid_of(image) or not mask.array.max() > 0:
        found = "a mask that is empty or on another grid"
        raise ImageError(describe("mask", found, "a region on the image's grid", "draw it on this image"))


def peak(image: Volume, mask: Volume, volume_mL: float | None = None) -> float:
    """Highest mean of a sphere of `volume_mL` (1 mL as in PERCIST) about any voxel of the region.

    Edge voxels count by the part of them that lies in the sphere, which may leave the region; a sphere that leaves the
    image is taken over what lies inside.
    """
    check_mask(image, mask)
    kernel = sphere_weights(volume_mL or _peak_volume_mL(), tuple(image.spacing_mm))
    inside = mask.array >= min(0.5, float(mask.array.max()))
    half = [n // 2 for n in kernel.shape]
    at = [(int(i.min()), int(i.max()) + 1) for i in np.nonzero(inside)]
    box = tuple(slice(max(a - h, 0), b + h) for (a, b), h in zip(at, half, strict=True))
    values = image.array[box].astype(float)
    sums = fftconvolve(values, kernel, mode="same")
    present = fftconvolve(np.ones(values.shape), kernel, mode="same")
    return float((sums / present)[inside[box]].max())


@cache
def sphere_weights(volume_mL: float, spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Part of each voxel [z, y, x] that lies in a sphere about the middle one; `spacing_mm` along x, y, z."""
    radius = 10 * (3 * volume_mL / (4 * np.pi)) ** (1 / 3)
    squares, shape = [], []
    for spacing in spacing_mm[::-1]:
        parts = int(np.ceil(spacing / radius * POINTS_PER_RADIUS))
        half = int(np.ceil(radius / spacing))
        points = (np.arange((2 * half + 1) * parts) + 0.5) / parts - half - 0.5
        squares.append((points * spacing) ** 2)
        shape += [2 * half + 1, parts]
    inside = (squares[0][:, None, None] + squares[1][:, None] + squares[2]) <= radius**2
    weights = inside.reshape(shape).mean(axis=(1, 3, 5))
    weights.setflags(write=False)
    return weights


def _peak_volume_mL() -> float:
    rows = load_table("imaging", "lesion_thresholds.csv")
    return next(float(r["value"]) for r in rows if r["threshold"] == "peak")
