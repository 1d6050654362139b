"""NM objects: read by their mapping to Bq/mL, refused without one."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from dose.errors import ImageError
from imaging.dicom_read import NM, read_folder

COUNTS = np.arange(4 * 3 * 5, dtype="<u2").reshape(4, 3, 5)


def nm_object(path, *, spacing: float, slope: float | None) -> None:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = NM, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    d = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    d.SOPClassUID, d.SOPInstanceUID = NM, meta.MediaStorageSOPInstanceUID
    d.SeriesInstanceUID, d.FrameOfReferenceUID, d.Modality = generate_uid(), generate_uid(), "NM"
    d.ImageType = ["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]
    d.SeriesDate, d.SeriesTime = "20260302", "120000"
    d.Rows, d.Columns, d.NumberOfFrames = 3, 5, 4
    d.SamplesPerPixel, d.PhotometricInterpretation = 1, "MONOCHROME2"
    d.BitsAllocated, d.BitsStored, d.HighBit, d.PixelRepresentation = 16, 16, 15, 0
    d.PixelSpacing, d.SpacingBetweenSlices = [2, 3], spacing
    detector = Dataset()
    detector.ImageOrientationPatient, detector.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [10, 20, 30]
    d.DetectorInformationSequence = [detector]
    if slope is not None:
        unit, mapping = Dataset(), Dataset()
        unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = "Bq/ml", "UCUM", "Bq/ml"
        mapping.MeasurementUnitsCodeSequence = [unit]
        mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept = slope, 5.0
        d.RealWorldValueMappingSequence = [mapping]
    d.PixelData = COUNTS.tobytes()
    d.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize("spacing", [4.0, -4.0])
def test_nm_is_read_by_its_value_mapping_with_the_sign_of_its_spacing(tmp_path, spacing):
    nm_object(tmp_path / "nm.dcm", spacing=spacing, slope=20.0)
    (series,) = read_folder(tmp_path).of("SPECT")
    assert np.array_equal(series.volume.array, COUNTS * 20.0 + 5)
    assert series.volume.to_lps_mm([1, 1, 1]) == pytest.approx([13, 22, 30 + spacing])


def test_nm_without_a_mapping_asks_for_a_calibration_factor(tmp_path):
    nm_object(tmp_path / "nm.dcm", spacing=4.0, slope=None)
    with pytest.raises(ImageError, match="calibration factor"):
        read_folder(tmp_path)
    assert read_folder(tmp_path, Bq_per_mL_per_count=3.0).images[0].volume.array.max() == 3 * COUNTS.max()
