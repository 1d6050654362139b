"""What if: a schedule of one's own, answered from a twin's surfaces in the time of a slider's move.

The surfaces (`twin.outlook`) are made once for a twin and kept while it lives; a schedule is then padded arrays, so
that no change of it compiles anything. docs/planning.md says where this agrees with `predict` and where it is refused.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from twin._jax import configure

configure()

from dose.errors import InputError, describe  # noqa: E402
from dose.units import parse  # noqa: E402
from pbpk.administration import Administration  # noqa: E402
from twin.constraints import Limit, default_limits  # noqa: E402
from twin.outlook import Outlook, outlook_of, usual_amount_nmol  # noqa: E402
from twin.outlook.outcomes import Outcomes, outcomes  # noqa: E402
from twin.outlook.read import curves_compiled, doses_compiled  # noqa: E402
from twin.outlook.report import coming_of, report_of, touching  # noqa: E402
from twin.patient import DoseReport, PatientTwin  # noqa: E402
from twin.planning.choices import Choices  # noqa: E402
from twin.planning.compare import course_effects, exceeded_by  # noqa: E402
from twin.planning.problem import Problem, Variables  # noqa: E402
from twin.planning.setting import checked_limits, problem_of  # noqa: E402
from twin.schedules import label_schedule  # noqa: E402

__all__ = ["Limited", "WhatIf", "outlook_for", "schedule_of", "whatif"]

BAND = (5.0, 50.0, 95.0)
AMOUNT_SPAN = 3.0
"""Surfaces over amounts reach from the usual one over this to this times it."""
_KEPT: dict[int, tuple[weakref.ref, dict]] = {}


@dataclass(frozen=True)
class Limited:
    """A limit beside what a schedule brings of its quantity: median and 90 % interval in Gy, chance of passing it."""

    limit: Limit
    median_Gy: float
    lower90_Gy: float
    upper90_Gy: float
    exceeded: float


@dataclass(frozen=True, repr=False)
class WhatIf:
    """The answer to one schedule.

    `report` holds given and coming cycles, draw by draw. `therapeutic_index` [draw] is tumour BED over kidney BED of
    the whole course (NaN without a tumour). `activity` maps a region to (time_h, median, lower, upper) in MBq from the
    first coming cycle on, [time]; `outcomes` are illustrative models of volume, PSA and platelets.
    """

    administrations: tuple[Administration, ...]
    report: DoseReport
    limits: tuple[Limited, ...]
    therapeutic_index: np.ndarray
    tumour_dose_Gy: np.ndarray
    worst_lesion_eubed_Gy: np.ndarray
    activity: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]
    outcomes: Outcomes | None
    warnings: tuple[str, ...]

    def __repr__(self) -> str:
        given = ", ".join(f"{a.activity_MBq / 1000:g}" for a in self.administrations)
        rows = "; ".join(f"{r.limit.name} {r.median_Gy:.3g} Gy, passed with {r.exceeded:.1%}" for r in self.limits)
        return f"WhatIf({given} GBq to come; {rows})"

    def table(self):
        """The report as a pandas table: one row a cycle and region, then sums."""
        from twin.tables import doses_table

        return doses_table(self.report)


def whatif(
    twin: PatientTwin | Outlook,
    schedule: Sequence[Administration] | Sequence[float] | Sequence[str],
    *,
    interval_days: float | None = None,
    amount_nmol: float | None = None,
    limits: Sequence[Limit] | None = None,
    trend_log_per_cycle: float = 0.0,
    with_outcomes: bool = True,
) -> WhatIf:
    """What `schedule` would do: administrations to come, or just their activities (MBq, or text such as "7.4 GBq").

    Activities are given `interval_days` apart (default: the label's) with `amount_nmol` each (default: as last given).
    An amount other than the usual one makes surfaces over a range of amounts first, once.

    Raises:
        InputError: a schedule the surfaces do not cover, or a limit on what is not in the report.
    """
    if isinstance(twin, Outlook):
        look = twin
    else:
        asked = {a.amount_nmol for a in schedule if isinstance(a, Administration)} | {amount_nmol} - {None}
        look = outlook_for(twin, varied_amounts=bool(asked))
    planned = schedule_of(look, schedule, interval_days=interval_days, amount_nmol=amount_nmol)
    chosen = default_limits() if limits is None else tuple(limits)
    chosen = tuple(lim for lim in chosen if limits is not None or lim.region in look.regions)
    checked_limits(chosen, look.regions, look.lesions)
    return _answer(look, planned, chosen, trend_log_per_cycle, with_outcomes)


def outlook_for(twin: PatientTwin, *, varied_amounts: bool = False, response: bool = False) -> Outlook:
    """The twin's outlook, made once and kept while the twin lives.

    With `varied_amounts` over a third to three times the usual ligand amount.
    """
    entry = _KEPT.get(id(twin))
    if entry is None or entry[0]() is not twin:
        key = id(twin)
        entry = (weakref.ref(twin, lambda _, kept=_KEPT: kept.pop(key, None)), {})
        _KEPT[key] = entry
    made, asked = entry[1], (varied_amounts, response)
    if asked not in made:
        plain = next(iter(made.values()), None)
        past = plain.given if plain else None
        usual = usual_amount_nmol(twin)
        span = (usual / AMOUNT_SPAN, usual * AMOUNT_SPAN) if varied_amounts else None
        made[asked] = outlook_of(twin, amounts_nmol=span, response=response, report=past)
    return made[asked]


def schedule_of(
    outlook: Outlook,
    schedule: Sequence[Administration] | Sequence[float] | Sequence[str],
    *,
    interval_days: float | None = None,
    amount_nmol: float | None = None,
) -> tuple[Administration, ...]:
    """Administrations to come; of activities alone, at equal intervals after the last one given.

    Activities of 0 are left out.

    Raises:
        InputError: no cycle, activities that are negative or no numbers, or an interval not above 0.
    """
    if all(isinstance(a, Administration) for a in schedule) and len(schedule):
        return tuple(a for a in schedule if isinstance(a, Administration))
    study = outlook.twin.study
    days = interval_days or label_schedule(study.ligand, study.nuclide).interval_days
    if not 0 < days < 1000:
        raise InputError(describe("interval_days", f"{days:g}", "above 0 days", "correct it"))
    last = outlook.last_given_h
    first_h = outlook.example.time_h if last is None else last + 24 * days
    MBq = [parse(a, "MBq", f"activity {k + 1}") for k, a in enumerate(schedule) if not isinstance(a, Administration)]
    amount = outlook.example.amount_nmol if amount_nmol is None else amount_nmol
    return tuple(
        replace(
            outlook.example,
            cycle=outlook.example.cycle + k,
            time_h=first_h + 24 * days * k,
            activity_MBq=a,
            amount_nmol=amount,
        )
        for k, a in enumerate(MBq)
        if a != 0
    )


def _answer(look: Outlook, planned, limits, trend: float, with_outcomes: bool) -> WhatIf:
    cycles = coming_of(look, planned, trend)
    found = doses_compiled(look.surfaces, cycles)
    report = report_of(look, planned, found)
    problem = _problem(look, limits, trend)
    v = Variables(cycles.activity_MBq, cycles.amount_nmol, cycles.interval_h)
    effect = course_effects(problem, v)
    has_both = bool(look.lesions) and "kidneys" in look.regions
    index = np.asarray(effect.tumour_bed_Gy / jnp.maximum(effect.kidney_bed_Gy, 1e-9))
    note = touching(look, planned)
    return WhatIf(
        administrations=planned,
        report=report,
        limits=_limited(report, limits, exceeded_by(problem, v, limits)),
        therapeutic_index=index if has_both else np.full(look.draws, np.nan),
        tumour_dose_Gy=np.asarray(effect.tumour_dose_Gy),
        worst_lesion_eubed_Gy=np.asarray(effect.worst_eubed_Gy),
        activity=_activity(look, planned, cycles),
        outcomes=outcomes(look, planned, report) if with_outcomes else None,
        warnings=tuple(dict.fromkeys((*look.warnings, *([note] if note else [])))),
    )


_PROBLEMS: dict[tuple, Problem] = {}


def _problem(look: Outlook, limits, trend: float) -> Problem:
    """The arrays of the limits; kept for the last few, as the errors behind them take longer to draw than to use."""
    key = (id(look.surfaces), tuple(limits), trend)
    if key not in _PROBLEMS:
        while len(_PROBLEMS) >= 8:
            _PROBLEMS.pop(next(iter(_PROBLEMS)))
        _PROBLEMS[key] = problem_of(look, tuple(limits), Choices(trend_log_per_cycle=trend), "activity", 0.05, 1.0)
    return _PROBLEMS[key]


def _limited(report: DoseReport, limits, exceeded) -> tuple[Limited, ...]:
    rows = []
    for lim in limits:
        if lim.region in report.regions:
            each = getattr(report, lim.quantity)[..., report.regions.index(lim.region)]
            total = each.max(axis=1) if lim.per == "cycle" else each.sum(axis=1)
            low, middle, high = np.percentile(total, BAND)
            rows.append(Limited(lim, float(middle), float(low), float(high), exceeded[lim.name]))
    return tuple(rows)


def _activity(look: Outlook, planned, cycles) -> dict:
    """Bands of every region over the coming cycles; each cycle to the next or to the end of its curve."""
    count = len(planned)
    curves = np.asarray(curves_compiled(look.surfaces, cycles))[:, :count]
    low, middle, high = np.percentile(curves, BAND, axis=0)
    gaps = np.append(np.diff([a.time_h for a in planned]), np.inf)
    shown = [look.time_h < gap for gap in gaps]
    time_h = np.concatenate([a.time_h + look.time_h[s] for a, s in zip(planned, shown, strict=True)])
    pick = lambda x, k: np.concatenate([x[c, k, s] for c, s in enumerate(shown)])
    return {r: (time_h, pick(middle, k), pick(low, k), pick(high, k)) for k, r in enumerate(look.regions)}
