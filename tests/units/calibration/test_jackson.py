"""Jackson's solver: the published case, the points it passes through, and the values it moves first."""

import math

import numpy as np
import pytest

from calibration.jackson import jackson_three_point
from dose.errors import InputError

HALF_LIFE_H = 161.04
DECAY = math.log(2) / HALF_LIFE_H
CASE = ([4.0, 24.0, 72.0], [1200.0, 600.0, 400.0])


def test_v04_amplitudes_slopes_and_integral():
    found = jackson_three_point(*CASE, HALF_LIFE_H)
    # 1e-5: V04's tolerance; 1e-3 on slopes' last printed digit would be looser
    assert found.amplitudes == pytest.approx((-1915.562, 1180.715, 734.847), rel=1e-5)
    assert found.slopes_per_h == pytest.approx((-1.3, -0.215784, -0.00414300), rel=1e-5)
    assert found.tia_MBq_h == pytest.approx(90889.155, rel=1e-5)
    assert found.tia_MBq_h * 8.67e-5 == pytest.approx(7.88009, rel=1e-5)
    assert found.notes == ()


def test_v04_values_that_are_already_decay_corrected_are_seen():
    """Negative control: correcting twice moves the integral out of 1e-5 (the half-life alone cancels in this case)."""
    twice = np.array(CASE[1]) * np.exp(DECAY * np.array(CASE[0]))
    assert jackson_three_point(CASE[0], twice, HALF_LIFE_H).tia_MBq_h != pytest.approx(90889.155, rel=0.1)


def test_the_curve_starts_at_zero_and_meets_the_scans():
    found = jackson_three_point(*CASE, HALF_LIFE_H).curve
    assert found.activity_MBq(0.0) == pytest.approx(0.0, abs=1e-9)
    # the second scan is missed by the middle phase's 1 percent; the first by the uptake, exp(-1.3 * 4) of the amplitude
    assert found.activity_MBq(24.0) == pytest.approx(600.0 * 1.01, rel=1e-6)
    assert found.activity_MBq(72.0) == pytest.approx(400.0, rel=1e-4)
    assert found.activity_MBq(4.0) == pytest.approx(1200.0, rel=0.01)


def test_the_integral_is_linear_in_activity():
    one, ten = (jackson_three_point(CASE[0], scale * np.array(CASE[1]), HALF_LIFE_H) for scale in (1.0, 10.0))
    assert ten.tia_MBq_h == pytest.approx(10 * one.tia_MBq_h, rel=1e-12)


def corrected(values):
    """Activities whose decay-corrected values are these."""
    return np.array(values) * np.exp(-DECAY * np.array(CASE[0]))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ([100.0, 80.0, 60.0], ""),
        ([100.0, 70.0, 100.0], "24 h"),
        ([50.0, 60.0, 100.0], "24 h"),
        ([50.0, 90.0, 120.0], ""),
        ([100.0, 80.0, 2.0], "72 h"),
        ([5.0, 80.0, 60.0], "4 h"),
        ([100.0, 100.0, 99.0], "24 h"),
    ],
    ids=["falls", "dips", "dips in a rise", "rises", "ends early", "begins late", "flat"],
)
def test_every_pattern_gives_a_positive_curve_that_ends_and_moved_values_are_said(values, word):
    found = jackson_three_point(CASE[0], corrected(values), HALF_LIFE_H)
    t = np.linspace(0.01, 500, 2000)
    assert np.all(found.curve.activity_MBq(t) > -1e-9)
    assert min(found.curve.rates_per_h) >= DECAY
    assert found.tia_MBq_h > 0
    assert (word in " ".join(found.notes)) if word else found.notes == ()


@pytest.mark.parametrize(
    ("times", "values"),
    [([4, 24], [1, 2]), ([24, 4, 72], [1, 2, 3]), ([0, 24, 72], [1, 2, 3]), ([4, 24, 72], [1, 0, 3])],
)
def test_anything_but_three_increasing_scans_is_refused(times, values):
    with pytest.raises(InputError, match="three increasing"):
        jackson_three_point(times, values, HALF_LIFE_H)
