"""What a parallel-hole collimator lets through: the holes' own beam, and the photons that cross septa.

A photon that arrives at an angle passes the lead with exp(-mu l), l the length of its way inside septa of the hexagonal
lattice. The mean over points of the face and the integral over directions, both by a fixed quasi-random rule, give

    core: directions up to the widest that a hole of effective length L - 2 / mu lets pass,
    tail: all others, which reach the crystal through septa only.

The core's shape is the Gaussian of `imaging.reconstruct.response`; the tail falls with the distance r in the image as
exp(-r / lambda), with the mean distance 2 lambda = (distance + L) <tan>. Photons scattered in the lead and its X rays
are not modelled. Core alone is the textbook's (K w / L_eff)^2 (w / (w + t))^2 with K = 0.26 (Cherry, Sorenson and
Phelps, Physics in Nuclear Medicine, chapter 14; recalled).
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from dose.errors import InputError, describe, nearest
from imaging.reconstruct.response import FWHM_PER_SIGMA, Collimator, DetectorResponse, collimators, lead_per_mm

RAYS, POINTS = 2**13, 192
"""Directions for each of core and tail, and points along each ray: core to 1 %, tail to 3 % (by doubling both)."""

STEEPEST = 4.0
"""Tangent of the largest angle followed (76 degrees): beyond, lead is met for longer than any septum is thin."""

LEAD_keV = (100.0, 1000.0)
"""Ends of the table of lead. Above, photons are few and pass as those at its end; below, every septum is opaque."""

SHORTEST = 0.5
"""Effective length as part of the true one, at least: below it the holes' beam has no meaning of its own."""


class Passing(NamedTuple):
    """Fractions of an isotropic source's photons: `geometric` in the core, `penetration_ratio` tail over core.

    `tail_tangent` is the mean tangent of the angle in the tail.
    """

    geometric: float
    penetration_ratio: float
    tail_tangent: float


def collimator_of(name: str) -> Collimator:
    """The shipped collimator of that name.

    Raises:
        InputError: none of that name.
    """
    if name not in collimators():
        hint = nearest(name, collimators())
        do = f'write "{hint}" if that was meant' if hint else f"choose from {', '.join(sorted(collimators()))}"
        raise InputError(describe("camera.collimator", f'"{name}"', "a collimator of data/collimators.csv", do))
    return collimators()[name]


def _lead(energy_keV: float) -> float:
    return lead_per_mm(float(np.clip(energy_keV, *LEAD_keV)))


def effective_length_mm(made: Collimator, energy_keV: float) -> float:
    return max(made.length_mm - 2 / _lead(energy_keV), SHORTEST * made.length_mm)


def core_response(name: str, energy_keV: float, intrinsic_fwhm_mm: float) -> DetectorResponse:
    """The Gaussian part of the response at an energy."""
    made = collimator_of(name)
    sigma = made.hole_mm / FWHM_PER_SIGMA
    return DetectorResponse(sigma / effective_length_mm(made, energy_keV), sigma, intrinsic_fwhm_mm / FWHM_PER_SIGMA)


@cache
def through_collimator(name: str, energy_keV: float) -> Passing:
    """What passes at an energy. The first call for a collimator follows its rays, about a second.

    Raises:
        InputError: no such collimator.
    """
    made, mu = collimator_of(name), _lead(energy_keV)
    widest = 2 / np.sqrt(3) * made.hole_mm / effective_length_mm(made, energy_keV)
    tangent, weight, lead_mm = _rays(name)
    passed = weight * np.exp(-mu * lead_mm)
    inside = tangent <= widest
    core, tail = passed[inside].sum(), passed[~inside].sum()
    mean = float((passed * tangent)[~inside].sum() / tail) if tail > 0 else 0.0
    return Passing(float(core), float(tail / core), mean)


@cache
def _rays(name: str):
    """Tangent, solid angle over 4 pi and millimetres of lead of each ray, sorted into narrow and wide directions."""
    from scipy.stats import qmc

    made = collimator_of(name)
    split = 4 * made.hole_mm / made.length_mm
    draws = qmc.Sobol(4, scramble=False).random(RAYS) + 0.5 / RAYS
    narrow = split * np.sqrt(draws[:, 0])
    narrow_weight = split**2 / 2 / (1 + narrow**2) ** 1.5
    wide = split * (STEEPEST / split) ** draws[:, 0]
    wide_weight = np.log(STEEPEST / split) * wide**2 / (1 + wide**2) ** 1.5
    tangent = np.concatenate([narrow, wide])
    weight = np.concatenate([narrow_weight, wide_weight]) / 2 / RAYS
    again = np.concatenate([draws, draws])
    return tangent, weight, _lead_mm(made, tangent, again[:, 1] * 2 * np.pi, again[:, 2:])


def _lead_mm(made: Collimator, tangent, azimuth, start) -> np.ndarray:
    """Millimetres of lead along rays that begin at fractions `start` of a cell of the lattice."""
    pitch = made.hole_mm + made.septum_mm
    along = (np.arange(POINTS) + 0.5) / POINTS * made.length_mm
    x = pitch * (start[:, :1] + start[:, 1:] / 2) + along * (tangent * np.cos(azimuth))[:, None]
    y = pitch * np.sqrt(0.75) * start[:, 1:] + along * (tangent * np.sin(azimuth))[:, None]
    in_lead = (_flat_distance(x, y, pitch) > made.hole_mm / 2).mean(axis=1)
    return in_lead * made.length_mm * np.sqrt(1 + tangent**2)


def _flat_distance(x, y, pitch: float) -> np.ndarray:
    """Distance from the nearest hole's centre in the hexagon's own measure: half its width is on the flats."""
    found = np.full(np.shape(x), np.inf)
    for shift in (0.0, 0.5):
        row = 2 * np.sqrt(0.75) * pitch
        dx = x - pitch * (np.round(x / pitch - shift) + shift)
        dy = y - row * (np.round(y / row - shift) + shift)
        measure = np.maximum(np.abs(dx), np.abs(dx) / 2 + np.abs(dy) * np.sqrt(0.75))
        found = np.minimum(found, measure)
    return found
