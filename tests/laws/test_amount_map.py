"""Maps over the ligand amount against direct solves of the same schedules."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from pbpk.amount_map import amount_map
from pbpk.schedules import integrated
from pbpk.solve import segments, solve
from tests.reference.reference_pbpk import WEEKS_6_MIN, default_patient, every_option

KIN = default_patient()
MBQ_PER_NMOL = 726.8
GIVEN_MBQ, GIVEN_NMOL = np.array([7400.0, 5000.0, 3000.0]), np.array([90.0, 140.0, 30.0])


@pytest.fixture(scope="module")
def made():
    return amount_map(KIN, 25.0, 200.0)


def directly(rtol=1e-9):
    """TIA [cycle, pool] of the three cycles solved in one course with both species."""
    start = WEEKS_6_MIN * np.arange(3.0)
    end = 3 * WEEKS_6_MIN + 40 * np.log(2) / float(KIN.decay[0])
    seg = segments(start, np.zeros(3), GIVEN_NMOL, GIVEN_MBQ / MBQ_PER_NMOL, (), end)
    found = solve(KIN, seg, rtol=rtol).integrals
    tia = np.concatenate([found.organ, found.blood], axis=1)[..., 0] * MBQ_PER_NMOL / 60
    return np.diff(tia, axis=0, prepend=0)


def test_a_schedule_of_the_map_is_the_direct_solve(made):
    # brain takes up nothing but its plasma; all pools are compared. 1e-5: error of the map, and what one cycle leaves
    ours = np.asarray(made(GIVEN_MBQ, GIVEN_NMOL).tia_MBq_h)
    np.testing.assert_allclose(ours, directly(), rtol=1e-5)
    assert made.error.max() < 1e-5
    assert made.left_over < 1e-4


def test_amounts_matter(made):
    """Negative control: the same activities with one amount for all cycles."""
    ours = np.asarray(made(GIVEN_MBQ, np.full(3, 90.0)).tia_MBq_h)
    assert np.abs(ours / directly() - 1).max() > 1e-2


def test_the_kill_integral_is_that_of_a_direct_solve(made):
    end = 40 * np.log(2) / float(KIN.decay[0])
    found = solve(KIN, segments([0.0], [0.0], [140.0], [5000 / MBQ_PER_NMOL], (), end)).integrals.kill[-1, :, 0]
    ours = made(np.array([5000.0]), np.array([140.0])).kill_MBq2_h2[0]
    np.testing.assert_allclose(ours, found * (MBQ_PER_NMOL / 60) ** 2, rtol=1e-5)


def test_the_derivative_by_amount_is_a_difference(made):
    total = lambda amount: jnp.sum(made(GIVEN_MBQ, amount).tia_MBq_h[:, 4])
    by_hand = np.asarray(jax.grad(total)(jnp.asarray(GIVEN_NMOL)))
    step = 0.05
    shifted = [[GIVEN_NMOL + sign * step * row for sign in (1, -1)] for row in np.eye(3)]
    differences = [(float(total(jnp.asarray(a))) - float(total(jnp.asarray(b)))) / (2 * step) for a, b in shifted]
    np.testing.assert_allclose(by_hand, differences, rtol=1e-6)
    assert np.all(by_hand < 0)


def test_an_infusion_has_its_own_map(made):
    slow = amount_map(KIN, 50.0, 200.0, infusion_min=30.0)
    seg = segments([0.0], [30.0], [90.0], [7400 / MBQ_PER_NMOL], (), 40 * np.log(2) / float(KIN.decay[0]))
    theirs = solve(KIN, seg, rtol=1e-9).integrals.organ[-1, :, 0] * MBQ_PER_NMOL / 60
    ours = np.asarray(slow(np.array([7400.0]), np.array([90.0])).tia_MBq_h)[0, : len(KIN.organs)]
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    assert np.abs(ours / np.asarray(made([7400.0], [90.0]).tia_MBq_h)[0, : len(KIN.organs)] - 1).max() > 1e-4


def test_fewer_nodes_say_a_larger_error(made):
    coarse = amount_map(KIN, 25.0, 200.0, nodes=4)
    assert coarse.error.max() > 10 * made.error.max()


def test_an_amount_outside_is_not_a_number(made):
    found = np.asarray(made([7400.0, 7400.0], [90.0, 500.0]).tia_MBq_h)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize(("low", "high"), [(0.0, 10.0), (20.0, 10.0)])
def test_a_range_that_is_none_is_refused(low, high):
    with pytest.raises(InputError, match="0 < low < high"):
        amount_map(KIN, low, high)


# Schedules: the map where cycles do not touch, direct solves where they do

SIX_WEEKS_H = 6 * 7 * 24.0
STARTS_H = SIX_WEEKS_H * np.arange(3)


def test_cycles_apart_are_read_from_the_map(made):
    found, how = integrated(KIN, made, GIVEN_MBQ, GIVEN_NMOL, STARTS_H)
    assert how == "amount map"
    np.testing.assert_array_equal(found.tia_MBq_h, made(GIVEN_MBQ, GIVEN_NMOL).tia_MBq_h)


def test_cycles_that_touch_are_solved_together(made):
    """A week apart: the same course in one solve. The map, which knows nothing of the interval, is off."""
    start_h = 7 * 24.0 * np.arange(3)
    found, how = integrated(KIN, made, GIVEN_MBQ, GIVEN_NMOL, start_h)
    assert how.startswith("solved directly: cycles closer than 1008 h")
    seg = segments(60 * start_h, np.zeros(3), GIVEN_NMOL, GIVEN_MBQ / MBQ_PER_NMOL, (), 60 * start_h[-1] + 4e5)
    whole = solve(KIN, seg).integrals
    tia = np.concatenate([whole.organ, whole.blood], axis=1)[..., 0] * MBQ_PER_NMOL / 60
    np.testing.assert_allclose(found.tia_MBq_h, np.diff(tia, axis=0, prepend=0), rtol=1e-5)
    assert np.abs(np.asarray(found.tia_MBq_h) / np.asarray(made(GIVEN_MBQ, GIVEN_NMOL).tia_MBq_h) - 1).max() > 0.05


def test_a_direct_solve_of_cycles_apart_is_the_map(made):
    found, how = integrated(KIN, made, GIVEN_MBQ, GIVEN_NMOL, STARTS_H, touch=1e-9)
    assert how.endswith("of the next amount still in the body")
    map_says = made(GIVEN_MBQ, GIVEN_NMOL)
    np.testing.assert_allclose(found.tia_MBq_h, map_says.tia_MBq_h, rtol=1e-4)
    np.testing.assert_allclose(found.kill_MBq2_h2, map_says.kill_MBq2_h2, rtol=1e-4)


def test_kinetics_of_each_cycle_and_amounts_outside_are_solved(made):
    drifted = [eqx.tree_at(lambda k: k.receptors, KIN, KIN.receptors * 0.8**c) for c in range(3)]
    changing, how = integrated(drifted, made, GIVEN_MBQ, GIVEN_NMOL, STARTS_H)
    assert how == "solved directly: kinetics that change"
    fixed = made(GIVEN_MBQ, GIVEN_NMOL).tia_MBq_h
    tumour = KIN.organs.index("tumour_1")
    ratio = np.asarray(changing.tia_MBq_h / fixed)[:, tumour]
    assert ratio[0] == pytest.approx(1, abs=1e-4)
    assert ratio[0] > ratio[1] > ratio[2]
    _, how = integrated(KIN, made, [7400.0], [300.0], [0.0])
    assert how == "solved directly: an amount outside 25 to 200 nmol"


def test_a_cycle_within_the_infusion_before_it_is_refused():
    slow = amount_map(KIN, 50.0, 200.0, infusion_min=30.0)
    with pytest.raises(InputError, match="after the infusion of 30 min"):
        integrated(KIN, slow, [7400.0, 7400.0], [90.0, 90.0], [0.0, 0.25])


def test_a_map_of_another_body_is_refused(made):
    with pytest.raises(InputError, match="other organs"):
        integrated(every_option(), made, [7400.0], [90.0], [0.0])


@pytest.mark.parametrize(
    ("says", "schedule"),
    {
        "one of each": ([7400.0], [90.0, 90.0], [0.0, 1008.0]),
        "hours that increase": ([7400.0, 7400.0], [90.0, 90.0], [1008.0, 0.0]),
        "amounts above zero": ([7400.0], [0.0], [0.0]),
        "activities from 0 to": ([7.4e6], [100.0], [0.0]),
        r"amounts \[inf\]": ([7400.0], [np.inf], [0.0]),
    }.items(),
)
def test_an_impossible_schedule_is_refused(made, says, schedule):
    with pytest.raises(InputError, match=says):
        integrated(KIN, made, *schedule)
