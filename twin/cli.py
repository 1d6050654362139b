"""The command `theratwin`: parse, call the verbs, write the results folder. Words go to stderr, tables to files."""

from __future__ import annotations

import functools
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dose.errors import InputError, TheratwinError, describe
from twin.cli_images import add_image_commands
from twin.cli_networks import add_network_commands
from twin.cli_segment import add_segment_command
from twin.cli_trial import trial_app
from twin.cli_work import (
    console,
    require_double_precision,
    run_adapt,
    run_plan,
    run_population,
    run_scans,
    run_whatif,
    step,
    wishes_of,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

BAD_INPUT, BROKEN = 2, 1
"""Exit codes: something to correct in the input; a fault of the program."""

Out = Annotated[Path, typer.Option("--out", help="Folder for the results; made if it isn't there.")]
Tracer = Annotated[str | None, typer.Option("--tracer", help="Such as 177Lu-DOTATATE, where the study doesn't say.")]
Draws = Annotated[int, typer.Option("--draws", min=20, help="Posterior draws.")]
Seed = Annotated[int, typer.Option("--seed", help="Key of the random draws.")]
PopulationFile = Annotated[
    Path | None, typer.Option("--population", help="Population to start from, made by `theratwin population`.")
]
Method = Annotated[
    str, typer.Option("--method", help="How the posterior is made: importance (seconds), laplace or nuts (minutes).")
]
Hours = Annotated[str, typer.Option("--at", help="Candidate hours after the administration, with commas between.")]
Cycles = Annotated[int, typer.Option("--cycles", min=1, max=12, help="Therapy cycles to plan for.")]
Limits = Annotated[Path | None, typer.Option("--limits", help="TOML file of limits and who set them.")]
Objective = Annotated[str, typer.Option("--objective", help="What to maximise, such as worst_lesion_eubed.")]
Interval = Annotated[float | None, typer.Option("--interval-days", help="Days between cycles (default: the label's).")]
Amount = Annotated[str | None, typer.Option("--amount", help="Ligand, such as 90 or 40-200 for a range (nmol).")]
Vial = Annotated[float | None, typer.Option("--vial-step", min=0.0, help="Smallest step of an activity (MBq).")]
Tail = Annotated[float, typer.Option("--tail", help="Probability with which a limit may be passed.")]
StopAt = Annotated[
    list[str] | None,
    typer.Option("--stop-at", help="Limit that a stop rule may watch, such as kidney_bed_27; again for more."),
]
Scans = Annotated[
    list[str] | None,
    typer.Option("--scan", help="Hours of a set of scans to choose from, such as 24,96; again for more."),
]
Record = Annotated[
    Path | None, typer.Option("--record", help="TOML file of EANM fields that no image tells, for the report.")
]
Target = Annotated[float, typer.Option("--target", help="Dose for the objective lesion_control (Gy).")]


def told_in_words(command):
    """Errors as one paragraph on stderr and an exit code; THERATWIN_TRACEBACK=1 shows the traceback instead."""

    @functools.wraps(command)
    def run(*args, **kwargs):
        try:
            return command(*args, **kwargs)
        except (typer.Exit, KeyboardInterrupt):
            raise
        except Exception as error:
            if os.environ.get("THERATWIN_TRACEBACK"):
                raise
            kind = type(error).__name__
            known = isinstance(error, TheratwinError)
            hint = "" if known else " This is a fault of theratwin; THERATWIN_TRACEBACK=1 shows where."
            console.print(f"[bold red]{kind}[/]: {escape(str(error))}{hint}", soft_wrap=True)
            raise typer.Exit(BAD_INPUT if known else BROKEN) from error

    return run


@app.command()
@told_in_words
def demo(out: Out = Path("theratwin_demo"), seed: Seed = 0):
    """Make a virtual patient, plan the therapy, then adapt it to a later scan; all into OUT."""
    from twin.demo import write_demo
    from twin.results import check_writable

    require_double_precision()
    check_writable(out)
    with step("making the virtual patient"):
        study = write_demo(out, seed)
    later = sorted(p for p in Path(study).parent.iterdir() if p.is_dir() and p != Path(study) and "later" in p.name)
    wishes = wishes_of(4, None, "mean_tumour_dose", None, None, 1.0, 0.05, 60.0)
    run_plan(Path(study), out / "results", None, wishes, 200, seed)
    for folder in later:
        run_adapt(out / "results", folder, out / f"results_{folder.name}", None, wishes)


@app.command()
@told_in_words
def plan(
    study: Path,
    out: Out,
    cycles: Cycles = 4,
    tracer: Tracer = None,
    draws: Draws = 200,
    seed: Seed = 0,
    population: PopulationFile = None,
    method: Method = "importance",
    limits: Limits = None,
    objective: Objective = "mean_tumour_dose",
    interval_days: Interval = None,
    amount: Amount = None,
    vial_step: Vial = None,
    tail: Tail = 0.05,
    target: Target = 60.0,
    stop_at: StopAt = None,
    scan: Scans = None,
    record: Record = None,
):
    """Calibrate a twin to STUDY, forecast its doses and plan the remaining cycles.

    STUDY may also be a folder that holds a twin already: then it is planned without calibrating again.
    """
    wishes = wishes_of(cycles, limits, objective, interval_days, amount, vial_step, tail, target, stop_at, scan)
    run_plan(study, out, tracer, wishes, draws, seed, population, method, record)


@app.command()
@told_in_words
def whatif(
    folder: Path,
    activities: Annotated[list[str], typer.Argument(help='Activities to come, such as "7.4 GBq" "6 GBq".')],
    interval_days: Interval = None,
    limits: Limits = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON on stdout.")] = False,
):
    """Say what ACTIVITIES to come would do to the patient whose twin is in FOLDER."""
    run_whatif(folder, activities, interval_days, limits, as_json)


@app.command()
@told_in_words
def scans(
    folder: Path,
    at: Hours = "4,24,48,72,96,120,168",
    number: Annotated[int, typer.Option("--scans", min=1, max=3, help="How many further scans.")] = 1,
):
    """Say which further scans would teach most about the doses of the twin in FOLDER, best first."""
    run_scans(folder, at, number)


@app.command()
@told_in_words
def population(
    cohort: Path,
    out: Annotated[Path, typer.Option("--out", help="File for the population, such as clinic.toml.")],
    tracer: Tracer = None,
    seed: Seed = 0,
):
    """Estimate typical values and spreads from COHORT, a folder of study folders, and write them to a file."""
    run_population(cohort, out, tracer, seed)


@app.command()
@told_in_words
def adapt(
    folder: Path,
    study: Path,
    out: Out | None = None,
    cycles: Cycles = 4,
    tracer: Tracer = None,
    limits: Limits = None,
    objective: Objective = "mean_tumour_dose",
    interval_days: Interval = None,
    amount: Amount = None,
    vial_step: Vial = None,
    tail: Tail = 0.05,
    target: Target = 60.0,
    stop_at: StopAt = None,
    scan: Scans = None,
):
    """Adapt the twin in FOLDER to the later scans of STUDY; without --out the results go beside FOLDER."""
    wishes = wishes_of(cycles, limits, objective, interval_days, amount, vial_step, tail, target, stop_at, scan)
    run_adapt(folder, study, out or folder.with_name(f"{folder.resolve().name}_adapted"), tracer, wishes)


@app.command(name="app")
@told_in_words
def planner(
    path: Path,
    port: Annotated[int | None, typer.Option("--port", min=1024, max=65535, help="Default: a free one.")] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    tracer: Tracer = None,
):
    """Open the planner page for PATH: a results folder, a saved twin, or a study, which is calibrated first."""
    require_double_precision()
    from twin.app.launch import launch

    launch(path, port=port, open_browser=browser, tracer=tracer, step=step)


@app.command()
@told_in_words
def report(
    folder: Path,
    pdf: Annotated[bool, typer.Option("--pdf", help="Print it to report.pdf, by a Chromium on this machine.")] = False,
):
    """Name the report page of the results in FOLDER; with --pdf print it beside."""
    from twin.pdf import pdf as print_pdf

    page = folder / "report.html"
    if not page.is_file():
        do = "give a folder that theratwin plan wrote"
        raise InputError(describe("results folder", f"no report.html in {folder}", "a page", do))
    made = page
    if pdf:
        with step("printing"):
            made = print_pdf(page, folder / "report.pdf")
    console.print(escape(str(made)), soft_wrap=True)


@app.command()
@told_in_words
def doctor(out: Out = Path()):
    """Say which versions, precision, cores and folders are in use; the exit code is 0 where all is well."""
    from twin.diagnosis import diagnose

    findings = diagnose(out)
    for name, (good, words) in findings.items():
        mark = "[green]ok[/]  " if good else "[bold red]bad[/] "
        console.print(f"{mark} {name:<18} {escape(words)}", soft_wrap=True, highlight=False)
    if not all(good for good, _ in findings.values()):
        raise typer.Exit(BROKEN)


add_image_commands(app, told_in_words)
add_network_commands(app, told_in_words)
add_segment_command(app, told_in_words)
app.add_typer(trial_app(told_in_words), name="trial")


def main():
    """Entry point; a broken pipe or Ctrl-C ends quietly."""
    try:
        app()
    except KeyboardInterrupt:
        console.print("stopped; nothing half written is left")
        sys.exit(130)


if __name__ == "__main__":
    main()
