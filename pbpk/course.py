"""From administrations and asked-for times to the arrays a solver walks through."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide
from pbpk.administration import Administration

HALF_LIVES_TO_THE_END = 40
"""A course is followed this long past its last event: 2^-40, below 1e-12, of the activity is left."""


class Course(NamedTuple):
    """A run of administrations of one agent; minutes count from the first of them, which is at `origin_min`.

    `doses` are start_min, duration_min, total_nmol and hot_nmol, each [dose]; `ask_min` may lie before the first.
    """

    doses: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
    ask_min: np.ndarray
    time_h: np.ndarray
    origin_min: float
    end_min: float


def course_of(administrations: Sequence[Administration], nuclide: Radionuclide, times_h) -> Course:
    """The course of these administrations, asked for at `times_h` from the start of cycle 1.

    Raises:
        InputError: no administration, one of another nuclide, times that are not finite and increasing.
    """
    _check_nuclide(administrations, nuclide)
    time_h = _increasing(times_h)
    origin_min = 60 * min(a.time_h for a in administrations)
    columns = [(60 * a.time_h - origin_min, 60 * a.infusion_h, a.amount_nmol, a.labelled_nmol) for a in administrations]
    start, duration, total, hot = np.array(columns, float).T
    ask = 60 * time_h - origin_min
    last = max(ask[-1], np.max(start + duration))
    end = last + HALF_LIVES_TO_THE_END * 60 * nuclide.half_life_h
    return Course((start, duration, total, hot), ask, time_h, origin_min, end)


def _check_nuclide(administrations, nuclide: Radionuclide):
    if not administrations:
        raise InputError(describe("administrations", "none", "at least one", "give what was administered"))
    for a in administrations:
        if a.nuclide != nuclide.name:
            field = f"administration of cycle {a.cycle}: nuclide"
            do = "simulate each nuclide with a model made for it"
            raise InputError(describe(field, repr(a.nuclide), f"{nuclide.name}, the model's", do))


def _increasing(times_h) -> np.ndarray:
    time_h = np.atleast_1d(np.asarray(times_h, float))
    if time_h.ndim != 1 or time_h.size == 0 or not np.all(np.isfinite(time_h)) or np.any(np.diff(time_h) <= 0):
        found = f"{np.size(time_h)} times of which some repeat, fall or are not finite" if time_h.size else "no times"
        raise InputError(describe("times_h", found, "a row of finite, increasing hours", "sort them, drop doubles"))
    return time_h
