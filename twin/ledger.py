"""The ledger of forecasts: what was forecast for each scan before it was used, what it showed, and how good that was.

The predictive distribution has the posterior's draws, the drift of uptake since the last cycle measured, the errors
that the new scan shares with earlier ones (as they stand) and its own. Scores: bias of the log, share inside the 90%
interval, and the continuous ranked probability score (Gneiting and Raftery, JASA 2007;102:359) of the log activity,
which is an error in plain log units that an overconfident forecast cannot win.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration import noise
from calibration.belief import normal_draws
from calibration.forward import modelled, pool_weights
from calibration.observations import Observations
from calibration.problem import WHOLE
from calibration.scores import crps
from twin.body import Body, body_of
from twin.drawn import completed, cycle_draws, describing, drift_of
from twin.forecast import activities
from twin.patient import LedgerEntry, PatientTwin

LEDGER_SEED = 20_005
SURPRISE = 3.0
"""Standard deviations of the drift beyond which a new cycle is called a surprise."""


def entries_of(twin: PatientTwin, observations: Observations) -> list[LedgerEntry]:
    """An entry for each observation that the model can show; the twin's study has the administrations of its cycle."""
    body = body_of(twin.study)
    twin = completed(twin, body)
    names, sets, change = twin.posterior.names, cycle_draws(twin), drift_of(twin)
    obs = observations.select(modelled(observations, body.organs))
    rng = np.random.default_rng(LEDGER_SEED)
    entries = []
    for course in body.courses:
        mine = obs.select([course.has(c) for c in obs.cycle])
        for cycle in dict.fromkeys(mine.cycle):
            there, near = mine.of_cycle(cycle), describing(sets, max(cycle, 1))
            drawn = sets[near]
            moved = drawn + normal_draws(rng, change(names, abs(max(cycle, 1) - near)), len(drawn))
            logs = np.log(_shown(body, names, course, there, moved)) + _errors(twin, there, rng)
            entries += [_entry(there, k, logs[k]) for k in range(len(there))]
    return entries


def surprises(entries, cycle: int, apart: int) -> tuple[str, ...]:
    """Regions whose scans of a new cycle lie further off their forecast than uptake is taken to drift."""
    said = []
    for region in dict.fromkeys(e.region for e in entries if e.cycle == cycle and e.region not in WHOLE):
        away = np.mean([np.log(e.observed_MBq / e.forecast_median_MBq) for e in entries if e.region == region])
        if abs(away) > SURPRISE * noise.drift_log_sd(region, apart):
            said.append(
                f"{region}: cycle {cycle} shows {np.exp(away):.2f} of its forecast, further off than uptake is taken "
                "to drift between cycles (noise.csv): doses of earlier cycles are drawn towards it; compare them with "
                "the twin as it stood before"
            )
    return tuple(said)


def _shown(body: Body, names, course, obs: Observations, offsets) -> np.ndarray:
    """Modelled activity [observation, draw] in MBq."""
    seen = {c: frozenset(r for r, k in zip(obs.region, obs.cycle, strict=True) if k == c) for c in set(obs.cycle)}
    weights = np.stack([pool_weights(r, body.organs, seen[c]) for r, c in zip(obs.region, obs.cycle, strict=True)])
    minutes = np.array([course.minute(c, t) for c, t in zip(obs.cycle, obs.time_h, strict=True)])
    every = activities(body, names, course, minutes, weights, offsets)
    return every[np.arange(len(obs)), np.arange(len(obs))]


def _errors(twin: PatientTwin, obs: Observations, rng) -> np.ndarray:
    """Log errors [observation, draw] of the scan: shared ones as the twin knows them, or fresh, and its own."""
    shared, draws = noise.shared_errors(obs), len(twin.posterior.draws)
    drawn = [twin.posterior.error(name) for name in shared.names]
    drawn = [sd * rng.standard_normal(draws) if d is None else d for d, sd in zip(drawn, shared.sd, strict=True)]
    own = noise.log_sd(obs)[:, None] * rng.standard_normal((len(obs), draws))
    return own + (shared.loads @ np.array(drawn) if drawn else 0.0)


def _entry(obs: Observations, k: int, logs: np.ndarray) -> LedgerEntry:
    low, middle, high = np.exp(np.percentile(logs, [5, 50, 95]))
    observed = float(obs.activity_MBq[k])
    score = float(crps(logs, np.log(observed)))
    return LedgerEntry(obs.cycle[k], obs.region[k], float(obs.time_h[k]), observed, middle, low, high, score)


@dataclass(frozen=True)
class ForecastScore:
    """How `forecasts` did: mean and sd of ln(observed/median), share inside the 90% interval, mean CRPS of the log."""

    forecasts: int
    bias: float
    sd: float
    inside90: float
    crps: float


def score(entries) -> ForecastScore | None:
    """The score of ledger entries (any selection of them) that keep a CRPS, or None where there are none."""
    entries = tuple(e for e in entries if e.crps is not None)
    if not entries:
        return None
    away = np.log([e.observed_MBq / e.forecast_median_MBq for e in entries])
    inside = float(np.mean([e.is_inside for e in entries]))
    return ForecastScore(
        len(entries), float(away.mean()), float(away.std()), inside, float(np.mean([e.crps for e in entries]))
    )
