"""Absorbed dose of the wall of a hollow organ from its contents, at the inner surface.

Electrons: at the surface of the contents half of the equilibrium dose inside, E / (2 m) (ICRP 30; MIRD). Photons: the
mean dose of a sphere of the contents' mass (`dose.organ`) times the ratio of surface to mean. Alphas do not reach the
cells at risk. Contents have one constant mass; give your own for a bladder that fills. What lies beneath the surface
gets less, the sooner the shorter the electrons' range. Shares and masses: `data/walls.csv`; docs/contents.md.
"""

from __future__ import annotations

import math

from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide
from dose.organ import (
    HEAVIEST_G,
    LIGHTEST_G,
    ChainMember,
    DoseCoefficient,
    dose_coefficient_Gy_per_MBq_h,
    equilibrium_chain,
    gray_per_MeV,
)
from dose.provenance import constant, load_table

BLADDER = "bladder"
CONTENTS = (BLADDER, "small_intestine", "right_colon", "left_colon", "rectosigmoid")
"""Contents with a reference mass."""
SEXES = ("male", "female")
SPHERE = "remainder"
"""A region of one part, whose self-dose is that of one sphere."""


def _value(quantity: str, contents: str = "", sex: str = "") -> float:
    """The row for these contents, or that of all contents of the gut, or the one of the quantity alone."""
    rows = {(r["quantity"], r["region"], r["sex"]): float(r["value"]) for r in load_table("dose", "walls.csv")}
    group = "" if not contents else contents if contents == BLADDER else "gut"
    return next(rows[key] for key in ((quantity, contents, sex), (quantity, group, "")) if key in rows)


def _known(field: str, name: str, choices: tuple[str, ...]) -> None:
    if name not in choices:
        expected = nearest(name, choices) or "one of " + ", ".join(choices)
        raise InputError(describe(field, repr(name), expected, "correct the name"))


def contents_mass_g(contents: str, sex: str = "male") -> float:
    """Reference mass of the contents of an adult.

    Raises:
        InputError: unknown contents or sex.
    """
    _known("contents", contents, CONTENTS)
    _known("sex", sex, SEXES)
    return _value("mass", contents, sex)


def wall_coefficient_Gy_per_MBq_h(
    contents: str,
    nuclide: str,
    *,
    mass_g: float | None = None,
    sex: str = "male",
    chain: bool = True,
    alpha_share: float | None = None,
) -> DoseCoefficient:
    """Dose at the wall's inner surface per time-integrated activity of the contents.

    `mass_g` of the contents: the reference's if left out, with its spread in `relative_sd`. `alpha_share` is what part
    of the alphas' mean dose in the contents the cells at risk get (left out: none). `chain` as in `dose.organ`: the
    progeny decays with the parent. `method` says where `relative_sd` comes from.

    Raises:
        InputError: unknown contents, sex or nuclide, a mass outside the sphere table, a share outside 0 to 1.
    """
    reference = contents_mass_g(contents, sex)
    share = _value("alpha_share") if alpha_share is None else alpha_share
    _check(mass_g, share)
    mass = reference if mass_g is None else mass_g
    inside = dose_coefficient_Gy_per_MBq_h(SPHERE, nuclide, mass, chain)
    electron = _value("electron_share") * _equilibrium_Gy_per_MBq_h(nuclide, mass, chain)
    photon, alpha = _value("photon_share", contents) * inside.photon, share * inside.alpha
    sd, origin = _uncertainty(electron, photon, alpha, 0.0 if mass_g else _value("mass_relative_sd", contents))
    method = f"inner surface of the wall, half of the electrons' equilibrium dose in {mass:g} g of contents; {origin}"
    return DoseCoefficient(electron, photon, alpha, electron + photon + alpha, sd, method)


def _check(mass_g: float | None, alpha_share: float) -> None:
    if mass_g is not None and not (math.isfinite(mass_g) and LIGHTEST_G <= mass_g <= HEAVIEST_G):
        expected = f"{LIGHTEST_G:g} g to {HEAVIEST_G:g} g"
        raise InputError(describe("mass_g", f"{mass_g}", expected, "check the volume of the contents and its unit"))
    if not 0 <= alpha_share <= 1:
        raise InputError(describe("alpha_share", f"{alpha_share}", "0 to 1", "leave it out for the table's value"))


def _equilibrium_Gy_per_MBq_h(nuclide: str, mass_g: float, chain: bool) -> float:
    """Dose deep inside contents much larger than the electrons' range."""
    followed = equilibrium_chain(nuclide) if chain else (ChainMember(radionuclide(nuclide), 1.0),)
    return gray_per_MeV(mass_g) * sum(link.decays * link.nuclide.electron_MeV for link in followed)


def _uncertainty(electron: float, photon: float, alpha: float, mass_sd: float) -> tuple[float, str]:
    """Relative sd of the sum, and its origin in words."""
    total = electron + photon + alpha
    alpha_sd = constant("dose", "alpha_relative_sd")
    parts = zip((electron, photon, alpha), (_value("electron_relative_sd"), _value("photon_relative_sd"), alpha_sd))
    geometry = math.hypot(*(part * sd / total for part, sd in parts)) if total else 0.0
    mass = f"reference mass {mass_sd:.0%} (assumed)" if mass_sd else "mass as given"
    return math.hypot(geometry, mass_sd), f"relative sd: geometry {geometry:.1%} (judged), {mass}"
