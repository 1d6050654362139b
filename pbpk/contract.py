"""The public check of a kinetic model: does it keep what `pbpk.abstract` promises?

Run it on a model of your own before using it. It works on the model's declarations, then on shapes, then on a solution:
a bolus of little label in more ligand, followed for some half-lives. What it finds is listed, each with what to do.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide
from pbpk.abstract import AbstractClosedFormModel, AbstractKineticModel, Pool, is_radioactive
from pbpk.administration import Administration
from pbpk.course import Course, course_of
from pbpk.pools import solve_pools

HALF_LIVES = np.array([0.0, 1e-4, 1e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0])
"""When the solution is looked at, in physical half-lives after the bolus."""
LIGAND_PER_LABEL = 10.0
"""All ligand over labelled ligand of the test bolus, so that the two cannot be mixed up unseen."""
EVERY_POOL = 1e-3
"""What is added to each pool where slopes are looked at, so that none is at an edge (nmol)."""
SOLVED = 1e-6
"""Slack, as a part of what was given, for amounts that come from a solve with rtol 1e-8."""
EXACT = 1e-9
"""Slack for identities between derivatives, as a part of the largest flow: rounding alone."""


def check_kinetic_model(model: AbstractKineticModel, *, activity_MBq: float = 100.0) -> None:
    """Pass silently if the model keeps its promises, for a bolus of `activity_MBq` in ten times as much ligand.

    Raises:
        InputError: what is wrong, one line each: names, shapes, entry, weights, values that are not finite or cannot be
            differentiated, negative amounts, activity from nothing, label lost from a model with sinks, a closed form
            that does not solve the model's own equations.
    """
    for stage in (_words, _shapes, _entry, _slopes, _solution):
        found = stage(model, activity_MBq)
        if found:
            raise InputError(f"{type(model).__name__} breaks its contract.\n" + "\n".join(found))


def _words(model, _) -> list[str]:
    names = [pool.name for pool in model.pools if isinstance(pool, Pool)]
    radioactive = len(names) == len(model.pools) and any(pool.kind == "label" for pool in model.pools)
    tests = (
        (len(set(names)) == len(model.pools), "pools", f"{names}", "values of type Pool, each name once"),
        (radioactive, "pools", "none of kind label", "at least one pool that holds label"),
        (0 < len(set(model.regions)) == len(model.regions), "regions", f"{model.regions}", "names, each once"),
        (isinstance(model.nuclide, Radionuclide), "nuclide", f"{model.nuclide!r}", "a dose.nuclides.Radionuclide"),
    )
    return [describe(field, found, wanted, "correct the declaration") for ok, field, found, wanted in tests if not ok]


def _shapes(model, _) -> list[str]:
    pools, regions, one = len(model.pools), len(model.regions), jnp.ones(())
    wanted = {
        "weights": ((regions, pools), lambda: jnp.asarray(model.weights())),
        "entry": ((pools,), lambda: model.entry(one, one)),
        "derivative": ((pools,), lambda: model.derivative(one, jnp.zeros(pools))),
    }
    return [text for name, (shape, call) in wanted.items() if (text := _shape(name, shape, call))]


def _shape(name, shape, call) -> str | None:
    """What is wrong with one method's result, traced as JAX will trace it."""
    try:
        found = eqx.filter_eval_shape(call)
    except Exception as problem:
        first = (str(problem).splitlines() or [""])[0]
        do = "write it with jax.numpy, without if, float() or numpy functions on its arguments"
        return describe(name, f"{type(problem).__name__}: {first}", "a function that JAX can trace", do)
    if not isinstance(found, jax.ShapeDtypeStruct) or found.shape != shape or found.dtype != jnp.float64:
        text = f"{found.dtype}{list(found.shape)}" if isinstance(found, jax.ShapeDtypeStruct) else f"{type(found)}"
        return describe(name, text, f"float64{list(shape)}", "return one array in the order of pools and regions")
    return None


def _entry(model, _) -> list[str]:
    label = is_radioactive(model)
    entry = lambda hot, total: np.asarray(model.entry(jnp.asarray(float(hot)), jnp.asarray(float(total))))
    one, weights = entry(1, LIGAND_PER_LABEL), np.asarray(model.weights())
    linear = np.allclose(entry(2, 20) + entry(1, 30), entry(3, 50), rtol=1e-12, atol=0) and not entry(0, 0).any()
    tests = (
        (linear, "entry", "not linear in what is given", "entry(a) + entry(b) = entry(a + b), none for none"),
        (one.min() >= 0, "entry", "less than zero", "amounts of 0 or more"),
        (one[label].sum() <= 1 + EXACT, "entry", "more label than was given", "at most hot_nmol over all pools"),
        (np.all((weights >= 0) & (weights <= 1)), "weights", "some outside 0 to 1", "parts of a pool"),
        (not weights[:, ~label].any(), "weights", "a pool without label", "0 for kinds amount and state"),
    )
    return [describe(field, found, wanted, "correct the method") for ok, field, found, wanted in tests if not ok]


def _slopes(model, _) -> list[str]:
    """The right-hand side and its slopes by pools and by the model's float leaves, where every pool holds something."""
    floats, rest = eqx.partition(model, eqx.is_inexact_array)
    y = model.entry(jnp.ones(()), jnp.asarray(LIGAND_PER_LABEL)) + EVERY_POOL
    rate = lambda leaves, pools: eqx.combine(leaves, rest).derivative(jnp.zeros(()), pools)
    slopes = jax.tree.leaves(jax.jacfwd(rate, argnums=(0, 1))(floats, y))
    do = "look for division by zero, for roots at 0, and for jnp.where around a value that is not finite"
    if not np.all(np.isfinite(rate(floats, y))):
        return [describe("derivative", "a value that is not finite", "finite rates", do)]
    if not all(np.all(np.isfinite(leaf)) for leaf in slopes):
        return [describe("derivative", "a slope that is not finite", "finite slopes by pools and parameters", do)]
    return []


def _solution(model, activity_MBq) -> list[str]:
    label_nmol = activity_MBq / model.nuclide.activity_MBq_per_nmol
    given = Administration(1, 0.0, activity_MBq, LIGAND_PER_LABEL * label_nmol, 0.0, "test", model.nuclide.name)
    course = course_of([given], model.nuclide, HALF_LIVES * model.nuclide.half_life_h)
    y = np.asarray(solve_pools(model, course)[0].y)
    if not np.all(np.isfinite(y)):
        found, do = "values that are not finite", "look for division by zero, rates below zero and units"
        return [describe("solution", found, "finite pools at all times", do)]
    closed = _closed_form(model, course, y, given.amount_nmol)
    return [*_signs(model, y, given), *_balance(model, course, y, label_nmol), *closed]


def _signs(model, y, given: Administration) -> list[str]:
    sizes = {"amount": given.amount_nmol, "label": given.labelled_nmol, "sink": given.labelled_nmol}
    low = {p.name: y[:, k].min() / sizes[p.kind] for k, p in enumerate(model.pools) if p.kind in sizes}
    do = "let every flow out of a pool be in proportion to what the pool holds"
    return [
        describe(f"pool {name}", f"{part:.2g} of what was given", "never below 0", do)
        for name, part in low.items()
        if part < -SOLVED
    ]


def _balance(model, course: Course, y, hot_nmol) -> list[str]:
    label, decay = is_radioactive(model), model.nuclide.decay_constant_per_min
    rates = np.asarray(jax.vmap(model.derivative)(jnp.asarray(course.origin_min + course.ask_min), jnp.asarray(y)))
    gained = rates[:, label].sum(axis=1) + decay * y[:, label].sum(axis=1)
    flow = np.abs(rates[:, label]).sum(axis=1).max() + decay * hot_nmol
    excess = (y[:, label].sum(axis=1) / (hot_nmol * np.exp(-decay * course.ask_min))).max() - 1
    found = []
    if excess > SOLVED or gained.max() > EXACT * flow:
        do = "check that each flow into a pool leaves another, and that every labelled pool decays"
        found.append(describe("activity", "more than was given", "at most the given, decayed", do))
    if any(pool.kind == "sink" for pool in model.pools) and gained.min() < -EXACT * flow:
        do = "send what leaves a pool to another pool or a sink; sinks decay as well"
        found.append(describe("label", "lost other than by decay", "all in pools and sinks", do))
    return found


def _closed_form(model, course: Course, y, given_nmol) -> list[str]:
    if not isinstance(model, AbstractClosedFormModel):
        return []
    stepped = np.asarray(solve_pools(model, course, stepped=True)[0].y)
    if np.max(np.abs(stepped - y)) <= SOLVED * given_nmol:
        return []
    return [describe("advance", "another solution than that of `derivative`", "the same", "correct one of the two")]
