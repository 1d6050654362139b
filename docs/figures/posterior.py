"""Draws docs/figures/posterior.png: Laplace, importance weights and NUTS beside each other on one virtual patient.

Run from the root of the checkout: `.venv/bin/python -m docs.figures.posterior` (three minutes).
"""

# ruff: noqa: E402 - double precision is set before anything imports equinox

from __future__ import annotations

from pathlib import Path

from twin._jax import configure

configure()

import numpy as np
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde, norm

from calibration.belief import Belief
from calibration.fit import fit
from calibration.importance import weighted
from calibration.sampler import nuts
from tests import synthetic
from twin.body import body_of
from twin.plots import BLUE, GREY, STYLE

SHOWN = ("receptor_density/kidney_left", "release/kidney_left", "release/tumour_1", "kPS/tumour_1")
TITLES = ("receptor density, left kidney", "release, left kidney", "release, tumour 1", "permeability, tumour 1")
RED = "#C0392B"
FIGURE = Path(__file__).with_suffix(".png")


def main() -> None:
    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(60))
    body = body_of(study)
    fitted = fit(body.courses, study.observations, Belief.of(body.prior))
    prob = fitted.problem
    drawn = weighted(fitted.experiment, prob, fitted.optimum, np.random.default_rng(0))
    offsets = prob.offsets(drawn.z[..., 0])
    chains = nuts(fitted)
    flat = chains.offsets.reshape(-1, len(prob.names))
    import matplotlib as mpl

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 2.8), layout="constrained")
        axes = figure.subplots(1, len(SHOWN))
        for axis, name, title in zip(axes, SHOWN, TITLES, strict=True):
            k = prob.names.index(name)
            grid = np.linspace(*np.percentile(flat[:, k], [0.05, 99.95]), 200)
            sd = np.sqrt(fitted.laplace[k, k])
            prior = np.sqrt(prob.prior[k, k])
            axis.plot(np.exp(grid), norm.pdf(grid, 0, prior), color=GREY, ls=":", label="prior")
            axis.fill_between(np.exp(grid), gaussian_kde(flat[:, k])(grid), color=BLUE, alpha=0.25, lw=0, label="NUTS")
            axis.plot(np.exp(grid), norm.pdf(grid, fitted.offsets[k], sd), color=BLUE, ls="--", label="Laplace")
            weights = drawn.weight[:, 0]
            axis.plot(np.exp(grid), gaussian_kde(offsets[k], weights=weights)(grid), color=RED, label="importance")
            axis.set_title(title, fontsize=9)
            axis.set_xlabel("over the population's median")
            axis.set_yticks([])
        axes[0].set_ylabel("density of the log")
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
        figure.savefig(FIGURE, dpi=150)
    print(chains.diagnostics, float(drawn.pareto_k[0]), float(drawn.effective[0]))


if __name__ == "__main__":
    main()
