"""Headers of written objects: SOP, patient, study, series and equipment, and the geometry of a stack of frames."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import numpy as np

from dose.errors import ImageError, describe
from imaging.dicom_write.identity import NOTICE, Exported
from imaging.dicom_write.values import date_and_time, decimal
from imaging.geometry import SAME_GRID_MM, Volume

MAKER, MODEL, SERIAL = "theratwin", "theratwin", "0"

LONGEST = 64
"""Characters of a long string (LO)."""

NEEDED_EMPTY = {
    "CT": {"KVP": None, "AcquisitionNumber": None},
    "PT": {
        "PatientOrientationCodeSequence": [],
        "PatientGantryRelationshipCodeSequence": [],
        "CollimatorType": "NONE",
        "ActualFrameDuration": None,
        "FrameReferenceTime": "0",
    },
    "NM": {
        "PatientOrientationCodeSequence": [],
        "PatientGantryRelationshipCodeSequence": [],
        "CountsAccumulated": None,
    },
    "RTDOSE": {"OperatorsName": ""},
    "RTSTRUCT": {"OperatorsName": ""},
}
"""What DICOM wants in an object of a modality even where nothing is known (type 2), or in its plainest value."""


def software_version() -> str:
    """Version of the installed distribution, or "unknown" in a bare checkout."""
    try:
        return version("theratwin")
    except PackageNotFoundError:
        return "unknown"


def new_object(exported: Exported, sop_class: str, modality: str, what: str, *identity):
    """An empty data set with everything but its content.

    `what` describes the series in a few words; `identity` (words, arrays) tells one object from others of its kind.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(exported.uid("object", sop_class, what, *identity))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID(sop_class), meta.MediaStorageSOPInstanceUID
    dataset.SeriesInstanceUID = exported.uid("series", sop_class, what, *identity)
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = modality, 1, 1
    put(dataset, NEEDED_EMPTY.get(modality, {}))
    if modality in ("CT", "PT", "NM"):
        dataset.PatientPosition = exported.patient_position
    return stamped(dataset, exported, what)


def stamped(dataset, exported: Exported, what: str):
    """The data set with what every object of the export says of patient, study, equipment and time."""
    dataset.update({element.tag: element for element in exported.shared})  # pyright: ignore[reportGeneralTypeIssues]
    dataset.SeriesDescription = f"{what[: LONGEST - len(NOTICE) - 2]}: {NOTICE}"
    dataset.Manufacturer, dataset.ManufacturerModelName = MAKER, MODEL
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = SERIAL, software_version()
    day, clock = date_and_time(exported.made_at)
    for moment in ("Series", "Content", "InstanceCreation"):
        setattr(dataset, f"{moment}Date", day)
        setattr(dataset, f"{moment}Time", clock)
    return _settled(dataset, exported)


def _settled(dataset, exported: Exported):
    """The data set with the random UIDs and clock times of highdicom replaced, so that the same study is the same."""
    for item in dataset.get("ContributingEquipmentSequence") or ():
        item.ContributionDateTime = exported.made_at.strftime("%Y%m%d%H%M%S")
    for name in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in dataset.get(name) or ():
            item.DimensionOrganizationUID = exported.uid("dimensions", dataset.SOPInstanceUID)
    return dataset


def upright(volume: Volume, what: str) -> Volume:
    """The same image with frames that follow each other along the normal of (row, column): DICOM has no other.

    Raises:
        ImageError: axes that are not at right angles.
    """
    if np.linalg.det(volume.affine[:3, :3]) < 0:
        affine = volume.affine.copy()
        affine[:3, 3] += affine[:3, 2] * (len(volume.array) - 1)
        affine[:3, 2] *= -1
        volume = Volume(volume.array[::-1], affine)
    row, column, normal = axes_of(volume)
    rebuilt = np.stack([row, column, normal], axis=1) * volume.spacing_mm
    reach = np.array(volume.array.shape[::-1]) - 1
    off_mm = float(np.abs((rebuilt - volume.affine[:3, :3]) @ np.diag(reach)).sum(axis=1).max())
    if off_mm > SAME_GRID_MM:
        found, do = f"a sheared grid ({off_mm:.2g} mm at its corners)", "resample it onto an orthogonal grid"
        raise ImageError(describe(f"{what}.affine", found, "axes at right angles", do))
    return volume


def axes_of(volume: Volume) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit vectors of rows (along x index), columns (along y index) and their normal."""
    row, column = (volume.affine[:3, k] / volume.spacing_mm[k] for k in (0, 1))
    return row, column, np.cross(row, column)


def plane_tags(volume: Volume, k: int = 0) -> dict:
    """Orientation, position of frame `k` and spacing."""
    row, column, _ = axes_of(volume)
    return {
        "ImageOrientationPatient": [decimal(v) for v in (*row, *column)],
        "ImagePositionPatient": [decimal(v) for v in volume.to_lps_mm([0, 0, k])],
        "PixelSpacing": [decimal(v) for v in volume.spacing_mm[1::-1]],
        "SliceThickness": decimal(volume.spacing_mm[2]),
    }


def put(dataset, tags: dict):
    """The data set with these attributes set."""
    for name, value in tags.items():
        setattr(dataset, name, value)
    return dataset


def put_pixels(dataset, stored: np.ndarray):
    """Grey pixels [row, column] or [frame, row, column] of an integer type, little endian."""
    bits = stored.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    if stored.ndim == 3:
        dataset.NumberOfFrames = len(stored)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    content = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    dataset.PixelData = content + b"\0" * (len(content) % 2)
    return dataset
