"""NIfTI with its sidecar to `ImageSeries` and back: one series a time frame, in Bq/mL (or HU), with its times.

A frame's reference is its own start. ImageDecayCorrectionTime at the injection is ADMIN, at the frame's start or any
other time START; voxels are only brought to Bq/mL here, and their decay is left to `imaging.decay`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.kind import positron_emitters
from imaging.nifti import read_nifti_frames
from imaging.series import ImageSeries, Radiopharmaceutical, uid_hash
from imaging.sidecar import ACTIVITY_MBq, CONCENTRATION_Bq_mL, Sidecar, read_json, sidecar_of, sidecar_path

SAME_TIME_S = 1.0
"""Times of a sidecar that differ by less are the same moment."""


@dataclass(frozen=True)
class Frame:
    """When one time frame was taken, in seconds from TimeZero; `duration_s` is None where it is not stated."""

    number: int
    start_s: float
    duration_s: float | None


def read_nifti_series(path) -> tuple[ImageSeries, ...]:
    """The frames of an image with a JSON sidecar of the same name.

    Without ScanDate the day is a nominal one, so hours after injection hold and days between scans do not.

    Raises:
        ImageError: a damaged image, no sidecar, or a field of it that is missing or contradicts another.
    """
    return series_of(path, read_json(sidecar_path(path)))


def series_of(path, content: dict) -> tuple[ImageSeries, ...]:
    """As `read_nifti_series`, with the sidecar's content at hand.

    Raises:
        ImageError: a damaged image, or a field that is missing or contradicts another.
    """
    sidecar, volumes = sidecar_of(content), read_nifti_frames(path)
    stamp = uid_hash(json.dumps(content, sort_keys=True) + f"{[float(v.array.sum()) for v in volumes]}")
    if sidecar.Units == "HU":
        return tuple(
            ImageSeries(v, "CT", "HU", f"{stamp[:8]}{k:04d}", sidecar.theratwin.frame_hash)
            for k, v in enumerate(volumes)
        )
    if sidecar.TimeZero is None:
        _refuse("TimeZero", "nothing", "a time of day, hh:mm:ss")
    frames = _frames(sidecar, len(volumes))
    return tuple(_emission(v, f, sidecar, stamp) for v, f in zip(volumes, frames, strict=True))


def _frames(sidecar: Sidecar, count: int) -> list[Frame]:
    starts = sidecar.FrameTimesStart or ([sidecar.ScanStart] if count == 1 else [])
    durations = sidecar.FrameDuration or [None] * count
    if len(starts) != count or len(durations) != count:
        found = f"{len(starts)} starts and {len(durations)} durations for {count} frames"
        _refuse("FrameTimesStart, FrameDuration", found, "one of each a frame")
    return [Frame(k, start, duration) for k, (start, duration) in enumerate(zip(starts, durations, strict=True))]


def _emission(volume: Volume, frame: Frame, sidecar: Sidecar, stamp: str) -> ImageSeries:
    extra, drug = sidecar.theratwin, _radiopharmaceutical(sidecar)
    correction, decay_reference = _correction(sidecar, frame)
    modality, reason = _modality(sidecar, drug.nuclide)
    scaled = volume.array * np.float32(CONCENTRATION_Bq_mL[sidecar.Units])
    return ImageSeries(
        volume=volume.with_array(scaled),
        modality=modality,
        unit="Bq/mL",
        series_uid_hash=stamp,
        frame_hash=extra.frame_hash,
        kind_reason=reason,
        decay_correction=correction,
        reference_at=sidecar.moment(frame.start_s),
        slice_mid_s=_slice_mid_s(extra.slice_mid_s, frame, len(volume.array)),
        radiopharmaceutical=drug,
        weight_kg=extra.weight_kg,
        height_m=extra.height_m,
        sex=extra.sex,
        resolution_mm=extra.resolution_mm,
        decay_reference_at=decay_reference,
        frame=frame.number,
        frame_s=frame.duration_s,
    )


def _slice_mid_s(stated: list[float] | None, frame: Frame, slices: int) -> np.ndarray | None:
    if stated is not None and len(stated) != slices:
        _refuse("theratwin.slice_mid_s", f"{len(stated)} times", f"one for each of {slices} slices")
    if stated is not None:
        return np.array(stated)
    return None if frame.duration_s is None else np.full(slices, frame.duration_s / 2)


def _radiopharmaceutical(sidecar: Sidecar) -> Radiopharmaceutical:
    nuclide, activity, units = None, sidecar.InjectedRadioactivity, sidecar.InjectedRadioactivityUnits
    if sidecar.TracerRadionuclide is not None:
        try:
            nuclide = radionuclide(sidecar.TracerRadionuclide).name
        except InputError:
            nuclide = ""
    if nuclide == "":
        _refuse("TracerRadionuclide", "no nuclide that is known", 'one like "Lu177" or "177Lu"')
    if activity is not None and units is None:
        _refuse("InjectedRadioactivityUnits", "nothing", f"one of {', '.join(ACTIVITY_MBq)}")
    injected = sidecar.InjectionStart
    return Radiopharmaceutical(
        nuclide=nuclide,
        half_life_h=sidecar.theratwin.half_life_h,
        administered_MBq=None if activity is None or units is None else activity * ACTIVITY_MBq[units],
        started_at=None if injected is None else sidecar.moment(injected),
    )


def _correction(sidecar: Sidecar, frame: Frame) -> tuple[str, datetime | None]:
    """The series' decay correction, and the time that START refers to where it is not the frame's own start."""
    if sidecar.ImageDecayCorrected is None:
        _refuse("ImageDecayCorrected", "nothing", "true or false")
    if not sidecar.ImageDecayCorrected:
        return "NONE", None
    corrected_s, injected_s = sidecar.ImageDecayCorrectionTime, sidecar.InjectionStart
    if corrected_s is None:
        _refuse("ImageDecayCorrectionTime", "nothing, and ImageDecayCorrected true", "seconds from TimeZero")
    if abs(frame.start_s - corrected_s) < SAME_TIME_S:
        return "START", None
    if injected_s is not None and abs(corrected_s - injected_s) < SAME_TIME_S:
        return "ADMIN", None
    return "START", sidecar.moment(corrected_s)


def _modality(sidecar: Sidecar, nuclide: str | None) -> tuple[str, str]:
    if sidecar.Modality == "CT":
        _refuse("Modality", "CT with a unit of activity", "HU for CT")
    if sidecar.Modality is not None:
        return ("PET" if sidecar.Modality in ("PT", "PET") else "SPECT"), "stated in the sidecar"
    if nuclide is not None and nuclide not in positron_emitters() and nuclide != "90Y":
        return "SPECT", f"no modality stated, and {nuclide} emits no positrons to speak of"
    return "PET", "BIDS-PET"


def _refuse(field: str, found: str, expected: str) -> NoReturn:
    raise ImageError(describe(f"nifti sidecar, {field}", found, expected, "correct the sidecar"))
