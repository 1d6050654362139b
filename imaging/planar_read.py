"""Planar views: which head looked from the front and which from the back, and how long a row of a whole body counted.

ActualFrameDuration of a planar object is the elapsed time of the acquisition (PS3.3 C.8.4.9). Under a moving table a
row of pixels counts only while the head is over it, for the head's length over ScanVelocity.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.provenance import load_table

ANTERIOR_deg, POSTERIOR_deg = 180.0, 0.0
"""Angles of a detector in front of and behind the patient (`imaging.projections`)."""


SLACK = 0.05
"""Travel by ScanVelocity may miss that by ScanLength by this much, relative, before the header contradicts itself."""


@dataclass(frozen=True)
class Sweep:
    """How a whole body was scanned; `dwell_s` is None where that is not known. `note` says what was decided."""

    dwell_s: float | None
    velocity_mm_per_s: float | None
    note: str


def is_whole_body(nm) -> bool:
    """By the third value of ImageType; other planar views stand still."""
    return "WHOLE BODY" in [str(word).upper() for word in nm.get("ImageType") or ()]


def sweep_of(nm, where: str, head_length_mm: float | None = None) -> Sweep:
    """The time that a row of a whole body was counted.

    The head's length is `head_length_mm`, else the column dimension of a rectangular FieldOfViewDimensions.

    Raises:
        InputError: a `head_length_mm` not above zero.
    """
    if head_length_mm is not None and not 0 < head_length_mm < np.inf:
        raise InputError(
            describe("head_length_mm", f"{head_length_mm:g}", "mm above zero", "correct it or leave it out")
        )
    length_mm, velocity = head_length_mm or _stated_length_mm(nm), float(nm.get("ScanVelocity") or 0)
    lacks = None
    if "MSP" in np.atleast_1d(nm.get("WholeBodyTechnique") or ""):
        lacks = "it was put together from standing heads (MSP); export each stand as a STATIC object"
    elif not velocity > 0:
        lacks = "ScanVelocity is missing; fill it in in mm/s"
    elif not length_mm:
        lacks = "the header does not tell how long the head is; give head_length_mm"
    elif not _fits(nm, velocity, length_mm):
        lacks = "ScanVelocity, ScanLength and ActualFrameDuration contradict each other; repair the header"
    if lacks or not length_mm:
        return Sweep(None, None, f"{where}: a whole body is left out, as its counting time is not known: {lacks}")
    by = "FieldOfViewDimensions" if head_length_mm is None else "head_length_mm"
    note = f"{where}: each row is counted while under the head, {length_mm:g} mm long by {by}"
    return Sweep(length_mm / velocity, velocity, note)


def _stated_length_mm(nm) -> float | None:
    """Along the table, from a detector's rectangular field of view (row dimension, then column: C.8.4.11)."""
    item = next(iter(nm.get("DetectorInformationSequence") or ()), nm)
    values = np.atleast_1d(item.get("FieldOfViewDimensions") or ())
    is_told = str(item.get("FieldOfViewShape") or "").upper() == "RECTANGLE" and len(values) == 2
    return float(values[1]) if is_told and float(values[1]) > 0 else None


def _fits(nm, velocity: float, length_mm: float) -> bool:
    """The table went at least the scanned length, and beyond it by no more than a head at each end of each pass."""
    elapsed_s, scanned_mm = float(nm.get("ActualFrameDuration") or 0) / 1000, float(nm.get("ScanLength") or 0)
    if not (elapsed_s > 0 and scanned_mm > 0):
        return True
    passes = 2 if "2PS" in np.atleast_1d(nm.get("WholeBodyTechnique") or "") else 1
    longest = passes * (scanned_mm + 2 * length_mm)
    return scanned_mm * (1 - SLACK) <= elapsed_s * velocity <= longest * (1 + SLACK)


def planar_angles(nm, detector, head: int, views: int, where: str) -> np.ndarray:
    """180 for anterior views and 0 for posterior ones, [view]: by the view code, else by StartAngle.

    Raises:
        ImageError: neither tells.
    """
    told = _by_code(detector)
    if told is None and detector is not None and detector.get("StartAngle") not in (None, ""):
        told = float(detector.StartAngle) % 360
    if told is None:
        field, do = f"{where}, ViewCodeSequence, StartAngle", "name the views in the header"
        raise ImageError(describe(field, f"nothing for detector {head}", "anterior or posterior", do))
    return np.full(views, told)


def _by_code(detector) -> float | None:
    """The angle that the view's code stands for, or the first word of its meaning."""
    views = {r["code"]: r["view"] for r in load_table("imaging", "view_codes.csv") if r["code"]}
    for code in (detector.get("ViewCodeSequence") or ()) if detector is not None else ():
        meaning = str(code.get("CodeMeaning", "")).strip().lower().split(" ")[0]
        word = views.get(str(code.get("CodeValue", "")).strip(), meaning)
        if word in ("anterior", "posterior"):
            return ANTERIOR_deg if word == "anterior" else POSTERIOR_deg
    return None


def planar_radius_mm() -> float:
    """Distance assumed where a planar header states none; conjugate views do not use it."""
    rows = load_table("imaging", "view_codes.csv")
    return next(float(r["value"]) for r in rows if r["view"] == "assumed_radius")
