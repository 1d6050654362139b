"""An image on another grid through a transform, keeping either its concentration or its activity.

`conserve="concentration"` interpolates Bq/mL: right for where the tissue is, and the total changes with its volume.
`conserve="activity"` multiplies by the Jacobian |dT/dx| as well, so that tissue squeezed into half its volume holds
twice the concentration and the same activity:

    sum f(T(x)) |J(x)| dx  =  sum f(y) dy

Where a voxel of the new grid takes in several of the volume, its value is the mean over points no further apart than
those: read at its middle alone, a label of 0.3 mL drawn on CT changes by a quarter as it falls between SPECT voxels.
"""

from __future__ import annotations

import numpy as np

from dose.errors import InputError, describe
from imaging.geometry import Volume
from imaging.registration.crossing import to_sitk
from imaging.registration.field import grid_points_mm
from imaging.registration.transform import SpatialTransform

CONSERVED = ("concentration", "activity")
INTERPOLATIONS = ("linear", "nearest", "cubic")
SPARE = 0.1
"""A voxel larger than the volume's by this share is read at its middle still."""
POINTS_AT_ONCE = 2_000_000
"""Finer points held at a time: some hundred MB where a Jacobian is asked for."""


def resample(
    volume: Volume,
    transform: SpatialTransform,
    grid: Volume,
    *,
    interpolation: str = "linear",
    conserve: str = "concentration",
    outside: float = 0.0,
) -> Volume:
    """`volume` (moving space) on `grid` (fixed space); `outside` fills what the volume does not cover.

    "nearest" keeps single values, for numbered labels; the others take means on a coarser grid.

    Raises:
        InputError: an unknown interpolation or conserved quantity.
    """
    if conserve not in CONSERVED or interpolation not in INTERPOLATIONS:
        found, expected = f'"{conserve}", "{interpolation}"', f"{CONSERVED} and {INTERPOLATIONS}"
        raise InputError(describe("resample, conserve and interpolation", found, expected, "choose one of each"))
    parts = np.ones(3, dtype=int) if interpolation == "nearest" else _parts(volume, transform, grid)
    read = _reader(volume, transform, interpolation, outside)
    jacobian = transform.jacobian if conserve == "activity" else None
    box = (slice(0, None),) * 3
    if parts.max() > 1 and outside == 0:
        box = _reached(volume, transform, grid, parts)
    values = np.full(grid.array.shape, outside, dtype=np.float32)
    if values[box].size:
        values[box] = _by_slabs(read, jacobian, cropped(grid, box), parts)
    return Volume(values, grid.affine)


def _reader(volume: Volume, transform: SpatialTransform, interpolation: str = "linear", outside: float = 0.0):
    """A function to the values [z, y, x] at the voxel centres of a grid, with nothing averaged."""
    import SimpleITK as sitk

    how = dict(zip(INTERPOLATIONS, (sitk.sitkLinear, sitk.sitkNearestNeighbor, sitk.sitkBSpline), strict=True))
    image, mapping = volume.to_sitk(), to_sitk(transform)

    def read(grid: Volume) -> np.ndarray:
        made = sitk.Resample(image, grid.to_sitk(), mapping, how[interpolation], outside, sitk.sitkFloat32)
        return sitk.GetArrayFromImage(made)

    return read


def _parts(volume: Volume, transform: SpatialTransform, grid: Volume) -> np.ndarray:
    """Into how many parts a voxel of the grid is cut along x, y, z, so that one is no larger than the volume's."""
    steps = np.linalg.inv(volume.affine[:3, :3]) @ transform.affine[:3, :3] @ grid.affine[:3, :3]
    return np.ceil(np.abs(steps).max(axis=0) - SPARE).astype(int).clip(1)


def _reached(volume: Volume, transform: SpatialTransform, grid: Volume, parts: np.ndarray) -> tuple[slice, ...]:
    """The box of the grid that can see a value other than 0: a label is small, and the grid has millions of voxels."""
    seen = np.argwhere(volume.array != 0)[:, ::-1]
    if not len(seen):
        return (slice(0, 0),) * 3
    index = volume.to_index(transform.apply(grid_points_mm(grid.array.shape, grid.affine)))
    # a voxel's parts lie within its half of its middle; as much again for a field that stretches
    slack = 1.0 + parts.max()
    near = ((index > seen.min(axis=0) - slack) & (index < seen.max(axis=0) + slack)).all(axis=-1)
    inside = np.argwhere(near)
    if not len(inside):
        return (slice(0, 0),) * 3
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(inside.min(axis=0), inside.max(axis=0), strict=True))


def cropped(volume: Volume, box: tuple[slice, ...]) -> Volume:
    """The part of a volume in a box of slices [z, y, x]."""
    affine = volume.affine.copy()
    affine[:3, 3] = volume.to_lps_mm([s.start for s in box[::-1]])
    return Volume(volume.array[box], affine)


def _by_slabs(read, jacobian, grid: Volume, parts: np.ndarray) -> np.ndarray:
    rows = max(1, int(POINTS_AT_ONCE / (parts.prod() * grid.array[0].size)))
    starts = range(0, len(grid.array), rows)
    slabs = [cropped(grid, (slice(k, k + rows), slice(0, None), slice(0, None))) for k in starts]
    return np.concatenate([_means(read, jacobian, slab, parts) for slab in slabs])


def _means(read, jacobian, grid: Volume, parts: np.ndarray) -> np.ndarray:
    """Means over the parts of each voxel [z, y, x], each part with its own Jacobian where activity is kept."""
    fine = grid if parts.max() == 1 else _finer(grid, parts)
    values = read(fine)
    if jacobian is not None:
        values = values * np.abs(jacobian(fine)).astype(np.float32)
    nz, ny, nx = grid.array.shape
    return values.reshape(nz, parts[2], ny, parts[1], nx, parts[0]).mean(axis=(1, 3, 5))


def _finer(grid: Volume, parts: np.ndarray) -> Volume:
    affine = grid.affine @ np.diag([*(1 / parts), 1.0])
    affine[:3, 3] = grid.to_lps_mm((1 / parts - 1) / 2)
    return Volume(np.zeros(np.array(grid.array.shape) * parts[::-1], dtype=np.float32), affine)


def covered(volume: Volume, transform: SpatialTransform, grid: Volume) -> np.ndarray:
    """Which voxels of `grid` [z, y, x] map inside the field of view of `volume`."""
    index = volume.to_index(transform.apply(grid_points_mm(grid.array.shape, grid.affine)))
    size = np.asarray(volume.array.shape[::-1])
    return np.asarray(((index >= -0.5) & (index <= size - 0.5)).all(axis=-1))


def coarser(volume: Volume, spacing_mm: float) -> Volume:
    """The volume smoothed and sampled at about `spacing_mm`; axes that are coarser already stay as they are."""
    from scipy.ndimage import gaussian_filter

    factor_xyz = np.maximum(1.0, spacing_mm / volume.spacing_mm)
    if np.allclose(factor_xyz, 1, atol=0.05):
        return volume
    # half the new voxel as sigma keeps what the new grid can carry; none where the axis stays
    sigma_zyx = np.where(factor_xyz > 1, factor_xyz / 2, 0.0)[::-1]
    smooth = volume.with_array(gaussian_filter(volume.array, sigma_zyx, mode="nearest"))
    size = np.maximum(1, np.round(np.asarray(volume.array.shape[::-1]) / factor_xyz)).astype(int)
    affine = volume.affine.copy()
    affine[:3, :3] *= factor_xyz
    affine[:3, 3] = volume.to_lps_mm((factor_xyz - 1) / 2)
    grid = Volume(np.zeros(tuple(size[::-1]), dtype=np.float32), affine)
    return Volume(_reader(smooth, SpatialTransform.identity())(grid), affine)
