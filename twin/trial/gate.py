"""Whether a trial's cohort looks like patients: doses of the first cycle against published ones, organ by organ.

A cohort that fails is told in the report before any result. Bands: twin/data/gates.csv; how the population was tuned
to them: docs/cohorts.md.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from twin.policies.gate import bands, log_cv
from twin.trial.results import Trial, open_trial
from twin.whole import write_whole

DOUBT = 2.0
"""Standard errors by which a value may lie outside of its band: few patients scatter."""
FEWEST, MOST = 48, 20_000
"""Patients below which a gate says nothing, and that are enough."""
DOSES, CYCLES = ("patient", "arm", "cycle", "region", "dose_Gy"), ("patient", "arm", "cycle", "activity_MBq")


@dataclass(frozen=True)
class Gate:
    """One quantity of an organ's Gy/GBq in the first cycle: the cohort's value, its standard error, the band."""

    tracer: str
    organ: str
    quantity: str
    value: float
    error: float
    low: float
    high: float
    passes: bool
    source: str


def gates(tracer: str, Gy_per_GBq: dict[str, np.ndarray]) -> tuple[Gate, ...]:
    """The gates of a tracer; `Gy_per_GBq` by organ, [patient]. None where it has no rows or patients are few."""
    good = [row for row in bands(tracer) if len(Gy_per_GBq.get(row["region"], ())) >= FEWEST]
    return tuple(_gate(row, np.asarray(Gy_per_GBq[row["region"]])) for row in good)


def _gate(row: dict[str, str], values: np.ndarray) -> Gate:
    low, high = float(row["low"]), float(row["high"])
    of_mean = lambda: (float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values))))
    value, error = of_mean() if row["quantity"] == "mean" else log_cv(values)
    passes = low - DOUBT * error <= value <= high + DOUBT * error
    return Gate(row["tracer"], row["region"], row["quantity"], value, error, low, high, passes, row["locator"])


def write_gate(folder) -> tuple[Gate, ...]:
    """Judge a finished trial's cohort by the first arm of each tracer, and write `gate.json` into its folder.

    Raises:
        InputError: no trial there, or not all of it.
    """
    trial = open_trial(folder)
    by_arm = first_doses(trial, first_arms(trial.design["arms"]))
    found = [g for tracer, per_GBq in by_arm.items() for g in gates(tracer, per_GBq)]
    text = json.dumps([asdict(g) for g in found], indent=1)
    write_whole(Path(folder) / "gate.json", (text + "\n").encode())
    return tuple(found)


def first_arms(arms) -> dict[str, str]:
    """Name of the first arm of each tracer."""
    found: dict[str, str] = {}
    for arm in arms:
        found.setdefault(arm["tracer"], arm["name"])
    return found


def first_doses(trial: Trial, arms: dict[str, str]) -> dict[str, dict[str, np.ndarray]]:
    """Gy/GBq of the first cycle by tracer and region, [patient], of up to `MOST` patients or a little more."""
    rows: dict[str, list[pd.DataFrame]] = {tracer: [] for tracer in arms}
    seen = 0
    parts = zip(trial.by_part("doses", list(DOSES)), trial.by_part("cycles", list(CYCLES)), strict=True)
    for doses, cycles in parts:
        for tracer, arm in arms.items():
            rows[tracer].append(_per_GBq(doses[doses.arm == arm], cycles[cycles.arm == arm]))
        seen += cycles.patient.nunique()
        if seen >= MOST:
            break
    return {tracer: _by_region(pd.concat(tables)) for tracer, tables in rows.items() if tables}


def _per_GBq(doses: pd.DataFrame, cycles: pd.DataFrame) -> pd.DataFrame:
    given = cycles[cycles.cycle == 1].set_index("patient").activity_MBq / 1000
    first = doses[doses.cycle == 1]
    per = first.dose_Gy.to_numpy() / given.loc[first.patient].to_numpy()
    return pd.DataFrame({"region": first.region.astype(str).to_numpy(), "per_GBq": per})


def _by_region(table: pd.DataFrame) -> dict[str, np.ndarray]:
    return {str(name): rows.per_GBq.to_numpy() for name, rows in table.groupby("region")}
