"""The pieces of a posterior: conditionals, the cut, the batched optimum, importance weights, scores, cycles."""

from __future__ import annotations

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from calibration import lanes, noise, sequential
from calibration.belief import Belief
from calibration.fit import calibrate, fit
from calibration.forward import log_activity, modelled
from calibration.importance import smoothed, weighted
from calibration.optimum import optimum
from calibration.scores import covered, crps, narrowed, ranks, uniformity
from dose.errors import InputError
from tests import synthetic
from tests.synthetic_cohort import shown, template
from twin.body import body_of


@pytest.fixture(scope="module")
def body():
    return body_of(synthetic.empty_study())


@pytest.fixture(scope="module")
def fitted(body):
    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(3))
    return fit(body.courses, study.observations, Belief.of(body.prior)), study.observations


def spread_of(n, rng):
    root = rng.normal(size=(n, n))
    return root @ root.T / n + np.eye(n)


def test_learning_two_things_at_once_or_one_after_the_other_is_the_same(rng):
    """A normal conditioned on two independent measurements of two entries, together and in turn."""
    belief = Belief(("a", "b", "c"), 2, rng.normal(size=3), spread_of(3, rng))

    def after(belief, rows, values):
        h, noise_sd = np.eye(3)[rows], 0.5
        gain = belief.covariance @ h.T @ np.linalg.inv(h @ belief.covariance @ h.T + noise_sd**2 * np.eye(len(rows)))
        mean = belief.mean + gain @ (values - h @ belief.mean)
        covariance = belief.covariance - gain @ h @ belief.covariance
        return belief.updated(np.array(rows), mean[rows], covariance[np.ix_(rows, rows)]), mean, covariance

    both, mean, covariance = after(belief, [0, 1], np.array([1.0, -1.0]))
    turn = after(after(belief, [0], np.array([1.0]))[0], [1], np.array([-1.0]))[0]
    assert both.mean == pytest.approx(mean)
    assert both.covariance == pytest.approx(covariance)
    assert turn.mean == pytest.approx(mean)
    assert turn.covariance == pytest.approx(covariance)


def test_filled_draws_have_the_belief_s_moments(rng):
    belief = Belief(("a", "b", "c"), 2, np.array([1.0, -1.0, 0.0]), spread_of(3, rng))
    known = belief.mean[:1] + np.sqrt(belief.covariance[0, 0]) * rng.standard_normal((40_000, 1))
    draws = belief.filled(np.array([0]), known, rng)
    assert draws.mean(axis=0) == pytest.approx(belief.mean, abs=0.03)  # 3 / sqrt(40 000) of an sd near 1.4
    assert np.cov(draws.T) == pytest.approx(belief.covariance, abs=0.1)


def test_differences_on_the_frozen_grid_are_derivatives(fitted):
    found, _ = fitted
    offsets = found.offsets
    automatic = jax.jacfwd(lambda x: log_activity(found.experiment, x))(jnp.asarray(offsets))
    _, differences = lanes.jacobian(found.experiment, offsets[:, None])
    # forward differences of step 1e-6: half the second derivative times the step
    np.testing.assert_allclose(differences[..., 0], automatic, atol=5e-6)


def test_lanes_do_not_know_of_each_other(fitted, rng):
    found, _ = fitted
    offsets = rng.normal(0, 0.2, (len(found.offsets), 70))
    every = lanes.evaluate(found.experiment, offsets).log_activity
    alone = lanes.evaluate(found.experiment, offsets[:, [61]]).log_activity
    np.testing.assert_allclose(every[:, 61], alone[:, 0], rtol=1e-12)


def test_the_optimum_is_one(fitted, rng):
    found, _ = fitted
    assert found.optimum.converged[0]
    around = found.optimum.z + 1e-2 * rng.standard_normal((len(found.offsets), 20))
    seen = lanes.evaluate(found.experiment, found.problem.offsets(around))
    loss = 0.5 * np.sum(found.problem.residual(seen.log_activity) ** 2, axis=0) + 0.5 * np.sum(around**2, axis=0)
    assert np.all(loss > found.optimum.loss[0])


def test_a_batch_finds_the_optimum_of_each_patient(fitted):
    found, obs = fitted
    from dataclasses import replace

    observed = np.repeat(found.problem.log_observed, 3, axis=1) + np.array([0.0, 0.2, -0.2])
    many = optimum(found.experiment, replace(found.problem, log_observed=observed), np.zeros((len(found.offsets), 3)))
    # a lane rests when its next step is below 1e-3 prior sd
    np.testing.assert_allclose(many.z[:, 0], found.optimum.z[:, 0], atol=5e-3)
    liver = found.problem.names.index("nonsaturable_uptake/liver")
    assert many.z[liver, 2] < many.z[liver, 0] < many.z[liver, 1]
    assert many.converged.all()


def test_importance_weights_of_the_target_itself_are_equal(rng):
    weight, k = smoothed(np.zeros((500, 2)) + 1e-9 * rng.standard_normal((500, 2)))
    assert weight == pytest.approx(np.full((500, 2), 1 / 500), rel=1e-6)
    assert np.all(k < 0.7)


def test_importance_weights_know_a_proposal_that_is_too_narrow(rng):
    x = rng.normal(0, 0.3, (2000, 1))
    log_ratio = norm(0, 1).logpdf(x) - norm(0, 0.3).logpdf(x)
    assert smoothed(log_ratio)[1][0] > 0.7


def test_weighted_draws_stay_near_laplace_where_the_model_is_nearly_linear(fitted, rng):
    found, _ = fitted
    drawn = weighted(found.experiment, found.problem, found.optimum, rng)
    mean, covariance = drawn.moments(0)
    laplace = np.sqrt(np.diag(np.linalg.inv(found.optimum.information[0])))
    assert drawn.pareto_k[0] < 0.7
    assert drawn.effective[0] > 200
    # 500 effective draws tell an sd to 3 %, a mean to 5 % of it; the rest is the correction that was asked for
    assert np.max(np.abs(mean - found.optimum.z[:, 0]) / laplace) < 0.7
    assert np.sqrt(np.diag(covariance)) == pytest.approx(laplace, rel=0.35)


def test_the_cut_in_a_linear_model_states_the_variance_of_its_error(fitted, rng):
    """The model replaced by its own Jacobian: truths and errors are drawn, and the errors of the estimate counted."""
    found, _ = fitted
    prob, jacobian = found.problem, found.optimum.jacobian[..., 0]
    information = np.linalg.inv(prob.prior) + (jacobian / prob.sd[:, None] ** 2).T @ jacobian
    spread = np.linalg.inv(information)
    follow = prob.following(jacobian, spread)
    stated = spread + follow @ prob.error_covariance @ follow.T
    n = 40_000
    theta = rng.multivariate_normal(np.zeros(len(prob.mean)), prob.prior, size=n, method="eigh")
    eta = rng.multivariate_normal(np.zeros(len(prob.errors)), prob.error_covariance, size=n, method="eigh")
    seen = theta @ jacobian.T + eta @ prob.loads.T + prob.sd * rng.standard_normal((n, len(prob.sd)))
    error = theta - seen @ (spread @ (jacobian / prob.sd[:, None] ** 2).T).T
    # a variance of 40 000 draws has a standard error of 0.7 %
    assert error.var(axis=0) == pytest.approx(np.diag(stated), rel=0.035)
    shown = (error @ jacobian.T).var(axis=0)
    assert shown == pytest.approx(np.diag(jacobian @ stated @ jacobian.T), rel=0.035)
    assert np.max(shown / np.diag(jacobian @ spread @ jacobian.T)) > 1.5  # without them it would be stated too small


def test_shared_errors_are_not_learnt_and_widen_what_was_fitted(body):
    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(5))
    posterior = calibrate(body.courses, study.observations, body.prior, draws=400)
    shared = noise.shared_errors(study.observations)
    assert posterior.error_names == shared.names
    assert np.diag(posterior.belief.covariance)[len(posterior.names) :] == pytest.approx(shared.sd**2)
    follow, given = posterior.given_errors()
    assert np.all(np.linalg.eigvalsh(given) > -1e-9)
    assert np.diag(given).sum() < np.diag(posterior.covariance).sum()
    drawn = np.corrcoef(posterior.draws @ rng_free(follow), posterior.error_draws[:, 0])[0, 1]
    assert drawn > 0.1  # parameters move with the camera's error, draw by draw


def rng_free(follow):
    """Weights of the parameters that the first shared error moves."""
    return follow[:, 0]


def test_what_is_fitted_follows_a_shared_error(fitted):
    found, obs = fitted
    jacobian = found.optimum.jacobian[..., 0]
    moved = jacobian @ found.problem.following(jacobian, found.laplace)
    calibration = found.problem.belief.errors.index("calibration/SPECT")
    kidney = [k for k, region in enumerate(obs.region) if region == "kidney_left"]
    # a camera that reads too much: the model shows less, one for one but for what the prior holds back
    assert np.all((moved[kidney, calibration] > -1.05) & (moved[kidney, calibration] < -0.7))
    assert np.all(np.abs(moved[kidney, found.problem.belief.errors.index("recovery/tumour_1")]) < 0.1)


def test_tumours_that_nobody_outlined_share_the_doubt_of_what_other_regions_show(body):
    """The more ligand they take, the more receptors a kidney must have for what it shows: draws hold both together."""
    names, seen = body.prior.names, template()
    typical = replace(seen, activity_MBq=shown(body, seen, np.zeros((1, len(names))))[:, 0])
    spread = calibrate(body.courses, typical, body.prior, method="laplace").covariance
    sink, other = names.index("receptor_density/tumour_rest"), names.index("receptor_density/spleen")
    of = lambda a, k: spread[a, k] / np.sqrt(spread[a, a] * spread[k, k])
    for region in ("kidney_left", "parotid", "tumour_1"):
        mine = names.index(f"receptor_density/{region}")
        assert of(sink, mine) > 0.05
        assert abs(of(other, mine)) < 1e-9  # a spleen that nobody saw is not fitted: it moves others by 0.2 %


def test_an_unknown_method_is_refused(body):
    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(5))
    with pytest.raises(InputError, match="did you mean|write"):
        calibrate(body.courses, study.observations, body.prior, method="lapalce")


def test_without_measurements_the_posterior_is_the_prior(body):
    none = synthetic.empty_study().observations
    posterior = calibrate(body.courses, none, body.prior, draws=4000)
    assert posterior.method == "prior"
    assert posterior.draws.std(axis=0) == pytest.approx(body.prior.log_sd, rel=0.06)  # 4 sd of an sd of 4000 draws


def test_an_unmodelled_region_is_left_out_of_the_fit(body):
    obs = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(5))[0].observations
    from calibration.observations import Observations

    bladder = Observations(("bladder",), [24.0], [100.0], [5.0], [np.nan], ("SPECT",), (1,))
    joined = obs.join(bladder)
    assert not modelled(joined, body.organs)[-1]
    assert calibrate(body.courses, joined, body.prior).observations_used == len(obs)


def test_crps_is_that_of_a_normal(rng):
    # closed form at the centre: sd (sqrt(2) - 1)/sqrt(pi) (Gneiting 2005)
    draws = rng.normal(0, 2.0, 40_000)
    assert crps(draws, 0.0) == pytest.approx(2 * (np.sqrt(2) - 1) / np.sqrt(np.pi), rel=0.02)
    assert crps(draws, 3.0) > crps(draws, 0.0)


def test_ranks_are_uniform_when_truth_and_draws_come_from_one_place_and_not_when_narrowed(rng):
    centre = rng.normal(size=2000)
    draws, truth = centre + rng.normal(size=(200, 2000)), centre + rng.normal(size=2000)
    assert uniformity(ranks(draws, truth)) > 0.01
    assert uniformity(ranks(narrowed(draws, 0.7), truth)) < 1e-6
    assert covered(draws, truth).mean() == pytest.approx(0.90, abs=0.02)  # binomial sd 0.007
    assert covered(narrowed(draws, 0.7), truth).mean() < 0.80


def test_weighted_ranks_are_the_weight_below():
    draws, weight = np.array([[0.0], [1.0], [2.0]]), np.array([[0.5], [0.3], [0.2]])
    share = lambda truth: np.mean(
        [ranks(draws, np.array([truth]), weight, np.random.default_rng(k)) for k in range(400)]
    )
    # between two draws the rank is spread over a quarter: 0.8 (1 - 1/4) + 1/8, to 1/sqrt(12 400)/4 = 0.004
    assert share(1.5) == pytest.approx(0.725, abs=0.02)
    assert share(2.0) == pytest.approx(0.9, abs=0.02)  # on a draw: half of its own weight


def test_only_uptake_drifts_and_kidneys_do_so_together(body):
    q = sequential.drift_covariance(body.prior.names, 2)
    at = {name: k for k, name in enumerate(body.prior.names)}
    left, right = at["receptor_density/kidney_left"], at["receptor_density/kidney_right"]
    assert q[left, left] == pytest.approx(2 * noise.relative_sd("drift", "kidney_left") ** 2)
    assert q[left, right] > 0.9 * q[left, left]
    assert q[at["release/kidney_left"]].sum() == 0
    assert np.all(sequential.drift_covariance(body.prior.names, 0) == 0)


def test_going_back_gives_a_cycle_what_it_knew_and_keeps_the_camera_s_error(body):
    """With nothing learnt in cycle 2, smoothing gives the first cycle's posterior back, shared errors included."""
    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(5))
    first = calibrate(body.courses, study.observations, body.prior, draws=4000)
    later = sequential.drifted(first.belief, 1)
    second = calibrate(body.courses, study.observations.select([False] * 15), body.prior, draws=4000, known=later)
    back = sequential.backward(((1, first),), (2, second), seed=0)
    density = first.names.index("receptor_density/kidney_left")
    camera = first.error_names.index("calibration/SPECT")
    assert back[2][:, density].std() > first.draws[:, density].std()
    assert back[1][:, density].std() == pytest.approx(np.sqrt(first.covariance[density, density]), rel=0.06)
    moved = back[2][:, density] - back[1][:, density]
    assert moved.std() == pytest.approx(noise.relative_sd("drift", "kidney_left"), rel=0.06)
    slope = lambda draws: np.polyfit(second.error_draws[:, camera], draws, 1)[0]
    follow = first.given_errors()[0][density, camera]
    # 4000 draws of sd 0.2 against an error of sd 0.05: standard error 0.2/0.05/sqrt(4000) = 0.06
    assert slope(back[1][:, density]) == pytest.approx(follow, abs=0.25)


def test_a_new_lesion_borrows_from_the_known_one(body):
    from dataclasses import replace

    study = synthetic.empty_study()
    more = body_of(replace(study, volumes_mL=study.volumes_mL | {"tumour_2": 10.0}))
    old = body.prior.names.index("receptor_density/tumour_1")
    learnt = Belief.of(body.prior).updated(np.array([old]), np.array([1.0]), np.array([[0.01]]))
    wide = sequential.extended(learnt, more.prior)
    new = wide.names.index("receptor_density/tumour_2")
    assert wide.mean[new] == pytest.approx(0.6)  # the prior correlation between lesions
    assert wide.covariance[new, new] < more.prior.covariance[more.prior.names.index("receptor_density/tumour_2")].max()
    assert np.linalg.eigvalsh(wide.covariance).min() > 0
    assert sequential.extended(wide, more.prior) is wide


def test_a_cohort_of_unlike_patients_is_each_of_them_calibrated(body):
    """Two patients of other kidneys and GFR, in one batch and alone."""
    from dataclasses import replace

    from calibration.cohort import calibrate_cohort, stacked
    from pbpk.parameters import Covariates
    from tests import synthetic_cohort

    study = synthetic.empty_study()
    other = replace(
        study,
        covariates=Covariates.of(
            weight_kg=60.0, height_m=1.65, sex="male", age_y=60.0, gfr_mL_min=60.0, haematocrit=0.4
        ),
        volumes_mL=study.volumes_mL | {"kidney_left": 120.0, "kidney_right": 110.0},
    )
    bodies = [body, body_of(other)]
    seen = synthetic_cohort.template(("kidney_left", "liver", "tumour_1"))
    rng = np.random.default_rng(0)
    true = [synthetic_cohort.truth(b, seen, 1, rng, prior=body.prior) for b in bodies]
    observed = np.concatenate([t.log_observed for t in true], axis=1)
    words = {"draws": 400, "seed": 1}
    run = lambda courses, logs: next(
        calibrate_cohort(courses, seen, logs, Belief.of(body.prior), ("kidney_left",), **words)
    )
    both = run(stacked([b.courses for b in bodies]), observed)
    for k, b in enumerate(bodies):
        alone = run(b.courses, observed[:, [k]])
        # medians of 400 draws of sd near 0.09 agree to 4 sqrt(2) 1.25 0.09/20
        assert np.median(both.log_tia[0, :, k]) == pytest.approx(np.median(alone.log_tia[0, :, 0]), abs=0.035)
        assert np.median(both.log_tia[0, :, k]) == pytest.approx(true[k].log_tia[0, 0], abs=0.45)
    assert abs(np.median(both.log_tia[0, :, 0]) - np.median(both.log_tia[0, :, 1])) > 0.05
