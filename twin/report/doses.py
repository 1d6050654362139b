"""The table of doses: a row a region, a column a cycle, the sum of the course at the end."""

from __future__ import annotations

import numpy as np

from twin.patient import DoseReport
from twin.report.html import Interval, Markup, escaped, number, paragraph, percent, table
from twin.tables import MBQ_PER_GBQ

WORDS = (
    "Median and, below it, the 90% interval of the posterior's draws, in Gy. In a measured cycle “tail” is the part of "
    "the time-integrated activity after that region's last measurement, which the model supplies. doses.csv has all of "
    "this, and the time-integrated activities of every cycle."
)


MOST_CYCLES = 6
"""Columns of cycles that fit on a printed page; more begin another table."""


def doses(report: DoseReport) -> Markup:
    """The section's text and tables; nothing where no cycle is in the report."""
    if not report.cycles:
        return Markup("")
    every = range(len(report.cycles))
    parts = [every[k : k + MOST_CYCLES] for k in every[::MOST_CYCLES]]
    tables = "".join(_table(report, part, part is parts[-1]) for part in parts)
    return Markup(paragraph(WORDS) + tables + _truth_words(report))


def _table(report: DoseReport, part: range, is_last: bool) -> Markup:
    """Some of the cycles; the course at the end."""
    head = ["region", "mass, g", *(_title(report, k) for k in part)]
    head += ["dose of the course, Gy", "BED of the course, Gy", "Gy/GBq"] if is_last else []
    rows = [[*_mass(report, r), *(_cell(report, k, r) for k in part), *(_course(report, r) if is_last else ())]
            for r in range(len(report.regions))]  # fmt: skip
    words = ", ".join(str(report.cycles[k]) for k in part)
    return table(head, rows, f"Absorbed dose by region, cycles {words}")


def _title(report: DoseReport, k: int) -> Markup:
    kind = {"assimilated": "measured", "forecast": "forecast"}[report.kind[k]]
    given = f"{number(report.administered_MBq[k] / MBQ_PER_GBQ)} GBq"
    return Markup(f"cycle {report.cycles[k]}<br><small>{given}<br>{kind}</small>")


def _mass(report: DoseReport, r: int) -> list:
    return [report.regions[r].replace("_", " "), float(report.mass_g[r])]


def _course(report: DoseReport, r: int) -> list:
    """Dose, BED and dose per activity of all cycles together."""
    dose, bed = report.dose_Gy[:, :, r].sum(axis=1), report.bed_Gy[:, :, r].sum(axis=1)
    per_GBq = np.median(dose) * MBQ_PER_GBQ / np.sum(report.administered_MBq)
    total = _with_truth(Interval.of(dose), [_truth(report, k, r) for k in range(len(report.cycles))])
    return [total, Markup(escaped(Interval.of(bed))), float(per_GBq)]


def _truth(report: DoseReport, k: int, r: int) -> float:
    return report.truth_Gy.get((report.cycles[k], report.regions[r]), float("nan"))


def _cell(report: DoseReport, k: int, r: int) -> Markup:
    fraction = report.extrapolated_fraction[k, r]
    shown = _with_truth(Interval.of(report.dose_Gy[:, k, r]), [_truth(report, k, r)])
    if report.kind[k] == "assimilated" and np.isfinite(fraction):
        shown += f"<br><small>tail {percent(fraction)}</small>"
    return Markup(shown)


def _with_truth(found: Interval, truths) -> Markup:
    known = float(np.sum(truths))
    return Markup(escaped(found) + (f"<br><small>truth {number(known)}</small>" if np.isfinite(known) else ""))


def _truth_words(report: DoseReport) -> Markup:
    text = "A virtual patient: “truth” is the dose of the parameters that made the images."
    return paragraph(text if report.truth_Gy else "", "quiet")
