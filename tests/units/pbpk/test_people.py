"""Virtual people are the same whoever asks, vary as the table says, and get the kinetics of one patient."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from pbpk import population
from pbpk.parameters import Covariates, ligand
from pbpk.population import VARIED, batch_kinetics, bodies, draw_people, typical_gfr_mL_min
from pbpk.scaling import kinetics

TUMOURS = np.array([20.0, 8.0, 40.0, 200.0])


@pytest.fixture(scope="module")
def key():
    return jax.random.key(5)


@pytest.mark.parametrize("ends", [(0, 48), (7, 9), (40, 130)])
def test_a_patient_is_the_same_in_every_range(key, ends):
    whole, part = draw_people("psma", key, 0, 200), draw_people("psma", key, *ends)
    for a, b in zip(whole, part, strict=True):
        np.testing.assert_array_equal(a[slice(*ends)], b)


def test_covariates_vary_and_hang_together(key):
    """2000 patients know a mean to 0.022 sd and a correlation to 0.02."""
    p = draw_people("sstr", key, 0, 2000)
    assert np.mean(p.female) == pytest.approx(0.46, abs=0.035)
    assert p.age_y.mean() == pytest.approx(63, abs=0.7)
    men, women = p.height_m[~p.female], p.height_m[p.female]
    assert men.mean() - women.mean() == pytest.approx(0.13, abs=0.01)
    assert np.corrcoef(p.height_m, p.weight_kg)[0, 1] > 0.4
    assert np.corrcoef(p.age_y, p.gfr_mL_min)[0, 1] == pytest.approx(-0.38, abs=0.06)  # 0.75 x 10 y over 18 in all
    assert np.corrcoef(p.haematocrit, p.weight_kg)[0, 1] == pytest.approx(0.0, abs=0.07)
    assert np.std(np.log(p.organ_size), axis=0) == pytest.approx([0.198, 0.198, 0.32, 0.188, 0.188, 0.129], rel=0.08)


def test_prostate_patients_are_men(key):
    assert not draw_people("psma", key, 0, 500).female.any()


def test_an_unknown_population_is_refused(key):
    with pytest.raises(InputError, match="psma"):
        draw_people("cd20", key, 0, 3)


@pytest.mark.parametrize(("target", "drug"), [("psma", "PSMA-617"), ("sstr", "DOTATATE")])
def test_the_batch_has_the_kinetics_of_each_patient_alone(key, target, drug):
    """Every field to rounding, but filtration, which is relative to the population's GFR."""
    p, nuclide = draw_people(target, key, 0, 24), radionuclide("177Lu")
    found = bodies(p, target, np.tile(TUMOURS, (24, 1)))
    batch = batch_kinetics(found, p, ligand(drug), nuclide, {"kidney_left": 0.01})
    for k in np.flatnonzero(~p.female)[:3]:
        body = population._body(p, k, target, {f"tumour_{i + 1}": v for i, v in enumerate(TUMOURS)}, found.typical)
        one = kinetics(body, p.covariates(k), ligand(drug), nuclide, {"kidney_left": 0.01})
        for name in ("plasma_flow", "vascular", "interstitial", "permeability", "receptors", "transit", "arterial",
                     "venous", "k_on", "repair", "release"):  # fmt: skip
            np.testing.assert_allclose(np.asarray(getattr(one, name))[..., 0], getattr(batch, name)[..., k], rtol=1e-12)
        ratio = batch.filtration[..., k].sum() / np.asarray(one.filtration).sum()
        assert ratio == pytest.approx(Covariates.of().gfr_mL_min / typical_gfr_mL_min(target), rel=1e-12)


def test_women_have_their_own_plasma_and_a_stand_in_for_what_they_lack(key):
    p = draw_people("sstr", key, 0, 60)
    found = bodies(p, "sstr", np.tile(TUMOURS, (60, 1)))
    prostate = found.organs.index("prostate")
    assert found.volume_L[prostate, p.female].max() < 0.01 * found.volume_L[prostate, ~p.female].min()
    surface = np.sqrt(p.height_m * 100 * p.weight_kg / 3600)
    plasma = found.blood_L.sum(axis=0) / (surface * (1 - p.haematocrit))
    assert plasma[p.female].max() < plasma[~p.female].min()


def test_organ_sizes_are_what_was_drawn(key):
    p = draw_people("psma", key, 0, 8)
    found = bodies(p, "psma", np.tile(TUMOURS, (8, 1)))
    for organ, name in (("liver", "liver"), ("kidney_left", "kidneys"), ("spleen", "spleen")):
        row = found.organs.index(organ)
        expected = found.typical.volume_L[row] * p.organ_size[:, VARIED.index(name)]
        np.testing.assert_allclose(found.volume_L[row], expected, rtol=1e-12)
    tumour = found.organs.index("tumour_4")
    np.testing.assert_allclose(found.volume_L[tumour], 0.2)


def test_a_body_without_room_is_marked_and_stands_in(key):
    p = draw_people("psma", key, 0, 3)
    tumours = np.tile(TUMOURS, (3, 1))
    tumours[1, 0] = 90_000.0
    found = bodies(p, "psma", tumours)
    assert list(found.possible) == [True, False, True]
    np.testing.assert_array_equal(found.volume_L[:, 1], found.typical.volume_L)


def test_perfusion_moves_flows_alone(key):
    p = draw_people("psma", key, 0, 4)
    slow = p._replace(perfusion=0.5 * p.perfusion)
    a, b = (bodies(x, "psma", np.tile(TUMOURS, (4, 1))) for x in (p, slow))
    np.testing.assert_allclose(b.plasma_flow_L_min, 0.5 * a.plasma_flow_L_min, rtol=1e-12)
    np.testing.assert_array_equal(a.vascular_L, b.vascular_L)
