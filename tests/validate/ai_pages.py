"""The tables of docs/ai: rows of docs/validation/results.json between two marks of each page.

A row whose value is a list of five is a comparison (`dose.learning.paired.Paired.values`): network, classical method,
their difference on the same cases, and its 95 % interval.
"""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

from tests.runner import REPOSITORY

PAGES = REPOSITORY / "docs" / "ai"
MARKS = re.compile(r"(<!-- results:(\S+) -->\n).*?(<!-- /results -->)", re.DOTALL)
COMPARED = 5
REPORTED = "reported"
"""Tolerance of a row that asks for nothing: it shows no "yes", but "no" where it could not be measured."""

PACKAGES = ("imaging/networks", "dose/network")

HEAD = """
| figure | network | classical | difference (95 %) | unit | asked | holds |
|---|---|---|---|---|---|---|
"""


def weights_mark(key: str) -> str:
    """Begin of the checksum of the weights that a row "ai/NAME/..." was measured with; "" for another row."""
    _, _, name = key.partition("ai/")
    cards = [REPOSITORY / package / "weights" / f"{name.split('/')[0]}.json" for package in PACKAGES]
    found = next((card for card in cards if key.startswith("ai/") and card.exists()), None)
    return json.loads(found.read_text(encoding="utf-8"))["sha256"][:12] if found else ""


def fill_pages(rows: list[dict], folder: Path = PAGES) -> None:
    """Write the rows into all pages that ask for them."""
    for page in sorted(folder.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        filled = MARKS.sub(lambda found: found[1] + table_of(rows, found[2]) + found[3], text)
        if filled != text:
            page.write_text(filled, encoding="utf-8")


def table_of(rows: list[dict], prefix: str) -> str:
    """The rows whose key begins so, as a table; the prefix itself is left out."""
    chosen = [row for row in rows if row["key"].startswith(f"{prefix}/")]
    return HEAD + "".join(_line(row, prefix) for row in chosen) + "\n" if chosen else "\n"


def _line(row: dict, prefix: str) -> str:
    name = row["key"].removeprefix(f"{prefix}/")
    holds = "yes" if row["pass"] else "**no**"
    holds = "-" if row["tolerance"] == REPORTED and row["pass"] else holds
    cells = [name, *_values(row["value"]), row["unit"], str(row["tolerance"]), holds]
    return "| " + " | ".join(str(cell).replace("|", "/") for cell in cells) + " |\n"


def _is_comparison(network: float, classical: float, difference: float, low: float, high: float) -> bool:
    return math.isclose(network - classical, difference, rel_tol=1e-6, abs_tol=1e-9) and low <= difference <= high


def _values(value) -> list[str]:
    if isinstance(value, list) and len(value) == COMPARED and _is_comparison(*value):
        network, classical, difference, low, high = (f"{v:.3g}" for v in value)
        return [network, classical, f"{difference} ({low} to {high})"]
    shown = (
        ", ".join(f"{v:.3g}" for v in value) if isinstance(value, list) else "none" if value is None else f"{value:.4g}"
    )
    return [shown, "", ""]
