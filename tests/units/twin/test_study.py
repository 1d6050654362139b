"""Reading a study: what is read right, and each bad input with an error that names the field and what to do."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from pbpk.anatomy import Anatomy
from twin.study import read_study, split_tracer
from twin.study_writing import write_study

SUV = "region,time_h,suv,volume_mL\nliver,2,5,1500\n"


def test_a_folder_becomes_a_study_in_canonical_names_and_units(write_study_files):
    study = read_study(write_study_files())
    assert study.observations.region == ("kidney_right", "kidney_right", "tumour_1")
    assert study.administrations[0].activity_MBq == 7400.0
    assert study.volumes_mL == {"kidney_right": 150.0, "tumour_1": 12.0}


def test_unknown_covariates_and_amounts_are_assumed_and_said(write_study_files):
    study = read_study(write_study_files())
    assert set(study.covariates.assumed) == {"height_m", "age_y", "gfr_mL_min", "haematocrit"}
    text = " ".join(study.warnings)
    assert all(word in text for word in ("gfr_mL_min", "ligand amount unknown", "infusion time unknown"))


def test_a_toml_may_point_to_its_table(write_study_files, tmp_path):
    folder = write_study_files()
    toml = tmp_path / "other.toml"
    toml.write_text('measurements = "study/measurements.csv"\n' + (folder / "patient.toml").read_text())
    assert len(read_study(toml).observations) == 3


def test_the_published_table_is_read_as_it_is(shared, repository):
    study = read_study(repository / "docs" / "examples" / "patient_177lu_psma.toml")
    assert len(study.observations) == 24
    assert set(study.observations.region) >= {"kidney_left", "kidney_right", "tumour_1", "remainder", "bladder"}
    first = study.observations.activity_MBq[0]
    assert first == pytest.approx(124.38959072503, rel=1e-12)  # as printed in the table: nothing is converted


def test_writing_and_reading_a_study_changes_nothing(write_study_files, tmp_path):
    study = read_study(write_study_files())
    again = read_study(write_study(study, tmp_path / "copy"))
    assert again.covariates == study.covariates
    assert again.administrations == study.administrations
    assert np.array_equal(again.observations.activity_MBq, study.observations.activity_MBq)


def test_the_model_table_divides_the_body_and_comes_back(write_study_files, tmp_path):
    toml = 'tracer = "177Lu-DOTATATE"\n[model]\nkidney_parts = true\nsmall_glands = true\namino_acids = false\n'
    toml += '[[administrations]]\nactivity_MBq = "7.4 GBq"\n'
    study = read_study(write_study_files(toml))
    again = read_study(write_study(study, tmp_path / "again"))
    for read in (study, again):
        assert (read.anatomy, read.amino_acids) == (Anatomy(kidney_parts=True, small_glands=True), False)
    plain = read_study(write_study_files())
    assert (plain.anatomy, plain.amino_acids) == (Anatomy(), None)


def test_suv_becomes_activity_with_weight_and_decay(write_study_files):
    study = read_study(write_study_files(table=SUV))
    decay = math.exp(-radionuclide("177Lu").decay_constant_per_h * 2)
    assert study.observations.activity_MBq[0] == pytest.approx(5 * 1500 * 7400 * decay / 82000, rel=1e-12)
    assert any("without sd" in text for text in study.warnings)


@pytest.mark.parametrize("text", ["177Lu-PSMA-617", "Lu-177-PSMA-617", "177lu psma617", "Lu177-PSMA-617"])
def test_a_tracer_is_read_in_any_usual_spelling(text):
    assert split_tracer(text, "test") == ("PSMA-617", "177Lu")


BAD_TABLES = {
    "negative time": ("kidney_left,-3,5,1,\n", "time after the start of administration"),
    "unsorted times": ("liver,24,5,1,\nliver,4,6,1,\n", "rising times"),
    "same time twice": ("liver,24,5,1,\nliver,24,6,1,\n", "rising times"),
    "unknown region": ("kidny left,4,5,1,\n", "kidney_left"),
    "zero activity": ("liver,4,0,1,\n", "above zero"),
    "not a number": ("liver,4,nan,1,\n", "number"),
    "infinite": ("liver,4,inf,1,\n", "number"),
    "no activity": ("liver,4,,1,\n", "above zero"),
    "zero sd": ("liver,4,5,0,\n", "sd_MBq"),
    "negative volume": ("liver,4,5,1,-2\n", "volume_mL"),
    "empty table": ("", "at least one"),
}


@pytest.mark.parametrize("name", BAD_TABLES)
def test_a_bad_table_is_refused_in_words(name, write_study_files):
    rows, expected = BAD_TABLES[name]
    with pytest.raises(InputError, match=expected) as caught:
        read_study(write_study_files(table="region,time_h,activity_MBq,sd,volume_mL\n" + rows))
    assert "To do:" in str(caught.value)


BAD_TOMLS = {
    "unknown nuclide": ('"177Lu-PSMA-617"', '"177Lx-PSMA-617"', "177Lu"),
    "unknown ligand": ('"177Lu-PSMA-617"', '"177Lu-DOTATAT"', "did you mean 177Lu-DOTATATE"),
    "no tracer": ('tracer = "177Lu-PSMA-617"', "", "--tracer"),
    "no administered activity": ('activity_MBq = "7.4 GBq"', "cycle = 1", "administered activity"),
    "no administration": ('[[administrations]]\nactivity_MBq = "7.4 GBq"', "", "administrations"),
    "wrong unit": ('"7.4 GBq"', '"7.4 kg"', "activity"),
    "misspelt key": ("weight_kg = 82", "wieght_kg = 82", "did you mean weight_kg"),
    "NaN covariate": ("weight_kg = 82", "weight_kg = nan", "finite"),
    "absurd weight": ("weight_kg = 82", "weight_kg = 8200", "400"),
    "unknown sex": ('sex = "male"', 'sex = "m"', "male"),
    "misspelt option": ("[[adm", "[model]\nkidney_part = true\n[[adm", "did you mean kidney_parts"),
    "option that is no yes or no": ("[[adm", "[model]\namino_acids = 1\n[[adm", "model.amino_acids"),
    "broken toml": ("[covariates]", "[covariates", "valid TOML"),
    "two of one cycle": ("[[adm", "[[administrations]]\nactivity_MBq = 1\n[[adm", "each cycle once"),
}


@pytest.mark.parametrize("name", BAD_TOMLS)
def test_a_bad_patient_file_is_refused_in_words(name, write_study_files):
    folder = write_study_files()
    old, new, expected = BAD_TOMLS[name]
    toml = folder / "patient.toml"
    assert old in toml.read_text()
    toml.write_text(toml.read_text().replace(old, new))
    with pytest.raises(InputError, match=expected) as caught:
        read_study(folder)
    assert "To do:" in str(caught.value)


def test_suv_without_a_weight_is_refused(write_study_files):
    folder = write_study_files(table=SUV)
    toml = folder / "patient.toml"
    toml.write_text(toml.read_text().replace("weight_kg = 82", 'weight_kg = "unknown"'))
    with pytest.raises(InputError, match="no body weight"):
        read_study(folder)


def test_a_row_of_a_cycle_never_given_is_refused(write_study_files):
    with pytest.raises(InputError, match="add the administration of cycle 2"):
        read_study(write_study_files(table="region,time_h,activity_MBq,sd,cycle\nliver,4,5,1,2\n"))


@pytest.mark.parametrize("name", ["nothing_there", "table.csv"])
def test_a_path_that_is_no_study_is_refused(name, tmp_path):
    (tmp_path / "table.csv").write_text("x")
    with pytest.raises(InputError, match="To do"):
        read_study(tmp_path / name)


def test_a_folder_of_words_alone_is_refused(tmp_path):
    (tmp_path / "patient.toml").write_text("")
    with pytest.raises(InputError, match="no measurements"):
        read_study(tmp_path)


def test_two_cycles_at_one_time_are_refused(write_study_files):
    folder = write_study_files()
    toml = folder / "patient.toml"
    toml.write_text(toml.read_text() + "[[administrations]]\ncycle = 2\nactivity_MBq = 7000\n")
    with pytest.raises(InputError, match="times that rise"):
        read_study(folder)
