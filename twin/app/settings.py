"""What the page's controls mean: numbers on the screen to administrations, limits and a question to the twin."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from dose.errors import InputError, describe
from pbpk.administration import Administration
from twin.app.desk import Desk
from twin.constraints import Limit, known_limits, limit
from twin.outlook import Outlook
from twin.outlook.outcomes import Outcomes, outcomes
from twin.schedules import remaining
from twin.what_if import AMOUNT_SPAN, WhatIf, outlook_for, schedule_of, whatif

OWN = {"BED of my own": "bed_Gy", "dose of my own": "dose_Gy"}
"""Kidney limits whose value is a slider's."""
TAILS = {"90 %": 0.10, "95 %": 0.05, "99 %": 0.01}
"""Probability of keeping a limit, and what it leaves for passing it."""
AMOUNT_FACTORS = (1 / AMOUNT_SPAN, 0.4, 0.5, 0.6, 0.75, 0.9, 1.0, 1.2, 1.5, 1.8, 2.2, 2.6, AMOUNT_SPAN)
SET_BY = "the planner page"


@dataclass(frozen=True)
class Settings:
    """Coming cycles and the bounds they are held against; `amount_nmol` None is the usual amount, `tail` the allowed
    probability of passing a limit."""

    activities_MBq: tuple[float, ...]
    interval_days: float
    amount_nmol: float | None
    limits: tuple[Limit, ...]
    tail: float
    trend_log_per_cycle: float


@dataclass(frozen=True)
class Start:
    """Where the activity sliders stand before anybody moves them: one value, or one a cycle, in the desk's unit."""

    every: float
    each: tuple[float, ...] = ()


@dataclass
class Now:
    """What the page asks and shows at this moment, for its buttons: what they read must not press them again."""

    asked: Settings | None = None
    shown: WhatIf | None = None


def first_start(desk: Desk) -> Start:
    return Start(round(desk.label.activity_MBq / desk.unit_MBq, 1))


def cycles_at_first(desk: Desk) -> int:
    """What is left of the label's cycles, one at least."""
    return min(max(desk.label.cycles - desk.given, 1), desk.most_coming)


def first_settings(desk: Desk) -> Settings:
    """What the controls say before anybody moves them."""
    activities = (desk.label.activity_MBq,) * cycles_at_first(desk)
    limits = limits_of(desk, next(iter(kidney_choices(desk).values())), 1.0, True)
    return Settings(activities, desk.label.interval_days, None, limits, TAILS["95 %"], 0.0)


def places(start: Start, every: float, cycles: int, moved: bool) -> list[float]:
    """Where each cycle's slider starts: at its own place until the slider of all cycles was moved."""
    own = () if moved else start.each[:cycles]
    return [*own, *[every] * (cycles - len(own))]


def kidney_choices(desk: Desk) -> dict[str, str]:
    """Words of each kidney limit of the tables, and of one's own, to its name; without kidneys there is none."""
    if "kidneys" not in desk.outlook.regions:
        return {"no kidneys in this twin": next(iter(known_limits()))}
    known = [lim for lim in known_limits().values() if lim.region == "kidneys"]
    words = {f"{'BED' if lim.quantity == 'bed_Gy' else 'dose'} {lim.value_Gy:g} Gy": lim.name for lim in known}
    return words | {text: text for text in OWN}


def limits_of(desk: Desk, kidney: str, own_Gy: float, marrow: bool) -> tuple[Limit, ...]:
    """The limits asked for, of regions that the report has; `kidney` is a value of `kidney_choices`."""
    if kidney in OWN:
        first = Limit("kidney_own", "kidneys", OWN[kidney], own_Gy, SET_BY, set_by=SET_BY)
    else:
        first = limit(kidney)
    chosen = (first, limit("marrow_dose_2")) if marrow else (first,)
    return tuple(lim for lim in chosen if lim.region in desk.outlook.regions)


def amount_steps(desk: Desk) -> list[float]:
    """Ligand amounts (nmol) on the slider: the usual one exactly, the ends inside of what surfaces cover."""
    usual = desk.outlook.example.amount_nmol
    rounding = {AMOUNT_FACTORS[0]: math.ceil, AMOUNT_FACTORS[-1]: math.floor}
    return [usual if f == 1 else _three_digits(usual * f, rounding.get(f, round)) for f in AMOUNT_FACTORS]


def _three_digits(value: float, rounding) -> float:
    scale = 10.0 ** (2 - math.floor(math.log10(value)))
    return rounding(value * scale) / scale


def asked(
    desk: Desk,
    *,
    activities: Sequence[float],
    interval_weeks: float,
    amount_nmol: float,
    limits: tuple[Limit, ...],
    tail: float,
    trend_percent: float,
) -> Settings:
    """What the controls say; activities in the desk's unit, the trend as change of uptake per cycle."""
    return Settings(
        activities_MBq=tuple(round(a * desk.unit_MBq, 6) for a in activities),
        interval_days=7.0 * interval_weeks,
        amount_nmol=None if amount_nmol == desk.outlook.example.amount_nmol else amount_nmol,
        limits=limits,
        tail=tail,
        trend_log_per_cycle=math.log1p(trend_percent / 100),
    )


def is_slow(desk: Desk, settings: Settings) -> bool:
    """Whether surfaces have to be made first, which takes seconds."""
    return settings.amount_nmol is not None and (True, False) not in desk.kept


def surfaces_of(desk: Desk, settings: Settings, response: bool = False) -> Outlook:
    """The twin's surfaces for these settings; those over amounts, or with tumours that change size, are made once."""
    key = (settings.amount_nmol is not None, response)
    if key == (False, False):
        return desk.outlook
    if key not in desk.kept:
        desk.kept[key] = outlook_for(desk.twin, varied_amounts=key[0], response=response)
    return desk.kept[key]


def administrations_of(desk: Desk, settings: Settings) -> tuple[Administration, ...]:
    """Administrations to come.

    Raises:
        InputError: every activity is 0.
    """
    planned = schedule_of(
        surfaces_of(desk, settings), settings.activities_MBq, interval_days=settings.interval_days,
        amount_nmol=settings.amount_nmol,
    )  # fmt: skip
    if not planned:
        do = "move an activity slider up"
        raise InputError(describe("activities", "0 in every cycle", "some activity", do))
    return planned


def answers(desk: Desk, settings: Settings) -> tuple[WhatIf, WhatIf | None]:
    """What the schedule would do, and beside it the rest of the label's schedule (None where its cycles are over).

    Raises:
        InputError: every activity is 0, or a schedule that surfaces do not cover.
    """
    return answer(desk, settings), _label_answer(desk, settings.limits, settings.trend_log_per_cycle)


def answer(desk: Desk, settings: Settings) -> WhatIf:
    look, planned = surfaces_of(desk, settings), administrations_of(desk, settings)
    trend = settings.trend_log_per_cycle
    return whatif(look, planned, limits=settings.limits, trend_log_per_cycle=trend, with_outcomes=False)


@lru_cache(maxsize=16)
def _label_answer(desk: Desk, limits: tuple[Limit, ...], trend: float) -> WhatIf | None:
    planned = remaining(desk.label, desk.outlook.example, desk.outlook.last_given_h)
    if not planned:
        return None
    return whatif(desk.outlook, planned, limits=limits, trend_log_per_cycle=trend, with_outcomes=False)


def outcomes_of(desk: Desk, shown: WhatIf) -> Outcomes | None:
    """Illustrative courses of tumour volume, PSA and platelets."""
    return outcomes(desk.outlook, shown.administrations, shown.report)


def start_of(desk: Desk, administrations, cycles: int) -> Start:
    """The sliders of a plan: its activities, 0 in a cycle that it leaves out."""
    by_cycle = {a.cycle: a.activity_MBq / desk.unit_MBq for a in administrations}
    first = desk.outlook.first_cycle
    each = tuple(round(by_cycle.get(first + k, 0.0), 2) for k in range(cycles))
    return Start(round(float(np.mean(each)), 1), each)


def is_same(one, other) -> bool:
    """Whether two schedules give the same at the same times."""
    plain = lambda rows: [(a.cycle, a.time_h, a.activity_MBq, a.amount_nmol) for a in rows]
    return len(one) == len(other) and np.allclose(plain(one), plain(other), rtol=1e-6)
