"""The search for a stop rule: limits to watch, activities in whole vial steps, and sets of scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from twin.planning.choices import Choices
from twin.planning.scans import PROTOCOLS, Shown, checked_times
from twin.planning.setting import step_of
from twin.planning.solver import Space
from twin.planning.stopping import Trial, estimates, even, protocols_shown, tried_activity, walk_of, watchable
from twin.planning.tried import Tried

COARSE, FINE = 9, 5
"""Activities tried between floor and cap, then between the neighbours of the best."""


@dataclass(frozen=True)
class Stopped:
    """The best stop rule of one combination: what was tried, its protocol and what that shows."""

    tried: Tried
    trial: Trial
    scans_h: tuple[float, ...]
    shown: Shown
    net: float


def best_stop(every: Sequence[Tried], limits, choices: Choices, fixed: float | None) -> Stopped | None:
    """The stop rule with the largest objective less what its scans must bring, or None where none keeps the limits.

    `fixed` is the objective of the best schedule without a rule, which the worth of scans is a share of.
    """
    protocols = choices.scans or PROTOCOLS
    most = max(t.cycles for t in every)
    found = []
    for t in every:
        if t.cycles == most:
            checked_times(t.outlook, protocols)
            found += [_of_limit(t, k, protocols, choices, fixed) for k in watchable(limits, choices.stop_at)]
    good = [s for s in found if s is not None]
    return max(good, key=lambda s: s.net) if good else None


def _of_limit(t: Tried, watched: int, protocols, choices: Choices, fixed: float | None) -> Stopped | None:
    space, problem = t.point.space, t.problem
    typical = even(space, t.point.x, space.cap_MBq)
    shown = protocols_shown(t.outlook, problem, typical, space.cycles, watched, protocols)
    walk = walk_of(problem, problem.specs[watched])
    estimate = np.stack([estimates(s, walk) for s in shown])
    at = lambda MBq: tried_activity(problem, space, even(space, t.point.x, MBq), watched, estimate)
    size = lambda trial: abs(trial.objective if fixed is None else fixed)
    cost = lambda trial: choices.least_gain_per_scan * size(trial) * len(protocols[trial.protocol])
    net = lambda trial: trial.objective - cost(trial)
    levels = _levels(space, step_of(choices, space))
    trials = {a: at(a) for a in levels[_spread(len(levels), COARSE)]}
    best = _best(trials, net)
    if best is not None:
        trials |= {a: at(a) for a in _between(levels, sorted(trials), best.activity_MBq) if a not in trials}
        best = _best(trials, net)
    if best is None:
        return None
    return Stopped(t, best, tuple(protocols[best.protocol]), shown[best.protocol], net(best))


def _best(trials: dict[float, list[Trial]], net) -> Trial | None:
    good = [trial for row in trials.values() for trial in row if trial.feasible and trial.count.any()]
    return max(good, key=net) if good else None


def _levels(space: Space, step_MBq: float) -> np.ndarray:
    """Whole vial steps between floor and cap, above none."""
    first = max(int(np.ceil(space.floor_MBq / step_MBq - 1e-9)), 1)
    last = int(np.floor(space.cap_MBq / step_MBq + 1e-9))
    return np.arange(first, last + 1) * step_MBq


def _spread(count: int, tried: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, tried).round().astype(int)) if count else np.zeros(0, int)


def _between(levels: np.ndarray, tried: list[float], best_MBq: float) -> np.ndarray:
    """A few levels between the neighbours of the best one tried."""
    place = int(np.argmin(np.abs(np.array(tried) - best_MBq)))
    low, high = tried[max(place - 1, 0)], tried[min(place + 1, len(tried) - 1)]
    inside = levels[(levels > low) & (levels < high)]
    return inside[_spread(len(inside), FINE + 2)]
