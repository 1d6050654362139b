"""Levers of a ligand's table, what they change, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from pbpk.anatomy import KIDNEYS, Anatomy
from pbpk.levers import FIELD, Lever, changed, levers_of
from pbpk.parameters import Covariates, ligand
from pbpk.scaling import physiology
from pbpk.sensitivity import elasticities, log_tia, sobol
from tests.reference.reference_pbpk import bolus, default_patient

KIN = default_patient()
DENSITY = Lever("density", ("receptors",), KIDNEYS, log_sd=0.3)
AFFINITY = Lever("KD", ("k_off",), log_sd=0.2)
OUTPUTS = {"kidneys": KIDNEYS}


@pytest.mark.parametrize("name", ["PSMA-617", "PSMA-11", "DOTATATE"])
def test_each_varying_row_of_the_table_is_one_lever(name):
    drug = ligand(name)
    body = physiology(Covariates.of(), drug.target, {"tumour_1": 20.0}, Anatomy(small_glands=True))
    levers = {lever.name: lever for lever in levers_of(drug, body.organs)}
    varying = [key for key, row in drug.rows.items() if row.cv > 0 and key[0] in FIELD]
    assert len(levers) == len(varying)
    kidneys = levers["receptor density, kidneys"]
    assert (kidneys.fields, kidneys.organs) == (("receptors",), KIDNEYS)
    assert kidneys.log_sd == drug.rows["receptor_density", "kidneys"].log_sd


def test_every_organ_with_uptake_has_one_release_lever():
    organs = [
        o for lever in levers_of(ligand("PSMA-617"), KIN.organs) if lever.fields == ("release",) for o in lever.organs
    ]
    assert len(set(organs)) == len(organs)
    assert {"liver", "tumour_1", "tumour_rest", *KIDNEYS} <= set(organs)
    assert "muscle" not in organs


def test_a_lever_multiplies_its_fields_in_its_organs_and_nothing_else():
    double = jnp.log(jnp.array([[2.0], [3.0]]))
    after = changed(KIN, (DENSITY, AFFINITY), double)
    factor = np.asarray(after.receptors / jnp.where(KIN.receptors > 0, KIN.receptors, 1.0))[:, 0]
    kidneys = np.array([organ in KIDNEYS for organ in KIN.organs])
    assert factor[kidneys] == pytest.approx(2.0)
    assert np.array_equal(after.receptors[~kidneys], KIN.receptors[~kidneys])
    assert after.k_off == pytest.approx(3 * KIN.k_off)
    assert after.release is KIN.release


def test_levers_on_one_field_multiply():
    everywhere = Lever("all", ("receptors",))
    after = changed(KIN, (DENSITY, everywhere), jnp.log(jnp.array([[2.0], [5.0]])))
    at = KIN.organs.index("tumour_1"), KIN.organs.index(KIDNEYS[0])
    assert after.receptors[at[0], 0] == pytest.approx(5 * KIN.receptors[at[0], 0])
    assert after.receptors[at[1], 0] == pytest.approx(10 * KIN.receptors[at[1], 0])


REFUSED = {
    "receptors": (Lever("x", ("receptor",)),),
    "kidney_left": (Lever("x", ("receptors",), ("kidney_lft",)),),
    "none for k_off": (Lever("x", ("k_off",), KIDNEYS),),
    "name of its own": (DENSITY, DENSITY),
    "at least one": (),
}


@pytest.mark.parametrize("words", REFUSED)
def test_levers_that_cannot_be_followed_are_refused(words):
    levers = REFUSED[words]
    with pytest.raises(InputError, match=words):
        changed(KIN, levers, jnp.zeros((len(levers), 1)))


def test_an_unknown_output_is_refused_and_the_nearest_named():
    with pytest.raises(InputError, match="spleen"):
        log_tia(jnp.zeros((1, 1)), KIN.organs, {"x": ("spln",)})


def test_many_patients_are_refused():
    two = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=-1), KIN)
    for ask in (elasticities, sobol):
        with pytest.raises(InputError, match="2 patients"):
            ask(two, bolus(), (DENSITY,), OUTPUTS)


def test_a_lever_without_spread_and_an_odd_sample_are_refused():
    with pytest.raises(InputError, match="spread between patients"):
        sobol(KIN, bolus(), (DENSITY, Lever("flow", ("plasma_flow",))), OUTPUTS, samples=8)
    with pytest.raises(InputError, match="power of two"):
        sobol(KIN, bolus(), (DENSITY,), OUTPUTS, samples=100)
