"""Photons in a voxel body from one Compton scattering to the next: where, from where, with what energy, how many.

Delta tracking (Woodcock): every step is as in the densest voxel, and a collision counts with the chance that the
voxel's own density gives. All matter is water of its own density, as in the scanner's scatter model; coherent
scattering and the photoelectric effect are losses, taken as weight.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from imaging.geometry import Volume
from imaging.scanner.photons import attenuation_per_mm, scattered_keV, scattering_per_sr

STEP_keV = 0.1
"""Of tables by energy, read at the nearest entry."""

HIGHEST_keV = 1600.0

NODES_keV = np.geomspace(10.0, HIGHEST_keV, 120)
"""Energies at which tables are computed; between them straight in log-log (attenuation) or straight."""

QUANTILES = np.linspace(0, 1, 129)
"""Of the cosine of the scattering angle, at each of `NODES_keV`."""

FAINTEST = 1e-3
"""Photons of less weight than this part of their first are followed no further."""


class Photons(NamedTuple):
    """Photons that set out or scattered: `weight` is their number per second; float32, one entry each.

    `place_mm` and `direction` (before the collision) are [3, photon], x y z, places from the middle of the field.
    """

    place_mm: np.ndarray
    direction: np.ndarray
    energy_keV: np.ndarray
    weight: np.ndarray
    order: np.ndarray

    def where(self, kept) -> Photons:
        return Photons(*(values[..., kept] for values in self))


class Body(NamedTuple):
    """Density over water's on cubic voxels [z, y, x], and the middle of its first voxel, x y z in mm."""

    density: np.ndarray
    voxel_mm: float
    first_mm: np.ndarray

    def at(self, place_mm: np.ndarray) -> np.ndarray:
        """Density at places [3, photon]; -1 outside."""
        index = np.rint((place_mm - self.first_mm[:, None].astype(np.float32)) / np.float32(self.voxel_mm))
        index = index.astype(np.int32)
        size = np.array(self.density.shape[::-1], np.int32)[:, None]
        inside = ((index >= 0) & (index < size)).all(axis=0)
        x, y, z = np.clip(index, 0, size - 1)
        return np.where(inside, self.density[z, y, x], np.float32(-1))


@cache
def by_energy(process: str = "") -> np.ndarray:
    """Attenuation of water by a process, or by all, 1/mm: at multiples of `STEP_keV`."""
    values = [attenuation_per_mm("water", e, *([process] if process else [])) for e in NODES_keV]
    at = np.maximum(np.arange(0, HIGHEST_keV + STEP_keV, STEP_keV), NODES_keV[0])
    return np.exp(np.interp(np.log(at), np.log(NODES_keV), np.log(values))).astype(np.float32)


def entry(energy_keV: np.ndarray) -> np.ndarray:
    """Where energies stand in a table."""
    return (energy_keV * np.float32(1 / STEP_keV) + np.float32(0.5)).astype(np.int32)


def emitted(activity: Volume, centre_mm, lines, number: int, random: np.random.Generator) -> Photons:
    """Photons as the activity (Bq/mL) sends them out; rare lines are drawn more often and weigh less."""
    decays = np.maximum(activity.array.ravel().astype(float), 0) * activity.voxel_mL
    edges = np.cumsum(decays)
    voxel = np.searchsorted(edges, (np.arange(number) + random.random(number)) / number * edges[-1], side="right")
    voxel = np.minimum(voxel, len(edges) - 1)
    index = np.stack(np.unravel_index(voxel, activity.array.shape))[::-1] + random.random((3, number)) - 0.5
    place = activity.to_lps_mm(index.T).T - np.asarray(centre_mm, float)[:, None]
    per_decay = np.array([line.per_decay for line in lines])
    chance = np.sqrt(per_decay) / np.sqrt(per_decay).sum()
    which = random.choice(len(lines), number, p=chance)
    weight = edges[-1] / number * (per_decay / chance)[which]
    energy = np.array([line.energy_keV for line in lines])[which]
    found = (place, anywhere(random, number), energy, weight)
    return Photons(*(np.asarray(v, np.float32) for v in found), np.zeros(number, np.uint8))


def collisions(begun: Photons, body: Body, least_keV: float, random: np.random.Generator) -> Photons:
    """All Compton scatterings of these photons while they have `least_keV`, with their weight after losses."""
    total, compton = by_energy(), by_energy("compton")
    densest, faint = np.float32(body.density.max()), FAINTEST * begun.weight
    found, now = [begun.where(slice(0, 0))], begun
    while now.weight.size and densest > 0:
        mean = 1 / (densest * total[entry(now.energy_keV)])
        now = now._replace(
            place_mm=now.place_mm + now.direction * (random.standard_exponential(len(mean), np.float32) * mean)
        )
        density = body.at(now.place_mm)
        inside = density >= 0
        now, density, faint = now.where(inside), density[inside], faint[inside]
        real = random.random(len(density), np.float32) * densest < density
        hit = now.where(real)
        at = entry(hit.energy_keV)
        hit = hit._replace(weight=hit.weight * (compton[at] / total[at]), order=hit.order + np.uint8(1))
        found.append(hit)
        direction, energy = scattered(random, hit.direction, hit.energy_keV)
        after, still = hit._replace(direction=direction, energy_keV=energy), ~real
        now = Photons(*(np.concatenate([a[..., still], b], axis=-1) for a, b in zip(now, after)))
        faint = np.concatenate([faint[still], faint[real]])
        kept = (now.energy_keV > least_keV) & (now.weight > faint)
        now, faint = now.where(kept), faint[kept]
    return Photons(*(np.concatenate(parts, axis=-1) for parts in zip(*found)))


def anywhere(random: np.random.Generator, number: int) -> np.ndarray:
    """Directions over the whole sphere, [3, number]."""
    along = random.standard_normal((3, number), np.float32)
    return along / np.sqrt((along**2).sum(axis=0))


@cache
def _cosines() -> np.ndarray:
    """Klein and Nishina's cosine at each of `NODES_keV` and `QUANTILES`."""
    cosine = np.linspace(-1, 1, 2001)
    made = []
    for energy in NODES_keV:
        density = scattering_per_sr(energy, cosine)
        summed = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
        made.append(np.interp(QUANTILES, summed / summed[-1], cosine))
    return np.array(made, np.float32)


def drawn_cosines(random: np.random.Generator, energy_keV: np.ndarray) -> np.ndarray:
    """Cosines of Compton scattering: the nodes' quantiles, straight between them."""
    table = _cosines()
    row = np.interp(np.log(energy_keV), np.log(NODES_keV), np.arange(len(NODES_keV)))
    low = np.minimum(row.astype(int), len(NODES_keV) - 2)
    column = random.random(len(row)) * (len(QUANTILES) - 1)
    left = column.astype(int)
    up, right = (row - low).astype(np.float32), (column - left).astype(np.float32)
    at_low = table[low, left] * (1 - right) + table[low, left + 1] * right
    at_high = table[low + 1, left] * (1 - right) + table[low + 1, left + 1] * right
    return at_low * (1 - up) + at_high * up


def scattered(random: np.random.Generator, direction: np.ndarray, energy_keV: np.ndarray):
    """New directions [3, photon] and energies after a Compton scattering."""
    cosine = drawn_cosines(random, energy_keV)
    across = np.cross(direction, anywhere(random, len(cosine)), axis=0)
    across /= np.maximum(np.sqrt((across**2).sum(axis=0)), 1e-6)
    turned = cosine * direction + np.sqrt(np.maximum(1 - cosine**2, 0)) * across
    return turned.astype(np.float32), scattered_keV(energy_keV, cosine).astype(np.float32)
