"""Contours and segmentations to weights on an image grid, with the volume of the polygon beside that of the mask.

Small lesions need both: the 3.9 mL liver lesion of the tests is 530 voxels of 1.95 mm, and would be 20 of 6 mm. The
polygon raster is our own (`imaging.raster`); rt-utils and scikit-image serve as checks in the tests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.raster import centres_inside, coverage
from imaging.series import Contour, Segment

BOUNDARIES = ("centre", "touched", "partial")
"""Which voxels on a contour's line count: those whose centre is inside, all, or each by the share inside."""

PLANE_TOLERANCE = 0.5
"""A polygon may leave its slice by half a voxel before it counts as drawn on another plane."""


@dataclass(frozen=True)
class ContourVolumes:
    """Volume that a contour encloses and volume of its mask on a grid; they differ by the size of voxels."""

    polygon_mL: float
    mask_mL: float


def segment_mask(segment: Segment, grid: Volume) -> Volume:
    """A segment's weights (0 to 1) on an image's grid; what it covers outside the image is lost.

    Raises:
        ImageError: nothing of it lies on the grid.
    """
    return _not_empty(segment.mask.resampled_onto(grid), "segment")


def contour_mask(contour: Contour, grid: Volume, *, boundary: str = "centre", oversampling: int = 5) -> Volume:
    """A contour's weights on an image's grid: even-odd rule in each plane, so inner polygons are holes.

    `boundary="centre"` takes voxels whose centre is inside, which keeps the polygon's volume; "touched" adds those on
    the line, as rt-utils does, which makes a 107 mL lesion 118 mL at 2 mm voxels and a 2.9 mL one 3.9 mL; "partial"
    gives each voxel the share of it that lies inside (0 to 1, `oversampling` lines a row), for lesions of few voxels.

    With "centre" and "touched" each slice takes the nearest drawn plane within half the distance between planes, so
    contours drawn on a finer CT are not laid over each other; with "partial" each plane stands for a slab of that
    thickness and is shared between slices.

    Raises:
        ImageError: no polygon, polygons not parallel to the slices, or nothing on the grid.
        InputError: another boundary, or oversampling below one.
    """
    if boundary not in BOUNDARIES or oversampling < 1:
        raise InputError(describe("boundary, oversampling", "another", f"one of {BOUNDARIES}; 1 or more", "choose one"))
    planes = _planes(contour, grid)
    heights = np.array(sorted(planes))
    gap = float(np.median(np.diff(heights))) if len(heights) > 1 else 1.0
    if boundary == "partial":
        return _not_empty(grid.with_array(_slabs(planes, gap, grid.array.shape, oversampling)), "contour")
    reach = max(0.5, gap / 2) + 1e-3
    mask = np.zeros(grid.array.shape, dtype=bool)
    for k in range(len(mask)):
        nearest = heights[np.argmin(np.abs(heights - k))]
        if abs(nearest - k) <= reach:
            mask[k] = _filled(planes[nearest], mask[k].shape, boundary)
    return _not_empty(grid.with_array(mask), "contour")


def _filled(rings: list[np.ndarray], shape: tuple[int, ...], boundary: str) -> np.ndarray:
    """Rings [point, 3] of one plane in voxel indices, as a mask [y, x]."""
    mask = centres_inside([ring[:, :2] for ring in rings], shape)
    if boundary == "touched":
        from skimage.draw import polygon_perimeter

        for ring in rings:
            corners = np.round(ring[:, 1::-1]).astype(int)
            mask[polygon_perimeter(corners[:, 0], corners[:, 1], shape=shape)] = True
    return mask


def _slabs(planes: dict[float, list], gap: float, shape: tuple[int, ...], oversampling: int) -> np.ndarray:
    """Shares of voxels inside, [z, y, x]: each plane is a slab `gap` slices thick."""
    weights = np.zeros(shape)
    for height, rings in planes.items():
        low, high = height - gap / 2, height + gap / 2
        slices = range(max(int(np.floor(low + 0.5)), 0), min(int(np.ceil(high + 0.5)), shape[0]))
        if len(slices):
            covered = coverage([ring[:, :2] for ring in rings], shape[1:], oversampling)
        for k in slices:
            weights[k] += covered * max(min(high, k + 0.5) - max(low, k - 0.5), 0.0)
    return np.minimum(weights, 1.0)


def contour_volumes(
    contour: Contour, grid: Volume, *, boundary: str = "centre", oversampling: int = 5
) -> ContourVolumes:
    """The polygon's volume beside the mask's, mL; a mask far off the polygon means voxels too coarse for it."""
    mask = contour_mask(contour, grid, boundary=boundary, oversampling=oversampling)
    return ContourVolumes(contour_volume_mL(contour), float(mask.array.sum(dtype=float)) * mask.voxel_mL)


def _planes(contour: Contour, grid: Volume) -> dict[float, list[np.ndarray]]:
    """Polygons in voxel indices (x, y, z) by the z index of their plane."""
    planes: dict[float, list[np.ndarray]] = {}
    for polygon in contour.polygons:
        index = grid.to_index(polygon)
        if np.ptp(index[:, 2]) > PLANE_TOLERANCE:
            found, do = "a polygon that crosses slices", "draw it on the slices of this image"
            raise ImageError(describe("contour", found, "polygons parallel to the slices", do))
        planes.setdefault(round(float(index[:, 2].mean()), 2), []).append(index)
    if not planes:
        raise ImageError(
            describe("contour", "no polygon (empty segmentation)", "one or more", "draw it, or leave it out")
        )
    return planes


def contour_volume_mL(contour: Contour) -> float:
    """Volume from the polygons: area times distance between planes, holes by the even-odd rule of nesting."""
    from skimage.measure import points_in_poly

    areas: dict[float, float] = {}
    normal = _normal(contour.polygons[0])
    for k, polygon in enumerate(contour.polygons):
        height = round(float(polygon.mean(axis=0) @ normal), 2)
        mates = [p for j, p in enumerate(contour.polygons) if j != k and abs(p.mean(axis=0) @ normal - height) < 0.05]
        inside = sum(bool(points_in_poly(_flat(polygon[:1], normal), _flat(p, normal))[0]) for p in mates)
        areas[height] = areas.get(height, 0.0) + (-1) ** inside * _area(polygon)
    heights = sorted(areas)
    thickness = float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0
    return sum(areas.values()) * thickness / 1000


def _cross_sum(polygon: np.ndarray) -> np.ndarray:
    centred = polygon - polygon.mean(axis=0)
    return np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0) / 2


def _area(polygon: np.ndarray) -> float:
    return float(np.linalg.norm(_cross_sum(polygon)))


def _normal(polygon: np.ndarray) -> np.ndarray:
    vector = _cross_sum(polygon)
    vector = vector / np.linalg.norm(vector)
    return vector if vector[np.argmax(np.abs(vector))] > 0 else -vector


def _flat(points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Two coordinates in the plane: the axes least along the normal."""
    return points[:, np.argsort(np.abs(normal))[:2]]


def _not_empty(mask: Volume, what: str) -> Volume:
    if not mask.array.any():
        found, expected = f"an empty {what} on the image grid", "at least one voxel"
        do = "check that it was drawn on this image and that both share a frame of reference"
        raise ImageError(describe("segmentation", found, expected, do))
    return mask
