"""Time-activity curves as sums of exponentials, with exact integrals.

Activities are the ones present (not decay-corrected), times count from the end of administration. The four forms and
their constraints: CLINICAL.md section 1.1; single-time-point rules: Hanscheid et al., J Nucl Med 2018;59:75 and Madsen
et al., Med Phys 2018;45:2318.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe


@dataclass(frozen=True)
class Exponentials:
    """A(t) = sum a_i exp(-l_i t): `amplitudes_MBq` (negative ones for uptake) and `rates_per_h`, shape [component].

    Raises:
        InputError: a rate that is not above zero, or unequal lengths.
    """

    amplitudes_MBq: tuple[float, ...]
    rates_per_h: tuple[float, ...]

    def __post_init__(self):
        if len(self.amplitudes_MBq) != len(self.rates_per_h) or not all(rate > 0 for rate in self.rates_per_h):
            found = f"amplitudes {self.amplitudes_MBq}, rates {self.rates_per_h}"
            do = "check the fit; an activity that never falls has no integral"
            raise InputError(describe("curve", found, "one rate above 0 /h for each amplitude", do))

    def activity_MBq(self, time_h):
        """Activity at the times, in their shape."""
        t = np.asarray(time_h, dtype=float)
        return sum(a * np.exp(-rate * t) for a, rate in zip(self.amplitudes_MBq, self.rates_per_h, strict=True))

    @property
    def tia_MBq_h(self) -> float:
        """Time-integrated activity from 0 to the end of time."""
        return self.tia_after(0.0)

    def tia_after(self, time_h: float) -> float:
        """Time-integrated activity from `time_h` on, in MBq h."""
        pairs = zip(self.amplitudes_MBq, self.rates_per_h, strict=True)
        return sum(a / rate * math.exp(-rate * time_h) for a, rate in pairs)


def mono(amplitude_MBq: float, rate_per_h: float) -> Exponentials:
    """A exp(-l t)."""
    return Exponentials((amplitude_MBq,), (rate_per_h,))


def bi(amplitude_1_MBq: float, rate_1_per_h: float, amplitude_2_MBq: float, rate_2_per_h: float) -> Exponentials:
    """Two clearances: A1 exp(-l1 t) + A2 exp(-l2 t)."""
    return Exponentials((amplitude_1_MBq, amplitude_2_MBq), (rate_1_per_h, rate_2_per_h))


def uptake(amplitude_MBq: float, clearance_per_h: float, uptake_per_h: float) -> Exponentials:
    """A (exp(-clearance t) - exp(-uptake t)): nothing at time 0.

    Raises:
        InputError: the uptake is not faster than the clearance.
    """
    _check_order(uptake_per_h, clearance_per_h)
    return Exponentials((amplitude_MBq, -amplitude_MBq), (clearance_per_h, uptake_per_h))


def tri_uptake(
    amplitude_2_MBq: float, rate_2_per_h: float, amplitude_3_MBq: float, rate_3_per_h: float, uptake_per_h: float
) -> Exponentials:
    """A2 exp(-l2 t) + A3 exp(-l3 t) - (A2 + A3) exp(-l1 t), with uptake l1 above both.

    Raises:
        InputError: the uptake is not the fastest rate.
    """
    _check_order(uptake_per_h, max(rate_2_per_h, rate_3_per_h))
    amplitudes = (amplitude_2_MBq, amplitude_3_MBq, -(amplitude_2_MBq + amplitude_3_MBq))
    return Exponentials(amplitudes, (rate_2_per_h, rate_3_per_h, uptake_per_h))


def _check_order(uptake_per_h: float, clearance_per_h: float):
    if not uptake_per_h > clearance_per_h:
        expected = f"faster than the clearance, {clearance_per_h:g} /h"
        raise InputError(describe("uptake rate", f"{uptake_per_h:g} /h", expected, "exchange the two rates"))


def peak_h(curve: Exponentials) -> float:
    """Time of the maximum of an `uptake` curve: ln(l2/l1)/(l2 - l1)."""
    slow, fast = sorted(curve.rates_per_h)
    return math.log(fast / slow) / (fast - slow)


def hanscheid_tia(activity_MBq: float, time_h: float) -> float:
    """Integral in MBq h from one late scan: A(t) 2t/ln 2, exact where t is one or two effective half-lives."""
    return activity_MBq * 2 * time_h / math.log(2)


def madsen_tia(activity_MBq: float, time_h: float, population_rate_per_h: float) -> float:
    """Integral in MBq h from one scan and the population's effective clearance rate k: A(t) exp(k t)/k."""
    return activity_MBq * math.exp(population_rate_per_h * time_h) / population_rate_per_h


def extrapolated_fraction(curve: Exponentials, last_time_h: float) -> float:
    """Part of the integral that lies after the last measurement."""
    return curve.tia_after(last_time_h) / curve.tia_MBq_h
