"""Organ limits and activity caps as data: twin/data/limits.csv."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table

DEFAULT_LIMITS = ("kidney_bed_40", "marrow_dose_2")
"""What a plan keeps to unless told otherwise; the report names them and their sources."""


@dataclass(frozen=True)
class Limit:
    """A limit on the cumulative `quantity` ("dose_Gy" or "bed_Gy") of a region over the whole course."""

    name: str
    region: str
    quantity: str
    value_Gy: float
    source_id: str


@cache
def known_limits() -> dict[str, Limit]:
    rows = [row for row in load_table("twin", "limits.csv") if row["per"] == "course"]
    return {r["name"]: Limit(r["name"], r["region"], r["quantity"], float(r["value"]), r["source_id"]) for r in rows}


def limit(name: str) -> Limit:
    """A limit by its name in the table.

    Raises:
        InputError: unknown name; the nearest is suggested.
    """
    if name not in known_limits():
        meant = nearest(name, tuple(known_limits())) or "one of " + ", ".join(known_limits())
        raise InputError(describe("limit", repr(name), meant, "correct the name or add a row to twin/data/limits.csv"))
    return known_limits()[name]


def default_limits() -> tuple[Limit, ...]:
    return tuple(limit(name) for name in DEFAULT_LIMITS)


def activity_cap_MBq(nuclide: str) -> float:
    """Highest activity of one administration.

    Raises:
        InputError: the table has no cap for this nuclide.
    """
    caps = {
        r["name"].removeprefix("activity_cap_"): float(r["value"])
        for r in load_table("twin", "limits.csv")
        if r["per"] == "cycle"
    }
    if nuclide not in caps:
        do = "add a row activity_cap_NUCLIDE to twin/data/limits.csv"
        raise InputError(describe("nuclide", f"{nuclide} without an activity cap", f"one of {', '.join(caps)}", do))
    return caps[nuclide]
