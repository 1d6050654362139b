"""Voxels at the edges: few scans, no counts, missing values, named rules, clear refusals."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.voxel_dose import DoseKernel, dose_map
from calibration.voxel_filter import ParticleFilter
from calibration.voxel_noise import VoxelNoise
from calibration.voxel_result import BIT, FLAGS, NAMES
from calibration.voxel_rules import trapezoid
from calibration.voxels import tia_map
from dose.curves import madsen_tia
from dose.errors import InputError
from dose.nuclides import radionuclide
from dose.trapezoids import trapezoid_tia

HALF_LIFE_H = radionuclide("177Lu").half_life_h
PHYSICAL = radionuclide("177Lu").decay_constant_per_h
TIME_H = np.array([4.0, 24.0, 96.0, 168.0])
NOISE = VoxelNoise(0.01, 0.0, 0.05)
MONO = np.exp(-np.log(2) / 60 * TIME_H)


def model(found, k: int = 0) -> str:
    return NAMES[found.model[k]]


def test_one_scan_is_the_given_clearance_and_says_so():
    found = tia_map([[0.8, 0.0]], [72.0], NOISE, HALF_LIFE_H, teff_h=50.0, teff_relative_sd=0.2)
    rate = np.log(2) / 50
    assert found.tia_MBq_h_mL[0] == pytest.approx(madsen_tia(0.8, 72.0, rate))
    relative = np.hypot(NOISE.sd(np.array([[0.8]]))[0, 0] / 0.8, abs(rate * 72 - 1) * 0.2)
    assert found.sd_MBq_h_mL[0] == pytest.approx(found.tia_MBq_h_mL[0] * relative)
    assert found.where("given_rate").all()
    assert [model(found, 0), model(found, 1)] == ["given", "empty"]
    assert "clearance is not measured" in found.method


def test_teff_may_be_a_map():
    found = tia_map([[1.0, 1.0]], [0.0], NOISE, HALF_LIFE_H, teff_h=[40.0, 80.0])
    assert found.tia_MBq_h_mL[1] / found.tia_MBq_h_mL[0] == pytest.approx(2.0)


@pytest.mark.parametrize("hours", [[4.0], [4.0, 24.0]])
def test_teff_goes_with_one_scan_only(hours):
    with pytest.raises(InputError, match="teff_h"):
        tia_map(np.ones((len(hours), 3)), hours, NOISE, HALF_LIFE_H, teff_h=None if len(hours) == 1 else 50.0)


def test_two_scans_pass_through_both_points():
    found = tia_map(MONO[[0, 2], None], TIME_H[[0, 2]], NOISE, HALF_LIFE_H)
    assert found.teff_h[0] == pytest.approx(60.0)
    assert found.noise_factor is None
    assert "no AICc" in found.method


def test_three_scans_take_uptake_only_where_one_exponential_misses():
    rising = np.array([0.29, 0.66, 0.31])
    found = tia_map(np.stack([MONO[:3], rising], axis=1), TIME_H[:3], NOISE, HALF_LIFE_H)
    assert [model(found, 0), model(found, 1)] == ["mono", "uptake"]
    assert list(found.where("not_ranked")) == [False, True]


def test_a_missing_value_gives_no_integral_and_a_flag():
    data = np.stack([MONO, MONO], axis=1)
    data[1, 0] = np.nan
    found = tia_map(data, TIME_H, NOISE, HALF_LIFE_H)
    assert np.isnan(found.tia_MBq_h_mL[0])
    assert np.isfinite(found.tia_MBq_h_mL[1])
    assert list(found.where("invalid")) == [True, False]
    assert found.counts()["flag invalid"] == 1
    assert any("no finite value" in words for words in found.warnings)
    assert found.total(np.ones(2, bool), 1.0).tia_MBq_h == pytest.approx(found.tia_MBq_h_mL[1])


def test_an_empty_voxel_is_zero_with_the_sd_of_the_floor():
    found = tia_map(np.stack([MONO, 0 * MONO], axis=1), TIME_H, NOISE, HALF_LIFE_H)
    assert found.tia_MBq_h_mL[1] == 0
    assert found.sd_MBq_h_mL[1] > 0
    assert model(found, 1) == "empty"
    assert found.where("background")[1]


def test_a_negative_scan_is_used_and_flagged():
    data = np.array([[1.0, 0.8, 0.05, -0.005]]).T
    found = tia_map(data, TIME_H, NOISE, HALF_LIFE_H)
    assert found.where("negative")[0]
    assert found.tia_MBq_h_mL[0] > 0


def test_a_voxel_that_still_rises_is_flagged():
    found = tia_map(np.array([[0.1, 0.3, 0.6, 1.0]]).T, TIME_H, NOISE, HALF_LIFE_H)
    assert found.where("late_rise")[0]
    assert any("later than uptake can explain" in words for words in found.warnings)


def test_points_that_no_curve_meets_are_flagged_and_their_sd_is_wide():
    data = np.array([[1.0, 0.1, 0.9, 0.1]]).T
    found = tia_map(data, TIME_H, NOISE, HALF_LIFE_H)
    assert found.where("misfit")[0]
    assert found.sd_MBq_h_mL[0] > 0.1 * found.tia_MBq_h_mL[0]


def test_where_no_curve_may_be_fitted_trapezoids_stand_in_with_a_flag():
    found = tia_map(MONO[:, None], TIME_H, NOISE, HALF_LIFE_H, models=("bi",))
    wanted = trapezoid_tia(TIME_H, MONO, "177Lu", start="triangle", tail="physical").tia_MBq_h
    assert found.where("failed")[0]
    assert model(found) == "trapezoid"
    assert found.tia_MBq_h_mL[0] == pytest.approx(wanted)


@pytest.mark.parametrize("start", ["triangle", "plateau"])
@pytest.mark.parametrize("tail", ["physical", "last_two"])
def test_trapezoids_are_those_of_a_region(start, tail):
    found = tia_map(MONO[:, None], TIME_H, NOISE, HALF_LIFE_H, choice="trapezoid", start=start, tail=tail)
    region = trapezoid_tia(TIME_H, MONO, "177Lu", start=start, tail=tail)
    assert found.tia_MBq_h_mL[0] == pytest.approx(region.tia_MBq_h)
    assert found.after_last[0] == pytest.approx(region.extrapolated_fraction)


@pytest.mark.parametrize("tail", ["physical", "last_two"])
def test_the_sd_of_trapezoids_is_that_of_differences(tail):
    sd = np.array([0.05, 0.04, 0.03, 0.02])[:, None]
    value = lambda a: trapezoid(TIME_H, a, sd, PHYSICAL, "triangle", tail).tia[0]
    step = 1e-6
    slope = [
        (value(MONO[:, None] + step * e) - value(MONO[:, None] - step * e)) / (2 * step) for e in np.eye(4)[:, :, None]
    ]
    found = trapezoid(TIME_H, MONO[:, None], sd, PHYSICAL, "triangle", tail).sd[0]
    assert found == pytest.approx(np.sqrt(((np.array(slope) * sd[:, 0]) ** 2).sum()), rel=1e-6)


def test_an_impossible_last_slope_gets_a_physical_tail_and_a_flag():
    data = np.array([[1.0, 0.8, 0.5, 0.49]]).T
    found = tia_map(data, TIME_H, NOISE, HALF_LIFE_H, choice="trapezoid", tail="last_two")
    assert found.where("at_physical")[0]


def test_what_is_shared_by_all_scans_stays_apart_from_the_map():
    data = np.repeat(MONO[:, None], 100, axis=1)
    plain = tia_map(data, TIME_H, NOISE, HALF_LIFE_H)
    found = tia_map(data, TIME_H, NOISE, HALF_LIFE_H, correlated_relative_sd=0.05)
    assert np.array_equal(plain.sd_MBq_h_mL, found.sd_MBq_h_mL)
    total = found.total(np.ones(100, bool), 0.1, voxels_per_resolution=4.0)
    assert total.correlated_sd_MBq_h == pytest.approx(0.05 * total.tia_MBq_h)
    assert total.sd_MBq_h == pytest.approx(0.1 * 2 * 10 * found.sd_MBq_h_mL[0])


def test_noise_may_differ_between_scans_and_follows_them_into_order():
    per_scan = VoxelNoise(np.array([0.01, 0.02, 0.03, 0.04]), 0.0, 0.0)
    data = MONO[:, None] * (1 + np.array([[0.05], [-0.05], [0.05], [-0.05]]))
    back = VoxelNoise(np.array([0.04, 0.03, 0.02, 0.01]), 0.0, 0.0)
    one = tia_map(data, TIME_H, per_scan, HALF_LIFE_H)
    other = tia_map(data[::-1], TIME_H[::-1], back, HALF_LIFE_H)
    assert one.tia_MBq_h_mL[0] == pytest.approx(other.tia_MBq_h_mL[0])


def test_integers_and_single_precision_are_taken():
    data = (1000 * MONO[:, None]).astype(np.uint16)
    found = tia_map(data, TIME_H, VoxelNoise(10.0), HALF_LIFE_H)
    assert found.tia_MBq_h_mL.dtype == np.float64
    assert tia_map(data.astype(np.float32), TIME_H, VoxelNoise(10.0), HALF_LIFE_H).tia_MBq_h_mL == pytest.approx(
        found.tia_MBq_h_mL
    )


def test_flags_fit_their_map_and_are_named():
    assert max(BIT.values()) < 1 << 16
    assert all(FLAGS.values())


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"time_h": [4.0, 24.0, 96.0]}, "time_h"),
        ({"time_h": [-4.0, 24.0, 96.0, 168.0]}, "time_h"),
        ({"time_h": [4.0, 24.0, 24.0, 168.0]}, "time_h"),
        ({"noise": 0.0}, "noise"),
        ({"noise": np.ones((4, 2))}, "noise"),
        ({"noise": "Poisson"}, "noise"),
        ({"noise": VoxelNoise(np.ones(3))}, "noise"),
        ({"half_life_h": 0.0}, "half_life_h"),
        ({"choice": "mean"}, "choice"),
        ({"models": ("tri",)}, "models"),
        ({"models": ()}, "models"),
        ({"tail": "none"}, "tail"),
    ],
)
def test_impossible_input_names_its_field(change, field):
    good = {"activity_MBq_mL": MONO[:, None] * np.ones(3), "time_h": TIME_H, "noise": NOISE, "half_life_h": HALF_LIFE_H}
    with pytest.raises(InputError, match=field):
        tia_map(**(good | change))


def test_a_noise_without_floor_is_refused():
    with pytest.raises(InputError, match="floor"):
        VoxelNoise(0.0, 0.1)


def test_an_effective_half_life_above_the_physical_one_is_refused():
    with pytest.raises(InputError, match="teff_h"):
        tia_map([[1.0]], [4.0], NOISE, HALF_LIFE_H, teff_h=200.0)


IMAGES = MONO[:, None, None, None] * np.ones((1, 5, 5, 5))
KERNEL = DoseKernel(np.full((3, 3, 3), 0.01), 0.1)


def test_a_missing_value_stays_missing_in_a_filtered_map():
    data = IMAGES.copy()
    data[1, 0, 0, 0] = np.nan
    found = tia_map(data, TIME_H, NOISE, HALF_LIFE_H, denoise=ParticleFilter())
    assert np.isnan(found.tia_MBq_h_mL[0, 0, 0])
    assert found.where("invalid").sum() == 1
    # 128 particles of 5 % noise; the scans carry none
    assert found.tia_MBq_h_mL[2, 2, 2] == pytest.approx(60 / np.log(2), rel=0.05)


def test_a_filtered_map_of_scans_out_of_order_is_the_same():
    one = tia_map(IMAGES, TIME_H, NOISE, HALF_LIFE_H, denoise=ParticleFilter())
    other = tia_map(IMAGES[::-1], TIME_H[::-1], NOISE, HALF_LIFE_H, denoise=ParticleFilter())
    np.testing.assert_allclose(other.tia_MBq_h_mL, one.tia_MBq_h_mL)


def test_voxels_without_neighbours_are_not_filtered():
    with pytest.raises(InputError, match="denoise"):
        tia_map(MONO[:, None] * np.ones(3), TIME_H, NOISE, HALF_LIFE_H, denoise=ParticleFilter())


@pytest.mark.parametrize("wrong", [{"particles": 4}, {"wander": 0.0}, {"neighbourhood_voxels": -1.0}])
def test_a_filter_that_cannot_work_is_refused(wrong):
    with pytest.raises(InputError, match="denoise"):
        ParticleFilter(**wrong)


def test_a_missing_value_is_taken_as_empty_by_a_kernel_and_said():
    data = IMAGES.copy()
    data[1, 0, 0, 0] = np.nan
    for order in ("dose-rate", "activity"):
        found = dose_map(data, TIME_H, NOISE, HALF_LIFE_H, dose_rate=KERNEL, order=order)
        assert np.isfinite(found.dose_Gy).all()
        assert any("taken as empty" in words for words in found.warnings)


def test_scans_out_of_order_with_given_dose_rate_sds_are_put_in_order():
    sd = np.array([1.0, 2.0, 3.0, 4.0])[:, None, None, None] * 1e-4 * np.ones_like(IMAGES)
    ask = {"half_life_h": HALF_LIFE_H, "dose_rate": KERNEL}
    one = dose_map(IMAGES, TIME_H, NOISE, dose_rate_sd=sd, **ask)
    other = dose_map(IMAGES[::-1], TIME_H[::-1], NOISE, dose_rate_sd=sd[::-1], **ask)
    np.testing.assert_allclose(other.sd_Gy, one.sd_Gy)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"order": "both"}, "order"),
        ({"order": "activity", "dose_rate_sd": 0.1}, "dose_rate_sd"),
        ({"dose_rate": lambda scan: scan[1:]}, "shape"),
        ({"dose_rate": DoseKernel(np.ones((3, 3)), 0.1)}, "axes"),
    ],
)
def test_an_impossible_dose_names_its_field(change, word):
    good = {
        "dose_rate": KERNEL,
        "activity_MBq_mL": IMAGES,
        "time_h": TIME_H,
        "noise": NOISE,
        "half_life_h": HALF_LIFE_H,
    }
    with pytest.raises(InputError, match=word):
        dose_map(**(good | change))


@pytest.mark.parametrize(
    ("values", "voxel"), [(np.ones((2, 3, 3)), 0.1), (-np.ones((3, 3)), 0.1), (np.ones((3, 3)), 0.0)]
)
def test_a_kernel_that_is_none_is_refused(values, voxel):
    with pytest.raises(InputError, match="dose_rate"):
        DoseKernel(values, voxel)
