"""The Monte Carlo that scatter networks learn from, beside the cylinder's own and the scanner's model."""

from __future__ import annotations

from functools import cache

import numpy as np

from dose.learning.cases import HELD_OUT_FROM
from imaging.geometry import Volume
from imaging.networks.scatter import RECIPE_177LU
from imaging.networks.scatter_cases import Scan, scan
from imaging.projections import Projections
from imaging.scanner.camera import CameraSpec, camera
from imaging.scanner.penetration import through_collimator
from imaging.scanner.photons import photon_lines
from imaging.scanner.protocol import Protocol
from imaging.scanner.scatter_truth import TrueCounts, monte_carlo_counts
from imaging.scanner.transport import water_cylinder
from tests.validate import check

NAME = "ai/scatter_177lu/truth"
CYLINDER = "imaging.scanner.transport.water_cylinder, 110 x 200 mm: 208 keV alone"
LINE_keV = 208.37
RADIUS_mm, LENGTH_mm, VOXEL_mm = 110.0, 200.0, 5.0
PHOTONS = 200_000
BINS = 400


def cylinder() -> tuple[Volume, Volume]:
    """Activity of 1 MBq in all and CT of the cylinder, shares of voxels by a fine grid."""
    side, parts = 56, 4
    fine = (np.arange(side * parts) - (side * parts - 1) / 2) * VOXEL_mm / parts
    disc = (fine[:, None] ** 2 + fine**2 < RADIUS_mm**2).reshape(side, parts, side, parts).mean(axis=(1, 3))
    inside = np.broadcast_to(disc, (int(LENGTH_mm / VOXEL_mm), side, side)).copy()
    affine = np.diag([VOXEL_mm, VOXEL_mm, VOXEL_mm, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * VOXEL_mm for n in (side, side, len(inside))]
    activity = Volume(inside, affine)
    total_mL = inside.sum() * activity.voxel_mL
    return activity.with_array(inside * 1e6 / total_mL), Volume(1000 * (inside - 1), affine)


def wide_protocol() -> Projections:
    """One head at the cylinder's side with a field that loses nothing."""
    wanted = tuple(w for w in Protocol("177Lu", 1.0).energy_windows if w.line_keV == 208.4)
    return Protocol(
        "177Lu", 1.0, energy_windows=wanted, views=4, heads=1, matrix=(80, 80), pixel_mm=VOXEL_mm, radius_mm=150.0
    ).acquisition()


@cache
def seen() -> TrueCounts:
    activity, ct = cylinder()
    return monte_carlo_counts(activity, ct, wide_protocol(), camera("SY-ME"), photons=PHOTONS, seed=1, primary=True)


@cache
def expected() -> np.ndarray:
    """Counts per second of 1 MBq, [order, window], of all lines that reach the windows, by the cylinder's own."""
    spec, acquisition, total = camera("SY-ME"), wide_protocol(), np.zeros((3, 3))
    energies = (np.arange(BINS) + 0.5) / BINS
    for line in (n for n in photon_lines("177Lu") if n.energy_keV > 150):
        made = water_cylinder(line.energy_keV, np.random.default_rng(3), photons=PHOTONS, bins=BINS)
        for k, window in enumerate(acquisition.windows):
            counted = np.array([_counted(spec, float(x * line.energy_keV), window) for x in energies])
            primary = made.primary * _counted(spec, line.energy_keV, window)
            total[:, k] += 1e6 * line.per_decay * np.array([primary, made.once @ counted, made.more @ counted])
    return total


def _counted(spec: CameraSpec, energy_keV: float, window) -> float:
    if energy_keV < 40:
        return 0.0
    return through_collimator(spec.collimator, energy_keV).geometric * spec.probability(energy_keV, window)


def _without_tails(counts: np.ndarray) -> np.ndarray:
    """Sums by window of a view, septal tails taken off."""
    middles = [(w.lower_keV + w.upper_keV) / 2 for w in wide_protocol().windows]
    tails = np.array([1 + through_collimator("SY-ME", e).penetration_ratio for e in middles])
    return counts.sum(axis=(1, 2, 3), dtype=float) / counts.shape[1] / tails


def _against_cylinder(order: int, name: str):
    ratio = _without_tails(getattr(seen(), name)) / expected()[order]
    return ratio.tolist(), bool(np.abs(ratio - 1).max() <= 0.03)


@check(f"{NAME}: cylinder, primary by window over its own Monte Carlo", "1", "0.97 to 1.03", CYLINDER)
def cylinder_primary():
    return _against_cylinder(0, "primary")


@check(f"{NAME}: cylinder, scattered once by window over its own Monte Carlo", "1", "0.97 to 1.03", CYLINDER)
def cylinder_once():
    return _against_cylinder(1, "once")


@check(f"{NAME}: cylinder, scattered more often over its own Monte Carlo", "1", "0.97 to 1.03", CYLINDER)
def cylinder_more():
    return _against_cylinder(2, "more")


@cache
def patient() -> Scan:
    config = RECIPE_177LU.config()
    return scan(HELD_OUT_FROM, config.data, int(config.data["views"]), int(config.data["photons"]))


@check(f"{NAME}: patient, primary of the peak over the projector's", "1", "0.98 to 1.02", "imaging.scanner.rates")
def patient_primary():
    made = patient().seen
    own = monte_carlo_counts(
        made.activity, made.ct, made.empty, camera("SY-ME"), photons=PHOTONS, seed=5, primary=True
    ).primary[0]
    value = float(own.sum(dtype=float) * 20.0 / made.primary[0].sum(dtype=float))
    return value, abs(value - 1) <= 0.02


@check(f"{NAME}: statistical error of the scatter by window", "of its rms", "peak at most 0.05", "two halves")
def halves():
    made = patient().halves
    error = [np.sqrt(((a - b) ** 2).sum() / ((a + b) ** 2).sum()) for a, b in zip(*made)]
    return [float(e) for e in error], bool(error[0] <= 0.05)


@check(f"{NAME}: statistical error over squares of 5 x 5 pixels", "of their mean", "at most 0.03", "two halves")
def organ_sized():
    first, second = (gathered(half[0]) for half in patient().halves)
    bright = first + second > 0.4 * (first + second).max()
    error = float(np.sqrt(np.mean((first - second)[bright] ** 2)) / (first + second)[bright].mean())
    return error, error <= 0.03


def gathered(views: np.ndarray) -> np.ndarray:
    """Sums over squares of 5 pixels, a kidney's size."""
    rows, columns = (n // 5 * 5 for n in views.shape[1:])
    return views[:, :rows, :columns].reshape(len(views), rows // 5, 5, columns // 5, 5).sum(axis=(2, 4))


@check(f"{NAME}: the scanner's effective-source scatter, total over this one", "1", "0.9 to 1.1 in the peak", "patient")
def effective_source():
    ratio = patient().seen.scatter.sum(axis=(1, 2, 3)) / patient().scatter.sum(axis=(1, 2, 3))
    return ratio.tolist(), bool(abs(ratio[0] - 1) <= 0.1)


@check(f"{NAME}: the scanner's effective-source scatter, NRMSE by window", "1", "at most 0.15 in the peak", "patient")
def effective_source_error():
    found = [np.sqrt(((a - b) ** 2).sum() / (b**2).sum()) for a, b in zip(patient().seen.scatter, patient().scatter)]
    return [float(e) for e in found], bool(found[0] <= 0.15)


@check(f"{NAME}: nothing scatters without matter", "1", "below 1e-6", "conservation")
def no_matter():
    activity, ct = cylinder()
    air = ct.with_array(np.full(ct.array.shape, -1000.0))
    made = monte_carlo_counts(activity, air, wide_protocol(), camera("SY-ME"), photons=20_000, seed=1, primary=True)
    value = float(made.scatter.sum() / made.primary.sum())
    return value, value < 1e-6
