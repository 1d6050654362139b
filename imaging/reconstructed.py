"""Projections of a study to images in Bq/mL beside its others, so that observations follow in the same call.

A site states its camera once: the calibration (counts per second of one head per MBq in a window), collimator, crystal
and how to iterate. Attenuation comes from a CT in the frame of reference of the projections; without one it is left out,
which is said. `counts_cv` carries counting statistics through the iterations, for `ImagingChain.counts_cv`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from dose.errors import ImageError, InputError, describe
from imaging.camera_calibration import CameraCalibration, check_applies
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.series import ImageSeries, StudyImages

PLANAR_VIEWS = 2
"""As many views or fewer are planar images, which are not reconstructed."""


@dataclass(frozen=True)
class CameraSetup:
    """How a site reconstructs.

    Attributes:
        calibration: of one head, in the peak window; its collimator is used where the header names none that is known.
        intrinsic_fwhm_mm: of the crystal at the peak's energy.
        iterations, subsets: of OSEM.
        scatter: "tew", "dew" or None; `scatter_fwhm_mm` smooths the estimate.
        engine: "own" or "pytomography" (extra `spect`).

    Raises:
        InputError: iterations or subsets below 1.
    """

    calibration: CameraCalibration
    intrinsic_fwhm_mm: float = 3.8
    iterations: int = 4
    subsets: int = 8
    scatter: str | None = "tew"
    scatter_fwhm_mm: float = 15.0
    engine: str = "own"

    def __post_init__(self):
        if self.iterations < 1 or self.subsets < 1:
            found = f"{self.iterations} iterations, {self.subsets} subsets"
            raise InputError(describe("camera setup", found, "one or more of each", "correct the setup"))


@dataclass(frozen=True)
class Reconstructed:
    """`study` with the new series, `counts_cv` for their regions, and `notes` on what was left out."""

    study: StudyImages
    counts_cv: Callable[[ImageSeries, str, Volume], float | None]
    notes: tuple[str, ...]


def reconstructed(study: StudyImages, setup: CameraSetup) -> Reconstructed:
    """Every tomographic acquisition of the study as a SPECT series; without any, the study as it is.

    `counts_cv` knows the new series only, and says None of others.

    Raises:
        InputError: a collimator that is not known.
        ImageError: another nuclide than the calibration's, or windows that do not serve.
    """
    from imaging.reconstruct import Settings, reconstruct

    settings, made, notes = Settings(setup.iterations, setup.subsets), {}, []
    for projections in study.projections:
        if len(projections.angles_deg) <= PLANAR_VIEWS:
            continue
        measured = _measured(study, projections, setup, notes)
        series = reconstruct(projections, measured, settings, engine=setup.engine)
        made[series.series_uid_hash] = (series, projections, measured)

    def counts_cv(series: ImageSeries, region: str, mask: Volume) -> float | None:
        from imaging.reconstruct import reconstruct_regions

        if series.series_uid_hash not in made:
            return None
        _, projections, measured = made[series.series_uid_hash]
        told = reconstruct_regions(projections, measured, [mask.array], settings)
        return float(told.sd[0] / told.total[0]) if told.total[0] > 0 else None

    images = (*study.images, *(series for series, _, _ in made.values()))
    return Reconstructed(replace(study, images=images), counts_cv, tuple(notes))


def _measured(study: StudyImages, projections: Projections, setup: CameraSetup, notes: list[str]):
    from imaging.reconstruct import Measured, attenuation_map, collimator_response

    nuclide = projections.radiopharmaceutical.nuclide or setup.calibration.nuclide
    check_applies(setup.calibration, nuclide=nuclide)
    line_keV = _line_keV(projections, setup.calibration)
    ct = next((s for s in study.of("CT") if s.frame_hash and s.frame_hash == projections.frame_hash), None)
    if ct is None:
        notes.append(f"projections {projections.series_uid_hash}: no CT in their frame, so no attenuation correction")
    return Measured(
        cps_per_MBq=setup.calibration.sensitivity_cps_per_MBq,
        response=collimator_response(_collimator(projections, setup), line_keV, setup.intrinsic_fwhm_mm),
        attenuation_per_mm=None if ct is None else attenuation_map(ct.volume, projections.grid(), line_keV),
        scatter=setup.scatter,
        scatter_fwhm_mm=setup.scatter_fwhm_mm,
        nuclide=nuclide,
        line_keV=line_keV,
    )


def _collimator(projections: Projections, setup: CameraSetup) -> str:
    from imaging.reconstruct import collimators

    return projections.collimator if projections.collimator in collimators() else setup.calibration.collimator


def _line_keV(projections: Projections, calibration: CameraCalibration) -> float:
    """The line of the peak window that the calibration was made in."""
    middle = sum(calibration.window_keV) / 2
    for window in projections.windows:
        if window.role == "peak" and window.lower_keV <= middle <= window.upper_keV:
            return window.line_keV or middle
    found = "no peak window about the calibration's"
    do = "calibrate in the window that is acquired, or acquire the one that was calibrated"
    raise ImageError(describe("projections.windows", found, "the calibrated window", do))
