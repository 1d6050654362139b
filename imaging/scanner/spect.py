"""A SPECT acquisition of an activity that decays, or follows curves, while it is taken.

Counts of a view are the rates of `rates.count_rates` times the mean of the activity's course over that view's frame
(heads count at once: `Projections.view_start_s`), times the part that dead time leaves, plus the room's background.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.scanner.camera import CameraSpec
from imaging.scanner.counting import background_counts, live_fraction, mean_decay, mean_of_curve, poisson
from imaging.scanner.protocol import Protocol
from imaging.scanner.rates import count_rates
from imaging.series import Radiopharmaceutical


@dataclass(frozen=True)
class Timed:
    """A part of the body whose activity is `activity_Bq_per_mL` times `curve(time_h)`.

    `curve` takes an array of hours from the start of the scan and contains the physical decay.
    """

    activity_Bq_per_mL: Volume
    curve: Callable


def simulate_spect(
    activity_Bq_per_mL: Volume | Sequence[Timed],
    ct: Volume | None,
    camera: CameraSpec,
    protocol: Protocol,
    *,
    key=None,
    oversample: int = 2,
    started_at: datetime | None = None,
    given: Radiopharmaceutical | None = None,
) -> Projections:
    """Counts in all windows of the protocol.

    Args:
        activity_Bq_per_mL: at the start of the scan, decaying physically from then on; or parts with their curves.
        ct: in HU; None for a source in air.
        key: JAX key of the Poisson noise; None for the expected counts.
        oversample: parts that a detector pixel is divided in; cost grows with its cube.
        started_at, given: when the scan began and what was injected, for the header; neither changes a count.

    Raises:
        InputError: what the protocol, the camera's tables or the volumes do not allow.
    """
    empty = replace(protocol.acquisition(), started_at=started_at)
    if given is not None:
        empty = replace(empty, radiopharmaceutical=replace(given, nuclide=protocol.nuclide))
    return acquired(activity_Bq_per_mL, ct, camera, empty, key=key, oversample=oversample)


def acquired(activity, ct, camera: CameraSpec, empty: Projections, *, key=None, oversample: int = 2) -> Projections:
    """As `simulate_spect`, for an acquisition given as projections whose counts do not matter."""
    counts, pulses = np.zeros(empty.counts.shape), np.zeros(len(empty.angles_deg))
    for part, course in _parts(activity, empty):
        rates = count_rates(part, ct, empty, camera, oversample=oversample)
        counts += rates.total * (course * empty.frame_s)[:, None, None]
        pulses += rates.pulses_cps * course
    live = live_fraction(pulses, camera.dead_time_us)[:, None, None]
    expected = (counts + background_counts(empty, camera.background_cps_per_keV)) * live
    filled = expected if key is None else poisson(key, expected)
    return replace(empty, counts=filled, collimator=camera.collimator)


def _parts(activity, empty: Projections):
    """Each volume with the mean of its course over every view, [view]."""
    start, duration = empty.view_start_s(), empty.frame_s
    if isinstance(activity, Volume):
        half_life_h = radionuclide(str(empty.radiopharmaceutical.nuclide)).half_life_h
        return [(activity, mean_decay(start, duration, half_life_h))]
    return [(part.activity_Bq_per_mL, mean_of_curve(part.curve, start, duration)) for part in activity]
