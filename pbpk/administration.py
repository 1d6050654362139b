"""One administration of a radioligand, and schedules of them."""

from __future__ import annotations

from dataclasses import dataclass

from dose.errors import InputError, describe
from dose.nuclides import radionuclide

HIGHEST_ACTIVITY_MBQ = 50_000.0
"""A single administration above this is refused as a mistaken unit (ENGINEERING.md section 4)."""


@dataclass(frozen=True)
class Administration:
    """Activity and ligand amount given at one time.

    `cycle` 0 is the pre-therapy (diagnostic) administration, 1, 2, ... the therapy cycles. `time_h` counts from the
    start of cycle 1; `amount_nmol` is the total ligand, labelled and unlabelled; `infusion_h` 0 means a bolus.
    `cold_nmol` of unlabelled ligand is given as a bolus `cold_lead_h` before, to fill receptors of organs first.

    Raises:
        InputError: activity not above zero or absurd, amount below the labelled amount, negative infusion.
    """

    cycle: int
    time_h: float
    activity_MBq: float
    amount_nmol: float
    infusion_h: float
    ligand: str
    nuclide: str
    cold_nmol: float = 0.0
    cold_lead_h: float = 0.0

    def __post_init__(self):
        self._check(
            "activity_MBq", 0 < self.activity_MBq <= HIGHEST_ACTIVITY_MBQ, f"between 0 and {HIGHEST_ACTIVITY_MBQ:g} MBq"
        )
        self._check("infusion_h", 0 <= self.infusion_h <= 48, "0 (bolus) to 48 h")
        self._check("time_h", abs(self.time_h) < 1e5, "hours from the start of cycle 1")
        self._check("cold_nmol", 0 <= self.cold_nmol < 1e6, "0 (none) to 1e6 nmol")
        self._check("cold_lead_h", 0 <= self.cold_lead_h <= 168, "0 to 168 h before the administration")
        labelled_nmol = self.labelled_nmol
        self._check(
            "amount_nmol",
            self.amount_nmol >= labelled_nmol * (1 - 1e-9),
            f"at least the labelled {labelled_nmol:.3g} nmol",
        )

    def _check(self, field, good, expected):
        if not good:
            found = f"{getattr(self, field):g}"
            do = "check the unit and the record of the administration"
            raise InputError(describe(f"administration of cycle {self.cycle}: {field}", found, expected, do))

    @property
    def first_h(self) -> float:
        """When the first ligand of this administration is given, labelled or not."""
        return self.time_h - self.cold_lead_h * (self.cold_nmol > 0)

    @property
    def labelled_nmol(self) -> float:
        """Amount of radioactive ligand at administration."""
        return self.activity_MBq / radionuclide(self.nuclide).activity_MBq_per_nmol
