"""Organ limits, demands on tumours and activity caps as data: twin/data/limits.csv and users' own TOML files."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table

DEFAULT_LIMITS = ("kidney_bed_40", "marrow_dose_2")
"""What a plan keeps to unless told otherwise; the report names them and their sources."""
WORST_LESION, TUMOURS = "worst_lesion", "tumours"
"""Regions of demands: the named lesion that gets least, and all tumours by mass."""
RULES = ("chance", "expectation", "cvar")
PERIODS = ("course", "cycle")
QUANTITIES = ("dose_Gy", "bed_Gy", "eubed_Gy")


@dataclass(frozen=True)
class Limit:
    """A bound on `quantity` of a region, over the whole course or in each cycle to come.

    `rule`: "chance" holds it with probability 1 - `tail`, "expectation" on average, "cvar" on average over the worst
    share `tail`; `tail` None takes the plan's own. With `at_least` it is a demand: the quantity is to reach the value
    (`region` may then be WORST_LESION or TUMOURS). `set_by` says who chose it.

    Raises:
        InputError: a value not above zero, an unknown rule, period or quantity, a tail outside 0 to 0.5.
    """

    name: str
    region: str
    quantity: str
    value_Gy: float
    source_id: str
    per: str = "course"
    rule: str = "chance"
    tail: float | None = None
    at_least: bool = False
    set_by: str = "theratwin default"

    def __post_init__(self):
        for field, choices in (("rule", RULES), ("per", PERIODS), ("quantity", QUANTITIES)):
            found = getattr(self, field)
            if found not in choices:
                near = nearest(found, choices) or "one of " + ", ".join(choices)
                raise InputError(describe(f"limit {self.name}: {field}", repr(found), near, "correct it"))
        if not 0 < self.value_Gy < float("inf"):
            raise InputError(describe(f"limit {self.name}: value_Gy", f"{self.value_Gy:g}", "above 0", "correct it"))
        if self.tail is not None and not 0 < self.tail <= 0.5:
            do = "give the probability of passing the limit, such as 0.05"
            raise InputError(describe(f"limit {self.name}: tail", f"{self.tail:g}", "above 0, up to 0.5", do))

    def words(self, tail: float) -> str:
        """The limit as a sentence's subject: "kidneys BED of the course <= 40 Gy with 95 % probability"."""
        what = {"dose_Gy": "dose", "bed_Gy": "BED", "eubed_Gy": "EUBED"}[self.quantity]
        sign = ">=" if self.at_least else "<="
        share = self.tail or tail
        how = {
            "chance": f"with {1 - share:.0%} probability",
            "expectation": "on average",
            "cvar": f"on average over the worst {share:.0%}",
        }[self.rule]
        return f"{self.region.replace('_', ' ')} {what} per {self.per} {sign} {self.value_Gy:g} Gy {how}"


@cache
def known_limits() -> dict[str, Limit]:
    rows = [row for row in load_table("twin", "limits.csv") if row["quantity"] in QUANTITIES]
    return {
        r["name"]: Limit(r["name"], r["region"], r["quantity"], float(r["value"]), r["source_id"], r["per"])
        for r in rows
    }


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


class LimitFile(BaseModel):
    """One `[[limits]]` table: a known `name` alone, or all of a limit of one's own."""

    model_config = ConfigDict(extra="forbid")
    name: str
    region: str | None = None
    quantity: Literal["dose_Gy", "bed_Gy", "eubed_Gy"] | None = None
    value_Gy: Annotated[float, Field(gt=0)] | None = None
    source: str = "the user's file"
    per: Literal["course", "cycle"] | None = None
    rule: Literal["chance", "expectation", "cvar"] = "chance"
    tail: Annotated[float, Field(gt=0, le=0.5)] | None = None
    at_least: bool = False


class LimitsFile(BaseModel):
    """A file of limits; `set_by` says who chose them."""

    model_config = ConfigDict(extra="forbid")
    set_by: str
    limits: Annotated[list[LimitFile], Field(min_length=1)]


def read_limits(path) -> tuple[Limit, ...]:
    """The limits of a TOML file: `set_by` and `[[limits]]` tables (docs/planning.md has one).

    Raises:
        InputError: not readable, not TOML, an unknown key, or a limit that is incomplete.
    """
    path = Path(path)
    try:
        file = LimitsFile.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(describe(str(path), str(error), "a readable TOML file", "follow docs/planning.md")) from error
    except ValidationError as error:
        first = error.errors()[0]
        field = f"{path.name}: {'.'.join(str(part) for part in first['loc'])}"
        raise InputError(describe(field, repr(first["input"]), first["msg"], "follow docs/planning.md")) from error
    return tuple(_of_file(entry, file.set_by) for entry in file.limits)


def _of_file(entry: LimitFile, set_by: str) -> Limit:
    chosen = {"rule": entry.rule, "tail": entry.tail, "at_least": entry.at_least, "set_by": set_by}
    if entry.region is None and entry.quantity is None:
        own = {"value_Gy": entry.value_Gy, "per": entry.per}
        return replace(limit(entry.name), **chosen, **{k: v for k, v in own.items() if v is not None})
    if entry.region is None or entry.quantity is None or entry.value_Gy is None:
        do = "give region, quantity and value_Gy, or the name of a known limit alone"
        raise InputError(describe(f"limit {entry.name}", "some of its fields", "all three", do))
    where = entry.region, entry.quantity, entry.value_Gy, entry.source
    return Limit(entry.name, *where, per=entry.per or "course", **chosen)


def activity_cap_MBq(nuclide: str) -> float:
    """Highest activity of one administration.

    Raises:
        InputError: the table has no cap for this nuclide.
    """
    caps = {
        r["name"].removeprefix("activity_cap_"): float(r["value"])
        for r in load_table("twin", "limits.csv")
        if r["quantity"] == "activity_MBq"
    }
    if nuclide not in caps:
        do = "add a row activity_cap_NUCLIDE to twin/data/limits.csv"
        raise InputError(describe("nuclide", f"{nuclide} without an activity cap", f"one of {', '.join(caps)}", do))
    return caps[nuclide]
