"""Dose-volume histograms against closed forms: ramps, spheres, parts of voxels, draws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dose import dvh
from dose.errors import InputError

RAMP = (np.arange(1000) + 0.5) / 10
"""0 to 100 Gy, each voxel at the middle of its share: D_V is 100 - V exactly."""


def whole(dose, voxel_mL=0.1):
    return dvh(dose, np.ones(np.shape(dose)), voxel_mL)


@pytest.mark.parametrize("percent", [5.0, 50.0, 95.0, 98.0])
def test_a_ramp_has_its_straight_line(percent):
    assert whole(RAMP).dose_at(percent) == pytest.approx(100 - percent, abs=1e-9)


def test_numbers_of_a_ramp():
    found = whole(RAMP)
    assert found.volume_mL == pytest.approx(100)
    assert (found.mean_Gy, found.min_Gy, found.max_Gy) == pytest.approx((50, 0.05, 99.95))
    assert found.volume_above(20) == pytest.approx(80)
    assert found.dose_at_mL(2.0) == pytest.approx(98)
    np.testing.assert_allclose(found.cumulative([0, 25, 100]), [100, 75, 0])
    np.testing.assert_allclose(found.differential(np.linspace(0, 100, 5)), 1.0)  # 100 mL over 100 Gy


def test_a_sphere_whose_dose_falls_with_its_radius():
    """Dose 100 (1 - r): V_D = (1 - D/100)^3; on a grid of 81 voxels across, good to its surface, 0.5 %."""
    line = np.linspace(-1, 1, 81)
    radius = np.sqrt(sum(x**2 for x in np.meshgrid(line, line, line, indexing="ij")))
    found = dvh(100 * np.maximum(1 - radius, 0), radius <= 1, 1e-3)
    for dose_Gy in (10.0, 30.0, 60.0):
        assert found.volume_above(dose_Gy) == pytest.approx(100 * (1 - dose_Gy / 100) ** 3, abs=0.5)
    assert found.mean_Gy == pytest.approx(25, abs=0.2)
    assert found.geud_Gy(2) == pytest.approx(100 * np.sqrt(0.1), abs=0.2)  # 3 int r^2 (1-r)^2 = 1/10


def test_a_share_of_a_voxel_counts_as_that_share():
    found = dvh(np.array([10.0, 30.0, 99.0]), np.array([1.0, 0.5, 0.0]), 2.0)
    assert found.volume_mL == pytest.approx(3)
    assert found.mean_Gy == pytest.approx((10 * 2 + 30 * 1) / 3)
    assert found.volume_above(20) == pytest.approx(100 / 3)
    assert found.max_Gy == 30


def test_each_draw_has_its_own_numbers(rng):
    draws = RAMP * rng.uniform(0.5, 2, (20, 1))
    found = dvh(draws, np.ones(RAMP.shape), 0.1)
    assert found.dose_at(95).shape == (20,)
    np.testing.assert_allclose(found.dose_at(95), [whole(d).dose_at(95) for d in draws])
    np.testing.assert_allclose(found.cumulative([20, 40]), [whole(d).cumulative([20, 40]) for d in draws])


@given(st.lists(st.floats(0, 500), min_size=2, max_size=50), st.floats(0, 100), st.floats(0, 100))
def test_more_volume_never_has_more_dose(doses, a, b):
    found = whole(np.array(doses))
    low, high = sorted((a, b))
    assert found.dose_at(low) >= found.dose_at(high)
    assert found.min_Gy <= found.dose_at(a) <= found.max_Gy
    assert found.geud_Gy(1) == pytest.approx(found.mean_Gy, rel=1e-9, abs=1e-9)


def test_a_uniform_dose_is_all_of_its_numbers():
    found = whole(np.full((4, 5, 6), 10.0))
    for value in (found.dose_at(2), found.dose_at(98), found.mean_Gy, found.geud_Gy(-10), found.geud_Gy(8)):
        assert value == pytest.approx(10)
    assert found.volume_above(10) == 100
    assert found.volume_above(10.01) == 0


MAP, ALL = np.ones((2, 2)), np.ones((2, 2), bool)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: dvh(MAP, np.ones((3, 2)), 1.0), "shape"),
        (lambda: dvh(MAP, ~ALL, 1.0), "no voxel"),
        (lambda: dvh(MAP, 2 * ALL, 1.0), "outside 0 to 1"),
        (lambda: dvh(-MAP, ALL, 1.0), "below 0"),
        (lambda: dvh(np.full((2, 2), np.nan), ALL, 1.0), "not finite"),
        (lambda: dvh(MAP, ALL, 0.0), "voxel_mL"),
        (lambda: dvh(MAP, ALL, 1.0).dose_at(950), "0 to 100"),
        (lambda: dvh(MAP, ALL, 1.0).dose_at_mL(5.0), "4 mL"),
        (lambda: dvh(MAP, ALL, 1.0).differential([3, 2]), "increasing"),
        (lambda: dvh(MAP, ALL, 1.0).geud_Gy(0), "other than 0"),
    ],
)
def test_what_cannot_be_right_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_a_value_that_is_missing_outside_the_region_does_no_harm():
    assert dvh(np.array([1.0, np.nan]), np.array([True, False]), 1.0).mean_Gy == 1.0
