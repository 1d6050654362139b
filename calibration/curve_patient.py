"""What a mixed-effects curve says of patients: their integrals, the doubt about them, how much of it is prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.curve_cohort import Cohort
from calibration.curve_mixed import Modes, Population
from calibration.curve_models import CurveModel

FREEDOM = 4
"""Degrees of freedom of the Student's t of proposals: with one scan the posterior has long, bent tails."""


@dataclass(frozen=True)
class PatientTIA:
    """Integrals of patients, each [patient], or plain numbers for one patient.

    `log_sd` is the sd of ln TIA, of which `tia_sd_MBq_h` is the sd of that log-normal. `prior_share` is the variance of
    ln TIA after the scans over that before (with administered activities that differ, before means little).
    `parameters` are the most probable ones, [..., parameter].
    """

    tia_MBq_h: np.ndarray | float
    tia_sd_MBq_h: np.ndarray | float
    log_sd: np.ndarray | float
    prior_share: np.ndarray | float
    parameters: np.ndarray

    def interval(self, z: float = 1.6449):
        """Lower and upper bound in MBq h; z 1.6449 holds 90 %. It is skewed, as errors of one scan are."""
        factor = np.exp(z * np.asarray(self.log_sd))
        return self.tia_MBq_h / factor, self.tia_MBq_h * factor


def patients(at: Modes, population: Population) -> PatientTIA:
    """Integrals of all patients with Laplace's sd: the first row of L H^-1 L'."""
    row = population.factor[0]
    return _told(at.x, np.einsum("r,prs,s->p", row, np.linalg.inv(at.precision), row), population)


def _told(x, variance, prior: Population) -> PatientTIA:
    """Integrals from parameters x [lane, parameter] and the variance of ln TIA [lane]."""
    tia, before = np.exp(x[:, 0]), max(float(prior.omega[0, 0]), 1e-300)
    sd = tia * np.sqrt(np.expm1(variance) * np.exp(variance))
    return PatientTIA(tia, sd, np.sqrt(variance), variance / before, x)


def expected(model: CurveModel, lp: float, data: Cohort, prior: Population, at: Modes, draws: int, seed: int):
    """The same by importance sampling: mean and sd of ln TIA under the posterior, not its mode and curvature there.

    Proposals [draw, lane, random] follow Student's t around the mode; weights are those of posterior over proposal.
    """
    rng, size = np.random.default_rng(seed), at.b.shape[1]
    normal = rng.standard_normal((draws, *at.b.shape))
    noise = normal / np.sqrt(rng.chisquare(FREEDOM, (draws, len(at.b), 1)) / FREEDOM)
    root = np.linalg.cholesky(np.linalg.inv(at.precision))
    b = at.b + (root @ noise[..., None])[..., 0]
    x = prior.mean + b @ prior.factor.T
    weight = np.where(data.known, 1.0 / (prior.sigma**2 + data.log_variance), 0.0)
    with np.errstate(all="ignore"):
        residual = data.log_activity - np.log(model.activity_MBq(x, data.time_h, lp))
    misfit = (weight * np.nan_to_num(residual, nan=1e6, posinf=1e6, neginf=-1e6) ** 2).sum(-1) + (b**2).sum(-1)
    log_weight = (FREEDOM + size) / 2 * np.log1p((noise**2).sum(-1) / FREEDOM) - misfit / 2
    share = np.exp(log_weight - log_weight.max(0))
    share = share / share.sum(0)
    mean = (share[..., None] * x).sum(0)
    variance = (share * (x[..., 0] - mean[:, 0]) ** 2).sum(0)
    return _told(mean, variance, prior)


def first(found: PatientTIA) -> PatientTIA:
    parts = (found.tia_MBq_h, found.tia_sd_MBq_h, found.log_sd, found.prior_share)
    return PatientTIA(*(float(np.asarray(part)[0]) for part in parts), found.parameters[0])
