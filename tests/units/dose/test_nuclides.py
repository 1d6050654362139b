"""Radionuclide table and names."""

import csv
from dataclasses import replace

import pytest

from dose.errors import InputError
from dose.nuclides import decay_constant, known_nuclides, radionuclide


@pytest.mark.parametrize("name", ["177Lu", "Lu-177", "lu177", "177 Lutetium", "LU 177", "[177Lu]"])
def test_the_spellings_of_a_nuclide_are_one(name):
    assert radionuclide(name).name == "177Lu"


def test_a_metastable_state_is_another_nuclide():
    assert radionuclide("Lu-177m").half_life_h > 20 * radionuclide("Lu-177").half_life_h
    assert radionuclide("Tc99m").name == "99mTc"


@pytest.mark.parametrize("wrong", ["177Lx", "Lutetium", "", "999Lu"])
def test_an_unknown_nuclide_is_refused(wrong):
    with pytest.raises(InputError, match="nuclide"):
        radionuclide(wrong)


def test_a_nanomole_of_177lu_has_727_MBq():
    # lambda N_A with T1/2 6.647 d: 726.84 MBq/nmol
    assert radionuclide("177Lu").activity_MBq_per_nmol == pytest.approx(726.837, rel=1e-6)


@pytest.mark.parametrize("name", known_nuclides())
def test_constants_agree_between_units_of_time_and_branches_do_not_exceed_one(name):
    nuclide = radionuclide(name)
    assert nuclide.decay_constant_per_min * 60 == pytest.approx(nuclide.decay_constant_per_h, rel=1e-14)
    assert sum(branching for _, branching in nuclide.progeny) <= 1 + 1e-3


def test_another_evaluation_of_a_half_life_is_another_value():
    newer = replace(radionuclide("225Ac"), half_life_h=9.920 * 24)
    assert newer.decay_constant_per_h == pytest.approx(decay_constant(238.08), rel=1e-14)
    with pytest.raises(InputError, match="half_life_h"):
        replace(newer, half_life_h=-1.0)


def test_the_shipped_table_equals_its_source(shared):
    lines = (shared / "data/dose/icrp107_summary.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    assert len(rows) == len(known_nuclides())
    for row in rows:
        nuclide = radionuclide(row["nuclide"])
        # the source gives seconds to six digits
        assert nuclide.half_life_h * 3600 == pytest.approx(float(row["half_life_s"]), rel=5e-6)
        assert nuclide.electron_MeV == float(row["E_electron_total_MeV"])
        assert nuclide.alpha_MeV == float(row["E_alpha_MeV"])
