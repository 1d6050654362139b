"""An image on another grid through a transform, keeping either its concentration or its activity.

`conserve="concentration"` interpolates Bq/mL: right for where the tissue is, and the total changes with its volume.
`conserve="activity"` multiplies by the Jacobian |dT/dx| as well, so that tissue squeezed into half its volume holds
twice the concentration and the same activity:

    sum f(T(x)) |J(x)| dx  =  sum f(y) dy
"""

from __future__ import annotations

import numpy as np

from dose.errors import InputError, describe
from imaging.geometry import Volume
from imaging.registration.crossing import to_sitk
from imaging.registration.transform import SpatialTransform

CONSERVED = ("concentration", "activity")
INTERPOLATIONS = ("linear", "nearest", "cubic")


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

    Raises:
        InputError: an unknown interpolation or conserved quantity.
    """
    import SimpleITK as sitk

    if conserve not in CONSERVED or interpolation not in INTERPOLATIONS:
        found, expected = f'"{conserve}", "{interpolation}"', f"{CONSERVED} and {INTERPOLATIONS}"
        raise InputError(describe("resample, conserve and interpolation", found, expected, "choose one of each"))
    how = dict(zip(INTERPOLATIONS, (sitk.sitkLinear, sitk.sitkNearestNeighbor, sitk.sitkBSpline), strict=True))
    image = sitk.Resample(
        volume.to_sitk(), grid.to_sitk(), to_sitk(transform), how[interpolation], outside, sitk.sitkFloat32
    )
    values = sitk.GetArrayFromImage(image)
    if conserve == "activity":
        values = values * np.abs(transform.jacobian(grid)).astype(np.float32)
    return Volume(values, grid.affine)


def covered(volume: Volume, transform: SpatialTransform, grid: Volume) -> np.ndarray:
    """Which voxels of `grid` [z, y, x] map inside the field of view of `volume`."""
    from imaging.registration.field import grid_points_mm

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
    return resample(smooth, SpatialTransform.identity(), grid)
