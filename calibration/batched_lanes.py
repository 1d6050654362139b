"""Which parameters of a block are moved, and which of them in one solve, for `batched`.

A derivative by differences costs a solve for each parameter that is moved. Parameters of one kind in different organs
act on their own organ's activity above all, so all of a kind can share a solve, each organ's change being put down to
its own parameter (grouping of columns as in Curtis, Powell and Reid, IMA J Appl Math 1974;13:117, here of a matrix that
is nearly and not strictly sparse). That is good enough to move by, not for a covariance.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from calibration.forward import pool_weights
from calibration.problem import SINKS

BLOOD_POOLS = 3
"""Pools after the organs in a row of weights: vein, artery, protein."""
UPTAKE = {"nonsaturable_uptake": "receptor_density"}
"""Kinds that stand for the same thing in different organs share a solve."""


class Scans(NamedTuple):
    """What is observed: `weights` [observation, pool] over organs, vein, artery and protein at `time_h` [observation]
    after the labelled administration; `tia_weights` [region, pool] of the time integrals that are wanted."""

    weights: np.ndarray
    time_h: np.ndarray
    tia_weights: np.ndarray


class Group(NamedTuple):
    """Parameters (indices) that move together, and the share of the change of each observation [observation, parameter]
    and integral [region, parameter] that is put down to each."""

    parameters: np.ndarray
    of_activity: np.ndarray
    of_tia: np.ndarray


def scans_of(regions, times_h, organs: tuple[str, ...], tia_regions=None) -> Scans:
    """Every region at every time, the times of one region beside each other; integrals of `tia_regions` (the same)."""
    weights_of = lambda names: np.stack([pool_weights(r, organs, frozenset(regions)) for r in names])
    weights = np.repeat(weights_of(regions), len(times_h), axis=0)
    return Scans(weights, np.tile(np.asarray(times_h, float), len(regions)), weights_of(tia_regions or regions))


def felt(names: tuple[str, ...], organs: tuple[str, ...], scans: Scans) -> np.ndarray:
    """Indices of the parameters that are moved: shared ones, those of organs seen or integrated, and of sinks.

    As in `calibration.problem`: 1 sd of another organ's parameter moves these regions by 0.4 % at most. A row with
    weight on blood is the whole body or its rest, and speaks of shared parameters and sinks only.
    """
    rows = np.concatenate([scans.weights, scans.tia_weights])
    rows = rows[~_whole(rows)]
    seen = {o for o, w in zip(organs, rows.T, strict=False) if np.any(w > 0)} | set(SINKS)
    return np.array([k for k, name in enumerate(names) if "/" not in name or _organ(name) in seen], int)


def each(names: tuple[str, ...], organs: tuple[str, ...], scans: Scans) -> tuple[Group, ...]:
    """Every parameter by itself."""
    one = lambda rows: np.ones((len(rows), 1))
    return tuple(Group(np.array([k]), one(scans.weights), one(scans.tia_weights)) for k in felt(names, organs, scans))


def kinds(names: tuple[str, ...], organs: tuple[str, ...], scans: Scans) -> tuple[Group, ...]:
    """All parameters of a kind together; those that all organs share by themselves."""
    together: dict[str, list[int]] = {}
    for k in felt(names, organs, scans):
        kind = names[k].split("/")[0]
        together.setdefault(UPTAKE.get(kind, kind), []).append(int(k))
    share = lambda rows, group: _shares(rows, [names[k] for k in group], organs)
    return tuple(Group(np.array(g), share(scans.weights, g), share(scans.tia_weights, g)) for g in together.values())


def _shares(rows: np.ndarray, names: list[str], organs: tuple[str, ...]) -> np.ndarray:
    """Weight of each parameter's organ in each row, as parts of one; nothing where no organ of theirs is in the row."""
    if "/" not in names[0]:
        return np.ones((len(rows), 1))
    own = np.stack([rows[:, organs.index(_organ(name))] for name in names], axis=1) * ~_whole(rows)[:, None]
    return own / np.maximum(own.sum(axis=1, keepdims=True), np.finfo(float).tiny)


def _whole(rows: np.ndarray) -> np.ndarray:
    return np.any(rows[:, -BLOOD_POOLS:] > 0, axis=1)


def _organ(name: str) -> str:
    return name.partition("/")[2]
