"""A cohort's patients as the estimate sees them: what was measured, its errors, and many patients of one design as one
solve."""

from __future__ import annotations

from dataclasses import dataclass

import equinox as eqx
import jax
import numpy as np

from calibration import lanes, noise
from calibration.belief import Belief
from calibration.cohort import stacked
from calibration.forward import Course, Experiment, experiment, modelled
from calibration.observations import FIELDS, Observations
from calibration.parameters import Prior
from calibration.population_groups import Table
from calibration.population_members import ERRORS, Levels, Member, member
from calibration.problem import problem
from dose.regions import is_tumour

COMMON = "calibration/"
"""Errors whose name begins so are the camera's: one value for the whole cohort. All others are each patient's own."""


@dataclass(frozen=True)
class Patient:
    """One patient of a cohort: courses (therapy first), observations, and the prior of his parameters."""

    courses: tuple[Course, ...]
    observations: Observations
    prior: Prior


@dataclass(frozen=True)
class Data:
    """Log activities [observation] of the patient at `position` in the cohort, and their errors.

    `stage` [observation] says which cycle's parameters each shows. `stated` and `model` [observation] are the parts of
    an observation's own log sd, `error_of` [observation] the kind of the latter; `shared` [observation, observation]
    the covariance of his other errors; `common` [observation, error] the loads of the camera's, times their sd.
    """

    position: int
    member: Member
    log_observed: np.ndarray
    stage: np.ndarray
    stated: np.ndarray
    model: np.ndarray
    error_of: np.ndarray
    shared: np.ndarray
    common: np.ndarray

    def variance(self, levels: Levels, phi: np.ndarray) -> np.ndarray:
        """Covariance [observation, observation] of the log activities."""
        return np.diag(self.stated**2 + self.proportional(levels, phi)) + self.shared

    def proportional(self, levels: Levels, phi: np.ndarray) -> np.ndarray:
        errors = levels.split(phi)[3]
        return self.model**2 * (np.exp(2 * errors)[self.error_of] if len(errors) else 1.0)


@dataclass(frozen=True)
class Batch:
    """Patients `which` of a cohort who had the same administrations, scans and organs: lanes of one experiment."""

    experiment: Experiment
    which: tuple[int, ...]
    stages: np.ndarray
    stage: np.ndarray

    def log_activity(self, states: np.ndarray) -> np.ndarray:
        """[observation, draw, patient] of states [state, draw, patient]."""
        _, draws, count = states.shape
        theta = np.einsum("cps,sdn->pcdn", self.stages, states).reshape(self.stages.shape[1], -1)
        seen = lanes.evaluate(self.experiment, theta, np.tile(np.arange(count), len(self.stages) * draws)).log_activity
        return self._of_stage(seen.reshape(len(seen), len(self.stages), draws, count))

    def jacobian(self, states: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log activities [observation, patient] at states [state, patient] and their derivatives [observation, state,
        patient]."""
        count = states.shape[1]
        theta = np.einsum("cps,sn->pcn", self.stages, states).reshape(self.stages.shape[1], -1)
        seen, slope = lanes.jacobian(self.experiment, theta, np.tile(np.arange(count), len(self.stages)))
        seen = self._of_stage(seen.reshape(len(seen), len(self.stages), count))
        slope = np.moveaxis(slope.reshape(len(slope), -1, len(self.stages), count), 2, 1)
        return seen, np.einsum("opn,ops->osn", self._of_stage(slope), self.stages[self.stage])

    def _of_stage(self, rows: np.ndarray) -> np.ndarray:
        return rows[np.arange(len(self.stage)), self.stage]


def cohort(patients, table: Table, levels: Levels) -> tuple[list[Data], list[Batch]]:
    """Every patient with a usable observation, and the batches that solve them; indices are into the list of data."""
    data, designs = [], {}
    for position, patient in enumerate(patients):
        usable = patient.observations.select(modelled(patient.observations, patient.courses[0].kinetics.organs))
        if not len(usable):
            continue
        known = Patient(patient.courses, _ordered(usable), patient.prior)
        designs.setdefault(_design(known), []).append((len(data), known))
        data.append(_data(position, known, table, levels))
    return data, [_batch(members, data) for members in designs.values()]


def _ordered(obs: Observations) -> Observations:
    order = sorted(range(len(obs)), key=lambda k: (obs.cycle[k], obs.region[k], obs.time_h[k], obs.modality[k]))
    columns = {name: tuple(getattr(obs, name)[k] for k in order) for name in FIELDS}
    return Observations(**columns, shared_sd=obs.shared_sd)


def _design(patient: Patient):
    """What patients must have in common to be lanes of one solve."""
    obs = patient.observations
    rows = tuple(zip(obs.region, obs.cycle, obs.time_h, obs.modality, strict=True))
    given = tuple(
        (
            c.nuclide.name,
            *(
                (a.cycle, a.time_h, a.amount_nmol, a.labelled_nmol, a.infusion_h, a.first_h, a.cold_nmol)
                for a in c.administrations
            ),
        )
        for c in patient.courses
    )
    return patient.prior.names, rows, given, tuple(jax.tree.structure(c.kinetics) for c in patient.courses)


def _data(position: int, patient: Patient, table: Table, levels: Levels) -> Data:
    obs, prior = patient.observations, patient.prior
    # a tumour that nobody outlined says next to nothing of tumours, and its share of draws would blur what others say
    prob = problem(Belief.of(prior), obs, patient.courses[0].kinetics.organs, sinks=())
    stage = np.array([max(c, 1) for c in obs.cycle])
    cycles = tuple(sorted(set(stage.tolist())))
    model = np.array([noise.relative_sd(m, r, t) for m, r, t in zip(obs.modality, obs.region, obs.time_h, strict=True)])
    sd = np.sqrt(np.diag(prob.error_covariance))
    common = np.array([name.startswith(COMMON) for name in prob.belief.errors], bool)
    own = prob.loads[:, ~common] * sd[~common]
    return Data(
        position=position,
        member=member(table, levels, prior, prob.fitted, cycles),
        log_observed=prob.log_observed[:, 0],
        stage=np.searchsorted(cycles, stage),
        stated=np.sqrt(np.maximum(prob.sd**2 - model**2, 0.0)),
        model=model,
        error_of=np.array([_error_of(m, r) for m, r in zip(obs.modality, obs.region, strict=True)]),
        shared=own @ own.T,
        common=prob.loads[:, common] * sd[common],
    )


def _error_of(modality: str, region: str) -> int:
    return ERRORS.index(f"{'PET' if modality == 'PET' else 'SPECT'}/{'tumours' if is_tumour(region) else 'organs'}")


def _batch(members: list[tuple[int, Patient]], data: list[Data]) -> Batch:
    """One experiment for patients of one design; its steps suit draws of the prior for all of them."""
    which = tuple(k for k, _ in members)
    first, mine = members[0][1], data[which[0]].member
    fitted = [first.prior.names.index(name) for name in mine.names]
    cycled = stacked([members[k % len(members)][1].courses for k in range(lanes.CHUNK)])
    wide = first.prior.covariance[np.ix_(fitted, fitted)]
    rng = np.random.default_rng(0)
    sample = rng.multivariate_normal(np.zeros(len(fitted)), wide, size=lanes.CHUNK, method="eigh").T
    exp = experiment(cycled, first.observations, mine.names, sample)
    exp = eqx.tree_at(lambda e: e.kinetics, exp, lanes.patients(exp, np.arange(len(members))))
    return Batch(exp, which, mine.stages, data[which[0]].stage)
