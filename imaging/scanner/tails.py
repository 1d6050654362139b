"""Counts far from their place: photons through septa, and light and photons scattered back behind the crystal.

The septa's tail of a view is an exponential exp(-r / lambda) with 2 lambda = (distance + L) <tan> (`penetration`), for
all depths the one of the axis; it adds to the counts. The crystal's is a Gaussian and takes its part from them. Both
are convolutions of the detector's image, by Fourier transform on a field of twice the size: what leaves is lost.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from imaging.projections import Projections
from imaging.scanner.camera import CameraSpec
from imaging.scanner.penetration import FWHM_PER_SIGMA, collimator_of, through_collimator

SLIGHT = 1e-6
"""A tail of less than this part is left out."""


def exponential(rows: int, columns: int, length_px) -> Float[np.ndarray, "... v2 u2"]:
    """exp(-r / length) on a field of twice the size, centred on the corner, its whole plane's sum 1: lengths [...]."""
    length = np.asarray(length_px, float)[..., None, None]
    return np.exp(-_distance(rows, columns) / length) / _plane(length)


def _plane(length):
    """Sum of exp(-r / length) over all pixels of the plane: 2 pi length^2 where a pixel is small, 1 where it is not."""
    at = np.arange(-40, 41)
    near = np.hypot(at[:, None], at)
    whole = 2 * np.pi * length**2
    return np.where(length > 4, whole, np.exp(-near / np.minimum(length, 4)).sum(axis=(-2, -1), keepdims=True))


def gaussian(rows: int, columns: int, sigma_px: float) -> Float[np.ndarray, "v2 u2"]:
    """The same of a Gaussian."""
    at = np.arange(-400, 401)
    line = np.exp(-(at**2) / (2 * sigma_px**2)).sum()
    return np.exp(-(_distance(rows, columns) ** 2) / (2 * sigma_px**2)) / line**2


def _distance(rows: int, columns: int) -> np.ndarray:
    v, u = (np.minimum(np.arange(2 * n), 2 * n - np.arange(2 * n)) for n in (rows, columns))
    return np.hypot(v[:, None], u)


def with_tails(counts: Float[Array, "view v u"], acquisition: Projections, spec: CameraSpec, energy_keV: float):
    """Counts of photons of one energy with both tails; without them where they are slight."""
    passing = through_collimator(spec.collimator, energy_keV)
    (_, rows, columns), pixel = counts.shape, acquisition.pixel_mm
    centre = np.zeros((2 * rows, 2 * columns))
    centre[0, 0] = 1.0
    kernel = centre
    if passing.penetration_ratio > SLIGHT:
        away = acquisition.radii_mm + collimator_of(spec.collimator).length_mm
        radii, which = np.unique(away * passing.tail_tangent / 2 / pixel, return_inverse=True)
        kernel = kernel + passing.penetration_ratio * exponential(rows, columns, radii)[which]
    if spec.tail_fraction > SLIGHT:
        back = gaussian(rows, columns, spec.tail_fwhm_mm / FWHM_PER_SIGMA / pixel)
        kernel = _product(kernel, (1 - spec.tail_fraction) * centre + spec.tail_fraction * back)
    if kernel is centre:
        return counts
    return _folded(counts, jnp.asarray(np.broadcast_to(kernel, (len(counts), *centre.shape)), jnp.float32))


def _product(one, other):
    """Both tails one after the other: a product of transforms, on the doubled field."""
    return np.fft.irfft2(np.fft.rfft2(one) * np.fft.rfft2(other), other.shape)


@jax.jit
def _folded(counts, kernels):
    rows, columns = counts.shape[1:]

    def one(pair):
        image, kernel = pair
        spectrum = jnp.fft.rfft2(image, kernel.shape) * jnp.fft.rfft2(kernel)
        return jnp.maximum(jnp.fft.irfft2(spectrum, kernel.shape)[:rows, :columns], 0)

    return jax.lax.map(one, (counts, kernels))
