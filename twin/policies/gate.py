"""Whether a virtual cohort looks like patients: its kidneys against pooled published doses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from twin.policies.cohort import Cohort, index
from twin.policies.numbers import number


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


def kidney_gate(cohort: Cohort) -> Gate:
    """How plausible a cohort is: its kidneys against pooled published ones. The CV is a log-normal's.

    Raises:
        InputError: no range is known for this tracer.
    """
    ranges = [
        (number(quantity, cohort.tracer, column="low"), number(quantity, cohort.tracer, column="high"))
        for quantity in ("gate_mean", "gate_cv")
    ]
    per_GBq = 1000 * cohort.dose[:, 0, index(cohort.regions, "kidneys")]
    variance = np.var(np.log(per_GBq), ddof=1)
    mean, cv = float(per_GBq.mean()), float(np.sqrt(np.expm1(variance)))
    error = float(np.exp(variance) * variance / cv / np.sqrt(2 * (cohort.patients - 1)))
    inside = [low <= x <= high for x, (low, high) in zip((mean, cv), ranges, strict=True)]
    return Gate(mean, cv, error, *ranges, *inside)
