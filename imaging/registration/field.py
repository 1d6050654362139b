"""A displacement field on a grid: sampling at points, and the derivative that says how volumes change.

Between grid points displacements are linear, from half a voxel outside the grid on they are zero: the rules of ITK's
DisplacementFieldTransform, so that our points and SimpleITK's images move alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, describe


@dataclass(frozen=True)
class DisplacementField:
    """`array_mm` float32 [z, y, x, 3], LPS components in mm, on a grid with LPS `affine` [4, 4].

    Raises:
        ImageError: another shape, values that are not finite, or an affine without inverse.
    """

    array_mm: np.ndarray
    affine: np.ndarray

    def __post_init__(self):
        object.__setattr__(self, "array_mm", np.asarray(self.array_mm, dtype=np.float32))
        object.__setattr__(self, "affine", np.asarray(self.affine, dtype=float))
        shape = self.array_mm.shape
        if len(shape) != 4 or shape[3] != 3 or min(shape[:3]) < 2 or not np.isfinite(self.array_mm).all():
            found = f"shape {shape}, or values that are not finite"
            raise ImageError(describe("displacement field", found, "finite [z, y, x, 3]", "make the field again"))
        if self.affine.shape != (4, 4) or not abs(np.linalg.det(self.affine)) > 0:
            found = f"shape {self.affine.shape}, or no inverse"
            raise ImageError(describe("displacement field, affine", found, "an invertible 4 x 4 matrix", "repair it"))

    def at(self, lps_mm: np.ndarray, *, extended: bool = False) -> np.ndarray:
        """Displacements in mm [..., 3] at points [..., 3] in LPS mm; `extended` holds the edge's beyond the grid."""
        from scipy.ndimage import map_coordinates

        points = np.asarray(lps_mm, dtype=float)
        flat = points.reshape(-1, 3)
        index = ((flat - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T)[:, ::-1].T
        size = np.asarray(self.array_mm.shape[:3])[:, None]
        inside = np.asarray(((index >= -0.5) & (index <= size - 0.5)).all(axis=0))
        parts = [map_coordinates(self.array_mm[..., c], index, order=1, mode="nearest") for c in range(3)]
        return np.where(inside[:, None] | extended, np.stack(parts, axis=-1).astype(float), 0.0).reshape(points.shape)

    def points_mm(self) -> np.ndarray:
        """LPS mm [z, y, x, 3] of the grid points."""
        return grid_points_mm(self.array_mm.shape[:3], self.affine)

    def gradient(self) -> np.ndarray:
        """d u_i / d x_j at the grid points, [z, y, x, 3, 3], by central differences."""
        by_index = np.stack(np.gradient(self.array_mm.astype(float), axis=(2, 1, 0)), axis=-1)
        return by_index @ np.linalg.inv(self.affine[:3, :3])


def grid_points_mm(shape_zyx, affine: np.ndarray) -> np.ndarray:
    """LPS mm [z, y, x, 3] of the voxel centres of a grid."""
    z, y, x = np.meshgrid(*(np.arange(n) for n in shape_zyx), indexing="ij")
    return np.stack([x, y, z], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
