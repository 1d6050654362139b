"""The virtual scanner: bodies, phantoms, a gamma camera and a PET, with their errors. See docs/imaging-scanner.md."""

from __future__ import annotations

from imaging.scanner.anatomy import Anatomy, activity_map, density_of_hounsfield, hounsfield, noisy_ct
from imaging.scanner.body import ShapeSpread, of_phantom, virtual_body
from imaging.scanner.camera import Calibrated, CameraSpec, camera, sensitivity_cps_per_MBq, windows
from imaging.scanner.deform import Motion, deformed
from imaging.scanner.fit_measurement import fit_measurement_model
from imaging.scanner.label_map import from_label_map, totalsegmentator_regions
from imaging.scanner.lesions import Lesion, sampled_lesions, with_lesions
from imaging.scanner.measured_scan import Scan
from imaging.scanner.measurement_file import read_measurement_model, save_measurement_model
from imaging.scanner.measurement_model import MeasurementModel
from imaging.scanner.nema import NemaPhantom, nema_iec
from imaging.scanner.nema_figures import background_variability, contrast_recoveries, recoveries
from imaging.scanner.pet import Frames, PetSpec, pet_scanner, simulate_pet
from imaging.scanner.pet_noise import CountingModel
from imaging.scanner.phantom import Filled, calibration_cylinder
from imaging.scanner.planar import simulate_static, simulate_whole_body
from imaging.scanner.positron_range import positron_range
from imaging.scanner.protocol import Protocol, contour_radii_mm
from imaging.scanner.rates import Rates, count_rates
from imaging.scanner.reference_scan import reference_scan
from imaging.scanner.spect import Timed, acquired, simulate_spect

__all__ = [
    "Anatomy",
    "Calibrated",
    "CameraSpec",
    "CountingModel",
    "Filled",
    "Frames",
    "Lesion",
    "MeasurementModel",
    "Motion",
    "NemaPhantom",
    "PetSpec",
    "Protocol",
    "Rates",
    "Scan",
    "ShapeSpread",
    "Timed",
    "acquired",
    "activity_map",
    "background_variability",
    "calibration_cylinder",
    "camera",
    "contour_radii_mm",
    "contrast_recoveries",
    "count_rates",
    "deformed",
    "density_of_hounsfield",
    "fit_measurement_model",
    "from_label_map",
    "hounsfield",
    "nema_iec",
    "noisy_ct",
    "of_phantom",
    "pet_scanner",
    "positron_range",
    "read_measurement_model",
    "recoveries",
    "reference_scan",
    "sampled_lesions",
    "save_measurement_model",
    "sensitivity_cps_per_MBq",
    "simulate_pet",
    "simulate_spect",
    "simulate_static",
    "simulate_whole_body",
    "totalsegmentator_regions",
    "virtual_body",
    "windows",
    "with_lesions",
]
