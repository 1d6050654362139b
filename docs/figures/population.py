"""Draws docs/figures/population.png: typical values found from a virtual cohort, and what they do to forecasts.

Run from the root of the checkout: `.venv/bin/python -m docs.figures.population` (some minutes).
"""

# ruff: noqa: E402 - double precision is set before anything imports equinox

from __future__ import annotations

from pathlib import Path

from twin._jax import configure

configure()

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from calibration.posterior import Z90
from tests.validate.checks_population import estimated, forecasts, truth
from twin.plots import BLACK, BLUE, GREY, STYLE

FIGURE = Path(__file__).with_suffix(".png")
TICKS = (0.5, 0.7, 1.0, 1.4, 2.0)
TIME_H = 24.0
CASES = {"table": ("the table's prior", GREY), "estimated": ("the estimated population", BLUE)}


def words(group: str) -> str:
    kind, _, organ = group.replace("_", " ").partition("/")
    return f"{organ}: {kind}" if organ else kind


def typical_values(ax) -> None:
    """Factors on the table's medians with their 90 % intervals, and the truth."""
    found = estimated()
    at = np.arange(len(found.groups))[::-1]
    ax.errorbar(found.shift_log, at, xerr=Z90 * found.shift_se, fmt="o", color=BLUE, markersize=4, label="found, 90 %")
    true = truth().shift_log[[truth().index(g) for g in found.groups]]
    ax.plot(true, at, "|", color=BLACK, markersize=12, markeredgewidth=2, label="true")
    ax.set_yticks(at, [words(g) for g in found.groups])
    ax.set_xticks(np.log(TICKS), [f"{t:g}" for t in TICKS])
    ax.set_xlabel("typical value over the table's median")
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, frameon=False)


def forecast(ax) -> None:
    """Cumulative share of held-out patients by the error of the kidney's median forecast."""
    found = forecasts(TIME_H)
    for name, (label, colour) in CASES.items():
        error = np.sort(100 * np.expm1(found[name][1, 0]))
        ax.step(error, (np.arange(len(error)) + 1) / len(error), where="post", color=colour, label=label)
    ax.axvline(0.0, color=BLACK, linewidth=0.8)
    ax.set_xlabel(f"error of the kidney's forecast from one scan at {TIME_H:g} h, %")
    ax.set_ylabel("share of held-out patients")
    ax.set_ylim(0, 1)
    ax.legend(loc="upper left", frameon=False)


def main() -> None:
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 4.2), layout="constrained")
        left, right = figure.subplots(1, 2)
        typical_values(left)
        forecast(right)
        figure.savefig(FIGURE, dpi=130)


if __name__ == "__main__":
    main()
