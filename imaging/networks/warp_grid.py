"""Two images on the grid that the registration network works on: axis-aligned voxels of 8 mm, values from 0 to 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation

from dose.errors import ImageError, InputError, describe
from dose.learning.ranges import whole
from imaging.geometry import Volume
from imaging.registration.resampling import resample
from imaging.registration.settings import EMISSION
from imaging.registration.transform import SpatialTransform
from imaging.series import ImageSeries

GRID_mm = 8.0
SOFT_HU = (-200.0, 300.0)
"""CT numbers are limited to this range: soft tissue fills it."""

AIR_HU = -1000.0
LEAST_VOXELS = 8
CLOSING = 6
"""Voxels of the grid by which the lungs are closed."""

TOP = 0.995
"""Quantile of an emission image that is one."""


def ct_channel(hu: np.ndarray) -> np.ndarray:
    """CT from 0 to 1."""
    low, high = SOFT_HU
    return ((np.clip(hu, low, high) - low) / (high - low)).astype(np.float32)


def emission_channel(values: np.ndarray) -> np.ndarray:
    """Root of emission over its 99.5th percentile, 0 to 1: scale does not matter, kidneys do not outweigh the body."""
    values = np.maximum(values, 0)
    top = float(np.quantile(values, TOP))
    top = top if top > 0 else max(float(values.max()), 1e-12)
    return np.sqrt(np.clip(values / top, 0, 1)).astype(np.float32)


def grid_over(fixed: Volume) -> Volume:
    """A grid of GRID_mm along LPS that covers the field of the fixed image."""
    size = np.array(fixed.array.shape[::-1])
    corners = np.array([[i, j, k] for i in (-0.5, 0.5) for j in (-0.5, 0.5) for k in (-0.5, 0.5)])
    points = fixed.to_lps_mm((size - 1) / 2 + corners * size)
    low, high = points.min(axis=0), points.max(axis=0)
    count = np.maximum(8, np.ceil((high - low) / GRID_mm - 1e-6)).astype(int)
    affine = np.diag([GRID_mm, GRID_mm, GRID_mm, 1.0])
    affine[:3, 3] = 0.5 * (low + high) - 0.5 * (count - 1) * GRID_mm
    return Volume(np.zeros(tuple(count[::-1]), np.float32), affine)


def on_grid(image: Volume, start: SpatialTransform, grid: Volume, *, ct: bool) -> np.ndarray:
    """An image through a transform as the network sees it, [z, y, x]."""
    if ct:
        return ct_channel(resample(edged(image), start, grid, outside=AIR_HU).array)
    return emission_channel(resample(edged(image), start, grid).array)


def edged(image: Volume) -> Volume:
    """The image with one voxel more on each side, as its outermost one is.

    Points on the very face of an image lie within it at one end and outside at the other (half-open, in ITK): without
    this, what the network sees of an end slice hangs on the order in which slices are stored.
    """
    affine = image.affine.copy()
    affine[:3, 3] = image.to_lps_mm([-1.0, -1.0, -1.0])
    return Volume(np.pad(image.array, 1, mode="edge"), affine)


@dataclass(frozen=True)
class Inputs:
    """What the network sees, [z, y, x] on `grid`: arrays of zeros stand for images that are not there."""

    grid: Volume
    fixed: np.ndarray
    moving: np.ndarray
    emission: np.ndarray
    moving_is_ct: bool
    moving_image: Volume
    features: Mapping[str, float]

    def batch(self) -> dict[str, np.ndarray]:
        """As `warp_cases.batch` makes them, of one pair."""
        images = {"fixed": self.fixed, "moving": self.moving, "emission": self.emission}
        return {name: image[None, None] for name, image in images.items()} | {
            "inputs": np.stack(list(images.values()))[None]
        }


def checked(fixed: ImageSeries, moving: ImageSeries, emission: ImageSeries | None, refine: int) -> None:
    """Whether the images are of the kinds that can be registered here.

    Raises:
        InputError: steps that are no whole number of zero or more, or what is no image series.
        ImageError: a fixed image that is no CT, a moving one of no known kind, an image of one value or too small.
    """
    for name, image in (("fixed", fixed), ("moving", moving), ("emission", emission)):
        if image is not None and not isinstance(image, ImageSeries):
            do = "give ImageSeries(volume, modality, unit, ...), which says what kind of image it is"
            raise InputError(describe(name, f"a {type(image).__name__}", "an image series", do))
    whole(refine=refine)
    kinds = {"fixed": ("CT",), "moving": ("CT", *EMISSION), "emission": EMISSION}
    for name, image in {"fixed": fixed, "moving": moving, "emission": emission}.items():
        if image is None:
            continue
        if image.modality not in kinds[name]:
            do = "use imaging.registration.register for other pairs"
            raise ImageError(describe(f"{name}, modality", f'"{image.modality}"', f"one of {kinds[name]}", do))
        array = image.volume.array
        if min(array.shape) < LEAST_VOXELS or not np.ptp(array) > 0:
            found = f"shape {array.shape}, values from {array.min():g} to {array.max():g}"
            expected = f"{LEAST_VOXELS} voxels or more along each axis, and contrast"
            raise ImageError(describe(name, found, expected, "check the image"))
    if emission is not None and moving.modality != "CT":
        raise ImageError(
            describe("emission", f"beside a moving {moving.modality}", "beside a moving CT", "leave it out")
        )


def seen_together(
    fixed: ImageSeries, moving: ImageSeries, emission: ImageSeries | None, start: SpatialTransform
) -> Inputs:
    """Both images on one grid over the fixed one, and the features by which the network's range is judged."""
    grid, ct = grid_over(fixed.volume), moving.modality == "CT"
    still, none = on_grid(fixed.volume, SpatialTransform.identity(), grid, ct=True), np.zeros(grid.array.shape, "f4")
    moved = on_grid(moving.volume, start, grid, ct=True) if ct else none
    source = emission if ct else moving
    carried = none if source is None else on_grid(source.volume, start, grid, ct=False)
    sizes = [v.spacing_mm.max() for v in (fixed.volume, moving.volume)[: 1 + ct]]
    features = {
        "moving image is a CT": float(ct),
        "voxel size in mm": float(max(sizes)),
        "least length of the field in mm": float((fixed.volume.spacing_mm * fixed.volume.array.shape[::-1]).min()),
        "unlikeness of the CTs after the rigid step": unlikeness(still, moved) if ct else 0.0,
        "share of activity outside of the fixed body": outside_share(still, carried),
    }
    return Inputs(grid, still, moved, carried, ct, moving.volume, features)


def unlikeness(fixed: np.ndarray, moving: np.ndarray, *, both: bool = False) -> float:
    """Mean absolute difference over the voxels where either (or `both`) shows tissue, of CT channels."""
    body = (fixed > 0) & (moving > 0) if both else (fixed > 0) | (moving > 0)
    return float(np.abs(fixed - moving)[body].mean()) if body.any() else 1.0


def outside_share(fixed: np.ndarray, emission: np.ndarray) -> float:
    """Share of the activity (square of its channel) further than two voxels from what the CT shows as tissue."""
    body = binary_closing(fixed > 0, iterations=CLOSING)
    whole = float((emission**2).sum())
    far = np.logical_not(binary_dilation(body, iterations=2))
    return float((emission**2)[far].sum()) / whole if whole > 0 else 0.0
