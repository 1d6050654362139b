"""Views made from others: what stays, what scales, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dose.errors import ImageError, InputError
from dose.learning.weights import load_weights
from imaging.networks.sparse_views import RECIPE, complete_views, interpolated_views, sparse
from imaging.networks.sparse_views_model import ViewsNet
from imaging.networks.sparse_views_ring import next_view, system_fwhm_mm
from imaging.projections import EnergyWindow, Projections

WINDOWS = (EnergyWindow(187.2, 228.8, "peak", 208.0), EnergyWindow(166.4, 187.2, "lower", 208.0))
BLUR_mm = system_fwhm_mm("SY-ME", 208.0, 3.0)
ROWS, COLUMNS = 32, 40


def ring(views: int = 120, *, heads: int = 2, turn: int = 1, level: float = 40.0, seed: int = 0) -> Projections:
    """Poisson counts of two blobs on a warm ellipse, seen from all sides."""
    per_head = views // heads
    angles = np.concatenate([np.mod(k * 180 + turn * np.arange(per_head) * 180 / per_head, 360) for k in range(heads)])
    v, u = np.mgrid[:ROWS, :COLUMNS].astype(float)
    expected = np.zeros((2, views, ROWS, COLUMNS))
    for k, angle in enumerate(np.deg2rad(angles)):
        for x, y, z, height in ((6.0, 3.0, 12.0, 1.0), (-7.0, 4.0, 18.0, 0.6)):
            place = COLUMNS / 2 - x * np.cos(angle) + y * np.sin(angle)
            expected[0, k] += level * height * np.exp(-((u - place) ** 2 + (v - z) ** 2) / 8)
        warm = ((u - COLUMNS / 2) / 15) ** 2 + ((v - ROWS / 2) / 9) ** 2 < 1
        expected[0, k] += 0.05 * level * warm
    expected[1] = 0.1 * expected[0]
    counts = np.random.default_rng(seed).poisson(expected)
    radii, times = np.full(views, 210.0), np.full(views, 20.0)
    return Projections(counts, WINDOWS, angles, radii, times, 6.0, np.zeros(3), heads=heads)


def network(projections: Projections) -> np.ndarray:
    return complete_views(projections, method="network").projections.counts


@pytest.mark.parametrize("turn", [1, -1])
def test_thinned_and_completed_views_stand_where_they_stood(turn):
    whole = ring(turn=turn)
    done = complete_views(sparse(whole), method="classical")
    np.testing.assert_allclose(done.projections.angles_deg, whole.angles_deg, atol=1e-9)
    np.testing.assert_array_equal(done.projections.counts[:, done.measured], whole.counts[:, ::4])
    assert done.measured.sum() == 30
    # the other way round, they would not
    other = complete_views(sparse(ring(turn=-turn)), method="classical").projections.angles_deg
    assert np.abs(other - whole.angles_deg).max() > 1


@pytest.mark.parametrize("method", ["classical", "network"])
def test_measured_views_stay_and_carry_the_sd_of_poisson_counts(method):
    few = sparse(ring())
    done = complete_views(few, method=method)
    assert done.choice.method == method
    np.testing.assert_array_equal(done.projections.counts[:, ::4], few.counts)
    np.testing.assert_allclose(done.sd[:, ::4], np.sqrt(few.counts), rtol=1e-6)
    assert done.projections.counts.min() >= 0
    assert np.isfinite(done.sd).all()


def test_interpolated_views_and_their_variance_are_the_weighted_means():
    counts = np.random.default_rng(1).poisson(9.0, (1, 8, 3, 3)).astype(np.float32)
    following = np.roll(np.arange(8), -1)
    made, variance = interpolated_views(counts, following, 4)
    np.testing.assert_allclose(made[0, 2, 1], 0.75 * counts[0, 2] + 0.25 * counts[0, 3], rtol=1e-6)
    np.testing.assert_allclose(variance[0, 7, 3], 0.0625 * counts[0, 7] + 0.5625 * counts[0, 0], rtol=1e-6)


def test_twice_the_counts_give_twice_the_views():
    few = sparse(ring())
    one, two = network(few), network(few.with_counts(2 * few.counts))
    np.testing.assert_allclose(two, 2 * one, rtol=1e-4, atol=1e-4 * one.max())


def test_the_u_net_alone_triples_and_with_biases_does_not():
    """Without the division by the noise unit, by which any network's answer goes with the counts."""
    torch.manual_seed(0)
    departures = []
    with torch.no_grad():
        for bias in (0.0, 1.0):
            model = ViewsNet(4, 3, width=4, levels=2).eval()
            model.unet.last.register_parameter("bias", torch.nn.Parameter(torch.full((6,), bias)))
            noise = torch.rand(1, model.inputs, 16, 16)
            departures.append(float((model.unet(3 * noise) - 3 * model.unet(noise)).abs().max()))
    assert departures[0] < 1e-5
    assert departures[1] > 1.0


def test_a_shift_of_the_patient_shifts_the_views():
    few = sparse(ring(level=80.0))
    counts = few.counts.copy()
    counts[..., :6, :] = counts[..., -10:, :] = 0
    one = network(few.with_counts(counts))
    two = network(few.with_counts(np.roll(counts, 4, axis=2)))
    np.testing.assert_allclose(two[:, :, 8:-4], one[:, :, 4:-8], atol=1e-2 * one.max())


def test_windows_of_other_lines_are_interpolated():
    few = sparse(replace(ring(), windows=(WINDOWS[0], EnergyWindow(101.0, 124.0, "peak", 113.0))))
    by_both = [
        complete_views(few, method=method, line_keV=208.0).projections.counts for method in ("network", "classical")
    ]
    np.testing.assert_array_equal(by_both[0][1], by_both[1][1])
    assert np.abs(by_both[0][0] - by_both[1][0]).max() > 0.1


@pytest.mark.parametrize("factor", [2, 6])
def test_other_numbers_of_views_are_interpolated_and_the_network_refuses_them(factor):
    few = sparse(ring(), factor)
    done = complete_views(few, system_fwhm_mm=BLUR_mm)
    assert done.choice.method == "classical"
    assert len(done.projections.angles_deg) == 120
    with pytest.raises(InputError, match="classical"):
        complete_views(few, method="network")


def test_what_lies_outside_of_the_training_is_said():
    few = sparse(ring())
    reasons = complete_views(
        few.with_counts(1000 * few.counts), method="network", system_fwhm_mm=BLUR_mm
    ).choice.reasons
    assert any(reason.startswith("counts per pixel") for reason in reasons)
    reasons = complete_views(replace(few, pixel_mm=3.0), method="network").choice.reasons
    assert {reason.split(" is ")[0] for reason in reasons} >= {"pixel_mm", "system_fwhm_mm"}


def test_the_range_holds_the_scans_of_the_training():
    limits = load_weights(RECIPE).limits
    assert limits["pixel_mm"][0] < 6 < limits["pixel_mm"][1]
    assert limits["measured views"] == (30, 30)


def test_what_cannot_be_completed_is_refused():
    few = sparse(ring())
    with pytest.raises(ImageError, match="no counts"):
        complete_views(few.with_counts(np.zeros_like(few.counts)))
    with pytest.raises(InputError, match="multiple"):
        complete_views(few, 100)
    uneven = replace(few, angles_deg=few.angles_deg + np.linspace(0, 20, 30))
    with pytest.raises(ImageError, match="even ring"):
        complete_views(uneven)
    half = replace(few, angles_deg=np.arange(30) * 6.0, heads=1)
    with pytest.raises(ImageError, match="even ring"):
        complete_views(half)
    with pytest.raises(ImageError, match="negative or not finite"):
        few.with_counts(np.full_like(few.counts, np.nan))
    with pytest.raises(InputError, match="method"):
        complete_views(few, method="best")


def test_views_of_two_heads_form_one_ring():
    following = next_view(ring(8, heads=2))
    np.testing.assert_array_equal(following, [1, 2, 3, 4, 5, 6, 7, 0])
    np.testing.assert_array_equal(next_view(ring(8, heads=2, turn=-1)), [1, 2, 3, 4, 5, 6, 7, 0])


def test_odd_sizes_of_the_detector_are_taken():
    few = sparse(ring())
    odd = few.with_counts(few.counts[:, :, :31, :37])
    assert complete_views(odd, method="network").projections.counts.shape == (2, 120, 31, 37)


@pytest.mark.parametrize(
    ("field", "value"),
    [("views", "120"), ("views", 120.0), ("line_keV", "208"), ("system_fwhm_mm", "7"), ("system_fwhm_mm", -7.0)],
)
def test_what_is_no_number_is_refused_by_name(field, value):
    few = sparse(ring())
    with pytest.raises(InputError, match=field):
        complete_views(few, **{field: value})
    known = {"views": np.int64(120), "line_keV": 208.0, "system_fwhm_mm": float("nan")}
    assert complete_views(few, **known, method="classical").choice.method == "classical"
