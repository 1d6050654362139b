"""The plan: each number of cycles and amount of cold ligand at its optimum, with or without a stop rule; the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from twin.constraints import TUMOURS, Limit, default_limits
from twin.outlook import Outlook, outlook_of
from twin.patient import PatientTwin, Plan
from twin.planning.choices import Choices
from twin.planning.compare import label_total_Gy
from twin.planning.made import impossible, nothing_left, plan_of
from twin.planning.setting import NEEDS_RESPONSE, amounts_of, checked_limits, checked_objective, problem_of
from twin.planning.stop_plan import stop_plan_of
from twin.planning.stop_search import best_stop
from twin.planning.tried import Tried, tried
from twin.planning.worth import cheapest, scan_worth
from twin.schedules import label_schedule

TAIL = 0.05
"""Probability with which a chance limit may be passed, unless the limit or the plan says otherwise."""
FOR_THE_EFFECT = ("least_activity", "therapeutic_index")
"""Objectives that are best with no activity at all: they get a demand, the label's effect, unless one is given."""


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
        nothing = problem_of(looks[0], limits, choices, "activity", probability, 1.0)
        return nothing_left(looks[0], nothing, limits, max(choices.numbers_of_cycles), probability)
    every = [
        tried(look, limits, choices, objective, n, probability, target_Gy)
        for look in looks
        for n in choices.numbers_of_cycles
        if n > len(look.given_administrations)
    ]
    return _best(every, limits, choices, objective, probability)


def _best(every: list[Tried], limits, choices: Choices, objective: str, tail: float) -> Plan:
    """The best of the schedules fixed today and, where asked for, of those with a stop rule."""
    good = [t for t in every if t.conflict is None]
    best = max(good, key=lambda t: t.point.objective) if good else None
    fixed = best.point.objective if best else None
    stopped = best_stop(every, limits, choices, fixed) if choices.stop_at else None
    if stopped is not None and (fixed is None or stopped.net > fixed):
        return stop_plan_of(stopped, good, limits, choices, objective, tail, fixed)
    if best is None:
        return impossible(every[-1], limits, objective, tail)
    return _with_scans(best, plan_of(best, good, limits, choices, objective, tail), choices, tail)


def _with_scans(best: Tried, made: Plan, choices: Choices, tail: float) -> Plan:
    """The plan with the scans of the coming cycle that are worth it to the cycles after it."""
    if not choices.scans or len(made.administrations) < 2:
        return made
    binding = {p.bound for p in made.prices}
    regions = dict.fromkeys(lim.region for lim in made.limits if lim.name in binding and not lim.at_least)
    common = {"probability": tail, "cap_MBq": best.point.space.cap_MBq}
    seen = [r for r in regions if r in best.outlook.regions]
    weighed = [row for r in seen for row in scan_worth(best.outlook, made, choices.scans, region=r, **common)]
    chosen = cheapest(weighed, choices.least_gain_per_scan)
    if chosen:
        return replace(made, scans=chosen)
    said = f"no scan of the coming cycle is worth {choices.least_gain_per_scan:.1%} of the later activity"
    return replace(made, warnings=(*made.warnings, said))


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
