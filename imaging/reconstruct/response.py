"""Blur by collimator and crystal: a Gaussian that widens with the distance from the collimator's face.

Parallel holes of width w and length L see a point at distance d with FWHM w (L_eff + d) / L_eff, where septa let gamma
rays through over 2 / mu, so that L_eff = L - 2 / mu (Cherry, Sorenson and Phelps, Physics in Nuclear Medicine, chapter
14). The crystal adds its own width in quadrature: sigma(d)^2 = (slope d + offset)^2 + intrinsic^2.

On the pixel grid the Gaussian is one of samples, made as wide as gives the samples the variance (sigma / pixel)^2.
Above 0.6 pixel squared these are samples of the Gaussian itself; below, plain samples would lose variance.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table
from imaging.recovery import FWHM_PER_SIGMA

NARROWEST_pixels2 = 0.01
"""Where the search begins: samples of this Gaussian are a single pixel."""

HALVINGS = 60
"""Of the search's interval: to the last digit."""


@dataclass(frozen=True)
class DetectorResponse:
    """sigma(d) = sqrt((slope d + offset_mm)^2 + intrinsic_sigma_mm^2) in mm, d in mm from the collimator's face.

    Raises:
        InputError: a value below zero or not finite.
    """

    slope: float
    offset_mm: float
    intrinsic_sigma_mm: float = 0.0

    def __post_init__(self):
        for name in ("slope", "offset_mm", "intrinsic_sigma_mm"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise InputError(describe(f"response.{name}", f"{value:g}", "zero or more", "give the fitted width"))

    def sigma_mm(self, distance_mm) -> np.ndarray:
        """Width at distances in mm; a point behind the face counts as on it."""
        distance = np.maximum(np.asarray(distance_mm, float), 0.0)
        return np.hypot(self.slope * distance + self.offset_mm, self.intrinsic_sigma_mm)

    def fwhm_mm(self, distance_mm) -> np.ndarray:
        return FWHM_PER_SIGMA * self.sigma_mm(distance_mm)


@dataclass(frozen=True)
class Collimator:
    """Parallel holes: width between flats, septum and length in mm."""

    name: str
    hole_mm: float
    septum_mm: float
    length_mm: float


@cache
def collimators() -> dict[str, Collimator]:
    """The shipped collimators by name (`data/collimators.csv`)."""
    rows = load_table("imaging", "collimators.csv")
    numbers = ("hole_mm", "septum_mm", "length_mm")
    return {row["name"]: Collimator(row["name"], *(float(row[n]) for n in numbers)) for row in rows}


@cache
def _lead_per_mm() -> tuple[np.ndarray, np.ndarray]:
    rows = load_table("imaging", "lead_attenuation.csv")
    mu = [float(row["attenuation_cm2_g"]) * float(row["density_g_cm3"]) / 10 for row in rows]
    return np.array([float(row["energy_keV"]) for row in rows]), np.array(mu)


def lead_per_mm(energy_keV: float) -> float:
    """Linear attenuation of lead in 1/mm, straight between points of a log-log plot.

    Raises:
        InputError: an energy outside the table.
    """
    energies, mu = _lead_per_mm()
    if not energies[0] <= energy_keV <= energies[-1]:
        expected = f"{energies[0]:g} to {energies[-1]:g} keV"
        raise InputError(describe("energy_keV", f"{energy_keV:g}", expected, "give the energy of the photopeak"))
    return float(np.exp(np.interp(np.log(energy_keV), np.log(energies), np.log(mu))))


def collimator_response(name: str, energy_keV: float, intrinsic_fwhm_mm: float) -> DetectorResponse:
    """The response of a shipped collimator at an energy, `intrinsic_fwhm_mm` being the crystal's at this same energy.

    Crystals are specified at 140 keV; their width goes with 1/sqrt(energy) (`CameraSpec.intrinsic_fwhm_at`).

    Raises:
        InputError: no collimator of that name, or septa that the energy passes (2 / mu beyond the hole's length).
    """
    if name not in collimators():
        say = nearest(name, collimators())
        do = f'did you mean "{say}"?' if say else f"choose from {', '.join(sorted(collimators()))}"
        raise InputError(describe("collimator", f'"{name}"', "a collimator of data/collimators.csv", do))
    made = collimators()[name]
    effective_mm = made.length_mm - 2 / lead_per_mm(energy_keV)
    if effective_mm <= 0:
        found = f"{energy_keV:g} keV, which passes the septa of {name}"
        raise InputError(describe("energy_keV", found, "an energy for this collimator", "choose another collimator"))
    sigma = made.hole_mm / FWHM_PER_SIGMA
    return DetectorResponse(sigma / effective_mm, sigma, intrinsic_fwhm_mm / FWHM_PER_SIGMA)


def grid_gaussian(variance, offsets: int) -> Float[np.ndarray, "... offset"]:
    """Gaussian samples of unit sum over all offsets of both signs, at offsets 0 to `offsets` - 1.

    Args:
        variance: of the samples, in pixels squared [...].
    """
    wanted = np.asarray(variance, float)[..., None]
    squares = np.arange(offsets, dtype=float) ** 2
    low, high = np.full_like(wanted, NARROWEST_pixels2), np.maximum(wanted, 1.0) + 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        one_side = np.exp(-squares / (2 * middle))
        found = 2 * (one_side @ squares)[..., None] / (2 * one_side.sum(-1, keepdims=True) - 1)
        low, high = np.where(found < wanted, middle, low), np.where(found < wanted, high, middle)
    one_side = np.exp(-squares / (low + high))
    return one_side / (2 * one_side.sum(-1, keepdims=True) - 1)
