"""The command `theratwin`: parse, call the verbs, write the results folder. Words go to stderr, tables to files."""

from __future__ import annotations

import functools
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from dose.errors import InputError, TheratwinError, describe

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(stderr=True)

BAD_INPUT, BROKEN = 2, 1
"""Exit codes: something to correct in the input; a fault of the program."""

CURVE_POINTS = 96
CURVE_END_H = 240.0
CURVE_HALF_LIVES = 6.0
"""Curves are drawn to the earlier of the two, and at least to 1.5 times the last measurement."""

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
Vial = Annotated[float, typer.Option("--vial-step", min=0.0, help="Smallest step of an activity (MBq).")]
Tail = Annotated[float, typer.Option("--tail", help="Probability with which a limit may be passed.")]
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


@contextmanager
def step(words: str):
    """A spinner with the elapsed time while the block runs, and one line when it is done."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(words, total=None)
        yield
        progress.update(task, total=1, completed=1)


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
    vial_step: Vial = 1.0,
    tail: Tail = 0.05,
    target: Target = 60.0,
    record: Record = None,
):
    """Calibrate a twin to STUDY, forecast its doses and plan the remaining cycles.

    STUDY may also be a folder that holds a twin already: then it is planned without calibrating again.
    """
    wishes = wishes_of(cycles, limits, objective, interval_days, amount, vial_step, tail, target)
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
    vial_step: Vial = 1.0,
    tail: Tail = 0.05,
    target: Target = 60.0,
):
    """Adapt the twin in FOLDER to the later scans of STUDY; without --out the results go beside FOLDER."""
    wishes = wishes_of(cycles, limits, objective, interval_days, amount, vial_step, tail, target)
    run_adapt(folder, study, out or folder.with_name(f"{folder.resolve().name}_adapted"), tracer, wishes)


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


def require_double_precision():
    """Set up JAX and make sure that it computes in double precision.

    Raises:
        InputError: it does not.
    """
    from twin._jax import configure

    configure()
    import jax.numpy as jnp

    if jnp.zeros(()).dtype != jnp.float64:
        do = "unset JAX_ENABLE_X64 and don't switch jax_enable_x64 off"
        raise InputError(describe("jax precision", str(jnp.zeros(()).dtype), "float64", do))


def run_scans(folder: Path, at: str, number: int):
    """What `theratwin scans` does."""
    from dose.units import parse
    from twin import store

    hours = tuple(parse(text, "h", "--at") for text in at.split(","))
    patient = store.open(folder)
    require_double_precision()
    from twin.designs import best_scans

    with step(f"weighing {number} of {len(hours)} scans"):
        table = best_scans(patient, times_h=hours, scans=(number,))
    console.print("Expected sd of each region's integral, and information lost against the best (nats)")
    console.print(escape(str(table)), soft_wrap=True, highlight=False)


def run_plan(
    study_path: Path,
    out: Path,
    tracer,
    wishes: dict,
    draws: int,
    seed: int,
    population: Path | None = None,
    method: str = "importance",
    record: Path | None = None,
):
    """What `theratwin plan` does."""
    from twin import store
    from twin.results import check_writable
    from twin.study import read_study

    check_writable(out)
    if store.holds_twin(study_path):
        require_double_precision()
        finish(store.open(study_path), out, wishes, record=record)
        return
    with step("reading the study"):
        study = read_study(study_path, tracer)
    require_double_precision()
    from twin.population_files import load_population
    from twin.verbs import calibrate

    known = load_population(population) if population else None
    with step(f"calibrating to {len(study.observations)} measurements"):
        patient = calibrate(study, draws=draws, seed=seed, population=known, method=method)
    finish(patient, out, wishes, seed, record)


def run_population(cohort: Path, out: Path, tracer, seed: int):
    """What `theratwin population` does."""
    from twin.results import check_writable

    check_writable(out.parent)
    require_double_precision()
    from twin.population import estimate_population, read_cohort
    from twin.population_files import save_population

    with step("reading the cohort"):
        studies = read_cohort(cohort, tracer)
    with step(f"estimating the population of {len(studies)} patients"):
        found = estimate_population(studies, seed=seed)
    save_population(found, out)
    for note in found.notes:
        console.print(f"[bold red]note[/]: {escape(note)}", soft_wrap=True)
    console.print(f"population in [bold]{escape(str(out))}[/]: {len(found.groups)} groups", soft_wrap=True)


def run_adapt(folder: Path, study_path: Path, out: Path, tracer, wishes: dict):
    """What `theratwin adapt` does."""
    from twin import store
    from twin.later import later_data
    from twin.results import check_writable
    from twin.study import read_study

    check_writable(out)
    with step("opening the twin and reading the later study"):
        before = store.open(folder)
        study = read_study(study_path, tracer or f"{before.study.nuclide}-{before.study.ligand}")
        before, observations, administrations = later_data(before, study)
    require_double_precision()
    from twin.verbs import adapt as adapt_twin

    with step(f"adapting to {len(observations)} new measurements"):
        patient = adapt_twin(before, observations, administrations)
    finish(patient, out, wishes)


def wishes_of(cycles, limits, objective, interval_days, amount, vial_step, tail, target) -> dict:
    """Arguments of `twin.plan` from options; a file of limits is read here, before anything long begins."""
    from dose.units import parse
    from twin.constraints import read_limits

    ends = [parse(part, "nmol", "--amount") for part in amount.split("-")] if amount else []
    nmol = {} if not ends else {"amount_nmol": ends[0] if len(ends) == 1 else (ends[0], ends[-1])}
    return {
        "cycles": cycles,
        "limits": read_limits(limits) if limits else None,
        "objective": objective,
        "interval_days": interval_days,
        "vial_step_MBq": vial_step or 1.0,
        "probability": tail,
        "target_Gy": target,
        **nmol,
    }


def run_whatif(folder: Path, activities: list[str], interval_days: float | None, limits: Path | None, as_json: bool):
    """What `theratwin whatif` does."""
    import json

    from dose.units import parse
    from twin import store
    from twin.constraints import read_limits

    MBq = [parse(text, "MBq", f"activity {k + 1}") for k, text in enumerate(activities)]
    chosen = read_limits(limits) if limits else None
    patient = store.open(folder)
    require_double_precision()
    from twin.tables import whatif_record
    from twin.what_if import whatif as ask

    with step(f"forecasting {len(MBq)} cycles"):
        record = whatif_record(ask(patient, MBq, interval_days=interval_days, limits=chosen))
    if as_json:
        print(json.dumps(record, indent=1))
        return
    for line in record["words"]:
        console.print(escape(line), soft_wrap=True, highlight=False)


def finish(patient, out: Path, wishes: dict, seed: int | None = None, record: Path | None = None):
    """Forecast, plan, curves and the results folder of a calibrated twin."""
    from twin.planning import plan as plan_schedule
    from twin.results import write_results
    from twin.verbs import predict

    with step(f"planning {wishes['cycles']} cycles"):
        proposal = plan_schedule(patient, **wishes)
    with step("forecasting doses"):
        treated = any(a.cycle > 0 for a in patient.study.administrations)
        report = predict(patient) if treated else proposal.forecast
    with step("drawing curves"):
        curves = curves_of(patient)
    with step("weighing tumours against kidneys"):
        extras = extras_of(patient, proposal, wishes, seed, record)
    with step("writing the results"):
        write_results(out, patient, report, proposal, curves, extras=extras)
    warnings = len({*patient.study.warnings, *patient.posterior.warnings, *report.warnings, *proposal.warnings})
    console.print(f"results in [bold]{escape(str(out))}[/]: report.html has {warnings} warnings", soft_wrap=True)
    if proposal.conflict is not None:
        console.print(f"[bold red]{escape(str(proposal.conflict))}[/]: nothing was planned", soft_wrap=True)


def extras_of(patient, proposal, wishes: dict, seed: int | None, record: Path | None):
    """What the report shows beside the plan: the front, what each scan taught, and how it was made."""
    from datetime import UTC, datetime

    from twin.planning import front
    from twin.report import Extras, read_recorded
    from twin.report.history import stages

    made = front(patient, wishes["limits"], cycles=wishes["cycles"]) if proposal.administrations else None
    return Extras(
        front=made,
        stages=stages(patient),
        recorded=read_recorded(record) if record else {},
        command=" ".join(["theratwin", *sys.argv[1:]]),
        seed=seed,
        made_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        probability=wishes["probability"],
    )


def curves_of(patient) -> dict:
    """(time_h, bands) of each cycle that was measured."""
    import numpy as np

    from dose.nuclides import radionuclide
    from twin.verbs import band

    curves, seen = {}, patient.study.observations
    tracer = {a.cycle: radionuclide(a.nuclide) for a in patient.study.administrations}
    for cycle in sorted(set(seen.cycle)):
        last_h = float(np.max(seen.of_cycle(cycle).time_h))
        end_h = max(min(CURVE_END_H, CURVE_HALF_LIVES * tracer[cycle].half_life_h), 1.5 * last_h)
        time_h = np.linspace(0.0, end_h, CURVE_POINTS)
        curves[cycle] = (time_h, band(patient, cycle, time_h))
    return curves


def main():
    """Entry point; a broken pipe or Ctrl-C ends quietly."""
    try:
        app()
    except KeyboardInterrupt:
        console.print("stopped; nothing half written is left")
        sys.exit(130)


if __name__ == "__main__":
    main()
