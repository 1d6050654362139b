"""A de-identified copy of a folder, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from dose.errors import InputError, describe
from imaging.dicom_write import export_deidentified
from twin.whole import new_folder_beside


def deidentified_copy(folder: Path, out: Path, salt: str) -> dict[str, int]:
    """Counts by kind of what was copied and left behind; on any error there is no `out`.

    Raises:
        InputError: a salt too short, files in `out`, or `out` within `folder`.
        ImageError: no such folder, a damaged object.
    """
    folder, out = Path(folder), Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(describe("OUT", "files in it", "an empty or new folder", "choose another folder"))
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(describe("OUT", "a place within the folder that is copied", "one beside it", "choose another"))
    with new_folder_beside(out) as temporary:
        counts = export_deidentified(folder, temporary, salt)
        if out.exists():
            out.rmdir()
        temporary.replace(out)
    return counts
