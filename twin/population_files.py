"""A population as a small text file: TOML, readable, checked when read.

```toml
format = 1
ligand = "PSMA-617"
tables = "1f2e..."          # fingerprint of pbpk/data/ligands.csv, to whose medians the offsets refer
patients = 40

[groups."release/kidneys"]
shift_log = 0.25            # log of typical value over the table's median
spread_log = 0.2            # log sd between patients
spread_se = 0.12            # standard error of that sd's logarithm
shift_covariance = [0.003]  # with the groups above and itself
```
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path

import numpy as np

from calibration.population import Population
from calibration.population_members import DRIFTS, ERRORS
from dose.errors import InputError, describe
from dose.provenance import numbers_of
from twin.whole import write_whole

FORMAT = 1
"""Version of the layout."""
DIGITS = 9
"""Significant digits of the numbers: far below any standard error, and a covariance stays one."""
WHERE = "population file"


def save_population(population: Population, path) -> Path:
    """Write the file, whole or not at all.

    Raises:
        InputError: the place can't be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, text_of(population).encode())
    return path


def load_population(path) -> Population:
    """The population of a file.

    Raises:
        InputError: not readable, damaged, of a newer format, or made with another table of ligands.
    """
    try:
        return population_of(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(describe(WHERE, str(error), "a readable text file", "check the path")) from error


def fingerprint(population: Population) -> str:
    """Twelve letters by which a population is known."""
    return hashlib.sha256(text_of(population).encode()).hexdigest()[:12]


def text_of(population: Population) -> str:
    """The file's content."""
    p = population
    lines = [f"format = {FORMAT}", f'ligand = "{p.ligand}"', f'tables = "{p.tables}"', f"patients = {p.patients}"]
    lines += [f"rounds = {p.rounds}", f"converged = {json.dumps(p.converged)}", f"notes = {json.dumps(list(p.notes))}"]
    for k, group in enumerate(p.groups):
        numbers = {"shift_log": p.shift_log[k], "spread_log": p.spread_log[k], "spread_se": p.spread_se[k]}
        lines += _table(f'groups."{group}"', numbers)
        lines += [f"shift_covariance = [{', '.join(_number(v) for v in p.shift_covariance[k, : k + 1])}]"]
    for k, group in enumerate(p.lesions):
        lines += _table(f'lesions."{group}"', {"together": p.together[k], "together_se": p.together_se[k]})
    for name in p.drift:
        lines += _table(f'drift."{name}"', {"factor": p.drift[name], "log_se": p.drift_se[name]})
    for name, factor in p.errors.items():
        lines += _table(f'errors."{name}"', {"factor": factor})
    return "\n".join(lines) + "\n"


def _table(name: str, numbers: dict) -> list[str]:
    return ["", f"[{name}]", *(f"{key} = {_number(value)}" for key, value in numbers.items())]


def _number(value: float) -> str:
    return repr(float(f"{float(value):.{DIGITS}g}"))


def population_of(text: str) -> Population:
    """The population that a file's content describes.

    Raises:
        InputError: as `load_population`.
    """
    try:
        words = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _damaged(str(error)) from error
    if words.get("format") != FORMAT:
        do = "estimate the population again, or use the version of theratwin that wrote it"
        raise InputError(describe(f"{WHERE}: format", repr(words.get("format")), str(FORMAT), do))
    if words.get("tables") != numbers_of("pbpk", "ligands.csv"):
        found = f"offsets from another table ({words.get('tables')})"
        do = "estimate the population again: its offsets refer to medians that have changed"
        raise InputError(describe(f"{WHERE}: tables", found, numbers_of("pbpk", "ligands.csv"), do))
    try:
        found = _population(words)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error
    return _checked(found)


def _population(words: dict) -> Population:
    groups, lesions = words.get("groups", {}), words.get("lesions", {})
    covariance = np.zeros((len(groups), len(groups)))
    for k, entry in enumerate(groups.values()):
        covariance[k, : k + 1] = covariance[: k + 1, k] = np.array(entry["shift_covariance"], float)
    column = lambda table, name: np.array([float(entry[name]) for entry in table.values()])
    drift = words.get("drift", {})
    return Population(
        ligand=str(words["ligand"]),
        tables=str(words["tables"]),
        patients=int(words["patients"]),
        groups=tuple(groups),
        shift_log=column(groups, "shift_log"),
        shift_covariance=covariance,
        spread_log=column(groups, "spread_log"),
        spread_se=column(groups, "spread_se"),
        lesions=tuple(lesions),
        together=column(lesions, "together"),
        together_se=column(lesions, "together_se"),
        drift={name: float(entry["factor"]) for name, entry in drift.items()},
        drift_se={name: float(entry["log_se"]) for name, entry in drift.items()},
        errors={name: float(entry["factor"]) for name, entry in words.get("errors", {}).items()},
        rounds=int(words["rounds"]),
        converged=words["converged"] is True,
        notes=tuple(str(note) for note in words["notes"]),
    )


def _checked(p: Population) -> Population:
    """The population, if its numbers can be one's."""
    columns = (p.shift_log, p.shift_covariance, p.spread_log, p.spread_se, p.together, p.together_se)
    eigenvalues = (
        np.linalg.eigvalsh(p.shift_covariance) if np.all(np.isfinite(p.shift_covariance)) else np.array([-1.0])
    )
    rules = {
        "a number that is not finite": all(np.all(np.isfinite(c)) for c in columns),
        "a shift_covariance that is none": bool(np.all(eigenvalues > 0)),
        "a spread_log that is not above zero": bool(np.all(p.spread_log > 0)),
        "a together outside 0 to 1": bool(np.all((p.together > 0) & (p.together < 1))),
        "drift without both organs and tumours": set(p.drift) in (set(), set(DRIFTS)),
        "a factor that is not above zero": all(0 < v < np.inf for v in (*p.drift.values(), *p.errors.values())),
        "an unknown error": set(p.errors) <= set(ERRORS),
    }
    for found, good in rules.items():
        if not good:
            raise _damaged(found)
    return p


def _damaged(found: str) -> InputError:
    return InputError(describe(WHERE, found, "a file as theratwin wrote it", "estimate it again, or restore the file"))
