"""A stop rule as part of the plan: how much each cycle gets, which scans to make, and when no more is given.

The rule watches one limit. Before each cycle to come it adds what scans estimated of the cycles so far, and one more
cycle like the last; above its threshold no more is given. Over the composite draws of `twin.planning.problem` that
gives each draw its own number of cycles. For an activity the largest threshold is sought by bisection with which every
limit holds, as more cycles never lower a dose; activities in whole vial steps and sets of scans are enumerated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from pbpk.compiled import compiled
from twin.constraints import Limit
from twin.outlook import MOST_CYCLES, Outlook
from twin.planning.effects import Effects
from twin.planning.problem import (
    Problem,
    Spec,
    Variables,
    forecast_of,
    middle_doses,
    objective_of,
    slack_of,
    totals,
)
from twin.planning.rounding import EXACT
from twin.planning.scans import Shown, shown_by
from twin.planning.solver import Space

STEPS = 24
"""Halvings of the threshold between 0 and MOST times the limit."""
MOST = 3.0
SEED = 20_009


class Rule(NamedTuple):
    """Threshold (Gy) on `watched` of the problem's specs, with what is needed to apply it: `linear`, `quadratic`
    [cycle] of the typical draw, and `past` (Gy) given before, as reported."""

    watched: int
    threshold_Gy: float
    linear_Gy: np.ndarray
    quadratic_Gy: np.ndarray
    past_Gy: jax.Array


class Trial(NamedTuple):
    """One activity and protocol with its best threshold: `count` [replicate, draw] of cycles given."""

    activity_MBq: float
    protocol: int
    rule: Rule
    v: Variables
    count: np.ndarray
    objective: float
    feasible: bool


def even(space: Space, point: np.ndarray, activity_MBq: float) -> Variables:
    """The same activity in every cycle, amounts and intervals as at `point`."""
    x = point.copy()
    x[: space.cycles] = (activity_MBq - space.floor_MBq) / max(space.cap_MBq - space.floor_MBq, 1e-9)
    return space.variables(x)


def watchable(limits: Sequence[Limit], names: Sequence[str]) -> list[int]:
    """Places of the limits that a stop rule may watch.

    Raises:
        InputError: no such limit in the plan, or one that is a demand, per cycle, or of several regions.
    """
    by_name = {lim.name: k for k, lim in enumerate(limits)}
    for name in names:
        if name not in by_name:
            expected = "one of the plan's limits: " + ", ".join(by_name)
            raise InputError(describe("stop_at", repr(name), expected, "name a limit, or add it to the limits"))
        lim = limits[by_name[name]]
        if lim.at_least or lim.per != "course" or lim.region in ("tumours", "worst_lesion"):
            expected = "a limit on dose or BED of one region over the whole course"
            raise InputError(describe("stop_at", f"{name}: {lim.words(0.05)}", expected, "name another limit"))
    return [by_name[name] for name in names]


def walk_of(problem: Problem, spec: Spec) -> np.ndarray:
    """Log drift of the watched region in the composite draws, [replicate, draw, cycle]."""
    place = problem.used.index(spec.regions[0])
    log = np.log(np.asarray(problem.moved[..., place]))
    return log[..., 1:] - log[..., :1]


def protocols_shown(outlook: Outlook, problem: Problem, v: Variables, cycles: int, watched: int, protocols):
    """What each protocol shows of the region watched."""
    spec = problem.specs[watched]
    log_dose = np.log(np.asarray(middle_doses(problem, v).dose_Gy)[:, :cycles, spec.regions[0]])
    variance = walk_of(problem, spec)[..., :cycles].var(axis=(0, 1))
    return [shown_by(outlook, v, cycles, spec.regions[0], hours, log_dose, variance) for hours in protocols]


def estimates(shown: Shown, walk: np.ndarray, seed: int = SEED) -> np.ndarray:
    """Estimated departure of the log dose for each draw, padded [..., draw, MOST_CYCLES]."""
    cycles, scans = shown.weight.shape
    normal = np.random.default_rng(seed).standard_normal((*walk.shape[:-1], cycles * scans))
    found = shown.estimate(walk[..., :cycles], normal)
    return np.concatenate([found, np.zeros((*found.shape[:-1], MOST_CYCLES - cycles))], axis=-1)


def typical_of(problem: Problem, v: Variables, watched: int) -> tuple[np.ndarray, np.ndarray, float]:
    """Linear and quadratic part (Gy) of the watched quantity of each cycle of the typical draw, and what was given."""
    spec, middle = problem.specs[watched], middle_doses(problem, v)
    r, is_dose = spec.regions[0], spec.quantity == "dose_Gy"
    geometric = lambda x: np.exp(np.log(np.maximum(np.asarray(x), 1e-300)).mean(axis=0))
    past = np.asarray(problem.past_dose_Gy if is_dose else problem.past_weighted_Gy)[:, r]
    if is_dose:
        return geometric(middle.dose_Gy[..., r]), np.zeros(MOST_CYCLES), float(past.mean())
    past = past + np.asarray(problem.past_quadratic_Gy)[:, r]
    quadratic = geometric((middle.bed_Gy - middle.weighted_Gy)[..., r])
    return geometric(middle.weighted_Gy[..., r]), quadratic, float(past.mean())


def cycles_given(rule: Rule, estimate, cycles: int):
    """How many of `cycles` each draw gets, [...]; `estimate` [..., cycle]. The first is judged by the typical draw."""
    each = rule.linear_Gy * jnp.exp(estimate) + rule.quadratic_Gy * jnp.exp(2 * estimate)
    so_far = jnp.cumsum(each, axis=-1)
    first = jnp.broadcast_to(rule.linear_Gy[0] + rule.quadratic_Gy[0], each[..., :1].shape)
    foreseen = rule.past_Gy + jnp.concatenate([first, (so_far + each)[..., :-1]], axis=-1)
    goes_on = jnp.cumprod(foreseen <= rule.threshold_Gy, axis=-1)
    return jnp.sum(goes_on[..., :cycles], axis=-1)


class Prefixes(NamedTuple):
    """Of a schedule broken off after 0, 1, ... cycles: totals of each limit [prefix, replicate, draw, 1 or cycle], and
    effects [prefix, draw]."""

    totals: tuple
    effects: Effects


@compiled
def prefixes(problem: Problem, v: Variables) -> Prefixes:
    def until(count):
        activity = jnp.where(jnp.arange(MOST_CYCLES) < count, v.activity_MBq, 0.0)
        middle, _, effect = forecast_of(problem, v._replace(activity_MBq=activity))
        return Prefixes(tuple(totals(problem, spec, middle) for spec in problem.specs), effect)

    return jax.lax.map(until, jnp.arange(MOST_CYCLES + 1))


def taken(table, count):
    """table [prefix, replicate, draw, ...] at count [replicate, draw]."""
    index = count[None].reshape(1, *count.shape, *[1] * (table.ndim - 3))
    return jnp.take_along_axis(table, index, axis=0)[0]


def slacks(problem: Problem, table: Prefixes, count) -> list:
    """Slack of each limit as a share of it, [1 or cycle]."""
    return [slack_of(problem, k, taken(total, count)) for k, total in enumerate(table.totals)]


@compiled
def best_thresholds(problem: Problem, table: Prefixes, rule: Rule, estimate, cycles):
    """For each protocol the largest threshold that keeps the upper limits; `estimate` [protocol, replicate, draw,
    cycle]. Gives thresholds [protocol] and counts [protocol, replicate, draw]."""
    upper = [k for k, spec in enumerate(problem.specs) if not spec.at_least]

    def given(estimate, threshold):
        inside = jnp.where(jnp.arange(MOST_CYCLES) < cycles, estimate, 0.0)
        return jnp.minimum(cycles_given(rule._replace(threshold_Gy=threshold), inside, MOST_CYCLES), cycles)

    def one(estimate):
        def halve(ends, _):
            low, high = ends
            middle = 0.5 * (low + high)
            found = slacks(problem, table, given(estimate, middle))
            fits = jnp.all(jnp.concatenate([found[k] for k in upper]) >= 0) if upper else True
            return (jnp.where(fits, middle, low), jnp.where(fits, high, middle)), None

        ends = (jnp.zeros(()), MOST * problem.value_Gy[rule.watched])
        (low, _), _ = jax.lax.scan(halve, ends, None, length=STEPS)
        return low, given(estimate, low)

    return jax.lax.map(one, estimate)


@compiled
def judged(problem: Problem, table: Prefixes, v: Variables, count):
    """Objective and all slacks, flat, with these numbers of cycles given, [replicate, draw]."""
    draws = jnp.arange(count.shape[1])
    effect = jax.tree.map(lambda x: x[count, draws].reshape(-1, *x.shape[2:]), table.effects)
    share = jnp.mean(jnp.arange(MOST_CYCLES)[:, None, None] < count, axis=(1, 2))
    mean = v._replace(activity_MBq=v.activity_MBq * share)
    return objective_of(problem, mean, effect), jnp.concatenate(slacks(problem, table, count))


def tried_activity(problem: Problem, space: Space, v: Variables, watched: int, estimate) -> list[Trial]:
    """The best threshold for one schedule of equal activities, for each protocol."""
    table = prefixes(problem, v)
    linear_Gy, quadratic_Gy, past_Gy = typical_of(problem, v, watched)
    rule = Rule(watched, 0.0, linear_Gy, quadratic_Gy, jnp.asarray(past_Gy))
    threshold, count = best_thresholds(problem, table, rule, jnp.asarray(estimate), jnp.asarray(space.cycles))
    out = []
    for k in range(len(estimate)):
        value, slack = judged(problem, table, v, count[k])
        feasible = bool(np.all(np.asarray(slack) >= -EXACT))
        own = rule._replace(threshold_Gy=float(threshold[k]))
        out.append(Trial(float(v.activity_MBq[0]), k, own, v, np.asarray(count[k]), float(value), feasible))
    return out
