"""Uptake of 131I in the thyroid from a few measurements: a curve, its integral, and what is only assumed.

Two compartments, blood iodide and gland (or lesion) (EANM procedure, Haenscheid et al. 2013, recalled): the gland holds

    u(t) = a (exp(-kT t) - exp(-kB t)),   kT = lp + ln 2 / Tb,   kB = kT + ln 2 / Tu

of the administered activity, with physical decay lp, biological half-life Tb and half-time of uptake Tu. Tb and Tu
have log-normal priors of the disease (`data/thyroid.csv`), a is free; the posterior is computed on a grid of both, a
being linear. So one measurement gives an answer whose interval holds what it does not know, and with several late ones
the prior no longer matters; `prior_share` says how much of the clearance is assumed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dose.curves import Exponentials, uptake
from dose.errors import InputError, describe, nearest
from dose.estimates import Estimate, estimate, generator
from dose.nuclides import radionuclide
from dose.provenance import load_table

NUCLIDE = "131I"
CANCER = ("metastasis", "remnant")
HOURS_PER_DAY = 24.0
DRAWS = 4000
"""Enough that the ends of a 95 % interval are good to about 3 % of its width."""

GRID_SDS, NODES = 4.0, 161
"""The grid reaches this many prior sds to both sides, in steps of a twentieth of an sd: finer than a few per cent of a
half-life, as well as good measurements determine it."""

MISFIT_CHI2_PER_DOF = 9.0
"""Points missed by three sds in the root mean square are reported."""

ASSUMED_SHARE = 0.8
"""Where more of the clearance's sd than this is left, the half-life is called assumed."""


def thyroid_value(quantity: str, disease: str = "") -> float:
    """A value of `data/thyroid.csv`.

    Raises:
        InputError: no such row; the nearest disease is suggested.
    """
    rows = {(r["quantity"], r["disease"]): float(r["value"]) for r in load_table("dose", "thyroid.csv")}
    for key in ((quantity, disease), (quantity, "")):
        if key in rows:
            return rows[key]
    names = sorted(name for q, name in rows if q == quantity)
    meant = nearest(disease, names) or "one of " + ", ".join(names)
    raise InputError(describe("disease", f'"{disease}" for {quantity}', meant, "correct the name"))


@dataclass(frozen=True, eq=False)
class ThyroidUptake:
    """131I in a gland or nodule as a share of the administered activity.

    `curve` has amplitudes as shares; `tia_h` is its integral (MBq h per MBq), `effective_half_life_h` that of the late
    phase; `tia_draws_h` [draw] go into doses. `prior_share`: sd of the clearance (log biological half-life) after
    over before the measurements; 1 where they say nothing of it.
    """

    disease: str
    curve: Exponentials
    tia_h: Estimate
    effective_half_life_h: Estimate
    peak: float
    prior_share: float
    chi2: float
    tia_draws_h: Float[np.ndarray, " draw"]
    warnings: tuple[str, ...]

    def share(self, time_h):
        """Share of the administered activity in the gland at the times, in their shape."""
        return self.curve.activity_MBq(time_h)

    def table(self):
        """pandas: quantity, value and interval."""
        import pandas as pd

        rows = [
            {"quantity": "integral_h"} | self.tia_h.row("value"),
            {"quantity": "effective_half_life_d"} | self.effective_half_life_h.scaled(1 / HOURS_PER_DAY).row("value"),
            {"quantity": "uptake_at_24_h", "value": float(self.share(24.0))},
            {"quantity": "maximum_uptake", "value": self.peak},
            {"quantity": "prior_share", "value": self.prior_share},
        ]
        return pd.DataFrame(rows)


def fit_uptake(
    time_h, share, *, disease: str, decay_corrected: bool, tracer: str = NUCLIDE, relative_sd=None,
    draws: int = DRAWS, seed: int = 0, purpose: str = "uptake",
) -> ThyroidUptake:  # fmt: skip
    """The curve of 131I from one or more uptake measurements.

    Args:
        time_h: times after the intake, shape [time].
        share: uptake as a share of the administered activity (0.45, not 45), shape [time].
        disease: "graves", "toxic_adenoma", "toxic_multinodular", "goitre", or "metastasis" and "remnant" of cancer:
            sets the priors of the half-lives.
        decay_corrected: True where the share is of activity corrected to the intake (or measured against a standard
            that decayed alike), False where it is activity present over activity given.
        tracer: nuclide that was measured ("123I", "124I", "131I"), to take its decay out.
        relative_sd: of each measurement, one number or [time]; left out, that of the table.
        purpose: a word that makes the draws of two uptakes of one seed independent.

    Raises:
        InputError: percent for shares, times not above 0, unknown disease or nuclide.
    """
    t, u, sd = _points(time_h, share, relative_sd)
    if not decay_corrected:
        u = _as_share(t, u * np.exp(radionuclide(tracer).decay_constant_per_h * t))
    lp = radionuclide(NUCLIDE).decay_constant_per_h
    present = u * np.exp(-lp * t)
    grid = _Grid(t, present, sd * present, disease, lp)
    return _collected(grid, disease, draws, seed, purpose)


def _points(time_h, share, relative_sd):
    t, u = np.atleast_1d(np.asarray(time_h, float)), np.atleast_1d(np.asarray(share, float))
    sd = thyroid_value("measurement_sd") if relative_sd is None else relative_sd
    sd = np.broadcast_to(np.asarray(sd, float), t.shape)
    good = t.ndim == 1 and t.shape == u.shape and len(t) > 0 and bool(np.all(np.isfinite([t, u, sd])))
    if not good or np.any(t <= 0) or np.any(sd <= 0) or np.any(sd > 1) or len(np.unique(t)) != len(t):
        expected = "equally long lists, distinct times above 0 h, relative sds above 0 and up to 1"
        raise InputError(describe("time_h, share, relative_sd", f"{t}, {u}, {sd}", expected, "correct the lists"))
    return t, _as_share(t, u), sd


def _as_share(t, u):
    if np.any(u <= 0) or np.any(u > 1):
        do = "divide percent by 100, and check decay_corrected"
        raise InputError(describe("share", f"{u} at {t} h, decay-corrected or present", "above 0 and up to 1", do))
    return u


class _Grid:
    """Posterior of Tb and Tu on a grid in prior sds, the amplitude solved for at each node."""

    def __init__(self, t, present, sd, disease: str, lp: float):
        physical_h = math.log(2) / lp
        effective_h = thyroid_value("effective_half_life", disease) * HOURS_PER_DAY
        self.disease, self.lp, self.t, self.u = disease, lp, t, present
        self.medians = (1 / (1 / effective_h - 1 / physical_h), thyroid_value("uptake_half_time", disease))
        self.sds = (thyroid_value("biological_log_sd", disease), thyroid_value("uptake_log_sd", disease))
        nodes = np.linspace(-GRID_SDS, GRID_SDS, NODES)
        self.z = np.stack(np.meshgrid(nodes, nodes, indexing="ij"), axis=-1).reshape(-1, 2)
        _, _, chi2 = self.solved(self.z, sd)
        self.chi2, self.dof = float(chi2.min()), len(t) - 3
        widened = math.sqrt(max(1.0, self.chi2 / self.dof)) if self.dof > 0 else 1.0
        self.sd = sd * widened
        amplitude, amplitude_sd, chi2 = self.solved(self.z, self.sd)
        log_weight = np.where(amplitude > 0, np.log(np.maximum(amplitude_sd / np.abs(amplitude), 1e-300)), -np.inf)
        log_weight = log_weight - chi2 / 2 - np.sum(self.z**2, axis=1) / 2
        weight = np.exp(log_weight - log_weight.max())
        self.weight = weight / weight.sum()

    def rates(self, z):
        """kT and kB in 1/h."""
        biological, rise = (m * np.exp(sd * z[:, k]) for k, (m, sd) in enumerate(zip(self.medians, self.sds)))
        clearance = self.lp + math.log(2) / biological
        return clearance, clearance + math.log(2) / rise

    def solved(self, z, sd):
        """Amplitude, its sd and chi2 of each node: weighted least squares in one unknown."""
        slow, fast = self.rates(z)
        shape = np.exp(-np.outer(slow, self.t)) - np.exp(-np.outer(fast, self.t))
        norm = np.sum((shape / sd) ** 2, axis=1)
        amplitude = np.sum(shape * self.u / sd**2, axis=1) / norm
        return amplitude, 1 / np.sqrt(norm), np.sum(((amplitude[:, None] * shape - self.u) / sd) ** 2, axis=1)

    def drawn(self, draws: int, seed: int, purpose: str):
        """Draws of the place on the grid (spread over each cell), kT, kB and amplitude."""
        rng = generator(draws, seed, purpose)
        step = 2 * GRID_SDS / (NODES - 1)
        z = self.z[rng.choice(len(self.z), draws, p=self.weight)] + step * (rng.random((draws, 2)) - 0.5)
        amplitude, amplitude_sd, _ = self.solved(z, self.sd)
        return z, *self.rates(z), amplitude * np.exp(amplitude_sd / amplitude * rng.standard_normal(draws))


def _collected(grid: _Grid, disease: str, draws: int, seed: int, purpose: str) -> ThyroidUptake:
    z, slow, fast, amplitude = grid.drawn(draws, seed, purpose)
    tia_h, half_life_h = amplitude * (1 / slow - 1 / fast), math.log(2) / slow
    middle = np.median(tia_h)
    kT, kB = float(np.median(slow)), float(np.median(fast))
    curve = uptake(float(middle / (1 / kT - 1 / kB)), kT, kB)
    peak = float(curve.activity_MBq(math.log(kB / kT) / (kB - kT)))
    prior_share = min(float(np.std(z[:, 0])), 1.0)
    notes = _warnings(grid, peak, prior_share, bool(np.mean(np.abs(z[:, 0]) > 0.9 * GRID_SDS) > 0.01))
    half_life = estimate(math.log(2) / kT, half_life_h)
    return ThyroidUptake(disease, curve, estimate(middle, tia_h), half_life, peak, prior_share, grid.chi2, tia_h, notes)


def _warnings(grid: _Grid, peak: float, prior_share: float, at_edge: bool) -> tuple[str, ...]:
    notes = []
    if prior_share > ASSUMED_SHARE:
        notes.append("the effective half-life is mostly assumed: measure once more, at 4 to 7 days")
    if at_edge:
        notes.append("the clearance lies far outside what the disease shows: check times, units and decay correction")
    if grid.dof > 0 and grid.chi2 > MISFIT_CHI2_PER_DOF * grid.dof:
        notes.append("the measurements do not lie on one curve within their sds: one may be wrong; sds were widened")
    if peak > 1:
        notes.append("the curve's maximum is above all of the activity: check the uptake's scale")
    if grid.disease not in CANCER and peak < thyroid_value("least_uptake", "benign"):
        notes.append(f"maximum uptake of {peak:.0%}: a large activity for little dose, consider other treatments")
    return tuple(notes)
