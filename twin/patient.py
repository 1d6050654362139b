"""The patient's record and twin: immutable values that the verbs turn into new values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from calibration.observations import Observations
from calibration.posterior import Posterior
from pbpk.administration import Administration
from pbpk.anatomy import STANDARD, Anatomy
from pbpk.parameters import Covariates


@dataclass(frozen=True)
class Study:
    """One patient's data as read from files: nothing fitted yet.

    `volumes_mL` maps regions to segmented volumes; `truth_Gy` maps (cycle, region) to the known absorbed dose of a
    virtual patient and is empty for real ones; `warnings` are shown in every report; `source` says in words where
    the data came from. `anatomy` divides kidneys or adds small glands; `amino_acids` says whether they were infused
    with the ligand (None: as its table assumes).
    """

    id: str
    covariates: Covariates
    ligand: str
    nuclide: str
    administrations: tuple[Administration, ...]
    observations: Observations
    volumes_mL: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    source: str = ""
    truth_Gy: dict[tuple[int, str], float] = field(default_factory=dict)
    anatomy: Anatomy = STANDARD
    amino_acids: bool | None = None


@dataclass(frozen=True)
class LedgerEntry:
    """A forecast beside the observation that followed it (activities in MBq, 90% interval)."""

    cycle: int
    region: str
    time_h: float
    observed_MBq: float
    forecast_median_MBq: float
    forecast_lower90_MBq: float
    forecast_upper90_MBq: float
    crps: float | None = None
    """Continuous ranked probability score of the log activity against the predictive draws; lower is
    better; None in twins of before it was kept."""

    @property
    def is_inside(self) -> bool:
        return self.forecast_lower90_MBq <= self.observed_MBq <= self.forecast_upper90_MBq


@dataclass(frozen=True, repr=False)
class PatientTwin:
    """A study with its posterior and its ledger of forecasts against what was later seen.

    `posterior` stands after the last cycle that was measured; `earlier` holds (cycle, posterior) as they stood after
    the cycles before, oldest first.
    """

    study: Study
    posterior: Posterior
    ledger: tuple[LedgerEntry, ...] = ()
    provenance: dict[str, str] = field(default_factory=dict)
    earlier: tuple[tuple[int, Posterior], ...] = ()

    def __repr__(self) -> str:
        study, given = self.study, [a.cycle for a in self.study.administrations]
        what = f"{study.nuclide}-{study.ligand}, cycles {given}, {len(study.observations)} measurements"
        return f"PatientTwin({what}, {len(self.posterior.draws)} draws of {len(self.posterior.names)} parameters)"

    @property
    def cycle(self) -> int:
        """The therapy cycle that `posterior` describes; a scan before therapy is taken to describe the first."""
        return max((*self.study.observations.cycle, 1))


@dataclass(frozen=True, repr=False)
class DoseReport:
    """Absorbed doses with draws.

    `dose_Gy`, `bed_Gy` and `tia_MBq_h` have shape [draw, cycle, region]; `administered_MBq`, `kind`
    ("forecast" or "assimilated") and `cycles` have shape [cycle]; `extrapolated_fraction` [cycle, region] is the part
    of the time-integrated activity after the last measurement of that region (1 where there is none).
    `mass_g` has shape [region]. `weighted_Gy`, of the same shape as the dose, is the dose weighted by relative
    biological effectiveness, the part of the BED that is linear in activity; None where it is the dose itself.
    """

    regions: tuple[str, ...]
    cycles: tuple[int, ...]
    administered_MBq: np.ndarray
    kind: tuple[str, ...]
    dose_Gy: np.ndarray
    bed_Gy: np.ndarray
    tia_MBq_h: np.ndarray
    mass_g: np.ndarray
    extrapolated_fraction: np.ndarray
    truth_Gy: dict[tuple[int, str], float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    weighted_Gy: np.ndarray | None = None

    def __repr__(self) -> str:
        shape = f"{len(self.dose_Gy)} draws, cycles {list(self.cycles)}, {len(self.regions)} regions"
        return f"DoseReport({shape}; .table() shows it)"

    def table(self):
        """A pandas table: one row a cycle and region, then one cumulative row a region."""
        from twin.tables import doses_table

        return doses_table(self)

    @property
    def linear_bed_Gy(self) -> np.ndarray:
        return self.dose_Gy if self.weighted_Gy is None else self.weighted_Gy


@dataclass(frozen=True)
class Price:
    """What one more unit of a bound is worth: change of the objective per Gy, per GBq, per nmol or per day."""

    bound: str
    value: float
    per: str


@dataclass(frozen=True)
class Comparison:
    """What a schedule does: its objective, activity in all, tumour dose and BED (by mass) and kidney BED (Gy, [draw]),
    and the chance of passing each limit."""

    name: str
    objective: float
    activity_MBq: float
    cycles: int
    tumour_dose_Gy: np.ndarray
    tumour_bed_Gy: np.ndarray
    kidney_bed_Gy: np.ndarray
    exceeded: dict[str, float]


@dataclass(frozen=True)
class Knowledge:
    """What knowing the patient exactly would allow: per draw, the plan's activities scaled to that draw's own limits.

    `activity_MBq` in all to come and `tumour_dose_Gy` of the course, [draw]; `worth_MBq` and `worth_Gy` are the means
    less the plan's own.
    """

    activity_MBq: np.ndarray
    tumour_dose_Gy: np.ndarray
    worth_MBq: float
    worth_Gy: float


@dataclass(frozen=True)
class ScanWorth:
    """Scans of `region` at `times_h` of the coming cycle: mean gain of later activity and of mean tumour dose, with the
    standard error of the first; `share` is the first over what knowing the region's kinetics exactly would give and
    `relative` the first over the later activity planned."""

    times_h: tuple[float, ...]
    region: str
    gain_MBq: float
    gain_sd_MBq: float
    gain_Gy: float
    share: float
    relative: float


@dataclass(frozen=True)
class Stopping:
    """A stop rule that was planned, on what scans at `scans_h` of each cycle show of the limit's `region`.

    No further cycle is given once the estimates of the cycles so far and one more like the last pass `threshold_Gy` of
    `quantity`. `given` [cycle to come] is the share of patients, as the data allow them, who get each cycle;
    `fixed_objective` what the best schedule without a rule comes to (NaN where none meets the limits).
    """

    limit: str
    region: str
    quantity: str
    threshold_Gy: float
    scans_h: tuple[float, ...]
    given: np.ndarray
    fixed_objective: float

    def goes_on(self, estimated_Gy: Sequence[float]) -> bool:
        """Whether another cycle is given after these estimates (Gy) of every cycle so far, past ones included."""
        each = np.asarray(estimated_Gy, float)
        return bool(each.sum() + each[-1] <= self.threshold_Gy)


@dataclass(frozen=True)
class Conflict:
    """Limits that no schedule meets together: words for each, and by how much the least violating schedule passes it.

    `members` are the names of an irreducible set: without any one of them the others can be met.
    """

    members: tuple[str, ...]
    words: tuple[str, ...]
    excess: dict[str, float]

    def __str__(self) -> str:
        return "limits conflict: " + "; ".join(self.words)


@dataclass(frozen=True, repr=False)
class Plan:
    """A schedule with its forecast and, per cycle, the constraint that stopped it growing.

    `limits` hold with 1 - `probability` where they don't say otherwise. `objective` is the word of what was maximised
    and `value` what it came to; `prices` what each active bound costs; `schedules` compares with the label and with the
    other numbers of cycles and amounts of cold ligand that were tried, the plan first; `conflict` is set where no
    schedule meets the limits (then no cycle is planned). `scans` are the protocols weighed for the coming cycle, the
    one to make first (empty where none was asked for or none is worth it). With `stopping` the cycles are given only
    as long as its rule lets them, and `forecast` and `schedules[0]` count that in.
    """

    administrations: tuple[Administration, ...]
    active_constraint: tuple[str, ...]
    forecast: DoseReport
    probability_exceeded: dict[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    objective: str = ""
    value: float = float("nan")
    prices: tuple[Price, ...] = ()
    schedules: tuple[Comparison, ...] = ()
    knowledge: Knowledge | None = None
    conflict: Conflict | None = None
    limits: tuple = ()
    probability: float = 0.05
    scans: tuple[ScanWorth, ...] = ()
    stopping: Stopping | None = None

    def __repr__(self) -> str:
        if self.conflict is not None:
            return f"Plan({self.conflict})"
        given = ", ".join(f"{a.activity_MBq / 1000:g}" for a in self.administrations) or "nothing"
        return f"Plan({given} GBq to come; {self.objective} {self.value:.4g}; .table() shows it)"

    def table(self):
        """The administrations as a pandas table, with what stopped each from growing."""
        from twin.tables import schedule_table

        return schedule_table(self)
