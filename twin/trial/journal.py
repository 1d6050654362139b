"""`events.jsonl`: what happened in a trial, a line an event. It explains; the parts alone decide what is done."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

NAME = "events.jsonl"


def write(folder: Path, event: str, **words) -> None:
    """Append one event with the time (s since 1970) and more words; a line torn by a full disk is closed first."""
    path = folder / NAME
    line = json.dumps({"at": round(time.time(), 3), "event": event} | words) + "\n"
    with path.open("ab") as file:
        torn = file.tell() > 0 and not _ends_a_line(path)
        file.write((b"\n" if torn else b"") + line.encode())


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def read(folder) -> list[dict]:
    """All whole events, oldest first; lines that a stop of the machine tore are left out."""
    path = Path(folder) / NAME
    if not path.is_file():
        return []
    found = []
    for line in path.read_bytes().split(b"\n"):
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event and "at" in event:
            found.append(event)
    return found
