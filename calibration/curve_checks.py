"""What is doubtful about a region's scans, in words: units, contradictions, an uptake that nobody saw, a missing sd."""

from __future__ import annotations

import math

import numpy as np

from calibration.curve_models import limit
from dose.activity import checked_points, late_slope_flag
from dose.curves import Exponentials
from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.trapezoids import tail_rules_flag


def usable(time_h, activity_MBq, sd_MBq, administered_MBq: float | None = None):
    """Sorted times, activities and sds [scan], whether the sds were stated, and notes.

    Raises:
        InputError: values that cannot be used, or more activity than was administered.
    """
    stated = sd_MBq is not None
    sd = sd_MBq if stated else limit("default_relative_sd") * np.asarray(activity_MBq, dtype=float)
    t, a, sd = checked_points(time_h, activity_MBq, sd)
    if administered_MBq is not None and a.max() > administered_MBq:
        found = f"{a.max():.4g} MBq at {t[a.argmax()]:g} h"
        do = "check the unit of the activities (kBq for MBq?) and of what was administered"
        raise InputError(describe("activity_MBq", found, f"less than the {administered_MBq:g} MBq administered", do))
    words = f"no sd was given: {limit('default_relative_sd'):.0%} of each activity was assumed, its variance as unknown"
    return t, a, sd, stated, () if stated else (words,)


def unit_slip(time_h, activity_MBq, nuclide: str) -> str | None:
    """Suspects a scan that is about a thousand times higher or lower than the others, decay-corrected, [scan].

    The others must agree among themselves better than that; with two scans it cannot be said which one is wrong.
    """
    t, a, _ = checked_points(time_h, activity_MBq)
    level = np.log(a) + radionuclide(nuclide).decay_constant_per_h * t
    least = math.log(limit("slip_factor") / limit("slip_tolerance"))
    do = "check the units of the scans (kBq for MBq?)"
    if len(t) == 2 and abs(level[1] - level[0]) > least:
        return f"one of the two scans is about {_times(level[1] - level[0])} the other: {do}"
    for k in range(len(t)):
        others = np.delete(level, k)
        gap = level[k] - _nearest(t, level, k)
        if len(t) > 2 and abs(gap) > least and np.ptp(others) < least:
            return f"the scan at {t[k]:g} h is about {_times(gap)} what the others say: {do}"
    return None


def _nearest(t, level, k: int) -> float:
    """Level of the other scans at time k: on the line between its neighbours, or that of the nearest one."""
    return float(np.interp(t[k], np.delete(t, k), np.delete(level, k)))


def _times(log_ratio: float) -> str:
    return f"{math.exp(log_ratio):.3g} times"


def contradiction(time_h, activity_MBq, sd_MBq) -> str | None:
    """Names three scans of which the middle one is lower than both by more than the errors explain, [scan]."""
    t, a, sd = checked_points(time_h, activity_MBq, sd_MBq)
    for k in range(1, len(t) - 1):
        before, after = (_significance(a, sd, j, k) for j in (int(a[:k].argmax()), k + 1 + int(a[k + 1 :].argmax())))
        if min(before, after) > limit("contradiction_sd"):
            found = f"activity falls until {t[k]:g} h and rises again afterwards, each beyond the stated errors"
            return f"{found}: no curve of uptake and clearance does so; check contours, registration and calibration"
    return None


def _significance(a, sd, high: int, low: int) -> float:
    return float((a[high] - a[low]) / math.hypot(sd[high], sd[low]))


def uptake_unseen(time_h, activity_MBq, curve: Exponentials) -> str | None:
    """Says that the uptake is not measured: the first scan is the highest, and much of the integral lies before it."""
    t, a, _ = checked_points(time_h, activity_MBq)
    share = 1 - curve.tia_after(t[0]) / curve.tia_MBq_h
    if a.argmax() != 0 or share < limit("before_first_share"):
        return None
    found = f"all scans lie in the tail: the uptake is not measured, {share:.0%} of the integral lies before {t[0]:g} h"
    return f"{found}, where a curve of clearance alone takes the highest value there can be"


def doubts(time_h, activity_MBq, sd_MBq, nuclide: str) -> tuple[str, ...]:
    """Everything that can be said before a fit: slipped units, contradicting scans, the tail."""
    found = (
        unit_slip(time_h, activity_MBq, nuclide),
        contradiction(time_h, activity_MBq, sd_MBq),
        late_slope_flag(time_h, activity_MBq, nuclide) or tail_rules_flag(time_h, activity_MBq, nuclide),
    )
    return tuple(words for words in found if words)
