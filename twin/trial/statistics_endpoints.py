"""Endpoints of a trial, and their values patient by patient: [arm, patient] of one part, NaN where there is none.

Thresholds are rows of `twin/data/endpoints.csv`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from dose.provenance import load_table
from twin.constraints import known_limits
from twin.trial.results import Trial

if TYPE_CHECKING:
    import pandas as pd

OK, NOT_ELIGIBLE = "ok", "not_eligible"
YEARS_D = {1: 365.0, 2: 730.0}
"""Whole days, so that times in whole days give the same shares."""
HALF_WIDTH_90 = 1.645
"""Of an interval of 90 %, in standard deviations."""
ROUNDING = 1e-9
"""Of a log: an estimator that knows the dose and states no error is within its interval."""
COVERED = ("kidneys", "tumours")


@dataclass(frozen=True)
class Endpoint:
    """`kind`: mean (with median), share, coverage, survival, restricted or median_time; `higher` is better, if known.

    `of` gives the values of a mean or share from the columns `columns` of the patients' table; `at_d` is the time of a
    survival. The others are computed from more than one patient (`twin.trial.statistics`).
    """

    name: str
    words: str
    unit: str
    kind: str
    columns: tuple[str, ...] = ()
    of: Callable[[dict[str, np.ndarray]], np.ndarray] | None = None
    at_d: float = np.nan
    subject: str = ""
    higher: bool | None = None


@dataclass(frozen=True)
class PartValues:
    """Of the patients of a part: `patient` [patient], all else [arm, patient]; covered cycles inside and in all."""

    patient: np.ndarray
    status: np.ndarray
    ended: np.ndarray
    columns: dict[str, np.ndarray]
    exceeded: dict[str, np.ndarray]
    covered: dict[str, tuple[np.ndarray, np.ndarray]]

    @property
    def ok(self) -> np.ndarray:
        return self.status == OK


@cache
def threshold(name: str) -> float:
    """A threshold of `twin/data/endpoints.csv`."""
    return next(float(row["value"]) for row in load_table("twin", "endpoints.csv") if row["name"] == name)


def _mean(column: str, words: str, unit: str, higher: bool | None) -> Endpoint:
    return Endpoint(column, words, unit, "mean", (column,), lambda c: c[column], higher=higher)


def _share(name: str, words: str, column: str, higher: bool) -> Endpoint:
    """Patients at or below (more is better) or below (fewer is better) the threshold."""
    limit = threshold(name)
    rule = (lambda c: c[column] <= limit) if higher else (lambda c: c[column] < limit)
    known = lambda c: np.where(np.isfinite(c[column]), rule(c), np.nan)
    return Endpoint(name, words.format(limit), "1", "share", (column,), known, higher=higher)


def endpoints(trial: Trial) -> tuple[Endpoint, ...]:
    """All endpoints of a trial, in the order of the table."""
    limits = [Endpoint(f"exceeds_{name}", _beyond(name), "1", "share", subject=name, higher=False)
              for name in limit_names(trial)]  # fmt: skip
    years = [Endpoint(f"survival_{k}y", f"alive after {k} year{'s' * (k > 1)} (illustrative)", "1", "survival",
                      at_d=days, higher=True) for k, days in YEARS_D.items()]  # fmt: skip
    covered = [Endpoint(f"coverage_{r}", f"cycles whose dose to the {r} is in the estimator's 90 % interval", "1",
                        "coverage", subject=r) for r in COVERED]  # fmt: skip
    return (
        _mean("tumour_dose_Gy", "tumour dose", "Gy", True),
        _mean("tumour_bed_Gy", "tumour BED", "Gy", True),
        _mean("worst_lesion_dose_Gy", "dose of the lesion that gets least", "Gy", True),
        _mean("kidney_dose_Gy", "kidney dose", "Gy", False),
        _mean("kidney_bed_Gy", "kidney BED", "Gy", False),
        _mean("therapeutic_index", "therapeutic index", "1", True),
        _mean("activity_MBq", "activity in all", "MBq", None),
        _mean("cycles", "cycles given", "1", None),
        _share("psa50", "PSA at or below {:g} of that before (PSA50, illustrative)", "best_psa_share", True),
        _share("volume_response", "tumour volume at or below {:g} of before (illustrative)", "best_volume_share", True),
        *limits,
        _share("platelets_below_75", "platelets below {:g} per nL (illustrative)", "lowest_platelets_per_nL", False),
        _share("platelets_below_50", "platelets below {:g} per nL (illustrative)", "lowest_platelets_per_nL", False),
        Endpoint("survival_median_d", "median survival (illustrative)", "d", "median_time", higher=True),
        *years,
        Endpoint("survival_mean_d", "mean survival in the follow-up (illustrative)", "d", "restricted", higher=True),
        *covered,
    )


def _beyond(name: str) -> str:
    """A limit in words; one of a user's own goes by its name."""
    known = known_limits().get(name)
    if known is None:
        return f"beyond the limit {name}"
    what = {"dose_Gy": "dose", "bed_Gy": "BED", "eubed_Gy": "EUBED"}[known.quantity]
    return f"beyond {known.value_Gy:g} Gy of {known.region.replace('_', ' ')} {what}"


def limit_names(trial: Trial) -> tuple[str, ...]:
    """Limits of the design, or those of the first part's table."""
    if trial.design.get("limits"):
        return tuple(trial.design["limits"])
    first = next(trial.by_part("limits", ["limit"]), None)
    return () if first is None else tuple(sorted(first["limit"].astype(str).unique()))


def part_values(trial: Trial, every: tuple[Endpoint, ...]) -> Iterator[PartValues]:
    """Values of each part in turn, for these endpoints; only patients with status ok have any."""
    wanted = sorted({c for e in every for c in e.columns} | {"survival_d", "died"})
    limits = [e.subject for e in every if e.name.startswith("exceeds_")]
    covered = [e.subject for e in every if e.kind == "coverage"]
    tables = zip(
        trial.by_part("patients", ["patient", "arm", "status", "ended", *wanted]),
        trial.by_part("limits", ["patient", "arm", "limit", "exceeded"]),
        trial.by_part("doses", ["patient", "arm", "region", "dose_Gy", "estimated_Gy", "estimated_log_sd"]),
        strict=True,
    )
    for patients, exceeded, doses in tables:
        yield _values(_Places.of(trial, patients), patients, exceeded, doses, wanted, limits, covered)


@dataclass(frozen=True)
class _Places:
    """Where rows of a part stand: [arm, patient]."""

    arms: tuple[str, ...]
    patient: np.ndarray

    @classmethod
    def of(cls, trial: Trial, patients: pd.DataFrame) -> _Places:
        return cls(trial.arms, np.unique(patients["patient"].to_numpy()))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.arms), len(self.patient)

    def flat(self, table: pd.DataFrame) -> np.ndarray:
        """Number of each row's cell."""
        arm = table["arm"].cat.set_categories(self.arms).cat.codes.to_numpy(dtype=np.int64)
        return arm * len(self.patient) + np.searchsorted(self.patient, table["patient"].to_numpy())

    def spread(self, cells: np.ndarray, values, empty=np.nan) -> np.ndarray:
        whole = np.full(self.shape, empty, dtype=object if isinstance(empty, str) else float)
        whole.flat[cells] = values
        return whole

    def summed(self, cells: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.bincount(cells, values, minlength=self.shape[0] * self.shape[1]).reshape(self.shape)


def _values(places: _Places, patients, exceeded, doses, wanted, limits, covered) -> PartValues:
    cells = places.flat(patients)
    status = places.spread(cells, patients["status"].astype(str), "")
    blank = np.where(status == OK, 0.0, np.nan)
    columns = {c: blank + places.spread(cells, patients[c].to_numpy(dtype=float)) for c in wanted}
    limit_cells, names = places.flat(exceeded), exceeded["limit"].astype(str).to_numpy()
    flags = exceeded["exceeded"].to_numpy(dtype=float)
    passed = {n: blank + places.spread(limit_cells[names == n], flags[names == n]) for n in limits}
    ended = places.spread(cells, patients["ended"].astype(str), "")
    return PartValues(
        places.patient, status, ended, columns, passed, {r: _covered(places, doses, r, blank) for r in covered}
    )


def _covered(places: _Places, doses: pd.DataFrame, region: str, blank: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[arm, patient]: cycles whose true dose is in the stated interval, and cycles that have one."""
    true, guess, sd = (doses[name].to_numpy() for name in ("dose_Gy", "estimated_Gy", "estimated_log_sd"))
    seen = (doses["region"] == region).to_numpy() & np.isfinite(sd) & (true > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = np.abs(np.log(true / guess)) <= HALF_WIDTH_90 * sd + ROUNDING
    cells = places.flat(doses)[seen]
    return places.summed(cells, inside[seen].astype(float)) + blank, places.summed(cells, np.ones(len(cells))) + blank
