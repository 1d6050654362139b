"""Whether a virtual cohort looks like patients: its kidneys against pooled published doses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dose.errors import InputError, describe
from dose.provenance import load_table
from twin.policies.cohort import Cohort, index


class Gate(NamedTuple):
    """Mean and coefficient of variation of the kidneys' Gy/GBq in the first cycle, the CV's standard error, the ranges
    that each has to lie in, and whether it does."""

    mean: float
    cv: float
    cv_error: float
    mean_range: tuple[float, float]
    cv_range: tuple[float, float]
    mean_passes: bool
    cv_passes: bool


def bands(tracer: str) -> list[dict[str, str]]:
    """Rows of twin/data/gates.csv for a tracer."""
    return [row for row in load_table("twin", "gates.csv") if row["tracer"] == tracer]


def log_cv(values: np.ndarray) -> tuple[float, float]:
    """Coefficient of variation of a log-normal with the logs' variance, and its standard error from that variance's."""
    variance = float(np.var(np.log(values), ddof=1))
    cv = float(np.sqrt(np.expm1(variance)))
    return cv, float(np.exp(variance) * variance / cv / np.sqrt(2 * (len(values) - 1)))


def kidney_gate(cohort: Cohort) -> Gate:
    """How plausible a cohort is: its kidneys against pooled published ones. The CV is a log-normal's.

    Raises:
        InputError: no range is known for this tracer.
    """
    rows = {r["quantity"]: r for r in bands(cohort.tracer) if r["region"] == "kidneys"}
    if not rows:
        expected = ", ".join(dict.fromkeys(r["tracer"] for r in load_table("twin", "gates.csv")))
        do = "take one of these, or add a row to twin/data/gates.csv"
        raise InputError(describe("plausibility gate", cohort.tracer, expected, do))
    ranges = [(float(rows[q]["low"]), float(rows[q]["high"])) for q in ("mean", "cv")]
    per_GBq = 1000 * cohort.dose[:, 0, index(cohort.regions, "kidneys")]
    mean, (cv, error) = float(per_GBq.mean()), log_cv(per_GBq)
    inside = [low <= x <= high for x, (low, high) in zip((mean, cv), ranges, strict=True)]
    return Gate(mean, cv, error, *ranges, *inside)
