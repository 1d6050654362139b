"""Populations that single-time-point methods learn from: measured (or virtual) curves, or a spread of half-lives.

Both answer one question: by which factor does the activity at an hour become the integral, in each patient?
f_i(t) = TIA_i / A_i(t), in hours. Every method predicts that factor, and its errors are read off the true ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from calibration.stp_scan import check_half_life, limit
from dose.errors import InputError, describe
from dose.nuclides import radionuclide

QUANTILES = 401
"""Equal steps of probability that stand for a log-normal spread: its 5 and 95 % quantiles are exact to 0.3 %."""


class AbstractPopulation(ABC):
    """Patients whose curves are known: of a cohort, or of an assumed spread."""

    nuclide: str
    region: str

    @abstractmethod
    def factors_h(self, time_h: float) -> np.ndarray:
        """True TIA over activity at that hour, [patient]."""

    @abstractmethod
    def teff_between(self, from_h: float, until_h: float) -> np.ndarray:
        """Effective half-life of each patient between two hours, [patient]."""

    @property
    def teff_h(self) -> np.ndarray:
        """Effective half-life of each patient's late phase, `terminal_from_h` to `terminal_until_h`, [patient]."""
        return self.teff_between(limit("terminal_from_h"), limit("terminal_until_h"))


@dataclass(frozen=True)
class HalfLifePopulation(AbstractPopulation):
    """Mono-exponential patients whose effective half-lives are log-normal (Hou et al. 2022): mean and CV.

    Half-lives beyond the physical one are cut to it. This knows no uptake phase: before about a day it is too sure.

    Raises:
        InputError: a mean longer than the physical half-life, or a CV that is not above zero.
    """

    mean_h: float
    cv: float | None = None
    nuclide: str = "177Lu"
    region: str = ""

    def __post_init__(self):
        check_half_life("mean_h", self.mean_h, radionuclide(self.nuclide))
        if self.cv is not None and not 0 < self.cv < 2:
            raise InputError(describe("cv", f"{self.cv}", "a number above 0, as 0.25", "write 25 % as 0.25"))

    def teff_between(self, from_h: float, until_h: float) -> np.ndarray:
        from scipy.special import ndtri  # a tenth of a second to import, and only needed here

        log_sd = np.sqrt(np.log1p((limit("teff_cv") if self.cv is None else self.cv) ** 2))
        steps = (np.arange(QUANTILES) + 0.5) / QUANTILES
        half = self.mean_h * np.exp(log_sd * ndtri(steps) - log_sd**2 / 2)
        return np.minimum(half, radionuclide(self.nuclide).half_life_h)

    def factors_h(self, time_h: float) -> np.ndarray:
        return mono_factor_h(time_h, self.teff_h)


@dataclass(frozen=True, eq=False)
class CurveCohort(AbstractPopulation):
    """Curves of one region in many patients: activities present at common hours, and their integrals.

    Args:
        time_h: hours after the end of administration, increasing, [time].
        activity_MBq: [patient, time], of curves fitted to full dosimetry: their noise would be taken for kinetics.
        tia_MBq_h: [patient].
        biomarkers: [patient, feature], known before the scan; None where there are none.

    Raises:
        InputError: shapes that do not fit, numbers not above zero, times not increasing, too few patients.
    """

    time_h: np.ndarray
    activity_MBq: np.ndarray
    tia_MBq_h: np.ndarray
    region: str = ""
    nuclide: str = "177Lu"
    biomarkers: np.ndarray | None = None

    def __post_init__(self):
        for field in ("time_h", "activity_MBq", "tia_MBq_h"):
            object.__setattr__(self, field, np.asarray(getattr(self, field), dtype=float))
        if self.biomarkers is not None:
            object.__setattr__(self, "biomarkers", np.asarray(self.biomarkers, dtype=float))
        _check_cohort(self)

    @classmethod
    def from_rows(cls, rows: Iterable[Mapping], **rest) -> CurveCohort:
        """The cohort of a long table with columns patient, time_h, activity_MBq, tia_MBq_h.

        Raises:
            InputError: patients scanned at different hours (fit each curve and read it at common ones).
        """
        rows = sorted(rows, key=lambda row: (str(row["patient"]), float(row["time_h"])))
        by_patient: dict[str, list] = {}
        for row in rows:
            by_patient.setdefault(str(row["patient"]), []).append(row)
        hours = {tuple(float(row["time_h"]) for row in mine) for mine in by_patient.values()}
        if len(hours) != 1:
            do = "fit each patient's curve and read it at common hours"
            raise InputError(describe("time_h", f"{len(hours)} different sets of hours", "one for all patients", do))
        activity = [[float(row["activity_MBq"]) for row in mine] for mine in by_patient.values()]
        tia = [float(mine[0]["tia_MBq_h"]) for mine in by_patient.values()]
        return cls(np.array(hours.pop()), np.array(activity), np.array(tia), **rest)

    def __len__(self) -> int:
        return len(self.tia_MBq_h)

    def without(self, patient: int) -> CurveCohort:
        """The cohort without one of its patients."""
        keep = np.arange(len(self)) != patient
        markers = None if self.biomarkers is None else self.biomarkers[keep]
        return replace(self, activity_MBq=self.activity_MBq[keep], tia_MBq_h=self.tia_MBq_h[keep], biomarkers=markers)

    def activity_at(self, time_h: float) -> np.ndarray:
        """Activities in MBq at an hour within the cohort's, [patient]: monotone cubic in ln t of the log activity.

        Raises:
            InputError: an hour outside the cohort's.
        """
        from scipy.interpolate import PchipInterpolator

        check_within(time_h, self.time_h)
        decay = radionuclide(self.nuclide).decay_constant_per_h
        logs = np.log(self.activity_MBq) + decay * self.time_h
        return np.exp(PchipInterpolator(np.log(self.time_h), logs, axis=1)(np.log(time_h)) - decay * time_h)

    def factors_h(self, time_h: float) -> np.ndarray:
        return self.tia_MBq_h / self.activity_at(time_h)

    def teff_between(self, from_h: float, until_h: float) -> np.ndarray:
        """By a straight line through the log activities of those hours; not longer than the physical half-life."""
        late = (self.time_h >= from_h) & (self.time_h <= until_h)
        if late.sum() < 2:
            expected = f"two or more from {from_h:g} to {until_h:g} h"
            raise InputError(describe("time_h of the cohort", f"{late.sum()} late hours", expected, "add late hours"))
        t = self.time_h[late] - self.time_h[late].mean()
        rate = -(np.log(self.activity_MBq[:, late]) @ t) / (t @ t)
        return np.log(2) / np.maximum(rate, radionuclide(self.nuclide).decay_constant_per_h)


def mono_factor_h(time_h: float, teff_h) -> np.ndarray:
    """exp(k t)/k with k = ln 2/Teff: what a mono-exponential's activity at t is multiplied with."""
    rate = np.log(2) / np.asarray(teff_h, dtype=float)
    return np.exp(rate * time_h) / rate


def check_within(time_h: float, cohort_h):
    """Raises an InputError for an hour that no patient of the cohort was measured at."""
    if not cohort_h[0] <= time_h <= cohort_h[-1]:
        expected = f"within the cohort's hours, {cohort_h[0]:g} to {cohort_h[-1]:g} h"
        do = "learn on a cohort that covers the scan; nothing is known of its curves there"
        raise InputError(describe("time_h of the scan", f"{time_h:g} h", expected, do))


def check_size(cohort: CurveCohort, name: str = "smallest_cohort"):
    """Raises an InputError for a cohort smaller than the table's limit of that name."""
    if len(cohort) < limit(name):
        do = "use more patients, or a rule that needs no cohort (Hanscheid2018 with a HalfLifePopulation)"
        found = f"{len(cohort)} patients"
        raise InputError(describe("cohort", found, f"at least {limit(name):g}: quantiles of fewer say little", do))


def _check_cohort(cohort: CurveCohort):
    t, a, tia, markers = cohort.time_h, cohort.activity_MBq, cohort.tia_MBq_h, cohort.biomarkers
    shapes = t.ndim == 1 and len(t) >= 2 and tia.ndim == 1 and a.shape == (len(tia), len(t))
    shapes = shapes and (markers is None or (markers.ndim == 2 and len(markers) == len(tia)))
    if not shapes:
        found = f"shapes {t.shape}, {a.shape}, {tia.shape}" + ("" if markers is None else f", {markers.shape}")
        expected = "[time], [patient, time], [patient] and [patient, feature]"
        raise InputError(describe("cohort", found, expected, "give each patient all hours"))
    numbers = np.isfinite(t).all() and np.isfinite(a).all() and np.isfinite(tia).all() and (a > 0).all()
    numbers = numbers and (tia > 0).all() and t[0] > 0 and (np.diff(t) > 0).all()
    if not (numbers and (markers is None or np.isfinite(markers).all())):
        expected = "finite numbers, hours above 0 and increasing, activities and integrals above 0"
        raise InputError(describe("cohort", "numbers that are not", expected, "correct or leave out those patients"))
    check_size(cohort)
