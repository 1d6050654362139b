"""Doses from posterior draws: one batched solve of the therapy course, then S values, masses and drift.

The kill integral of the BED is taken along in the ODE; `twin.deposit` makes doses of it.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from calibration.forward import Course, pool_weights
from calibration.parameters import Scaling
from dose.regions import is_tumour
from pbpk.anatomy import KIDNEYS, parts
from pbpk.batch import in_threads
from pbpk.kinetics import Kinetics
from pbpk.solve import PLANNING_RTOL, Solution, solve
from twin.body import STANDARD_TISSUES, Body, Tissues, body_of, tables
from twin.chain_forecast import daughter_warnings
from twin.deposit import KIDNEY_PARTS, deposited, dose_errors, is_renal, masses
from twin.drawn import completed, cycle_draws, describing, drift_of
from twin.patient import DoseReport, PatientTwin

REPORTED = (*KIDNEYS, "kidneys", *KIDNEY_PARTS, "liver", "spleen", "parotid", "submandibular", "sublingual", "lacrimal",
            "adrenals", "pituitary", "red_marrow")  # fmt: skip
"""Organs in every report, where the model and the ligand have them; named tumours follow."""
CHUNK = 51
"""Draws solved at once: a working set that stays in the processor's cache."""
DRIFT_SEED = 20_001
"""Of the change between cycles; each cycle has its own key below it."""


class States(NamedTuple):
    """Hot amounts (nmol) and their integrals (nmol min) of organs then blood, [pool, ask, draw].

    `kill` (nmol^2 min^2) of organs; `ledger` (nmol): rows of `pbpk.state.LEDGER`.
    """

    amount: np.ndarray
    integral: np.ndarray
    kill: np.ndarray
    ledger: np.ndarray


def states(course: Course, names, offsets, ask_min) -> States:
    """States of a course at `ask_min`, for offsets of shape [draw, parameter]."""
    seg = course.segments(ask_min)
    at = np.array([int(np.argmin(np.abs(seg.end_min - minute))) for minute in ask_min])
    scaling = Scaling.of(names, course.kinetics.organs)
    padded = np.concatenate([offsets, np.zeros((-len(offsets) % CHUNK, offsets.shape[1]))])

    def solved(chunk) -> States:
        kin = scaling.apply(_copies(course.kinetics, CHUNK), jnp.asarray(chunk.T))
        return _read(solve(kin, seg, rtol=PLANNING_RTOL), at)

    parts = in_threads(solved, padded.reshape(-1, CHUNK, offsets.shape[1]))
    return States(*(np.concatenate(x, axis=-1)[..., : len(offsets)] for x in zip(*parts, strict=True)))


def _read(solution: Solution, at) -> States:
    hot, integrals = solution.hot, solution.integrals
    amount = np.concatenate([hot.organ_total(solution.layout), hot.blood], axis=1)
    integral = np.concatenate([integrals.organ, integrals.blood], axis=1)
    return States(*(np.moveaxis(np.asarray(x)[at], 0, 1) for x in (amount, integral, integrals.kill, integrals.ledger)))


def _copies(kin: Kinetics, count: int) -> Kinetics:
    return jax.tree.map(lambda x: jnp.broadcast_to(x, (*x.shape[:-1], count)), kin)


def activities(body: Body, names, course: Course, minutes, weights, offsets) -> np.ndarray:
    """Activity in MBq, [region, time, draw], of pools by `weights` [region, pool] at `minutes` of a course."""
    order = np.unique(minutes)
    pools = states(course, names, offsets, order).amount[:, np.searchsorted(order, minutes)]
    return course.nuclide.activity_MBq_per_nmol * np.einsum("rp,ptd->rtd", weights, pools)


def reported_regions(body: Body, twin: PatientTwin) -> tuple[str, ...]:
    organs = [r for r in REPORTED if parts(r, body.organs)]
    moved = {name.split("/")[-1] for name in twin.posterior.names}
    organs = [r for r in organs if r in moved or r in (*KIDNEYS, "kidneys", "red_marrow", "liver", "spleen")]
    tumours = [o for o in body.organs if is_tumour(o) and (o != "tumour_rest" or o in twin.study.volumes_mL)]
    return (*organs, *tumours)


def dose_report(twin: PatientTwin, administrations, observed_cycles, tissues: Tissues = STANDARD_TISSUES) -> DoseReport:
    """Doses of each therapy cycle among `administrations`, with the posterior's draws.

    A cycle that was measured has its own parameters (`calibration.sequential.backward`); cycles to come have those of
    the last one measured, with a drift.
    """
    body = body_of(twin.study, administrations, tissues)
    twin, course = completed(twin, body), body.first
    cycles = tuple(sorted(a.cycle for a in course.administrations if a.cycle > 0))
    regions = reported_regions(body, twin)
    organ_tia, organ_kill, extrapolated = _integrals(twin, body, cycles, regions)
    drift = drift_factors(twin, body, cycles, regions, organ_tia.shape[-1])
    mass = masses(regions, body)
    found = deposited(twin, body, regions, mass, organ_tia, organ_kill, drift)
    found = found.off_by(dose_errors(twin, body, regions, found.coefficient_sd).log)
    return DoseReport(
        regions=regions,
        cycles=cycles,
        administered_MBq=np.array([course.administration(c).activity_MBq for c in cycles]),
        kind=tuple("assimilated" if c in observed_cycles else "forecast" for c in cycles),
        dose_Gy=found.dose_Gy[:-1],
        bed_Gy=found.bed_Gy[:-1],
        weighted_Gy=found.weighted_Gy[:-1],
        tia_MBq_h=found.tia_MBq_h[:-1],
        mass_g=mass,
        extrapolated_fraction=np.clip(extrapolated, 0.0, 1.0),
        truth_Gy=twin.study.truth_Gy,
        warnings=report_warnings(twin, regions, body),
    )


def _integrals(twin: PatientTwin, body: Body, cycles, regions):
    """TIA (MBq h) and kill [pool, cycle, draw], the MAP last, and extrapolated fractions [cycle, region]."""
    sets, course, p = cycle_draws(twin), body.first, twin.posterior
    centre = dict(twin.earlier) | {twin.cycle: p}
    rows = []
    for used in dict.fromkeys(describing(sets, c) for c in cycles):
        mine = tuple(c for c in cycles if describing(sets, c) == used)
        middle = p.map_log.copy()
        middle[[p.names.index(n) for n in centre[used].names]] = centre[used].map_log
        rows += _of_cycles(twin, body, cycles, mine, regions, np.concatenate([sets[used], middle[None]]))
    tia, kill, fraction = zip(*rows, strict=True)
    return (
        np.stack(tia, axis=1),
        np.stack(kill, axis=1) * (course.nuclide.activity_MBq_per_nmol / 60) ** 2,
        np.array(fraction),
    )


def _of_cycles(twin: PatientTwin, body: Body, cycles, mine, regions, offsets):
    """(TIA [pool, draw], kill [organ, draw], extrapolated fraction [region]) of each of the cycles `mine`."""
    course = body.first
    start = {c: course.minute(c, 0.0) for c in cycles}
    end = {c: start[n] for c, n in zip(cycles, cycles[1:], strict=False)} | {cycles[-1]: course.end_min}
    last_min = {(c, r): course.minute(c, t) for c in mine for r in regions if (t := _last_h(twin, c, r)) > 0}
    ask = np.unique([*(start[c] for c in mine), *(end[c] for c in mine), *last_min.values()])
    found = states(course, twin.posterior.names, offsets, ask[ask > 0])
    tia = np.concatenate([np.zeros_like(found.integral[:, :1]), tia_MBq_h(found, course)], axis=1)
    kill = np.concatenate([np.zeros_like(found.kill[:, :1]), found.kill], axis=1)
    at = lambda minute: int(np.searchsorted(ask[ask > 0], minute)) + 1 if minute > 0 else 0
    for c in mine:
        whole = tia[:, at(end[c])] - tia[:, at(start[c])]
        fraction = np.ones(len(regions))
        for k, r in enumerate(regions):
            if (c, r) in last_min:
                w = pool_weights(r, body.organs, frozenset())
                after = w @ (tia[:, at(end[c]), -1] - tia[:, at(min(last_min[c, r], end[c])), -1])
                fraction[k] = after / (w @ whole[:, -1])
        yield whole, kill[:, at(end[c])] - kill[:, at(start[c])], fraction


def _last_h(twin: PatientTwin, cycle: int, region: str) -> float:
    """Hour of the last measurement that shows the region in a cycle; 0 where there is none."""
    obs = twin.study.observations
    sides = [side for side in ("left", "right") if region.endswith(f"_{side}")] or ["left", "right"]
    whole = {"kidneys", *(f"kidney_{side}" for side in sides)} if is_renal(region) else set()
    related = {region, *(f"{region}_{side}" for side in sides)} | whole
    times = [t for t, r, c in zip(obs.time_h, obs.region, obs.cycle, strict=True) if c == cycle and r in related]
    return max(times, default=0.0)


def tia_MBq_h(found: States, course: Course) -> np.ndarray:
    """Time-integrated activity of organs and blood, [pool, ask, draw]."""
    return found.integral * course.nuclide.activity_MBq_per_nmol / 60


def drift_factors(twin: PatientTwin, body: Body, cycles, regions, draws: int) -> np.ndarray:
    """Factor [draw, cycle, region] of the change in uptake away from the measured cycles, a random walk.

    Kidneys drift together. A cycle's step depends on its number alone, so that plans of different lengths share it;
    the last of `draws` stays where it is.
    """
    measured = {*(c for c, _ in twin.earlier), twin.cycle}
    change = drift_of(twin)
    organ = lambda r: parts(r, body.organs)[0]
    sd = np.array([np.sqrt(change((f"receptor_density/{organ(r)}",), 1)[0, 0]) for r in regions])
    step = np.stack([_step(c, draws, regions) for c in cycles], axis=1) * sd
    walk = np.zeros_like(step)
    first = next((j for j, c in enumerate(cycles) if c in measured), 0)
    for j in range(first, len(cycles)):
        walk[:, j] = 0.0 if cycles[j] in measured else walk[:, max(j - 1, 0)] + step[:, j]
    for j in reversed(range(first)):
        walk[:, j] = walk[:, j + 1] + step[:, j]
    return np.exp(walk)


def _step(cycle: int, draws: int, regions) -> np.ndarray:
    """Standard normals [draw, region] of one cycle, the same for all kidneys; 0 in the last draw."""
    step = np.random.default_rng([DRIFT_SEED, cycle]).standard_normal((draws, len(regions)))
    kidneys = [k for k, r in enumerate(regions) if is_renal(r)]
    step[:, kidneys] = step[:, kidneys[:1]]
    step[-1] = 0.0
    return step


def report_warnings(twin: PatientTwin, regions, body: Body) -> tuple[str, ...]:
    """What the reader of doses must know."""
    return (
        *_other_tables(twin),
        *daughter_warnings(twin.study.nuclide),
        *_unsegmented(twin, regions, body),
        *_divided(regions),
    )


def _other_tables(twin: PatientTwin) -> tuple[str, ...]:
    text = (
        "the twin was calibrated with other tables than these (pbpk/data): its forecasts are not those it gave then; "
        "calibrate again"
    )
    return (text,) if twin.provenance.get("tables", tables()) != tables() else ()


def _divided(regions) -> tuple[str, ...]:
    text = (
        "doses of kidney cortex and medulla hold each part's own radiation only, and their uptake is shared as the "
        "ligand's table says: a scan of whole kidneys does not tell them apart"
    )
    return (text,) if any(r in KIDNEY_PARTS for r in regions) else ()


def _unsegmented(twin: PatientTwin, regions, body: Body) -> tuple[str, ...]:
    missing = [r for r in regions if is_tumour(r) and r not in twin.study.volumes_mL]
    text = "no volume was given for {}: 10 mL is assumed, so its dose is uncertain by half and more; its TIA is not"
    return tuple(text.format(r) for r in missing)
