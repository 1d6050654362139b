"""The physics of a trial: lesions and classes, tumours that shrink, policies, estimators, and tables of it all."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pbpk.batch import Status
from twin.constraints import limit
from twin.trial.course import ENDED, lethal_mL, run_arm
from twin.trial.design import design_of
from twin.trial.endpoints import _platelets, followed, volume_shares
from twin.trial.job import TrialJob, block_rows, courses, source_of
from twin.trial.lesion_doses import _continued
from twin.trial.people import BLOCK, CLASSES, classes_of, group
from twin.trial.reading import at_size, drift_of
from twin.trial.rows import lesion_dose_Gy, rows_of, status_of
from twin.trial.training import estimator_of, learned, scene_of

WORDS = {
    "name": "t",
    "patients": 60,
    "seed": 4,
    "reference": "fixed",
    "arms": [
        {"name": "fixed"},
        {"name": "stop", "policy": "stop_rule", "cycles": 9, "limit": "kidney_bed_27"},
        {"name": "exact", "policy": "stop_rule", "cycles": 9, "limit": "kidney_bed_27", "estimator": "exact"},
        {"name": "twin", "policy": "chance_twin", "cap_MBq": 15_000.0},
        {"name": "last", "policy": "last_cycle", "cap_MBq": 11_100.0},
        {"name": "oracle", "policy": "oracle", "cap_MBq": 15_000.0},
    ],
}


@pytest.fixture(scope="module")
def design():
    return design_of(WORDS)


@pytest.fixture(scope="module")
def done(design):
    return {course.arm.name: course for course in courses(design, 0)}


def kidney_bed(course):
    return course.bed_Gy[..., course.scene.truth.regions.index("kidneys")].sum(axis=1)


def test_lesions_go_into_classes_by_rank_of_uptake(done):
    scene = done["fixed"].scene
    lesions, classes = scene.group.lesions, scene.group.classes
    assert np.array_equal(classes, classes_of(lesions))
    for k in range(BLOCK):
        n = lesions.count[k]
        mine = classes[k, :n]
        assert np.all(classes[k, n:] == -1)
        assert np.all(np.diff(mine[np.argsort(lesions.relative_uptake[k, :n])]) >= 0)
        assert len(set(mine)) == min(n, CLASSES)


def test_volume_and_sites_are_kept_by_classes(done):
    g = done["fixed"].scene.group
    there = g.class_mL > 1e-3
    np.testing.assert_allclose((g.class_mL * there).sum(axis=1), g.lesions.volume_mL.sum(axis=1), rtol=1e-9)
    sites = (g.lesions.volume_mL * g.lesions.relative_uptake).sum(axis=1)
    np.testing.assert_allclose((g.class_mL * g.class_uptake * there).sum(axis=1), sites, rtol=1e-9)


def test_lesion_doses_average_to_the_class_and_rise_with_density(done):
    course = done["fixed"]
    g, dose = course.scene.group, lesion_dose_Gy(course)
    total = course.dose_Gy.sum(axis=1)[:, course.scene.truth.tumours]
    for c in range(CLASSES):
        mL = np.where(g.classes == c, g.lesions.volume_mL, 0.0)
        some = mL.sum(axis=1) > 0
        np.testing.assert_allclose((mL * dose).sum(axis=1)[some] / mL.sum(axis=1)[some], total[some, c], rtol=1e-9)
    many = np.argmax(g.lesions.count)
    here = g.classes[many] >= 0
    rank = lambda x: np.argsort(np.argsort(x))
    assert (
        np.corrcoef(rank(dose[many][here]), rank(g.lesions.relative_uptake[many][here]))[0, 1] > 0.8
    )  # size counts too


def test_a_line_is_continued_and_one_point_is_proportional():
    x, y = np.array([0.0, 1.0]), np.array([2.0, 2.5])
    np.testing.assert_allclose(_continued(np.array([-1.0, 0.5, 3.0]), x, y), [1.5, 2.25, 3.5])
    np.testing.assert_allclose(_continued(np.array([-1.0, 1.0]), x[:1], y[:1]), [1.0, 3.0])


def test_a_smaller_tumour_takes_less_from_the_organs(done):
    truth, g = done["fixed"].scene.truth, done["fixed"].scene.group
    big, small = (at_size(truth, np.full((BLOCK, CLASSES), np.log(s)), g.class_mL) for s in (1.0, 0.1))
    kidneys, large = truth.regions.index("kidneys"), np.argmax(g.class_mL.sum(axis=1))
    assert small.dose[large, kidneys] > 1.02 * big.dose[large, kidneys]


def test_fixed_gives_every_cycle_to_who_lives(done):
    course = done["fixed"]
    complete = np.array(ENDED)[course.ended] == "completed"
    assert complete.mean() > 0.9
    np.testing.assert_array_equal(course.activity_MBq[complete], 7400.0)


def test_the_rule_of_exact_knowledge_stops_before_its_limit_but_for_the_last_drift(done):
    """With exact doses what passes is only the last cycle's change against the one before."""
    value = limit("kidney_bed_27").value_Gy
    bed = kidney_bed(done["exact"])
    assert np.all(bed < 1.5 * value)
    assert np.mean(bed > value) < np.mean(kidney_bed(done["fixed"]) > value)
    stopped = np.array(ENDED)[done["exact"].ended] == "limit"
    k = done["exact"].scene.truth.regions.index("kidneys")
    given = done["exact"].activity_MBq > 0
    last = done["exact"].bed_Gy[np.arange(BLOCK), given.sum(axis=1) - 1, k]
    assert np.all((bed + last)[stopped] > value)  # one more like the last would have passed it


def test_the_oracle_keeps_its_limit_and_beats_the_twin(done):
    """It foresees how tumours shrink and kidneys then take up more; with their first sizes alone some kidneys would
    pass the limit by half."""
    value = limit("kidney_bed_40").value_Gy
    assert np.all(kidney_bed(done["oracle"]) <= value * (1 + 1e-9))
    assert np.median(kidney_bed(done["oracle"])) > 0.9 * value
    tumours = lambda c: c.dose_Gy[..., c.scene.truth.tumours].mean()
    assert tumours(done["oracle"]) > tumours(done["twin"])


def test_the_chance_twin_passes_its_limit_less_often_than_fixed(done):
    value = limit("kidney_bed_40").value_Gy
    assert np.mean(kidney_bed(done["twin"]) > value) <= 0.15
    assert np.mean(kidney_bed(done["twin"]) > value) < np.mean(kidney_bed(done["fixed"]) > value)


def test_arms_share_patients_drift_and_errors(done):
    a, b = done["fixed"], done["stop"]
    assert a.scene is b.scene
    both = (a.activity_MBq[:, 0] > 0) & (b.activity_MBq[:, 0] > 0)
    np.testing.assert_array_equal(a.dose_Gy[both, 0], b.dose_Gy[both, 0])
    np.testing.assert_array_equal(a.log_estimate[both, 0], b.log_estimate[both, 0])


def test_estimates_err_as_they_say(done):
    """48 patients, six cycles, correlated within a patient: the sd of a standardised error is known to about 10 %."""
    course = done["fixed"]
    k = course.scene.truth.regions.index("kidneys")
    z = (course.log_estimate - np.log(course.dose_Gy))[..., k] / course.log_sd[..., k]
    assert 0.7 < np.nanstd(z) < 1.4
    assert abs(np.nanmean(z)) < 0.5
    wrong = np.nanstd(z / 0.5)
    assert wrong > 1.4  # an estimator twice as sure as it may be is found out


def test_exact_estimates_are_the_truth(done):
    course = done["exact"]
    given = course.activity_MBq > 0
    np.testing.assert_allclose(np.exp(course.log_estimate)[given], course.dose_Gy[given], rtol=1e-9)


def test_more_scans_err_less(design):
    words = design.model_dump(mode="json")
    words["arms"] = [words["arms"][1], words["arms"][1] | {"name": "one", "imaging": {"times_h": [72.0]}}]
    both = design_of(words | {"reference": "one"})
    arm, one = both.regimens
    source = source_of(both, arm)
    known = lambda a: learned(both, a, source)
    sd = lambda a: np.hypot(known(a).lasting_sd, known(a).fresh_sd)
    assert np.all(sd(one) > 0.95 * sd(arm))
    kidneys = 0
    assert sd(one)[kidneys] > 1.05 * sd(arm)[kidneys]


def test_tumours_shrink_with_dose_and_regrow(done):
    course = done["fixed"]
    share = volume_shares(course, 24.0 * np.array([0.0, 250.0, 3000.0]))
    np.testing.assert_allclose(share[:, 0], 1.0)
    assert np.median(share[:, 1]) < 0.6
    assert np.all(share[:, 2] > share[:, 1])
    assert np.all(lethal_mL(course.scene.group) >= 1000.0)


def test_without_response_sizes_stay(design):
    words = design.model_dump(mode="json")
    words["cohort"]["response"], words["cohort"]["drift"] = False, False
    still = design_of(words)
    people = group(still, 0)
    arm = still.regimens[0]
    source = source_of(still, arm)
    scene = scene_of(people, source)
    course = run_arm(scene, arm, estimator_of(still, arm, source))
    np.testing.assert_allclose(course.dose_Gy[:, 0], course.dose_Gy[:, 3], rtol=1e-9)
    assert scene.truth.size.nodes == 1


def test_dropout_and_eligibility_are_rows_with_their_reason(design):
    words = design.model_dump(mode="json") | {"dropout_per_cycle": 0.3, "arms": [WORDS["arms"][0]]}
    words["eligibility"]["least_gfr_mL_min"] = 80.0
    strict = design_of(words)
    [course] = courses(strict, 0)
    table = rows_of(course, 10**9)["patients"]
    small = course.scene.group.people.gfr_mL_min < 80.0
    assert set(table["status"][small]) == {"not_eligible"}
    assert np.all(np.isnan(table["kidney_dose_Gy"][small]))
    left = table["ended"] == "dropout"
    assert 0.5 < left[~small].mean() < 1.0  # 1 - 0.7^5 = 0.83
    assert np.all(table["cycles"][left] < 6)


def test_a_patient_that_fails_is_a_row_with_its_status(done):
    scene = done["fixed"].scene
    status = scene.truth.status.copy()
    status[3] = Status.NOT_FINITE
    broken = replace(done["fixed"], scene=replace(scene, truth=replace(scene.truth, status=status)))
    assert status_of(broken)[3] == "not_finite"
    tables = rows_of(broken, 10**9)
    assert np.isnan(tables["patients"]["tumour_dose_Gy"][3])
    assert 3 not in tables["cycles"]["patient"]


def test_tables_hang_together(design):
    tables = TrialJob(design).compute(0, 60)
    patients, doses, cycles = (tables[n].to_pandas() for n in ("patients", "doses", "cycles"))
    assert len(patients) == 60 * len(design.arms)
    assert patients.patient.max() == 59
    ok = patients[patients.status == "ok"].set_index(["patient", "arm"])
    total = cycles.groupby(["patient", "arm"], observed=True).activity_MBq.sum()
    np.testing.assert_allclose(ok.activity_MBq.loc[total.index], total)
    kidney = doses[doses.region == "kidneys"].groupby(["patient", "arm"], observed=True).dose_Gy.sum()
    np.testing.assert_allclose(ok.kidney_dose_Gy.loc[kidney.index], kidney, rtol=1e-12)
    lesions = tables["lesions"].to_pandas()
    worst = lesions.groupby(["patient", "arm"], observed=True).dose_Gy.min()
    np.testing.assert_allclose(ok.worst_lesion_dose_Gy.loc[worst.index], worst, rtol=1e-12)
    number = lesions.groupby(["patient", "arm"], observed=True).size()
    np.testing.assert_array_equal(ok.lesions.loc[number.index], number)


def test_results_do_not_depend_on_the_range_asked_for(design):
    one = design.model_copy(update={"arms": design.arms[:2]})
    whole, tail = TrialJob(one).compute(0, 60), TrialJob(one).compute(48, 60)
    for name, table in whole.items():
        rows = table.to_pandas()
        part = rows[rows.patient >= 48].reset_index(drop=True)
        again = tail[name].to_pandas()
        assert len(part) == len(again)
        for column in part.columns:
            a, b = part[column].astype(object), again[column].astype(object)
            assert ((a == b) | (a.isna() & b.isna())).all(), (name, column)


def test_another_seed_is_other_patients(design):
    one = design.model_copy(update={"arms": design.arms[:1]})
    a, b = (block_rows(one.model_copy(update={"seed": s}), 0, 48)["patients"]["kidney_dose_Gy"] for s in (4, 5))
    assert not np.any(a == b)


def test_the_manifest_says_what_results_depend_on(design):
    words = TrialJob(design).manifest()
    assert words["design"]["seed"] == 4
    assert "pbpk/ligands.csv" in words["tables"]
    assert design_of(words["design"]) == design


def test_calibrating_every_patient_knows_the_kidneys_as_well_as_its_scans_allow(design):
    """48 patients, two cycles: a mean error is known to 0.15 of its sd, an sd to 10 %."""
    words = design.model_dump(mode="json")
    words["arms"] = [
        {"name": "linear", "policy": "chance_twin", "cap_MBq": 40_000.0, "cycles": 2},
        {"name": "laplace", "policy": "chance_twin", "cap_MBq": 40_000.0, "cycles": 2, "estimator": "laplace"},
    ]
    linear, laplace = courses(design_of(words | {"reference": "linear"}), 0)
    k = linear.scene.truth.regions.index("kidneys")
    error = lambda c: (c.log_estimate - np.log(c.dose_Gy))[..., k]
    assert np.std(error(laplace)) < 1.1 * np.std(error(linear)) < 0.13
    z = error(laplace) / laplace.log_sd[..., k]
    assert abs(np.mean(z)) < 0.5
    assert 0.7 < np.std(z) < 1.6
    assert np.all(laplace.activity_MBq[:, 0] == laplace.activity_MBq[0, 0])  # before any scan all are alike
    assert np.std(laplace.activity_MBq[:, 1]) > 0
    assert np.mean(laplace.activity_MBq[:, 1]) > np.mean(laplace.activity_MBq[:, 0])


def test_a_belief_goes_on_from_what_was_seen():
    """By hand: an exact estimate of cycle 1, no drift: all cycles are that one, moved by the trend."""
    from twin.policies.belief import DosePrior
    from twin.trial.cycle_belief import CycleBelief
    from twin.trial.reading import MOST_CYCLES

    one = np.ones(1)
    prior = DosePrior(("kidneys",), np.log(5e-4) * one, 0.16 * np.eye(1), 0 * one, one, np.log(0.02) * one, 0 * one)
    none = np.full((2, MOST_CYCLES), np.nan)
    belief = CycleBelief(prior, 0.01 * np.arange(MOST_CYCLES), none, none)
    before, _ = belief.terms(limit("kidney_dose_23"))
    assert np.median(before[0, :, 0]) == pytest.approx(5e-4, rel=0.02)
    assert np.std(np.log(before[0, :, 0])) == pytest.approx(0.4, rel=0.03)
    dose, given = np.log(np.array([7e-4, 9e-4])), np.array([True, False])
    seen = belief.seen(0, dose, np.zeros(2), given, 0.0)
    linear, quadratic = seen.terms(limit("kidney_bed_40"))
    np.testing.assert_allclose(linear[0, :, 0], 7e-4)
    np.testing.assert_allclose(linear[0, :, 3], 7e-4 * np.exp(0.03))
    np.testing.assert_allclose(quadratic[0, :, 0], 0.02 * 7e-4**2)
    assert np.std(linear[1, :, 0]) > 1e-4  # the other got nothing, so nothing was seen
    unsure = belief.seen(0, dose, 0.2 * np.ones(2), given, 0.1)
    spread = np.std(np.log(unsure.terms(limit("kidney_dose_23"))[0][0]), axis=0)
    np.testing.assert_allclose(spread, 0.2, rtol=0.05)


def test_the_regression_is_unbiased_for_patients_near_a_limit(done):
    """The error does not go with the truth: shrunk estimates would be too low where doses are high. 48 patients know a
    slope to 0.03."""
    course = done["fixed"]
    for region in ("kidneys", "liver"):
        k = course.scene.truth.regions.index(region)
        true, found = np.log(course.dose_Gy[:, 0, k]), course.log_estimate[:, 0, k]
        assert np.polyfit(true, found, 1)[0] == pytest.approx(1.0, abs=0.1)
    tumour = course.scene.truth.tumours[0]
    there = course.scene.group.class_mL[:, 0] > 1e-3
    error = (course.log_estimate[:, 0, tumour] - np.log(course.dose_Gy[:, 0, tumour]))[there]
    assert np.std(error) < 0.3


def test_drift_makes_later_cycles_no_richer(design):
    """The mean of the factor is 1: known to 2 % with 480 patients and a sd of 0.45 after five steps."""
    factor = np.concatenate([np.exp(drift_of(group(design, k), ("kidneys", "tumour_1"))) for k in range(10)])
    np.testing.assert_allclose(factor.mean(axis=0)[5], 1.0, atol=0.06)
    assert factor[:, 5, 1].std() > 0.3
    assert np.all(factor[:, 0] == 1.0)


def test_concentrations_follow_all_tumours_and_activities_their_own(done):
    scene = done["fixed"].scene
    first, g, tumours = np.zeros((BLOCK, CLASSES)), scene.group, scene.truth.tumours
    uneven = first.copy()
    uneven[:, 0], uneven[:, 1:] = np.log(0.5), 0.0
    a, b = (at_size(scene.truth, x, g.class_mL) for x in (first, uneven))
    many = np.argmax(g.lesions.count)
    assert b.dose[many, tumours[0]] == pytest.approx(a.dose[many, tumours[0]], rel=0.15)
    ratio = (b.tia / a.tia)[many, tumours]
    assert ratio[0] / ratio[1] == pytest.approx(0.5, rel=0.01)
    tiny = at_size(scene.truth, first + np.log(1e-3), g.class_mL)
    assert np.all(tiny.tia[:, tumours] < 0.01 * a.tia[:, tumours])  # below the smallest size that was solved


@pytest.mark.parametrize("days", [365.0, 5.0, 1464.0])
def test_follow_up_ends_on_its_day(design, days):
    [course] = courses(
        design_of(design.model_dump(mode="json") | {"arms": [WORDS["arms"][0]], "follow_up_days": days}), 0
    )
    end = followed(course)
    assert np.all(end.survival_d[~end.died] == days)
    assert np.all(end.survival_d <= days)


def test_the_lowest_platelets_are_told_even_in_long_courses(done):
    """Twelve cycles of much marrow dose: a count for everybody, and lower for who got more."""
    course = done["fixed"]
    k = course.scene.truth.regions.index("red_marrow")
    wide = np.zeros((BLOCK, 12, course.dose_Gy.shape[2]))
    wide[..., k] = np.linspace(0.05, 0.4, BLOCK)[:, None]
    long = replace(course, dose_Gy=wide, activity_MBq=np.ones((BLOCK, 12)))
    found = _platelets(long, np.zeros(BLOCK))
    assert np.all(np.isfinite(found))
    assert np.all(np.diff(found) < 0)
