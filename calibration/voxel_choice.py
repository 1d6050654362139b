"""Which curve a voxel gets: AICc with known errors, Akaike weights, and what is done where that is undefined.

The rules are those of dose.activity with two differences. Where AICc is undefined the simplest accepted curve is taken,
not an equal average, since at a voxel's noise a curve through all points follows the noise. And a curve whose sd
exceeds its integral leaves the average if another one is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.stats import chi2 as chi2_distribution

from calibration.voxel_fit import VoxelFits, fit
from calibration.voxel_models import MODELS
from calibration.voxel_result import BIT, NAMES

NEGLIGIBLE_WEIGHT = 1e-4
"""A curve that could not reach this Akaike weight against a simpler one, even through all points, is not fitted."""


@dataclass
class Chosen:
    """The answer of each voxel while it is put together, [voxel]; `chi2_ratio` is chi2 over its expected median."""

    tia: np.ndarray
    sd: np.ndarray
    model: np.ndarray
    flags: np.ndarray
    slow_per_h: np.ndarray
    after_last: np.ndarray
    chi2_ratio: np.ndarray

    @staticmethod
    def blank(voxels: int) -> Chosen:
        """No answer: NaN, model "invalid", no flags."""
        empty = [np.full(voxels, np.nan) for _ in range(5)]
        return Chosen(*empty[:2], np.zeros(voxels, np.uint8), np.zeros(voxels, np.uint16), *empty[2:])

    @staticmethod
    def joined(parts: list[Chosen]) -> Chosen:
        return Chosen(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Chosen)))

    def take(self, where, other: Chosen):
        """Write `other` [voxels of the mask] to the places of `where`; flags are added to those already there."""
        for field in fields(self):
            new, old = getattr(other, field.name), getattr(self, field.name)
            old[where] = old[where] | new if field.name == "flags" else new


def choose(activity, sd, time_h, physical_per_h, names, choice, rejected):
    """Answers of all voxels and their best curves [scan, voxel]; `activity` and `sd` [scan, voxel]."""
    ranked, others = _split(names, len(time_h))
    tables: dict[str, VoxelFits] = {}
    for name in (*ranked, *others):
        usable = _usable(tables, len(time_h), rejected, activity.shape[1])
        where = _can_count(tables, usable, name, len(time_h)) if name in ranked else ~usable.any(0)
        if where.any():
            found = fit(MODELS[name], time_h, activity[:, where], sd[:, where], physical_per_h)
            tables[name] = found.scattered(where)
    if not tables:
        return _nothing(activity)
    usable = _usable(tables, len(time_h), rejected, activity.shape[1])
    return _combined(tables, usable, ranked, len(time_h), choice)


def _can_count(tables, usable, name: str, scans: int) -> np.ndarray:
    """Where a curve through all points would reach a weight worth its fit, [voxel]."""
    if not tables:
        return np.ones(usable.shape[1], dtype=bool)
    sharp = usable & (_stack(tables, "sd") <= _stack(tables, "tia"))
    lowest = np.where(sharp, _stack(tables, "chi2") + _penalty(list(tables), scans), np.inf).min(0)
    return _penalty([name], scans)[0, 0] - lowest < -2 * np.log(NEGLIGIBLE_WEIGHT)


def _split(names, scans: int) -> tuple[list[str], list[str]]:
    """Models that AICc can rank, and those with no more parameters than scans, each tried where the ones before miss.

    Two clearances are never fitted without AICc.
    """
    size = {name: model.parameters for name, model in MODELS.items() if name in names}
    ranked = [name for name, k in size.items() if scans - k > 1]
    return ranked, [name for name, k in size.items() if k <= scans <= k + 1 and name != "bi"]


def _degrees(name: str, scans: int) -> int:
    return scans - MODELS[name].parameters


def _usable(tables: dict[str, VoxelFits], scans: int, rejected: float, voxels: int) -> np.ndarray:
    """Which fits may be used, [model, voxel]."""
    rows = [
        f.converged & np.isfinite(f.tia) & np.isfinite(f.sd) & (f.chi2 <= rejected * max(_degrees(name, scans), 1))
        for name, f in tables.items()
    ]
    return np.array(rows) if rows else np.zeros((1, voxels), dtype=bool)


def _stack(tables, field: str) -> np.ndarray:
    return np.stack([getattr(f, field) for f in tables.values()])


def _combined(tables, usable, ranked: list[str], scans: int, choice: str):
    """Akaike-weighted or best answers from all fits."""
    dof = np.array([_degrees(name, scans) for name in tables])[:, None]
    chi2, tia = _stack(tables, "chi2"), _stack(tables, "tia")
    sd = _stack(tables, "sd") * np.sqrt(np.where(dof > 0, np.maximum(chi2 / np.maximum(dof, 1), 1.0), 1.0))
    finite = np.isfinite(tia) & np.isfinite(sd) & np.isfinite(chi2) & _stack(tables, "converged")
    accepted = usable.any(0)
    pool = np.where(accepted, usable, finite)
    sharp = pool & (sd <= tia)
    pool = np.where(sharp.any(0), sharp, pool)
    score = np.where(pool, chi2 + np.where(accepted, _penalty(list(tables), scans), 0.0), np.inf)
    lowest = score.min(0)
    weight = np.where(pool, np.exp(-0.5 * (score - np.where(np.isfinite(lowest), lowest, 0.0))), 0.0)
    best = score.argmin(0)
    alone = (np.arange(len(tables))[:, None] == best) & pool
    weight = np.where(accepted & (choice == "average"), weight, alone)
    share = weight / np.maximum(weight.sum(0), 1e-300)
    return _answer(tables, share, best, tia, sd, chi2, dof, accepted, ranked, pool.any(0))


def _penalty(names: list[str], scans: int) -> np.ndarray:
    """2K + 2K(K+1)/(N-K-1); without the second term where it is undefined (these curves never meet a ranked one)."""
    rows = []
    for name in names:
        k = MODELS[name].parameters
        rows.append(2 * k + (2 * k * (k + 1) / (scans - k - 1) if scans - k > 1 else 0.0))
    return np.array(rows)[:, None]


def _answer(tables, share, best, tia, sd, chi2, dof, accepted, ranked, any_fit):
    sum_of = lambda x: np.where(share > 0, share * x, 0.0).sum(0)
    pick = lambda x: np.take_along_axis(x, best[None], axis=0)[0]
    mean = sum_of(tia)
    out = Chosen.blank(len(best))
    out.tia[:] = np.where(any_fit, mean, np.nan)
    out.sd[:] = np.where(any_fit, np.sqrt(sum_of(sd**2 + (tia - mean) ** 2)), np.nan)
    out.after_last[:] = sum_of(tia * _stack(tables, "after_last")) / mean
    out.slow_per_h[:] = pick(_stack(tables, "slow_per_h"))
    out.model[:] = np.array([NAMES.index(name) for name in tables], dtype=np.uint8)[best]
    by_rule = np.array([name in ranked or (not ranked and k == 0) for k, name in enumerate(tables)])
    expected = chi2_distribution.median(np.maximum(dof, 1))
    out.chi2_ratio[:] = pick(np.where(dof > 0, chi2 / expected, np.nan))
    for flag, where in (
        ("at_physical", pick(_stack(tables, "at_physical"))),
        ("at_bound", pick(_stack(tables, "at_bound"))),
        ("not_ranked", accepted & ~by_rule[best]),
        ("misfit", ~accepted & any_fit),
        ("failed", ~any_fit),
    ):
        out.flags[where] |= BIT[flag]
    curve = np.take_along_axis(_stack(tables, "curve"), best[None, None], axis=0)[0]
    return out, curve


def _nothing(activity):
    """No curve can be fitted: all voxels are left to the trapezoids."""
    out = Chosen.blank(activity.shape[1])
    out.flags[:] = BIT["failed"]
    return out, np.full_like(activity, np.nan)
