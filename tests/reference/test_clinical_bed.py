"""CLINICAL.md section 6, cases V15 to V19: biologically effective dose, the stop rule, schedules; DOSE.md section 6."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import brentq

from dose.dose_rate import ode_bed_Gy, sampled_bed_Gy
from dose.exposure import Exposure, course_bed_Gy
from dose.radiobiology import bed_Gy, cycles_within, eqd2_Gy, g_factor, tissue

MU_PER_H, ALPHA_BETA_GY = np.log(2) / 2.8, 2.6
"""Kidney: V15 to V18 state repair half-time 2.8 h and alpha/beta 2.6 Gy."""
CLEARANCE_PER_H = np.log(2) / 51.6
PER_CYCLE_GY = np.array([4.9, 4.4, 4.6, 4.2, 4.0, 3.9, 3.8, 3.8])


def exposure(amplitudes, half_times_h):
    """Dose, G and BED of a dose rate sum a_i exp(-ln2 t/T_i)."""
    a, rates = np.array(amplitudes), np.log(2) / np.array(half_times_h)
    dose, g = float((a / rates).sum()), float(g_factor(a, rates, MU_PER_H))
    return dose, g, float(bed_Gy(dose, g, ALPHA_BETA_GY))


def test_the_kidney_row_of_our_table_has_the_values_of_these_cases():
    kidney = tissue("kidneys")
    assert (kidney.alpha_beta_Gy, kidney.repair_half_time_h) == (2.6, 2.8)


def test_v15_mono_exponential():
    dose, g, bed = exposure([4.5 * CLEARANCE_PER_H], [51.6])
    # 1e-6: V15's digits (half a unit of the last one for G)
    assert dose == pytest.approx(4.5, rel=1e-12)
    assert g == pytest.approx(0.0514706, abs=5e-8)
    assert bed / dose == pytest.approx(1.0890837, rel=1e-6)
    assert bed == pytest.approx(4.900877, rel=1e-6)
    assert 4 * bed == pytest.approx(19.603507, rel=1e-6)
    assert eqd2_Gy(4 * bed, ALPHA_BETA_GY) == pytest.approx(11.080243, rel=1e-6)


def test_v15_lumping_four_cycles_is_seen():
    """Negative control: one exposure of 18 Gy gives 24.414 Gy, far from four of 4.5 Gy."""
    _, _, lumped = exposure([18.0 * CLEARANCE_PER_H], [51.6])
    assert lumped == pytest.approx(24.414, abs=5e-4)
    assert lumped != pytest.approx(19.603507, rel=0.2)


def test_v16_two_phases():
    # 1e-6 is V16's
    assert exposure([0.06, 0.03], [70, 10]) == pytest.approx((6.4921277, 0.0420673, 7.1740666), rel=1e-6)


def test_v16_forgetting_the_cross_terms_is_seen():
    """Negative control: G of each phase alone, added, misses the pairs between the phases."""
    parts = [exposure([a], [half]) for a, half in ((0.06, 70), (0.03, 10))]
    total = sum(part[0] for part in parts)
    wrong = sum(g * dose**2 for dose, g, _ in parts) / total**2
    assert wrong != pytest.approx(0.0420673, rel=0.05)


def test_v17_uptake_with_a_negative_amplitude():
    dose, g, _ = exposure([0.08, -0.08], [60, 3])
    assert (dose, g) == pytest.approx((6.5786894, 0.0434878), rel=1e-6)


def test_v18_stop_rule():
    g = float(g_factor(np.array([1.0]), np.array([CLEARANCE_PER_H]), MU_PER_H))
    bed = bed_Gy(PER_CYCLE_GY, g, ALPHA_BETA_GY)
    # 1e-4 is V18's
    assert np.cumsum(bed)[:6] == pytest.approx([5.375, 10.159, 15.177, 19.727, 24.043, 28.245], rel=1e-4)
    assert cycles_within(bed, 27.0) == 5
    assert cycles_within(PER_CYCLE_GY, 23.0) == 5


def test_v18_one_more_cycle_would_break_either_limit():
    g = float(g_factor(np.array([1.0]), np.array([CLEARANCE_PER_H]), MU_PER_H))
    bed = bed_Gy(PER_CYCLE_GY, g, ALPHA_BETA_GY)
    assert bed[:6].sum() > 27.0
    assert PER_CYCLE_GY[:6].sum() > 23.0


@pytest.mark.parametrize(
    ("amplitudes", "half_times_h", "expected"),
    [([0.06, 0.03], [70, 10], 7.1740666), ([0.08, -0.08], [60, 3], 6.5786894 * (1 + 0.0434878 * 6.5786894 / 2.6))],
)
def test_v16_and_v17_by_the_ode_and_by_samples(amplitudes, half_times_h, expected):
    a, rates = jnp.array(amplitudes), jnp.log(2.0) / jnp.array(half_times_h, dtype=float)
    rate = lambda t: jnp.sum(a * jnp.exp(-rates * t))
    _, bed = ode_bed_Gy(rate, ALPHA_BETA_GY, MU_PER_H, 3000.0)
    assert bed == pytest.approx(expected, rel=1e-6)  # V16's; G of V17 has six digits, of a part of 11 % of BED
    time = np.concatenate([np.linspace(0, 60, 1201), np.linspace(60, 700, 1281)[1:]])
    samples = np.sum(np.asarray(a)[:, None] * np.exp(-np.asarray(rates)[:, None] * time), axis=0)
    sampled = sampled_bed_Gy(time, samples, ALPHA_BETA_GY, MU_PER_H, rule="log", tail_per_h=float(rates[0]))
    assert sampled == pytest.approx(expected, rel=1e-4)  # straight and exponential pieces of 0.05 to 0.5 h


def test_v19_equal_cycles():
    """Activity a cycle that keeps the kidneys at 27 Gy of BED, 0.5 Gy/GBq; 1e-4 is V19's."""
    g = float(g_factor(np.array([1.0]), np.array([CLEARANCE_PER_H]), MU_PER_H))
    for cycles, expected in ((1, 38.969), (2, 22.146), (4, 12.060), (6, 8.3156)):
        dose = brentq(lambda d, n=cycles: n * bed_Gy(d, g, ALPHA_BETA_GY) - 27.0, 0.0, 30.0, xtol=1e-12)
        assert dose / 0.5 == pytest.approx(expected, rel=1e-4)


def test_dose_md_four_cycles_or_one():
    """DOSE.md section 6: alpha/beta 2.6 Gy, repair 2.8 h, clearance 50 h; two decimals."""
    rate = np.log(2) / 50
    kidney, cycle = tissue("kidneys"), Exposure((5.75 * rate,), (rate,))
    assert course_bed_Gy([cycle] * 4, [0.0, 1344.0, 2688.0, 4032.0], kidney) == pytest.approx(25.70, abs=0.005)
    assert cycle.scaled(4.0).bed_Gy(kidney) == pytest.approx(33.79, abs=0.005)
