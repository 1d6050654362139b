"""A block under one source as therapy unfolds: biology, sizes of lesions, and doses of each cycle at these sizes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import ndtr

from pbpk.volume import LN2, published
from twin.trial.design import Regimen
from twin.trial.people import RESPONSE, Group
from twin.trial.physics import Truth
from twin.trial.reading import PerMBq, at_size, moved


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


def led_to(scene: Scene, arm: Regimen, given: np.ndarray) -> list[PerMBq]:
    """What one MBq does in each cycle when `given` [patient, cycle] is given, tumours of their sizes by then."""
    log_lesion, out = np.zeros_like(scene.group.lesions.volume_mL), []
    for c in range(given.shape[1]):
        out.append(scene.per_MBq(c, class_log_size(scene.group, log_lesion)))
        log_lesion = grown(scene, arm, log_lesion, of_cycle(scene, out[-1], given[:, c])[3])
    return out


def grown(scene: Scene, arm: Regimen, log_lesion: np.ndarray, lesion_bed_Gy: np.ndarray) -> np.ndarray:
    """Log sizes of lesions [patient, lesion] at the next cycle; unchanged where the design has no response."""
    if not scene.group.design.cohort.response:
        return log_lesion
    growth = LN2 * 24 * arm.interval_days / scene.biology.doubling_time_h
    return log_lesion + growth[:, None] - scene.biology.alpha_per_Gy[:, None] * lesion_bed_Gy


def of_cycle(scene: Scene, per: PerMBq, activity: np.ndarray):
    """Dose, weighted dose, BED [patient, region], and BED of each lesion [patient, lesion]."""
    a = activity[:, None]
    dose, weighted, quadratic = per.dose * a, per.weighted * a, per.quadratic * a**2
    classes = np.maximum(scene.group.classes, 0)
    of = lambda x: np.take_along_axis(x[:, scene.truth.tumours], classes, axis=1)
    lesion = of(weighted) * scene.factors + of(quadratic) * scene.factors**2
    return dose, weighted, weighted + quadratic, lesion


def class_log_size(group: Group, log_lesion: np.ndarray) -> np.ndarray:
    """Log size of each class from those of its lesions, [patient, class]."""
    now = group.lesions.volume_mL * np.exp(log_lesion)
    inside = [np.sum(np.where(group.classes == c, now, 0.0), axis=1) for c in range(group.class_mL.shape[1])]
    share = np.stack(inside, axis=1) / group.class_mL
    return np.log(np.where(share > 0, share, 1.0))
