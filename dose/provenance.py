"""Tables whose every row names its unit and its source, and the sources themselves."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from dose.errors import InputError, describe

REQUIRED = ("unit", "source_id")
"""Columns that no row of any shipped table may leave empty (a ratio has unit "1")."""

_ENTRY = re.compile(r"@\w+\{\s*([^,\s]+)\s*,(.*?)\n\}", re.DOTALL)
_FIELD = re.compile(r"(\w+)\s*=\s*\{(.*?)\}\s*(?:,|$)", re.DOTALL | re.MULTILINE)
_CITED = ("author", "title", "journal", "howpublished", "volume", "pages", "year", "doi", "note")


@dataclass(frozen=True)
class Source:
    """Where a number comes from: the `source_id` of a table row and the words to cite."""

    id: str
    citation: str


@cache
def _rows(package: str, filename: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    text = files(package).joinpath("data", filename).read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    for k, row in enumerate(rows, start=1):
        for column in REQUIRED:
            if not (row.get(column) or "").strip():
                where = f"{package}/data/{filename}, row {k}, column {column}"
                raise InputError(describe(where, "nothing", "a unit and a source in every row", "fill the column"))
    return tuple(tuple(row.items()) for row in rows)


def load_table(package: str, filename: str) -> list[dict[str, str]]:
    """The rows of `<package>/data/<filename>` as text; lines that begin with # are comments.

    Raises:
        InputError: a row without unit or source_id.
    """
    return [dict(row) for row in _rows(package, filename)]


@cache
def numbers_of(package: str, filename: str) -> str:
    """A fingerprint of a table's names and numbers, by which results made with others are known.

    Sources and words may change without changing it.
    """
    said = ("unit", "source_id", "locator", "low", "high")
    kept = [[value for name, value in row.items() if name not in said] for row in load_table(package, filename)]
    return hashlib.sha256(json.dumps(kept).encode()).hexdigest()[:12]


@cache
def _bibliography(package: str) -> tuple[Source, ...]:
    path = files(package).joinpath("data", "sources.bib")
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return tuple(Source(id, _citation(body)) for id, body in _ENTRY.findall(text))


def _citation(body: str) -> str:
    fields = {name.lower(): " ".join(value.split()) for name, value in _FIELD.findall(body)}
    return ". ".join(fields[name] for name in _CITED if fields.get(name))


def sources(package: str) -> dict[str, Source]:
    """The entries of `<package>/data/sources.bib` by their id; empty where the package has none."""
    return {source.id: source for source in _bibliography(package)}


def constant(package: str, name: str) -> float:
    """The value called `name` in `<package>/data/constants.csv`.

    Raises:
        InputError: no such row.
    """
    for row in load_table(package, "constants.csv"):
        if row["name"] == name:
            return float(row["value"])
    where = f"{package}/data/constants.csv"
    raise InputError(describe(where, f'no "{name}"', "a row of that name", "add it with its source"))
