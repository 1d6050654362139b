"""The networks that can be trained: by name, where their recipe is and what they are for. torch comes in when asked."""

from __future__ import annotations

import hashlib
import importlib
import json
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from dose.errors import InputError, describe, nearest
from dose.learning.folders import folder_of
from dose.learning.recipe import folder

if TYPE_CHECKING:
    from dose.learning.recipe import Recipe


class Listed(NamedTuple):
    """Where a network's recipe is, what it is for in words, and in which package's folders its files lie."""

    module: str
    attribute: str
    purpose: str
    package: str = "imaging.networks"


DOSE, IMAGING = "dose.network", "imaging.networks"

NETWORKS: dict[str, Listed] = {
    "sparse_views": Listed(f"{IMAGING}.sparse_views", "RECIPE", "90 of 120 SPECT views from 30"),
    "short_scan": Listed(f"{IMAGING}.short_scan", "RECIPE", "projections of a short SPECT as if counted for long"),
    "scatter_177lu": Listed(f"{IMAGING}.scatter", "RECIPE_177LU", "scatter in the 208 keV window of 177Lu"),
    "scatter_90y": Listed(f"{IMAGING}.scatter", "RECIPE_90Y", "scatter in the window of 90Y bremsstrahlung"),
    "denoise_spect": Listed(f"{IMAGING}.denoise_spect", "RECIPE", "noise out of reconstructed short SPECT"),
    "denoise_pet": Listed(f"{IMAGING}.denoise_pet", "RECIPE", "noise out of low-count PET"),
    "restore_spect": Listed(f"{IMAGING}.restore_spect", "RECIPE", "partial volume of SPECT undone voxel by voxel"),
    "organs": Listed(f"{IMAGING}.organs", "RECIPE", "organs on PET/CT and SPECT/CT"),
    "organs_25d": Listed(f"{IMAGING}.organs_25d", "RECIPE", "the same, slice by slice"),
    "lesions_pet": Listed(f"{IMAGING}.lesions_pet", "RECIPE", "lesions on PSMA and SSTR PET"),
    "lesions_spect": Listed(
        f"{IMAGING}.lesions_spect", "RECIPE", "lesions on SPECT, with the diagnostic PET's as prior"
    ),
    "warp": Listed(f"{IMAGING}.warp", "RECIPE", "one CT moved onto another, smoothly"),
    "tia_single": Listed("twin.network_recipes", "TIA_SINGLE", "time-integrated activity of voxels from one SPECT"),
    "tia_from_pet": Listed("twin.network_recipes", "TIA_FROM_PET", "the same before therapy, from a PET"),
    "dose_residual": Listed(f"{DOSE}.residual", "RECIPE", "what tissue kernels leave over against Monte Carlo", DOSE),
    "dose_unet": Listed(f"{DOSE}.unet", "RECIPE", "dose from density and time-integrated activity", DOSE),
    "dose_kernels": Listed(f"{DOSE}.kernels", "RECIPE", "dose kernels by the density about each voxel", DOSE),
    "dose_features": Listed(
        "twin.dose_recipes", "DOSE_FEATURES", "doses of organs and lesions from a PET's features", DOSE
    ),
}
"""The networks by name."""


COLUMNS = ("network", "for", "default", "weights", "kB", "checksum", "from")


def recipe_of(name: str) -> Recipe:
    """The recipe of a network.

    Raises:
        InputError: no network of this name.
    """
    if name not in NETWORKS:
        hint = nearest(name, NETWORKS) or ", ".join(NETWORKS)
        raise InputError(describe("network", f'"{name}"', f"a network ({hint})", "see `theratwin networks`"))
    listed = NETWORKS[name]
    return getattr(importlib.import_module(listed.module), listed.attribute)


def networks_table() -> pd.DataFrame:
    """A row for each network: what it is for, whether its own call uses it unasked, weights, size, checksum, and
    whether the weights are those shipped or of the folder that THERATWIN_WEIGHTS names.

    Raises:
        InputError: THERATWIN_WEIGHTS names no folder.
    """
    return pd.DataFrame([_row(name) for name in NETWORKS], columns=list(COLUMNS))


def _row(name: str) -> dict:
    shipped = folder(NETWORKS[name].package, "weights")
    where = folder_of(name, NETWORKS[name].package) or shipped
    card_file, file = where / f"{name}.json", where / f"{name}.safetensors"
    row = {
        "network": name,
        "for": NETWORKS[name].purpose,
        "default": False,
        "weights": 0,
        "kB": 0.0,
        "checksum": "no weights",
        "from": "shipped" if where == shipped else str(where),
    }
    if not (card_file.exists() and file.exists()):
        return row
    card, content = json.loads(card_file.read_text(encoding="utf-8")), file.read_bytes()
    whole = hashlib.sha256(content).hexdigest() == card["sha256"]
    size = {"weights": sum(run["weights"] for run in card["runs"]), "kB": round(len(content) / 1000, 1)}
    return row | size | {"default": bool(card.get("default", False)), "checksum": "good" if whole else "WRONG"}
