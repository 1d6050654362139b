"""The import report: every field used, what was decided, and no word of the patient's."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np

from imaging.dicom_read import read_folder
from imaging.series import uid_hash
from tests.units.imaging.dicom_objects import FDG, frames_in_time, save, save_all, slices, tomo

STORED = np.arange(3 * 4 * 5, dtype="<i2").reshape(3, 4, 5)


def study(folder, salt=""):
    fields = FDG | {"SeriesInstanceUID": "1.2.3.1", "PatientComments": "ZZPHI", "ImageType": ["ORIGINAL", "ZZPHI"]}
    save_all(slices(STORED, slopes=(1.0, 2.0, 2.5), **fields), folder / "pet")
    save_all(slices(STORED, modality="CT", SeriesInstanceUID="1.2.3.2", sideways_mm=1.0), folder / "ct")
    save(tomo(np.ones((1, 2, 3, 4, 4)), SeriesInstanceUID="1.2.3.3"), folder / "tomo.dcm")
    (folder / "notes.txt").write_text("ZZPHI")
    return read_folder(folder, salt=salt)


def test_one_row_a_series_tells_what_the_folder_holds(tmp_path):
    rows = {row["modality"]: row for row in study(tmp_path).report.table()}
    assert set(rows) == {"PET", "CT", "tomographic projections"}
    pet = rows["PET"]
    assert (pet["files"], pet["frames"], pet["size"], pet["spacing_mm"]) == (3, 1, "5 x 4 x 3", "2 x 2 x 4")
    assert (pet["unit"], pet["nuclide"], pet["hours_after_injection"]) == ("Bq/mL", "18F", 1.0)
    assert pet["decay_correction"] == "START"
    assert pet["series"] == uid_hash("1.2.3.1")
    for word in ("decay reference: series time", "scale: Units BQML", "modality: 18F is imaged by coincidence"):
        assert word in pet["decided"]
    assert "gantry tilt" in rows["CT"]["notes"]
    assert "peak" in rows["tomographic projections"]["decided"]


def test_fields_are_told_by_kind_or_number(tmp_path):
    read = study(tmp_path)
    fields = {f["keyword"]: f for f in read.report.fields_of(uid_hash("1.2.3.1"))}
    assert fields["RescaleSlope"]["value"] == "1 to 2.5 (3 values)"
    assert fields["PixelSpacing"]["value"] == "2 mm"
    assert fields["DecayCorrection"]["value"] == "START"
    assert fields["CorrectedImage"]["value"] == "DECY, ATTN"
    assert fields["ImageType"]["value"] == "ORIGINAL, text"
    assert fields["SeriesDate"] == {"series": uid_hash("1.2.3.1"), "keyword": "SeriesDate", "value": "a date"} | {
        "objects": 3
    }
    assert fields["PatientWeight"]["value"] == "a number, kg"
    assert fields["RadionuclideTotalDose"]["objects"] == 3


def test_no_word_of_the_patient_is_in_report_or_warnings(tmp_path):
    read = study(tmp_path)
    said = json.dumps([asdict(read.report), read.report.table(), read.warnings])
    for word in ("ZZPHI", "CANARY", "1.2.3", "20260302"):
        assert word not in said


def test_the_salt_changes_all_hashes(tmp_path):
    plain, salted = (study(tmp_path, salt).report for salt in ("", "s"))
    assert not {s.series for s in plain.series} & {s.series for s in salted.series}


def test_frames_and_skipped_objects_are_counted(tmp_path):
    save_all(frames_in_time(STORED, **FDG), tmp_path)
    (tmp_path / "notes.txt").write_text("none of ours")
    report = read_folder(tmp_path).report
    assert (report.series[0].files, report.series[0].frames) == (6, 2)
    assert report.skipped == {"not DICOM": 1}
