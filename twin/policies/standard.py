"""The policies that docs/policies.md compares."""

from __future__ import annotations

from twin.constraints import Limit
from twin.policies.cohort import Cohort
from twin.policies.knowing import ChanceTwin, Oracle
from twin.policies.numbers import number
from twin.policies.policy import AbstractPolicy, Fixed, LastCycle, StopRule
from twin.schedules import label_schedule
from twin.study import split_tracer


def standard_policies(cohort: Cohort, limit: Limit) -> dict[str, AbstractPolicy]:
    """The label's fixed schedule, four cycles of it, the stop rule, the last cycle's dose, and twin and oracle twice.

    All that adapt may give the same activity at most: in up to nine cycles of the label's activity (the stop rule, and
    those with nine in their names), or in the label's number of larger ones.
    """
    label, most = label_schedule(*split_tracer(cohort.tracer, "cohort")), int(number("most_cycles", "stop_rule"))
    each, cycles = label.activity_MBq, label.cycles
    few, many = (cycles, each * most / cycles), (most, each)
    return {
        **{f"{n} x {each / 1000:g} GBq": Fixed(each, n) for n in sorted({4, cycles})},
        "stop rule": StopRule(limit, each, most),
        "last cycle": LastCycle(limit, each, *few),
        "chance twin": ChanceTwin(limit, *few),
        f"chance twin, {most} cycles": ChanceTwin(limit, *many),
        "oracle": Oracle(cohort, limit, *few),
        f"oracle, {most} cycles": Oracle(cohort, limit, *many),
    }
