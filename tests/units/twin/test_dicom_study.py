"""A DICOM folder as a study: injections, cycles, tracers. Images are hand-made; reading them has its own tests."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.quantify import RegionActivity
from imaging.scan_budget import ScanBudget
from imaging.series import Contour, ContourSet, ImageSeries, Radiopharmaceutical, StudyImages
from twin import dicom_study
from twin.study import read_study

THERAPY = datetime(2026, 3, 10, 9, 0)
PRE = THERAPY - timedelta(days=14)


def series(modality, nuclide, start, hours, activity_MBq=7400.0):
    what = Radiopharmaceutical(nuclide=nuclide, administered_MBq=activity_MBq, started_at=start)
    volume = Volume(np.ones((2, 2, 2)), np.eye(4))
    at = None if start is None else start + timedelta(hours=hours)
    name = f"{modality}{nuclide}{hours}"
    return ImageSeries(volume, modality, "Bq/mL", name, name, reference_at=at, radiopharmaceutical=what, weight_kg=90.0)


SPECT = [series("SPECT", "177Lu", THERAPY, hours) for hours in (4, 28)]
PET = series("PET", "68Ga", PRE, 1, 150.0)


@pytest.fixture
def dicom(monkeypatch, tmp_path):
    """Makes `read_study` see these series, and a region in each of them; returns the folder."""
    folder = tmp_path / "dicom"
    folder.mkdir()
    (folder / "image.dcm").write_bytes(b"")

    def activities(images, start, chain, scans):
        return [
            RegionActivity(
                "kidney_left",
                (s.reference_at - start).total_seconds() / 3600,
                50.0,
                ScanBudget(counts=0.03, calibration=0.05, recovery=0.02, contour=0.06, registration=0.0, volume=0.09),
                150.0,
                s.modality,
                s.series_uid_hash,
                1.0,
                s.radiopharmaceutical.nuclide,
                start,
                "none",
                "on_image",
            )
            for s in scans
        ]

    def show(*found, contours=()):
        images = StudyImages(tuple(found), contours, skipped={"SR": 2})
        monkeypatch.setattr(dicom_study, "read_folder", lambda *_, **__: images)
        monkeypatch.setattr(dicom_study, "region_activities", activities)
        return folder

    return show


def test_two_scans_of_one_injection_are_one_cycle(dicom):
    study = read_study(dicom(*SPECT), "177Lu-DOTATATE")
    assert [a.activity_MBq for a in study.administrations] == [7400.0]
    assert list(study.observations.time_h) == [4.0, 28.0]
    assert study.observations.cycle == (1, 1)
    assert study.covariates.weight_kg == 90.0
    assert "weight_kg" not in study.covariates.assumed


def test_a_pet_before_therapy_is_cycle_zero_of_the_paired_ligand(dicom):
    study = read_study(dicom(*SPECT, PET), "177Lu-PSMA-617")
    first, second = study.administrations
    assert (first.cycle, first.ligand, first.nuclide, first.time_h) == (0, "PSMA-11", "68Ga", -14 * 24.0)
    assert (second.cycle, second.ligand, second.time_h) == (1, "PSMA-617", 0.0)
    assert study.observations.cycle == (0, 1, 1)


def test_a_second_therapy_is_cycle_two(dicom):
    later = series("SPECT", "177Lu", THERAPY + timedelta(days=42), 24)
    study = read_study(dicom(*SPECT, later), "177Lu-PSMA-617")
    assert [(a.cycle, a.time_h) for a in study.administrations] == [(1, 0.0), (2, 1008.0)]


def test_the_ligand_is_asked_for_where_nobody_names_it(dicom):
    with pytest.raises(InputError, match="--tracer"):
        read_study(dicom(*SPECT))


def test_a_missing_administered_activity_is_refused(dicom):
    with pytest.raises(InputError, match="administered activity"):
        read_study(dicom(series("SPECT", "177Lu", THERAPY, 4, None)), "177Lu-DOTATATE")


def test_a_tracer_of_another_nuclide_is_refused(dicom):
    with pytest.raises(InputError, match="images of 177Lu"):
        read_study(dicom(*SPECT), "68Ga-DOTATATE")


def test_a_folder_without_emission_images_is_refused(dicom):
    with pytest.raises(InputError, match="no PET or SPECT"):
        read_study(dicom(), "177Lu-DOTATATE")


def test_an_injection_time_that_nobody_tells_is_refused(dicom):
    with pytest.raises(ImageError, match="date and time"):
        read_study(dicom(series("SPECT", "177Lu", None, 4)), "177Lu-DOTATATE")


def test_the_patient_file_goes_before_the_header(dicom):
    folder = dicom(replace(SPECT[0], radiopharmaceutical=Radiopharmaceutical(nuclide="177Lu")))
    (folder / "patient.toml").write_text(
        'tracer = "177Lu-DOTATATE"\n[[administrations]]\ncycle = 1\nactivity_MBq = 7000\nstart = 2026-03-10T08:00:00\n'
        "[[administrations]]\ncycle = 2\nactivity_MBq = 6000\nstart = 2026-05-10T08:00:00\ntime_h = 1464\n"
    )
    study = read_study(folder)
    assert [a.activity_MBq for a in study.administrations] == [7000.0, 6000.0]
    assert list(study.observations.time_h) == [5.0]
    assert study.observations.cycle == (1,)


def test_fewer_administrations_than_injections_are_refused(dicom):
    folder = dicom(*SPECT, PET)
    (folder / "patient.toml").write_text('tracer = "177Lu-DOTATATE"\n[[administrations]]\nactivity_MBq = 7000\n')
    with pytest.raises(InputError, match="1 for 2 injections"):
        read_study(folder)


def test_what_took_no_part_is_said(dicom):
    contours = (ContourSet((Contour("kidney_left", ()), Contour("couch top", ())), "frame", "series"),)
    warnings = read_study(dicom(*SPECT, contours=contours), "177Lu-DOTATATE").warnings
    assert "1 of 2 structures have no region name and took no part" in warnings
    assert "2 files passed over: SR" in warnings


def test_known_doses_beside_the_images_are_read(dicom):
    folder = dicom(*SPECT)
    (folder / "patient.toml").write_text('tracer = "177Lu-DOTATATE"\ntruth = "truth.csv"\n')
    (folder / "truth.csv").write_text("cycle,region,dose_Gy\n1,left kidney,3.5\n")
    assert read_study(folder).truth_Gy == {(1, "kidney_left"): 3.5}
