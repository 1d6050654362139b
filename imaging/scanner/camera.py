"""A gamma camera and how it is used: the values that a simulation starts from, all replaceable by a site's own.

The sensitivity is derived, not given: solid angle through the collimator (and through its septa) times yield times
what the crystal and the window keep. A calibrated value with its sd takes its place where a site has one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from math import isfinite

import numpy as np

from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide
from dose.provenance import load_table
from imaging.projections import EnergyWindow
from imaging.scanner.penetration import through_collimator
from imaging.scanner.photons import detected_in_window, photon_lines

BOUNDS = ("lower_keV", "upper_keV")

LINE_MATCH_keV = 1.5
"""Lines named 208 and 208.4 keV are the same line."""


@dataclass(frozen=True)
class Calibrated:
    """Sensitivity of one head in the peak window of a line, as measured with the whole field in air."""

    cps_per_MBq: float
    sd_cps_per_MBq: float = 0.0


@dataclass(frozen=True)
class CameraSpec:
    """A head: crystal, collimator (a name of `data/collimators.csv`) and electronics.

    `intrinsic_fwhm_mm` and `energy_resolution` (FWHM / energy) hold at 140 keV and change with 1/sqrt(energy).
    `dead_time_us` is paralysable and applies to all pulses above `threshold_keV`. `tail_fraction` of the counts are
    spread by a Gaussian of `tail_fwhm_mm`. `calibrated` has peak lines in keV for keys: the counts of that line's
    windows are scaled to it.

    Raises:
        InputError: a value that is negative, not finite, or zero where it cannot be.
    """

    crystal_mm: float
    intrinsic_fwhm_mm: float
    energy_resolution: float
    collimator: str
    dead_time_us: float = 0.0
    background_cps_per_keV: float = 0.0
    threshold_keV: float = 40.0
    tail_fraction: float = 0.0
    tail_fwhm_mm: float = 40.0
    calibrated: dict[float, Calibrated] = field(default_factory=dict)

    def __post_init__(self):
        above = ("crystal_mm", "intrinsic_fwhm_mm", "energy_resolution", "threshold_keV", "tail_fwhm_mm")
        for name in (*above, "dead_time_us", "background_cps_per_keV", "tail_fraction"):
            value = getattr(self, name)
            if not (isfinite(value) and value >= 0 and (value > 0 or name not in above)):
                least = "a finite value above zero" if name in above else "a finite value of zero or more"
                raise InputError(describe(f"camera.{name}", f"{value}", least, "correct the specification"))
        if self.tail_fraction >= 1:
            do = "give the part of the counts in the tail"
            raise InputError(describe("camera.tail_fraction", f"{self.tail_fraction}", "below 1", do))

    def intrinsic_fwhm_at(self, energy_keV: float) -> float:
        """Intrinsic resolution in mm at an energy."""
        return float(self.intrinsic_fwhm_mm * np.sqrt(140.0 / energy_keV))

    def probability(self, energy_keV: float, window: EnergyWindow) -> float:
        """Of the photons of this energy that reach the crystal, those counted in the window."""
        return detected_in_window(energy_keV, window, self.crystal_mm, self.energy_resolution)


@cache
def _cameras() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in load_table("imaging", "cameras.csv"):
        found.setdefault(row["camera"], {})[row["quantity"]] = float(row["value"])
    return found


def camera(collimator: str, name: str = "nai_3_8_inch", **changes) -> CameraSpec:
    """A camera of `data/cameras.csv` with this collimator; keywords replace its values.

    Raises:
        InputError: no such camera, or a value that cannot be.
    """
    if name not in _cameras():
        hint = nearest(name, _cameras())
        do = f'write "{hint}" if that was meant' if hint else "give a CameraSpec"
        raise InputError(describe("camera", f'"{name}"', f"one of {', '.join(_cameras())}", do))
    return CameraSpec(**{**_cameras()[name], "collimator": collimator, **changes})


def windows(nuclide: str) -> tuple[EnergyWindow, ...]:
    """The customary energy windows for a nuclide (`data/camera_windows.csv`), peaks with their scatter windows.

    Raises:
        InputError: none in the table.
    """
    name = radionuclide(nuclide).name
    rows = [r for r in load_table("imaging", "camera_windows.csv") if r["nuclide"] == name]
    if not rows:
        do = "give Protocol(windows=...)"
        raise InputError(describe("nuclide", f'"{name}"', "a nuclide of imaging/data/camera_windows.csv", do))
    return tuple(EnergyWindow(*(float(r[k]) for k in BOUNDS), r["role"], float(r["line_keV"])) for r in rows)


def sensitivity_cps_per_MBq(
    spec: CameraSpec, nuclide: str, window: EnergyWindow, among: tuple[EnergyWindow, ...] = ()
) -> float:
    """Counts per second of one head, whole field, for 1 MBq in air: all lines, through holes and septa.

    Derived from collimator and crystal, and scaled to the calibrated value of the window's line where there is one;
    `among` are the windows that hold the line's peak (the customary ones if none are given).
    """
    return calibration_factor(spec, nuclide, window, among) * _derived(spec, nuclide, window)


def _derived(spec: CameraSpec, nuclide: str, window: EnergyWindow) -> float:
    rate = 0.0
    for line in photon_lines(nuclide):
        passing = through_collimator(spec.collimator, line.energy_keV)
        reaching = passing.geometric * (1 + passing.penetration_ratio)
        rate += 1e6 * line.per_decay * reaching * spec.probability(line.energy_keV, window)
    return rate


def calibration_factor(
    spec: CameraSpec, nuclide: str, window: EnergyWindow, among: tuple[EnergyWindow, ...] = ()
) -> float:
    """Calibrated over derived sensitivity in the peak of the window's line; 1 where nothing is calibrated.

    Raises:
        InputError: a calibrated line without a peak window.
    """
    line = next((keV for keV in spec.calibrated if _same_line(keV, window.line_keV)), None)
    if line is None:
        return 1.0
    peaks = [w for w in among or windows(nuclide) if w.role == "peak" and _same_line(line, w.line_keV)]
    if not peaks:
        do = "name the line of one of the peak windows"
        raise InputError(describe("camera.calibrated", f"a line of {line:g} keV", "a line with a peak window", do))
    return spec.calibrated[line].cps_per_MBq / _derived(spec, nuclide, peaks[0])


def _same_line(one_keV: float, other_keV: float | None) -> bool:
    return other_keV is not None and abs(one_keV - other_keV) <= LINE_MATCH_keV
