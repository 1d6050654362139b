"""Our records to a folder of plain files and back: words as JSON, arrays as .npy, nothing that can hold code.

Used where a record crosses to another process. A record is checked again as it is rebuilt, since its own
`__post_init__` runs, and only the classes of `MODULES` are built.
"""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import numpy as np

from dose.errors import ImageError, describe

MODULES = ("imaging.geometry", "imaging.series", "imaging.projections", "imaging.import_report")
"""Where the classes of a study are defined; no other module is looked into."""

Record = TypeVar("Record")


def write_record(record, folder) -> None:
    """Write a frozen dataclass, with all that hangs on it, into an existing folder.

    Raises:
        ImageError: it holds something that is neither a record nor plain.
    """
    arrays: list[np.ndarray] = []
    text = json.dumps(_plain(record, arrays))
    for k, array in enumerate(arrays):
        np.save(Path(folder) / f"{k}.npy", array, allow_pickle=False)
    (Path(folder) / "record.json").write_text(text, encoding="utf-8")


def read_record(folder, kind: type[Record]) -> Record:
    """What `write_record` wrote, which must be of this kind.

    Raises:
        ImageError: a file is missing or damaged, or names a class that is none of ours.
    """
    try:
        found = _rebuilt(json.loads((Path(folder) / "record.json").read_text(encoding="utf-8")), Path(folder))
        if isinstance(found, kind):
            return found
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, ImageError):
            raise
    raise ImageError(describe("record", "missing or damaged files", "what write_record wrote", "import again"))


def _plain(value, arrays: list):
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, datetime):
        return {"moment": value.isoformat()}
    if isinstance(value, timedelta):
        return {"seconds": value.total_seconds()}
    if isinstance(value, tuple | list):
        return {type(value).__name__: [_plain(item, arrays) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[_plain(key, arrays), _plain(item, arrays)] for key, item in value.items()]}
    if is_dataclass(value) and type(value).__module__ in MODULES:
        held = {field.name: _plain(getattr(value, field.name), arrays) for field in fields(value)}
        return {"record": f"{type(value).__module__}:{type(value).__name__}", "fields": held}
    found = f"a value of type {type(value).__name__}"
    raise ImageError(describe("record", found, "records, arrays, numbers and words", "leave it out of the record"))


def _rebuilt(value, folder: Path):
    if not isinstance(value, dict):
        return value
    if "record" in value:
        return _class(value["record"])(**{name: _rebuilt(item, folder) for name, item in value["fields"].items()})
    ((kind, held),) = value.items()
    if kind == "array":
        return np.load(folder / f"{int(held)}.npy", allow_pickle=False)
    if kind == "moment":
        return datetime.fromisoformat(held)
    if kind == "seconds":
        return timedelta(seconds=held)
    if kind == "dict":
        return {_rebuilt(key, folder): _rebuilt(item, folder) for key, item in held}
    return {"tuple": tuple, "list": list}[kind](_rebuilt(item, folder) for item in held)


def _class(name: str):
    module, _, kind = name.partition(":")
    found = getattr(import_module(module), kind, None) if module in MODULES else None
    if not (isinstance(found, type) and is_dataclass(found) and found.__module__ == module):
        raise ImageError(describe("record", "a class that is none of ours", f"one of {MODULES}", "import again"))
    return found
