"""The chain from counts to absorbed dose, with every input's uncertainty: D = Q C(V) / R(V) integrated over time, S(m).

One error of the volume, one of the calibration factor and one of the recovery curve hold for all scans; counting noise
is each scan's own. `log_dose` follows the whole chain for draws of these errors; `closed_form` is its linearisation
(Gear et al., Eur J Nucl Med Mol Imaging 2018;45:2456, framework; derivatives ours, docs/uncertainty.md).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from calibration.budget_checks import above_zero, relative_or_zero
from calibration.budget_curve import KnownCurve, Scans
from calibration.budget_factors import DoseFactor, RecoveryCurve
from calibration.budget_region import Outline

COMPONENTS = ("calibration factor", "recovery curve", "volume", "counting noise", "misfit", "kinetics", "dose factor")
"""Rows of a budget; errors of different rows are independent."""


@dataclass(frozen=True)
class Chain:
    """One region's way from counts to dose.

    `calibration_MBq_per_cps` turns the unit of `measured` into MBq (1 where it holds activities);
    `recovery` is None where the activities are already corrected without a size-dependent curve, and
    `kinetics_relative_sd` is what no fit of the given curve can see: tail, uptake phase, choice of curve.

    Raises:
        InputError: a factor or density not above zero, a negative uncertainty.
    """

    measured: Scans | KnownCurve
    calibration_MBq_per_cps: float
    calibration_relative_sd: float
    outline: Outline
    recovery: RecoveryCurve | None
    factor: DoseFactor
    density_g_per_mL: float = 1.0
    kinetics_relative_sd: float = 0.0

    def __post_init__(self):
        above_zero("calibration_MBq_per_cps", self.calibration_MBq_per_cps, "MBq/cps", "give the camera's calibration")
        above_zero("density_g_per_mL", self.density_g_per_mL, "g/mL", "take dose.density_g_per_mL(region)")
        relative_or_zero("calibration_relative_sd", self.calibration_relative_sd)
        relative_or_zero("kinetics_relative_sd", self.kinetics_relative_sd)

    @property
    def recovered(self) -> float:
        """Recovery coefficient of the volume; 1 without a curve."""
        return float(self.recovery.value(self.outline.volume_mL)) if self.recovery else 1.0

    @property
    def mass_g(self) -> float:
        return self.outline.volume_mL * self.density_g_per_mL

    @property
    def tia_MBq_h(self) -> float:
        return self.calibration_MBq_per_cps * self.measured.time_integral / self.recovered

    @property
    def dose_Gy(self) -> float:
        return self.tia_MBq_h * self.factor.value(self.mass_g)


@dataclass(frozen=True)
class VolumeTerms:
    """d ln D / d ln V by way of counts (+ phi/2R), recovery (- b2 (1 - R)) and mass (- c2)."""

    counts: float
    recovery: float
    mass: float

    @classmethod
    def of(cls, chain: Chain) -> VolumeTerms:
        slope = chain.recovery.slope(chain.outline.volume_mL) if chain.recovery else 0.0
        return cls(chain.outline.counts_slope(chain.recovered), -slope, -chain.factor.c2)

    @property
    def net(self) -> float:
        """The sum: one volume's error acts through all three."""
        return self.counts + self.recovery + self.mass

    @property
    def as_if_independent(self) -> float:
        """Root of the sum of squares: wrong, for comparison."""
        return math.hypot(self.counts, self.recovery, self.mass)


def closed_form(chain: Chain) -> dict[str, float]:
    """Relative standard uncertainty of the dose by component, to first order."""
    noise = chain.measured.noise_relative_sd
    values = (
        chain.calibration_relative_sd,
        chain.recovery.relative_sd(chain.outline.volume_mL) if chain.recovery else 0.0,
        abs(VolumeTerms.of(chain).net) * chain.outline.relative_sd,
        noise,
        noise * math.sqrt(chain.measured.widening**2 - 1),
        chain.kinetics_relative_sd,
        chain.factor.relative_sd,
    )
    return dict(zip(COMPONENTS, values, strict=True))


def dimensions(chain: Chain) -> dict[str, int]:
    """How many standard normals each component takes."""
    curve = chain.measured.dimension
    sizes = (1, 2, 1, curve, curve, 1, 1)
    return dict(zip(COMPONENTS, sizes, strict=True))


def log_measurement(chain: Chain, z: Mapping[str, np.ndarray]) -> np.ndarray:
    """ln of what calibration, recovery, volume and dose factor do to the dose, [draw], zero at the nominal chain.

    `z` holds standard normals [dimension, draw] by component; a component that is not in it is held. Factors and the
    volume are log-normal about their values as medians.
    """
    draws = next(iter(z.values())).shape[1]
    zero = np.zeros((2, draws))
    log_volume = _log_sd(chain.outline.relative_sd) * z.get("volume", zero)[0]
    total = chain.outline.log_counts(log_volume, chain.recovered) - chain.factor.c2 * log_volume
    total = total + _log_sd(chain.calibration_relative_sd) * z.get("calibration factor", zero)[0]
    total = total + _log_sd(chain.factor.relative_sd) * z.get("dose factor", zero)[0]
    if chain.recovery:
        curve = chain.recovery.log_value(log_volume, chain.outline.volume_mL, z.get("recovery curve", zero))
        total = total - curve + math.log(chain.recovered)
    return total


def log_dose(chain: Chain, z: Mapping[str, np.ndarray]) -> np.ndarray:
    """ln of the dose over the nominal one, [draw], as `log_measurement` with the curve refitted for each draw."""
    draws = next(iter(z.values())).shape[1]
    total = log_measurement(chain, z) + _log_sd(chain.kinetics_relative_sd) * z.get("kinetics", np.zeros((1, draws)))[0]
    noise, misfit = z.get("counting noise"), z.get("misfit")
    extra = math.sqrt(chain.measured.widening**2 - 1)
    if noise is None and (misfit is None or extra == 0.0):
        return total
    shift = (0.0 if noise is None else noise) + (0.0 if misfit is None else extra * misfit)
    return total + chain.measured.log_integral(shift)


def _log_sd(relative_sd: float) -> float:
    """Log sd of the log-normal whose sd over mean is `relative_sd`."""
    return math.sqrt(math.log1p(relative_sd**2))
