"""What a header says of its decay correction, and whether its fields agree: PS3.3 C.8.9.1.1.6, C.8.9.4.

A contradiction that would change the activity is an error naming the two kinds of value; what only casts doubt is a
note.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from dose.errors import ImageError, describe
from dose.nuclides import radionuclide
from imaging.series import Radiopharmaceutical
from imaging.times import acquired_at, earliest_acquisition

FACTOR_TOLERANCE = 0.01
"""A slice's DecayFactor may differ by this (relative) from that of its frame's time."""

NOTED_EARLIER_H, MOST_EARLIER_H = 1.0, 12.0
"""A series time so long before the first acquisition is told, and is no start of the scan."""

NM_CLASS = "1.2.840.10008.5.1.4.1.1.20"


def decay_correction(dataset, where: str) -> tuple[str, tuple[str, ...]]:
    """NONE, START, ADMIN (UNDEFINED for any other word, refused when used, never told) and notes.

    Raises:
        ImageError: DECY without a reference, or NONE beside DECY.
    """
    stated = str(dataset.get("DecayCorrection") or "").upper()
    stated = stated if stated in ("", "NONE", "START", "ADMIN") else "UNDEFINED"
    words = dataset.get("CorrectedImage") or ()
    corrected = [str(word).upper() for word in ([words] if isinstance(words, str) else words)]
    if not stated:
        if "DECY" in corrected:
            found, expected = "DECY in CorrectedImage and no DecayCorrection", "NONE, START or ADMIN"
            raise ImageError(describe(where, found, expected, "ask the site which time the correction refers to"))
        return ("NONE" if str(dataset.SOPClassUID) == NM_CLASS else ""), ()
    if stated == "NONE" and "DECY" in corrected:
        found, expected = "DecayCorrection NONE and DECY in CorrectedImage", "fields that agree"
        raise ImageError(describe(where, found, expected, "ask the site whether decay is corrected, and to which time"))
    if stated in ("START", "ADMIN") and corrected and "DECY" not in corrected:
        return stated, (f"{where}: DecayCorrection {stated}, but CorrectedImage does not list DECY",)
    return stated, ()


def early_series_note(
    datasets: list, correction: str, reference: datetime | None, where: str, zone: int | None = None
) -> tuple[str, ...]:
    """A note where the series time that START refers to lies more than an hour before the first acquisition.

    Raises:
        ImageError: more than `MOST_EARLIER_H` before it.
    """
    earliest = earliest_acquisition(datasets, zone)
    if correction != "START" or reference is None or earliest is None:
        return ()
    hours = (earliest - reference).total_seconds() / 3600
    if hours > MOST_EARLIER_H:
        found = f"a series time {hours:.1f} h before the first acquisition, and DecayCorrection START"
        fields, do = f"{where}, SeriesDate and SeriesTime", "correct the dates, or ask which time decay is corrected to"
        raise ImageError(describe(fields, found, f"at most {MOST_EARLIER_H:g} h", do))
    if hours <= NOTED_EARLIER_H:
        return ()
    return (f"{where}: the series time, which START refers to, is {hours:.1f} h before the first acquisition",)


def factor_note(
    datasets: list,
    correction: str,
    reference: datetime | None,
    given: Radiopharmaceutical,
    where: str,
    zone: int | None = None,
) -> tuple[str, ...]:
    """A note where DecayFactor does not fit the frames' times (START) or is not one (NONE), or where the injection
    that ADMIN refers to has no time; else nothing."""
    if correction == "ADMIN" and given.started_at is None:
        return (f"{where}: decay is corrected to the injection, whose time is missing: refused as activity",)
    stated = [d.get("DecayFactor") for d in datasets]
    if any(s in (None, "") for s in stated) or given.nuclide is None or reference is None:
        return ()
    factors = np.array(stated, dtype=float)
    if correction == "NONE" and np.any(np.abs(factors - 1) > FACTOR_TOLERANCE):
        return (f"{where}: DecayCorrection NONE, but a DecayFactor of up to {factors.max():.4f}",)
    if correction != "START":
        return ()
    half_life_s = 3600 * (given.half_life_h or radionuclide(given.nuclide).half_life_h)
    worst = float(np.max(_misfit(datasets, factors, reference, np.log(2) / half_life_s, zone)))
    if worst <= FACTOR_TOLERANCE:
        return ()
    return (
        f"{where}: DecayFactor differs by up to {worst:.1%} from that of the frames' times (DecayCorrection START)",
    )


def _misfit(datasets: list, factors: np.ndarray, reference: datetime, rate_per_s: float, zone) -> np.ndarray:
    """Relative difference of each factor from the nearest of the vendors' ways to make it, [slice].

    The frame may be dated by its acquisition time or by FrameReferenceTime (as its start or as its middle), and the
    factor taken at the start or averaged over the frame. Slices without any time fit.
    """
    begun = [acquired_at(d, zone) for d in datasets]
    by_clock = [(b - reference).total_seconds() if b else np.nan for b in begun]
    frames = [d.get("FrameReferenceTime") for d in datasets]
    by_frame = [np.nan if t in (None, "") else float(t) / 1000 for t in frames]
    last = rate_per_s * np.array([float(d.get("ActualFrameDuration") or 0) / 1000 for d in datasets])
    mean = np.where(last > 0, last / -np.expm1(-np.maximum(last, 1e-12)), 1.0)
    expected = np.exp(rate_per_s * np.array([by_clock, by_frame]))
    misfits = np.abs(factors / np.concatenate([expected, expected * mean]) - 1)
    misfits = np.where(np.isnan(misfits), np.inf, misfits).min(axis=0)
    return np.where(np.isinf(misfits), 0.0, misfits)
