"""Scatter estimates are their formulas, keep their totals, and know their own variance."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct.scatter import dew, tew

SHAPE = (3, 8, 10)


@pytest.fixture
def acquisition(rng) -> Projections:
    """Peak of 40 keV, a lower window of 20 and an upper one of 10."""
    windows = (EnergyWindow(190, 230, "peak"), EnergyWindow(170, 190, "lower"), EnergyWindow(230, 240, "upper"))
    return Projections(
        counts=rng.poisson(50, (3, *SHAPE)),
        windows=windows,
        angles_deg=np.arange(3) * 120.0,
        radii_mm=np.full(3, 200.0),
        frame_s=np.ones(3),
        pixel_mm=5.0,
        centre_lps_mm=np.zeros(3),
    )


def test_tew_is_the_trapezium_under_the_peak(acquisition):
    _, lower, upper = acquisition.counts
    assert np.allclose(tew(acquisition).counts, (lower / 20 + upper / 10) * 40 / 2)
    assert np.allclose(tew(acquisition, has_upper=False).counts, lower / 20 * 40 / 2)


def test_tew_of_a_spectrum_that_falls_straight_is_exact(acquisition):
    """Counts per keV of 100 - 0.3 (E - 170): what lies under the peak is the trapezium, up to its ends' middles."""
    per_keV = lambda e: 100 - 0.3 * (e - 170)
    counts = [np.full(SHAPE, w.width_keV * per_keV((w.lower_keV + w.upper_keV) / 2)) for w in acquisition.windows]
    # windows centred 30 and 25 keV from the peak's middle: their mean is off by 0.3 * 2.5 of 94 per keV
    assert np.allclose(tew(acquisition.with_counts(np.stack(counts))).counts, counts[0], rtol=0.01)


def test_dew_is_a_share_of_the_lower_window(acquisition):
    assert np.allclose(dew(acquisition).counts, 0.5 * acquisition.counts[1])
    assert np.allclose(dew(acquisition, k=0.8).counts, 0.8 * acquisition.counts[1], rtol=1e-6)


def test_smoothing_keeps_the_total_of_each_view(acquisition):
    plain, smooth = tew(acquisition), tew(acquisition, fwhm_mm=15.0)
    assert np.allclose(smooth.counts.sum(axis=(1, 2)), plain.counts.sum(axis=(1, 2)), rtol=1e-5)
    assert smooth.counts.std() < 0.5 * plain.counts.std()


@pytest.mark.parametrize("fwhm_mm", [0.0, 12.0])
def test_variance_is_that_of_poisson_realisations(acquisition, fwhm_mm):
    rng = np.random.default_rng(7)
    expected = np.full_like(acquisition.counts, 50.0)
    made = [tew(acquisition.with_counts(rng.poisson(expected)), fwhm_mm=fwhm_mm).counts for _ in range(500)]
    predicted = tew(acquisition.with_counts(expected), fwhm_mm=fwhm_mm).variance()
    # 500 realisations in 240 pixels know the mean variance to about 1 %
    assert np.var(made, axis=0).mean() == pytest.approx(predicted.mean(), rel=0.03)


def test_covariance_of_single_pixels_is_their_variance(acquisition):
    estimate = tew(acquisition, fwhm_mm=12.0)
    weights = np.zeros((2, *SHAPE))
    weights[0, 0, 4, 5], weights[1, 0, 4, 6] = 1, 1
    made = estimate.covariance(weights)
    assert np.allclose(np.diag(made), estimate.variance()[0, 4, 5:7])
    # smoothing makes neighbours alike; without it they know nothing of each other
    assert made[0, 1] > 0.5 * made[0, 0]
    assert tew(acquisition).covariance(weights)[0, 1] == 0


def test_windows_that_are_missing_or_of_no_width_are_refused(acquisition):
    only_peak = replace(acquisition, counts=acquisition.counts[:1], windows=acquisition.windows[:1])
    with pytest.raises(ImageError, match="lower windows"):
        tew(only_peak)
    flat = replace(acquisition, windows=(*acquisition.windows[:2], EnergyWindow(230, 230, "upper")))
    with pytest.raises(ImageError, match="width"):
        tew(flat)
    with pytest.raises(InputError, match="k:"):
        dew(acquisition, k=-1.0)
    with pytest.raises(InputError, match="fwhm_mm"):
        tew(acquisition, fwhm_mm=np.nan)
