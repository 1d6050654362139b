"""What one does with a twin: calibrate, predict, plan, adapt. Each returns a new value and touches no file."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np

from twin._jax import configure

configure()

from calibration.fit import METHODS  # noqa: E402
from calibration.fit import calibrate as fit  # noqa: E402
from calibration.forward import modelled, pool_weights  # noqa: E402
from calibration.observations import Observations  # noqa: E402
from calibration.population import Population  # noqa: E402
from calibration.suspicions import more_than_given  # noqa: E402
from dose.activity import late_slope_flag  # noqa: E402
from dose.errors import InputError, describe  # noqa: E402
from dose.regions import is_tumour  # noqa: E402
from pbpk.anatomy import parts  # noqa: E402
from twin.body import Body, body_of, tables  # noqa: E402
from twin.drawn import completed, cycle_draws  # noqa: E402
from twin.forecast import activities, dose_report, drift_factors, reported_regions  # noqa: E402
from twin.later import later_data  # noqa: E402
from twin.ledger import entries_of, surprises  # noqa: E402
from twin.patient import DoseReport, PatientTwin, Study  # noqa: E402
from twin.planning import plan  # noqa: E402
from twin.population import first_belief, later_belief, population_in, said_of  # noqa: E402

__all__ = ["adapt", "band", "calibrate", "plan", "predict"]

BAND_DRAWS = 102
"""Draws behind the bands of a figure; enough for a 90% band at the width of a line."""


def calibrate(
    study: Study,
    *,
    draws: int = 200,
    seed: int = 0,
    method: str = "importance",
    population: Population | None = None,
) -> PatientTwin:
    """A twin whose parameters follow the study's observations, cycle after cycle.

    What a cycle taught is the prior of the next, widened by the drift of uptake between them; a scan before therapy is
    taken with the first cycle. `method`: see `calibration.fit.calibrate`. A `population` (`twin.population`) takes the
    place of the tables' typical values and spreads, here and when the twin is adapted.

    Raises:
        CalibrationError: no usable optimum, or double precision is off.
        InputError: the study has no therapy tracer to follow, covariates that cannot be, or a population of another
            ligand.
    """
    body = body_of(study)
    _require_given(body, study.observations)
    provenance = {
        "ligand": f"{study.nuclide}-{study.ligand}: pbpk/data/ligands.csv",
        "physiology": "pbpk/data/physiology.csv",
        "noise": "calibration/data/noise.csv",
        "tables": tables(),
        "prior sources": ", ".join(dict.fromkeys(body.prior.sources)),
        "seed": str(seed),
        **said_of(population),
    }
    if not study.administrations:
        do = "add what was given, or is to be given first (twin.Administration)"
        raise InputError(describe("administrations", "none", "at least one", do))
    first, *later = _stages(study.observations)
    known = first_belief(population, study, body.prior)
    posterior = fit(body.courses, first, body.prior, draws=draws, seed=seed, known=known, method=method)
    start = PatientTwin(replace(study, observations=first), posterior, (), provenance)
    made = functools.reduce(functools.partial(_assimilated, seed=seed, method=method), later, start)
    return _with_flags(made, body.organs)


def _stages(obs: Observations) -> list[Observations]:
    """Observations by therapy cycle, those before therapy with the first."""
    stages = sorted({max(c, 1) for c in obs.cycle}) or [1]
    return [obs.select([max(c, 1) == stage for c in obs.cycle]) for stage in stages]


def _assimilated(twin: PatientTwin, new: Observations, *, seed: int = 0, method: str = "importance") -> PatientTwin:
    """The twin after more observations of one cycle, its own or a later one."""
    study = replace(twin.study, observations=twin.study.observations.join(new))
    body, draws = body_of(study), len(twin.posterior.draws)
    cycle = max((*new.cycle, 1))
    if cycle == twin.cycle and not modelled(new, body.organs).any():
        return replace(twin, study=study)
    known = later_belief(twin, body.prior, cycle - twin.cycle)
    posterior = fit(body.courses, new, body.prior, draws=draws, seed=seed, known=known, method=method)
    off = surprises(entries_of(replace(twin, study=replace(twin.study, administrations=study.administrations)), new),
                    cycle, cycle - twin.cycle) if cycle > twin.cycle else ()  # fmt: skip
    posterior = replace(
        posterior,
        chi2=twin.posterior.chi2 + posterior.chi2,
        observations_used=twin.posterior.observations_used + posterior.observations_used,
        warnings=tuple(dict.fromkeys((*twin.posterior.warnings, *posterior.warnings, *off))),
    )
    earlier = (*twin.earlier, (twin.cycle, twin.posterior)) if cycle > twin.cycle else twin.earlier
    return replace(twin, study=study, posterior=posterior, earlier=earlier)


def _with_flags(twin: PatientTwin, organs) -> PatientTwin:
    said = (*twin.posterior.warnings, *_kinetics_flags(twin.study), *_left_out(twin.study, organs))
    return replace(twin, posterior=replace(twin.posterior, warnings=tuple(dict.fromkeys(said))))


def _require_given(body: Body, obs: Observations) -> None:
    missing = sorted({c for c in obs.cycle if not any(course.has(c) for course in body.courses)})
    if missing:
        found = f"measurements of cycle {missing[0]} without an administration"
        raise InputError(describe("administrations", found, "one for each measured cycle", "add it to patient.toml"))
    every = [a.cycle for c in body.courses for a in c.administrations]
    if twice := sorted({c for c in every if every.count(c) > 1}):
        do = "number administrations of every tracer 0, 1, 2, ... in order of time"
        raise InputError(describe("administrations.cycle", f"{twice[0]} twice", "each cycle once", do))
    rows = list(zip(obs.cycle, obs.region, np.round(obs.time_h, 3), obs.modality, strict=True))
    if len(set(rows)) < len(rows):
        cycle, region, time_h, _ = next(row for row in rows if rows.count(row) > 1)
        found, do = f"{region} at {time_h:g} h of cycle {cycle} twice", "leave one of the two out"
        raise InputError(describe("observations", found, "each measurement once", do))
    given = {a.cycle: (a.activity_MBq, c.nuclide.decay_constant_per_h) for c in body.courses for a in c.administrations}
    more_than_given(obs, given)


def _kinetics_flags(study: Study) -> tuple[str, ...]:
    """Regions whose measured curve cannot be extrapolated as it stands: rising, or slower than decay."""
    obs, flags = study.observations, []
    for cycle in sorted(set(obs.cycle) - {0}):
        mine = obs.of_cycle(cycle)
        for region in dict.fromkeys(mine.region):
            here = mine.select([r == region for r in mine.region])
            _, order = np.unique(here.time_h, return_index=True)
            flag = (
                late_slope_flag(here.time_h[order], here.activity_MBq[order], study.nuclide) if len(here) > 1 else None
            )
            flags += [f"{region}, cycle {cycle}: {flag}; the prior decides the tail"] if flag else []
    return tuple(flags)


def _left_out(study: Study, organs) -> tuple[str, ...]:
    keep = modelled(study.observations, organs)
    names = dict.fromkeys(r for r, k in zip(study.observations.region, keep, strict=True) if not k)
    return tuple(f"{name} was measured but is not part of the model: kept in the record, not fitted" for name in names)


def predict(twin: PatientTwin, administrations=None) -> DoseReport:
    """Doses per cycle, with draws; of the administrations given so far, or of those handed in.

    Raises:
        InputError: none of the administrations is of the twin's therapy tracer (before the first cycle, ask `plan`).
    """
    given = twin.study.administrations if administrations is None else tuple(administrations)
    therapy = [a for a in given if (a.ligand, a.nuclide) == (twin.study.ligand, twin.study.nuclide) and a.cycle > 0]
    if not therapy:
        expected = f"at least one therapy cycle of {twin.study.nuclide}-{twin.study.ligand}"
        raise InputError(describe("administrations", "none", expected, "add an administration with cycle 1 or more"))
    return dose_report(twin, tuple(therapy), frozenset(twin.study.observations.cycle) - {0})


def adapt(
    twin: PatientTwin, observations: Observations | Study, administrations=(), *, method: str | None = None
) -> PatientTwin:
    """The twin after later scans: forecasts go to the ledger beside what was seen, then the scans are taken in.

    `observations` may be a whole later study of the patient, as `read_study` gives it: what is new in it is found, and
    its volumes, warnings and truth are kept.

    The posterior so far is the prior, widened by the drift of uptake where a new cycle began. Scans of a cycle before
    the twin's latest are refused an update of their own: then all data are calibrated again. Without observations the
    administrations are recorded. `method` is that of the twin, unless given.
    """
    if isinstance(observations, Study):
        twin, observations, administrations = later_data(twin, observations)
    study = replace(twin.study, administrations=(*twin.study.administrations, *administrations))
    forecast = replace(twin, study=study)
    if not len(observations):
        return forecast
    joined = replace(study, observations=study.observations.join(observations))
    body = body_of(joined)
    _require_given(body, joined.observations)
    entries = entries_of(forecast, observations)
    method = method or (twin.posterior.method if twin.posterior.method in METHODS else METHODS[0])
    if min(max(c, 1) for c in observations.cycle) < twin.cycle:
        renewed = calibrate(joined, draws=len(twin.posterior.draws), method=method, population=population_in(twin))
    else:
        step = functools.partial(_assimilated, method=method)
        renewed = _with_flags(functools.reduce(step, _stages(observations), forecast), body.organs)
    return replace(renewed, ledger=(*twin.ledger, *entries))


def band(twin: PatientTwin, cycle: int, time_h, also=()) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Median and 90% band of the activity in MBq, each [time], of every region measured or reported in a cycle, and of
    those named in `also` ("whole_body")."""
    body = body_of(twin.study)
    twin, course = completed(twin, body), next(c for c in body.courses if c.has(cycle))
    seen = frozenset(twin.study.observations.of_cycle(cycle).region)
    regions = [r for r in dict.fromkeys((*seen, *reported_regions(body, twin))) if is_tumour(r) or r in seen or cycle]
    regions += [r for r in also if r not in regions]
    weights = {r: pool_weights(r, body.organs, seen) for r in regions}
    time_h = np.maximum(np.asarray(time_h, float), 1e-3)
    minutes = np.array([course.minute(cycle, t) for t in time_h])
    shown = {r: w for r, w in weights.items() if w is not None}
    sets = cycle_draws(twin)
    draws = sets.get(max(cycle, 1), twin.posterior.draws)[:BAND_DRAWS]
    activity = activities(body, twin.posterior.names, course, minutes, np.stack(list(shown.values())), draws)
    activity = activity * _drifted(twin, body, cycle, tuple(shown), len(draws))[:, None]
    quantiles = np.percentile(activity, [50, 5, 95], axis=-1)
    return {r: (quantiles[0, k], quantiles[1, k], quantiles[2, k]) for k, r in enumerate(shown)}


def _drifted(twin: PatientTwin, body: Body, cycle: int, regions, draws: int) -> np.ndarray:
    """Factor [region, draw] of the change of uptake since the cycles that were measured; 1 in those and before
    therapy."""
    factor = np.ones((len(regions), draws))
    known = [k for k, r in enumerate(regions) if parts(r, body.organs)]
    if cycle < 1 or not known:
        return factor
    names = tuple(regions[k] for k in known)
    factor[known] = drift_factors(twin, body, tuple(range(1, cycle + 1)), names, draws + 1)[:-1, -1].T
    return factor
