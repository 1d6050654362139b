"""Checked exposures, courses, half-lives and growth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from dose import curves
from dose.errors import InputError
from dose.exposure import (
    Exposure,
    Growth,
    bed_over_half_lives,
    course_bed_Gy,
    net_bed_Gy,
    repopulation_Gy,
)
from dose.tissues import Tissue, tissue, tissue_draws

KIDNEY, PROSTATE = tissue("kidneys"), tissue("tumour_1", row="prostate_cancer")
FALL = math.log(2) / 50


def of_dose(dose_Gy: float, half_life_h: float = 50.0) -> Exposure:
    rate = math.log(2) / half_life_h
    return Exposure((dose_Gy * rate,), (rate,))


def test_four_cycles_and_all_at_once():
    """DOSE.md section 6: 25.70 and 33.79 Gy, two decimals."""
    cycle = of_dose(5.75)
    assert 4 * cycle.bed_Gy(KIDNEY) == pytest.approx(25.70, abs=0.005)
    assert of_dose(23.0).bed_Gy(KIDNEY) == pytest.approx(33.79, abs=0.005)
    # eight weeks apart nothing is left of a cycle; at the same hour they are nearly one
    assert course_bed_Gy([cycle] * 4, [0, 1344, 2688, 4032], KIDNEY) == pytest.approx(
        4 * cycle.bed_Gy(KIDNEY), rel=1e-7
    )
    assert course_bed_Gy([cycle] * 4, [0, 1e-6, 2e-6, 3e-6], KIDNEY) == pytest.approx(33.79, abs=0.005)


@settings(max_examples=30, deadline=None)
@given(st.floats(1.0, 400.0))
def test_the_closer_the_cycles_the_larger_the_effect(gap_h):
    bed = [course_bed_Gy([of_dose(5.75)] * 2, [0.0, gap * gap_h], KIDNEY) for gap in (1.0, 1.5)]
    assert 2 * of_dose(5.75).bed_Gy(KIDNEY) * (1 - 1e-12) <= bed[1] < bed[0] < of_dose(11.5).bed_Gy(KIDNEY)


def test_cycles_of_different_curves_may_stand_in_one_course():
    uptake = Exposure.of_curve(curves.uptake(80.0, 0.0116, 0.23), 1e-3)
    apart = course_bed_Gy([uptake, of_dose(3.0)], [0, 5000], KIDNEY)
    assert apart == pytest.approx(uptake.bed_Gy(KIDNEY) + of_dose(3.0).bed_Gy(KIDNEY), rel=1e-9)


def test_an_exposure_of_a_curve_has_its_integral_and_draws_have_theirs():
    curve = curves.bi(60.0, 0.0099, 30.0, 0.0693)
    found = Exposure.of_curve(curve, 1e-3)
    assert found.dose_Gy == pytest.approx(1e-3 * curve.tia_MBq_h, rel=1e-12)
    np.testing.assert_allclose(found.dose_rate_Gy_per_h([0.0, 24.0]), 1e-3 * curve.activity_MBq([0.0, 24.0]))
    drawn = tissue_draws("kidneys", 5, 2)
    one = [Tissue(a, t, "") for a, t in zip(drawn.alpha_beta_Gy, drawn.repair_half_time_h)]
    np.testing.assert_allclose(found.bed_Gy(drawn), [found.bed_Gy(t) for t in one], rtol=1e-12)
    assert found.scaled(2.0).g(KIDNEY) == pytest.approx(found.g(KIDNEY), rel=1e-12)


def test_dose_rate_matters_between_its_two_limits():
    half = np.geomspace(1e-4, 1e6, 41)
    bed = bed_over_half_lives(23.0, half, KIDNEY)
    assert np.all(np.diff(bed) < 0)
    # acute: D (1 + D/2.6); endless: D. At 1e-4 h 4e-5 of the damage is repaired, at 1e6 h G is 3e-6
    assert bed[0] == pytest.approx(23 * (1 + 23 / 2.6), rel=1e-4)
    assert bed[-1] == pytest.approx(23.0, rel=1e-4)
    assert bed_over_half_lives(23.0, 50.0, KIDNEY) == pytest.approx(of_dose(23.0).bed_Gy(KIDNEY), rel=1e-12)
    assert bed_over_half_lives(23.0, [[2.8, 50.0]], KIDNEY).shape == (1, 2)


@pytest.mark.parametrize("kick_off_h", [0.0, 200.0])
def test_the_net_effect_is_largest_where_an_independent_solver_finds_it(kick_off_h):
    growth, given = Growth(0.15, 1008.0, kick_off_h), of_dose(30.0, 60.0)

    def slope(t, y):
        rate = float(given.dose_rate_Gy_per_h(t))
        regrown = growth.Gy_per_h if t > kick_off_h else 0.0
        return [rate - PROSTATE.repair_rate_per_h * y[0], rate * (1 + 2 * y[0] / PROSTATE.alpha_beta_Gy) - regrown]

    times = np.linspace(0.0, 1500.0, 15_001)
    net = solve_ivp(slope, (0, 1500), [0, 0], t_eval=times, method="LSODA", rtol=1e-10, atol=1e-12, max_step=5.0).y[1]
    found = net_bed_Gy(given, PROSTATE, growth)
    # the grid of times is 0.1 h, and the maximum flat: 1e-6 of BED, one step of time
    assert found.bed_Gy == pytest.approx(net.max(), rel=1e-6)
    assert found.time_h == pytest.approx(times[net.argmax()], abs=0.2)


def test_without_a_quadratic_part_the_turn_is_where_the_dose_rate_meets_growth():
    """ln(R0/K)/l exactly: alpha/beta so large that BED is dose."""
    linear, growth, given = Tissue(1e12, 1.0, ""), Growth(0.15, 1008.0), of_dose(30.0, 60.0)
    rate = math.log(2) / 60
    expected = math.log(30 * rate / growth.Gy_per_h) / rate
    found = net_bed_Gy(given, linear, growth)
    assert found.time_h == pytest.approx(expected, abs=0.01)  # the maximum is flat: 1e-12 of BED is 1e-4 h here
    lost = growth.Gy_per_h * expected
    assert found.bed_Gy == pytest.approx(30 * (1 - math.exp(-rate * expected)) - lost, rel=1e-9)


def test_growth_begins_at_the_kick_off():
    growth = Growth(0.3, 96.0, 672.0)
    np.testing.assert_allclose(repopulation_Gy([0, 672, 768], growth), [0, 0, math.log(2) / 0.3], rtol=1e-12)
    never = Growth(0.3, 1e12)
    assert net_bed_Gy(of_dose(20.0), KIDNEY, never).bed_Gy == pytest.approx(of_dose(20.0).bed_Gy(KIDNEY), rel=1e-6)


def test_an_exposure_with_an_end_stops_there():
    hour = Exposure((2.0,), (0.0,), 1.0)
    assert hour.dose_Gy == pytest.approx(2.0)
    np.testing.assert_array_equal(hour.dose_rate_Gy_per_h([0.5, 1.5]), [2.0, 0.0])
    acute = 2.0 * (1 + 2 / KIDNEY.alpha_beta_Gy)
    assert 2.0 < hour.bed_Gy(KIDNEY) < acute
    assert net_bed_Gy(hour, KIDNEY, Growth(0.1, 1e9)).time_h == pytest.approx(1.0, abs=1e-4)


BAD = [
    lambda: Exposure((1.0,), (0.0,)), lambda: Exposure((1.0, 2.0), (0.1,)), lambda: Exposure((), ()),
    lambda: Exposure((1.0, -2.0), (0.1, 0.2)), lambda: Exposure((0.0,), (0.1,)), lambda: Exposure((1.0,), (0.1,), 0.0),
    lambda: Exposure((math.nan,), (0.1,)), lambda: Exposure.of_curve(curves.mono(1.0, 0.1), 0.0),
    lambda: course_bed_Gy([of_dose(1.0)], [0.0, 5.0], KIDNEY), lambda: course_bed_Gy([], [], KIDNEY),
    lambda: course_bed_Gy([of_dose(1.0)] * 2, [5.0, 0.0], KIDNEY),
    lambda: course_bed_Gy([Exposure((2.0,), (0.0,), 1.0)], [0.0], KIDNEY),
    lambda: course_bed_Gy([of_dose(1.0)], [0.0], tissue_draws("kidneys", 3, 1)),
    lambda: bed_over_half_lives(23.0, [0.0], KIDNEY), lambda: bed_over_half_lives(-1.0, [5.0], KIDNEY),
    lambda: repopulation_Gy(5.0, Growth(0.0, 96.0)), lambda: net_bed_Gy(of_dose(1.0), KIDNEY, Growth(0.1, -1.0)),
]  # fmt: skip


@pytest.mark.parametrize("wrong", BAD, ids=range(len(BAD)))
def test_impossible_input_is_refused(wrong):
    with pytest.raises(InputError, match="To do"):
        wrong()
