"""Figures of docs/ai/lesions_pet.md and lesions_spect.md: loss curves and test cases.

Run: .venv/bin/python docs/figures/make_ai_lesions.py
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from twin._jax import configure

configure()

from dose.learning.weights import load_weights  # noqa: E402
from imaging.networks import lesions_pet, lesions_spect  # noqa: E402
from imaging.networks.lesions_followup import follow_up  # noqa: E402
from imaging.networks.lesions_scans import lesion_scan  # noqa: E402

HERE = Path(__file__).resolve().parent
PET_SEEDS, SPECT_SEEDS = (2_000_002, 2_000_005), (2_000_002, 2_000_008)


def curve(recipe, path: Path) -> None:
    """Loss on training batches and held-out cases by step."""
    steps, training, held_out = np.array(load_weights(recipe).card["runs"][0]["curve"]).T
    figure, axis = plt.subplots(figsize=(5, 3))
    axis.semilogy(steps, training, label="training")
    axis.semilogy(steps, held_out, label="held out")
    axis.set(xlabel="step", ylabel="cross-entropy + Dice / 2")
    axis.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
    plt.close(figure)


def panel(axis, image, top: float, truth, found, title: str) -> None:
    """A projection with outlines: truth green, network red."""
    axis.imshow(image[::-1], cmap="gray_r", vmin=0, vmax=top, aspect="equal")
    for mask, colour in ((truth, "tab:green"), (found, "tab:red")):
        if mask.any():
            axis.contour(mask[::-1], levels=[0.5], colors=colour, linewidths=0.8)
    axis.set_title(title, fontsize=8)
    axis.axis("off")


def pet(path: Path) -> None:
    """Maximum projections of test PETs."""
    figure, axes = plt.subplots(1, len(PET_SEEDS), figsize=(7.5, 5.5))
    for axis, seed in zip(axes, PET_SEEDS):
        scan = lesion_scan(seed)
        made = lesions_pet.segment_lesions(scan.suv, scan.ct, tracer=scan.tracer, organs=scan.organs, method="network")
        front = lambda a: a.max(axis=1)
        title = f"{scan.tracer.upper()}, {scan.nuclide}, seed {seed}"
        truth, found = front(scan.truth.array > 0), front(made.mask.array > 0.5)
        panel(axis, front(scan.suv.array), 12.0, truth, found, title)
    figure.tight_layout()
    figure.savefig(path, dpi=75)
    plt.close(figure)


def spect(path: Path) -> None:
    """Maximum projections of test SPECTs, without and with prior."""
    figure, axes = plt.subplots(len(SPECT_SEEDS), 3, figsize=(7.5, 5.0))
    for row, seed in zip(axes, SPECT_SEEDS):
        pair = follow_up(seed)
        scan, front = pair.scan, lambda a: a.max(axis=1)
        row[0].imshow(front(pair.prior.array)[::-1], cmap="gray_r", vmin=0, vmax=1)
        row[0].set_title(f"prior, seed {seed}", fontsize=8)
        row[0].axis("off")
        for axis, prior, title in ((row[1], None, "SPECT alone"), (row[2], pair.prior, "SPECT and prior")):
            made = lesions_spect.segment_lesions_spect(
                scan.suv, scan.ct, tracer=scan.tracer, prior=prior, organs=scan.organs, method="network"
            )
            top = 12 * float(scan.suv.array[scan.ct.array > -500].mean())
            truth, found = front(scan.truth.array > 0), front(made.mask.array > 0.5)
            panel(axis, front(scan.suv.array), top, truth, found, title)
    figure.tight_layout()
    figure.savefig(path, dpi=75)
    plt.close(figure)


if __name__ == "__main__":
    curve(lesions_pet.RECIPE, HERE / "ai-lesions_pet-loss.png")
    pet(HERE / "ai-lesions_pet-cases.png")
    curve(lesions_spect.RECIPE, HERE / "ai-lesions_spect-loss.png")
    spect(HERE / "ai-lesions_spect-cases.png")
