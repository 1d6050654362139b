"""Sums of exponentials fitted to many voxels at once, by variable projection.

For given rates the amplitudes have a closed form, so only one or two rates are searched (Golub and Pereyra 1973, SIAM
J Numer Anal 10:413; the Jacobian is Kaufman's, BIT 1975;15:49; both recalled). All voxels share the scan times: the
misfit on a grid of rates is a matrix product, which makes every grid point a start. The best one is polished by
Levenberg-Marquardt within bounds. Arrays end in the voxel: [scan, voxel].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np

from calibration.voxel_models import RIDGE, Model, amplitudes, basis, bounds, integral
from calibration.voxel_polish import linearised, polish
from dose.activity import REJECTED_CHI2_PER_DOF

MONO_GRID, PAIR_GRID = 48, 24
"""Grid points of the slow rate alone, and of each of two rates: neighbours differ by less than a factor 2."""

OVER_BY_FIRST = (5.0, 1.5)
"""Fast rate times first scan above which no start lies, first and second try: a phase long over leaves no trace."""

SEARCH_VOXELS = 2048
"""Voxels whose misfit is held on the whole grid at a time."""


@dataclass(frozen=True)
class VoxelFits:
    """One model in every voxel, each [voxel] but `curve` [scan, voxel]: integral, its sd, and how the fit ended."""

    tia: np.ndarray
    sd: np.ndarray
    chi2: np.ndarray
    slow_per_h: np.ndarray
    after_last: np.ndarray
    at_physical: np.ndarray
    at_bound: np.ndarray
    converged: np.ndarray
    curve: np.ndarray

    def scattered(self, where: np.ndarray) -> VoxelFits:
        """The same fits at the places of a mask `where` [voxel]; NaN and False elsewhere."""
        return VoxelFits(*(_scatter(getattr(self, f.name), where) for f in fields(self)))


def _scatter(values: np.ndarray, where: np.ndarray) -> np.ndarray:
    empty = False if values.dtype == bool else np.nan
    out = np.full((*values.shape[:-1], len(where)), empty, dtype=values.dtype)
    out[..., where] = values
    return out


def fit(model: Model, time_h, activity, sd, physical_per_h: float) -> VoxelFits:
    """Weighted least squares of one model in all voxels: `time_h` [scan], `activity` and `sd` [scan, voxel].

    A clearance at its upper bound counts as not converged: what lies before the first scan is then unlimited. An uptake
    may be there (it is over before the first scan) and is taken as known.
    """
    t, weight = np.asarray(time_h, dtype=float)[:, None], 1.0 / sd
    low, high = bounds(model, physical_per_h)
    theta, moving = _fitted(model, t, activity, weight, low, high)
    shape, slope = basis(model, t, theta)
    amplitude = amplitudes(shape * weight, activity * weight)
    curve = (amplitude[:, None] * shape).sum(0)
    tia, gradient, after = integral(model, theta, amplitude, t[-1, 0])
    near_low, near_high = theta < low + 1e-6, theta > high - 1e-6
    held = near_high.copy()
    held[1:] |= near_low[1:]
    information = _information(shape * weight, (amplitude[:, None] * slope).sum(1) * weight)
    positive = np.all(amplitude > 0, axis=0) & ~near_high[: len(amplitude)].any(0)
    return VoxelFits(
        tia=np.where(positive, tia, np.nan),
        sd=_sd(information, gradient, np.concatenate([np.zeros_like(amplitude, dtype=bool), held])),
        chi2=(((activity - curve) * weight) ** 2).sum(0),
        slow_per_h=np.exp(theta[0]),
        after_last=after / tia,
        at_physical=near_low[0],
        at_bound=held.any(0),
        converged=~moving & positive,
        curve=curve,
    )


def _fitted(model: Model, t, activity, weight, low, high):
    """The best end of all starts, [rate, voxel], and which voxels were still moving, [voxel].

    Where the first start leaves a curve that misses its points, another one with a slower fast phase is tried.
    """
    start = _search(model, t, activity, weight, low, high, OVER_BY_FIRST[0])
    theta, moving = polish(model, t, activity, weight, start, low, high)
    chi2 = linearised(model, t, activity, weight, theta)[0]
    again = chi2 > REJECTED_CHI2_PER_DOF * max(len(t) - model.parameters, 1)
    if len(model.mix) == 1 or not again.any():
        return theta, moving
    y, w = activity[:, again], weight[:, again]
    other, still = polish(model, t, y, w, _search(model, t, y, w, low, high, OVER_BY_FIRST[1]), low, high)
    better = linearised(model, t, y, w, other)[0] < chi2[again]
    theta[:, again] = np.where(better, other, theta[:, again])
    moving[again] = np.where(better, still, moving[again])
    return theta, moving


def _search(model: Model, t, activity, weight, low, high, over: float):
    """The best point of the grid for each voxel, [rate, voxel]; `over` as in OVER_BY_FIRST."""
    n = len(model.mix)
    slow = np.linspace(low[0, 0], min(high[0, 0], math.log(5.0)), MONO_GRID if n == 1 else PAIR_GRID)
    quickest = min(math.log(10.0), math.log(over / max(float(t[0, 0]), 1e-3)))
    fast = np.linspace(math.log(1e-3), quickest, PAIR_GRID)
    grid = slow[None] if n == 1 else np.stack(np.meshgrid(slow, fast, indexing="ij")).reshape(2, -1)
    columns, _ = basis(model, t, grid)
    w2 = (weight**2).T
    yw2 = activity.T * w2
    blocks = [slice(k, k + SEARCH_VOXELS) for k in range(0, len(w2), SEARCH_VOXELS)]
    best = np.concatenate([np.argmax(_gain(columns, yw2[b], w2[b]), axis=1) for b in blocks])
    return grid[:, best]


def _gain(columns, yw2, w2):
    """How much of chi2 each grid point explains with positive amplitudes, [voxel, point]."""
    if len(columns) == 1:
        return np.maximum(yw2 @ columns[0], 0.0) ** 2 / (w2 @ columns[0] ** 2)
    one, two = columns
    y1, y2, g11, g12, g22 = yw2 @ one, yw2 @ two, w2 @ one**2, w2 @ (one * two), w2 @ two**2
    determinant = g11 * g22 * (1 + RIDGE) - g12**2
    a1, a2 = (g22 * y1 - g12 * y2) / determinant, (g11 * y2 - g12 * y1) / determinant
    return np.where((a1 > 0) & (a2 > 0), a1 * y1 + a2 * y2, 0.0)


def _information(column, moved):
    """Information matrix of amplitudes and coordinates together, [voxel, parameter, parameter]."""
    jacobian = np.concatenate([column, moved])
    return np.einsum("atv,btv->vab", jacobian, jacobian)


def _sd(information, gradient, held):
    """sqrt(g' C g) [voxel], C the full covariance; coordinates `held` [parameter, voxel] are taken as known."""
    free = ~held.T
    scale = np.where(free, np.sqrt(np.maximum(np.einsum("vaa->va", information), 1e-300)), 1.0)
    scaled = information / (scale[:, :, None] * scale[:, None, :]) * (free[:, :, None] & free[:, None, :])
    k = scale.shape[1]
    scaled[:, range(k), range(k)] = 1 + RIDGE
    g = np.where(free, gradient.T / scale, 0.0)
    solved = np.linalg.solve(scaled, g[:, :, None])[:, :, 0]
    return np.sqrt(np.maximum((g * solved).sum(1), 0.0))
