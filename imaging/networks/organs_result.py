"""What a segmentation of organs gives: labels, volumes with their sd, and regions for the rest of the package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dose.learning.ranges import Choice
from imaging.geometry import Volume
from imaging.series import ImageSeries, Segment, Segmentation

ORGANS = (
    "kidney_left",
    "kidney_right",
    "liver",
    "spleen",
    "parotid_left",
    "parotid_right",
    "submandibular_left",
    "submandibular_right",
    "bladder",
)
"""Regions that the network knows, in the order of its outputs; the bladder with its contents."""


@dataclass(frozen=True)
class OrganSegmentation:
    """Organs on the grid of the CT.

    Attributes:
        labels: whole numbers, 0 where there is no organ.
        names: region by number; only organs that were found.
        volumes_mL: by region.
        sd_mL: of the volume, by region; empty where the method states none.
        confidence: mean probability within the organ, by region; empty where the method states none.
        choice: the method used, and why not the network or why not to rely on it.
        notes: organs that the field cuts, labels that were not understood.
    """

    labels: Volume
    names: Mapping[int, str]
    volumes_mL: Mapping[str, float]
    sd_mL: Mapping[str, float]
    confidence: Mapping[str, float]
    choice: Choice
    notes: tuple[str, ...] = ()

    def mask(self, region: str) -> np.ndarray:
        """Boolean [z, y, x] of a region; empty where it was not found."""
        return np.isin(self.labels.array, [number for number, name in self.names.items() if name == region])

    def masks(self) -> dict[str, Volume]:
        """Every region found, 1 inside and 0 outside, as `imaging.dicom_write.write_segmentation` takes them."""
        return {name: self.labels.with_array(self.mask(name)) for name in dict.fromkeys(self.names.values())}

    def segmentation(self, image: ImageSeries) -> Segmentation:
        """The regions as drawn in the frame of reference of an image, for `imaging.quantify.region_activities`.

        Put it into the study: `replace(study, segmentations=(*study.segmentations, found.segmentation(ct)))`.
        """
        segments = tuple(Segment(name, mask) for name, mask in self.masks().items())
        return Segmentation(segments, image.frame_hash, image.series_uid_hash)


def measured(labels: np.ndarray, names: Mapping[int, str], voxel_mL: float) -> dict[str, float]:
    """Volume in mL of each region of a label array."""
    counts = np.bincount(labels.astype(int).ravel(), minlength=max(names, default=0) + 1)
    found: dict[str, float] = {}
    for number, name in names.items():
        found[name] = found.get(name, 0.0) + float(counts[number]) * voxel_mL
    return found
