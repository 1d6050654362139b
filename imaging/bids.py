"""A BIDS-PET data set to `StudyImages`: every *_pet.nii(.gz) with the sidecars that apply to it.

A sidecar higher up applies to the images below it whose names carry all of its entities, and a nearer one wins (the
inheritance principle of the BIDS specification, recalled). Subject labels may be identifying: messages count files.
"""

from __future__ import annotations

from pathlib import Path

from dose.errors import ImageError, describe
from imaging.folder import folder_files
from imaging.nifti_series import series_of
from imaging.series import StudyImages
from imaging.sidecar import read_json

IMAGES = ("_pet.nii", "_pet.nii.gz")
BLOOD = "_blood.tsv"


def read_bids_pet(folder) -> StudyImages:
    """The PET series below a BIDS folder (a whole data set, a subject or a session), one a time frame.

    Raises:
        ImageError: no PET image, a damaged one, or a sidecar that is missing or contradicts itself.
    """
    root = Path(folder)
    files = folder_files(root)
    images = [file for file in files if file.name.endswith(IMAGES)]
    if not images:
        raise ImageError(describe("folder", "no *_pet.nii or *_pet.nii.gz", "a BIDS-PET folder", "check the path"))
    sidecars = [file for file in files if file.name.endswith("pet.json")]
    series, notes = [], []
    for number, image in enumerate(images, start=1):
        content = _inherited(image, sidecars)
        try:
            series += series_of(image, content)
        except ImageError as error:
            found = str(error)
        else:
            found = ""
        if found:
            raise ImageError(f"PET image {number}: {found}")
        if "ScanDate" not in content:
            notes.append(f"PET image {number}: no ScanDate, so its day is a nominal one; hours after injection hold")
    blood = sum(file.name.endswith(BLOOD) for file in files)
    return StudyImages(tuple(series), skipped={"blood table": blood} if blood else {}, warnings=tuple(notes))


def _inherited(image: Path, sidecars: list[Path]) -> dict:
    """The fields of all sidecars that apply, nearer and more specific ones last."""
    entities, content = _entities(image), {}
    above = [file for file in sidecars if file.parent in image.parents and _entities(file) <= entities]
    for file in sorted(above, key=lambda file: (len(file.parts), len(_entities(file)))):
        content |= read_json(file)
    return content


def _entities(file: Path) -> set[str]:
    return set(file.name.split(".")[0].split("_"))
