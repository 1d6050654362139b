"""Laws of the options of a model: parts of kidneys, small glands, albumin, returning ligand, bile, amino acids.

The model with every option obeys the laws of the standard one; libRoadRunner solves it in tests/reference/test_sbml.py.
"""

import re
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from pbpk.anatomy import CORTEX, KIDNEYS, MEDULLA, Anatomy, parts
from pbpk.forms import FORMS, Drive
from pbpk.kinetics import rates
from pbpk.parameters import ligand
from pbpk.scaling import kinetics, physiology
from pbpk.solve import freeze, solve, solve_on
from pbpk.state import LEDGER
from tests.reference.reference_options import PATIENT, explicit_albumin, made, tia
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus, every_option, flat

KIN = every_option()
TOTAL, HOT = 100.0, 10.0
TIMES_MIN = (10.0, 60.0, 240.0, 1440.0, 10080.0)
COURSE = bolus(TOTAL, HOT, TIMES_MIN, WEEKS_6_MIN)


def tia_of(kin):
    return tia(kin, COURSE)


def released(kin):
    """Hot ligand released at the end, nmol: (bile, elsewhere)."""
    ledger = np.asarray(solve(kin, COURSE, bed=False).integrals.ledger)[-1, :, 0]
    return ledger[LEDGER.index("bile")], ledger[LEDGER.index("released")]


# the laws of the standard model, with every option


@pytest.mark.parametrize("form", FORMS)
def test_hot_ligand_is_in_the_body_or_in_the_ledger(form):
    found = flat(solve(KIN, COURSE, form=form))
    inside = found.hot.sum(axis=(0, 1)) + found.hot_blood.sum(axis=0)
    assert np.max(np.abs(inside + found.ledger.sum(axis=0) - HOT)) <= 1e-9 * HOT
    bile = found.ledger[LEDGER.index("bile")]
    assert np.max(np.abs(inside + found.ledger.sum(axis=0) - bile - HOT)) > 1e-4 * HOT  # negative control
    lowest = min(x.min() for x in (found.hot, found.hot_blood))
    assert lowest >= -1e-9 * HOT


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("shift", [1e-3, 0.1, 10.0])
def test_elimination_is_the_dense_solve(shift, form, rng):
    solution = solve(KIN, bolus(end_min=60.0), form=form.name)
    y, r, drive = solution.y[-1], rates(KIN), Drive(jnp.zeros((2, 1)), solution.ratio[-1])
    b = rng.normal(size=y.shape)
    ours = np.asarray(form.solve(form.factor(y, r, drive, jnp.asarray(shift)), r, jnp.asarray(b)))
    dense = np.asarray(jax.jacfwd(lambda u: form.derivative(u[:, None], r, drive)[:, 0])(y[:, 0]))
    theirs = np.linalg.solve(shift * np.eye(len(b)) - dense, b)
    assert np.max(np.abs(ours - theirs)) <= 1e-12 * np.max(np.abs(theirs))


def test_the_adjoint_is_the_automatic_derivative():
    grid = freeze(KIN, bolus(TOTAL, HOT, (), WEEKS_6_MIN))
    fields = ("returned_fraction", "unbound_fraction", "albumin_permeability", "biliary_fraction")

    def bile_and_tia(values, adjoint):
        kin = eqx.tree_at(lambda k: [getattr(k, f) for f in fields], KIN, values)
        integrals = solve_on(kin, grid, bed=False, adjoint=adjoint).integrals
        return jnp.sum(jnp.log(integrals.organ[-1])) + integrals.ledger[-1, LEDGER.index("bile"), 0]

    at = [getattr(KIN, f) for f in fields]
    ours, theirs = (jax.jit(jax.grad(lambda v, a=a: bile_and_tia(v, a)))(at) for a in (True, False))
    for mine, other in zip(ours, theirs, strict=True):
        assert np.max(np.abs(mine)) > 0
        assert np.max(np.abs(mine - other)) <= 1e-10 * np.max(np.abs(other))


# parts of kidneys, small glands


def test_cortex_and_medulla_have_what_the_kidney_has():
    whole, divided = made(), made(anatomy=Anatomy(kidney_parts=True))
    assert set(divided.organs) == set(whole.organs) - set(KIDNEYS) | {*CORTEX, *MEDULLA}
    for side in KIDNEYS:
        rows = [divided.organs.index(o) for o in parts(side, divided.organs)]
        assert len(rows) == 2
        for field in ("plasma_flow", "vascular", "interstitial", "receptors", "filtration"):
            kidney = float(getattr(whole, field)[whole.organs.index(side), 0])
            assert float(getattr(divided, field)[np.array(rows), 0].sum()) == pytest.approx(kidney, rel=1e-12), field
    assert divided.kidney_count == whole.kidney_count == 2


def test_a_divided_kidney_takes_up_nearly_what_the_whole_one_does():
    """To 5 %: the parts see the same plasma, but the medulla's ligand comes with the flow, not with the filtrate."""
    whole, divided = tia_of(made()), tia_of(made(anatomy=Anatomy(kidney_parts=True)))
    ours = sum(divided[o] for o in parts("kidneys", tuple(divided)))
    assert ours == pytest.approx(sum(whole[o] for o in KIDNEYS), rel=0.05)
    for organ in ("liver", "spleen", "parotid", "tumour_1", "red_marrow"):
        assert divided[organ] == pytest.approx(whole[organ], rel=0.01), organ


def test_measured_kidneys_are_divided_by_volume():
    body = physiology(PATIENT, "psma", {"kidney_left": 100.0, "kidneys": 300.0}, Anatomy(kidney_parts=True))
    volume_mL = dict(zip(body.organs, 1000 * body.volume_L, strict=True))
    assert volume_mL["kidney_cortex_left"] + volume_mL["kidney_medulla_left"] == pytest.approx(100.0)
    assert volume_mL["kidney_cortex_right"] + volume_mL["kidney_medulla_right"] == pytest.approx(200.0)
    assert {*CORTEX, *MEDULLA} <= body.segmented


@pytest.mark.parametrize(
    ("volumes_mL", "expected"),
    [
        ({"left kidney": 160.0}, {"kidney_cortex_left": 112.0, "kidney_medulla_left": 48.0}),
        ({"kidney_left": 160.0, "kidney_cortex_left": 120.0}, {"kidney_medulla_left": 40.0}),
        ({"kidney_cortex_left": 105.0}, {"kidney_medulla_left": 45.0}),
        ({"kidneys": 300.0, "kidney_right": 180.0}, {"kidney_cortex_left": 84.0}),
    ],
)
def test_what_is_not_segmented_of_a_kidney_follows_from_the_rest(volumes_mL, expected):
    body = physiology(PATIENT, "psma", volumes_mL, Anatomy(kidney_parts=True))
    found = dict(zip(body.organs, 1000 * body.volume_L, strict=True))
    assert {organ: found[organ] for organ in expected} == pytest.approx(expected)
    assert set(expected) <= body.segmented


@pytest.mark.parametrize(
    ("says", "volumes_mL"),
    {
        "parts that add up": {"kidneys": 300.0, "kidney_left": 200.0, "kidney_right": 180.0},
        "more than its part": {"kidneys": 150.0, "kidney_left": 160.0},
        "no region of this body": {"kidney_cortex_left": 100.0},
        "volumes_mL: sublingual": {"sublingual": 5.0},
        "named again": {"tumour_1": 5.0, "lesion 1": 6.0},
        "a volume above zero": {"tumour_rest": -1.0},
        'write "liver"': {"livr": 1500.0},
    }.items(),
)
def test_volumes_that_a_body_cannot_take_are_refused(says, volumes_mL):
    with pytest.raises(InputError, match=re.escape(says)):
        physiology(PATIENT, "psma", volumes_mL)


def test_a_tumour_by_another_spelling_is_the_same_tumour():
    named, spelt = (physiology(PATIENT, "psma", {name: 20.0}) for name in ("tumour_1", "Lesion 1"))
    assert named.organs == spelt.organs
    np.testing.assert_array_equal(named.volume_L, spelt.volume_L)


@pytest.mark.parametrize(("name", "gland"), [("PSMA-617", "sublingual"), ("DOTATATE", "pituitary")])
def test_small_glands_take_up_ligand_and_leave_the_others_theirs(name, gland):
    without, with_glands = tia_of(made(name)), tia_of(made(name, Anatomy(small_glands=True)))
    assert set(with_glands) == set(without) | {gland}
    muscle = with_glands["muscle"] / 29.0
    volume_L = {"sublingual": 0.0074, "pituitary": 0.0006}[gland]
    assert with_glands[gland] / volume_L > 3 * muscle
    for organ in without:
        assert with_glands[organ] == pytest.approx(without[organ], rel=2e-3), organ


def test_a_woman_has_no_prostate():
    organs = Anatomy(True, True).organs("psma", "female", ("tumour_1",))
    assert "prostate" not in organs
    assert organs.index("tumour_1") < organs.index("red_marrow")


# what cells let go


def test_ligand_that_all_returns_is_never_released():
    bile, elsewhere = released(made(values={("returned_fraction", "default"): 1.0}))
    assert max(bile, elsewhere) <= 1e-12 * HOT


def test_returning_ligand_stays_longer_in_every_organ_that_binds_it():
    totals = [tia_of(made(values={("returned_fraction", "default"): x})) for x in (0.0, 0.3, 0.6)]
    for organ in ("kidney_left", "tumour_1", "parotid", "liver"):
        none, some, more = (t[organ] for t in totals)
        assert none < some < more, organ


def test_bile_is_the_stated_part_of_what_the_liver_lets_go():
    def bile(part):
        return released(made(values={("biliary_fraction", ""): part}))

    (all_of_it, rest), (some, more) = bile(1.0), bile(0.25)
    assert some == pytest.approx(0.25 * all_of_it, rel=1e-10)
    assert some + more == pytest.approx(all_of_it + rest, rel=1e-10)
    assert bile(0.0)[0] == 0.0


# albumin: the explicit reaction, free and bound ligand as pools of their own, tends to the equilibrium


@cache
def on_albumin():
    return made(values={("KD_albumin", ""): 1e5, ("kPS_albumin", "tumour"): 0.02})


def test_fast_albumin_is_the_equilibrium_that_the_model_takes():
    kin, minutes = on_albumin(), 600.0
    free = float(kin.unbound_fraction[0])
    assert free == pytest.approx(1e5 / (1e5 + 6.4e5))
    ours = tia(eqx.tree_at(lambda k: k.decay, kin, kin.decay * 1e-9), bolus(TOTAL, TOTAL, (), minutes))
    errors = []
    for k_off in (30.0, 300.0):
        theirs = explicit_albumin(kin, TOTAL, k_off, minutes)
        errors.append(max(abs(ours[o] / theirs[o] - 1) for o in ("kidney_left", "tumour_1", "parotid", "muscle")))
    assert errors[1] < 2e-3
    assert errors[1] < 0.2 * errors[0]


def test_albumin_keeps_ligand_in_plasma():
    """Less is filtered: excretion slows, and kidneys and tumours have longer to take up."""
    free, bound = solve(made(), COURSE), solve(on_albumin(), COURSE)
    urine = [np.asarray(x.integrals.ledger)[:, LEDGER.index("urine"), 0] for x in (free, bound)]
    assert urine[1][2] < 0.5 * urine[0][2]
    blood = [np.asarray(x.integrals.blood)[-1].sum() for x in (free, bound)]
    assert blood[1] > 2 * blood[0]


# amino acids


def test_without_amino_acids_the_kidney_dose_is_what_the_label_says():
    """Lutathera: the kidney dose is lower by 47 % (34 to 59 %) with amino acids; the table's values hold with them."""
    with_them, without = tia_of(made("DOTATATE")), tia_of(made("DOTATATE", amino_acids=False))
    assert tia_of(made("DOTATATE", amino_acids=True)) == with_them
    reduction = 1 - with_them["kidney_left"] / without["kidney_left"]
    assert 0.34 <= reduction <= 0.59
    assert without["tumour_1"] == pytest.approx(with_them["tumour_1"], rel=0.05)


# refusals


def refused(found, make):
    with pytest.raises(InputError, match=re.escape(found)):
        make()


@pytest.mark.parametrize(
    ("says", "values"),
    {
        "parameter: found 'KD_albumen'; expected KD_albumin": {("KD_albumen", ""): 1.0},
        "returned_fraction, default: found 1.2; expected 0 to 1": {("returned_fraction", "default"): 1.2},
        "biliary_fraction: found -0.1": {("biliary_fraction", ""): -0.1},
        "kPS_albumin, tumour: found -0.1": {("kPS_albumin", "tumour"): -0.1},
        "KD: found 0; expected above 0": {("KD", ""): 0.0},
        "amino_acid_kidney_sites, kidneys: found 0": {("amino_acid_kidney_sites", "kidneys"): 0.0},
        "no ligand on albumin": {("kPS_albumin", "tumour"): 0.02},
        "returned_fraction: organ: found ''": {("returned_fraction", ""): 0.5},
        "phi: organ: found 'kidneys'": {("phi", "kidneys"): 0.5},
        "organ: found 'kidny'; expected kidneys": {("release", "kidny"): 1e-4},
        "zero where free ligand does not pass": {("KD_albumin", ""): 1e5, ("kPS_albumin", "default"): 0.1},
    }.items(),
)
def test_impossible_values_are_named(says, values):
    with pytest.raises(InputError, match=re.escape(says)):
        made(values=values)


def test_a_ligand_of_another_target_is_refused():
    body = physiology(PATIENT, "psma", {})
    with pytest.raises(InputError, match="DOTATATE of sstr"):
        kinetics(body, PATIENT, ligand("DOTATATE"), radionuclide("177Lu"), {})
    with pytest.raises(InputError, match="target: found 'PSMA'"):
        physiology(PATIENT, "PSMA", {})
    with pytest.raises(InputError, match="amino_acids: found False for PSMA-617"):
        made(amino_acids=False)


def test_a_value_serves_the_kind_and_a_single_tumour_its_own():
    usual = made()
    at = usual.organs.index
    slow = made(values={("kPS", "tumour"): 0.05})
    assert float(slow.permeability[at("tumour_rest"), 0]) == pytest.approx(0.05 * 0.23)
    one = made(values={("kPS", "tumour_1"): 0.05})
    assert float(one.permeability[at("tumour_rest"), 0]) == float(usual.permeability[at("tumour_rest"), 0])
    muscle = made(values={("receptor_density", "muscle"): 0.5, ("release", "muscle"): 1e-4})
    assert float(muscle.receptors[at("muscle"), 0]) > 0


def test_a_program_is_compiled_once_for_bodies_of_one_division():
    """Division is structure; the other options are numbers, so patients with and without them share a program."""
    assert made().layout == on_albumin().layout
    assert jax.tree.structure(made()) == jax.tree.structure(on_albumin())
    assert made().layout != made(anatomy=Anatomy(kidney_parts=True)).layout
