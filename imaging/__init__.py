"""Images to numbers and back: DICOM in and out, quantification, virtual scanner, reconstruction, registration.

Names are loaded when first used, so that `import imaging` brings in neither pydicom, SimpleITK nor JAX. Packages of
their own are `dicom_write`, `registration`, `parametric`, `scanner` and `reconstruct`.
"""

from importlib import import_module

NAMES = {
    "geometry": ("Volume",),
    "dicom_read": ("read_folder",),
    "sandbox": ("read_folder_guarded",),
    "import_report": ("FieldUsed", "ImportReport", "SeriesSummary"),
    "nifti": ("read_nifti", "read_nifti_frames", "write_nifti"),
    "nifti_series": ("read_nifti_series",),
    "nifti_write": ("write_nifti_series",),
    "bids": ("read_bids_pet",),
    "series": ("Contour", "ContourSet", "ImageSeries", "Radiopharmaceutical", "Segment", "Segmentation", "StudyImages"),
    "projections": ("EnergyWindow", "Projections"),
    "windows": ("with_roles",),
    "contours": ("ContourVolumes", "contour_mask", "contour_volume_mL", "contour_volumes", "segment_mask"),
    "decay": ("factor_to_scan_start", "hours_after", "hours_to_decay_reference"),
    "activity_images": (
        "AdministeredActivity",
        "activity_image",
        "administered_activity",
        "check_calibrated_series",
        "total_MBq",
    ),
    "region_masks": ("ScanMasks", "masks_of"),
    "quantify": ("ImagingChain", "RegionActivity", "region_activities"),
    "scan_budget": ("ScanBudget",),
    "reconstructed": ("CameraSetup", "Reconstructed"),
    "recovery": ("Measurement", "measurement"),
    "recovery_fit": ("RecoveryCurve", "contrast_recovered", "contrast_recovery", "fit_recovery", "recovered_activity"),
    "volume_correction": ("PartialVolume", "partial_volume"),
    "point_spread": ("GaussianSpread", "KernelSpread", "VaryingSpread"),
    "noise_model": ("NoiseModel", "mean_covariance", "noise_of_background", "noise_of_width"),
    "region_means": ("RegionStatistics", "peak", "region_statistics"),
    "tumour_burden": (
        "LesionBurden",
        "lesion_burden",
        "lesion_masks",
        "liver_threshold",
        "relative_mask",
        "threshold_mask",
    ),
    "suv": ("suv_body_weight", "suv_image"),
    "body_size": ("body_surface_m2", "lean_mass_kg"),
    "camera_calibration": (
        "CameraCalibration",
        "check_applies",
        "combined_calibration",
        "reconstruction_fingerprint",
        "sensitivity_of_factor",
    ),
    "sensitivity": (
        "internal_calibration",
        "phantom_sensitivity",
        "planar_sensitivity",
        "reconstructed_sensitivity",
    ),
    "site_files": ("read_calibration", "read_recovery_curve", "write_calibration", "write_recovery_curve"),
    "dead_time": ("corrected_projections", "live_fraction", "observed_rate", "true_rate", "true_rate_sd"),
    "dead_time_fit": ("DeadTime", "decaying_source_dead_time", "two_source_dead_time"),
    "planar": ("background_shares", "conjugate_view", "conjugate_views", "line_integrals", "planar_region"),
    "hybrid_planar": ("hybrid_activity",),
    "planar_fit": ("TemplateFit", "fit_templates"),
    "shunt": ("LungShunt", "fitted_lung_shunt", "lung_shunt", "planar_lung_shunt"),
    "probes": ("Reading", "blood_observations", "whole_body_probe"),
    "dicom_write": (
        "Exported",
        "OrganRow",
        "export_deidentified",
        "read_organ_table",
        "write_organ_table",
        "write_parametric_map",
        "write_pet_copy",
        "write_planar",
        "write_projections",
        "write_recon",
        "write_rtdose",
        "write_rtstruct",
        "write_segmentation",
    ),
    "phantoms": ("Phantom", "stylised_body"),
    "virtual_study": ("VirtualScan", "write_virtual_study"),
}
"""Module to the public names that it holds."""

HOME = {name: module for module, names in NAMES.items() for name in names}

__all__ = sorted(HOME)


def __getattr__(name: str):
    if name not in HOME:
        raise AttributeError(f"module 'imaging' has no attribute {name!r}")
    return getattr(import_module(f"imaging.{HOME[name]}"), name)


def __dir__():
    return __all__
