"""Draws docs/figures/sobol.png: what drives the doses of a virtual patient, before and after three scans.

Run from the root of the checkout: `.venv/bin/python -m docs.figures.sobol [samples]` (three minutes with 1024).
"""

# ruff: noqa: E402 - double precision is set before anything imports equinox

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

from twin._jax import configure

configure()

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from calibration.budget_calibrated import calibrated_drivers
from calibration.budget_factors import DoseFactor
from calibration.sobol import GroupIndices
from tests.synthetic import empty_study, with_scans
from twin.body import body_of
from twin.deposit import mass_g
from twin.plots import BLACK, BLUE, GREY, STYLE, readable
from twin.verbs import calibrate

REGIONS = ("kidneys", "tumour_1")
VOLUMES_ML = {"tumour_1": 30.0, "tumour_rest": 100.0, "kidney_left": 160.0, "kidney_right": 155.0}
PALE = "#A9CDE6"
MOST_BARS = 7
LONGEST = 0.65
"""End of the axes: no index of this patient is larger."""
FIGURE = Path(__file__).with_suffix(".png")


def factors(body) -> dict[str, DoseFactor]:
    return {region: DoseFactor.of(region, "177Lu", mass_g(region, body)) for region in REGIONS}


def indices(study, samples: int) -> GroupIndices:
    """Of the patient as calibrated with what the study holds: without scans, the prior."""
    body, twin = body_of(study), calibrate(study, draws=203)
    return calibrated_drivers(body.first, twin.posterior, factors(body), samples=samples)


def bars(axis, found: GroupIndices, k: int, title: str) -> None:
    """Total indices pale and first-order ones dark, largest on top, each with its interval."""
    order = np.argsort(-np.maximum(found.total[k], found.first[k]), kind="stable")[:MOST_BARS]
    at = np.arange(len(order))
    rows = (
        (found.first, found.first_interval, -0.19, BLUE, BLACK),
        (found.total, found.total_interval, 0.19, PALE, GREY),
    )
    for value, interval, offset, colour, line in rows:
        axis.barh(at + offset, np.maximum(value[k, order], 0), 0.36, color=colour)
        axis.hlines(at + offset, *np.maximum(interval[:, k, order], 0), color=line, linewidth=1.1)
    axis.set_yticks(at, [found.groups[g] for g in order])
    axis.invert_yaxis()
    axis.set_xlim(0, LONGEST)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    axis.set_title(f"{title}: CV {100 * found.cv[k]:.0f}%")


def draw(first: GroupIndices, second: GroupIndices) -> Figure:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 5.4), layout="constrained")
        axes = figure.subplots(2, 2)
        for k, region in enumerate(REGIONS):
            bars(axes[k, 0], first, k, f"{readable(region)}, before any scan")
            bars(axes[k, 1], second, k, f"{readable(region)}, after three scans")
        key = "dark: goes if only this is known (first order); pale: stays if all else is known (total)"
        words = f"share of the variance of log dose, N = {first.samples}, lines: 90% intervals\n{key}"
        figure.supxlabel(words, fontsize=9)
        return figure


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 512
    patient = replace(empty_study(), volumes_mL=VOLUMES_ML)
    scanned, _ = with_scans(patient, np.random.default_rng(1))
    prior, posterior = indices(patient, count), indices(scanned, count)
    print(prior, posterior, sep="\n")
    print(prior.first.sum(axis=1), posterior.first.sum(axis=1))
    draw(prior, posterior).savefig(FIGURE, dpi=130)
