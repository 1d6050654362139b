"""What a set of scans can say about each parameter: Fisher information of the log parameters, with and without prior.

With J the derivatives of the log activities by the log parameters and C the covariance of the noise, the data's
information is F = J' C^-1 J and the posterior's F + P^-1, P the prior covariance. The eigenvectors of F with large
values are combinations that the scans measure (stiff), those with small values combinations that no fit of these scans
can tell (sloppy). F is local: what holds far from the point is asked of `calibration.profile`.

References: Gutenkunst et al., PLoS Comput Biol 2007;3:e189 (stiff and sloppy); Brun, Reichert, Kuensch, Water Resour
Res 2001;37:1015 (collinear columns of J); MacKay, Neural Computation 1992;4:415 (number of parameters learnt).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import jax
import jax.numpy as jnp
import numpy as np

from calibration import noise
from calibration.forward import Course, experiment, log_activity, modelled
from calibration.observations import Observations
from calibration.parameters import Prior
from dose.errors import InputError, describe, nearest
from pbpk.check import require_double
from pbpk.compiled import compiled

LEARNT, PARTLY = 0.75, 0.25
"""Contraction above which the scans tell a parameter (its sd at least halved), and below which it is the prior's."""
VISIBLE = 0.5
"""Shift of the scans, in their noise, by one prior sd of a parameter, below which they hardly see the parameter."""
COLLINEAR = 0.95
"""Cosine between two columns of J above which the scans see two parameters as one (an angle of 18 degrees)."""
NULL = 1e-10
"""Eigenvalue over the largest below which a direction counts as not measured at all: rounding of J is about 1e-13."""
NAMED = 0.2
"""Part of a unit direction below which a parameter is left out of the direction's name."""


@dataclass(frozen=True)
class Direction:
    """A combination of log parameters (unit vector [parameter]) and the information on it, in 1/ln^2.

    `sd` is the standard deviation (log) of the combination by the scans alone; infinite where they do not see it.
    """

    information: float
    vector: np.ndarray
    words: str

    @property
    def sd(self) -> float:
        return float(self.information**-0.5) if self.information > 0 else float("inf")


@dataclass(frozen=True)
class Row:
    """One line of the table: sd (log) by the prior, by the scans if all else were known, and by both together.

    Where the last is far above the second, the scans see the parameter but cannot tell it from others. The verdict is
    "learnt", "partly", "prior", or "borrowed": not seen, but tied by the prior's correlations to one that is.
    """

    name: str
    prior_log_sd: float
    alone_log_sd: float
    posterior_log_sd: float
    contraction: float
    verdict: str


@dataclass(frozen=True)
class Information:
    """Fisher information of log parameters at one point.

    `jacobian` [observation, parameter]: derivatives of the log activities divided by the Cholesky factor of the noise,
    so that its rows are of unit variance; `prior_covariance` [parameter, parameter] of the log parameters.
    """

    names: tuple[str, ...]
    jacobian: np.ndarray
    prior_covariance: np.ndarray

    @property
    def fisher(self) -> np.ndarray:
        """Information of the scans alone, [parameter, parameter]."""
        return self.jacobian.T @ self.jacobian

    @cached_property
    def posterior_covariance(self) -> np.ndarray:
        """Inverse of the scans' information plus the prior's, [parameter, parameter]."""
        cholesky = np.linalg.cholesky(self.prior_covariance)
        white = self.jacobian @ cholesky
        inner = np.linalg.inv(np.eye(len(self.names)) + white.T @ white)
        return cholesky @ inner @ cholesky.T

    @cached_property
    def directions(self) -> tuple[Direction, ...]:
        """Eigenvectors of the scans' information, the stiffest first, each named by its largest parts."""
        _, singular, vectors = np.linalg.svd(self.jacobian, full_matrices=True)
        values = np.zeros(len(self.names))
        values[: len(singular)] = singular**2
        values[values < NULL * values[0]] = 0.0
        return tuple(Direction(float(v), row, combination(self.names, row)) for v, row in zip(values, vectors))

    @property
    def condition(self) -> float:
        """Largest over smallest eigenvalue of the scans' information; infinite where a direction is not measured."""
        values = [d.information for d in self.directions]
        return values[0] / values[-1] if values[-1] > 0 else float("inf")

    @property
    def rank(self) -> int:
        """Number of directions that the scans measure at all."""
        return sum(d.information > 0 for d in self.directions)

    @property
    def learnt(self) -> float:
        """MacKay's number of well-determined parameters: the sum of l / (1 + l), l the information over the prior's."""
        white = self.jacobian @ np.linalg.cholesky(self.prior_covariance)
        relative = np.linalg.svd(white, compute_uv=False) ** 2
        return float(np.sum(relative / (1 + relative)))

    @property
    def scans_log_sd(self) -> np.ndarray:
        """Sd (log) of each parameter by the scans without any prior [parameter]: infinite where they cannot tell it."""
        seen = [d for d in self.directions if d.information > 0]
        variance = np.sum([d.vector**2 / d.information for d in seen], axis=0)
        blind = np.sum([d.vector**2 for d in self.directions if d.information == 0] or [0 * variance], axis=0)
        return np.where(blind > NULL, np.inf, np.sqrt(variance))

    @property
    def alone_log_sd(self) -> np.ndarray:
        """Sd (log) of each parameter by the scans if all others were known [parameter]."""
        length = np.linalg.norm(self.jacobian, axis=0)
        return np.divide(1.0, length, out=np.full(len(length), np.inf), where=length > 0)

    @property
    def table(self) -> tuple[Row, ...]:
        """A row for each parameter, the best learnt first."""
        before, after = (np.sqrt(np.diag(x)) for x in (self.prior_covariance, self.posterior_covariance))
        gain, seen = 1 - (after / before) ** 2, before / self.alone_log_sd > VISIBLE
        rows = zip(self.names, before, self.alone_log_sd, after, gain, map(_verdict, gain, seen), strict=True)
        return tuple(sorted((Row(*row) for row in rows), key=lambda row: -row.contraction))

    @property
    def collinear(self) -> tuple[tuple[str, str, float], ...]:
        """Pairs of parameters whose effects on these scans are alike, with the cosine between them; closest first."""
        length = np.linalg.norm(self.jacobian, axis=0)
        seen = np.flatnonzero(length * np.sqrt(np.diag(self.prior_covariance)) > VISIBLE)
        unit = self.jacobian[:, seen] / length[seen]
        cosine = unit.T @ unit
        pairs = [
            (self.names[seen[i]], self.names[seen[j]], float(cosine[i, j]))
            for i in range(len(seen))
            for j in range(i + 1, len(seen))
            if abs(cosine[i, j]) > COLLINEAR
        ]
        return tuple(sorted(pairs, key=lambda pair: -abs(pair[2])))

    def __str__(self) -> str:
        head = f"{'parameter':36} {'prior sd':>9} {'alone sd':>9} {'posterior':>9} {'contraction':>12}"
        lines = [
            f"{r.name:36} {r.prior_log_sd:9.3f} {r.alone_log_sd:9.3g} {r.posterior_log_sd:9.3f} {r.contraction:12.2f}  "
            + r.verdict
            for r in self.table
        ]
        seen = f"{self.rank} of {len(self.names)} directions measured, {self.learnt:.1f} parameters learnt"
        return "\n".join([head, *lines, seen])


def _verdict(contraction: float, seen: bool) -> str:
    if contraction < PARTLY:
        return "prior"
    return ("learnt" if contraction >= LEARNT else "partly") if seen else "borrowed"


def combination(names: tuple[str, ...], vector: np.ndarray) -> str:
    """A direction in words: its largest parts, largest first, the sign chosen so that the first is positive."""
    order = np.argsort(-np.abs(vector).round(6), kind="stable")
    kept = [k for k in order if abs(vector[k]) >= NAMED] or [order[0]]
    sign = np.sign(vector[kept[0]]) or 1.0
    words = " ".join(f"{sign * vector[k]:+.2f} {names[k]}" for k in kept)
    return words.removeprefix("+")


def information(
    courses: tuple[Course, ...],
    observations: Observations,
    prior: Prior,
    offsets: np.ndarray | None = None,
    *,
    moved: tuple[str, ...] | None = None,
) -> Information:
    """Fisher information of `observations` (their times, regions and noise) on the parameters of `prior`.

    Taken at `offsets` [parameter], the log offsets from the prior median (default: at the median). The derivatives are
    forward automatic differentiation through the solve on a frozen step sequence. Only the parameters `moved` are
    asked about (default: all), the others being known.

    Raises:
        InputError: double precision is off, offsets of another length, a name that is no parameter, no observation
            that the model can show.
    """
    require_double()
    offsets = np.zeros(len(prior.names)) if offsets is None else np.asarray(offsets, float)
    if offsets.shape != (len(prior.names),):
        do = "take one value for each of prior.names, such as Posterior.map_log"
        raise InputError(describe("offsets: shape", f"{offsets.shape}", f"({len(prior.names)},)", do))
    usable = usable_rows(courses, observations)
    exp = experiment(courses, usable, prior.names, offsets)
    jacobian = np.asarray(compiled(_jacobian)(exp, jnp.asarray(offsets)))[: len(usable)]
    factor = np.linalg.cholesky(noise.covariance(usable))
    at = np.array([index_of(name, prior.names) for name in moved or prior.names])
    inside = np.linalg.inv(np.linalg.inv(prior.covariance)[np.ix_(at, at)])
    return Information(tuple(prior.names[k] for k in at), np.linalg.solve(factor, jacobian[:, at]), inside)


def index_of(name: str, names: tuple[str, ...]) -> int:
    """Place of a parameter among `names`.

    Raises:
        InputError: it is none of them; the text suggests the nearest.
    """
    if name not in names:
        meant = nearest(name, names) or "one of Prior.names"
        raise InputError(describe("parameter", repr(name), meant, "correct the name"))
    return names.index(name)


def usable_rows(courses: tuple[Course, ...], observations: Observations) -> Observations:
    """Those observations that the model can show.

    Raises:
        InputError: there are none.
    """
    usable = observations.select(modelled(observations, courses[0].kinetics.organs))
    if len(usable) == 0:
        do = "give scans of kidneys, glands, tumours or other organs of the model"
        raise InputError(describe("observations", "none that the model can show", "at least one", do))
    return usable


def _jacobian(exp, offsets):
    return jax.jacfwd(lambda x: log_activity(exp, x))(offsets)
