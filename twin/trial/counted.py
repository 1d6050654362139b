"""What counting and neighbours do to the scans of a trial, by the measurement model (`imaging.model = "measured"`).

The model knows organs, tumours of a few sizes and the rest of the body (docs/imaging-measurement-model.md). A class of
n lesions is read like n tumours of its lesions' mean volume, between the model's sizes on a log scale: its own activity
has their recovery and noise, and organs and the rest spill into each lesion. Tumours spill into organs, not into each
other. Sizes are those before the therapy.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np

from twin.study import split_tracer
from twin.trial.design import Imaging, Regimen
from twin.trial.people import Group
from twin.trial.physics import Truth

LARGEST = 2.0
"""Sd of a log error that counting is taken for at most."""

LEAST_READ = 0.05
"""Least total that is read, as a share of what a region's own activity gives: what is subtracted can overshoot."""

REST = "remainder"


class Counted(NamedTuple):
    """Of the log of measured activities: `shift` by spill-over and `sd` by counting, [patient, region, scan] (or a
    plain 0: nothing known)."""

    shift: np.ndarray | float
    sd: np.ndarray | float


class Reading(NamedTuple):
    """The measurement model's arrays: `response` [region, source] and `offset` [region], `variance` [region, source]
    for each MBq and `room` [region], of one scan."""

    regions: tuple[str, ...]
    response: np.ndarray
    offset: np.ndarray
    variance: np.ndarray
    room: np.ndarray
    sizes: tuple[tuple[int, float], ...]
    """Index and volume (mL) of its tumours, by volume."""


@cache
def reading_of(nuclide: str, correction: str, scan_min: float | None) -> Reading:
    """The shipped measurement model of a nuclide for scans of this time.

    Raises:
        InputError: none is shipped.
    """
    from imaging.scanner.measurement_file import measurement_model, tumour_volumes_mL

    model = measurement_model(nuclide)
    sizes = tumour_volumes_mL(model)
    model = model.undone() if correction == "gtm" else model
    time_s = float(model.scan_time_s) if scan_min is None else 60 * scan_min
    variance = np.einsum("kkj->kj", np.asarray(model.noise_MBq_s)) / time_s
    room = np.diag(np.asarray(model.room_MBq2_s)) / time_s
    places = tuple(sorted(((model.regions.index(n), mL) for n, mL in sizes.items()), key=lambda s: s[1]))
    return Reading(model.regions, np.asarray(model.response), np.asarray(model.offset_MBq), variance, room, places)


def counted(arm: Regimen, truth: Truth, group: Group, activity_MBq: np.ndarray, rest_MBq: np.ndarray) -> Counted:
    """Shift and sd of an arm's scans at true activities [patient, region, scan], the rest of the body [patient, scan].
    Zeros where the design does not ask for the measurement model."""
    if arm.imaging.model == "constant":
        return Counted(0.0, 0.0)
    return of_totals(*totals(reading_for(arm), truth, group, activity_MBq, rest_MBq), activity_MBq)


def reading_for(arm: Regimen) -> Reading:
    """The measurement model of an arm's scans."""
    imaging: Imaging = arm.imaging
    return reading_of(split_tracer(arm.tracer, "tracer")[1], imaging.correction, imaging.scan_min)


def of_totals(found: np.ndarray, variance: np.ndarray, true: np.ndarray) -> Counted:
    """Of mean activities as found, their variance, and true ones; all of one shape."""
    safe = np.maximum(found, LEAST_READ * true)
    return Counted(np.log(safe / true), np.minimum(np.sqrt(np.log1p(variance / safe**2)), LARGEST))


def totals(reading: Reading, truth: Truth, group: Group, activity_MBq: np.ndarray, rest_MBq: np.ndarray):
    """Mean and variance of the activities found, every region over its own recovery, [patient, region, scan] each."""
    tumours, organs = truth.tumours, np.setdiff1d(np.arange(activity_MBq.shape[1]), truth.tumours)
    rows, sizes = [reading.regions.index(truth.regions[k]) for k in organs], [place for place, _ in reading.sizes]
    around = np.zeros((len(activity_MBq), len(reading.regions), activity_MBq.shape[2]))
    around[:, rows], around[:, reading.regions.index(REST)] = activity_MBq[:, organs], rest_MBq
    weights, lesions = _between_sizes(reading, group)
    sources = around.copy()
    sources[:, sizes] = np.einsum("pct,pcs->pts", weights, activity_MBq[:, tumours])
    of_size = lambda values: np.einsum("pct,t...->pc...", weights, values)

    def read(matrix: np.ndarray, constant: np.ndarray) -> np.ndarray:
        found = np.zeros_like(activity_MBq)
        found[:, organs] = _sum(matrix[rows], sources) + constant[rows][:, None]
        into_each = _sum(matrix[sizes], around) + constant[sizes][:, None]
        own = of_size(matrix[sizes, sizes])[..., None] * activity_MBq[:, tumours]
        found[:, tumours] = own + lesions[..., None] * np.einsum("pct,pts->pcs", weights, into_each)
        return found

    recovery = np.ones(activity_MBq.shape[:2])
    recovery[:, organs], recovery[:, tumours] = reading.response[rows, rows], of_size(reading.response[sizes, sizes])
    recovery = recovery[..., None]
    return read(reading.response, reading.offset) / recovery, read(reading.variance, reading.room) / recovery**2


def _sum(matrix: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """[patient, region, scan]."""
    return np.einsum("kj,pjs->pks", matrix, sources)


def _between_sizes(reading: Reading, group: Group) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the model's sizes for each class by its lesions' mean volume, [patient, class, size], and numbers of
    lesions, at least one, [patient, class]."""
    classes = group.class_mL.shape[1]
    number = np.stack([np.sum(group.classes == c, axis=1) for c in range(classes)], axis=1)
    log_mL = np.log(group.class_mL / np.maximum(number, 1))
    known = np.log([mL for _, mL in reading.sizes])
    weights = np.stack([np.interp(log_mL, known, unit) for unit in np.eye(len(known))], axis=-1)
    return weights, np.maximum(number, 1)
