"""What the learned organ doses are told of a patient: names, units, and how a record becomes numbers.

Every name but `female` is above zero and enters by its logarithm. What is missing stays out: NaN, with a mask.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe, nearest

ORGANS = ("kidneys", "liver", "spleen", "parotid", "submandibular", "lacrimal", "red_marrow")
"""Organs whose dose is told."""

CONTOURED = ("kidneys", "liver", "spleen", "parotid", "submandibular")
"""Organs whose volume is measured on the CT."""

FEATURES = (
    *(f"suv_mean_{organ}" for organ in ORGANS),
    "suv_mean_rest",
    "tumour_volume_mL",
    "tumour_total_suv_mL",
    "lesion_count",
    "suv_max_hottest",
    *(f"volume_{organ}_mL" for organ in CONTOURED),
    "weight_kg",
    "height_m",
    "age_y",
    "gfr_mL_min",
    "haematocrit",
    "female",
)
"""Of the patient. SUVs are by body weight, decay-corrected to the injection, 60 min after it; `suv_mean_rest` is of the
body without the organs named and without tumours; `tumour_total_suv_mL` the sum of SUVmean times volume of all lesions;
`female` is 1 for women, 0 for men."""

LESION_FEATURES = ("volume_mL", "suv_mean", "suv_max")
"""Of one lesion: contoured volume, mean SUV in the contour without correction of its partial volume, highest SUV."""

PLAIN = ("female",)
"""Features that do not enter by their logarithm."""

WORDS = ("sex", "lesions")
"""Further keys of a record."""


class Record(NamedTuple):
    """One patient's features [feature] and its lesions' [lesion, feature], logs, NaN where missing."""

    patient: Float[np.ndarray, " feature"]
    lesions: Float[np.ndarray, "lesion feature"]


def logs(values, names: Sequence[str] = FEATURES) -> np.ndarray:
    """Values [..., feature] as they enter: logs, but of `PLAIN`."""
    plain = np.array([name in PLAIN for name in names])
    values = np.asarray(values, float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(plain, values, np.log(values))


def record_of(features) -> Record:
    """A dictionary or a pandas row as numbers.

    `sex` ("male", "female") may stand for `female`, and `lesions` is a list of dictionaries of `LESION_FEATURES`. None
    and NaN are missing.

    Raises:
        InputError: an unknown name, a value that is no number above zero, a record without any SUV.
    """
    given = _mapping(features, "features")
    _known(given, (*FEATURES, *WORDS), "features")
    values = {name: _number(given.get(name), name) for name in FEATURES}
    if given.get("sex") is not None:
        values["female"] = _female(given["sex"])
    rows = [_lesion(row, k) for k, row in enumerate(_rows(given.get("lesions")))]
    patient = logs([values[name] for name in FEATURES])
    if not np.isfinite(patient[[name.startswith("suv") for name in FEATURES]]).any():
        do = "give what the PET shows, at least of one organ"
        raise InputError(describe("features", "no SUV", f"one of {', '.join(FEATURES[:3])}, ...", do))
    return Record(patient, logs(np.reshape(rows, (-1, len(LESION_FEATURES))), LESION_FEATURES))


def _mapping(given, field: str) -> dict:
    if isinstance(given, Mapping) or (hasattr(given, "to_dict") and getattr(given, "ndim", 1) == 1):
        return dict(given if isinstance(given, Mapping) else given.to_dict())
    do = "give one patient as a dictionary or a row of a table"
    raise InputError(describe(field, type(given).__name__, "a dictionary or a pandas row", do))


def _rows(lesions) -> Sequence:
    """The list of lesions; none where it is missing, as a cell of a table may be."""
    if lesions is None or (isinstance(lesions, float) and math.isnan(lesions)):
        return ()
    if isinstance(lesions, (list, tuple)):
        return lesions
    do = 'give a list of dictionaries, of a table: table.to_dict("records")'
    raise InputError(describe("lesions", type(lesions).__name__, "a list with a dictionary for each lesion", do))


def _known(given: Mapping, names: Sequence[str], field: str) -> None:
    for name in given:
        if name not in names:
            meant = nearest(str(name), names) or "one of " + ", ".join(names)
            raise InputError(describe(f"{field}: {name}", "unknown", meant, "rename or drop it"))


def _lesion(given, number: int) -> list[float]:
    field = f"lesions[{number}]"
    row = _mapping(given, field)
    _known(row, LESION_FEATURES, field)
    values = [_number(row.get(name), f"{field}: {name}") for name in LESION_FEATURES]
    if math.isnan(values[1]):
        do = "give volume_mL, suv_mean and suv_max of each lesion, at least suv_mean"
        raise InputError(describe(f"{field}: suv_mean", "none", "a mean SUV", do))
    return values


def _number(value, name: str) -> float:
    if value is None:
        return math.nan
    try:
        found = float(value)
    except (TypeError, ValueError) as error:
        raise InputError(describe(name, repr(value)[:40], "a number", "give a number, or leave it out")) from error
    least = found in (0.0, 1.0) if name in PLAIN else found > 0
    if math.isnan(found) or (least and math.isfinite(found)):
        return found
    wanted = "0 or 1" if name in PLAIN else "a finite number above 0"
    raise InputError(describe(name, f"{found:g}", wanted, "correct it, or leave it out"))


def _female(sex) -> float:
    if sex in ("male", "female"):
        return float(sex == "female")
    raise InputError(describe("sex", repr(sex)[:40], '"male" or "female"', "choose one of the two, or leave it out"))
