"""Modules are abstract or final: nobody inherits from a concrete class of ours (Equinox no longer checks this)."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("twin", "pbpk", "imaging", "dose", "calibration")
FAMILIES = {"TheratwinError"}
"""Roots of the error families: the one place where a concrete class has children."""


def classes(trees: Iterable[ast.Module]) -> dict[str, list[str]]:
    """Class name to the last names of its bases, those of typing (Protocol, NamedTuple) left out."""
    found = {}
    for tree in trees:
        typing = {
            a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.module == "typing" for a in n.names
        }
        for node in (n for n in ast.walk(tree) if isinstance(n, ast.ClassDef)):
            names = [ast.unparse(base).split("[")[0].split(".")[-1] for base in node.bases]
            found[node.name] = [name for name in names if name not in typing]
    return found


def inherited_concrete(table: dict[str, list[str]]) -> list[str]:
    return [
        f"{child} inherits from {base}"
        for child, bases in table.items()
        for base in bases
        if base in table and not base.startswith(("Abstract", "_Abstract")) and base not in FAMILIES
    ]


def test_nobody_inherits_from_a_concrete_class():
    paths = [path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")]
    table = classes(ast.parse(path.read_text(encoding="utf-8")) for path in paths)
    assert inherited_concrete(table) == []


def test_an_inherited_concrete_class_is_caught():
    tree = ast.parse("class Solver: ...\nclass Faster(Solver): ...\nclass AbstractA: ...\nclass B(AbstractA): ...")
    assert inherited_concrete(classes([tree])) == ["Faster inherits from Solver"]


def test_a_class_of_ours_may_be_called_as_one_of_typing():
    trees = [ast.parse("class Protocol: ..."), ast.parse("from typing import Protocol\nclass Job(Protocol): ...")]
    assert inherited_concrete(classes(trees)) == []
    assert inherited_concrete(classes([ast.parse("class Protocol: ...\nclass Job(Protocol): ...")]))
