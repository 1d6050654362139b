"""What regions and quantities are called in DICOM: `data/segment_codes.csv` and `data/quantity_codes.csv`."""

from __future__ import annotations

from dataclasses import dataclass

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table
from dose.regions import region

SIDES = {"left": ("7771000", "SCT", "Left"), "right": ("24028007", "SCT", "Right")}
"""Modifiers of laterality (CID 244)."""


@dataclass(frozen=True)
class RegionCodes:
    """(value, scheme, meaning) of a region's category and type, and of its side or None."""

    category: tuple[str, str, str]
    type: tuple[str, str, str]
    side: tuple[str, str, str] | None


@dataclass(frozen=True)
class Quantity:
    """A quantity with its concept and its UCUM unit."""

    name: str
    concept: tuple[str, str, str]
    unit: tuple[str, str, str]


def vocabulary_name(label: str) -> str | None:
    """The region that a label means, or None for a label outside the vocabulary."""
    try:
        return region(label)
    except InputError:
        return None


def region_codes(label: str) -> RegionCodes:
    """Codes of a region; a label outside the vocabulary, or without a row of its own, gets the general one."""
    rows = {row["region"]: row for row in load_table("imaging", "segment_codes.csv")}
    name = vocabulary_name(label) or "default"
    base, _, last = name.rpartition("_")
    side = SIDES.get(last)
    row = rows["tumour"] if name.startswith("tumour_") else rows.get(name) or rows.get(base if side else name)
    row = row or rows["default"]
    category = (row["category_code"], "SCT", row["category_meaning"])
    return RegionCodes(category, (row["type_code"], "SCT", row["type_meaning"]), side)


def quantity(name: str) -> Quantity:
    """The quantity of this name.

    Raises:
        InputError: no such row.
    """
    rows = {row["quantity"]: row for row in load_table("imaging", "quantity_codes.csv")}
    if name not in rows:
        hint = nearest(name, rows)
        do = f'write "{hint}"' if hint else "choose one of them"
        raise InputError(describe("quantity", f'"{name}"', f"one of {', '.join(rows)}", do))
    row = rows[name]
    return Quantity(name, (row["code"], row["scheme"], row["meaning"]), (row["unit"], "UCUM", row["unit_meaning"]))


def concept(code: tuple[str, str, str]):
    """A highdicom coded concept of (value, scheme, meaning)."""
    from highdicom.sr.coding import CodedConcept

    return CodedConcept(*code)
