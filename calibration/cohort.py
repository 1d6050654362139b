"""Calibration of many patients at once, who had the same administrations and scans: virtual trials, coverage, cohorts.

The same steps as for one patient (`fit`): optimum, Laplace, importance weights, shared errors that are not learnt. All
patients of a batch are lanes of the same solves; memory is bounded by the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import equinox as eqx
import jax
import numpy as np

from calibration import lanes
from calibration.belief import Belief, normal_draws
from calibration.forward import Course, experiment, pool_weights
from calibration.importance import weighted
from calibration.noise import Errors
from calibration.observations import Observations
from calibration.optimum import Optimum, of_lanes, optimum
from calibration.problem import Problem, problem

BATCH = 50
"""Patients calibrated together: with 1000 proposals each 50 000 lanes, some 250 MB."""
PROPOSALS = 1000


@dataclass(frozen=True)
class CohortPart:
    """Patients first, first + 1, ...: draws of everything and of the regions' time integrals.

    `draws` [name, draw, patient] of log offsets and shared errors, named by `belief_names`; `log_tia`
    [region, draw, patient] of MBq h over all courses of therapy; `pareto_k`, `converged` [patient]. Where importance
    weights cannot be trusted a patient has the Laplace approximation's draws (`corrected` is False).
    """

    first: int
    names: tuple[str, ...]
    draws: np.ndarray
    log_tia: np.ndarray
    pareto_k: np.ndarray
    converged: np.ndarray
    corrected: np.ndarray


def calibrate_cohort(
    courses: tuple[Course, ...],
    template: Observations,
    log_observed,
    belief: Belief,
    regions: tuple[str, ...],
    *,
    draws: int = 200,
    proposals: int = PROPOSALS,
    batch: int = BATCH,
    seed: int = 0,
    errors: Errors | None = None,
) -> Iterator[CohortPart]:
    """Posterior draws of every patient, batch by batch.

    Args:
        courses: administrations common to all; their kinetics hold one patient, or one column for each.
        template: one patient's observations, whose regions, times and relative sds all patients share.
        log_observed: log activities (MBq) of the patients, [observation, patient].
        belief: what is known of every patient beforehand.
        regions: whose time integrals of the first course (the therapy) are wanted.
        errors: of the observations, if not those of noise.csv.
    """
    log_observed = np.asarray(log_observed, float)
    prob = problem(belief, template, courses[0].kinetics.organs, log_observed=log_observed, errors=errors)
    sample = np.random.default_rng(seed).multivariate_normal(prob.mean, prob.prior, size=lanes.CHUNK, method="eigh").T
    exp = experiment(courses, template, prob.names, sample)
    full = experiment(courses, template, belief.names[: belief.parameters], _all(belief, seed), to_the_end=True)
    weights = np.stack([pool_weights(r, courses[0].kinetics.organs, frozenset()) for r in regions])
    for first in range(0, log_observed.shape[1], batch):
        which = np.arange(first, min(first + batch, log_observed.shape[1]))
        mine = of_lanes(prob, which)
        part = _of(exp, which)
        rng = np.random.default_rng([seed, first])
        yield _part(part, _of(full, which), mine, weights, draws, proposals, first, rng)


def _all(belief: Belief, seed: int) -> np.ndarray:
    p = belief.parameters
    rng = np.random.default_rng(seed)
    return rng.multivariate_normal(belief.mean[:p], belief.covariance[:p, :p], size=lanes.CHUNK, method="eigh").T


def _of(exp, which):
    """The experiment of some of its patients; one patient's serves all."""
    several = exp.kinetics.patients > exp.courses
    return eqx.tree_at(lambda e: e.kinetics, exp, lanes.patients(exp, which)) if several else exp


def _part(exp, full, prob: Problem, weights, draws: int, proposals: int, first: int, rng) -> CohortPart:
    count = prob.log_observed.shape[1]
    found = optimum(exp, prob, np.zeros((len(prob.fitted), count)))
    drawn = weighted(exp, prob, found, rng, proposals)
    usable = drawn.trusted & found.converged
    known = np.concatenate([prob.fitted, prob.errors])
    out = np.empty((len(prob.belief.names), draws, count))
    for k in range(count):
        theta, spread = _sample(prob, found, drawn, k, draws, rng, bool(usable[k]))
        errors = normal_draws(rng, prob.error_covariance, draws)
        moved = theta + errors @ prob.following(found.jacobian[..., k], spread).T
        out[..., k] = prob.belief.filled(known, np.concatenate([moved, errors], axis=1), rng).T
    parameters = prob.belief.parameters
    flat = out[:parameters].reshape(parameters, -1)
    seen = lanes.evaluate(full, flat, np.tile(np.arange(count), draws))
    tia = np.log(weights @ seen.tia_MBq_h[:, 0]).reshape(len(weights), draws, count)
    return CohortPart(first, prob.belief.names, out, tia, drawn.pareto_k, found.converged, usable)


def _sample(prob: Problem, found: Optimum, drawn, k: int, draws: int, rng, corrected: bool):
    """Draws [draw, parameter] of a patient's fitted offsets, and their covariance, errors at zero."""
    lower = prob.cholesky
    if corrected:
        chosen = drawn.resampled(k, draws, rng)
        spread = lower @ drawn.moments(k)[1] @ lower.T
        return prob.offsets(drawn.z[:, chosen, k]).T, spread
    spread = lower @ np.linalg.inv(found.information[k]) @ lower.T
    return rng.multivariate_normal(prob.offsets(found.z[:, [k]])[:, 0], spread, size=draws, method="eigh"), spread


def stacked(courses: list[tuple[Course, ...]]) -> tuple[Course, ...]:
    """Courses of several patients, given alike, as courses whose kinetics have a column for each patient."""
    together = []
    for same in zip(*courses, strict=True):
        parts = [eqx.partition(c.kinetics, eqx.is_array) for c in same]
        joined = jax.tree.map(lambda *xs: np.concatenate(xs, axis=-1), *[arrays for arrays, _ in parts])
        together.append(replace(same[0], kinetics=eqx.combine(joined, parts[0][1])))
    return tuple(together)
