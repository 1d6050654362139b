"""Curves of many patients in one padded block: what a mixed-effects fit reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe


@dataclass(frozen=True)
class Cohort:
    """Measurements of many patients, each [patient, scan]; `known` is False in the padding, where the rest is harmless.

    `log_activity` is ln of MBq (or of any unit that is the same for all), `log_variance` that of ln activity from the
    stated sd: ln(1 + (sd/activity)^2), zero where none was stated.
    """

    time_h: np.ndarray
    log_activity: np.ndarray
    log_variance: np.ndarray
    known: np.ndarray

    @property
    def observations(self) -> int:
        return int(self.known.sum())

    def parts(self) -> tuple[np.ndarray, ...]:
        return self.time_h, self.log_activity, self.log_variance, self.known


def cohort(time_h, activity_MBq, sd_MBq=None) -> Cohort:
    """The block of arrays that broadcast to [patient, scan]; an activity of NaN was not measured.

    Raises:
        InputError: shapes that do not fit, times or activities not above 0, a patient without a scan.
    """
    try:
        a = np.atleast_2d(np.asarray(activity_MBq, dtype=float))
        t = np.broadcast_to(np.asarray(time_h, dtype=float), a.shape)
        sd = np.broadcast_to(np.asarray(0.0 if sd_MBq is None else sd_MBq, dtype=float), a.shape)
    except ValueError:
        shapes = f"shapes {np.shape(time_h)}, {np.shape(activity_MBq)}, {np.shape(sd_MBq)}"
        do = "give arrays [patient, scan], NaN where a patient lacks a scan"
        raise InputError(describe("time_h, activity_MBq, sd_MBq", shapes, "shapes that fit", do)) from None
    known = ~np.isnan(a)
    good = np.isfinite(t) & (t > 0) & (a > 0) & np.isfinite(a) & (sd >= 0) & np.isfinite(sd)
    if a.ndim != 2 or not np.all(good | ~known) or not known.any(1).all():
        expected = "times, activities above 0 and sds not below 0, with a scan for each patient"
        do = "remove what was not measured (NaN); a curve in logarithms has no place for zeros"
        raise InputError(describe("time_h, activity_MBq, sd_MBq", "values that cannot be used", expected, do))
    a, t = np.where(known, a, 1.0), np.where(known, t, 1.0)
    return Cohort(t, np.log(a), np.where(known, np.log1p((sd / a) ** 2), 0.0), known)


def padded(curves) -> Cohort:
    """The block of curves given one by one: each (time_h [scan], activity_MBq [scan]) or with sd_MBq as a third.

    Raises:
        InputError: no curve, or values that cannot be used.
    """
    curves = [tuple(np.atleast_1d(np.asarray(part, dtype=float)) for part in curve) for curve in curves]
    if not curves or any(len(curve) not in (2, 3) or len(curve[0]) != len(curve[1]) for curve in curves):
        do = "give (time_h, activity_MBq) or (time_h, activity_MBq, sd_MBq) for each patient, equally long"
        raise InputError(describe("curves", f"{len(curves)} curves", "one or more, of two or three lists each", do))
    longest = max(len(curve[0]) for curve in curves)
    blocks = np.full((3, len(curves), longest), np.nan)
    blocks[0], blocks[2] = 1.0, 0.0
    for k, curve in enumerate(curves):
        for j, part in enumerate(curve):
            blocks[j, k, : len(curve[0])] = part
    return cohort(*blocks)
