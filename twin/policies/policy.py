"""Policies: rules that give each patient the next activity from what was measured so far.

A policy is one small class with one method, which sees a `State`. Here are the ones that need no model. Of a limit they
read region, quantity and value; its `rule` and `tail` are for `twin.planning`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dose.errors import InputError, describe
from twin.constraints import Limit
from twin.policies.amounts import largest
from twin.policies.belief import DoseBelief
from twin.policies.cohort import index
from twin.policies.measure import Measured


@dataclass(frozen=True)
class State:
    """What is known before cycle number `cycle` (from 0): `activity_MBq` [patient, cycle] given, what was measured of
    it, and the estimator's `belief`."""

    cycle: int
    regions: tuple[str, ...]
    activity_MBq: np.ndarray
    measured: Measured
    belief: DoseBelief

    @property
    def patients(self) -> int:
        return len(self.activity_MBq)

    def terms_Gy(self, limit: Limit) -> tuple[np.ndarray, np.ndarray]:
        """Measured parts of a limit's quantity, linear and quadratic in activity, of each cycle, [patient, cycle]."""
        k = index(self.regions, limit.region)
        if limit.quantity == "dose_Gy":
            return self.measured.dose_Gy[..., k], np.zeros_like(self.measured.dose_Gy[..., k])
        linear = self.measured.weighted_Gy[..., k]
        return linear, self.measured.bed_Gy[..., k] - linear


class AbstractPolicy(ABC):
    """A rule for the next activity. With `pauses` an activity of 0 leaves out one cycle; else it ends the therapy."""

    pauses: ClassVar[bool] = False

    @abstractmethod
    def activity_MBq(self, state: State) -> np.ndarray:
        """Activity of the next cycle, [patient]."""


@dataclass(frozen=True)
class Fixed(AbstractPolicy):
    """The same activity in each of a number of cycles, whatever is measured.

    Raises:
        InputError: an activity or number of cycles not above zero; as all policies.
    """

    each_MBq: float
    cycles: int

    def __post_init__(self):
        above_zero(each_MBq=self.each_MBq, cycles=self.cycles)

    def activity_MBq(self, state: State) -> np.ndarray:
        return np.full(state.patients, self.each_MBq if state.cycle < self.cycles else 0.0)


@dataclass(frozen=True)
class StopRule(AbstractPolicy):
    """The same activity until one more cycle, as large as the last one measured, would pass the limit.

    After the phase II trial of Sundlov 2022 (renal BED 27, then 40 Gy), without its other reasons to stop.
    """

    limit: Limit
    each_MBq: float
    most_cycles: int

    def __post_init__(self):
        above_zero(each_MBq=self.each_MBq, most_cycles=self.most_cycles)
        of_course(self.limit)

    def activity_MBq(self, state: State) -> np.ndarray:
        if state.cycle == 0:
            return np.full(state.patients, self.each_MBq)
        each_Gy = np.add(*state.terms_Gy(self.limit))
        goes_on = each_Gy.sum(axis=1) + each_Gy[:, -1] <= self.limit.value_Gy
        return np.where(goes_on & (state.cycle < self.most_cycles), self.each_MBq, 0.0)


@dataclass(frozen=True)
class LastCycle(AbstractPolicy):
    """A fixed first activity; then what the limit leaves by measurement, spread evenly over the cycles to come, at the
    last cycle's measured Gy per MBq (the way of Menda 2018, which had three cycles of 90Y-DOTATOC)."""

    limit: Limit
    first_MBq: float
    cycles: int
    cap_MBq: float

    def __post_init__(self):
        above_zero(first_MBq=self.first_MBq, cycles=self.cycles, cap_MBq=self.cap_MBq)
        of_course(self.limit)

    def activity_MBq(self, state: State) -> np.ndarray:
        if state.cycle == 0:
            return np.full(state.patients, self.first_MBq)
        linear, quadratic = state.terms_Gy(self.limit)
        to_come = self.cycles - state.cycle
        left = self.limit.value_Gy - linear.sum(axis=1) - quadratic.sum(axis=1)
        last = np.where(state.activity_MBq[:, -1] > 0, state.activity_MBq[:, -1], np.inf)
        if to_come <= 0:
            return np.zeros(state.patients)
        # a stopped patient has no last dose; one of 1 Gy/MBq keeps the division quiet, and its 0 stands anyway
        per_MBq = np.where(np.isinf(last), 1.0, linear[:, -1] / last)
        return np.minimum(largest(to_come * per_MBq, to_come * quadratic[:, -1] / last**2, left), self.cap_MBq)


def above_zero(**fields: float) -> None:
    """Refuse activities and numbers of cycles that are not above zero."""
    for name, value in fields.items():
        if not 0 < value < float("inf"):
            raise InputError(describe(f"policy: {name}", f"{value:g}", "a number above 0", "correct it"))


def of_course(limit: Limit) -> None:
    """Refuse what is no upper limit on dose or BED of one region over the whole course."""
    if limit.per != "course" or limit.at_least or limit.quantity not in ("dose_Gy", "bed_Gy"):
        demand = "demand on" if limit.at_least else "limit on"
        found = f"a {demand} {limit.quantity} per {limit.per}"
        do = 'take twin.constraints.limit("kidney_bed_40"), for instance'
        raise InputError(describe(f"policy: limit {limit.name}", found, "a limit on dose or BED per course", do))
