"""The deformable stage: cubic B-splines on a grid of control points, held smooth, by JAX and L-BFGS.

Rueckert, Sonoda, Hayes, Hill, Leach, Hawkes, IEEE Trans. Med. Imaging 18 (1999) 712: free-form deformations with a
similarity and a penalty on bending. Ours instead of ITK's, whose splines know no penalty (they fold on noisy SPECT) and
took seconds an evaluation. The metric is mutual information with cubic Parzen windows for the moving image, or
correlation; the penalty is the mean square second difference of the control points over their distance squared.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import BSpline
from scipy.optimize import minimize

from imaging.geometry import Volume
from imaging.registration.field import DisplacementField, grid_points_mm
from imaging.registration.resampling import coarser
from imaging.registration.settings import setting
from imaging.registration.transform import SpatialTransform

LEVELS = ((3.0, 2.0), (1.5, 1.0))
"""Per level: image spacing over the working spacing, control spacing over the one asked for."""
EMPTY = 1e-7
"""Added to probabilities before the logarithm; a bin of one voxel in a million is above it."""


def axis_basis(count: int, spacing_mm: float, control_mm: float) -> np.ndarray:
    """Cubic B-splines [voxel, control] along an axis whose voxel centres they cover; each row sums to 1."""
    length = (count - 1) * spacing_mm
    spans = max(1, round(length / control_mm))
    knots = np.arange(-3, spans + 4) * (length / spans)
    at = np.clip(np.arange(count) * spacing_mm, 0, length * (1 - 1e-12))
    return BSpline.design_matrix(at, knots, 3).toarray()


def displacement(coefficients, bases):
    """Displacements [z, y, x, 3] in mm of control points [a, b, c, 3] in mm."""
    return jnp.einsum("za,yb,xc,abci->zyxi", *bases, coefficients, optimize="optimal")


def deform(
    fixed: Volume, moving: Volume, mask: Volume | None, start: SpatialTransform, *, metric: str, working_mm, control_mm
) -> tuple[SpatialTransform, int]:
    """The transform with a field under the affine of `start`, and the number of evaluations."""
    done, count = SpatialTransform(start.affine), 0
    for fineness, width in LEVELS:
        images = [None if v is None else coarser(v, fineness * working_mm) for v in (fixed, moving, mask)]
        field, used = _level(*images, done, metric, width * control_mm)
        done, count = SpatialTransform(start.affine, _summed(field, done)), count + used
    return done, count


def _summed(field: DisplacementField, under: SpatialTransform) -> DisplacementField:
    """Fields add up: that is how `_level` moves its points."""
    below = 0.0 if under.field is None else under.field.at(field.points_mm())
    return DisplacementField(field.array_mm + below, field.affine)


def _level(fixed: Volume, moving: Volume, mask: Volume | None, under: SpatialTransform, metric: str, control_mm):
    """The field of one grid of control points, to be added to the field found so far."""
    size, spacing = fixed.array.shape, fixed.spacing_mm[::-1]
    bases = tuple(axis_basis(n, s, control_mm).astype(np.float32) for n, s in zip(size, spacing, strict=True))
    shape = (*(b.shape[1] for b in bases), 3)
    points = under.apply(grid_points_mm(size, fixed.affine))
    # T(x) = A (x + u_before + u): displacements of this level reach the moving image by the affine alone
    to_index = np.linalg.inv(moving.affine[:3, :3])
    data = {
        "bases": bases,
        "fixed": _scaled(fixed.array),
        "moving": _scaled(moving.array),
        "index": moving.to_index(points).astype(np.float32),
        "turn": (to_index @ under.affine[:3, :3]).astype(np.float32),
        "weight": np.ones(size, np.float32) if mask is None else (mask.array > 0.5).astype(np.float32),
        "control": np.float32(control_mm),
        "bending": np.float32(setting("bending_weight")),
    }
    data = jax.tree.map(jnp.asarray, data)

    def cost(flat):
        value, slope = _cost(jnp.asarray(flat.reshape(shape), dtype=jnp.float32), data, metric=metric)
        return float(value), np.asarray(slope, dtype=float).ravel()

    limits = {"maxiter": int(setting("bspline_iterations")), "ftol": 1e-6}
    found = minimize(cost, np.zeros(int(np.prod(shape))), jac=True, method="L-BFGS-B", options=limits)
    u = displacement(jnp.asarray(found.x.reshape(shape), dtype=jnp.float32), data["bases"])
    return DisplacementField(np.asarray(u), fixed.affine), int(found.nfev)


def _scaled(array: np.ndarray) -> np.ndarray:
    """Values to 0 ... 1 between the lowest and the 99.9th percentile."""
    low, high = float(array.min()), float(np.percentile(array, 99.9))
    return np.clip((array - low) / max(high - low, 1e-12), 0, 1).astype(np.float32)


@partial(jax.jit, static_argnames=("metric",))
def _cost(coefficients, data, *, metric: str):
    def of(c):
        alike = _similarity(displacement(c, data["bases"]), data, metric)
        return data["bending"] * bending(c, data["control"]) - alike

    return jax.value_and_grad(of)(coefficients)


def bending(coefficients, control_mm):
    """Mean square second difference of the control points over the square of their distance."""
    second = [jnp.diff(coefficients, n=2, axis=axis) for axis in range(3) if coefficients.shape[axis] > 2]
    mixed = [jnp.diff(jnp.diff(coefficients, axis=i), axis=j) for i, j in ((0, 1), (0, 2), (1, 2))]
    terms = [jnp.sum(d**2) for d in second] + [2 * jnp.sum(d**2) for d in mixed]
    return sum(terms) / (coefficients.size * control_mm**2)


def _similarity(u, data, metric: str):
    index = data["index"] + u @ data["turn"].T
    last = jnp.asarray(data["moving"].shape[::-1], dtype=index.dtype) - 1
    inside = ((index >= 0) & (index <= last)).all(axis=-1)
    weight = data["weight"] * inside.astype(index.dtype)
    zyx = [index[..., k] for k in (2, 1, 0)]
    values = jax.scipy.ndimage.map_coordinates(data["moving"], zyx, order=1, mode="nearest")
    measure = correlation if metric == "correlation" else mutual_information
    return measure(data["fixed"].ravel(), values.ravel(), weight.ravel())


def correlation(a, b, weight):
    """Pearson's correlation of two sets of values under weights."""
    total = weight.sum()
    da, db = a - (weight * a).sum() / total, b - (weight * b).sum() / total
    return (weight * da * db).sum() / jnp.sqrt((weight * da**2).sum() * (weight * db**2).sum() + 1e-12)


def mutual_information(a, b, weight, bins: int = 32):
    """Mutual information in nat of values from 0 to 1: boxes for `a`, cubic Parzen windows for `b`."""
    centres = jnp.arange(bins, dtype=b.dtype)
    box = (jnp.round(a * (bins - 1))[:, None] == centres).astype(b.dtype) * weight[:, None]
    joint = box.T @ _cubic(b[:, None] * (bins - 1) - centres)
    joint = joint / jnp.maximum(joint.sum(), 1e-12)
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    return jnp.sum(joint * (jnp.log(joint + EMPTY) - jnp.log(apart + EMPTY)))


def _cubic(distance):
    """The cubic B-spline kernel at a distance in bins."""
    d = jnp.abs(distance)
    return jnp.where(d < 1, 2 / 3 - d**2 + d**3 / 2, jnp.where(d < 2, (2 - d) ** 3 / 6, 0.0))
