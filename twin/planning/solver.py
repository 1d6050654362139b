"""The continuous part of a plan: sequential quadratic programming with exact derivatives, and the price of each bound.

At an optimum the objective's gradient is a sum of the active bounds' gradients; their weights (multipliers of Karush,
Kuhn and Tucker) are what one more unit of a bound would be worth. They are recomputed from that equation by
non-negative least squares, and what it leaves over is reported.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize, nnls

from twin.outlook import MOST_CYCLES
from twin.planning.problem import Evaluated, Problem, Variables, evaluate, rows_of, slopes

ACTIVE = 2e-3
"""A bound is active when its slack is below this share of it."""
EVEN_STARTS = (1.0, 0.5)
"""Shares of the largest feasible equal activities to start from."""
EVENNESS = 1e-3
"""Weight of the variance of the cycles' shares against the objective at the start: where splits are equally good, the
even one is taken. It moves no optimum by more than a few parts in ten thousand of the objective."""
FTOL, MOST_STEPS = 1e-6, 40
"""Of the objective over its size at the start: far below what 200 draws can tell."""


@dataclass(frozen=True)
class Space:
    """Bounds of the variables of `cycles` coming cycles; `molar_MBq_per_nmol` 0 is none. Ranges may be points."""

    cycles: int
    floor_MBq: float
    cap_MBq: float
    amount_nmol: tuple[float, float]
    interval_h: tuple[float, float]
    amount_per_cycle: bool
    molar_MBq_per_nmol: float
    last_interval_h: float

    @property
    def amounts(self) -> int:
        free = self.amount_nmol[1] > self.amount_nmol[0] * (1 + 1e-9)
        return (self.cycles if self.amount_per_cycle else 1) if free else 0

    @property
    def intervals(self) -> int:
        return self.cycles - 1 if self.interval_h[1] > self.interval_h[0] * (1 + 1e-9) else 0

    @property
    def size(self) -> int:
        return self.cycles + self.amounts + self.intervals

    def variables(self, x: np.ndarray) -> Variables:
        """Padded variables of x in [0, 1]: places in the ranges of activity, of log amount and of interval."""
        activity, amount, interval = np.split(x, [self.cycles, self.cycles + self.amounts])
        low, high = self.amount_nmol
        nmol = low * (high / low) ** (amount if self.amounts else np.zeros(1))
        hours = self.interval_h[0] + interval * np.subtract(*self.interval_h[::-1])
        gaps = hours if self.intervals else np.full(max(self.cycles - 1, 0), self.interval_h[0])
        pad = lambda v, n: np.concatenate([v, np.full(MOST_CYCLES - len(v), n)])
        return Variables(
            pad(self.floor_MBq + (self.cap_MBq - self.floor_MBq) * activity, 0.0),
            pad(np.broadcast_to(nmol, (self.cycles,)), nmol[-1]),
            pad(np.append(gaps, self.last_interval_h), 0.0),
        )

    def chain(self, x: np.ndarray, slope: Variables) -> np.ndarray:
        """Derivatives by x [..., variable] from those by padded variables [..., cycle]."""
        n = self.cycles
        parts = [np.asarray(slope.activity_MBq)[..., :n] * (self.cap_MBq - self.floor_MBq)]
        if self.amounts:
            nmol = self.variables(x).amount_nmol[:n] * np.log(self.amount_nmol[1] / self.amount_nmol[0])
            by_amount = np.asarray(slope.amount_nmol)[..., :n] * nmol
            parts.append(by_amount if self.amount_per_cycle else by_amount.sum(axis=-1, keepdims=True))
        if self.intervals:
            parts.append(np.asarray(slope.interval_h)[..., : n - 1] * np.subtract(*self.interval_h[::-1]))
        return np.concatenate(parts, axis=-1)

    def molar_slack(self, x: np.ndarray) -> np.ndarray:
        """1 - molar activity over the largest, [cycle]; none where there is no such bound."""
        if not self.molar_MBq_per_nmol:
            return np.zeros(0)
        v = self.variables(x)
        most_MBq = self.molar_MBq_per_nmol * np.asarray(v.amount_nmol)[: self.cycles]
        return 1 - np.asarray(v.activity_MBq)[: self.cycles] / most_MBq

    def molar_slope(self, x: np.ndarray) -> np.ndarray:
        if not self.molar_MBq_per_nmol:
            return np.zeros((0, self.size))
        share, one = 1 - self.molar_slack(x), np.eye(MOST_CYCLES)[: self.cycles]
        v = self.variables(x)
        by_activity = -one / (self.molar_MBq_per_nmol * v.amount_nmol[:, None][: self.cycles])
        by_amount = one * (share / v.amount_nmol[: self.cycles])[:, None]
        return self.chain(x, Variables(by_activity, by_amount, 0 * one))


@dataclass(frozen=True)
class Solution:
    """A point with its objective and slacks; `rows` (limit, cycle) name the slacks, platelets and molar rows after."""

    x: np.ndarray
    space: Space
    objective: float
    slack: np.ndarray
    feasible: bool


def rows_used(problem: Problem, space: Space) -> np.ndarray:
    return np.array([c < space.cycles for _, c in rows_of(problem.specs)], bool)


def stacked(problem: Problem, space: Space, x, found: Evaluated) -> np.ndarray:
    """All slacks that count: limits, platelets of this many cycles, molar activity."""
    rows = np.asarray(found.slack)[rows_used(problem, space)]
    platelets = np.asarray(found.platelets)[: space.cycles] if problem.chain is not None else np.zeros(0)
    return np.concatenate([rows, platelets, space.molar_slack(x)])


class Point:
    """Values and derivatives at the last point asked for: the optimiser asks for each part of them in turn."""

    def __init__(self, problem: Problem, space: Space):
        self.problem, self.space, self.x = problem, space, None

    def at(self, x: np.ndarray):
        if self.x is None or not np.array_equal(x, self.x):
            self.x = x.copy()
            value, slope = slopes(self.problem, self.space.variables(x))
            self.value = float(value.objective), stacked(self.problem, self.space, x, value)
            self.slope = self.space.chain(x, slope.objective), self._slack_slope(x, slope)
        return self.value, self.slope

    def _slack_slope(self, x, slope: Evaluated) -> np.ndarray:
        rows = self.space.chain(x, slope.slack)[rows_used(self.problem, self.space)]
        platelets = self.space.chain(x, slope.platelets)[: self.space.cycles]
        kept = platelets if self.problem.chain is not None else platelets[:0]
        return np.concatenate([rows, kept, self.space.molar_slope(x)])


def solution(problem: Problem, space: Space, x: np.ndarray, tolerance: float = 1e-6) -> Solution:
    found = evaluate(problem, space.variables(x))
    slack = stacked(problem, space, x, found)
    return Solution(x, space, float(found.objective), slack, bool(np.all(slack >= -tolerance)))


def optimised(problem: Problem, space: Space) -> Solution:
    """The best point found from several starts; the least infeasible one where none meets all bounds."""
    best = None
    for start in starts(problem, space):
        found = descended(problem, space, start)
        if best is None or _better(found, best):
            best = found
    assert best is not None
    return best


def _better(a: Solution, b: Solution) -> bool:
    if a.feasible != b.feasible:
        return a.feasible
    return a.objective > b.objective if a.feasible else a.slack.min() > b.slack.min()


def starts(problem: Problem, space: Space) -> list[np.ndarray]:
    """Equal activities at shares of the largest that meet the limits, with the amount in the middle or at the ends."""
    out = []
    amounts = (0.5, 0.1, 0.9) if space.amounts else (0.5,)
    for amount in amounts:
        rest = np.concatenate([np.full(space.amounts, amount), np.zeros(space.intervals)])
        at = lambda share, rest=rest: np.concatenate([np.full(space.cycles, share), rest])
        fits = lambda share, at=at: _limits_hold(problem, space, at(share))
        largest = largest_share(fits)
        out += [at(share * largest) for share in (EVEN_STARTS if amount == 0.5 else EVEN_STARTS[:1])]
    return out


def _limits_hold(problem: Problem, space: Space, x) -> bool:
    """Whether the bounds that more activity breaks hold; demands are left to the optimiser."""
    slack, upper = solution(problem, space, x).slack, _upper(problem, space)
    return bool(np.all(slack[upper] >= 0))


def _upper(problem: Problem, space: Space) -> np.ndarray:
    rows = [not problem.specs[k].at_least for k, _ in rows_of(problem.specs)]
    kept = np.array(rows, bool)[rows_used(problem, space)]
    others = (space.cycles if problem.chain is not None else 0) + (space.cycles if space.molar_MBq_per_nmol else 0)
    return np.concatenate([kept, np.ones(others, bool)])


def largest_share(fits, steps: int = 20) -> float:
    """Largest share in [0, 1] that fits, by bisection; 0 if none does."""
    if fits(1.0):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(steps):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def descended(problem: Problem, space: Space, start: np.ndarray) -> Solution:
    """Sequential quadratic programming from one start, then pulled back inside the upper limits."""
    point = Point(problem, space)
    scale = max(abs(point.at(start)[0][0]), 1e-3)
    n = space.cycles
    apart = lambda x: np.concatenate([x[:n] - x[:n].mean(), np.zeros(space.size - n)])
    answer = minimize(
        lambda x: -point.at(x)[0][0] / scale + EVENNESS * np.mean(apart(x)[:n] ** 2),
        start,
        jac=lambda x: -point.at(x)[1][0] / scale + 2 * EVENNESS * apart(x) / n,
        bounds=[(0.0, 1.0)] * space.size,
        constraints={"type": "ineq", "fun": lambda x: point.at(x)[0][1], "jac": lambda x: point.at(x)[1][1]},
        method="SLSQP",
        options={"maxiter": MOST_STEPS, "ftol": FTOL},
    )
    x = np.clip(np.nan_to_num(answer.x), 0.0, 1.0)
    factor = np.ones(space.size)
    pulled = lambda f: np.where(np.arange(space.size) < space.cycles, f * x, x)
    if not _limits_hold(problem, space, x):
        x = pulled(largest_share(lambda f: _limits_hold(problem, space, pulled(f)), steps=30)) * factor
    return solution(problem, space, x)


@dataclass(frozen=True)
class Multipliers:
    """Change of the objective per unit of relative slack of each row, per unit of x at its bounds, and what is left of
    the gradient (share of it)."""

    rows: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    residual: float


def multipliers(problem: Problem, found: Solution) -> Multipliers:
    (_, slack), (gradient, by_slack) = Point(problem, found.space).at(found.x)
    active = np.flatnonzero(slack < ACTIVE)
    at_top, at_bottom = np.flatnonzero(found.x > 1 - ACTIVE), np.flatnonzero(found.x < ACTIVE)
    identity = np.eye(found.space.size)
    columns = np.concatenate([-by_slack[active], identity[at_top], -identity[at_bottom]]).T
    weight, left = nnls(columns, gradient) if columns.shape[1] else (np.zeros(0), np.linalg.norm(gradient))
    rows, top, bottom = (np.zeros(n) for n in (len(slack), found.space.size, found.space.size))
    a, b = len(active), len(active) + len(at_top)
    rows[active], top[at_top], bottom[at_bottom] = weight[:a], weight[a:b], weight[b:]
    return Multipliers(rows, top, bottom, float(left / max(np.linalg.norm(gradient), 1e-300)))
