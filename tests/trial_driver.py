"""Processes that the survival tests kill: `python -m tests.trial_driver run|small_disks|saves JSON`."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from pathlib import Path

from dose.errors import InputError
from tests.trial_jobs import Toy
from twin.trial import engine, journal, lock

NOT_RESULTS = (journal.NAME, lock.NAME)
TOML = 'id = "made by hand"\ntracer = "177Lu-PSMA-617"\n[[administrations]]\nactivity_MBq = "7.4 GBq"\n'
CSV = "region,time_h,activity_MBq,sd,volume_mL\nright kidney,4,80,4,150\ntumour 1,24,6,0.6,12\n"
CHI2 = (1.0, 2.0)
FILE_EVENTS = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree")
"""Audit events that come before a change of the file system."""


def run(job: dict, folder: str, **options) -> dict:
    """Run a toy trial."""
    done = engine.run(Toy(**job), folder, **options)
    return {"computed": done.computed, "found": done.found, "lost": done.workers_lost}


def digests(folder) -> dict[str, str]:
    """sha256 of each file that is a result (parts and manifest), hidden ones too; not events and the lock."""
    files = (p for p in sorted(Path(folder).rglob("*")) if p.is_file() and p.name not in NOT_RESULTS)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def small_disks(job: dict, folder: str, sizes: list[int]) -> list[dict]:
    """Run on a file system of each size (bytes) until it is full, then on a large one. Needs a mount namespace."""
    return [_small_disk(job, Path(folder), size) for size in sizes]


def _small_disk(job: dict, folder: Path, size: int) -> dict:
    mount = lambda options: subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", folder], check=True)
    mount(f"size={size}")
    words = ""
    try:
        engine.run(Toy(**job), folder / "trial", executor="serial", chunk=4)
    except InputError as error:
        words = str(error)
    half = [name for name in digests(folder) if Path(name).name.startswith(".")]
    mount("remount,size=64m")
    done = engine.run(Toy(**job), folder / "trial", executor="serial", chunk=4)
    found = {"words": words, "half_written": half, "found": done.found, "digests": digests(folder / "trial")}
    subprocess.run(["umount", folder], check=True)
    return found


def saves(folder: str, seed: int, kills: int, at_each_event: bool = False) -> dict:
    """Kill a process that saves a twin again and again; after each kill the old or the new twin must open.

    At random instants, or (`at_each_event`) before the first, second, ... change that `save` makes to the file system.
    """
    from twin import store

    warnings.simplefilter("ignore")  # of forking with JAX imported; nothing of it runs here
    old_and_new = [_twin(Path(folder), chi2) for chi2 in CHI2]
    place = store.save(old_and_new[0], Path(folder) / "p")
    begin = time.monotonic()
    store.save(old_and_new[1], place)
    instants = random.Random(seed)
    one_save_s, opened, broken = time.monotonic() - begin, 0, []
    for kill in range(kills):
        after_s = instants.uniform(0, 3 * one_save_s)
        ended = _saver(old_and_new, place, after_s, kill + 1 if at_each_event else 0)
        if ended == 0:
            break
        try:
            opened += store.open(place).posterior.chi2 in CHI2
        except InputError as error:
            broken.append(f"kill {kill}: {error}")
            store.save(old_and_new[0], place)
    return {"opened": opened, "broken": broken, "kills": opened + len(broken)}


def _twin(folder: Path, chi2: float):
    """A twin made by hand; `chi2` tells it from another one."""
    import numpy as np

    from calibration.posterior import Posterior
    from twin.patient import PatientTwin
    from twin.study import read_study

    (folder / "patient.toml").write_text(TOML, encoding="utf-8")
    (folder / "measurements.csv").write_text(CSV, encoding="utf-8")
    size, draws = 8, np.random.default_rng(int(chi2)).normal(size=(200, 8))
    names, units = tuple(f"release/{k}" for k in range(size)), ("1/min",) * size
    arrays = (np.ones(size), np.ones(size), np.zeros(size), np.eye(size), draws)
    posterior = Posterior(names, units, *arrays, chi2=chi2, observations_used=3, warnings=())
    return PatientTwin(read_study(folder), posterior, (), {"model": "by hand"})


def _saver(old_and_new, place: Path, after_s: float, event: int) -> int:
    """A child that saves; killed after a time, or by itself before file event number `event`. Gives its exit status."""
    from twin import store

    child = os.fork()
    if child:
        if not event:
            time.sleep(after_s)
            os.kill(child, signal.SIGKILL)
        return os.waitpid(child, 0)[1]
    if event:
        sys.addaudithook(_killer(event))
        store.save(old_and_new[1], place)
        os._exit(0)
    for twin in itertools.cycle(old_and_new):
        store.save(twin, place)
    return 1


def _killer(event: int):
    left = itertools.count(event, -1)

    def hook(name: str, _) -> None:
        if name in FILE_EVENTS and next(left) == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    return hook


if __name__ == "__main__":
    what = {"run": run, "small_disks": small_disks, "saves": saves}[sys.argv[1]]
    sys.stdout.write(json.dumps(what(**json.loads(sys.argv[2]))))
