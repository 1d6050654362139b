"""Milliseconds of one core for a patient and cycle of the estimator of trials, beside one patient's calibration."""

from __future__ import annotations

import time
from functools import cache

import numpy as np

from tests import synthetic_batched as batched
from tests.bench import bench

PATIENTS, ONES, REPEATS = 192, 4, 3
INFUSION_H = 0.5


def _cpu_ms(work) -> float:
    """Least processor time of `work` over its threads, of REPEATS after one to compile."""
    work()
    times = []
    for _ in range(REPEATS):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return 1e3 * min(times)


def _batch_ms(**administration) -> float:
    of = batched.setting(**administration)
    seen = batched.drawn(of, PATIENTS, 14).log_observed
    return _cpu_ms(lambda: batched.estimated(of, seen)) / PATIENTS


@cache
def _one_ms() -> float:
    """Laplace posteriors one by one, of the same patients."""
    from dataclasses import replace

    from calibration.fit import calibrate
    from tests.synthetic_cohort import COUNTING_SD

    of = batched.setting()
    activity = np.exp(batched.drawn(of, ONES, 14).log_observed).T
    seen = [replace(of.seen, activity_MBq=a, sd_MBq=COUNTING_SD * a) for a in activity]
    work = lambda: [calibrate((of.body.first,), each, of.body.prior, method="laplace") for each in seen]
    return _cpu_ms(work) / ONES


@bench("trial/estimator, processor time a patient and cycle, bolus", unit="ms", peer="one patient's Laplace, same run")
def bolus():
    return _batch_ms(), _one_ms()


@bench(
    "trial/estimator, processor time a patient and cycle, infusion",
    unit="ms",
    peer="one patient's Laplace of a bolus, same run",
)
def infusion():
    return _batch_ms(infusion_h=INFUSION_H), _one_ms()


@bench("trial/estimator, processor time a patient and cycle, asked", unit="ms", peer="asked", peer_value=40.0)
def asked():
    return _batch_ms()
