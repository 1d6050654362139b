"""The exported SBML: solved by libRoadRunner it is our solution; it is consistent; it holds the patient's numbers."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from pbpk import sbml
from pbpk.administration import Administration
from pbpk.reactions import COMMON_UNITS, ORGAN_UNITS, network
from pbpk.sbml import Dose, doses_of, to_sbml
from pbpk.solve import segments
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus, default_patient
from tests.reference.reference_sbml import (
    ATOL_NMOL,
    COURSES,
    INTEGRAL,
    PEAK,
    RTOL,
    course,
    errors,
    infusions,
    loaded,
    ours,
)

libsbml = pytest.importorskip("libsbml")
pytest.importorskip("roadrunner")

TWO = "PSMA-617, two infusions"
COMPARED = 130
"""Every course has at least as many hot and total amounts."""
WRONG = 1.01
CHANGED = (
    "k_on", "decay", "excreted_fraction", "tumour_1_receptors", "spleen_release", "liver_permeability",
    "muscle_interstitial", "kidney_left_filtration", "gi_plasma_flow", "administration_2_cold",
)  # fmt: skip
THERAPY = Administration(1, 0.0, 7400.0, 100.0, 0.5, "PSMA-617", "177Lu")


def model(text: str):
    """The parsed document, which owns what is in it, and its model."""
    document = libsbml.readSBMLFromString(text)
    return document, document.getModel()


@pytest.mark.parametrize("name", COURSES)
def test_roadrunner_finds_our_amounts_and_integrals(name):
    amounts, integrals = errors(name)
    kin = course(name)[0]
    kidney = kin.organs[kin.layout.kidney.start]
    assert len(amounts) >= COMPARED
    assert {f"{kidney}_transit_hot", f"{kidney}_bound_total", "protein_total", "urine_hot"} <= set(amounts)
    assert {column: error for column, error in amounts.items() if error > PEAK} == {}
    assert {column: error for column, error in integrals.items() if error > INTEGRAL} == {}


@pytest.mark.parametrize("parameter", CHANGED)
def test_a_parameter_wrong_by_one_percent_is_seen(parameter):
    """Negative control: the same comparison fails."""
    amounts, integrals = errors(TWO, {parameter: WRONG})
    assert max(amounts.values()) > PEAK
    assert max(integrals.values()) > INTEGRAL


@pytest.mark.parametrize("name", COURSES)
def test_libsbml_finds_nothing_to_say_about_the_file(name):
    """Errors and warnings alike, units included."""
    document, _ = model(course(name)[2])
    document.checkConsistency()
    found = [document.getError(k).getMessage() for k in range(document.getNumErrors())]
    assert found == []


def test_libsbml_would_find_an_unknown_name():
    """Negative control of the consistency check."""
    document, _ = model(course(TWO)[2].replace("<ci> k_off </ci>", "<ci> k_of </ci>"))
    assert document.checkConsistency() > 0


@pytest.mark.parametrize("name", COURSES)
def test_every_pool_that_can_be_filled_is_there_twice(name):
    kin, _, text = course(name)
    _, found = model(text)
    species = {found.getSpecies(k).getId() for k in range(found.getNumSpecies())}
    can_be_filled = {
        "vascular": np.ones(len(kin.organs), bool),
        "interstitial": np.asarray(kin.permeability + kin.filtration)[:, 0] > 0,
        "transit": np.asarray(kin.filtration)[:, 0] > 0,
        "bound": np.asarray(kin.receptors)[:, 0] > 0,
        "internalised": np.asarray(kin.receptors + kin.nonsaturable)[:, 0] > 0,
    }
    pools = {f"{o}_{pool}" for pool, yes in can_be_filled.items() for o, y in zip(kin.organs, yes, strict=True) if y}
    pools |= {"venous", "arterial", "protein", "urine", "bile", "released"}
    assert species == {f"{pool}_{kind}" for pool in pools for kind in ("hot", "cold")}
    assert "brain_interstitial_hot" not in species
    assert "heart_bound_hot" not in species


@pytest.mark.parametrize("name", COURSES)
def test_the_numbers_of_the_patient_come_back(name):
    kin, _, text = course(name)
    _, found = model(text)
    values = {p.getId(): p.getValue() for p in map(found.getParameter, range(found.getNumParameters()))}
    sizes = {c.getId(): c.getSize() for c in map(found.getCompartment, range(found.getNumCompartments()))}
    given = {field: getattr(kin, field)[0] for field in COMMON_UNITS}
    given |= {f"{o}_{field}": getattr(kin, field)[k, 0] for k, o in enumerate(kin.organs) for field in ORGAN_UNITS}
    volumes = {
        f"{o}_{f}": getattr(kin, f)[k, 0] for k, o in enumerate(kin.organs) for f in ("vascular", "interstitial")
    }
    kept = values.keys() & given.keys()
    left_out = {name for name in set(given) - kept if given[name] != 0}
    assert {k: v for k, v in values.items() if k in kept} == pytest.approx(
        {k: float(given[k]) for k in kept}, rel=1e-14
    )
    assert {k: sizes[k] for k in volumes if k in sizes} == pytest.approx(
        {k: float(v) for k, v in volumes.items() if k in sizes}, rel=1e-14
    )
    unused = ("internalisation", "release", "returned_fraction")
    assert left_out <= {"lungs_plasma_flow", *(f"{o}_{f}" for o in kin.organs for f in unused)}


def test_the_file_says_what_it_is_and_where_it_comes_from():
    notes = model(course(TWO)[2])[1].getNotesString()
    assert "Not a medical device" in notes
    assert "Fele-Paranj" in notes


def test_administrations_are_written_as_the_segments_made_of_them():
    """Asked-for times cut an infusion into segments; the file holds the infusion."""
    later = replace(THERAPY, cycle=2, time_h=WEEKS_6_MIN / 60)
    given = segments([0.0, WEEKS_6_MIN], [30.0, 30.0], [100.0] * 2, [THERAPY.labelled_nmol] * 2, [7.0, 9.0], 1e5)
    decay = radionuclide("177Lu").decay_constant_per_min
    np.testing.assert_allclose(doses_of([later, THERAPY], decay), doses_of(given, decay), rtol=1e-12)
    assert doses_of(bolus(100.0, 10.0, (5.0,)), decay) == [Dose(0.0, 0.0, 10.0, 90.0)]


def test_a_bolus_and_two_infusions_that_overlap_keep_their_amounts():
    given = segments([0.0, 10.0, 20.0], [0.0, 20.0, 20.0], [5.0, 8.0, 6.0], [1.0, 2.0, 3.0], (), 100.0)
    doses = doses_of(given, 1.0)
    assert [dose.duration_min for dose in doses] == [0.0, 10.0, 10.0, 10.0]
    assert np.sum(doses, axis=0)[2:] == pytest.approx([6.0, 13.0])


def test_the_diagnostic_administration_before_cycle_1_is_time_0():
    before = replace(THERAPY, cycle=0, time_h=-336.0, infusion_h=0.0)
    assert [dose.start_min for dose in doses_of([THERAPY, before], float(default_patient().decay[0]))] == [0.0, 20160.0]


def refused(kin=None, given=None) -> str:
    with pytest.raises(InputError) as error:
        to_sbml(kin or default_patient(), given or bolus())
    return str(error.value)


def test_what_cannot_be_written_is_refused_with_a_way_out():
    kin = default_patient()
    change = lambda field, value: eqx.tree_at(lambda k: getattr(k, field), kin, value)
    assert "take one column" in refused(jax.tree.map(lambda x: jnp.repeat(x, 2, axis=-1), kin))
    assert "kinetics.vascular of liver" in refused(change("vascular", kin.vascular.at[1].set(0.0)))
    assert "kinetics.release of lungs" in refused(change("release", kin.release * jnp.nan))
    assert "0 to 1" in refused(change("excreted_fraction", kin.excreted_fraction + 1))
    assert "'left kidney'" in refused(replace(kin, organs=("left kidney", *kin.organs[1:])))
    given = bolus(total_nmol=2.0, hot_nmol=1.0)
    assert "no more hot than total" in refused(kin, given._replace(bolus_nmol=given.bolus_nmol[:, ::-1]))
    assert "give what the patient receives" in refused(kin, bolus(0.0, 0.0))
    assert "(68Ga)" in refused(kin, [replace(THERAPY, nuclide="68Ga", activity_MBq=100.0)])
    assert "several tracers" in refused(kin, [THERAPY, replace(THERAPY, cycle=2, time_h=9.0, ligand="PSMA-I&T")])
    assert "Administration" in refused(kin, [7400.0])


def test_without_libsbml_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "libsbml", None)
    with pytest.raises(ImportError, match=re.escape("theratwin[sbml]")):
        to_sbml(default_patient(), bolus())
    assert network(default_patient()).pools
    assert "libsbml" not in vars(sbml)


def test_the_worked_example_of_the_page_gives_our_activity(repository, tmp_path):
    page = (repository / "docs" / "sbml.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    script = tmp_path / "example.py"
    script.write_text("".join(blocks[:2]), encoding="utf-8")
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kin, end_min = default_patient(), WEEKS_6_MIN
    given = segments([0.0], [30.0], [100.0], [THERAPY.labelled_nmol], (), end_min)
    kept = ours(kin, given, [end_min]).organ_integrals[kin.organs.index("kidney_left"), 0]
    expected = float(kept) / 60 * radionuclide("177Lu").activity_MBq_per_nmol
    assert float(done.stdout.split()[0]) == pytest.approx(expected, rel=1e-5)


def test_a_reset_in_the_middle_of_an_infusion_stops_it():
    """libRoadRunner's `reset` leaves plain parameters as they are, so the rate of infusion is none."""
    simulator = loaded(course(TWO)[2], RTOL, ATOL_NMOL)
    selections = ["time", "venous_hot", "infusion_hot"]
    first = np.array(simulator.simulate(times=[0.0, 10.0, 20.0], selections=selections))
    simulator.reset()
    again = np.array(simulator.simulate(times=[0.0, 10.0, 20.0], selections=selections))
    np.testing.assert_allclose(again, first, rtol=1e-9)


def test_infusions_of_the_courses_hold_what_was_given():
    given = infusions(100.0, 10.0)
    assert np.sum(given.infusion_nmol_per_min * given.length_min[:, None], axis=0) == pytest.approx([200.0, 20.0])
