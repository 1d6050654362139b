"""Figures of docs/ai/restore_spect.md: `python docs/figures/make_ai_restore_spect.py`."""

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

from imaging.networks.restore_spect import RECIPE  # noqa: E402
from imaging.scanner.nema import DIAMETERS_MM  # noqa: E402
from tests.validate import ai_restore_spect as figures  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))

from make_ai_denoise import loss_curve  # noqa: E402

HERE = Path(__file__).parent
SHOWN = {"truth": "true activity", "none": "OSEM", "deconvolution": "deconvolution", "network": "network"}
METHODS = {"none": "OSEM", "recovery": "recovery coefficients", "yang": "iterative Yang", "network": "network"}


def images(seen: figures.Seen, path: Path) -> None:
    """One coronal plane of a test patient by each method without masks, and the errors below, on one scale."""
    true = seen.activity
    plane = int(np.argmax(seen.organ("kidney_left", "kidney_right").sum(axis=(0, 2))))
    top = float(np.quantile(true[:, plane], 0.99))
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(10, 5), layout="constrained")
    for (name, words), (above, below) in zip(SHOWN.items(), axes.T):
        image = (true if name == "truth" else seen.images[name])[::-1, plane]
        above.imshow(image, cmap="gray_r", vmin=0, vmax=top)
        below.imshow(image - true[::-1, plane], cmap="RdBu_r", vmin=-0.5 * top, vmax=0.5 * top)
        above.set_title(words, fontsize=9)
        above.axis("off")
        below.axis("off")
    figure.savefig(path, dpi=90)
    plt.close(figure)


def lesions(path: Path) -> None:
    """Mean of each hot lesion over its true one by volume, and NEMA spheres by diameter."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    found = figures.lesions(figures.tests())
    seen, shares = figures.nema()
    for name, words in METHODS.items():
        of_true = [n.means[name] / n.true for n in found]
        axes[0].semilogx([n.volume_mL for n in found], of_true, ".", label=words, alpha=0.7)
        axes[1].plot(DIAMETERS_MM, figures.sphere_recoveries(seen, shares, name), "o-", label=words)
    axes[0].set(xlabel="volume of the lesion, mL", ylabel="mean over the true mean", ylim=(0, 2))
    axes[1].set(xlabel="diameter of the NEMA sphere, mm", ylabel="mean over the true mean")
    for axis in axes:
        axis.axhline(1, color="k", lw=0.5)
        axis.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def main() -> None:
    loss_curve(RECIPE, HERE / "ai-restore_spect-loss.png")
    images(figures.tests()[0], HERE / "ai-restore_spect-images.png")
    lesions(HERE / "ai-restore_spect-lesions.png")


if __name__ == "__main__":
    main()
