"""Rows of `measurements.csv` into `Observations`, and known doses of virtual patients from `truth.csv`."""

from __future__ import annotations

import csv
import math
from pathlib import Path

from calibration.observations import Observations
from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.provenance import load_table
from dose.regions import region as canonical_region
from dose.units import parse
from pbpk.administration import Administration
from twin.study_files import read_rows

GRAMS_PER_KG = 1000.0


def read_measurements(table: Path, administrations: tuple[Administration, ...], weight_kg: float | None):
    """(`Observations`, warnings) of a table; rows with `suv` instead of an activity need a weight and a volume.

    An SUV row is activity(t) = SUV V A0 exp(-lambda t) / weight, with SUV in g/mL and `weight_kg` None where unknown.

    Raises:
        InputError: unknown region, negative or unsorted times, no activity, SUV without a weight, unknown cycle.
    """
    rows = read_rows(table)
    given = {a.cycle: a for a in administrations}
    columns = {name: [] for name in ("region", "time_h", "activity_MBq", "sd_MBq", "volume_mL", "modality", "cycle")}
    assumed_sd = 0
    for number, row in enumerate(rows, start=2):
        entry, was_assumed = _entry(row, f"{table.name} row {number}", given, weight_kg)
        assumed_sd += was_assumed
        for name, value in zip(columns, entry, strict=True):
            columns[name].append(value)
    _check_order(columns, table.name)
    said = (f"{assumed_sd} measurements came without sd: {100 * _relative_sd():g}% assumed",) if assumed_sd else ()
    return Observations(**columns), said


def _entry(row, where: str, given, weight_kg):
    """One row's values in the order of `Observations`, and whether its sd had to be assumed."""
    cycle = _cycle(row.get("cycle", ""), where, given)
    name = canonical_region(row["region"])
    time_h = parse(row["time_h"], "h", f"{where}: time_h")
    if time_h <= 0:
        do = "check the scanner's clock and the injection time"
        raise InputError(describe(f"{where}: time_h", f"{time_h:g} h", "a time after the start of administration", do))
    volume = parse(row["volume_mL"], "mL", f"{where}: volume_mL") if row.get("volume_mL") else math.nan
    activity = _activity(row, where, given[cycle], time_h, volume, weight_kg)
    has_sd = bool(row.get("sd_MBq"))
    sd = parse(row["sd_MBq"], "MBq", f"{where}: sd_MBq") if has_sd else _relative_sd() * activity
    return (name, time_h, activity, sd, volume, row.get("modality") or "unknown", cycle), not has_sd


def _cycle(text: str, where: str, given) -> int:
    if not text and len(given) == 1:
        return next(iter(given))
    try:
        cycle = int(text)
    except ValueError as error:
        do = "fill the column cycle: several administrations are on record"
        raise InputError(describe(f"{where}: cycle", f'"{text}"', f"one of {sorted(given)}", do)) from error
    if cycle not in given:
        do = f"add the administration of cycle {cycle} to patient.toml or correct the row"
        raise InputError(describe(f"{where}: cycle", str(cycle), f"one of {sorted(given)}", do))
    return cycle


def _activity(row, where, administration, time_h, volume_mL, weight_kg) -> float:
    if row.get("activity_MBq"):
        return _positive(parse(row["activity_MBq"], "MBq", f"{where}: activity_MBq"), f"{where}: activity_MBq")
    if not row.get("suv"):
        do = "fill activity_MBq, or suv with volume_mL"
        raise InputError(describe(f"{where}: activity_MBq", "nothing", "an activity above zero", do))
    if weight_kg is None:
        do = "write weight_kg in patient.toml, or give activity_MBq instead of suv"
        raise InputError(describe(f"{where}: suv", "no body weight", "a measured weight to turn SUV into activity", do))
    if math.isnan(volume_mL):
        do = "fill volume_mL of this row"
        raise InputError(describe(f"{where}: suv", "no volume", "the volume of the region", do))
    suv = _positive(parse(row["suv"], "1", f"{where}: suv"), f"{where}: suv")
    decay = math.exp(-radionuclide(administration.nuclide).decay_constant_per_h * time_h)
    return suv * volume_mL * administration.activity_MBq * decay / (GRAMS_PER_KG * weight_kg)


def _positive(value: float, field: str) -> float:
    if value <= 0:
        do = "check the segmentation and the calibration, or leave the row out if the region was not measured"
        raise InputError(describe(field, f"{value:g}", "a value above zero", do))
    return value


def _check_order(columns, where: str):
    """Times of one region and cycle rise; a table that goes back in time is a mixed-up table."""
    last: dict[tuple[int, str], float] = {}
    for cycle, name, time_h in zip(columns["cycle"], columns["region"], columns["time_h"], strict=True):
        before = last.get((cycle, name), -1.0)
        if time_h <= before:
            found = f"{time_h:g} h after {before:g} h"
            do = "sort the rows by time; two cycles need the column cycle; one scan gives one row a region"
            raise InputError(describe(f"{where}: time_h of {name}, cycle {cycle}", found, "rising times", do))
        last[cycle, name] = time_h


def _relative_sd() -> float:
    rows = {row["quantity"]: row for row in load_table("twin", "reading.csv")}
    return float(rows["relative_sd"]["value"])


def read_truth(path: Path) -> dict[tuple[int, str], float]:
    """Known absorbed doses in Gy by (cycle, region): columns cycle, region, dose_Gy.

    Raises:
        InputError: not readable or a column missing.
    """
    try:
        rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
        return {(int(r["cycle"]), canonical_region(r["region"])): parse(r["dose_Gy"], "Gy", path.name) for r in rows}
    except (OSError, KeyError) as error:
        do = "write the columns cycle, region, dose_Gy, or drop the key truth"
        raise InputError(describe(path.name, str(error), "a table of known doses", do)) from error
