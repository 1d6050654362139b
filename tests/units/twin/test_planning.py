"""The plan keeps its limits with the stated probability and names what stops it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.observations import Observations
from pbpk.administration import Administration
from pbpk.parameters import Covariates
from twin import planning
from twin.constraints import Limit, limit
from twin.patient import DoseReport, PatientTwin, Study

GIVEN = Administration(1, 0.0, 7400.0, 90.0, 0.0, "PSMA-617", "177Lu")


def patient(rng):
    study = Study("x", Covariates.of(), "PSMA-617", "177Lu", (GIVEN,), Observations.empty())
    return PatientTwin(study, None)


@pytest.fixture
def forecast(monkeypatch, rng):
    """Kidneys of 0.8 Gy/GBq with 20% spread and a BED of D (1 + 0.02 D); a tumour of 4 Gy/GBq."""
    per_GBq = 0.8 * np.exp(0.2 * rng.standard_normal((2000, 1)))

    def report(twin, administrations, observed):
        given = np.array([a.activity_MBq for a in administrations])
        kidneys = per_GBq * given / 1000
        dose = np.stack([kidneys, np.broadcast_to(4.0 * given / 1000, kidneys.shape)], axis=-1)
        bed = dose * (1 + 0.02 * dose)
        cycles = tuple(a.cycle for a in administrations)
        kind = ("forecast",) * len(cycles)
        return DoseReport(
            ("kidneys", "tumour_1"), cycles, given, kind, dose, bed, dose, np.ones(2), np.ones((len(cycles), 2))
        )  # fmt: skip

    monkeypatch.setattr(planning, "dose_report", report)
    return per_GBq[:, 0]


def kidney(value, quantity="bed_Gy"):
    return Limit("kidney", "kidneys", quantity, value, "test")


def test_a_loose_limit_leaves_the_cap_in_force(forecast, rng):
    plan = planning.plan(patient(rng), (kidney(200.0),))
    assert [a.activity_MBq for a in plan.administrations] == [7400.0] * 3
    assert set(plan.active_constraint) == {"activity cap per cycle"}


def test_the_limit_is_exceeded_in_five_per_cent_of_draws_and_named(forecast, rng):
    plan = planning.plan(patient(rng), (kidney(22.0),))
    assert 0.04 <= plan.probability_exceeded["kidney"] <= 0.05
    assert "kidney" in plan.active_constraint[0]


def test_a_dose_limit_matches_the_closed_form(forecast, rng):
    plan = planning.plan(patient(rng), (kidney(20.0, "dose_Gy"),))
    allowed = 1000 * 20.0 / np.quantile(forecast, 0.95) - 7400.0
    assert sum(a.activity_MBq for a in plan.administrations) == pytest.approx(allowed, abs=3.5)


def test_without_its_margin_the_plan_would_break_the_limit(forecast, rng):
    plan = planning.plan(patient(rng), (kidney(22.0),), probability=0.5)
    assert plan.probability_exceeded["kidney"] > 0.05


def test_a_limit_already_used_up_leaves_nothing_and_says_so(forecast, rng):
    plan = planning.plan(patient(rng), (kidney(3.0),))
    assert plan.administrations == ()
    assert any("already exceeded" in w for w in plan.warnings)


def test_all_cycles_given_plans_nothing(forecast, rng):
    plan = planning.plan(patient(rng), (kidney(22.0),), cycles=1)
    assert plan.administrations == ()
    assert "nothing to plan" in plan.warnings[0]


def test_a_limit_on_an_unknown_region_is_an_error(forecast, rng):
    with pytest.raises(ValueError, match="lungs"):
        planning.plan(patient(rng), (replace(kidney(2.0), region="lungs"),))


def test_a_misspelt_limit_suggests_the_nearest():
    with pytest.raises(ValueError, match="kidney_bed_40"):
        limit("kidney_bed_4")
