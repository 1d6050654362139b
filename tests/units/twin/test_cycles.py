"""A posterior carried from scan to scan and cycle to cycle: what is kept, what is forecast, what is saved."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration import noise
from calibration.observations import Observations
from dose.errors import InputError
from pbpk.administration import Administration
from tests import synthetic
from twin import store
from twin.body import body_of
from twin.forecast import activities, cycle_draws
from twin.ledger import score
from twin.verbs import adapt, calibrate, predict

SECOND = Administration(2, 1008.0, 7400.0, 90.0, 0.0, "PSMA-617", "177Lu")


def scans_of_cycle_2(study, offsets, rng, times_h=(24.0, 168.0)):
    """Noisy scans of the second cycle, whose uptake is that of the first."""
    from calibration.forward import pool_weights

    body = body_of(replace(study, administrations=(*study.administrations, SECOND)))
    weights = np.stack([pool_weights(r, body.organs, frozenset()) for r in synthetic.REGIONS])
    minutes = np.array([body.first.minute(2, t) for t in times_h])
    exact = activities(body, body.prior.names, body.first, minutes, weights, offsets[None])[..., 0].reshape(-1)
    rows, n = tuple(r for r in synthetic.REGIONS for _ in times_h), len(exact)
    obs = Observations(rows, np.tile(times_h, len(synthetic.REGIONS)), exact, 0.03 * exact, np.full(n, np.nan),
                       ("SPECT",) * n, (2,) * n)  # fmt: skip
    noisy = exact * np.exp(noise.log_sd(obs) * rng.standard_normal(n))
    return replace(obs, activity_MBq=noisy, sd_MBq=0.03 * noisy)


@pytest.fixture(scope="module")
def first():
    rng = np.random.default_rng(8)
    study, offsets = synthetic.with_scans(synthetic.empty_study(), rng)
    return calibrate(study), scans_of_cycle_2(study, offsets, rng)


@pytest.fixture(scope="module")
def second(first):
    return adapt(*first, (SECOND,))


def test_the_first_cycle_s_posterior_is_kept(first, second):
    assert [cycle for cycle, _ in second.earlier] == [1]
    assert second.earlier[0][1] is first[0].posterior
    assert second.cycle == 2


def test_calibrating_all_at_once_is_the_same_chain(second):
    whole = calibrate(second.study)
    np.testing.assert_allclose(whole.posterior.map_log, second.posterior.map_log, atol=1e-9)


def test_each_cycle_has_its_own_parameters_and_they_belong_together(second):
    sets = cycle_draws(second)
    k = second.posterior.names.index("receptor_density/kidney_left")
    assert np.corrcoef(sets[1][:, k], sets[2][:, k])[0, 1] > 0.3
    assert not np.allclose(sets[1], sets[2])


def test_scans_of_the_second_cycle_narrow_it(first, second):
    given = (*first[0].study.administrations, SECOND)
    forecast, seen = predict(first[0], given), predict(second)
    k = seen.regions.index("kidney_left")
    spread = lambda report: np.std(np.log(report.tia_MBq_h[:, 1, k]))
    assert spread(seen) < 0.9 * spread(forecast)
    assert seen.kind == ("assimilated", "assimilated")
    assert forecast.kind == ("assimilated", "forecast")


def test_the_camera_s_error_does_not_average_away_over_cycles(second):
    report = predict(second)
    k = report.regions.index("liver")
    both = np.log(report.tia_MBq_h[:, :, k].sum(axis=1))
    camera = second.posterior.error("calibration/SPECT")
    # a liver seen in five scans of two cycles is known no better than the camera (5 %) is
    assert both.std() > 0.045
    for cycle in (0, 1):
        assert np.corrcoef(np.log(report.tia_MBq_h[:, cycle, k]), camera)[0, 1] < -0.4


def test_a_cycle_that_falls_out_of_its_forecast_is_said(first):
    twin, later = first
    fallen = replace(later, activity_MBq=later.activity_MBq * np.where(np.array(later.region) == "tumour_1", 0.35, 1.0))
    said = adapt(twin, fallen, (SECOND,)).posterior.warnings
    assert any("tumour_1: cycle 2 shows" in text for text in said)
    assert not any("kidney_left: cycle 2 shows" in text for text in said)


def test_an_administration_alone_is_recorded(first):
    twin, _ = first
    given = adapt(twin, Observations.empty(), (SECOND,))
    assert given.study.administrations[-1] == SECOND
    assert given.posterior is twin.posterior


def test_a_lesion_that_is_new_has_the_spread_of_its_kind_before_it_is_scanned(first):
    twin, _ = first
    study = replace(twin.study, volumes_mL=twin.study.volumes_mL | {"tumour_2": 10.0})
    report = predict(replace(twin, study=study))
    spread = np.std(np.log(report.tia_MBq_h[:, 0, report.regions.index("tumour_2")]))
    assert spread > 0.3


def test_a_cycle_between_measured_ones_is_less_certain_than_they(first, second):
    third = Administration(3, 2016.0, 7400.0, 90.0, 0.0, "PSMA-617", "177Lu")
    given = (*second.study.administrations, third)
    report = predict(second, given)
    k = report.regions.index("kidney_left")
    spread = np.std(np.log(report.tia_MBq_h[:, :, k]), axis=0)
    assert spread[2] > 1.2 * spread[1]
    alone = replace(second, earlier=())
    assert np.std(np.log(predict(alone).tia_MBq_h[:, 0, k])) > 1.2 * spread[1]


def test_a_measurement_twice_is_refused(first):
    twin, _ = first
    with pytest.raises(InputError, match="twice"):
        adapt(twin, twin.study.observations.select([True] + [False] * 14))


def test_forecasts_are_scored(second):
    done = score(second.ledger)
    assert done.forecasts == len(second.ledger) == 10
    assert 0.5 <= done.inside90 <= 1.0
    assert 0 < done.crps < 0.5
    assert score(()) is None


def test_a_later_scan_of_the_same_cycle_adds_to_it_without_drift(first):
    twin, _ = first
    obs = twin.study.observations
    early, late = obs.select(obs.time_h < 100), obs.select(obs.time_h > 100)
    stepwise = adapt(calibrate(replace(twin.study, observations=early)), late)
    assert stepwise.earlier == ()
    k = predict(twin).regions.index("kidney_left")
    tia = [np.median(predict(t).tia_MBq_h[:, 0, k]) for t in (stepwise, twin)]
    # the second step is a normal's: a few per cent of the joint fit, whose own sd is 7 %
    assert tia[0] == pytest.approx(tia[1], rel=0.05)


def test_a_saved_twin_forecasts_the_same(second, tmp_path):
    again = store.open(store.save(second, tmp_path / "p"))
    assert again.ledger == second.ledger
    np.testing.assert_array_equal(predict(again).dose_Gy, predict(second).dose_Gy)
