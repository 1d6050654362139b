"""`manifest.json`: all that the results of a trial depend on, and the refusal to mix two trials in one folder."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from dose.errors import InputError, describe
from twin.trial.job_protocol import Job
from twin.trial.schema import VERSION
from twin.whole import write_whole

NAME = "manifest.json"
FORMAT = 1
"""Version of the folder's layout."""

PACKAGES = ("theratwin", "jax", "jaxlib", "diffrax", "numpy", "pyarrow")
"""Those whose version may move a result's last digits, or a part's bytes."""

LISTED = 6
"""Differences that an error names; more are counted."""

NOTHING = "nothing"
"""Stands in an error for what one side lacks."""


@cache
def packages() -> dict[str, str]:
    """Versions installed here, by name."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def manifest_of(job: Job, chunk: int, device: str) -> dict:
    """The manifest of a job in chunks of `chunk` patients on `device` (cpu or gpu), as it comes back from the file."""
    words = {
        "format": FORMAT,
        "schema": VERSION,
        "job": job.manifest(),
        "tables": job.tables,
        "patients": job.patients,
        "block": job.block,
        "chunk": chunk,
        "packages": packages(),
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
    }
    plain = json.loads(json.dumps(words))
    return plain | {"sha256": digest(plain)}


def digest(manifest: Mapping) -> str:
    """sha256 of a manifest without its own; each part of the trial carries it."""
    words = {name: value for name, value in manifest.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(words, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write(folder: Path, manifest: Mapping) -> None:
    """Write the manifest whole or not at all."""
    write_whole(folder / NAME, json.dumps(manifest, indent=1).encode())


def read(folder) -> dict:
    """The manifest of a trial's folder.

    Raises:
        InputError: there is none; it is damaged; a newer version wrote it.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        do = "give the folder of a trial; where the manifest was lost, put it back or run the trial into a new folder"
        raise InputError(describe(NAME, f"none in {folder}", "a trial's manifest", do))
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        newer = int(manifest["format"]) > FORMAT
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(f"{type(error).__name__}: {error}") from error
    if newer:
        found, do = f"format {manifest['format']}", "update theratwin, or use the version that began the trial"
        raise InputError(describe(NAME, found, f"format {FORMAT} or older", do))
    if manifest.get("sha256") != digest(manifest):
        raise _damaged("another checksum than when it was written")
    return manifest


def _damaged(found: str) -> InputError:
    do = "put an unchanged copy back, or run the trial into a new folder; a changed design is a new trial"
    return InputError(describe(NAME, found, "the manifest as it was written", do))


def require_same(found: Mapping, expected: Mapping) -> None:
    """Refuse to go on with a trial that is another one.

    Raises:
        InputError: names what differs between the folder (`found`) and the trial asked for (`expected`).
    """
    if found["sha256"] == expected["sha256"]:
        return
    ours, theirs = flat(expected), flat(found)
    keys = [key for key in sorted({*ours, *theirs} - {"sha256"}) if ours.get(key, NOTHING) != theirs.get(key, NOTHING)]
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    said = [", ".join(f"{key} {side.get(key, NOTHING)}" for key in keys[:LISTED]) + more for side in (theirs, ours)]
    raise InputError(describe("trial folder", f"another trial ({said[0]})", said[1], _what_to_do(keys)))


def _what_to_do(keys: list[str]) -> str:
    parts = {key.split(".")[0] for key in keys}
    if parts <= {"packages", "platform", "device"}:
        return "resume with the versions and on the kind of machine that began it, or run it anew into another folder"
    if parts == {"chunk"}:
        return "leave the chunk size out: a trial keeps the one it began with"
    return "give the design that began this folder, or choose another --out"


def flat(value, name: str = "") -> dict[str, object]:
    """Nested dicts and lists as one dict with dotted names."""
    if not isinstance(value, (dict, list)) or not value:
        return {name: value}
    items = value.items() if isinstance(value, dict) else enumerate(value)
    found: dict[str, object] = {}
    for key, inner in items:
        found |= flat(inner, f"{name}.{key}" if name else str(key))
    return found
