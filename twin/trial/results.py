"""A trial's folder, read: its design, its tables as pandas, and all of it as labelled arrays.

`DIR/manifest.json` holds the design; `DIR/TABLE/part-NNNNN.parquet` the tables of `twin.trial.schema`, one part a chunk
of patients. Columns and parts are read one by one, so that a summary needs the memory of one part.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from dose.errors import InputError, describe, nearest
from twin.trial.schema import TABLES, VERSION, arrow_schema

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr

PART = re.compile(r"part-(\d+)\.parquet")
"""Files of other names (those being written) are none of a trial's parts."""
UNREADABLE = (pa.ArrowException, OSError, EOFError)


@dataclass(frozen=True, repr=False)
class Trial:
    """A trial's folder: `parts` are the numbers of its chunks, `rows` the patients times arms that they hold."""

    folder: Path
    manifest: dict[str, Any]
    parts: tuple[int, ...]
    rows: int

    def __repr__(self) -> str:
        return f"Trial({self.design['name']!r}: {self.count} patients, {len(self.arms)} arms, in {self.folder})"

    @property
    def design(self) -> dict[str, Any]:
        return self.manifest["job"]["design"]

    @property
    def arms(self) -> tuple[str, ...]:
        return tuple(arm["name"] for arm in self.design["arms"])

    @property
    def reference(self) -> str:
        """The arm that others are compared with; the first where the design names none."""
        return self.design.get("reference") or self.arms[0]

    @property
    def count(self) -> int:
        """Patients that are there."""
        return self.rows // len(self.arms)

    @property
    def complete(self) -> bool:
        """Whether all patients of the design are there."""
        return self.rows == self.design["patients"] * len(self.arms)

    def table(self, name: str, columns: Sequence[str] | None = None, arm: str | None = None) -> pd.DataFrame:
        """A table, or some columns or one arm of it; names are pandas categories.

        Raises:
            InputError: no such table, column or arm, or a part that cannot be read.
        """
        return self._read(name, self.parts, columns, arm)

    def by_part(self, name: str, columns: Sequence[str] | None = None) -> Iterator[pd.DataFrame]:
        """The same part by part, in order: memory of one part."""
        return (self._read(name, (part,), columns, None) for part in self.parts)

    def patients(self, columns: Sequence[str] | None = None, arm: str | None = None) -> pd.DataFrame:
        return self.table("patients", columns, arm)

    def cycles(self, columns: Sequence[str] | None = None, arm: str | None = None) -> pd.DataFrame:
        return self.table("cycles", columns, arm)

    def doses(self, columns: Sequence[str] | None = None, arm: str | None = None) -> pd.DataFrame:
        return self.table("doses", columns, arm)

    def limits(self, columns: Sequence[str] | None = None, arm: str | None = None) -> pd.DataFrame:
        return self.table("limits", columns, arm)

    def lesions(self, columns: Sequence[str] | None = None, arm: str | None = None) -> pd.DataFrame:
        return self.table("lesions", columns, arm)

    def to_xarray(self) -> xr.Dataset:
        """All tables but `lesions`, whose number differs: dims arm, patient, cycle, region, limit (see `labelled`)."""
        from twin.trial.labelled import dataset

        return dataset(self)

    def _read(self, name, parts, columns, arm) -> pd.DataFrame:
        schema = arrow_schema(_known("table", name, tuple(TABLES)))
        for column in columns or ():
            _known(f"column of {name}", column, tuple(schema.names))
        chosen = None if arm is None else ds.field("arm") == _known("arm", arm, self.arms)
        paths = [part_path(self.folder, name, part) for part in parts]
        if not paths:
            return schema.empty_table().select(list(columns or schema.names)).to_pandas()
        try:
            found = ds.dataset(paths, schema=schema, format="parquet").to_table(columns=columns, filter=chosen)
        except UNREADABLE as error:
            raise _unreadable(_culprit(paths), error) from error
        return found.unify_dictionaries().to_pandas()


def open_trial(folder: str | Path, partial: bool = False) -> Trial:
    """Open the folder of a trial; with `partial` also one whose patients are not all there.

    Raises:
        InputError: no trial there, tables of another version, a part that is missing or cannot be read.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    _check_version(folder / "manifest.json", str(manifest.get("schema", VERSION)))
    parts = _parts(folder, "patients")
    for name in TABLES:
        missing = sorted(set(parts) - set(_parts(folder, name)))
        if missing:
            found, do = f"no part {missing[0]} of {name}", "run the trial again in a new folder, or restore the part"
            raise InputError(describe(str(folder), found, "that part, as patients has it", do))
    for path in (part_path(folder, name, part) for name in TABLES for part in parts[:1]):
        _check_version(path, (_metadata(path).metadata or {}).get(b"theratwin_schema", b"0").decode(errors="replace"))
    rows = sum(_metadata(part_path(folder, "patients", part)).num_rows for part in parts)
    trial = Trial(folder, manifest, parts, rows)
    if not (trial.complete or partial):
        found = f"{trial.count} of {trial.design['patients']} patients: a part of the trial"
        do = "resume the trial (theratwin trial resume), or open what is there with partial=True"
        raise InputError(describe(str(folder), found, "all patients of the design", do))
    return trial


def part_path(folder: Path, table: str, part: int) -> Path:
    return folder / table / f"part-{part:05d}.parquet"


def _manifest(folder: Path) -> dict[str, Any]:
    path, do = folder / "manifest.json", "give the folder that theratwin trial run wrote"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(describe(str(folder), "no manifest.json", "the folder of a trial", do)) from error
    except (OSError, ValueError) as error:
        raise InputError(describe(str(path), "a file that cannot be read", "the manifest of a trial", do)) from error
    design = found.get("job", {}).get("design", {}) if isinstance(found, dict) else {}
    for name in ("arms", "patients"):
        if not design.get(name):
            raise InputError(describe(f"{path}: job.design.{name}", "nothing", "the design of a trial", do))
    return found


def _parts(folder: Path, table: str) -> tuple[int, ...]:
    """Numbers of the parts of a table, in order."""
    names = (PART.fullmatch(path.name) for path in (folder / table).glob("part-*.parquet"))
    return tuple(sorted(int(match.group(1)) for match in names if match))


def _metadata(path: Path) -> pq.FileMetaData:
    try:
        return pq.read_metadata(path)
    except UNREADABLE as error:
        raise _unreadable(path, error) from error


def _check_version(path: Path, said: str) -> None:
    """Refuse tables that another version of theratwin wrote."""
    if said == str(VERSION):
        return
    newer = said.isdigit() and int(said) > VERSION
    do = "update theratwin" if newer else "read it with the theratwin that wrote it, or run the trial again"
    age = "newer" if newer else "older"
    raise InputError(describe(str(path), f"tables of the {age} version {said}", f"version {VERSION}", do))


def _culprit(paths: Sequence[Path]) -> Path:
    """The first of the files that does not read."""
    for path in paths:
        try:
            pq.read_table(path)
        except UNREADABLE:
            return path
    return paths[0]


def _unreadable(path: Path, error: Exception) -> InputError:
    do = "restore the file, or delete the part from every table and resume the trial"
    found = f"a file that cannot be read ({type(error).__name__})"
    return InputError(describe(str(path), found, "a whole part of a trial", do))


def _known(what: str, name: str, choices: tuple[str, ...]) -> str:
    if name in choices:
        return name
    hint = nearest(name, choices) or "one of " + ", ".join(choices)
    raise InputError(describe(what, repr(name), hint, "correct the name"))
