"""Which scans to make, asked of a twin."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.errors import InputError
from tests import synthetic
from twin.designs import best_scans
from twin.patient import PatientTwin
from twin.verbs import calibrate


@pytest.fixture(scope="module")
def table():
    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(2), times_h=(24.0,))
    return best_scans(calibrate(study), times_h=(4.0, 26.0, 120.0), scans=(1,))


def test_after_a_scan_at_24_h_a_late_one_is_worth_most(table):
    assert table.best(1).times_h == (120.0,)
    assert np.all(table.best(1).log_sd <= table.before_log_sd)


def test_the_usual_quantities_are_kidneys_glands_and_named_tumours(table):
    assert set(table.quantities) == {"kidneys", "parotid", "tumour_1", "tumour_rest"}


def test_without_a_therapy_cycle_there_is_nothing_to_scan():
    study = synthetic.empty_study()
    none = PatientTwin(replace(study, administrations=()), calibrate(study).posterior)
    with pytest.raises(InputError, match="cycle"):
        best_scans(none)
