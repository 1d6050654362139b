"""A folder of a study copied through the de-identification profile.

CT, PET, NM, RTSTRUCT, SEG and RTDOSE objects are copied; others are counted and left behind. File names are numbers.
UIDs are remapped by the same salted hash in every object, so references between them hold.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dose.errors import ImageError, InputError, describe
from imaging.dicom_write.files import save
from imaging.dicom_write.profile import check_salt, deidentified
from imaging.guard import only_image_errors, open_header

COPIED = {
    "1.2.840.10008.5.1.4.1.1.2": "CT",
    "1.2.840.10008.5.1.4.1.1.128": "PET",
    "1.2.840.10008.5.1.4.1.1.20": "NM",
    "1.2.840.10008.5.1.4.1.1.481.3": "RTSTRUCT",
    "1.2.840.10008.5.1.4.1.1.481.2": "RTDOSE",
    "1.2.840.10008.5.1.4.1.1.66.4": "SEG",
}
"""SOP classes whose attributes the allow-list covers."""


def export_deidentified(folder_in, folder_out, salt: str) -> dict[str, int]:
    """Copy a study's objects through the profile; returns how many of each kind were copied or left behind.

    Args:
        folder_in: a folder of DICOM files, read with its subfolders.
        folder_out: a new or empty folder; files are 000001.dcm and so on.
        salt: the project's secret, 8 characters or more; the same salt gives the same UIDs and dates.

    Raises:
        InputError: a salt too short, or files in `folder_out`.
        ImageError: no such folder, a damaged object, or text that is said to be burned into pixels.
    """
    folder_in, folder_out = Path(folder_in), Path(folder_out)
    check_salt(salt)
    if folder_out.exists() and any(folder_out.iterdir()):
        raise InputError(describe("folder_out", "files", "an empty or new folder", "choose another folder"))
    if not folder_in.is_dir():
        raise ImageError(describe("folder_in", "no such folder", "a folder with DICOM files", "check the path"))
    inside = folder_in.resolve()
    files = sorted(f for f in folder_in.rglob("*") if f.is_file() and f.resolve().is_relative_to(inside))
    counts: Counter = Counter()
    for number, file in enumerate(files, start=1):
        kind = _kind(file, number)
        counts[kind] += 1
        if kind in COPIED.values():
            _copy(file, folder_out / f"{number:06d}.dcm", salt, number)
    return dict(counts)


def _kind(file: Path, number: int) -> str:
    with file.open("rb") as stream:
        if stream.read(132)[128:] != b"DICM":
            return "left: not DICOM"
    header = open_header(file, f"DICOM file {number}")
    return COPIED.get(str(header.SOPClassUID), "left: other class")


def _copy(file: Path, target: Path, salt: str, number: int) -> None:
    import pydicom

    with only_image_errors(f"DICOM file {number}"):
        save(deidentified(pydicom.dcmread(file), salt), target)
