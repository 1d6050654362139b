"""The summary of a folder: what is in it, what is not, and not a word of the patient's."""

from __future__ import annotations

import csv
import json
from datetime import datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from dose.errors import ImageError
from imaging.dicom_write import Exported, write_rtstruct, write_slices
from imaging.geometry import Volume
from imaging.series import Contour, ContourSet, ImageSeries, Radiopharmaceutical, StudyImages
from twin import cli, cli_images
from twin.image_study import ImageStudy, open_images
from twin.image_summary import NAMES, summary_of, write_summary
from twin.region_labels import plain_names, with_plain_labels
from twin.study_files import PatientFile

GIVEN = datetime(2026, 3, 10, 9, 0)
CANARY = "zzcanary"
runner = CliRunner()


def scan(hours=24.0, level=1e5, frame="frame", unit="Bq/mL"):
    z, y, x = np.mgrid[:12, :12, :12]
    array = np.where((z - 6) ** 2 + (y - 6) ** 2 + (x - 6) ** 2 < 16, level, level / 50)
    drug = Radiopharmaceutical("177Lu", 159.5, 7400.0, GIVEN)
    at = GIVEN + timedelta(hours=hours)
    volume = Volume(array, np.diag([5.0, 5.0, 5.0, 1.0]))
    zero = np.zeros(12)
    return ImageSeries(volume, "SPECT", unit, f"s{hours:g}", frame, "", "NONE", at, zero, drug)


def square(label: str) -> Contour:
    ring = [(15.0, 15.0), (45.0, 15.0), (45.0, 45.0), (15.0, 45.0)]
    return Contour(label, tuple(np.array([(x, y, z) for x, y in ring]) for z in (20.0, 25.0, 30.0, 35.0)))


def study(*images, labels=("liver",), path="here") -> ImageStudy:
    sets = (ContourSet(tuple(square(label) for label in labels), "frame", "r"),) if labels else ()
    plain, notes = with_plain_labels(StudyImages(tuple(images), sets, skipped={"SR": 2}))
    return ImageStudy(path, path, PatientFile(), plain, notes)


def test_activities_come_with_every_part_of_their_budget():
    found = summary_of(study(scan()))
    (row,) = found.activities
    assert (row["region"], row["time_h"]) == ("liver", 24.0)
    parts = [part["relative_sd"] for part in found.budget]
    assert len(parts) == 5
    assert row["total_relative_sd"] == pytest.approx(np.sqrt(np.sum(np.square(parts))))
    assert row["sd_MBq"] == pytest.approx(row["total_relative_sd"] * row["activity_MBq"])
    assert found.skipped == {"SR": 2}


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: study(labels=()), "no PET or SPECT"),
        (lambda: study(scan(), labels=()), "no region is drawn"),
        (lambda: study(scan(), labels=("couch top",)), "no drawn structure has a region name"),
    ],
)
def test_what_is_missing_is_said_and_is_no_fault(made, words):
    found = summary_of(made())
    assert words in found.why_no_activities
    assert not found.is_broken
    assert found.activities == ()


def test_images_that_cannot_be_quantified_are_a_fault_and_the_rest_is_still_told():
    found = summary_of(study(scan(unit="g/mL")))
    assert found.is_broken
    assert "Bq/mL" in found.why_no_activities
    assert found.skipped == {"SR": 2}


def test_free_words_leave_labels_and_lesions_stay_apart():
    names = plain_names(["tumour_1_mrs_doe", "tumour_1", "tumour_doe", "tumour_12345678", "kidney_left"])
    assert names["kidney_left"] == "kidney_left"
    assert names["tumour_1"] == "tumour_1"
    assert len(set(names.values())) == len(names)
    assert not any(word in name for name in names.values() for word in ("doe", "mrs", "12345678"))


def test_a_lesion_has_one_name_in_all_sets():
    first = ContourSet((square("lesion1 liver R lobe"),), "a", "r")
    second = ContourSet((square("Lesion 1, liver r lobe"),), "b", "q")
    plain, notes = with_plain_labels(StudyImages((), (first, second)))
    assert {c.label for s in plain.contour_sets for c in s.contours} == {"tumour_1_liver"}
    assert "1 of 1 regions" in notes[0]


def test_no_label_is_told_in_tables_warnings_or_errors():
    labels = (f"lesion {CANARY}", f"{CANARY} couch", "liver")
    assert CANARY not in json.dumps(summary_of(study(scan(), labels=labels)).record()).lower()
    twice = summary_of(study(scan(), labels=(f"lesion {CANARY}", f"Lesion {CANARY}")))
    assert twice.is_broken
    assert CANARY not in twice.why_no_activities.lower()


def test_tables_are_written_all_or_none(tmp_path):
    out = tmp_path / "out"
    write_summary(out, summary_of(study(scan())))
    assert sorted(p.name for p in out.iterdir()) == sorted(NAMES)
    (out / "own.txt").write_text("kept")
    write_summary(out, summary_of(study(labels=())))
    assert (out / "own.txt").read_text() == "kept"
    assert list(csv.DictReader((out / "activities.csv").read_text().splitlines())) == []
    assert list(tmp_path.iterdir()) == [out]


@pytest.fixture
def folder(tmp_path):
    """A CT of a patient with a name, a structure with a canary in its label."""
    path = tmp_path / "in"
    exported = Exported.virtual(3, GIVEN)
    volume = Volume(np.zeros((4, 16, 16)), np.diag([4.0, 4.0, 4.0, 1.0]))
    written = write_slices(path / "ct", volume, exported, "CT", {}, is_ct=True)
    mask = np.zeros(volume.array.shape, dtype=bool)
    mask[1:3, 4:9, 4:9] = True
    write_rtstruct(path / "s.dcm", {f"lesion {CANARY}": mask}, exported.referring_to(written))
    for file in (path / "ct").iterdir():
        file.write_bytes(file.read_bytes().replace(b"VIRTUAL^PATIENT", b"ZZCANARY^PATIEN"))
    return path


def test_the_command_tells_a_folder_without_emission_and_nothing_of_the_patient(folder, tmp_path, caplog):
    out = tmp_path / "out"
    result = runner.invoke(cli.app, ["images", str(folder), "--out", str(out), "--no-guarded", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)["why_no_activities"].startswith("no PET or SPECT")
    told = result.output + caplog.text + "".join(file.read_text() for file in out.iterdir())
    assert CANARY not in told.lower()
    assert any(CANARY.encode() in f.read_bytes().lower() for f in folder.rglob("*.dcm"))  # the canary was there


def test_the_table_says_why_there_are_no_activities(folder):
    result = runner.invoke(cli.app, ["images", str(folder), "--no-guarded"])
    assert "no activities: no PET or SPECT image" in result.stderr
    assert "Series" in result.stderr


def test_a_broken_quantification_ends_in_the_exit_code_of_bad_input_with_its_tables_written(monkeypatch, tmp_path):
    monkeypatch.setattr("twin.image_study.open_images", lambda *_, **__: study(scan(unit="g/mL"), path=tmp_path))
    out = tmp_path / "out"
    result = runner.invoke(cli.app, ["images", str(tmp_path), "--out", str(out)])
    assert result.exit_code == cli.BAD_INPUT
    assert "Bq/mL" in result.stderr
    assert (out / "import.json").is_file()


def test_the_guarded_way_reads_the_same(folder):
    plain, guarded = (open_images(folder, guarded=g).images for g in (False, True))
    assert plain.report.table() == guarded.report.table()


def test_a_folder_that_is_not_there_is_bad_input(tmp_path):
    result = runner.invoke(cli.app, ["images", str(tmp_path / "no")])
    assert result.exit_code == cli.BAD_INPUT


def test_a_folder_of_no_dicom_is_refused(tmp_path):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(ImageError):
        open_images(tmp_path, guarded=False)


@pytest.mark.parametrize(("tracer", "nuclide"), [("177Lu", "177Lu"), ("Lu-177", "177Lu"), ("68Ga-PSMA-11", "68Ga")])
def test_a_nuclide_or_a_tracer_chooses_the_images(tracer, nuclide):
    assert cli_images.nuclide_of(tracer) == nuclide


def test_deidentify_without_a_salt_is_refused(folder, tmp_path):
    result = runner.invoke(cli.app, ["deidentify", str(folder), str(tmp_path / "out")])
    assert result.exit_code == cli.BAD_INPUT
    assert "--salt-file" in result.stderr
    assert not (tmp_path / "out").exists()


def test_deidentify_copies_without_the_name_and_leaves_nothing_on_an_error(folder, tmp_path):
    salt, out = tmp_path / "salt", tmp_path / "out"
    salt.write_text("short\n")
    assert runner.invoke(cli.app, ["deidentify", str(folder), str(out), "--salt-file", str(salt)]).exit_code == 2
    assert not out.exists()
    salt.write_text("a secret of this project\n")
    result = runner.invoke(cli.app, ["deidentify", str(folder), str(out), "--salt-file", str(salt)])
    assert result.exit_code == 0
    assert "4 CT" in result.stderr
    files = list(out.rglob("*.dcm"))
    assert len(files) == 5
    assert not any(CANARY.encode() in f.read_bytes().lower() for f in files)
    inside = runner.invoke(cli.app, ["deidentify", str(folder), str(folder / "x"), "--salt-file", str(salt)])
    assert inside.exit_code == cli.BAD_INPUT
