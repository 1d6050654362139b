"""The files of one series to images: geometry, scale, times and what the header says of the injection.

Slices come one a file, NM one object a file. A series with several time frames gives one image for each.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

import numpy as np

from dose.errors import ImageError, describe
from imaging.body_in import height_m, weight_kg
from imaging.decay_in import decay_correction, early_series_note, factor_note
from imaging.geometry import Volume
from imaging.header import NM_CLASS, radiopharmaceutical_of, start_notes
from imaging.kind import kind_of
from imaging.nm_read import frame_order, nm_affine
from imaging.series import ImageSeries, Radiopharmaceutical, uid_hash
from imaging.slices import stack_of, time_frames, volume_of
from imaging.suv_in import activity_from_suv
from imaging.times import acquired_at, earliest_acquisition, reference_time
from imaging.units_in import emission_array, rescaled, scale_note, unused_note

CT_CLASS = "1.2.840.10008.5.1.4.1.1.2"
CT_RANGE_HU = (-32768.0, 65535.0)
"""HU outside what 16 bits can hold mean a broken rescale slope."""

MATCHING_S = 1.0
"""Frames that begin within this of the series are its first."""


def stack_series(datasets: list, where: str, *, salt: str = "", calibration: float | None = None, zone=None):
    """The images of one series, notes for the user, and what was decided by which rule (topic to words).

    `datasets` hold pixels. `zone` is the study's, minutes east of UTC, or None.

    Raises:
        ImageError: mixed or uneven slices, unknown units, damaged pixels, contradictions.
    """
    first = datasets[0]
    common = {
        "series_uid_hash": uid_hash(first.SeriesInstanceUID, salt),
        "frame_hash": uid_hash(first.get("FrameOfReferenceUID", ""), salt),
    }
    if str(first.SOPClassUID) == CT_CLASS:
        image, notes = _ct(datasets, where, common)
        return (image,), notes, {"scale": "RescaleSlope and RescaleIntercept of each slice"}
    if str(first.SOPClassUID) == NM_CLASS:
        frames, read = [[nm] for nm in sorted(datasets, key=_began)], _nm_volume
    else:
        frames, read = time_frames(datasets, zone), _slice_volume
    correction = decay_correction(first, where)[0]
    reference, rule = reference_time(datasets, zone, correction if len(frames) == 1 else "START")
    early = early_series_note(datasets, correction, reference, where, zone)
    make = partial(_emission, read=read, where=where, common=common, calibration=calibration, zone=zone)
    made = [make(members, series_reference=reference, frame=k, frames=len(frames)) for k, members in enumerate(frames)]
    images = tuple(image for image, _, _ in made)
    notes = (*start_notes(first, where), *early, *(note for _, notes, _ in made for note in notes))
    decided = {"decay reference": rule, "scale": made[0][2], "modality": images[0].kind_reason}
    return images, tuple(dict.fromkeys(notes)), decided


def _began(dataset) -> tuple[bool, datetime]:
    begun = acquired_at(dataset)
    return begun is None, begun or datetime.min


def _ct(datasets: list, where: str, common: dict):
    stack = stack_of(datasets, where)
    array = np.stack([rescaled(datasets[k]) for k in stack.order])
    low, high = CT_RANGE_HU
    if array.min() < low or array.max() > high:
        raise ImageError(describe(where, "values no CT can have", f"{low:g} to {high:g} HU", "check RescaleSlope"))
    volume, notes = volume_of(array, stack, where, may_be_tilted=True)
    return ImageSeries(volume, "CT", "HU", **common), notes


def _slice_volume(datasets: list, where: str, calibration: float | None):
    """Volume, data sets in order, unit, how it was scaled, and notes of one slice a file."""
    stack = stack_of(datasets, where)
    ordered = [datasets[k] for k in stack.order]
    array, unit, how = emission_array(ordered, where, calibration)
    volume, notes = volume_of(array, stack, where, may_be_tilted=False)
    return volume, ordered, unit, how, notes


def _nm_volume(datasets: list, where: str, calibration: float | None):
    array, unit, how = emission_array(datasets, where, calibration)
    ordered = array[frame_order(datasets[0], len(array))]
    return Volume(ordered, nm_affine(datasets[0], where)), datasets, unit, how, ()


def _emission(members: list, *, read, where, common, calibration, zone, series_reference, frame: int, frames: int):
    """One PET or SPECT image (a time frame of the series), its notes, and how it was scaled."""
    volume, ordered, unit, how, notes = read(members, where, calibration)
    first = ordered[0]
    given = radiopharmaceutical_of(first, series_reference, where, zone)
    correction, doubts = decay_correction(first, where)
    reference = _frame_start(ordered, series_reference, zone) if frames > 1 else series_reference
    modality, reason = kind_of(first, given.nuclide)
    image = ImageSeries(
        volume=volume,
        modality=modality,
        unit=unit,
        kind_reason=reason,
        decay_correction=correction,
        reference_at=reference,
        decay_reference_at=series_reference if reference != series_reference else None,
        slice_mid_s=_slice_mid_s(ordered, reference, len(volume.array), zone),
        frame=frame,
        frame_s=_duration_s(first),
        **common,
        **_told(first, given, where),
    )
    doubts += factor_note(ordered, correction, series_reference, given, where, zone)
    if correction == "NONE" and any(_duration_s(d) is None for d in ordered):
        doubts += (f"{where}: no duration of the frames, so uncorrected voxels are taken as those at their start",)
    doubts += unused_note(how, calibration, where)
    image, back = activity_from_suv(image, where)
    return image, (*notes, *doubts, *back, *scale_note(image, where)), how


def _told(dataset, given: Radiopharmaceutical, where: str) -> dict:
    """What the header says of patient and camera."""
    return {
        "radiopharmaceutical": given,
        "weight_kg": weight_kg(dataset, where),
        "height_m": height_m(dataset, where),
        "sex": {"M": "male", "F": "female"}.get(str(dataset.get("PatientSex", ""))),
        "resolution_mm": _number(dataset, "SpatialResolution"),
    }


def _number(dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    return float(value) if value not in (None, "") and float(value) > 0 else None


def _duration_s(dataset) -> float | None:
    """Seconds of one time frame. A rotation lasts as long as its views, which all heads take at once."""
    turns = dataset.get("RotationInformationSequence") or ()
    if turns:
        views = [float(t.get("NumberOfFramesInRotation") or 0) * _milliseconds(t) for t in turns]
        return sum(views) / 1000 if min(views) > 0 else None
    return _milliseconds(dataset) / 1000 or None


def _milliseconds(item) -> float:
    return max(float(item.get("ActualFrameDuration") or 0), 0.0)


def _frame_start(datasets: list, reference: datetime | None, zone: int | None) -> datetime | None:
    """Start of one time frame: its earliest acquisition, or its FrameReferenceTime where all frames share a clock."""
    earliest = earliest_acquisition(datasets, zone)
    delays = [float(d.FrameReferenceTime) / 1000 for d in datasets if d.get("FrameReferenceTime") not in (None, "")]
    is_shared = reference is None or earliest is None or abs((earliest - reference).total_seconds()) < MATCHING_S
    if not is_shared or not delays or reference is None:
        return earliest or reference
    return reference + timedelta(seconds=max(min(delays) - (_duration_s(datasets[0]) or 0.0) / 2, 0.0))


def _slice_mid_s(datasets: list, reference: datetime | None, slices: int, zone: int | None) -> np.ndarray | None:
    """Seconds from the reference to mid-frame per slice; an NM object has one frame time for all."""
    if reference is None:
        return None
    begun = [acquired_at(d, zone) or reference for d in datasets]
    half = [(_duration_s(d) or 0.0) / 2 for d in datasets]
    seconds = [(b - reference).total_seconds() + h for b, h in zip(begun, half, strict=True)]
    return np.array(seconds if len(seconds) == slices else [seconds[0]] * slices)
