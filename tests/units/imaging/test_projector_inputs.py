"""Responses of collimators and attenuation maps: numbers from outside, limits, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct import (
    Collimator,
    DetectorResponse,
    attenuation_map,
    collimator_response,
    collimators,
    covered_share,
    grid_gaussian,
    linear_attenuation_per_mm,
    uncovered_with_counts,
)
from imaging.reconstruct.attenuation import attenuation_per_mm, averaged_onto
from imaging.reconstruct.response import lead_per_mm


def test_medium_energy_collimator_at_208_keV_is_that_of_the_notes():
    """IMAGING.md 2.1: sigma(d) = sqrt((0.0316 d + 0.125)^2 + 0.161^2) cm, with its own interpolation of lead's mu."""
    made = collimator_response("SY-ME", 208.0, intrinsic_fwhm_mm=3.8)
    assert made.slope == pytest.approx(0.0316, rel=0.03)
    assert made.offset_mm == pytest.approx(1.25, abs=0.005)
    assert made.intrinsic_sigma_mm == pytest.approx(1.61, abs=0.005)
    assert made.fwhm_mm(0.0) == pytest.approx(np.hypot(2.94, 3.8))


def test_width_grows_with_distance_and_holds_behind_the_face():
    made = collimator_response("GI-LEHR", 140.5, 3.8)
    widths = made.sigma_mm([-5.0, 0.0, 100.0, 200.0])
    assert widths[0] == widths[1] < widths[2] < widths[3]


def test_every_collimator_sees_less_sharply_at_higher_energy():
    for name in collimators():
        assert collimator_response(name, 208.0, 3.1).slope > collimator_response(name, 113.0, 4.2).slope


@pytest.mark.parametrize(
    ("name", "energy_keV", "says"),
    [("SY-ML", 208.0, 'did you mean "SY-ME"'), ("SHORT", 900.0, "septa"), ("SY-ME", 20.0, "100 to 1000 keV")],
)
def test_collimators_that_cannot_be_are_refused(name, energy_keV, says, monkeypatch):
    known = {**collimators(), "SHORT": Collimator("SHORT", 2.0, 0.2, 15.0)}
    monkeypatch.setattr("imaging.reconstruct.response.collimators", lambda: known)
    with pytest.raises(InputError, match=says):
        collimator_response(name, energy_keV, 3.8)


@pytest.mark.parametrize("values", [(-0.1, 1.0, 0.0), (0.1, float("nan"), 0.0)])
def test_a_response_below_zero_is_refused(values):
    with pytest.raises(InputError, match="response"):
        DetectorResponse(*values)


@pytest.mark.parametrize("variance", [0.05, 0.4, 3.0, 14.0])
def test_grid_gaussian_has_unit_sum_and_the_variance_asked(variance):
    half = grid_gaussian(variance, 40)
    offsets = np.arange(40)
    assert half[0] + 2 * half[1:].sum() == pytest.approx(1, abs=1e-12)
    assert 2 * half @ offsets**2 == pytest.approx(variance, rel=1e-9)


def test_grid_gaussian_is_the_sampled_gaussian_where_that_keeps_its_variance():
    sampled = np.exp(-(np.arange(40) ** 2) / (2 * 2.5)) / np.sqrt(2 * np.pi * 2.5)
    np.testing.assert_allclose(grid_gaussian(2.5, 40), sampled, atol=1e-12)


@pytest.mark.parametrize(("energy_keV", "per_cm"), [(100.0, 0.1707), (150.0, 0.1505), (200.0, 0.1370), (300.0, 0.1186)])
def test_water_attenuates_as_the_nist_table_says(energy_keV, per_cm):
    """NISTIR 5632, liquid water, mu/rho at 1 g/cm3; XCOM differs by less than 0.5 %."""
    assert linear_attenuation_per_mm("water_liquid", energy_keV) * 10 == pytest.approx(per_cm, rel=5e-3)


def test_lead_passes_through_the_points_of_its_table():
    assert lead_per_mm(200.0) == pytest.approx(0.9985 * 11.35 / 10)
    assert lead_per_mm(300.0) < lead_per_mm(250.0) < lead_per_mm(200.0)


def test_attenuation_of_air_water_and_bone():
    water, bone = (linear_attenuation_per_mm(m, 208.4) for m in ("water_liquid", "bone_cortical_icrp"))
    mu = attenuation_per_mm(np.array([-3024, -1000, -500, 0, 1329.4, 3000]), 208.4)
    np.testing.assert_allclose(mu[:5], [0, 0, water / 2, water, bone], rtol=1e-4, atol=1e-12)
    assert np.all(np.diff(mu) >= 0)


def small_ct(rng, step_mm=(2.0, 3.0, 2.5), flip=(1, 1, 1)) -> Volume:
    hounsfield = np.full((30, 26, 36), -1000.0)
    hounsfield[4:26, 4:22, 5:30] = rng.normal(40, 200, (22, 18, 25)).clip(-900, 900)
    affine = np.diag([*(np.array(step_mm) * flip), 1.0])
    affine[:3, 3] = -np.array(step_mm) * flip * (np.array([36, 26, 30]) - 1) / 2
    return Volume(hounsfield, affine)


def coarse(shape=(20, 20, 20), step_mm=6.8, shift=(1.3, -2.1, 0.7)) -> Volume:
    affine = np.diag([step_mm, step_mm, step_mm, 1.0])
    affine[:3, 3] = -step_mm * (np.array(shape[::-1]) - 1) / 2 + shift
    return Volume(np.zeros(shape), affine)


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, 1)])
def test_the_integral_of_attenuation_is_kept(flip, rng):
    ct, grid = small_ct(rng, flip=flip), coarse()
    made = attenuation_map(ct, grid, 208.4)
    fine = attenuation_per_mm(ct.array, 208.4).sum() * ct.voxel_mL
    assert made.array.sum(dtype=float) * grid.voxel_mL == pytest.approx(fine, rel=1e-5)


def test_the_centre_of_attenuation_is_kept(rng):
    ct, grid = small_ct(rng, flip=(-1, 1, 1)), coarse()
    made = attenuation_map(ct, grid, 208.4)

    def centre(volume, values):
        z, y, x = np.indices(values.shape)
        return np.average(volume.to_lps_mm(np.stack([x, y, z], -1)).reshape(-1, 3), axis=0, weights=values.ravel())

    fine = attenuation_per_mm(ct.array, 208.4)
    # a mean over a voxel moves no more than the noise of 1000 voxels
    np.testing.assert_allclose(centre(grid, made.array), centre(ct, fine), atol=0.1)


def test_an_oblique_ct_keeps_its_integral_nearly(rng):
    ct = small_ct(rng)
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.2), -np.sin(0.2)], [np.sin(0.2), np.cos(0.2)]]
    made = attenuation_map(Volume(ct.array, turn @ ct.affine), coarse(), 208.4)
    fine = attenuation_per_mm(ct.array, 208.4).sum() * ct.voxel_mL
    # linear interpolation between noisy voxels, not a mean
    assert made.array.sum(dtype=float) * coarse().voxel_mL == pytest.approx(fine, rel=5e-3)


def rows_with_counts() -> Projections:
    """Twenty rows level with the slices of `coarse()`, ten counts in each of the upper ten and one in the others."""
    grid = coarse(shift=(0.0, 0.0, 0.0))
    counts = np.where(np.arange(20) < 10, 1.0, 10.0)[None, None, :, None] * np.ones((1, 4, 1, 20))
    window = (EnergyWindow(187, 229, "peak"),)
    acquired = Projections(counts, window, np.arange(4) * 90.0, np.full(4, 200.0), np.ones(4), 6.8, np.zeros(3))
    assert acquired.grid().is_on_grid_of(grid)
    return acquired


@pytest.mark.parametrize("turn_deg", [0.0, 8.0])
def test_slices_that_the_ct_does_not_reach_are_told(turn_deg):
    """A CT of the lower half, narrower than the grid, straight and turned about z."""
    acquired, angle = rows_with_counts(), np.deg2rad(turn_deg)
    affine = np.diag([4.0, 4.0, 3.4, 1.0])
    affine[:3, 3] = -46.0, -46.0, -68.0 + 1.7
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    half = Volume(np.full((21, 24, 24), -1000.0), turn @ affine)  # ten slices and a half of the grid
    share = covered_share(half, acquired.grid())
    np.testing.assert_allclose(share[:10], 1, atol=1e-6)
    # interpolation ends at the middle of the last slice
    assert share[10] == pytest.approx(0.5, abs=1e-6 if turn_deg == 0 else 0.51)
    np.testing.assert_array_equal(share[11:], 0)
    wanted = 10 * (9 + 1 - share[10]) / 110
    assert uncovered_with_counts(acquired, half) == pytest.approx(wanted, rel=1e-9)


def test_what_is_no_ct_is_refused(rng):
    with pytest.raises(ImageError, match="CT numbers"):
        attenuation_map(coarse(), coarse(), 208.4)
    oblique = np.array(coarse().affine)
    oblique[0, 1] = 1.0
    with pytest.raises(ImageError, match="oblique"):
        averaged_onto(coarse(), Volume(coarse().array, oblique))
