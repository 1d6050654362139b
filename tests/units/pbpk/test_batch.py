"""Chunks of patients: results do not depend on how they are cut, and a patient that fails stays alone."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbpk.batch import Part, Status, solve_many, together
from pbpk.solve import PLANNING_RTOL, solve
from tests.reference.reference_pbpk import bolus, default_patient

COURSE = bolus(end_min=10_000.0)
COUNT = 7


@pytest.fixture(scope="module")
def patients():
    spread = np.exp(0.2 * np.random.default_rng(3).standard_normal((21, COUNT)))
    kin = jax.tree.map(lambda x: jnp.repeat(x, COUNT, axis=-1), default_patient())
    return eqx.tree_at(lambda k: k.receptors, kin, kin.receptors * spread)


def solved(patients, count=COUNT, **options) -> Part:
    return together(solve_many(patients, count, COURSE, **options))


@pytest.fixture(scope="module")
def by_four(patients):
    return solved(patients, chunk=4, workers=2)


def test_each_patient_is_the_solution_of_its_own(patients, by_four):
    # patients of a chunk share steps, so they differ by less than the planning tolerance
    whole = solve(patients, COURSE, rtol=1e-9).integrals
    np.testing.assert_allclose(by_four.organ, whole.organ[-1], rtol=1e-5)
    assert by_four.organ.shape == (21, COUNT)
    assert list(by_four.status) == [Status.OK] * COUNT


def test_results_do_not_depend_on_workers(patients, by_four):
    again = solved(patients, chunk=4, workers=1)
    np.testing.assert_array_equal(again.organ, by_four.organ)


def test_chunks_of_another_size_agree_within_the_tolerance(patients, by_four):
    other = solved(patients, chunk=3, workers=1)
    np.testing.assert_allclose(other.organ, by_four.organ, rtol=PLANNING_RTOL)
    assert np.any(other.organ != by_four.organ)


def test_patients_can_be_made_chunk_by_chunk(patients, by_four):
    asked = []

    def make(first, last):
        asked.append((first, last))
        return jax.tree.map(lambda x: x[..., first:last], patients)

    made = solved(make, chunk=4, workers=1)
    assert asked == [(0, 4), (4, 7)]
    np.testing.assert_array_equal(made.organ, by_four.organ)


def test_a_patient_that_cannot_be_solved_is_marked_and_the_others_are_not(patients, by_four):
    broken = eqx.tree_at(lambda k: k.receptors, patients, patients.receptors.at[:, 2].set(np.nan))
    found = solved(broken, chunk=4, workers=1)
    assert found.status[2] != Status.OK
    assert np.isnan(found.organ[:, 2]).all()
    others = [k for k in range(COUNT) if k != 2]
    np.testing.assert_allclose(found.organ[:, others], by_four.organ[:, others], rtol=PLANNING_RTOL)


def test_nobody_gives_no_part(patients):
    assert list(solve_many(patients, 0, COURSE)) == []


def test_an_impossible_patient_is_marked_and_the_others_are_not(patients, by_four):
    """A fraction above 1 solves without complaint and gives negative bile."""
    returned = patients.returned_fraction.at[:, 2].set(1.8)
    found = solved(eqx.tree_at(lambda k: k.returned_fraction, patients, returned), chunk=4, workers=2)
    assert list(found.status) == [Status.OK] * 2 + [Status.IMPOSSIBLE] + [Status.OK] * (COUNT - 3)
    assert np.isnan(found.organ[:, 2]).all()
    others = np.arange(COUNT) != 2
    np.testing.assert_allclose(found.organ[:, others], by_four.organ[:, others], rtol=1e-3)
