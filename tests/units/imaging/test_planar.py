"""Conjugate views: the reference one-liner, slabs that are known, views of a phantom, and the hybrid level."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.hybrid_planar import hybrid_activity
from imaging.planar import (
    background_shares,
    conjugate_view,
    conjugate_views,
    line_integrals,
    planar_region,
    self_attenuation,
)
from imaging.projections import EnergyWindow, Projections

ONE_LINER = {"mu_per_cm": 0.125, "body_cm": 24, "source_cm": 6, "sensitivity_cps_per_MBq": 6.1}
MU_PER_MM, C, PIXEL, SHAPE = 0.0125, 6.1, 4.0, (20, 30)


def test_conjugate_view_of_the_clinical_notes():
    # CLINICAL.md section 6, five figures
    assert conjugate_view(120, 80, **ONE_LINER).activity_MBq == pytest.approx(70.326, abs=5e-4)
    assert self_attenuation(0.125, 6) == pytest.approx(0.976941, abs=5e-7)


def test_a_source_without_attenuation_needs_no_correction():
    assert self_attenuation(0.0, 6) == 1.0
    bare = conjugate_view(120, 80, **{**ONE_LINER, "mu_per_cm": 0.0})
    assert bare.activity_MBq == pytest.approx(math.sqrt(120 * 80) / 6.1)


@pytest.mark.parametrize("depth", [0.5, 7.0, 16.0])
def test_an_even_slab_comes_back_at_any_depth(depth):
    # exact: the front sees int exp(-mu z) dz over the slab, the back the rest
    mu, x, t, activity = 0.13, 22.0, 5.0, 42.0
    inside = activity * 6.1 * -math.expm1(-mu * t) / (mu * t)
    front, back = inside * math.exp(-mu * depth), inside * math.exp(-mu * (x - depth - t))
    words = {"mu_per_cm": mu, "body_cm": x, "source_cm": t, "sensitivity_cps_per_MBq": 6.1}
    assert conjugate_view(front, back, **words).activity_MBq == pytest.approx(activity, rel=1e-12)
    # an even background over the whole thickness but the slab, neighbours without the slab
    density, full = 0.8, -math.expm1(-mu * x) / mu
    over_front = density * (full - math.exp(-mu * depth) * -math.expm1(-mu * t) / mu)
    over_back = density * (full - math.exp(-mu * (x - depth - t)) * -math.expm1(-mu * t) / mu)
    around = {"front_background_cps": density * full, "back_background_cps": density * full}
    seen = conjugate_view(front + over_front, back + over_back, depth_cm=depth, **around, **words)
    assert seen.activity_MBq == pytest.approx(activity, rel=1e-12)
    assert seen.background_share > 0
    plain = conjugate_view(front + over_front, back + over_back, **around, **words).activity_MBq
    assert plain != pytest.approx(activity, rel=1e-3)  # 1 - t/x is an approximation


def test_sd_is_that_of_drawing_all_inputs():
    rng, n = np.random.default_rng(6), 4000
    means = {"front_cps": 120.0, "back_cps": 80.0, "mu_per_cm": 0.125, "body_cm": 24.0, "source_cm": 6.0}
    means |= {"front_background_cps": 30.0, "back_background_cps": 25.0, "sensitivity_cps_per_MBq": 6.1}
    sds = {"front_cps": 2.0, "back_cps": 2.0, "mu_per_cm": 0.003, "body_cm": 0.5, "source_cm": 0.3}
    sds |= {"front_background_cps": 1.0, "back_background_cps": 1.0, "sensitivity_cps_per_MBq": 0.12}
    fixed = {"source_cm": means["source_cm"]}  # its part in the background share is left out of the first order
    draws = [{k: rng.normal(means[k], sds[k]) for k in means} | fixed for _ in range(n)]
    drawn = np.std([conjugate_view(**draw).activity_MBq for draw in draws])
    words = {"front_sd_cps": 2.0, "back_sd_cps": 2.0, "mu_sd_per_cm": 0.003, "body_sd_cm": 0.5}
    words |= {"front_background_sd_cps": 1.0, "back_background_sd_cps": 1.0, "sensitivity_relative_sd": 0.12 / 6.1}
    assert conjugate_view(**means, **words).sd_MBq == pytest.approx(drawn, rel=0.06)


def test_views_that_show_nothing_are_refused():
    with pytest.raises(ImageError, match="background"):
        conjugate_view(10, 10, front_background_cps=20, **ONE_LINER)
    with pytest.raises(InputError, match="thickness"):
        background_shares(0.1, 20, 25)


def phantom() -> tuple[Projections, Volume, np.ndarray]:
    """A water body 200 mm deep with a 40 mm slab of 50 MBq off the middle; its two views, map and mask [z, x]."""
    planes = 60
    y_mm = np.arange(planes) * PIXEL
    affine = np.diag([PIXEL, PIXEL, PIXEL, 1.0])
    affine[:3, 3] = [-PIXEL * (SHAPE[1] - 1) / 2, -120.0, -PIXEL * (SHAPE[0] - 1) / 2]
    body = (y_mm >= 20) & (y_mm < 220)
    mu = np.zeros((SHAPE[0], planes, SHAPE[1]))
    mu[:, body, :] = MU_PER_MM
    source = np.zeros(mu.shape)
    slab = (y_mm >= 60) & (y_mm < 100)
    source[6:14, slab, 4:12] = 50 / (8 * slab.sum() * 8)
    middle = mu * PIXEL / 2
    to_front = np.exp(-(np.cumsum(mu, axis=1) * PIXEL - middle))  # front is at low y
    to_back = np.exp(-(np.cumsum(mu[:, ::-1], axis=1)[:, ::-1] * PIXEL - middle))
    seconds = 600.0
    front, back = ((source * w).sum(axis=1) * C * seconds for w in (to_front, to_back))
    counts = np.stack([back[:, ::-1], front])[None]
    window = (EnergyWindow(187, 229, "peak"),)
    views = Projections(counts, window, [0.0, 180.0], [150.0, 150.0], [seconds] * 2, PIXEL, np.zeros(3))
    mask = np.zeros(SHAPE)
    mask[6:14, 4:12] = 1
    return views, Volume(mu, affine), mask


def test_views_lie_over_each_other_and_the_map_is_integrated():
    projections, mu, mask = phantom()
    views = conjugate_views(projections)
    assert np.array_equal(views.front_cps > 0, mask > 0)
    assert np.array_equal(views.back_cps > 0, mask > 0)
    np.testing.assert_allclose(line_integrals(mu, views.grid), 200 * MU_PER_MM, rtol=1e-5)


def test_a_region_of_a_planar_acquisition_comes_back():
    projections, mu, mask = phantom()
    words = {"source_cm": 4.0, "source_mu_per_cm": 10 * MU_PER_MM, "sensitivity_cps_per_MBq": C}
    found = planar_region(conjugate_views(projections), mask, mu, **words)
    # the phantom attenuates in 4 mm steps: (mu dy)^2 / 24 = 1e-4
    assert found.activity_MBq == pytest.approx(50, rel=1e-3)
    rng = np.random.default_rng(9)
    draws = [
        planar_region(conjugate_views(projections.with_counts(rng.poisson(projections.counts))), mask, mu, **words)
        for _ in range(200)
    ]
    amounts = [d.activity_MBq for d in draws]
    assert found.sd_MBq == pytest.approx(np.std(amounts), rel=0.15)
    assert np.mean(amounts) == pytest.approx(50, rel=0.003)


def test_background_around_a_region_is_taken_off():
    projections, mu, mask = phantom()
    even = 40.0
    share = 1 - 4 / 20
    counts = projections.counts + even * np.where((projections.counts > 0), share, 1.0)
    around = np.zeros(SHAPE)
    around[2:5, 4:12] = 1
    words = {"source_cm": 4.0, "source_mu_per_cm": 10 * MU_PER_MM, "sensitivity_cps_per_MBq": C, "body_cm": 20.0}
    found = planar_region(conjugate_views(projections.with_counts(counts)), mask, mu, background=around, **words)
    assert found.activity_MBq == pytest.approx(50, rel=1e-3)
    assert 0 < found.background_share < 1


def test_a_rotation_is_no_planar_acquisition():
    projections, _, _ = phantom()
    turned = Projections(
        projections.counts, projections.windows, [0.0, 90.0], [150.0] * 2, [600.0] * 2, PIXEL, np.zeros(3)
    )
    with pytest.raises(ImageError, match="180 degrees"):
        conjugate_views(turned)


def test_hybrid_takes_its_level_from_the_spect():
    planar, own = np.array([100.0, 80.0, 40.0]), np.array([5.0, 4.0, 4.0])
    level, covariance = hybrid_activity(planar, own, 60.0, 3.0, at=1)
    np.testing.assert_allclose(level, planar * 60 / 80)
    assert covariance[1, 1] == pytest.approx(9.0)  # at the SPECT only the SPECT counts
    rng, n = np.random.default_rng(7), 40_000
    p = planar * np.exp(rng.normal(size=(n, 3)) * own / planar)
    drawn = np.cov((p * (60 * np.exp(rng.normal(size=n) * 0.05) / p[:, 1])[:, None]).T)
    np.testing.assert_allclose(covariance, drawn, rtol=0.06)
    assert covariance[0, 2] > 0
    with pytest.raises(InputError):
        hybrid_activity(planar, own, 60.0, 3.0, at=3)
