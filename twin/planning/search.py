"""The plan: continuous optimum for each number of cycles and amount of cold ligand, whole vial steps, words."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pbpk.administration import Administration
from twin.constraints import TUMOURS, Limit, default_limits
from twin.outlook import Coming, Outlook, outlook_of
from twin.outlook.read import doses_compiled
from twin.outlook.report import report_of, touching
from twin.patient import Comparison, Conflict, PatientTwin, Plan, Price
from twin.planning.choices import Choices
from twin.planning.compare import compared, exceeded_by, label_of, label_total_Gy
from twin.planning.conflict import conflict_of, names_of_rows
from twin.planning.knowledge import knowledge_of
from twin.planning.problem import Problem
from twin.planning.setting import (
    NEEDS_RESPONSE,
    amounts_of,
    checked_limits,
    checked_objective,
    problem_of,
    space_of,
)
from twin.planning.solver import ACTIVE, Solution, multipliers, optimised, solution
from twin.schedules import label_schedule

TAIL = 0.05
"""Probability with which a chance limit may be passed, unless the limit or the plan says otherwise."""
LEAST_MBQ = 1e-6
"""A cycle with less activity is no cycle."""
MOST_ROUNDED = 8
"""Cycles whose vial steps are tried up and down in all combinations; more are rounded down."""
FOR_THE_EFFECT = ("least_activity", "therapeutic_index")
"""Objectives that are best with no activity at all: they get a demand, the label's effect, unless one is given."""


@dataclass(frozen=True)
class Tried:
    """One combination of number of cycles and cold ligand: its optimum, or why there is none."""

    outlook: Outlook
    problem: Problem
    cycles: int
    found: Solution | None
    conflict: Conflict | None


def plan(
    twin: PatientTwin,
    limits: Sequence[Limit] | None = None,
    objective: str = "mean_tumour_dose",
    *,
    choices: Choices | None = None,
    probability: float = TAIL,
    target_Gy: float = 60.0,
    response: bool = False,
    outlook: Outlook | None = None,
    **variables,
) -> Plan:
    """The coming cycles that serve `objective` best within the limits (default: `constraints.DEFAULT_LIMITS`).

    `variables` are fields of `Choices`, such as cycles=(4, 6), interval_days=42 or amount_nmol=(50, 200). Each limit
    holds with probability 1 - `probability` unless it says otherwise. `target_Gy` is for "lesion_control". With
    `response` tumours shrink and grow between cycles. `outlook`: surfaces made before, if they cover the choices.

    Raises:
        InputError: an unknown objective, a limit on what is not in the report, choices that leave nothing to choose,
            or a nuclide without an activity cap.
    """
    choices = choices or Choices(**variables)
    limits = default_limits() if limits is None else tuple(limits)
    response = response or objective in NEEDS_RESPONSE
    looks = [outlook] if outlook else _outlooks(twin, choices, response)
    lesions = looks[0].lesions
    objective = checked_objective(objective, lesions)
    checked_limits(limits, looks[0].regions, lesions)
    limits = _with_demand(looks[0], limits, objective, choices)
    if max(choices.numbers_of_cycles) <= len(looks[0].given_administrations):
        return _nothing_left(looks[0], limits, choices)
    tried = [
        _try(look, limits, choices, objective, n, probability, target_Gy)
        for look in looks
        for n in choices.numbers_of_cycles
        if n > len(look.given_administrations)
    ]
    good = [t for t in tried if t.found is not None]
    if not good:
        return _impossible(tried[-1], limits, objective)
    best = max(good, key=lambda t: t.found.objective if t.found else -np.inf)
    return _plan_of(best, good, limits, choices, objective, probability)


def _outlooks(twin: PatientTwin, choices: Choices, response: bool) -> list[Outlook]:
    made: list[Outlook] = []
    for cold in choices.cold_nmol:
        lead = choices.cold_lead_h if cold else 0.0
        past = made[0].given if made else None
        made.append(
            outlook_of(
                twin, amounts_nmol=amounts_of(twin, choices), response=response, cold_nmol=cold, cold_lead_h=lead,
                report=past,
            )
        )  # fmt: skip
    return made


def _with_demand(outlook: Outlook, limits: tuple[Limit, ...], objective: str, choices: Choices) -> tuple[Limit, ...]:
    """The label schedule's expected tumour dose as a demand, for an objective that wants no activity by itself."""
    if objective not in FOR_THE_EFFECT or not outlook.lesions or any(lim.at_least for lim in limits):
        return limits
    source = label_schedule(outlook.twin.study.ligand, outlook.twin.study.nuclide).source_id
    demand = Limit("label_effect", TUMOURS, "dose_Gy", 1.0, source, rule="expectation", at_least=True)
    dose_Gy = label_total_Gy(outlook, demand, choices)  # over no more cycles than may be planned
    return (*limits, replace(demand, value_Gy=dose_Gy)) if dose_Gy else limits


def _try(outlook, limits, choices: Choices, objective: str, cycles: int, tail: float, target_Gy: float) -> Tried:
    problem = problem_of(outlook, limits, choices, objective, tail, target_Gy)
    space = space_of(outlook, choices, cycles)
    assert space is not None
    found = optimised(problem, space)
    if found.feasible:
        return Tried(outlook, problem, cycles, _whole_vials(problem, found, choices.vial_step_MBq), None)
    conflict = conflict_of(problem, space, limits, tail)
    if conflict is None:
        return Tried(outlook, problem, cycles, _whole_vials(problem, found, choices.vial_step_MBq), None)
    return Tried(outlook, problem, cycles, None, conflict)


def _whole_vials(problem: Problem, found: Solution, step_MBq: float) -> Solution:
    """The best feasible point whose activities are whole steps, next to a continuous optimum; of equals the evenest."""
    space = found.space
    activity = np.asarray(space.variables(found.x).activity_MBq)[: space.cycles]
    top = np.floor(space.cap_MBq / step_MBq + 1e-9) * step_MBq
    near = np.floor(np.where(activity > (1 - ACTIVE / 10) * top, top, activity) / step_MBq + 1e-6) * step_MBq
    low = np.minimum(np.maximum(near, np.ceil(space.floor_MBq / step_MBq - 1e-9) * step_MBq), top)
    high = np.minimum(low + step_MBq, top)
    pairs = [(a, b) if b > a + 1e-9 and step_MBq > 1 else (a,) for a, b in zip(low, high, strict=True)]
    size = max(abs(found.objective), 1e-9)
    worth = lambda s: (s.feasible, round(s.objective / size, 6), -float(np.var(s.x[: space.cycles])))
    every = itertools.product(*pairs) if space.cycles <= MOST_ROUNDED else [tuple(low)]
    best = None
    for chosen in every:
        x = found.x.copy()
        x[: space.cycles] = (np.array(chosen) - space.floor_MBq) / max(space.cap_MBq - space.floor_MBq, 1e-9)
        point = solution(problem, space, x, tolerance=max(1e-6, 2e-3 * (not best)))
        if best is None or worth(point) > worth(best):
            best = point
    assert best is not None
    return best


def administrations_of(outlook: Outlook, found: Solution) -> tuple[Administration, ...]:
    """The cycles of a point that get activity; times follow the last cycle given."""
    v, space = found.space.variables(found.x), found.space
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


def _plan_of(best: Tried, good: list[Tried], limits, choices: Choices, objective: str, tail: float) -> Plan:
    assert best.found is not None
    outlook, problem, found = best.outlook, best.problem, best.found
    planned = administrations_of(outlook, found)
    report = _forecast(outlook, problem, found, planned)
    mine = compared("this plan", outlook, problem, found.space.variables(found.x), found.space.cycles, limits)
    left_out = [outlook.example.cycle + k for k, a in enumerate(found.x[: found.space.cycles]) if a <= 1e-9]
    notes = [
        touching(outlook, planned),
        _flat(found.space, choices, outlook, objective),
        *(f"no activity is left for cycle {c} within the limits" for c in left_out),
    ]
    return Plan(
        administrations=planned,
        active_constraint=tuple(_active(best, limits, tail, choices.vial_step_MBq)),
        forecast=report,
        probability_exceeded=mine.exceeded,
        warnings=tuple(n for n in notes if n),
        objective=objective,
        value=found.objective,
        prices=_prices(problem, found, limits, choices),
        schedules=(mine, *_label(outlook, problem, limits), *_others(best, good, limits)),
        knowledge=knowledge_of(outlook, problem, found, limits),
        limits=tuple(limits),
        probability=tail,
    )


def _forecast(outlook: Outlook, problem: Problem, found: Solution, planned):
    """The report of the plan, with the trend that was planned with."""
    if not planned:
        return report_of(outlook, ()) if outlook.given is not None else empty_report(outlook)
    v = found.space.variables(found.x)
    every = doses_compiled(outlook.surfaces, Coming(v.activity_MBq, v.amount_nmol, v.interval_h, problem.trend))
    kept = np.flatnonzero(np.asarray(v.activity_MBq) > LEAST_MBQ)
    cycles = {n: getattr(every, n)[:, kept] for n in ("dose_Gy", "weighted_Gy", "bed_Gy", "tia_MBq_h")}
    return report_of(outlook, planned, every._replace(**cycles))


def _flat(space: Space, choices: Choices, outlook: Outlook, objective: str) -> str:
    """Words where a range of intervals was given but nothing depends on them."""
    moves = choices.platelets is not None or (objective in NEEDS_RESPONSE or outlook.surfaces.size.nodes > 1)
    text = "the interval changes neither objective nor limits here: the shortest was taken"
    return text if space.intervals and not moves else ""


def _label(outlook: Outlook, problem: Problem, limits) -> tuple[Comparison, ...]:
    label = label_of(outlook, problem, limits)
    return (label,) if label else ()


def _others(best: Tried, good: list[Tried], limits) -> tuple[Comparison, ...]:
    """The other numbers of cycles and amounts of cold ligand, at their own optimum."""
    out = []
    for t in good:
        if t is not best and t.found is not None:
            cold = f", {t.outlook.example.cold_nmol:g} nmol cold first" if t.outlook.example.cold_nmol else ""
            name = f"{t.cycles} cycles{cold}"
            v = t.found.space.variables(t.found.x)
            out.append(compared(name, t.outlook, t.problem, v, t.found.space.cycles, limits))
    return tuple(out)


def _active(best: Tried, limits, tail: float, step_MBq: float):
    """What keeps each cycle with activity from more of it."""
    assert best.found is not None
    found = best.found
    otherwise = f"vial step of {step_MBq:g} MBq" if step_MBq > 1 else "none"
    names = names_of_rows(best.problem, found.space, limits)
    step = 1.5 / max(found.space.cap_MBq, 1.0) + ACTIVE
    tight = [n for n, s in zip(names, found.slack, strict=True) if s < max(step, ACTIVE)]
    by_name = {lim.name: lim for lim in limits if not lim.at_least}
    bound = next((n for n in tight if n in by_name), tight[0] if tight else "")
    rule = by_name[bound].rule if bound in by_name else ""
    share = (by_name[bound].tail or tail) if bound in by_name else tail
    words = f"{bound} at {1 - share:.0%} probability" if rule == "chance" else bound or otherwise
    for x in found.x[: found.space.cycles]:
        if x > 1e-9:
            yield "activity cap per cycle" if x >= 1 - ACTIVE else words


def _prices(problem: Problem, found: Solution, limits, choices: Choices) -> tuple[Price, ...]:
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


def _nothing_left(outlook: Outlook, limits, choices: Choices) -> Plan:
    """All cycles were given."""
    report = report_of(outlook, ())
    problem = problem_of(outlook, limits, choices, "activity", TAIL, 1.0)
    over = exceeded_by(problem, None, limits)
    said = f"all {max(choices.numbers_of_cycles)} cycles were given: nothing to plan"
    return Plan((), (), report, over, (said,), limits=tuple(limits))


def _impossible(last: Tried, limits, objective: str) -> Plan:
    """No schedule meets the limits: nothing is planned, and the conflict says why."""
    assert last.conflict is not None
    outlook = last.outlook
    report = report_of(outlook, ()) if outlook.given is not None else empty_report(outlook)
    over = exceeded_by(last.problem, None, limits)
    return Plan((), (), report, over, (str(last.conflict),), objective, conflict=last.conflict, limits=tuple(limits))


def empty_report(outlook: Outlook):
    """A report of no cycle."""
    look = report_of(outlook, (outlook.example,))
    none = {n: getattr(look, n)[:, :0] for n in ("dose_Gy", "bed_Gy", "weighted_Gy", "tia_MBq_h")}
    first = {n: getattr(look, n)[:0] for n in ("cycles", "kind", "administered_MBq", "extrapolated_fraction")}
    return replace(look, **none, **first)
