"""What a cohort of virtual patients says by class of region: the classical methods beside the two TIA networks.

`configs/tia_population.csv` holds mean curves and how a region's height tells of its integral (from one scan),
`configs/tia_prior.csv` what a PET's uptake says of the integral. Both are regressions in the logarithm on the kinetic
model's draws, fitted on training patients only (`twin.network_recipes.write_tia_tables`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from dose.learning.recipe import Case, folder
from imaging.networks.tia_scans import CLASSES, TRACERS, HOURS_h, STEPS_h, at_hour, class_of, decay_beyond, names_of

POPULATION, PRIOR = (folder("imaging.networks", "configs") / f"{name}.csv" for name in ("tia_population", "tia_prior"))
COHORT = ("log_curve_over_tia", "log_suv", "slope", "log_sd", "log_sd_height")
FEATURES = ("one", "log_suv", "log_volume_mL", "log_suv_soft")
BLOOD_BOUND = ("bladder_contents",)
"""Labels that are in no cohort."""


@dataclass(frozen=True)
class Factor:
    """TIA over activity at a scan, h, with the sd of its logarithm."""

    factor_h: float
    log_sd: float


@cache
def _cohort(path: Path = POPULATION) -> Mapping[tuple[str, str], np.ndarray]:
    """By tracer and class, [column of COHORT, hour]."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    keys = dict.fromkeys((row["tracer"], row["class"]) for row in rows)
    mine = {key: [row for row in rows if (row["tracer"], row["class"]) == key] for key in keys}
    return {key: np.array([[float(row[c]) for row in found] for c in COHORT]) for key, found in mine.items()}


def population_factor(tracer: str, group: str, time_h: float, half_life_h: float, suv: float | None = None) -> Factor:
    """By the cohort's mean curve (as Jackson et al. 2020), and with the region's own height if `suv` is given.

    Args:
        suv: mean of the region at the scan, with decay as it is.
    """
    table = _cohort()[tracer, group]
    more = decay_beyond(half_life_h)
    shape = at_hour(np.exp(table[0]), STEPS_h) * np.gradient(STEPS_h)
    changed = float((shape * np.exp(-more * STEPS_h)).sum() / shape.sum())
    mean, _, slope, sd, sd_height = (np.interp(time_h, HOURS_h, row) for row in table)
    log = float(-mean + more * time_h + np.log(changed))
    if suv is None:
        return Factor(float(np.exp(log)), float(sd))
    above = np.clip(height_of(tracer, group, time_h, half_life_h, suv), -2, 2)
    return Factor(float(np.exp(log + slope * above)), float(sd_height))


def height_of(tracer: str, group: str, time_h: float, half_life_h: float, suv: float) -> float:
    """Log of a region's mean SUV at a scan over that of the cohort's regions of its class at that hour."""
    usual = np.interp(time_h, HOURS_h, _cohort()[tracer, group][1])
    return float(np.log(max(suv, 1e-6)) + decay_beyond(half_life_h) * time_h - usual)


def hanscheid_log_sd(tracer: str, time_h: float, half_life_h: float) -> float:
    """Root mean square of log TIA over 2 t/ln 2 over the cohort's kidneys and lesions."""
    log = np.log(2 * time_h / np.log(2))
    seen = [population_factor(tracer, group, time_h, half_life_h) for group in ("kidney", "tumour")]
    return float(np.sqrt(np.mean([(np.log(f.factor_h) - log) ** 2 + f.log_sd**2 for f in seen])))


def cohort_rows(cases: Sequence[Case]) -> list[dict]:
    """Rows of the table of curves from cases."""
    rows = []
    for tracer in TRACERS:
        mine = [case for case in cases if TRACERS[int(case["tracer"])] == tracer]
        for group in CLASSES:
            curve, tia = _members(mine, group)
            log, height = np.log(curve / tia[:, None]), np.log(curve)
            for k, hour in enumerate(HOURS_h):
                slope = _slope(height[:, k], -log[:, k])
                left = -log[:, k] - slope * height[:, k]
                found = (log[:, k].mean(), height[:, k].mean(), slope, log[:, k].std(), left.std())
                numbers = {name: f"{value:.4f}" for name, value in zip(COHORT, found)}
                rows.append({"tracer": tracer, "class": group, "hour": f"{hour:g}", **numbers})
    return rows


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    """Of y on x by least squares; 0 where x does not vary."""
    varied = float(np.var(x))
    return float(np.mean((x - x.mean()) * (y - y.mean()))) / varied if varied > 1e-12 else 0.0


def _members(cases: Sequence[Case], group: str) -> tuple[np.ndarray, np.ndarray]:
    """Curves and integrals of every region of a class, [member, hour] and [member]; one label where all are alike."""
    curves, tias = [], []
    for case in cases:
        present = set(np.unique(case["labels"]).tolist())
        names = [n for n in names_of(case) if class_of(n) == group and n not in BLOOD_BOUND]
        alike = group in ("soft", "marrow", "gut", "blood")
        labels = [
            names_of(case).index(n) for n in (["remainder"] if group == "soft" else names[:1] if alike else names)
        ]
        for k in [k for k in labels if k and (alike or k in present)]:
            curves.append(case["curve"][:, k])
            tias.append(case["tia"][:, k])
    return np.maximum(np.concatenate(curves), 1e-9), np.concatenate(tias)


@cache
def _prior(path: Path = PRIOR) -> Mapping[tuple[str, str], np.ndarray]:
    with path.open(newline="", encoding="utf-8") as file:
        return {
            (row["tracer"], row["class"]): np.array([float(row[n]) for n in (*FEATURES, "log_sd")])
            for row in csv.DictReader(file)
        }


def predicted_log_tia(tracer: str, group: str, suv: float, volume_mL: float, suv_soft: float) -> tuple[float, float]:
    """Log of a region's mean TIA in SUV h by its mean in the PET, and the sd of that logarithm."""
    *weights, sd = _prior()[tracer, group]
    return float(np.dot(weights, features_of(suv, volume_mL, suv_soft))), float(sd)


def features_of(suv: float, volume_mL: float, suv_soft: float) -> np.ndarray:
    """FEATURES of a region."""
    return np.array([1.0, np.log(max(suv, 0.02)), np.log(volume_mL), np.log(max(suv_soft, 0.02))])


def prior_rows(seen: Mapping[tuple[str, str], Sequence[tuple[np.ndarray, float]]]) -> list[dict]:
    """Rows of the PET's table by least squares of (features, log of the true mean) of each tracer and class."""
    rows = []
    for (tracer, group), pairs in seen.items():
        x, y = np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs])
        ridge = 1e-3 * len(y) * np.diag([0.0, 1, 1, 1])
        weights = np.linalg.solve(x.T @ x + ridge, x.T @ y)
        numbers = dict(zip(FEATURES, weights)) | {"log_sd": float((y - x @ weights).std())}
        rows.append({"tracer": tracer, "class": group} | {k: f"{v:.5f}" for k, v in numbers.items()})
    return rows


def write_rows(path: Path, rows: Sequence[Mapping]) -> None:
    """A table of comma-separated values."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
