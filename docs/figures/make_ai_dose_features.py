"""Figure of docs/ai/dose_features.md: `python docs/figures/make_ai_dose_features.py [results.json]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from twin._jax import configure

configure()

import matplotlib  # noqa: E402

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402

from dose.learning.weights import load_weights  # noqa: E402
from dose.network.features_input import ORGANS  # noqa: E402
from twin.dose_recipes import DOSE_FEATURES  # noqa: E402

HERE = Path(__file__).parent
SIZES = (48, 192, 1008, 5040)
METHODS = ("network", "regression", "median", "twin on the PET")


def main(results: Path) -> None:
    """Loss, errors by dose, and errors by the number of training patients; the last two where rows are there."""
    rows = {row["key"].removeprefix("ai/dose_features/"): row["value"] for row in json.loads(results.read_text())}
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    _losses(axes[0])
    for axis, draw, wanted in ((axes[1], _errors, "kidneys: mean"), (axes[2], _learning, "learning from")):
        draw(axis, rows) if any(key.startswith(wanted) for key in rows) else axis.set_axis_off()
    figure.savefig(HERE / "ai-dose_features.png", dpi=90)
    plt.close(figure)


def _losses(axis) -> None:
    for number, run in enumerate(load_weights(DOSE_FEATURES).card["runs"]):
        step, training, held_out = np.array(run["curve"]).T
        axis.plot(step, held_out, color=f"C{number}", label=f"member {number}, held out")
        axis.plot(step, training, color=f"C{number}", alpha=0.35)
    axis.set(xlabel="step", ylabel="negative log likelihood", title="Training; pale: training batches")
    axis.legend(fontsize=7)


def _errors(axis, rows) -> None:
    names = (*ORGANS, "single lesions")
    values = np.array([rows[f"{name}: mean absolute error"] for name in names])
    for k, method in enumerate(METHODS):
        axis.bar(np.arange(len(names)) + 0.2 * (k - 1.5), values[:, k], 0.2, label=method)
    axis.set_xticks(np.arange(len(names)), [name.replace("_", " ") for name in names], rotation=40, ha="right")
    axis.set(ylabel="mean absolute error, %", title="2016 test patients (twin: 480 of them)")
    axis.legend(fontsize=7)


def _learning(axis, rows) -> None:
    for color, part in enumerate(("organs", "lesions")):
        found = np.array(
            [rows[f"learning from {n} patients, one member: {part}, mean absolute error"][:2] for n in SIZES]
        )
        for k, line in enumerate(("o-", "s--")):
            axis.semilogx(SIZES, found[:, k], line, color=f"C{color}", label=f"{part}, {METHODS[k]}")
    axis.set(xlabel="training patients", ylabel="mean absolute error, %", title="One member, 500 steps")
    axis.legend(fontsize=7)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.parents[0] / "validation" / "results.json")
