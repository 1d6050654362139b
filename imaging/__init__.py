"""Images to numbers: DICOM and NIfTI in, region activities with their standard deviations out; phantoms the other way.

Names are loaded when first used, so that `import imaging` brings in neither pydicom nor SimpleITK.
"""

from importlib import import_module

HOME = {
    "Volume": "geometry",
    "read_nifti": "nifti",
    "write_nifti": "nifti",
    "read_folder": "dicom_read",
    "Contour": "series",
    "ContourSet": "series",
    "ImageSeries": "series",
    "Radiopharmaceutical": "series",
    "Segment": "series",
    "Segmentation": "series",
    "StudyImages": "series",
    "contour_mask": "contours",
    "contour_volume_mL": "contours",
    "segment_mask": "contours",
    "hours_after": "decay",
    "factor_to_scan_start": "decay",
    "AdministeredActivity": "quantify",
    "RegionActivity": "quantify",
    "activity_image": "quantify",
    "administered_activity": "quantify",
    "check_calibrated_series": "quantify",
    "region_activities": "quantify",
    "total_MBq": "quantify",
    "Measurement": "recovery",
    "measurement": "recovery",
    "suv_body_weight": "suv",
    "suv_image": "suv",
    "Phantom": "phantoms",
    "stylised_body": "phantoms",
    "VirtualScan": "virtual_study",
    "write_virtual_study": "virtual_study",
}
"""Public name to the module that holds it."""

__all__ = sorted(HOME)


def __getattr__(name: str):
    if name not in HOME:
        raise AttributeError(f"module 'imaging' has no attribute {name!r}")
    return getattr(import_module(f"imaging.{HOME[name]}"), name)


def __dir__():
    return __all__
