"""Figures of a virtual trial: doses by arm, limits passed, survival with numbers at risk, power, doses by cycle."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from twin.plots import (
    BLACK,
    BLUE,
    BROWN,
    GREEN,
    GREY,
    LEAST_INCHES,
    ORANGE,
    RED,
    STYLE,
    grid,
    heading,
    plain_log,
    readable,
)  # fmt: skip
from twin.tables import LOWER, UPPER

if TYPE_CHECKING:
    from twin.trial.power import PowerCurve
    from twin.trial.survival import Curve

COLOURS = (BLUE, ORANGE, GREEN, RED, BROWN, GREY, BLACK, "#CC79A7")
MARKS = ("o", "D", "s", "^", "v", "P", "X", "*")
LINES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (6, 2, 1.5, 2)))
MOST_ARMS = len(COLOURS)
"""Arms that a figure draws: more could not be told apart. The tables have all."""
NAME_LETTERS = 20
ROW_INCHES = 0.52
POINTS, WIDTH = 200, 0.4
HIGHEST = 99.5
"""Percentile up to which a distribution is drawn: a few patients must not squeeze all others."""


def wrapped(name: str) -> str:
    return "\n".join(textwrap.wrap(name, NAME_LETTERS)) or name


def distributions(
    panels: Mapping[str, Mapping[str, np.ndarray]],
    title: str,
    limits: Mapping[str, float] | None = None,
    log: Sequence[str] = (),
) -> Figure:
    """A panel a quantity (its axis label) with a row an arm: density, median, 50 and 90 %; limits by the quantity."""
    with matplotlib.rc_context(STYLE):
        arms = list(next(iter(panels.values())))[:MOST_ARMS]
        figure, axes = _rows(len(panels), arms, 3.1)
        for axis, (label, values) in zip(axes, panels.items(), strict=True):
            for y, arm in enumerate(arms):
                _violin(axis, np.asarray(values[arm]), y, COLOURS[y], label in log)
            if limits and label in limits:
                axis.axvline(limits[label], color=BLACK, linewidth=1.4, linestyle=(0, (5, 2)))
                axis.text(limits[label], -0.5, f" limit {limits[label]:g} Gy", fontsize=8, va="top")
            axis.set_xlabel(label)
        key = "shape: patients; white: median; bars: 50 % and 90 % of the patients"
        heading(figure, title, key)
        return figure


def _rows(count: int, arms: Sequence[str], panel_inches: float):
    """Panels beside each other that share rows, one an arm, the first on top."""
    names = [wrapped(a) for a in arms]
    size = max(LEAST_INCHES, 1.6 + panel_inches * count), 1.5 + ROW_INCHES * len(arms)
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, count, sharey=True, squeeze=False)[0]
    axes[0].set_yticks(range(len(arms)), names)
    axes[0].set_ylim(len(arms) - 0.4, -0.75)
    for axis in axes:
        axis.grid(axis="y", visible=False)
        axis.tick_params(axis="y", length=0)
    return figure, axes


def _violin(axis, values: np.ndarray, y: int, colour: str, log: bool):
    values = values[np.isfinite(values) & ((values > 0) | (not log))]
    if not len(values):
        axis.text(0.5, y, "no result", transform=axis.get_yaxis_transform(), ha="center", va="center", fontsize=8)
        return
    if log:
        axis.set_xscale("log")
        plain_log(axis.xaxis)
    shown = values[values <= np.percentile(values, HIGHEST)]
    scale = np.log(shown) if log else shown
    if np.ptp(scale) > 0:
        from scipy.stats import gaussian_kde

        place = np.linspace(scale.min(), scale.max(), POINTS)
        density = gaussian_kde(scale)(place)
        half = WIDTH * density / density.max()
        axis.fill_between(np.exp(place) if log else place, y - half, y + half, color=colour, alpha=0.3, linewidth=0)
    low, quarter, middle, rest, high = np.percentile(values, [LOWER, 25, 50, 75, UPPER])
    axis.plot([low, high], [y, y], color=colour, linewidth=1.6, solid_capstyle="butt")
    axis.plot([quarter, rest], [y, y], color=colour, linewidth=6, solid_capstyle="butt")
    axis.plot(middle, y, "o", color="white", ms=5, mec=colour, mew=1.4)


def intervals(panels: Mapping[str, Mapping[str, tuple[float, float, float]]], title: str, key: str) -> Figure:
    """A panel a share (its axis label) with a row an arm: value and 95 % interval."""
    with matplotlib.rc_context(STYLE):
        arms = list(next(iter(panels.values())))[:MOST_ARMS]
        figure, axes = _rows(len(panels), arms, 2.6)
        for axis, (label, values) in zip(axes, panels.items(), strict=True):
            for y, arm in enumerate(arms):
                value, low, high = values[arm]
                axis.plot([low, high], [y, y], color=COLOURS[y], linewidth=4, alpha=0.45, solid_capstyle="butt")
                axis.plot(value, y, MARKS[y], color=COLOURS[y], ms=6)
            axis.xaxis.set_major_formatter(PercentFormatter(1.0))
            axis.set_xlim(left=0)
            axis.set_xlabel("\n".join(textwrap.wrap(label, 34)))
        heading(figure, title, key)
        return figure


def survival(curves: Mapping[str, Curve]) -> Figure:
    """Kaplan-Meier's curve of each arm with its 95 % band, and the numbers at risk below."""
    with matplotlib.rc_context(STYLE):
        arms = list(curves)[:MOST_ARMS]
        figure = Figure(figsize=(7.6, 4.2 + 0.26 * len(arms)), layout="constrained")
        axis, below = figure.subplots(2, 1, sharex=True, height_ratios=[3.2, 0.4 + 0.26 * len(arms)])
        for k, arm in enumerate(arms):
            _survival(axis, curves[arm], arm, k)
        end = max((c.time_d[-1] for c in curves.values() if len(c.time_d)), default=1.0)
        axis.set(xlim=(0, end), ylim=(0, 1.02), ylabel="alive")
        axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axis.legend(loc="lower left", frameon=False, fontsize=8)
        _at_risk(below, [(arm, curves[arm]) for arm in arms], axis.get_xticks(), end)
        heading(figure, "Survival (tumour-burden model)", "bands: 95 %; ticks: follow-up ended; below: numbers at risk")
        return figure


def _survival(axis, curve: Curve, arm: str, k: int):
    start = lambda values: np.insert(np.nan_to_num(values, nan=1.0), 0, 1.0)
    days, line = np.insert(curve.time_d, 0, 0.0), np.insert(curve.survival, 0, 1.0)
    axis.step(days, line, where="post", color=COLOURS[k], linestyle=LINES[k % len(LINES)], linewidth=1.5, label=arm)
    lower, upper = (start(np.where(curve.survival > 0, end, 0.0)) for end in (curve.lower, curve.upper))
    axis.fill_between(days, lower, upper, step="post", color=COLOURS[k], alpha=0.16, linewidth=0)
    left = curve.tally.left > curve.tally.deaths
    axis.plot(curve.time_d[left], curve.survival[left], "|", color=COLOURS[k], ms=5)


def _at_risk(axis, curves, ticks, end: float):
    ticks = [t for t in ticks if 0 <= t <= end]
    for y, (_, curve) in enumerate(curves):
        ends = np.append(curve.tally.at_risk, 0) if len(curve.time_d) else np.zeros(1, int)
        for day in ticks:
            count = int(ends[np.searchsorted(curve.time_d, day, side="left")])
            place = "left" if day == 0 else "center"
            axis.text(day, y, str(count), ha=place, va="center", fontsize=8, color=COLOURS[y], clip_on=False)
    axis.set_yticks(range(len(curves)), [textwrap.shorten(arm, 24, placeholder="…") for arm, _ in curves], fontsize=8)
    axis.set_ylim(len(curves) - 0.4, -0.6)
    axis.set_xlabel("days from the first cycle")
    axis.grid(visible=False)
    axis.tick_params(axis="y", length=0)
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(False)


def power(curves: Sequence[PowerCurve], arms: Sequence[str]) -> Figure:
    """A panel an endpoint: chance to find the second arm's difference from the first, over the patients an arm.

    `arms` are those of the trial, so that each keeps its colour.
    """
    with matplotlib.rc_context(STYLE):
        names = list(dict.fromkeys(c.endpoint for c in curves))
        figure, axes = grid(len(names), panel=(3.3, 2.7))
        for axis, name in zip(axes, names, strict=True):
            mine = [c for c in curves if c.endpoint == name]
            for curve in mine:
                _power(axis, curve, list(arms).index(curve.arms[1]) % MOST_ARMS)
            axis.axhline(0.8, color=BLACK, linewidth=0.9, linestyle=(0, (5, 2)))
            axis.set(xscale="log", ylim=(0, 1.03), title="\n".join(textwrap.wrap(mine[0].words, 36)))
            axis.set_xticks(mine[0].sizes, [str(n) for n in mine[0].sizes], fontsize=8)
            axis.set_xticks([], minor=True)
            axis.yaxis.set_major_formatter(PercentFormatter(1.0))
        axes[0].legend(loc="lower right", frameon=False, fontsize=7.5)
        figure.supxlabel("patients an arm, parallel groups")
        figure.supylabel("power at 5 %, two-sided", x=0.012)
        heading(figure, f"Power against {curves[0].arms[0]}", "bars: 95 % of the draws; dashed: 80 %")
        return figure


def _power(axis, curve: PowerCurve, k: int):
    label = textwrap.shorten(curve.arms[1], 26, placeholder="…")
    axis.errorbar(curve.sizes, curve.power, yerr=1.96 * curve.error, color=COLOURS[k], marker=MARKS[k], ms=4.5,
                  linestyle=LINES[k % len(LINES)], linewidth=1.3, capsize=2, label=label)  # fmt: skip


def cycle_doses(values: Mapping[str, Mapping[int, np.ndarray]], region: str) -> Figure:
    """Dose of an organ in each cycle, arm beside arm: medians, and 50 and 90 % of the patients who got the cycle."""
    with matplotlib.rc_context(STYLE):
        arms = list(values)[:MOST_ARMS]
        cycles = sorted({c for v in values.values() for c in v})
        figure = Figure(figsize=(max(LEAST_INCHES, 2.0 + 0.95 * len(cycles)), 3.9), layout="constrained")
        axis, step = figure.subplots(), 0.8 / max(len(arms), 1)
        for k, arm in enumerate(arms):
            for cycle, dose in values[arm].items():
                _bar(
                    axis, cycle + step * (k - (len(arms) - 1) / 2), dose, k, arm if cycle == min(values[arm]) else None
                )
        axis.set_xticks(cycles)
        axis.set(xlabel="cycle", ylabel="absorbed dose of the cycle (Gy)")
        axis.set_ylim(bottom=0)
        axis.grid(axis="x", visible=False)
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
        heading(
            figure, f"Dose of each cycle: {readable(region)}", "marks: medians; bars: 50 % and 90 % of the patients"
        )
        return figure


def _bar(axis, x: float, dose: np.ndarray, k: int, label: str | None):
    low, quarter, middle, rest, high = np.percentile(dose, [LOWER, 25, 50, 75, UPPER])
    axis.plot([x, x], [low, high], color=COLOURS[k], linewidth=1.4, solid_capstyle="butt")
    axis.plot([x, x], [quarter, rest], color=COLOURS[k], linewidth=5, alpha=0.5, solid_capstyle="butt")
    axis.plot(x, middle, MARKS[k], color=COLOURS[k], ms=5, linestyle="none", label=label)
