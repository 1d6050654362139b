"""What a later study adds to a twin."""

from __future__ import annotations

import pytest

from dose.errors import InputError
from twin.later import later_data
from twin.study import read_study

ROWS = "region,time_h,activity_MBq,sd,volume_mL\nright kidney,4,80,4,150\nright kidney,96,30,2,150\n"


def test_only_new_rows_are_taken(patient, write_study_files):
    _, observations, administrations = later_data(patient, read_study(write_study_files(table=ROWS)))
    assert list(observations.time_h) == [96.0]
    assert administrations == ()


def test_a_later_cycle_brings_its_administration(patient, write_study_files):
    folder = write_study_files(table="region,time_h,activity_MBq,sd,cycle\nliver,24,30,2,2\n")
    toml = folder / "patient.toml"
    toml.write_text(toml.read_text() + "[[administrations]]\ncycle = 2\ntime_h = 1008\nactivity_MBq = 7000\n")
    _, observations, administrations = later_data(patient, read_study(folder))
    assert [a.cycle for a in administrations] == [2]
    assert observations.cycle == (2,)


CHANGES = {
    "nothing new": ("", "", "no new measurement"),
    "another patient": ("made by hand", "somebody else", "same patient"),
    "another ligand": ("PSMA-617", "DOTATATE", "tracer"),
    "another activity": ("7.4 GBq", "5 GBq", "as in the twin"),
    "another body": ("[covariates]", "[model]\nkidney_parts = true\n[covariates]", "kidney_parts=False"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_does_not_belong_is_refused(name, patient, write_study_files):
    old, new, expected = CHANGES[name]
    folder = write_study_files()
    toml = folder / "patient.toml"
    toml.write_text(toml.read_text().replace(old, new) if old else toml.read_text())
    with pytest.raises(InputError, match=expected):
        later_data(patient, read_study(folder))
