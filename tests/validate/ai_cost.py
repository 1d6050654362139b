"""What a network costs: seconds of a call, and memory of a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

PEAK = "\nprint(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"

COUNTS = (
    "import numpy as np; from imaging.geometry import Volume\n"
    "counts = np.random.default_rng(0).poisson(9.0, {shape}).astype(np.float32)\n"
    "v = Volume(counts, np.diag([{side}, {side}, {side}, 1.0]))\n"
)


def timed(run: Callable[[], object]) -> float:
    """Seconds of one call."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


@contextmanager
def one_thread() -> Iterator[None]:
    """Networks on one thread of torch, as rows say that are timed beside a classical method on one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_megabytes(program: str) -> float:
    """Largest memory of a process of its own that runs a program.

    VmHWM is of the program alone; ru_maxrss would hold the memory of this process too, which it begins as a copy of.
    """
    done = subprocess.run([sys.executable, "-c", program + PEAK], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1]) / 1024


def a_scan(shape: tuple[int, int, int], voxel_mm: float) -> str:
    """Begin of a program: Poisson counts `v` of cubic voxels."""
    return COUNTS.format(shape=shape, side=voxel_mm)
