"""Segmented volumes as a body takes them: names of the vocabulary, values that can be, kidneys that add up."""

from __future__ import annotations

import math
from collections.abc import Mapping

from dose.errors import InputError, describe, nearest
from dose.regions import region
from pbpk.anatomy import KIDNEYS, parts

SAME_VOLUME = 0.05
"""Part by which a whole and the sum of its parts may differ: contours drawn twice."""


def canonical(volumes_mL: Mapping[str, float]) -> dict[str, float]:
    """Volumes (mL) by the vocabulary's names.

    Raises:
        InputError: an unknown name, one place named twice, a volume not above zero (`tumour_rest` may be 0).
    """
    found: dict[str, float] = {}
    for name, value in volumes_mL.items():
        place = region(name)
        if place in found:
            raise InputError(describe(f"volumes_mL: {place}", f"named again as {name!r}", "once", "leave one out"))
        if not (math.isfinite(value) and (value > 0 or (place == "tumour_rest" and value == 0))):
            do = "give mL; leave out what was not segmented; tumour_rest may be 0"
            raise InputError(describe(f"volumes_mL: {name}", f"{value:g}", "a volume above zero", do))
        found[place] = float(value)
    return found


def of_organs(given: Mapping[str, float], organs: tuple[str, ...], medulla: float) -> dict[str, float]:
    """Volumes (mL) of the model's organs as far as they were segmented; `medulla` is its part of a kidney.

    Raises:
        InputError: a region that this body does not have, or kidneys that do not add up.
    """
    for name in given:
        if not parts(name, organs):
            meant = nearest(name, organs) or "one of " + ", ".join(organs)
            do = "leave it out; parts of kidneys and small glands need an anatomy that has them (docs/options.md)"
            raise InputError(describe(f"volumes_mL: {name}", "no region of this body", meant, do))
    plain = {name: v for name, v in given.items() if name in organs}
    sides = _sides(given)
    known = {organ: v for organ, v in sides.items() if v is not None}
    if KIDNEYS[0] in organs:
        return plain | known
    return plain | {o: v for side in KIDNEYS for o, v in _parts(side, sides[side], given, medulla).items()}


def _sides(given: Mapping[str, float]) -> dict[str, float | None]:
    """Volume of each kidney where it follows from what is given."""
    left, right = (_side(organ, given) for organ in KIDNEYS)
    both = given.get("kidneys")
    if both is None:
        return dict(zip(KIDNEYS, (left, right), strict=True))
    if left is not None and right is not None:
        _agree("kidneys", both, left + right)
    elif left is None and right is None:
        left = right = both / 2
    else:
        other = _rest("kidneys", both, left if left is not None else right)
        left, right = (other if x is None else x for x in (left, right))
    return dict(zip(KIDNEYS, (left, right), strict=True))


def _side(organ: str, given: Mapping[str, float]) -> float | None:
    inside = [given.get(name) for name in _names(organ)]
    known = sum(v for v in inside if v is not None)
    if organ in given and None not in inside:
        _agree(organ, given[organ], known)
    return given.get(organ, known if None not in inside else None)


def _names(organ: str) -> tuple[str, str]:
    side = organ.removeprefix("kidney_")
    return f"kidney_cortex_{side}", f"kidney_medulla_{side}"


def _parts(organ: str, whole: float | None, given: Mapping[str, float], medulla: float) -> dict[str, float]:
    """Cortex and medulla of one kidney; none where nothing of it was segmented."""
    names, share = _names(organ), (1 - medulla, medulla)
    known = {name: given[name] for name in names if name in given}
    if whole is None and not known:
        return {}
    if len(known) == 1:
        (name, value), *_ = known.items()
        mine, other = share if name == names[0] else share[::-1]
        left = value * other / mine if whole is None else _rest(organ, whole, value)
        known |= {(set(names) - known.keys()).pop(): left}
    return known or {name: part * whole for name, part in zip(names, share, strict=True) if whole is not None}


def _agree(organ: str, whole: float, total: float) -> None:
    if abs(total - whole) > SAME_VOLUME * whole:
        found = f"{whole:g} mL, its parts {total:g} mL together"
        raise InputError(describe(f"volumes_mL: {organ}", found, "parts that add up to it", "leave out the wrong one"))


def _rest(organ: str, whole: float, part: float | None) -> float:
    rest = whole - (part or 0.0)
    if rest <= 0:
        found = f"{whole:g} mL with a part of {part:g} mL"
        raise InputError(describe(f"volumes_mL: {organ}", found, "more than its part", "leave out the wrong one"))
    return rest
