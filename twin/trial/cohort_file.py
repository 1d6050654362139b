"""A user's own cohort: covariates from a CSV or Parquet file, one row a patient; what it lacks is drawn."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

import numpy as np

from dose.errors import InputError, describe, nearest
from pbpk.parameters import SEXES, Covariates

NUMBERS = ("age_y", "weight_kg", "height_m", "gfr_mL_min", "haematocrit")
COLUMNS = ("patient", "sex", *NUMBERS)


def read_cohort_file(path: str) -> dict[str, np.ndarray]:
    """Columns of the file, checked; read again only when its bytes have changed.

    Raises:
        InputError: no such file, an unknown column, none that is known, a value missing or that no patient can have.
    """
    try:
        return _read(path, sha256_of(path))
    except OSError as error:
        do = "give the path of a CSV or Parquet file, as seen from where the trial is run"
        raise InputError(describe("cohort.file", f"{path}: {type(error).__name__}", "a readable table", do)) from error


@cache
def _read(path: str, _sha256: str) -> dict[str, np.ndarray]:
    import pandas as pd

    file = Path(path)
    try:
        table = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        do = "give the path of a CSV or Parquet file, as seen from where the trial is run"
        raise InputError(describe("cohort.file", f"{path}: {type(error).__name__}", "a readable table", do)) from error
    for column in table.columns:
        if column not in COLUMNS:
            meant = nearest(column, COLUMNS) or "one of " + ", ".join(COLUMNS)
            raise InputError(describe(f"cohort.file: column {column}", "unknown", meant, "rename or drop it"))
    found = {name: table[name].to_numpy() for name in table.columns if name != "patient"}
    if not found or not len(table):
        raise InputError(describe("cohort.file", "no covariate", "one of " + ", ".join(COLUMNS[1:]), "add columns"))
    for k in range(len(table)):
        _check(found, k)
    return found


def _check(found: dict[str, np.ndarray], k: int) -> None:
    values = {name: found[name][k] for name in found}
    try:
        sex = {"sex": values["sex"]} if "sex" in values else {}
        Covariates.of(**sex, **{n: float(values[n]) for n in NUMBERS if n in values})
    except (InputError, ValueError, TypeError) as error:
        raise InputError(describe(f"cohort.file: row {k + 1}", str(error), "a patient", "correct the row")) from error


def rows_of(path: str) -> int:
    return len(next(iter(read_cohort_file(path).values())))


def require_rows(path: str | None, patients: int) -> None:
    """Refuse a trial of more patients than the file has.

    Raises:
        InputError: fewer rows than patients.
    """
    if path is not None and rows_of(path) < patients:
        do = "ask for no more patients than the file has"
        raise InputError(describe("cohort.file", f"{rows_of(path)} rows", f"{patients} or more", do))


def known_covariates(path: str | None, first: int, last: int) -> dict[str, np.ndarray]:
    """What the file knows of patients first .. last - 1, by the fields of `People`: patient k has row k. Blocks are
    filled up past the last row by the first ones, whose results nobody keeps."""
    if path is None:
        return {}
    table, at = read_cohort_file(path), np.arange(first, last) % rows_of(path)
    found = {name: np.asarray(table[name], float)[at] for name in NUMBERS if name in table}
    return found | ({"female": np.asarray(table["sex"])[at] == SEXES[1]} if "sex" in table else {})


def sha256_of(path: str | None) -> str:
    """Checksum of the file, for the manifest; empty where there is none."""
    return "" if path is None else hashlib.sha256(Path(path).read_bytes()).hexdigest()
