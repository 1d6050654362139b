"""G D^2 in closed form: against quadrature, an independent solver and its own limits."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad, solve_ivp

from dose.errors import InputError
from dose.repair import course_quadratic_Gy2, decay_mean, exposure_dose_Gy, g_factor, quadratic_Gy2, triangle
from dose.tissues import Repair

MU = math.log(2) / 2.8
TWO = Repair((0.38, 0.62), (0.7, 3.8))
CURVES = [((0.06,), (0.0134,)), ((0.06, 0.03), (0.0099, 0.0693)), ((0.08, -0.08), (0.01155, 0.23105))]


def solved_Gy2(rate, repair: Repair, ends) -> float:
    """G D^2 by scipy (LSODA), from 0 over each of the spans between `ends`."""
    mus, parts = np.log(2) / np.array(repair.half_times_h), np.array(repair.fractions)
    state = np.zeros(len(mus) + 1)

    def slope(t, y, begin):
        return [*(rate(t, begin) - mus * y[:-1]), 2 * rate(t, begin) * parts @ y[:-1]]

    for begin, end in zip(ends, ends[1:]):
        found = solve_ivp(slope, (begin, end), state, method="LSODA", rtol=1e-11, atol=1e-13, args=(begin,))
        state = found.y[:, -1]
    return float(state[-1])


def sum_of(amplitudes, rates):
    return lambda t, _: float(np.sum(np.array(amplitudes) * np.exp(-np.array(rates) * t)))


@pytest.mark.parametrize(("x", "y"), [(0, 0), (0, 5), (1e-9, 2), (3, 3), (3, 3.0000001), (0.99, 1.01), (40, 0.2)])
def test_the_triangle_is_its_integral(x, y):
    inner = lambda s: math.exp(-x * s) * ((1 - s) if y == 0 else -math.expm1(-y * (1 - s)) / y)
    # quad is asked for 1e-13
    assert triangle(x * 1.0, y * 1.0) == pytest.approx(quad(inner, 0, 1, epsabs=0, epsrel=1e-13)[0], rel=1e-12)
    assert triangle(x * 1.0, y * 1.0) == pytest.approx(float(triangle(y * 1.0, x * 1.0)), rel=1e-13)


def test_the_triangle_does_not_jump_where_its_formula_changes():
    for y in (0.0, 0.3, 0.9999):
        below, above = (float(triangle(1.0 + sign * 1e-12, y)) for sign in (-1, 1))
        assert below == pytest.approx(above, rel=2e-12)  # slopes below 1 over a step of 2e-12
    assert decay_mean(0.1 - 1e-12) == pytest.approx(float(decay_mean(0.1 + 1e-12)), rel=2e-12)


@pytest.mark.parametrize("repair", [Repair((1.0,), (2.8,)), TWO])
@pytest.mark.parametrize(("amplitudes", "rates"), CURVES)
@pytest.mark.parametrize("end_h", [0.5, 40.0, None])
def test_the_closed_form_is_what_an_independent_solver_finds(amplitudes, rates, repair, end_h):
    ends = (0.0, 5.0, 50.0, 3000.0) if end_h is None else (0.0, end_h)
    expected = solved_Gy2(sum_of(amplitudes, rates), repair, ends)
    # 1e-8: LSODA at 1e-11 a step; 3000 h is 29 half-lives of the slowest phase
    assert quadratic_Gy2(amplitudes, rates, repair, end_h) == pytest.approx(expected, rel=1e-8)


def test_two_components_are_not_one_of_their_mean_half_time():
    """Negative control of the test above: the slow component must show."""
    a, rate = CURVES[0]
    one = Repair((1.0,), (0.38 * 0.7 + 0.62 * 3.8,))
    assert abs(float(g_factor(a, rate, TWO) / g_factor(a, rate, one)) - 1) > 1e-3


def test_two_equal_components_are_one():
    a, rate = CURVES[1]
    both = Repair((0.3, 0.7), (2.8, 2.8))
    assert g_factor(a, rate, both) == pytest.approx(float(g_factor(a, rate, MU)), rel=1e-14)


def test_a_constant_dose_rate_has_the_formula_of_lea_and_catcheside():
    for length in (1e-4, 0.3, 2.8, 100.0):
        x = MU * length
        known = 2 / x**2 * (x + math.expm1(-x)) if x > 0.01 else 1 - x / 3 + x**2 / 12 - x**3 / 60
        # the known formula loses digits below x of 1
        assert g_factor([2.0], [0.0], MU, length) == pytest.approx(known, rel=1e-12 if x < 0.01 else 1e-10)


def test_repair_as_fast_as_clearance_is_no_special_case():
    exact = quadratic_Gy2([0.06], [MU], MU, 7.0)
    near = quadratic_Gy2([0.06], [MU * (1 + 1e-9)], MU, 7.0)
    assert near == pytest.approx(float(exact), rel=1e-8)
    course = course_quadratic_Gy2([0.0, 7.0], [[0.06], [0.06]], [[MU], [MU]], MU)
    beside = course_quadratic_Gy2([0.0, 7.0], [[0.06], [0.06]], [[MU * (1 + 1e-9)]] * 2, MU)
    assert beside == pytest.approx(float(course), rel=1e-8)


def test_a_long_end_is_no_end():
    for a, rate in CURVES:
        assert quadratic_Gy2(a, rate, TWO, 1e5) == pytest.approx(float(quadratic_Gy2(a, rate, TWO)), rel=1e-12)
        assert exposure_dose_Gy(a, rate, 1e5) == pytest.approx(float(exposure_dose_Gy(a, rate)), rel=1e-12)


STARTS, A, RATES = (
    [0.0, 10.0, 300.0],
    [[0.06, 0.03], [0.1, -0.1], [0.05, 0.02]],
    [[0.01, 0.07], [0.012, 0.2], [0.013, 0.09]],
)


def test_a_course_carries_damage_and_activity_over():
    def rate(t, begin):
        on = [k for k, start in enumerate(STARTS) if start <= begin]
        return sum(sum_of(A[k], RATES[k])(t - STARTS[k], 0) for k in on)

    expected = solved_Gy2(rate, TWO, (0.0, 10.0, 60.0, 300.0, 400.0, 3500.0))
    assert course_quadratic_Gy2(STARTS, A, RATES, TWO) == pytest.approx(expected, rel=1e-8)
    alone = sum(float(quadratic_Gy2(a, r, TWO)) for a, r in zip(A, RATES))
    assert abs(expected / alone - 1) > 0.1  # negative control: adding the cycles is seen


def test_cycles_far_apart_add_up():
    alone = sum(float(quadratic_Gy2(a, r, TWO)) for a, r in zip(A, RATES))
    assert course_quadratic_Gy2([0.0, 5e3, 1e4], A, RATES, TWO) == pytest.approx(alone, rel=1e-12)


def test_one_cycle_in_two_halves_at_once_is_that_cycle():
    halves = course_quadratic_Gy2([0.0, 0.0], [[0.03, 0.02]] * 2, [[0.01, 0.07]] * 2, MU)
    assert halves == pytest.approx(float(quadratic_Gy2([0.06, 0.04], [0.01, 0.07], MU)), rel=1e-13)


def test_batches_and_draws_are_each_ones_own(rng):
    a, rate = rng.uniform(0.1, 1, (2, 5)), rng.uniform(0.01, 0.1, (2, 5))
    alone = [float(quadratic_Gy2(a[:, k], rate[:, k], TWO, 30.0)) for k in range(5)]
    np.testing.assert_allclose(quadratic_Gy2(a, rate, TWO, 30.0), alone, rtol=1e-13)
    half = rng.uniform(1, 4, 7)
    drawn = quadratic_Gy2(a[:, 0], rate[:, 0], Repair((1.0,), (half,)))
    np.testing.assert_allclose(drawn, [float(quadratic_Gy2(a[:, 0], rate[:, 0], math.log(2) / h)) for h in half])


@pytest.mark.parametrize("end_h", [None, 20.0])
@pytest.mark.parametrize("at", [(0.0134, MU), (MU, MU)])
def test_gradients_are_differences(at, end_h):
    f = lambda l, mu: quadratic_Gy2(jnp.array([0.06]), jnp.array([1.0]) * l, mu, end_h)
    for k in (0, 1):
        step = np.eye(2)[k] * 1e-6
        difference = float(f(*(np.array(at) + step)) - f(*(np.array(at) - step))) / 2e-6
        assert jax.grad(f, k)(*at) == pytest.approx(difference, rel=1e-6)  # differences: about 1e-10/1e-6 and 1e-12


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1e-3, 10), st.floats(1e-3, 2)), min_size=1, max_size=3),
    st.floats(0.05, 20), st.floats(0, 1), st.floats(1.05, 5), st.floats(1e-2, 1e4),
)  # fmt: skip
def test_laws_of_g(phases, half_h, slow, factor, end_h):
    a, rate = np.array(phases).T
    repair = Repair((1 - slow, slow), (half_h, 3 * half_h))
    g = float(g_factor(a, rate, repair, end_h))
    assert 0 < g < 1 + 1e-12
    slower = Repair(repair.fractions, (factor * half_h, 3 * factor * half_h))
    assert float(g_factor(a, rate, slower, end_h)) >= g * (1 - 1e-12)  # slower repair, more damage meets
    unit = Repair(repair.fractions, (60 * half_h, 180 * half_h))
    assert float(g_factor(a, rate / 60, unit, 60 * end_h)) == pytest.approx(g, rel=1e-10)  # minutes for hours
    assert float(g_factor(7 * a, rate, repair, end_h)) == pytest.approx(g, rel=1e-12)
    longer = float(quadratic_Gy2(a, rate, repair, factor * end_h))
    assert longer >= float(quadratic_Gy2(a, rate, repair, end_h)) * (1 - 1e-12)  # damage only grows


@pytest.mark.parametrize(("fractions", "half"), [((0.5, 0.6), (1, 2)), ((1.0,), (0.0,)), ((1.0,), (1, 2)), ((), ())])
def test_impossible_repair_is_refused(fractions, half):
    with pytest.raises(InputError, match="repair"):
        Repair(fractions, half)
