"""Figures of docs/ai/sparse_views.md: `python -m docs.figures.make_ai_sparse_views` (minutes the first time)."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from dose.learning.weights import load_weights
from imaging.networks.sparse_views import RECIPE, complete_views, sparse
from tests.validate.checks_ai_sparse_views import by_name, nrmse, scan
from twin._jax import configure
from twin.plots_networks import training_curves

HERE = Path(__file__).parent
CASE = 2_000_002
VIEW = 2
"""Of the three after a measured one: the one in the middle."""


def panel(axis, array, title: str, highest: float, lowest: float = 0.0, colours: str = "gray_r") -> None:
    axis.imshow(array, origin="lower", cmap=colours, vmin=lowest, vmax=highest)
    axis.set_title(title, fontsize=8)
    axis.set_axis_off()


def losses(name: str, runs) -> Figure:
    """Loss curves without the first steps' heights; the logarithm of the sd makes losses negative."""
    figure = training_curves(name, runs)
    late = [value for run in runs for point in run["curve"][2:] for value in point[1:]]
    figure.axes[0].set_ylim(min(late) - 0.02, max(late) + 0.05)
    return figure


def views_and_images() -> Figure:
    seen, counts = scan(CASE)
    few = sparse(counts)
    made = {name: complete_views(few, method=name).projections.counts[0] for name in ("classical", "network")}
    expected = seen.expected[0, VIEW]
    figure = Figure(figsize=(8.0, 5.4), layout="constrained")
    rows = figure.subplots(3, 4)
    top = 0.6 * expected.max()
    panel(rows[0, 0], expected, "view at 6 degrees, expected", top)
    panel(rows[0, 1], counts.counts[0, VIEW], "as it was measured", top)
    panel(rows[0, 2], made["classical"][VIEW], "interpolated from 0 and 12 degrees", top)
    panel(rows[0, 3], made["network"][VIEW], "by the network", top)
    images = {name: by_name(name, CASE) for name in ("full", "plain", "classical", "network")}
    titles = ("120 views", "30 views", "30 and 90 interpolated", "30 and 90 by the network")
    slice_ = int(np.argmax(images["full"].sum(axis=(1, 2))))
    high = 0.5 * images["full"][slice_].max()
    for k, (name, made_) in enumerate(images.items()):
        words = titles[k] if name == "full" else f"{titles[k]}\nNRMSE {nrmse(made_, images['full']):.1f} %"
        panel(rows[1, k], made_[slice_][::-1], words, high)
        difference = (made_ - images["full"])[slice_][::-1]
        panel(rows[2, k], difference, "" if name == "full" else "less 120 views", 0.1 * high, -0.1 * high, "RdBu_r")
    return figure


if __name__ == "__main__":
    configure()
    card = load_weights(RECIPE).card
    losses("sparse_views", card["runs"]).savefig(HERE / "ai-sparse_views-loss.png", dpi=110)
    views_and_images().savefig(HERE / "ai-sparse_views-case.png", dpi=95)
