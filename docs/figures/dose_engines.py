"""Draws docs/figures/dose_engines.png: the voxel engines across lung, soft tissue and bone, and their DVHs.

Run from the root of the checkout: `.venv/bin/python -m docs.figures.dose_engines` (two minutes). The phantom is that of
`tests/validate/checks_dose_heterogeneous.py`.
"""

# ruff: noqa: E402 - double precision is set before anything imports equinox

from __future__ import annotations

from pathlib import Path

from twin._jax import configure

configure()

import numpy as np
from matplotlib.figure import Figure

from dose.histograms import dvh
from tests.validate.checks_dose_heterogeneous import ENGINES, SIZE, SPACING_MM, phantom, reference, tested

NUCLIDES = ("177Lu", "90Y", "131I")
COLOURS = {"tissue-wise kernels": "#0072B2", "one kernel, density scaling": "#E69F00", "local deposition": "#CC79A7"}
FACES = (11, 21)


def profile(axis, nuclide: str) -> None:
    middle = slice(SIZE // 2 - 1, SIZE // 2 + 1)
    line = lambda dose: dose[middle, middle].mean(axis=(0, 1))
    scale = line(reference(nuclide)).max()
    x_mm = (np.arange(SIZE) + 0.5) * SPACING_MM
    axis.plot(x_mm, line(reference(nuclide)) / scale, "k.", ms=5, label="Monte Carlo")
    for name in ENGINES:
        axis.plot(x_mm, line(tested(nuclide, name)) / scale, color=COLOURS[name], lw=1.3, label=name)
    for face in FACES:
        axis.axvline(face * SPACING_MM, color="0.7", lw=0.8, zorder=0)
    for place, word in ((5.5, "lung"), (16, "soft tissue"), (26.5, "bone")):
        axis.text(place * SPACING_MM, 1.02, word, transform=axis.get_xaxis_transform(), ha="center", fontsize=8)
    axis.set(xlabel="x (mm)", ylim=(0, None))
    axis.set_title(nuclide, pad=16)


def histogram(axis, nuclide: str) -> None:
    tia, tissue = phantom()
    lung = (tia > 1) & (tissue == 0)
    doses = {"Monte Carlo": reference(nuclide), **{name: tested(nuclide, name) for name in ENGINES}}
    top = np.percentile(reference(nuclide)[lung], 99.9) * 1.6
    level = np.linspace(0, top, 200)
    for name, dose in doses.items():
        made = dvh(dose, lung, (SPACING_MM / 10) ** 3)
        style = {"color": "k", "ls": ":", "lw": 2} if name == "Monte Carlo" else {"color": COLOURS[name], "lw": 1.3}
        axis.plot(level, made.cumulative(level), **style)
    axis.set(xlabel="dose (Gy)", xlim=(0, top), ylim=(0, 102))


if __name__ == "__main__":
    figure = Figure(figsize=(11, 6.2), layout="constrained")
    axes = figure.subplots(2, len(NUCLIDES))
    for k, nuclide in enumerate(NUCLIDES):
        profile(axes[0, k], nuclide)
        histogram(axes[1, k], nuclide)
    axes[0, 0].set_ylabel("dose through the middle,\nrelative to the greatest")
    axes[1, 0].set_ylabel("volume of the ball's part\nin lung (%)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncol=4, frameon=False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130)
