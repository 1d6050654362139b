"""A plan with a stop rule: its forecast and comparison count in that some patients get fewer cycles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from twin.constraints import Limit
from twin.outlook import MOST_CYCLES, Coming, Outlook
from twin.outlook.read import doses_compiled
from twin.outlook.report import report_of, touching
from twin.patient import Comparison, Plan, Price, Stopping
from twin.planning.choices import Choices
from twin.planning.compare import course_effects, share_missing
from twin.planning.knowledge import knowledge_of
from twin.planning.made import administrations_of, in_words, label, others
from twin.planning.problem import Problem, Variables
from twin.planning.stop_search import Stopped
from twin.planning.stopping import (
    SEED,
    best_thresholds,
    cycles_given,
    estimates,
    judged,
    prefixes,
    taken,
    walk_of,
)
from twin.planning.tried import Tried

KIND = {"dose_Gy": "dose", "bed_Gy": "BED"}
STEP = 0.01
"""Share by which a limit is loosened to find its price."""
SIGNIFICANT = 1e-4
"""Share of the objective below which that is no price."""


def stop_plan_of(
    best: Stopped, good: list[Tried], limits, choices: Choices, objective: str, tail: float, fixed: float | None
) -> Plan:
    """The plan with the stop rule `best`; `good` are the schedules without one, `fixed` the best objective of them."""
    outlook, problem, space = best.tried.outlook, best.tried.problem, best.tried.point.space
    v, watched = best.trial.v, limits[best.trial.rule.watched]
    planned = administrations_of(outlook, space, v)
    count = counts_of_draws(outlook, best)
    given = np.mean(np.arange(space.cycles)[:, None, None] < best.trial.count, axis=(1, 2))
    over = exceeded(problem, v, best.trial.count, limits)
    mine = _comparison(outlook, problem, v, count, best.trial.objective, given, over)
    coming_MBq = float(np.sum(given) * best.trial.activity_MBq)
    at_cap = v._replace(activity_MBq=np.where(np.asarray(v.activity_MBq) > 0, space.cap_MBq, 0.0))
    prices = tuple(_prices(best, limits))
    words = in_words(watched.name, {watched.name: watched}, tail) + ", by the stop rule"
    return Plan(
        administrations=planned,
        active_constraint=(words,) * len(planned),
        forecast=_forecast(outlook, problem, v, planned, count),
        probability_exceeded=over,
        warnings=tuple(n for n in (touching(outlook, planned), _in_words(best, watched, given)) if n),
        objective=objective,
        value=best.trial.objective,
        prices=prices,
        schedules=(mine, *label(outlook, problem, limits), *others(None, good, limits)),
        knowledge=knowledge_of(problem, at_cap, space.cap_MBq, coming_MBq, float(mine.tumour_dose_Gy.mean())),
        limits=tuple(limits),
        probability=tail,
        stopping=Stopping(
            watched.name, watched.region, watched.quantity, best.trial.rule.threshold_Gy, best.scans_h, given,
            np.nan if fixed is None else fixed,
        ),
    )  # fmt: skip


def counts_of_draws(outlook: Outlook, best: Stopped) -> np.ndarray:
    """Cycles that each draw of the report gets, [draw]: its own drift, and fresh errors of the scans."""
    region, cycles = best.tried.problem.specs[best.trial.rule.watched].regions[0], best.tried.point.space.cycles
    walk = np.asarray(outlook.surfaces.drift)[..., region]
    return np.asarray(cycles_given(best.trial.rule, estimates(best.shown, walk, SEED + 1), cycles))


def exceeded(problem: Problem, v: Variables, count: np.ndarray, limits: Sequence[Limit]) -> dict[str, float]:
    """Share of composite draws that pass each limit, or fall short of each demand, with these cycles given."""
    table = prefixes(problem, v).totals
    total = [np.asarray(taken(t, jnp.asarray(count))) for t in table]
    return {lim.name: share_missing(lim, t) for lim, t in zip(limits, total, strict=True)}


def _comparison(outlook: Outlook, problem: Problem, v: Variables, count, objective, given, over) -> Comparison:
    shorter = lambda n: v._replace(activity_MBq=np.where(np.arange(MOST_CYCLES) < n, v.activity_MBq, 0.0))
    every = [course_effects(problem, shorter(n)) for n in range(len(given) + 1)]
    past_MBq = 0.0 if outlook.given is None else float(np.sum(outlook.given.administered_MBq))
    names = ("tumour_dose_Gy", "tumour_bed_Gy", "kidney_bed_Gy")
    return Comparison(
        name="this plan, with its stop rule",
        objective=objective,
        activity_MBq=past_MBq + float(np.sum(given) * v.activity_MBq[0]),
        cycles=len(outlook.given_administrations) + len(given),
        exceeded=over,
        **{name: np.stack([getattr(e, name) for e in every])[count, np.arange(len(count))] for name in names},
    )


def _forecast(outlook: Outlook, problem: Problem, v: Variables, planned, count: np.ndarray):
    """The report of the cycles, those that the rule leaves out counted as no dose."""
    every = doses_compiled(outlook.surfaces, Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    kept = (np.arange(len(planned)) < count[:, None])[..., None]
    names = ("dose_Gy", "weighted_Gy", "bed_Gy", "tia_MBq_h")
    return report_of(
        outlook, planned, every._replace(**{n: np.asarray(getattr(every, n))[:, : len(planned)] * kept for n in names})
    )


def _in_words(best: Stopped, watched: Limit, given: np.ndarray) -> str:
    hours = ", ".join(f"{h:g}" for h in best.scans_h)
    first = best.tried.outlook.example.cycle
    shares = ", ".join(f"cycle {first + k} for {share:.0%}" for k, share in enumerate(given) if share < 0.995)
    kind = KIND[watched.quantity]
    return (
        f"stop rule: scan {watched.region} {hours} h after each cycle; no further one once the {kind} "
        f"estimated so far and one more cycle like the last pass {best.trial.rule.threshold_Gy:.3g} Gy. "
        + (f"Of patients as the data allow them this gives {shares}." if shares else "All cycles are expected.")
    )


def _prices(best: Stopped, limits):
    """By loosening each limit a little, with the threshold sought again."""
    problem, v, space = best.tried.problem, best.trial.v, best.tried.point.space
    walk = walk_of(problem, problem.specs[best.trial.rule.watched])
    estimate = jnp.asarray(estimates(best.shown, walk))[None]
    table = prefixes(problem, v)
    for k, lim in enumerate(limits):
        if lim.at_least:
            continue
        looser = replace_value(problem, k, lim.value_Gy * (1 + STEP))
        _, count = best_thresholds(looser, table, best.trial.rule, estimate, jnp.asarray(space.cycles))
        value, _ = judged(looser, table, v, count[0])
        gain = float(value) - best.trial.objective
        if gain > SIGNIFICANT * abs(best.trial.objective):
            yield Price(lim.name, gain / (STEP * lim.value_Gy), "Gy")


def replace_value(problem: Problem, k: int, value_Gy: float) -> Problem:
    """The problem with another value of limit `k`."""
    return replace(problem, value_Gy=problem.value_Gy.at[k].set(value_Gy))
