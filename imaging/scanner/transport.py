"""A small photon Monte Carlo in a cylinder of water: what the scatter model is set by and checked against.

Photons start evenly in a cylinder (axis z) and are followed from one Compton scattering to the next; at each the part
that would leave towards y, seen by an ideal camera there, is added up by order of scattering and by energy. Coherent
scattering and the photoelectric effect count as losses, as in the projector's attenuation.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from imaging.scanner.photons import attenuation_per_mm, scattered_keV, scattering_per_sr

TABLE_keV = np.geomspace(15.0, 1600.0, 200)
"""Energies at which attenuation is tabulated: straight in log-log between them is exact to 1e-4."""

FAINTEST = 1e-3
"""Photons of less weight are followed no further: below 1e-3 of the scatter."""


class Leaving(NamedTuple):
    """Photons towards the camera as parts of those emitted, if the source sent all directions what it sends there.

    `primary` is unscattered; `once` and `more` [bin] are scattered once and more often, by energy over the first one,
    bins evenly from 0 to 1.
    """

    primary: float
    once: np.ndarray
    more: np.ndarray


def water_cylinder(
    energy_keV: float,
    rng: np.random.Generator,
    *,
    radius_mm=110.0,
    length_mm=200.0,
    photons=100_000,
    orders=8,
    bins=100,
) -> Leaving:
    """Photons of one energy from an even source in water, and what of them leaves towards y."""
    place = _even(rng, photons, radius_mm, length_mm)
    primary = float(_through(place, np.full(photons, energy_keV), radius_mm).mean())
    found = np.zeros((orders, bins))
    direction = _anywhere(rng, photons)
    energy, weight = np.full(photons, float(energy_keV)), np.full(photons, 1 / photons)
    for order in range(orders):
        total, compton = _mu(energy)
        place = place + direction * rng.exponential(1 / total)[:, None]
        weight = weight * compton / total
        kept = (np.hypot(*place[:, :2].T) < radius_mm) & (np.abs(place[:, 2]) < length_mm / 2)
        kept &= weight > FAINTEST / photons
        place, direction, energy, weight = (v[kept] for v in (place, direction, energy, weight))
        cosine = direction[:, 1]
        after = scattered_keV(energy, cosine)
        seen = weight * 4 * np.pi * _per_sr(energy, cosine) * _through(place, after, radius_mm)
        found[order] = np.histogram(after / energy_keV, bins, (0, 1), weights=seen)[0]
        direction, energy = _scattered(rng, direction, energy)
    return Leaving(primary, found[0], found[1:].sum(axis=0))


@cache
def _table():
    total = np.array([attenuation_per_mm("water", e) for e in TABLE_keV])
    compton = np.array([attenuation_per_mm("water", e, "compton") for e in TABLE_keV])
    return np.log(total), np.log(compton)


def _mu(energy_keV):
    total, compton = (np.exp(np.interp(np.log(energy_keV), np.log(TABLE_keV), values)) for values in _table())
    return total, compton


def _per_sr(energy_keV, cosine):
    norm = np.interp(energy_keV, TABLE_keV, [float(scattering_per_sr(e, np.ones(()))) for e in TABLE_keV])
    ratio = scattered_keV(energy_keV, cosine) / energy_keV
    return norm * ratio**2 * (ratio + 1 / ratio - 1 + cosine**2) / 2


def _through(place, energy_keV, radius_mm: float):
    """Part that reaches the cylinder's surface along y."""
    path = np.sqrt(np.maximum(radius_mm**2 - place[:, 0] ** 2, 0)) - place[:, 1]
    return np.exp(-_mu(energy_keV)[0] * path)


def _even(rng, count, radius_mm, length_mm):
    radius, angle = radius_mm * np.sqrt(rng.random(count)), rng.random(count) * 2 * np.pi
    z = length_mm * (rng.random(count) - 0.5)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def _anywhere(rng, count):
    along = rng.normal(size=(count, 3))
    return along / np.linalg.norm(along, axis=1, keepdims=True)


def _scattered(rng, direction, energy_keV):
    """New directions and energies by Klein and Nishina: rejection under their largest value, forwards."""
    cosine, left = np.empty(len(energy_keV)), np.arange(len(energy_keV))
    while left.size:
        tried = rng.uniform(-1, 1, left.size)
        ratio = scattered_keV(energy_keV[left], tried) / energy_keV[left]
        taken = 2 * rng.random(left.size) < ratio**2 * (ratio + 1 / ratio - 1 + tried**2)
        cosine[left[taken]] = tried[taken]
        left = left[~taken]
    across = np.cross(direction, _anywhere(rng, len(cosine)))
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    turned = cosine[:, None] * direction + np.sqrt(1 - cosine**2)[:, None] * across
    return turned, scattered_keV(energy_keV, cosine)
