"""`theratwin trial`: run, status, resume and report of a virtual trial. Words and the progress bar go to stderr."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from dose.errors import InputError, describe
from twin.cli_work import console, require_double_precision, step

Design = Annotated[Path, typer.Argument(help="A trial.toml, or the name of a shipped design.")]
Folder = Annotated[Path, typer.Argument(help="Folder of the trial.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the trial; one that holds it already goes on.")]
Patients = Annotated[int | None, typer.Option("--patients", min=1, help="Instead of the design's number.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Instead of the design's.")]
Executor = Annotated[str, typer.Option("--executor", help="auto, serial, process or dask.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Worker processes (default: the cores).")]
Scheduler = Annotated[
    str | None, typer.Option("--scheduler", help="Address of a Dask scheduler, such as tcp://10.0.0.1:8786.")
]
Gpus = Annotated[str, typer.Option("--gpus", help="Numbers of GPUs, such as 0,1: one worker for each.")]
Chunk = Annotated[int | None, typer.Option("--chunk", min=1, help="Patients a chunk, of a new trial.")]
MostFailed = Annotated[
    float, typer.Option("--most-failed", min=0.0, max=1.0, help="Share of failed patients that stops the trial.")
]
Verify = Annotated[bool, typer.Option("--verify", help="Read every page of the parts that are there.")]

Command = Callable[..., None]


def trial_app(told_in_words: Callable[[Command], Command]) -> typer.Typer:
    """The commands, each with its errors told as the other commands tell theirs."""
    app = typer.Typer(no_args_is_help=True, help="Virtual trials: run, look at, resume and report them.")
    for command in (run, status, resume, report, design):
        app.command()(told_in_words(command))
    return app


def run(
    design: Design,
    out: Out,
    patients: Patients = None,
    seed: Seed = None,
    executor: Executor = "auto",
    workers: Workers = None,
    scheduler: Scheduler = None,
    gpus: Gpus = "",
    chunk: Chunk = None,
    most_failed: MostFailed = 0.2,
):
    """Run the trial of DESIGN into OUT; on a folder that holds it, go on where it stopped."""
    from twin.trial.running import asked

    chosen = {"executor": executor, "workers": workers, "client": scheduler, "gpus": _gpus(gpus), "chunk": chunk}
    _run(asked(design, patients, seed), out, **chosen, most_failed=most_failed)


def resume(
    folder: Folder,
    executor: Executor = "auto",
    workers: Workers = None,
    scheduler: Scheduler = None,
    gpus: Gpus = "",
    most_failed: MostFailed = 0.2,
    verify: Verify = False,
):
    """Compute what is missing of the trial in FOLDER; its design is in its manifest."""
    from twin.trial import manifest
    from twin.trial.design import design_of

    words = manifest.read(folder)["job"].get("design")
    if not isinstance(words, dict):
        do = "go on with the script that began it (twin.trial.engine.run)"
        raise InputError(describe("manifest.json", "a trial without a design", "one of theratwin trial run", do))
    chosen = {"executor": executor, "workers": workers, "client": scheduler, "gpus": _gpus(gpus)}
    _run(design_of(words), folder, **chosen, most_failed=most_failed, verify=verify)


def status(folder: Folder):
    """Say how far the trial in FOLDER is."""
    from twin.trial.status import status as look

    found = look(folder)
    lines = [f"[bold]{found.state}[/]: {found.patients_done} of {found.patients} patients, "]
    lines[0] += f"{found.chunks_done} of {found.chunks} chunks"
    if not math.isnan(found.rate_per_s):
        lines.append(f"{found.rate_per_s:.3g} patients/s")
    if not math.isnan(found.left_s):
        lines.append(f"{_hours(found.left_s)} left")
    if found.statuses:
        lines.append("rows: " + ", ".join(f"{rows} {word}" for word, rows in sorted(found.statuses.items())))
    if found.started and found.updated:
        lines.append(f"began {found.started:%Y-%m-%d %H:%M:%S} UTC, last event {found.updated:%Y-%m-%d %H:%M:%S} UTC")
    lines.append(f"workers lost: {found.workers_lost}")
    lines += [f"driver: {found.driver}"] if found.driver else []
    lines += [f"why: {escape(found.why)}"] if found.why else []
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


def design(name: Annotated[str, typer.Argument(help="Name of a shipped design; none lists them.")] = ""):
    """Print a shipped design, to begin one of your own with: theratwin trial design psma-stop-rule > mine.toml"""
    from twin.trial.design import shipped_designs, text_of

    typer.echo("\n".join(shipped_designs()) if not name else text_of(name)[0].rstrip())


def report(folder: Folder):
    """Write the report of the trial in FOLDER and name its page."""
    require_double_precision()
    from twin.report.trial import write_report

    with step("writing the report"):
        page = write_report(folder)
    console.print(escape(str(page)), soft_wrap=True)


def _run(design, folder: Path, **options) -> None:
    """Run or go on, with a bar, and one line at the end."""
    require_double_precision()
    from twin.trial.engine import run as run_trial
    from twin.trial.gate import write_gate
    from twin.trial.job import TrialJob

    with _bar(design.patients) as tell:
        done = run_trial(TrialJob(design), folder, progress=tell, **options)
    lost = f", {done.workers_lost} workers lost" if done.workers_lost else ""
    judged = write_gate(folder)
    counts = f"{done.patients} patients in {_hours(done.seconds)} ({done.executor}), {done.failed} rows failed{lost}"
    console.print(f"trial in [bold]{escape(str(folder))}[/]: {counts}", soft_wrap=True, highlight=False)
    for line in gate_words(judged):
        console.print(line, soft_wrap=True, highlight=False)


def gate_words(judged) -> list[str]:
    """Whether the cohort looks like patients, organ by organ where it does not."""
    if not judged:
        return ["plausibility gate: none for this tracer, or too few patients"]
    failed = [g for g in judged if not g.passes]
    lines = [f"plausibility gate: {len(judged) - len(failed)} of {len(judged)} pass"]
    text = "[bold red]fails[/]: {0.tracer} {0.organ}, {0.quantity} {0.value:.3g}, published {0.low:g} to {0.high:g}"
    return lines + [text.format(g) for g in failed]


@contextmanager
def _bar(patients: int) -> Iterator[Callable]:
    """A bar of patients with the engine's own rate and time left."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    said = TextColumn("{task.fields[said]}")
    with Bar(
        TextColumn("patients"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), said, console=console
    ) as b:
        task = b.add_task("", total=patients, said="starting")

        def tell(progress) -> None:
            words = f"{progress.rate_per_s:.3g}/s, {_hours(progress.left_s)} left"
            b.update(task, completed=progress.done, said=words)

        yield tell


def _hours(seconds: float) -> str:
    """A time as h:mm:ss."""
    whole = round(seconds) if math.isfinite(seconds) else 0
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def _gpus(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
