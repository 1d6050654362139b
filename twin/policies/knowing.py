"""Policies that plan with knowledge of a patient: the twin's belief, or the truth, which `Oracle` alone is handed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dose.errors import InputError, describe
from twin.constraints import Limit
from twin.policies.amounts import best_split, largest
from twin.policies.cohort import Cohort
from twin.policies.policy import AbstractPolicy, State, above_zero, of_course

TAIL = 0.05
"""Probability with which the twin's policy may pass its limit."""


@dataclass(frozen=True)
class ChanceTwin(AbstractPolicy):
    """The largest equal activity of the cycles to come with which the whole course passes the limit with probability
    `tail` at most, as the belief has it; planned again before each cycle."""

    limit: Limit
    cycles: int
    cap_MBq: float
    tail: float = TAIL

    def __post_init__(self):
        above_zero(cycles=self.cycles, cap_MBq=self.cap_MBq)
        of_course(self.limit)
        if not 0 < self.tail <= 0.5:
            do = "give the probability of passing the limit, such as 0.05"
            raise InputError(describe("tail", f"{self.tail:g}", "above 0, up to 0.5", do))

    def activity_MBq(self, state: State) -> np.ndarray:
        if state.cycle >= self.cycles:
            return np.zeros(state.patients)
        linear, quadratic = state.belief.terms(self.limit)
        now, given = state.cycle, state.activity_MBq[:, None]
        past = np.sum(linear[..., :now] * given + quadratic[..., :now] * given**2, axis=2)
        coming = (np.sum(x[..., now : self.cycles], axis=2) for x in (linear, quadratic))
        allowed = largest(*coming, self.limit.value_Gy - past)
        return np.minimum(np.quantile(allowed, self.tail, axis=1, method="lower"), self.cap_MBq)


@dataclass(frozen=True)
class Oracle(AbstractPolicy):
    """The activities with the largest tumour dose (mean by mass) that keep the limit in truth, drift to come included:
    what no policy of as many cycles that never passes the limit can better. It may leave out a cycle."""

    pauses: ClassVar[bool] = True
    truth: Cohort
    limit: Limit
    cycles: int
    cap_MBq: float

    def __post_init__(self):
        above_zero(cycles=self.cycles, cap_MBq=self.cap_MBq)
        of_course(self.limit)

    def activity_MBq(self, state: State) -> np.ndarray:
        if state.cycle >= self.cycles:
            return np.zeros(state.patients)
        linear, quadratic = (x[:, : self.cycles] for x in self.truth.terms(self.limit))
        gain = self.truth.tumour_dose[:, : self.cycles]
        return best_split(gain, linear, quadratic, self.limit.value_Gy, self.cap_MBq)[:, state.cycle]
