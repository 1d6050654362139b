"""The folder of a dose map: DICOM objects, NIfTI, tables, a picture and what it all rests on, whole or not at all.

RTDOSE, Parametric Maps and the organ table are on the grid of the dose, regions on the voxels of the reference scan,
all in its frame of reference. What goes out is without identity unless it is asked for (`imaging.dicom_write`).
"""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict
from pathlib import Path

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.dicom_write import (
    Exported,
    OrganRow,
    write_organ_table,
    write_parametric_map,
    write_rtdose,
    write_rtstruct,
    write_segmentation,
)
from imaging.folder import folder_files
from imaging.geometry import Volume
from imaging.guard import open_header, quiet
from imaging.nifti import write_nifti
from imaging.series import uid_hash
from twin.dose_maps import DoseMaps
from twin.table_files import csv_bytes, put_files
from twin.whole import new_folder_beside, write_whole

MAPS = {"absorbed_dose": "dose", "dose_sd": "dose_sd", "tia_density": "tia"}
"""Quantity (`imaging/data/quantity_codes.csv`) and the name of its files."""

UNITS = {"dose": "Gy", "dose_sd": "Gy", "tia": "MBq.h/mL"}
NAMES = (
    "rtdose.dcm", "dose_sd.dcm", "tia.dcm", "regions_seg.dcm", "regions_rtstruct.dcm", "organ_table.dcm",
    *(f"{name}.{kind}" for name in UNITS for kind in ("nii.gz", "json")),
    "doses.csv", "registration.csv", "dose_maps.png", "maps.json",
)  # fmt: skip
"""What `write_dose_maps` writes; without regions some of it is missing."""


def write_dose_maps(out, maps: DoseMaps, folder: Path, *, keep_identity: bool = False, salt: str = "") -> Path:
    """Write everything to a hidden sibling of `out`, then put it in place; on any error `out` is as it was.

    Args:
        out: the folder.
        maps: what to write.
        folder: the images that the maps were made of; their headers say whose study it is.
        keep_identity: file the objects under the patient; otherwise identity is removed.
        salt: the project's secret for new UIDs and dates; without one they are new each time and link to nothing.

    Raises:
        InputError: the folder can't be written, or a salt that is too short.
        ImageError: the reference scan's files are not in `folder`.
    """
    out = Path(out)
    with quiet():
        sources = headers_of(folder, maps.scans.reference.series_uid_hash)
        exported = Exported.of(sources, keep_identity=keep_identity, salt=salt or secrets.token_hex(16))
    with new_folder_beside(out) as temporary:
        with quiet():  # pydicom's warnings quote header values
            _dicom(temporary, maps, exported)
        _nifti(temporary, maps)
        _tables(temporary, maps)
        write_whole(temporary / "dose_maps.png", _picture(maps))
        put_files(temporary, out, NAMES)
    return out


def headers_of(folder: Path, series_uid_hash: str) -> list:
    """Headers of one series, found by the hash of its UID.

    Raises:
        ImageError: no such series in the folder.
    """
    found = []
    for number, file in enumerate(folder_files(folder), start=1):
        with file.open("rb") as stream:
            is_dicom = stream.read(132)[128:] == b"DICM"
        if is_dicom:
            header = open_header(file, f"DICOM file {number}")
            if uid_hash(str(header.get("SeriesInstanceUID", ""))) == series_uid_hash.split("-")[0]:  # a bed has "-2"
                found.append(header)
    if not found:
        do = "give the folder that the maps were made of"
        raise ImageError(describe("reference scan", "no file of it in the folder", "its DICOM files", do))
    return found


def on_grid(maps: DoseMaps) -> dict[str, Volume]:
    """The maps as volumes, by the names of their files."""
    grid, tia = maps.scans.grid, np.nan_to_num(maps.tia.tia_MBq_h_mL)
    values = {"dose": maps.dose_Gy, "dose_sd": maps.dose_sd_Gy, "tia": tia}
    return {name: grid.with_array(array) for name, array in values.items()}


def _dicom(folder: Path, maps: DoseMaps, exported: Exported) -> None:
    volumes, drawn = on_grid(maps), maps.scans.drawn.masks
    write_rtdose(folder / "rtdose.dcm", volumes["dose"], exported, summation="FRACTION")
    write_parametric_map(folder / "dose_sd.dcm", volumes["dose_sd"], "dose_sd", exported)
    write_parametric_map(folder / "tia.dcm", volumes["tia"], "tia_density", exported)
    kept = {row.region: _binary(drawn[row.region]) for row in maps.regions}
    if not kept:
        return
    segments = write_segmentation(folder / "regions_seg.dcm", kept, exported)
    write_rtstruct(folder / "regions_rtstruct.dcm", kept, exported)
    write_organ_table(folder / "organ_table.dcm", organ_rows(maps), exported, segmentation=segments)


def _binary(mask: Volume) -> Volume:
    return mask.with_array(mask.array >= 0.5)


def organ_rows(maps: DoseMaps) -> list[OrganRow]:
    """Mean dose with its interval, integral with its sd, volume and mass of each region."""
    rows = []
    for r in maps.regions:
        low, high = r.interval_Gy
        rows += [
            OrganRow(r.region, "mean_dose", r.dose_Gy, sd=r.dose_sd_Gy, low=low, high=high),
            OrganRow(r.region, "tia", r.tia_MBq_h, sd=r.tia_relative_sd * r.tia_MBq_h),
            OrganRow(r.region, "volume", r.volume_mL),
            OrganRow(r.region, "mass", r.mass_g),
        ]
    return rows


def _nifti(folder: Path, maps: DoseMaps) -> None:
    for name, volume in on_grid(maps).items():
        write_nifti(volume, folder / f"{name}.nii.gz")
        sidecar = {"Units": UNITS[name], "Quantity": _quantity(name), **_made_of(maps)}
        write_whole(folder / f"{name}.json", json.dumps(sidecar, indent=1).encode())


def _quantity(name: str) -> str:
    return next(quantity for quantity, file in MAPS.items() if file == name)


def _made_of(maps: DoseMaps) -> dict:
    return {
        "TracerRadionuclide": maps.scans.nuclide,
        "hours_after_administration": [float(t) for t in maps.scans.time_h],
        "provenance": list(maps.provenance),
        "research_only": "not a medical device",
    }


def record_of(maps: DoseMaps) -> dict:
    """What the maps rest on, for JSON: provenance, warnings, registrations, regions with their budgets."""
    return {
        **_made_of(maps),
        "voxel_mm": [float(s) for s in maps.scans.grid.spacing_mm],
        "administered_MBq": maps.scans.administered_MBq,
        "reference_series": maps.scans.reference.series_uid_hash,
        "registrations": [asdict(moved) for moved in maps.scans.moved],
        "voxels": maps.tia.counts(),
        "warnings": list(maps.warnings),
        "regions": [row.row() for row in maps.regions],
    }


def _tables(folder: Path, maps: DoseMaps) -> None:
    write_whole(folder / "doses.csv", csv_bytes([row.row() for row in maps.regions]))
    moved = [row for told in maps.scans.moved for row in _moved_rows(told)]
    write_whole(folder / "registration.csv", csv_bytes(moved))
    write_whole(folder / "maps.json", json.dumps(record_of(maps), indent=1).encode())


def _moved_rows(told) -> list[dict]:
    """The field and each region: activity before the move (by the scan's own drawing) and after it."""
    parts = {"field": (told.before_MBq, told.after_MBq), **told.regions}
    return [
        {"series": told.series, "time_h": told.time_h, "part": part, "before_MBq": before, "after_MBq": after}
        for part, (before, after) in parts.items()
    ]


def _picture(maps: DoseMaps) -> bytes:
    from twin.dose_maps import region_weights
    from twin.plots import png
    from twin.plots_images import dose_slices

    weights = region_weights(maps.scans, float(maps.scans.grid.spacing_mm.max()))
    shown = {row.region: weights[row.region] for row in maps.regions}
    title = f"Absorbed dose of one administration, {maps.scans.nuclide}"
    return png(dose_slices(maps.scans.grid.with_array(maps.dose_Gy), shown, title))


def read_salt(path: Path | None) -> str:
    """The project's secret from a file, its blanks at either end left out.

    Raises:
        InputError: no file, or one that can't be read as a line of text.
    """
    do = "write a line of 8 characters or more to a file of the project, and keep it secret"
    if path is None:
        raise InputError(describe("salt", "none", "--salt-file with the project's secret", do))
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(describe("salt file", "a file that can't be read", "a line of text", do)) from error
