"""Recovery curves: reference values, the fit's covariance by repeated draws, and an activity's uncertainty."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import InputError
from imaging.recovery_fit import (
    RecoveryCurve,
    contrast_recovered,
    contrast_recovery,
    fit_recovery,
    recovered_activity,
    recovery,
)
from imaging.site_files import read_recovery_curve, write_recovery_curve

SPHERES_mL = np.array([0.52, 1.15, 2.57, 5.57, 11.49, 26.52])  # 10 to 37 mm inside
CURVE = RecoveryCurve(2.5, 1.2, [[0.04, -0.002], [-0.002, 0.01]])


def test_recovery_of_the_clinical_notes():
    # CLINICAL.md section 6, six figures
    np.testing.assert_allclose(recovery([5.0, 30.0], 2.5, 1.2), [0.696730, 0.951749], atol=5e-7)


def test_the_fit_gives_b_back_and_its_covariance_is_the_spread():
    rng = np.random.default_rng(2)
    clean = recovery(SPHERES_mL, 2.5, 1.2)
    found = [fit_recovery(SPHERES_mL, clean + rng.normal(0, 0.02, 6), 0.02) for _ in range(300)]
    b = np.array([(f.b1_mL, f.b2) for f in found])
    exact = fit_recovery(SPHERES_mL, clean, 0.02)
    assert (exact.b1_mL, exact.b2) == pytest.approx((2.5, 1.2), rel=1e-6)
    # sd of an sd of 300 draws is 4 %
    np.testing.assert_allclose(np.sqrt(np.diag(exact.covariance)), b.std(axis=0), rtol=0.15)
    assert np.mean([f.chi2 for f in found]) == pytest.approx(4, abs=0.7)


def test_slopes_are_those_of_differences():
    h = 1e-5
    by_volume = (CURVE.at(5 + h) - CURVE.at(5 - h)) / (2 * h)
    assert CURVE.slope_per_mL(5.0) == pytest.approx(by_volume, rel=1e-8)
    only_b1 = RecoveryCurve(2.5, 1.2, [[1.0, 0], [0, 0]])
    by_b1 = (recovery(5.0, 2.5 + h, 1.2) - recovery(5.0, 2.5 - h, 1.2)) / (2 * h)
    assert only_b1.sd(5.0) == pytest.approx(abs(by_b1), rel=1e-8)
    only_b2 = RecoveryCurve(2.5, 1.2, [[0, 0], [0, 1.0]])
    by_b2 = (recovery(5.0, 2.5, 1.2 + h) - recovery(5.0, 2.5, 1.2 - h)) / (2 * h)
    assert only_b2.sd(5.0) == pytest.approx(abs(by_b2), rel=1e-8)


def test_the_sd_of_an_activity_is_that_of_drawing_the_chain():
    rng, n = np.random.default_rng(4), 20_000
    volume = 8.0 * np.exp(rng.normal(0, 0.05, n))
    b = rng.multivariate_normal([2.5, 1.2], CURVE.covariance / 4, n)
    counts = 100 * np.exp(rng.normal(0, 0.03, n)) * (volume / 8.0) ** 0.6
    drawn = np.std(counts / recovery(volume, b[:, 0], b[:, 1]))
    curve = RecoveryCurve(2.5, 1.2, CURVE.covariance / 4)
    value, sd = recovered_activity(100.0, 3.0, curve, 8.0, 0.4, counts_per_volume=0.6)
    assert value == pytest.approx(100 / float(recovery(8.0, 2.5, 1.2)), rel=1e-12)
    assert sd == pytest.approx(drawn, rel=0.05)  # first order
    # negative control: counts that are taken not to move with the contour miss the spread
    assert recovered_activity(100.0, 3.0, curve, 8.0, 0.4)[1] != pytest.approx(drawn, rel=0.05)


def test_a_region_smaller_than_all_spheres_is_refused():
    curve = fit_recovery(SPHERES_mL, recovery(SPHERES_mL, 2.5, 1.2), 0.02)
    with pytest.raises(InputError, match="smallest sphere"):
        recovered_activity(1.0, 0.1, curve, 0.2)


def test_contrast_recovery_and_back():
    # background 1, ratio 8, recovered to 60 %: the sphere reads 5.2
    q, sd = contrast_recovery(5.2, 1.0, 8.0, sphere_sd=0.1)
    assert (q, sd) == pytest.approx((0.6, 0.1 / 7), rel=1e-9)
    assert contrast_recovered(5.2, 1.0, 0.6)[0] == pytest.approx(8.0, rel=1e-9)
    assert contrast_recovery(0.3, 1.0, 0.0)[0] == pytest.approx(0.7)  # cold
    with pytest.raises(InputError):
        contrast_recovery(5.0, 1.0, 1.0)


def test_a_curve_comes_back_from_its_file(tmp_path):
    path = tmp_path / "recovery.json"
    write_recovery_curve(path, CURVE)
    back = read_recovery_curve(path)
    assert (back.b1_mL, back.b2, back.largest_mL) == (2.5, 1.2, math.inf)
    np.testing.assert_array_equal(back.covariance, CURVE.covariance)


@pytest.mark.parametrize("covariance", [[[1, 2], [2, 1]], [[1, 0.1], [0.2, 1]], [1, 2], [[math.nan, 0], [0, 1]]])
def test_a_matrix_that_is_no_covariance_is_refused(covariance):
    with pytest.raises(InputError):
        RecoveryCurve(2.5, 1.2, covariance)
