"""Two studies to one transform: by their CTs where both have one, else by their emission images, and it says which.

A CT counts where it shares the emission image's frame of reference: then CT-CT aligns the SPECT or PET too.
"""

from __future__ import annotations

from dataclasses import replace

from dose.errors import ImageError, describe
from imaging.registration.pairwise import Registration, register
from imaging.registration.settings import EMISSION
from imaging.series import ImageSeries, StudyImages


def register_studies(fixed: StudyImages, moving: StudyImages, **options) -> Registration:
    """The transform between the emission images of two studies; `options` are those of `register`.

    Raises:
        ImageError: a study without SPECT or PET, or with several.
    """
    ends = [_emission(fixed), _emission(moving)]
    cts = [_ct_of(study, image) for study, image in zip((fixed, moving), ends, strict=True)]
    if cts[0] is not None and cts[1] is not None:
        found = register(cts[0], cts[1], **options)
        return replace(found, by="CT to CT, applied to the emission images of the same frames of reference")
    found = register(*ends, **options)
    kinds = " to ".join(image.modality for image in ends)
    return replace(found, by=f"{kinds} (no CT in the frame of reference of both): less anatomy, look at it")


def _emission(study: StudyImages) -> ImageSeries:
    images = study.of(*EMISSION)
    if len(images) != 1:
        do = "give studies of one scan each, or call register on two series"
        raise ImageError(describe("study", f"{len(images)} SPECT or PET series", "one", do))
    return images[0]


def _ct_of(study: StudyImages, image: ImageSeries) -> ImageSeries | None:
    """The largest CT that shares the image's frame of reference (a frame that is not stated is not shared)."""
    shared = [ct for ct in study.of("CT") if image.frame_hash and ct.frame_hash == image.frame_hash]
    return max(shared, key=lambda ct: ct.volume.array.size, default=None)
