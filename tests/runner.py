"""Runs registered checks and benchmarks and keeps their rows in a JSON file that the documentation shows.

A validation check compares with a number from outside the code; a benchmark times something beside a named peer. Both
are functions in files found by name (`checks_*.py`, `bench_*.py`); adding one means writing one decorated function.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"


class Skipped(Exception):
    """The check cannot run here (data not present, no accelerator); its earlier row is kept."""


@dataclass(frozen=True)
class Entry:
    """A registered function and the words of its row."""

    key: str
    run: Callable
    words: dict


def shared(path: str) -> Path:
    """A file of the reference data beside the checkout.

    Raises:
        Skipped: the file is not there.
    """
    found = SHARED / "data" / path
    if not found.exists():
        raise Skipped(f"reference data {path} is not beside this checkout")
    return found


def register(table: dict[str, Entry], key: str, **words):
    """Decorator that puts a function into `table`; each key once."""

    def keep(function):
        if key in table:
            raise ValueError(f'the key "{key}" is registered twice; give one of the two another name')
        table[key] = Entry(key, function, words)
        return function

    return keep


def discover(package: str, prefix: str) -> None:
    """Import every `<prefix>*.py` of a package of tests, in order of name."""
    folder = REPOSITORY / Path(*package.split("."))
    for path in sorted(folder.glob(f"{prefix}*.py")):
        importlib.import_module(f"{package}.{path.stem}")


def plain(value):
    """Numbers as JSON knows them: numpy scalars and arrays unpacked, NaN and infinity as null."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def measure(entry: Entry, make_row: Callable) -> dict | None:
    """The row of one entry, or None where it was skipped. An error of the check is a row that did not pass."""
    begin = time.perf_counter()
    try:
        outcome = entry.run()
    except Skipped as reason:
        print(f"skip  {entry.key}: {reason}")
        return None
    except Exception:
        traceback.print_exc()
        outcome = None
    row = make_row(entry, outcome, time.perf_counter() - begin)
    print(f"{'ok   ' if row.get('pass', outcome is not None) else 'FAIL '} {entry.key}: {row['value']} {row['unit']}")
    return row


def merged(path: Path, rows: list[dict], known: dict[str, Entry], all_run: bool) -> list[dict]:
    """New rows over the earlier ones of `path`; after a whole run, rows of checks that no longer exist are dropped."""
    earlier = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    kept = {row["key"]: row for row in earlier if row["key"] in known or not all_run}
    kept.update({row["key"]: row for row in rows})
    return [kept[key] for key in sorted(kept)]


def save(path: Path, text: str) -> None:
    """Write beside, then rename: a run that is cut off leaves the earlier file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)


def options(description: str, out: str, arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--only", default="", metavar="PREFIX", help="run the keys that begin so; other rows are kept")
    parser.add_argument("--out", default=out, type=Path, help="the JSON file of rows")
    return parser.parse_args(arguments)


def run(table: dict[str, Entry], asked: argparse.Namespace, make_row: Callable) -> list[dict]:
    """Run what was asked for, write the merged rows and return the new ones."""
    chosen = [entry for key, entry in sorted(table.items()) if key.startswith(asked.only)]
    if not chosen:
        sys.exit(f'no key begins with "{asked.only}"; there are: {", ".join(sorted(table))}')
    rows = [row for row in (measure(entry, make_row) for entry in chosen) if row is not None]
    everything = merged(asked.out, rows, table, all_run=not asked.only)
    save(asked.out, json.dumps(everything, indent=1, ensure_ascii=False) + "\n")
    return rows
