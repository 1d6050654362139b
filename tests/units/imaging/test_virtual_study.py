"""A virtual patient written as DICOM reads back with the activities that were put in; damaged studies are refused."""

from __future__ import annotations

import logging
import shutil
import warnings
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pydicom
import pytest

from dose.errors import ImageError, InputError
from dose.nuclides import radionuclide
from imaging.activity_images import administered_activity, check_calibrated_series
from imaging.dicom_read import read_folder
from imaging.quantify import ImagingChain, region_activities
from imaging.series import Segment
from imaging.virtual_study import VirtualScan, write_virtual_study

VOLUMES = {"kidney_left": 155, "kidney_right": 155, "liver": 1800, "spleen": 150, "parotid": 50, "tumour_1": 10}
SHARES = {
    "kidney_left": 70,
    "kidney_right": 75,
    "liver": 100,
    "spleen": 20,
    "parotid": 20,
    "tumour_1": 12,
    "blood": 350,
}
PET_AT, THERAPY_AT = datetime(2026, 3, 2, 22, 50), datetime(2026, 3, 10, 9, 0)
SMALL_mL = 15.0
"""Regions below this are held to 10%, others to 5%: noise and the 2% that the point spread is off the stated one."""


def scans() -> list[VirtualScan]:
    def scaled(factor):
        return {name: share * factor for name, share in SHARES.items()}

    rate = radionuclide("177Lu").decay_constant_per_h
    pet = VirtualScan("PET", "68Ga", 150, PET_AT, 1.5, scaled(0.1))  # read at 00:20 on the next day
    times = ((24.0, 1.0), (72.0, 0.7))
    return [pet, *(VirtualScan("SPECT", "177Lu", 7400, THERAPY_AT, t, scaled(f * np.exp(-rate * t))) for t, f in times)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("virtual") / "study"
    write_virtual_study(path, scans(), VOLUMES, 80, 1.78, seed=3)
    return path


@pytest.fixture(scope="module")
def study(folder):
    return read_folder(folder)


def test_activities_read_back_as_they_were_put_in(study):
    rows = region_activities(study)
    assert len(rows) == 3 * len(SHARES)
    for scan in scans():
        for row in (r for r in rows if r.time_h == pytest.approx(scan.time_h, abs=1e-6)):
            truth = scan.activity_MBq["blood" if row.region == "remainder" else row.region]
            limit = 0.10 if row.volume_mL < SMALL_mL else 0.05
            assert row.activity_MBq == pytest.approx(truth, rel=limit), row.region
            assert abs(row.activity_MBq - truth) < 3 * row.sd_MBq
            assert row.modality == scan.modality
            assert row.nuclide == scan.nuclide


def test_without_partial_volume_correction_a_small_tumour_is_low(study):
    rows = [
        r
        for r in region_activities(study, chain=ImagingChain(recovery="none"))
        if r.region == "tumour_1" and r.modality == "SPECT"
    ]
    assert all(r.activity_MBq < 0.8 * s.activity_MBq["tumour_1"] for r, s in zip(rows, scans()[1:], strict=True))


def test_header_tells_the_administration(study):
    given = administered_activity(study.of("SPECT")[0])
    assert given.nuclide == "177Lu"
    assert given.activity_MBq == pytest.approx(7400, rel=1e-9)
    assert given.started_at == THERAPY_AT
    assert (given.weight_kg, given.height_m) == (80, 1.78)


def test_the_same_seed_gives_the_same_bytes(folder, tmp_path):
    write_virtual_study(tmp_path / "again", scans()[:1], VOLUMES, 80, 1.78, seed=3)
    name = "scan_1/0050.dcm"
    assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_a_folder_with_files_is_not_written_into(folder):
    with pytest.raises(ImageError, match="empty"):
        write_virtual_study(folder, scans(), VOLUMES, 80, 1.78, seed=3)


def test_an_activity_without_a_volume_is_refused(tmp_path):
    scan = replace(scans()[0], activity_MBq={"heart": 3.0})
    with pytest.raises(InputError, match="heart"):
        write_virtual_study(tmp_path / "x", [scan], VOLUMES, 80, 1.78, seed=3)


def test_a_scan_before_the_given_administration_is_refused(study):
    with pytest.raises(ImageError, match="before the injection"):
        region_activities(study, THERAPY_AT + timedelta(days=30))


def test_missing_administered_activity_is_refused(study):
    scan = study.of("SPECT")[0]
    silent = replace(scan, radiopharmaceutical=replace(scan.radiopharmaceutical, administered_MBq=None))
    with pytest.raises(ImageError, match="RadionuclideTotalDose"):
        administered_activity(silent)


def test_no_region_and_empty_region_are_refused(study):
    with pytest.raises(ImageError, match="no region"):
        region_activities(replace(study, segmentations=()))
    segmentation = study.segmentations[0]
    nothing = segmentation.segments[0].mask.with_array(np.zeros(segmentation.segments[0].mask.array.shape))
    emptied = replace(segmentation, segments=(Segment("liver", nothing),))
    with pytest.raises(ImageError, match="empty"):
        region_activities(replace(study, segmentations=(emptied,)))


def test_overlapping_regions_are_not_solved_together(study):
    segmentation = study.segmentations[0]
    liver = next(s for s in segmentation.segments if s.label == "liver")
    doubled = replace(segmentation, segments=(*segmentation.segments, Segment("tumour_9", liver.mask)))
    with pytest.raises(ImageError, match="overlap"):
        region_activities(replace(study, segmentations=(doubled,)))


def test_a_set_whose_total_rises_is_refused_and_a_falling_one_is_not(study):
    images, times = [s.volume for s in study.of("SPECT")], [24.0, 72.0]
    check_calibrated_series(images, times, "177Lu")
    louder = images[1].with_array(images[1].array * 3)
    with pytest.raises(ImageError, match="rises after correction for decay"):
        check_calibrated_series([images[0], louder], times, "177Lu")


# ------------------------------------------------------------------------------------------------ damaged files


@pytest.fixture
def small(folder, tmp_path):
    """Six slices of one SPECT series."""
    for k in range(60, 66):
        shutil.copy(folder / "scan_2" / f"{k:04d}.dcm", tmp_path)
    return tmp_path


def rewrite(folder, **fields):
    for path in folder.glob("*.dcm"):
        dataset = pydicom.dcmread(path)
        for name, value in fields.items():
            setattr(dataset, name, value)
        dataset.save_as(path)


def test_counts_are_refused_without_a_calibration_factor_and_scaled_with_one(small):
    truth = read_folder(small).images[0].volume.array
    rewrite(small, Units="CNTS")
    with pytest.raises(ImageError, match="calibration factor"):
        read_folder(small)
    assert np.allclose(read_folder(small, Bq_per_mL_per_count=2.0).images[0].volume.array, 2 * truth)


def test_a_missing_slice_is_refused(small):
    (small / "0063.dcm").unlink()
    with pytest.raises(ImageError, match="missing slices"):
        read_folder(small)


def test_file_names_and_instance_numbers_do_not_set_the_order(small):
    before = read_folder(small).images[0].volume
    (small / "0060.dcm").rename(small / "zz.dcm")
    rewrite(small, InstanceNumber=1)
    after = read_folder(small).images[0].volume
    assert after.is_on_grid_of(before)
    assert np.array_equal(after.array, before.array)


@pytest.mark.parametrize("keep", [10, 200, 700, -300])
def test_a_truncated_file_is_an_image_error(small, keep):
    path = small / "0062.dcm"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ImageError):
        read_folder(small)


def test_a_fuzzed_file_reads_or_is_an_image_error(small, rng):
    path = small / "0062.dcm"
    intact = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(intact)
        for position in rng.integers(128, 2000, size=8):
            damaged[position] = int(rng.integers(0, 256))
        path.write_bytes(bytes(damaged))
        try:
            read_folder(small)
        except ImageError:
            continue


def test_more_pixels_than_the_file_holds_are_refused(small):
    rewrite(small, Rows=60_000, Columns=60_000)
    with pytest.raises(ImageError, match="PixelData"):
        read_folder(small)


def test_patient_words_get_into_no_message(small, caplog, recwarn):
    rewrite(small, PatientName="ZZPHI^CANARY", SeriesDescription="ZZPHI" * 20, PatientID="ZZPHI", Units="CNTS")
    warnings.simplefilter("always")
    with caplog.at_level(logging.DEBUG), pytest.raises(ImageError) as error:
        read_folder(small)
    assert "ZZPHI" not in str(error.value) + caplog.text + "".join(str(w.message) for w in recwarn)


@pytest.mark.parametrize("content", [None, b"notes"])
def test_a_folder_without_dicom_is_refused(tmp_path, content):
    if content:
        (tmp_path / "notes.txt").write_bytes(content)
    with pytest.raises(ImageError, match="no DICOM image"):
        read_folder(tmp_path)
    with pytest.raises(ImageError, match="no such folder"):
        read_folder(tmp_path / "absent")
