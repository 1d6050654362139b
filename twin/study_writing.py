"""Write a `Study` as `patient.toml`, `measurements.csv` and, where truth is known, `truth.csv`."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from pathlib import Path

from twin.patient import Study
from twin.whole import write_whole

COVARIATES = ("weight_kg", "height_m", "sex", "age_y", "gfr_mL_min", "haematocrit")


def write_study(study: Study, folder) -> Path:
    """The folder, which `twin.study.read_study` reads back; unknown covariates are left out, not written as known."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "patient.toml", _toml(study).encode())
    write_whole(folder / "measurements.csv", _measurements(study).encode())
    if study.truth_Gy:
        rows = [(cycle, region, repr(float(dose))) for (cycle, region), dose in sorted(study.truth_Gy.items())]
        write_whole(folder / "truth.csv", _csv(("cycle", "region", "dose_Gy"), rows).encode())
    return folder


def _toml(study: Study) -> str:
    lines = [f"id = {json.dumps(study.id)}", f'tracer = "{study.nuclide}-{study.ligand}"']
    lines += [f"source = {json.dumps(study.source)}", f"notes = {json.dumps(list(study.warnings))}"]
    lines += ['truth = "truth.csv"'] if study.truth_Gy else []
    known = [name for name in COVARIATES if name not in study.covariates.assumed]
    lines += ["", "[covariates]"] + [f"{name} = {_value(getattr(study.covariates, name))}" for name in known]
    lines += ["", "[volumes_mL]"] + [f"{name} = {_value(value)}" for name, value in study.volumes_mL.items()]
    lines += _model(study)
    for a in study.administrations:
        lines += ["", "[[administrations]]", f"cycle = {a.cycle}", f'tracer = "{a.nuclide}-{a.ligand}"']
        numbers = ["time_h", "activity_MBq", "amount_nmol", "infusion_h"]
        numbers += ["cold_nmol", "cold_lead_h"] if a.cold_nmol > 0 else []
        lines += [f"{name} = {_value(getattr(a, name))}" for name in numbers]
    return "\n".join(lines) + "\n"


def _model(study: Study) -> list[str]:
    chosen = {name: True for name, yes in asdict(study.anatomy).items() if yes}
    chosen |= {} if study.amino_acids is None else {"amino_acids": study.amino_acids}
    return ["", "[model]", *(f"{name} = {json.dumps(value)}" for name, value in chosen.items())] if chosen else []


def _value(value) -> str:
    return json.dumps(value) if isinstance(value, str) else repr(float(value))


def _measurements(study: Study) -> str:
    seen = study.observations
    names = ("region", "cycle", "modality", "time_h", "activity_MBq", "sd_MBq", "volume_mL")
    numbers = [[_number(v) for v in getattr(seen, name)] for name in names[3:]]
    return _csv(names, zip(seen.region, seen.cycle, seen.modality, *numbers, strict=True))


def _number(value: float) -> str:
    return "" if value != value else repr(float(value))


def _csv(header, rows) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
