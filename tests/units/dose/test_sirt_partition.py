"""Partition model: balance of activity, Ho's formula, intervals with closed forms, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dose.errors import InputError
from dose.sirt.basics import gray_kg_per_GBq
from dose.sirt.liver import Liver, SirtSpread, Tumour, default_spread
from dose.sirt.partition import (
    LUNG_SHARE,
    LUNGS,
    PERFUSED,
    WHOLE,
    coefficient_draws,
    coefficients_Gy_per_GBq,
    drawn_shares,
    partition_doses,
)

LIVER = Liver((Tumour("tumour_1", 300, 4.0), Tumour("lesion 2", 50, 2.0)), 700, 0.05, unperfused_g=800, lungs_g=900)
SURE = SirtSpread(0, 0, 0, 0, 0, 0)


RATIO = st.floats(0.5, 20)


@given(st.floats(1, 2000), RATIO, st.floats(1, 500), RATIO, st.floats(50, 2500), st.floats(0, 0.6))
def test_the_regions_share_all_of_the_activity(m1, r1, m2, r2, normal, shunt):
    liver = Liver((Tumour("tumour_1", m1, r1), Tumour("tumour_2", m2, r2)), normal, shunt)
    dose = coefficients_Gy_per_GBq(liver)
    energy = sum(dose[name] * m for name, m in (("tumour_1", m1), ("tumour_2", m2), (PERFUSED, normal), (LUNGS, 1000)))
    assert energy / 1000 == pytest.approx(gray_kg_per_GBq(), rel=1e-12)
    assert dose["tumour_1"] / dose[PERFUSED] == pytest.approx(r1)


def test_one_tumour_is_the_formula_of_ho():
    """D_normal = 49.77 A (1 - L) / (r m_T + m_N), masses in kg."""
    liver = Liver((Tumour("tumour_1", 200, 5.0),), 1300, 0.08)
    dose = coefficients_Gy_per_GBq(liver)
    assert dose[PERFUSED] == pytest.approx(gray_kg_per_GBq() * 0.92 / (5 * 0.2 + 1.3))
    assert dose[LUNGS] == pytest.approx(gray_kg_per_GBq() * 0.08)


def test_liver_that_is_not_reached_dilutes_the_mean():
    dose = coefficients_Gy_per_GBq(LIVER)
    assert dose[WHOLE] == pytest.approx(dose[PERFUSED] * 700 / 1500)
    assert LIVER.reserve == pytest.approx(800 / 1850)


def test_without_spread_every_draw_is_the_point():
    draws = coefficient_draws(LIVER, SURE, draws=100)
    for name, value in coefficients_Gy_per_GBq(LIVER).items():
        np.testing.assert_allclose(draws[name], value, rtol=1e-12)


@pytest.mark.parametrize(
    ("spread", "name", "log_sd"),
    [
        (SirtSpread(0, 0, 0, 0, 0.2, 0), LUNGS, 0.2),
        (SirtSpread(0, 0, 0, 0, 0, 0.1), WHOLE, 0.1),
        (SirtSpread(0, 0, 0.3, 0, 0, 0), "tumour_1", 0.3),
    ],
)
def test_a_single_error_spreads_as_its_closed_form(spread, name, log_sd):
    """Masses and activity enter as factors: the log sd of the dose is theirs; 2 % is three sds of 20 000 draws."""
    draws = coefficient_draws(LIVER, spread, draws=20_000)
    assert np.std(np.log(draws[name])) == pytest.approx(log_sd, rel=0.02)
    assert np.median(draws[name]) == pytest.approx(coefficients_Gy_per_GBq(LIVER)[name], rel=0.01)


def test_a_tumours_contour_moves_no_dose_of_the_liver():
    """A larger contour holds the same counts: its ratio falls, and all else stays."""
    draws = coefficient_draws(LIVER, SirtSpread(0, 0, 0.3, 0, 0, 0), draws=200)
    np.testing.assert_allclose(draws[PERFUSED], coefficients_Gy_per_GBq(LIVER)[PERFUSED], rtol=1e-12)


def test_each_draw_of_the_ratios_shares_all_of_the_activity():
    draws = coefficient_draws(LIVER, SirtSpread(0.4, 0.3, 0, 0, 0, 0), draws=200)
    energy = 300 * draws["tumour_1"] + 50 * draws["tumour_2"] + 700 * draws[PERFUSED] + 900 * draws[LUNGS]
    np.testing.assert_allclose(energy / 1000, gray_kg_per_GBq(), rtol=1e-12)


def test_drawn_shunts_stay_shares(rng):
    shunts = drawn_shares(0.3, 1.5, 10_000, rng)
    assert 0 < shunts.min() < 0.3 < shunts.max() < 1
    assert np.median(shunts) == pytest.approx(0.3, abs=0.02)  # sd of the median of 1e4 draws: 0.004
    assert np.all(drawn_shares(0.0, 1.5, 100, rng) == 0)


def test_the_factor_of_the_ratio_lowers_the_tumour_and_raises_the_liver():
    lower = coefficients_Gy_per_GBq(LIVER, tn_factor=0.8)
    assert lower["tumour_1"] < coefficients_Gy_per_GBq(LIVER)["tumour_1"]
    assert lower[PERFUSED] > coefficients_Gy_per_GBq(LIVER)[PERFUSED]


def test_doses_are_linear_in_activity_and_reproducible():
    one, two = partition_doses(LIVER, 1.0), partition_doses(LIVER, 2.0)
    assert two.of("tumour_1").high == pytest.approx(2 * one.of("tumour_1").high)
    assert one.of(LUNGS) == partition_doses(LIVER, 1.0).of(LUNGS)
    assert list(one.table()["region"]) == ["tumour_1", "tumour_2", PERFUSED, WHOLE, LUNGS]
    assert all(dose.dose_Gy.low < dose.dose_Gy.value < dose.dose_Gy.high for dose in one.doses)


def test_a_planar_shunt_is_less_certain_and_says_so():
    planar = Liver(LIVER.tumours, 700, 0.05, shunt_by="planar")
    assert default_spread("planar").lung_odds > default_spread("spect").lung_odds
    assert any("overestimate" in note for note in partition_doses(planar, 1.0).warnings)


def test_a_tumour_colder_than_the_liver_is_named():
    cold = Liver((Tumour("tumour_1", 300, 0.7),), 700, 0.05)
    assert "takes up less" in partition_doses(cold, 1.0).warnings[0]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: Tumour("liver", 100, 2.0), "a tumour"),
        (lambda: Tumour("tumour_1", -1, 2.0), "mass_g"),
        (lambda: Tumour("tumour_1", 100, 0.0), "tn_ratio"),
        (lambda: Liver((), 700, 0.05), "one or more"),
        (lambda: Liver((Tumour("tumour_1", 1, 2), Tumour("lesion 1", 2, 2)), 700, 0.05), "each name once"),
        (lambda: Liver(LIVER.tumours, 700, 5.0), "percent"),
        (lambda: Liver(LIVER.tumours, 700, 0.05, lungs_g=1.0), "lungs_g"),
        (lambda: Liver(LIVER.tumours, 700, 0.05, shunt_by="pet"), "lung_odds_log_sd"),
        (lambda: SirtSpread(0.4, -0.1, 0, 0, 0, 0), "tn"),
        (lambda: partition_doses(LIVER, 2000.0), "not MBq"),
        (lambda: partition_doses(LIVER, 1.0, draws=10), "draws"),
        (lambda: partition_doses(LIVER, 1.0).of("tumour_9"), "one of tumour_1"),
    ],
)
def test_what_cannot_be_right_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_the_lung_share_is_no_dose():
    assert coefficients_Gy_per_GBq(LIVER)[LUNG_SHARE] == 0.05
    assert LUNG_SHARE not in [dose.region for dose in partition_doses(LIVER, 1.0).doses]
