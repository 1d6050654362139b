"""Mixed-effects curves: an exact case, populations recovered, functions selected, new patients covered, refusals."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from calibration.curve_cohort import padded
from calibration.curve_mixed import Population, minus_two_log_likelihoods, modes
from calibration.curve_models import FAMILY, curve_model
from calibration.curve_population import fit_mixed, select_function
from calibration.curves import fit_region
from dose.errors import InputError
from dose.nuclides import radionuclide

LP = radionuclide("177Lu").decay_constant_per_h
SCANS_H = np.array([4.0, 24.0, 96.0, 168.0])
CENTRE = {"mono": [8.3, np.log(0.009)], "uptake": [8.3, np.log(0.009), np.log(0.15)]}
SPREAD = {"mono": [0.4, 0.3], "uptake": [0.4, 0.3, 0.3]}


def patients(rng, name: str, many: int, time_h=SCANS_H, sigma=0.05):
    """Parameters [patient, parameter], times and noisy activities [patient, scan]."""
    x = np.array(CENTRE[name]) + np.array(SPREAD[name]) * rng.normal(size=(many, len(CENTRE[name])))
    t = np.asarray(time_h) * (1 + 0.03 * rng.normal(size=(many, len(time_h))))
    return x, t, curve_model(name).activity_MBq(x, t, LP) * np.exp(sigma * rng.normal(size=t.shape))


@pytest.fixture(scope="module")
def cohort_of_uptake():
    rng = np.random.default_rng(11)
    x, t, a = patients(rng, "uptake", 30)
    return x, list(zip(t, a)), fit_mixed("uptake", list(zip(t, a)), nuclide="177Lu")


def test_the_likelihood_of_a_linear_model_is_the_exact_one(rng):
    """Physical decay alone is linear in ln TIA, so Laplace is exact: against SciPy's multivariate normal, to 1e-9."""
    t = rng.uniform(2, 170, (6, 3))
    a = 5000 * LP * np.exp(-LP * t + 0.2 * rng.normal(size=t.shape))
    data = padded(list(zip(t, a)))
    population = Population(np.array([8.4]), np.array([[0.5]]), 0.1)
    found = minus_two_log_likelihoods(data, population, modes(FAMILY["physical"], LP, data, population))
    covariance = 0.25 * np.ones((3, 3)) + 0.01 * np.eye(3)
    exact = [
        -2 * multivariate_normal.logpdf(np.log(row), 8.4 + np.log(LP) - LP * when, covariance)
        for row, when in zip(a, t)
    ]
    np.testing.assert_allclose(found, exact, rtol=1e-9)


def test_padding_changes_nothing(rng):
    """A patient with two scans among patients with four is the same patient alone."""
    x, t, a = patients(rng, "mono", 5)
    data = padded([*zip(t, a), (t[0, :2], a[0, :2])])
    alone = padded([(t[0, :2], a[0, :2])])
    population = Population(np.array(CENTRE["mono"]), np.diag(SPREAD["mono"]), 0.05)
    both = [
        minus_two_log_likelihoods(d, population, modes(FAMILY["mono"], LP, d, population))[-1] for d in (data, alone)
    ]
    assert both[0] == pytest.approx(both[1], rel=1e-9)


def test_the_population_is_found_again(cohort_of_uptake):
    """30 patients: means within 3 standard errors (0.4/sqrt(30) = 0.07), spreads and sigma within some third."""
    x, _, fit = cohort_of_uptake
    assert fit.settled
    np.testing.assert_allclose(fit.mean, CENTRE["uptake"], atol=0.22)
    np.testing.assert_allclose(np.sqrt(np.diag(fit.omega)), SPREAD["uptake"], rtol=0.4)
    assert fit.sigma == pytest.approx(0.05, rel=0.35)
    error = np.log(fit.individual.tia_MBq_h) - x[:, 0]
    # four scans of 5 % each leave 3 to 5 % of the integral
    assert error.std() < 0.06


def test_one_scan_of_new_patients_is_covered_by_its_interval(cohort_of_uptake, rng):
    """400 patients of the same population, one scan at 72 h: 90 % intervals hold 83 to 95 %.

    A standard error of the share is 1.5 %; a cohort of 30 knows its spread to 13 %.
    """
    x, t, a = patients(rng, "uptake", 400, [72.0])
    found = cohort_of_uptake[2].tia(t, a)
    lower, upper = found.interval()
    truth = np.exp(x[:, 0])
    share = np.mean((lower < truth) & (truth < upper))
    assert 0.83 < share < 0.96
    narrow = np.abs(np.log(truth / found.tia_MBq_h)) < 1.6449 * 0.5 * found.log_sd
    assert narrow.mean() < 0.75, "negative control: an sd half as wide must be seen"


def test_a_scan_at_the_right_time_beats_an_early_one_and_more_scans_leave_less_to_the_prior(cohort_of_uptake, rng):
    x, t, a = patients(rng, "uptake", 200, [4.0, 72.0, 168.0])
    fit = cohort_of_uptake[2]
    early, late, both = (fit.tia(t[:, k], a[:, k]) for k in ([0], [1], [0, 1]))
    rms = lambda found: np.sqrt(np.mean((np.log(found.tia_MBq_h) - x[:, 0]) ** 2))
    assert rms(late) < 0.6 * rms(early)
    assert np.mean(both.prior_share) < np.mean(late.prior_share) < np.mean(early.prior_share) < 1


def test_the_posterior_of_a_linear_model_is_its_mode_and_laplace(rng):
    """Physical decay alone: mean and sd by 2000 draws are those of the normal, to 3 standard errors (0.07 sd, 5 %)."""
    t = rng.uniform(2, 170, (6, 3))
    a = 5000 * LP * np.exp(-LP * t + rng.normal(size=(6, 1)) * 0.4 + 0.1 * rng.normal(size=t.shape))
    fit = fit_mixed("physical", list(zip(t, a)), nuclide="177Lu")
    mode, mean = fit.tia(t, a), fit.tia(t, a, draws=2000)
    assert np.log(mean.tia_MBq_h / mode.tia_MBq_h) == pytest.approx(0.0, abs=0.1 * np.max(mode.log_sd))
    assert mean.log_sd == pytest.approx(mode.log_sd, rel=0.1)


def test_the_posteriors_mean_of_one_scan_has_less_bias_than_its_mode(cohort_of_uptake, rng):
    """At 72 h the mode of ln TIA lies 1 to 2 % low. Standard error of the mean of 600 errors of 6 %: 0.25 %."""
    x, t, a = patients(rng, "uptake", 600, [72.0])
    bias = [np.log(cohort_of_uptake[2].tia(t, a, draws=d).tia_MBq_h / np.exp(x[:, 0])).mean() for d in (0, 300)]
    assert abs(bias[1] - bias[0]) > 0.003
    assert bias[1] > bias[0]


def test_a_batch_is_its_patients_one_by_one(cohort_of_uptake):
    _, curves, fit = cohort_of_uptake
    t, a = np.array([c[0] for c in curves[:4]]), np.array([c[1] for c in curves[:4]])
    batch = fit.tia(t, a, 0.03 * a)
    for k in range(4):
        one = fit.tia(t[k], a[k], 0.03 * a[k])
        assert isinstance(one.tia_MBq_h, float)
        assert one.tia_MBq_h == pytest.approx(batch.tia_MBq_h[k], rel=1e-6)
        assert one.tia_sd_MBq_h == pytest.approx(batch.tia_sd_MBq_h[k], rel=1e-5)
        assert fit.curve(one.parameters).tia_MBq_h == pytest.approx(one.tia_MBq_h, rel=1e-9)
    part = np.where([True, False, True, False], a, np.nan)
    assert fit.tia(t, part).log_sd == pytest.approx(fit.tia(t[:, ::2], a[:, ::2]).log_sd, rel=1e-6)
    assert np.isnan(fit.misfit(t, part)[:, 1]).all()


def test_another_unit_of_activity_moves_only_the_integral(cohort_of_uptake):
    """kBq for MBq: ln TIA moves by ln 1000, the rest stays. 2e-3: where two optimisations stop."""
    _, curves, fit = cohort_of_uptake
    other = fit_mixed("uptake", [(t, 1000 * a) for t, a in curves], nuclide="177Lu")
    np.testing.assert_allclose(other.mean - fit.mean, [np.log(1000), 0, 0], atol=5e-3)
    np.testing.assert_allclose(other.omega, fit.omega, atol=5e-3)


def test_a_shared_rate_has_no_spread_and_fewer_parameters(cohort_of_uptake):
    _, curves, fit = cohort_of_uptake
    shared = fit_mixed("uptake", curves, nuclide="177Lu", random=("tia", "clearance"))
    assert shared.fitted_parameters == fit.fitted_parameters - 1
    assert shared.omega[2, 2] == 0
    assert np.ptp(shared.individual.parameters[:, 2]) == 0
    assert shared.minus_two_log_likelihood > fit.minus_two_log_likelihood


def test_three_scans_each_are_enough_to_choose_a_function_together(rng):
    """Alone, AICc is undefined for uptake at three scans; twelve patients together refuse mono by a wide margin."""
    _, t, a = patients(rng, "uptake", 12, SCANS_H[:3])
    alone = fit_region(t[0], a[0], 0.05 * a[0], nuclide="177Lu", models=("mono", "uptake"))
    assert alone.fit("uptake").aicc is None
    found = select_function(list(zip(t, a)), nuclide="177Lu", models=("physical", "mono", "uptake"))
    assert found.best.model == "uptake"
    assert found.weights[0] > 0.99
    assert sum(found.weights) == pytest.approx(1.0)


def test_a_population_without_uptake_does_not_get_one(rng):
    """Negative control of the selection: mono-exponential patients."""
    _, t, a = patients(rng, "mono", 12, SCANS_H[1:])
    found = select_function(list(zip(t, a)), nuclide="177Lu", models=("physical", "mono", "uptake"))
    assert found.best.model == "mono"
    mean = found.tia(t[:, [1]], a[:, [1]])
    assert np.all(mean.log_sd >= 0.9 * found.best.tia(t[:, [1]], a[:, [1]]).log_sd)


@pytest.mark.slow
def test_eleven_functions_with_few_points_each_are_all_fitted(rng):
    _, t, a = patients(rng, "uptake", 10)
    found = select_function(list(zip(t, a)), nuclide="177Lu")
    assert {fit.model for fit in found.fits} == set(FAMILY)
    top = {fit.model for fit, weight in zip(found.fits, found.weights) if weight > 0.05}
    assert "uptake" in top
    assert all(np.isfinite(fit.minus_two_log_likelihood) for fit in found.fits)


def test_correlated_parameters_are_found(rng):
    """Slow clearance goes with a large integral here (correlation -0.7): only `full` can say so."""
    b = rng.multivariate_normal([0, 0], [[0.16, -0.084], [-0.084, 0.09]], 40)
    t = np.tile(SCANS_H, (40, 1))
    a = FAMILY["mono"].activity_MBq(np.array(CENTRE["mono"]) + b, t, LP) * np.exp(0.03 * rng.normal(size=t.shape))
    fit = fit_mixed("mono", list(zip(t, a)), nuclide="177Lu", full=True)
    # 40 patients leave 0.08 on a correlation of 0.7
    assert fit.omega[0, 1] / np.sqrt(fit.omega[0, 0] * fit.omega[1, 1]) == pytest.approx(-0.7, abs=0.25)


CURVE = (SCANS_H, 40 * np.exp(-0.013 * SCANS_H))


@pytest.mark.parametrize(
    ("curves", "options", "word"),
    [
        ([CURVE] * 2, {}, "2 patients"),
        ([], {}, "0 curves"),
        ([CURVE] * 3, {"model": "gamma"}, "model"),
        ([CURVE] * 3, {"random": ("alpha",)}, "random"),
        ([CURVE] * 2 + [(SCANS_H, [1, 2, 3])], {}, "curves"),
        ([CURVE] * 2 + [(SCANS_H, [1, 2, -3, 4])], {}, "above 0"),
        ([CURVE] * 2 + [([0.0, 4, 24, 96], [1, 2, 3, 4])], {}, "above 0"),
        ([CURVE] * 3, {"nuclide": "177Lo"}, "177Lo"),
    ],
)
def test_cohorts_that_cannot_be_fitted_are_refused(curves, options, word):
    with pytest.raises(InputError, match=word):
        fit_mixed(**({"model": "mono", "curves": curves, "nuclide": "177Lu"} | options))


def test_a_selection_that_cannot_compare_anything_is_refused():
    with pytest.raises(InputError, match="fitted parameters"):
        select_function([(SCANS_H[:1], CURVE[1][:1])] * 3, nuclide="177Lu", models=("uptake",))


def test_a_new_patient_of_another_shape_is_refused(cohort_of_uptake):
    with pytest.raises(InputError, match="shapes"):
        cohort_of_uptake[2].tia([4.0, 24.0], [10.0, 9.0, 8.0])
