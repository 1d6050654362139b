"""What a plan may change, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from pbpk.platelets import PlateletChain
from twin.outlook import MOST_CYCLES


@dataclass(frozen=True)
class PlateletRule:
    """No cycle before platelets are back: `lowest_per_nL` at each next cycle with the plan's probability.

    The chain (`pbpk.platelets`) is a demonstration, not a forecast; `chain` None takes its table's values.
    """

    lowest_per_nL: float = 75.0
    chain: PlateletChain | None = None


@dataclass(frozen=True)
class Choices:
    """Variables of a plan. A pair is a range to choose from, one number is fixed.

    `cycles`: cycles in all, given ones among them; several numbers are tried one by one. Activities lie between
    `floor_MBq` (of every cycle) and `cap_MBq`, in steps of `vial_step_MBq` (None: 1 MBq, or a thousandth of the cap
    where that is less). `interval_days` and `amount_nmol` may be ranges; the amount is the same in all coming cycles
    unless `amount_per_cycle`. `cold_nmol` lists amounts of unlabelled ligand to try, given `cold_lead_h` before.
    `molar_activity_MBq_per_nmol` is the largest that can be made. `trend_log_per_cycle` is what the tumours' uptake is
    assumed to change by.

    `scans` are sets of hours after each administration to choose from, such as ((24,), (24, 96)). `stop_at` names
    limits that a stop rule may watch: then activity, threshold and scans are chosen together. One scan more in each
    cycle must bring `least_gain_per_scan`, a share of the objective (without a rule: of the later activity).

    Raises:
        InputError: a range that is empty, more cycles than an outlook holds, or negative numbers.
    """

    cycles: int | tuple[int, ...] = 4
    cap_MBq: float | None = None
    floor_MBq: float = 0.0
    vial_step_MBq: float | None = None
    interval_days: float | tuple[float, float] | None = None
    amount_nmol: float | tuple[float, float] | None = None
    amount_per_cycle: bool = False
    cold_nmol: tuple[float, ...] = (0.0,)
    cold_lead_h: float = 0.5
    molar_activity_MBq_per_nmol: float | None = None
    trend_log_per_cycle: float = 0.0
    platelets: PlateletRule | None = None
    scans: tuple[tuple[float, ...], ...] = ()
    stop_at: tuple[str, ...] = ()
    least_gain_per_scan: float = 0.01

    def __post_init__(self):
        numbers = self.numbers_of_cycles
        if not numbers or min(numbers) < 1 or max(numbers) > MOST_CYCLES:
            do = "give the number of cycles in all, or several to compare"
            raise InputError(describe("cycles", f"{self.cycles}", f"1 to {MOST_CYCLES}", do))
        for field in ("interval_days", "amount_nmol"):
            low, high = self.range_of(field, (1.0, 1.0))
            if not 0 < low <= high < np.inf:
                raise InputError(describe(field, f"{getattr(self, field)}", "0 < low <= high", "correct the range"))
        for field in ("cap_MBq", "vial_step_MBq", "molar_activity_MBq_per_nmol"):
            value = getattr(self, field)
            if value is not None and not 0 < value < np.inf:
                raise InputError(describe(field, f"{value:g}", "above 0", "correct it, or leave it out"))
        if not 0 <= self.least_gain_per_scan < np.inf:
            found = f"{self.least_gain_per_scan:g}"
            raise InputError(describe("least_gain_per_scan", found, "0 or more", "give a share, such as 0.01"))
        if self.floor_MBq < 0 or not self.cold_nmol or min(self.cold_nmol) < 0 or self.cold_lead_h < 0:
            found = f"floor {self.floor_MBq:g} MBq, cold {self.cold_nmol} nmol {self.cold_lead_h:g} h before"
            raise InputError(describe("choices", found, "0 or more", "correct them"))

    @property
    def numbers_of_cycles(self) -> tuple[int, ...]:
        return (self.cycles,) if isinstance(self.cycles, int) else tuple(self.cycles)

    def range_of(self, field: str, default: tuple[float, float]) -> tuple[float, float]:
        value = getattr(self, field)
        if value is None:
            return default
        return (float(value), float(value)) if np.isscalar(value) else (float(value[0]), float(value[1]))
