"""The bands of `tests.validate.checks_plausibility` let a plausible population through and stop others."""

from dataclasses import replace

import numpy as np
import pytest

import twin.body
from pbpk.parameters import ligand
from tests.validate.checks_plausibility import TRACERS, Cohort, found, name
from tests.validate.plausibility_bands import BANDS, PSMA

PATIENTS = 50


def band_of(region, quantity="dose_Gy_per_GBq", spread=False):
    (band,) = [b for b in BANDS if (b.tracer, b.region, b.quantity, b.spread) == (PSMA, region, quantity, spread)]
    return band


def people(monkeypatch, value=1.0, cv=1.0):
    """A cohort whose kidneys have `value` times the receptor density and `cv` times its spread."""
    drug = ligand("PSMA-617")
    key = ("receptor_density", "kidneys")
    row = replace(drug.rows[key], value=value * drug.rows[key].value, cv=cv * drug.rows[key].cv)
    monkeypatch.setattr(twin.body, "ligand", lambda _: replace(drug, rows=drug.rows | {key: row}))
    return Cohort.of(TRACERS[PSMA], PATIENTS)


def test_the_default_kidneys_pass_and_others_do_not(monkeypatch):
    band = band_of("kidneys")
    assert found(band, people(monkeypatch))[1]
    assert not found(band, people(monkeypatch, value=2.0))[1]


def test_the_spread_of_a_cohort_follows_that_of_its_parameters(monkeypatch):
    band = band_of("kidneys", spread=True)
    usual, narrow = (found(band, people(monkeypatch, cv=cv))[0][2] for cv in (1.0, 0.1))
    assert narrow < 0.9 * usual


def test_mirrored_pairs_have_the_default_patient_in_the_middle(monkeypatch):
    cohort = people(monkeypatch)
    dose = np.log(cohort.dose_Gy_per_GBq("kidneys", 0.0))
    assert np.mean(dose[1:]) == pytest.approx(dose[0], abs=0.1)


def test_what_leaves_the_body_is_at_least_the_urine(monkeypatch):
    cohort = people(monkeypatch)
    lost, urine = cohort.lost_percent("", 24.0), cohort.urine_percent("", 24.0)
    assert np.all((urine > 0) & (urine < lost) & (lost < 100))


def test_each_band_has_a_row_of_its_own_name():
    assert len({name(band) for band in BANDS}) == len(BANDS)
    assert all(band.low < band.high for band in BANDS)
