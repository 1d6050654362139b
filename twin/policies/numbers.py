"""The numbers of virtual trials: rows of twin/data/policies.csv."""

from __future__ import annotations

from functools import cache

from dose.errors import InputError, describe
from dose.provenance import load_table


@cache
def _rows() -> dict[tuple[str, str, str], dict[str, str]]:
    return {(r["quantity"], r["subject"], r["scans"]): r for r in load_table("twin", "policies.csv")}


def subjects(quantity: str) -> list[tuple[str, str]]:
    """(subject, scans) of each row of a quantity."""
    return [(subject, scans) for q, subject, scans in _rows() if q == quantity]


def number(quantity: str, subject: str, scans: int | str = "", column: str = "value") -> float:
    """A row's value, or another of its columns.

    Raises:
        InputError: no such row.
    """
    row = _rows().get((quantity, subject, f"{scans}"))
    if row is None:
        expected = "one of " + ", ".join(" ".join(pair).strip() for pair in subjects(quantity))
        do = "take one of these, or add a row to twin/data/policies.csv"
        raise InputError(describe(quantity, f"{subject} {scans}".strip(), expected, do))
    return float(row[column])
