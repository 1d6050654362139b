"""Controlled names of regions: one spelling each, laterality as a suffix, unions, reference masses.

A user may write "right kidney", "Kidney_R" or "kidney_right"; the package only ever holds `kidney_right`. Tumours are
`tumour_<label>`, from "lesion 1", "tumor 1" or "tumour_1".
"""

from __future__ import annotations

import re
from functools import cache

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table

PAIRED = ("kidney", "kidney_cortex", "kidney_medulla", "parotid", "submandibular")
SINGLE = (
    "liver", "spleen", "lacrimal", "sublingual", "pituitary", "red_marrow", "gi", "prostate", "adrenals",
    "bladder", "heart", "lungs", "brain", "pancreas", "thyroid", "thymus", "oesophagus", "stomach", "small_intestine",
    "right_colon", "left_colon", "rectosigmoid", "gallbladder", "eyes", "breasts", "ovaries", "uterus", "testes",
    "muscle", "skin", "bone", "adipose", "blood", "whole_body", "remainder",
    "cortical_bone", "trabecular_bone", "cortical_surface", "trabecular_surface", "bone_surface",
)  # fmt: skip
HOLLOW = ("heart", "stomach", "gallbladder", "bladder", "rectosigmoid", "left_colon", "right_colon", "small_intestine")
"""Walls, whose contents are regions of their own: `bladder_contents`."""
UNIONS = {
    "kidneys": ("kidney_left", "kidney_right"),
    "parotid": ("parotid_left", "parotid_right"),
    "submandibular": ("submandibular_left", "submandibular_right"),
    "salivary": ("parotid_left", "parotid_right", "submandibular_left", "submandibular_right"),
}
ALIASES = {
    "kidney": "kidneys", "renal": "kidneys", "parotids": "parotid", "submandibulars": "submandibular",
    "salivaries": "salivary", "lacrimals": "lacrimal", "sublinguals": "sublingual",
    "marrow": "red_marrow", "bone_marrow": "red_marrow",
    "adrenal": "adrenals", "urinary_bladder": "bladder", "lung": "lungs", "fat": "adipose", "gut": "gi",
    "intestine": "gi", "gi_tract": "gi", "gastrointestinal": "gi", "skeleton": "bone", "total_body": "whole_body",
    "wholebody": "whole_body", "body": "whole_body", "remaining": "remainder", "rest": "remainder",
    "rest_of_body": "remainder", "remainder_of_body": "remainder",
    "heart_wall": "heart", "stomach_wall": "stomach", "gallbladder_wall": "gallbladder", "bladder_wall": "bladder",
    "urinary_bladder_wall": "bladder", "urinary_bladder_contents": "bladder_contents", "rectum": "rectosigmoid",
    "esophagus": "oesophagus", "breast": "breasts", "eye": "eyes", "ovary": "ovaries", "testis": "testes",
    "testicles": "testes", "osteogenic_cells": "bone_surface", "small_bowel": "small_intestine",
}  # fmt: skip
TUMOUR_WORDS = ("tumour", "tumor", "lesion", "metastasis", "met")
LEFT, RIGHT = ("left", "l", "lt"), ("right", "r", "rt")
FILLERS = ("gland", "glands")


@cache
def known_regions() -> tuple[str, ...]:
    """Canonical names, tumours apart (there are as many as a patient has)."""
    lateral = tuple(f"{organ}_{side}" for organ in PAIRED for side in ("left", "right"))
    return (*lateral, *UNIONS, *SINGLE, *(f"{wall}_contents" for wall in HOLLOW))


@cache
def region(name: str) -> str:
    """The canonical name of a region.

    Raises:
        InputError: not in the vocabulary; the text names the nearest region.
    """
    words = [word for word in re.split(r"[^a-z0-9]+", str(name).lower()) if word and word not in FILLERS]
    if words and (label := _tumour_label(words)) is not None:
        return f"tumour_{label}"
    found = _organ(words)
    if found in known_regions():
        return found
    hint = nearest("_".join(words), (*known_regions(), "tumour_1"))
    do = f'write "{hint}" if that was meant' if hint else "see dose.known_regions(); tumours are tumour_<label>"
    raise InputError(describe("region", f'"{name}"', "a region of the vocabulary", do))


def _tumour_label(words: list[str]) -> str | None:
    """What follows the word for a tumour ("lesion", "liver") -> "liver"; also from "tumour1"; None for an organ."""
    match = re.fullmatch(rf"(?:{'|'.join(TUMOUR_WORDS)})(\d*)", words[0])
    label = "_".join([match.group(1), *words[1:]]).strip("_") if match else ""
    return label or None


def _organ(words: list[str]) -> str:
    sides = ["left" if word in LEFT else "right" for word in words if word in (*LEFT, *RIGHT)]
    base = "_".join(word for word in words if word not in (*LEFT, *RIGHT))
    if "_".join(words) in known_regions():
        return "_".join(words)
    if len(sides) == 1:
        return f"{base.removesuffix('s') if base.removesuffix('s') in PAIRED else base}_{sides[0]}"
    return "_".join(words) if sides else ALIASES.get(base, base)


def is_tumour(name: str) -> bool:
    return region(name).startswith("tumour_")


def members(name: str) -> tuple[str, ...]:
    """The regions a union is made of; a region that is no union is its own only member."""
    return UNIONS.get(region(name), (region(name),))


def reference_mass_g(name: str, sex: str) -> float:
    """Adult reference mass (ICRP 89, or as the row of `data/organ_masses.csv` says).

    Raises:
        InputError: `sex` is neither "male" nor "female", or the region has no reference mass (tumours, remainder).
    """
    if sex not in ("male", "female"):
        raise InputError(describe("sex", f'"{sex}"', '"male" or "female"', "correct the covariates"))
    wanted = region(name)
    for row in load_table("dose", "organ_masses.csv"):
        if row["region"] == wanted and row["sex"] == sex:
            return float(row["value"])
    do = "give the segmented volume or a mass in grams for it"
    raise InputError(describe("reference mass", f"none for {sex} {wanted}", "an organ of the ICRP 89 table", do))


def density_g_per_mL(name: str) -> float:
    """Density that turns a segmented volume into a mass: the region's row of `data/densities.csv`, else its default."""
    table = {row["region"]: float(row["value"]) for row in load_table("dose", "densities.csv")}
    return table.get(region(name), table["default"])
