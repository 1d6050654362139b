"""The plan in words: objective, schedule and comparisons, what each bound costs, the limits and who set them."""

from __future__ import annotations

import numpy as np

from dose.provenance import sources
from twin.patient import Comparison, Knowledge, Plan, Price, ScanWorth
from twin.report.html import Interval, Markup, bullets, escaped, number, paragraph, percent, table
from twin.tables import HOURS_PER_DAY, MBQ_PER_GBQ

WORTH = {
    "mean_tumour_dose": "Gy of mean tumour dose",
    "mean_tumour_bed": "Gy of mean tumour BED",
    "worst_lesion_eubed": "Gy of equivalent uniform BED in the lesion that gets least",
    "lesion_control": "of the probability that every lesion gets its target",
    "tumour_volume": "of the logarithm of tumour volume",
    "therapeutic_index": "of tumour BED over kidney BED",
    "least_activity": "GBq",
    "activity": "GBq in all",
}
"""What one unit of each objective is."""
QUANTITIES = {
    "tumour_dose_Gy": "mean tumour dose, Gy",
    "tumour_bed_Gy": "tumour BED, Gy",
    "kidney_bed_Gy": "kidney BED, Gy",
}
"""What schedules are compared by."""
RULE = {
    "chance": "with probability",
    "expectation": "on average",
    "cvar": "on average over the worst share of",
}


ALONE = "No schedule meets this limit, so none is proposed."
TOGETHER = (
    "No schedule meets these limits together, so none is proposed. Without any one of them the others can be met."
)


def planning(plan: Plan, probability: float) -> Markup:
    """The section, from the objective to the limits."""
    parts = [_objective(plan), _administrations(plan), _schedules(plan), _said(plan), limits_table(plan, probability)]
    return Markup("".join(parts))


def conflict(plan: Plan) -> Markup:
    """A red box where no schedule meets the limits."""
    if plan.conflict is None:
        return Markup("")
    words = ALONE if len(plan.conflict.members) == 1 else TOGETHER
    return Markup(
        f'<div class="conflict" role="alert"><strong>The limits conflict.</strong> {words}'
        f"{bullets(plan.conflict.words)}</div>\n"
    )


def _objective(plan: Plan) -> Markup:
    if not plan.objective:
        return Markup("")
    from twin.planning import OBJECTIVES

    words = OBJECTIVES.get(plan.objective, plan.objective)
    reached = f" It comes to {number(plan.value)}." if np.isfinite(plan.value) else ""
    return paragraph(f"Objective: {words}.{reached}")


def _administrations(plan: Plan) -> Markup:
    if not plan.administrations:
        return paragraph("No administration is proposed.")
    head = ["cycle", "day", "activity, MBq", "ligand, nmol", "unlabelled before, nmol", "what stopped it growing"]
    rows = [
        [str(a.cycle), a.time_h / HOURS_PER_DAY, f"{a.activity_MBq:.5g}", a.amount_nmol, a.cold_nmol, said]
        for a, said in zip(plan.administrations, plan.active_constraint, strict=True)
    ]
    if plan.stopping is not None:
        head.append("given to")
        rows = [[*row, percent(share)] for row, share in zip(rows, plan.stopping.given, strict=True)]
    return table(head, rows, "Proposed administrations")


def _schedules(plan: Plan) -> Markup:
    """The plan, the label and what else was tried; without these, the chance of passing each limit alone."""
    if not plan.schedules:
        passing = plan.probability_exceeded.items()
        return bullets([f"chance of {_passing(plan, name)[0]} {name}: {percent(p, 1)}" for name, p in passing])
    names = list(plan.schedules[0].exceeded)
    quantities = [(name, title) for name, title in QUANTITIES.items() if _is_there(plan, name)]
    head = ["schedule", "cycles", "activity in all, GBq", *(title for _, title in quantities)]
    head += [f"{_passing(plan, name)[1]} {name}" for name in names]
    rows = [_schedule(s, [name for name, _ in quantities], names) for s in plan.schedules]
    return Markup(
        "<h3>Beside other schedules</h3>"
        + table(head, rows, "Schedules compared, cycles given included")
        + paragraph("Medians and 90% intervals of the whole course, cycles given included.", "quiet")
    )


def _is_there(plan: Plan, quantity: str) -> bool:
    """Whether any schedule has it: a patient without a tumour has no tumour dose."""
    return any(np.any(getattr(s, quantity) > 0) for s in plan.schedules)


def _passing(plan: Plan, name: str) -> tuple[str, str]:
    """Limits are passed, demands are missed."""
    demanded = any(lim.name == name and lim.at_least for lim in plan.limits)
    return ("missing", "misses") if demanded else ("passing", "passes")


def _schedule(s: Comparison, quantities, limits) -> list:
    found = [Interval.of(getattr(s, name)) for name in quantities]
    chances = [percent(s.exceeded.get(name, float("nan")), 1) for name in limits]
    return [s.name, s.cycles, s.activity_MBq / MBQ_PER_GBQ, *found, *chances]


def _said(plan: Plan) -> Markup:
    lines = [price_in_words(price, plan.objective) for price in plan.prices]
    lines += [knowledge_in_words(plan.knowledge)] if plan.knowledge else []
    lines += [scan_in_words(plan.scans[0])] if plan.scans else []
    return Markup(f"<h3>What binds, and what it costs</h3>{bullets(lines)}" if lines else "")


def scan_in_words(worth: ScanWorth) -> str:
    """What the scans to make of the coming cycle are worth."""
    hours = ", ".join(f"{h:g}" for h in worth.times_h)
    return (
        f"Scan {worth.region} {hours} h after the coming cycle: on average the cycles after it could get "
        f"{worth.relative:.0%} more activity within the limits ({number(worth.gain_Gy)} Gy of tumour dose), "
        f"{worth.share:.0%} of what knowing its kinetics exactly would allow"
    )


def price_in_words(price: Price, objective: str) -> str:
    """ "1 Gy more of kidney_bed_40 would add 1.36 Gy of mean tumour dose"."""
    worth = WORTH.get(objective, "of the objective")
    value, unit = price.value, f"1 {price.per}"
    if price.per == "share of it":
        value, unit = price.value / 100, "1%"
    amount = f"{number(abs(float(value)))} {worth}"
    if objective == "least_activity":
        return f"{unit} more of {price.bound} would {'save' if value >= 0 else 'need another'} {amount}"
    return f"{unit} more of {price.bound} would {'add' if value >= 0 else 'take away'} {amount}"


def knowledge_in_words(known: Knowledge) -> str:
    """What knowing the patient exactly would allow."""
    total = known.activity_MBq.sum(axis=-1) if known.activity_MBq.ndim > 1 else known.activity_MBq
    ends, gain = Interval.of(total / MBQ_PER_GBQ), _more(known.worth_MBq / MBQ_PER_GBQ, "GBq")
    dose = f" and {_more(known.worth_Gy, 'Gy')} of mean tumour dose" if np.any(known.tumour_dose_Gy > 0) else ""
    return (
        f"Knowing this patient exactly would allow {gain} on average (to come {number(ends.median)}, "
        f"{number(ends.lower)} to {number(ends.upper)} GBq){dose}: more than any further scan can be worth"
    )


def _more(amount: float, unit: str) -> str:
    return f"{number(abs(float(amount)))} {unit} {'more' if amount >= 0 else 'less'}"


def limits_table(plan: Plan, probability: float) -> Markup:
    """Every limit of the plan with its source and who set it."""
    if not plan.limits:
        return Markup("")
    head = ["limit", "region", "quantity", "value, Gy", "per", "rule", "source", "set by"]
    return Markup(
        "<h3>Limits</h3>" + table(head, [_limit(lim, probability) for lim in plan.limits], "Limits of the plan")
    )


def _limit(lim, probability: float) -> list:
    record = limit_record(lim, probability)
    sign = "at least" if lim.at_least else "at most"
    quantity = {"dose_Gy": "absorbed dose", "bed_Gy": "BED", "eubed_Gy": "EUBED"}[lim.quantity]
    region, value = lim.region.replace("_", " "), Markup(f"{sign} {escaped(lim.value_Gy)}")
    return [lim.name, region, quantity, value, lim.per, record["rule"], record["source"], lim.set_by]


def limit_record(lim, probability: float) -> dict:
    """A limit as JSON has it, its rule and source in words."""
    tail = lim.tail or probability
    share = {"chance": f" {percent(1 - tail)}", "expectation": "", "cvar": f" {percent(tail)}"}[lim.rule]
    found = sources("twin").get(lim.source_id)
    cited = f"{found.citation} [{lim.source_id}]" if found else lim.source_id
    names = ("name", "region", "quantity", "value_Gy", "per", "at_least", "set_by")
    kept = {name: getattr(lim, name) for name in names}
    return kept | {"rule": RULE[lim.rule] + share, "tail": tail, "source": cited}
