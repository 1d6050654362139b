"""What scans at the same hours after each coming cycle show of a region's dose.

Over the posterior draws, log activity at the scans and log dose vary together. The best linear estimate of the log
dose from the scans of its own cycle has weights C_dose,scans C_scans^-1 (linear minimum mean square error), where
C_scans holds what the draws, the drift of uptake and the scans' errors (`calibration.noise`) add. Errors that scans
share, such as the camera's calibration, are shared between the cycles too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from calibration import noise
from calibration.observations import Observations
from dose.errors import InputError, describe
from twin.outlook import Outlook
from twin.planning.problem import Variables

COUNTING = 0.03
"""Share of the activity that a scan's counting noise is taken for."""
PROTOCOLS = ((24.0,), (96.0,), (24.0, 96.0), (24.0, 72.0, 168.0))
"""Hours after each administration that are tried where a stop rule is asked for without any."""


class Shown(NamedTuple):
    """`deviation` [draw, cycle, scan]: log activity less its mean over the draws, without drift; `weight` [cycle, scan]
    of the estimate of the log dose; `root` of the covariance of the scans' errors, in the order cycle, scan."""

    deviation: np.ndarray
    weight: np.ndarray
    root: np.ndarray

    def estimate(self, walk: np.ndarray, normal: np.ndarray) -> np.ndarray:
        """Estimated departure of the log dose from its mean [..., draw, cycle], from log drift [..., draw, cycle] and
        standard normal numbers [..., draw, cycle x scan]."""
        error = (normal @ self.root.T).reshape(*normal.shape[:-1], *self.weight.shape)
        return np.einsum("...cs,cs->...c", self.deviation + walk[..., None] + error, self.weight)


def shown_by(
    outlook: Outlook, v: Variables, cycles: int, region: int, times_h: Sequence[float], log_dose, drift_variance
) -> Shown:
    """Scans at `times_h` of each of `cycles`; `log_dose` [draw, cycle] without drift, `drift_variance` [cycle]."""
    seen = log_seen(outlook, v, cycles, region, times_h)
    deviation = seen - seen.mean(axis=0)
    covariance = _error_covariance(outlook, cycles, region, times_h, seen)
    count = len(times_h)
    weight = np.zeros((cycles, count))
    for c in range(cycles):
        own = slice(c * count, (c + 1) * count)
        away = log_dose[:, c] - log_dose[:, c].mean()
        spread = deviation[:, c].T @ deviation[:, c] / len(away) + drift_variance[c] + covariance[own, own]
        weight[c] = np.linalg.solve(spread, deviation[:, c].T @ away / len(away) + drift_variance[c])
    return Shown(deviation, weight, np.linalg.cholesky(covariance))


def checked_times(outlook: Outlook, protocols: Sequence[Sequence[float]]) -> None:
    """Refuse hours that the outlook's curves do not hold.

    Raises:
        InputError: hours outside of them, twice the same, or a protocol without any.
    """
    low, high = outlook.time_h[0], outlook.time_h[-1]
    for hours in protocols:
        if not hours or len(set(hours)) < len(hours) or min(hours) < low or max(hours) > high:
            expected = f"different hours from {low:g} to {high:g} h after administration"
            raise InputError(describe("scans: times_h", f"{list(hours)}", expected, "choose other hours"))


def log_seen(outlook: Outlook, v: Variables, cycles: int, region: int, times_h: Sequence[float]) -> np.ndarray:
    """Log activity (MBq) at hours of each cycle, [draw, cycle, scan], without drift and trend."""
    basis = np.asarray(outlook.surfaces.amount.basis(np.asarray(v.amount_nmol)[:cycles]))
    log = np.einsum("ca,adt->dct", basis, np.asarray(outlook.surfaces.activity[:, :, region]))
    at = np.apply_along_axis(lambda curve: np.interp(times_h, outlook.time_h, curve), 2, log)
    return at + np.log(np.maximum(np.asarray(v.activity_MBq)[:cycles, None], 1e-9))


def _error_covariance(outlook: Outlook, cycles: int, region: int, times_h, seen: np.ndarray) -> np.ndarray:
    """Of the log of what SPECT shows, own and shared errors, [cycle x scan, cycle x scan]."""
    activity = np.exp(np.median(seen, axis=0)).ravel()
    count = len(activity)
    number = np.repeat(outlook.example.cycle + np.arange(cycles), len(times_h))
    name, hours = (outlook.regions[region],) * count, np.tile(times_h, cycles)
    scans = Observations(
        name, hours, activity, COUNTING * activity, np.full(count, np.nan), ("SPECT",) * count, tuple(number)
    )
    return noise.covariance(scans)
