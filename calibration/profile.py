"""Profile likelihood: how far one parameter, or one dose, can go before the scans object.

For each value c of a quantity q the sum of squares S is minimised over all parameters with q(theta) = c; the interval
is where S stays within a chi-square quantile (one degree of freedom) of its minimum. It bends with the model, where a
Fisher matrix is an ellipse, and a quantity that the scans do not tell shows as a profile that stays flat. A parameter
is the quantity theta_k, so parameters and time-integrated activities go through one routine.

References: Raue et al., Bioinformatics 2009;25:1923 (profiles, practical non-identifiability); Kreutz et al., BMC Syst
Biol 2012;6:120 (of predictions). The constrained minimum: Gauss-Newton with the constraint linearised and a Lagrange
multiplier, damped as Levenberg and Marquardt (Nocedal and Wright, Numerical Optimization, chapters 10 and 18).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2

LEVEL = 0.90
POINTS = 40
"""Most points on each side of the optimum."""
FIRST_STEP, RISE = 0.25, 0.25
"""First step in units of the local sd, and the rise of S, as a share of the threshold, that the next step aims at."""
GROW, SHRINK = 2.0, 0.5
"""Limits of the change of the step from one point to the next."""
SPAN = 4.0
"""How far a profile is followed either way, in log units (a factor of 55), before it is called open."""
ITERATIONS = 40
SETTLED, DECREASE = 1e-4, 1e-6
"""Largest constraint error (log), and relative decrease of S at which a minimum is taken: far below the threshold."""
DAMPING, FIRM_DAMPING, LARGEST_DAMPING = 1e-8, 1e-2, 1e8
"""Least damping (it makes the matrix regular), the first that shortens a step, and the one that ends the search."""
PENALTY = 10.0
"""Weight of the constraint in the merit, over the multiplier: above 1 makes the merit exact (Nocedal, theorem 18.3)."""

Problem = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""Values and Jacobian at parameters of shape [parameter]: ([residual], [residual, parameter])."""


@dataclass(frozen=True)
class Profile:
    """The profile of one quantity: its values [point] and the rise of S above its minimum [point], in order of value.

    `low` and `high` bound the interval of `level`; minus or plus infinity where S never reached the threshold.
    `parameters` [point, parameter] are the constrained optima.
    """

    name: str
    level: float
    best: float
    value: np.ndarray
    rise: np.ndarray
    low: float
    high: float
    parameters: np.ndarray

    @property
    def identifiable(self) -> bool:
        return bool(np.isfinite(self.low) and np.isfinite(self.high))

    def __str__(self) -> str:
        percent = f"{100 * self.level:g} %"
        if self.identifiable:
            return f"{self.name}: {self.best:.3f}, {percent} interval {self.low:.3f} to {self.high:.3f} (log)"
        sides = [word for word, end in (("below", self.low), ("above", self.high)) if not np.isfinite(end)]
        reached = (
            f"its profile stays under the {percent} threshold down to {self.value[0]:.2f}, up to {self.value[-1]:.2f}"
        )
        return f"{self.name}: not identifiable {' and '.join(sides)}; {reached} (log)"


def minimum(
    problem: Problem,
    start: np.ndarray,
    constraint: Problem | None = None,
    target: float = 0.0,
    iterations: int = ITERATIONS,
    enough: float = 0.0,
):
    """Parameters that minimise the sum of squares, on the surface constraint = target if there is one.

    A sum of squares below `enough` ends the search. Returns the parameters with the sum of squares there.
    """
    theta, damping = np.asarray(start, float), DAMPING
    residual, jacobian = problem(theta)
    gap, slope = _gap(constraint, theta, target)
    for _ in range(iterations):
        step, multiplier, back = _step(residual, jacobian, gap, slope, damping)
        weight = PENALTY * abs(multiplier)
        trial = _onto(constraint, theta + step, target, back)
        trial_residual, trial_jacobian = problem(trial)
        trial_gap, trial_slope = _gap(constraint, trial, target)
        now = residual @ residual + weight * abs(gap)
        gain = now - trial_residual @ trial_residual - weight * abs(trial_gap)
        promised = now - np.sum((residual + jacobian @ step) ** 2)
        damping = _damping(damping, gain, promised)
        if not (np.isfinite(gain) and gain >= 0):
            if damping > LARGEST_DAMPING:
                break
            continue
        theta, residual, jacobian, gap, slope = trial, trial_residual, trial_jacobian, trial_gap, trial_slope
        settled = abs(gap) < SETTLED and max(gain, promised) <= DECREASE * max(now, 1.0)
        if settled or residual @ residual < enough:
            break
    return theta, float(residual @ residual)


def _damping(damping: float, gain: float, promised: float) -> float:
    """Less where the linear model keeps three quarters of its promise, more where it keeps less than one."""
    if gain > 0.75 * promised:
        return max(damping / 10, DAMPING)
    return damping if gain > 0.25 * promised else max(10 * damping, FIRM_DAMPING)


def _gap(constraint: Problem | None, theta, target: float):
    if constraint is None:
        return 0.0, np.zeros(len(theta))
    value, slope = constraint(theta)
    return float(np.ravel(value)[0]) - target, np.ravel(slope)


def _onto(constraint: Problem | None, trial, target: float, back):
    """The trial moved once more towards a curved surface (second-order correction, Nocedal and Wright section 15.6)."""
    gap, _ = _gap(constraint, trial, target)
    return trial - gap * back if abs(gap) > SETTLED else trial


def _step(residual, jacobian, gap: float, slope, damping: float):
    """Damped Gauss-Newton step that closes the linearised gap, its multiplier (of S, not of S / 2), and the way back.

    The way back changes the quantity by one at the least cost in S.
    """
    normal = jacobian.T @ jacobian
    normal = normal + damping * np.diag(np.maximum(np.diag(normal), DAMPING * np.trace(normal)))
    free = -_solve(normal, jacobian.T @ residual)
    if not np.any(slope):
        return free, 0.0, np.zeros(len(slope))
    along = _solve(normal, slope)
    multiplier = (gap + slope @ free) / (slope @ along)
    return free - multiplier * along, 2 * multiplier, along / (slope @ along)


def _solve(matrix, vector):
    """Least-squares solution, so that directions without any information are left where they are."""
    return np.linalg.lstsq(matrix, vector, rcond=None)[0]


def profile(
    problem: Problem,
    optimum: np.ndarray,
    quantity: Problem,
    *,
    name: str = "quantity",
    level: float = LEVEL,
    span: float = SPAN,
) -> Profile:
    """Profile of a log quantity from the optimum outward, each point started from the last (warm).

    Args:
        problem: residuals (data, and the prior's if it is on) and their Jacobian.
        optimum: where the sum of squares is smallest, [parameter].
        quantity: the log quantity and its gradient, of shape [1] and [1, parameter] (or a float and [parameter]).
    """
    optimum, lowest = minimum(problem, optimum)
    value, slope = (np.ravel(x) for x in quantity(optimum))
    threshold = float(chi2.ppf(level, 1))
    scale = _local_sd(problem(optimum)[1], slope, span)
    down, up = (_walk(problem, quantity, optimum, value[0], lowest, side * scale, threshold, span) for side in (-1, 1))
    points = [*reversed(down), (float(value[0]), 0.0, optimum), *up]
    values, rises = (np.array([p[k] for p in points]) for k in (0, 1))
    bounds = [_crossing([points[len(down)], *side], threshold) for side in (down, up)]
    return Profile(
        name, level, float(value[0]), values, rises, -bounds[0] if np.isinf(bounds[0]) else bounds[0], bounds[1],
        np.array([p[2] for p in points]),
    )  # fmt: skip


def _local_sd(jacobian, slope, span: float) -> float:
    """Sd of the quantity by the information at the optimum, no more than the span."""
    variance = slope @ _solve(jacobian.T @ jacobian, slope)
    return min(float(np.sqrt(max(variance, 0.0))) or span, span)


def _walk(problem, quantity, start, value, lowest, sd, threshold, span):
    """(value, rise, parameters) of points outward, until the threshold is crossed or the span is walked."""
    points, theta, at, before, step = [], start, value, 0.0, FIRST_STEP * sd
    for _ in range(POINTS):
        at = float(np.clip(at + step, value - span, value + span))
        theta, square = minimum(problem, theta, quantity, at)
        rise = max(square - lowest, 0.0)
        points.append((at, rise, theta))
        if rise > threshold or abs(at - value) >= span:
            break
        aim = RISE * threshold / max(rise - before, 1e-12)
        step *= float(np.clip(aim, SHRINK, GROW))
        before = rise
    return points


def _crossing(points, threshold: float) -> float:
    """Where the rise crosses the threshold: linear in its root, as a parabola's is; infinite where it does not."""
    (inner, low, _), (outer, high, _) = points[-2:]
    if high <= threshold:
        return float("inf")
    share = (np.sqrt(threshold) - np.sqrt(low)) / (np.sqrt(high) - np.sqrt(low))
    return float(inner + share * (outer - inner))
