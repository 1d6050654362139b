"""An `ImageSeries` as NIfTI with a JSON sidecar under BIDS-PET names, which `imaging.read_nifti_series` reads back."""

from __future__ import annotations

import json
from pathlib import Path

from dose.errors import ImageError, describe
from imaging.nifti import write_nifti
from imaging.series import ImageSeries
from imaging.sidecar import sidecar_path


def write_nifti_series(series: ImageSeries, path, *, with_date: bool = True) -> None:
    """Write one series as NIfTI with its sidecar; `with_date=False` leaves the calendar day out.

    Raises:
        ImageError: no decay correction that is defined, or one to an injection whose time is not known.
    """
    path = Path(path)
    content = _content(series, with_date)
    write_nifti(series.volume, path)
    sidecar_path(path).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _content(series: ImageSeries, with_date: bool) -> dict:
    if series.modality == "CT":
        return {"Units": "HU", "Modality": "CT", "theratwin": {"frame_hash": series.frame_hash}}
    if series.unit != "Bq/mL" or series.reference_at is None:
        found = "another unit, or no time of acquisition"
        raise ImageError(describe("series", found, "Bq/mL with its times, or CT", "write the volume with write_nifti"))
    drug, at, mids = series.radiopharmaceutical, series.reference_at, _mids(series)
    is_even = not mids or max(mids) - min(mids) < 1e-6
    frame_s = series.frame_s or (2 * mids[0] if mids and is_even else None)
    content = {
        "Units": "Bq/mL",
        "Modality": series.modality,
        "TracerRadionuclide": drug.nuclide,
        "InjectedRadioactivity": drug.administered_MBq,
        "InjectedRadioactivityUnits": None if drug.administered_MBq is None else "MBq",
        "TimeZero": at.time().isoformat(),
        "ScanDate": at.date().isoformat() if with_date else None,
        "ScanStart": 0.0,
        "InjectionStart": None if drug.started_at is None else (drug.started_at - at).total_seconds(),
        "FrameTimesStart": [0.0],
        "FrameDuration": None if frame_s is None else [frame_s],
        "ImageDecayCorrected": series.decay_correction != "NONE",
        "ImageDecayCorrectionTime": _corrected_s(series),
        "theratwin": _kept(_extension(series, None if is_even else mids)),
    }
    return _kept(content)


def _mids(series: ImageSeries) -> list[float]:
    return [] if series.slice_mid_s is None else [float(seconds) for seconds in series.slice_mid_s]


def _extension(series: ImageSeries, slice_mid_s: list[float] | None) -> dict:
    return {
        "frame_hash": series.frame_hash,
        "half_life_h": series.radiopharmaceutical.half_life_h,
        "weight_kg": series.weight_kg,
        "height_m": series.height_m,
        "sex": series.sex,
        "resolution_mm": series.resolution_mm,
        "slice_mid_s": slice_mid_s,
    }


def _kept(content: dict) -> dict:
    return {name: value for name, value in content.items() if value is not None}


def _corrected_s(series: ImageSeries) -> float | None:
    """ImageDecayCorrectionTime, in seconds from the start of the acquisition."""
    at, started = series.reference_at, series.radiopharmaceutical.started_at
    if series.decay_correction == "NONE":
        return None
    to = {"START": series.decay_reference_at or at, "ADMIN": started}.get(series.decay_correction)
    if to is None or at is None:
        found = "a decay correction that is not defined, or to an injection without a time"
        raise ImageError(describe("series.decay_correction", found, "NONE, START or ADMIN with its times", "set them"))
    return (to - at).total_seconds()
