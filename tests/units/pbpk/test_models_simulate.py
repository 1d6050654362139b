"""`simulate`: what may be asked, what is refused, and the same words for every kind of model."""

import equinox as eqx
import jax
import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from pbpk.administration import Administration
from pbpk.models.antibody import Antibody
from pbpk.models.microspheres import Microspheres
from pbpk.models.poppk import PSMA617, HADotatate, draw
from pbpk.models.reduced import reduced
from pbpk.models.tables import typical
from pbpk.models.thyroid import Thyroid
from pbpk.simulate import simulate
from pbpk.solve import segments, solve
from pbpk.whole_body import WholeBody
from tests.problems import LU
from tests.reference.reference_pbpk import default_patient

SPHERES = Microspheres.of(uptake_ratio=4.0, lung_shunt=0.05, tumour_g=200.0, normal_liver_g=1300.0)
GIVEN = Administration(1, 0.0, 2000.0, 10.0, 0.0, "glass", "90Y")
LATER = Administration(2, 48.0, 1000.0, 10.0, 0.0, "glass", "90Y")
PSMA = Administration(1, 0.0, 7400.0, 100.0, 0.0, "PSMA-617", "177Lu")


def spheres(given, times_h):
    return simulate(SPHERES, given, times_h)


# times


def test_an_activity_at_the_moment_of_a_bolus_includes_it():
    at = spheres([GIVEN, LATER], [0.0, 48.0]).activity_MBq.sum(axis=0)
    np.testing.assert_allclose(at, [2000.0, 2000.0 * 2 ** (-48 / 64.1) + 1000.0], rtol=1e-12)


def test_there_is_nothing_before_the_first_administration():
    found = spheres([LATER], [0.0, 47.0, 48.0])
    assert np.all(np.asarray(found.activity_MBq)[:, :2] == 0)
    assert found.activity_MBq[:, 2].sum() == pytest.approx(1000.0)


def test_the_order_of_administrations_does_not_matter():
    one, other = spheres([GIVEN, LATER], [60.0]), spheres([LATER, GIVEN], [60.0])
    np.testing.assert_array_equal(one.tia_to_end_MBq_h, other.tia_to_end_MBq_h)


def test_an_infusion_fills_linearly_less_decay():
    slow = Administration(1, 0.0, 2000.0, 10.0, 2.0, "glass", "90Y")
    decay = np.log(2) / 64.1
    expected = 1000.0 / decay * (1 - np.exp(-decay * np.array([1.0, 2.0])))
    np.testing.assert_allclose(spheres([slow], [1.0, 2.0]).activity_MBq.sum(axis=0), expected, rtol=1e-12)


def test_the_two_integrals_differ_by_the_tail():
    found = spheres([GIVEN], [64.1])
    np.testing.assert_allclose(found.tia_to_end_MBq_h, 2 * found.tia_MBq_h, rtol=1e-11)


@pytest.mark.parametrize("times_h", [[], [1.0, 1.0], [2.0, 1.0], [0.0, float("nan")]])
def test_times_that_do_not_increase_are_refused(times_h):
    with pytest.raises(InputError, match="times_h"):
        spheres([GIVEN], times_h)


# administrations


def test_another_nuclide_is_refused():
    with pytest.raises(InputError, match="nuclide: found '90Y'; expected 177Lu"):
        simulate(Antibody.of(tumour_mL=10.0), [GIVEN], [1.0])


def test_nothing_given_is_refused():
    with pytest.raises(InputError, match="administrations: found none"):
        spheres([], [1.0])


def test_a_misspelt_region_names_the_nearest():
    with pytest.raises(InputError, match="expected liver"):
        spheres([GIVEN], [1.0]).index("livr")


def test_how_it_was_found_is_said():
    assert "closed form" in spheres([GIVEN], [1.0]).how


def test_closed_forms_have_derivatives():
    tia = lambda model: simulate(model, [GIVEN], [1.0]).tia_to_end_MBq_h[0]
    slope = float(eqx.filter_grad(tia)(SPHERES).lung_shunt)
    assert slope == pytest.approx(-float(tia(SPHERES)) / 0.95, rel=1e-9)


# the whole-body model


def test_the_whole_body_model_is_the_structured_solve():
    kin, hot = default_patient(), PSMA.labelled_nmol
    found = simulate(WholeBody(kin, LU), [PSMA], [1.0, 24.0])
    solution = solve(kin, segments([0.0], [0.0], [100.0], [hot], [60.0], 1440.0))
    theirs = LU.activity_MBq_per_nmol * np.asarray(solution.hot.organ_total(solution.layout))[..., 0].T
    np.testing.assert_allclose(np.asarray(found.activity_MBq)[:-1], theirs, rtol=1e-9)
    assert found.regions == (*kin.organs, "blood")
    assert "structured" in found.how


def test_the_whole_body_model_holds_its_bolus_at_once():
    found = simulate(WholeBody(default_patient(), LU), [PSMA], [0.0, 24.0])
    assert float(found.activity_MBq[-1, 0]) == pytest.approx(7400.0, rel=1e-12)
    assert np.all(np.asarray(found.activity_MBq)[:-1, 0] == 0)


def test_kinetics_of_another_nuclide_are_refused():
    with pytest.raises(InputError, match=r"kinetics\.decay"):
        WholeBody(default_patient(), radionuclide("68Ga"))


def test_a_batch_is_refused():
    two = jax.tree.map(lambda x: np.repeat(x, 2, axis=-1), default_patient())
    with pytest.raises(InputError, match="2 patients"):
        WholeBody(two, LU)


# making models


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Thyroid.of(uptake_fraction=30.0), "uptake_fraction: found 30; expected between 0 and 1"),
        (lambda: Thyroid.of(mass_g=-1.0), "mass_g: found -1"),
        (
            lambda: Microspheres.of(uptake_ratio=1.0, lung_shunt=5.0, tumour_g=1.0, normal_liver_g=1.0),
            "lung_shunt: found 5",
        ),
        (lambda: Antibody.of(tumour_mL=0.0), "tumour_mL: found 0"),
        (lambda: HADotatate.of("DOTATATE"), "agent: found 'DOTATATE'"),
        (lambda: HADotatate.of("68Ga-HA-DOTATATE", target_mL=90.0, total_mL=80.0), "total_mL: found 80 mL"),
        (lambda: PSMA617.of(deviations={"k_out_kidneys": 1.0}), "deviations of PSMA-617: found 'k_out_kidneys'"),
        (lambda: reduced(default_patient(), LU, ("kidney",)), "target: found 'kidney'; expected kidney"),
        (lambda: reduced(default_patient(), LU, ("liver", "liver")), "target: found 'liver'"),
        (lambda: typical("antibody", "clearence"), "parameter of antibody: found 'clearence'; expected clearance"),
    ],
)
def test_a_bad_value_is_named(make, words):
    with pytest.raises(InputError) as caught:
        make()
    assert words in str(caught.value)


def test_drawn_patients_vary_as_published():
    """Lognormal k10 of PSMA-617 has CV 0.172; 400 draws give it to about 4%."""
    keys = jax.random.split(jax.random.key(7), 400)
    k_urine = np.array([float(PSMA617.of(deviations=draw("PSMA-617", key)).k_urine_per_min) for key in keys])
    assert np.std(k_urine) / np.mean(k_urine) == pytest.approx(0.172, rel=0.1)
    assert np.median(k_urine) * 60 == pytest.approx(0.288, rel=0.03)


def test_a_tumour_twice_as_large_takes_up_1_63_times_as_fast():
    """The paper's own check of the volume exponent: a two-fold volume raises k15 1.63-fold."""
    rate = lambda volume: float(PSMA617.of(tumour_mL=volume).k_in_per_min[3])
    assert rate(3.46) / rate(1.73) == pytest.approx(1.63, abs=0.005)


def test_an_antibody_lasts_weeks():
    """IgG: terminal half-lives of two to four weeks."""
    assert 10 < Antibody.of(tumour_mL=10.0).central_half_life_d < 28
