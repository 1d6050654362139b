"""A learnt half-life: Gaussian-process regression of ln Teff on what is known before the scan, then one exponential.

Gaussian process: Rasmussen and Williams, Gaussian Processes for Machine Learning 2006, equations 2.25, 2.30 (marginal
likelihood) and 5.12 (predictions without one case).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.stp_cohort import CurveCohort, check_size, mono_factor_h
from calibration.stp_cohort_curves import cohort_features
from calibration.stp_method import AbstractMethod, features, with_noise
from calibration.stp_scan import Scan
from dose.nuclides import radionuclide

LOG_BOUNDS = ((-1.0, 4.0), (-5.0, 2.0), (-5.0, 1.0))
"""Logs of length (in sds of a feature), signal and noise sd (in sds of the target): from nothing learnt to all."""


@dataclass(frozen=True, eq=False)
class GaussianProcess:
    """Zero-mean process with a squared-exponential kernel over standardised features `x` [case, feature]."""

    x: np.ndarray
    y: np.ndarray
    length: float
    signal: float
    inverse: np.ndarray

    @classmethod
    def learn(cls, x, y) -> GaussianProcess:
        """Length, signal and noise at the largest marginal likelihood of `y` [case]."""
        from scipy.optimize import minimize

        cost = lambda logs: _minus_log_likelihood(x, y, *np.exp(logs))
        starts = [np.array([np.log(2.0 * x.shape[1]), 0.0, noise]) for noise in (-0.3, -1.5)]
        tries = [minimize(cost, start, method="L-BFGS-B", bounds=LOG_BOUNDS) for start in starts]
        length, signal, noise = np.exp(min(tries, key=lambda found: found.fun).x)
        return cls(x, y, length, signal, np.linalg.inv(_covariance(x, length, signal, noise)))

    def mean(self, x) -> np.ndarray:
        """Expected value at `x` [case, feature]."""
        return _kernel(x, self.x, self.length, self.signal) @ (self.inverse @ self.y)

    @property
    def left_out(self) -> np.ndarray:
        """What the other cases predict for each one, [case]."""
        return self.y - self.inverse @ self.y / np.diag(self.inverse)


def _kernel(a, b, length: float, signal: float) -> np.ndarray:
    distance = ((a[:, None] - b[None]) ** 2).sum(-1)
    return signal**2 * np.exp(-distance / (2 * length**2))


def _covariance(x, length: float, signal: float, noise: float) -> np.ndarray:
    return _kernel(x, x, length, signal) + noise**2 * np.eye(len(x))


def _minus_log_likelihood(x, y, length: float, signal: float, noise: float) -> float:
    lower = np.linalg.cholesky(_covariance(x, length, signal, noise))
    half = np.linalg.solve(lower, y)
    return float(0.5 * half @ half + np.log(np.diag(lower)).sum())


@dataclass(frozen=True, eq=False)
class Gomes2024(AbstractMethod):
    """TIA = A(t) exp(k t)/k, k = ln 2/Teff, with Teff learnt from pre-therapy features.

    "Instant" single-time-point dosimetry, J Nucl Med 2025, doi 10.2967/jnumed.124.268175: 22 patients, Teff of kidneys,
    liver and spleen learnt from 68Ga-PSMA-11 PET and clinical values. Their learner and features are not known to us;
    ours is a Gaussian process over the cohort's biomarkers.
    """

    population: CurveCohort
    process: GaussianProcess
    centre: np.ndarray
    scale: np.ndarray
    log_teff: tuple[float, float]
    name = "Gomes 2024"

    @classmethod
    def learn(cls, cohort: CurveCohort) -> Gomes2024:
        """Raises an InputError where the cohort is small or has no biomarkers."""
        check_size(cohort, "smallest_learner_cohort")
        marked, log_teff = cohort_features(cohort), np.log(cohort.teff_h)
        centre, scale, mean, sd = marked.mean(0), marked.std(0), log_teff.mean(), log_teff.std()
        process = GaussianProcess.learn((marked - centre) / scale, (log_teff - mean) / sd)
        return cls(cohort, process, centre, scale, (float(mean), float(sd)))

    def teff_h(self, scan: Scan) -> np.ndarray:
        """Predicted effective half-life, in the shape of the scan's activity; not longer than the physical one."""
        marked = np.atleast_2d(features(scan, len(self.centre)))
        half = self._half_life(self.process.mean((marked - self.centre) / self.scale))
        return half if scan.activity.ndim else half[0]

    def _half_life(self, standardised) -> np.ndarray:
        mean, sd = self.log_teff
        return np.minimum(np.exp(mean + sd * standardised), radionuclide(self.population.nuclide).half_life_h)

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        return scan.activity * mono_factor_h(scan.time_h, self.teff_h(scan))

    def errors(self, scan: Scan) -> np.ndarray:
        used = mono_factor_h(scan.time_h, self._half_life(self.process.left_out))
        return with_noise(np.log(self.population.factors_h(scan.time_h) / used), scan.noise_log_sd)
