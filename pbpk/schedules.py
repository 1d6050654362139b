"""Time-integrated activity of any schedule of one patient: from the amount map where cycles do not touch, else solved.

Cycles touch where ligand of one still holds receptors in the next: slow release, short intervals. They differ where
receptors drift or tumours respond. Then each cycle is solved with its own kinetics, from what the one before left.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import AVOGADRO_PER_NMOL
from pbpk.amount_map import AmountMap, Integrated
from pbpk.carried import fitted
from pbpk.course import HALF_LIVES_TO_THE_END
from pbpk.forms import BothSpecies
from pbpk.kinetics import Kinetics
from pbpk.solve import AUDIT_RTOL, finished, segments, solve

TOUCH = 1e-3
"""Ligand left from earlier cycles, over the amount given next, above which cycles are solved together."""


def integrated(
    kin: Kinetics | Sequence[Kinetics],
    made: AmountMap,
    activity_MBq,
    amount_nmol,
    start_h,
    *,
    touch: float = TOUCH,
    rtol: float = AUDIT_RTOL,
) -> tuple[Integrated, str]:
    """Integrals of each cycle and words on how they were found; activities, amounts and starts are [cycle].

    `kin` is the patient `made` is the map of, or one `Kinetics` a cycle where uptake changes. Direct solves count what
    decays between one administration and the next (after the last: to the end); the map, all of a cycle's own.
    Unrepaired damage is not carried from cycle to cycle.

    Raises:
        InputError: cycles not in order of time, numbers that do not match, not one patient, a solve that did not end.
    """
    activity, amount, start = (np.atleast_1d(np.asarray(x, float)) for x in (activity_MBq, amount_nmol, start_h))
    changing = not isinstance(kin, Kinetics)
    patients = [*kin] if changing else [kin] * len(start)
    _check(patients, made, activity, amount, start)
    reason = "kinetics that change" if changing else _reason(made, amount, start, touch)
    if not reason:
        return made(activity, amount), "amount map"
    return _direct(patients, activity, amount, start, made.infusion_min, rtol), f"solved directly: {reason}"


def _reason(made: AmountMap, amount, start, touch: float) -> str:
    """Why the map does not serve these cycles; empty if it does."""
    if np.any((amount < made.low_nmol) | (amount > made.high_nmol)):
        return f"an amount outside {made.low_nmol:g} to {made.high_nmol:g} nmol"
    if len(start) == 1:
        return ""
    if np.min(np.diff(start)) < made.interval_h * (1 - 1e-9):
        return f"cycles closer than {made.interval_h:g} h"
    left = made.left_over * np.max(amount[:-1] / amount[1:])
    return f"{left:.1g} of the next amount still in the body" if left > touch else ""


def _direct(patients: list[Kinetics], activity, amount, start, infusion_min: float, rtol) -> Integrated:
    half_life_min = np.log(2) / float(patients[0].decay[0])
    length = np.append(60 * np.diff(start), HALF_LIVES_TO_THE_END * half_life_min)
    body, rows = None, []
    for kin, given_MBq, given_nmol, minutes in zip(patients, activity, amount, length, strict=True):
        per_nmol = _MBq_per_nmol(kin)
        seg = segments([0.0], [infusion_min], [given_nmol], [given_MBq / per_nmol], (), minutes)
        begin = None if body is None else fitted(body, kin)
        found = finished(solve(kin, seg, rtol=rtol, form=BothSpecies.name, start=begin))
        body, end = found.y[-1], found.integrals
        tia = jnp.concatenate([end.organ[-1, :, 0], end.blood[-1, :, 0]]) * per_nmol / 60
        rows.append(Integrated(tia, end.kill[-1, :, 0] * (per_nmol / 60) ** 2))
    return Integrated(*(jnp.stack(column) for column in zip(*rows, strict=True)))


def _check(patients, made: AmountMap, activity, amount, start) -> None:
    if not len(patients) == len(activity) == len(amount) == len(start) or len(start) == 0:
        found = f"{len(activity)} activities, {len(amount)} amounts, {len(start)} starts, {len(patients)} kinetics"
        raise InputError(describe("schedule", found, "one of each for every cycle", "correct the lists"))
    if np.any(60 * np.diff(start) <= made.infusion_min) or not np.all(np.isfinite(start)):
        expected = f"hours that increase, each cycle begun after the infusion of {made.infusion_min:g} min before it"
        raise InputError(describe("start_h", f"{start}", expected, "correct the starts"))
    per_nmol = _MBq_per_nmol(patients[0])
    good = np.isfinite(amount) & (amount > 0) & (activity >= 0) & (activity <= per_nmol * amount)
    if not np.all(good):
        found = f"amounts {amount} nmol, activities {activity} MBq"
        expected = f"amounts above zero, activities from 0 to {per_nmol:.4g} MBq per nmol"
        raise InputError(describe("schedule", found, expected, "correct them"))
    if any(kin.patients != 1 for kin in patients):
        raise InputError(describe("kinetics", "several patients", "one patient", "take one column of them"))
    if any(kin.organs != made.organs for kin in patients):
        raise InputError(describe("kinetics", "other organs than the map's", "one body", "make a map of this patient"))


def _MBq_per_nmol(kin: Kinetics) -> float:
    return float(kin.decay[0]) / 60 * AVOGADRO_PER_NMOL * 1e-6
