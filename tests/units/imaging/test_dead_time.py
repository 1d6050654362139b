"""Dead time: the inverse undoes the forward model on the low branch, tau comes back from simulated measurements."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import CalibrationError, ImageError, InputError
from imaging.dead_time import (
    MODELS,
    corrected_projections,
    highest_rate,
    live_fraction,
    observed_rate,
    true_rate,
    true_rate_sd,
)
from imaging.dead_time_fit import decaying_source_dead_time, two_source_dead_time
from imaging.projections import EnergyWindow, Projections

TAU_S = 2e-6


def acquisition(counts: np.ndarray, frame_s: float = 10.0) -> Projections:
    views = counts.shape[1]
    angles = np.arange(views) * 360 / views
    windows = tuple(EnergyWindow(180 + k, 230 + k, "peak") for k in range(len(counts)))
    return Projections(counts, windows, angles, np.full(views, 200.0), np.full(views, frame_s), 5.0, np.zeros(3))


@pytest.mark.parametrize("model", MODELS)
def test_the_inverse_undoes_the_forward_model(model):
    n = np.array([0.0, 1.0, 1e4, 1e5, 3e5, 4.9e5])  # below 1/tau
    np.testing.assert_allclose(true_rate(observed_rate(n, TAU_S, model), TAU_S, model), n, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("model", MODELS)
def test_the_live_fraction_is_counted_over_true(model):
    n = np.array([0.0, 1e3, 1e5, 4e5])
    live = live_fraction(observed_rate(n, TAU_S, model), TAU_S, model)
    wanted = np.exp(-n * TAU_S) if model == "paralysable" else 1 / (1 + n * TAU_S)
    np.testing.assert_allclose(live, wanted, rtol=1e-9)


def test_without_dead_time_nothing_changes():
    assert float(true_rate(1234.0, 0.0)) == 1234.0


@pytest.mark.parametrize("model", MODELS)
def test_a_rate_that_no_camera_can_count_is_refused(model):
    with pytest.raises(ImageError, match="count rate"):
        true_rate(1.01 * highest_rate(TAU_S, model), TAU_S, model)


def test_the_high_branch_is_not_found():
    # known limit: the same count rate beyond the peak reads as the low rate
    beyond = 1e6
    assert float(true_rate(observed_rate(beyond, TAU_S), TAU_S)) < 1 / TAU_S < beyond


@pytest.mark.parametrize("model", MODELS)
def test_sd_is_that_of_differences(model):
    m, h = 1.2e5, 1e-4
    by_rate = (true_rate(m * (1 + h), TAU_S, model) - true_rate(m * (1 - h), TAU_S, model)) / (2 * h * m)
    by_tau = (true_rate(m, TAU_S * (1 + h), model) - true_rate(m, TAU_S * (1 - h), model)) / (2 * h * TAU_S)
    assert true_rate_sd(m, TAU_S, observed_sd_cps=1.0, model=model) == pytest.approx(by_rate, rel=1e-6)
    assert true_rate_sd(m, TAU_S, tau_sd_s=1.0, model=model) == pytest.approx(by_tau, rel=1e-6)


def test_sd_at_the_peak_is_beyond_all_bounds():
    assert true_rate_sd(highest_rate(TAU_S), TAU_S, observed_sd_cps=1.0) > 1e6


@pytest.mark.parametrize("model", MODELS)
def test_two_sources_give_tau_back(model):
    n1, n2, nb, seconds = 6e4, 7e4, 50.0, 60.0
    counts = [seconds * float(observed_rate(n, TAU_S, model)) for n in (n1 + nb, n2 + nb, n1 + n2 + nb)]
    found = two_source_dead_time(*counts, seconds, background_counts=seconds * nb, model=model)
    # the background itself loses 1e-4 of its counts, hence not exact
    assert found.tau_s == pytest.approx(TAU_S, rel=1e-4)


def test_the_sd_of_tau_is_the_spread_of_repeated_measurements():
    rng, seconds = np.random.default_rng(5), 60.0
    means = [seconds * float(observed_rate(n, TAU_S)) for n in (6e4, 7e4, 13e4)]
    found = [two_source_dead_time(*rng.poisson(means), seconds) for _ in range(300)]
    spread = np.std([f.tau_s for f in found])
    assert found[0].sd_s == pytest.approx(spread, rel=0.15)  # sd of an sd of 300 draws is 4 %


def test_sources_that_add_up_show_no_dead_time():
    with pytest.raises(CalibrationError, match="two sources"):
        two_source_dead_time(1e6, 1e6, 2.001e6, 60.0)


@pytest.mark.parametrize("model", MODELS)
def test_a_decaying_source_gives_tau_back_even_past_the_peak(model):
    rng = np.random.default_rng(3)
    times = np.linspace(0, 30, 12)  # 99mTc from 8e5/s, beyond 1/tau = 5e5/s
    means = 100 * observed_rate(8e5 * 2 ** (-times / 6.0), TAU_S, model)
    found = decaying_source_dead_time(times, rng.poisson(means), 100.0, 6.0, model=model)
    assert abs(found.tau_s - TAU_S) < 4 * found.sd_s
    assert found.sd_s < 0.01 * TAU_S


def test_the_wrong_model_is_told_by_its_misfit():
    times = np.linspace(0, 30, 12)
    counts = 100 * observed_rate(8e5 * 2 ** (-times / 6.0), TAU_S, "paralysable")
    with pytest.raises(CalibrationError, match="chi2"):
        decaying_source_dead_time(times, counts, 100.0, 6.0, model="non_paralysable")


def test_each_view_is_corrected_by_its_own_rate():
    true = np.array([2e4, 2e5])
    seen = observed_rate(true, TAU_S)
    counts = np.broadcast_to((seen * 10 / 16)[None, :, None, None], (1, 2, 4, 4))
    found = corrected_projections(acquisition(counts), TAU_S, tau_sd_s=0.1 * TAU_S)
    np.testing.assert_allclose(found.projections.counts.sum(axis=(0, 2, 3)) / 10, true, rtol=1e-5)
    np.testing.assert_allclose(found.factor, np.exp(true * TAU_S), rtol=1e-5)
    # d ln n / d ln tau = n tau / (1 - n tau)
    np.testing.assert_allclose(found.relative_sd, 0.1 * true * TAU_S / (1 - true * TAU_S), rtol=1e-4)


def test_the_cameras_own_rates_serve_where_windows_do_not_hold_all():
    counts = np.full((1, 2, 4, 4), 10.0)
    own = np.array([1e5, 1.5e5])
    found = corrected_projections(acquisition(counts), TAU_S, rates_cps=own)
    np.testing.assert_allclose(found.factor, true_rate(own, TAU_S) / own, rtol=1e-12)
    with pytest.raises(ImageError, match="rates_cps"):
        corrected_projections(acquisition(counts), TAU_S, rates_cps=own[:1])


def test_bad_input_is_refused():
    with pytest.raises(InputError):
        true_rate(10.0, math.nan)
    with pytest.raises(InputError):
        true_rate(10.0, 1e-6, "hybrid")
    with pytest.raises(InputError):
        observed_rate(-1.0, 1e-6)
    with pytest.raises(InputError, match="three"):
        decaying_source_dead_time([0, 1], [10, 5], 1.0, 6.0)
