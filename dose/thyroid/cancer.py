"""131I for thyroid cancer: the activity that lesions need, within what blood and body allow.

Lesions by `dose.thyroid.lesion` (124I PET), blood by `dose.thyroid.blood`. Limits: 2 Gy to the blood; 4.44 GBq in the
body at 48 h, 2.96 with diffuse lung metastases (Benua et al. 1962, recalled). Numbers: `data/thyroid.csv`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from dose.estimates import Estimate, estimate
from dose.thyroid.blood import BloodDose
from dose.thyroid.lesion import IodineLesion
from dose.thyroid.uptake import thyroid_value

TARGET, BLOOD, RETENTION = "target", "blood dose", "retention at 48 h"


@dataclass(frozen=True)
class LesionResult:
    """What a lesion gets of the recommended activity, what it would need alone, and how likely it gets its target."""

    name: str
    target_Gy: float
    dose_Gy: Estimate
    needs_GBq: float
    probability: float


@dataclass(frozen=True)
class CancerPlan:
    """131I for lesions within the limits of blood and body; `active` is "target" or the limit that holds.

    `limit_GBq.value` is the most activity that the limits allow; `blood_Gy` belongs to `activity_GBq.value`.
    """

    activity_GBq: Estimate
    active: str
    limit_GBq: Estimate
    blood_Gy: Estimate
    lesions: tuple[LesionResult, ...]
    warnings: tuple[str, ...]

    def table(self):
        """pandas: a row for each lesion and one for the blood."""
        import pandas as pd

        rows = [
            {"region": one.name, "target_Gy": one.target_Gy} | one.dose_Gy.row("dose_Gy")
            | {"needs_GBq": one.needs_GBq, "probability": one.probability}
            for one in self.lesions
        ]  # fmt: skip
        return pd.DataFrame([*rows, {"region": "blood"} | self.blood_Gy.row("dose_Gy")])


def plan_cancer(
    lesions, blood: BloodDose, *, dose_Gy: float | None = None, limit_Gy: float | None = None,
    retention_48h: float | None = None, lung_metastases: bool = False, confidence: float | None = None,
) -> CancerPlan:  # fmt: skip
    """The activity with which every lesion reaches its dose, within the limits.

    Args:
        lesions: of `iodine_lesion`; none gives the most activity that the limits allow.
        dose_Gy: of each lesion; left out, that of the table for metastases and remnants.
        limit_Gy: of the blood; left out, 2 Gy.
        retention_48h: share of the activity in the body at 48 h, to keep 4.44 GBq there (2.96 with lung metastases);
            left out, this limit is not applied.
        confidence: probability that the blood limit is kept; left out, it holds for the point value.

    Raises:
        InputError: numbers outside their range, or draws of different number.
    """
    limit = thyroid_value("blood_limit") if limit_Gy is None else limit_Gy
    lesions = tuple(lesions)
    _check(dose_Gy, limit, retention_48h, confidence, lesions, blood)
    targets = [thyroid_value("target_dose", one.uptake.disease) if dose_Gy is None else dose_Gy for one in lesions]
    allowed, allowed_draws = _allowed(blood, limit, retention_48h, lung_metastases, confidence)
    tightest = min(allowed, key=lambda name: allowed[name])
    most = estimate(allowed[tightest], allowed_draws)
    needs = [target / one.dose_Gy_per_GBq.value for target, one in zip(targets, lesions, strict=True)]
    wanted = [target / one.dose_draws for target, one in zip(targets, lesions, strict=True)]
    activity = min([max(needs), most.value] if needs else [most.value])
    drawn = np.minimum(np.max(wanted, axis=0), allowed_draws) if needs else allowed_draws
    active = TARGET if needs and max(needs) <= most.value else tightest
    results = tuple(_result(*each, activity) for each in zip(lesions, targets, needs, strict=True))
    notes = _notes(lesions, blood, active, results, retention_48h)
    return CancerPlan(estimate(activity, drawn), active, most, blood.dose_Gy_per_GBq.scaled(activity), results, notes)


def _allowed(blood: BloodDose, limit_Gy: float, retention_48h, lung_metastases: bool, confidence):
    """Activity in GBq that each limit allows, and draws of the least of them."""
    draws = limit_Gy / blood.dose_draws
    point = limit_Gy / blood.dose_Gy_per_GBq.value
    allowed = {BLOOD: point if confidence is None else float(np.quantile(draws, 1 - confidence, method="lower"))}
    if retention_48h is None:
        return allowed, draws
    kept = thyroid_value("retention_limit", "lung_metastases" if lung_metastases else "")
    return allowed | {RETENTION: kept / retention_48h}, np.minimum(draws, kept / retention_48h)


def _check(dose_Gy, limit, retention_48h, confidence, lesions, blood: BloodDose):
    bounds = (
        ("dose_Gy", dose_Gy, 1000.0), ("limit_Gy", limit, 10.0),
        ("retention_48h", retention_48h, 1.0), ("confidence", confidence, 0.999),
    )  # fmt: skip
    for field, value, high in bounds:
        if value is not None and not 0 < value <= high:
            raise InputError(describe(field, f"{value}", f"above 0 and up to {high:g}", "correct the number"))
    if any(len(lesion.dose_draws) != len(blood.dose_draws) for lesion in lesions):
        do = "give `draws` alike to iodine_lesion and blood_dose"
        raise InputError(describe("draws", "different numbers", "one number", do))


def _result(lesion: IodineLesion, target: float, need: float, activity: float) -> LesionResult:
    reached = float(np.mean(lesion.dose_draws * activity >= target * (1 - 1e-12)))
    return LesionResult(lesion.name, target, lesion.dose_Gy_per_GBq.scaled(activity), need, reached)


def _notes(lesions, blood: BloodDose, active: str, results, retention_48h) -> tuple[str, ...]:
    notes = [*blood.warnings, *(f"{lesion.name}: {note}" for lesion in lesions for note in lesion.warnings)]
    short = [r.name for r in results if r.dose_Gy.value < r.target_Gy * (1 - 1e-9)]
    if short:
        notes.append(f"{active} holds the activity: {', '.join(short)} will not reach the target")
    if retention_48h is None:
        notes.append("the limit of 131I in the body at 48 h was not applied: retention_48h was not given")
    return tuple(notes)
