"""What a single-time-point method is given and what it gives: one scan of a region, and an integral with its doubt.

A scan is one number, and the integral of a curve needs two: how much, and how long. The second one comes from elsewhere
(a population, an earlier cycle), so each estimate says which part of its uncertainty is not the scan's. Values may be
numbers of one patient or arrays over patients who were scanned at the same hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, radionuclide
from dose.provenance import load_table


@cache
def limit(name: str) -> float:
    """The value called `name` in calibration/data/single_time_point.csv."""
    return {row["name"]: float(row["value"]) for row in load_table("calibration", "single_time_point.csv")}[name]


@dataclass(frozen=True, eq=False)
class Scan:
    """Activity present in a region at one time, of one patient or [patient].

    `time_h` counts from the end of administration. `relative_sd` is that of the scan (calibration, recovery and
    counting); None takes the row scan_relative_sd of the table, and the estimate says so. `teff_h` is an effective
    half-life measured in an earlier cycle of the same patient, a number or [patient], as is its `teff_relative_sd`.
    `biomarkers` are [feature] or [patient, feature], in the order of the cohort's.

    Raises:
        InputError: a time not above zero, activity not above zero, an sd that is no fraction, an effective half-life
            longer than the physical one.
    """

    time_h: float
    activity_MBq: np.ndarray | float
    relative_sd: float | None = None
    region: str = ""
    nuclide: str = "177Lu"
    teff_h: np.ndarray | float | None = None
    teff_relative_sd: np.ndarray | float | None = None
    biomarkers: np.ndarray | None = None

    def __post_init__(self):
        _check_time(self.time_h)
        _check_positive("activity_MBq", self.activity_MBq, "remove scans without signal, or calibrate the twin on them")
        _check_fraction("relative_sd", self.relative_sd)
        _check_fraction("teff_relative_sd", self.teff_relative_sd)
        _check_shape("teff_relative_sd", self.teff_relative_sd, self.activity.shape)
        _check_shape("teff_h", self.teff_h, self.activity.shape)
        if self.teff_h is not None:
            check_half_life("teff_h", self.teff_h, self.physical)

    @classmethod
    def after_start(cls, from_start_h: float, infusion_h: float, activity_MBq, **rest) -> Scan:
        """The scan of a clock that began with the administration, which lasted `infusion_h`.

        Raises:
            InputError: the scan was taken before the infusion ended.
        """
        if not from_start_h > infusion_h:
            found = f"{from_start_h:g} h after the start of an infusion of {infusion_h:g} h"
            do = "check the two clocks; activity still flowing in has no single-time-point rule"
            raise InputError(describe("scan time", found, "a scan after the end of the infusion", do))
        return cls(from_start_h - infusion_h, activity_MBq, **rest)

    @property
    def physical(self) -> Radionuclide:
        return radionuclide(self.nuclide)

    @property
    def activity(self) -> np.ndarray:
        """Activities in MBq as an array, [patient] or without axes."""
        return np.asarray(self.activity_MBq, dtype=float)

    @property
    def noise_log_sd(self) -> float:
        """Standard deviation of the log activity."""
        stated = limit("scan_relative_sd") if self.relative_sd is None else self.relative_sd
        return float(np.sqrt(np.log1p(stated**2)))


@dataclass(frozen=True, eq=False)
class TIAEstimate:
    """Time-integrated activity from 0 to the end of time, in MBq h, of one patient or [patient].

    `lower90_MBq_h` to `upper90_MBq_h` are the 5 and 95 % quantiles of what the truth may be; they are not symmetric,
    and where a method is known to be biased the estimate need not be in their middle. `prior_share`, 0 to 1, is the
    part of the expected squared log error that would stay if the scan had no noise: what is assumed, not measured.
    """

    method: str
    tia_MBq_h: np.ndarray
    lower90_MBq_h: np.ndarray
    upper90_MBq_h: np.ndarray
    prior_share: np.ndarray
    notes: tuple[str, ...] = ()


def _check_time(time_h):
    if np.ndim(time_h) == 0 and np.isfinite(time_h) and time_h > 0:
        return
    found = f"{time_h} h" if np.ndim(time_h) == 0 else f"{np.size(time_h)} times"
    expected = "one hour above 0, counted from the end of the administration"
    do = "check clocks and time zone; patients scanned at other hours are other scans"
    raise InputError(describe("time_h of the scan", found, expected, do))


def _check_positive(field: str, values, do: str):
    values = np.asarray(values, dtype=float)
    bad = ~(np.isfinite(values) & (values > 0))
    if values.size == 0 or bad.any():
        found = f"{bad.sum()} of {values.size} not above zero or not finite"
        raise InputError(describe(field, found, "numbers above 0", do))


def _check_shape(field: str, values, shape: tuple[int, ...]):
    if values is not None and np.shape(values) not in (shape, ()):
        found, expected = f"shape {np.shape(values)}", f"one number, or one for each activity {shape}"
        raise InputError(describe(field, found, expected, "give patients in the same order"))


def _check_fraction(field: str, value):
    if value is not None and not np.all((np.asarray(value) > 0) & (np.asarray(value) < 1)):
        raise InputError(
            describe(
                field,
                f"{value}" if np.ndim(value) == 0 else "others",
                "a fraction between 0 and 1",
                "write 5 % as 0.05",
            )
        )


def check_half_life(field: str, teff_h, nuclide: Radionuclide):
    """Raises an InputError where an effective half-life is not above zero or outlasts the physical one."""
    _check_positive(field, teff_h, "give hours")
    longest = float(np.max(teff_h))
    if longest > nuclide.half_life_h * (1 + limit("half_life_tolerance")):
        expected = f"at most the physical half-life of {nuclide.name}, {nuclide.half_life_h:.4g} h"
        do = "check whether the activities it came from had been corrected for decay"
        raise InputError(describe(field, f"{longest:.4g} h", expected, do))
