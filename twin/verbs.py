"""What one does with a twin: calibrate, predict, plan, adapt. Each returns a new value and touches no file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twin._jax import configure

configure()

from calibration import noise  # noqa: E402
from calibration.fit import calibrate as fit  # noqa: E402
from calibration.forward import modelled, pool_weights  # noqa: E402
from calibration.observations import Observations  # noqa: E402
from calibration.posterior import Z90  # noqa: E402
from dose.activity import late_slope_flag  # noqa: E402
from dose.errors import InputError, describe  # noqa: E402
from dose.regions import is_tumour  # noqa: E402
from twin.body import body_of, tables  # noqa: E402
from twin.forecast import activities, dose_report, reported_regions  # noqa: E402
from twin.patient import DoseReport, LedgerEntry, PatientTwin, Study  # noqa: E402
from twin.planning import plan  # noqa: E402

__all__ = ["adapt", "band", "calibrate", "plan", "predict"]

BAND_DRAWS = 102
"""Draws behind the bands of a figure; enough for a 90% band at the width of a line."""


def calibrate(study: Study, *, draws: int = 200, seed: int = 0) -> PatientTwin:
    """A twin whose parameters follow the study's observations.

    Raises:
        CalibrationError: no usable optimum, or double precision is off.
        InputError: the study has no therapy tracer to follow, or covariates that cannot be.
    """
    body = body_of(study)
    latest = max((c for c in study.observations.cycle), default=1)
    known = study.observations.select([any(k.has(c) for k in body.courses) for c in study.observations.cycle])
    if len(known) < len(study.observations):
        missing = sorted(set(study.observations.cycle) - set(known.cycle))
        found = f"measurements of cycle {missing[0]} without an administration"
        raise InputError(describe("administrations", found, "one for each measured cycle", "add it to patient.toml"))
    posterior = fit(body.courses, known, body.prior, draws=draws, seed=seed, to_cycle=max(latest, 1))
    warnings = (*posterior.warnings, *_kinetics_flags(study), *_left_out(study, body.organs))
    provenance = {
        "ligand": f"{study.nuclide}-{study.ligand}: pbpk/data/ligands.csv",
        "physiology": "pbpk/data/physiology.csv",
        "noise": "calibration/data/noise.csv",
        "tables": tables(),
        "prior sources": ", ".join(dict.fromkeys(body.prior.sources)),
    }
    return PatientTwin(study, replace(posterior, warnings=warnings), (), provenance)


def _kinetics_flags(study: Study) -> tuple[str, ...]:
    """Regions whose measured curve cannot be extrapolated as it stands: rising, or slower than decay."""
    obs, flags = study.observations, []
    for cycle in sorted(set(obs.cycle) - {0}):
        mine = obs.of_cycle(cycle)
        for region in dict.fromkeys(mine.region):
            here = mine.select([r == region for r in mine.region])
            order = np.argsort(here.time_h)
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


def adapt(twin: PatientTwin, observations: Observations, administrations=()) -> PatientTwin:
    """The twin after later scans: forecasts are entered in the ledger beside what was seen, then all data are fitted.

    Earlier cycles count less the older they are (drift rows of noise.csv); the forecast is made before the new
    observations are used.
    """
    study = replace(twin.study, administrations=(*twin.study.administrations, *administrations))
    entries = _ledger(replace(twin, study=study), observations)
    renewed = calibrate(
        replace(study, observations=study.observations.join(observations)), draws=len(twin.posterior.draws)
    )
    return replace(renewed, ledger=(*twin.ledger, *entries))


def _ledger(twin: PatientTwin, observations: Observations) -> list[LedgerEntry]:
    """Predictive median and 90% interval of each observation, with its own measurement error and drift."""
    body = body_of(twin.study)
    obs = observations.select(modelled(observations, body.organs))
    before = max((c for c in twin.study.observations.cycle), default=0)
    entries = []
    for course in body.courses:
        mine = obs.select([course.has(c) for c in obs.cycle])
        if not len(mine):
            continue
        activity = _observed(body, twin, course, mine)
        apart = [max(c - max(before, 1), 0) for c in mine.cycle]
        drift = np.array([noise.drift_log_sd(r, n) for r, n in zip(mine.region, apart, strict=True)])
        median = np.median(np.log(activity), axis=1)
        spread = Z90 * np.sqrt(np.var(np.log(activity), axis=1) + noise.log_sd(mine) ** 2 + drift**2)
        for k in range(len(mine)):
            low, mid, high = np.exp(median[k] + spread[k] * np.array([-1, 0, 1]))
            entries.append(LedgerEntry(mine.cycle[k], mine.region[k], float(mine.time_h[k]),
                                       float(mine.activity_MBq[k]), float(mid), float(low), float(high)))  # fmt: skip
    return entries


def _observed(body, twin: PatientTwin, course, obs: Observations) -> np.ndarray:
    seen = {c: frozenset(r for r, k in zip(obs.region, obs.cycle, strict=True) if k == c) for c in set(obs.cycle)}
    weights = np.stack([pool_weights(r, body.organs, seen[c]) for r, c in zip(obs.region, obs.cycle, strict=True)])
    minutes = np.array([course.minute(c, t) for c, t in zip(obs.cycle, obs.time_h, strict=True)])
    every = activities(body, twin.posterior.names, course, minutes, weights, twin.posterior.draws)
    return every[np.arange(len(obs)), np.arange(len(obs))]


def band(twin: PatientTwin, cycle: int, time_h) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Median and 90% band of the activity in MBq, each [time], of every region measured or reported in a cycle."""
    body = body_of(twin.study)
    course = next(c for c in body.courses if c.has(cycle))
    seen = frozenset(twin.study.observations.of_cycle(cycle).region)
    regions = [r for r in dict.fromkeys((*seen, *reported_regions(body, twin))) if is_tumour(r) or r in seen or cycle]
    weights = {r: pool_weights(r, body.organs, seen) for r in regions}
    time_h = np.maximum(np.asarray(time_h, float), 1e-3)
    minutes = np.array([course.minute(cycle, t) for t in time_h])
    shown = {r: w for r, w in weights.items() if w is not None}
    draws = twin.posterior.draws[:BAND_DRAWS]
    activity = activities(body, twin.posterior.names, course, minutes, np.stack(list(shown.values())), draws)
    quantiles = np.percentile(activity, [50, 5, 95], axis=-1)
    return {r: (quantiles[0, k], quantiles[1, k], quantiles[2, k]) for k, r in enumerate(shown)}
