"""Many virtual patients with a known truth at once: truth from the prior, scans with the errors the fit assumes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from calibration import noise
from calibration.belief import Belief
from calibration.cohort import CohortPart, calibrate_cohort
from calibration.forward import pool_weights
from calibration.observations import Observations
from calibration.scores import narrowed, ranks
from pbpk.administration import Administration
from tests import synthetic
from twin.body import Body, body_of
from twin.forecast import activities, states, tia_MBq_h

QUANTITIES = ("kidney_left", "parotid", "tumour_1")
SPECT_H = (24.0, 72.0, 168.0)
COUNTING_SD = 0.03


@dataclass(frozen=True)
class Truth:
    """Log offsets [patient, parameter], shared errors [patient, error], log TIA [region, patient] of QUANTITIES,
    and observed log activities [observation, patient] of the template's observations."""

    offsets: np.ndarray
    error_names: tuple[str, ...]
    errors: np.ndarray
    log_tia: np.ndarray
    template: Observations
    log_observed: np.ndarray


def template(regions=synthetic.REGIONS, times_h=SPECT_H, modality: str = "SPECT", cycle: int = 1) -> Observations:
    """Observations of one typical patient, whose activities serve only to tell relative sds."""
    rows = tuple(r for r in regions for _ in times_h)
    n = len(rows)
    one = np.full(n, 100.0)
    return Observations(
        rows, np.tile(times_h, len(regions)), one, COUNTING_SD * one, one, (modality,) * n, (cycle,) * n
    )


def truth(body: Body, seen: Observations, patients: int, rng, shift=None, prior=None, errors=None) -> Truth:
    """Patients drawn from `prior` (default: the fit's), moved by `shift` [parameter] of the log; what scans show."""
    prior = prior or body.prior
    shift = np.zeros(len(prior.names)) if shift is None else shift
    offsets = shift + rng.multivariate_normal(np.zeros(len(shift)), prior.covariance, size=patients, method="eigh")
    made = errors or noise.errors(seen)
    shared = made.shared
    drawn = shared.sd * rng.standard_normal((patients, len(shared.sd)))
    own = made.sd[:, None] * rng.standard_normal((len(seen), patients))
    observed = np.log(shown(body, seen, offsets)) + shared.loads @ drawn.T + own
    return Truth(offsets, shared.names, drawn, log_tia(body, offsets), seen, observed)


def shown(body: Body, seen: Observations, offsets) -> np.ndarray:
    """True activity [observation, patient]."""
    out = np.empty((len(seen), len(offsets)))
    for course in body.courses:
        mine = np.flatnonzero([course.has(c) for c in seen.cycle])
        if not len(mine):
            continue
        weights = np.stack([pool_weights(seen.region[k], body.organs, frozenset()) for k in mine])
        minutes = np.array([course.minute(seen.cycle[k], seen.time_h[k]) for k in mine])
        every = activities(body, body.prior.names, course, minutes, weights, offsets)
        out[mine] = every[np.arange(len(mine)), np.arange(len(mine))]
    return out


def log_tia(body: Body, offsets) -> np.ndarray:
    """Log TIA of QUANTITIES over the therapy, [region, patient]."""
    found = states(body.first, body.prior.names, offsets, np.array([body.first.end_min]))
    weights = np.stack([pool_weights(r, body.organs, frozenset()) for r in QUANTITIES])
    return np.log(weights @ tia_MBq_h(found, body.first)[:, 0])


@dataclass(frozen=True)
class Result:
    """Truth and draws: of parameters [parameter, draw, patient] and log doses per unit S [region, draw, patient]."""

    names: tuple[str, ...]
    draws: np.ndarray
    truth: np.ndarray
    dose_draws: np.ndarray
    dose_truth: np.ndarray
    pareto_k: np.ndarray
    corrected: np.ndarray

    def parameter_ranks(self, narrowing: float = 1.0) -> np.ndarray:
        """[parameter, patient]"""
        return np.stack([ranks(narrowed(d, narrowing), t) for d, t in zip(self.draws, self.truth, strict=True)])

    def dose_ranks(self, narrowing: float = 1.0) -> np.ndarray:
        """[region, patient]"""
        return np.stack(
            [ranks(narrowed(d, narrowing), t) for d, t in zip(self.dose_draws, self.dose_truth, strict=True)]
        )


def fitted(body: Body, true: Truth, seed: int = 1, prior=None, **words) -> Result:
    """Every patient calibrated; doses hold the error of the volume, with its sign."""
    belief = Belief.of(prior or body.prior)
    parts = list(
        calibrate_cohort(body.courses, true.template, true.log_observed, belief, QUANTITIES, seed=seed, **words)
    )
    join = lambda name: np.concatenate([getattr(p, name) for p in parts], axis=-1)
    draws = join("draws")
    part: CohortPart = parts[0]
    volume = lambda r, rows, names: rows[names.index(f"volume/{r}")] if f"volume/{r}" in names else 0.0
    dose = np.stack([t + volume(r, draws, part.names) for r, t in zip(QUANTITIES, join("log_tia"), strict=True)])
    dose_truth = np.stack(
        [t + volume(r, true.errors.T, true.error_names) for r, t in zip(QUANTITIES, true.log_tia, strict=True)]
    )
    p = len(body.prior.names)
    return Result(body.prior.names, draws[:p], true.offsets.T, dose, dose_truth, join("pareto_k"), join("corrected"))


@cache
def well_specified(patients: int, seed: int = 7) -> Result:
    """Patients drawn from the prior of the fit, three SPECT scans of kidneys, liver, parotid and a tumour."""
    body = body_of(synthetic.empty_study())
    return fitted(body, truth(body, template(), patients, np.random.default_rng(seed)))


def with_pet(study, activity_MBq: float = 250.0, amount_nmol: float = 10.0, nuclide: str = "68Ga"):
    """The study with a PET two weeks before therapy."""
    from dataclasses import replace

    pet = Administration(0, -336.0, activity_MBq, amount_nmol, 0.0, "PSMA-11", nuclide)
    return replace(study, administrations=(pet, *study.administrations))
