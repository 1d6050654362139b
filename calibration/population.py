"""Population parameters of the PBPK from a cohort: typical values and spreads of the moved parameters, and their doubt.

A non-linear mixed-effects model on three levels (`population_members`): patients about a typical value, lesions about
their patient, cycles about the one before. The levels maximise the likelihood of all patients' scans, integrated over
each one's parameters by importance-weighted draws (`population_likelihood`), times a hyper-prior from the ligand's
table (`population_groups`). Each round makes new draws about every patient's mode and takes one Newton step; to climb
further on old draws would fit their noise.

Errors of a patient's own regions (recovery, volume) are integrated out with his parameters, so that they do not pass
for spread. A camera's calibration factor is common to all patients: no number of them averages it away, and it is
carried into the covariance of the typical values.

References:
    Bauer RJ, Guzy S. Monte Carlo parametric expectation maximization method for population pharmacokinetic data, 2004.
    Lavielle M. Mixed effects models for the population approach, 2014: the levels and their observed information.
    Both recalled, not read anew.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from calibration.population_belief import Population, tabled
from calibration.population_data import Batch, Data, Patient, cohort
from calibration.population_draws import drawn
from calibration.population_groups import Table
from calibration.population_likelihood import Likelihood
from calibration.population_members import DRIFTS, ERRORS, Levels, lesion_logits
from dose.errors import InputError, describe
from dose.provenance import numbers_of
from pbpk.check import require_double
from pbpk.parameters import ligand

__all__ = ["Patient", "Population", "estimate", "tabled"]

PROPOSALS = 400
"""Draws of each patient: with 150 the weights' own bias (one part in the effective draws, the same for every patient)
pulled the spreads that 40 patients' scans say little of, and the rounds did not come to rest."""
ROUNDS = 12
REACH = 0.6
"""Largest move of a level (log units) in one round."""
SLACK = 2.0
"""Loss of log posterior that a step may seem to cost: it is known from draws to about this much."""
HALVINGS = 6
"""Times a step is halved before it is taken as it is."""
AT_REST = 0.1
"""Step of every level, in its own standard errors, at which the estimate has converged."""
FEWEST_EFFECTIVE = 20.0
"""Effective draws of a patient below which his part of the likelihood is called rough."""
LOG = logging.getLogger(__name__)


def estimate(
    patients: Sequence[Patient],
    ligand_name: str,
    *,
    proposals: int = PROPOSALS,
    rounds: int = ROUNDS,
    errors: bool = False,
    seed: int = 0,
) -> Population:
    """The population that a cohort speaks for.

    Patients may differ in everything but the ligand; those of one design are solved together. Where some have several
    therapy cycles, the drift between cycles is estimated too. `errors` also estimates a factor on each proportional
    error of `noise.csv`, by modality and for organs and tumours. Nothing is raised where the estimate does not
    converge: `Population.converged` and `Population.notes` say so.

    Raises:
        InputError: no patient, or double precision is off.
        CalibrationError: a patient whose scans the model cannot show at all.
    """
    require_double()
    if not patients:
        raise InputError(describe("cohort", "no patients", "at least one, better ten", "hand over their studies"))
    table = Table.of([p.prior for p in patients], ligand(ligand_name).name)
    levels = Levels.of(table, errors)
    data, batches = cohort(patients, table, levels)
    hyper = levels.information(table)
    if not data:
        likelihood = Likelihood(levels, [], [], hyper)
        return _population(table, likelihood, np.zeros(levels.size), patients, 0, True)
    phi, likelihood, used, converged = climbed(data, batches, levels, hyper, proposals, rounds, seed)
    return _population(table, likelihood, phi, patients, used, converged)


def climbed(data: list[Data], batches: list[Batch], levels: Levels, hyper, proposals: int, rounds: int, seed: int):
    """Levels [level] at their maximum, the likelihood with draws made there, rounds used, and whether they came to
    rest."""
    phi, begin = np.zeros(levels.size), [np.zeros(len(d.member.base)) for d in data]
    likelihood, step, used = Likelihood(levels, data, [], hyper), np.full(levels.size, np.inf), 0
    for used in range(1, rounds + 1):
        new = drawn(data, batches, levels, phi, begin, proposals, seed)
        likelihood, begin = Likelihood(levels, data, new.draws, hyper), new.modes
        step, se = _step(likelihood, phi)
        LOG.info("round %d: step %.3f, log posterior %.3f", used, np.max(np.abs(step)), likelihood.value(phi)[0])
        if np.all(np.abs(step) <= AT_REST * se):
            return phi, likelihood, used, True
        phi = _stepped(likelihood, phi, step) if used < rounds else phi
    return phi, likelihood, used, False


def _stepped(likelihood: Likelihood, phi: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The levels after as much of a step as does not lower the log posterior: all of it, half, a quarter, and so on."""
    step, before = step * min(1.0, REACH / np.max(np.abs(step))), likelihood.value(phi)[0]
    for _ in range(HALVINGS):
        if likelihood.value(phi + step)[0] > before - SLACK:
            break
        step = 0.5 * step
    return phi + step


def _step(likelihood: Likelihood, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Newton's step towards the maximum with the draws of this round, and the standard errors, each [level]."""
    covariance = level_covariance(likelihood, phi)
    return covariance @ likelihood.value(phi)[1], np.sqrt(np.diag(covariance))


def level_covariance(likelihood: Likelihood, phi: np.ndarray) -> np.ndarray:
    """Inverse of the observed information, [level, level].

    The data's own part is held at or above zero in every direction: far from the maximum the curvature may have the
    wrong sign, and nowhere do data take away what the hyper-prior says.
    """
    root = np.linalg.cholesky(likelihood.hyper)
    inner = np.linalg.solve(root, np.linalg.solve(root, likelihood.information(phi)).T)
    values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
    half = np.linalg.solve(root.T, vectors) / np.sqrt(np.maximum(values, 1.0))
    return half @ half.T


def _population(table: Table, likelihood: Likelihood, phi, patients, used: int, converged: bool) -> Population:
    """The levels that the patients informed, with their standard errors, under the names of a `Population`."""
    levels, size = likelihood.levels, len(table.groups)
    covariance, touched = level_covariance(likelihood, phi), levels.split(likelihood.touched())
    means = covariance[:size, :size] + _camera(likelihood, phi, covariance)[:size, :size]
    _, scale, share, factors = levels.split(phi)
    _, scale_se, share_se, _ = levels.split(np.sqrt(np.diag(covariance)))
    seen = np.flatnonzero(touched[0])
    logits = {g: v for p in patients for g, v in lesion_logits(table, p.prior).items()}
    pairs = {levels.lesions.index(g): v for g, v in logits.items() if touched[2][levels.lesions.index(g)]}
    drifts = [(n, size + k) for k, n in enumerate(DRIFTS) if touched[1][size + k]]
    return Population(
        ligand=table.ligand,
        tables=numbers_of("pbpk", "ligands.csv"),
        patients=len(likelihood.data),
        groups=tuple(levels.groups[k] for k in seen),
        shift_log=phi[seen],
        shift_covariance=means[np.ix_(seen, seen)],
        spread_log=(table.spread_log * np.exp(scale[:size]))[seen],
        spread_se=scale_se[seen],
        lesions=tuple(levels.lesions[k] for k in pairs),
        together=expit(np.array([v + share[k] for k, v in pairs.items()])),
        together_se=share_se[list(pairs)],
        drift={name: float(np.exp(scale[k])) for name, k in drifts},
        drift_se={name: float(scale_se[k]) for name, k in drifts},
        errors={name: float(np.exp(f)) for name, f in zip(ERRORS, factors, strict=False)},
        rounds=used,
        converged=converged,
        notes=_notes(likelihood, phi, converged, len(patients)),
    )


def _camera(likelihood: Likelihood, phi: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """What the camera's errors add to the levels' covariance: phi follows them by the implicit function theorem."""
    errors = max((d.common.shape[1] for d in likelihood.data), default=0)
    slope = covariance @ likelihood.camera_slope(phi, errors) if errors else np.zeros((len(phi), 1))
    return slope @ slope.T


def _notes(likelihood: Likelihood, phi: np.ndarray, converged: bool, patients: int) -> tuple[str, ...]:
    notes = [] if converged else ["the levels were still moving when the rounds ended: raise rounds or proposals"]
    rough = int(np.sum(likelihood.effective(phi) < FEWEST_EFFECTIVE))
    if rough:
        notes.append(f"{rough} of {patients} patients have fewer than {FEWEST_EFFECTIVE:.0f} effective draws")
    unlike = np.flatnonzero(likelihood.strangeness(phi) > 1)
    said = "is unlike all others: check units, times and volumes"
    notes += [f"patient {likelihood.data[k].position + 1} (in the order given) {said}" for k in unlike]
    if len(likelihood.data) < patients:
        notes.append(f"{patients - len(likelihood.data)} of {patients} patients had nothing to fit and were left out")
    return tuple(notes)
