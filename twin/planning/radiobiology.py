"""How a plan hangs on radiobiology: the same planning with alpha/beta and repair at the ends of their ranges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dose.tissues import Tissue, tissue, tissue_name
from twin.body import Tissues
from twin.constraints import Limit
from twin.outlook import Outlook, outlook_of
from twin.outlook.report import coming_of
from twin.patient import PatientTwin, Plan
from twin.planning.choices import Choices
from twin.planning.compare import exceeded_by
from twin.planning.problem import Variables
from twin.planning.search import plan
from twin.planning.setting import amounts_of, problem_of

VARIED = tuple(
    (name, region, quantity)
    for name, region in (("kidney", "kidneys"), ("tumour", "tumour_1"))
    for quantity in ("alpha_beta", "repair_half_time")
)
"""Tissues, a region of each, and the quantity that is moved to `low` and `high` of dose/data/tissues.csv."""
FIELD = {"alpha_beta": "alpha_beta_Gy", "repair_half_time": "repair_half_time_h"}


@dataclass(frozen=True)
class Variant:
    """The plan under one changed number, and the unchanged plan's chance of passing each limit under it."""

    tissue: str
    quantity: str
    value: float
    activities_MBq: tuple[float, ...]
    objective: float
    unchanged_exceeded: dict[str, float]


def radiobiology(
    twin: PatientTwin,
    limits: Sequence[Limit] | None = None,
    objective: str = "mean_tumour_dose",
    *,
    choices: Choices | None = None,
    probability: float = 0.05,
    **variables,
) -> tuple[Variant, ...]:
    """The plan again with each tissue parameter at either end of its range; the first row has the table's values.

    Schedules are those fixed today: a stop rule and scans among the choices are left out. `unchanged_exceeded` says
    what the first row's activities would do if the changed number were the true one.

    Raises:
        InputError: as `twin.plan`.
    """
    choices = replace(choices or Choices(**variables), stop_at=(), scans=())
    look = _outlook(twin, choices, tissue)
    base = plan(twin, limits, objective, choices=choices, probability=probability, outlook=look)
    rows = [_row("", "as the table", np.nan, base, base.probability_exceeded)]
    for name, region, quantity in VARIED:
        for end in tissue(region).ranges[quantity]:
            if end is not None:
                look = _outlook(twin, choices, _moved(name, quantity, end))
                made = plan(twin, limits, objective, choices=choices, probability=probability, outlook=look)
                rows.append(_row(name, quantity, end, made, _unchanged(look, base, choices, probability)))
    return tuple(rows)


def _row(name: str, quantity: str, value: float, made: Plan, exceeded: dict[str, float]) -> Variant:
    return Variant(name, quantity, value, tuple(a.activity_MBq for a in made.administrations), made.value, exceeded)


def _outlook(twin: PatientTwin, choices: Choices, tissues: Tissues) -> Outlook:
    return outlook_of(twin, amounts_nmol=amounts_of(twin, choices), tissues=tissues)


def _moved(name: str, quantity: str, value: float) -> Tissues:
    """The table's tissues but for one number."""

    def of(region: str) -> Tissue:
        found = tissue(region)
        return replace(found, **{FIELD[quantity]: value}) if tissue_name(region) == name else found

    return of


def _unchanged(look: Outlook, base: Plan, choices: Choices, probability: float) -> dict[str, float]:
    """Chance of passing each limit with the first row's activities."""
    if not base.administrations:
        return {}
    problem = problem_of(look, base.limits, choices, "activity", probability, 1.0)
    c = coming_of(look, base.administrations)
    return exceeded_by(problem, Variables(c.activity_MBq, c.amount_nmol, c.interval_h), base.limits)
