"""Schedules side by side: what each does to tumours and kidneys, and how often it passes the limits."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from pbpk.compiled import compiled
from twin.constraints import Limit
from twin.outlook import MOST_CYCLES, Coming, Outlook, coming, doses
from twin.outlook.report import FOLLOW_UP_H
from twin.patient import Comparison
from twin.planning.choices import Choices
from twin.planning.effects import Effects, effects
from twin.planning.problem import Problem, Variables, clean, evaluate, totals
from twin.planning.setting import problem_of
from twin.schedules import label_schedule


@compiled
def course_effects(problem: Problem, v: Variables) -> Effects:
    """Effects of a course with every error of the draws: what a report shows."""
    found = doses(problem.surfaces, Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    error = jnp.exp(problem.surfaces.error)
    past = (problem.past_dose_Gy * error, problem.past_weighted_Gy * error, problem.past_quadratic_Gy * error**2)
    return effects(problem.surfaces, found, past, problem.named, problem.kidneys, problem.mass_g, problem.dose_cv)


@compiled
def composite_totals(problem: Problem, v: Variables):
    """Totals of each limit over composite draws, flat: [composite] or [composite, cycle]."""
    middle = doses(clean(problem.surfaces), Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    return [totals(problem, spec, middle) for spec in problem.specs]


def exceeded_by(problem: Problem, v: Variables | None, limits) -> dict[str, float]:
    """Share of composite draws that pass each limit, or fall short of each demand."""
    if v is None:
        zero = coming((), 1.0, 0.0)
        amount = jnp.full_like(problem.trend, problem.surfaces.amount.low)
        v = Variables(zero.activity_MBq, amount, zero.interval_h)
    out = {}
    for lim, value in zip(limits, composite_totals(problem, v), strict=True):
        out[lim.name] = share_missing(lim, np.asarray(value))
    return out


def share_missing(lim: Limit, total_Gy: np.ndarray) -> float:
    """Share of draws that pass a limit, or fall short of a demand, in any entry of the last axis."""
    over = total_Gy < lim.value_Gy * (1 - 1e-6) if lim.at_least else total_Gy > lim.value_Gy * (1 + 1e-6)
    return float(np.mean(np.any(over, axis=-1)))


def compared(name: str, outlook: Outlook, problem: Problem, v: Variables, coming_cycles: int, limits) -> Comparison:
    effect = course_effects(problem, v)
    given = 0.0 if outlook.given is None else float(np.sum(outlook.given.administered_MBq))
    return Comparison(
        name=name,
        objective=float(evaluate(problem, v).objective),
        activity_MBq=given + float(np.sum(v.activity_MBq[:coming_cycles])),
        cycles=len(outlook.given_administrations) + coming_cycles,
        tumour_dose_Gy=np.asarray(effect.tumour_dose_Gy),
        tumour_bed_Gy=np.asarray(effect.tumour_bed_Gy),
        kidney_bed_Gy=np.asarray(effect.kidney_bed_Gy),
        exceeded=exceeded_by(problem, v, limits),
    )


def label_variables(outlook: Outlook, most: int = MOST_CYCLES) -> tuple[Variables, int, str] | None:
    """The rest of the label's schedule after what was given (of `most` cycles in all), its cycles and words; None where
    its cycles are over."""
    study, given = outlook.twin.study, len(outlook.given_administrations)
    fixed = label_schedule(study.ligand, study.nuclide)
    count = min(fixed.cycles, most) - given
    if count < 1:
        return None
    hours = np.append(np.full(count - 1, 24 * fixed.interval_days), FOLLOW_UP_H)
    amount = np.clip(outlook.example.amount_nmol, outlook.surfaces.amount.low, outlook.surfaces.amount.high)
    c = coming(np.full(count, fixed.activity_MBq), float(amount), hours)
    return Variables(c.activity_MBq, c.amount_nmol, c.interval_h), count, fixed.words


def label_of(outlook: Outlook, problem: Problem, limits) -> Comparison | None:
    """What the rest of the label's schedule would do."""
    found = label_variables(outlook)
    if found is None:
        return None
    v, count, words = found
    return compared(f"label: {words}", outlook, problem, v, count, limits)


def label_total_Gy(outlook: Outlook, demand: Limit, choices: Choices) -> float | None:
    """What the rest of the label's schedule brings of the quantity of a demand, by the demand's own rule; of no more
    cycles than the choices allow."""
    found = label_variables(outlook, max(choices.numbers_of_cycles))
    if found is None:
        return None
    problem = problem_of(outlook, (demand,), choices, "activity", 0.05, 1.0)
    slack = evaluate(problem, found[0]).slack[0]
    return float((1 + slack) * demand.value_Gy)
