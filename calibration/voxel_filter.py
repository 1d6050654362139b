"""Particle filter that takes noise out of a series of registered scans before it is integrated, voxel by voxel.

Gotz et al. (EJNMMI Phys 2019;6:34, abstract read, paper not) follow each voxel's activity from scan to scan by
particles under a mono-exponential decay. Taken from them: one filter for each voxel, its state the activity, a model of
the decay between scans. Ours: the decay expected is the neighbourhood's (ratio of Gaussian-smoothed scans) with a
deviation of each voxel, so an uptake is followed too; whole trajectories are resampled, so early scans learn from late
ones; activities may be negative, so that faint voxels have no bias; and the particles give the integral's sd.
Amplitudes are never smoothed. Equations, gain and cost: docs/voxel-tia.md.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from calibration.voxel_input import Series
from calibration.voxel_noise import VoxelNoise
from calibration.voxel_rules import limit, significance
from dose.errors import InputError, describe

CHUNK_VOXELS = 1024
"""Voxels filtered together: their particles stay in the cache, in single precision, which is finer than their noise."""

WIDEST_RATIO = 1e3
"""Bound of what a neighbourhood may gain or lose between two scans."""


@dataclass(frozen=True)
class ParticleFilter:
    """How to filter; None takes the value of calibration/data/voxels.csv.

    `neighbourhood_voxels` is the sd of the Gaussian whose smoothed scans give the decay to expect, `rate_spread_per_h`
    how far a voxel's clearance may be from it (sd), `wander` the relative sd of what neither explains between two
    scans.

    Raises:
        InputError: fewer than 16 particles, or a width or spread that is not above 0.
    """

    particles: int = 128
    neighbourhood_voxels: float | None = None
    rate_spread_per_h: float | None = None
    wander: float | None = None
    seed: int = 0

    def __post_init__(self):
        widths = (self.neighbourhood_voxels, self.rate_spread_per_h, self.wander)
        if self.particles < 16 or any(w is not None and not w > 0 for w in widths):
            found = f"{self.particles} particles, widths {widths}"
            do = "leave the defaults; for no filter leave denoise out"
            raise InputError(describe("denoise", found, "16 particles or more, widths above 0", do))

    def value(self, name: str) -> float:
        """A setting, or its default."""
        given = getattr(self, name)
        return limit(f"filter_{name}") if given is None else given


@dataclass(frozen=True)
class Denoised:
    """Filtered scans and their sds [scan, voxel] in order of time, the integral's sd [voxel], and what was filtered.

    Errors of one voxel's filtered scans go together: their sds must not be added in quadrature; `integral_sd` knows
    that.
    """

    activity: np.ndarray
    sd: np.ndarray
    integral_sd: np.ndarray
    filtered: np.ndarray


def denoised(scans: Series, how: ParticleFilter, physical_per_h: float, workers: int = 2) -> Denoised:
    """Filters the voxels whose neighbourhood stands out of the noise; the others stay as they are.

    Raises:
        InputError: voxels without neighbours (fewer than two axes beside the scans), or one scan.
    """
    if len(scans.shape) < 2 or len(scans.time_h) < 2:
        found = f"{len(scans.time_h)} scans of shape {scans.shape}"
        do = "give scans as images, [scan, z, y, x], or leave denoise out"
        raise InputError(describe("denoise", found, "two scans or more, two axes of voxels or more", do))
    activity, sd = scans.read(slice(None))
    known = np.isfinite(activity).all(0)
    ratio, usable = _neighbourhood(scans, np.where(known, activity, 0.0), sd, known, how)
    sd = _expected_sd(scans, np.where(usable, activity, 0.0), sd, ratio, usable)
    integral_sd, where = np.full(known.shape, np.nan), np.flatnonzero(usable)
    tail_per_h = -np.log(ratio[-1]) / (scans.time_h[-1] - scans.time_h[-2])
    chunks = [where[k : k + CHUNK_VOXELS] for k in range(0, len(where), CHUNK_VOXELS)]
    seeds = np.random.SeedSequence(how.seed).spawn(len(chunks))

    def run(chunk, seed):
        taken = (part[:, chunk].astype(np.float32) for part in (activity, sd, ratio))
        path, deviation, weight = _trajectories(*taken, np.diff(scans.time_h), how, seed)
        activity[:, chunk], sd[:, chunk] = _moments(path, weight, sd[:, chunk])
        tail = np.maximum(tail_per_h[chunk] + deviation, physical_per_h)
        integral_sd[chunk] = _spread(_integrals(path, scans.time_h, tail), weight)

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, chunks, seeds))
    return Denoised(activity, sd, integral_sd, usable)


def _neighbourhood(scans: Series, activity, sd, known, how: ParticleFilter):
    """Ratio of each smoothed scan to the one before [scan - 1, voxel], and where it can be trusted [voxel]."""
    width = how.value("neighbourhood_voxels")
    smooth = lambda values: gaussian_filter(values.reshape(scans.shape), width, mode="nearest").ravel()
    weight = np.maximum(smooth(known.astype(float)), 1e-9)
    mean = np.stack([smooth(scan) for scan in activity]) / weight
    of_empty = scans.noise.sd(np.maximum(mean, 0.0)) if isinstance(scans.noise, VoxelNoise) else sd
    voxels = (4 * math.pi * width**2) ** (len(scans.shape) / 2)
    stands_out = significance(mean, np.where(known, of_empty, 1.0) / math.sqrt(voxels)) > limit("detection_sd")
    usable = known & stands_out & (mean > 0).all(0)
    ratio = np.where(usable, mean[1:] / np.where(usable, mean[:-1], 1.0), 1.0)
    return np.clip(ratio, 1 / WIDEST_RATIO, WIDEST_RATIO), usable


def _expected_sd(scans: Series, activity, sd, ratio, usable):
    """Sds [scan, voxel] of the neighbourhood's curve at the voxel's own level, where the noise is a `VoxelNoise`.

    Sds that know the noisy values would weigh low ones more, and pull integrals down.
    """
    if not isinstance(scans.noise, VoxelNoise):
        return sd.copy()
    shape = np.concatenate([np.ones_like(ratio[:1]), np.cumprod(ratio, axis=0)])
    empty = scans.noise.sd(np.zeros_like(activity))
    level = (shape * activity / empty**2).sum(0) / (shape**2 / empty**2).sum(0)
    return np.where(usable, scans.noise.sd(level * shape), sd)


def _trajectories(y, sd, ratio, step_h, how: ParticleFilter, seed):
    """Activities [scan, particle, voxel], deviations of clearance and weights [particle, voxel] after the last scan."""
    rng, shape = np.random.default_rng(seed), (how.particles, y.shape[1])
    spread, wander = (np.float32(how.value(name)) for name in ("rate_spread_per_h", "wander"))
    deviation = spread * rng.standard_normal(shape, dtype=np.float32)
    path = [y[0] + sd[0] * rng.standard_normal(shape, dtype=np.float32)]
    weight = np.full(shape, 1.0 / how.particles, dtype=np.float32)
    for k, hours in enumerate(step_h.astype(np.float32)):
        moved = np.exp(wander * rng.standard_normal(shape, dtype=np.float32) - hours * deviation)
        path.append(path[-1] * ratio[k] * moved)
        weight = _reweighed(weight, (y[k + 1] - path[-1]) / sd[k + 1])
        if k + 1 < len(step_h):
            path, deviation, weight = _resampled(path, deviation, weight, rng)
    return np.stack(path), deviation, weight


def _moments(path, weight, sd):
    """Mean and sd of the trajectories [scan, voxel]; the sd no less than a thousandth of the scan's."""
    mean = (weight * path).sum(1)
    variance = (weight * (path - mean[:, None]) ** 2).sum(1)
    return mean, np.sqrt(np.maximum(variance, (1e-3 * sd) ** 2))


def _integrals(path, time_h, tail_per_h):
    """Trapezoids from a triangle on, with each particle's own tail [particle, voxel]: only their spread is taken."""
    t = np.asarray(time_h, dtype=np.float32)
    between = np.tensordot(np.diff(t) / 2, path[1:] + path[:-1], 1)
    return path[0] * t[0] / 2 + between + path[-1] / tail_per_h


def _spread(values, weight):
    """Weighted sd over the particles, [voxel]."""
    return np.sqrt((weight * (values - (weight * values).sum(0)) ** 2).sum(0))


def _reweighed(weight, residual):
    """Weights after a scan; a scan that no particle is near leaves equal ones."""
    log_weight = np.log(np.maximum(weight, 1e-30)) - residual**2 / 2
    raw = np.exp(log_weight - log_weight.max(0))
    return raw / raw.sum(0)


def _resampled(path, deviation, weight, rng):
    """Systematic resampling of the voxels where fewer than half of the particles count."""
    few = 1.0 / (weight**2).sum(0) < len(weight) / 2
    if not few.any():
        return path, deviation, weight
    count, voxels = len(weight), int(few.sum())
    up_to = np.cumsum(weight[:, few], axis=0, dtype=float).T
    up_to = up_to / up_to[:, -1:] + np.arange(voxels)[:, None]
    wanted = (np.arange(count) + rng.random((voxels, 1))) / count + np.arange(voxels)[:, None]
    pick = np.searchsorted(up_to.ravel(), wanted.ravel()).reshape(voxels, count) - count * np.arange(voxels)[:, None]
    pick = np.clip(pick, 0, count - 1).T
    taken = []
    for values in (*path, deviation):
        values[:, few] = np.take_along_axis(values[:, few], pick, axis=0)
        taken.append(values)
    weight[:, few] = 1.0 / count
    return taken[:-1], taken[-1], weight
