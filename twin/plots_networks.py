"""The figure of a training: loss on training batches and on held-out cases against steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib
from matplotlib.figure import Figure

from twin.plots import BLUE, GREY, STYLE, heading


def training_curves(name: str, runs: Sequence[Mapping]) -> Figure:
    """Losses of each member of an ensemble, as the `runs` of a card of weights hold them."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.2), layout="constrained")
        axis = figure.subplots()
        for k, run in enumerate(runs):
            step, seen, unseen = zip(*run["curve"])
            axis.plot(step, seen, color=GREY, linewidth=1, label=None if k else "training batches")
            axis.plot(step, unseen, color=BLUE, label=None if k else "held-out cases, mean weights")
        if min(value for run in runs for _, *both in run["curve"] for value in both) > 0:
            axis.set_yscale("log")
        axis.set(xlabel="step", ylabel="loss")
        axis.legend(frameon=False)
        minutes = sum(run["seconds"] for run in runs) / 60
        heading(figure, f"Training of {name}", f"{len(runs)} x {runs[0]['weights']:,} weights, {minutes:.1f} min")
        return figure
