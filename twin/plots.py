"""Figures of a results folder. Each function draws given values on an axis or figure; none computes a result.

Colours are those of Okabe and Ito (told apart with any colour vision); marks differ in shape as well as in colour.
"""

from __future__ import annotations

import io
import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from dose.regions import members
from twin.patient import DoseReport, PatientTwin
from twin.tables import LOWER, UPPER

BLUE, ORANGE, BROWN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#8A5A00", "#D55E00", "#8A8A8A", "#222222"
"""Fitted; forecast; its median; misses; prior and extrapolation; data, truth and limits."""

COLOUR = {"assimilated": BLUE, "forecast": ORANGE}
MARK = {"assimilated": "o", "forecast": "D"}
PANEL_INCHES = (3.1, 2.5)
COLUMNS = 4
NARROW_RANGE = 60.0
"""Ratio of the ends of a log axis below which 2 and 5 are marked beside the decades."""

LABEL_ROOM = 3.0
"""Factor by which the ledger's axis of measurements is longer than its data."""

MOST_LABELS = 14
"""In a ledger of more points only those outside their interval are named."""

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
    "savefig.dpi": 130,
}


def readable(region: str) -> str:
    """ "kidney_left" as "kidney left"."""
    return region.replace("_", " ")


def _grid(count: int, panel=PANEL_INCHES):
    """A figure with `count` axes in rows of up to four, and its axes. Margins are set in inches, which draws once."""
    columns = min(COLUMNS, max(count, 1))
    rows = math.ceil(max(count, 1) / columns)
    width, height = panel[0] * columns + 0.3, panel[1] * rows + 0.6
    figure = Figure(figsize=(width, height))
    margins = {"left": 0.85 / width, "right": 1 - 0.15 / width, "bottom": 0.72 / height, "top": 1 - 0.6 / height}
    gaps = {"wspace": 0.55 / (panel[0] - 0.55), "hspace": 0.5 / (panel[1] - 0.5)}
    axes = figure.subplots(rows, columns, squeeze=False, gridspec_kw=margins | gaps).ravel()
    for spare in axes[count:]:
        spare.set_axis_off()
    return figure, axes[:count]


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
        figure, axes = _grid(len(order))
        for axis, region in zip(axes, order, strict=True):
            is_it = zip(observations.region, observations.cycle, strict=True)
            rows = [k for k, row in enumerate(is_it) if row == (region, cycle)]
            seen = [getattr(observations, name)[rows] for name in ("time_h", "activity_MBq", "sd_MBq")]
            draw_time_activity(axis, region, time_h, bands[region], *seen)
        figure.supxlabel("time after the start of administration (h)")
        figure.supylabel("activity (MBq)", x=0.012)
        what = "line: median, band: 90% interval, points: measured ± 2 sd, grey: extrapolated"
        figure.suptitle(f"Activity in cycle {cycle}    {what}", fontsize=9.5, x=0.01, ha="left")
        return figure


def doses(report: DoseReport, limits=()):
    """A panel a region: dose of each cycle and their sum, with 90% intervals, known truth and limits on the sum.

    `limits` have `region`, `quantity` ("dose_Gy" or "bed_Gy"), `value_Gy` and `name`; those on dose are drawn.
    """
    with matplotlib.rc_context(STYLE):
        figure, axes = _grid(len(report.regions))
        for r, axis in enumerate(axes):
            _doses_of_region(axis, report, r)
            for limit in limits:
                if (limit.region, limit.quantity) == (report.regions[r], "dose_Gy"):
                    _limit_line(axis, limit, axis.get_xlim())
        figure.supxlabel("cycle")
        figure.supylabel("absorbed dose (Gy)", x=0.012)
        figure.suptitle(_dose_key(report), fontsize=9.5, x=0.01, ha="left")
        return figure


def _dose_key(report: DoseReport) -> str:
    key = "Absorbed dose    median and 90% interval; blue circle: after measurements, orange diamond: forecast"
    return key + ("; black cross: known truth" if report.truth_Gy else "")


def _doses_of_region(axis, report: DoseReport, r: int):
    """Doses of each cycle at 0, 1, ...; the sum one place further on."""
    count = len(report.cycles)
    total_kind = "forecast" if "forecast" in report.kind else "assimilated"
    bars = [(report.dose_Gy[:, k, r], report.kind[k]) for k in range(count)]
    bars.append((report.dose_Gy[:, :, r].sum(axis=1), total_kind))
    for x, (draws, kind) in enumerate(bars):
        _interval(axis, x, draws, kind)
    truths = [report.truth_Gy.get((cycle, report.regions[r]), np.nan) for cycle in report.cycles]
    axis.plot(range(count + 1), [*truths, np.sum(truths)], "x", color=BLACK, ms=7, mew=1.8, zorder=5)
    axis.axvline(count - 0.5, color=GREY, linewidth=0.8)
    axis.set_xticks(range(count + 1), [*map(str, report.cycles), "sum"])
    axis.set_xlim(-0.5, count + 0.5)
    axis.set_ylim(bottom=0)
    axis.grid(axis="x", visible=False)
    axis.set_title(readable(report.regions[r]))


def _interval(axis, x, draws, kind):
    middle, low, high = np.percentile(draws, [50, LOWER, UPPER])
    axis.plot([x, x], [low, high], color=COLOUR[kind], linewidth=4, alpha=0.45, solid_capstyle="butt")
    axis.plot(x, middle, MARK[kind], color=COLOUR[kind], ms=5)


def _limit_line(axis, limit, span):
    """A limit on its axis, named on the line, with the axis made high enough to show it."""
    axis.plot(span, [limit.value_Gy] * 2, color=BLACK, linewidth=1.4, linestyle=(0, (5, 2)))
    axis.set_ylim(0, max(axis.get_ylim()[1], 1.18 * limit.value_Gy))
    text = f"limit {limit.value_Gy:g} Gy"
    axis.text(span[0], limit.value_Gy * 1.02, f" {text}", color=BLACK, va="bottom", ha="left", fontsize=8)


def contraction(twin: PatientTwin):
    """Prior and posterior 90% intervals of each parameter relative to the prior median, best learnt on top."""
    with matplotlib.rc_context(STYLE):
        posterior = twin.posterior
        order = np.argsort(posterior.contraction)
        figure = Figure(figsize=(8.2, 1.3 + 0.27 * len(order)), layout="constrained")
        axis = figure.subplots()
        _contraction_rows(axis, posterior, order)
        axis.set_xscale("log")
        plain_log(axis.xaxis)
        axis.set_xlabel("value relative to the population median (prior median = 1)")
        axis.set_ylim(-0.8, len(order) - 0.2)
        figure.suptitle(
            "What the measurements taught    grey: population 90%, blue: this patient 90%; right: variance removed",
            fontsize=9.5,
            x=0.01,
            ha="left",
        )
        return figure


def _contraction_rows(axis, posterior, order):
    lower, upper = posterior.interval90()
    spread = np.exp(1.645 * posterior.prior_log_sd)
    for y, k in enumerate(order):
        axis.plot([1 / spread[k], spread[k]], [y, y], color="#C4C4C4", linewidth=8, solid_capstyle="butt")
        ends = [lower[k] / posterior.prior_median[k], upper[k] / posterior.prior_median[k]]
        axis.plot(ends, [y, y], color=BLUE, linewidth=3.2, solid_capstyle="butt")
        axis.plot(np.exp(posterior.map_log[k]), y, "o", color=BLUE, ms=5)
        share = posterior.contraction[k]
        percent = f"{100 * share:.0f}%" if share > -0.005 else "widened"
        axis.annotate(percent, (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=8)
    axis.axvline(1, color=GREY, linewidth=0.8)
    axis.set_yticks(range(len(order)), [readable(posterior.names[k]) for k in order])


def ledger(twin: PatientTwin):
    """Forecast with 90% interval against what was then measured; the line is equality."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 5.2), layout="constrained")
        axis = figure.subplots()
        for entry in twin.ledger:
            _ledger_point(axis, entry, len(twin.ledger) <= MOST_LABELS)
        values = [value for e in twin.ledger for value in (e.observed_MBq, e.forecast_median_MBq)]
        ends = [0.6 * min(values), 1.6 * max(values)]
        axis.plot(ends, ends, color=GREY, linewidth=0.9, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel="then measured (MBq)", ylabel="forecast before the scan (MBq)")
        axis.set_xlim(ends[0], ends[1] * LABEL_ROOM)
        plain_log(axis.xaxis)
        plain_log(axis.yaxis)
        inside = sum(e.is_inside for e in twin.ledger)
        axis.set_title(f"{inside} of {len(twin.ledger)} measurements inside the 90% forecast interval")
        return figure


def _ledger_point(axis, entry, is_named):
    colour, mark = (BLUE, "o") if entry.is_inside else (RED, "s")
    ends = [entry.forecast_lower90_MBq, entry.forecast_upper90_MBq]
    axis.plot([entry.observed_MBq] * 2, ends, color=colour, linewidth=2.5, alpha=0.5)
    axis.plot(entry.observed_MBq, entry.forecast_median_MBq, mark, color=colour, ms=5)
    if is_named or not entry.is_inside:
        label = f"  {readable(entry.region)}, cycle {entry.cycle}, {entry.time_h:.0f} h"
        axis.text(entry.observed_MBq, entry.forecast_median_MBq, label, fontsize=7, va="center")


def plan_fan(report: DoseReport, limits):
    """A panel a limit: the sum so far after each cycle, as fans of 50% and 90%, against the limit."""
    limits = [limit for limit in limits if limit.region in report.regions]
    with matplotlib.rc_context(STYLE):
        figure, axes = _grid(len(limits), panel=(4.2, 3.4))
        for axis, limit in zip(axes, limits, strict=True):
            _fan(axis, report, limit)
        figure.supxlabel("cycle (activity given, GBq)")
        title = "Plan against its limits    line: median, dark and light band: 50% and 90% of the draws"
        figure.suptitle(title, fontsize=9.5, x=0.01, ha="left")
        return figure


def _fan(axis, report: DoseReport, limit):
    total = np.cumsum(getattr(report, limit.quantity)[:, :, report.regions.index(limit.region)], axis=1)
    x = np.arange(len(report.cycles))
    for low, high, alpha in ((LOWER, UPPER, 0.22), (25, 75, 0.4)):
        axis.fill_between(x, *np.percentile(total, [low, high], axis=0), color=ORANGE, alpha=alpha, linewidth=0)
    axis.plot(x, np.median(total, axis=0), color=BROWN, marker="o", ms=4)
    labels = [f"{c}\n({a / 1000:.2f})" for c, a in zip(report.cycles, report.administered_MBq, strict=True)]
    axis.set_xticks(x, labels)
    axis.set_ylim(bottom=0)
    _limit_line(axis, limit, (-0.2, len(x) - 0.8))
    words = {"bed_Gy": "biologically effective dose", "dose_Gy": "absorbed dose"}[limit.quantity]
    axis.set_ylabel(f"{words} so far (Gy)")
    axis.set_title(readable(limit.region))


def png(figure) -> bytes:
    """The figure as a PNG image."""
    content = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        figure.savefig(content, format="png", facecolor="white")
    return content.getvalue()
