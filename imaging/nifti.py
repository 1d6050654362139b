"""NIfTI in and out through SimpleITK, which turns the file's RAS into our LPS."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.nifti_header import checked_header


def read_nifti(path) -> Volume:
    """One 3D image; the file says nothing about units, time or decay, so neither does the result.

    Raises:
        ImageError: missing, too large, damaged, or not 3D.
    """
    frames = read_nifti_frames(path)
    if len(frames) != 1:
        found = f"{len(frames)} time frames"
        do = "read it with imaging.read_nifti_series, or split it into one file a time point"
        raise ImageError(describe("nifti file", found, "one", do))
    return frames[0]


def read_nifti_frames(path) -> tuple[Volume, ...]:
    """The time frames of a 3D or 4D image, all on one grid.

    Raises:
        ImageError: missing, too large, damaged, of other than 3 or 4 axes, or with values that are not finite.
    """
    import SimpleITK as sitk

    shape = checked_header(path).shape
    axes = len(shape) - (len(shape) > 3 and all(size == 1 for size in shape[3:])) * (len(shape) - 3)
    if axes not in (3, 4):
        raise ImageError(describe("nifti file", f"{len(shape)} axes", "3, or 4 with time", "split or export it again"))
    try:
        image = sitk.ReadImage(str(Path(path)))
        array = sitk.GetArrayFromImage(image).reshape((-1, *shape[2::-1]))
    except (RuntimeError, ValueError):
        array = None
    if array is None or array.dtype.kind not in "iuf":
        found = "something SimpleITK cannot read as numbers"
        raise ImageError(describe("nifti file", found, "scalar NIfTI-1 or -2", "export it again"))
    affine = np.eye(4)
    directions = np.reshape(image.GetDirection(), (image.GetDimension(),) * 2)[:3, :3]
    affine[:3, :3] = directions * np.asarray(image.GetSpacing()[:3])
    affine[:3, 3] = image.GetOrigin()[:3]
    return tuple(Volume(frame, affine) for frame in array)


def write_nifti(volume: Volume, path) -> None:
    """Write float32; the folder must exist."""
    import SimpleITK as sitk

    sitk.WriteImage(volume.to_sitk(), str(path))
