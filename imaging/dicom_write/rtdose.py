"""RTDOSE: absorbed dose in Gy as 32-bit integers with a scale.

No plan is referenced: there is none in radiopharmaceutical therapy. DICOM (PS3.3 C.8.8.3) asks for one where
DoseSummationType is PLAN or FRACTION; planning systems that insist on it will refuse the object. SimpleITK reads the
stored integers and leaves the scaling to the caller: multiply by its metadata "3004|000e" (DoseGridScaling).
Quantisation is 2.5e-10 of the maximum, below the float32 of a `Volume`.
"""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.dicom_write.files import checked_target, save
from imaging.dicom_write.header import new_object, plane_tags, put, put_pixels, upright
from imaging.dicom_write.identity import NOTICE, Exported
from imaging.dicom_write.values import decimal
from imaging.geometry import Volume

RTDOSE_CLASS = "1.2.840.10008.5.1.4.1.1.481.2"
OFFSETS = 0x3004000C
"""GridFrameOffsetVector, which FrameIncrementPointer names."""

FULL_SCALE = 4_000_000_000
"""Stored value of the maximum: below 2**32 by enough that rounding of the scale cannot overflow it."""

SUMMATIONS = {"PLAN": "all cycles", "FRACTION": "one cycle"}
KINDS = {"PHYSICAL": "dose", "ERROR": "sd of dose"}


def write_rtdose(
    path, dose_Gy: Volume, exported: Exported, *, summation: str = "PLAN", kind: str = "PHYSICAL", overwrite=False
):
    """Write one RTDOSE and return its data set.

    Args:
        path: the file.
        dose_Gy: absorbed dose [z, y, x]; any orientation, any grid in the sources' frame of reference.
        exported: the export.
        summation: "PLAN" for the whole therapy, "FRACTION" for one cycle.
        kind: "PHYSICAL", or "ERROR" for the standard deviation of the dose. DICOM means by ERROR a difference from
            a wanted dose; the comment says what it is here. A Parametric Map says it without that stretch.
        overwrite: replace a file that is there.

    Raises:
        ImageError: negative dose (`Volume` refuses what is not finite), a sheared grid.
        InputError: another summation or kind, a file that is there.
    """
    checked_target(path, overwrite=overwrite)
    for name, value, known in (("summation", summation, SUMMATIONS), ("kind", kind, KINDS)):
        if value not in known:
            raise InputError(describe(name, f'"{value}"', f"one of {', '.join(known)}", "choose one"))
    if dose_Gy.array.min() < 0:
        found, do = "negative dose", "look for the fault; do not clip it"
        raise ImageError(describe("dose_Gy", found, "zero or more everywhere", do))
    volume = upright(dose_Gy, "dose_Gy")
    dataset = new_object(exported, RTDOSE_CLASS, "RTDOSE", KINDS[kind], summation, volume.affine, volume.array)
    put(dataset, {"DoseUnits": "GY", "DoseType": kind, "DoseSummationType": summation})
    dataset.DoseComment = f"{KINDS[kind]}, {SUMMATIONS[summation]}: {NOTICE}"[:64]
    put(dataset, plane_tags(volume))
    dataset.GridFrameOffsetVector = [decimal(k * volume.spacing_mm[2]) for k in range(len(volume.array))]
    dataset.FrameIncrementPointer = OFFSETS
    peak = float(volume.array.max())
    scale = decimal(peak / FULL_SCALE if peak > 0 else 1.0)
    dataset.DoseGridScaling = scale
    put_pixels(dataset, np.rint(volume.array.astype(float) / float(scale)).astype(np.uint32))
    save(dataset, path, overwrite=overwrite)
    return dataset
