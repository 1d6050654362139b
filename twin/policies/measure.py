"""What a clinic would measure of each cycle: the doses of regions, with errors.

ln measured = ln true + an error that stays with the patient (calibration factor, recovery, contour) + one of each
cycle. The normal numbers are keyed by seed, cycle and the patient's key alone, so that every policy meets the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from dose.regions import is_tumour
from twin.policies.cohort import Cohort
from twin.policies.numbers import number

STREAM = 20_042
"""Key of the random numbers of measurements, apart from those of truths."""
LASTING, FRESH, BEFORE = 1, 2, 3


@dataclass(frozen=True)
class Noise:
    """Log sds of a measured dose, [region]: `lasting_sd` is the same in every cycle, `fresh_sd` of each cycle's own,
    `before_sd` of a forecast from a PET before therapy."""

    lasting_sd: np.ndarray
    fresh_sd: np.ndarray
    before_sd: np.ndarray

    def scaled(self, factor: float) -> Noise:
        """All sds times `factor`: what an estimator that is too sure, or too careful, takes them for."""
        return Noise(*(factor * x for x in (self.lasting_sd, self.fresh_sd, self.before_sd)))


def noise_of(cohort: Cohort, scans: int = 3) -> Noise:
    """Errors by the number of SPECT in each cycle (twin/data/policies.csv).

    Raises:
        InputError: the table has no row for that number of scans.
    """
    subject = ["tumour" if is_tumour(r) else r for r in cohort.regions]
    total, lasting = (np.array([number(q, s, scans) for s in subject]) for q in ("total_sd", "lasting_sd"))
    log = lambda relative_variance: np.sqrt(np.log1p(relative_variance))
    before = np.full(len(subject), number("before_therapy_sd", "any", 0))
    return Noise(log(lasting**2), log(total**2 - lasting**2), before)


def exact(cohort: Cohort) -> Noise:
    """No error at all."""
    none = np.zeros(len(cohort.regions))
    return Noise(none, none, none)


def log_error(cohort: Cohort, noise: Noise, cycle: int, seed: int) -> np.ndarray:
    """Log errors of a cycle's measured doses, [patient, region]."""
    return noise.lasting_sd * _normals(cohort, seed, LASTING) + noise.fresh_sd * _normals(cohort, seed, FRESH, cycle)


def log_error_before(cohort: Cohort, noise: Noise, seed: int) -> np.ndarray:
    """Log errors of the first cycle's doses as forecast from a PET, [patient, region]."""
    return noise.before_sd * _normals(cohort, seed, BEFORE)


def _normals(cohort: Cohort, *key: int) -> np.ndarray:
    rows = int(cohort.key.max()) + 1
    return np.random.default_rng([STREAM, *key]).standard_normal((rows, len(cohort.regions)))[cohort.key]


class Measured(NamedTuple):
    """Doses of regions as measured, Gy, [patient, cycle, region]."""

    dose_Gy: np.ndarray
    weighted_Gy: np.ndarray
    bed_Gy: np.ndarray


def measured(cohort: Cohort, activity_MBq: np.ndarray, error: np.ndarray) -> Measured:
    """What was measured of the first cycles: `activity_MBq` [patient, cycle], `error` logs [patient, cycle, region].

    A wrong dose is wrong alike in its rate, so what the BED adds is wrong by the square.
    """
    given = slice(0, activity_MBq.shape[1])
    moved = np.exp(error) * activity_MBq[..., None]
    dose, weighted = cohort.dose[:, given] * moved, cohort.weighted[:, given] * moved
    return Measured(dose, weighted, weighted + cohort.quadratic[:, given] * moved**2)
