"""Grids of the simulation: finer than the detector's pixels, coarser for scatter, wider where the body is."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from imaging.geometry import Volume


def binned(counts: Float[Array, "*front row column"], by: int) -> Float[Array, "*front v u"]:
    """Pixels put together `by` x `by` along the last two axes; the sum stays."""
    *front, rows, columns = counts.shape
    return counts.reshape(*front, rows // by, by, columns // by, by).sum(axis=(-3, -1))


def spread(counts: Float[Array, "*front row column"], by: int) -> Float[Array, "*front v u"]:
    """Pixels divided in `by` x `by`, straight between centres; each image keeps its sum."""
    if by == 1:
        return counts
    *front, rows, columns = counts.shape
    fine = jax.image.resize(counts, (*front, rows * by, columns * by), "linear")
    total, made = (jnp.sum(image, axis=(-2, -1), keepdims=True) for image in (counts, fine))
    return fine * jnp.where(made > 0, total / jnp.where(made > 0, made, 1), 0)


def widened(grid: Volume, half_width_mm: float) -> Volume:
    """The empty grid with as many more voxels at all four sides as make it reach so far from its middle."""
    slices, lines, columns = grid.array.shape
    more = max(0, int(np.ceil(half_width_mm / grid.spacing_mm[0] - columns / 2)))
    affine = grid.affine.copy()
    affine[:2, 3] -= more * grid.spacing_mm[:2]
    return Volume(np.zeros((slices, lines + 2 * more, columns + 2 * more), dtype=np.float32), affine)


def box(volume: Volume) -> np.ndarray:
    """Corners of a volume as indices, [8, 3]."""
    return np.array(list(np.ndindex(2, 2, 2))) * volume.array.shape[::-1] - 0.5


def places(held: np.ndarray) -> np.ndarray:
    """Indices of columns along z in which anything is held, [place, 3]."""
    y, x = np.nonzero(held.any(axis=0))
    return np.stack([x, y, 0 * x], axis=1)


def farthest_mm(index_xyz: np.ndarray, grid: Volume, axis_lps_mm: np.ndarray) -> float:
    """Largest distance of indices from the axis along z."""
    place = grid.to_lps_mm(index_xyz) - axis_lps_mm
    return float(np.hypot(place[:, 0], place[:, 1]).max(initial=0.0))
