"""The frames of a dynamic scan from its image series: one clock, one decay reference, one nuclide, or an error.

Time 0 is what the frames' decay correction refers to. DecayCorrection START (DICOM PS3.3 C.8.9.1, PET series) is the
start of the acquisition: of each frame, or of the scan, which the reader then holds as `decay_reference_at`.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from imaging.parametric.frames import DynamicFrames
from imaging.series import ImageSeries

SAME_TIME_MIN = 1 / 60
"""Given times may differ from the headers' by this much: headers are often in whole seconds."""


def frames_of(series: list[ImageSeries], start_min=None, duration_min=None) -> DynamicFrames:
    """Frames of one dynamic scan from its 3D images in order of time.

    Time 0 is the decay reference of the first frame (its own start where values are not corrected); frames that refer
    to another time each are brought to it. Times are the headers' unless given, and the headers' must bear given ones
    out, to a second.

    Raises:
        InputError: other units than Bq/mL, mixed decay corrections or nuclides, ADMIN, no times in the headers, or
            times that are not those given.
        ImageError: frames on different grids, out of order or overlapping.
    """
    nuclide = _checked(series)
    reference, starts = _reference(series), [s.reference_at for s in series]
    times = _compared("start_min", [_minutes(reference[0], at) for at in starts], start_min)
    lasting = [None if s.frame_s is None else s.frame_s / 60 for s in series]
    durations = _compared("duration_min", lasting, duration_min)
    corrected = series[0].decay_correction == "START"
    stack = np.stack([s.volume.array for s in series])
    if corrected:
        rate = radionuclide(nuclide).decay_constant_per_h / 60
        later = np.exp(rate * np.array([_minutes(reference[0], at) for at in reference]))
        stack = stack * later.astype(np.float32).reshape(-1, 1, 1, 1)
    return DynamicFrames(stack, times, durations, corrected, nuclide, series[0].volume.affine)


def _checked(series: list[ImageSeries]) -> str:
    """The nuclide of frames that belong together."""
    if not series or {s.unit for s in series} != {"Bq/mL"} or len({s.decay_correction for s in series}) != 1:
        found, expected = "none, other units, or mixed decay corrections", "frames in Bq/mL of one scan"
        raise InputError(describe("dynamic series", found, expected, "give the frames of one scan"))
    if series[0].decay_correction not in ("START", "NONE"):
        found, do = "frames corrected to the injection", "export the scan with DecayCorrection START or NONE"
        raise InputError(describe("dynamic series, DecayCorrection", found, "START or NONE", do))
    if not all(s.volume.is_on_grid_of(series[0].volume) for s in series):
        raise ImageError(describe("dynamic series", "different grids", "one grid", "register and resample the frames"))
    numbers = [s.frame for s in series]
    if len(set(numbers)) == len(numbers) and numbers != sorted(numbers):
        raise ImageError(describe("dynamic series", "frames out of order", "frame numbers that rise", "sort them"))
    nuclides = {s.radiopharmaceutical.nuclide for s in series}
    nuclide = series[0].radiopharmaceutical.nuclide
    if nuclide is None or len(nuclides) > 1:
        raise InputError(describe("dynamic series", "no nuclide, or several", "one nuclide", "fill it in the header"))
    return nuclide


def _reference(series: list[ImageSeries]) -> list[datetime]:
    """What each frame's values refer to: its decay reference, or the first frame's start where nothing is corrected."""
    first = series[0].reference_at
    own = [s.reference_at if s.decay_correction == "NONE" else s.decay_reference_at or s.reference_at for s in series]
    if first is None or any(s.reference_at is None for s in series) or any(at is None for at in own):
        do = "keep the times when dates are removed (shifted dates serve), or build DynamicFrames yourself"
        raise InputError(describe("dynamic series", "a frame without date and time", "the start of each frame", do))
    return [at for at in own if at is not None]


def _minutes(origin: datetime, at: datetime | None) -> float | None:
    return None if at is None else (at - origin).total_seconds() / 60


def _compared(name: str, headers: list[float | None], given) -> np.ndarray:
    """The headers' times, or the given ones where the headers do not speak against them."""
    known = np.array([np.nan if h is None else h for h in headers], dtype=float)
    chosen = known if given is None else np.asarray(given, dtype=float)
    if chosen.shape != known.shape or np.isnan(chosen).any():
        found = f"{chosen.size} times for {known.size} frames, or a frame without"
        raise InputError(describe(name, found, "one time a frame", "give them in minutes"))
    apart = np.abs(chosen - known)[~np.isnan(known)]
    if apart.size and apart.max() > SAME_TIME_MIN:
        do = "leave them out, or correct them: minutes from the decay reference of the first frame on"
        raise InputError(describe(name, f"up to {apart.max():.3g} min from the headers'", "the headers' times", do))
    return chosen
