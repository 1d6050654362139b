"""Integrals by straight or logarithmic trapezoids with a stated start and tail: no fit, no uncertainty.

All start and tail rules are in clinical use and differ by tens of percent (CLINICAL.md V06, V07), so each is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dose.activity import TAIL_DISAGREEMENT, checked_points, late_slope_flag
from dose.curves import mono
from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide

STARTS = ("triangle", "plateau")
TAILS = ("last_two", "physical")
RULES = ("linear", "log")


@dataclass(frozen=True)
class TrapezoidTIA:
    """Parts of the integral in MBq h: before the first point, between points, after the last; and their sum."""

    start_MBq_h: float
    measured_MBq_h: float
    tail_MBq_h: float

    @property
    def tia_MBq_h(self) -> float:
        return self.start_MBq_h + self.measured_MBq_h + self.tail_MBq_h

    @property
    def extrapolated_fraction(self) -> float:
        """Part of the integral after the last measurement."""
        return self.tail_MBq_h / self.tia_MBq_h


def check_choice(field: str, value: str, choices: tuple[str, ...]):
    if value not in choices:
        do = f'write "{nearest(value, choices) or choices[0]}" if that was meant'
        raise InputError(describe(field, f'"{value}"', " or ".join(choices), do))


def trapezoid_tia(time_h, activity_MBq, nuclide: str, *, start: str, tail: str, rule: str = "linear") -> TrapezoidTIA:
    """Integral of the points, shapes [time].

    `start`: "triangle" from nothing at 0, or "plateau" at the first value. `tail`: "physical" decay, or the slope of
    the "last_two" points. `rule` "log" takes each falling stretch as an exponential.

    Raises:
        InputError: a rule of another name, unusable values, or a last-two slope slower than physical decay.
    """
    for field, value, choices in (("start", start, STARTS), ("tail", tail, TAILS), ("rule", rule, RULES)):
        check_choice(field, value, choices)
    t, a, _ = checked_points(time_h, activity_MBq)
    first = t[0] * a[0] * (0.5 if start == "triangle" else 1.0)
    return TrapezoidTIA(float(first), _between(t, a, rule), float(a[-1] / _tail_rate(t, a, nuclide, tail)))


def _between(t, a, rule: str) -> float:
    linear = np.diff(t) * (a[1:] + a[:-1]) / 2
    if rule == "linear":
        return float(linear.sum())
    falls = a[1:] < a[:-1]
    ratio = np.where(falls, a[:-1] / a[1:], math.e)
    return float(np.where(falls, np.diff(t) * (a[:-1] - a[1:]) / np.log(ratio), linear).sum())


def log_linear(time_h, activity_MBq, nuclide: str):
    """One exponential by a straight line through the logarithms, each point counting alike, shapes [time].

    Raises:
        InputError: fewer than two points, or a line that falls more slowly than physical decay.
    """
    t, a, _ = checked_points(time_h, activity_MBq)
    physical, late = radionuclide(nuclide).decay_constant_per_h, t - t.mean()
    rate = -float(late @ np.log(a)) / float(late @ late) if len(t) > 1 else 0.0
    if rate < physical * (1 - 1e-9):
        expected = f"two or more points that fall at least as fast as physical decay, {physical:.3g} /h"
        do = "fit with dose.fit_curves, which holds the rate at physical decay, and look at its notes"
        raise InputError(describe("activity_MBq", f"a slope of {rate:.3g} /h", expected, do))
    return mono(float(np.exp(np.log(a).mean() + rate * t.mean())), rate)


def _tail_rate(t, a, nuclide: str, tail: str) -> float:
    physical = radionuclide(nuclide).decay_constant_per_h
    if tail == "physical":
        return physical
    rate = math.log(a[-2] / a[-1]) / (t[-1] - t[-2]) if len(t) > 1 else 0.0
    if rate < physical * (1 - 1e-9):
        expected = f"two last points that fall at least as fast as physical decay, {physical:.3g} /h"
        do = 'use tail="physical" (an upper bound), and look at dose.late_slope_flag'
        raise InputError(describe("tail", f"a slope of {rate:.3g} /h", expected, do))
    return rate


def tail_rules_flag(time_h, activity_MBq, nuclide: str) -> str | None:
    """Says in words when the physical tail and the last-two tail disagree by over 30%; None where they agree.

    Where the last two points fall more slowly than physical decay there is no last-two tail, and the words say so.
    """
    impossible = late_slope_flag(time_h, activity_MBq, nuclide)
    if impossible is not None:
        return impossible
    totals = {
        tail: trapezoid_tia(time_h, activity_MBq, nuclide, start="triangle", tail=tail).tia_MBq_h for tail in TAILS
    }
    excess = max(totals.values()) / min(totals.values()) - 1
    if excess <= TAIL_DISAGREEMENT:
        return None
    return f"the tail by physical decay gives {excess:.0%} more than the last two points: a later scan is needed"
