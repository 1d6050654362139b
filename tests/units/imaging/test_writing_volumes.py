"""Doses, maps and images written as DICOM are the same values at the same places in readers that are not ours."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from dose.errors import ImageError, InputError
from imaging.decay import hours_after
from imaging.dicom_read import read_folder
from imaging.dicom_write import write_parametric_map, write_pet_copy, write_recon, write_rtdose, write_slices
from imaging.geometry import Volume
from imaging.series import ImageSeries, Radiopharmaceutical
from tests.written import AFFINES, BEGAN, corners_mm, image, same_image, straight_affine, virtual_study

GEOMETRY_MM = 1e-3
"""The issue's figure; decimal strings of ten digits give 1e-7 mm at 1 m."""


@pytest.fixture(params=AFFINES)
def truth(request) -> Volume:
    return image(AFFINES[request.param])


def scaled(dataset) -> np.ndarray:
    return dataset.pixel_array * float(dataset.DoseGridScaling)


def test_rtdose_is_the_same_dose_in_simpleitk(truth, tmp_path):
    import SimpleITK as sitk

    write_rtdose(tmp_path / "dose.dcm", truth, virtual_study(tmp_path / "ct", truth))
    stored = sitk.ReadImage(str(tmp_path / "dose.dcm"), sitk.sitkFloat64)  # SimpleITK leaves the scaling to the caller
    found = Volume.from_sitk(stored * float(stored.GetMetaData("3004|000e")))
    assert np.abs(corners_mm(found) - corners_mm(truth)).max() < GEOMETRY_MM
    assert same_image(found, truth, rtol=1e-6)


def test_rtdose_is_the_same_dose_in_pydicom_to_a_millionth_of_its_maximum(truth, tmp_path):
    write_rtdose(tmp_path / "dose.dcm", truth, virtual_study(tmp_path / "ct", truth), summation="FRACTION")
    d = pydicom.dcmread(tmp_path / "dose.dcm")
    frames = scaled(d) if np.linalg.det(truth.affine) > 0 else scaled(d)[::-1]
    assert np.abs(frames - truth.array).max() <= 1e-6 * truth.array.max()
    assert (d.DoseUnits, d.DoseType, d.DoseSummationType) == ("GY", "PHYSICAL", "FRACTION")
    assert len(d.GridFrameOffsetVector) == d.NumberOfFrames == len(truth.array)
    assert np.diff(d.GridFrameOffsetVector) == pytest.approx(truth.spacing_mm[2])
    assert d.FrameIncrementPointer == 0x3004000C
    assert "not a medical device" in d.DoseComment


def test_a_dose_of_zero_everywhere_is_written(tmp_path):
    nothing = image(straight_affine()).with_array(np.zeros((3, 4, 5)))
    write_rtdose(tmp_path / "dose.dcm", nothing, virtual_study(tmp_path / "ct", nothing))
    assert not scaled(pydicom.dcmread(tmp_path / "dose.dcm")).any()


def test_negative_dose_and_unknown_words_are_refused(tmp_path):
    dose = image(straight_affine())
    exported = virtual_study(tmp_path / "ct", dose)
    with pytest.raises(ImageError, match="negative dose"):
        write_rtdose(tmp_path / "a.dcm", dose.with_array(-dose.array), exported)
    with pytest.raises(ImageError, match="not finite"):
        write_rtdose(tmp_path / "a.dcm", dose.with_array(dose.array * np.nan), exported)
    with pytest.raises(InputError, match="summation"):
        write_rtdose(tmp_path / "a.dcm", dose, exported, summation="BEAM")
    assert not (tmp_path / "a.dcm").exists()


def test_a_sheared_grid_is_refused(tmp_path):
    dose = image(straight_affine())
    exported = virtual_study(tmp_path / "ct", dose)
    sheared = dose.affine.copy()
    sheared[0, 2] = 0.05  # mm sideways a slice: 0.4 mm over the stack
    with pytest.raises(ImageError, match="sheared"):
        write_rtdose(tmp_path / "a.dcm", Volume(dose.array, sheared), exported)


@pytest.mark.parametrize(
    ("name", "unit"), [("absorbed_dose", "Gy"), ("tia_density", "MBq.h/mL"), ("effective_half_life", "h")]
)
def test_a_parametric_map_reads_back_in_highdicom_bit_for_bit(tmp_path, name, unit):
    import highdicom as hd

    truth = image(AFFINES["oblique"])
    write_parametric_map(tmp_path / "map.dcm", truth, name, virtual_study(tmp_path / "ct", truth))
    read = hd.imread(str(tmp_path / "map.dcm"))
    volume = read.get_volume(apply_real_world_transform=False)
    found = Volume(np.asarray(volume.array), np.array(volume.affine)[:, [2, 1, 0, 3]])
    assert np.abs(corners_mm(found) - corners_mm(truth)).max() < GEOMETRY_MM
    assert same_image(found, truth, rtol=0)
    mapping = read.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == unit
    assert mapping.MeasurementUnitsCodeSequence[0].CodingSchemeDesignator == "UCUM"
    assert read.ContentLabel == "RESEARCH"


def test_a_parametric_map_of_an_unknown_quantity_or_without_sources_is_refused(tmp_path):
    grid = image(straight_affine())
    exported = virtual_study(tmp_path / "ct", grid)
    with pytest.raises(InputError, match='write "absorbed_dose"'):
        write_parametric_map(tmp_path / "m.dcm", grid, "absorbed dose", exported)
    with pytest.raises(InputError, match="sources"):
        write_parametric_map(tmp_path / "m.dcm", grid, "absorbed_dose", type(exported).virtual(1, BEGAN))


def series(volume: Volume) -> ImageSeries:
    told = Radiopharmaceutical("177Lu", 159.5, 7400.0, BEGAN)
    mid_s = np.full(len(volume.array), 750.0)
    return ImageSeries(
        volume, "SPECT", "Bq/mL", "", "", decay_correction="START", reference_at=hours_later(24), slice_mid_s=mid_s,
        radiopharmaceutical=told, resolution_mm=12.5,
    )  # fmt: skip


def hours_later(hours: float):
    from datetime import timedelta

    return BEGAN + timedelta(hours=hours)


@pytest.mark.parametrize("way", ["nm", "pet"])
@pytest.mark.parametrize("correction", ["NONE", "START", "ADMIN"])
def test_the_decay_correction_is_told_without_a_contradiction(tmp_path, way, correction):
    from dataclasses import replace

    grid = image(straight_affine())
    made, exported = replace(series(grid), decay_correction=correction), virtual_study(tmp_path / "ct", grid)
    if way == "nm":
        write_recon(tmp_path / "scan" / "nm.dcm", made, exported)
    else:
        write_pet_copy(tmp_path / "scan", made, exported)
    study = read_folder(tmp_path / "scan")
    assert study.images[0].decay_correction == correction
    assert study.images[0].slice_mid_s == pytest.approx(750.0)
    assert not any("Decay" in warning for warning in study.warnings)


@pytest.mark.parametrize("way", ["nm", "pet"])
def test_a_reconstruction_reads_back_equal_in_either_class(truth, tmp_path, way):
    made = series(truth.with_array(truth.array * 1e4))
    exported = virtual_study(tmp_path / "ct", truth)
    if way == "nm":
        write_recon(tmp_path / "scan" / "nm.dcm", made, exported)
    else:
        write_pet_copy(tmp_path / "scan", made, exported)
    (found,) = read_folder(tmp_path / "scan").of("SPECT")
    assert np.abs(corners_mm(found.volume) - corners_mm(truth)).max() < GEOMETRY_MM
    # 16 bits: half a step of the maximum over 65000 (NM) or 32000 (PET)
    assert same_image(found.volume, made.volume, rtol=1e-6, atol=float(made.volume.array.max()) / 2 / 31_000)
    assert found.decay_correction == "START"
    assert found.reference_at == made.reference_at
    assert found.slice_mid_s == pytest.approx(750.0)
    assert found.radiopharmaceutical.nuclide == "177Lu"
    assert found.radiopharmaceutical.administered_MBq == pytest.approx(7400)
    assert hours_after(found) == pytest.approx(24, rel=1e-9)


def test_a_reconstruction_with_negative_voxels_keeps_them(tmp_path):
    truth = image(straight_affine())
    truth = truth.with_array(truth.array - 20)
    write_recon(tmp_path / "scan" / "nm.dcm", series(truth), virtual_study(tmp_path / "ct", truth))
    (found,) = read_folder(tmp_path / "scan").of("SPECT")
    assert found.volume.array.min() == pytest.approx(truth.array.min(), abs=float(np.ptp(truth.array)) / 65_000)


def test_an_image_that_is_not_bq_per_mL_is_no_reconstruction(tmp_path):
    from dataclasses import replace

    truth = image(straight_affine())
    with pytest.raises(InputError, match="calibrate"):
        write_recon(tmp_path / "nm.dcm", replace(series(truth), unit="g/mL"), virtual_study(tmp_path / "ct", truth))
    beds = replace(series(truth), slice_mid_s=np.arange(len(truth.array)) * 100.0)
    with pytest.raises(InputError, match="different times"):
        write_pet_copy(tmp_path / "pet", beds, virtual_study(tmp_path / "ct2", truth))


def test_ct_slices_are_the_same_hu_in_simpleitk(truth, tmp_path):
    import SimpleITK as sitk

    hu = truth.with_array(np.rint(truth.array * 10 - 500))
    write_slices(tmp_path / "ct2", hu, virtual_study(tmp_path / "ct", truth), "CT", {}, is_ct=True)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "ct2")))
    found = Volume.from_sitk(reader.Execute())
    assert np.abs(corners_mm(found) - corners_mm(hu)).max() < GEOMETRY_MM
    assert same_image(found, hu, rtol=0)


def test_a_ct_number_beyond_16_bits_is_refused(tmp_path):
    hu = image(straight_affine())
    with pytest.raises(ImageError, match="16 bits"):
        write_slices(
            tmp_path / "x", hu.with_array(hu.array * 1e5), virtual_study(tmp_path / "ct", hu), "CT", {}, is_ct=True
        )
