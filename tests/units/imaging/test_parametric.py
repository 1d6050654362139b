"""Parametric maps against simulated tissue whose rates are known, with and without noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dose.errors import InputError
from dose.nuclides import radionuclide
from imaging.parametric import (
    DynamicFrames,
    InputFunction,
    fit_feng,
    image_derived,
    logan,
    patlak,
    two_tissue_irreversible,
)
from imaging.parametric.input_function import feng
from imaging.parametric.two_tissue import LOWEST_RATE

FENG = (8.5e5, 2.2e4, 2.1e4, 4.1, 0.12, 0.0104)
"""Shape of the paper's 18F-FDG example (recalled), in Bq/mL."""
DURATION = np.array([1 / 6] * 12 + [0.5] * 6 + [1.0] * 5 + [5.0] * 10)
START = np.concatenate([[0], np.cumsum(DURATION)[:-1]])
K1, K2, K3, VB = 0.10, 0.15, 0.06, 0.05
KI = K1 * K3 / (K2 + K3)


@pytest.fixture(scope="module")
def plasma() -> InputFunction:
    fine = np.unique(np.concatenate([np.linspace(0, 5, 1001), np.linspace(5, 60, 1101)]))
    return InputFunction(fine, feng(fine, FENG), True)


def integrated(plasma, k1, k2, k3, vb, k4=0.0):
    """Frame means by an independent solver of the compartments' equations, the running integral as a third state."""

    def rhs(t, y):
        cp = np.interp(t, plasma.time_min, plasma.plasma_Bq_per_mL)
        flow = k3 * y[0] - k4 * y[1]
        return [k1 * cp - k2 * y[0] - flow, flow, (1 - vb) * (y[0] + y[1]) + vb * cp]

    edges = np.append(START, START[-1] + DURATION[-1])
    done = solve_ivp(rhs, (0, edges[-1]), [0, 0, 0], t_eval=edges, rtol=1e-8, atol=1e-3, max_step=0.25)
    return np.diff(done.y[2]) / DURATION


@pytest.fixture(scope="module")
def tissue(plasma):
    return integrated(plasma, K1, K2, K3, VB)


def frames(curves, corrected=True):
    return DynamicFrames(np.asarray(curves).reshape(len(START), -1), START, DURATION, corrected, "18F")


def test_convolution_of_a_constant_is_known():
    flat = InputFunction([0, 10, 60], [5, 5, 5], True)
    t, r = np.array([0.0, 3.0, 17.0, 60.0]), np.array([1e-6, 0.2, 3.0])
    expected = 5 * -np.expm1(-np.outer(r, t)) / r[:, None]
    # 1e-6: rounding where rate times time is small
    assert np.allclose(flat.convolved(r, t), expected, rtol=1e-6)
    assert flat.integral(17.0) == pytest.approx(85)


def test_two_tissue_gives_back_the_rates_of_an_independent_solution(plasma, tissue):
    found = two_tissue_irreversible(frames(tissue), plasma)
    for name, true in (("K1", K1), ("k2", K2), ("k3", K3), ("Vb", VB), ("Ki", KI)):
        # 0.5 %: parabola between rates 4 % apart; curves themselves agree to 1e-5
        assert found.maps[name][0] == pytest.approx(true, rel=5e-3), name
    assert found.valid.all()
    assert found.r2[0] == pytest.approx(1, abs=1e-5)
    assert found.units["Ki"] == "mL/min/mL"


def test_patlak_slope_is_the_net_influx(plasma, tissue):
    found = patlak(frames(tissue), plasma, t_star_min=35)
    # 1 %: the plasma's exponential of 0.12/min bends the line until it is gone: exp(-0.12 35) is 1.5 %
    assert found.maps["Ki"][0] == pytest.approx(KI * (1 - VB), rel=0.01)
    early = patlak(frames(tissue), plasma, t_star_min=0)
    assert abs(early.maps["Ki"][0] / (KI * (1 - VB)) - 1) > 0.01  # control: the line is bent before equilibrium


@pytest.mark.parametrize("form", ["graphical", "ma1"])
def test_logan_gives_the_distribution_volume(plasma, form):
    k3, k4 = 0.05, 0.08
    true = K1 / K2 * (1 + k3 / k4)
    found = logan(frames(integrated(plasma, K1, K2, k3, 0.0, k4)), plasma, t_star_min=20, form=form)
    # 2 %: frames of 5 min stand for their middle, and the line is reached slowly (k4 is 0.08 per min)
    assert found.maps["VT"][0] == pytest.approx(true, rel=0.02)


def test_maps_are_linear_in_activity(plasma, tissue):
    both = patlak(frames(np.stack([tissue, 3 * tissue], axis=1)), plasma, t_star_min=25)
    assert both.maps["Ki"][1] == pytest.approx(3 * both.maps["Ki"][0], rel=1e-6)


def test_decay_in_frames_and_plasma_is_undone(plasma, tissue):
    rate = radionuclide("18F").decay_constant_per_h / 60
    fade = np.exp(-rate * START) * -np.expm1(-rate * DURATION) / (rate * DURATION)
    raw_plasma = plasma.plasma_Bq_per_mL * np.exp(-rate * plasma.time_min)
    raw = InputFunction(plasma.time_min, raw_plasma, False, nuclide="18F")
    found = patlak(frames(tissue * fade, corrected=False), raw, t_star_min=35)
    assert found.maps["Ki"][0] == pytest.approx(KI * (1 - VB), rel=0.01)
    wrong = patlak(frames(tissue * fade, corrected=True), raw, t_star_min=35)  # control: a false flag shows
    assert abs(wrong.maps["Ki"][0] / (KI * (1 - VB)) - 1) > 0.05


REALISATIONS = 100


def noisy(tissue, rng, level):
    """Poisson-like noise: sd^2 = level^2 C decay / duration, over 100 realisations as voxels."""
    rate = radionuclide("18F").decay_constant_per_h / 60
    sd = level * np.sqrt(np.maximum(tissue, tissue.max() / 100) * np.exp(rate * START) / DURATION)
    return tissue[:, None] + sd[:, None] * rng.normal(size=(len(START), REALISATIONS))


@pytest.mark.parametrize("model", ["patlak", "two_tissue"])
def test_with_noise_ki_is_unbiased_and_its_sd_is_its_scatter(plasma, tissue, rng, model):
    data = frames(noisy(tissue, rng, 5.0))
    found = patlak(data, plasma, t_star_min=25) if model == "patlak" else two_tissue_irreversible(data, plasma)
    true = patlak(frames(tissue), plasma, t_star_min=25).maps["Ki"][0] if model == "patlak" else KI
    ki, sd = found.maps["Ki"][found.valid], found.sd["Ki"][found.valid]
    assert len(ki) >= 0.95 * REALISATIONS
    scatter = ki.std(ddof=1)
    # 3.5 standard errors of a mean of 100
    assert abs(ki.mean() - true) < 3.5 * scatter / np.sqrt(len(ki)) + 0.003 * true
    # the sd of 100 draws is known to 7 %; 25 % is three and a half times that
    assert np.sqrt((sd**2).mean()) == pytest.approx(scatter, rel=0.25)


def test_ma1_is_pulled_down_less_by_noise_than_logans_line(plasma, rng):
    k3, k4 = 0.05, 0.08
    true = K1 / K2 * (1 + k3 / k4)
    data = frames(noisy(integrated(plasma, K1, K2, k3, 0.0, k4), rng, 20.0))
    line, ma1 = (logan(data, plasma, t_star_min=20, form=f).maps["VT"] for f in ("graphical", "ma1"))
    assert line.mean() < true
    assert abs(np.median(ma1) / true - 1) < abs(line.mean() / true - 1)


def test_logans_sd_is_near_its_scatter_and_other_weights_scatter_more(plasma, rng, monkeypatch):
    from imaging.parametric import graphical

    data = frames(noisy(integrated(plasma, K1, K2, 0.05, 0.0, 0.08), rng, 5.0))
    found = logan(data, plasma, t_star_min=5)
    scatter = found.maps["VT"].std(ddof=1)
    # the area under tissue shares errors between frames, which residuals do not show: 0.8 of the scatter from 20 min
    # on; from 5 min on the line's bend adds some
    assert 0.6 < np.sqrt((found.sd["VT"] ** 2).mean()) / scatter < 1.6
    fit = graphical.weighted_fit

    def over_y(design, values, weight):
        return fit(design, values, weight / values.mean(axis=1) ** 2)

    monkeypatch.setattr(graphical, "weighted_fit", over_y)
    assert logan(data, plasma, t_star_min=5).maps["VT"].std(ddof=1) > 1.2 * scatter


def test_vessels_below_nothing_are_kept_valid_and_lie_within_their_sd_of_it(plasma, rng):
    found = two_tissue_irreversible(frames(noisy(integrated(plasma, K1, K2, K3, 0.0), rng, 20.0)), plasma)
    below = found.valid & (found.maps["Vb"] < 0)
    # of a tissue without vessels half fall below 0: dropping them would leave a bias
    assert 0.2 < below.sum() / found.valid.sum() < 0.8
    assert (found.maps["Vb"][below] >= -4 * found.sd["Vb"][below] - 0.01).all()
    # 4 standard errors
    mean, spread = found.maps["Vb"][found.valid].mean(), found.maps["Vb"][found.valid].std(ddof=1)
    assert abs(mean) < 4 * spread / np.sqrt(found.valid.sum())


def test_an_impossible_share_of_vessels_is_not_valid(plasma, tissue):
    blood = plasma.frame_means(START, START + DURATION)
    found = two_tissue_irreversible(frames(np.stack([tissue, tissue - 0.1 * blood], axis=1)), plasma)
    assert found.valid.tolist() == [True, False]


def test_an_empty_voxel_is_not_valid_and_reads_zero(plasma, tissue):
    data = frames(np.stack([tissue, 0 * tissue], axis=1))
    for found in (patlak(data, plasma, t_star_min=25), two_tissue_irreversible(data, plasma)):
        assert found.valid.tolist() == [True, False]
        assert found.maps["Ki"][1] == found.sd["Ki"][1] == 0


def test_a_feng_model_is_found_through_its_own_samples(plasma):
    times = np.array([0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1, 1.5, 2, 3, 5, 8, 12, 20, 30, 45, 60.0])
    fitted = fit_feng(InputFunction(times, feng(times, FENG), True))
    # 2 %: fine samples joined by lines
    assert fitted.integral(60.0) == pytest.approx(plasma.integral(60.0), rel=0.02)


def test_an_image_derived_curve_keeps_the_area_and_undoes_recovery(plasma):
    blood = plasma.frame_means(START, START + DURATION)
    image = frames(np.stack([0.8 * blood, 0 * blood], axis=1))
    curve = image_derived(image, np.array([1, 0]), recovery=0.8)
    # 3 %: frames of 10 s through the peak, their means joined by lines
    assert curve.integral(60.0) == pytest.approx(plasma.integral(60.0), rel=0.03)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda f, p: patlak(f, p, t_star_min=50), "t_star_min.*2 frames"),
        (lambda f, p: patlak(f, InputFunction([0, 1, 30], [0, 9, 1], True), t_star_min=20), "sample longer"),
        (lambda f, p: InputFunction([0, 2, 1], [0, 9, 1], True), "sort them"),
        (lambda f, p: InputFunction([0, 1, 2], [0, -9, 1], True), "negative"),
        (lambda f, p: logan(f, p, t_star_min=20, form="plot"), "graphical"),
        (lambda f, p: image_derived(f, np.zeros(1)), "blood region"),
    ],
)
def test_what_cannot_be_used_is_refused(plasma, tissue, call, words):
    with pytest.raises(InputError, match=words):
        call(frames(tissue), plasma)


def test_frames_that_overlap_are_refused():
    with pytest.raises(ValueError, match="overlap"):
        DynamicFrames(np.ones((3, 2)), [0, 1, 1.5], [1, 1, 1], True)


def test_the_grid_of_rates_begins_above_nothing():
    assert LOWEST_RATE > 0
