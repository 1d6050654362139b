"""Units and scales: per-slice slopes, value mappings, Philips' private factors, SUV taken back, contradictions."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dose.errors import ImageError
from imaging.activity_images import activity_image
from imaging.dicom_read import read_folder
from tests.units.imaging.dicom_objects import FDG, blank, injection, pixels, put, save, save_all, slices

STORED = np.arange(3 * 4 * 5, dtype="<i2").reshape(3, 4, 5)


def series(folder, **fields):
    save_all(slices(STORED, **FDG | fields), folder)
    return read_folder(folder).images[0]


def private(datasets, group: int, element: int, values, creator="Philips PET Private Group"):
    for dataset, value in zip(datasets, values, strict=True):
        block = dataset.private_block(group, creator, create=True)
        block.add_new(element, "DS", str(value))
    return datasets


def mapping(slope=None, code="Bq/ml", table=None, intercept=0.0) -> Dataset:
    item, unit = Dataset(), Dataset()
    unit.CodeValue, unit.CodingSchemeDesignator, unit.CodeMeaning = code, "UCUM", code
    item.MeasurementUnitsCodeSequence = [unit]
    put(item, RealWorldValueSlope=slope, RealWorldValueIntercept=intercept, RealWorldValueLUTData=table)
    return item


def test_each_slice_has_its_own_slope(tmp_path):
    read = series(tmp_path, slopes=(1.0, 2.0, 4.0))
    assert np.array_equal(read.volume.array, STORED * np.array([1, 2, 4.0])[:, None, None])


def test_a_slope_of_zero_is_refused(tmp_path):
    with pytest.raises(ImageError, match="RescaleSlope"):
        series(tmp_path, slopes=(1.0, 0.0, 4.0))


def test_philips_counts_are_scaled_by_the_factor_to_activity_after_the_slope(tmp_path):
    made = slices(STORED, **FDG | {"Units": "CNTS", "slopes": (1.0, 2.0, 4.0)})
    save_all(private(made, 0x7053, 0x09, (10, 10, 20)), tmp_path)
    (read,) = read_folder(tmp_path).images
    assert read.unit == "Bq/mL"
    assert np.allclose(read.volume.array, STORED * np.array([10, 20, 80.0])[:, None, None])


def test_philips_counts_with_the_suv_factor_alone_go_back_to_activity(tmp_path):
    made = slices(STORED, **FDG | {"Units": "CNTS"})
    save_all(private(made, 0x7053, 0x00, (0.5, 0.5, 0.5)), tmp_path)
    (read,) = read_folder(tmp_path).images
    expected = STORED * 0.5 * 2e8 * 2 ** (-3600 / 6586.2) / 80_000  # injected an hour before, 80 kg
    assert read.unit == "Bq/mL"
    assert np.allclose(read.volume.array, expected, rtol=1e-6)


def test_philips_activity_beside_a_factor_from_counts_is_a_contradiction_that_the_user_can_settle(tmp_path):
    save_all(private(slices(STORED, **FDG), 0x7053, 0x09, (10, 10, 10)), tmp_path)
    with pytest.raises(ImageError, match=r"Units BQML and a private factor \(7053,1009\)"):
        read_folder(tmp_path)
    assert np.array_equal(read_folder(tmp_path, Bq_per_mL_per_count=1).images[0].volume.array, STORED)


@pytest.mark.parametrize("unit", ["CNTS", "PROPCNTS", "PROPCPS", "CPS"])
def test_counts_ask_for_a_calibration_factor(tmp_path, unit):
    save_all(slices(STORED, **FDG | {"Units": unit}), tmp_path)
    with pytest.raises(ImageError, match=f'unit "{unit}".*calibration factor'):
        read_folder(tmp_path)
    assert np.array_equal(read_folder(tmp_path, Bq_per_mL_per_count=3.0).images[0].volume.array, 3 * STORED)


def test_a_unit_that_is_no_unit_is_refused_without_being_quoted(tmp_path):
    with pytest.raises(ImageError, match="no known unit") as error:
        series(tmp_path, Units="ZZPHI")
    assert "ZZPHI" not in str(error.value)


def test_suv_goes_back_to_activity_by_weight_activity_and_delay(tmp_path):
    read = series(tmp_path, Units="GML")
    assert read.unit == "Bq/mL"
    assert np.allclose(read.volume.array, STORED * 2e8 * 2 ** (-3600 / 6586.2) / 80_000, rtol=1e-6)


@pytest.mark.parametrize("missing", [{"PatientWeight": None}, {"DecayCorrection": "NONE", "CorrectedImage": ["ATTN"]}])
def test_suv_without_weight_or_reference_stays_suv_and_is_refused_as_activity(tmp_path, missing):
    read = series(tmp_path, Units="GML", **missing)
    assert read.unit == "g/mL"
    assert np.array_equal(read.volume.array, STORED)
    with pytest.raises(ImageError, match='unit "g/mL"'):
        activity_image(read)


def test_suv_by_lean_mass_is_refused(tmp_path):
    with pytest.raises(ImageError, match="SUV of type LBM"):
        series(tmp_path, Units="GML", SUVType="LBM")


def nm(path, stored=STORED, **fields):
    d = pixels(blank("NM", ImageType=["ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"]), stored.astype("<u2"))
    detector = Dataset()
    detector.ImageOrientationPatient, detector.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 0]
    d.DetectorInformationSequence, d.PixelSpacing, d.SliceThickness = [detector], [2, 2], 4
    d.AcquisitionDate, d.AcquisitionTime = "20260302", "120000"
    save(put(d, **fields), path / "nm.dcm")
    return read_folder(path).images[0]


@pytest.mark.parametrize(("code", "factor"), [("Bq/ml", 1.0), ("kBq/ml", 1e3), ("Bq/mL", 1.0), ("MBq/ml", 1e6)])
def test_a_value_mapping_acts_on_stored_values_and_a_slope_beside_it_is_not_applied_twice(tmp_path, code, factor):
    read = nm(tmp_path, RealWorldValueMappingSequence=[mapping(3.0, code, intercept=2.0)], RescaleSlope=100)
    assert np.allclose(read.volume.array, (STORED * 3.0 + 2) * factor)


def test_an_nm_slope_without_a_mapping_is_applied_once(tmp_path):
    read = nm(tmp_path, RescaleSlope=100, Units="BQML")
    assert np.array_equal(read.volume.array, STORED * 100)


def test_a_mapping_by_table_and_two_mappings_are_refused(tmp_path):
    with pytest.raises(ImageError, match="value mapping by table"):
        nm(tmp_path, RealWorldValueMappingSequence=[mapping(table=[1.0, 2.0])])
    with pytest.raises(ImageError, match="2 different mappings"):
        nm(tmp_path, RealWorldValueMappingSequence=[mapping(1.0), mapping(2.0)])


def test_a_single_nm_frame_is_one_slice(tmp_path):
    d = nm(tmp_path, stored=STORED[0], RealWorldValueMappingSequence=[mapping(1.0)])
    assert np.array_equal(d.volume.array, STORED[:1])


def test_nm_frames_go_by_their_slice_vector(tmp_path):
    d = nm(tmp_path, SliceVector=[3, 1, 2], RealWorldValueMappingSequence=[mapping(1.0)])
    assert np.array_equal(d.volume.array, STORED[[1, 2, 0]])


def test_nm_activity_is_in_megabecquerels_by_the_standard_and_in_becquerels_by_habit(tmp_path):
    for k, total in enumerate((7400.0, 7.4e9)):
        item = injection("Lu-177", total=total, half_life_s=574_300)
        read = nm(tmp_path / str(k), RadiopharmaceuticalInformationSequence=[item], Units="BQML")
        assert read.radiopharmaceutical.administered_MBq == pytest.approx(7400, rel=1e-6)


@pytest.mark.parametrize(("nuclide", "half_life_s", "total"), [("F-18", 6586.2, 7.4e9), ("Ac-225", 864_000, 7.4e9)])
def test_the_plausible_window_is_that_of_the_nuclide(tmp_path, nuclide, half_life_s, total):
    item = injection(nuclide, total=total, half_life_s=half_life_s)
    with pytest.raises(ImageError, match=f"RadionuclideTotalDose.*{item.RadionuclideCodeSequence[0].CodeMeaning[-2:]}"):
        series(tmp_path, item=item)


def test_megabecquerels_where_becquerels_belong_are_named(tmp_path):
    with pytest.raises(ImageError, match="MBq written where Bq belongs"):
        series(tmp_path, item=injection(total=388.0))


def test_a_field_with_more_activity_than_was_given_is_told(tmp_path):
    save_all(slices(STORED, **FDG | {"slopes": (1e9,) * 3}), tmp_path)
    assert any("of the administered activity" in note for note in read_folder(tmp_path).warnings)
