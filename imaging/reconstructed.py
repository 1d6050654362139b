"""Projections of a study to images in Bq/mL beside its others, so that observations follow in the same call.

A site states its camera once: the calibration (counts per second of one head per MBq in a window), collimator, crystal
and how to iterate. A scan with another nuclide, window, collimator or setting than the calibration's is refused.
Attenuation comes from a CT in the frame of reference of the projections; without one it is left out, which is said.
`counts_cv` carries counting statistics through the iterations, for `ImagingChain.counts_cv`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dose.errors import ImageError, InputError, describe
from imaging.camera_calibration import CameraCalibration, check_applies
from imaging.dead_time import live_fraction
from imaging.geometry import Volume
from imaging.projections import EnergyWindow, Projections
from imaging.series import ImageSeries, StudyImages

NOTED_UNCOVERED = 0.05
"""Share of counts level with slices without CT that is told: blur alone carries a few per cent beyond a body's end."""
STATED_keV = 140.0
"""Energy at which makers state a crystal's resolution."""
HIGH_RATE_cps = 10_000.0
"""Above this rate in its windows a head of a microsecond's dead time loses more than a per cent."""

SHARED = "errors of the network's scatter are shared by neighbouring pixels, and not fully in counts_cv"

PLANAR_VIEWS = 2
"""As many views or fewer are planar images, which are not reconstructed."""


@dataclass(frozen=True)
class CameraSetup:
    """How a site reconstructs.

    Attributes:
        calibration: of one head, in the peak window; its collimator is used where the header names none that is known.
        intrinsic_fwhm_mm: of the crystal at 140 keV; narrower by 1/sqrt(energy) at the peak.
        iterations, subsets: of OSEM.
        scatter: "tew" (not of 90Y), "dew", None, or "network" (`imaging.networks.scatter`: without a CT its classical
            method).
        scatter_fwhm_mm: of the Gaussian over the estimate of "tew" or "dew".
        dead_time_us: of a head, paralysable; 0 undoes none, and says so where it would matter.
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
    dead_time_us: float = 0.0
    engine: str = "own"

    def __post_init__(self):
        if self.iterations < 1 or self.subsets < 1:
            found = f"{self.iterations} iterations, {self.subsets} subsets"
            raise InputError(describe("camera setup", found, "one or more of each", "correct the setup"))


@dataclass(frozen=True)
class Reconstructed:
    """`study` with the new series, `counts_cv` for their regions, and `notes` on what was left out."""

    study: StudyImages
    counts_cv: Callable[[ImageSeries, Mapping[str, Volume]], dict[str, float] | None]
    notes: tuple[str, ...]


def reconstructed(study: StudyImages, setup: CameraSetup) -> Reconstructed:
    """Every tomographic acquisition of the study as a SPECT series; without any, the study as it is.

    `counts_cv` knows the new series only, and says None of others.

    Raises:
        InputError: a collimator that is not known, "tew" of 90Y.
        ImageError: another nuclide, window, collimator or setting of the reconstruction than the calibration's, or
            windows that do not serve.
    """
    from imaging.reconstruct import Settings, reconstruct

    settings, made, notes = Settings(setup.iterations, setup.subsets), {}, []
    for projections in study.projections:
        if len(projections.angles_deg) <= PLANAR_VIEWS:
            continue
        measured = _measured(study, projections, setup, notes)
        series = reconstruct(projections, measured, settings, engine=setup.engine)
        series = replace(series, series_uid_hash=_free_name(series.series_uid_hash, made))
        made[series.series_uid_hash] = (series, projections, measured)

    def counts_cv(series: ImageSeries, masks: Mapping[str, Volume]) -> dict[str, float] | None:
        from imaging.reconstruct import reconstruct_regions

        if series.series_uid_hash not in made:
            return None
        _, projections, measured = made[series.series_uid_hash]
        told = reconstruct_regions(projections, measured, [mask.array for mask in masks.values()], settings)
        rows = zip(masks, told.sd, told.total, strict=True)
        return {name: float(sd / total) for name, sd, total in rows if total > 0}

    images = (*study.images, *(series for series, _, _ in made.values()))
    return Reconstructed(replace(study, images=images), counts_cv, tuple(notes))


def _measured(study: StudyImages, projections: Projections, setup: CameraSetup, notes: list[str]):
    from imaging.reconstruct import Measured, attenuation_map, collimator_response

    nuclide = projections.radiopharmaceutical.nuclide or setup.calibration.nuclide
    check_applies(setup.calibration, nuclide=nuclide)  # before a window is looked for, as the clearer error
    window = _peak(projections, setup.calibration)
    line_keV = window.line_keV or (window.lower_keV + window.upper_keV) / 2
    collimator, is_compared = _collimator(projections, setup)
    if not is_compared:
        notes.append(
            f"projections {projections.series_uid_hash}: {collimator} is assumed, as only one side names a"
            " collimator that is known: the header or the calibration"
        )
    check_applies(
        setup.calibration,
        nuclide=nuclide,
        collimator=collimator if is_compared else "",
        window_keV=(window.lower_keV, window.upper_keV),
        settings=_settings(setup),
    )
    ct = next((s for s in study.of("CT") if s.frame_hash and s.frame_hash == projections.frame_hash), None)
    notes += _said_of_attenuation(projections, ct, line_keV)
    live, said = _live(projections, setup.dead_time_us)
    notes += said
    scatter, said = _scatter(replace(projections, collimator=collimator), ct, setup, nuclide, line_keV)
    notes += said
    return Measured(
        cps_per_MBq=setup.calibration.sensitivity_cps_per_MBq,
        response=collimator_response(collimator, line_keV, setup.intrinsic_fwhm_mm * (STATED_keV / line_keV) ** 0.5),
        attenuation_per_mm=None if ct is None else attenuation_map(ct.volume, projections.grid(), line_keV),
        scatter=scatter,
        scatter_fwhm_mm=setup.scatter_fwhm_mm,
        nuclide=nuclide,
        line_keV=line_keV,
        live_fraction=live,
    )


def _scatter(projections: Projections, ct: ImageSeries | None, setup: CameraSetup, nuclide: str, line_keV: float):
    """What `Measured` takes for the scatter, and notes where the network that was asked for is not used."""
    if setup.scatter == "tew" and nuclide == "90Y":
        do = 'use scatter="network" (by default a fitted multiple of the lower window) or None'
        raise InputError(describe("scatter", '"tew" for 90Y', "a method for windows that all hold primary photons", do))
    if setup.scatter != "network":
        return setup.scatter, []
    from imaging.networks.scatter import estimated_scatter

    where = f"projections {projections.series_uid_hash}"
    found = estimated_scatter(projections, ct and ct.volume, nuclide=nuclide, line_keV=line_keV)
    if found.choice.method == "network":
        return found.estimate, [f"{where}: {SHARED}"]
    return found.estimate, [f"{where}: scatter by windows, not by the network: {one}" for one in found.choice.reasons]


def _said_of_attenuation(projections: Projections, ct: ImageSeries | None, line_keV: float) -> list[str]:
    from imaging.reconstruct.attenuation import uncovered_with_counts

    where = f"projections {projections.series_uid_hash}"
    if ct is None:
        return [f"{where}: no CT in their frame, so no attenuation correction: activities are several times too low"]
    share = uncovered_with_counts(projections, ct.volume, line_keV)
    if share <= NOTED_UNCOVERED:
        return []
    return [
        f"{where}: {share:.0%} of the counts lie level with slices that the CT does not show, and are too low there"
    ]


def _live(projections: Projections, dead_time_us: float):
    """Counted over true rate of each view, and a note where no dead time is undone though the rate is high.

    The sum of the windows stands for the head's whole rate, and is below it.
    """
    rates = projections.counts.sum(axis=(0, 2, 3), dtype=float) / projections.frame_s
    if dead_time_us > 0:
        return live_fraction(rates, dead_time_us * 1e-6), []
    if rates.max() <= HIGH_RATE_cps:
        return None, []
    said = f"{rates.max():.0f} counts per second in the windows of a head"
    return None, [f"projections {projections.series_uid_hash}: {said}, and no dead time is undone (dead_time_us)"]


def _free_name(name: str, taken) -> str:
    """The name, or with a number behind it where an earlier bed has it."""
    names = (name, *(f"{name}-{k}" for k in range(2, len(taken) + 3)))
    return next(free for free in names if free not in taken)


def _collimator(projections: Projections, setup: CameraSetup) -> tuple[str, bool]:
    """The header's collimator where it is known, else the calibration's, and whether the two can be compared."""
    from imaging.reconstruct import collimators

    own, is_known = setup.calibration.collimator, projections.collimator in collimators()
    return (projections.collimator if is_known else own), is_known and bool(own)


def _settings(setup: CameraSetup) -> dict | None:
    """What the calibration names of the reconstruction, as it is run here; None for a planar calibration."""
    named = setup.calibration.settings or {}
    here = {name: getattr(setup, name) for name in ("iterations", "subsets", "scatter", "scatter_fwhm_mm", "engine")}
    return {name: here.get(name, value) for name, value in named.items()} or None


def _peak(projections: Projections, calibration: CameraCalibration) -> EnergyWindow:
    """The peak window that the calibration was made in."""
    middle = sum(calibration.window_keV) / 2
    for window in projections.windows:
        if window.role == "peak" and window.lower_keV <= middle <= window.upper_keV:
            return window
    found = "no peak window about the calibration's"
    do = "calibrate in the window that is acquired, or acquire the one that was calibrated"
    raise ImageError(describe("projections.windows", found, "the calibrated window", do))
