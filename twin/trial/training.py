"""What the linear estimator knows before a trial: virtual patients of another seed, given the label's schedule.

From them come the weights of the scans, the spread of doses, and how doses change from cycle to cycle: at random, and
as tumours shrink and leave more ligand to the organs.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from twin.policies.belief import DosePrior
from twin.trial.design import Imaging, Regimen, TrialDesign
from twin.trial.estimators import AbstractEstimator, Learned, Linear, scan_errors
from twin.trial.laplace import Laplace
from twin.trial.lesion_doses import lesion_factors
from twin.trial.people import Group, group
from twin.trial.physics import Source, truth_of
from twin.trial.reading import MOST_CYCLES, drift_of
from twin.trial.unfolding import Biology, Scene, led_to

TRAINING_SEED, TRAINING_BLOCKS = 2**31 - 1, 6
"""No trial may have this seed; 288 patients know a correlation to 0.06."""


def scene_of(people: Group, source: Source) -> Scene:
    """A block under one source."""
    truth = truth_of(people, source)
    factors = lesion_factors(people, truth, source.tracer)
    return Scene(people, truth, drift_of(people, truth.regions), Biology.of(people), factors)


def estimator_of(design: TrialDesign, arm: Regimen, source: Source) -> AbstractEstimator:
    """The estimator that an arm names."""
    if arm.estimator == "laplace":
        return Laplace(arm, learned(design, source, arm.imaging))
    return Linear(arm, learned(design, source, arm.imaging), exact=arm.estimator == "exact")


@cache
def learned(design: TrialDesign, source: Source, imaging: Imaging) -> Learned:
    """Weights, spread and trend from virtual patients of another seed, with the design's population."""
    scenes, logs = trained(_of_others(design), source)
    truths = [scene.truth for scene in scenes]
    each = [scene.per_MBq(0, np.zeros_like(scene.group.class_mL)) for scene in scenes]
    dose, weighted, quadratic, _ = (np.concatenate(x) for x in zip(*each, strict=True))
    at = [source.times_h.index(t) for t in imaging.times_h]
    seen = np.log(np.maximum(np.concatenate([t.activity[..., at] for t in truths]), 1e-12))
    step = np.diff(logs, axis=1)
    trend = np.concatenate([np.zeros((1, step.shape[2])), np.cumsum(step.mean(axis=0), axis=0)])
    prior = _prior(truths[0].regions, np.log(dose), weighted / dose, np.log(quadratic), step.std(axis=(0, 1)))
    return _regression(prior, np.log(dose), seen, imaging, trend)


@cache
def trained(design: TrialDesign, source: Source) -> tuple[tuple[Scene, ...], np.ndarray]:
    """The training patients, and their log doses per MBq [patient, cycle, region] when given the first activity of an
    arm of this source in every cycle."""
    arm = next(a for a in design.regimens if (a.tracer, a.amount_nmol) == (source.tracer, source.amount_nmol))
    scenes = tuple(scene_of(group(design, k), source) for k in range(TRAINING_BLOCKS))
    given = np.full((scenes[0].group.count, MOST_CYCLES), arm.activity_MBq)
    logs = [np.log(np.stack([per.dose for per in led_to(s, arm, given)], axis=1)) for s in scenes]
    return scenes, np.concatenate(logs)


def _of_others(design: TrialDesign) -> TrialDesign:
    """The design with the training patients."""
    cohort = design.cohort.model_copy(update={"file": None})
    return design.model_copy(update={"seed": TRAINING_SEED, "cohort": cohort})


def _prior(regions, log_dose, ratio, log_quadratic, step_sd: np.ndarray) -> DosePrior:
    curvature = log_quadratic - 2 * log_dose
    return DosePrior(
        regions, log_dose.mean(axis=0), np.cov(log_dose, rowvar=False), step_sd, np.exp(np.log(ratio).mean(axis=0)),
        curvature.mean(axis=0), curvature.std(axis=0),
    )  # fmt: skip


def _regression(prior: DosePrior, log_dose, seen, imaging: Imaging, trend: np.ndarray) -> Learned:
    names = enumerate(prior.regions)
    rows = [_of_region(r, log_dose[:, k], seen[:, k], prior.drift_sd[k], imaging) for k, r in names]
    weight, lasting, fresh, root, own = (np.stack(x) for x in zip(*rows, strict=True))
    means = seen.mean(axis=0), log_dose.mean(axis=0)
    return Learned(weight, *means, lasting, fresh, root, own, prior, trend)


def _of_region(region: str, log_dose: np.ndarray, seen: np.ndarray, drift: float, imaging: Imaging):
    """Weights [scan], sds of the lasting and the fresh error of the estimate, and of the scans' errors."""
    own, shared = scan_errors(region, np.exp(np.median(seen, axis=0)), imaging)
    away, size = seen - seen.mean(axis=0), log_dose - log_dose.mean()
    between = away.T @ away / len(away)
    spread = between + drift**2 + np.diag(own**2) + shared
    weight = np.linalg.solve(spread, away.T @ size / len(away) + drift**2)
    lasting = np.var(size - away @ weight) + weight @ shared @ weight
    fresh = (weight.sum() - 1) ** 2 * drift**2 + np.sum((weight * own) ** 2)
    return weight, np.sqrt(lasting), np.sqrt(fresh), np.linalg.cholesky(shared + 1e-12 * np.eye(len(own))), own
