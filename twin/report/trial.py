"""The report of a virtual trial: one self-contained page, `report.html`, in the trial's folder.

Design in words, patients counted from enrolment to analysis, endpoints by arm with intervals, figures, power, the
cohort beside published ones, assumptions, versions and seed. Nothing on the page is loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

import numpy as np

from dose.errors import InputError
from twin.report import trial_sections as sections
from twin.report.extras import NOTICE, Picture
from twin.report.html import Markup, bullets, escaped, figure, number, percent
from twin.report.pictures import CSS_PIXELS_PER_INCH
from twin.report.provenance import versions
from twin.trial.power import SURVIVAL, PowerCurve, power_curve
from twin.trial.results import Trial, open_trial
from twin.trial.statistics import counts_table, endpoint_table, survival_curves
from twin.trial.statistics_endpoints import limit_names
from twin.trial.survival import EXACT
from twin.whole import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from twin.trial.survival import Curve

FILE = "report.html"
MOST_COMPARED = 3
"""Arms for which power is drawn."""
QUANTITIES = {"kidney_bed_Gy": "BED of the kidneys (Gy)", "tumour_dose_Gy": "dose of the tumours (Gy)"}
INDEX = "therapeutic index, tumour BED over kidney BED"


@dataclass(frozen=True)
class Results:
    """What the page is made of."""

    trial: Trial
    endpoints: pd.DataFrame
    counts: pd.DataFrame
    curves: dict[str, Curve]
    power: tuple[PowerCurve, ...]
    gate: tuple[dict, ...] | None
    published: pd.DataFrame


def write_report(folder: str | Path) -> Path:
    """Write `report.html` into the folder of a trial, also of one that is not complete (the page says so).

    Raises:
        InputError: no trial there, a part that is missing or cannot be read, a gate.json that is none.
    """
    trial = open_trial(folder, partial=True)
    made = Results(
        trial, endpoint_table(trial), counts_table(trial), survival_curves(trial), tuple(_power(trial)),
        sections.read_gate(trial.folder), sections.published_beside(trial),
    )  # fmt: skip
    path = trial.folder / FILE
    write_whole(path, page(made, tuple(_pictures(made))).encode("utf-8"))
    return path


def page(made: Results, pictures: tuple[Picture, ...]) -> str:
    """The HTML of the page."""
    drawn = lambda name: Markup("".join(figure(p) for p in pictures if p.section == name))
    trial, warnings = made.trial, sections.warnings(made)
    every = (
        ("design", "Design", sections.design(trial)),
        ("patients", "Patients", sections.patients(made)),
        ("results", "Endpoints by arm", sections.endpoints(made) + drawn("results")),
        ("survival", "Survival", drawn("survival") + sections.survival(made)),
        ("cycles", "Cycle by cycle", drawn("cycles")),
        ("power", "Power of a real trial", drawn("power") + sections.power(made)),
        ("published", "Beside published cohorts", sections.published(made)),
        ("assumptions", "Assumptions and limits", sections.assumptions(trial)),
        ("versions", "Versions and seed", sections.provenance(trial)),
    )
    kept = [(name, title, content) for name, title, content in every if content]
    words = {
        "notice": escaped(NOTICE),
        "title": escaped(f"Virtual trial: {trial.design.get('name', trial.folder.name)}"),
        "subtitle": escaped(trial.design.get("question", "")),
        "made": escaped(f"theratwin {versions().get('theratwin', '')}".strip()),
        "conflict": Markup(""),
        "warning_count": f"{len(warnings)} warning{'s' * (len(warnings) != 1)}" if warnings else "No warnings",
        "warning_class": "" if warnings else "none",
        "warnings": bullets(warnings),
        "contents": "".join(f'<a href="#{name}">{escaped(title)}</a>\n' for name, title, _ in kept),
        "sections": "".join(f'<section id="{n}"><h2>{escaped(t)}</h2>\n{c}</section>\n' for n, t, c in kept),
    }
    return Template(files("twin").joinpath("data", "report.html").read_text(encoding="utf-8")).substitute(words)


def _power(trial: Trial) -> Iterator[PowerCurve]:
    """Of tumour dose, the first limit and survival, for the first arms beside the reference."""
    others = [arm for arm in trial.arms if arm != trial.reference][:MOST_COMPARED]
    limits = [f"exceeds_{name}" for name in limit_names(trial)[:1]]
    for endpoint in ("tumour_dose_Gy", *limits, SURVIVAL):
        for arm in others:
            try:
                yield power_curve(trial, endpoint, (trial.reference, arm), seed=int(trial.design.get("seed", 0)))
            except InputError:
                # an arm without results of this kind: the counts above say so
                continue


def _pictures(made: Results) -> Iterator[Picture]:
    from twin import plots_trial as plots

    trial, table = made.trial, made.endpoints
    sample = sections.some_patients(trial, ["arm", *QUANTITIES, "therapeutic_index"])
    by_arm = lambda column: {arm: sample.loc[sample["arm"] == arm, column].to_numpy() for arm in trial.arms}
    said = lambda name: "; ".join(
        f"{r.arm}: {number(r.value)}" for r in sections.each(table[table["endpoint"] == name])
    )
    limits = {QUANTITIES["kidney_bed_Gy"]: bed} if (bed := sections.kidney_bed_limit(trial)) else {}
    panels = {label: by_arm(column) for column, label in QUANTITIES.items()}
    of_whom = f" of {EXACT} patients" if trial.count > EXACT else ""
    doses = plots.distributions(panels, "Doses of the whole course, by arm", limits)
    yield _picture("doses", "results", f"Doses{of_whom} by arm", f"means: {said('tumour_dose_Gy')} Gy", doses)
    index = plots.distributions({INDEX: by_arm("therapeutic_index")}, "Therapeutic index", log=[INDEX])
    yield _picture("index", "results", f"Therapeutic index{of_whom} by arm", said("therapeutic_index"), index)
    passed = table.loc[table["endpoint"].str.startswith("exceeds_").to_numpy(dtype=bool)]
    if np.isfinite(passed["value"].to_numpy(dtype=float)).any():
        yield _picture("limits", "results", "Patients beyond each limit", _shares(passed), _limits(plots, passed))
    if any(len(c.time_d) for c in made.curves.values()):
        words = f"median days: {said('survival_median_d')}"
        yield _picture("survival", "survival", "Survival by arm", words, plots.survival(made.curves))
    for region, values in sections.cycle_doses(trial).items():
        words = f"{region}, {len(values)} arms"
        yield _picture(f"cycles_{region}", "cycles", "Dose cycle by cycle", words, plots.cycle_doses(values, region))
    if made.power:
        words = "; ".join(f"{c.words}, {c.arms[1]}: {sections.needed(c)} patients an arm" for c in made.power)
        caption = "Power over the size of a trial"
        yield _picture("power", "power", caption, words, plots.power(made.power, trial.arms))


def _limits(plots, passed: pd.DataFrame):
    panels = {
        words: {r.arm: (r.value, r.lower95, r.upper95) for r in sections.each(rows)}
        for words, rows in passed.groupby("words", sort=False)
    }
    key = "mark: share of patients; bar: 95 % interval"
    return plots.intervals(panels, "Patients beyond each limit, in truth", key)


def _shares(passed: pd.DataFrame) -> str:
    return "; ".join(
        f"{r.endpoint.removeprefix('exceeds_')}, {r.arm}: {percent(r.value)}" for r in sections.each(passed)
    )


def _picture(name: str, section: str, caption: str, alt: str, drawn) -> Picture:
    from twin.plots import png

    width, height = (round(CSS_PIXELS_PER_INCH * inches) for inches in drawn.get_size_inches())
    return Picture(name, section, caption, alt, (width, height), png(drawn))
