"""Read one patient's study: a folder, a `patient.toml`, or a DICOM folder, into a `Study`.

A folder holds `patient.toml` and `measurements.csv` (or the toml's `measurements` / `images` key points elsewhere).
Whatever isn't known takes the population's value (pbpk/data, `data/tracers.csv`), which `Study.warnings` says.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path

from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide
from dose.provenance import load_table
from dose.regions import region as canonical_region
from pbpk.administration import Administration
from pbpk.parameters import Covariates, known_ligands
from pbpk.parameters import ligand as known_ligand
from twin.later import UNNAMED
from twin.measurements import read_measurements, read_truth
from twin.patient import Study
from twin.study_files import AdministrationFile, PatientFile, read_patient_file

TEXT_SUFFIXES = (".toml", ".csv", ".txt", ".md")
"""A folder of nothing but such files holds no images."""


def read_study(path, tracer: str | None = None) -> Study:
    """The study at `path`: a folder or a `patient.toml`; `tracer` ("177Lu-DOTATATE") overrides or fills in the file's.

    Raises:
        InputError: no such study, or any of its values can't be used; the text names the field.
        ImageError: a DICOM study that can't be read or quantified.
    """
    path = Path(path)
    if not path.exists():
        do = "give a folder with patient.toml and measurements.csv, a patient.toml, or a DICOM folder"
        raise InputError(describe("study", f"nothing at {path}", "an existing path", do))
    toml = path / "patient.toml" if path.is_dir() else path
    if path.is_file() and path.suffix != ".toml":
        do = "write a patient.toml whose measurements key names this file"
        raise InputError(describe("study", f"the file {path.name}", "a folder or a .toml file", do))
    file = read_patient_file(toml) if toml.is_file() else PatientFile()
    images = _images(path, toml, file)
    if images is not None:
        from twin.dicom_study import read_images

        study = read_images(images, file, tracer, toml.parent)
        return replace(study, truth_Gy=read_truth(toml.parent / file.truth)) if file.truth else study
    return _from_tables(toml, file, tracer)


def _images(path: Path, toml: Path, file: PatientFile) -> Path | None:
    """The DICOM folder of the study, or None where it is a study of tables."""
    if file.images:
        return toml.parent / file.images
    has_tables = file.measurements or (toml.parent / "measurements.csv").is_file() or path.is_file()
    if has_tables or not path.is_dir():
        return None
    if all(f.suffix.lower() in TEXT_SUFFIXES for f in path.rglob("*") if f.is_file()):
        do = "add measurements.csv, or write the key measurements or images in patient.toml"
        raise InputError(describe("study", f"{path} with no measurements", "measurements.csv or DICOM files", do))
    return path


def _from_tables(toml: Path, file: PatientFile, tracer: str | None) -> Study:
    ligand, nuclide = split_tracer(tracer or file.tracer, toml.name)
    administrations, said = administrations_of(file, ligand, nuclide)
    covariates, assumed = covariates_of(file)
    table = toml.parent / (file.measurements or "measurements.csv")
    weight = None if "weight_kg" in covariates.assumed else covariates.weight_kg
    observations, more = read_measurements(table, administrations, weight)
    return Study(
        id=file.id or UNNAMED,
        covariates=covariates,
        ligand=ligand,
        nuclide=nuclide,
        administrations=administrations,
        observations=observations,
        volumes_mL=volumes_of(file, observations),
        warnings=(*file.notes, *assumed, *said, *more),
        source=file.source or f"{table.name} and {toml.name}",
        truth_Gy=read_truth(toml.parent / file.truth) if file.truth else {},
        anatomy=file.model.anatomy,
        amino_acids=file.model.amino_acids,
    )


def split_tracer(text: str | None, where: str) -> tuple[str, str]:
    """ "177Lu-PSMA-617" -> ("PSMA-617", "177Lu").

    Raises:
        InputError: missing, an unknown nuclide, or an unknown ligand (nearest named).
    """
    if not text:
        do = "write the key tracer in patient.toml, or pass --tracer 177Lu-DOTATATE (or what it was)"
        raise InputError(describe(f"{where}: tracer", "nothing", "a tracer such as 177Lu-PSMA-617", do))
    ligand = next((name for name in known_ligands() if _plain(text).endswith(_plain(name))), None)
    if ligand:
        start = len(_plain(text)) - len(_plain(ligand))
        return ligand, radionuclide(_plain(text)[:start]).name
    label, _, rest = text.strip().replace(" ", "-").partition("-")
    if label.isalpha():
        number, _, rest = rest.partition("-")
        label += number
    nuclide, near = radionuclide(label).name, nearest(rest, known_ligands())
    do = f"did you mean {nuclide}-{near}?" if near else "add the ligand to pbpk/data/ligands.csv"
    raise InputError(describe(f"{where}: tracer", f'ligand "{rest}"', f"one of {', '.join(known_ligands())}", do))


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def usual_infusion_h(ligand: str, nuclide: str) -> float:
    """Usual infusion time of a tracer; a bolus where the table has none."""
    rows = load_table("twin", "tracers.csv")
    found = [row for row in rows if (row["ligand"], row["nuclide"], row["quantity"]) == (ligand, nuclide, "infusion")]
    return float(found[0]["value"]) if found else 0.0


def administrations_of(file: PatientFile, ligand: str, nuclide: str):
    """(administrations in order of time, warnings on what was assumed).

    Raises:
        InputError: none given, an activity missing, two of one cycle.
    """
    if not file.administrations:
        do = "add an [[administrations]] table with cycle and activity_MBq"
        raise InputError(describe("administrations", "none", "at least one with its activity", do))
    cycles = [entry.cycle for entry in file.administrations]
    if len(set(cycles)) != len(cycles):
        raise InputError(describe("administrations.cycle", str(cycles), "each cycle once", "number them 0, 1, 2, ..."))
    pairs = [_administration(entry, ligand, nuclide) for entry in file.administrations]
    ordered = tuple(sorted((a for a, _ in pairs), key=lambda a: a.time_h))
    rises = all(a.time_h < b.time_h for a, b in itertools.pairwise(ordered))
    if [a.cycle for a in ordered] != sorted(cycles) or not rises:
        found = f"cycles {[a.cycle for a in ordered]} at {[a.time_h for a in ordered]} h"
        do = "write time_h of each administration in hours from the start of cycle 1"
        raise InputError(describe("administrations.time_h", found, "times that rise with the cycle", do))
    return ordered, tuple(text for _, said in pairs for text in said)


def _administration(entry: AdministrationFile, ligand: str, nuclide: str):
    where = f"administration of cycle {entry.cycle}"
    if entry.tracer:
        ligand, nuclide = split_tracer(entry.tracer, where)
    if entry.activity_MBq is None:
        do = 'write activity_MBq (a number, or text like "7.4 GBq"): no dose can be told without it'
        raise InputError(describe(f"{where}: activity_MBq", "nothing", "the administered activity", do))
    amount, infusion, said = entry.amount_nmol, entry.infusion_h, []
    if amount is None:
        amount = known_ligand(ligand).typical_amount_nmol("therapy" if entry.cycle else "diagnostic")
        said.append(f"{where}: ligand amount unknown, {amount:g} nmol assumed (usual for {ligand})")
    if infusion is None:
        infusion = usual_infusion_h(ligand, nuclide)
        said.append(f"{where}: infusion time unknown, {infusion:g} h assumed (usual for {nuclide}-{ligand})")
    cold = entry.cold_nmol, entry.cold_lead_h
    return Administration(entry.cycle, entry.time_h, entry.activity_MBq, amount, infusion, ligand, nuclide, *cold), said


def covariates_of(file: PatientFile) -> tuple[Covariates, tuple[str, ...]]:
    """The covariates with population values where unknown, and the warnings that say so."""
    covariates = Covariates.of(**file.covariates.model_dump())
    values = [f"{name} {getattr(covariates, name)}" for name in covariates.assumed]
    said = f"covariates unknown, population values assumed: {', '.join(values)}"
    return covariates, (said,) if values else ()


def volumes_of(file: PatientFile, observations) -> dict[str, float]:
    """Region volumes in mL: those of the file first, else the mean of what was segmented."""
    segmented: dict[str, list[float]] = {}
    for name, volume in zip(observations.region, observations.volume_mL, strict=True):
        if not math.isnan(volume):
            segmented.setdefault(name, []).append(float(volume))
    means = {name: sum(values) / len(values) for name, values in segmented.items()}
    return means | {canonical_region(name): value for name, value in file.volumes_mL.items()}
