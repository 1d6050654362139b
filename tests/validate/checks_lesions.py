"""Lesions of virtual patients: figures of the shipped law beside those of the PET data it was fitted to, and of NETs.

A figure of the law may differ from the data's by `ALLOWED` bootstrap standard deviations: with patients drawn anew, so
much does the figure vary by itself. Counts are whole numbers, so their quantiles may also differ by 1.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import jax
import numpy as np

from pbpk.lesions import LesionLaw, draw_lesions, lesion_law
from tests.fit_lesions import LOFT, MOST_ML, POEPPEL, Scans, data, fitted
from tests.validate import check

ALLOWED = 3.0
RESAMPLES = 200
PATIENTS = 20_000
LEVELS = (0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
MANY = 10
"""Lesions from which on a mean log volume tells a patient's trait: with fewer, chance hides it."""
GROUPS = ("number", "volume", "total", "suv", "spread", "correlation")
DATA = "AutoPET-III PSMA cohort, 10.7937/R7EP-3X37: 8 768 lesions of 497 scans of 333 patients, patients resampled"
TOLERANCE = "each within 3 bootstrap sd of the data's (numbers: or within 1)"


def figures(scans: Scans) -> dict[str, np.ndarray]:
    """By group: quantiles of number, volume, total volume and SUVmean; spreads; correlations."""
    volume, suv, n = np.log(scans.volume_mL), np.log(scans.suv), scans.count
    number = np.log(n)
    of_scan = lambda x: scans.sums(x) / n
    within = lambda x: np.sqrt(np.sum((x - of_scan(x)[scans.scan]) ** 2) / np.sum(n - 1))
    many = of_scan(volume)[n >= MANY]
    spread = [within(suv), np.std(of_scan(suv)), np.std(suv), within(volume), np.std(many), np.std(volume)]
    pairs = ((volume, suv), (number, of_scan(suv)), (number, np.log(scans.sums(scans.volume_mL))))
    return {
        "number": np.quantile(n, LEVELS),
        "volume": np.quantile(scans.volume_mL, LEVELS),
        "total": np.quantile(scans.sums(scans.volume_mL), LEVELS),
        "suv": np.quantile(scans.suv, LEVELS),
        "spread": np.array(spread),
        "correlation": np.array([np.corrcoef(*pair)[0, 1] for pair in pairs]),
    }


def drawn(law: LesionLaw, patients: int = PATIENTS, seed: int = 5) -> Scans:
    """Virtual patients as scans."""
    lesions = draw_lesions(law, jax.random.key(seed), 0, patients)
    there = lesions.volume_mL > 0
    suv = law.reference_suv * lesions.relative_uptake[there]
    none = np.zeros(len(suv))
    patient = np.arange(patients)
    return Scans(np.repeat(patient, lesions.count), lesions.volume_mL[there], suv, none, none, none, patient)


@cache
def of_data() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """The data's figures and their bootstrap standard deviations."""
    scans, rng = data(), np.random.default_rng(11)
    again = [figures(scans.resampled(rng)) for _ in range(RESAMPLES)]
    return figures(scans), {group: np.std([a[group] for a in again], axis=0) for group in GROUPS}


def agrees(law: LesionLaw, group: str) -> tuple[np.ndarray, np.ndarray, bool]:
    """The law's figures of a group, the data's, and whether they agree."""
    (seen, sd), ours = of_data(), figures(drawn(law))[group]
    room = np.maximum(ALLOWED * sd[group], 1.0 if group == "number" else 0.0)
    return ours, seen[group], bool(np.all(np.abs(ours - seen[group]) <= room))


def held_out(scans: Scans) -> float:
    """Law of every second patient against figures of the others: worst difference, in sd of the difference.

    Half of the patients have sqrt(2) times the bootstrap sd of all, and both sides are halves: 2 in all. For
    numbers, which are whole, no less than 1/2.
    """
    first = scans.patient % 2 == 0
    seen = figures(scans.of(np.flatnonzero(first)))
    law = fitted(scans.of(np.flatnonzero(~first)), lesion_law("PSMA"))
    ours, sd = figures(drawn(law)), of_data()[1]
    least = {"number": 0.5}
    return float(max(np.max(np.abs(ours[g] - seen[g]) / np.maximum(2 * sd[g], least.get(g, 0.0))) for g in GROUPS))


def _row(group: str, words: str, unit: str):
    @check(f"trial/lesions {words}: law, then data", unit=unit, tolerance=TOLERANCE, source=DATA)
    def row():
        ours, seen, passed = agrees(lesion_law("PSMA"), group)
        return [*ours.tolist(), *seen.tolist()], passed

    return row


for _group, _words, _unit in (
    ("number", "number of a patient, 10 to 95 %", "1"),
    ("volume", "volume of a lesion, 10 to 95 %", "mL"),
    ("total", "volume of all lesions of a patient, 10 to 95 %", "mL"),
    ("suv", "SUVmean of a lesion, 10 to 95 %", "1"),
    (
        "spread",
        "log sd of SUVmean within and between patients and in all; the same of volume (between: 10 lesions and more)",
        "1",
    ),
    ("correlation", "correlation of logs: volume and SUVmean; number and mean SUVmean; number and total volume", "1"),
):
    _row(_group, _words, _unit)


@check(
    "trial/lesions of a law without the patient level: log sd of SUVmean within and between patients, which must fail",
    unit="1",
    tolerance="outside 3 bootstrap sd of the data's",
    source=DATA,
)
def without_patients():
    law = lesion_law("PSMA")
    total = float(np.hypot(law.uptake_within, law.uptake_between))
    ours, _, passed = agrees(replace(law, uptake_between=0.0, uptake_within=total), "spread")
    return ours[:2].tolist(), not passed


@check(
    "trial/lesions law of one half of the patients, figures of the other half: worst difference",
    unit="sd of the difference",
    tolerance="3, over 33 figures",
    source=DATA,
)
def other_half():
    worst = held_out(data())
    return worst, worst <= ALLOWED


@check(
    "trial/lesions share of drawn patients whose lesions would hold more than 2.5 L (made anew); largest total then",
    unit="1; mL",
    tolerance="share below 0.02, largest total within 2500 mL",
    source="bound on what a body holds: assumption; the data's largest total is 2600 mL",
)
def bounded():
    law = lesion_law("PSMA")
    free = drawn(replace(law, most_mL=np.inf))
    share = float(np.mean(free.sums(free.volume_mL) > MOST_ML))
    scans = drawn(law)
    largest = float(scans.sums(scans.volume_mL).max())
    return [share, largest], share < 0.02 and largest <= MOST_ML * (1 + 1e-12)


@check(
    "trial/lesions SSTR: mean number of a patient, log sd of uptake in all",
    unit="1",
    tolerance="number between two cohorts' 6.4 and 23.5; log sd within 10 % of 0.61",
    source="Poeppel 2011 and Loft 2021, abstracts (pbpk/data/lesions.csv)",
)
def neuroendocrine():
    scans = drawn(lesion_law("SSTR"))
    mean, spread = float(scans.count.mean()), float(np.std(np.log(scans.suv)))
    low, high = (report["lesions"] / report["patients"] for report in (POEPPEL, LOFT))
    expected = np.sqrt(np.log1p((POEPPEL["sd"] / POEPPEL["suvmax"]) ** 2))
    return [mean, spread], low < mean < high and abs(spread / expected - 1) < 0.1
