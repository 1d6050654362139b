"""The estimator of virtual trials: like the fit of one patient, honest intervals, and every patient by itself."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import equinox as eqx
import jax
import numpy as np
import pytest

from calibration import noise
from calibration.batched import (
    BLOCK,
    Fitted,
    Given,
    Shared,
    Status,
    Sweep,
    carried,
    laplace_batch,
    log_tia_sd,
    scans_of,
)
from calibration.batched_lanes import felt, kinds
from calibration.fit import calibrate
from calibration.sequential import drift_covariance
from dose.errors import InputError
from tests import synthetic_batched as batched
from tests import synthetic_cohort as cohort

PATIENTS = 5 * BLOCK
MEAN_WITHIN, SD_WITHIN = 0.2, 0.08
"""Of a posterior sd, and of one. The two walk to one optimum by other ways and stop when near; `SWEEPS` trade a few per
cent of an interval for a third of the time."""
AWAY = (0.02, 1e-3)
"""Steps (log) of the central differences that slopes are held against, and what solves at the planning tolerance and
the curvature over that step leave of them."""


@cache
def case():
    """Truth of `PATIENTS` drawn from the prior, and their posteriors."""
    of = batched.setting()
    truth = batched.drawn(of, PATIENTS, 3)
    return of, truth, batched.estimated(of, truth.log_observed)


def test_the_posterior_is_that_of_the_fit_of_one_patient():
    of, truth, _ = case()
    course, few = of.body.first, 5
    seen = [_observed(of, truth.log_observed[:, k]) for k in range(few)]
    errors = [noise.errors(each) for each in seen]
    own = np.stack([np.diag(e.sd**2) for e in errors])
    shared = Shared(errors[0].shared.loads, np.diag(errors[0].shared.sd ** 2))
    start = np.zeros((of.parameters, few))
    names, prior = of.body.prior.names, of.body.prior.covariance
    found = laplace_batch(course.kinetics, course.nuclide, of.given, names, start, prior, of.scans,
                          truth.log_observed[:, :few], own, shared=shared)  # fmt: skip
    ones = [calibrate((course,), each, of.body.prior, method="laplace", draws=2) for each in seen]
    plain = [k for k, one in enumerate(ones) if not one.warnings]
    assert len(plain) >= 3, "sds that a missed curve widened are not compared"
    for k in plain:
        one = ones[k]
        sd = np.sqrt(np.diag(one.covariance))
        assert np.max(np.abs(found.mean[:, k] - one.map_log) / sd) < MEAN_WITHIN
        away = (found.covariance[k] - one.covariance) / np.outer(sd, sd)
        assert np.max(np.abs(np.diag(away))) < 2 * SD_WITHIN
        assert np.max(np.abs(away)) < 2 * SD_WITHIN
        assert found.chi2[k] == pytest.approx(one.chi2, abs=0.1)
        assert np.max(np.abs(found.mean[:, k - 1] - one.map_log) / sd) > MEAN_WITHIN, "another patient's fits as well"


def _observed(of, log_activity):
    activity = np.exp(log_activity)
    return replace(of.seen, activity_MBq=activity, sd_MBq=cohort.COUNTING_SD * activity)


def test_more_sweeps_come_closer_to_the_optimum():
    of, truth, quick = case()
    log_seen = truth.log_observed[:, :BLOCK]
    far, near = (batched.estimated(of, log_seen, sweeps=s) for s in ((Sweep(True, 1),), (Sweep(True, 5),) * 3))
    sd = np.sqrt(np.diagonal(near.covariance, axis1=1, axis2=2)).T
    away = lambda fitted: np.max(np.abs(fitted.mean[:, :BLOCK] - near.mean) / sd)
    assert away(quick) < MEAN_WITHIN < away(far)
    assert np.all(near.status == Status.OK)
    assert np.mean(far.status == Status.NOT_CONVERGED) > 0.5


def test_a_block_gives_the_same_bit_for_bit_alone_or_among_others():
    of, truth, whole = case()
    second = slice(BLOCK, 2 * BLOCK)
    alone = batched.estimated(of, truth.log_observed[:, second])
    for name, among in whole._asdict().items():
        patient_last = name not in ("covariance", "given_errors", "follow")
        mine = among[..., second] if patient_last else among[second]
        np.testing.assert_array_equal(mine, getattr(alone, name), err_msg=name)


def test_a_partly_filled_block_hardly_changes_its_patients():
    of, truth, whole = case()
    few = batched.estimated(of, truth.log_observed[:, :3])
    assert few.mean.shape == (of.parameters, 3)
    assert few.covariance.shape == (3, of.parameters, of.parameters)
    np.testing.assert_allclose(few.log_tia, whole.log_tia[:, :3], atol=0.03)


def test_slopes_of_the_integrals_are_their_central_differences():
    of, _, found = case()
    k, (step, tolerance) = 1, AWAY
    moved = felt(of.body.prior.names, of.body.organs, of.scans)
    shift = step * np.eye(of.parameters)[moved]
    tia = cohort.log_tia(of.body, np.concatenate([found.mean[:, k] + shift, found.mean[:, k] - shift]))
    central = (tia[:, : len(moved)] - tia[:, len(moved) :]) / (2 * step)
    np.testing.assert_allclose(found.tia_slope[:, moved, k], central, atol=0.02)
    exact = batched.estimated(of, case()[1].log_observed[:, :BLOCK], sweeps=(Sweep(True, 6),) * 3 + (Sweep(True, 0),))
    tia = cohort.log_tia(of.body, np.concatenate([exact.mean[:, k] + shift, exact.mean[:, k] - shift]))
    central = (tia[:, : len(moved)] - tia[:, len(moved) :]) / (2 * step)
    np.testing.assert_allclose(exact.tia_slope[:, moved, k], central, atol=tolerance)
    assert np.max(np.abs(exact.tia_slope[:, moved, k + 1] - central)) > 10 * tolerance, "another patient's pass"


def test_integrals_and_activities_are_those_of_the_model_at_the_mean():
    of, _, found = case()
    offsets = found.mean.T[:8]
    np.testing.assert_allclose(found.log_activity[:, :8], np.log(cohort.shown(of.body, of.seen, offsets)), atol=2e-3)
    log_tia = found.log_tia[:, :8] + np.log(of.given.activity_MBq)
    np.testing.assert_allclose(log_tia, cohort.log_tia(of.body, offsets), atol=2e-3)


def test_errors_of_the_time_integrals_are_as_large_as_stated():
    of, truth, found = case()
    errors = batched.standardised(found, log_tia_sd(found), truth.log_tia, of.given.activity_MBq)
    assert np.mean(found.status == Status.OK) > 0.97
    assert set(found.status) <= {Status.OK, Status.NOT_CONVERGED}
    assert np.all(np.abs(np.std(errors, axis=1) - 1) < 0.15)
    assert np.all(np.abs(batched.covered(errors) - 0.90) <= 0.05)


def test_intervals_from_half_the_noise_cover_too_little():
    of, truth, _ = case()
    found = batched.estimated(of, truth.log_observed, part=0.5)
    errors = batched.standardised(found, log_tia_sd(found), truth.log_tia, of.given.activity_MBq)
    assert batched.covered(errors)[batched.KIDNEY] < 0.85
    assert np.std(errors[batched.KIDNEY]) > 1.15


def test_a_second_cycle_narrows_the_posterior():
    of, one, again = _two_cycles()
    two = batched.estimated(of, again, carried(one, np.zeros_like(of.body.prior.covariance)))
    assert np.all(np.linalg.eigvalsh(one.given_errors - two.given_errors).min(axis=1) > -0.02)
    assert np.all(np.trace(two.given_errors, axis1=1, axis2=2) < np.trace(one.given_errors, axis1=1, axis2=2))
    assert np.mean(log_tia_sd(two) < log_tia_sd(one)) > 0.9


def test_drift_widens_between_cycles_and_scans_narrow_again():
    of, one, again = _two_cycles()
    mean, covariance, follow = carried(one, drift_covariance(of.body.prior.names, 1))
    two = batched.estimated(of, again, (mean, covariance, follow))
    before = log_tia_sd(one._replace(covariance=one.covariance + covariance - one.given_errors))
    assert np.all(before > log_tia_sd(one))
    assert np.mean(log_tia_sd(two) < before) > 0.99


def test_errors_of_the_camera_do_not_average_away_over_cycles():
    of, one, again = _two_cycles()
    nothing = np.zeros_like(of.body.prior.covariance)
    two = batched.estimated(of, again, carried(one, nothing))
    forgetful = batched.estimated(of, again, (one.mean, one.covariance, None))
    assert np.median(log_tia_sd(forgetful)[batched.KIDNEY] / log_tia_sd(two)[batched.KIDNEY]) < 0.98


@cache
def _two_cycles():
    """The first block after one cycle, and what its next scans show of the same truth with the same shared errors."""
    of, truth, first = case()
    leading = ("covariance", "given_errors", "follow")
    one = Fitted(**{n: x[:BLOCK] if n in leading else x[..., :BLOCK] for n, x in first._asdict().items()})
    exact = np.log(cohort.shown(of.body, of.seen, truth.offsets[:BLOCK]))
    own = of.errors.sd[:, None] * np.random.default_rng(4).standard_normal(exact.shape)
    return of, one, exact + of.errors.shared.loads @ truth.errors[:BLOCK].T + own


def test_without_a_scan_a_patient_keeps_the_prior_and_does_not_touch_the_others():
    of, truth, whole = case()
    log_seen = truth.log_observed[:, :BLOCK].copy()
    log_seen[:, 5] = np.nan
    found = batched.estimated(of, log_seen)
    others = np.arange(BLOCK) != 5
    assert found.status[5] == Status.OK
    assert found.chi2[5] == 0
    np.testing.assert_allclose(found.mean[:, 5], 0, atol=1e-12)
    np.testing.assert_allclose(found.covariance[5], of.body.prior.covariance, atol=1e-12)
    np.testing.assert_allclose(found.log_tia[:, others], whole.log_tia[:, :BLOCK][:, others], atol=0.03)


def test_a_region_without_scans_follows_through_correlation_alone():
    of, _, found = case()
    names = of.body.prior.names
    known, kept = names.index("receptor_density/submandibular"), names.index("receptor_density/prostate")
    parotid = names.index("receptor_density/parotid")
    np.testing.assert_allclose(found.mean[kept], 0, atol=1e-12)
    assert np.corrcoef(found.mean[known], found.mean[parotid])[0, 1] > 0.99
    assert np.all(found.covariance[:, known, known] < of.body.prior.covariance[known, known])
    np.testing.assert_allclose(found.covariance[:, kept, kept], of.body.prior.covariance[kept, kept], rtol=1e-9)


def test_patients_that_cannot_be_solved_are_marked_and_stop_nobody():
    of, truth, whole = case()
    course, log_seen = of.body.first, truth.log_observed[:, :4].copy()
    kin = jax.tree.map(lambda x: np.repeat(np.asarray(x), 4, axis=-1), course.kinetics)
    release = kin.release.copy()
    release[:, 0] = -1.0
    log_seen[0, 1] = np.inf
    mean = np.zeros((of.parameters, 4))
    mean[:, 2] = 500.0
    found = laplace_batch(eqx.tree_at(lambda k: k.release, kin, release), course.nuclide, of.given,
                          of.body.prior.names, mean, of.body.prior.covariance, of.scans, log_seen,
                          np.diag(of.errors.sd**2), shared=batched.shared(of))  # fmt: skip
    assert found.status.tolist() == [Status.IMPOSSIBLE, Status.NOT_FINITE, Status.STEP_LIMIT, Status.OK]
    assert np.all(np.isnan(found.mean[:, :3]))
    assert np.all(np.isnan(found.covariance[:3]))
    np.testing.assert_allclose(found.log_tia[:, 3], whole.log_tia[:, 3], atol=0.03)


def test_where_nobody_can_be_solved_all_is_nan():
    of, truth, _ = case()
    bad = of.body.prior.covariance - 10 * np.eye(of.parameters)
    found = batched.estimated(of, truth.log_observed[:, :2], (np.zeros((of.parameters, 2)), bad, None))
    assert found.status.tolist() == [Status.NOT_FINITE] * 2
    assert all(np.all(np.isnan(x)) for x in found[:6])


@pytest.mark.parametrize("words", [{"infusion_h": 0.5}, {"cold_nmol": 200.0, "cold_lead_h": 1.0}])
def test_infusions_and_cold_ligand_are_those_of_the_model(words):
    of, bolus = batched.setting(**words), batched.setting()
    offsets = np.random.default_rng(0).multivariate_normal(
        np.zeros(of.parameters), of.body.prior.covariance, size=4, method="eigh"
    )
    exact = np.log(cohort.shown(of.body, of.seen, offsets))
    prior = offsets.T, of.body.prior.covariance, None
    assert np.max(batched.estimated(of, exact, prior, sweeps=(Sweep(True, 0),)).chi2) < 1e-3
    assert np.min(batched.estimated(bolus, exact, prior, sweeps=(Sweep(True, 0),)).chi2) > 1e-3


def test_amounts_and_activities_may_be_each_patients_own():
    of, truth, whole = case()
    course, two = of.body.first, np.array([7400.0, 3700.0])
    log_seen = np.repeat(truth.log_observed[:, :1], 2, axis=1) + np.log(two / 7400.0)
    found = laplace_batch(course.kinetics, course.nuclide, Given(two, np.array([90.0, 90.0])), of.body.prior.names,
                          np.zeros((of.parameters, 2)), of.body.prior.covariance, of.scans, log_seen,
                          np.diag(of.errors.sd**2))  # fmt: skip
    np.testing.assert_allclose(found.mean[:, 0], found.mean[:, 1], atol=1e-6)
    np.testing.assert_allclose(np.diff(found.log_activity, axis=1), np.log(0.5), atol=1e-6)
    more = laplace_batch(course.kinetics, course.nuclide, Given(two, np.array([90.0, 180.0])), of.body.prior.names,
                         np.zeros((of.parameters, 2)), of.body.prior.covariance, of.scans, log_seen,
                         np.diag(of.errors.sd**2))  # fmt: skip
    assert np.max(np.abs(np.diff(more.mean, axis=1))) > 0.01


def test_only_parameters_that_scans_can_feel_have_lanes():
    of, _, _ = case()
    names, organs = of.body.prior.names, of.body.organs
    moved = [names[k] for k in felt(names, organs, of.scans)]
    assert {"filtration", "protein_binding", "release/tumour_rest", "kPS/parotid"} <= set(moved)
    assert not any(name.endswith(("spleen", "gi", "prostate", "lacrimal")) for name in moved)
    body = scans_of(("whole_body",), (24.0,), organs, ("kidneys",))
    assert {names[k].partition("/")[2] for k in felt(names, organs, body)} == {
        "", "kidney_left", "kidney_right", "tumour_rest",
    }  # fmt: skip


def test_kinds_move_together_and_share_an_organs_change():
    of, _, _ = case()
    names, organs = of.body.prior.names, of.body.organs
    groups = kinds(names, organs, scans_of(("kidneys", "liver"), (24.0,), organs))
    assert len(groups) < 8
    together = next(g for g in groups if names[g.parameters[0]].startswith("release"))
    share = dict(zip((names[k] for k in together.parameters), together.of_activity.T, strict=True))
    np.testing.assert_allclose(share["release/kidney_left"], [0.5, 0.0])
    np.testing.assert_allclose(share["release/liver"], [0.0, 1.0])
    np.testing.assert_allclose(share["release/tumour_rest"], 0.0)


def test_shapes_and_sweeps_that_do_not_fit_are_refused():
    of, truth, _ = case()
    with pytest.raises(InputError, match="log_seen"):
        batched.estimated(of, truth.log_observed[:-1, :2])
    with pytest.raises(InputError, match="last one of each parameter"):
        batched.estimated(of, truth.log_observed[:, :2], sweeps=(Sweep(False, 6),))
