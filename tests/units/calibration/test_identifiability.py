"""Fisher information against algebra and differences; profiles against models whose interval is known."""

from __future__ import annotations

import numpy as np
import pytest

from calibration import noise
from calibration.identifiability import Information, combination, information
from calibration.observations import Observations
from calibration.profile import minimum, profile
from calibration.profile_scans import profile_likelihood
from dose.errors import InputError
from tests import synthetic
from twin.body import body_of

CHI2_90 = 2.705543454095404
"""0.90 quantile of chi-square with one degree of freedom (any table)."""
HOURS = (24.0, 72.0, 168.0)
ACTIVITY_MBQ = {"kidney_left": (80.0, 45.0, 15.0), "tumour_1": (25.0, 20.0, 11.0)}
"""Near what the typical patient shows; no test depends on how near."""


@pytest.fixture(scope="module")
def body():
    return body_of(synthetic.empty_study())


@pytest.fixture(scope="module")
def scans() -> Observations:
    activity = np.array([a for values in ACTIVITY_MBQ.values() for a in values])
    regions = tuple(r for r in ACTIVITY_MBQ for _ in HOURS)
    count = len(activity)
    columns = np.tile(HOURS, 2), activity, 0.03 * activity, np.full(count, np.nan)
    return Observations(regions, *columns, ("SPECT",) * count, (1,) * count)


@pytest.fixture(scope="module")
def told(body, scans) -> Information:
    return information(body.courses, scans, body.prior)


def toy(jacobian, prior_sd=(1.0, 1.0)) -> Information:
    return Information(("a", "b"), np.asarray(jacobian, float), np.diag(np.square(prior_sd)))


def test_posterior_covariance_is_the_inverse_of_scans_plus_prior(told):
    both = told.fisher + np.linalg.inv(told.prior_covariance)
    assert told.posterior_covariance @ both == pytest.approx(np.eye(len(told.names)), abs=1e-8)


def test_the_jacobian_is_that_of_differences(body, scans, told):
    """Central differences of the frozen solve: step 1e-4 leaves 1e-8 of truncation, noise of 1e-10/1e-4."""
    from calibration.forward import experiment, log_activity

    exp = experiment(body.courses, scans, body.prior.names, np.zeros(len(body.prior.names)))
    factor = np.linalg.cholesky(noise.covariance(scans))
    for name in ("filtration", "release/kidney_left", "receptor_density/tumour_1"):
        k = body.prior.names.index(name)
        step = 1e-4 * np.eye(len(body.prior.names))[k]
        up, down = (np.asarray(log_activity(exp, x))[: len(scans)] for x in (step, -step))
        assert told.jacobian[:, k] == pytest.approx(np.linalg.solve(factor, (up - down) / 2e-4), rel=1e-4, abs=1e-5)


def test_only_a_sum_is_told_where_columns_are_equal():
    found = toy([[2.0, 2.0]])
    stiff, sloppy = found.directions
    assert stiff.words == "0.71 a +0.71 b"
    assert stiff.information == pytest.approx(8.0)
    assert sloppy.words == "0.71 a -0.71 b"
    assert sloppy.sd == np.inf
    assert found.rank == 1
    assert found.condition == np.inf
    assert np.all(np.isinf(found.scans_log_sd))
    assert found.collinear == (("a", "b", pytest.approx(1.0)),)


def test_two_parameters_with_scans_of_their_own_are_told_apart():
    """The control of the last: nothing is collinear, blind or infinite."""
    found = toy(np.diag([10.0, 2.0]))
    assert found.scans_log_sd == pytest.approx([0.1, 0.5])
    assert found.alone_log_sd == pytest.approx([0.1, 0.5])
    assert found.condition == pytest.approx(25.0)
    assert found.collinear == ()
    assert found.learnt == pytest.approx(100 / 101 + 4 / 5)


def test_the_table_says_learnt_borrowed_and_prior(told):
    verdict = {row.name: row.verdict for row in told.table}
    assert verdict["release/kidney_left"] == "learnt"
    assert verdict["release/kidney_right"] == "borrowed"
    assert verdict["kPS/parotid"] == "prior"
    contraction = [row.contraction for row in told.table]
    assert contraction == sorted(contraction, reverse=True)
    assert "directions measured" in str(told)


def test_density_and_internalisation_of_one_organ_look_alike(told):
    """As docs/calibration.md warns: at one ligand amount both set how much is bound and kept."""
    pairs = {frozenset(pair[:2]) for pair in told.collinear}
    assert frozenset({"receptor_density/kidney_left", "internalisation/kidney_left"}) in pairs


def test_knowing_the_rest_never_widens_a_parameter(body, scans, told):
    alone = information(body.courses, scans, body.prior, moved=("release/kidney_left",))
    k = told.names.index("release/kidney_left")
    assert alone.posterior_covariance[0, 0] <= told.posterior_covariance[k, k] * (1 + 1e-9)


def test_a_combination_names_its_large_parts_first():
    assert combination(("a", "b", "c"), np.array([-0.1, -0.9, 0.42])) == "0.90 b -0.42 c"


def linear(matrix, seen):
    return lambda theta: (matrix @ theta - seen, matrix)


def entry(k, count):
    return lambda theta: (theta[[k]], np.eye(count)[[k]])


def test_the_profile_of_a_linear_model_is_its_normal_interval(rng):
    matrix, seen = rng.standard_normal((6, 3)), rng.standard_normal(6)
    covariance = np.linalg.inv(matrix.T @ matrix)
    best = covariance @ matrix.T @ seen
    found = profile(linear(matrix, seen), np.zeros(3), entry(1, 3))
    half = np.sqrt(CHI2_90 * covariance[1, 1])
    assert found.identifiable
    assert [found.low, found.best, found.high] == pytest.approx([best[1] - half, best[1], best[1] + half], abs=1e-3)


def test_the_profile_of_a_combination_has_its_propagated_sd(rng):
    matrix, seen, mix = rng.standard_normal((6, 3)), rng.standard_normal(6), np.array([[1.0, -2.0, 0.5]])
    covariance = np.linalg.inv(matrix.T @ matrix)
    found = profile(linear(matrix, seen), np.zeros(3), lambda theta: (mix @ theta, mix), span=50.0)
    assert found.high - found.low == pytest.approx(2 * np.sqrt(CHI2_90 * (mix @ covariance @ mix.T)[0, 0]), rel=2e-3)


def exponential(theta):
    """One observation of exp(theta), 1 with sd 0.5: its interval is known, and not symmetric."""
    return np.array([(np.exp(theta[0]) - 1) / 0.5]), np.array([[np.exp(theta[0]) / 0.5]])


def test_the_profile_bends_with_the_model():
    found = profile(exponential, np.zeros(1), entry(0, 1))
    edges = np.log([1 - 0.5 * np.sqrt(CHI2_90), 1 + 0.5 * np.sqrt(CHI2_90)])
    assert [found.low, found.high] == pytest.approx(list(edges), abs=0.03)
    assert -found.low > 2 * found.high


def product(theta):
    """Only the sum of two logs is seen."""
    return np.array([theta.sum() / 0.1]), np.array([[10.0, 10.0]])


def test_a_flat_profile_is_said_to_be_one():
    found = profile(product, np.zeros(2), entry(0, 2))
    assert not found.identifiable
    assert found.rise.max() < 1e-6
    assert "not identifiable below and above" in str(found)


def test_a_second_scan_makes_it_identifiable():
    """The control: the same parameter, once the other is seen too."""
    seen = lambda theta: (np.append(product(theta)[0], theta[1] / 0.1), np.array([[10.0, 10.0], [0.0, 10.0]]))
    found = profile(seen, np.zeros(2), entry(0, 2))
    assert found.identifiable
    assert found.high == pytest.approx(np.sqrt(CHI2_90 * 0.02), rel=2e-2)


def test_a_minimum_on_a_surface_meets_it():
    """x^2 + y^2 with x y = 1: the nearest points to the origin are (1, 1) and (-1, -1)."""
    problem = lambda x: (x.copy(), np.eye(2))
    surface = lambda x: (np.array([x[0] * x[1]]), np.array([[x[1], x[0]]]))
    found, square = minimum(problem, np.array([2.0, 0.7]), surface, 1.0)
    assert found == pytest.approx([1.0, 1.0], abs=0.02)
    assert square == pytest.approx(2.0, abs=1e-3)


@pytest.mark.slow
def test_profiles_of_a_patient_agree_with_fisher_where_the_prior_holds(body, scans):
    """Within a tenth: the model bends little over one posterior sd."""
    found = profile_likelihood(body.courses, scans, body.prior, "release/kidney_left")
    best = found.parameters[np.argmin(found.rise)]
    there = information(body.courses, scans, body.prior, best)
    k = there.names.index("release/kidney_left")
    expected = 2 * np.sqrt(CHI2_90 * there.posterior_covariance[k, k])
    assert found.high - found.low == pytest.approx(expected, rel=0.1)


@pytest.mark.slow
def test_scans_without_a_prior_leave_the_glands_permeability_open(body, scans):
    found = profile_likelihood(body.courses, scans, body.prior, "kPS/parotid", with_prior=False, span=2.0)
    assert not found.identifiable


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"moved": ("release/kidny_left",)}, "release/kidney_left"),
        ({"offsets": np.zeros(3)}, "Posterior.map_log"),
    ],
)
def test_bad_input_is_refused(body, scans, arguments, words):
    with pytest.raises(InputError, match=words):
        information(body.courses, scans, body.prior, **arguments)


def test_scans_that_the_model_cannot_show_are_refused(body):
    bladder = Observations(("bladder",), [24.0], [10.0], [1.0], [np.nan], ("SPECT",), (1,))
    with pytest.raises(InputError, match="none that the model can show"):
        information(body.courses, bladder, body.prior)


def test_a_misspelt_quantity_is_refused_with_the_nearest(body, scans):
    with pytest.raises(InputError, match="parotid"):
        profile_likelihood(body.courses, scans, body.prior, "tia/paroid")
