"""Count rates of a camera at every view and window: primary photons, scatter, and all pulses together.

    rate = sum over lines  yield  G  chance in the window  projection(activity; mu(E), response(E))
         + projection(effective scatter source of the window; mu(E_w), response(E_w)) G

with G the collimator's core transmission, followed by the septa's tail. Lines that make up a peak window are projected
on voxels finer than the detector's pixel; the others, and all scatter, which is smooth, on coarser ones. A source or a
body wider than the detector makes the grid wider: what lies beside the detector is lost, what lies deep is not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import gcd

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from imaging.geometry import Volume
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct import attenuation_map, spect_system
from imaging.reconstruct.attenuation import averaged_onto
from imaging.scanner.camera import CameraSpec, calibration_factor
from imaging.scanner.grids import binned, box, farthest_mm, places, spread, widened
from imaging.scanner.penetration import core_response, through_collimator
from imaging.scanner.photons import Line, attenuation_per_mm, photon_lines
from imaging.scanner.scatter import harmonics, multiple_weight, single, twice
from imaging.scanner.tails import with_tails

FINE_SHARE = 0.02
"""A line with less of every peak window than this is projected on coarse voxels."""

COARSE_mm = 20.0
"""Largest voxel of the coarse grid: a fourth of the mean way between scatterings of 208 keV photons."""

LEAST_SHARE = 0.1
"""Attenuation over water's that is worth a wider grid: the noise of a CT in air stays below."""

DENSITY_keV = 200.0
"""Energy at which attenuation over water's is density over water's: Compton scattering alone matters."""

SOFTENED = 0.75
"""Energy of a scattered photon over its first one, as a mean, where only the total rate is wanted."""

HARDEST_PULSE_keV = 1e4


@dataclass(frozen=True)
class Rates:
    """Counts per second of each pixel, [window, view, v, u]; `pulses_cps` [view] are all pulses of the head."""

    primary: np.ndarray
    scatter: np.ndarray
    pulses_cps: np.ndarray

    @property
    def total(self) -> np.ndarray:
        return self.primary + self.scatter


def count_rates(
    activity_Bq_per_mL: Volume, ct: Volume | None, acquisition: Projections, spec: CameraSpec, *, oversample: int = 2
) -> Rates:
    """Expected rates of an acquisition (its counts are not read) while the activity stays as it is.

    Args:
        ct: in HU; None for a source in air. Both volumes may lie on any grid; activity above and below the field is
            not seen.
        oversample: parts that a pixel is divided in for the main lines.

    Raises:
        InputError: an acquisition without nuclide, or an oversampling below 1.
    """
    nuclide = acquisition.radiopharmaceutical.nuclide
    if nuclide is None or oversample < 1:
        found = "no nuclide" if nuclide is None else f"oversample {oversample}"
        do = "make the acquisition with Protocol.acquisition()"
        raise InputError(describe("acquisition", found, "a nuclide, and oversampling of 1 or more", do))
    stage = _Stage(activity_Bq_per_mL, ct, replace(acquisition, frame_s=np.ones_like(acquisition.frame_s)), spec)
    listed = (*acquisition.windows, EnergyWindow(spec.threshold_keV, HARDEST_PULSE_keV))
    lines = photon_lines(nuclide)
    primary = _primary(stage, lines, listed, oversample)
    scatter = np.zeros_like(primary) if ct is None else _scatter(stage, lines, listed)
    factors = [calibration_factor(spec, nuclide, w, acquisition.windows) for w in acquisition.windows]
    scale = np.array([*factors, np.mean(factors)], dtype=np.float32)[:, None, None, None]
    primary, scatter = primary * scale, scatter * scale
    return Rates(primary[:-1], scatter[:-1], (primary[-1] + scatter[-1]).sum(axis=(-2, -1), dtype=float))


@dataclass(frozen=True)
class _Stage:
    """What stands before the camera, and the acquisition with one second a view."""

    activity_Bq_per_mL: Volume
    ct: Volume | None
    acquisition: Projections
    spec: CameraSpec

    def gridded(self, divided: int, merged: int) -> Projections:
        """The acquisition with pixels divided or put together."""
        views = self.acquisition.counts.shape[1]
        shape = (n * divided // merged for n in self.acquisition.counts.shape[2:])
        pixel = self.acquisition.pixel_mm * merged / divided
        none = (replace(self.acquisition.windows[0]),)
        return replace(self.acquisition, counts=np.zeros((1, views, *shape)), windows=none, pixel_mm=pixel)

    def merged(self) -> int:
        """Pixels to a side of a coarse voxel."""
        common = gcd(*self.acquisition.counts.shape[2:])
        most = int(COARSE_mm // self.acquisition.pixel_mm)
        return max((n for n in range(1, most + 1) if common % n == 0), default=1)

    def grid(self, acquisition: Projections) -> Volume:
        """Voxels of a `gridded` acquisition, wider than the detector where what stands before it is."""
        return widened(acquisition.grid(), self.held_mm[1])

    def decays_per_s(self, grid: Volume) -> Volume:
        mean = averaged_onto(self.activity_Bq_per_mL, grid)
        return grid.with_array(mean.array * grid.voxel_mL)

    def system(self, acquisition: Projections, energy_keV: float):
        spec, grid = self.spec, self.grid(acquisition)
        response = core_response(spec.collimator, energy_keV, spec.intrinsic_fwhm_at(energy_keV))
        mu = None if self.ct is None else attenuation_map(self.ct, grid, energy_keV)
        reach_mm = self.held_mm[0] + self.acquisition.pixel_mm * self.merged()  # a voxel to spare
        return spect_system(acquisition, response=response, attenuation_per_mm=mu, grid=grid, reach_mm=reach_mm)

    @cached_property
    def held_mm(self) -> tuple[float, float]:
        """How far from the axis there is any activity or matter, and how far enough of it for a wider grid."""
        volumes = [v for v in (self.activity_Bq_per_mL, self.ct) if v is not None]
        axis = self.acquisition.centre_lps_mm
        grid = widened(self.gridded(1, self.merged()).grid(), max(farthest_mm(box(v), v, axis) for v in volumes))
        active, mu = self.decays_per_s(grid).array > 0, np.zeros(grid.array.shape)
        if self.ct is not None:
            mu = attenuation_map(self.ct, grid, DENSITY_keV).array
        enough = LEAST_SHARE * attenuation_per_mm("water", DENSITY_keV)
        any_, much = (farthest_mm(places(active | (mu > least)), grid, axis) for least in (1e-4, enough))
        return any_ + grid.spacing_mm[0] / 2, much + grid.spacing_mm[0] / 2


def _probabilities(spec: CameraSpec, line: Line, listed) -> np.ndarray:
    return line.per_decay * np.array([spec.probability(line.energy_keV, w) for w in listed])


def _needs_detail(spec: CameraSpec, lines, listed) -> list[bool]:
    """Whether each line makes a visible part of a peak window."""
    seen = np.array([_probabilities(spec, n, listed) * _passing(spec, n.energy_keV).geometric for n in lines])
    share = seen / np.maximum(seen.sum(axis=0), 1e-30)
    peaks = [k for k, w in enumerate(listed) if w.role == "peak"] or list(range(len(listed) - 1))
    return list(share[:, peaks].max(axis=1) > FINE_SHARE)


def _passing(spec: CameraSpec, energy_keV: float):
    return through_collimator(spec.collimator, energy_keV)


def _primary(stage: _Stage, lines, listed, oversample: int) -> np.ndarray:
    base, spec = stage.acquisition, stage.spec
    counts = np.zeros((len(listed), *base.counts.shape[1:]), dtype=np.float32)
    sizes = {True: (oversample, 1), False: (1, stage.merged())}
    decays = {fine: stage.decays_per_s(stage.grid(stage.gridded(*size))).array for fine, size in sizes.items()}
    for line, fine in zip(lines, _needs_detail(spec, lines, listed), strict=True):
        divided, merged = sizes[fine]
        acquisition = stage.gridded(divided, merged)
        image = decays[fine] * _passing(spec, line.energy_keV).geometric
        seen = stage.system(acquisition, line.energy_keV).forward(image)
        seen = with_tails(spread(binned(seen, divided), merged), base, spec, line.energy_keV)
        counts += _probabilities(spec, line, listed).astype(np.float32)[:, None, None, None] * np.asarray(seen)
    return counts


def _scatter(stage: _Stage, lines, listed) -> np.ndarray:
    acquisition, merged = stage.gridded(1, stage.merged()), stage.merged()
    grid = stage.grid(acquisition)
    decays = stage.decays_per_s(grid).array
    density = attenuation_map(stage.ct, grid, DENSITY_keV).array / attenuation_per_mm("water", DENSITY_keV)
    factors = jnp.asarray(harmonics(acquisition.angles_deg), jnp.float32)
    again = {line: twice(decays * line.per_decay, density, line.energy_keV, acquisition.pixel_mm) for line in lines}
    counts = []
    for window in listed:
        series = _series(stage.spec, lines, window, decays, density, again, acquisition.pixel_mm)
        energy = _middle_keV(window, lines)
        series = jnp.asarray(series * _passing(stage.spec, energy).geometric, jnp.float32)
        seen = spread(_view_by_view(stage.system(acquisition, energy), series, factors), merged)
        counts.append(np.asarray(with_tails(seen, stage.acquisition, stage.spec, energy)))
    return np.maximum(np.stack(counts), 0)


def _series(spec, lines, window, decays, density, again, voxel_mm: float) -> np.ndarray:
    """Effective source of a window from all lines, as a series in the view's azimuth."""
    found = single(decays, density, spec, lines, window, voxel_mm)
    for line, collisions in again.items():
        found[0] += multiple_weight(spec, line.energy_keV, window) * collisions
    return found


def _middle_keV(window: EnergyWindow, lines) -> float:
    """Energy that stands for the scattered photons of a window."""
    mean = sum(n.energy_keV * n.per_decay for n in lines) / sum(n.per_decay for n in lines)
    return SOFTENED * mean if window.upper_keV >= HARDEST_PULSE_keV else (window.lower_keV + window.upper_keV) / 2


@jax.jit
def _view_by_view(system, series: Float[Array, "term z y x"], factors: Float[Array, "view term"]):
    def one(view):
        return system.forward(jnp.tensordot(factors[view], series, 1), view[None])[0]

    return jax.lax.map(one, jnp.arange(factors.shape[0]))
