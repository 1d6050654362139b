"""Measurements without images: blood samples in a counter, and a probe in front of the whole body.

Both become `Reading`s, whose columns are those of a table of measurements: region, time after administration, activity
present then with its sd, volume, modality. Errors that all readings of a series share (counter efficiency, blood
volume, the first reading of the probe) are in `sd_MBq` and left out of `own_sd_MBq`, as for scans.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.provenance import load_table

MOST_SD_OF_A_RISE = 3.0
"""Whole-body activity corrected for decay that rises by more than this many sd was not measured as said."""


@dataclass(frozen=True)
class Reading:
    """One reading of "blood" or "whole_body"; `concentration_Bq_per_mL` is None for the body."""

    region: str
    time_h: float
    activity_MBq: float
    sd_MBq: float
    own_sd_MBq: float
    volume_mL: float
    modality: str
    concentration_Bq_per_mL: float | None = None


def blood_observations(
    times_h,
    counts,
    counting_s,
    mass_g,
    *,
    nuclide: str,
    efficiency_cps_per_Bq: float,
    blood_volume_mL: float,
    counted_at_h=None,
    background_cps: float = 0.0,
    background_sd_cps: float = 0.0,
    efficiency_relative_sd: float = 0.0,
    mass_sd_g: float = 0.0,
    blood_volume_relative_sd: float = 0.0,
    density_g_per_mL: float | None = None,
    haematocrit: float | None = None,
    cell_to_plasma: float = 0.0,
) -> tuple[Reading, ...]:
    """Activity in all blood from weighed samples drawn at `times_h` and counted at `counted_at_h` (both from the start
    of administration; decay in between, and during counting, is put back).

    Samples are whole blood, or plasma where `haematocrit` is given: then blood = plasma x (1 - Hct + Hct x
    cell_to_plasma), with `cell_to_plasma` the concentration in cells over that in plasma (0 for a ligand that stays
    outside). `density_g_per_mL` is the sample's, from `data/samples.csv` where not given.

    Raises:
        InputError: lengths that differ, a sample counted before it was drawn, no counts above background, or a value
            that is none.
    """
    shapes = np.broadcast_arrays(times_h, counts, counting_s, mass_g, times_h if counted_at_h is None else counted_at_h)
    drawn, seen, seconds, mass, counted = (np.asarray(a, dtype=float) for a in shapes)
    density = _density(haematocrit is not None) if density_g_per_mL is None else density_g_per_mL
    _check_blood(drawn, counted, seconds, mass, haematocrit, efficiency_cps_per_Bq * blood_volume_mL * density)
    decay_per_h = radionuclide(nuclide).decay_constant_per_h
    x = decay_per_h * seconds / 3600
    net = seen / seconds - background_cps
    if not net.min() > 0:
        do = "count longer, or leave the sample out"
        raise InputError(describe("blood sample", "no counts above background", "net counts in every sample", do))
    then_Bq = net / efficiency_cps_per_Bq * np.exp(decay_per_h * (counted - drawn)) * x / -np.expm1(-x)
    part = 1.0 if haematocrit is None else 1 - haematocrit + haematocrit * cell_to_plasma
    concentration = then_Bq / mass * density * part
    own = np.hypot(np.sqrt(seen) / seconds / net, mass_sd_g / mass)
    shared = np.hypot(np.hypot(efficiency_relative_sd, blood_volume_relative_sd), background_sd_cps / net)
    amount = concentration * blood_volume_mL / 1e6
    kind = "blood_sample" if haematocrit is None else "plasma_sample"
    rows = zip(drawn, amount, np.hypot(own, shared) * amount, own * amount, concentration, strict=True)
    return tuple(
        Reading("blood", float(t), float(a), float(s), float(o), blood_volume_mL, kind, float(c))
        for t, a, s, o, c in rows
    )


def _density(is_plasma: bool) -> float:
    rows = {row["sample"]: float(row["value"]) for row in load_table("imaging", "samples.csv")}
    return rows["plasma" if is_plasma else "blood"]


def _check_blood(drawn, counted, seconds, mass, haematocrit, factors: float) -> None:
    is_finite = all(np.isfinite(a).all() for a in (drawn, counted, seconds, mass))
    good = is_finite and drawn.ndim == 1 and drawn.min() > 0 and np.all(counted >= drawn)
    if not good:
        found = "a sample drawn at or before the start, or counted before it was drawn"
        raise InputError(describe("blood times_h", found, "0 < drawn <= counted, in h", "check the clocks"))
    if not (seconds.min() > 0 and mass.min() > 0 and factors > 0) or not 0 <= (haematocrit or 0) < 1:
        found = "a mass, counting time, efficiency, volume or density not above zero, or a haematocrit outside 0 to 1"
        raise InputError(describe("blood sample", found, "values above zero", "correct the table"))


def whole_body_probe(
    times_h,
    front_counts,
    back_counts,
    counting_s,
    *,
    nuclide: str,
    administered_MBq: float,
    administered_relative_sd: float = 0.0,
    background_cps: tuple[float, float] = (0.0, 0.0),
    geometry_relative_sd: float = 0.0,
    body_mL: float = math.nan,
) -> tuple[Reading, ...]:
    """Whole-body activity from a probe's front and back counts; the first reading, before any voiding, is all of it.

    A(t) = A0 exp(-lambda t_1) G(t) / G(t_1), G the geometric mean of both net rates, which lets the patient's place
    between front and back drop out. `geometry_relative_sd` is the repositioning of one reading. The first reading only
    sets the scale: its sd is that of the administered activity.

    Raises:
        InputError: lengths that differ, times that do not rise, no counts above background, or activity that rises
            after correction for decay by more than `MOST_SD_OF_A_RISE`.
    """
    arrays = np.broadcast_arrays(times_h, front_counts, back_counts, counting_s)
    t, front, back, seconds = (np.asarray(a, dtype=float) for a in arrays)
    if t.ndim != 1 or t.size == 0 or t[0] < 0 or np.any(np.diff(t) <= 0) or not seconds.min() > 0:
        found, do = "times or counting times that do not rise from zero", "sort the readings"
        raise InputError(describe("probe times_h", found, "rising times of 0 h or more", do))
    net = np.array([front, back]) / seconds - np.asarray(background_cps, dtype=float)[:, None]
    if not (net.min() > 0 and administered_MBq > 0):
        do = "check background and probe"
        raise InputError(describe("probe counts", "none above background", "net counts in every reading", do))
    rates = np.sqrt(net.prod(axis=0))
    own = np.hypot(0.5 * np.sqrt(((np.array([front, back]) / seconds**2) / net**2).sum(axis=0)), geometry_relative_sd)
    _check_falling(t, rates, own, radionuclide(nuclide).decay_constant_per_h)
    decay = math.exp(-radionuclide(nuclide).decay_constant_per_h * float(t[0]))
    amount = administered_MBq * decay * rates / rates[0]
    shared = np.full(t.size, math.hypot(administered_relative_sd, float(own[0])))
    shared[0], own[0] = administered_relative_sd, 0.0
    rows = zip(t, amount, np.hypot(own, shared) * amount, own * amount, strict=True)
    return tuple(Reading("whole_body", float(h), float(a), float(s), float(o), body_mL, "probe") for h, a, s, o in rows)


def _check_falling(t, rates, own, decay_per_h: float) -> None:
    corrected = rates * np.exp(decay_per_h * t)
    before = np.minimum.accumulate(corrected)
    sd = np.hypot(own, own[np.argmin(corrected)]) * corrected
    if np.any(corrected - before > MOST_SD_OF_A_RISE * sd + 1e-9 * corrected):
        found = "whole-body activity that rises after correction for decay"
        do = "check clocks, distance, dead time at the first reading, and contamination"
        raise InputError(describe("probe counts", found, "activity that only falls", do))
