"""The virtual gamma camera: counts of a known activity, with a real one's errors. See docs/imaging-scanner.md."""

from __future__ import annotations

from imaging.scanner.camera import Calibrated, CameraSpec, camera, sensitivity_cps_per_MBq, windows
from imaging.scanner.phantom import Filled, calibration_cylinder
from imaging.scanner.planar import simulate_static, simulate_whole_body
from imaging.scanner.protocol import Protocol, contour_radii_mm
from imaging.scanner.rates import Rates, count_rates
from imaging.scanner.spect import Timed, acquired, simulate_spect

__all__ = [
    "Calibrated",
    "CameraSpec",
    "Filled",
    "Protocol",
    "Rates",
    "Timed",
    "acquired",
    "calibration_cylinder",
    "camera",
    "contour_radii_mm",
    "count_rates",
    "sensitivity_cps_per_MBq",
    "simulate_spect",
    "simulate_static",
    "simulate_whole_body",
    "windows",
]
