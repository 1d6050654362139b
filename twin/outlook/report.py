"""From surfaces back to what users hold: a DoseReport of given and coming cycles, and schedules as administrations."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import numpy as np

from dose.errors import InputError, describe
from pbpk.administration import Administration
from twin.outlook.read import Coming, Doses, coming, doses_compiled
from twin.outlook.surface import MOST_CYCLES, Outlook
from twin.patient import DoseReport
from twin.tables import joined

TOUCH = 1e-2
"""Ligand left of one cycle, over the next one's, from which its absence in the surfaces is told: doses then err by as
much (docs/planning.md)."""
FOLLOW_UP_H = 42 * 24.0
"""What is followed after the last cycle."""


def coming_of(
    outlook: Outlook, planned: Sequence[Administration], trend_log_per_cycle: float = 0.0, follow_h: float = FOLLOW_UP_H
) -> Coming:
    """Padded arrays of administrations to come.

    Raises:
        InputError: too many, not in order of time, another tracer, or an amount outside of the outlook's range.
    """
    check(outlook, planned)
    starts = np.array([a.time_h for a in planned])
    gaps = np.append(np.diff(starts), follow_h)
    activity, amount = ([getattr(a, name) for a in planned] for name in ("activity_MBq", "amount_nmol"))
    return coming(activity, amount, gaps, trend_log_per_cycle, len(outlook.given_administrations))


def check(outlook: Outlook, planned: Sequence[Administration]) -> None:
    """Refuse a schedule that the outlook does not cover."""
    example, axis = outlook.example, outlook.surfaces.amount
    if not 1 <= len(planned) <= MOST_CYCLES:
        do = "plan them in parts, or leave the schedule as it is"
        raise InputError(describe("schedule", f"{len(planned)} cycles to come", f"1 to {MOST_CYCLES}", do))
    hours = [a.time_h for a in (*outlook.given_administrations, *planned)]
    if any(b - a <= example.infusion_h for a, b in zip(hours, hours[1:])):
        raise InputError(describe("schedule: time_h", f"{hours}", "hours that increase", "correct the times"))
    for a in planned:
        where = f"administration of cycle {a.cycle}"
        same = [(x.ligand, x.nuclide, x.infusion_h, x.cold_nmol, x.cold_lead_h) for x in (a, example)]
        if same[0] != same[1]:
            do = "make an outlook for it (twin.outlook)"
            raise InputError(describe(where, f"{same[0]}", f"{same[1]}, as the outlook", do))
        if not axis.low * (1 - 1e-6) <= a.amount_nmol <= axis.high * (1 + 1e-6):
            expected = f"{axis.low:g} to {axis.high:g} nmol, as the outlook covers"
            do = "make an outlook with amounts_nmol that holds it"
            raise InputError(describe(f"{where}: amount_nmol", f"{a.amount_nmol:g}", expected, do))


def touching(outlook: Outlook, planned: Sequence[Administration]) -> str:
    """Words where cycles follow so closely that ligand of one is still there in the next; empty where not."""
    hours = [a.time_h for a in (*outlook.given_administrations[-1:], *planned)]
    shortest = min((b - a for a, b in zip(hours, hours[1:])), default=np.inf)
    if shortest >= outlook.left_h[-1]:
        return ""
    left = float(np.exp(np.interp(shortest, outlook.left_h, np.log(np.maximum(outlook.left, 1e-12)))))
    if left <= TOUCH:
        return ""
    text = "cycles {:.1f} days apart: up to {:.1%} of the ligand of one is still there in the next, which is left out"
    return text.format(shortest / 24, left)


def report_of(outlook: Outlook, planned: Sequence[Administration], found: Doses | None = None) -> DoseReport:
    """Given and coming cycles as one report; `found` (read off already) saves reading again."""
    if not planned:
        if outlook.given is None:
            raise InputError(describe("schedule", "no cycle given and none to come", "at least one", "add a cycle"))
        return outlook.given
    read = doses_compiled(outlook.surfaces, coming_of(outlook, planned)) if found is None else found
    count, cube = len(planned), jax.tree.map(np.asarray, read)
    new = DoseReport(
        regions=outlook.regions,
        cycles=tuple(a.cycle for a in planned),
        administered_MBq=np.array([a.activity_MBq for a in planned]),
        kind=("forecast",) * count,
        dose_Gy=cube.dose_Gy[:, :count],
        bed_Gy=cube.bed_Gy[:, :count],
        weighted_Gy=cube.weighted_Gy[:, :count],
        tia_MBq_h=cube.tia_MBq_h[:, :count],
        mass_g=outlook.mass_g,
        extrapolated_fraction=np.ones((count, len(outlook.regions))),
        truth_Gy=outlook.twin.study.truth_Gy,
        warnings=outlook.warnings,
    )
    return new if outlook.given is None else joined(outlook.given, new)
