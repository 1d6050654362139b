"""Linear-quadratic laws."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose import radiobiology as rb
from dose.provenance import sources
from dose.regions import known_regions


def integrated(rate_of_t, mu, alpha_beta, end_h, steps=40_000):
    """BED by the ODE form, fourth-order Runge-Kutta."""
    h = end_h / steps

    def step(carry, k):
        t, y = k * h, carry

        def f(t, y):
            return jnp.stack(rb.bed_rates(rate_of_t(t), y[0], alpha_beta, mu))

        a = f(t, y)
        b = f(t + h / 2, y + h / 2 * a)
        c = f(t + h / 2, y + h / 2 * b)
        d = f(t + h, y + h * c)
        return y + h / 6 * (a + 2 * b + 2 * c + d), None

    final, _ = jax.lax.scan(step, jnp.zeros(2), jnp.arange(steps, dtype=float))
    return float(final[1])


@pytest.mark.parametrize(
    ("amplitudes", "rates"),
    [((0.06,), (0.0134,)), ((0.06, 0.03), (0.0099, 0.0693)), ((0.08, -0.08), (0.01155, 0.23105))],
)
def test_the_closed_form_equals_the_ode_form(amplitudes, rates):
    a, rate = jnp.array(amplitudes), jnp.array(rates)
    mu, alpha_beta = np.log(2) / 2.8, 2.6
    dose = float((a / rate).sum())
    closed = float(rb.bed_Gy(dose, rb.g_factor(a, rate, mu), alpha_beta))
    # 3000 h is 29 half-lives of the slowest phase: 1e-9 of the dose is left
    ode = integrated(lambda t: (a * jnp.exp(-rate * t)).sum(), mu, alpha_beta, 3000.0)
    assert ode == pytest.approx(closed, rel=1e-7)


def test_bed_is_between_the_dose_and_that_of_an_acute_exposure():
    for mu in (1e-6, 0.1, 0.25, 1e6):
        g = float(rb.g_factor(jnp.array([0.06]), jnp.array([0.0134]), mu))
        assert 0 < g < 1
        assert 4.5 < rb.bed_Gy(4.5, g, 2.6) < rb.bed_Gy(4.5, 1.0, 2.6)


def test_g_does_not_depend_on_the_size_of_the_dose_or_the_unit_of_time():
    a, rate = jnp.array([0.06, 0.03]), jnp.array([0.01, 0.07])
    g = float(rb.g_factor(a, rate, 0.25))
    assert rb.g_factor(7 * a, rate, 0.25) == pytest.approx(g, rel=1e-12)
    assert rb.g_factor(a / 60, rate / 60, 0.25 / 60) == pytest.approx(g, rel=1e-12)


def test_cycles_add_after_bed_and_lumping_them_overstates():
    g = 2.8 / (2.8 + 50.0)
    # DOSE.md section 6: 25.70 and 33.79 Gy, two decimals
    assert 4 * rb.bed_Gy(5.75, g, 2.6) == pytest.approx(25.70, abs=0.01)
    assert rb.bed_Gy(23.0, g, 2.6) == pytest.approx(33.79, abs=0.01)


def test_the_gradient_of_bed_equals_a_difference():
    def bed(clearance):
        a, rate = jnp.array([0.06, 0.03]), jnp.array([clearance, 0.07])
        return rb.bed_Gy((a / rate).sum(), rb.g_factor(a, rate, 0.25), 2.6)

    h = 1e-7
    difference = (bed(0.01 + h) - bed(0.01 - h)) / (2 * h)
    assert jax.grad(bed)(0.01) == pytest.approx(float(difference), rel=1e-6)


def test_a_uniform_bed_is_its_own_eubed_and_a_cold_part_rules():
    v = jnp.array([1.0, 2.0, 3.0])
    assert rb.eubed_Gy(jnp.full(3, 42.0), v, 0.35) == pytest.approx(42.0, rel=1e-12)
    cold = rb.eubed_Gy(jnp.array([2000.0, 2000.0, 10.0]), v, 0.35)
    # half the volume at 10 Gy: 10 + ln 2 / alpha
    assert cold == pytest.approx(10 + np.log(2) / 0.35, rel=1e-12)


@pytest.mark.parametrize(
    ("effect", "expected", "tolerance"), [(40, 0.22435, 1e-5), (27, 6.416e-4, 1e-7), (23, 3.49e-5, 1e-7)]
)
def test_ntcp_is_that_of_the_clinical_one_liners(effect, expected, tolerance):
    # half a digit of the numbers as printed
    assert rb.ntcp_lkb(float(effect), 44.0, 0.12) == pytest.approx(expected, abs=tolerance)


def test_tcp_is_that_of_the_clinical_one_liner():
    assert rb.tcp(60.0, 0.35, 1e8) == pytest.approx(0.92698, abs=1e-5)


def test_a_brief_exposure_with_slow_repair_is_acute():
    g = rb.g_factor(jnp.array([1e4]), jnp.array([1e4]), 1e-4)
    assert g == pytest.approx(1.0, rel=1e-6)
    assert rb.eqd2_Gy(rb.bed_Gy(2.0, g, 10.0), 10.0) == pytest.approx(2.0, rel=1e-6)


def test_cycles_within_counts_whole_cycles_and_a_limit_met_exactly_is_kept():
    assert rb.cycles_within([5.0, 5.0, 5.0], 10.0) == 2
    assert rb.cycles_within([5.0, 5.0, 5.0], 4.9) == 0
    assert rb.cycles_within([5.0, 5.0, 5.0], 100.0) == 3
    assert rb.cycles_within([], 10.0) == 0


def test_each_region_has_a_tissue_with_a_source():
    for name in (*known_regions(), "tumour_1"):
        found = rb.tissue(name)
        assert found.alpha_beta_Gy > 0
        assert found.repair_rate_per_h == pytest.approx(np.log(2) / found.repair_half_time_h)
        assert set(found.source_id.split("; ")) <= set(sources("dose"))
    assert rb.tissue("right kidney").alpha_beta_Gy == 2.6
    assert rb.tissue("lesion 3").alpha_beta_Gy == 10.0
