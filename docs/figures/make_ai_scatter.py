"""Figures of docs/ai/scatter_177lu.md and scatter_90y.md: `python docs/figures/make_ai_scatter.py [177Lu] [90Y]`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from twin._jax import configure

configure()

import matplotlib  # noqa: E402

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from dose.learning.cases import HELD_OUT_FROM  # noqa: E402
from dose.learning.weights import load_weights  # noqa: E402
from imaging.networks.scatter import RECIPES  # noqa: E402
from imaging.networks.scatter_cases import scan  # noqa: E402
from tests.validate.ai_scatter import estimates, relative  # noqa: E402

HERE = Path(__file__).parent
WORDS = {"truth": "Monte Carlo", "tew": "TEW", "dew": "DEW", "fitted": "fitted sum of windows", "network": "network"}
SHOWN = {"177Lu": ("truth", "tew", "fitted", "network"), "90Y": ("truth", "dew", "fitted", "network")}
SCALE = {"177Lu": 0.3, "90Y": 1.0}
HIGHEST_LOSS = {"177Lu": 1.0, "90Y": 0.15}


def loss_curve(nuclide: str, path: Path) -> None:
    """Loss on training batches and on held-out cases by step; a part of it is a likelihood and may fall below 0."""
    curve = np.array(load_weights(RECIPES[nuclide]).card["runs"][0]["curve"])
    figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
    axis.plot(curve[:, 0], curve[:, 1], label="training")
    axis.plot(curve[:, 0], curve[:, 2], label="held out")
    axis.set(xlabel="step", ylabel="loss", ylim=(-0.15, HIGHEST_LOSS[nuclide]))
    axis.legend(frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def views(nuclide: str, path: Path) -> None:
    """One view of a held-out scan: scatter by each method, and a profile along the detector's columns."""
    config, scale = RECIPES[nuclide].config(), SCALE[nuclide]
    made = scan(HELD_OUT_FROM, config.data, int(config.data["views"]), int(config.data["photons"]))
    expected = scale * (made.seen.primary + made.scatter)
    noisy = made.seen.empty.with_counts(np.random.default_rng(1).poisson(expected).astype(np.float32))
    found = estimates(made, noisy, scale)
    view, row = 3, int(np.argmax(made.scatter[0, 3].sum(axis=1)))
    figure, axes = plt.subplots(
        1, len(SHOWN[nuclide]) + 1, figsize=(12, 2.8), layout="constrained", width_ratios=[1] * 4 + [1.6]
    )
    for axis, name in zip(axes, SHOWN[nuclide]):
        axis.imshow(found[name][view, ::-1], cmap="gray_r", vmin=0, vmax=1.1 * found["truth"][view].max())
        error = "" if name == "truth" else f"\nNRMSE {100 * relative(found[name], found['truth']):.0f} %"
        axis.set_title(WORDS[name] + error, fontsize=9)
        axis.axis("off")
        axes[-1].plot(found[name][view, row], label=WORDS[name], lw=2 if name == "truth" else 1)
    axes[-1].set(xlabel="column", ylabel="scatter, counts")
    axes[-1].legend(frameon=False, fontsize=7)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def main() -> None:
    for nuclide in sys.argv[1:] or SHOWN:
        loss_curve(nuclide, HERE / f"ai-scatter_{nuclide.lower()}-loss.png")
        views(nuclide, HERE / f"ai-scatter_{nuclide.lower()}-views.png")


if __name__ == "__main__":
    main()
