"""Gamma index against closed forms and pymedphys, and the summary of differences."""

import math

import numpy as np
import pytest

from dose.errors import InputError
from dose.gamma import dose_difference, gamma_index

AXES = [np.arange(24) * 2.5, np.arange(20) * 3.0, np.arange(22) * 2.0]
SPACING = (2.5, 3.0, 2.0)

PYMEDPHYS = {
    ("global", 2.0, 2.0): (98.7746, 0.38361),
    ("global", 3.0, 3.0): (99.7117, 0.26564),
    ("global", 1.0, 3.0): (98.9188, 0.30268),
    ("local", 2.0, 2.0): (98.1499, 0.42673),
    ("local", 3.0, 3.0): (98.8227, 0.30191),
    ("local", 1.0, 3.0): (98.7266, 0.32716),
}
"""Percent passing and mean gamma of `pair` by `pymedphys.gamma` 0.41.0 (interp_fraction 10, max_gamma 2, cutoff 20)."""


def pair() -> tuple[np.ndarray, np.ndarray]:
    """A hot spot, and one that is shifted, larger, hotter and rippled."""
    z, y, x = np.meshgrid(*AXES, indexing="ij")
    first = 50 * np.exp(-((z - 30) ** 2 + (y - 28) ** 2 + (x - 21) ** 2) / (2 * 12**2)) + 5
    other = 51 * np.exp(-((z - 30.8) ** 2 + (y - 28) ** 2 + (x - 21.7) ** 2) / (2 * 12.3**2)) + 5.1
    return first, other + 0.3 * np.sin(z) * np.cos(1.3 * x)


@pytest.mark.parametrize(("normalisation", "percent", "mm"), PYMEDPHYS)
def test_gamma_agrees_with_pymedphys(normalisation, percent, mm):
    """0.4 points of pass rate and 0.01 of the mean: both search a grid, not the same one (ours is denser)."""
    passing, mean = PYMEDPHYS[normalisation, percent, mm]
    found = gamma_index(
        *pair(), SPACING, dose_percent=percent, distance_mm=mm, normalisation=normalisation, threshold_percent=20.0
    )
    assert np.isfinite(found.gamma).sum() == 4162
    assert found.pass_percent == pytest.approx(passing, abs=0.4)
    assert np.nanmean(found.gamma) == pytest.approx(mean, abs=0.01)


def test_a_dose_that_is_off_everywhere_has_the_ratio_of_the_criterion():
    """Nothing nearby helps in an even field: 3 % off by the 2 % criterion is 1.5."""
    reference = np.full((6, 6, 6), 10.0)
    found = gamma_index(reference, reference * 1.03, (3.0, 3.0, 3.0))
    np.testing.assert_allclose(found.gamma, 1.5, rtol=1e-9)
    assert found.pass_percent == 0
    assert gamma_index(reference, reference * 1.019, (3.0, 3.0, 3.0)).pass_percent == 100


def test_a_shifted_slope_has_the_distance_between_lines():
    """D = g x shifted by s: gamma = s / sqrt(dta^2 + (dd/g)^2); 3 %, what a search of 0.1 dta steps leaves."""
    x = np.arange(40) * 2.0
    reference = np.broadcast_to(100 + 2.0 * x, (9, 9, 40)).copy()
    shift, mm, percent = 1.5, 2.0, 1.0
    found = gamma_index(reference, reference - 2.0 * shift, (2.0, 2.0, 2.0), dose_percent=percent, distance_mm=mm)
    allowed = percent / 100 * reference.max()
    expected = shift / math.hypot(mm, allowed / 2.0)
    np.testing.assert_allclose(found.gamma[4, 4, 10:30], expected, rtol=0.03)


def test_equal_maps_have_none_and_the_low_dose_is_not_judged():
    first, _ = pair()
    found = gamma_index(first, first, SPACING, threshold_percent=50.0)
    assert np.nanmax(found.gamma) == 0
    assert np.isnan(found.gamma).mean() > 0.5
    inside = np.zeros(first.shape, bool)
    inside[10:12] = True
    assert np.isfinite(gamma_index(first, first, SPACING, inside=inside).gamma).sum() < inside.sum() + 1


def test_local_is_harder_than_global_below_the_maximum():
    first, other = pair()
    easy, hard = (
        gamma_index(first, other, SPACING, normalisation=way, threshold_percent=20.0).pass_percent
        for way in ("global", "local")
    )
    assert hard < easy


@pytest.mark.parametrize(
    "change",
    [
        {"tested_Gy": np.ones((2, 2, 2))},
        {"tested_Gy": np.full((4, 4, 4), np.nan)},
        {"reference_Gy": np.zeros((4, 4, 4))},
        {"dose_percent": 0.0},
        {"distance_mm": -1.0},
        {"spacing_mm": (1.0, 1.0)},
        {"normalisation": "regional"},
    ],
)
def test_gamma_refuses(change):
    arguments = {"reference_Gy": np.ones((4, 4, 4)), "tested_Gy": np.ones((4, 4, 4)), "spacing_mm": (1.0, 1.0, 1.0)}
    with pytest.raises(InputError):
        gamma_index(**(arguments | change))


def test_differences_are_summed_up_by_hand():
    reference = np.array([[[1.0, 2.0, 4.0, 0.01]]])
    tested = np.array([[[1.1, 1.9, 4.0, 9.0]]])
    found = dose_difference(reference, tested)
    assert found.voxels == 3
    assert found.mean_percent == pytest.approx((7.0 / 7.0 - 1) * 100)
    assert found.median_percent == pytest.approx(0.0)
    assert found.rms_percent == pytest.approx(math.sqrt((10**2 + 5**2) / 3))
    assert found.worst_percent == pytest.approx(10.0)
    assert found.p95_percent == pytest.approx(9.5)
    with pytest.raises(InputError, match="no voxel"):
        dose_difference(reference, tested, inside=np.zeros(reference.shape, bool))
