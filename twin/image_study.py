"""A folder of images with its `patient.toml`, opened for the commands that work on images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dose.errors import InputError, describe
from imaging.series import StudyImages
from twin.region_labels import with_plain_labels
from twin.study_files import PatientFile, read_patient_file


@dataclass(frozen=True)
class ImageStudy:
    """Images of `folder`; files that `file.imaging` names lie in `beside`. `notes` is what opening it had to say."""

    folder: Path
    beside: Path
    file: PatientFile
    images: StudyImages
    notes: tuple[str, ...]


def open_images(path, *, guarded: bool = True, keep_labels: bool = False) -> ImageStudy:
    """The images at `path`: a folder of DICOM, with or without a `patient.toml` in it, or such a file.

    `guarded` reads in a process of its own with limits. Labels lose their free words unless `keep_labels`.

    Raises:
        InputError: nothing there, or a `patient.toml` that can't be used.
        ImageError: a folder that can't be read.
    """
    path = Path(path)
    toml = path if path.suffix == ".toml" else path / "patient.toml"
    if not path.exists():
        raise InputError(describe("folder", "nothing at this path", "a folder of DICOM files", "check the path"))
    file = read_patient_file(toml) if toml.is_file() else PatientFile()
    folder = toml.parent / file.images if file.images else toml.parent
    images = _read(folder, guarded, file.imaging.Bq_per_mL_per_count)
    plain, notes = (images, ()) if keep_labels else with_plain_labels(images)
    return ImageStudy(folder, toml.parent, file, plain, (*images.warnings, *notes))


def _read(folder: Path, guarded: bool, Bq_per_mL_per_count: float | None) -> StudyImages:
    if guarded:
        from imaging.sandbox import read_folder_guarded

        return read_folder_guarded(folder, Bq_per_mL_per_count=Bq_per_mL_per_count)
    from imaging.dicom_read import read_folder

    return read_folder(folder, Bq_per_mL_per_count=Bq_per_mL_per_count)
