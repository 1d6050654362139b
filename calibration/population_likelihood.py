"""The likelihood of a population's levels, by importance weights, with its exact gradient.

With draws x_n of patient i from a fixed density q,

    L_i(phi) = 1/N sum_n  p(y_i | x_n, phi) p(x_n | phi) / q(x_n),

and, by Fisher's identity, grad ln L_i = sum_n w_n grad ln p(y_i, x_n | phi), w_n the normalised terms: the E-step of
Monte-Carlo parametric EM (Bauer and Guzy 2004), whose fixed point is the maximum found here. The model is not solved
again when phi moves. The observed information is minus the derivative of that gradient, which is Louis' formula (J R
Stat Soc B 1982;44:226) written in another order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import logsumexp
from scipy.stats import chi2

from calibration.population_data import Data
from calibration.population_draws import Draws
from calibration.population_members import Levels
from dose.errors import CalibrationError, describe

DIFFERENCE = 1e-4
"""Step of phi in the central differences of the gradient; its error is near 1e-8 of a curvature."""
STRANGE = 1e-4
"""Probability of a patient in the population below which he is called strange; a posterior mean is shrunken, so fewer
than this share of true members are."""


@dataclass(frozen=True)
class Likelihood:
    """Log posterior of the levels: patients' draws, and the hyper-prior's inverse covariance [level, level]."""

    levels: Levels
    data: list[Data]
    draws: list[Draws]
    hyper: np.ndarray

    def value(self, phi: np.ndarray, camera: np.ndarray | None = None) -> tuple[float, np.ndarray]:
        """Log posterior, up to a constant, and its gradient [level]. `camera` [error] shifts all patients' log
        activities by so many sd of the errors common to all."""
        value, gradient = -0.5 * phi @ self.hyper @ phi, -self.hyper @ phi
        for data, draws in zip(self.data, self.draws, strict=True):
            v, g, *_ = _patient(self.levels, data, draws, phi, camera)
            value, gradient = value + v, gradient + g
        return float(value), gradient

    def effective(self, phi: np.ndarray) -> np.ndarray:
        """Effective number of draws of each patient, [patient]."""
        parts = zip(self.data, self.draws, strict=True)
        return np.array([_patient(self.levels, data, draws, phi, None)[2] for data, draws in parts])

    def strangeness(self, phi: np.ndarray) -> np.ndarray:
        """How improbable each patient's posterior mean is in the population: its squared distance from the centre in
        units of the spread, over its 99.99 % point, [patient]."""
        out = []
        for data, draws in zip(self.data, self.draws, strict=True):
            away = draws.x @ _patient(self.levels, data, draws, phi, None)[3]
            away -= data.member.mean_of @ self.levels.split(phi)[0]
            squared = away @ np.linalg.solve(data.member.covariance(self.levels, phi), away)
            out.append(squared / chi2.ppf(1 - STRANGE, len(away)))
        return np.array(out)

    def information(self, phi: np.ndarray) -> np.ndarray:
        """Observed information [level, level], the hyper-prior's included; its part for levels that no patient touches
        is the hyper-prior's alone."""
        out, touched = self.hyper.copy(), np.flatnonzero(self.touched())
        for k in touched:
            step = DIFFERENCE * np.eye(len(phi))[k]
            out[k] = (self.value(phi - step)[1] - self.value(phi + step)[1]) / (2 * DIFFERENCE)
        both = np.ix_(touched, touched)
        out[both] = 0.5 * (out[both] + out[both].T)
        return out

    def touched(self) -> np.ndarray:
        """Whether any patient's likelihood depends on a level, [level]."""
        out = np.zeros(self.levels.size, bool)
        means, scales, shares, errors = self.levels.slices
        out[errors] = True
        for data in self.data:
            out[means] |= data.member.mean_of.any(axis=0)
            out[scales.start + data.member.scale_of] = True
            out[shares.start + data.member.share_of[data.member.share_of >= 0]] = True
        return out

    def camera_slope(self, phi: np.ndarray, errors: int) -> np.ndarray:
        """Derivative of the gradient [level, error] by the camera's errors, per sd of each."""
        steps = 0.1 * np.eye(errors)
        columns = [(self.value(phi, step)[1] - self.value(phi, -step)[1]) / 0.2 for step in steps]
        return np.array(columns).reshape(errors, -1).T


def _patient(levels: Levels, data: Data, draws: Draws, phi, camera) -> tuple[float, np.ndarray, float, np.ndarray]:
    """Log likelihood of one patient, its gradient [level], the effective number of draws, and their weights [draw].

    Raises:
        CalibrationError: no draw shows finite activities.
    """
    observed = data.log_observed if camera is None else data.log_observed - data.common @ camera[: data.common.shape[1]]
    residual = draws.log_activity[: len(observed)] - observed[:, None]
    away = draws.x - (data.member.mean_of @ levels.split(phi)[0])[:, None]
    variance, covariance = data.variance(levels, phi), data.member.covariance(levels, phi)
    log_term = _log_normal(residual, variance) + _log_normal(away, covariance) - draws.log_q
    log_term = np.where(np.isfinite(log_term), log_term, -np.inf)
    total = logsumexp(log_term)
    if not np.isfinite(total):
        do = "check times, units and volumes of this patient, or leave the study out"
        found = f"no finite likelihood of patient {data.position + 1} (in the order given)"
        raise CalibrationError(describe("cohort", found, "activities that the model can reach", do))
    weight = np.exp(log_term - total)
    gradient = data.member.gradient(levels, phi, away @ weight, (away * weight) @ away.T)
    errors = levels.slices[3]
    if errors.stop > errors.start:
        kept = np.where(weight != 0, residual, 0.0)
        inverse = np.linalg.inv(variance)
        pull = np.diag(inverse @ ((kept * weight) @ kept.T) @ inverse - inverse)
        gradient[errors] = np.bincount(data.error_of, data.proportional(levels, phi) * pull, errors.stop - errors.start)
    return float(total - np.log(len(weight))), gradient, float(1 / np.sum(weight**2)), weight


def _log_normal(away: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Log density [draw] of normal vectors [entry, draw] about zero, without its power of 2 pi."""
    lower = np.linalg.cholesky(covariance)
    scaled = np.linalg.solve(lower, away)
    return -0.5 * np.sum(scaled**2, axis=0) - np.sum(np.log(np.diag(lower)))
