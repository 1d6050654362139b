"""Laws of every kinetic model of tests/problems.py, through `pbpk.simulate` and its general door."""

from functools import cache

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from pbpk.abstract import AbstractKineticModel
from pbpk.contract import check_kinetic_model
from pbpk.simulate import simulate
from tests.problems import PROBLEMS, Problem, WithEverything, saturable, three_pools

SECOND = 0.7
"""When the second administration comes, in half-lives: the first still acts."""
TIMES = np.array([0.0, 0.02, 0.2, SECOND, 0.75, 1.5, 4.0])
SOLVED = 1e-8
"""Two solves with rtol 1e-8 of one course, relative to the largest value; measured up to 7e-10."""
QUICK = ("V22 saturable", "microspheres")
"""Run by `make test`; compiling takes ten seconds a model and law, so the others wait for `make test-all`."""

every = pytest.mark.parametrize(
    "problem", [pytest.param(p, id=p.name, marks=() if p.name in QUICK else pytest.mark.slow) for p in PROBLEMS]
)


@cache
def course(problem: Problem, shares=(1.0, 0.5), ligand=(1.0, 1.0), shift_h=0.0, infusion_h=0.0):
    """Two administrations of the problem's agent, as NumPy: activity [region, time], TIA to the end [region]."""
    model = WithEverything(problem.make())
    half_life = model.nuclide.half_life_h
    given = [
        problem.given(shift_h + at * half_life, share, amount, infusion_h)
        for at, share, amount in zip((0.0, SECOND), shares, ligand, strict=True)
    ]
    found = simulate(model, given, shift_h + TIMES * half_life)
    return np.asarray(found.activity_MBq), np.asarray(found.tia_to_end_MBq_h)


def apart(a, b) -> float:
    """Largest difference of activities and of TIAs, each over the largest value."""
    return max(float(np.max(np.abs(x - y)) / np.max(np.abs(y))) for x, y in zip(a, b, strict=True))


def added(a, b):
    return tuple(x + y for x, y in zip(a, b, strict=True))


@every
def test_a_model_keeps_its_contract(problem):
    check_kinetic_model(problem.make())


def imbalance(problem) -> float:
    """Label in pools, sinks and decayed, less that given, at the end: TIA of everything is what was given / lambda."""
    decay = problem.make().nuclide.decay_constant_per_h
    return float(abs(decay * course(problem)[1][-1] / (1.5 * problem.activity_MBq) - 1))


@every
def test_label_is_somewhere_or_has_decayed(problem):
    assert imbalance(problem) <= SOLVED


@every
def test_all_label_together_only_decays(problem):
    second = 0.5 * np.where(TIMES >= SECOND, 2.0 ** -(TIMES - SECOND), 0.0)
    expected = problem.activity_MBq * (2.0**-TIMES + second)
    np.testing.assert_allclose(course(problem)[0][-1], expected, rtol=SOLVED)


@every
def test_no_activity_is_negative(problem):
    assert course(problem)[0].min() >= -SOLVED * problem.activity_MBq


class Leaking(AbstractKineticModel):
    """V21 with a thousandth of the kidney's content lost per hour, to nowhere."""

    nuclide = three_pools().nuclide
    pools = three_pools().pools
    regions = three_pools().regions

    def weights(self):
        return three_pools().weights()

    def entry(self, hot_nmol, total_nmol):
        return three_pools().entry(hot_nmol, total_nmol)

    def derivative(self, t_min, y):
        return three_pools().derivative(t_min, y) - jnp.array([0.0, 0.001 / 60, 0.0, 0.0]) * y


def test_a_leak_is_seen():
    """Negative control of balance and contract."""
    assert imbalance(Problem("leaking", Leaking, 740.0, 100.0, is_linear=True)) > 1e-3
    with pytest.raises(InputError, match="label: found lost other than by decay"):
        check_kinetic_model(Leaking())


def nonlinearity(problem) -> float:
    together = course(problem, (1.5, 1.5), (1.5, 1.5))
    return apart(added(course(problem, (1.0, 0.5), (1.0, 0.5)), course(problem, (0.5, 1.0), (0.5, 1.0))), together)


@every
def test_a_linear_model_obeys_superposition(problem):
    if problem.is_linear:
        assert nonlinearity(problem) <= SOLVED
    else:
        assert nonlinearity(problem) > 10 * SOLVED, "negative control: this model is not linear"


@every
def test_label_is_linear_at_the_same_ligand(problem):
    parts = added(course(problem, (1.0, 0.5)), course(problem, (0.5, 1.0)))
    difference = apart(parts, course(problem, (1.5, 1.5)))
    assert (difference <= SOLVED) is problem.hot_is_linear


@every
def test_a_later_start_changes_nothing_else(problem):
    assert apart(course(problem, shift_h=-300.0), course(problem)) <= SOLVED


@every
def test_a_short_infusion_is_a_bolus(problem):
    # a second's infusion shifts the curve by half a second: activities of minutes' half-lives move by below a percent
    short = course(problem, infusion_h=1 / 3600)
    assert apart([short[1]], [course(problem)[1]]) <= 1e-3


# derivatives

STEP = 1e-3


def log_tia(model, problem, scale, direction, **options):
    """Log TIA to the end of each region, with every float leaf of the model times exp(scale * direction)."""
    floats, rest = eqx.partition(model, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(floats)
    moved = [leaf * jnp.exp(scale * d) for leaf, d in zip(leaves, direction, strict=True)]
    changed = eqx.combine(jax.tree.unflatten(tree, moved), rest)
    ask = [4 * model.nuclide.half_life_h]
    return jnp.log(simulate(changed, [problem.given()], ask, rtol=1e-10, **options).tia_to_end_MBq_h)


@every
def test_a_derivative_is_a_central_difference(problem, rng):
    model = problem.make()
    leaves = jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))
    direction = [rng.normal(size=np.shape(leaf)) for leaf in leaves]
    value = lambda scale, **options: log_tia(model, problem, scale, direction, **options)
    forward = jax.jvp(lambda s: value(s, adjoint=diffrax.ForwardMode()), (0.0,), (1.0,))[1]
    far_left, left, right, far_right = (np.asarray(value(k * STEP)) for k in (-2, -1, 1, 2))
    difference = (far_left - 8 * left + 8 * right - far_right) / (12 * STEP)
    # of log TIA by log parameter; measured up to 8e-10
    np.testing.assert_allclose(forward, difference, rtol=0, atol=1e-8)
    assert np.max(np.abs(difference)) > 1e-2, "negative control: the parameters matter"


@pytest.mark.slow
def test_the_reverse_derivative_is_the_forward_one():
    model, problem = saturable(), PROBLEMS[1]
    value = lambda s, **options: log_tia(model, problem, s, [1.0, -1.0], **options)[1]
    forward = jax.jvp(lambda s: value(s, adjoint=diffrax.ForwardMode()), (0.0,), (1.0,))[1]
    np.testing.assert_allclose(jax.grad(value)(0.0), forward, rtol=1e-9)
