"""Single-time-point methods on the same virtual patients: `python -m tests.validate.stp_comparison [method ...]`.

177Lu-PSMA-617, parameters drawn from the prior as in tests/synthetic.py. Methods that learn do so on a separate cohort
of 200 with the prior's own centre; the 1000 who are judged come from the same prior ("shift" 1), or have the release
of kidneys, the release of tumours and all receptor densities 30 % above it ("shift" 1.3) or below (0.77). Add a method
with

    METHODS["name"] = lambda training: method      # with .tia(scan) -> TIAEstimate
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np

from calibration.forward import pool_weights
from calibration.single_time_point import METHODS as LEARNERS
from calibration.single_time_point import AbstractMethod, CurveCohort, PatientHalfLife, Scan, TIAEstimate
from calibration.stp_pbpk import PBPKPosterior
from dose.nuclides import radionuclide
from dose.provenance import numbers_of
from pbpk.administration import Administration
from tests.synthetic import empty_study
from twin.body import body_of, tables
from twin.forecast import states, tia_MBq_h
from twin.patient import Study

REGIONS = ("kidneys", "tumour_1")
SCAN_H = (4.0, 24.0, 48.0, 72.0, 96.0, 120.0, 168.0)
CURVE_H = (1.0, 2.0, 4.0, 8.0, 16.0, 24.0, 36.0, 48.0, 72.0, 96.0, 120.0, 168.0, 216.0)
"""Hours of the cohort's curves, read off fitted curves of full dosimetry without noise: the best a method can get."""
SYSTEM_SD, COUNTING_SD = 0.05, 0.03
"""Proportional errors of a scan, independent: calibration and recovery, and counting."""
EARLIER_H = (24.0, 96.0)
"""Scans of an earlier cycle, of the same kinetics and with the noise of any scan, that give a patient's Teff."""
PET_H, PET_SD = 1.0, 0.10
"""Biomarkers: 68Ga-PSMA-11 uptake of each region one hour after 150 MBq, a week before; GFR. Each has this error."""
TRAINED, JUDGED, SHIFTS = 200, 1000, (1.0, 1.3, 0.77)
RESULTS = Path(__file__).resolve().parents[2] / "docs" / "figures" / "single_time_point.json"


@dataclass(frozen=True, eq=False)
class Patients:
    """Virtual ones: activity [region, patient, time], integral [region, patient], biomarkers [patient, feature]."""

    time_h: np.ndarray
    activity_MBq: np.ndarray
    tia_MBq_h: np.ndarray
    biomarkers: np.ndarray
    offsets: np.ndarray


@dataclass(frozen=True, eq=False)
class Training:
    """What a method may learn from: the region's cohort, and the study whose prior drew it."""

    region: str
    cohort: CurveCohort
    study: Study


METHODS: dict[str, Callable[[Training], AbstractMethod | PBPKPosterior | PBPKAfterPET]] = {
    name: lambda training, learn=learn: learn(training.cohort) for name, learn in LEARNERS.items()
} | {
    "patient Teff": lambda training: PatientHalfLife.learn(training.cohort, EARLIER_H),
    "PBPK posterior": lambda training: pbpk(training),
    "PBPK posterior, PET": lambda training: PBPKAfterPET.learn(training),
}
"""The methods compared. Another one is another entry."""


def pbpk(training: Training) -> PBPKPosterior:
    """The kinetic model with the prior that drew the training cohort."""
    body = body_of(training.study)
    return PBPKPosterior.learn(body.courses[:1], body.prior, training.region, SCAN_H)


@dataclass(frozen=True, eq=False)
class PBPKAfterPET:
    """The same, which also knows the region's uptake in the PET (a biomarker in nmol) and the GFR."""

    inner: PBPKPosterior
    region: str
    MBq_per_nmol: float

    @classmethod
    def learn(cls, training: Training) -> PBPKAfterPET:
        body = body_of(training.study)
        learnt = PBPKPosterior.learn(
            body.courses, body.prior, training.region, SCAN_H, pet_h=PET_H, feature_sd=PET_SD, draws=30_000
        )
        return cls(learnt, training.region, body.courses[1].nuclide.activity_MBq_per_nmol)

    def tia(self, scan: Scan) -> TIAEstimate:
        columns = [REGIONS.index(self.region), len(REGIONS)]
        known = np.asarray(scan.biomarkers)[:, columns] + np.log([self.MBq_per_nmol, 1.0])
        return self.inner.tia(replace(scan, biomarkers=known))


def study_with_pet() -> Study:
    """The study of tests/synthetic.py after a diagnostic 68Ga-PSMA-11 PET."""
    pet = Administration(0, -168.0, 150.0, 3.0, 0.0, "PSMA-11", "68Ga")
    study = empty_study()
    return replace(study, administrations=(*study.administrations, pet))


def is_shifted(name: str) -> bool:
    kind, _, organ = name.partition("/")
    return kind == "receptor_density" or (kind == "release" and organ.startswith(("kidney", "tumour")))


@cache
def virtual(count: int, seed: int, shift: float = 1.0) -> Patients:
    """Patients of the prior; `shift` multiplies the three misspecified parameters of each."""
    body, rng = body_of(study_with_pet()), np.random.default_rng(seed)
    names = body.prior.names
    offsets = rng.multivariate_normal(np.zeros(len(names)), body.prior.covariance, method="eigh", size=count)
    offsets += np.log(shift) * np.array([is_shifted(name) for name in names])
    weights = np.stack([pool_weights(r, body.organs, frozenset()) for r in REGIONS])
    hours = np.unique([*CURVE_H, *SCAN_H])
    therapy, pet = body.courses
    found = states(therapy, names, offsets, np.array([*(60 * hours), therapy.end_min]))
    activity = therapy.nuclide.activity_MBq_per_nmol * np.einsum("rp,ptd->rdt", weights, found.amount[:, :-1])
    uptake = states(pet, names, offsets, np.array([60 * PET_H, pet.end_min])).amount[:, 0]
    gfr = np.exp(offsets[:, names.index("filtration")])
    markers = np.log(np.concatenate([weights @ uptake, gfr[None]])).T
    markers = markers + PET_SD * rng.standard_normal(markers.shape)
    return Patients(hours, activity, weights @ tia_MBq_h(found, therapy)[:, -1], markers, offsets)


def training(region: str, count: int = TRAINED, seed: int = 1) -> Training:
    """The cohort that methods learn from, at the prior's own centre."""
    known, k = virtual(count, seed), REGIONS.index(region)
    at = np.searchsorted(known.time_h, CURVE_H)
    curves = (np.array(CURVE_H), known.activity_MBq[k][:, at], known.tia_MBq_h[k])
    return Training(region, CurveCohort(*curves, region=region, biomarkers=known.biomarkers), study_with_pet())


def noise(rng, shape) -> np.ndarray:
    """Factors on activities."""
    return (1 + SYSTEM_SD * rng.standard_normal(shape)) * (1 + COUNTING_SD * rng.standard_normal(shape))


def scan_of(patients: Patients, region: str, time_h: float, seed: int = 3) -> Scan:
    """The region's noisy scans at one hour, of all patients, with what is known of each from before."""
    k, half = REGIONS.index(region), radionuclide("177Lu").half_life_h
    rng = np.random.default_rng([seed, k, int(time_h)])
    seen = lambda t, rng: (
        patients.activity_MBq[k][:, np.searchsorted(patients.time_h, t)] * noise(rng, len(patients.offsets))
    )
    earlier = np.random.default_rng([seed, k])
    first, second = (seen(t, earlier) for t in EARLIER_H)
    rate = np.maximum(np.log(first / second) / (EARLIER_H[1] - EARLIER_H[0]), np.log(2) / half)
    sd = float(np.hypot(SYSTEM_SD, COUNTING_SD))
    rate_sd = np.sqrt(2) * sd / (EARLIER_H[1] - EARLIER_H[0])
    return Scan(
        time_h,
        seen(time_h, rng),
        sd,
        region,
        teff_h=np.log(2) / rate,
        teff_relative_sd=np.minimum(rate_sd / rate, 0.9),
        biomarkers=patients.biomarkers,
    )


def prior_mark() -> str:
    """A fingerprint of the tables that the patients are drawn from: numbers of other patients do not compare."""
    return f"{tables()} {numbers_of('calibration', 'correlations.csv')}"


def row(method: str, region: str, time_h: float, shift: float, found, truth) -> dict:
    """Error distribution in % of the true integral, and whether the interval tells the truth."""
    error = 100 * (found.tia_MBq_h / truth - 1)
    quantiles = dict(zip(("p5", "p25", "p50", "p75", "p95"), np.quantile(error, [0.05, 0.25, 0.5, 0.75, 0.95])))
    inside = (found.lower90_MBq_h <= truth) & (truth <= found.upper90_MBq_h)
    numbers = {
        "bias": error.mean(),
        "rmse": np.sqrt(np.mean(error**2)),
        **quantiles,
        "within10": 100 * np.mean(np.abs(error) <= 10),
        "coverage90": 100 * np.mean(inside),
        "prior_share": np.median(found.prior_share),
    }
    named = {"method": method, "region": region, "time_h": time_h, "shift": shift, "prior": prior_mark()}
    return named | {name: round(float(value), 3) for name, value in numbers.items()}


def compare(names=None, shifts=SHIFTS, judged: int = JUDGED, trained: int = TRAINED) -> list[dict]:
    """One row a method, region, hour and shift."""
    rows = []
    for region in REGIONS:
        known = training(region, trained)
        for name in names or METHODS:
            method = METHODS[name](known)
            for shift in shifts:
                patients = virtual(judged, 2, shift)
                truth = patients.tia_MBq_h[REGIONS.index(region)]
                scans = (scan_of(patients, region, t) for t in SCAN_H)
                rows += [row(name, region, s.time_h, shift, method.tia(s), truth) for s in scans]
    return rows


def merged(rows: list[dict], path: Path = RESULTS) -> list[dict]:
    """New rows over those of the file, so that one method can be run alone; rows of other patients are dropped."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    earlier = [r for r in earlier if r["prior"] == prior_mark()]
    key = lambda r: (r["region"], r["shift"], r["method"], r["time_h"])
    return list(({key(r): r for r in earlier} | {key(r): r for r in rows}).values())


def table(rows: list[dict], value: str, region: str, shift: float) -> str:
    """A Markdown table of one number: methods down, hours across."""
    text = "| method | " + " | ".join(f"{t:g} h" for t in SCAN_H) + " |\n|---|" + "---|" * len(SCAN_H) + "\n"
    mine = [r for r in rows if r["region"] == region and r["shift"] == shift]
    for name in dict.fromkeys(r["method"] for r in mine):
        cells = {r["time_h"]: f"{r[value]:.1f}" for r in mine if r["method"] == name}
        text += f"| {name} | " + " | ".join(cells[t] for t in SCAN_H) + " |\n"
    return text


def main(names=None) -> None:
    """Writes docs/figures/single_time_point.json and prints its RMSE tables."""
    rows = merged(compare(names))
    RESULTS.write_text("[\n" + ",\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n]\n", encoding="utf-8")
    for region in REGIONS:
        for shift in SHIFTS:
            print(f"RMSE in %, {region}, shift {shift:g}\n\n{table(rows, 'rmse', region, shift)}")


if __name__ == "__main__":
    import sys

    from twin._jax import configure

    configure()
    main(sys.argv[1:] or None)
