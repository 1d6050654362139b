"""What a decay deposits within a radius, for a nuclide or for a chain that decays in one place: input of voxel kernels.

Made from the radial point kernels of the Monte Carlo (`dose.point_kernels`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.interpolate import PchipInterpolator

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, has_emissions, radionuclide
from dose.organ import equilibrium_chain

if TYPE_CHECKING:
    from dose.point_kernels import PointKernel

DENSEST_G_CM3 = 22.6
"""Osmium, the densest matter there is."""


@dataclass(frozen=True, eq=False)
class PointEnergies:
    """Energy within a radius round a decay in an endless medium: MeV per decay of the parent, cumulative.

    `radius_g_cm2` [shell] (radius times density) rises; `electron_MeV` and `photon_MeV` [shell] do not fall.
    `alpha_MeV` (alphas and recoils) stays where the decay is; `emitted_MeV` is all that a decay emits.
    """

    nuclide: str
    material: str
    density_g_cm3: float
    alpha_MeV: float
    radius_g_cm2: np.ndarray
    electron_MeV: np.ndarray
    photon_MeV: np.ndarray
    emitted_MeV: float

    def radial(self, part: str, density_g_cm3: float) -> Radial:
        """The "electron" or "photon" part by the radius in cm in a medium of a density."""
        return Radial(np.asarray(self.radius_g_cm2) / density_g_cm3, getattr(self, f"{part}_MeV"))


class Radial:
    """Cumulative energy by radius, monotone and smooth between the shells' edges (PCHIP)."""

    def __init__(self, edges_cm: np.ndarray, held_MeV: np.ndarray):
        self.edges_cm = np.concatenate([[0.0], edges_cm])
        self.held_MeV = np.concatenate([[0.0], np.maximum.accumulate(np.maximum(held_MeV, 0.0))])
        self._within = PchipInterpolator(self.edges_cm, self.held_MeV)
        self._slope = self._within.derivative()

    @property
    def total_MeV(self) -> float:
        return float(self.held_MeV[-1])

    def within_MeV(self, radius_cm: np.ndarray) -> np.ndarray:
        """Energy within a radius."""
        return self._within(np.minimum(radius_cm, self.edges_cm[-1]))

    def per_cm3(self, radius_cm: np.ndarray) -> np.ndarray:
        """MeV per cm3 at a radius; nothing beyond the last edge."""
        inside = radius_cm < self.edges_cm[-1]
        slope = np.maximum(self._slope(np.where(inside, radius_cm, self.edges_cm[-1])), 0.0)
        return np.where(inside, slope, 0.0) / (4 * np.pi * np.square(radius_cm))

    def radius_holding_cm(self, share: float) -> float:
        """First edge that holds a share of the whole; 0 where there is nothing."""
        return float(self.edges_cm[np.searchsorted(self.held_MeV, share * self.total_MeV)]) if self.total_MeV else 0.0


def point_energies(nuclide: str, material: str = "water", chain: bool = True) -> PointEnergies:
    """Of a nuclide and, with `chain`, of its progeny in equilibrium with it and in the same place.

    Raises:
        InputError: unknown nuclide or material, or a nuclide without emissions.
    """
    from dose.point_kernels import point_kernel

    parent = check_emits(nuclide, chain)
    links = [(link.nuclide, link.decays) for link in equilibrium_chain(parent.name)] if chain else [(parent, 1.0)]
    return combined([(point_kernel(n.name, material), decays) for n, decays in links if has_emissions(n)])


def combined(parts: Sequence[tuple[PointKernel, float]]) -> PointEnergies:
    """Point kernels of one material, each times its decays per decay of the first; linear between a part's edges."""
    first = parts[0][0]
    radius = np.unique(np.concatenate([np.asarray(kernel.radius_g_cm2, float) for kernel, _ in parts]))
    held = {
        part: sum(decays * _on(radius, kernel.radius_g_cm2, getattr(kernel, f"{part}_MeV")) for kernel, decays in parts)
        for part in ("electron", "photon")
    }
    alpha, emitted = (sum(decays * getattr(k, f"{of}_MeV") for k, decays in parts) for of in ("alpha", "emitted"))
    name = first.nuclide + (" and progeny" if len(parts) > 1 else "")
    return PointEnergies(
        name, first.material, float(first.density_g_cm3), alpha, radius, held["electron"], held["photon"], emitted
    )


def _on(radius: np.ndarray, edges, held) -> np.ndarray:
    return np.interp(radius, np.concatenate([[0.0], edges]), np.concatenate([[0.0], held]))


def check_emits(name: str, chain: bool = False) -> Radionuclide:
    """The nuclide, if it (or with `chain` its progeny) emits anything that can leave dose.

    Raises:
        InputError: unknown or stable, or no energy in any emission.
    """
    nuclide = radionuclide(name)
    members = [link.nuclide for link in equilibrium_chain(nuclide.name)] if chain else [nuclide]
    if not any(map(has_emissions, members)):
        do = "name the nuclide that was administered, or leave this one out"
        raise InputError(describe(f"emissions of {nuclide.name}", "none", "some energy per decay", do))
    return nuclide


def check_density(density_g_cm3: float) -> float:
    """The density itself.

    Raises:
        InputError: no density a medium can have.
    """
    if not (math.isfinite(density_g_cm3) and 1e-4 <= density_g_cm3 <= DENSEST_G_CM3):
        do = "give g/cm3 (kg/m3 are 1000 times that), not a CT number"
        raise InputError(describe("density_g_cm3", f"{density_g_cm3:g}", f"1e-4 to {DENSEST_G_CM3} g/cm3", do))
    return float(density_g_cm3)
