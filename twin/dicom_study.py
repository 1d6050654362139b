"""A DICOM folder as a `Study`: activities from the images, the rest from the headers and a `patient.toml` beside them.

Images of one injection (nuclide and start) make one administration. Injections in order of time become the cycles of
`patient.toml` where it lists administrations, else 0 for a diagnostic
nuclide and 1, 2, ... for the therapy.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import numpy as np

from calibration.observations import Observations
from dose.errors import InputError, describe
from dose.provenance import load_table
from imaging.decay import injection_time, nuclide_name
from imaging.dicom_read import read_folder
from imaging.quantify import ImagingChain, region_activities
from imaging.region_masks import region_or_none
from imaging.series import StudyImages
from pbpk.parameters import ligand
from twin.imaging_chain import chain_of, shared_sd, with_reconstructions
from twin.later import UNNAMED
from twin.patient import Study
from twin.study import administrations_of, covariates_of, split_tracer, volumes_of
from twin.study_files import AdministrationFile, PatientFile

SAME_INJECTION_H = 1.0
"""Header starts of one nuclide closer than this are the same injection."""

SECONDS_PER_HOUR = 3600.0


def read_images(folder: Path, file: PatientFile, tracer: str | None, beside: Path | None = None) -> Study:
    """The study in a folder of DICOM; what `patient.toml` says goes before the headers.

    Files that its `[imaging]` table names lie in the folder `beside`, by default the images' own.

    Raises:
        ImageError: unreadable, uncalibrated, before injection, no or empty segmentation.
        InputError: no tracer known, no administered activity, no emission image.
    """
    read = read_folder(folder, Bq_per_mL_per_count=file.imaging.Bq_per_mL_per_count)
    images, counts_cv, raw = with_reconstructions(read, file.imaging, beside or folder)
    injections = injections_of(images, file)
    drug, nuclide = split_tracer(tracer or file.tracer, _tracer_hint(injections))
    file = _completed(file, images, injections, drug, nuclide)
    administrations, said = administrations_of(file, drug, nuclide)
    covariates, assumed = covariates_of(file)
    cycles = [entry.cycle for entry in _matching(file.administrations, injections)]
    chain = chain_of(file.imaging, beside or folder, counts_cv)
    observations, told = _observations(images, injections, cycles, chain)
    return Study(
        id=file.id or UNNAMED,
        covariates=covariates,
        ligand=drug,
        nuclide=nuclide,
        administrations=administrations,
        observations=observations,
        volumes_mL=volumes_of(file, observations),
        warnings=tuple(
            dict.fromkeys((*file.notes, *assumed, *said, *images.warnings, *raw, *told, *_passed_over(images)))
        ),
        source=file.source or f"{len(images.of('PET', 'SPECT'))} emission images in DICOM",
        anatomy=file.model.anatomy,
        amino_acids=file.model.amino_acids,
    )


def injections_of(images: StudyImages, file: PatientFile) -> list[tuple[str, datetime, list]]:
    """(nuclide, start, series) of each injection, in order of time."""
    found: list[tuple[str, datetime, list]] = []
    for series in images.of("PET", "SPECT"):
        nuclide, start = nuclide_name(series), _start(series, file)
        for known, began, members in found:
            if known == nuclide and abs((start - began).total_seconds()) < SAME_INJECTION_H * SECONDS_PER_HOUR:
                members.append(series)
                break
        else:
            found.append((nuclide, start, [series]))
    if not found:
        do = "give the folder with the PET or SPECT series and their segmentation"
        raise InputError(describe("DICOM folder", "no PET or SPECT image", "at least one", do))
    return sorted(found, key=lambda injection: injection[1])


def _start(series, file: PatientFile) -> datetime:
    """The patient file's start of the administration before the scan, else the header's."""
    return injection_time(series, start_of(series, file))


def start_of(series, file: PatientFile) -> datetime | None:
    """The last `start` of the patient file before the scan, None where it lists none."""
    at = series.reference_at
    given = [entry.start for entry in file.administrations if entry.start and at and entry.start <= at]
    return max(given, default=None)


def _tracer_hint(injections) -> str:
    """Which nuclide the headers hold, for the error that asks for the ligand."""
    found = " and ".join(sorted({nuclide for nuclide, _, _ in injections}))
    return f"DICOM study of {found}, whose headers name no ligand"


def _completed(file: PatientFile, images: StudyImages, injections, drug, nuclide) -> PatientFile:
    """The patient file with its gaps filled from the headers."""
    series = images.of("PET", "SPECT")[0]
    headers = {"weight_kg": series.weight_kg, "height_m": series.height_m, "sex": series.sex}
    gaps = {k: v for k, v in headers.items() if getattr(file.covariates, k) is None and v}
    covariates = file.covariates.model_copy(update=gaps)
    entries = [entry.model_copy() for entry in file.administrations] or _entries(injections, drug, nuclide)
    first = next((start for name, start, _ in injections if name == nuclide), injections[0][1])
    for entry, (_, start, members) in zip(_matching(entries, injections), injections, strict=True):
        if entry.activity_MBq is None:
            entry.activity_MBq = members[0].radiopharmaceutical.administered_MBq
        if "time_h" not in entry.model_fields_set:
            entry.time_h = (start - first).total_seconds() / SECONDS_PER_HOUR
    return file.model_copy(update={"covariates": covariates, "administrations": entries})


def _matching(entries, injections) -> list[AdministrationFile]:
    """The administration of each injection: by `start` where all have one, else in order of the cycle.

    Raises:
        InputError: the numbers differ, or no administration starts with the images' injection.
    """
    do = "list every injection in patient.toml with its start, as start = 2026-01-31T09:30:00"
    if not all(entry.start for entry in entries):
        if len(entries) != len(injections):
            found = f"{len(entries)} for {len(injections)} injections in the images"
            raise InputError(describe("administrations", found, "one for each injection", do))
        return sorted(entries, key=lambda entry: entry.cycle)
    chosen = [min(entries, key=lambda entry: abs(entry.start - start)) for _, start, _ in injections]
    for entry, (_, start, _) in zip(chosen, injections, strict=True):
        if abs((entry.start - start).total_seconds()) > SAME_INJECTION_H * SECONDS_PER_HOUR:
            raise InputError(describe("administrations.start", "none near an injection of the images", "one each", do))
    return chosen


def _entries(injections, drug: str, nuclide: str) -> list[AdministrationFile]:
    """Administrations told by the headers alone; hours count from the first therapy injection."""
    therapy = [start for name, start, _ in injections if name == nuclide]
    if not therapy:
        found = ", ".join(name for name, _, _ in injections)
        do = "pass the --tracer of the images"
        raise InputError(describe("tracer", f"images of {found}", f"images of {nuclide}", do))
    entries, cycle = [], 1
    for name, start, _ in injections:
        hours = (start - therapy[0]).total_seconds() / SECONDS_PER_HOUR
        if name == nuclide:
            entries.append(AdministrationFile(cycle=cycle, time_h=hours))
            cycle += 1
        else:
            entries.append(AdministrationFile(cycle=0, time_h=hours, tracer=f"{name}-{_diagnostic(drug, name)}"))
    return entries


def _diagnostic(therapy_ligand: str, nuclide: str) -> str:
    """The usual ligand with this nuclide and the same target, as 68Ga-PSMA-11 before 177Lu-PSMA-617.

    Raises:
        InputError: no such pair in `data/tracers.csv`.
    """
    target = ligand(therapy_ligand).target
    for row in load_table("twin", "tracers.csv"):
        if row["nuclide"] == nuclide and row["use"] == "diagnostic" and ligand(row["ligand"]).target == target:
            return row["ligand"]
    do = "list the administrations with their tracers in patient.toml"
    raise InputError(describe("administration", f"images of {nuclide}", f"a tracer paired with {therapy_ligand}", do))


def _observations(images: StudyImages, injections, cycles, chain: ImagingChain):
    """Region activities of every injection under its cycle, in order of time, and what is to be said of them."""
    rows = []
    for cycle, (_, start, members) in zip(cycles, injections, strict=True):
        found = region_activities(images, start, chain, scans=tuple(members))
        found = sorted(found, key=lambda activity: (activity.region, activity.time_h))
        rows += [(cycle, activity) for activity in found]
    activities = [activity for _, activity in rows]
    column = lambda name: np.array([getattr(activity, name) for activity in activities], dtype=float)
    columns = {name: column(name) for name in ("time_h", "activity_MBq", "volume_mL")}
    columns["sd_MBq"] = column("own_sd_MBq")  # what scans share is told apart, in `shared_sd`
    words = {name: tuple(getattr(activity, name) for activity in activities) for name in ("region", "modality")}
    notes = [note for activity in activities for note in activity.notes]
    return Observations(
        **columns, **words, cycle=tuple(cycle for cycle, _ in rows), shared_sd=shared_sd(activities, chain)
    ), notes


def _passed_over(images: StudyImages) -> list[str]:
    """What of the folder took no part: structures whose label is no region, objects of other classes."""
    labels = [c.label for group in images.contour_sets for c in group.contours]
    labels += [s.label for group in images.segmentations for s in group.segments]
    unnamed = sum(region_or_none(label) is None for label in labels)
    said = [f"{unnamed} of {len(labels)} structures have no region name and took no part"] if unnamed else []
    return said + [f"{count} files passed over: {name}" for name, count in images.skipped.items()]
