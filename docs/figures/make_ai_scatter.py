"""Figures of docs/ai/scatter_177lu.md and scatter_90y.md: `python -m docs.figures.make_ai_scatter [177Lu] [90Y]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from docs.figures.make_ai_sparse_views import losses, panel
from dose.learning.cases import HELD_OUT_FROM
from dose.learning.weights import load_weights
from imaging.networks.scatter import RECIPES
from imaging.networks.scatter_cases import scan
from tests.validate.ai_scatter import estimates, relative
from twin._jax import configure

HERE = Path(__file__).parent
WORDS = {"truth": "Monte Carlo", "tew": "TEW", "dew": "DEW", "fitted": "fitted sum of windows", "network": "network"}
SHOWN = {"177Lu": ("truth", "tew", "fitted", "network"), "90Y": ("truth", "dew", "fitted", "network")}
SCALE = {"177Lu": 0.3, "90Y": 1.0}
VIEW = 3


def views(nuclide: str) -> Figure:
    """One view of a held-out scan: scatter by each method, and a profile along the detector's columns."""
    config, scale = RECIPES[nuclide].config(), SCALE[nuclide]
    made = scan(HELD_OUT_FROM, config.data, int(config.data["views"]), int(config.data["photons"]))
    expected = scale * (made.seen.primary + made.scatter)
    noisy = made.seen.empty.with_counts(np.random.default_rng(1).poisson(expected).astype(np.float32))
    found = estimates(made, noisy, scale)
    true = found["truth"]
    row = int(np.argmax(true[VIEW].sum(axis=1)))
    figure = Figure(figsize=(12, 2.8), layout="constrained")
    *pictures, profile = figure.subplots(1, len(SHOWN[nuclide]) + 1, width_ratios=[1] * len(SHOWN[nuclide]) + [1.6])
    for axis, name in zip(pictures, SHOWN[nuclide]):
        error = "" if name == "truth" else f"\nNRMSE {100 * relative(found[name], true):.0f} %"
        panel(axis, found[name][VIEW], WORDS[name] + error, 1.1 * float(true[VIEW].max()))
        profile.plot(found[name][VIEW, row], label=WORDS[name], lw=2 if name == "truth" else 1)
    profile.set(xlabel="column", ylabel="scatter, counts")
    profile.legend(frameon=False, fontsize=7)
    return figure


if __name__ == "__main__":
    configure()
    for nuclide in sys.argv[1:] or SHOWN:
        name = RECIPES[nuclide].name
        losses(name, load_weights(RECIPES[nuclide]).card["runs"]).savefig(HERE / f"ai-{name}-loss.png", dpi=100)
        views(nuclide).savefig(HERE / f"ai-{name}-views.png", dpi=100)
