"""A course of administrations cut into stretches of constant infusion, and which form of the model serves it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dose.errors import InputError, describe
from pbpk.kinetics import Kinetics

SEGMENTS_MULTIPLE = 32
"""Segments are padded to this multiple by empty ones, so that few programs are compiled."""
SAME_PROFILE = 1e-9
"""Relative difference of total over hot amount, corrected for decay, below which doses share one profile."""


class Segments(NamedTuple):
    """Constant-infusion stretches in order of time; arrays of shape [segment], or [segment, species] (total, hot).

    A last axis of the amounts, [segment, species, patient], gives each patient its own; times are shared.
    """

    length_min: np.ndarray
    bolus_nmol: np.ndarray
    infusion_nmol_per_min: np.ndarray
    restart: np.ndarray

    @property
    def end_min(self) -> np.ndarray:
        return np.cumsum(self.length_min)

    @property
    def start_min(self) -> np.ndarray:
        return np.cumsum(self.length_min) - self.length_min

    def padded(self) -> Segments:
        """With empty segments at the end: they take no step and change nothing."""
        missing = -len(self.length_min) % SEGMENTS_MULTIPLE
        return Segments(
            *(np.concatenate([x, np.zeros((missing, *np.shape(x)[1:]), np.asarray(x).dtype)]) for x in self)
        )


def segments(start_min, duration_min, total_nmol, hot_nmol, ask_min, end_min) -> Segments:
    """Cut [0, end_min] at each administration and each time in `ask_min`.

    Times have shape [dose], amounts [dose] or [dose, patient]; a duration of 0 is a bolus. What would be given after
    the end is left out.

    Raises:
        InputError: a dose before 0, a negative duration, or amounts that are not 0 <= hot <= total.
    """
    start, duration = np.asarray(start_min, float), np.asarray(duration_min, float)
    _check(start, duration, np.asarray(total_nmol, float), np.asarray(hot_nmol, float))
    edges = np.unique(np.concatenate([[0.0, end_min], start, start + duration, np.asarray(ask_min, float)]))
    edges = edges[(edges >= 0) & (edges <= end_min)]
    left, right = edges[:-1], edges[1:]
    amounts = np.stack([np.asarray(total_nmol, float), np.asarray(hot_nmol, float)], axis=1)
    chosen = lambda which, x: np.sum(x[which], axis=0)
    bolus = np.stack([chosen((start == t) & (duration == 0), amounts) for t in left])
    per_min = amounts / np.where(duration > 0, duration, 1.0).reshape(-1, *[1] * (amounts.ndim - 1))
    runs = [(start <= a) & (start + duration >= b) & (duration > 0) for a, b in zip(left, right, strict=True)]
    infusion = np.stack([chosen(run, per_min) for run in runs])
    species = tuple(range(1, amounts.ndim))
    change = np.any(bolus > 0, axis=species) | np.any(np.diff(infusion, axis=0, prepend=0) != 0, axis=species)
    return Segments(right - left, bolus, infusion, change)


def _check(start, duration, total, hot) -> None:
    if not (np.all(np.isfinite(start)) and np.all(start >= 0)):
        raise InputError(describe("start_min", f"{start}", "minutes from 0 on", "count from the first dose"))
    if not (np.all(np.isfinite(duration)) and np.all(duration >= 0)):
        raise InputError(describe("duration_min", f"{duration}", "0 (a bolus) or more", "correct the infusion times"))
    good = np.isfinite(total) & (hot >= 0) & (hot <= total * (1 + 1e-9))
    if not np.all(good):
        worst = np.argwhere(~good)[0]
        found = f"total {total[tuple(worst)]:g} with hot {hot[tuple(worst)]:g} nmol"
        do = "give the ligand in all, and the labelled part of it"
        raise InputError(describe(f"dose {worst[0]}: amounts", found, "0 <= hot <= total", do))


class Profile(NamedTuple):
    """Total over hot amount, [patient], at the time of the first dose, where one profile serves every dose."""

    ratio: np.ndarray
    since_min: float


def common_profile(kin: Kinetics, seg: Segments) -> Profile | None:
    """The profile that all doses share, or None if both species are needed; `kin.decay` must be concrete."""
    bolus = np.asarray(seg.bolus_nmol)
    bolus = bolus if bolus.ndim == 3 else bolus[..., None]
    given = np.flatnonzero(np.any(bolus[:, 0] > 0, axis=-1))
    if np.any(np.asarray(seg.infusion_nmol_per_min) > 0) or given.size == 0 or np.any(bolus[given] <= 0):
        return None
    start = np.asarray(seg.start_min)[given]
    ratio = bolus[given, 0] / bolus[given, 1]
    later = np.exp(-np.asarray(kin.decay) * (start - start[0])[:, None])
    same = np.all(np.abs(ratio * later / ratio[0] - 1) <= SAME_PROFILE)
    return Profile(np.broadcast_to(ratio[0], (kin.patients,)), float(start[0])) if same else None
