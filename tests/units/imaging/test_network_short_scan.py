"""Denoised projections: what stays, what scales, what is refused, and training without any truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dose.errors import ImageError, InputError
from imaging.networks.short_scan import denoise_short_scan
from imaging.networks.short_scan_own import refine_on_own
from imaging.networks.short_scan_windows import smoothed_variance, smoothed_views, stacks
from tests.units.imaging.test_network_sparse_views import BLUR_mm, ring

LEVEL = 4.0


@pytest.fixture(scope="module")
def scan():
    """Noisy projections of 40 views, and their expected counts: the mean of many."""
    expected = np.mean([ring(40, level=LEVEL, seed=k).counts for k in range(1, 101)], axis=0)
    return ring(40, level=LEVEL), expected


def error(counts: np.ndarray, expected: np.ndarray) -> float:
    """Root mean square error of the peak window over that of Poisson counts."""
    return float(np.sqrt(np.mean((counts[0] - expected[0]) ** 2) / np.mean(expected[0])))


@pytest.mark.parametrize("method", ["classical", "network"])
def test_noise_goes_and_counts_stay(scan, method):
    noisy, expected = scan
    done = denoise_short_scan(noisy, method=method)
    assert done.choice.method == method
    assert 0.9 < error(noisy.counts, expected) < 1.1
    assert error(done.projections.counts, expected) < {"classical": 0.85, "network": 0.5}[method]
    assert abs(done.projections.counts[0].sum() / noisy.counts[0].sum() - 1) < 1e-4
    assert done.projections.counts.min() >= 0
    assert np.isfinite(done.sd).all()


def test_twice_the_counts_give_twice_the_estimate(scan):
    noisy, _ = scan
    one = denoise_short_scan(noisy, method="network").projections.counts
    two = denoise_short_scan(noisy.with_counts(2 * noisy.counts), method="network").projections.counts
    np.testing.assert_allclose(two, 2 * one, rtol=1e-4, atol=1e-4 * one.max())


def test_a_turn_of_the_patient_by_whole_stacks_turns_the_estimate(scan):
    noisy, _ = scan
    one = denoise_short_scan(noisy, method="network").projections.counts
    turned = noisy.with_counts(np.roll(noisy.counts, 8, axis=1))
    two = denoise_short_scan(turned, method="network").projections.counts
    np.testing.assert_allclose(np.roll(two, -8, axis=1), one, rtol=1e-4, atol=1e-4)


def test_the_gaussian_keeps_totals_and_its_variance_is_what_noise_shows():
    random = np.random.default_rng(3)
    counts = random.poisson(5.0, (400, 24, 24)).astype(np.float32)
    smooth = smoothed_views(counts, 15.0, 6.0)
    np.testing.assert_allclose(smooth.sum(axis=(1, 2)), counts.sum(axis=(1, 2)), rtol=1e-4)
    shown, said = smooth[:, 8:16, 8:16].var(axis=0).mean(), smoothed_variance(counts, 15.0, 6.0)[:, 8:16, 8:16].mean()
    assert abs(said / shown - 1) < 0.1
    np.testing.assert_array_equal(smoothed_variance(counts, 0.0, 6.0), counts)


def test_stacks_go_round_the_circle():
    ring_of_views = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((1, 2, 2))
    np.testing.assert_array_equal(stacks(ring_of_views)[0, :, 0, 0], [8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7])


@pytest.mark.slow
def test_training_on_own_counts_alone_finds_what_smoothing_loses():
    stripes = 12.0 * (np.arange(16) % 2)[:, None] * np.ones((2, 40, 16, 16))
    noisy = ring(40).with_counts(np.random.default_rng(5).poisson(stripes))
    short, long = (refine_on_own(noisy, steps=steps, from_scratch=True) for steps in (1, 80))
    begun, own = (denoise_short_scan(noisy, network=trained) for trained in (short, long))
    # the linear estimate that the network begins with averages over three rows
    assert error(own.projections.counts, stripes) < 0.6 * error(begun.projections.counts, stripes)
    assert own.choice.reasons


def test_training_on_own_counts_gives_the_same_again(scan):
    first, again, other = (refine_on_own(scan[0], steps=2, seed=seed) for seed in (0, 0, 1))
    same = [torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters())]
    assert all(same)
    assert not all(torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters()))


def test_what_lies_outside_of_the_training_is_filtered_and_said(scan):
    noisy, _ = scan
    done = denoise_short_scan(noisy, system_fwhm_mm=BLUR_mm)
    assert done.choice.method == "classical"
    reasons = denoise_short_scan(noisy, method="network").choice.reasons
    assert {reason.split(" is ")[0] for reason in reasons} >= {"views", "system_fwhm_mm"}


def test_what_cannot_be_denoised_is_refused(scan):
    noisy, _ = scan
    with pytest.raises(ImageError, match="no counts"):
        denoise_short_scan(noisy.with_counts(np.zeros_like(noisy.counts)))
    with pytest.raises(ImageError, match="multiple of 4"):
        denoise_short_scan(ring(30), method="network")
    with pytest.raises(InputError, match="method"):
        denoise_short_scan(noisy, method="best")
    with pytest.raises(ImageError, match="whole numbers"):
        refine_on_own(noisy.with_counts(noisy.counts * 0.5 + 0.25))
    with pytest.raises(InputError, match="steps"):
        refine_on_own(noisy, steps=0)


def test_odd_sizes_of_the_detector_are_taken(scan):
    odd = scan[0].with_counts(scan[0].counts[:, :, :31, :37])
    assert denoise_short_scan(odd, method="network").projections.counts.shape == (2, 40, 31, 37)


@pytest.mark.parametrize(
    ("field", "value"),
    [("line_keV", "208"), ("system_fwhm_mm", "7"), ("fwhm_mm", -3), ("fwhm_mm", "7"), ("network", "short_scan")],
)
def test_what_is_no_number_or_network_is_refused_by_name(scan, field, value):
    with pytest.raises(InputError, match=field):
        denoise_short_scan(scan[0], **{field: value})
    done = denoise_short_scan(scan[0], fwhm_mm=0, line_keV=208.0, method="classical")
    np.testing.assert_array_equal(done.projections.counts, scan[0].counts)


@pytest.mark.parametrize(("field", "value"), [("steps", "2"), ("steps", 2.5), ("line_keV", "208")])
def test_own_training_takes_numbers_only(scan, field, value):
    with pytest.raises(InputError, match=field):
        refine_on_own(scan[0], **{field: value})
