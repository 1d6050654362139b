"""The skeleton of the stylised adults: sites, and what each of them is made of.

A site (skull, ribs, lumbar spine ...) is one homogeneous material: bone mineral, red and yellow marrow, cartilage. The
red marrow follows the published shares of the active marrow by site, the yellow one the cellularity of a site's marrow
(what is left lies in the limbs), bone and cartilage fill the site's share of the skeleton's mass. Numbers and sources:
`data/phantom_skeleton.csv`.
"""

from __future__ import annotations

from functools import cache

from dose.errors import InputError, describe
from dose.provenance import load_table

SEXES = ("male", "female")
TISSUES = ("cortical_bone", "trabecular_bone", "red_marrow", "yellow_marrow", "cartilage")


def check_sex(sex: str) -> str:
    """The word itself.

    Raises:
        InputError: neither "male" nor "female".
    """
    if sex not in SEXES:
        raise InputError(describe("sex", repr(sex), '"male" or "female"', "correct it"))
    return sex


@cache
def quantities(quantity: str, sex: str = "") -> dict[str, float]:
    """The rows of one quantity by name, common to both sexes or of one."""
    rows = [row for row in load_table("dose", "phantom_skeleton.csv") if row["quantity"] == quantity]
    return {row["name"]: float(row["value"]) for row in rows if row["sex"] in ("", sex)}


def body_mass_g(sex: str) -> float:
    """Mass of the whole reference adult."""
    return quantities("body_mass", check_sex(sex))[""]


def body_height_cm(sex: str) -> float:
    """Height of the reference adult."""
    return quantities("body_height", check_sex(sex))[""]


def tissue_mass_g(tissue: str, sex: str) -> float:
    """Mass of a tissue of the skeleton ("red_marrow", "trabecular_bone", "bone_surface" ...) in the reference adult."""
    return quantities("tissue_mass", check_sex(sex))[tissue]


def sites() -> tuple[str, ...]:
    """Names of the sites, by which the phantom labels them."""
    return tuple(quantities("site_mass_share"))


@cache
def site_masses_g(sex: str) -> dict[str, dict[str, float]]:
    """Mass of each tissue in each site; every tissue adds to its reference mass.

    Raises:
        InputError: unknown sex.
    """
    total = {tissue: tissue_mass_g(tissue, sex) for tissue in TISSUES}
    whole = {site: share * sum(total.values()) for site, share in quantities("site_mass_share").items()}
    red = _scaled({site: quantities("red_marrow_share").get(site, 0.0) for site in whole}, total["red_marrow"])
    yellow = _yellow_g(red, whole, total["yellow_marrow"])
    solid = {site: whole[site] - red[site] - yellow[site] for site in whole}
    gristle = _scaled(solid, total["cartilage"])
    mineral = {site: solid[site] - gristle[site] for site in whole}
    weight = quantities("trabecular_weight")
    spongy = _scaled({site: mineral[site] * weight[site] for site in whole}, total["trabecular_bone"])
    dense = {site: mineral[site] - spongy[site] for site in whole}
    columns = dict(zip(TISSUES, (dense, spongy, red, yellow, gristle)))
    return {site: {tissue: columns[tissue][site] for tissue in TISSUES} for site in whole}


def _scaled(weights: dict[str, float], total: float) -> dict[str, float]:
    factor = total / sum(weights.values())
    return {name: weight * factor for name, weight in weights.items()}


def _yellow_g(red: dict[str, float], whole: dict[str, float], total: float) -> dict[str, float]:
    """Yellow beside red marrow by volume as the cellularity says; the rest in sites without red marrow, by mass."""
    density = quantities("tissue_density")
    per_red = density["yellow_marrow"] / density["red_marrow"]
    cellularity = quantities("cellularity")
    beside = {site: red[site] * per_red * (1 / cellularity[site] - 1) for site in red if red[site] > 0}
    limbs = _scaled({site: whole[site] for site in whole if site not in beside}, total - sum(beside.values()))
    return {**beside, **limbs}


def site_density_g_cm3(masses_g: dict[str, float]) -> float:
    """Density of a site in which its tissues keep their own volumes."""
    density = quantities("tissue_density")
    return sum(masses_g.values()) / sum(mass / density[tissue] for tissue, mass in masses_g.items())
