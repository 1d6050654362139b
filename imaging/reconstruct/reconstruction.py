"""From the projections of a camera to Bq/mL at the start of the scan, and to MBq of regions with their covariance.

One call states the whole measurement: attenuation, blur, scatter of the energy windows, decay while the camera turns,
dead time, and the camera's sensitivity. The same statement makes the image (`reconstruct`) and the uncertainty that
counting leaves in regions (`reconstruct_regions`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.reconstruct.decaying import decaying, view_weights
from imaging.reconstruct.engine import pytomography_osem
from imaging.reconstruct.iterations import Settings
from imaging.reconstruct.osem import Reconstruction, reconstruction
from imaging.reconstruct.response import DetectorResponse
from imaging.reconstruct.scatter import ScatterEstimate, dew, has_window, tew
from imaging.reconstruct.system import spect_system
from imaging.reconstruct.uncertainty import RegionTotals, region_uncertainty
from imaging.series import ImageSeries


@dataclass(frozen=True)
class Measured:
    """How a camera sees: everything that `reconstruct` needs to know beside the projections.

    Attributes:
        cps_per_MBq: counts per second of one head in the peak window per MBq, without attenuation and scatter.
        response: blur by collimator and crystal, None for none.
        attenuation_per_mm: on the grid of the projections, None for none.
        scatter: "tew", "dew", None, or an estimate made before. "tew" takes the upper window for empty where the
            line has none (99mTc).
        scatter_fwhm_mm: Gaussian that smooths a "tew" or "dew" estimate, 0 for none.
        nuclide: the header's by default.
        line_keV: of the peak, where the acquisition has several.
        reach_mm: voxels farther from the axis are empty (`spect_system`); not with PyTomography.
        live_fraction: counted over true rate of each view [view] (`imaging.dead_time.live_fraction`), None for no dead
            time. The projections are given as counted: so counts and scatter windows stay Poisson.

    Raises:
        InputError: a sensitivity not above zero, or an unknown kind of scatter correction.
    """

    cps_per_MBq: float
    response: DetectorResponse | None
    attenuation_per_mm: Volume | None = None
    scatter: str | ScatterEstimate | None = "tew"
    scatter_fwhm_mm: float = 0.0
    nuclide: str | None = None
    line_keV: float | None = None
    reach_mm: float | None = None
    live_fraction: np.ndarray | None = None

    def __post_init__(self):
        if not (np.isfinite(self.cps_per_MBq) and self.cps_per_MBq > 0):
            do = "measure it (a source of known activity in air)"
            raise InputError(describe("cps_per_MBq", f"{self.cps_per_MBq:g}", "a finite number above zero", do))
        if isinstance(self.scatter, str) and self.scatter not in ("tew", "dew"):
            raise InputError(describe("scatter", f'"{self.scatter}"', '"tew", "dew" or None', "choose one"))


def reconstruct(
    acquisition: Projections, measured: Measured, settings: Settings | None = None, *, engine: str = "own"
) -> ImageSeries:
    """The image in Bq/mL at the start of the acquisition.

    `engine` "pytomography" runs the same OSEM through PyTomography (extra `spect`). The default settings are OSEM of 4
    iterations with 8 subsets.

    Raises:
        InputError: settings out of range, an unknown engine, PyTomography not installed, or a reach with it.
        ImageError: windows, counts, nuclide or geometry that cannot be used.
    """
    settings = settings or Settings()
    scatter, nuclide = _scatter(acquisition, measured), _nuclide(acquisition, measured)
    if engine == "own":
        system = _system(acquisition, measured, nuclide)
        made = reconstruction(acquisition, system, settings, scatter=scatter, line_keV=measured.line_keV)
    elif engine == "pytomography":
        made = _by_pytomography(acquisition, measured, settings, scatter, nuclide)
    else:
        raise InputError(describe("engine", f'"{engine}"', '"own" or "pytomography"', "choose one"))
    return _series(acquisition, measured, nuclide, made)


def reconstruct_regions(
    acquisition: Projections, measured: Measured, masks, settings: Settings | None = None
) -> RegionTotals:
    """Activities of regions in MBq at the start of the acquisition, and their covariance in MBq^2.

    The covariance holds the counting statistics of the peak and of the scatter windows, nothing else: calibration,
    partial volume and contours come on top. `masks` are Volumes or arrays on the grid of the projections.

    Raises:
        InputError, ImageError: as `reconstruct`; ImageError too for masks on another grid.
    """
    system = _system(acquisition, measured, _nuclide(acquisition, measured))
    scatter = _scatter(acquisition, measured)
    chosen = settings or Settings()
    made = region_uncertainty(acquisition, system, chosen, masks, scatter=scatter, line_keV=measured.line_keV)
    return RegionTotals(made.total / measured.cps_per_MBq, made.covariance / measured.cps_per_MBq**2)


def _scatter(acquisition: Projections, measured: Measured) -> ScatterEstimate | None:
    if not isinstance(measured.scatter, str):
        return measured.scatter
    given = {"line_keV": measured.line_keV, "fwhm_mm": measured.scatter_fwhm_mm}
    if measured.scatter == "dew":
        return dew(acquisition, **given)
    return tew(acquisition, has_upper=has_window(acquisition, "upper", measured.line_keV), **given)


def _nuclide(acquisition: Projections, measured: Measured) -> str:
    nuclide = measured.nuclide or acquisition.radiopharmaceutical.nuclide
    if nuclide is None:
        raise ImageError(describe("projections.radiopharmaceutical", "no nuclide", "one", "give measured.nuclide"))
    return nuclide


def _system(acquisition: Projections, measured: Measured, nuclide: str):
    parts = {name: getattr(measured, name) for name in ("response", "attenuation_per_mm", "reach_mm")}
    return decaying(spect_system(acquisition, **parts), acquisition, nuclide, measured.live_fraction)


def _by_pytomography(acquisition, measured: Measured, settings, scatter, nuclide: str) -> Reconstruction:
    if measured.reach_mm is not None:
        do = 'leave reach_mm out, or use engine="own"'
        raise InputError(describe("reach_mm", "a reach for PyTomography", "none: its field is the detector's", do))
    return pytomography_osem(
        acquisition,
        settings,
        response=measured.response,
        attenuation_per_mm=measured.attenuation_per_mm,
        scatter=None if scatter is None else scatter.counts,
        view_weight=view_weights(acquisition, nuclide, measured.live_fraction),
        line_keV=measured.line_keV,
    )


def _series(acquisition: Projections, measured: Measured, nuclide: str, made: Reconstruction) -> ImageSeries:
    Bq_per_mL = 1e6 / measured.cps_per_MBq / made.volume.voxel_mL
    return ImageSeries(
        volume=made.volume.with_array(made.volume.array * np.float32(Bq_per_mL)),
        modality="SPECT",
        unit="Bq/mL",
        series_uid_hash=acquisition.series_uid_hash,
        frame_hash=acquisition.frame_hash,
        kind_reason=f"reconstructed here: {made.algorithm}, {made.iterations} x {made.subsets}",
        decay_correction="START",
        reference_at=acquisition.started_at,
        radiopharmaceutical=replace(acquisition.radiopharmaceutical, nuclide=nuclide),
    )
