"""Irreversible two-tissue maps (K1, k2, k3, Vb, Ki) by basis functions, refined voxel by voxel.

    C(t) = (1 - Vb) K1/(k2 + k3) [ k3 int Cp + k2 exp(-(k2 + k3) t) * Cp ] + Vb Cb

For one rate r = k2 + k3 this is linear in a = (1-Vb) K1 k3/r, b = (1-Vb) K1 k2/r and Vb, so only r is searched: on a
grid of rates (Gunn, Lammertsma, Hume, Cunningham, NeuroImage 6 (1997) 279, the idea), then by a parabola through the
best three. The covariance of (a, b, Vb, r) gives all sds by the delta method. Ki = K1 k3/(k2 + k3) = a/(1 - Vb).
"""

from __future__ import annotations

import numpy as np

from dose.errors import InputError, describe
from imaging.parametric.frames import DynamicFrames
from imaging.parametric.graphical import LEAST_FRAMES, ParametricMaps, mean_area
from imaging.parametric.input_function import InputFunction

LOWEST_RATE, HIGHEST_RATE, RATES = 0.01, 5.0, 160
"""1/min; a slower exponential is a straight line to an hour's scan, a faster one is plasma. Steps of 4 %."""
UNITS = {"K1": "mL/min/mL", "k2": "1/min", "k3": "1/min", "Vb": "mL/mL", "Ki": "mL/min/mL"}
BELOW_SDS, BELOW_mL_per_mL = 4.0, 0.01
"""Vb this many sds and this much below 0 is no noise: the plasma comes early, or another model."""
CHUNK = 20_000
"""Voxels fitted at once: about 100 MB."""


def two_tissue_irreversible(frames: DynamicFrames, plasma: InputFunction) -> ParametricMaps:
    """K1 and Ki (mL/min/mL), k2 and k3 (1/min) and the vessels' share Vb of each voxel, with sds.

    A voxel is not valid (0 in all maps) where the best rate is an end of the grid, or the linear parts are not those of
    positive rates, or Vb is below 0 by more than noise: another model, or a delay. Its Patlak Ki may still serve. A Vb
    below 0 by noise stays as it is: set to 0 or dropped, the mean of voxels without vessels would be above 0.

    Raises:
        InputError: fewer than eight frames, or plasma that ends before the scan or is of another nuclide.
    """
    if len(frames.start_min) < 2 * LEAST_FRAMES:
        found, do = f"{len(frames.start_min)} frames", "scan with short frames from the injection on, or use patlak"
        raise InputError(describe("dynamic frames", found, "8 or more for four parameters", do))
    whole, plasma, weight = frames.corrected(), plasma.beside(frames), frames.weights()
    values = whole.array_Bq_per_mL.reshape(len(weight), -1).astype(float)
    rates = np.geomspace(LOWEST_RATE, HIGHEST_RATE, RATES)
    table = _table(plasma, whole, rates)
    parts = [_fit(values[:, k : k + CHUNK], table, rates, weight) for k in range(0, values.shape[1], CHUNK)]
    found, sd, r2, valid = (np.concatenate(p, axis=-1) for p in zip(*parts, strict=True))
    return _shaped(found, sd, r2, valid, frames.array_Bq_per_mL.shape[1:], len(weight) - 4)


def _table(plasma: InputFunction, frames: DynamicFrames, rates: np.ndarray) -> dict[str, np.ndarray]:
    """Frame means of the area under Cp and of Cb [frame], and of exp(-r t) * Cp [rate, frame].

    As g' = Cp - r g, a frame's integral of g is (area of Cp - change of g) / r, without error.
    """
    start, end = frames.start_min, frames.end_min
    g = plasma.convolved(rates, np.concatenate([start, end]))
    change = g[:, len(start) :] - g[:, : len(start)]
    area = plasma.integral(end) - plasma.integral(start)
    fading = (area - change) / (rates[:, None] * frames.duration_min)
    return {"area": mean_area(plasma, frames), "blood": plasma.frame_means(start, end, blood=True), "fading": fading}


def _design(table, fading: np.ndarray) -> np.ndarray:
    """[..., frame, 3] of (area, fading, blood), fading [..., frame]."""
    area, blood = (np.broadcast_to(table[k], fading.shape) for k in ("area", "blood"))
    return np.stack([area, fading, blood], axis=-1)


def _fit(values: np.ndarray, table, rates: np.ndarray, weight: np.ndarray):
    """Parameters [5, voxel], sds [5, voxel], r2 [voxel], valid [voxel]."""
    root = np.sqrt(weight)
    data = values * root[:, None]
    misses = np.stack([_miss(_design(table, f) * root[:, None], data) for f in table["fading"]])
    best = np.clip(np.argmin(misses, axis=0), 1, len(rates) - 2)
    inner = np.argmin(misses, axis=0) == best
    log_rate = _lowest_of_parabola(misses, best, np.log(rates))
    fading, slope = _between(table["fading"], np.log(rates), log_rate)
    design = _design(table, fading) * root[:, None]
    normal = np.einsum("vfp,vfq->vpq", design, design)
    linear = np.linalg.solve(_kept(normal), np.einsum("vfp,fv->vp", design, data)[..., None])[..., 0]
    residual = data.T - np.einsum("vfp,vp->vf", design, linear)
    found, jacobian = _rates_of(linear, np.exp(log_rate))
    full = np.concatenate([design, (linear[:, 1:2] * slope * root)[..., None]], axis=-1)
    covariance = _covariance(full, residual)
    sd = np.sqrt(np.maximum(np.einsum("vip,vpq,viq->iv", jacobian, covariance, jacobian), 0))
    mean = data.sum(axis=0) / root.sum()
    about = ((data - mean * root[:, None]) ** 2).sum(axis=0)
    r2 = 1 - (residual**2).sum(axis=1) / np.where(about > 0, about, 1)
    positive = (linear[:, :2] > 0).all(axis=1) & (linear[:, 2] < 1) & values.any(axis=0)
    vessels = found[3] >= -(BELOW_SDS * sd[3] + BELOW_mL_per_mL)
    return found, sd, r2, inner & positive & vessels & np.isfinite(sd).all(axis=0)


def _miss(design: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Weighted sum of squares left by the best linear fit [voxel]."""
    q, _ = np.linalg.qr(design)
    return (data**2).sum(axis=0) - ((q.T @ data) ** 2).sum(axis=0)


def _lowest_of_parabola(misses, best, x) -> np.ndarray:
    """Where the parabola through the best point of an even grid and its neighbours is lowest."""
    left, middle, right = (np.take_along_axis(misses, (best + k)[None], axis=0)[0] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 0, (left - right) / np.where(bend > 0, 2 * bend, 1), 0)
    return x[best] + np.clip(shift, -1, 1) * (x[1] - x[0])


def _between(table: np.ndarray, x: np.ndarray, at: np.ndarray):
    """Cubic interpolation of rows of `table` [rate, frame] at `at` [voxel], and its slope by x."""
    from scipy.interpolate import CubicSpline

    curve = CubicSpline(x, table)
    return curve(at), curve(at, 1)


def _kept(normal: np.ndarray) -> np.ndarray:
    """A diagonal raised by 1e-12 of its mean: a voxel of nothing stays solvable, others do not notice."""
    scale = np.trace(normal, axis1=1, axis2=2)[:, None, None] / normal.shape[1]
    return normal + (1e-12 * scale + 1e-30) * np.eye(normal.shape[1])


def _rates_of(linear: np.ndarray, rate: np.ndarray):
    """(K1, k2, k3, Vb, Ki) [5, voxel] of (a, b, Vb) and r, and the derivatives by (a, b, Vb, log r) [voxel, 5, 4]."""
    a, b, vb = linear.T
    total = np.where(np.abs(a + b) > 0, a + b, 1e-30)
    tissue = np.where(np.abs(1 - vb) > 1e-9, 1 - vb, 1e-9)
    found = np.stack([total / tissue, rate * b / total, rate * a / total, vb, a / tissue])
    one, none = np.ones_like(a), np.zeros_like(a)
    rows = [
        [one / tissue, one / tissue, total / tissue**2, none],
        [-rate * b / total**2, rate * a / total**2, none, rate * b / total],
        [rate * b / total**2, -rate * a / total**2, none, rate * a / total],
        [none, none, one, none],
        [one / tissue, none, a / tissue**2, none],
    ]
    return found, np.moveaxis(np.array(rows), -1, 0)


def _covariance(full: np.ndarray, residual: np.ndarray) -> np.ndarray:
    """Covariance [voxel, 4, 4] of (a, b, Vb, log r) from the residuals."""
    size = np.linalg.norm(full, axis=1)
    size = np.where(size > 0, size, 1)
    scaled = full / size[:, None]
    inverse = np.linalg.pinv(np.einsum("vfp,vfq->vpq", scaled, scaled), hermitian=True)
    variance = (residual**2).sum(axis=1) / max(1, residual.shape[1] - full.shape[2])
    return inverse * variance[:, None, None] / (size[:, :, None] * size[:, None, :])


def _shaped(found, sd, r2, valid, shape, spare: int) -> ParametricMaps:
    def on_grid(row):
        return np.where(valid, row, 0).reshape(shape).astype(np.float32)

    maps = {name: on_grid(row) for name, row in zip(UNITS, found, strict=True)}
    spread = {name: on_grid(row) for name, row in zip(UNITS, sd, strict=True)}
    return ParametricMaps(maps, spread, dict(UNITS), on_grid(r2), valid.reshape(shape), spare)
