"""CT and PET Image Storage, one file a slice; quantitative SPECT often travels as the latter."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from dose.errors import ImageError, describe
from imaging.dicom_write.files import save
from imaging.dicom_write.header import new_object, plane_tags, put, put_pixels, upright
from imaging.dicom_write.identity import Exported
from imaging.dicom_write.values import decimal
from imaging.geometry import Volume

CT_CLASS, PET_CLASS = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.128"
FULL_SCALE = 32_000
"""Largest stored value; each slice of PET has its own slope, CT has slope 1."""


@dataclass(frozen=True)
class StudyLabels:
    """What all objects of one virtual study share."""

    seed: int
    weight_kg: float
    height_m: float
    sex: str
    began_at: datetime

    def exported(self) -> Exported:
        """The same as an `Exported`, which every writer takes."""
        return Exported.virtual(
            self.seed, self.began_at, weight_kg=self.weight_kg, height_m=self.height_m, sex=self.sex
        )


def write_slices(
    folder, volume: Volume, study: StudyLabels | Exported, series: str, tags: dict, *, is_ct: bool, overwrite=False
) -> list:
    """Write one file a slice and return the data sets, in order of position.

    Args:
        folder: made where it is not there; files are 0000.dcm and so on.
        volume: HU for CT; for PET what `tags["Units"]` says.
        study: the export.
        series: name of the series.
        tags: attributes beyond those of every object, by keyword.
        is_ct: CT Image Storage, else PET Image Storage.
        overwrite: replace files that are there.

    Raises:
        ImageError: a sheared grid, or HU beyond 16 bits.
        InputError: a file is there.
    """
    exported = study.exported() if isinstance(study, StudyLabels) else study
    volume = upright(volume, "volume")
    sop_class, modality = (CT_CLASS, "CT") if is_ct else (PET_CLASS, "PT")
    identity = (series, volume.affine, volume.array)
    base = new_object(exported, sop_class, modality, series, *identity)
    series_uid = base.SeriesInstanceUID
    datasets = []
    for k, values in enumerate(volume.array):
        dataset = new_object(exported, sop_class, modality, series, str(series_uid), k)
        put(dataset, plane_tags(volume, k))
        dataset.SeriesInstanceUID, dataset.InstanceNumber = series_uid, k + 1
        dataset.ImageType = ["DERIVED", "PRIMARY"]
        if not is_ct:
            dataset.ImageIndex, dataset.NumberOfSlices = k + 1, len(volume.array)
        put(dataset, tags)
        datasets.append(_with_values(dataset, values, is_ct=is_ct))
    for k, dataset in enumerate(datasets):
        save(dataset, Path(folder) / f"{k:04d}.dcm", overwrite=overwrite)
    return datasets


def _with_values(dataset, values: np.ndarray, *, is_ct: bool):
    peak = float(np.abs(values).max())
    if is_ct and peak > np.iinfo(np.int16).max:
        raise ImageError(describe("volume", "CT numbers beyond 16 bits", "HU of -32767 to 32767", "clip the image"))
    slope = decimal(1.0 if is_ct or peak == 0 else peak / FULL_SCALE)
    put(dataset, {"RescaleSlope": slope, "RescaleIntercept": "0"})
    if is_ct:
        dataset.RescaleType = "HU"
    return put_pixels(dataset, np.round(values / float(slope)).astype(np.int16))
