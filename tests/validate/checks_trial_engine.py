"""A virtual trial survives kills and a full disk: how many of twenty runs ended with the undisturbed run's bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests import trial_kills as kills
from tests.runner import Skipped
from tests.trial_jobs import Toy
from tests.validate import check
from twin.trial import engine

RUNS, SAVES, SEED = 20, 200, 7
OWN = "own undisturbed run, sha256 of every part"
OVERHEAD = 0.05
PATIENTS, SECONDS_A_PATIENT = 2000, 0.01
"""Of the overhead's trial: a patient of the whole trial takes about as long."""


def in_a_folder(function, *arguments, **words):
    with tempfile.TemporaryDirectory() as folder:
        return function(Path(folder), *arguments, **words)


def counted(function):
    found = in_a_folder(function, RUNS, SEED)
    return found, found == RUNS


@check("trial/kill -9 of a worker", "of 20 resumed to the same bytes", "20", OWN)
def worker():
    return counted(kills.killed_workers)


@check("trial/kill -9 of the driver", "of 20 resumed to the same bytes", "20", OWN)
def driver():
    return counted(kills.killed_drivers)


@check("trial/kill by a full disk", "of 20 resumed to the same bytes", "20", OWN)
def disk():
    return counted(kills.full_disks)


@check("trial/kill of one of three Dask workers", "worker lost, same bytes", "1", OWN)
def dask_worker():
    try:
        import distributed  # noqa: F401
    except ImportError as error:
        raise Skipped("Dask is not installed") from error
    found = in_a_folder(kills.cluster_that_loses_one)
    lost = found["events"].count("worker lost")
    resubmitted = "chunk resubmitted" in found["events"]
    return lost, lost == 1 and resubmitted and found["same"] and found["addresses"] <= {"127.0.0.1", "::1"}


@check("trial/kill -9 during save, random instants", "of 200 open", "200", "the old or the new twin opens")
def save():
    found = in_a_folder(kills.killed_saves, SAVES, SEED)
    return found["opened"], found["opened"] == SAVES


@check(
    "trial/kill -9 during save, before each change of the disk",
    "share that opens",
    "1",
    "the old or the new twin opens",
)
def each_event():
    found = in_a_folder(kills.killed_saves, 1000, SEED, at_each_event=True)
    return found["opened"] / found["kills"], not found["broken"] and found["kills"] >= 10


@check("trial/overhead of the engine, one process", "share of the run", "< 0.05", f"{PATIENTS} patients of 10 ms each")
def overhead():
    job = Toy(patients=PATIENTS, block=48, delay_s=SECONDS_A_PATIENT)
    done = in_a_folder(lambda folder: engine.run(job, folder, executor="serial"))
    share = 1 - PATIENTS * SECONDS_A_PATIENT / done.seconds
    return share, share < OVERHEAD
