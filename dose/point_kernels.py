"""Energy round a point source in an endless homogeneous tissue, for any nuclide: the root of spheres and voxel kernels.

Our own Monte Carlo (`dose.montecarlo.point`) gives the shares of energy within a radius for single energies; they are
shipped for six materials (`data/point_kernels_<name>.csv`), computed on demand for others. A nuclide's kernel is
their sum over its ICRP-107 lines and beta spectrum. Electrons follow a law of the radius over the CSDA range that
hardly changes with energy; photons are interpolated in -ln(1 - share), which is nearly a power of energy.

What electrons radiate becomes photons from the same point (`dose.montecarlo.decays`). Positrons annihilate where they
are born.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.emissions import emissions
from dose.errors import InputError, describe
from dose.montecarlo.attenuation import GRID_MEV
from dose.montecarlo.decays import ELECTRON_LEAST_MEV, PHOTON_LEAST_MEV, bremsstrahlung, electron_energies
from dose.montecarlo.materials import Material, material
from dose.montecarlo.point import SHELLS, electron_share, photon_share
from dose.montecarlo.stopping import slowing
from dose.provenance import load_table

SHIPPED = ("water", "soft_tissue", "lung", "adipose", "compact_bone", "cortical_bone")
"""Materials whose mono-energetic kernels come with the package."""

ELECTRON_MEV = (
    0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0, 1.4, 2.0, 3.0,
    4.5, 7.0, 9.5,
)  # fmt: skip
PHOTON_MEV = (
    0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008, 0.01, 0.0125, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.06,
    0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4, 0.511, 0.662, 0.8, 1.0, 1.25, 1.5, 2.0, 2.6, 3.5, 5.0, 7.0, 9.5,
)  # fmt: skip
ELECTRON_RADII = np.concatenate([[0.0], np.geomspace(0.003, 0.1, 9), np.linspace(0.125, 1.0, 36), [1.05, 1.1, 1.2]])
"""In CSDA ranges; hardly an electron gets beyond one."""
PHOTON_RADII = np.geomspace(1e-4, 300.0, 84)
"""In g/cm2."""

RADIUS_G_CM2 = np.geomspace(1e-5, 300.0, 420)
ELECTRON_HISTORIES, PHOTON_HISTORIES = 2**18, 2**19
FULL = 1e-7


@dataclass(frozen=True, eq=False)
class PointKernel:
    """Cumulative energy in MeV per decay within `radius_g_cm2` [radius] (distance times density) of a point source of
    one nuclide without its progeny. `alpha_MeV`: alphas and recoils, all of it at the point."""

    nuclide: str
    material: str
    density_g_cm3: float
    radius_g_cm2: np.ndarray
    electron_MeV: np.ndarray
    photon_MeV: np.ndarray
    radiated_MeV: np.ndarray
    """The part of `photon_MeV` that comes from bremsstrahlung [radius]."""
    alpha_MeV: float
    emitted_MeV: float
    """Energy emitted per decay as electrons, photons, alphas and recoils."""


@dataclass(frozen=True, eq=False)
class MonoKernels:
    """Shares of energy by [energy, radius]: electrons at `ELECTRON_RADII` CSDA ranges, photons at `PHOTON_RADII`."""

    material: Material
    electron: np.ndarray
    photon: np.ndarray

    def electron_within(self, energy_MeV, radius_g_cm2) -> np.ndarray:
        """Share of an electron's energy within each radius, [energy, radius]."""
        energy = np.atleast_1d(energy_MeV)
        reach = np.interp(np.log(energy), np.log(GRID_MEV), slowing(self.material).range_g_cm2)
        rows = _along(np.log(energy), np.log(ELECTRON_MEV), self.electron)
        found = [np.interp(radius_g_cm2 / r, ELECTRON_RADII, row) for r, row in zip(reach, rows)]
        return np.array(found).reshape(len(energy), np.size(radius_g_cm2))

    def photon_within(self, energy_MeV, radius_g_cm2) -> np.ndarray:
        """Share of a photon's energy within each radius, [energy, radius]."""
        depth = np.log(-np.log(np.maximum(1 - self.photon, FULL)) + 1e-30)
        rows = _along(np.log(np.atleast_1d(energy_MeV)), np.log(PHOTON_MEV), depth)
        inner = np.log(np.maximum(radius_g_cm2, 1e-12) / PHOTON_RADII[0])
        found = [np.interp(np.log(np.maximum(radius_g_cm2, 1e-12)), np.log(PHOTON_RADII), row) for row in rows]
        depths = np.array(found).reshape(len(rows), np.size(radius_g_cm2))
        return -np.expm1(-np.exp(depths + np.minimum(inner, 0)))  # proportional to the radius below the first


def _along(at, grid, table) -> np.ndarray:
    """Rows of `table` linearly interpolated at `at`, held at the ends."""
    lower = np.clip(np.searchsorted(grid, at) - 1, 0, len(grid) - 2)
    fraction = np.clip((at - grid[lower]) / (grid[lower + 1] - grid[lower]), 0, 1)[:, None]
    return table[lower] * (1 - fraction) + table[lower + 1] * fraction


def computed(
    name: str | Material, electron_histories=ELECTRON_HISTORIES, photon_histories=PHOTON_HISTORIES
) -> MonoKernels:
    """The kernels of a material by Monte Carlo: minutes, reproducible."""

    matter, radii = material(name), SHELLS.radius_cm
    electron, photon = [], []
    for k, energy in enumerate(ELECTRON_MEV):
        share = electron_share(matter, energy, electron_histories, seed=k).mean(axis=0)[:-1]
        reach = np.interp(np.log(energy), np.log(GRID_MEV), slowing(matter).range_g_cm2)
        electron.append(np.interp(ELECTRON_RADII, np.append(0, radii / reach), np.append(0, share)))
    for k, energy in enumerate(PHOTON_MEV):
        share = photon_share(matter, energy, photon_histories, seed=100 + k).mean(axis=0)[:-1]
        photon.append(np.interp(PHOTON_RADII, radii, share))
    return MonoKernels(matter, np.array(electron), np.array(photon))


def computed_rows(name: str):
    """Lines of the shipped table for one material."""
    made = computed(name)
    for particle, energies, radii, table in (
        ("electron", ELECTRON_MEV, ELECTRON_RADII, made.electron),
        ("photon", PHOTON_MEV, PHOTON_RADII, made.photon),
    ):
        for energy, row in zip(energies, table):
            for radius, share in zip(radii, row):
                yield f"{particle},{energy:g},{radius:.5g},{share:.5g}"


@cache
def mono_kernels(name: str | Material) -> MonoKernels:
    """The mono-energetic kernels of a material: shipped, or computed (minutes) and kept in memory.

    Raises:
        InputError: unknown material.
    """
    if name not in SHIPPED:
        return computed(name)
    rows = load_table("dose", table_name(str(name)))
    return MonoKernels(material(name), *(_shares(rows, *kind) for kind in KINDS))


KINDS = (("electron", len(ELECTRON_RADII)), ("photon", len(PHOTON_RADII)))


def table_name(name: str) -> str:
    """File of a shipped material."""
    return f"point_kernels_{name}.csv"


def _shares(rows, particle: str, radii: int) -> np.ndarray:
    return np.array([float(row["share"]) for row in rows if row["particle"] == particle]).reshape(-1, radii)


@cache
def point_kernel(nuclide: str, material_name: str | Material = "water") -> PointKernel:
    """The kernel of a nuclide alone in a material.

    Raises:
        InputError: unknown nuclide or material; a nuclide that emits nothing.
    """
    mono, emitted = mono_kernels(material_name), emissions(nuclide)
    energy, number = electron_energies(nuclide)
    hard = energy >= ELECTRON_LEAST_MEV
    soft_MeV, soft_number, left = bremsstrahlung(mono.material, energy[hard], number[hard])
    electron = float(energy[~hard] @ number[~hard]) + left + _electrons(mono, energy[hard], number[hard])
    radiated = _photons(mono, soft_MeV, soft_number)
    lines = emitted.photons
    alpha = emitted.energy_MeV("alpha") + emitted.energy_MeV("recoil")
    total = float(energy @ number + lines.MeV_per_decay + alpha)
    if total <= 0:
        do = "it gives no dose; ask for a nuclide that decays with emissions"
        raise InputError(describe("nuclide", f"{nuclide}, which emits nothing", "a nuclide with emissions", do))
    photon = _photons(mono, lines.energy_MeV, lines.per_decay) + radiated
    density = mono.material.density_g_cm3
    arrays = (RADIUS_G_CM2, electron, photon, radiated)
    return PointKernel(emitted.nuclide, mono.material.name, density, *arrays, alpha, total)


def _electrons(mono: MonoKernels, energy_MeV, number) -> np.ndarray:
    return (energy_MeV * number) @ mono.electron_within(energy_MeV, RADIUS_G_CM2)


def _photons(mono: MonoKernels, energy_MeV, number) -> np.ndarray:
    far = energy_MeV >= PHOTON_LEAST_MEV
    within = mono.photon_within(energy_MeV[far], RADIUS_G_CM2)
    return float(energy_MeV[~far] @ number[~far]) + (energy_MeV * number)[far] @ within


def sphere_share(radius_g_cm2, cumulative, sphere_g_cm2: float) -> float:
    """Energy that a uniform source in a sphere leaves in it, from the cumulative energy round a point.

    A deposit at distance x from its decay lies in the sphere of radius R with probability 1 - 3x/(4R) + x^3/(16 R^3)
    for x < 2R (chords of a sphere); integrated by parts, the sum of the cumulative energy times minus its slope.
    """
    fine = np.concatenate([[0.0], np.geomspace(radius_g_cm2[0], 2 * sphere_g_cm2, 600)])
    energy = np.interp(fine, np.append(0.0, radius_g_cm2), np.append(cumulative[0], cumulative))
    slope = 3 / (4 * sphere_g_cm2) - 3 * fine**2 / (16 * sphere_g_cm2**3)
    return float(np.trapezoid(energy * slope, fine))
