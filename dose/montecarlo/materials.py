"""What matter is made of: density, mean excitation energy and composition, from `data/materials.csv` (ICRU 37)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table

DENSEST_G_CM3 = 22.6
"""Osmium, the densest matter there is; anything above is another unit."""
COMPOSITION_TOLERANCE = 0.005
"""By how much mass fractions may miss one before they are refused (tables print six digits or fewer)."""

SHORT = {
    "water": "water_liquid",
    "soft_tissue": "tissue_soft_icrufour-component",
    "lung": "lung_inflated_icru_1986",
    "bone": "bone_cortical_icrp",
    "cortical_bone": "bone_cortical_icrp",
    "compact_bone": "bone_compact_icru",
    "adipose": "adiposetissue_icrp",
    "muscle": "muscle_skeletal_icrp",
    "air": "air_dry_nearsealevel",
    "blood": "blood_icrp",
    "brain": "brain_icrp",
    "skin": "skin_icrp",
}
"""Everyday names of rows of the table."""


@dataclass(frozen=True)
class Material:
    """A homogeneous material; `composition` is (Z, mass fraction) pairs that sum to one."""

    name: str
    density_g_cm3: float
    I_eV: float
    composition: tuple[tuple[int, float], ...]

    def __post_init__(self):
        if not (math.isfinite(self.density_g_cm3) and 0 < self.density_g_cm3 <= DENSEST_G_CM3):
            expected = f"above 0 and at most {DENSEST_G_CM3} g/cm3"
            raise InputError(describe(f"density of {self.name}", f"{self.density_g_cm3}", expected, "check the unit"))
        total = sum(share for _, share in self.composition)
        if abs(total - 1) > COMPOSITION_TOLERANCE or any(share < 0 for _, share in self.composition):
            expected = "mass fractions of 0 or more that sum to 1"
            raise InputError(describe(f"composition of {self.name}", f"a sum of {total:.4g}", expected, "correct it"))


@cache
def _table() -> dict[str, Material]:
    return {row["material"]: _from_row(row) for row in load_table("dose", "materials.csv")}


def _from_row(row: Mapping[str, str]) -> Material:
    pairs = (part.split(":") for part in row["composition"].split(";"))
    composition = tuple((int(z), float(share)) for z, share in pairs)
    return Material(row["material"], float(row["density_g_cm3"]), float(row["I_eV"]), composition)


def known_materials() -> tuple[str, ...]:
    """Names that `material` takes: everyday ones first, then those of the table."""
    return (*SHORT, *_table())


def material(name: str | Material) -> Material:
    """A material by its name ("water", "lung", "bone_compact_icru"); a `Material` is given back as it is.

    Raises:
        InputError: unknown name.
    """
    if isinstance(name, Material):
        return name
    found = _table().get(SHORT.get(str(name), str(name)))
    if found is None:
        hint = nearest(str(name), known_materials())
        do = f'write "{hint}" if that was meant' if hint else "see known_materials(), or make a Material"
        raise InputError(describe("material", repr(name), "a known material", do))
    return found


def mixture(name: str, parts: Mapping[str | Material, float], density_g_cm3: float) -> Material:
    """Materials mixed by mass share (shares are normalised); ln I is averaged by electrons (Bragg's rule, ICRU 37).

    Raises:
        InputError: unknown part, no share above 0, an impossible density.
    """
    total = sum(parts.values())
    if not total > 0 or any(share < 0 for share in parts.values()):
        raise InputError(describe(f"parts of {name}", f"{list(parts.values())}", "shares of 0 or more", "correct them"))
    elements: dict[int, float] = {}
    log_I = electrons = 0.0
    for part, share in ((material(part), share / total) for part, share in parts.items()):
        per_gram = share * electrons_per_mass(part)
        log_I, electrons = log_I + per_gram * math.log(part.I_eV), electrons + per_gram
        for z, fraction in part.composition:
            elements[z] = elements.get(z, 0.0) + share * fraction
    return Material(name, density_g_cm3, math.exp(log_I / electrons), tuple(sorted(elements.items())))


def electrons_per_mass(matter: Material) -> float:
    """Sum of w Z/A: moles of electrons in a gram."""
    return sum(share * z / atomic_mass(z) for z, share in matter.composition)


@cache
def _atomic_masses() -> dict[int, float]:
    return {int(row["Z"]): float(row["atomic_mass_g_mol"]) for row in load_table("dose", "elements.csv")}


def atomic_mass(z: int) -> float:
    """Standard atomic weight in g/mol.

    Raises:
        InputError: an element the cross sections do not hold.
    """
    masses = _atomic_masses()
    if z not in masses:
        raise InputError(describe("element", f"Z = {z}", f"one of {sorted(masses)}", "replace it by its neighbour"))
    return masses[z]
