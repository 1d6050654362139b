"""Photon cross sections of materials on one logarithmic energy grid, and the angles of scattering.

Attenuation: NIST XCOM by element (`data/xcom.csv`), mixed by mass. Angles: Klein-Nishina times incoherent scattering
functions S(x), and Thomson times the squared form factor F(x)^2, both of Hubbell et al. 1975 (`data/form_factors.csv`),
as inverse cumulative tables. No Doppler broadening, no fluorescence: a photo-electric event leaves its whole energy.
"""

from __future__ import annotations

from functools import cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.montecarlo.materials import Material, atomic_mass
from dose.provenance import constant, load_table

LOWEST_MEV, HIGHEST_MEV = 1e-3, 10.0
ENERGIES = 1024
ANGLE_ENERGIES, QUANTILES = 192, 128
COSINES = 4001
PROCESSES = ("photoelectric", "compton", "rayleigh", "pair")
GRID_MEV = np.geomspace(LOWEST_MEV, HIGHEST_MEV, ENERGIES)
ANGLE_GRID_MEV = np.geomspace(LOWEST_MEV, HIGHEST_MEV, ANGLE_ENERGIES)


class PhotonTables(eqx.Module):
    """For each material (rows of the first axis, flattened with the energy grid): cumulative mass attenuation in cm2/g
    over photo-electric, Compton, Rayleigh and pair events, and cosines by process, material, energy and quantile."""

    cumulative_cm2_g: Float[Array, "material_energy 4"]
    cosine: Float[Array, " process_material_energy_quantile"]
    materials: int = eqx.field(static=True)


@cache
def _elements() -> dict[int, np.ndarray]:
    """By Z: rows of (energy, photo, compton, rayleigh, pair + triplet)."""
    found: dict[int, list] = {}
    for row in load_table("dose", "xcom.csv"):
        own = [float(row[c]) for c in ("energy_MeV", "photoelectric", "compton", "rayleigh", "pair", "triplet")]
        found.setdefault(int(row["Z"]), []).append([*own[:4], own[4] + own[5]])
    return {z: np.array(rows) for z, rows in found.items()}


def attenuation_cm2_g(matter: Material, energy_MeV=GRID_MEV) -> Float[np.ndarray, "4 energy"]:
    """Mass attenuation coefficients by process (`PROCESSES`), log-log interpolated."""
    energy = np.atleast_1d(np.asarray(energy_MeV, float))
    total = np.zeros((4, len(energy)))
    for z, share in matter.composition:
        atomic_mass(z)  # refuses elements that are not tabulated
        own = _elements()[z]
        for k in range(4):
            total[k] += share * _log_log(energy, own[:, 0], own[:, k + 1])
    return total


def _log_log(energy, own_energy, values):
    positive = values > 0
    if not positive.any():
        return np.zeros_like(energy)
    found = np.exp(np.interp(np.log(energy), np.log(own_energy[positive]), np.log(values[positive])))
    return np.where(energy >= own_energy[positive][0], found, 0.0)


@cache
def _form_factors() -> dict[int, np.ndarray]:
    found: dict[int, list] = {}
    for row in load_table("dose", "form_factors.csv"):
        found.setdefault(int(row["Z"]), []).append(
            [float(row[c]) for c in ("momentum_per_A", "coherent", "incoherent")]
        )
    return {z: np.array(rows) for z, rows in found.items()}


def _molecular(matter: Material, momentum_per_A) -> tuple[np.ndarray, np.ndarray]:
    """F^2 and S per gram (up to a constant), summed over independent atoms."""
    square, incoherent = np.zeros_like(momentum_per_A), np.zeros_like(momentum_per_A)
    for z, share in matter.composition:
        x, f, s = _form_factors()[z].T
        moles = share / atomic_mass(z)
        square += moles * np.interp(momentum_per_A, x, f) ** 2
        incoherent += moles * np.interp(momentum_per_A, x, s)
    return square, incoherent


def cosines(matter: Material) -> Float[np.ndarray, "2 energy quantile"]:
    """Inverse cumulative distribution of the scattering cosine: Compton first, Rayleigh second."""
    rest = constant("dose", "electron_rest_MeV")
    per_A = constant("dose", "keV_angstrom") / 1e3
    cosine = 1 - 2 * np.linspace(1, 0, COSINES) ** 2  # fine near 1, where F is peaked
    quantile = np.linspace(0, 1, QUANTILES)
    table = np.empty((2, ANGLE_ENERGIES, QUANTILES))
    for k, energy in enumerate(ANGLE_GRID_MEV):
        square, incoherent = _molecular(matter, energy / per_A * np.sqrt((1 - cosine) / 2))
        ratio = 1 / (1 + energy / rest * (1 - cosine))
        compton = ratio**2 * (ratio + 1 / ratio - 1 + cosine**2) * incoherent
        rayleigh = (1 + cosine**2) * square
        for j, density in enumerate((compton, rayleigh)):
            summed = np.concatenate([[0], np.cumsum(np.diff(cosine) * (density[1:] + density[:-1]) / 2)])
            table[j, k] = np.interp(quantile, summed / summed[-1], cosine)
    return table


@cache
def _one(matter: Material) -> tuple[np.ndarray, np.ndarray]:
    return np.cumsum(attenuation_cm2_g(matter), axis=0).T.astype(np.float32), cosines(matter).astype(np.float32)


def photon_tables(materials: tuple[Material, ...]) -> PhotonTables:
    """Tables of the materials, in their order."""
    made = [_one(matter) for matter in materials]
    cumulative = np.concatenate([part[0] for part in made])
    angles = np.stack([part[1] for part in made], axis=1)  # process, material, energy, quantile
    return PhotonTables(jnp.asarray(cumulative), jnp.asarray(angles.ravel()), len(materials))
