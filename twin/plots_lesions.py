"""Figures of lesions and voxels: dose and change of volume lesion by lesion, and dose-volume histograms."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from dose.histograms import DVH
from dose.regions import is_tumour
from twin.patient import DoseReport
from twin.plots import BLACK, BLUE, GREY, LEAST_INCHES, ORANGE, STYLE, grid, heading, readable
from twin.tables import LOWER, UPPER

LESION_INCHES = 0.62
MOST_LESIONS = 40
POINTS = 160
"""Doses at which a histogram is drawn."""
SHOWN_PERCENT = (95.0, 50.0, 2.0)
"""D_V written on a histogram."""


def waterfall(report: DoseReport, given=(), volume_change: Mapping[str, np.ndarray] | None = None) -> Figure:
    """A bar a lesion, the largest dose first: what was given in blue, what is to come in orange, 90% of the sum.

    `volume_change` maps lesions to draws of the change of their volume (-0.3: shrinks by 30 %), drawn below.
    """
    order = lesions_by_dose(report)[:MOST_LESIONS]
    change = {r: v for r, v in (volume_change or {}).items() if r in order}
    with matplotlib.rc_context(STYLE):
        size = max(LEAST_INCHES, 1.5 + LESION_INCHES * len(order)), 3.6 + 2.0 * bool(change)
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(2 if change else 1, 1, sharex=True, squeeze=False)[:, 0]
        _doses(axes[0], report, order, given)
        if change:
            _changes(axes[1], order, change)
        axes[-1].set_xticks(range(len(order)), [readable(r) for r in order], rotation=35, ha="right")
        key = "blue: given, orange: to come (medians); line: 90% interval of the whole course"
        heading(figure, "Dose of each lesion over the course", key)
        return figure


def lesions_by_dose(report: DoseReport) -> list[str]:
    """Tumours of a report, the one with the largest median dose first."""
    total = {r: float(np.median(report.dose_Gy[:, :, k].sum(axis=1))) for k, r in enumerate(report.regions)}
    return sorted((r for r in report.regions if is_tumour(r)), key=lambda r: -total[r])


def _doses(axis, report: DoseReport, order, given):
    past = np.isin(report.cycles, list(given))
    for x, region in enumerate(order):
        dose = report.dose_Gy[:, :, report.regions.index(region)]
        whole = dose.sum(axis=1)
        before = float(np.median(dose[:, past].sum(axis=1))) if past.any() else 0.0
        axis.bar(x, before, 0.66, color=BLUE)
        axis.bar(x, float(np.median(whole)) - before, 0.66, bottom=before, color=ORANGE, hatch="//", edgecolor="white")
        axis.plot([x, x], np.percentile(whole, [LOWER, UPPER]), color=BLACK, linewidth=1.4)
    axis.set_ylabel("absorbed dose (Gy)")
    axis.grid(axis="x", visible=False)


def _changes(axis, order, change):
    for x, region in enumerate(order):
        if region in change:
            middle, low, high = np.percentile(change[region], [50, LOWER, UPPER])
            axis.bar(x, middle, 0.66, color=GREY)
            axis.plot([x, x], [low, high], color=BLACK, linewidth=1.4)
    axis.axhline(0, color=BLACK, linewidth=0.8)
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
    axis.set_ylabel("change of volume")
    axis.grid(axis="x", visible=False)


def histograms(found: Mapping[str, DVH]) -> Figure:
    """A panel a region: the volume that gets at least a dose, with the 90% band of its draws."""
    with matplotlib.rc_context(STYLE):
        figure, axes = grid(len(found))
        for axis, (region, dvh) in zip(axes, found.items(), strict=True):
            _histogram(axis, dvh)
            axis.set_title(f"{readable(region)}, {dvh.volume_mL:.3g} mL")
        figure.supxlabel("absorbed dose of the voxel (Gy)")
        figure.supylabel("volume above the dose", x=0.012)
        key = "line: median, band: 90% of the draws, where the dose map has draws"
        heading(figure, "Dose-volume histograms", key)
        return figure


def _histogram(axis, dvh: DVH):
    dose = np.linspace(0, 1.04 * float(np.max(dvh.max_Gy)), POINTS)
    share = np.atleast_2d(dvh.cumulative(dose)) / 100
    axis.plot(dose, np.median(share, axis=0), color=BLUE, linewidth=1.5)
    if dvh.draws:
        axis.fill_between(dose, *np.percentile(share, [LOWER, UPPER], axis=0), color=BLUE, alpha=0.22, linewidth=0)
    words = [f"D{p:g}% {np.median(dvh.dose_at(p)):.3g} Gy" for p in SHOWN_PERCENT]
    axis.text(0.97, 0.95, "\n".join(words), transform=axis.transAxes, ha="right", va="top", fontsize=8)
    axis.set(xlim=(0, dose[-1]), ylim=(0, 1.02))
    axis.yaxis.set_major_formatter(PercentFormatter(1.0))
