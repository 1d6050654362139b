"""Making an outlook: which nodes to solve, and from their integrals to surfaces of dose."""

from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np

from calibration.forward import pool_weights
from dose.errors import InputError, describe
from dose.regions import is_tumour
from dose.tissues import Parameter
from pbpk.administration import Administration
from pbpk.anatomy import parts
from pbpk.parameters import ligand
from pbpk.volume import published
from twin.body import STANDARD_TISSUES, Body, Tissues, body_of
from twin.deposit import Deposited, deposited, dose_errors, is_renal, masses
from twin.drawn import completed, cycle_draws, drift_of
from twin.forecast import dose_report, drift_factors, report_warnings, reported_regions
from twin.outlook.nodes import Ask, Solved, solved
from twin.outlook.surface import MOST_CYCLES, Axis, Outlook, Surfaces
from twin.patient import DoseReport, PatientTwin

AMOUNT_NODES, SIZE_NODES = 7, 4
SIZES = (0.02, 3.0)
"""Tumour sizes, relative to now, that an outlook with response covers."""
CURVE_TIMES, FIRST_H, LAST_H = 24, 0.25, 240.0
LEFT_H = np.array([7.0, 14.0, 21.0, 28.0, 42.0, 56.0, 84.0]) * 24
CHECK_DRAWS = 51
RESPONSE_SEED = 20_004
SMALLEST = 1e-300


def outlook_of(
    twin: PatientTwin,
    *,
    amounts_nmol: tuple[float, float] | None = None,
    response: bool = False,
    cold_nmol: float = 0.0,
    cold_lead_h: float = 0.0,
    tissues: Tissues = STANDARD_TISSUES,
    report: DoseReport | None = None,
) -> Outlook:
    """Solve the nodes of a twin's coming cycles.

    `amounts_nmol` is the range of ligand amounts to cover (default: the last amount given, alone); with `response` the
    surfaces also cover tumours of other sizes, so that volume feeds back to receptors, sink and mass. `cold_nmol` of
    unlabelled ligand goes `cold_lead_h` before each coming administration. `report`: the doses of the cycles given, if
    they are at hand.

    Raises:
        InputError: amounts that are not 0 < low <= high, or the twin's tracer was not meant for therapy.
    """
    study = twin.study
    given = therapy_of(twin)
    example = _example(twin, given, cold_nmol, cold_lead_h)
    body = body_of(study, (*given, example), tissues)
    twin = completed(twin, body)
    regions = reported_regions(body, twin)
    amount, size = _axes(example, amounts_nmol, response and any(map(is_tumour, regions)))
    ask = _ask(body, example, amount, size)
    draws = cycle_draws(twin)[twin.cycle]
    found = solved(body.first, twin.posterior.names, _with_centre(twin, draws), ask)
    made = [_deposited(twin, body, regions, found, ask, s) for s in size.values]
    past = report or (dose_report(twin, given, frozenset(study.observations.cycle) - {0}, tissues) if given else None)
    error = dose_errors(twin, body, regions, made[0].coefficient_sd)
    surfaces = _surfaces(twin, body, regions, found, made, error, amount, size, len(given))
    return Outlook(
        twin=twin,
        regions=regions,
        mass_g=masses(regions, body),
        given=past,
        given_administrations=given,
        first_cycle=example.cycle,
        example=example,
        surfaces=surfaces,
        time_h=ask.time_h,
        error_sd=error.sd,
        drift_sd=_drift_sd(twin, body, regions),
        kidneys=tuple(k for k, r in enumerate(regions) if is_renal(r)),
        left=np.percentile(found.left, 95, axis=2).max(axis=1),
        left_h=ask.left_h,
        interpolation_error=_checked(twin, body, regions, surfaces, ask, draws[:CHECK_DRAWS], error),
        warnings=report_warnings(twin, regions, body),
    )


def therapy_of(twin: PatientTwin) -> tuple[Administration, ...]:
    """Therapy cycles given so far."""
    study = twin.study
    return tuple(a for a in study.administrations if a.cycle > 0 and a.ligand == study.ligand)


def usual_amount_nmol(twin: PatientTwin) -> float:
    """Ligand of a coming cycle unless told otherwise: as last given, or as the ligand's table has it."""
    return _example(twin, therapy_of(twin), 0.0, 0.0).amount_nmol


def _example(twin: PatientTwin, given, cold_nmol: float, cold_lead_h: float) -> Administration:
    """The next administration, as the last one was or as the ligand's table has it."""
    study, last = twin.study, max(given, key=lambda a: a.cycle, default=None)
    amount = last.amount_nmol if last else ligand(study.ligand).typical_amount_nmol("therapy")
    start = last.time_h + 42 * 24 if last else max([0.0, *(a.time_h for a in study.administrations)])
    base = Administration(
        last.cycle + 1 if last else 1, start, 1.0, amount, last.infusion_h if last else 0.0, study.ligand, study.nuclide
    )
    return replace(base, cold_nmol=cold_nmol, cold_lead_h=cold_lead_h)


def _axes(example: Administration, amounts_nmol, response: bool) -> tuple[Axis, Axis]:
    low, high = amounts_nmol or (example.amount_nmol,) * 2
    if not 0 < low <= high:
        do = "give the range of ligand amounts to consider"
        raise InputError(describe("amounts_nmol", f"{low:g} to {high:g}", "0 < low <= high", do))
    amount = Axis(float(low), float(high), AMOUNT_NODES if high > low * (1 + 1e-9) else 1)
    return amount, Axis(*SIZES, SIZE_NODES) if response else Axis(1.0, 1.0, 1)


def _ask(body: Body, example: Administration, amount: Axis, size: Axis) -> Ask:
    nodes = [(a, s) for s in size.values for a in amount.values]
    amounts, sizes = (np.array(x) for x in zip(*nodes, strict=True))
    last_h = min(LAST_H, 6 * body.first.nuclide.half_life_h)
    time_h = example.infusion_h + np.geomspace(FIRST_H, last_h, CURVE_TIMES)
    return Ask(amounts, sizes, example.infusion_h, example.cold_nmol, example.cold_lead_h, time_h, LEFT_H)


def _with_centre(twin: PatientTwin, draws) -> np.ndarray:
    return np.concatenate([draws, twin.posterior.map_log[None]])


def _deposited(twin, body: Body, regions, found: Solved, ask: Ask, size: float) -> Deposited:
    """Doses per MBq of the nodes of one tumour size, [draw, amount, region], the MAP last."""
    here = np.isclose(ask.size, size)
    mass = masses(regions, body) * np.array([size if is_tumour(r) else 1.0 for r in regions])
    still = np.ones((found.tia.shape[-1], int(here.sum()), len(regions)))
    return deposited(twin, body, regions, mass, found.tia[:, here], found.kill[:, here], still)


def _surfaces(twin, body: Body, regions, found: Solved, made, error, amount: Axis, size: Axis, given: int) -> Surfaces:
    contour = error.contour[:-1]
    log = lambda name, power: _fitted(
        np.stack([getattr(d, name)[:-1] for d in made]), amount, size, power * contour[:, None]
    )
    draws = len(contour)
    cycles = tuple(range(1, given + MOST_CYCLES + 1))
    drift = drift_factors(twin, body, cycles, regions, draws + 1)[:-1, given:]
    lesions = tuple(k for k, r in enumerate(regions) if is_tumour(r))
    volume_mL = [1000 * sum(_volume_L(body, o) for o in parts(regions[k], body.organs)) for k in lesions]
    weights = np.stack([pool_weights(r, body.organs, frozenset()) for r in regions])
    now = found.activity if size.nodes == 1 else _at_size_one(found, amount, size)
    activity = np.einsum("rp,ptnd->ndrt", weights, now[..., :-1])
    return Surfaces(
        amount=amount,
        size=size,
        dose=log("dose_Gy", 1),
        weighted=log("weighted_Gy", 1),
        quadratic=log("quadratic_Gy", 2),
        tia=log("tia_MBq_h", 0),
        activity=jnp.asarray(amount.fit(np.log(np.maximum(activity, SMALLEST)))),
        error=jnp.asarray((error.sd * error.normal)[:-1]),
        drift=jnp.asarray(np.log(drift)),
        lesion_mL=jnp.asarray(volume_mL),
        alpha_per_Gy=jnp.asarray(_outcome("alpha", draws)),
        doubling_time_h=jnp.asarray(24 * _outcome("doubling_time", draws)),
        lesions=lesions,
    )


def _outcome(name: str, draws: int) -> np.ndarray:
    """Draws of a parameter of pbpk/data/outcomes.csv over its range."""
    value, low, high = (published(name, column) for column in ("value", "low", "high"))
    return Parameter(name, value, low, high, "", "", "").draws(draws, RESPONSE_SEED)


def _volume_L(body: Body, organ: str) -> float:
    return float(body.physiology.volume_L[body.organs.index(organ)])


def _at_size_one(found: Solved, amount: Axis, size: Axis) -> np.ndarray:
    """Activity [pool, time, amount, draw] with the tumours of now, between the nodes of size."""
    nodes = found.activity.reshape(*found.activity.shape[:2], size.nodes, amount.nodes, -1)
    basis = np.asarray(size.basis(jnp.asarray(1.0)))
    terms = size.fit(np.moveaxis(np.log(np.maximum(nodes, SMALLEST)), 2, 0))
    return np.exp(np.einsum("s,s...->...", basis, terms))


def _fitted(values, amount: Axis, size: Axis, log_error):
    """Coefficients [amount, size, draw, region] of the log of values [size, draw, amount, region]."""
    log = np.log(np.maximum(values, SMALLEST)) + log_error
    by_amount = amount.fit(np.moveaxis(log, 2, 0))
    return jnp.asarray(np.swapaxes(size.fit(np.swapaxes(by_amount, 0, 1)), 0, 1))


def _drift_sd(twin: PatientTwin, body: Body, regions) -> np.ndarray:
    organ = lambda r: parts(r, body.organs)[0]
    change = drift_of(twin)
    return np.array([np.sqrt(change((f"receptor_density/{organ(r)}",), 1)[0, 0]) for r in regions])


def _checked(twin, body: Body, regions, surfaces: Surfaces, ask: Ask, draws, error) -> float:
    """Largest relative error of a dose at places between the nodes, over some draws; 0 where there is one node."""
    amount, size = surfaces.amount, surfaces.size
    if amount.nodes * size.nodes == 1:
        return 0.0
    between = lambda axis: np.sqrt(axis.values[:-1] * axis.values[1:])[[0, -1]] if axis.nodes > 1 else axis.values
    worst = 0.0
    for s in between(size):
        nodes = between(amount)
        there = replace(ask, amount_nmol=nodes, size=np.full(len(nodes), s))
        found = solved(body.first, twin.posterior.names, _with_centre(twin, draws), there)
        exact = _deposited(twin, body, regions, found, there, s).dose_Gy[:-1]
        a, b = surfaces.amount.basis(jnp.asarray(nodes)), surfaces.size.basis(jnp.asarray(s))
        log = jnp.einsum("na,s,asdr->dnr", a, b, surfaces.dose[:, :, : len(draws)])
        read = np.exp(np.asarray(log) - error.contour[: len(draws), None])
        worst = max(worst, float(np.max(np.abs(read / exact - 1))))
    return worst
