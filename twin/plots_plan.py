"""Figures of a plan: the course against its limits, the trade between tumour and kidney, the therapeutic index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from twin.patient import Comparison, DoseReport
from twin.plots import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    ORANGE,
    STYLE,
    grid,
    heading,
    limit_line,
    plain_log,
    readable,
)  # fmt: skip
from twin.tables import LOWER, MBQ_PER_GBQ, UPPER

if TYPE_CHECKING:
    from twin.planning.front import Front, FrontPoint

QUANTITY = {"bed_Gy": "biologically effective dose", "dose_Gy": "absorbed dose"}
BESIDE = 0.35
"""Where the label's course stands, in cycles after the last one."""
ROW_INCHES = 0.62
MOST_DOTS = 200


def plan_fan(report: DoseReport, limits, given: Sequence[int] = (), label: Comparison | None = None) -> Figure:
    """A panel a limit: the sum so far after each cycle, as fans of 50% and 90%, against the limit.

    Cycles in `given` are drawn in blue, those to come in orange; `label` is the label's course, drawn beside the end
    where the limit is on the kidneys' BED.
    """
    limits = [limit for limit in limits if limit.region in report.regions]
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(limits), panel=(4.0, 3.0))
        for axis, limit in zip(axes, limits, strict=True):
            _fan(axis, report, limit, sum(c in given for c in report.cycles))
            if label is not None and (limit.region, limit.quantity) == ("kidneys", "bed_Gy"):
                _label_beside(axis, label, len(report.cycles))
            limit_line(axis, limit, axis.get_xlim())
        figure.supxlabel("cycle (activity given, GBq)")
        key = "line: median, bands: 50% and 90% of the draws; blue: given, orange: to come"
        key += "; green square: the label's schedule" if label is not None else ""
        heading(figure, "The course against its limits", key)
        return figure


def _fan(axis, report: DoseReport, limit, given: int):
    """Blue up to the last cycle given, orange from there on."""
    total = np.cumsum(getattr(report, limit.quantity)[:, :, report.regions.index(limit.region)], axis=1)
    x = np.arange(len(report.cycles))
    for colour, line, part in ((BLUE, BLUE, slice(0, given)), (ORANGE, BROWN, slice(max(given - 1, 0), None))):
        for low, high, alpha in ((LOWER, UPPER, 0.22), (25, 75, 0.4)):
            ends = np.percentile(total[:, part], [low, high], axis=0)
            axis.fill_between(x[part], *ends, color=colour, alpha=alpha, linewidth=0)
        axis.plot(x[part], np.median(total[:, part], axis=0), color=line, linewidth=1.5)
    middle = np.median(total, axis=0)
    axis.plot(x[:given], middle[:given], "o", color=BLUE, ms=5)
    axis.plot(x[given:], middle[given:], "D", color=BROWN, ms=4.5)
    labels = [f"{c}\n({a / MBQ_PER_GBQ:.2f})" for c, a in zip(report.cycles, report.administered_MBq, strict=True)]
    axis.set_xticks(x, labels)
    axis.set_xlim(-0.3, len(x) - 0.7)
    axis.set_ylim(bottom=0)
    axis.set_ylabel(f"{QUANTITY[limit.quantity]} so far (Gy)")
    axis.set_title(readable(limit.region))


def _label_beside(axis, label: Comparison, cycles: int):
    """Median and 90% interval of the label's whole course, right of the last cycle."""
    middle, low, high = np.percentile(label.kidney_bed_Gy, [50, LOWER, UPPER])
    x = cycles - 1 + BESIDE
    axis.plot([x, x], [low, high], color=GREEN, linewidth=3, alpha=0.5, solid_capstyle="butt")
    axis.plot(x, middle, "s", color=GREEN, ms=6)
    text = f"label, {label.cycles} cycles,\n{label.activity_MBq / MBQ_PER_GBQ:.1f} GBq"
    axis.annotate(text, (x, middle), xytext=(7, 0), textcoords="offset points", fontsize=7.5, va="center", color=GREEN)
    axis.set_xlim(right=x + 0.28 * cycles + 0.4)
    axis.set_ylim(0, max(axis.get_ylim()[1], 1.06 * high))


def pareto(front: Front, chosen: Comparison | None = None) -> Figure:
    """Best tumour BED for each kidney limit, with 90% intervals; the label's schedule and the plan marked."""
    with matplotlib.rc_context(STYLE):
        figure, (axis,) = grid(1, panel=(7.4, 4.0))
        kidney, tumour = (np.array([_quantiles(getattr(p, n)) for p in front.points]).reshape(-1, 3)
                          for n in ("kidney_bed_Gy", "tumour_bed_Gy"))  # fmt: skip
        axis.fill_between(kidney[:, 1], tumour[:, 0], tumour[:, 2], color=BLUE, alpha=0.16, linewidth=0)
        axis.hlines(tumour[:, 1], kidney[:, 0], kidney[:, 2], color=BLUE, alpha=0.35, linewidth=2)
        axis.plot(kidney[:, 1], tumour[:, 1], "o-", color=BLUE, ms=4, linewidth=1.3)
        for point, (_, x, _), (_, y, _) in zip(front.points, kidney, tumour, strict=True):
            _named(axis, point, x, y)
        for made, mark, colour, words in ((front.label, "s", GREEN, "label"), (chosen, "D", BROWN, "this plan")):
            if made is not None:
                _marked(axis, made, mark, colour, words)
        axis.set(xlabel="BED of the kidneys over the course (Gy)", ylabel="mean BED of the tumours (Gy)")
        axis.set_xlim(left=0)
        axis.set_ylim(bottom=0)
        key = (
            "blue: the best schedule under each kidney limit, its GBq beside it; medians, bars and band: 90%; green "
            "square: label; brown diamond: this plan"
        )
        heading(figure, "Trade between tumour and kidney", key)
        return figure


def _quantiles(draws) -> np.ndarray:
    return np.percentile(draws, [LOWER, 50, UPPER])


def _named(axis, point: FrontPoint, x: float, y: float):
    text = f"{point.activity_MBq / MBQ_PER_GBQ:.0f}"
    axis.annotate(text, (x, y), xytext=(-14, 5), textcoords="offset points", fontsize=7.5, color=BLUE)


def _marked(axis, made: Comparison, mark: str, colour: str, words: str):
    """A schedule as a cross of its 90% intervals."""
    (left, x, right), (low, y, high) = _quantiles(made.kidney_bed_Gy), _quantiles(made.tumour_bed_Gy)
    axis.plot([left, right], [y, y], color=colour, linewidth=1.2)
    axis.plot([x, x], [low, high], color=colour, linewidth=1.2)
    axis.plot(x, y, mark, color=colour, ms=8, mec="white", mew=0.8, zorder=5)
    text = f"{words}, {made.activity_MBq / MBQ_PER_GBQ:.1f} GBq"
    axis.annotate(text, (x, y), xytext=(9, -14), textcoords="offset points", fontsize=8.5, color=colour, weight="bold")


def therapeutic_index(schedules: Sequence[Comparison]) -> Figure:
    """A row a schedule: tumour BED over kidney BED of every draw, with the median, 50% and 90%."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.2, 1.5 + ROW_INCHES * len(schedules)), layout="constrained")
        axis = figure.subplots()
        for y, made in enumerate(reversed(schedules)):
            _index_row(
                axis, y, made, GREEN if made.name.startswith("label") else ORANGE if y + 1 < len(schedules) else BLUE
            )
        axis.set(xscale="log", xlabel="BED of the tumours over BED of the kidneys", ylim=(-0.6, len(schedules) - 0.4))
        plain_log(axis.xaxis)
        axis.set_yticks(range(len(schedules)), [_in_lines(made.name) for made in reversed(schedules)])
        axis.grid(axis="y", visible=False)
        key = "a dot is one draw; circle and number: median, thick and thin bar: 50% and 90% of the draws"
        heading(figure, "Therapeutic index", key)
        return figure


def _index_row(axis, y: int, made: Comparison, colour: str):
    index = np.sort(made.tumour_bed_Gy / made.kidney_bed_Gy)
    shown = index[:: max(1, len(index) // MOST_DOTS)]
    shake = 0.28 * np.sin(2.4 * np.arange(len(shown)))
    axis.plot(shown, y + shake, ".", color=colour, ms=3, alpha=0.45)
    low, quarter, middle, three, high = np.percentile(index, [LOWER, 25, 50, 75, UPPER])
    axis.plot([low, high], [y, y], color=BLACK, linewidth=1.1)
    axis.plot([quarter, three], [y, y], color=BLACK, linewidth=4, solid_capstyle="butt")
    axis.plot(middle, y, "o", color="white", mec=BLACK, ms=5.5)
    axis.annotate(f"{middle:.3g}", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=9)


def _in_lines(name: str) -> str:
    return name.replace(": ", ":\n")
