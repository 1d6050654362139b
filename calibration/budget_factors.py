"""The two curves of a dose calculation that go with size: recovery of a volume, and dose factor of a mass.

Forms of Gear et al. 2018: R(V) = 1 - 1/(1 + (V/b1)^b2) fitted to phantom spheres, S(m) = c1 m^(-c2). Derivatives are
our own (docs/uncertainty.md) and tested against differences.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import curve_fit

from calibration.budget_checks import above_zero, checked_covariance, relative_or_zero
from dose.errors import InputError, describe
from dose.organ import dose_coefficient_Gy_per_MBq_h

SLOPE_STEP = 0.02
"""Half-width in ln(mass) of the difference that gives c2: absorbed fractions are interpolated between sphere masses,
so a narrower step would see the kinks of the table."""


@dataclass(frozen=True)
class RecoveryCurve:
    """R(V) = 1 - 1/(1 + (V/b1)^b2), with the covariance [2, 2] of (b1 in mL, b2) from its fit to phantom spheres.

    Raises:
        InputError: b1 or b2 not above zero, a covariance that is none.
    """

    b1_mL: float
    b2: float
    covariance: np.ndarray

    def __post_init__(self):
        above_zero("b1_mL", self.b1_mL, "mL", "check the fit of the recovery curve")
        above_zero("b2", self.b2, "", "check the fit of the recovery curve")
        object.__setattr__(self, "covariance", checked_covariance("recovery covariance", self.covariance, 2))

    @classmethod
    def fitted(cls, volume_mL, recovery, sd) -> RecoveryCurve:
        """Weighted least squares of phantom spheres: volumes, recoveries and their standard uncertainties [sphere]."""
        if len(volume_mL) < 3 or not np.all(np.asarray(volume_mL) > 0) or not np.all(np.asarray(sd) > 0):
            do = "measure three spheres or more, each with its standard uncertainty"
            raise InputError(describe("recovery fit", f"{len(volume_mL)} spheres", "3 or more, sd above 0", do))
        form = lambda v, b1, b2: 1 - 1 / (1 + (v / np.abs(b1)) ** np.abs(b2))
        start = (float(np.median(volume_mL)) / 3, 1.0)
        found, covariance = curve_fit(form, np.asarray(volume_mL, float), recovery, start, sd, absolute_sigma=True)
        return cls(abs(float(found[0])), abs(float(found[1])), covariance)

    def value(self, volume_mL):
        """Recovery of a volume, in its shape."""
        x = (np.asarray(volume_mL, dtype=float) / self.b1_mL) ** self.b2
        return x / (1 + x)

    def slope(self, volume_mL: float) -> float:
        """d ln R / d ln V = b2 (1 - R)."""
        return self.b2 * (1 - float(self.value(volume_mL)))

    def gradient(self, volume_mL: float) -> np.ndarray:
        """(dR/db1, dR/db2) = R (1 - R) (-b2/b1, ln(V/b1))."""
        r = float(self.value(volume_mL))
        return r * (1 - r) * np.array([-self.b2 / self.b1_mL, math.log(volume_mL / self.b1_mL)])

    def relative_sd(self, volume_mL: float) -> float:
        """u(R)/R from (b1, b2) alone: sqrt(g' Cov g)/R."""
        g = self.gradient(volume_mL)
        return math.sqrt(g @ self.covariance @ g) / float(self.value(volume_mL))

    def log_value(self, log_volume, volume_mL: float, z: np.ndarray) -> np.ndarray:
        """ln R [draw] at V exp(log_volume), for standard normals `z` [2, draw] of log-normal (b1, b2)."""
        b = np.array([self.b1_mL, self.b2])
        values, vectors = np.linalg.eigh(np.log1p(self.covariance / np.outer(b, b)))
        log_b = np.log(b)[:, None] + vectors @ (np.sqrt(np.maximum(values, 0.0))[:, None] * z)
        log_x = np.exp(log_b[1]) * (log_volume + math.log(volume_mL) - log_b[0])
        return -np.logaddexp(0.0, -log_x)


@dataclass(frozen=True)
class DoseFactor:
    """S = c1 m^(-c2), Gy/(MBq h) with m in g, and the relative standard uncertainty of c1.

    Raises:
        InputError: c1 not above zero, c2 not finite, a negative uncertainty.
    """

    c1_Gy_per_MBq_h: float
    c2: float
    relative_sd: float

    def __post_init__(self):
        above_zero("c1_Gy_per_MBq_h", self.c1_Gy_per_MBq_h, "Gy/(MBq h) at 1 g", "check the fit of S by mass")
        if not math.isfinite(self.c2):
            raise InputError(describe("c2", f"{self.c2}", "a finite power", "check the fit of S by mass"))
        relative_or_zero("dose factor relative_sd", self.relative_sd)

    @classmethod
    def of(cls, region: str, nuclide: str, mass_g: float) -> DoseFactor:
        """The tangent of `dose.dose_coefficient_Gy_per_MBq_h` at a mass, with its model uncertainty."""
        at = [dose_coefficient_Gy_per_MBq_h(region, nuclide, mass_g * math.exp(k * SLOPE_STEP)) for k in (-1, 0, 1)]
        c2 = -math.log(at[2].total / at[0].total) / (2 * SLOPE_STEP)
        return cls(at[1].total * mass_g**c2, c2, at[1].relative_sd)

    def value(self, mass_g: float) -> float:
        """S of a mass."""
        return self.c1_Gy_per_MBq_h * mass_g**-self.c2
