"""Save and open a patient twin: words in JSON, arrays in netCDF, whole or not at all.

A twin is a folder of `twin.json` (format version, words, checksum of the arrays) and `arrays.nc` (h5netcdf). Writing
goes to a hidden sibling, is flushed to the disk and then renamed, so that a reader never sees half a twin.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np

from calibration.observations import FIELDS, Observations
from calibration.posterior import Posterior
from dose.errors import InputError, describe
from pbpk.administration import Administration
from pbpk.anatomy import Anatomy
from pbpk.parameters import Covariates
from twin.patient import LedgerEntry, PatientTwin, Study
from twin.whole import new_folder_beside, replace_folder, standing, write_whole

FORMAT = 5
"""Version of the layout on disk; raise it with a step in `MIGRATIONS`."""


def _with_model(words: dict) -> dict:
    """Format 1 had one body only, and said nothing of the tables its offsets refer to."""
    provenance = words["provenance"] | {"tables": "not recorded (format 1)"}
    return words | {"format": 2, "study": words["study"] | {"model": {}}, "provenance": provenance}


def _with_cycles(words: dict) -> dict:
    """Format 2 had one posterior for all cycles, no shared errors and no scores."""
    posterior = words["posterior"] | {"error_names": [], "method": "laplace", "diagnostics": {}}
    return words | {"format": 3, "posterior": posterior, "earlier": []}


def _with_cold_ligand(words: dict) -> dict:
    """Format 3 knew no unlabelled ligand before an administration: its absence is what the fields' defaults say."""
    return words | {"format": 4}


def _with_shared_sd(words: dict) -> dict:
    """Format 4 took the sd of every shared error from the table."""
    return words | {"format": 5, "study": words["study"] | {"shared_sd": {}}}


MIGRATIONS: dict = {1: _with_model, 2: _with_cycles, 3: _with_cold_ligand, 4: _with_shared_sd}
"""From version n: a function of the words (dict) that returns the words of version n + 1."""

NUMBERS = ("time_h", "activity_MBq", "sd_MBq", "volume_mL")
POSTERIOR = {
    "prior_median": ("parameter",),
    "prior_log_sd": ("parameter",),
    "map_log": ("parameter",),
    "covariance": ("parameter", "parameter_"),
    "draws": ("draw", "parameter"),
    "error_mean": ("error",),
    "error_covariance": ("error", "all"),
    "error_draws": ("draw", "error"),
}
"""Arrays of a posterior and their dimensions in the netCDF file (those of an earlier cycle with its number)."""
SINCE_FORMAT_3 = ("error_mean", "error_covariance", "error_draws")


def save(twin: PatientTwin, folder) -> Path:
    """Write the twin to `folder`, replacing an earlier twin there, and return the folder.

    Raises:
        InputError: the place can't be written, or holds something that is no twin.
    """
    folder = Path(folder)
    if folder.exists() and not (folder / "twin.json").is_file():
        raise InputError(describe(str(folder), "a folder that is no twin", "a new place", "choose another name"))
    with new_folder_beside(folder) as temporary:
        arrays = temporary / "arrays.nc"
        _arrays(twin).to_netcdf(arrays, engine="h5netcdf")
        words = _words(twin) | {"format": FORMAT, "arrays_sha256": _sha256(arrays)}
        write_whole(temporary / "twin.json", json.dumps(words, indent=1, sort_keys=True).encode())
        replace_folder(temporary, folder)
    return folder


def open(folder) -> PatientTwin:
    """The twin saved at `folder`, which may also be a results folder holding `twin/`.

    Raises:
        InputError: no twin there, damaged, or written by a newer version.
    """
    folder = _place(folder)
    words, arrays = _read(folder)
    return PatientTwin(
        study=_study(words["study"], arrays),
        posterior=_posterior(words["posterior"], arrays),
        ledger=tuple(LedgerEntry(**entry) for entry in words["ledger"]),
        provenance=words["provenance"],
        earlier=tuple((int(c), _posterior(w, arrays, _mark(int(c)))) for c, w in words["earlier"]),
    )


def _place(path) -> Path:
    """Where the twin of `path` is, or would be."""
    own, within = standing(Path(path)), standing(Path(path) / "twin")
    return own if (own / "twin.json").is_file() else within


def holds_twin(path) -> bool:
    """Whether `open` would look for a twin here: a saved one, or a results folder with one in it."""
    return (_place(path) / "twin.json").is_file()


def _read(folder: Path):
    """Words (of the present format) and arrays, checksum verified."""
    import xarray as xr

    do = "run theratwin plan again, or give the folder that it wrote"
    if not (folder / "twin.json").is_file() or not (folder / "arrays.nc").is_file():
        raise InputError(describe("twin", f"no twin at {folder}", "twin.json and arrays.nc", do))
    try:
        words = _migrate(json.loads((folder / "twin.json").read_text(encoding="utf-8")))
    except json.JSONDecodeError as error:
        raise InputError(describe("twin.json", str(error), "whole JSON", do)) from error
    if words["arrays_sha256"] != _sha256(folder / "arrays.nc"):
        raise InputError(describe("arrays.nc", "another checksum than when it was saved", "an unchanged file", do))
    with xr.open_dataset(folder / "arrays.nc", engine="h5netcdf") as arrays:
        return words, arrays.load()


def _migrate(words: dict) -> dict:
    """Words of an older format brought to the present one, step by step."""
    while words.get("format") != FORMAT:
        step = MIGRATIONS.get(words.get("format"))
        if step is None:
            found, do = f"format {words.get('format')}", "update theratwin, or calibrate again with this version"
            raise InputError(describe("twin.json", found, f"format {FORMAT} or older", do))
        words = step(words)
    return words


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _words(twin: PatientTwin) -> dict:
    study = twin.study
    kept = {"id": study.id, "ligand": study.ligand, "nuclide": study.nuclide, "source": study.source}
    return {
        "study": kept
        | {
            "covariates": asdict(study.covariates),
            "model": asdict(study.anatomy) | {"amino_acids": study.amino_acids},
            "administrations": [asdict(a) for a in study.administrations],
            "observations": {name: list(getattr(study.observations, name)) for name in FIELDS if name not in NUMBERS},
            "shared_sd": dict(study.observations.shared_sd),
            "volumes_mL": study.volumes_mL,
            "warnings": list(study.warnings),
            "truth_Gy": [[cycle, region, dose] for (cycle, region), dose in study.truth_Gy.items()],
        },
        "posterior": _posterior_words(twin.posterior),
        "earlier": [[cycle, _posterior_words(posterior)] for cycle, posterior in twin.earlier],
        "ledger": [asdict(entry) for entry in twin.ledger],
        "provenance": dict(twin.provenance),
    }


LISTS, VALUES = ("names", "unit", "warnings", "error_names"), ("chi2", "observations_used", "method", "diagnostics")


def _posterior_words(posterior: Posterior) -> dict:
    numbers = {"chi2": float(posterior.chi2), "observations_used": int(posterior.observations_used)}
    said = {"method": posterior.method, "diagnostics": dict(posterior.diagnostics)}
    return {name: list(getattr(posterior, name)) for name in LISTS} | numbers | said


def _mark(cycle: int) -> str:
    """What follows the name of an array, and of its dimensions, of an earlier cycle's posterior."""
    return f"_cycle_{cycle}"


def _arrays(twin: PatientTwin):
    import xarray as xr

    seen = {f"observed_{name}": ("observation", getattr(twin.study.observations, name)) for name in NUMBERS}
    fitted = _posterior_arrays(twin.posterior, "")
    for cycle, posterior in twin.earlier:
        fitted |= _posterior_arrays(posterior, _mark(cycle))
    return xr.Dataset(seen | fitted)


def _posterior_arrays(posterior: Posterior, mark: str) -> dict:
    as_array = lambda name: np.asarray(getattr(posterior, name), dtype=float)
    present = {name: dims for name, dims in POSTERIOR.items() if posterior.error_names or name not in SINCE_FORMAT_3}
    return {f"{n}{mark}": (tuple(d + mark for d in dims), as_array(n)) for n, dims in present.items()}


def _study(words: dict, arrays) -> Study:
    numbers = {name: arrays[f"observed_{name}"].values for name in NUMBERS}
    covariates = words["covariates"] | {"assumed": tuple(words["covariates"]["assumed"])}
    model = dict(words["model"])
    amino_acids = model.pop("amino_acids", None)
    return Study(
        **{name: words[name] for name in ("id", "ligand", "nuclide", "source", "volumes_mL")},
        covariates=Covariates(**covariates),
        administrations=tuple(Administration(**a) for a in words["administrations"]),
        observations=Observations(
            **numbers,
            **{name: tuple(v) for name, v in words["observations"].items()},
            shared_sd=words["shared_sd"],
        ),
        warnings=tuple(words["warnings"]),
        truth_Gy={(int(cycle), region): dose for cycle, region, dose in words["truth_Gy"]},
        anatomy=Anatomy(**model),
        amino_acids=amino_acids,
    )


def _posterior(words: dict, arrays, mark: str = "") -> Posterior:
    lists = {name: tuple(words[name]) for name in LISTS}
    numbers = {name: words[name] for name in VALUES}
    present = [name for name in POSTERIOR if f"{name}{mark}" in arrays]
    return Posterior(**lists, **numbers, **{name: arrays[f"{name}{mark}"].values for name in present})
