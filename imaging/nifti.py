"""NIfTI in and out through SimpleITK, which turns the file's RAS into our LPS."""

from __future__ import annotations

from pathlib import Path

from dose.errors import ImageError, describe
from imaging.geometry import Volume

MAX_FILE_BYTES = 2 * 1024**3
"""Larger files are refused before they are parsed (ENGINEERING notes, section 6)."""


def read_nifti(path) -> Volume:
    """One 3D image; the file says nothing about units, time or decay, so neither does the result.

    Raises:
        ImageError: missing, too large, damaged, or not 3D.
    """
    import SimpleITK as sitk

    path = Path(path)
    if not path.is_file() or path.stat().st_size > MAX_FILE_BYTES:
        found = "a file over 2 GiB" if path.is_file() else "no such file"
        raise ImageError(describe("nifti path", found, "a .nii or .nii.gz file", "check the path"))
    try:
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    except RuntimeError as error:
        text = describe("nifti file", "something SimpleITK cannot read", "NIfTI-1 or -2", "export it again")
        raise ImageError(text) from error
    if image.GetDimension() != 3:
        found = f"{image.GetDimension()} dimensions"
        raise ImageError(describe("nifti file", found, "3", "split it into one file a time point"))
    return Volume.from_sitk(image)


def write_nifti(volume: Volume, path) -> None:
    """Write float32; the folder must exist."""
    import SimpleITK as sitk

    sitk.WriteImage(volume.to_sitk(), str(path))
