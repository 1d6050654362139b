"""Levenberg-Marquardt on the rates of many voxels at once, within bounds, amplitudes in closed form.

Each voxel has its own damping, moves only where chi2 falls, and leaves the loop when it is done. The Jacobian of the
projected residual is Kaufman's (BIT 1975;15:49, recalled), whose gradient is exact. Arrays end in the voxel.
"""

from __future__ import annotations

import numpy as np

from calibration.voxel_models import Model, amplitudes, basis

STEP_TOLERANCE, CHI2_TOLERANCE, MOST_STEPS = 1e-9, 1e-13, 100
"""A fit is done when no logarithm of a rate moves more, or chi2 has no more to lose: a rate is then within a millionth
of its sd. Voxels that still move at the end have not converged.
"""

LONGEST_STEP = 1.5
"""No rate changes by more than this factor of e at once."""


def linearised(model: Model, t, y, weight, theta):
    """chi2 [voxel], descent direction [rate, voxel] and Gauss-Newton matrix [rate, rate, voxel] at `theta`."""
    shape, slope = basis(model, t, theta)
    column, y = shape * weight, y * weight
    amplitude = amplitudes(column, y)
    residual = y - (amplitude[:, None] * column).sum(0)
    moved = (amplitude[:, None] * slope).sum(1) * weight
    moved = np.stack([m - (amplitudes(column, m)[:, None] * column).sum(0) for m in moved])
    return (residual**2).sum(0), np.einsum("rtv,tv->rv", moved, residual), np.einsum("rtv,stv->rsv", moved, moved)


def _step(down, matrix, damping, theta, low, high):
    """Damped Gauss-Newton step; a coordinate at its bound that would leave it stays."""
    stays = ((theta <= low) & (down < 0)) | ((theta >= high) & (down > 0))
    down = np.where(stays, 0.0, down)
    diagonal = np.stack([matrix[k, k] for k in range(len(down))]) * (1 + damping) + 1e-300
    if len(down) == 1:
        return down / diagonal
    cross = np.where(stays.any(0), 0.0, matrix[0, 1])
    determinant = diagonal[0] * diagonal[1] - cross**2 + 1e-300
    return np.stack([diagonal[1] * down[0] - cross * down[1], diagonal[0] * down[1] - cross * down[0]]) / determinant


def _limited(step):
    """A step of at most `LONGEST_STEP` in any coordinate, in its own direction."""
    return step / np.maximum(np.abs(step).max(0) / LONGEST_STEP, 1.0)


def _promised(down, matrix, step):
    """What the quadratic model says a step takes off chi2, [voxel]."""
    return 2 * (down * step).sum(0) - np.einsum("rv,rsv,sv->v", step, matrix, step) + 1e-300


def _factor(ratio):
    """Change of damping by how well the quadratic model foretold chi2: more where it was wrong, less where right."""
    return np.where(ratio > 0.75, 0.1, np.where(ratio > 0.25, 1.0, np.where(ratio > 0, 4.0, 10.0)))


def polish(model: Model, t, y, weight, theta, low, high):
    """Levenberg-Marquardt from `theta`; returns the end and which voxels were still moving, [voxel]."""
    theta, moving = theta.copy(), np.ones(theta.shape[1], dtype=bool)
    left, now = np.arange(theta.shape[1]), theta
    state, damping = linearised(model, t, y, weight, theta), np.full(theta.shape[1], 1e-3)
    for _ in range(MOST_STEPS):
        trial = np.clip(now + _limited(_step(*state[1:], damping, now, low, high)), low, high)
        size = np.abs(trial - now).max(0)
        after = linearised(model, t, y, weight, trial)
        promised = _promised(*state[1:], trial - now)
        ratio = (state[0] - after[0]) / promised
        better = after[0] <= state[0]
        now = np.where(better, trial, now)
        state = tuple(np.where(better, new, old) for new, old in zip(after, state, strict=True))
        done = (size < STEP_TOLERANCE) | ((promised < CHI2_TOLERANCE) & (damping <= 1))
        damping = np.clip(damping * _factor(np.where(better, ratio, -1.0)), 1e-9, 1e12)
        theta[:, left[done]], moving[left[done]] = now[:, done], False
        go = ~done
        left, now, damping, state = left[go], now[:, go], damping[go], tuple(s[..., go] for s in state)
        y, weight = y[:, go], weight[:, go]
        if not len(left):
            break
    theta[:, left] = now
    return theta, moving
