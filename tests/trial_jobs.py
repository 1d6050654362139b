"""Small jobs for the trial engine, importable by spawned workers: tables of random numbers keyed by patient, no JAX."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

TABLES = ("cycles", "patients")


@dataclass(frozen=True)
class Toy:
    """`rows` numbers a patient and cycle; each patient takes `delay_s`; every `bad`-th patient fails.

    What goes wrong: chunk from patient `broken` raises; the worker of the chunk from `deadly` is killed as long as
    fewer than `deaths` files lie in `graves`.
    """

    patients: int = 96
    block: int = 4
    seed: int = 7
    delay_s: float = 0.0
    rows: int = 6
    bad: int = 0
    broken: int = -1
    deadly: int = -1
    deaths: int = 0
    graves: str = ""
    tables: tuple[str, ...] = TABLES

    def manifest(self) -> dict:
        return {"kind": "toy", "design": {name: asdict(self)[name] for name in ("patients", "seed", "rows", "bad")}}

    def compute(self, first: int, last: int) -> dict[str, pa.Table]:
        if first <= self.broken < last:
            raise ArithmeticError(f"no answer for patient {self.broken}")
        self._die(first, last)
        time.sleep(self.delay_s * (last - first))
        numbers = [
            np.random.Generator(np.random.Philox([self.seed, k])).normal(size=self.rows) for k in range(first, last)
        ]
        patient = np.arange(first, last)
        cycles = {"patient": np.repeat(patient, self.rows), "dose_Gy": np.concatenate(numbers)}
        status = ["step_limit" if self.bad and k % self.bad == 0 else "ok" for k in patient]
        said = pa.array(status).dictionary_encode().cast(pa.dictionary(pa.int16(), pa.string()))
        people = pa.table({"patient": patient, "status": said, "sum_Gy": [x.sum() for x in numbers]})
        return {"cycles": pa.table(cycles), "patients": people}

    def _die(self, first: int, last: int) -> None:
        if first <= self.deadly < last and len(list(Path(self.graves).iterdir())) < self.deaths:
            (Path(self.graves) / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Told:
    """A row a chunk: what the worker's environment says, and whether JAX was there before the job."""

    names: tuple[str, ...]
    patients: int = 4
    block: int = 1
    tables: tuple[str, ...] = ("told",)

    def manifest(self) -> dict:
        return {"kind": "told"}

    def compute(self, first: int, last: int) -> dict[str, pa.Table]:
        words = {name: [os.environ.get(name, "")] for name in self.names}
        return {"told": pa.table({"pid": [os.getpid()], "jax": ["jax" in sys.modules], **words})}
