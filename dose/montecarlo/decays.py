"""What a decay gives to be transported: electron energies, and the photons that electrons radiate.

Bremsstrahlung: the energy that electrons radiate until they stop becomes photons from the place of the decay, with
the number spectrum (T - k)/k of a thick target (Kramers, Phil Mag 1923;46:836).
"""

from __future__ import annotations

import numpy as np

from dose.emissions import emissions
from dose.montecarlo.attenuation import GRID_MEV
from dose.montecarlo.materials import Material
from dose.montecarlo.stopping import slowing

ELECTRON_LEAST_MEV, PHOTON_LEAST_MEV = 0.005, 0.001
"""What has less energy stays where it arises: 5 keV electrons reach less than a micrometre of water."""
BREMSSTRAHLUNG_BINS = 40
SOFTEST_MEV = 0.002
"""Photons that electrons radiate below this stay where they arise."""


def electron_energies(nuclide: str) -> tuple[np.ndarray, np.ndarray]:
    """Energies and numbers per decay that stand for the beta spectrum (trapezoid weights) and the electron lines."""
    emitted = emissions(nuclide)
    energy, density = emitted.beta.energy_MeV, emitted.beta.per_MeV
    weight = np.zeros_like(energy)
    if len(energy) > 1:
        width = np.diff(energy)
        weight[:-1] += width / 2
        weight[1:] += width / 2
    weight = weight * density
    beta_MeV = emitted.energy_MeV("beta")
    if weight @ energy > 0:
        weight = weight * beta_MeV / (weight @ energy)  # the table's integral lies up to 0.5 % off its branches
    lines = emitted.electron_lines
    return np.concatenate([energy, lines.energy_MeV]), np.concatenate([weight, lines.per_decay])


def bremsstrahlung(matter: Material, energy_MeV, per_decay) -> tuple[np.ndarray, np.ndarray, float]:
    """Photons that electrons of these energies radiate until they stop: energies, numbers per decay, and the energy
    below `SOFTEST_MEV` that is left at the point."""

    radiated = np.interp(energy_MeV, GRID_MEV, slowing(matter).radiated) * energy_MeV * per_decay
    edges = np.geomspace(
        SOFTEST_MEV, max(np.max(energy_MeV, initial=SOFTEST_MEV) * 1.0001, SOFTEST_MEV * 1.001), BREMSSTRAHLUNG_BINS + 1
    )
    top = np.maximum(energy_MeV[:, None], 1e-9)
    below = 1 - (1 - np.minimum(edges / top, 1)) ** 2  # share of the radiated energy in photons up to the edge
    energy = radiated @ np.diff(below, axis=1)
    middle = np.sqrt(edges[1:] * edges[:-1])
    return middle, energy / middle, float(radiated @ below[:, 0])
