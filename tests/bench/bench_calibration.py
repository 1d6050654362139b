"""Seconds for a posterior of one patient, warm: Laplace, with importance weights, and NUTS; and of a cohort."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from tests import synthetic
from tests import synthetic_cohort as cohort
from tests.bench import bench, best_of

REGIONS = ("kidney_left", "kidney_right", "liver")
"""Three scans of these move ten parameters of theirs and shared ones, and four of tumours that were not outlined."""


@cache
def _case():
    from calibration.belief import Belief
    from calibration.fit import fit
    from twin.body import body_of

    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(60))
    body = body_of(study)
    seen = study.observations.select([r in REGIONS for r in study.observations.region])
    return body, seen, fit(body.courses, seen, Belief.of(body.prior))


def _seconds(method: str) -> float:
    from calibration.fit import calibrate

    body, seen, _ = _case()
    return best_of(lambda: calibrate(body.courses, seen, body.prior, method=method), repeats=3)


@bench("calibration/Laplace posterior of one patient, warm", unit="s", peer="asked", peer_value=5.0)
def laplace():
    return _seconds("laplace")


@bench("calibration/importance-corrected posterior of one patient, warm", unit="s", peer="asked", peer_value=5.0)
def importance():
    return _seconds("importance")


@cache
def _chains():
    from calibration.sampler import nuts

    *_, fitted = _case()
    nuts(fitted, samples=5, warmup=5)  # compiles the density; the sampler itself is compiled again below
    begin = time.perf_counter()
    chains = nuts(fitted)
    return time.perf_counter() - begin, chains.diagnostics


@bench(
    "calibration/NUTS, 4 chains of 1000, fourteen parameters, compile included",
    unit="s",
    peer="asked",
    peer_value=120.0,
)
def sampled():
    return _chains()[0]


@bench("calibration/NUTS effective draws a second", unit="1/s")
def effective():
    seconds, diagnostics = _chains()
    return diagnostics["ess_bulk"] / seconds


@bench("calibration/patients calibrated a second, cohort of 100", unit="1/s")
def patients():
    cohort.well_specified(2, seed=1)
    begin = time.perf_counter()
    cohort.well_specified(100, seed=2)
    return 100 / (time.perf_counter() - begin)
