"""DICOM objects of the virtual scanner: CT and PET Image Storage slices, and a binary SEG.

SPECT is written as PET Image Storage with an xSPECT-like header, the form in which quantitative SPECT often travels.
Every object says that it is virtual. UIDs come from the study's seed, so the same study is the same bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from imaging.geometry import Volume
from imaging.stack import CT_CLASS

PET_CLASS = "1.2.840.10008.5.1.4.1.1.128"
FULL_SCALE = 32_000
"""Largest stored value; each slice has its own slope."""


@dataclass(frozen=True)
class StudyLabels:
    """What all objects of one virtual study share."""

    seed: int
    weight_kg: float
    height_m: float
    sex: str
    began_at: datetime

    def uid(self, *words) -> str:
        from pydicom.uid import generate_uid

        return str(
            generate_uid(entropy_srcs=["theratwin", str(self.seed), self.began_at.isoformat(), *map(str, words)])
        )


def write_slices(folder: Path, volume: Volume, study: StudyLabels, series: str, tags: dict, *, is_ct: bool) -> list:
    """Write one file a slice and return the data sets, in order of position."""
    folder.mkdir(parents=True, exist_ok=True)
    datasets = [_slice(volume, k, study, series, tags, is_ct=is_ct) for k in range(len(volume.array))]
    for k, dataset in enumerate(datasets):
        dataset.save_as(folder / f"{k:04d}.dcm", enforce_file_format=True)
    return datasets


def _slice(volume: Volume, k: int, study: StudyLabels, series: str, tags: dict, *, is_ct: bool):
    dataset = _header(study, series, k, CT_CLASS if is_ct else PET_CLASS)
    dataset.ImagePositionPatient = [_decimal(v) for v in volume.to_lps_mm([0, 0, k])]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [_decimal(v) for v in volume.spacing_mm[1::-1]]
    dataset.SliceThickness = _decimal(volume.spacing_mm[2])
    for name, value in tags.items():
        setattr(dataset, name, value)
    _pixels(dataset, volume.array[k], slope=1.0 if is_ct else None)
    return dataset


def _header(study: StudyLabels, series: str, k: int, sop_class: str):
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(study.uid(series, k))
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    dataset.PatientName, dataset.PatientID = "VIRTUAL^PATIENT", f"VIRTUAL-{study.seed}"
    dataset.PatientBirthDate, dataset.PatientSex = "", {"male": "M", "female": "F"}.get(study.sex, "O")
    dataset.PatientWeight, dataset.PatientSize = _decimal(study.weight_kg), _decimal(study.height_m)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study.uid("study"), study.uid(series)
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = study.uid("frame"), ""
    dataset.StudyDate, dataset.StudyTime = date_and_time(study.began_at)
    dataset.AccessionNumber, dataset.ReferringPhysicianName, dataset.StudyID = "", "", "VIRTUAL"
    dataset.SeriesDescription, dataset.SeriesNumber, dataset.InstanceNumber = series, 1, k + 1
    dataset.Manufacturer, dataset.ManufacturerModelName = "theratwin", "virtual scanner"
    dataset.ImageType = ["DERIVED", "PRIMARY"]
    dataset.PatientPosition = "HFS"
    return dataset


def _pixels(dataset, values: np.ndarray, slope: float | None) -> None:
    peak = float(np.abs(values).max())
    slope = slope or (peak / FULL_SCALE if peak > 0 else 1.0)
    dataset.Rows, dataset.Columns = values.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.RescaleSlope, dataset.RescaleIntercept = _decimal(slope), 0
    dataset.PixelData = np.round(values / float(_decimal(slope))).astype("<i2").tobytes()


def _decimal(value: float) -> str:
    """A decimal string of at most 16 characters, as DICOM's DS wants."""
    return f"{float(value):.9g}"


def date_and_time(moment: datetime) -> tuple[str, str]:
    """DA and TM."""
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def write_segmentation(path: Path, sources: list, masks: dict[str, np.ndarray], study: StudyLabels) -> None:
    """Binary SEG with region names as labels; `masks` are boolean [z, y, x] in the order of the source slices."""
    import highdicom as hd
    from highdicom.sr.coding import CodedConcept

    algorithm = hd.AlgorithmIdentificationSequence("theratwin phantom", CodedConcept("123109", "DCM", "Manual"), "1")
    organ, tissue = CodedConcept("91723000", "SCT", "Anatomical structure"), CodedConcept("85756007", "SCT", "Tissue")
    described = [
        hd.seg.SegmentDescription(
            segment_number=k + 1,
            segment_label=name,
            segmented_property_category=organ,
            segmented_property_type=tissue,
            algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=algorithm,
        )
        for k, name in enumerate(masks)
    ]
    seg = hd.seg.Segmentation(
        source_images=sources,
        pixel_array=np.stack(list(masks.values()), axis=-1).astype(np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=described,
        series_instance_uid=study.uid("seg series"),
        series_number=9,
        sop_instance_uid=study.uid("seg"),
        instance_number=1,
        manufacturer="theratwin",
        manufacturer_model_name="virtual scanner",
        software_versions="1",
        device_serial_number="0",
        content_label="RESEARCH",
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    seg.save_as(path)
