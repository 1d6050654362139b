"""`theratwin segment`: regions for a folder of images that has none. Words go to stderr."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from twin.cli_images import Folder, Guarded
from twin.cli_work import console, require_double_precision, step

Command = Callable[..., None]
HEADINGS = {"region": "region", "volume_mL": "mL", "uncertainty": "sd or 95 %", "drawn_by": "drawn by"}


def add_segment_command(app: typer.Typer, told_in_words: Callable[[Command], Command]) -> None:
    """The command, with its errors told as the others tell theirs."""
    app.command()(told_in_words(segment))


def segment(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="Folder for the SEG, the table and the picture.")],
    organs: Annotated[
        str, typer.Option("--organs", help="auto, network, classical, totalsegmentator, nnunet or none.")
    ] = "auto",
    lesions: Annotated[str, typer.Option("--lesions", help="auto, network, classical or none.")] = "auto",
    tracer: Annotated[str | None, typer.Option("--tracer", help="Such as 68Ga-PSMA-11, for lesions.")] = None,
    scan: Annotated[
        str | None, typer.Option("--scan", help="Beginning of the series' hash (theratwin images).")
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", help="Folder of TotalSegmentator's weights or of a trained nnU-Net.")
    ] = None,
    trusted: Annotated[
        bool, typer.Option("--trusted", help="The nnU-Net is your own: its checkpoints run code as they load.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON on stdout.")] = False,
    guarded: Guarded = True,
):
    """Draw organs and lesions in one scan of FOLDER and write them as a DICOM SEG that goes beside its images."""
    from twin.image_study import open_images
    from twin.results import check_writable
    from twin.segment import DrawSettings, draw_regions
    from twin.segment_files import record_of, write_regions

    settings = DrawSettings(organs, lesions, scan, tracer, model, trusted)
    check_writable(out)
    require_double_precision()
    with step("reading the folder"):
        study = open_images(folder, guarded=guarded)
    drawn = draw_regions(study, settings, step=step)
    with step("writing"):
        write_regions(out, drawn, study.folder)
    if as_json:
        typer.echo(json.dumps(record_of(drawn), indent=1))
    else:
        _show(drawn)
    place = escape(str(out / "regions_seg.dcm"))
    console.print(f"[bold]{place}[/]: look at it, then put it beside the images", soft_wrap=True)


def _show(drawn) -> None:
    table = Table(title="Regions drawn", title_justify="left", box=SIMPLE_HEAD)
    for heading in HEADINGS.values():
        table.add_column(heading)
    for row in drawn.rows:
        table.add_row(*(escape(cell) for cell in _cells(row)))
    console.print(table)
    for words in drawn.notes:
        console.print(f"[yellow]note[/]: {escape(words)}", soft_wrap=True, highlight=False)


def _cells(row: dict) -> tuple[str, ...]:
    sd = row.get("volume_sd_mL")
    words = "none stated" if sd is None else f"{sd:.2g}"
    if "volume_low_mL" in row:
        words = f"{row['volume_low_mL']:.3g} to {row['volume_high_mL']:.3g}"
    return row["region"], f"{row['volume_mL']:.4g}", words, row["drawn_by"]
