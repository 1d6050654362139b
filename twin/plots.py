"""Figures of curves and doses, and what all figures share. Each function draws given values; none computes a result.

Colours are those of Okabe and Ito (told apart with any colour vision); marks differ in shape as well as in colour. The
others: `plots_plan`, `plots_ledger`, `plots_learning`, `plots_lesions`, `plots_sensitivity`.
"""

from __future__ import annotations

import io
import math
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dose.regions import members
from twin.patient import DoseReport
from twin.tables import LOWER, UPPER

BLUE, ORANGE, BROWN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#8A5A00", "#D55E00", "#8A8A8A", "#222222"
"""Fitted; forecast; its median; misses; prior and extrapolation; data, truth and limits."""
GREEN = "#00785A"
"""The label's schedule."""

COLOUR = {"assimilated": BLUE, "forecast": ORANGE}
MARK = {"assimilated": "o", "forecast": "D"}
PANEL_INCHES = (3.1, 2.15)
LEAST_INCHES = 6.4
"""Width that a figure has even with one panel, so that its heading fits."""
HEADING_INCHES = 0.8
LETTERS_PER_INCH = 14.5
COLUMNS = 3
"""Panels beside each other: with more, their words are too small on a printed page."""
NARROW_RANGE = 60.0
"""Ratio of the ends of a log axis below which 2 and 5 are marked beside the decades."""

STYLE = {
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "savefig.dpi": 160,
}


def readable(region: str) -> str:
    """ "kidney_left" as "kidney left"."""
    return region.replace("_", " ")


def grid(count: int, panel=PANEL_INCHES):
    """A figure with `count` axes in rows of COLUMNS, and its axes. Margins are set in inches, which draws once."""
    columns = min(COLUMNS, max(count, 1))
    rows = math.ceil(max(count, 1) / columns)
    panel = (max(panel[0], LEAST_INCHES / columns), panel[1])
    width, height = panel[0] * columns + 0.3, panel[1] * rows + HEADING_INCHES
    figure = Figure(figsize=(width, height))
    top = 1 - HEADING_INCHES / height
    margins = {"left": 0.85 / width, "right": 1 - 0.15 / width, "bottom": 0.72 / height, "top": top}
    gaps = {"wspace": 0.55 / (panel[0] - 0.55), "hspace": 0.5 / (panel[1] - 0.5)}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=margins | gaps).ravel()
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


def heading(figure, title: str, key: str = "") -> None:
    """What the figure shows and, below, what its marks mean, broken to the figure's width."""
    width, height = figure.get_size_inches()
    text = "\n".join([title, *textwrap.wrap(key, int(LETTERS_PER_INCH * width))])
    place = {} if figure.get_layout_engine() else {"y": 1 - 0.08 / height, "va": "top"}
    figure.suptitle(text, fontsize=9.5, x=0.012, ha="left", **place)


def plain_log(axis):
    """Plain numbers on a logarithmic axis of matplotlib: 1, 2, 5 in a narrow range, decades in a wide one."""
    low, high = axis.get_view_interval()
    narrow = high / low < NARROW_RANGE
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def draw_time_activity(axis, region, time_h, band, seen_h, seen_MBq, seen_sd_MBq):
    """One region: median and 90% band, measurements with two sd, and shade where no measurement follows."""
    median, lower, upper = band
    last = max(seen_h, default=0.0)
    axis.fill_between(time_h, lower, upper, color=BLUE, alpha=0.22, linewidth=0)
    axis.plot(time_h, median, color=BLUE, linewidth=1.4)
    axis.errorbar(seen_h, seen_MBq, yerr=2 * np.asarray(seen_sd_MBq), fmt="o", color=BLACK, ms=4, lw=1, capsize=2)
    axis.axvspan(last, float(np.max(time_h)), color=GREY, alpha=0.13, linewidth=0)
    axis.set_yscale("log")
    shown = np.concatenate([np.asarray(seen_MBq, float), np.asarray(median)[np.asarray(time_h) > 0.5]])
    shown = shown[shown > 0]
    if shown.size:
        axis.set_ylim(max(shown.min() * 0.4, shown.max() * 1e-4), shown.max() * 2.5)
    plain_log(axis.yaxis)
    axis.set_xlim(0, float(np.max(time_h)))
    axis.set_title(readable(region))
    return axis


def panel_order(bands, measured) -> list[str]:
    """Measured regions by name, then the others; a union is left out where its parts are drawn."""
    drawn = [r for r in bands if r in measured or members(r) == (r,) or not set(members(r)) <= set(bands)]
    return sorted(drawn, key=lambda r: (r not in measured, r))


def time_activity(cycle: int, time_h, bands: dict, observations):
    """A panel a region of one cycle; `bands` maps region to (median, lower, upper) in MBq at `time_h`."""
    with matplotlib.rc_context(STYLE):
        order = panel_order(bands, observations.of_cycle(cycle).region)
        figure, axes = grid(len(order))
        for axis, region in zip(axes, order, strict=True):
            is_it = zip(observations.region, observations.cycle, strict=True)
            rows = [k for k, row in enumerate(is_it) if row == (region, cycle)]
            seen = [getattr(observations, name)[rows] for name in ("time_h", "activity_MBq", "sd_MBq")]
            draw_time_activity(axis, region, time_h, bands[region], *seen)
        figure.supxlabel("time after the start of administration (h)")
        figure.supylabel("activity (MBq)", x=0.012)
        what = "line: median, band: 90% interval, points: measured ± 2 sd, grey: extrapolated"
        heading(figure, f"Activity in cycle {cycle}", what)
        return figure


def doses(report: DoseReport, limits=()):
    """A panel a region: dose of each cycle and their sum, with 90% intervals, known truth and limits on the sum.

    `limits` have `region`, `quantity` ("dose_Gy" or "bed_Gy"), `value_Gy` and `name`; those on dose are drawn.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(report.regions))
        for r, axis in enumerate(axes):
            _doses_of_region(axis, report, r)
            for limit in limits:
                if (limit.region, limit.quantity) == (report.regions[r], "dose_Gy"):
                    limit_line(axis, limit, axis.get_xlim())
        figure.supxlabel("cycle")
        figure.supylabel("absorbed dose (Gy)", x=0.012)
        heading(figure, "Absorbed dose of each cycle and their sum", _dose_key(report))
        return figure


def _dose_key(report: DoseReport) -> str:
    key = "median and 90% interval; blue circle: after measurements, orange diamond: forecast"
    return key + ("; black cross: known truth" if report.truth_Gy else "")


def _doses_of_region(axis, report: DoseReport, r: int):
    """Doses of each cycle at 0, 1, ...; the sum one place further on."""
    count = len(report.cycles)
    total_kind = "forecast" if "forecast" in report.kind else "assimilated"
    bars = [(report.dose_Gy[:, k, r], report.kind[k]) for k in range(count)]
    bars.append((report.dose_Gy[:, :, r].sum(axis=1), total_kind))
    for x, (draws, kind) in enumerate(bars):
        interval(axis, x, draws, kind)
    truths = [report.truth_Gy.get((cycle, report.regions[r]), np.nan) for cycle in report.cycles]
    axis.plot(range(count + 1), [*truths, np.sum(truths)], "x", color=BLACK, ms=7, mew=1.8, zorder=5)
    axis.axvline(count - 0.5, color=GREY, linewidth=0.8)
    axis.set_xticks(range(count + 1), [*map(str, report.cycles), "sum"])
    axis.set_xlim(-0.5, count + 0.5)
    axis.set_ylim(bottom=0)
    axis.grid(axis="x", visible=False)
    axis.set_title(readable(report.regions[r]))


def interval(axis, x, draws, kind):
    """Median and 90% interval of draws at a place of the axis, blue where measurements were used, else orange."""
    middle, low, high = np.percentile(draws, [50, LOWER, UPPER])
    axis.plot([x, x], [low, high], color=COLOUR[kind], linewidth=4, alpha=0.45, solid_capstyle="butt")
    axis.plot(x, middle, MARK[kind], color=COLOUR[kind], ms=5)


def limit_line(axis, limit, span):
    """A limit on its axis, named on the line, with the axis made high enough to show it."""
    axis.plot(span, [limit.value_Gy] * 2, color=BLACK, linewidth=1.4, linestyle=(0, (5, 2)))
    axis.set_ylim(0, max(axis.get_ylim()[1], 1.18 * limit.value_Gy))
    text = f"limit {limit.value_Gy:g} Gy"
    axis.text(span[0], limit.value_Gy * 1.02, f" {text}", color=BLACK, va="bottom", ha="left", fontsize=8)


def png(figure) -> bytes:
    """The figure as a PNG image."""
    content = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(content, format="png", facecolor="white")
    return content.getvalue()
