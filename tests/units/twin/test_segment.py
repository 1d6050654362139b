"""Regions drawn in a folder that has none: which scan, what is said, and that the SEG reads back as it was drawn."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from typer.testing import CliRunner

from dose.errors import ImageError, InputError
from dose.learning.ranges import Choice
from imaging.geometry import Volume
from imaging.networks.organs_result import OrganSegmentation
from imaging.region_masks import region_masks
from imaging.series import ImageSeries, Radiopharmaceutical, StudyImages
from imaging.virtual_study import VirtualScan, write_virtual_study
from twin import cli, segment, segment_scan
from twin.image_study import ImageStudy, open_images
from twin.segment import DrawSettings, draw_regions, with_regions
from twin.segment_files import NAMES
from twin.segment_scan import ct_of, family_of, lesions_of, scan_of
from twin.study_files import PatientFile

GIVEN = datetime(2026, 3, 10, 9, 0)
SIDE, EDGE_mm = 32, 5.0
runner = CliRunner()


def ball(centre, radius: float) -> np.ndarray:
    index = np.indices((SIDE,) * 3)
    return np.sum((index - np.reshape(centre, (3, 1, 1, 1))) ** 2, axis=0) < radius**2


LIVER, HOT = ball((16, 16, 12), 7), ball((16, 16, 8), 2.3)
APART = ball((16, 16, 25), 2.3)


def series(modality: str, frame="a", hours=1.0, mark="", array=None) -> ImageSeries:
    activity = 500.0 + 2500.0 * LIVER + 60_000.0 * (HOT | APART) if array is None else array
    drug = Radiopharmaceutical("68Ga" if modality == "PET" else "177Lu", None, 150.0, GIVEN)
    volume = Volume(activity.astype(np.float32), np.diag([EDGE_mm] * 3 + [1.0]))
    at = GIVEN + timedelta(hours=hours)
    name = mark or f"{modality}{frame}{hours:g}"
    told = {"weight_kg": 80.0, "sex": "male"}
    return ImageSeries(volume, modality, "Bq/mL", name, frame, "", "START", at, np.zeros(SIDE), drug, **told)


def ct(frame="a") -> ImageSeries:
    volume = Volume(np.where(LIVER, 60.0, 0.0), np.diag([EDGE_mm] * 3 + [1.0]))
    return ImageSeries(volume, "CT", "HU", f"CT{frame}", frame)


def study(*images, tracer="68Ga-PSMA-11") -> ImageStudy:
    return ImageStudy("here", "here", PatientFile(tracer=tracer), StudyImages(tuple(images)), ())  # type: ignore[arg-type]


def drawn_by_hand(monkeypatch, labels=LIVER):
    """Organs as if some method had drawn the liver."""
    grid = np.diag([EDGE_mm] * 3 + [1.0])
    found = OrganSegmentation(
        Volume(labels.astype(float), grid),
        {1: "liver"},
        {"liver": 100.0},
        {"liver": 5.0},
        {},
        Choice("network", ("x",)),
    )
    monkeypatch.setattr(segment, "_organs", lambda *_: found)


def test_a_pet_with_its_ct_goes_before_a_spect_and_a_ct_before_none():
    pet, spect, alone = series("PET", "p"), series("SPECT", "s", 24), series("PET", "q", 0.5)
    assert scan_of(StudyImages((spect, alone, ct("s")))) is spect
    assert scan_of(StudyImages((spect, alone, pet, ct("s"), ct("p")))) is pet
    assert scan_of(StudyImages((spect, alone))) is alone
    assert ct_of(StudyImages((spect, ct("p"))), spect) is None


def test_a_scan_is_chosen_by_the_beginning_of_its_hash():
    first, second = series("PET", mark="ab12"), series("SPECT", mark="ab34", hours=24)
    images = StudyImages((first, second))
    assert scan_of(images, "ab3") is second
    for mark in ("ab", "zz"):
        with pytest.raises(InputError, match="ab12"):
            scan_of(images, mark)


def test_no_emission_image_is_an_error():
    with pytest.raises(ImageError, match="no PET or SPECT"):
        draw_regions(study(ct()))


@pytest.mark.parametrize(("tracer", "family"), [("68Ga-PSMA-11", "psma"), ("177Lu-DOTATATE", "sstr")])
def test_the_family_comes_from_the_tracer(tracer, family):
    assert family_of(tracer) == family


def test_lesions_want_a_tracer():
    with pytest.raises(InputError, match="tracer"):
        draw_regions(study(series("PET"), tracer=None), DrawSettings(organs="none"))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"organs": "magic"}, "organs"),
        ({"lesions": "fuzzy"}, "lesions"),
        ({"organs": "none", "lesions": "none"}, "none of either"),
        ({"organs": "nnunet"}, "model"),
    ],
)
def test_settings_that_cannot_be_used(wrong, named):
    with pytest.raises(InputError, match=named):
        DrawSettings(**wrong)


def test_lesions_are_named_from_the_largest_on_and_taken_out_of_organs(monkeypatch):
    drawn_by_hand(monkeypatch)
    found = draw_regions(study(series("PET"), ct()))
    assert set(found.masks) == {"liver", "tumour_1", "tumour_2"}
    liver = found.masks["liver"].array
    inside = found.masks["tumour_1"].array + found.masks["tumour_2"].array
    assert not (liver * inside).any()
    assert inside[HOT & LIVER].all()
    assert (found.masks["tumour_1"].array.sum()) >= found.masks["tumour_2"].array.sum()
    rows = {row["region"]: row for row in found.rows}
    assert rows["liver"]["volume_sd_mL"] == 5.0
    voxel_mL = EDGE_mm**3 / 1000
    assert rows["liver"]["volume_mL"] == pytest.approx(liver.sum() * voxel_mL, abs=1e-3)  # what the SEG holds
    assert liver.sum() < LIVER.sum()
    assert {row["region"] for row in found.rows} == set(found.masks)
    assert rows["tumour_1"]["volume_low_mL"] < rows["tumour_1"]["volume_mL"] < rows["tumour_1"]["volume_high_mL"]
    assert any(note.startswith("organs: x") for note in found.notes)
    assert segment.SIMULATED_ONLY in found.notes


def test_an_organ_hot_on_the_pet_is_no_lesion_of_the_spect(monkeypatch):
    kidney = ball((16, 16, 25), 4)
    hot = np.where(kidney | HOT, 60_000.0, 500.0 + 2500.0 * LIVER)
    grid = np.diag([EDGE_mm] * 3 + [1.0])
    labels = Volume(LIVER + 2.0 * kidney, grid)
    names = {1: "liver", 2: "kidney_left"}
    organs = OrganSegmentation(labels, names, {"liver": 1.0, "kidney_left": 1.0}, {}, {}, Choice("network"))
    monkeypatch.setattr(segment, "_organs", lambda *_: organs)
    spect = series("SPECT", "s", 24, array=hot)
    with_pet = study(series("PET", "p", array=hot), ct("p"), spect, ct("s"))
    found = draw_regions(with_pet, DrawSettings(scan=spect.series_uid_hash))
    assert any("were the prior" in note for note in found.notes)
    assert not [name for name in found.masks if name.startswith("tumour_") and (found.masks[name].array * kidney).any()]
    assert (found.masks["kidney_left"].array.astype(bool) == kidney).all()


def test_a_pet_that_cannot_be_read_is_no_prior_and_stops_nothing():
    spect = series("SPECT", "s", 24)
    bad = replace(series("PET", "p"), weight_kg=None)
    found = draw_regions(study(bad, ct("p"), spect, ct("s")), DrawSettings(organs="none", scan=spect.series_uid_hash))
    assert any("were no prior" in note and "PatientWeight" in note for note in found.notes)
    assert found.masks


def test_without_a_ct_organs_are_left_out_and_it_is_said():
    found = draw_regions(study(series("PET")))
    assert set(found.masks) == {"tumour_1", "tumour_2"}
    assert any("no CT" in note for note in found.notes)


def test_nothing_found_is_an_error_and_not_an_empty_drawing():
    even = series("PET", array=np.full((SIDE,) * 3, 500.0))
    with pytest.raises(ImageError, match="regions: found none;"):
        draw_regions(study(even), DrawSettings(organs="none"))


def test_a_spect_without_a_pet_says_that_it_has_no_prior():
    found = draw_regions(study(series("SPECT", hours=24), tracer="177Lu-PSMA-617"), DrawSettings(organs="none"))
    assert any("without a prior" in note for note in found.notes)


def test_the_pet_of_the_same_frame_is_the_spects_prior():
    images = (series("PET"), series("SPECT", hours=24, mark="s24"), ct())
    found = draw_regions(study(*images), DrawSettings(organs="none", scan="s24"))
    assert any("were the prior" in note for note in found.notes)


def test_regions_join_the_study_as_if_drawn_there(monkeypatch):
    drawn_by_hand(monkeypatch)
    whole = study(series("PET"), ct())
    found = draw_regions(whole)
    masks = region_masks(with_regions(whole, found).images, whole.images.images[0])
    assert set(masks) == set(found.masks)
    for name, mask in masks.items():
        assert np.allclose(mask.array, found.masks[name].array, atol=1e-6)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("bare")
    volumes = {"liver": 1700.0, "tumour_1": 40.0, "tumour_2": 25.0}
    activity = {"liver": 8.0, "tumour_1": 6.0, "tumour_2": 4.0, "remainder": 30.0}
    scan = VirtualScan("PET", "68Ga", 150.0, GIVEN, 1.0, activity)
    write_virtual_study(where / "dicom", [scan], volumes, 80.0, 1.76, 3, voxel_mm=10.0)
    for file in (where / "dicom" / "seg").iterdir():
        file.unlink()
    (where / "patient.toml").write_text('images = "dicom"\ntracer = "68Ga-PSMA-11"\n', encoding="utf-8")
    return where


def test_the_command_writes_a_seg_that_reads_back_beside_the_images(folder, tmp_path):
    out = tmp_path / "drawn"
    options = ["--organs", "none", "--no-guarded", "--json", "--out", str(out)]
    result = runner.invoke(cli.app, ["segment", str(folder), *options])
    assert result.exit_code == 0, result.output
    assert sorted(p.name for p in out.iterdir()) == sorted(NAMES)
    told = json.loads(result.stdout)
    with (out / "regions.csv").open(encoding="utf-8") as file:
        assert [row["region"] for row in csv.DictReader(file)] == [row["region"] for row in told["regions"]]
    (out / "regions_seg.dcm").rename(folder / "dicom" / "seg.dcm")
    read = open_images(folder, guarded=False)
    masks = region_masks(read.images, read.images.of("PET")[0])
    assert {"tumour_1", "tumour_2"} <= set(masks)
    volumes = {row["region"]: row["volume_mL"] for row in told["regions"]}
    for name, mask in masks.items():
        assert float(mask.array.sum()) * mask.voxel_mL == pytest.approx(volumes[name], rel=1e-6)


def test_a_wrong_word_is_told_and_nothing_is_written(folder, tmp_path):
    out = tmp_path / "drawn"
    result = runner.invoke(cli.app, ["segment", str(folder), "--organs", "magic", "--out", str(out)])
    assert result.exit_code != 0
    assert not out.exists()


@pytest.mark.parametrize(("name", "left"), [("bone", 2), ("spleen", 0)])
def test_a_lesion_within_bone_is_not_taken_for_the_bone(name, left):
    pet = series("PET")
    everywhere = {name: pet.volume.with_array(np.ones(pet.volume.array.shape))}
    found, _ = lesions_of(StudyImages((pet, ct())), pet, ct(), everywhere, "psma", "classical")
    assert len(found.lesions) == left


def test_a_prior_beside_the_spect_is_said_and_not_used(monkeypatch):
    spect = series("SPECT")
    affine = spect.volume.affine.copy()
    affine[:3, 3] += 5000.0
    beside = Volume(np.ones(spect.volume.array.shape), affine)
    monkeypatch.setattr(segment_scan, "_prior", lambda *_: (beside, ["the PET was the prior"]))
    found, said = lesions_of(StudyImages((spect, ct())), spect, ct(), {}, "psma", "classical")
    assert found.lesions
    assert "not used" in said[-1]
