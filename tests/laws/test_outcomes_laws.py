"""Laws of the outcome models: tumour volume, PSA and platelets against scipy, limits, order, gradients, refusals."""

import re
import runpy

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dose.errors import InputError
from pbpk import platelets, psa, volume
from pbpk.platelets import before_cycles, nadir, platelet_curve
from pbpk.psa import psa_curve
from pbpk.volume import log_volume_change, volume_curve

DAY_H, WEEK_H = 24.0, 168.0
STARTS_H = jnp.arange(3) * 6 * WEEK_H
DAYS_H = jnp.arange(0.0, 24 * WEEK_H + 1, DAY_H)
DOSES_GY = jnp.asarray([0.3, 0.25, 0.2])
HALF_LIVES_H = jnp.asarray([30.0, 40.0, 25.0])


def difference(function, x, step):
    """The central difference of a function of one number."""
    return (float(function(x + step)) - float(function(x - step))) / (2 * step)


# Volume

REPAIR_H, ALPHA_BETA_GY = 1.5, 10.0
TUMOUR_GY, TUMOUR_H = jnp.asarray([30.0, 20.0, 10.0]), jnp.asarray([60.0, 50.0, 40.0])
G = REPAIR_H / (REPAIR_H + TUMOUR_H)


def scipy_log_volume(law, beta_per_Gy2):
    """ln(V / V0) on `DAYS_H` from V' and y' as they stand, cycle by cycle so that no jump is inside a step."""
    growth, mu = np.log(2) / float(law.doubling_time_h), np.log(2) / REPAIR_H
    rates, found, y = np.log(2) / np.asarray(TUMOUR_H), [], [0.0, 0.0]

    def derivative(t, y, active):
        since = t - np.asarray(STARTS_H[:active])
        dose_rate = float(np.sum(np.asarray(TUMOUR_GY[:active]) * rates[:active] * np.exp(-rates[:active] * since)))
        kill = float(law.alpha_per_Gy) * dose_rate + 2 * beta_per_Gy2 * dose_rate * y[1]
        return [growth - kill, dose_rate - mu * y[1]]

    edges = [*np.asarray(STARTS_H), DAYS_H[-1]]
    for active, (left, right) in enumerate(zip(edges, edges[1:]), start=1):
        inside = np.array([t for t in np.asarray(DAYS_H) if left <= t <= right])
        run = solve_ivp(derivative, (left, right), y, "LSODA", inside, rtol=1e-10, atol=1e-13, args=(active,))
        found, y = [*found, run.y[0, (1 if active > 1 else 0) :]], run.y[:, -1]
    return np.concatenate(found)


def test_an_untreated_tumour_doubles_in_the_doubling_time():
    law = volume.typical(doubling_time_h=100.0)
    found = volume_curve(law, 5.0, STARTS_H, jnp.zeros(3), TUMOUR_H, jnp.asarray([0.0, 100.0, 200.0]))
    np.testing.assert_allclose(found, [5.0, 10.0, 20.0], rtol=1e-14)


def test_without_beta_the_volume_is_that_of_an_independent_solution_at_all_times():
    law = volume.typical()
    found = volume_curve(law, 20.0, STARTS_H, TUMOUR_GY, TUMOUR_H, DAYS_H)
    np.testing.assert_allclose(np.log(found / 20), scipy_log_volume(law, 0.0), atol=1e-8)


def test_with_beta_it_is_that_at_the_ends_of_cycles_and_a_quarter_of_the_quadratic_part_between():
    """Six weeks after 30 Gy of 60 h, 9e-6 of the dose is still to come; alpha times that is 5e-6."""
    law = volume.typical()
    quadratic_Gy = G * TUMOUR_GY**2 / ALPHA_BETA_GY
    found = np.log(volume_curve(law, 1.0, STARTS_H, TUMOUR_GY + quadratic_Gy, TUMOUR_H, DAYS_H))
    theirs = scipy_log_volume(law, float(law.alpha_per_Gy) / ALPHA_BETA_GY)
    ends = [6 * 7, 12 * 7, 18 * 7, 24 * 7]
    np.testing.assert_allclose(found[ends], theirs[ends], atol=1e-5)
    bound = float(law.alpha_per_Gy * quadratic_Gy[0]) / 4
    assert 0.5 * bound < np.max(found - theirs) < bound
    no_beta = np.log(volume_curve(law, 1.0, STARTS_H, TUMOUR_GY, TUMOUR_H, DAYS_H))
    assert np.max(np.abs(no_beta[ends] - theirs[ends])) > 1e-2  # negative control


def test_the_change_over_a_cycle_is_that_of_the_curve():
    law, half_lives_h = volume.typical(), jnp.full(3, 10.0)
    ratio = volume_curve(law, 1.0, STARTS_H, TUMOUR_GY, half_lives_h, 6 * WEEK_H * jnp.arange(4.0))
    np.testing.assert_allclose(np.diff(np.log(ratio)), log_volume_change(law, TUMOUR_GY, 6 * WEEK_H), rtol=1e-12)


def test_volumes_of_draws_and_lesions_are_those_of_each_alone_and_padding_changes_nothing(rng):
    alphas, beds = jnp.asarray(rng.uniform(0.01, 0.03, (4, 1))), jnp.asarray(rng.uniform(5, 40, (4, 2, 3)))
    volumes_mL = jnp.asarray([20.0, 3.0])
    found = volume_curve(volume.typical(alpha_per_Gy=alphas), volumes_mL, STARTS_H, beds, TUMOUR_H, DAYS_H)
    law = volume.typical(alpha_per_Gy=alphas[2, 0])
    alone = volume_curve(law, volumes_mL[1], STARTS_H, beds[2, 1], TUMOUR_H, DAYS_H)
    assert found.shape == (4, 2, len(DAYS_H))
    np.testing.assert_allclose(found[2, 1], alone, rtol=1e-14)
    padded = [jnp.append(x, fill) for x, fill in ((STARTS_H, 0.0), (beds[2, 1], 0.0), (TUMOUR_H, 1.0))]
    np.testing.assert_allclose(volume_curve(law, volumes_mL[1], *padded, DAYS_H), alone, rtol=1e-14)


# PSA


def shrinking_mL(time_h):
    """A volume that falls with a half-life of 20 d and regrows with 50 d."""
    return 15.0 * jnp.exp2(-time_h / 480) + 5.0 * jnp.exp2(time_h / 1200)


def scipy_psa(kin, kout, first, volume_at, time_h):
    derivative = lambda t, y: kin * volume_at(t) - kout * y
    return solve_ivp(derivative, (0, time_h[-1]), [first], "LSODA", time_h, rtol=1e-11, atol=1e-12).y[0]


def test_psa_of_a_constant_volume_stays_exactly():
    found = psa_curve(psa.typical(), 37.1, jnp.full(len(DAYS_H), 12.3), DAYS_H)
    np.testing.assert_array_equal(found, 37.1)


def test_psa_on_linear_pieces_is_that_of_an_independent_solution():
    """Three days between points; kin from the steady state, and a kin twice that."""
    time_h = np.arange(0, 1500.0, 72.0)
    volumes_mL, rates = shrinking_mL(time_h), psa.typical()
    kout = float(rates.kout_per_h)
    at = lambda t: np.interp(t, time_h, volumes_mL)
    pieces = lambda kin: scipy_psa(kin, kout, 40.0, at, time_h)
    np.testing.assert_allclose(psa_curve(rates, 40.0, volumes_mL, time_h), pieces(kout * 40 / 20), rtol=1e-6)
    given = psa.typical(kin_ng_per_mL_per_h_per_mL=kout * 40 / 10)
    np.testing.assert_allclose(psa_curve(given, 40.0, volumes_mL, time_h), pieces(kout * 40 / 10), rtol=1e-6)


def test_psa_of_a_growing_tumour_is_the_closed_form():
    """kin V0 (e^(g t) - e^(-k t)) / (g + k) + psa_0 e^(-k t); points of a day, growth in 10 d: (g h)^2 / 12 = 4e-4."""
    growth, rates = np.log(2) / 240, psa.typical()
    kout, kin = float(rates.kout_per_h), 0.03
    found = psa_curve(psa.typical(kin_ng_per_mL_per_h_per_mL=kin), 8.0, 6.0 * jnp.exp(growth * DAYS_H), DAYS_H)
    made = kin * 6.0 * (np.exp(growth * DAYS_H) - np.exp(-kout * DAYS_H)) / (growth + kout)
    np.testing.assert_allclose(found, made + 8.0 * np.exp(-kout * DAYS_H), rtol=5e-4)


def test_psa_converges_with_the_square_of_the_distance_of_points():
    def at_the_end(points):
        time_h = jnp.linspace(0.0, 960.0, points + 1)
        return float(psa_curve(psa.typical(), 40.0, shrinking_mL(time_h), time_h)[-1])

    found = np.array([at_the_end(n) for n in (40, 80, 160)])
    order = np.log2(np.diff(found)[:-1] / np.diff(found)[1:])
    assert order[-1] == pytest.approx(2.0, abs=0.02)
    kout = float(psa.typical().kout_per_h)
    exact = scipy_psa(2 * kout, kout, 40.0, lambda t: float(shrinking_mL(t)), np.array([0.0, 960.0]))[-1]
    assert found[-1] + (found[-1] - found[-2]) / 3 == pytest.approx(exact, rel=1e-7)


def test_psa_lags_behind_the_volume_and_is_linear_in_it(rng):
    volumes_mL = jnp.stack([shrinking_mL(DAYS_H), jnp.where(DAYS_H > 0, 0.0, 20.0)])
    found = psa_curve(psa.typical(), jnp.asarray([40.0, 40.0]), volumes_mL, DAYS_H)
    assert np.all(found[0, 1:20] > 40 / 20 * volumes_mL[0, 1:20])
    half_life_h = np.log(2) / float(psa.typical().kout_per_h)
    gone = found[1, 1:] / found[1, 1]
    np.testing.assert_allclose(gone, 0.5 ** (np.asarray(DAYS_H[1:] - DAY_H) / half_life_h), atol=1e-14)
    given = psa.typical(kin_ng_per_mL_per_h_per_mL=0.02)
    run = lambda first, v: psa_curve(given, first, v, DAYS_H)
    a, b = jnp.asarray(rng.uniform(1, 30, (2, len(DAYS_H))))
    np.testing.assert_allclose(run(5.0, a) + run(2.0, b), run(7.0, a + b), rtol=1e-12)


# Platelets


def scipy_platelets(chain, starts_h, doses_Gy, half_lives_h, time_h):
    """The five pools themselves as states, by LSODA, from one start to the next."""
    c0, mtt, g, slope = (float(x) for x in chain)
    k, lam = 4 / mtt, np.log(2) / np.asarray(half_lives_h)

    def derivative(t, y, active):
        since = t - np.asarray(starts_h[:active])
        kill = slope * float(np.sum(np.asarray(doses_Gy[:active]) * lam[:active] * np.exp(-lam[:active] * since)))
        grown = k * y[0] * (1 - kill) * (c0 / y[4]) ** g
        return [grown - k * y[0], *(k * (y[i] - y[i + 1]) for i in range(4))]

    edges, y, found = [*np.asarray(starts_h), float(time_h[-1])], np.full(5, c0), {}
    for active, (left, right) in enumerate(zip(edges, edges[1:]), start=1):
        inside = np.unique([left, *(t for t in np.asarray(time_h) if left <= t <= right), right])
        run = solve_ivp(derivative, (left, right), y, "LSODA", inside, rtol=1e-10, atol=1e-10, args=(active,))
        found |= dict(zip(inside, run.y[4]))
        y = run.y[:, -1]
    return np.array([found[t] for t in np.asarray(time_h)])


def treated(chain, doses_Gy=DOSES_GY, **more):
    return platelet_curve(chain, STARTS_H, doses_Gy, HALF_LIVES_H, DAYS_H, **more)


def test_platelets_without_dose_stay():
    chain = platelets.typical(baseline_per_nL=[150.0, 230.0, 300.0], transit_time_h=[100.0, 137.0, 180.0])
    found = treated(chain, doses_Gy=jnp.zeros(3))
    np.testing.assert_allclose(found, np.array([[150.0], [230.0], [300.0]]) + 0 * DAYS_H, rtol=1e-9)


@pytest.mark.parametrize("slope_h_per_Gy", [50.0, 100.0, 300.0])
def test_platelets_are_those_of_an_independent_solution(slope_h_per_Gy):
    """At slope 300 the first dose rate makes E 2.1."""
    chain = platelets.typical(slope_h_per_Gy=slope_h_per_Gy)
    theirs = scipy_platelets(chain, STARTS_H, DOSES_GY, HALF_LIVES_H, DAYS_H)
    np.testing.assert_allclose(treated(chain), theirs, rtol=1e-4)
    assert np.max(np.abs(treated(platelets.typical(slope_h_per_Gy=0.99 * slope_h_per_Gy)) / theirs - 1)) > 1e-3


def test_overlapping_cycles_and_half_lives_shorter_than_a_step_are_too():
    """Steps of 6.6 h, half-lives of 5 and 100 h, starts off the grid and within two days of each other."""
    chain, time_h = platelets.typical(), jnp.arange(0.0, 6721.0, 37.0)
    given = jnp.asarray([0.0, 31.7, 40.1]), jnp.asarray([0.2, 0.15, 0.1]), jnp.asarray([5.0, 100.0, 30.0])
    theirs = scipy_platelets(chain, *given, np.asarray(time_h))
    np.testing.assert_allclose(platelet_curve(chain, *given, time_h), theirs, rtol=1e-4)


def test_steps_are_of_fourth_order():
    coarse, middle, fine = (np.asarray(treated(platelets.typical(), steps=n)) for n in (1024, 2048, 4096))
    order = np.log2(np.max(np.abs(coarse - middle)) / np.max(np.abs(middle - fine)))
    assert order == pytest.approx(4.0, abs=0.1)


def test_a_lasting_dose_rate_leads_to_its_steady_state():
    """(1 - E) (C0 / Circ)^g = 1, so Circ = C0 (1 - E)^(1/g)."""
    chain, half_life_h, kill = platelets.typical(), 1e9, 0.1
    dose_Gy = kill / float(chain.slope_h_per_Gy) * half_life_h / np.log(2)
    time_h = jnp.asarray([0.0, 8000.0, 12000.0])
    found = platelet_curve(chain, jnp.zeros(1), jnp.asarray([dose_Gy]), jnp.asarray([half_life_h]), time_h)
    np.testing.assert_allclose(found[1:], 230 * (1 - kill) ** 5, rtol=1e-5)


def test_platelets_never_turn_negative_where_more_die_than_are_born():
    """Up to a rate of kill that is 20 times that of birth."""
    slopes = jnp.asarray([100.0, 1e3, 3e3])
    found = np.asarray(treated(platelets.typical(slope_h_per_Gy=slopes), steps=4096))
    assert np.all(found > 0)
    assert np.all(np.diff(found.min(axis=-1)) < 0)


def test_a_draw_in_a_batch_is_the_draw_alone_and_padding_and_order_of_times_change_nothing(rng):
    chain = platelets.typical(transit_time_h=rng.uniform(100, 180, 3), slope_h_per_Gy=rng.uniform(50, 100, 3))
    doses_Gy = jnp.asarray(rng.uniform(0.1, 0.4, (3, 3)))
    found = platelet_curve(chain, STARTS_H, doses_Gy, HALF_LIVES_H, DAYS_H)
    one = jax.tree.map(lambda x: x[2] if x.ndim else x, chain)
    alone = platelet_curve(one, STARTS_H, doses_Gy[2], HALF_LIVES_H, DAYS_H)
    np.testing.assert_allclose(found[2], alone, rtol=1e-12)
    padded = [
        jnp.append(x, jnp.asarray(fill))
        for x, fill in ((STARTS_H, [0.0, 1e5]), (doses_Gy[2], [0, 0]), (HALF_LIVES_H, [1, 1]))
    ]
    np.testing.assert_allclose(platelet_curve(one, *padded, DAYS_H[::-1])[::-1], alone, rtol=1e-12)


def test_later_starts_move_the_curve():
    chain, later_h = platelets.typical(), 333.3
    moved = platelet_curve(chain, STARTS_H + later_h, DOSES_GY, HALF_LIVES_H, DAYS_H + later_h)
    np.testing.assert_allclose(moved, treated(chain), rtol=1e-12)
    before = platelet_curve(chain, STARTS_H + later_h, DOSES_GY, HALF_LIVES_H, DAYS_H)
    np.testing.assert_allclose(before[:14], 230.0, rtol=1e-12)
    assert before[20] < 229


def test_new_values_are_served_by_the_same_program():
    treated(platelets.typical())
    programs = platelet_curve._cache_size()
    chain = platelets.typical(baseline_per_nL=180.0, slope_h_per_Gy=60.0)
    platelet_curve(chain, STARTS_H + 5, 2 * DOSES_GY, HALF_LIVES_H + 3, DAYS_H + 7)
    assert platelet_curve._cache_size() == programs
    treated(platelets.typical(), steps=300)  # negative control
    assert platelet_curve._cache_size() > programs


def test_a_draw_whose_steps_are_too_long_is_no_number():
    """As MTT is short, or as the rebound from a collapse (E of 20) is too fast: 40 times too few if it were shown."""
    chain = platelets.typical(transit_time_h=[137.0, 20.0, 100.0], slope_h_per_Gy=[100.0, 100.0, 3000.0])
    np.testing.assert_array_equal(np.isfinite(treated(chain)).all(axis=-1), [True, False, False])
    np.testing.assert_array_equal(np.isnan(treated(chain)).all(axis=-1), [False, True, True])
    assert np.all(np.isfinite(treated(chain, steps=4096)))


def test_nadir_and_counts_before_cycles():
    chain = platelets.typical(slope_h_per_Gy=jnp.asarray([50.0, 100.0, 150.0]))
    curve = treated(chain)
    low = nadir(curve, DAYS_H)
    np.testing.assert_array_equal(low.platelets_per_nL, np.min(curve, axis=-1))
    for k in range(3):
        assert curve[k, int(low.time_h[k] // DAY_H)] == low.platelets_per_nL[k]
    np.testing.assert_array_equal(before_cycles(curve, DAYS_H, STARTS_H), curve[:, ::42][:, :3])
    between = before_cycles(curve, DAYS_H, jnp.asarray([-5.0, 36.0, 1e6]))
    np.testing.assert_allclose(between, np.stack([curve[:, 0], (curve[:, 1] + curve[:, 2]) / 2, curve[:, -1]], axis=-1))


# Gradients


@pytest.mark.parametrize("field", ["alpha_per_Gy", "doubling_time_h"])
def test_the_gradient_of_psa_through_the_volume_is_the_difference(field):
    def last(value):
        v = volume_curve(volume.typical()._replace(**{field: value}), 20.0, STARTS_H, TUMOUR_GY, TUMOUR_H, DAYS_H)
        return psa_curve(psa.typical(), 40.0, v, DAYS_H)[60]

    x = float(getattr(volume.typical(), field))
    assert float(jax.grad(last)(x)) == pytest.approx(difference(last, x, 1e-5 * x), rel=1e-6)


def test_the_gradient_of_psa_to_its_rate_is_the_difference():
    last = lambda kout: psa_curve(psa.PsaRates(kout), 40.0, shrinking_mL(DAYS_H), DAYS_H)[20]
    kout = float(psa.typical().kout_per_h)
    assert float(jax.grad(last)(kout)) == pytest.approx(difference(last, kout, 1e-5 * kout), rel=1e-6)


AT = {"slope": 100.0, "transit": 137.0, "feedback": 0.2, "dose": 0.25, "half_life": 40.0, "start": 203.0}
"""Of the chain, and of the second of three cycles, which comes soon after the first."""


@jax.jit
def lowest(x):
    chain = platelets.PlateletChain(230.0, x["transit"], x["feedback"], x["slope"])
    starts_h, doses_Gy = STARTS_H.at[1].set(x["start"]), DOSES_GY.at[1].set(x["dose"])
    curve = platelet_curve(chain, starts_h, doses_Gy, HALF_LIVES_H.at[1].set(x["half_life"]), DAYS_H)
    return nadir(curve, DAYS_H).platelets_per_nL


@pytest.mark.parametrize("name", AT)
def test_the_gradient_of_the_nadir_is_the_difference(name):
    x = AT[name]
    ours, theirs = jax.grad(lowest)(AT)[name], difference(lambda value: lowest(AT | {name: value}), x, 1e-4 * x)
    assert float(ours) == pytest.approx(theirs, rel=1e-4)


# The page, the table, refusals


def test_the_example_of_the_page_gives_the_numbers_of_the_page(repository, tmp_path):
    page = (repository / "docs/outcomes.md").read_text(encoding="utf-8")
    script = tmp_path / "example.py"
    script.write_text(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], encoding="utf-8")
    found = runpy.run_path(str(script))
    shown = re.findall(r"^\| (\w[\w ,/]+) \| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|$", page, re.MULTILINE)
    assert len(shown) == len(found["rows"]) == 4
    for (_, *texts), draws in zip(shown, found["rows"].values(), strict=True):
        ours = np.quantile(draws, [0.5, 0.05, 0.95])
        np.testing.assert_allclose([float(t) for t in texts], ours, rtol=0.01)


def test_the_table_holds_the_values_of_the_cases():
    law, chain = volume.typical(), platelets.typical()
    assert (float(law.alpha_per_Gy), float(law.doubling_time_h)) == (0.0172, 4800.0)
    assert [float(x) for x in chain] == [230.0, 137.0, 0.2, 100.0]
    assert float(psa.typical().kout_per_h) == pytest.approx(np.log(2) / 60, rel=1e-15)
    assert volume.published("alpha", "high") == 0.0256


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: volume.typical(alpha_per_Gy=-0.1), "alpha_per_Gy: found -0.1"),
        (lambda: volume.typical(alpha_per_Gy=[0.1, np.nan]), "alpha_per_Gy: found nan"),
        (lambda: volume.typical(doubling_time_h=0.0), "doubling_time_h: found 0; expected finite numbers above zero"),
        (lambda: volume.typical(alfa_per_Gy=0.1), "expected alpha_per_Gy"),
        (lambda: psa.typical(kout_per_h=0.0), "kout_per_h: found 0"),
        (lambda: psa.typical(kin_ng_per_mL_per_h_per_mL=-1.0), "kin_ng_per_mL_per_h_per_mL: found -1"),
        (lambda: platelets.typical(transit_time_h=0.0), "transit_time_h: found 0"),
        (lambda: platelets.typical(baseline_per_nL=np.inf), "baseline_per_nL: found inf"),
        (lambda: platelets.typical(slope_h_per_Gy=-1.0), "slope_h_per_Gy: found -1"),
        (lambda: volume.published("alfa"), "expected alpha"),
    ],
)
def test_impossible_values_are_refused_by_name(make, words):
    with pytest.raises(InputError, match=words):
        make()
