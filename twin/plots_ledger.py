"""Figures of forecasts against the measurements that followed: each one, their trend, and how often intervals hold."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from scipy.stats import beta, norm

from twin.patient import LedgerEntry
from twin.plots import BLACK, BLUE, GREY, ORANGE, RED, STYLE, grid, heading, plain_log, readable

LABEL_ROOM = 3.0
"""Factor by which the ledger's axis of measurements is longer than its data."""
MOST_LABELS = 14
"""In a ledger of more points only those outside their interval are named."""
LEAST_FOR_COVERAGE = 8
"""Forecasts below which shares inside intervals say nothing."""
LEVELS = (0.5, 0.8, 0.95)
RATIOS = (0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0)
MARKS = ("o", "s", "^", "D", "v", "P")
COLOURS = (BLUE, ORANGE, "#00785A", "#CC79A7", "#56B4E9", BLACK)
"""Of the cycles, in turn."""


def ledger(entries: Sequence[LedgerEntry]) -> Figure:
    """Forecast with 90% interval against what was then measured; the line is equality."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axis = figure.subplots()
        for entry in entries:
            _point(axis, entry, len(entries) <= MOST_LABELS)
        values = [value for e in entries for value in (e.observed_MBq, e.forecast_median_MBq)]
        ends = [0.6 * min(values), 1.6 * max(values)]
        axis.plot(ends, ends, color=GREY, linewidth=0.9, zorder=0)
        axis.set(xscale="log", yscale="log", xlabel="then measured (MBq)", ylabel="forecast before the scan (MBq)")
        axis.set_xlim(ends[0], ends[1] * LABEL_ROOM)
        plain_log(axis.xaxis)
        plain_log(axis.yaxis)
        inside = sum(e.is_inside for e in entries)
        key = "point: median, bar: 90% interval, grey line: equality, red square: outside"
        heading(figure, f"{inside} of {len(entries)} measurements inside the 90% forecast interval", key)
        return figure


def _point(axis, entry: LedgerEntry, is_named: bool):
    colour, mark = (BLUE, "o") if entry.is_inside else (RED, "s")
    ends = [entry.forecast_lower90_MBq, entry.forecast_upper90_MBq]
    axis.plot([entry.observed_MBq] * 2, ends, color=colour, linewidth=2.5, alpha=0.5)
    axis.plot(entry.observed_MBq, entry.forecast_median_MBq, mark, color=colour, ms=5)
    if is_named or not entry.is_inside:
        label = f"  {readable(entry.region)}, cycle {entry.cycle}, {entry.time_h:.0f} h"
        axis.text(entry.observed_MBq, entry.forecast_median_MBq, label, fontsize=7, va="center")


def residuals(entries: Sequence[LedgerEntry]) -> Figure:
    """Measured over forecast: against the hour of the scan, and region by region; a colour and mark a cycle."""
    with matplotlib.rc_context(STYLE):
        regions = sorted({e.region for e in entries})
        figure = Figure(figsize=(9.6, max(3.6, 1.5 + 0.24 * len(regions))), layout="constrained")
        by_time, by_region = figure.subplots(1, 2)
        for k, cycle in enumerate(sorted({e.cycle for e in entries})):
            mine = [e for e in entries if e.cycle == cycle]
            look = {"color": COLOURS[k % len(COLOURS)], "marker": MARKS[k % len(MARKS)], "ms": 5, "alpha": 0.8}
            ratio = [_ratio(e) for e in mine]
            by_time.plot([e.time_h for e in mine], ratio, linestyle="", label=f"cycle {cycle}", **look)
            by_region.plot(ratio, [regions.index(e.region) for e in mine], linestyle="", **look)
        _trend(by_time, entries)
        _ratio_axes(by_time, by_region, [_ratio(e) for e in entries])
        by_region.set_yticks(range(len(regions)), [readable(r) for r in regions])
        key = "1: as forecast; line: median of each hour; a drift away from 1 says what the model misses"
        heading(figure, "What was measured, over what was forecast", key)
        return figure


def _ratio(entry: LedgerEntry) -> float:
    return entry.observed_MBq / entry.forecast_median_MBq


def _trend(axis, entries):
    """Median ratio of each hour of scanning."""
    hours = sorted({round(e.time_h) for e in entries})
    middle = [float(np.median([_ratio(e) for e in entries if round(e.time_h) == hour])) for hour in hours]
    axis.plot(hours, middle, color=BLACK, linewidth=1.2, zorder=0)
    axis.legend(frameon=False, fontsize=8, loc="best")


def _ratio_axes(by_time, by_region, ratios):
    """Logarithmic axes of a ratio, alike on both panels, with 1 drawn."""
    low, high = 0.93 * min(ratios), 1.07 * max(ratios)
    by_time.set(yscale="log", ylim=(low, high), xlabel="time after administration (h)", ylabel="measured / forecast")
    by_region.set(xscale="log", xlim=(low, high), xlabel="measured / forecast")
    for axis in (by_time.yaxis, by_region.xaxis):
        axis.set_major_locator(FixedLocator([r for r in RATIOS if low <= r <= high]))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_locator(NullLocator())
    by_time.axhline(1, color=GREY, linewidth=1)
    by_region.axvline(1, color=GREY, linewidth=1)


def coverage(entries: Sequence[LedgerEntry]) -> Figure:
    """Share of measurements inside central forecast intervals, against the share that should be.

    The ledger keeps the median and the 90% bounds; other intervals are those of a normal of the log on either side of
    the median, with the sd that its own bound gives.
    """
    with matplotlib.rc_context(STYLE):
        figure, (axis,) = grid(1, panel=(6.4, 3.2))
        level = np.linspace(0.02, 0.98, 97)
        axis.plot([0, 1], [0, 1], color=GREY, linewidth=1)
        held = np.array([_level(e) for e in entries])
        axis.step(level, [np.mean(held <= p) for p in level], color=BLUE, linewidth=1.4, where="post")
        for p in LEVELS:
            _held(axis, p, int(np.sum(held <= p)), len(held))
        axis.set(
            xlim=(0, 1), ylim=(0, 1.02), xlabel="interval of the forecast", ylabel="share of measurements inside it"
        )
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.0f}%"))
        key = (
            f"{len(held)} forecasts, normal on the log scale; bars: 90% interval of the share at 50, 80 and 95%, as if "
            "forecasts were independent (those of one scan are not)"
        )
        heading(figure, "Do the forecast's intervals hold what they promise?", key)
        return figure


def _level(entry: LedgerEntry) -> float:
    """The smallest central interval that holds the measurement."""
    away = np.log(entry.observed_MBq / entry.forecast_median_MBq)
    bound = entry.forecast_upper90_MBq if away > 0 else entry.forecast_lower90_MBq
    sd = np.log(bound / entry.forecast_median_MBq) / norm.ppf(0.95)
    return float(2 * norm.cdf(abs(away / sd)) - 1)


def _held(axis, level: float, inside: int, count: int):
    """The share with its 90% interval (Jeffreys)."""
    low, high = beta.ppf([0.05, 0.95], inside + 0.5, count - inside + 0.5)
    axis.plot([level] * 2, [low, high], color=BLUE, linewidth=4, alpha=0.4, solid_capstyle="butt")
    axis.plot(level, inside / count, "o", color=BLUE, ms=6)
    axis.annotate(f"{inside}/{count}", (level, inside / count), xytext=(7, -3), textcoords="offset points", fontsize=8)
