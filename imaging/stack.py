"""Slices (or frames of one NM object) to one `ImageSeries`: geometry, scale and units, times.

Slices are sorted by position along the normal, never by InstanceNumber. Each has its own rescale slope (the GE PET of
the tests has 267 different ones). NM keeps its scale in a RealWorldValueMapping, which ITK and GDCM ignore.
"""

from __future__ import annotations

from datetime import datetime

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.guard import open_pixels
from imaging.header import moment, radiopharmaceutical_of
from imaging.series import ImageSeries, uid_hash

NM_CLASS, CT_CLASS = "1.2.840.10008.5.1.4.1.1.20", "1.2.840.10008.5.1.4.1.1.2"
CT_RANGE_HU = (-32768.0, 65535.0)
"""HU outside what 16 bits can hold mean a broken rescale slope."""

GAP_NOTE, GAP_ERROR = 0.01, 0.10
"""Relative deviation of a slice gap from the median: above 1% a note (a real GE PET has 2.4%), above 10% an error (a
missing slice is 100%). The volume is placed on the mean gap."""

TILT_MM = 1.0
"""First and last slice may be shifted sideways by this much before the stack counts as tilted."""

SPECT_MAKERS = ("SPECT", "SYMBIA", "ENCORE", "INTEVO", "SIEMENS NM", "XSPECT", "NM/CT", "VERITON", "STARGUIDE")
SPECT_WORDS = ("SPECT", "XSPECT", "TOMO")
POSITRON_EMITTERS = ("18F", "68Ga", "64Cu", "89Zr", "124I")
"""Words of manufacturer, model and series that mean SPECT, and nuclides imaged by coincidence."""


def stack_series(files, where: str, *, salt: str = "", calibration: float | None = None):
    """`files` are (path, header) pairs of one series; returns the ImageSeries and notes for the user.

    Raises:
        ImageError: mixed or uneven slices, unknown units, damaged pixels.
    """
    datasets = [open_pixels(file, where) for file, _ in files]
    first = datasets[0]
    is_nm = str(first.SOPClassUID) == NM_CLASS
    volume, order, notes = _nm_volume(datasets, where) if is_nm else _slice_volume(datasets, where)
    datasets = [datasets[k] for k in order]
    common = {
        "series_uid_hash": uid_hash(first.SeriesInstanceUID, salt),
        "frame_hash": uid_hash(first.get("FrameOfReferenceUID", ""), salt),
    }
    if str(first.SOPClassUID) == CT_CLASS:
        return _ct(volume, where, common), notes
    scaled = _to_Bq_per_mL(volume, first, where, calibration)
    return _emission(scaled, datasets, where, common), notes


def _ct(volume: Volume, where: str, common: dict) -> ImageSeries:
    low, high = CT_RANGE_HU
    if volume.array.min() < low or volume.array.max() > high:
        raise ImageError(describe(where, "values no CT can have", f"{low:g} to {high:g} HU", "check RescaleSlope"))
    return ImageSeries(volume, "CT", "HU", **common)


def _emission(volume: Volume, datasets: list, where: str, common: dict) -> ImageSeries:
    first = datasets[0]
    reference = reference_time(datasets)
    pharmaceutical = radiopharmaceutical_of(first, reference, where)
    modality, reason = kind_of(first, pharmaceutical.nuclide)
    return ImageSeries(
        volume=volume,
        modality=modality,
        unit="Bq/mL",
        kind_reason=reason,
        decay_correction=_decay_correction(first, where),
        reference_at=reference,
        slice_mid_s=_slice_mid_s(datasets, reference, len(volume.array)),
        radiopharmaceutical=pharmaceutical,
        weight_kg=_number(first, "PatientWeight"),
        height_m=_number(first, "PatientSize"),
        sex={"M": "male", "F": "female"}.get(str(first.get("PatientSex", ""))),
        resolution_mm=_number(first, "SpatialResolution"),
        **common,
    )


def _number(dataset, keyword: str) -> float | None:
    value = dataset.get(keyword)
    return float(value) if value not in (None, "") and float(value) > 0 else None


def kind_of(dataset, nuclide: str | None) -> tuple[str, str]:
    """ "PET" or "SPECT", and why: SOP class, then nuclide, then the words of the maker."""
    if str(dataset.SOPClassUID) == NM_CLASS:
        return "SPECT", "NM Image Storage"
    if nuclide in POSITRON_EMITTERS:
        return "PET", f"{nuclide} is imaged by coincidence"
    words = " ".join(str(dataset.get(k, "")) for k in ("Manufacturer", "ManufacturerModelName")).upper()
    series = str(dataset.get("SeriesDescription", "")).upper()
    if any(w in words for w in SPECT_MAKERS) or any(w in series for w in SPECT_WORDS):
        return "SPECT", "stored as PT by a SPECT maker, model or series name"
    if nuclide is not None and nuclide != "90Y":
        return "SPECT", f"stored as PT, but {nuclide} emits no positrons to speak of"
    return "PET", "PET Image Storage"


def reference_time(datasets: list) -> datetime | None:
    """Start of the acquisition: the series time, unless that is later than the earliest acquisition time."""
    acquired = [t for t in (moment(d, "AcquisitionDate", "AcquisitionTime") for d in datasets) if t]
    stamped = moment(datasets[0], "SeriesDate", "SeriesTime")
    return min([*acquired, *([stamped] if stamped else [])], default=None)


def _slice_mid_s(datasets: list, reference: datetime | None, slices: int) -> np.ndarray | None:
    """Seconds from the reference to mid-frame per slice; an NM object has one frame time for all."""
    if reference is None:
        return None
    seconds = []
    for dataset in datasets:
        begun = moment(dataset, "AcquisitionDate", "AcquisitionTime") or reference
        half_frame = float(dataset.get("ActualFrameDuration") or 0) / 2000
        seconds.append((begun - reference).total_seconds() + half_frame)
    return np.array(seconds if len(seconds) == slices else [seconds[0]] * slices)


def _decay_correction(dataset, where: str) -> str:
    stated = str(dataset.get("DecayCorrection") or "").upper()
    if stated:
        return stated
    corrected = [str(word).upper() for word in dataset.get("CorrectedImage") or ()]
    if "DECY" in corrected:
        found, expected = "DECY in CorrectedImage and no DecayCorrection", "NONE, START or ADMIN"
        raise ImageError(describe(where, found, expected, "ask the site which time the correction refers to"))
    return "NONE" if str(dataset.SOPClassUID) == NM_CLASS else ""


def _slice_volume(datasets: list, where: str):
    """Volume, order of the slices and notes of a series stored one slice a file."""
    shapes = {(int(d.Rows), int(d.Columns), int(d.get("NumberOfFrames", 1) or 1)) for d in datasets}
    orientations = np.array([d.ImageOrientationPatient for d in datasets], dtype=float)
    if len(shapes) != 1 or np.ptp(orientations, axis=0).max() > 1e-3 or next(iter(shapes))[2] != 1:
        found = "slices of several sizes or orientations"
        raise ImageError(describe(where, found, "one stack of equal slices", "split the series"))
    row, column = orientations[0][:3], orientations[0][3:]
    positions = np.array([d.ImagePositionPatient for d in datasets], dtype=float)
    order = np.argsort(positions @ np.cross(row, column), kind="stable")
    step, notes = _step(positions[order], np.cross(row, column), datasets[0], where)
    dy, dx = (float(v) for v in datasets[0].PixelSpacing)
    affine = _affine(row * dx, column * dy, step, positions[order[0]])
    array = np.stack([_rescaled(datasets[k]) for k in order])
    return Volume(array, affine), order, notes


def _step(positions: np.ndarray, normal: np.ndarray, dataset, where: str):
    """Mean slice step in mm (a vector), with notes; positions [slice, 3] in order."""
    if len(positions) == 1:
        return normal * float(dataset.get("SliceThickness") or 1.0), ()
    gaps = np.diff(positions @ normal)
    deviation = float(np.max(np.abs(gaps / np.median(gaps) - 1))) if np.median(gaps) > 0 else np.inf
    if gaps.min() <= 0 or deviation > GAP_ERROR:
        found = "slices at the same position" if gaps.min() <= 0 else f"a slice gap {deviation:.0%} off the median"
        expected = f"even gaps (within {GAP_ERROR:.0%}), one slice a position"
        raise ImageError(describe(where, found, expected, "look for missing slices or several time frames"))
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = np.linalg.norm((step - normal * (step @ normal)) * (len(positions) - 1))
    if sideways > TILT_MM:
        found = f"slices that shift sideways by {sideways:.1f} mm (gantry tilt)"
        raise ImageError(describe(where, found, "slices along their normal", "resample the series without tilt"))
    notes = (f"{where}: slice gaps differ by up to {deviation:.1%} from their median",) if deviation > GAP_NOTE else ()
    return normal * (step @ normal), notes


def _affine(along_x, along_y, along_z, origin) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :] = np.stack([along_x, along_y, along_z, origin], axis=1)
    return affine


def _rescaled(dataset) -> np.ndarray:
    slope, intercept = float(dataset.get("RescaleSlope", 1) or 1), float(dataset.get("RescaleIntercept", 0) or 0)
    return dataset.pixel_array.astype(np.float32) * np.float32(slope) + np.float32(intercept)


def _nm_volume(datasets: list, where: str):
    """Volume of one NM RECON TOMO object; frames may run feet to head or the other way (sign of the spacing)."""
    if len(datasets) != 1:
        raise ImageError(describe(where, f"{len(datasets)} NM objects", "one a series", "read them one by one"))
    nm = datasets[0]
    detector = (nm.get("DetectorInformationSequence") or [nm])[0]
    orientation = np.array(detector.ImageOrientationPatient, dtype=float)
    row, column = orientation[:3], orientation[3:]
    spacing = float(nm.get("SpacingBetweenSlices") or nm.get("SliceThickness") or 0)
    if spacing == 0:
        raise ImageError(describe(f"{where}, SpacingBetweenSlices", "nothing", "mm", "repair the header"))
    dy, dx = (float(v) for v in nm.PixelSpacing)
    affine = _affine(row * dx, column * dy, np.cross(row, column) * spacing, detector.ImagePositionPatient)
    array = np.atleast_3d(nm.pixel_array).astype(np.float32)
    return Volume(array, affine), np.array([0]), ()


def _to_Bq_per_mL(volume: Volume, dataset, where: str, calibration: float | None) -> Volume:
    """Voxels in Bq/mL by what the header states, else by the user's calibration of counts, else refused."""
    mapped = _mapped(volume, dataset)
    if mapped is not None:
        return mapped
    unit = str(dataset.get("Units") or "").upper()
    if unit == "BQML":
        return volume
    philips = dataset.get((0x7053, 0x1009))
    if unit == "CNTS" and philips is not None and float(philips.value) > 0:
        return volume.with_array(volume.array * float(philips.value))
    if unit in ("CNTS", "PROPCPS", "") and calibration is not None:
        return volume.with_array(volume.array * calibration)
    found = f'unit "{unit}"' if unit.isalpha() else "no unit and no value mapping"
    do = "give the scanner's calibration factor: read_folder(..., Bq_per_mL_per_count=...)"
    raise ImageError(describe(f"{where}, Units", found, "BQML, or a mapping to Bq/mL", do))


def _mapped(volume: Volume, dataset) -> Volume | None:
    """Voxels by a RealWorldValueMapping to Bq/ml (UCUM), or None where there is none; stored values before slopes."""
    for item in dataset.get("RealWorldValueMappingSequence") or ():
        units = item.get("MeasurementUnitsCodeSequence") or ()
        if any(str(code.get("CodeValue", "")).lower() == "bq/ml" for code in units):
            slope, intercept = float(item.RealWorldValueSlope), float(item.RealWorldValueIntercept)
            stored = volume.array if str(dataset.SOPClassUID) == NM_CLASS else None
            return None if stored is None else volume.with_array(stored * slope + intercept)
    return None
