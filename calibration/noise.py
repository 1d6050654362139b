"""What a measurement's standard deviation becomes once errors of the model and of the system are added."""

from __future__ import annotations

from functools import cache

import numpy as np

from calibration.observations import Observations
from dose.provenance import load_table


@cache
def _table() -> tuple[tuple[str, str, float, float], ...]:
    rows = load_table("calibration", "noise.csv")
    return tuple((r["modality"], r["region"], float(r["until_h"]), float(r["value"])) for r in rows)


def relative_sd(kind: str, region: str, time_h: float = 0.0) -> float:
    """Relative sd from noise.csv: the row of the region (tumours share one), the tightest time limit not yet passed."""
    name = "tumour" if region.startswith("tumour_") else region
    for wanted in (name, "default"):
        rows = [(until, value) for m, r, until, value in _table() if m == kind and r == wanted and time_h <= until]
        if rows:
            return min(rows)[1]
    raise KeyError(f"noise.csv has no row for {kind}, {region}")


def drift_log_sd(region: str, cycles_apart: int) -> float:
    """Log sd of the change in uptake over a number of cycles, a random walk from cycle to cycle."""
    return relative_sd("drift", region) * np.sqrt(abs(cycles_apart))


def log_sd(observations: Observations, to_cycle: int | None = None) -> np.ndarray:
    """Standard deviation of the log activity, shape [observation].

    Measurement and model error in quadrature; with `to_cycle`, the drift between an observation's therapy cycle and
    that one is added, so that older scans count less.
    """
    obs = observations
    model = np.array([relative_sd(m, r, t) for m, r, t in zip(obs.modality, obs.region, obs.time_h, strict=True)])
    drift = np.zeros(len(obs))
    if to_cycle is not None:
        apart = [max(to_cycle - max(c, 1), 0) for c in obs.cycle]
        drift = np.array([drift_log_sd(r, n) for r, n in zip(obs.region, apart, strict=True)])
    return np.sqrt(np.log1p((obs.sd_MBq / obs.activity_MBq) ** 2) + model**2 + drift**2)
