"""The job that the engine runs for a design: blocks of patients, all arms on each, as Arrow tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from dose.provenance import numbers_of
from pbpk.batch import in_threads
from twin.trial.cohort_file import require_rows, sha256_of
from twin.trial.course import Course, run_arm
from twin.trial.design import Regimen, TrialDesign
from twin.trial.endpoints import LATE_SCANS_H
from twin.trial.executors import threads
from twin.trial.people import BLOCK, group
from twin.trial.physics import Source
from twin.trial.rows import rows_of
from twin.trial.schema import TABLES, VERSION, arrow_table
from twin.trial.training import estimator_of, scene_of

DEPENDS_ON = {
    "pbpk": ("people.csv", "lesions.csv", "ligands.csv", "physiology.csv", "outcomes.csv"),
    "calibration": ("cohort.csv", "correlations.csv", "noise.csv"),
    "twin": ("limits.csv", "forecast.csv"),
}
"""Tables whose numbers a trial's results depend on."""


@dataclass(frozen=True)
class TrialJob:
    """A design as the engine runs it: `compute` gives the tables of a range of patients.

    Raises:
        InputError: a user's cohort file that has fewer rows than patients, or cannot be read.
    """

    design: TrialDesign

    def __post_init__(self):
        require_rows(self.design.cohort.file, self.design.patients)

    @property
    def patients(self) -> int:
        return self.design.patients

    @property
    def block(self) -> int:
        return BLOCK

    @property
    def tables(self) -> tuple[str, ...]:
        return tuple(TABLES)

    def manifest(self) -> dict:
        """All that the results depend on."""
        prints = {
            f"{package}/{name}": numbers_of(package, name) for package, names in DEPENDS_ON.items() for name in names
        }
        return {
            "design": self.design.model_dump(mode="json"),
            "schema": VERSION,
            "tables": prints,
            "cohort_file_sha256": sha256_of(self.design.cohort.file),
        }

    def compute(self, first: int, last: int) -> dict[str, pa.Table]:
        """Tables of patients first .. last - 1; `first` is the beginning of a block."""
        blocks = range(first // BLOCK, -(-last // BLOCK))
        rows = in_threads(lambda k: block_rows(self.design, k, last), blocks, threads())
        return {name: _stacked(name, [row[name] for row in rows]) for name in TABLES}


def _stacked(table: str, parts: Sequence[dict[str, np.ndarray]]) -> pa.Table:
    return arrow_table(table, {name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def block_rows(design: TrialDesign, block: int, last: int) -> dict[str, dict[str, np.ndarray]]:
    """Columns of each table: all arms of one block."""
    rows = [rows_of(course, last) for course in courses(design, block)]
    return {t: {c: np.concatenate([row[t][c] for row in rows]) for c in rows[0][t]} for t in TABLES}


def courses(design: TrialDesign, block: int) -> list[Course]:
    """Every arm on the same patients; arms with one source share its solve."""
    people, scenes, out = group(design, block), {}, []
    for arm in design.regimens:
        source = source_of(design, arm)
        if source not in scenes:
            scenes[source] = scene_of(people, source)
        out.append(run_arm(scenes[source], arm, estimator_of(design, arm, source)))
    return out


def source_of(design: TrialDesign, arm: Regimen) -> Source:
    """What an arm gives, read at the scans of every arm that gives the same."""
    same = [a for a in design.regimens if (a.tracer, a.amount_nmol) == (arm.tracer, arm.amount_nmol)]
    times = {*LATE_SCANS_H, *(t for a in same for t in a.imaging.times_h)}
    return Source(arm.tracer, arm.amount_nmol, tuple(sorted(times)))
