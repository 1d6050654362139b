"""The same doses as they stood before any scan, after each cycle's scans, and without the last scan.

Each solves the model anew (about a second; the last is a calibration), so they are made on request and handed to the
report in `Extras`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from calibration.observations import Observations
from twin.patient import DoseReport, PatientTwin
from twin.report.extras import Stage


def stages(twin: PatientTwin, seed: int = 0) -> tuple[Stage, ...]:
    """Doses of the cycles given by the population alone, then after the measurements of each cycle.

    Empty where nothing was given or measured.
    """
    from twin.verbs import predict

    if not len(twin.study.observations) or not any(a.cycle > 0 for a in twin.study.administrations):
        return ()
    blank = Stage("none", None, predict(_of_observations(twin, Observations.empty(), seed)))
    known = [c for c, _ in twin.earlier] + [twin.cycle]
    words = [f"{'+ ' * (k > 0)}cycle {c}" for k, c in enumerate(known)]
    return blank, *(Stage(w, c, predict(as_of(twin, c))) for w, c in zip(words, known, strict=True))


def as_of(twin: PatientTwin, cycle: int) -> PatientTwin:
    """The twin as it stood after the measurements up to a cycle; all administrations stay on record."""
    if cycle == twin.cycle:
        return twin
    posterior = dict(twin.earlier)[cycle]
    seen = twin.study.observations.select(np.asarray(twin.study.observations.cycle) <= cycle)
    before = tuple((c, p) for c, p in twin.earlier if c < cycle)
    return replace(twin, study=replace(twin.study, observations=seen), posterior=posterior, earlier=before, ledger=())


def without_last_scan(twin: PatientTwin, seed: int = 0) -> DoseReport:
    """Doses of the cycles given, calibrated again without the last scan of the last cycle measured."""
    from twin.verbs import predict

    obs = twin.study.observations
    last_h = max((t for t, c in zip(obs.time_h, obs.cycle, strict=True) if c == max(obs.cycle)), default=0.0)
    keep = [not (c == max(obs.cycle) and t == last_h) for t, c in zip(obs.time_h, obs.cycle, strict=True)]
    return predict(_of_observations(twin, obs.select(keep), seed))


def _of_observations(twin: PatientTwin, observations: Observations, seed: int) -> PatientTwin:
    """The study calibrated to some of its observations, as the twin was."""
    from calibration.fit import METHODS
    from twin.population import population_in
    from twin.verbs import calibrate

    study = replace(twin.study, observations=observations)
    method = twin.posterior.method if twin.posterior.method in METHODS else METHODS[0]
    draws = len(twin.posterior.draws)
    return calibrate(study, draws=draws, seed=seed, method=method, population=population_in(twin))
