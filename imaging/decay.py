"""Decay corrections of a scan: from what the scanner wrote to the activity present at the start of the acquisition.

PET voxels are held NONE (as measured, a mean over each frame), START (corrected to the start of the series) or ADMIN
(corrected to the injection): DICOM PS3.3 C.8.9.1.1.6. The header's own half-life undoes the header's own correction;
the nuclide table serves for everything else. Forgetting ADMIN overstates a 177Lu scan by 13% on the next day and
twofold after a week.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from imaging.series import ImageSeries

CORRECTIONS = ("NONE", "START", "ADMIN")

MAX_HALF_LIVES = 12.0
"""A scan later than this many half-lives after its injection sees 0.02% of it: the clock or the day is wrong."""

HALF_LIFE_TOLERANCE = 0.005
"""Header and table half-lives that differ by more than this (relative) are reported."""


def injection_time(series: ImageSeries, administration_start: datetime | None = None) -> datetime:
    """The start of the administration: the one given, else the header's.

    Raises:
        ImageError: neither is known, or only a time of day of a long-lived nuclide.
        InputError: a given start with a time zone.
    """
    if administration_start is not None and administration_start.tzinfo is not None:
        expected, do = "the local time of the study's zone, as the scans' times are", "convert it and drop the zone"
        raise InputError(describe("administration_start", "a time zone", expected, do))
    start = administration_start or series.radiopharmaceutical.started_at
    if start is None:
        only_clock = series.radiopharmaceutical.started_time_only
        found = "a time of day without a date" if only_clock else "nothing"
        where = f"series {series.series_uid_hash}, RadiopharmaceuticalStartDateTime"
        raise ImageError(describe(where, found, "date and time of the administration", "pass administration_start"))
    return start


def hours_after(series: ImageSeries, administration_start: datetime | None = None) -> float:
    """Hours from the start of the administration to the start of the acquisition.

    Raises:
        ImageError: times missing, scan before injection, or later than `MAX_HALF_LIVES`.
    """
    where = f"series {series.series_uid_hash}"
    if series.reference_at is None:
        raise ImageError(describe(f"{where}, AcquisitionDate and Time", "nothing", "both", "repair the header"))
    start = injection_time(series, administration_start)
    hours = (series.reference_at - start).total_seconds() / 3600
    half_life_h = radionuclide(nuclide_name(series)).half_life_h
    if hours < 0:
        found, expected = f"a scan {-hours:.2f} h before the injection", "a scan after it"
        raise ImageError(describe(where, found, expected, "check both clocks and dates, or pass administration_start"))
    if hours > MAX_HALF_LIVES * half_life_h:
        found = f"a scan {hours:.1f} h after injection, {hours / half_life_h:.1f} half-lives (scan before injection?)"
        expected = f"at most {MAX_HALF_LIVES:g} half-lives"
        raise ImageError(describe(where, found, expected, "check the dates, or pass administration_start"))
    return hours


def nuclide_name(series: ImageSeries) -> str:
    """The series' nuclide; ImageError where the header does not tell."""
    name = series.radiopharmaceutical.nuclide
    if name is None:
        where = f"series {series.series_uid_hash}, RadionuclideCodeSequence"
        raise ImageError(describe(where, "no known nuclide", "a coded or named nuclide", "fill it in the header"))
    return name


def half_life_warning(series: ImageSeries) -> str | None:
    """A sentence where the header's half-life differs from the table's by more than 0.5%."""
    own, name = series.radiopharmaceutical.half_life_h, series.radiopharmaceutical.nuclide
    if own is None or name is None:
        return None
    ratio = own / radionuclide(name).half_life_h
    if abs(ratio - 1) <= HALF_LIFE_TOLERANCE:
        return None
    return f"series {series.series_uid_hash}: its half-life is {ratio:.4f} of the table's for {name}"


def factor_to_scan_start(series: ImageSeries) -> np.ndarray:
    """What multiplies each slice's values to give Bq/mL at the start of the acquisition, shape [z].

    Raises:
        ImageError: unknown correction, or the time that it refers to is missing.
    """
    slices = len(series.volume.array)
    if series.decay_correction == "START":
        return np.full(slices, 2.0 ** -_half_lives(series, _later_h(series)))
    if series.decay_correction == "ADMIN":
        return np.full(slices, 2.0 ** -_half_lives(series, hours_after(series)))
    if series.decay_correction == "NONE" and series.slice_mid_s is not None:
        return np.exp(radionuclide(nuclide_name(series)).decay_constant_per_h * series.slice_mid_s / 3600)
    where = f"series {series.series_uid_hash}, DecayCorrection"
    found = f'"{series.decay_correction}"' if series.decay_correction in CORRECTIONS else "nothing that is defined"
    raise ImageError(describe(where, found, f"one of {', '.join(CORRECTIONS)} with its times", "repair the header"))


def hours_to_decay_reference(series: ImageSeries, administration_start: datetime | None = None) -> float:
    """Hours from the start of the administration to the time that the stored voxels refer to under START.

    It differs from `hours_after` for the later frames of a dynamic series, all corrected to the start of the first.

    Raises:
        ImageError: as `hours_after`.
    """
    return hours_after(series, administration_start) - _later_h(series)


def _later_h(series: ImageSeries) -> float:
    """Hours from the time that START refers to, to the start of this acquisition; 0 where they are one."""
    if series.decay_reference_at is None or series.reference_at is None:
        return 0.0
    return (series.reference_at - series.decay_reference_at).total_seconds() / 3600


def _half_lives(series: ImageSeries, hours: float) -> float:
    """Hours in half-lives of the header, with which its own correction is undone; 0 hours need no nuclide."""
    if hours == 0:
        return 0.0
    return hours / (series.radiopharmaceutical.half_life_h or radionuclide(nuclide_name(series)).half_life_h)
