"""Thresholds over a whole scan: organs left out, the liver with its own rule, islands cut by their maximum."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.segmentation import exclude_organs, threshold_lesions

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
SHAPE = (24, 24, 40)


def ball(centre, radius: float) -> np.ndarray:
    z, y, x = np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    return (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2


KIDNEY, LIVER = ball((12, 12, 6), 4), ball((12, 12, 22), 7)
IN_LIVER, ALONE = ball((12, 12, 22), 2), ball((12, 12, 35), 3)


def scan(liver: float = 5.0, lesion: float = 12.0) -> Volume:
    values = np.full(SHAPE, 0.5)
    values[KIDNEY], values[LIVER], values[ALONE] = 30.0, liver, 8.0
    values[IN_LIVER] = lesion
    return Volume(values, AFFINE)


def organs() -> dict[str, Volume]:
    return {"kidney_left": scan().with_array(KIDNEY), "liver": scan().with_array(LIVER)}


def test_organs_are_left_out_and_lesions_of_liver_and_body_stay():
    found = threshold_lesions(scan(), organs=organs()).array > 0
    np.testing.assert_array_equal(found, IN_LIVER | ALONE)


def test_without_organs_their_uptake_is_taken_for_lesions():
    found = threshold_lesions(scan()).array > 0
    np.testing.assert_array_equal(found, KIDNEY | LIVER | ALONE)


def test_an_even_liver_holds_no_lesion():
    found = threshold_lesions(scan(lesion=5.0), organs=organs()).array > 0
    np.testing.assert_array_equal(found, ALONE)


def test_each_island_is_cut_at_a_share_of_its_own_maximum():
    warm = scan()
    warm.array[ball((12, 12, 35), 1)] = 40.0
    found = threshold_lesions(warm, rule="share", organs=organs(), minimum_volume_mL=0.0).array > 0
    np.testing.assert_array_equal(found, IN_LIVER | ball((12, 12, 35), 1))


def test_the_margin_cuts_what_blur_carries_out_of_an_organ():
    kidney = {"kidney_left": organs()["kidney_left"]}
    away = exclude_organs(scan(), kidney, 8.0)
    assert not away[12, 12, 11]
    assert not away[12, 12, 12]
    assert away[12, 12, 13]
    assert exclude_organs(scan(), kidney, 0.0)[12, 12, 11]


def test_twice_the_threshold_on_twice_the_uptake_is_the_same():
    one = threshold_lesions(scan(), organs=organs())
    two = threshold_lesions(scan().with_array(2 * scan().array), fixed_suv=6.0, organs=organs())
    np.testing.assert_array_equal(one.array, two.array)


@pytest.mark.parametrize(
    ("words", "said"),
    [({"rule": "best"}, "rule"), ({"rule": "liver"}, "liver"), ({"fixed_suv": 0.0}, "above zero")],
)
def test_what_makes_no_sense_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        threshold_lesions(scan(), **words)


def test_a_mask_on_another_grid_is_refused():
    with pytest.raises(ImageError):
        threshold_lesions(scan(), organs={"liver": Volume(LIVER, np.diag([2.0, 2.0, 2.0, 1.0]))})
