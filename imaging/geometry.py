"""An image volume in patient space: one array order and one coordinate system for the whole package.

Arrays are [z, y, x]. The affine takes (x index, y index, z index, 1) to DICOM patient coordinates (LPS: x to the left,
y to the back, z to the head) in mm, at voxel centres. rt-utils gives (row, column, slice), PyTomography (x, y, z),
highdicom (slice, row, column): whoever crosses to one of those converts at the crossing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dose.errors import ImageError, InputError, describe

SAME_GRID_MM = 1e-2
"""Affines that differ by less than this (mm, or mm per voxel) are the same grid: headers keep a few decimals."""


@dataclass(frozen=True)
class Volume:
    """`array` float32 [z, y, x] with its LPS `affine` [4, 4] in mm.

    Raises:
        ImageError: array not 3D or with values that are not finite, or an affine that cannot be inverted.
    """

    array: np.ndarray
    affine: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "array", np.asarray(self.array, dtype=np.float32))
        object.__setattr__(self, "affine", np.asarray(self.affine, dtype=float))
        if self.array.ndim != 3 or 0 in self.array.shape:
            raise ImageError(describe("volume.array", f"shape {self.array.shape}", "[z, y, x]", "give one time frame"))
        if not np.isfinite(self.array).all():
            raise ImageError(
                describe("volume.array", "values that are not finite", "finite voxels", "repair the image")
            )
        if self.affine.shape != (4, 4) or not 0 < abs(np.linalg.det(self.affine)) < np.inf:
            found = f"shape {self.affine.shape}, or no inverse"
            raise ImageError(
                describe("volume.affine", found, "an invertible 4 x 4 matrix in mm", "repair the geometry")
            )

    @cached_property
    def spacing_mm(self) -> np.ndarray:
        """Voxel size along x, y, z index."""
        return np.linalg.norm(self.affine[:3, :3], axis=0)

    @property
    def voxel_mL(self) -> float:
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000

    def with_array(self, array) -> Volume:
        """Other values on the same grid."""
        return Volume(array, self.affine)

    def is_on_grid_of(self, other: Volume) -> bool:
        same_shape = self.array.shape == other.array.shape
        return same_shape and bool(np.allclose(self.affine, other.affine, atol=SAME_GRID_MM, rtol=0))

    def to_lps_mm(self, index_xyz) -> np.ndarray:
        """Voxel indices [..., 3] in order x, y, z to LPS mm [..., 3]."""
        return np.asarray(index_xyz) @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_index(self, lps_mm) -> np.ndarray:
        """LPS mm [..., 3] to fractional voxel indices [..., 3] in order x, y, z."""
        return (np.asarray(lps_mm) - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T

    def to_sitk(self):
        """The same image for SimpleITK, which shares our array order and LPS."""
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(self.array)
        image.SetSpacing(self.spacing_mm.tolist())
        image.SetOrigin(self.affine[:3, 3].tolist())
        image.SetDirection((self.affine[:3, :3] / self.spacing_mm).ravel().tolist())
        return image

    @classmethod
    def from_sitk(cls, image) -> Volume:
        import SimpleITK as sitk

        affine = np.eye(4)
        affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
        affine[:3, 3] = image.GetOrigin()
        return cls(sitk.GetArrayFromImage(image), affine)

    def resampled_onto(self, grid: Volume, *, interpolation: str = "linear", outside: float = 0.0) -> Volume:
        """These values on the grid of another volume ("linear" or "nearest"); `outside` fills what is not covered.

        Both must lie in the same frame of reference: nothing is registered here.
        """
        if self.is_on_grid_of(grid):
            return self
        import SimpleITK as sitk

        how = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor}[interpolation]
        image = sitk.Resample(self.to_sitk(), grid.to_sitk(), sitk.Transform(), how, outside, sitk.sitkFloat32)
        return Volume(sitk.GetArrayFromImage(image), grid.affine)


HELD_AS = ("volume", "probability")
"""Under these names the records of this package hold the volume that is meant."""


def as_volume(given: object, field: str) -> Volume:
    """What was given as `field`, once it is known to be a volume.

    Raises:
        InputError: anything else: an image series or a result that holds a volume, a bare array, None.
    """
    if isinstance(given, Volume):
        return given
    held = [name for name in HELD_AS if isinstance(getattr(given, name, None), Volume)]
    do = f"give its .{held[0]}" if held else "give imaging.Volume(array, affine)"
    found = "None" if given is None else f"a {type(given).__name__}"
    raise InputError(describe(field, found, "a Volume", do))
