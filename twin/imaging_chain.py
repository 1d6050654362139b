"""The `[imaging]` table of a study as an imaging chain, and what its scans' budgets say of errors that they share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from calibration.noise import pair
from imaging.quantify import ImagingChain, RegionActivity
from imaging.reconstructed import PLANAR_VIEWS, CameraSetup, reconstructed
from imaging.recovery import measurement
from imaging.series import StudyImages
from imaging.site_files import read_calibration, read_recovery_curve
from twin.study_files import ImagingFile

SMALLEST_SD, LARGEST_SD = 1e-3, 0.9
"""A shared error below the first (relative) stays in the sum as this; a lesion of a few voxels may exceed the second,
where a logarithm's sd means little."""


def with_reconstructions(images: StudyImages, file: ImagingFile, beside: Path):
    """(images, what counting leaves in the new series or None, notes): projections as images, where there is a camera.

    Raises:
        InputError: a calibration file that is missing or damaged.
        ImageError: projections that cannot be reconstructed with it.
    """
    count = sum(len(p.angles_deg) > PLANAR_VIEWS for p in images.projections)
    if not count:
        return images, None, ()
    if not file.calibration:
        do = "name the camera's calibration file in patient.toml: [imaging] calibration"
        return images, None, (f"{count} tomographic acquisitions in counts took no part; {do}",)
    setup = CameraSetup(
        read_calibration(beside / file.calibration),
        intrinsic_fwhm_mm=file.intrinsic_fwhm_mm,
        iterations=file.iterations,
        subsets=file.subsets,
        scatter=None if file.scatter == "none" else file.scatter,
        dead_time_us=file.dead_time_us,
    )
    made = reconstructed(images, setup)
    return made.study, made.counts_cv, made.notes


def chain_of(file: ImagingFile, beside: Path, counts_cv=None) -> ImagingChain:
    """The chain of a SPECT therapy; files are looked for in the folder `beside`.

    Raises:
        InputError: a file that is missing or damaged, or "curve" without one.
    """
    measurements = {} if file.fwhm_mm is None else {"SPECT": replace(measurement("SPECT"), fwhm_mm=file.fwhm_mm)}
    calibrations = {"SPECT": read_calibration(beside / file.calibration)} if file.calibration else {}
    curves = {"SPECT": read_recovery_curve(beside / file.recovery_curve)} if file.recovery_curve else {}
    return ImagingChain(
        recovery=file.recovery,
        measurements=measurements,
        calibrations=calibrations,
        curves=curves,
        counts_cv=counts_cv,
        boundary=file.boundary,
        carries=file.carries,
    )


def shared_sd(activities: Sequence[RegionActivity], chain: ImagingChain) -> dict[str, float]:
    """Relative sd of calibration (where the site knows it), recovery and contour, by `calibration.noise`'s names.

    Scans of a region share its recovery and contour: the largest of theirs is taken.
    """
    found = {f"calibration/{modality}": known.relative_sd for modality, known in chain.calibrations.items()}
    for activity in activities:
        parts = {
            f"recovery/{pair(activity.region)}": activity.budget.recovery,
            f"volume/{activity.region}": activity.budget.volume,
        }
        for name, sd in parts.items():
            found[name] = min(max(found.get(name, SMALLEST_SD), sd), LARGEST_SD)
    return found
