"""The commands a user types, in a fresh process each, beside the time they may take."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from tests.bench import bench, best_of, shared
from tests.runner import REPOSITORY

PATIENT = REPOSITORY / "docs" / "examples" / "patient_177lu_psma.toml"


def _seconds(cache_home: str, *arguments: str) -> float:
    begin = time.perf_counter()
    command = [sys.executable, "-m", "twin.cli", *arguments]
    subprocess.run(command, check=True, capture_output=True, env=os.environ | {"XDG_CACHE_HOME": cache_home})
    return time.perf_counter() - begin


@cache
def _plans() -> tuple[float, float]:
    shared("clinical/tac_177lu_psma_patient1.csv")
    with tempfile.TemporaryDirectory() as folder:
        first, second = (_seconds(folder, "plan", str(PATIENT), "--out", str(Path(folder, name))) for name in "ab")
    return first, second


@bench("command/first plan of a real patient", unit="s", peer="limit, compile cache empty", peer_value=60.0)
def first_plan():
    return _plans()[0]


@bench("command/second plan of a real patient", unit="s", peer="limit, compile cache warm", peer_value=60.0)
def second_plan():
    return _plans()[1]


@bench("command/demo", unit="s", peer="limit, compile cache empty", peer_value=120.0)
def demo():
    with tempfile.TemporaryDirectory() as folder:
        return _seconds(folder, "demo", "--out", str(Path(folder, "out")))


FIRST_SOLVE = """
from twin._jax import configure
configure()
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus, default_patient
from pbpk.solve import PLANNING_RTOL, solve
solve(default_patient(), bolus(end_min=WEEKS_6_MIN), rtol=PLANNING_RTOL).y.block_until_ready()
"""


@bench("command/fresh process to its first solve", unit="s", peer="limit, compile cache warm", peer_value=2.5)
def first_solve():
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"XDG_CACHE_HOME": folder, "PYTHONPATH": str(REPOSITORY)}
        work = lambda: subprocess.run([sys.executable, "-c", FIRST_SOLVE], check=True, env=environment)
        return best_of(work, repeats=3)
