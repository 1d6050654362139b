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

    def __post_init__(self):
        self._check(
            "activity_MBq", 0 < self.activity_MBq <= HIGHEST_ACTIVITY_MBQ, f"between 0 and {HIGHEST_ACTIVITY_MBQ:g} MBq"
        )
        self._check("infusion_h", 0 <= self.infusion_h <= 48, "0 (bolus) to 48 h")
        self._check("time_h", abs(self.time_h) < 1e5, "hours from the start of cycle 1")
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
    def labelled_nmol(self) -> float:
        """Amount of radioactive ligand at administration."""
        return self.activity_MBq / radionuclide(self.nuclide).activity_MBq_per_nmol
