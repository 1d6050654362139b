"""The prior, the noise and the extension of the posterior to what was not observed."""

from __future__ import annotations

import jax
import numpy as np
import pytest

from calibration import noise
from calibration.belief import Belief
from calibration.fit import calibrate, widening
from calibration.forward import pool_weights
from calibration.observations import Observations
from calibration.parameters import prior
from calibration.problem import problem
from dose.errors import InputError
from pbpk.parameters import Covariates, ligand
from pbpk.scaling import physiology

PATIENT = Covariates.of(weight_kg=80.0, height_m=1.75)
ORGANS = physiology(PATIENT, "psma", {"tumour_1": 20.0, "tumour_2": 10.0}).organs


@pytest.fixture(scope="module")
def psma():
    return prior(ligand("PSMA-617"), ORGANS, PATIENT)


def seen(region="liver", activity=10.0, time=24.0, cycle=1):
    return Observations((region,), [time], [activity], [0.5], [np.nan], ("SPECT",), (cycle,))


@pytest.mark.parametrize("name", ["PSMA-617", "PSMA-I&T", "PSMA-11", "DCFPyL", "DOTATATE"])
def test_every_ligand_has_a_proper_prior(name):
    drug = ligand(name)
    p = prior(drug, physiology(PATIENT, drug.target, {"tumour_1": 20.0}).organs, PATIENT)
    assert np.linalg.eigvalsh(p.covariance).min() > 0
    assert np.all(p.median > 0)


def test_kidneys_are_correlated_and_liver_is_not(psma):
    left, right, liver = (psma.names.index(f"release/{o}") for o in ("kidney_left", "kidney_right", "liver"))
    correlation = psma.covariance / np.outer(psma.log_sd, psma.log_sd)
    assert correlation[left, right] == pytest.approx(0.90)
    assert correlation[left, liver] == 0


def test_an_unobserved_kidney_learns_from_the_other_through_the_correlation(psma):
    left, right = (psma.names.index(f"receptor_density/{o}") for o in ("kidney_left", "kidney_right"))
    after = Belief.of(psma).updated(np.array([left]), np.array([0.5]), np.array([[0.01]]))
    contraction = 1 - np.diag(after.covariance) / psma.log_sd**2
    assert after.mean[right] == pytest.approx(0.95 * 0.5)
    assert 0 < contraction[right] < contraction[left]
    assert np.linalg.eigvalsh(after.covariance).min() > 0


def test_a_faint_region_beside_a_hot_one_is_less_certain():
    alone, beside = seen("spleen", 10.0), seen("spleen", 10.0).join(seen("liver", 1000.0))
    # a thousandth of the hottest region is a tenth of the spleen, added in quadrature (in log1p: within 3 %)
    assert noise.log_sd(beside)[0] ** 2 - noise.log_sd(alone)[0] ** 2 == pytest.approx(0.1**2, rel=0.03)


def test_calibration_is_shared_by_all_regions_and_recovery_by_the_kidneys():
    obs = seen("kidney_left").join(seen("kidney_right")).join(seen("liver"))
    shared = noise.covariance(obs) - np.diag(noise.log_sd(obs) ** 2)
    factor, kidney = noise.relative_sd("calibration", "SPECT"), noise.relative_sd("recovery", "kidney_left")
    assert shared[0, 2] == pytest.approx(factor**2)
    assert shared[0, 1] == pytest.approx(factor**2 + kidney**2)
    assert shared[0, 0] > shared[0, 1]  # each kidney has its own contour


def two_regions(psma):
    """A problem of one scan of liver and spleen."""
    obs = seen("liver").join(seen("spleen"))
    return problem(Belief.of(psma), obs, ORGANS), obs


def test_a_missed_curve_widens_only_its_own_organ(psma):
    prob, obs = two_regions(psma)
    factor, warnings = widening(prob, obs, np.array([4.0, 0.1]), ORGANS)
    assert factor[prob.names.index("release/liver")] == pytest.approx(4.0)
    assert factor[prob.names.index("release/spleen")] == factor[prob.names.index("filtration")] == 1.0
    assert "liver" in warnings[0]


def test_a_good_fit_is_not_widened(psma):
    prob, obs = two_regions(psma)
    factor, warnings = widening(prob, obs, np.array([0.9, 0.9]), ORGANS)
    assert np.all(factor == 1.0)
    assert warnings == ()


def test_remainder_leaves_out_what_was_observed_on_its_own():
    weights = pool_weights("remainder", ORGANS, frozenset({"remainder", "liver"}))
    assert weights[ORGANS.index("liver")] == 0
    assert weights[ORGANS.index("spleen")] == 1


def test_bladder_is_not_in_the_model():
    assert pool_weights("bladder", ORGANS, frozenset()) is None


def test_single_precision_is_refused(psma):
    with jax.enable_x64(False), pytest.raises(InputError, match="double|float64|x64"):
        calibrate((), seen(), psma)


@pytest.mark.parametrize(
    ("change", "field"),
    [({"activity": 0.0}, "activity_MBq"), ({"activity": np.nan}, "activity_MBq"), ({"time": -1.0}, "time_h")],
)
def test_impossible_measurements_name_their_field(change, field):
    with pytest.raises(InputError, match=field):
        seen(**change)


def test_tumours_larger_than_the_body_are_refused():
    with pytest.raises(InputError, match="remainder"):
        physiology(PATIENT, "psma", {"tumour_1": 60_000.0})
