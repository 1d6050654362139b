"""`theratwin networks` and `train`: what networks there are, and how one is made again. Words go to stderr."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from twin.cli_work import console, require_double_precision

Command = Callable[..., None]


def add_network_commands(app: typer.Typer, told_in_words: Callable[[Command], Command]) -> None:
    """The commands, each with its errors told as the others tell theirs."""
    for command in (networks, train):
        app.command()(told_in_words(command))


def networks():
    """List the networks: what each is for, whether its call uses it unasked, and its weights."""
    from twin.networks import networks_table

    frame = networks_table()
    table = Table(box=SIMPLE_HEAD)
    for column in frame.columns:
        table.add_column(str(column))
    for row in frame.itertuples(index=False):
        table.add_row(*(escape(_cell(cell)) for cell in row))
    console.print(table)


def _cell(value) -> str:
    return str(value) if not isinstance(value, (bool, np.bool_)) else "yes" if value else "no"


def train(
    name: Annotated[str, typer.Argument(help="Network, as `theratwin networks` lists them.")],
    size: Annotated[str, typer.Option("--size", help="Of the configuration: shipped, or small (minutes).")] = "shipped",
    out: Annotated[
        Path, typer.Option("--out", help="Folder for weights, card and loss curve; made if it isn't there.")
    ] = Path("networks-out"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first member; cases have seeds of their own.")] = 0,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", min=0.01, help="Steps end by then, simulation not counted."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="Of torch, such as cpu or cuda.")] = None,
):
    """Simulate cases, train the network NAME on them, and write its weights with their card and loss curve."""
    from twin.networks import recipe_of

    recipe = recipe_of(name)
    require_double_precision()
    from dose.learning.training import train as trained

    with _Bar(name) as bar:
        weights = trained(recipe, size, out, seed=seed, device=device, minutes=minutes, progress=bar.told)
    card = json.loads(weights.with_suffix(".json").read_text(encoding="utf-8"))
    from twin.plots_networks import training_curves

    training_curves(name, card["runs"]).savefig(out / f"{name}.png", dpi=110)
    loss = min(card["runs"][-1]["curve"][-1][2], card.get("solved_loss", math.inf))
    kilobytes, mark, where = card["bytes"] / 1000, card["sha256"][:12], escape(str(out))
    console.print(f"{escape(str(weights))}: {kilobytes:.0f} kB, held-out loss {loss:.4g}, sha256 {mark}")
    console.print(f'To use them: THERATWIN_WEIGHTS={where}, and method="network".')


class _Bar:
    """A progress bar that takes what `dose.learning` tells."""

    def __init__(self, name: str):
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, console=console)
        self._task = self._progress.add_task(name, total=None)

    def __enter__(self):
        self._progress.__enter__()
        return self

    def __exit__(self, *error):
        self._progress.__exit__(*error)

    def told(self, done: int, whole: int, words: str) -> None:
        self._progress.update(self._task, completed=done, total=whole, description=words)
