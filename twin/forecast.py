"""Doses from posterior draws: one batched solve of the therapy course, then S values, masses and drift.

Absorbed dose D = TIA S; BED = D + 2 S^2 kill / (alpha/beta), with kill the integral of activity times its unrepaired
part, taken along in the ODE (DOSE.md section 6: G D^2 = 2 S^2 kill). For an alpha chain S is that of
`twin.chain_forecast`, which follows the daughters; its low-LET part keeps the parent's kill.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from calibration import noise
from calibration.forward import Course, pool_weights
from calibration.parameters import Scaling
from dose.nuclides import radionuclide
from dose.provenance import load_table
from dose.radiobiology import tissue
from dose.regions import density_g_per_mL, is_tumour
from pbpk.anatomy import CORTEX, KIDNEYS, MEDULLA, kind_of, parts
from pbpk.kinetics import Kinetics
from pbpk.parameters import ligand
from pbpk.solve import PLANNING_RTOL, Solution, solve
from twin.body import Body, body_of, tables
from twin.chain_forecast import coefficients, daughter_warnings
from twin.drawn import completed, cycle_draws, describing, drift_of
from twin.patient import DoseReport, PatientTwin

KIDNEY_PARTS = (*CORTEX, *MEDULLA)
REPORTED = (*KIDNEYS, "kidneys", *KIDNEY_PARTS, "liver", "spleen", "parotid", "submandibular", "sublingual", "lacrimal",
            "adrenals", "pituitary", "red_marrow")  # fmt: skip
"""Organs in every report, where the model and the ligand have them; named tumours follow."""
CHUNK = 51
"""Draws solved at once: a working set that stays in the processor's cache."""
DRIFT_SEED = 20_001


def constants() -> dict[str, float]:
    return {row["quantity"]: float(row["value"]) for row in load_table("twin", "forecast.csv")}


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
    parts = []
    for chunk in padded.reshape(-1, CHUNK, offsets.shape[1]):
        kin = scaling.apply(_copies(course.kinetics, CHUNK), jnp.asarray(chunk.T))
        parts.append(_read(solve(kin, seg, rtol=PLANNING_RTOL), at))
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


def dose_report(twin: PatientTwin, administrations, observed_cycles) -> DoseReport:
    """Doses of each therapy cycle among `administrations`, with the posterior's draws.

    A cycle that was measured has its own parameters (`calibration.sequential.backward`); cycles to come have those of
    the last one measured, with a drift.
    """
    body = body_of(twin.study, administrations)
    twin, course = completed(twin, body), body.first
    cycles = tuple(sorted(a.cycle for a in course.administrations if a.cycle > 0))
    regions = reported_regions(body, twin)
    organ_tia, organ_kill, extrapolated = _integrals(twin, body, cycles, regions)
    drift = _drift(twin, body, cycles, regions, organ_tia.shape[-1])
    dose, weighted, bed, region_tia, mass = _doses(
        twin, body, regions, organ_tia, organ_kill, drift, course.nuclide.name
    )
    return DoseReport(
        regions=regions,
        cycles=cycles,
        administered_MBq=np.array([course.administration(c).activity_MBq for c in cycles]),
        kind=tuple("assimilated" if c in observed_cycles else "forecast" for c in cycles),
        dose_Gy=dose[:-1],
        bed_Gy=bed[:-1],
        weighted_Gy=weighted[:-1],
        tia_MBq_h=region_tia[:-1],
        mass_g=mass,
        extrapolated_fraction=np.clip(extrapolated, 0.0, 1.0),
        truth_Gy=twin.study.truth_Gy,
        warnings=(
            *_other_tables(twin),
            *daughter_warnings(course.nuclide.name),
            *_unsegmented(twin, regions, body),
            *_divided(regions),
        ),
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


def _renal(region: str) -> bool:
    return region == "kidneys" or kind_of(region) == "kidneys"


def _last_h(twin: PatientTwin, cycle: int, region: str) -> float:
    """Hour of the last measurement that shows the region in a cycle; 0 where there is none."""
    obs = twin.study.observations
    sides = [side for side in ("left", "right") if region.endswith(f"_{side}")] or ["left", "right"]
    whole = {"kidneys", *(f"kidney_{side}" for side in sides)} if _renal(region) else set()
    related = {region, *(f"{region}_{side}" for side in sides)} | whole
    times = [t for t, r, c in zip(obs.time_h, obs.region, obs.cycle, strict=True) if c == cycle and r in related]
    return max(times, default=0.0)


def tia_MBq_h(found: States, course: Course) -> np.ndarray:
    """Time-integrated activity of organs and blood, [pool, ask, draw]."""
    return found.integral * course.nuclide.activity_MBq_per_nmol / 60


def _drift(twin: PatientTwin, body: Body, cycles, regions, draws: int) -> np.ndarray:
    """Factor [draw, cycle, region] of the change in uptake away from the measured cycles, a random walk.

    Kidneys drift together.
    """
    measured = {*(c for c, _ in twin.earlier), twin.cycle}
    rng, change = np.random.default_rng(DRIFT_SEED), drift_of(twin)
    organ = lambda r: parts(r, body.organs)[0]
    sd = np.array([np.sqrt(change((f"receptor_density/{organ(r)}",), 1)[0, 0]) for r in regions])
    step = rng.standard_normal((draws, len(cycles), len(regions))) * sd
    kidneys = [k for k, r in enumerate(regions) if _renal(r)]
    step[..., kidneys] = step[..., kidneys[:1]]
    step[-1] = 0.0
    walk = np.zeros_like(step)
    first = next((j for j, c in enumerate(cycles) if c in measured), 0)
    for j in range(first, len(cycles)):
        walk[:, j] = 0.0 if cycles[j] in measured else walk[:, max(j - 1, 0)] + step[:, j]
    for j in reversed(range(first)):
        walk[:, j] = walk[:, j + 1] + step[:, j]
    return np.exp(walk)


def _doses(twin, body: Body, regions, organ_tia, organ_kill, drift, nuclide: str):
    """Dose, weighted dose, BED and TIA [draw, cycle, region], with mass and S errors once a region, and masses."""
    rng = np.random.default_rng(DRIFT_SEED + 1)
    shape = drift.shape
    dose, weighted, bed, tia = (np.empty(shape) for _ in range(4))
    mass = np.array([mass_g(r, body) for r in regions])
    made = coefficients(body, twin.study.covariates.sex, nuclide, regions, mass, organ_tia, drift)
    kidney_noise = rng.standard_normal(shape[0])
    for k, region in enumerate(regions):
        weights = pool_weights(region, body.organs, frozenset())
        s, total = made[k], made[k].total_Gy_per_MBq_h
        noise_draw = kidney_noise if _renal(region) else rng.standard_normal(shape[0])
        part = _part_log_sd(region, twin.study.ligand)
        contour = _contour_error(twin, region, body)
        mass_sd = 0.0 if contour.any() else _mass_log_sd(region, body)
        error = np.exp(contour + noise_draw * np.hypot(np.hypot(mass_sd, part), s.relative_sd))
        error[-1] = 1.0
        tia[..., k] = np.einsum("p,pcd->dc", weights, organ_tia) * drift[..., k]
        dose[..., k] = total * tia[..., k] * error[:, None]
        if region == "red_marrow":
            dose[..., k] += marrow_photons(nuclide) * np.sum(organ_tia, axis=0).T
        quadratic = _quadratic(region, body, organ_kill) * (total * s.low_let * error[:, None] * drift[..., k]) ** 2
        weighted[..., k] = dose[..., k] * (s.low_let + (1 - s.low_let) * constants()["alpha_rbe"])
        bed[..., k] = weighted[..., k] + 2 * quadratic / tissue(region).alpha_beta_Gy
    return dose, weighted, bed, tia, mass


def _quadratic(region: str, body: Body, organ_kill) -> np.ndarray:
    """Kill integral [draw, cycle] of a region; of several organs together that of the sum, taken as in proportion."""
    inside = [np.sqrt(np.maximum(organ_kill[body.organs.index(o)], 0.0)) for o in parts(region, body.organs)]
    return (np.sum(inside, axis=0) ** 2).T


def marrow_photons(nuclide: str) -> float:
    return constants()["marrow_photon"] * radionuclide(nuclide).photon_MeV


def mass_g(region: str, body: Body) -> float:
    volume_mL = sum(1000 * body.physiology.volume_L[body.organs.index(o)] for o in parts(region, body.organs))
    return volume_mL * density_g_per_mL(region)


def _is_segmented(region: str, body: Body) -> bool:
    return all(o in body.physiology.segmented for o in parts(region, body.organs))


def _mass_log_sd(region: str, body: Body) -> float:
    return noise.volume_log_sd(region, _is_segmented(region, body))


def _contour_error(twin: PatientTwin, region: str, body: Body) -> np.ndarray:
    """Log error [draw + 1] of the dose by a segmented region's contour: too large a contour, too small a dose.

    Drawn with the error of the activity measured in it (`noise.shared_errors`); an organ of several measured parts
    has the mean of theirs; zeros where no volume was measured.
    """
    sides = [twin.posterior.error(f"volume/{name}") for name in _contours(region, body)]
    known = [draws for draws in sides if draws is not None]
    drawn = np.mean(known, axis=0) if known and _is_segmented(region, body) else np.zeros(len(twin.posterior.draws))
    return np.append(drawn, 0.0)


def _contours(region: str, body: Body) -> tuple[str, ...]:
    return tuple(dict.fromkeys((region, *parts(region, body.organs), f"{region}_left", f"{region}_right")))


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


def _part_log_sd(region: str, drug: str) -> float:
    """Doubt about the medulla's share of a kidney's sites, as log sd of a part's dose; of other regions 0."""
    if region not in KIDNEY_PARTS:
        return 0.0
    share = ligand(drug).rows["medulla_share", "kidneys"]
    return share.log_sd * (1.0 if region in MEDULLA else share.value / (1 - share.value))


def _unsegmented(twin: PatientTwin, regions, body: Body) -> tuple[str, ...]:
    missing = [r for r in regions if is_tumour(r) and r not in twin.study.volumes_mL]
    text = "no volume was given for {}: 10 mL is assumed, so its dose is uncertain by half and more; its TIA is not"
    return tuple(text.format(r) for r in missing)
