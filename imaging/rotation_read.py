"""Rotations of one NM TOMO object after the first: where the heads start, when, and whether the table has moved.

A new rotation begins where the direction changes or TableTraverse does (PS3.3 C.8.4.12). StartAngle of a detector is
that of the acquisition, StartAngle of a rotation that rotation's own, so their difference from the first moves every
head. Range and sense of TableTraverse are the maker's own: what lies at another position has no place in the patient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np

from dose.errors import ImageError, describe
from imaging.projections import Projections

SAME_TABLE_MM = 1.0
"""Table positions that differ by less are one."""


def rotation_item(nm, number: int, where: str):
    """The item of a rotation counted from 1, None where the object has no items at all.

    Raises:
        ImageError: fewer items than rotations.
    """
    items = nm.get("RotationInformationSequence") or ()
    if not items:
        return None
    if number > len(items):
        field, found = f"{where}, RotationInformationSequence", f"{len(items)} items, and a rotation {number}"
        raise ImageError(describe(field, found, "one item for each rotation", "export the acquisition again"))
    return items[number - 1]


def start_angle_deg(nm, item, detector, heads: int, where: str) -> float | None:
    """Where a head starts this rotation; None where the header does not tell.

    Raises:
        ImageError: several rotations or heads whose places cannot be told apart.
    """
    told = [None if part is None else _number(part.get("StartAngle")) for part in (detector, item)]
    if told[0] is None and heads > 1:
        field, found = f"{where}, detectors' StartAngle", f"nothing for one of {heads} heads"
        raise ImageError(describe(field, found, "where each head starts", "fill it in, or export again"))
    first = (nm.get("RotationInformationSequence") or [item])[0]
    if told[0] is None or item is first:
        return told[0] if told[0] is not None else told[1]
    begun = _number(first.get("StartAngle"))
    if told[1] is None or begun is None:
        field, do = f"{where}, StartAngle of rotations", "fill it in, or export each rotation as an object"
        raise ImageError(describe(field, "nothing for one of several rotations", "degrees for each", do))
    return told[0] + told[1] - begun


def placed(nm, numbers: Sequence[int], made: Sequence[Projections], where: str):
    """(projections, notes): each rotation with the time it started, less those at another position of the table.

    Between rotations no time is told: a later one starts when those before it have counted.
    """
    kept, notes, elapsed_s = [], [], 0.0
    for number, one in zip(numbers, made, strict=True):
        start = one.started_at and one.started_at + timedelta(seconds=elapsed_s)
        elapsed_s += len(one.frame_s) / one.heads * float(one.frame_s.max())
        if _has_moved(nm, number, where):
            why = "its TableTraverse is not the first one's, whose sense is the maker's own"
            do = "export each bed as an object of its own"
            notes.append(f"{where}: rotation {number} is left out, as its place is not known: {why}; {do}")
            continue
        kept.append(replace(one, started_at=start))
        if number > numbers[0]:
            notes.append(f"{where}: rotation {number} is taken to start when those before it had counted")
    return tuple(kept), tuple(notes)


def numbered(made: Sequence[Projections]) -> tuple[Projections, ...]:
    """The acquisitions of one series with hashes of their own: abc, abc-2, abc-3."""
    hashes = [f"{p.series_uid_hash}-{k}" if k > 1 else p.series_uid_hash for k, p in enumerate(made, start=1)]
    return tuple(replace(p, series_uid_hash=own) for p, own in zip(made, hashes, strict=True))


def _has_moved(nm, number: int, where: str) -> bool:
    """Whether a rotation is at another table position than the first, or may be."""
    if number == 1:
        return False
    items = (rotation_item(nm, k, where) for k in (number, 1))
    here, first = (None if item is None else _number(item.get("TableTraverse")) for item in items)
    return here is None or first is None or abs(here - first) > SAME_TABLE_MM


def _number(value) -> float | None:
    return None if value in (None, "") or not np.isfinite(float(value)) else float(value)
