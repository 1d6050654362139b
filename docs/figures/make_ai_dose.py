"""ai-dose_residual.png, ai-dose_unet.png, ai-dose_kernels.png: training, test scenes, and a profile across slabs.

From the repository: `.venv/bin/python -m docs.figures.make_ai_dose NAME` for each network.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from twin._jax import configure

configure()


def figure(name: str, out: Path) -> None:
    """Loss by step, rms at borders by test scene, and dose across the slabs over Monte Carlo."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    drawn, axes = pyplot.subplots(1, 3, figsize=(11, 3.4), layout="constrained")
    _loss(axes[0], name)
    _scenes(axes[1], name)
    _profile(axes[2], name)
    drawn.savefig(out, dpi=80)


def _loss(axis, name: str) -> None:
    from dose.learning.weights import load_weights
    from dose.network.predict import NETWORKS

    for number, run in enumerate(load_weights(NETWORKS[name].RECIPE).card["runs"]):
        step, training, held_out = np.array(run["curve"]).T
        axis.plot(step, held_out, color=f"C{number}", label=f"member {number}, held out")
        axis.plot(step, training, color=f"C{number}", alpha=0.35)
    axis.set(xlabel="step", ylabel="loss (1: Monte Carlo noise alone, about)", title="Training; pale: training batches")
    axis.legend(fontsize=7)


def _scenes(axis, name: str) -> None:
    from tests.validate import ai_dose as on

    one = [[on.relative_rms(on.dose_of(m, s), on.case(s), on.interfaces(on.case(s))) for s in on.TESTS]
           for m in ("kernel", name)]  # fmt: skip
    for k, nuclide in enumerate(("177Lu", "90Y")):
        axis.plot(one[0][k::2], one[1][k::2], "o", label=nuclide)
    top = 1.05 * float(np.nanmax(one))
    axis.plot([0, top], [0, top], color="grey", lw=0.8)
    axis.set(xlabel="tissue-wise kernels", ylabel=name, title="rms at borders of test scenes, %")
    axis.legend(fontsize=7)


def _profile(axis, name: str) -> None:
    from tests.validate import ai_dose as on

    scene = on.other("slabs")
    truth, kernel, network = (
        dose[:, 8:-8, 8:-8].mean(axis=(1, 2))
        for dose in (sum(on.runs(scene)) / 2, on.classical_map("kernel", scene), on.other_answer(name, "slabs"))
    )
    at = 4.0 * np.arange(len(truth))
    axis.plot(at, 100 * (kernel / truth - 1), ".-", label="tissue-wise kernels")
    axis.plot(at, 100 * (network / truth - 1), ".-", label=name)
    axis.axhline(0, color="grey", lw=0.8)
    for first, last, words in ((32, 64, "lung"), (64, 80, "hot"), (80, 96, "bone")):
        axis.axvspan(first - 2, last - 2, color="grey", alpha=0.08 if words == "lung" else 0.2)
        axis.text((first + last) / 2 - 2, 27, words, ha="center", fontsize=7)
    axis.set(xlabel="mm", ylabel="from Monte Carlo, %", title="90Y across slabs", ylim=(-30, 30))
    axis.legend(fontsize=7)


if __name__ == "__main__":
    for _name in sys.argv[1:]:
        figure(_name, Path(__file__).parent / f"ai-{_name}.png")
