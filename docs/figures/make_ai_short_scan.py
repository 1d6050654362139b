"""Figures of docs/ai/short_scan.md: `python -m docs.figures.make_ai_short_scan` (minutes the first time)."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from docs.figures.make_ai_sparse_views import losses, panel
from dose.learning.weights import load_weights
from imaging.networks.short_scan import RECIPE
from tests.validate.checks_ai_short_scan import QUARTER, by_name, denoised, nrmse, scan, short
from twin._jax import configure

HERE = Path(__file__).parent
CASE, VIEW = 2_000_002, 2


def views_and_images() -> Figure:
    expected = QUARTER * scan(CASE)[0].expected[0, VIEW]
    made = {name: denoised(CASE, name).projections.counts[0, VIEW] for name in ("classical", "network")}
    figure = Figure(figsize=(8.0, 5.4), layout="constrained")
    rows = figure.subplots(3, 4)
    top = 0.6 * expected.max()
    panel(rows[0, 0], expected, "a view, expected", top)
    panel(rows[0, 1], short(CASE).counts[0, VIEW], "counted in a quarter of the time", top)
    panel(rows[0, 2], made["classical"], "through a Gaussian", top)
    panel(rows[0, 3], made["network"], "by the network", top)
    images = {name: by_name(name, CASE) for name in ("clean", "quarter", "post", "network")}
    titles = (
        "expected counts",
        "a quarter of the counts",
        "and a Gaussian over the image",
        "network on the projections",
    )
    slice_ = int(np.argmax(images["clean"].sum(axis=(1, 2))))
    high = 0.5 * images["clean"][slice_].max()
    for k, (name, image) in enumerate(images.items()):
        words = titles[k] if name == "clean" else f"{titles[k]}\nNRMSE {nrmse(image, images['clean']):.1f} %"
        panel(rows[1, k], image[slice_][::-1], words, high)
        difference = (image - images["clean"])[slice_][::-1]
        panel(
            rows[2, k],
            difference,
            "" if name == "clean" else "less that of expected",
            0.1 * high,
            -0.1 * high,
            "RdBu_r",
        )
    return figure


if __name__ == "__main__":
    configure()
    card = load_weights(RECIPE).card
    losses("short_scan", card["runs"]).savefig(HERE / "ai-short_scan-loss.png", dpi=110)
    views_and_images().savefig(HERE / "ai-short_scan-case.png", dpi=95)
