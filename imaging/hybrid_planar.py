"""Hybrid planar and SPECT: the shape over time from planar views, the level from one SPECT/CT (CLINICAL 1.4).

A(t) = A_planar(t) A_SPECT(t*) / A_planar(t*). What all planar views share (attenuation, overlap, sensitivity) drops
out; what is left is correlated: every time shares the SPECT's error and the own error of the planar view at t*.
"""

from __future__ import annotations

import numpy as np

from dose.errors import InputError, describe


def hybrid_activity(
    planar_MBq, planar_own_sd_MBq, spect_MBq: float, spect_sd_MBq: float, at: int
) -> tuple[np.ndarray, np.ndarray]:
    """(activities [time] in MBq, covariance [time, time]) from planar ones and the SPECT taken at index `at`.

    `planar_own_sd_MBq` is what views do not share (counting, drawing). At `at` the activity is the SPECT's and so is
    its sd. First order: cov(ln A_i, ln A_j) = d_ij r_i^2 - (d_i* + d_j*) r_*^2 + r_*^2 + s^2.

    Raises:
        InputError: lengths that differ, an index outside, or an activity not above zero.
    """
    planar, own = (np.asarray(a, dtype=float) for a in (planar_MBq, planar_own_sd_MBq))
    if planar.ndim != 1 or own.shape != planar.shape or not 0 <= at < len(planar):
        found = f"{planar.shape} activities, {own.shape} sds, index {at}"
        raise InputError(describe("planar activities", found, "one sd an activity, an index among them", "correct it"))
    if not (np.all(planar > 0) and np.all(own >= 0) and spect_MBq > 0 and spect_sd_MBq >= 0):
        raise InputError(describe("hybrid activity", "an activity not above zero", "values above zero", "leave it out"))
    level = planar * spect_MBq / planar[at]
    relative = own / planar
    mixing = np.eye(len(planar))
    mixing[:, at] -= 1.0  # ln A = ln p - ln p*, so the row of t* is empty
    log_cov = mixing @ np.diag(relative**2) @ mixing.T + (spect_sd_MBq / spect_MBq) ** 2
    return level, log_cov * np.outer(level, level)
