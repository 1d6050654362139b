"""A trial as one xarray Dataset: what is long in the tables has its dims, what no patient has is NaN."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from twin.trial.schema import TABLES

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

    from twin.trial.results import Trial

DIMS = {
    "patients": ("arm", "patient"),
    "cycles": ("arm", "patient", "cycle"),
    "doses": ("arm", "patient", "cycle", "region"),
    "limits": ("arm", "patient", "limit"),
}
RENAMED = {
    ("patients", "cycles"): "cycles_given",
    ("cycles", "activity_MBq"): "cycle_activity_MBq",
    ("cycles", "tumour_mL"): "cycle_tumour_mL",
    ("doses", "dose_Gy"): "cycle_dose_Gy",
    ("doses", "bed_Gy"): "cycle_bed_Gy",
    ("limits", "total_Gy"): "limited_Gy",
    ("limits", "exceeded"): "limit_exceeded",
}
"""Columns whose name another table has as well, or a dim."""


def dataset(trial: Trial) -> xr.Dataset:
    """Variables over the dims of `DIMS`, unit and meaning as attributes. Holds the whole trial in memory."""
    import xarray as xr

    tables = {name: trial.table(name) for name in DIMS}
    places = {
        "arm": np.array(trial.arms),
        "patient": np.unique(tables["patients"]["patient"]),
        "cycle": np.unique(np.concatenate([tables[name]["cycle"] for name in ("cycles", "doses")])),
        "region": np.unique(tables["doses"]["region"].astype(str)),
        "limit": np.unique(tables["limits"]["limit"].astype(str)),
    }
    variables = {}
    for name, dims in DIMS.items():
        where = tuple(_place(tables[name][dim], places[dim]) for dim in dims)
        shape = tuple(len(places[dim]) for dim in dims)
        for column in TABLES[name]:
            if column.name not in dims:
                attributes = {"units": column.unit, "long_name": column.words}
                values = _spread(tables[name][column.name], where, shape)
                variables[RENAMED.get((name, column.name), column.name)] = (dims, values, attributes)
    about = {"title": str(trial.design.get("name", "")), "patients_of_design": trial.design["patients"]}
    return xr.Dataset(variables, coords=places, attrs=about | {"complete": int(trial.complete)})


def _place(column: pd.Series, values: np.ndarray) -> np.ndarray:
    """Number of each row's value among `values`, which may be in any order."""
    order = np.argsort(values)
    return order[np.searchsorted(values[order], column.to_numpy(dtype=values.dtype))]


def _spread(column: pd.Series, where, shape) -> np.ndarray:
    """Rows to their place; numbers and flags as float with NaN elsewhere, words as str with nothing."""
    words = column.dtype == "category"
    whole = np.full(shape, "", dtype=object) if words else np.full(shape, np.nan)
    whole[where] = column.astype(str) if words else column.to_numpy(dtype=float)
    return whole.astype(str) if words else whole
