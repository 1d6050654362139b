"""A virtual patient's DICOM study to dose maps in DICOM, opened again by others, and nobody's name on them."""

from __future__ import annotations

import csv
import json
from datetime import datetime

import highdicom as hd
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from typer.testing import CliRunner

from imaging import read_folder, read_nifti
from imaging.dicom_write import read_organ_table
from imaging.virtual_study import VirtualScan, write_virtual_study
from twin import cli
from twin.dose_maps_files import NAMES

GIVEN = datetime(2026, 3, 10, 9, 0)
VOLUMES = {"kidney_left": 155, "kidney_right": 155, "liver": 1800, "spleen": 150, "tumour_1": 40}
START_MBq = {"kidney_left": 70, "kidney_right": 75, "liver": 100, "spleen": 40, "tumour_1": 60, "blood": 600}
TEFF_H = {"tumour_1": 90.0, "liver": 65.0, "spleen": 55.0}
OTHER_TEFF_H = 50.0
CANARY = b"ZZCANARY"
runner = CliRunner()
pytestmark = pytest.mark.slow


def teff_h(region: str) -> float:
    return TEFF_H.get(region, OTHER_TEFF_H)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """Three SPECT of known kinetics, with the name of a patient in every file."""
    path = tmp_path_factory.mktemp("virtual") / "study"
    scans = [
        VirtualScan("SPECT", "177Lu", 7400, GIVEN, t, {k: a * 2.0 ** (-t / teff_h(k)) for k, a in START_MBq.items()})
        for t in (20.0, 70.0, 140.0)
    ]
    write_virtual_study(path, scans, VOLUMES, 75.0, 1.75, seed=5, voxel_mm=8.0)
    for file in path.rglob("*.dcm"):
        dataset = pydicom.dcmread(file)
        dataset.PatientName, dataset.PatientID = f"{CANARY.decode()}^NAME", CANARY.decode()
        dataset.StudyDescription = f"of {CANARY.decode()}"
        dataset.save_as(file)
    return path


@pytest.fixture(scope="module")
def maps(study, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "maps"
    command = ["maps", str(study), "--out", str(out), "--voxel-mm", "8", "--engine", "density", "--no-guarded"]
    result = runner.invoke(cli.app, command)
    assert result.exit_code == 0, result.output
    assert CANARY.decode() not in result.output
    return out


def rows(maps):
    with (maps / "doses.csv").open() as file:
        return {row["region"]: row for row in csv.DictReader(file)}


def test_everything_is_there_and_nothing_beside(maps):
    assert {p.name for p in maps.iterdir()} == set(NAMES)
    assert [p for p in maps.parent.iterdir() if p != maps] == []


def true_tia_MBq_h(region: str) -> float:
    return START_MBq[region] * teff_h(region) / np.log(2)


def test_the_integral_of_the_whole_field_comes_back(maps):
    tia = read_nifti(maps / "tia.nii.gz")
    found = float(tia.array.sum(dtype=float)) * tia.voxel_mL
    # blur moves activity and loses none; mixtures of clearances are fitted by one exponential
    assert found == pytest.approx(sum(map(true_tia_MBq_h, START_MBq)), rel=0.03)


def test_regions_clear_as_they_do_and_lose_what_the_blur_takes(maps):
    found = rows(maps)
    for region in ("spleen", "kidney_left", "tumour_1"):
        row = found[region]
        # an organ is no sphere: it loses up to 1.5 times what the budget says of one (its sd is the loss / sqrt(3))
        lost = 1.5 * 3**0.5 * float(row["recovery_relative_sd"])
        assert 1 - lost < float(row["tia_MBq_h"]) / true_tia_MBq_h(region) < 1.0, region
        # noise of single voxels, and spill from neighbours of another clearance
        assert float(row["teff_h"]) == pytest.approx(teff_h(region), rel=0.05), region


def test_rtdose_has_the_dose_in_other_readers(maps):
    ours = read_nifti(maps / "dose.nii.gz")
    dataset = pydicom.dcmread(maps / "rtdose.dcm")
    assert (dataset.DoseUnits, dataset.DoseSummationType) == ("GY", "FRACTION")
    np.testing.assert_allclose(
        dataset.pixel_array * float(dataset.DoseGridScaling), ours.array, atol=1e-6 * ours.array.max()
    )
    image = sitk.ReadImage(str(maps / "rtdose.dcm"))
    np.testing.assert_allclose(image.GetOrigin(), ours.affine[:3, 3], atol=1e-3)
    np.testing.assert_allclose(image.GetSpacing(), ours.spacing_mm, atol=1e-3)


@pytest.mark.parametrize(("file", "unit"), [("tia", "MBq.h/mL"), ("dose_sd", "Gy")])
def test_parametric_maps_open_in_highdicom_on_the_same_grid(maps, file, unit):
    dataset = pydicom.dcmread(maps / f"{file}.dcm")
    mapping = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0]
    assert mapping.MeasurementUnitsCodeSequence[0].CodeValue == unit
    assert json.loads((maps / f"{file}.json").read_text())["Units"] == unit
    volume, ours = hd.pm.ParametricMap.from_dataset(dataset).get_volume(), read_nifti(maps / f"{file}.nii.gz")
    # highdicom stacks planes from the other end
    first = volume.affine @ [len(volume.array) - 1, 0, 0, 1]
    np.testing.assert_allclose(first[:3], ours.affine[:3, 3], atol=1e-3)
    np.testing.assert_allclose(volume.spacing[::-1], ours.spacing_mm, atol=1e-3)
    np.testing.assert_allclose(volume.array[::-1], ours.array, rtol=1e-6)


def test_regions_and_table_come_back_with_the_same_numbers(maps, study):
    found = rows(maps)
    table = read_organ_table(maps / "organ_table.dcm")
    doses = {r.region: r for r in table if r.quantity == "mean_dose"}
    for region, row in found.items():
        assert doses[region].value == pytest.approx(float(row["dose_Gy"]), rel=1e-6)
        assert doses[region].low == pytest.approx(float(row["dose_Gy_lower90"]), rel=1e-6)
    seg = hd.seg.segread(maps / "regions_seg.dcm")
    assert {s.SegmentLabel for s in seg.SegmentSequence} == set(found)
    names = {item.ROIName for item in pydicom.dcmread(maps / "regions_rtstruct.dcm").StructureSetROISequence}
    assert names == set(found)
    assert read_folder(study).images[0].frame_hash  # the source still opens


def test_no_name_leaves_the_house_unless_asked(maps, study, tmp_path):
    assert any(CANARY in file.read_bytes() for file in study.rglob("*.dcm"))
    assert [f.name for f in maps.iterdir() if CANARY in f.read_bytes()] == []
    kept = tmp_path / "kept"
    command = ["maps", str(study), "--out", str(kept), "--voxel-mm", "9", "--engine", "local", "--keep-identity"]
    result = runner.invoke(cli.app, [*command, "--no-guarded"])
    assert result.exit_code == 0, result.output
    source = pydicom.dcmread(next(study.rglob("scan_1/*.dcm")))
    written = pydicom.dcmread(kept / "rtdose.dcm")
    assert str(written.PatientName) == str(source.PatientName)
    assert written.StudyInstanceUID == source.StudyInstanceUID
    assert written.FrameOfReferenceUID == source.FrameOfReferenceUID


def test_one_salt_makes_maps_and_deidentified_copies_one_study(study, tmp_path):
    salt = tmp_path / "salt"
    salt.write_text("a secret of this project\n")
    copy, out = tmp_path / "copy", tmp_path / "maps"
    assert runner.invoke(cli.app, ["deidentify", str(study), str(copy), "--salt-file", str(salt)]).exit_code == 0
    command = ["maps", str(study), "--out", str(out), "--voxel-mm", "9", "--engine", "local", "--salt-file", str(salt)]
    assert runner.invoke(cli.app, [*command, "--no-guarded"]).exit_code == 0
    written, copied = pydicom.dcmread(out / "rtdose.dcm"), pydicom.dcmread(next(copy.rglob("*.dcm")))
    assert written.StudyInstanceUID == copied.StudyInstanceUID
    assert written.StudyDate == copied.StudyDate


def test_a_run_that_fails_leaves_the_older_maps_as_they_were(maps, study, monkeypatch):
    before = {f.name: f.read_bytes() for f in maps.iterdir()}
    monkeypatch.setattr("twin.dose_maps_files._picture", lambda maps: (_ for _ in ()).throw(OSError("full")))
    command = ["maps", str(study), "--out", str(maps), "--voxel-mm", "9", "--engine", "local", "--no-guarded"]
    result = runner.invoke(cli.app, command)
    assert result.exit_code == cli.BAD_INPUT
    assert {f.name: f.read_bytes() for f in maps.iterdir()} == before
    assert [p for p in maps.parent.iterdir() if p != maps] == []
