"""Figures of docs/ai/warp.md: `python docs/figures/make_ai_warp.py`."""

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
from imaging.networks.warp import RECIPE  # noqa: E402
from imaging.registration import resample  # noqa: E402
from imaging.registration.field import grid_points_mm  # noqa: E402
from tests.validate.ai_warp import Pair  # noqa: E402
from tests.validate.ai_warp_other import pairs  # noqa: E402

HERE = Path(__file__).parent
SHOWN = {"rigid": "rigid", "classical": "affine and B-spline", "network": "network"}


def loss_curve(path: Path) -> None:
    """Loss on training batches and on held-out cases by step."""
    curve = np.array(load_weights(RECIPE).card["runs"][0]["curve"])
    figure, axis = plt.subplots(figsize=(5, 3), layout="constrained")
    axis.plot(curve[:, 0], curve[:, 1], label="training")
    axis.plot(curve[:, 0], curve[:, 2], label="held out")
    axis.set(xlabel="step", ylabel="loss")
    axis.legend(frameon=False)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def images(made: Pair, path: Path) -> None:
    """A coronal plane: difference of the CTs, and the distance to the true place, by each method."""
    fixed = made.fixed.volume
    plane = int(np.argwhere(made.mask("kidney_left"))[:, 1].mean())
    points = grid_points_mm(fixed.array.shape, fixed.affine)
    figure, axes = plt.subplots(2, 1 + len(SHOWN), figsize=(11, 6), layout="constrained")
    axes[0, 0].imshow(fixed.array[::-1, plane], cmap="gray", vmin=-200, vmax=300)
    axes[0, 0].set_title("fixed CT", fontsize=9)
    drawn = None
    for (name, words), (above, below) in zip(SHOWN.items(), axes.T[1:]):
        moved = resample(made.ct.volume, made.found[name], fixed, outside=-1000.0).array
        error = np.linalg.norm(made.found[name].apply(points) - made.truth.apply(points), axis=-1)
        error = np.where(made.labels > 0, error, np.nan)
        above.imshow((moved - fixed.array)[::-1, plane], cmap="RdBu_r", vmin=-300, vmax=300)
        drawn = below.imshow(error[::-1, plane], vmin=0, vmax=12)
        above.set_title(f"{words}\n{np.nanmean(error):.1f} mm in the body", fontsize=9)
    if drawn is not None:
        figure.colorbar(drawn, ax=axes[1, 1:], label="distance to the true place in mm")
    for axis in axes.ravel():
        axis.axis("off")
    figure.savefig(path, dpi=48)
    plt.close(figure)


def main() -> None:
    loss_curve(HERE / "ai-warp-loss.png")
    images(pairs("ct", 1)[0], HERE / "ai-warp-images.png")


if __name__ == "__main__":
    main()
