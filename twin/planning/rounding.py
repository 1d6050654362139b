"""From a continuous optimum to activities that can be drawn up: whole vial steps that still meet every limit."""

from __future__ import annotations

import itertools

import numpy as np

from twin.patient import Conflict
from twin.planning.conflict import names_of_rows, passed_by
from twin.planning.problem import Problem
from twin.planning.solver import ACTIVE, Solution, solution

MOST_ROUNDED = 8
"""Cycles whose vial steps are tried up and down in all combinations; more are rounded down."""
FINE = 1e-3
"""A step of at most this share of the cap is rounding, not a choice: rounded down, and a demand missed by no more than
this share counts as met."""
EXACT = 2e-4
"""Share by which a rounded point may miss a limit that the continuous optimum sits on."""


def whole_vials(problem: Problem, found: Solution, step_MBq: float) -> Solution:
    """The best feasible point in whole steps next to a continuous optimum, of equals the evenest; where none is
    feasible, the least violating one."""
    low, high = _steps_around(found, step_MBq)
    is_fine = step_MBq <= FINE * found.space.cap_MBq
    if is_fine:
        point = _moved(problem, found, low, FINE)
        if point.feasible:
            return point
    pairs = [(a, b) if b > a + 1e-9 * step_MBq else (a,) for a, b in zip(low, high, strict=True)]
    every = itertools.product(*pairs) if found.space.cycles <= MOST_ROUNDED else [tuple(low)]
    tolerance = FINE if is_fine else EXACT
    return max((_moved(problem, found, np.array(x), tolerance) for x in every), key=_worth(found))


def _worth(found: Solution):
    size, n = max(abs(found.objective), 1e-9), found.space.cycles
    even = lambda s: -float(np.var(s.x[:n]))
    return lambda s: (s.feasible, round(s.objective / size, 6) if s.feasible else float(np.min(s.slack)), even(s))


def _steps_around(found: Solution, step_MBq: float) -> tuple[np.ndarray, np.ndarray]:
    """Whole steps below and above each activity, within floor and cap."""
    space = found.space
    activity = np.asarray(space.variables(found.x).activity_MBq)[: space.cycles]
    top = np.floor(space.cap_MBq / step_MBq + 1e-9) * step_MBq
    near = np.floor(np.where(activity > (1 - ACTIVE / 10) * top, top, activity) / step_MBq + 1e-6) * step_MBq
    low = np.minimum(np.maximum(near, np.ceil(space.floor_MBq / step_MBq - 1e-9) * step_MBq), top)
    return low, np.minimum(low + step_MBq, top)


def _moved(problem: Problem, found: Solution, activity_MBq: np.ndarray, tolerance: float) -> Solution:
    space, x = found.space, found.x.copy()
    x[: space.cycles] = (activity_MBq - space.floor_MBq) / max(space.cap_MBq - space.floor_MBq, 1e-9)
    return solution(problem, space, x, tolerance=tolerance)


def conflict_of_vials(problem: Problem, rounded: Solution, limits, tail: float, step_MBq: float) -> Conflict:
    """That limits can be met, but not in whole steps: which of them the least violating rounding passes."""
    names = names_of_rows(problem, rounded.space, limits)
    excess = dict.fromkeys(names, 0.0)
    for name, slack in zip(names, rounded.slack, strict=True):
        excess[name] = max(excess[name], -float(slack))
    excess = {n: e for n, e in excess.items() if e > EXACT}
    words = [passed_by(n, limits, e, tail) for n, e in excess.items()]
    words.append(f"vial step of {step_MBq:g} MBq: a smaller step meets every limit")
    return Conflict((*excess, "vial step"), tuple(words), excess)
