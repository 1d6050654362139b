"""Doses as they stood earlier are those of the data up to then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from calibration.observations import Observations
from pbpk.administration import Administration
from twin.report.history import as_of, stages, without_last_scan


@pytest.fixture
def second(patient):
    """The twin after a second cycle, measured at 24 and 96 h."""
    study, one = patient.study, (1.0, 1.0)
    new = Observations(("liver",) * 2, (24.0, 96.0), (20.0, 5.0), one, one, ("SPECT",) * 2, (2, 2))
    given = (*study.administrations, Administration(2, 1344.0, 7400.0, 90.0, 0.0, "PSMA-617", "177Lu"))
    after = replace(patient.posterior, chi2=9.0)
    study = replace(study, observations=study.observations.join(new), administrations=given)
    return replace(patient, study=study, posterior=after, earlier=((1, patient.posterior),))


@pytest.fixture
def asked(monkeypatch, second):
    """What is calibrated and predicted, instead of doing so."""
    seen = []

    def calibrate(study, **kwargs):
        seen.append((study.observations, kwargs))
        return replace(second, study=study, earlier=())

    monkeypatch.setattr("twin.verbs.calibrate", calibrate)
    monkeypatch.setattr("twin.verbs.predict", lambda twin: twin)
    return seen


def test_a_twin_as_of_a_cycle_knows_nothing_later(second):
    first = as_of(second, 1)
    assert set(first.study.observations.cycle) == {1}
    assert first.posterior.chi2 == 2.5
    assert (first.earlier, first.ledger) == ((), ())
    assert [a.cycle for a in first.study.administrations] == [1, 2]
    assert as_of(second, 2) is second


def test_stages_begin_with_the_population(second, asked):
    found = stages(second, seed=4)
    assert [(s.words, s.cycle) for s in found] == [("none", None), ("cycle 1", 1), ("+ cycle 2", 2)]
    observations, kwargs = asked[0]
    assert len(observations) == 0
    assert (kwargs["seed"], kwargs["draws"]) == (4, 40)


def test_there_are_no_stages_without_measurements_or_therapy(second, asked):
    study = second.study
    assert stages(replace(second, study=replace(study, observations=Observations.empty()))) == ()
    assert stages(replace(second, study=replace(study, administrations=()))) == ()


def test_the_last_scan_is_the_latest_of_the_last_cycle(second, asked):
    without_last_scan(second)
    observations, _ = asked[0]
    assert sorted(zip(observations.cycle, observations.time_h, strict=True))[-1] == (2, 24.0)
    assert len(observations) == 4
