"""Partial volume: both methods are exact on even regions with the true point spread, and their sd is the spread."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.noise_model import noise_of_width
from imaging.point_spread import GaussianSpread, KernelSpread, VaryingSpread
from imaging.recovery import corrected_means, mixing_matrix
from imaging.volume_correction import METHODS, partial_volume, weighted_means

SPACING = np.array([4.0, 4.0, 4.0])
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
TRUTH = {"kidney_left": 5.0, "tumour_1": 20.0, "liver": 2.0, "rest": 0.3}


def ball(centre, radius_mm: float, shape=(24, 28, 32)) -> np.ndarray:
    z, y, x = (np.arange(n) * 4.0 for n in shape)
    away = (z[:, None, None] - centre[0]) ** 2 + (y[:, None] - centre[1]) ** 2 + (x - centre[2]) ** 2
    return (away <= radius_mm**2).astype(float)


def regions() -> dict[str, Volume]:
    kidney, tumour = ball((48, 56, 32), 22), ball((48, 56, 64), 12)
    liver = ball((48, 56, 92), 26) * (1 - tumour)
    kidney = kidney * (1 - tumour)
    return {n: Volume(m, AFFINE) for n, m in zip(TRUTH, (kidney, tumour, liver), strict=False)}


def image_of(blur) -> Volume:
    masks = [m.array for m in regions().values()]
    masks.append(1 - sum(masks))
    return Volume(blur(sum(a * m for a, m in zip(TRUTH.values(), masks, strict=True))), AFFINE)


def kernel() -> np.ndarray:
    """A point spread with a tail: no Gaussian."""
    axis = np.arange(-5, 6) * 4.0
    r2 = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    return np.exp(-r2 / 60) + 0.02 * np.exp(-np.sqrt(r2) / 8)


def field() -> np.ndarray:
    """FWHM from 8 to 16 mm over the field."""
    return np.broadcast_to(np.linspace(8, 16, 32), (24, 28, 32))


SPREADS = {
    "gaussian": GaussianSpread(SPACING, 12.0),
    "three_widths": GaussianSpread(SPACING, (10.0, 11.0, 14.0)),
    "kernel": KernelSpread(kernel()),
    "varying": VaryingSpread(SPACING, field()),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", SPREADS)
def test_even_regions_come_back(method, name):
    found = partial_volume(image_of(SPREADS[name]), regions(), SPREADS[name], method)
    assert found.regions == tuple(TRUTH)
    # 1e-3: the volume is float32 and Yang stops at 1e-5 of the largest
    np.testing.assert_allclose(found.means, list(TRUTH.values()), rtol=1e-3)
    assert found.measured[1] < 0.8 * TRUTH["tumour_1"]


def test_yang_gives_an_image_that_is_the_object():
    found = partial_volume(image_of(SPREADS["gaussian"]), regions(), 12.0, "yang")
    for name, mask in regions().items():
        inside = found.image.array[mask.array > 0]
        assert np.abs(inside / TRUTH[name] - 1).max() < 0.01


def test_yang_also_starts_from_means_that_are_wrong():
    from imaging.volume_correction import iterative_yang, with_rest

    image = image_of(SPREADS["gaussian"])
    weights = with_rest(image, regions())[1]
    _, means, iterations = iterative_yang(image.array.astype(float), weights, SPREADS["gaussian"], np.ones(4))
    np.testing.assert_allclose(means, list(TRUTH.values()), rtol=2e-3)
    assert iterations > 3


def test_soft_edges_are_solved_exactly_too():
    hard = regions()["tumour_1"].array.astype(float)
    soft = np.clip(GaussianSpread(SPACING, 5.0)(hard), 0, 1)
    image = Volume(SPREADS["gaussian"](10 * soft + 1 * (1 - soft)), AFFINE)
    for method in METHODS:
        found = partial_volume(image, {"tumour_1": Volume(soft, AFFINE)}, 12.0, method)
        np.testing.assert_allclose(found.means, [10, 1], rtol=2e-3)


def test_spreads_keep_counts_and_positions():
    point = np.zeros((24, 28, 32))
    point[12, 14, 10] = 1.0
    for blur in SPREADS.values():
        seen = blur(point)
        assert seen.sum() == pytest.approx(1.0, abs=2e-3)
        assert (seen.sum(axis=(0, 1)) @ np.arange(32)) / seen.sum() == pytest.approx(10, abs=1e-3)


def test_a_varying_spread_has_the_width_of_its_source():
    for x in (8, 16, 23):
        point = np.zeros((24, 28, 32))
        point[12, 14, x] = 1.0
        line = VaryingSpread(SPACING, field())(point).sum(axis=(0, 1))
        sigma = 4 * np.sqrt(line @ (np.arange(32) - x) ** 2 / line.sum())
        # cut at 4 sigma and sampled at 4 mm: 1 %
        assert sigma * 2.35482 == pytest.approx(field()[0, 0, x], rel=0.015)


@pytest.mark.parametrize("name", ["gaussian", "kernel", "varying"])
def test_a_scaled_spread_is_that_much_wider(name):
    point = np.zeros((24, 28, 32))
    point[12, 14, 16] = 1.0
    d2 = (np.arange(32) - 16) ** 2
    one, wide = (blur(point).sum(axis=(0, 1)) @ d2 for blur in (SPREADS[name], SPREADS[name].scaled(1.1)))
    assert np.sqrt(wide / one) == pytest.approx(1.1, rel=0.03)  # kernels are interpolated and cut


def test_a_wrong_width_is_seen_in_the_means():
    narrow = partial_volume(image_of(SPREADS["gaussian"]), regions(), 10.8)
    assert narrow.means[1] < 0.97 * TRUTH["tumour_1"]  # negative control of the exactness above


def test_the_sd_from_noise_is_the_spread_of_noisy_images():
    rng, clean, fwhm = np.random.default_rng(8), image_of(SPREADS["gaussian"]), 9.0
    smooth = GaussianSpread(SPACING, fwhm)
    unit = np.sqrt((smooth(np.pad([[[1.0]]], ((12, 12), (14, 14), (16, 16)))) ** 2).sum())
    weights = [*(m.array.astype(float) for m in regions().values())]
    weights.append(1 - sum(weights))
    matrix, draws = mixing_matrix(weights, SPREADS["gaussian"]), []
    for _ in range(100):
        noisy = clean.array + 0.5 * smooth(rng.normal(size=clean.array.shape)) / unit
        draws.append(corrected_means(matrix, weighted_means(noisy, weights)))
    found = partial_volume(clean, regions(), 12.0, noise=noise_of_width(0.5, fwhm, SPACING))
    # sd of an sd of 100 draws is 7 %; the field's border thins the noise of rest
    np.testing.assert_allclose(found.sd[:3], np.std(draws, axis=0)[:3], rtol=0.2)
    assert found.sd[1] > 2 * found.sd[2]


def test_an_uncertain_width_spreads_the_small_most():
    image = image_of(SPREADS["gaussian"])
    found = partial_volume(image, regions(), 12.0, psf_relative_sd=0.05)
    by_hand = (partial_volume(image, regions(), 12.6).means - partial_volume(image, regions(), 11.4).means) / 2
    assert found.sd[1] == pytest.approx(abs(by_hand[1]), rel=0.1)
    assert found.sd[1] / TRUTH["tumour_1"] > found.sd[2] / TRUTH["liver"]


def test_an_uncertain_place_matters_though_a_ball_has_no_slope():
    found = partial_volume(image_of(SPREADS["gaussian"]), regions(), 12.0, shift_sd_mm=3.0)
    assert 0.02 < found.sd[1] / TRUTH["tumour_1"] < 0.3


def test_drawings_that_cannot_be_told_apart_are_refused():
    masks = regions()
    with pytest.raises(ImageError, match="other regions too"):
        partial_volume(image_of(SPREADS["gaussian"]), {**masks, "tumour_2": masks["tumour_1"]}, 12.0)
    with pytest.raises(ImageError, match="masks"):
        partial_volume(image_of(SPREADS["gaussian"]), {}, 12.0)
    with pytest.raises(InputError, match="method"):
        partial_volume(image_of(SPREADS["gaussian"]), masks, 12.0, "deconvolution")
    with pytest.raises(InputError, match="wider"):
        partial_volume(image_of(SPREADS["gaussian"]), masks, lambda a: a, psf_relative_sd=0.1)
    with pytest.raises(InputError):
        KernelSpread(np.ones((2, 3, 3)))
