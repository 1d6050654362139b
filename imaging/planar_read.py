"""Angles of planar views: which head looked from the front and which from the back."""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, describe
from dose.provenance import load_table

ANTERIOR_deg, POSTERIOR_deg = 180.0, 0.0
"""Angles of a detector in front of and behind the patient (`imaging.projections`)."""


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
