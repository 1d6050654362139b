"""Policies on 500 virtual patients of each tracer (docs/policies.md), and the stop rule and equal cycles of the notes.

No trial of these policies is at hand to compare with: rows of tumour dose and of limits passed are results with their
95 % intervals, held only to what a policy promises.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.validate import check
from twin.constraints import limit
from twin.policies import (
    AbstractPolicy,
    ChanceTwin,
    Cohort,
    Compared,
    DosePrior,
    Oracle,
    StopRule,
    compare,
    dose_prior,
    kidney_gate,
    noise_of,
    standard_policies,
    virtual_cohort,
)
from twin.policies.measure import exact, log_error
from twin.policies.trial import beliefs, simulated

PATIENTS, COHORT_SEED, TRAINING_SEED, ERROR_SEED = 500, 0, 1, 0
LABEL = {"177Lu-PSMA-617": "6 x 7.4 GBq", "177Lu-DOTATATE": "4 x 7.4 GBq"}
KEPT, OTHER, MARROW = limit("kidney_bed_40"), limit("kidney_bed_27"), limit("marrow_dose_2")
CLINICAL = "project notes, clinical section 6"
VIRTUAL = "virtual patients of this package's model; no trial to compare with"
CURVATURE = 2.8 / (2.8 + 51.6) / 2.6
"""G over alpha/beta, 1/Gy: repair half-time 2.8 h, effective half-life 51.6 h, alpha/beta 2.6 Gy."""
V18_GY = np.array([4.9, 4.4, 4.6, 4.2, 4.0, 3.9, 3.8, 3.8])
V18_BED_GY = (5.375, 10.159, 15.177, 19.727, 24.043, 28.245)
V19_GBQ = {1: 38.969, 2: 22.146, 4: 12.060, 6: 8.3156}


@cache
def cohort(tracer: str) -> Cohort:
    return virtual_cohort(tracer, PATIENTS, COHORT_SEED)


@cache
def prior(tracer: str) -> DosePrior:
    return dose_prior(virtual_cohort(tracer, PATIENTS, TRAINING_SEED))


@cache
def trial(tracer: str) -> Compared:
    """All standard policies, which keep 40 Gy of kidney BED."""
    people = cohort(tracer)
    known = {"limits": (KEPT, OTHER, MARROW), "reference": LABEL[tracer], "seed": ERROR_SEED}
    return compare(people, standard_policies(people, KEPT), prior(tracer), noise_of(people), **known)


def one_patient(kidneys_Gy_per_MBq) -> tuple[Cohort, DosePrior]:
    """A patient whose kidneys do this in each cycle, and the prior of somebody who knows the first one."""
    dose = np.stack([kidneys_Gy_per_MBq, np.full_like(kidneys_Gy_per_MBq, 4e-3)], axis=-1)[None]
    regions, still = ("kidneys", "tumour_1"), np.zeros(2)
    person = Cohort(
        "by hand", regions, np.array([300.0, 20.0]), still, np.zeros(1, int), dose, dose, CURVATURE * dose**2
    )
    curvature = np.full(2, np.log(CURVATURE))
    return person, DosePrior(regions, np.log(dose[0, 0]), np.diag(still), still, np.ones(2), curvature, still)


def given(person: Cohort, known: DosePrior, policy: AbstractPolicy) -> np.ndarray:
    errors = np.zeros((1, person.cycles, 2))
    return simulated(person, policy, beliefs(person, known, exact(person), errors), errors)


@check("planning/V18 cycles that the stop rule gives with 27 Gy BED and with 23 Gy", "cycles", "5 and 5", CLINICAL)
def stop_rule():
    person, known = one_patient(V18_GY / 7400)
    rules = [StopRule(limit(name), 7400.0, 8) for name in ("kidney_bed_27", "kidney_dose_23")]
    found = [int(np.sum(given(person, known, rule) > 0)) for rule in rules]
    return found, found == [5, 5]


@check("planning/V18 cumulative BED of a virtual patient's first six cycles", "Gy", "rel 1e-4", CLINICAL)
def cumulative():
    person, _ = one_patient(V18_GY / 7400)
    found = [float(person.total_Gy(KEPT, np.full((1, n), 7400.0))[0]) for n in range(1, 7)]
    return found, bool(np.allclose(found, V18_BED_GY, rtol=1e-4))


@check("planning/V19 GBq per cycle of 1, 2, 4, 6: oracle, and twin without doubt", "relative", "1e-4", CLINICAL)
def equal_cycles():
    worst = 0.0
    for cycles, expected in V19_GBQ.items():
        person, known = one_patient(np.full(cycles, 0.5e-3))
        for policy in (Oracle(person, OTHER, cycles, 1e7), ChanceTwin(OTHER, cycles, 1e7)):
            worst = max(worst, float(np.max(np.abs(given(person, known, policy) / 1000 / expected - 1))))
    return worst, worst <= 1e-4


def coverage(tracer: str, factor: float) -> float:
    """Share of the estimator's 90 % intervals of the next cycle's kidney dose that hold it, cycles 2 to 9."""
    people = cohort(tracer)
    noise = noise_of(people)
    errors = np.stack([log_error(people, noise, c, ERROR_SEED) for c in range(people.cycles)], axis=1)
    inside = []
    for cycle, known in list(enumerate(beliefs(people, prior(tracer), noise.scaled(factor), errors)))[1:-1]:
        low, high = known.interval90("kidneys", cycle)
        true = people.dose[:, cycle, people.regions.index("kidneys")]
        inside.append((low <= true) & (true <= high))
    return float(np.mean(inside))


def _of_cohort(tracer: str):
    start = f"planning/policies/{tracer} cohort"

    @check(f"{start}/kidneys Gy/GBq: mean, CV, its standard error", "Gy/GBq; 1", "the gate's ranges", CLINICAL)
    def gate():
        found = kidney_gate(cohort(tracer))
        return [found.mean, found.cv, found.cv_error], found.mean_passes and found.cv_passes

    @check(f"{start}/90 % intervals that hold the next kidney dose", "share", "0.85 to 0.95", CLINICAL)
    def covers():
        value = coverage(tracer, 1.0)
        return value, 0.85 <= value <= 0.95

    @check(f"{start}/negative control: the same with errors taken for half", "share", "below 0.85", CLINICAL)
    def covers_less():
        value = coverage(tracer, 0.5)
        return value, value < 0.85


def _gain_of(tracer: str, name: str):
    start, words = f"planning/policies/{tracer} {name}", f"Gy more than {LABEL[tracer]}: mean, lower and upper 95 %"

    @check(f"{start}/tumour dose against the label", words, "none: reported, interval about the mean", VIRTUAL)
    def gain():
        row = trial(tracer).table.loc[name]
        value = [float(row[f"gain{end}_Gy"]) for end in ("", "_lower95", "_upper95")]
        return value, value[1] <= value[0] <= value[2]


def _passed_of(tracer: str, name: str):
    start = f"planning/policies/{tracer} {name}"
    promise = "0" if name.startswith("oracle") else "0.05 within two standard errors, or less"
    promise = promise if name.startswith(("oracle", "chance twin")) else "none: reported"

    @check(f"{start}/kidney limit passed", "share beyond 40 Gy BED, lower and upper 95 %", promise, VIRTUAL)
    def passed():
        row = trial(tracer).table.loc[name]
        value = [float(row[f"passed_{KEPT.name}{end}"]) for end in ("", "_lower95", "_upper95")]
        most = {"0": 0.0, "none: reported": 1.0}.get(promise, 0.05 + 2 * np.sqrt(0.05 * 0.95 / PATIENTS))
        return value, value[0] <= most


NAMES = ("4 x 7.4 GBq", "6 x 7.4 GBq", "stop rule", "last cycle", "chance twin", "chance twin, 9 cycles", "oracle",
         "oracle, 9 cycles")  # fmt: skip

for _tracer, _label in LABEL.items():
    _of_cohort(_tracer)
    for _name in NAMES:
        if _label == _name or not _name.startswith("6 x"):
            _passed_of(_tracer, _name)
        if _label != _name and not _name.startswith("6 x"):
            _gain_of(_tracer, _name)
