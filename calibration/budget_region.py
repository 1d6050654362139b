"""How far an error of the drawn volume reaches: counts in the contour, recovery, mass and dose factor.

A contour drawn too large takes in counts from outside, is corrected with the recovery of a larger object, and is
given a larger mass. All three follow from one error of one volume, so their effects on dose add with their signs
before they are squared (Gear et al., Eur J Nucl Med Mol Imaging 2018;45:2456).

The density of counts at the contour of a sphere of radius r under a Gaussian point spread is phi/2, with

    phi = erf(2y) - (1 - exp(-4 y^2)) / (y sqrt(pi)),    y = 2 r sqrt(ln 2) / FWHM,

our derivation (docs/uncertainty.md), which Monte Carlo confirms. The form that our notes recall has y in place of 2y;
it is the same from a radius of one FWHM on, and too high below.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.integrate import cumulative_trapezoid
from scipy.special import erf

from calibration.budget_checks import above_zero, relative_or_zero
from imaging.recovery import FWHM_PER_SIGMA, sphere_recovery, volume_sd

RADII = 2000
"""Points of the radial integral of counts; its error is below 1e-5."""
WIDEST = 4.0
"""Contours up to this many radii of the object are tabulated; a volume error that large is no error but a mistake."""


def diameter_mm(volume_mL: float) -> float:
    """Diameter of the sphere of a volume."""
    return 20 * (3 * volume_mL / (4 * math.pi)) ** (1 / 3)


@dataclass(frozen=True)
class Outline:
    """A drawn region: volume in mL, its relative standard uncertainty, and the FWHM (mm) of the emission image.

    Raises:
        InputError: a volume or FWHM that is missing or not above zero, a negative uncertainty.
    """

    volume_mL: float
    relative_sd: float
    fwhm_mm: float

    def __post_init__(self):
        above_zero("volume_mL", self.volume_mL, "mL", "check the contour and its unit")
        above_zero("fwhm_mm", self.fwhm_mm, "mm", "give the reconstructed resolution of the emission image")
        relative_or_zero("volume relative_sd", self.relative_sd)

    @classmethod
    def drawn(cls, volume_mL: float, *, voxel_mm: float, drawing_fwhm_mm: float, fwhm_mm: float) -> Outline:
        """With (u(V)/V)^2 = 9 (u(d)/d)^2, u(d)^2 = a^2/6 + FWHM^2/(4 ln 2): a the voxel, FWHM of the image drawn on."""
        above_zero("volume_mL", volume_mL, "mL", "check the contour and its unit")
        above_zero("voxel_mm", voxel_mm, "mm", "give the voxel edge of the image drawn on")
        do = "give the resolution of the image that contours were drawn on (that of CT if drawn on CT)"
        above_zero("drawing_fwhm_mm", drawing_fwhm_mm, "mm", do)
        return cls(volume_mL, volume_sd(volume_mL, voxel_mm, drawing_fwhm_mm), fwhm_mm)

    @classmethod
    def sphere(cls, diameter_mm: float, *, voxel_mm: float, drawing_fwhm_mm: float, fwhm_mm: float) -> Outline:
        """The same from a diameter."""
        above_zero("diameter_mm", diameter_mm, "mm", "check the measured diameter")
        volume_mL = math.pi * (diameter_mm / 10) ** 3 / 6
        return cls.drawn(volume_mL, voxel_mm=voxel_mm, drawing_fwhm_mm=drawing_fwhm_mm, fwhm_mm=fwhm_mm)

    @property
    def phi(self) -> float:
        """Twice the blurred density at the surface of a sphere of this volume, per density inside."""
        y = diameter_mm(self.volume_mL) * math.sqrt(math.log(2)) / self.fwhm_mm
        return math.erf(2 * y) + math.expm1(-4 * y**2) / (y * math.sqrt(math.pi))

    def counts_slope(self, recovery: float) -> float:
        """d ln C / d ln V = phi / (2 R): how counts follow the contour."""
        return self.phi / (2 * recovery)

    def log_counts(self, log_volume: np.ndarray, recovery: float) -> np.ndarray:
        """ln of the counts of a contour of V exp(log_volume) over those of V, around the same blurred sphere.

        The radial integral of the blurred sphere; its logarithm is scaled by the sphere's own recovery over the
        recovery in use, so that the slope at V is `counts_slope`.
        """
        radius, sigma = diameter_mm(self.volume_mL) / 2, self.fwhm_mm / FWHM_PER_SIGMA
        rho = np.linspace(0, WIDEST * radius, RADII + 1)[1:]
        inside = cumulative_trapezoid(rho**2 * _blurred_sphere(rho, radius, sigma), rho, initial=0)
        inside += rho[0] ** 3 * _blurred_sphere(rho[:1], radius, sigma) / 3
        wanted = np.concatenate([[0.0], np.ravel(log_volume) / 3]) + math.log(radius)
        found = np.interp(wanted, np.log(rho), np.log(inside))
        scale = sphere_recovery(self.volume_mL, self.fwhm_mm) / recovery
        return scale * (found[1:] - found[0]).reshape(np.shape(log_volume))


def _blurred_sphere(rho, radius: float, sigma: float) -> np.ndarray:
    """Density at distance `rho` from the centre of a unit sphere of `radius`, blurred by a Gaussian of `sigma`."""
    near, far = (radius - rho) / (math.sqrt(2) * sigma), (radius + rho) / (math.sqrt(2) * sigma)
    edge = sigma / (rho * math.sqrt(2 * math.pi)) * (np.exp(-(near**2)) - np.exp(-(far**2)))
    return 0.5 * (erf(near) + erf(far)) - edge
