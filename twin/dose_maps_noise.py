"""What the noise of the scans does to a dose map and to the mean dose of regions.

Random fields with the sd of each voxel's integral, correlated between neighbours as reconstructed noise is, go through
the dose engine; the spread of the results is the sd. Scans share no noise, so what the integral's sd says of one voxel
holds; how far neighbours go together is taken from the resolution: a Gaussian grain of half its FWHM, an assumption.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from calibration.voxel_result import VoxelTIA
from imaging.geometry import Volume
from imaging.recovery import FWHM_PER_SIGMA, Measurement
from twin.dose_maps_scans import AlignedScans

DRAWS = 16
"""Random fields; an sd is then good to 1/sqrt(2 * 16), 18 percent."""

GRAIN = 0.5
"""Width of the noise's grain over the FWHM of the image, as in `imaging.virtual_study`."""


@dataclass(frozen=True)
class Noise:
    """Sd of the dose of each voxel [z, y, x], and by region of the mean dose (Gy) and of the integral (MBq h)."""

    sd_Gy: np.ndarray
    mean_sd_Gy: dict[str, float]
    tia_sd_MBq_h: dict[str, float]


def grain_sigma_mm(how: Measurement) -> float:
    return GRAIN * how.fwhm_mm / FWHM_PER_SIGMA


def grain_voxels(grid: Volume, how: Measurement) -> float:
    """Voxels that share their noise: 1 over the sum of the squared weights of the grain, about (4 pi sigma^2)^(3/2)."""
    return math.prod(_shared_along(grain_sigma_mm(how) / step) for step in grid.spacing_mm)


def _shared_along(sigma: float) -> float:
    """The same along one axis, with sigma in voxels and the weights that `grain` smooths with."""
    reach = np.arange(-int(4 * sigma + 0.5), int(4 * sigma + 0.5) + 1)
    weight = np.exp(-0.5 * (reach / sigma) ** 2)
    return float(weight.sum() ** 2 / (weight**2).sum())


def dose_noise(
    scans: AlignedScans,
    tia: VoxelTIA,
    density_g_cm3: np.ndarray,
    how: Measurement,
    masks: Mapping[str, np.ndarray],
    dose: Callable,
    seed: int,
) -> Noise:
    """Sds by `DRAWS` random fields; `dose` takes MBq h/mL to a `VoxelDoseMap` linearly."""
    random, sd = np.random.default_rng(seed), np.nan_to_num(tia.sd_MBq_h_mL).astype(np.float32)
    squares, means, sums = np.zeros(sd.shape), {name: [] for name in masks}, {name: [] for name in masks}
    for _ in range(DRAWS):
        field = sd * grain(random, sd.shape, scans.grid, how)
        found = dose(field).dose_Gy
        squares += found.astype(float) ** 2
        for name, mask in masks.items():
            means[name].append(mean_dose(found, mask, density_g_cm3))
            sums[name].append(float(np.vdot(mask, field)) * scans.grid.voxel_mL)
    rms = {k: float(np.sqrt(np.mean(np.square(v)))) for k, v in means.items()}
    return Noise(np.sqrt(squares / DRAWS), rms, {k: float(np.sqrt(np.mean(np.square(v)))) for k, v in sums.items()})


def grain(random: np.random.Generator, shape, grid: Volume, how: Measurement) -> np.ndarray:
    """A field of unit variance [z, y, x] whose neighbours go together."""
    from scipy.ndimage import gaussian_filter

    white = random.standard_normal(shape, dtype=np.float32)
    smooth = gaussian_filter(white, grain_sigma_mm(how) / grid.spacing_mm[::-1], mode="wrap")
    return smooth / smooth.std()


def mean_dose(dose_Gy: np.ndarray, mask: np.ndarray, density_g_cm3: np.ndarray) -> float:
    """Energy over mass in a region: the mean dose by mass."""
    mass = mask * density_g_cm3
    return float(np.vdot(mass, dose_Gy) / mass.sum())
