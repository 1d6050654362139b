"""Figures of what measurements taught: parameters against their prior, and doses as they stood after each cycle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from calibration.posterior import Posterior
from twin.plots import (
    BLACK,
    BLUE,
    COLOUR,
    COLUMNS,
    GREY,
    LEAST_INCHES,
    MARK,
    STYLE,
    grid,
    heading,
    interval,
    plain_log,
    readable,
)  # fmt: skip
from twin.tables import LOWER, UPPER

if TYPE_CHECKING:
    from twin.report.extras import Stage

MOST_PANELS = 9


def contraction(posterior: Posterior) -> Figure:
    """Prior and posterior 90% intervals of each parameter relative to the prior median, best learnt on top."""
    with matplotlib.rc_context(STYLE):
        order = np.argsort(posterior.contraction)
        figure = Figure(figsize=(8.2, 1.4 + 0.21 * len(order)), layout="constrained")
        axis = figure.subplots()
        _rows(axis, posterior, order)
        axis.set_xscale("log")
        plain_log(axis.xaxis)
        axis.set_xlabel("value relative to the population median (prior median = 1)")
        axis.set_ylim(-0.8, len(order) - 0.2)
        key = "grey: population 90%, blue: this patient 90%; right: variance removed"
        heading(figure, "What the measurements taught", key)
        return figure


def _rows(axis, posterior: Posterior, order):
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


def shrinking(stages: Sequence[Stage], regions: Sequence[str]) -> Figure:
    """A panel a region: the dose of the cycles given, as it was known before any scan and after each cycle's."""
    with matplotlib.rc_context(STYLE):
        shown = list(regions)[:MOST_PANELS]
        figure, axes = grid(len(shown))
        for axis, region in zip(axes, shown, strict=True):
            for x, stage in enumerate(stages):
                draws = stage.report.dose_Gy[:, :, stage.report.regions.index(region)].sum(axis=1)
                interval(axis, x, draws, "assimilated" if stage.cycle else "forecast")
                low, high = np.percentile(draws, [LOWER, UPPER])
                axis.annotate(f"±{100 * (high - low) / 2 / np.median(draws):.0f}%", (x, high), xytext=(0, 3),
                              textcoords="offset points", ha="center", fontsize=8)  # fmt: skip
            axis.set_xticks(range(len(stages)), [stage.words for stage in stages])
            axis.set_xlim(-0.5, len(stages) - 0.5)
            axis.set_ylim(0, 1.12 * axis.get_ylim()[1])
            axis.grid(axis="x", visible=False)
            axis.set_title(readable(region))
        figure.supylabel("dose of the cycles given (Gy)", x=0.012)
        figure.supxlabel("measurements that were used")
        key = "median and 90% interval of the same dose; number: half the interval over the median"
        heading(figure, "What each cycle's measurements were worth", key)
        return figure


def dose_forecasts(pairs: Sequence[tuple[int, Stage, Stage]], regions: Sequence[str]) -> Figure:
    """A panel a cycle: the dose as forecast before its scans, and as it stood after them.

    `pairs` holds (cycle, the stage before its measurements, the stage after).
    """
    with matplotlib.rc_context(STYLE):
        columns = min(COLUMNS, len(pairs))
        rows = -(-len(pairs) // columns)
        size = max(LEAST_INCHES, 1.0 + 2.9 * columns), 0.9 + rows * (0.8 + 0.25 * len(regions))
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, sharey=True, squeeze=False).ravel()
        for axis, (cycle, before, after) in zip(axes, pairs, strict=False):
            for y, region in enumerate(reversed(regions)):
                _before_and_after(axis, y, [_draws(s, cycle, region) for s in (before, after)])
            axis.set(xscale="log", title=f"cycle {cycle}")
            plain_log(axis.xaxis)
        for spare in axes[len(pairs) :]:
            spare.set_axis_off()
        axes[0].set_yticks(range(len(regions)), [readable(r) for r in reversed(regions)])
        axes[0].set_ylim(-0.7, len(regions) - 0.3)
        figure.supxlabel("absorbed dose (Gy)")
        key = "orange diamond: forecast before the cycle's scans; blue circle: after them; bars: 90% intervals"
        heading(figure, "Dose as forecast and as then measured", key)
        return figure


def _draws(stage: Stage, cycle: int, region: str) -> np.ndarray:
    report = stage.report
    return report.dose_Gy[:, report.cycles.index(cycle), report.regions.index(region)]


def _before_and_after(axis, y: int, both):
    for draws, kind, offset in zip(both, ("forecast", "assimilated"), (0.16, -0.16), strict=True):
        middle, low, high = np.percentile(draws, [50, LOWER, UPPER])
        axis.plot([low, high], [y + offset] * 2, color=COLOUR[kind], linewidth=4, alpha=0.45, solid_capstyle="butt")
        axis.plot(middle, y + offset, MARK[kind], color=COLOUR[kind], ms=4.5, mec=BLACK, mew=0.3)
