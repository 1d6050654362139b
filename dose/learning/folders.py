"""Where weights are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from dose.errors import InputError, describe
from dose.learning.recipe import folder

ENVIRONMENT = "THERATWIN_WEIGHTS"
"""Folder with a user's own weights, looked into first."""


def weights_folders(package: str, where: str | Path | None = None) -> list[Path]:
    """Folders in which weights of a package's networks are looked for, in order: `where` alone, or else the one that
    THERATWIN_WEIGHTS names before the shipped ones.

    Raises:
        InputError: THERATWIN_WEIGHTS names no folder.
    """
    if where:
        return [Path(where)]
    own = os.environ.get(ENVIRONMENT)
    if own and not Path(own).is_dir():
        do = "correct the path, or unset it for the shipped weights"
        raise InputError(describe(ENVIRONMENT, f'"{own}"', "a folder with weights", do))
    return [*([Path(own)] if own else []), folder(package, "weights")]


def folder_of(name: str, package: str, where: str | Path | None = None) -> Path | None:
    """The first of these folders that holds a network's card or weights; None where none does."""
    kinds = (f"{name}.json", f"{name}.safetensors")
    folders = weights_folders(package, where)
    return next((p for p in folders if any((p / kind).exists() for kind in kinds)), None)
