"""Laws of bladder and gut contents: an independent solve, balance, closed forms, order of convergence, gradients."""

import math
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbpk.contents import contents, excretion_times_min
from pbpk.segments import Segments
from pbpk.solve import freeze, solve, solve_on
from pbpk.voiding import MIN_PER_D, FirstOrderVoiding, Voiding, gut_transit_per_d
from tests.reference import reference_contents as reference
from tests.reference.reference_pbpk import bolus, default_patient

KIN = default_patient()
DECAY = float(KIN.decay[0])
END_MIN = 4320.0
SEG = bolus(100.0, 10.0, excretion_times_min(0.0, 0.0, END_MIN), END_MIN)
EVERY_4_H = Voiding(4.0, first_void_h=1.5, residual_fraction=0.1)
EXACT = 1e-12
"""Rounding of sums over some hundred pieces of time."""
INDEPENDENT = 1e-8
"""At fine times two methods that share no integration agree to 3e-9, a bladder after three days being the worst."""
RECOMMENDED = 5e-6
"""At the recommended times the same amount is off by 1.2e-6."""


@cache
def solution(rtol=1e-10):
    return solve(KIN, SEG, rtol=rtol, bed=False)


def found(voiding=EVERY_4_H, **options):
    return contents(solution(), KIN, SEG, voiding, **options)


def bladder_integral(voiding):
    return float(found(voiding).integral_to_end_nmol_min[0, 0])


# against the model with contents as rows of its state


@cache
def rows():
    return reference.with_rows()


def worst(voiding=reference.VOIDING, times_min=None):
    off = reference.differences(reference.ours(voiding, times_min=times_min), rows())
    return max(float(np.max(part)) for part in off.values())


def fine_times_min():
    """A twentieth longer from each to the next, from 3 s after each dose and the infusion's end on."""
    return np.concatenate([t + 0.05 * 1.05 ** np.arange(240) for t in (0.0, 1440.0, 1470.0)])


def test_contents_are_those_of_a_model_that_holds_them_as_rows():
    assert worst(times_min=fine_times_min()) <= INDEPENDENT
    assert worst() <= RECOMMENDED


@pytest.mark.parametrize("wrong", [Voiding(5.0, 4.0, 0.1), Voiding(5.0, 3.0, 0.0)], ids=["an hour late", "no residual"])
def test_other_voids_are_seen(wrong):
    """Negative control: voids moved by an hour, or without the residual of a tenth."""
    assert worst(wrong) > 0.1


# balance


def gauss_min(cuts, points=8):
    """Times and weights (min) that integrate a smooth function between each two cuts."""
    x, w = np.polynomial.legendre.leggauss(points)
    half, middle = np.diff(cuts)[:, None] / 2, (cuts[1:] + cuts[:-1])[:, None] / 2
    return (middle + half * x).ravel(), (half * w).ravel()


def test_the_integral_is_that_of_the_amounts():
    """The code takes it from the balance; here amounts are summed at Gauss points between edges and voids."""
    voids, _ = EVERY_4_H.voids_min(np.zeros(1), END_MIN)
    times, weights = gauss_min(np.unique(np.concatenate([[0.0], SEG.end_min, voids])))
    summed = jnp.tensordot(weights, found(ask_min=times).amount_nmol, 1)
    np.testing.assert_allclose(summed, found().integral_nmol_min[-1], rtol=1e-11)


def imbalance(here):
    """Hot ligand excreted less what is held, was passed and decayed, over what was excreted."""
    routes = lambda x: jnp.stack([x[:, 0], jnp.sum(x[:, 1:], axis=1)], axis=1)
    held, decayed = routes(here.amount_nmol), DECAY * routes(here.integral_nmol_min)
    return float(jnp.max(jnp.abs(here.excreted_nmol - held - here.passed_nmol - decayed) / here.excreted_nmol))


@pytest.mark.parametrize("voiding", [EVERY_4_H, FirstOrderVoiding.icrp(), Voiding(math.inf)], ids=str)
def test_excreted_ligand_is_held_was_passed_or_has_decayed(voiding):
    assert imbalance(found(voiding)) <= EXACT


def test_a_void_left_out_is_seen():
    """Negative control: what was passed without the first void."""
    here = found()
    first = here.passed_nmol[jnp.argmax(here.passed_nmol[:, 0, 0] > 0), 0]
    assert imbalance(eqx.tree_at(lambda f: f.passed_nmol, here, here.passed_nmol.at[:, 0].add(-first))) > 0.1


def test_what_was_excreted_is_the_ledger():
    np.testing.assert_allclose(found().excreted_nmol, solution().integrals.ledger[:, :2], rtol=EXACT)


# closed forms: no interpolation error in these, whatever the times


def test_the_integral_of_a_first_order_bladder_is_closed():
    excreted = float(solution().integrals.ledger[-1, 0, 0])
    assert bladder_integral(FirstOrderVoiding(12.0)) == pytest.approx(excreted / (DECAY + 12 / MIN_PER_D), rel=EXACT)


def test_a_bladder_never_emptied_holds_all_decays():
    excreted = float(solution().integrals.ledger[-1, 0, 0])
    assert bladder_integral(Voiding(math.inf)) == pytest.approx(excreted / DECAY, rel=EXACT)
    assert bladder_integral(Voiding(1e7)) == pytest.approx(excreted / DECAY, rel=EXACT)


@pytest.mark.parametrize("sex", ["male", "female"])
def test_integrals_of_the_gut_are_a_product(sex):
    rate = gut_transit_per_d(sex) / MIN_PER_D
    gut = found(transit_per_d=gut_transit_per_d(sex)).integral_to_end_nmol_min[1:, 0]
    passed = np.cumprod(np.append(1.0, rate / (rate + DECAY)))[:-1]
    expected = float(solution().integrals.ledger[-1, 1, 0]) * passed / (rate + DECAY)
    np.testing.assert_allclose(gut, expected, rtol=EXACT)


def test_voids_after_the_end_empty_what_is_left():
    """With nothing more excreted, a residual r leaves a geometric series."""
    here, (_, later) = found(), EVERY_4_H.voids_min(np.zeros(1), END_MIN)
    held = float(here.amount_nmol[-1, 0, 0])
    first, step, r = later[0] - END_MIN, 240.0, EVERY_4_H.residual_fraction
    each = r * math.exp(-DECAY * step)
    tail = -math.expm1(-DECAY * first) - math.exp(-DECAY * first) * r * math.expm1(-DECAY * step) / (1 - each)
    after = float(here.integral_to_end_nmol_min[0, 0] - here.integral_nmol_min[-1, 0, 0])
    assert after == pytest.approx(held * tail / DECAY, rel=1e-8)  # a difference of two integrals 1e4 times as large


def test_voiding_more_often_lowers_the_bladders_integral():
    hours = (0.5, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, math.inf)
    integrals = [bladder_integral(Voiding(h)) for h in hours]
    assert integrals == sorted(integrals)
    left = [bladder_integral(Voiding(4.0, residual_fraction=r)) for r in (0.0, 0.1, 0.5, 0.9)]
    assert left == sorted(left)


def test_bladder_and_gut_do_not_know_of_each_other():
    one, other = found(), found(FirstOrderVoiding(6.0))
    np.testing.assert_array_equal(one.amount_nmol[:, 1:], other.amount_nmol[:, 1:])


# accuracy


FINE = bolus(100.0, 10.0, END_MIN * np.exp(-13.0 * np.arange(1, 320) / 320), END_MIN)


@cache
def fine_solution():
    return solve(KIN, FINE, rtol=1e-11, bed=False)


def coarser(every: int):
    """The bladder and gut from the same solution, known only at every so many edges."""
    fine, keep = fine_solution(), slice(every - 1, None, every)
    ledger = fine.integrals._replace(ledger=fine.integrals.ledger[keep])
    known = (fine.y[keep], fine.ratio[keep], ledger)
    less = eqx.tree_at(lambda s: (s.y, s.ratio, s.integrals), fine, known)
    seg = bolus(100.0, 10.0, FINE.end_min[keep][:-1], END_MIN)
    return contents(less, KIN, seg, EVERY_4_H, ask_min=[60.0, 200.0, 239.0, 700.0, 1500.0, 3000.0]).amount_nmol[..., 0]


def test_amounts_converge_with_the_sixth_power_of_the_segments():
    """Segments 2 and 16 times as long, by interpolation alone: three doublings."""
    truth = coarser(1)
    errors = [float(jnp.max(jnp.abs(coarser(every) - truth) / jnp.max(truth, axis=0))) for every in (2, 16)]
    assert 5.5 < math.log2(errors[1] / errors[0]) / 3 < 7.5, errors


# patients, courses, derivatives


def several(factors=(1.0, 0.5, 1.4)):
    """Patients who differ in filtration and in what their livers and kidneys let go."""
    batch = jax.tree.map(lambda x: jnp.repeat(x, len(factors), axis=-1), KIN)
    moved = lambda k: (k.filtration, k.release, k.decay)
    scale = jnp.asarray(factors)
    return eqx.tree_at(moved, batch, tuple(scale * x for x in moved(batch)))


def test_the_order_of_patients_does_not_matter():
    batch, order = several(), np.array([2, 0, 1])
    exchanged = jax.tree.map(lambda x: x[..., order], batch)
    of = lambda kin: contents(solve(kin, SEG, rtol=1e-6, bed=False), kin, SEG, EVERY_4_H)
    here, there = of(batch), of(exchanged)
    for name in ("amount_nmol", "integral_nmol_min", "integral_to_end_nmol_min", "passed_nmol"):
        mine, theirs = getattr(here, name)[..., order], getattr(there, name)
        np.testing.assert_allclose(mine, theirs, rtol=1e-11, atol=1e-14)
    assert np.ptp(here.integral_to_end_nmol_min[0]) > 0


def test_a_patient_of_a_batch_is_the_patient_alone():
    batch = several()
    together = contents(solve(batch, SEG, rtol=1e-6, bed=False), batch, SEG, EVERY_4_H)
    alone = jax.tree.map(lambda x: x[..., 1:2], batch)
    found_alone = contents(solve(alone, SEG, rtol=1e-6, bed=False), alone, SEG, EVERY_4_H)
    # 1e-6: each solve has its own steps
    np.testing.assert_allclose(
        together.integral_to_end_nmol_min[:, 1:2], found_alone.integral_to_end_nmol_min, rtol=1e-6
    )


def test_a_course_solved_in_two_parts_fills_the_bladder_alike():
    """The second part begins from what the first left; a void without residual falls where they meet."""
    clean, half = Voiding(4.0), 1440.0
    kin, ask = default_patient(), np.array([100.0, 500.0, 700.0])
    times = np.concatenate([excretion_times_min(0.0, 0.0, half), half + np.arange(0.0, half, 60.0)])
    whole = bolus(100.0, 10.0, times, 2 * half)
    # both species, as a solve that begins from ligand in the body
    one = solve(kin, whole, rtol=1e-10, bed=False, form="total and hot")
    at = int(np.argmin(np.abs(whole.end_min - half)))
    later = Segments(*(np.asarray(x)[at + 1 :] for x in whole))
    other = solve(kin, later, rtol=1e-10, bed=False, start=one.y[at])
    together = contents(one, kin, whole, clean, ask_min=half + ask).amount_nmol[:, 0]
    continued = contents(other, kin, later, clean, ask_min=ask, start=one.y[at]).amount_nmol[:, 0]
    np.testing.assert_allclose(continued, together, rtol=1e-7)


SHORT = bolus(100.0, 10.0, excretion_times_min(0.0, 0.0, 1440.0), 1440.0)


def moved(logs):
    """The patient with filtration, release and decay scaled."""
    fields = lambda k: (k.filtration, k.release, k.decay)
    return eqx.tree_at(fields, KIN, tuple(jnp.exp(x) * f for x, f in zip(logs, fields(KIN), strict=True)))


@pytest.mark.slow
def test_gradients_of_the_integrals_are_those_of_differences():
    grid = freeze(KIN, SHORT, rtol=1e-6)

    def integrals(logs, adjoint=False):
        kin = moved(logs)
        here = contents(solve_on(kin, grid, bed=False, adjoint=adjoint), kin, SHORT, EVERY_4_H)
        return here.integral_to_end_nmol_min[:2, 0]

    zero, step = jnp.zeros(3), 1e-4
    value = jax.jit(integrals)
    differences = jnp.stack([(value(step * e) - value(-step * e)) / (2 * step) for e in jnp.eye(3)], axis=1)
    scale = jnp.abs(value(zero))[:, None]
    # 1e-7: the cubic term of a central difference and rounding, over the integral
    np.testing.assert_allclose(jax.jit(jax.jacfwd(integrals))(zero) / scale, differences / scale, atol=1e-7)
    backwards = jax.jit(jax.jacrev(lambda logs: integrals(logs, adjoint=True)))(zero)
    np.testing.assert_allclose(backwards / scale, differences / scale, atol=1e-7)
    assert float(jnp.min(jnp.max(jnp.abs(differences / scale), axis=1))) > 0.01


def test_contents_can_be_compiled_with_the_solve_on_a_grid():
    grid = freeze(KIN, SHORT, rtol=1e-4)
    of = lambda kin: contents(solve_on(kin, grid, bed=False), kin, SHORT, EVERY_4_H).integral_to_end_nmol_min
    np.testing.assert_allclose(jax.jit(of)(KIN), of(KIN), rtol=1e-12)
