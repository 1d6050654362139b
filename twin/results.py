"""The results folder: tables, schedule, posterior, figures, report and the twin itself, whole or not at all."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from twin.patient import DoseReport, PatientTwin, Plan
from twin.store import save
from twin.tables import doses_table, joined, posterior_table, schedule_table
from twin.whole import not_writable, replace_folder, write_whole

NAMES = ("doses.csv", "schedule.csv", "posterior.csv", "report.html", "twin", "figures")
"""What a results folder holds; other files in it are left alone."""


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


def write_results(out, twin: PatientTwin, report: DoseReport, plan: Plan, curves: dict, limits=()) -> Path:
    """Write everything to a hidden sibling of `out`, then put it in place; on any error `out` is as it was.

    `report` holds the doses of the cycles given, `plan` those to come; `curves` maps a cycle to (time_h, bands), with
    bands from region to (median, lower, upper) in MBq; `limits` as in `twin.plots.plan_fan`.

    Raises:
        InputError: the folder can't be written.
    """
    out = check_writable(out)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        temporary.mkdir(parents=True)
        _fill(temporary, twin, joined(report, plan.forecast), plan, curves, limits)
        _put_in_place(temporary, out)
    except OSError as error:
        raise not_writable(out, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out


def _fill(folder: Path, twin, every: DoseReport, plan: Plan, curves, limits) -> None:
    from twin.plots import png
    from twin.report import page

    tables = {"doses": doses_table(every), "schedule": schedule_table(plan), "posterior": posterior_table(twin)}
    for name, table in tables.items():
        write_whole(folder / f"{name}.csv", table.to_csv(index=False, lineterminator="\n").encode())
    save(twin, folder / "twin")
    figures = {name: (caption, png(figure)) for name, caption, figure in _figures(twin, every, curves, limits)}
    (folder / "figures").mkdir()
    for name, (_, image) in figures.items():
        write_whole(folder / "figures" / f"{name}.png", image)
    write_whole(folder / "report.html", page(twin, every, plan, dict(figures.values())).encode())


def _figures(twin: PatientTwin, every: DoseReport, curves, limits):
    """(file name, caption, figure), those without data left out."""
    from twin import plots

    for cycle, (time_h, bands) in curves.items():
        figure = plots.time_activity(cycle, time_h, bands, twin.study.observations)
        yield f"time_activity_cycle_{cycle}", f"Activity of each region in cycle {cycle}", figure
    yield "doses", "Absorbed dose of each cycle and their sum", plots.doses(every, limits)
    if any(limit.region in every.regions for limit in limits):
        yield "plan", "Dose so far against the limits of the plan", plots.plan_fan(every, limits)
    if twin.ledger:
        yield "ledger", "Forecasts against the measurements that followed", plots.ledger(twin)
    yield "posterior", "What the measurements taught about each parameter", plots.contraction(twin)


def _put_in_place(new: Path, out: Path) -> None:
    """Rename the new folder to `out`; where `out` exists, exchange only what is ours in it."""
    if not out.exists():
        new.replace(out)
        return
    for name in NAMES:
        if (new / name).is_dir():
            staged = out / f".{name}.{uuid.uuid4().hex}"
            (new / name).replace(staged)
            replace_folder(staged, out / name)
        else:
            (new / name).replace(out / name)
