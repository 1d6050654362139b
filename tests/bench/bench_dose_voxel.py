"""Voxel dose by kernels: a map of 128 x 128 x 128 voxels of 3 mm, beside SciPy's fftconvolve in double precision."""

from __future__ import annotations

import tempfile
from functools import cache
from unittest import mock

import numpy as np
from scipy.signal import fftconvolve

from dose import kernel_cache
from dose.convolution import convolve
from dose.kernels import VoxelKernel, mirrored
from dose.point_energies import point_energies
from dose.voxels import voxel
from tests.bench import bench, best_of

EDGE = 128
SPACING_MM = (3.0, 3.0, 3.0)
LIMIT = {"peer": "limit", "peer_value": 2.0}


@cache
def kernel(nuclide: str) -> VoxelKernel:
    point = point_energies(nuclide, "soft_tissue")
    return kernel_cache.cached_kernel(point, SPACING_MM, most_voxels=(EDGE - 1,) * 3)


@cache
def body() -> tuple[np.ndarray, np.ndarray]:
    """Density with lung, bone and air, and activity with a hot spot."""
    rng = np.random.default_rng(20261121)
    z = np.indices((EDGE,) * 3)[0]
    density = np.full((EDGE,) * 3, 1.03)
    density[:, :, 20:50][z[:, :, 20:50] > 64] = 0.26
    density[:, :, 90:96], density[:, :, 96:100], density[:, :6] = 1.5, 1.9, 0.0012
    density *= 1 + 0.03 * rng.standard_normal(density.shape)
    tia = np.where(density > 0.1, 0.01, 0.0)
    tia[60:70, 60:70, 40:60] = 1.0
    return tia, density


def both_parts(nuclide: str) -> float:
    made, tia = kernel(nuclide), body()[0].astype(np.float32)
    return best_of(lambda: [convolve(tia, octant) for octant in (made.electron_MeV, made.photon_MeV)])


@bench("dose/voxel/128^3 convolution of 131I, electrons and photons, two cores, limit", unit="s", **LIMIT)
def convolution():
    return both_parts("131I")


@bench("dose/voxel/128^3 convolution of 131I, two cores, beside SciPy", unit="s", peer="scipy fftconvolve, double")
def beside_scipy():
    """The peer gets the same two kernels whole; it has one thread, and no use of their symmetry."""
    made, tia = kernel("131I"), body()[0]
    wholes = [mirrored(octant) for octant in (made.electron_MeV, made.photon_MeV)]
    return both_parts("131I"), best_of(lambda: [fftconvolve(tia, w, mode="same") for w in wholes], repeats=2, warm_up=0)


def whole_call(nuclide: str, heterogeneity: str) -> float:
    tia, density = body()
    run = lambda: voxel(tia, density, nuclide, SPACING_MM, heterogeneity=heterogeneity)
    return best_of(run, repeats=3)


@bench("dose/voxel/128^3 dose.voxel of 177Lu, density-scaled kernel, two cores", unit="s", **LIMIT)
def density_scaled():
    return whole_call("177Lu", "density")


@bench("dose/voxel/128^3 dose.voxel of 177Lu, tissue-wise kernels, two cores", unit="s")
def tissue_wise():
    return whole_call("177Lu", "tissue")


@bench("dose/voxel/128^3 dose.voxel of 90Y, tissue-wise kernels, two cores", unit="s")
def tissue_wise_yttrium():
    """Electrons that reach 15 voxels of lung, in three depths of each tissue."""
    return whole_call("90Y", "tissue")


@bench("dose/voxel/kernel of 225Ac and progeny to 127 voxels of 3 mm from its point kernels, no cache", unit="s")
def generation():
    point = point_energies("225Ac", "soft_tissue")
    made = kernel_cache.kernels.voxel_kernel
    return best_of(lambda: made(point, SPACING_MM, most_voxels=(EDGE - 1,) * 3), repeats=3, warm_up=0)


@bench("dose/voxel/the same kernel from disk", unit="s")
def from_disk():
    point = point_energies("225Ac", "soft_tissue")

    def read():
        kernel_cache._kept.cache_clear()
        return kernel_cache.cached_kernel(point, SPACING_MM, most_voxels=(EDGE - 1,) * 3)

    with tempfile.TemporaryDirectory() as folder, mock.patch.dict("os.environ", {"XDG_CACHE_HOME": folder}):
        return best_of(read, repeats=3)
