"""In which scan of a folder regions are drawn, which CT belongs to it, and its lesions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dose.errors import ImageError, InputError, describe
from imaging.decay import nuclide_name
from imaging.geometry import Volume
from imaging.region_masks import EMISSION
from imaging.series import ImageSeries, StudyImages
from imaging.suv import suv_image
from pbpk.parameters import ligand
from twin.study import split_tracer

if TYPE_CHECKING:
    from imaging.networks.lesions_result import LesionSegmentation

LIE_IN = ("bone", "red_marrow", "lungs", "muscle", "blood", "prostate", "remainder")
"""Regions that are no organs of physiological uptake: their masks hide no lesion."""


def scan_of(images: StudyImages, mark: str | None = None) -> ImageSeries:
    """The scan whose hash begins with `mark`; else the first PET that has a CT in its frame, else the first SPECT that
    has one, else the first PET, else the first SPECT.

    Raises:
        ImageError: no PET or SPECT.
        InputError: none, or several, of this mark.
    """
    scans = [scan for scan in images.of(*EMISSION) if scan.frame == 0]
    if not scans:
        raise ImageError(describe("folder", "no PET or SPECT image", "one or more", "give the folder that holds one"))
    if mark:
        found = [scan for scan in scans if scan.series_uid_hash.startswith(mark)]
        if len(found) != 1:
            known = ", ".join(scan.series_uid_hash[:8] for scan in scans)
            raise InputError(
                describe("scan", f'"{mark}" fits {len(found)} series', f"one of {known}", "give more of it")
            )
        return found[0]
    return min(scans, key=lambda s: (ct_of(images, s) is None, s.modality != "PET", s.reference_at is None, _moment(s)))


def _moment(scan: ImageSeries) -> float:
    return scan.reference_at.timestamp() if scan.reference_at else 0.0


def ct_of(images: StudyImages, scan: ImageSeries) -> ImageSeries | None:
    """The largest CT in the scan's frame of reference; None where there is none."""
    shared = [ct for ct in images.of("CT") if scan.frame_hash and ct.frame_hash == scan.frame_hash]
    return max(shared, key=lambda ct: ct.volume.array.size, default=None)


def family_of(tracer: str | None) -> str:
    """ "psma" or "sstr", by the ligand of a tracer.

    Raises:
        InputError: no tracer, or one that is not known.
    """
    return ligand(split_tracer(tracer, "lesions")[0]).target


def lesions_of(
    images: StudyImages,
    scan: ImageSeries,
    ct: ImageSeries | None,
    organs: Mapping[str, Volume],
    family: str,
    method: str,
) -> tuple[LesionSegmentation, list[str]]:
    """Lesions of the scan, and what is to be said; a SPECT's are looked for with the diagnostic PET's as prior.

    None is called in an organ, but for the liver and for `LIE_IN`, which an outside segmentation may bring.
    """
    hu, organs = ct.volume if ct is not None else None, {name: m for name, m in organs.items() if name not in LIE_IN}
    if scan.modality == "PET":
        return _pet_lesions(scan, hu, organs, family, method), []
    prior, said = _prior(images, scan, family, organs)
    from imaging.networks.lesions_spect import segment_lesions_spect

    words = {"tracer": family, "nuclide": nuclide_name(scan), "organs": organs, "method": method}
    try:
        return segment_lesions_spect(scan.volume, hu, prior=prior, **words), said
    except ImageError as error:
        if prior is None:
            raise
        return segment_lesions_spect(scan.volume, hu, **words), [*said, f"and then not used: {error}"]


def _pet_lesions(scan: ImageSeries, ct: Volume | None, organs, family: str, method: str) -> LesionSegmentation:
    from imaging.networks.lesions_pet import segment_lesions

    return segment_lesions(suv_image(scan), ct, tracer=family, organs=organs, method=method)


def _prior(images: StudyImages, scan: ImageSeries, family: str, organs) -> tuple[Volume | None, list[str]]:
    """Probability of lesion of the first PET with a CT, brought to the scan and 0 in its organs but the liver, and in
    words what was done."""
    cts = (ct_of(images, pet) for pet in images.of("PET"))
    pairs = [(pet, ct) for pet, ct in zip(images.of("PET"), cts) if pet.frame == 0 and ct is not None]
    if not pairs:
        return None, ["no PET with a CT: lesions of the SPECT are drawn without a prior"]
    pet, ct = pairs[0]
    name = f"the diagnostic PET's lesions ({nuclide_name(pet) or 'nuclide not stated'})"
    try:
        found = _pet_lesions(pet, ct.volume, None, family, "auto").probability
    except ImageError as error:
        return None, [f"{name} were no prior: {error}"]
    if pet.frame_hash == scan.frame_hash:
        return _outside(found, organs), [f"{name} were the prior"]
    own = ct_of(images, scan)
    if own is None:
        return None, [f"no CT in the SPECT's frame to bring {name} by: they were no prior"]
    from imaging.networks.lesions_prior import NO_PRIOR
    from imaging.registration import register, resample

    registration = register(own, ct, stages=("rigid",))
    if registration.refused:
        return None, [f"{name} were no prior: {'; '.join(registration.notes)}"]
    words = [f"{name} were the prior, brought over by CT to CT", *registration.notes]
    return _outside(resample(found, registration.transform, scan.volume, outside=NO_PRIOR), organs), words


def _outside(prior: Volume, organs: Mapping[str, Volume]) -> Volume:
    """The prior with 0 in organs, where uptake is physiological, but for the liver."""
    from imaging.networks.lesions_result import outside_organs

    onto = {name: mask.resampled_onto(prior, interpolation="nearest") for name, mask in organs.items()}
    return prior.with_array(outside_organs(prior.array, onto))
