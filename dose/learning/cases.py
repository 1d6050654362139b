"""Simulated cases kept on disk, so that a patient is simulated once however often a network is trained.

The folder's name is a hash of what cases depend on: the recipe's name, its `[data]` and `VERSION`. Files lie in
$XDG_CACHE_HOME/theratwin/cases, else in ~/.cache/theratwin/cases. A file that cannot be read is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from dose.learning.recipe import Case, Config, Recipe

VERSION = 2
"""Rises with every change of the simulators that changes what a seed gives."""

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)

Progress = Callable[[int, int, str], None]
"""Called with what is done, how much there is, and in words what."""

HELD_OUT_FROM = 1_000_000
"""Validation cases have seeds from here on; those of the shipped tables from TEST_FROM on."""

TEST_FROM = 2_000_000


def silent(done: int, whole: int, words: str) -> None:
    """A progress that tells nobody."""


def cases_folder(name: str, depends_on) -> Path:
    """Where the cases of a name lie that depend on these (JSON) values."""
    base = os.environ.get("XDG_CACHE_HOME")
    words = json.dumps([name, depends_on, VERSION], sort_keys=True)
    mark = hashlib.sha256(words.encode()).hexdigest()[:16]
    return (Path(base) if base else Path.home() / ".cache") / "theratwin" / "cases" / f"{name}-{mark}"


def kept(folder: Path, name: str, make: Callable[[], Case]) -> Case:
    """The case of a name in a folder, made and written where it is not there."""
    path = folder / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
    except UNREADABLE:
        case = {key: np.asarray(value) for key, value in make().items()}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as file:
        np.savez_compressed(file, **case)
    Path(file.name).replace(path)
    return case


def cases_of(recipe: Recipe, config: Config, seeds: Sequence[int], progress: Progress = silent) -> list[Case]:
    """The cases of these seeds, from disk where they were simulated before."""
    folder, found = cases_folder(recipe.name, dict(config.data)), []
    for seed in seeds:
        progress(len(found), len(seeds), "simulating cases")
        found.append(kept(folder, str(seed), lambda seed=seed: recipe.case(seed, config)))
    progress(len(seeds), len(seeds), "simulating cases")
    return found


def training_seeds(config: Config) -> range:
    """Seeds of the cases that a network learns from."""
    return range(int(config.training["cases"]))


def held_out_seeds(config: Config) -> range:
    """Seeds of the cases that tell how training goes."""
    return range(HELD_OUT_FROM, HELD_OUT_FROM + int(config.training["held_out"]))
