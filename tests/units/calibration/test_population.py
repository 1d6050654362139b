"""Populations: levels that recover what they were drawn from, honest standard errors, lesions and cycles that inform.

Most tests replace the PBPK by a linear map, in which the likelihood is known in closed form and hundreds of patients
cost nothing; two use the model itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from calibration.belief import Belief
from calibration.observations import Observations
from calibration.parameters import prior
from calibration.population import Patient, Population, climbed, estimate, level_covariance, tabled
from calibration.population_data import Data, cohort
from calibration.population_draws import drawn
from calibration.population_groups import Table, group_of
from calibration.population_likelihood import Likelihood
from calibration.population_members import DRIFTS, ERRORS, Levels, member
from calibration.sequential import drifted, extended
from dose.errors import InputError
from pbpk.anatomy import Anatomy
from pbpk.parameters import Covariates, ligand
from pbpk.scaling import physiology
from tests import synthetic_population as virtual
from tests.validate.checks_population import lesion_sd
from twin.body import body_of

PATIENT = Covariates.of(weight_kg=80.0, height_m=1.75, gfr_mL_min=90.0)
LESIONS = {"tumour_1": 20.0, "tumour_2": 10.0, "tumour_3": 5.0}
SEEN = ("release/kidney_left", "receptor_density/tumour_1", "receptor_density/tumour_2", "filtration")
Z90 = 1.645


def prior_of(name="PSMA-617", lesions=LESIONS, anatomy=None):
    drug = ligand(name)
    organs = physiology(PATIENT, drug.target, lesions, anatomy or Anatomy()).organs
    return prior(drug, organs, PATIENT)


@pytest.fixture(scope="module")
def psma():
    return prior_of()


@pytest.fixture(scope="module")
def table(psma):
    return Table.of([psma], "PSMA-617")


@dataclass(frozen=True)
class Linear:
    """In place of a batch: log activities are `slope` [observation, state] times the state."""

    which: tuple[int, ...]
    slope: np.ndarray

    def log_activity(self, states):
        return np.einsum("os,sdn->odn", self.slope, states)

    def jacobian(self, states):
        return self.slope @ states, np.repeat(self.slope[:, :, None], states.shape[1], axis=2)


def linear_cohort(table, prior_, patients, rng, *, mean=0.0, scale=1.0, cycles=(1,), noise=0.1, levels=None, repeats=2):
    """Patients of a linear world whose levels are known: typical values off by `mean`, spreads `scale` times the
    table's."""
    levels = levels or Levels.of(table, with_errors=False)
    fitted = np.array([prior_.names.index(name) for name in SEEN])
    mine = member(table, levels, prior_, fitted, cycles)
    slope = np.tile(np.concatenate(list(mine.stages)), (repeats, 1))
    shape = len(slope)
    phi = np.zeros(levels.size)
    touched = mine.mean_of.any(axis=0)
    phi[levels.slices[0]][touched] = mean
    phi[levels.slices[1]][np.unique(mine.scale_of)] = np.log(scale)
    centre, spread = mine.mean_of @ phi[levels.slices[0]], mine.covariance(levels, phi)
    x = rng.multivariate_normal(centre, spread, size=patients, method="eigh").T
    seen = slope @ x + noise * rng.standard_normal((shape, patients))
    none = np.zeros((shape, 0))
    kinds = np.arange(shape) % 2
    data = [
        Data(
            k,
            mine,
            seen[:, k],
            np.zeros(shape, int),
            np.zeros(shape),
            np.full(shape, noise),
            kinds,
            0 * slope @ slope.T,
            none,
        )
        for k in range(patients)
    ]
    return levels, data, [Linear(tuple(range(patients)), slope)], phi


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("release/kidney_left", "release/kidneys"),
        ("release/kidney_medulla_right", "release/kidneys"),
        ("receptor_density/tumour_7", "receptor_density/tumours"),
        ("receptor_density/parotid", "receptor_density/parotid"),
        ("filtration", "filtration"),
    ],
)
def test_both_kidneys_and_all_lesions_share_a_group(name, group):
    assert group_of(name) == group


@pytest.mark.parametrize("anatomy", [Anatomy(), Anatomy(True, True)], ids=["plain", "divided"])
@pytest.mark.parametrize("name", ["PSMA-617", "PSMA-I&T", "PSMA-11", "DCFPyL", "DOTATATE"])
def test_the_tables_population_is_the_tables_prior(name, anatomy):
    """The two widths, of typical values and between patients, add up to the table's; 1e-12 is rounding."""
    p = prior_of(name, anatomy=anatomy)
    belief = tabled(p, name).belief(p)
    assert np.allclose(belief.covariance, p.covariance, atol=1e-12)
    assert np.all(belief.mean == 0)
    assert np.linalg.eigvalsh(Table.of([p], name).between(p)[0]).min() > 0


def test_without_data_the_estimate_is_the_hyper_prior(psma):
    """The negative control of every recovery below."""
    body = body_of(virtual.study_of())
    found = estimate([Patient(body.courses, Observations.empty(), body.prior)], "PSMA-617")
    assert found.groups == ()
    assert found.patients == 0
    assert "nothing to fit" in found.notes[0]
    assert np.allclose(found.belief(psma).covariance, psma.covariance, atol=1e-12)


def test_an_empty_cohort_is_refused():
    with pytest.raises(InputError, match="no patients"):
        estimate([], "PSMA-617")


def test_the_gradient_is_the_derivative_of_the_likelihood(table, psma, rng):
    """All kinds of level, errors and drift included; central differences are good to 1e-5 of the largest entry."""
    levels = Levels.of(table, with_errors=True)
    levels, data, batches, _ = linear_cohort(table, psma, 3, rng, cycles=(1, 3), levels=levels)
    at = 0.2 * rng.standard_normal(levels.size)
    draws = drawn(
        data, batches, levels, np.zeros(levels.size), [np.zeros(len(d.member.base)) for d in data], 50, 1
    ).draws
    likelihood = Likelihood(levels, data, draws, levels.information(table))
    steps = 1e-5 * np.eye(levels.size)
    differences = np.array([(likelihood.value(at + s)[0] - likelihood.value(at - s)[0]) / 2e-5 for s in steps])
    gradient = likelihood.value(at)[1]
    assert np.max(np.abs(gradient - differences)) < 1e-5 * np.max(np.abs(gradient))
    moved = [gradient[part] for part in levels.slices]
    assert all(np.any(part != 0) for part in moved)


def test_the_weighted_likelihood_is_the_closed_form_where_the_model_is_linear(table, psma, rng):
    """Differences between two sets of levels, which cancel constants; 2 000 draws leave about 0.02 a patient."""
    levels, data, batches, phi = linear_cohort(table, psma, 5, rng, mean=0.1)
    begin = [np.zeros(len(d.member.base)) for d in data]
    likelihood = Likelihood(
        levels, data, drawn(data, batches, levels, phi, begin, 2000, 0).draws, 0 * np.eye(levels.size)
    )
    other = phi + 0.1
    exact = [sum(_closed_form(levels, d, batches[0].slope, at) for d in data) for at in (phi, other)]
    found = [likelihood.value(at)[0] for at in (phi, other)]
    assert found[1] - found[0] == pytest.approx(exact[1] - exact[0], abs=0.1)
    assert abs(exact[1] - exact[0]) > 0.5


def _closed_form(levels, data, slope, phi):
    m = data.member
    covariance = slope @ m.covariance(levels, phi) @ slope.T + data.variance(levels, phi)
    return multivariate_normal(slope @ m.mean_of @ levels.split(phi)[0], covariance).logpdf(data.log_observed)


def standard_scores(table, psma, seed, patients=25, **truth):
    """Errors of the touched levels over their standard errors, [level], and the levels themselves."""
    levels, data, batches, phi = linear_cohort(table, psma, patients, np.random.default_rng(seed), **truth)
    hyper = levels.information(table)
    found, likelihood, _, converged = climbed(data, batches, levels, hyper, 100, 20, seed)
    se = np.sqrt(np.diag(level_covariance(likelihood, found)))
    means, scales = (np.flatnonzero(likelihood.touched()[part]) + part.start for part in levels.slices[:2])
    return (found - phi) / se, found, means, scales, converged


def recovered(table, psma, cohorts):
    """Scores [cohort, level] of typical values and of spreads, in a world whose typical values are 0.15 off the table's
    and whose spreads are 1.3 times as wide."""
    runs = [standard_scores(table, psma, seed, mean=0.15, scale=1.3) for seed in range(cohorts)]
    assert all(run[-1] for run in runs)
    return [np.array([run[0][run[part]] for run in runs]) for part in (2, 3)]


def test_levels_are_recovered(table, psma):
    """3 typical values and 3 spreads of 2 cohorts: no error above 3.3 standard errors (12 normals: p = 0.01), and the
    tables' own values, the negative control, are further off."""
    shift, spread = recovered(table, psma, 2)
    assert max(np.abs(shift).max(), np.abs(spread).max()) < 3.3
    scores, levels, means, *_ = standard_scores(table, psma, 0, mean=0.5, scale=1.0)
    se = (levels - 0.5)[means] / scores[means]
    assert np.max(np.abs(levels[means] / se)) > 3.3


@pytest.mark.slow
def test_standard_errors_are_honest(table, psma):
    """40 cohorts of 25 patients, 120 scores each: 90 % intervals cover 84 to 97 % (binomial sd 2.7 points). The
    hyper-prior pulls typical values, and the maximum's own bias spreads, by up to half a standard error; 0.16 is the
    mean's own. Intervals of 0.6 the width, the negative control, cover fewer than 84 %."""
    for scores in recovered(table, psma, 40):
        assert 0.84 <= np.mean(np.abs(scores) < Z90) <= 0.97
        assert np.max(np.abs(scores.mean(axis=0))) < 0.8
        assert np.mean(np.abs(scores) < 0.6 * Z90) < 0.84


def test_five_patients_who_are_alike_do_not_collapse_the_spread(table, psma):
    """All spreads at a tenth of the table's: the hyper-prior holds them above a quarter of it, and errors are wide."""
    levels, data, batches, _ = linear_cohort(table, psma, 5, np.random.default_rng(3), scale=0.1)
    found, likelihood, _, converged = climbed(data, batches, levels, levels.information(table), 200, 30, 0)
    touched = np.flatnonzero(likelihood.touched()[levels.slices[1]])
    scale = np.exp(levels.split(found)[1][touched])
    assert converged
    assert np.all((scale > 0.2) & (scale < 1.0))


def test_drift_is_estimated_from_repeated_cycles(table, psma):
    """Twice the table's drift in 60 patients of three cycles; 4 standard errors of about 6 %."""
    levels, data, batches, _ = linear_cohort(table, psma, 60, np.random.default_rng(4), cycles=(1, 2, 3), noise=0.05)
    at = np.zeros(levels.size)
    tumours = levels.scales.index(DRIFTS[1])
    at[levels.slices[1].start + tumours] = np.log(2.0)
    mine = data[0].member
    x = np.random.default_rng(5).multivariate_normal(np.zeros(len(mine.base)), mine.covariance(levels, at), size=60).T
    seen = batches[0].slope @ x + 0.05 * np.random.default_rng(6).standard_normal((len(batches[0].slope), 60))
    data = [replace(d, log_observed=seen[:, k]) for k, d in enumerate(data)]
    found, *_ = climbed(data, batches, levels, levels.information(table), 100, 20, 0)
    assert np.exp(levels.split(found)[1][tumours]) == pytest.approx(2.0, rel=0.25)


def test_errors_are_estimated_where_asked(table, psma):
    """Twice the tables' proportional error, from 40 patients seen six times over; 4 standard errors of about 4 %."""
    levels = Levels.of(table, with_errors=True)
    rng = np.random.default_rng(7)
    levels, data, batches, _ = linear_cohort(table, psma, 40, rng, levels=levels, noise=0.1, repeats=6)
    data = [replace(d, model=0.5 * d.model) for d in data]
    found, *_ = climbed(data, batches, levels, levels.information(table), 100, 20, 0)
    factors = np.exp(levels.split(found)[3])
    assert factors[:2] == pytest.approx([2.0, 2.0], rel=0.16)
    assert factors[2:] == pytest.approx([1.0, 1.0], abs=1e-3)
    assert len(factors) == len(ERRORS)


def test_lesions_correlation_is_estimated(table, psma):
    """Two lesions of each of 80 patients, correlation 0.85 (table: 0.53): found within 0.12, 4 sd of about 0.03."""
    levels, data, batches, phi = linear_cohort(table, psma, 80, np.random.default_rng(8), noise=0.05)
    mine, share = data[0].member, levels.slices[2].start + levels.lesions.index("receptor_density/tumours")
    at = phi.copy()
    at[share] = np.log(0.85 / 0.15) - mine.share[share - levels.slices[2].start]
    x = np.random.default_rng(9).multivariate_normal(np.zeros(len(mine.base)), mine.covariance(levels, at), size=80).T
    seen = batches[0].slope @ x + 0.05 * np.random.default_rng(10).standard_normal((len(batches[0].slope), 80))
    data = [replace(d, log_observed=seen[:, k]) for k, d in enumerate(data)]
    found, *_ = climbed(data, batches, levels, levels.information(table), 100, 20, 0)
    logit = mine.share[share - levels.slices[2].start] + found[share]
    assert 1 / (1 + np.exp(-logit)) == pytest.approx(0.85, abs=0.12)


def test_an_estimate_that_is_cut_short_says_so(table, psma):
    levels, data, batches, _ = linear_cohort(table, psma, 20, np.random.default_rng(1), mean=0.5)
    *_, used, converged = climbed(data, batches, levels, levels.information(table), 100, 1, 0)
    assert (used, converged) == (1, False)


def test_a_patient_in_the_wrong_unit_stands_out(table, psma):
    """One of ten in kBq instead of MBq: he alone is called strange, though he widens the spreads."""
    levels, data, batches, _ = linear_cohort(table, psma, 10, np.random.default_rng(11))
    slip = replace(data[3], log_observed=data[3].log_observed + np.log(1000.0))
    for cohort_, strange in ((data, []), ([*data[:3], slip, *data[4:]], [3])):
        found, likelihood, *_ = climbed(cohort_, batches, levels, levels.information(table), 100, 20, 0)
        assert np.flatnonzero(likelihood.strangeness(found) > 1).tolist() == strange


@pytest.fixture
def clinic(psma):
    """A population unlike the table's."""
    base = tabled(psma, "PSMA-617")
    return replace(
        virtual.shifted(base, virtual.SHIFTS, {"receptor_density/tumours": 0.8}),
        shift_covariance=0.1 * base.shift_covariance,
        patients=40,
    )


def test_virtual_patients_have_the_populations_typical_values_and_spreads(clinic, psma):
    """4 000 patients: standard errors of a mean are 1.6 % of the spread, of a spread 1.1 %; the tolerance is 4 of
    them."""
    drawn_ = clinic.draw(psma, 4000, np.random.default_rng(2))
    for name in ("release/kidney_left", "receptor_density/tumour_2"):
        values, k = drawn_[:, psma.names.index(name)], clinic.index(group_of(name))
        assert values.mean() == pytest.approx(clinic.shift_log[k], abs=0.065 * clinic.spread_log[k])
        assert values.std() == pytest.approx(clinic.spread_log[k], rel=0.045)


def test_a_group_the_cohort_did_not_inform_keeps_the_tables_prior(clinic, psma):
    keep = [k for k, g in enumerate(clinic.groups) if "spleen" not in g]
    few = replace(
        clinic,
        groups=tuple(clinic.groups[k] for k in keep),
        shift_log=clinic.shift_log[keep],
        shift_covariance=clinic.shift_covariance[np.ix_(keep, keep)],
        spread_log=clinic.spread_log[keep],
        spread_se=clinic.spread_se[keep],
    )
    at = psma.names.index("receptor_density/spleen")
    belief = few.belief(psma)
    assert belief.mean[at] == 0
    assert belief.covariance[at, at] == pytest.approx(psma.covariance[at, at])
    with pytest.raises(InputError, match="release/kidneys"):
        few.index("release/kidney")


def test_a_new_lesion_borrows_strength_from_the_patients_others(clinic):
    """Lesion 1 is known to 10 %, lesion 2 is new: its mean moves along and its sd falls by the correlation."""
    old, new = prior_of(lesions={"tumour_1": 20.0}), prior_of(lesions={"tumour_1": 20.0, "tumour_2": 10.0})
    first, second = (new.names.index(f"receptor_density/tumour_{k}") for k in (1, 2))
    known = clinic.belief(old)
    at = old.names.index("receptor_density/tumour_1")
    seen = known.updated(np.array([at]), known.mean[[at]] + 0.5, np.array([[0.01]]))
    after, before = clinic.extended(seen, new), clinic.belief(new)
    link = before.covariance[first, second] / before.covariance[first, first]
    assert after.mean[second] - before.mean[second] == pytest.approx(0.5 * link)
    assert after.covariance[second, second] < 0.8 * before.covariance[second, second]
    apart = replace(
        clinic, together=np.full(len(clinic.lesions), 1e-6), shift_covariance=1e-9 * clinic.shift_covariance
    )
    strangers = apart.extended(apart.belief(old).updated(np.array([at]), np.array([0.5]), np.array([[0.01]])), new)
    assert strangers.covariance[second, second] == pytest.approx(apart.belief(new).covariance[second, second], rel=1e-4)


def test_the_tables_population_extends_and_drifts_as_the_tables_do(psma):
    old = prior_of(lesions={"tumour_1": 20.0})
    known = Belief.of(old).updated(np.array([8]), np.array([0.3]), np.array([[0.01]]))
    ours = tabled(psma, "PSMA-617")
    for mine, theirs in (
        (ours.extended(known, psma), extended(known, psma)),
        (ours.drifted(known, 2), drifted(known, 2)),
    ):
        assert mine.names == theirs.names
        assert np.allclose(mine.mean, theirs.mean, atol=1e-12)
        assert np.allclose(mine.covariance, theirs.covariance, atol=1e-12)


def test_an_estimated_drift_is_inflated_by_its_own_doubt(clinic, psma):
    """Expected variance of a lognormal scale: factor^2 exp(2 se^2)."""
    ours = replace(clinic, drift=dict.fromkeys(DRIFTS, 1.5), drift_se=dict.fromkeys(DRIFTS, 0.3))
    belief = ours.belief(psma)
    at = psma.names.index("receptor_density/tumour_1")
    grown = ours.drifted(belief, 1).covariance[at, at] - belief.covariance[at, at]
    assert grown == pytest.approx(0.20**2 * 1.5**2 * np.exp(2 * 0.3**2))


def test_patients_of_one_design_share_a_solve_and_others_get_their_own(table):
    """The same patient alone and in a batch shows the same activities, within the steps' tolerance of 1e-3."""
    made = virtual.cohort(tabled(body_of(virtual.study_of(1)).prior, "PSMA-617"), 3, 1, study=virtual.study_of(1),
        regions=("kidney_left", "tumour_1"), times_h=(24.0, 96.0))  # fmt: skip
    one, two, three = made.patients
    late = replace(three, observations=replace(three.observations, time_h=three.observations.time_h + 1.0))
    table = Table.of([one.prior], "PSMA-617")
    data, batches = cohort([one, two, late], table, Levels.of(table, False))
    assert [batch.which for batch in batches] == [(0, 1), (2,)]
    alone = cohort([two], table, Levels.of(table, False))[1][0]
    states = 0.2 * np.random.default_rng(1).standard_normal((len(data[0].member.base), 1, 2))
    assert np.allclose(batches[0].log_activity(states)[..., 1], alone.log_activity(states[..., 1:])[..., 0], atol=1e-3)


@pytest.mark.slow
def test_a_shifted_population_is_found_with_the_model_itself():
    """8 patients, kidneys alone: release 30 % above the table is found within 3 standard errors, and not at zero."""
    study = virtual.study_of(1)
    truth = virtual.shifted(tabled(body_of(study).prior, "PSMA-617"), {"release/kidneys": np.log(1.6)})
    made = virtual.cohort(truth, 8, 5, study=study, regions=("kidney_left", "kidney_right"))
    found = estimate(made.patients, "PSMA-617", proposals=150)
    k = found.index("release/kidneys")
    assert isinstance(found, Population)
    assert found.converged
    assert abs(found.shift_log[k] - np.log(1.6)) < 3 * found.shift_se[k]
    assert found.shift_log[k] > 2 * found.shift_se[k]


@pytest.mark.slow
def test_one_late_scan_of_a_new_lesion_says_more_where_the_other_was_seen():
    """By the tables' population: narrower with the patient's first lesion known, before and after the late scan."""
    usual = tabled(body_of(virtual.study_of()).prior, "PSMA-617")
    for times_h in ((), (24.0,), (96.0,)):
        stranger, borrower = (lesion_sd(usual, first_cycle=seen, times_h=times_h) for seen in (False, True))
        assert borrower < stranger
