"""Noise of an image's voxels and how neighbours share it: what makes the sd of a region's mean.

For weights w the mean sum(w x)/sum(w) has variance sum_ij w_i s_i r(i - j) s_j w_j / sum(w)^2, with s the sd of voxels
and r their correlation at a distance. Reconstruction smooths noise, so r reaches over voxels and sd / sqrt(voxels)
is too small, often several times. r comes from the width of the noise, or from a background region of even activity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.signal import fftconvolve

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.point_spread import FWHM_PER_SIGMA

SMALLEST_CORRELATION = 0.02
"""A neighbour's correlation below this is taken for white noise along that axis."""

MEDIAN_OF_SD = 0.6745
"""Median of the absolute value of a Gaussian, in sd."""


@dataclass(frozen=True)
class NoiseModel:
    """`sd` of a voxel, one number or [z, y, x]; `correlation` [dz, dy, dx] about its centre, which is 1.

    Raises:
        InputError: sd negative or not finite, a correlation with an even side or whose centre is not 1.
    """

    sd: float | np.ndarray
    correlation: np.ndarray

    def __post_init__(self):
        r = np.asarray(self.correlation, dtype=float)
        object.__setattr__(self, "correlation", r)
        odd = r.ndim == 3 and all(n % 2 for n in r.shape)
        if not odd or not np.isclose(r[tuple(n // 2 for n in r.shape)], 1):
            found, expected = f"shape {r.shape}", "[dz, dy, dx] with odd sides and 1 at the centre"
            raise InputError(describe("noise correlation", found, expected, "make it by noise_of_width"))
        if not (np.isfinite(self.sd).all() and np.min(self.sd) >= 0):
            raise InputError(describe("noise sd", "negative or not finite", "zero or more", "correct it"))


def noise_of_width(sd, fwhm_mm, spacing_mm) -> NoiseModel:
    """White noise after a Gaussian of `fwhm_mm` (one number or x, y, z): r = exp(-d^2 / (4 sigma^2)).

    `sd` is that of the voxels after the smoothing.
    """
    sigma = np.broadcast_to(fwhm_mm, (3,)) / FWHM_PER_SIGMA / np.asarray(spacing_mm)
    return NoiseModel(sd, _gaussian_correlation(sigma[::-1]))


def _gaussian_correlation(sigma_zyx) -> np.ndarray:
    r = np.ones((1, 1, 1))
    for axis, sigma in enumerate(sigma_zyx):
        reach = int(np.ceil(6 * sigma))
        line = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (4 * max(sigma, 1e-6) ** 2))
        r = r * line.reshape([-1 if k == axis else 1 for k in range(3)])
    return r


def noise_of_background(image: Volume, region: Volume, *, shape: str = "gaussian", reach: int = 3) -> NoiseModel:
    """Noise from a region (mask on the image's grid) of even activity.

    `shape="gaussian"` takes one width an axis from the nearest neighbours' correlation, which is steady; "free" takes
    the correlation as it is within `reach` voxels, for textures that are not Gaussian, and needs a region of some
    thousand voxels. The mean of the region is estimated too: the variance it takes away is put back.

    Raises:
        ImageError: another grid, fewer than 100 voxels, or no noise.
        InputError: an unknown shape.
    """
    if shape not in ("gaussian", "free"):
        raise InputError(describe("shape", f'"{shape}"', "gaussian or free", "choose one"))
    mask = region.array > 0.5
    if not region.is_on_grid_of(image) or mask.sum() < 100:
        found, do = f"{int(mask.sum())} voxels", "draw a larger one on this image"
        raise ImageError(describe("background region", found, "100 or more on the image's grid", do))
    covariance = _autocovariance(image.array.astype(float), mask, reach)
    centre = covariance[reach, reach, reach]
    if not centre > 0:
        raise ImageError(describe("background region", "no noise", "voxels that differ", "draw it in the image"))
    r = covariance / centre
    if shape == "gaussian":
        beside = [r[reach + 1, reach, reach], r[reach, reach + 1, reach], r[reach, reach, reach + 1]]
        r = _gaussian_correlation([_sigma(float(c)) for c in beside])
    return NoiseModel(float(np.sqrt(centre)), r)


def _sigma(neighbour: float) -> float:
    """Sigma in voxels of the Gaussian that leaves neighbours correlated so: exp(-1/(4 sigma^2))."""
    if neighbour < SMALLEST_CORRELATION:
        return 0.0
    return 0.5 / np.sqrt(-np.log(min(neighbour, 1 - 1e-6)))


def _autocovariance(values: np.ndarray, mask: np.ndarray, reach: int) -> np.ndarray:
    """Covariance [dz, dy, dx] up to `reach` voxels, from pairs that both lie in the mask."""
    box = tuple(slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(mask))
    m = mask[box].astype(float)
    x = np.where(mask[box], values[box] - values[mask].mean(), 0.0)
    pairs, sums = _lags(m, reach), _lags(x, reach)
    raw = sums / np.maximum(pairs, 1.0)
    n = m.sum()
    known = float((pairs * raw).sum()) / n**2
    return raw + max(known, 0.0) / max(1 - float(pairs.sum()) / n**2, 0.1)  # what the estimated mean took away


def _lags(x: np.ndarray, reach: int) -> np.ndarray:
    """sum x(i) x(i + d) for |d| up to `reach` along each axis."""
    return fftconvolve(np.pad(x, reach), x[::-1, ::-1, ::-1], mode="valid")


def mean_covariance(weights: list[np.ndarray], noise: NoiseModel) -> np.ndarray:
    """Covariance [region, region] of the weighted means of regions [z, y, x]."""
    scaled = [w * noise.sd / float(w.sum(dtype=float)) for w in weights]
    spread = [_correlated(v, noise.correlation) for v in scaled]
    covariance = np.array([[float((v * s).sum()) for s in spread] for v in scaled])
    return (covariance + covariance.T) / 2


def _correlated(v: np.ndarray, correlation: np.ndarray) -> np.ndarray:
    out = np.zeros(v.shape)
    if not v.any():
        return out
    half = [n // 2 for n in correlation.shape]
    box = tuple(
        slice(max(int(i.min()) - h, 0), min(int(i.max()) + h + 1, n))
        for i, h, n in zip(np.nonzero(v), half, v.shape, strict=True)
    )
    small = v[box]
    full = fftconvolve(small, correlation, mode="full")
    out[box] = full[tuple(slice(h, h + n) for h, n in zip(half, small.shape, strict=True))]
    return out
