"""The budget of one activity: parts add in quadrature, and each is what it says."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import InputError
from imaging.geometry import Volume
from imaging.recovery import measurement
from imaging.scan_budget import ScanBudget, contour_parts, counts_cv, recovery_cv, registration_cv


def budget(**parts) -> ScanBudget:
    return ScanBudget(**dict.fromkeys(ScanBudget.__dataclass_fields__, 0.0) | parts)


def test_parts_add_in_quadrature_and_shares_add_to_one():
    found = budget(counts=0.03, calibration=0.04, registration=0.12)
    assert found.total == pytest.approx(0.13)
    assert found.own == pytest.approx(math.hypot(0.03, 0.12))
    assert sum(row["share_of_variance"] for row in found.rows()) == pytest.approx(1)
    assert [row["part"] for row in found.rows() if row["is_shared"]] == ["calibration", "recovery", "contour"]


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_an_impossible_part_is_refused(value):
    with pytest.raises(InputError, match="scan budget"):
        budget(contour=value)


def test_small_regions_are_less_certain_in_every_part():
    how, grid = measurement("SPECT"), Volume(np.zeros((4, 4, 4)), np.diag([4.8, 4.8, 4.8, 1]))
    for part in (
        lambda v: counts_cv(v, how),
        lambda v: recovery_cv(v, how, is_recovered=True),
        lambda v: recovery_cv(v, how, is_recovered=False),
        lambda v: contour_parts(v, grid, how)[0],
        lambda v: contour_parts(v, grid, how)[1],
    ):
        assert part(4.0) > part(40.0) > part(400.0) > 0


def blob(sigma: float = 4.0) -> tuple[Volume, Volume]:
    """A Gaussian spot and the cube of its middle, 1 mm voxels."""
    x = np.arange(41) - 20.0
    spot = np.exp(-(x[:, None, None] ** 2 + x[None, :, None] ** 2 + x[None, None, :] ** 2) / (2 * sigma**2))
    mask = np.zeros(spot.shape)
    mask[16:25, 16:25, 16:25] = 1
    return Volume(spot, np.eye(4)), Volume(mask, np.eye(4))


def test_registration_part_is_the_change_of_the_total_under_a_shift():
    image, mask = blob()
    total = float(np.vdot(image.array, mask.array))
    moved = float(np.vdot(np.roll(image.array, 2, axis=0), mask.array)) / total - 1
    # the spot is symmetric, so both ways and all axes change the total alike
    assert registration_cv(image, mask, 2.0) == pytest.approx(math.sqrt(3) * abs(moved), rel=1e-5)
    assert registration_cv(image, mask, 0.0) == 0


def test_shift_interpolates_between_voxels_and_beyond_the_field_nothing_is_left():
    image, mask = blob()
    assert registration_cv(image, mask, 1.0) < registration_cv(image, mask, 1.5) < registration_cv(image, mask, 2.0)
    assert registration_cv(image, mask, 100.0) == pytest.approx(math.sqrt(3))


def test_an_even_field_hides_a_shift():
    image, mask = blob()
    even = image.with_array(np.ones(image.array.shape))
    assert registration_cv(even, mask, 2.0) == pytest.approx(0, abs=1e-6)
