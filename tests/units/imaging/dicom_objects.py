"""Small DICOM objects of many makers' habits for the tests: slices of CT and PET, NM objects, RTSTRUCT."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "NM": "1.2.840.10008.5.1.4.1.1.20",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
}
INJECTED = datetime(2026, 3, 2, 11, 0)
BEGAN = datetime(2026, 3, 2, 12, 0)


def day_and_time(moment: datetime) -> tuple[str, str]:
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def blank(modality: str, **fields):
    """A data set without pixels, with the canary where patient text goes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = UID(CLASSES[modality]), generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    d.SOPClassUID, d.SOPInstanceUID = CLASSES[modality], meta.MediaStorageSOPInstanceUID
    d.Modality, d.PatientName, d.PatientID = modality, "ZZPHI^CANARY", "ZZPHI"
    d.StudyInstanceUID, d.SeriesInstanceUID, d.FrameOfReferenceUID = "1.2.3", f"1.2.3.{len(modality)}", "1.2.9"
    d.SeriesDescription, d.Manufacturer = "ZZPHI", "theratwin"
    return put(d, **fields)


def put(dataset, **fields):
    """Set fields; None deletes one."""
    for name, value in fields.items():
        if value is None:
            if name in dataset:
                delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    return dataset


def pixels(dataset, stored: np.ndarray):
    stored = np.asarray(stored)
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    return dataset


def injection(nuclide="F-18", *, started: datetime = INJECTED, total=2.0e8, half_life_s=6586.2, **fields) -> Dataset:
    item, code = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "X", "99TEST", nuclide
    item.RadionuclideCodeSequence = [code]
    item.RadiopharmaceuticalStartDateTime = started.strftime("%Y%m%d%H%M%S")
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = total, half_life_s
    return put(item, **fields)


FDG = {"modality": "PT", "Units": "BQML", "DecayCorrection": "START", "CorrectedImage": ["DECY", "ATTN"]}


def slices(stored, *, modality="PT", step_mm=4.0, sideways_mm=0.0, began=BEGAN, slopes=None, item=None, **fields):
    """One data set a slice of `stored` [z, y, x] int16, along z, each shifted by `sideways_mm` in y from the last."""
    made = []
    for k, plane in enumerate(np.asarray(stored)):
        d = pixels(blank(modality), plane)
        d.ImageOrientationPatient, d.PixelSpacing = [1, 0, 0, 0, 1, 0], [2.0, 2.0]
        d.ImagePositionPatient = [-10.0, -20.0 + k * sideways_mm, 100.0 + k * step_mm]
        d.RescaleSlope, d.RescaleIntercept = (1 if slopes is None else slopes[k]), 0
        d.SliceThickness = step_mm
        for prefix in ("Series", "Acquisition"):
            setattr(d, f"{prefix}Date", day_and_time(began)[0])
            setattr(d, f"{prefix}Time", day_and_time(began)[1])
        if modality == "PT":
            d.PatientWeight = 80
            d.ActualFrameDuration = 120_000
            d.RadiopharmaceuticalInformationSequence = [item or injection()]
        made.append(put(d, **fields))
    return made


def frames_in_time(stored, *, minutes=(0, 10), **fields) -> list:
    """The same positions at several times."""
    return [
        put(d, AcquisitionTime=day_and_time(BEGAN + timedelta(minutes=m))[1], SOPInstanceUID=generate_uid())
        for m in minutes
        for d in slices(stored * (1 + m), **fields)
    ]


def save(dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def save_all(datasets, folder: Path) -> Path:
    for k, dataset in enumerate(datasets):
        save(dataset, folder / f"{k:04d}.dcm")
    return folder


def tomo(
    counts,
    *,
    angles=(0, 180),
    step=6.0,
    direction="CC",
    radii: float | list[float] = 220.0,
    windows=((187.2, 228.8),),
    **fields,
):
    """NM TOMO of `counts` [window, head, view, row, column] uint16, frames window by window, head by head."""
    counts = np.asarray(counts, dtype="<u2")
    w, h, n = counts.shape[:3]
    d = pixels(
        blank("NM", ImageType=["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"]), counts.reshape(-1, *counts.shape[3:])
    )
    index = np.indices((w, h, n)).reshape(3, -1) + 1
    d.EnergyWindowVector, d.DetectorVector, d.AngularViewVector = (v.tolist() for v in index)
    d.RotationVector = [1] * index.shape[1]
    d.PixelSpacing, d.PatientPosition = [4.8, 4.8], "HFS"
    d.EnergyWindowInformationSequence = [_window(*bounds) for bounds in windows]
    rotation = Dataset()
    rotation.AngularStep, rotation.RotationDirection, rotation.ScanArc = step, direction, step * n
    rotation.NumberOfFramesInRotation, rotation.ActualFrameDuration = n, 20_000
    rotation.StartAngle, rotation.TableHeight, rotation.TableTraverse = angles[0], 30.0, 0.0
    d.RotationInformationSequence = [rotation]
    d.DetectorInformationSequence = [_detector(a, radii if np.isscalar(radii) else list(radii)) for a in angles]
    d.RadiopharmaceuticalInformationSequence = [injection("Lu-177", total=7400.0, half_life_s=574_300)]
    d.AcquisitionDate, d.AcquisitionTime = day_and_time(BEGAN)
    return put(d, **fields)


def _window(low: float, high: float) -> Dataset:
    item, bounds = Dataset(), Dataset()
    bounds.EnergyWindowLowerLimit, bounds.EnergyWindowUpperLimit = low, high
    item.EnergyWindowRangeSequence = [bounds]
    return item


def _detector(angle: float, radius) -> Dataset:
    item = Dataset()
    item.StartAngle, item.RadialPosition, item.CollimatorType = angle, radius, "PARA"
    item.ImagePositionPatient, item.ImageOrientationPatient = [12.0, 0.0, 300.0], [1, 0, 0, 0, 0, -1]
    return item
