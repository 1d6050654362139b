"""A spatial transform from the fixed image's space to the moving image's: an affine after a displacement field.

    T(x) = A (x + u(x))

x in LPS mm of the fixed frame of reference, T(x) in that of the moving one: the point whose value an image resampled
onto the fixed grid takes. The field lives on a grid in fixed space, as in ITK's composite of an initial affine and an
optimised B-spline.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.registration.field import DisplacementField, grid_points_mm

INVERSE_STEPS = 50
INVERSE_TOLERANCE_MM = 1e-3
"""The fixed-point search of an inverse ends when no point moves further, a thousandth of a fine voxel."""


@dataclass(frozen=True)
class SpatialTransform:
    """`affine` [4, 4] in LPS mm and, where it deforms, a `field` on a grid in fixed space.

    Raises:
        InputError: the affine has another shape, a last row other than 0 0 0 1, or no inverse.
    """

    affine: np.ndarray
    field: DisplacementField | None = None

    def __post_init__(self):
        matrix = np.asarray(self.affine, dtype=float)
        object.__setattr__(self, "affine", matrix)
        whole = matrix.shape == (4, 4) and bool(np.isfinite(matrix).all())
        if not whole or not np.array_equal(matrix[3], [0, 0, 0, 1]) or not abs(np.linalg.det(matrix)) > 0:
            expected = "an invertible 4 x 4 matrix in mm with last row 0 0 0 1"
            raise InputError(describe("transform.affine", f"shape {matrix.shape}", expected, "correct the matrix"))

    @classmethod
    def identity(cls) -> SpatialTransform:
        return cls(np.eye(4))

    @classmethod
    def rigid(cls, angles_deg=(0.0, 0.0, 0.0), translation_mm=(0.0, 0.0, 0.0), centre_mm=(0.0, 0.0, 0.0)):
        """Turn about x, then y, then z (right-handed, LPS) through `centre_mm`, then move."""
        from scipy.spatial.transform import Rotation

        matrix, centre = np.eye(4), np.asarray(centre_mm, dtype=float)
        matrix[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
        matrix[:3, 3] = centre - matrix[:3, :3] @ centre + np.asarray(translation_mm, dtype=float)
        return cls(matrix)

    def apply(self, lps_mm) -> np.ndarray:
        """Points [..., 3] of the fixed space to the moving space, LPS mm."""
        points = np.asarray(lps_mm, dtype=float)
        moved = points if self.field is None else points + self.field.at(points)
        return moved @ self.affine[:3, :3].T + self.affine[:3, 3]

    def after(self, inner: SpatialTransform, grid: Volume | DisplacementField | None = None) -> SpatialTransform:
        """x -> self(inner(x)). Exact for affines; a field is sampled on `grid`, else on the field of `inner`.

        Raises:
            InputError: only `self` has a field and no `grid` in the space of `inner` is given.
        """
        affine = self.affine @ inner.affine
        if self.field is None and inner.field is None:
            return SpatialTransform(affine)
        points, grid_affine = _points(grid if grid is not None else inner.field)
        target = self.apply(inner.apply(points))
        return SpatialTransform(affine, _field_to(target, points, affine, grid_affine))

    def inverse(self, grid: Volume | DisplacementField | None = None) -> SpatialTransform:
        """From moving to fixed space. Exact without a field; with one, searched on `grid` in moving space.

        Raises:
            InputError: there is a field and no grid.
            ImageError: the field folds, so that it has no inverse.
        """
        back = np.linalg.inv(self.affine)
        if self.field is None:
            return SpatialTransform(back)
        points, grid_affine = _points(grid)
        start = points @ back[:3, :3].T + back[:3, 3]
        return SpatialTransform(back, _field_to(_unwarped(self.field, start), points, back, grid_affine))

    def jacobian(self, grid: Volume) -> np.ndarray:
        """Determinant of dT/dx at the voxel centres of `grid`, [z, y, x]: moving volume per fixed volume."""
        linear = float(np.linalg.det(self.affine[:3, :3]))
        if self.field is None:
            return np.full(grid.array.shape, linear)
        local = np.linalg.det(np.eye(3) + self.field.gradient()) - 1
        # the change of volume is carried like a displacement, so that it vanishes where the field ends
        carrier = DisplacementField(np.repeat(local[..., None], 3, axis=-1), self.field.affine)
        return linear * (1 + carrier.at(grid_points_mm(grid.array.shape, grid.affine))[..., 0])


def _points(grid: Volume | DisplacementField | None) -> tuple[np.ndarray, np.ndarray]:
    if grid is None:
        expected = "a grid on which the result's field is held"
        raise InputError(describe("grid", "none", expected, "give a volume that covers the space"))
    shape = grid.array.shape if isinstance(grid, Volume) else grid.array_mm.shape[:3]
    return grid_points_mm(shape, grid.affine), grid.affine


def _field_to(target, points, affine, grid_affine) -> DisplacementField:
    """The u for which affine (x + u) is `target` at `points`."""
    back = np.linalg.inv(affine)
    return DisplacementField(target @ back[:3, :3].T + back[:3, 3] - points, grid_affine)


def _unwarped(field: DisplacementField, p: np.ndarray) -> np.ndarray:
    """x with x + u(x) = p, by x <- p - u(x), which contracts where u changes by less than 1 mm per mm.

    Beyond its grid the field is extended here: at its jump to zero there is nothing to find.
    """
    x = p
    for _ in range(INVERSE_STEPS):
        step = p - field.at(x, extended=True) - x
        x = x + step
        if np.abs(step).max() < INVERSE_TOLERANCE_MM:
            return x
    raise ImageError(
        describe(
            "transform.inverse",
            f"points that still move by {np.abs(step).max():.2g} mm after {INVERSE_STEPS} steps",
            "a field without folds",
            "look at conservation_report, and register with wider control points",
        )
    )
