"""Fitting the fast measurement model to the full one: each source simulated alone, one linearised reconstruction.

Counts are linear in the activities of the sources (without dead time), so K simulations without noise give the counts
p_j of one MBq of each. At a reference pattern A0 the reconstruction of y0 = sum_j p_j A0_j is made, and the derivative
J_k of each region's total by every count of every window is taken back through all its updates
(`reconstruct.uncertainty`). Then, for a scan of T seconds,

    R_kj = J_k . p_j,    V_klj = T sum_i J_ki J_li p_ij

The EM update is homogeneous of degree one in image, counts and scatter: a scan twice as long, or twice the activity
everywhere, leaves J as it is, and R A0 is the noise-free image's own total. Only other *ratios* of activities move J.
Several beds are fitted one by one; a region is read in the bed that holds most of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from imaging.reconstruct import attenuation_map, collimator_response
from imaging.reconstruct.decaying import decaying
from imaging.reconstruct.osem import reconstruction
from imaging.reconstruct.response import DetectorResponse
from imaging.reconstruct.scatter import tew
from imaging.reconstruct.system import spect_system
from imaging.reconstruct.uncertainty import region_sensitivities
from imaging.scanner.counting import poisson
from imaging.scanner.measured_scan import Bed, Scan, bed_time_s, beds_of, reach_mm_of
from imaging.scanner.measurement_file import checked
from imaging.scanner.measurement_model import MeasurementModel
from imaging.scanner.phantom import calibration_cylinder
from imaging.scanner.spect import simulate_spect

STEP = 0.05
"""Relative change of the reconstructed blur by which its slope is taken."""

CYLINDER_MBq = 500.0


def _response(scan: Scan, wider: float = 1.0) -> DetectorResponse:
    found = collimator_response(scan.camera.collimator, scan.line_keV, scan.camera.intrinsic_fwhm_at(scan.line_keV))
    scaled = {n: getattr(found, n) * wider for n in ("slope", "offset_mm", "intrinsic_sigma_mm")}
    return replace(found, **scaled)


def _stated(scan: Scan, bed: Bed, counts, wider: float = 1.0):
    """Acquisition, system and scatter estimate of counts [window, view, v, u]."""
    acquisition = bed.acquisition.with_counts(counts)
    system = spect_system(
        acquisition, response=_response(scan, wider), attenuation_per_mm=bed.attenuation, reach_mm=bed.reach_mm
    )
    nuclide = str(acquisition.radiopharmaceutical.nuclide)
    scatter = tew(acquisition, line_keV=scan.line_keV, fwhm_mm=scan.scatter_fwhm_mm)
    return acquisition, decaying(system, acquisition, nuclide), scatter


def region_totals_MBq(scan: Scan, beds: Sequence[Bed], cps_per_MBq: float, activity_MBq, key=None) -> np.ndarray:
    """What the full model reads in each region, [region]: simulated counts (Poisson with a `key`), reconstructed."""
    found = np.zeros(len(scan.regions))
    for n, bed in enumerate(beds):
        counts = bed.counts(activity_MBq)
        drawn = counts if key is None else np.asarray(poisson(jax.random.fold_in(key, n), counts))
        acquisition, system, scatter = _stated(scan, bed, drawn)
        made = reconstruction(acquisition, system, scan.settings, scatter=scatter, line_keV=scan.line_keV)
        found[bed.rows] = np.einsum("kzyx,zyx->k", bed.masks, made.volume.array, dtype=float) / cps_per_MBq
    return found


def image_sensitivity(scan: Scan) -> float:
    """Counts per second in a reconstructed image for each MBq, by a cylinder of water as a site would measure it."""
    protocol = replace(scan.beds[0], centre_lps_mm=(0.0, 0.0, 0.0), radius_mm=float(np.mean(scan.beds[0].radius_mm)))
    filled = calibration_cylinder(CYLINDER_MBq)
    linear = replace(scan.camera, dead_time_us=0.0, background_cps_per_keV=0.0)
    seen = simulate_spect(filled.activity_Bq_per_mL, filled.ct, linear, protocol, oversample=scan.oversample)
    mu = attenuation_map(filled.ct, seen.grid(), scan.line_keV)
    bed = Bed(seen, np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), mu, reach_mm_of(mu, protocol))
    acquisition, system, scatter = _stated(scan, bed, seen.counts)
    made = reconstruction(acquisition, system, scan.settings, scatter=scatter, line_keV=scan.line_keV)
    return float(made.volume.array.sum(dtype=float)) / filled.activity_MBq


def fit_measurement_model(
    scan: Scan,
    reference_MBq: Mapping[str, float],
    *,
    beds: Sequence[Bed] | None = None,
    cps_per_MBq: float | None = None,
    calibration_cv: float = 0.0,
    blur_cv: float = 0.0,
    about: Mapping[str, str] | None = None,
) -> MeasurementModel:
    """The model of a scan, linear about the reference pattern.

    `beds` and `cps_per_MBq` are made here unless they are there already (`beds_of`, `image_sensitivity`).

    Raises:
        InputError: regions without a reference activity; what the simulation and the reconstruction do not allow.
    """
    if set(reference_MBq) != set(scan.regions) or min(reference_MBq.values()) <= 0:
        do = "give an activity for each region"
        raise InputError(describe("reference_MBq", f"{len(reference_MBq)} regions", "all, above zero MBq", do))
    beds = beds_of(scan) if beds is None else beds
    factor = image_sensitivity(scan) if cps_per_MBq is None else cps_per_MBq
    pattern = np.array([reference_MBq[name] for name in scan.regions])
    found = [_linear(scan, bed, pattern, factor) for bed in beds if len(bed.rows)]
    wider = [_linear(scan, bed, pattern, factor, 1 + STEP) for bed in beds if len(bed.rows)]
    parts = _joined([b for b in beds if len(b.rows)], found, len(scan.regions))
    slope = (_joined([b for b in beds if len(b.rows)], wider, len(scan.regions))[0] - parts[0]) / STEP
    time = bed_time_s(scan.beds[0])
    values = (parts[0], parts[1] * time, parts[2], parts[3] * time, slope, calibration_cv, blur_cv, time)
    words = tuple((str(k), str(v)) for k, v in (about or {}).items())
    return checked(MeasurementModel(*(jnp.asarray(v, dtype=float) for v in values), regions=scan.regions, about=words))


def _linear(scan: Scan, bed: Bed, pattern: np.ndarray, cps_per_MBq: float, wider: float = 1.0):
    """Response [row, source], noise [row, row, source], offset [row] and the room's noise of one bed."""
    acquisition, system, scatter = _stated(scan, bed, bed.counts(pattern), wider)
    found = region_sensitivities(acquisition, system, scan.settings, bed.masks, scatter=scatter, line_keV=scan.line_keV)
    to_counts, to_scatter = (a / cps_per_MBq for a in (found.to_counts, found.to_scatter))
    flat, peak = to_counts.reshape(len(bed.rows), -1), acquisition.window("peak", scan.line_keV)

    def of(counts: np.ndarray):
        estimate = tew(bed.acquisition.with_counts(counts), line_keV=scan.line_keV, fwhm_mm=scan.scatter_fwhm_mm)
        direct = counts[peak].astype(float).ravel()
        mean = flat @ direct + to_scatter.reshape(len(flat), -1) @ estimate.counts.astype(float).ravel()
        return mean, (flat * direct) @ flat.T + estimate.covariance(to_scatter)

    means, noises = zip(*(of(counts) for counts in bed.sources), strict=True)
    offset, room = of(bed.room)
    return np.stack(means, axis=-1), np.stack(noises, axis=-1), offset, room


def _joined(beds: Sequence[Bed], parts, count: int):
    """The beds' rows put together; noise of different beds is independent."""
    response, noise = np.zeros((count, count)), np.zeros((count, count, count))
    offset, room = np.zeros(count), np.zeros((count, count))
    for bed, (own, own_noise, own_offset, own_room) in zip(beds, parts, strict=True):
        pairs = np.ix_(bed.rows, bed.rows)
        response[bed.rows], noise[pairs] = own, own_noise
        offset[bed.rows], room[pairs] = own_offset, own_room
    return response, noise, offset, room
