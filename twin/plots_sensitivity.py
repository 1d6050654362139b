"""Figures of sensitivity: what moves the dose of an organ. Values are drawn as given; colours as in `twin.plots`."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from pbpk.sensitivity import Elasticities, SobolIndices
from twin.plots import BLACK, BLUE, GREY, RED, STYLE, readable

LESS_TO_MORE = LinearSegmentedColormap.from_list("less to more", [BLUE, "#FFFFFF", RED])
"""Less dose is blue, more is vermilion: told apart with any colour vision, and each cell carries its number as well."""
FULL_COLOUR = 1.0
"""Elasticity that takes the full colour: dose in proportion to the parameter."""
UNSEEN = 0.005
"""Elasticities below this round to zero and get no number."""
WHITE_FROM = 0.7
"""Elasticity from which a cell is dark enough for a white number."""
BAR_HEIGHT = 0.62
MOST_BARS = 6
"""Parameters shown for an organ; the others have smaller total indices."""
PALE = "#A9CDE6"
"""BLUE, lightened: the part of a bar that a parameter explains only together with others."""
GAP_INCHES = 2.2
"""Room for the names of parameters beside a panel."""


def elasticity_heatmap(result: Elasticities) -> Figure:
    """A row a parameter and a column an organ: per cent more dose for one per cent more of the parameter."""
    order = np.argsort(-np.max(np.abs(result.value), axis=0), kind="stable")
    value = result.value[:, order].T
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.9 + 0.82 * value.shape[1], 1.5 + 0.27 * value.shape[0]), layout="constrained")
        axis = figure.subplots()
        axis.imshow(value, cmap=LESS_TO_MORE, vmin=-FULL_COLOUR, vmax=FULL_COLOUR, aspect="auto")
        for (row, column), number in np.ndenumerate(value):
            _number(axis, column, row, number)
        axis.set_xticks(range(value.shape[1]), [readable(o) for o in result.outputs])
        axis.set_yticks(range(value.shape[0]), [result.parameters[k] for k in order])
        axis.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
        axis.grid(visible=False)
        axis.spines[:].set_visible(False)
        axis.set_xlabel("vermilion: more dose, blue: less; +1 means in proportion, no number: no effect")
        figure.suptitle("Change of dose, in %, for 1% more of a parameter", **_title())
        return figure


def _title() -> dict:
    return {"fontsize": 10, "fontweight": "bold", "x": 0.01, "ha": "left"}


def _number(axis, column: int, row: int, number: float):
    if abs(number) < UNSEEN:
        return
    colour = "white" if abs(number) >= WHITE_FROM else BLACK
    axis.text(column, row, f"{number:+.2f}", ha="center", va="center", fontsize=8, color=colour)


def sobol_bars(result: SobolIndices) -> Figure:
    """A panel an organ: the share of the differences between patients that each parameter explains, largest on top."""
    columns = min(2, len(result.outputs))
    rows = -(-len(result.outputs) // columns)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=((GAP_INCHES + 2.4) * columns, 0.9 + 1.95 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, sharex=True).ravel()
        for spare in axes[len(result.outputs) :]:
            spare.set_axis_off()
        for k, axis in enumerate(axes[: len(result.outputs)]):
            _bars(axis, result, k)
        key = "dark: alone, pale: together with others, lines: their 90% intervals"
        figure.supxlabel(f"share of the variance of log dose    {key}, N = {result.samples}", fontsize=9)
        figure.suptitle("Why patients differ: what explains the spread of dose", **_title())
        return figure


def _bars(axis, result: SobolIndices, k: int):
    largest = np.argsort(-result.total[k], kind="stable")[:MOST_BARS]
    at = np.arange(len(largest))
    axis.barh(at, result.total[k, largest], BAR_HEIGHT, color=PALE)
    axis.barh(at, np.maximum(result.first[k, largest], 0), BAR_HEIGHT, color=BLUE)
    for interval, offset, colour in ((result.total_interval, 0.17, GREY), (result.first_interval, -0.17, BLACK)):
        low, high = np.maximum(interval[:, k, largest], 0)
        axis.hlines(at + offset, low, high, color=colour, linewidth=1.2)
    axis.set_yticks(at, [result.parameters[p] for p in largest])
    axis.invert_yaxis()
    axis.set_xlim(0, 1)
    axis.xaxis.set_major_formatter(PercentFormatter(1.0))
    axis.grid(axis="y", visible=False)
    axis.tick_params(axis="y", length=0)
    cv = np.sqrt(np.expm1(result.log_sd[k] ** 2))
    axis.set_title(f"{readable(result.outputs[k])}    CV {100 * cv:.0f}%")
