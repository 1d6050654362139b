"""Numbers with units at the boundary: parsed once, then plain floats whose name carries the unit.

Factors are exact SI definitions (BIPM SI Brochure, 9th ed., tables 2-8 and 8), the curie (3.7e10 Bq) among them.
"""

from __future__ import annotations

import math
import re

from dose.errors import InputError, describe, nearest

FACTORS = {
    "Bq": ("activity", 1.0),
    "kBq": ("activity", 1e3),
    "MBq": ("activity", 1e6),
    "GBq": ("activity", 1e9),
    "TBq": ("activity", 1e12),
    "uCi": ("activity", 3.7e4),
    "mCi": ("activity", 3.7e7),
    "Ci": ("activity", 3.7e10),
    "s": ("time", 1.0),
    "min": ("time", 60.0),
    "h": ("time", 3600.0),
    "d": ("time", 86400.0),
    "week": ("time", 604800.0),
    "ug": ("mass", 1e-6),
    "mg": ("mass", 1e-3),
    "g": ("mass", 1.0),
    "kg": ("mass", 1e3),
    "uL": ("volume", 1e-6),
    "mL": ("volume", 1e-3),
    "L": ("volume", 1.0),
    "pmol": ("amount", 1e-12),
    "nmol": ("amount", 1e-9),
    "umol": ("amount", 1e-6),
    "mmol": ("amount", 1e-3),
    "mol": ("amount", 1.0),
    "mGy": ("dose", 1e-3),
    "cGy": ("dose", 1e-2),
    "Gy": ("dose", 1.0),
    "mm": ("length", 1e-3),
    "cm": ("length", 1e-2),
    "m": ("length", 1.0),
    "keV": ("energy", 1e-3),
    "MeV": ("energy", 1.0),
    "1": ("ratio", 1.0),
    "%": ("ratio", 1e-2),
}
"""Unit symbol to (kind, size in the first unit of that kind)."""

ALIASES = {
    "hour": "h", "hours": "h", "hr": "h", "hrs": "h", "day": "d", "days": "d", "minute": "min", "minutes": "min",
    "sec": "s", "seconds": "s", "weeks": "week", "w": "week", "ml": "mL", "cc": "mL", "cm3": "mL", "l": "L",
    "µL": "uL", "μL": "uL", "µmol": "umol", "μmol": "umol", "µg": "ug", "μg": "ug", "µCi": "uCi", "μCi": "uCi", "": "1",
}  # fmt: skip

_QUANTITY = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(.*?)\s*")


def size(unit: str, field: str) -> tuple[tuple[str, ...], float]:
    """Kinds and size of a unit such as "MBq" or "kBq/mL".

    Raises:
        InputError: the unit is not one of `FACTORS` or a quotient of them.
    """
    kinds, product = [], 1.0
    for k, part in enumerate(unit.split("/")):
        symbol = ALIASES.get(part.strip(), part.strip())
        if symbol not in FACTORS:
            hint = nearest(symbol, FACTORS)
            do = f'write "{hint}" if that was meant' if hint else "use a unit of dose.units.FACTORS"
            raise InputError(describe(field, f'unit "{unit}"', "a known unit (they are case-sensitive)", do))
        kind, factor = FACTORS[symbol]
        kinds.append(kind if k == 0 else f"per {kind}")
        product = product * factor if k == 0 else product / factor
    return tuple(kinds), product


def parse(value: float | int | str, unit: str, field: str) -> float:
    """The number of `unit` in `value`: "7.4 GBq" is 7400.0 for unit "MBq"; a plain number is already in `unit`.

    Raises:
        InputError: not a number, not finite, or a unit of another kind.
    """
    if isinstance(value, bool) or value is None:
        raise InputError(describe(field, repr(value), f"a number in {unit}", f'give a number or "1.5 {unit}"'))
    if isinstance(value, str):
        value = _from_text(value, unit, field)
    number = float(value)
    if not math.isfinite(number):
        raise InputError(describe(field, str(number), f"a finite number in {unit}", "leave it out or measure it"))
    return number


def _from_text(text: str, unit: str, field: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise InputError(describe(field, f'"{text}"', f"a number, or one with a unit like {unit}", "rewrite the entry"))
    number, given = float(match.group(1)), match.group(2)
    if not given:
        return number
    kinds_given, size_given = size(given, field)
    kinds, size_wanted = size(unit, field)
    if kinds_given != kinds:
        found, expected = f'"{text}" ({" ".join(kinds_given)})', f"a quantity in {unit} ({' '.join(kinds)})"
        raise InputError(describe(field, found, expected, "check which column or argument this entry belongs to"))
    return number * (size_given / size_wanted)
