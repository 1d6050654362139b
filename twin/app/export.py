"""Optimising with the page's settings, and writing what it shows as a results folder."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dose.errors import InputError, describe
from twin.app.desk import Desk
from twin.app.settings import Settings, is_same, surfaces_of
from twin.patient import Plan
from twin.planning import Choices, Front, front, plan
from twin.planning.setting import NEEDS_RESPONSE
from twin.report import Extras
from twin.results import write_results
from twin.what_if import WhatIf

VIAL_STEPS_PER_UNIT = 100
"""Optimised activities are multiples of the unit over this: what the sliders of single cycles can show."""
MOST_EXPORTS = 999
BY_HAND = "chosen on the page"
COMMAND = "theratwin app"


@dataclass(frozen=True)
class Optimised:
    """A plan with the settings and the objective it was asked with."""

    plan: Plan
    settings: Settings
    objective: str


@dataclass(frozen=True)
class Traded:
    """A front with the settings it was asked with."""

    front: Front
    settings: Settings


def choices_of(desk: Desk, settings: Settings) -> Choices:
    return Choices(
        cycles=desk.given + len(settings.activities_MBq),
        vial_step_MBq=desk.unit_MBq / VIAL_STEPS_PER_UNIT,
        interval_days=settings.interval_days,
        amount_nmol=settings.amount_nmol,
        trend_log_per_cycle=settings.trend_log_per_cycle,
    )


def optimise(desk: Desk, settings: Settings, objective: str, target_Gy: float) -> Optimised:
    """The plan for the page's number of cycles, interval, amount and limits."""
    made = plan(
        desk.twin,
        settings.limits,
        objective,
        choices=choices_of(desk, settings),
        probability=settings.tail,
        target_Gy=target_Gy,
        outlook=surfaces_of(desk, settings, response=objective in NEEDS_RESPONSE),
    )
    return Optimised(made, settings, objective)


def trade(desk: Desk, settings: Settings) -> Traded:
    """The front between tumour and kidney for the page's settings."""
    look = surfaces_of(desk, settings)
    found = front(look, settings.limits, choices=choices_of(desk, settings), probability=settings.tail)
    return Traded(found, settings)


def is_of(asked: Settings, now: Settings) -> bool:
    """Whether two settings differ in nothing but the activities of the same number of cycles."""
    alike = replace(asked, activities_MBq=now.activities_MBq) == now
    return alike and len(asked.activities_MBq) == len(now.activities_MBq)


def stands(made: Optimised | None, settings: Settings, shown: WhatIf) -> bool:
    """Whether the page still shows what was optimised; a conflict stands as long as its settings."""
    if made is None or not is_of(made.settings, settings):
        return False
    return made.plan.conflict is not None or is_same(made.plan.administrations, shown.administrations)


def plan_shown(settings: Settings, shown: WhatIf, optimised: Optimised | None) -> Plan:
    """The plan behind the schedule on the page: the optimised one while it stands there, else one chosen by hand."""
    if optimised and optimised.plan.administrations and stands(optimised, settings, shown):
        return replace(optimised.plan, forecast=shown.report)
    return Plan(
        administrations=shown.administrations,
        active_constraint=(BY_HAND,) * len(shown.administrations),
        forecast=shown.report,
        probability_exceeded={row.limit.name: row.exceeded for row in shown.limits},
        warnings=shown.warnings,
        limits=settings.limits,
        probability=settings.tail,
    )


def export(desk: Desk, settings: Settings, made: Plan, traded: Traded | None = None) -> Path:
    """Write a results folder beside the twin's, under a name that is free, and return it.

    The front is in it where it is of these settings.

    Raises:
        InputError: the folder cannot be written.
    """
    given = desk.outlook.given
    measured = {c: curve for c, curve in desk.curves.items() if c in desk.twin.study.observations.cycle}
    extras = Extras(
        front=traded.front if traded and is_of(traded.settings, settings) else None,
        command=COMMAND,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        probability=settings.tail,
    )
    out = free_name(desk.folder)
    return write_results(out, desk.twin, given or made.forecast, made, measured, extras=extras)


def free_name(folder: Path) -> Path:
    """`<folder>_planned_1` or the next number that is free."""
    base = folder.stem if folder.is_file() else folder.name
    names = (folder.with_name(f"{base}_planned_{k}") for k in range(1, MOST_EXPORTS + 1))
    for name in names:
        if not name.exists():
            return name
    do = "move some of the folders away"
    raise InputError(describe("export", f"{MOST_EXPORTS} exports of {folder.name}", "a free name", do))
