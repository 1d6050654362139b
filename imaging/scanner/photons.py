"""What happens to a photon of one energy: attenuation, Compton scattering, and the pulse that a NaI crystal gives.

Cross sections: NIST XCOM by element (`dose/data/xcom.csv`). Compton scattering is Klein and Nishina's for free
electrons (Z. Phys. 52 (1929) 853). A crystal's answer to a photon that interacts is full absorption, with probability

    f(E) = p(E) + (1 - p(E)) (1 - E2(mu(E') t / 2)) f(E')

(p: photoelectric part of the interactions; E': mean energy of the scattered photon, taken to leave the middle of a slab
of thickness t in any direction, so that E2, the exponential integral, is its escape), or else a pulse spread evenly
from zero to the Compton edge. Pulses are blurred by a Gaussian whose FWHM grows with the root of the energy.
"""

from __future__ import annotations

from functools import cache
from math import log
from typing import NamedTuple

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, radionuclide
from dose.provenance import load_table
from imaging.recovery import FWHM_PER_SIGMA

ELECTRON_keV = 510.99895
"""Rest energy of the electron (CODATA 2018)."""

MATERIALS = {"water": (1.0, {1: 0.111894, 8: 0.888106}), "NaI": (3.67, {11: 0.153373, 53: 0.846627})}
"""Density g/cm3 and mass fractions: water as in `dose/data/materials.csv`; NaI by stoichiometry."""

PROCESSES = ("photoelectric", "compton", "rayleigh")

FULLY_ABSORBED_keV = 60.0
"""Below this 97 % of the interactions in NaI are photoelectric: followed no further."""

NODES, WEIGHTS = np.polynomial.legendre.leggauss(32)
"""For integrals over the cosine of an angle: exact to rounding for Klein and Nishina below 2 MeV."""


class Line(NamedTuple):
    """Photons of one energy, per decay."""

    energy_keV: float
    per_decay: float


@cache
def photon_lines(nuclide: str | Radionuclide) -> tuple[Line, ...]:
    """Photons above 40 keV of a nuclide in equilibrium with its progeny (`data/photon_lines.csv`).

    Raises:
        InputError: no lines for this nuclide.
    """
    name = radionuclide(nuclide).name
    rows = load_table("imaging", "photon_lines.csv")
    found = tuple(Line(float(r["energy_keV"]), float(r["per_decay"])) for r in rows if r["nuclide"] == name)
    if not found:
        known = ", ".join(sorted({r["nuclide"] for r in rows}))
        do = "add its lines to imaging/data/make_photon_lines.py"
        raise InputError(describe("nuclide", f'"{name}"', f"one with photons for a camera: {known}", do))
    return found


@cache
def _element(Z: int) -> dict[str, np.ndarray]:
    """Logarithms of energy and of mass attenuation by process."""
    rows = [r for r in load_table("dose", "xcom.csv") if int(r["Z"]) == Z]
    return {k: np.log([float(r[k]) for r in rows]) for k in ("energy_MeV", *PROCESSES)}


def attenuation_per_mm(material: str, energy_keV: float, *processes: str) -> float:
    """Linear attenuation of "water" or "NaI" by these of `PROCESSES`, or by all; interpolated log-log."""
    density, parts = MATERIALS[material]
    total = 0.0
    for Z, fraction in parts.items():
        table = _element(Z)
        for process in processes or PROCESSES:
            value = np.interp(log(energy_keV / 1000), table["energy_MeV"], table[process])
            total += fraction * float(np.exp(value))
    return density * total / 10


def scattered_keV(energy_keV, cos_angle):
    """Energy after Compton scattering through an angle; broadcasts."""
    return energy_keV / (1 + energy_keV / ELECTRON_keV * (1 - cos_angle))


def scattering_per_sr(energy_keV: float, cos_angle: np.ndarray) -> np.ndarray:
    """Klein-Nishina probability per steradian of the scattered direction: its integral over the sphere is 1."""
    total = 2 * np.pi * float(WEIGHTS @ _klein_nishina(energy_keV, NODES))
    return _klein_nishina(energy_keV, cos_angle) / total


def _klein_nishina(energy_keV, cos_angle):
    ratio = scattered_keV(energy_keV, cos_angle) / energy_keV
    return ratio**2 * (ratio + 1 / ratio - 1 + np.asarray(cos_angle) ** 2)


@cache
def mean_scattered_keV(energy_keV: float) -> float:
    density = scattering_per_sr(energy_keV, NODES) * scattered_keV(energy_keV, NODES)
    return float(2 * np.pi * WEIGHTS @ density)


@cache
def crystal_response(energy_keV: float, thickness_mm: float) -> tuple[float, float]:
    """Probability that a photon at right angles gives a full-energy pulse, and that it gives a smaller one."""
    interacts = 1 - np.exp(-attenuation_per_mm("NaI", energy_keV) * thickness_mm)
    full = _absorbed(energy_keV, thickness_mm)
    return float(interacts * full), float(interacts * (1 - full))


def _absorbed(energy_keV: float, thickness_mm: float) -> float:
    """Of the photons that interact, those whose whole energy stays."""
    from scipy.special import expn

    at_once = _photoelectric_part(energy_keV)
    if energy_keV < FULLY_ABSORBED_keV:
        return 1.0
    second = mean_scattered_keV(energy_keV)
    again = 1 - float(expn(2, attenuation_per_mm("NaI", second) * thickness_mm / 2))
    return at_once + (1 - at_once) * again * _absorbed(second, thickness_mm)


def _photoelectric_part(energy_keV: float) -> float:
    """Of the interactions that leave energy behind."""
    photoelectric = attenuation_per_mm("NaI", energy_keV, "photoelectric")
    return photoelectric / (photoelectric + attenuation_per_mm("NaI", energy_keV, "compton"))


def pulse_in_window(energy_keV, lower_keV: float, upper_keV: float, resolution_140keV: float) -> np.ndarray:
    """Fraction of full-energy pulses between two bounds; `resolution_140keV` is FWHM / E at 140 keV; broadcasts."""
    from scipy.special import ndtr

    energy = np.asarray(energy_keV, dtype=float)
    sigma = resolution_140keV * np.sqrt(140.0 * energy) / FWHM_PER_SIGMA
    return ndtr((upper_keV - energy) / sigma) - ndtr((lower_keV - energy) / sigma)


def plateau_in_window(energy_keV: float, lower_keV: float, upper_keV: float) -> float:
    """Fraction of the pulses below the full energy, even up to the Compton edge, between two bounds."""
    edge = energy_keV - scattered_keV(energy_keV, -1.0)
    return max(0.0, min(edge, upper_keV) - min(edge, lower_keV)) / edge


def detected_in_window(energy_keV: float, window, crystal_mm: float, resolution_140keV: float) -> float:
    """Probability that a photon which reaches the crystal is counted in an `EnergyWindow`."""
    full, partial = crystal_response(energy_keV, crystal_mm)
    bounds = (window.lower_keV, window.upper_keV)
    in_peak = float(pulse_in_window(energy_keV, *bounds, resolution_140keV))
    return full * in_peak + partial * plateau_in_window(energy_keV, *bounds)
