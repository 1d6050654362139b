"""The tables behind the models: pbpk/data/models.csv and pbpk/data/poppk.csv."""

from __future__ import annotations

import math
from functools import cache

import jax.numpy as jnp
from jaxtyping import Array, Float

from dose.errors import InputError, describe, nearest
from dose.nuclides import Radionuclide
from dose.provenance import constant, load_table

MIN_PER_H, MIN_PER_D = 60.0, 1440.0


@cache
def _rows(filename: str) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["model"], row["parameter"]): row for row in load_table("pbpk", filename)}


def typical(model: str, parameter: str, filename: str = "models.csv") -> float:
    """The typical value of a parameter, in the unit of its row.

    Raises:
        InputError: no such row; the nearest parameter of the model is named.
    """
    rows = _rows(filename)
    if (model, parameter) not in rows:
        known = [name for owner, name in rows if owner == model]
        expected = nearest(parameter, known) or "one of " + ", ".join(known)
        raise InputError(describe(f"parameter of {model}", repr(parameter), expected, f"see pbpk/data/{filename}"))
    return float(rows[model, parameter]["value"])


def log_sd(model: str, parameter: str, filename: str = "poppk.csv") -> float:
    """Standard deviation of the parameter's logarithm between patients, from the row's coefficient of variation."""
    typical(model, parameter, filename)
    return math.sqrt(math.log1p(float(_rows(filename)[model, parameter]["cv"]) ** 2))


def varying(model: str, filename: str = "poppk.csv") -> tuple[str, ...]:
    """The parameters of a population model that differ between patients."""
    return tuple(name for owner, name in _rows(filename) if owner == model and log_sd(owner, name, filename) > 0)


def positive(name: str, value: float, *, zero: bool = False) -> Float[Array, ""]:
    """`value` as an array, if it is finite and above zero (or zero where that has a meaning).

    Raises:
        InputError: it is not.
    """
    if not (math.isfinite(value) and (value > 0 or (zero and value == 0))):
        expected = "a finite number of at least 0" if zero else "a finite number above 0"
        raise InputError(describe(name, f"{value:g}", expected, "check the value and its unit"))
    return jnp.asarray(float(value))


def local_dose_Gy_g_per_MBq_min(nuclide: Radionuclide) -> float:
    """Dose to a gram from a MBq in it for a minute, electrons, alphas and recoils absorbed where they are born."""
    local_MeV = nuclide.electron_MeV + nuclide.alpha_MeV + nuclide.recoil_MeV
    return 1e6 * 60 * local_MeV * constant("dose", "joule_per_MeV") * 1e3
