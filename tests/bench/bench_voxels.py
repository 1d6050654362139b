"""A TIA map of 128 x 128 x 128 voxels and four scans: seconds and memory, beside SciPy's curve_fit voxel by voxel."""

from __future__ import annotations

import time
import tracemalloc
from functools import cache

import numpy as np

from calibration.voxel_dose import DoseKernel, dose_map
from calibration.voxel_filter import ParticleFilter
from calibration.voxel_noise import VoxelNoise
from calibration.voxels import tia_map
from dose.nuclides import radionuclide
from tests.bench import bench

TIME_H = np.array([4.0, 24.0, 96.0, 168.0])
HALF_LIFE_H = radionuclide("177Lu").half_life_h
NOISE = VoxelNoise(0.01, 0.01, 0.03)
EDGE = 128
PEER_VOXELS = 2000
"""Voxels given to SciPy; its time is scaled up to all."""


def scans(body: float, edge: int = EDGE, time_h=TIME_H) -> np.ndarray:
    """Noisy scans [scan, z, y, x] in single precision; a share `body` of the voxels is active, a quarter by uptake."""
    rng = np.random.default_rng(20261121)
    shape = (edge,) * 3
    a = rng.uniform(0.2, 2.0, shape) * (rng.random(shape) < body)
    slow, fast = np.log(2) / rng.uniform(30.0, 110.0, shape), rng.uniform(0.05, 0.8, shape)
    taken = rng.random(shape) < 0.25
    clean = [a * (np.exp(-slow * t) - taken * np.exp(-(slow + fast) * t)) for t in time_h]
    return np.stack([c + NOISE.sd(c) * rng.normal(size=shape) for c in clean]).astype(np.float32)


def _seconds(data: np.ndarray, time_h=TIME_H, **options) -> float:
    begin = time.perf_counter()
    tia_map(data, time_h, NOISE, HALF_LIFE_H, **options)
    return time.perf_counter() - begin


@cache
def _peer() -> float:
    """Seconds of scipy.optimize.curve_fit, one exponential, for a whole volume: extrapolated from a sample."""
    from scipy.optimize import curve_fit

    data = scans(1.0, 16).reshape(4, -1)[:, :PEER_VOXELS].astype(float)
    physical = np.log(2) / HALF_LIFE_H
    model = lambda t, a, biological: a * np.exp(-(physical + biological) * t)
    sd, begin = NOISE.sd(data), time.perf_counter()
    for y, s in zip(data.T, sd.T, strict=True):
        curve_fit(model, TIME_H, y, p0=(1.0, 0.01), sigma=s, absolute_sigma=True, bounds=(0.0, [100.0, 50.0]))
    return (time.perf_counter() - begin) / data.shape[1] * EDGE**3


PEER = f"scipy curve_fit of one exponential, one core, extrapolated from {PEER_VOXELS} voxels"


@bench("voxels/128^3 voxels, four scans, all active, two cores, beside SciPy", unit="s", peer=PEER)
def beside_scipy():
    return _seconds(scans(1.0)), _peer()


@bench("voxels/128^3 voxels, four scans, all active, two cores", unit="s", peer="limit", peer_value=60.0)
def all_active():
    return _seconds(scans(1.0))


@bench("voxels/128^3 voxels, four scans, 20 % active, two cores", unit="s", peer="limit", peer_value=60.0)
def a_fifth_active():
    return _seconds(scans(0.2))


@bench("voxels/128^3 voxels, four scans, all active, particle filter first, two cores", unit="s")
def filtered():
    """128 particles a voxel; the limit of 60 s is for maps without a filter."""
    return _seconds(scans(1.0), denoise=ParticleFilter())


@bench("voxels/128^3 voxels, four scans, dose rate first by a kernel of 11^3, two cores", unit="s")
def dose_rate_first():
    r = np.arange(-5, 6)
    g = np.exp(-(r[:, None, None] ** 2 + r[None, :, None] ** 2 + r[None, None, :] ** 2) / 4.0)
    data, begin = scans(1.0), time.perf_counter()
    dose_map(data, TIME_H, NOISE, HALF_LIFE_H, dose_rate=DoseKernel(g, 0.1))
    return time.perf_counter() - begin


@bench("voxels/128^3 voxels, six scans, all active, two cores", unit="s")
def six_scans():
    """All three curves compete."""
    time_h = np.array([1.0, 4.0, 24.0, 48.0, 96.0, 168.0])
    return _seconds(scans(1.0, time_h=time_h), time_h)


@bench("voxels/128^3 voxels, four scans: peak memory beyond the scans", unit="MiB", peer="limit", peer_value=2048.0)
def memory():
    """Of arrays, as NumPy reports them to tracemalloc."""
    data = scans(1.0)
    tracemalloc.start()
    tia_map(data, TIME_H, NOISE, HALF_LIFE_H)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20
