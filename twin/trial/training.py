"""What an arm's estimator knows before a trial: virtual patients of another seed, given the arm's own activity.

From them come the weights of the scans, the spread of doses, and how doses change from cycle to cycle: at random, and
as tumours shrink and leave more ligand to the organs.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from twin.policies.belief import DosePrior
from twin.trial.counted import counted
from twin.trial.design import Regimen, TrialDesign
from twin.trial.estimators import AbstractEstimator, Learned, Linear, scan_activity, scan_rest
from twin.trial.laplace import Laplace
from twin.trial.lesion_doses import lesion_factors
from twin.trial.people import EMPTY_ML, Group, group
from twin.trial.physics import Source, truth_of
from twin.trial.reading import MOST_CYCLES, drift_of
from twin.trial.scan_noise import loads, own_sd, with_additive
from twin.trial.unfolding import Biology, Scene, led_to

TRAINING_SEED, TRAINING_BLOCKS = 2**31 - 1, 6
"""No trial may have this seed; 288 patients know a correlation to 0.06."""


class Examples(NamedTuple):
    """Of the training patients who may enter: logs of dose per MBq in each cycle [patient, cycle, region], of activity
    per MBq and g at the scans of the first cycle as they show it, and the sd by counting of the measurement model
    [patient, region, scan], what the BED adds over dose squared, weighted dose over dose [patient, region], median
    activity per MBq [region, scan], and whether the region is there."""

    log_dose: np.ndarray
    log_seen: np.ndarray
    counting_sd: np.ndarray
    log_curvature: np.ndarray
    ratio: np.ndarray
    activity: np.ndarray
    there: np.ndarray
    regions: tuple[str, ...]
    tumours: np.ndarray


def scene_of(people: Group, source: Source) -> Scene:
    """A block under one source."""
    truth = truth_of(people, source)
    factors = lesion_factors(people, truth, source.tracer)
    return Scene(people, truth, drift_of(people, truth.regions), Biology.of(people), factors)


def estimator_of(design: TrialDesign, arm: Regimen, source: Source) -> AbstractEstimator:
    """The estimator that an arm names."""
    known = learned(_of_others(design), arm, source)
    return Laplace(arm, known) if arm.estimator == "laplace" else Linear(arm, known, exact=arm.estimator == "exact")


def _of_others(design: TrialDesign) -> TrialDesign:
    """The design with the training patients."""
    cohort = design.cohort.model_copy(update={"file": None})
    return design.model_copy(update={"seed": TRAINING_SEED, "cohort": cohort})


@cache
def _scenes(design: TrialDesign, source: Source) -> tuple[Scene, ...]:
    return tuple(scene_of(group(design, k), source) for k in range(TRAINING_BLOCKS))


@cache
def learned(design: TrialDesign, arm: Regimen, source: Source) -> Learned:
    """Weights, spread and trend for an arm, from the training patients of `design`."""
    parts = [_examples(scene, arm) for scene in _scenes(design, source)]
    of = lambda name: np.concatenate([getattr(p, name) for p in parts])
    arrays = {
        name: of(name)
        for name in ("log_dose", "log_seen", "counting_sd", "log_curvature", "ratio", "activity", "there")
    }
    every = parts[0]._replace(**arrays)
    rows = [_of_region(every, k, arm) for k in range(len(every.regions))]
    weight, mean_seen, mean_dose, lasting, fresh, own = (np.stack(x) for x in zip(*rows, strict=True))
    shared = np.stack([loads(r, per_mass=True) for r in every.regions])
    prior, trend = _prior(every)
    return Learned(weight, mean_seen, mean_dose, lasting, fresh, shared, own, prior, trend)


def _examples(scene: Scene, arm: Regimen) -> Examples:
    truth, people = scene.truth, scene.group
    given = np.full((people.count, MOST_CYCLES), arm.activity_MBq)
    each = led_to(scene, arm, given)
    good = scene.eligible & (truth.status == 0)
    there = np.ones((people.count, len(truth.regions)), bool)
    there[:, truth.tumours] = people.class_mL > EMPTY_ML
    activity = scan_activity(truth, arm)
    scan = counted(arm, truth, people, activity * arm.activity_MBq, scan_rest(truth, arm) * arm.activity_MBq)
    seen = np.log(activity / truth.mass_g[..., None]) + scan.shift
    first = each[0]
    return Examples(
        np.log(np.stack([per.dose for per in each], axis=1))[good], seen[good],
        np.broadcast_to(scan.sd, seen.shape)[good],
        np.log(first.quadratic / first.dose**2)[good], (first.weighted / first.dose)[good], activity[good],
        there[good], truth.regions, truth.tumours,
    )  # fmt: skip


def _prior(every: Examples) -> tuple[DosePrior, np.ndarray]:
    """What is believed of each region by itself, and the trend of its mean."""
    first, step = every.log_dose[:, 0], np.diff(every.log_dose, axis=1)
    mean = lambda x: np.mean(x, axis=0)
    trend = np.concatenate([np.zeros((1, step.shape[2])), np.cumsum(mean(step), axis=0)])
    prior = DosePrior(
        every.regions, mean(first), np.diag(np.var(first, axis=0)), step.std(axis=(0, 1)),
        np.exp(mean(np.log(every.ratio))), mean(every.log_curvature), every.log_curvature.std(axis=0),
    )  # fmt: skip
    return prior, trend


def _of_region(every: Examples, k: int, arm: Regimen):
    """Weights and mean [scan] of the log activities, mean log dose, sds of the lasting and the fresh error, and of the
    scans' own errors [scan]. All classes of tumours learn from each other's lesions.

    Log activities are a + b log dose + rest over the patients; with C the covariance of the rest and of the scans'
    errors the weights are C^-1 b / (b' C^-1 b), which leaves the estimate without bias (generalised least squares).
    """
    rows = every.tumours if k in every.tumours else np.array([k])
    pool = lambda x: np.concatenate([x[every.there[:, r], r] for r in rows])
    size, seen = pool(every.log_dose[:, 0]), pool(every.log_seen)
    region = every.regions[k]
    usual_MBq = np.median(pool(every.activity), axis=0) * arm.activity_MBq
    counting = np.sqrt(np.mean(pool(every.counting_sd) ** 2, axis=0))
    own = np.hypot(with_additive(own_sd(region, arm.imaging), usual_MBq, arm.imaging), counting)
    shared = float(np.sum(loads(region, per_mass=True) ** 2))
    away, dose = seen - seen.mean(axis=0), size - size.mean()
    slope = away.T @ dose / max(float(dose @ dose), 1e-12)
    rest = away - np.outer(dose, slope)
    between = rest.T @ rest / len(rest)
    solved = np.linalg.solve(between + shared + np.diag(own**2), slope)
    weight = solved / (slope @ solved)
    lasting = weight @ between @ weight + shared * weight.sum() ** 2
    fresh = (weight.sum() - 1) ** 2 * _step_sd(every, k) ** 2 + np.sum((weight * own) ** 2)
    return weight, seen.mean(axis=0), size.mean(), np.sqrt(lasting), np.sqrt(fresh), own_sd(region, arm.imaging)


def _step_sd(every: Examples, k: int) -> float:
    return float(np.diff(every.log_dose[..., k], axis=1).std())
