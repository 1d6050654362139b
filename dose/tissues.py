"""How tissues respond to radiation: alpha/beta, repair, and other parameters, each with its range and its source.

`data/tissues.csv` holds alpha/beta and repair half-times, `data/radiobiology.csv` what dose-response and growth need.
Many rows are conventions or memory; their locators say so. A range is taken as a 95 % interval about the value, which
is the median: one log-normal below it and another above (for a fraction, the same in its logit). Draws of one row do
not depend on which other rows are drawn, and all regions of a tissue share them.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table
from dose.regions import is_tumour, region

TISSUE_OF = {
    "kidneys": "kidney", "kidney_left": "kidney", "kidney_right": "kidney", "red_marrow": "red_marrow",
    "kidney_cortex_left": "kidney", "kidney_cortex_right": "kidney", "kidney_medulla_left": "kidney",
    "kidney_medulla_right": "kidney", "sublingual": "salivary",
    "liver": "liver",
    "salivary": "salivary", "parotid": "salivary", "parotid_left": "salivary", "parotid_right": "salivary",
    "submandibular": "salivary", "submandibular_left": "salivary", "submandibular_right": "salivary",
    "lacrimal": "salivary",
}  # fmt: skip
"""Rows of the tissue table that regions share; a region not named here uses the default row."""

FRACTIONS = ("slow_fraction",)
"""Quantities between 0 and 1, whose logit is drawn instead of the logarithm."""

TWO_SIDED_95 = 1.959963984540054
"""Standard normal deviate of the 97.5 percentile."""


@dataclass(frozen=True)
class Repair:
    """Exponential repair of sublethal damage: what part of it goes with which half-time in h, up to draws [draw].

    Raises:
        InputError: fractions that are negative or do not add up to 1, half-times not above 0.
    """

    fractions: tuple
    half_times_h: tuple

    def __post_init__(self):
        f, t = ([np.asarray(v, dtype=float) for v in part] for part in (self.fractions, self.half_times_h))
        positive = all(np.all(v >= 0) for v in f) and all(np.all((v > 0) & np.isfinite(v)) for v in t)
        if len(f) != len(t) or not f or not positive or not np.allclose(sum(f), 1):
            found = f"fractions {self.fractions}, half-times {self.half_times_h}"
            expected = "one fraction for each half-time, adding up to 1, and half-times above 0 h"
            raise InputError(describe("repair", found, expected, "write Repair((0.4, 0.6), (0.7, 3.8)), for instance"))

    @property
    def components(self) -> tuple[tuple, ...]:
        """Pairs of fraction and rate mu = ln 2 / T_rep in 1/h."""
        return tuple((f, math.log(2) / np.asarray(t)) for f, t in zip(self.fractions, self.half_times_h, strict=True))


@dataclass(frozen=True)
class Parameter:
    """One row: value, the bounds of its 95 % interval (None where the row has none), unit and source."""

    name: str
    value: float
    low: float | None
    high: float | None
    unit: str
    source_id: str
    locator: str

    def draws(self, n: int, seed: int) -> Float[np.ndarray, " draw"]:
        """`n` values whose median is the value, by seed and name alone.

        Raises:
            InputError: a row without a range, fewer than one draw.
        """
        if self.low is None or self.high is None or n < 1:
            do = "add low and high to its row, with their source"
            raise InputError(describe(self.name, f"range {self.low} to {self.high}, {n} draws", "a range, n >= 1", do))
        z = np.random.default_rng([seed, zlib.crc32(self.name.encode())]).standard_normal(n)
        return _two_piece(z, self.value, self.low, self.high, self.name.rpartition(" ")[2] in FRACTIONS)


def _two_piece(z, value: float, low: float, high: float, fraction: bool):
    if low == high:
        return np.full(z.shape, value)
    there = (lambda p: math.log(p / (1 - p))) if fraction else math.log
    down, up = (abs(there(bound) - there(value)) / TWO_SIDED_95 for bound in (low, high))
    moved = there(value) + z * np.where(z < 0, down, up)
    return 1 / (1 + np.exp(-moved)) if fraction else np.exp(moved)


@dataclass(frozen=True)
class Tissue:
    """Response of one tissue; `source_id` names the sources of alpha/beta and of the repair half-time.

    With two components `repair_half_time_h` is the fast one. `ranges` has (low, high) of each quantity that is set.
    """

    alpha_beta_Gy: float
    repair_half_time_h: float
    source_id: str
    slow_half_time_h: float | None = None
    slow_fraction: float = 0.0
    name: str = ""
    ranges: dict[str, tuple[float | None, float | None]] = field(default_factory=dict, compare=False)

    @property
    def repair_rate_per_h(self) -> float:
        """mu = ln 2 / T_rep; of two components that of the fast one."""
        return math.log(2) / self.repair_half_time_h

    @property
    def repair(self) -> Repair:
        return _repair(self)


@dataclass(frozen=True, eq=False)
class TissueDraws:
    """A `Tissue` whose numbers are draws, shape [draw]."""

    alpha_beta_Gy: Float[np.ndarray, " draw"]
    repair_half_time_h: Float[np.ndarray, " draw"]
    source_id: str
    slow_half_time_h: Float[np.ndarray, " draw"] | None = None
    slow_fraction: Float[np.ndarray, " draw"] | float = 0.0
    name: str = ""

    @property
    def repair(self) -> Repair:
        return _repair(self)


def _repair(t: Tissue | TissueDraws) -> Repair:
    if t.slow_half_time_h is None:
        return Repair((1.0,), (t.repair_half_time_h,))
    return Repair((1 - t.slow_fraction, t.slow_fraction), (t.repair_half_time_h, t.slow_half_time_h))


def tissue_name(region_name: str) -> str:
    """The row of the tissue table that a region uses (tumours: the generic tumour).

    Raises:
        InputError: unknown region.
    """
    return "tumour" if is_tumour(region_name) else TISSUE_OF.get(region(region_name), "default")


def known_tissues() -> tuple[str, ...]:
    """The rows of the tissue table, those that no region uses by itself among them ("prostate_cancer")."""
    return tuple(dict.fromkeys(row["tissue"] for row in load_table("dose", "tissues.csv")))


def tissue(region_name: str, *, row: str | None = None, components: int = 1) -> Tissue:
    """The tissue values used for a region; `row` takes those of another row of the table ("prostate_cancer").

    `components=2` takes two-component repair, where the row has it.

    Raises:
        InputError: unknown region or row, or no two-component repair in that row.
    """
    name, found = _rows(region_name, row, components)
    ratio, repair, *slow = found
    named = "; ".join(dict.fromkeys(p.source_id for p in found))
    ranges = {p.name.rpartition(" ")[2]: (p.low, p.high) for p in found}
    half, part = (slow[0].value, slow[1].value) if slow else (None, 0.0)
    return Tissue(ratio.value, repair.value, named, half, part, name, ranges)


def tissue_draws(region_name: str, n: int, seed: int, *, row: str | None = None, components: int = 1) -> TissueDraws:
    """`n` draws of the values of `tissue` within their ranges; the parameters are drawn independently.

    Raises:
        InputError: as `tissue`, or a row without a range.
    """
    name, found = _rows(region_name, row, components)
    ratio, repair, *slow = (p.draws(n, seed) for p in found)
    named = "; ".join(dict.fromkeys(p.source_id for p in found))
    half, part = (slow[0], slow[1]) if slow else (None, 0.0)
    return TissueDraws(ratio, repair, named, half, part, name)


def _rows(region_name: str, row: str | None, components: int) -> tuple[str, list[Parameter]]:
    name = tissue_name(region_name)
    if row is not None:
        name = _checked("row", row, known_tissues())
    if components not in (1, 2):
        raise InputError(describe("components", f"{components}", "1 or 2", "choose one"))
    repair = ("repair_half_time",) if components == 1 else ("fast_half_time", "slow_half_time", "slow_fraction")
    return name, [_parameter("tissues.csv", "tissue", name, quantity) for quantity in ("alpha_beta", *repair)]


def parameter(subject: str, quantity: str) -> Parameter:
    """A row of `data/radiobiology.csv`: parameter("parotid_flow", "td50").

    Raises:
        InputError: no such row.
    """
    subjects = dict.fromkeys(r["subject"] for r in load_table("dose", "radiobiology.csv"))
    return _parameter("radiobiology.csv", "subject", _checked("subject", subject, tuple(subjects)), quantity)


def _checked(field: str, name: str, known: tuple[str, ...]) -> str:
    if name not in known:
        do = f'write "{nearest(name, known) or known[0]}" if that was meant'
        raise InputError(describe(field, f'"{name}"', ", ".join(known), do))
    return name


def _parameter(table: str, column: str, name: str, quantity: str) -> Parameter:
    rows = {r["quantity"]: r for r in load_table("dose", table) if r[column] == name}
    if quantity not in rows:
        expected, do = f"one of {', '.join(rows)}", "take another row, or add this one with its source"
        raise InputError(describe(f"dose/data/{table}, {name}", f'no "{quantity}"', expected, do))
    row = rows[quantity]
    low, high = (float(row[bound]) if row[bound] else None for bound in ("low", "high"))
    full = f"{name} {quantity}"
    return Parameter(full, float(row["value"]), low, high, row["unit"], row["source_id"], row["locator"])
