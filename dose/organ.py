"""Absorbed dose of a region to itself, per unit of time-integrated activity.

MIRD schema: dose = TIA sum_i (Delta_i phi_i) / m. The absorbed fractions phi are those of unit-density spheres of the
same mass (one for each member of a union such as the two kidneys), tabulated in `data/sphere_fractions.csv` by
`data/make_sphere_fractions.py`: electrons with their escape, photons with scatter. Alphas and recoils stay where
they arise (ranges below 0.1 mm), and are kept apart and unweighted. No cross-dose from other organs is in it.

References: Bolch et al., MIRD pamphlet 21, J Nucl Med 2009;50:477 (schema); Howell et al., MIRD 22 (RBE kept apart).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, known_nuclides, radionuclide
from dose.provenance import constant, load_table
from dose.regions import members, region

SECONDS_PER_H = 3600
HEAVIEST_G, LIGHTEST_G = 3e5, 1e-3
"""Masses that the sphere table covers; others are refused rather than extrapolated."""

OUTLIVES = 10
"""A daughter is followed while it lives less than this many parent half-lives: 209Pb after 213Bi (4) is, 207Bi after
211At (40 000) decays too late and too little to matter."""

POOR_SHAPE_SD = 0.3
"""From this relative sd on, `method` says that a sphere does not fit the region and the coefficient may be biased."""


@dataclass(frozen=True)
class DoseCoefficient:
    """Self-dose per time-integrated activity in Gy/(MBq h): parts, their sum, relative sd, and how it was made.

    `alpha` holds alphas and recoils, as physical (not RBE-weighted) dose; so does `total`.
    """

    electron: float
    photon: float
    alpha: float
    total: float
    relative_sd: float
    method: str

    def weighted(self, alpha_rbe: float) -> float:
        """RBE-weighted coefficient in Gy(RBE)/(MBq h): the caller names the alpha RBE, none is assumed."""
        return self.electron + self.photon + alpha_rbe * self.alpha


@dataclass(frozen=True)
class ChainMember:
    """A nuclide of a chain and how many of its decays follow one decay of the parent."""

    nuclide: Radionuclide
    decays: float


def equilibrium_chain(nuclide: str) -> tuple[ChainMember, ...]:
    """The parent and its progeny, with decays per decay of the parent.

    Daughters are taken to decay where the parent did (no redistribution). A daughter that far outlives the parent
    (`OUTLIVES`) or is not in the table ends the branch.
    """
    parent = radionuclide(nuclide)
    decays = {parent.name: 1.0}
    queue = [parent.name]
    while queue:
        current = queue.pop(0)
        for daughter, _ in radionuclide(current).progeny:
            if daughter in known_nuclides() and radionuclide(daughter).half_life_h < OUTLIVES * parent.half_life_h:
                decays[daughter] = 0.0
                queue.append(daughter)
    for name in list(decays)[1:]:
        decays[name] = _decays(parent.name, name)
    return tuple(ChainMember(radionuclide(name), count) for name, count in decays.items())


def _decays(origin: str, target: str) -> float:
    """Decays of `target` per decay of `origin`, summed over all branches."""
    if origin == target:
        return 1.0
    branches = ((d, b) for d, b in radionuclide(origin).progeny if d in known_nuclides())
    return sum(branching * _decays(daughter, target) for daughter, branching in branches)


@cache
def _fractions(nuclide: str) -> tuple[tuple[float, ...], ...]:
    rows = [row for row in load_table("dose", "sphere_fractions.csv") if row["nuclide"] == nuclide]
    return tuple(tuple(float(row[c]) for row in rows) for c in ("mass_g", "electron", "photon"))


def absorbed_fractions(nuclide: str, mass_g: float) -> tuple[float, float]:
    """Electron and photon absorbed fractions of a sphere of `mass_g`, for one nuclide without its progeny.

    Raises:
        InputError: mass not between 0.001 g and 300 kg.
    """
    if not (math.isfinite(mass_g) and LIGHTEST_G <= mass_g <= HEAVIEST_G):
        expected = f"{LIGHTEST_G:g} g to {HEAVIEST_G:g} g"
        raise InputError(describe("mass_g", f"{mass_g}", expected, "check the segmented volume and its unit (grams)"))
    masses, electron, photon = _fractions(radionuclide(nuclide).name)
    if not masses:
        return 1.0, 0.0
    at = np.log(mass_g)
    return float(np.interp(at, np.log(masses), electron)), _power_law(mass_g, masses, photon)


def _power_law(mass_g: float, masses, fraction) -> float:
    """Photon fractions follow about m^(1/3): interpolate both logs."""
    return float(np.exp(np.interp(np.log(mass_g), np.log(masses), np.log(np.maximum(fraction, 1e-9)))))


def dose_coefficient_Gy_per_MBq_h(region_name: str, nuclide: str, mass_g: float, chain: bool = True) -> DoseCoefficient:
    """Self-dose coefficient of a region of the given mass.

    With `chain` the energies of the progeny are summed per decay of the parent (equilibrium, no
    redistribution); without it the nuclide stands alone, as in tables that list each nuclide.

    Raises:
        InputError: unknown region or nuclide, or a mass outside the table.
    """
    parts = len(members(region_name))
    parent = radionuclide(nuclide)
    followed = equilibrium_chain(parent.name) if chain else (ChainMember(parent, 1.0),)
    electron = photon = alpha = 0.0
    for link in followed:
        phi_electron, phi_photon = absorbed_fractions(link.nuclide.name, mass_g / parts)
        electron += link.decays * link.nuclide.electron_MeV * phi_electron
        photon += link.decays * link.nuclide.photon_MeV * phi_photon
        alpha += link.decays * (link.nuclide.alpha_MeV + link.nuclide.recoil_MeV)
    per_MeV = gray_per_MeV(mass_g)
    electron, photon, alpha = electron * per_MeV, photon * per_MeV, alpha * per_MeV
    sd = _relative_sd(region_name, electron, photon, alpha)
    method = _method(parts, followed, _shape_sd(region_name))
    return DoseCoefficient(electron, photon, alpha, electron + photon + alpha, sd, method)


def gray_per_MeV(mass_g: float) -> float:
    """Gy per MBq h when one MeV of each decay stays in `mass_g`."""
    return constant("dose", "joule_per_MeV") * 1e6 * SECONDS_PER_H / (mass_g * 1e-3)


def _shape_sd(region_name: str) -> float:
    shape = {row["region"]: float(row["relative_sd"]) for row in load_table("dose", "self_dose_model.csv")}
    return shape.get(region(region_name), shape["default"])


def _relative_sd(region_name: str, electron: float, photon: float, alpha: float) -> float:
    """Model uncertainty: the sphere fractions and, in quadrature, the region's shape."""
    parts = (("electron_fraction", electron), ("photon_fraction", photon), ("alpha", alpha))
    total = electron + photon + alpha
    fractions = math.hypot(*(constant("dose", f"{name}_relative_sd") * part / total for name, part in parts))
    return math.hypot(fractions, _shape_sd(region_name))


def _method(parts: int, followed: tuple[ChainMember, ...], shape_sd: float) -> str:
    text = f"self-dose, {parts} unit-density sphere{'s' * (parts > 1)}, ICRP-107 energies, no cross-dose"
    if shape_sd >= POOR_SHAPE_SD:
        text += "; a sphere does not fit this region and the coefficient may be biased"
    if len(followed) > 1:
        names = ", ".join(f"{link.nuclide.name} {link.decays:.3g}" for link in followed[1:])
        text += f"; parent with chain in equilibrium, no redistribution ({names} decays per parent decay)"
    if any(link.nuclide.alpha_MeV > 0 for link in followed):
        text += "; alpha dose physical, no RBE applied"
    return text
