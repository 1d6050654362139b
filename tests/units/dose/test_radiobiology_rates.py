"""BED of any dose rate: the ODE form against the closed form, samples against the ODE."""

from __future__ import annotations

import math

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.dose_rate import ode_bed_Gy, sampled_bed_Gy, sampled_dose_Gy, sampled_quadratic_Gy2
from dose.errors import InputError
from dose.repair import course_quadratic_Gy2, exposure_dose_Gy, quadratic_Gy2
from dose.tissues import Repair
from dose.trapezoids import trapezoid_tia

RATIO = 2.6
TWO = Repair((0.38, 0.62), (0.7, 3.8))
A, L = jnp.array([0.06, 0.03, -0.05]), jnp.array([0.0099, 0.0693, 0.4])


def curve(t):
    return jnp.sum(A * jnp.exp(-L * t))


def closed(end_h=None, repair=TWO):
    return float(exposure_dose_Gy(A, L, end_h) + quadratic_Gy2(A, L, repair, end_h) / RATIO)


@pytest.mark.parametrize(("end_h", "until"), [(30.0, 30.0), (3000.0, None)])
def test_the_ode_form_is_the_closed_form(end_h, until):
    dose, bed = ode_bed_Gy(curve, RATIO, TWO, end_h)
    # 1e-8 asked; the solver steps at 1e-11, and after 3000 h 1e-12 of the dose is left
    assert dose == pytest.approx(float(exposure_dose_Gy(A, L, until)), rel=1e-8)
    assert bed == pytest.approx(closed(until), rel=1e-8)


def test_one_repair_component_fewer_is_seen():
    """Negative control: the same check fails with the fast component alone."""
    assert closed(30.0) != pytest.approx(closed(30.0, Repair((1.0,), (0.7,))), rel=1e-3)


def test_the_ode_form_of_a_course_is_its_closed_form():
    starts, a = jnp.array([0.0, 20.0, 200.0]), jnp.array([[0.06], [0.1], [0.05]])
    rates = jnp.array([[0.01], [0.012], [0.013]])

    def course(t):
        since = t - starts[:, None]
        return jnp.sum(jnp.where(since >= 0, a * jnp.exp(-rates * jnp.maximum(since, 0)), 0.0))

    _, bed = ode_bed_Gy(course, RATIO, TWO, 3000.0, breaks_h=(20.0, 200.0))
    expected = float(jnp.sum(a / rates) + course_quadratic_Gy2(starts, a, rates, TWO) / RATIO)
    assert bed == pytest.approx(expected, rel=1e-8)


def _gradient_of_both(adjoint, derivative):
    ode = lambda mu: ode_bed_Gy(curve, RATIO, mu, 300.0, adjoint=adjoint)[1]
    exact = jax.grad(lambda mu: exposure_dose_Gy(A, L, 300.0) + quadratic_Gy2(A, L, mu, 300.0) / RATIO)(0.25)
    return derivative(ode)(0.25), float(exact)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("adjoint", "derivative"), [(None, jax.grad), (diffrax.ForwardMode(), jax.jacfwd)], ids=["reverse", "forward"]
)
def test_the_ode_form_has_the_gradient_of_the_closed_form(adjoint, derivative):
    found, exact = _gradient_of_both(adjoint, derivative)
    assert found == pytest.approx(exact, rel=1e-8)


def test_straight_samples_are_what_the_ode_finds_for_straight_lines(rng):
    time = np.array([0.0, 0.3, 1.0, 4.0, 9.0, 24.0, 50.0, 120.0])
    rate = rng.uniform(0.01, 0.1, len(time))
    _, bed = ode_bed_Gy(lambda t: jnp.interp(t, time, rate), RATIO, TWO, time[-1], breaks_h=tuple(time))
    assert sampled_bed_Gy(time, rate, RATIO, TWO) == pytest.approx(float(bed), rel=1e-8)


@pytest.mark.parametrize("repair", [TWO, Repair((1.0,), (0.01,)), Repair((1.0,), (1e4,)), math.log(2) / 51.6])
def test_an_exponential_is_exact_however_few_its_samples(repair):
    """Also with repair as fast as the fall, much faster and much slower."""
    fall = math.log(2) / 51.6
    time = np.array([0.0, 24.0, 96.0])
    found = sampled_bed_Gy(time, 0.06 * np.exp(-fall * time), RATIO, repair, rule="log", tail_per_h=fall)
    expected = float(0.06 / fall + quadratic_Gy2([0.06], [fall], repair) / RATIO)
    assert found == pytest.approx(expected, rel=1e-12)


def test_straight_samples_of_a_smooth_curve_converge_in_second_order():
    misses = []
    for n in (101, 201, 401):
        time = np.linspace(0, 200, n)
        rate = np.sum(np.asarray(A)[:, None] * np.exp(-np.asarray(L)[:, None] * time), axis=0)
        misses.append(abs(float(sampled_bed_Gy(time, rate, RATIO, TWO)) - closed(200.0)))
    ratios = np.array(misses[:-1]) / np.array(misses[1:])
    assert np.all((ratios > 3.6) & (ratios < 4.4))
    assert misses[-1] < 1e-3 * closed(200.0)


@pytest.mark.parametrize("start", ["triangle", "plateau"])
@pytest.mark.parametrize("rule", ["linear", "log"])
def test_the_dose_is_that_of_the_trapezoids(start, rule):
    time, rate = [4.0, 24.0, 96.0, 168.0], [4.0, 3.6, 1.6, 0.7]
    known = trapezoid_tia(time, rate, "177Lu", start=start, tail="last_two", rule=rule)
    slope = math.log(1.6 / 0.7) / 72
    first = 0.0 if start == "triangle" else 4.0
    found = sampled_dose_Gy([0.0, *time], [first, *rate], rule=rule, tail_per_h=slope)
    assert found == pytest.approx(known.tia_MBq_h, rel=1e-12)
    # with repair so slow that nothing is repaired, G D^2 is D^2
    bed = sampled_bed_Gy(time, rate, RATIO, 1e-12, start=start, rule=rule, tail_per_h=slope)
    assert bed == pytest.approx(known.tia_MBq_h * (1 + known.tia_MBq_h / RATIO), rel=1e-6)


def test_maps_and_draws_are_each_ones_own(rng):
    time, rate = np.array([0.0, 4.0, 24.0, 96.0]), rng.uniform(0.1, 1, (4, 3))
    alone = [float(sampled_quadratic_Gy2(time, rate[:, k], TWO, tail_per_h=0.01)) for k in range(3)]
    np.testing.assert_allclose(sampled_quadratic_Gy2(time, rate, TWO, tail_per_h=0.01), alone, rtol=1e-13)
    half = rng.uniform(1, 4, 5)
    drawn = sampled_quadratic_Gy2(time, rate[:, 0], Repair((1.0,), (half,)))
    alone = [float(sampled_quadratic_Gy2(time, rate[:, 0], math.log(2) / h)) for h in half]
    np.testing.assert_allclose(drawn, alone, rtol=1e-13)


@pytest.mark.parametrize("rule", ["linear", "log"])
def test_samples_are_differentiable(rule):
    time = jnp.array([0.0, 4.0, 24.0, 96.0])
    rate = jnp.array([0.1, 0.3, 0.2, 0.2])  # a rise, a fall, a level stretch
    f = lambda mu: sampled_quadratic_Gy2(time, rate, mu, rule=rule, tail_per_h=0.01)
    difference = float(f(0.25 + 1e-6) - f(0.25 - 1e-6)) / 2e-6
    assert jax.grad(f)(0.25) == pytest.approx(difference, rel=1e-6)


GOOD = {"time_h": [0.0, 4.0, 24.0], "dose_rate_Gy_per_h": [0.1, 0.2, 0.1], "alpha_beta_Gy": 2.6, "repair": 0.25}
BAD = [
    ({"time_h": [0.0, 24.0, 4.0]}, "time_h"), ({"time_h": [-1.0, 4.0, 24.0]}, "time_h"),
    ({"time_h": [0.0, 4.0]}, "time_h"),
    ({"dose_rate_Gy_per_h": [0.1, -0.2, 0.1]}, "dose_rate"), ({"dose_rate_Gy_per_h": [0.1, np.nan, 0.1]}, "dose_rate"),
    ({"start": "flat"}, "plateau"), ({"rule": "cubic"}, "rule"), ({"tail_per_h": 0.0}, "tail_per_h"),
    ({"alpha_beta_Gy": 0.0}, "alpha_beta"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), BAD, ids=[f"{k} {next(iter(c))}" for k, (c, _) in enumerate(BAD)])
def test_bad_samples_are_refused(change, said):
    with pytest.raises(InputError, match=said):
        sampled_bed_Gy(**(GOOD | change))
