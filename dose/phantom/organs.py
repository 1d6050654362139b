"""The organs of the stylised adults: names, masses, densities and materials, from `data/phantom_organs.csv`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from dose.errors import InputError, describe, nearest
from dose.phantom.skeleton import body_mass_g, check_sex, quantities, site_density_g_cm3, site_masses_g
from dose.provenance import load_table
from dose.regions import UNIONS

OUTSIDE, SKIN, REMAINDER = "outside", "skin", "remainder"
ADIPOSE, MUSCLE = "adipose", "muscle"
LEAST_REMAINDER = 0.2
"""Share of the body that muscle, fat and the rest must keep beside the organs."""
GROUPS = {**UNIONS, "salivary": (*UNIONS["salivary"], "sublingual")}
"""Unions of regions; all salivary glands together, as the reference mass counts them."""
AIR_G_CM3 = 0.0012
"""Density outside; it takes part in no dose."""


@dataclass(frozen=True)
class Organ:
    """A label of the phantom: mass, density of its tissue, material as shares by mass.

    `parts` equal pieces; `thickness_cm` above 0 for a layer, which electrons leave on both sides.
    """

    name: str
    kind: str
    mass_g: float
    density_g_cm3: float
    material: tuple[tuple[str, float], ...]
    parts: int = 1
    thickness_cm: float = 0.0


def reference_organs(sex: str) -> tuple[Organ, ...]:
    """The labels of the reference adult, without the outside, in the order in which they keep their place."""
    return organs_of(check_sex(sex), body_mass_g(sex), {})[1:]


def organs_of(sex: str, body_g: float, known_g: Mapping[str, float]) -> tuple[Organ, ...]:
    found = [Organ(OUTSIDE, OUTSIDE, 0.0, AIR_G_CM3, (("air", 1.0),))]
    for row in load_table("dose", "phantom_organs.csv"):
        if row["sex"] == sex:
            found += _sites(sex) if row["kind"] == "sites" else [_organ(row)]
    found = _with_masses(found, known_g)
    rest_g = body_g - sum(organ.mass_g for organ in found)
    if rest_g < LEAST_REMAINDER * body_g:
        found_g, do = f"{body_g - rest_g:.0f} g of organs in {body_g:.0f} g", "check the masses and the weight"
        raise InputError(describe("masses_g", found_g, "at least a fifth left for muscle and fat", do))
    return (*found, _remainder(sex, rest_g))


def _organ(row: Mapping[str, str]) -> Organ:
    matter = ((row["material"], 1.0),)
    form = int(row["parts"]), float(row["thickness_cm"] or 0)
    return Organ(row["organ"], row["kind"], float(row["mass_g"]), float(row["density_g_cm3"]), matter, *form)


def _sites(sex: str) -> list[Organ]:
    made = []
    for site, tissues in site_masses_g(sex).items():
        total = sum(tissues.values())
        matter = tuple((tissue, mass / total) for tissue, mass in tissues.items() if mass > 0)
        made.append(Organ(site, "site", total, site_density_g_cm3(tissues), matter))
    return made


def _remainder(sex: str, mass_g: float) -> Organ:
    share, density = quantities("remainder_adipose_share", sex)[""], quantities("tissue_density")
    mixed = 1 / (share / density[ADIPOSE] + (1 - share) / density[MUSCLE])
    return Organ(REMAINDER, REMAINDER, mass_g, mixed, ((ADIPOSE, share), (MUSCLE, 1 - share)))


def _with_masses(organs: list[Organ], known_g: Mapping[str, float]) -> list[Organ]:
    """The organs with a patient's masses in the place of the reference's."""
    mass = {organ.name: organ.mass_g for organ in organs}
    for name, value in known_g.items():
        members = GROUPS.get(name, (name,))
        if not set(members) <= set(mass) or name == OUTSIDE:
            hint = nearest(name, [*mass, *GROUPS]) or "an organ of the phantom"
            raise InputError(describe("masses_g", repr(name), hint, "correct the name"))
        if not (math.isfinite(value) and value > 0):
            raise InputError(describe(f"masses_g of {name}", f"{value}", "a mass above 0 g", "give grams"))
        whole = sum(mass[member] for member in members)
        mass |= {member: value * mass[member] / whole for member in members}
    return [replace(organ, mass_g=mass[organ.name]) for organ in organs]


def tissue_material(name: str):
    """The material of a tissue, of `data/phantom_materials.csv` or one that `dose.montecarlo` knows."""
    from dose.montecarlo.materials import Material, material

    own = {row["material"]: row for row in load_table("dose", "phantom_materials.csv")}
    if name not in own:
        return material({"trabecular_bone": "cortical_bone"}.get(name, name))
    pairs = (part.split(":") for part in own[name]["composition"].split(";"))
    composition = tuple((int(z), float(share)) for z, share in pairs)
    return Material(name, float(own[name]["density_g_cm3"]), float(own[name]["I_eV"]), composition)


def material_of(organ: Organ):
    from dose.montecarlo.materials import mixture

    shares: dict = {}
    for name, share in organ.material:
        matter = tissue_material(name)
        shares[matter] = shares.get(matter, 0.0) + share
    return mixture(organ.name, shares, organ.density_g_cm3)
