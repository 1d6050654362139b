"""Absorbed dose of a region to itself, per unit of time-integrated activity.

MIRD schema: dose = TIA sum_i (Delta_i phi_i) / m. The absorbed fractions phi are those of unit-density spheres of the
same mass in endless water (one for each member of a union such as the two kidneys), from the point kernels of our own
Monte Carlo (`dose.point_kernels`): electrons with their escape, photons with scatter and bremsstrahlung. Alphas and
recoils stay where they arise (ranges below 0.1 mm), and are kept apart and unweighted. No cross-dose from other organs
is in it.

References: Bolch et al., MIRD pamphlet 21, J Nucl Med 2009;50:477 (schema); Howell et al., MIRD 22 (RBE kept apart).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, radionuclide
from dose.progeny import equilibrium_decays
from dose.provenance import constant, load_table
from dose.regions import members, region

SECONDS_PER_H = 3600
HEAVIEST_G, LIGHTEST_G = 3e5, 1e-3
"""Masses that the sphere table covers; others are refused rather than extrapolated."""

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
    (`dose.progeny.OUTLIVES`), or a noble gas that lives long enough to leave, ends the branch.
    """
    return tuple(ChainMember(radionuclide(name), count) for name, count in equilibrium_decays(nuclide).items())


MASSES_G = np.geomspace(LIGHTEST_G, HEAVIEST_G, 100)
"""Masses at which a nuclide's fractions are computed; between them they are interpolated."""


@cache
def _fractions(nuclide: str) -> tuple[np.ndarray, np.ndarray]:
    """Electron and photon absorbed fractions at `MASSES_G`; the electrons' holds their bremsstrahlung."""
    from dose.point_kernels import point_kernel, sphere_share

    kernel, energies = point_kernel(nuclide, "water"), radionuclide(nuclide)
    radii = (3 * MASSES_G / (4 * math.pi)) ** (1 / 3)
    within = lambda cumulative: np.array([sphere_share(kernel.radius_g_cm2, cumulative, r) for r in radii])
    electron = within(kernel.electron_MeV + kernel.radiated_MeV)
    photon = within(kernel.photon_MeV - kernel.radiated_MeV)
    return _share(electron, energies.electron_MeV), _share(photon, energies.photon_MeV)


def _share(absorbed_MeV: np.ndarray, emitted_MeV: float) -> np.ndarray:
    """Absorbed over emitted energy, without the last digits' noise: never above one, never falling with the mass."""
    share = absorbed_MeV / emitted_MeV if emitted_MeV > 0 else np.ones_like(absorbed_MeV)
    return np.minimum(np.maximum.accumulate(share), 1.0)


def absorbed_fractions(nuclide: str, mass_g: float) -> tuple[float, float]:
    """Electron and photon absorbed fractions of a sphere of `mass_g`, for one nuclide without its progeny.

    Raises:
        InputError: mass not between 0.001 g and 300 kg, or a nuclide that emits nothing.
    """
    if not (math.isfinite(mass_g) and LIGHTEST_G <= mass_g <= HEAVIEST_G):
        expected = f"{LIGHTEST_G:g} g to {HEAVIEST_G:g} g"
        raise InputError(describe("mass_g", f"{mass_g}", expected, "check the segmented volume and its unit (grams)"))
    electron, photon = _fractions(radionuclide(nuclide).name)
    at = np.log(mass_g)
    return float(np.interp(at, np.log(MASSES_G), electron)), _power_law(mass_g, MASSES_G, photon)


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
