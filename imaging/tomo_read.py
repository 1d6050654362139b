"""NM TOMO, static and whole-body objects to `Projections`: views by their vectors, angles, radii, windows, the axis.

Angles are DICOM's own (PS3.3 C.8.4.11): start angle of each head, growing for CC and falling for CW. Frames go by
DetectorVector, RotationVector and AngularViewVector, in whatever order they are stored (STIR issue 1184 tells of
several). Rows run to the feet and are turned, unless the column direction of detector 1 points to the head.
"""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, describe
from imaging.axis import axis_lps_mm
from imaging.header import radiopharmaceutical_of, start_notes
from imaging.nm_read import numbers_of
from imaging.planar_read import is_whole_body, planar_angles, planar_radius_mm, sweep_of
from imaging.projections import Projections
from imaging.rotation_read import placed, rotation_item, start_angle_deg
from imaging.series import uid_hash
from imaging.times import acquired_at, reference_time
from imaging.windows import with_roles

SQUARE = 5e-3
"""Pixel sides may differ by this much, relative."""

MAX_NUMBER = 64
"""Windows, heads and rotations are counted to this; a damaged vector would have each of 65 535 looked for."""

CLOCKWISE = {"CW": -1, "CC": 1, "CCW": 1}
"""Sign of the angular step by RotationDirection; CCW is no term of the standard but is met."""


def projections_of(
    nm, where: str, *, salt: str = "", zone: int | None = None, head_length_mm: float | None = None
) -> tuple[tuple[Projections, ...], tuple[str, ...]]:
    """(projections, notes) of one NM object: one `Projections` for each rotation, and what the user should know.

    A whole body whose counting time is not known and a rotation whose place is not known are left out, with a note.

    Raises:
        InputError: a `head_length_mm` (`imaging.planar_read.sweep_of`) not above zero.
        ImageError: vectors, angles, radii, durations or windows missing or not fitting the frames.
    """
    sweep = sweep_of(nm, where, head_length_mm) if is_whole_body(nm) else None
    if sweep is not None and sweep.dwell_s is None:
        return (), (sweep.note,)
    frames = _frames(nm, where)
    dy, dx = (float(v) for v in nm.PixelSpacing)
    if abs(dy / dx - 1) > SQUARE:
        raise ImageError(describe(f"{where}, PixelSpacing", "pixels that are not square", "square", "rebin them"))
    window, detector, rotation = (_vector(nm, name, len(frames), where) for name in VECTORS)
    numbers = sorted(set(rotation))
    dwell_s = None if sweep is None else sweep.dwell_s
    parts = [_rotation(nm, frames, (window, detector), rotation == r, r, where, dwell_s) for r in numbers]
    reference = acquired_at(nm, zone) or reference_time([nm], zone)[0]
    common = {
        "started_at": reference,
        "pixel_mm": dx,
        "radiopharmaceutical": radiopharmaceutical_of(nm, reference, where, zone),
        "collimator": _collimator(nm),
        "series_uid_hash": uid_hash(nm.SeriesInstanceUID, salt),
        "frame_hash": uid_hash(nm.get("FrameOfReferenceUID", ""), salt),
        "scan_velocity_mm_per_s": None if sweep is None else sweep.velocity_mm_per_s,
    }
    windows = with_roles(_bounds_keV(nm, int(window.max()), where), common["radiopharmaceutical"].nuclide)
    made, notes = placed(nm, numbers, [Projections(windows=windows, **part, **common) for part in parts], where)
    swept = () if sweep is None else (sweep.note,)
    return made, (*swept, *notes, *(_notes_of(nm, made[0], where) if made else ()))


VECTORS = ("EnergyWindowVector", "DetectorVector", "RotationVector")
"""Which window, head and rotation each frame belongs to, counted from 1."""


def is_planar(nm) -> bool:
    """Static or whole-body image, by the third value of ImageType."""
    kinds = [str(word).upper() for word in nm.get("ImageType") or ()]
    return any(kind in ("STATIC", "WHOLE BODY") for kind in kinds)


def _notes_of(nm, made: Projections, where: str) -> tuple[str, ...]:
    notes = [*start_notes(nm, where)]
    detectors = nm.get("DetectorInformationSequence") or [nm]
    if detectors[0].get("ImagePositionPatient") is None:
        notes.append(f"{where}: no position of the detectors, so the axis is put at the origin")
    if is_planar(nm) and not any(part.get("RadialPosition") for part in detectors):
        notes.append(f"{where}: no RadialPosition of planar views; {planar_radius_mm():g} mm is assumed")
    if "peak" not in {window.role for window in made.windows}:
        notes.append(f"{where}: no energy window holds a line of the nuclide, so none is taken for the photopeak")
    if str(nm.get("PatientPosition") or "HFS").upper()[2:] not in ("S", ""):
        notes.append(f"{where}: the patient did not lie supine; angles count from the back as DICOM defines them")
    return tuple(notes)


def _frames(nm, where: str) -> np.ndarray:
    """Counts of all frames, float32 [frame, v, u], rows to the head."""
    pixels = np.asarray(nm.pixel_array)
    frames = pixels[None] if pixels.ndim == 2 else pixels
    if frames.min() < 0:
        raise ImageError(describe(where, "negative counts", "counts as acquired", "export the raw projections"))
    slope = nm.get("RescaleSlope")
    frames = frames.astype(np.float32) * np.float32(1.0 if slope in (None, "") else float(slope))
    detectors = nm.get("DetectorInformationSequence") or ()
    orientation = (detectors[0].get("ImageOrientationPatient") if detectors else None) or [1, 0, 0, 0, 0, -1]
    return frames if float(orientation[5]) > 0 else frames[:, ::-1]


def _vector(nm, name: str, frames: int, where: str) -> np.ndarray:
    """A frame vector [frame]; ones where it is absent, as for a single window, head or rotation."""
    values = numbers_of(nm.get(name))
    if not values:
        return np.ones(frames, dtype=int)
    if len(values) != frames or min(values) < 1:
        found = f"{len(values)} values for {frames} frames"
        raise ImageError(describe(f"{where}, {name}", found, "one for each frame", "repair the header"))
    if not 1 <= min(values) <= max(values) <= MAX_NUMBER:
        found = "numbers that are none of a window, head or rotation"
        raise ImageError(describe(f"{where}, {name}", found, f"1 to {MAX_NUMBER}", "repair the header"))
    return np.array(values)


def _bounds_keV(nm, windows: int, where: str) -> list[tuple[float, float]]:
    items = nm.get("EnergyWindowInformationSequence") or ()
    ranges = [item.get("EnergyWindowRangeSequence") or () for item in items]
    if len(ranges) < windows or not all(len(r) for r in ranges):
        field = f"{where}, EnergyWindowInformationSequence"
        raise ImageError(describe(field, "windows without bounds", "lower and upper limit in keV", "fill them in"))
    lows = [min(float(r.EnergyWindowLowerLimit) for r in several) for several in ranges[:windows]]
    highs = [max(float(r.EnergyWindowUpperLimit) for r in several) for several in ranges[:windows]]
    return list(zip(lows, highs, strict=True))


def _rotation(nm, frames, vectors, here: np.ndarray, number: int, where: str, dwell_s: float | None) -> dict:
    """Counts [window, view, v, u], angles, radii, frame times, heads and axis of one rotation."""
    window, detector = vectors
    heads, windows = sorted(set(detector[here])), range(1, int(window.max()) + 1)
    item = rotation_item(nm, number, where)
    stacks, angles, radii = [], [], []
    for head in heads:
        chosen = [_views(nm, np.flatnonzero(here & (window == w) & (detector == head))) for w in windows]
        if len({len(c) for c in chosen}) != 1 or not len(chosen[0]):
            found = "energy windows with unequal numbers of views"
            raise ImageError(describe(f"{where}, EnergyWindowVector", found, "all views in each", "export it again"))
        stacks.append(np.stack([frames[c] for c in chosen]))
        angles.append(_angles(nm, item, (head, len(heads)), len(chosen[0]), where))
        radii.append(_radii(nm, item, head, len(chosen[0]), where))
    views = sum(len(a) for a in angles)
    equal = len({len(a) for a in angles}) == 1
    return {
        "counts": np.concatenate(stacks, axis=1),
        "angles_deg": np.concatenate(angles),
        "radii_mm": np.concatenate(radii),
        "frame_s": np.full(views, _frame_s(nm, item, where) if dwell_s is None else dwell_s),
        "centre_lps_mm": axis_lps_mm(nm, item, [a[0] for a in angles], [r[0] for r in radii], where),
        "heads": len(heads) if equal else 1,
    }


def _views(nm, indices: np.ndarray) -> np.ndarray:
    """Frame indices in order of AngularViewVector, or as stored."""
    order = numbers_of(nm.get("AngularViewVector"))
    return indices[np.argsort([order[k] for k in indices], kind="stable")] if order else indices


def _detector_item(nm, head: int):
    items = nm.get("DetectorInformationSequence") or ()
    return items[head - 1] if head <= len(items) else None


def _angles(nm, item, head_of: tuple[int, int], views: int, where: str) -> np.ndarray:
    """DICOM angles of a head's views, degrees in [0, 360); the head by its number and how many there are."""
    head, heads = head_of
    detector = _detector_item(nm, head)
    if is_planar(nm):
        return planar_angles(nm, detector, head, views, where)
    start = start_angle_deg(nm, item, detector, heads, where)
    step = None if item is None else item.get("AngularStep")
    direction = CLOCKWISE.get(str(item.get("RotationDirection") or "").upper()) if item is not None else None
    if start is None or step in (None, "") or direction is None:
        field = f"{where}, StartAngle, AngularStep, RotationDirection"
        raise ImageError(describe(field, "one of them missing", "all three", "fill them in, or give them by hand"))
    return (start + direction * float(step) * np.arange(views)) % 360


def _radii(nm, item, head: int, views: int, where: str) -> np.ndarray:
    """Distance from the axis to the collimator for each view of a head, mm."""
    for part in (_detector_item(nm, head), item):
        stated = None if part is None else part.get("RadialPosition")
        values = [] if stated in (None, "") else np.atleast_1d(np.asarray(stated, dtype=float))
        if len(values) == 1:
            return np.full(views, float(values[0]))
        if len(values) == views:
            return np.asarray(values, dtype=float)
        if len(values):
            found = f"{len(values)} values for {views} views"
            raise ImageError(describe(f"{where}, RadialPosition", found, "one, or one a view", "repair the header"))
    if is_planar(nm):
        return np.full(views, planar_radius_mm())
    raise ImageError(describe(f"{where}, RadialPosition", "nothing", "mm for each view", "fill it in by hand"))


def _frame_s(nm, item, where: str) -> float:
    for part in (item, nm):
        stated = None if part is None else part.get("ActualFrameDuration")
        if stated not in (None, ""):
            return float(stated) / 1000
    raise ImageError(describe(f"{where}, ActualFrameDuration", "nothing", "ms of each view", "fill it in by hand"))


def _collimator(nm) -> str:
    """The maker's name of the collimator, kept only where it is a short code."""
    detector = _detector_item(nm, 1)
    name = "" if detector is None else str(detector.get("CollimatorGridName") or "").strip()
    return name if len(name) <= 16 and name.replace("-", "").replace("_", "").replace(" ", "").isalnum() else ""
