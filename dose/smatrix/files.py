"""S matrices from and to CSV files: your own tables in the units they came in, ours for others.

Long form: columns `target`, `source` and either `value` or `alpha`, `electron`, `photon` (any that are missing are 0);
`relative_sd` is optional. Square form: the first column names the targets, the other headings the sources. The unit is
an argument, a column `unit` or a line `# unit: mGy/(MBq s)`; lines that begin with # are comments.
"""

from __future__ import annotations

import csv
import math
import re
from pathlib import Path

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, radionuclide
from dose.organ import ChainMember, equilibrium_chain, gray_per_MeV
from dose.phantom.organs import GROUPS
from dose.phantom.skeleton import check_sex
from dose.provenance import constant
from dose.smatrix.groups import region_name
from dose.smatrix.matrix import MASS_SD, SMatrix
from dose.smatrix.parts import PARTS
from dose.smatrix.saf import reference_masses_g

DOSES = {"gy": 1.0, "mgy": 1e-3, "ugy": 1e-6, "µgy": 1e-6, "rad": 0.01}
WEIGHTED = {"sv": 1.0, "msv": 1e-3, "usv": 1e-6, "µsv": 1e-6, "rem": 0.01}
ACTIVITIES = {"mbq": 1.0, "gbq": 1e3, "kbq": 1e-3, "bq": 1e-6, "mci": 37.0, "uci": 0.037, "µci": 0.037}
TIMES_H = {"s": 1 / 3600, "min": 1 / 60, "h": 1.0, "hr": 1.0, "d": 24.0}
UNIT = "Gy/(MBq h)"
IMPLAUSIBLE = 1.25
"""An organ that gives itself more than this times what its decays emit has another unit or another mass."""
NEGLIGIBLE = 0.02
"""As does one that keeps less than this of it."""
POWERS = {1e3: "1e3 (mGy for Gy, or kBq for MBq)", 1e6: "1e6 (Bq for MBq)", 3600.0: "3600 (hours for seconds)"}


def unit_factor(unit: str) -> tuple[float, bool]:
    """What turns a number of this unit into Gy/(MBq h), and whether the unit is a radiation-weighted one (Sv, rem).

    Raises:
        InputError: a unit that is not dose per activity and time.
    """
    words = re.findall(r"[a-zµ]+", str(unit).lower().replace("μ", "µ").replace("per", "/"))
    doses, weighted = (table.get(words[0]) if len(words) == 3 else None for table in (DOSES, WEIGHTED))
    dose = doses if doses is not None else weighted
    if dose is None or words[1] not in ACTIVITIES or words[2] not in TIMES_H:
        expected = "dose / (activity time), as mGy/(MBq s) or Gy/(MBq h)"
        raise InputError(describe("unit", repr(unit), expected, "write the unit of the S values"))
    return dose / (ACTIVITIES[words[1]] * TIMES_H[words[2]]), doses is None


def read_smatrix(
    path: str | Path,
    *,
    nuclide: str = "",
    sex: str = "male",
    unit: str | None = None,
    masses_g: dict[str, float] | None = None,
    chain: bool = False,
    relative_sd: float = 0.2,
) -> SMatrix:
    """An S matrix of your own.

    With `nuclide` the table is checked against the energy of its decays, and can be scaled to other masses. Weighted
    units (Sv) are taken for a nuclide without alphas or for columns by part; a weighted total with alphas in it cannot
    be turned back. A table of totals is kept as electrons. `masses_g`: of its regions, those of the reference adult
    where left out. `chain`: progeny is already in the numbers. `relative_sd` where the file has none.

    Raises:
        InputError: no unit, an unknown one, a missing or doubled pair, a number below zero or not finite, S values
            that are no S values of this nuclide (the text names the factor).
    """
    rows, found = _rows(Path(path))
    factor, weighted = unit_factor(unit or found)
    targets, sources = (tuple(dict.fromkeys(row[word] for row in rows)) for word in ("target", "source"))
    parts = {word: np.full((len(targets), len(sources)), np.nan) for word in (*PARTS, "sd")}
    for k, row in enumerate(rows, start=1):
        where = targets.index(row["target"]), sources.index(row["source"])
        if not np.isnan(parts["electron"][where]):
            raise InputError(describe(f"row {k}", f"{row['target']} from {row['source']} again", "once", "drop one"))
        for word, value in _numbers(row, k, factor).items():
            parts[word][where] = value
    _complete(parts["electron"], targets, sources)
    emits = radionuclide(nuclide) if nuclide else None
    if weighted and emits and emits.alpha_MeV > 0 and not parts["alpha"].any():
        do = "give columns alpha, electron and photon in Gy"
        raise InputError(describe("unit", f"{unit or found} for an alpha emitter", "absorbed dose", do))
    masses = reference_masses_g(check_sex(sex)) | {region_name(name): m for name, m in (masses_g or {}).items()}
    masses |= {g: sum(masses[m] for m in members) for g, members in GROUPS.items() if set(members) <= set(masses)}
    sd = np.where(np.isnan(parts["sd"]), relative_sd, parts["sd"])
    own = np.full(len(targets), constant("dose", MASS_SD))
    made = SMatrix(emits.name if emits else "", sex, targets, sources, *(parts[word] for word in PARTS), masses, own,
                   sd, f"read from {Path(path).name}", chain)  # fmt: skip
    if emits:
        _plausible(made, emits)
    return made


def _rows(path: Path) -> tuple[list[dict[str, str]], str]:
    """Rows of target, source and numbers, and the unit that the file names."""
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    unit = next((line.split(":", 1)[1].strip() for line in lines if line.lower().startswith("# unit:")), "")
    table = list(csv.reader(line for line in lines if line.strip() and not line.startswith("#")))
    if len(table) < 2:
        raise InputError(describe(path.name, "no rows", "a table with headings", "see dose.smatrix.files"))
    head = [word.strip() for word in table[0]]
    if any(len(row) != len(head) for row in table):
        raise InputError(describe(path.name, "rows of different lengths", f"{len(head)} columns", "check the commas"))
    lower = [word.lower() for word in head]
    if {"target", "source"} <= set(lower):
        rows = [dict(zip(lower, (cell.strip() for cell in row))) for row in table[1:]]
        units = {row.pop("unit") for row in rows if row.get("unit")}
        if len(units) > 1:
            raise InputError(describe(f"{path.name}, column unit", f"{sorted(units)}", "one unit", "convert"))
        unit = next(iter(units), unit)
    else:
        pairs = ((row[0].strip(), head[k], row[k]) for row in table[1:] for k in range(1, len(head)))
        rows = [{"target": target, "source": source, "value": value} for target, source, value in pairs]
    named = [{**row, "target": region_name(row["target"]), "source": region_name(row["source"])} for row in rows]
    return named, unit


def _numbers(row: dict[str, str], k: int, factor: float) -> dict[str, float]:
    """The parts of a row in Gy/(MBq h), and its relative sd."""
    split = any(row.get(word) for word in PARTS)
    texts = {word: row.get(word) or "0" for word in PARTS} if split else {"electron": row.get("value") or ""}
    values = dict.fromkeys(PARTS, 0.0)
    for word, text in texts.items():
        try:
            values[word] = float(text) * factor
        except ValueError:
            values[word] = math.nan
        if not (math.isfinite(values[word]) and values[word] >= 0):
            where = f"row {k}, {row['target']} from {row['source']}"
            raise InputError(describe(where, repr(text), "a number of 0 or more", "correct the file"))
    return values | {"sd": float(row["relative_sd"]) if row.get("relative_sd") else math.nan}


def _complete(values: np.ndarray, targets: tuple[str, ...], sources: tuple[str, ...]) -> None:
    for i, j in np.argwhere(np.isnan(values))[:1]:
        found = f"none for {targets[i]} from {sources[j]}"
        raise InputError(describe("S values", found, "each target from each source", "write 0 where there is no dose"))


def _plausible(matrix: SMatrix, emits: Radionuclide) -> None:
    """Own dose beside the energy of the decays."""
    followed = equilibrium_chain(emits.name) if matrix.chain else (ChainMember(emits, 1.0),)
    short = sum(m.decays * (m.nuclide.electron_MeV + m.nuclide.alpha_MeV + m.nuclide.recoil_MeV) for m in followed)
    energy = short + sum(m.decays * m.nuclide.photon_MeV for m in followed)
    for name in set(matrix.targets) & set(matrix.sources) & set(matrix.masses_g):
        own = matrix.total[matrix.targets.index(name), matrix.sources.index(name)]
        kept = own / (energy * gray_per_MeV(matrix.masses_g[name]))
        if kept > IMPLAUSIBLE or kept < NEGLIGIBLE * short / energy:
            ratio = max(kept, 1 / max(kept, 1e-300))
            near = next((text for power, text in POWERS.items() if 1 / 2.5 < ratio / power < 2.5), "none of the usual")
            found = f"{kept:.3g} of the energy emitted in {matrix.masses_g[name]:.4g} g"
            do = f"check the unit, the nuclide and the mass; the factor is near {near}"
            raise InputError(describe(f"S of {name} to itself", found, "a share between 0 and 1", do))


def write_smatrix(matrix: SMatrix, path: str | Path) -> None:
    """The matrix in the long form, in Gy/(MBq h), which `read_smatrix` reads again."""
    with Path(path).open("w", encoding="utf-8", newline="") as file:
        file.write(f"# unit: {UNIT}\n# {matrix.nuclide or 'nuclide not named'}, {matrix.sex}: {matrix.method}\n")
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["target", "source", *PARTS, "relative_sd"])
        for i, target in enumerate(matrix.targets):
            for j, source in enumerate(matrix.sources):
                values = [f"{getattr(matrix, word)[i, j]:.6g}" for word in PARTS]
                table.writerow([target, source, *values, f"{matrix.model_sd[i, j]:.3g}"])
