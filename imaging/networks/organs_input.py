"""From CT and emission to what the networks take: one grid, four channels, and features of the range they hold in."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import binary_fill_holes, gaussian_filter, label

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume, as_volume
from imaging.noise_model import MEDIAN_OF_SD

OUTSIDE_HU = -1024.0
BODY_HU = -300.0
"""CT number that parts body from air."""

MODALITIES = ("PET", "SPECT", "CT")
LEAST_VOXELS = 8
"""Along each axis of a CT."""

HEIGHT, MEDIAN_HU, HU_NOISE = "height of the field in mm", "median soft tissue in HU", "noise of soft tissue in HU"
HOTTEST = "hottest part in 1000 over the body's mean"
FINEST = "log10 of the finest part of the emission over its local mean"
"""Features; the last two of the emission."""

LEAST_MEAN = 0.05
"""Of the body's mean: colder places do not weigh more in `finest_part`."""

SOFT_HU = (-30.0, 120.0)
"""CT numbers of soft tissue without fat and bone; the features look at these."""


def channels(hu: np.ndarray, relative: np.ndarray, x_mm: np.ndarray) -> np.ndarray:
    """Inputs [4, z, y, x]: CT over all tissues, CT of soft tissue, logarithm of emission, place from left to right.

    Args:
        hu: CT numbers.
        relative: emission over its mean in the body; zeros where there is none.
        x_mm: to the left of the body's middle.
    """
    wide = np.clip(hu, -1000, 1000) / 500
    soft = np.clip(hu / 60, -3, 3)
    return np.stack([wide, soft, np.log1p(relative), np.clip(x_mm / 150, -2, 2)]).astype(np.float32)


def checked(emission: Volume | None, ct: Volume, modality: str) -> None:
    """Raises InputError or ImageError for what cannot be segmented."""
    as_volume(ct, "ct")
    if emission is not None:
        as_volume(emission, "emission")
    if modality not in MODALITIES or (modality == "CT") != (emission is None):
        found = f'"{modality}" {"without" if emission is None else "with"} an emission image'
        do = 'give the emission image, or modality="CT" without one'
        raise InputError(describe("modality", found, "PET or SPECT with an emission image, else CT", do))
    if min(ct.array.shape) < LEAST_VOXELS:
        found = f"shape {ct.array.shape}"
        raise ImageError(describe("ct", found, f"{LEAST_VOXELS} voxels or more a side", "give the whole CT"))
    if not (ct.array.min() < BODY_HU < ct.array.max()):
        found = f"values of {ct.array.min():g} to {ct.array.max():g}"
        raise ImageError(describe("ct", found, "HU of a body in air", "give CT numbers, not counts or densities"))
    if emission is not None and not emission.array.max() > 0:
        do = 'check the image, or leave it out with modality="CT"'
        raise ImageError(describe("emission", "no value above zero", "activity somewhere", do))


def body_mask(hu: np.ndarray) -> np.ndarray:
    """The largest piece above -300 HU, its holes filled slice by slice."""
    pieces, number = pieces_of(hu > BODY_HU)
    if number > 1:
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        inside = pieces == np.argmax(sizes)
    else:
        inside = pieces > 0
    return np.stack([binary_fill_holes(plane) for plane in inside])


def pieces_of(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Connected pieces of a mask, numbered from 1, and how many."""
    pieces = np.empty(mask.shape, dtype=np.int32)
    label(mask, output=pieces)
    return pieces, int(pieces.max(initial=0))


def network_grid(ct: Volume, voxel_mm: float) -> Volume:
    """An upright grid of cubic voxels over the box round the body; zeros.

    Axes are those of LPS whatever the CT's are, so that left stays left.
    """
    inside = body_mask(ct.array)
    if not inside.any():
        raise ImageError(describe("ct", "no body", "a body above -300 HU", "give CT numbers of a body in air"))
    corners = np.argwhere(inside)
    low, high = corners.min(axis=0)[::-1] - 0.5, corners.max(axis=0)[::-1] + 0.5
    ends = ct.to_lps_mm([[x, y, z] for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    first = ends.min(axis=0) + voxel_mm / 2 - np.array([2, 2, 0]) * voxel_mm
    size = np.maximum(np.rint(np.ptp(ends, axis=0) / voxel_mm).astype(int) + np.array([4, 4, 0]), 1)
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = first
    return Volume(np.zeros(size[::-1], dtype=np.float32), affine)


def on_grid(volume: Volume, grid: Volume, outside: float) -> np.ndarray:
    """Values of a volume on a coarser or other grid, means over the coarser voxel rather than samples."""
    from imaging.registration.resampling import resample
    from imaging.registration.transform import SpatialTransform

    return resample(volume, SpatialTransform.identity(), grid, outside=outside).array


def inputs_of(emission: Volume | None, ct: Volume, voxel_mm: float) -> tuple[np.ndarray, dict[str, float], Volume]:
    """Channels, the features of the input, and the grid with its HU."""
    grid = network_grid(ct, voxel_mm)
    hu = np.clip(on_grid(ct, grid, OUTSIDE_HU), OUTSIDE_HU, 3000)
    inside = body_mask(hu)
    activity = np.zeros_like(hu)
    if emission is not None:
        activity = np.maximum(on_grid(emission, grid, 0.0), 0)
    return *prepared(hu, activity, inside, voxel_mm), grid.with_array(hu)


def prepared(hu: np.ndarray, activity: np.ndarray, inside: np.ndarray, voxel_mm: float):
    """Channels, and features, of arrays on the network's grid."""
    mean = float(activity[inside].mean()) if inside.any() else 0.0
    relative = activity / mean if mean > 0 else np.zeros_like(activity)
    columns = inside.sum(axis=(0, 1))
    middle = float(np.searchsorted(np.cumsum(columns), columns.sum() / 2))
    x_mm = np.broadcast_to((np.arange(hu.shape[2]) - middle) * voxel_mm, hu.shape)
    return channels(hu, relative, x_mm), features(hu, relative, inside, voxel_mm)


def features(hu: np.ndarray, relative: np.ndarray, inside: np.ndarray, voxel_mm: float) -> dict[str, float]:
    """What the range of the network is stated in; from arrays on its grid."""
    values = hu[inside]
    soft = values[(values > SOFT_HU[0]) & (values < SOFT_HU[1])]
    found = {
        HEIGHT: hu.shape[0] * voxel_mm,
        "depth of the body in mm": float(np.ptp(np.flatnonzero(inside.any(axis=(0, 2))))) * voxel_mm,
        "width of the body in mm": float(np.ptp(np.flatnonzero(inside.any(axis=(0, 1))))) * voxel_mm,
        MEDIAN_HU: float(np.median(soft)) if soft.size else float("nan"),
        "sd of soft tissue in HU": float(soft.std()) if soft.size else float("nan"),
        "share of fat in the body": float(np.mean((values > -150) & (values < SOFT_HU[0]))),
    }
    found[HU_NOISE] = hu_noise(hu, inside)
    if relative.any():
        found[HOTTEST] = float(np.quantile(relative[inside], 0.999))
        found[FINEST] = finest_part(relative, inside)
    return found


def hu_noise(hu: np.ndarray, inside: np.ndarray) -> float:
    """Sd of a voxel by the median difference of neighbours in soft tissue, HU: edges count little."""
    soft, steps = inside & (hu > SOFT_HU[0]) & (hu < SOFT_HU[1]), []
    for axis in range(3):
        both = np.delete(soft, -1, axis) & np.delete(soft, 0, axis)
        steps.append(np.abs(np.diff(hu, axis=axis))[both])
    known = np.concatenate(steps)
    return float(np.median(known) / MEDIAN_OF_SD / np.sqrt(2)) if known.size else float("nan")


def finest_part(relative: np.ndarray, inside: np.ndarray) -> float:
    """log10 of the median size of what a Gaussian of one voxel takes out of the emission, over the local mean.

    It is large where an image is noisy, and small where it is blurred.
    """
    fine, local = relative - gaussian_filter(relative, 1.0), gaussian_filter(relative, 2.0)
    part = np.median(np.abs(fine)[inside] / np.maximum(local[inside], LEAST_MEAN))
    return float(np.log10(max(part, 1e-6)))
