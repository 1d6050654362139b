"""Ranges of networks: what is no number, what a number must be, and what is said later against a network."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import InputError
from dose.learning.ranges import Choice, not_negative, outside, positive, stated, whole, with_reasons


@pytest.mark.parametrize("value", ["208", None, "4x8", [208.0], 1j])
def test_what_is_no_number_is_said_to_be_none(value):
    assert "which is no number" in outside({"keV": (200.0, 210.0)}, {"keV": value})[0]
    assert outside({"keV": (200.0, 210.0)}, {"keV": np.float32(208.0)}) == ()
    for check in (positive, not_negative, whole):
        with pytest.raises(InputError, match="keV"):
            check(keV=value)


def test_numbers_are_checked_by_what_they_must_be():
    positive(a=1, b=np.float32(0.5), c=np.array(2.0))
    not_negative(a=0, b=0.0)
    whole(a=0, b=np.int64(3))
    for check, value in ((positive, 0), (positive, math.nan), (not_negative, -1), (whole, 2.5), (whole, -1)):
        with pytest.raises(InputError, match="steps"):
            check(steps=value)
    assert stated(a=None, b=0) == {"b": 0}


def test_more_that_speaks_against_the_network_is_added_and_heeded_by_auto():
    network = Choice("network", ("noise",))
    assert with_reasons(network, "auto", ("ct",)) == Choice("classical", ("noise", "ct"))
    assert with_reasons(network, "network", ("ct",)) == Choice("network", ("noise", "ct"))
    assert with_reasons(network, "auto", ()) == network
