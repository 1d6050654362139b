"""Lesion masks and burden: known balls, islands over corners, thresholds on paper, sums that add up."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.noise_model import noise_of_width
from imaging.tumour_burden import lesion_burden, lesion_masks, liver_threshold, relative_mask, threshold_mask

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (30, 30, 40)
NOISE = noise_of_width(0.1, 6.0, (4, 4, 4))


def ball(centre, radius: float) -> np.ndarray:
    z, y, x = np.ogrid[:30, :30, :40]
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


BIG, SMALL = ball((15, 15, 10), 5), ball((15, 15, 28), 3)


def suv() -> Volume:
    values = np.full(SHAPE, 0.5)
    values[BIG], values[SMALL] = 8.0, 4.0
    values[2, 2, 2] = 20.0  # one hot voxel of 0.064 mL
    return Volume(values, AFFINE)


def test_a_fixed_threshold_finds_lesions_and_no_specks():
    found = threshold_mask(suv(), 3.0)
    np.testing.assert_array_equal(found.array > 0, BIG | SMALL)
    assert threshold_mask(suv(), 3.0, minimum_volume_mL=0.0).array.sum() == BIG.sum() + SMALL.sum() + 1


def test_islands_join_over_corners():
    values = np.zeros(SHAPE)
    for k in range(9):
        values[k, k, k] = 1.0
    assert len(lesion_masks(Volume(values, AFFINE))) == 1
    masks = lesion_masks(threshold_mask(suv(), 3.0))
    assert [int(m.array.sum()) for m in masks] == [int(BIG.sum()), int(SMALL.sum())]


def test_a_share_of_the_maximum_keeps_the_island_of_the_hottest():
    seed = Volume(np.ones(SHAPE), AFFINE)
    image = suv().with_array(np.where(suv().array == 20, 0.5, suv().array))
    np.testing.assert_array_equal(relative_mask(image, seed).array > 0, BIG)  # the other is at 50 % but apart
    np.testing.assert_array_equal(relative_mask(image, Volume(ball((15, 15, 28), 6), AFFINE)).array > 0, SMALL)
    with pytest.raises(InputError):
        relative_mask(image, seed, 41)


def test_liver_threshold_on_paper():
    values = np.zeros(SHAPE)
    values[BIG] = np.where(np.arange(BIG.sum()) % 2, 3.0, 1.0)[: BIG.sum()]
    image, liver = Volume(values, AFFINE), Volume(BIG, AFFINE)
    inside = values[BIG]
    assert liver_threshold(image, liver) == pytest.approx(1.5 * inside.mean() + 2 * inside.std(), rel=1e-6)


def test_burden_of_two_balls_on_paper():
    image = suv()
    masks = lesion_masks(threshold_mask(image, 3.0))
    activity = image.with_array(image.array * 1000)
    found = lesion_burden(image, masks, NOISE, activity=activity, administered_MBq=7.0)
    big, small = BIG.sum() * 0.064, SMALL.sum() * 0.064
    assert found.volume_mL.value == pytest.approx(big + small, rel=1e-6)
    assert found.uptake.value == pytest.approx(8 * big + 4 * small, rel=1e-6)
    assert found.activity_MBq.value == pytest.approx((8 * big + 4 * small) * 1e3 / 1e6, rel=1e-6)
    assert found.administered_share == pytest.approx(found.activity_MBq.value / 7.0)
    assert found.lesions[0].centre_lps_mm == pytest.approx((40, 60, 60), abs=1e-9)
    assert (found.lesions[0].maximum, found.lesions[1].maximum) == (8.0, 4.0)
    assert found.lesions[0].peak == pytest.approx(8.0, rel=1e-3)


def test_intervals_hold_their_values_and_widen_with_the_scale():
    image = suv()
    masks = lesion_masks(threshold_mask(image, 3.0))
    sharp, loose = (lesion_burden(image, masks, NOISE, scale_relative_sd=s) for s in (0.0, 0.1))
    for found in (sharp, loose):
        for interval in (found.volume_mL, found.uptake, found.lesions[1].mean, found.lesions[1].uptake):
            assert 0 <= interval.low < interval.value < interval.high
    assert loose.uptake.high > sharp.uptake.high
    assert loose.volume_mL == sharp.volume_mL
    assert sharp.activity_MBq is None


def test_nothing_to_add_up_is_refused():
    with pytest.raises(ImageError, match="lesions"):
        lesion_burden(suv(), [], NOISE)
    with pytest.raises(ImageError, match="seed"):
        relative_mask(Volume(np.zeros(SHAPE), AFFINE), Volume(BIG, AFFINE))
