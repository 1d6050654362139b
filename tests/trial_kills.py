"""Kills at random instants, counted: what the tests demand of a few and `make validate` shows of twenty.

Each function returns how many of its runs ended, byte for byte, with the parts of an uninterrupted run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.runner import REPOSITORY, Skipped
from tests.trial_driver import digests
from tests.trial_jobs import Toy
from twin.trial import engine, journal
from twin.trial.lock import driver

SMALL = {"patients": 96, "rows": 60}
"""24 chunks of 4 patients, two parts each."""
SLOW = SMALL | {"delay_s": 0.01}
LONGEST_S = 120.0


def reference(folder: Path, job: dict = SMALL) -> dict[str, str]:
    """Digests of the uninterrupted run."""
    engine.run(Toy(**job), folder, executor="serial", chunk=4)
    return digests(folder)


def start(what: str, **words) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.trial_driver", what, json.dumps(words)]
    return subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process: subprocess.Popen[str]):
    out, err = process.communicate(timeout=LONGEST_S)
    if process.returncode:
        raise RuntimeError(f"{process.args} ended with {process.returncode}: {err[-4000:]}")
    return json.loads(out)


def workers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Spawned workers, without Python's resource tracker."""
    try:
        children = psutil.Process(process.pid).children(recursive=True)
        return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.NoSuchProcess:
        return []


def wait_for(condition, seconds: float = LONGEST_S):
    """What `condition` gives once it is true.

    Raises:
        TimeoutError: it never was.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
        time.sleep(0.01)
    return found


def killed_workers(folder: Path, kills: int, seed: int) -> int:
    """SIGKILL of one worker of two at a random instant of its life; the driver goes on alone."""
    expected, instants = reference(folder / "whole"), random.Random(seed)
    return _same([_killed_worker(folder / f"worker{k}", instants, expected) for k in range(kills)])


def _same(runs: list[tuple[bool, bool]]) -> int:
    """Runs that ended the same, out of (same, whether the kill hit work); at least one in three must have hit.

    Raises:
        RuntimeError: the kills came too early or too late to test anything.
    """
    if 3 * sum(hit for _, hit in runs) < len(runs):
        raise RuntimeError(f"only {sum(hit for _, hit in runs)} of {len(runs)} kills hit a trial at work")
    return sum(same for same, _ in runs)


def _killed_worker(place: Path, instants: random.Random, expected) -> tuple[bool, bool]:
    running = start("run", job=SLOW, folder=str(place), executor="process", workers=2, chunk=4)
    wait_for(lambda: len(workers_of(running)) == 2)
    time.sleep(instants.uniform(0.0, 1.5))
    victims = workers_of(running)
    if victims:
        instants.choice(victims).send_signal(signal.SIGKILL)
    said = answer(running)
    told = [e["event"] for e in journal.read(place)].count("worker lost")
    same = digests(place) == expected and said["computed"] == 24 and told == said["lost"] <= 1
    return same, told == 1


def killed_drivers(folder: Path, kills: int, seed: int) -> int:
    """SIGKILL of the driver at a random instant, its workers then leave; resumed here."""
    expected, instants = reference(folder / "whole"), random.Random(seed)
    return _same([_killed_driver(folder / f"driver{k}", instants, expected) for k in range(kills)])


def _killed_driver(place: Path, instants: random.Random, expected) -> tuple[bool, bool]:
    words = {"executor": instants.choice(("serial", "process")), "workers": 2, "chunk": 4}
    running = start("run", job=SLOW, folder=str(place), **words)
    wait_for(lambda: (place / journal.NAME).exists())
    time.sleep(instants.uniform(0.0, 1.2))
    left = workers_of(running)
    running.kill()
    running.communicate()
    wait_for(lambda: not any(worker.is_running() for worker in left), 10.0)
    free = driver(place) is None
    done = engine.run(Toy(**SMALL), place, executor="serial")
    same = free and digests(place) == expected and done.found + done.computed == 24
    return same, done.computed > 0


def full_disks(folder: Path, runs: int, seed: int) -> int:
    """A file system (tmpfs) that is full after a random number of bytes; resumed when there is room.

    Raises:
        Skipped: this process can't mount one.
    """
    expected, instants = reference(folder / "whole"), random.Random(seed)
    most = sum(-(-path.stat().st_size // 4096) * 4096 for path in (folder / "whole").rglob("*") if path.is_file())
    sizes = [instants.randrange(5 * 4096, most) for _ in range(runs)]
    place = folder / "disk"
    place.mkdir()
    found = _in_a_mount_namespace(place, sizes)
    told = ["No space left" in one["words"] and not one["half_written"] for one in found]
    return _same([(one["digests"] == expected and ok, ok) for one, ok in zip(found, told, strict=True)])


def _in_a_mount_namespace(place: Path, sizes: list[int]) -> list[dict]:
    unshare = shutil.which("unshare")
    inside = [unshare, "--map-root-user", "--mount"] if unshare else ["false"]
    trial = [*inside, "mount", "-t", "tmpfs", "none", str(place)]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        raise Skipped("no file system can be mounted here")
    words = json.dumps({"job": SMALL, "folder": str(place), "sizes": sizes})
    command = [*inside, sys.executable, "-m", "tests.trial_driver", "small_disks", words]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-4000:])
    return json.loads(done.stdout)


def cluster_that_loses_one(folder: Path) -> dict:
    """A local Dask cluster of three worker processes, one of them killed in the middle."""
    expected, place = reference(folder / "whole"), folder / "dask"
    running = start("run", job=SMALL | {"delay_s": 0.05}, folder=str(place), executor="dask", workers=3, chunk=4)
    done = lambda: [e for e in journal.read(place) if e["event"] == "chunk done"]
    wait_for(lambda: len({e["worker"] for e in done()}) == 3 or len(done()) > 12)
    addresses = _listening(running)
    os.kill(int(done()[-1]["worker"].split("@")[0]), signal.SIGKILL)
    said = answer(running)
    events = [e["event"] for e in journal.read(place)]
    return {"same": digests(place) == expected, "computed": said["computed"], "events": events, "addresses": addresses}


def _listening(running: subprocess.Popen[str]) -> set[str]:
    """Addresses on which the driver and its children listen."""
    family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
    sockets = [c for process in family for c in process.net_connections(kind="inet") if c.status == psutil.CONN_LISTEN]
    return {c.laddr.ip for c in sockets}


def killed_saves(folder: Path, kills: int, seed: int, **words) -> dict:
    """Kills during `twin.store.save`: how many, after how many the old or the new twin opened, and what broke."""
    return answer(start("saves", folder=str(folder), seed=seed, kills=kills, **words))
