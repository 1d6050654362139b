"""A coarser grid that keeps every sum: each new voxel is the mean of what it covers, by overlap along each axis.

Activity, energy and mass stay what they were, which interpolation promises only nearly.
"""

from __future__ import annotations

import math

import numpy as np

from dose.errors import InputError, describe
from imaging.geometry import Volume

SMALLEST_MM, LARGEST_MM = 1.0, 10.0
"""Voxels between which a SPECT dose map means something on a desk computer."""


def checked_voxel_mm(voxel_mm: float) -> float:
    """The edge of a voxel.

    Raises:
        InputError: outside `SMALLEST_MM` to `LARGEST_MM`.
    """
    if not SMALLEST_MM <= voxel_mm <= LARGEST_MM:
        expected = f"{SMALLEST_MM:g} to {LARGEST_MM:g} mm"
        raise InputError(describe("voxel_mm", f"{voxel_mm:g} mm", expected, "4 suits SPECT"))
    return float(voxel_mm)


def averaged(volume: Volume, voxel_mm: float) -> Volume:
    """The volume in voxels of `voxel_mm`; axes whose voxels are larger already stay. Beyond its border it is empty."""
    array, affine = volume.array.astype(float), volume.affine.copy()
    for axis in range(3):
        steps = max(1.0, voxel_mm / float(volume.spacing_mm[axis]))
        array = np.moveaxis(
            np.tensordot(_overlaps(volume.array.shape[2 - axis], steps), array, (1, 2 - axis)), 0, 2 - axis
        )
        affine[:3, 3] += affine[:3, axis] * (steps - 1) / 2
        affine[:3, axis] *= steps
    return Volume(array, affine)


def _overlaps(count: int, steps: float) -> np.ndarray:
    """Share of each old voxel in each new one of `steps` old voxels, [new, old]; rows of whole voxels sum to 1."""
    edges = np.arange(math.ceil(count / steps - 1e-6) + 1)[:, None] * steps
    old = np.arange(count)[None, :]
    covered = np.minimum(edges[1:], old + 1) - np.maximum(edges[:-1], old)
    return np.maximum(covered, 0.0) / steps
