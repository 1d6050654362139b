"""Point spreads that a correction can blur with: a Gaussian, a measured kernel, or a Gaussian that varies in space.

Each is called with an array [z, y, x] and gives it back blurred; `scaled(factor)` is the same spread that much wider,
which is how an uncertain resolution is propagated. Any other callable of that kind serves as well where its width is
taken as known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import affine_transform, gaussian_filter
from scipy.signal import fftconvolve

from dose.errors import InputError, describe
from imaging.recovery import FWHM_PER_SIGMA

REACH_SIGMA = 4.0
"""Gaussians are cut at this many sigma, which leaves out 6e-5 of a line's integral."""


@dataclass(frozen=True)
class GaussianSpread:
    """FWHM in mm, one number or along x, y, z; `spacing_mm` of the voxels along x, y, z."""

    spacing_mm: np.ndarray
    fwhm_mm: float | tuple[float, float, float]

    def __call__(self, array: np.ndarray) -> np.ndarray:
        sigma = np.broadcast_to(self.fwhm_mm, (3,)) / FWHM_PER_SIGMA / np.asarray(self.spacing_mm)
        return gaussian_filter(np.asarray(array, dtype=float), sigma[::-1], mode="constant", truncate=REACH_SIGMA)

    def scaled(self, factor: float) -> GaussianSpread:
        x, y, z = (float(f) * factor for f in np.broadcast_to(self.fwhm_mm, (3,)))
        return GaussianSpread(self.spacing_mm, (x, y, z))


@dataclass(frozen=True)
class KernelSpread:
    """A measured point spread [z, y, x] on the image's voxels, odd along each axis, centred; it is made to sum to 1.

    Raises:
        InputError: an even side, negative values, or a sum of zero.
    """

    kernel: np.ndarray

    def __post_init__(self):
        kernel = np.asarray(self.kernel, dtype=float)
        good = kernel.ndim == 3 and all(n % 2 for n in kernel.shape) and np.isfinite(kernel).all()
        if not good or kernel.min() < 0 or not kernel.sum() > 0:
            found, expected = f"shape {kernel.shape}", "[z, y, x] with odd sides, values of zero or more"
            raise InputError(describe("point-spread kernel", found, expected, "crop it about its centre"))
        object.__setattr__(self, "kernel", kernel / kernel.sum())

    def __call__(self, array: np.ndarray) -> np.ndarray:
        return fftconvolve(np.asarray(array, dtype=float), self.kernel, mode="same")

    def scaled(self, factor: float) -> KernelSpread:
        """Stretched about its centre by linear interpolation, on a box that holds it."""
        sides = [2 * int(np.ceil(factor * (n // 2))) + 1 for n in self.kernel.shape]
        shift = [(n - 1) / 2 - (m - 1) / 2 / factor for n, m in zip(self.kernel.shape, sides, strict=True)]
        stretched = affine_transform(self.kernel, np.full(3, 1 / factor), offset=shift, output_shape=sides, order=1)
        return KernelSpread(stretched)


@dataclass(frozen=True)
class VaryingSpread:
    """A Gaussian whose FWHM (mm) depends on where the activity lies: `fwhm_mm` [z, y, x].

    Blurs of `levels` widths are mixed by weights at the source, linear in the variance, so that counts are kept and
    each point spreads with its own second moment; between levels the shape is a sum of two Gaussians.
    """

    spacing_mm: np.ndarray
    fwhm_mm: np.ndarray
    levels: int = 5

    def __call__(self, array: np.ndarray) -> np.ndarray:
        square = np.asarray(self.fwhm_mm, dtype=float) ** 2
        knots = np.linspace(square.min(), square.max(), self.levels) if np.ptp(square) > 0 else square.ravel()[:1]
        step = knots[1] - knots[0] if len(knots) > 1 else 1.0
        blurred = np.zeros(square.shape)
        for knot in knots:
            share = np.clip(1 - np.abs(square - knot) / step, 0, 1)
            blurred += GaussianSpread(self.spacing_mm, float(np.sqrt(knot)))(array * share)
        return blurred

    def scaled(self, factor: float) -> VaryingSpread:
        return VaryingSpread(self.spacing_mm, np.asarray(self.fwhm_mm) * factor, self.levels)
