"""A reconstructed emission image: as NM RECON TOMO (its own class) and as PET Image slices (what most viewers open).

The NM object keeps its scale to Bq/mL in a RealWorldValueMapping, as NM has no rescale slope. ITK and GDCM ignore that
mapping and show stored values; `imaging.read_folder` applies it. 16 bits: 8e-6 of the maximum in the NM object, 1.6e-5
of each slice's maximum in the PET copy.
"""

from __future__ import annotations

import numpy as np

from dose.errors import InputError, describe
from imaging.dicom_write.codes import quantity
from imaging.dicom_write.emission import decay_factor, emission_tags, later_s
from imaging.dicom_write.files import checked_target, save
from imaging.dicom_write.header import axes_of, new_object, put, put_pixels, upright
from imaging.dicom_write.identity import Exported
from imaging.dicom_write.slices import write_slices
from imaging.dicom_write.values import code_item, decimal
from imaging.geometry import Volume
from imaging.series import ImageSeries

NM_CLASS = "1.2.840.10008.5.1.4.1.1.20"
FULL_SCALE = 65_000
MIDDLE_TOLERANCE_S = 1.0
"""Slices whose middles differ by more than this (several beds) cannot be told in one object."""


def write_recon(path, series: ImageSeries, exported: Exported, *, overwrite: bool = False):
    """Write one NM RECON TOMO object of an image in Bq/mL and return its data set.

    Raises:
        InputError: another unit, slices scanned at different times, a file that is there.
        ImageError: a sheared grid.
    """
    checked_target(path, overwrite=overwrite)
    volume = upright(_checked(series).volume, "series.volume")
    what = f"{series.modality} recon"
    dataset = new_object(exported, NM_CLASS, "NM", what, volume.affine, volume.array)
    put(dataset, emission_tags(series, is_nm=True))
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    put(dataset, _stack_tags(volume))
    stored, mapping = _mapped(volume)
    put_pixels(dataset, stored)
    dataset.RealWorldValueMappingSequence = [mapping]
    save(dataset, path, overwrite=overwrite)
    return dataset


def write_pet_copy(folder, series: ImageSeries, exported: Exported, *, overwrite: bool = False) -> list:
    """Write the same image as PET Image Storage slices, each with its own slope; returns the data sets.

    Raises:
        InputError: another unit, slices scanned at different times, a file that is there.
        ImageError: a sheared grid.
    """
    tags = emission_tags(_checked(series), is_nm=False)
    tags |= {"SeriesType": ["STATIC", "IMAGE"], "DecayFactor": decimal(decay_factor(series))}
    if series.slice_mid_s is not None:
        tags["FrameReferenceTime"] = decimal((float(series.slice_mid_s.max()) + later_s(series)) * 1000)
    what = f"{series.modality} recon"
    return write_slices(folder, series.volume, exported, what, tags, is_ct=False, overwrite=overwrite)


def _checked(series: ImageSeries) -> ImageSeries:
    if series.unit != "Bq/mL":
        do = "calibrate the image first"
        raise InputError(describe("series.unit", f'"{series.unit}"', "Bq/mL", do))
    if series.slice_mid_s is not None and np.ptp(series.slice_mid_s) > MIDDLE_TOLERANCE_S:
        found, do = "slices scanned at different times", "bring them to one time first"
        raise InputError(describe("series.slice_mid_s", found, "one time for all slices", do))
    return series


def _stack_tags(volume: Volume) -> dict:
    """Geometry of an NM stack: position and orientation sit with the detector (PS3.3 C.8.4.15)."""
    from pydicom.dataset import Dataset

    row, column, _ = axes_of(volume)
    detector = Dataset()
    detector.CollimatorType, detector.FocalDistance = None, None
    detector.ImageOrientationPatient = [decimal(v) for v in (*row, *column)]
    detector.ImagePositionPatient = [decimal(v) for v in volume.to_lps_mm([0, 0, 0])]
    frames = len(volume.array)
    return {
        "DetectorInformationSequence": [detector],
        "NumberOfDetectors": 1,
        "PixelSpacing": [decimal(v) for v in volume.spacing_mm[1::-1]],
        "SliceThickness": decimal(volume.spacing_mm[2]),
        "SpacingBetweenSlices": decimal(volume.spacing_mm[2]),
        "SliceVector": list(range(1, frames + 1)),
        "NumberOfSlices": frames,
        "FrameIncrementPointer": 0x00540080,
        "EnergyWindowInformationSequence": [],
        "NumberOfEnergyWindows": 1,
    }


def _mapped(volume: Volume):
    """Stored values [frame, row, column] of 16 bits and the mapping item that leads back to Bq/mL."""
    from pydicom.dataset import Dataset

    low, high = min(0.0, float(volume.array.min())), float(volume.array.max())
    slope = (high - low) / FULL_SCALE if high > low else 1.0
    stored = np.rint((volume.array.astype(float) - low) / slope).astype(np.uint16)
    unit, item = quantity("activity_concentration"), Dataset()
    item.MeasurementUnitsCodeSequence = [code_item(*unit.unit)]
    item.LUTLabel, item.LUTExplanation = "BQML", "Activity concentration"
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, low
    item.RealWorldValueFirstValueMapped, item.RealWorldValueLastValueMapped = 0, int(stored.max())
    return stored, item
