"""Draws docs/figures/scan_design.png: how wide doses stay after a scan at each hour, for patients like the typical one.

Run from the root of the checkout: `.venv/bin/python -m docs.figures.scan_design` (seconds).
"""

# ruff: noqa: E402 - double precision is set before anything imports equinox

from __future__ import annotations

from pathlib import Path

from twin._jax import configure

configure()

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from calibration.design import DesignTable, scan_designs
from calibration.forward import pool_weights
from calibration.observations import Observations
from calibration.posterior import Z90
from pbpk.administration import Administration
from pbpk.parameters import Covariates
from twin.body import Body, body_of
from twin.forecast import activities
from twin.patient import Study
from twin.plots import STYLE, readable

HOURS = (2.0, 4.0, 8.0, 16.0, 24.0, 36.0, 48.0, 72.0, 96.0, 120.0, 144.0, 168.0, 216.0, 264.0)
REGIONS = ("kidney_left", "kidney_right", "liver", "parotid", "tumour_1")
QUANTITIES = {"kidneys": ("#0072B2", "o"), "tumour_1": ("#D55E00", "s"), "parotid": ("#009E73", "^")}
DRAWS, FIRST_H = 64, 24.0


def typical() -> Body:
    """7.4 GBq of 177Lu-PSMA-617 in the default patient, with a tumour of 30 mL and 100 mL of others."""
    given = (Administration(1, 0.0, 7400.0, 90.0, 0.0, "PSMA-617", "177Lu"),)
    volumes = {"tumour_1": 30.0, "tumour_rest": 100.0}
    study = Study("typical", Covariates.of(), "PSMA-617", "177Lu", given, Observations.empty(), volumes)
    return body_of(study)


def scan_at(body: Body, time_h: float) -> Observations:
    """The typical patient's scan at one hour."""
    weights = np.stack([pool_weights(r, body.organs, frozenset()) for r in REGIONS])
    none, minute = np.zeros((1, len(body.prior.names))), np.array([60 * time_h])
    seen = activities(body, body.prior.names, body.first, minute, weights, none)[:, 0, 0]
    count = len(REGIONS)
    columns = np.full(count, time_h), seen, 0.03 * seen, np.full(count, np.nan)
    return Observations(REGIONS, *columns, ("SPECT",) * count, (1,) * count)


def designs(body: Body, made: Observations | None = None) -> DesignTable:
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(np.zeros(len(body.prior.names)), body.prior.covariance, DRAWS, method="eigh")
    asked = {"quantities": tuple(QUANTITIES), "regions": REGIONS, "times_h": HOURS, "scans": (1,)}
    return scan_designs(body.courses, body.prior, draws, **asked, made=made)


def draw(axis, table: DesignTable, title: str) -> None:
    """Half-width of the 90 % interval in per cent against the scan's hour, and without it (dotted)."""
    rows = sorted(table.rows, key=lambda row: row.times_h)
    width = lambda sd: 100 * np.expm1(Z90 * np.asarray(sd))
    for k, (name, (colour, mark)) in enumerate(QUANTITIES.items()):
        axis.axhline(width(table.before_log_sd[k]), color=colour, ls=":", lw=1)
        axis.plot(HOURS, [width(row.log_sd[k]) for row in rows], f"{mark}-", color=colour, ms=4, label=readable(name))
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xticks([2, 4, 8, 24, 48, 96, 168, 264], labels=["2", "4", "8", "24", "48", "96", "168", "264"])
    axis.set_yticks([10, 20, 50, 100, 200], labels=["10 %", "20 %", "50 %", "100 %", "200 %"])
    axis.minorticks_off()
    axis.set_xlabel("hour of the scan")
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)


def main() -> None:
    body = typical()
    first, second = designs(body), designs(body, scan_at(body, FIRST_H))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        draw(left, first, "one scan (dotted: none)")
        draw(right, second, f"beside a scan at {FIRST_H:g} h (dotted: alone)")
        left.set_ylabel("expected 90 % interval of the TIA, upwards")
        right.legend(frameon=False, loc="upper right")
        figure.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
