"""`python -m tests.validate [--only prefix] [--out file]`: rows to JSON, their table to README.md beside it."""

from __future__ import annotations

import json
import sys

import tests.validate as registry
from tests.runner import REPOSITORY, Entry, discover, options, plain, run, save
from tests.validate import CHECKS
from tests.validate.ai_pages import fill_pages, weights_mark
from twin._jax import configure

RECORD = REPOSITORY / "docs" / "validation" / "results.json"
"""The rows that docs/ai shows; runs written elsewhere leave its pages alone."""

HEAD = """# Validation

Written by `make validate` from [results.json]({file}); do not edit. Each row compares theratwin with a number from
outside its code. `make validate ONLY=dose/` runs the rows whose key begins so.

{passed} of {total} rows pass.

| check | value | unit | tolerance | passes | source | s |
|---|---|---|---|---|---|---|
"""


def make_row(entry: Entry, outcome, seconds: float) -> dict:
    """key, value, unit, tolerance, pass, source, seconds, of a network's rows the begin of its weights' checksum;
    a check that raised has value null and did not pass."""
    value, passed = outcome if outcome is not None else (None, False)
    words = entry.words
    row = {"key": entry.key, "value": plain(value), "unit": words["unit"], "tolerance": words["tolerance"]}
    mark = {"weights": found} if (found := weights_mark(entry.key)) else {}
    return row | {"pass": bool(passed), "source": words["source"], "seconds": round(seconds, 3)} | mark


def shown(value) -> str:
    """A value as a table cell of at most seven digits."""
    if isinstance(value, list):
        return ", ".join(shown(v) for v in value)
    return f"{value:.7g}" if isinstance(value, float) else "none" if value is None else str(value).replace("|", "/")


def table(rows: list[dict], file: str) -> str:
    """The Markdown page of all rows."""
    text = HEAD.format(file=file, passed=sum(row["pass"] for row in rows), total=len(rows))
    for row in rows:
        cells = (row["key"], row["value"], row["unit"], row["tolerance"], "yes" if row["pass"] else "**no**")
        text += "| " + " | ".join(shown(c) for c in (*cells, row["source"], row["seconds"])) + " |\n"
    return text


def main(arguments: list[str] | None = None) -> int:
    asked = options("Compare theratwin with numbers from outside its code.", "docs/validation/results.json", arguments)
    configure()
    discover(registry.__name__, "checks_")
    rows = run(CHECKS, asked, make_row)
    everything = json.loads(asked.out.read_text(encoding="utf-8"))
    save(asked.out.with_name("README.md"), table(everything, asked.out.name))
    if asked.out.resolve() == RECORD:
        fill_pages(everything)
    return 0 if all(row["pass"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
