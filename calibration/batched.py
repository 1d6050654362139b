"""The Laplace posterior of many virtual patients at once, fast enough for trials in which a policy acts on each cycle.

The most probable offsets of `calibration.fit`, and the covariance about them, by blocks of patients in lockstep. A
sweep freezes the step sequence at the patients' offsets, takes the Jacobian by forward differences (`batched_lanes`: a
solve of the whole block for each parameter that the scans can feel, or, to get near, for each kind of them), and makes
a few steps of one solve each (`batched_steps`). The last sweep's Jacobian gives covariance and slopes.
Parameters without a lane follow through the prior's correlations. Errors that scans share are part of the noise's
covariance, or, as in `calibration.problem`, not learnt (`Shared`). What is left out: docs/calibration-batched.md.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from calibration.batched_block import Optimum, Patients, Status, Sweep, optimum
from calibration.batched_lanes import Scans, each, kinds, scans_of
from calibration.batched_model import Asked, Given
from dose.errors import InputError, describe
from dose.nuclides import Radionuclide
from pbpk.batch import in_threads
from pbpk.check import require_double
from pbpk.kinetics import Kinetics

__all__ = [
    "BLOCK",
    "Fitted",
    "Given",
    "Scans",
    "Shared",
    "Status",
    "Sweep",
    "carried",
    "laplace_batch",
    "log_tia_sd",
    "scans_of",
]

BLOCK = 48
"""Patients solved in lockstep; block k holds patients 48k to 48k + 47, the last one filled up with its last patient."""
SWEEPS = (Sweep(False, 6), Sweep(False, 6), Sweep(True, 6))
"""Two cheap Jacobians bring a patient near, a full one the rest (docs/calibration-batched.md has what others give)."""


class Shared(NamedTuple):
    """Errors that several scans share and the fit does not learn: `loads` [observation, error] on the log and their
    `covariance` [error, error]; `noise_covariance` is then that of the scans' own errors alone. `follow` [patient,
    parameter, error] is how the prior's mean goes with them, from earlier cycles of the same camera (none: not at all).
    """

    loads: np.ndarray
    covariance: np.ndarray
    follow: np.ndarray | None = None


class Fitted(NamedTuple):
    """Posteriors of all patients, the patient axis as named; NaN where `status` says that nothing could be solved.

    `mean` [parameter, patient] log offsets; `covariance` [patient, parameter, parameter], which is `given_errors` and
    what shared errors add through `follow` [patient, parameter, error]. At the mean: `log_activity` [observation,
    patient] of the activity given (MBq); `log_tia` [region, patient] per activity given (MBq h per MBq) of this cycle
    alone, followed to the end; `tia_slope` [region, parameter, patient], its derivatives. `chi2` [patient] of scans.
    """

    mean: np.ndarray
    covariance: np.ndarray
    log_activity: np.ndarray
    log_tia: np.ndarray
    tia_slope: np.ndarray
    chi2: np.ndarray
    status: np.ndarray
    given_errors: np.ndarray
    follow: np.ndarray


def laplace_batch(
    kin: Kinetics,
    nuclide: Radionuclide,
    given: Given,
    names: tuple[str, ...],
    prior_mean: np.ndarray,
    prior_covariance: np.ndarray,
    scans: Scans,
    log_seen: np.ndarray,
    noise_covariance: np.ndarray,
    *,
    shared: Shared | None = None,
    sweeps: tuple[Sweep, ...] = SWEEPS,
) -> Fitted:
    """Maximum of the posterior and Laplace's covariance of every patient after one cycle's scans.

    Args:
        kin: what the estimator takes for known of each patient, at the prior's medians; one column or [.., patient].
        names: parameters that offsets move (`calibration.parameters.Scaling`).
        prior_mean: log offsets [parameter, patient] before the scans.
        prior_covariance: [parameter, parameter], or [patient, parameter, parameter] as `carried` gives it.
        log_seen: log activity (MBq) [observation, patient]; NaN where a patient was not scanned.
        noise_covariance: of the logs, [observation, observation] or [patient, observation, observation].
        shared: errors that are not learnt.
        sweeps: Jacobians and the steps made with each; the last is of each parameter, for the covariance.

    Raises:
        InputError: double precision is off; arrays whose shapes do not go together; a last sweep by kinds.
    """
    require_double()
    patients, loads = _patients(kin, given, prior_mean, prior_covariance, log_seen, noise_covariance, shared)
    _require_shapes(patients, loads, names, scans)
    _require_last(sweeps)
    groups = each(names, kin.organs, scans), kinds(names, kin.organs, scans)
    asked = Asked(names, scans, nuclide.half_life_h, given.infusion_h, given.cold_lead_h, *groups)
    firsts = range(0, patients.count, BLOCK)
    run = lambda first: _block(patients, first, asked, loads, shared, sweeps)
    return _joined(in_threads(run, firsts))


def carried(fitted: Fitted, drift_covariance: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`prior_mean`, `prior_covariance` and `Shared.follow` of the next cycle; `drift_covariance` [parameter, parameter]
    is that of the change in between (`calibration.sequential.drift_covariance`)."""
    return fitted.mean, fitted.given_errors + drift_covariance, fitted.follow


def log_tia_sd(fitted: Fitted) -> np.ndarray:
    """Standard deviation of the log of each region's time integral, [region, patient], to first order."""
    slope = np.moveaxis(fitted.tia_slope, -1, 0)
    return np.sqrt(np.einsum("nrp,npq,nrq->rn", slope, fitted.covariance, slope))


def _patients(kin, given: Given, mean, covariance, log_seen, noise, shared) -> tuple[Patients, np.ndarray]:
    log_seen, mean = np.asarray(log_seen, float), np.asarray(mean, float)
    observations, count = log_seen.shape
    each = lambda x: np.broadcast_to(np.asarray(x, float), (count,))
    last = lambda x: np.moveaxis(np.broadcast_to(x, (count, *np.shape(x)[-2:])), 0, -1)
    loads = np.zeros((observations, 0)) if shared is None else np.asarray(shared.loads, float)
    follow = None if shared is None else shared.follow
    follow = np.zeros((len(mean), loads.shape[1])) if follow is None else np.asarray(follow, float)
    wide = kin if kin.patients == count else jax.tree.map(lambda x: np.broadcast_to(x, (*x.shape[:-1], count)), kin)
    amounts = each(given.activity_MBq), each(given.amount_nmol), each(given.cold_nmol)
    return Patients(wide, *amounts, log_seen, last(noise), mean, last(covariance), last(follow)), loads


def _require_shapes(patients: Patients, loads: np.ndarray, names, scans: Scans) -> None:
    p, o, e, n = len(names), len(scans.time_h), loads.shape[1], patients.count
    expected = {"log_seen": (o, n), "noise": (o, o, n), "mean": (p, n), "covariance": (p, p, n), "follow": (p, e, n)}
    for field, shape in expected.items():
        found = np.shape(getattr(patients, field))
        if found != shape:
            do = "give one row a parameter of names or observation of scans, and one column a patient"
            raise InputError(describe(f"laplace_batch: {field}", f"shape {found}", f"{shape}", do))


def _require_last(sweeps: tuple[Sweep, ...]) -> None:
    if not sweeps or not sweeps[-1].each:
        do = "end with Sweep(True, steps)"
        raise InputError(describe("laplace_batch: sweeps", f"{sweeps}", "a last one of each parameter", do))


def _block(patients: Patients, first: int, asked: Asked, loads, shared: Shared | None, sweeps) -> Fitted:
    """The results of one block's patients."""
    which = np.minimum(np.arange(first, first + BLOCK), patients.count - 1)
    mine = patients.take(which)
    found = optimum(mine, asked, loads, sweeps)
    full = _fitted(found, mine, np.zeros((0, 0)) if shared is None else np.asarray(shared.covariance, float))
    return jax.tree.map(lambda x: x[..., : patients.count - first], full)


def _fitted(found: Optimum, patients: Patients, errors: np.ndarray) -> Fitted:
    """Patient axes last, as `_joined` wants them; numbers that mean nothing are NaN."""
    covariance = found.spread + found.follow @ errors @ np.swapaxes(found.follow, 1, 2)
    unusable = np.isin(found.status, (Status.STEP_LIMIT, Status.NOT_FINITE, Status.IMPOSSIBLE))
    hidden = lambda x: np.where(unusable, np.nan, x)
    last = lambda x: hidden(np.moveaxis(x, 0, -1))
    values = found.values
    log_activity = hidden(values.log_activity + np.log(patients.activity_MBq))
    rows = (log_activity, hidden(values.log_tia), hidden(found.slopes.log_tia), hidden(found.chi2), found.status)
    return Fitted(last(found.mean), last(covariance), *rows, last(found.spread), last(found.follow))


def _joined(parts: list[Fitted]) -> Fitted:
    whole = Fitted(*(np.concatenate(x, axis=-1) for x in zip(*parts, strict=True)))
    first = lambda x: np.ascontiguousarray(np.moveaxis(x, -1, 0))
    return whole._replace(
        covariance=first(whole.covariance), given_errors=first(whole.given_errors), follow=first(whole.follow)
    )
