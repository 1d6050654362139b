"""Settings of the registration, each with its row in `imaging/data/registration.csv`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from dose.errors import InputError, describe
from dose.provenance import load_table

STAGES = ("rigid", "affine", "bspline")
METRICS = ("mutual_information", "correlation")
EMISSION = ("PET", "SPECT")


@cache
def _table() -> dict[str, float]:
    return {row["name"]: float(row["value"]) for row in load_table("imaging", "registration.csv")}


def setting(name: str) -> float:
    """The value of one row of the table."""
    return _table()[name]


@dataclass(frozen=True)
class Settings:
    """How one registration is run; None takes the table's value.

    One thread adds up the metric in one order: the same input and seed give the same transform, rounding apart.
    """

    stages: tuple[str, ...] = STAGES
    metric: str = "mutual_information"
    spacing_mm: float | None = None
    control_spacing_mm: float | None = None
    sampling_share: float | None = None
    seed: int = 20261121
    threads: int = 1

    def __post_init__(self):
        unknown = [s for s in self.stages if s not in STAGES]
        ordered = [s for s in STAGES if s in self.stages] == list(self.stages)
        if unknown or not ordered or not self.stages:
            expected = f"some of {', '.join(STAGES)}, in this order, each once"
            raise InputError(describe("stages", f"{self.stages}", expected, "correct the list of stages"))
        if self.metric not in METRICS:
            expected = f'"auto" or one of {", ".join(METRICS)}'
            raise InputError(describe("metric", f'"{self.metric}"', expected, "choose one"))
        for name in ("spacing_mm", "control_spacing_mm", "sampling_share"):
            given = getattr(self, name)
            if given is not None and not 0 < given < float("inf"):
                raise InputError(describe(name, f"{given}", "a positive number", "correct it, or leave it out"))
        if not 0 < self.seed < 2**31 or self.threads < 1:
            expected = "a seed from 1 to 2147483647 and one thread or more"
            raise InputError(describe("seed, threads", f"{self.seed}, {self.threads}", expected, "correct them"))

    @property
    def working_mm(self) -> float:
        return self.spacing_mm or setting("working_spacing")

    @property
    def control_mm(self) -> float:
        return self.control_spacing_mm or setting("control_spacing")

    def share_of(self, voxels: int) -> float:
        """Share of that many voxels in the metric: the one given, else the table's, but no fewer than `samples`."""
        if self.sampling_share is not None:
            return min(1.0, self.sampling_share)
        return min(1.0, max(setting("sampling_share"), setting("samples") / voxels))


def metric_for(fixed: str, moving: str) -> str:
    """Correlation between two emission images, mutual information otherwise and where modalities are not known."""
    both_emission = fixed in EMISSION and moving in EMISSION
    return "correlation" if both_emission and fixed == moving else "mutual_information"
