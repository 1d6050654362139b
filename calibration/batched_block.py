"""One block of patients in lockstep, for `batched`: who can be solved, sweeps to the optimum, what is read there."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import jax
import numpy as np

from calibration.batched_model import Asked, Block, Seen, block, frozen, seen, slopes
from calibration.batched_steps import Place, Target, target
from dose.errors import InputError
from pbpk.check import impossible
from pbpk.kinetics import Kinetics
from pbpk.solve import Grid

CONVERGED = 0.1
"""Length of the next step, in posterior standard deviations, up to which the optimum is held to be reached."""


class Status(IntEnum):
    """As `pbpk.batch.Status`; of a patient not converged the numbers stand, of the three before they are NaN."""

    OK = 0
    STEP_LIMIT = 1
    NOT_FINITE = 2
    IMPOSSIBLE = 3
    NOT_CONVERGED = 4


class Sweep(NamedTuple):
    """A Jacobian by `each` parameter (or by kinds, for moving only), and the steps that are made with it."""

    each: bool
    steps: int


class Patients(NamedTuple):
    """What differs between patients, the patient axis last everywhere: `noise` [observation, observation, patient],
    `mean` [parameter, patient], `covariance` [parameter, parameter, patient], `follow` [parameter, error, patient]."""

    kinetics: Kinetics
    activity_MBq: np.ndarray
    amount_nmol: np.ndarray
    cold_nmol: np.ndarray
    log_seen: np.ndarray
    noise: np.ndarray
    mean: np.ndarray
    covariance: np.ndarray
    follow: np.ndarray

    @property
    def count(self) -> int:
        return self.log_seen.shape[-1]

    def take(self, which) -> Patients:
        return jax.tree.map(lambda x: np.asarray(x)[..., which], self)


class Optimum(NamedTuple):
    """Of a block: offsets `mean` [lane, parameter], their covariance `spread` [lane, parameter, parameter] and `follow`
    [lane, parameter, error] given the shared errors; `values` and `slopes` of what is seen; `chi2`, `status` [lane]."""

    mean: np.ndarray
    spread: np.ndarray
    follow: np.ndarray
    values: Seen
    slopes: Seen
    chi2: np.ndarray
    status: np.ndarray


class Begun(NamedTuple):
    """A block with what it aims at, and its step sequence at the prior's means; none where the step limit is hit."""

    of: Block
    aim: Target
    grid: Grid | None


def optimum(patients: Patients, asked: Asked, loads: np.ndarray, sweeps: tuple[Sweep, ...]) -> Optimum:
    """The optimum of every lane; lanes that cannot be solved take part as copies of one that can, and are marked.

    `loads` [observation, error] of the shared errors.
    """
    status = _screened(patients)
    while np.any(status == Status.OK):
        sound = np.flatnonzero(status == Status.OK)
        mine = patients.take(np.where(status == Status.OK, np.arange(patients.count), sound[0]))
        begun = _begun(mine, asked)
        if begun.grid is not None:
            return _found(begun.of, begun.aim, begun.grid, asked, loads, mine.follow, sweeps, status)
        alone = [_begun(patients.take([k]), asked).grid is None for k in sound]
        status[sound] = np.where(alone, Status.STEP_LIMIT, Status.OK)
    return _nothing(patients, asked, loads, status)


def _screened(patients: Patients) -> np.ndarray:
    """Status [lane] by the inputs alone; a scan that was not made (NaN) is no fault."""
    given = (patients.activity_MBq, patients.amount_nmol)
    good = np.all([np.isfinite(x) & (x > 0) for x in given], axis=0) & (patients.cold_nmol >= 0)
    good &= ~np.any(np.isinf(patients.log_seen), axis=0)
    for x in (patients.mean, patients.covariance, patients.follow, patients.noise):
        good &= np.all(np.isfinite(x), axis=tuple(range(x.ndim - 1)))
    good &= _have_roots(patients.covariance) & _have_roots(patients.noise)
    return np.where(impossible(patients.kinetics), Status.IMPOSSIBLE, np.where(good, Status.OK, Status.NOT_FINITE))


def _have_roots(covariance: np.ndarray) -> np.ndarray:
    """Lanes [lane] whose covariance [.., .., lane] is positive definite."""
    return np.array([_has_root(covariance[..., k]) for k in range(covariance.shape[-1])])


def _has_root(matrix: np.ndarray) -> bool:
    try:
        np.linalg.cholesky(matrix)
    except np.linalg.LinAlgError:
        return False
    return True


def _begun(patients: Patients, asked: Asked) -> Begun:
    of = block(patients.kinetics, patients.amount_nmol, patients.cold_nmol, asked)
    first = lambda x: np.ascontiguousarray(np.moveaxis(x, -1, 0))
    log_per_MBq = patients.log_seen - np.log(patients.activity_MBq)
    aim = target(patients.mean, first(patients.covariance), log_per_MBq, first(patients.noise))
    return Begun(of, aim, _frozen(of, patients.mean))


def _frozen(of: Block, offsets: np.ndarray) -> Grid | None:
    try:
        return frozen(of, offsets)
    except InputError:  # some lane needs more steps than it may take
        return None


def _found(of: Block, aim: Target, grid: Grid, asked: Asked, loads, follow, sweeps, status) -> Optimum:
    zero = np.zeros_like(aim.mean)
    place, slope = Place(zero, zero, zero, np.zeros(len(zero))), None
    for number, sweep in enumerate(sweeps):
        if number:
            grid = _frozen(of, aim.offsets(place.z)) or grid
        here, slope = slopes(of, grid, aim.offsets(place.z), asked.each if sweep.each else asked.kinds)
        place = place._replace(residual=aim.residual(here.log_activity), jacobian=aim.jacobian(slope.log_activity))
        for _ in range(sweep.steps):
            step = place.step()
            place = place.moved(step, aim.residual(seen(of, grid, aim.offsets(place.z + step)).log_activity))
    values = seen(of, grid, aim.offsets(place.z))
    return _read(aim, place, values, slope, loads, follow, status)


def _read(aim: Target, place: Place, values: Seen, slope: Seen, loads, follow, status) -> Optimum:
    spread = np.linalg.inv(place.information)
    away = np.sqrt(np.einsum("lp,lpq,lq->l", place.gradient, spread, place.gradient))
    of_prior = np.linalg.solve(aim.lower, np.moveaxis(follow, -1, 0))
    of_scans = np.swapaxes(place.jacobian, 1, 2) @ (aim.whiten @ loads)
    mean, upper = aim.offsets(place.z).T, np.swapaxes(aim.lower, 1, 2)
    status = np.where((status == Status.OK) & ~(away <= CONVERGED), Status.NOT_CONVERGED, status)
    chi2 = np.sum(place.residual**2, axis=1)
    new_follow = aim.lower @ spread @ (of_prior - of_scans)
    return Optimum(mean, aim.lower @ spread @ upper, new_follow, values, slope, chi2, status)


def _nothing(patients: Patients, asked: Asked, loads, status) -> Optimum:
    """Of a block in which nobody can be solved."""
    empty = lambda *shape: np.full(shape, np.nan)
    p, n = patients.mean.shape
    o, r = len(asked.scans.time_h), len(asked.scans.tia_weights)
    values, slope = Seen(empty(o, n), empty(r, n)), Seen(empty(o, p, n), empty(r, p, n))
    return Optimum(empty(n, p), empty(n, p, p), empty(n, p, loads.shape[1]), values, slope, empty(n), status)
