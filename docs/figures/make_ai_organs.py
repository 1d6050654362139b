"""Draw the figures of docs/ai/organs.md: `python docs/figures/make_ai_organs.py`, from the repository's root."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from dose.learning.recipe import folder
from imaging.networks.organs_result import ORGANS
from tests.validate import ai_organs as of
from twin._jax import configure

HERE = Path(__file__).parent
NAMES = {"organs": "3D", "organs_25d": "2.5D"}


def curves() -> None:
    """Loss on training batches and on held-out cases, of both networks."""
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    for (name, words), colour in zip(NAMES.items(), ("C0", "C1")):
        run = json.loads((folder("imaging.networks", "weights") / f"{name}.json").read_text())["runs"][0]
        step, train, held = np.array(run["curve"]).T
        axis.plot(step, train, colour, alpha=0.4, label=f"{words}, training")
        axis.plot(step, held, colour, label=f"{words}, held out")
    axis.set(xlabel="step", ylabel="cross entropy + (1 - Dice)")
    axis.legend()
    _save(figure, "ai-organs-loss.png")


def examples() -> None:
    """A coronal slice of a PET/CT, of a SPECT/CT and of the real CT: truth, network, atlas."""
    scans = [of.pet(of.PET_SEEDS[1]), of.spect(of.SPECT_SEEDS[0]), of.real(False)]
    figure, axes = plt.subplots(3, 4, figsize=(9, 9), layout="constrained")
    for row, scan in zip(axes, scans):
        kidneys = np.argwhere(np.isin(scan.organs, (1, 2)))
        y = int(np.median(kidneys[:, 1]))
        shown = [scan.organs, of.found_by("network", scan).labels.array, of.found_by("classical", scan).labels.array]
        stretch = scan.ct.spacing_mm[2] / scan.ct.spacing_mm[0]
        _grey(row[0], scan, y, stretch)
        for axis, labels, words in zip(row[1:], shown, ("truth", "network", "atlas")):
            _grey(axis, scan, y, stretch)
            plane = np.ma.masked_equal(_coronal(labels, scan, y), 0)
            axis.imshow(plane, origin="lower", cmap="tab10", vmin=1, vmax=10, alpha=0.8, aspect=stretch)
            axis.set_title(f"{scan.name.split('-')[0]}: {words}", fontsize=9)
    _save(figure, "ai-organs-examples.png", dpi=50)


def bars() -> None:
    """Dice of each organ on PET/CT and SPECT/CT by the three methods."""
    figure, axes = plt.subplots(2, 1, figsize=(8, 5), layout="constrained", sharey=True)
    for axis, kind in zip(axes, ("pet", "spect")):
        for k, method in enumerate(of.METHODS):
            values = of.by_organ(kind, method)
            axis.bar(np.arange(len(ORGANS)) + 0.27 * (k - 1), [values.get(n, 0) for n in ORGANS], 0.25, label=method)
        axis.axhline(0.9, color="k", lw=0.5)
        axis.set(ylabel=f"Dice, {kind.upper()}/CT", ylim=(0, 1))
        axis.set_xticks(range(len(ORGANS)), [n.replace("_", "\n") for n in ORGANS], fontsize=7)
    axes[0].legend(fontsize=7, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    _save(figure, "ai-organs-dice.png")


def _coronal(array: np.ndarray, scan, y: int) -> np.ndarray:
    """A coronal slice with the patient's left on the right, however columns are stored."""
    return array[:, y] if scan.ct.affine[0, 0] > 0 else array[:, y, ::-1]


def _grey(axis, scan, y: int, stretch: float) -> None:
    axis.imshow(_coronal(scan.ct.array, scan, y), origin="lower", cmap="gray", vmin=-150, vmax=200, aspect=stretch)
    if scan.emission is not None:
        axis.imshow(
            np.maximum(_coronal(scan.emission.array, scan, y), 0) ** 0.5,
            origin="lower",
            cmap="hot",
            alpha=0.35,
            aspect=stretch,
        )
    axis.axis("off")


def _save(figure, name: str, dpi: int = 80) -> None:
    figure.savefig(HERE / name, dpi=dpi)
    plt.close(figure)


if __name__ == "__main__":
    configure()
    curves()
    bars()
    examples()
