"""The results folder: tables, schedule, posterior, figures, report, fields and the twin itself, whole or not at all."""

from __future__ import annotations

import uuid
from pathlib import Path

from twin.patient import DoseReport, PatientTwin, Plan
from twin.report import Extras, all_warnings, as_json, page, pictures, reporting_fields
from twin.store import save
from twin.tables import doses_table, joined, posterior_table, schedule_table
from twin.whole import hidden_beside, new_folder_beside, not_writable, replace_folder, write_whole

NAMES = ("doses.csv", "schedule.csv", "posterior.csv", "report.html", "reporting_fields.json", "twin", "figures")
"""What a results folder holds; other files in it are left alone."""
STALE = ("report.pdf",)
"""Made from an earlier page by `twin.pdf`: it goes when the page does."""


def check_writable(out) -> Path:
    """`out` as a path after a trial write in it, or in the nearest folder above that exists.

    Raises:
        InputError: it can't be written; asked before the long computation rather than after.
    """
    out = Path(out)
    place = out
    while not place.exists():
        place = place.parent
    trial = place / f".theratwin.{uuid.uuid4().hex}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        raise not_writable(out, error) from error
    return out


def write_results(
    out, twin: PatientTwin, report: DoseReport, plan: Plan, curves: dict, limits=None, extras: Extras | None = None
) -> Path:
    """Write everything to a hidden sibling of `out`, then put it in place; on any error `out` is as it was.

    `report` holds the doses of the cycles given, `plan` those to come; `curves` maps a cycle to (time_h, bands), with
    bands from region to (median, lower, upper) in MBq; `limits` are drawn (default: the plan's own). `extras` are shown
    where they are.

    Raises:
        InputError: the folder can't be written, or `extras.recorded` names a reporting field that there is not.
    """
    out = check_writable(out)
    drawn = plan.limits if limits is None else tuple(limits)
    with new_folder_beside(out) as temporary:
        _fill(temporary, twin, joined(report, plan.forecast), plan, curves, drawn, extras or Extras())
        _put_in_place(temporary, out)
    return out


def _fill(folder: Path, twin, every: DoseReport, plan: Plan, curves, limits, extras: Extras) -> None:
    tables = {"doses": doses_table(every), "schedule": schedule_table(plan), "posterior": posterior_table(twin)}
    for name, table in tables.items():
        write_whole(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    save(twin, folder / "twin")
    drawn = tuple(pictures(twin, every, plan, curves, limits, extras))
    (folder / "figures").mkdir()
    for picture in drawn:
        write_whole(folder / "figures" / f"{picture.name}.png", picture.png)
    write_whole(folder / "report.html", page(twin, every, plan, drawn, extras).encode())
    fields, warnings = reporting_fields(twin, every, extras), all_warnings(twin, every, plan)
    write_whole(folder / "reporting_fields.json", as_json(twin, fields, plan, warnings, extras).encode())


def _put_in_place(new: Path, out: Path) -> None:
    """Rename the new folder to `out`; where `out` exists, exchange only what is ours in it."""
    if not out.exists():
        new.replace(out)
        return
    for name in NAMES:
        if (new / name).is_dir():
            staged = hidden_beside(out / name)
            (new / name).replace(staged)
            replace_folder(staged, out / name)
        else:
            (new / name).replace(out / name)
    for name in STALE:
        (out / name).unlink(missing_ok=True)
