"""Tumour doses aimed at and limits of liver and lungs for 90Y microspheres, by product: rows of `data/sirt.csv`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from dose.provenance import load_table
from dose.sirt.basics import PRODUCTS, checked, sirt_row, sirt_value
from dose.sirt.liver import Liver
from dose.sirt.partition import LUNG_SHARE, LUNGS, PERFUSED, WHOLE

FUNCTIONS = ("default", "preserved", "compromised")


@dataclass(frozen=True)
class SirtLimit:
    """A limit: of the dose of a region ("dose_Gy"), of activity in the lungs ("lung_GBq") or of the shunt ("share").

    `earlier_Gy` is what earlier treatments gave, taken off a dose limit.

    Raises:
        InputError: an unknown kind, or a value not above 0.
    """

    name: str
    kind: str
    value: float
    region: str = LUNGS
    source_id: str = "user"
    earlier_Gy: float = 0.0

    def __post_init__(self):
        if self.kind not in ("dose_Gy", "lung_GBq", "share"):
            raise InputError(describe("kind", self.kind, "dose_Gy, lung_GBq or share", "correct the limit"))
        checked(f"value of {self.name}", self.value, 0.0, 1000.0, "correct the limit", open_low=True)
        checked(f"earlier_Gy of {self.name}", self.earlier_Gy, 0.0, 1000.0, "give the dose of earlier treatments")

    def allows_GBq(self, coefficient: dict) -> np.ndarray:
        """The activity it allows, in the shape of the coefficients; infinite where nothing limits."""
        share = np.asarray(coefficient[LUNG_SHARE])
        if self.kind == "share":
            return np.where(share <= self.value, np.inf, 0.0)
        per_GBq = share if self.kind == "lung_GBq" else np.asarray(coefficient[self.region])
        left = max(self.value - self.earlier_Gy, 0.0)
        return np.where(per_GBq > 0, left / np.where(per_GBq > 0, per_GBq, 1.0), np.inf)

    def reached(self, coefficient: dict, activity_GBq: float):
        """What an activity reaches of it, in the shape of the coefficients."""
        if self.kind == "share":
            return np.asarray(coefficient[LUNG_SHARE])
        per_GBq = coefficient[LUNG_SHARE if self.kind == "lung_GBq" else self.region]
        return self.earlier_Gy + activity_GBq * np.asarray(per_GBq)


def sirt_limits(
    product: str, liver: Liver, function: str = "default", earlier_lungs_Gy: float = 0.0
) -> tuple[SirtLimit, ...]:
    """The limits of a product: normal liver by function, lungs in this session and in all, shunted activity.

    `function`: "preserved" (glass: bilirubin below 1.1 mg/dL), "compromised", or "default" where neither is said.
    Glass limits the whole normal liver, and the perfused one where less than 30 % is left untreated; resin limits the
    perfused one.

    Raises:
        InputError: unknown product or function.
    """
    if product not in PRODUCTS or function not in FUNCTIONS:
        expected = f"one of {', '.join(PRODUCTS)} and of {', '.join(FUNCTIONS)}"
        raise InputError(describe("product, function", f"{product}, {function}", expected, "correct the names"))
    wanted = [function] + ["small_reserve"] * (liver.reserve < sirt_value("small_reserve"))
    rows = [r for r in load_table("dose", "sirt.csv") if r["quantity"] in (WHOLE, PERFUSED) and r["product"] == product]
    found = [
        SirtLimit(r["quantity"], "dose_Gy", float(r["value"]), r["quantity"], r["source_id"])
        for r in rows
        if r["scenario"] in wanted
    ]
    found += [_lung_limit("lungs_session"), _lung_limit("lungs_course", earlier_Gy=earlier_lungs_Gy)]
    share = _lung_limit("lung_share", product, "share") if product == "resin" else None
    return (*found, share or _lung_limit("lung_activity", product, "lung_GBq"))


def _lung_limit(quantity: str, product: str = "", kind: str = "dose_Gy", earlier_Gy: float = 0.0) -> SirtLimit:
    row = sirt_row(quantity, product)
    return SirtLimit(quantity, kind, float(row["value"]), LUNGS, row["source_id"], earlier_Gy)


def tumour_target_Gy(product: str, disease: str = "hcc") -> float:
    """Mean tumour dose aimed at with a product ("glass", "resin") in a disease ("hcc", "icc", "mcrc")."""
    return sirt_value("tumour_target", product, disease)
