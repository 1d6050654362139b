"""Voxel kernels: the energy one decay in a voxel leaves in every voxel round it, from a radial point kernel.

A decay anywhere in the source voxel, uniformly, and a deposit at a displacement d from it: the share of deposits in
the voxel at offset o is the overlap of the two boxes, the product over axes of 1 - |d/h - o| where that is above zero.
So each displacement is spread over eight voxels by these weights, with no sampling of the point of decay. Displacements
are quasi-random (Sobol): direction in one octant, radius in shells that are thin near the centre and carry the energy
that the point kernel holds there, so that a kernel's sum is exact. Far off, voxels are evaluated at eight points each
instead, whose second moments are those of the two boxes. Equations and checks: docs/voxel-dose.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dose.errors import InputError, describe
from dose.organ import SECONDS_PER_H, gray_per_MeV
from dose.point_energies import PointEnergies, Radial, check_density

POINTS_LOG2 = 20
"""Sobol points of a near field, as a power of two. Sixteen times as many change electrons by 1e-4, photons by 1e-3."""

NEAR_VOXELS = 5
"""Voxels (of the longest edge) within which displacements are sampled; beyond, eight points a voxel err below 0.2 %."""

PARTS = ("electron", "photon")

REACH_SHARE = {"electron": 1.0 - 1e-6, "photon": 0.998}
"""Share of what a point kernel holds that the kernel reaches out to, where the map is not smaller."""

SHELLS = 512
"""Shells between the centre and the corner of the near field, equal in the root of the radius."""

SEED = 20261121
"""Of the displacements' scrambling."""

SMALLEST_MM, LARGEST_MM = 0.05, 50.0
"""Edges of voxels between which a point kernel of water says something; anything else is another unit."""

LONGEST_RATIO = 20.0
"""Longest over shortest edge: beyond, the near field has too many voxels for its points."""


@dataclass(frozen=True, eq=False)
class VoxelKernel:
    """MeV per decay in the voxel at offset [z, y, x] from the source voxel; negative offsets mirror these.

    `alpha_MeV` (alphas and recoils) stays in the source voxel; `emitted_MeV` is all that a decay emits, with what goes
    beyond the kernel's reach.
    """

    spacing_mm: tuple[float, float, float]
    density_g_cm3: float
    alpha_MeV: float
    electron_MeV: np.ndarray
    photon_MeV: np.ndarray
    emitted_MeV: float

    @property
    def voxel_g(self) -> float:
        """Mass of a voxel of the kernel's own medium."""
        return math.prod(self.spacing_mm) * 1e-3 * self.density_g_cm3

    @property
    def total_MeV(self) -> np.ndarray:
        """The octant of alphas, electrons and photons together."""
        octant = np.zeros(np.maximum(self.electron_MeV.shape, self.photon_MeV.shape))
        for part in (self.electron_MeV, self.photon_MeV):
            octant[tuple(slice(0, n) for n in part.shape)] += part
        octant[0, 0, 0] += self.alpha_MeV
        return octant

    @property
    def whole_MeV(self) -> np.ndarray:
        """`total_MeV` on all sides: odd lengths, the source voxel in the middle."""
        return mirrored(self.total_MeV)

    @property
    def Gy_per_MBq_h(self) -> np.ndarray:
        """Dose in the voxels of the kernel's own medium, as `whole_MeV`."""
        return self.whole_MeV * gray_per_MeV(self.voxel_g)

    def s_value_mGy_per_MBq_s(self, offset: Sequence[int] = (0, 0, 0)) -> float:
        """Absorbed dose per decay at `offset` [z, y, x], in the unit of tables of voxel S values; 0 beyond reach."""
        at, octant = tuple(abs(k) for k in offset), self.total_MeV
        energy_MeV = octant[at] if all(k < n for k, n in zip(at, octant.shape, strict=True)) else 0.0
        return float(energy_MeV) * gray_per_MeV(self.voxel_g) * 1e3 / SECONDS_PER_H


def mirrored(octant: np.ndarray) -> np.ndarray:
    """The whole of an even array, of odd lengths, from the octant that begins at its centre."""
    for axis in range(octant.ndim):
        rest = np.take(octant, range(octant.shape[axis] - 1, 0, -1), axis)
        octant = np.concatenate([rest, octant], axis)
    return octant


def checked_spacing(spacing_mm: Sequence[float]) -> tuple[float, float, float]:
    """Three edges in mm, [z, y, x].

    Raises:
        InputError: not three, an edge no voxel of a patient or a specimen has, or edges all too unlike.
    """
    edges = tuple(float(edge) for edge in np.ravel(np.asarray(spacing_mm, dtype=float)))
    if len(edges) != 3 or not all(SMALLEST_MM <= edge <= LARGEST_MM for edge in edges):
        expected = f"three edges [z, y, x] of {SMALLEST_MM:g} to {LARGEST_MM:g} mm"
        raise InputError(describe("spacing_mm", f"{edges}", expected, "give millimetres, not centimetres or metres"))
    if max(edges) > LONGEST_RATIO * min(edges):
        expected = f"edges that differ by at most {LONGEST_RATIO:g} times"
        raise InputError(describe("spacing_mm", f"{edges}", expected, "resample to more even voxels"))
    return edges


def voxel_kernel(
    point: PointEnergies,
    spacing_mm: Sequence[float],
    *,
    most_voxels: Sequence[int] | None = None,
    density_g_cm3: float | None = None,
    parts: Sequence[str] = PARTS,
) -> VoxelKernel:
    """The voxel kernel of a medium of the point kernel's material.

    Args:
        point: energy by radius, from `dose.point_energies`.
        spacing_mm: edges of a voxel [z, y, x].
        most_voxels: greatest offset along each axis (a map of n voxels needs n - 1); None: as far as energy goes.
        density_g_cm3: of the medium; None: the material's own.
        parts: "electron", "photon" or both; a part left out is zero.

    Raises:
        InputError: an impossible voxel or density.
    """
    edges_mm = checked_spacing(spacing_mm)
    density = check_density(point.density_g_cm3 if density_g_cm3 is None else density_g_cm3)
    octants = [
        _octant(point.radial(part, density), part, np.array(edges_mm) / 10, most_voxels)
        if part in parts
        else np.zeros((1, 1, 1))
        for part in PARTS
    ]
    return VoxelKernel(edges_mm, density, point.alpha_MeV, *octants, point.emitted_MeV)


def _octant(radial: Radial, part: str, edges_cm, most_voxels) -> np.ndarray:
    """Energy by offset [z, y, x] from (0, 0, 0) on, MeV: near field by shells, far field by points."""
    reach = np.ceil(radial.radius_holding_cm(REACH_SHARE[part]) / edges_cm).astype(int)
    reach = reach if most_voxels is None else np.minimum(reach, np.asarray(most_voxels, int))
    near = np.minimum(np.ceil(NEAR_VOXELS * edges_cm.max() / edges_cm).astype(int), reach)
    if not radial.total_MeV:
        return np.zeros((1, 1, 1))
    octant = _far(radial, edges_cm, reach + 1) if (near < reach).any() else np.zeros(reach + 1)
    shells = _shells(tuple(edges_cm), tuple(near + 1))
    energy = np.diff(radial.within_MeV(shells.edges_cm))
    octant[tuple(slice(0, n + 1) for n in near)] = np.tensordot(energy, shells.shares, 1)
    return octant


@dataclass(frozen=True, eq=False)
class _Shells:
    """Where energy between radii `edges_cm` [shell + 1] falls: `shares` [shell, z, y, x] of one octant's voxels."""

    edges_cm: np.ndarray
    shares: np.ndarray


@lru_cache(maxsize=8)
def _shells(edges_cm: tuple[float, ...], shape: tuple[int, ...]) -> _Shells:
    """Quasi-random displacements in shells that are thin near the centre, each spread over its eight voxels."""
    from scipy.stats import qmc

    radius, u, v = qmc.Sobol(3, rng=np.random.default_rng(SEED)).random_base2(POINTS_LOG2).T
    corner_cm = float(np.linalg.norm(np.multiply(shape, edges_cm)))
    offsets = corner_cm * radius**2 * _on_octant(u, v) / np.array(edges_cm)[:, None]
    shell = (radius * SHELLS).astype(int)
    weight = 1.0 / np.bincount(shell, minlength=SHELLS)[shell]
    shares = _spread(offsets, shell, weight, shape) / _images(shape)
    return _Shells(corner_cm * np.linspace(0.0, 1.0, SHELLS + 1) ** 2, shares)


def _spread(offsets: np.ndarray, shell: np.ndarray, weight: np.ndarray, shape) -> np.ndarray:
    """Weights at real offsets [axis, point] shared among the voxels at their corners, [shell, z, y, x] within shape."""
    low = np.floor(offsets).astype(int)
    share, total = offsets - low, np.zeros(SHELLS * math.prod(shape))
    for corner in np.ndindex(2, 2, 2):
        at = low + np.array(corner)[:, None]
        inside = (at < np.array(shape)[:, None]).all(0)
        part = weight * np.prod([s if k else 1 - s for s, k in zip(share, corner)], axis=0)
        flat = np.ravel_multi_index((shell[inside], *at[:, inside]), (SHELLS, *shape))
        total += np.bincount(flat, part[inside], len(total))
    return total.reshape(SHELLS, *shape)


def self_energy_MeV(point: PointEnergies, spacing_mm: Sequence[float], densities_g_cm3) -> np.ndarray:
    """Electron energy that stays in the voxel of its decay, in media of one material and several densities [density].

    Raises:
        InputError: an impossible voxel or density.
    """
    shells = _shells(tuple(np.array(checked_spacing(spacing_mm)) / 10), (1, 1, 1))
    media = [point.radial("electron", check_density(float(rho))) for rho in densities_g_cm3]
    return np.diff([medium.within_MeV(shells.edges_cm) for medium in media], axis=1) @ shells.shares[:, 0, 0, 0]


def _on_octant(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    across = np.sqrt(1 - u**2)
    return np.stack([u, across * np.sin(np.pi / 2 * v), across * np.cos(np.pi / 2 * v)])


def _images(shape) -> np.ndarray:
    """In how many of the eight octants each offset has a mirror image: what an octant's sum is divided by."""
    factors = [np.where(np.arange(n) > 0, 2.0, 1.0) for n in shape]
    return factors[0][:, None, None] * factors[1][:, None] * factors[2]


def _far(radial: Radial, edges_cm, shape) -> np.ndarray:
    """Energy by offset from eight points each, at +-h/sqrt(6): the variance of a displacement between two boxes."""
    total = np.zeros(shape)
    axes = [[(np.arange(n) + s / math.sqrt(6)) * h for s in (-1, 1)] for n, h in zip(shape, edges_cm)]
    for k in np.ndindex(2, 2, 2):
        z, y, x = (axes[axis][side] for axis, side in enumerate(k))
        total += radial.per_cm3(np.sqrt(z[:, None, None] ** 2 + y[:, None] ** 2 + x**2))
    return total * float(np.prod(edges_cm)) / 8
