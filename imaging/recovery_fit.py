"""Recovery against volume from a site's spheres, and what it does to an activity and its uncertainty.

R(V) = 1 - 1/(1 + (V/b1)^b2) (Gear 2018): b1 in mL is the volume of half recovery, b2 the steepness. Fitted by weighted
least squares; u(R)^2 = g' Cov(b) g + (dR/dV)^2 u(V)^2 with g = dR/db. A curve holds for the reconstruction and the
shape (sphere) it was measured with.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit

from dose.errors import CalibrationError, InputError, describe


@dataclass(frozen=True)
class RecoveryCurve:
    """b1 in mL, b2, their covariance [2, 2], the volumes spanned by the spheres, and the fit's chi2.

    Raises:
        InputError: b1 or b2 not above zero, or a covariance that is none.
    """

    b1_mL: float
    b2: float
    covariance: np.ndarray
    smallest_mL: float = 0.0
    largest_mL: float = math.inf
    chi2: float = 0.0
    dof: int = 0
    reconstruction: str = ""

    def __post_init__(self):
        cov = np.asarray(self.covariance, dtype=float)
        object.__setattr__(self, "covariance", cov)
        is_cov = cov.shape == (2, 2) and np.isfinite(cov).all() and np.allclose(cov, cov.T)
        if not is_cov or np.linalg.eigvalsh(cov).min() < -1e-9 * max(1.0, abs(np.trace(cov))):
            found = "a matrix that is no covariance"
            raise InputError(describe("recovery curve", found, "symmetric [2, 2] without negative variance", "refit"))
        if not (0 < self.b1_mL < math.inf and 0 < self.b2 < math.inf):
            found = f"b1 {self.b1_mL:g} mL, b2 {self.b2:g}"
            raise InputError(describe("recovery curve", found, "values above zero", "refit the spheres"))

    def at(self, volume_mL):
        """Recovery of a volume in mL, any shape."""
        return recovery(volume_mL, self.b1_mL, self.b2)

    def slope_per_mL(self, volume_mL):
        """dR/dV."""
        r = self.at(volume_mL)
        return self.b2 * r * (1 - r) / np.asarray(volume_mL)

    def sd(self, volume_mL, volume_sd_mL=0.0):
        """u(R): from the fit, and from the volume."""
        fit = np.sqrt(self._fit_variance(volume_mL))
        return np.hypot(fit, self.slope_per_mL(volume_mL) * np.asarray(volume_sd_mL))

    def _fit_variance(self, volume_mL):
        r = self.at(volume_mL)
        g1 = -self.b2 * r * (1 - r) / self.b1_mL
        g2 = r * (1 - r) * np.log(np.asarray(volume_mL) / self.b1_mL)
        c = self.covariance
        return g1 * g1 * c[0, 0] + 2 * g1 * g2 * c[0, 1] + g2 * g2 * c[1, 1]


def recovery(volume_mL, b1_mL: float, b2: float):
    """R(V) = 1 - 1/(1 + (V/b1)^b2) (Gear 2018)."""
    return 1 - 1 / (1 + (np.asarray(volume_mL) / b1_mL) ** b2)


def fit_recovery(volumes_mL, recoveries, sds, *, reconstruction: str = "") -> RecoveryCurve:
    """The curve of spheres [sphere] with measured recoveries and their sd, by weighted least squares.

    Raises:
        InputError: fewer than three spheres, or a value that is none.
        CalibrationError: no fit.
    """
    volume, seen, sd = (np.asarray(a, dtype=float) for a in np.broadcast_arrays(volumes_mL, recoveries, sds))
    if volume.size < 3 or not (volume.min() > 0 and sd.min() > 0 and np.isfinite(seen).all()):
        found, do = f"{volume.size} spheres", "measure the six of an IEC phantom"
        raise InputError(describe("recovery spheres", found, "three or more with volume and sd above zero", do))

    def curve(v, log_b1, log_b2):
        return recovery(v, np.exp(log_b1), np.exp(log_b2))

    try:
        best, cov = curve_fit(curve, volume, seen, (math.log(np.median(volume)), 0.0), sigma=sd, absolute_sigma=True)
    except RuntimeError as error:
        do = "check volumes, background subtraction and calibration"
        raise CalibrationError(
            describe("recovery spheres", "no fit", "recoveries that rise with volume", do)
        ) from error
    b = np.exp(best)
    chi2 = float((((curve(volume, *best) - seen) / sd) ** 2).sum())
    spans = (float(volume.min()), float(volume.max()))
    return RecoveryCurve(float(b[0]), float(b[1]), cov * np.outer(b, b), *spans, chi2, volume.size - 2, reconstruction)


def recovered_activity(
    activity_MBq: float,
    sd_MBq: float,
    curve: RecoveryCurve,
    volume_mL: float,
    volume_sd_mL: float = 0.0,
    *,
    counts_per_volume: float = 0.0,
) -> tuple[float, float]:
    """(activity, sd) in MBq after division by R(V).

    `counts_per_volume` is d ln(counts) / d ln(V) of a contour that moves (Gear 2018: phi / (2R), as in
    `imaging.recovery.contour_sd`). Contour and recovery move together, so the terms partly cancel:
    u(A)^2/A^2 = u(C)^2/C^2 + g' Cov g/R^2 + (counts_per_volume - V R'/R)^2 u(V)^2/V^2.

    Raises:
        InputError: a volume not above zero, or outside what the spheres spanned on the side of the small.
    """
    if not volume_mL > 0 or volume_mL < curve.smallest_mL:
        found, expected = f"{volume_mL:g} mL", f"at least the smallest sphere's {curve.smallest_mL:g} mL"
        do = "leave the region out or use the transfer matrix: the curve is not known there"
        raise InputError(describe("volume_mL", found, expected, do))
    r = float(curve.at(volume_mL))
    moved = counts_per_volume - volume_mL * float(curve.slope_per_mL(volume_mL)) / r
    fit = math.sqrt(float(curve._fit_variance(volume_mL))) / r
    relative = math.hypot(sd_MBq / activity_MBq, fit, moved * volume_sd_mL / volume_mL)
    return activity_MBq / r, activity_MBq / r * relative


def contrast_recovery(
    sphere: float, background: float, true_ratio: float, *, sphere_sd: float = 0.0, background_sd: float = 0.0
) -> tuple[float, float]:
    """(recovery, sd) of contrast, (sphere/background - 1)/(ratio - 1); a cold sphere has ratio 0 (NEMA NU 2).

    Raises:
        InputError: no background, or a true ratio of 1, which has no contrast.
    """
    if not background > 0 or true_ratio == 1 or true_ratio < 0:
        found = f"background {background:g}, true ratio {true_ratio:g}"
        raise InputError(describe("contrast", found, "a background above zero and a ratio other than 1", "correct it"))
    ratio = sphere / background
    sd = math.hypot(sphere_sd, ratio * background_sd) / background
    return (ratio - 1) / (true_ratio - 1), sd / abs(true_ratio - 1)


def contrast_recovered(
    sphere: float, background: float, contrast: float, *, sphere_sd=0.0, background_sd=0.0, contrast_sd=0.0
) -> tuple[float, float]:
    """(true mean, sd) of a region in a background whose contrast is recovered to `contrast`: B + (S - B)/Q."""
    if not contrast > 0:
        raise InputError(describe("contrast recovery", f"{contrast:g}", "above zero", "measure a larger sphere"))
    step = (sphere - background) / contrast
    sd = math.hypot(sphere_sd / contrast, (1 - 1 / contrast) * background_sd, step * contrast_sd / contrast)
    return background + step, sd
