"""Rows as CSV, and a made folder put in the place of an older one with nothing else in it touched."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path


def csv_bytes(rows: Sequence[dict]) -> bytes:
    """Rows under the columns of all of them; no row, no column."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def put_files(new: Path, out: Path, names: Sequence[str]) -> None:
    """Rename the folder `new` to `out`; where `out` exists, exchange the files called `names` and leave the rest.

    A name that `new` lacks goes from `out` too: it would tell of another run.
    """
    if not out.exists():
        new.replace(out)
        return
    for name in names:
        if (new / name).exists():
            (new / name).replace(out / name)
        else:
            (out / name).unlink(missing_ok=True)
