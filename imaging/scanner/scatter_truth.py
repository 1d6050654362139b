"""Scattered counts of a voxel body by Monte Carlo with forced detection: the truth that scatter estimates are held to.

At every Compton scattering of `scatter_truth_walk` the part that would leave towards each view is added up there: with
Klein and Nishina's chance, the chance to be counted in each window, attenuation by the way out, and the collimator's
blur at that depth. The collimator is ideal but for that blur and for the septal tail that the scanner gives to scatter
(`tails`). All matter is water of its own density; there is no coherent scattering and no electron binding.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from imaging.geometry import Volume
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct import attenuation_map
from imaging.scanner.camera import CameraSpec
from imaging.scanner.penetration import core_response, through_collimator
from imaging.scanner.photons import ELECTRON_keV, attenuation_per_mm, photon_lines, scattering_per_sr
from imaging.scanner.rates import DENSITY_keV
from imaging.scanner.scatter_truth_walk import (
    Body,
    HIGHEST_keV,
    NODES_keV,
    Photons,
    STEP_keV,
    by_energy,
    collisions,
    emitted,
    entry,
)
from imaging.scanner.tails import with_tails

AT_ONCE = 1 << 16
"""Photons detected together: their arrays stay in the processor's cache."""

BIN_keV = 1.0
"""Energies at which windows are asked; between them straight."""

LEAST_CHANCE = 1e-3
"""To be counted in any window, relative to the most likely energy: photons below the first such energy are dropped."""

ORDERS = ("primary", "once", "more")


@dataclass(frozen=True)
class TrueCounts:
    """Counts per second [window, view, v, u] by how often photons scattered; `primary` zero unless asked for."""

    primary: np.ndarray
    once: np.ndarray
    more: np.ndarray

    @property
    def scatter(self) -> np.ndarray:
        return self.once + self.more


def monte_carlo_counts(
    activity_Bq_per_mL: Volume,
    ct: Volume,
    acquisition: Projections,
    spec: CameraSpec,
    *,
    photons: int,
    seed: int,
    primary: bool = False,
) -> TrueCounts:
    """Expected rates of an acquisition (its counts are not read) by following photons.

    Args:
        activity_Bq_per_mL: on a grid along LPS.
        ct: in HU; matter outside the acquisition's own grid is not seen.
        photons: that are followed; the error falls with their root.
        primary: whether unscattered photons are detected too.

    Raises:
        InputError: no nuclide, no activity, or no photons.
    """
    nuclide = acquisition.radiopharmaceutical.nuclide
    if nuclide is None or photons < 1 or not activity_Bq_per_mL.array.sum(dtype=float) > 0:
        found = f"nuclide {nuclide}, {photons} photons, {activity_Bq_per_mL.array.sum(dtype=float):g} Bq/mL in all"
        raise InputError(describe("acquisition", found, "a nuclide, photons and activity", "give all three"))
    random = np.random.default_rng([seed, 11])
    chances = _chances(spec, acquisition.windows)
    likely = np.flatnonzero(chances.max(axis=0) > LEAST_CHANCE * chances.max())
    least_keV = float(likely[0] * STEP_keV)
    lines = [line for line in photon_lines(nuclide) if line.energy_keV > least_keV]
    begun = emitted(activity_Bq_per_mL, acquisition.centre_lps_mm, lines, photons, random)
    body = voxel_body(ct, acquisition)
    hit = collisions(begun, body, least_keV, random)
    detector = _Detector(acquisition, spec, chances, random)
    parts = {"once": hit.where(hit.order == 1), "more": hit.where(hit.order > 1)}
    if primary:
        parts["primary"] = begun
    counts = {name: np.zeros((len(acquisition.windows), *acquisition.counts.shape[1:])) for name in ORDERS}
    for view in range(len(acquisition.angles_deg)):
        ways = ways_out_mm(body, acquisition, view)
        for name, seen in parts.items():
            counts[name][:, view] = detector.seen(seen, ways, view, scattering=name != "primary")
    return TrueCounts(*(_through(counts[name], acquisition, spec) for name in ORDERS))


def voxel_body(ct: Volume, acquisition: Projections) -> Body:
    """Density over water's on the acquisition's grid."""
    grid = acquisition.grid()
    density = attenuation_map(ct, grid, DENSITY_keV).array / attenuation_per_mm("water", DENSITY_keV)
    return Body(density.astype(np.float32), acquisition.pixel_mm, grid.affine[:3, 3] - acquisition.centre_lps_mm)


def ways_out_mm(body: Body, acquisition: Projections, view: int) -> np.ndarray:
    """Millimetres of water from each place to the detector: [along the view, u, z] on voxels turned with the view."""
    size, step = body.density.shape[2], body.voxel_mm
    sine, cosine = (float(f(np.deg2rad(acquisition.angles_deg[view]))) for f in (np.sin, np.cos))
    along, u = np.meshgrid(*[(np.arange(size) - (size - 1) / 2) * step] * 2, indexing="ij")
    x = (along * sine - u * cosine - body.first_mm[0]) / step
    y = (along * cosine + u * sine - body.first_mm[1]) / step
    turned = _straight(np.ascontiguousarray(body.density.transpose(1, 2, 0)), y, x) * np.float32(step)
    beyond = np.cumsum(turned[::-1], axis=0)[::-1]
    return beyond - turned / 2


def _straight(image: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Values of [y, x, ...] at places, straight between voxels, zero outside."""
    padded = np.pad(image, ((1, 2), (1, 2), (0, 0)))
    y, x = (np.clip(v + 1, 0, n + 0.999) for v, n in zip((y, x), image.shape))
    i, j = y.astype(int), x.astype(int)
    a, b = ((v - v.astype(int)).astype(np.float32)[..., None] for v in (y, x))
    low = padded[i, j] * (1 - b) + padded[i, j + 1] * b
    high = padded[i + 1, j] * (1 - b) + padded[i + 1, j + 1] * b
    return low * (1 - a) + high * a


def _chances(spec: CameraSpec, windows: tuple[EnergyWindow, ...]) -> np.ndarray:
    """To pass the holes and be counted in each window, by energy, [window, entry]."""
    nodes = np.arange(math.ceil(NODES_keV[0] / BIN_keV) * BIN_keV, HIGHEST_keV + BIN_keV, BIN_keV)
    passed = np.array([through_collimator(spec.collimator, float(e)).geometric for e in nodes])
    at = np.arange(0, HIGHEST_keV + STEP_keV, STEP_keV)
    counted = [[spec.probability(float(e), window) for e in nodes] for window in windows]
    return np.array([np.interp(at, nodes, passed * chance, left=0.0) for chance in counted], np.float32)


def middle_keV(window: EnergyWindow) -> float:
    return (window.lower_keV + window.upper_keV) / 2


class _Detector:
    """Adds photons up on the detector of each view."""

    def __init__(self, acquisition: Projections, spec: CameraSpec, chances: np.ndarray, random: np.random.Generator):
        energy = middle_keV(acquisition.windows[0])
        self.response = core_response(spec.collimator, energy, spec.intrinsic_fwhm_at(energy))
        self.acquisition, self.chances, self.random = acquisition, chances, random
        norm = [2 * np.pi * float(scattering_per_sr(e, np.ones(()))) for e in NODES_keV]
        at = np.arange(0, HIGHEST_keV + STEP_keV, STEP_keV)
        self.forwards = np.interp(at, NODES_keV, norm).astype(np.float32)
        self.normal = random.standard_normal((2, 4 * AT_ONCE), np.float32)

    def seen(self, photons: Photons, ways: np.ndarray, view: int, *, scattering: bool) -> np.ndarray:
        """Counts per second [window, v, u]."""
        rows, columns = self.acquisition.counts.shape[2:]
        total = np.zeros((len(self.chances), rows * columns))
        for first in range(0, len(photons.weight), AT_ONCE):
            total += self._some(photons.where(slice(first, first + AT_ONCE)), ways, view, scattering)
        return total.reshape(-1, rows, columns)

    def _some(self, photons: Photons, ways: np.ndarray, view: int, scattering: bool) -> np.ndarray:
        angle = np.deg2rad(self.acquisition.angles_deg[view])
        sine, cosine = np.float32(np.sin(angle)), np.float32(np.cos(angle))
        x, y, z = photons.place_mm
        along, across = x * sine + y * cosine, y * sine - x * cosine
        energy, weight = photons.energy_keV, photons.weight
        if scattering:
            cos_angle = photons.direction[0] * sine + photons.direction[1] * cosine
            ratio = 1 / (1 + energy * np.float32(1 / ELECTRON_keV) * (1 - cos_angle))
            weight = weight * self.forwards[entry(energy)] * ratio**2 * (ratio + 1 / ratio - 1 + cos_angle**2)
            energy = energy * ratio
        at = entry(energy)
        weight = weight * np.exp(-by_energy()[at] * self._way(ways, along, across, z))
        where, lost = self._pixels(along, across, z, view)
        weight[lost] = 0
        size = int(np.prod(self.acquisition.counts.shape[2:]))
        return np.array([np.bincount(where, weight * chance[at], size) for chance in self.chances])

    def _way(self, ways: np.ndarray, along, across, z) -> np.ndarray:
        """Water to the detector: straight along the view, that of the nearest voxel across it."""
        step, (deep, wide, high) = np.float32(1 / self.acquisition.pixel_mm), ways.shape
        depth = np.clip(along * step + np.float32((deep - 1) / 2), 0, deep - 1.001)
        i = depth.astype(np.int32)
        j = np.clip(np.rint(across * step + np.float32((wide - 1) / 2)), 0, wide - 1).astype(np.int32)
        k = np.clip(np.rint(z * step + np.float32((high - 1) / 2)), 0, high - 1).astype(np.int32)
        flat, part = (i * wide + j) * high + k, depth - i
        values = ways.reshape(-1)
        return values[flat] * (1 - part) + values[flat + wide * high] * part

    def _pixels(self, along, across, z, view: int):
        """Pixel that each photon is counted in after the collimator's blur, and whether it misses the detector."""
        rows, columns = self.acquisition.counts.shape[2:]
        start = int(self.random.integers(3 * AT_ONCE))
        shift = self.normal[:, start : start + len(along)]
        away = np.maximum(np.float32(self.acquisition.radii_mm[view]) - along, 0)
        made = self.response
        sigma = np.hypot(
            np.float32(made.slope) * away + np.float32(made.offset_mm), np.float32(made.intrinsic_sigma_mm)
        )
        step = np.float32(1 / self.acquisition.pixel_mm)
        u = np.rint((across + sigma * shift[0]) * step + np.float32((columns - 1) / 2)).astype(np.int32)
        v = np.rint((z + sigma * shift[1]) * step + np.float32((rows - 1) / 2)).astype(np.int32)
        lost = (u < 0) | (u >= columns) | (v < 0) | (v >= rows)
        return np.where(lost, 0, v * columns + u), lost


def _through(counts: np.ndarray, acquisition: Projections, spec: CameraSpec) -> np.ndarray:
    """With the scanner's septal tail at each window's middle energy."""
    made = [
        np.asarray(with_tails(jnp.asarray(one, jnp.float32), acquisition, spec, middle_keV(window)))
        for one, window in zip(counts, acquisition.windows)
    ]
    return np.stack(made)
