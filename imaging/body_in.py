"""Weight and height of a header, which must be those of a body in kg and m."""

from __future__ import annotations

from dose.errors import ImageError, describe
from dose.provenance import load_table

OTHER_UNITS = {"PatientWeight": {"g": 1e-3}, "PatientSize": {"cm": 1e-2, "mm": 1e-3}}
"""Units that are written by mistake, in the field's own; a weight in pounds cannot be told from one in kg."""


def weight_kg(dataset, where: str) -> float | None:
    """PatientWeight, None where it is empty or zero.

    Raises:
        ImageError: outside the window of `data/patient_limits.csv`.
    """
    return _believed(dataset, "PatientWeight", where)


def height_m(dataset, where: str) -> float | None:
    """PatientSize, None where it is empty or zero.

    Raises:
        ImageError: outside the window of `data/patient_limits.csv`.
    """
    return _believed(dataset, "PatientSize", where)


def _believed(dataset, field: str, where: str) -> float | None:
    stated = dataset.get(field)
    value = float(stated) if stated not in (None, "") else 0.0
    if not value > 0:
        return None
    row = next(r for r in load_table("imaging", "patient_limits.csv") if r["field"] == field)
    low, high, unit = float(row["low"]), float(row["high"]), row["unit"]
    if low <= value <= high:
        return value
    units = [u for u, scale in OTHER_UNITS[field].items() if low <= value * scale <= high]
    hint = f" ({units[0]} where {unit} belongs?)" if units else ""
    expected = f"{low:g} to {high:g} {unit}, or an empty field"
    found = f"a value outside the plausible window{hint}"
    raise ImageError(describe(f"{where}, {field}", found, expected, "correct the header or its unit"))
