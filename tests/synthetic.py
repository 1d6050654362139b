"""Virtual patients with a known truth, for coverage: truth from the prior, scans with the noise the fit assumes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration import noise
from calibration.forward import pool_weights
from calibration.observations import Observations
from pbpk.administration import Administration
from pbpk.parameters import Covariates
from twin.body import body_of
from twin.forecast import activities, states, tia_MBq_h
from twin.patient import Study
from twin.verbs import calibrate

REGIONS = ("kidney_left", "kidney_right", "liver", "parotid", "tumour_1")
SPECT_H = (24.0, 72.0, 168.0)
COUNTING_SD = 0.03


def empty_study() -> Study:
    """One therapy cycle of 7.4 GBq 177Lu-PSMA-617, nothing measured yet."""
    given = (Administration(1, 0.0, 7400.0, 90.0, 0.0, "PSMA-617", "177Lu"),)
    patient = Covariates.of(weight_kg=80.0, height_m=1.75, sex="male", age_y=70.0, gfr_mL_min=90.0, haematocrit=0.4)
    volumes = {"tumour_1": 30.0, "tumour_rest": 100.0}
    return Study("virtual", patient, "PSMA-617", "177Lu", given, Observations.empty(), volumes)


def with_scans(study: Study, rng, times_h=SPECT_H, offsets=None) -> tuple[Study, np.ndarray]:
    """The study with noisy scans of a truth drawn from the prior (or `offsets`), and that truth's log offsets."""
    body = body_of(study)
    if offsets is None:
        offsets = rng.multivariate_normal(np.zeros(len(body.prior.names)), body.prior.covariance, method="eigh")
    weights = np.stack([pool_weights(r, body.organs, frozenset()) for r in REGIONS])
    minutes = np.array([60 * t for t in times_h])
    true = activities(body, body.prior.names, body.first, minutes, weights, offsets[None])[..., 0]
    regions = tuple(r for r in REGIONS for _ in times_h)
    exact = true.reshape(-1)
    count = len(regions)
    columns = (np.tile(times_h, len(REGIONS)), exact, COUNTING_SD * exact, np.full(count, np.nan))
    seen = Observations(regions, *columns, ("SPECT",) * count, (1,) * count)
    error = np.linalg.cholesky(noise.covariance(seen)) @ rng.standard_normal(count)
    noisy = exact * np.exp(error)
    seen = Observations(regions, columns[0], noisy, COUNTING_SD * noisy, columns[3], seen.modality, seen.cycle)
    return replace(study, observations=seen), offsets


def log_tia(study: Study, names, offsets) -> np.ndarray:
    """Log TIA of REGIONS, [region, draw]."""
    body = body_of(study)
    found = states(body.first, names, offsets, np.array([body.first.end_min]))
    weights = np.stack([pool_weights(r, body.organs, frozenset()) for r in REGIONS])
    return np.log(weights @ tia_MBq_h(found, body.first)[:, 0])


@dataclass(frozen=True)
class Case:
    """True log TIA [region] and posterior draws [region, draw] of one virtual patient."""

    truth: np.ndarray
    draws: np.ndarray

    def covers(self, narrowing: float = 1.0) -> np.ndarray:
        """Whether each region's 90% interval holds the truth; `narrowing` shrinks the draws about their median."""
        middle = np.median(self.draws, axis=1, keepdims=True)
        low, high = np.percentile(middle + (self.draws - middle) / narrowing, [5, 95], axis=1)
        return (low <= self.truth) & (self.truth <= high)


def cases(count: int, seed: int = 60) -> list[Case]:
    """Calibrated virtual patients."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        study, truth = with_scans(empty_study(), rng)
        twin = calibrate(study, draws=203)
        offsets = np.concatenate([truth[None], twin.posterior.draws])
        tia = log_tia(study, twin.posterior.names, offsets)
        out.append(Case(tia[:, 0], tia[:, 1:]))
    return out
