"""Bateman courses: laws of decay, close and equal constants, derivatives, removal, impossible values."""

import math

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from dose.bateman import LONGEST_H, activities_MBq, cumulated_MBq_h
from dose.errors import InputError
from dose.nuclides import radionuclide
from dose.progeny import Chain, chain, equilibrium_decays

ROUNDING = 1e-13
"""128 doublings of numbers of 2.2e-16; 5e-15 was seen."""
TIMES_H = np.array([0.0, 1e-4, 0.3, 10.0, 200.0, 3000.0])


def spelled_out(found: Chain, lives_h, time_h: float) -> list:
    """Activities per MBq of the first nuclide: the matrix exponential in 80 digits."""
    with mpmath.workdps(80):
        rates = [mpmath.log(2) / mpmath.mpf(float(life)) for life in lives_h]
        matrix = mpmath.matrix(len(rates), len(rates))
        for j, rate in enumerate(rates):
            for i in range(len(rates)):
                matrix[i, j] = mpmath.mpf(found.branching[i][j]) * rate - (rate if i == j else 0)
        propagator = mpmath.expm(matrix * mpmath.mpf(time_h), method="taylor")
        return [float(rate * propagator[i, 0] / rates[0]) for i, rate in enumerate(rates)]


@pytest.mark.parametrize("apart", [0.0, 1e-15, 1e-12, 1e-9, 1e-6, 1e-3])
def test_close_half_lives_lose_no_digit(apart):
    found = chain("212Pb")
    lives = [10.64, 10.64 * (1 + apart), 10.64 * (1 + 2 * apart), 10.64 * (1 - apart)]
    times = (0.3, 10.0, 300.0)
    ours = activities_MBq("212Pb", jnp.array(times), half_life_h=dict(zip(found.names, lives)))
    for k, time_h in enumerate(times):
        theirs = spelled_out(found, lives, time_h)
        np.testing.assert_allclose([ours[name][k] for name in found.names], theirs, rtol=ROUNDING)


def test_the_textbook_sum_of_exponentials_would_have_lost_them():
    """Negative control of the check above: at 1e-12 apart a daughter's textbook formula is off in the fourth digit."""
    first, second = math.log(2) / 10.64, math.log(2) / (10.64 * (1 + 1e-12))
    textbook = second / (second - first) * (math.exp(-first * 10) - math.exp(-second * 10))
    exact = first * 10 * math.exp(-first * 10)
    assert abs(textbook / exact - 1) > 1e-5


def test_a_parent_decays_exponentially_from_microseconds_to_ages():
    for name, time_h in (("213Po", 1e-9), ("225Ac", 500.0), ("238U", 1e14)):
        entry = radionuclide(name)
        expected = 3.0 * math.exp(-entry.decay_constant_per_h * time_h)
        assert float(activities_MBq({name: 3.0}, time_h)[name]) == pytest.approx(expected, rel=ROUNDING)


def test_at_time_zero_there_is_what_was_given():
    found = activities_MBq({"177Lu": 7400.0, "177mLu": 1.5}, 0.0)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(
        {"177mLu": 1.5, "177Lu": 7400.0}, rel=1e-15
    )
    assert set(map(float, cumulated_MBq_h("225Ac", 0.0).values())) == {0.0}


@pytest.mark.parametrize("parent", ["225Ac", "212Pb", "227Th", "99Mo", "238U"])
def test_stopping_and_going_on_is_the_same_as_going_through(parent):
    first, second = 7.0, 55.0
    middle = activities_MBq(parent, first)
    after, through = activities_MBq(middle, second), activities_MBq(parent, first + second)
    early, late = cumulated_MBq_h(parent, first), cumulated_MBq_h(middle, second)
    all_of_it = cumulated_MBq_h(parent, first + second)
    for name in through:
        assert float(after[name]) == pytest.approx(float(through[name]), rel=ROUNDING, abs=1e-300)
        total = float(early[name] + late[name])
        assert total == pytest.approx(float(all_of_it[name]), rel=ROUNDING, abs=1e-300)


def test_activities_superpose():
    both = activities_MBq({"225Ac": 8.0, "213Bi": 2.0}, TIMES_H)
    apart = activities_MBq({"225Ac": 1.0}, TIMES_H), activities_MBq({"213Bi": 1.0}, TIMES_H)
    for name, course in both.items():
        expected = 8.0 * apart[0][name] + 2.0 * apart[1].get(name, 0.0)
        np.testing.assert_allclose(course, expected, rtol=ROUNDING)


def test_atoms_are_kept():
    """Atoms of a line of single branches: what has not decayed at the end of it is still in it."""
    found, time_h = chain("213Po"), 5.0
    decays, left = cumulated_MBq_h("213Po", time_h), activities_MBq("213Po", time_h)
    atoms = {name: left[name] / (math.log(2) / life) for name, life in zip(found.names, found.half_life_h)}
    start = 1.0 / radionuclide("213Po").decay_constant_per_h
    assert found.names == ("213Po", "209Pb")
    assert float(sum(atoms.values()) + decays["209Pb"]) == pytest.approx(start, rel=ROUNDING)


@pytest.mark.parametrize("parent", ["225Ac", "212Pb", "211At", "131I"])
def test_decays_without_end_are_products_of_branching(parent):
    found, per_decay = cumulated_MBq_h(parent, follow=10), equilibrium_decays(parent)
    long, mean_life = cumulated_MBq_h(parent, 1e6, follow=10), 1 / radionuclide(parent).decay_constant_per_h
    assert [name for name in found if name in per_decay] == list(per_decay)  # 131mXe leaves in equilibrium
    for name, number in per_decay.items():
        assert float(found[name]) == pytest.approx(number * mean_life, rel=ROUNDING)
        assert float(long[name]) == pytest.approx(float(found[name]), rel=ROUNDING)


def test_decays_are_the_integral_of_activity():
    for name, course in cumulated_MBq_h("225Ac", 30.0).items():
        slope = jax.grad(lambda t, n=name: cumulated_MBq_h("225Ac", t)[n])(30.0)
        assert float(slope) == pytest.approx(float(activities_MBq("225Ac", 30.0)[name]), rel=1e-12)
        assert course > 0


@pytest.mark.parametrize("time_h", [1e-3, 1.0, 10.0, 1000.0])
def test_the_slope_of_the_fastest_daughter_is_right_though_it_is_a_difference_of_large_rates(time_h):
    """213Po (4.2 us) follows 225Ac (10 d): d/dt of its activity against differences in 80 digits."""
    found = chain("225Ac")
    place, width = found.names.index("213Po"), 1e-6 * time_h
    up, down = (spelled_slow(found, time_h + sign * width)[place] for sign in (1, -1))
    slope = jax.grad(lambda t: activities_MBq("225Ac", t)["213Po"])(time_h)
    # central differences of relative width 1e-6: 1e-12 times curvature, and 16 digits of 80 kept
    assert float(slope) == pytest.approx(float((up - down) / (2 * width)), rel=1e-8)


def spelled_slow(found: Chain, time_h: float) -> list:
    """As `spelled_out` by eigenvectors, which stiff chains need, in 80 digits (mpf returned)."""
    with mpmath.workdps(80):
        rates = [mpmath.log(2) / mpmath.mpf(life) for life in found.half_life_h]
        size = len(rates)
        atoms = [[mpmath.mpf(0)] * size for _ in range(size)]
        # N_i = sum_k atoms[i][k] exp(-rate_k t): coefficients of a triangular system
        for i in range(size):
            for k in range(i):
                births = sum(mpmath.mpf(found.branching[i][j]) * rates[j] * atoms[j][k] for j in range(k, i))
                atoms[i][k] = births / (rates[i] - rates[k])
            atoms[i][i] = (1 if i == 0 else 0) / rates[0] - sum(atoms[i][:i])
        decayed = [mpmath.exp(-rate * mpmath.mpf(time_h)) for rate in rates]
        return [rates[i] * sum(atoms[i][k] * decayed[k] for k in range(size)) for i in range(size)]


@pytest.mark.parametrize("name", ["225Ac", "213Bi", "213Po"])
def test_derivatives_in_the_half_life_are_those_of_differences(name):
    life = radionuclide(name).half_life_h
    course = lambda x: activities_MBq("225Ac", 100.0, half_life_h={name: x})["209Pb"]
    step = 1e-5 * life
    differences = (course(life + step) - course(life - step)) / (2 * step)
    # rounding of 1e-15 over a relative step of 1e-5
    assert float(jax.grad(course)(life)) == pytest.approx(float(differences), rel=1e-6, abs=1e-8 / life)


def test_activity_is_linear_and_its_derivative_is_the_course_of_one():
    course = lambda amount: activities_MBq({"225Ac": amount}, 50.0)["213Bi"]
    assert float(jax.grad(course)(8.0)) == pytest.approx(float(course(1.0)), rel=ROUNDING)


def test_it_runs_under_jit_and_vmap_and_keeps_the_shape_of_time():
    plain = activities_MBq("225Ac", TIMES_H)["213Bi"]
    jitted = jax.jit(lambda t: activities_MBq("225Ac", t)["213Bi"])(TIMES_H)
    mapped = jax.vmap(lambda t: activities_MBq("225Ac", t)["213Bi"])(jnp.asarray(TIMES_H))
    np.testing.assert_allclose(jitted, plain, rtol=ROUNDING)
    np.testing.assert_allclose(mapped, plain, rtol=ROUNDING)
    assert activities_MBq("225Ac", TIMES_H.reshape(2, 3))["213Bi"].shape == (2, 3)


def test_a_biological_half_life_shortens_the_effective_one():
    biological, entry = 50.0, radionuclide("177Lu")
    rate = entry.decay_constant_per_h + math.log(2) / biological
    found = activities_MBq("177Lu", 30.0, biological_half_life_h=biological)["177Lu"]
    assert float(found) == pytest.approx(math.exp(-30.0 * rate), rel=ROUNDING)
    total = cumulated_MBq_h("177Lu", biological_half_life_h=biological)["177Lu"]
    assert float(total) == pytest.approx(1 / rate, rel=ROUNDING)
    to_the_end = cumulated_MBq_h("225Ac", 1e5, biological_half_life_h={"213Bi": 0.5, "225Ac": 100.0})
    without_end = cumulated_MBq_h("225Ac", biological_half_life_h={"213Bi": 0.5, "225Ac": 100.0})
    for name, decays in to_the_end.items():
        assert float(decays) == pytest.approx(float(without_end[name]), rel=ROUNDING)
    kept = cumulated_MBq_h("225Ac")
    ratio = math.log(2) / 0.7598333333333334
    expected = ratio / (ratio + math.log(2) / 0.5) * float(without_end["217At"] / kept["217At"])
    assert float(without_end["213Bi"] / kept["213Bi"]) == pytest.approx(expected, rel=1e-9)


def test_the_impurity_of_177lu_outlasts_it():
    """0.05 % of 177mLu at administration: after four months it and the 177Lu it makes are all there is."""
    found = activities_MBq({"177Lu": 7400.0, "177mLu": 3.7}, 24.0 * np.array([0.0, 35.0, 120.0]))
    share = found["177mLu"] / (found["177Lu"] + found["177mLu"])
    impurity = radionuclide("177mLu")
    alone = 3.7 * math.exp(-impurity.decay_constant_per_h * 24 * 120)
    # transient equilibrium: daughter over mother, branching 0.217
    fast = radionuclide("177Lu").decay_constant_per_h
    made = 0.217 * fast / (fast - impurity.decay_constant_per_h)
    assert float(found["177mLu"][2]) == pytest.approx(alone, rel=1e-12)
    left = 7400.0 * math.exp(-fast * 24 * 120)
    assert float(found["177Lu"][2]) == pytest.approx(made * alone + left, rel=1e-3)
    assert share[0] == pytest.approx(5e-4, rel=1e-3)
    assert share[2] > 0.6


@pytest.mark.parametrize(
    ("given", "field"),
    [
        (lambda: activities_MBq("225Ac", -1.0), "time_h"),
        (lambda: activities_MBq("225Ac", float("nan")), "time_h"),
        (lambda: activities_MBq("225Ac", math.inf), "time_h"),
        (lambda: cumulated_MBq_h("225Ac", 2 * LONGEST_H), "time_h"),
        (lambda: activities_MBq({"225Ac": -1.0}, 1.0), "initial activity"),
        (lambda: activities_MBq({"225Ac": math.nan}, 1.0), "initial activity"),
        (lambda: activities_MBq({}, 1.0), "initial"),
        (lambda: activities_MBq("209Bi", 1.0), "stable"),
        (lambda: activities_MBq("225Ac", 1.0, half_life_h={"225Ac": 0.0}), "half_life_h"),
        (lambda: activities_MBq("225Ac", 1.0, half_life_h={"18F": 1.0}), "half-life of"),
        (lambda: activities_MBq("225Ac", 1.0, biological_half_life_h=-2.0), "biological_half_life_h"),
    ],
)
def test_impossible_values_are_named(given, field):
    with pytest.raises(InputError, match=field):
        given()


def test_impossible_values_hidden_by_jit_give_nan():
    assert math.isnan(jax.jit(lambda t: activities_MBq("225Ac", t)["225Ac"])(-1.0))


def test_single_precision_is_refused():
    with jax.enable_x64(False), pytest.raises(InputError, match="float64"):
        activities_MBq("225Ac", 1.0)
