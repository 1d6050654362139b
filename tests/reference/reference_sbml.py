"""Courses of the tests of the SBML export, solved by libRoadRunner from the exported text and by our own solver."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import numpy as np

from dose.nuclides import radionuclide
from pbpk.kinetics import Kinetics
from pbpk.parameters import Covariates, ligand
from pbpk.reactions import network
from pbpk.sbml import SPECIES, to_sbml
from pbpk.scaling import kinetics, physiology
from pbpk.solve import Segments, segments, solve
from pbpk.state import BLOOD, LEDGER, POOLS
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus, default_patient, every_option, flat

RTOL, ATOL_NMOL = 1e-10, 1e-12
"""Tolerances of CVODE in libRoadRunner, far below what is compared with."""
PEAK = 1e-6
"""Largest error of a species over its peak. Ours is solved at the audit tolerance of 1e-6, so this is our error:
measured 8e-8, and 3e-9 when ours is solved at 1e-10 too."""
INTEGRAL = 5e-8
"""Relative error of a time integral, in which the errors of single times cancel; measured 1.2e-8."""
CYCLE_MIN = (0.5, 2.0, 5.0, 20.0, 35.0, 60.0, 240.0, 1440.0, 4320.0, 10_080.0, 30_240.0)
TIMES_MIN = tuple(t + start for start in (0.0, WEEKS_6_MIN) for t in CYCLE_MIN)
END_MIN = 2 * WEEKS_6_MIN


def woman() -> Kinetics:
    """Typical woman with a liver metastasis of 30 mL; 177Lu-DOTATATE."""
    patient, drug = Covariates.of(sex="female", weight_kg=62, height_m=1.64, gfr_mL_min=85), ligand("DOTATATE")
    body = physiology(patient, drug.target, {"tumour_1": 30.0})
    return kinetics(body, patient, drug, radionuclide("177Lu"), {})


def infusions(total_nmol: float, hot_nmol: float) -> Segments:
    """Two infusions of 30 min, six weeks apart."""
    twice = lambda value: [value, value]
    return segments([0.0, WEEKS_6_MIN], twice(30.0), twice(total_nmol), twice(hot_nmol), TIMES_MIN, END_MIN)


COURSES = {
    "PSMA-617, bolus": (default_patient, lambda: bolus(100.0, 10.0, TIMES_MIN, END_MIN)),
    "PSMA-617, two infusions": (default_patient, lambda: infusions(100.0, 10.0)),
    "every option, two infusions": (every_option, lambda: infusions(100.0, 10.0)),
    "DOTATATE, woman, two infusions": (woman, lambda: infusions(120.0, 10.0)),
}


@cache
def course(name: str) -> tuple[Kinetics, Segments, str]:
    """Patient, administrations and the exported text."""
    make_patient, make_given = COURSES[name]
    patient, given = make_patient(), make_given()
    return patient, given, to_sbml(patient, given)


def loaded(text: str, rtol: float, atol_nmol: float):
    """The text in libRoadRunner, with its absolute tolerance given for each variable.

    A single number is multiplied with the amounts at an event: 1e-40 nmol six weeks after the first administration.
    """
    import roadrunner

    model = roadrunner.RoadRunner(text)
    model.integrator.relative_tolerance = rtol
    model.integrator.absolute_tolerance = [atol_nmol] * len(model.integrator.getAbsoluteToleranceVector())
    return model


@cache
def _compiled(text: str):
    return loaded(text, RTOL, ATOL_NMOL)


def simulated(text: str, changes: Mapping[str, float] | None = None) -> dict[str, np.ndarray]:
    """Every hot and total amount and every integral at `TIMES_MIN` and the end; `changes` are factors on parameters."""
    model = _compiled(text)
    model.resetToOrigin()
    for name, factor in (changes or {}).items():
        model[name] = factor * model[name]
    pools = [name.removesuffix("_hot") for name in model.model.getFloatingSpeciesIds() if name.endswith("_hot")]
    wanted = [f"{pool}_{kind}" for pool in pools for kind in SPECIES] + integrals_of(model)
    table = np.array(model.simulate(times=[0.0, *TIMES_MIN, END_MIN], selections=["time", *wanted]))[1:, 1:]
    columns = dict(zip(wanted, table.T, strict=True))
    totals = {f"{pool}_total": columns[f"{pool}_hot"] + columns.pop(f"{pool}_cold") for pool in pools}
    return columns | totals


def integrals_of(model) -> list[str]:
    """Ids of the time integrals of hot amounts."""
    return [name for name in model.model.getGlobalParameterIds() if name.endswith("_hot_integral")]


class Ours(NamedTuple):
    """Our solution: for hot and total the pools [pool, organ, time] and blood [3, time]; integrals and ledger."""

    pools: dict[str, np.ndarray]
    blood: dict[str, np.ndarray]
    organ_integrals: np.ndarray
    blood_integrals: np.ndarray
    ledger: np.ndarray


def ours(kin: Kinetics, given: Segments, times_min) -> Ours:
    """Our solver's at the audit tolerance. The only place here that knows how a solution is laid out."""
    nearest = np.argmin(np.abs(given.end_min[None, :] - np.asarray(times_min)[:, None]), axis=1)
    solution = solve(kin, given)
    state = flat(solution, nearest)
    blood_integrals = np.asarray(solution.integrals.blood)[nearest, :, 0].T
    pools, blood = {"hot": state.hot, "total": state.total}, {"hot": state.hot_blood, "total": state.total_blood}
    return Ours(pools, blood, state.organ, blood_integrals, state.ledger)


@cache
def solved(name: str) -> dict[str, np.ndarray]:
    """The columns of `simulated` from our solver; of urine and released ligand it knows the hot part only."""
    kin, given, _ = course(name)
    solution = ours(kin, given, [*TIMES_MIN, END_MIN])
    columns = {f"{end}_hot": solution.ledger[LEDGER.index(end)] for end in ("urine", "bile", "released")}
    for region, pools in network(kin).regions.items():
        if region in BLOOD:
            k = BLOOD.index(region)
            columns[f"{region}_hot_integral"] = solution.blood_integrals[k]
            columns |= {f"{region}_{kind}": rows[k] for kind, rows in solution.blood.items()}
            continue
        k, places = kin.organs.index(region), [POOLS.index(pool.removeprefix(f"{region}_")) for pool in pools]
        columns[f"{region}_hot_integral"] = solution.organ_integrals[k]
        for kind, rows in solution.pools.items():
            columns |= {f"{pool}_{kind}": rows[p, k] for pool, p in zip(pools, places, strict=True)}
    return columns


def errors(name: str, changes: Mapping[str, float] | None = None) -> tuple[dict[str, float], dict[str, float]]:
    """Of one course: errors of amounts over each one's peak, and relative errors of integrals at the end."""
    expected, found = solved(name), simulated(course(name)[2], changes)
    assert set(found) - set(expected) == {"urine_total", "bile_total", "released_total"}
    over = lambda c: _relative(np.max(np.abs(found[c] - expected[c])), np.max(np.abs(expected[c])))
    last = lambda c: _relative(abs(found[c][-1] - expected[c][-1]), expected[c][-1])
    integrals = {column: last(column) for column in expected if column.endswith("_integral")}
    return {column: over(column) for column in expected if column not in integrals}, integrals


def _relative(difference, size) -> float:
    """A pool that one of the two leaves empty is infinitely wrong."""
    return float(difference / size) if size else float("inf") if difference else 0.0
