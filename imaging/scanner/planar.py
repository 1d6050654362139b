"""Planar imaging: a whole body passing between two heads, and a vial in air for calibration.

The same rates as SPECT's, of two views: one in front (180 degrees) and one behind (0 degrees). In a whole-body scan the
table moves, so that each row of pixels is counted for the time that it takes to cross the head, rows at the head of
the body first; each row has its own decay.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.scanner.camera import CameraSpec
from imaging.scanner.counting import background_counts, live_fraction, mean_decay, poisson
from imaging.scanner.protocol import Protocol
from imaging.scanner.rates import count_rates
from imaging.scanner.spect import acquired

FRONT_BACK_deg = 180.0


def _opposed(protocol: Protocol) -> Protocol:
    """The protocol with two heads that stand still, in front and behind."""
    return replace(protocol, views=2, heads=2, start_deg=FRONT_BACK_deg, arc_deg=360.0)


def simulate_static(
    activity_Bq_per_mL: Volume, ct: Volume | None, camera: CameraSpec, protocol: Protocol, *, key=None, oversample=2
) -> Projections:
    """A planar acquisition of `protocol.frame_s` by both heads; for a vial in air give no `ct`.

    Raises:
        InputError: as `simulate_spect`.
    """
    empty = _opposed(protocol).acquisition()
    return acquired(activity_Bq_per_mL, ct, camera, empty, key=key, oversample=oversample)


def simulate_whole_body(
    activity_Bq_per_mL: Volume,
    ct: Volume | None,
    camera: CameraSpec,
    protocol: Protocol,
    *,
    speed_mm_per_s: float,
    head_length_mm: float = 400.0,
    key=None,
    oversample: int = 1,
) -> Projections:
    """A whole-body scan: `protocol.matrix` rows cover the body; `protocol.frame_s` is not used.

    A pixel is counted for head length / speed, which is `frame_s` of what is returned. Dead time is taken from all
    pulses of the rows under the head.

    Raises:
        InputError: a speed or length not above zero, or as `simulate_spect`.
    """
    if not (speed_mm_per_s > 0 and head_length_mm > 0):
        found = f"{speed_mm_per_s:g} mm/s, {head_length_mm:g} mm"
        raise InputError(describe("speed_mm_per_s, head_length_mm", found, "values above zero", "correct them"))
    dwell_s = head_length_mm / speed_mm_per_s
    empty = replace(_opposed(protocol), frame_s=dwell_s).acquisition()
    rates = count_rates(activity_Bq_per_mL, ct, empty, camera, oversample=oversample)
    course = _row_course(empty, dwell_s, speed_mm_per_s)
    counts = rates.total * (course * dwell_s)[:, None]
    live = _row_live(rates, camera, empty, head_length_mm)[:, :, None]
    length_mm = empty.counts.shape[2] * empty.pixel_mm
    room = background_counts(empty, camera.background_cps_per_keV) * length_mm / head_length_mm
    expected = (counts + room) * live
    seen = expected if key is None else poisson(key, expected)
    return replace(empty, counts=seen, collimator=camera.collimator, scan_velocity_mm_per_s=speed_mm_per_s)


def _row_course(empty: Projections, dwell_s: float, speed_mm_per_s: float) -> np.ndarray:
    """Mean decay of each row, [v]: the last row, at the head of the body, is counted first."""
    rows = empty.counts.shape[2]
    start_s = (rows - 1 - np.arange(rows)) * empty.pixel_mm / speed_mm_per_s
    return mean_decay(start_s, dwell_s, radionuclide(str(empty.radiopharmaceutical.nuclide)).half_life_h)


def _row_live(rates, camera: CameraSpec, empty: Projections, head_length_mm: float) -> np.ndarray:
    """Live part of each view and row, [view, v]: pulses shared among rows as the counts of all windows are."""
    profile = rates.total.sum(axis=(0, 3), dtype=float)
    share = profile / np.maximum(profile.sum(axis=1, keepdims=True), 1e-30)
    under = np.ones(max(1, round(head_length_mm / empty.pixel_mm)))
    pulses = np.stack([np.convolve(p, under, mode="full") for p in share]) * rates.pulses_cps[:, None]
    first = (len(under) - 1) // 2
    return live_fraction(pulses[:, first : first + share.shape[1]], camera.dead_time_us)
