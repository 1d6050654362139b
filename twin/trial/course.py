"""One arm on one block: cycle after cycle what is given, what it does, what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from twin.constraints import limit
from twin.policies.knowing import ChanceTwin
from twin.policies.measure import Measured
from twin.policies.policy import AbstractPolicy, Fixed, LastCycle, State, StopRule
from twin.trial.design import Regimen
from twin.trial.estimators import AbstractEstimator, Estimate
from twin.trial.foresight import foreseen
from twin.trial.people import DROPOUT, Group
from twin.trial.reading import MOST_CYCLES
from twin.trial.unfolding import Scene, class_log_size, grown, of_cycle

ENDED = ("completed", "limit", "dropout", "died")


@dataclass(frozen=True)
class Course:
    """What an arm did to a block: `activity_MBq` [patient, cycle]; dose, weighted dose and BED [patient, cycle,
    region]; `lesion_bed_Gy` [patient, lesion, cycle]; estimates of the log dose and their sd [patient, cycle, region];
    `tumour_mL` [patient, cycle] at each start; `ended` [patient] indices of ENDED."""

    scene: Scene
    arm: Regimen
    activity_MBq: np.ndarray
    dose_Gy: np.ndarray
    weighted_Gy: np.ndarray
    bed_Gy: np.ndarray
    lesion_bed_Gy: np.ndarray
    log_estimate: np.ndarray
    log_sd: np.ndarray
    tumour_mL: np.ndarray
    ended: np.ndarray


def policy_of(arm: Regimen, scene: Scene) -> AbstractPolicy:
    """The policy that an arm names."""
    each, cap, cycles, kept = arm.activity_MBq, arm.cap_MBq, arm.cycles, limit(arm.limit)
    match arm.policy:
        case "fixed":
            return Fixed(each, cycles)
        case "stop_rule":
            return StopRule(kept, each, cycles)
        case "last_cycle":
            return LastCycle(kept, each, cycles, cap)
        case "chance_twin":
            return ChanceTwin(kept, cycles, cap, arm.tail)
        case _:
            return foreseen(scene, arm)


def run_arm(scene: Scene, arm: Regimen, estimator: AbstractEstimator) -> Course:
    """Simulate one arm."""
    group, policy = scene.group, policy_of(arm, scene)
    leaves = _dropout_cycle(group)
    lethal = lethal_mL(group)
    first_mL = group.lesions.volume_mL
    log_lesion = np.zeros_like(first_mL)
    given, rows, estimates = np.zeros((group.count, 0)), [], []
    state = estimator.start(scene)
    ended, going = np.zeros(group.count, int), scene.eligible & (scene.truth.status == 0)
    for c in range(arm.cycles):
        tumour_mL = np.sum(first_mL * np.exp(log_lesion), axis=1)
        chosen = policy.activity_MBq(State(c, scene.truth.regions, given, _measured(rows, estimates), state.belief))
        for why, stops in ((2, leaves <= c), (3, tumour_mL >= lethal), (1, (chosen <= 0) & (not policy.pauses))):
            now = going & stops
            ended, going = np.where(now, why, ended), going & ~now
        activity = np.where(going, chosen, 0.0)
        given = np.column_stack([given, activity])
        sizes = class_log_size(group, log_lesion)
        per = scene.per_MBq(c, sizes)
        row = of_cycle(scene, per, activity)
        state, estimate = estimator.after(state, c, activity, per, sizes)
        rows.append((*row, tumour_mL))
        estimates.append(estimate)
        log_lesion = grown(scene, arm, log_lesion, row[3])
    dose, weighted, bed, lesion, mL = (np.stack(x, axis=-1) for x in zip(*rows, strict=True))
    cube = lambda x: np.moveaxis(x, -1, 1)
    sd = np.stack([e.log_sd for e in estimates], axis=1)
    log = np.stack([e.log_dose for e in estimates], axis=1)
    return Course(scene, arm, given, cube(dose), cube(weighted), cube(bed), lesion, log, sd, mL, ended)


def _measured(rows, estimates: list[Estimate]) -> Measured:
    """What the policy takes the doses given so far for: true ones, wrong by the error of the estimate."""
    if not rows:
        none = np.zeros((0, 0, 0))
        return Measured(none, none, none)
    factor = np.stack([e.factor for e in estimates], axis=1)
    dose, weighted, bed = (np.stack([row[k] for row in rows], axis=1) for k in range(3))
    return Measured(dose * factor, weighted * factor, weighted * factor + (bed - weighted) * factor**2)


def lethal_mL(group: Group) -> np.ndarray:
    """Tumour volume at which a patient dies, [patient]: the design's, or twice that at the start if it is more."""
    return np.maximum(group.design.lethal_mL, 2 * group.lesions.volume_mL.sum(axis=1))


def _dropout_cycle(group: Group) -> np.ndarray:
    """Number of the cycle before which each patient leaves (from 1; MOST_CYCLES: none), [patient]."""
    leaves = ndtr(group.normals(DROPOUT, MOST_CYCLES)) < group.design.dropout_per_cycle
    leaves[:, 0] = False
    return np.where(leaves.any(axis=1), np.argmax(leaves, axis=1), MOST_CYCLES)
