"""The networks that can be trained: by name, where their recipe is and what they are for. torch comes in when asked."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from dose.errors import InputError, describe, nearest

if TYPE_CHECKING:
    from dose.learning.recipe import Recipe

NETWORKS: dict[str, tuple[str, str, str]] = {
    "sparse_views": ("imaging.networks.sparse_views", "RECIPE", "90 of 120 SPECT views from 30"),
    "short_scan": ("imaging.networks.short_scan", "RECIPE", "projections of a short SPECT as if counted for long"),
    "denoise_spect": ("imaging.networks.denoise_spect", "RECIPE", "noise out of reconstructed short SPECT"),
    "denoise_pet": ("imaging.networks.denoise_pet", "RECIPE", "noise out of low-count PET"),
    "organs": ("imaging.networks.organs", "RECIPE", "organs on PET/CT and SPECT/CT"),
    "organs_25d": ("imaging.networks.organs_25d", "RECIPE", "the same, slice by slice"),
    "lesions_pet": ("imaging.networks.lesions_pet", "RECIPE", "lesions on PSMA and SSTR PET"),
    "lesions_spect": (
        "imaging.networks.lesions_spect",
        "RECIPE",
        "lesions on SPECT, with the diagnostic PET's as prior",
    ),
    "dose_residual": ("dose.network.residual", "RECIPE", "what tissue kernels leave over against Monte Carlo"),
    "dose_unet": ("dose.network.unet", "RECIPE", "dose from density and time-integrated activity"),
    "dose_kernels": ("dose.network.kernels", "RECIPE", "dose kernels by the density about each voxel"),
}
"""By name: module and name of the recipe in it, and in words what the network is for."""


COLUMNS = ("network", "for", "default", "weights", "kB", "checksum")


def recipe_of(name: str) -> Recipe:
    """The recipe of a network.

    Raises:
        InputError: no network of this name.
    """
    if name not in NETWORKS:
        hint = nearest(name, NETWORKS) or ", ".join(NETWORKS)
        raise InputError(describe("network", f'"{name}"', f"a network ({hint})", "see `theratwin networks`"))
    module, attribute, _ = NETWORKS[name]
    return getattr(importlib.import_module(module), attribute)


def networks_table() -> pd.DataFrame:
    """A row for each network: what it is for, whether it is used unasked, weights, size, checksum."""
    return pd.DataFrame([_row(name) for name in NETWORKS], columns=list(COLUMNS))


def _row(name: str) -> dict:
    where = _package_folder(NETWORKS[name][0]) / "weights"
    card_file, file = where / f"{name}.json", where / f"{name}.safetensors"
    row = {
        "network": name,
        "for": NETWORKS[name][2],
        "default": False,
        "weights": 0,
        "kB": 0.0,
        "checksum": "no weights",
    }
    if not (card_file.exists() and file.exists()):
        return row
    card, content = json.loads(card_file.read_text(encoding="utf-8")), file.read_bytes()
    whole = hashlib.sha256(content).hexdigest() == card["sha256"]
    size = {"weights": sum(run["weights"] for run in card["runs"]), "kB": round(len(content) / 1000, 1)}
    return row | size | {"default": bool(card.get("default", False)), "checksum": "good" if whole else "WRONG"}


def _package_folder(module: str) -> Path:
    return Path(__file__).resolve().parent.parent.joinpath(*module.split(".")[:2])
