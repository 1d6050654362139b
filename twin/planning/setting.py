"""From a twin, its limits and choices to the arrays of the planning problem."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide
from dose.provenance import load_table
from pbpk import platelets
from pbpk.parameters import ligand
from twin.constraints import TUMOURS, WORST_LESION, Limit, activity_cap_MBq
from twin.outlook import MOST_CYCLES, Outlook
from twin.outlook.outcomes import half_life_h
from twin.outlook.report import FOLLOW_UP_H
from twin.planning.choices import Choices
from twin.planning.problem import Problem, Spec, independent_errors, named_lesions, regions_of
from twin.planning.solver import Space
from twin.schedules import label_schedule

OBJECTIVES = {
    "mean_tumour_dose": "mean absorbed dose of all tumours, by mass (Gy)",
    "mean_tumour_bed": "mean BED of all tumours, by mass (Gy)",
    "worst_lesion_eubed": "equivalent uniform BED of the lesion that gets least (Gy)",
    "lesion_control": "probability that every named lesion gets the target dose",
    "tumour_volume": "fall of the logarithm of all tumours' volume",
    "therapeutic_index": "tumour BED over kidney BED",
    "least_activity": "least activity (GBq, counted negative) for the effect demanded",
    "activity": "activity in all (GBq), for a patient without a known tumour",
}
NEEDS_RESPONSE = ("tumour_volume",)
"""Objectives that need tumours that change size."""
STEP_MBQ, STEP_SHARE = 1.0, 1e-3
"""Activities are planned in whole MBq, or in this share of the cap where that is less (alpha emitters)."""


def checked_objective(name: str, outlook_lesions) -> str:
    """The objective by its name; without a tumour the activity itself.

    Raises:
        InputError: unknown name; the nearest is suggested.
    """
    if name not in OBJECTIVES:
        meant = nearest(name, tuple(OBJECTIVES)) or "one of " + ", ".join(OBJECTIVES)
        raise InputError(describe("objective", repr(name), meant, "correct the name"))
    return name if outlook_lesions or name == "least_activity" else "activity"


def checked_limits(limits, regions, lesions) -> None:
    """Refuse limits on what is not in the report.

    Raises:
        InputError: a region that is not there, a tumour quantity of an organ, a demand without a tumour.
    """
    for lim in limits:
        special = lim.region in (WORST_LESION, TUMOURS)
        if special and not lesions:
            do = "leave it out, or add a tumour with its volume"
            raise InputError(describe(f"limit {lim.name}", lim.region, "a patient with a tumour", do))
        if not special and lim.region not in regions:
            expected = f"one of {', '.join(regions)}"
            raise InputError(describe(f"limit {lim.name}", lim.region, expected, "leave it out or add the region"))
        if lim.quantity == "eubed_Gy":
            do = 'write bed_Gy, or plan with objective "worst_lesion_eubed"'
            raise InputError(describe(f"limit {lim.name}: quantity", "eubed_Gy", "dose_Gy or bed_Gy", do))


def problem_of(
    outlook: Outlook, limits: tuple[Limit, ...], choices: Choices, objective: str, tail: float, target_Gy: float
) -> Problem:
    """The arrays; limits that were met are checked already."""
    where = [regions_of(outlook, lim) for lim in limits]
    specs = tuple(
        Spec(at, join, lim.quantity, lim.per, lim.rule, lim.at_least)
        for (at, join), lim in zip(where, limits, strict=True)
    )
    used = tuple(dict.fromkeys(k for at, _ in where for k in at)) or (0,)
    index = lambda name: outlook.regions.index(name) if name in outlook.regions else -1
    rule, past = choices.platelets, _past(outlook)
    marrow = index("red_marrow")
    given = outlook.given_administrations
    return Problem(
        surfaces=outlook.surfaces,
        past_dose_Gy=past[0],
        past_weighted_Gy=past[1],
        past_quadratic_Gy=past[2],
        moved=independent_errors(outlook, used),
        value_Gy=jnp.asarray([lim.value_Gy for lim in limits], float),
        tail=jnp.asarray([lim.tail or tail for lim in limits], float),
        mass_g=jnp.asarray(outlook.mass_g),
        target_Gy=jnp.asarray(float(target_Gy)),
        dose_cv=jnp.asarray(lesion_dose_cv()),
        trend=jnp.exp(choices.trend_log_per_cycle * (np.arange(MOST_CYCLES) + len(given))),
        past_start_h=jnp.asarray([a.time_h for a in given], float),
        past_marrow_Gy=jnp.asarray(_given_dose(outlook, marrow)),
        marrow_half_life_h=jnp.asarray(half_life_h(outlook, marrow if marrow >= 0 else None)),
        chain=None if rule is None else _chain(rule.chain or platelets.typical(), outlook.draws),
        lowest_per_nL=jnp.asarray(rule.lowest_per_nL if rule else 1.0),
        platelet_tail=jnp.asarray(float(tail)),
        first_h=jnp.asarray(float(outlook.example.time_h)),
        specs=specs,
        used=used,
        named=named_lesions(outlook),
        kidneys=index("kidneys"),
        marrow=marrow,
        objective=objective,
    )


def lesion_dose_cv() -> float:
    rows = {row["quantity"]: float(row["value"]) for row in load_table("twin", "forecast.csv")}
    return rows["lesion_dose_cv"]


def _chain(chain, draws: int):
    return type(chain)(*(jnp.broadcast_to(jnp.asarray(x, float), (draws,)) for x in chain))


def _past(outlook: Outlook):
    """Dose, weighted dose and quadratic part given [draw, region], without the errors independent of the draws."""
    given = outlook.given
    if given is None:
        return (jnp.zeros((outlook.draws, len(outlook.regions))),) * 3
    factor = np.exp(-np.asarray(outlook.surfaces.error))
    parts = (given.dose_Gy, given.linear_bed_Gy, given.bed_Gy - given.linear_bed_Gy)
    return tuple(jnp.asarray(x.sum(axis=1) * factor**p) for x, p in zip(parts, (1, 1, 2), strict=True))


def space_of(outlook: Outlook, choices: Choices, cycles_in_all: int) -> Space | None:
    """The variables of the cycles that are left of `cycles_in_all`; None where none is."""
    study, given = outlook.twin.study, len(outlook.given_administrations)
    count = cycles_in_all - given
    if count < 1:
        return None
    usual = label_schedule(study.ligand, study.nuclide).interval_days
    days = choices.range_of("interval_days", (usual, usual))
    amount = choices.range_of("amount_nmol", (outlook.example.amount_nmol,) * 2)
    cap = choices.cap_MBq or activity_cap_MBq(study.nuclide)
    if choices.floor_MBq > cap:
        do = "lower the floor or raise the cap"
        raise InputError(describe("floor_MBq", f"{choices.floor_MBq:g}", f"at most the cap of {cap:g} MBq", do))
    return Space(
        cycles=count,
        floor_MBq=choices.floor_MBq,
        cap_MBq=cap,
        amount_nmol=amount,
        interval_h=(24 * days[0], 24 * days[1]),
        amount_per_cycle=choices.amount_per_cycle,
        molar_MBq_per_nmol=min(choices.molar_activity_MBq_per_nmol or np.inf, _carrier_free(study.nuclide)),
        last_interval_h=FOLLOW_UP_H,
    )


def step_of(choices: Choices, space: Space) -> float:
    """MBq that activities are whole multiples of."""
    return choices.vial_step_MBq or min(STEP_MBQ, STEP_SHARE * space.cap_MBq)


def _given_dose(outlook: Outlook, region: int) -> np.ndarray:
    """Doses (Gy) of the cycles given, [draw, cycle]; zeros for a region that is not in the report."""
    if outlook.given is None:
        return np.zeros((outlook.draws, 0))
    dose = outlook.given.dose_Gy
    return dose[..., region] if region >= 0 else np.zeros(dose.shape[:2])


def _carrier_free(nuclide: str) -> float:
    """Every ligand molecule labelled: no more activity fits on the amount."""
    return radionuclide(nuclide).activity_MBq_per_nmol


def amounts_of(twin, choices: Choices) -> tuple[float, float] | None:
    """Range of amounts an outlook has to cover; None for the usual one alone."""
    if choices.amount_nmol is None:
        return None
    typical = ligand(twin.study.ligand).typical_amount_nmol("therapy")
    return choices.range_of("amount_nmol", (typical, typical))
