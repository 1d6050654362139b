"""Draws of every patient from about his own posterior, to be weighted for any levels: the E-step's raw material.

A patient's mode given the levels is found by Levenberg-Marquardt for all patients of a batch at once, with errors that
observations share integrated out. Proposals come from a multivariate t about it, as in `importance`; the same random
numbers serve every round, so that rounds end at one point.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.importance import FREEDOM
from calibration.population_data import Batch, Data
from calibration.population_members import Levels

MAX_ITERATIONS = 25
STEP_TOLERANCE = 3e-3
"""Change of a whitened offset at which a mode rests: importance weights forgive the rest."""
LARGEST_STEP = 2.0
EASIER, HARDER = 0.2, 8.0
WIDER = 1.1
"""Proposals are this much wider than the Laplace approximation, since the levels will move before they are renewed."""


@dataclass(frozen=True)
class Draws:
    """A patient's proposals: states `x` [state, draw], log density `log_q` [draw], `log_activity` [observation,
    draw]."""

    x: np.ndarray
    log_q: np.ndarray
    log_activity: np.ndarray


@dataclass(frozen=True)
class Round:
    """Draws of all patients, with each one's mode [state] for the next round to begin at."""

    draws: list[Draws]
    modes: list[np.ndarray]


def drawn(data: list[Data], batches: list[Batch], levels: Levels, phi, begin, proposals: int, seed: int) -> Round:
    """New draws for levels `phi`; `begin` holds each patient's state to search from."""
    draws: list = [None] * len(data)
    modes: list = [None] * len(data)
    for batch in batches:
        mine = [data[k] for k in batch.which]
        white = [_White.of(d, levels, phi) for d in mine]
        z, information = _modes(batch, white, [begin[k] for k in batch.which])
        parts = [
            _proposed(w, z[:, k], information[k], proposals, np.random.default_rng([seed, batch.which[k]]))
            for k, w in enumerate(white)
        ]
        seen = batch.log_activity(np.stack([x for x, _ in parts], axis=-1))
        for k, (index, (x, log_q)) in enumerate(zip(batch.which, parts, strict=True)):
            draws[index], modes[index] = Draws(x, log_q, seen[..., k]), white[k].state(z[:, k])
    return Round(draws, modes)


@dataclass(frozen=True)
class _White:
    """One patient's problem in whitened coordinates: x = centre + lower z, residuals through `sharpen`."""

    centre: np.ndarray
    lower: np.ndarray
    sharpen: np.ndarray
    log_observed: np.ndarray

    @classmethod
    def of(cls, data: Data, levels: Levels, phi) -> _White:
        lower = np.linalg.cholesky(data.member.covariance(levels, phi))
        sharpen = np.linalg.inv(np.linalg.cholesky(data.variance(levels, phi)))
        return cls(data.member.mean_of @ levels.split(phi)[0], lower, sharpen, data.log_observed)

    def state(self, z: np.ndarray) -> np.ndarray:
        return self.centre + self.lower @ z

    def whitened(self, state: np.ndarray) -> np.ndarray:
        return np.linalg.solve(self.lower, state - self.centre)


def _linear(batch: Batch, white: list[_White], z: np.ndarray):
    """Loss [patient], gradient [patient, state] and information [patient, state, state] at z [state, patient]."""
    seen, slope = batch.jacobian(np.stack([w.state(z[:, k]) for k, w in enumerate(white)], axis=1))
    residual = np.stack([w.sharpen @ (seen[:, k] - w.log_observed) for k, w in enumerate(white)])
    j = np.stack([w.sharpen @ slope[..., k] @ w.lower for k, w in enumerate(white)])
    loss = 0.5 * (np.sum(residual**2, axis=1) + np.sum(z**2, axis=0))
    gradient = np.einsum("nos,no->ns", j, residual) + z.T
    return np.where(np.isfinite(loss), loss, np.inf), gradient, np.swapaxes(j, 1, 2) @ j + np.eye(len(z))


def _modes(batch: Batch, white: list[_White], begin: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Whitened modes [state, patient] and information [patient, state, state]."""
    z = np.stack([w.whitened(x) for w, x in zip(white, begin, strict=True)], axis=1)
    loss, gradient, information = _linear(batch, white, z)
    damping, resting = np.full(len(white), 1e-2), np.zeros(len(white), bool)
    for _ in range(MAX_ITERATIONS):
        diagonal = np.einsum("nss->ns", information)
        damped = information + np.einsum("n,ns,st->nst", damping, diagonal, np.eye(len(z)))
        step = -np.linalg.solve(damped, gradient[..., None])[..., 0].T
        step *= np.minimum(1.0, LARGEST_STEP / np.maximum(np.max(np.abs(step), axis=0), 1e-300)) * ~resting
        trial = _linear(batch, white, z + step)
        better = (trial[0] <= loss * (1 + 1e-12)) & ~resting
        z = z + step * better
        loss, gradient, information = (
            np.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(trial, (loss, gradient, information), strict=True)
        )
        damping = np.where(better, damping * EASIER, damping * HARDER)
        resting |= (better & (np.max(np.abs(step), axis=0) < STEP_TOLERANCE)) | (damping > 1e8)
        if resting.all():
            break
    return z, information


def _proposed(white: _White, z, information, proposals: int, rng) -> tuple[np.ndarray, np.ndarray]:
    """States [state, draw] of a t distribution about the mode and their log density, up to a constant of its size."""
    size = len(z)
    half = -(-proposals // 2)
    normal = rng.standard_normal((size, half))
    stretch = WIDER * np.sqrt(FREEDOM / rng.chisquare(FREEDOM, half))
    both = np.concatenate([stretch * normal, -stretch * normal], axis=1)
    squared = np.sum(both**2, axis=0) / WIDER**2
    lower = np.linalg.cholesky(information)
    step = np.linalg.solve(lower.T, both)
    log_volume = np.sum(np.log(np.diag(white.lower))) - np.sum(np.log(np.diag(lower)))
    log_q = -0.5 * (FREEDOM + size) * np.log1p(squared / FREEDOM) - log_volume
    return white.centre[:, None] + white.lower @ (z[:, None] + step), log_q
