"""The most probable offsets of many lanes at once: Levenberg-Marquardt in whitened log space.

All lanes take their step from one batched evaluation (`lanes.jacobian`); each has its own damping and stops by itself.
The prior's unit term keeps every normal matrix well conditioned. Marquardt, SIAM J Appl Math 1963;11:431.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration import lanes
from calibration.forward import Experiment
from calibration.problem import Problem

MAX_ITERATIONS = 40
STEP_TOLERANCE = 1e-3
"""Largest change of a whitened offset (prior standard deviations) in an accepted step at which a lane rests."""
FIRST_DAMPING, EASIER, HARDER = 1e-2, 0.2, 8.0
STUCK = 1e8
"""Damping above which a lane is given up."""
LARGEST_STEP = 3.0
"""Steps are shortened to this many prior standard deviations."""


@dataclass(frozen=True)
class Optimum:
    """Whitened offsets `z` [parameter, lane], `information` [lane, parameter, parameter] (Gauss-Newton, prior
    included), `jacobian` [observation, parameter, lane] of the log activities by the offsets, `residual`
    [observation, lane], `loss` and `converged` [lane]."""

    z: np.ndarray
    information: np.ndarray
    jacobian: np.ndarray
    residual: np.ndarray
    loss: np.ndarray
    converged: np.ndarray


def optimum(exp: Experiment, prob: Problem, z0: np.ndarray) -> Optimum:
    """Minimum of each lane's negative log posterior, begun at `z0` [parameter, lane]."""
    z = np.array(z0, float)
    now = _Linear.at(exp, prob, z, np.arange(z.shape[1]))
    damping, resting = np.full(z.shape[1], FIRST_DAMPING), np.zeros(z.shape[1], bool)
    for _ in range(MAX_ITERATIONS):
        busy = np.flatnonzero(~resting)
        if not len(busy):
            break
        step = now.step(busy, damping[busy])
        trial = _Linear.at(exp, prob, z[:, busy] + step, busy)
        better = trial.loss <= now.loss[busy] * (1 + 1e-12)
        taken = busy[better]
        z[:, taken] += step[:, better]
        now = now.replaced(taken, trial, better)
        damping[busy] = np.where(better, damping[busy] * EASIER, damping[busy] * HARDER)
        small = np.max(np.abs(step), axis=0) < STEP_TOLERANCE
        resting[busy] = (better & small) | (damping[busy] > STUCK)
    settled = resting & (damping < STUCK) & np.isfinite(now.loss)
    return Optimum(z, now.information, now.jacobian, now.residual, now.loss, settled)


@dataclass(frozen=True)
class _Linear:
    """The problem linearised at every lane's offsets."""

    loss: np.ndarray
    gradient: np.ndarray
    information: np.ndarray
    jacobian: np.ndarray
    residual: np.ndarray

    @classmethod
    def at(cls, exp: Experiment, prob: Problem, z: np.ndarray, which: np.ndarray) -> _Linear:
        activity, jacobian = lanes.jacobian(exp, prob.offsets(z), which)
        jacobian = jacobian[: len(prob.sd)]
        residual = of_lanes(prob, which).residual(activity)
        j = np.moveaxis(jacobian / prob.sd[:, None, None], -1, 0) @ prob.cholesky
        loss = 0.5 * (np.sum(residual**2, axis=0) + np.sum(z**2, axis=0))
        loss = np.where(np.isfinite(loss), loss, np.inf)
        information = np.swapaxes(j, 1, 2) @ j + np.eye(len(z))
        return cls(loss, np.einsum("lip,il->pl", j, residual) + z, information, jacobian, residual)

    def step(self, busy, damping) -> np.ndarray:
        diagonal = np.einsum("lpp->lp", self.information[busy])
        damped = self.information[busy] + np.einsum("l,lp,pq->lpq", damping, diagonal, np.eye(len(self.gradient)))
        step = -np.linalg.solve(damped, self.gradient[:, busy].T[..., None])[..., 0].T
        return step * np.minimum(1.0, LARGEST_STEP / np.maximum(np.max(np.abs(step), axis=0), 1e-300))

    def replaced(self, taken, trial: _Linear, better) -> _Linear:
        out = [x.copy() for x in (self.loss, self.gradient, self.information, self.jacobian, self.residual)]
        out[0][taken], out[1][:, taken], out[2][taken] = (
            trial.loss[better],
            trial.gradient[:, better],
            trial.information[better],
        )
        out[3][..., taken], out[4][:, taken] = trial.jacobian[..., better], trial.residual[:, better]
        return _Linear(*out)


def of_lanes(prob: Problem, which):
    """The problem of some lanes; a problem of one patient serves any number of lanes."""
    seen = prob.log_observed
    return prob if seen.shape[1] == 1 else replace(prob, log_observed=seen[:, which])
