"""Figures of docs/ai/denoise_pet.md and denoise_spect.md: `python docs/figures/make_ai_denoise.py`."""

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

from dose.learning.weights import load_weights  # noqa: E402
from tests.validate.ai_denoise import Seen  # noqa: E402

HERE = Path(__file__).parent
SHOWN = {"noise_free": "noise-free", "none": "quarter of the counts", "gaussian": "Gaussian", "network": "network"}


def loss_curve(recipe, path: Path) -> None:
    """Loss on training batches and on held-out cases by step."""
    curve = np.array(load_weights(recipe).card["runs"][0]["curve"])
    figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
    axis.semilogy(curve[:, 0], curve[:, 1], label="training")
    axis.semilogy(curve[:, 0], curve[:, 2], label="held out")
    axis.set(xlabel="step", ylabel="loss")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def images(seen: Seen, path: Path) -> None:
    """One coronal plane of a test case by each method, and the errors below, on one scale."""
    true = seen.case["noise_free"]
    plane = int(np.argmax((seen.mask(("kidney_left", "kidney_right"))).sum(axis=(0, 2))))
    top = float(np.quantile(true[:, plane], 0.995))
    figure, axes = plt.subplots(2, len(SHOWN), figsize=(10, 4.4), layout="constrained")
    for (name, words), (above, below) in zip(SHOWN.items(), axes.T):
        image = (true if name == "noise_free" else seen.images[name])[::-1, plane]
        above.imshow(image, cmap="gray_r", vmin=0, vmax=top)
        error = image - true[::-1, plane]
        below.imshow(error, cmap="RdBu_r", vmin=-0.2 * top, vmax=0.2 * top)
        rmse = "" if name == "noise_free" else f"\nRMSE {100 * seen.rmse(name):.0f} % of the mean"
        above.set_title(words + rmse, fontsize=9)
        above.axis("off")
        below.axis("off")
    figure.savefig(path, dpi=85)
    plt.close(figure)


def main() -> None:
    from imaging.networks import denoise_pet, denoise_spect
    from tests.validate import checks_ai_denoise_pet, checks_ai_denoise_spect

    asked = sys.argv[1:] or ["pet", "spect"]
    for name, module, checks in (
        ("pet", denoise_pet, checks_ai_denoise_pet),
        ("spect", denoise_spect, checks_ai_denoise_spect),
    ):
        if name in asked:
            loss_curve(module.RECIPE, HERE / f"ai-denoise_{name}-loss.png")
            images(checks.JUDGE.seen(checks.JUDGE.cases()[0]), HERE / f"ai-denoise_{name}-images.png")


if __name__ == "__main__":
    main()
