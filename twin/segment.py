"""Regions drawn in one scan of a folder: organs on its CT, lesions on its PET or SPECT, by networks or without.

One scan is enough: `imaging.region_masks` carries its regions to the other sessions by registration, so that a lesion
has one name in all of them. Organs are brought to the grid of the scan, and a lesion's voxels are taken out of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.series import ImageSeries, Segment, Segmentation
from twin.image_study import ImageStudy
from twin.segment_scan import ct_of, family_of, lesions_of, scan_of

if TYPE_CHECKING:
    from imaging.networks.lesions_result import LesionSegmentation
    from imaging.networks.organs_result import OrganSegmentation

ORGAN_METHODS = ("auto", "network", "classical", "totalsegmentator", "nnunet", "none")
SEXES = ("male", "female")
LESION_METHODS = ("auto", "network", "classical", "none")
SIMULATED_ONLY = "organs: drawn by a network that learned from simulated bodies only (docs/ai/organs.md): look at them"


@dataclass(frozen=True)
class DrawSettings:
    """How regions are drawn.

    Attributes:
        organs, lesions: one of `ORGAN_METHODS` and of `LESION_METHODS`; "auto" takes a network where it is the default
            and the scan in its range.
        scan: beginning of the hash of the series to draw in, as `theratwin images` lists it; None: see `scan_of`.
        tracer: such as 68Ga-PSMA-11; None: the patient file's.
        model: folder of TotalSegmentator's weights, or of a trained nnU-Net configuration.
        trusted: that an nnU-Net's checkpoints, which run code as they load, are the user's own.

    Raises:
        InputError: a method that is none of these, nothing to draw, or "nnunet" without a folder.
    """

    organs: str = "auto"
    lesions: str = "auto"
    scan: str | None = None
    tracer: str | None = None
    model: Path | None = None
    trusted: bool = False

    def __post_init__(self):
        for name, given, known in (
            ("organs", self.organs, ORGAN_METHODS),
            ("lesions", self.lesions, LESION_METHODS),
        ):
            if given not in known:
                raise InputError(describe(name, f'"{given}"', f"one of {', '.join(known)}", "choose one"))
        if self.organs == self.lesions == "none":
            raise InputError(describe("organs and lesions", "none of either", "one of them", "draw something"))
        if self.organs == "nnunet" and self.model is None:
            do = "give the folder of the trained configuration, Dataset.../nnUNetTrainer__nnUNetPlans__3d_fullres"
            raise InputError(describe("model", "none", "a folder for nnunet", do))


@dataclass(frozen=True)
class DrawnRegions:
    """Regions of one scan.

    Attributes:
        scan: the series they are drawn in.
        masks: 1 inside and 0 outside on its grid, by region of `dose.regions`; lesions are tumour_1, tumour_2, ... from
            the largest on.
        rows: for each region its volume in mL with what is known of its uncertainty, and by what it was drawn.
        notes: what was not drawn and why, and what speaks against what was.
    """

    scan: ImageSeries
    masks: Mapping[str, Volume]
    rows: tuple[dict, ...]
    notes: tuple[str, ...]

    def segmentation(self) -> Segmentation:
        """As drawn in the frame of reference of the scan, for `imaging.quantify.region_activities`."""
        segments = tuple(Segment(name, mask) for name, mask in self.masks.items())
        return Segmentation(segments, self.scan.frame_hash, self.scan.series_uid_hash)


def draw_regions(
    study: ImageStudy,
    settings: DrawSettings | None = None,
    *,
    step: Callable = lambda words: nullcontext(),
) -> DrawnRegions:
    """Draw organs and lesions in one scan of an opened study; `step(words)` is entered for each part of the work.

    Raises:
        InputError: no scan of this hash, no tracer known for lesions, weights or packages that are not there.
        ImageError: no PET or SPECT, images that can't be segmented, or no region found at all.
    """
    settings = settings or DrawSettings()
    scan = scan_of(study.images, settings.scan)
    family = "" if settings.lesions == "none" else family_of(settings.tracer or study.file.tracer)
    ct, notes, lesion_rows, organs, found = ct_of(study.images, scan), [], [], {}, None
    if settings.organs != "none" and ct is None:
        notes.append("no CT in the scan's frame of reference: organs are not drawn")
    elif settings.organs != "none" and ct is not None:
        with step("drawing organs"):
            found = _organs(scan, ct, settings)
        organs = {name: _onto(mask, scan.volume) for name, mask in found.masks().items()}
        organs = {name: mask for name, mask in organs.items() if mask.array.any()}
        notes += [*found.notes, *(f"organs: {reason}" for reason in found.choice.reasons)]
        if found.choice.method == "network" and settings.organs in ("auto", "network"):
            notes.append(SIMULATED_ONLY)
        if found.choice.method == "classical" and scan.sex not in SEXES:
            notes.append("organs: the patient's sex is not stated: by the man's atlas")
    lesions: dict[str, Volume] = {}
    if family:
        with step("drawing lesions"):
            drawn, said = lesions_of(study.images, scan, ct, organs, family, settings.lesions)
        lesions = _lesion_masks(drawn)
        lesion_rows = _lesion_rows(drawn)
        notes += [*said, *(f"lesions: {reason}" for reason in drawn.choice.reasons)]
        if not lesions:
            notes.append("no lesion was found")
    kept = _without(organs, lesions)
    notes += [f"{name} lies within lesions: it is not drawn" for name in organs if name not in kept]
    masks, rows = kept | lesions, _organ_rows(found, kept) + lesion_rows
    if not masks:
        raise ImageError(describe("regions", "none", "an organ or a lesion", "; ".join(notes) or "see the scan"))
    return DrawnRegions(scan, masks, tuple(rows), tuple(dict.fromkeys(notes)))


def _organs(scan: ImageSeries, ct: ImageSeries, settings: DrawSettings) -> OrganSegmentation:
    if settings.organs == "totalsegmentator":
        from imaging.networks.external import totalsegmentator_organs

        return totalsegmentator_organs(ct.volume, weights=settings.model)
    if settings.organs == "nnunet":
        from imaging.networks.external_nnunet import nnunet_organs

        assert settings.model is not None
        return nnunet_organs(ct.volume, settings.model, trusted=settings.trusted, emission=scan.volume)
    from imaging.networks.organs import segment_organs

    sex = scan.sex if scan.sex in SEXES else "male"
    return segment_organs(scan.volume, ct.volume, modality=scan.modality, method=settings.organs, sex=sex)


def _onto(mask: Volume, grid: Volume) -> Volume:
    """A mask on the grid of the scan, 1 where half of a voxel or more is inside."""
    return grid.with_array((mask.resampled_onto(grid).array >= 0.5).astype(np.float32))


def _lesion_masks(found: LesionSegmentation) -> dict[str, Volume]:
    labels = found.labels
    count = int(labels.array.max()) if labels.array.size else 0
    return {f"tumour_{k}": labels.with_array((labels.array == k).astype(np.float32)) for k in range(1, count + 1)}


def _without(organs: Mapping[str, Volume], lesions: Mapping[str, Volume]) -> dict[str, Volume]:
    """Organs without the voxels of lesions."""
    if not lesions:
        return dict(organs)
    taken = np.max([mask.array for mask in lesions.values()], axis=0) > 0
    kept = {name: mask.with_array(np.where(taken, 0, mask.array)) for name, mask in organs.items()}
    return {name: mask for name, mask in kept.items() if mask.array.any()}


def _organ_rows(found: OrganSegmentation | None, kept: Mapping[str, Volume]) -> list[dict]:
    """Volumes as drawn, on the scan's grid and without lesions; the sd is of the organ as it was found."""
    if found is None:
        return []
    return [
        {
            "region": name,
            "volume_mL": round(float(mask.array.sum(dtype=float)) * mask.voxel_mL, 3),
            "volume_sd_mL": _rounded(found.sd_mL.get(name)),
            "confidence": _rounded(found.confidence.get(name)),
            "drawn_by": f"organs, {found.choice.method}",
        }
        for name, mask in kept.items()
    ]


def _lesion_rows(found: LesionSegmentation) -> list[dict]:
    return [
        {
            "region": f"tumour_{k}",
            "volume_mL": round(one.volume_mL.value, 3),
            "volume_low_mL": round(one.volume_mL.low, 3),
            "volume_high_mL": round(one.volume_mL.high, 3),
            "drawn_by": f"lesions, {found.choice.method}",
        }
        for k, one in enumerate(found.lesions, start=1)
    ]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def with_regions(study: ImageStudy, drawn: DrawnRegions) -> ImageStudy:
    """The study as if the regions had been drawn in its folder."""
    images = replace(study.images, segmentations=(*study.images.segmentations, drawn.segmentation()))
    return replace(study, images=images)
