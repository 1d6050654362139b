"""Template fits: the likelihood's maximum, exact covariance by repeated draws, zero bound, prior; the lung shunt."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import CalibrationError, ImageError, InputError
from imaging.planar_fit import fit_templates
from imaging.shunt import fitted_lung_shunt, lung_shunt, planar_lung_shunt

TRUTH = np.array([30.0, 300.0, 120.0])


def templates() -> np.ndarray:
    """Three overlapping blobs in two views of 24 x 32 pixels, counts per MBq; the last covers all."""
    z, x = np.mgrid[:24, :32]
    centres = ((6, 16, 5.0), (12, 18, 4.0), (12, 16, 12.0))
    views = [np.exp(-((z - a) ** 2 + (x - b) ** 2) / (2 * s**2)) for a, b, s in centres]
    pair = [np.stack([v, 0.6 * v[:, ::-1]]) for v in views]
    return np.array([6 * p / p.sum() for p in pair]) * 10


def test_activities_come_back_from_counts_without_noise():
    found = fit_templates(np.tensordot(TRUTH, templates(), 1), templates())
    np.testing.assert_allclose(found.activity_MBq, TRUTH, rtol=1e-6)
    assert found.deviance == pytest.approx(0, abs=1e-6)


def test_covariance_is_the_spread_of_repeated_draws():
    rng, mean = np.random.default_rng(3), np.tensordot(TRUTH, templates(), 1)
    fits = [fit_templates(rng.poisson(mean), templates()) for _ in range(400)]
    amounts = np.array([f.activity_MBq for f in fits])
    exact = fit_templates(mean, templates()).covariance
    # sd of an sd of 400 draws is 3.5 %; the mean within 3.5 of its own sd
    np.testing.assert_allclose(np.sqrt(np.diag(exact)), amounts.std(axis=0), rtol=0.12)
    np.testing.assert_array_less(np.abs(amounts.mean(axis=0) - TRUTH), 3.5 * amounts.std(axis=0) / 20)
    correlation = np.corrcoef(amounts.T)[1, 2]
    expected = exact[1, 2] / np.sqrt(exact[1, 1] * exact[2, 2])
    assert correlation == pytest.approx(expected, abs=0.12)
    assert np.mean([f.deviance / f.dof for f in fits]) == pytest.approx(1, abs=0.1)


def test_the_answer_is_the_maximum():
    rng, t = np.random.default_rng(5), templates()
    y = rng.poisson(np.tensordot(TRUTH, t, 1)).astype(float)
    a = fit_templates(y, t).activity_MBq

    def likelihood(a):
        mean = np.tensordot(a, t, 1)
        return (y * np.log(mean) - mean).sum()

    for k in range(3):
        for step in (-0.01, 0.01):
            assert likelihood(a + step * a[k] * np.eye(3)[k]) < likelihood(a)


def test_a_region_without_activity_stays_at_zero():
    rng = np.random.default_rng(8)
    mean = np.tensordot([0.0, 300.0, 120.0], templates(), 1)
    fits = [fit_templates(rng.poisson(mean), templates()) for _ in range(30)]
    assert min(f.activity_MBq.min() for f in fits) >= 0
    assert any(f.is_at_zero[0] for f in fits)
    assert all(np.isfinite(f.sd_MBq).all() for f in fits)


def test_a_region_seen_alone_and_empty_has_the_sd_of_one_count():
    t = np.zeros((2, 1, 8))
    t[0, 0, :4], t[1, 0, 4:] = 2.0, 5.0
    y = np.array([[0.0, 0, 0, 0, 100, 100, 100, 100]])
    found = fit_templates(y, t)
    np.testing.assert_allclose(found.activity_MBq, [0, 20], atol=1e-6)
    np.testing.assert_allclose(found.sd_MBq, [1 / 8, np.sqrt(400) / 20], rtol=1e-5)
    with pytest.raises(ImageError, match="no counts"):
        fit_templates(0 * y, t)


def test_slopes_vanish_at_the_answer_or_point_below_zero():
    rng, t = np.random.default_rng(12), templates()
    for _ in range(20):
        y = rng.poisson(np.tensordot([0.0, 300.0, 120.0], t, 1))
        a = fit_templates(y, t).activity_MBq
        slope = np.tensordot(t, y / np.tensordot(a, t, 1) - 1, 3) / t.sum(axis=(1, 2, 3))
        assert np.all(slope[a > 0.01] == pytest.approx(0, abs=1e-4))
        assert np.all(slope < 1e-4)


def test_known_background_and_pixels_left_out():
    mean = np.tensordot(TRUTH, templates(), 1) + 2.0
    used = np.ones(mean.shape, bool)
    used[:, :, 20:] = False
    spoiled = np.where(used, mean, 1e4)
    found = fit_templates(spoiled, templates(), background=2.0, used=used)
    np.testing.assert_allclose(found.activity_MBq, TRUTH, rtol=1e-6)


def test_a_prior_pulls_and_sharpens():
    y = np.random.default_rng(1).poisson(np.tensordot(TRUTH, templates(), 1))
    free = fit_templates(y, templates())
    tied = fit_templates(y, templates(), prior_MBq=TRUTH, prior_covariance=np.diag((0.01 * TRUTH) ** 2))
    assert np.all(tied.sd_MBq < free.sd_MBq)
    np.testing.assert_allclose(tied.activity_MBq, TRUTH, rtol=0.02)
    loose = fit_templates(y, templates(), prior_MBq=TRUTH, prior_covariance=np.diag((1e4 * TRUTH) ** 2))
    np.testing.assert_allclose(loose.activity_MBq, free.activity_MBq, rtol=1e-5)


def test_what_cannot_be_fitted_is_refused():
    t = templates()
    y = np.tensordot(TRUTH, t, 1)
    with pytest.raises(CalibrationError, match="equal"):
        fit_templates(y, np.stack([t[0], t[0], t[2]]))
    with pytest.raises(ImageError, match="templates"):
        fit_templates(y[0], t)
    part = np.where(np.arange(32) < 20, t, 0.0)
    with pytest.raises(ImageError, match="no template reaches"):
        fit_templates(y, part)


def test_shunt_by_hand():
    found = lung_shunt(10.0, 90.0, np.diag([1.0, 9.0]))
    assert found.fraction == pytest.approx(0.1)
    assert found.sd == pytest.approx(np.hypot(0.9 * 1, 0.1 * 3) / 100)
    shared = np.outer([10.0, 90.0], [10.0, 90.0]) * 0.05**2  # a common scale error says nothing of the fraction
    assert lung_shunt(10.0, 90.0, shared).sd == pytest.approx(0, abs=1e-9)
    with pytest.raises(InputError):
        lung_shunt(-1.0, 90.0, np.eye(2))


def test_planar_shunt_and_its_sd():
    lung, liver = (2000.0, 1800.0), (30_000.0, 20_000.0)
    found = planar_lung_shunt(lung, liver, lung_background=(400, 300))
    a, b = np.sqrt(1600 * 1500), np.sqrt(6e8)
    assert found.fraction == pytest.approx(a / (a + b))
    rng = np.random.default_rng(2)
    draws = [
        planar_lung_shunt(rng.poisson(lung), rng.poisson(liver), lung_background=rng.poisson([400, 300])).fraction
        for _ in range(1000)
    ]
    assert found.sd == pytest.approx(np.std(draws), rel=0.1)
    with pytest.raises(InputError):
        planar_lung_shunt((10, 10), liver, lung_background=(20, 5))


def test_a_fit_of_two_regions_tells_the_shunt():
    rng, t = np.random.default_rng(4), templates()[:2]
    mean = np.tensordot([30.0, 300.0], t, 1)
    draws = [fitted_lung_shunt(fit_templates(rng.poisson(mean), t), 0, 1) for _ in range(200)]
    exact = fitted_lung_shunt(fit_templates(mean, t), 0, 1)
    assert exact.fraction == pytest.approx(30 / 330, rel=1e-6)
    assert exact.sd == pytest.approx(np.std([d.fraction for d in draws]), rel=0.15)
