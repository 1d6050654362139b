"""When no schedule meets the limits: which of them conflict, and by how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from twin.constraints import Limit
from twin.patient import Conflict
from twin.planning.problem import Problem, rows_of
from twin.planning.solver import FTOL, MOST_STEPS, Point, Solution, Space, solution, starts

TOLERANCE = 1e-4
"""Relative violation below which a set of limits counts as met."""


def least_violation(problem: Problem, space: Space, rows: np.ndarray, begin: np.ndarray) -> tuple[float, Solution]:
    """The smallest largest relative violation of some of the slack rows, and where: minimise t, slack + t >= 0."""
    point = Point(problem, space)
    worst = max(-float(np.min(point.at(begin)[0][1][rows])), 0.0)
    answer = minimize(
        lambda z: z[-1],
        np.append(begin, worst),
        jac=lambda z: np.eye(len(z))[-1],
        bounds=[(0.0, 1.0)] * space.size + [(0.0, None)],
        constraints={
            "type": "ineq",
            "fun": lambda z: point.at(z[:-1])[0][1][rows] + z[-1],
            "jac": lambda z: np.column_stack([point.at(z[:-1])[1][1][rows], np.ones(int(rows.sum()))]),
        },
        method="SLSQP",
        options={"maxiter": MOST_STEPS, "ftol": FTOL},
    )
    both = [solution(problem, space, np.clip(np.nan_to_num(x), 0.0, 1.0)) for x in (begin, answer.x[:-1])]
    return min(((max(-float(np.min(s.slack[rows])), 0.0), s) for s in both), key=lambda pair: pair[0])


def conflict_of(
    problem: Problem, space: Space, limits: tuple[Limit, ...], tail: float
) -> tuple[Conflict | None, Solution]:
    """An irreducible set of limits that no point of `space` meets, or None where all can be met (to TOLERANCE); and the
    least violating point."""
    names = names_of_rows(problem, space, limits)
    every = tuple(dict.fromkeys(names))
    within = lambda kept: np.array([n in kept for n in names], bool)
    begins = (starts(problem, space)[0], np.full(space.size, 0.1))
    violation, least = min((least_violation(problem, space, within(every), x) for x in begins), key=lambda v: v[0])
    if violation <= TOLERANCE:
        return None, least
    members = every
    for name in every:
        fewer = tuple(n for n in members if n != name)
        if fewer and least_violation(problem, space, within(fewer), least.x)[0] > TOLERANCE:
            members = fewer
    _, least = least_violation(problem, space, within(members), least.x)
    excess = {n: max(-float(least.slack[np.array([m == n for m in names])].min()), 0.0) for n in members}
    by_name = {lim.name: lim for lim in limits}
    words = [passed_by(n, limits, excess[n], tail) for n in members]
    if all(n in by_name and by_name[n].at_least for n in members):
        words.append(f"even with {space.cap_MBq:g} MBq, the activity cap, in each of {space.cycles} cycles to come")
    return Conflict(members, tuple(words), excess), least


def names_of_rows(problem: Problem, space: Space, limits) -> list[str]:
    """The name of the bound behind each slack."""
    rows = [limits[k].name for k, c in rows_of(problem.specs) if c < space.cycles]
    rows += ["platelets"] * (space.cycles if problem.chain is not None else 0)
    return rows + ["molar activity"] * (space.cycles if space.molar_MBq_per_nmol else 0)


def passed_by(name: str, limits: Sequence[Limit], excess: float, tail: float) -> str:
    """Words for a bound and the share by which the least violating schedule misses it."""
    limit = next((lim for lim in limits if lim.name == name), None)
    if limit is None:
        return f"{name}: passed by {excess:.1%} in the least violating schedule"
    sign = -1 if limit.at_least else 1
    reached = limit.value_Gy * (1 + sign * excess)
    missed = "falls short of" if limit.at_least else "passes"
    return (
        f"{limit.name} ({limit.words(tail)}): the least violating schedule {missed} it by {excess:.1%}, at "
        f"{reached:.3g} Gy"
    )
