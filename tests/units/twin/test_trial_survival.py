"""Survival against a published worked example and against laws of the estimators."""

from __future__ import annotations

import numpy as np
import pytest

from twin.trial import survival as km
from twin.trial.survival import Tally

# Freireich 1963, weeks of remission with 6-mercaptopurine (9 relapses) and with placebo (all relapsed); the numbers of
# R's survival package: KM 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448; medians 23 and 8; log-rank chi-squared 16.8,
# p 4.17e-5; restricted mean to 35 weeks 23.29, standard error 2.83.
WEEKS = np.array([6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35.0])
RELAPSED = np.arange(21) < 9
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23.0])
DRUG, CONTROL = Tally.of(WEEKS, RELAPSED), Tally.of(PLACEBO, np.ones(21, bool))


@pytest.fixture
def counted(monkeypatch):
    """As in a trial with more patients than scipy is asked for."""
    monkeypatch.setattr(km, "EXACT", 0)


def test_the_curve_of_the_worked_example():
    curve = km.kaplan_meier(DRUG)
    died = DRUG.deaths > 0
    np.testing.assert_allclose(curve.survival[died], [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=5e-4)
    np.testing.assert_array_equal(DRUG.at_risk[died], [21, 17, 15, 12, 11, 7, 6])


def test_medians_of_the_worked_example():
    middle, low, high = km.median(km.kaplan_meier(DRUG))
    assert middle == 23
    assert low < 23
    assert high == np.inf
    assert km.median(km.kaplan_meier(CONTROL))[:2] == (8, 4)


def test_log_rank_of_the_worked_example():
    assert km.log_rank(DRUG, CONTROL) == pytest.approx((16.793, 4.17e-5), rel=1e-3)


def test_restricted_mean_of_the_worked_example():
    assert km.restricted_mean(km.kaplan_meier(DRUG), 35) == pytest.approx((23.287, 2.827), rel=1e-3)
    assert km.restricted_mean(km.kaplan_meier(CONTROL), 35)[0] == pytest.approx(PLACEBO.mean())


def test_counts_give_what_scipy_gives(counted):
    few, test = km.kaplan_meier(DRUG), km.log_rank(DRUG, CONTROL)
    km.EXACT = 100
    many = km.kaplan_meier(DRUG)
    for name in ("survival", "lower", "upper"):
        np.testing.assert_allclose(getattr(few, name), getattr(many, name), atol=1e-12)
    assert test == pytest.approx(km.log_rank(DRUG, CONTROL))


def test_tallies_of_parts_add_up_to_that_of_all():
    both = Tally.of(WEEKS[:8], RELAPSED[:8]).plus(Tally.of(WEEKS[8:], RELAPSED[8:]))
    for name in ("time_d", "deaths", "left"):
        np.testing.assert_array_equal(getattr(both, name), getattr(DRUG, name))


def test_patients_without_a_time_are_left_out():
    assert Tally.of([1.0, np.nan, 3.0], [True, False, False]).patients == 2


def test_identical_groups_do_not_differ_and_shifted_ones_do():
    assert km.log_rank(DRUG, DRUG)[1] == pytest.approx(1.0)
    assert km.log_rank(CONTROL, Tally.of(PLACEBO * 4, np.ones(21, bool)))[1] < 1e-4


def test_share_at_a_time_without_censoring_is_the_share():
    curve = km.kaplan_meier(CONTROL)
    value, low, high = km.share_at(curve, 8)
    assert value == pytest.approx(8 / 21)
    assert low < value < high
    assert km.share_at(curve, 0.5)[0] == 1
    assert km.share_at(curve, 23)[0] == 0


def test_beyond_the_follow_up_nothing_is_said():
    assert np.isnan(km.share_at(km.kaplan_meier(DRUG), 36)).all()
    assert np.isnan(km.share_at(km.kaplan_meier(Tally.of([], [])), 1)).all()


def test_influence_without_censoring_is_the_departure_from_the_mean():
    curve = km.kaplan_meier(CONTROL)
    ones = np.ones(21, bool)
    np.testing.assert_allclose(km.influence(curve, PLACEBO, ones, 8), (PLACEBO > 8) - 8 / 21, atol=1e-12)
    mean = km.influence(curve, PLACEBO, ones, 35, mean=True)
    np.testing.assert_allclose(mean, PLACEBO - PLACEBO.mean(), atol=1e-12)


def test_influence_with_censoring_has_the_variance_of_greenwood():
    curve = km.kaplan_meier(DRUG)
    error = np.sqrt(km.influence(curve, WEEKS, RELAPSED, 35, mean=True).var() / 21)
    assert error == pytest.approx(km.restricted_mean(curve, 35)[1], rel=1e-6)
