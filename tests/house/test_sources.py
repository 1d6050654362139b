"""Every number has a parent: each table row names unit and source, and each source is in the bibliography."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from dose.provenance import sources

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("twin", "pbpk", "imaging", "dose", "calibration")
TABLES = sorted(table for package in PACKAGES for table in (REPOSITORY / package).rglob("data/*.csv"))
REQUIRED = ("unit", "source_id", "locator")


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def faults(rows: list[dict], known: set[str]) -> list[str]:
    """What is missing in the rows of one table."""
    found = []
    for k, row in enumerate(rows, start=1):
        found += [f"row {k}: {column} is empty" for column in REQUIRED if not (row.get(column) or "").strip()]
        if row.get("source_id") and row["source_id"] not in known:
            found.append(f'row {k}: source "{row["source_id"]}" is not in sources.bib')
    return found


def read(table: Path) -> list[dict]:
    lines = [line for line in table.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return list(csv.DictReader(lines))


def test_there_are_tables():
    assert TABLES


@pytest.mark.parametrize("table", TABLES, ids=name)
def test_each_row_has_unit_source_and_locator(table):
    package = table.relative_to(REPOSITORY).parts[0]
    assert faults(read(table), set(sources(package))) == []


@pytest.mark.parametrize("folder", sorted({table.parent for table in TABLES}), ids=name)
def test_each_data_folder_says_what_it_holds(folder):
    assert (folder / "README.md").is_file()
    assert (folder / "sources.bib").is_file()


def test_a_row_without_a_source_is_caught():
    assert faults([{"unit": "g", "source_id": "", "locator": "table 1"}], {"icrp89"}) == ["row 1: source_id is empty"]
    assert faults([{"unit": "g", "source_id": "nowhere", "locator": "x"}], {"icrp89"})
