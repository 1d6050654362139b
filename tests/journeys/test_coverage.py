"""Intervals that mean what they say: coverage of a known truth, and contraction as scans are added."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.observations import Observations
from pbpk.administration import Administration
from tests import synthetic
from twin.verbs import calibrate

PATIENTS = 60
LOWEST, HIGHEST = 48, 59
"""A perfect 90% interval covers 54 of 60 on average and lies in this range 98 times in 100 (binomial)."""


@pytest.mark.slow
def test_intervals_cover_the_truth_and_a_posterior_four_times_too_narrow_does_not():
    cases = synthetic.cases(PATIENTS)
    right = np.sum([case.covers() for case in cases], axis=0)
    narrow = np.sum([case.covers(narrowing=4.0) for case in cases], axis=0)
    for k, region in enumerate(synthetic.REGIONS):
        assert LOWEST <= right[k] <= HIGHEST, f"{region}: {right[k]} of {PATIENTS}"
        assert narrow[k] < LOWEST, f"{region}: a posterior too narrow passed with {narrow[k]}"


def spread(study):
    """Log sd of the left kidney's TIA over the draws."""
    twin = calibrate(study, draws=203)
    return float(np.std(synthetic.log_tia(study, twin.posterior.names, twin.posterior.draws)[0]))


def test_the_kidney_interval_shrinks_as_scans_are_added(rng):
    # a PET an hour after 68Ga-PSMA-11 tells the receptor density, not the release; SPECT after 24 h tells both
    study, _ = synthetic.with_scans(synthetic.empty_study(), rng)
    pet = Administration(0, -336.0, 150.0, 3.0, 0.0, "PSMA-11", "68Ga")
    study = replace(study, administrations=(pet, *study.administrations))
    seen = Observations(("kidneys", "tumour_1"), [1.0] * 2, [12.0, 1.5], [0.4, 0.1], [np.nan] * 2, ("PET",) * 2, (0, 0))
    spect = study.observations
    one = spect.select(spect.time_h == 72.0)
    spreads = [spread(replace(study, observations=o)) for o in (seen, seen.join(one), seen.join(spect))]
    assert spreads[0] > spreads[1] > spreads[2]
