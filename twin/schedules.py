"""Fixed schedules as labelled or customary: twin/data/schedules.csv."""

from __future__ import annotations

from dataclasses import dataclass, replace

from dose.provenance import load_table
from pbpk.administration import Administration
from twin.constraints import activity_cap_MBq


@dataclass(frozen=True)
class FixedSchedule:
    """The same activity in each of `cycles` cycles; `source_id` says whose schedule it is."""

    cycles: int
    activity_MBq: float
    interval_days: float
    source_id: str

    @property
    def words(self) -> str:
        return f"{self.cycles} x {self.activity_MBq / 1000:g} GBq every {self.interval_days / 7:g} weeks"


def label_schedule(ligand: str, nuclide: str) -> FixedSchedule:
    """The schedule of a tracer; of one without a row, four cycles at the activity cap every eight weeks."""
    rows = [r for r in load_table("twin", "schedules.csv") if (r["ligand"], r["nuclide"]) == (ligand, nuclide)]
    if not rows:
        return FixedSchedule(4, activity_cap_MBq(nuclide), 56.0, "assumption")
    value = {r["quantity"]: float(r["value"]) for r in rows}
    return FixedSchedule(int(value["cycles"]), value["activity"], value["interval"], rows[0]["source_id"])


def remaining(fixed: FixedSchedule, example: Administration, last_given_h: float | None) -> tuple[Administration, ...]:
    """The cycles of a fixed schedule that are still to come, as `example` is given, from its cycle on."""
    first_h = example.time_h if last_given_h is None else last_given_h + 24 * fixed.interval_days
    return tuple(
        replace(
            example,
            cycle=c,
            time_h=first_h + 24 * fixed.interval_days * (c - example.cycle),
            activity_MBq=fixed.activity_MBq,
        )
        for c in range(example.cycle, fixed.cycles + 1)
    )
