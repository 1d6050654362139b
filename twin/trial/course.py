"""One arm on one block: cycle after cycle what is given, what it does, what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from pbpk.volume import published
from twin.constraints import limit
from twin.policies.amounts import best_split
from twin.policies.cohort import Cohort
from twin.policies.knowing import ChanceTwin, Oracle
from twin.policies.measure import Measured
from twin.policies.policy import AbstractPolicy, Fixed, LastCycle, State, StopRule
from twin.trial.design import Regimen
from twin.trial.estimators import AbstractEstimator, Estimate
from twin.trial.people import DROPOUT, RESPONSE, Group
from twin.trial.physics import Truth
from twin.trial.reading import MOST_CYCLES, PerMBq, at_size, moved

LN2 = np.log(2.0)
ROUNDS = 6
"""Of an oracle's foresight; kidneys then keep their limit within a few per cent (test)."""
ENDED = ("completed", "limit", "dropout", "died")


@dataclass(frozen=True)
class Biology:
    """Kill per BED (1/Gy) and doubling time (h) of each patient's tumours, [patient]."""

    alpha_per_Gy: np.ndarray
    doubling_time_h: np.ndarray

    @classmethod
    def of(cls, group: Group) -> Biology:
        """Drawn evenly over the ranges of pbpk/data/outcomes.csv."""
        share = ndtr(group.normals(RESPONSE, 2))
        low, high = (np.array([published(n, end) for n in ("alpha", "doubling_time")]) for end in ("low", "high"))
        drawn = low + share * (high - low)
        return cls(drawn[:, 0], 24 * drawn[:, 1])


@dataclass(frozen=True)
class Scene:
    """What does not depend on the policy: the block under one source, its drift [patient, cycle, region], biology and
    each lesion's dose over its class's, [patient, lesion]."""

    group: Group
    truth: Truth
    drift: np.ndarray
    biology: Biology
    factors: np.ndarray

    @cached_property
    def eligible(self) -> np.ndarray:
        """Patients that may enter and could be computed, [patient]."""
        rule, people, lesions = self.group.design.eligibility, self.group.people, self.group.lesions
        mL = lesions.volume_mL.sum(axis=1)
        return (
            (people.gfr_mL_min >= rule.least_gfr_mL_min)
            & (people.age_y >= rule.least_age_y)
            & (people.age_y <= rule.most_age_y)
            & (mL >= rule.least_tumour_mL)
            & (mL <= rule.most_tumour_mL)
            & (lesions.count <= rule.most_lesions)
        )

    def per_MBq(self, cycle: int, log_size: np.ndarray) -> PerMBq:
        """Truth of one cycle, drift and trend of uptake included."""
        trend = np.zeros(len(self.truth.regions))
        trend[self.truth.tumours] = self.group.design.cohort.tumour_trend_log_per_cycle * cycle
        found = at_size(self.truth, log_size, self.group.class_mL)
        return moved(found, self.drift[:, cycle] + trend)


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
            return Oracle(foreseen(scene, arm), kept, cycles, cap)


def foreseen(scene: Scene, arm: Regimen) -> Cohort:
    """The truth that an oracle sees. What it gives changes the tumours, and these what it may give: in rounds, each
    with the sizes that the activities of the one before lead to."""
    group, truth, kept = scene.group, scene.truth, limit(arm.limit)
    sizes = np.zeros((arm.cycles, *group.class_mL.shape))
    none = np.zeros(len(truth.regions))
    for _ in range(ROUNDS):
        each = [scene.per_MBq(c, sizes[c]) for c in range(arm.cycles)]
        dose, weighted, quadratic = (np.stack(x, axis=1) for x in zip(*each, strict=True))
        mass = truth.mass_g.mean(axis=0)
        found = Cohort("", truth.regions, mass, none, group.people.number, dose, weighted, quadratic)
        linear, square = found.terms(kept)
        given = best_split(found.tumour_dose, linear, square, kept.value_Gy, arm.cap_MBq)
        sizes = _sizes(scene, arm, each, given)
    return found


def _sizes(scene: Scene, arm: Regimen, each: list[PerMBq], given: np.ndarray) -> np.ndarray:
    """Log sizes of the classes at the start of each cycle, [cycle, patient, class]."""
    log_lesion, out = np.zeros_like(scene.group.lesions.volume_mL), []
    for c, per in enumerate(each):
        out.append(class_log_size(scene.group, log_lesion))
        log_lesion = _grown(scene, arm, log_lesion, _of_cycle(scene, per, given[:, c])[3])
    return np.stack(out)


def _grown(scene: Scene, arm: Regimen, log_lesion: np.ndarray, lesion_bed_Gy: np.ndarray) -> np.ndarray:
    """Log sizes of lesions [patient, lesion] at the next cycle; unchanged where the design has no response."""
    if not scene.group.design.cohort.response:
        return log_lesion
    grown = LN2 * 24 * arm.interval_days / scene.biology.doubling_time_h
    return log_lesion + grown[:, None] - scene.biology.alpha_per_Gy[:, None] * lesion_bed_Gy


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
        per = scene.per_MBq(c, class_log_size(group, log_lesion))
        row = _of_cycle(scene, per, activity)
        state, estimate = estimator.after(state, c, activity, per)
        rows.append((*row, tumour_mL))
        estimates.append(estimate)
        log_lesion = _grown(scene, arm, log_lesion, row[3])
    dose, weighted, bed, lesion, mL = (np.stack(x, axis=-1) for x in zip(*rows, strict=True))
    cube = lambda x: np.moveaxis(x, -1, 1)
    sd = np.stack([e.log_sd for e in estimates], axis=1)
    log = np.stack([e.log_dose for e in estimates], axis=1)
    return Course(scene, arm, given, cube(dose), cube(weighted), cube(bed), lesion, log, sd, mL, ended)


def _of_cycle(scene: Scene, per: PerMBq, activity: np.ndarray):
    """Dose, weighted dose, BED [patient, region], and BED of each lesion [patient, lesion]."""
    a = activity[:, None]
    dose, weighted, quadratic = per.dose * a, per.weighted * a, per.quadratic * a**2
    classes = np.maximum(scene.group.classes, 0)
    of = lambda x: np.take_along_axis(x[:, scene.truth.tumours], classes, axis=1)
    lesion = of(weighted) * scene.factors + of(quadratic) * scene.factors**2
    return dose, weighted, weighted + quadratic, lesion


def _measured(rows, estimates: list[Estimate]) -> Measured:
    """What the policy takes the doses given so far for: true ones, wrong by the error of the estimate."""
    if not rows:
        none = np.zeros((0, 0, 0))
        return Measured(none, none, none)
    factor = np.stack([e.factor for e in estimates], axis=1)
    dose, weighted, bed = (np.stack([row[k] for row in rows], axis=1) for k in range(3))
    return Measured(dose * factor, weighted * factor, weighted * factor + (bed - weighted) * factor**2)


def class_log_size(group: Group, log_lesion: np.ndarray) -> np.ndarray:
    """Log size of each class from those of its lesions, [patient, class]."""
    now = group.lesions.volume_mL * np.exp(log_lesion)
    inside = [np.sum(np.where(group.classes == c, now, 0.0), axis=1) for c in range(group.class_mL.shape[1])]
    share = np.stack(inside, axis=1) / group.class_mL
    return np.log(np.where(share > 0, share, 1.0))


def lethal_mL(group: Group) -> np.ndarray:
    """Tumour volume at which a patient dies, [patient]: the design's, or twice that at the start if it is more."""
    return np.maximum(group.design.lethal_mL, 2 * group.lesions.volume_mL.sum(axis=1))


def _dropout_cycle(group: Group) -> np.ndarray:
    """Number of the cycle before which each patient leaves (from 1; MOST_CYCLES: none), [patient]."""
    leaves = ndtr(group.normals(DROPOUT, MOST_CYCLES)) < group.design.dropout_per_cycle
    leaves[:, 0] = False
    return np.where(leaves.any(axis=1), np.argmax(leaves, axis=1), MOST_CYCLES)
