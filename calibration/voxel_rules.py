"""Integrals without a fit: given clearance, trapezoids with a named start and tail, and which voxels are background.

Arrays end in the voxel: activities and sds [scan, voxel]. Every rule returns the integral, its standard uncertainty by
first-order propagation of independent scan errors, the slow rate used, and the part after the last scan, each [voxel].
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from dose.provenance import load_table


class Ruled(NamedTuple):
    """What a rule gives, each [voxel]; `limited` where physical decay stands in for the tail that was asked for."""

    tia: np.ndarray
    sd: np.ndarray
    slow_per_h: np.ndarray
    after_last: np.ndarray
    limited: np.ndarray


@cache
def limit(name: str) -> float:
    """The value called `name` in calibration/data/voxels.csv."""
    return {row["name"]: float(row["value"]) for row in load_table("calibration", "voxels.csv")}[name]


def significance(activity, sd) -> np.ndarray:
    """How far all scans of a voxel together stand out of the noise: sum(A/sd)/sqrt(scans), [voxel]."""
    return (activity / sd).sum(0) / np.sqrt(len(activity))


def late_rise(activity, sd) -> np.ndarray:
    """Where the last scan exceeds the one before by more than the noise explains, [voxel]."""
    if len(activity) < 2:
        return np.zeros(activity.shape[1], dtype=bool)
    return activity[-1] - activity[-2] > limit("late_rise_sd") * np.hypot(sd[-1], sd[-2])


def given_rate(time_h, activity, sd, rate_per_h, relative_sd: float = 0.0, weigh_by=None) -> Ruled:
    """One exponential whose rate is known: its amplitude by weighted least squares, not forced above zero.

    Scans weigh by the sds `weigh_by` (those of `sd` where not given): weights that know the noisy values would pull a
    faint voxel down. `relative_sd` is that of the rate; with one scan at t it enters as |rate t - 1|, zero one mean
    life after the start.
    """
    t, rate = np.asarray(time_h)[:, None], np.broadcast_to(rate_per_h, activity.shape[1:])
    shape = np.exp(-rate * t)
    known_sd = sd if weigh_by is None else weigh_by
    weight = shape / known_sd**2 / (shape**2 / known_sd**2).sum(0)
    tia = (weight * activity).sum(0) / rate
    mean_h = (weight * shape * t).sum(0)
    of_rate = tia * (rate * mean_h - 1) * relative_sd
    from_scans = np.sqrt(((weight * sd) ** 2).sum(0)) / rate
    return Ruled(tia, np.hypot(from_scans, of_rate), rate, np.exp(-rate * t[-1]), np.zeros(len(tia), dtype=bool))


def trapezoid(time_h, activity, sd, physical_per_h: float, start: str, tail: str) -> Ruled:
    """Straight trapezoids; `start` "triangle" or "plateau", `tail` "physical" or "last_two", as in dose.trapezoids.

    Where the last two scans fall more slowly than physical decay, or are not both positive, the tail is physical.
    """
    t = np.asarray(time_h, dtype=float)
    step = np.diff(t)
    part = np.zeros(len(t))
    part[:-1] += step / 2
    part[1:] += step / 2
    part[0] += t[0] * (0.5 if start == "triangle" else 1.0)
    slope = np.repeat(part[:, None], activity.shape[1], axis=1)
    rate = np.full(activity.shape[1], physical_per_h)
    limited = np.zeros(activity.shape[1], dtype=bool)
    if tail == "last_two":
        rate, limited = _last_two(step[-1], activity, physical_per_h)
    tail_tia = activity[-1] / rate
    slope[-1] += 1 / rate
    if tail == "last_two":
        free = ~limited / (rate**2 * step[-1])
        slope[-1] += free
        slope[-2] -= free * activity[-1] / np.where(limited, 1.0, activity[-2])
    tia = part @ activity + tail_tia
    return Ruled(tia, np.sqrt(((slope * sd) ** 2).sum(0)), rate, tail_tia / tia, limited)


def stand_in(time_h, activity, sd, physical_per_h: float) -> Ruled:
    """Trapezoids from a triangle with a physical tail, where no curve can be used.

    The true tail lies between none and this one; the root mean square of its distance, tail/sqrt(3) if all are equally
    likely, enters the sd.
    """
    found = trapezoid(time_h, activity, sd, physical_per_h, "triangle", "physical")
    return found._replace(sd=np.hypot(found.sd, activity[-1] / physical_per_h / np.sqrt(3)))


def _last_two(step_h: float, activity, physical_per_h: float):
    both = (activity[-1] > 0) & (activity[-2] > 0)
    ratio = np.where(both, activity[-2], 1.0) / np.where(both, activity[-1], 1.0)
    rate = np.log(ratio) / step_h
    limited = ~both | (rate < physical_per_h)
    return np.where(limited, physical_per_h, rate), limited


def pooled_rate(time_h, total, physical_per_h: float) -> float:
    """Rate of a summed curve `total` [scan]: a straight line through its logarithms, not below physical decay.

    Physical decay itself where there is one scan or a sum is not positive.
    """
    if len(total) < 2 or np.any(np.asarray(total) <= 0):
        return physical_per_h
    t = np.asarray(time_h, dtype=float) - np.mean(time_h)
    return max(physical_per_h, float(-(t @ np.log(total)) / (t @ t)))
