"""A design is checked field by field, filled in from the label, and its shipped examples can be read."""

from __future__ import annotations

import pytest

from dose.errors import InputError
from twin.trial.cohort_file import read_cohort_file, require_rows, with_file
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


def test_a_cohort_file_is_checked_and_used(tmp_path, people):
    path = tmp_path / "cohort.csv"
    path.write_text("patient,age_y,weight_kg,sex\n1,60,70,male\n2,61,71,female\n3,62,72,male\n")
    assert list(read_cohort_file(str(path))["age_y"]) == [60, 61, 62]
    found = with_file(people, str(path))
    assert list(found.age_y[:4]) == [60.0, 61.0, 62.0, 60.0]  # a block is filled up by the first rows
    assert list(found.female[:3]) == [False, True, False]
    assert found.gfr_mL_min is people.gfr_mL_min
    require_rows(str(path), 3)
    with pytest.raises(InputError, match="4 or more"):
        require_rows(str(path), 4)


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


@pytest.fixture(scope="module")
def people():
    import jax

    from pbpk.population import draw_people

    return draw_people("psma", jax.random.key(1), 0, 48)
