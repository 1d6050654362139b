"""CT numbers to linear attenuation at a gamma energy, on the voxels of a SPECT image.

Bilinear scaling: mixtures of air and water below 0 HU, of water and cortical bone above (Burger et al., Eur J Nucl Med
29, 2002; Brown et al., Appl Radiat Isot 66, 2008), with one effective energy for the CT's spectrum. With mu of water w
and of bone b, at the gamma energy (g) and at the CT's (c):

    mu = w_g (1 + H / 1000)                                  H <= 0
    mu = w_g + (b_g - w_g) H / H_bone,  H_bone = 1000 (b_c / w_c - 1)   H > 0

mu is averaged, not CT numbers, so that a SPECT voxel attenuates as what it holds does.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.provenance import load_table
from imaging.geometry import SAME_GRID_MM, Volume
from imaging.projections import Projections

WATER, BONE = "water_liquid", "bone_cortical_icrp"
PROCESSES = ("photoelectric", "compton", "rayleigh", "pair", "triplet")
MM_PER_CM = 10.0


@cache
def _ct_energy_keV() -> float:
    return float(load_table("imaging", "ct_energy.csv")[0]["effective_energy_keV"])


@cache
def _elements() -> dict[int, np.ndarray]:
    """By atomic number: energy in keV and total mass attenuation in cm2/g, [point, 2]."""
    found: dict[int, list] = {}
    for row in load_table("dose", "xcom.csv"):
        total = sum(float(row[process]) for process in PROCESSES)
        found.setdefault(int(row["Z"]), []).append((1000 * float(row["energy_MeV"]), total))
    return {z: np.array(points) for z, points in found.items()}


def linear_attenuation_per_mm(material: str, energy_keV: float) -> float:
    """mu in 1/mm of a material of dose/data/materials.csv: XCOM by element, mixed by mass, straight in log-log.

    Raises:
        InputError: no such material, or an energy outside the tables.
    """
    rows = {row["material"]: row for row in load_table("dose", "materials.csv")}
    if material not in rows:
        raise InputError(describe("material", f'"{material}"', "a row of materials.csv", "choose one of its names"))
    parts = [part.split(":") for part in rows[material]["composition"].split(";")]
    mass = sum(float(share) * _element(int(z), energy_keV) for z, share in parts)
    return mass * float(rows[material]["density_g_cm3"]) / MM_PER_CM


def _element(z: int, energy_keV: float) -> float:
    energies, total = _elements()[z].T
    if not energies[0] <= energy_keV <= energies[-1]:
        expected = f"{energies[0]:g} to {energies[-1]:g} keV"
        raise InputError(describe("energy_keV", f"{energy_keV:g}", expected, "give the energy of the photopeak"))
    return float(np.exp(np.interp(np.log(energy_keV), np.log(energies), np.log(total))))


def attenuation_per_mm(hounsfield, energy_keV: float) -> np.ndarray:
    """mu in 1/mm at CT numbers of any shape; below -1000 it is zero."""
    water, bone = (linear_attenuation_per_mm(m, energy_keV) for m in (WATER, BONE))
    water_ct, bone_ct = (linear_attenuation_per_mm(m, _ct_energy_keV()) for m in (WATER, BONE))
    bone_hu = 1000 * (bone_ct / water_ct - 1)
    points = ([-1000.0, 0.0, bone_hu], [0.0, water, bone])
    number = np.asarray(hounsfield, float)
    above = water + (bone - water) * number / bone_hu
    return np.where(number > bone_hu, above, np.interp(number, *points))


def attenuation_map(ct: Volume, grid: Volume, energy_keV: float) -> Volume:
    """A CT in HU as linear attenuation in 1/mm on `grid`; zero where the CT does not reach (`covered_share`).

    Each voxel gets the mean over the volume it shares with the CT, so the integral of mu within the grid is kept. A CT
    that is not along the grid's axes is first interpolated onto finer voxels that are.

    Raises:
        ImageError: a grid that is not along LPS, or values that are no CT numbers (none below -500 HU).
    """
    if ct.array.min() > -500:
        do = "apply the slope and intercept of the CT, or give the map itself"
        raise ImageError(describe("ct", "no air", "CT numbers in HU", do))
    mu = ct.with_array(attenuation_per_mm(ct.array, energy_keV))
    return averaged_onto(mu, grid)


def covered_share(ct: Volume, grid: Volume) -> np.ndarray:
    """How much of each slice's thickness the CT covers, [z], 0 to 1: the most of any voxel in the slice.

    A CT that is only narrower than the grid counts as covering. Where it is 0, `attenuation_map` has no body.

    Raises:
        ImageError: a grid that is not along LPS.
    """
    return averaged_onto(ct.with_array(np.ones_like(ct.array)), grid).array.max(axis=(1, 2)).clip(0, 1).astype(float)


def uncovered_with_counts(acquisition: Projections, ct: Volume, line_keV: float | None = None) -> float:
    """Share of the peak's counts in detector rows level with slices that the CT does not cover, 0 to 1.

    Those counts are reconstructed without attenuation, several times too low. Blur carries some counts beyond the
    body's end, so that a few per cent may lie there with nothing missing.

    Raises:
        ImageError: no such peak window.
    """
    rows = acquisition.counts[acquisition.window("peak", line_keV)].sum(axis=(0, 2), dtype=float)
    missing = 1 - covered_share(ct, acquisition.grid())
    return float(rows @ missing / rows.sum()) if rows.sum() > 0 else 0.0


def averaged_onto(volume: Volume, grid: Volume) -> Volume:
    """Means of a volume over the voxels of a grid, the rest of a voxel counting as zero: integrals are kept."""
    if not _is_straight(grid):
        raise ImageError(describe("grid", "oblique axes", "axes along LPS", "use acquisition.grid()"))
    if not _is_straight(volume):
        volume = volume.resampled_onto(_finer(grid, volume.spacing_mm))
    values = volume.array.astype(float)
    for axis in range(3):
        share = _shares(volume, grid, axis)
        values = np.moveaxis(np.tensordot(share, values, axes=(1, 2 - axis)), 0, 2 - axis)
    return grid.with_array(values)


def _is_straight(volume: Volume) -> bool:
    steps = volume.affine[:3, :3]
    return bool(np.allclose(steps, np.diag(np.diag(steps)), atol=SAME_GRID_MM, rtol=0))


def _finer(grid: Volume, spacing_mm) -> Volume:
    """The grid cut into whole parts no larger than `spacing_mm`."""
    parts = np.ceil(grid.spacing_mm / np.asarray(spacing_mm).min() - 1e-6).astype(int).clip(1)
    affine = grid.affine @ np.diag([*(1 / parts), 1.0])
    affine[:3, 3] = grid.to_lps_mm((1 / parts - 1) / 2)
    shape = np.array(grid.array.shape) * parts[::-1]
    return Volume(np.zeros(shape, dtype=np.float32), affine)


def _shares(volume: Volume, grid: Volume, axis: int) -> np.ndarray:
    """For each voxel of the grid along x, y or z, the share of its length in each voxel of the volume [to, from]."""
    (low_to, high_to), (low_from, high_from) = _edges(grid, axis), _edges(volume, axis)
    common = np.minimum(high_to[:, None], high_from) - np.maximum(low_to[:, None], low_from)
    return np.maximum(common, 0.0) / (high_to - low_to)[:, None]


def _edges(volume: Volume, axis: int) -> tuple[np.ndarray, np.ndarray]:
    step, start = volume.affine[axis, axis], volume.affine[axis, 3]
    middle = start + step * np.arange(volume.array.shape[2 - axis])
    return middle - abs(step) / 2, middle + abs(step) / 2
