"""`theratwin images`, `maps` and `deidentify`: what a physicist does with a folder of DICOM. Words go to stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from dose.errors import ImageError
from twin.cli_work import console, require_double_precision, step

Folder = Annotated[Path, typer.Argument(help="Folder of DICOM, with or without a patient.toml in it.")]
Guarded = Annotated[
    bool, typer.Option("--guarded/--no-guarded", help="Read in a process of its own with limits on time and memory.")
]
Tracer = Annotated[
    str | None, typer.Option("--tracer", help="Nuclide or tracer of the images, where there are several.")
]
Injection = Annotated[int | None, typer.Option("--injection", min=1, help="Which one, in order of time.")]
Engine = Annotated[str, typer.Option("--engine", help="kernel (by tissue), density (one kernel), local or learned.")]
VoxelMm = Annotated[float, typer.Option("--voxel-mm", help="Edge of the dose's voxels (mm).")]
TeffH = Annotated[float | None, typer.Option("--teff-h", help="Effective half-life (h), for one scan and only then.")]
TeffSd = Annotated[float, typer.Option("--teff-sd", help="Relative sd of --teff-h; ours, not measured.")]
Denoise = Annotated[bool, typer.Option("--denoise", help="Take noise out of the voxels first (a minute or more).")]
Salt = Annotated[
    Path | None, typer.Option("--salt-file", help="File with the project's secret, for new UIDs and dates.")
]
Keep = Annotated[bool, typer.Option("--keep-identity", help="File the results under the patient as the images say.")]

Command = Callable[..., None]
SERIES = {
    "series": "series", "modality": "kind", "files": "files", "size": "size", "spacing_mm": "mm", "unit": "unit",
    "nuclide": "nuclide", "hours_after_injection": "h",
}  # fmt: skip
PARTS = {
    "counts": "counts", "calibration": "calibr.", "recovery": "recovery", "contour": "contour",
    "registration": "registr.", "total": "total",
}  # fmt: skip


def add_image_commands(app: typer.Typer, told_in_words: Callable[[Command], Command]) -> None:
    """The commands, each with its errors told as the others tell theirs."""
    for command in (images, maps, deidentify):
        app.command()(told_in_words(command))


def images(
    folder: Folder,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the tables; made if it isn't there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON on stdout.")] = False,
    guarded: Guarded = True,
):
    """Say what FOLDER holds: series, warnings, region activities with their uncertainty budget, fields used."""
    from twin.image_study import open_images
    from twin.image_summary import summary_of, write_summary
    from twin.results import check_writable

    if out is not None:
        check_writable(out)
    with step("reading the folder"):
        study = open_images(folder, guarded=guarded)
    require_double_precision()
    with step("measuring the regions"):
        found = summary_of(study)
    if out is not None:
        write_summary(out, found)
    if as_json:
        typer.echo(json.dumps(found.record(), indent=1))
    else:
        _show(found)
    if out is not None:
        console.print(f"tables in [bold]{escape(str(out))}[/]", soft_wrap=True)
    if found.is_broken:
        raise ImageError(found.why_no_activities)


def _show(found) -> None:
    console.print(_table("Series", [_series(row) for row in found.series]))
    for words in found.warnings:
        console.print(f"[yellow]note[/]: {escape(words)}", soft_wrap=True, highlight=False)
    for name, count in found.skipped.items():
        console.print(f"{count} files passed over: {escape(name)}", soft_wrap=True, highlight=False)
    if found.activities:
        console.print(_table("Activities at the start of the scan", [_activity(row) for row in found.activities]))
        console.print(_table("Relative sd by source", [_parts(row) for row in found.activities]))
    elif not found.is_broken:
        console.print(f"no activities: {escape(found.why_no_activities)}", soft_wrap=True, highlight=False)
    console.print(f"{len(found.fields)} header fields were used; --out lists them, with their kinds", soft_wrap=True)


def _series(row: dict) -> dict:
    """The hash short, and equal edges once: 80 columns are enough."""
    edges = row["spacing_mm"].split(" x ")
    short = {"series": row["series"][:8], "spacing_mm": edges[0] if len(set(edges)) == 1 else "x".join(edges)}
    shown = row | short | {"size": row["size"].replace(" ", "")}
    return {heading: shown[name] for name, heading in SERIES.items()}


def _activity(row: dict) -> dict:
    numbers = {"h": f"{row['time_h']:.2f}", "MBq": f"{row['activity_MBq']:.4g}", "sd": f"{row['sd_MBq']:.2g}"}
    done = {"kind": row["modality"], "partial volume": row["partial_volume"], "drawn": row["drawn"]}
    return {"region": row["region"], **numbers, "mL": f"{row['volume_mL']:.4g}", **done}


def _parts(row: dict) -> dict:
    parts = {short: f"{row[f'{part}_relative_sd']:.1%}" for part, short in PARTS.items()}
    return {"region": row["region"], "h": f"{row['time_h']:.2f}", **parts}


def _table(title: str, rows: list[dict]) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in rows[0] if rows else ():
        table.add_column(column, overflow="fold", no_wrap=column == "region")
    for row in rows:
        table.add_row(*(escape("" if value is None else str(value)) for value in row.values()))
    return table


def maps(
    study: Folder,
    out: Annotated[Path, typer.Option("--out", help="Folder for the maps; made if it isn't there.")],
    tracer: Tracer = None,
    injection: Injection = None,
    engine: Engine = "kernel",
    voxel_mm: VoxelMm = 4.0,
    teff_h: TeffH = None,
    teff_sd: TeffSd = 0.2,
    denoise: Denoise = False,
    salt_file: Salt = None,
    keep_identity: Keep = False,
    guarded: Guarded = True,
):
    """Make dose maps with their sd from the scans of one administration in STUDY, as DICOM, NIfTI and tables."""
    from twin.dose_maps import MapSettings, dose_maps
    from twin.dose_maps_files import read_salt, write_dose_maps
    from twin.image_study import open_images
    from twin.results import check_writable

    check_writable(out)
    settings = MapSettings(voxel_mm=voxel_mm, engine=engine, teff_h=teff_h, teff_relative_sd=teff_sd, denoise=denoise)
    salt = read_salt(salt_file) if salt_file else ""
    require_double_precision()
    with step("reading the images"):
        opened = open_images(study, guarded=guarded, keep_labels=keep_identity)
    found = dose_maps(opened, settings, nuclide=nuclide_of(tracer), injection=injection, step=step)
    with step("writing"):
        write_dose_maps(out, found, opened.folder, keep_identity=keep_identity, salt=salt)
    _show_maps(found)
    if not keep_identity and not salt:
        console.print("identity removed; UIDs link to nothing: --salt-file makes them agree with theratwin deidentify")
    console.print(f"maps in [bold]{escape(str(out))}[/]", soft_wrap=True)


def nuclide_of(tracer: str | None) -> str | None:
    """The nuclide of "177Lu-DOTATATE", or of "177Lu" or "Lu-177" alone."""
    from dose.errors import InputError
    from dose.nuclides import radionuclide
    from twin.study import split_tracer

    if tracer is None:
        return None
    try:
        return radionuclide(tracer).name
    except InputError:
        return split_tracer(tracer, "--tracer")[1]


def _show_maps(found) -> None:
    if found.regions:
        console.print(_table("Absorbed dose of this administration", [_region(row) for row in found.regions]))
        parts = [{"region": r.region, **{k: f"{sd:.1%}" for k, sd in r.budget.items()}} for r in found.regions]
        console.print(_table("Relative sd of the mean dose by source", parts))
    for words in found.warnings:
        console.print(f"[yellow]note[/]: {escape(words)}", soft_wrap=True, highlight=False)


def _region(row) -> dict:
    low, high = row.interval_Gy
    return {
        "region": row.region,
        "Gy": f"{row.dose_Gy:.3g}",
        "90 %": f"{low:.3g} to {high:.3g}",
        "D95": f"{row.D95_Gy:.3g}",
        "D50": f"{row.D50_Gy:.3g}",
        "mL": f"{row.volume_mL:.4g}",
        "MBq h": f"{row.tia_MBq_h:.4g}",
        "tail": f"{row.tail_share:.0%}",
        "rising": f"{row.rising_share:.0%}",
    }


def deidentify(
    folder: Folder,
    out: Annotated[Path, typer.Argument(help="A new or empty folder for the copies.")],
    salt_file: Salt = None,
):
    """Copy the CT, PET, NM, RTSTRUCT, SEG and RTDOSE objects of FOLDER to OUT without what tells the patient."""
    from twin.deidentified import deidentified_copy
    from twin.dose_maps_files import read_salt

    salt = read_salt(salt_file)
    with step("copying"):
        counts = deidentified_copy(folder, out, salt)
    for kind, count in sorted(counts.items()):
        console.print(f"{count} {escape(kind)}", highlight=False)
    console.print("pixels were not looked at, and this is no general tool: see docs/imaging-writing.md")
