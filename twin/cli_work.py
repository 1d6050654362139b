"""What the commands of `twin.cli` do, step by step: words go to stderr, tables and pages to files."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from dose.errors import InputError, describe

console = Console(stderr=True)

CURVE_POINTS = 96
CURVE_END_H = 240.0
CURVE_HALF_LIVES = 6.0
"""Curves are drawn to the earlier of the two, and at least to 1.5 times the last measurement."""


@contextmanager
def step(words: str):
    """A spinner with the elapsed time while the block runs, and one line when it is done."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(words, total=None)
        yield
        progress.update(task, total=1, completed=1)


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


def hours_of(text: str, option: str) -> tuple[float, ...]:
    """ "24,96" as hours."""
    from dose.units import parse

    return tuple(parse(part, "h", option) for part in text.split(","))


def run_scans(folder: Path, at: str, number: int):
    """What `theratwin scans` does."""
    from twin import store

    hours = hours_of(at, "--at")
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


def wishes_of(
    cycles, limits, objective, interval_days, amount, vial_step, tail, target, stop_at=None, scan=None
) -> dict:
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
        "vial_step_MBq": vial_step or None,
        "probability": tail,
        "target_Gy": target,
        "stop_at": tuple(stop_at or ()),
        "scans": tuple(hours_of(text, "--scan") for text in scan or ()),
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
