"""Virtual trials: whole runs from a cold start, cost of an arm and of calibrating, engine overhead, memory."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

from tests.bench import bench, best_of

PATIENTS, FEW = 10_000, 1_920
ASKED_S = 120.0
PEER_S = 1.3
"""A patient of a PyCNO parameter sweep, one core (project notes, measured)."""
RUN = """
import json, resource, sys
from twin.trial.running import run_trial
from twin.trial import engine
kept = {{}}
real = engine.run
def run(job, folder, **options):
    kept["summary"] = real(job, folder, **options)
    return kept["summary"]
engine.run = run
if __name__ == "__main__":
    run_trial("psma-fixed", sys.argv[1], patients=int(sys.argv[2]), executor=sys.argv[3])
    done, peak = kept["summary"], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(dict(seconds=done.seconds, work_s=done.work_s, peak_kB=peak)))
"""


@cache
def _whole(patients: int, executor: str) -> dict:
    """A trial of six cycles by itself in a new interpreter: its wall time, cold start included, and what it said."""
    folder = Path(tempfile.mkdtemp())
    script = folder / "run.py"
    script.write_text(RUN.replace("{{", "{").replace("}}", "}"), encoding="utf-8")
    began = time.perf_counter()
    command = [sys.executable, str(script), str(folder / "trial"), str(patients), executor]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    wall_s = time.perf_counter() - began
    shutil.rmtree(folder)
    found = re.search(r"\{.*\}", said)
    assert found is not None
    return json.loads(found.group()) | {"wall_s": wall_s}


@bench("trial/10 000 patients x 6 cycles, two processes, cold start included", unit="s", peer="asked",
       peer_value=ASKED_S)  # fmt: skip
def processes():
    return _whole(PATIENTS, "process")["wall_s"]


@bench("trial/10 000 patients x 6 cycles, one process with threads, cold start included", unit="s", peer="asked",
       peer_value=ASKED_S)  # fmt: skip
def threads():
    return _whole(PATIENTS, "serial")["wall_s"]


@bench("trial/a patient of 6 cycles, in 10 000", unit="s", peer="a patient of a PyCNO sweep", peer_value=PEER_S)
def patient():
    return _whole(PATIENTS, "process")["wall_s"] / PATIENTS


@bench("trial/engine overhead, share of the run", unit="1", peer="asked", peer_value=0.05)
def overhead():
    found = _whole(PATIENTS, "serial")
    return 1 - found["work_s"] / found["seconds"]


@bench("trial/peak memory of 10 000 patients", unit="MB", peer="of 1 920 patients")
def memory():
    return _whole(PATIENTS, "serial")["peak_kB"] / 1000, _whole(FEW, "serial")["peak_kB"] / 1000


def _per_patient(*arms: dict) -> float:
    """Seconds a patient of further arms, one block after another in one thread, warm."""
    from twin.trial.design import design_of
    from twin.trial.job import block_rows

    design = design_of({"name": "bench", "arms": [{"name": "first"}, *arms]})
    block_rows(design, 0, 48)
    return best_of(lambda: block_rows(design, 1, 96), repeats=3) / 48


@bench("trial/a patient, first arm of six cycles, one thread", unit="s", peer="a patient of a PyCNO sweep",
       peer_value=PEER_S)  # fmt: skip
def first_arm():
    return _per_patient()


@bench("trial/a patient, a further arm on the same solve, one thread", unit="s", peer="the first arm")
def further_arm():
    one = _per_patient()
    return _per_patient({"name": "second", "policy": "stop_rule"}) - one, one


@bench("trial/a patient, a further arm that calibrates after each of six cycles, one thread", unit="s",
       peer="the first arm")  # fmt: skip
def calibrated():
    one = _per_patient()
    return _per_patient({"name": "twin", "policy": "chance_twin", "estimator": "laplace"}) - one, one
