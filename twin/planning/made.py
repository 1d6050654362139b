"""From the points found to a Plan: administrations, forecast, what binds, prices, comparisons and words."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from pbpk.administration import Administration
from twin.outlook import Coming, Outlook
from twin.outlook.read import doses_compiled
from twin.outlook.report import report_of, touching
from twin.patient import Comparison, Plan, Price
from twin.planning.choices import Choices
from twin.planning.compare import compared, exceeded_by, label_of
from twin.planning.conflict import names_of_rows
from twin.planning.knowledge import knowledge_of
from twin.planning.problem import Problem, Variables
from twin.planning.rounding import FINE
from twin.planning.setting import NEEDS_RESPONSE, step_of
from twin.planning.solver import ACTIVE, Solution, Space, multipliers
from twin.planning.tried import Tried

LEAST_MBQ = 1e-6
"""A cycle with less activity is no cycle."""


def administrations_of(outlook: Outlook, space: Space, v: Variables) -> tuple[Administration, ...]:
    """The cycles that get activity; times follow the last cycle given."""
    last, gap = outlook.last_given_h, v.interval_h[0] if space.cycles > 1 else space.interval_h[0]
    first = outlook.example.time_h if last is None else last + gap
    starts = first + np.concatenate([[0.0], np.cumsum(v.interval_h[: space.cycles - 1])])
    return tuple(
        replace(
            outlook.example,
            cycle=outlook.example.cycle + k,
            time_h=float(starts[k]),
            activity_MBq=float(np.round(v.activity_MBq[k], 6)),
            amount_nmol=float(v.amount_nmol[k]),
        )
        for k in range(space.cycles)
        if v.activity_MBq[k] > LEAST_MBQ
    )


def plan_of(best: Tried, good: list[Tried], limits, choices: Choices, objective: str, tail: float) -> Plan:
    """The plan at the best point found."""
    outlook, problem, found, space = best.outlook, best.problem, best.point, best.point.space
    v = space.variables(found.x)
    planned = administrations_of(outlook, space, v)
    mine = compared("this plan", outlook, problem, v, space.cycles, limits)
    coming_MBq = float(np.sum(v.activity_MBq))
    return Plan(
        administrations=planned,
        active_constraint=tuple(_active(best, limits, tail, choices)),
        forecast=_forecast(outlook, problem, v, planned),
        probability_exceeded=mine.exceeded,
        warnings=tuple(n for n in _notes(best, v, planned, choices, objective) if n),
        objective=objective,
        value=found.objective,
        prices=_prices(problem, found, limits),
        schedules=(mine, *label(outlook, problem, limits), *others(best, good, limits)),
        knowledge=knowledge_of(problem, v, space.cap_MBq, coming_MBq, float(mine.tumour_dose_Gy.mean())),
        limits=tuple(limits),
        probability=tail,
    )


def _notes(best: Tried, v: Variables, planned, choices: Choices, objective: str):
    first = best.outlook.example.cycle
    yield touching(best.outlook, planned)
    yield _flat(best.point.space, choices, best.outlook, objective)
    for k, MBq in enumerate(v.activity_MBq[: best.point.space.cycles]):
        if MBq <= LEAST_MBQ:
            yield f"no activity is left for cycle {first + k} within the limits"


def _forecast(outlook: Outlook, problem: Problem, v: Variables, planned):
    """The report of the plan, with the trend that was planned with."""
    if not planned:
        return report_without(outlook)
    every = doses_compiled(outlook.surfaces, Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    kept = np.flatnonzero(np.asarray(v.activity_MBq) > LEAST_MBQ)
    cycles = {n: getattr(every, n)[:, kept] for n in ("dose_Gy", "weighted_Gy", "bed_Gy", "tia_MBq_h")}
    return report_of(outlook, planned, every._replace(**cycles))


def _flat(space: Space, choices: Choices, outlook: Outlook, objective: str) -> str:
    """Words where a range of intervals was given but nothing depends on them."""
    moves = choices.platelets is not None or (objective in NEEDS_RESPONSE or outlook.surfaces.size.nodes > 1)
    text = "the interval changes neither objective nor limits here: the shortest was taken"
    return text if space.intervals and not moves else ""


def label(outlook: Outlook, problem: Problem, limits) -> tuple[Comparison, ...]:
    """The label's schedule, where cycles of it are left."""
    found = label_of(outlook, problem, limits)
    return (found,) if found else ()


def others(best: Tried | None, good: list[Tried], limits) -> tuple[Comparison, ...]:
    """The other numbers of cycles and amounts of cold ligand, at their own optimum."""
    return tuple(_other(t, limits) for t in good if t is not best)


def _other(t: Tried, limits) -> Comparison:
    cold = f", {t.outlook.example.cold_nmol:g} nmol cold first" if t.outlook.example.cold_nmol else ""
    v = t.point.space.variables(t.point.x)
    return compared(f"{t.cycles} cycles{cold}", t.outlook, t.problem, v, t.point.space.cycles, limits)


def _active(best: Tried, limits, tail: float, choices: Choices):
    """What keeps each cycle with activity from more of it."""
    found, space = best.point, best.point.space
    step = step_of(choices, space)
    is_fine = step <= FINE * space.cap_MBq
    otherwise = "none" if is_fine else f"vial step of {step:g} MBq"
    names = names_of_rows(best.problem, space, limits)
    near = ACTIVE + (1.5 * step / space.cap_MBq if is_fine else 0.0)
    tight = [n for n, s in zip(names, found.slack, strict=True) if s < near]
    by_name = {lim.name: lim for lim in limits if not lim.at_least}
    bound = next((n for n in tight if n in by_name), tight[0] if tight else "")
    words = in_words(bound, by_name, tail) if bound else otherwise
    activity = np.asarray(space.variables(found.x).activity_MBq)[: space.cycles]
    for MBq in activity[activity > LEAST_MBQ]:
        yield "activity cap per cycle" if MBq >= (1 - ACTIVE) * space.cap_MBq else words


def in_words(bound: str, by_name, tail: float) -> str:
    """A bound with its probability, where it is a chance limit."""
    if bound not in by_name or by_name[bound].rule != "chance":
        return bound
    return f"{bound} at {1 - (by_name[bound].tail or tail):.0%} probability"


def _prices(problem: Problem, found: Solution, limits) -> tuple[Price, ...]:
    """What one unit more of each active bound would add to the objective."""
    weight, space = multipliers(problem, found), found.space
    by_name = {lim.name: lim for lim in limits}
    prices: dict[tuple[str, str], float] = {}
    for name, w in zip(names_of_rows(problem, space, limits), weight.rows, strict=True):
        if w > 0 and name in by_name:
            sign = -1 if by_name[name].at_least else 1
            prices[name, "Gy"] = prices.get((name, "Gy"), 0.0) + sign * w / by_name[name].value_Gy
        elif w > 0:
            prices[name, "share of it"] = prices.get((name, "share of it"), 0.0) + w
    cap = weight.upper[: space.cycles].sum() / max(space.cap_MBq - space.floor_MBq, 1e-9) * 1000
    if cap > 0:
        prices["activity cap per cycle", "GBq"] = cap
    if space.intervals:
        shortest = weight.lower[space.size - space.intervals :].sum() / np.ptp(space.interval_h) * 24
        prices |= {("shortest interval", "day"): -shortest} if shortest > 0 else {}
    return tuple(Price(name, float(v), per) for (name, per), v in prices.items())


def nothing_left(outlook: Outlook, problem: Problem, limits, cycles: int, tail: float) -> Plan:
    """All cycles were given."""
    over = exceeded_by(problem, None, limits)
    said = f"all {cycles} cycles were given: nothing to plan"
    return Plan((), (), report_of(outlook, ()), over, (said,), limits=tuple(limits), probability=tail)


def impossible(last: Tried, limits, objective: str, tail: float) -> Plan:
    """No schedule meets the limits: nothing is planned, and the conflict says why."""
    return Plan(
        (), (), report_without(last.outlook), exceeded_by(last.problem, None, limits), (str(last.conflict),), objective,
        conflict=last.conflict, limits=tuple(limits), probability=tail,
    )  # fmt: skip


def report_without(outlook: Outlook):
    """The report where no cycle is to come."""
    return report_of(outlook, ()) if outlook.given is not None else empty_report(outlook)


def empty_report(outlook: Outlook):
    """A report of no cycle."""
    look = report_of(outlook, (outlook.example,))
    none = {n: getattr(look, n)[:, :0] for n in ("dose_Gy", "bed_Gy", "weighted_Gy", "tia_MBq_h")}
    first = {n: getattr(look, n)[:0] for n in ("cycles", "kind", "administered_MBq", "extrapolated_fraction")}
    return replace(look, **none, **first)
