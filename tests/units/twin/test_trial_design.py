"""A design is checked field by field, filled in from the label, and its shipped examples can be read."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dose.errors import InputError
from pbpk.population import draw_people
from twin.trial.cohort_file import known_covariates, read_cohort_file, require_rows
from twin.trial.design import design_of, read_design, shipped_designs

ONE = {"name": "t", "arms": [{"name": "a"}]}


def test_defaults_are_the_label_s():
    design = design_of(ONE)
    [arm] = design.arms
    assert (arm.tracer, arm.activity_MBq, arm.cap_MBq, arm.cycles) == ("177Lu-PSMA-617", 7400.0, 7400.0, 6)
    assert arm.interval_days == 42
    assert arm.amount_nmol == 90.0
    assert design.reference == "a"
    assert design.target == "psma"


def test_units_may_be_written():
    arms = [{"name": "a", "activity_MBq": "6 GBq", "amount_nmol": "150 nmol"}]
    [arm] = design_of({"name": "t", "arms": arms}).arms
    assert (arm.activity_MBq, arm.amount_nmol) == (6000.0, 150.0)


def test_a_filled_design_reads_itself_back():
    design = read_design("psma-scans")
    assert design_of(design.model_dump(mode="json")) == design


@pytest.mark.parametrize("name", shipped_designs())
def test_shipped_designs_can_be_read(name):
    design = read_design(name)
    assert design.question
    assert design.reference in [arm.name for arm in design.arms]


def test_the_library_has_what_the_documentation_lists():
    assert set(shipped_designs()) >= {
        "psma-fixed",
        "psma-stop-rule",
        "psma-scans",
        "psma-nuclides",
        "dotatate-stop-rule",
    }


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"arms": []}, "at least 1 item"),
        ({"arms": [{"name": "a", "policy": "fixd"}]}, "arms.0.policy.*fixd"),
        ({"arms": [{"name": "a"}, {"name": "a"}]}, "same name"),
        ({"arms": [{"name": "a", "activity_MBq": "7 Gy"}]}, "MBq"),
        ({"arms": [{"name": "a", "cycles": 40}]}, "less than or equal to 12"),
        ({"arms": [{"name": "a", "limit": "kidney_bed_4"}]}, "kidney_bed_40"),
        ({"arms": [{"name": "a"}, {"name": "b", "tracer": "177Lu-DOTATATE"}]}, "different targets"),
        ({"reference": "b"}, "is no arm"),
        ({"patiens": 100}, "patiens"),
        ({"patients": 0}, "greater than or equal to 1"),
        ({"seed": 2**31 - 1}, "less than"),
        ({"imaging": {"times_h": []}}, "at least 1 item"),
        ({"dropout_per_cycle": 1.0}, "less than 1"),
        ({"arms": [{"name": "a", "tracer": "177Lu-DOTATATE"}]}, "different targets"),
        ({"limits": ["kidney_bed_40", "kidney_bed_40"]}, "named twice"),
        ({"arms": [{"name": "a", "activity_MBq": float("inf")}]}, "arms.0.activity_MBq"),
        ({"eligibility": {"least_age_y": 80, "most_age_y": 60}}, "nobody may enter"),
        ({"arms": [{"name": "a", "cap_MBq": 5000.0}]}, "arm a: cap_MBq"),
        ({"arms": [{"name": "a", "limit": "kidney_bed_4"}]}, "arms.0.limit"),
    ],
)
def test_mistakes_are_told_with_their_place(change, words):
    with pytest.raises(InputError, match=words):
        design_of(ONE | change)


def test_files_that_are_no_design_are_told(tmp_path):
    with pytest.raises(InputError, match="psma-fixed"):
        read_design(tmp_path / "none.toml")
    bad = tmp_path / "bad.toml"
    bad.write_text("name = ")
    with pytest.raises(InputError, match="TOML"):
        read_design(bad)


def test_a_cohort_file_is_checked_and_used(tmp_path):
    path = tmp_path / "cohort.csv"
    path.write_text("patient,age_y,weight_kg,sex\n1,60,70,male\n2,61,71,female\n3,62,72,male\n")
    assert list(read_cohort_file(str(path))["age_y"]) == [60, 61, 62]
    found = known_covariates(str(path), 0, 48)
    assert list(found["age_y"][:4]) == [60.0, 61.0, 62.0, 60.0]  # a block is filled up by the first rows
    assert list(found["female"][:3]) == [False, True, False]
    require_rows(str(path), 3)
    with pytest.raises(InputError, match="4 or more"):
        require_rows(str(path), 4)
    path.write_text("age_y\n50\n")
    assert list(read_cohort_file(str(path))["age_y"]) == [50]  # a changed file is read again


def test_what_a_file_lacks_is_drawn_for_its_patients():
    """GFR falls with the age that is given, and weight goes with the height that is given."""
    key, age = jax.random.key(1), np.tile([40.0, 90.0], 240)
    old = draw_people("psma", key, 0, 480, {"age_y": age})
    assert old.gfr_mL_min[age == 40].mean() - old.gfr_mL_min[age == 90].mean() == pytest.approx(37.5, abs=4)
    short = draw_people("psma", key, 0, 480, {"height_m": np.full(480, 1.60)})
    assert short.weight_kg.mean() == pytest.approx(26.5 * 1.6**2, rel=0.02)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("age,weight_kg\n60,70\n", "age_y"),
        ("patient\n1\n", "no covariate"),
        ("weight_kg\n70\n7000\n", "row 2"),
        ("weight_kg\n70\n\nx\n", "row 2"),
        ("sex\nman\n", "row 1"),
    ],
)
def test_bad_cohort_files_are_told(tmp_path, text, words):
    path = tmp_path / "cohort.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=words):
        read_cohort_file(str(path))
