"""Trials whose scans are those of the measurement model: shorter ones are noisier, spill-over shifts, others stay."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dose.errors import InputError
from twin.trial.counted import Counted, counted, of_totals, reading_of, totals
from twin.trial.design import TRIAL_ORGANS, design_of
from twin.trial.job import TrialJob, courses
from twin.trial.scan_noise import COUNTING, counting_error, own_sd

REGIONS = (*TRIAL_ORGANS, "tumour_1", "tumour_2")
MEASURED = {"times_h": [24, 96], "model": "measured"}


def words(**imaging):
    return {"name": "t", "patients": 4, "seed": 3, "arms": [{"name": "a", "cycles": 1}], "imaging": imaging}


def block(activity_MBq, volumes_mL, lesions):
    """Patients, activities [patient, region, scan] and lesions of each class, without a body around them."""
    activity = np.asarray(activity_MBq, float)[None, :, None]
    truth = SimpleNamespace(regions=REGIONS, tumours=np.array([len(REGIONS) - 2, len(REGIONS) - 1]))
    classes = np.repeat([0, 1], lesions)[None]
    group = SimpleNamespace(classes=classes, class_mL=np.array([volumes_mL], float))
    return truth, group, activity, np.array([[600.0]])


def found(correction="recovery", scan_min=None, activity=None, volumes=(5.0, 30.0), lesions=(1, 1)):
    """Recovered activity over truth, and relative sd, [region]."""
    activity = np.array([150, 200, 30, 20, 10, 1, 20, 8, 40.0]) if activity is None else activity
    truth, group, given, rest = block(activity, volumes, lesions)
    mean, variance = totals(reading_of("177Lu", correction, scan_min), truth, group, given, rest)
    return mean[0, :, 0] / activity, np.sqrt(variance[0, :, 0]) / activity


def test_a_design_without_the_model_has_the_words_it_had():
    plain = design_of(words(times_h=[24, 96]))
    assert set(plain.imaging.model_dump()) == {"times_h", "proportional", "additive_MBq"}
    assert "model" not in str(TrialJob(plain).manifest())
    assert counting_error(plain.imaging) == COUNTING
    assert counted(plain.regimens[0], None, None, None, None) == Counted(0.0, 0.0)  # type: ignore[arg-type]


def test_a_design_with_the_model_reads_itself_back():
    design = design_of(words(**MEASURED, scan_min=5))
    assert design_of(design.model_dump(mode="json")) == design
    assert design.regimens[0].imaging.scan_min == 5


@pytest.mark.parametrize("wrong", [{"scan_min": 5}, {"correction": "gtm"}, {**MEASURED, "scan_min": 0}])
def test_what_the_model_cannot_do_is_refused(wrong):
    with pytest.raises(InputError, match="imaging"):
        design_of(words(**wrong))


def test_a_nuclide_without_a_model_is_refused():
    with pytest.raises(InputError, match="shipped measurement model"):
        design_of(words(**MEASURED) | {"tracer": "161Tb-PSMA-617"})


def test_a_quarter_of_the_time_doubles_the_noise():
    np.testing.assert_allclose(found(scan_min=5)[1], 2 * found(scan_min=20)[1], rtol=1e-9)


def test_undoing_spill_over_leaves_none():
    np.testing.assert_allclose(found("gtm")[0], 1.0, rtol=1e-6)
    assert np.abs(found("recovery")[0] - 1).max() > 0.02


def test_a_class_of_many_lesions_is_read_like_its_lesions():
    """Ten lesions of 3 mL in a class of 30 mL are 3 mL lesions with a tenth of the activity each."""
    one = np.array([150, 200, 30, 20, 10, 1, 20, 8, 4.0])
    ten = np.array([150, 200, 30, 20, 10, 1, 20, 8, 40.0])
    alone, all_ten = (
        found(activity=one, volumes=(5, 3), lesions=(1, 1)),
        found(activity=ten, volumes=(5, 30), lesions=(1, 10)),
    )
    np.testing.assert_allclose(all_ten[0][-1], alone[0][-1], rtol=1e-9)
    np.testing.assert_allclose(all_ten[1][-1], alone[1][-1] / np.sqrt(10), rtol=1e-9)


def test_the_fast_model_s_own_patient_is_read_as_by_it():
    """Tumours of the model's own sizes alone in their classes, no other: what the measurement model itself says."""
    from imaging.scanner.measurement_file import measurement_model

    model = measurement_model("177Lu")
    activity = dict(zip(REGIONS, (150, 200, 30, 20, 10, 1, 20, 8.0, 40.0), strict=True)) | {"remainder": 600.0}
    renamed = {"tumour_1": "tumour_2", "tumour_2": "tumour_3"}  # of 5 and 30 mL
    source = np.zeros(len(model.regions))
    for name, value in activity.items():
        source[model.regions.index(renamed.get(name, name))] = value
    expected = np.asarray(model.recovered(model.expected(source)))
    organs = [model.regions.index(name) for name in TRIAL_ORGANS]
    np.testing.assert_allclose(found()[0][: len(organs)], expected[organs] / source[organs], rtol=1e-9)
    sd = np.sqrt(np.diag(np.asarray(model.covariance(source)))) / np.diag(np.asarray(model.response))
    np.testing.assert_allclose(found()[1][: len(organs)], sd[organs] / source[organs], rtol=1e-9)


def test_what_overshoots_stays_finite():
    shift, sd = of_totals(np.array([-1.0, 2.0]), np.array([1e9, 0.01]), np.ones(2))
    assert np.isfinite(shift).all()
    assert np.all(sd <= 2.0)


def test_the_constant_counting_error_goes_where_the_model_comes():
    plain, measured = (design_of(words(**w)).imaging for w in ({"times_h": [24, 96]}, MEASURED))
    gone = own_sd("kidneys", plain) ** 2 - own_sd("kidneys", measured) ** 2
    np.testing.assert_allclose(gone, COUNTING**2, rtol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["linear", "laplace"])
def test_a_trial_with_short_scans_states_more_error(estimator):
    imaging = {"long": {**MEASURED}, "short": {**MEASURED, "scan_min": 0.5}, "plain": {"times_h": [24, 96]}}
    arms = [{"name": n, "cycles": 1, "estimator": estimator, "imaging": i} for n, i in imaging.items()]
    done = {c.arm.name: c for c in courses(design_of(words() | {"arms": arms, "imaging": {"times_h": [24, 96]}}), 0)}
    sd = {n: np.nanmedian(c.log_sd[:, 0], axis=0) for n, c in done.items()}
    k = done["long"].scene.truth.regions.index("kidneys")
    assert sd["long"][k] < sd["short"][k]
    assert sd["long"][k] <= sd["plain"][k] * 1.001
    for course in done.values():
        np.testing.assert_array_equal(course.dose_Gy, done["plain"].dose_Gy)  # truth is the same
    apart = done["short"].log_estimate - done["long"].log_estimate
    assert np.nanmedian(np.abs(apart[:, 0, k])) > 0


@pytest.mark.slow
def test_spill_over_left_alone_moves_estimates_by_its_own_shift():
    design = design_of(words(**MEASURED))
    [course] = courses(design, 0)
    truth, group = course.scene.truth, course.scene.group
    given = truth.activity[..., [truth.times_h.index(t) for t in (24.0, 96.0)]] * 7400
    rest = truth.rest[:, [truth.times_h.index(t) for t in (24.0, 96.0)]] * 7400
    assert np.all(rest > 0)
    gtm = replace(course.arm, imaging=design_of(words(**MEASURED, correction="gtm")).imaging)
    left, undone = (counted(arm, truth, group, given, rest) for arm in (course.arm, gtm))
    np.testing.assert_allclose(undone.shift, 0, atol=1e-6)
    k = truth.regions.index("kidneys")
    assert np.all(np.abs(left.shift[:, k]) < 0.3)
    assert np.isfinite(left.sd).all()
