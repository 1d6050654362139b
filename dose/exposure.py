"""One exposure as a checked record: its dose rate as exponentials, its dose, G and BED; a course; growth meanwhile.

Dose rates of regions come as sums of exponentials (`dose.curves`) times a dose coefficient. BED of a cycle is
D + G D^2 / (alpha/beta); cycles add after it, not before, and `course_bed_Gy` also counts the damage and the activity
that one cycle leaves for the next. Cells that grow back cost ln 2 (T - T_k) / (alpha T_d) of BED after the kick-off
time T_k (Dale, Int J Radiat Oncol Biol Phys 1996;36:157, recalled). Equations and a table over half-lives:
docs/radiobiology.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dose.curves import Exponentials
from dose.errors import InputError, describe
from dose.repair import course_quadratic_Gy2, exposure_dose_Gy, quadratic_Gy2
from dose.tissues import Tissue, TissueDraws

NEGATIVE = 1e-9
"""A dose rate below zero by more than this part of its largest is refused; less is rounding."""

CHECKED_TIMES, CHECKED_OVER = 400, 20.0
"""Times, spread over that many times 1/rate of each phase, at which the dose rate is looked at."""


@dataclass(frozen=True)
class Exposure:
    """Dose rate sum a_i exp(-l_i t) in Gy/h from 0 to `end_h`, or to the end of time where that is None.

    Amplitudes may be negative (uptake), and with an end rates may be 0 (a constant dose rate).

    Raises:
        InputError: unequal lengths, rates that never let the dose end, a dose rate that is negative or nowhere above 0.
    """

    amplitudes_Gy_per_h: tuple[float, ...]
    rates_per_h: tuple[float, ...]
    end_h: float | None = None

    def __post_init__(self):
        a, rate = np.asarray(self.amplitudes_Gy_per_h, float), np.asarray(self.rates_per_h, float)
        end, endless = self.end_h or 0.0, self.end_h is None
        fits = a.shape == rate.shape and a.ndim == 1 and a.size and np.all(np.isfinite([a, rate]))
        if not fits or not np.all(rate > 0 if endless else rate >= 0) or not (endless or 0 < end < math.inf):
            found = f"amplitudes {self.amplitudes_Gy_per_h}, rates {self.rates_per_h}, end {self.end_h}"
            expected = "a rate above 0 /h for each amplitude (with an end above 0 h, 0 too)"
            raise InputError(describe("exposure", found, expected, "check the fit of the curve"))
        seen = self.dose_rate_Gy_per_h(_times(rate, self.end_h))
        if np.min(seen) < -NEGATIVE * np.max(np.abs(seen)) or not np.max(seen) > 0:
            do = "check the signs of the amplitudes, and the fit"
            raise InputError(describe("exposure", "a dose rate below 0 or 0 throughout", "a dose rate above 0", do))

    @classmethod
    def of_curve(cls, curve: Exponentials, Gy_per_MBq_h: float) -> Exposure:
        """A region's curve times its dose coefficient; low-LET part and alphas need one each.

        Raises:
            InputError: a coefficient that is not above 0, or a curve that is negative somewhere.
        """
        if not (math.isfinite(Gy_per_MBq_h) and Gy_per_MBq_h > 0):
            do = "see dose.dose_coefficient_Gy_per_MBq_h"
            raise InputError(describe("Gy_per_MBq_h", f"{Gy_per_MBq_h}", "a coefficient above 0", do))
        return cls(tuple(a * Gy_per_MBq_h for a in curve.amplitudes_MBq), curve.rates_per_h)

    def dose_rate_Gy_per_h(self, time_h) -> np.ndarray:
        """At the times, in their shape."""
        t = np.asarray(time_h, dtype=float)
        terms = (a * np.exp(-rate * t) for a, rate in zip(self.amplitudes_Gy_per_h, self.rates_per_h, strict=True))
        inside = np.ones(t.shape) if self.end_h is None else (t <= self.end_h)
        return np.asarray(sum(terms) * inside)

    @property
    def dose_Gy(self) -> float:
        return float(exposure_dose_Gy(*self.arrays, self.end_h))

    def g(self, tissue: Tissue | TissueDraws):
        """Lea-Catcheside factor: a number, or [draw]."""
        return _plain(quadratic_Gy2(*self.arrays, tissue.repair, self.end_h)) / self.dose_Gy**2

    def bed_Gy(self, tissue: Tissue | TissueDraws):
        """D + G D^2 / (alpha/beta): a number, or [draw]."""
        return self.dose_Gy * (1 + self.g(tissue) * self.dose_Gy / tissue.alpha_beta_Gy)

    def scaled(self, factor: float) -> Exposure:
        """The same shape with another dose."""
        return Exposure(tuple(factor * a for a in self.amplitudes_Gy_per_h), self.rates_per_h, self.end_h)

    @property
    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Amplitudes and rates, [component]."""
        return np.asarray(self.amplitudes_Gy_per_h, dtype=float), np.asarray(self.rates_per_h, dtype=float)


def _times(rates, end_h) -> np.ndarray:
    spans = [CHECKED_OVER / rate for rate in rates if rate > 0] if end_h is None else [end_h]
    each = [np.linspace(0, min(span, end_h or span), CHECKED_TIMES) for span in spans]
    return np.concatenate(each)


def _plain(value):
    array = np.asarray(value)
    return float(array) if array.ndim == 0 else array


def course_bed_Gy(exposures: Sequence[Exposure], starts_h: Sequence[float], tissue: Tissue | TissueDraws):
    """BED of cycles that begin at `starts_h`, with damage and activity carried over: a number.

    Raises:
        InputError: unequal lengths, starts that do not increase, an exposure with an end, or draws of repair.
    """
    start = np.asarray(starts_h, dtype=float)
    endless = all(e.end_h is None for e in exposures)
    if len(start) != len(exposures) or not len(start) or np.any(np.diff(start) <= 0) or not endless:
        found, do = f"{len(exposures)} exposures, starts {starts_h}", "give each cycle its start, in order of time"
        raise InputError(describe("starts_h", found, "as many increasing times, exposures without an end", do))
    if any(np.ndim(v) for pair in tissue.repair.components for v in pair):
        raise InputError(describe("tissue", "draws", "one tissue", "call once for each draw"))
    width = max(len(e.rates_per_h) for e in exposures)
    padded = [[*e.amplitudes_Gy_per_h, *[0.0] * (width - len(e.rates_per_h))] for e in exposures]
    rates = [[*e.rates_per_h, *[1.0] * (width - len(e.rates_per_h))] for e in exposures]
    quadratic = course_quadratic_Gy2(start, np.array(padded), np.array(rates), tissue.repair)
    return sum(e.dose_Gy for e in exposures) + float(quadratic) / tissue.alpha_beta_Gy


def bed_over_half_lives(dose_Gy: float, half_lives_h, tissue: Tissue) -> np.ndarray:
    """BED of the same dose given with other effective half-lives, one exponential each, in their shape.

    Falls from that of an acute exposure, D (1 + D/(alpha/beta)), for short half-lives to D for long ones.

    Raises:
        InputError: a half-life that is not above 0, or a dose that is not above 0.
    """
    half = np.asarray(half_lives_h, dtype=float)
    if not (np.all(half > 0) and dose_Gy > 0):
        do = "correct the number"
        raise InputError(describe("half_lives_h", f"{half_lives_h}, dose {dose_Gy} Gy", "both above 0", do))
    rates = (math.log(2) / half)[None]
    quadratic = quadratic_Gy2(dose_Gy * rates, rates, tissue.repair)
    return dose_Gy + np.asarray(quadratic) / tissue.alpha_beta_Gy


class Growth(NamedTuple):
    """Growth of clonogens: doubling time, time it begins, and the alpha that turns it into BED."""

    alpha_per_Gy: float
    doubling_time_h: float
    kick_off_h: float = 0.0

    @property
    def Gy_per_h(self) -> float:
        """BED that growth undoes in an hour, ln 2 / (alpha T_d)."""
        return math.log(2) / (self.alpha_per_Gy * self.doubling_time_h)


def repopulation_Gy(time_h, growth: Growth):
    """BED lost to growth until `time_h`: ln 2 max(T - T_k, 0) / (alpha T_d), in its shape.

    Raises:
        InputError: an alpha or a doubling time that is not above 0, a kick-off before 0.
    """
    if not (growth.alpha_per_Gy > 0 and growth.doubling_time_h > 0 and growth.kick_off_h >= 0):
        expected = "alpha and doubling time above 0, kick-off not below 0 h"
        raise InputError(describe("growth", f"{growth}", expected, "see dose/data/radiobiology.csv"))
    return growth.Gy_per_h * np.maximum(np.asarray(time_h, dtype=float) - growth.kick_off_h, 0)


class Net(NamedTuple):
    """The largest net BED of an exposure, and when it is reached: later dose is wasted on growth."""

    bed_Gy: float
    time_h: float


def net_bed_Gy(exposure: Exposure, tissue: Tissue, growth: Growth) -> Net:
    """BED less growth at its maximum over time, when the fewest clonogens are alive.

    Raises:
        InputError: as `repopulation_Gy`.
    """
    from scipy.optimize import minimize_scalar  # a third of a second to import, and only needed here

    repopulation_Gy(0.0, growth)

    a, rate = exposure.arrays

    def net(time_h):
        dose, quadratic = exposure_dose_Gy(a, rate, time_h), quadratic_Gy2(a, rate, tissue.repair, time_h)
        return np.asarray(dose + quadratic / tissue.alpha_beta_Gy) - repopulation_Gy(time_h, growth)

    grid = np.unique(np.append(_times(exposure.rates_per_h, exposure.end_h)[1:], growth.kick_off_h or 1e-9))
    grid = grid if exposure.end_h is None else grid[grid <= exposure.end_h]
    best = int(np.argmax(values := net(grid)))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = minimize_scalar(lambda t: -net(t), bounds=(low, high), method="bounded", options={"xatol": 1e-6})
    time_h = float(found.x) if -found.fun > values[best] else float(grid[best])
    return Net(float(max(-found.fun, values[best])), time_h)
