"""Nonlinear mixed effects for time-activity curves: modes of patients, and the population that makes them likely.

    ln y_ij = ln A(t_ij; x_i) + e_ij,   e_ij ~ N(0, sigma^2 + s_ij^2),   x_i = mu + L b_i,   b_i ~ N(0, 1)

Omega = L L' is the spread between patients; a row of zeros is a parameter that all share. The population maximises
Laplace's marginal likelihood with the Gauss-Newton Hessian at the patients' modes, which pharmacometrics calls FOCE
with interaction (Wang, J Pharmacokinet Pharmacodyn 2007;34:575, recalled). Modes are found for all patients, and for
all steps of a numerical gradient, in one batch: arrays begin with the lane. Equations: docs/curves.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.curve_cohort import Cohort
from calibration.curve_models import CurveModel

MODE_STEPS, MODE_CHANGE = 60, 1e-8
"""Levenberg-Marquardt steps at most for the patients' modes, and the change of b that counts as none."""

NEAR_STEPS = 2
"""The same for a population that differs by `DIFFERENCE`: each step squares the little that is missing."""

DIFFERENCE = 1e-4
"""Step of the likelihood's central differences, in logarithms; modes are exact to 1e-8, so the gradient to 1e-4."""

SPREAD_BOUNDS, SIGMA_BOUNDS, CORRELATED_BOUND = (0.01, 2.5), (1e-3, 2.0), 2.5
"""Bounds of the spreads between patients, of sigma, and of what correlates them: one percent to a factor of twelve."""

FIRST_STEPS, STEPS = 8, 200
"""L-BFGS-B iterations of each start, and of the best of them."""

STOP_LIKELIHOOD, STOP_GRADIENT = 1e-7, 1e-3
"""Where it ends: -2 ln L known to far better than the unit that Akaike differences are read in."""


@dataclass(frozen=True)
class Population:
    """mu [parameter], L [parameter, random] with Omega = L L', sigma; or a stack of them, each with a first axis."""

    mean: np.ndarray
    factor: np.ndarray
    sigma: np.ndarray | float

    @property
    def omega(self) -> np.ndarray:
        return self.factor @ np.swapaxes(self.factor, -1, -2)


@dataclass(frozen=True)
class Modes:
    """Most probable x [lane, parameter], deviations b [lane, random], ln curve [lane, scan], slopes by x, Hessian."""

    x: np.ndarray
    b: np.ndarray
    log_curve: np.ndarray
    slopes: np.ndarray
    precision: np.ndarray
    objective: np.ndarray


def modes(model: CurveModel, lp: float, data: Cohort, population: Population, start=None, steps=MODE_STEPS) -> Modes:
    """Modes of all patients at once; `precision` [lane, random, random] is the Gauss-Newton Hessian in b."""
    weight = np.where(data.known, 1.0 / (np.square(population.sigma)[..., None] + data.log_variance), 0.0)
    lanes, width = len(weight), population.factor.shape[-1]
    b = np.zeros((lanes, width)) if start is None else start.copy()
    damping = np.full(lanes, 1e-3)
    here = _point(model, lp, data, population, weight, b)
    for _ in range(steps):
        step = np.linalg.solve(here[2] + damping[:, None, None] * np.eye(width), here[1][..., None])[..., 0]
        there = _point(model, lp, data, population, weight, b + step)
        better = there[0] <= here[0]
        pick = lambda new, old, better=better: np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
        b, here = pick(b + step, b), tuple(map(pick, there, here))
        damping = np.clip(np.where(better, damping / 10, damping * 10), 1e-12, 1e12)
        if np.abs(step).max() < MODE_CHANGE:
            break
    return Modes(_parameters(population, b), b, here[3], here[4], here[2], here[0])


def _parameters(population: Population, b) -> np.ndarray:
    return population.mean + (population.factor @ b[..., None])[..., 0]


def _point(model, lp, data, population, weight, b):
    """Objective [lane], its descent, Hessian, ln of the curve and its slopes by x, at deviations b."""
    log_curve, slope = log_activity(model, lp, _parameters(population, b), data.time_h)
    residual = data.log_activity - log_curve
    by_b = slope @ population.factor
    weighted = weight[..., None] * by_b
    objective = (weight * residual**2).sum(1) + (b**2).sum(1)
    descent = (weighted * residual[..., None]).sum(1) - b
    hessian = np.swapaxes(weighted, 1, 2) @ by_b + np.eye(b.shape[1])
    return np.where(np.isfinite(objective), objective, 1e300), descent, hessian, log_curve, slope


def log_activity(model: CurveModel, lp: float, x, time_h):
    """ln A [lane, scan] of x [lane, parameter] and its slopes [lane, scan, parameter]."""
    with np.errstate(all="ignore"):
        activity, slope = model.with_slopes(x, time_h, lp)
        value = np.log(activity)
        return np.nan_to_num(value, nan=-700.0, neginf=-700.0), np.nan_to_num(slope / activity[..., None])


def minus_two_log_likelihoods(data: Cohort, population: Population, at: Modes) -> np.ndarray:
    """-2 ln of Laplace's marginal likelihood of each lane's logarithms of activity, [lane]."""
    variance = np.square(population.sigma)[..., None] + data.log_variance
    size = np.where(data.known, np.log(2 * np.pi * variance), 0.0).sum(1)
    return at.objective + size + np.linalg.slogdet(at.precision)[1]


@dataclass(frozen=True)
class Layout:
    """Where a vector theta holds the means, the logarithms of L's diagonal, its lower triangle, and ln sigma."""

    random: np.ndarray
    full: bool

    @property
    def spreads(self) -> int:
        return int(self.random.sum())

    @property
    def correlated(self) -> int:
        return self.spreads * (self.spreads - 1) // 2 if self.full else 0

    @property
    def size(self) -> int:
        return len(self.random) + self.spreads + self.correlated + 1

    def population(self, theta) -> Population:
        """Of one theta [entry], or of a stack [stack, entry]."""
        theta = np.asarray(theta)
        k, r = len(self.random), self.spreads
        block = np.exp(theta[..., k : k + r])[..., None] * np.eye(r)
        if self.full:
            rows, columns = np.tril_indices(r, -1)
            block[..., rows, columns] = theta[..., k + r : -1]
        factor = np.zeros((*theta.shape[:-1], k, r))
        factor[..., self.random, :] = block
        return Population(theta[..., :k], factor, np.exp(theta[..., -1]))

    def start(self, mean, spread: float, sigma: float) -> np.ndarray:
        spreads = np.full(self.spreads, math.log(spread))
        return np.concatenate([mean, spreads, np.zeros(self.correlated), [math.log(sigma)]])

    def bounds(self, low, high) -> list[tuple[float, float]]:
        """Of theta, with those of the means `low` and `high` [parameter]."""
        spread, sigma = ((math.log(least), math.log(most)) for least, most in (SPREAD_BOUNDS, SIGMA_BOUNDS))
        correlated = (-CORRELATED_BOUND, CORRELATED_BOUND)
        return [*zip(low, high), *[spread] * self.spreads, *[correlated] * self.correlated, sigma]


def fitted(model: CurveModel, lp: float, data: Cohort, layout: Layout, starts, low, high):
    """-2 ln L at its minimum, the population and modes there, and whether the minimisation ended.

    All starts take a few steps; the best one goes on to the end.
    """
    bounds = layout.bounds(low, high)
    first = [_minimised(model, lp, data, layout, start, bounds, FIRST_STEPS) for start in starts]
    found = _minimised(model, lp, data, layout, min(first, key=lambda end: end.fun).x, bounds, STEPS)
    population = layout.population(found.x)
    at = modes(model, lp, data, population)
    return float(minus_two_log_likelihoods(data, population, at).sum()), population, at, bool(found.success)


def _minimised(model, lp, data, layout: Layout, start, bounds, steps: int):
    from scipy.optimize import minimize  # a third of a second to import, and only needed here

    warm: list[np.ndarray] = []

    def likelihood(theta):
        """-2 ln L and its gradient; modes start where they were in the call before."""
        population = layout.population(theta)
        at = modes(model, lp, data, population, warm.pop() if warm else None)
        warm.append(at.b)
        return minus_two_log_likelihoods(data, population, at).sum(), _gradient(model, lp, data, layout, theta, at.b)

    options = {"maxiter": steps, "ftol": STOP_LIKELIHOOD, "gtol": STOP_GRADIENT}
    return minimize(likelihood, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)


def _gradient(model, lp, data: Cohort, layout: Layout, theta, b) -> np.ndarray:
    """Central differences, all steps of all patients in one batch of lanes."""
    steps = DIFFERENCE * np.concatenate([np.eye(len(theta)), -np.eye(len(theta))])
    stack = layout.population(theta + steps)
    repeat, patients = len(steps), len(b)
    each = Population(*(np.repeat(part, patients, axis=0) for part in (stack.mean, stack.factor, stack.sigma)))
    tiled = Cohort(*(np.tile(part, (repeat, 1)) for part in data.parts()))
    at = modes(model, lp, tiled, each, np.tile(b, (repeat, 1)), NEAR_STEPS)
    value = minus_two_log_likelihoods(tiled, each, at).reshape(2, len(theta), patients).sum(-1)
    return (value[0] - value[1]) / (2 * DIFFERENCE)


def information(data: Cohort, at: Modes, population: Population) -> np.ndarray:
    """Information on mu of all patients, [parameter, parameter], of the model linearised at the modes."""
    slope = np.where(data.known[..., None], at.slopes, 0.0)
    variance = np.where(data.known, population.sigma**2 + data.log_variance, 1.0)
    total = slope @ population.omega @ np.swapaxes(slope, 1, 2) + variance[:, :, None] * np.eye(variance.shape[1])
    return (np.swapaxes(slope, 1, 2) @ np.linalg.solve(total, slope)).sum(0)
