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

LISTED = 10
"""Lesions from which on a list may hold a part of them, as those of the training patients do."""

ROUNDED = 0.9
"""Of a value, above which another that cannot be below it may lie: reports round SUVs to one or two digits."""


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
        InputError: an unknown name, a value that is no number above zero, a record without any SUV, or one that
            contradicts itself: sex, the number of lesions, the hottest of them, a highest SUV below the mean.
    """
    given = _mapping(features, "features")
    _known(given, (*FEATURES, *WORDS), "features")
    values = {name: _number(given.get(name), name) for name in FEATURES}
    values["female"] = _female(given.get("sex"), values["female"])
    rows = [_lesion(row, k) for k, row in enumerate(_rows(given.get("lesions")))]
    _agreeing(values, rows)
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
    if _missing(lesions):
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
    if values[2] < ROUNDED * values[1]:
        found = f"{values[2]:g} beside suv_mean {values[1]:g}"
        raise InputError(describe(f"{field}: suv_max", found, "at least suv_mean", "correct one of the two"))
    return values


def _agreeing(values: Mapping[str, float], rows: Sequence[Sequence[float]]) -> None:
    """Raises an InputError where the patient's features cannot be those of the lesions given; NaN agrees with all."""
    count, hottest = values["lesion_count"], values["suv_max_hottest"]
    if math.isfinite(count) and abs(count - round(count)) > 1e-6:
        raise InputError(describe("lesion_count", f"{count:g}", "a whole number", "count the lesions"))
    if rows and not (math.isnan(count) or round(count) == len(rows) or LISTED <= len(rows) < count):
        expected = f"their number (a list of {LISTED} or more may be a part of them)"
        do = "give every lesion, or leave lesion_count out"
        raise InputError(describe("lesion_count", f"{count:g} beside {len(rows)} lesions", expected, do))
    highest = float(np.nanmax([row[1:] for row in rows])) if rows else math.nan
    if hottest < ROUNDED * highest:
        found = f"{hottest:g} beside a lesion of {highest:g}"
        raise InputError(describe("suv_max_hottest", found, "the highest of all lesions", "correct one of the two"))


def _missing(value) -> bool:
    return value is None or (isinstance(value, (float, np.floating)) and math.isnan(value))


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


def _female(sex, female: float) -> float:
    """`female` as `sex` says it, or as it is given itself."""
    if _missing(sex):
        return female
    if sex not in ("male", "female"):
        raise InputError(
            describe("sex", repr(sex)[:40], '"male" or "female"', "choose one of the two, or leave it out")
        )
    found = float(sex == "female")
    if not math.isnan(female) and female != found:
        raise InputError(describe("sex", f"{sex} beside female={female:g}", "one of the two", "leave one of them out"))
    return found
