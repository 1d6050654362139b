"""Draws docs/figures/single_time_point.png from the JSON beside it: error of each method against the hour of the scan.

Run from the root of the checkout: `.venv/bin/python docs/figures/single_time_point.py`. The numbers come from
`OMP_NUM_THREADS=1 .venv/bin/python -m tests.validate.stp_comparison` (minutes; a name after it runs that method alone).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from twin.plots import STYLE, readable

FIGURE = Path(__file__).with_suffix(".png")
RESULTS = Path(__file__).with_suffix(".json")
LOOK = {
    "Hänscheid 2017": ("#E69F00", "-", "o"),
    "Hänscheid 2018": ("#E69F00", ":", "s"),
    "Madsen 2018": ("#E69F00", "--", "^"),
    "Jackson 2020": ("#56B4E9", "-", "o"),
    "Wang 2023, model 1": ("#56B4E9", ":", "s"),
    "Wang 2023, model 2": ("#56B4E9", "--", "^"),
    "Gomes 2024": ("#009E73", "-", "D"),
    "Devasia 2021": ("#0072B2", "-", "o"),
    "Hardiansyah 2023": ("#0072B2", ":", "s"),
    "patient Teff": ("#6B6B6B", "-", "v"),
    "PBPK posterior": ("#D55E00", "-", "*"),
    "PBPK posterior, PET": ("#D55E00", "--", "*"),
}
THICK = ("PBPK posterior", "PBPK posterior, PET")
"""Colours: clearance from one number, cohort curves, biomarkers, mixed effects, an earlier cycle."""
OWN = ("#CC79A7", "-", "*")
"""Methods that a reader added to the comparison."""
TITLE = {1.0: "patients like the training's", 1.3: "30% above the training's"}
TICKS = (5, 10, 20, 50, 100)


def lines(axis, rows: list[dict], region: str, shift: float) -> None:
    """RMSE of every method against hour, on a log scale."""
    mine = [r for r in rows if r["region"] == region and r["shift"] == shift]
    for name in dict.fromkeys(r["method"] for r in mine):
        colour, dash, marker = LOOK.get(name, OWN)
        points = sorted((r["time_h"], r["rmse"]) for r in mine if r["method"] == name)
        width = 2.4 if name in THICK or name not in LOOK else 1.5
        axis.plot(*zip(*points), color=colour, linestyle=dash, marker=marker, markersize=4, linewidth=width, label=name)
    axis.set_yscale("log")
    axis.set_ylim(5, 110)
    axis.set_yticks(TICKS, [f"{t}%" for t in TICKS])
    axis.yaxis.set_minor_locator(NullLocator())
    axis.set_xticks(sorted({r["time_h"] for r in mine}), [f"{t:g}" for t in sorted({r["time_h"] for r in mine})])
    axis.set_title(f"{readable(region)}, {TITLE[shift]}")


def draw(rows: list[dict]) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.4, 6.6), layout="constrained")
        axes = figure.subplots(2, 2, sharex=True, sharey=True)
        for column, region in enumerate(dict.fromkeys(r["region"] for r in rows)):
            for row, shift in enumerate(TITLE):
                lines(axes[row, column], rows, region, shift)
        figure.supxlabel("hour of the one scan", fontsize=10)
        figure.supylabel("RMSE of the time-integrated activity", fontsize=10)
        figure.legend(
            *axes[0, 0].get_legend_handles_labels(), loc="outside right center", frameon=False, handlelength=3
        )
        return figure


if __name__ == "__main__":
    draw(json.loads(RESULTS.read_text(encoding="utf-8"))).savefig(FIGURE, dpi=130)
