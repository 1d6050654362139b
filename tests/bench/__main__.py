"""`python -m tests.bench [--only prefix] [--out file]`: rows key, value, unit, peer, peer_value, ratio to JSON.

`ratio` is value / peer_value in the row's unit: below 1 is better for times, above 1 for rates. README.md beside it
holds the table.
"""

from __future__ import annotations

import json
import sys

import tests.bench as registry
from tests.bench import BENCHES
from tests.runner import Entry, discover, options, plain, run, save
from twin._jax import configure


def make_row(entry: Entry, outcome, _seconds: float) -> dict:
    """One row; a benchmark that raised has value null."""
    value, peer_value = outcome if isinstance(outcome, tuple) else (outcome, entry.words["peer_value"])
    ratio = value / peer_value if value is not None and peer_value else None
    row = {"key": entry.key, "value": plain(value), "unit": entry.words["unit"], "peer": entry.words["peer"]}
    return row | {"peer_value": plain(peer_value), "ratio": plain(ratio)}


HEAD = """# Timings

Written by `make bench` from [results.json]({file}); do not edit. Value and peer were measured in one run; a ratio
below 1 is better for times, above 1 for rates. How to read them: [performance](../performance.md).

| what | value | unit | peer | its value | ratio |
|---|---|---|---|---|---|
"""


def table(rows: list[dict], file: str) -> str:
    """The Markdown page of all rows."""
    shown = lambda value: f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)
    text = HEAD.format(file=file)
    for row in rows:
        cells = (row[name] for name in ("key", "value", "unit", "peer", "peer_value", "ratio"))
        text += "| " + " | ".join(map(shown, cells)) + " |\n"
    return text


def main(arguments: list[str] | None = None) -> int:
    asked = options("Time theratwin beside named peers.", "docs/performance/results.json", arguments)
    configure()
    discover(registry.__name__, "bench_")
    rows = run(BENCHES, asked, make_row)
    everything = json.loads(asked.out.read_text(encoding="utf-8"))
    save(asked.out.with_name("README.md"), table(everything, asked.out.name))
    return 0 if all(row["value"] is not None for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
