"""Small intact DICOM files to be damaged: objects of each kind that is read, and pydicom's own test files.

Every text tag of theirs holds the canary, so a value that gets into a message is seen.
"""

from __future__ import annotations

import copy
import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np

from imaging.dicom_read import CT, NM, PET, RTSTRUCT
from imaging.guard import quiet

CANARY = "ZZPHI^CANARY"
TEXT_VRS = ("PN", "LO", "SH", "LT", "ST", "UT", "UC")
KEPT = ("CodeValue", "CodingSchemeDesignator")
"""Codes stay, or no nuclide and no unit would be known and nothing behind them be tried."""

ADDED = (
    "PatientName", "PatientID", "OtherPatientNames", "PatientComments", "PatientAddress", "InstitutionName",
    "InstitutionAddress", "ReferringPhysicianName", "OperatorsName", "AccessionNumber", "StudyDescription",
    "SeriesDescription", "StudyID", "ImageComments", "StationName", "Manufacturer", "ManufacturerModelName",
    "DeviceSerialNumber", "ProtocolName",
)  # fmt: skip
LARGEST_SEED_BYTES = 12_000
"""Mutants are many: small files reach as much of the reader as large ones."""


def stamped(dataset):
    """A copy with the canary in every text tag, nested and private ones included (highdicom shares its code items)."""
    dataset = copy.deepcopy(dataset)

    def stamp(_, element):
        if element.VR in TEXT_VRS and element.keyword not in KEPT:
            element.value = CANARY

    dataset.walk(stamp)
    for keyword in ADDED:
        setattr(dataset, keyword, CANARY)
    dataset.private_block(0x0011, CANARY, create=True).add_new(0x01, "LO", CANARY)
    dataset.private_block(0x0011, CANARY).add_new(0x02, "UN", CANARY.encode())
    return dataset


def as_bytes(dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def blank(sop_class: str, series: str, number: int = 0):
    """A data set with its file meta, without pixels."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(sop_class)
    meta.MediaStorageSOPInstanceUID = UID(f"1.2.826.0.1.{series}.{number + 1}")
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    d.SOPClassUID, d.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
    d.StudyInstanceUID, d.SeriesInstanceUID = "1.2.826.0.1", f"1.2.826.0.1.{series}"
    d.FrameOfReferenceUID = "1.2.826.0.2"
    d.SeriesDate = d.AcquisitionDate = d.StudyDate = "20260302"
    d.SeriesTime = d.AcquisitionTime = d.StudyTime = "120000"
    d.PatientSex, d.PatientWeight, d.PatientSize, d.PatientBirthDate = "F", "70", "1.7", "19700101"
    d.StudyID = d.AccessionNumber = d.PatientID = d.PatientName = d.ReferringPhysicianName = CANARY
    return d


def with_pixels(d, array: np.ndarray):
    d.Rows, d.Columns = array.shape[-2:]
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
    d.PixelSpacing = [3, 2]
    d.PixelData = array.astype("<u2").tobytes()
    return d


def sequence(**values):
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return [item]


def injection():
    code = sequence(CodeValue="C-111A1", CodingSchemeDesignator="SRT", CodeMeaning="^18^Fluorine")
    return sequence(
        RadionuclideCodeSequence=code,
        RadiopharmaceuticalStartDateTime="20260302110000",
        RadionuclideTotalDose="300000000",
        RadionuclideHalfLife="6586.2",
        Radiopharmaceutical="FDG",
    )


def slices(sop_class: str, series: str, count: int = 3) -> list:
    datasets = []
    for k in range(count):
        d = blank(sop_class, series, k)
        d.ImagePositionPatient, d.ImageOrientationPatient = [0, 0, 4 * k], [1, 0, 0, 0, 1, 0]
        d.RescaleSlope, d.RescaleIntercept, d.ImageType = 1.5, 0, ["ORIGINAL", "PRIMARY", "AXIAL"]
        d.PositionReferenceIndicator = ""
        d.Modality, d.SliceThickness, d.InstanceNumber = "CT" if sop_class == CT else "PT", 4, k + 1
        if sop_class == PET:
            d.Units, d.DecayCorrection, d.CorrectedImage, d.DecayFactor = "BQML", "START", ["DECY", "ATTN"], "1"
            d.ActualFrameDuration, d.FrameReferenceTime = 600_000, "300000"
            d.RadiopharmaceuticalInformationSequence = injection()
        datasets.append(with_pixels(d, np.arange(20).reshape(4, 5) + k))
    return datasets


def recon() -> list:
    d = blank(NM, "3")
    d.Modality, d.ImageType, d.NumberOfFrames = "NM", ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"], 3
    d.SpacingBetweenSlices = 4
    place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [10, 20, 30]}
    d.DetectorInformationSequence = sequence(**place)
    d.RadiopharmaceuticalInformationSequence = injection()
    unit = sequence(CodeValue="Bq/ml", CodingSchemeDesignator="UCUM", CodeMeaning="Bq/ml")
    d.RealWorldValueMappingSequence = sequence(
        MeasurementUnitsCodeSequence=unit, RealWorldValueSlope=2.0, RealWorldValueIntercept=0.0,
        RealWorldValueFirstValueMapped=0, RealWorldValueLastValueMapped=60,
    )  # fmt: skip
    return [with_pixels(d, np.arange(60).reshape(3, 4, 5))]


def tomographic() -> list:
    d = blank(NM, "4")
    d.Modality, d.ImageType, d.NumberOfFrames = "NM", ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"], 4
    d.NumberOfEnergyWindows = d.NumberOfDetectors = d.NumberOfRotations = 1
    limits = sequence(EnergyWindowLowerLimit=187.2, EnergyWindowUpperLimit=228.8)
    d.EnergyWindowInformationSequence = sequence(EnergyWindowRangeSequence=limits, EnergyWindowName="peak")
    d.DetectorInformationSequence = sequence(
        StartAngle=0, RadialPosition=[250] * 4, ImagePositionPatient=[0, 0, 0], CollimatorType="PARA"
    )
    d.RotationInformationSequence = sequence(
        NumberOfFramesInRotation=4, AngularStep=90, RotationDirection="CW", StartAngle=0, TableHeight=0,
        ScanArc=360, ActualFrameDuration=10_000, RadialPosition=[250] * 4,
    )  # fmt: skip
    d.EnergyWindowVector = d.DetectorVector = d.RotationVector = [1] * 4
    d.AngularViewVector = [1, 2, 3, 4]
    d.RadiopharmaceuticalInformationSequence = injection()
    with_pixels(d, np.arange(80).reshape(4, 4, 5)).PixelSpacing = [3, 3]
    return [d]


def structures() -> list:
    d = blank(RTSTRUCT, "5")
    d.Modality, d.StructureSetLabel = "RTSTRUCT", "L"
    d.StructureSetROISequence = sequence(ROINumber=1, ROIName="liver", ReferencedFrameOfReferenceUID="1.2.826.0.2")
    ring = sequence(
        ContourGeometricType="CLOSED_PLANAR",
        NumberOfContourPoints=4,
        ContourData=["0", "0", "4", "6", "0", "4", "6", "6", "4", "0", "6", "4"],
    )
    d.ROIContourSequence = sequence(ReferencedROINumber=1, ContourSequence=ring)
    d.ReferencedFrameOfReferenceSequence = sequence(FrameOfReferenceUID="1.2.826.0.2")
    return [d]


def segmentation(sources: list) -> list:
    import highdicom as hd
    from highdicom.sr.coding import CodedConcept

    how = hd.AlgorithmIdentificationSequence("seed", CodedConcept("123109", "DCM", "Manual"), "1")
    organ = CodedConcept("91723000", "SCT", "Anatomical structure")
    described = [
        hd.seg.SegmentDescription(k + 1, name, organ, organ, hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC, how)
        for k, name in enumerate(("liver", "spleen"))
    ]
    masks = np.stack([np.ones((3, 4, 5)), np.arange(60).reshape(3, 4, 5) % 7 == 0], axis=-1).astype(np.uint8)
    words = {"manufacturer": "seed", "manufacturer_model_name": "seed", "software_versions": "1"}
    seg = hd.seg.Segmentation(
        sources, masks, hd.seg.SegmentationTypeValues.BINARY, described, "1.2.826.0.1.6", 6, "1.2.826.0.1.6.1", 1,
        device_serial_number="0", **words,
    )  # fmt: skip
    return [seg]


@cache
def seeds() -> tuple[tuple[bytes, ...], ...]:
    """Groups of files; a group is one study as it would lie in a folder."""
    with warnings.catch_warnings(), quiet():
        warnings.simplefilter("ignore")
        ct = [stamped(d) for d in slices(CT, "1")]
        groups = [ct, slices(PET, "2"), recon(), tomographic(), structures(), segmentation(ct)]
        ours = [tuple(as_bytes(stamped(d)) for d in group) for group in groups]
        return (*ours, *((content,) for content in _of_pydicom()))


def _of_pydicom() -> list[bytes]:
    import pydicom
    from pydicom.data import get_testdata_files

    found = []
    for name in sorted(get_testdata_files()):
        path = Path(name)
        if not path.is_file() or path.stat().st_size > LARGEST_SEED_BYTES or "TINY_ALPHA" in name:
            continue
        content = path.read_bytes()
        try:
            found.append(as_bytes(stamped(pydicom.dcmread(path))))
        except Exception:
            found.append(content)
    return found
