"""Steps towards the most probable offsets of the patients of a block, for `batched`: whitened least squares by lanes.

With offsets = m + L z, L the Cholesky factor of the prior, and residuals r whitened by the Cholesky factor of the
noise, the negative log posterior is half the squared norm of (r, z). A Jacobian by differences costs a solve for each
parameter, a residual one: so after a step the Jacobian follows by the secant update of Broyden (Math Comput
1965;19:577), and is found afresh only where the sweep says. Damping as in Marquardt (SIAM J Appl Math 1963;11:431).
Arrays are lane first: [lane, observation], [lane, observation, parameter].
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

EASIER, HARDER, FIRST_HARDER = 0.2, 8.0, 1.0
"""Factors on the damping after a step that helped and one that did not, and its least value after the latter."""
LARGEST_STEP = 3.0
"""Steps are shortened to this many prior standard deviations, as in `optimum`."""

FAR = 1e6
"""Log activity that stands for one that is not finite: no step goes there."""


class Target(NamedTuple):
    """`mean` [lane, parameter] and Cholesky factor `lower` [lane, parameter, parameter] of the prior; what was seen,
    `log_seen` [lane, observation] (0 where nothing was), and `whiten` [lane, observation, observation], the inverse of
    the noise's Cholesky factor (rows of zeros where nothing was seen)."""

    mean: np.ndarray
    lower: np.ndarray
    log_seen: np.ndarray
    whiten: np.ndarray

    def offsets(self, z: np.ndarray) -> np.ndarray:
        """Log offsets [parameter, lane], as the model takes them."""
        return (self.mean + times(self.lower, z)).T

    def residual(self, log_activity: np.ndarray) -> np.ndarray:
        """Whitened residuals [lane, observation] of modelled log activities [observation, lane]."""
        finite = np.where(np.isfinite(log_activity.T), log_activity.T, FAR)
        return times(self.whiten, finite - self.log_seen)

    def jacobian(self, slope: np.ndarray) -> np.ndarray:
        """Derivatives of the residuals by z from those of log activities by offsets [observation, parameter, lane]."""
        return self.whiten @ np.moveaxis(slope, -1, 0) @ self.lower


def target(mean, covariance, log_seen, noise_covariance) -> Target:
    """From prior mean [parameter, lane] and covariance [lane, parameter, parameter], log activities
    [observation, lane] (NaN: not measured) and their noise [lane, observation, observation]."""
    measured = np.isfinite(log_seen.T)
    both = measured[:, :, None] & measured[:, None, :]
    covariance_of_seen = np.where(both, noise_covariance, np.eye(len(log_seen)))
    whiten = np.where(both, np.linalg.inv(np.linalg.cholesky(covariance_of_seen)), 0.0)
    return Target(mean.T, np.linalg.cholesky(covariance), np.where(measured, log_seen.T, 0.0), whiten)


class Place(NamedTuple):
    """Where the lanes stand: whitened offsets `z` [lane, parameter], residuals, their Jacobian, damping [lane]."""

    z: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray
    damping: np.ndarray

    @property
    def loss(self) -> np.ndarray:
        """Negative log posterior [lane]."""
        return 0.5 * (np.sum(self.residual**2, axis=1) + np.sum(self.z**2, axis=1))

    @property
    def gradient(self) -> np.ndarray:
        return self.z + times(np.swapaxes(self.jacobian, 1, 2), self.residual)

    @property
    def information(self) -> np.ndarray:
        """Gauss-Newton information of z, prior included, [lane, parameter, parameter]."""
        return np.swapaxes(self.jacobian, 1, 2) @ self.jacobian + np.eye(self.z.shape[1])

    def step(self) -> np.ndarray:
        """Damped Gauss-Newton step [lane, parameter]."""
        damped = self.information + self.damping[:, None, None] * np.eye(self.z.shape[1])
        step = -np.linalg.solve(damped, self.gradient[..., None])[..., 0]
        return step * np.minimum(1.0, LARGEST_STEP / np.maximum(np.max(np.abs(step), axis=1), 1e-300))[:, None]

    def moved(self, step: np.ndarray, residual: np.ndarray) -> Place:
        """After a try: lanes that it makes better go there with their Jacobian updated; the others are damped."""
        there = self._replace(z=self.z + step, residual=residual)
        better = there.loss <= self.loss * (1 + 1e-12)
        missed = residual - self.residual - times(self.jacobian, step)
        along = step / np.maximum(np.sum(step**2, axis=1), 1e-300)[:, None]
        there = there._replace(jacobian=self.jacobian + missed[:, :, None] * along[:, None, :])
        harder = np.maximum(self.damping * HARDER, FIRST_HARDER)
        damping = np.where(better, self.damping * EASIER, harder)
        chosen = (
            np.where(better.reshape(-1, *[1] * (a.ndim - 1)), b, a) for a, b in zip(self[:3], there[:3], strict=True)
        )
        return Place(*chosen, damping)


def times(matrix: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Products of the lanes' matrices [lane, i, j] with their vectors [lane, j]."""
    return (matrix @ vector[..., None])[..., 0]
