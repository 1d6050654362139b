"""The classical method for organs: the stylised body registered to the CT, its labels moved to where uptake is.

The height at which a CT lies is found by its slices' area, lung and bone. An affine and a B-spline registration follow
(`imaging.registration`). Around each carried organ, voxels of soft tissue above a part of its uptake are taken where
their volume is near the carried one's. The atlas knows no missing organ: it places one wherever the field reaches.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from scipy.ndimage import binary_dilation, binary_opening

from dose.errors import InputError, describe
from dose.learning.cases import Progress, cases_folder, kept, silent
from dose.learning.ranges import Choice
from imaging.geometry import Volume
from imaging.networks.acquisitions import HALF_WIDTH_mm, trunk
from imaging.networks.organs_data import organ_classes
from imaging.networks.organs_input import OUTSIDE_HU, body_mask, network_grid, on_grid, pieces_of
from imaging.networks.organs_result import ORGANS, OrganSegmentation, measured
from imaging.scanner.body import virtual_body
from imaging.scanner.reference_scan import without_arms

SEXES = ("male", "female")
VOXEL_mm = 6.0
SPACING_mm = 8.0
"""Of the registration."""

SCALES = (0.85, 0.9, 0.95, 1.0, 1.05, 1.1, 1.15)
"""Of the patient's trunk along the body over the atlas's, tried for the start."""

LEAST_COVERED = 0.6
"""Part of the field's slices that the atlas must have at a start."""

LEAST_HEIGHT_mm = 150.0
"""Of a field whose place along the body is found by its slices; on a real CT of 90 mm it was not."""

LUNG_HU, BONE_HU = -400.0, 250.0
SOFT_HU = (-60.0, 250.0)
REACH = 2
"""Voxels round a carried organ in which it is looked for."""

UPTAKE_PART = 0.42
"""Of the upper decile of uptake in the carried organ: the usual threshold of a maximum."""

NEAR = (0.5, 1.8)
"""Volumes by uptake over the carried volume, outside of which the carried organ stays."""


def by_atlas(
    emission: Volume | None, ct: Volume, *, sex: str, choice: Choice, progress: Progress = silent
) -> OrganSegmentation:
    """Organs by registration of the stylised body of a sex.

    Raises:
        InputError: another sex.
        ImageError: a CT without a body, or one that cannot be registered.
    """
    from imaging.registration import register, resample

    if sex not in SEXES:
        raise InputError(describe("sex", f'"{sex}"', f"one of {SEXES}", "choose one"))
    progress(0, 3, "atlas")
    grid = network_grid(ct, VOXEL_mm)
    fixed = _without_arms(grid.with_array(np.clip(on_grid(ct, grid, OUTSIDE_HU), OUTSIDE_HU, 1000)))
    moving, classes = atlas(sex)
    progress(1, 3, "registration of the atlas")
    options = {"metric": "mutual_information", "spacing_mm": SPACING_mm, "stages": ("affine", "bspline")}
    found = register(fixed, moving, start=_start(fixed, moving), **options)
    progress(2, 3, "organs by uptake")
    carried = resample(classes, found.transform, grid, interpolation="nearest").array.astype(np.uint8)
    if emission is not None:
        carried = _by_uptake(carried, on_grid(emission, grid, 0.0), fixed.array)
    labels = grid.with_array(carried).resampled_onto(ct, interpolation="nearest")
    names = {int(k): ORGANS[int(k) - 1] for k in np.unique(labels.array) if k}
    progress(3, 3, "organs by uptake")
    volumes = measured(labels.array, names, ct.voxel_mL)
    said = replace(choice, reasons=(*choice.reasons, *_doubts(grid)))
    return OrganSegmentation(labels, names, volumes, {}, {}, said, found.notes)


def _doubts(grid: Volume) -> tuple[str, ...]:
    """Why the atlas is not to be relied on, beside what the registration notes."""
    height_mm = len(grid.array) * VOXEL_mm
    if height_mm >= LEAST_HEIGHT_mm:
        return ()
    return (f"the field is {height_mm:.0f} mm high: under {LEAST_HEIGHT_mm:g} mm the atlas may lie at another height",)


@lru_cache(maxsize=2)
def atlas(sex: str) -> tuple[Volume, Volume]:
    """CT and organ classes of the stylised body without arms, kept on disk as it takes seconds to make."""
    made = kept(cases_folder("atlas", {"voxel_mm": VOXEL_mm}), sex, lambda: _made(sex))
    ct = Volume(made["hu"], made["affine"])
    return ct, ct.with_array(made["organs"])


def _made(sex: str) -> dict[str, np.ndarray]:
    body = trunk(without_arms(virtual_body(sex, voxel_mm=VOXEL_mm), HALF_WIDTH_mm))
    return {"hu": body.ct.array, "organs": organ_classes(body), "affine": body.affine}


def _without_arms(ct: Volume) -> Volume:
    inside = body_mask(ct.array)
    columns = np.flatnonzero(inside.any(axis=(0, 1)))
    middle = np.median(np.repeat(np.arange(inside.shape[2]), inside.sum(axis=(0, 1))))
    far = np.abs(np.arange(inside.shape[2]) - middle) * ct.spacing_mm[0] > HALF_WIDTH_mm
    if not columns.size or not far.any():
        return ct
    array = ct.array.copy()
    array[:, :, far] = OUTSIDE_HU
    return ct.with_array(array)


def _start(fixed: Volume, moving: Volume):
    """A scale and shift from the fixed to the moving space, by profiles along the body and by its sides."""
    from imaging.registration import SpatialTransform

    (low, table), (start, reference) = (_profiles(volume) for volume in (fixed, moving))
    places = [(scale, at) for scale in SCALES for at in range(-len(table), len(reference))]
    scale, at = min(places, key=lambda place: _misfit(table, reference, *place))
    rows = np.clip(np.rint(at + np.arange(len(table)) / scale).astype(int), 0, len(reference) - 1)
    matrix = np.diag([1.0, 1.0, 1 / scale, 1.0])
    z_fixed, z_moving = (v.affine[2, 3] + first * v.spacing_mm[2] for v, first in ((fixed, low), (moving, start)))
    matrix[2, 3] = z_moving + at * VOXEL_mm - z_fixed / scale
    there = slice(low, low + len(table)), start + rows
    sides = [_sides(body_mask(v.array)[k], v, axis) for v, k in zip((fixed, moving), there) for axis in (1, 0)]
    for axis, ((a, b), (c, d)) in enumerate(zip(sides[:2], sides[2:])):
        matrix[axis, axis] = (d - c) / (b - a)
        matrix[axis, 3] = c - matrix[axis, axis] * a
    return SpatialTransform(matrix)


def _profiles(ct: Volume) -> tuple[int, np.ndarray]:
    """First slice with a body, and area, lung and bone of each from there on, over their means in a trunk."""
    inside = body_mask(ct.array)
    there = np.flatnonzero(inside.any(axis=(1, 2)))
    part = slice(there[0], there[-1] + 1)
    cells = ct.spacing_mm[0] * ct.spacing_mm[1] / 1e4
    kinds = (inside, inside & (ct.array < LUNG_HU), inside & (ct.array > BONE_HU))
    area, lung, bone = (kind[part].sum(axis=(1, 2)) * cells for kind in kinds)
    return int(there[0]), np.stack([area / 6, lung / 2, bone / 0.5], axis=1)


def _misfit(table: np.ndarray, reference: np.ndarray, scale: float, at: int) -> float:
    rows = np.rint(at + np.arange(len(table)) / scale).astype(int)
    valid = (rows >= 0) & (rows < len(reference))
    if valid.mean() < LEAST_COVERED:
        return float("inf")
    return float(((table[valid] - reference[rows[valid]]) ** 2).mean())


def _sides(inside: np.ndarray, volume: Volume, axis: int) -> tuple[float, float]:
    """Ends in mm of a body along x (axis 1 of its planes) or y (axis 0): medians over its slices."""
    ends = [np.flatnonzero(plane.any(axis=1 - axis))[[0, -1]] for plane in inside if plane.any()]
    low, high = np.median(ends, axis=0)
    world = 0 if axis == 1 else 1
    first, step = float(volume.affine[world, 3]), float(volume.spacing_mm[world])
    return first + step * float(low - 0.5), first + step * float(high + 0.5)


def _by_uptake(carried: np.ndarray, activity: np.ndarray, hu: np.ndarray) -> np.ndarray:
    found = np.zeros_like(carried)
    soft = np.asarray((hu > SOFT_HU[0]) & (hu < SOFT_HU[1]))
    for k in range(1, len(ORGANS) + 1):
        before = carried == k
        if not before.any():
            continue
        around = (
            np.asarray(binary_dilation(before, iterations=REACH), dtype=bool)
            & soft
            & ((carried == 0) | before)
            & (found == 0)
        )
        hot = _largest(around & np.asarray(activity > UPTAKE_PART * float(np.quantile(activity[before], 0.9))))
        found[hot if NEAR[0] < hot.sum() / before.sum() < NEAR[1] else before & (found == 0)] = k
    return found


def _largest(mask: np.ndarray) -> np.ndarray:
    opened = binary_opening(mask)
    pieces, number = pieces_of(opened if opened.any() else mask)
    return pieces == np.argmax(np.bincount(pieces.ravel())[1:]) + 1 if number else mask
