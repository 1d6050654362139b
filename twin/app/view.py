"""The page's words and boxes as HTML, each from given values."""

from __future__ import annotations

import html
from pathlib import Path

import numpy as np

from twin.app.desk import Desk
from twin.app.export import Optimised
from twin.app.figures import summed
from twin.app.words import activity, interval, kind_of, number, readable
from twin.constraints import Limit
from twin.patient import Conflict
from twin.planning import OBJECTIVES, Front
from twin.planning.setting import NEEDS_RESPONSE
from twin.report.planning import knowledge_in_words, price_in_words
from twin.what_if import WhatIf

WARNINGS_ROLE = ' role="region" aria-label="warnings" tabindex="0"'


def patient_line(desk: Desk) -> str:
    """Who it is, what was given and how much was measured."""
    study = desk.twin.study
    given = ", ".join(f"cycle {a.cycle}: {activity(desk, a.activity_MBq)}" for a in desk.outlook.given_administrations)
    text = f"Given so far: {given or 'nothing'}. {len(study.observations)} measurements. {study.source}"
    title = f"{study.id}, {study.nuclide}-{study.ligand}"
    return f"<h1>{html.escape(title)}</h1>{quiet(text)}"


def quiet(text: str) -> str:
    return f'<p class="quiet">{html.escape(text)}</p>'


def warnings_box(desk: Desk, shown: WhatIf | None) -> str:
    """Warnings of the study, the fit and the schedule, each once."""
    twin = desk.twin
    every = (*twin.study.warnings, *twin.posterior.warnings, *desk.outlook.warnings, *(shown.warnings if shown else ()))
    lines = tuple(dict.fromkeys(every))
    if not lines:
        return box("none", "No warnings")
    return box("warn", f"{len(lines)} warning{'s' * (len(lines) > 1)}", lines)


def box(kind: str, title: str, lines=(), after: str = "", name: str = "") -> str:
    """A box with a list; kind "bad" interrupts a screen reader, a long list of warnings scrolls in its box."""
    role = {"bad": ' role="alert"', "plan": ' role="status"', "warn": WARNINGS_ROLE}.get(kind, "")
    rows = "<ul>" + "".join(f"<li>{html.escape(line)}</li>" for line in lines) + "</ul>" if lines else ""
    said = f"<p>{html.escape(after)}</p>" if after else ""
    mark = f' id="{name}"' if name else ""
    return f'<div class="box {kind}"{role}{mark}><strong>{html.escape(title)}</strong>{rows}{said}</div>'


def optimised_box(desk: Desk, made: Optimised, is_current: bool) -> str:
    """What was found, what holds each cycle, what the bounds cost; or why there is nothing."""
    found = made.plan
    if found.conflict is not None:
        return conflict_box(found.conflict, is_current)
    title = f"Optimised for {OBJECTIVES.get(found.objective, 'nothing')}: {number(found.value)}"
    each = [
        f"cycle {a.cycle}: {activity(desk, a.activity_MBq)}, held by {words}"
        for a, words in zip(found.administrations, found.active_constraint, strict=True)
    ]
    prices = [price_in_words(price, found.objective) for price in found.prices]
    prices += [knowledge_in_words(found.knowledge)] if found.knowledge else []
    note = ["tumours that shrink and grow are in this optimum, not in the numbers below"]
    lines = (*each, *prices, *found.warnings, *(note if made.objective in NEEDS_RESPONSE else ()))
    return box("plan", title, lines, "" if is_current else "The controls were changed since.", "optimised")


def conflict_box(conflict: Conflict, is_current: bool) -> str:
    """Limits that no schedule meets together, or one that no schedule meets."""
    alone = len(conflict.members) == 1
    title = "Conflict: no schedule keeps this limit" if alone else "Conflict: no schedule keeps these limits together"
    after = "Loosen one, or change what may vary." if is_current else "The controls were changed since."
    return box("bad", title, conflict.words, after, "conflict")


def error_box(error: Exception) -> str:
    return box("bad", "This cannot be answered", after=str(error), name="error")


def export_box(folder: Path) -> str:
    return box("plan", "Report written to", after=str(folder), name="exported")


def captioned(title: str, drawing: str, caption: str) -> str:
    """A figure under a heading, with words for those who cannot see it."""
    said = html.escape(caption)
    name = html.escape(title)
    return f'<figure aria-label="{name}"><h2>{name}</h2>{drawing}<figcaption>{said}</figcaption></figure>'


def activity_words(shown: WhatIf, region: str) -> str:
    time_h, middle, low, high = shown.activity[region]
    k = int(np.argmax(middle))
    peak = f"{number(middle[k])} MBq ({number(low[k])} to {number(high[k])})"
    when = f"{time_h[k] / 24:.0f} days after cycle 1"
    return f"{readable(region).capitalize()}: at most {peak} in the cycles to come, {when}."


def fan_words(shown: WhatIf, limit: Limit) -> str:
    _, total = summed(shown.report, limit)
    after = f"After the last cycle {interval(total[:, -1])} Gy"
    return f"{after}; limit on kidney {kind_of(limit)} {limit.value_Gy:g} Gy."


def index_words(shown: WhatIf, label: WhatIf | None) -> str:
    other = f"; label schedule {interval(label.therapeutic_index)}" if label is not None else ""
    return f"Tumour BED over kidney BED of the course: {interval(shown.therapeutic_index)}{other}."


def front_words(found: Front, is_current: bool) -> str:
    if not found.points:
        return "No schedule keeps the limits: there is no front."
    ends = [f"{p.kidney_limit_Gy:.3g}" for p in (found.points[0], found.points[-1])]
    said = f"Best mean tumour BED under kidney limits of {ends[0]} to {ends[1]} Gy; medians with 90 % intervals."
    return said if is_current else f"{said} The front is of earlier settings: press the button again."


def no_front() -> str:
    return captioned("Tumour against kidney", "", "Press the button Pareto front to see what each kidney limit allows.")


ILLUSTRATION = (
    "Illustrative models, none validated in patients for radioligand therapy: ranges, never forecasts. "
    "Median and 90 % of the draws."
)
