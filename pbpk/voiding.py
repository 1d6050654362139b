"""When a bladder is emptied, and how fast the gut passes on: what `pbpk.contents` needs besides a solve.

Either voids at given times or the first-order rate that ICRP models take; both have the same attributes. Rates are rows
of `data/contents.csv` (ICRP 100 and 130).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dose.errors import InputError, describe
from dose.provenance import load_table
from pbpk.levers import known
from pbpk.parameters import SEXES

GUT = ("small_intestine", "right_colon", "left_colon", "rectosigmoid")
"""Regions of the gut that bile passes, in order."""
MIN_PER_H, MIN_PER_D = 60.0, 1440.0
NOTHING_LEFT = 1e-17
"""Voids after the end of a solve are counted until what all of them leave is below this part of the contents."""


def _number(quantity: str, region: str, sex: str) -> float:
    known("sex", sex, SEXES)
    rows = load_table("pbpk", "contents.csv")
    return next(float(r["value"]) for r in rows if (r["quantity"], r["region"], r["sex"]) == (quantity, region, sex))


def gut_transit_per_d(sex: str = "male") -> np.ndarray:
    """Transfer coefficients out of each region of `GUT`, [region].

    Raises:
        InputError: an unknown sex.
    """
    return np.array([_number("transfer", region, sex) for region in GUT])


def urine_mL_per_d(sex: str = "male") -> float:
    """Reference volume of urine.

    Raises:
        InputError: an unknown sex.
    """
    return _number("urine", "bladder", sex)


def _require(good: bool, field: str, value, expected: str) -> None:
    if not good:
        do = "correct it; a bladder that is never emptied is Voiding(math.inf)"
        raise InputError(describe(f"voiding: {field}", f"{value}", expected, do))


@dataclass(frozen=True)
class Voiding:
    """Voids every `interval_h` (inf: never), the first `first_void_h` after each administration (None: one interval).

    A void leaves `residual_fraction` of the contents. With `night_h`, the hours of the day of going to bed and getting
    up, a void due in between waits for the morning; `clock_h` is the time of day at time 0.

    Raises:
        InputError: an interval or first void not above zero, a first void without an interval, a residual outside 0 to
            1, hours outside 0 to 24 or not two.
    """

    interval_h: float
    first_void_h: float | None = None
    residual_fraction: float = 0.0
    night_h: tuple[float, float] | None = None
    clock_h: float = 0.0
    rate_per_min: ClassVar[float] = 0.0

    def __post_init__(self):
        first, never = self.first_void_h, math.isinf(self.interval_h)
        _require(self.interval_h > 0, "interval_h", self.interval_h, "hours above zero")
        expected = "None where no void is to come" if never else "hours above zero"
        _require(first is None or (0 < first < math.inf and not never), "first_void_h", first, expected)
        _require(0 <= self.residual_fraction < 1, "residual_fraction", self.residual_fraction, "0 to below 1")
        two = self.night_h is None or len(self.night_h) == 2
        _require(two, "night_h", self.night_h, "two hours of the day: to bed, up")
        hours = (*(self.night_h or ()), self.clock_h)
        _require(all(0 <= h < 24 for h in hours), "night_h, clock_h", hours, "hours of the day, 0 to below 24")

    @property
    def first_h(self) -> float:
        return self.interval_h if self.first_void_h is None else self.first_void_h

    def voids_min(self, given_min: np.ndarray, end_min: float) -> tuple[np.ndarray, np.ndarray]:
        """Times of voids up to `end_min`, and of those after it that still matter.

        Each administration, at the increasing `given_min`, starts the schedule anew.
        """
        if math.isinf(self.interval_h):
            return np.zeros(0), np.zeros(0)
        step, wait = MIN_PER_H * self.interval_h, MIN_PER_H * self.first_h
        count = (
            1 + math.ceil(math.log(NOTHING_LEFT) / math.log(self.residual_fraction)) if self.residual_fraction else 1
        )
        until = np.append(given_min[1:], end_min + wait + MIN_PER_D + count * step)
        due = [np.arange(start + wait, stop, step) for start, stop in zip(given_min, until, strict=True)]
        times = np.unique(self._awake(np.concatenate(due)))
        return times[times <= end_min], times[times > end_min]

    def _awake(self, times_min: np.ndarray) -> np.ndarray:
        if self.night_h is None:
            return times_min
        bed, up = self.night_h
        since_bed_h = (self.clock_h + times_min / MIN_PER_H - bed) % 24
        night_h = (up - bed) % 24
        asleep = (since_bed_h > 0) & (since_bed_h < night_h)
        return times_min + MIN_PER_H * np.where(asleep, night_h - since_bed_h, 0.0)

    def mean_volume_mL(self, urine_mL_per_d: float) -> float:
        """Mean volume of a bladder that fills steadily and empties to the residual: a mass for `dose.walls`."""
        filled = urine_mL_per_d * self.interval_h / 24
        return filled * (1 + self.residual_fraction) / (2 * (1 - self.residual_fraction))


@dataclass(frozen=True)
class FirstOrderVoiding:
    """Urine leaves the bladder at `rate_per_d` times what is in it, as in the models of ICRP.

    Raises:
        InputError: a rate that is not finite and above zero.
    """

    rate_per_d: float
    residual_fraction: ClassVar[float] = 0.0

    def __post_init__(self):
        good = math.isfinite(self.rate_per_d) and self.rate_per_d > 0
        _require(good, "rate_per_d", self.rate_per_d, "a rate per day above zero")

    @classmethod
    def icrp(cls, sex: str = "male") -> FirstOrderVoiding:
        """The rate of ICRP 130."""
        return cls(_number("transfer", "bladder", sex))

    @property
    def rate_per_min(self) -> float:
        return self.rate_per_d / MIN_PER_D

    def voids_min(self, given_min: np.ndarray, end_min: float) -> tuple[np.ndarray, np.ndarray]:
        """No voids."""
        return np.zeros(0), np.zeros(0)
