"""The page's controls: what each may be set to. All are sliders, native lists, ticks and buttons with a label."""

from __future__ import annotations

import math

import marimo as mo

from twin.app.desk import Desk
from twin.app.settings import OWN, TAILS, Start, amount_steps, cycles_at_first, kidney_choices
from twin.planning import OBJECTIVES

COARSE, FINE = 0.1, 0.01
"""Steps of the activity sliders: of all cycles and of one, in the desk's unit."""
ABOVE_CAP = 1.5
"""Activities reach to this times the cap, so that one can see what more would do."""
WEEKS = (3, 16)
OWN_GY = (5.0, 60.0)
DOSES_GY = (10, 200)
NO_TUMOUR = ("activity",)
LEAST_PERCENT = -30


def slider(start: float, stop: float, step: float, value: float, label: str, **more) -> mo.ui.slider:
    value = min(max(value, start), stop)
    return mo.ui.slider(start, stop, step, value, label=label, show_value=True, full_width=True, **more)


def cycles(desk: Desk) -> mo.ui.slider:
    return slider(1, desk.most_coming, 1, cycles_at_first(desk), "Coming cycles")


def every_activity(desk: Desk, start: Start, moved) -> mo.ui.slider:
    """The slider of all cycles; `moved` is told of each move."""
    top = math.ceil(desk.cap_MBq / desk.unit_MBq * ABOVE_CAP)
    return slider(COARSE, top, COARSE, start.every, f"Activity of every cycle ({desk.unit})", on_change=moved)


def each_activity(desk: Desk, values) -> mo.ui.array:
    """A slider for each coming cycle; 0 leaves the cycle out."""
    top, first = math.ceil(desk.cap_MBq / desk.unit_MBq * ABOVE_CAP), desk.outlook.first_cycle
    name = lambda k: f"Cycle {first + k} ({desk.unit})"
    return mo.ui.array([slider(0.0, top, FINE, value, name(k)) for k, value in enumerate(values)])


def interval(desk: Desk) -> mo.ui.slider:
    return slider(*WEEKS, 1, round(desk.label.interval_days / 7), "Interval (weeks)")


def amount(desk: Desk) -> mo.ui.slider:
    usual, label = desk.outlook.example.amount_nmol, "Ligand per cycle (nmol)"
    return mo.ui.slider(steps=amount_steps(desk), value=usual, label=label, show_value=True, full_width=True)


def trend(desk: Desk) -> mo.ui.slider:
    return slider(LEAST_PERCENT, 0, 5, 0, "Tumour uptake, change per cycle (%)", disabled=not desk.outlook.lesions)


def kidney_limit(desk: Desk) -> mo.ui.dropdown:
    words = kidney_choices(desk)
    return mo.ui.dropdown(words, value=next(iter(words)), label="Kidney limit")


def own_limit(chosen: str) -> mo.ui.slider:
    """The value of a limit of one's own; waits while another is chosen."""
    return slider(*OWN_GY, 0.5, 30.0, "My own kidney limit (Gy)", disabled=chosen not in OWN)


def marrow(desk: Desk) -> mo.ui.checkbox:
    there = "red_marrow" in desk.outlook.regions
    return mo.ui.checkbox(value=there, label="Marrow dose at most 2 Gy", disabled=not there)


def probability() -> mo.ui.dropdown:
    return mo.ui.dropdown(TAILS, value="95 %", label="Keep limits with probability")


def objective(desk: Desk) -> mo.ui.dropdown:
    names = [n for n in OBJECTIVES if desk.outlook.lesions or n in NO_TUMOUR]
    words = {OBJECTIVES[n]: n for n in names}
    return mo.ui.dropdown(words, value=next(iter(words)), label="Objective", full_width=True)


def target(chosen: str) -> mo.ui.slider:
    return slider(*DOSES_GY, 5, 60, "Dose that each lesion should get (Gy)", disabled=chosen != "lesion_control")


def region(desk: Desk) -> mo.ui.dropdown:
    """Regions of the report, the first one that was measured chosen."""
    names = {name.replace("_", " "): name for name in desk.outlook.regions}
    seen = [text for text, name in names.items() if name in desk.twin.study.observations.region]
    return mo.ui.dropdown(names, value=(seen or list(names))[0], label="Region")


def span(desk: Desk) -> mo.ui.dropdown:
    """The whole course, or the days after one cycle."""
    last = desk.given + desk.most_coming
    words = {"whole course": 0} | {f"cycle {k}": k for k in range(1, last + 1)}
    return mo.ui.dropdown(words, value="whole course", label="Show")


def quantity() -> mo.ui.dropdown:
    return mo.ui.dropdown({"absorbed dose": "dose_Gy", "BED": "bed_Gy"}, value="absorbed dose", label="Table of")


def buttons(desk: Desk) -> tuple[mo.ui.run_button, ...]:
    """Optimise, Pareto front, export."""
    front = mo.ui.run_button(label="Pareto front", disabled=not desk.has_trade, tooltip="takes seconds")
    return mo.ui.run_button(label="Optimise"), front, mo.ui.run_button(label="Export report")


def panel(schedule, limits, optimising, buttons):
    """All controls below each other; `schedule` holds the sliders of single cycles third."""
    cycles, every, each, *others = schedule
    head = lambda text: mo.Html(f"<h2>{text}</h2>")
    rows = [head("Schedule"), cycles, every, mo.accordion({"Each cycle by itself": mo.vstack(list(each))}), *others]
    rows += [head("Limits"), *limits, head("Optimise"), *optimising, mo.hstack(buttons, justify="start", wrap=True)]
    return mo.vstack(rows, gap=0.6)


def illustrate() -> mo.ui.switch:
    return mo.ui.switch(label="Show illustrative outcomes: tumour volume, PSA, platelets")
