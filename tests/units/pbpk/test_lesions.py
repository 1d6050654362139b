"""The draw of lesions: a patient is the same in every range, bounds hold, errors; and the law against the PET data.

The law's figures are compared as in tests/validate/checks_lesions.py: within 3 bootstrap standard deviations (patients
drawn anew) of the data's.
"""

from dataclasses import replace

import jax
import numpy as np
import pytest
from scipy.special import ndtr

from dose.errors import InputError
from pbpk.lesions import BLOCK, MOST, MOST_PATIENTS, TARGETS, draw_lesions, lesion_law, number_probabilities
from tests.fit_lesions import Scans, data, number_of_large
from tests.runner import Skipped
from tests.validate.checks_lesions import GROUPS, agrees, drawn, figures

KEY = jax.random.key(3)
LAW = lesion_law("PSMA")
MANY = 4 * BLOCK


@pytest.fixture(scope="module")
def many():
    return draw_lesions(LAW, KEY, 0, MANY)


@pytest.fixture(scope="module")
def scans() -> Scans:
    try:
        return data()
    except Skipped as reason:
        pytest.skip(str(reason))


# draws


@pytest.mark.parametrize(("first", "last"), [(0, 1), (7, 8), (0, BLOCK), (BLOCK - 1, BLOCK + 2), (300, 900)])
def test_a_patient_is_the_same_to_the_last_bit_in_every_range(many, first, last):
    for part, whole in zip(draw_lesions(LAW, KEY, first, last), many, strict=True):
        np.testing.assert_array_equal(part, whole[first:last])


def test_patients_and_keys_differ(many):
    assert len(np.unique(many.volume_mL[:, 0])) == MANY
    assert not np.any(draw_lesions(LAW, jax.random.key(4), 0, 50).volume_mL[:, 0] == many.volume_mL[:50, 0])


def test_a_patient_far_out_is_drawn():
    assert draw_lesions(LAW, KEY, MOST_PATIENTS - 1, MOST_PATIENTS).count[0] >= 1


def test_arrays_are_of_numpy_and_have_a_row_for_each_patient(many):
    assert all(type(part) is np.ndarray for part in many)
    assert many.count.shape == (MANY,)
    assert many.volume_mL.shape == many.relative_uptake.shape == (MANY, MOST)
    assert many.volume_mL.dtype == np.float64


@pytest.mark.parametrize("target", TARGETS)
def test_lesions_stand_first_and_nothing_is_beyond_the_count(target):
    got = draw_lesions(lesion_law(target), KEY, 0, MANY)
    there = np.arange(MOST) < got.count[:, None]
    assert np.all((got.count >= 1) & (got.count <= MOST))
    for part in (got.volume_mL, got.relative_uptake):
        assert np.all((part > 0) == there)
        assert np.all(np.isfinite(part))


@pytest.mark.parametrize("target", TARGETS)
def test_no_lesion_is_below_the_least_volume_and_no_patient_above_the_most(target):
    law = lesion_law(target)
    got = draw_lesions(law, KEY, 0, MANY)
    assert got.volume_mL[got.volume_mL > 0].min() >= law.least_mL * (1 - 1e-12)
    assert got.volume_mL.sum(axis=1).max() <= law.most_mL * (1 + 1e-12)


def test_without_the_bound_some_patients_would_hold_more():
    """Negative control of the bound."""
    free = draw_lesions(replace(LAW, most_mL=np.inf), KEY, 0, MANY)
    assert 0.003 < np.mean(free.volume_mL.sum(axis=1) > LAW.most_mL) < 0.03


def test_the_bound_leaves_number_uptake_traits_and_smaller_patients_as_they_were(many):
    free = draw_lesions(replace(LAW, most_mL=np.inf), KEY, 0, MANY)
    small = free.volume_mL.sum(axis=1) <= LAW.most_mL
    np.testing.assert_array_equal(free.count, many.count)
    np.testing.assert_array_equal(free.volume_mL[small], many.volume_mL[small])
    np.testing.assert_array_equal(free.relative_uptake[small], many.relative_uptake[small])


# law


def test_numbers_are_drawn_as_their_probabilities_say():
    """4 standard errors of a share; mean within 4 standard errors."""
    n = drawn(LAW).count
    p = number_probabilities(LAW)
    assert p.sum() == pytest.approx(1.0, abs=1e-12)
    for most in (1, 2, 5, 20, 60):
        expected = p[:most].sum()
        assert abs(np.mean(n <= most) - expected) < 4 * np.sqrt(expected * (1 - expected) / len(n))
    assert abs(n.mean() - p @ np.arange(1, MOST + 1)) < 4 * n.std() / np.sqrt(len(n))


def test_volumes_without_patient_traits_are_a_normal_cut_at_one_millilitre():
    """Distribution of log volume at three points, 4 standard errors."""
    law = replace(LAW, volume_between=0.0, volume_number=0.0, most_mL=np.inf)
    log_volume = np.log(drawn(law, 2000).volume_mL)
    above = lambda v: ndtr((law.volume_log - v) / law.volume_within)
    for v in (0.5, 1.0, 3.0):
        expected = above(v) / above(0.0)
        error = np.sqrt(expected * (1 - expected) / len(log_volume))
        assert abs(np.mean(log_volume > v) - expected) < 4 * error


def test_mean_number_of_large_lesions_is_that_of_the_closed_form():
    scans = drawn(replace(LAW, most_mL=np.inf))
    large = scans.sums(scans.volume_mL >= 8.0)
    assert abs(large.mean() - number_of_large(LAW, 8.0)) < 4 * large.std() / np.sqrt(len(large))


def test_the_median_lesion_of_the_median_patient_has_relative_uptake_one():
    """Patients with the reference number, lesions near the reference volume; 4 standard errors, log sd 0.7."""
    law = replace(LAW, oligo_share=0.0)
    got = draw_lesions(law, KEY, 0, 20 * BLOCK)
    there = (got.count[:, None] == law.reference_number) & (np.abs(got.volume_mL / law.reference_mL - 1) < 0.2)
    uptake = np.log(got.relative_uptake[there])
    assert len(uptake) > 50
    assert abs(np.median(uptake)) < 4 * 1.25 * 0.7 / np.sqrt(len(uptake))


def test_uptake_rises_with_volume_up_to_the_flat_one():
    alike = replace(LAW, uptake_between=0.0, uptake_within=1e-9, uptake_number=0.0)
    scans = drawn(alike, 2000)
    expected = alike.uptake_volume * np.log(np.minimum(scans.volume_mL, alike.flat_mL) / alike.reference_mL)
    np.testing.assert_allclose(np.log(scans.suv / alike.reference_suv), expected, atol=1e-6)


@pytest.mark.parametrize("target", ["PSMB", "psma", ""])
def test_another_target_is_refused(target):
    with pytest.raises(InputError, match="target"):
        lesion_law(target)


@pytest.mark.parametrize(("first", "last"), [(-1, 3), (3, 3), (4, 3), (0, MOST_PATIENTS + 1)])
def test_numbers_that_are_no_range_are_refused(first, last):
    with pytest.raises(InputError, match="first, last"):
        draw_lesions(LAW, KEY, first, last)


# data


def test_the_data_are_of_scans_and_not_of_patients(scans):
    """`case_id` is a patient with up to six scans: counted by patient, lesions would be counted once a scan."""
    assert (len(scans.patient), len(np.unique(scans.patient)), len(scans.volume_mL)) == (497, 333, 8768)
    assert scans.count.max() == MOST
    assert scans.volume_mL.min() >= LAW.least_mL


@pytest.mark.parametrize("group", GROUPS)
def test_the_law_has_the_figures_of_the_data(scans, group):
    ours, seen, passed = agrees(LAW, group)
    assert passed, (ours, seen)


WRONG = {
    "no traits of uptake": ({"uptake_between": 0.0, "uptake_within": 0.706}, "spread"),
    "no spread within a patient": ({"uptake_between": 0.706, "uptake_within": 0.01}, "spread"),
    "no traits of volume": ({"volume_between": 0.0}, "spread"),
    "oligometastatic only": ({"oligo_share": 1.0}, "number"),
    "as many as counted by patient and not by scan": ({"poly_extra": 60.0}, "number"),
    "uptake without volume": ({"uptake_volume": 0.0}, "correlation"),
    "uptake without number": ({"uptake_number": 0.0}, "correlation"),
    "lesions twice as large": ({"least_mL": 2.0, "volume_log": LAW.volume_log + np.log(2)}, "volume"),
    "uptake half as high again": ({"reference_suv": 1.5 * LAW.reference_suv}, "suv"),
    "half as many": ({"poly_extra": 0.5 * LAW.poly_extra}, "total"),
}


@pytest.mark.parametrize(("change", "group"), WRONG.values(), ids=WRONG)
def test_another_law_has_not(scans, change, group):
    """Negative controls: each figure can fail."""
    assert not agrees(replace(LAW, **change), group)[2]


def test_figures_of_the_data_do_not_depend_on_the_order_of_scans(scans):
    turned = scans.of(np.arange(len(scans.patient))[::-1])
    for group, values in figures(scans).items():
        np.testing.assert_allclose(figures(turned)[group], values, rtol=1e-12)
