"""Measurements that can hardly be right: a unit slip, more activity than was given, scans that contradict each other.

Said in words, with the measurement named and what to look at; nothing is corrected or left out. What cannot be at all
is refused (`calibration.observations`, `more_than_given`).
"""

from __future__ import annotations

import itertools

import numpy as np

from calibration import noise
from calibration.observations import Observations
from dose.errors import InputError, describe

SLIP = np.log(1000.0)
"""Log of the factor between kBq, MBq and GBq."""
NEAR_SLIP = np.log(4.0)
"""How near to that factor, on the log scale, a surprise must lie to be called a slip."""
SAME_MOMENT_H = 3.0
"""Two scans this near in time must agree: after uptake no region changes by a fifth in three hours."""
CONTRADICTION_SD = 4.0
EARLY_H = 6.0
"""Before this hour uptake may still change within `SAME_MOMENT_H`."""
TOLERANCE = 1.25
"""Sum of a scan's regions over the activity left, above which it is refused: calibration errors lie below."""


def unit_slips(obs: Observations, log_expected) -> tuple[str, ...]:
    """Observations about a thousand times more or less than `log_expected` [observation], before any fit."""
    away = np.log(obs.activity_MBq) - np.asarray(log_expected)[: len(obs)]
    text = (
        "{}, cycle {}, {:g} h: {:.3g} MBq is about a thousand times {} than a patient would show: "
        "kBq, MBq or GBq exchanged?"
    )
    return tuple(
        text.format(obs.region[k], obs.cycle[k], obs.time_h[k], obs.activity_MBq[k], "more" if away[k] > 0 else "less")
        for k in np.flatnonzero(np.abs(np.abs(away) - SLIP) < NEAR_SLIP)
    )


def contradictions(obs: Observations) -> tuple[str, ...]:
    """Pairs of scans of one region, close in time, that differ by more than their errors allow."""
    sd, found = noise.log_sd(obs), []
    order = sorted(range(len(obs)), key=lambda k: (obs.cycle[k], obs.region[k], obs.time_h[k]))
    for a, b in itertools.pairwise(order):
        same = (obs.cycle[a], obs.region[a]) == (obs.cycle[b], obs.region[b])
        if not same or obs.time_h[b] - obs.time_h[a] > SAME_MOMENT_H or obs.time_h[a] < EARLY_H:
            continue
        apart = abs(np.log(obs.activity_MBq[b] / obs.activity_MBq[a]))
        if apart > CONTRADICTION_SD * np.hypot(sd[a], sd[b]):
            found.append(
                f"{obs.region[a]}, cycle {obs.cycle[a]}: {obs.activity_MBq[a]:.3g} MBq at {obs.time_h[a]:g} h and "
                f"{obs.activity_MBq[b]:.3g} MBq at {obs.time_h[b]:g} h contradict each other: one of them is wrong, or "
                "not of the same region"
            )
    return tuple(found)


def more_than_given(obs: Observations, given) -> None:
    """Refuses scans whose regions hold more than is left of what was given.

    `given` maps a cycle to (activity_MBq, decay_per_h). A whole body, or the rest of one, is counted by itself.

    Raises:
        InputError: a scan with more activity than physical decay leaves.
    """
    scans: dict = {}
    for region, cycle, time_h, activity in zip(obs.region, obs.cycle, obs.time_h, obs.activity_MBq, strict=True):
        part = "whole" if region == "whole_body" else "both" if region in ("kidneys",) else "parts"
        scans.setdefault((cycle, round(float(time_h), 3), part), []).append(activity)
    for (cycle, time_h, _), activities in scans.items():
        administered, decay = given[cycle]
        left = administered * np.exp(-decay * time_h)
        if sum(activities) > TOLERANCE * left:
            where = f"activity_MBq at {time_h:g} h of cycle {cycle}"
            expected = f"at most {left:.4g} MBq, what decay leaves of {administered:g} MBq"
            do = "check the unit (kBq?), the decay correction, the clock, and regions that are listed twice"
            raise InputError(describe(where, f"{sum(activities):.4g} MBq in all", expected, do))
