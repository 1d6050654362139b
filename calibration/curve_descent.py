"""Levenberg-Marquardt within bounds, from many starts at once: arrays begin with the start.

A parameter at a bound that would leave it is held for that step. Damping and acceptance are each start's own. A start
has arrived when three accepted steps in a row gain next to nothing, or when no damping finds a lower chi2 any more.
(SciPy's bounded least squares took some ten times as long here, one start after the other, and crawled along bounds.)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

STEPS, LATE = 400, 30
"""Steps at most, and steps after which stragglers are left behind if the lowest start has arrived."""

GAIN, QUIET = 1e-10, 3
"""Relative gain of chi2 that counts as nothing, and how many such steps in a row end the search."""

EXACT = 1e-20
"""Chi2 below which a curve passes through the points."""

LARGEST_DAMPING = 1e12
"""Damping at which a step is too short to change a parameter in double precision."""

LONGEST_STEP = 2.0
"""A parameter, a logarithm, moves by no more than this in one step."""


def descend(problem: Callable, x, low, high):
    """Ends [start, parameter], their chi2 [start] and whether each arrived.

    `problem(x)` gives weighted residuals [start, row] and their slopes [start, row, parameter].
    """
    x = np.clip(x, low, high)
    residual, slope = problem(x)
    cost, damping = (residual**2).sum(1), np.full(len(x), 1e-3)
    quiet, done = np.zeros(len(x), dtype=int), np.zeros(len(x), dtype=bool)
    for k in range(STEPS):
        there = np.clip(x + _step(residual, slope, damping, x, low, high), low, high)
        new_residual, new_slope = problem(there)
        new_cost = np.nan_to_num((new_residual**2).sum(1), nan=np.inf, posinf=np.inf)
        better = (new_cost <= cost) & ~done
        quiet = np.where(better & (cost - new_cost <= GAIN * cost), quiet + 1, np.where(better, 0, quiet))
        x = np.where(better[:, None], there, x)
        residual = np.where(better[:, None], new_residual, residual)
        slope = np.where(better[:, None, None], new_slope, slope)
        cost = np.where(better, new_cost, cost)
        damping = np.clip(np.where(better, damping / 5, damping * 4), 1e-12, LARGEST_DAMPING)
        done |= (quiet >= QUIET) | (damping >= LARGEST_DAMPING) | (cost < EXACT)
        if done.all() or (k > LATE and done[cost.argmin()]):
            break
    return x, cost, done


def _step(residual, slope, damping, x, low, high):
    """Damped Gauss-Newton steps with Marquardt's scaling; zero for parameters that would leave their bounds."""
    downhill = -(np.swapaxes(slope, 1, 2) @ residual[..., None])[..., 0]
    held = ((x <= low) & (downhill < 0)) | ((x >= high) & (downhill > 0))
    free = np.where(held, 0.0, 1.0)
    matrix = np.swapaxes(slope, 1, 2) @ slope * free[:, :, None] * free[:, None, :]
    diagonal = np.einsum("skk->sk", matrix)
    scale = damping[:, None] * (diagonal + 1e-9 * diagonal.max(1, keepdims=True)) + held + 1e-30
    matrix = matrix + scale[:, :, None] * np.eye(x.shape[1])
    return np.clip(np.linalg.solve(matrix, (downhill * free)[..., None])[..., 0], -LONGEST_STEP, LONGEST_STEP)
