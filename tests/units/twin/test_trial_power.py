"""Power against closed forms: the normal approximation for means and shares, and Cohen's table."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from dose.errors import InputError
from tests.trial_tables import STANDARD, TWIN, ArmMade, make_trial
from twin.trial import power as of
from twin.trial.results import open_trial

Z = norm.ppf(0.975)


@pytest.fixture(scope="module")
def trial(tmp_path_factory):
    return open_trial(make_trial(tmp_path_factory.mktemp("power"), patients=300, chunk=100, bad=0.02))


def values(trial, arm, column):
    found = trial.patients([column, "status"], arm=arm)
    return found.loc[found["status"] == "ok", column].to_numpy()


def normal_power_of_means(one, other, sizes):
    error = np.sqrt((one.var() + other.var()) / np.asarray(sizes))
    gap = abs(one.mean() - other.mean()) / error
    return norm.cdf(gap - Z) + norm.cdf(-gap - Z)


def normal_power_of_shares(p, q, sizes):
    n, middle = np.asarray(sizes), (p + q) / 2
    pooled, own = np.sqrt(2 * middle * (1 - middle)), np.sqrt(p * (1 - p) + q * (1 - q))
    return norm.cdf((abs(p - q) * np.sqrt(n) - Z * pooled) / own)


def test_power_of_a_mean_is_the_normal_approximation(trial):
    sizes = (40, 80, 160, 320)
    found = of.power_curve(trial, "kidney_bed_Gy", (STANDARD.name, TWIN.name), sizes)
    groups = [values(trial, arm, "kidney_bed_Gy") for arm in trial.arms]
    # 4 standard errors of 2000 draws are 4.5 points; skew and the t-test's tails are below 1 point from 40 patients on
    np.testing.assert_allclose(found.power, normal_power_of_means(*groups, sizes), atol=0.05)


def test_power_of_a_share_is_the_normal_approximation(trial):
    sizes = (80, 160, 320, 640)
    found = of.power_curve(trial, "exceeds_kidney_bed_40", (STANDARD.name, TWIN.name), sizes)
    shares = [np.mean(values(trial, arm, "kidney_bed_Gy") > 40) for arm in trial.arms]
    # 20 000 draws: 4 standard errors are 1.4 points; the binomial's steps make up to 2 more
    np.testing.assert_allclose(found.power, normal_power_of_shares(*shares, sizes), atol=0.035)


def test_a_medium_effect_needs_sixty_four_patients():
    # Cohen, Psychol Bull 1992;112:155, table 2: d = 0.50, alpha 0.05 two-sided, power 0.80: 64 in each group
    rng, sizes = np.random.default_rng(3), np.array([32, 48, 64, 80, 96])
    normal = rng.normal(size=200_000)
    normal = (normal - normal.mean()) / normal.std()
    groups = [normal[None], normal[None] + 0.5]
    found = np.array([of._share_found("mean", groups, int(n), 8000, rng) for n in sizes])
    assert of.needed_for(sizes, found) == pytest.approx(64, abs=3)


def test_between_arms_that_are_alike_the_test_errs_in_five_of_a_hundred(tmp_path):
    same = ArmMade("again", STANDARD.activity_MBq, hazard_per_d=STANDARD.hazard_per_d)
    trial = open_trial(make_trial(tmp_path, (STANDARD, same), patients=200, chunk=200))
    for endpoint in ("kidney_bed_Gy", "psa50", "survival"):
        found = of.power_curve(trial, endpoint, trial.arms, (60, 120))
        np.testing.assert_allclose(found.power, 0.05, atol=4 * np.sqrt(0.05 * 0.95 / 400))
        assert np.isnan(found.needed)


def test_power_of_survival_rises_with_the_size(trial):
    found = of.power_curve(trial, "survival", trial.arms, (20, 80, 320))
    assert found.test == "log-rank test"
    assert np.all(np.diff(found.power) > 0.1)
    # Schoenfeld, Biometrics 1983;39:499: power of ln(4/3) with the deaths of 320 patients an arm, of exponential times
    deaths = 320 * sum(1 - np.exp(-1500 * arm.hazard_per_d) for arm in (STANDARD, TWIN))
    expected = norm.cdf(np.log(4 / 3) * np.sqrt(deaths / 4) - Z)
    assert found.power[-1] == pytest.approx(expected, abs=0.1)


def test_the_same_seed_gives_the_same_curve(trial):
    one, again, other = (of.power_curve(trial, "tumour_dose_Gy", trial.arms, (20, 40), seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.power, again.power)
    assert np.any(one.power != other.power)


def test_needed_patients_interpolate_the_closed_form():
    sizes = np.array([10, 20, 40, 80, 160])
    power = norm.cdf(0.3 * np.sqrt(sizes) - Z)
    assert of.needed_for(sizes, power) == pytest.approx(((Z + norm.ppf(0.8)) / 0.3) ** 2, rel=1e-6)
    assert np.isnan(of.needed_for(sizes, power * 0.5))


def test_constant_groups_differ_always_or_never():
    ones = np.ones((3, 10))
    np.testing.assert_array_equal(of._welch(ones, ones), 1.0)
    np.testing.assert_array_equal(of._welch(ones, 2 * ones), 0.0)


def test_what_cannot_be_asked_is_told(trial):
    with pytest.raises(InputError, match="tumour_dose_Gy"):
        of.power_curve(trial, "tumor_dose_Gy", trial.arms)
    with pytest.raises(InputError, match="twin"):
        of.power_curve(trial, "tumour_dose_Gy", (STANDARD.name, "twinn"))
    with pytest.raises(InputError, match="from 2 up"):
        of.power_curve(trial, "tumour_dose_Gy", trial.arms, (1, 10))
