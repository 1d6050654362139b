"""Unit slips, contradictions and more activity than was given."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.observations import Observations
from calibration.suspicions import contradictions, more_than_given, unit_slips
from dose.errors import InputError
from dose.nuclides import radionuclide

GIVEN = {1: (7400.0, radionuclide("177Lu").decay_constant_per_h)}


def scans(activity_MBq, time_h=(24.0, 72.0), region="liver"):
    n = len(activity_MBq)
    sd = 0.03 * np.array(activity_MBq)
    return Observations((region,) * n, time_h, activity_MBq, sd, np.full(n, np.nan), ("SPECT",) * n, (1,) * n)


@pytest.mark.parametrize(("factor", "word"), [(1000.0, "more"), (1e-3, "less"), (600.0, "more")])
def test_a_slip_of_a_thousand_is_suspected_and_said(factor, word):
    said = unit_slips(scans([80.0 * factor, 40.0]), np.log([80.0, 40.0]))
    assert len(said) == 1
    assert "liver" in said[0]
    assert word in said[0]


@pytest.mark.parametrize("factor", [1.0, 5.0, 0.05, 30.0])
def test_an_unusual_patient_is_no_slip(factor):
    assert unit_slips(scans([80.0 * factor, 40.0]), np.log([80.0, 40.0])) == ()


def test_two_scans_of_one_morning_that_differ_twofold_contradict_each_other():
    assert "contradict" in contradictions(scans([80.0, 40.0], (24.0, 25.5)))[0]
    assert contradictions(scans([80.0, 76.0], (24.0, 25.5))) == ()
    assert contradictions(scans([80.0, 40.0], (24.0, 72.0))) == ()
    assert contradictions(scans([40.0, 80.0], (1.0, 3.0))) == ()  # uptake


def test_more_than_was_given_is_refused_with_the_unit_named():
    with pytest.raises(InputError, match="kBq"):
        more_than_given(scans([9000.0], (24.0,)), GIVEN)
    more_than_given(scans([6000.0], (24.0,)), GIVEN)


def test_kidneys_together_and_one_by_one_are_not_added():
    both = scans([3000.0], (24.0,), "kidneys").join(scans([3000.0], (24.0,), "kidney_left"))
    more_than_given(both.join(scans([3000.0], (24.0,), "kidney_right")), GIVEN)


def test_the_whole_body_is_counted_by_itself():
    more_than_given(scans([6000.0], (24.0,), "whole_body").join(scans([3000.0], (24.0,))), GIVEN)
