"""Reading a finished trial: what was written comes back, and what is not a whole trial is told."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dose.errors import InputError
from tests.trial_tables import BEGIN, END, PAGE, STANDARD, TWIN, make_trial, page_with_schema
from twin.trial.results import open_trial
from twin.trial.schema import TABLES


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_trial(tmp_path_factory.mktemp("trial"), patients=60, chunk=25, bad=0.05)


@pytest.fixture
def own(tmp_path):
    """A folder that a test may damage."""
    return make_trial(tmp_path / "own", patients=20, chunk=10)


def test_a_trial_knows_its_design_and_that_it_is_whole(folder):
    trial = open_trial(folder)
    assert (trial.arms, trial.reference, trial.count, trial.complete) == (
        (STANDARD.name, TWIN.name),
        STANDARD.name,
        60,
        True,
    )
    assert trial.design["tracer"] == "177Lu-PSMA-617"


def test_each_table_has_the_columns_of_the_schema(folder):
    trial = open_trial(folder)
    for name, columns in TABLES.items():
        assert list(trial.table(name).columns) == [c.name for c in columns]
    assert len(trial.patients()) == 120


def test_columns_and_arms_can_be_chosen(folder):
    found = open_trial(folder).doses(["patient", "dose_Gy"], arm=TWIN.name)
    assert list(found.columns) == ["patient", "dose_Gy"]
    both = open_trial(folder).doses()
    pd.testing.assert_series_equal(
        found["dose_Gy"], both.loc[both["arm"] == TWIN.name, "dose_Gy"].reset_index(drop=True)
    )


def test_parts_add_up_to_the_table(folder):
    trial = open_trial(folder)
    parts = list(trial.by_part("cycles", ["patient", "activity_MBq"]))
    assert len(parts) == 3
    pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), trial.cycles(["patient", "activity_MBq"]))


def test_patients_are_the_same_in_each_arm(folder):
    found = open_trial(folder).patients(["patient", "arm", "age_y"]).astype({"arm": str})
    wide = found.pivot(index="patient", columns="arm", values="age_y")
    np.testing.assert_array_equal(wide[STANDARD.name], wide[TWIN.name])


def test_labelled_arrays_hold_the_tables_with_their_units(folder):
    trial = open_trial(folder)
    whole = trial.to_xarray()
    assert dict(whole["cycle_dose_Gy"].sizes) == {"arm": 2, "patient": 60, "cycle": 6, "region": 5}
    assert whole["cycle_dose_Gy"].attrs["units"] == "Gy"
    row = trial.doses().iloc[777]
    place = {"arm": row["arm"], "patient": row["patient"], "cycle": row["cycle"], "region": row["region"]}
    assert float(whole["cycle_dose_Gy"].sel(place)) == row["dose_Gy"]
    total = whole["cycle_dose_Gy"].sel(region="kidneys").sum("cycle", min_count=1)
    np.testing.assert_allclose(total.values, whole["kidney_dose_Gy"].values)
    assert np.isnan(whole["cycle_dose_Gy"].values[whole["status"].values != "ok"]).all()


def test_no_trial_there(tmp_path):
    with pytest.raises(InputError, match="no manifest.json"):
        open_trial(tmp_path)


def test_a_manifest_that_is_none(own):
    (own / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="job.design.arms"):
        open_trial(own)


@pytest.mark.parametrize(
    ("version", "words"), [(99, "newer version 99.*update theratwin"), (0, "older version 0.*run the trial again")]
)
def test_tables_of_another_version_are_refused(own, version, words):
    path = own / "doses" / "part-00000.parquet"
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata(table.schema.metadata | {b"theratwin_schema": str(version)}), path)
    with pytest.raises(InputError, match=words):
        open_trial(own)


def test_a_manifest_of_a_newer_version_is_refused(own):
    words = json.loads((own / "manifest.json").read_text())
    (own / "manifest.json").write_text(json.dumps(words | {"schema": 2}))
    with pytest.raises(InputError, match="newer version 2"):
        open_trial(own)


def test_a_part_that_cannot_be_read_is_named(own):
    path = own / "patients" / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"part-00001.parquet.*cannot be read.*restore"):
        open_trial(own)


def test_a_part_that_is_found_out_while_reading_is_named(own):
    trial = open_trial(own)
    path = own / "doses" / "part-00001.parquet"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InputError, match=r"doses.part-00001.parquet.*cannot be read"):
        trial.doses()
    assert len(trial.patients()) == 40


def test_a_trial_with_a_part_missing_says_how_many_patients_are_there(own):
    for name in TABLES:
        (own / name / "part-00001.parquet").unlink()
    with pytest.raises(InputError, match="10 of 20 patients: a part of the trial.*resume"):
        open_trial(own)
    trial = open_trial(own, partial=True)
    assert (trial.count, trial.complete) == (10, False)


def test_a_part_missing_in_one_table_is_damage_even_when_opened_in_part(own):
    (own / "lesions" / "part-00001.parquet").unlink()
    with pytest.raises(InputError, match="no part 1 of lesions"):
        open_trial(own, partial=True)


def test_files_that_are_being_written_are_no_parts(own):
    (own / "patients" / ".part-00002.parquet.new").write_bytes(b"half")
    (own / "patients" / "part-00002.parquet.new").write_bytes(b"half")
    assert open_trial(own).complete


def test_misspelt_names_are_told(folder):
    trial = open_trial(folder)
    with pytest.raises(InputError, match="kidney_dose_Gy"):
        trial.patients(["kidny_dose_Gy"])
    with pytest.raises(InputError, match="twin"):
        trial.patients(arm="twinn")


def test_the_document_has_the_schema_as_it_is():
    text = PAGE.read_text(encoding="utf-8")
    assert page_with_schema(text) == text, "run python -m tests.trial_tables"


def test_a_document_that_drifted_is_caught():
    text = f"a\n{BEGIN}\n| `old` |\n{END}\nz\n"
    made = page_with_schema(text)
    assert made != text
    assert "kidney_bed_Gy" in made
    assert made.startswith("a\n")
    assert made.endswith(f"{END}\nz\n")
