"""Outcome: equivalent doses, tumour control, complications."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dose import control as ct
from dose import dvh
from dose.errors import InputError

ALPHA = 0.35


def test_eubed_weighs_by_mass():
    bed = jnp.array([10.0, 80.0])
    by_mass = ct.eubed_Gy(bed, jnp.array([1.0, 3.0]), ALPHA)
    assert by_mass == pytest.approx(
        float(ct.eubed_Gy(jnp.array([10.0, 80.0, 80.0, 80.0]), jnp.ones(4), ALPHA)), rel=1e-12
    )
    assert abs(float(by_mass) - float(ct.eubed_Gy(bed, jnp.ones(2), ALPHA))) > 1.0  # equal shares are another number


def test_eubed_of_draws_is_each_draws_own(rng):
    bed, alpha = rng.uniform(10, 90, (6, 40)), rng.uniform(0.01, 0.5, 6)
    alone = [float(ct.eubed_Gy(b, np.ones(40), a)) for b, a in zip(bed, alpha)]
    np.testing.assert_allclose(ct.eubed_Gy(bed, np.ones(40), alpha), alone, rtol=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(0, 200), min_size=5, max_size=5), st.floats(1e-3, 1.0))
def test_eubed_lies_between_the_least_and_the_mean(bed, alpha):
    found = float(ct.eubed_Gy(jnp.array(bed), jnp.ones(5), alpha))
    assert min(bed) - 1e-9 <= found <= np.mean(bed) + 1e-9


def test_control_of_equal_voxels_is_that_of_the_whole_and_a_cold_one_rules():
    assert ct.voxel_tcp(jnp.full(1000, 60.0), ALPHA, jnp.full(1000, 1e5)) == pytest.approx(
        float(ct.tcp(60.0, ALPHA, 1e8)), rel=1e-10
    )
    cold = jnp.full(1000, 200.0).at[0].set(10.0)
    alone = float(ct.tcp(10.0, ALPHA, 1e3))
    assert ct.voxel_tcp(cold, ALPHA, jnp.full(1000, 1e3)) == pytest.approx(alone, rel=1e-9)


def test_voxel_control_is_control_of_the_eubed(rng):
    """By definition of EUBED: the uniform BED that leaves as many alive."""
    bed, cells = rng.uniform(40, 90, 200), rng.uniform(1e4, 1e6, 200)
    uniform = ct.eubed_Gy(bed, cells, ALPHA)
    assert ct.voxel_tcp(bed, ALPHA, cells) == pytest.approx(float(ct.tcp(uniform, ALPHA, cells.sum())), rel=1e-9)


def test_hypoxia_is_a_smaller_dose():
    dose, g, ratio = 60.0, 0.1, 10.0
    alpha, beta = 0.3, 0.03
    log_alive = -(alpha / 2.5) * dose - beta / 2.5**2 * g * dose**2
    assert -alpha * ct.hypoxic_bed_Gy(dose, g, ratio, 2.5) == pytest.approx(log_alive, rel=1e-12)
    oxic = float(ct.hypoxic_tcp(dose, g, ratio, alpha, 1e7, hypoxic_fraction=0.0, oer=2.5))
    assert oxic == pytest.approx(float(ct.tcp(dose * (1 + g * dose / ratio), alpha, 1e7)), rel=1e-12)
    same = float(ct.hypoxic_tcp(dose, g, ratio, alpha, 1e7, hypoxic_fraction=0.3, oer=1.0))
    assert same == pytest.approx(oxic, rel=1e-12)
    falling = [float(ct.hypoxic_tcp(dose, g, ratio, alpha, 1e7, hypoxic_fraction=h, oer=2.5)) for h in (0, 1e-4, 0.1)]
    assert falling[0] > falling[1] > falling[2]


@settings(max_examples=30, deadline=None)
@given(st.floats(0, 120), st.floats(0.1, 30), st.floats(0.01, 0.5), st.floats(1.0, 1e9))
def test_more_dose_controls_and_harms_more(bed, more, alpha, clonogens):
    assert float(ct.tcp(bed + more, alpha, clonogens)) >= float(ct.tcp(bed, alpha, clonogens))
    assert 0 <= float(ct.ntcp_lkb(bed, 44.0, 0.12)) <= float(ct.ntcp_lkb(bed + more, 44.0, 0.12)) <= 1
    assert float(ct.ntcp_lkb(44.0, 44.0, 0.12)) == 0.5


def test_outcomes_have_their_gradients():
    for f in (lambda b: ct.tcp(b, ALPHA, 1e8), lambda b: ct.ntcp_lkb(b, 60.0, 0.12)):
        difference = float(f(55.0 + 1e-4) - f(55.0 - 1e-4)) / 2e-4
        assert jax.grad(f)(55.0) == pytest.approx(difference, rel=1e-6)


def test_complications_of_the_parotid_are_those_of_its_paper():
    """Dijkema 2010, abstract: 50 % at 39.9 Gy, 17 to 26 % at 25 to 30 Gy; within a percent point (rounding)."""
    parotid = ct.endpoint("parotid_flow")
    assert parotid.effect == "eqd2"
    assert parotid.ntcp(39.9) == pytest.approx(0.5)
    assert (float(parotid.ntcp(25.0)), float(parotid.ntcp(30.0))) == pytest.approx((0.17, 0.26), abs=0.01)


def test_whole_kidney_tolerance_is_that_of_emami_at_five_percent():
    """23 Gy at 5 %: the rounded m of 0.1 gives 3.7 %."""
    assert ct.endpoint("kidney_nephritis").ntcp(23.0) == pytest.approx(0.05, abs=0.015)


def test_a_uniform_histogram_has_the_complication_of_its_dose_and_half_a_kidney_less():
    kidney = ct.endpoint("kidney_nephritis")
    whole = dvh(np.full(100, 26.0), np.ones(100), 0.1)
    assert kidney.ntcp_of(whole) == pytest.approx(float(kidney.ntcp(26.0)), rel=1e-9)
    half = dvh(np.repeat([26.0, 0.0], 50), np.ones(100), 0.1)
    # gEUD of half the volume at d: d (1/2)^n
    assert kidney.ntcp_of(half) == pytest.approx(float(kidney.ntcp(26.0 * 0.5**kidney.n)), rel=1e-9)


def test_draws_of_parameters_and_of_dose_go_together():
    drawn = ct.endpoint_draws("kidney_nephritis", 8, 5)
    one = dvh(np.linspace(10, 30, 50), np.ones(50), 0.1)
    several = dvh(np.linspace(10, 30, 50) * np.ones((8, 1)), np.ones(50), 0.1)
    np.testing.assert_allclose(drawn.ntcp_of(one), drawn.ntcp_of(several), rtol=1e-12)
    fixed = ct.endpoint("kidney_nephritis")
    np.testing.assert_allclose(fixed.ntcp_of(several), np.full(8, float(fixed.ntcp_of(one))), rtol=1e-12)
    low, high = np.percentile(ct.endpoint_draws("kidney_nephritis", 2000, 5).ntcp(25.0), [2.5, 97.5])
    assert low < fixed.ntcp(25.0) < high
    with pytest.raises(InputError, match="draws"):
        ct.endpoint_draws("kidney_nephritis", 3, 5).ntcp_of(several)


@pytest.mark.parametrize(
    "name", ["kidney_nephropathy_bed", "kidney_nephritis", "liver_rild", "parotid_flow", "lung_pneumonitis"]
)
def test_each_complication_says_what_dose_it_counts_and_how_sure_it_is(name):
    found = ct.endpoint(name)
    assert found.effect in ("bed", "eqd2")
    assert len(found.locators) == 3
    assert ct.endpoint_draws(name, 4, 1).ntcp(30.0).shape == (4,)


def test_a_misspelt_complication_is_met_with_the_nearest():
    with pytest.raises(InputError, match='write "liver_rild"'):
        ct.endpoint("liver_rilt")
