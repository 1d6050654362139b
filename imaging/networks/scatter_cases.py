"""Simulated scans for scatter estimation: primary counts of the virtual camera, scatter by Monte Carlo, in two halves.

The halves come from photons of their own. A network sees counts drawn from the first and is held to the second, so
that it cannot learn the simulation's own noise; their difference says how large that noise is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.ndimage import gaussian_filter

from dose.learning.cases import Case, cases_folder, kept
from dose.learning.recipe import Config
from imaging.networks.acquisitions import Acquisition, Physics, acquisition, drawn_activity, field_of_view, protocol
from imaging.projections import EnergyWindow, Projections
from imaging.recovery import FWHM_PER_SIGMA
from imaging.scanner.camera import camera
from imaging.scanner.scatter_truth import monte_carlo_counts, voxel_body, ways_out_mm

WINDOWS_90Y = (
    EnergyWindow(90.0, 180.0, "peak", 135.0),
    EnergyWindow(60.0, 90.0, "lower", 135.0),
    EnergyWindow(180.0, 250.0, "upper", 135.0),
)
"""The customary wide window on the bremsstrahlung (`data/camera_windows.csv`), and two beside it of our own choice."""

SMOOTHING_mm = 18.0
"""FWHM of the Gaussian over simulated scatter, which takes its noise down; scatter itself is far broader."""

FULL_VIEWS = 120
"""Of `acquisitions.acquisition`, from which views are taken."""


@dataclass(frozen=True)
class Scan:
    """A simulated scan of `imaging.networks.acquisitions.NOMINAL_MBq`.

    Attributes:
        seen: `scatter` in it is the scanner's own effective-source model, as a method to compare with.
        halves: Monte Carlo scatter, twice, counts [half, window, view, v, u].
    """

    seen: Acquisition
    halves: Float[np.ndarray, "half window view v u"]

    @property
    def scatter(self) -> np.ndarray:
        return self.halves.mean(axis=0)


def scan(seed: int, data: Mapping[str, Any], views: int, photons: int) -> Scan:
    """The scan of a seed with so many views and photons for each half of its scatter; kept on disk.

    Args:
        data: nuclide, collimator and intrinsic_fwhm_mm of a configuration's [data].
    """
    seen = _few_views(seed, data, views) if data["nuclide"] == "177Lu" else _bremsstrahlung(seed, data, views)
    return _scattering(seen, seed, data, photons)


def scatter_case(seed: int, config: Config) -> Case:
    """Primary counts, both halves of the scatter, and the water that each pixel looks through."""
    made = scan(seed, config.data, int(config.data["views"]), int(config.data["photons"]))
    return {
        "primary": made.seen.primary,
        "first": made.halves[0],
        "second": made.halves[1],
        "water_mm": water_mm(made.seen.ct, made.seen.empty),
        "radius_mm": np.array(made.seen.empty.radii_mm.mean()),
    }


def water_mm(ct, projections: Projections) -> Float[np.ndarray, "view v u"]:
    """Millimetres of water that each pixel looks through."""
    body = voxel_body(ct, projections)
    ways = (ways_out_mm(body, projections, k)[0] for k in range(len(projections.angles_deg)))
    return np.stack([way.T for way in ways]).astype(np.float32)


def viewed(empty: Projections, kept_views: np.ndarray) -> Projections:
    """The acquisition with some of its views, as if one head had gone round."""
    chosen = {name: getattr(empty, name)[kept_views] for name in ("angles_deg", "radii_mm", "frame_s")}
    return replace(empty, counts=empty.counts[:, kept_views], heads=1, **chosen)


def _few_views(seed: int, data: Mapping[str, Any], views: int) -> Acquisition:
    physics = Physics(
        collimator=data["collimator"], views=FULL_VIEWS, intrinsic_fwhm_mm=data.get("intrinsic_fwhm_mm") or None
    )
    whole = acquisition(seed, physics)
    step = FULL_VIEWS // views
    chosen = np.arange(seed % step, FULL_VIEWS, step)
    parts = {name: getattr(whole, name)[:, chosen] for name in ("primary", "scatter")}
    return replace(whole, empty=viewed(whole.empty, chosen), **parts)


def _bremsstrahlung(seed: int, data: Mapping[str, Any], views: int) -> Acquisition:
    physics = Physics(nuclide="90Y", collimator=data["collimator"], line_keV=135.0, views=views)
    anatomy = field_of_view(seed, physics.voxel_mm)
    activity = drawn_activity(anatomy, seed, physics)
    turned = replace(protocol(anatomy, physics), energy_windows=WINDOWS_90Y, start_deg=float(seed % 10))
    empty = turned.acquisition()

    nothing = np.zeros_like(empty.counts)
    return Acquisition(nothing, nothing, activity, anatomy.ct, anatomy.labels, anatomy.names, empty, physics)


def _scattering(seen: Acquisition, seed: int, data: Mapping[str, Any], photons: int) -> Scan:
    """The acquisition with Monte Carlo scatter, and with Monte Carlo's own primary counts where it has none."""
    keys = {name: data.get(name) for name in ("nuclide", "collimator", "intrinsic_fwhm_mm")}
    folder = cases_folder("scatter_halves", {**keys, "views": seen.empty.counts.shape[1], "photons": photons})
    made = kept(folder, f"patient-{seed}", lambda: _followed(seen, seed, data, photons))
    sigma = SMOOTHING_mm / FWHM_PER_SIGMA / seen.empty.pixel_mm
    per_view = np.asarray(seen.empty.frame_s, np.float32)[:, None, None]
    halves = np.stack([gaussian_filter(made[half] * per_view, (0, 0, sigma, sigma)) for half in ("0", "1")])
    return Scan(replace(seen, primary=made["primary"] * per_view) if "primary" in made else seen, halves)


def _followed(seen: Acquisition, seed: int, data: Mapping[str, Any], photons: int) -> Case:
    spec = camera(seen.physics.collimator)
    if data.get("intrinsic_fwhm_mm"):
        spec = replace(spec, intrinsic_fwhm_mm=data["intrinsic_fwhm_mm"])
    wanted = not seen.primary.any()
    given = (seen.activity, seen.ct, seen.empty, spec)
    two = [monte_carlo_counts(*given, photons=photons, seed=2 * seed + k, primary=wanted) for k in (0, 1)]
    made = {str(k): half.scatter.astype(np.float32) for k, half in enumerate(two)}
    return made | ({"primary": 0.5 * (two[0].primary + two[1].primary)} if wanted else {})
